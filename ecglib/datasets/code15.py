"""CODE-15%: 345,779 twelve-lead exams of 233,770 patients of the Telehealth Network of Minas Gerais, Brazil.

Source: Ribeiro et al., Zenodo (2021), doi 10.5281/zenodo.4916206; Ribeiro et al., Nature Communications 11:1760 (2020),
doi 10.1038/s41467-020-15432-4. exams.csv lists the exams; exams_part0.hdf5 to exams_part17.hdf5 hold tracings (N, 4096,
12) at 400 Hz, leads DI DII DIII AVR AVL AVF V1-V6, and exam_id (N,), which tells the exam of each row; the table's own
order is another one, and the last row of a part is zeros with exam_id 0.

Rules
- Exams of about 7 and 10 s were laid into the middle of 4096 zeros. What is kept is everything from the first to the
  last sample at which any of the twelve leads is not exactly 0; zeros in between are signal. `recorded_s` tells how
  long that is. Three in five are shorter than 10 s: they are followed by 0 mV unless `shorter` says otherwise.
- The values are twice the millivolts: the authors' script for these files multiplies by 2, and amplitudes are twice
  those of other collections. (Their "scale 1e-4 V, so multiply volts by 1000" contradicts itself.) See `unit_mv`.
- Task "code": the six abnormalities. An exam with none of them need not be normal: half of all are neither, so that
  "code_none" has a class for none of the six, and "code_normal" one for exams said to be normal (normal_ecg).
- A patient has up to 38 exams, in several parts. Folds are ours, by a checksum of the patient, so none lies in two.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import code_tracings, hdf5, rule
from ecglib.datasets.about import About
from ecglib.datasets.code_tracings import CODES, LENGTH, NONE, RATE, UNIT_MV, Reader, Unit, yes
from ecglib.datasets.csv_table import read_csv
from ecglib.datasets.folds import deal
from ecglib.datasets.parts import build_parts
from ecglib.datasets.quality import Absent, Bad, count
from ecglib.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE = "exams.csv"
NORMAL = "normal_ecg"
COLUMNS = ("exam_id", "age", "is_male", *CODES, "patient_id", "trace_file")
FURTHER, DEATH = ("nn_predicted_age", "timey"), "death"

ABOUT = About(
    name="code15",
    title="CODE-15%",
    version="1.0.0",
    url="https://zenodo.org/records/4916206",
    licence="Creative Commons Attribution 4.0 (CC BY 4.0)",
    citation=(
        "Ribeiro AH, Paixao GMM, Lima EM, Horta Ribeiro M, Pinto Filho MM, Gomes PR, Oliveira DM, Meira Jr W, Schon "
        "TB, Ribeiro ALP. CODE-15%: a large scale annotated dataset of 12-lead ECGs (version 1.0.0). Zenodo (2021). "
        "https://doi.org/10.5281/zenodo.4916206"
    ),
    records=345779,
    size_gb=68.0,
    rate=RATE,
    leads=12,
    labels="six abnormalities, from the cardiologists' reports by text mining and automatic measurements; normal_ecg",
    traps=(
        "Stored values are twice the millivolts; they are halved.",
        "Exams of about 7 s lie in the middle of zeros; these are taken off, and short exams are padded behind.",
        "An exam without any of the six abnormalities need not be normal; half of all are neither.",
        "exams.csv is not in the order of the files: rows are found by exam_id; the last row of each part is no exam.",
        "Some hundred tracings are zero throughout; they are left out and counted.",
        "A patient may have many exams; folds are ours, by a checksum of the patient, so none lies in two.",
        "Some tracings are stored twice, at times under two patients; they are counted, not removed.",
        "nn_predicted_age is a network's guess; an empty death means not followed, not alive.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds exams.csv with the column trace_file and the six abnormalities."""
    try:
        with open(source / TABLE, encoding="utf-8-sig") as file:
            return set(COLUMNS) <= set(file.readline().strip().split(","))
    except (OSError, UnicodeDecodeError):
        return False


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "pad",
    bad: Bad = "drop",
    absent: Absent = "refuse",
    unit_mv: float = UNIT_MV,
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read CODE-15% once and write it as a cohort; where `to` holds that cohort already, open it.

    Further columns: source_record (the exam), part, recorded_s, nn_predicted_age, death, timey (years), normal_ecg, as
    far as exams.csv has them.

    Args:
        source: the folder with exams.csv and the parts. to: the cohort's folder.
        rate: Hz, to which the 400 Hz of the exams are resampled.
        seconds, longer, shorter: the segments, 10.24 s at most; see :mod:`ecglib.datasets.rule`.
        bad: what to do with exams that have missing samples or a flat lead; see :class:`Screen`.
        absent: exams that are listed and not there are an error, or left out and counted: for some of the parts.
        unit_mv: mV of one stored unit.

    Raises:
        InputError: no CODE-15%; a part that is missing, cut short or of another layout; an exam listed or stored twice;
            a cell that is empty or cannot be; a rate that 400 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = code_tracings.target_of(rate, seconds, longer, shorter, "CODE-15%")
    built_from = _key(source, target, bad, absent, unit_mv)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    units, notes, normal = _plan(source, absent)
    notes.append(f"One stored unit is taken as {unit_mv:g} mV.")
    six = {code: code for code in CODES}
    label_sets = {"code": six, "code_none": six | {NONE: NONE}}
    return build_parts(
        to, units, Reader(target, unit_mv), about=ABOUT, expected=code_tracings.expected_of(target), bad=bad,
        key=built_from, empty=code_tracings.empty_of(target), source=f"CODE-15%, {ABOUT.url}",
        source_version=ABOUT.version, notes=notes,
        label_sets=label_sets | ({"code_normal": six | {NORMAL: NORMAL}} if normal else {}),
        records=sum(len(unit.at) for unit in units), workers=workers, progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "pad",
    bad: Bad = "drop",
    absent: Absent = "refuse",
    unit_mv: float = UNIT_MV,
) -> str:
    """What `build` would be building: another key when the table, a part's size or time, or the options change."""
    target = code_tracings.target_of(rate, seconds, longer, shorter, "CODE-15%")
    return _key(Path(source).absolute(), target, bad, absent, unit_mv)


