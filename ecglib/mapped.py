"""Rows of a mapped file, whatever its size: what is read from the disk is what was asked for, and little more.

A system that is told nothing reads megabytes around every page that it misses. That is right for a file which is read
from one end to the other, and ruinous for records in random order: as long as the file fits the page cache an early
batch reads hundreds of times its size and the rest finds it in memory; once it does not fit, every batch does. So the
mapping is declared random, which turns that off, and what a batch needs is asked for in advance, all at once.
"""

from __future__ import annotations

import mmap

import numpy as np

try:
    import resource
except ImportError:  # Windows has neither this nor madvise
    resource = None

_PROBES = 4
"""Rows that are looked at to see whether a batch lies in memory, as asking for all costs as much as copying them."""


def declare_random(signals: np.memmap) -> np.memmap:
    """Turn the system's reading ahead off for this mapping, where it can be."""
    if hasattr(mmap, "MADV_RANDOM"):
        signals._mmap.madvise(mmap.MADV_RANDOM)
    return signals


def ask_for(signals: np.ndarray, rows: np.ndarray) -> None:
    """Have the rows (n,) of `signals` (N, L, T), a view of a memmap, read from the disk together if they are not there.

    It returns before they are. Rows in a row are asked for with as many behind them, since those come next.
    """
    file = _memmap(signals)
    if file is None or len(rows) < 2 or not hasattr(mmap, "MADV_WILLNEED") or resource is None:
        return
    rows = np.asarray(rows)
    if rows.dtype == bool or int(rows.min()) < 0:
        return  # as numpy takes them: without help
    if not _missing(signals, rows[:: -(-len(rows) // _PROBES)]):
        return
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        ends = np.array([first]), np.array([min(last + 1 + len(rows), len(signals))])
    else:
        ends = rows, rows + 1
    for start, length in stretches(*ends, signals[0].nbytes, _offset(file)):
        file._mmap.madvise(mmap.MADV_WILLNEED, start, length)


def stretches(first: np.ndarray, behind: np.ndarray, row: int, offset: int) -> list[tuple[int, int]]:
    """(start, length) in bytes, from the start of a page on, of rows `first` to `behind` - 1 of `row` bytes each."""
    starts = (offset + first.astype(np.int64) * row) // mmap.PAGESIZE * mmap.PAGESIZE
    ends = offset + behind.astype(np.int64) * row
    return list(zip(starts.tolist(), (ends - starts).tolist()))


def _missing(signals: np.ndarray, rows: np.ndarray) -> bool:
    """Whether touching these rows waits for the disk; a fault of another thread may make it say so once too often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    for row in rows.tolist():
        signals[row, 0, 0]
        if resource.getrusage(resource.RUSAGE_SELF).ru_majflt > before:
            return True
    return False


def _memmap(array: np.ndarray | None) -> np.memmap | None:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return array
        array = array.base
    return None


def _offset(file: np.memmap) -> int:
    """Of the first sample in the mapping, which starts at a whole unit of the system's."""
    return file.offset % mmap.ALLOCATIONGRANULARITY
