"""Shuffled batches per second: ours beside torch's DataLoader over a float32 memmap and over HDF5.

    python benchmarks/shuffled_batches.py [--records 8192] [--batch 128] [--rounds 3] [--json FILE]

Synthetic records of 10 s at 100 Hz; a batch is (B, 12, 1000) float32 mV with its labels and positions, and an epoch is
timed. The DataLoader gets no and two workers (which live from epoch to epoch), and the better counts. The memmap and
the HDF5 file hold the very float32 values that ours gives, so that no peer has to convert; the bits of a batch must be
the same. Ours comes twice: kept in memory as int16 (what it does by itself where the cohort takes at most half of the
free memory), and streamed from the mapped file.

On an accelerator the batch has to arrive there: the DataLoader pins its memory and copies asynchronously. There, too,
the share of a training step of XResNet-1d-101 (bfloat16) that goes into ours is told: steps on fetched batches and on
one that is there already, interleaved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.case import Case, arguments, finish, in_turns, peer, per_second
from ecglib.cohort import Cohort
from ecglib.datasets import synthetic

TASK, WORKERS = "superclass", (0, 2)


class Stored(Dataset):
    """What a user writes: signal, label and position of a record, read when asked for."""

    def __init__(self, open_signals: Callable[[], object], labels: np.ndarray) -> None:
        self.open_signals, self.labels, self.signals = open_signals, labels, None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        if self.signals is None:  # in the worker: neither a mapped nor an HDF5 file is to be handed over
            self.signals = self.open_signals()
        return torch.from_numpy(np.array(self.signals[i])), torch.from_numpy(self.labels[i]), i


def stored(cohort: Cohort, place: Path) -> dict[str, Callable[[], object]]:
    """{peer: a function that opens its file}; the files hold float32 mV."""
    shape = (len(cohort), len(cohort.leads), cohort.length)
    memmap = np.lib.format.open_memmap(place / "signals.npy", mode="w+", dtype="float32", shape=shape)
    h5py = peer("h5py")
    ways = {"memmap": lambda: np.load(place / "signals.npy", mmap_mode="r")}
    if h5py:
        file = h5py.File(place / "signals.h5", "w")
        data = file.create_dataset("signals", shape=shape, dtype="float32")
        ways["HDF5"] = lambda: h5py.File(place / "signals.h5", "r")["signals"]
    for start in range(0, len(cohort), 256):
        rows = np.arange(start, min(start + 256, len(cohort)))
        memmap[start : start + len(rows)] = part = cohort.signal_mv(rows)
        if h5py:
            data[start : start + len(rows)] = part
    memmap.flush()
    if h5py:
        file.close()
    return ways


def loaders(cohort: Cohort, place: Path, batch: int, device: str) -> dict[str, Iterable]:
    """{"DataLoader, memmap, 2 workers": an iterable of (signal, label, index) on `device`}."""
    labels = cohort.labels(TASK)
    found = {}
    for name, opened in stored(cohort, place).items():
        for workers in WORKERS:
            loader = DataLoader(
                Stored(opened, labels), batch, shuffle=True, drop_last=True, num_workers=workers,
                persistent_workers=workers > 0, pin_memory=device != "cpu", generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            found[f"DataLoader, {name}, {workers or 'no'} workers"] = Moved(loader, device)
    return found


class Moved:
    """A loader's batches on the device."""

    def __init__(self, loader: DataLoader, device: str) -> None:
        self.loader, self.device = loader, device

    def __iter__(self):
        for signal, label, index in self.loader:
            yield signal.to(self.device, non_blocking=True), label.to(self.device, non_blocking=True), index


def same(batches: Iterable, cohort: Cohort, name: str) -> None:
    """Stop where a batch does not hold the bits of its records."""
    batch = next(iter(batches))
    signal, label, index = (batch.signal, batch.label, batch.index) if hasattr(batch, "signal") else batch
    rows = index.cpu().numpy()
    equal = np.array_equal(signal.cpu().numpy(), cohort.signal_mv(rows))
    if not equal or not np.array_equal(label.cpu().numpy(), cohort.labels(TASK)[rows]):
        raise SystemExit(f"{name} gives another batch than the cohort holds.")


