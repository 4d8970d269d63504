"""Values and differences with their 95 % intervals, from the rows of metrics.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecglib.errors import InputError
from ecglib.figures.style import COLOURS, INK, SOFT, figure, legend_columns, looks, style
from ecglib.metrics import LOWER_IS_BETTER
from ecglib.tables import label, summary, written


def forest(rows: Iterable[Mapping], *, metric: str = "auc", of: str = "macro", models: Sequence[str],
           split: str = "test", colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """Models down, their value and interval across, each seed as a small open dot, the numbers at the right."""
    rows = list(rows)
    table = summary(rows, metric=metric, of=of, models=models, split=split).set_index("model")
    runs = pd.DataFrame(rows)
    runs = runs[(runs["metric"] == metric) & (runs["class"] == of) & (runs["split"] == split) & runs["seed"].notna()]
    seeds = {model: each for model, each in runs.groupby("model")["value"] if model in models and len(each) > 1}
    with style():
        fig, ax = _forest(len(models))
        for i, (model, look) in enumerate(looks(models, colours).items()):
            each = seeds.get(model, [])
            ax.plot(each, [i + 0.24] * len(each), "o", mfc="none", mec=look["color"], ms=4, label="seeds")
            draw_interval(ax, table.loc[model], i, look)
        _names(ax, table.loc[list(models)], sign=False)
        open_dots = "; open dots: seeds" if seeds else ""
        ax.set_xlabel(f"{label(metric, of)}, {split} records, with 95 % interval over patients{open_dots}")
    return fig


def paired_forest(rows: Iterable[Mapping], *, pairs: Sequence[tuple[str, str]], metric: str = "auc", of: str = "macro",
                  split: str = "test", labels: Sequence[str] | None = None,
                  sides: tuple[str, str] | None = None) -> Figure:  # fmt: skip
    """Differences A - B down, with their paired intervals about the line of no difference.

    labels: what the lines are called in place of "A - B"; sides: what all first and all second models are called.
    """
    if not pairs:
        raise InputError("pairs names no two models; give at least one (A, B).")
    names = [f"{a} - {b}" for a, b in pairs]
    table = summary(rows, metric=metric, of=of, models=names, split=split).set_index("model").loc[names]
    with style():
        fig, ax = _forest(len(names))
        ax.axvline(0, color=INK, lw=1, zorder=1)
        for i, name in enumerate(names):
            apart = table.loc[name, "low"] > 0 or table.loc[name, "high"] < 0
            colour = COLOURS[0] if apart else SOFT
            draw_interval(ax, table.loc[name], i, {"color": colour, "marker": "o"})
        _names(ax, table if labels is None else table.set_axis(list(labels)), sign=True)
        reach = 1.08 * np.nanmax(np.abs(np.append(table[["low", "high", "value"]].to_numpy(float), 0.001)))
        ax.set_xlim(-reach, reach)
        ax.set_xlabel(f"difference in {label(metric, of)}, {split} records, with paired 95 % interval over patients")
        better, worse = ("second", "first") if metric in LOWER_IS_BETTER else ("first", "second")
        if sides is not None:
            pairs = [sides]
        ends = {side: {pair[side == "second"] for pair in pairs} for side in ("first", "second")}
        for x, align, side in ((0.0, "left", worse), (1.0, "right", better)):
            name = next(iter(ends[side])) if len(ends[side]) == 1 else f"the {side}"
            text = f"← favours {name}" if x == 0 else f"favours {name} →"
            ax.text(x, 1.01, text, transform=ax.transAxes, ha=align, va="bottom", fontsize=9, color=INK)
    return fig


def _forest(count: int) -> tuple[Figure, Axes]:
    fig = figure(1.0 + 0.42 * count)
    ax = fig.subplots()
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(count - 0.4, -0.6)
    return fig, ax


def draw_interval(ax: Axes, row: pd.Series, place: float, look: Mapping[str, str], *, vertical: bool = False) -> None:
    """A dot with its interval at `place`; nothing where the value is not defined."""
    if pd.isna(row["value"]):
        return
    ends = [row["low"], row["high"]] if pd.notna(row["low"]) else [row["value"]] * 2
    line, dot = (ends, [place, place]), ([row["value"]], [place])
    if vertical:
        line, dot = line[::-1], dot[::-1]
    ax.plot(*line, color=look["color"], lw=2, solid_capstyle="butt", zorder=2)
    ax.plot(*dot, linestyle="none", **look, ms=7, zorder=3)


def _names(ax: Axes, table: pd.DataFrame, *, sign: bool) -> None:
    """Model names at the left, the numbers in words at the right."""
    ax.set_yticks(range(len(table)), list(table.index))
    numbers = ax.secondary_yaxis("right")
    texts = [written(row["value"], row["low"], row["high"], sign=sign) for _, row in table.iterrows()]
    numbers.set_yticks(range(len(table)), texts)
    numbers.tick_params(length=0)
    numbers.spines["right"].set_visible(False)


def per_class(rows: Iterable[Mapping], *, metric: str = "auc", models: Sequence[str], split: str = "test",
              colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """Classes down (macro last), one dot with its interval per model."""
    table = summary(rows, metric=metric, models=models, split=split)
    names = [name for name in dict.fromkeys(table["class"]) if name != "macro"] + ["macro"]
    with style():
        step = min(0.18, 0.8 / len(models))
        fig = figure(1.2 + len(names) * max(0.36, 0.13 * len(models)))
        ax = fig.subplots()
        for i, (model, look) in enumerate(looks(models, colours).items()):
            part = table[table["model"] == model].set_index("class")
            for c, name in enumerate(names):
                draw_interval(ax, part.loc[name], c + step * (i - (len(models) - 1) / 2), look)
            ax.plot([], [], **look, ms=6, lw=2, label=model)
        for c in range(0, len(names), 2):
            ax.axhspan(c - 0.5, c + 0.5, color="#f5f5f5", lw=0, zorder=0)
        ax.set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
        ax.set_yticklabels(names)
        ax.get_yticklabels()[-1].set_fontweight("bold")
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"{label(metric)}, {split} records, with 95 % interval over patients")
        fig.legend(loc="outside upper left", ncols=legend_columns(models))
    return fig


def lead_sweep(rows: Iterable[Mapping], series: Mapping[str, Mapping[str, str]], *, reference: str | None = None,
               metric: str = "auc", of: str = "macro", split: str = "test",
               colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """One student per lead: value and interval over the leads, the reference model (the teacher) as a line and band.

    series {name in the legend: {lead: model in the rows}}; leads in the order of the first series.
    """
    rows, leads = list(rows), list(next(iter(series.values())))
    with style():
        fig = figure(3.6)
        ax = fig.subplots()
        for i, (name, look) in enumerate(looks(series, colours).items()):
            wanted = list(series[name].values())
            table = summary(rows, metric=metric, of=of, models=wanted, split=split).set_index("model")
            for lead, model in series[name].items():
                place = leads.index(lead) + 0.22 * (i - (len(series) - 1) / 2)
                draw_interval(ax, table.loc[model], place, look, vertical=True)
            ax.plot([], [], **look, ms=6, lw=2, label=name)
        if reference is not None:
            row = summary(rows, metric=metric, of=of, models=[reference], split=split).iloc[0]
            ax.axhline(row["value"], color=INK, lw=1.4, label=f"{reference}: {row['value']:.3f}", zorder=1)
            if pd.notna(row["low"]):
                ax.axhspan(row["low"], row["high"], color=INK, alpha=0.08, lw=0, zorder=0)
        ax.set(xticks=range(len(leads)), xlim=(-0.6, len(leads) - 0.4), xlabel="the student's lead")
        ax.set_xticklabels(leads)
        ax.set_ylabel(f"{label(metric, of)}, {split} records")
        ax.grid(axis="x", visible=False)
        fig.legend(loc="outside upper left", ncols=3)
    return fig
