"""Two runs at once that need the same cohort: it is built once, and neither is disturbed, even where one is killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import toy
from preloaded import Starter

from ecglib import results

SIMULATE = "ecglib.datasets.synthetic:simulate"
UNITS = 2


@pytest.mark.parametrize("dies", [False, True], ids=["both live", "the builder is killed"])
def test_two_runs_build_one_cohort(starter: Starter, tmp_path: Path, dies: bool) -> None:
    root = toy.repository(tmp_path / "root")
    logs = {name: tmp_path / name for name in "ab"}
    count = {SIMULATE: str(tmp_path / "units")}
    logs["b"].touch()
    fault = f"wait for {logs['b']}: is being built by another process" + (", then die" if dies else "")
    strike = ["building a cohort, in the middle", fault, str(root)]
    first = starter.start(["toy", "--out", "reports/toy/a"], root, logs["a"], strike=strike, count=count)
    until = time.monotonic() + 240
    while not list(root.glob("cache/.*.partial/journal")):
        assert time.monotonic() < until, logs["a"].read_text()
        time.sleep(0.01)
    second = starter.start(["toy", "--out", "reports/toy/b"], root, logs["b"], count=count)
    assert starter.wait(first) == (1 if dies else 0), logs["a"].read_text()
    assert starter.wait(second) == 0, logs["b"].read_text()

    assert "is being built by another process; waiting for it" in logs["b"].read_text()
    assert (tmp_path / "units").stat().st_size == UNITS + dies  # the unit that the killed one had not written yet
    assert len(os.listdir(root / "cache")) == 1
    if dies:
        assert results.read(root / "reports/toy/a").status == "failed"
        assert starter.wait(starter.start(["toy", "--out", "reports/toy/a"], root, logs["a"], count=count)) == 0
        assert (tmp_path / "units").stat().st_size == UNITS + dies
    texts = {(root / "reports/toy" / name / "metrics.json").read_bytes() for name in "ab"}
    assert len(texts) == 1


def test_one_folder_takes_one_run(starter: Starter, tmp_path: Path) -> None:
    """Whoever comes second is told so, and disturbs nothing."""
    root = toy.repository(tmp_path / "root")
    logs = {name: tmp_path / name for name in "ab"}
    logs["b"].touch()
    strike = ["training, in an epoch", f"wait for {logs['b']}: another run is writing there", str(root)]
    first = starter.start(["toy", "--out", "reports/toy/a"], root, logs["a"], strike=strike)
    until = time.monotonic() + 240
    while "a: 0 epochs were there" not in (logs["a"].read_text() if logs["a"].exists() else ""):
        assert time.monotonic() < until
        time.sleep(0.01)
    second = starter.start(["toy", "--out", "reports/toy/a"], root, logs["b"])
    assert starter.wait(second) == 2
    assert starter.wait(first) == 0, logs["a"].read_text()
    assert results.read(root / "reports/toy/a").status == "complete"
