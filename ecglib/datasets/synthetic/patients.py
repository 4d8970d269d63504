"""Who is in the synthetic cohort: patients, what they have, and what the reader wrote.

Everything about a patient (age, sex, diseases and their size, the heart's axis and amplitudes, the chest's shape) is
drawn from the patient's own words, everything about a recording (rhythm, rate, electrode placement, the reading) from
the record's. Prevalences and co-occurrence are set beside PTB-XL 1.0.3's (Wagner et al., Sci Data 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecglib.datasets.synthetic.draws import Draws
from ecglib.datasets.synthetic.findings import CODES, FINDINGS

BLOCK, PATIENT, RECORD, BEATS, EARLY, NOISE = range(6)
"""Philox streams. The key is the block's number, the patient's first record, or the record."""

PATIENT_BLOCK = 10  # no patient reaches over a block of ten records, so a record knows its patient by itself
SAME_PATIENT = 0.14  # PTB-XL: 21,799 records of 18,869 patients
MILD = 0.45  # findings of less than this size are often missed
MISSED_MILD, MISSED, OVERCALLED, SILENT = 0.30, 0.04, 0.04, 0.02  # the reader; SILENT: nothing stated at all
PREMATURE = ("PVC", "PAC")
RHYTHMS = ("SR", "STACH", "SBRAD", "SARRH", "AFIB")
_RATES = np.array([[70, 9.5, 52, 99], [112, 9, 99, 150], [50, 3.5, 36, 56], [68, 8, 50, 95], [84, 18, 48, 150]], float)
"""For each of RHYTHMS the heart rate's centre, spread, lowest and highest, per minute."""
SUPERCLASSES = ("MI", "STTC", "CD", "HYP")
_SHARES = np.array([[f.share if f.superclass == c else 0.0 for f in FINDINGS] for c in SUPERCLASSES])
_COLUMN = {code: k for k, code in enumerate(CODES)}
_NEEDS_P = [_COLUMN[code] for code in ("1AVB", "LAO/LAE", "RAO/RAE")]  # nothing to be seen of them in fibrillation
_MINOR = np.array([_COLUMN[code] for code in ("IRBBB", "1AVB", "LAFB")])  # seen in healthy people too
_IS = {c: np.array([f.superclass == c for f in FINDINGS]) for c in SUPERCLASSES}


@dataclass
class People:
    """The patients of n records: first record, fold, age, sex, size of each finding (n, F), draws still to come."""

    patient: np.ndarray
    fold: np.ndarray
    age: np.ndarray
    female: np.ndarray
    size: np.ndarray
    fibrillates: np.ndarray
    draws: Draws


