"""Registration: the drawing on a page is brought to one place and size, whatever margins and scale it was given.

A network that must tell lead V1 from V4 by where it stands has to learn every place that it may stand at, and a few
thousand records do not teach that. Where the drawing begins and ends is easily seen, so it is better removed than
learned. What is lost: the gain, by as much as the rows were set apart; the calibration pulse is scaled with the traces.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FILL = (0.96, 0.92)  # of the page's width and height that the drawing takes afterwards
_SEEN = 0.2  # a column belongs to the drawing if it holds this share of the ink that the median column holds
_ENDS = 0.003  # share of the ink that is left out at the top, and at the bottom: specks, not lettering
_BOUNDS = (0.4, 1.1)  # of the drawing as a share of the page: outside, nothing was found and nothing is moved


def ink(page: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to (B, H, W) >= 0: how much darker a pixel is than its row and its column.

    No coloured grid is dark in all three channels, so the brightest channel leaves the trace; straight lines of a grey
    one, and a shadow along the page, go with the medians of rows and columns.
    """
    dark = 1 - page.amax(dim=1)  # (B, 3, H, W) -> (B, H, W)
    dark = dark - dark.median(dim=1, keepdim=True).values
    dark = dark - dark.median(dim=2, keepdim=True).values
    return dark.clamp(min=0)


def frames(page: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 4): x0, x1, y0, y1 of the drawing as shares of the page; 0, 1, 0, 1 where none is found.

    From left to right: the columns that hold a trace, which is all of them but the margins. From top to bottom: nearly
    all of the ink, which reaches from the first row's lead names to the lettering below the last.
    """
    weight = ink(page).square()
    across, down = weight.sum(dim=1), weight.sum(dim=2)  # (B, H, W) -> (B, W), (B, H)
    w, h = across.shape[1], down.shape[1]
    across = F.avg_pool1d(across[:, None], 5, 1, 2, count_include_pad=False)[:, 0]  # a gap between dots is no margin
    seen = (across > _SEEN * across.median(dim=1, keepdim=True).values).to(page.dtype)
    left = (seen.cumsum(1) == 0).sum(1) / w  # (B,)
    right = 1 - (seen.flip(1).cumsum(1) == 0).sum(1) / w
    share = down.cumsum(1) / down.sum(1, keepdim=True).clamp(min=1e-9)
    top, bottom = (share < _ENDS).sum(1) / h, ((share < 1 - _ENDS).sum(1) + 1) / h
    found = torch.stack([left, right, top, bottom], dim=1)
    extent = torch.stack([right - left, bottom - top], dim=1)
    sound = ((extent > _BOUNDS[0]) & (extent < _BOUNDS[1])).all(dim=1, keepdim=True)
    return torch.where(sound, found, found.new_tensor([0.0, 1.0, 0.0, 1.0]))


@torch.no_grad()
def register(page: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to the same with its drawing in the middle, `FILL` of the page wide and high.

    A page on which no drawing is found stays about as it is.
    """
    left, right, top, bottom = frames(page).unbind(1)  # (B,)
    zero = torch.zeros_like(left)
    wide, high = (right - left) / FILL[0], (bottom - top) / FILL[1]
    moves = torch.stack([wide, zero, left + right - 1, zero, high, top + bottom - 1], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(moves, list(page.shape), align_corners=False)
    return F.grid_sample(page, grid, mode="bilinear", padding_mode="border", align_corners=False)
