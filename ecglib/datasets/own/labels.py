"""Labels of one's own records: a column of statements, or a column of 0 and 1 for each class."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ecglib.datasets.own.frame import cell
from ecglib.datasets.quality import count
from ecglib.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from ecglib.datasets.own.table import Columns


def labels_of(
    frame: pd.DataFrame, column: str | None, columns: Columns, notes: list[str]
) -> tuple[list[list[str]], dict[str, dict[str, str]]]:
    """Each record's statements, and the label sets."""
    if columns.labels is not None:
        marked = {name: _marks(frame, _present(frame, name)) for name in columns.labels}
        statements = [[name for name, marks in marked.items() if marks[k]] for k in range(len(frame))]
        return statements, {columns.task: {name: name for name in marked}}
    if column is None:
        return [[] for _ in range(len(frame))], {}
    statements = [_statements(value, columns.separator) for value in frame[column]]
    if none := sum(not each for each in statements):
        notes.append(f"{count(none)} without a statement.")
    occur = sorted({statement for each in statements for statement in each})
    if not occur:
        raise InputError(f"has no statement in its column {column}; name another, or none.")
    classes = {statement: statement for statement in occur} if columns.classes is None else dict(columns.classes)
    if not set(classes) & set(occur):
        raise InputError(f"has none of the statements of classes, but {', '.join(occur[:8])}; name those.")
    if other := [statement for statement in occur if statement not in classes]:
        notes.append(f"Statements that count for no class: {', '.join(other[:20])}{', ...' * (len(other) > 20)}.")
    return statements, {columns.task: classes}


def _marks(frame: pd.DataFrame, column: str) -> list[bool]:
    values = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
    marks = []
    for row, value in enumerate(frame[column], 1):
        text = cell(value)
        if text.lower() not in values:
            what = f"{text!r}" if text else "an empty cell"
            raise InputError(f"has {what} in row {row} of the class {column}; give 0 or 1.")
        marks.append(values[text.lower()])
    return marks


def _statements(value: Any, separator: str) -> list[str]:
    """Of "NORM;IMI", a list of texts, or the text of such a list; each once, in order."""
    if not isinstance(value, str) and isinstance(value, Iterable):
        parts = [cell(part) for part in value]
    else:
        text = cell(value)
        parts = text.split(separator)
        if text.startswith("[") and text.endswith("]"):
            try:
                parts = [cell(part) for part in ast.literal_eval(text)]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise InputError(f"has the statements {text[:40]!r}, which are no list; give 'A;B'.") from None
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _present(frame: pd.DataFrame, name: str) -> str:
    if name not in frame.columns:
        raise InputError(f"has no column {name!r}.{nearest(name, frame.columns)}")
    return name
