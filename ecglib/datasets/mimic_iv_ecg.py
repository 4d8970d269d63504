"""MIMIC-IV-ECG: about 800,000 ten-second twelve-lead records of about 160,000 patients, with what the machine said.

Source: Gow et al., MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset, version 1.0, PhysioNet (2023), doi
10.13026/4nqg-sb35. record_list.csv lists the records (WFDB, 500 Hz), machine_measurements.csv holds up to 18 lines of
report and the intervals of each. In the signal files aVF comes before aVL: leads are matched by name here.

Statements are the machine's lines, without the full stop that some end with. The task "machine" counts a few of them,
and only as whole lines: "Atrial fibrillation with ..." is another statement. A machine's reading is no diagnosis. Age,
sex and the cardiologists' notes are in other parts of MIMIC-IV.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.folds import deal
from ecglib.datasets.mimic_tables import INTERVALS, MACHINE, TABLE, Machine, listed
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError
from ecglib.leads import LEADS, indices

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

STATEMENTS = (
    "Abnormal ECG",
    "Atrial fibrillation",
    "Borderline ECG",
    "Left axis deviation",
    "Left bundle branch block",
    "Left ventricular hypertrophy",
    "Normal ECG",
    "Sinus bradycardia",
    "Sinus rhythm",
    "Sinus tachycardia",
)
RATE, LENGTH = 500, 5000  # Hz and samples of the published records
SCALE = 0.005  # mV per count where the files' own cannot be kept
TOGETHER = 64
"""Records of a unit of work."""


ABOUT = About(
    name="mimic-iv-ecg",
    title="MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset",
    version="1.0",
    url="https://physionet.org/content/mimic-iv-ecg/1.0/",
    licence="Open Data Commons Open Database License (ODbL) 1.0",
    citation=(
        "Gow B, Pollard T, Nathanson LA, Johnson A, Moody B, Fernandes C, Greenbaum N, Waks JW, Eslami P, Carbonati T, "
        "Chaudhari A, Herbst E, Moukheiber D, Berkowitz S, Mark R, Horng S. MIMIC-IV-ECG: Diagnostic Electrocardiogram "
        "Matched Subset (version 1.0). PhysioNet (2023). https://doi.org/10.13026/4nqg-sb35"
    ),
    records=800035,
    size_gb=97.0,
    rate=RATE,
    leads=12,
    labels="lines of the machine's report, read by no physician",
    traps=(
        "In the signal files aVF comes before aVL; leads are matched by name.",
        "Some statements end with a full stop; it is taken off.",
        "29999 stands for an interval that was not measured; it is read as missing.",
        "Records with missing samples are dropped, or the samples set to 0 mV, as asked, and counted.",
        "A patient has many records; folds are ours, by a checksum of the patient, so none lies in two.",
        "Dates are shifted for each patient, so they order the records of one and compare none of two.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds the two tables."""
    return (source / TABLE).is_file() and (source / MACHINE).is_file()


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    absent: Absent = "refuse",
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read MIMIC-IV-ECG once and write it as a cohort; where `to` holds that cohort already, open it.

    Beside what every cohort has, the table holds source_record, ecg_time (shifted), and the machine's `INTERVALS`.

    Args:
        source: the folder with record_list.csv, machine_measurements.csv and files/. to: the cohort's folder.
        rate: Hz, to which the 500 Hz of the records are resampled.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        seconds, longer: the segments, 10 s at most; see :mod:`ecglib.datasets.rule`.
        absent: records that are listed and not there are an error, or left out and counted: for a part of the set.
        workers: processes that read, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no MIMIC-IV-ECG; a file that is missing, cut short or of another layout; a study listed twice; a
            rate that 500 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = _target(rate, seconds, longer)
    table, left_out = listed(source, absent)
    built_from = _key(source, table, bad, target, absent)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    machine = Machine(table["study_id"], source / MACHINE)
    notes = ["Folds are ours: a checksum of the patient modulo 10, plus 1.", *machine.notes()]
    if left_out:
        notes.append(f"{count(left_out)} left out, being listed and not there.")
    first = _expected(f"{os.path.join(source, table['path'].iloc[0])}.hea")
    return build_parts(
        to, _Units(source, table, machine), partial(_read, expected=first, target=target), about=ABOUT,
        expected=wfdb_files.Expected(LEADS, target.rate, target.samples, first.scale), bad=bad, key=built_from,
        source=f"MIMIC-IV-ECG, {ABOUT.url}", source_version=ABOUT.version, notes=notes,
        label_sets={"machine": {line: line for line in STATEMENTS}}, records=len(table), workers=workers,
        progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    absent: Absent = "refuse",
) -> str:
    """What `build` would be building: another key when a table, the options, or with "skip" the records there change.

    The 800,000 headers are not looked at, which would take minutes on a network's disk.
    """
    source = Path(source).absolute()
    target = _target(rate, seconds, longer)
    return _key(source, listed(source, absent)[0], bad, target, absent)


