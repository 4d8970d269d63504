"""Reading WFDB records in bulk: headers checked, plain format 16 read directly, anything else through wfdb.

A wfdb loop spends most of its time on parsing headers one by one. Here a header is split once; what must be the same
in every record (rate, length, formats, gains, units, leads) is a tuple that is checked when it is first seen, and what
differs (file name, initial value, checksum) is checked for each record. Source: the WFDB header(5) and signal(5) pages.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ecglib import leads as lead_names
from ecglib.errors import InputError
from ecglib.leads import canonical_or_raw

MISSING = np.iinfo(np.int16).min
"""WFDB's mark for "no sample" in format 16, kept by :func:`read` for missing samples of every format."""

_PIECE = 1 << 16  # bytes read at once; a header has less
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3}
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\((-?\d+)\))?(?:/(\S+))?")
_FORMAT = re.compile(r"16(?:x1)?(?:\+(\d+))?")


@dataclass(frozen=True)
class Expected:
    """What every record must be; `scale` is mV per count of the result."""

    leads: tuple[str, ...]
    rate: int
    length: int
    scale: float
    exact: bool = True
    """Further leads in a record are an error, not passed over."""


@dataclass
class Chunk:
    """Some records, in order."""

    signals: np.ndarray
    """(n, L, T) int16 in counts of `Expected.scale`, MISSING where there is no sample"""
    sums: np.ndarray
    """(n, L) uint16: WFDB's checksum, the sum of the samples modulo 65536."""
    agree: np.ndarray
    """(n,) bool: the checksums are the header's (True for a record that went through wfdb, where they need not be)."""
    through_wfdb: int
    """How many were not plain and went through wfdb."""
    clipped: np.ndarray
    """(n,) bool: samples beyond the int16 range were set to its ends."""

    def __len__(self) -> int:
        return len(self.signals)


@dataclass(frozen=True)
class Layout:
    """The part of a header that is the same from record to record."""

    rate: float
    length: int
    leads: tuple[str, ...]
    scale: float | None
    """mV per count if all signals are format 16 of one gain, baseline 0 and a voltage; else None: read by wfdb."""
    offset: int
    """Bytes before the first sample: 24 in the MATLAB files of the PhysioNet challenges."""


def read(
    stems: Sequence[str],
    expected: Expected,
    *,
    sums: Mapping[str, str] | None = None,
    chunk: int = 64,
    threads: int = 2,
) -> Iterator[Chunk]:
    """Read records in order, `chunk` at a time; `stems` are paths without the suffix .hea.

    Args:
        sums: SHA-256 in hexadecimal for each file; where given, every .hea and signal file read is compared.
        threads: chunks read at a time; files, hashes and copies all release the interpreter's lock.

    Raises:
        InputError: a header or signal file that is missing, cut short, not what `expected` says, or not what its
            SHA-256 says. The sentence names the file.
    """
    parts = (stems[k : k + chunk] for k in range(0, len(stems), chunk))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(_read_chunk, part, expected, sums))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read_chunk(stems: Sequence[str], expected: Expected, sums: Mapping[str, str] | None) -> Chunk:
    try:
        signals = np.empty((len(stems), len(expected.leads), expected.length), "<i2")  # (n, L, T)
        raw = np.empty((expected.length, len(expected.leads)), "<i2")  # one record as in its file; stays in the cache
    except (MemoryError, ValueError):  # a ValueError beyond what can be addressed
        raise InputError(
            f"{stems[0]}.hea says {expected.length:,} samples a record, more than memory holds; correct the header."
        ) from None
    through_wfdb = 0
    wanted = np.full((len(stems), len(expected.leads)), -1, np.int64)
    clipped = np.zeros(len(stems), bool)
    for i, stem in enumerate(stems):
        header = f"{stem}.hea"
        text = read_bytes(header)
        check_sum(header, text, sums)
        layout, files, checksums = parse(text.decode("latin1"), header)
        if layout is not None:
            check(layout, expected, header)
        if layout is None or layout.scale != expected.scale or layout.leads != expected.leads or len(set(files)) > 1:
            clipped[i] = _read_slow(stem, text, expected, raw, sums)
            through_wfdb += 1
        else:
            signal = os.path.join(os.path.dirname(stem), files[0])
            _read_into(signal, layout.offset, raw)
            if sums is not None:
                check_sum(signal, raw if not layout.offset else read_bytes(signal), sums)
            wanted[i] = checksums
        signals[i] = raw.T  # (T, L) -> (L, T)
    found = signals.view("<u2").sum(axis=2, dtype=np.uint16)  # (n, L)
    agree = ((wanted < 0) | (found == wanted)).all(axis=1)
    return Chunk(signals, found, agree, through_wfdb, clipped)


