"""Memory and speed of self-supervised pre-training as the records grow: 10 thousand, 100 thousand, a million.

    OMP_NUM_THREADS=1 python benchmarks/pretrain_memory.py --records 10000 100000 1000000 [--steps 300]
        [--cache cache] [--encoder conv_vit_nano | none] [--device cpu] [--out pretrain_memory.json]

Each size is measured in a process of its own, which opens the cohorts, makes a `Pool` that streams (nothing resident)
and takes `--steps` training steps of a masked autoencoder on batches of `--batch-size` windows; with `--encoder none`
it fetches the batches only. "Anonymous" is the memory that a process really owns (RssAnon of /proc/self/status, the
highest of samples taken 50 times a second): pages of the mapped signals count with the page cache, which the kernel
takes back when it needs them, and stand in "high-water mark" (VmHWM), which is why that grows with what was read.

The records are synthetic, at 100 Hz for 10 s: 24 kB each, 24 GB the million. They are built in `--cache` the first
time, about 0.4 ms a record and core, in cohorts of at most 100,000, so that every size takes what it needs of the same
cohorts and the smaller ones cost nothing beside the largest; a pool of several cohorts is also what is measured. For
building, which holds about 50 bytes a record whatever the size, and for disk and time see `growth`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

RATE, LARGEST = 100, 100_000


def build(records: int, cache: Path) -> list[Path]:
    """The folders of the cohorts that hold so many records, each built by a process of its own where it is missing."""
    script = (
        "import sys; from ecglib.datasets import load\n"
        f"load('synthetic', rate={RATE}, records=int(sys.argv[1]), seed=int(sys.argv[2]), cache=sys.argv[3])"
    )
    size = min(records, LARGEST)
    if records % size:
        raise SystemExit(f"--records {records} is no multiple of {LARGEST}; give one that is, or fewer.")
    from ecglib.datasets.synthetic import VERSION

    folders = []
    for seed in range(records // size):
        folders.append(cache / f"synthetic-{size}-{RATE}hz-seed{seed}-v{VERSION}")
        if not (folders[-1] / "cohort.json").exists():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script, str(size), str(seed), str(cache)], check=True)
            print(f"built {folders[-1].name} in {time.perf_counter() - started:.0f} s", flush=True)
    return folders


def memory() -> dict[str, float]:
    """MB (1e6 bytes) of this process: anonymous now, and the high-water mark of all resident pages."""
    text = Path("/proc/self/status").read_text()
    kib = {name: int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in ("RssAnon", "VmHWM")}
    return {name: value * 1024 / 1e6 for name, value in kib.items()}


class Watch(threading.Thread):
    """Samples the anonymous memory; `peak` is the highest seen, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, memory()["RssAnon"])
            time.sleep(0.02)


def measure(options: argparse.Namespace) -> dict:
    """One size, in this process: open, pool, step; the figures as a row."""
    import torch

    from ecglib.cohort import Cohort
    from ecglib.pool import Pool

    watch = Watch()
    watch.start()
    imported = memory()["RssAnon"]
    torch.manual_seed(0)
    cohorts = [Cohort.open(folder) for folder in options.folders]
    started = time.perf_counter()
    pool = Pool(cohorts, options.batch_size, window_s=options.window_s, device=options.device, resident=False)
    opened = time.perf_counter() - started
    step = stepper(options, pool)
    seconds, waited, epoch, taken = [], [], 0, 0
    while taken < options.steps:
        pool.set_epoch(epoch)
        batches = iter(pool)
        for _ in range(min(len(pool), options.steps - taken)):
            begun = time.perf_counter()
            batch = next(batches)
            fetched = time.perf_counter()
            loss = step(batch)
            seconds.append(time.perf_counter() - begun)
            waited.append(fetched - begun)
            taken += 1
        batches.close()
        epoch += 1
    watch.peak = max(watch.peak, memory()["RssAnon"])
    middle = len(seconds) // 2  # the median: the first steps warm up
    return {
        "records": pool.records,
        "cohorts": len(cohorts),
        "gb": sum((folder / "signals.npy").stat().st_size for folder in map(Path, options.folders)) / 1e9,
        "steps": taken,
        "anonymous_mb_after_imports": imported,
        "anonymous_mb_peak": watch.peak,
        "high_water_mark_mb": memory()["VmHWM"],
        "pool_opened_s": opened,
        "step_s": sorted(seconds)[middle],
        "step_s_worst": max(seconds),
        "of_that_data_s": sorted(waited)[middle],
        "last_loss": loss,
    }


def stepper(options: argparse.Namespace, pool):
    """A function that takes one training step on a batch and returns the loss; with encoder "none" only touches it."""
    if options.encoder == "none":
        return lambda batch: float(batch.signal[:, 0, 0].mean())
    import torch

    from ecglib.methods.encoder import Encoder
    from ecglib.methods.masked_autoencoder import MaskedAutoencoder
    from ecglib.signals import Standardise

    encoder = Encoder(
        options.encoder,
        leads=pool.leads,
        rate=pool.rate,
        standardise=Standardise("record"),
        window_s=pool.window_s,
    )
    method = MaskedAutoencoder(encoder).to(pool.device).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)

    def step(batch) -> float:
        optimiser.zero_grad()
        loss = method.training_step(batch)["loss"]
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def table(rows: list[dict]) -> str:
    head = (
        f"{'records':>10} {'cohorts':>7} {'GB on disk':>10} {'steps':>6} {'anonymous MB, peak':>18} "
        f"{'high-water mark MB':>18} {'s a step':>9} {'of it data':>10}"
    )
    lines = [
        f"{row['records']:>10,} {row['cohorts']:>7} {row['gb']:>10.2f} {row['steps']:>6} "
        f"{row['anonymous_mb_peak']:>18.0f} {row['high_water_mark_mb']:>18.0f} {row['step_s']:>9.3f} "
        f"{row['of_that_data_s']:>10.3f}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--window-s", type=float, default=5.0)
    parser.add_argument("--encoder", default="conv_vit_nano", help='a backbone, or "none" to fetch batches only')
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folders", nargs="+", help=argparse.SUPPRESS)  # measure these, in this process
    options = parser.parse_args()
    if options.folders:
        print(json.dumps(measure(options)))
        return
    if not Path("/proc/self/status").exists():
        raise SystemExit("This benchmark reads /proc/self/status, so it needs Linux.")
    rows = []
    for records in options.records:
        folders = build(records, options.cache)
        given = [f"--{name}={getattr(options, name.replace('-', '_'))}" for name in ("steps", "encoder", "device")]
        given += [f"--batch-size={options.batch_size}", f"--window-s={options.window_s}"]
        command = [sys.executable, __file__, *given, "--folders", *map(str, folders)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(table(rows), flush=True)
    if options.out:
        about = {name: getattr(options, name) for name in ("batch_size", "window_s", "encoder", "device")}
        options.out.write_text(json.dumps({**about, "rate": RATE, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
