"""The tables that published collections come with, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_csv(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """All cells of a CSV file as text, empty ones as "", names of columns without spaces around them.

    Raises:
        InputError: it lacks one of `columns` or cannot be read.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # the parser's and the decoder's errors are ValueErrors
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again.") from None
    table.columns = [name.strip() for name in table.columns]
    if missing := [name for name in columns if name not in table.columns]:
        raise InputError(f"{file} has no column {', '.join(missing)}; get the file again.")
    return table
