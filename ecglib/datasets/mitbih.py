"""MIT-BIH Arrhythmia Database: 48 half-hour records of 47 people, two leads at 360 Hz, every beat annotated.

Source: Moody and Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE Engineering in Medicine and Biology 20(3):
45-50 (2001), doi 10.1109/51.932724. Beat classes: ANSI/AAMI EC57. DS1 and DS2: de Chazal et al., IEEE Transactions on
Biomedical Engineering 51(7):1196-1206 (2004), doi 10.1109/TBME.2004.827359.

Choices
- The leads differ from record to record (MLII, V5, V1, V2, V4, and in 114 the other way round). By default a cohort's
  two leads are therefore the record's two channels, "first" and "second", and the table says which they are; or ask for
  leads by name, and records without them are left out. MLII is a modified lead and stands for no lead of the twelve.
- A segment's statements are the AAMI classes of the beats whose annotation falls into it; the table counts them. Where
  the last segment of a record overlaps the one before, a beat may count in both. Rhythm annotations are not used.
- Folds are ours: the number of the patient's first record modulo 10, plus 1. Records 201 and 202 are of one man.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_folder
from ecglib.datasets.about import About
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Bad, count
from ecglib.datasets.segments import Segments
from ecglib.datasets.wfdb_files import Expected, layout_of, read_bytes
from ecglib.errors import InputError, nearest
from ecglib.leads import LEADS

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

RATE = 360  # Hz, of every published record
SCALE = 0.001  # mV per count
CHANNELS = ("first", "second")
AAMI = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
}
"""Beat symbols of the annotations and their classes: normal or bundle branch block, supraventricular ectopic,
ventricular ectopic, fusion of both, paced or unknown."""
CLASSES = ("N", "S", "V", "F", "Q")
NO_BEATS = frozenset("+~|x![]\"=ptu`'^s*D@T")
"""Symbols that mark no beat: rhythm, quality, waves, artefacts, blocked P waves, flutter."""
PACED = frozenset({"102", "104", "107", "217"})
DE_CHAZAL = {
    "DS1": "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230",
    "DS2": "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234",
}
"""The customary training and test records; the paced ones are in neither."""

ABOUT = About(
    name="mit-bih",
    title="MIT-BIH Arrhythmia Database",
    version="1.0.0",
    url="https://physionet.org/content/mitdb/1.0.0/",
    licence="Open Data Commons Attribution License (ODC-By) 1.0",
    citation=(
        "Moody GB, Mark RG. The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering in Medicine and Biology "
        "20(3), 45-50 (2001). https://doi.org/10.1109/51.932724"
    ),
    records=48,
    size_gb=0.109,
    rate=RATE,
    leads="2, mostly MLII and V1",
    labels="every beat by two cardiologists or more, here as AAMI classes N, S, V, F, Q of each segment",
    traps=(
        "Beats of one person in training and in test give figures far too good: split by patient, as the folds do.",
        "Records 201 and 202 are of one man, yet the customary DS1 holds the first and DS2 the second.",
        "102 and 104 have no MLII, and in 114 the two leads stand the other way round.",
        "102, 104, 107 and 217 are paced; the AAMI leaves them out of the evaluation (column paced).",
        "More than four beats of five are N; F comes nearly all from 208 and 213, Q from the paced records.",
    ),
)

_NAME = re.compile(r"[12]\d\d")
_PERSON = re.compile(r"^#?\s*(-?\d+)\s+([MF])\b")


def found(source: Path) -> bool:
    """Whether `source` holds records named as the published ones, at 360 Hz, with beat annotations."""
    header = next(iter(sorted(source.glob("[12][0-9][0-9].hea"))), None)
    try:
        return header is not None and header.with_suffix(".atr").is_file() and _rate(header) == RATE
    except InputError:
        return False


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    leads: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Cohort:
    """Read the MIT-BIH Database once and write it as a cohort; where `to` holds that cohort already, open it.

    The task "aami" holds the five classes. The table also holds source_record, beats_N to beats_Q, paced, de_chazal
    ("DS1", "DS2" or none) and, without `leads`, lead_first and lead_second.

    Args:
        source: the folder with 100.hea and so on. to: the cohort's folder.
        rate: Hz, to which the 360 Hz of the records are resampled.
        bad: what to do with segments that have missing samples or a flat lead; see :class:`Screen`.
        seconds, longer: the segments; see :mod:`ecglib.datasets.rule`.
        leads: None for the two channels as "first" and "second"; or one or two names such as ["MLII"], for the records
            that have them.
        workers: processes that read, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: no such database; a file that is missing, damaged or of another rate; a beat of a kind that AAMI's
            classes are not laid down for here; leads that no record has; a rate that 360 Hz cannot be brought to.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    leads = _checked(leads)
    target = _target(rate, seconds, longer, leads)
    stems = _find(source)
    built_from = _key(source, stems, bad, target, leads)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    notes = ["Folds are ours: the number of the patient's first record modulo 10, plus 1; 201 and 202 are one patient."]
    if leads is None:
        notes.append("The leads are the records' two channels, whatever they are; the table names them.")
    else:
        stems, without = _with_leads(stems, leads)
        if without:
            notes.append(f"{count(len(without))} left out, lacking these leads ({', '.join(without[:5])}).")
    return build_parts(
        to, stems, partial(_read, target=target, leads=leads), about=ABOUT,
        expected=Expected(leads or CHANNELS, target.rate, target.samples, SCALE), bad=bad, key=built_from,
        source=f"{ABOUT.title}, {ABOUT.url}", source_version=ABOUT.version, notes=notes,
        label_sets={"aami": {name: name for name in CLASSES}}, records=len(stems),
        empty=f"no record is {target.seconds:g} s long; choose shorter segments.", workers=workers, progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    seconds: float = 10,
    longer: rule.Longer = "segment",
    leads: Sequence[str] | None = None,
) -> str:
    """What `build` would be building: another key when the headers or annotations there or the options change."""
    source, leads = Path(source).absolute(), _checked(leads)
    target = _target(rate, seconds, longer, leads)
    return _key(source, _find(source), bad, target, leads)


