"""A function of many units, called in several processes, its results in order and never many of them waiting.

The processes are fresh interpreters, neither forks (unsafe beside torch's threads) nor multiprocessing's, which import
the user's script again and hang where it starts its work without a guard. Each reads from a socket of its own and ends
when that closes: one whose parent was killed ends too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from ecglib.errors import InputError
from ecglib.files import Unfinished

Unit = TypeVar("Unit")
Result = TypeVar("Result")

WORTH = 10.0
"""Seconds of work from which on processes are started where nobody said how many: they need 1 to 3 s to start."""
AHEAD = 2
"""Results of each process that may wait for an earlier one."""


def in_order(
    task: Callable[[Unit], Result], units: Sequence[Unit], *, start: int = 0, workers: int | None = None
) -> Iterator[Result]:
    """`task(unit)` for the units from `start` on, in order.

    Args:
        task: picklable where there are workers, so of a module and not of a notebook.
        workers: how many processes; 0 for none but this one. None: as many as there are cores, once two units have
            shown that the rest would take this process more than `WORTH` seconds.

    Raises:
        InputError: `workers` is no whole number from 0; whatever the first failing unit, in order, raised.
        Unfinished: a process was killed.
        RuntimeError: a unit raised something else in a process; it holds the traceback.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise InputError(f"workers is {workers!r}; give a number of processes, 0 for none but this one.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at, least = start, float("inf")
    while at < len(units):
        if workers or (workers is None and cores > 1 and at >= start + 2 and least * (len(units) - at) > WORTH):
            yield from _parallel(task, units, at, min(workers or cores, len(units) - at))
            return
        began = time.perf_counter()
        result = task(units[at])
        least = min(least, time.perf_counter() - began)
        at += 1
        yield result


def _parallel(task: Callable[[Unit], Result], units: Sequence[Unit], start: int, workers: int) -> Iterator[Result]:
    with ExitStack() as stack:
        idle = [stack.enter_context(_worker(task)) for _ in range(workers)]
        running: dict[Connection, int] = {}
        done: dict[int, tuple[bool, object]] = {}
        wanted = given = start
        while wanted < len(units):
            while idle and given < len(units) and given < wanted + AHEAD * workers:
                connection = idle.pop()
                _send(connection, units[given])
                running[connection] = given
                given += 1
            if wanted not in done:
                for connection in wait(list(running)):
                    done[running.pop(connection)] = _receive(connection)
                    idle.append(connection)
                continue
            well, result = done.pop(wanted)
            if not well:
                raise result
            wanted += 1
            yield result


@contextmanager
def _worker(task: Callable) -> Iterator[Connection]:
    """A process that waits for units of `task`; it ends with the block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | threads | {"PYTHONPATH": path},
        )
        connection = Connection(os.dup(ours.fileno()))
    try:
        _send(connection, task)
        yield connection
    finally:
        connection.close()
        process.kill()  # it has given what was wanted of it, and would take its time to end
        process.wait()


def _send(connection: Connection, what: object) -> None:
    try:
        connection.send(what)
    except ConnectionError:
        raise _killed() from None


def _receive(connection: Connection) -> tuple[bool, object]:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        raise _killed() from None


def _killed() -> Unfinished:
    return Unfinished(
        "a process that reads records was killed, which the system does when memory runs out; start again with fewer "
        "workers: it goes on where it stopped."
    )


def serve(handle: int) -> None:
    """The other end: a task first, then units until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard it reaches all; the parent ends us
    connection = Connection(handle)
    try:
        task = connection.recv()
        while True:
            connection.send(_answer(task, connection.recv()))
    except (EOFError, ConnectionError):
        return  # the parent has all it wanted, or is no more


def _answer(task: Callable, unit: object) -> tuple[bool, object]:
    try:
        return True, task(unit)
    except InputError as error:
        return False, error
    except Exception:
        return False, RuntimeError(traceback.format_exc())
