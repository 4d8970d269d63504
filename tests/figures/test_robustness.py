"""What the figures of robustness draw: curves, open dots, lines, and the signs of changes."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest

from ecglib import figures
from ecglib.errors import InputError
from ecglib.leads import LEADS

CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
MODELS = ("drawn", "photographed")
EFFECTS = ("rotation", "low_resolution", "jpeg", "noise")
CLEAN = {"drawn": (0.9, 0.88, 0.92), "photographed": (0.88, 0.86, 0.9)}


def made_curves(**changes) -> dict:
    rows = {m: [(s, 0.9 - 0.1 * i - 0.2 * s, 0.8 - 0.2 * s, 0.92) for s in (1, 0.5)] for i, m in enumerate(MODELS)}
    return {effect: rows | changes for effect in EFFECTS}


def test_a_panel_per_effect_with_lines_bands_and_references():
    colours = figures.palette(("teacher", "other", *MODELS))
    fig = figures.robustness(made_curves(), clean=CLEAN, colours=colours, references={"teacher": 0.95, "chance": 0.5})
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["rotation", "low resolution", "jpeg", "noise"]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1, "one value axis for all"
    for ax in fig.axes:
        curve = {line.get_label(): line for line in ax.lines}
        assert curve["drawn"].get_xdata().tolist() == [0, 0.5, 1], "the clean page first, then by severity"
        assert curve["drawn"].get_ydata() == pytest.approx([0.9, 0.8, 0.7])
        assert curve["photographed"].get_color() == colours["photographed"]
        assert len(ax.collections) == 2, "a band per model"
        assert ax.collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(0.6)
        assert curve["teacher: 0.950"].get_ydata() == [0.95, 0.95]
        assert curve["teacher: 0.950"].get_linestyle() == "--"
        assert curve["teacher: 0.950"].get_color() == colours["teacher"]
        assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [*MODELS, "teacher: 0.950", "chance: 0.500"]
    assert fig.get_supylabel() == "macro AUC, with 95 % interval"
    assert "severity" in fig.get_supxlabel()
    fig.canvas.draw()
    labels = [[t.get_text() for t in ax.get_xticklabels() if t.get_visible() and t.get_text()] for ax in fig.axes]
    assert labels[3] == labels[1] == ["0", "0.5", "1"], "under the lowest panel of each column"


def test_a_curve_may_hold_the_clean_page_itself_or_lack_intervals():
    curve = {"blur": {"a": [(0, 0.9, None, None), (1, 0.7, float("nan"), float("nan"))]}}
    fig = figures.robustness(curve, of="MI", metric="average_precision")
    assert fig.axes[0].lines[0].get_ydata().tolist() == [0.9, 0.7]
    assert fig.get_supylabel().startswith("MI average precision")
    with pytest.raises(InputError, match="different numbers"):
        figures.robustness(curve, clean={"a": (0.9, 0.8, 1.0)})


def made_points() -> dict:
    layouts = ("3x4+II", "6x2", "12x1")
    return {m: [(n, 0.9 - 0.1 * i - 0.05 * k, 0.6, 0.92) for k, n in enumerate(layouts)] for i, m in enumerate(MODELS)}


def test_unseen_conditions_have_open_dots():
    fig = figures.by_condition(made_points(), xlabel="layout", unseen=("12x1",), references={"teacher": 0.95})
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["3x4+II", "6x2", "12x1"]
    dots = [line for line in ax.lines if line.get_linestyle() == "None"]
    bars = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(dots) == len(bars) == 6
    for model in MODELS:
        mine = [line for line in dots if line.get_label() == model]
        assert [line.get_markerfacecolor() == "white" for line in mine] == [False, False, True]
        assert {line.get_markeredgecolor() for line in mine} == {mine[0].get_color()}
    assert len({round(line.get_xdata()[0], 6) for line in dots}) == 6, "models stand side by side"
    assert all(list(bar.get_ydata()) == [0.6, 0.92] for bar in bars)
    assert len(ax.patches) == 1, "the unseen one is shaded"
    written = [t.get_text() for t in fig.legends[0].get_texts()]
    assert written == [*MODELS, "teacher: 0.950", "not in training"]
    assert "not in training" not in [
        t.get_text() for t in figures.by_condition(made_points(), xlabel="layout").legends[0].get_texts()
    ]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layout", "macro AUC, with 95 % interval")


def test_long_names_of_conditions_do_not_meet():
    names = ["two columns and a crop", "one column and a fold", *(f"layout number {i}" for i in range(6))]
    fig = figures.by_condition({"a": [(n, 0.8, 0.7, 0.9) for n in names]}, xlabel="layout")
    fig.canvas.draw()
    boxes = [t.get_window_extent() for t in fig.axes[0].get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_a_model_may_miss_a_condition():
    points = made_points()
    points["photographed"] = points["photographed"][1:]
    fig = figures.by_condition(points, xlabel="layout")
    mine = [line for line in fig.axes[0].lines if line.get_label() == "photographed"]
    assert [round(line.get_xdata()[0]) for line in mine] == [1, 2]


def test_a_drop_is_drawn_as_a_negative_change():
    drop = np.zeros((5, 12))
    drop[2, 6], drop[4, 1], drop[0, 0] = 0.21, -0.05, np.nan
    fig = figures.lead_importance(drop, LEADS, CLASSES, low=drop - 0.1, high=drop + 0.1)
    ax, bar = fig.axes
    shown = ax.images[0]
    assert shown.get_array()[2, 6] == -0.21
    assert (shown.norm.vmin, shown.norm.vmax) == (-0.21, 0.21), "0 is in the middle"
    red, _, blue, _ = shown.cmap(shown.norm(-0.21))
    assert blue > red, "what falls is blue"
    assert [t.get_text() for t in ax.get_xticklabels()] == list(LEADS)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(CLASSES)
    written = {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in ax.texts}
    assert (written[2, 6].get_text(), written[4, 1].get_text()) == ("-0.21", "+0.05")
    assert (written[0, 0].get_text(), written[3, 3].get_text()) == ("", "0.00")
    assert [key for key, t in written.items() if t.get_fontweight() == "bold"] == [(2, 6)], "the interval excludes 0"
    assert bar.get_ylabel() == "change of probability"
    assert "bold" in ax.get_xlabel()
    assert "bold" not in figures.lead_importance(drop, LEADS, CLASSES).axes[0].get_xlabel()
    figures.lead_importance(np.full((1, 2), np.nan), ("I", "II"), ("MI",)).canvas.draw()


def test_the_notebook_stays_as_it_was():
    before = dict(mpl.rcParams)
    figures.robustness(made_curves(), clean=CLEAN)
    figures.lead_importance(np.zeros((5, 12)), LEADS, CLASSES)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.robustness({}), "no curves"),
        (lambda: figures.robustness(made_curves(), clean={"photograph": (1, 1, 1)}), "Did you mean 'photographed'"),
        (lambda: figures.robustness(made_curves(drawn=[(1.5, 0.9, 0.8, 1)])), "'drawn' under 'rotation'"),
        (lambda: figures.robustness(made_curves(drawn=[(1, 0.9, 0.95, 0.8)])), "low end is above"),
        (lambda: figures.robustness(made_curves(drawn=[(1, 0.9)])), "position, value, low, high"),
        (lambda: figures.robustness(made_curves(), columns=0), "columns"),
        (lambda: figures.by_condition({}, xlabel="layout"), "no points"),
        (lambda: figures.by_condition(made_points(), xlabel="layout", unseen=("12x2",)), "Did you mean '12x1'"),
        (lambda: figures.by_condition({"a": [("x", 1, 1, 1)] * 2}, xlabel="layout"), "twice"),
        (lambda: figures.lead_importance(np.zeros((5, 11)), LEADS, CLASSES), r"\(5, 11\) for 5 classes and 12 leads"),
        (lambda: figures.lead_importance(np.full((5, 12), 2), LEADS, CLASSES), "outside -1 to 1"),
        (lambda: figures.lead_importance(np.zeros((5, 12)), LEADS, CLASSES, low=np.zeros((5, 12))), "both ends"),
    ],
)
def test_robustness_refuses(call, says):
    with pytest.raises(InputError, match=says):
        call()
