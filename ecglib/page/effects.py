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
    unit = constant(((1.0,), (1 / aspect,), (1.0,)), pages.device)  # `grid_sample` wants y from -1 to 1
    by_x, by_y, shift = (homography * unit)[..., None, None].unbind(2)  # 3 x (B, 3, 1, 1)
    at = by_x * x + (by_y * y[:, None] + shift)  # (B, 3, 1, W), (B, 3, H, 1) -> (B, 3, H, W)
    grid = (at[:, :2] / at[:, 2:]).permute(0, 2, 3, 1)  # (B, H, W, 2)
    # Shifted by the background and padded by zeros: what lies beyond the page comes out as background, edges blended.
    background = background[:, :, None, None]
    return F.grid_sample(pages - background, grid, mode="bilinear", align_corners=False).add_(background)


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
    h, w = pages.shape[2:]
    light = 1.0
    for k in range(3):
        lies, tilt, place, width, there = u[:, 5 * k : 5 * k + 5, None, None].unbind(1)  # (B, 1, 1) each
        angle = (lies > 0.5) * (math.pi / 2) + (tilt - 0.5) * 0.12
        place = 1.4 * place - 0.7
        place = torch.where(lies > 0.5, place * (h / w), place)
        x, y = (torch.linspace(-1, 1, n, device=pages.device) for n in (w, h))
        breadth = 0.004 + 0.008 * width
        across = angle.cos() * x / breadth  # (B, 1, W)
        crease = across + (angle.sin() * (y * (h / w))[:, None] - place) / breadth  # (B, 1, W), (B, H, 1) -> (B, H, W)
        strength = severity[:, None, None] * (there < (1.0, 0.6, 0.3)[k])
        step = crease.sign().mul_(-0.06 * strength)
        flanks = crease.square().mul_(-0.5).clamp_(min=-80).exp_().mul_(crease)  # below, exp is 10 x as slow
        light = step.addcmul_(flanks, -0.45 * math.exp(0.5) * strength).add_(1).mul_(light)
    return (pages * light[:, None]).clamp_(0, 1)


