"""Batches of a cohort on the device: float32 mV, labels, positions.

A cohort that fits lives on the device once, as int16, and is gathered and scaled there. One that does not fit is
gathered from the mapped file; for a GPU a thread does so ahead, into pinned memory. Both ways give the same bits: the
int16 counts are the same and counts x scale is one float32 multiplication.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from ecglib import devices, sharing
from ecglib import leads as lead_names
from ecglib.errors import InputError

if TYPE_CHECKING:
    from ecglib.cohort import Cohort

T = TypeVar("T")
RESIDENT_SHARE = 0.5  # of the free memory that a resident cohort may take: the rest is the model's
_AHEAD = 3  # batches that the thread keeps ready
_PART = 64 << 20  # bytes of int16 that are copied to the device at a time
_on_device: WeakValueDictionary[Any, Tensor] = WeakValueDictionary()


@dataclass
class Batch:
    """One batch on the device."""

    signal: Tensor
    """(B, L, T) float32 mV"""
    label: Tensor | None
    """(B, C) float32; None where no task was asked for; NaN in a mix for records without labels"""
    index: Tensor
    """(B,) int64, the position in the cohort that is batched; -1 in a mix for records without labels"""


def order(n: int, *, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """(n,) int64: the order of an epoch, the same for (seed, epoch) on every machine.

    The ranks of raw PCG64 words: NumPy keeps those streams stable between versions, unlike its shuffles.
    """
    if not shuffle:
        return np.arange(n)
    words = np.random.PCG64(np.random.SeedSequence((seed, epoch))).random_raw(n)
    return np.argsort(words, kind="stable")


class Batches:
    """An epoch's batches, again at each iteration; `set_epoch` chooses the order of the next one.

    Args:
        cohort: what is batched; `Batch.index` counts its records.
        task: the label set, or None for signals alone.
        leads: the leads wanted, in this order; None for all.
        shuffle: the order is a pure function of (seed, epoch); else the cohort's own.
        drop_last: leave out a last batch that is not full.
        resident: keep the signals on the device ("auto": if they take at most half of its free memory).

    Raises:
        InputError: an empty cohort, a batch size below 1, an unknown task, lead or device, a batch size that leaves
            no batch, `resident=True` where the signals do not fit.
    """

    def __init__(
        self,
        cohort: Cohort,
        batch_size: int,
        *,
        task: str | None = None,
        leads: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        resident: Literal["auto"] | bool = "auto",
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        if not len(cohort):
            raise InputError(f"no record of {cohort.info.name} is left to batch.")
        if drop_last and len(cohort) < batch_size:
            raise InputError(f"batch_size {batch_size} with drop_last leaves none of {len(cohort)} records.")
        self.cohort, self.batch_size, self.task = cohort, batch_size, task
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        self.leads = tuple(cohort.leads if leads is None else map(lead_names.canonical, leads))
        self.rate, self.length = cohort.rate, cohort.length
        self.device = devices.usable(device)
        self._ahead = self.device.type == "cuda"  # a CPU gathers as fast as a thread would hand over
        self.classes = () if task is None else cohort.classes(task)
        self._channels = None if self.leads == cohort.leads else lead_names.indices(cohort.leads, self.leads)
        self._label = None if task is None else torch.from_numpy(cohort.labels(task)).to(self.device)  # (N, C)
        self.resident = _fits(self, resident)
        self._data = _load(self) if self.resident else None  # (N, L, T) int16

    def __len__(self) -> int:
        n = len(self.cohort)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    @property
    def identity(self) -> list:
        """What these batches are made of: a checkpoint of a training on others is not gone on from."""
        rows = hashlib.sha256(self.cohort.rows.tobytes()).hexdigest()
        made = [
            self.task,
            list(self.classes),
            list(self.leads),
            self.batch_size,
            self.shuffle,
            self.seed,
            self.drop_last,
        ]
        return [self.cohort.info.fingerprint, rows, *made]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """(N,) int64: all positions in this epoch's order."""
        return order(len(self.cohort), seed=self.seed, epoch=self.epoch, shuffle=self.shuffle)

    def __iter__(self) -> Iterator[Batch]:
        return self.shared(0, 1)

    def shared(self, rank: int, world: int) -> Iterator[Batch]:
        """The epoch as one of `world` ranks sees it: its rows of each batch, see `sharing.own`."""
        positions = self.order()
        stretches = (positions[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self)))
        return self.take(part for each in stretches if len(part := sharing.own(each, rank, world)))

    def take(self, plan: Iterable[np.ndarray]) -> Iterator[Batch]:
        """The batches of given positions (B,), one for each item of `plan`."""
        if self._data is not None:
            fetched: Iterable = ((positions, None) for positions in plan)
        elif self._ahead:
            fetched = prefetch(lambda positions: (positions, self._gather(positions).pin_memory()), plan)
        else:
            fetched = ((positions, self._gather(positions)) for positions in plan)
        for positions, counts in fetched:
            yield self._finish(positions, counts)

    def _gather(self, positions: np.ndarray) -> Tensor:
        """(B, L, T) int16 on the CPU, from the mapped file."""
        rows = self.cohort.rows[positions]
        if self._channels is None:
            return torch.from_numpy(self.cohort.counts(rows))
        return torch.from_numpy(self.cohort.counts(rows, self.leads))

    def _finish(self, positions: np.ndarray, counts: Tensor | None) -> Batch:
        index = torch.from_numpy(np.ascontiguousarray(positions)).to(self.device)  # (B,)
        if counts is None:
            counts = self._data.index_select(0, index)  # (N, L, T) -> (B, L, T)
        signal = counts.to(self.device, non_blocking=True).float().mul_(self.cohort.info.scale)  # (B, L, T) mV
        label = None if self._label is None else self._label.index_select(0, index)  # (N, C) -> (B, C)
        return Batch(signal, label, index)


