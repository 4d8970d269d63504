"""The PhysioNet/CinC Challenge of 2011: ten-second twelve-lead ECGs, and whether each is fit to be interpreted.

Source: Silva, Moody & Celi, Computing in Cardiology 38:273-276 (2011). Set a holds 1,000 records in WFDB at 500 Hz,
with the lists RECORDS-acceptable (773) and RECORDS-unacceptable (225); set b (500) was the test set and has no labels.
A converted copy with one table quality.csv (record, quality, filename) is read as well. Two records are in neither
list, which quality.csv calls indeterminate.

Rules
- The statement of a record is its quality; the task "quality" has the two classes of the lists. Records without a
  label, and the two between, keep their signals and have no class.
- More than half the unacceptable records have a flat lead: for this task read with bad="keep", or they are dropped.
- In the copy with quality.csv aVL and aVF are exchanged in every record, which the check of the limb leads counts where
  it is plain; not checked in the published files. ``limb="derived"`` replaces III, aVR, aVL and aVF by what I and II
  make them, before anything is judged flat.
- Nothing says whose the records are: each is its own patient; folds are ours, by a checksum of the record's name.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files, wfdb_folder
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.folds import deal
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.datasets.segments import Segments
from ecglib.datasets.wfdb_folder import Limb
from ecglib.errors import InputError, nearest, one_of
from ecglib.leads import LEADS, derive_limb

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE = "quality.csv"
LISTS = {"acceptable": "RECORDS-acceptable", "unacceptable": "RECORDS-unacceptable"}
QUALITIES = (*LISTS, "indeterminate")
SECONDS = 10  # of every record
BEYOND = 5  # mV: where amplifiers saturate and hearts do not reach
SCALE = 0.005  # mV per count where the files' own cannot be kept
CHUNK = 64
_AGE = re.compile(r"^#.*?\bage\b\W*(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)
_SEX = re.compile(r"^#.*?\b(?:sex|gender)\b\W*([mf])", re.IGNORECASE | re.MULTILINE)

ABOUT = About(
    name="challenge-2011",
    title="PhysioNet/Computing in Cardiology Challenge 2011, set a",
    version="1.0.0",
    url="https://physionet.org/content/challenge-2011/1.0.0/",
    licence="Open Data Commons Attribution License (ODC-By) 1.0",
    citation=(
        "Silva I, Moody GB, Celi L. Improving the quality of ECGs collected using mobile phones: The "
        "PhysioNet/Computing in Cardiology Challenge 2011. Computing in Cardiology 38, 273-276 (2011)."
    ),
    records=1000,
    size_gb=NOT_CHECKED,
    rate=500,
    leads=12,
    labels="acceptable or unacceptable for interpretation, from several annotators' grades; no diagnosis",
    tried_on="the 1,000 records of set a, in a converted copy at 100 Hz; the published layout on a fixture",
    traps=(
        "In the copy with quality.csv aVL and aVF are exchanged in every record (not checked in the published files); "
        "limb='derived' makes both from I and II.",
        "Of that copy's records without a flat lead 19 % reach beyond 5 mV: saturated amplifiers, not hearts; they are "
        "counted, and quality.plausible leaves them out.",
        "Of the 225 unacceptable records 132 have a flat lead; bad='drop' leaves them out, so keep them here.",
        "Two records are neither acceptable nor unacceptable; they have no class.",
        "Patients are not told, so records of one person may lie in several folds.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source`, or its set-a, holds the two lists or the table of qualities."""
    return _labels_in(source) is not None


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float = SECONDS,
    bad: Bad = "drop",
    limb: Limb = "recorded",
    longer: rule.Longer = "segment",
    absent: Absent = "refuse",
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read set a once and write it as a cohort; where `to` holds that cohort already, open it.

    Args:
        source: the challenge's folder, its set-a, or a copy with quality.csv. to: the cohort's folder.
        rate: Hz, to which the records are resampled.
        seconds, longer: the segments, 10 s at most; see :mod:`ecglib.datasets.rule`.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        limb: "derived" replaces III, aVR, aVL and aVF by what I and II make them; "recorded" leaves them.
        absent: records that have a label and are not there are an error, or left out and counted.
        workers: processes that read; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no such set; a record that is missing, cut short, of another rate, length or unit than the first, or
            in both lists; an unknown quality; a rate that the records' cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target, folder = _target(rate, seconds, longer, limb, absent), _folder(source)
    stems = _stems(folder, absent)
    built_from = _key(folder, stems, bad, target, limb, absent)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    table, notes = _listed(folder, stems, absent)
    if limb == "derived":
        notes.append("III, aVR, aVL and aVF are derived from I and II.")
    layout = wfdb_files.layout_of(f"{folder / table['file'].iloc[0]}.hea")
    expected = wfdb_files.Expected(LEADS, int(layout.rate), layout.length, layout.scale or SCALE, exact=False)
    units = [table.iloc[k : k + CHUNK] for k in range(0, len(table), CHUNK)]
    return build_parts(
        to, units, _Reader(str(folder), expected, target, limb), about=ABOUT,
        expected=wfdb_files.Expected(LEADS, target.rate, target.samples, expected.scale), bad=bad, key=built_from,
        source=f"WFDB records in {source.name}", source_version=ABOUT.version, notes=notes,
        label_sets={"quality": {name: name for name in LISTS}}, records=len(table),
        empty=f"no record is {target.seconds:g} s long; choose shorter segments.", workers=workers, progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float = SECONDS,
    bad: Bad = "drop",
    limb: Limb = "recorded",
    longer: rule.Longer = "segment",
    absent: Absent = "refuse",
) -> str:
    """What `build` would be building: another key when the labels, the headers there or the options change."""
    target, folder = _target(rate, seconds, longer, limb, absent), _folder(Path(source).absolute())
    return _key(folder, _stems(folder, absent), bad, target, limb, absent)


