"""Building large cohorts: records a second, memory, and what a killed build costs.

    OMP_NUM_THREADS=1 python benchmarks/build_cohort.py [--records 10000 200000] [--workers 1 2] [--seconds 5]
        [--mimic 4000] [--no-kill] [--to FOLDER] [--out build_cohort.json]

Each size is built from synthetic records at 100 Hz, 12 kB each in 5 s, with every number of `--workers` (0 is the
calling process alone), in a process of its own. Once more it is killed (SIGKILL) half way, and built again to its end:
"went on after" is from the new start to its first new unit, and the fingerprint must be that of the unbroken build.
`--mimic` builds as many records of a folder in MIMIC-IV-ECG's layout at 500 Hz (a few signals, linked again and again)
to 100 Hz: reading, resampling and screening as of real data. Last, the largest cohort is opened and a task's labels
are made.

"Anonymous" is memory that processes really own (RssAnon of /proc/PID/status, the highest of samples taken 20 times a
second): of the building process, of its largest worker, and of all together. What is built goes to a folder below
`--to` and is deleted.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE = 100
SYNTHETIC = """
import sys
from ecglib.datasets import synthetic
to, records, seconds, workers = sys.argv[1:]
cohort = synthetic.build(to, records=int(records), rate=100, seconds=float(seconds), workers=int(workers))
print(cohort.info.fingerprint)
"""
MIMIC = """
import sys
from ecglib.datasets import mimic_iv_ecg
to, source, workers = sys.argv[1:]
cohort = mimic_iv_ecg.build(source, to, rate=100, workers=int(workers), progress=False)
print(cohort.info.fingerprint)
"""
OPEN = """
import json, re, sys, time
import numpy, pandas, pyarrow.parquet
from ecglib.cohort import Cohort
def mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
def step(work):
    before, start = mb(), time.perf_counter()
    result = work()
    return result, {"s": round(time.perf_counter() - start, 2), "MB": round(mb() - before)}
cohort, opened = step(lambda: Cohort.open(sys.argv[1]))
_, labels = step(lambda: cohort.labels("superclass"))
_, table = step(lambda: cohort.records)
_, again = step(lambda: cohort.labels("superclass"))
print(json.dumps({"open": opened, "labels": labels, "table": table, "labels again": again}))
"""


def anonymous(pid: int) -> dict[int, float]:
    """{process: MB (1e6 bytes) it owns} of `pid` and its children."""
    found = {}
    with contextlib.suppress(OSError, AttributeError, TypeError):  # one may end while it is looked at
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            status = Path(f"/proc/{process}/status").read_text()
            found[process] = int(re.search(r"RssAnon:\s+(\d+)", status)[1]) * 1024 / 1e6
    return found


def watched(script: str, *arguments: object, until: Callable[[], bool] = lambda: False) -> dict:
    """Run a script to its end, or kill it once `until()`: seconds, memory, and the last line it printed."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    own = worker = together = 0.0
    while process.poll() is None:
        found = anonymous(process.pid)
        own = max(own, found.get(process.pid, 0))
        worker = max([worker, *(mb for pid, mb in found.items() if pid != process.pid)])
        together = max(together, sum(found.values()))
        if until():
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
    said = process.stdout.read().split()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the build ended with {process.returncode}.")
    memory = {"own_mb": round(own), "worker_mb": round(worker), "together_mb": round(together)}
    return {"s": time.perf_counter() - start, **memory, "said": said[-1] if said else ""}


def killed(script: str, to: Path, size: int, *arguments: object) -> dict:
    """Build half of `size` bytes of signals, kill, and build to the end."""

    def written(name: str) -> int:
        return sum(file.stat().st_size for file in to.parent.glob(f".{to.name}.*.partial/{name}"))

    first = watched(script, to, *arguments, until=lambda: written("signals.npy") > size / 2)
    journal, start, on = written("journal"), time.perf_counter(), []

    def went_on() -> bool:
        if not on and written("journal") > journal:
            on.append(time.perf_counter() - start)
        return False

    second = watched(script, to, *arguments, until=went_on)
    return second | {"killed_after_s": first["s"], "went_on_after_s": on[0] if on else None}


