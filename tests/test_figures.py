"""What the figures draw: artists, limits, labels, and the geometry of ECG paper."""

from __future__ import annotations

import base64
import io
import re
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from ecglib import figures
from ecglib.bootstrap import Bootstrap
from ecglib.errors import InputError
from ecglib.figures import style
from ecglib.leads import LEADS
from ecglib.metrics import auc

CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")
MODELS = ("teacher", "student", "student + MKD")
RATE = 250


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def beats(leads: int = 12, seconds: float = 10) -> np.ndarray:
    """(L, T) mV: 1 mV spikes of one sample on a zero line, at 1.0 s, 2.0 s, ..., the same in every lead."""
    signal = np.zeros((leads, int(seconds * RATE)))
    signal[:, RATE::RATE] = 1.0
    return signal


def predictions(n: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 5)) < 0.35).astype(float)
    noise = {model: 0.5 + i for i, model in enumerate(MODELS)}
    return y, {m: 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, s, y.shape)))) for m, s in noise.items()}


def made_rows(models=MODELS, classes=("macro", *CLASSES), seeds=(None, 0, 1), **changes) -> list[dict]:
    common = {"protocol": "p", "data": "d", "split": "test", "metric": "auc", "n": 99} | changes
    out = []
    for i, model in enumerate(models):
        for c, name in enumerate(classes):
            for seed in seeds:
                value = 0.9 - 0.05 * i - 0.01 * c + 0.001 * (seed or 0)
                row = {"model": model, "class": name, "value": value, "low": value - 0.02, "high": value + 0.01}
                out.append(common | row | {"seed": seed})
    return out


def texts(fig) -> str:
    drawn = [t.get_text() for t in fig.findobj(mpl.text.Text)]
    return "\n".join(drawn)


def lines(ax, label: str) -> list:
    return [line for line in ax.lines if line.get_label() == label]


def named(fig, label: str):
    return next(ax for ax in fig.axes if ax.get_label() == label)


# ---- ECG paper ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["3x4+II", "6x2", "12x1", "column"])
@pytest.mark.parametrize("dpi", [72, 173])
def test_a_second_is_25_mm_and_a_millivolt_10_mm(layout, dpi):
    fig = figures.ecg_page(beats(), rate=RATE, leads=LEADS, layout=layout)
    fig.set_dpi(dpi)
    ax, mm = named(fig, "paper"), dpi / 25.4
    line = lines(ax, "II")[-1]
    pixels = ax.transData.transform(line.get_xydata())  # (T, 2)
    shown = np.flatnonzero(np.isfinite(pixels[:, 1]))
    spikes = shown[np.diff(pixels[shown, 1], prepend=pixels[shown[0], 1]) > mm]
    assert len(spikes) >= 2
    assert np.diff(pixels[spikes, 0]) == pytest.approx(25 * mm, rel=1e-9), "spikes are a second apart"
    assert pixels[spikes, 1] - np.median(pixels[shown, 1]) == pytest.approx(10 * mm, rel=1e-9)
    pulse = ax.transData.transform(lines(ax, "calibration")[0].get_xydata())
    assert np.ptp(pulse[:, 1]) == pytest.approx(10 * mm), "1 mV"
    top = pulse[pulse[:, 1] > pulse[:, 1].min() + mm]
    assert np.ptp(top[:, 0]) == pytest.approx(5 * mm), "0.2 s"


def test_grid_lines_are_a_millimetre_and_five_apart():
    fig = figures.ecg_page(beats(), rate=RATE, leads=LEADS)
    ax = named(fig, "paper")
    for step in (1, 5):
        grid = next(c for c in ax.collections if isinstance(c, LineCollection) and c.get_label() == f"grid {step} mm")
        upright = sorted({s[0][0] for s in grid.get_segments() if s[0][0] == s[1][0]})
        level = sorted({s[0][1] for s in grid.get_segments() if s[0][1] == s[1][1]})
        assert np.diff(upright) == pytest.approx(step)
        assert np.diff(level) == pytest.approx(step)
        assert upright[-1] - upright[0] == pytest.approx(265), "15 mm of pulse, 10 s"
        assert level[-1] - level[0] == pytest.approx(120), "four rows of 30 mm"
    assert "25 mm/s" in texts(fig)
    assert "10 mm/mV" in texts(fig)
    assert f"{RATE} Hz" in texts(fig)


