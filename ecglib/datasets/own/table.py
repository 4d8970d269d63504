"""A table of one's own records: which file, whose, in which fold, with which labels; checked before a file is read.

Columns are found by name (`SYNONYMS`) unless they are named. Labels stand either in one column of statements ("NORM",
"NORM;IMI", "['NORM', 'IMI']") or in one column of 0 and 1 for each class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib.datasets.folds import deal
from ecglib.datasets.own.frame import cell, open_table
from ecglib.datasets.own.labels import labels_of
from ecglib.datasets.quality import count
from ecglib.datasets.records.channels import sex_of
from ecglib.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

SYNONYMS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "file_path", "record", "record_name", "recording"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "pid"),
    "age": ("age", "age_years"),
    "sex": ("sex", "gender"),
    "fold": ("fold", "strat_fold", "split", "set"),
    "statements": ("statements", "labels", "label", "diagnosis", "diagnoses"),
}
"""Names under which a column is found, small or large letters alike."""
_SPLITS = dict.fromkeys(("train", "training"), "train") | dict.fromkeys(("test", "testing"), 10)
_SPLITS |= dict.fromkeys(("valid", "val", "validation", "dev"), 9)


@dataclass(frozen=True)
class Columns:
    """Which column says what, and how labels are read.

    Raises:
        InputError: labels in two ways, or an empty separator or task.
    """

    file: str | None = None
    patient: str | None = None
    age: str | None = None
    sex: str | None = None
    fold: str | None = None
    """Whole numbers, or train, valid and test: then test is fold 10, valid is fold 9, and the patients of train are
    dealt to folds 1 to 8."""
    statements: str | None = None
    """The one column of statements."""
    labels: Sequence[str] | None = None
    """Or the columns of 0 and 1, each named after its class."""
    separator: str = ";"
    """Between several statements of a cell."""
    classes: Mapping[str, str] | None = None
    """{statement: class}; statements that are not in it stay in the records and count for no class. None: each
    statement is a class."""
    task: str = "labels"
    """What the label set is called: the notebooks' parameter `task`."""
    keep: Sequence[str] = ()
    """Further columns that the cohort shall have."""

    def __post_init__(self) -> None:
        for name in ("labels", "keep"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InputError(f"{name} is {value!r}; give a list of columns such as [{value!r}].")
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.labels is not None and (self.statements is not None or self.classes is not None or not self.labels):
            raise InputError("labels come from columns of 0 and 1 (labels) or from one of statements; give one kind.")
        if not self.separator or not self.task:
            raise InputError("separator and task may not be empty; give ';' and a name.")


def columns_of(options: Mapping[str, Any]) -> Columns:
    """`Columns` from keyword arguments; InputError for one that there is not."""
    names = [each.name for each in fields(Columns)]
    if unknown := [name for name in options if name not in names]:
        raise InputError(f"{unknown[0]} is no option here.{nearest(unknown[0], names)}")
    return Columns(**options)


@dataclass
class Table:
    """What a table says, record by record."""

    rows: pd.DataFrame
    """file, patient (or None), fold (or None), age, sex, statements (lists), and what was to be kept."""
    label_sets: dict[str, dict[str, str]]
    notes: list[str] = field(default_factory=list)
    has: frozenset[str] = frozenset()
    """Which of patient, fold, age and sex it has."""


def read(table: str | Path | pd.DataFrame, columns: Columns, *, files: bool = True) -> Table:
    """Read and check a table; without `files` it needs no column of files.

    Raises:
        InputError: no such table or column; an empty file, patient or label; a fold, age, sex or label that is none; a
            patient in two folds.
    """
    name = "the table" if not isinstance(table, str | Path) else str(table)
    frame = open_table(table)
    if frame.empty:
        raise InputError(f"{name} has no rows; give one a record.")
    try:
        return _checked(frame, columns, files)
    except InputError as error:
        raise InputError(f"{name} {error}") from None


def _checked(frame: pd.DataFrame, columns: Columns, files: bool) -> Table:
    import pandas as pd

    found = {what: _find(frame, what, getattr(columns, what)) for what in SYNONYMS}
    if columns.labels is not None:
        found["statements"] = None
    if files and found["file"] is None:
        raise InputError(f"has no column of files{_have(frame)}; name it, such as file='filename'.")
    if found["file"] == found["statements"] and found["file"] is not None:
        raise InputError(f"gives the column {found['file']} both as files and as statements; name the right ones.")
    notes = _said(found, columns)
    rows = pd.DataFrame(index=range(len(frame)))
    rows["file"] = _texts(frame, found["file"], "file") if found["file"] is not None else ""
    rows["patient"] = _texts(frame, found["patient"], "patient") if found["patient"] is not None else None
    owners = rows["patient"] if found["patient"] is not None else rows["file"]
    rows["fold"] = pd.array(_folds(frame, found["fold"], owners, notes), "Int64")
    rows["age"] = _ages(frame, found["age"], notes)
    rows["sex"] = _sexes(frame, found["sex"])
    rows["statements"], label_sets = labels_of(frame, found["statements"], columns, notes)
    for column in columns.keep:
        if column in rows.columns or column in ("record", "source_record"):
            raise InputError(f"is asked to keep the column {column}, which a cohort has already; rename it.")
        rows[column] = frame[_find(frame, column, column)].to_numpy()
    if found["patient"] is not None and found["fold"] is not None:
        each = rows.dropna(subset="fold").groupby("patient")["fold"].unique()
        if len(twice := each[each.map(len) > 1]):
            folds = " and ".join(str(int(fold)) for fold in sorted(twice.iloc[0]))
            more = f" (and {len(twice) - 1:,} more)" if len(twice) > 1 else ""
            raise InputError(
                f"has patient {twice.index[0]}{more} in folds {folds}: test data would leak into training; keep each "
                f"patient in one fold."
            )
    has = frozenset(what for what in ("patient", "fold", "age", "sex") if found[what] is not None)
    return Table(rows, label_sets, notes, has)


def _find(frame: pd.DataFrame, what: str, name: str | None) -> str | None:
    """The column for `what`: the one named, else one with a usual name, else None."""
    if name is not None:
        if name not in frame.columns:
            raise InputError(f"has no column {name!r}.{nearest(name, frame.columns)}")
        return name
    usual = [column for column in frame.columns if column.lower() in SYNONYMS[what]]
    return min(usual, key=lambda column: SYNONYMS[what].index(column.lower())) if usual else None


def _have(frame: pd.DataFrame) -> str:
    shown = ", ".join(frame.columns[:12])
    return f" among {shown}{', ...' if len(frame.columns) > 12 else ''}"


def _said(found: Mapping[str, str | None], columns: Columns) -> list[str]:
    """Which column was taken for what, where its name says something else."""
    taken = [f"{column} for {what}" for what, column in found.items() if column is not None and column != what]
    notes = [f"Columns of the table: {', '.join(taken)}."] if taken else []
    if found["statements"] is None and columns.labels is None:
        notes.append("The table has no labels.")
    return notes


def _texts(frame: pd.DataFrame, column: str, what: str) -> list[str]:
    """A column as text, whole numbers without ".0"; InputError for an empty cell."""
    texts = [cell(value) for value in frame[column]]
    if "" in texts:
        raise InputError(f"has no {what} in row {texts.index('') + 1} (column {column}); fill it in or remove the row.")
    return texts


def _folds(frame: pd.DataFrame, column: str | None, owners: Iterable[str], notes: list[str]) -> list[int | None]:
    if column is None:
        return [None] * len(frame)
    texts = [cell(value) for value in frame[column]]
    splits = [_SPLITS.get(text.lower()) for text in texts]
    if any(splits):
        for row, (text, split) in enumerate(zip(texts, splits), 1):
            if text and split is None:
                raise InputError(f"has {text!r} in row {row} (column {column}); give train, valid or test throughout.")
        notes.append("Of the table's split, test is fold 10, valid is 9, and train is dealt to 1 to 8 by patient.")
        folds = [deal(owner, 8) if split == "train" else split for owner, split in zip(owners, splits)]
    else:
        folds = []
        for row, text in enumerate(texts, 1):
            if text and not text.removeprefix("-").isdecimal():
                raise InputError(f"has the fold {text!r} in row {row} (column {column}); give whole numbers.")
            folds.append(int(text) if text else None)
    if none := folds.count(None):
        notes.append(f"{count(none)} in no fold.")
    return folds


def _ages(frame: pd.DataFrame, column: str | None, notes: list[str]) -> list[float]:
    if column is None:
        return [float("nan")] * len(frame)
    ages = []
    for row, value in enumerate(frame[column], 1):
        text = cell(value)
        try:
            ages.append(float(text.replace(",", ".")) if text else float("nan"))
        except ValueError:
            raise InputError(f"has the age {text!r} in row {row} (column {column}); give years as a number.") from None
    if beyond := sum(age == age and not 0 <= age <= 120 for age in ages):
        notes.append(f"{count(beyond)} with an age beyond 0 to 120 years, which was left out.")
    return [age if 0 <= age <= 120 else float("nan") for age in ages]


def _sexes(frame: pd.DataFrame, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * len(frame)
    sexes = []
    for row, value in enumerate(frame[column], 1):
        text = cell(value)
        if text and sex_of(text) is None and text.lower() not in ("unknown", "other", "u", "o", "nan"):
            raise InputError(f"has the sex {text!r} in row {row} (column {column}); give male or female, or nothing.")
        sexes.append(sex_of(text))
    return sexes
