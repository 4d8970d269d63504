"""A repository of one notebook, and a run of it on record; then one thing at a time is changed."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from ecglib import atomic, parameters, provenance, results, staleness

CELL = (
    'rate: int = 100  # Hz\nseed: int = 0  # of all\ncache: str = "cache"  # built there\nout: str = "x"  # results\n'
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.lock").write_text(f"numpy=={metadata.version('numpy')} \\\n    --hash=sha256:0\n")
    for name in ("ecglib/losses", "notebooks", "params/tiny"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ecglib" / "training.py").write_text("epochs = 1\n")
    (tmp_path / "ecglib" / "losses" / "mkd.py").write_text("alpha = 1\n")
    (tmp_path / "ecglib" / "other.py").write_text("never = 'loaded'\n")
    (tmp_path / "params" / "tiny" / "demo.yaml").write_text("rate: 250  # finer\n")
    cells = [v4.new_markdown_cell("# Tiny"), v4.new_code_cell(CELL, metadata={"tags": ["parameters"]})]
    nbformat.write(v4.new_notebook(cells=[*cells, v4.new_code_cell("1 + 1")]), tmp_path / "notebooks" / "tiny.ipynb")
    for place in ("cache/x", "own"):
        atomic.write_json(tmp_path / place / "cohort.json", {"fingerprint": "ab12"})
    return tmp_path


@pytest.fixture
def record(root: Path) -> dict[str, Any]:
    notebook = root / "notebooks" / "tiny.ipynb"
    used = ("ecglib/training.py", "ecglib/losses/mkd.py")
    entry = {"source": "notebook", "notebook": 0, "meaning": ""}
    return {
        "status": "complete",
        "notebook": {
            "name": "tiny",
            "path": "notebooks/tiny.ipynb",
            "sha256": provenance.sha256(notebook),
            "cells": provenance.cells_digest(notebook),
        },
        "preset": "demo",
        "parameters": {
            "rate": {**entry, "value": 250, "source": "preset"},
            "seed": {**entry, "value": 7, "source": "command line"},
            "cache": {**entry, "value": "cache"},
            "out": {**entry, "value": "reports/tiny/demo", "source": "runner"},
        },
        "sources": {name: digest for name, digest in provenance.sources(root).items() if name in used},
        "git": {"commit": None, "dirty": []},
        "environment": {
            "python": platform.python_version(),
            "imported": {"numpy": metadata.version("numpy")},
            "lock": provenance.sha256(root / "requirements.lock"),
        },
        "started": "2026-01-01T10:00:00+00:00",
    }


def reasons(root: Path, record: dict[str, Any], data: Any = ()) -> list[str]:
    folder = root / "reports" / "tiny" / "demo"
    atomic.write_json(folder / "data.json", list(data))
    atomic.write_json(folder / "run.json", record)
    return staleness.reasons(results.read(folder), root)


def test_nothing_has_changed(root: Path, record: dict[str, Any]) -> None:
    data = [{"name": "x", "fingerprint": "ab12", "path": place} for place in ("cache/x", "own")]
    assert reasons(root, record, [*data, {"name": "older", "fingerprint": "cd34"}]) == []


def rewrite(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("notebooks/tiny.ipynb", "1 + 1", "1 + 2", ["The notebook tiny.ipynb has changed."]),
        ("notebooks/tiny.ipynb", '"outputs": []', '"outputs": [ ]', []),  # as a save in JupyterLab may do
        ("ecglib/training.py", "1", "2", ["The code has changed: ecglib/training.py."]),
        ("ecglib/losses/mkd.py", "1", "2", ["The code has changed: ecglib/losses/mkd.py."]),
        ("ecglib/other.py", "loaded", "in", []),
        ("params/tiny/demo.yaml", "250", "500", ["Parameters have changed: rate is 500 now, was 250."]),
        ("params/tiny/demo.yaml", "rate: 250", "seed: 1", ["Parameters have changed: rate is 100 now, was 250."]),
        ("params/tiny/demo.yaml", "rate", "rat", ["Its parameters can no longer be had: "]),
        ("own/cohort.json", "ab", "cd", ["The data mine at own have changed."]),
        ("cache/x/cohort.json", "ab", "cd", ["The data synthetic at cache/x have changed."]),
        ("requirements.lock", "==", "==0.", ["requirements.lock has changed, for numpy."]),
        ("requirements.lock", "sha256:0", "sha256:1", []),
    ],
)
def test_each_change_is_a_reason_of_its_own(
    root: Path, record: dict[str, Any], file: str, before: str, after: str, said: list[str]
) -> None:
    data = [
        {"name": "synthetic", "fingerprint": "ab12", "path": "cache/x"},
        {"name": "mine", "fingerprint": "ab12", "path": "own"},
    ]
    rewrite(root / file, before, after)
    found = reasons(root, record, data)
    assert len(found) == len(said)
    assert all(each.startswith(start) for each, start in zip(found, said, strict=True)), found


def test_what_is_gone(root: Path, record: dict[str, Any]) -> None:
    data = [{"name": "x", "fingerprint": "ab12", "path": place} for place in ("cache/x", "own")]
    for place in ("cache/x/cohort.json", "own/cohort.json", "ecglib/training.py", "params/tiny/demo.yaml"):
        (root / place).unlink()
    found = reasons(root, record, data)
    assert found == [
        "The code has changed: ecglib/training.py.",
        "Its parameters can no longer be had: --preset demo: there is no such preset in params/tiny.",
        "The data x are no longer at own.",  # one in the cache is built again
    ]
    (root / "notebooks" / "tiny.ipynb").unlink()
    assert reasons(root, record)[0] == "The notebook tiny.ipynb is gone."
    assert len(reasons(root, record)) == 2


def test_parameters_come_and_go(root: Path, record: dict[str, Any]) -> None:
    del record["parameters"]["seed"]
    record["parameters"]["width"] = {"value": 1, "source": "command line", "notebook": 2, "meaning": ""}
    assert reasons(root, record) == ["Parameters have changed: width is gone, seed is new."]


def test_the_environment(root: Path, record: dict[str, Any]) -> None:
    record["environment"] |= {"python": "3.1.0", "imported": {"numpy": "0.1", "no-such-package": "1"}}
    now = metadata.version("numpy")
    assert reasons(root, record) == [
        f"Python is {platform.python_version()}, was 3.1.0.",
        f"Packages have changed: numpy is {now}, was 0.1, no-such-package is not installed, was 1.",
    ]


def test_an_older_run_is_judged_by_its_commit(root: Path, record: dict[str, Any]) -> None:
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    del record["sources"], record["notebook"]["cells"]
    record["git"] = provenance.git_state(root)
    assert reasons(root, record) == []
    rewrite(root / "ecglib" / "other.py", "loaded", "in")  # what it had loaded is not known: any file counts
    commit = record["git"]["commit"][:12]
    assert reasons(root, record) == [f"The code has changed since commit {commit}: ecglib/other.py."]
    record["git"]["commit"] = "0" * 40
    assert reasons(root, record)[0].endswith("commit 000000000000 is not in this repository.")
    record["git"]["commit"] = None
    assert "without a commit" in reasons(root, record)[0]


def test_a_run_without_a_result_has_none_to_doubt(root: Path, record: dict[str, Any]) -> None:
    rewrite(root / "ecglib" / "training.py", "1", "2")
    folder = root / "reports" / "tiny" / "killed"
    del record["status"]
    atomic.write_json(folder / "started.json", record)
    assert staleness.reasons(results.read(folder), root) == []


def test_one_look_serves_many_runs(root: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    read = parameters.read_schema
    monkeypatch.setattr(parameters, "read_schema", lambda *a, **k: looked.append(a[0]) or read(*a, **k))
    assert reasons(root, record) == []
    today, looked[:] = staleness.Today(root), []
    run = results.read(root / "reports" / "tiny" / "demo")
    assert [today.reasons(run) for _ in range(5)] == [[]] * 5
    assert len(looked) == 1


def test_long_lists_are_cut() -> None:
    assert staleness._some([*"abcdef"]) == "a, b, c, d and 2 more"
    assert staleness._some(["a"]) == "a"