@dataclass(frozen=True)
class _Reader:
    """Reads some of the table's records."""

    folder: str
    expected: wfdb_files.Expected
    target: rule.Target
    limb: Limb

    def __call__(self, table: pd.DataFrame) -> Raw:
        stems = [os.path.join(self.folder, file) for file in table["file"]]
        (chunk,) = wfdb_files.read(stems, self.expected, chunk=len(stems))
        segments, beyond = Segments(self.target, self.expected.scale), 0
        for file, counts, agree, clipped in zip(table["file"], chunk.signals, chunk.agree, chunk.clipped):
            mv = counts * np.float32(self.expected.scale)  # (12, T)
            mv[counts == wfdb_files.MISSING] = np.nan
            beyond += bool((np.abs(mv) > BEYOND).any())
            if self.limb == "derived":
                mv[2:6] = derive_limb(mv[0], mv[1])
            segments.add(file, mv, LEADS, self.expected.rate, agree=agree, clipped=clipped)
        comments = [wfdb_files.read_bytes(f"{stem}.hea").decode("latin1") for stem in stems]
        rows = table.assign(age=[_age(text) for text in comments], sex=[_sex(text) for text in comments])
        noted = {f"{{records}} read with samples beyond {BEYOND} mV.": beyond}
        return segments.raw(rows, noted, through_wfdb=chunk.through_wfdb)


def _target(rate: int, seconds: float, longer: rule.Longer, limb: Limb, absent: Absent) -> rule.Target:
    """The options that say what is wanted, checked."""
    one_of("absent", absent, get_args(Absent))
    one_of("limb", limb, get_args(Limb))
    target = rule.Target(rate, seconds, longer=longer)
    if seconds is None or seconds > SECONDS:
        raise InputError(f"seconds is {seconds!r}, but the records of this challenge are 10 s long; give 10 or less.")
    return target


def _labels_in(source: Path) -> Path | None:
    """The folder, `source` or its set-a, that holds the labels; None where neither does."""
    for folder in (source, source / "set-a"):
        if all((folder / name).is_file() for name in LISTS.values()) or _is_table(folder / TABLE):
            return folder
    return None


