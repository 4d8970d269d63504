"""What the data are: records per fold, how common the classes are, which occur together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecglib.errors import InputError
from ecglib.figures.style import COLOURS, INK, MARKERS, SOFT, SPLITS, figure, style


def split_overview(folds: Sequence, labels: np.ndarray, classes: Sequence[str],
                   splits: Mapping[str, Sequence[int]]) -> Figure:  # fmt: skip
    """Records per fold, and the share of each split's records that have each class.

    folds (N,) may hold missing values; labels (N, C) in {0, 1}; splits {"train": [1, ...], "valid": [9], "test": [10]}.
    """
    folds = pd.Series(folds, dtype="Int64").fillna(-1).to_numpy(np.int64)
    colour = {name: SPLITS.get(name, COLOURS[3 + i]) for i, name in enumerate(splits)}
    with style():
        fig = figure(0.9 + max(2.4, 0.36 * len(classes)))
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
        _records(left, folds, splits, colour)
        for i, (name, members) in enumerate(splits.items()):
            inside = np.isin(folds, list(members))
            if not inside.any():
                raise InputError(f"No record is in the {name} folds {list(members)}.")
            share = 100 * labels[inside].mean(axis=0)  # (C,)
            place = np.arange(len(classes)) + 0.17 * (i - (len(splits) - 1) / 2)
            text = f"{name} ({inside.sum():,})"
            right.plot(share, place, linestyle="none", marker=MARKERS[i], color=colour[name], markersize=7, label=text)
        right.set(yticks=np.arange(len(classes)), ylim=(len(classes) - 0.5, -0.5), xlabel="records with the class (%)")
        right.set_yticklabels(classes)
        right.set_xlim(left=0)
        right.set_title("Classes (a record may have several)")
        right.legend(title="split (records)", loc="best")
    return fig


def _records(ax, folds: np.ndarray, splits: Mapping[str, Sequence[int]], colour: Mapping[str, str]) -> None:
    split_of = {fold: name for name, members in splits.items() for fold in members}
    for fold in sorted(set(folds.tolist()) - {-1}):
        count = int((folds == fold).sum())
        ax.bar(fold, count, width=0.75, color=colour.get(split_of.get(fold, ""), SOFT))
        ax.text(fold, count, f"{count:,}", ha="center", va="bottom", fontsize=8, color=INK)
    ax.set(xlabel="fold", ylabel="records", xticks=sorted(set(folds.tolist()) - {-1}))
    ax.grid(axis="x", visible=False)
    ax.set_title("Records per fold")


def co_occurrence(labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Of the records with the row's class, the share (%) that also has the column's; the diagonal counts records.

    labels (N, C) in {0, 1}. Numbers are written for up to 25 classes.
    """
    labels = np.asarray(labels, np.float64)
    both = labels.T @ labels  # (C, C)
    total = np.diag(both)
    share = 100 * both / np.where(total > 0, total, np.nan)[:, None]
    np.fill_diagonal(share, np.nan)
    count, written = len(classes), len(classes) <= 25
    with style():
        side = min(9.0, 1.6 + 0.55 * count) if written else 8.0
        fig = figure(0.82 * side, width=side + 1.2)
        ax = fig.subplots()
        ax.set_facecolor("#f2f2f2")
        top = max(1.0, float(np.nanmax(share))) if np.isfinite(share).any() else 1.0
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=top)
        for (i, j), value in np.ndenumerate(share):
            if written:
                text = f"{int(total[i]):,}" if i == j else "" if np.isnan(value) else f"{value:.0f}"
                dark = i != j and value > 0.6 * top
                ax.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if dark else INK,
                        fontweight="bold" if i == j else "normal")  # fmt: skip
        ax.set(xticks=range(count), yticks=range(count), xlabel="also has", ylabel="records with")
        ax.set_xticklabels(classes, rotation=45 if count > 6 else 0, ha="right" if count > 6 else "center")
        ax.set_yticklabels(classes)
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        fig.colorbar(image, ax=ax, label="share of the row's records (%)", shrink=0.85).outline.set_visible(False)
    return fig
