"""CODE-test: 827 twelve-lead exams of 827 patients, read by cardiologists, residents, students and a network.

Source: Ribeiro et al., Automatic diagnosis of the 12-lead ECG using a deep neural network, Nature Communications
11:1760 (2020), doi 10.1038/s41467-020-15432-4; Zenodo, doi 10.5281/zenodo.3765780. data.zip holds ecg_tracings.hdf5
with tracings (827, 4096, 12) at 400 Hz, attributes.csv (age, sex) and annotations/*.csv (the six abnormalities as 0 and
1). Nothing has a name: line i of each table is row i of the tracings, so all must be of one length.

Rules
- Zeros around the exams of 7 and 10 s are taken off and values halved, as for CODE-15% (ecglib.datasets.code15).
- The augmented leads come as aVL, aVF, aVR by the data's own description, as aVR, aVL, aVF by the authors' model's.
  Goldberger's relations tell which: the order in which they hold is taken, and said in the notes.
- Statements are the gold standard's: what two cardiologists agreed on, or a third decided. Each other reader has a
  column of statements of the same form, so that people can be measured as models are:
  `ecglib.cohort.multi_hot(cohort.records["medical_students"], cohort.info.label_sets["code"])`.
- All exams are in fold 10, for testing only: a protocol that trains on other folds finds none here.
"""

from __future__ import annotations

import hashlib
import json
import os
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import code_tracings, hdf5, rule
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.code_tracings import CODES, LENGTH, NONE, RATE, UNIT_MV, Reader, yes
from ecglib.datasets.csv_table import read_csv
from ecglib.datasets.parts import build_parts
from ecglib.datasets.quality import Bad
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

SIGNALS, ATTRIBUTES, ANNOTATIONS = "ecg_tracings.hdf5", "attributes.csv", "annotations"
GOLD = "gold_standard"
READERS = (
    "cardiologist1",
    "cardiologist2",
    "cardiology_residents",
    "emergency_residents",
    "medical_students",
    "dnn",
)
FOLD = 10

