"""A cohort built unit by unit: in several processes, in little memory, and going on where a killed build stopped.

A loader cuts its data set into units of some hundred records and says how one is read; the rest is here. What a unit
gives is screened where it is read, and appended to the files of the cohort to be (:mod:`ecglib.datasets.journal`) in
the order of the units, so that the cohort is the same, byte for byte, however many processes read it and wherever a
build was cut off. In memory stay the units that are being read and about 50 bytes a record.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_info import CohortInfo
from ecglib.cohort_write import Fingerprint, reuse, typed, write_table
from ecglib.datasets import journal, quality
from ecglib.datasets.about import About
from ecglib.datasets.journal import Journal, Part
from ecglib.datasets.progress import built, meter
from ecglib.datasets.quality import Bad, Findings, count
from ecglib.datasets.wfdb_files import Chunk, Expected
from ecglib.datasets.workers import in_order
from ecglib.errors import InputError
from ecglib.files import lock, staged_folder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

U = TypeVar("U")
LabelSets = Mapping[str, Mapping[str, str]]

VERSION = 1
"""Of what a build leaves when it is killed: one of another version starts anew."""


@dataclass
class Raw:
    """What a loader's reader gives for one unit of work, before screening: n records or segments."""

    chunk: Chunk
    """(n, L, T), as `rule.to_chunk` makes it; n may be 0."""
    rows: pd.DataFrame
    """n rows, with at least record (a name of its own), patient, fold, age, sex and statements (lists)."""
    counts: dict[str, int | Sequence[str]] = field(default_factory=dict)
    """What the reader has to note: {sentence with {records}: how many}, or their names for one with {names} too. They
    add up over the units, and those of none are not said; notes stand in the order in which they first came."""
    read: int | None = None
    """How many records were read, for the bar; as many as `rows` where None."""


def build_parts(
    to: str | Path, units: Sequence[U], read: Callable[[U], Raw], *, about: About, expected: Expected, bad: Bad | None,
    key: str, source: str, notes: Sequence[str] = (), label_sets: LabelSets | Callable[[Sequence[str]], LabelSets],
    records: int | None = None, source_version: str = "", empty: str = "", workers: int | None = None,
    progress: bool = True, announce: bool = True,
) -> Cohort:  # fmt: skip
    """Read, screen and write a data set as a cohort and open it; where `to` holds that of `key` already, open it.

    A build that is killed or interrupted leaves a hidden folder beside `to`; with the same `key` the next one goes on
    after the last whole unit, and any other clears it.

    Args:
        to: the folder to make. units: picklable and small; any sequence, made when asked for if it likes.
        read: picklable where there are workers: a function of a module, a partial of one, or a frozen dataclass.
        about: its name, citation and licence go into the cohort.
        expected: leads, rate, length and scale of what `read` gives.
        bad: see :class:`ecglib.datasets.quality.Screen`; None for records that are made and need no screening.
        key: what the cohort is built from; also stands for the units: other units need another key. Without one,
            nothing is opened and nothing goes on.
        source, source_version, notes, label_sets: see `ecglib.cohort.write`; `label_sets` may be a function of all
            statements that occur, sorted.
        records: how many there are to read, for the bar. empty: what to say when no unit gives a record.
        workers: see :func:`ecglib.datasets.workers.in_order`. announce: with `progress`, say at the end what was built.

    Raises:
        InputError: whatever `read` finds; a record that occurs twice; nothing left; `to` holds something else; a full
            or read-only disk. Nothing is left behind then.
        Unfinished: (an InputError) a worker was killed; what is done stays.
    """
    to = Path(to).absolute()
    task = _Screened(read, expected, bad and quality.checked(bad))
    facts = [VERSION, key or os.urandom(8).hex(), len(units), asdict(expected), bad]
    work = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    with lock(to, f"{to} is being built by another process; waiting for it."):
        if (to / "cohort.json").exists():  # another process built it meanwhile
            cohort = reuse(to, key)
            built(cohort, progress and announce)
            return cohort
        with staged_folder(to, work, journal.NAME) as folder:
            fingerprint = None if callable(label_sets) else _fingerprint(expected, label_sets)
            found = _Found()

            def seen(part: Part) -> None:
                found.add(part)
                if fingerprint is not None:
                    fingerprint.signals(part.signals)
                moved(part.facts["read"] if records is not None else 1)

            bar = (len(units), "unit") if records is None else (records, "record")
            with meter(bar[0], about.name, progress, bar[1]) as moved, Journal(folder, seen) as done:
                for part in in_order(task, units, start=done.units, workers=workers):
                    done.append(part)
                    seen(part)
                if not done.records:
                    none = "a cohort needs at least one record, and none was left."
                    raise InputError(none if found.any else empty or none)
                found.refuse_twice(done)
                done.finish((done.records, len(expected.leads), expected.length))
                schema, statements = _survey(done)
                write_table((_fitted(table, schema) for table in done.tables()), schema, folder / "records.parquet")
                if callable(label_sets):
                    label_sets = label_sets(statements)
                    fingerprint = _fingerprint(expected, label_sets)
                    for block in done.signals():
                        fingerprint.signals(block)
            info = CohortInfo(
                name=about.name,
                rate=int(expected.rate),
                leads=tuple(expected.leads),
                length=expected.length,
                scale=float(expected.scale),
                records=done.records,
                patients=found.patients(),
                source=source,
                source_version=source_version,
                citation=about.citation,
                licence=about.licence,
                notes=(*notes, *found.notes(bad)),
                label_sets={task: dict(codes) for task, codes in label_sets.items()},
                fingerprint=fingerprint.records_in(folder / "records.parquet", done.records),
                key=key,
            )
            (folder / "cohort.json").write_text(info.to_json(), encoding="utf-8")
    cohort = Cohort.open(to)
    built(cohort, progress and announce)
    return cohort


