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
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.progress import bar
from ecglib.datasets.quality import Bad, count
from ecglib.datasets.segmented import rows_of, write_segments
from ecglib.errors import InputError, nearest
from ecglib.leads import LEADS, indices

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE, MACHINE = "record_list.csv", "machine_measurements.csv"
COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
INTERVALS = (
    "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end",  # ms
    "p_axis", "qrs_axis", "t_axis",  # degrees
)  # fmt: skip
NO_VALUE = 29999
"""What stands in INTERVALS where the machine measured nothing."""
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
Absent = Literal["refuse", "skip"]

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

    Raises:
        InputError: no MIMIC-IV-ECG; a file that is missing, cut short or of another layout; a study listed twice; a
            rate that 500 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = _target(rate, seconds, longer)
    table, left_out = _listed(source, absent)
    built_from = _key(source, table, bad, target, absent)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    table, notes = _with_reports(table, source / MACHINE)
    stems = [os.path.join(source, path) for path in table.pop("path")]
    expected = _expected(f"{stems[0]}.hea")
    reader = _Reader(table["source_record"].tolist(), stems, expected, target)
    notes.insert(0, "Folds are ours: a checksum of the patient modulo 10, plus 1.")
    if left_out:
        notes.append(f"{count(left_out)} left out, being listed and not there.")
    return write_segments(
        to, bar(reader(), len(stems), "MIMIC-IV-ECG", progress), reader.names,
        lambda kept: (rows_of(table, reader.of, reader.names, kept), ()), about=ABOUT,
        expected=wfdb_files.Expected(LEADS, target.rate, target.samples, expected.scale), bad=bad, key=built_from,
        source=f"MIMIC-IV-ECG, {ABOUT.url}", source_version=ABOUT.version, notes=notes,
        label_sets={"machine": {line: line for line in STATEMENTS}}, progress=progress,
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
    return _key(source, _listed(source, absent)[0], bad, target, absent)


class _Reader:
    """Reads the records in chunks, and remembers of which record each segment is."""

    def __init__(
        self, records: Sequence[str], stems: Sequence[str], expected: wfdb_files.Expected, target: rule.Target
    ) -> None:
        self._records, self._stems, self._expected, self._target = records, stems, expected, target
        self.names: list[str] = []
        self.of: list[int] = []

    def __call__(self) -> Iterator[wfdb_files.Chunk]:
        scale, at = np.float32(self._expected.scale), 0
        for chunk in wfdb_files.read(self._stems, self._expected):
            segments = []
            for counts in chunk.signals:
                mv = np.where(counts == wfdb_files.MISSING, np.float32(np.nan), counts * scale)  # (12, T)
                segments.append(rule.to_target(mv, self._expected.leads, RATE, self._target))  # -> (S, 12, T')
                self.names += rule.segment_names(self._records[at], len(segments[-1]))
                self.of += [at] * len(segments[-1])
                at += 1
            cut = rule.to_chunk(np.concatenate(segments), float(scale))  # (n S, 12, T')
            each = len(segments[0])  # all records are of one length
            cut.agree = np.repeat(chunk.agree, each)
            cut.clipped |= np.repeat(chunk.clipped, each)
            cut.through_wfdb = chunk.through_wfdb
            yield cut


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


def _listed(source: Path, absent: Absent) -> tuple[pd.DataFrame, int]:
    """The records to read, in the order of record_list.csv, and how many of it are not there and left out."""
    if absent not in ("refuse", "skip"):
        raise InputError(f"absent is {absent!r}.{nearest(absent, ('refuse', 'skip'))}")
    if not found(source):
        what = f"has no {TABLE} or no {MACHINE}" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of MIMIC-IV-ECG that holds both.")
    file = source / TABLE
    (table,) = _read_csv(file, COLUMNS, None)
    if (gap := table[["subject_id", "study_id", "path"]].eq("").any(axis=1)).any():
        raise InputError(f"{file} has an empty cell in row {int(gap.to_numpy().argmax()) + 2}; get the file again.")
    if (twice := table["study_id"].duplicated()).any():
        raise InputError(f"{file} lists the study {table['study_id'][twice].iloc[0]} twice; get the file again.")
    table["path"] = table["path"].map(os.path.normpath)
    total = len(table)
    if absent == "skip":
        there = [os.path.isfile(os.path.join(source, f"{path}.hea")) for path in table["path"]]
        table = table[there].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{source} holds no record that {TABLE} lists; get some of files/ as well.")
    return table, total - len(table)


def _with_reports(table: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, list[str]]:
    """A cohort's records from the list and the machine's table, which is read in parts; and notes."""
    import pandas as pd

    wanted = pd.Index(table["study_id"])
    lines: dict[str, str] = {}  # one object for a statement that stands in many records
    statements: dict[str, list[str]] = {}
    parts = []
    for part in _read_csv(file, ("study_id", "report_0", *INTERVALS), 65536):
        part = part[part["study_id"].isin(wanted)]
        reports = part[[name for name in part.columns if name.startswith("report_")]].to_numpy(object)  # (n, 18)
        for study, cells in zip(part["study_id"], reports):
            if study in statements:
                raise InputError(f"{file} lists the study {study} twice; get the file again.")
            said = (cell.strip().removesuffix(".").rstrip() for cell in cells)
            statements[study] = list(dict.fromkeys(lines.setdefault(line, line) for line in said if line))
        numbers = part[list(INTERVALS)].apply(pd.to_numeric, errors="coerce").astype(float)
        parts.append(numbers.set_axis(part["study_id"]))
    measured = pd.concat(parts).reindex(wanted).reset_index(drop=True)
    unmeasured = measured == NO_VALUE
    frame = pd.DataFrame(
        {
            "source_record": table["study_id"],
            "patient": table["subject_id"],
            "fold": [zlib.crc32(subject.encode()) % 10 + 1 for subject in table["subject_id"]],
            "age": np.nan,
            "sex": None,
            "statements": [statements.get(study, []) for study in table["study_id"]],
            "ecg_time": table["ecg_time"],
            "path": table["path"],
        }
    )
    notes = []
    if unmeasured.to_numpy().any():
        notes.append(f"{count(int(unmeasured.any(axis=1).sum()))} with intervals not measured ({NO_VALUE}).")
    if without := len(frame) - len(statements):
        notes.append(f"{count(without)} without a row in {MACHINE}, so without statements.")
    return pd.concat([frame, measured.mask(unmeasured)], axis=1), notes


def _read_csv(file: Path, columns: Sequence[str], rows: int | None) -> Iterator[pd.DataFrame]:
    """A table as text, whole or `rows` at a time; InputError when it lacks `columns` or cannot be read."""
    import pandas as pd

    try:
        parts = pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=rows)
        for part in [parts] if rows is None else parts:
            if missing := [name for name in columns if name not in part.columns]:
                raise InputError(f"{file} has no column {', '.join(missing)}; get the file again.")
            yield part
    except InputError:
        raise
    except (ValueError, OSError) as error:  # the parser's and the decoder's errors are ValueErrors
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again.") from None


def _key(source: Path, table: pd.DataFrame, bad: str, target: rule.Target, absent: str) -> str:
    """Folder, both tables, the records there, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, absent]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for name in (TABLE, MACHINE):
        with open(source / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update("\n".join(table["study_id"]).encode())
    return f"mimic-iv-ecg {digest.hexdigest()}"
