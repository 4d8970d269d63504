"""ECG paper at true scale: 25 mm for a second, 10 mm for a millivolt, a line every millimetre.

Each sheet is one axes whose data unit is a millimetre of paper and whose figure is that many millimetres large, so the
geometry holds at any dpi. A trace is drawn about the median of what is seen of it, in place of a recorder's zero line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ecglib.errors import InputError, nearest
from ecglib.figures.style import INK, SOFT, looks, style
from ecglib.leads import LEADS, indices

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0
MM_PER_INCH = 25.4
PULSE_MM = 15.0  # left of the traces: the calibration pulse, 1 mV high and 0.2 s wide
HEAD_MM, FOOT_MM, EDGE_MM = 10.0, 12.0, 4.0
BESIDE_MM = 70.0  # right of the paper: predictions
PAPER, FINE, BOLD = "#fffafa", "#f9dcd9", "#eeb0aa"

LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "3x4+II": (
        ("I", "aVR", "V1", "V4"),
        ("II", "aVL", "V2", "V5"),
        ("III", "aVF", "V3", "V6"),
        ("II",),
    ),
    "6x2": tuple(zip(LEADS[:6], LEADS[6:], strict=True)),
    "12x1": tuple((lead,) for lead in LEADS),
}
"""Rows of a page, each a list of leads that share the row's time: in "3x4+II" each lead is seen for a quarter of it."""
ROW_MM = {"3x4+II": 30.0, "6x2": 25.0, "12x1": 20.0, "column": 30.0}


def ecg_page(
    signal: np.ndarray, *, rate: float, leads: Sequence[str], layout: str = "3x4+II", title: str = "",
    row_mm: float | None = None, classes: Sequence[str] = (), truth: np.ndarray | None = None,
    predictions: Mapping[str, np.ndarray] | None = None, colours: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """One record on ECG paper, its predictions beside it.

    signal (L, T) mV at `rate` Hz, its rows named by `leads`. layout: a key of `LAYOUTS`, or "column" for a row per lead
    as given. predictions {model: (C,) probabilities} and truth (C,) in {0, 1} belong to `classes`. row_mm overrides the
    height of a row; a trace that leaves its row runs over the next and is cut at the paper's edge. Raises `InputError`
    for an unknown layout, a lead that the layout needs and the record lacks, or shapes that do not fit.
    """
    signal = _signal(signal, rate, leads)
    if layout != "column" and layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r}.{nearest(layout, [*LAYOUTS, 'column'])}")
    rows = LAYOUTS.get(layout, tuple((lead,) for lead in leads))
    height = ROW_MM[layout] if row_mm is None else float(row_mm)
    with style():
        sheet = Sheet(
            signal.shape[1] / rate, [height] * len(rows), rate=rate, title=title, models=predictions, colours=colours
        )
        for i, names in enumerate(rows):
            sheet.row(i, _consecutive(signal[indices(leads, names)]), rate, names)
        if predictions:
            sheet.predictions(0, len(rows), classes, truth, predictions, limit_mm=14.0 * len(classes))
    return sheet.fig


def ecg_strips(
    signals: np.ndarray, *, rate: float, lead: str, titles: Sequence[str], classes: Sequence[str],
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], colours: Mapping[str, str] | None = None,
    row_mm: float = 30.0, title: str = "",
) -> Figure:  # fmt: skip
    """Several records, one lead each, with every model's probabilities beside each strip.

    signals (n, T) mV, titles n, truth (n, C) in {0, 1}, predictions {model: (n, C)}.
    """
    signals = _signal(signals, rate, titles, what="titles")
    for name, values in {"truth": truth, **predictions}.items():
        if np.shape(values) != (len(signals), len(classes)):
            raise InputError(
                f"{name!r} has shape {np.shape(values)} for {len(signals)} records and {len(classes)} classes."
            )
    with style():
        sheet = Sheet(
            signals.shape[1] / rate, [row_mm] * len(signals), rate=rate, title=title, models=predictions,
            colours=colours, gap=7.0,
        )  # fmt: skip
        for i, (trace, heading) in enumerate(zip(signals, titles, strict=True)):
            sheet.row(i, trace[None], rate, (lead,), heading=heading)
            each = {model: p[i] for model, p in predictions.items()}
            sheet.predictions(i, i + 1, classes, truth[i], each, axis=i == len(signals) - 1)
    return sheet.fig


