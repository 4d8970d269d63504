"""The records in a folder, of whatever formats, and which of them a table's entries mean."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ecglib.datasets.records import FORMATS, format_of
from ecglib.datasets.records.wfdb import header_text, segments_of
from ecglib.errors import InputError

_NO_RECORDS = ("readme", "license", "licence", "copying", "changelog", "records", "annotators", "sha256sums", "md5sums")


@dataclass(frozen=True)
class Found:
    """A record's file."""

    file: str
    """Below the folder, with /."""
    record: str
    """Its name in the cohort: without the suffix, unless another file has the same."""
    size: int
    stamp: int


def find(source: Path, leave: Iterable[Path] = ()) -> list[Found]:
    """All records below `source`, by name; hidden files, texts such as README and `leave` are passed over.

    Raises:
        InputError: no such folder, or no record in it.
    """
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the one that holds your records.")
    not_these = {os.path.realpath(path) for path in leave}
    paths = []
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        here = Path(folder)
        paths += [here / name for name in _records(here, names)]
    paths = sorted(path for path in paths if os.path.realpath(path) not in not_these)
    if not paths:
        raise InputError(f"{source} holds no record; the kinds that are read are {', '.join(FORMATS)} and DICOM.")
    files = [path.relative_to(source).as_posix() for path in paths]
    stems = [_stem(file) for file in files]
    times = Counter(stems)
    facts = [path.stat() for path in paths]
    return [
        Found(file, stem if times[stem] == 1 else file, fact.st_size, fact.st_mtime_ns)
        for file, stem, fact in zip(files, stems, facts)
    ]


def _records(folder: Path, names: Sequence[str]) -> set[str]:
    """Which of a folder's files are records: one of each WFDB record, and no segment of one."""
    there = set(names)
    kept, parts = set(), set()
    for name in names:
        stem, suffix = os.path.splitext(name)
        if name.startswith(".") or stem.lower() in _NO_RECORDS or suffix.lower() == ".dat":
            continue
        if suffix.lower() != ".hea" and f"{stem}.hea" in there and suffix.lower() == ".mat":
            continue
        if format_of(folder / name) is None or not (folder / name).is_file():
            continue
        kept.add(name)
        if suffix == ".hea" and _in_segments(folder / name):
            parts.update(f"{part}.hea" for part in segments_of(header_text(folder / name)))
    return kept - parts


def _in_segments(header: Path) -> bool:
    try:
        with open(header, "rb") as file:
            return b"/" in file.read(256).split(b" ")[0]
    except OSError:
        return False


def match(source: Path, found: Sequence[Found], wanted: Sequence[str]) -> list[Found | None]:
    """For each of a table's entries its record, None where there is none.

    An entry is a path below `source` or the file's name alone, with or without suffix; an absolute path must lie in
    `source`.

    Raises:
        InputError: an entry that leads out of the folder, may be several files, or means a file listed before.
    """
    by_path = {each.file: [each] for each in found}
    others: dict[str, list[Found]] = defaultdict(list)
    for each in found:
        path = PurePosixPath(each.file)
        for name in {_stem(each.file), path.name, _stem(path.name)} - {each.file}:
            others[name].append(each)
        if path.suffix == ".hea":  # a table may name the signal file
            for suffix in (".dat", ".mat"):
                others[str(path.with_suffix(suffix))].append(each)
    chosen, row_of = [], {}
    for row, entry in enumerate(wanted, 1):
        name = _inside(source, entry, row)
        candidates = by_path.get(name) or others.get(name) or []
        if len(candidates) > 1:
            shown = " or ".join(each.file for each in candidates[:3])
            raise InputError(f"{entry!r} in row {row} may be {shown}; give its path below {source.name}.")
        one = candidates[0] if candidates else None
        if one is not None and one.file in row_of:
            raise InputError(f"rows {row_of[one.file]} and {row} both name {one.file}; keep one of them.")
        if one is not None:
            row_of[one.file] = row
        chosen.append(one)
    return chosen


def _stem(file: str) -> str:
    """Without the suffix of a format; what follows the last dot of a DICOM's number is none."""
    path = PurePosixPath(file)
    return str(path.with_suffix("")) if path.suffix.lower() in FORMATS else file


def _inside(source: Path, entry: str, row: int) -> str:
    """`entry` as a path below `source` with /; InputError where it is none."""
    text = entry.replace("\\", "/")
    if text.startswith("/"):
        text = os.path.relpath(text, source)
    text = os.path.normpath(text).replace(os.sep, "/")
    if text.startswith("../") or text in ("..", ".") or "\0" in text:
        raise InputError(f"{entry!r} in row {row} does not lie in {source}; give paths below that folder.")
    return text
