"""docs/own_data.md: its commands and snippets run as they stand, and each sentence in it is what is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
from record_files import beats, write_csv, write_dicom, write_edf, write_wfdb
from where import REPO

from ecglib import run
from ecglib.cohort import Cohort
from ecglib.datasets import __main__ as datasets_command
from ecglib.datasets import own
from ecglib.datasets.records import FORMATS
from ecglib.datasets.records.__main__ import main as records_command
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.plan import make_plan

TEXT = (REPO / "docs" / "own_data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\.venv/bin/python -m (.*)$", TEXT, re.MULTILINE)
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TABLE = re.search(r"```csv\n(.*?)```", TEXT, re.DOTALL)[1]
WRONG = TEXT.split("## What will go wrong")[1]
SENTENCES = [line.split("`")[1] for line in WRONG.splitlines() if line.startswith("| `")]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder and tables that the page speaks of, in the current folder."""
    monkeypatch.chdir(tmp_path)
    signals = [beats(k, seconds=12) for k in range(3)]
    write_edf(tmp_path / "my_ecgs" / "p001.edf", signals[0])
    write_dicom(tmp_path / "my_ecgs" / "p002.dcm", signals[1])
    write_csv(tmp_path / "my_ecgs" / "p003.csv", signals[2])
    (tmp_path / "labels.csv").write_text(TABLE)
    rows = ["file,patient,fold,diagnosis", "p001,17,1,IMI;AFIB", "p002,17,1,NORM", "p003,23,9,AMI"]
    (tmp_path / "diagnoses.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def build(words: list[str]) -> Cohort:
    """`build own` with the words after it."""
    assert datasets_command.main(["build", "own", *words]) == 0
    return Cohort.open(words[words.index("--to") + 1])


def test_there_are_five_recipes():
    assert re.findall(r"^## (\d)\.", TEXT, re.MULTILINE) == list("12345")
    assert len(COMMANDS) == 7
    assert len(SNIPPETS) == 2
    assert len(SENTENCES) == 13
    said = set(FORMATS) - {".dcm", ".dicom", ".csv", ".tsv", ".txt"}  # these by the names of their formats
    assert said <= set(re.findall(r"`(\.\w+)`", TEXT))


def test_the_files_are_read(place, capsys):
    (command,) = (shlex.split(line) for line in COMMANDS if line.startswith("ecglib.datasets.records"))
    assert records_command(command[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == command[1:]
    assert all("12 leads" in line and "12 s at 250 Hz" in line for line in lines)


def test_the_folders_are_built(place, capsys):
    commands = [shlex.split(line) for line in COMMANDS if line.startswith("ecglib.datasets ")]
    for words in commands:
        if words[1] == "build":
            assert words[2] == "own"
            build(words[3:])
        else:
            assert datasets_command.main(words[1:]) == 0
    assert (len(Cohort.open("cache/look")), Cohort.open("cache/look").info.label_sets) == (3, {})
    mine = Cohort.open("cache/mine")
    assert mine.labels("labels").tolist() == [[1, 0], [1, 1], [0, 1]]
    assert mine.records["patient"].tolist() == ["17", "17", "23"]
    assert mine.rate == 100
    assert "agree with the fingerprint" in capsys.readouterr().out


def test_the_snippets_run(place, capsys):
    space: dict = {}
    exec(SNIPPETS[0], space)
    assert space["cohort"].classes("superclass") == ("AF", "MI", "NORM")
    assert space["cohort"].labels("superclass").tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert space["cohort"].folds() == (1, 9)
    mv = np.stack([beats(k, seconds=10, rate=500) for k in range(4)])
    given = {"mv": mv, "patients": [1, 1, 2, 3], "has_mi": [0, 1, 1, 0], "has_af": [0, 0, 1, 0]}
    exec(SNIPPETS[1], given)
    assert (given["cohort"].rate, given["cohort"].length) == (100, 1000)
    assert given["cohort"].labels("labels").tolist() == [[0, 0], [0, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("ecglib.run")])
def test_the_runner_accepts(line, monkeypatch):
    monkeypatch.chdir(REPO)
    assert make_plan(run._options(shlex.split(line)[1:])).name in ("lead_kd", "foundation_ssl", "explore_cohort")


def _npy(folder):
    np.save(folder / "p004.npy", beats(4))


def _no_unit(folder):
    write_csv(folder / "p004.csv", beats(4), unit=None)


def _no_rate(folder):
    write_csv(folder / "p004.csv", beats(4), rate=None)


def _channels(folder):
    write_edf(folder / "p004.edf", beats(4)[:2], labels=["Ch1", "Ch2"])


def _pause(folder):
    lines = ["time (s),I (mV)", *(f"{k / 100:g},0.1" for k in [*range(500), *range(501, 1001)])]
    (folder / "p004.csv").write_text("\n".join(lines))


def _eleven(folder):
    write_csv(folder / "p004.csv", beats(4)[:11], leads=LEADS[:11])


def _pdf(folder):
    file = write_dicom(folder / "p004.dcm", beats(4))
    import pydicom

    data = pydicom.dcmread(file)
    del data.WaveformSequence
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    data.save_as(file)


def _struct(folder):
    scipy.io.savemat(folder / "p004.mat", {"s": {"data": beats(4)}})


def _table_inside(folder):
    (folder / "labels.csv").write_text(TABLE)


def _folds(folder):
    return {"table": pd.read_csv("labels.csv").assign(fold=[1, 9, 2])}


def _absent(folder):
    return {"table": pd.read_csv("labels.csv").replace("p003", "p999")}


def _empty_cell(folder):
    table = pd.read_csv("labels.csv").astype(object)
    table.loc[1, "AF"] = None
    return {"table": table, "labels": ["MI", "AF"]}


def _wrong_unit(folder):
    for file in folder.iterdir():
        file.unlink()
    write_csv(folder / "p001.csv", beats(4, seconds=12) / 1e6, places=9)


CAUSES = [
    _npy, _no_unit, _no_rate, _channels, _pause, _eleven, _pdf, _struct, _table_inside, _folds, _absent, _empty_cell,
    _wrong_unit,
]  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_what_goes_wrong_says_what_the_page_says(place, cause):
    folder = place / "my_ecgs"
    options = cause(folder) or {}
    table = options.get("table")
    if table is not None:  # as a file, as the page has it
        table.to_csv(place / "labels.csv", index=False)
        options["table"] = place / "labels.csv"
    with pytest.raises(InputError) as caught:
        own.build(folder, place / "c", rate=100, progress=False, **options)
    said = str(caught.value).replace(f"{folder}/", "").replace(f"{place}/", "")
    assert said == SENTENCES[CAUSES.index(cause)]
    assert not (place / "c").exists()


def test_the_remedies_help(place):
    folder = place / "my_ecgs"
    np.save(folder / "p004.npy", 1000 * beats(4, seconds=12))
    remedies = re.findall(r"\| `(--[^`]+)`", WRONG)
    leads = next(text for text in remedies if text.startswith("--record-leads I,"))
    rate = next(text for text in remedies if text.startswith("--record-rate")).replace("500", "250")
    unit = next(text for text in remedies if text.startswith("--unit"))
    words = [word for text in (leads, rate, unit) for word in shlex.split(text)]
    cohort = build(["my_ecgs", "--to", "c", *words])
    assert len(cohort) == 4
    write_edf(folder / "p005.edf", beats(4, seconds=12)[:2], labels=["Ch1", "Ch2"])
    write_wfdb(folder / "p006", beats(5, seconds=12))
    named = next(text for text in remedies if text.startswith("--record-leads Ch1"))
    (folder / "p004.npy").unlink()
    assert build(["my_ecgs", "--to", "d", *shlex.split(named), "--leads", "II,V1"]).leads == ("II", "V1")
    skip = next(text for text in remedies if text.startswith("--absent"))
    (folder / "p003.csv").unlink()
    assert len(build(["my_ecgs", "--to", "e", "--table", "labels.csv", *shlex.split(skip)])) == 2


def test_the_note_on_a_wrong_unit(place):
    write_csv(place / "my_ecgs" / "p004.csv", 30 * beats(4, seconds=12))
    notes = own.build(place / "my_ecgs", place / "c", rate=100, progress=False, bad="keep").info.notes
    said = re.search(r"\(`(1 record noted.*?)`\)", TEXT.replace("\n", " "))[1]
    assert said in notes
