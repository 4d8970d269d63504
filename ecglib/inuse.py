"""Whether somebody is working in a run's folder: the runner holds ``FOLDER/.lock`` for as long as it lives.

The lock is the kernel's (flock): it goes with its process, however that ends, so a killed run leaves a file and no
lock. Over a network file system it holds as far as that system passes locks on.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecglib import files

NAME = ".lock"


def busy(folder: Path) -> bool:
    """Whether a process holds `folder`. Looking takes the lock for an instant, which `holding` sits out."""
    try:
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # none there, or not ours to look at
        return False
    try:
        return not _take(handle)
    finally:
        os.close(handle)


@contextmanager
def holding(folder: Path, *, patience: float = 0.3) -> Iterator[bool]:
    """Holds `folder`, made where it is not there; yields False when another process still does after `patience` s.

    Raises InputError where the folder may not be written to.
    """
    path = folder / NAME
    limit = time.monotonic() + patience
    while True:
        with files.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            taken = _take(handle)
            if taken and _is_at(handle, path):
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
                return
            if not taken and time.monotonic() >= limit:
                yield False
                return
        finally:
            os.close(handle)
        time.sleep(0.0 if taken else 0.02)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still stands at `path`: the holder before us may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
