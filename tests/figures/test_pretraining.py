"""What the figures of pre-training draw: hidden stretches, losses, and scores with their intervals."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import figures
from ecglib.errors import InputError
from ecglib.figures import style
from ecglib.figures.pretraining import runs

LEADS = ("I", "II", "V1")
MODELS = ("autoencoder", "contrastive", "random encoder")


def record(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(3, 400) mV at 100 Hz with samples 100-149 of lead I and 350-399 of V1 hidden, rebuilt with a shift."""
    original = np.random.default_rng(seed).normal(0, 0.3, (3, 400))
    masked = np.zeros((3, 400), bool)
    masked[0, 100:150] = masked[2, 350:] = True
    return original, masked, original + 0.1


def lines(ax, label: str) -> list:
    return [line for line in ax.lines if line.get_label() == label]


@given(st.lists(st.booleans(), max_size=30))
def test_runs_are_the_stretches(flags):
    wanted, start = [], None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        if not flag and start is not None:
            wanted.append((start, i))
            start = None
    assert runs(np.array(flags, bool)) == wanted


def test_what_is_rebuilt_is_drawn_only_where_it_was_hidden():
    original, masked, rebuilt = record()
    fig = figures.reconstruction(original, masked, rebuilt, rate=100, leads=LEADS, title="a record")
    assert [ax.get_ylabel() for ax in fig.axes] == list(LEADS)
    for row, ax in enumerate(fig.axes):
        (grey,), (colour,) = lines(ax, "original"), lines(ax, "rebuilt")
        np.testing.assert_array_equal(grey.get_ydata(), original[row])
        np.testing.assert_array_equal(np.isfinite(colour.get_ydata()), masked[row])
        np.testing.assert_array_equal(colour.get_ydata()[masked[row]], rebuilt[row, masked[row]])
        assert grey.get_xdata()[-1] == pytest.approx(3.99), "seconds"
    hidden = [[path.vertices for path in ax.collections[0].get_paths()] for ax in fig.axes]
    assert [[(box[:, 0].min(), box[:, 0].max()) for box in each] for each in hidden] == [[(1.0, 1.5)], [], [(3.5, 4.0)]]
    assert fig.axes[0].collections[0].get_transform().transform((0, 1))[1] == fig.axes[0].bbox.y1, "from edge to edge"
    assert fig.axes[0].get_title(loc="left") == "a record"
    assert (fig.get_supylabel(), fig.axes[2].get_xlabel()) == ("mV", "time (s)")
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["original", "hidden from the network", "rebuilt"]


def test_records_stand_side_by_side_each_on_its_own_scale():
    small, large = record(0), record(1)
    large = (5 * large[0], large[1], 1000 * large[2])
    fig = figures.reconstructions([small, large], ["well", "badly"], rate=100, leads=LEADS, shown=["V1", "I"])
    grid = np.array(fig.axes).reshape(2, 2)
    assert [ax.get_ylabel() for ax in grid[:, 0]] == ["V1", "I"]
    np.testing.assert_array_equal(lines(grid[0, 1], "original")[0].get_ydata(), large[0][2])
    low, high = grid[0, 1].get_ylim()
    assert grid[1, 1].get_ylim() == (low, high), "one scale for the leads of a record"
    seen = large[0][[0, 2]]
    assert low < seen.min() < seen.max() < high
    assert high - low < 1.3 * np.ptp(seen), "a wild reconstruction does not set the scale"
    assert grid[0, 0].get_ylim() != (low, high)


def test_two_records_of_six_leads_stay_small():
    rng = np.random.default_rng(0)
    x, masked = np.cumsum(rng.normal(0, 0.02, (6, 1000)), 1), np.repeat(rng.random((6, 40)) < 0.5, 25, axis=1)
    fig = figures.reconstructions(
        [(x, masked, x)] * 2, ["a", "b"], rate=100, leads=("I", "II", "III", "V1", "V3", "V6")
    )
    assert len(figures.png(fig)) <= style.MAX_BYTES


def history(seeds=(0, 1)) -> pd.DataFrame:
    rows = [
        {"model": m, "seed": s, "epoch": e, "loss": i + 1 / e + s / 10, "contrast": 2 / e if i == 1 else np.nan}
        for i, m in enumerate(MODELS[:2])
        for s in seeds
        for e in range(1, 6 - s)
    ]
    return pd.DataFrame(rows).assign(reconstruction=np.nan)


