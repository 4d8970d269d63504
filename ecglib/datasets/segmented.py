"""The end that every loader of segments has in common: screen what its reader gives, write the cohort, say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import write
from ecglib.datasets.about import About
from ecglib.datasets.progress import built
from ecglib.datasets.quality import Bad, Screen
from ecglib.datasets.wfdb_files import Chunk, Expected

if TYPE_CHECKING:
    import pandas as pd


def write_segments(
    to: Path, chunks: Iterable[Chunk], names: Sequence[str],
    table: Callable[[np.ndarray], tuple[pd.DataFrame, Sequence[str]]], *, about: About, expected: Expected, bad: Bad,
    key: str, source: str, notes: Sequence[str], label_sets: Mapping[str, Mapping[str, str]], progress: bool,
    source_version: str = "",
) -> Cohort:  # fmt: skip
    """Write a loader's segments as a cohort and open it.

    Args:
        chunks: of the loader's reader. names: the segments' names, grown by the reader as its chunks are taken.
        table: given which segments stay (n,) bool, one row for each of those, and what the reader has to note.
        expected: the segments' leads, rate, length and scale. key, source, notes, label_sets: see `cohort.write`.
    """
    screen = Screen(names, bad, expected, checksum_error=False)

    def records() -> tuple[pd.DataFrame, list[str]]:
        rows, more = table(screen.kept)
        return rows, [*more, *screen.notes()]

    cohort = write(
        to,
        screen(chunks),
        records,
        name=about.name,
        rate=expected.rate,
        leads=expected.leads,
        scale=expected.scale,
        key=key,
        source=source,
        source_version=source_version,
        citation=about.citation,
        licence=about.licence,
        notes=notes,
        label_sets=label_sets,
    )
    built(cohort, progress)
    return cohort


def rows_of(table: pd.DataFrame, of: Sequence[int], names: Sequence[str], kept: np.ndarray) -> pd.DataFrame:
    """The rows of a table of records for their segments that stay, named after them.

    of: each segment's row. names, kept: of the segments.
    """
    rows = table.iloc[np.array(of)[kept]].reset_index(drop=True)
    rows.insert(0, "record", [name for name, stays in zip(names, kept) if stays])
    return rows
