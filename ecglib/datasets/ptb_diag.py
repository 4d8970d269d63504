"""PTB Diagnostic ECG Database: 549 records of 290 people at 1000 Hz, twelve leads and the Frank leads, with diagnoses.

Source: Bousseljot et al., Nutzung der EKG-Signaldatenbank CARDIODAT der PTB über das Internet, Biomedizinische Technik
40, Ergänzungsband 1, S 317 (1995); PhysioNet, doi 10.13026/C28C71. (PTB-XL is another set.) A record stands as WFDB
files in its patient's folder; age, sex and the reason for admission are comments of its header.

Records are one to two minutes long and are cut into segments. The Frank leads vx, vy, vz are passed over. Folds are
ours: the patient's number modulo 10, plus 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files, wfdb_folder
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Bad, count
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

RATE = 1000  # Hz, of every published record
SCALE = 1 / 2000  # mV per count of the published records
TOGETHER = 4
"""Records of a unit of work."""
CLASSES = {
    "Healthy control": "Healthy control",
    "Myocardial infarction": "Myocardial infarction",
    "Cardiomyopathy": "Cardiomyopathy/Heart failure",
    "Heart failure (NYHA 2)": "Cardiomyopathy/Heart failure",
    "Heart failure (NYHA 3)": "Cardiomyopathy/Heart failure",
    "Heart failure (NYHA 4)": "Cardiomyopathy/Heart failure",
    "Bundle branch block": "Bundle branch block",
    "Dysrhythmia": "Dysrhythmia",
    "Hypertrophy": "Myocardial hypertrophy",
    "Myocardial hypertrophy": "Myocardial hypertrophy",
    "Valvular heart disease": "Valvular heart disease",
    "Myocarditis": "Myocarditis",
    "Stable angina": "Miscellaneous",
    "Unstable angina": "Miscellaneous",
    "Palpitation": "Miscellaneous",
}
"""Reasons for admission, and the nine classes of the database's own description; what is miscellaneous is ours."""
INFARCTION = {"Myocardial infarction": "infarction", "Healthy control": "control"}
DETAILS = {
    "ecg date": "ecg_date",
    "acute infarction (localization)": "acute_infarction",
    "former infarction (localization)": "former_infarction",
    "additional diagnoses": "additional_diagnoses",
}
"""Further comments of the headers that are kept, and their columns."""

ABOUT = About(
    name="ptb-diagnostic",
    title="PTB Diagnostic ECG Database",
    version="1.0.0",
    url="https://physionet.org/content/ptbdb/1.0.0/",
    licence=NOT_CHECKED,
    citation=(
        "Bousseljot R, Kreiseler D, Schnabel A. Nutzung der EKG-Signaldatenbank CARDIODAT der PTB über das Internet. "
        "Biomedizinische Technik 40, Ergänzungsband 1, S 317 (1995). https://doi.org/10.13026/C28C71"
    ),
    records=549,
    size_gb=NOT_CHECKED,
    rate=RATE,
    leads="15: the twelve and Frank's vx, vy, vz",
    labels="one reason for admission a record, in the header's comments",
    traps=(
        "290 people have one to five records each, and a record makes a dozen segments: folds go by patient.",
        "About two thirds of the records are of infarctions: accuracy says little, and no clinic has such a share.",
        "Some records give no reason for admission (n/a): they have no statement.",
        "The reason is the patient's, not a reading of this very record.",
        "Most of its records are in the PhysioNet challenges of 2020 and 2021 too.",
    ),
)

_COMMENT = re.compile(r"^#[ \t]*([^:\r\n]+?)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*$", re.MULTILINE)
_PATIENT = re.compile(r"patient(\d+)")