def test_every_objective_has_its_losses_and_its_parts():
    colours = style.palette(("other", *MODELS))
    fig = figures.loss_curves(history(), parts=["reconstruction", "contrast"], colours=colours)
    first, second = fig.axes
    assert [ax.get_title(loc="left") for ax in fig.axes] == list(MODELS[:2])
    assert {line.get_color() for line in first.lines} == {colours[MODELS[0]]}
    assert len(first.lines) == 2 + 1, "two seeds and their mean"
    mean = first.lines[-1]
    assert mean.get_ydata() == pytest.approx([1 / e + 0.05 for e in range(1, 5)]), "stops where the first seed does"
    assert first.get_legend() is None
    assert [t.get_text() for t in second.get_legend().get_texts()] == ["training loss", "contrast"]
    assert len({str(line.get_linestyle()) for line in second.lines}) == 2
    assert not second.get_shared_y_axes().joined(first, second), "losses of different objectives do not compare"
    assert len(figures.loss_curves(history(seeds=(0,))).axes[0].lines) == 1


def labels_points(**changes) -> dict:
    base = {m: [(s, round(1764 * s), 0.8 - 0.05 * i + 0.1 * s, 0.7, 0.95) for s in (1, 0.01, 0.1)]
            for i, m in enumerate(MODELS)}  # fmt: skip
    return base | changes


def test_few_labels_on_a_log_axis_with_both_names():
    draws = {"contrastive": [(0.01, 0.72), (0.1, 0.78)]}
    fig = figures.few_label_curves(
        labels_points(), metric_label="macro AUC", draws=draws, references={"all labels": (0.93, 0.91, 0.94)}
    )
    (ax,) = fig.axes
    assert ax.get_xscale() == "log"
    ticks = [t.get_text() for t in ax.get_xticklabels()]
    assert ticks == ["1 %\n18 records", "10 %\n176 records", "100 %\n1,764 records"]
    (curve,) = lines(ax, "contrastive")
    assert curve.get_ydata() == pytest.approx([0.751, 0.76, 0.85]), "by share"
    assert curve.get_xdata() == pytest.approx([0.01, 0.1, 1], rel=0.1)
    singles = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [line.get_ydata()[0] for line in singles] == [0.72, 0.78]
    assert all(x.get_xdata()[0] > curve.get_xdata()[i] for i, x in enumerate(singles)), "beside the interval"
    segments = [tuple(s[:, 1]) for c in ax.collections for s in c.get_segments()]
    assert segments == [(0.7, 0.95)] * 9
    assert len({round(lines(ax, m)[0].get_xdata()[0], 6) for m in MODELS}) == 3, "models stand beside each other"
    names = [t.get_text() for t in fig.legends[0].get_texts()]
    assert names == [*MODELS, "all labels: 0.930"]
    assert [(p.get_y(), p.get_y() + p.get_height()) for p in ax.patches] == [pytest.approx((0.91, 0.94))]
    assert ax.get_ylabel() == "macro AUC, with 95 % interval"


def test_scaling_labels_do_not_meet_and_the_largest_has_one():
    sizes = (1000, 1100, 1200, 5000, 100_000)
    points = {"autoencoder": [(n, 0.8, None, None) for n in sizes]}
    fig = figures.scaling_curve(points, metric_label="macro AUC", references={"random encoder": 0.7})
    (ax,) = fig.axes
    fig.draw_without_rendering()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in zip(sorted(boxes, key=lambda b: b.x0), sorted(boxes, key=lambda b: b.x0)[1:]))
    assert {t.get_text() for t in ax.get_xticklabels()} == {"1,200", "5,000", "100,000"}
    assert lines(ax, "autoencoder")[0].get_xdata().tolist() == list(sizes)
    figures.scaling_curve({"a": [(500, 0.8, 0.7, 0.9)]}, metric_label="AUC").draw_without_rendering()


def made_rows(**changes) -> list[dict]:
    rows = [
        {"model": m, "protocol": p, "value": 0.8 + 0.05 * j - 0.02 * i, "low": 0.7, "high": 0.95}
        for i, m in enumerate(MODELS)
        for j, p in enumerate(("linear probe", "fine-tuning"))
        if (m, p) != ("contrastive", "fine-tuning")
    ]
    common = {"data": "d", "split": "test", "metric": "auc", "class": "macro", "seed": 0, "n": 9}
    return [common | row | changes for row in rows]


