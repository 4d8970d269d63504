"""Data sets in their own layouts in, cohorts out: `load` chooses the reader by what it finds."""

from __future__ import annotations

import importlib
from pathlib import Path

from ecglib.cohort import Cohort
from ecglib.datasets.quality import Bad
from ecglib.errors import InputError

__all__ = ["load"]

SYNTHETIC = "synthetic"
DETECTED = (
    "challenge2011", "challenge", "cpsc2018", "chapman", "sph", "code15", "code_test", "mimic_iv_ecg", "ptb_diag",
    "mitbih",
)  # fmt: skip
"""Modules that know their data set's folder (`found`) and bring its records to the rate asked for (`rule`)."""


def load(
    data: str | Path,
    *,
    rate: int,
    cache: str | Path = "cache",
    records: int = 2000,
    seed: int = 0,
    bad: Bad = "drop",
    resample: bool = False,
    progress: bool = True,
) -> Cohort:
    """The cohort that `data` means, built in `cache` the first time.

    Args:
        data: ``"synthetic"`` for the embedded cohort; or a folder: a cohort's own (cohort.json), PTB-XL's
            (ptbxl_database.csv), LUDB's, one of those in `DETECTED` in its published layout, or one of records in any
            format that :mod:`ecglib.datasets.records` reads, which gives a cohort without labels.
        rate: Hz. The synthetic cohort is made at it, PTB-XL is read at it (100 or 500), those in `DETECTED` and one's
            own files are brought to it in segments of 10 s; a cohort's folder, LUDB and WFDB records must have it.
        cache: where cohorts are built; one folder for each source, state of the source and choice of options.
        records, seed: of the synthetic cohort only.
        bad: records with missing samples or a flat lead are dropped or kept, and counted in the cohort's notes.
        resample: a cohort's folder or WFDB records of another rate are read at their own and resampled to `rate`,
            PTB-XL at other rates than its two from 500 Hz; both stages are kept in `cache`.

    Raises:
        InputError: `data` is none of these, or its reader refuses it.
    """
    from ecglib.datasets.resampled import resampled

    if data == SYNTHETIC:
        from ecglib.datasets import synthetic

        name = f"synthetic-{records}-{rate}hz-seed{seed}-v{synthetic.VERSION}"
        return synthetic.build(Path(cache) / name, records=records, rate=rate, seed=seed, progress=progress)
    source = Path(data).expanduser().resolve()  # so that "../data" and the whole path are one cohort
    if (source / "cohort.json").is_file():
        cohort = Cohort.open(source)
        if resample:
            return resampled(cohort, rate, cache, progress=progress)
        return _at_rate(cohort, rate)
    if not source.is_dir():
        raise InputError(
            f"data is {str(data)!r}, which is no folder; give {SYNTHETIC!r} or the folder of a cohort, of PTB-XL or of "
            f"WFDB records."
        )
    from ecglib.datasets import ludb, ptb_xl, wfdb_folder
    from ecglib.datasets import own as own_records

    if (source / ptb_xl.TABLE).is_file():
        own = max(ptb_xl.FILENAME) if resample and rate not in ptb_xl.FILENAME else rate
        place = _place(cache, "ptb-xl", own, ptb_xl.key(source, rate=own, bad=bad))
        cohort = ptb_xl.build(source, place, rate=own, bad=bad, progress=progress)
        return resampled(cohort, rate, cache, progress=progress) if resample else cohort
    if (source / ludb.TABLE).is_file():
        if not resample and rate != ludb.RATE:
            raise InputError(f"{source} is at {ludb.RATE} Hz where rate is {rate}; set rate to {ludb.RATE}.")
        place = _place(cache, "ludb", rate, ludb.key(source, rate=rate))
        return ludb.build(source, place, rate=rate, progress=progress)
    for name in DETECTED:
        module = importlib.import_module(f"{__name__}.{name}")
        if module.found(source):
            place = _place(cache, name, rate, module.key(source, rate=rate, bad=bad))
            return module.build(source, place, rate=rate, bad=bad, progress=progress)
    if wfdb_folder.holds_records(source) and not own_records.found(source, ("edf", "dicom")):  # of which it knows none
        own = wfdb_folder.rate_of(source) if resample else rate
        place = _place(cache, source.name, own, wfdb_folder.key(source, rate=own, bad=bad))
        cohort = wfdb_folder.build(source, place, rate=own, bad=bad, progress=progress)
        return resampled(cohort, rate, cache, progress=progress) if resample else cohort
    if own_records.found(source):
        place = _place(cache, source.name, rate, own_records.key(source, rate=rate, bad=bad))
        return own_records.build(source, place, rate=rate, bad=bad, progress=progress)
    raise InputError(
        f"data is {str(data)!r}, a folder in which no data set was recognised and that holds no records (WFDB, EDF, "
        f"DICOM, CSV, NumPy); docs/data_sets.md names what is read."
    )


def _place(cache: str | Path, name: str, rate: int, key: str) -> Path:
    return Path(cache) / f"{name}-{rate}hz-{key.split()[-1][:12]}"


def _at_rate(cohort: Cohort, rate: int) -> Cohort:
    if cohort.rate != rate:
        raise InputError(f"{cohort.path} is at {cohort.rate} Hz where rate is {rate}; set rate to {cohort.rate}.")
    return cohort
