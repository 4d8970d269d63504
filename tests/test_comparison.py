"""Many runs: what is pooled, what is paired, what is kept apart, against slow twins and on the committed gallery."""

from __future__ import annotations

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from where import REPO

from ecglib import comparison, evaluation, grounds, paired, protocol, results
from ecglib.errors import InputError
from ecglib.predictions import Predictions

CLASSES = ("A", "B", "C")
GALLERY = REPO / "reports" / "gallery"
DRAWS = 120


def labels(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((n, 3)) < 0.4).astype(np.uint8), np.array([f"p{k // 2}" for k in range(n)])


def said(model, seed, split, noise, *, n=60, order=None, columns=(0, 1, 2), of=0):
    """Predictions of a model with so much noise; `order` and `columns` turn records and classes about."""
    y, patient = labels(n, seed=of + (split == "valid"))
    rng = np.random.default_rng([seed, *model.encode(), split == "valid"])
    p = 1 / (1 + np.exp(-(2.0 * y - 1 + rng.normal(0, noise, y.shape))))
    record = np.array([f"{split[0]}{k}" for k in range(n)])
    order, columns = np.arange(n) if order is None else order, list(columns)
    return Predictions(
        model, seed, split, record[order], patient[order], y[order][:, columns], p[order][:, columns],
        tuple(CLASSES[c] for c in columns), np.ones(n, int),
    )  # fmt: skip


def leave(folder, *, models=None, seeds=(0,), notebook="lead_kd", fingerprint="f" * 64, parameters=None, sha="n" * 64,
          protocol_name="task, folds 1/2/3", started="2026-01-01T00:00:00+00:00", data="d", **more):  # fmt: skip
    """A complete run with these models {name: noise}, as the runner and a notebook leave it."""
    folder.mkdir(parents=True)
    models = models or {"good": 0.8, "poor": 3.0}
    every = [
        said(m, s, split, noise, **more) for m, noise in models.items() for s in seeds for split in ("valid", "test")
    ]
    pairs = [tuple(models)[:2]] if len(models) > 1 else []
    made = evaluation.evaluate(every, protocol=protocol_name, data=data, compare=pairs, draws=DRAWS)
    entries = {"seeds": list(seeds), "task": "task", "out": str(folder)} | (parameters or {})
    record = {
        "notebook": {"name": notebook, "path": "", "sha256": sha}, "preset": "made", "status": "complete",
        "parameters": {name: {"value": value} for name, value in entries.items()}, "seeds": {"seeds": list(seeds)},
        "git": {"commit": "c" * 40, "dirty": []}, "environment": {"cpu": "a cpu", "threads": 1, "peak_mib": 512},
        "command": f"run {folder.name}", "started": started, "duration_s": 90.0,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "data.json").write_text(
        json.dumps([{"role": "data", "name": data, "fingerprint": fingerprint, "records": 180, "counts": {}}])
    )
    (folder / "metrics.json").write_text(json.dumps(made.rows))
    protocol.frame(every).to_parquet(folder / "predictions.parquet", index=False)
    history = [
        {"model": m, "seed": s, "epoch": e, "valid_macro_auc": 0.5 + 0.1 * e + 0.01 * s}
        for m in models for s in seeds for e in (1, 2, 3)
    ]  # fmt: skip
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    return results.read(folder)


def macros(ground):
    return paired.pooled(ground).query("`class` == 'macro'").set_index("label")


def compare(runs, **options):
    return grounds.grounds(runs, **{"draws": DRAWS} | options)


# ---- slow twins -----------------------------------------------------------------------------------------------------


def drawn_macro(each, metric, counts):
    """The macro metric of predictions in one draw, its records written out as often as their patient was drawn."""
    numbers = {patient: k for k, patient in enumerate(dict.fromkeys(each.patient.tolist()))}
    rows = [i for i, patient in enumerate(each.patient.tolist()) for _ in range(counts[numbers[patient]])]
    values = []
    for c in range(each.y.shape[1]):
        y, p = each.y[rows, c], each.p[rows, c]
        if metric == "auc" and len(set(y)) == 2:
            values.append(roc_auc_score(y, p))
        elif metric == "brier":
            values.append(brier_score_loss(y, p))
    return sum(values) / len(values)


