"""How cost grows: building a cohort, reading it, pre-training and probing at 1 thousand to 1 million records.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--records 1000 3000 10000] [--stages build plain fetch ...]
        [--workers 1] [--steps 20] [--to FOLDER] [--keep] [--no-lines] [--results benchmarks/results/growth.json]
        [--render] [--json FILE] [--quick]

For each size a synthetic cohort (100 Hz, 5 s, 12 leads: 12 kB a record) is built below `--to`, used and deleted; with
`--keep` it stays and is found again. Each stage runs in a process of its own:

    build     `synthetic.build` by `--workers` processes
    plain     a shuffled batch of 256 from numpy's own mapping of the file, from a cold page cache: to compare with
    fetch     one epoch of shuffled batches of 256 (`Pool`, streamed) without a network, from a cold page cache
    pretrain  `--steps` steps of a masked autoencoder on such batches
    probe     a vector of every record, and the linear probe fitted on folds 1-8 and chosen on fold 9

and gives wall and CPU seconds (its workers' included; importing torch and the rest is not), the highest anonymous
memory (RssAnon: what a process owns, without the page cache), the largest size on disk, and what was read from and
written to storage (/proc/self/io). CPU seconds, bytes and memory do not depend on what else the machine does.

Then `growth_lines` measures one forward and backward pass as leads, length and batch grow. Rows are merged into
`--results` by stage, size and workers, so sizes can be measured on different days; `--render` makes docs/growth.md's
tables and figure from that file, and measures nothing unless sizes are given as well. `--quick` keeps nothing.

A million records, 12 GB on disk, take about half an hour on a quiet core:

    OMP_NUM_THREADS=1 python benchmarks/growth.py --records 1000 10000 100000 1000000 --steps 100 --render
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import growth_fit, growth_lines, growth_page
from benchmarks.build_cohort import anonymous
from benchmarks.case import arguments, finish
from ecglib.atomic import writing

HERE = Path(__file__).resolve().parent
RATE, SECONDS, BATCH = 100, 5.0, 256
STAGES = ("build", "plain", "fetch", "pretrain", "probe")
RESULTS = HERE / "results" / "growth.json"
ENCODER = "conv_vit_nano"


# ------------------------------------------------------------------------------------- one stage, in this process
def io() -> dict[str, float]:
    """MB that this process and the children that it has waited for read from storage and wrote to it."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {"read_mb": int(fields["read_bytes"]) / 1e6, "written_mb": int(fields["write_bytes"]) / 1e6}


def cpu() -> float:
    """Seconds of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def forget(file: Path) -> None:
    """Take a file out of the page cache, so that what is read of it comes from the disk."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def build(options: argparse.Namespace) -> dict:
    from ecglib.datasets import synthetic

    workers = options.workers[0]
    synthetic.build(
        options.folder, records=options.records[0], rate=RATE, seconds=SECONDS, workers=workers, progress=False
    )
    files = {file.name: file.stat().st_size / 1e6 for file in options.folder.iterdir()}
    return {"signals_mb": files["signals.npy"], "table_mb": files["records.parquet"], "disk_mb": sum(files.values())}


def plain(options: argparse.Namespace) -> dict:
    """One batch from a mapping that the system was told nothing about, as numpy makes it."""
    import numpy as np

    forget(options.folder / "signals.npy")
    signals = np.load(options.folder / "signals.npy", mmap_mode="r")
    batch = signals[np.random.default_rng(0).permutation(len(signals))[:BATCH]]
    device = os.stat(options.folder).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    return {"needed_mb": batch.nbytes / 1e6, "read_ahead_kb": int(setting.read_text()) if setting.exists() else None}


def pool(options: argparse.Namespace):
    from ecglib.cohort import Cohort
    from ecglib.pool import Pool

    forget(options.folder / "signals.npy")
    cohort = Cohort.open(options.folder)
    return Pool([cohort], min(BATCH, len(cohort)), window_s=None, drop_last=False, resident=False)


