"""PTB-XL's two tables, ptbxl_database.csv and scp_statements.csv, read into a cohort's records and label sets."""

from __future__ import annotations

import ast
import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TABLE, CODES = "ptbxl_database.csv", "scp_statements.csv"
FILENAME = {100: "filename_lr", 500: "filename_hr"}
NEEDED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")


def read_codes(file: Path) -> pd.DataFrame:
    """scp_statements.csv, indexed by statement code. Raises InputError when columns are missing."""
    codes = _read_csv(file, index_col=0)
    _need(codes, ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"), file)
    codes.index = codes.index.astype(str)
    half = codes.index[(codes["diagnostic"] == 1) & codes["diagnostic_class"].isna()]
    if len(half):
        raise InputError(f"{file} calls {half[0]} diagnostic and gives it no diagnostic_class; get the file again.")
    return codes


def label_sets(codes: pd.DataFrame) -> dict[str, dict[str, str]]:
    """{task: {code: class}} for all, diagnostic, superclass, subclass, form, rhythm from the statements' table."""
    diagnostic = codes[codes["diagnostic"] == 1]
    own = {kind: codes.index[codes[kind] == 1] for kind in ("diagnostic", "form", "rhythm")}
    sub = diagnostic["diagnostic_subclass"].dropna()
    return {
        "all": {code: code for code in codes.index},
        "diagnostic": {code: code for code in own["diagnostic"]},
        "superclass": diagnostic["diagnostic_class"].to_dict(),
        "subclass": sub.to_dict(),
        "form": {code: code for code in own["form"]},
        "rhythm": {code: code for code in own["rhythm"]},
    }


def read_table(file: Path, rate: int, codes: pd.DataFrame) -> pd.DataFrame:
    """ptbxl_database.csv as a cohort's records, one row for each of its rows, with `file`, the path without suffix.

    Raises:
        InputError: missing columns, no files of that rate, a cell that cannot be, an unknown statement.
    """
    import pandas as pd

    raw = _read_csv(file, low_memory=False)
    _need(raw, NEEDED, file)
    if FILENAME[rate] not in raw.columns:
        raise InputError(f"{file} has no column {FILENAME[rate]}, so no records at {rate} Hz; choose the other rate.")
    ecg_id = _numbers(raw, "ecg_id", file, whole=True)
    if ecg_id.duplicated().any():
        raise InputError(f"{file} lists ecg_id {ecg_id[ecg_id.duplicated()].iloc[0]:.0f} twice; get the file again.")
    _refuse(raw, FILENAME[rate], raw[FILENAME[rate]].isna(), file)
    parsed = [_statements(cell, ecg, file) for cell, ecg in zip(raw["scp_codes"], ecg_id)]
    unknown = {code for names, _ in parsed for code in names} - set(codes.index)
    if unknown:
        raise InputError(
            f"{file} has the statement {min(unknown)!r}, which {CODES} does not define; the two files "
            f"are of different versions, get both again."
        )
    sex = _numbers(raw, "sex", file).map({0: "male", 1: "female"})
    _refuse(raw, "sex", sex.isna() & raw["sex"].notna(), file)
    table = pd.DataFrame(
        {
            "record": ecg_id.astype(int).astype(str),
            "patient": _numbers(raw, "patient_id", file, whole=True).astype(int).astype(str),
            "fold": _numbers(raw, "strat_fold", file, whole=True).astype("Int64"),
            "age": _numbers(raw, "age", file),
            "sex": sex,
            "statements": [list(names) for names, _ in parsed],
            "likelihoods": [list(values) for _, values in parsed],
            "file": raw[FILENAME[rate]].map(os.path.normpath),
        }
    )
    rest = raw.drop(columns=[*NEEDED, *(set(FILENAME.values()) & set(raw.columns))])
    return pd.concat([table, rest], axis=1)


def _numbers(raw: pd.DataFrame, column: str, file: Path, *, whole: bool = False) -> pd.Series:
    """A column as float64; gaps are NaN, and an error where `whole` numbers are asked for."""
    import pandas as pd

    values = pd.to_numeric(raw[column], errors="coerce").astype(float)
    _refuse(raw, column, values % 1 != 0 if whole else values.isna() & raw[column].notna(), file)
    return values


def _refuse(raw: pd.DataFrame, column: str, bad: pd.Series, file: Path) -> None:
    """InputError naming the first cell of `column` where `bad`, by its line in the file (the header is line 1)."""
    if bad.any():
        row = int(bad.to_numpy().argmax())
        cell = raw[column].iloc[row]
        what = f"no {column}" if cell != cell else f"the {column} {str(cell)!r}"
        raise InputError(f"{file} has {what} in row {row + 2}; get the file again.")


@cache
def _literal(cell: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    try:
        found = json.loads(cell.replace("'", '"'))  # 20 times faster, and nearly every cell is both
    except json.JSONDecodeError:
        found = ast.literal_eval(cell)
    return tuple(str(code) for code in found), tuple(float(value) for value in found.values())


def _statements(cell: object, ecg_id: float, file: Path) -> tuple[tuple[str, ...], tuple[float, ...]]:
    try:
        return _literal(cell)
    except (ValueError, SyntaxError, AttributeError, TypeError):
        raise InputError(
            f"{file} has scp_codes {cell!r} for ecg_id {ecg_id:.0f}, which is no dictionary of "
            f"statements; get the file again."
        ) from None


def _read_csv(file: Path, **options: object) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(file, **options)
    except (ValueError, OSError) as error:  # the parser's and the decoder's errors are ValueErrors
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again.") from None


def _need(table: pd.DataFrame, columns: tuple[str, ...], file: Path) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{file} has no column {', '.join(missing)}, so it is no PTB-XL table; get it again.")
