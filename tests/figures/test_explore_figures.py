"""What the figures of a cohort draw, and the widgets that appear only where somebody can use them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ecglib import figures, heart_rate
from ecglib.datasets import synthetic
from ecglib.errors import InputError
from ecglib.figures import explore
from ecglib.figures.style import COLOURS


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("explore") / "cohort", records=60, rate=100, progress=False)


def made(**changes):
    """Eight records of two cohorts, the second without ages."""
    columns = {
        "cohort": ["here"] * 5 + ["there"] * 3,
        "patient": ["a", "a", "b", "c", "d", "a", "e", "f"],
        "age": [50.0, 51, 60, 70, 90, np.nan, np.nan, np.nan],
        "sex": ["male", "male", "female", None, "female", "male", "female", "female"],
        "heart_rate": [60.0, 70, 80, 90, np.nan, 100, 110, 120],
    }
    return pd.DataFrame(columns | changes)


def bars(ax):
    return [patch.get_height() for patch in ax.patches if patch.get_width() > 0 and patch.get_height() > 0]


def test_people_are_scaled_by_their_own_cohort():
    fig = figures.people(made())
    ages, sexes, per_patient = fig.axes
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["here", "there"]
    assert [tick.get_text() for tick in sexes.get_xticklabels()] == ["male", "female", "not said"]
    assert sorted(bars(sexes)) == pytest.approx(sorted([40, 40, 20, 100 / 3, 200 / 3]))
    first = next(patch for patch in sexes.patches if patch.get_height() > 0)
    assert first.get_facecolor()[:3] == pytest.approx(tuple(int(COLOURS[0][k : k + 2], 16) / 255 for k in (1, 3, 5)))
    assert sorted(bars(per_patient)) == pytest.approx([25, 75, 100])  # a twice, b c d once; there: each once
    assert ages.get_xlabel() == "age (years)"


def test_people_without_ages_say_so_and_one_cohort_needs_no_legend():
    fig = figures.people(made()[5:])
    assert not fig.legends
    assert "no ages" in fig.axes[0].texts[0].get_text()
    with pytest.raises(InputError, match="no record"):
        figures.people(made()[:0])


def test_folds_count_records_and_patients():
    labels = np.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    fig = figures.fold_overview([1, 1, 1, 2], ["a", "a", "b", "c"], labels, ["X", "Y"])
    left, right = fig.axes[:2]
    assert sorted(bars(left)) == [1, 1, 2, 3]  # patients of fold 2, records of fold 2, patients and records of fold 1
    assert [text.get_text() for text in right.texts] == ["67", "100", "33", "100"]
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["X", "Y"]
    bare = figures.fold_overview([1, 2], ["a", "b"], np.zeros((2, 0)), [])
    assert bare.axes[1].texts[0].get_text() == "no classes"
    with pytest.raises(InputError, match="No record"):
        figures.fold_overview([], [], np.zeros((0, 2)), ["X", "Y"])


def test_distributions_mark_each_median_and_say_what_is_not_known():
    fig = figures.distributions(made(nothing=np.nan), {"heart_rate": "bpm", "age": "years", "nothing": "height"})
    rate, age, nothing = fig.axes
    medians = {line.get_color(): line.get_xdata()[0] for line in rate.lines if line.get_linestyle() == "--"}
    assert medians == {COLOURS[0]: 75, COLOURS[1]: 110}
    assert len([line for line in age.lines if line.get_linestyle() == "--"]) == 1
    assert nothing.texts[0].get_text() == "height: not known"


def test_a_logarithmic_distribution_has_plain_ticks_over_a_decade_and_leaves_zeros_out():
    frame = made(mv=[0.0, 0.5, 0.5001, 0.5002, 0.5003, 0.5, 0.5, 0.51])
    ax = figures.distributions(frame, {"mv": "mV"}, log=["mv"]).axes[0]
    low, high = ax.get_xlim()
    assert ax.get_xscale() == "log"
    assert high / low == pytest.approx(10)
    ax.figure.canvas.draw()
    inside = [t.get_text() for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert set(inside) <= {"0.2", "0.5", "1"}
    assert "0.5" in inside
    assert [line.get_xdata()[0] for line in ax.lines if line.get_color() == COLOURS[0]] == pytest.approx([0.50015])


def test_classes_stand_from_slow_to_fast_with_their_counts():
    frame = pd.DataFrame({"class": list("QQPPPR"), "heart_rate": [100.0, 120, 50, 60, 70, np.nan]})
    ax = figures.rates_by_class(frame, of="rhythm").axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["P  (3)", "Q  (2)"]
    assert ax.get_ylabel() == "rhythm"
    with pytest.raises(InputError, match="nothing to draw"):
        figures.rates_by_class(frame[5:])


def test_shares_keep_the_colour_of_their_cohort_and_the_order_asked_for():
    frame = pd.DataFrame(
        {"cohort": ["here", "here", "there"], "class": ["X", "Y", "Y"], "share": [10.0, 0, 30],
         "low": [5.0, np.nan, 20], "high": [15.0, np.nan, 40]}
    )  # fmt: skip
    ax = figures.class_shares(frame, ["Y", "X"]).axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Y", "X"]
    points = {line.get_label(): line for line in ax.lines}
    assert points["there"].get_color() == COLOURS[1]
    assert points["here"].get_xdata().tolist() == [10, 0]
    assert points["here"].get_ydata() == pytest.approx([1 - 0.16, 0 - 0.16])
    ends = {tuple(path.vertices[:, 0]) for lines in ax.collections for path in lines.get_paths() if len(path.vertices)}
    assert {(5.0, 15.0), (20.0, 40.0)} <= ends


def test_amplitudes_leave_flat_leads_out():
    frame = pd.DataFrame({"cohort": "here", "lead": ["I", "I", "V1", "V1"], "mv": [1.0, 2, 0, 4]})
    ax = figures.amplitudes(frame).axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["I", "V1"]
    assert ax.get_yscale() == "log"
    with pytest.raises(InputError, match="flat"):
        figures.amplitudes(frame.assign(mv=0.0))


def test_a_spectrum_is_the_median_of_records():
    power = np.array([[9.0, 1, 2], [9, 3, 4], [9, 5, 60]])
    ax = figures.spectra({"here": (np.array([0.0, 1, 2]), power)}, lead="II").axes[0]
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
    assert ax.lines[0].get_ydata().tolist() == [3, 4]


def test_strips_mark_the_peaks_under_the_trace():
    t = np.arange(1000) / 100
    trace = np.exp(-0.5 * ((t - 5) / 0.02) ** 2)
    fig = figures.record_strips(trace[None], rate=100, lead="II", titles=["one"], peaks=[np.array([5.0])])
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    highest = lines["II"].get_xdata()[np.argmax(lines["II"].get_ydata())]
    assert lines["R peaks"].get_xdata() == pytest.approx([highest])
    assert lines["R peaks"].get_ydata()[0] < lines["II"].get_ydata().min()
    assert "one" in [text.get_text() for text in fig.axes[0].texts]
    with pytest.raises(InputError, match="do not fit"):
        figures.record_strips(trace[None], rate=100, lead="II", titles=["one", "two"])


def test_a_page_tells_what_is_known_of_the_record(cohort):
    row = cohort.records.iloc[3]
    words = [text.get_text() for text in figures.record_page(cohort, 3, "worst").axes[0].texts]
    title = next(text for text in words if text.startswith("worst: Record"))
    assert all(words in title for words in (row["record"], f"{row['age']:.0f} years", row["statements"][0]))


def test_a_cohort_of_two_leads_is_drawn_too(tmp_path):
    from ecglib import cohort as cohorts

    table = pd.DataFrame({"record": ["a"], "patient": ["p"], "fold": [None], "age": [np.nan], "sex": [None],
                          "statements": [[]]})  # fmt: skip
    counts = np.random.default_rng(0).integers(-300, 300, (1, 2, 1000)).astype(np.int16)
    made = cohorts.write(tmp_path / "two", counts, table, name="two", rate=100, leads=["II", "V5"], scale=0.001)
    labels = [line.get_label() for line in figures.record_page(made, 0).axes[0].lines]
    assert {"II", "V5"} <= set(labels)


def kernel(monkeypatch, allow):
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=allow)))


def test_nothing_to_choose_from_where_nobody_can_choose(cohort, monkeypatch):
    assert figures.browse(cohort, "superclass") is None  # no kernel at all
    kernel(monkeypatch, allow=False)  # what batch runners tell the kernel
    assert figures.browse(cohort, "superclass") is None


def test_choosing_a_class_offers_its_records_and_draws_the_one_chosen(cohort, monkeypatch):
    drawn = []
    monkeypatch.setattr(explore, "record_page", lambda cohort, row, title="": drawn.append(row))
    monkeypatch.setattr("ecglib.figures.style.show", lambda fig, **about: None)
    kernel(monkeypatch, allow=True)
    kind, record = figures.browse(cohort, "superclass").children[0].children
    assert len(record.options) == len(cohort)
    kind.value = "MI"
    rows = np.flatnonzero(cohort.labels("superclass")[:, cohort.classes("superclass").index("MI")])
    assert [row for _, row in record.options] == rows.tolist()
    record.value = int(rows[2])
    assert drawn[-1] == rows[2]


def test_peaks_found_in_a_record_lie_within_its_strip(cohort):
    peaks = heart_rate.r_peaks(cohort.signal_mv([0]), rate=100)
    fig = figures.record_strips(
        cohort.signal_mv([0], leads=["II"])[:, 0], rate=100, lead="II", titles=["x"], peaks=peaks
    )
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    assert len(lines["R peaks"].get_xdata()) == len(peaks[0]) > 5
    assert lines["R peaks"].get_xdata().max() <= lines["II"].get_xdata().max()


def test_of_many_classes_the_sixteen_most_common_are_drawn_by_fold():
    labels = np.tril(np.ones((20, 20), int))  # class k has 20 - k records
    fig = figures.fold_overview([1, 2] * 10, list("abcdefghijklmnopqrst"), labels, [f"c{k:02}" for k in range(20)])
    assert [tick.get_text() for tick in fig.axes[1].get_yticklabels()] == [f"c{k:02}" for k in range(16)]