def fetch(options: argparse.Namespace) -> dict:
    """One epoch of batches; what its first hundredth read tells of a file that no page cache holds."""
    batches = pool(options)
    early = max(1, len(batches) // 100)
    before, found = io()["read_mb"], {}
    for k, batch in enumerate(batches, 1):
        if k == early:
            found = {"early_needed_mb": k * batch.signal.numel() * 2 / 1e6, "early_read_mb": io()["read_mb"] - before}
    return found | {"batches": k, "needed_mb": batches.records * batch.signal[0].numel() * 2 / 1e6}


def encoder(name: str = ENCODER):
    import torch

    from ecglib.leads import LEADS
    from ecglib.methods.encoder import Encoder
    from ecglib.signals import Standardise

    torch.manual_seed(0)
    return Encoder(name, leads=LEADS, rate=RATE, standardise=Standardise("record"), window_s=SECONDS)


def pretrain(options: argparse.Namespace) -> dict:
    import statistics

    import torch

    from ecglib.methods.masked_autoencoder import MaskedAutoencoder

    batches = pool(options)
    method = MaskedAutoencoder(encoder()).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    walls, cpus, epoch = [], [], 0
    while len(walls) < options.steps:
        batches.set_epoch(epoch)
        stream = iter(batches)
        for _ in range(min(len(batches), options.steps - len(walls))):
            begun, busy = time.perf_counter(), time.process_time()
            loss = method.training_step(next(stream))["loss"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            walls.append(time.perf_counter() - begun)
            cpus.append(time.process_time() - busy)
        epoch += 1
    parameters = sum(p.numel() for p in method.parameters())
    steps = {"steps": len(walls), "step_s": statistics.median(walls), "step_cpu_s": statistics.median(cpus)}
    return {**steps, "steps_an_epoch": len(batches), "batch": batches.batch_size, "parameters": parameters}


def probe(options: argparse.Namespace) -> dict:
    from ecglib import probing
    from ecglib.cohort import Cohort

    forget(options.folder / "signals.npy")
    cohort, network = Cohort.open(options.folder), encoder().eval()
    parts = {"train": cohort.in_folds(range(1, 9)), "valid": cohort.in_folds([9]), "test": cohort.in_folds([10])}
    begun = cpu()
    x = {name: probing.vectors(network, part, batch_size=BATCH) for name, part in parts.items()}
    embedded = cpu()
    probing.linear(x, parts, model=ENCODER, seed=0, task="superclass")
    vectors = sum(part.nbytes for part in x.values()) / 1e6
    return {"embed_cpu_s": embedded - begun, "fit_cpu_s": cpu() - embedded, "vectors_mb": vectors}


def in_this_process(options: argparse.Namespace) -> dict:
    """Run the one stage of `options` and measure what can be seen from within."""
    import pyarrow.parquet  # noqa: F401  everything heavy is imported before the clock starts

    import ecglib.datasets.synthetic

    if options.stage != "build":
        import sklearn.linear_model  # noqa: F401
        import torch

        import ecglib.methods.masked_autoencoder
        import ecglib.pool
        import ecglib.probing  # noqa: F401

        torch.set_num_threads(1)
    resting = max(anonymous(os.getpid()).values())
    stages = {"build": build, "plain": plain, "fetch": fetch, "pretrain": pretrain, "probe": probe}
    wall, busy, moved = time.perf_counter(), cpu(), io()
    found = stages[options.stage](options)
    spent = {"wall_s": time.perf_counter() - wall, "cpu_s": cpu() - busy}
    now = io()
    return spent | {name: now[name] - moved[name] for name in now} | {"resting_mb": resting} | found


# ---------------------------------------------------------------------------------------------- from outside, and all
def watched(stage: str, records: int, workers: int, place: Path, options: argparse.Namespace) -> dict:
    """One stage in a process of its own, looked at from outside ten times a second."""
    load = os.getloadavg()[0]
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(place / "cohort")]
    command += ["--records", str(records), "--workers", str(workers), "--steps", str(options.steps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory = disk = 0.0
    while process.poll() is None:
        memory = max(memory, sum(anonymous(process.pid).values()))
        disk = max(disk, held(place))
        time.sleep(0.1)
    said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{stage} of {records} records ended with {process.returncode}.")
    found = json.loads(said.splitlines()[-1])
    which = {"stage": stage, "records": records, "workers": workers, "memory_mb": memory, "most_disk_mb": disk}
    where = {"load": [round(load, 1), round(os.getloadavg()[0], 1)], **machine()}
    return which | found | {"measured": where}


def held(place: Path) -> float:
    """MB of all files below; one may be renamed while it is looked at."""
    total = 0
    for file in place.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total / 1e6


def machine() -> dict:
    """The processor, the cores, the commit and the day."""
    from ecglib import provenance

    text = Path("/proc/cpuinfo").read_text()
    model = next((line.split(": ")[1] for line in text.splitlines() if line.startswith("model name")), "unknown")
    return {
        "processor": model, "cores": os.cpu_count(), "commit": provenance.git_state(HERE.parent).get("commit"),
        "day": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def merge(rows: list[dict], new: list[dict], keys: tuple[str, ...]) -> list[dict]:
    """`rows` with the new ones in the place of those of the same keys, in order of the keys."""
    named = {tuple(row[key] for key in keys): row for row in [*rows, *new]}
    return [named[which] for which in sorted(named)]


def measure(records: int, options: argparse.Namespace, done) -> None:
    """All stages of one size; `done(row)` is called with each as soon as it is there."""
    root = options.to or Path(tempfile.gettempdir())
    place = root / f"growth-{records}" if options.keep else Path(tempfile.mkdtemp(prefix="growth-", dir=root))
    try:
        for workers in options.workers if "build" in options.stages else ():
            shutil.rmtree(place / "cohort", ignore_errors=True)
            place.mkdir(parents=True, exist_ok=True)
            done(watched("build", records, workers, place, options))
        for stage in options.stages:
            if stage != "build":
                done(watched(stage, records, 0, place, options))
    finally:
        if not options.keep:
            shutil.rmtree(place, ignore_errors=True)


def show(row: dict) -> None:
    print(
        f"{row['stage']:<9}{row['records']:>10,} records {row['workers']} workers {row['wall_s']:>8.1f} s "
        f"{row['cpu_s']:>8.1f} CPU s {row['memory_mb']:>7.0f} MB {row['read_mb']:>9.1f} MB read "
        f"{row['written_mb']:>9.1f} MB written, load {row['measured']['load'][0]}",
        flush=True,
    )


def parser() -> argparse.ArgumentParser:
    made = arguments(__doc__)
    made.add_argument("--records", type=int, nargs="*", help="sizes (1000 3000 10000); without a number: only lines")
    made.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    made.add_argument("--workers", type=int, nargs="+", default=[1], help="processes that build")
    made.add_argument("--steps", type=int, default=20, help="of pre-training")
    made.add_argument("--to", type=Path, help="where cohorts are built; the system's folder for temporary files")
    made.add_argument("--keep", action="store_true", help="leave cohorts there; later stages find them")
    made.add_argument("--no-lines", action="store_true", help="leave out leads, length and batch")
    made.add_argument("--results", type=Path, default=RESULTS, help="JSON that rows are merged into")
    made.add_argument("--render", action="store_true", help="make docs/growth.md's tables and figure from --results")
    made.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)  # this one, in this process
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def main() -> None:
    options = parser().parse_args()
    if options.stage:
        print(json.dumps(in_this_process(options)))
        return
    if not Path("/proc/self/io").exists():
        raise SystemExit("This benchmark reads /proc/self/io, so it needs Linux.")
    only_render = options.render and options.records is None
    if options.quick:
        options.records, options.stages = options.records or [200, 400, 600], ["build"]
        options.workers, options.results = [0], None
    elif options.records is None:
        options.records = [] if options.render else [1000, 3000, 10_000]
    kept = options.results is not None and options.results.exists()
    found = json.loads(options.results.read_text()) if kept else {"stages": [], "lines": [], "paper": {}}

    def done(kind: str, new: list[dict], keys: tuple[str, ...]) -> None:
        found[kind] = merge(found[kind], new, keys)
        if options.results is not None:
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with writing(options.results) as part:
                part.write_text(json.dumps(found, indent=1) + "\n")

    for records in options.records:
        measure(records, options, lambda row: (show(row), done("stages", [row], ("stage", "records", "workers"))))
    if not options.no_lines and not only_render:
        where = {"load": [round(os.getloadavg()[0], 1)], **machine()}
        rows = [row | {"measured": where} for row in growth_lines.measure(quick=options.quick)]
        done("lines", rows, ("network", "grows", "at"))
    if options.render and not found["paper"]:
        found["paper"] = growth_lines.on_paper()
        done("stages", [], ("stage", "records", "workers"))
    finish(growth_fit.cases(found), options)
    if options.render:
        growth_page.render(found, HERE.parent / "docs" / "growth.md")


if __name__ == "__main__":
    main()