def twin_draws(seeds, metric, draws, seed):
    """{draw: mean over seeds of the macro metric}, the draws made as `Bootstrap` says it makes them."""
    rng = np.random.default_rng(seed)
    patients = len(set(seeds[0].patient.tolist()))
    out = []
    for _ in range(draws):
        counts = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        out.append(sum(drawn_macro(each, metric, counts) for each in seeds) / len(seeds))
    return np.array(out)


@pytest.mark.parametrize("metric", ["auc", "brier"])
def test_pooled_and_paired_against_slow_twins(tmp_path, metric):
    models = {"good": 0.8, "middling": 1.6, "poor": 3.0}
    runs = [leave(tmp_path / f"s{s}", seeds=(s,), models=models, started=f"2026-01-0{s + 1}") for s in (0, 1)]
    (ground,) = compare(runs, metric=metric, seed=5).grounds
    table, tests = macros(ground), paired.paired(ground, "poor").set_index("first")
    drawn = {
        m: twin_draws([said(m, s, "test", noise) for s in (0, 1)], metric, DRAWS, 5) for m, noise in models.items()
    }
    everyone = np.ones(30, int)
    plain_p = {}
    for model, noise in models.items():
        each = [drawn_macro(said(model, s, "test", noise), metric, everyone) for s in (0, 1)]
        assert table.loc[model, "value"] == pytest.approx(sum(each) / 2)
        assert table.loc[model, "sd"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
        low, high = np.percentile(drawn[model], [2.5, 97.5])
        assert table.loc[model, ["low", "high"]].tolist() == pytest.approx([low, high])
        if model != "poor":
            gap = drawn[model] - drawn["poor"]
            low, high = np.percentile(gap, [2.5, 97.5])
            assert tests.loc[model, ["low", "high"]].tolist() == pytest.approx([low, high])
            below, above = sum(g <= 0 for g in gap) + 1, sum(g >= 0 for g in gap) + 1
            plain_p[model] = min(1, 2 * min(below, above) / (DRAWS + 1))
            assert tests.loc[model, "p"] == pytest.approx(plain_p[model])
    worst_first = sorted(plain_p, key=plain_p.get)
    expected = [min(1, 2 * plain_p[worst_first[0]]), plain_p[worst_first[1]]]
    assert tests.loc[worst_first, "p_holm"].tolist() == pytest.approx([expected[0], max(expected)])
    assert tests.loc["good", "verdict"] == "better", "of AUC more is better, of the Brier score less"
    assert (tests.loc["good", "value"] > 0) == (metric == "auc")
    assert table.index[0] == "good"
    assert set(table["seeds"]) == {"0 1"}
    assert (table["n"] == 60).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_against_its_definition(p):
    adjusted = paired.holm(p)
    order = sorted(range(len(p)), key=lambda k: p[k])
    running = 0.0
    for step, k in enumerate(order):
        running = max(running, min(1.0, (len(p) - step) * p[k]))
        assert adjusted[k] == pytest.approx(running)
    assert (adjusted >= np.array(p) - 1e-15).all()


def test_a_difference_that_is_not_defined_stays_so_and_counts():
    np.testing.assert_allclose(paired.holm([0.01, np.nan, 0.04]), [0.03, np.nan, 0.08])
    assert len(paired.holm([])) == 0


# ---- what is pooled -------------------------------------------------------------------------------------------------


def test_two_runs_of_one_seed_each_are_one_run_of_two(tmp_path):
    apart = [leave(tmp_path / f"s{s}", seeds=(s,)) for s in (0, 1)]
    (both,) = compare([leave(tmp_path / "both", seeds=(0, 1))]).grounds
    (ground,) = compare(apart).grounds
    columns = ["value", "low", "high", "sd"]
    pd.testing.assert_frame_equal(macros(ground)[columns], macros(both)[columns])
    assert macros(ground)["runs"].tolist() == ["lead_kd/s0, lead_kd/s1"] * 2
    noises = {"good": 0.8, "poor": 3.0}
    every = [said(m, s, split, noises[m]) for m in noises for s in (0, 1) for split in ("valid", "test")]
    made = evaluation.evaluate(every, protocol="p", data="d", compare=[("good", "poor")], draws=DRAWS, metrics=("auc",))
    again = {(row["model"], row["class"]): row for row in made.rows if row["metric"] == "auc" and row["seed"] is None}
    for row in paired.pooled(ground).to_dict("records"):
        recorded = again[row["label"], row["class"]]
        assert [row[k] for k in ("value", "low", "high")] == pytest.approx(
            [recorded[k] for k in ("value", "low", "high")]
        )
    tested = paired.paired(ground, "poor").iloc[0]
    recorded = again["good - poor", "macro"]
    assert tested[["value", "low", "high"]].tolist() == [recorded[k] for k in ("value", "low", "high")]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({}, {}, False),
        ({}, {"git": {"commit": "d" * 40, "dirty": []}}, True),
        ({"sources": {"ecglib/a.py": "1"}}, {"sources": {"ecglib/a.py": "2"}}, True),
        ({"sources": {"ecglib/a.py": "1"}}, {"sources": {"ecglib/a.py": "1"}, "git": {"commit": "d" * 40}}, False),
    ],
)
def test_pooled_runs_of_other_code_are_told(tmp_path, first, second, told):
    runs = [leave(tmp_path / f"s{s}", seeds=(s,)) for s in (0, 1)]
    for each, more in zip(runs, (first, second), strict=True):
        (each.path / "run.json").write_text(json.dumps(each.record | more))
    sorted_out = compare([results.read(each.path) for each in runs])
    assert [len(line.scores) for line in sorted_out.grounds[0].lines] == [2, 2]
    assert [r for r in sorted_out.remarks if "their code was not the same" in r] == told * [
        "lead_kd/s0, lead_kd/s1 are pooled, though their code was not the same: what changed in it may matter."
    ]