def _read(stem: Path, target: rule.Target, leads: tuple[str, ...] | None) -> Raw:
    """The segments of one record, in all its leads or in `leads`."""
    import pandas as pd

    signal, names, person, agrees = read_record(stem)
    if leads is not None:
        signal = signal[[names.index(lead) for lead in leads]]
    segments = Segments(target, SCALE)
    segments.add(stem.name, signal, target.leads, RATE, agree=agrees)
    about = _about(stem.name, person) | ({} if leads else dict(zip(("lead_first", "lead_second"), names)))
    beats = count_beats(read_beats(stem), signal.shape[1], target) if segments.each[0] else []
    rows = [
        about
        | {f"beats_{name}": int(n) for name, n in zip(CLASSES, row)}
        | {"statements": [name for name, n in zip(CLASSES, row) if n]}
        for row in beats
    ]
    return segments.raw(pd.DataFrame(rows), each=True)


def count_beats(beats: dict[str, np.ndarray], length: int, target: rule.Target) -> np.ndarray:
    """(S, 5) the number of beats of each class in each segment of a record of `length` samples at 360 Hz.

    beats: {class: ascending samples at 360 Hz}, see `read_beats`.
    """
    resampled = -(-length * target.rate // RATE)
    starts = np.array(rule.starts(resampled, target.samples, target.longer))  # (S,)
    ends = starts + target.samples
    at = [beats[name] * target.rate / RATE for name in CLASSES]  # samples at the cohort's rate
    return np.stack([np.searchsorted(t, ends) - np.searchsorted(t, starts) for t in at], axis=1)


def read_record(stem: Path) -> tuple[np.ndarray, tuple[str, ...], tuple[float, str | None], bool]:
    """(2, T) float32 mV with NaN where samples are missing, the leads' names, the person's age and sex, and whether the
    samples have their header's checksums.

    Raises:
        InputError: a record that is missing, damaged, of another rate than 360 Hz, or not of two leads in mV.
    """
    header = f"{stem}.hea"
    if (rate := _rate(Path(header))) != RATE:
        raise InputError(f"{header} says {rate:g} Hz where the database has {RATE}; get the record again.")
    record = _wfdb("rdrecord", stem, physical=False)
    if record.n_sig != 2 or set(record.units) != {"mV"} or None in (*record.sig_name, *record.checksum):
        raise InputError(f"{header} does not describe two leads in mV to the end; get the record again.")
    agrees = not ((record.d_signal.sum(axis=0, dtype=np.int64) - record.checksum) % 65536).any()
    person = next((match for line in record.comments if (match := _PERSON.match(line))), None)
    age = float(person[1]) if person and int(person[1]) >= 0 else np.nan
    sex = {"M": "male", "F": "female"}[person[2]] if person else None
    return record.dac().T.astype(np.float32), tuple(record.sig_name), (age, sex), agrees  # (T, L) -> (L, T)


def read_beats(stem: Path) -> dict[str, np.ndarray]:
    """{AAMI class: the samples at 360 Hz of its beats, ascending}.

    Raises:
        InputError: annotations that are missing or damaged, or hold a beat that has no class here.
    """
    if read_bytes(f"{stem}.atr")[-2:] != b"\0\0":  # wfdb reads to wherever a file was cut
        raise InputError(f"{stem}.atr has no end mark: it is cut short or damaged; get it again.")
    marks = _wfdb("rdann", stem, extension="atr")
    symbols = np.array(marks.symbol, dtype=object)
    if unknown := sorted(set(symbols) - AAMI.keys() - NO_BEATS):
        raise InputError(f"{stem}.atr has the beat {unknown[0]!r}, which has no AAMI class here; get the file again.")
    classes = np.array([AAMI.get(symbol, "") for symbol in symbols], dtype=object)
    return {name: np.sort(marks.sample[classes == name]) for name in CLASSES}


def _wfdb(function: str, stem: Path, **options: Any) -> Any:
    import wfdb

    try:
        return getattr(wfdb, function)(str(stem), **options)
    except Exception as error:  # wfdb raises nearly anything on a bad file
        file = f"{stem}.{options['extension']}" if "extension" in options else f"{stem}.hea or its signal file"
        raise InputError(f"{file} cannot be read by wfdb ({error}); get it again.") from None


def _rate(header: Path) -> float:
    return layout_of(str(header)).rate


def _about(record: str, person: tuple[float, str | None]) -> dict[str, Any]:
    patient = "201" if record == "202" else record
    return {
        "source_record": record,
        "patient": patient,
        "fold": int(patient) % 10 + 1,
        "age": person[0],
        "sex": person[1],
        "paced": record in PACED,
        "de_chazal": next((half for half, records in DE_CHAZAL.items() if record in records.split()), None),
    }


def _with_leads(stems: Sequence[Path], leads: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """The records that have these leads, and the names of those that have not."""
    names = {stem: _wfdb("rdheader", stem).sig_name or [] for stem in stems}
    having = [stem for stem in stems if set(leads) <= set(names[stem])]
    if not having:
        there = sorted({name for of_one in names.values() for name in of_one})
        asked = next((lead for lead in leads if lead not in there), None)
        what = f"has the lead {asked!r}" if asked else f"has both {' and '.join(leads)}"
        raise InputError(f"no record {what}.{nearest(asked or '', there)}")
    return having, [stem.name for stem in stems if stem not in having]


def _checked(leads: Sequence[str] | None) -> tuple[str, ...] | None:
    if leads is None:
        return None
    if isinstance(leads, str) or not 1 <= len(leads) <= 2 or len(set(leads)) < len(leads):
        raise InputError(f"leads is {leads!r}; give one or two names such as ['MLII'], or None for the two channels.")
    return tuple(leads)


def _target(rate: int, seconds: float, longer: rule.Longer, leads: tuple[str, ...] | None) -> rule.Target:
    if seconds is None:
        raise InputError("seconds is None, but half an hour is no record for a cohort; give the seconds of a segment.")
    # the names only hold the places: the rule knows the twelve leads, and derives nothing where I and II are given
    return rule.Target(rate, seconds, LEADS[: len(leads or CHANNELS)], longer=longer)


def _find(source: Path) -> list[Path]:
    """The records' paths without suffix: those of RECORDS, else all with a published name in `source` itself."""
    if (source / "RECORDS").is_file() or not source.is_dir():
        stems = [Path(stem) for stem in wfdb_folder.find(source)]
    else:
        stems = [file.with_suffix("") for file in sorted(source.glob("[12][0-9][0-9].hea"))]
    if not stems:
        raise InputError(f"{source} holds no record of the MIT-BIH Arrhythmia Database; give the folder with 100.hea.")
    if wrong := [stem for stem in stems if not _NAME.fullmatch(stem.name) or stems.count(stem) > 1]:
        what = "twice" if _NAME.fullmatch(wrong[0].name) else "and no MIT-BIH record is called so"
        raise InputError(f"{source / 'RECORDS'} lists {wrong[0].name} {what}; get the file again.")
    return stems


def _key(source: Path, stems: Sequence[Path], bad: str, target: rule.Target, leads: Sequence[str] | None) -> str:
    """Folder, contents of headers and annotations, options, builder."""
    options = [bad, target.rate, target.seconds, target.longer, leads]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for stem in stems:
        for suffix in ("hea", "atr"):
            digest.update(read_bytes(f"{stem}.{suffix}"))
    return f"mit-bih {digest.hexdigest()}"