def test_three_by_four_shows_each_lead_for_its_quarter():
    signal = np.arange(12)[:, None] + np.zeros((12, 10 * RATE))
    signal = signal + np.linspace(0, 1, 10 * RATE)  # a ramp: where a lead is cut is visible
    fig = figures.ecg_page(signal, rate=RATE, leads=LEADS, layout="3x4+II")
    ax = named(fig, "paper")
    for column, names in enumerate((("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))):
        for name in names:
            x, y = lines(ax, name)[0].get_data()
            seen = x[np.isfinite(y)]
            assert [seen[0], seen[-1]] == pytest.approx([19 + 62.5 * column, 19 + 62.5 * (column + 1)], abs=0.2)
    assert len(lines(ax, "II")) == 2, "once in its place, once as the rhythm strip"
    assert np.isfinite(lines(ax, "II")[1].get_ydata()).all()
    assert len(lines(ax, "lead change")) == 9
    wanted = {lead for lead in LEADS if re.search(rf"^{lead}$", texts(fig), re.M)}
    assert wanted == set(LEADS)


def test_leads_are_found_by_name_not_by_position():
    signal = beats() * np.arange(1, 13)[:, None]
    order = np.random.default_rng(0).permutation(12)
    straight = figures.ecg_page(signal, rate=RATE, leads=LEADS)
    turned = figures.ecg_page(signal[order], rate=RATE, leads=[LEADS[i] for i in order])
    for lead in LEADS:
        a, b = (lines(named(fig, "paper"), lead)[0].get_ydata() for fig in (straight, turned))
        np.testing.assert_array_equal(a, b)


def test_predictions_stand_beside_the_page():
    truth, p = np.array([1, 0, 0, 0, 1]), {m: np.linspace(0, 1, 5) * (0.5 + 0.2 * i) for i, m in enumerate(MODELS)}
    fig = figures.ecg_page(
        beats(), rate=RATE, leads=LEADS, classes=CLASSES, truth=truth, predictions=p, title="a title"
    )
    ax = named(fig, "predictions")
    for model in MODELS:
        np.testing.assert_array_equal(lines(ax, model)[0].get_xdata(), p[model])
    assert len(ax.patches) == 2, "the true classes are shaded"
    assert [t.get_fontweight() for t in ax.get_yticklabels()] == ["bold", "normal", "normal", "normal", "bold"]
    assert ax.get_xlim() == (0, 1)
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(MODELS)
    fig.canvas.draw()
    box, page = fig.legends[0].get_window_extent(), fig.bbox
    title = next(t for t in named(fig, "paper").texts if t.get_text() == "a title").get_window_extent()
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1 + 1
    assert title.x1 < box.x0, "title and legend do not meet"
    bare = figures.ecg_page(beats(), rate=RATE, leads=LEADS)
    assert len(bare.axes) == 1
    assert bare.get_figwidth() < fig.get_figwidth()


def test_long_titles_and_legends_do_not_meet():
    p = {f"a model with a rather long name {i}": np.full(5, 0.5) for i in range(5)}
    fig = figures.ecg_page(beats(), rate=RATE, leads=LEADS, classes=CLASSES, predictions=p, title="a long title " * 5)
    fig.canvas.draw()
    title = next(t for t in named(fig, "paper").texts if t.get_text().startswith("a long")).get_window_extent()
    assert fig.legends[0].get_window_extent().y1 < title.y0
    assert fig.legends[0].get_window_extent().x0 >= 0


def test_strips_of_several_records():
    y, p = predictions(4)
    fig = figures.ecg_strips(
        beats(4), rate=RATE, lead="I", titles=["a", "b", "c", "d"], classes=CLASSES, truth=y, predictions=p
    )
    paper = named(fig, "paper")
    assert len(lines(paper, "I")) == 4
    beside = [ax for ax in fig.axes if ax.get_label() == "predictions"]
    assert len(beside) == 4
    for i, ax in enumerate(beside):
        np.testing.assert_array_equal(lines(ax, "student")[0].get_xdata(), p["student"][i])
        assert len(ax.patches) == y[i].sum()
    assert [bool(ax.get_xlabel()) for ax in beside] == [False, False, False, True]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.ecg_page(beats(), rate=RATE, leads=LEADS, layout="3x4"), r"Did you mean '3x4\+II'"),
        (lambda: figures.ecg_page(beats(2), rate=RATE, leads=LEADS), r"\(2, 2500\) does not fit 12 leads"),
        (lambda: figures.ecg_page(beats(2), rate=RATE, leads=LEADS[:2]), "III|aVR"),
        (lambda: figures.ecg_page(beats(), rate=0, leads=LEADS), "rate"),
        (lambda: figures.ecg_page(beats(), rate=RATE, leads=LEADS, classes=CLASSES,
                                  predictions={"m": np.zeros(3)}), "'m'"),
        (lambda: figures.ecg_strips(beats(2), rate=RATE, lead="I", titles=["a", "b"], classes=CLASSES,
                                    truth=np.zeros((2, 4)), predictions={}), "'truth'"),
    ],
)  # fmt: skip
def test_paper_refuses(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_real_records_are_drawn_whole(shared_data):
    """A real PTB-XL record at 500 Hz: every sample of the rhythm strip, drawn about its median."""
    import wfdb

    record = wfdb.rdrecord(str(shared_data / "ptb-xl-raw" / "records500" / "00000" / "00001_hr"))
    fig = figures.ecg_page(record.p_signal.T, rate=record.fs, leads=record.sig_name)
    strip, mv = lines(named(fig, "paper"), "II")[1].get_ydata(), record.p_signal[:, 1]
    np.testing.assert_allclose((strip - np.median(strip)) / 10, mv - np.median(mv), atol=1e-9)
    assert len(figures.png(fig)) < style.MAX_BYTES


# ---- data and training ----------------------------------------------------------------------------------------------


def test_split_overview_counts():
    folds = np.repeat(np.arange(1, 11), np.arange(11, 21))
    labels = np.zeros((len(folds), 5))
    labels[folds == 10, 2] = 1
    splits = {"train": range(1, 9), "valid": [9], "test": [10]}
    fig = figures.split_overview(pd.array([None, *folds[1:]], dtype="Int64"), labels, CLASSES, splits)
    left, right = fig.axes
    assert [bar.get_height() for bar in left.patches] == [10, *range(12, 21)], "a record without a fold is not counted"
    points = {line.get_label().split()[0]: line.get_xdata() for line in right.lines}
    assert points["test"].tolist() == [0, 0, 100, 0, 0]
    assert points["train"].tolist() == [0] * 5
    assert "%" in right.get_xlabel()
    with pytest.raises(InputError, match="valid folds"):
        figures.split_overview(folds, labels, CLASSES, splits | {"valid": [12]})


def test_co_occurrence_is_a_share_of_the_row():
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]])
    fig = figures.co_occurrence(labels, ("A", "B", "C"))
    share = fig.axes[0].images[0].get_array()
    assert share[0, 1] == 50, "of the four A, two have B"
    assert share[1, 0] == 100
    assert np.ma.getmaskarray(share)[2].all(), "no C at all"
    assert {"4", "2", "0", "50", "100"} <= set(texts(fig).split("\n"))
    assert "%" in fig.axes[1].get_ylabel()


