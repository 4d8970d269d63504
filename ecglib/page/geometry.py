"""Where things stand on each page, as tensors: (G,) with G = 1 where all pages are alike and G = B where they vary.

Pixel coordinates are continuous, x to the right and y downward from the image's top left corner; the pixel in row r and
column c covers [c, c + 1) x [r, r + 1), so its centre is at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ecglib.page.draws import constant, uniform
from ecglib.page.layout import PAPERS, Frame, Layout, Style, Vary


@dataclass(frozen=True)
class Geometry:
    """Sizes and positions in pixels, all (G,); colours (G, 3) in [0, 1]."""

    ppm: Tensor  # pixels per mm
    x0: Tensor  # where the rows' traces begin
    y0: Tensor  # baseline (0 mV) of the first row
    pitch: Tensor  # distance of the rows
    half_line: Tensor  # half the width of the trace
    grid: Tensor  # factor on the ink of the grid's lines
    sheet: Tensor
    minor: Tensor
    major: Tensor
    ink: Tensor

    def __len__(self) -> int:
        return len(self.ppm)

    def part(self, pages: slice) -> Geometry:
        """That of some pages, where they vary."""
        return Geometry(*(getattr(self, field.name)[pages] for field in fields(self)))

    def baselines(self, rows: Tensor) -> Tensor:
        """(G, n) y of the baselines of `rows` (n,)."""
        return self.y0[:, None] + self.pitch[:, None] * rows  # (G,) -> (G, n)


def _between(u: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * u


def draw_geometry(
    frame: Frame, layout: Layout, style: Style, vary: Vary, width: int, seed: int, index: Tensor
) -> Geometry:
    """The geometry of the records `index` (G,), on its device."""
    u = uniform(seed, index, 11).unbind(1)  # (G, 11) -> 11 x (G,)
    ppm = frame.ppm * _between(u[0], vary.scale)
    block_w = (frame.trace_mm + frame.pulse_mm) * ppm
    pitch = frame.pitch_mm * _between(u[1], vary.row_gap) * ppm
    block_h = pitch * layout.row_count
    x0 = (width - block_w) * _between(u[2], vary.margin) + frame.pulse_mm * ppm
    y0 = (frame.height_mm * frame.ppm - block_h) * _between(u[3], vary.margin) + 0.5 * pitch
    sheet, minor, major, ink = _colours(vary, u)
    line = _between(u[4], vary.line_mm)
    grid = _between(u[5], vary.grid)
    return Geometry(ppm, x0, y0, pitch, 0.5 * line * ppm, grid, sheet, minor, major, ink)


def _colours(vary: Vary, u: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = tuple((PAPERS[p].sheet, PAPERS[p].minor, PAPERS[p].major, PAPERS[p].ink) for p in vary.papers)
    table = constant(rows, u[0].device)  # (papers, 4, 3)
    which = (u[6] * len(vary.papers)).long()
    colours = table.index_select(0, which)  # (papers, 4, 3) -> (G, 4, 3)
    shift = (2 * torch.stack(u[7:10], dim=1) - 1) * vary.tint  # 3 x (G,) -> (G, 3)
    sheet, minor, major, ink = colours.unbind(1)
    sheet, minor, major = ((c + shift).clamp(0, 1) for c in (sheet, minor, major))
    return sheet, minor, major, torch.lerp(ink, sheet, _between(u[10], vary.fade)[:, None])
