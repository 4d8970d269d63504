"""The notebook that reads one ECG: with a network of its own, with saved ones, and given what it cannot read."""

import json
from functools import partial

import numpy as np
import pytest
import runs
import torch
from PIL import Image

from ecglib import reading, results
from ecglib.leads import LEADS
from ecglib.methods.page_view import PageView
from ecglib.methods.view import View
from ecglib.page import PageRenderer
from ecglib.signals import Standardise

CLASSES = ["CD", "HYP", "MI", "NORM", "STTC"]


run = partial(runs.quick, "read_one_ecg")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("read_one_ecg") / "smoke"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def page_model(tmp_path):
    torch.manual_seed(0)
    PageView("resnet18", classes=CLASSES, size=(112, 144), width=0.125).save(tmp_path / "pages" / "model")
    return tmp_path / "pages"


def test_the_run_is_whole_and_warns_before_anything_else(smoke):
    record = results.read(smoke)
    assert record.status == "complete"
    page = (smoke / "report.html").read_text()
    assert page.index("Not a medical device") < page.index("<img")  # what was run stands above, what came out below
    assert len(page) < 3_000_000


def test_each_class_has_a_calibrated_probability_in_its_interval(smoke):
    rows = results.read(smoke).metrics.set_index("class")
    assert set(rows.index) == set(CLASSES)
    assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()
    assert rows["value"].between(0, 1).all()
    assert set(rows["n"]) == {int(rows["n"].iloc[0])}


def test_the_same_run_again_has_the_same_numbers(smoke, tmp_path):
    assert run(tmp_path / "again").returncode == 0
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (smoke, tmp_path / "again"))
    assert first == second


def test_it_shows_the_record_the_nearest_one_and_the_evidence(smoke):
    cells = json.loads((smoke / "executed.ipynb").read_text())["cells"]
    about = [
        output["metadata"]["image/png"]["alt"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(about) == 4
    assert about[0].startswith("The ECG that is read, synthetic record 0")
    assert about[2].startswith("The most similar training record, syn")
    assert about[3].startswith("The ECG with the places marked")


def test_a_page_is_read_by_a_network_of_pages_and_by_no_other(page_model, tmp_path):
    ecg = reading.open_ecg("synthetic", rate=100)
    sheet = PageRenderer(rate=100, leads=LEADS, size=(425, 550), dtype=torch.uint8)(torch.from_numpy(ecg.signal[None]))
    Image.fromarray(sheet[0].permute(1, 2, 0).numpy()).save(tmp_path / "scan.png")
    done = run(tmp_path / "out", f"record={tmp_path / 'scan.png'}", f"model={page_model}", "records=200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warm: where the evidence stands" in (tmp_path / "out" / "report.html").read_text()

    View("xresnet1d18", classes=CLASSES, leads=LEADS, rate=100, standardise=Standardise("record"), width=0.125).save(
        tmp_path / "signals" / "model"
    )
    done = run(tmp_path / "other", f"record={tmp_path / 'scan.png'}", f"model={tmp_path / 'signals'}")
    assert done.returncode == 2
    assert "is a page, and the model reads signals" in done.stderr


def test_a_network_of_other_classes_needs_its_own_reference(tmp_path):
    View(
        "xresnet1d18", classes=["AF", "SR"], leads=["I"], rate=100, standardise=Standardise("record"), width=0.125
    ).save(tmp_path / "model")
    done = run(tmp_path / "out", f"model={tmp_path}")
    assert done.returncode == 2
    assert "lacks the network's classes AF, SR" in done.stderr
    assert np.all([not (tmp_path / "out" / name).exists() for name in ("metrics.json", "model")])
