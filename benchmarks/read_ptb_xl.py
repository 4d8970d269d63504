"""PTB-XL from disk: our build and our reader beside a wfdb loop, torch_ecg's reader and np.fromfile, at 100 and 500 Hz.

    python benchmarks/read_ptb_xl.py [--data100 FOLDER] [--data500 FOLDER] [--sample 200] [--rounds 3] [--json FILE]

The folders hold PTB-XL in its published layout; by default those of ../shared/data, or, where there are none, records
that the synthetic generator makes and this script writes in that layout. The files are read once beforehand, so that
all find them in the page cache. "To a cohort" is the whole: tables, headers, checksums, signals, screening for bad
records, fingerprint, parquet, fsync, rename; "read and checked" is the signals with their headers and checksums, as
int16 in memory. The limit is np.fromfile of the signal files alone, nothing checked, one after another.

The slow ones read `--sample` records, evenly spread. What wfdb gives, in counts, must be what we give, sample for
sample.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.case import Case, arguments, finish, in_turns, peer, per_second
from ecglib.datasets import ptb_xl, synthetic, wfdb_files
from ecglib.leads import LEADS

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
AT_LEAST = {100: 25, 500: 8}  # times a wfdb loop
SUFFIX = {100: "lr", 500: "hr"}


def written(folder: Path, rate: int, records: int) -> Path:
    """Synthetic records as PTB-XL's files: format 16, 1000 counts per mV, tables of what the reader needs."""
    counts, _ = synthetic.simulate(range(records), rate=rate, seconds=10)
    counts = np.rint(counts * (synthetic.SCALE / ptb_xl.SCALE)).astype("<i2")  # (n, 12, T)
    (folder / f"records{rate}" / "00000").mkdir(parents=True)
    rows = ["ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr"]
    for k, signal in enumerate(counts, 1):
        stem = f"{k:05d}_{SUFFIX[rate]}"
        lines = [f"{stem} 12 {rate} {signal.shape[1]}"]
        for name, lead in zip(LEADS, signal):
            checksum = int(lead.sum(dtype=np.int64)) % 65536
            lines.append(f"{stem}.dat 16 1000.0(0)/mV 16 0 {lead[0]} {checksum} 0 {name.upper()}")
        at = folder / f"records{rate}" / "00000" / stem
        at.with_suffix(".hea").write_text("\n".join(lines) + "\n")
        at.with_suffix(".dat").write_bytes(signal.T.tobytes())  # (L, T) -> (T, L)
        files = ",".join(f"records{r}/00000/{k:05d}_{SUFFIX[r]}" for r in SUFFIX)
        rows.append(f"{k},{k},50,0,{{'NORM': 100.0}},{1 + k % 10},{files}")
    (folder / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    head = ",description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass"
    (folder / "scp_statements.csv").write_text(f"{head}\nNORM,normal ECG,1.0,,,NORM,NORM\n")
    return folder


def stems_of(source: Path, rate: int) -> list[str]:
    """The records' paths without suffix."""
    return sorted(str(file)[:-4] for file in (source / f"records{rate}").rglob("*.hea"))


def read_counts(stems: list[str], rate: int) -> np.ndarray:
    """(n, 12, T) int16 by our reader."""
    expected = wfdb_files.Expected(LEADS, rate, ptb_xl.SECONDS * rate, ptb_xl.SCALE)
    return np.concatenate([chunk.signals for chunk in wfdb_files.read(stems, expected)])


def measure(source: Path, rate: int, asked: argparse.Namespace, made: str) -> Iterator[Case]:
    stems = stems_of(source, rate)
    some = stems[:: max(1, len(stems) // asked.sample)][: asked.sample]
    wfdb = peer("wfdb")
    their_reader = torch_ecg_reader(source, rate)
    place = Path(tempfile.mkdtemp(prefix="read_ptb_xl."))
    number = count()

    def by_build() -> None:
        ptb_xl.build(source, place / f"cohort{next(number)}", rate=rate, progress=False)

    def by_us() -> None:
        expected = wfdb_files.Expected(LEADS, rate, ptb_xl.SECONDS * rate, ptb_xl.SCALE)
        for _ in wfdb_files.read(stems, expected):
            pass

    def by_wfdb() -> None:
        for stem in some:
            wfdb.rdrecord(stem)

    def by_torch_ecg() -> None:
        for stem in some:
            their_reader(stem)

    def by_numpy() -> None:
        for stem in stems:
            np.fromfile(f"{stem}.dat", "<i2")

    try:
        by_us()  # into the page cache
        same(some, rate, wfdb, their_reader)
        ways = {"build": by_build, "read": by_us, "np.fromfile": by_numpy}
        ways |= {"wfdb loop": wfdb and by_wfdb, "torch_ecg": their_reader and by_torch_ecg}
        seconds = in_turns(ways, asked.rounds)
    finally:
        shutil.rmtree(place)
    beside = {name: per_second(len(some), seconds[name]) for name in ("wfdb loop", "torch_ecg")}
    limit = {"np.fromfile": per_second(len(stems), seconds["np.fromfile"])}
    note = f"{len(stems):,} {made} records; wfdb and torch_ecg read {len(some)} of them; equal counts"
    build, read = (per_second(len(stems), seconds[way]) for way in ("build", "read"))
    case = Case(f"{rate} Hz, to a cohort", "records/s", "higher", build, beside, limit, note=note)
    least = AT_LEAST[rate]
    yield case.judged(f"{least} x the wfdb loop", case.times("wfdb loop"), at_least=least)
    case = Case(f"{rate} Hz, read and checked", "records/s", "higher", read, beside, limit, note=note)
    yield case.judged("within 2 x of np.fromfile", case.times("np.fromfile"), at_least=0.5)


def torch_ecg_reader(source: Path, rate: int):
    """stem -> (12, T) mV by torch_ecg's PTB-XL database, or None where it is not installed."""
    if importlib.util.find_spec("torch_ecg") is None:
        return peer("torch_ecg")  # which says so
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # it warns a lot
        from torch_ecg.databases import PTBXL

        database = PTBXL(db_dir=source, working_dir=tempfile.gettempdir(), fs=rate, verbose=0)
    return lambda stem: database.load_data(Path(stem).name[:5], fs=rate)


def same(stems: list[str], rate: int, wfdb, theirs) -> None:
    """Stop where the three readers do not give the same counts."""
    ours = read_counts(stems, rate)  # (n, 12, T)
    for stem, counts in zip(stems, ours):
        if wfdb and not np.array_equal(np.rint(wfdb.rdrecord(stem).p_signal.T / ptb_xl.SCALE), counts):
            raise SystemExit(f"wfdb reads {stem} otherwise than we do.")
        if theirs and not np.array_equal(np.rint(theirs(stem).astype(float) / ptb_xl.SCALE), counts):
            raise SystemExit(f"torch_ecg reads {stem} otherwise than we do.")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data100", type=Path, default=SHARED / "ptb-xl-nominal", help="PTB-XL with records100/")
    parser.add_argument("--data500", type=Path, default=SHARED / "ptb-xl-raw", help="PTB-XL with records500/")
    parser.add_argument("--sample", type=int, default=200, help="records that the slow ones read")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.quick:
        asked.sample, asked.rounds = 4, 1
    cases: list[Case] = []
    for rate, source in ((100, asked.data100), (500, asked.data500)):
        with tempfile.TemporaryDirectory() as place:
            made = "real"
            if asked.quick or not source.is_dir():
                made = "made"
                source = written(Path(place) / "ptb-xl", rate, 32 if asked.quick else 1000)
            cases += measure(source, rate, asked, made)
    finish(cases, asked)


if __name__ == "__main__":
    main()