def parse(text: str, file: str) -> tuple[Layout | None, list[str], list[int]]:
    """A header's layout, signal file names and checksums (0 to 65535); the layout is None when it is not 9 fields a
    signal, which wfdb reads.

    Raises:
        InputError: no header at all, another number of signals than it describes, a gain of zero, a unit that is no
            voltage.
    """
    first, _, rest = text.partition("\n")
    record = tuple(first.split())
    tokens = rest.partition("\n#")[0].split()  # comments come last
    if len(record) < 2 or not (record[1].isascii() and record[1].isdecimal()):
        if text.lstrip().startswith("#"):
            return None, [], []
        raise InputError(f"{file} is no WFDB header; get the file again.")
    count = int(record[1])
    if "/" not in record[0] and len(tokens) != 9 * count:
        lines = sum(bool(line.strip()) and not line.startswith("#") for line in rest.splitlines())
        if lines != count:
            raise InputError(
                f"{file} says {count} signals and describes {lines}; correct the header or get the record again."
            )
    if len(record) < 4 or count == 0 or len(tokens) != 9 * count or "/" in record[0]:
        return None, [], []
    try:
        layout = _layout(record[2:4], *(tuple(tokens[k::9]) for k in (1, 2, 4, 8)))
        checksums = [int(token) & 0xFFFF for token in tokens[6::9]]
    except InputError as error:
        raise InputError(f"{file} {error}") from None
    except ValueError as error:
        raise InputError(f"{file} cannot be read ({error}); correct the header or get the record again.") from None
    return layout, tokens[0::9], checksums


@lru_cache(maxsize=4096)
def _layout(
    record: tuple[str, ...],
    formats: tuple[str, ...],
    gains: tuple[str, ...],
    zeros: tuple[str, ...],
    names: tuple[str, ...],
) -> Layout:
    scales = [_millivolts_per_count(gain, zero) for gain, zero in zip(gains, zeros)]
    matches = {format: _FORMAT.fullmatch(format) for format in formats}
    plain = len(set(scales)) == 1 and scales[0][1] == 0 and len(matches) == 1 and all(matches.values())
    match = matches[formats[0]]
    return Layout(
        rate=float(record[0].partition("/")[0].partition("(")[0]),
        length=int(record[1]),
        leads=tuple(canonical_or_raw(name) for name in names),
        scale=scales[0][0] if plain else None,
        offset=int(match[1] or 0) if match else 0,
    )


def _millivolts_per_count(gain: str, zero: str) -> tuple[float, int]:
    """(mV per count, baseline) of a header's gain field such as "1000.0(0)/mV"."""
    match = _GAIN.fullmatch(gain)
    if match is None:
        raise InputError(f"has the gain {gain!r}, which cannot be read; correct the header.")
    if float(match[1]) == 0:
        raise InputError("has a gain of zero, so its signal is not calibrated; correct the header.")
    unit = (match[3] or "mV").lower()
    if unit not in _MILLIVOLTS:
        raise InputError(f"has the unit {match[3]!r}, which is no voltage; correct the header.")
    return _MILLIVOLTS[unit] / float(match[1]), int(match[2] if match[2] is not None else zero)


def check(layout: Layout, expected: Expected, file: str) -> None:
    """InputError naming `file` when the rate, the length or the leads are not what is expected."""
    if layout.rate != expected.rate:
        raise InputError(f"{file} says {layout.rate:g} Hz where rate is {expected.rate}; correct whichever is wrong.")
    if layout.length != expected.length:
        what = "correct or remove that record" if expected.exact else (
            "remove that record, or let `python -m ecglib.datasets build own` bring all to one length"
        )  # fmt: skip
        raise InputError(f"{file} says {layout.length} samples where the others have {expected.length}; {what}.")
    if expected.exact and len(layout.leads) != len(expected.leads):
        raise InputError(
            f"{file} has {len(layout.leads)} leads where the others have {len(expected.leads)}; "
            f"correct or remove that record."
        )
    if layout.leads != expected.leads:
        try:
            lead_names.indices(layout.leads, expected.leads)
        except InputError as error:
            raise InputError(f"{file}: {error} Correct the header.") from None


