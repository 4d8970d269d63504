"""The two tables of MIMIC-IV-ECG, of 800,000 rows each, without a Python object for each of their cells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ecglib.datasets.quality import Absent, count
from ecglib.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd

TABLE, MACHINE = "record_list.csv", "machine_measurements.csv"
COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
INTERVALS = (
    "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end",  # ms
    "p_axis", "qrs_axis", "t_axis",  # degrees
)  # fmt: skip
NO_VALUE = 29999
"""What stands in INTERVALS where the machine measured nothing."""


def listed(source: Path, absent: Absent) -> tuple[pd.DataFrame, int]:
    """The records to read, in the order of record_list.csv, and how many of it are not there and left out."""
    import pandas as pd

    one_of("absent", absent, get_args(Absent))
    if not (source / TABLE).is_file() or not (source / MACHINE).is_file():
        what = f"has no {TABLE} or no {MACHINE}" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of MIMIC-IV-ECG that holds both.")
    file = source / TABLE
    table = pd.concat(
        [part[["subject_id", "study_id", "ecg_time", "path"]] for part in _read_csv(file, COLUMNS, 65536)]
    )
    table = table.reset_index(drop=True)
    if (gap := table[["subject_id", "study_id", "path"]].eq("").any(axis=1)).any():
        raise InputError(f"{file} has an empty cell in row {int(gap.to_numpy().argmax()) + 2}; get the file again.")
    if (twice := table["study_id"].duplicated()).any():
        raise InputError(f"{file} lists the study {table['study_id'][twice].iloc[0]} twice; get the file again.")
    table["path"] = table["path"].map(os.path.normpath)
    total = len(table)
    if absent == "skip":
        there = [os.path.isfile(os.path.join(source, f"{path}.hea")) for path in table["path"]]
        table = table[there].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{source} holds no record that {TABLE} lists; get some of files/ as well.")
    return table, total - len(table)


def _read_csv(file: Path, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
    """A table as text, `rows` at a time; InputError when it lacks `columns` or cannot be read."""
    import pandas as pd

    try:
        for part in pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=rows):
            if missing := [name for name in columns if name not in part.columns]:
                raise InputError(f"{file} has no column {', '.join(missing)}; get the file again.")
            yield part
    except InputError:
        raise
    except (ValueError, OSError) as error:  # the parser's and the decoder's errors are ValueErrors
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again.") from None


class Machine:
    """The machine's table for the records in their order, in some 100 bytes a record.

    Args:
        studies: (N,) the records.

    Raises:
        InputError: a table that cannot be read, lacks columns or lists a record twice.
    """

    def __init__(self, studies: pd.Series, file: Path) -> None:
        import pandas as pd

        places = pd.Index(studies)
        self.intervals = np.full((len(studies), len(INTERVALS)), np.nan)
        self._places = np.zeros((len(studies), 2), np.int64)  # start and end in `_lines` of each record's
        self._listed = np.zeros(len(studies), bool)
        codes: dict[str, int] = {}  # of each line that some report has
        said = [np.empty(0, np.int32)]
        at = 0
        for part in _read_csv(file, ("study_id", "report_0", *INTERVALS), 65536):
            rows = places.get_indexer(part["study_id"])
            part, rows = part[rows >= 0], rows[rows >= 0]
            again = self._listed[rows] | pd.Series(rows).duplicated().to_numpy()
            if again.any():
                raise InputError(
                    f"{file} lists the study {part['study_id'].iloc[again.argmax()]} twice; get the file again."
                )
            self._listed[rows] = True
            reports = part[[name for name in part.columns if name.startswith("report_")]].to_numpy(object)  # (n, 18)
            lines = [_lines(cells, codes) for cells in reports]
            ends = at + np.cumsum([len(of_one) for of_one in lines], dtype=np.int64)
            self._places[rows] = np.stack([ends - [len(of_one) for of_one in lines], ends], axis=1)
            said.append(np.array([code for of_one in lines for code in of_one], np.int32))
            at += len(said[-1])
            self.intervals[rows] = part[list(INTERVALS)].apply(pd.to_numeric, errors="coerce").astype(float)
        self._lines, self._names = np.concatenate(said), list(codes)
        unmeasured = self.intervals == NO_VALUE
        self._unmeasured = int(unmeasured.any(axis=1).sum())
        self.intervals[unmeasured] = np.nan

    def statements(self, row: int) -> list[str]:
        """The lines of a record's report, each once."""
        start, end = self._places[row]
        return [self._names[code] for code in self._lines[start:end]]

    def notes(self) -> list[str]:
        notes = []
        if self._unmeasured:
            notes.append(f"{count(self._unmeasured)} with intervals not measured ({NO_VALUE}).")
        if without := int((~self._listed).sum()):
            notes.append(f"{count(without)} without a row in {MACHINE}, so without statements.")
        return notes


def _lines(cells: Sequence[str], codes: dict[str, int]) -> list[int]:
    """The codes of a report's lines, each once; lines that are new get the next one."""
    said = (cell.strip().removesuffix(".").rstrip() for cell in cells)
    return list(dict.fromkeys(codes.setdefault(line, len(codes)) for line in said if line))
