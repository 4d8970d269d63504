"""A crate holds the run and says what made it; it is the same each time, whole, and takes nothing from elsewhere."""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from rocrate.rocrate import ROCrate
from rocrate.vocabs import RO_CRATE
from where import REPO

from ecglib import crate, provenance, verify
from ecglib.errors import InputError

RECORD = {
    "format": 1,
    "notebook": {"name": "lead_kd", "path": "notebooks/lead_kd.ipynb", "sha256": "ab" * 32},
    "preset": "mine",
    "parameters": {
        "data": {"value": "../ptb-xl", "source": "command line", "notebook": "synthetic", "meaning": "where they lie"},
        "seeds": {"value": [0, 1], "source": "preset", "notebook": [0], "meaning": "of all that is drawn"},
        "rate": {"value": 100, "source": "notebook", "notebook": 100, "meaning": "Hz"},
        "quick": {"value": True, "source": "notebook", "notebook": True, "meaning": "no"},
        "weights": {"value": None, "source": "notebook", "notebook": None, "meaning": "none"},
        "out": {"value": "reports/lead_kd/mine", "source": "runner", "notebook": "x", "meaning": "where it goes"},
    },
    "git": {"commit": "c" * 40, "dirty": []},
    "environment": {"python": "3.11.7", "platform": "Linux x86_64", "packages": {"torch": "2.15.0"}, "cpu": "A CPU"},
    "command": "python -m ecglib.run lead_kd --preset mine -p data=../ptb-xl",
    "started": "2026-11-21T09:20:08+00:00",
    "status": "complete",
    "ended": "2026-11-21T09:41:39+00:00",
    "duration_s": 1291.0,
    "checks": [{"name": "No absolute path", "ok": False, "text": "seen: /home/me/data"}],
}
DATA = {
    "name": "ptb-xl",
    "records": 1234,
    "fingerprint": "f" * 64,
    "source": "PTB-XL, https://physionet.org/content/ptb-xl/",
    "source_version": "1.0.3",
    "citation": "Wagner P and others. Scientific Data 7, 154 (2020). https://doi.org/10.1038/s41597-020-0495-6",
    "licence": "Creative Commons Attribution 4.0 International (CC BY 4.0)",
    "notes": ["Ages over 89 are 90."],
}
ROW = dict(model="m", protocol="p", data="ptb-xl", split="test", metric="auc", value=0.8, low=0.7, high=0.9)