def _listed(source: Path) -> tuple[pd.DataFrame, bool]:
    """The exams of exams.csv as a cohort's table with trace_file, and whether it says which are normal."""
    import pandas as pd

    file = source / TABLE
    table = read_csv(file, COLUMNS)
    for column in ("exam_id", "patient_id", "trace_file"):
        if (gap := table[column].eq("").to_numpy()).any():
            raise InputError(f"{file} has no {column} in row {int(gap.argmax()) + 2}; get the file again.")
    if (twice := table["exam_id"].duplicated()).any():
        raise InputError(f"{file} lists the exam {table['exam_id'][twice].iloc[0]} twice; get the file again.")
    for name in table["trace_file"].unique():
        if not re.fullmatch(r"exams_part\d+\.hdf5", name):
            raise InputError(f"{file} names the part {name!r}, which is none of exams_part0.hdf5 and so on.")
    male = yes(table, "is_male", file, empty=True)
    frame = pd.DataFrame(
        {
            "source_record": table["exam_id"],
            "patient": table["patient_id"],
            "fold": [deal(patient) for patient in table["patient_id"]],
            "age": code_tracings.ages(table["age"]),
            "sex": male.map({True: "male", False: "female"}).astype(object).where(male.notna(), None),
            "statements": code_tracings.statements(
                np.stack([yes(table, code, file) for code in CODES], axis=1).astype(bool)
            ),
            "part": table["trace_file"],
        }
    )
    for name in (name for name in FURTHER if name in table.columns):
        frame[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    if DEATH in table.columns:
        frame[DEATH] = yes(table, DEATH, file, empty=True)
    if normal := NORMAL in table.columns:
        frame[NORMAL] = yes(table, NORMAL, file)
        for said in frame["statements"][frame[NORMAL].to_numpy(bool)]:
            said.append(NORMAL)
    return frame, normal


def _plan(source: Path, absent: Absent) -> tuple[list[Unit], list[str], bool]:
    """The units in the order of the parts and their rows, notes, and whether normal_ecg is there."""
    import pandas as pd

    table, normal = _listed(source)
    parts = sorted(table["part"].unique(), key=lambda name: int(re.sub(r"\D", "", name.removesuffix(".hdf5"))))
    there = [name for name in parts if (source / name).is_file()]
    if len(there) < len(parts) and absent == "refuse":
        gone = [name for name in parts if name not in there]
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise InputError(f'{source} lacks {gone[0]}{more}; get and unpack all parts, or give absent="skip".')
    units, unlisted, kept = [], 0, 0
    for name in there:
        exams = table[table["part"] == name].set_index("source_record", drop=False)
        with hdf5.opened(source / name) as file:
            ids = hdf5.whole(hdf5.dataset(file, "exam_id", (None,), "iu"))
            data = hdf5.dataset(file, "tracings", (len(ids), LENGTH, 12))
            places = pd.Series(np.arange(len(ids)), ids.astype(str))
            stored = places[places.index.isin(exams.index)]
            if stored.index.has_duplicates:
                exam = stored.index[stored.index.duplicated()][0]
                raise InputError(f"{source / name} holds the exam {exam} twice; get the file again.")
            if len(stored) < len(exams) and absent == "refuse":
                exam = exams.index[~exams.index.isin(stored.index)][0]
                raise InputError(f'{source / name} lacks the exam {exam}; get it again, or give absent="skip".')
            units += code_tracings.units_of(source / name, data, stored.to_numpy(), exams.loc[stored.index])
            unlisted += int(((ids != 0) & ~places.index.isin(exams.index)).sum())  # 0: the row of zeros at the end
        kept += len(stored)
    if not units:
        raise InputError(f"{source} holds none of the exams that {TABLE} lists; get some of its parts.")
    notes = ["Folds are ours: a checksum of the patient modulo 10, plus 1."]
    if kept < len(table):
        notes.append(f"{count(len(table) - kept)} left out, being listed and not there.")
    if unlisted:
        notes.append(f"{count(unlisted)} left out, being in no row of {TABLE}.")
    return units, notes, normal


def _key(source: Path, target: rule.Target, bad: str, absent: str, unit_mv: float) -> str:
    """Folder, table, sizes and times of the parts, options, builder."""
    one_of("absent", absent, get_args(Absent))
    code_tracings.check_unit(unit_mv)
    options = [target.rate, target.seconds, target.longer, target.shorter, bad, absent, unit_mv]
    if not (source / TABLE).is_file():
        what = f"has no {TABLE}" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of CODE-15%.")
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    with open(source / TABLE, "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in sorted(source.glob("exams_part*.hdf5")):
        facts = os.stat(path)
        digest.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"code15 {digest.hexdigest()}"
