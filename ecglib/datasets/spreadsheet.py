"""A sheet of an .xlsx file as a table of text, read row by row and within bounds.

An .xlsx file is a zip of XML: a small one may unpack to far more than memory holds, and may claim a million rows. So
its members' sizes are added up before any is unpacked (the zip reader gives no more than a member's stated size), and
rows and columns are counted. Formulas are refused, not evaluated: what a cell showed when the file was last saved need
not be what its formula says. Macros, links and pictures are never looked at.
"""

from __future__ import annotations

import datetime
import os
import warnings
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LIMIT = 256 * 2**20
"""Bytes that the file's members may have together when unpacked."""
ROWS, COLUMNS = 200_000, 64


def read(file: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """The first sheet's `columns`, by the names in its first row, every cell as text without spaces around it.

    Whole numbers come as "12", whether they are kept as numbers or as text; empty cells as "". Rows that are empty in
    all `columns` are passed over.

    Raises:
        InputError: no file, no spreadsheet, damaged; a column that is missing or there twice; a formula; more than
            `LIMIT` bytes, `ROWS` rows or `COLUMNS` columns.
    """
    import pandas as pd

    rows = _rows(file)
    names = [_text(value) for value in rows[0]] if rows else []
    if missing := [name for name in columns if name not in names]:
        raise InputError(f"{file} has no column {', '.join(missing)} in its first row; get the file again.")
    if twice := [name for name in columns if names.count(name) > 1]:
        raise InputError(f"{file} has two columns {twice[0]}; get the file again.")
    at = [names.index(name) for name in columns]
    cells = []
    for number, row in enumerate(rows[1:], 2):
        texts = [_text(row[k]) for k in at]
        if formula := next((text for text in texts if text.startswith("=")), None):
            raise InputError(f"{file} has a formula in row {number} ({formula[:40]}); save its values instead.")
        if any(texts):
            cells.append(texts)
    return pd.DataFrame(cells, columns=list(columns), dtype=object)


def _rows(file: str | Path) -> list[tuple[Any, ...]]:
    import openpyxl

    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LIMIT:
            raise InputError(f"{os.fspath(file)} unpacks to {size:,} bytes, more than {LIMIT:,}; get the file again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions, which nothing here uses
            book = openpyxl.load_workbook(file, read_only=True, data_only=False, keep_links=False)
            try:
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # what a file says of its size need not hold
                rows = list(islice(sheet.iter_rows(max_col=COLUMNS + 1, values_only=True), ROWS + 1))
            finally:
                book.close()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file} is missing; get the file again.") from None
    except Exception as error:  # a damaged one raises nearly anything: of zip, XML, or a key that is not there
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{file} is no spreadsheet (.xlsx) or damaged ({reason}); get the file again.") from None
    if len(rows) > ROWS or any(len(row) > COLUMNS and row[COLUMNS] is not None for row in rows):
        raise InputError(f"{file} has more than {ROWS:,} rows or {COLUMNS} columns; get the file again.")
    return rows


def _text(value: Any) -> str:
    """12 for 12, 12.0 and " 12 "."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value).strip()