def colour(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """A colour cast of up to 25 % per channel, less contrast, another gamma."""
    s = severity[:, None, None, None]
    gain = 1 - s * 0.25 * u[:, :3, None, None]
    low = s * 0.25 * u[:, 3, None, None, None]
    gamma = torch.exp(s * (1.2 * u[:, 4, None, None, None] - 0.6))
    bent = pages.clamp(1e-4, 1).log2().mul_(gamma).exp2_()  # twice as fast as pow
    return torch.addcmul(low * gain, bent, (1 - low) * gain)


# ---------------------------------------------------------------------------------------------------------- resolution
def blur(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Out of focus: a Gaussian of up to 0.4 % of the width, cut where it has fallen to nothing."""
    del u
    limit = MAX_BLUR * pages.shape[-1]
    sigma = (severity * limit).clamp(min=1e-3)
    reach = math.ceil(3 * limit)
    if pages.device.type == "cpu":  # elsewhere the widths are not asked for: they would have to be waited for
        reach = min(reach, math.ceil(4 * float(sigma.max())))
    offset = torch.arange(-reach, reach + 1, device=pages.device)
    kernel = torch.softmax(-0.5 * (offset / sigma[:, None]).square(), dim=1)[:, reach:]  # (B, reach + 1) its right half
    padded = F.pad(pages, (reach,) * 4, mode="replicate")
    return _both_sides(_both_sides(padded, kernel, 3), kernel, 2)


def _both_sides(x: Tensor, kernel: Tensor, dim: int) -> Tensor:
    """x (B, 3, ...) filtered along `dim` by a symmetric kernel, whose right half is (B, reach + 1); no padding."""
    reach = kernel.shape[1] - 1
    n = x.shape[dim] - 2 * reach
    out, *weights = kernel[..., None, None, None].unbind(1)  # (B, 1, 1, 1) each
    out = x.narrow(dim, reach, n) * out
    for k, weight in enumerate(weights, start=1):
        out.addcmul_(x.narrow(dim, reach - k, n) + x.narrow(dim, reach + k, n), weight)
    return out


def low_resolution(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Taken with up to 4 times fewer pixels each way and enlarged again: area means, then linear between them."""
    del u
    factor = 1 + severity * (MAX_REDUCTION - 1)
    return _coarse(_coarse(pages.mT.contiguous(), factor).mT.contiguous(), factor)


def _coarse(x: Tensor, factor: Tensor) -> Tensor:
    """Along the rows of x (B, 3, n, m): means over `factor` (B,) pixels, read linearly at the old pixels."""
    n = x.shape[2]
    sums = F.pad(x.cumsum(2), (0, 0, 1, 0))  # (B, 3, n + 1, m)
    f = factor[:, None]
    middle = (torch.arange(n, device=x.device) + 0.5) / f - 0.5  # (B, n) in coarse pixels
    left = middle.floor()

    def rows(y: Tensor, at: Tensor) -> Tensor:
        """The rows `at` (B, n) of each record; of a single record they are copied whole."""
        if len(y) == 1:
            return y.index_select(2, at[0])
        return y.gather(2, at[:, None, :, None].expand(-1, y.shape[1], -1, y.shape[3]))

    def up_to(edge: Tensor) -> Tensor:
        """Integral of x from 0 to `edge` (B, n), piecewise linear."""
        edge = edge.clamp(0, n)
        low = edge.floor().clamp(max=n - 1)
        at = low.long()
        return torch.addcmul(rows(sums, at), rows(x, at), (edge - low)[:, None, :, None])

    edges = [(left + k) * f for k in range(3)]
    low, between, high = (up_to(edge) for edge in edges)
    spans = [edges[k + 1].clamp(0, n) - edges[k].clamp(0, n) for k in range(2)]
    second, first = high.sub_(between), between.sub_(low)  # in place: fresh memory takes longer than the arithmetic
    means = [y.div_(span.clamp(min=1e-3)[:, None, :, None]) for y, span in zip((first, second), spans)]
    # At the margins one of the two coarse pixels is outside the image: its neighbour counts alone.
    share = torch.where(spans[1] < 1e-3, 0.0, torch.where(spans[0] < 1e-3, 1.0, middle - left))
    return means[0].lerp_(means[1], share[:, None, :, None])


# -------------------------------------------------------------------------------------------------------- sensor, file
def noise(pages: Tensor, severity: Tensor, u: Tensor) -> Tensor:
    """Gaussian noise of up to 0.12. One field of noise, the same everywhere, rolled and mirrored per record by `u`."""
    h, w = pages.shape[2:]
    field = _noise_field(h, w, pages.device)
    down, along = (u[:, 0] * h).long(), (u[:, 1] * w).long()  # (B,)
    amount = MAX_NOISE * severity * (1 - 2 * (u[:, 2] > 0.5).to(pages.dtype))
    if pages.device.type == "cpu":  # windows of the field in place of lists of its pixels; those ask for the places
        windows = [field[None, :, r : r + h, c : c + w] for r, c in zip(down.tolist(), along.tolist())]
        rolled = windows[0] if len(windows) == 1 else torch.cat(windows)  # (B, 3, H, W)
    else:
        rows, columns = (at[:, None] + torch.arange(n, device=at.device) for at, n in ((down, h), (along, w)))
        rolled = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # (3, B, H, W) -> (B, 3, H, W)
    return torch.addcmul(pages, rolled, amount[:, None, None, None]).clamp_(0, 1)


@lru_cache(maxsize=4)
def _noise_field(h: int, w: int, device: torch.device) -> Tensor:
    """(3, 2 * h, 2 * w) standard normal, twice the same each way, so that any h x w of it is the field, rolled.

    Drawn on the processor, so that it is the same on all devices.
    """
    return torch.randn(3, h, w, generator=torch.Generator().manual_seed(0)).to(device).repeat(1, 2, 2)


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
        # By way of int16: float32 straight to bytes is slow, as is to interleave the channels by a permutation.
        pixels = (pages[k] * 255).round_().clamp_(0, 255).to(torch.int16).to(torch.uint8)
        picture = Image.merge("RGB", [Image.fromarray(channel) for channel in pixels.numpy()])
        picture.save(file, "JPEG", quality=round(quality[k].item()))
        out[k] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        out[k] /= 255
    return out
