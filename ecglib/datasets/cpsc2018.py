"""CPSC2018 (also ICBEB2018): the 6,877 public twelve-lead records of the China Physiological Signal Challenge 2018.

Source: Liu et al., An open access database for evaluating the algorithms of electrocardiogram rhythm and morphology
abnormality detection, Journal of Medical Imaging and Health Informatics 8(7):1368-1373 (2018), doi
10.1166/jmihi.2018.2442. A record is a MATLAB file (version 5) with one struct ECG of sex, age and data (12, T) in mV at
500 Hz, from 6 to 60 s long; REFERENCE.csv gives it up to three of nine classes by number.

All segments of a record have its classes, though a premature beat may lie in one of them only. Nothing says which
records are of one person, so each is its own patient; folds are ours, by a checksum of the record's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.csv_table import read_csv
from ecglib.datasets.folds import deal
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Bad, count
from ecglib.datasets.records import mat
from ecglib.datasets.records.channels import sex_of, single
from ecglib.datasets.segments import Segments
from ecglib.datasets.wfdb_files import Expected, read_bytes
from ecglib.errors import InputError
from ecglib.leads import LEADS

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE = "REFERENCE.csv"
COLUMNS = ("Recording", "First_label", "Second_label", "Third_label")
CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
"""By their numbers in REFERENCE.csv, from 1."""
RATE = 500  # Hz, of every published record; the files do not say it
SCALE = 0.001  # mV per count
TOGETHER = 32
"""Records of a unit of work."""

ABOUT = About(
    name="cpsc2018",
    title="China Physiological Signal Challenge 2018 (ICBEB2018), training set",
    version="2018",
    url="http://2018.icbeb.org/Challenge.html",
    licence=NOT_CHECKED,
    citation=(
        "Liu F, Liu C, Zhao L, Zhang X, Wu X, Xu X, Liu Y, Ma C, Wei S, He Z, Li J, Kwee ENY. An Open Access Database "
        "for Evaluating the Algorithms of Electrocardiogram Rhythm and Morphology Abnormality Detection. Journal of "
        "Medical Imaging and Health Informatics 8(7), 1368-1373 (2018). https://doi.org/10.1166/jmihi.2018.2442"
    ),
    records=6877,
    size_gb=NOT_CHECKED,
    rate=RATE,
    leads=12,
    labels=f"one to three of nine classes a record: {', '.join(CLASSES)}",
    traps=(
        "Records last from 6 to 60 s: the shorter ones are dropped, tiled or padded as asked, the longer ones cut.",
        "Labels are of whole records, so a segment labelled PAC or PVC may hold no such beat.",
        "The same records are in the PhysioNet challenges of 2020 and 2021: a model trained on those has seen them.",
        "The test set was never published, so folds are ours.",
        "Patients are not given, so records of one person may lie in several folds.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds REFERENCE.csv with this data set's columns, in itself or in a folder of it."""
    return any(_first_line(file).startswith(",".join(COLUMNS[:2])) for file in _tables(source))


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read CPSC2018 once and write it as a cohort; where `to` holds that cohort already, open it.

    The task "cpsc" holds the nine classes; the column source_record says which record a segment is of.

    Args:
        source: the folder with REFERENCE.csv and the .mat files, in whatever folders below. to: the cohort's folder.
        rate: Hz, to which the 500 Hz of the records are resampled.
        bad: what to do with segments that have missing samples or a flat lead; see :class:`Screen`.
        seconds, longer, shorter: the segments; see :mod:`ecglib.datasets.rule`.
        workers: processes that read, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no CPSC2018; a file that is missing, cut short or of another layout; a record listed twice or with a
            label that is none of the nine; a rate that 500 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = rule.Target(rate, seconds, longer=longer, shorter=shorter)
    table = _table_file(source)
    files = _files(source)
    built_from = _key(source, table, files, bad, target)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    labels = _read_table(table)
    if missing := [record for record in labels if record not in files]:
        raise InputError(
            f"{source} lacks {count(len(missing))} that {TABLE} lists, {missing[0]}.mat the first; get the rest."
        )
    notes = [
        "Every record counts as its own patient; folds are ours, by a checksum of the record's name.",
        "A segment has the labels of its whole record.",
    ]
    if unlisted := len(files) - len(labels):
        notes.append(f"{count(unlisted)} left out, not being in {TABLE}.")
    records = [(record, files[record], classes) for record, classes in labels.items()]
    return build_parts(
        to, [records[k : k + TOGETHER] for k in range(0, len(records), TOGETHER)], partial(_read, target=target),
        about=ABOUT, expected=Expected(LEADS, target.rate, target.samples, SCALE), bad=bad, key=built_from,
        source=f"CPSC2018, {ABOUT.url}", source_version=ABOUT.version, notes=notes,
        label_sets={"cpsc": {name: name for name in CLASSES}}, records=len(records),
        empty=f"no record of {TABLE} is {target.seconds:g} s long; choose shorter segments.", workers=workers,
        progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
) -> str:
    """What `build` would be building: another key when the table, the files there or the options change."""
    source = Path(source).absolute()
    target = rule.Target(rate, seconds, longer=longer, shorter=shorter)
    return _key(source, _table_file(source), _files(source), bad, target)