def test_a_chance_is_never_written_as_none():
    assert [paired.chance(p) for p in (0.0001, 0.0234, 1.0, np.nan)] == ["< 0.001", "0.023", "1.000", ""]


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"width": 2}},
        {"sha": "m" * 64},
        {"notebook": "image_kd"},
    ],
)
def test_other_settings_are_compared_but_not_pooled(tmp_path, other):
    runs = [leave(tmp_path / "a", seeds=(0,)), leave(tmp_path / "b", seeds=(1,), **other)]
    (ground,) = compare(runs).grounds
    assert len(ground.lines) == 4
    assert all(len(line.scores) == 1 for line in ground.lines)
    assert "good (lead_kd/a)" in {line.label for line in ground.lines}
    tests = paired.paired(ground, "good (lead_kd/a)").set_index("first")
    twin = next(label for label in tests.index if label.startswith("good"))
    assert tests.loc[twin, "seeds"] == "1 against 0", "no seed in common, and said so"


def test_a_setting_is_told_by_what_differs(tmp_path):
    runs = [
        leave(tmp_path / f"w{w}s{s}", seeds=(s,), parameters={"width": w, "depth": 2}) for w in (1, 2) for s in (0, 1)
    ]
    (ground,) = compare(runs).grounds
    assert {"good (width=1)", "good (width=2)"} < {line.label for line in ground.lines}
    long = [leave(tmp_path / f"l{w}", seeds=(0,), parameters={"width": "x" * 49 * w}) for w in (0, 1)]
    assert {"good (lead_kd/l0)", "good (lead_kd/l1)"} < {line.label for line in compare(long).grounds[0].lines}


def test_parameters_that_change_no_result_make_no_other_setting(tmp_path):
    runs = [leave(tmp_path / f"s{s}", seeds=(s,), parameters={"data": f"/place/{s}", "draws": 10 + s}) for s in (0, 1)]
    assert len(compare(runs).grounds[0].lines) == 2
    assert set(comparison.differences(runs).index.get_level_values(1)) == {"seeds", "data", "draws"}


def test_a_notebook_with_one_seed_of_its_own(tmp_path):
    """Its rows' seeds number repetitions: those of two runs are not the same."""
    runs = [leave(tmp_path / f"r{k}", seeds=(0, 1), parameters={"seed": k, "seeds": None}) for k in (0, 1)]
    (ground,) = compare(runs).grounds
    assert set(macros(ground)["seeds"]) == {"0/0 0/1 1/0 1/1"}


