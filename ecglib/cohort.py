"""A Cohort is a folder: signals.npy (N, L, T) int16, records.parquet (one row a record), cohort.json.

Conventions: time last; leads in the order that `cohort.leads` says (canonical unless the data set says otherwise);
millivolts = counts x scale; rate in Hz; folds are integers; a record's labels in a task are the classes of *all* its
statements of that kind, whatever their likelihood; classes are ordered by name and matched by name.

Opening reads cohort.json and the header of signals.npy; the table, or the column of it that is needed, is read when
first asked for, the signals are mapped. `Batches`, `mix` and `write` live in ecglib.batches and ecglib.cohort_write and
are offered here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ecglib import leads as lead_names
from ecglib import mapped
from ecglib.cohort_info import CohortInfo
from ecglib.cohort_table import Table
from ecglib.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from ecglib.batches import Batch, Batches, mix
    from ecglib.cohort_write import write

__all__ = ["Batch", "Batches", "Cohort", "CohortInfo", "Record", "mix", "write"]

COLUMNS = ("record", "patient", "fold", "age", "sex", "statements")
_ELSEWHERE = {"Batch": "batches", "Batches": "batches", "mix": "batches", "write": "cohort_write"}


def __getattr__(name: str) -> Any:
    """Torch is imported only when batches are asked for."""
    if name in _ELSEWHERE:
        import importlib

        return getattr(importlib.import_module(f"ecglib.{_ELSEWHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Record:
    """One record: `signal` (L, T) float32 mV; `row` is its row of the table."""

    record: str
    patient: str
    signal: np.ndarray
    row: pd.Series


class Cohort:
    """Records with their signals and table; `subset`, `in_folds` and `labelled` are views on the same mapped file."""

    def __init__(
        self,
        path: Path,
        info: CohortInfo,
        signals: np.ndarray,
        rows: np.ndarray | None = None,
        table: Table | None = None,
    ) -> None:
        self.path = path
        self.info = info
        self._signals = signals  # (N of the folder, L, T) int16, mapped
        self._rows = rows  # positions in the folder, or None for all
        self._every: np.ndarray | None = None
        self._table = table or Table(path / "records.parquet", info)  # of the folder: views share it
        self._records: pd.DataFrame | None = None

    @classmethod
    def open(cls, path: str | Path) -> Cohort:
        """Open a cohort's folder without reading its signals or its table.

        Raises:
            InputError: no such folder, no cohort, another format version, or files that do not agree.
        """
        path = Path(path)
        file = path / "cohort.json"
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:
            what = "holds no cohort.json" if path.is_dir() else "is no folder"
            raise InputError(
                f"{path} {what}; build a cohort with `python -m ecglib.datasets build NAME SOURCE --to DIR`."
            ) from None
        info = CohortInfo.from_json(text, file)
        return cls(path, info, _map_signals(path / "signals.npy", info))

    @property
    def rate(self) -> int:
        """Hz."""
        return self.info.rate

    @property
    def leads(self) -> tuple[str, ...]:
        return self.info.leads

    @property
    def length(self) -> int:
        """Samples per record, T."""
        return self.info.length

    @property
    def rows(self) -> np.ndarray:
        """(N,) int64: the positions of these records in signals.npy."""
        if self._rows is None and self._every is None:
            self._every = np.arange(self.info.records)  # made once: batches ask for it at every step
        return self._every if self._rows is None else self._rows

    @property
    def records(self) -> pd.DataFrame:
        """The table, one row a record, in the order of the signals; read from disk once. Treat it as read-only."""
        if self._records is None:
            every = self._table.frame()
            self._records = every if self._rows is None else every.iloc[self._rows].reset_index(drop=True)
        return self._records

    def column(self, name: str) -> pd.Series:
        """(N,) one column of `records`, read without the others, which take about a kilobyte a record."""
        column = self._table.column(name)
        return column if self._rows is None else column.iloc[self._rows].reset_index(drop=True)

    def __len__(self) -> int:
        return self.info.records if self._rows is None else len(self._rows)

    def __getitem__(self, i: int) -> Record:
        if not -len(self) <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        i = int(i) % len(self)
        row = self.records.iloc[i]
        return Record(row["record"], row["patient"], self.signal_mv([i])[0], row)

    def __repr__(self) -> str:
        size = f"{len(self):,} records" if self._rows is None else f"{len(self):,} of {self.info.records:,} records"
        return f"<Cohort {self.info.name}: {size}, {len(self.leads)} leads x {self.length} at {self.rate} Hz>"

    def subset(self, rows: np.ndarray | Sequence[int] | Sequence[bool]) -> Cohort:
        """The records of a boolean mask (N,) or of integer positions, as a view.

        Raises:
            InputError: a mask of another length, or a position outside.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise InputError(f"a mask of shape {rows.shape} does not fit a cohort of {len(self)} records.")
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64) if rows.size == 0 else rows
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise InputError("a subset is given by a boolean mask or by whole positions, one for each record.")
        if rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise InputError(f"a subset names record {rows.max()} of a cohort of {len(self)}.")
        return Cohort(self.path, self.info, self._signals, self.rows[rows], self._table)

    def folds(self) -> tuple[int, ...]:
        """The folds that hold a record, in order; empty for a data set without folds."""
        return tuple(sorted(int(f) for f in self.column("fold").dropna().unique()))

    def in_folds(self, folds: Sequence[int]) -> Cohort:
        """The records of these folds.

        Raises:
            InputError: a fold that holds no record, naming the folds that do; no fold asked for.
        """
        folds = [folds] if isinstance(folds, int | np.integer) else list(folds)
        there = self.folds()
        empty = [f for f in folds if f not in there]
        if empty or not folds:
            asked = f"fold {empty[0]} holds no record" if folds else "no fold was asked for"
            have = f"the folds there are {', '.join(map(str, there))}" if there else "this data set has no folds"
            raise InputError(f"{asked} of {self.info.name} ({self.path}); {have}.")
        return self.subset(self.column("fold").isin(folds).to_numpy(dtype=bool, na_value=False))

    def patients_in_several_folds(self) -> list[str]:
        """Patients whose records lie in more than one fold: with them, test data leaks into training."""
        import pandas as pd

        return patients_in_several(pd.DataFrame({name: self.column(name) for name in ("patient", "fold")}), "fold")

    def _codes(self, task: str) -> Mapping[str, str]:
        if task not in self.info.label_sets:
            if not self.info.label_sets:
                raise InputError(f"{self.info.name} ({self.path}) has no labels, so no task {task!r}.")
            raise InputError(f"{self.info.name} has no task {task!r}.{nearest(task, self.info.label_sets)}")
        return self.info.label_sets[task]

    def classes(self, task: str) -> tuple[str, ...]:
        """The task's classes, ordered by name, whether or not a record here has them."""
        return class_names(self._codes(task))

    def labels(self, task: str) -> np.ndarray:
        """(N, C) float32 of 0 and 1, columns as `classes(task)`.

        Raises:
            InputError: the data set has no such task.
        """
        codes = self._codes(task)
        column = {name: k for k, name in enumerate(class_names(codes))}
        places = {code: column[name] for code, name in codes.items()}
        return self._table.statements().multi_hot(places, len(column), self._rows)

    def labelled(self, task: str) -> Cohort:
        """The records with at least one class of the task."""
        return self.subset(self.labels(task).any(axis=1))

    def require_positives(self, task: str, what: str) -> None:
        """Raise InputError naming the classes of `task` that no record here has; `what` is "validation fold 9", say."""
        counts = self.labels(task).sum(axis=0)
        none = [name for name, n in zip(self.classes(task), counts) if n == 0]
        if none:
            raise InputError(
                f"{what} of {self.info.name} holds no record of {', '.join(none)} (task {task}), so nothing can be "
                f"measured there; choose other folds, another task or more data."
            )

    def signal_mv(
        self, rows: np.ndarray | Sequence[int] | slice | None = None, leads: Sequence[str] | None = None
    ) -> np.ndarray:
        """(n, L, T) float32 mV of the records at `rows` (positions, mask or slice; None = all) and `leads`."""
        return self.counts(self._positions(rows), leads).astype(np.float32) * np.float32(self.info.scale)

    def _positions(self, rows: np.ndarray | Sequence[int] | slice | None) -> np.ndarray:
        """(n,) positions in the folder of `rows` as `signal_mv` takes them."""
        if self._rows is None and rows is not None and not isinstance(rows, slice):
            positions = np.asarray(rows)
            if np.issubdtype(positions.dtype, np.integer):
                return positions  # not by way of all positions: reading takes no memory that grows with the cohort
        return self.rows if rows is None else self.rows[rows]

    def counts(self, rows: np.ndarray, leads: Sequence[str] | None = None) -> np.ndarray:
        """(n, L, T) int16, a copy; `rows` are positions in signals.npy (see `rows`)."""
        mapped.ask_for(self._signals, rows)
        if leads is None:
            return self._signals[rows]
        which = lead_names.indices(self.leads, leads)
        return self._signals[np.asarray(rows)[:, None], which]  # (n, 1), (L,) -> (n, L, T)

    def batches(
        self,
        batch_size: int,
        *,
        task: str | None = None,
        leads: Sequence[str] | None = None,
        device: Any = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        resident: Literal["auto"] | bool = "auto",
    ) -> Batches:
        """Batches of float32 mV on `device`; see :class:`ecglib.batches.Batches`."""
        from ecglib.batches import Batches

        return Batches(
            self,
            batch_size,
            task=task,
            leads=leads,
            device=device,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            resident=resident,
        )

    def verify(self) -> None:
        """Read everything and compare it with the fingerprint; InputError when a byte of it changed."""
        from ecglib.cohort_write import Fingerprint

        found = Fingerprint(self.info.rate, self.info.leads, self.info.scale, self.info.label_sets)
        for start in range(0, self.info.records, 1024):
            found.signals(self.counts(np.arange(start, min(start + 1024, self.info.records))))
        if found.records_in(self.path / "records.parquet", self.info.records) != self.info.fingerprint:
            raise InputError(f"{self.path} does not agree with its fingerprint; build the cohort again.")