def test_learning_curves():
    history = pd.DataFrame(
        [
            {
                "model": m,
                "seed": s,
                "epoch": e,
                "loss": 1 / e,
                "valid_loss": 2 / e,
                "valid_macro_auc": 1 - abs(e - 3) / 10,
            }
            for m in MODELS
            for s in (0, 1)
            for e in range(1, 6 - s)
        ]
    )
    fig = figures.learning_curves(history)
    assert [ax.get_ylabel() for ax in fig.axes] == ["training loss", "validation loss", "validation macro AUC"]
    assert all(ax.get_xlabel() == "epoch" for ax in fig.axes)
    assert len(fig.axes[0].lines) == 3 * (2 + 1), "two seeds and their mean per model"
    best = [line for line in fig.axes[2].lines if line.get_linestyle() == "None"]
    assert all((line.get_xdata() == 3).all() for line in best)
    assert len(best) == 3
    assert {t.get_text() for t in fig.legends[0].get_texts()} == set(MODELS)
    with pytest.raises(InputError, match="'valid_macro_auc'"):
        figures.learning_curves(history.drop(columns="valid_macro_auc"))


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_learning_curves_of_one_epoch_are_marks(seeds):
    rows = [{"model": m, "seed": s, "epoch": 1, "loss": 0.3 + s, "valid_macro_auc": 0.6} for m in MODELS for s in seeds]
    fig = figures.learning_curves(pd.DataFrame(rows), columns=("loss", "valid_macro_auc"))
    for ax, value in zip(fig.axes, (0.3, 0.6), strict=True):
        marks = [line for line in ax.lines if line.get_linestyle() == "None"]
        assert sum(len(line.get_xdata()) for line in marks) == len(MODELS) * len(seeds)
        assert all(line.get_marker() not in ("", "None", None) for line in marks)
        assert marks[0].get_ydata()[0] == value
        assert ax.get_xticks().tolist() == [1]