def read_bytes(file: str) -> bytes:
    """A whole file; InputError naming it when it is missing or cannot be read."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)  # half the time that Python's own file objects take
        try:
            parts = [os.read(handle, _PIECE)]
            while part := os.read(handle, _PIECE):  # network file systems may give less at once than there is
                parts.append(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise InputError(f"{file} is missing; get the record again.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); get the record again.") from None


def _read_into(file: str, offset: int, samples: np.ndarray) -> None:
    """Fill (T, L) int16 from a format-16 file of exactly that size."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(handle).st_size
            got = os.preadv(handle, (samples,), offset) if size == offset + samples.nbytes else -1
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise InputError(f"{file} is missing, though its header is there; get the record again.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); get the record again.") from None
    if got != samples.nbytes:
        raise InputError(
            f"{file} has {size:,} bytes where its header says {offset + samples.nbytes:,}: it is cut short or damaged; "
            f"get the record again."
        )


def check_sum(file: str, content: bytes | np.ndarray, sums: Mapping[str, str] | None) -> None:
    """InputError when `content` does not have the SHA-256 that `sums` lists for `file`; nothing without `sums`."""
    if sums is None:
        return
    if file not in sums:
        raise InputError(f"{file} is not listed in SHA256SUMS.txt; get the list again or pass verify=False.")
    if hashlib.sha256(content).hexdigest() != sums[file]:
        raise InputError(f"{file} does not have the SHA-256 of SHA256SUMS.txt: it is damaged; get it again.")


def layout_of(header: str) -> Layout:
    """The layout of one header in any form, through wfdb where it is not the usual one; `scale` None then."""
    text = read_bytes(header).decode("latin1")
    layout, _, _ = parse(text, header)
    if layout is None:
        record = _by_wfdb("rdheader", header)
        layout = Layout(record.fs, record.sig_len, tuple(map(canonical_or_raw, record.sig_name or ())), None, 0)
    return layout


def _by_wfdb(function: str, header: str) -> Any:
    """A record by wfdb.rdheader or wfdb.rdrecord; InputError naming the header for whatever it raises."""
    import wfdb

    try:
        return getattr(wfdb, function)(header.removesuffix(".hea"))
    except Exception as error:  # wfdb raises nearly anything on a bad file
        raise InputError(f"{header} or its signal file cannot be read by wfdb ({error}); get it again.") from None


def _read_slow(
    stem: str, header: bytes, expected: Expected, samples: np.ndarray, sums: Mapping[str, str] | None
) -> bool:
    """Fill (T, L) int16 through wfdb, whatever the format, gains, units and order; True if values were clipped."""
    file = f"{stem}.hea"
    _refuse_zero_gain(header.decode("latin1"), file)
    record = _by_wfdb("rdrecord", file)
    if sums is not None:
        for name in set(record.file_name or ()):
            signal = os.path.join(os.path.dirname(stem), name)
            check_sum(signal, read_bytes(signal), sums)
    names = tuple(canonical_or_raw(name) for name in record.sig_name)
    check(Layout(record.fs, record.sig_len, names, None, 0), expected, file)
    try:
        factors = [_MILLIVOLTS[unit.lower()] for unit in record.units]
    except KeyError as error:
        raise InputError(f"{file} has the unit {error.args[0]!r}, which is no voltage; correct the header.") from None
    physical = record.p_signal * np.array(factors)  # (T, L) mV, NaN where missing
    counts = np.rint(physical[:, lead_names.indices(names, expected.leads)] / expected.scale)
    missing = np.isnan(counts)
    bounded = np.clip(np.where(missing, 0, counts), MISSING + 1, -MISSING - 1)
    samples[:] = np.where(missing, MISSING, bounded)
    return bool((bounded[~missing] != counts[~missing]).any())


def _refuse_zero_gain(text: str, file: str) -> None:
    """wfdb takes a gain of 0 for its default of 200 without a word."""
    lines: Iterable[str] = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][1:]
    for line in lines:
        fields = line.split()
        match = _GAIN.match(fields[2]) if len(fields) > 2 else None
        if match is None or float(match[1]) == 0:
            raise InputError(f"{file} has a gain of zero or none, so its signal is not calibrated; correct the header.")
