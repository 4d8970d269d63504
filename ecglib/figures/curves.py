"""Curves: training, discrimination, calibration, and how closely a student follows its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecglib.bootstrap import Bootstrap, interval
from ecglib.errors import InputError, nearest
from ecglib.figures.style import COLOURS, INK, SOFT, figure, legend_columns, looks, lowest, panels, style
from ecglib.metrics import auc, average_precision, brier, ece, macro, precision_at, reliability, roc_at

HISTORY_LABELS = {
    "loss": "training loss",
    "bce": "training BCE",
    "valid_loss": "validation loss",
    "valid_macro_auc": "validation macro AUC",
    "learning_rate": "learning rate",
}


def learning_curves(history: pd.DataFrame, columns: Sequence[str] = ("loss", "valid_loss", "valid_macro_auc"), *,
                    colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """One panel per column over the epochs: a thin line per seed and a thick one for the mean over seeds.

    history: columns model, seed, epoch and those named. The mean stops where the first seed does. A single epoch, of
    which there is no line, is a mark. Where valid_macro_auc is there, a mark shows each run's best epoch, the one whose
    weights are kept.
    """
    for column in ("model", "seed", "epoch", *columns):
        if column not in history:
            raise InputError(f"The history has no column {column!r}.{nearest(column, history.columns)}")
    models = list(dict.fromkeys(history["model"]))
    with style():
        fig = figure(3.3)
        axes = fig.subplots(1, len(columns), squeeze=False)[0]
        for ax, column in zip(axes, columns, strict=True):
            for model, look in looks(models, colours).items():
                wide = history[history["model"] == model].pivot(index="epoch", columns="seed", values=column)
                wide = wide.dropna(axis=1, how="all")  # (E, S)
                several = wide.shape[1] > 1
                ax.plot(wide.index, wide, color=look["color"], lw=0.8 if several else 1.8, alpha=0.5 if several else 1)
                if several:
                    whole = wide.dropna()
                    ax.plot(whole.index, whole.mean(axis=1), color=look["color"], lw=2.2)
                if len(wide) == 1 and column != "valid_macro_auc":
                    ax.plot(wide.index, wide, linestyle="none", **look, markersize=5, zorder=4)
                if column == "valid_macro_auc":
                    ax.plot(wide.idxmax(), wide.max(), linestyle="none", **look, markersize=5, zorder=4)
            ax.set(xlabel="epoch", ylabel=HISTORY_LABELS.get(column, column.replace("_", " ")))
            ax.locator_params(axis="x", integer=True)
            if history["epoch"].nunique() == 1:  # else the axis shows thousandths of an epoch
                only = history["epoch"].iloc[0]
                ax.set(xlim=(only - 1, only + 1), xticks=[only])
        _legend(fig, models, colours, line=True)
    return fig


def _legend(fig: Figure, models: Sequence[str], colours: Mapping[str, str] | None, *, line: bool = False,
            names: Mapping[str, str] | None = None) -> None:  # fmt: skip
    """The models once, above all panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], **look, lw=2 if line else 0, markersize=6, label=(names or {}).get(model, model))
        for model, look in looks(models, colours).items()
    ]
    columns = legend_columns([handle.get_label() for handle in handles])
    fig.legend(handles=handles, loc="outside upper left", ncols=columns)


def _runs(p: np.ndarray) -> np.ndarray:
    """Predictions (N, C) of one run or (S, N, C) of S seeds, as (S, N, C)."""
    p = np.asarray(p)
    return p[None] if p.ndim == 2 else p


