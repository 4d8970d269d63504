"""The bootstrap's fast AUC and its draws beside plain ones, and how often it goes over the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import bootstrap, metrics
from ecglib.bootstrap import Bootstrap


def plain_auc(y, p, weights):
    """One class, one draw, pair by pair: y, p, weights (N,)."""
    won = pairs = 0.0
    for a, b, v in zip(y, p, weights):
        for c, d, w in zip(y, p, weights):
            if a and not c:
                won += v * w * ((b > d) + (b == d) / 2)
                pairs += v * w
    return won / pairs if pairs else np.nan


def random(seed, records, classes, scores, patients):
    """Labels, scores of so many distinct values, and the patients (None: each record its own)."""
    rng = np.random.default_rng(seed)
    y = rng.random((records, classes)) < rng.random(classes)
    p = rng.integers(scores, size=y.shape) / scores
    return y, p, None if patients is None else rng.integers(patients, size=records)


made = st.tuples(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 3), st.integers(1, 60),
    st.one_of(st.none(), st.integers(1, 30)),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(made)
def test_equals_the_metric_on_the_draws_weights_to_the_last_bit(case):
    y, p, patients = random(*case)
    boot = Bootstrap(y, patients, draws=5, seed=1)
    np.testing.assert_array_equal(boot.auc(p), metrics.auc(y, p, boot.weights))


@settings(max_examples=15, deadline=None)
@given(made)
def test_equals_counting_the_pairs(case):
    y, p, patients = random(*case)
    boot = Bootstrap(y, patients, draws=3)
    want = [[plain_auc(y[:, c], p[:, c], w) for c in range(y.shape[1])] for w in boot.weights]
    np.testing.assert_allclose(boot.auc(p), want, rtol=0, atol=1e-12)


def test_blocks_do_not_change_the_values(monkeypatch):
    y, p, patients = random(0, 300, 2, 50, 200)
    whole = Bootstrap(y, patients, draws=150).auc(p)
    monkeypatch.setattr(bootstrap, "COUNTED_BYTES", 1)  # 64 draws at a time, the last block shorter
    np.testing.assert_array_equal(Bootstrap(y, patients, draws=150).auc(p), whole)


def test_more_pairs_than_a_32_bit_number_holds():
    rng = np.random.default_rng(0)
    p = rng.random((70_000, 1))
    y = rng.random(p.shape) < p
    boot = Bootstrap(y, draws=2)
    np.testing.assert_array_equal(boot.auc(p), metrics.auc(y, p, boot.weights))


@pytest.mark.parametrize("patients", [1, 7, 100, 333])
def test_draws_are_those_of_a_plain_loop(monkeypatch, patients):
    rng = np.random.default_rng(3)
    want = [np.bincount(rng.integers(patients, size=patients), minlength=patients) for _ in range(20)]
    boot = Bootstrap(np.zeros((patients, 1)), draws=20, seed=3)
    np.testing.assert_array_equal(boot.weights, want)


def test_a_class_is_visited_once_a_block_and_not_once_a_draw(monkeypatch):
    y, p, _ = random(0, 500, 3, 400, None)
    visits = []
    step = bootstrap._Steps.auc
    monkeypatch.setattr(bootstrap._Steps, "auc", lambda self, w: visits.append(w.shape[1]) or step(self, w))
    Bootstrap(y, draws=1000).auc(p)
    blocks = -(-1000 // (bootstrap.COUNTED_BYTES // (4 * 500)))
    assert len(visits) == 3 * blocks
    assert sum(visits) == 3 * 1000


def test_positives_without_a_negative_between_them_make_one_step():
    y = np.array([0, 1, 1, 1, 0, 1, 1])[:, None]
    p = np.arange(7.0)[:, None]
    step = bootstrap._Steps.of(metrics.Ranking.of(y[:, 0] == 1, p[:, 0]), 7, np.int32)
    assert step.high.shape == (2, 7)
    assert step.low.shape == (3, 7)
