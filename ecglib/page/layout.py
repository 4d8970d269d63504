"""What a page of ECG paper looks like: which lead where, at which scale, on which paper, and what may vary.

Plain data, no torch. Lengths are in mm of paper, times in s, signals in mV, colours are sRGB in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from ecglib.errors import InputError, nearest
from ecglib.leads import canonical

INCH_MM = 25.4


@dataclass(frozen=True)
class Panel:
    """One lead's stretch of one row: it shows `seconds` of `lead` from `start` on, beginning `start` s into the row."""

    lead: str
    row: int
    start: float
    seconds: float


@dataclass(frozen=True)
class Layout:
    """Rows of leads, read left to right as time goes on, then full-length rhythm strips.

    Every row spans `seconds`; a row of k leads shows the j-th during [j, j + 1) * seconds / k, as a 12-lead recorder
    that switches groups does, so that what stands below each other in a column, and on the strip, is simultaneous.
    """

    rows: tuple[tuple[str, ...], ...]
    strips: tuple[str, ...] = ()
    seconds: float = 10.0

    def panels(self) -> tuple[Panel, ...]:
        """All panels, row by row, strips last; lead names canonical."""
        found = []
        for r, row in enumerate((*self.rows, *((name,) for name in self.strips))):
            part = self.seconds / len(row)
            found += [Panel(canonical(name), r, j * part, part) for j, name in enumerate(row)]
        return tuple(found)

    @property
    def row_count(self) -> int:
        return len(self.rows) + len(self.strips)


_GROUPS_OF_3 = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))

