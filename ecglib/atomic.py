"""Files that are either whole or not there: a temporary name beside, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ecglib import files


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on leaving without an error and removed on leaving with one.

    A folder at `path` is replaced too. Raises InputError when the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with files.writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            if path.is_dir():  # a folder that holds something cannot be renamed over
                remove(path)
            os.replace(temporary, path)
            sync(path.parent, deep=False)  # the rename itself: what is renamed later must not outlive it
    except BaseException:
        with suppress(OSError):  # where not even that can be, what went wrong before is what to say
            remove(temporary)
        raise


def sync(path: Path, *, deep: bool = True) -> None:
    """Waits until a file, or a folder with all in it, is on the disk: a rename may get there before what it names.

    Raises OSError, such as that of a full disk which is noticed only now.
    """
    for inner in path.iterdir() if deep and path.is_dir() else ():
        sync(inner)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems know it for files only
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """`value` as indented JSON, atomically; NaN and infinities are refused by name of the file (ValueError)."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
