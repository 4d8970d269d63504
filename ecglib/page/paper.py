"""The sheet under the trace: paper and grid, calibration pulses, lead names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ecglib.page.draws import constant
from ecglib.page.geometry import Geometry
from ecglib.page.ink import FULL
from ecglib.page.layout import BOX_MM, PULSE_GAP_MM, PULSE_LEAD_MM, PULSE_SECONDS, Panel, Style
from ecglib.page.lettering import bitmap


def _lines(pixels: int, origin: Tensor, period: Tensor, width: Tensor) -> Tensor:
    """(G, pixels): how much of each pixel is covered by lines of `width` at origin + k * period, all px and (G,).

    The difference of the covered length up to a pixel's two edges: exact, whatever the ratio of period and pixel.
    """
    edge = torch.arange(pixels + 1, device=origin.device) - (origin - 0.5 * width)[:, None]  # (G, pixels + 1)
    turns = (edge / period[:, None]).floor()
    within = edge - turns * period[:, None]
    covered = turns * width[:, None] + within.minimum(width[:, None])
    return covered.diff(dim=1).clamp(0, 1)


def grid_profiles(geometry: Geometry, style: Style, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The blank page as a product: (G, 3, H, 1) times (G, 3, 1, W), in [0, 1].

    Grid ink lets a share of the sheet's light through, and lines across and along multiply, as printed inks do. A line
    on every fifth mm belongs to both grids.
    """
    origins = (geometry.y0, geometry.x0)
    down, across = (_light(geometry, style, n, origin) for n, origin in zip(size, origins))
    return (geometry.sheet[:, :, None] * down)[..., None], across[:, :, None]


def _light(geometry: Geometry, style: Style, pixels: int, origin: Tensor) -> Tensor:
    """(G, 3, pixels) share of the sheet's light that the lines crossing this axis let through."""
    left = torch.ones(len(geometry), 3, pixels, device=origin.device)
    for period_mm, width_mm, colour in (
        (1.0, style.minor_mm, geometry.minor),
        (BOX_MM, style.major_mm, geometry.major),
    ):
        lines = _lines(pixels, origin, period_mm * geometry.ppm, width_mm * geometry.ppm)  # (G, pixels)
        taken = (1 - colour / geometry.sheet.clamp(min=0.05)).clamp(0, 1)  # (G, 3)
        strength = (geometry.grid[:, None] * taken).clamp(max=1)
        left = left * (1 - lines[:, None] * strength[:, :, None])
    return left


def fill(out: Tensor, down: Tensor, across: Tensor) -> None:
    """out (B, 3, H, W) = down (B, 3, H, 1) * across (B, 3, 1, W).

    Bytes go by way of a table: as a whole number `down` takes few values, and rows are quicker copied than computed.
    """
    if out.dtype == torch.float32:
        torch.mul(down, across, out=out)
        return
    b, _, _, width = out.shape
    down = (down * 255).round_().flatten(2)  # (B, 3, H, 1) -> (B, 3, H)
    lowest = down.amin(2, keepdim=True)
    row = (down - lowest).to(torch.int32)
    count = int(row.max()) + 1
    levels = (lowest + torch.arange(count))[..., None].to(torch.int16)  # (B, 3, count, 1)
    table = levels * (across * 128).round_().to(torch.int16)  # (B, 3, count, W), at most 255 * 128
    table = table.add_(64).bitwise_right_shift_(7).to(torch.uint8)
    row += torch.arange(0, 3 * b * count, count, dtype=torch.int32).view(b, 3, 1)  # each page's channels in turn
    torch.index_select(table.view(-1, width), 0, row.flatten(), out=out.view(-1, width))


