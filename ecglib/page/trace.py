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
import torch.nn.functional as F
from torch import Tensor

from ecglib.page.geometry import Geometry
from ecglib.page.layout import Frame, Panel, Style, Vary

CELLS = 3  # per pixel column
GRAIN = 1024.0  # of y, per px
FULL = CELLS * GRAIN  # the coverage of a pixel that is all ink
_MOST_INSIDE = 4  # samples read within a cell; where there are more (above about 600 Hz at 550 px), every n-th
_SLANT = 0.5**0.5
_PEN = ((1.0, 0.0), (_SLANT, _SLANT))  # (sideways, height) of the octagon's right half, in half line widths


@dataclass(frozen=True)
class Sampler:
    """Where each cell reads its record. G is 1 or B; C counts the pixel columns of all panels one after another, and
    P = C * CELLS their cells. Each panel has cells beyond its ends, which read the end and are not drawn.

    first, share: (n, G, reach + P + reach + 1), which sample is left of each point read, in the flattened (L * T)
        record, and the right one's weight. The first point is the cell's left edge; the others are the samples inside.
        Beyond the P cells stand as many as the pen reaches, and one for the last cell's right edge.
    level: (2, G, P) y of 0 mV in 1/1024 px, for tops and bottoms; where nothing is drawn, below and above all pages.
    per_mv: (2, G, 1) 1/1024 px per mV, upwards for tops and, for the reversed bottoms, downwards.
    half: (G, 1) mV, half the line's width.
    pen: for each of the pen's offsets, its height there (G, 1) in mV, and the shift sideways: cells, weights (G, 1).
    column: (G, C) int64, which pixel column of the page, clamped onto it.
    """

    first: Tensor
    share: Tensor
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

    edge = torch.arange(CELLS, device=device) / CELLS
    edges = (column[..., None] + edge - left[..., None]) / px_per_s[..., None]  # (G, C, S) s since the panel's start
    cell_s = 1 / (CELLS * px_per_s[..., None])  # (G, 1, 1) a cell's length
    middle = edges + 0.5 * cell_s
    drawn = (middle >= 0) & (middle < seconds[:, None]) & ((column >= 0) & (column < width))[..., None]
    at = _points(edges, cell_s, start, seconds, rate, samples, inside=rate / (CELLS * style.speed * ppm_range[0]))
    first = at.floor().clamp(max=samples - 2)  # (n, G, C, S)
    level = (geometry.baselines(row) * GRAIN)[..., None].expand_as(drawn)
    level = torch.stack([level.masked_fill(~drawn, torch.inf), level.masked_fill(~drawn, -torch.inf)])
    per_mv = style.gain * geometry.ppm[:, None] * GRAIN
    half = geometry.half_line[:, None]
    pen = tuple((high * half * GRAIN / per_mv, _taps(sideways, half, half_range)) for sideways, high in _PEN)
    reach = max(n for _, taps in pen for n, _ in taps)
    return Sampler(
        first=F.pad((begin[:, None] + first.long()).flatten(2), (reach, reach + 1)),  # (n, G, C, S) -> (n, G, ...)
        share=F.pad((at - first).flatten(2), (reach, reach + 1)),
        level=level.flatten(2),  # (2, G, C, S) -> (2, G, P)
        per_mv=torch.stack([-per_mv, per_mv]),
        half=half * GRAIN / per_mv,
        pen=pen,
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
    return tuple(x.to(device) for x in (start[panel], seconds[panel], row[panel], begin[panel], offset))


def _points(
    edges: Tensor, cell_s: Tensor, start: Tensor, seconds: Tensor, rate: float, samples: int, *, inside: float
) -> Tensor:
    """(n, G, C, S) the points that cells read, in samples: the left edge, and whole samples up to the right edge.

    `inside` bounds how many samples a cell holds. Points before and after the panel read its ends.
    """
    count = min(_MOST_INSIDE, math.ceil(inside))
    stride = max(1.0, inside / count)

    def to_samples(time: Tensor) -> Tensor:
        shown = time.clamp(min=0).minimum(seconds[:, None]) + start[:, None]
        return (shown * rate).clamp(max=samples - 1)

    left, right = to_samples(edges), to_samples(edges + cell_s)
    whole = [(left + k * stride).ceil().minimum(right) for k in range(count)]
    return torch.stack([left, *whole])


def _taps(sideways: float, half: Tensor, half_range: Sequence[float]) -> tuple[tuple[int, Tensor], ...]:
    """A shift by `sideways` half lines as (cells, weight (G, 1)): reading between two cells is linear."""

    def in_cells(half_line):
        return sideways * half_line * CELLS - 0.5  # the extremes reach half a cell already

    shift = in_cells(half).clamp(min=0)
    lowest, highest = (max(0, math.floor(in_cells(h) + e)) for h, e in zip(half_range, (-1e-3, 1e-3)))
    return tuple((n, (1 - (shift - n).abs()).clamp(min=0)) for n in range(lowest, highest + 2))


def intervals(signal: Tensor, sampler: Sampler, height: int) -> tuple[Tensor, Tensor]:
    """Top and bottom (B, P) of the stroke in each cell of signals (B, L, T) mV, in 1/1024 px within [0, height].

    Cells that are not drawn have top = height and bottom = 0, such as read a sample that is not finite top = bottom =
    height: no ink.
    """
    flat = signal.flatten(1)  # (B, L, T) -> (B, L * T)
    edge, *inside = (_read(flat, first, share) for first, share in zip(sampler.first, sampler.share))
    found = torch.maximum(edge[..., :-1], edge[..., 1:])  # (2, B, reach + P + reach): a cell ends where the next begins
    for value in inside:
        found = _higher(found, value[..., :-1])
    y = torch.addcmul(sampler.level, _dilated(found, sampler), sampler.per_mv)  # (2, G, P), (2, B, P), (2, G, 1)
    return _on_page(y, y.new_full((), height * GRAIN)).unbind(0)


def _read(flat: Tensor, first: Tensor, share: Tensor) -> Tensor:
    """(2, B, n) mV of records (B, L * T) at the points first + share (G, n), and the same upside down.

    What is highest upside down is lowest: so both extremes take one way.
    """
    first = first.expand(len(flat), -1)
    mv = torch.lerp(flat.gather(1, first), flat[:, 1:].gather(1, first), share)
    return torch.stack([mv, -mv])


def _dilated(extreme: Tensor, sampler: Sampler) -> Tensor:
    """(2, B, P) mV: the highest that the pen reaches, of the cells' extremes (2, B, reach + P + reach)."""
    length = sampler.level.shape[2]
    reach = (extreme.shape[-1] - length) // 2

    def read(side: int, taps: tuple[tuple[int, Tensor], ...]) -> Tensor:
        """The extremes some cells to one side, linear between two cells."""
        near, *others = (extreme.narrow(-1, reach + side * n, length) for n, _ in taps)
        if len(others) == 1:
            return torch.lerp(near, others[0], taps[1][1])
        value = near * taps[0][1]
        for other, (_, weight) in zip(others, taps[1:]):
            value = torch.addcmul(value, other, weight)
        return value

    found = extreme.narrow(-1, reach, length) + sampler.half
    for rise, taps in sampler.pen:
        found = _higher(found, _higher(read(-1, taps), read(1, taps)) + rise)
    return found


def _higher(a: Tensor, b: Tensor) -> Tensor:
    """The maximum, in a's memory where no gradient needs a: what is written where it was read stays in the cache."""
    return torch.maximum(a, b) if torch.is_grad_enabled() else torch.maximum(a, b, out=a)


def _on_page(y: Tensor, limit: Tensor) -> Tensor:
    """y within [0, limit], whole, with the gradient of y; what is infinite or NaN goes to the limit."""
    if y.requires_grad:
        y = torch.fmin(y, limit).clamp(min=0)
        return y + (y.detach().round() - y.detach())
    return torch.fmin(y, limit, out=y).clamp_(min=0).round_()  # unlike clamp, fmin lets no NaN through


def coverage_page(top: Tensor, bottom: Tensor, column: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) summed coverage in units of 1 / FULL: dense and differentiable, for accelerators and for gradients.

    The part of pixel r above y, clip(y - r, 0, 1), is a running sum along r of two numbers: so is the coverage.
    """
    height, width = size
    b, page = len(top), (height + 2) * width
    bottom = torch.maximum(top, bottom)
    place = torch.arange(b, device=top.device)[:, None] * page + column  # (B, C)
    place = place[..., None].expand(-1, -1, CELLS).flatten(1)  # (B, C) -> (B, P)
    steps = torch.zeros(b * page, dtype=top.dtype, device=top.device)
    for edge, sign in ((top, 1.0), (bottom, -1.0)):
        row = (edge.detach() / GRAIN).floor()
        part = edge - row * GRAIN
        at = (place + row.long() * width).flatten()
        steps = steps.scatter_add(0, at, ((GRAIN - part) * sign).flatten())
        steps = steps.scatter_add(0, at + width, (part * sign).flatten())
    return steps.view(b, height + 2, width)[:, :height].cumsum(1)


def coverage_pixels(top: Tensor, bottom: Tensor, base: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same as a list of the K touched pixels, for processors: where, coverage, which of the B * C columns; (K,).

    `base` (B * C) int64 is where each column's first pixel lies in the pages' memory, with `width` between its rows.
    K depends on the data: an accelerator would have to wait for it.
    """
    top, bottom = (y.view(-1, CELLS).t().contiguous() for y in (top, bottom))  # (B, P) -> (S, B * C)
    first = top.amin(0).div_(GRAIN).floor_()
    count = bottom.amax(0).div_(GRAIN).ceil_().sub_(first).clamp_(min=0).to(torch.int64)
    column = torch.repeat_interleave(count)  # (K,)
    ahead = count.cumsum(0).sub_(count).sub_(first.to(torch.int64))
    row = torch.arange(len(column)).sub_(ahead.index_select(0, column))
    above = row.to(torch.float32).mul_(GRAIN)
    below = above + GRAIN
    cover = torch.zeros_like(above)
    for t, u in zip(top, bottom):
        t, u = t.index_select(0, column), u.index_select(0, column)
        cover += torch.minimum(u, below, out=u).sub_(torch.maximum(t, above, out=t)).clamp_(min=0)
    return row.mul_(width).add_(base.index_select(0, column)), cover, column