def patients_in_several(records: pd.DataFrame, group: str) -> list[str]:
    """The patients, sorted, whose records lie in more than one `group` (a column); records in none do not count."""
    per_patient = records.groupby("patient", observed=True)[group].nunique()
    return sorted(per_patient.index[per_patient > 1])


def class_names(codes: Mapping[str, str]) -> tuple[str, ...]:
    """The classes of {statement code: class}, ordered by name."""
    return tuple(sorted(set(codes.values())))


def multi_hot(statements: Iterable[Sequence[str]], codes: Mapping[str, str]) -> np.ndarray:
    """(N, C) float32 of 0 and 1 from N lists of statements; columns as `class_names(codes)`."""
    column = {name: k for k, name in enumerate(class_names(codes))}
    by_code = {code: column[name] for code, name in codes.items()}
    statements = list(statements)
    y = np.zeros((len(statements), len(column)), np.float32)
    for i, record in enumerate(statements):
        for code in record:
            if (k := by_code.get(code)) is not None:
                y[i, k] = 1
    return y


def _map_signals(file: Path, info: CohortInfo) -> np.ndarray:
    """(N, L, T) int16 memmap, checked against cohort.json and the file's size."""
    shape = (info.records, len(info.leads), info.length)
    try:
        signals = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} is missing, cut short or no array ({error}); build the cohort again.") from None
    if signals.shape != shape or signals.dtype != np.dtype("<i2") or not signals.flags.c_contiguous:
        raise InputError(
            f"{file} holds {signals.dtype} {signals.shape}, cohort.json says int16 {shape}; build the cohort again."
        )
    return mapped.declare_random(signals).view(np.ndarray)