def text_stamps(
    geometry: Geometry, panels: Sequence[Panel], style: Style, nominal_ppm: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Pixels of the lead names and of the line that states the scales: place = row * W + column and coverage, (G, K).

    Text stands on whole pixels. A name begins 1 mm right of its panel's edge, above the baseline by a third of the
    row's height or 9 mm, whichever is less; the scales stand under the last row.
    """
    device, ppm = geometry.ppm.device, geometry.ppm[:, None]  # (G, 1)
    texts, start, row = [], [], []
    if style.names:
        texts, start, row = ([getattr(p, name) for p in panels] for name in ("lead", "start", "row"))
    left = geometry.x0[:, None] + (style.speed * constant(tuple(start), device) + 1) * ppm  # (G, n)
    foot = geometry.baselines(constant(tuple(row), device)) - (geometry.pitch[:, None] / 3).minimum(9 * ppm)
    if style.scales:
        last = constant((max(p.row for p in panels) + 0.5,), device)
        texts = [*texts, f"{style.speed:g} mm/s   {style.gain:g} mm/mV"]
        left = torch.cat([left, geometry.x0[:, None] + ppm], dim=1)
        foot = torch.cat([foot, geometry.baselines(last).clamp(max=size[0] - 2)], dim=1)
    return _text_pixels(texts, left, foot, max(6, round(style.name_mm * nominal_ppm)), size)


def _text_pixels(
    texts: Sequence[str], left: Tensor, foot: Tensor, capital: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Place and coverage (G, K) of texts whose lower left corners are at (`left`, `foot`), (G, n) px."""
    text, rows, columns, coverage = _bitmaps(tuple(texts), capital, left.device)  # (K,) each
    y = foot.round().index_select(1, text) + rows  # (G, n) -> (G, K)
    x = left.round().index_select(1, text) + columns
    return _placed(y, x, coverage.expand(len(left), -1), *size)


@lru_cache(maxsize=64)
def _bitmaps(texts: tuple[str, ...], capital: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The inked pixels of all texts: which text, rows from its foot, columns from its left, coverage; on `device`."""
    which, rows, columns, coverage = [], [], [], []
    for k, text in enumerate(texts):
        picture = bitmap(text, capital)
        row, column = np.nonzero(picture)
        which.append(np.full(len(row), k))
        rows.append(row - picture.shape[0])
        columns.append(column)
        coverage.append(picture[row, column])
    return tuple(torch.from_numpy(np.concatenate(a)).to(device) for a in (which, rows, columns, coverage))


def pulse_stamps(
    geometry: Geometry, rows: int, style: Style, ppm_max: float, line_max_mm: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The calibration pulses' pixels, one pulse of 1 mV and 0.2 s left of each row: place and coverage, both (G, K).

    A pulse is five bars with level or upright edges: the coverage of each is exact.
    """
    height, width = size
    device = geometry.ppm.device
    long_mm = PULSE_SECONDS * style.speed
    tall_mm = style.gain
    patch_w = int((long_mm + 2 * PULSE_LEAD_MM + line_max_mm) * ppm_max) + 3
    patch_h = int((tall_mm + line_max_mm) * ppm_max) + 3
    ppm, half = geometry.ppm[:, None], geometry.half_line[:, None]  # (G, 1)
    x = geometry.x0[:, None] - (PULSE_GAP_MM + 2 * PULSE_LEAD_MM + long_mm) * ppm  # where the lead-in begins
    foot = geometry.baselines(torch.arange(rows, device=device))  # (G, R)
    first_row, first_column = (foot - tall_mm * ppm - half).floor(), (x - half).floor()
    up, down = x + PULSE_LEAD_MM * ppm, x + (PULSE_LEAD_MM + long_mm) * ppm
    end = down + PULSE_LEAD_MM * ppm
    head = foot - tall_mm * ppm
    py = first_row[..., None] + torch.arange(patch_h, device=device)  # (G, R, h)
    px = first_column[..., None] + torch.arange(patch_w, device=device)  # (G, 1, w)
    bars = (  # x from, x to, y from, y to
        (x, up, foot, foot), (up, up, head, foot), (up, down, head, head), (down, down, head, foot),
        (down, end, foot, foot),
    )  # fmt: skip
    ink = torch.zeros(len(geometry), rows, patch_h, patch_w, device=device)
    for left, right, top, bottom in bars:
        across, along = _overlap(px, left - half, right + half), _overlap(py, top - half, bottom + half)
        ink = torch.maximum(ink, along[..., :, None] * across[..., None, :])
    y, x = (z.expand(ink.shape).flatten(1) for z in (py[..., :, None], px[..., None, :]))
    return _placed(y, x, ink.flatten(1), height, width)


def _overlap(pixel: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Length of [pixel, pixel + 1] within [low, high]: (G, R, n) against (G, R or 1)."""
    return ((pixel + 1).minimum(high[..., None]) - pixel.maximum(low[..., None])).clamp(min=0)


def _placed(y: Tensor, x: Tensor, coverage: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Place and coverage (G, K) in whole units of 1 / FULL, as the trace's; what falls off the page covers nothing."""
    on_page = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
    return place, (coverage * FULL).round().where(on_page, 0)
