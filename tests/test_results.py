from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecglib import atomic, provenance, results
from ecglib.cohort_info import NOMINAL, CohortInfo
from ecglib.errors import InputError

ROW = {
    "model": "teacher",
    "protocol": "supervised",
    "data": "synthetic",
    "split": "test",
    "metric": "auc",
    "class": "macro",
    "value": 0.9,
    "low": 0.88,
    "high": 0.92,
    "seed": None,
    "n": 253,
}


@dataclass(frozen=True)
class Info:
    name: str = "synthetic"
    fingerprint: str = "ab12"
    leads: tuple[str, ...] = ("I", "II")
    licence: str = "CC0"
    private: str = "not part of the record"


class Cohort:
    def __init__(self, **changed: Any) -> None:
        self.info = Info(**changed)

    def __len__(self) -> int:
        return 7


STARTED = {"notebook": {"name": "demo"}, "started": "2026-01-01T10:00:00+00:00"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def test_root_is_found_from_below_and_missed_from_outside(repository: Path, tmp_path_factory: Any) -> None:
    assert results.root() == repository
    assert results.root(repository / "notebooks") == repository
    with pytest.raises(InputError, match="holds a pyproject"):
        results.root(tmp_path_factory.mktemp("outside"))


def test_data_are_on_record_under_their_title(repository: Path) -> None:
    cohort = Cohort()
    given = {"rate": 100, "leads": ("I",), "length": 9, "scale": 0.001, "records": 7, "patients": 7}
    cohort.info = CohortInfo(name="ptb-xl", fingerprint="ab", notes=("One left out.", f"{NOMINAL}: scaled."), **given)
    run = results.Run("reports/demo/a")
    run.data(cohort)
    (entry,) = json.loads((run.path / "data.json").read_text())
    assert entry["name"] == "ptb-xl, nominal voltages"
    assert entry["notes"] == ["One left out.", "Voltages are nominal: scaled."]
    assert CohortInfo(name="ptb-xl", **given).title == "ptb-xl"


def test_what_a_run_writes_is_read_back(repository: Path) -> None:
    run = results.Run("reports/demo/a")
    assert run.path == repository / "reports/demo/a"
    run.data(Cohort(), "student", train=5, test=2)
    run.data(Cohort(name="other", fingerprint="cd34"), "teacher")
    run.metrics([ROW | {"value": np.float32(0.5), "low": np.nan, "high": float("nan"), "seed": np.int64(3)}])
    run.predictions(pd.DataFrame({"record": ["a", "b"], "p": [0.1, 0.2]}))
    run.history(pd.DataFrame({"epoch": [1], "loss": [1 / 3]}))
    atomic.write_json(run.path / "run.json", {**STARTED, "status": "complete", "parameters": {}})

    read = results.read(run.path)
    assert (read.status, read.notebook) == ("complete", "demo")
    assert list(read.metrics.columns) == list(results.METRIC_KEYS)
    assert read.rows[0]["value"] == 0.5
    assert (read.rows[0]["low"], read.rows[0]["seed"]) == (None, 3)
    assert read.predictions["record"].tolist() == ["a", "b"]
    assert read.history["loss"][0] == 1 / 3  # every digit survives the CSV
    assert [(entry["role"], entry["fingerprint"]) for entry in read.data] == [("student", "ab12"), ("teacher", "cd34")]
    assert read.data[0]["counts"] == {"train": 5, "test": 2}
    assert (read.data[0]["records"], read.data[0]["leads"], read.data[0]["licence"]) == (7, ["I", "II"], "CC0")
    assert "private" not in read.data[0]
    assert not list(run.path.glob(".*"))


def test_metrics_come_as_a_table_too(repository: Path) -> None:
    run = results.Run("out")
    run.metrics(pd.DataFrame([ROW, ROW | {"low": None, "high": None, "n": 3}]))
    rows = json.loads((run.path / "metrics.json").read_text())
    assert rows[0] == ROW
    assert rows[1]["low"] is None
    run.metrics([])
    assert json.loads((run.path / "metrics.json").read_text()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "high"}, "value is 'high'"),
        ({"value": float("inf")}, "value is inf"),
        ({"value": True}, "value is True"),
        ({"low": 0.95}, "interval"),
        ({"low": None}, "interval"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"class": None}, "class is None"),
        ({"extra": 1}, "lacks or adds extra"),
    ],
)
def test_a_row_of_another_shape_is_refused_and_nothing_written(repository: Path, change: Any, message: str) -> None:
    run = results.Run("out")
    with pytest.raises(ValueError, match=message):
        run.metrics([ROW, ROW | change])
    assert not (run.path / "metrics.json").exists()


