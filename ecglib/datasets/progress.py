"""A bar where somebody watches, one line where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from ecglib.cohort import Cohort

Chunk = TypeVar("Chunk", bound=Sized)


@contextmanager
def meter(total: int, name: str, show: bool, unit: str = "record") -> Iterator[Callable[[int], object]]:
    """A bar of `total` units on a terminal, moved on by what is given: call it with how many more are done."""
    if not (show and sys.stderr.isatty()):
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit=unit) as shown:
        yield shown.update


def bar(chunks: Iterable[Chunk], total: int, name: str, show: bool) -> Iterator[Chunk]:
    """Pass `chunks` on, each as long as it has records, with a bar of records on a terminal."""
    with meter(total, name, show) as done:
        for chunk in chunks:
            yield chunk
            done(len(chunk))


def built(cohort: Cohort, show: bool) -> None:
    """One line on what was written, and the notes."""
    if show:
        info = cohort.info
        records, patients = (
            f"{n:,} {what}{'s' * (n != 1)}" for n, what in ((info.records, "record"), (info.patients, "patient"))
        )
        print(f"{info.name}: {records} of {patients} at {info.rate} Hz in {cohort.path}")
        for note in info.notes:
            print(f"  {note}")
