"""Maps of records: where they are drawn, in which colour, and that a map is the same every time."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from ecglib import figures
from ecglib.errors import InputError
from ecglib.figures import style

N = 60


@pytest.fixture
def xy() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (N, 2))


def drawn(ax, label: str) -> set[tuple[float, float]]:
    """The places of the group whose legend entry starts with `label`, whatever turn they were drawn in."""
    first = next(line for line in ax.lines if line.get_label().startswith(label))
    same = [line for line in ax.lines if line.get_marker() == first.get_marker()]
    own = [line for line in same if line.get_color() == first.get_color()]
    return {tuple(place) for line in own for place in line.get_xydata().tolist()}


def places(xy: np.ndarray, rows) -> set[tuple[float, float]]:
    return {tuple(place) for place in xy[rows].tolist()}


def maps(fig) -> list:
    return [ax for ax in fig.axes if ax.get_title(loc="left")]


def test_classes_with_several_told_apart(xy):
    labels = np.zeros((N, 3), bool)
    labels[:20, 0] = labels[10:30, 1] = labels[40:45, 2] = True
    fig = figures.embedding_map(xy, colour_by={"class": dict(zip(("MI", "CD", "HYP"), labels.T))})
    (ax,) = maps(fig)
    assert drawn(ax, "MI (10)") == places(xy, slice(0, 10))
    assert drawn(ax, "several of them (10)") == places(xy, slice(10, 20))
    assert drawn(ax, "CD (10)") == places(xy, slice(20, 30))
    assert drawn(ax, "HYP (5)") == places(xy, slice(40, 45))
    assert drawn(ax, "none of them (25)") == places(xy, np.r_[30:40, 45:60])
    foot = next(ax for ax in fig.axes if ax.get_legend())
    texts = [t.get_text() for t in foot.get_legend().get_texts()]
    assert texts == ["MI (10)", "CD (10)", "HYP (5)", "several of them (10)", "none of them (25)"]


def test_numbers_have_a_bar_that_an_odd_value_does_not_take(xy):
    age = np.linspace(20, 80, N)
    age[3], age[4] = 3000, np.nan
    fig = figures.embedding_map(xy, colour_by={"age (years)": age}, method="PCA")
    (ax,) = maps(fig)
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_array(), np.delete(age, 4))
    np.testing.assert_array_equal(dots.get_offsets(), np.delete(xy, 4, axis=0))
    assert dots.norm.vmax < 2000
    assert drawn(ax, "not known") == places(xy, [4])
    bar = next(child for ax in fig.axes for child in ax.child_axes if child.get_label() == "colour bar")
    assert bar.get_xlabel() == "pale: not known (1)"
    assert (fig.get_supxlabel(), fig.get_supylabel()) == ("PCA 1", "PCA 2")


def test_names_keep_seven_and_put_the_others_together(xy):
    site = np.array([f"site {i}" for i in np.repeat(np.arange(10), 6)], object)
    site[6:8] = "site 0"
    site[59] = None
    fig = figures.embedding_map(xy, colour_by={"site": site})
    (ax,) = maps(fig)
    assert drawn(ax, "site 0 (8)") == places(xy, slice(0, 8))
    assert drawn(ax, "not known (1)") == places(xy, [59])
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert len(labels) == 7 + 2
    counted = sum(int(text.split("(")[1].rstrip(")")) for text in labels)
    assert counted == N
    assert any(text.startswith("others") for text in labels)


def test_a_panel_per_class(xy):
    labels = np.zeros((N, 2))
    labels[:20, 0] = labels[10:30, 1] = 1
    fig = figures.class_maps(xy, labels, ("MI", "CD"))
    mi, cd = maps(fig)
    assert [ax.get_title(loc="left") for ax in (mi, cd)] == ["MI (20)", "CD (20)"]
    assert drawn(mi, "this class alone") == places(xy, slice(0, 10))
    assert drawn(cd, "this class alone") == places(xy, slice(20, 30))
    assert drawn(mi, "this class and others") == drawn(cd, "this class and others") == places(xy, slice(10, 20))
    assert drawn(cd, "records without") == places(xy, np.r_[0:10, 30:60])


def test_panels_are_one_map_and_stand_in_line(xy):
    entries = {"a": np.arange(N), "b": ["x"] * N, "c": {"MI": np.arange(N) < 9}, "d": np.arange(N)}
    fig = figures.embedding_map(xy, colour_by=entries)
    fig.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in maps(fig)]
    assert [box.y0 for box in boxes[:3]] == pytest.approx([boxes[0].y0] * 3)
    assert boxes[3].x0 == pytest.approx(boxes[0].x0)
    assert all(box.width == pytest.approx(box.height) for box in boxes)
    assert len({ax.get_xlim() + ax.get_ylim() for ax in maps(fig)}) == 1
    feet = [ax.get_legend().get_window_extent() for ax in fig.axes if ax.get_legend()]
    assert all(foot.y1 < boxes[0].y0 and foot.y0 > boxes[3].y1 for foot in feet)


def test_most_is_a_random_part_and_says_so(xy):
    fig = figures.embedding_map(xy, colour_by={"a": np.arange(N), "b": np.arange(N)}, most=25)
    one, two = (ax.collections[0].get_offsets() for ax in maps(fig))
    assert len(one) == 25
    np.testing.assert_array_equal(one, two)
    assert places(np.asarray(one), slice(None)) < places(xy, slice(None))
    assert "25 of 60 records" in fig.get_supxlabel()
    labels = np.zeros((N, 1))
    labels[:30] = 1
    assert "of 60 records" in figures.class_maps(xy, labels, ["MI"], most=25).get_supxlabel()


def test_a_map_of_thousands_stays_small():
    many = np.random.default_rng(0).normal(0, 1, (20_000, 2))
    flags = {name: many[:, 0] > i for i, name in enumerate("abc")}
    fig = figures.embedding_map(many, colour_by={"class": flags, "age": many[:, 1]}, most=1000)
    assert len(figures.png(fig)) <= style.MAX_BYTES


def groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(60, 20) vectors of two groups far apart, one feature that never moves and one of large unit."""
    rng = np.random.default_rng(seed)
    which = np.arange(N) % 2
    vectors = rng.normal(0, 1, (N, 20)) + 6 * which[:, None]
    vectors[:, 3] = 7.0
    vectors[:, 4] = 1e6 * rng.normal(size=N)
    return vectors, which


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_map_keeps_groups_and_is_the_same_every_time(method):
    vectors, which = groups()
    xy = figures.project(vectors, method=method, seed=3)
    assert xy.shape == (N, 2)
    assert xy.dtype == np.float64
    np.testing.assert_array_equal(xy, figures.project(vectors, method=method, seed=3))
    far = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.diag(np.full(N, np.inf))
    assert (which[far.argmin(axis=1)] == which).mean() > 0.95, "the nearest record is of the same group"


