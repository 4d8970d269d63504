"""The foundation notebook itself, run small by the runner: what it leaves, killed and resumed, and given bad input."""

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

from ecglib import datasets, evaluation, protocol, results
from ecglib.methods.encoder import Encoder
from ecglib.methods.view import View
from ecglib.predictions import Predictions

ENCODERS = ["random", "MAE", "SimCLR", "CMSC", "RLM", "hybrid"]
SPLIT = "superclass, folds 1-8/9/10"


command, run = runs.of("foundation_ssl")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("foundation_ssl") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def parts(records=300):
    cohort = datasets.load("synthetic", rate=100, records=records, cache=REPO / "cache", progress=False)
    return protocol.split(cohort, "superclass", train=range(1, 9), valid=[9], test=[10])


def test_the_run_is_whole(smoke):
    record = results.read(smoke)
    assert record.status == "complete"
    checks = {check["name"]: check for check in record.record["checks"]}
    assert all(check["ok"] in (True, None) for name, check in checks.items() if name != "Code committed"), checks
    saved = {path.name for path in (smoke / "model").iterdir()}
    assert saved == {*(name.lower() for name in ENCODERS), "hybrid_fine_tuned"}
    assert not (smoke / "checkpoints").exists()


def test_every_protocol_has_every_encoder_and_its_differences(smoke):
    frame = results.read(smoke).metrics
    auc = frame[(frame["metric"] == "auc") & (frame["class"] == "macro")]
    frozen = [f"{SPLIT}, {way}" for way in ("linear probe, 30% of labels", "linear probe, 100% of labels")]
    frozen += [f"{SPLIT}, {way}" for way in ("linear probe with age, sex", "nearest prototype", "attention probe")]
    frozen += [f"{SPLIT}, linear probe, second site", "rhythm, folds 1-8/9/10, linear probe"]
    for name in frozen:
        models = set(auc.loc[auc["protocol"] == name, "model"])
        assert {*ENCODERS, "hybrid - MAE", "hybrid - SimCLR", "MAE - random", "hybrid - random"} <= models, name
    for share in ("30%", "100%"):
        models = set(auc.loc[auc["protocol"] == f"{SPLIT}, fine-tuning, {share} of labels", "model"])
        assert models == {"from scratch", "hybrid", "hybrid - from scratch"}
    ages = frame[frame["metric"] == "age_mae"]
    assert {*ENCODERS, "training median"} <= set(ages["model"])
    draws = auc[(auc["protocol"] == frozen[0]) & (auc["model"] == "MAE")]
    assert set(draws["seed"].dropna()) == {0, 1}
    assert any("4 steps on a share" in name for name in auc["protocol"])


def test_the_predictions_alone_give_the_metrics_again(smoke):
    record = results.read(smoke)
    name = f"{SPLIT}, linear probe, 30% of labels"
    kept = record.predictions[record.predictions["protocol"] == name].drop(columns="protocol")
    again = evaluation.evaluate(
        Predictions.from_frame(kept.dropna(axis=1, how="all")), protocol=name, data="synthetic", draws=100,
        metrics=("auc", "average_precision", "f1", "brier", "ece"), compare=[("hybrid", "MAE")],
    )  # fmt: skip
    key = ("protocol", "model", "split", "metric", "class", "seed")
    there = {tuple(row[k] for k in key): row for row in record.rows}
    assert len(again.rows) > 100
    for row in again.rows:
        assert there[tuple(row[k] for k in key)] == row


def test_the_saved_encoder_is_the_one_that_was_measured(smoke):
    """A linear probe made anew from the saved encoder's vectors says what the run's says."""
    from ecglib import probing

    own = parts()
    encoder = Encoder.load(smoke / "model/mae/model", expect="conv_vit_nano", expect_rate=100)
    assert encoder.about["objective"] == "MAE"
    assert encoder.about["pre-trained on"] == ["synthetic: 238 records"]
    assert "folds [9] and [10]" in encoder.about["not seen"]
    x = {name: probing.vectors(encoder, part) for name, part in own.items()}
    test = probing.linear(x, own, model="MAE", seed=0, task="superclass")[1]
    table = results.read(smoke).predictions
    rows = f"protocol == '{SPLIT}, linear probe, 100% of labels' and model == 'MAE' and split == 'test'"
    said = table.query(rows)[[f"p_{name}" for name in test.classes]]
    np.testing.assert_allclose(test.p, said.to_numpy(), atol=1e-3)


