"""A table in a file (.csv, .tsv, .xlsx, .parquet) as a DataFrame, and its cells as text."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet")
MOST_BYTES = 256 << 20


def open_table(table: str | Path | pd.DataFrame) -> pd.DataFrame:
    """As it stands; text tables are read as text, so that 007 stays 007."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        frame = table.reset_index(drop=True)
    else:
        path = Path(table)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"{path} is no table that is read here; give {', '.join(SUFFIXES)}.")
        if not path.is_file():
            raise InputError(f"{path} is no file; give the table of your records.")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than the {MOST_BYTES:,} bytes of a table that are read; cut it.")
        try:
            frame = {".xlsx": _xlsx, ".parquet": pd.read_parquet}.get(suffix, _csv)(path)
        except InputError:
            raise
        except Exception as error:  # of the parser, the decoder, zip, XML or arrow
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path} cannot be read as a table ({reason}); save it again.") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if len(twice := frame.columns[frame.columns.duplicated()]):
        raise InputError(f"the table has two columns {twice[0]}; rename or remove one.")
    return frame


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    options = {"dtype": str, "keep_default_na": False, "skipinitialspace": True, "index_col": False}
    with open(path, "rb") as file:
        head = file.readline(1 << 16)
    separator = max(b"\t;,", key=head.count)  # of equals the first: a tab is never part of a name
    names = next(csv.reader([head.decode("utf-8-sig", "replace").strip()], delimiter=chr(separator)), [])
    if twice := [name for name, times in Counter(map(str.strip, names)).items() if name and times > 1]:
        raise InputError(f"{path} has two columns {twice[0]}; rename or remove one.")  # pandas would rename the second
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, sep=chr(separator), encoding="utf-8-sig", **options)
        except UnicodeDecodeError:
            return pd.read_csv(path, sep=chr(separator), encoding="latin1", **options)
        except pd.errors.ParserWarning:  # without index_col pandas would silently take the first column for an index
            raise InputError(f"{path} has more cells in its rows than names in its first line; name each.") from None


def _xlsx(path: Path) -> pd.DataFrame:
    import pandas as pd

    with zipfile.ZipFile(path) as archive:  # a small file may unpack to far more than memory holds
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise InputError(f"{path} unpacks to more than {MOST_BYTES:,} bytes; save its sheet as CSV.")
    return pd.read_excel(path, dtype=object)


def cell(value: Any) -> str:
    """One cell as text, "" where it is empty, whole numbers without ".0"."""
    if value is None or value != value:  # NaN and NaT differ from themselves
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return "" if text in ("<NA>", "NaT") else text
