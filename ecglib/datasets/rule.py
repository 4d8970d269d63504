"""One rule for bringing records of any leads, rate and length into one cohort: (L, T) in, equal segments out.

The rule, in this order
1. Leads are matched by name (aliases as in ecglib.leads); others are passed over. A limb lead that is wanted and
   missing is computed from the first two limb leads present, in canonical order: any two of the six determine the rest
   (Einthoven: II = I + III; Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2). A missing chest lead is an
   error.
2. The signal is resampled to the target's rate (ecglib.resampling.resample: polyphase, anti-alias filter, right at the
   edges).
3. A record longer than the target's seconds is cut into whole segments side by side from its start ("segment"); a rest
   of half a segment or more becomes one more segment, set back so that it ends with the record and overlaps the one
   before; a shorter rest is dropped. Or only the first segment is kept ("crop").
4. A record shorter than that is left out ("drop"), repeated from its start until it is long enough ("tile"), or
   followed by 0 mV ("pad"). Tiling makes a seam that looks like one early or late beat; padding makes a pause.

Samples that are missing (NaN, or infinite) stay missing, be it one of them: the gap is bridged by a line for the
resampling and marked again after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ecglib.datasets.wfdb_files import MISSING, Chunk
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS, canonical, canonical_or_raw, derive_limb, indices

Longer = Literal["segment", "crop"]
Shorter = Literal["drop", "tile", "pad"]

_LIMB = np.stack([*np.eye(2), *derive_limb(*np.eye(2))])  # (6, 2): each limb lead in terms of I and II


@dataclass(frozen=True)
class Target:
    """What every record of a cohort shall be; see the rule above.

    Raises:
        InputError: a rate that is no whole number above 0, seconds that are not above 0 or no whole number of samples,
            leads that are unknown, named twice or none, an unknown choice.
    """

    rate: int
    """Hz."""
    seconds: float | None
    """Length of a segment; None keeps each record whole, whatever its length."""
    leads: tuple[str, ...] = LEADS
    longer: Longer = "segment"
    shorter: Shorter = "drop"

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, int | np.integer) or self.rate < 1:
            raise InputError(f"rate is {self.rate!r}; give a whole number of Hz above 0.")
        if isinstance(self.leads, str) or not self.leads:
            raise InputError(f"leads is {self.leads!r}; give a list of names such as ['I', 'II'].")
        names = tuple(canonical(lead) for lead in self.leads)
        indices(names, names)  # refuses a lead named twice
        object.__setattr__(self, "rate", int(self.rate))
        object.__setattr__(self, "leads", names)
        for name, choices in (("longer", get_args(Longer)), ("shorter", get_args(Shorter))):
            one_of(name, getattr(self, name), choices)
        if self.seconds is None:
            return
        number = isinstance(self.seconds, int | float | np.number) and not isinstance(self.seconds, bool)
        count = self.seconds * self.rate if number else np.nan
        if not 1 <= count < 2**31 or abs(count - round(count)) > 1e-6:
            raise InputError(
                f"seconds is {self.seconds!r}, which is no whole number of samples at {self.rate} Hz; give 10, say."
            )

    @property
    def samples(self) -> int | None:
        """Samples of a segment; None where records keep their length."""
        return None if self.seconds is None else round(self.seconds * self.rate)


def to_target(signal: np.ndarray, leads: Sequence[str], rate: float, target: Target) -> np.ndarray:
    """The segments that one record makes by the rule above.

    Args:
        signal: (L, T) mV, NaN where samples are missing. leads: names of the L leads. rate: of the signal, Hz.

    Returns:
        (S, L', T') float32 mV with L' = len(target.leads) and T' = target.samples; S is 0 where the record is left out.
        With `target.seconds` None, (1, L', ceil(T * target.rate / rate)).

    Raises:
        InputError: leads that do not fit the signal, occur twice, or are wanted, missing and not to be derived; a
            signal without samples; a rate that is not above 0 or not in a ratio of small integers to the target's.
    """
    if signal.ndim != 2 or signal.shape[0] != len(leads) or not signal.shape[1]:
        raise InputError(f"a signal (leads, samples) of {len(leads)} leads is needed, not one of shape {signal.shape}.")
    chosen = _choose(np.asarray(signal, np.float32), leads, target.leads)  # (L, T) -> (L', T)
    absent = ~np.isfinite(chosen)
    if rate != target.rate:
        from ecglib.resampling import resample

        whole = _bridged(chosen, absent)
        offset = whole.mean(axis=-1, keepdims=True)  # taken off: the filter's phases pass 0 Hz to within 0.1 % only
        chosen = resample(whole - offset, rate=rate, to_rate=target.rate) + offset  # (L', T) -> (L', T')
        absent = _around(absent, rate / target.rate, chosen.shape[1])
    chosen[absent] = np.nan
    return _cut(chosen, target)


def starts(length: int, samples: int, longer: Longer) -> list[int]:
    """Where the segments of `samples` begin in a record of `length`, at least as long, by the rule's third step."""
    if longer == "crop":
        return [0]
    whole, rest = divmod(length, samples)
    places = [k * samples for k in range(whole)]
    if 2 * rest >= samples:
        places.append(length - samples)
    return places


def segment_names(record: str, count: int) -> list[str]:
    """["A1"] for one segment, else ["A1/0", "A1/1", ...]."""
    return [record] if count == 1 else [f"{record}/{k}" for k in range(count)]


def to_chunk(segments: np.ndarray, scale: float) -> Chunk:
    """(S, L, T) mV as int16 counts of `scale` mV for ecglib.datasets.quality.Screen: NaN is marked as missing, and what
    goes beyond int16 is set to its ends and said in `clipped`.
    """
    counts = np.rint(segments / np.float32(scale))
    absent = np.isnan(counts)
    counts[absent] = 0
    bounded = np.clip(counts, MISSING + 1, -MISSING - 1)
    clipped = (bounded != counts).any(axis=(1, 2))  # (S,)
    signals = bounded.astype(np.int16)
    signals[absent] = MISSING
    sums = signals.view(np.uint16).sum(axis=2, dtype=np.uint16)  # (S, L)
    return Chunk(signals, sums, np.ones(len(signals), bool), 0, clipped)


def _choose(signal: np.ndarray, leads: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """(L, T) to the leads `wanted` (L', T), deriving limb leads that are missing."""
    names = [canonical_or_raw(name) for name in leads]
    indices(names, [])  # refuses a lead that occurs twice
    place = {name: k for k, name in enumerate(names)}
    limb = [lead for lead in LEADS[:6] if lead in place][:2]
    derived = {lead for lead in wanted if lead not in place and lead in LEADS[:6] and len(limb) == 2}
    if missing := [lead for lead in wanted if lead not in place and lead not in derived]:
        raise InputError(
            f"lead {', '.join(missing)} is missing and cannot be derived; the leads present are "
            f"{', '.join(map(str, leads)) or 'none'}."
        )
    if not derived:
        return signal[[place[lead] for lead in wanted]]
    chosen = np.empty((len(wanted), signal.shape[1]), np.float32)
    basis = np.linalg.inv(_LIMB[[LEADS.index(lead) for lead in limb]])  # (2, 2)
    for k, lead in enumerate(wanted):
        if lead in derived:
            first, second = np.float32(_LIMB[LEADS.index(lead)] @ basis)
            chosen[k] = first * signal[place[limb[0]]] + second * signal[place[limb[1]]]
        else:
            chosen[k] = signal[place[lead]]
    return chosen


def _bridged(signal: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(L, T) with a line across each gap, the nearest value beyond the ends, and 0 in a lead that is all gap."""
    if not absent.any():
        return signal
    signal = signal.copy()
    at = np.arange(signal.shape[1])
    for lead, gap in zip(signal, absent):
        lead[gap] = np.interp(at[gap], at[~gap], lead[~gap]) if not gap.all() else 0
    return signal


def _around(absent: np.ndarray, step: float, length: int) -> np.ndarray:
    """(L, T) bool to (L, `length`): whether any of the samples up to half a `step` from each new one is absent."""
    if not absent.any():
        return np.zeros((len(absent), length), bool)
    middle, last = np.arange(length) * step, absent.shape[1] - 1
    low = np.minimum(np.rint(middle - step / 2).astype(int).clip(0), last)
    high = np.minimum(np.rint(middle + step / 2).astype(int), last)
    high[-1] = last  # the last new sample may lie a step before the end
    sums = np.pad(absent.cumsum(axis=1), ((0, 0), (1, 0)))  # (L, T + 1)
    return sums[:, high + 1] > sums[:, low]


def _cut(signal: np.ndarray, target: Target) -> np.ndarray:
    """(L, T) to (S, L, T')."""
    samples, length = target.samples, signal.shape[1]
    if samples is None:
        return signal[None]
    if length >= samples:
        places = starts(length, samples, target.longer)
        return np.stack([signal[:, at : at + samples] for at in places])  # (L, T) -> (S, L, T')
    if target.shorter == "drop":
        return np.empty((0, len(signal), samples), np.float32)
    if target.shorter == "tile":
        return signal[None, :, np.arange(samples) % length]
    return np.pad(signal, ((0, 0), (0, samples - length)))[None]