def mix(*batches: Batches) -> Mix:
    """Batches of several cohorts together: the first's own batches, each with a batch of every further cohort beside.

    An epoch is the first's: its batches and their order are what they would be alone. A further cohort gives
    `batch_size` records to each, going on through its records from epoch to epoch, so that all come equally often; a
    batch size of (its records) / (number of the first's batches) is one pass an epoch. Still a pure function of the
    seeds and the epoch.

    Parts with a task must have the same classes; their `index` counts on from one to the next. Parts without one have
    label NaN and index -1; where no part has a task, label is None.

    Raises:
        InputError: parts of other leads, rate, length or device, or of other classes.
    """
    return Mix(batches)


class Mix:
    """What :func:`mix` gives: iterated and told its epoch like a :class:`Batches`."""

    def __init__(self, parts: Sequence[Batches]) -> None:
        if not parts:
            raise InputError("mix needs at least one cohort's batches.")
        self.parts = tuple(parts)
        first = parts[0]
        for part in parts[1:]:
            for what in ("leads", "rate", "length", "device"):
                a, b = getattr(first, what), getattr(part, what)
                if a != b:
                    raise InputError(
                        f"{part.cohort.info.name} has {what} {b} and {first.cohort.info.name} {a}: "
                        f"cohorts that are mixed must agree."
                    )
        self.leads, self.rate, self.length, self.device = first.leads, first.rate, first.length, first.device
        classes = {part.classes for part in parts if part.task is not None}
        if len(classes) > 1:
            raise InputError("the cohorts mixed have other classes: " + " and ".join(map(str, sorted(classes))) + ".")
        self.classes = classes.pop() if classes else ()
        self.batch_size = sum(part.batch_size for part in parts)
        labelled = [0 if part.task is None else len(part.cohort) for part in parts]
        self._offsets = np.concatenate([[0], np.cumsum(labelled)[:-1]]).tolist()

    @property
    def identity(self) -> list:
        """See `Batches.identity`."""
        return [part.identity for part in self.parts]

    def __len__(self) -> int:
        return len(self.parts[0])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        for part in self.parts:
            part.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        return self.shared(0, 1)

    def shared(self, rank: int, world: int) -> Iterator[Batch]:
        """The epoch as one of `world` ranks sees it: its rows of each batch, all cohorts in a row."""
        plans = self._plans(rank, world)  # for each batch, what each part gives to it
        streams = [part.take(filter(len, each)) for part, each in zip(self.parts, zip(*plans))]
        try:
            for plan in plans:
                if any(map(len, plan)):
                    yield self._join([next(stream) if len(at) else None for at, stream in zip(plan, streams)])
        finally:
            for stream in streams:
                stream.close()

    def _plans(self, rank: int, world: int) -> list[list[np.ndarray]]:
        first, *further = self.parts
        order, beside, found = first.order(), [self._beside(part) for part in further], []
        for k in range(len(self)):
            at = [order[k * first.batch_size : (k + 1) * first.batch_size], *(each[k] for each in beside)]
            edges = np.cumsum([0, *map(len, at)])  # part p's rows of the batch are edges[p] to edges[p + 1] - 1
            own = sharing.own(np.arange(edges[-1]), rank, world)
            found.append([p[own[(own >= low) & (own < high)] - low] for p, low, high in zip(at, edges, edges[1:])])
        return found

    def _beside(self, part: Batches) -> np.ndarray:
        """(number of batches, part.batch_size) positions: this epoch's stretch of the part's endless sequence."""
        n, size = len(part.cohort), len(self) * part.batch_size
        at = np.arange(part.epoch * size, (part.epoch + 1) * size)
        passes = [order(n, seed=part.seed, epoch=k, shuffle=part.shuffle) for k in range(at[0] // n, at[-1] // n + 1)]
        return np.concatenate(passes)[at - at[0] // n * n].reshape(len(self), part.batch_size)

    def _join(self, batches: Sequence[Batch | None]) -> Batch:
        labels, indices = [], []
        for part, offset, batch in zip(self.parts, self._offsets, batches):
            if batch is None:  # none of this rank's rows are of this cohort
                continue
            if part.task is None:
                labels.append(torch.full((len(batch.index), len(self.classes)), torch.nan, device=self.device))
                indices.append(torch.full_like(batch.index, -1))
            else:
                labels.append(batch.label)
                indices.append(batch.index + offset)
        signal = torch.cat([batch.signal for batch in batches if batch is not None])  # (B, L, T)
        return Batch(signal, torch.cat(labels) if self.classes else None, torch.cat(indices))


def prefetch(work: Callable[[Any], T], plan: Iterable[Any], ahead: int = _AHEAD) -> Iterator[T]:
    """``map(work, plan)`` by a thread that stays up to `ahead` items in front.

    An exception in the thread is raised here, at its item's place. When the iteration is left early, the thread ends.
    """
    ready: queue.Queue = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in plan:
                if stop.is_set():
                    return
                put((work(item), None))
            put(None)
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=run, name="ecglib-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            value, error = item
            if error is not None:
                raise error
            yield value
    finally:
        stop.set()
        thread.join()


def _fits(batches: Batches, resident: Literal["auto"] | bool) -> bool:
    if resident is False:
        return False
    if _key(batches) in _on_device:
        return True
    needed = 2 * len(batches.cohort) * len(batches.leads) * batches.length
    free = devices.free_memory(batches.device)
    if resident is True and needed > free:
        raise InputError(
            f"resident=True needs {needed / 1e9:.1f} GB on {batches.device}, where {free / 1e9:.1f} GB are free; "
            f"use resident='auto', which streams."
        )
    return resident is True or needed <= RESIDENT_SHARE * free


def _key(batches: Batches) -> Any:
    cohort = batches.cohort
    return (cohort.info.fingerprint, cohort.rows.tobytes(), batches.leads, batches.device)


def _load(batches: Batches) -> Tensor:
    """(N, L, T) int16 on the device; shared with other live Batches of the same records, leads and device."""
    key = _key(batches)
    found = _on_device.get(key)
    if found is not None:
        return found
    n, shape = len(batches.cohort), (len(batches.leads), batches.length)
    data = torch.empty((n, *shape), dtype=torch.int16, device=batches.device)
    step = max(1, _PART // (2 * shape[0] * shape[1]))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        data[start : start + len(rows)] = batches._gather(rows)
    _on_device[key] = data
    return data
