"""The comparing notebook itself, run by the runner: on committed runs, on fresh ones of one setting, on bad input."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
import runs
import yaml
from where import REPO

from ecglib import grounds, results

GALLERY = REPO / "reports" / "gallery"


def run(out, *more, notebook="compare_runs", preset="smoke"):
    return runs.quick(notebook, out, *more, preset=preset)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare_runs") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def text_of(out):
    """All that the executed notebook shows as text."""
    cells = json.loads((out / "executed.ipynb").read_text())["cells"]
    kinds = ("text/markdown", "text/plain", "text/html")
    parts = [output.get("data", {}).get(k, "") for cell in cells for output in cell.get("outputs", ()) for k in kinds]
    return "\n".join(part if isinstance(part, str) else "".join(part) for part in parts)


def test_the_run_is_whole_and_leaves_its_tables(smoke):
    record = runs.whole(smoke)
    assert {path.name for path in (smoke / "tables").iterdir()} == {
        "metrics.csv", "pooled.csv", "paired.csv", "costs.csv", "curves.csv", "comparison_1.tex"
    }  # fmt: skip
    assert not (smoke / "predictions.parquet").exists()
    assert {entry["name"].split(",")[0] for entry in record.data} == {"ptb-xl"}, "the data of the runs that were read"


def test_the_demos_reference_is_one_of_its_models():
    """A committed report that is run again may be told from its twin in other words."""
    preset = yaml.safe_load((REPO / "params" / "compare_runs" / "demo.yaml").read_text())
    read = [results.read(path.parent) for path in sorted(GALLERY.glob("*/run.json"))]
    found = grounds.grounds(read, models=preset["models"], across_protocols=True, draws=2).grounds
    assert preset["reference"] in {line.label for ground in found for line in ground.lines}


def test_the_numbers_are_those_of_the_runs(smoke):
    made = results.read(smoke).metrics
    of = made[(made["metric"] == "auc") & (made["class"] == "macro")].set_index("model")
    for run_name, model, label in (
        ("lead_kd-ptb_xl", "BCE", "BCE"),
        ("lead_kd-ptb_xl", "teacher", "teacher (lead_kd-ptb_xl)"),
        ("image_kd-ptb_xl", "teacher", "teacher (image_kd-ptb_xl)"),
        ("image_kd-ptb_xl", "VizECGNet", "VizECGNet"),
    ):
        rows = results.read(GALLERY / run_name).metrics.query(
            "metric == 'auc' and `class` == 'macro' and split == 'test'"
        )
        rows = rows[(rows["model"] == model) & rows["protocol"].isin(rows["protocol"].iloc[:1])]
        there = rows[rows["seed"].isna()] if rows["seed"].isna().any() else rows
        assert of.loc[label, "value"] == pytest.approx(there["value"].iloc[0]), label
        assert of.loc[label, "low"] == pytest.approx(there["low"].iloc[0], abs=0.01), "other draws of the same patients"
    assert (of["n"] == 251).all()
    corrected = made[made["metric"] == "auc_p_holm"].set_index("model")["value"]
    plain = made[made["metric"] == "auc_p"].set_index("model")["value"]
    assert (corrected >= plain).all()
    assert len(corrected) == 4
    page = next(name for name in corrected.index if name.startswith("page - teacher"))
    assert corrected[page] < 0.05
    assert of.loc[page, "high"] < 0


def test_the_tables_hold_what_the_report_shows(smoke):
    pooled = pd.read_csv(smoke / "tables" / "pooled.csv")
    assert pooled.groupby("label").size().eq(6).all(), "five classes and their mean"
    tests = pd.read_csv(smoke / "tables" / "paired.csv")
    assert set(tests["comparisons"]) == {4}
    assert set(tests["verdict"]) <= {"better", "worse", "not told apart"} | {v for v in tests["verdict"] if "(" in v}
    every = pd.read_csv(smoke / "tables" / "metrics.csv", low_memory=False)
    names = ("lead_kd-ptb_xl", "image_kd-ptb_xl")
    assert len(every) == sum(len(results.read(GALLERY / name).rows) for name in names)
    assert set(every["run"]) == set(names)
    latex = (smoke / "tables" / "comparison_1.tex").read_text()
    assert latex.count(r"\\") == 1 + 5
    text = text_of(smoke)
    for row in pooled[pooled["class"] == "macro"].itertuples():
        assert f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" in text
        assert row.label.replace("_", r"\_") in latex
    assert "Worse than **teacher" in text
    assert "page 3x4+II | superclass, folds 1-8/9/10" in text, "both protocols are named"


def test_the_report_can_be_sent(smoke):
    page = (smoke / "report.html").read_text()
    assert len(page) < 3_000_000
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) == 4
    assert all(len(re.search(r'alt="([^"]+)"', picture)[1].split()) > 8 for picture in pictures)
    assert page.count("<figcaption") >= 4
    assert "Warning" not in page


def test_the_same_run_again_has_the_same_numbers(smoke, tmp_path):
    assert run(tmp_path / "again").returncode == 0
    for name in ("metrics.json", "tables/paired.csv", "tables/comparison_1.tex"):
        assert (tmp_path / "again" / name).read_bytes() == (smoke / name).read_bytes()


def test_fresh_runs_of_two_seeds_are_pooled(tmp_path):
    for seed in (0, 1):
        done = run(tmp_path / "lead_kd" / f"s{seed}", f"seeds=[{seed}]", "sweep_leads=[]", notebook="lead_kd")
        assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "compared"
    done = run(out, f"runs=[{os.path.relpath(tmp_path, REPO)}/lead_kd/*]", "models=[]", "reference=BCE")
    assert done.returncode == 0, done.stdout + done.stderr
    runs.whole(out)
    pooled = pd.read_csv(out / "tables" / "pooled.csv").query("`class` == 'macro'").set_index("label")
    assert set(pooled["seeds"]) == {"0 1"}
    assert set(pooled.index) == {"teacher", "BCE", "BCE+MKD", "BCE+CLT", "BCE+MKD+CLT"}
    for model in pooled.index:
        each = [
            row["value"] for seed in (0, 1) for row in results.read(tmp_path / "lead_kd" / f"s{seed}").rows
            if (row["model"], row["metric"], row["class"], row["split"]) == (model, "auc", "macro", "test")
        ]  # fmt: skip
        assert len(each) == 2
        assert pooled.loc[model, "value"] == pytest.approx(np.mean(each))
    costs = pd.read_csv(out / "tables" / "costs.csv")
    assert costs["parameters"].gt(1000).all(), "these runs kept their models"


def test_a_run_without_predictions_stands_by_itself(tmp_path):
    out = tmp_path / "out"
    done = run(out, "runs=[reports/gallery/foundation_ssl-ptb_xl]", "models=[]", "protocols=['*fine-tuning, 100%*']")
    assert done.returncode == 0, done.stdout + done.stderr
    text = text_of(out)
    assert "kept no predictions" in text
    assert "hybrid - from scratch" in text
    assert results.read(out).rows == []


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("runs=[reports/nowhere/*]", "'reports/nowhere/.*there is no run"),
        ("reference=BCEE", "reference names 'BCEE'.*BCE"),
        ("draws=0", "draws is 0"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, parameter, said):
    done = run(tmp_path / "bad", parameter)
    assert done.returncode == 2, done.stdout + done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert re.search(said, last[0]), last[0]
    assert "Traceback" not in done.stderr