def read_record(file: Path) -> tuple[np.ndarray, float, str | None]:
    """(12, T) float32 mV in the canonical order, age in years or NaN, and "male", "female" or None.

    Raises:
        InputError: a file that is missing, damaged, or no record of CPSC2018.
    """
    content = read_bytes(str(file))
    try:
        ecg = mat.read_struct(content, "ECG")
        signal, ages, sexes = single(ecg["data"]), ecg["age"].reshape(-1), ecg["sex"].reshape(-1)
        age = float(ages[0]) if ages.size else np.nan
    except Exception as error:  # a damaged file may break any of these steps
        raise InputError(
            f"{file} is no record of CPSC2018 or damaged ({type(error).__name__}); get it again."
        ) from None
    if signal.ndim != 2 or len(signal) != len(LEADS) or not signal.shape[1]:
        raise InputError(f"{file} holds data of the shape {signal.shape} where (12, samples) is needed; get it again.")
    if np.isinf(signal).any():
        raise InputError(f"{file} holds samples that are infinite; get it again.")
    return signal, age if 0 <= age <= 120 else np.nan, sex_of(sexes[0]) if sexes.size else None


def _read(records: Sequence[tuple[str, Path, list[str]]], target: rule.Target) -> Raw:
    """The segments of some records, each given by its name, its file and its classes."""
    import pandas as pd

    segments, rows = Segments(target, SCALE), []
    for record, file, classes in records:
        signal, age, sex = read_record(file)
        segments.add(record, signal, LEADS, RATE)
        fold = deal(record)
        rows.append((record, age, sex, record, fold, classes))
    columns = ["source_record", "age", "sex", "patient", "fold", "statements"]
    return segments.raw(pd.DataFrame(rows, columns=columns))


def _tables(source: Path) -> list[Path]:
    """REFERENCE.csv in `source`, else those in its folders."""
    if (source / TABLE).is_file():
        return [source / TABLE]
    return sorted(source.glob(f"*/{TABLE}"))


def _first_line(file: Path) -> str:
    with open(file, "rb") as handle:
        return handle.readline(200).decode("utf-8-sig", "replace")


def _table_file(source: Path) -> Path:
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give the folder of CPSC2018 that holds {TABLE}.")
    files = _tables(source)
    if len({file.read_bytes() for file in files}) != 1:
        what = f"holds {len(files)} different {TABLE}" if files else f"holds no {TABLE}"
        raise InputError(f"{source} {what}; give the folder of CPSC2018 with the one that belongs to its records.")
    return files[0]


def _files(source: Path) -> dict[str, Path]:
    """{record: file} of the .mat files below `source`."""
    files: dict[str, Path] = {}
    for file in sorted(source.rglob("*.mat")):
        if file.stem in files:
            raise InputError(f"{file.name} lies both in {files[file.stem].parent} and in {file.parent}; remove one.")
        files[file.stem] = file
    return files


def _read_table(file: Path) -> dict[str, list[str]]:
    """{record: its classes} in the table's order."""
    raw = read_csv(file, COLUMNS)
    if raw.empty:
        raise InputError(f"{file} lists no record; get the file again.")
    named = {str(k): name for k, name in enumerate(CLASSES, start=1)}
    labels: dict[str, list[str]] = {}
    for row, (record, *cells) in enumerate(raw[list(COLUMNS)].itertuples(index=False), start=2):
        record, numbers = record.strip(), [cell.strip() for cell in cells if cell.strip()]
        if not record or record in labels:
            what = f"the Recording {record!r} a second time" if record else "no Recording"
            raise InputError(f"{file} has {what} in row {row}; get the file again.")
        if wrong := [number for number in numbers if number not in named] or [""][len(numbers) :]:
            raise InputError(f"{file} has the label {wrong[0]!r} in row {row}, where 1 to 9 are defined; get it again.")
        labels[record] = list(dict.fromkeys(named[number] for number in numbers))
    return labels


def _key(source: Path, table: Path, files: dict[str, Path], bad: str, target: rule.Target) -> str:
    """Folder, table, names, sizes and times of the records, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, target.shorter]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    digest.update(table.read_bytes())
    for record, file in sorted(files.items()):
        facts = file.stat()
        digest.update(f"{record} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"cpsc2018 {digest.hexdigest()}"
