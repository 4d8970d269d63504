"""Many runs in one picture: values and differences, learning curves with their seeds, cost, and class by class."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ecglib.errors import InputError
from ecglib.figures.curves import HISTORY_LABELS
from ecglib.figures.intervals import draw_interval
from ecglib.figures.style import COLOURS, INK, SOFT, figure, legend_columns, looks, panels, style
from ecglib.grounds import Ground
from ecglib.metrics import LOWER_IS_BETTER, macro
from ecglib.paired import pooled
from ecglib.tables import label, written

MOST = 8  # models of one panel that get a colour of their own


def runs_forest(ground: Ground, tests: pd.DataFrame) -> Figure:
    """Models down, best first: left their values with intervals and seeds, right their paired differences `tests`.

    tests: of `paired.paired(ground, against)`. A difference is filled where it is told apart, open where only the
    correction for many comparisons undoes an interval without zero, grey where the interval holds zero.
    """
    if tests.empty:
        raise InputError("There is one model on this ground, and so no difference to draw.")
    table = pooled(ground).query("`class` == 'macro'").set_index("label")
    against = tests["second"].iloc[0]
    kinds = list(dict.fromkeys(table["notebook"]))
    with style():
        fig = figure(1.3 + 0.3 * len(table))
        left, right = fig.subplots(1, 2, sharey=True)
        for name, look in looks(kinds, None).items():
            left.plot([], [], **look, ms=6, lw=2, label=name)
            for place in np.flatnonzero(table["notebook"] == name):
                draw_interval(left, table.iloc[place], place, look)
                scores = ground.line(table.index[place]).scores.values()
                each = [macro(run.values[ground.metric]) for run in scores] if len(scores) > 1 else []
                left.plot(each, [place + 0.28] * len(each), "o", mfc="none", mec=look["color"], ms=3, label="_seeds")
        right.axvline(0, color=INK, lw=1, zorder=1)
        drawn = tests.set_index("first").reindex(table.index)
        for place, (_, row) in enumerate(drawn.iterrows()):
            _difference(right, row, place)
        left.set(yticks=range(len(table)), ylim=(len(table) - 0.4, -0.6))
        left.set_yticklabels(table.index)
        left.get_yticklabels()[list(table.index).index(against)].set_fontweight("bold")
        left.set_xlabel(label(ground.metric, "macro"))
        right.set_xlabel("paired difference")
        numbers = right.secondary_yaxis("right")
        numbers.set_yticks(range(len(table)), [_number(row, name == against) for name, row in drawn.iterrows()])
        for ax in (left, right, numbers):
            ax.tick_params(axis="y", length=0)
        for ax in (left, right):
            ax.grid(axis="y", visible=False)
            ax.spines["left"].set_visible(False)
        numbers.spines["right"].set_visible(False)
        worse, better = ("better", "worse") if ground.metric in LOWER_IS_BETTER else ("worse", "better")
        for x, align, text in ((0.0, "left", f"← {worse}"), (1.0, "right", f"{better} →")):
            right.text(x, 1.01, text, transform=right.transAxes, ha=align, va="bottom", fontsize=9, color=INK)
        if len(kinds) > 1:
            fig.legend(loc="outside upper left", ncols=legend_columns(kinds))
    return fig


def _difference(ax: Axes, row: pd.Series, place: int) -> None:
    if pd.isna(row["value"]):
        return
    apart, alone = row["verdict"] in ("better", "worse"), row["low"] > 0 or row["high"] < 0
    colour = COLOURS[0] if alone else SOFT
    ax.plot([row["low"], row["high"]], [place, place], color=colour, lw=2, solid_capstyle="butt", zorder=2)
    fill = colour if apart or not alone else "white"
    ax.plot([row["value"]], [place], "o", mfc=fill, mec=colour, ms=6, zorder=3)


def _number(row: pd.Series, is_reference: bool) -> str:
    return "the reference" if is_reference else written(row["value"], row["low"], row["high"], sign=True)


def seed_curves(curves: pd.DataFrame, *, column: str = "valid_macro_auc") -> Figure:
    """Learning curves, a panel per configuration: the mean over seeds, and a band from the lowest to the highest seed.

    curves: of `comparison.curves`. The mean stops where the first seed does. The eight models that end best have
    colours; others are thin grey lines, counted in the panel.
    """
    if curves.empty:
        raise InputError(f"No run kept {column!r} in its history, so there is no learning curve to draw.")
    groups = {key: part for key, part in curves.groupby("configuration", sort=False)}
    ends = {key: part.groupby("model")["value"].max().sort_values(ascending=False) for key, part in groups.items()}
    shown = {key: [m for m in dict.fromkeys(groups[key]["model"]) if m in ends[key].index[:MOST]] for key in groups}
    with style():
        columns = min(2, len(groups))
        rows = -(-len(groups) // columns)
        height = 3.4 + 0.17 * max(map(len, shown.values()))
        fig = figure(height * rows)
        for ax, (key, part) in zip(panels(fig, len(groups), columns, sharey=True), groups.items(), strict=True):
            for model in [name for name in ends[key].index if name not in shown[key]]:
                wide = _wide(part, model)
                ax.plot(wide.index, wide.mean(axis=1), color=SOFT, lw=0.8, alpha=0.6, label="_others")
            for model, look in looks(shown[key], None).items():
                wide = _wide(part, model)
                ax.plot(wide.index, wide.mean(axis=1), color=look["color"], lw=1.8)
                if wide.shape[1] > 1:
                    low, high = wide.min(axis=1), wide.max(axis=1)
                    ax.fill_between(wide.index, low, high, color=look["color"], alpha=0.18, lw=0)
                ax.plot(wide.index[-1:], wide.mean(axis=1)[-1:], linestyle="none", **look, ms=5)
                seeds = f" ({wide.shape[1]} seeds)" if wide.shape[1] > 1 else ""
                ax.plot([], [], **look, lw=1.8, ms=5, label=f"{model}{seeds}")
            runs = list(dict.fromkeys(part["run"]))
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            others = len(ends[key]) - len(shown[key])
            ax.set(xlabel="epoch", ylabel=HISTORY_LABELS.get(column, column.replace("_", " ")))
            ax.set_title(f"{runs[0]}{more}" + (f"; grey: {others} others" if others else ""), fontsize=9)
            ax.locator_params(axis="x", integer=True)
            if part["epoch"].nunique() == 1:
                ax.set(xlim=(part["epoch"].iloc[0] - 1, part["epoch"].iloc[0] + 1), xticks=part["epoch"].unique())
            ax.tick_params(labelleft=True)
            two = len(shown[key]) > 4
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2 if two else 1, fontsize=8)
    return fig


def _wide(part: pd.DataFrame, model: str) -> pd.DataFrame:
    """Epochs down, seeds across, as far as every seed went: (E, S)."""
    return part[part["model"] == model].pivot(index="epoch", columns="seed", values="value").dropna()


def cost_quality(costs: pd.DataFrame, *, metric: str = "auc", titles: list[str] | None = None) -> Figure:
    """What a configuration took (minutes, log scale) against the best that it reached, a panel per ground.

    costs: of `comparison.costs`; rows without a value or a time are left out. The best model of each run has a dot, an
    interval and a label, moved until it meets neither another nor a dot; the run's other models are small rings.
    titles: one per ground, in their order.
    """
    drawn = costs.dropna(subset=["value", "minutes"])
    if drawn.empty:
        raise InputError("No run has both a time and a value, so cost cannot be drawn against quality.")
    grounds = sorted(set(drawn["ground"]))
    with style():
        columns = min(2, len(grounds))
        fig = figure(4.2 * -(-len(grounds) // columns))
        placed = []
        for ax, ground in zip(panels(fig, len(grounds), columns), grounds, strict=True):
            part = drawn[(drawn["ground"] == ground) & drawn["best"]].sort_values("minutes")
            rest = drawn[(drawn["ground"] == ground) & ~drawn["best"]]
            ax.plot(rest["minutes"], rest["value"], "o", mfc="none", mec=SOFT, ms=4, label="_others")
            for row in part.itertuples():
                if pd.notna(row.low):
                    ax.plot([row.minutes] * 2, [row.low, row.high], color=COLOURS[0], lw=1.6, label="_interval")
                ax.plot([row.minutes], [row.value], "o", color=COLOURS[0], ms=7, label="_dot")
            ax.set_xscale("log")
            low, high = part["minutes"].min(), part["minutes"].max()
            ax.set_xlim(low / 2, high * 2)
            ends = np.append(part[["low", "high", "value"]].to_numpy(float), rest["value"].to_numpy(float))
            room = 0.25 * max(np.nanmax(ends) - np.nanmin(ends), 0.01)
            ax.set_ylim(np.nanmin(ends) - room, np.nanmax(ends) + room)
            ticks = [m * 10**k for k in range(-2, 5) for m in (1, 2, 3, 5, 7) if low / 2 <= m * 10**k <= high * 2]
            ticks = ticks if len(ticks) < 12 else [tick for tick in ticks if f"{tick:e}"[0] == "1"]
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
            ax.set(xlabel="minutes of the whole run (log scale)", ylabel=label(metric, "macro"))
            if titles:
                ax.set_title(titles[ground], fontsize=9, wrap=True)
            placed.append((ax, part))
        FigureCanvasAgg(fig).draw()  # fixes the layout, so that labels can be placed by what they cover
        for ax, part in placed:
            _labels(ax, part)
    return fig


def _labels(ax: Axes, part: pd.DataFrame) -> None:
    """Writes each dot's label at the nearest of some places where it covers no dot, interval or other label."""
    renderer = ax.figure.canvas.get_renderer()
    scale = ax.figure.dpi / 72
    dots = ax.transData.transform(part[["minutes", "value"]].to_numpy(float))  # (K, 2) pixels
    taken = [_box(x - 6 * scale, y - 6 * scale, x + 6 * scale, y + 6 * scale) for x, y in dots]
    frame = ax.get_window_extent(renderer)
    for (x, y), row in zip(dots, part.itertuples(), strict=True):
        runs = row.runs.split(", ")
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        model = row.model.split(" (")[0]
        text = ax.annotate(f"{runs[0]}{more}:\n{model}", (row.minutes, row.value), xytext=(0, 0),
                           textcoords="offset points", fontsize=8, color=INK, va="center")  # fmt: skip
        text.set_in_layout(False)
        size = text.get_window_extent(renderer)
        best = None
        for rise, side in itertools.product(_rises(), ("left", "right")):
            x0 = x + 9 * scale if side == "left" else x - 9 * scale - size.width
            y0 = y + rise * scale - size.height / 2
            box = _box(x0, y0, x0 + size.width, y0 + size.height)
            outside = max(0.0, frame.x0 - box[0]) + max(0.0, box[2] - frame.x1)
            outside += max(0.0, frame.y0 - box[1]) + max(0.0, box[3] - frame.y1)
            cost = 1e3 * sum(_meet(box, other) for other in taken) + 10 * outside + abs(rise)
            if best is None or cost < best[0]:
                best = (cost, box, rise, side)
        _, box, rise, side = best
        text.set_position((9 if side == "left" else -9, rise))
        text.set_horizontalalignment(side)
        taken.append(box)


