"""Records that cannot be used as they are: missing samples and flat leads, kept or dropped, always counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecglib.cohort_info import NOMINAL
from ecglib.datasets.wfdb_files import MISSING, Chunk, Expected
from ecglib.errors import InputError, nearest
from ecglib.leads import LEADS, limb_residual

if TYPE_CHECKING:
    from ecglib.cohort import Cohort

Bad = Literal["drop", "keep"]
ALIKE = 0.005  # of the median: real leads of different people differ by a third, rounding moves them by a thousandth
LIMB_MV = 0.1  # root mean square: beyond rounding and unequal filters, so a swapped, broken or badly scaled limb lead


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
        if bad not in ("drop", "keep"):
            raise InputError(f"bad is {bad!r}.{nearest(bad, ('drop', 'keep'))}")
        self._names, self._bad, self._expected, self._checksum_error = names, bad, expected, checksum_error
        self._limb = {"I", "II"} < set(expected.leads) and not set(LEADS[2:6]).isdisjoint(expected.leads)
        self._seen = self._through_wfdb = 0
        findings = ("missing", "flat", "clipped", "checksum", "limb", "exchanged")
        self._where: dict[str, list[int]] = {what: [] for what in findings}
        self._keep: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []
        self._deviations: list[np.ndarray] = []

    def __call__(self, chunks: Iterable[Chunk]) -> Iterator[np.ndarray]:
        """(n, L, T) int16 of the records that stay, chunk by chunk."""
        for chunk in chunks:
            missing = _mend(chunk.signals)  # (n,)
            flat = _flat(chunk.signals)  # (n,)
            self._note("missing", missing)
            self._note("flat", flat & ~missing)
            self._note("clipped", chunk.clipped)
            self._note("checksum", ~chunk.agree)
            if self._limb:
                self._check_limb(chunk.signals, ~(missing | flat))
            keep = ~(missing | flat) if self._bad == "drop" else np.ones(len(missing), bool)
            self._seen += len(keep)
            self._through_wfdb += chunk.through_wfdb
            self._keep.append(keep)
            self._sums.append(chunk.sums[keep])
            self._deviations.append(self._deviation(chunk.signals[~(missing | flat)]))
            yield chunk.signals if keep.all() else chunk.signals[keep]

    def _check_limb(self, signals: np.ndarray, sound: np.ndarray) -> None:
        """Note which of (n, L, T) break Einthoven's and Goldberger's relations; `sound` (n,) are the ones to judge."""
        leads = self._expected.leads
        limb = [k for k, lead in enumerate(leads) if lead in LEADS[:6]]
        names = [leads[k] for k in limb]
        # every fifth sample: the relations hold at each instant, so a fifth of them tells as much
        mv = signals[:, limb, ::5] * np.float32(self._expected.scale)  # (n, L, T) -> (n, <= 6, T / 5)
        mv -= mv.mean(axis=-1, keepdims=True)  # offsets of the amplifiers are no fault of the leads
        broken = (limb_residual(mv, names) > LIMB_MV).any(axis=1) & sound
        self._note("limb", broken)
        if broken.any() and {"aVL", "aVF"} < set(names):
            other = {"aVL": "aVF", "aVF": "aVL"}
            exchanged = limb_residual(mv, [other.get(name, name) for name in names]) <= LIMB_MV
            self._note("exchanged", exchanged.all(axis=1) & broken)

    def _deviation(self, signals: np.ndarray) -> np.ndarray:
        """The standard deviation over time of (n, L, T) counts in the chest leads: (n, chest leads) mV."""
        chest = [k for k, lead in enumerate(self._expected.leads) if lead in LEADS[6:]]
        return signals[:, chest].std(axis=-1, dtype=np.float32) * self._expected.scale

    def _note(self, what: str, where: np.ndarray) -> None:
        found = (self._seen + np.flatnonzero(where)).tolist()
        if what == "checksum" and found and self._checksum_error:
            raise InputError(
                f"{self._names[found[0]]} does not have its header's checksum: header or signal is damaged; "
                f"get the record again."
            )
        self._where[what] += found

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool over the records that have come."""
        return np.concatenate(self._keep)

    def notes(self) -> list[str]:
        """One sentence for each thing that was found."""
        done = "dropped" if self._bad == "drop" else "kept"
        mended = " set to 0 mV" if self._bad == "keep" else ""
        sentences = {
            "missing": f"{{records}} {done}, with missing samples{mended}",
            "flat": f"{{records}} {done}, with a flat lead",
            "clipped": "{records} clipped at the int16 range",
            "limb": f"{{records}} with limb leads that disagree by more than {LIMB_MV} mV (Einthoven, Goldberger)",
            "exchanged": "{n:,} of these would agree with aVL and aVF exchanged",
            "checksum": "{records} kept, not having their header's checksum",
        }
        notes = [
            f"{text.format(records=count(len(where)), n=len(where))} ({self._few(where)})."
            for what, text in sentences.items()
            if (where := self._where[what])
        ]
        if self._through_wfdb:
            notes.append(f"{count(self._through_wfdb)} read through wfdb, not being plain format 16.")
        if nominal := _nominal(np.concatenate(self._deviations)):
            notes.insert(0, nominal)
        sums = np.concatenate(self._sums)
        if twins := len(sums) - len(np.unique(sums, axis=0)):
            notes.append(f"{count(twins)} with the signal of another one (the same checksum in every lead).")
        return notes

    def _few(self, where: Sequence[int]) -> str:
        return ", ".join(self._names[i] for i in where[:5]) + (", ..." if len(where) > 5 else "")


def _nominal(deviations: np.ndarray) -> str | None:
    """A note where nearly all of N records have the same deviation in a chest lead, (N, chest leads) mV; else None.

    No heart does that: each record was scaled by its own deviation before it was stored. Chest leads, because they are
    left as they were scaled where the limb leads are put back into their relations.
    """
    if len(deviations) < 20 or not deviations.shape[1]:
        return None
    middle = np.median(deviations, axis=0)  # (chest leads,)
    same = (np.abs(deviations - middle) <= ALIKE * middle).mean(axis=0) > 0.95
    if not same.any():
        return None
    return (
        f"{NOMINAL}: a chest lead has the same standard deviation in every record ({same.sum()} of {len(same)} leads), "
        "so each was scaled by its own; shapes and times hold, criteria in mV do not."
    )


def _mend(signals: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, L, T) have missing samples; these are set to 0 in place."""
    if signals.min() != MISSING:  # one pass without a copy: nearly always the end of it
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
