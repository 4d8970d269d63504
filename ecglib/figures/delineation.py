"""Where waves begin and end: one lead with its P waves, QRS complexes and T waves, true and found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ecglib.errors import InputError
from ecglib.figures.pretraining import runs
from ecglib.figures.style import COLOURS, INK, figure, style

WAVES = {1: ("P wave", COLOURS[0], 0.4), 2: ("QRS complex", COLOURS[3], 0.8), 3: ("T wave", COLOURS[2], 0.6)}
"""Class of a sample: its name, its colour, and the height of its bar, so that no wave is known by colour alone."""
NOT_ANNOTATED = "not annotated"


def delineation(
    signal: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray], *, rate: float, lead: str,
    known: np.ndarray | None = None, title: str = "", truth_label: str = "cardiologist",
) -> Figure:  # fmt: skip
    """One lead with the true waves shaded; beneath, on the same time axis, a row for the truth and one per model.

    signal (T,) mV at `rate` Hz; truth and found {model: (T,)} hold a class per sample: 0 none, 1 P, 2 QRS, 3 T.
    known (T,) bool: where the truth was annotated, everywhere by default; the rest is hatched. Raises `InputError` for
    other lengths or classes.
    """
    signal = np.asarray(signal, np.float64)
    if signal.ndim != 1 or not len(signal) or not rate > 0:
        raise InputError(f"A signal of shape {signal.shape} at {rate} Hz cannot be drawn; give one lead (time,).")
    truth = _classes(truth, len(signal), "truth")
    hidden = np.zeros(len(signal), bool) if known is None else ~np.asarray(known, bool)
    if hidden.shape != signal.shape:
        raise InputError(f"known has shape {hidden.shape} for {len(signal)} samples; give a boolean for each.")
    rows = {truth_label: truth} | {name: _classes(c, len(signal), repr(name)) for name, c in found.items()}
    if len(rows) <= len(found):
        raise InputError(f"A model is called {truth_label!r}, like the truth; rename it or give truth_label.")
    with style():
        fig = figure(2.3 + 0.42 * len(rows))
        above, below = fig.subplots(2, 1, sharex=True, height_ratios=(1.7, 0.42 * len(rows)))
        above.plot(np.arange(len(signal)) / rate, signal, color=INK, lw=1, zorder=3, label=lead)
        for kind, (_, colour, _) in WAVES.items():
            for start, end in runs(truth == kind):
                above.axvspan(start / rate, end / rate, color=colour, alpha=0.25, lw=0, zorder=0)
        for place, classes in enumerate(rows.values()):
            _bars(below, classes, place, rate)
            below.axhline(place + 0.45, color="#d0d0d0", lw=0.8, zorder=0)
        above.set(ylabel=f"{lead} (mV)", xlim=(0, len(signal) / rate))
        above.set_title(title)
        below.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.55), xlabel="time (s)")
        below.set_yticklabels(rows)
        below.get_yticklabels()[0].set_fontweight("bold")
        below.tick_params(axis="y", length=0)
        below.grid(axis="y", visible=False)
        below.spines["left"].set_visible(False)
        handles = [Patch(color=colour, label=name) for name, colour, _ in WAVES.values()]
        if hidden.any():
            for ax in (above, below):
                for start, end in runs(hidden):
                    ax.axvspan(start / rate, end / rate, fc="none", ec="#d8d8d8", hatch="///", lw=0, zorder=0)
            handles.append(Patch(fc="none", ec="#c4c4c4", hatch="///", lw=0, label=NOT_ANNOTATED))
        fig.legend(handles=handles, loc="outside upper left", ncols=4)
    return fig


def _bars(ax: Axes, classes: np.ndarray, place: float, rate: float) -> None:
    """A row of bars that stand on its base line, one for each wave."""
    for kind, (name, colour, height) in WAVES.items():
        spans = [(start / rate, (end - start) / rate) for start, end in runs(classes == kind)]
        ax.broken_barh(spans, (place + 0.45 - height, height), color=colour, lw=0, label=name, zorder=2)


def _classes(classes: np.ndarray, length: int, whose: str) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.shape != (length,):
        raise InputError(f"{whose} has shape {classes.shape} for {length} samples; give a class for each.")
    odd = classes[~np.isin(classes, (0, *WAVES))]
    if len(odd):
        raise InputError(f"{whose} has the class {odd[0]}; the classes are 0 none, 1 P, 2 QRS, 3 T.")
    return classes
