"""Metrics against scikit-learn, against slow twins written from the definitions, and against what must hold for any."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ecglib import metrics
from ecglib.errors import InputError

seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, n: int = 40, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """One class with both labels and, because scores take few levels, many ties."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < rng.uniform(0.1, 0.9)
    y[:2] = 0, 1
    return y.astype(np.float32), np.round(rng.random(n) * levels) / levels


def slow_auc(y, p, w) -> float:
    """Every positive against every negative, one pair at a time."""
    won = pairs = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero(y == 0):
            pairs += w[i] * w[j]
            won += w[i] * w[j] * (1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
    return won / pairs if pairs else np.nan


def slow_average_precision(y, p, w) -> float:
    """Down the distinct scores: step in recall times precision."""
    total, area, before = sum(w[y == 1]), 0.0, 0.0
    for threshold in sorted(set(p), reverse=True):
        called = p >= threshold
        hits = sum(w[called & (y == 1)])
        if sum(w[called]):
            area += (hits - before) / total * hits / sum(w[called])
        before = hits
    return area


def slow_ece(y, p, w, bins=metrics.BINS) -> float:
    error = 0.0
    for b in range(bins):
        inside = [i for i in range(len(p)) if min(int(p[i] * bins), bins - 1) == b]
        weight = sum(w[i] for i in inside)
        if weight:
            error += abs(sum(w[i] * y[i] for i in inside) / weight - sum(w[i] * p[i] for i in inside) / weight) * weight
    return error / sum(w)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_every_metric_equals_scikit_learn_with_sample_weight(seed):
    y, p = drawn(seed)
    w = np.random.default_rng(seed + 1).integers(0, 4, (5, len(y)))
    w[:, :2] = 1  # both labels present
    t = np.array([0.5])
    for d in range(len(w)):
        called, by = p >= t, {"sample_weight": w[d]}
        expected = {
            "auc": sk.roc_auc_score(y, p, **by),
            "average_precision": sk.average_precision_score(y, p, **by),
            "f1": sk.f1_score(y, called, **by),
            "precision": sk.precision_score(y, called, zero_division=0, **by),
            "recall": sk.recall_score(y, called, **by),
            "brier": sk.brier_score_loss(y, p, **by),
        }
        for name, value in expected.items():
            thresholds = t if name in metrics.THRESHOLDED else None
            ours = metrics.measure(name, y, p, w, thresholds=thresholds)
            assert ours.shape == (5, 1)
            assert ours[d, 0] == pytest.approx(value, abs=1e-12), name


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_slow_twins(seed):
    y, p = drawn(seed)
    w = np.random.default_rng(seed + 1).integers(0, 4, len(y)).astype(float)
    w[:2] = 1
    assert metrics.auc(y, p, w[None])[0, 0] == pytest.approx(slow_auc(y, p, w), abs=1e-12)
    assert metrics.average_precision(y, p, w[None])[0, 0] == pytest.approx(slow_average_precision(y, p, w), abs=1e-12)
    assert metrics.ece(y, p, w[None])[0, 0] == pytest.approx(slow_ece(y, p, w), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_what_must_hold_for_any_ranking(seed):
    y, p = drawn(seed)
    ones = np.ones((1, len(y)))
    assert metrics.auc(y, p) == metrics.auc(y, np.exp(3 * p) - 7), "a monotone transformation keeps the ranking"
    assert metrics.average_precision(y, p) == metrics.average_precision(y, np.exp(3 * p) - 7)
    assert metrics.auc(y, p) + metrics.auc(y, -p) == pytest.approx(1, abs=1e-12)
    for name in ("auc", "average_precision", "brier", "ece"):
        assert metrics.measure(name, y, p, ones)[0] == metrics.measure(name, y, p), "weights of one change nothing"
        twice = np.ones((1, len(y)))
        twice[0, :7] = 2
        copied = metrics.measure(name, np.r_[y, y[:7]], np.r_[p, p[:7]])
        assert metrics.measure(name, y, p, twice)[0] == pytest.approx(copied, abs=1e-12), "weight 2 is a copy"
        assert metrics.measure(name, y[::-1], p[::-1]) == pytest.approx(metrics.measure(name, y, p), abs=1e-12)


def test_closed_forms():
    y = np.array([0, 0, 1, 1])
    assert metrics.auc(y, np.array([0.1, 0.2, 0.3, 0.4]))[0] == 1
    assert metrics.auc(y, np.full(4, 0.3))[0] == 0.5, "all tied"
    assert metrics.average_precision(y, np.full(4, 0.3))[0] == 0.5, "all tied: the prevalence"
    assert metrics.brier(y, np.full(4, 0.5))[0] == 0.25
    assert metrics.ece(y, np.full(4, 0.5))[0] == 0, "half of them are positive: calibrated"
    assert metrics.ece(y, np.full(4, 0.9))[0] == pytest.approx(0.4)
    assert metrics.ece(y, np.array([0.0, 0.0, 1.0, 1.0]))[0] == 0, "1.0 falls in the last bin, not beyond it"


def test_undefined_is_nan_and_left_out_of_the_macro_mean():
    y = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])
    p = np.array([[0.9, 0.5, 0.5], [0.1, 0.2, 0.5], [0.8, 0.1, 0.5], [0.2, 0.3, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auc = metrics.auc(y, p)
        assert auc[0] == 1
        assert np.isnan(auc[1:]).all(), "no positive, no negative"
        assert metrics.macro(auc) == 1
        assert np.isnan(metrics.macro(np.full((2, 3), np.nan))).all()
        for name in ("average_precision", "f1", "precision", "recall"):
            t = np.full(3, 0.5) if name in metrics.THRESHOLDED else None
            assert np.isnan(metrics.measure(name, y, p, thresholds=t)).tolist() == [False, True, False], name
        assert np.isfinite(metrics.brier(y, p)).all()
    assert metrics.precision(y, p, np.full(3, 2.0))[0] == 0, "positives there, none called"


def test_thresholds_are_the_best_of_all_and_the_highest_of_the_best():
    for seed in range(30):
        y, p = drawn(seed)
        by_brute_force = {t: sk.f1_score(y, p >= t) for t in sorted(set(p))}
        best = max(by_brute_force.values())
        chosen = metrics.best_thresholds(y, p)[0]
        assert chosen == max(t for t, value in by_brute_force.items() if value > best - 1e-12)
        assert metrics.f1(y, p, [chosen])[0] == pytest.approx(best, abs=1e-12)
    assert metrics.best_thresholds(np.zeros(5), np.linspace(0, 1, 5))[0] == 0.5, "nothing to choose by"


def test_float32_scores_are_compared_as_they_are():
    """A threshold taken from float32 scores calls the record it was taken from."""
    y, p = np.array([0, 1]), np.array([0.1, 0.7], np.float32)
    assert metrics.f1(y, p, metrics.best_thresholds(y, p))[0] == 1


def test_reliability_adds_up_to_the_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.random((500, 2))
    y = rng.random((500, 2)) < p**2
    table = metrics.reliability(y, p, ("A", "B"))
    for c, name in enumerate(("A", "B")):
        part = table[table["class"] == name]
        assert part["count"].sum() == 500
        assert ((part["predicted"] >= part["low"]) & (part["predicted"] <= part["high"])).all()
        gap = ((part["predicted"] - part["observed"]).abs() * part["count"]).sum() / 500
        assert gap == pytest.approx(metrics.ece(y, p)[c], abs=1e-12)


def test_curves_pass_through_scikit_learns_points():
    y, p = drawn(3, n=200, levels=40)
    w = np.random.default_rng(1).integers(0, 3, (4, 200))
    for d in range(4):
        fpr, tpr, _ = sk.roc_curve(y, p, sample_weight=w[d], drop_intermediate=False)
        grid = np.unique(fpr)
        top = np.array([tpr[fpr == x].max() for x in grid])
        np.testing.assert_allclose(metrics.roc_at(y, p, grid, w)[d], top, atol=1e-12)
        area = np.trapezoid(metrics.roc_at(y, p, np.linspace(0, 1, 20001), w)[d], dx=1 / 20000)
        assert area == pytest.approx(metrics.auc(y, p, w)[d, 0], abs=1e-3)
        precision, recall, _ = sk.precision_recall_curve(y, p, sample_weight=w[d])
        grid = np.linspace(0.05, 1, 20)
        expected = [precision[np.flatnonzero(recall >= r - 1e-12).max()] for r in grid]
        np.testing.assert_allclose(metrics.precision_at(y, p, grid, w)[d], expected, atol=1e-12)
    assert np.isnan(metrics.roc_at(np.zeros(5), np.arange(5.0), grid)).all()
    assert np.isnan(metrics.precision_at(np.zeros(5), np.arange(5.0), grid)).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.auc(np.zeros((3, 2)), np.zeros((3, 3))), r"\(3, 2\).*\(3, 3\)"),
        (lambda: metrics.auc(np.zeros((0, 2)), np.zeros((0, 2))), "no record"),
        (lambda: metrics.auc(np.array([0, np.nan]), np.zeros(2)), "unlabelled"),
        (lambda: metrics.auc(np.array([0, 2]), np.zeros(2)), "0 or 1"),
        (lambda: metrics.auc(np.array([0, 1]), np.array([0.5, np.nan])), "1 of 2 records are not finite"),
        (lambda: metrics.brier(np.array([0, 1]), np.array([-2.0, 3.0])), "sigmoid"),
        (lambda: metrics.f1(np.array([0, 1]), np.array([0.1, 0.2]), [0.5, 0.5]), r"one threshold per class \(1\)"),
        (lambda: metrics.measure("f1", np.array([0, 1]), np.array([0.1, 0.2])), "got none"),
        (lambda: metrics.measure("aucc", np.array([0, 1]), np.array([0.1, 0.2])), "Did you mean 'auc'"),
        (lambda: metrics.auc(np.array([0, 1]), np.array([0.1, 0.2]), np.ones((2, 3))), "cover 3 records"),
    ],
)
def test_unusable_input_is_named(call, says):
    with pytest.raises(InputError, match=says):
        call()
