"""Grids from their start to the list of all runs, by Snakemake on this machine, with a tiny notebook."""

from __future__ import annotations

import json
import re

import pytest
import toy_grid


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return toy_grid.make(tmp_path_factory.mktemp("grid") / "repository")


def outputs(root, run, notebook="toy"):
    """All that the executed notebook has printed."""
    cells = json.loads((root / "reports" / notebook / run / "executed.ipynb").read_text())["cells"]
    return "".join("".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", ()))


def test_a_bad_grid_ends_in_a_sentence_before_anything_starts(root):
    path = toy_grid.grid(root, "parameters:\n  wieght: [1]\n", name="bad")
    done = toy_grid.start(root, path)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if not line.startswith("Using ")] == [
        "error: workflow/grids/bad.yaml: toy has no parameter 'wieght'. Did you mean 'weight'?"
    ]
    assert not (root / "reports").exists()


@pytest.mark.timeout(1200)
def test_the_story_of_a_grid(root):
    """Failures keep what they left and stop nothing else; then only what is missing, then only what has changed."""
    limits = "limits: {smoke: {gpus: 1}}\n"
    path = toy_grid.grid(root, f"parameters:\n  fails: ['', flag, never]\n{limits}compare: {{draws: 7}}\n")
    good, late, never = "smoke+fails=", "smoke+fails=flag", "smoke+fails=never"

    first = toy_grid.start(root, path, "--retries", "1", config="gpus=71,72")
    assert first.returncode == 1
    assert "g: 1 of 3 runs done, 0 running, 2 failed, 0 to come" in first.stderr
    assert f"failed: reports/toy/{late}: RuntimeError: loss is NaN (reports/toy/{late}/report.html)" in first.stderr
    assert re.search(r"g: \d of 3 runs done, [12] running", first.stderr)
    assert re.fullmatch(r"threads 1 device 7[12]\n", outputs(root, good))
    assert "loss is NaN" in (root / "reports/toy" / late / "executed.ipynb").read_text()
    log = (root / "reports/grids/g/toy" / f"{late}.log").read_text()
    assert re.findall(r"attempt \d|exit status \d", log) == ["attempt 1", "exit status 1", "attempt 2", "exit status 1"]
    log = (root / "reports/grids/g/toy" / f"{never}.log").read_text()
    assert re.findall(r"attempt \d|exit status \d", log) == ["attempt 1", "exit status 2"]
    assert "bad input is not tried again: error: nowhere" in first.stderr
    assert not (root / "reports/compare_runs").exists()
    assert "loss is NaN" in (root / "reports/index.html").read_text()  # the list is made all the same

    # the value that cannot run is taken out, the other's cause is mended
    (root / "flag").touch()
    path = toy_grid.grid(root, f"parameters:\n  fails: ['', flag]\n{limits}compare: {{draws: 7}}\n")
    before = (root / "reports/toy" / good / "run.json").stat().st_mtime_ns
    second = toy_grid.start(root, path, config="gpus=71,72")
    assert second.returncode == 0, second.stderr
    assert "g: 2 of 2 runs done, 0 running, 0 failed, 0 to come; the comparison is done" in second.stderr
    assert (root / "reports/toy" / good / "run.json").stat().st_mtime_ns == before
    assert outputs(root, "grid-g", "compare_runs") == "read 2 runs\n"

    # nothing is left to do; with another preset, all is
    third = toy_grid.start(root, path, "--dry-run")
    assert third.returncode == 0
    assert "2 runs of toy; 0 to run" in third.stderr
    assert not re.search(r"^(run|compare) +\d", third.stderr, re.MULTILINE)
    (root / "params/toy/smoke.yaml").write_text("weight: 0.75  # larger\n")
    fourth = toy_grid.start(root, path, "--dry-run")
    assert "2 runs of toy; 2 to run" in fourth.stderr
    assert re.search(r"^run +2$", fourth.stderr + fourth.stdout, re.MULTILINE)
    assert (root / "reports/toy" / good / "run.json").stat().st_mtime_ns == before
