"""What CODE-15% and CODE-test have in common: tracings (N, 4096, 12) at 400 Hz in HDF5, and six abnormalities.

The authors' script (github.com/antonior92/ecg-preprocessing, generate_h5.py with --scale 2, --new_freq 400, --new_len
4096) lays an exam of n < 4096 samples into the middle of zeros, behind (4096 - n) // 2 of them, and cuts longer ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets import hdf5, rule
from ecglib.datasets.parts import Raw
from ecglib.datasets.wfdb_files import Expected
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import h5py
    import pandas as pd

CODES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
NONE = "none of the six"
RATE, LENGTH = 400, 4096  # Hz and samples of a row
SCALE = 0.001  # mV per count of the cohort
UNIT_MV = 0.5  # mV of one stored unit
ROWS = 128  # about so many in a unit of work: 25 MB in float32


@dataclass(frozen=True)
class Unit:
    """Rows `start` to `stop` of a file; `at` (n,) are those of them, from 0, that `table` (n rows) is of."""

    file: str
    start: int
    stop: int
    at: np.ndarray
    table: pd.DataFrame


@dataclass(frozen=True)
class Reader:
    """Reads a unit into segments; `leads` are the columns of the tracings."""

    target: rule.Target
    unit_mv: float
    leads: tuple[str, ...] = LEADS

    def __call__(self, unit: Unit) -> Raw:
        with hdf5.opened(unit.file) as file:
            stored = hdf5.dataset(file, "tracings", (None, LENGTH, 12))[unit.start : unit.stop]
        stored = stored[unit.at]  # (n, T, 12)
        used = (stored != 0).any(axis=2)  # (n, T); a missing sample is not 0
        first, last = used.argmax(axis=1), LENGTH - used[:, ::-1].argmax(axis=1)
        mv = np.multiply(stored.transpose(0, 2, 1), self.unit_mv, dtype=np.float32)  # (n, T, 12) -> (n, 12, T)
        segments, names, of, zero, short = [], [], [], [], 0
        for k, record in enumerate(unit.table["source_record"]):
            if not used[k].any():
                zero.append(record)
                continue
            signal = mv[k, :, first[k] : last[k]]  # (12, T)
            signal[(signal == signal[:, :1]).all(axis=1)] = 0  # so that a flat lead is flat behind its end as well
            made = rule.to_target(signal, self.leads, RATE, self.target)  # (12, T) -> (S, 12, T')
            segments.append(made)
            names += rule.segment_names(record, len(made))
            of += [k] * len(made)
            short += last[k] - first[k] < self.target.seconds * RATE
        empty = np.empty((0, len(self.target.leads), self.target.samples), np.float32)
        rows = unit.table.assign(recorded_s=(last - first) / RATE).iloc[of].reset_index(drop=True)
        rows.insert(0, "record", names)
        done = {"drop": "left out", "tile": "repeated up to it", "pad": "followed by 0 mV"}[self.target.shorter]
        counts = {
            "{records} left out, being zero throughout ({names}).": zero,
            f"{{records}} shorter than {self.target.seconds:g} s, {done}.": int(short),
        }
        return Raw(rule.to_chunk(np.concatenate([empty, *segments]), SCALE), rows, counts, read=len(used))


def units_of(file: Path, data: h5py.Dataset, at: np.ndarray, table: pd.DataFrame) -> list[Unit]:
    """The units of an open data set `data`: `at` (n,) ascending rows of it, and `table` their n rows."""
    units = []
    for start, stop in hdf5.ranges(data, ROWS):
        low, high = np.searchsorted(at, (start, stop))
        if high > low:
            units.append(Unit(str(file), start, stop, at[low:high] - start, table.iloc[low:high]))
    return units


def target_of(rate: int, seconds: float, longer: rule.Longer, shorter: rule.Shorter, name: str) -> rule.Target:
    """The target; InputError where `seconds` are more than a row of `name` can hold."""
    target = rule.Target(rate, seconds, longer=longer, shorter=shorter)
    if seconds is None or seconds > LENGTH / RATE:
        raise InputError(f"seconds is {seconds!r}, but {name} holds {LENGTH / RATE:g} s at most; give 10, say.")
    return target


def expected_of(target: rule.Target) -> Expected:
    """Of the segments that `Reader` gives."""
    return Expected(LEADS, target.rate, target.samples, SCALE)


def empty_of(target: rule.Target) -> str:
    """What to say where no segment was made."""
    return f"no exam is {target.seconds:g} s long; choose shorter segments or pad or tile."


def check_unit(unit_mv: float) -> None:
    """Raises InputError for a unit that cannot be."""
    if isinstance(unit_mv, bool) or not isinstance(unit_mv, int | float) or not 0 < unit_mv < float("inf"):
        raise InputError(f"unit_mv is {unit_mv!r}; give the mV of one stored unit, such as {UNIT_MV}.")


def statements(flags: np.ndarray) -> list[list[str]]:
    """The codes of each of (n, 6) bool, or `NONE` where there is none."""
    return [[code for code, there in zip(CODES, row) if there] or [NONE] for row in flags]


def yes(table: pd.DataFrame, column: str, file: Path, *, empty: bool = False) -> pd.Series:
    """A column of True/False or 1/0 as booleans, missing where it may be `empty`; InputError for anything else."""
    text = table[column].str.strip().str.lower()
    values = text.map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False})
    if (bad := (values.isna() & ~(text.eq("") & empty)).to_numpy()).any():
        row = int(bad.argmax())
        raise InputError(
            f"{file} has {table[column].iloc[row]!r} in {column}, row {row + 2}, which is neither True nor False; get "
            f"the file again."
        )
    return values.astype("boolean")


def ages(column: pd.Series) -> pd.Series:
    """Years; missing beyond 0 to 120."""
    import pandas as pd

    years = pd.to_numeric(column, errors="coerce").astype(float)
    return years.where(years.between(0, 120))
