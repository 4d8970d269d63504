"""What the figures of pages draw: pixel for pixel, and small enough for a report."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ecglib import figures
from ecglib.errors import InputError
from ecglib.figures import page as module
from ecglib.figures import style
from ecglib.leads import LEADS
from ecglib.page import Degrade, PageRenderer, Places, Vary

SIZE = (425, 550)
CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
MODELS = ("teacher", "drawn", "photographed")


@pytest.fixture(scope="module")
def signal() -> torch.Tensor:
    """(1, 12, 1000) mV at 100 Hz: a beat of 1 mV every 0.9 s."""
    t = torch.arange(1000) / 100
    return torch.exp(-((((t % 0.9) - 0.4) / 0.02) ** 2)).expand(1, 12, -1).contiguous()


@pytest.fixture(scope="module")
def four(signal) -> list[np.ndarray]:
    """One record drawn, printed, scanned and photographed."""
    drawn = PageRenderer(rate=100, leads=LEADS, size=SIZE, vary=Vary())(signal)
    worse = [Degrade(name)(drawn, seed=3) for name in ("print", "scan", "photo")]
    return [drawn[0].numpy(), *(p[0].numpy() for p in worse)]


@pytest.fixture(scope="module")
def places(signal) -> Places:
    return PageRenderer(rate=100, leads=LEADS, size=SIZE).locate(signal)


def labelled(fig, label: str) -> list:
    return [ax for ax in fig.axes if ax.get_label() == label]


def image(ax, label: str):
    return next(i for i in ax.images if i.get_label() == label)


def white(n: int = 1, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [np.ones((3, *size), np.float32)] * n


def test_pages_stand_in_a_grid_without_overlap(four):
    titles = ("drawn", "printed", "scanned", "photographed")
    fig = figures.pages(four, titles)
    axes = labelled(fig, "page")
    assert [ax.get_title(loc="left") for ax in axes] == list(titles)
    assert all(len(ax.images) == 1 and not ax.get_xticks().size and not ax.get_yticks().size for ax in axes)
    assert {ax.get_xlim() + ax.get_ylim() for ax in axes} == {(0, 550, 425, 0)}, "the page's own pixels, y down"
    boxes = [ax.get_tightbbox() for ax in axes]
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[0].y0 > boxes[2].y1, "the lower title keeps clear of the upper page"
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(labelled(figures.pages(four[:3], titles[:3], columns=3), "page")) == 3
    assert figures.pages(white(), ["one"], columns=2).get_figwidth() < 6, "no empty column"


def test_four_pages_fit_a_report(four):
    fig = figures.pages(four, ["drawn", "printed", "scanned", "photographed"])
    data = figures.png(fig)
    assert len(data) < 150_000
    assert len(data) <= style.MAX_BYTES
    assert len(figures.png(figures.page_attentions(four, [np.eye(8)] * 4, list("abcd")))) <= style.MAX_BYTES


def test_a_page_reaches_the_report_pixel_for_pixel(four):
    fig = figures.pages(four[:2], ["drawn", "printed"])
    drawn = np.asarray(Image.open(io.BytesIO(figures.png(fig, max_bytes=1))).convert("RGB")).astype(int)  # 1 px to a px
    for ax in labelled(fig, "page"):
        shown = image(ax, "page").get_array().data
        left, top = round(ax.get_position().x0 * drawn.shape[1]), round((1 - ax.get_position().y1) * drawn.shape[0])
        seen = drawn[top : top + len(shown), left : left + shown.shape[1]]
        inside = np.abs(seen - shown)[2:-2, 2:-2]  # less the frame
        assert np.quantile(inside.max(axis=2), 0.99) <= 3


def test_the_trace_keeps_its_ink_however_few_the_colours(four):
    for original in (four[0], four[3]):
        whole = (original * 255).round().astype(np.uint8).transpose(1, 2, 0)
        few, size = module._palette(whole, 8)
        assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 8
        assert size < module._palette(whole, 64)[1]
        ink = whole.mean(axis=2) <= np.quantile(whole.mean(axis=2), 0.01)
        paper = np.median(whole.mean(axis=2))
        assert paper - few[ink].mean() > 0.7 * (paper - whole[ink].mean())


def test_bytes_and_floats_are_the_same_page():
    page = 37 * np.random.default_rng(0).integers(0, 3, (3, 50, 60), dtype=np.uint8)
    one, other = (image(figures.pages([p], ["x"]).axes[0], "page").get_array() for p in (page, page / 255))
    np.testing.assert_array_equal(one, other)


def test_heat_lies_where_it_was_measured(places):
    heat = np.zeros((17, 22))
    heat[4, 15] = 3.0  # its middle: x = 15.5 / 22 * 550, y = 4.5 / 17 * 425
    fig = figures.page_attention(white()[0], heat, title="MI", boxes=places.boxes[0].numpy(), names=places.leads)
    ax = fig.axes[0]
    over = image(ax, "heat")
    alpha = over.get_array().data[..., 3]
    assert over.get_extent() == [0, 550, 425, 0]
    y, x = np.argwhere(alpha == alpha.max()).mean(axis=0) + 0.5
    scale = 550 / alpha.shape[1]
    assert (x * scale, y * scale) == pytest.approx((387.5, 112.5), abs=1)
    assert alpha.max() == pytest.approx(module.MOST)
    far = np.ones(alpha.shape, bool)
    far[int(75 / scale) : int(150 / scale) + 1, int(350 / scale) : int(425 / scale) + 1] = False
    assert (alpha[far] == 0).all(), "no heat, no colour"
    assert np.unique(over.get_array()[..., :3].reshape(-1, 3), axis=0).shape == (1, 3), "one hue"
    assert len(ax.patches) == 13
    assert [t.get_text() for t in ax.texts] == list(places.leads)
    assert ax.patches[0].get_xy() == pytest.approx(places.boxes[0, 0, :2].tolist())
    (bar,) = labelled(fig, "colour bar")
    assert bar.get_ylabel() == "share of the highest"
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "0.5", "1"]


def test_the_colour_bar_darkens_evenly_and_has_the_colours_of_the_page():
    fig = figures.page_attention(white()[0], np.outer(np.ones(3), np.linspace(0, 1, 30)))
    drawn = np.asarray(Image.open(io.BytesIO(figures.png(fig, max_bytes=1))).convert("RGB"))

    def seen(ax) -> np.ndarray:
        box = ax.get_position()
        rows = slice(*(round((1 - y) * len(drawn)) for y in (box.y1, box.y0)))
        return drawn[rows, round(box.x0 * drawn.shape[1]) : round(box.x1 * drawn.shape[1])][3:-3, 3:-3].astype(int)

    bar, page = seen(labelled(fig, "colour bar")[0])[::-1, 4], seen(fig.axes[0])[50]
    steps = np.diff(bar.sum(axis=1))
    assert (steps <= 0).all()
    assert steps[steps < 0].min() > 2 * steps[steps < 0].mean()
    assert np.abs(page[:, None] - bar[None]).max(axis=2).min(axis=1).max() <= 4, "each colour is on the bar"


def test_the_trace_stays_black_under_the_highest_heat(four):
    for page in four:
        ink = image(figures.page_attention(page, np.ones((3, 4))).axes[0], "page").get_array().data
        assert (ink[..., :3] == 0).all()
        assert np.quantile(ink[..., 3], 0.999) > 0.8
        assert np.median(ink[..., 3]) < 0.35, "the paper is clear, the table grey"


def test_every_page_is_a_share_of_its_own_highest(four):
    fig = figures.page_attentions(four[:3], [np.eye(4), 100 * np.eye(4), np.zeros((4, 4))], ["a", "b", "c"])
    heats = [image(ax, "heat").get_array()[..., 3] for ax in labelled(fig, "page")]
    np.testing.assert_array_equal(heats[0], heats[1])
    assert not heats[2].any(), "a network that looks nowhere"
    assert "page's highest" in labelled(fig, "colour bar")[0].get_ylabel()


def test_bilinear_is_that_of_cells_and_keeps_a_plain():
    cells = np.random.default_rng(0).random((5, 7))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(cells)[None, None], (40, 63), mode="bilinear")[0, 0]
    np.testing.assert_allclose(module._bilinear(cells, (40, 63)), wanted.numpy(), atol=1e-12)
    np.testing.assert_array_equal(module._bilinear(np.ones((1, 1)), (4, 6)), np.ones((4, 6)))


def worst(four, **changes):
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]])
    given = {"images": four[1:], "titles": ["a", "b", "c"], "truth": truth, "classes": CLASSES}
    return figures.worst_pages(**given | {"probabilities": {m: rng.random((3, 5)) for m in MODELS}} | changes)


def test_worst_pages_have_their_probabilities_beside_them(four):
    colours = figures.palette(("other", *MODELS))
    p = {m: np.random.default_rng(i).random((3, 5)) for i, m in enumerate(MODELS)}
    fig = worst(four, probabilities=p, colours=colours)
    beside, shown = labelled(fig, "probabilities"), labelled(fig, "page")
    assert len(beside) == len(shown) == 3
    for i, (ax, page) in enumerate(zip(beside, shown)):
        for line in ax.lines:
            np.testing.assert_array_equal(line.get_xdata(), p[line.get_label()][i])
            assert line.get_color() == colours[line.get_label()]
        assert ax.get_xlim() == (0, 1)
        assert ax.get_position().y1 == pytest.approx(page.get_position().y1)
        names = [t.get_window_extent() for t in ax.get_yticklabels()]
        assert min(box.x0 for box in names) > page.get_window_extent().x1 + 3, "class names keep clear of the page"
    assert [t.get_fontweight() for t in beside[0].get_yticklabels()] == ["bold", "normal", "normal", "normal", "bold"]
    assert [len(ax.patches) for ax in beside] == [2, 1, 1], "the true classes are shaded"
    assert [bool(ax.get_xlabel()) for ax in beside] == [False, False, True]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(MODELS)
    assert fig.legends[0].get_window_extent().y0 > shown[0].title.get_window_extent().y1
    assert len(figures.png(fig)) <= style.MAX_BYTES


def test_many_classes_and_long_titles_stay_inside():
    names = [f"CLASS{i}" for i in range(15)]
    fig = worst(white(4), classes=names, truth=np.zeros((3, 15)), titles=["a long title " * 12, "b", "c"],
                probabilities={"m": np.full((3, 15), 0.5)})  # fmt: skip
    fig.canvas.draw()
    for ax in fig.axes:
        box = ax.get_tightbbox()
        assert fig.bbox.x0 <= box.x0
        assert box.x1 <= fig.bbox.x1
        assert fig.bbox.y0 <= box.y0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.pages([], []), "no pages"),
        (lambda: figures.pages(white(2), ["a"]), "1 titles do not fit 2 pages"),
        (lambda: figures.pages([np.zeros((50, 60, 3))], ["a"]), r"Page 0 has shape \(50, 60, 3\)"),
        (lambda: figures.pages([*white(), *white(size=(20, 30))], ["a", "b"]), r"Page 1 has shape \(3, 20, 30\)"),
        (lambda: figures.pages([np.full((3, 9, 9), 255.0)], ["a"]), "float between 0 and 1"),
        (lambda: figures.pages([np.full((3, 9, 9), np.nan)], ["a"]), "float between 0 and 1"),
        (lambda: figures.pages(white(), ["a"], columns=0), "columns"),
        (lambda: figures.pages(white(40), ["a"] * 40, columns=40), "columns"),
        (lambda: figures.page_attention(white()[0], np.zeros(5)), r"heat of page 0 has shape \(5,\)"),
        (lambda: figures.page_attention(white()[0], -np.ones((3, 4))), "negative"),
        (lambda: figures.page_attention(white()[0], np.full((3, 4), np.inf)), "not finite"),
        (lambda: figures.page_attention(white()[0], np.ones((3, 4)), names=["I"]), "without the boxes"),
        (lambda: figures.page_attention(white()[0], np.ones((3, 4)), boxes=np.ones((2, 4)), names=["I"]), "1 names"),
        (lambda: figures.page_attentions(white(2), [np.ones((3, 4))], ["a", "b"]), "1 heats do not fit 2 pages"),
        (lambda: worst(white(4), probabilities={}), "no model"),
        (lambda: worst(white(4), probabilities={"m": np.zeros((3, 4))}), r"'m' has shape \(3, 4\)"),
        (lambda: worst(white(4), probabilities={"m": np.full((3, 5), 1.5)}), "outside 0 to 1"),
        (lambda: worst(white(4), truth=np.zeros((2, 5))), "'truth' has shape"),
    ],
)
def test_pages_refuse(call, says):
    with pytest.raises(InputError, match=says):
        call()
