"""Arrays in memory as a cohort: the shortest way from one's own numpy to a notebook."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglib.cohort import Cohort
from ecglib.datasets import rule
from ecglib.datasets.about import About
from ecglib.datasets.folds import deal
from ecglib.datasets.own import table as own_table
from ecglib.datasets.own.table import Columns, Table
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Bad
from ecglib.datasets.records import implausible
from ecglib.datasets.records.channels import millivolts
from ecglib.datasets.segments import Segments
from ecglib.datasets.wfdb_files import Expected
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
SCALE = 0.001  # mV per count
MANY = 256


def from_arrays(
    signal: np.ndarray | Sequence[np.ndarray],
    to: str | Path,
    *,
    rate: float,
    leads: Sequence[str],
    unit: str,
    names: Sequence[str] | None = None,
    patients: Sequence[Any] | None = None,
    folds: Sequence[Any] | None = None,
    ages: Sequence[float] | None = None,
    sexes: Sequence[str | None] | None = None,
    labels: pd.DataFrame | Mapping[str, Sequence[int]] | Sequence[Any] | None = None,
    classes: Mapping[str, str] | None = None,
    task: str = "labels",
    to_rate: int | None = None,
    seconds: float | None = None,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    name: str = "arrays",
    progress: bool = True,
) -> Cohort:
    """Write signals in memory, or of a memory map, as a cohort; where `to` holds that cohort already, open it.

    Args:
        signal: (N, L, T), or (N, T, L) where only that fits `leads`; or N arrays (L, T) of several lengths. NaN marks
            a missing sample. to: the cohort's folder.
        rate: of the signal, Hz. leads: its L names, in order; all of them are kept. unit: its unit, "mV" or "uV".
        names, patients, folds, ages, sexes: one each a record; see :class:`Columns` for what folds may be. Without
            folds, a checksum of the patient; without patients, every record is its own.
        labels: a DataFrame or mapping of {class: N values of 0 and 1}, or N statements or lists of statements.
        classes: {statement: class}, for the latter. task: what the label set is called.
        to_rate, seconds, longer, shorter: see :mod:`ecglib.datasets.rule`; None for as it is.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.

    Raises:
        InputError: arrays or lists that do not fit each other; a unit that is no voltage; as `own_table.read`.
    """
    factor = millivolts(unit) if isinstance(unit, str) else None
    if factor is None:
        raise InputError(f"unit is {unit!r}, which is no voltage; give 'mV' or 'uV'.")
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or not 0 < rate < float("inf"):
        raise InputError(f"rate is {rate!r}; give the signals' rate in Hz.")
    signal, turned = _fitting(signal, leads)
    target = rule.Target(_whole(rate) if to_rate is None else to_rate, seconds, tuple(leads), longer, shorter)
    told = _told(len(signal), names, patients, folds, ages, sexes, labels, classes, task)
    reader = _Reader(signal, turned, tuple(leads), float(rate), factor, target, told)
    axis = 0 if turned else 1
    lengths = {each.shape[axis] for each in signal} if isinstance(signal, list) else {signal.shape[1 + axis]}
    if target.samples is None and len(lengths) > 1:
        raise InputError(f"the signals have {min(lengths)} to {max(lengths)} samples; give seconds, such as 10.")
    length = target.samples or math.ceil(round(lengths.pop() * target.rate / rate, 6))
    facts = [VERSION, float(rate), list(leads), factor, target.rate, seconds, longer, shorter, bad, name]
    facts.append(told.label_sets)
    notes = [*told.notes]
    if "fold" not in told.has:
        notes.insert(0, "Folds are ours: a checksum of the patient modulo 10, plus 1.")
    if "patient" not in told.has:
        notes.append("Every record counts as its own patient.")
    units = [(at, min(at + MANY, len(signal))) for at in range(0, len(signal), MANY)]
    return build_parts(
        to, units, reader, about=nameless(name), expected=Expected(target.leads, target.rate, length, SCALE), bad=bad,
        key=_key(facts, signal, told), source="arrays", notes=notes, label_sets=told.label_sets, records=len(signal),
        empty="no record is that long; choose shorter segments, or pad or tile.", workers=0, progress=progress,
    )  # fmt: skip


def nameless(name: str) -> About:
    """What a cohort of one's own says of itself: its name."""
    nothing = dict.fromkeys(
        ("version", "url", "licence", "citation", "records", "size_gb", "rate", "leads", "labels"), ""
    )
    return About(name=name, title=name, **nothing)


