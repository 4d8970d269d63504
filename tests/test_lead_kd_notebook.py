"""The notebook itself, run small: by the runner, by papermill alone; killed and resumed; given bad input."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pandas as pd
import pytest
import runs
import torch
from where import REPO

from ecglib import datasets, evaluation, protocol, results
from ecglib.methods.lead_kd import View
from ecglib.predictions import Predictions

MODELS = ["teacher", "BCE", "BCE+MKD", "BCE+CLT", "BCE+MKD+CLT"]


command, run = runs.of("lead_kd")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("lead_kd") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_run_is_whole(smoke):
    record = results.read(smoke)
    assert record.status == "complete"
    left = {"report.html", "executed.ipynb", "metrics.json", "predictions.parquet", "history.csv", "data.json", "model"}
    assert left <= {path.name for path in smoke.iterdir()}
    assert not (smoke / "checkpoints").exists()
    checks = {check["name"]: check for check in record.record["checks"]}
    assert all(check["ok"] in (True, None) for name, check in checks.items() if name != "Code committed"), checks


def test_metrics_lie_where_they_must(smoke):
    frame = results.read(smoke).metrics
    test = frame[(frame["split"] == "test") & (frame["metric"] == "auc")]
    assert {*MODELS, "BCE, lead V1", "BCE+MKD+CLT, lead V1", "BCE+MKD - BCE"} <= set(test["model"])
    scores = test[~test["model"].str.contains(" - ")]
    assert scores["value"].between(0, 1).all()
    assert (scores["low"] <= scores["value"]).mean() > 0.95
    assert set(scores.loc[scores["model"] == "BCE", "class"]) == {"macro", "CD", "HYP", "MI", "NORM", "STTC"}
    assert set(scores.loc[scores["model"] == "BCE", "seed"].dropna()) == {0, 1}
    assert set(scores.loc[scores["model"] == "BCE, lead V1", "seed"]) == {0}
    assert "BCE+MKD+CLT, lead V1 - BCE, lead V1" in set(test["model"])
    assert set(frame["protocol"]) == {"superclass, folds 1-8/9/10"}
    assert (scores["n"] == scores["n"].iloc[0]).all()


def test_the_predictions_alone_give_the_metrics_again(smoke):
    record = results.read(smoke)
    again = evaluation.evaluate(
        Predictions.from_frame(record.predictions), protocol="superclass, folds 1-8/9/10", data="synthetic", draws=100,
        compare=[("BCE+MKD", "BCE")],
    )  # fmt: skip
    there = {(r["model"], r["split"], r["metric"], r["class"], r["seed"]): r for r in record.rows}
    for row in again.rows:
        assert there[row["model"], row["split"], row["metric"], row["class"], row["seed"]] == row


def test_the_saved_student_says_again_what_it_said(smoke):
    view = View.load(smoke / "model/student_mvkt/model", expect_leads=["I"], expect_rate=100)
    cohort = datasets.load("synthetic", rate=100, records=300, cache=REPO / "cache", progress=False)
    parts = protocol.split(cohort, "superclass", train=range(1, 9), valid=[9], test=[10])
    p = torch.sigmoid(view.predict(torch.from_numpy(parts["test"].signal_mv()))).numpy()
    said = results.read(smoke).predictions.query("model == 'BCE+MKD+CLT' and seed == 0 and split == 'test'")
    np.testing.assert_allclose(p, said[[f"p_{name}" for name in view.classes]].to_numpy(), atol=1e-5)


def test_the_history_has_every_training(smoke):
    history = pd.read_csv(smoke / "history.csv")
    assert len(history.groupby(["model", "seed"])) == 5 * 2 + 2
    assert (history.loc[history["model"] == "BCE", ["mkd", "clt"]] == 0).all(axis=None)
    assert (history.loc[history["model"] == "BCE+MKD+CLT", ["mkd", "clt"]] > 0).all(axis=None)


def test_the_report_can_be_sent(smoke):
    page = (smoke / "report.html").read_text()
    assert len(page) < 3_000_000
    assert not re.search(r"""(src|srcset|data)=["']https?:|url\(["']?https?:|<link[^>]+href""", page)
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 10
    assert all(len(re.search(r'alt="([^"]+)"', picture)[1].split()) > 4 for picture in pictures)
    assert page.count("<figcaption") >= 10
    for text in ("second-hand", "Reproducibility", "0.843"):
        assert text in page


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(smoke, tmp_path):
    out = tmp_path / "killed"
    victim = subprocess.Popen(command(out), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/BCE-0/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(30) == -signal.SIGKILL, "the run was over before it was killed"
    assert results.read(out).status == "unfinished"
    kept = {path.parent.name for path in out.glob("checkpoints/*/*.safetensors")}
    assert {"teacher-0", "teacher-1", "BCE-0"} <= kept
    done = run(out)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (smoke, out))
    assert first == second
    columns = ["model", "seed", "epoch", "loss", "valid_loss"]
    histories = [pd.read_csv(folder / "history.csv")[columns] for folder in (smoke, out)]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("data=/no/such/folder", "/no/such/folder.*no folder"),
        ("test_folds=[11]", "fold 11 holds no record"),
        ("student_backbone=xresnet1d17", "xresnet1d18"),
        ("sweep_leads=[V9]", "'V9' is not one of the twelve leads"),
        ("teachers_from=[no/such/model]", "There is no checkpoint at no/such/model"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_green(tmp_path, parameter, said):
    done = run(tmp_path / "bad", "-p", parameter)
    assert done.returncode == 2, done.stdout + done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert re.search(said, last[0])
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bad/run.json").exists() or results.read(tmp_path / "bad").status == "failed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lead_kd --preset smok", "smoke"),
        ("lead_kd -p recrods=3", "records"),
        ("lead_kd -p records=many", "records"),
        ("lead_kd -p mkd_variant=temperd", "tempered"),
        ("lead_kb", "lead_kd"),
    ],
)
def test_a_typo_is_answered_before_a_kernel_starts(words, said):
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ecglib.run", *shlex.split(words)], cwd=REPO, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert time.perf_counter() - started < 5


def test_papermill_alone_runs_it(tmp_path):
    """The command of the README, with the small preset; by `python -m`, as scripts name the folder they were put in."""
    executed = tmp_path / "out.ipynb"
    words = f"notebooks/lead_kd.ipynb {executed} -f params/lead_kd/smoke.yaml -p out {tmp_path / 'run'}"
    command = [sys.executable, "-m", "papermill", *shlex.split(words)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    code = [c for c in nbformat.read(executed, as_version=4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert (tmp_path / "run/metrics.json").is_file()
