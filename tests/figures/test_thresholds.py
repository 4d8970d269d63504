"""What a threshold does, its picture, and the slider that appears only where somebody can slide it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix

from ecglib import figures
from ecglib.errors import InputError


@settings(deadline=None, max_examples=50)
@given(arrays(np.int8, (9, 2), elements=st.integers(0, 1)), arrays(np.float64, (9, 2), elements=st.floats(0, 1)))
def test_the_table_is_that_of_the_confusion_matrix(truth, p):
    table = figures.operating_points(truth, p, [0.3, 0.7], ["a", "b"])
    for c, (name, threshold) in enumerate((("a", 0.3), ("b", 0.7))):
        quiet, alarms, misses, hits = confusion_matrix(truth[:, c], p[:, c] >= threshold, labels=[0, 1]).ravel()
        row = table.loc[name]
        assert (row["positives"], row["said"]) == (hits + misses, hits + alarms)
        for what, top, all_of_them in (
            ("sensitivity", hits, hits + misses), ("specificity", quiet, quiet + alarms),
            ("positive predictive value", hits, hits + alarms), ("negative predictive value", quiet, quiet + misses),
        ):  # fmt: skip
            np.testing.assert_allclose(row[what], top / all_of_them if all_of_them else np.nan)


def test_the_picture_counts_the_records_and_says_what_the_threshold_does():
    p = np.array([0.1, 0.2, 0.6, 0.9, 0.8])
    ax = figures.threshold_view([0, 0, 0, 1, 1], p, 0.5, name="MI").axes[0]
    line = next(line for line in ax.lines if line.get_label() == "threshold 0.50")
    assert set(line.get_xdata()) == {0.5}
    assert ax.get_title("left") == "found 100% of those with it; 67% of what is said is right"
    assert sum(patch.get_height() for patch in ax.patches) == 5
    assert ax.get_xlim() == (0, 1)
    assert "nothing is said" in figures.threshold_view([0, 1], [0.1, 0.2], 0.9, name="MI").axes[0].get_title("left")


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="do not fit 2 classes"):
        figures.operating_points(np.zeros((3, 2)), np.zeros((3, 2)), [0.5], ["a", "b"])
    with pytest.raises(InputError, match="not both"):
        figures.threshold_view(np.zeros(3), np.zeros(4), 0.5)
    with pytest.raises(InputError, match="no class 'c'"):
        figures.browse_thresholds(np.zeros((3, 2)), np.zeros((3, 2)), ["a", "b"], first="c")


def test_a_slider_only_where_somebody_is_there(monkeypatch):
    truth, p = np.array([[0, 1], [1, 0]]), np.array([[0.2, 0.9], [0.7, 0.4]])
    assert figures.browse_thresholds(truth, p, ["a", "b"]) is None
    monkeypatch.setattr("ecglib.figures.live.live", lambda: True)
    shown = []
    monkeypatch.setattr("ecglib.figures.style.show", lambda fig, *, alt, caption="": shown.append(alt))
    box = figures.browse_thresholds(truth, p, ["a", "b"], first="b")
    kind, cut = box.children[0].children
    assert (kind.value, kind.options) == ("b", ("a", "b"))
    cut.value = 0.25
    kind.value = "a"
    assert shown[0].startswith("Probabilities of b")
    assert shown[-1] == "Probabilities of a for records with and without it, cut at 0.25."
