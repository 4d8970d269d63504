"""The files of Chapman-Shaoxing on figshare: the sheet that lists the records, and a record's CSV.

Source: see :mod:`ecglib.datasets.chapman`, and AttributesDictionary.xlsx of the collection for the units.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets import spreadsheet, wfdb_files
from ecglib.datasets.folds import deal
from ecglib.datasets.quality import Absent
from ecglib.errors import InputError, nearest
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

TABLE, CONDITIONS = "Diagnostics.xlsx", "ConditionNames.xlsx"
MEASURED = {
    "VentricularRate": "ventricular_rate", "AtrialRate": "atrial_rate",  # beats a minute
    "QRSDuration": "qrs_duration", "QTInterval": "qt_interval", "QTCorrected": "qt_corrected",  # ms
    "RAxis": "r_axis", "TAxis": "t_axis",  # degrees
    "QRSCount": "qrs_count",
    "QOnset": "q_onset", "QOffset": "q_offset", "TOffset": "t_offset",  # samples at 500 Hz
}  # fmt: skip
COLUMNS = ("FileName", "Rhythm", "Beat", "PatientAge", "Gender", *MEASURED)
RHYTHMS = {
    "SB": ("sinus bradycardia", "SB"),
    "SR": ("sinus rhythm", "SR"),
    "AFIB": ("atrial fibrillation", "AFIB"),
    "ST": ("sinus tachycardia", "GSVT"),
    "AF": ("atrial flutter", "AFIB"),
    "SA": ("sinus irregularity", "SR"),
    "SI": ("sinus irregularity", "SR"),
    "SVT": ("supraventricular tachycardia", "GSVT"),
    "AT": ("atrial tachycardia", "GSVT"),
    "AVNRT": ("atrioventricular node reentrant tachycardia", "GSVT"),
    "AVRT": ("atrioventricular reentrant tachycardia", "GSVT"),
    "SAAWR": ("sinus atrium to atrial wandering rhythm", "GSVT"),
}
"""{code in Diagnostics.xlsx: (rhythm, the paper's group)}"""
LIMIT = 32 * 2**20  # bytes a CSV may have; the published ones have about 1 MB at most


def read_csv(file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(L, T) float32 mV and the leads' names of a published CSV, with or without a first row of names.

    Raises:
        InputError: a file that is missing, empty, too long, cut within a row, or holds what is no number.
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        size = os.path.getsize(file)
    except OSError:
        size = 0  # reading says what is wrong
    if size > LIMIT:
        raise InputError(f"{file} has {size:,} bytes where a record has about a million; get the file again.")
    content = wfdb_files.read_bytes(file)
    first = content[:4096].partition(b"\n")[0].decode("utf-8-sig", "replace")
    fields = [field.strip().strip('"') for field in first.split(",")]
    named = not any(map(_is_number, fields))
    names = tuple(fields) if named else LEADS
    if len(fields) != len(LEADS):
        raise InputError(f"{file} has {len(fields)} columns where {len(LEADS)} leads are needed; get the file again.")
    places = [str(k) for k in range(len(fields))]
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(
                use_threads=False, column_names=places, skip_rows=int(named), block_size=len(content) + 1
            ),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(places, pa.float64())),
        )
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is cut short or damaged ({reason}); get the file again.") from None
    signal = np.stack([column.to_numpy() for column in table.columns]).astype(np.float32)  # (L, T) uV
    if not signal.shape[1]:
        raise InputError(f"{file} holds no samples; get the file again.")
    return signal * np.float32(1e-3), names


def listed(source: Path, there: set[str], folder: str, absent: Absent) -> tuple[pd.DataFrame, int]:
    """The records to read, in the order of Diagnostics.xlsx, and how many of it are not there and left out.

    Args:
        source: the collection's folder. there: names of the records in its `folder`.

    Raises:
        InputError: no such sheet; a record listed twice, with no name or with a rhythm that is none of `RHYTHMS`; one
            that is not there where `absent` is "refuse"; none that is.
    """
    import pandas as pd

    file = source / TABLE
    sheet = spreadsheet.read(file, COLUMNS)
    names = sheet["FileName"]
    if (twice := names.duplicated()).any():
        raise InputError(f"{file} lists the record {names[twice].iloc[0]!r} twice; get the file again.")
    odd = [name for name in names if not name or os.path.basename(name) != name]
    if odd:
        raise InputError(f"{file} has a record named {odd[0]!r}, which is no file's name; get the file again.")
    unknown = ~sheet["Rhythm"].isin(RHYTHMS)
    if unknown.any():
        name, code = sheet.loc[unknown, ["FileName", "Rhythm"]].iloc[0]
        raise InputError(f"{file} gives {name} the rhythm {code!r}.{nearest(code, RHYTHMS)}")
    missing = ~names.isin(there)
    if missing.any() and absent == "refuse":
        raise InputError(f"{source / folder / names[missing].iloc[0]}.csv is missing; get it, or pass absent='skip'.")
    sheet = sheet[~missing].reset_index(drop=True)
    if sheet.empty:
        raise InputError(f"{source / folder} holds no record that {TABLE} lists; get some of them.")
    numbers = sheet[["PatientAge", *MEASURED]].apply(pd.to_numeric, errors="coerce").astype(float)
    beats = [[code for code in text.split() if code.upper() != "NONE"] for text in sheet["Beat"]]
    frame = pd.DataFrame(
        {
            "patient": sheet["FileName"],
            "fold": [deal(name) for name in sheet["FileName"]],
            "age": numbers["PatientAge"].where(numbers["PatientAge"].between(0, 120)),
            "sex": [{"MALE": "male", "FEMALE": "female"}.get(text.upper()) for text in sheet["Gender"]],
            "statements": [[code, *dict.fromkeys(more)] for code, more in zip(sheet["Rhythm"], beats)],
            "source_record": sheet["FileName"],
            "rhythm": sheet["Rhythm"],
        }
    )
    return pd.concat([frame, numbers[list(MEASURED)].rename(columns=MEASURED)], axis=1), int(missing.sum())


def unnamed(statements: Sequence[Sequence[str]], file: Path) -> list[str]:
    """A note on the conditions that ConditionNames.xlsx does not name; none where that file is not there."""
    if not file.is_file():
        return []
    known = {*RHYTHMS, *spreadsheet.read(file, ("Acronym Name",))["Acronym Name"]}
    odd = sorted({code for codes in statements for code in codes} - known)
    return [f"Conditions that {CONDITIONS} does not name: {', '.join(odd)}."] if odd else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text  # an empty field is a missing sample
    return True
