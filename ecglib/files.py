"""Folders that are either whole or not there: a lock, a temporary name beside, fsync, rename."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecglib.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a full disk or a refused write below `path` into one sentence; other errors pass.

    Raises:
        InputError: the disk is full, or `path` cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"the disk is full at {path}; free some space there or choose another folder, nothing was kept."
            ) from error
        if error.errno in _REFUSED:
            raise InputError(f"{path} cannot be written to ({error.strerror}); choose another folder.") from error
        raise


@contextmanager
def lock(path: Path, waiting: str) -> Iterator[None]:
    """Hold `path` against other processes and threads; prints the line `waiting` once when it has to wait.

    The lock is the kernel's (flock): it goes with its process, so a killed build leaves none behind. The file
    ``.NAME.lock`` beside `path` is removed by whoever releases it.
    """
    import fcntl

    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.lock"
    told = False
    while True:
        with writable(path.parent):
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    print(waiting, flush=True)
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_open_file(handle, name):
                continue  # the holder before us unlinked this very file: lock the one that stands there now
            try:
                yield
            finally:
                os.unlink(name)
            return
        finally:
            os.close(handle)


def _is_open_file(handle: int, name: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(name))
    except FileNotFoundError:
        return False


class Unfinished(InputError):
    """A work in a `staged_folder` ended before its end through no fault of its own: what is there stays."""


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well and is removed when it does not.

    To be used under :func:`lock`: leftovers of killed builds of the same `path` are cleared first.

    Raises:
        InputError: `path` is there and not an empty folder; the disk is full or may not be written to.
    """
    _clear(path)
    temporary: Path | None = None
    try:
        with writable(path):
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
            temporary.chmod(0o777 & ~_umask())  # mkdtemp makes 0700, which would lock colleagues out of a shared cache
            yield temporary
            _sync_all(temporary)
            _move(temporary, path)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def staged_folder(path: Path, work: str, journal: str) -> Iterator[Path]:
    """As :func:`fresh_folder`, for a `work` that can go on: its folder survives a kill, and is there again next time.

    Folders of other works for the same `path` are cleared. Its own is removed after an error, except `Unfinished` and a
    want of memory, and stays after an interruption from the keyboard. The file `journal` in it is of the work only and
    goes at the end.

    Args:
        work: what it is, in letters and digits; whoever gives the same goes on with the same folder.

    Raises:
        InputError: `path` is there and not an empty folder; the disk is full or may not be written to.
    """
    temporary = path.parent / f".{path.name}.{work}.partial"
    _clear(path, temporary)
    try:
        with writable(path):
            temporary.mkdir(exist_ok=True)
            yield temporary
            _sync_all(temporary)
            _move(temporary, path)
            (path / journal).unlink()  # not before: a kill in between would cost all that was done
    except (Unfinished, MemoryError):
        raise
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _clear(path: Path, keep: Path | None = None) -> None:
    """Refuse a `path` that holds something, and remove what killed builds of it left, but for `keep`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} is there already and not empty; choose another folder or delete it first.")
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[^.]+\.partial")
    for stale in path.parent.iterdir():
        if leftover.fullmatch(stale.name) and stale != keep:
            shutil.rmtree(stale, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for file in folder.iterdir():
        _fsync(file)


def _move(temporary: Path, path: Path) -> None:
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