@dataclass(frozen=True)
class _Reader:
    """Takes some of the records and brings them to the target."""

    signal: Any
    turned: bool
    leads: tuple[str, ...]
    rate: float
    factor: float
    target: rule.Target
    told: Table

    def __call__(self, unit: tuple[int, int]) -> Raw:
        rows = self.told.rows.iloc[slice(*unit)].reset_index(drop=True)
        segments, odd = Segments(self.target, SCALE), {}
        for k, record in zip(range(*unit), rows["file"]):
            mv = np.asarray(self.signal[k], np.float32) * np.float32(self.factor)
            mv = mv.T if self.turned else mv  # (T, L) -> (L, T)
            mv[~np.isfinite(mv)] = np.nan
            segments.add(record, mv, self.leads, self.rate)
            if (note := implausible(mv)) is not None:
                odd.setdefault(f"{{records}} noted, whose signal {note}: {{names}}.", []).append(record)
        rows = rows.rename(columns={"file": "source_record"})
        return segments.raw(rows, odd)


def _fitting(signal: Any, leads: Sequence[str]) -> tuple[Any, bool]:
    """The signals, and whether each is (T, L)."""
    if isinstance(leads, str) or not len(leads):
        raise InputError(f"leads is {leads!r}; give a list of names such as ['I', 'II'].")
    if not isinstance(signal, np.ndarray):
        signal = [np.asarray(each) for each in signal]
    shapes = {signal.shape[1:]} if isinstance(signal, np.ndarray) else {each.shape for each in signal}
    kinds = {signal.dtype.kind} if isinstance(signal, np.ndarray) else {each.dtype.kind for each in signal}
    if not len(signal) or not kinds <= set("iuf") or any(len(shape) != 2 or not all(shape) for shape in shapes):
        raise InputError("signals come as numbers (records, leads, samples), or as a list of (leads, samples).")
    if all(shape[0] == len(leads) for shape in shapes):
        return signal, False
    if all(shape[1] == len(leads) for shape in shapes):
        return signal, True
    raise InputError(f"{len(leads)} leads are named, but a signal has the shape {next(iter(shapes))}; name each lead.")


def _whole(rate: float) -> int:
    if rate != int(rate) or rate < 1:
        raise InputError(f"rate is {rate!r}, and cohorts are kept at whole numbers of Hz; give to_rate as well.")
    return int(rate)


def _told(
    many: int, names: Any, patients: Any, folds: Any, ages: Any, sexes: Any, labels: Any, classes: Any, task: str
) -> Table:
    """The rows, through the same checks as a table's."""
    import pandas as pd

    given = {"patient": patients, "fold": folds, "age": ages, "sex": sexes}
    marks = labels if isinstance(labels, pd.DataFrame | Mapping) else None
    if labels is not None and marks is None:
        given["statements"] = labels
    width = len(str(many - 1))
    columns = {"file": [f"{k:0{width}d}" for k in range(many)] if names is None else list(names)}
    columns |= {what: list(values) for what, values in given.items() if values is not None}
    for what, values in [*columns.items(), *((name, marks[name]) for name in marks or ())]:
        if len(values) != many:
            raise InputError(f"{what} has {len(values)} entries for {many} records; give one each.")
    frame = pd.DataFrame(columns)
    if marks is not None:
        if taken := [name for name in marks if name in frame.columns]:
            raise InputError(f"the class {taken[0]} has the name of a column; rename it.")
        frame = frame.assign(**{str(name): list(marks[name]) for name in marks})
    told = own_table.read(
        frame, Columns(labels=None if marks is None else [str(name) for name in marks], classes=classes, task=task)
    )
    if (twice := told.rows["file"].duplicated()).any():
        raise InputError(f"names has {told.rows['file'][twice].iloc[0]!r} twice; give each record its own.")
    owners = told.rows["patient"] if "patient" in told.has else told.rows["file"]
    told.rows["patient"] = owners
    if "fold" not in told.has:
        told.rows["fold"] = pd.array([deal(owner) for owner in owners], "Int64")
    return told


def _key(facts: Sequence[Any], signal: Any, told: Table) -> str:
    """Options, signals, and all that is said of them."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for each in signal:
        digest.update(f"{each.dtype} {each.shape}\n".encode())
        digest.update(np.ascontiguousarray(each))
    digest.update(told.rows.to_json().encode())
    return f"arrays {digest.hexdigest()}"