@dataclass(frozen=True)
class _Screened(Generic[U]):
    """Reads and screens a unit, and makes its rows ready for the disk."""

    read: Callable[[U], Raw]
    expected: Expected
    bad: Bad | None

    def __call__(self, unit: U) -> Part:
        raw = self.read(unit)
        shape = (len(self.expected.leads), self.expected.length)
        if raw.chunk.signals.dtype != np.int16 or raw.chunk.signals.shape[1:] != shape:
            kind = f"{raw.chunk.signals.dtype} {raw.chunk.signals.shape}"
            raise InputError(f"signals come as int16 (n, {shape[0]}, {shape[1]}), not {kind}.")
        if len(raw.rows) != len(raw.chunk):
            raise InputError(f"{len(raw.rows)} records do not fit {len(raw.chunk)} signals.")
        counts = Findings()
        for sentence, what in raw.counts.items():
            if isinstance(what, int | np.integer):
                counts.number[sentence] += int(what)
            else:
                counts.note(sentence, what)
        facts = {"read": len(raw.chunk) if raw.read is None else raw.read, "counts": vars(counts)}
        if not len(raw.chunk):
            return Part(raw.chunk.signals, b"", np.empty((0, 3), np.uint64), np.empty((0, 0), np.float32), facts)
        names = raw.rows["record"].tolist()
        if self.bad is None:
            screened = quality.unscreened(raw.chunk)
        else:
            screened = quality.screen(raw.chunk, names, self.bad, self.expected)
        facts["found"] = vars(screened.findings)
        rows = raw.rows if screened.keep.all() else raw.rows[screened.keep]
        if not len(rows):
            return Part(screened.signals, b"", np.empty((0, 3), np.uint64), np.empty((0, 0), np.float32), facts)
        table = typed(rows)
        hashes = [_hashes(table.column("record")), _hashes(table.column("patient")), screened.twins]
        return Part(screened.signals, _stream(table), np.stack(hashes, axis=1), screened.deviations, facts)


class _Found:
    """What is known of all records so far: about 50 bytes of each, and what was found in them."""

    def __init__(self) -> None:
        self.any = False
        self._screen, self._counts = Findings(), Findings()
        self._hashes: list[np.ndarray] = []
        self._deviations: list[np.ndarray] = []

    def add(self, part: Part) -> None:
        self._counts.add(Findings(**part.facts["counts"]))
        if "found" in part.facts:
            self.any = True
            self._screen.add(Findings(**part.facts["found"]))
        if len(part.hashes):
            self._hashes.append(part.hashes)
            self._deviations.append(part.deviations)

    def _column(self, k: int) -> np.ndarray:
        """(N,) uint64: of the record, the patient or the signal."""
        return np.concatenate([part[:, k] for part in self._hashes])

    def patients(self) -> int:
        return len(np.setdiff1d(self._column(1), [_NOBODY]))

    def refuse_twice(self, done: Journal) -> None:
        """InputError when a record occurs twice; names are compared only where their hashes are equal."""
        alike, times = np.unique(self._column(0), return_counts=True)
        alike = alike[times > 1]
        seen = set()
        for table in done.tables() if len(alike) else ():
            names = table.column("record")
            for name in names.filter(np.isin(_hashes(names), alike)).to_pylist():
                if name in seen:
                    raise InputError(f"the record {name!r} occurs twice.")
                seen.add(name)

    def notes(self, bad: Bad | None) -> list[str]:
        said = [
            sentence.format(records=count(n), names=", ".join(self._counts.names.get(sentence, ())))
            for sentence, n in self._counts.number.items()
            if n
        ]
        if bad is None:
            return said
        chest = range(self._deviations[0].shape[1])
        deviations = (np.concatenate([part[:, k] for part in self._deviations]) for k in chest)
        return [*said, *quality.screen_notes(self._screen, bad, self._column(2), deviations)]


_NOBODY = np.uint64(0)


def _hashes(strings: pa.ChunkedArray) -> np.ndarray:
    """(n,) uint64 of n strings, `_NOBODY` for a missing one."""
    import pandas as pd

    values = strings.to_pandas().to_numpy(object)
    hashes = pd.util.hash_array(values, categorize=False)
    hashes[strings.is_null().to_numpy()] = _NOBODY
    return hashes


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _survey(done: Journal) -> tuple[pa.Schema, list[str]]:
    """One schema that all units' rows fit, and the statements that occur, sorted."""
    import pyarrow as pa

    schema, statements = None, set()
    for table in done.tables():
        statements.update(table.column("statements").combine_chunks().flatten().unique().to_pylist())
        if schema != table.schema:
            try:
                schema = pa.unify_schemas([schema or table.schema, table.schema], promote_options="permissive")
            except pa.ArrowException as error:
                raise InputError(f"the records' columns hold values of several kinds: {error}.") from None
    return schema, sorted(statements)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    for name in schema.names:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
    return table.select(schema.names).cast(schema)


def _fingerprint(expected: Expected, label_sets: LabelSets) -> Fingerprint:
    sets = {task: dict(codes) for task, codes in label_sets.items()}
    return Fingerprint(expected.rate, expected.leads, expected.scale, sets)