def found(source: Path) -> bool:
    """Whether `source` holds records in folders named patientNNN with a reason for admission."""
    header = next(iter(sorted(source.glob("patient[0-9]*/s[0-9]*.hea"))), None)
    return header is not None and "reason for admission" in _comments(header)


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
    """Read the PTB Diagnostic Database once and write it as a cohort; where `to` holds that cohort already, open it.

    The task "admission" holds the nine classes, "infarction" only infarction and control. The table also holds
    source_record, reason, ecg_date, acute_infarction, former_infarction and additional_diagnoses.

    Args:
        source: the folder with the folders patient001 to patient294. to: the cohort's folder.
        rate: Hz, to which the 1000 Hz of the records are resampled.
        bad: what to do with segments that have missing samples or a flat lead; see :class:`Screen`.
        seconds, longer, shorter: the segments; see :mod:`ecglib.datasets.rule`.
        workers: processes that read, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no such database; a record that is missing, cut short or of another rate, or lacks leads; a rate
            that 1000 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = rule.Target(rate, seconds, longer=longer, shorter=shorter)
    stems = _find(source)
    built_from = _key(source, stems, bad, target)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    table, notes = _table(stems)
    places = range(0, len(stems), TOGETHER)
    return build_parts(
        to, [(stems[k : k + TOGETHER], table[k : k + TOGETHER]) for k in places], partial(_read, target=target),
        about=ABOUT, expected=wfdb_files.Expected(LEADS, target.rate, target.samples, SCALE), bad=bad, key=built_from,
        source=f"{ABOUT.title}, {ABOUT.url}", source_version=ABOUT.version,
        notes=["Folds are ours: the patient's number modulo 10, plus 1.", *notes],
        label_sets={"admission": CLASSES, "infarction": INFARCTION}, records=len(stems),
        empty=f"no record is {target.seconds:g} s long; choose shorter segments.", workers=workers, progress=progress,
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
    """What `build` would be building: another key when the headers there or the options change."""
    source = Path(source).absolute()
    return _key(source, _find(source), bad, rule.Target(rate, seconds, longer=longer, shorter=shorter))


def _read(unit: tuple[Sequence[str], pd.DataFrame], target: rule.Target) -> Raw:
    """The segments of some records, given by their paths and rows."""
    segments = Segments(target, SCALE)
    for stem in unit[0]:
        length = wfdb_files.layout_of(f"{stem}.hea").length
        if not length:
            raise InputError(f"{stem}.hea says no number of samples; get the record again.")
        expected = wfdb_files.Expected(LEADS, RATE, length, SCALE, exact=False)
        (chunk,) = wfdb_files.read([stem], expected, threads=1)
        counts = chunk.signals[0]  # (12, T)
        mv = np.where(counts == wfdb_files.MISSING, np.float32(np.nan), counts * np.float32(SCALE))
        segments.add(_name(stem), mv, LEADS, RATE, agree=chunk.agree[0], clipped=chunk.clipped[0])
    return segments.raw(unit[1])


def _name(stem: str) -> str:
    """ "patient001/s0010_re": as the set's RECORDS has it."""
    return "/".join(Path(stem).parts[-2:])


def _find(source: Path) -> list[str]:
    stems = wfdb_folder.find(source)
    for stem in stems:
        if not _PATIENT.fullmatch(Path(stem).parent.name):
            raise InputError(
                f"{stem}.hea lies in no folder patientNNN; give the folder of the PTB Diagnostic Database."
            )
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{source / 'RECORDS'} lists {_name(twice)} twice; get the file again.")
    return stems


def _comments(header: Path) -> dict[str, str]:
    """{"reason for admission": "Myocardial infarction", ...}: names in lower case, without those that are n/a."""
    text = wfdb_files.read_bytes(str(header)).decode("latin1")
    pairs = ((name.lower(), value) for name, value in _COMMENT.findall(text))
    return {name: value for name, value in pairs if value.lower() not in ("", "n/a", "unknown")}


def _table(stems: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """One row a record, without its name; and notes."""
    import pandas as pd

    said = [_comments(Path(f"{stem}.hea")) for stem in stems]
    patients = [Path(stem).parent.name for stem in stems]
    reasons = [comments.get("reason for admission") for comments in said]
    ages = pd.to_numeric(pd.Series([comments.get("age") for comments in said], dtype=object), errors="coerce")
    frame = pd.DataFrame(
        {
            "source_record": [_name(stem) for stem in stems],
            "patient": patients,
            "fold": [int(_PATIENT.fullmatch(patient)[1]) % 10 + 1 for patient in patients],
            "age": ages.astype(float),
            "sex": [
                sex if (sex := comments.get("sex", "").lower()) in ("male", "female") else None for comments in said
            ],
            "statements": [[reason] if reason else [] for reason in reasons],
            "reason": pd.Series(reasons, dtype=object),
            **{
                column: pd.Series([comments.get(n) for comments in said], dtype=object) for n, column in DETAILS.items()
            },
        }
    )
    notes = []
    if without := reasons.count(None):
        notes.append(f"{count(without)} without a reason for admission.")
    if other := [reason for reason in reasons if reason and reason not in CLASSES]:
        few = ", ".join(sorted(set(other))[:5])
        notes.append(f"{count(len(other))} with a reason for admission that is in no class ({few}).")
    return frame, notes


def _key(source: Path, stems: Sequence[str], bad: str, target: rule.Target) -> str:
    """Folder, contents of the headers, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, target.shorter]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for stem in stems:
        digest.update(f"{os.path.relpath(stem, source)}\n".encode())
        digest.update(wfdb_files.read_bytes(f"{stem}.hea"))
    return f"ptb-diagnostic {digest.hexdigest()}"
