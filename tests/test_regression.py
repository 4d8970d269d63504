"""Age from vectors: ridge against scikit-learn's, intervals against draws made one record at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SlowRidge
from sklearn.metrics import mean_absolute_error, r2_score

from ecglib import regression, results
from ecglib.bootstrap import Bootstrap
from ecglib.errors import InputError


def made(n: int = 60, features: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, features) of different units, one that never moves, and ages (n,) that they tell in part."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (n, features))
    y = 55 + 8 * x[:, 0] - 5 * x[:, 1] + rng.normal(0, 4, n)
    x[:, 2], x[:, 3] = 3.7, 1e5 * x[:, 3]
    return x, np.clip(y, 1, 89)


# ---- ridge ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [60, 6])
def test_ridge_is_scikit_learns_for_the_alpha_that_validation_chose(n):
    (x, y), (valid_x, valid_y), (new, _) = made(n), made(30, seed=1), made(20, seed=2)
    alphas = (0.1, 10.0, 1000.0)
    fit = regression.ridge(x, y, valid_x, valid_y, alphas=alphas)
    spread = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1)
    slow = {a: SlowRidge(alpha=a).fit((x - x.mean(axis=0)) / spread, y) for a in alphas}
    said = {a: m.predict((valid_x - x.mean(axis=0)) / spread) for a, m in slow.items()}
    errors = {a: mean_absolute_error(valid_y, p) for a, p in said.items()}
    assert fit.valid_mae == pytest.approx(errors)
    assert fit.alpha == min(errors, key=errors.get)
    np.testing.assert_allclose(fit.predict(new), slow[fit.alpha].predict((new - x.mean(axis=0)) / spread), rtol=1e-8)


def test_ridge_leaves_out_ages_that_are_not_told():
    (x, y), (valid_x, valid_y) = made(), made(30, seed=1)
    clean = regression.ridge(x, y, valid_x, valid_y)
    more_x, more_y = np.vstack([x, 50 * np.ones((3, 8))]), np.append(y, [np.nan, 300, 90])
    fit = regression.ridge(more_x, more_y, np.vstack([valid_x, x[:1]]), np.append(valid_y, 300))
    np.testing.assert_allclose(fit.predict(x), clean.predict(x))
    assert fit.valid_mae == pytest.approx(clean.valid_mae)
    assert np.abs(fit.predict(made(200, seed=3)[0]) - made(200, seed=3)[1]).mean() < 5


def test_of_equal_errors_the_largest_alpha():
    x, _ = made()
    fit = regression.ridge(x, np.full(60, 50.0), x, np.full(60, 50.0), alphas=(1.0, 100.0, 10.0))
    assert fit.alpha == 100
    assert fit.predict(x) == pytest.approx(np.full(60, 50.0))


def test_ages_are_counted():
    ages = regression.Ages.of([40, np.nan, 89, 90, 300, np.nan, 0])
    assert ages.kept.tolist() == [True, False, True, False, False, False, True]
    assert (ages.missing, ages.above) == (2, 2)
    assert ages.note.startswith("Age is measured on 3 of 7 records: 2 have none, and 2 are above 89 years")
    assert regression.Ages.of([95, 300], oldest=120).kept.tolist() == [True, False]
    assert regression.training_median([10, 20, 60, np.nan, 300]) == 20


# ---- rows -----------------------------------------------------------------------------------------------------------

COMMON = {"protocol": "linear probe", "data": "d", "split": "test"}


def slow_draws(y, p, patients, draws: int, seed: int) -> tuple[list[float], list[float]]:
    """The metrics of every draw, patients drawn and their records copied one by one."""
    names = list(dict.fromkeys(patients))
    rng, mae, r2 = np.random.default_rng(seed), [], []
    for _ in range(draws):
        chosen = [names[k] for k in rng.integers(len(names), size=len(names))]
        records = [i for name in chosen for i in range(len(y)) if patients[i] == name]
        errors = [abs(p[i] - y[i]) for i in records]
        mae.append(sum(errors) / len(errors))
        middle = sum(y[i] for i in records) / len(records)
        total = sum((y[i] - middle) ** 2 for i in records)
        r2.append(1 - sum((p[i] - y[i]) ** 2 for i in records) / total if total > 1e-9 else np.nan)
    return mae, r2


@given(st.integers(0, 10_000), st.integers(3, 25))
def test_values_and_intervals_are_those_of_copied_records(seed, n):
    rng = np.random.default_rng(seed)
    y, patients = rng.integers(20, 90, n).astype(float), [f"p{k}" for k in rng.integers(0, max(2, n // 2), n)]
    p = y + rng.normal(0, 9, n)
    made = regression.rows(**COMMON, y=y, predictions={"a": p}, patients=patients, draws=12, seed=seed)
    by = {row["metric"]: row for row in made}
    assert by["age_mae"]["value"] == pytest.approx(mean_absolute_error(y, p))
    if np.ptp(y) > 0:
        assert by["age_r2"]["value"] == pytest.approx(r2_score(y, p))
    for name, slow in zip(("age_mae", "age_r2"), slow_draws(y, p, patients, 12, seed)):
        if np.isfinite(slow).any():
            wanted = np.nanpercentile(slow, [2.5, 97.5])
            assert [by[name]["low"], by[name]["high"]] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_blocks_of_draws_make_no_difference(monkeypatch):
    y, p = made()[1], made(seed=4)[1]
    whole = regression.rows(**COMMON, y=y, predictions={"a": p}, draws=50)
    monkeypatch.setattr(regression, "BLOCK", 7)
    assert regression.rows(**COMMON, y=y, predictions={"a": p}, draws=50) == whole


def test_rows_of_seeds_baseline_and_differences():
    y = np.append(made()[1], [np.nan, 300])
    ridge = {s: y + np.random.default_rng(s).normal(0, 5, len(y)) for s in (0, 1)}
    ridge = {s: np.nan_to_num(p) for s, p in ridge.items()}
    models = {"ridge": ridge, "training median": np.full(len(y), 50.0)}
    patients = [f"p{i // 2}" for i in range(len(y))]
    rows = regression.rows(
        **COMMON, y=y, predictions=models, patients=patients, compare=[("ridge", "training median")], draws=40
    )
    assert results.metric_faults(rows) == []
    assert {row["class"] for row in rows} == {"age"}
    assert {row["n"] for row in rows} == {60}, "records without a usable age are left out"
    value = {(r["model"], r["metric"], r["seed"]): r["value"] for r in rows}
    assert len(value) == len(rows), "no row twice"
    each = [np.abs(ridge[s] - y)[:60].mean() for s in (0, 1)]
    assert [value["ridge", "age_mae", s] for s in (0, 1)] == pytest.approx(each)
    assert value["ridge", "age_mae", None] == pytest.approx(np.mean(each))
    assert value["ridge", "age_mae_seed_sd", None] == pytest.approx(np.std(each, ddof=1))
    base = np.abs(50 - y[:60]).mean()
    assert value["training median", "age_mae", None] == pytest.approx(base)
    assert value["ridge - training median", "age_mae", None] == pytest.approx(np.mean(each) - base)
    assert 0 < value["ridge - training median", "age_mae_p", None] <= 1


def test_a_difference_is_paired():
    """Interval ends of A - B are those of the differences draw by draw, not of the two intervals."""
    y = made()[1]
    a, b = y + np.random.default_rng(0).normal(0, 5, 60), y + np.random.default_rng(1).normal(0, 5, 60)
    rows = regression.rows(**COMMON, y=y, predictions={"a": a, "b": b}, compare=[("a", "b")], draws=30, seed=2)
    row = next(r for r in rows if r["model"] == "a - b" and r["metric"] == "age_mae")
    weights = Bootstrap(np.zeros((60, 1)), draws=30, seed=2).weights  # (D, N)
    each = [np.average(np.abs(a - y) - np.abs(b - y), weights=w) for w in weights]
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(each, [2.5, 97.5]))


def test_one_age_has_no_share_of_variance():
    rows = regression.rows(**COMMON, y=np.full(5, 60.0), predictions={"a": np.full(5, 50.0)}, draws=5)
    by = {row["metric"]: row for row in rows}
    assert by["age_mae"]["value"] == 10
    assert by["age_r2"]["value"] is None


X, Y = made()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: regression.Ages.of([-1.0]), "-1 years"),
        (lambda: regression.ridge(X, Y, X, Y, alphas=()), "at least one"),
        (lambda: regression.ridge(X, Y, X, Y, alphas=(0.0,)), "positive"),
        (lambda: regression.ridge(X, Y[:9], X, Y), "training part"),
        (lambda: regression.ridge(X, Y, X, np.full(60, 300)), "No validation record"),
        (lambda: regression.ridge(X, Y, X[:, :3], Y), r"\(60, 3\); give \(records, 8\)"),
        (lambda: regression.ridge(np.full((60, 8), np.nan), Y, X, Y), "not finite"),
        (lambda: regression.training_median([np.nan]), "No training record"),
        (lambda: regression.rows(**COMMON, y=Y, predictions={"a": Y[:3]}), "'a'"),
        (lambda: regression.rows(**COMMON, y=Y, predictions={"a": Y * np.nan}), "not finite"),
        (lambda: regression.rows(**COMMON, y=[np.nan], predictions={"a": [1.0]}), "No record of split 'test'"),
        (lambda: regression.rows(**COMMON, y=Y, predictions={"a": Y}, patients=["p"]), "1 patient ids for 60"),
        (lambda: regression.rows(**COMMON, y=Y, predictions={"abc": Y}, compare=[("abd", "abc")]), "mean 'abc'"),
        (lambda: regression.rows(**COMMON, y=Y, predictions={"a": {0: Y}, "b": {1: Y}}, compare=[("a", "b")]), "seeds"),
    ],
)
def test_regression_refuses(call, says):
    with pytest.raises(InputError, match=says):
        call()
