"""One CSV or TSV file as :class:`Channels`: a row a sample, a column a lead, their names in a header row.

What is understood: commas, semicolons, tabs or blanks between cells; a decimal comma (except between commas); units in
the header ("I (mV)", "V1 [uV]") or in a row of their own below it; a header that only numbers the columns (0, 1, ...:
pandas); a time column in s, ms or as a clock, from which the rate is taken; lines that begin with #; UTF-8, UTF-16 with
a mark, or Latin-1. In a lead's column an empty cell is a missing sample, any other that is no number is an error;
columns of no lead may hold anything.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets.records.channels import Channels, Choose, lead_of, millivolts, reading
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_UNIT = re.compile(r"\s*[\[(/]\s*([^\])]*?)\s*[\])]?$|_(mv|uv|µv|μv|ms|s|sec|seconds)$", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")
_TIMES = ("time", "t", "elapsed time", "elapsed", "seconds", "second", "sec", "ms", "milliseconds", "timestamp", "zeit")
_COUNTERS = ("sample", "samples", "index", "n", "#", "unnamed: 0", "")
_SECONDS = dict.fromkeys(("s", "sec", "second", "seconds"), 1.0) | dict.fromkeys(("us", "µs", "μs"), 1e-6)
_SECONDS |= dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3)
_NO_UNIT = ("", "nu", "hh:mm:ss.mmm", "sample number")
_MISSING = ("", "nan", "na", "n/a", "-", "null")
_MOST, _MOST_COLUMNS = 512 << 20, 4096
"""Bytes of text, and columns."""


def read(path: Path, choose: Choose) -> Channels:
    """The file at `path`; see :func:`ecglib.datasets.records.read_record`."""
    text = _text(path)
    head = list(islice(((n, line) for n, line in enumerate(io.StringIO(text)) if _says(line)), 4))
    if not head:
        raise InputError("holds nothing; export it again.")
    separator = _separator([line for _, line in head])
    early = text[: 1 << 16]
    comma = separator != "," and bool(re.search(r"\d,\d", early)) and not re.search(r"\d\.\d", early)
    cells = _cells(head[0][1], separator)
    if len(cells) > _MOST_COLUMNS:
        raise InputError(f"has {len(cells):,} columns; a row a sample and a column a lead are needed.")
    if all(_is_number(cell, comma) for cell in cells) and not _numbered(cells):
        positions, leads, notes = choose(None, len(cells))
        values = _numbers(text, separator, comma, head[0][0], len(cells), positions)
        return Channels(leads, list(values.T), [""] * len(leads), [None] * len(leads), notes=notes)
    below = _cells(head[1][1], separator) if len(head) > 1 else []
    below = below if len(below) == len(cells) and any(below) and all(map(_is_unit, below)) else None
    names, units = _header(cells, below)
    time = next((k for k, name in enumerate(names) if name.lower() in _TIMES and lead_of(name) is None), None)
    columns = [k for k, name in enumerate(names) if k != time and name.lower() not in _COUNTERS]
    positions, leads, notes = choose([names[k] for k in columns], len(columns))
    kept = [columns[k] for k in positions]
    skip = (head[0] if below is None else head[1])[0] + 1
    values = _numbers(text, separator, comma, skip, len(cells), kept, time)
    rate = None if time is None else _rate(values[:, -1], _seconds_per(names[time], units[time]))
    signals = list(values.T[: len(kept)])  # (T, L or L + 1) -> L x (T,)
    return Channels(leads, signals, [units[k] for k in kept], [rate] * len(kept), notes=notes)


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST:
        raise InputError(f"has more than the {_MOST:,} bytes of text that are read; cut it or keep it as .npy.")
    content = path.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin1")
    if "\0" in text:
        raise InputError("is no text; export it again as CSV.")
    return text


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _separator(lines: Sequence[str]) -> str:
    for separator in ("\t", ";", ","):
        if all(separator in line for line in lines):
            return separator
    return " " if all(" " in line.strip() for line in lines) else ","


def _cells(line: str, separator: str) -> list[str]:
    with reading("CSV"):
        cells = line.split() if separator == " " else next(csv.reader([line], delimiter=separator), [])
    return [cell.strip().strip("'").strip() for cell in cells]


def _is_number(cell: str, comma: bool) -> bool:
    if cell.lower() in _MISSING:
        return True
    try:
        float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return False
    return True


def _numbered(cells: Sequence[str]) -> bool:
    """Whether a row is 0, 1, 2, ..., as pandas writes above an array whose columns have no names; an index before them
    has no name either."""
    numbers = cells[1:] if cells[0] == "" else cells
    return len(numbers) > 2 and list(numbers) == [str(k) for k in range(len(numbers))]


def _is_unit(cell: str) -> bool:
    plain = cell.strip("[]() ").lower()
    return plain in _NO_UNIT or plain in _SECONDS or millivolts(plain) is not None


def _header(cells: Sequence[str], below: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Names and units of the columns; `below` is the row of units, if there is one."""
    names, units = [], []
    for k, cell in enumerate(cells):
        match = _UNIT.search(cell) if lead_of(cell) is None or cell.endswith((")", "]")) else None
        names.append(cell[: match.start()].strip() if match else cell)
        own = (match[1] or match[2] or "") if match else ""
        units.append(own or (below[k].strip("[]() ") if below else ""))
    return names, units