ABOUT = About(
    name="code-test",
    title="CODE-test",
    version="1.0.3",
    url="https://doi.org/10.5281/zenodo.3765780",
    licence="Creative Commons Attribution 4.0 (CC BY 4.0)",
    citation=(
        "Ribeiro AH, Ribeiro MH, Paixão GMM, Oliveira DM, Gomes PR, Canazart JA, Ferreira MPS, Andersson CR, "
        "Macfarlane PW, Meira Jr W, Schön TB, Ribeiro ALP. Automatic diagnosis of the 12-lead ECG using a deep neural "
        "network. Nature Communications 11, 1760 (2020). https://doi.org/10.1038/s41467-020-15432-4"
    ),
    records=827,
    size_gb=NOT_CHECKED,
    rate=RATE,
    leads=12,
    labels="six abnormalities by two cardiologists, a third deciding where they differ; six further readings",
    traps=(
        "Stored values are taken as twice the millivolts, as in CODE-15%, and halved.",
        "Exams of about 7 s lie in the middle of zeros; these are taken off, and short exams are padded behind.",
        "The augmented leads come in another order than in CODE-15%; it is found by Goldberger's relations.",
        "The gold standard was made of the two cardiologists' readings, so these are not independent of it.",
        "Each of the residents' and students' readings is by two people, half of the exams each.",
        "An exam without any of the six abnormalities need not be normal.",
        "AF and SB are in some 15 exams each, so their intervals are wide.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source`, or data/ in it, holds the tracings and the gold standard."""
    return _folder(source) is not None


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "pad",
    bad: Bad = "drop",
    unit_mv: float = UNIT_MV,
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read CODE-test once and write it as a cohort; where `to` holds that cohort already, open it.

    Further columns: source_record (the row, from 0), recorded_s, and for each of `READERS` a list of statements.

    Args:
        source: the folder with ecg_tracings.hdf5, or the one above it. to: the cohort's folder.
        rate: Hz, to which the 400 Hz of the exams are resampled.
        seconds, longer, shorter: the segments, 10.24 s at most; see :mod:`ecglib.datasets.rule`.
        bad: what to do with exams that have missing samples or a flat lead, of which there are some; see
            :class:`Screen`. "keep" leaves the test set whole.
        unit_mv: mV of one stored unit.

    Raises:
        InputError: no CODE-test; a file that is missing, cut short, of another layout or of another length than the
            tracings; a rate that 400 Hz cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = code_tracings.target_of(rate, seconds, longer, shorter, "CODE-test")
    built_from = _key(source, target, bad, unit_mv)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    folder = _needed(source)
    table = _listed(folder)
    with hdf5.opened(folder / SIGNALS) as file:
        data = hdf5.dataset(file, "tracings", (None, LENGTH, 12))
        if len(data) != len(table):
            raise InputError(
                f"{folder / SIGNALS} holds {len(data):,} exams where {ATTRIBUTES} lists {len(table):,}; lines belong "
                f"to exams by their number alone, so get the files again."
            )
        leads = limb_order(data[: code_tracings.ROWS])
        units = code_tracings.units_of(folder / SIGNALS, data, np.arange(len(table)), table)
    six = {code: code for code in CODES}
    return build_parts(
        to, units, Reader(target, unit_mv, leads), about=ABOUT, expected=code_tracings.expected_of(target), bad=bad,
        key=built_from, source=f"CODE-test, {ABOUT.url}", source_version=ABOUT.version,
        notes=[
            f"All exams are in fold {FOLD}, for testing only.",
            f"The augmented leads come as {', '.join(leads[3:6])}, by Goldberger's relations.",
            f"One stored unit is taken as {unit_mv:g} mV.",
        ],
        label_sets={"code": six, "code_none": six | {NONE: NONE}}, records=len(table), workers=workers,
        empty=code_tracings.empty_of(target), progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float = 10,
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "pad",
    bad: Bad = "drop",
    unit_mv: float = UNIT_MV,
) -> str:
    """What `build` would be building: another key when a table, the tracings' size or time, or the options change."""
    target = code_tracings.target_of(rate, seconds, longer, shorter, "CODE-test")
    return _key(Path(source).absolute(), target, bad, unit_mv)


def limb_order(tracings: np.ndarray) -> tuple[str, ...]:
    """The names of the columns of (n, T, 12): the order of aVR, aVL and aVF in which Goldberger's relations hold best
    in the median exam, and aVL, aVF, aVR, as the data's description says, where none is better than that."""
    limb = np.asarray(tracings[:, ::4, :6], np.float32).transpose(0, 2, 1)  # (n, T, 12) -> (n, 6, T / 4)
    limb = limb[np.isfinite(limb).all(axis=(1, 2))]
    orders = [("aVL", "aVF", "aVR"), *permutations(("aVR", "aVL", "aVF"))]
    if not len(limb):
        return (*LEADS[:3], *orders[0], *LEADS[6:])
    off = [np.median(limb_residual(limb, (*LEADS[:3], *order)).max(axis=1)) for order in orders]
    return (*LEADS[:3], *orders[int(np.argmin(off))], *LEADS[6:])  # the first of equals


def _folder(source: Path) -> Path | None:
    gold = Path(ANNOTATIONS, f"{GOLD}.csv")
    for folder in (source, source / "data"):
        if (folder / SIGNALS).is_file() and (folder / gold).is_file():
            return folder
    return None


def _needed(source: Path) -> Path:
    if folder := _folder(source):
        return folder
    what = f"has no {SIGNALS} with {ANNOTATIONS}/{GOLD}.csv" if source.is_dir() else "is no folder"
    raise InputError(f"{source} {what}; give the folder that CODE-test's data.zip unpacks to.")


def _tables(folder: Path) -> list[Path]:
    """The readings, the gold standard first, then the attributes."""
    return [*(folder / ANNOTATIONS / f"{name}.csv" for name in (GOLD, *READERS)), folder / ATTRIBUTES]


def _listed(folder: Path) -> pd.DataFrame:
    """A cohort's table, one row a line."""
    import pandas as pd

    *readings, attributes = _tables(folder)
    table = read_csv(attributes, ("age", "sex"))
    rows = [str(k) for k in range(len(table))]
    sexes = table["sex"].str.strip().str.lower().str[:1].map({"m": "male", "f": "female"})
    frame = pd.DataFrame(
        {
            "source_record": rows,
            "patient": rows,
            "fold": FOLD,
            "age": code_tracings.ages(table["age"]),
            "sex": sexes.astype(object).where(sexes.notna(), None),
        }
    )
    for name, file in zip(("statements", *READERS), readings):
        marks = read_csv(file, CODES)
        if len(marks) != len(frame):
            raise InputError(
                f"{file} has {len(marks):,} lines where {ATTRIBUTES} has {len(frame):,}; lines belong to exams by "
                f"their number alone, so get the files again."
            )
        frame[name] = code_tracings.statements(np.stack([yes(marks, code, file) for code in CODES], 1).astype(bool))
    return frame


def _key(source: Path, target: rule.Target, bad: str, unit_mv: float) -> str:
    """Folder, tables, size and time of the tracings, options, builder."""
    code_tracings.check_unit(unit_mv)
    folder = _needed(source)
    facts = os.stat(folder / SIGNALS)
    options = [target.rate, target.seconds, target.longer, target.shorter, bad, unit_mv]
    digest = hashlib.sha256(json.dumps([VERSION, str(folder), options, facts.st_size, facts.st_mtime_ns]).encode())
    for table in _tables(folder):
        if not table.is_file():
            raise InputError(f"{table} is missing; get the files again.")
        digest.update(table.read_bytes())
    return f"code-test {digest.hexdigest()}"
