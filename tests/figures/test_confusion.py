"""Confusion of several classes at once: the counts, and the picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecglib import figures
from ecglib.errors import InputError
from ecglib.figures.confusion import confusion_shares


@given(arrays(np.int8, (7, 3), elements=st.integers(0, 1)), arrays(np.int8, (7, 3), elements=st.integers(0, 1)))
def test_the_shares_are_those_of_a_plain_count(truth, said):
    shares, behind = confusion_shares(truth, said)
    for i in range(3):
        for j in range(3):
            rows = [r for r in range(7) if truth[r, i] and (i == j or not truth[r, j])]
            assert behind[i, j] == len(rows)
            if rows:
                assert shares[i, j] == pytest.approx(sum(said[r, j] for r in rows) / len(rows))
            else:
                assert np.isnan(shares[i, j])


def test_a_record_with_both_is_no_confusion():
    shares, behind = confusion_shares([[1, 1]], [[1, 1]])
    assert shares[0, 0] == shares[1, 1] == 1
    assert behind.tolist() == [[1, 0], [0, 1]]


def test_the_picture_says_it_in_per_cent_a_panel_for_each_model():
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    p = {"a": truth * 0.9, "b": np.full(truth.shape, 0.4)}
    fig = figures.confusion(truth, p, {"a": np.array([0.5, 0.5]), "b": np.array([0.4, 0.5])}, ["MI", "NORM"])
    first, second = fig.axes[:2]
    assert [ax.get_title("left") for ax in (first, second)] == ["a", "b"]
    assert [t.get_text() for t in first.texts] == ["100", "0", "0", "100"]
    assert [t.get_text() for t in second.texts] == ["100", "0", "100", "0"], "at the threshold counts as said"
    assert [t.get_text() for t in first.get_yticklabels()] == ["MI (2)", "NORM (3)"]
    np.testing.assert_allclose(first.images[0].get_clim(), (0, 100))


def test_what_does_not_fit_is_refused():
    truth = np.array([[1, 0]])
    with pytest.raises(InputError, match="names no model"):
        figures.confusion(truth, {}, {}, ["a", "b"])
    with pytest.raises(InputError, match="'m' needs probabilities"):
        figures.confusion(truth, {"m": truth}, {}, ["a", "b"])
    with pytest.raises(InputError, match="not both"):
        confusion_shares(truth, np.zeros((2, 2)))
