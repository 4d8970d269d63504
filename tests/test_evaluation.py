"""Bootstrap over patients, rows of metrics.json, predictions to a file and back, tables."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from ecglib import bootstrap as bootstrap_module
from ecglib import evaluation, metrics, results, tables
from ecglib.bootstrap import Bootstrap, interval, p_value
from ecglib.errors import InputError
from ecglib.evaluation import ROW, Predictions, evaluate

CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")


def made(seed: int, n: int = 300, classes: int = 5, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, tied probabilities, patients with one to several records."""
    rng = np.random.default_rng(0)  # the same records whatever the predictions
    y = (rng.random((n, classes)) < np.linspace(0.15, 0.5, classes)).astype(np.float32)
    patients = np.array([f"p{i}" for i in rng.integers(0, int(n * 0.8), n)])
    logits = signal * (2 * y - 1) + np.random.default_rng(seed).normal(0, 1.5, y.shape)
    return y, np.round(1 / (1 + np.exp(-logits)), 2).astype(np.float32), patients


def run(model: str, seed: int, split: str, *, signal: float = 1.0, n: int = 300) -> Predictions:
    y, p, patients = made(seed * 7 + len(model) + 100 * (split == "valid"), n=n, signal=signal)
    record = np.array([f"{split}{i}" for i in range(n)])
    return Predictions(model, seed, split, record, patients, y, p, CLASSES, np.full(n, 9 if split == "valid" else 10))


def runs(models=("teacher", "student"), seeds=(0, 1)) -> list[Predictions]:
    return [
        run(model, seed, split, signal=1.5 if model == "teacher" else 0.8)
        for model in models
        for seed in seeds
        for split in ("valid", "test")
    ]


# ---- bootstrap ------------------------------------------------------------------------------------------------------


def test_every_draw_equals_scikit_learn():
    y, p, patients = made(1, n=150)
    boot, t = Bootstrap(y, patients, draws=25, seed=3), np.full(5, 0.4)
    ours = {name: boot.measure(name, p, thresholds=t) for name in ("auc", "average_precision", "f1", "brier")}
    for d, weights in enumerate(boot.weights):
        for c in range(5):
            of, by = (y[:, c], p[:, c].astype(float)), {"sample_weight": weights}
            assert ours["auc"][d, c] == pytest.approx(sk.roc_auc_score(*of, **by), abs=1e-12)
            assert ours["average_precision"][d, c] == pytest.approx(sk.average_precision_score(*of, **by), abs=1e-12)
            assert ours["f1"][d, c] == pytest.approx(sk.f1_score(of[0], of[1] >= 0.4, **by), abs=1e-12)
            assert ours["brier"][d, c] == pytest.approx(sk.brier_score_loss(*of, **by), abs=1e-12)


def test_draws_are_of_patients_not_of_records():
    y, _, patients = made(1)
    weights = Bootstrap(y, patients, draws=50).weights
    assert weights.shape == (50, 300)
    people = pd.unique(patients)
    for name in people:
        assert (np.ptp(weights[:, patients == name], axis=1) == 0).all(), "a patient's records come together"
    per_patient = np.stack([weights[:, patients == name][:, 0] for name in people])  # (P, D)
    assert (per_patient.sum(axis=0) == len(people)).all(), "as many patients as there are"
    assert np.var(per_patient) == pytest.approx(1, abs=0.1), "with replacement: about Poisson(1)"


def test_correlated_records_of_a_patient_widen_the_interval():
    """Each record copied four times within its patient is no new information, though it looks like it by record."""
    y, p, _ = made(1, n=150)
    y4, p4, who = np.repeat(y, 4, axis=0), np.repeat(p, 4, axis=0), np.repeat(np.arange(150), 4)

    def width(boot: Bootstrap, p) -> float:
        low, high = interval(metrics.macro(boot.auc(p)))
        return high - low

    once = width(Bootstrap(y, draws=400), p)
    assert width(Bootstrap(y4, who, draws=400), p4) == pytest.approx(once, rel=1e-9)
    assert width(Bootstrap(y4, draws=400), p4) < 0.65 * once


def test_same_draws_for_a_seed_whatever_the_block_size(monkeypatch):
    y, p, patients = made(1)
    whole = {name: Bootstrap(y, patients, draws=100, seed=5).measure(name, p) for name in ("auc", "ece")}
    monkeypatch.setattr(bootstrap_module, "CACHE_BYTES", 1)  # blocks of 16 draws
    again = Bootstrap(y, patients, draws=100, seed=5)
    np.testing.assert_array_equal(again.auc(p), whole["auc"])
    np.testing.assert_allclose(again.measure("ece", p), whole["ece"], atol=1e-14)
    assert not np.array_equal(Bootstrap(y, patients, draws=100, seed=6).auc(p), whole["auc"])


