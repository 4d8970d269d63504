"""records.parquet as it is needed: one column, the labels of a task, or the whole table; each read once and kept.

Training on a large cohort needs its folds and one task's labels, not a table with lists of Python strings, which takes
about a kilobyte a record. Statements are therefore kept as numbers, and strings are shared among the lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort_info import CohortInfo

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class Coded:
    """N lists of strings as numbers."""

    names: list[str | None]
    """The strings that occur; last None, for a missing one."""
    codes: np.ndarray
    """(V,) int32 places in `names`: all lists, one after the other."""
    offsets: np.ndarray
    """(N + 1,) int64: list i is codes[offsets[i] : offsets[i + 1]]."""

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Coded:
        """From a column of lists; missing lists are empty ones."""
        import pyarrow as pa
        import pyarrow.compute as pc

        flat = pc.list_flatten(column).combine_chunks().cast(pa.string()).dictionary_encode()
        names = [*flat.dictionary.to_pylist(), None]
        codes = pc.fill_null(flat.indices, len(names) - 1).to_numpy().astype(np.int32)
        return cls(names, codes, _offsets(column))

    def lists(self) -> list[list[str | None]]:
        """The N lists, which share their strings."""
        return _cut(np.array(self.names, object)[self.codes].tolist(), self.offsets)

    def multi_hot(self, columns: Mapping[str, int], width: int, rows: np.ndarray | None) -> np.ndarray:
        """(n, `width`) float32 of 0 and 1 for the lists `rows` (n,), or for all: {string: its column}."""
        starts, ends = self.offsets[:-1], self.offsets[1:]
        if rows is not None:
            starts, ends = starts[rows], ends[rows]
        lengths = ends - starts  # (n,)
        row = np.repeat(np.arange(len(lengths)), lengths)  # (v,) of each string
        place = np.arange(len(row)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)  # (v,) in codes
        column = np.array([columns.get(name, -1) for name in self.names])[self.codes[place]]  # (v,)
        y = np.zeros((len(lengths), width), np.float32)
        y[row[column >= 0], column[column >= 0]] = 1
        return y


class Table:
    """The records of one cohort's folder.

    Raises:
        InputError: by every method, as `ecglib.cohort_write.open_table`.
    """

    def __init__(self, file: Path, info: CohortInfo) -> None:
        self._file, self._info = file, info
        self._frame: pd.DataFrame | None = None
        self._columns: dict[str, pd.Series] = {}
        self._statements: Coded | None = None

    def frame(self) -> pd.DataFrame:
        """All columns, with python lists where the file has lists."""
        import pandas as pd

        if self._frame is None:
            with self._open() as table:
                names = table.schema_arrow.names
                self._frame = pd.DataFrame({name: self._read(table, name) for name in names}, copy=False)
            self._columns = {}
        return self._frame

    def column(self, name: str) -> pd.Series:
        """One column, without the others."""
        if self._frame is not None:
            return self._frame[name]
        if name not in self._columns:
            with self._open() as table:
                self._columns[name] = self._read(table, name)
        return self._columns[name]

    def statements(self) -> Coded:
        if self._statements is None:
            with self._open() as table:
                self._statements = Coded.of(table.read(["statements"]).column(0))
        return self._statements

    def _open(self) -> AbstractContextManager[pq.ParquetFile]:
        from ecglib.cohort_write import open_table

        return open_table(self._file, self._info.records)

    def _read(self, table: pq.ParquetFile, name: str) -> pd.Series:
        import pandas as pd
        import pyarrow as pa
        import pyarrow.compute as pc

        column = table.read([name]).column(name)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            if name == "statements":
                self._statements = self._statements or Coded.of(column)
                lists = self._statements.lists()
            elif column.null_count:
                lists = column.to_pylist()
            elif pa.types.is_string(column.type.value_type):
                lists = Coded.of(column).lists()
            else:
                lists = _cut(pc.list_flatten(column).to_pylist(), _offsets(column))
            return pd.Series(lists, dtype=object, name=name)
        series = column.to_pandas().rename(name)
        if name == "fold":
            return series.astype("Int64")
        if name == "sex":
            return series.astype(object).where(series.notna(), None)
        return series


def _offsets(column: pa.ChunkedArray) -> np.ndarray:
    """(N + 1,) int64: where each of N lists starts among all their values, and the end; a missing list is empty."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _cut(values: list, offsets: np.ndarray) -> list[list]:
    return [values[start:end] for start, end in pairwise(offsets.tolist())]
