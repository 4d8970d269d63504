"""One's own records as a cohort: a folder of WFDB, EDF, BDF, DICOM, CSV, .npy or .mat files, with a table or without.

Rules
- Each file goes through :func:`ecglib.datasets.records.read_record` and :mod:`ecglib.datasets.rule`: formats, rates,
  lengths and lead orders may be mixed. What files do not say (`unit`, `record_rate`, `record_leads`) is given.
- A table says which file, whose, in which fold, with which labels (:mod:`ecglib.datasets.own.table`); age and sex come
  from it, else from the files. Without one every record of the folder is taken, without labels.
- Without a column of folds a patient's fold is a checksum of the patient's name, 1 to 10. Without patients in the table
  they are told by the identifiers in the files (DICOM, EDF+), kept as checksums; a record with none is its own patient.
- Counts are of 1 µV.

Nothing is guessed: what is missing or does not fit ends in one sentence. docs/own_data.md has it by examples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule
from ecglib.datasets.folds import deal
from ecglib.datasets.own import table as own_table
from ecglib.datasets.own.arrays import from_arrays, nameless
from ecglib.datasets.own.files import Found, find, match
from ecglib.datasets.own.reader import SCALE, Reader, Row, read, units_of
from ecglib.datasets.own.table import Table
from ecglib.datasets.parts import build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.datasets.records import format_of
from ecglib.datasets.wfdb_files import Expected
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["build", "found", "from_arrays", "from_frame", "key"]

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""


def found(source: Path, kinds: Collection[str] = ("edf", "dicom", "csv", "array")) -> bool:
    """Whether `source` holds files of ECGs that may be anybody's: to be asked last, after every data set.

    Args:
        kinds: of which readers (`records.FORMATS`); beside WFDB, a .csv may be a table, and a .mat a signal file.
    """
    return source.is_dir() and any(
        not file.name.startswith(".") and file.suffix.lower() != ".txt" and file.is_file() and format_of(file) in kinds
        for file in source.rglob("*")
    )


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    table: str | Path | pd.DataFrame | None = None,
    seconds: float = 10,
    leads: Sequence[str] | None = None,
    unit: str | None = None,
    record_rate: float | None = None,
    record_leads: Sequence[str] | Mapping[str, str] | None = None,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    absent: Absent = "refuse",
    unreadable: Absent = "refuse",
    name: str = "",
    workers: int | None = None,
    progress: bool = True,
    **columns: Any,
) -> Cohort:
    """Read a folder of records once and write it as a cohort; where `to` holds that cohort already, open it.

    Beside what every cohort has, the table holds source_record, of which a segment is, and file.

    Args:
        source: the folder. to: the cohort's folder.
        rate, seconds, longer, shorter: what all records are brought to; see :mod:`ecglib.datasets.rule`.
        leads: those wanted; None for the twelve where the first record has them, or what they are derived from, else
            for those that it has.
        table: a file (.csv, .tsv, .xlsx, .parquet) or a DataFrame with a row for each record to read; None for all.
        unit, record_rate, record_leads: of files that do not say them; see :func:`read_record`.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        absent: records that the table lists and the folder lacks are an error, or left out and counted.
        unreadable: so for files that cannot be read, that say no unit, or lack a lead.
        name: of the cohort; "" for the folder's. workers: see :func:`ecglib.datasets.workers.in_order`.
        columns: fields of :class:`ecglib.datasets.own.table.Columns`: file="path", labels=["MI", "AF"], ...

    Raises:
        InputError: whatever does not fit, in the folder, the table or a file; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    for what, value in (("absent", absent), ("unreadable", unreadable)):
        one_of(what, value, get_args(Absent))
    rows, told = _rows(source, table, own_table.columns_of(columns), absent)
    if not rows:
        raise InputError(f"{source} holds none of the files that the table lists; are their names right?")
    given = (record_rate, dict(record_leads) if isinstance(record_leads, Mapping) else record_leads, unit)
    target = rule.Target(rate, seconds, LEADS if leads is None else tuple(leads), longer, shorter)
    if target.samples is None:
        raise InputError("seconds is None, but records of one length are needed; give 10, say.")
    options = [VERSION, str(source), rate, seconds, leads, *given, bad, longer, shorter, absent, unreadable, name]
    built_from = _key(options, rows, told)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    if leads is None:
        target = rule.Target(rate, seconds, _leads(source, rows, given, unreadable), longer, shorter)
    from_files = "patient" not in told.has
    built = partial(
        build_parts, to, units_of(source, rows),
        Reader(str(source), target, given, unreadable, from_files, "fold" not in told.has),
        about=nameless(name or source.name), bad=bad,
        expected=Expected(target.leads, target.rate, target.samples, SCALE), key=built_from,
        source=f"records in {source.name}", notes=_notes(told, from_files),
        label_sets=told.label_sets, records=len(rows),
        empty=f"no record is {seconds:g} s long or can be read; choose shorter segments, or pad or tile.",
        workers=workers, progress=progress,
    )  # fmt: skip
    try:
        cohort = built()
    except InputError as error:
        if "none was left" not in str(error):
            raise
        raise _nothing_left(source, rows, given) from None
    if progress and from_files and (twice := cohort.patients_in_several_folds()):
        print(f"  By the identifiers in the files {len(twice):,} of the patients are in several folds; correct those.")
    return cohort