def test_intervals_cover_as_often_as_they_say():
    """Of 200 samples from a known law (binormal, true AUC .76), about 95 % of the intervals hold the true AUC."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(200):
        y = rng.random(200) < 0.4
        p = rng.normal(y.astype(float), 1)
        low, high = interval(Bootstrap(y, draws=200, seed=1).auc(p)[:, 0])
        inside += low <= 0.7602 <= high
    assert 180 <= inside <= 199


def test_a_draw_without_a_class_is_left_out_of_that_class():
    y = np.zeros((30, 2))
    y[:15, 0] = y[4, 1] = 1  # one positive: about 37 % of the draws miss it
    p = np.random.default_rng(0).random((30, 2))
    boot = Bootstrap(y, draws=400)
    auc = boot.auc(p)
    missing = np.isnan(auc[:, 1])
    assert 0.3 < missing.mean() < 0.44
    assert (missing == (boot.weights[:, 4] == 0)).all()
    np.testing.assert_array_equal(metrics.macro(auc)[missing], auc[missing, 0])
    assert np.isfinite(interval(auc)).all()


def test_a_thousand_draws_in_half_a_second():
    rng = np.random.default_rng(0)
    y = rng.random((2158, 5)) < 0.25
    p, patients = rng.random((2158, 5)), rng.integers(0, 1900, 2158)
    seconds = []
    for _ in range(3):
        start = time.process_time()  # the claim is about work done, not about who else uses the machine
        Bootstrap(y, patients, draws=1000).auc(p)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def test_p_value():
    rng = np.random.default_rng(0)
    assert p_value(rng.normal(5, 1, 999)) == pytest.approx(2 / 1000)
    assert p_value(rng.normal(0, 1, 999)) > 0.5
    assert p_value(np.zeros(10)) == 1
    assert np.isnan(p_value(np.full(3, np.nan)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Bootstrap(np.eye(3), ["a", "b"]), "2 patient ids for 3 records"),
        (lambda: Bootstrap(np.eye(3), draws=0), "draws must be at least 1"),
        (lambda: Bootstrap(np.eye(3)).auc(np.zeros((2, 3))), r"\(2, 3\)"),
    ],
)
def test_bootstrap_refuses(call, says):
    with pytest.raises(InputError, match=says):
        call()


# ---- rows -----------------------------------------------------------------------------------------------------------


def find(rows, **wanted) -> dict:
    found = [row for row in rows if all(row[key.rstrip("_")] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]


def test_rows_are_flat_and_say_what_was_measured():
    predictions = runs()
    result = evaluate(predictions, protocol="supervised", data="made", compare=[("teacher", "student")], draws=200)
    assert json.loads(json.dumps(result.rows, allow_nan=False)) == result.rows
    assert {tuple(row) for row in result.rows} == {ROW} == {results.METRIC_KEYS}
    assert results.metric_faults(result.rows) == []
    keys = [(row["model"], row["split"], row["metric"], row["class"], row["seed"]) for row in result.rows]
    assert len(keys) == len(set(keys)), "no row twice"
    assert result.notes == []
    test = predictions[1]
    one = find(result.rows, model="teacher", metric="auc", class_="macro", seed=0)
    assert one["value"] == pytest.approx(sk.roc_auc_score(test.y, test.p, average="macro"), abs=1e-12)
    assert one["low"] < one["value"] < one["high"]
    assert (one["n"], one["split"], one["protocol"], one["data"]) == (300, "test", "supervised", "made")
    boot = Bootstrap(test.y, test.patient, draws=200)
    assert [one["low"], one["high"]] == pytest.approx(np.percentile(boot.auc(test.p).mean(axis=1), [2.5, 97.5]))


def test_thresholds_come_from_validation_and_are_rows():
    predictions = runs(seeds=(0,))
    result = evaluate(predictions, protocol="", data="", draws=20)
    valid, test = predictions[0], predictions[1]
    chosen = metrics.best_thresholds(valid.y, valid.p)
    stored = [find(result.rows, model="teacher", metric="threshold", class_=name)["value"] for name in CLASSES]
    assert stored == chosen.tolist()
    assert find(result.rows, model="teacher", metric="threshold", class_="MI")["split"] == "valid"
    f1 = find(result.rows, model="teacher", metric="f1", class_="MI")["value"]
    assert f1 == pytest.approx(sk.f1_score(test.y[:, 2], test.p[:, 2] >= chosen[2]), abs=1e-12)


def test_several_seeds_are_averaged_draw_by_draw():
    result = evaluate(runs(seeds=(3, 5, 7)), protocol="", data="", draws=200)
    for label in ("macro", "MI"):
        each = [find(result.rows, model="student", metric="auc", class_=label, seed=s)["value"] for s in (3, 5, 7)]
        pooled = find(result.rows, model="student", metric="auc", class_=label, seed=None)
        assert pooled["value"] == pytest.approx(np.mean(each))
        spread = find(result.rows, model="student", metric="auc_seed_sd", class_=label)
        assert spread["value"] == pytest.approx(np.std(each, ddof=1))
        assert spread["low"] is None
    tested = [run for run in runs(seeds=(3, 5, 7)) if run.split == "test" and run.model == "student"]
    boot = Bootstrap(tested[0].y, tested[0].patient, draws=200)
    draws = np.mean([metrics.macro(boot.auc(run.p)) for run in tested], axis=0)
    pooled = find(result.rows, model="student", metric="auc", class_="macro", seed=None)
    assert [pooled["low"], pooled["high"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]))


def test_a_paired_difference_is_on_the_same_draws():
    result = evaluate(runs(), protocol="", data="", compare=[("teacher", "student")], draws=300)
    rows = result.rows
    paired = find(rows, model="teacher - student", metric="auc", class_="macro", seed=None)
    a, b = (find(rows, model=m, metric="auc", class_="macro", seed=None) for m in ("teacher", "student"))
    assert paired["value"] == pytest.approx(a["value"] - b["value"])
    unpaired = np.hypot(a["high"] - a["low"], b["high"] - b["low"])
    assert paired["high"] - paired["low"] < 1.3 * unpaired
    assert find(rows, model="teacher - student", metric="auc_p", class_="macro")["value"] < 0.05
    same = evaluate(runs(models=("teacher",)), protocol="", data="", compare=[("teacher", "teacher")], draws=50)
    zero = find(same.rows, model="teacher - teacher", metric="auc", class_="macro", seed=None)
    assert (zero["value"], zero["low"], zero["high"]) == (0, 0, 0), "nothing differs from itself in any draw"


def test_classes_that_cannot_be_scored_are_none_and_noted():
    predictions = runs(seeds=(0,))
    for one in predictions:
        one.y[:, 1] = 0  # HYP nowhere
    predictions[1].y[:, 0] = 0
    predictions[1].y[7, 0] = 1  # CD once in the test part
    predictions[3].y[:] = predictions[1].y
    result = evaluate(predictions, protocol="", data="", compare=[("teacher", "student")], draws=300)
    for model in ("teacher", "teacher - student"):
        row = find(result.rows, model=model, metric="auc", class_="HYP")
        assert (row["value"], row["low"], row["high"]) == (None, None, None)
    per_class = [find(result.rows, model="teacher", metric="auc", class_=name)["value"] for name in CLASSES]
    macro = find(result.rows, model="teacher", metric="auc", class_="macro")["value"]
    assert macro == pytest.approx(np.mean([value for value in per_class if value is not None]))
    assert any("HYP has no positive record in 'test'" in note for note in result.notes)
    assert any("CD has 1 positive records" in note and "% of the draws" in note for note in result.notes)
    assert any("HYP has no positive in 'valid'" in note for note in result.notes)
    assert "not defined" in tables.class_table(result.rows, models=["teacher"]).loc["HYP", "teacher"]


def test_arrays_without_predictions_objects():
    one = run("teacher", 0, "test")
    common = {"model": "m", "protocol": "p", "data": "d", "split": "test", "y": one.y, "p": one.p, "classes": CLASSES}
    rows = evaluation.rows(**common, patients=one.patient, draws=50)
    assert find(rows, metric="auc", class_="macro")["value"] == pytest.approx(metrics.auc(one.y, one.p).mean())
    assert not any(row["metric"] == "f1" for row in rows), "no thresholds, no F1"
    rows = evaluation.rows(**common, patients=one.patient, draws=50, thresholds=np.full(5, 0.5), metrics=["f1"])
    assert {row["metric"] for row in rows} == {"f1"}


# ---- predictions ----------------------------------------------------------------------------------------------------


def test_metrics_can_be_had_again_from_predictions_parquet_alone(tmp_path):
    predictions = runs()
    settings = {"protocol": "x", "data": "y", "compare": [("teacher", "student")], "draws": 100}
    before = evaluate(predictions, **settings)
    pd.concat([one.to_frame() for one in predictions]).to_parquet(tmp_path / "predictions.parquet", index=False)
    read = Predictions.from_frame(pd.read_parquet(tmp_path / "predictions.parquet"))
    assert [one.p.dtype for one in read] == [np.float32] * len(predictions)
    assert read[0].classes == CLASSES
    assert evaluate(read, **settings).rows == before.rows


def test_models_are_matched_by_record_and_class_name():
    """The second model lists records and classes in another order; nothing changes."""
    predictions = runs(seeds=(0,))
    before = evaluate(predictions, protocol="", data="", compare=[("teacher", "student")], draws=50)
    turn, columns = np.random.default_rng(0).permutation(300), [4, 2, 0, 1, 3]
    for i in (2, 3):
        old = predictions[i]
        predictions[i] = Predictions(
            old.model, old.seed, old.split, old.record[turn], old.patient[turn],
            old.y[turn][:, columns], old.p[turn][:, columns], tuple(CLASSES[c] for c in columns), old.fold[turn],
        )  # fmt: skip
    assert evaluate(predictions, protocol="", data="", compare=[("teacher", "student")], draws=50).rows == before.rows


def replaced(one: Predictions, **changes) -> Predictions:
    return Predictions(**({name: getattr(one, name) for name in Predictions.__dataclass_fields__} | changes))


def other_label() -> list[Predictions]:
    predictions = runs(seeds=(0,))
    predictions[3].y[0] = 1 - predictions[3].y[0]
    return predictions


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: evaluate(runs(), protocol="", data="", split="tset"), "Did you mean 'test'"),
        (lambda: evaluate(runs()[1:], protocol="", data=""), "no predictions of 'valid'"),
        (lambda: evaluate(runs() + runs(), protocol="", data="", draws=2), "two runs of seed 0"),
        (lambda: evaluate(runs(), protocol="", data="", compare=[("techer", "student")], draws=2), "'teacher'"),
        (lambda: evaluate(other_label(), protocol="", data="", draws=2), "different labels"),
        (lambda: evaluate(runs()[:2] + runs(("student",), (9,)), protocol="", data="", draws=2,
                          compare=[("teacher", "student")]), r"seeds \[0\] and \[9\]"),
        (lambda: evaluate([*runs(seeds=(0,)), run("x", 0, "valid"), run("x", 0, "test", n=200)], protocol="", data="",
                          draws=2), "different records"),
        (lambda: replaced(run("a", 0, "test"), classes=("A",)), "5 columns for 1 class names"),
        (lambda: replaced(run("a", 0, "test"), patient=np.arange(3)), "3 patient entries"),
        (lambda: replaced(run("a", 0, "test"), record=np.zeros(300)), "more than once"),
        (lambda: Predictions.from_frame(run("a", 0, "test").to_frame().drop(columns=["patient"])), "lacks patient"),
    ],
)  # fmt: skip
def test_predictions_that_do_not_fit_are_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_tables_for_people():
    rows = evaluate(runs(), protocol="", data="made", compare=[("teacher", "student")], draws=100).rows
    table = tables.model_table(rows, models=["student", "teacher", "teacher - student"])
    assert list(table.index) == ["student", "teacher", "teacher - student"]
    assert list(table.columns) == ["macro AUC", "AUC, SD over seeds", "macro F1", "F1, SD over seeds"]
    spread = find(rows, model="teacher", metric="auc_seed_sd", class_="macro")["value"]
    assert table.loc["teacher", "AUC, SD over seeds"] == f"{spread:.3f}"
    once = evaluate(runs(seeds=(0,)), protocol="", data="made", draws=10).rows
    assert list(tables.model_table(once, models=["student"]).columns) == ["macro AUC", "macro F1"]
    mixed = [row for row in rows if row["model"] != "student"] + [row for row in once if row["model"] == "student"]
    assert tables.model_table(mixed, models=["teacher", "student"]).loc["student", "F1, SD over seeds"] == "one seed"
    row = find(rows, model="teacher", metric="auc", class_="macro", seed=None)
    assert table.loc["teacher", "macro AUC"] == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert table.loc["teacher - student", "macro AUC"].startswith("+0.")
    by_class = tables.class_table(rows, models=["teacher"], positives=dict.fromkeys(CLASSES, 7))
    assert list(by_class.index) == [*CLASSES, "macro"]
    assert by_class.loc["MI", "positives"] == "7"
    with pytest.raises(InputError, match="Did you mean 'teacher'"):
        tables.model_table(rows, models=["teachr"])
    with pytest.raises(InputError, match="Did you mean 'auc'"):
        tables.model_table(rows, ["auk"])


def difference(name, value, low, high):
    return {"model": name, "protocol": "", "data": "", "split": "test", "metric": "auc", "class": "macro",
            "value": value, "low": low, "high": high, "seed": 0, "n": 9}  # fmt: skip


def test_how_much_of_the_distance_is_closed():
    rows = [difference("both - alone", 0.02, 0.01, 0.03), difference("teacher - alone", 0.05, 0.03, 0.07)]
    names = {"student": "both", "alone": "alone", "teacher": "teacher"}
    assert tables.closed(rows, **names) == (
        "both closes 40 % [20 %, 60 %] of the distance between alone and teacher (the distance is macro AUC "
        "+0.050 [+0.030, +0.070])."
    )
    rows[0] = difference("both - alone", -0.005, -0.01, 0.01)
    assert "closes -10 % [-20 %, 20 %]" in tables.closed(rows, **names)
    assert "holds zero" in tables.closed(rows, **names)
    rows[1] = difference("teacher - alone", 0.01, -0.01, 0.03)
    assert "no distance of which" in tables.closed(rows, **names)
    rows[1] = difference("teacher - alone", None, None, None)
    assert "no distance of which" in tables.closed(rows, **names)


def test_many_differences_are_counted():
    rows = [difference("a - b", 0.02, 0.01, 0.03), difference("c - d", 0.01, -0.01, 0.02)]
    said = tables.tally(rows, [("a", "b"), ("c", "d")])
    assert said.startswith(
        "Of 2 paired differences in macro AUC, 1 lie above zero with their whole interval, 0 below, "
    )
    assert "1 are not told apart" in said


def test_numbers_are_told_apart_by_their_source():
    rows = evaluate(runs(), protocol="", data="made", draws=50).rows
    references = [
        {"model": "lead I, third party", "source": "second-hand", "where": "a later study", "auc": 0.835},
        {"model": "lead I", "source": "published", "where": "the paper's table", "auc": 0.843, "f1": 0.626},
    ]
    table = tables.source_table(rows, references, models=["student"])
    assert [source for source, _ in table.index] == ["published", "second-hand", "ours"]
    assert table.loc[("published", "lead I"), "macro AUC"] == "0.843"
    assert table.loc[("second-hand", "lead I, third party"), "macro F1"] == "not found"
    assert "300 test records" in table.loc[("ours", "student"), "where"]
    with pytest.raises(InputError, match="published or second-hand"):
        tables.source_table(rows, [{"model": "x", "source": "blog", "where": "y"}], models=["student"])


def test_a_table_of_protocols_holds_what_was_measured():
    rows = evaluate(runs(), protocol="all labels", data="made", metrics=("auc",), draws=20).rows
    rows += evaluate(runs(("student",)), protocol="few labels", data="made", metrics=("auc",), draws=20).rows
    names = {"few labels": "few", "all labels": "all"}
    table = tables.protocol_table(rows, names, models=["teacher", "student"])
    assert list(table.columns) == ["few", "all"]
    assert table.loc["teacher", "few"] == "–"
    alone = tables.model_table(tables.under(rows, "all labels"), ("auc",), models=["teacher", "student"])
    assert table["all"].tolist() == alone["macro AUC"].tolist()
    with pytest.raises(InputError, match=r"'all lables'.*all labels"):
        tables.under(rows, "all lables")


def test_a_site_without_thresholds_is_measured_without_f1():
    tested = [run for run in runs() if run.split == "test"]
    rows = evaluate(tested, protocol="", data="", thresholds_from=None, draws=20).rows
    whole = evaluate(runs(), protocol="", data="", draws=20).rows
    assert {row["metric"] for row in rows} == {row["metric"] for row in whole} - {
        "f1", "precision", "recall", "threshold", "f1_seed_sd", "precision_seed_sd", "recall_seed_sd"
    }  # fmt: skip
    key = ("model", "metric", "class", "seed", "value", "low")
    assert {tuple(row[k] for k in key) for row in rows} <= {tuple(row[k] for k in key) for row in whole}
