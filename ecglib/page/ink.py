"""From the stroke's intervals to inked pixels: a page's coverage, whole or as a list of pixels, and the ink laid on."""

from __future__ import annotations

import torch
from torch import Tensor

from ecglib.page.trace import CELLS, GRAIN

FULL = CELLS * GRAIN  # the coverage of a pixel that is all ink
ALWAYS = 2  # pixels per column that `coverage_pixels` lists in any case


def coverage_page(top: Tensor, bottom: Tensor, column: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) summed coverage in units of 1 / FULL: dense and differentiable, for accelerators and for gradients.

    The part of pixel r above y, clip(y - r, 0, 1), is a running sum along r of two numbers: so is the coverage.
    """
    height, width = size
    b, page = len(top), (height + 2) * width
    bottom = torch.maximum(top, bottom)
    place = torch.arange(b, device=top.device)[:, None] * page + column  # (B, C)
    place = place[:, None].expand(-1, CELLS, -1)  # (B, C) -> (B, S, C)
    steps = torch.zeros(b * page, dtype=top.dtype, device=top.device)
    for edge, sign in ((top, 1.0), (bottom, -1.0)):
        row = (edge.detach() / GRAIN).floor()
        part = edge - row * GRAIN
        at = (place + row.long() * width).flatten()
        steps = steps.scatter_add(0, at, ((GRAIN - part) * sign).flatten())
        steps = steps.scatter_add(0, at + width, (part * sign).flatten())
    return steps.view(b, height + 2, width)[:, :height].cumsum(1)


def coverage_pixels(top: Tensor, bottom: Tensor, base: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The same as a list of the K touched pixels, for processors: where (K,), coverage (K,), whose.

    The first `ALWAYS` * N pixels are the topmost ones of the N = B * C columns in turn, the second ones and so on,
    listed even where they hold no ink; the others belong to the columns `whose`. Most columns have that many and
    nothing more, and reading by column is what takes time.

    `base` (N,) int32 is where each column's first pixel lies in the pages' memory, a page's width between its rows.
    K depends on the data: an accelerator would have to wait for it.
    """
    height, width = size
    top, bottom = (y.transpose(0, 1).reshape(CELLS, -1) for y in (top, bottom))  # (B, S, C) -> (S, N)
    first = top.amin(0).div_(GRAIN).floor_()
    places, covers = [], []
    for _ in range(ALWAYS):
        places.append(first.clamp(max=height - 1).to(torch.int32).mul_(width).add_(base))
        covers.append(_covered(top, bottom, first * GRAIN))
        first += 1
    count = bottom.amax(0).div_(GRAIN).ceil_().sub_(first).clamp_(min=0).to(torch.int32)
    whose = torch.repeat_interleave(count)  # (K - ALWAYS * N,) int32
    ahead = count.cumsum(0, dtype=torch.int32).sub_(count).sub_(first.to(torch.int32))
    row = torch.arange(len(whose), dtype=torch.int32).sub_(ahead.index_select(0, whose))
    cells = (torch.stack([cell.index_select(0, whose) for cell in y]) for y in (top, bottom))  # (S, N) -> (S, K - ...)
    covers.append(_covered(*cells, row.to(torch.float32).mul_(GRAIN)))
    places.append(row.mul_(width).add_(base.index_select(0, whose)))
    return torch.cat(places).long(), torch.cat(covers), whose


def _covered(top: Tensor, bottom: Tensor, above: Tensor) -> Tensor:
    """(n,) coverage of the pixels whose upper edges lie at `above` (n,), by the cells' intervals (S, n)."""
    below = above + GRAIN
    cover = torch.zeros_like(above)
    for t, u in zip(top, bottom):
        cover += torch.minimum(u, below).sub_(torch.maximum(t, above)).clamp_(min=0)
    return cover


def blend(out: Tensor, at: Tensor, cover: Tensor, ink: Tensor, scratch: Tensor) -> None:
    """Lays ink over the pixels `at` (K,) of out (B, 3, H, W); a pixel listed twice takes the sum, at most FULL.

    `at` points at the first channel; `ink` is (3, 1) or (3, K), in [0, 1].
    """
    scratch.scatter_add_(0, at, cover)
    total = scratch.index_select(0, at).clamp_(max=FULL).div_(FULL)
    scratch.scatter_(0, at, torch.zeros_like(cover))  # with one number for all it takes four times as long
    pixels = out.shape[2] * out.shape[3]
    for k, colour in enumerate(ink):
        channel = out.view(-1)[k * pixels :]
        under = channel.index_select(0, at)
        if out.dtype == torch.uint8:  # float32 straight to bytes is slow; through int16 it is not
            mixed = torch.lerp(under.to(torch.float32), colour * 255, total).add_(0.5).to(torch.int16).to(torch.uint8)
        else:
            mixed = torch.lerp(under, colour, total)
        channel.scatter_(0, at, mixed)