def _is_table(file: Path) -> bool:
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as lines:
            return {"record", "quality"} <= set(lines.readline(4096).strip().split(","))
    except OSError:
        return False


def _folder(source: Path) -> Path:
    if (folder := _labels_in(source)) is None:
        what = f"has neither {' and '.join(LISTS.values())} nor a {TABLE}" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of the 2011 challenge or its set-a.")
    return folder


def _stems(folder: Path, absent: Absent) -> list[str]:
    """The records' paths without suffix; where they may be absent, of those that are there."""
    stems = wfdb_folder.find(folder)
    if absent == "skip" and not (stems := [stem for stem in stems if os.path.isfile(f"{stem}.hea")]):
        raise InputError(f"{folder} holds no record that RECORDS lists; get some of them.")
    return stems


def _qualities(folder: Path) -> dict[str, str]:
    """{record: quality} of the lists, or of the table where they are not there."""
    if (folder / LISTS["acceptable"]).is_file():
        said = [(name, quality) for quality, file in LISTS.items() for name in _read(folder / file).split()]
        where = f"{folder / LISTS['acceptable']} and {LISTS['unacceptable']} together"
    else:
        where = f"{folder / TABLE}"
        rows = csv.DictReader(_read(folder / TABLE).splitlines())
        said = [((row["record"] or "").strip(), (row["quality"] or "").strip()) for row in rows]
    qualities: dict[str, str] = {}
    for name, quality in said:
        if quality not in QUALITIES:
            raise InputError(f"{where} say {name} is {quality!r}.{nearest(quality, QUALITIES)}")
        if name in qualities:
            raise InputError(f"{where} list the record {name} twice; get the lists again.")
        qualities[name] = quality
    return qualities


def _read(file: Path) -> str:
    try:
        return wfdb_files.read_bytes(str(file)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is no text; get the file again.") from None


def _listed(folder: Path, stems: list[str], absent: Absent) -> tuple[pd.DataFrame, list[str]]:
    """The records to read, and notes."""
    import pandas as pd

    qualities = _qualities(folder)
    names = [os.path.basename(stem) for stem in stems]
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise InputError(f"{folder} holds two records {twice[0]}; remove one.")
    missing = [name for name in qualities if name not in set(names)]
    if missing and absent == "refuse":
        raise InputError(f"{folder} has no record {missing[0]}, which has a label; get it, or pass absent='skip'.")
    table = pd.DataFrame(
        {
            "patient": names,
            "fold": [deal(name) for name in names],
            "statements": [[qualities[name]] if name in qualities else [] for name in names],
            "source_record": names,
            "file": [os.path.relpath(stem, folder) for stem in stems],
        }
    )
    notes = ["Every record is its own patient; folds are ours: a checksum of its name modulo 10, plus 1."]
    if missing:
        notes.append(f"{count(len(missing))} left out, having a label and not being there.")
    if without := sum(quality not in LISTS for quality in map(qualities.get, names)):
        notes.append(f"{count(without)} neither acceptable nor unacceptable, so without a class.")
    return table, notes


def _age(header: str) -> float:
    """Years, 0 being the set's mark for unknown and 90 for all above 89."""
    match = _AGE.search(header)
    return float(match[1]) if match and 0 < float(match[1]) <= 120 else np.nan


def _sex(header: str) -> str | None:
    match = _SEX.search(header)
    return {"m": "male", "f": "female"}[match[1].lower()] if match else None


def _key(folder: Path, stems: list[str], bad: str, target: rule.Target, limb: str, absent: str) -> str:
    """Folder, labels, names, sizes and times of the headers, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, limb, absent]
    digest = hashlib.sha256(json.dumps([VERSION, str(folder), options]).encode())
    for name in (TABLE, *LISTS.values()):
        if (folder / name).is_file():
            digest.update(f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n".encode())
    for stem in stems:
        try:
            facts = os.stat(f"{stem}.hea")
        except OSError:
            raise InputError(f"{stem}.hea is missing, though RECORDS lists it; get the record again.") from None
        digest.update(f"{stem} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"challenge2011 {digest.hexdigest()}"
