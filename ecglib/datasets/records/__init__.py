"""One file with one ECG in it, of any of the usual formats, as mV: :func:`read_record`.

Each format goes through the package that reads it: WFDB (wfdb; plain format 16 directly), EDF and BDF (pyedflib), DICOM
waveforms (pydicom), CSV and TSV (pandas), .npy and .npz (numpy, never a pickle), matrices of MATLAB up to version 7.
What a file says of itself is taken: lead names, unit, rate. What it does not say has to be given, or the answer is one
sentence that says so. Nothing is guessed: a number without a unit may be a thousand times too large.

`python -m ecglib.datasets.records FILE ...` prints what each file holds.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from ecglib.datasets import rule
from ecglib.datasets.records.channels import Channels, affordable, chooser, lead_of, millivolts, single
from ecglib.errors import InputError

MOST_BYTES = 2 << 30
FORMATS = {
    ".hea": "wfdb", ".dat": "wfdb", ".edf": "edf", ".bdf": "edf", ".rec": "edf", ".dcm": "dicom", ".dicom": "dicom",
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".npy": "array", ".npz": "array", ".mat": "array",
}  # fmt: skip
"""{suffix: module below this one}; a .mat beside a header of its name is WFDB."""
SEVERAL = "{} Hz in its leads, brought to {:g} Hz"
TOO_LARGE, TOO_SMALL = 20.0, 0.02
"""mV: a surface ECG peaks at 0.3 to 5 mV; a thousandth or a thousandfold of that lies far beyond these."""


@dataclass(frozen=True)
class Signal:
    """One record in mV, with what its file says of it."""

    signal: np.ndarray
    """(L, T) float32 mV, NaN where a sample is missing."""
    leads: tuple[str, ...]
    """Canonical names, in the file's order."""
    rate: float
    """Hz."""
    age: float | None = None
    """Years."""
    sex: str | None = None
    """ "male", "female" or None."""
    started: datetime | None = None
    patient: str | None = None
    """The identifier in the file (DICOM, EDF+); it may be that of the hospital."""
    notes: tuple[str, ...] = ()
    """What is odd, each to be read after the file's name."""

    @property
    def seconds(self) -> float:
        return self.signal.shape[1] / self.rate


def read_record(
    path: str | Path,
    *,
    rate: float | None = None,
    leads: Sequence[str] | Mapping[str, str] | None = None,
    unit: str | None = None,
) -> Signal:
    """Read one file. Channels that are none of the twelve leads are passed over.

    Args:
        path: the file; for WFDB the header, the signal file or the name without suffix.
        rate: Hz, for a file that says none. unit: "mV", "uV", "V" or "nV", for a file that says none.
        leads: for a file that names none of the twelve: a name for each channel in order, or {channel: lead} for those
            to be read under another name, such as {"MLII": "II"}.

    A file's own word goes before what is given; where the two differ, a note says so.

    Raises:
        InputError: a file that is missing, damaged, too large, of no kind that is read here; that holds no lead or one
            twice; that does not say what is not given either.
    """
    path = Path(path)
    if unit is not None and millivolts(unit) is None:
        raise InputError(f"unit is {unit!r}, which is no voltage; give 'mV' or 'uV'.")
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError(f"rate is {rate!r}; give the records' rate in Hz.")
    _check_leads(leads)
    path, kind = _kind(path)
    module = importlib.import_module(f"ecglib.datasets.records.{kind}")
    try:
        return _signal(module.read(path, chooser(leads)), rate, unit)
    except InputError as error:
        said = str(error).replace(f"{path}: ", "")  # some packages put it in; what wfdb_files raises names its file
        raise InputError(said if said.startswith(str(path.with_suffix(""))) else f"{path} {said}") from None


def format_of(path: Path) -> str | None:
    """The reader that a file is for ("wfdb", "edf", ...), by its name or DICOM's mark; None for none. Not of .dat."""
    kind = FORMATS.get(path.suffix.lower())
    if path.suffix.lower() == ".mat" and path.with_suffix(".hea").is_file():
        return "wfdb"
    return kind or ("dicom" if _marked(path) else None)


def _check_leads(leads: Sequence[str] | Mapping[str, str] | None) -> None:
    if isinstance(leads, str):
        raise InputError(f"leads is {leads!r}; give a list of names such as ['I', 'II'].")
    unknown = [name for name in leads.values() if lead_of(name) is None] if isinstance(leads, Mapping) else []
    if unknown or (leads is not None and not leads):
        raise InputError(f"leads is {leads!r}; give names such as ['I', 'II'], or {{'MLII': 'II'}}.")


def _kind(path: Path) -> tuple[Path, str]:
    """The file to read and its reader."""
    if not path.suffix or not path.exists():
        header = path.with_name(f"{path.name}.hea")
        path = header if header.is_file() else path
    kind = format_of(path) if path.is_file() else FORMATS.get(path.suffix.lower(), "")
    if kind is None:
        raise InputError(f"{path} is of no kind that is read here; the kinds are {', '.join(FORMATS)} and DICOM.")
    path = path.with_suffix(".hea") if kind == "wfdb" and path.suffix != ".hea" else path
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); is the name right?") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no file; give the file of one record.")
    if found.st_size > MOST_BYTES:
        raise InputError(
            f"{path} has {found.st_size:,} bytes, more than the {MOST_BYTES:,} that are read; cut it first."
        )
    return path, kind


