"""Records that cannot be used as they are: missing samples and flat leads, kept or dropped, always counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ecglib.cohort_info import NOMINAL
from ecglib.datasets.wfdb_files import MISSING, Chunk, Expected
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS, limb_residual

if TYPE_CHECKING:
    from ecglib.cohort import Cohort

Bad = Literal["drop", "keep"]
Absent = Literal["refuse", "skip"]
"""Records that a data set lists and that are not there: an error, or left out and counted."""
ALIKE = 0.005  # of the median: real leads of different people differ by a third, rounding moves them by a thousandth
ENOUGH = 8  # leads of which the checksums tell one record from another
FEW = 5  # names that a note gives
LIMB_MV = 0.1  # root mean square: beyond rounding and unequal filters, so a swapped, broken or badly scaled limb lead


@dataclass
class Findings:
    """What was found: {what: how many records}, and the names of the first few of each. Findings add up."""

    number: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, names: Iterable[str]) -> None:
        """Add records by their names, none among them, so that `what` keeps its place."""
        names = list(names)
        self.number[what] += len(names)
        self.names[what] = (self.names.get(what, []) + names)[:FEW]

    def add(self, other: Findings) -> None:
        """Add what was found in the records that come next."""
        for what, number in other.number.items():
            self.number[what] += number
            self.names[what] = (self.names.get(what, []) + other.names.get(what, []))[:FEW]

    def few(self, what: str) -> str:
        """ "A, B, ..." """
        return ", ".join(self.names[what]) + (", ..." if self.number[what] > FEW else "")


@dataclass
class Screened:
    """The records of a chunk that stay, and what is to be known of them."""

    signals: np.ndarray
    """(k, L, T) int16"""
    keep: np.ndarray
    """(n,) bool, k of them true"""
    twins: np.ndarray
    """(k,) uint64: a hash of the checksums of all leads, or of the samples of few; the same for equal signals."""
    deviations: np.ndarray
    """(k, chest leads) float32 mV: the standard deviation over time, NaN in records that are not sound."""
    findings: Findings


def screen(
    chunk: Chunk, names: Sequence[str], bad: Bad, expected: Expected, *, checksum_error: bool = False
) -> Screened:
    """Leave out the bad records of a chunk or mend them, and say what was found; see :class:`Screen`.

    Raises:
        InputError: a wrong checksum where `checksum_error`.
    """
    found = Findings()

    def note(what: str, where: np.ndarray) -> None:
        found.note(what, [names[i] for i in np.flatnonzero(where)])

    signals = chunk.signals
    missing = _mend(signals)  # (n,)
    flat = _flat(signals)  # (n,)
    sound = ~(missing | flat)
    note("missing", missing)
    note("flat", flat & ~missing)
    note("clipped", chunk.clipped)
    if checksum_error and not chunk.agree.all():
        raise InputError(
            f"{names[int((~chunk.agree).argmax())]} does not have its header's checksum: header or signal is damaged; "
            f"get the record again."
        )
    if {"I", "II"} < set(expected.leads) and not set(LEADS[2:6]).isdisjoint(expected.leads):
        broken, exchanged = _check_limb(signals, sound, expected)
        note("limb", broken)
        note("exchanged", exchanged)
    note("checksum", ~chunk.agree)
    found.number["wfdb"] += chunk.through_wfdb
    keep = sound if bad == "drop" else np.ones(len(signals), bool)
    deviations = _deviation(signals, expected)
    deviations[~sound] = np.nan
    signals = signals if keep.all() else signals[keep]
    # a lead's checksum has 16 bits: of many different records with few leads some agree in all of them
    alike = chunk.sums[keep] if len(expected.leads) >= ENOUGH else signals
    return Screened(signals, keep, row_hashes(alike), deviations[keep], found)


def unscreened(chunk: Chunk) -> Screened:
    """All records of a chunk, not looked at."""
    n = len(chunk)
    return Screened(chunk.signals, np.ones(n, bool), np.zeros(n, np.uint64), np.empty((n, 0), np.float32), Findings())


class Screen:
    """Passes signals through, leaving out bad records or mending them, and remembers what it did.

    A record is bad when a sample is missing (NaN) or a lead is flat (one value throughout). ``"drop"`` leaves it out.
    ``"keep"`` keeps it, with 0 mV in the place of every missing sample: int16 has no NaN.

    Args:
        names: the records' names for notes and errors, in the order in which they will come.
        expected: the leads and the scale of what comes, for the check of the limb leads.
        checksum_error: a signal that does not have its header's checksum is an error; else it is counted.
    """

    def __init__(self, names: Sequence[str], bad: Bad, expected: Expected, *, checksum_error: bool) -> None:
        self._names, self._bad, self._expected, self._checksum_error = names, checked(bad), expected, checksum_error
        self._found = Findings()
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # keep, twins, deviations of each chunk

    def __call__(self, chunks: Iterable[Chunk]) -> Iterator[np.ndarray]:
        """(n, L, T) int16 of the records that stay, chunk by chunk."""
        seen = 0
        for chunk in chunks:
            names = self._names[seen : seen + len(chunk)]
            part = screen(chunk, names, self._bad, self._expected, checksum_error=self._checksum_error)
            seen += len(chunk)
            self._found.add(part.findings)
            self._parts.append((part.keep, part.twins, part.deviations))
            yield part.signals

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool over the records that have come."""
        return np.concatenate([keep for keep, _, _ in self._parts])

    def notes(self) -> list[str]:
        """One sentence for each thing that was found."""
        _, twins, deviations = (np.concatenate(column) for column in zip(*self._parts))
        return screen_notes(self._found, self._bad, twins, deviations.T)


