"""Opening signals on disk and reading some: seconds and memory of ours, float arrays in memory, zarr and HDF5.

    python benchmarks/open_cohort.py [--rounds 3] [--to FOLDER] [--json FILE]

20,000 records of 10 s at 100 Hz (480 MB as int16), and 1,000,000 records of a quarter of a second (600 MB): short, so
that they fit beside each other on an ordinary disk, and cut from 1,000 ten-second records again and again. What is
looked at is what grows with the number of records, and that does not ask how long they are. One kind at a time is
written below `--to` and deleted again: at most 2.5 GB.

Every way is a process of its own that imports what it needs, opens, and reads the same 2,048 records drawn at random as
float32 millivolts; their bits must be the same for all. "Memory" is what the process owns (RssAnon of
/proc/PID/status, so Linux) after that, less what it owned before it opened: pages of mapped files belong to the system.
The float arrays are what `np.load` gives for a .npy of that type, as in most training scripts; zarr and HDF5 hold int16
and the scale. As one file stands at a time, the ways do not take turns; medians of `--rounds` are told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.case import Case, arguments, finish, peer

RATE, SAMPLE = 100, 2048
WAYS = {"ours": "ecglib.cohort", "float64 array": "numpy", "float32 array": "numpy", "zarr": "zarr", "HDF5": "h5py"}
SLACK_MB = 10
"""More memory than this, from the smaller to the larger cohort, is growth; what Python itself takes varies by less."""

# One process: import, open, read; its arguments are the way, the file, the scale and the number to read.
PROCESS = """
import hashlib, json, re, sys, time
import numpy as np
way, file, scale, sample = sys.argv[1], sys.argv[2], np.float32(sys.argv[3]), int(sys.argv[4])
if way == "ours":
    from ecglib.cohort import Cohort
elif way == "zarr":
    import zarr
elif way == "HDF5":
    import h5py

def owned():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6

def opened():
    if way == "ours":
        return Cohort.open(file)
    if way == "zarr":
        return zarr.open_array(file, mode="r")
    if way == "HDF5":
        return h5py.File(file)["signals"]
    return np.load(file)

def read(signals, rows):
    if way == "ours":
        return signals.signal_mv(rows)
    if way == "zarr":
        return signals.oindex[rows].astype(np.float32) * scale
    if way == "HDF5":
        return np.stack([signals[row] for row in rows]).astype(np.float32) * scale
    return signals[rows].astype(np.float32)

