"""Writing a cohort: streamed, under a temporary name, locked, and either whole or not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ecglib.cohort import COLUMNS, Cohort
from ecglib.cohort_info import CohortInfo
from ecglib.errors import InputError
from ecglib.files import fresh_folder, lock

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 16_384
"""In a row group of records.parquet."""
HEADER = 128
"""Bytes before the first sample in signals.npy."""
Table = tuple["pd.DataFrame", Sequence[str]]


def write(
    path: str | Path,
    signals: np.ndarray | Iterable[np.ndarray],
    records: pd.DataFrame | Callable[[], Table],
    *,
    name: str,
    rate: int,
    leads: Sequence[str],
    scale: float,
    key: str = "",
    source: str = "",
    source_version: str = "",
    citation: str = "",
    licence: str = "",
    notes: Sequence[str] = (),
    label_sets: Mapping[str, Mapping[str, str]] | None = None,
) -> Cohort:
    """Write a cohort's folder and open it.

    Args:
        path: the folder to make. Where it holds a cohort of the same non-empty `key`, that one is opened and
            `signals` is never touched; another process building it is waited for.
        signals: (N, L, T) int16, or an iterable of such chunks, so that no more than a chunk need be in memory.
        records: one row a record with at least record, patient, fold, age, sex, statements; or a function that
            gives the table and further notes and is called once `signals` has been used up.
        rate: Hz. scale: mV per count. key: what the cohort is built from, see `path`.

    Raises:
        InputError: `path` holds something else; signals and records do not fit; a full or read-only disk. Nothing is
            left behind then, nor after an interruption: the next build clears up.
    """
    path = Path(path).absolute()
    with lock(path, f"{path} is being built by another process; waiting for it."):
        if (path / "cohort.json").exists():
            return reuse(path, key)
        with fresh_folder(path) as folder:
            label_sets = {task: dict(codes) for task, codes in (label_sets or {}).items()}
            fingerprint = Fingerprint(rate, leads, scale, label_sets)
            chunks = (signals,) if isinstance(signals, np.ndarray) else signals
            shape = _write_signals(folder / "signals.npy", chunks, len(leads), fingerprint)
            frame, more = records() if callable(records) else (records, ())
            table = _checked(frame, shape[0])
            write_table([table], table.schema, folder / "records.parquet")
            info = CohortInfo(
                name=name,
                rate=rate,
                leads=tuple(leads),
                length=shape[2],
                scale=float(scale),
                records=shape[0],
                patients=frame["patient"].nunique(),
                source=source,
                source_version=source_version,
                citation=citation,
                licence=licence,
                notes=(*notes, *more),
                label_sets=label_sets,
                fingerprint=fingerprint.records(table),
                key=key,
            )
            (folder / "cohort.json").write_text(info.to_json(), encoding="utf-8")
        return Cohort.open(path)


def reuse(path: Path, key: str) -> Cohort:
    """The cohort at `path` if it was built with `key`, else InputError."""
    cohort = Cohort.open(path)
    if not key or cohort.info.key != key:
        raise InputError(
            f"{path} holds another cohort ({cohort.info.name}, {cohort.info.records} records, built from other data "
            f"or options); choose another folder or delete it first."
        )
    return cohort


class Fingerprint:
    """SHA-256 over rate, leads, scale and label sets, then the signals in order, then the records, column by column.

    The parquet file's bytes are not in it: they differ between versions of the writer for the same table.
    """

    def __init__(
        self, rate: int, leads: Sequence[str], scale: float, label_sets: Mapping[str, Mapping[str, str]]
    ) -> None:
        facts = [int(rate), list(leads), float(scale), label_sets]
        self._hash = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())

    def signals(self, chunk: np.ndarray) -> None:
        """Add (n, L, T) int16, or as many samples in that order."""
        self._hash.update(np.ascontiguousarray(chunk, dtype="<i2"))

    def records(self, table: pa.Table) -> str:
        """Add the table and give the hexadecimal digest of all."""
        return self._columns(table.column_names, lambda name: table.select([name]).to_batches(ROWS // 4))

    def records_in(self, file: Path, records: int) -> str:
        """As :meth:`records` for records.parquet, of which a part of one column at a time is in memory.

        Raises:
            InputError: as `open_table`.
        """
        with open_table(file, records) as table:
            return self._columns(
                table.schema_arrow.names, lambda name: table.iter_batches(ROWS // 4, columns=[name], use_threads=False)
            )

    def _columns(self, names: Sequence[str], parts: Callable[[str], Iterable[pa.RecordBatch]]) -> str:
        """Hash, column by column, json.dumps([name, values]), which is put together of parts of the values."""
        for name in sorted(names):
            self._hash.update(f"[{json.dumps(name)}, [".encode())
            between = ""
            for part in parts(name):
                if values := part.column(0).to_pylist():
                    self._hash.update(between.encode() + json.dumps(values, default=str)[1:-1].encode())
                    between = ", "
            self._hash.update(b"]]")
        return self._hash.hexdigest()


def _write_signals(
    file: Path, chunks: Iterable[np.ndarray], num_leads: int, fingerprint: Fingerprint
) -> tuple[int, int, int]:
    """Stream (n, L, T) int16 chunks into a .npy file and return its shape (N, L, T).

    Written, not mapped: a full disk raises an error on write, but kills the process on a mapped page.
    """
    count, length = 0, None
    with open(file, "wb") as out:
        npy_header(out, (0, 0, 0))
        for chunk in chunks:
            if chunk.dtype != np.int16 or chunk.ndim != 3 or chunk.shape[1] != num_leads:
                raise InputError(f"signals come as int16 (n, {num_leads}, T), not {chunk.dtype} {chunk.shape}.")
            if length not in (None, chunk.shape[2]):
                raise InputError(f"records of {length} and of {chunk.shape[2]} samples do not fit one cohort.")
            length = chunk.shape[2]
            chunk = np.ascontiguousarray(chunk, dtype="<i2")
            out.write(chunk)
            fingerprint.signals(chunk)
            count += len(chunk)
        if not count:
            raise InputError("a cohort needs at least one record, and none was left.")
        shape = (count, num_leads, length)
        npy_header(out, shape)
    return shape


def npy_header(out: BinaryIO, shape: tuple[int, int, int]) -> None:
    """The .npy header (NumPy enhancement proposal 1, version 1.0), always 128 bytes, as N is known only at the end."""
    text = repr({"descr": "<i2", "fortran_order": False, "shape": shape}).encode("latin1")
    out.seek(0)
    out.write(b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11) + b"\n")


def _checked(frame: pd.DataFrame, count: int) -> pa.Table:
    """`typed`, of the right number of rows and each record once."""
    table = typed(frame)
    if len(frame) != count:
        raise InputError(f"{len(frame)} records do not fit {count} signals.")
    if frame["record"].duplicated().any():
        raise InputError(f"the record {frame['record'][frame['record'].duplicated()].iloc[0]!r} occurs twice.")
    return table


def typed(frame: pd.DataFrame) -> pa.Table:
    """A frame of records as an arrow table; the `COLUMNS` have the same types whatever the frame's.

    Raises:
        InputError: a column of `COLUMNS` that is missing or holds other things.
    """
    import pyarrow as pa

    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise InputError(f"the records lack the columns {', '.join(missing)}.")
    frame = frame.reset_index(drop=True)
    kinds = {
        "record": pa.string(),
        "patient": pa.string(),
        "fold": pa.int64(),
        "age": pa.float64(),
        "sex": pa.string(),
        "statements": pa.list_(pa.string()),
    }
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, kind in kinds.items():  # the same types whatever the frame's: the fingerprint must not depend on them
        try:
            column = pa.array(frame[name], kind, from_pandas=True)
        except pa.ArrowException as error:
            raise InputError(f"the records' column {name} needs values of the kind {kind}: {error}.") from None
        table = table.set_column(table.column_names.index(name), name, column)
    return table.replace_schema_metadata(None)


def write_table(parts: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    """Write tables of one schema, one after the other, as a parquet file in row groups of `ROWS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(file, "wb") as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
        # our own handle: its errors are OSErrors with a number
        waiting, rows = [schema.empty_table()], 0
        for part in parts:
            waiting.append(part)
            rows += part.num_rows
            while rows >= ROWS:
                table = pa.concat_tables(waiting)
                writer.write_table(table.slice(0, ROWS), ROWS)
                waiting, rows = [table.slice(ROWS)], rows - ROWS
        if rows:
            writer.write_table(pa.concat_tables(waiting), ROWS)


@contextmanager
def open_table(file: Path, records: int) -> Iterator[pq.ParquetFile]:
    """records.parquet, to be read in parts.

    Raises:
        InputError: it is missing or damaged, lacks one of `COLUMNS` or has not as many rows as `records`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            missing = [name for name in COLUMNS if name not in table.schema_arrow.names]
            if missing or table.metadata.num_rows != records:
                what = (
                    f"lacks {', '.join(missing)}" if missing else f"has {table.metadata.num_rows} rows, not {records}"
                )
                raise InputError(f"{file} {what}; build the cohort again.")
            yield table
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is missing or damaged ({reason}); build the cohort again.") from None