class _Units:
    """Units of `TOGETHER` records, each made when it is asked for: the paths and the rows."""

    def __init__(self, source: Path, table: pd.DataFrame, machine: Machine) -> None:
        self._source, self._table, self._machine = source, table, machine

    def __len__(self) -> int:
        return -(-len(self._table) // TOGETHER)

    def __getitem__(self, k: int) -> tuple[list[str], pd.DataFrame]:
        import pandas as pd

        rows = range(k * TOGETHER, min((k + 1) * TOGETHER, len(self._table)))
        studies, subjects, times, paths = (
            self._table[name].iloc[rows.start : rows.stop].tolist()
            for name in ("study_id", "subject_id", "ecg_time", "path")
        )
        frame = pd.DataFrame(
            {
                "source_record": studies,
                "patient": subjects,
                "fold": [deal(subject) for subject in subjects],
                "age": np.nan,
                "sex": None,
                "statements": [self._machine.statements(row) for row in rows],
                "ecg_time": times,
                **dict(zip(INTERVALS, self._machine.intervals[rows.start : rows.stop].T)),
            }
        )
        return [os.path.join(self._source, path) for path in paths], frame


def _read(unit: tuple[Sequence[str], pd.DataFrame], expected: wfdb_files.Expected, target: rule.Target) -> Raw:
    """The segments of some records, given by their paths and rows."""
    stems, rows = unit
    segments, scale = Segments(target, expected.scale), np.float32(expected.scale)
    (chunk,) = wfdb_files.read(stems, expected, chunk=len(stems), threads=1)
    for name, counts, agree, clipped in zip(rows["source_record"], chunk.signals, chunk.agree, chunk.clipped):
        mv = np.where(counts == wfdb_files.MISSING, np.float32(np.nan), counts * scale)  # (12, T)
        segments.add(name, mv, expected.leads, RATE, agree=agree, clipped=clipped)
    return segments.raw(rows, through_wfdb=chunk.through_wfdb)


def _target(rate: int, seconds: float, longer: rule.Longer) -> rule.Target:
    if seconds is None or not 0 < seconds <= LENGTH / RATE:
        raise InputError(f"seconds is {seconds!r}, but the records of MIMIC-IV-ECG are 10 s long; give 10 or less.")
    return rule.Target(rate, seconds, longer=longer)


def _expected(header: str) -> wfdb_files.Expected:
    """What the first header sets for all: the order of the leads, and the scale."""
    layout = wfdb_files.layout_of(header)
    try:
        indices(layout.leads, LEADS)
    except InputError as error:
        raise InputError(f"{header}: {error} Correct the header or get the record again.") from None
    return wfdb_files.Expected(layout.leads, RATE, LENGTH, layout.scale or SCALE)


def _key(source: Path, table: pd.DataFrame, bad: str, target: rule.Target, absent: str) -> str:
    """Folder, both tables, the records there, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, absent]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for name in (TABLE, MACHINE):
        with open(source / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update("\n".join(table["study_id"]).encode())
    return f"mimic-iv-ecg {digest.hexdigest()}"