def _numbers(
    text: str, separator: str, comma: bool, skip: int, columns: int, kept: Sequence[int], time: int | None = None
) -> np.ndarray:
    """(T, L) float64 of the columns `kept`, and behind them `time` (T, L + 1) where there is one, maybe a clock's."""
    import pandas as pd

    with reading("CSV"):
        frame = pd.read_csv(
            io.StringIO(text), sep=r"\s+" if separator == " " else separator, decimal="," if comma else ".",
            header=None, skiprows=skip, comment="#", names=range(columns), index_col=False, na_values=["-"],
            skipinitialspace=True, on_bad_lines="error", low_memory=False,
        )  # fmt: skip
    if frame.empty:
        raise InputError("holds a header and no samples; export it again.")
    if time is not None and frame[time].dtype.kind not in "iuf":
        frame[time] = _clock(frame[time])
    frame = frame[[*kept, *([] if time is None else [time])]]
    values = frame.apply(pd.to_numeric, errors="coerce")
    wrong = (frame.notna() & values.isna()).to_numpy()
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        what, where = str(frame.iat[row, column])[:40], frame.columns[column] + 1
        raise InputError(f"has {what!r} in column {where} of sample {row + 1:,}, which is no number; correct it.")
    return values.to_numpy(np.float64, na_value=np.nan)


def _clock(column: pd.Series) -> pd.Series:
    """Seconds of "1:02:03.004", "0:00.002" or "2026-11-21 18:00:00.002"; what is neither stays as it is."""
    import pandas as pd

    text = column.astype(str).str.strip("'[] ")
    parts = text.str.extract(f"^{_CLOCK.pattern}$").astype(float)  # hours, minutes, seconds
    seconds = parts[2] + 60 * parts[1].fillna(0) + 3600 * parts[0].fillna(0)
    if seconds.notna().all():
        return seconds
    moments = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
    return (moments - moments.iloc[0]).dt.total_seconds() if moments.notna().all() else column


def _seconds_per(name: str, unit: str) -> float | None:
    """Seconds per unit of the time column, None where it says none; its name may be its unit ("ms")."""
    return _SECONDS.get(unit.lower()) or _SECONDS.get(name.lower()) or (1.0 if ":" in unit else None)


def _rate(times: np.ndarray, unit: float | None) -> float:
    """Hz, from a column of times; InputError where it is not even, or may be in s or ms."""
    if len(times) < 2 or not np.isfinite(times).all():
        raise InputError("has a time column with gaps or a single sample; remove the column and give rate instead.")
    step = (times[-1] - times[0]) / (len(times) - 1)
    grain = 10.0 ** -_decimals(times)
    if not step > 0 or (at := _uneven(np.diff(times), step, grain)) is not None:
        where = f"at sample {at:,}" if step > 0 else "and runs backwards"
        raise InputError(f"has a time column that is not even ({where}); a record without pauses is needed.")
    if unit is None and step > 0.05:
        raise InputError(f"has a time column in steps of {step:g}; say its unit in the header, such as 'time (ms)'.")
    rate = 1 / (step * (unit or 1.0))
    whole = round(rate)  # the last time may be rounded by a grain: the rate is no better known
    return float(whole) if whole and abs(rate / whole - 1) <= grain / (times[-1] - times[0]) + 1e-9 else rate


def _uneven(steps: np.ndarray, mean: float, grain: float) -> int | None:
    """The first sample after a step unlike the others, None where there is none.

    A few steps far from the median are pauses. Where many are, rounding to `grain` must explain them: 360 Hz in whole
    ms steps by 2 and 3.
    """
    median = np.median(steps)
    odd = np.abs(steps - median) > 0.5 * median
    if odd.mean() >= 0.1:
        odd = np.abs(steps - mean) > grain + 0.1 * mean
    return int(odd.argmax()) + 2 if odd.any() else None


def _decimals(times: np.ndarray) -> int:
    """How many decimals the times were written with, at most 9."""
    some = times[: 1 << 12]
    return next((d for d in range(9) if np.allclose(some * 10**d, np.rint(some * 10**d), rtol=0, atol=1e-4)), 9)
