"""Chapman-Shaoxing as published on figshare: 10,646 ten-second twelve-lead ECGs of as many patients, one rhythm each.

Source: Zheng et al., Scientific Data 7:48 (2020), doi 10.1038/s41597-020-0386-x; the collection is doi
10.6084/m9.figshare.c.4560497. Diagnostics.xlsx lists the records; ECGData/ holds them as recorded, a CSV of 5000 rows
and 12 columns in uV each, ECGDataDenoised/ as filtered by the authors. The PhysioNet set "ecg-arrhythmia" and the
Challenge of 2021 hold the same records in WFDB under other names, with SNOMED CT codes; `challenge` reads these.

Rules
- ECGData's files begin with a row of lead names, ECGDataDenoised's do not: the first line tells. Without names the
  columns are taken in the standard order, which the check of the limb leads would contradict.
- Statements are the codes of "Rhythm" (one a record) and of "Beat" (none or several, NONE for none).
- Tasks: "rhythm", eleven rhythms by their names, since AF here means atrial flutter; "rhythm4", the four groups into
  which the paper merges them; "condition", the codes of Beat that occur, as they stand.
- Sinus irregularity is SA in Diagnostics.xlsx and SI in RhythmNames.xlsx; both are read as the same.
- Each record is its own patient; folds are ours, by a checksum of the record's name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.chapman_files import CONDITIONS, RHYTHMS, TABLE, listed, read_csv, unnamed
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

FOLDERS = {"raw": "ECGData", "denoised": "ECGDataDenoised"}
Signals = Literal["raw", "denoised"]
RATE, LENGTH = 500, 5000  # Hz and samples of the published records
SCALE = 0.001  # mV per count: the 1 uV of the published numbers
CHUNK = 64

ABOUT = About(
    name="chapman",
    title="Chapman-Shaoxing 12-lead ECG database (figshare)",
    version="2",
    url="https://doi.org/10.6084/m9.figshare.c.4560497.v2",
    licence="not checked; figshare tells it before the download (two readers disagree: CC0 or CC BY 4.0)",
    citation=(
        "Zheng J, Zhang J, Danioko S, Yao H, Guo H, Rakovski C. A 12-lead electrocardiogram database for arrhythmia "
        "research covering more than 10,000 patients. Scientific Data 7, 48 (2020). "
        "https://doi.org/10.1038/s41597-020-0386-x"
    ),
    records=10646,
    size_gb="about 8.5 with both folders",
    rate=RATE,
    leads=12,
    labels="one of 11 rhythms and any of 56 other conditions, by a physician; the machine's intervals beside them",
    traps=(
        "AF is atrial flutter here and AFIB atrial fibrillation; classes go by their full names.",
        "Sinus irregularity is SA in Diagnostics.xlsx and SI in RhythmNames.xlsx; they are one class.",
        "The denoised files have no row of lead names, so that readers which expect one lose their first sample.",
        "Some records hold leads of zeros, and some denoised ones stop early; they are dropped or kept, and counted.",
        "The same records are in PhysioNet's ecg-arrhythmia and the Challenge of 2021 under other names: do not test "
        "on one what was trained on the other.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds Diagnostics.xlsx and one of the folders of signals."""
    return (source / TABLE).is_file() and any((source / name).is_dir() for name in FOLDERS.values())


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    signals: Signals = "raw",
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    absent: Absent = "refuse",
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read Chapman-Shaoxing once and write it as a cohort; where `to` holds that cohort already, open it.

    Beside what every cohort has, the table holds source_record, rhythm (the code) and the machine's measurements
    (`chapman_files.MEASURED`).

    Args:
        source: the folder with Diagnostics.xlsx and ECGData/ or ECGDataDenoised/. to: the cohort's folder.
        rate: Hz, to which the 500 Hz of the records are resampled.
        seconds, longer, shorter: the segments, 10 s at most; see :mod:`ecglib.datasets.rule`.
        signals: as recorded, or as filtered by the authors.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        absent: records that are listed and not there are an error, or left out and counted: for a part of the set.
        workers: processes that read; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no Chapman-Shaoxing; a file that is missing, cut within a row or of another layout; a record listed
            twice; a rhythm that is none of `RHYTHMS`; a rate that 500 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = _target(rate, seconds, longer, shorter, absent)
    files = _files(source, signals)
    built_from = _key(source, files, signals, bad, target, absent)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    table, left_out = listed(source, {Path(file).stem for file in files}, FOLDERS[signals], absent)
    notes = ["Every record is its own patient; folds are ours: a checksum of its name modulo 10, plus 1."]
    if left_out:
        notes.append(f"{count(left_out)} left out, being listed and not there.")
    if signals == "denoised":
        notes.append("Signals are those that the authors filtered (ECGDataDenoised).")
    notes += unnamed(table["statements"], source / CONDITIONS)
    units = [table.iloc[k : k + CHUNK] for k in range(0, len(table), CHUNK)]
    return build_parts(
        to, units, _Reader(str(source / FOLDERS[signals]), target), about=ABOUT,
        expected=wfdb_files.Expected(LEADS, target.rate, target.samples, SCALE), bad=bad, key=built_from,
        source=f"Chapman-Shaoxing, {ABOUT.url}", source_version=ABOUT.version, notes=notes, label_sets=_label_sets,
        records=len(table), empty=f"no record is {target.seconds:g} s long; choose shorter segments, or pad or tile.",
        workers=workers, progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    signals: Signals = "raw",
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    absent: Absent = "refuse",
) -> str:
    """What `build` would be building: another key when a table, a record's size or time, or the options change."""
    source = Path(source).absolute()
    target = _target(rate, seconds, longer, shorter, absent)
    return _key(source, _files(source, signals), signals, bad, target, absent)