# ---- performance ----------------------------------------------------------------------------------------------------


def test_roc_and_precision_recall():
    y, p = predictions(300)
    boot = Bootstrap(y, draws=50)
    p["student"] = np.stack([p["student"], p["student + MKD"]])  # two seeds
    fig = figures.roc_pr(boot, p, CLASSES, draws=50)
    left, right = fig.axes
    assert left.get_xlim() == (0, 1)
    assert len(left.collections) == len(right.collections) == 3, "a band per model"
    labels = {line.get_label().split(":")[0]: line for line in left.lines if ":" in line.get_label()}
    assert set(labels) == set(MODELS)
    area = np.trapezoid(labels["teacher"].get_ydata(), labels["teacher"].get_xdata())
    assert area == pytest.approx(auc(y, p["teacher"]).mean(), abs=0.01)
    assert labels["teacher"].get_label().endswith(f"{auc(y, p['teacher']).mean():.3f}")
    both = np.mean([auc(y, one).mean() for one in p["student"]])
    assert labels["student"].get_label().endswith(f"{both:.3f}"), "the mean over seeds"
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() >= 0
    assert "MI" in figures.roc_pr(boot, p, CLASSES, of="MI", draws=10).axes[0].get_title(loc="left")
    with pytest.raises(InputError, match="Did you mean 'NORM'"):
        figures.roc_pr(boot, p, CLASSES, of="NROM")


def test_a_class_without_positives_does_not_stop_a_figure():
    y, p = predictions(100)
    y[:, 1] = 0
    figures.roc_pr(Bootstrap(y, draws=10), p, CLASSES, draws=10).canvas.draw()
    figures.reliability_diagram(y, p, CLASSES).canvas.draw()
    rows = [row | ({"value": None, "low": None, "high": None} if row["class"] == "HYP" else {}) for row in made_rows()]
    fig = figures.per_class(rows, models=MODELS)
    fig.canvas.draw()
    assert len(ends(fig.axes[0])) == 3 * 5, "HYP has no dot"


