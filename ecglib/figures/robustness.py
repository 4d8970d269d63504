"""How a model's score moves with what is done to its pages, and which lead's panel it needs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecglib.errors import InputError, nearest
from ecglib.figures.style import INK, SOFT, TEACHERS, WIDTH, figure, legend_columns, looks, lowest, panels, style
from ecglib.tables import label

DASHES = ((0, (5, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 2)))


def robustness(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]], *,
    clean: Mapping[str, tuple[float, float, float]] | None = None,
    xlabel: str = "severity (0: the page as drawn, 1: the strongest)", metric: str = "auc", of: str = "macro",
    columns: int = 3, colours: Mapping[str, str] | None = None, references: Mapping[str, float] | None = None,
) -> Figure:  # fmt: skip
    """A panel per effect, one value axis for all: every model's score over the severity, with its 95 % interval.

    curves {effect: {model: [(severity, value, low, high), ...]}}, severities in [0, 1] in any order; low and high may
    be None or NaN. clean {model: (value, low, high)}: of the pages without any effect, put at severity 0 of every
    panel. references {name: value} are dashed lines. Raises `InputError` for no curves, an unknown model in `clean`,
    severities that repeat or leave [0, 1], or low above high.
    """
    clean, references = dict(clean or {}), dict(references or {})
    models = list(dict.fromkeys(model for effect in curves.values() for model in effect))
    if not models:
        raise InputError("There are no curves to draw; give {effect: {model: [(severity, value, low, high), ...]}}.")
    for name in clean:
        if name not in models:
            raise InputError(f"clean names {name!r}, which has no curve.{nearest(name, models)}")
    if not (isinstance(columns, int) and columns > 0):
        raise InputError(f"columns must be a positive whole number, got {columns!r}.")
    with style():
        columns = min(columns, len(curves))
        fig = figure(0.9 + 2.5 * -(-len(curves) // columns))
        axes = panels(fig, len(curves), columns, sharex=True, sharey=True)
        look = looks(models, colours)
        for ax, (effect, by_model) in zip(axes, curves.items(), strict=True):
            for model, points in by_model.items():
                start = [(0.0, *clean[model])] if model in clean else []
                at, value, low, high = _curve([*start, *points], f"{model!r} under {effect!r}").T
                ax.fill_between(at, low, high, color=look[model]["color"], alpha=0.15, lw=0)
                ax.plot(at, value, **look[model], ms=4.5, label=model)
            ax.set_title(effect.replace("_", " "))
            ax.set(xlim=(-0.03, 1.03), xticks=[0, 0.25, 0.5, 0.75, 1])
            ax.set_xticklabels(["0", "", "0.5", "", "1"])
        lowest(axes, columns)
        _references(fig, axes, models, look, references, colours)
        fig.supxlabel(xlabel, fontsize=9.5)
        fig.supylabel(f"{label(metric, of)}, with 95 % interval", fontsize=9.5)
    return fig


def by_condition(
    points: Mapping[str, Sequence[tuple[str, float, float, float]]], *, xlabel: str, unseen: Collection[str] = (),
    unseen_label: str = "not in training", metric: str = "auc", of: str = "macro",
    colours: Mapping[str, str] | None = None, references: Mapping[str, float] | None = None,
) -> Figure:  # fmt: skip
    """Every model's score under named conditions, layouts for example: a dot with its 95 % interval, open where unseen.

    points {model: [(condition, value, low, high), ...]}; the conditions stand in the order in which they first occur.
    unseen: conditions that no model was trained on, shaded. references {name: value} are dashed lines. Raises
    `InputError` for no points, an unknown name in `unseen`, a condition given twice, or low above high.
    """
    references = dict(references or {})
    names = list(dict.fromkeys(point[0] for rows in points.values() for point in rows))
    if not names:
        raise InputError("There are no points to draw; give {model: [(condition, value, low, high), ...]}.")
    for name in unseen:
        if name not in names:
            raise InputError(f"unseen names {name!r}, which has no points.{nearest(name, names)}")
    with style():
        fig = figure(3.8)
        ax = fig.subplots()
        look, step = looks(points, colours), min(0.18, 0.7 / len(points))
        for c, name in enumerate(names):
            if name in unseen:
                ax.axvspan(c - 0.5, c + 0.5, color="#f2f2f2", lw=0, zorder=0)
        for i, (model, rows) in enumerate(points.items()):
            colour = look[model]["color"]
            if len({row[0] for row in rows}) < len(rows):
                raise InputError(f"{model!r} has a condition twice.")
            table = with_intervals([row[1:] for row in rows], repr(model))
            for (name, *_), (value, low, high) in zip(rows, table, strict=True):
                x = names.index(name) + step * (i - (len(points) - 1) / 2)
                ax.plot([x, x], [low, high], color=colour, lw=2, solid_capstyle="butt", zorder=2)
                face = "white" if name in unseen else colour
                ax.plot([x], [value], linestyle="none", **look[model], ms=7, mfc=face, mew=1.5, label=model, zorder=3)
        ax.set(xticks=range(len(names)), xlim=(-0.5, len(names) - 0.5), xlabel=xlabel)
        room = max(8, 100 // len(names))  # letters below a condition
        written = [textwrap.fill(name, room, break_long_words=False) for name in names]
        crowded = max(len(line) for text in written for line in text.split("\n")) > room
        ax.set_xticklabels(written, rotation=30 if crowded else 0, ha="right" if crowded else "center")
        ax.set_ylabel(f"{label(metric, of)}, with 95 % interval")
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="x", length=0)
        _references(fig, [ax], list(points), look, references, colours, unseen_label if unseen else "")
    return fig


def lead_importance(
    values: np.ndarray, leads: Sequence[str], classes: Sequence[str], *,
    low: np.ndarray | None = None, high: np.ndarray | None = None,
) -> Figure:  # fmt: skip
    """How a class's probability changes when one lead's panel is blanked: classes down, leads across.

    values (C, L): the mean drop in probability over the class's test records, the whole page's minus the blanked
    page's. What is drawn is the change, minus the drop: blue where the probability falls. low and high (C, L) are the
    drop's interval; numbers are then bold where it excludes 0 and grey where it does not. NaN leaves a cell empty.
    Raises `InputError` for shapes that do not agree, one of low and high alone, or values that are not in [-1, 1].
    """
    shape = len(classes), len(leads)
    given = {"values": values, "low": low, "high": high}
    arrays = {name: np.asarray(a, np.float64) for name, a in given.items() if a is not None}
    if 0 in shape or len(arrays) == 2:
        raise InputError("lead_importance needs a lead, a class, and both ends of the interval or neither.")
    for name, array in arrays.items():
        if array.shape != shape:
            raise InputError(f"{name!r} has shape {array.shape} for {shape[0]} classes and {shape[1]} leads.")
        if (np.abs(array) > 1).any():
            raise InputError(f"{name!r} has values outside -1 to 1, which no change of a probability has.")
    change = -arrays["values"]
    clear = None if len(arrays) == 1 else (arrays["low"] > 0) | (arrays["high"] < 0)
    reach = max(0.01, float(np.nanmax(np.abs(change), initial=0)))
    with style():
        fig = figure(1.1 + 0.42 * shape[0], width=min(WIDTH, 2.6 + 0.62 * shape[1]))
        ax = fig.subplots()
        ax.set_facecolor("#f2f2f2")
        image = ax.imshow(change, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        for (c, l), value in np.ndenumerate(change):
            text = "" if math.isnan(value) else f"{value:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00")
            strong = clear is not None and clear[c, l]
            colour = "white" if abs(value) > 0.6 * reach else INK if clear is None or strong else "#5c5c5c"
            weight = "bold" if strong else "normal"
            ax.text(l, c, text, ha="center", va="center", fontsize=8.5, color=colour, fontweight=weight)
        ax.set(xticks=range(shape[1]), yticks=range(shape[0]))
        ax.set_xticklabels(leads)
        ax.set_yticklabels(classes)
        ax.set_xlabel("lead whose panel is blanked" + ("" if clear is None else " (bold: 95 % interval excludes 0)"))
        ax.set_ylabel("records with")
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        fig.colorbar(image, ax=ax, label="change of probability", pad=0.015, aspect=14).outline.set_visible(False)
    return fig


def with_intervals(rows: Sequence[Sequence], whose: str) -> np.ndarray:
    """(n, 3) value, low, high; where there is no interval, both ends are the value."""
    if any(len(row) != 3 for row in rows):
        raise InputError(f"A point of {whose} is no (position, value, low, high).")
    table = np.array([[np.nan if x is None else x for x in row] for row in rows], np.float64).reshape(-1, 3)
    bare = np.isnan(table[:, 1:]).any(axis=1)
    table[bare, 1:] = table[bare, :1]
    if (table[:, 1] > table[:, 2]).any():
        raise InputError(f"{whose} has an interval whose low end is above its high end.")
    return table


def _curve(points: Sequence[Sequence], whose: str) -> np.ndarray:
    """(n, 4) severity, value, low, high by rising severity."""
    at = np.array([float(point[0]) for point in points])
    if not ((at >= 0) & (at <= 1)).all() or len(set(at)) < len(at):
        raise InputError(f"The severities of {whose} must be different numbers from 0 to 1, got {at.tolist()}.")
    curve = np.column_stack([at, with_intervals([point[1:] for point in points], whose)])  # (n, 4)
    return curve[np.argsort(at)]


def _references(
    fig: Figure, axes: Sequence[Axes], models: Sequence[str], look: Mapping, references: Mapping[str, float],
    colours: Mapping[str, str] | None, unseen: str = "",
) -> None:  # fmt: skip
    """The references as lines in every panel, and above all panels one legend of models and references."""
    handles = [Line2D([], [], **look[model], lw=2, ms=6, label=model) for model in models]
    for i, (name, value) in enumerate(references.items()):
        drawn = {
            "color": (colours or {}).get(name, TEACHERS[i % len(TEACHERS)]),
            "ls": DASHES[i % len(DASHES)],
            "lw": 1.3,
            "label": f"{name}: {value:.3f}",
        }
        for ax in axes:
            ax.axhline(value, zorder=1, **drawn)
        handles.append(Line2D([], [], **drawn))
    if unseen:
        handles.append(Line2D([], [], linestyle="none", marker="o", ms=6, mfc="white", mec=SOFT, mew=1.5, label=unseen))
    columns = legend_columns([handle.get_label() for handle in handles])
    fig.legend(handles=handles, loc="outside upper left", ncols=columns)