def test_a_seed_that_is_there_twice_counts_once(tmp_path):
    runs = [leave(tmp_path / "new", started="2026-02-01"), leave(tmp_path / "old", started="2026-01-01")]
    out = compare(runs)
    assert {line.runs for line in out.grounds[0].lines} == {("lead_kd/new",)}
    assert sum("with the same probabilities" in remark for remark in out.remarks) == 2


# ---- what is kept apart ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"fingerprint": "0" * 64}, "other fingerprints"),
        ({"of": 7}, "other labels"),
        ({"n": 58}, "test records differ"),
        ({"columns": (0, 1)}, "classes differ"),
        ({"protocol_name": "task, folds 1/2/3, page"}, "protocols differ"),
    ],
)
def test_what_does_not_belong_together_is_kept_apart(tmp_path, other, why):
    runs = [leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,), **other)]
    out = compare(runs)
    assert [ground.runs for ground in out.grounds] == [("lead_kd/a",), ("lead_kd/b",)]
    assert [why in remark for remark in out.remarks if remark.startswith("Kept apart")] == [True]
    assert all(len(line.scores) == 1 for ground in out.grounds for line in ground.lines)


def test_protocols_are_put_together_only_on_request_and_never_pooled(tmp_path):
    runs = [leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,), protocol_name="task, folds 1/2/3, page")]
    (ground,) = compare(runs, across_protocols=True).grounds
    assert len(ground.lines) == 4
    assert ground.protocols == ("task, folds 1/2/3", "task, folds 1/2/3, page")
    assert "task, folds 1/2/3 | task, folds 1/2/3, page" in ground.title


def test_data_that_are_not_on_record_keep_a_run_to_itself(tmp_path):
    runs = [leave(tmp_path / name) for name in "ab"]
    for run in runs:
        (run.path / "data.json").write_text("[]")
    out = compare([results.read(run.path) for run in runs])
    assert len(out.grounds) == 2


def test_records_and_classes_are_matched_by_name(tmp_path):
    order = np.random.default_rng(3).permutation(60)
    straight = [leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,))]
    turned = [straight[0], leave(tmp_path / "c", seeds=(1,), order=order, columns=(2, 0, 1))]
    first, second = (compare(runs).grounds for runs in (straight, turned))
    assert len(second) == 1
    columns = ["class", "value", "low", "high"]
    pd.testing.assert_frame_equal(paired.pooled(first[0])[columns], paired.pooled(second[0])[columns])


def test_predictions_of_another_run_are_refused(tmp_path):
    run, other = leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,))
    frame = other.predictions.assign(seed=0)
    frame.to_parquet(run.path / "predictions.parquet", index=False)
    with pytest.raises(InputError, match=r"'good', seed 0, an AUC of .* not of one run"):
        compare([results.read(run.path)])


def test_predictions_with_a_protocol_of_their_own_go_under_it(tmp_path):
    a, b = leave(tmp_path / "a"), leave(tmp_path / "b", models={"good": 2.0, "poor": 4.0}, protocol_name="other")
    frames = [run.predictions.assign(protocol=run.rows[0]["protocol"]) for run in (a, b)]
    pd.concat(frames).to_parquet(a.path / "predictions.parquet", index=False)
    (a.path / "metrics.json").write_text(json.dumps(a.rows + b.rows))
    both = results.read(a.path)
    assert compare([both]).grounds[0].protocols == ("task, folds 1/2/3",), "the notebook's first one"
    (ground,) = compare([both], protocols=["oth*"]).grounds
    assert macros(ground).loc["good", "value"] == pytest.approx(macros(compare([b]).grounds[0]).loc["good", "value"])


