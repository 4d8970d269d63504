"""What printing, scanning and photographing do to a page, one function each.

Every function takes pages (B, 3, H, W) float32 in [0, 1], a severity (B,) in [0, 1] where 0 leaves the page as it is,
and `u` (B, n) uniform numbers in [0, 1), from which directions and places are drawn; it returns pages like those it
got. Lengths scale with the page, so that a severity means the same at any size. Geometric effects return a homography
instead and are joined into one resampling.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ecglib.page.draws import constant

MAX_ANGLE = math.radians(12)
MAX_TILT = math.radians(28)
MAX_BLUR = 2.2 / 550  # standard deviation, as a share of the page's width
MAX_NOISE = 0.12  # standard deviation
MAX_REDUCTION = 4.0  # pixels become one in each direction
MIN_QUALITY = 8.0  # of JPEG, at severity 1
VIEW_DISTANCE = 2.0  # of the camera, in half page widths


# ---------------------------------------------------------------------------- geometry: from image to page coordinates
def rotation(severity: Tensor, u: Tensor, aspect: float) -> Tensor:
    """(B, 3, 3): turned by up to 12 degrees either way about the middle, in coordinates of `warp`."""
    del aspect
    angle = (2 * u[:, 0] - 1) * severity * MAX_ANGLE
    return _axis_rotation(angle, 0, 1)


def perspective(severity: Tensor, u: Tensor, aspect: float) -> Tensor:
    """(B, 3, 3): the sheet tilted by up to 28 degrees in any direction, seen from two half widths away, made to fit."""
    direction = 2 * math.pi * u[:, 0]
    tilt = severity * MAX_TILT * (0.4 + 0.6 * u[:, 1])
    turn = _axis_rotation(tilt * direction.cos(), 1, 2) @ _axis_rotation(tilt * direction.sin(), 0, 2)
    # A point (x, y, 0) of the sheet goes to turn @ (x, y, 0), seen by a pinhole at z = -distance.
    project = torch.eye(3, device=u.device).expand(len(u), 3, 3).clone()
    project[:, :2, :2] = turn[:, :2, :2]
    project[:, 2, :2] = turn[:, 2, :2] / VIEW_DISTANCE
    corners = constant(tuple((x, y, 1.0) for x in (-1.0, 1.0) for y in (-aspect, aspect)), u.device)
    seen = corners @ project.mT  # (4, 3), (B, 3, 3) -> (B, 4, 3)
    seen = seen[..., :2] / seen[..., 2:]
    spread = torch.stack([seen[..., 0].abs().amax(1), seen[..., 1].abs().amax(1) / aspect], dim=1).amax(1)
    project[:, :2] /= spread.clamp(min=1.0)[:, None, None]  # all four corners stay in the image
    return _inverse(project)


def _axis_rotation(angle: Tensor, i: int, j: int) -> Tensor:
    """(B, 3, 3) rotation by `angle` in the plane of axes i and j."""
    matrix = torch.eye(3, device=angle.device).expand(len(angle), 3, 3).clone()
    matrix[:, i, i] = matrix[:, j, j] = angle.cos()
    matrix[:, i, j], matrix[:, j, i] = -angle.sin(), angle.sin()
    return matrix


def _inverse(m: Tensor) -> Tensor:
    """Inverse of (B, 3, 3) up to a factor, by cofactors: a solver would wait for the device to look for singularity."""
    a, b, c = m.unbind(-2)
    return torch.stack([b.cross(c, dim=-1), c.cross(a, dim=-1), a.cross(b, dim=-1)], dim=-1)


def invert(homography: Tensor) -> Tensor:
    """The homography (B, 3, 3) of the way back."""
    return _inverse(homography)


def apply_homography(homography: Tensor, points: Tensor) -> Tensor:
    """Points (B, ..., 2) through (B, 3, 3)."""
    shape = points.shape
    flat = points.reshape(shape[0], -1, 2)
    moved = F.pad(flat, (0, 1), value=1.0) @ homography.mT  # (B, n, 3)
    return (moved[..., :2] / moved[..., 2:]).reshape(shape)


def warp(pages: Tensor, homography: Tensor, background: Tensor) -> Tensor:
    """Resamples pages: the image's point p shows the page's point `homography` @ p, outside it `background` (B, 3).

    Coordinates: x from -1 to 1 across the width, y likewise in the same unit of length, both from the middle.
    """
    h, w = pages.shape[2:]
    aspect = h / w
    x = (torch.arange(w, device=pages.device) + 0.5) * (2 / w) - 1
    y = ((torch.arange(h, device=pages.device) + 0.5) * (2 / h) - 1) * aspect
    by_x, by_y, shift = homography[..., None, None].unbind(2)  # 3 x (B, 3, 1, 1)
    at = by_x * x + by_y * y[:, None] + shift  # (B, 3, H, W): the product with each pixel, without a list of pixels
    at = at[:, :2] / at[:, 2:]
    grid = torch.stack([at[:, 0], at[:, 1] / aspect], dim=-1)  # (B, H, W, 2)
    # Shifted by the background and padded by zeros: what lies beyond the page comes out as background, edges blended.
    shifted = pages - background[:, :, None, None]
    return F.grid_sample(shifted, grid, mode="bilinear", align_corners=False) + background[:, :, None, None]


# --------------------------------------------------------------------------------------------------------------- light
def _along(pages: Tensor, angle: Tensor) -> Tensor:
    """(B, H, W): position along a direction, 0 in the middle, about 1 at the edges."""
    h, w = pages.shape[-2:]
    x = torch.linspace(-1, 1, w, device=pages.device)
    y = torch.linspace(-1, 1, h, device=pages.device) * (h / w)
    return angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y[:, None]


def shadow(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """A soft-edged shadow over one side, up to 65 % dark, and light that falls off across the page."""
    angle = 2 * math.pi * u[:, 0]
    place, softness = 1.2 * u[:, 1] - 0.6, 0.05 + 0.4 * u[:, 2]
    across = _along(pages, angle)
    dark = torch.sigmoid((across - place[:, None, None]) / softness[:, None, None])
    fall = 0.25 * (_along(pages, 2 * math.pi * u[:, 3]) * 0.5 + 0.5).clamp(0, 1)
    left = (1 - 0.65 * severity[:, None, None] * dark) * (1 - severity[:, None, None] * fall)
    return pages * left[:, None]  # (B, 3, H, W) x (B, 1, H, W)


def folds(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Up to three creases, near upright or near level: a dark and a bright flank, and a step of brightness across."""
    light = torch.ones_like(pages[:, 0])  # (B, H, W)
    for k in range(3):
        lies, tilt, place, width, there = u[:, 5 * k : 5 * k + 5].unbind(1)
        angle = (lies > 0.5) * (math.pi / 2) + (tilt - 0.5) * 0.12
        place = 1.4 * place - 0.7
        place = torch.where(lies > 0.5, place * (pages.shape[2] / pages.shape[3]), place)
        across = _along(pages, angle) - place[:, None, None]
        crease = across / (0.004 + 0.008 * width[:, None, None])
        strength = (severity * (there < (1.0, 0.6, 0.3)[k]))[:, None, None]
        light = light * (1 - strength * (0.45 * crease * torch.exp(0.5 - 0.5 * crease.square()) + 0.06 * across.sign()))
    return (pages * light[:, None]).clamp(0, 1)