def test_a_panel_per_protocol_on_one_axis():
    titles = {"fine-tuning": "Fine-tuned", "linear probe": "Linear probe"}
    fig = figures.by_protocol(made_rows(), protocols=titles, models=MODELS, reference="random encoder")
    assert [ax.get_title(loc="left") for ax in fig.axes] == list(titles.values())
    left, right = fig.axes
    assert left.get_xlim() == right.get_xlim()
    dots = [line for line in left.lines if line.get_markersize() == 7]
    assert [(line.get_ydata()[0], round(line.get_xdata()[0], 3)) for line in dots] == [(0, 0.85), (2, 0.81)]
    assert [t.get_text() for t in left.child_axes[0].get_yticklabels()] == ["0.850", "–", "0.810"]
    assert [t.get_text() for t in left.get_yticklabels()] == list(MODELS)
    assert not any(t.get_text() for t in right.get_yticklabels())
    upright = [line.get_xdata()[0] for ax in fig.axes for line in ax.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == pytest.approx([0.81, 0.76]), "the reference's own value under each protocol"
    assert "dashed: random encoder" in fig.get_supxlabel()
    two = made_rows() + made_rows(data="e", value=0.5)
    dots = figures.by_protocol(two, protocols=["fine-tuning"], models=MODELS, data="e").axes[0].lines
    assert 0.5 in [line.get_xdata()[0] for line in dots]
    with pytest.raises(InputError, match="which data"):
        figures.by_protocol(two, protocols=["fine-tuning"], models=MODELS)


def test_no_text_meets_another():
    fig = figures.by_protocol(made_rows(), protocols=["linear probe", "fine-tuning"], models=MODELS)
    fig.draw_without_rendering()
    left, right = fig.axes
    numbers = [t.get_window_extent() for t in left.child_axes[0].get_yticklabels()]
    assert max(box.x1 for box in numbers) < right.get_window_extent().x0


def test_the_notebook_keeps_its_settings():
    before = dict(mpl.rcParams)
    figures.loss_curves(history())
    figures.few_label_curves(labels_points(), metric_label="AUC")
    assert dict(mpl.rcParams) == before


def rebuilt(**changes):
    parts = dict(zip(("original", "masked", "rebuilt"), record())) | changes
    return figures.reconstruction(**parts, rate=100, leads=LEADS)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rebuilt(original=np.zeros((2, 400))), r"'original' of record 0 has shape \(2, 400\)"),
        (lambda: rebuilt(masked=np.zeros((3, 400))), "give booleans"),
        (lambda: rebuilt(rebuilt=np.zeros((3, 399))), "'rebuilt'"),
        (lambda: rebuilt(original=np.full((3, 400), np.nan)), "missing samples"),
        (lambda: figures.reconstructions([record()], ["a", "b"], rate=100, leads=LEADS), "2 titles do not fit 1"),
        (lambda: figures.reconstructions([record()], ["a"], rate=0, leads=LEADS), "rate"),
        (lambda: figures.reconstructions([record()], ["a"], rate=9, leads=LEADS, shown=["V7"]), "V7"),
        (lambda: figures.loss_curves(history(), parts=["contrasts"]), "Did you mean 'contrast'"),
        (lambda: figures.loss_curves(history().iloc[:0]), "no rows"),
        (lambda: figures.few_label_curves({}, metric_label="AUC"), "no points"),
        (lambda: figures.few_label_curves(labels_points(a=[(10, 5, 0.8, 0.7, 0.9)]), metric_label="AUC"), "0.01 for 1"),
        (lambda: figures.few_label_curves(labels_points(a=[(0.1, 5, 0.8, 0.7, 0.9)]), metric_label="AUC"), "176"),
        (lambda: figures.few_label_curves(labels_points(a=[(0.1, 0.8, 0.7, 0.9)]), metric_label="AUC"), "is no"),
        (lambda: figures.few_label_curves(labels_points(), metric_label="A", draws={"contrastiv": []}), "Did you mean"),
        (lambda: figures.scaling_curve({"a": [(0, 0.8, 0.7, 0.9)]}, metric_label="AUC"), "not positive"),
        (
            lambda: figures.scaling_curve({"a": [(5, 0.8, 0.7, 0.9)] * 2}, metric_label="AUC"),
            "of a point twice",
        ),
        (lambda: figures.scaling_curve({"a": [(5, 0.8, 0.9, 0.7)]}, metric_label="AUC"), "low end is above"),
        (lambda: figures.by_protocol(made_rows(), protocols=["linear prob"], models=MODELS), "mean 'linear probe'"),
        (lambda: figures.by_protocol(made_rows(), protocols=[], models=MODELS), "protocols is empty"),
        (lambda: figures.by_protocol(made_rows(), protocols=["linear probe"], models=["x"]), "No row has model"),
        (
            lambda: figures.by_protocol(made_rows(), protocols=["linear probe"], models=MODELS, reference="rand"),
            "among",
        ),
    ],
)
def test_pretraining_refuses(call, says):
    with pytest.raises(InputError, match=says):
        call()
