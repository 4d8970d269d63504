"""Where to cut a probability: what a threshold finds and what it cries wolf over, to look at or to slide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecglib.errors import InputError, nearest
from ecglib.figures.style import COLOURS, INK, SOFT, figure, style

BINS = 40


def operating_points(
    truth: np.ndarray, p: np.ndarray, thresholds: Sequence[float], classes: Sequence[str]
) -> pd.DataFrame:
    """What each class's threshold does on N records: one row a class.

    truth (N, C) in {0, 1}; p (N, C) probabilities; a class is said where p is at least its threshold (C,). Columns:
    threshold; positives and said, counts of records; sensitivity, specificity, and the positive and negative predictive
    values, which hold at this share of positives only. NaN where there is nothing to divide by. Raises `InputError`
    for shapes that do not agree.
    """
    truth, p, thresholds = np.asarray(truth) > 0, np.asarray(p, np.float64), np.asarray(thresholds, np.float64)
    if (
        truth.shape != p.shape
        or truth.ndim != 2
        or thresholds.shape != (len(classes),)
        or truth.shape[1] != len(classes)
    ):
        raise InputError(
            f"Labels {truth.shape}, probabilities {p.shape} and {thresholds.size} thresholds do not fit {len(classes)} "
            f"classes; give (N, C), (N, C) and C."
        )
    said = p >= thresholds
    hits, misses = (said & truth).sum(0), (~said & truth).sum(0)  # (C,)
    alarms, quiet = (said & ~truth).sum(0), (~said & ~truth).sum(0)
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "threshold": thresholds,
                "positives": hits + misses,
                "said": hits + alarms,
                "sensitivity": hits / (hits + misses),
                "specificity": quiet / (quiet + alarms),
                "positive predictive value": hits / (hits + alarms),
                "negative predictive value": quiet / (quiet + misses),
            },
            index=list(classes),
        )


def threshold_view(truth: np.ndarray, p: np.ndarray, threshold: float, *, name: str = "") -> Figure:
    """The probabilities of one class, (N,), for records with and without it, and the line that parts them."""
    truth, p = np.asarray(truth) > 0, np.asarray(p, np.float64)
    if truth.shape != p.shape or truth.ndim != 1:
        raise InputError(f"Labels {truth.shape} and probabilities {p.shape} are not both (N,).")
    row = operating_points(truth[:, None], p[:, None], [threshold], [name]).iloc[0]
    with style():
        fig = figure(3.0)
        ax = fig.subplots()
        edges = np.linspace(0, 1, BINS + 1)
        without = f"without {name} ({(~truth).sum():,})"
        with_it = f"with {name} ({truth.sum():,})"
        groups = {"color": [SOFT, COLOURS[0]], "label": [without, with_it]}
        ax.hist([p[~truth], p[truth]], bins=edges, stacked=True, **groups)
        ax.axvline(threshold, color=INK, lw=1.6, label=f"threshold {threshold:.2f}")
        ax.set(xlim=(0, 1), xlabel=f"probability of {name}", ylabel="records")
        ax.set_title(
            f"found {row['sensitivity']:.0%} of those with it; "
            f"{row['positive predictive value']:.0%} of what is said is right"
            if row["said"]
            else "nothing is said at this threshold"
        )
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return fig


def browse_thresholds(truth: np.ndarray, p: np.ndarray, classes: Sequence[str], *, first: str = "") -> Any:
    """A class to choose and its threshold to slide, in a live notebook; None where nobody can slide.

    truth (N, C), p (N, C): of records that choose thresholds, so never of a test fold.
    """
    from ecglib.figures.live import live

    if first and first not in classes:
        raise InputError(f"There is no class {first!r}.{nearest(first, classes)}")
    if not live():
        return None
    import ipywidgets as widgets

    from ecglib.figures.style import show

    kind = widgets.Dropdown(options=list(classes), value=first or classes[0], description="class")
    cut = widgets.FloatSlider(value=0.5, min=0, max=1, step=0.01, description="threshold", continuous_update=False)

    def draw(name: str, threshold: float) -> None:
        column = list(classes).index(name)
        fig = threshold_view(truth[:, column], p[:, column], threshold, name=name)
        show(fig, alt=f"Probabilities of {name} for records with and without it, cut at {threshold:.2f}.")

    shown = widgets.interactive_output(draw, {"name": kind, "threshold": cut})
    return widgets.VBox([widgets.HBox([kind, cut]), shown])
