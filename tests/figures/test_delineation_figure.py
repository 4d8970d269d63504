"""The figure of waves: spans where the truth has them, a row of bars for every model."""

from __future__ import annotations

import numpy as np
import pytest

from ecglib import figures
from ecglib.errors import InputError
from ecglib.figures import style

RATE = 100


def truth() -> np.ndarray:
    """(500,): a P, QRS and T."""
    classes = np.zeros(500, int)
    classes[100:110], classes[115:125], classes[140:160] = 1, 2, 3
    return classes


def spans(ax) -> list[tuple[float, float]]:
    return [(round(p.get_x(), 9), round(p.get_x() + p.get_width(), 9)) for p in ax.patches]


def bars(ax, row: int) -> dict[str, list[tuple[float, float]]]:
    """{wave: [(start, end), ...]} of a row, in seconds."""
    out = {}
    for wave in ("P wave", "QRS complex", "T wave"):
        drawn = [c for c in ax.collections if c.get_label() == wave][row]
        boxes = [path.vertices for path in drawn.get_paths()]
        out[wave] = [(round(b[:, 0].min(), 9), round(b[:, 0].max(), 9)) for b in boxes]
    return out


def test_truth_is_shaded_and_every_model_has_a_row():
    signal = np.sin(np.arange(500) / 10)
    found = np.where(truth() == 1, 0, truth())
    found[300:320] = 3
    models, known = {"a": found, "b": np.zeros(500, int)}, np.arange(500) < 400
    fig = figures.delineation(signal, truth(), models, rate=RATE, lead="II", known=known, title="x")
    above, below = fig.axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), signal)
    assert above.lines[0].get_xdata()[-1] == pytest.approx(4.99)
    assert spans(above) == [(1.0, 1.1), (1.15, 1.25), (1.4, 1.6), (4.0, 5.0)]
    assert spans(below) == [(4.0, 5.0)], "not annotated"
    assert bars(below, 0) == {"P wave": [(1.0, 1.1)], "QRS complex": [(1.15, 1.25)], "T wave": [(1.4, 1.6)]}
    assert bars(below, 1) == {"P wave": [], "QRS complex": [(1.15, 1.25)], "T wave": [(1.4, 1.6), (3.0, 3.2)]}
    assert bars(below, 2) == {"P wave": [], "QRS complex": [], "T wave": []}
    assert [t.get_text() for t in below.get_yticklabels()] == ["cardiologist", "a", "b"]
    assert (above.get_ylabel(), below.get_xlabel(), above.get_title(loc="left")) == ("II (mV)", "time (s)", "x")
    assert above.get_xlim() == below.get_xlim() == (0, 5)
    names = [t.get_text() for t in fig.legends[0].get_texts()]
    assert names == ["P wave", "QRS complex", "T wave", "not annotated"]


def test_waves_differ_by_height_as_well_and_rows_keep_apart():
    every = np.repeat([1, 2, 3, 0], 25)
    fig = figures.delineation(np.zeros(100), every, {"a": every}, rate=RATE, lead="V1")
    below = fig.axes[1]
    heights = [np.ptp(c.get_paths()[0].vertices[:, 1]) for c in below.collections]
    assert len(set(np.round(heights, 6))) == 3
    assert max(heights) < 1
    assert "not annotated" not in [t.get_text() for t in fig.legends[0].get_texts()]
    assert len(figures.png(fig)) <= style.MAX_BYTES


def test_real_waves_of_the_lobachevsky_database(shared_data):
    import wfdb

    path = str(shared_data / "ludb" / "data" / "1")
    record, marks = wfdb.rdrecord(path), wfdb.rdann(path, "ii")
    classes, kinds = np.zeros(record.sig_len, int), {"p": 1, "N": 2, "t": 3}
    for i, symbol in enumerate(marks.symbol):
        if symbol in kinds:
            classes[marks.sample[i - 1] : marks.sample[i + 1] + 1] = kinds[symbol]
    signal = record.p_signal[:, record.sig_name.index("ii")]
    fig = figures.delineation(signal, classes, {"a": classes}, rate=record.fs, lead="II")
    assert len(bars(fig.axes[1], 0)["QRS complex"]) == marks.symbol.count("N")
    assert len(figures.png(fig)) <= style.MAX_BYTES


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"signal": np.zeros((2, 500))}, r"\(2, 500\)"),
        ({"rate": 0}, "0 Hz"),
        ({"truth": np.zeros(499)}, r"truth has shape \(499,\)"),
        ({"truth": np.full(500, 4)}, "truth has the class 4"),
        ({"known": np.ones(9)}, r"known has shape \(9,\)"),
        ({"found": {"a": np.full(500, -1)}}, "'a' has the class -1"),
        ({"found": {"a": np.zeros(9)}}, "'a' has shape"),
        ({"found": {"cardiologist": np.zeros(500)}}, "like the truth"),
    ],
)
def test_delineation_refuses(changes, says):
    given = {"signal": np.zeros(500), "truth": truth(), "found": {"a": np.zeros(500)}, "rate": RATE, "lead": "II"}
    with pytest.raises(InputError, match=says):
        figures.delineation(**given | changes)
