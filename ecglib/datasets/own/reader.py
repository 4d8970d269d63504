"""The files of one unit read, brought to a target, and what is to be said of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecglib.datasets import rule
from ecglib.datasets.folds import deal
from ecglib.datasets.own.files import Found
from ecglib.datasets.parts import Raw
from ecglib.datasets.quality import Absent
from ecglib.datasets.records import Signal, read_record
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError

SCALE = 0.001  # mV per count
MANY, HEAVY = 64, 16 << 20
"""Records of a unit, and bytes on disk: memory stays flat where a file holds a day."""
_NOBODY = re.compile(r"anon\w*|unknown|none|x*|0*|n/?a|test|patient", re.IGNORECASE)


class Row(NamedTuple):
    """A record to read, and what is known of it."""

    file: str
    record: str
    patient: str | None
    fold: int | None
    age: float
    sex: str | None
    statements: tuple[str, ...]
    more: dict[str, Any]


def units_of(source: Path, rows: Sequence[tuple[Row, Found]]) -> list[tuple[Row, ...]]:
    """Neighbours, at most `MANY` and `HEAVY` bytes together."""
    units, weight = [], 0
    for row, each in rows:
        size = each.size
        if row.file.endswith(".hea"):  # the signal lies beside
            signal = (source / row.file).with_suffix(".dat")
            size += signal.stat().st_size if signal.is_file() else 0
        if not units or len(units[-1]) >= MANY or weight + size > HEAVY:
            units.append([])
            weight = 0
        units[-1].append(row)
        weight += size
    return [tuple(unit) for unit in units]


def read(path: Path, given: tuple) -> Signal:
    rate, leads, unit = given
    try:
        return read_record(path, rate=rate, leads=leads, unit=unit)
    except InputError as error:
        if path.suffix.lower() in (".csv", ".tsv", ".txt") and "none of the twelve leads" in str(error):
            raise InputError(f"{str(error).rstrip('.')}, or give it as table if it is that of the labels.") from None
        raise


@dataclass(frozen=True)
class Reader:
    """Reads a unit's files and brings them to the target."""

    source: str
    target: rule.Target
    given: tuple
    unreadable: Absent
    from_files: bool
    """Patients are those of the files."""
    deals: bool
    """And folds are ours."""

    def __call__(self, rows: Sequence[Row]) -> Raw:
        import pandas as pd

        segments, kept, counts = Segments(self.target, SCALE), [], {}
        for row in rows:
            path = Path(self.source) / row.file
            try:
                record = read(path, self.given)
                try:
                    segments.add(row.record, record.signal, record.leads, record.rate)
                except InputError as error:
                    raise InputError(f"{path}: {error}") from None
            except InputError as error:
                if self.unreadable == "refuse":
                    raise
                reason = str(error).replace(str(path), "").lstrip(": ").rstrip(".")
                _note(counts, f"{{records}} left out ({reason}): {{names}}.", row.record, self.source)
                continue
            for note in record.notes:
                _note(counts, f"{{records}} noted, whose file {note}: {{names}}.", row.record, self.source)
            kept.append(self._row(row, record, counts))
        if not kept:
            empty = np.empty((0, len(self.target.leads), self.target.samples), np.float32)
            return Raw(rule.to_chunk(empty, SCALE), pd.DataFrame({"record": []}), counts, read=len(rows))
        cut = f"{{records}} cut into segments of {self.target.seconds:g} s, each with the labels of the whole."
        counts[cut] = sum(many > 1 for many in segments.each)
        raw = segments.raw(pd.DataFrame(kept).astype({"fold": "Int64"}), counts)
        raw.read = len(rows)
        return raw

    def _row(self, row: Row, record: Signal, counts: dict) -> dict:
        patient, fold = row.patient, row.fold
        if self.from_files:
            own = None if record.patient is None or _NOBODY.fullmatch(record.patient) else record.patient
            if own is None:
                alone = "{records} without a patient's identifier, each its own patient."
                counts[alone] = counts.get(alone, 0) + 1
            patient = row.record if own is None else hashlib.sha256(own.encode()).hexdigest()[:16]
            fold = deal(patient) if self.deals else fold
        age = row.age if row.age == row.age else record.age
        return {
            "patient": patient, "fold": fold, "age": np.nan if age is None else age, "sex": row.sex or record.sex,
            "statements": list(row.statements), "source_record": row.record, "file": row.file, **row.more,
        }  # fmt: skip


def _note(counts: dict, sentence: str, record: str, source: str) -> None:
    """Add a record to those of a sentence; whatever else is in braces in it is no field."""
    head, _, rest = sentence.partition("}")
    body, middle, tail = rest.rpartition("{names}")
    body = body.replace(source, "").replace("{", "{{").replace("}", "}}")
    counts.setdefault(f"{head}}}{body}{middle}{tail}", []).append(record)