def colour(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """A colour cast of up to 25 % per channel, less contrast, another gamma."""
    s = severity[:, None, None, None]
    gain = 1 - s * 0.25 * u[:, :3, None, None]
    low = s * 0.25 * u[:, 3, None, None, None]
    gamma = torch.exp(s * (1.2 * u[:, 4, None, None, None] - 0.6))
    return (low + (1 - low) * pages.clamp(1e-4, 1).pow(gamma)) * gain


# ---------------------------------------------------------------------------------------------------------- resolution
def blur(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Out of focus: a Gaussian of up to 0.4 % of the width."""
    del u
    from kornia.filters import filter2d_separable  # its gaussian_blur2d reads the widths on the host

    limit = MAX_BLUR * pages.shape[-1]
    reach = math.ceil(3 * limit)
    offset = torch.arange(-reach, reach + 1, device=pages.device)
    sigma = (severity * limit).clamp(min=1e-3)
    kernel = torch.softmax(-0.5 * (offset / sigma[:, None]).square(), dim=1)  # (B, 2 * reach + 1)
    return filter2d_separable(pages, kernel, kernel, border_type="replicate")


def low_resolution(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Taken with up to 4 times fewer pixels each way and enlarged again: area means, then linear between them."""
    del u
    factor = 1 + severity * (MAX_REDUCTION - 1)
    return _coarse(_coarse(pages, factor).mT, factor).mT


def _coarse(x: Tensor, factor: Tensor) -> Tensor:
    """Along the last axis: means over `factor` (B,) pixels, read linearly at the old pixels."""
    n = x.shape[-1]
    sums = F.pad(x.cumsum(-1), (1, 0))  # (B, 3, m, n + 1)
    f = factor[:, None]
    middle = (torch.arange(n, device=x.device) + 0.5) / f - 0.5  # (B, n) in coarse pixels
    left = middle.floor()

    def up_to(edge: Tensor) -> Tensor:
        """Integral of x from 0 to `edge` (B, n), piecewise linear."""
        edge = edge.clamp(0, n)
        low = edge.floor().clamp(max=n - 1)
        at = low.long()[:, None, None].expand(-1, *x.shape[1:])  # (B, n) -> (B, 3, m, n)
        return sums.gather(-1, at) + x.gather(-1, at) * (edge - low)[:, None, None]

    edges = [(left + k) * f for k in range(3)]
    integrals = [up_to(edge) for edge in edges]
    spans = [edges[k + 1].clamp(0, n) - edges[k].clamp(0, n) for k in range(2)]
    means = [(integrals[k + 1] - integrals[k]) / spans[k].clamp(min=1e-3)[:, None, None] for k in range(2)]
    # At the margins one of the two coarse pixels is outside the image: its neighbour counts alone.
    share = torch.where(spans[1] < 1e-3, 0.0, torch.where(spans[0] < 1e-3, 1.0, middle - left))
    return torch.lerp(means[0], means[1], share[:, None, None])


# -------------------------------------------------------------------------------------------------------- sensor, file
def noise(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Gaussian noise of up to 0.12. One field of noise, the same everywhere, rolled and mirrored per record by `u`."""
    h, w = pages.shape[2:]
    field = _noise_field(h, w, pages.device)
    rows = (torch.arange(h, device=pages.device) + (u[:, :1] * h).long()) % h  # (B, H)
    columns = (torch.arange(w, device=pages.device) + (u[:, 1:2] * w).long()) % w  # (B, W)
    rolled = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # (3, B, H, W) -> (B, 3, H, W)
    sign = 1 - 2 * (u[:, 2] > 0.5).to(pages.dtype)
    return (pages + rolled * (MAX_NOISE * severity * sign)[:, None, None, None]).clamp(0, 1)


@lru_cache(maxsize=4)
def _noise_field(h: int, w: int, device: torch.device) -> Tensor:
    """(3, h, w) standard normal, drawn on the processor, so that it is the same on all devices."""
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(0)).to(device)


def jpeg(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """JPEG of quality 100 down to 8: libjpeg on a processor; kornia's model of it elsewhere or for gradients.

    The model checks the qualities' range on the host: the one effect for which that waits for an accelerator.
    """
    del u
    quality = 100 - severity * (100 - MIN_QUALITY)
    if pages.device.type != "cpu" or pages.requires_grad:
        from kornia.enhance import jpeg_codec_differentiable

        squeezed = jpeg_codec_differentiable(pages, quality)
        return torch.where((severity > 0)[:, None, None, None], squeezed, pages)
    from PIL import Image  # torchvision's codec is deprecated

    out = pages.clone()
    for k in severity.nonzero().flatten().tolist():
        file = io.BytesIO()
        pixels = (pages[k].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)  # (3, H, W) -> (H, W, 3)
        Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=round(quality[k].item()))
        out[k] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).to(pages.dtype) / 255
    return out
