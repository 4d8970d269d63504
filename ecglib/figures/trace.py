"""What a network looks at in a trace: the ECG on paper, coloured where a change of it moves the probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ecglib.errors import InputError
from ecglib.figures.paper import EDGE_MM, FOOT_MM, MM_PER_SECOND, PULSE_MM, Sheet
from ecglib.figures.style import COLOURS, INK, figure, style

_MAP = "RdBu_r"  # as in lead_importance: blue where the probability falls, red where it rises
_ROW_MM = 18.0
_ALL_MM = 8.0


def trace_importance(
    signal: np.ndarray, change: np.ndarray, *, rate: float, window_s: float, leads: Sequence[str], title: str = "",
) -> Figure:  # fmt: skip
    """An ECG, a row per lead, over the change of a class's probability when a piece of the trace is taken out.

    signal (L, T) mV. change (L + 1, W) as `explain.occlusion` gives it for pieces of `window_s`: a row a lead, and one
    for all leads at once, drawn as a band below them. Blue: the probability falls without the piece, so that it spoke
    for the class; red: it rises. Raises `InputError` for shapes that do not agree.
    """
    signal, change = np.asarray(signal, np.float64), np.asarray(change, np.float64)
    count, length = len(leads), signal.shape[-1]
    pieces = -(-length // round(window_s * rate))
    if signal.shape != (count, length) or change.shape != (count + 1, pieces):
        raise InputError(
            f"A signal of shape {signal.shape} with changes {change.shape} does not fit {count} leads in {pieces} "
            f"pieces of {window_s:g} s."
        )
    reach = max(0.01, float(np.nanmax(np.abs(change), initial=0)))
    shade = ScalarMappable(Normalize(-reach, reach), _MAP)
    with style():
        sheet = Sheet(length / rate, [_ROW_MM] * count + [_ALL_MM], rate=rate, title=title)
        for i, (lead, trace) in enumerate(zip(leads, signal, strict=True)):
            _tiles(sheet, i, change[i], rate, window_s, length, shade, alpha=0.55)
            sheet.row(i, trace[None], rate, (lead,))
        _tiles(sheet, count, change[count], rate, window_s, length, shade, alpha=1.0)
        bottom, top = sheet.span(count)
        sheet.ax.text(EDGE_MM + 1, (bottom + top) / 2, "all leads", va="center", fontsize=10, color=INK, zorder=4)
        _scale(sheet, shade, reach)
    return sheet.fig


def _tiles(sheet: Sheet, row: int, values: np.ndarray, rate: float, window_s: float, length: int,
           shade: ScalarMappable, *, alpha: float) -> None:  # fmt: skip
    bottom, top = sheet.span(row)
    window = round(window_s * rate)
    for piece, value in enumerate(values):
        start, stop = piece * window, min((piece + 1) * window, length)
        left = EDGE_MM + PULSE_MM + start / rate * MM_PER_SECOND
        wide = (stop - start) / rate * MM_PER_SECOND
        tile = Rectangle(
            (left, bottom), wide, top - bottom, facecolor=shade.to_rgba(value), alpha=alpha, lw=0, zorder=1.5
        )
        tile.set_label(f"row {row}")
        sheet.ax.add_patch(tile)


def _scale(sheet: Sheet, shade: ScalarMappable, reach: float) -> None:
    """A colour bar in the foot of the sheet, at its right, and what it says at its left."""
    right = sheet.page - EDGE_MM - 8
    box = np.array([right - 40, FOOT_MM / 2 - 0.2, 40, 2.2])
    ax = sheet.fig.add_axes(tuple(box / np.tile([sheet.page, sheet.height], 2)), label="scale")
    sheet.fig.colorbar(shade, cax=ax, orientation="horizontal", ticks=[-reach, 0, reach])
    ax.set_xticklabels([f"{-reach:.2g}", "0", f"+{reach:.2g}"], fontsize=9)
    ax.tick_params(length=0, pad=1)
    words = "change of the probability without the piece"
    sheet.ax.text(right - 50, FOOT_MM / 2 + 0.8, words, ha="right", va="center", fontsize=11, color=INK)


def calibrated_probabilities(table: pd.DataFrame) -> Figure:
    """The probabilities of one ECG as `reading.calibrated` gives them: a row a class.

    Open: as the model says them; filled, with its 95 % interval: after calibration; a tick: how common the class is in
    the reference. Classes beyond what the reference holds are marked.
    """
    if table.empty:
        raise InputError("There is no class to draw.")
    with style():
        fig = figure(0.9 + 0.42 * len(table))
        ax = fig.subplots()
        place = np.arange(len(table))
        for y, row in zip(place, table.itertuples()):
            ax.plot([row.low, row.high], [y, y], color=COLOURS[0], lw=2, solid_capstyle="butt", zorder=2)
        ax.plot(table["calibrated"], place, "o", color=COLOURS[0], ms=8, label="calibrated, 95 % interval", zorder=3)
        ax.plot(
            table["model"], place, "o", mfc="white", mec=COLOURS[3], mew=1.6, ms=7, label="as the model says", zorder=4
        )
        ax.plot(
            table["base_rate"], place, "|", color=INK, ms=14, mew=2, label="share of the reference's records", zorder=1
        )
        names = [f"{name} *" if beyond else str(name) for name, beyond in zip(table.index, table["beyond"])]
        ax.set(xlim=(-0.01, 1.01), ylim=(len(table) - 0.5, -0.5), yticks=place, xlabel="probability")
        ax.set_yticklabels(names)
        ax.grid(axis="y", visible=False)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        if table["beyond"].any():
            ax.text(1, -0.02, "* beyond the reference", transform=ax.transAxes, ha="right", va="top", fontsize=8)
    return fig