def patients(indices: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """First record of each record's patient, and the patient's fold 1-10 (each fold about once per block of ten)."""
    block, place = indices // PATIENT_BLOCK, indices % PATIENT_BLOCK
    draws = Draws(seed, block, BLOCK, 2 * PATIENT_BLOCK)
    starts = draws.uniform(size=PATIENT_BLOCK) >= SAME_PATIENT  # (n, 10) does a new patient start at this place?
    starts[:, 0] = True
    folds = 1 + np.argsort(draws.uniform(size=PATIENT_BLOCK), axis=1, kind="stable")  # (n, 10) one order per block
    reach = np.where(starts & (np.arange(PATIENT_BLOCK) <= place[:, None]), np.arange(PATIENT_BLOCK), 0)
    first = reach.max(axis=1)
    return block * PATIENT_BLOCK + first, np.take_along_axis(folds, first[:, None], 1)[:, 0]


def people(indices: np.ndarray, seed: int) -> People:
    """Whose the records `indices` (n,) are."""
    patient, fold = patients(indices, seed)
    d = Draws(seed, patient, PATIENT, 160)
    age = np.where(d.chance(0.12), d.uniform(5, 45), 63 + d.normal(14.0))
    age = np.clip(np.rint(age), 3, 95)
    female = d.chance(0.48)
    ill = d.chance(np.clip(0.14 + 0.0092 * (age - 15) + np.where(female, -0.04, 0.04), 0.08, 0.88))
    has = _diseases(d, ill)
    size = has * d.uniform(0.25, 1.25, size=len(CODES))
    fibrillates = d.chance(np.clip(0.0030 * (age - 38), 0.0, 0.16) * np.where(ill, 1.5, 0.35))
    return People(patient, fold, age, female, size, fibrillates, d)


def _diseases(d: Draws, ill: np.ndarray) -> np.ndarray:
    """(n, F) bool. An ill patient has one superclass or more; within each, one code by its share, sometimes two."""
    n = len(ill)
    primary = np.array([0.35, 0.27, 0.26, 0.12])
    main = d.choice(primary)
    mi, sttc, cd, hyp = (main == k for k in range(4))
    member = np.stack(
        [
            mi | d.chance(0.15),
            sttc | d.chance(np.where(hyp, 0.60, 0.20)),
            cd | d.chance(np.where(mi, 0.36, 0.13)),
            hyp | d.chance(0.11),
        ],
        axis=1,
    )
    has = np.zeros((n, len(CODES)), bool)
    for k in range(4):
        has[np.arange(n), d.choice(_SHARES[k])] |= member[:, k] & ill
    # Companions: a second infarct, a second block in the same patient, the enlarged atrium of a thick ventricle.
    right = has[:, _COLUMN["CRBBB"]] | has[:, _COLUMN["IRBBB"]]
    for code, given, probability in (
        ("ASMI", has[:, _COLUMN["IMI"]], 0.15),
        ("LAFB", right, 0.22),
        ("1AVB", has[:, _IS["CD"]].any(axis=1), 0.10),
        ("LAO/LAE", has[:, _COLUMN["LVH"]], 0.10),
    ):
        has[:, _COLUMN[code]] |= given & d.chance(probability)
    minor = d.chance(0.03) & ~ill
    has[np.arange(n), _MINOR[d.choice(np.array([0.6, 0.25, 0.15]))]] |= minor
    masked = has[:, _COLUMN["CLBBB"]] | has[:, _COLUMN["WPW"]]  # infarct and ischaemia cannot be read there
    has[:, _IS["MI"] | _IS["STTC"]] &= ~masked[:, None]
    return has


@dataclass
class Readings:
    """What is special about n recordings: the findings' size (n, F) today, the rhythm and its rate, the reading."""

    size: np.ndarray
    acute: np.ndarray  # injury current per size of an infarct, 0 in old ones
    rhythm: np.ndarray  # index into RHYTHMS
    premature: np.ndarray  # 0 none, 1 ventricular, 2 atrial
    heart_rate: np.ndarray
    stated: np.ndarray  # (n, F) bool
    normal: np.ndarray  # is NORM stated?
    rhythm_stated: np.ndarray
    draws: Draws


def readings(indices: np.ndarray, who: People, seed: int) -> Readings:
    """The circumstances of each recording: drawn from the record, weighted by the patient."""
    d = Draws(seed, indices, RECORD, 160)
    size = who.size * np.clip(1.0 + d.normal(0.12), 0.5, 1.5)[:, None]
    acute = np.where(d.chance(0.15), d.uniform(0.3, 1.2), 0.0)
    young = who.age < 40
    sinus = d.choice(np.stack([np.full(len(indices), 0.87), *_sinus_weights(young, size)], axis=1))
    rhythm = np.where(who.fibrillates, RHYTHMS.index("AFIB"), sinus)
    size[:, _NEEDS_P] *= (rhythm != RHYTHMS.index("AFIB"))[:, None]
    ill = (size > 0).any(axis=1)
    premature = np.where(d.chance(np.where(ill, 0.075, 0.025)), 1, np.where(d.chance(0.02), 2, 0))
    premature = np.where((rhythm == RHYTHMS.index("AFIB")) & (premature == 2), 0, premature)
    centre, spread, low, high = _RATES[rhythm].T
    centre = centre + np.where((rhythm == 0) & who.female, 3.0, 0.0) + np.where(ill, 3.0, 0.0)
    rate = np.clip(centre + d.normal(spread), low, high)
    stated, normal = _read(d, size, rhythm)
    return Readings(size, acute, rhythm, premature, rate, stated, normal, ~d.chance(0.04), d)


def _sinus_weights(young: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ill = (size > 0).any(axis=1)
    return np.where(ill, 0.055, 0.03), np.where(ill, 0.025, 0.035), np.where(young, 0.09, 0.03)


def _read(d: Draws, size: np.ndarray, rhythm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reader's statements (n, F) and NORM (n,): mild findings are often missed, some normal variants called ill."""
    n = len(size)
    missed = d.uniform(size=len(CODES)) < np.where(size < MILD, MISSED_MILD, MISSED)
    stated = (size > 0) & ~missed
    called = d.choice(np.array([f.share for f in FINDINGS]) * np.array([f.superclass != "HYP" for f in FINDINGS]))
    stated[np.arange(n), called] |= d.chance(OVERCALLED)
    stated[:, _NEEDS_P] &= (rhythm != RHYTHMS.index("AFIB"))[:, None]
    none = ~stated.any(axis=1)
    minor = stated[:, _MINOR].any(axis=1) & (stated.sum(axis=1) == 1)
    return stated, (none & ~d.chance(SILENT)) | (minor & d.chance(0.15))


def columns(indices: np.ndarray, who: People, seen: Readings) -> dict[str, list]:
    """The table by column: PTB-XL's, and what only a simulation can tell, the `findings` and their `severities`."""
    n = len(indices)
    stated, found, severe = ([[] for _ in range(n)] for _ in range(3))
    for row, column in np.argwhere(seen.stated).tolist():
        stated[row].append(CODES[column])
    for row, column in np.argwhere(seen.size > 0).tolist():
        found[row].append(CODES[column])
        severe[row].append(round(float(seen.size[row, column]), 3))
    for row, statements in enumerate(stated):
        if seen.normal[row]:
            statements.insert(0, "NORM")
        if seen.premature[row]:
            statements.append(PREMATURE[seen.premature[row] - 1])
        if seen.rhythm_stated[row]:
            statements.append(RHYTHMS[seen.rhythm[row]])
    return {
        "record": [f"syn{i:08d}" for i in indices.tolist()],
        "patient": [f"pat{p:08d}" for p in who.patient.tolist()],
        "fold": who.fold.tolist(),
        "age": who.age.tolist(),
        "sex": np.where(who.female, "female", "male").tolist(),
        "statements": stated,
        "findings": found,
        "severities": severe,
        "heart_rate": (np.rint(seen.heart_rate * 10) / 10).tolist(),
    }