def epoch(batches: Iterable) -> Callable[[], None]:
    def run() -> None:
        for _ in batches:
            pass

    return run


def measure(cohort: Cohort, asked: argparse.Namespace, device: str, place: Path) -> list[Case]:
    def ours(resident: bool):
        options = {"task": TASK, "shuffle": True, "drop_last": True, "device": device}
        return cohort.batches(asked.batch, resident=resident, **options)

    ways = {"kept on the device": ours(True), "streamed": ours(False)} | loaders(cohort, place, asked.batch, device)
    for name, batches in ways.items():
        same(batches, cohort, name)
    wait = torch.cuda.synchronize if device == "cuda" else None
    seconds = in_turns({name: epoch(batches) for name, batches in ways.items()}, asked.rounds, wait=wait)
    steps = len(cohort) // asked.batch
    speed = {name: per_second(steps, value) for name, value in seconds.items()}
    note = f"{asked.batch} of {len(cohort):,} records of 10 s at 100 Hz; equal bits"
    where = {"cpu": "CPU", "cuda": "GPU"}[device]
    beside = {"DataLoader, memmap": None, "DataLoader, HDF5": None}
    for name in beside:
        beside[name] = max((speed[way] for way in speed if way.startswith(name)), default=None)
    made = []
    for way in ("kept on the device", "streamed"):
        case = Case(f"{where}, {way}", "batches/s", "higher", speed[way], beside, note=note)
        made.append(case.judged("3 x the best", case.times(), at_least=3) if device == "cpu" else case)
    if device == "cuda":
        made.append(share(ours(True), asked.steps))
    return made


def share(batches, steps: int) -> Case:
    """How much of a training step of XResNet-1d-101 goes into the batch, in per cent."""
    from ecglib.models.xresnet1d import XResNet1d

    net = XResNet1d(101, in_channels=12, num_classes=len(batches.classes)).to("cuda").train()
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)

    def step(batch) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(batch.signal), batch.label)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    def endless():
        while True:
            yield from batches

    stream, times = endless(), {"fetched": [], "there": []}
    kept = next(stream)
    for number in range(steps + 5):
        for way, batch in (("fetched", None), ("there", kept)):
            torch.cuda.synchronize()
            start = time.perf_counter()
            step(next(stream) if batch is None else batch)
            torch.cuda.synchronize()
            if number >= 5:  # the first ones choose kernels
                times[way].append(time.perf_counter() - start)
    whole, bare = (statistics.median(times[way]) for way in ("fetched", "there"))
    note = f"XResNet-1d-101, {batches.batch_size} records, bfloat16, {1000 * whole:.1f} ms a step"
    case = Case("GPU, part of a training step", "%", "lower", max(0.0, 100 * (1 - bare / whole)), note=note)
    return case.judged("under 3 % of a step", case.ours, at_most=3)


def unmeasured() -> list[Case]:
    """The accelerator's cases where there is none."""
    beside = {"DataLoader, memmap": None, "DataLoader, HDF5": None}
    made = [Case(f"GPU, {way}", "batches/s", "higher", None, beside) for way in ("kept on the device", "streamed")]
    return [*made, Case("GPU, part of a training step", "%", "lower", None, target="under 3 % of a step")]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="training steps on an accelerator")
    asked = parser.parse_args()
    if asked.quick:
        asked.records, asked.batch, asked.rounds, asked.steps = 64, 16, 1, 3
    with tempfile.TemporaryDirectory(prefix="shuffled_batches.", ignore_cleanup_errors=True) as place:
        cohort = synthetic.build(Path(place) / "cohort", records=asked.records, rate=100, workers=0, progress=False)
        made = measure(cohort, asked, "cpu", Path(place))
        made += measure(cohort, asked, "cuda", Path(place)) if torch.cuda.is_available() else unmeasured()
    finish(made, asked)


if __name__ == "__main__":
    main()