def mimic_tree(source: Path, records: int) -> None:
    """A folder in MIMIC-IV-ECG's layout: `records` studies with headers of their own, fifty different signals."""
    order = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
    rng = np.random.default_rng(0)
    signals = []
    source.mkdir()
    for k in range(50):
        mv = np.cumsum(rng.normal(0, 2, (5000, 12)), axis=0)
        mv[:, 2] = mv[:, 1] - mv[:, 0]
        mv[:, 3], mv[:, 4], mv[:, 5] = -(mv[:, 0] + mv[:, 1]) / 2, mv[:, 1] - mv[:, 0] / 2, mv[:, 0] - mv[:, 1] / 2
        counts = np.rint(mv).astype("<i2")
        (source / f"signal{k}").write_bytes(counts.tobytes())
        signals.append(counts.sum(axis=0, dtype=np.int64) % 65536)
    columns = ["rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis"]
    lines = ["Sinus rhythm", "Sinus bradycardia.", "Left axis deviation", "Borderline ECG", "Abnormal ECG"]
    with (
        open(source / "record_list.csv", "w", newline="") as listed,
        open(source / "machine_measurements.csv", "w", newline="") as machine,
    ):
        csv.writer(listed).writerow(["subject_id", "study_id", "file_name", "ecg_time", "path"])
        reports = [f"report_{k}" for k in range(18)]
        csv.writer(machine).writerow(["subject_id", "study_id", "cart_id", "ecg_time", *reports, *columns])
        for k in range(records):
            subject, study, at = 10_000_000 + k // 5, 40_000_000 + k, "2180-07-23 08:44:00"
            folder = Path("files") / f"p{subject // 10000}" / f"p{subject}" / f"s{study}"
            (source / folder).mkdir(parents=True)
            (source / folder / f"{study}.dat").hardlink_to(source / f"signal{k % 50}")
            header = [f"{study} 12 500 5000 08:44:00 23/07/2180"]
            sums = signals[k % 50]
            header += [f"{study}.dat 16 200.0(0)/mV 16 0 0 {sums[i]} 0 {lead}" for i, lead in enumerate(order)]
            (source / folder / f"{study}.hea").write_text("\n".join(header) + "\n")
            csv.writer(listed).writerow([subject, study, study, at, folder / str(study)])
            said = [lines[j] for j in range(5) if (k >> j) & 1]
            csv.writer(machine).writerow([subject, study, 1, at, *said, *[""] * (18 - len(said)), *[500 + k % 99] * 9])


def show(row: dict) -> None:
    """One line a row: numbers with units."""
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()}
    print("  ".join(f"{name} {value}" for name, value in rounded.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[10_000, 200_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="of a synthetic record")
    parser.add_argument("--mimic", type=int, default=4000, help="records in MIMIC-IV-ECG's layout; 0 for none")
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument(
        "--to", type=Path, help="a folder for what is built; the system's for temporary files if not given"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="build_cohort.", dir=options.to))
    rows: list[dict] = []

    def measured(kind: str, records: int, workers: int, found: dict) -> str:
        fingerprint = found.pop("said")
        start = {
            "built": kind,
            "records": records,
            "workers": workers,
            "records_per_s": round(records / (found["s"] + found.get("killed_after_s", 0))),
        }
        rows.append(start | found)
        show(rows[-1])
        return fingerprint

    try:
        for records in options.records:
            kept, fingerprints = place / f"synthetic-{records}", set()
            size = round(records * 12 * 2 * RATE * options.seconds)
            for workers in options.workers:
                shutil.rmtree(kept, ignore_errors=True)
                found = watched(SYNTHETIC, kept, records, options.seconds, workers)
                fingerprints.add(measured("synthetic", records, workers, found))
            if not options.no_kill:
                broken = place / "broken"
                found = killed(SYNTHETIC, broken, size, records, options.seconds, options.workers[-1])
                fingerprints.add(measured("synthetic, killed", records, options.workers[-1], found))
                shutil.rmtree(broken)
            if len(fingerprints) != 1:
                raise SystemExit(f"the cohorts of {records} records differ: {fingerprints}.")
            found = json.loads(
                subprocess.run([sys.executable, "-c", OPEN, kept], capture_output=True, text=True).stdout
            )
            rows.append({"opened": "synthetic", "records": records, **found})
            show(rows[-1])
            shutil.rmtree(kept)
        if options.mimic:
            mimic_tree(place / "mimic", options.mimic)
            for workers in options.workers:
                found = watched(MIMIC, place / f"m{workers}", place / "mimic", workers)
                measured("MIMIC-IV-ECG's layout", options.mimic, workers, found)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