def checked(bad: Bad) -> Bad:
    """`bad`; InputError when it is none of the choices."""
    one_of("bad", bad, get_args(Bad))
    return bad


def screen_notes(found: Findings, bad: Bad, twins: np.ndarray, deviations: Iterable[np.ndarray]) -> list[str]:
    """One sentence for each thing that was found in N records; twins (N,) and, for each chest lead, deviations (N,)."""
    done = "dropped" if bad == "drop" else "kept"
    mended = " set to 0 mV" if bad == "keep" else ""
    sentences = {
        "missing": f"{{records}} {done}, with missing samples{mended}",
        "flat": f"{{records}} {done}, with a flat lead",
        "clipped": "{records} clipped at the int16 range",
        "limb": f"{{records}} with limb leads that disagree by more than {LIMB_MV} mV (Einthoven, Goldberger)",
        "exchanged": "{n:,} of these would agree with aVL and aVF exchanged",
        "checksum": "{records} kept, not having their header's checksum",
    }
    notes = [
        f"{text.format(records=count(n), n=n)} ({found.few(what)})."
        for what, text in sentences.items()
        if (n := found.number[what])
    ]
    if n := found.number["wfdb"]:
        notes.append(f"{count(n)} read through wfdb, not being plain format 16.")
    if nominal := _nominal(deviations):
        notes.insert(0, nominal)
    if n := len(twins) - len(np.unique(twins)):
        notes.append(f"{count(n)} with the signal of another one (the same checksum in every lead).")
    return notes


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """(n,) uint64 of (n, ...): 64 bits of BLAKE2b of each row's bytes."""
    rows = np.ascontiguousarray(rows)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, np.uint64)