def test_a_run_without_predictions_shows_what_it_said_of_itself(tmp_path):
    a, b = leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(0, 1))
    (b.path / "predictions.parquet").unlink()
    out = compare([a, b])
    assert out.apart == ["lead_kd/b"]
    assert "kept no predictions" in out.remarks[0]
    table = comparison.recorded([a, b], out.apart)
    assert table["model"].tolist() == ["good", "poor", "good - poor"]
    whole = {
        row["model"]: row
        for row in b.rows
        if row["metric"] == "auc" and row["class"] == "macro" and row["seed"] is None
    }
    assert table["value"].tolist() == [whole[name]["value"] for name in table["model"]]
    p = next(row["value"] for row in b.rows if row["metric"] == "auc_p")
    assert table["p"].tolist()[2] == p
    assert np.isnan(table["p"][0])
    assert comparison.recorded([a, b], out.apart, models=["good"])["model"].tolist() == ["good", "good - poor"]
    assert comparison.recorded([a], [])["model"].tolist() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": ["goood"]}, "models names 'goood'.*'good'"),
        ({"protocols": ["page*"]}, r"protocols names 'page\*'"),
        ({"models": ["good - poor"]}, "models names"),
    ],
)
def test_patterns_that_match_nothing_are_refused(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        compare([leave(tmp_path / "a")], **options)


def test_f1_needs_the_validation_that_chose_its_thresholds(tmp_path):
    run = leave(tmp_path / "a")
    (ground,) = compare([run], metric="f1").grounds
    recorded = {r["model"]: r["value"] for r in run.rows if r["metric"] == "f1" and r["class"] == "macro"}
    assert macros(ground)["value"].to_dict() == pytest.approx({name: recorded[name] for name in ("good", "poor")})
    run.predictions.query("split == 'test'").to_parquet(run.path / "predictions.parquet", index=False)
    bare = results.read(run.path)
    with pytest.raises(InputError, match="no validation predictions"):
        compare([bare], metric="f1")
    (ground,) = compare([bare]).grounds
    assert paired.chosen(ground).label == "good", "the first, where validation cannot choose"


# ---- which runs -----------------------------------------------------------------------------------------------------


def test_runs_are_found_once_and_only_whole_ones(tmp_path):
    reports = tmp_path / "reports"
    new = leave(reports / "lead_kd" / "new", started="2026-02-01")
    leave(reports / "lead_kd" / "old", started="2026-01-01")
    shutil.copytree(new.path, reports / "gallery" / "lead_kd-new")
    leave(reports / "compare_runs" / "this", notebook="compare_runs")
    leave(reports / "compare_runs" / "that", notebook="compare_runs", started="2026-03-01")
    failed = leave(reports / "lead_kd" / "failed")
    (failed.path / "run.json").write_text(json.dumps(failed.record | {"status": "failed"}))
    found, remarks = comparison.find(["reports/*/*"], root=tmp_path, leave_out=reports / "compare_runs" / "this")
    assert list(comparison.names(found).values()) == ["lead_kd-new", "lead_kd/old"]
    assert len(remarks) == 3
    assert "reports/lead_kd/new is the same run as reports/gallery/lead_kd-new: it counts once." in remarks
    assert any("failed is failed" in remark for remark in remarks)
    assert any("compare_runs/that itself compares runs" in remark for remark in remarks)
    with pytest.raises(InputError, match=r"'reports/nobody/.*where there is no run"):
        comparison.find(["reports/nobody/*"], root=tmp_path)
    with pytest.raises(InputError, match=r"None of the runs can be compared: .*failed"):
        comparison.find(["reports/lead_kd/failed"], root=tmp_path)


def test_the_tidy_table_has_every_row_and_tells_runs_apart(tmp_path):
    runs = [leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,), parameters={"width": 2})]
    table = comparison.collect(runs)
    assert len(table) == sum(len(run.rows) for run in runs)
    assert table.groupby("run")["parameters"].unique().map(list).to_dict() == {
        "lead_kd/a": [""],
        "lead_kd/b": ["width=2"],
    }
    assert table["configuration"].nunique() == 2
    assert set(table["fingerprint"]) == {"f" * 64}
    assert set(results.METRIC_KEYS) <= set(table)
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    np.testing.assert_allclose(again["value"], table["value"])


def test_curves_and_costs(tmp_path):
    runs = [leave(tmp_path / f"s{s}", seeds=(s,)) for s in (1, 0)]
    curves = comparison.curves(runs)
    assert len(curves) == 2 * 2 * 3
    assert curves["configuration"].nunique() == 1
    assert set(curves["seed"]) == {"0", "1"}
    assert comparison.curves(runs, models=["po*"])["model"].unique().tolist() == ["poor"]
    assert comparison.curves(runs, "reconstruction").empty
    costs = comparison.costs(runs, compare(runs).grounds)
    assert costs["runs"].tolist() == ["lead_kd/s1, lead_kd/s0"] * 2, "pooled runs cost what they cost together"
    assert costs["minutes"].tolist() == [3.0, 3.0]
    assert costs["peak_gib"].tolist() == [0.5, 0.5]
    assert costs["trainings"].tolist() == [4, 4]
    assert costs["epochs"].tolist() == [12, 12]
    assert costs["parameters"].isna().all(), "no model was kept"
    assert costs.loc[costs["best"], "model"].tolist() == ["good"]
    (runs[0].path / "predictions.parquet").unlink()
    lone = comparison.costs(runs[:1], compare(runs[:1]).grounds)
    assert lone["ground"].tolist() == [-1]
    assert lone["value"].isna().all()


