"""A cohort at another rate, kept as a cohort's folder of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse, write
from ecglib.datasets.progress import bar, built
from ecglib.datasets.quality import count
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
_TOP = np.iinfo(np.int16).max
_PART = 16 << 20  # bytes of float32 that are resampled at a time


def resampled(cohort: Cohort, rate: int, cache: str | Path, *, progress: bool = True) -> Cohort:
    """`cohort` at `rate` Hz, built in a folder of `cache` the first time and opened from there ever after.

    The signals are streamed through `ecglib.resampling.resample` (polyphase, with an anti-alias filter) and rounded
    to counts of the same scale; samples that the filter's overshoot carries beyond int16 are set to its ends, and the
    records counted in a note. Records, label sets, leads and earlier notes stay as they are. A cohort that has the rate
    already is given back itself.

    Raises:
        InputError: a rate that is no whole number above 0 or not in a ratio of small integers to the cohort's; a full
            disk.
    """
    if cohort.rate == rate:
        return cohort
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
        raise InputError(f"rate is {rate!r}; give a whole number of Hz above 0.")
    rate, info = int(rate), cohort.info
    built_from = _key(cohort, rate)
    to = Path(cache).absolute() / f"{info.name}-{rate}hz-{built_from.split()[-1][:12]}"
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    clipped = []

    def records() -> tuple[pd.DataFrame, list[str]]:
        said = [f"Resampled from {cohort.rate} to {rate} Hz (polyphase, anti-alias filter)."]
        if sum(clipped):
            said.append(f"{count(sum(clipped))} clipped at the int16 range by the resampling.")
        return cohort.records, said

    made = write(
        to,
        bar(_signals(cohort, rate, clipped), len(cohort), f"{info.name} at {rate} Hz", progress),
        records,
        name=info.name,
        rate=rate,
        leads=info.leads,
        scale=info.scale,
        key=built_from,
        source=info.source,
        source_version=info.source_version,
        citation=info.citation,
        licence=info.licence,
        notes=info.notes,
        label_sets=info.label_sets,
    )
    built(made, progress)
    return made


def _signals(cohort: Cohort, rate: int, clipped: list[int]) -> Iterator[np.ndarray]:
    """(n, L, T') int16 chunks; `clipped` is told how many records of each were."""
    from ecglib.resampling import resample

    rows = cohort.rows
    step = max(1, _PART // (4 * len(cohort.leads) * cohort.length))
    for start in range(0, len(rows), step):
        counts = cohort.counts(rows[start : start + step]).astype(np.float32)  # (n, L, T)
        counts = np.rint(resample(counts, rate=cohort.rate, to_rate=rate))  # -> (n, L, T')
        clipped.append(int((np.abs(counts) > _TOP).any(axis=(1, 2)).sum()))
        yield np.clip(counts, -_TOP, _TOP).astype(np.int16)


def _key(cohort: Cohort, rate: int) -> str:
    """Contents, records, label sets, rate, builder."""
    info = cohort.info
    rows = hashlib.sha256(cohort.rows.tobytes()).hexdigest()
    facts = [VERSION, info.fingerprint, rows, info.label_sets, list(info.notes), rate]
    return f"resampled {hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"
