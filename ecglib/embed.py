"""`python -m ecglib.embed MODEL DATA --to vectors.parquet`: one vector a record; exit status 2 on unusable input.

MODEL is a saved encoder, DATA what `ecglib.datasets.load` takes: "synthetic", or the folder of a cohort, of PTB-XL or
of WFDB records. Records at another rate than the encoder's are resampled to it; leads are matched by name. The table
has the columns record, patient and v0, v1, ... (float32), one row a record in the cohort's order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib import atomic
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ecglib.cohort import Cohort
    from ecglib.methods.encoder import Encoder

_GROUP = 32 << 20  # bytes of vectors that are held before they are written; small groups would make a long footer


def embed(encoder: Encoder, cohort: Cohort, to: str | Path, *, batch_size: int = 256) -> Path:
    """Write the encoder's vector (F,) of every record to the parquet file `to`, computed where the encoder is.

    The file is whole or not there, and one that was there is replaced. Memory is flat in the number of records, their
    names apart.

    Raises:
        InputError: the cohort is at another rate, lacks a lead of the encoder or has records shorter than its window;
            `to` is a folder or cannot be written; a batch size below 1.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    to = Path(to)
    if cohort.rate != encoder.rate:
        raise InputError(
            f"{cohort.info.name} ({cohort.path}) is at {cohort.rate} Hz and the encoder was trained at "
            f"{encoder.rate:g} Hz; load the data with rate={encoder.rate:g} and resample=True."
        )
    if to.is_dir():
        raise InputError(f"{to} is a folder; give the name of the parquet file to write.")
    # Streamed, not resident: the records are passed once.
    batches = cohort.batches(batch_size, leads=encoder.have, device=encoder.picked.device, resident=False)
    names = {name: cohort.column(name) for name in ("record", "patient")}
    columns = [("record", pa.string()), ("patient", pa.string())]
    schema = pa.schema(columns + [(f"v{k}", pa.float32()) for k in range(encoder.feature_dim)])
    vectors = (encoder.embed(batch.signal).float().cpu().numpy() for batch in batches)  # each (B, F)
    with (
        atomic.writing(to) as temporary,
        open(temporary, "wb") as out,  # our own handle: its errors have a number
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        done = 0
        for group in _groups(vectors, rows=max(1, _GROUP // (4 * encoder.feature_dim))):
            own = {name: column.iloc[done : done + len(group)] for name, column in names.items()}
            writer.write_table(_table(own, group, schema))
            done += len(group)
    return to


def _groups(vectors: Iterator[np.ndarray], *, rows: int) -> Iterator[np.ndarray]:
    """(B, F) after (B, F), joined to arrays of at least `rows` rows; the last may have fewer."""
    held: list[np.ndarray] = []
    for part in vectors:
        held.append(part)
        if sum(map(len, held)) >= rows:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _table(names: Mapping[str, pd.Series], vectors: np.ndarray, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    own = [pa.array(column, pa.string(), from_pandas=True) for column in names.values()]
    return pa.Table.from_arrays([*own, *map(pa.array, np.ascontiguousarray(vectors.T))], schema=schema)  # (F, B)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; prints one sentence and no traceback on InputError."""
    options = _parser().parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> Path:
    """Read the encoder and the data, write the vectors and say so in a line."""
    from ecglib import datasets, devices
    from ecglib.methods.encoder import Encoder

    device = devices.usable(options.device)
    encoder = Encoder.load(options.model).to(device)
    rate = int(encoder.rate) if float(encoder.rate).is_integer() else encoder.rate  # a data set's rate is an integer
    cohort = datasets.load(options.data, rate=rate, cache=options.cache, resample=True, progress=False)
    to = embed(encoder, cohort, options.to, batch_size=options.batch)
    print(f"{len(cohort):,} records, {encoder.feature_dim} dimensions: {to}")
    return to


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecglib.embed", description=__doc__.split("\n")[0])
    parser.add_argument("model", metavar="MODEL", help="a saved encoder, the path of its weights or card's stem")
    parser.add_argument("data", metavar="DATA", help="synthetic, or the folder of a cohort, of PTB-XL or WFDB records")
    parser.add_argument("--to", metavar="FILE", required=True, help="the parquet file; one that is there is replaced")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU where there is one (auto)")
    parser.add_argument("--cache", metavar="DIR", default="cache", help="where cohorts are built (cache)")
    parser.add_argument("--batch", type=int, default=256, help="records at a time (256)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