def roc_pr(bootstrap: Bootstrap, predictions: Mapping[str, np.ndarray], classes: Sequence[str], *, of: str = "macro",
           draws: int = 200, colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """ROC and precision-recall curves with 95 % bands over patients.

    predictions {model: (N, C), or (S, N, C) for S seeds, whose curves are averaged}. of: a class, or "macro", the mean
    over classes of sensitivity at each false positive rate and of precision at each recall. The bands use the first
    `draws` of the bootstrap.
    """
    if of != "macro" and of not in classes:
        raise InputError(f"There is no class {of!r}.{nearest(of, ['macro', *classes])}")
    chosen = list(range(len(classes))) if of == "macro" else [list(classes).index(of)]
    y = bootstrap.y
    weights = bootstrap.counts[:, :draws][bootstrap.owner].T  # (D, N)
    rates, recalls = np.linspace(0, 1, 101), np.linspace(0.01, 1, 100)
    with style():
        fig = figure(4.3)
        left, right = fig.subplots(1, 2)
        curves = ((left, rates, roc_at, auc, "AUC"), (right, recalls, precision_at, average_precision, "AP"))
        for ax, grid, curve, measure, name in curves:
            for model, look in looks(predictions, colours).items():
                runs = _runs(predictions[model])

                def mean(w, runs=runs, curve=curve, grid=grid):  # over classes, then seeds: (D, G)
                    each = [[curve(y[:, c], p[:, c], grid, w) for c in chosen] for p in runs]  # (S, C, D, G)
                    return macro(np.moveaxis(np.array(each), 1, -1)).mean(axis=0)

                low, high = interval(mean(weights))
                value = np.mean([macro(measure(y, p)[chosen]) for p in runs])
                ax.fill_between(grid, low, high, color=look["color"], alpha=0.15, lw=0)
                ax.plot(grid, mean(None)[0], color=look["color"], label=f"{model}: {name} {value:.3f}")
            ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        left.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
        chance = y[:, chosen].mean()
        right.axhline(chance, color=SOFT, lw=1, ls=(0, (4, 3)))
        left.set(xlabel="1 - specificity", ylabel="sensitivity (recall)", title=f"ROC, {of}")
        right.set(xlabel="recall (sensitivity)", ylabel="precision", title=f"Precision and recall, {of}")
        left.legend(loc="lower right")
        right.legend(loc="lower left")
    return fig


def reliability_diagram(y: np.ndarray, predictions: Mapping[str, np.ndarray], classes: Sequence[str], *, bins: int = 10,
                        colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """Observed share of positives against predicted probability, a panel per class; a dot's area is its record count.

    y (N, C), predictions {model: (N, C)}: one run each. Titles give the calibration error (15 bins) of each model in
    the order of the legend.
    """
    with style():
        columns = min(3, len(classes))
        fig = figure(0.5 + 2.9 * -(-len(classes) // columns))
        axes = panels(fig, len(classes), columns, sharex=True, sharey=True)
        tables = {model: reliability(y, p, classes, bins=bins) for model, p in predictions.items()}
        errors = {model: ece(y, p) for model, p in predictions.items()}
        for c, (ax, name) in enumerate(zip(axes, classes, strict=True)):
            ax.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
            for model, look in looks(predictions, colours).items():
                part = tables[model][tables[model]["class"] == name]
                ax.plot(part["predicted"], part["observed"], color=look["color"], lw=1, alpha=0.7)
                area = 8 + 160 * part["count"] / len(y)
                ax.scatter(part["predicted"], part["observed"], s=area, **look, alpha=0.85, lw=0)
            listed = " / ".join(f"{errors[model][c]:.3f}" for model in predictions)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            ax.set_title(f"{name}  ({listed})", fontsize=9)
        lowest(axes, columns)
        fig.supxlabel("predicted probability", fontsize=9.5)
        fig.supylabel("observed share of positives", fontsize=9.5)
        names = {m: f"{m} (Brier {macro(brier(y, p)):.3f}, ECE {macro(errors[m]):.3f})" for m, p in predictions.items()}
        _legend(fig, list(predictions), colours, names=names)
    return fig


def agreement(y: np.ndarray, first: np.ndarray, second: np.ndarray, classes: Sequence[str],
              names: tuple[str, str]) -> Figure:  # fmt: skip
    """Probabilities of two models record by record, a panel per class, with Spearman's rank correlation.

    y, first, second (N, C); names of the two, the first on the x axis (the teacher).
    """
    with style():
        columns = min(3, len(classes))
        fig = figure(0.5 + 2.9 * -(-len(classes) // columns))
        axes = panels(fig, len(classes), columns, sharex=True, sharey=True)
        for c, (ax, name) in enumerate(zip(axes, classes, strict=True)):
            ax.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
            for value, colour, marker, text in ((0, COLOURS[0], "o", "without"), (1, COLOURS[3], "^", "with")):
                rows = np.asarray(y)[:, c] == value
                label = f"records {text} the class"
                ax.plot(first[rows, c], second[rows, c], marker, color=colour, ms=3, alpha=0.45, mew=0, label=label)
            ranks = pd.DataFrame({"first": first[:, c], "second": second[:, c]}).rank()  # ties share their mean rank
            rank = ranks.corr().loc["first", "second"]
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            ax.set_title(f"{name}  (rank correlation {rank:.2f})", fontsize=9)
        lowest(axes, columns)
        fig.supxlabel(f"probability, {names[0]}", fontsize=9.5, color=INK)
        fig.supylabel(f"probability, {names[1]}", fontsize=9.5, color=INK)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper left", ncols=2, markerscale=2)
    return fig