def test_reliability_and_agreement():
    y, p = predictions(200)
    fig = figures.reliability_diagram(y, p, CLASSES)
    assert len(fig.axes) == 5
    assert len(fig.axes[0].collections) == 3
    assert all(ax.get_xlim() == ax.get_ylim() for ax in fig.axes)
    assert "Brier" in fig.legends[0].get_texts()[0].get_text()
    fig = figures.agreement(y, p["teacher"], p["student"], CLASSES, ("teacher", "student"))
    with_class = next(line for line in fig.axes[2].lines if line.get_label() == "records with the class")
    np.testing.assert_array_equal(with_class.get_xdata(), p["teacher"][y[:, 2] == 1, 2])
    assert fig.get_supxlabel() == "probability, teacher"
    assert fig.get_supylabel() == "probability, student"


# ---- intervals ------------------------------------------------------------------------------------------------------


def ends(ax) -> list[tuple[float, float]]:
    """The horizontal intervals drawn, top to bottom."""
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 2 and np.ptp(line.get_ydata()) == 0]
    return [tuple(line.get_xdata()) for line in sorted(drawn, key=lambda line: line.get_ydata()[0])]


def test_forest_draws_values_intervals_and_seeds():
    fig = figures.forest(made_rows(), models=MODELS)
    ax = fig.axes[0]
    wanted = [(0.88, 0.91), (0.83, 0.86), (0.78, 0.81)]
    assert [e for e in ends(ax) if e[1] - e[0] > 0.02] == [pytest.approx(e) for e in wanted]
    assert sorted(lines(ax, "seeds")[0].get_xdata()) == pytest.approx([0.9, 0.901])
    assert "0.900 [0.880, 0.910]" in texts(fig)
    assert "macro AUC" in ax.get_xlabel()
    assert "95 % interval" in ax.get_xlabel()


def test_paired_forest_has_the_line_of_no_difference_in_its_middle():
    rows = made_rows(models=("student + MKD - student",), classes=("macro",))
    for row in rows:
        row.update(value=0.01, low=-0.005, high=0.025)
    fig = figures.paired_forest(rows, pairs=[("student + MKD", "student")])
    ax = fig.axes[0]
    assert (
        next(line for line in ax.lines if np.ptp(line.get_xdata()) == 0 and len(line.get_xdata()) == 2).get_xdata()[0]
        == 0
    )
    low, high = ax.get_xlim()
    assert low == -high
    assert "← favours student" in texts(fig)
    assert "favours student + MKD →" in texts(fig)
    assert "+0.010 [-0.005, +0.025]" in texts(fig)
    for row in rows:
        row["metric"] = "brier"
    assert "favours student →" in texts(
        figures.paired_forest(rows, pairs=[("student + MKD", "student")], metric="brier")
    )
    with pytest.raises(InputError, match="pairs"):
        figures.paired_forest(rows, pairs=[])


def test_paired_forest_calls_lines_and_sides_what_it_is_told():
    rows = made_rows(models=("b I - a I", "b V1 - a V1"), classes=("macro",))
    pairs = [("b I", "a I"), ("b V1", "a V1")]
    fig = figures.paired_forest(rows, pairs=pairs, labels=["lead I", "lead V1"], sides=("b", "a"))
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["lead I", "lead V1"]
    assert "← favours a" in texts(fig)
    assert "favours b →" in texts(fig)


def test_per_class_dots():
    fig = figures.per_class(made_rows(), models=MODELS)
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [*CLASSES, "macro"]
    assert len(ends(ax)) == 3 * 6


def test_lead_sweep():
    models = {lead: f"student {lead}" for lead in LEADS}
    rows = made_rows(models=tuple(models.values()), classes=("macro",)) + made_rows(
        models=("teacher",), classes=("macro",)
    )
    fig = figures.lead_sweep(rows, {"student alone": models}, reference="teacher")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == list(LEADS)
    points = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert points == pytest.approx([0.9 - 0.05 * i for i in range(12)])
    assert lines(ax, "teacher: 0.900")[0].get_ydata() == [0.9, 0.9]


