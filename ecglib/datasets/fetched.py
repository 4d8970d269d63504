"""A folder that a collection was fetched into, compared with the list of checksums that came with it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecglib.datasets import sources, unpack
from ecglib.datasets.fetch import counter, digest
from ecglib.datasets.sources import MARKER, Source
from ecglib.errors import InputError


@dataclass(frozen=True)
class Check:
    """How a folder compares with its list: paths of the list that are missing or altered, files that are not in it.
    `list_altered`: the list is not the one that the marker was written for."""

    files: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    surplus: tuple[str, ...]
    list_altered: bool

    @property
    def whole(self) -> bool:
        """Every file of the list agrees; surplus files do no harm."""
        return not (self.missing or self.altered or self.list_altered)


def check(source: str | Source, folder: str | Path, *, progress: bool = True) -> Check:
    """Read every file of the folder's checksum list and compare.

    Raises:
        InputError: no such collection; no folder or no list in it; another collection's folder; an unreadable file.
    """
    source = sources.named(source) if isinstance(source, str) else source
    folder = Path(folder).expanduser().absolute()
    if not (folder / source.list_name).is_file():
        raise InputError(f"{folder} has no {source.list_name}; give the folder that {source.name} was fetched into.")
    content, told = (folder / source.list_name).read_bytes(), marker(folder)
    if told and told.get("name") != source.name:
        raise InputError(f"{folder} holds {told.get('name')}, not {source.name}; give the other name or folder.")
    found = sources.parse(content, str(folder / source.list_name))
    with counter(source.name, len(found), "file", progress) as step, ThreadPoolExecutor(4) as pool:

        def state(path: str) -> str:
            there = (folder / path).is_file()
            answer = "missing" if not there else "" if digest(folder / path, found[path]) == found[path] else "altered"
            step(1)
            return answer

        states = dict(zip(found, pool.map(state, found)))
    return Check(
        files=len(found),
        missing=tuple(path for path, answer in states.items() if answer == "missing"),
        altered=tuple(path for path, answer in states.items() if answer == "altered"),
        surplus=tuple(_surplus(folder, found)),
        list_altered=bool(told) and told.get("sha256") != hashlib.sha256(content).hexdigest(),
    )


def _surplus(folder: Path, found: dict[str, str]) -> Iterator[str]:
    """Files in no list that are neither ours nor what an archive of the list unpacks to."""
    archives = {(str(path.parent), unpack.stem(path.name)) for path in map(PurePosixPath, found)}
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = PurePosixPath(Path(root, name).relative_to(folder).as_posix())
            steps = [(str(one.parent), one.name) for one in (path, *path.parents[:-1])]
            steps += [(parent, PurePosixPath(one).stem) for parent, one in steps]
            if str(path) not in found and str(path) not in sources.OWN and archives.isdisjoint(steps):
                yield str(path)


def marker(folder: Path) -> dict[str, Any]:
    """What the marker says; nothing where there is none or it cannot be read."""
    try:
        told = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return told if isinstance(told, dict) else {}
