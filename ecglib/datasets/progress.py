"""A bar where somebody watches, one line where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from ecglib.cohort import Cohort

Chunk = TypeVar("Chunk", bound=Sized)


def bar(chunks: Iterable[Chunk], total: int, name: str, show: bool) -> Iterator[Chunk]:
    """Pass `chunks` on, each as long as it has records, with a bar of records on a terminal."""
    if not (show and sys.stderr.isatty()):
        yield from chunks
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit="record") as shown:
        for chunk in chunks:
            yield chunk
            shown.update(len(chunk))


def built(cohort: Cohort, show: bool) -> None:
    """One line on what was written, and the notes."""
    if show:
        info = cohort.info
        print(f"{info.name}: {info.records:,} records of {info.patients:,} patients at {info.rate} Hz in {cohort.path}")
        for note in info.notes:
            print(f"  {note}")