def test_the_fine_tuned_view_says_again_what_it_said(smoke):
    view = View.load(smoke / "model/hybrid_fine_tuned/model", expect_rate=100)
    p = torch.sigmoid(view.predict(torch.from_numpy(parts()["test"].signal_mv()))).numpy()
    rows = f"protocol == '{SPLIT}, fine-tuning, 100% of labels' and model == 'hybrid' and split == 'test'"
    said = results.read(smoke).predictions.query(rows)[[f"p_{name}" for name in view.classes]]
    np.testing.assert_allclose(p, said.to_numpy(), atol=1e-5)


def test_the_report_can_be_sent(smoke):
    page = (smoke / "report.html").read_text()
    assert len(page) < 3_000_000
    assert not re.search(r"""(src|srcset|data)=["']https?:|url\(["']?https?:|<link[^>]+href""", page)
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 12
    assert all(len(re.search(r'alt="([^"]+)"', picture)[1].split()) > 4 for picture in pictures)
    for text in ("second-hand", "its settings are ours", "Reproducibility"):
        assert text in page


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(smoke, tmp_path):
    out = tmp_path / "killed"
    victim = subprocess.Popen(command(out), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(out.glob("checkpoints/pretrain-CMSC/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(30) == -signal.SIGKILL, "the run was over before it was killed"
    kept = {path.parent.name for path in out.glob("checkpoints/*/*.safetensors")}
    assert {"pretrain-MAE", "pretrain-SimCLR", "pretrain-CMSC"} <= kept
    done = run(out)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (smoke, out))
    assert first == second
    histories = [pd.read_csv(folder / "history.csv")[["model", "epoch", "loss"]] for folder in (smoke, out)]
    pd.testing.assert_frame_equal(*histories)


def test_saved_encoders_are_taken_in_place_of_pre_training(smoke, tmp_path):
    less = {"objectives": "[MAE, hybrid]", "second_site": "", "further_tasks": "[]", "scaling": "[]"}
    more = [word for name, value in less.items() for word in ("-p", f"{name}={value}")]
    done = run(tmp_path / "again", *more, "-p", f"pretrained_from={smoke / 'model'}")
    assert done.returncode == 0, done.stderr
    old, new = (results.read(folder).metrics for folder in (smoke, tmp_path / "again"))
    rows = f"protocol == '{SPLIT}, linear probe, 100% of labels' and model == 'hybrid' and metric == 'auc'"
    np.testing.assert_allclose(old.query(rows)["value"], new.query(rows)["value"], atol=1e-3)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("mask_ratio=1.0", "mask_ratio is 1.0"),
        ("mask_ratio=0.0", "mask_ratio is 0.0"),
        ("label_shares=[0.01, 1.0]", r"A share of 0.01 of the labels .* none of them of"),
        ("label_shares=[10]", "label_shares holds 10"),
        ("objectives=[MAE, SimCRL]", "objectives names 'SimCRL'.*SimCLR"),
        ("encoder=conv_vit_nanno", "conv_vit_nano"),
        ("contrast_weight=-1.0", "lambda"),
        ("pretrained_from=no/such/run", "There is no checkpoint at no/such/run/mae/model"),
        ("ludb=/no/such/ludb", "/no/such/ludb.*no folder"),
        ("further_tasks=[rythm]", "rhythm"),
    ],
)
def test_bad_input_is_one_sentence_before_training_starts(tmp_path, parameter, said):
    done = run(tmp_path / "bad", "-p", parameter)
    assert done.returncode == 2, done.stdout + done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert re.search(said, last[0]), last[0]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "bad").glob("checkpoints/*/*.safetensors"))


def test_sites_and_leads_that_do_not_meet_are_refused_before_training(tmp_path):
    from ecglib import cohort

    table = pd.DataFrame(
        {"record": list("abcd"), "patient": list("abcd"), "fold": [1, 1, 9, 10], "age": np.nan, "sex": None,
         "statements": [["X"], ["X"], ["X"], ["X"]]}
    )  # fmt: skip
    counts = np.random.default_rng(0).integers(-500, 500, (4, 1, 1000)).astype(np.int16)
    common = {"name": "elsewhere", "rate": 100, "scale": 0.001, "label_sets": {"superclass": {"X": "OTHER"}}}
    cohort.write(tmp_path / "site", counts.repeat(12, axis=1), table, leads=parts()["train"].leads, **common)
    done = run(tmp_path / "bad", "-p", f"second_site={tmp_path / 'site'}")
    assert (done.returncode, "none of which is among CD, HYP, MI, NORM, STTC" in done.stderr) == (2, True), done.stderr
    cohort.write(tmp_path / "vcg", counts, table, leads=["VX"], **common)
    done = run(tmp_path / "worse", "-p", f"pretrain_on=[{tmp_path / 'vcg'}]")
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"^error: .*lead", done.stderr, re.MULTILINE), done.stderr