before, start = owned(), time.perf_counter()
signals = opened()
seconds = time.perf_counter() - start
n = len(signals) if way == "ours" else signals.shape[0]
rows = np.random.default_rng(0).choice(n, min(sample, n), replace=False)
digest = hashlib.sha256()
for part in np.array_split(rows, max(1, len(rows) // 64)):
    digest.update(read(signals, part).tobytes())
print(json.dumps({"s": seconds, "mb": owned() - before, "bits": digest.hexdigest()}))
"""


def build(to: Path, records: int, length: int) -> None:
    """A cohort of synthetic records, 10 s long or cut into pieces of `length` samples that come again and again."""
    import pandas as pd

    from ecglib.cohort_write import write
    from ecglib.datasets import synthetic
    from ecglib.leads import LEADS

    counts, _ = synthetic.simulate(range(min(1000, records)), rate=RATE, seconds=10)  # (n, 12, 1000)
    pieces = counts.reshape(len(counts), 12, -1, length).swapaxes(1, 2).reshape(-1, 12, length)

    def chunks():
        for start in range(0, records, 1000):
            at = np.arange(start, min(start + 1000, records))
            yield pieces[at % len(pieces)]

    numbers = np.arange(records)
    table = pd.DataFrame({"record": numbers.astype(str), "patient": numbers.astype(str), "fold": 1 + numbers % 10})
    table = table.assign(age=50.0, sex="male", statements=[["NORM"]] * records)
    facts = {"name": "benchmark", "rate": RATE, "leads": LEADS, "scale": synthetic.SCALE}
    write(to, chunks(), table, **facts, label_sets={"superclass": {"NORM": "NORM"}})


def convert(way: str, cohort: Path, to: Path) -> None:
    """The cohort's signals as another way keeps them, a part at a time."""
    from ecglib.cohort import Cohort

    source = Cohort.open(cohort)
    shape = (len(source), len(source.leads), source.length)
    if way == "zarr":
        target = peer("zarr").create_array(to, shape=shape, chunks=(64, *shape[1:]), dtype="int16")
    elif way == "HDF5":
        target = peer("h5py").File(to, "w").create_dataset("signals", shape=shape, dtype="int16")
    else:
        target = np.lib.format.open_memmap(to, mode="w+", dtype=way.partition(" ")[0], shape=shape)
    step = 64 * max(1, 6000 // shape[2])
    for start in range(0, shape[0], step):
        rows = np.arange(start, min(start + step, shape[0]))
        part = source.counts(rows) if way in ("zarr", "HDF5") else source.signal_mv(rows)
        target[start : start + len(rows)] = part
    if way == "HDF5":
        target.file.close()


def run(way: str, file: Path, scale: float) -> dict:
    options = [way, str(file), repr(scale), str(SAMPLE)]
    command = [sys.executable, "-W", "ignore", "-c", PROCESS, *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(records: int, length: int, rounds: int, place: Path) -> dict[str, dict | None]:
    """{way: {"s", "mb"}} in medians; None where the peer is missing."""
    from ecglib.cohort import Cohort

    cohort = place / "cohort"
    build(cohort, records, length)
    scale = Cohort.open(cohort).info.scale
    found: dict[str, dict | None] = {}
    bits = set()
    for way, module in WAYS.items():
        if peer(module) is None:
            found[way] = None
            continue
        file = cohort if way == "ours" else place / {"zarr": "z.zarr", "HDF5": "h.h5"}.get(way, "a.npy")
        if way != "ours":
            convert(way, cohort, file)
        runs = [run(way, file, scale) for _ in range(1 + rounds)][1:]  # the first fills the page cache
        bits |= {each["bits"] for each in runs}
        found[way] = {name: statistics.median(each[name] for each in runs) for name in ("s", "mb")}
        if way != "ours":
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    shutil.rmtree(cohort)
    if len(bits) != 1:
        raise SystemExit("the ways to keep signals do not give the same bits.")
    return found


def cases(sizes: list[tuple[int, int]], asked: argparse.Namespace) -> list[Case]:
    made, first = [], None
    for records, length in sizes:
        with tempfile.TemporaryDirectory(prefix="open_cohort.", dir=asked.to) as place:
            found = measure(records, length, asked.rounds, Path(place))

        def figures(name: str, found: dict = found) -> dict[str, float | None]:
            return {way: each and each[name] for way, each in found.items() if way != "ours"}

        note = f"{length / RATE:g} s a record; equal bits"
        case = Case(f"{records:,} records, opening", "s", "lower", found["ours"]["s"], figures("s"), note=note)
        made.append(case.judged("under 0.1 s", case.ours, at_most=0.1))
        memory = found["ours"]["mb"]
        note = f"own memory after opening and reading {min(SAMPLE, records):,} records; {note}"
        case = Case(f"{records:,} records, memory", "MB", "lower", memory, figures("mb"), note=note)
        if first is not None:
            target = f"does not grow with records: at most {SLACK_MB} MB more than with {sizes[0][0]:,}"
            case = case.judged(target, memory - first, at_most=SLACK_MB)
        first = memory if first is None else first
        made.append(case)
    return made


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, help="a folder for what is written; the system's for temporary files")
    asked = parser.parse_args()
    if not Path("/proc/self/status").exists():
        raise SystemExit("This benchmark reads /proc/self/status, so it needs Linux.")
    sizes = [(20_000, 1000), (1_000_000, 25)]
    if asked.quick:
        sizes, asked.rounds = [(64, 1000), (640, 25)], 1
    finish(cases(sizes, asked), asked)


if __name__ == "__main__":
    main()
