"""The exploring notebook itself, run by the runner: on two synthetic cohorts, on poor data, and given bad input."""

import json
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import runs
from where import REPO

from ecglib import cohort as cohorts
from ecglib import datasets, heart_rate, results
from ecglib.datasets import synthetic

run = partial(runs.quick, "explore_cohort")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("explore_cohort") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def seen(out):
    """Kinds of everything that the executed notebook shows."""
    cells = json.loads((out / "executed.ipynb").read_text())["cells"]
    return {kind for cell in cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}


def test_the_run_is_whole_and_keeps_what_makes_sense_here(smoke):
    runs.whole(smoke)
    there = {path.name for path in smoke.iterdir()}
    assert {"metrics.json", "data.json", "report.html"} <= there
    assert not {"predictions.parquet", "history.csv", "model", "checkpoints"} & there
    assert [entry["role"] for entry in results.read(smoke).data] == ["data", "compared with"]


def test_the_numbers_are_those_of_the_cohorts(smoke):
    rows = results.read(smoke).metrics
    for seed, name in ((0, "synthetic"), (1, "synthetic, second")):
        cohort = datasets.load("synthetic", rate=100, records=200, seed=seed, cache=REPO / "cache", progress=False)
        own = rows[rows["data"] == name]
        assert set(own["split"]) == {"all"}
        shares = own[own["metric"] == "share"].set_index("class")
        said = shares["value"].reindex(cohort.classes("superclass"))
        np.testing.assert_allclose(said, cohort.labels("superclass").mean(axis=0), rtol=1e-6)
        assert ((shares["low"] <= shares["value"]) & (shares["value"] <= shares["high"])).all()
        rates = own[own["metric"] == "heart_rate_median"].set_index(["protocol", "class"])
        assert set(rates.index.get_level_values("protocol")) == {"superclass", "rhythm"}
        has = cohort.labels("rhythm")[:, cohort.classes("rhythm").index("SR")] > 0
        table = pd.DataFrame({"patient": cohort.records["patient"], "bpm": heart_rate.of_cohort(cohort)})[has]
        sinus = rates.loc[("rhythm", "SR")]
        assert sinus["value"] == pytest.approx(table.groupby("patient")["bpm"].median().median(), abs=0.01)
        assert sinus["low"] < sinus["value"] < sinus["high"]
        assert sinus["n"] == has.sum()


def test_the_report_can_be_sent(smoke):
    page = (smoke / "report.html").read_text()
    assert len(page) < 3_000_000
    assert not re.search(r"""(src|srcset|data)=["']https?:|url\(["']?https?:|<link[^>]+href""", page)
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 14
    assert all(len(re.search(r'alt="([^"]+)"', picture)[1].split()) > 4 for picture in pictures)
    assert "nobody is in two folds" in page
    assert "Warning" not in page


def test_the_same_run_again_has_the_same_numbers(smoke, tmp_path):
    assert run(tmp_path / "again").returncode == 0
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (smoke, tmp_path / "again"))
    assert first == second


@pytest.fixture
def poor(tmp_path):
    """Two leads, no labels, no ages, one record flat, one patient in two folds."""
    signals = synthetic.simulate(range(12), rate=100)[0][:, [1, 6]]  # (12, 2, 1000): II and V1
    signals[5] = 7
    table = pd.DataFrame(
        {"record": [f"r{k}" for k in range(12)], "patient": ["p0", "p0", *(f"p{k}" for k in range(2, 12))],
         "fold": [1, 2] * 6, "age": np.nan, "sex": None, "statements": [[] for _ in range(12)]}
    )  # fmt: skip
    cohorts.write(tmp_path / "poor", signals, table, name="poor", rate=100, leads=["II", "V1"], scale=synthetic.SCALE)
    return tmp_path / "poor"


def test_poor_data_are_shown_as_they_are_and_a_batch_run_holds_no_dead_widget(poor, tmp_path):
    done = run(tmp_path / "out", f"data={poor}", "progress=bar")
    assert done.returncode == 0, done.stdout + done.stderr
    runs.whole(tmp_path / "out")
    assert not any("widget" in kind for kind in seen(tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "in several folds: 1</strong> (p0)" in page
    assert "no labels" in page
    assert "Without classes of the task superclass: poor" in page
    rows = results.read(tmp_path / "out").metrics
    assert set(rows["data"]) == {"synthetic"}, "no labels, so nothing by class"


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("task=superclas", "no task 'superclas'.*superclass"),
        ("data=/no/such/folder", "/no/such/folder.*no folder"),
        ("show=0", "show is 0"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, parameter, said):
    done = run(tmp_path / "bad", parameter)
    assert done.returncode == 2, done.stdout + done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert re.search(said, last[0]), last[0]
    assert "Traceback" not in done.stderr


def test_real_records_of_two_kinds_side_by_side(shared_data, tmp_path):
    done = run(
        tmp_path / "out", f"data={shared_data / 'ludb'}", "task=rhythm", f"compare_with={shared_data / 'ptb-xl-raw'}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs.whole(tmp_path / "out")
    rates = results.read(tmp_path / "out").metrics.query("metric == 'heart_rate_median'").set_index(["data", "class"])
    assert rates.loc[("ludb, nominal voltages", "Sinus bradycardia"), "value"] < 60
    assert rates.loc[("ptb-xl", "SBRAD"), "value"] < 60
    assert rates.loc[("ptb-xl", "STACH"), "value"] > 100
