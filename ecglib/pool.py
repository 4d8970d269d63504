"""Batches of several cohorts together, without labels, for self-supervised pre-training.

The rule of mixing: all cohorts have the same rate (`ecglib.datasets.resampled` makes it so) and give the same leads; an
epoch is one pass over all records of all cohorts, shuffled together, so that each cohort comes in proportion to its
records; each record gives one window an epoch, its place drawn anew.

Tables are never read: what an epoch needs is one 8-byte position a record, and the signals stay in their mapped files
(or on the device, where they fit), so that a million records take hardly more memory than a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ecglib import devices, sharing, signals
from ecglib import leads as lead_names
from ecglib.batches import RESIDENT_SHARE, Batch, Batches, order
from ecglib.cohort import Cohort
from ecglib.errors import InputError


class Pool:
    """An epoch's batches over several cohorts, again at each iteration; used like :class:`ecglib.batches.Batches`.

    Batches are `Batch(signal (B, L, W) float32 mV, label None, index (B,))`; `index` counts the records of the first
    cohort, then on through the others. The order is a pure function of (seed, epoch). The windows' places are drawn
    from torch's global generator on the device, in the thread that asks for the batch.

    Args:
        cohorts: of one rate; each a whole folder or a subset.
        window_s: seconds of each record that a batch holds, W = window_s x rate samples; None for whole records, which
            must then be equally long.
        leads: the leads wanted, in this order; None for those that all cohorts have, in canonical order.
        drop_last: leave out a last batch that is not full.
        resident: keep the signals on the device ("auto": if all cohorts together take at most half of its free memory).

    Attributes:
        leads, rate (Hz), length (W, samples), window_s (seconds), device, batch_size.

    Raises:
        InputError: no cohort, or one without a record; cohorts of different rates; no lead that all have, or a wanted
            one that a cohort lacks; a window that is not whole samples or longer than a cohort's records; records of
            unequal length without a window; a batch size that leaves no batch; `resident=True` where the signals do
            not fit.
    """

    def __init__(
        self,
        cohorts: Sequence[Cohort],
        batch_size: int,
        *,
        window_s: float | None,
        leads: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        resident: Literal["auto"] | bool = "auto",
    ) -> None:
        cohorts = list(cohorts)
        self.rate = _common_rate(cohorts)
        self.leads = _common_leads(cohorts) if leads is None else _wanted_leads(cohorts, leads)
        self.length = _window(cohorts, window_s, self.rate)
        self.window_s = self.length / self.rate
        self.batch_size, self.seed, self.shuffle, self.drop_last, self.epoch = batch_size, seed, shuffle, drop_last, 0
        self.device = devices.usable(device)
        self._edges = np.cumsum([0, *map(len, cohorts)])  # cohort p holds positions edges[p] to edges[p + 1] - 1
        if resident == "auto":  # decided for all together: each alone would take half of what the others left
            needed = sum(2 * len(cohort) * len(self.leads) * cohort.length for cohort in cohorts)
            resident = needed <= RESIDENT_SHARE * devices.free_memory(self.device)
        common = {"leads": self.leads, "device": self.device, "resident": resident}
        self.parts = tuple(Batches(cohort, batch_size, **common) for cohort in cohorts)
        if not len(self):
            raise InputError(
                f"batch_size {batch_size} with drop_last leaves none of {self.records} records; make it smaller."
            )

    @property
    def records(self) -> int:
        """How many records all cohorts have together."""
        return int(self._edges[-1])

    @property
    def resident(self) -> bool:
        """Whether the signals are kept on the device."""
        return all(part.resident for part in self.parts)

    @property
    def identity(self) -> list:
        """What these batches are made of: a checkpoint of a training on others is not gone on from."""
        made = [list(self.leads), self.length, self.batch_size, self.shuffle, self.seed, self.drop_last]
        return [[part.identity for part in self.parts], *made]

    def __len__(self) -> int:
        return self.records // self.batch_size if self.drop_last else -(-self.records // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """(N,) int64: all positions in this epoch's order."""
        return order(self.records, seed=self.seed, epoch=self.epoch, shuffle=self.shuffle)

    def __iter__(self) -> Iterator[Batch]:
        return self.shared(0, 1)

    def shared(self, rank: int, world: int) -> Iterator[Batch]:
        """The epoch as one of `world` ranks sees it: its rows of each batch, see `sharing.own`."""
        positions = self.order()
        stretches = [sharing.own(self._stretch(positions, k), rank, world) for k in range(len(self))]
        streams = [part.take(self._plan(stretches, p)) for p, part in enumerate(self.parts)]
        try:
            for at in stretches:
                if len(at):
                    yield self._join(at, streams)
        finally:
            for stream in streams:  # ends the threads that fetch ahead
                stream.close()

    def _stretch(self, positions: np.ndarray, k: int) -> np.ndarray:
        """(B,) positions of batch `k`."""
        return positions[k * self.batch_size : (k + 1) * self.batch_size]

    def _plan(self, stretches: Sequence[np.ndarray], p: int) -> Iterator[np.ndarray]:
        """Which records cohort `p` gives to one batch after the other; a batch that has none of it is passed over."""
        for at in stretches:
            own = at[(self._edges[p] <= at) & (at < self._edges[p + 1])] - self._edges[p]
            if len(own):
                yield own

    def _join(self, at: np.ndarray, streams: Sequence[Iterator[Batch]]) -> Batch:
        """The batch of the positions `at` (B,), in their order, from the cohorts that have a record in it."""
        owner = np.searchsorted(self._edges, at, side="right") - 1  # (B,)
        signal = torch.empty((len(at), len(self.leads), self.length), device=self.device)
        # One number a record, whatever its cohort: what a batch draws does not depend on how the parts lie in it.
        place = sharing.per_record(self._places, len(at)) if self._crops else None
        for p in np.unique(owner):
            found = next(streams[p]).signal  # (B of this part, L, T)
            if len(found) == len(at):
                signal = self._windows(found, place)
                break
            rows = torch.from_numpy(np.flatnonzero(owner == p)).to(self.device)
            signal[rows] = self._windows(found, None if place is None else place[rows])
        return Batch(signal, None, torch.from_numpy(at.copy()).to(self.device))

    def _places(self, n: int) -> Tensor:
        return torch.rand(n, device=self.device)

    @property
    def _crops(self) -> bool:
        return any(part.length > self.length for part in self.parts)

    def _windows(self, signal: Tensor, place: Tensor | None) -> Tensor:
        """(B, L, T) -> (B, L, W): the window that starts at `place` (B,), from 0 to 1, of the room that there is."""
        spare = signal.shape[-1] - self.length
        if not spare:
            return signal
        start = (place * (spare + 1)).long().clamp(max=spare)  # rounding must not lead past the end
        at = start[:, None] + torch.arange(self.length, device=signal.device)  # (B, W)
        return signal.gather(2, at[:, None, :].expand(-1, signal.shape[1], -1))


