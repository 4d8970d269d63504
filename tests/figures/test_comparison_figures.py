"""What the figures of many runs draw: dots, intervals, bands, labels that do not meet, numbers on colours."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from ecglib import figures, paired
from ecglib.bootstrap import Bootstrap
from ecglib.errors import InputError
from ecglib.evaluation import Scores
from ecglib.figures import style
from ecglib.figures.style import COLOURS, SOFT
from ecglib.grounds import Ground, Line

CLASSES = ("A", "B", "C")


def ground(noises, *, metric="auc", seeds=(0, 1), n=80, notebooks=None, draws=400):
    """A ground of models {label: noise}, with predictions made of the labels and that much noise."""
    rng = np.random.default_rng(0)
    y = (rng.random((n, 3)) < 0.4).astype(float)
    bootstrap = Bootstrap(y, draws=draws)
    lines = []
    for k, (label, noise) in enumerate(noises.items()):
        said = {(s,): 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, noise, y.shape)))) for s in seeds}
        scores = {seed: Scores.of(bootstrap, p, None, (metric,)) for seed, p in said.items()}
        notebook = "lead_kd" if notebooks is None else notebooks[k]
        lines.append(Line(label, "p", notebook, (f"run {k}",), scores, float("nan"), label))
    return Ground(metric, "test", "d", "f" * 64, ("p",), CLASSES, n, n, draws, tuple(lines))


def texts(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def lines(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


# ---- forest ---------------------------------------------------------------------------------------------------------


def test_the_forest_shows_values_seeds_and_differences():
    made = ground({"middling": 1.5, "good": 0.7, "poor": 6.0, "alike": 1.5}, notebooks=["a", "a", "b", "b"])
    tests = paired.paired(made, "middling")
    fig = figures.runs_forest(made, tests)
    left, right = fig.axes
    table = paired.pooled(made).query("`class` == 'macro'").set_index("label")
    assert texts(left) == list(table.index), "best first"
    assert [tick.get_fontweight() == "bold" for tick in left.get_yticklabels()] == [
        n == "middling" for n in table.index
    ]
    assert left.get_ylim()[0] > left.get_ylim()[1], "and so at the top"
    for place, (name, row) in enumerate(table.iterrows()):
        intervals = [line for line in left.lines if len(line.get_xdata()) == 2 and set(line.get_ydata()) == {place}]
        assert list(intervals[0].get_xdata()) == [row["low"], row["high"]]
        seeds = [
            line for line in lines(left, "_seeds") if len(line.get_xdata()) and line.get_ydata()[0] == place + 0.28
        ]
        assert np.mean(seeds[0].get_xdata()) == pytest.approx(row["value"]), name
    drawn = tests.set_index("first")
    for place, name in enumerate(table.index):
        dots = [line for line in right.lines if line.get_marker() == "o" and line.get_ydata()[0] == place]
        if name == "middling":
            assert not dots, "the reference has no difference from itself"
            continue
        row = drawn.loc[name]
        assert dots[0].get_xdata()[0] == row["value"]
        alone = row["low"] > 0 or row["high"] < 0
        assert dots[0].get_markeredgecolor() == (COLOURS[0] if alone else SOFT)
        apart = row["verdict"] in ("better", "worse")
        assert (dots[0].get_markerfacecolor() == "white") == (alone and not apart)
    assert drawn.loc["poor", "verdict"] == "worse"
    assert drawn.loc["alike", "verdict"] == "not told apart"
    numbers = next(texts(child) for child in right.child_axes)
    assert numbers[list(table.index).index("middling")] == "the reference"
    assert numbers[list(table.index).index("poor")].startswith("-0.")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(dict.fromkeys(table["notebook"]))
    assert (left.get_xlabel(), right.get_xlabel()) == ("macro AUC", "paired difference")
    assert [text.get_text() for text in right.texts] == ["← worse", "better →"]


def test_where_less_is_better_the_sides_change_and_the_order_too():
    made = ground({"good": 0.7, "poor": 6.0}, metric="brier", seeds=(0,))
    fig = figures.runs_forest(made, paired.paired(made, "good"))
    left, right = fig.axes
    assert texts(left) == ["good", "poor"]
    assert [text.get_text() for text in right.texts] == ["← better", "worse →"]
    assert not fig.legends, "one notebook needs none"
    assert not [line for line in lines(left, "_seeds") if len(line.get_xdata())], "one seed is the value itself"


def test_many_long_names_fit_and_labels_do_not_meet():
    made = ground({f"a model with a long name {k} (lead_kd-ptb_xl_leads)": 0.7 + 0.1 * k for k in range(25)}, draws=60)
    fig = figures.runs_forest(made, paired.paired(made, made.lines[0].label))
    FigureCanvasAgg(fig).draw()
    left, right = fig.axes
    boxes = [axes.xaxis.label.get_window_extent() for axes in (left, right)]
    assert boxes[0].x1 < boxes[1].x0
    ticks = [tick.get_window_extent() for tick in left.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(ticks))
    assert all(tick.x0 >= 0 for tick in ticks)
    assert left.get_window_extent().width > 100
    assert len(style.png(fig)) < 200_000


def test_one_model_has_no_difference():
    made = ground({"good": 0.7})
    with pytest.raises(InputError, match="one model"):
        figures.runs_forest(made, paired.paired(made, "good"))


# ---- learning curves ------------------------------------------------------------------------------------------------


def history(models=3, epochs=4, seeds=("0", "1"), configuration="c", run="r"):
    return pd.DataFrame(
        [
            {"run": run, "configuration": configuration, "model": f"m{m}", "seed": s, "epoch": e + 1,
             "value": 0.5 + 0.05 * e - 0.01 * m + 0.02 * int(s)}
            for m in range(models) for s in seeds for e in range(epochs - (s == "1"))
        ]
    )  # fmt: skip


def test_a_curve_is_the_mean_over_seeds_in_the_band_of_all():
    fig = figures.seed_curves(pd.concat([history(), history(1, seeds=("0",), configuration="other", run="s")]))
    first, second = fig.axes
    curve = next(line for line in first.lines if len(line.get_xdata()) > 1)
    assert list(curve.get_xdata()) == [1, 2, 3], "as far as both seeds went"
    np.testing.assert_allclose(curve.get_ydata(), [0.51, 0.56, 0.61])
    band = first.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.5)
    assert band[:, 1].max() == pytest.approx(0.62)
    assert len(first.collections) == 3
    assert not second.collections, "one seed has no band"
    assert [text.get_text() for text in first.get_legend().get_texts()] == [f"m{k} (2 seeds)" for k in range(3)]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["m0"]
    assert first.get_title(loc="left") == "r"
    assert (first.get_xlabel(), first.get_ylabel()) == ("epoch", "validation macro AUC")


def test_more_models_than_colours_are_grey_and_counted():
    fig = figures.seed_curves(history(11))
    (ax,) = fig.axes
    assert len(lines(ax, "_others")) == 3
    assert all(line.get_color() == SOFT for line in lines(ax, "_others"))
    assert "grey: 3 others" in ax.get_title(loc="left")
    assert len(ax.get_legend().get_texts()) == 8
    assert "m10" not in " ".join(text.get_text() for text in ax.get_legend().get_texts()), "the worst are grey"


def test_a_single_epoch_has_a_whole_number_beneath():
    (ax,) = figures.seed_curves(history(2, epochs=1, seeds=("0",))).axes
    assert list(ax.get_xticks()) == [1]
    with pytest.raises(InputError, match="no learning curve"):
        figures.seed_curves(history()[:0])


# ---- cost -----------------------------------------------------------------------------------------------------------


def costs(minutes, values, *, ground=0):
    rows = []
    for k, (took, value) in enumerate(zip(minutes, values, strict=True)):
        head = {"runs": f"lead_kd-a_long_name_{k}", "ground": ground, "minutes": took}
        rows.append(
            head | {"model": f"m{k} (x)", "best": True, "value": value, "low": value - 0.02, "high": value + 0.02}
        )
        rows.append(head | {"model": "other", "best": False, "value": value - 0.05, "low": np.nan, "high": np.nan})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_close_runs_do_not_meet(seed):
    rng = np.random.default_rng(seed)
    fig = figures.cost_quality(costs(np.exp(rng.uniform(2, 4, 9)), rng.uniform(0.8, 0.9, 9)))
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    (ax,) = fig.axes
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in ax.texts]
    assert len(boxes) == 9
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert not a.overlaps(b)
        assert ax.get_window_extent().x0 - 1 <= a.x0
        assert a.x1 <= ax.get_window_extent().x1 + 1


def test_cost_is_on_a_log_scale_with_the_interval_of_the_best():
    table = pd.concat([costs([2, 30], [0.8, 0.9]), costs([5], [0.7], ground=1)])
    unknown = table.iloc[[0]].assign(value=np.nan, ground=-1)
    fig = figures.cost_quality(pd.concat([table, unknown]), titles=["one", "two"])
    first, second = fig.axes
    assert first.get_xscale() == "log"
    assert sorted(line.get_xdata()[0] for line in lines(first, "_dot")) == [2, 30]
    assert [list(line.get_ydata()) for line in lines(first, "_interval")] == [
        pytest.approx([0.78, 0.82]), pytest.approx([0.88, 0.92])
    ]  # fmt: skip
    assert sorted(lines(first, "_others")[0].get_ydata()) == pytest.approx([0.75, 0.85])
    low, high = first.get_ylim()
    assert low < 0.75
    assert high > 0.92
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["one", "two"]
    assert "minutes" in first.get_xlabel()
    assert "log" in first.get_xlabel()
    assert {text.get_text() for text in first.texts} == {f"lead_kd-a_long_name_{k}:\nm{k}" for k in (0, 1)}
    with pytest.raises(InputError, match="both a time and a value"):
        figures.cost_quality(unknown)


# ---- class by class -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["auc", "brier"])
def test_the_best_cell_is_the_darkest_and_every_number_is_legible(metric):
    made = ground({"good": 0.7, "poor": 6.0, "middling": 2.0}, metric=metric)
    table = paired.pooled(made)
    table.loc[(table["label"] == "poor") & (table["class"] == "B"), "value"] = np.nan
    fig = figures.class_heat(table, metric=metric)
    (ax,) = fig.axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["A", "B", "C", "macro"]
    assert texts(ax) == list(dict.fromkeys(table["label"]))
    picture, values = ax.images[0], table.set_index(["label", "class"])["value"]
    written = {text.get_position(): text for text in ax.texts}
    shades = {}
    for i, model in enumerate(texts(ax)):
        for j, name in enumerate(("A", "B", "C", "macro")):
            text, value = written[j, i], values[model, name]
            if np.isnan(value):
                assert text.get_text() == "–"
                assert np.ma.getmaskarray(picture.get_array())[i, j]
                continue
            assert text.get_text() == f"{value:.3f}"
            shade = luminance(picture.to_rgba(picture.get_array()[i, j]))
            ink = luminance(to_rgba(text.get_color()))
            lighter, darker = max(shade, ink) + 0.05, min(shade, ink) + 0.05
            assert lighter / darker >= 4.5, "what small print needs"
            shades[value] = shade
    best = min(shades) if metric == "brier" else max(shades)
    assert shades[best] == min(shades.values())
    assert ("smaller" if metric == "brier" else "larger") in ax.get_xlabel()


def luminance(rgba):
    out = 0.0
    for weight, channel in zip((0.2126, 0.7152, 0.0722), rgba, strict=False):
        out += weight * (channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4)
    return out