def _rises() -> list[float]:
    """Points above and below a dot at which its label may stand, nearest first."""
    return [0.0, *(sign * 7.0 * step for step in range(1, 16) for sign in (1, -1))]


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return (x0, y0, x1, y1)


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def class_heat(table: pd.DataFrame, *, metric: str = "auc") -> Figure:
    """Models down, best first, classes across and macro last: each value as a number on a colour, better is darker.

    table: of `paired.pooled`. A class that a model has no value for is white with a dash.
    """
    order = list(dict.fromkeys(table["class"]))
    order = [name for name in order if name != "macro"] + ["macro"]
    models = list(dict.fromkeys(table["label"]))
    values = table.pivot(index="label", columns="class", values="value").loc[models, order].to_numpy(float)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    with style():
        fig = figure(0.9 + 0.3 * len(models))
        ax = fig.subplots()
        picture = ax.imshow(np.ma.masked_invalid(sign * values), cmap="Blues", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            dark = not np.isnan(value) and _luminance(picture.to_rgba(sign * value)) < 0.18
            text, colour = "–" if np.isnan(value) else f"{value:.3f}", "white" if dark else "black"
            bold = "bold" if j == len(order) - 1 else "normal"
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=colour, fontweight=bold)
        ax.axvline(len(order) - 1.5, color="white", lw=3)
        ax.set(xticks=range(len(order)), yticks=range(len(models)))
        ax.set_xticklabels(order, rotation=45 if len(order) > 10 else 0, ha="right" if len(order) > 10 else "center")
        ax.set_yticklabels(models)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.grid(visible=False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.set_xlabel(f"{label(metric)}; {'smaller' if sign < 0 else 'larger'} is better and darker")
    return fig


def _luminance(rgba: tuple[float, ...]) -> float:
    """Relative luminance (WCAG 2); below 0.18 white stands out more than black, 4.5 to 1 at least."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba[:3]]
    return float(np.dot((0.2126, 0.7152, 0.0722), channels))