def test_the_size_of_a_saved_model(tmp_path):
    import torch
    from safetensors.torch import save_file

    run = leave(tmp_path / "a")
    for name, size in (("student", 3), ("teacher", 7)):
        (run.path / "model" / name).mkdir(parents=True)
        save_file({"w": torch.zeros(size, 5), "b": torch.zeros(size)}, run.path / "model" / name / "model.safetensors")
    assert comparison.costs([run], compare([run]).grounds)["parameters"].tolist() == [42, 42]


# ---- verdicts and tables --------------------------------------------------------------------------------------------


def test_the_verdict_follows_the_corrected_p():
    row = {"value": 0.02, "low": 0.01, "high": 0.03, "p_holm": 0.01}
    assert paired._verdict(row, "auc", 9) == "better"
    assert paired._verdict(row, "brier", 9) == "worse"
    assert "only the correction for 9 comparisons" in paired._verdict(row | {"p_holm": 0.06}, "auc", 9)
    assert paired._verdict(row | {"low": -0.01}, "auc", 9) == "not told apart"
    assert paired._verdict(row | {"value": float("nan")}, "auc", 9) == "cannot be compared"
    assert paired._verdict(dict.fromkeys(row, 0.0) | {"p_holm": 1.0}, "auc", 9) == "the same in every draw"


def test_words_and_rows(tmp_path):
    run = leave(tmp_path / "a", models={"good": 0.8, "twin": 0.9, "poor": 5.0}, seeds=(0, 1))
    (ground,) = compare([run], draws=400).grounds
    tests = paired.paired(ground, "good")
    words = "\n".join(paired.sentences(ground, tests))
    assert "Better than **good**, of 2 compared: none." in words
    assert re.search(r"Worse than \*\*good\*\*, of 2 compared: poor \(-0\.\d+\)\.", words)
    assert re.search(r"Not told apart from \*\*good\*\*, of 2 compared: twin", words)
    assert "but it is not told apart from" in words
    assert "1 worse, 1 not told apart" in paired.spoken(ground, tests) or "1 not told apart, 1 worse" in paired.spoken(
        ground, tests
    )
    made = paired.rows(ground, tests)
    assert results.metric_faults([{key: results._plain(row[key]) for key in results.METRIC_KEYS} for row in made]) == []
    assert {"auc", "auc_seed_sd", "auc_p", "auc_p_holm"} == {row["metric"] for row in made}
    assert "poor - good" in {row["model"] for row in made}
    shown = paired.shown(ground, tests)
    assert shown.loc["good", "verdict (Holm p)"] == "the reference"
    assert shown.loc["poor", "verdict (Holm p)"].startswith("worse (0.0")


def test_too_few_draws_are_said(tmp_path):
    run = leave(tmp_path / "a", models={f"m{k}": 1.0 + k for k in range(5)})
    few, enough = (compare([run], draws=draws).grounds[0] for draws in (159, 160))
    assert "draws=160 or more" in paired.too_few(few)
    assert paired.too_few(enough) is None
    assert paired.LEVEL <= 4 * 2 / 160, "the smallest p there can be, times four"
    assert paired.LEVEL > 4 * 2 / 161


def test_the_reference_is_chosen_on_validation_or_named(tmp_path):
    run = leave(tmp_path / "a")
    out = compare([run]).grounds
    assert paired.references(out) == ["good"]
    assert paired.references(out, "poor") == ["poor"]
    (brier,) = compare([run], metric="brier").grounds
    assert paired.chosen(brier).label == "good", "the lowest Brier score"
    with pytest.raises(InputError, match=r"reference names 'por'.*'poor'"):
        paired.references(out, "por")
    two = compare([run, leave(tmp_path / "b", parameters={"width": 2})]).grounds[0]
    with pytest.raises(InputError, match="There are 2"):
        two.line("good")


