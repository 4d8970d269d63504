"""Faults at exact places of a run, brought about inside its own processes; nothing in ecglib knows of it.

A fault strikes when the runner or the kernel calls a function for the n-th time, or is about to rename the n-th file of
some name to its place (Python's audit events tell). A file that is to be renamed while its writer is killed is cut to
half first: what a machine leaves that went down before all was written.
"""

from __future__ import annotations

import errno
import fnmatch
import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a fault strikes: in the n-th call of a `function`, or at the n-th `file` of that name."""

    role: str  # kernel or runner
    function: str = ""  # "module:name" or "module:Class.name"
    file: str = ""  # a pattern of its last name and its folder's, as in "b/epoch-*"
    nth: int = 1
    opened: bool = False  # the file is opened for writing, and not yet to be renamed to its place
    writer: str = ""  # where no open() is seen: the function in whose n-th call a full disk strikes


PLACES = {
    "building a cohort, in the middle": Place("kernel", function="ecglib.datasets.journal:Journal.append", nth=2),
    "building a cohort, at its end": Place("kernel", file="cache/synthetic-*"),
    "training, in an epoch": Place("kernel", function="ecglib.training:_train_epoch", nth=5),
    "training, writing a checkpoint": Place("kernel", file="b/epoch-00002.safetensors"),
    "evaluating": Place("kernel", function="ecglib.bootstrap:Bootstrap.measure", nth=3),
    "writing predictions": Place("kernel", file="*/predictions.parquet", writer="ecglib.results:Run.predictions"),
    "saving a model": Place("kernel", file="model/b", writer="ecglib.results:Run.model"),
    "rendering": Place("runner", function="ecglib.report:render"),
    "writing the page": Place("runner", file="*/report.html", opened=True),
    "behind its mark": Place("runner", file="*/report.html"),
    "marking it complete": Place("runner", file="*/run.json"),
}
PATIENCE_S = 120  # with others, on a busy machine
LETHAL = {"the process is killed", "the runner is killed", "the node is lost"}


def arm(role: str, place: str, fault: str, root: str) -> None:
    """Let `fault` strike at `place` if that lies in this process, the runner or the kernel of the repository `root`."""
    at = PLACES[place]
    if at.role != role:
        return
    struck = _Counter(at.nth, lambda: _strike(role, fault, Path(root)))
    function = at.writer if fault == "the disk is full" and at.writer else at.function
    if function:
        wrap(function, struck)
    else:
        _watch(at, struck, fault)


class _Counter:
    def __init__(self, nth: int, strike: Callable[[], None]) -> None:
        self._left, self._strike = nth, strike

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._strike()


def wrap(name: str, before: Callable[[], None]) -> None:
    """Call `before` at each call of a function or method, "module:name" or "module:Class.name"."""
    module, _, path = name.partition(":")
    *parents, last = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, last)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        before()
        return function(*arguments, **named)

    setattr(owner, last, wrapped)


def _watch(at: Place, struck: Callable[[], None], fault: str) -> None:
    """Count the files of that name, as they are renamed to it; a full disk strikes as they are opened for writing."""
    opened = at.opened or fault == "the disk is full"

    def named(path: Any) -> bool:
        path = Path(os.fsdecode(path))
        return fnmatch.fnmatch(f"{path.parent.name}/{path.name}", at.file)

    def hook(event: str, arguments: tuple) -> None:
        if opened:
            if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & os.O_CREAT:
                path = Path(os.fsdecode(arguments[0]))
                name, _, process = path.name.removeprefix(".").removesuffix(".tmp").rpartition(".")
                if process == str(os.getpid()) and named(path.with_name(name)):
                    struck()
        elif event == "os.rename" and named(arguments[1]):
            if fault in LETHAL and os.path.isfile(arguments[0]):
                os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
            struck()

    sys.addaudithook(hook)


def _strike(role: str, fault: str, root: Path) -> None:
    runner, me = (os.getppid(), os.getpid()) if role == "kernel" else (os.getpid(), os.getpid())
    match fault:
        case "the process is killed":
            os.kill(me, signal.SIGKILL)
        case "the runner is killed":
            os.kill(runner, signal.SIGKILL)
            _await_the_end()
        case "SIGTERM":
            os.kill(runner, signal.SIGTERM)
            _await_the_end()
        case "SIGTERM to all of the job":
            os.kill(runner, signal.SIGTERM)
            os.kill(me, signal.SIGTERM)
            _await_the_end()
        case "Ctrl-C":
            os.kill(runner, signal.SIGINT)
            _await_the_end()
        case "the kernel is interrupted":
            os.kill(me, signal.SIGINT)
        case "out of memory":
            _use_up_memory()
        case "the disk is full":
            _fill_the_disk(root)
        case "the node is lost":
            os.kill(runner, signal.SIGKILL)
            os.kill(me, signal.SIGKILL)
        case _ if fault.startswith("wait for "):  # "wait for FILE: TEXT", and "wait for FILE: TEXT, then die"
            file, _, text = fault.removeprefix("wait for ").partition(": ")
            text, then, _ = text.partition(", then die")
            until = time.monotonic() + PATIENCE_S
            while text not in Path(file).read_text():
                assert time.monotonic() < until, fault
                time.sleep(0.01)
            if then:
                os.kill(me, signal.SIGKILL)
        case _:
            raise ValueError(fault)


def _await_the_end() -> None:
    """Work on as a busy process does, until it is ended from outside."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        time.sleep(0.01)
    os._exit(99)


def _use_up_memory() -> None:
    """MemoryError from the system itself: from now on the process gets hardly any more."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), resource.RLIM_INFINITY))
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def _fill_the_disk(root: Path) -> None:
    """Fill the small disk that `root` is; where that may not be mounted, let no file below it be opened for writing."""
    if os.path.ismount(root):
        with open(root / "ballast", "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 9, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = os.fsdecode(arguments[0])
            if path.startswith(str(root)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(hook)