# ---- style and show -------------------------------------------------------------------------------------------------


def test_a_model_keeps_its_colour_in_every_figure():
    colours = figures.palette(("teacher (12 leads)", "teacher (V1)", "student", "student + MKD"))
    assert len(set(colours.values())) == 4
    assert colours["teacher (12 leads)"] == style.INK
    assert style.looks(["student + MKD"], colours)["student + MKD"]["color"] == colours["student + MKD"]
    assert style.looks(["student + MKD"], colours) == {
        k: v for k, v in style.looks(colours, colours).items() if "MKD" in k
    }
    fig = figures.forest(made_rows(models=("student + MKD",)), models=["student + MKD"], colours=colours)
    dots = [line for line in fig.axes[0].lines if line.get_markersize() == 7]
    assert dots[0].get_color() == colours["student + MKD"]


def test_every_figure_names_its_axes():
    y, p = predictions(60)
    drawn = [
        figures.split_overview(np.repeat([1, 2], 30), y, CLASSES, {"train": [1], "test": [2]}),
        figures.co_occurrence(y, CLASSES),
        figures.roc_pr(Bootstrap(y, draws=5), p, CLASSES, draws=5),
        figures.forest(made_rows(), models=MODELS),
    ]
    for fig in drawn:
        for ax in fig.axes:
            assert ax.get_xlabel() or ax.get_ylabel()


def test_figures_leave_the_notebook_as_it_was():
    before, open_before = dict(mpl.rcParams), None
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is not None:
        open_before = plt.get_fignums()
    figures.forest(made_rows(), models=MODELS)
    figures.ecg_page(beats(), rate=RATE, leads=LEADS)
    assert dict(mpl.rcParams) == before
    if plt is not None:
        assert plt.get_fignums() == open_before
    with mpl.rc_context({"font.size": 40, "axes.facecolor": "black"}):
        assert figures.forest(made_rows(), models=MODELS).axes[0].xaxis.label.get_size() < 12, (
            "a notebook's style is not ours"
        )


def test_png_keeps_the_models_colours_and_the_size():
    truth, p = np.zeros(5), {m: np.full(5, 0.2 + 0.3 * i) for i, m in enumerate(MODELS)}
    fig = figures.ecg_page(beats(), rate=RATE, leads=LEADS, classes=CLASSES, truth=truth, predictions=p)
    data = figures.png(fig)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "P"
    assert image.width == 2 * style.REPORT_PX
    assert len(data) < style.MAX_BYTES
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for colour in figures.palette(MODELS).values():
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(pixels - wanted).max(axis=1).min() <= 3, f"{colour} is gone"
    assert Image.open(io.BytesIO(figures.png(fig, max_bytes=1))).width == style.REPORT_PX


def test_show_puts_png_alt_and_caption_into_the_output(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **rest: shown.append((data, rest)))
    fig = figures.co_occurrence(np.eye(5), CLASSES)
    figures.show(fig, alt=" Which of five classes occur together. ", caption="Classes that occur together.")
    ((data, rest),) = shown
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.format == "PNG"
    assert data["text/plain"] == "Which of five classes occur together."
    about = rest["metadata"]["image/png"]
    assert (about["alt"], about["caption"]) == (data["text/plain"], "Classes that occur together.")
    assert about["width"] == image.width // 2
    assert rest["raw"] is True
    assert not fig.axes, "closed"


@pytest.mark.parametrize("alt", ["", "  ", "figure", None])
def test_a_figure_without_words_is_refused(alt):
    with pytest.raises(InputError, match="alt"):
        figures.show(figures.co_occurrence(np.eye(5), CLASSES), alt=alt)
