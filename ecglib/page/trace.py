"""The trace as ink: how much of each pixel a stroked polyline covers.

The stroke is the polyline dilated by a pen of the line's width. Over one x, what a convex pen sweeps along the graph of
a continuous function is one interval [top, bottom] of y. So each pixel column is cut into `CELLS` cells, and a pixel's
coverage is the mean over its cells of the share of it inside the cell's interval.

A cell's interval comes from the extremes of the polyline within cells, in which every sample counts, so that no peak
is lost: those of the cell itself, raised by the pen's half height, and those a half and a whole pen to either
side, raised by the pen's outline there. The pen is an octagon; that the extremes already reach half a cell to either
side is taken off the distances.

Intervals are whole numbers of 1/1024 px. Sums of coverages are then exact in float32, so that their order does not
matter and an accelerator's unordered additions give the same page every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ecglib.page.geometry import Geometry
from ecglib.page.layout import Frame, Panel, Style, Vary

CELLS = 3  # per pixel column
GRAIN = 1024.0  # of y, per px
_MOST_INSIDE = 4  # samples read within a cell; where it holds more (above about 600 Hz at 550 px), every n-th
_SLANT = 0.5**0.5
_PEN = ((1.0, 0.0), (_SLANT, _SLANT))  # (sideways, height) of the octagon's right half, in half line widths


@dataclass(frozen=True)
class Sampler:
    """Where each cell reads its record. G is 1 or B; C counts the pixel columns of all panels one after another.

    Cells lie in S = CELLS planes, the columns' first cells, their second ones and so on, so that every operation runs
    along columns. Each panel has columns beyond its ends, which read the end and are not drawn.

    first, share: (G, S + 1, C) which sample is left of each cell's edges, in the flattened (L * T) record, and the
        right one's weight.
    between: (n, G, S, C) samples inside the cells, where one may hold several.
    every: whether the sample left of a cell's right edge is read beside them; with it all samples are.
    inside: (G, S, C) 0 where the sample left of the cell's right edge lies in the cell, -inf where it does not.
    level: (2, G, S, C) y of 0 mV in 1/1024 px, for tops and bottoms; where nothing is drawn, below and above all pages.
    per_mv: (2, G, 1, 1) 1/1024 px per mV, upwards for tops and, for the reversed bottoms, downwards.
    half: (G, 1, 1) mV, half the line's width.
    pen: for each of the pen's offsets, its height there (G, 1, 1) in mV, and the shift sideways: cells, weights
        (G, 1, 1).
    column: (G, C) int64, which pixel column of the page, clamped onto it.
    """

    first: Tensor
    share: Tensor
    between: Tensor
    every: bool
    inside: Tensor
    level: Tensor
    per_mv: Tensor
    half: Tensor
    pen: tuple[tuple[Tensor, tuple[tuple[int, Tensor], ...]], ...]
    column: Tensor


def make_sampler(
    geometry: Geometry,
    panels: Sequence[Panel],
    positions: Sequence[int],
    frame: Frame,
    style: Style,
    vary: Vary,
    *,
    rate: float,
    samples: int,
    size: tuple[int, int],
) -> Sampler:
    """The sampler of signals (B, L, `samples`) at `rate` Hz, whose lead of panel j is at `positions[j]`.

    What decides about shapes comes from `vary`'s ranges, so that the device is not asked.
    """
    device, width = geometry.ppm.device, size[1]
    ppm_range = [frame.ppm * scale for scale in vary.scale]
    half_range = [0.5 * line * ppm for line, ppm in zip(vary.line_mm, ppm_range)]
    spare = math.ceil((half_range[1] * CELLS + 2) / CELLS)  # columns beyond a panel's ends, for the pen to read
    columns_per_s = style.speed * ppm_range[1]
    start, seconds, row, begin, offset = _columns(
        tuple(panels), tuple(positions), samples, columns_per_s, spare, device
    )  # (C,) each
    px_per_s = style.speed * geometry.ppm[:, None]  # (G, 1)
    left = geometry.x0[:, None] + px_per_s * start  # (G, C)
    column = left.floor() + (offset - spare)

    # Times are in samples. What lies before or after the panel reads its ends.
    per_px = rate / px_per_s
    low = (start * rate).clamp(max=samples - 1)  # (C,)
    high = ((start + seconds) * rate).clamp(max=samples - 1)
    cell = per_px[..., None] / CELLS  # (G, 1, 1) a cell's length
    edge = torch.arange(CELLS + 1, device=device)[:, None] * cell  # (S + 1, 1), (G, 1, 1) -> (G, S + 1, 1)
    away = ((column - left) * per_px)[:, None] + edge  # (G, S + 1, C) since the panel's start
    at = (away + low).maximum(low).minimum(high)
    first = at.floor().clamp_(max=samples - 2)
    begins, ends = at[:, :-1], first[:, 1:]  # (G, S, C): a cell's left edge, and the last whole sample in it, if any
    count = rate / (CELLS * style.speed * ppm_range[0])  # at most so many samples in a cell
    read = min(_MOST_INSIDE, math.ceil(count))
    every = count <= read
    between = [(begins + k * max(1.0, count / read)).ceil().minimum(ends) for k in range(read - 1 if every else read)]

    # By pixels and not by times, so that where two panels meet each cell belongs to one of them, whatever the rounding.
    right = geometry.x0[:, None] + px_per_s * (start + seconds)  # (G, C)
    middle = column[:, None] + (torch.arange(CELLS, device=device)[:, None] + 0.5) / CELLS  # (G, S, C)
    drawn = (middle >= left[:, None]) & (middle < right[:, None]) & ((column >= 0) & (column < width))[:, None]
    level = (geometry.baselines(row) * GRAIN)[:, None]  # (G, 1, C)
    beyond = torch.where(drawn, 0.0, torch.inf)
    per_mv = style.gain * geometry.ppm[:, None, None] * GRAIN
    half = geometry.half_line[:, None, None]
    return Sampler(
        first=_places(first, begin),
        share=at - first,
        between=_places(torch.stack(between), begin) if between else first.new_empty(0),
        every=every,
        inside=torch.where(ends >= begins, 0.0, -torch.inf),
        level=torch.stack([level + beyond, level - beyond]),
        per_mv=torch.stack([-per_mv, per_mv]),
        half=half * GRAIN / per_mv,
        pen=tuple((high * half * GRAIN / per_mv, _taps(sideways, half, half_range)) for sideways, high in _PEN),
        column=column.clamp(0, width - 1).long(),
    )


@lru_cache(maxsize=64)
def _columns(
    panels: tuple[Panel, ...],
    positions: tuple[int, ...],
    samples: int,
    columns_per_s: float,
    spare: int,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """What each of the C pixel columns belongs to, kept on `device`, (C,) each.

    Start (s) and length (s) of its panel, its row, where its lead begins in the flattened record, and which of the
    panel's columns it is.
    """
    counts = torch.tensor([int(p.seconds * columns_per_s) + 2 + 2 * spare for p in panels])
    panel = torch.repeat_interleave(counts)  # (C,)
    offset = torch.arange(len(panel)) - (counts.cumsum(0) - counts)[panel]
    start, seconds, row = (torch.tensor([getattr(p, name) for p in panels]) for name in ("start", "seconds", "row"))
    begin = torch.tensor(positions) * samples
    return tuple(x.to(device) for x in (start[panel], seconds[panel], row[panel], begin[panel].int(), offset))


def _places(sample: Tensor, begin: Tensor) -> Tensor:
    """int64 places in the flattened record of whole samples (..., C), whose leads begin at `begin` (C,) int32.

    By way of int32: float32 straight to int64 is five times as slow.
    """
    return (sample.to(torch.int32) + begin).long()


def _taps(sideways: float, half: Tensor, half_range: Sequence[float]) -> tuple[tuple[int, Tensor], ...]:
    """A shift by `sideways` half lines as (cells, weight like `half`): reading between two cells is linear."""

    def in_cells(half_line):
        return sideways * half_line * CELLS - 0.5  # the extremes reach half a cell already

    shift = in_cells(half).clamp(min=0)
    lowest, highest = (max(0, math.floor(in_cells(h) + e)) for h, e in zip(half_range, (-1e-3, 1e-3)))
    return tuple((n, (1 - (shift - n).abs()).clamp(min=0)) for n in range(lowest, highest + 2))


def intervals(signal: Tensor, sampler: Sampler, height: int) -> tuple[Tensor, Tensor]:
    """Top and bottom (B, S, C) of the stroke in each cell of signals (B, L, T) mV, in 1/1024 px within [0, height].

    Cells that are not drawn have top = height and bottom = 0, such as read a sample that is not finite top = bottom =
    height: no ink.
    """
    flat = signal.flatten(1)  # (B, L, T) -> (B, L * T)
    sample = _read(flat, sampler.first)  # (B, S + 1, C)
    edge = torch.lerp(sample, _read(flat[:, 1:], sampler.first), sampler.share)
    inside = [_read(flat, place) for place in sampler.between]  # (B, S, C) each
    most = least = sample[:, 1:] if sampler.every else inside.pop()
    for more in inside:
        most, least = torch.maximum(most, more), torch.minimum(least, more)
    left, right = edge[:, :-1], edge[:, 1:]
    highest = _higher(torch.maximum(left, right), most + sampler.inside)
    lowest = _higher(-torch.minimum(left, right), sampler.inside - least)  # upside down: so both extremes take one way
    extreme = torch.stack([highest, lowest])  # (2, B, S, C)
    y = torch.addcmul(sampler.level, _dilated(extreme, sampler), sampler.per_mv)
    return _on_page(y, height * GRAIN).unbind(0)


def _read(flat: Tensor, place: Tensor) -> Tensor:
    """(B, n, C) mV of records (B, L * T) at the places (G, n, C)."""
    return flat.gather(1, place.flatten(1).expand(len(flat), -1)).unflatten(1, place.shape[1:])


def _dilated(extreme: Tensor, sampler: Sampler) -> Tensor:
    """(2, B, S, C) mV: the highest that the pen reaches, of the cells' extremes (2, B, S, C)."""
    reach = max(n for _, taps in sampler.pen for n, _ in taps)
    wide = _widened(extreme, reach)

    def at(cells: int) -> Tensor:
        """The extremes so many cells to the right."""
        return wide.narrow(2, reach + cells, CELLS)

    def read(taps: tuple[tuple[int, Tensor], ...]) -> Tensor:
        """The extremes some cells to the left or right, whichever is higher, linear between two cells."""
        if [n for n, _ in taps] == [0, 1]:  # on both sides the nearer of the two is the cell itself
            return torch.lerp(extreme, beside, taps[1][1])
        sides = [at(side * taps[0][0]) * taps[0][1] for side in (-1, 1)]
        for n, weight in taps[1:]:
            sides = [torch.addcmul(value, at(side * n), weight) for value, side in zip(sides, (-1, 1))]
        return _higher(*sides)

    beside = torch.maximum(at(-1), at(1))
    found = extreme + sampler.half
    for (rise, taps), (_, height) in zip(sampler.pen, _PEN):
        found = _higher(found, read(taps) + rise if height else read(taps))
    return found


def _widened(planes: Tensor, reach: int) -> Tensor:
    """(..., S + 2 * reach, C): the planes (..., S, C) with those of the cells before and after, in the next columns.

    What is rolled from one end of the row of columns to the other is beyond its panel's end, and not drawn.
    """
    whole = math.ceil(reach / CELLS)  # columns to either side
    near = torch.cat([planes if q == 0 else planes.roll(-q, -1) for q in range(-whole, whole + 1)], dim=-2)
    return near.narrow(-2, whole * CELLS - reach, CELLS + 2 * reach)


def _higher(a: Tensor, b: Tensor) -> Tensor:
    """The maximum, in a's memory where no gradient needs a: what is written where it was read stays in the cache."""
    return torch.maximum(a, b) if torch.is_grad_enabled() else torch.maximum(a, b, out=a)


def _on_page(y: Tensor, limit: float) -> Tensor:
    """y within [0, limit], whole, with the gradient of y; what is NaN goes to the limit."""
    if y.requires_grad:
        y = y.clamp(0, limit).nan_to_num(nan=limit)
        return y + (y.detach().round() - y.detach())
    return y.clamp_(0, limit).nan_to_num_(nan=limit).round_()
