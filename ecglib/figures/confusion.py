"""Which classes a multi-label model takes for which: a confusion matrix that allows for several classes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ecglib.errors import InputError
from ecglib.figures.style import INK, WIDTH, figure, panels, style

WRITTEN = 12
"""Up to so many classes the numbers stand in the cells."""


def confusion_shares(truth: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is said of the records with each class: shares (C, C) and the records behind each, (C, C) int.

    Cell (i, i): of the records with class i, the share in which i is said (its recall). Cell (i, j): of those with i
    and without j, the share in which j is said all the same. A record with both is right to get both, so it is in no
    off-diagonal cell. NaN where no record is behind a cell. truth, said: (N, C) in {0, 1}.
    """
    truth, said = np.asarray(truth, np.float64), np.asarray(said, np.float64)
    if truth.ndim != 2 or truth.shape != said.shape:
        raise InputError(f"Labels of shape {truth.shape} and decisions of shape {said.shape} are not both (N, C).")
    behind = truth.T @ (1 - truth)  # (C, C): has i, lacks j
    wrong = truth.T @ (said * (1 - truth))
    np.fill_diagonal(behind, truth.sum(axis=0))
    np.fill_diagonal(wrong, (truth * said).sum(axis=0))
    with np.errstate(invalid="ignore"):
        return wrong / np.where(behind > 0, behind, np.nan), behind.astype(np.int64)


def confusion(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], thresholds: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> Figure:  # fmt: skip
    """`confusion_shares` of several models, a panel each, in %; the diagonal is bold.

    truth (N, C) in {0, 1}; predictions {model: (N, C) probabilities}; thresholds {model: (C,)}, a class is said where
    the probability is at least that. Raises `InputError` for no model, a model without thresholds, or other shapes.
    """
    if not predictions:
        raise InputError("predictions names no model; give at least one {model: (records, classes)}.")
    count = len(classes)
    for model, p in predictions.items():
        if model not in thresholds or np.shape(thresholds[model]) != (count,) or np.shape(p)[1:] != (count,):
            raise InputError(f"{model!r} needs probabilities (N, {count}) and {count} thresholds.")
    with style():
        columns = min(len(predictions), 3 if count <= 7 else 2)
        rows = -(-len(predictions) // columns)
        side = WIDTH / columns
        fig = figure(0.6 + rows * (0.72 * side + 0.4))
        axes = panels(fig, len(predictions), columns)
        for ax, (model, p) in zip(axes, predictions.items(), strict=True):
            shares, behind = confusion_shares(truth, np.asarray(p) >= np.asarray(thresholds[model]))
            image = ax.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
            ax.set_facecolor("#f2f2f2")
            for (i, j), value in np.ndenumerate(shares):
                if count <= WRITTEN and np.isfinite(value):
                    weight = "bold" if i == j else "normal"
                    colour = "white" if value > 0.6 else INK
                    ax.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=9, color=colour,
                            fontweight=weight)  # fmt: skip
            ax.set(title=model, xticks=range(count), yticks=range(count))
            ax.set_xticklabels(classes, rotation=45, ha="right")
            ax.set_yticklabels([f"{name} ({behind[i, i]:,})" for i, name in enumerate(classes)])
            ax.grid(visible=False)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        fig.supxlabel("said", fontsize=9.5)
        fig.supylabel("records with (without the column's class)", fontsize=9.5)
        fig.colorbar(image, ax=axes, label="share of those records (%)", shrink=0.8).outline.set_visible(False)
    return fig