@pytest.fixture
def finished(tmp_path):
    """A run's folder as the runner leaves it, with things in it that are no part of a run."""
    folder = tmp_path / "reports/lead_kd/mine"
    bare = {**DATA, "role": "more", "name": "own", "fingerprint": "0" * 64, "citation": "", "licence": "", "notes": []}
    texts = {
        "run.json": json.dumps(RECORD),
        "data.json": json.dumps([{"role": "data", **DATA}, {"role": "again", **DATA}, bare]),
        "metrics.json": json.dumps([ROW | {"class": "macro", "seed": None, "n": 9}]),
        "report.html": "<!doctype html><title>t</title><h1>Grüße</h1>",
        "executed.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        "history.csv": "epoch\n1\n",
        "predictions.parquet": "PAR1",
        "model/BCE+MKD, élève/model.safetensors": "weights",
        "model/BCE+MKD, élève/model.json": "{}",
        "tables/metrics.csv": "a,b\n1,2\n",
        "tables/comparison_1.tex": "\\begin{table}",
        "started.json": json.dumps({"notebook": RECORD["notebook"], "started": RECORD["started"]}),
        "notes.txt": "mine",
        "checkpoints/teacher/state": "half",
        ".lock": "",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def change(folder, **given):
    (folder / "run.json").write_text(json.dumps(RECORD | given))


def graph(folder):
    return {entity["@id"]: entity for entity in json.loads((folder / crate.METADATA).read_text())["@graph"]}


def references(value):
    if isinstance(value, dict):
        yield from [value["@id"]] if "@id" in value else []
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_whole(folder):
    """The crate's metadata is JSON-LD as RO-Crate wants it, and every file is there as it says."""
    written = json.loads((folder / crate.METADATA).read_text())
    assert set(written) == {"@context", "@graph"}
    assert written["@context"] == ["https://w3id.org/ro/crate/1.1/context", crate.TERMS]
    entities = graph(folder)
    assert len(entities) == len(written["@graph"])
    known = set(RO_CRATE["@context"]) | {"@id", "@type"}
    for entity in entities.values():
        assert set(entity) <= known
        kinds = entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]
        assert set(kinds) <= known
        for value in entity.values():
            assert value not in (None, "", [], {})
            for name in references(value):
                assert name in entities or name.startswith(("http://schema.org/", "https://w3id.org/ro/crate/")), name
    descriptor = entities[crate.METADATA]
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert {"name", "description", "datePublished", "license", "conformsTo", "hasPart", "mentions"} <= set(root)
    listed = {part["@id"] for part in root["hasPart"]}
    assert listed == {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert files_of(folder) == {unquote(name) for name in listed} | {crate.METADATA}
    for name in listed:
        content = (folder / unquote(name)).read_bytes()
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[name]["contentSize"] == str(len(content))
        assert {"encodingFormat", "description", "name"} <= set(entities[name])
    text = (folder / crate.METADATA).read_text()
    assert provenance.absolute_paths([text]) == []


def test_a_folder_holds_the_run_and_what_made_it(finished, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("looked something up")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    to = crate.export(finished, tmp_path / "crate", "CC-BY-4.0")
    assert_whole(to)
    model = "model/BCE+MKD, élève/model"
    run_files = {"report.html", "run.json", "data.json", "metrics.json", "executed.ipynb", "history.csv"}
    run_files |= {"predictions.parquet", f"{model}.safetensors", f"{model}.json", "tables/metrics.csv"}
    run_files.add("tables/comparison_1.tex")
    assert files_of(to) == run_files | {crate.METADATA}
    for name in run_files:
        assert (to / name).read_bytes() == (finished / name).read_bytes()

    entities = graph(to)
    root = entities["./"]
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert root["datePublished"] == RECORD["ended"]
    (action,) = (entities[each["@id"]] for each in root["mentions"])
    assert action["@type"] == "CreateAction"
    assert (action["startTime"], action["endTime"]) == (RECORD["started"], RECORD["ended"])
    assert action["description"] == RECORD["command"]
    assert {unquote(each["@id"]) for each in action["result"]} == run_files
    assert "agent" not in action
    notebook = entities[action["instrument"]["@id"]]
    assert "SoftwareSourceCode" in notebook["@type"]
    assert notebook["name"] == "notebooks/lead_kd.ipynb"
    assert notebook["version"] == "c" * 40
    assert "ab" * 32 in notebook["description"]
    assert entities[notebook["programmingLanguage"]["@id"]]["version"] == "3.11.7"
    assert [entities[each["@id"]]["softwareVersion"] for each in notebook["softwareRequirements"]] == ["2.15.0"]

    inputs = [entities[each["@id"]] for each in action["object"]]
    values = {each["name"]: each["value"] for each in inputs if each["@type"] == "PropertyValue"}
    assert values == {"data": "../ptb-xl", "seeds": "[0, 1]", "rate": 100, "quick": True, "weights": "null"}
    assert entities["#parameter-rate"]["description"] == "Hz (set by: notebook)"
    data, own = (each for each in inputs if each["@type"] == "Dataset")
    assert data["identifier"] == f"fingerprint {'f' * 64}"
    assert data["description"].startswith("Records used: data: 1,234; again: 1,234. Ages over 89 are 90. From PTB-XL")
    assert data["citation"] == {"@id": "https://doi.org/10.1038/s41597-020-0495-6"}
    assert entities[data["citation"]["@id"]]["name"] == DATA["citation"]
    assert entities[data["license"]["@id"]]["name"] == DATA["licence"]
    assert not {"citation", "license"} & set(own)


def test_rocrate_reads_it_back(finished, tmp_path):
    for name in ("crate", "crate.zip"):
        read = ROCrate(crate.export(finished, tmp_path / name))
        assert read.root_dataset["name"] == "ECG notebook lead_kd, preset mine, run of 2026-11-21"
        assert len(read.data_entities) == 11
        assert read.get("report.html")["encodingFormat"] == "text/html"
        (action,) = read.root_dataset["mentions"]
        assert action["instrument"]["programmingLanguage"]["name"] == "Python"
        assert [each["name"] for each in action["object"]][:2] == ["ptb-xl", "own"]


def test_an_archive_has_the_same_bytes_each_time_and_place(finished, tmp_path):
    one = crate.export(finished, tmp_path / "one.zip")
    moved = Path(shutil.copytree(finished, tmp_path / "elsewhere" / "under another name"))
    for path in moved.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (moved / "report.html").chmod(0o600)
    two = crate.export(moved, tmp_path / "new folder" / "two.ZIP")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert {member.date_time for member in archive.infolist()} == {crate.EPOCH}
        assert not [name for name in archive.namelist() if name.startswith(("/", "..")) or "\\" in name]
        archive.extractall(tmp_path / "unpacked")
    assert_whole(tmp_path / "unpacked")
    folder = crate.export(finished, tmp_path / "folder")
    assert (folder / crate.METADATA).read_bytes() == (tmp_path / "unpacked" / crate.METADATA).read_bytes()
    (finished / "history.csv").write_text("epoch\n2\n")
    assert crate.export(finished, tmp_path / "three.zip").read_bytes() != one.read_bytes()


def test_an_unpacked_crate_is_a_run_again(finished, tmp_path):
    with zipfile.ZipFile(crate.export(finished, tmp_path / "crate.zip")) as archive:
        archive.extractall(tmp_path / "unpacked")
    change(finished, parameters=RECORD["parameters"])
    environment = RECORD["environment"]
    assert verify.open_report(tmp_path / "unpacked").record["environment"] == environment


def test_a_licence_is_an_spdx_name_or_an_address_or_open(finished, tmp_path):
    address = "https://example.org/licence"
    entities = graph(crate.export(finished, tmp_path / "one", address))
    assert entities["./"]["license"] == {"@id": address}
    entities = graph(crate.export(finished, tmp_path / "two"))
    assert entities[entities["./"]["license"]["@id"]]["name"] == "No licence stated"
    with pytest.raises(InputError, match=r"is neither an SPDX name such as CC-BY-4\.0 nor an address"):
        crate.export(finished, tmp_path / "three", "do as you like")
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("spoil", "to", "said"),
    [
        (lambda run: change(run, status="failed"), "x.zip", "its run is failed; only a complete run becomes a crate"),
        (lambda run: (run / "run.json").unlink(), "x.zip", "its run is unfinished"),
        (lambda run: shutil.rmtree(run), "x.zip", "holds no run"),
        (lambda run: (run / "metrics.json").unlink(), "x", "holds no metrics.json"),
        (lambda run: (run / "metrics.json").write_text('[{"a": 1}]'), "x", "row 0 lacks or adds a, class"),
        (lambda run: (run / "metrics.json").write_text("[{"), "x", "not readable as JSON"),
        (lambda run: (run / "data.json").write_text('{"a": 1}'), "x", "data.json: it is not as the runner"),
        (lambda run: (run / "run.json").write_text("5"), "x", "run.json: it is not as the runner writes it"),
        (lambda run: change(run, parameters=[]), "x", "it is not as the runner writes it (parameters)"),
        (lambda run: change(run, notebook={}), "x", "it is not as the runner writes it (notebook)"),
        (lambda run: None, "reports/lead_kd/mine/x.zip", "lies in the run's own folder"),
        (lambda run: None, "reports/lead_kd", "is there already"),
        (lambda run: (run.parents[2] / "x.zip").write_text("other"), "x.zip", "is there already"),
        (lambda run: (run.parents[2] / "x.zip").mkdir(), "x.zip", "is there already"),
        (lambda run: None, "reports/lead_kd/mine/notes.txt/x.zip", "lies in the run's own folder"),
        (lambda run: (run.parents[2] / "file").touch(), "file/x.zip", "cannot be written to"),
    ],
)
def test_what_is_no_complete_run_or_no_place_is_refused(finished, tmp_path, capsys, spoil, to, said):
    spoil(finished)
    before = sorted(tmp_path.rglob("*"))
    assert crate.main([str(finished), "--to", str(tmp_path / to)]) == 2
    seen = capsys.readouterr()
    assert seen.err.startswith("error: ")
    assert said in seen.err
    assert len(seen.err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["history.csv", "model/BCE+MKD, élève/model.json", "model/linked", "model", "tables"])
def test_a_link_out_of_the_folder_is_refused(finished, tmp_path, name):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    if name in ("model", "tables"):
        shutil.rmtree(finished / name)
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(secret / "key" if "." in name else secret)
    with pytest.raises(InputError, match="is a link; a crate takes nothing from outside the run's folder"):
        crate.export(finished, tmp_path / "crate.zip")
    assert not (tmp_path / "crate.zip").exists()


def test_nothing_is_left_of_an_export_that_breaks(finished, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="the disk is full"):
        crate.export(finished, tmp_path / "crate.zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_where_it_is_and_what_to_look_at(finished, tmp_path, capsys):
    assert crate.main([str(finished), "--to", str(tmp_path / "a.zip"), "--licence", "CC0-1.0"]) == 0
    seen = capsys.readouterr()
    assert seen.out == f"{tmp_path / 'a.zip'}\n"
    assert seen.err == "note: No absolute path: seen: /home/me/data\n"


@pytest.mark.parametrize("place", sorted((REPO / "reports/gallery").glob("*/run.json")), ids=lambda p: p.parent.name)
def test_the_gallery_becomes_crates(place):
    with tempfile.TemporaryDirectory() as folder:  # not among our own pages: these reports are as old as they are
        to = crate.export(place.parent, Path(folder) / "crate")
        assert_whole(to)
        assert {"report.html", "report.png", "run.json"} <= files_of(to)
        assert re.search(r'"@id": "https://doi.org/10\.\d+/', (to / crate.METADATA).read_text())
