"""Files that are either whole or not there: a temporary name beside, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
            if temporary.is_file():
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            if path.is_dir():  # a folder that holds something cannot be renamed over
                remove(path)
            os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


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