LAYOUTS: dict[str, Layout] = {
    "3x4": Layout(_GROUPS_OF_3),
    "3x4+II": Layout(_GROUPS_OF_3, strips=("II",)),
    "6x2": Layout((("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6"))),
    "12x1": Layout(tuple((name,) for name in ("I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 7))))),
}
"""Rows x columns of leads, plus strips. A new one is one more line here, or a `Layout` given in place of a name."""


@dataclass(frozen=True)
class Paper:
    """Colours of one paper: blank sheet, 1 mm lines, 5 mm lines, and the ink of trace, pulse and names."""

    sheet: tuple[float, float, float]
    minor: tuple[float, float, float]
    major: tuple[float, float, float]
    ink: tuple[float, float, float]


PAPERS: dict[str, Paper] = {
    "red": Paper((1.00, 0.98, 0.97), (0.96, 0.72, 0.70), (0.90, 0.50, 0.49), (0.08, 0.08, 0.10)),
    "salmon": Paper((0.99, 0.92, 0.89), (0.95, 0.74, 0.68), (0.88, 0.52, 0.45), (0.10, 0.07, 0.07)),
    "orange": Paper((1.00, 0.97, 0.91), (0.98, 0.80, 0.58), (0.93, 0.62, 0.32), (0.07, 0.07, 0.16)),
    "green": Paper((0.97, 0.99, 0.95), (0.74, 0.87, 0.72), (0.50, 0.70, 0.50), (0.06, 0.09, 0.07)),
    "blue": Paper((0.97, 0.98, 1.00), (0.74, 0.82, 0.94), (0.51, 0.63, 0.84), (0.05, 0.06, 0.15)),
    "grey": Paper((0.98, 0.98, 0.98), (0.82, 0.82, 0.82), (0.63, 0.63, 0.63), (0.05, 0.05, 0.05)),
}


@dataclass(frozen=True)
class Style:
    """One exact geometry. By default a US letter sheet in landscape: 550 x 425 px are 50 dpi, 1100 x 850 100 dpi."""

    width_mm: float = 279.4  # of paper across the image's width: it sets the pixels per mm
    speed: float = 25.0  # mm/s
    gain: float = 10.0  # mm/mV
    line_mm: float = 0.35  # width of the trace, the pulse's too
    minor_mm: float = 0.10  # width of the 1 mm grid's lines
    major_mm: float = 0.22  # width of the 5 mm grid's lines
    name_mm: float = 2.8  # height of a capital in the lead names
    paper: str = "red"
    pulse: bool = True  # a 1 mV x 0.2 s calibration pulse left of every row
    names: bool = True  # of the leads
    scales: bool = True  # "25 mm/s   10 mm/mV" under the last row

    def check(self) -> None:
        """Raises InputError for a length that is not positive and finite, or an unknown paper."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("paper", "pulse", "names", "scales"):
                continue
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise InputError(f"style.{field.name} is {value!r} where a positive number is needed.")
        if self.paper not in PAPERS:
            raise InputError(f"There is no paper {self.paper!r}.{nearest(self.paper, PAPERS)}")


@dataclass(frozen=True)
class Vary:
    """What is drawn at random per record, each uniformly within (low, high). `Vary.none()` is the exact geometry."""

    scale: tuple[float, float] = (0.88, 1.0)  # times the pixels per mm: below 1 the same ECG comes out smaller
    margin: tuple[float, float] = (0.0, 1.0)  # share of the free space that lies left of, and above, the drawing
    row_gap: tuple[float, float] = (0.85, 1.0)  # times the distance of the rows
    line_mm: tuple[float, float] = (0.2, 0.5)  # in place of the style's
    grid: tuple[float, float] = (0.4, 1.2)  # times the ink of the grid's lines
    fade: tuple[float, float] = (0.0, 0.35)  # how far the ink has faded towards the paper
    tint: float = 0.03  # the paper's and the grid's colours shift by up to this, per channel
    papers: tuple[str, ...] = tuple(PAPERS)  # in place of the style's

    @staticmethod
    def none(style: Style) -> Vary:
        """Ranges without width: what `style` says."""
        one, line = (1.0, 1.0), (style.line_mm, style.line_mm)
        return Vary(one, (0.5, 0.5), one, line, one, (0.0, 0.0), 0.0, (style.paper,))

    def nearer(self, style: Style, share: float) -> Vary:
        """The same look, its geometry (scale, margin, rows) in ranges `share` as wide, about those of `none(style)`.

        Raises:
            InputError: a share that is not in [0, 1].
        """
        if not 0 <= share <= 1:
            raise InputError(f"The share of the geometry's variation is {share!r}; it needs 0 to 1.")
        exact = Vary.none(style)
        moved = {}
        for name in ("scale", "margin", "row_gap"):
            ends = zip(getattr(exact, name), getattr(self, name), strict=True)
            moved[name] = tuple(one + share * (end - one) for one, end in ends)
        return replace(self, **moved)

    def check(self) -> None:
        """Raises InputError for a range that is out of order or out of bounds, or an unknown paper."""
        bounds = {"scale": (0.2, 2), "margin": (0, 1), "row_gap": (0.2, 2), "line_mm": (0.02, 5), "grid": (0, 3)}
        for name, (least, most) in (bounds | {"fade": (0, 0.9)}).items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise InputError(f"vary.{name} is {(low, high)}; it needs {least} <= low <= high <= {most}.")
        if not 0 <= self.tint <= 0.5:
            raise InputError(f"vary.tint is {self.tint}; it needs 0 <= tint <= 0.5.")
        if not self.papers:
            raise InputError("vary.papers is empty; name at least one paper.")
        for paper in self.papers:
            if paper not in PAPERS:
                raise InputError(f"There is no paper {paper!r}.{nearest(paper, PAPERS)}")


def get_layout(layout: str | Layout) -> Layout:
    """The layout of that name, or the given one.

    Raises:
        InputError: there is none of that name, or the given one has no rows.
    """
    if isinstance(layout, Layout):
        if not layout.row_count or not all(layout.rows) or not layout.seconds > 0:
            raise InputError("A layout needs at least one row, a lead in each, and more than 0 seconds.")
        return layout
    if layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r}.{nearest(layout, LAYOUTS)}")
    return LAYOUTS[layout]


PULSE_LEAD_MM = 1.5  # baseline drawn before and after the calibration pulse
PULSE_GAP_MM = 1.0  # between the pulse and the trace
PULSE_SECONDS = 0.2
EDGE_MM = 3.0  # kept free at the top and bottom at least
BOX_MM = 5.0  # a large box: baselines stand on 5 mm lines where the rows are not varied


@dataclass(frozen=True)
class Frame:
    """Sizes that follow from layout, style and image size; the horizontal ones hold for every record."""

    ppm: float  # pixels per mm at scale 1
    trace_mm: float  # length of a full row
    pulse_mm: float  # the pulse and its surroundings, left of the trace
    pitch_mm: float  # distance of the rows
    height_mm: float  # of the image at scale 1


def frame(layout: Layout, style: Style, size: tuple[int, int], vary: Vary) -> Frame:
    """The frame of an image of `size` = (H, W) pixels.

    Raises:
        InputError: the size is no pair of positive integers, or the drawing does not fit.
    """
    ok = isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(n, int) and 0 < n <= 16_000 for n in size)
    if not ok:
        raise InputError(f"The page size {size!r} is no (height, width) of 1 to 16000 pixels.")
    ppm = size[1] / style.width_mm
    trace = layout.seconds * style.speed
    pulse = style.speed * PULSE_SECONDS + 2 * PULSE_LEAD_MM + PULSE_GAP_MM if style.pulse else 0.0
    if (trace + pulse) * vary.scale[1] > style.width_mm:
        raise InputError(
            f"{trace + pulse:g} mm of trace and pulse do not fit a page {style.width_mm:g} mm wide at scale "
            f"{vary.scale[1]:g}; raise style.width_mm or lower the speed."
        )
    height = size[0] / ppm
    pitch = (height / vary.scale[1] - 2 * EDGE_MM) / layout.row_count / vary.row_gap[1]
    pitch = pitch // BOX_MM * BOX_MM if pitch >= BOX_MM else pitch
    if pitch < BOX_MM or ppm < 0.5:
        raise InputError(
            f"A page of {size[1]} x {size[0]} pixels is too small for {layout.row_count} rows on paper "
            f"{style.width_mm:g} mm wide; it needs 5 mm a row and half a pixel per mm at least."
        )
    return Frame(ppm, trace, pulse, pitch, height)