def from_frame(frame: pd.DataFrame, folder: str | Path, to: str | Path, *, rate: int, **options: Any) -> Cohort:
    """A DataFrame with a row for each record and the folder of their files as a cohort; see :func:`build`."""
    return build(folder, to, rate=rate, table=frame, **options)


def key(source: str | Path, *, rate: int, bad: Bad = "drop", seconds: float = 10) -> str:
    """What `build` would be building without a table: another key when the files there or the options change."""
    source = Path(source).absolute()
    rows, told = _rows(source, None, own_table.Columns(), "refuse")
    given = (None, None, None)
    options = [VERSION, str(source), rate, seconds, None, *given, bad, "segment", "drop", "refuse", "refuse", ""]
    return _key(options, rows, told)


def _rows(
    source: Path, table: str | Path | pd.DataFrame | None, columns: own_table.Columns, absent: Absent
) -> tuple[list[tuple[Row, Found]], Table]:
    """The records to read with their files, and the table they came from."""
    import pandas as pd

    leave = [Path(table)] if isinstance(table, str | Path) else []
    there = find(source, leave)
    if table is None:
        rows = [Row(each.file, each.record, None, None, float("nan"), None, (), {}) for each in there]
        return list(zip(rows, there)), Table(pd.DataFrame(), {})
    told = own_table.read(table, columns)
    files = match(source, there, told.rows["file"].tolist())
    missing = [entry for entry, each in zip(told.rows["file"], files) if each is None]
    if missing and absent == "refuse":
        raise InputError(
            f"{source} lacks {count(len(missing))} that the table lists ({', '.join(missing[:5])}"
            f"{', ...' * (len(missing) > 5)}); get the files, correct the table, or leave them out (absent='skip')."
        )
    if missing:
        told.notes.append(f"{count(len(missing))} left out, being listed and not there.")
    if more := len(there) - (len(files) - len(missing)):
        told.notes.append(f"{count(more)} in the folder left out, not being listed.")
    rows = []
    for each, said in zip(files, told.rows.to_dict("records")):
        if each is not None:
            fold = None if pd.isna(said["fold"]) else int(said["fold"])
            patient = said["patient"]
            if patient is not None and "fold" not in told.has:
                fold = deal(patient)
            kept = {column: said[column] for column in columns.keep}
            person = (patient, fold, said["age"], said["sex"], tuple(said["statements"]))
            rows.append((Row(each.file, each.record, *person, kept), each))
    return rows, told


def _notes(told: Table, from_files: bool) -> list[str]:
    notes = list(told.notes)
    if "fold" not in told.has:
        notes.insert(0, "Folds are ours: a checksum of the patient modulo 10, plus 1.")
    if from_files:
        notes.append("Patients are told by the identifiers in the files, where they have one, kept as checksums.")
    return notes


def _nothing_left(source: Path, rows: Sequence[tuple[Row, Found]], given: tuple) -> InputError:
    """What to say when every record was dropped: most often the unit is wrong, and all signals round to 0."""
    why = ""
    for row, _ in rows[:20]:
        try:
            notes = read(source / row.file, given).notes
        except InputError:
            continue
        why = f" ({row.file} {notes[0]})" if notes else ""
        break
    return InputError(
        f"every record of {source} has missing samples or a flat lead{why}; correct them, or keep them (bad='keep')."
    )


def _leads(source: Path, rows: Sequence[tuple[Row, Found]], given: tuple, unreadable: Absent) -> tuple[str, ...]:
    """All twelve where the first record that can be read has or gives them, else those that it has."""
    for row, _ in rows:
        try:
            have = read(source / row.file, given).leads
        except InputError:
            if unreadable == "refuse":
                raise
            continue
        limb = [lead for lead in LEADS[:6] if lead in have]
        return LEADS if len(limb) > 1 and set(LEADS[6:]) <= set(have) else tuple(x for x in LEADS if x in have)
    raise InputError(f"{source} holds no file that can be read; look at one with `python -m ecglib.datasets.records`.")


def _key(options: Sequence[Any], rows: Sequence[tuple[Row, Found]], told: Table) -> str:
    """Options, the files' names, sizes and times, and all that the table says."""
    facts = [*options, told.label_sets, told.notes]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for row, each in rows:
        digest.update(f"{row!r} {each.size} {each.stamp}\n".encode())
    return f"own {digest.hexdigest()}"