def _signal(signal: np.ndarray, rate: float, names: Sequence[str], what: str = "leads") -> np.ndarray:
    signal = np.asarray(signal, np.float64)
    if signal.ndim != 2 or len(signal) != len(names):
        raise InputError(f"A signal of shape {signal.shape} does not fit {len(names)} {what}; give ({what}, time).")
    if not rate > 0:
        raise InputError(f"rate must be the sampling rate in Hz, got {rate}.")
    return signal


def _consecutive(shown: np.ndarray) -> np.ndarray:
    """Leads (K, T) that share a row, each NaN outside its K-th of the time: simultaneous leads, read left to right."""
    count, length = shown.shape
    part = np.arange(length) * count // length  # (T,) 0 .. K-1
    return np.where(part == np.arange(count)[:, None], shown, np.nan)


class Sheet:
    """A piece of ECG paper with rows of traces. All lengths are millimetres; y points up, row 0 is at the top.

    With `gap` every row is a strip of its own and a trace that leaves it is cut; without, rows share one sheet and a
    tall complex reaches into the next row, as on a recorder.
    """

    def __init__(self, seconds: float, rows: Sequence[float], *, rate: float, title: str = "", gap: float = 0.0,
                 models: Iterable[str] | None = None, colours: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.rows, self.gap = list(rows), gap
        self.looks = looks(models or (), colours)
        self.width = 5 * np.ceil((PULSE_MM + seconds * MM_PER_SECOND) / 5)  # whole large squares
        self.page = self.width + 2 * EDGE_MM + (BESIDE_MM if self.looks else 0)
        legend = sum(2.4 * len(model) + 9 for model in self.looks)  # about, in 11 pt letters
        self.legend_rows = int(np.ceil(legend / (self.page - 2 * EDGE_MM)))
        beside_title = 3 * len(title) + legend <= self.page
        self.head = HEAD_MM + (0 if beside_title else 6.0 * self.legend_rows)
        self.height = sum(rows) + gap * len(rows) + self.head + FOOT_MM
        self.fig = Figure(figsize=(self.page / MM_PER_INCH, self.height / MM_PER_INCH))
        self.ax = self.fig.add_axes((0, 0, 1, 1), label="paper")
        self.ax.set(xlim=(0, self.page), ylim=(0, self.height))
        self.ax.axis("off")
        whole = [(FOOT_MM, self.height - self.head)]
        for bottom, top in [self.span(i) for i in range(len(rows))] if gap else whole:
            self._grid(bottom, top)
        self._words(title, rate)

    def span(self, i: int) -> tuple[float, float]:
        """Bottom and top of row i."""
        top = self.height - self.head - sum(self.rows[:i]) - self.gap * (i + 1)
        return top - self.rows[i], top

    def _grid(self, bottom: float, top: float) -> None:
        left, right = EDGE_MM, EDGE_MM + self.width
        self.ax.add_patch(Rectangle((left, bottom), self.width, top - bottom, facecolor=PAPER, zorder=0))
        for step, colour, width in ((1, FINE, 0.4), (5, BOLD, 0.7)):
            across = np.arange(0, top - bottom + 1e-6, step) + bottom
            along = np.arange(0, self.width + 1e-6, step) + left
            lines = [((left, y), (right, y)) for y in across] + [((x, bottom), (x, top)) for x in along]
            name = f"grid {step} mm"
            self.ax.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=step / 10, label=name))

    def _words(self, title: str, rate: float) -> None:
        """Title and models above the paper, the scale below."""
        self.ax.text(EDGE_MM, self.height - HEAD_MM / 2, title, va="center", fontsize=13, fontweight="bold", color=INK)
        scale = f"{MM_PER_SECOND:g} mm/s    {MM_PER_MV:g} mm/mV    {rate:g} Hz"
        self.ax.text(EDGE_MM, FOOT_MM / 2, scale, va="center", fontsize=11, color=INK)
        if self.looks:
            handles = [Line2D([], [], linestyle="none", **look, ms=8, label=name) for name, look in self.looks.items()]
            band = HEAD_MM if self.head == HEAD_MM else self.head - HEAD_MM  # mm above the paper that are the legend's
            where = (1 - EDGE_MM / self.page, 1 - (self.head - band / 2) / self.height)
            self.fig.legend(handles=handles, loc="center right", bbox_to_anchor=where, fontsize=11,
                            ncols=-(-len(handles) // self.legend_rows), labelspacing=0.3, handletextpad=0.2,
                            columnspacing=1.2, borderaxespad=0, borderpad=0)  # fmt: skip

    def row(self, i: int, traces: np.ndarray, rate: float, names: Sequence[str], heading: str = "") -> None:
        """Row i: traces (K, T) mV, NaN where another lead has the place, with their names and the calibration pulse."""
        bottom, top = self.span(i)
        zero, start = (bottom + top) / 2, EDGE_MM + PULSE_MM
        if not self.gap:
            bottom, top = FOOT_MM, self.height - self.head
        inside = Rectangle((EDGE_MM, bottom), self.width, top - bottom, transform=self.ax.transData)
        x = start + np.arange(traces.shape[1]) / rate * MM_PER_SECOND  # (T,)
        for k, (trace, name) in enumerate(zip(traces, names, strict=True)):
            seen = np.flatnonzero(np.isfinite(trace))
            middle = np.median(trace[seen]) if len(seen) else 0.0
            (line,) = self.ax.plot(x, zero + (trace - middle) * MM_PER_MV, color=INK, lw=0.9, zorder=3, label=name)
            line.set_clip_path(inside)
            self._name(name, start + k * traces.shape[1] / len(traces) / rate * MM_PER_SECOND, i, first=k == 0)
        x_pulse = EDGE_MM + 3 + np.array([0, 1, 1, 6, 6, 7])  # 5 mm = 0.2 s
        y_pulse = zero + np.array([0, 0, 1, 1, 0, 0]) * MM_PER_MV
        self.ax.plot(x_pulse, y_pulse, color=INK, lw=0.9, zorder=3, label="calibration")
        if heading:
            self.ax.text(EDGE_MM, top + 1.2, heading, va="bottom", fontsize=12, color=INK)

    def _name(self, name: str, x: float, i: int, *, first: bool) -> None:
        """A lead's name, over its trace or, where rows are low, below the pulse; a dotted line where leads change."""
        bottom, top = self.span(i)
        low = self.rows[i] < 25
        place = {"x": EDGE_MM + 3, "y": (bottom + top) / 2 - 1.2} if low and first else {"x": x + 1, "y": top - 1}
        halo = [withStroke(linewidth=3, foreground=PAPER)]
        self.ax.text(**place, s=name, va="top", fontsize=12, fontweight="bold", color=INK, zorder=4, path_effects=halo)
        if not first:
            self.ax.plot([x, x], [bottom, top], color=SOFT, lw=0.8, ls=(0, (1, 2)), zorder=2, label="lead change")

    def predictions(self, first: int, last: int, classes: Sequence[str], truth: np.ndarray | None,
                    predictions: Mapping[str, np.ndarray], *, limit_mm: float = np.inf,
                    axis: bool = True) -> Axes:  # fmt: skip
        """Right of rows first .. last - 1: probabilities, 0 to 1; classes that the record has are shaded and bold."""
        top, bottom = self.span(first)[1], self.span(last - 1)[0]
        bottom = max(bottom, top - limit_mm)
        left = EDGE_MM + self.width + 21  # mm for the class names
        box = np.array([left, bottom, self.page - EDGE_MM - 2 - left, top - bottom])
        ax = self.fig.add_axes(tuple(box / np.tile([self.page, self.height], 2)), label="predictions")
        known, place = np.zeros(len(classes)) if truth is None else np.asarray(truth), np.arange(len(classes))
        for c in place[known == 1]:
            ax.axhspan(c - 0.44, c + 0.44, color="#e4e4e4", zorder=0, lw=0)
        spread = np.linspace(-0.22, 0.22, len(predictions)) if len(predictions) > 1 else [0.0]
        for offset, (model, p) in zip(spread, predictions.items(), strict=True):
            if np.shape(p) != (len(classes),):
                raise InputError(f"Predictions of {model!r} have shape {np.shape(p)} for {len(classes)} classes.")
            look = self.looks[model]
            ax.plot(p, place + offset, linestyle="none", **look, markersize=7, clip_on=False, label=model, zorder=3)
        ax.set(xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xticks=[0, 0.5, 1], yticks=place)
        ax.set_xticklabels(["0", "0.5", "1"] if axis else [], fontsize=11)
        ax.set_xlabel("probability (shaded: true)" if axis else "", fontsize=11, labelpad=1)
        ax.set_yticklabels(classes, fontsize=12)
        for c, text in enumerate(ax.get_yticklabels()):
            text.set(fontweight="bold" if known[c] == 1 else "normal", color=INK if known[c] == 1 else SOFT)
        ax.tick_params(length=0)
        ax.grid(axis="y", visible=False)
        ax.spines[["left", "bottom"]].set_visible(False)
        return ax