@dataclass(frozen=True)
class _Reader:
    """Reads some of the table's records."""

    folder: str
    target: rule.Target

    def __call__(self, table: pd.DataFrame) -> Raw:
        segments, zeros, short = Segments(self.target, SCALE), [], []
        for record in table["source_record"]:
            file = os.path.join(self.folder, f"{record}.csv")
            signal, leads = read_csv(file)
            if _longest(~signal.any(axis=0)) >= RATE:
                zeros.append(record)
            if signal.shape[1] < LENGTH:
                short.append(record)
            try:
                segments.add(record, signal, leads, RATE)
            except InputError as error:
                raise InputError(f"{file}: {error}") from None
        counts = {
            "{records} read with all leads at zero for a second or more ({names}).": zeros,
            f"{{records}} read with fewer than {LENGTH:,} samples ({{names}}).": short,
        }
        return segments.raw(table, counts)


def _target(rate: int, seconds: float, longer: rule.Longer, shorter: rule.Shorter, absent: Absent) -> rule.Target:
    """The options that say what is wanted, checked."""
    one_of("absent", absent, get_args(Absent))
    target = rule.Target(rate, seconds, longer=longer, shorter=shorter)
    if seconds is None or seconds > LENGTH / RATE:
        raise InputError(f"seconds is {seconds!r}, but the records of Chapman-Shaoxing are 10 s long; give 10 or less.")
    return target


def _files(source: Path, signals: Signals) -> dict[str, os.stat_result]:
    """{path: its facts} of the folder's CSV files, by name; one look at the folder, not one for each record."""
    one_of("signals", signals, FOLDERS)
    if not (source / TABLE).is_file():
        what = f"has no {TABLE}" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of Chapman-Shaoxing that holds it.")
    folder = source / FOLDERS[signals]
    if not folder.is_dir():
        raise InputError(f"{source} has no folder {folder.name}; unpack {folder.name}.zip there.")
    with os.scandir(folder) as entries:
        facts = {entry.path: entry.stat() for entry in entries if entry.name.endswith(".csv")}
    return dict(sorted(facts.items()))


def _label_sets(statements: Sequence[str]) -> dict[str, dict[str, str]]:
    conditions = {code: code for code in statements if code not in RHYTHMS}
    return {
        "rhythm": {code: name for code, (name, _) in RHYTHMS.items()},
        "rhythm4": {code: group for code, (_, group) in RHYTHMS.items()},
    } | ({"condition": conditions} if conditions else {})


def _longest(flags: np.ndarray) -> int:
    """The longest run of True in (T,)."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))  # begins and ends in turn
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _key(
    source: Path, files: dict[str, os.stat_result], signals: str, bad: str, target: rule.Target, absent: str
) -> str:
    """Folder, tables, names, sizes and times of the records, options, builder."""
    options = [signals, bad, target.rate, target.seconds, target.longer, target.shorter, absent]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for name in (TABLE, CONDITIONS):
        if (source / name).is_file():
            digest.update(f"{name} {hashlib.sha256((source / name).read_bytes()).hexdigest()}\n".encode())
    for path, facts in files.items():
        digest.update(f"{os.path.basename(path)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"chapman {digest.hexdigest()}"