@pytest.mark.parametrize("rows", [{}, None, [1], "x"])
def test_metrics_that_are_no_list_of_rows(rows: Any) -> None:
    assert results.metric_faults(rows) == ["it is not a list of rows"]


def test_cohort_without_fingerprint_is_refused(repository: Path) -> None:
    with pytest.raises(InputError, match="synthetic: has no fingerprint"):
        results.Run("out").data(Cohort(fingerprint=""))


def test_model_is_saved_whole_or_not_at_all(repository: Path) -> None:
    run = results.Run("out")

    def save(text: str, fails: bool = False) -> Any:
        def into(path: Path) -> None:
            path.with_suffix(".safetensors").write_text(text)
            if fails:
                raise RuntimeError

        return SimpleNamespace(save=into)

    path = run.model("student", save("first"))
    with pytest.raises(RuntimeError):
        run.model("student", save("broken", fails=True))
    assert path.with_suffix(".safetensors").read_text() == "first"
    run.model("student", save("second"))
    assert path.with_suffix(".safetensors").read_text() == "second"
    assert [p.name for p in path.parent.parent.iterdir()] == ["student"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_sentence_and_the_old_file_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "metrics.json"
    atomic.write_json(path, [1])

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        atomic.write_json(path, [2])
    assert json.loads(path.read_text()) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_checkpoints_survive_until_the_end(repository: Path) -> None:
    run = results.Run("out")
    (run.checkpoint("teacher") / "epoch").touch()
    run = results.Run("out")
    assert (run.checkpoint("teacher") / "epoch").exists()
    run.finish()
    assert not (run.path / "checkpoints").exists()
    seen = json.loads((run.path / "environment.json").read_text())
    assert seen["peak_mib"] > 5
    assert seen["device"]


def test_clear_takes_what_is_ours_and_leaves_the_rest(repository: Path) -> None:
    run = results.Run("out")
    run.checkpoint("teacher")
    for name in ("run.json", "report.html", "metrics.json", ".metrics.json.1.tmp", "notes.txt"):
        (run.path / name).touch()
    results.clear(run.path, checkpoints=False)
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoints", "notes.txt"]
    results.clear(run.path, checkpoints=True)
    assert [p.name for p in run.path.iterdir()] == ["notes.txt"]


def test_runs_are_read_newest_first_with_their_status(repository: Path) -> None:
    reports = repository / "reports"
    for name, file, day, more in (("a", "run.json", 1, {"status": "complete"}), ("b", "started.json", 2, {})):
        started = f"2026-01-0{day}T10:00:00+00:00"
        atomic.write_json(reports / "demo" / name / file, {"notebook": {"name": "demo"}, "started": started, **more})
    found = [(run.path.name, run.status) for run in results.runs(reports)]
    assert found == [("b", "unfinished"), ("a", "complete")]


def test_the_place_of_a_cohort_is_on_record_as_seen_from_the_root(repository: Path) -> None:
    cohort = Cohort()
    cohort.path = repository / "cache" / "x"
    run = results.Run("reports/demo/a")
    run.data(cohort)
    assert json.loads((run.path / "data.json").read_text())[0]["path"] == "cache/x"


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        results.read(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        results.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /home/alice/ptb-xl/x.csv.", ["/home/alice/ptb-xl/x.csv."]),
        ("from ../shared/data/x and reports/a/b", []),
        ("https://doi.org/10.1038/s41597 and/or 25 mm/s/mV", []),
        ("<td>1</td></tr> /5/6 C:\\Users\\bob", ["C:\\Users\\bob"]),
        ("'/usr/lib/x'", ["/usr/lib/x"]),
        ("/nosuchfolder/x", []),
    ],
)
def test_absolute_paths_are_told_from_what_looks_like_them(text: str, found: list[str]) -> None:
    assert provenance.absolute_paths([text]) == found


def test_paths_on_this_machine_are_made_relative(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    root = tmp_path / "repo"
    assert provenance.portable(str(tmp_path / "data"), root) == "../data"
    assert provenance.portable("/no/such/thing", root) == "/no/such/thing"
    assert provenance.portable("synthetic", root) == "synthetic"


def test_git_state_names_what_is_not_committed(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == {"commit": None, "dirty": []}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    import subprocess

    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "ä b.yaml").write_text("a: 1\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    state = provenance.git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] == []
    (tmp_path / "params" / "ä b.yaml").write_text("a: 2\n")
    (tmp_path / "params" / "new.yaml").touch()
    (tmp_path / "notes.txt").touch()  # of no account
    assert provenance.git_state(tmp_path)["dirty"] == ["params/new.yaml", "params/ä b.yaml"]