def _check_limb(signals: np.ndarray, sound: np.ndarray, expected: Expected) -> tuple[np.ndarray, np.ndarray]:
    """Which of (n, L, T) break Einthoven's and Goldberger's relations, and which of these no more with aVL and aVF
    exchanged: two times (n,) bool; `sound` (n,) are the ones to judge.
    """
    limb = [k for k, lead in enumerate(expected.leads) if lead in LEADS[:6]]
    names = [expected.leads[k] for k in limb]
    # every fifth sample: the relations hold at each instant, so a fifth of them tells as much
    mv = signals[:, limb, ::5] * np.float32(expected.scale)  # (n, L, T) -> (n, <= 6, T / 5)
    mv -= mv.mean(axis=-1, keepdims=True)  # offsets of the amplifiers are no fault of the leads
    broken = (limb_residual(mv, names) > LIMB_MV).any(axis=1) & sound
    if not (broken.any() and {"aVL", "aVF"} < set(names)):
        return broken, np.zeros(len(signals), bool)
    other = {"aVL": "aVF", "aVF": "aVL"}
    exchanged = limb_residual(mv, [other.get(name, name) for name in names]) <= LIMB_MV
    return broken, exchanged.all(axis=1) & broken


def _deviation(signals: np.ndarray, expected: Expected) -> np.ndarray:
    """The standard deviation over time of (n, L, T) counts in the chest leads: (n, chest leads) float32 mV."""
    chest = [k for k, lead in enumerate(expected.leads) if lead in LEADS[6:]]
    return signals[:, chest].std(axis=-1, dtype=np.float32) * np.float32(expected.scale)


def _nominal(deviations: Iterable[np.ndarray]) -> str | None:
    """A note where nearly all of N records have the same deviation in a chest lead, each lead (N,) mV; else None.

    No heart does that: each record was scaled by its own deviation before it was stored. Chest leads, because they are
    left as they were scaled where the limb leads are put back into their relations.
    """
    same = []
    for lead in deviations:
        lead = lead[~np.isnan(lead)]
        middle = np.median(lead) if len(lead) else 0
        same.append(len(lead) >= 20 and (np.abs(lead - middle) <= ALIKE * middle).mean() > 0.95)
    if not any(same):
        return None
    return (
        f"{NOMINAL}: a chest lead has the same standard deviation in every record ({sum(same)} of {len(same)} leads), "
        "so each was scaled by its own; shapes and times hold, criteria in mV do not."
    )


def _mend(signals: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, L, T) have missing samples; these are set to 0 in place."""
    if not signals.size or signals.min() != MISSING:  # one pass without a copy: nearly always the end of it
        return np.zeros(len(signals), bool)
    absent = signals == MISSING
    signals[absent] = 0
    return absent.any(axis=(1, 2))


def _flat(signals: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, L, T) have a lead of one value throughout."""
    first = signals[:, :, :1]
    flat = (signals[:, :, :: max(1, signals.shape[2] // 16)] == first).all(axis=2)  # (n, L) suspects, from 16 samples
    flat[flat] = (signals[flat] == first[flat]).all(axis=1)
    return flat.any(axis=1)


def count(n: int) -> str:
    """ "1 record", "2 records"."""
    return f"{n:,} record{'s' if n != 1 else ''}"


def plausible(cohort: Cohort, limit_mv: float) -> Cohort:
    """The records of which no sample lies beyond +-`limit_mv`; all of them where that is 0.

    A surface ECG stays within a few mV; what goes beyond is a loose electrode or a saturated amplifier. One such record
    moves the normalisation of every batch that it is in. Read in chunks: memory stays flat.

    Raises:
        InputError: a limit below 0, or one that leaves no record.
    """
    if limit_mv < 0:
        raise InputError(f"limit_mv is {limit_mv!r} mV; give a limit above 0, or 0 for none.")
    if not limit_mv:
        return cohort
    most = limit_mv / cohort.info.scale  # counts
    kept = []
    for start in range(0, len(cohort), 1024):
        counts = cohort.counts(cohort.rows[start : start + 1024])  # (n, L, T)
        kept.append((counts.max(axis=(1, 2)) <= most) & (counts.min(axis=(1, 2)) >= -most))
    kept = np.concatenate(kept) if kept else np.zeros(0, bool)
    if not kept.any():
        raise InputError(f"No record of {cohort.info.name} stays within {limit_mv:g} mV; are its voltages in mV?")
    return cohort.subset(kept)
