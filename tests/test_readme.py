"""Every command and every line of Python in the README and in docs/ does what it says."""

import shlex
import subprocess

import commands
import numpy as np
import pytest
import torch
from where import REPO

from ecglib import embed
from ecglib.methods.encoder import Encoder
from ecglib.methods.lead_kd import View
from ecglib.signals import Standardise

README = REPO / "README.md"
SNIPPETS = [snippet for page in commands.PAGES for snippet in commands.blocks(page, "python")]
EVERY = [(page, command) for page in commands.PAGES for command in commands.of(page)]


def test_the_commands_are_found():
    there = commands.of(README)
    assert len([c for c in there if c.startswith("make ")]) >= 5
    assert len([c for c in there if "ecglib.run" in c]) >= 3
    assert {"data_sets", "lead_kd", "foundation_ssl"} <= {page.stem for page, _ in EVERY}


@pytest.mark.parametrize(("page", "command"), EVERY, ids=[f"{page.stem}: {command}" for page, command in EVERY])
def test_a_command_is_understood(page, command):
    commands.understood(command)


def test_a_command_that_is_not_understood_is_noticed():
    for wrong in (
        ".venv/bin/python -m ecglib.run lead_kd --presett demo",
        ".venv/bin/python -m ecglib.report --fresh",
        ".venv/bin/python -m ecglib.datasets.records a.edf --hertz 500",
        ".venv/bin/python -m ecglib.nothing",
        "make repport",
    ):
        with pytest.raises((AssertionError, KeyError, SystemExit)):
            commands.understood(wrong)


def test_make_report_takes_the_notebook_and_the_data():
    command = "make report NOTEBOOK=lead_kd PRESET=ptb_xl DATA=/path/to/ptb-xl"
    assert command in commands.of(README)
    done = subprocess.run([*command.split(), "--dry-run"], cwd=REPO, capture_output=True, text=True)
    assert 'ecglib.run lead_kd --preset ptb_xl -p "data=/path/to/ptb-xl"' in done.stdout


def test_a_model_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, capsys):
    command = next(c for _, c in EVERY if "ecglib.embed" in c)
    monkeypatch.chdir(tmp_path)
    assert embed.main(shlex.split(command)[3:]) == 2
    assert "There is no checkpoint at reports/foundation_ssl/demo/model/hybrid/model" in capsys.readouterr().err


@pytest.mark.parametrize("notebook", sorted(path.stem for path in (REPO / "notebooks").glob("*.ipynb")))
def test_every_notebook_has_its_page_and_its_presets_stand_there(notebook):
    page = (REPO / "docs" / "notebooks" / f"{notebook}.md").read_text()
    assert f"docs/notebooks/{notebook}.md" in README.read_text()
    for preset in (REPO / "params" / notebook).glob("*.yaml"):
        assert f"| `{preset.stem}` |" in page


def test_ptb_xl_in_three_lines(shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippet = next(s for s in SNIPPETS if "datasets.load" in s)
    space: dict = {}
    exec(snippet.replace("/path/to/ptb-xl", str(shared_data / "ptb-xl-nominal")), space)
    assert space["batch"].signal.shape == (64, 12, 1000)
    assert space["batch"].label.shape == (64, 5)


def test_a_saved_student_in_three_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    student = View(
        "xresnet1d18", classes=["MI", "NORM"], leads=["I"], rate=100, standardise=Standardise("record"), width=0.125
    )
    student.save(tmp_path / "reports/lead_kd/demo/model/student_mvkt/model")
    snippet = next(s for s in SNIPPETS if "import View" in s)
    signal = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 12, 1000)).astype(np.float32))
    space = {"signal": signal}
    exec(snippet, space)
    assert space["logits"].shape == (3, 2)


def test_an_encoder_in_three_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    encoder = Encoder("conv_vit_nano", leads=leads, rate=100, standardise=Standardise("record"), window_s=2.56)
    encoder.save(tmp_path / "reports/foundation_ssl/demo/model/hybrid/model")
    signal = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 12, 1000)).astype(np.float32))
    space = {"signal": signal}
    exec(next(s for s in SNIPPETS if "Encoder.load" in s), space)
    assert space["vectors"].shape == (3, 96)


def test_a_scan_in_four_lines(tmp_path, monkeypatch):
    from PIL import Image

    from ecglib.methods.page_view import PageView
    from ecglib.page import PageRenderer

    monkeypatch.chdir(tmp_path)
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    signal = torch.from_numpy(np.random.default_rng(0).normal(scale=0.2, size=(1, 12, 1000)).astype(np.float32))
    sheet = PageRenderer(rate=100, leads=leads, size=(850, 1100), dtype=torch.uint8)(signal)[0]
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save("scan.png")
    PageView("resnet18", classes=["MI", "NORM"], size=(112, 144), width=0.125).save(
        tmp_path / "reports/image_kd/demo/model/vizecgnet/model"
    )
    space: dict = {}
    exec(next(s for s in SNIPPETS if "read_page" in s), space)
    assert space["logits"].shape == (1, 2)
