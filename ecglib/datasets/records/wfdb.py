"""One WFDB record as :class:`Channels`: plain format 16 read directly, anything else through wfdb.

Signals of several rates (several samples a frame) come at their own rates, not averaged down to the frame's. A header
names its signal and segment files; only files beside it are opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ecglib.datasets import wfdb_files
from ecglib.datasets.records.channels import Channels, Choose, affordable, reading, sex_of, single
from ecglib.errors import InputError

_AGE = re.compile(r"^#.*?\bage>?\s*:\s*(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)
_SEX = re.compile(r"^#.*?\b(?:sex|gender)>?\s*:\s*(\w+)", re.IGNORECASE | re.MULTILINE)
_GAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_STARTED = re.compile(r"(\d{1,2}:\d{2}:\d{2})\S* +(\d{1,2}/\d{1,2}/\d{4})")
_BESIDE = re.compile(r"[^/\\:|]+")
_MOST_HEADER = 1 << 20


def read(path: Path, choose: Choose) -> Channels:
    """The record of the header at `path`; see :func:`ecglib.datasets.records.read_record`."""
    text = header_text(path)
    layout, _, _ = wfdb_files.parse(text, str(path))
    segments = _check_lines(path, text)
    plain = layout is not None and layout.scale is not None and len(set(_first_words(text))) == 1
    found = _plain(path, layout, choose) if plain else _by_wfdb(path, segments, choose)
    found.age, found.sex = person(text)
    found.started = _started(text)
    first = text.split("\n")[0].split()
    if len(first) < 3:  # wfdb would take 250 Hz
        found.rates = [None] * len(found.rates)
    elif not re.match(r"[\d.]", first[2]):
        raise InputError(f"says a rate of {first[2]!r}, which cannot be; correct the header.")
    return found


def header_text(path: Path) -> str:
    """A header's text; InputError where it is missing or far too long for one."""
    try:
        size = path.stat().st_size
    except OSError:
        raise InputError(f"{path} is missing; get the record again.") from None
    if size > _MOST_HEADER:
        raise InputError(f"{path} is too long for a WFDB header; get it again.")
    return wfdb_files.read_bytes(str(path)).decode("latin1")


def person(text: str) -> tuple[float | None, str | None]:
    """Age and sex from a header's comments ("# Age: 56", "#<sex>: F", "# <age>: 74 <sex>: M"), None where not said."""
    age, sex = _AGE.search(text), _SEX.search(text)
    years = float(age[1]) if age else None
    return years if years is not None and years <= 120 else None, sex_of(sex[1]) if sex else None


def segments_of(text: str) -> list[str]:
    """The segments' names of a header of a record in segments, else none."""
    first = text.split(maxsplit=1)
    return [name for name in _first_words(text) if name != "~"] if first and "/" in first[0] else []


def _started(text: str) -> datetime | None:
    if match := _STARTED.search(text.partition("\n")[0]):
        try:
            return datetime.strptime(f"{match[1]} {match[2]}", "%H:%M:%S %d/%m/%Y")
        except ValueError:
            return None
    return None


def _lines(text: str) -> list[list[str]]:
    """The words of each line but comments and the first."""
    return [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")][1:]


def _first_words(text: str) -> list[str]:
    return [words[0] for words in _lines(text)]


def _check_lines(path: Path, text: str) -> list[str]:
    """The names of a record's segments, if it has any; InputError for a file elsewhere, one that is too large, or a
    gain of zero, which wfdb would take for its default.
    """
    from ecglib.datasets.records import MOST_BYTES

    for name in set(_first_words(text)):
        if not _BESIDE.fullmatch(name) or name in (".", ".."):
            raise InputError(f"names the file {name!r}, which does not lie beside it; correct the header.")
        if (file := path.with_name(name)).is_file() and file.stat().st_size > MOST_BYTES:
            raise InputError(f"has a signal file of more than {MOST_BYTES:,} bytes; cut the record first.")
    if names := segments_of(text):
        for name in set(names):
            header = path.with_name(f"{name}.hea")
            inner = header_text(header)
            if segments_of(inner):
                raise InputError(f"{header} is a segment in segments; get the record again.")
            _check_lines(header, inner)
        return names
    for words in _lines(text):
        gain = _GAIN.match(words[2]) if len(words) > 2 else None
        if gain is None or not float(gain[0]):
            raise InputError("has a gain of zero or none, so its signal is not calibrated; correct the header.")
    return []


def _plain(path: Path, layout: wfdb_files.Layout, choose: Choose) -> Channels:
    positions, leads, notes = choose(layout.leads, len(layout.leads))
    affordable(layout.length * len(layout.leads))
    expected = wfdb_files.Expected(layout.leads, layout.rate, layout.length, layout.scale)
    (chunk,) = wfdb_files.read([str(path.with_suffix(""))], expected, threads=1)
    if not chunk.agree.all():
        notes.append("does not have its header's checksum")
    counts = chunk.signals[0, positions]  # (L of the file, T) -> (L, T)
    mv = np.where(counts == wfdb_files.MISSING, np.float32(np.nan), counts * np.float32(layout.scale))
    return Channels(leads, list(mv), ["mV"] * len(leads), [layout.rate] * len(leads), notes=notes)


def _by_wfdb(path: Path, segments: Sequence[str], choose: Choose) -> Channels:
    import wfdb

    stem = str(path.with_suffix(""))
    with reading("WFDB"):
        header = wfdb.rdheader(stem, rd_segments=bool(segments))
        names = list(header.sig_name or [])
    positions, leads, notes = choose(names, len(names))
    with reading("WFDB"):
        parts = [part for part in header.segments if part is not None and part.n_sig] if segments else [header]
        for part in parts:
            length = part.sig_len or 1
            frame = sum(abs(samples or 1) for samples in part.samps_per_frame)
            affordable(max(length, header.sig_len or 1) * frame)
            if any(not 0 <= (skew or 0) <= length for skew in part.skew):
                raise InputError("has a skew longer than the record; correct the header.")
        record = wfdb.rdrecord(stem, channels=positions, smooth_frames=False)
        signals = [single(values) for values in record.e_p_signal]  # L x (T,)
        rates = [record.fs * (samples or 1) for samples in record.samps_per_frame]
        units = [unit or "mV" for unit in record.units]  # WFDB's own default
    return Channels(leads, signals, units, rates, notes=notes)
