"""Fault x phase: after each, nothing is green, and the next start goes on and ends as an undisturbed run did.

The runs are real: a notebook is executed by the runner in a kernel of its own. See `sabotage` for how the faults strike
where they are said to, and `preloaded` for why a start takes a second.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bs4
import pytest
import toy
from preloaded import Starter

from ecglib import index, inuse, results

SAME = ("metrics.json", "predictions.parquet", "history.csv")
"""Byte for byte what an undisturbed run leaves."""
SIMULATE = "ecglib.datasets.synthetic:simulate"  # called once a unit of the build

IN_THE_KERNEL = {
    "building a cohort, in the middle": 6,  # epochs that are left to train
    "training, in an epoch": 2,
    "training, writing a checkpoint": 2,
    "evaluating": 0,
    "writing predictions": 0,
}
IN_THE_RUNNER = ("rendering", "writing the page", "marking it complete")
STATUS = {
    "the process is killed": (1, -signal.SIGKILL),  # exit status where it strikes the kernel, and the runner
    "the runner is killed": (-signal.SIGKILL, None),
    "the node is lost": (-signal.SIGKILL, None),
    "SIGTERM": (128 + signal.SIGTERM, 128 + signal.SIGTERM),
    "SIGTERM to all of the job": (128 + signal.SIGTERM, None),
    "Ctrl-C": (128 + signal.SIGINT, 128 + signal.SIGINT),
    "the kernel is interrupted": (1, None),
    "out of memory": (1, 1),
    "the disk is full": (2, 2),
}
POINTS = [(fault, place) for fault in STATUS for place in IN_THE_KERNEL]
POINTS += [(fault, place) for fault, (_, own) in STATUS.items() if own is not None for place in IN_THE_RUNNER[::2]]
POINTS += [(fault, "writing the page") for fault in ("the process is killed", "the disk is full")]
POINTS += [(fault, "building a cohort, at its end") for fault in ("the process is killed", "Ctrl-C")]
POINTS += [(fault, "saving a model") for fault in ("the node is lost", "the disk is full")]


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to, and the cohort it built."""

    out: Path
    cache: Path


@pytest.fixture(scope="module")
def undisturbed(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = toy.repository(tmp_path_factory.mktemp("undisturbed"))
    log = root / "log"
    assert starter.wait(starter.start(["toy", "--out", "reports/toy/a"], root, log)) == 0, log.read_text()
    assert trained(log.read_text()) == toy.EPOCHS * len(toy.MODELS)
    return Undisturbed(root / "reports/toy/a", root / "cache")


@contextmanager
def small_disk(folder: Path, mounted: bool) -> Iterator[Path]:
    """A disk of 24 MB at `folder` where one is asked for and may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = mounted and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def trained(said: str) -> int:
    """Epochs that were trained, of both networks, as the loop told."""
    return len(re.findall(rf"\b[ab] epoch \d/{toy.EPOCHS}: loss", said))


def left_running(root: Path) -> list[int]:
    """Processes that work in the repository."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and os.readlink(process / "cwd") == str(root):
                found.append(int(process.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


def looks_green(page: Path) -> bool:
    """Whether a reader would take the report for that of a complete run."""
    soup = bs4.BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return soup.select_one("header .chip.complete") is not None or soup.select_one("main .banner") is None


@pytest.mark.parametrize(("fault", "place"), POINTS, ids=[f"{fault}: {place}" for fault, place in POINTS])
def test_it_is_survived(starter: Starter, undisturbed: Undisturbed, tmp_path: Path, fault: str, place: str) -> None:
    building = place.startswith("building")
    with small_disk(tmp_path / "root", fault == "the disk is full") as root:
        toy.repository(root)
        out = root / "reports/toy/a"
        arguments = ["toy", "--out", "reports/toy/a"]
        arguments += [] if building else ["-p", f"cache={undisturbed.cache}"]

        log = tmp_path / "struck"
        status = starter.wait(starter.start(arguments, root, log, strike=[place, fault, str(root)]))
        assert status == STATUS[fault][place in IN_THE_RUNNER], log.read_text()
        until = time.monotonic() + 60
        while left := left_running(root):
            assert time.monotonic() < until, f"{left} work on"
            time.sleep(0.05)
        (root / "ballast").unlink(missing_ok=True)
        assert not inuse.busy(out)
        nothing_is_green(root, out, interrupted=fault in ("SIGTERM", "Ctrl-C") and place not in IN_THE_RUNNER)

        log, units = tmp_path / "next", tmp_path / "units"
        status = starter.wait(starter.start(arguments, root, log, count={SIMULATE: str(units)}))
        assert status == 0, log.read_text()
        assert trained(log.read_text()) == IN_THE_KERNEL.get(place, 6 if building else 0), log.read_text()
        assert ("going on from the checkpoints" in log.read_text()) is not building
        if building:
            cleared = fault == "the disk is full"  # so that the disk has room again
            done = 0 if cleared else 2 if place.endswith("end") else 1
            assert (units.stat().st_size if units.exists() else 0) == 2 - done
            assert os.listdir(root / "cache") == os.listdir(undisturbed.cache)
        ends_as(undisturbed.out, out)


def ends_as(undisturbed: Path, out: Path) -> None:
    """The run in `out` is complete, green, and the same as the undisturbed one to the last byte of its results."""
    assert results.read(out).status == "complete"
    assert looks_green(out / "report.html")
    assert {p.relative_to(out) for p in out.rglob("*")} == {p.relative_to(undisturbed) for p in undisturbed.rglob("*")}
    for name in SAME:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.parametrize("fault", ["the process is killed", "SIGTERM"])
def test_behind_its_mark_a_run_is_complete(
    starter: Starter, undisturbed: Undisturbed, tmp_path: Path, fault: str
) -> None:
    """Its page is not in its place yet: nothing says what is not so, and whoever starts it again has it at once."""
    root = toy.repository(tmp_path / "root")
    out, log = root / "reports/toy/a", tmp_path / "struck"
    arguments = ["toy", "--out", "reports/toy/a", "-p", f"cache={undisturbed.cache}"]
    status = starter.wait(starter.start(arguments, root, log, strike=["behind its mark", fault, str(root)]))
    assert status == STATUS[fault][1], log.read_text()
    assert results.read(out).status == "complete"
    assert not (out / "report.html").exists()
    for name in SAME:
        assert (out / name).read_bytes() == (undisturbed.out / name).read_bytes(), name
    log = tmp_path / "next"
    assert starter.wait(starter.start(arguments, root, log)) == 0, log.read_text()
    assert trained(log.read_text()) == 0
    ends_as(undisturbed.out, out)


def nothing_is_green(root: Path, out: Path, *, interrupted: bool) -> None:
    """Neither what lies there, nor what whoever looks at the list of runs is shown."""
    read = results.read(out)
    assert read.status != "complete"
    if interrupted:
        assert read.status == "interrupted"
    page = out / "report.html"
    assert not page.exists() or not looks_green(page)
    listed = bs4.BeautifulSoup(index.write(root / "reports").read_text(encoding="utf-8"), "html.parser")
    (row,) = listed.select("table.runs tbody tr")
    assert row.select_one(".chip").get_text() in ("✗ failed", "✗ interrupted", "✗ not finished")
    assert page.exists() or "could not be rendered" in read.record["reason"]
    assert not page.exists() or not looks_green(page)
