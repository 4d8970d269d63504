"""PTB-XL from disk: a wfdb loop, our reader, our whole build, and the limit (np.fromfile, nothing checked), in one run.

    python benchmarks/read_ptb_xl.py ../shared/data/ptb-xl-nominal

Each way reads the same records to int16 or float in memory; `build` also reads the tables, writes the cohort and syncs
it to the disk. The files are read once beforehand, so that all find them in the page cache. Rounds alternate and the
best of each way counts: on a busy machine the ratios are worth more than the seconds.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import wfdb

from ecglib.datasets import ptb_xl, wfdb_files
from ecglib.leads import LEADS


def stems_of(source: Path, rate: int, limit: int | None) -> list[str]:
    """The records' paths without suffix."""
    return sorted(str(file)[:-4] for file in (source / f"records{rate}").rglob("*.hea"))[:limit]


def by_wfdb(stems: list[str]) -> None:
    """What a user would write: physical float64, one record at a time."""
    for stem in stems:
        wfdb.rdrecord(stem)


def by_us(stems: list[str], rate: int) -> None:
    """Every header and checksum checked, (n, 12, T) int16."""
    expected = wfdb_files.Expected(LEADS, rate, ptb_xl.SECONDS * rate, ptb_xl.SCALE)
    for _ in wfdb_files.read(stems, expected):
        pass


def by_build(source: Path, rate: int) -> None:
    """The whole: tables, signals, checks, parquet, fsync, rename."""
    folder = tempfile.mkdtemp()
    try:
        ptb_xl.build(source, Path(folder) / "cohort", rate=rate, progress=False)
    finally:
        shutil.rmtree(folder)


def by_numpy(stems: list[str]) -> None:
    """The bytes of the signals alone."""
    for stem in stems:
        np.fromfile(f"{stem}.dat", "<i2")


def best_of(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of each way, the best of alternating rounds."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--rate", type=int, default=100, help="Hz (100)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source, rate = options.source, options.rate
    stems = stems_of(source, rate, None)
    by_us(stems, rate)  # into the page cache; imports too
    by_build(source, rate)
    seconds = best_of(
        {
            "wfdb loop": lambda: by_wfdb(stems),
            "ecglib read": lambda: by_us(stems, rate),
            "ecglib build": lambda: by_build(source, rate),
            "np.fromfile": lambda: by_numpy(stems),
        },
        options.rounds,
    )
    print(f"{len(stems):,} records at {rate} Hz, best of {options.rounds}")
    for name, taken in seconds.items():
        print(
            f"{name:14s}{taken:8.3f} s{taken / len(stems) * 1e6:9.0f} us a record"
            f"{seconds['wfdb loop'] / taken:8.1f} times as fast as the wfdb loop"
        )


if __name__ == "__main__":
    main()