def test_latex_is_escaped_and_bold_only_where_the_best_is_surely_best(tmp_path):
    run = leave(tmp_path / "a", models={"50% & more_of it": 0.6, "poor": 5.0})
    (ground,) = compare([run], draws=400).grounds
    text = paired.to_latex(ground, "poor")
    assert r"50\% \& more\_of it & \textbf{0." in text
    assert text.count(r"\textbf") == 1
    assert r"$^\dagger$ &" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    cells = [line for line in body.splitlines() if line.strip()]
    assert len(cells) == 2
    assert all(len(re.findall(r"(?<!\\)&", line)) == 4 and line.endswith(r"\\") for line in cells)
    assert [text.count(word) for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}")] == [1, 1, 1, 1]
    alike = leave(tmp_path / "b", models={"one": 1.0, "other": 1.0})
    (ground,) = compare([alike], draws=400).grounds
    text = paired.to_latex(ground, "one")
    assert r"\textbf" not in text
    assert "Nothing is bold" in text
    assert paired.escaped("a_b%^~\\|") == r"a\_b\%\textasciicircum{}\textasciitilde{}\textbackslash{}\textbar{}"


# ---- the run's folder -----------------------------------------------------------------------------------------------


def test_exports_and_the_data_of_other_runs(tmp_path):
    run = results.Run(tmp_path / "out")
    for each in (leave(tmp_path / "a"), leave(tmp_path / "b", seeds=(1,)), leave(tmp_path / "c", fingerprint="0" * 64)):
        run.data_of(each, each.path.name)
    entries = json.loads((tmp_path / "out" / "data.json").read_text())
    assert [(entry["role"], entry["fingerprint"][0]) for entry in entries] == [("of a", "f"), ("of c", "0")]
    path = run.export("é.csv", "a,b\n")
    assert path == tmp_path / "out" / "tables" / "é.csv"
    assert path.read_text() == "a,b\n"
    for name in ("../x.csv", "a/b.csv", "", ".hidden"):
        with pytest.raises(InputError, match="plain file name"):
            run.export(name, "")
    results.clear(tmp_path / "out", checkpoints=True)
    assert not (tmp_path / "out" / "tables").exists()


# ---- real runs ------------------------------------------------------------------------------------------------------


def test_the_gallery_measured_anew_gives_its_own_numbers():
    """From predictions alone, with the draws of the notebook: values, intervals and differences to the last digit."""
    run = results.read(GALLERY / "lead_kd-ptb_xl")
    (ground,) = grounds.grounds([run], draws=1000).grounds
    recorded = {
        (row["model"], row["class"]): row for row in run.rows
        if row["metric"] == "auc" and row["split"] == "test" and row["seed"] is None
    }  # fmt: skip
    for row in paired.pooled(ground).to_dict("records"):
        there = recorded[row["model"], row["class"]]
        assert [row[k] for k in ("value", "low", "high")] == pytest.approx([there[k] for k in ("value", "low", "high")])
    for row in paired.paired(ground, "BCE").to_dict("records"):
        there = recorded[f"{row['first']} - BCE", "macro"]
        assert [row[k] for k in ("value", "low", "high")] == pytest.approx([there[k] for k in ("value", "low", "high")])


def test_runs_of_two_notebooks_meet_on_the_same_records():
    runs, _ = comparison.find(["reports/gallery/*"], root=REPO)
    out = grounds.grounds(runs, across_protocols=True, draws=100)
    assert set(out.apart) == {run.path.name for run in runs if not (run.path / "predictions.parquet").is_file()}
    assert len(out.grounds) == 1
    assert {run.split("-")[0] for run in out.grounds[0].runs} == {"lead_kd", "image_kd"}
    tests = paired.paired(out.grounds[0], "teacher (lead_kd-ptb_xl)").set_index("first")
    assert tests.loc["page", "high"] < 0
    apart = grounds.grounds(runs, draws=100).grounds
    assert len(apart) > 1
    assert all(len({run.split("-")[0] for run in each.runs}) == 1 for each in apart), "protocols stay apart"
