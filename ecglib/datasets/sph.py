"""Shandong Provincial Hospital (SPH): 25,770 twelve-lead ECGs of 10 to 60 s of 24,666 patients, with AHA statements.

Source: Liu et al., Scientific Data 9:272 (2022), doi 10.1038/s41597-022-01403-5; the collection is doi
10.6084/m9.figshare.c.5779802. metadata.csv lists the records, code.csv the statements, records/A00001.h5 holds a data
set "ecg" (12, N) of float16 in mV at 500 Hz, leads in the standard order.

Rules
- "60+310;147" is two statements (;), the first with a modifier (+). A code from 200 to 499 is a modifier, any other a
  primary statement (the authors' own code has it so). The record's statements are the primary codes, each once; the
  column aha_code keeps all as published, and modifiers the codes of modifiers alone.
- Tasks: "all", the primary statements by code.csv's descriptions; "category", by code.csv's categories. Its letters are
  those of the AHA/ACC/HRS recommendations (Mason et al., Circulation 115:1325, 2007) and go by their headings here.
- Longer records are cut into segments, each with the statements of the whole, though what they name may lie in another.
- Folds are ours, by a checksum of the patient, so that none lies in two.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import hdf5, rule, wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.csv_table import read_csv
from ecglib.datasets.folds import deal
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE, CODES, FOLDER, DATASET = "metadata.csv", "code.csv", "records", "ecg"
COLUMNS = ("ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex", "N", "Date")
CATEGORIES = {
    "A": "overall interpretation",
    "B": "technical conditions",
    "C": "sinus node rhythms and arrhythmias",
    "D": "supraventricular arrhythmias",
    "E": "supraventricular tachyarrhythmias",
    "F": "ventricular arrhythmias",
    "G": "ventricular tachyarrhythmias",
    "H": "atrioventricular conduction",
    "I": "intraventricular and intra-atrial conduction",
    "J": "axis and voltage",
    "K": "chamber hypertrophy or enlargement",
    "L": "ST segment, T wave and U wave",
    "M": "myocardial infarction",
    "N": "pacemaker",
}
RATE = 500  # Hz of the published records
SCALE = 0.001  # mV per count: float16 has no finer step beyond 1 mV
BEYOND = 10  # mV that no surface ECG reaches
CHUNK = 64

ABOUT = About(
    name="sph",
    title="Shandong Provincial Hospital 12-lead ECG database (SPH)",
    version="1",
    url="https://doi.org/10.6084/m9.figshare.c.5779802.v1",
    licence="not checked; figshare tells it before the download (two readers disagree: CC0 or CC BY 4.0)",
    citation=(
        "Liu H, Chen D, Chen D, Zhang X, Li H, Bian L, Shu M, Wang Y. A large-scale multi-label 12-lead "
        "electrocardiogram database with standardized diagnostic statements. Scientific Data 9, 272 (2022). "
        "https://doi.org/10.1038/s41597-022-01403-5"
    ),
    records=25770,
    size_gb=2.3,
    rate=RATE,
    leads=12,
    labels="44 primary AHA/ACC/HRS statements and 15 modifiers, by a physician",
    traps=(
        "records.tar.gz is a plain tar in spite of its name.",
        "Records last 10 to 60 s; the longer ones are cut into segments, each with the statements of the whole.",
        "1,066 patients have two to five records; folds are by patient.",
        "Two records list the statement of a normal ECG twice; each statement counts once.",
        "About 320 records reach beyond 10 mV, some beyond 100 mV, which no heart does; they are counted, and clipped "
        "at 32.767 mV.",
        "Noise of the mains, of the baseline and of muscles was filtered by the machine.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds code.csv, and metadata.csv with the columns of SPH."""
    try:
        with open(source / TABLE, encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(4096)
    except OSError:
        return False
    return {"ECG_ID", "AHA_Code"} <= {name.strip().strip('"') for name in first.split(",")} and (
        source / CODES
    ).is_file()


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    absent: Absent = "refuse",
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read SPH once and write it as a cohort; where `to` holds that cohort already, open it.

    Beside what every cohort has, the table holds source_record, aha_code, modifiers and date.

    Args:
        source: the folder with metadata.csv, code.csv and records/. to: the cohort's folder.
        rate: Hz, to which the 500 Hz of the records are resampled.
        seconds, longer, shorter: the segments; see :mod:`ecglib.datasets.rule`.
        bad: what to do with segments that have missing samples or a flat lead; see :class:`Screen`.
        absent: records that are listed and not there are an error, or left out and counted: for a part of the set.
        workers: processes that read; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no SPH; a file that is missing, damaged or of another shape or length than metadata.csv says; a
            record listed twice; a code that is not in code.csv; a rate that 500 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = _target(rate, seconds, longer, shorter, absent)
    files = _files(source)
    built_from = _key(source, files, bad, target, absent)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    codes = _codes(source / CODES)
    table, left_out = _listed(source, {Path(file).stem for file in files}, codes, absent)
    notes = ["Folds are ours: a checksum of the patient modulo 10, plus 1."]
    if left_out:
        notes.append(f"{count(left_out)} left out, being listed and not there.")
    units = [table.iloc[k : k + CHUNK] for k in range(0, len(table), CHUNK)]
    return build_parts(
        to, units, _Reader(str(source / FOLDER), target), about=ABOUT,
        expected=wfdb_files.Expected(LEADS, target.rate, target.samples, SCALE), bad=bad, key=built_from,
        source=f"Shandong Provincial Hospital, {ABOUT.url}", source_version=ABOUT.version, notes=notes,
        label_sets=_label_sets(codes), records=len(table),
        empty=f"no record is {target.seconds:g} s long; choose shorter segments, or pad or tile.",
        workers=workers, progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    absent: Absent = "refuse",
) -> str:
    """What `build` would be building: another key when a table, a record's size or time, or the options change."""
    source = Path(source).absolute()
    target = _target(rate, seconds, longer, shorter, absent)
    return _key(source, _files(source), bad, target, absent)


@dataclass(frozen=True)
class _Reader:
    """Reads some of the table's records."""

    folder: str
    target: rule.Target

    def __call__(self, table: pd.DataFrame) -> Raw:
        segments, beyond = Segments(self.target, SCALE), []
        for record, length in zip(table["source_record"], table["samples"]):
            file = os.path.join(self.folder, f"{record}.h5")
            signal = _read(file, int(length))
            if (np.abs(signal) > BEYOND).any():
                beyond.append(record)
            try:
                segments.add(record, signal, LEADS, RATE)
            except InputError as error:
                raise InputError(f"{file}: {error}") from None
        cut = sum(many > 1 for many in segments.each)
        counts = {
            f"{{records}} cut into segments of {self.target.seconds:g} s, each with the statements of the whole.": cut,
            f"{{records}} read with samples beyond {BEYOND} mV ({{names}}).": beyond,
        }
        return segments.raw(table.drop(columns="samples"), counts)


def _read(file: str, length: int) -> np.ndarray:
    """(12, N) float32 mV of one record."""
    with hdf5.opened(file) as handle:
        signal = hdf5.whole(hdf5.dataset(handle, DATASET, (len(LEADS), None)))
    if signal.shape[1] != length:
        raise InputError(f"{file} has {signal.shape[1]:,} samples where {TABLE} says {length:,}; get the file again.")
    return signal.astype(np.float32)


def _target(rate: int, seconds: float, longer: rule.Longer, shorter: rule.Shorter, absent: Absent) -> rule.Target:
    """The options that say what is wanted, checked."""
    one_of("absent", absent, get_args(Absent))
    if seconds is None:
        raise InputError("seconds is None, but the records of SPH last from 10 to 60 s; give a length such as 10.")
    return rule.Target(rate, seconds, longer=longer, shorter=shorter)


def _files(source: Path) -> dict[str, os.stat_result]:
    """{path: its facts} of the records' files, by name; one look at the folder, not one for each record."""
    for name in (TABLE, CODES):
        if not (source / name).is_file():
            what = f"has no {name}" if source.is_dir() else "is no folder"
            raise InputError(f"{source} {what}; give the folder of SPH that holds it.")
    folder = source / FOLDER
    if not folder.is_dir():
        raise InputError(f"{source} has no folder {FOLDER}; unpack records.tar.gz there (a plain tar, in spite of it).")
    with os.scandir(folder) as entries:
        facts = {entry.path: entry.stat() for entry in entries if entry.name.endswith(".h5")}
    return dict(sorted(facts.items()))


def _codes(file: Path) -> pd.DataFrame:
    """code.csv by code: Description and Category."""
    table = read_csv(file, ("Code", "Description", "Category")).apply(lambda column: column.str.strip())
    if (twice := table["Code"].duplicated()).any():
        raise InputError(f"{file} lists the code {table['Code'][twice].iloc[0]} twice; get the file again.")
    if odd := [code for code in table["Code"] if not code.isdecimal()]:
        raise InputError(f"{file} has the code {odd[0]!r}, which is no number; get the file again.")
    return table.set_index("Code")


def _label_sets(codes: pd.DataFrame) -> dict[str, dict[str, str]]:
    primary = codes[[not _is_modifier(code) for code in codes.index]]
    twice = primary["Description"].duplicated(keep=False)
    names = [
        f"{text} ({code})" if again else text for code, text, again in zip(primary.index, primary["Description"], twice)
    ]
    groups = [CATEGORIES.get(category, category) for category in primary["Category"]]
    return {"all": dict(zip(primary.index, names)), "category": dict(zip(primary.index, groups))}


def _listed(source: Path, there: set[str], codes: pd.DataFrame, absent: Absent) -> tuple[pd.DataFrame, int]:
    """The records to read, in the order of metadata.csv, and how many of it are not there and left out."""
    import pandas as pd

    file = source / TABLE
    table = read_csv(file, COLUMNS)[list(COLUMNS)].apply(lambda column: column.str.strip())
    names = table["ECG_ID"]
    if (gap := table[["ECG_ID", "Patient_ID"]].eq("").any(axis=1)).any():
        raise InputError(f"{file} has an empty cell in row {int(gap.to_numpy().argmax()) + 2}; get the file again.")
    if (twice := names.duplicated()).any():
        raise InputError(f"{file} lists the record {names[twice].iloc[0]} twice; get the file again.")
    if odd := [name for name in names if os.path.basename(name) != name]:
        raise InputError(f"{file} has a record named {odd[0]!r}, which is no file's name; get the file again.")
    if (odd := ~table["N"].str.fullmatch(r"\d{1,9}")).any():
        raise InputError(f"{file} says N of {names[odd].iloc[0]} is {table['N'][odd].iloc[0]!r}; get the file again.")
    missing = ~names.isin(there)
    if missing.any() and absent == "refuse":
        raise InputError(f"{source / FOLDER / names[missing].iloc[0]}.h5 is missing; get it, or pass absent='skip'.")
    table = table[~missing].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{source / FOLDER} holds no record that {TABLE} lists; get some of them.")
    parsed = {text: _parsed(text) for text in table["AHA_Code"].unique()}
    for text, parts in parsed.items():
        if unknown := [code for code in [*parts[0], *parts[1]] if code not in codes.index]:
            name = table["ECG_ID"][table["AHA_Code"] == text].iloc[0]
            raise InputError(f"{file} gives {name} the code {unknown[0]!r}, which is not in {CODES}; get both again.")
    age = pd.to_numeric(table["Age"], errors="coerce").astype(float)
    frame = pd.DataFrame(
        {
            "patient": table["Patient_ID"],
            "fold": [deal(patient) for patient in table["Patient_ID"]],
            "age": age.where(age.between(0, 120)),
            "sex": [{"M": "male", "F": "female"}.get(text.upper()) for text in table["Sex"]],
            "statements": [parsed[text][0] for text in table["AHA_Code"]],
            "source_record": table["ECG_ID"],
            "aha_code": table["AHA_Code"],
            "modifiers": [";".join(parsed[text][1]) for text in table["AHA_Code"]],
            "date": table["Date"],
            "samples": table["N"].astype(int),
        }
    )
    return frame, int(missing.sum())


def _parsed(text: str) -> tuple[list[str], list[str]]:
    """(primary codes, modifiers) of "60+310;147", each once, in order."""
    codes = [code.strip() for code in text.replace("+", ";").split(";")]
    codes = list(dict.fromkeys(code for code in codes if code))
    return [code for code in codes if not _is_modifier(code)], [code for code in codes if _is_modifier(code)]


def _is_modifier(code: str) -> bool:
    return code.isdecimal() and 200 <= int(code) < 500


def _key(source: Path, files: dict[str, os.stat_result], bad: str, target: rule.Target, absent: str) -> str:
    """Folder, tables, names, sizes and times of the records, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, target.shorter, absent]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for name in (TABLE, CODES):
        digest.update(hashlib.sha256((source / name).read_bytes()).digest())
    for path, facts in files.items():
        digest.update(f"{os.path.basename(path)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"sph {digest.hexdigest()}"
