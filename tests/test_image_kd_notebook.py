"""The page notebook itself, run small by the runner: what it leaves, killed and resumed, and given bad input."""

import json
import re
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import runs
import torch
from where import REPO

from ecglib import datasets, protocol, results
from ecglib.methods.page_view import PageView
from ecglib.page import PageBatches, Vary

PAGES = ["page", "page+SMAM", "page+CMAM", "page+KD", "VizECGNet", "page+MKD"]


command, run = runs.of("image_kd")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("image_kd") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_run_is_whole(smoke):
    record = results.read(smoke)
    assert record.status == "complete"
    checks = {check["name"]: check for check in record.record["checks"]}
    assert all(check["ok"] in (True, None) for name, check in checks.items() if name != "Code committed"), checks
    assert {path.name for path in (smoke / "model").iterdir()} == {"teacher", "page", "page_mkd", "vizecgnet"}


def test_metrics_lie_where_they_must(smoke):
    frame = results.read(smoke).metrics
    test = frame[(frame["split"] == "test") & (frame["metric"] == "auc")]
    assert {"teacher", *PAGES, "VizECGNet - page", "VizECGNet - teacher"} <= set(test["model"])
    assert test.loc[~test["model"].str.contains(" - "), "value"].between(0, 1).all()
    assert {"precision", "recall", "f1"} <= set(frame["metric"])
    conditions = {text.split(", page ")[1] for text in test["protocol"]}
    assert {"3x4+II", "layout 12x1", "jpeg 1", "photo", "geometry 0"} <= conditions
    changed = test[test["protocol"].str.endswith("page jpeg 1") & (test["class"] == "macro")]
    assert set(changed["model"]) == {"page", "page+MKD", "VizECGNet"}


def test_each_switch_is_on_where_its_name_says(smoke):
    history = pd.read_csv(smoke / "history.csv").groupby("model")[["bce_fused", "kd", "mkd"]].mean().fillna(0)
    on = {name: set(history.columns[history.loc[name] > 0]) for name in PAGES}
    assert on == {
        "page": set(), "page+SMAM": set(), "page+CMAM": {"bce_fused"}, "page+KD": {"bce_fused", "kd"},
        "VizECGNet": {"bce_fused", "kd"}, "page+MKD": {"mkd"},
    }  # fmt: skip


def test_the_saved_network_says_again_what_it_said(smoke):
    view = PageView.load(smoke / "model/vizecgnet/model")
    cohort = datasets.load("synthetic", rate=100, records=300, cache=REPO / "cache", progress=False)
    parts = protocol.split(cohort, "superclass", train=range(1, 9), valid=[9], test=[10])
    pages = PageBatches(parts["test"].batches(64), layouts=["3x4+II"], size=view.size, vary=Vary()).hold()
    p = torch.sigmoid(torch.cat([view.predict(batch.page) for batch in pages])).numpy()
    said = results.read(smoke).predictions.query("model == 'VizECGNet' and seed == 0 and split == 'test'")
    np.testing.assert_allclose(p, said[[f"p_{name}" for name in view.classes]].to_numpy(), atol=1e-4)


def test_the_report_can_be_sent(smoke):
    page = (smoke / "report.html").read_text()
    assert len(page) < 3_000_000
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 12
    assert all(len(re.search(r'alt="([^"]+)"', picture)[1].split()) > 4 for picture in pictures)
    for text in ("randomly initialised", "+7.38 %", "Grad-CAM", "Reproducibility"):
        assert text in page


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(smoke, tmp_path):
    out = tmp_path / "killed"
    victim = subprocess.Popen(command(out), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(out.glob("checkpoints/page+KD-0/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(30) == -signal.SIGKILL, "the run was over before it was killed"
    assert results.read(out).status == "unfinished"
    done = run(out)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (smoke, out))
    assert first == second


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("layouts=[3x4, 3x5]", "no layout '3x5'.*3x4"),
        ("page_backbone=resnet17", "no network 'resnet17'"),
        ("page_weights=/no/such/weights.pth", "There are no weights at"),
        ("effects=[rotatoin]", "no degradation 'rotatoin'.*rotation"),
        ("size=[40, 50]", "too small for 4 rows"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_trained(tmp_path, parameter, said):
    done = run(tmp_path / "bad", "-p", parameter)
    assert done.returncode == 2, done.stdout + done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert re.search(said, last[0])
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "bad").glob("checkpoints/*/*.safetensors"))