def take_records(cohorts: Sequence[Cohort], n: int, *, seed: int = 0) -> list[Cohort]:
    """`n` records drawn from all cohorts together, each with the same chance, as subsets: steps of a scaling curve.

    For one seed they are nested: what is drawn for n1 < n2 is among what is drawn for n2. Records keep their order; a
    cohort of which none was drawn is left out. No table is read, so records of one patient may be divided.

    Raises:
        InputError: `n` is below 1 or above the number of records there are.
    """
    cohorts = list(cohorts)
    edges = np.cumsum([0, *map(len, cohorts)])
    if not 1 <= n <= edges[-1]:
        raise InputError(f"{n} records were asked for where there are {edges[-1]}; give a number from 1 to that.")
    chosen = np.sort(order(int(edges[-1]), seed=seed, epoch=0, shuffle=True)[:n])
    cuts = np.searchsorted(chosen, edges)
    parts = [chosen[a:b] - edge for a, b, edge in zip(cuts, cuts[1:], edges)]
    return [cohort.subset(rows) for cohort, rows in zip(cohorts, parts) if len(rows)]


def segments(signal: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Two adjacent windows of each record that do not overlap: (B, L, T) mV to twice (B, L, samples).

    A positive pair of contrastive multi-segment coding (Kiyasseh, Zhu & Clifford, ICML 2021): neighbours in time of
    one patient. The start of the first is drawn for each record from torch's global generator on the device; where
    T = 2 x samples the halves are all there is to draw.

    Raises:
        InputError: the signals are shorter than two windows, or a window has no sample.
    """
    if samples < 1 or 2 * samples > signal.shape[-1]:
        raise InputError(
            f"Two adjacent segments of {samples} samples do not fit a signal of {signal.shape[-1]}; give windows "
            "twice as long as a segment."
        )
    both = signals.crop(signal, 2 * samples)
    return both[..., :samples], both[..., samples:]  # (B, L, 2 x samples) -> 2 x (B, L, samples)


def _common_rate(cohorts: Sequence[Cohort]) -> int:
    if not cohorts:
        raise InputError("There is no cohort to pre-train on; give at least one.")
    for cohort in cohorts:
        if not len(cohort):
            raise InputError(f"no record of {cohort.info.name} ({cohort.path}) is left to pre-train on; leave it out.")
        if cohort.rate != cohorts[0].rate:
            raise InputError(
                f"{cohorts[0].info.name} is at {cohorts[0].rate} Hz and {cohort.info.name} at {cohort.rate} Hz; a pool "
                "has one rate, so load them with resample=True."
            )
    return cohorts[0].rate


def _common_leads(cohorts: Sequence[Cohort]) -> tuple[str, ...]:
    """The leads that all have, in canonical order."""
    have = [set(map(lead_names.canonical_or_raw, cohort.leads)) for cohort in cohorts]
    common = tuple(lead for lead in lead_names.LEADS if lead in reduce(set.intersection, have))
    if not common:
        said = "; ".join(f"{cohort.info.name} has {', '.join(cohort.leads)}" for cohort in cohorts)
        raise InputError(f"The cohorts have no lead in common ({said}); leave one out.")
    return common


def _wanted_leads(cohorts: Sequence[Cohort], leads: Sequence[str]) -> tuple[str, ...]:
    if not leads:
        raise InputError("leads is empty; name at least one, or give None for all that the cohorts have in common.")
    for cohort in cohorts:
        try:
            lead_names.indices(cohort.leads, leads)
        except InputError as error:
            raise InputError(f"{cohort.info.name} ({cohort.path}): {error}") from None
    return tuple(map(lead_names.canonical, leads))


def _window(cohorts: Sequence[Cohort], window_s: float | None, rate: int) -> int:
    """The window in samples."""
    shortest, longest = (pick(cohorts, key=lambda cohort: cohort.length) for pick in (min, max))
    if window_s is None:
        if shortest.length != longest.length:
            raise InputError(
                f"The records of {shortest.info.name} last {shortest.length / rate:g} s and those of "
                f"{longest.info.name} {longest.length / rate:g} s; give window_s, at most the shorter."
            )
        return shortest.length
    samples = round(window_s * rate)
    if samples < 1 or abs(samples - window_s * rate) > 1e-6:
        raise InputError(f"window_s is {window_s:g}, which is no whole number of samples at {rate} Hz, 1 or more.")
    if samples > shortest.length:
        raise InputError(
            f"A window of {window_s:g} s is longer than the records of {shortest.info.name}, which last "
            f"{shortest.length / rate:g} s; set window_s to at most that, or leave the cohort out."
        )
    return samples