def _marked(path: Path) -> bool:
    """DICOM files often have no suffix; they have this mark after 128 bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _signal(found: Channels, rate: float | None, unit: str | None) -> Signal:
    """Units, rates and missing samples settled."""
    notes = list(found.notes)
    factors = [_factor(own, lead, unit, notes) for own, lead in zip(found.units, found.leads)]
    rates = [_rate(own, rate, notes) for own in found.rates]
    affordable(sum(len(values) for values in found.signals), "has")
    if min(len(values) for values in found.signals) < 1:
        raise InputError("holds no samples; get it or export it again.")
    signals = [single(values, factor) for values, factor in zip(found.signals, factors)]
    if len(set(rates)) > 1:
        signals = _at_one_rate(signals, found.leads, rates)
        notes.append(SEVERAL.format(" and ".join(f"{each:g}" for each in sorted(set(rates))), max(rates)))
    shortest = min(map(len, signals))
    signal = np.stack([values[:shortest] for values in signals])  # L x (T,) -> (L, T)
    signal[~np.isfinite(signal)] = np.nan
    if (odd := implausible(signal)) is not None:
        notes.append(odd)
    return Signal(
        signal, tuple(found.leads), max(rates), found.age, found.sex, found.started, found.patient,
        tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def implausible(signal: np.ndarray) -> str | None:
    """What to say of (L, T) mV whose median lead peaks above `TOO_LARGE` or below `TOO_SMALL`, offsets taken off.

    A note, not a refusal: a loose electrode or a paced beat is not a wrong unit. Flat leads do not count.
    """
    sound = signal[np.isfinite(signal).any(axis=1)]
    if not len(sound):
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged files
        peaks = np.nanmax(np.abs(sound - np.nanmedian(sound, axis=1, keepdims=True)), axis=1)  # (L,)
    if not (peaks > 0).any():
        return None
    peak = float(np.median(peaks[peaks > 0].astype(np.float64)))
    if TOO_SMALL <= peak <= TOO_LARGE:
        return None
    beyond = f"over {TOO_LARGE:g}" if peak > TOO_LARGE else f"under {TOO_SMALL:g}"
    return f"peaks at {beyond} mV, so that its unit is probably wrong"


def _factor(own: str, lead: str, given: str | None, notes: list[str]) -> float:
    """mV per count of the file's unit, or of the one given where it says none."""
    if not own.strip():
        if given is None:
            raise InputError("says no unit; give unit='mV' or 'uV'.")
        return millivolts(given) or 0
    factor = millivolts(own)
    if factor is None:
        raise InputError(f"gives lead {lead} in {own.strip()!r}, which is no voltage; correct the unit in the file.")
    if given is not None and millivolts(given) != factor:
        notes.append("says another unit than the one given, and its own was taken")
    return factor


def _rate(own: float | None, given: float | None, notes: list[str]) -> float:
    if own is None:
        if given is None:
            raise InputError("says no rate; give rate in Hz, such as rate=500.")
        return float(given)
    if not 1 <= own <= 1e6:
        raise InputError(f"says a rate of {own:g} Hz, which cannot be; correct or export it again.")
    if given is not None and abs(own / given - 1) > 1e-3:
        notes.append("says another rate than the one given, and its own was taken")
    return float(own)


def _at_one_rate(signals: Sequence[np.ndarray], leads: Sequence[str], rates: Sequence[float]) -> list[np.ndarray]:
    """All at the highest rate; InputError where that is no whole number."""
    highest = max(rates)
    if highest != int(highest):
        raise InputError(
            f"holds leads at {min(rates):g} and {highest:g} Hz, which cannot be joined; export it at one rate."
        )
    affordable(sum(len(values) * highest / rate for values, rate in zip(signals, rates)), "would have")
    brought = []
    for values, lead, rate in zip(signals, leads, rates):
        target = rule.Target(int(highest), None, (lead,))
        brought.append(rule.to_target(values[None], [lead], rate, target)[0, 0])  # (T,) -> (T',)
    return brought


def described(record: Signal) -> str:
    """One line on a record."""
    person = [f"{record.age:g} years" if record.age is not None else "", record.sex or ""]
    facts = [
        f"{len(record.leads)} lead{'s' * (len(record.leads) > 1)} ({', '.join(record.leads)})",
        f"{record.seconds:g} s at {record.rate:g} Hz",
        *(fact for fact in person if fact),
    ]
    return ", ".join(facts)


def named_leads(text: str | None) -> list[str] | dict[str, str] | None:
    """ "I,II" as a list, "MLII=II,ECG=V1" as {channel: lead}; InputError for a mixture."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts if "=" in part]
    if pairs and len(pairs) < len(parts):
        raise InputError(f"leads is {text!r}; give names (I,II), or channel=lead for each (MLII=II,ECG=V1).")
    return {name.strip(): lead.strip() for name, _, lead in pairs} if pairs else parts