def test_pca_is_that_of_standardised_features():
    vectors, _ = groups()
    xy = figures.project(vectors, method="pca")
    scaled = np.delete(vectors, 3, axis=1)
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    size, axes = np.linalg.eigh(scaled.T @ scaled)
    for k in (0, 1):
        own = scaled @ axes[:, -1 - k]
        assert min(np.abs(xy[:, k] - own).max(), np.abs(xy[:, k] + own).max()) < 1e-8
        assert (xy[:, k] ** 2).sum() == pytest.approx(size[-1 - k])
    assert figures.project(np.random.default_rng(0).normal(size=(5, 3))).shape == (5, 2), "few records"


def test_settings_stay(xy):
    before = dict(mpl.rcParams)
    figures.embedding_map(xy, colour_by={"a": np.arange(N)})
    assert dict(mpl.rcParams) == before


XY = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.project(np.zeros((9, 5)), method="t-sne"), "Did you mean 'tsne'"),
        (lambda: figures.project(np.zeros((9, 5))), "the same"),
        (lambda: figures.project(np.zeros((3, 5))), "at least four"),
        (lambda: figures.project(np.full((9, 5), np.nan)), "not finite"),
        (lambda: figures.embedding_map(np.zeros((4, 3)), colour_by={"a": [1] * 4}), r"\(4, 3\)"),
        (lambda: figures.embedding_map(XY, colour_by={}), "empty"),
        (lambda: figures.embedding_map(XY, colour_by={"a": [1, 2]}), r"'a' has shape \(2,\)"),
        (lambda: figures.embedding_map(XY, colour_by={"a": {"MI": [1]}}), "'MI' of 'a'"),
        (lambda: figures.embedding_map(XY, colour_by={"a": {"MI": [1, 0, 2, 0]}}), "0 or 1"),
        (lambda: figures.embedding_map(XY, colour_by={"a": {f"c{i}": [1] * 4 for i in range(8)}}), "class_maps"),
        (lambda: figures.embedding_map(XY, colour_by={"a": [np.nan] * 4}), "None of the numbers"),
        (lambda: figures.embedding_map(XY, colour_by={"a": [1] * 4}, most=0), "most"),
        (lambda: figures.class_maps(XY, np.zeros((4, 2)), ["MI"]), r"\(4, 2\)"),
        (lambda: figures.class_maps(XY, np.full((4, 1), np.nan), ["MI"]), "0 or 1"),
    ],
)
def test_maps_refuse(call, says):
    with pytest.raises(InputError, match=says):
        call()
