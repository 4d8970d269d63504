"""LUDB, the Lobachevsky University database: 200 records with the boundaries of P, QRS and T in each of twelve leads.

Source: Kalyakulina et al., LUDB: a new open-access validation tool for electrocardiogram delineation algorithms, IEEE
Access 8:186181-186190 (2020), doi 10.1109/ACCESS.2020.3029211. Only the middle of each record is annotated, from about
1.3 s to 8.6 s, and some leads lack some waves.

Rules for what the annotation files hold, with how often in the published 200 records
- A wave is "(", a peak (p, N or t) and ")". Onset or offset may be missing: NaN (103 onsets of QRS in 5 records, 4 of
  them paced, where onset and peak seem to have fallen on one sample; 1 offset).
- A peak may lie just before its "(" or just behind its ")" (by `NEAR_S` at most): the three are one wave.
- Marks of one kind that are nested, "((tt))", are several drawings of one wave: their medians count (2 in record 116).
- A wave without a peak has its kind from the wave behind it: what comes before T is QRS, before QRS P, before P T (1 in
  record 8).
- In every published record each lead's gain is its own peak-to-peak in counts, so that each lead spans 1 mV: shapes and
  times hold, amplitudes and the relations among leads do not (in counts, III = II - I holds exactly). The gains stay
  as published, and the cohort says that its voltages are nominal.
Age ">89" becomes 90, to be read as "90 or more". The data set has no folds: ours are the record's number modulo 10,
plus 1.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_info import NOMINAL
from ecglib.cohort_write import reuse, write
from ecglib.datasets import wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.progress import bar, built
from ecglib.datasets.quality import Screen
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2
"""Of this builder; part of the key, so that a change of its rules builds anew."""

TABLE, SUMS = "ludb.csv", "SHA256SUMS.txt"
RATE, LENGTH = 500, 5000  # Hz and samples of the published records
SCALE = 0.001  # mV per count; the published gains differ from lead to lead
NEAR_S = 0.1
TASKS = {
    "Rhythms": "rhythm",
    "Electric axis of the heart": "axis",
    "Conduction abnormalities": "conduction",
    "Extrasystolies": "extrasystole",
    "Hypertrophies": "hypertrophy",
    "Cardiac pacing": "pacing",
    "Ischemia": "ischaemia",
    "Non-specific repolarization abnormalities": "repolarisation",
    "Other states": "other",
}
"""Columns of ludb.csv and the tasks they become."""
ABOUT = About(
    name="ludb",
    title="Lobachevsky University Electrocardiography Database",
    version="1.0.1",
    url="https://physionet.org/content/ludb/1.0.1/",
    licence="Open Data Commons Attribution License (ODC-By) 1.0",
    citation=(
        "Kalyakulina AI, Yusipov II, Moskalenko VA, Nikolskiy AV, Kosonogov KA, Osipov GV, Zolotykh NY, Ivanchenko MV. "
        "LUDB: A New Open-Access Validation Tool for Electrocardiogram Delineation Algorithms. IEEE Access 8, "
        "186181-186190 (2020). https://doi.org/10.1109/ACCESS.2020.3029211"
    ),
    records=200,
    size_gb=0.025,
    rate=RATE,
    leads=12,
    labels="boundaries of P, QRS and T in every lead, drawn by cardiologists; rhythm, axis and diagnoses as text",
    traps=(
        "Each lead's gain makes it span exactly 1 mV: shapes and times hold, amplitudes do not.",
        "Only the middle of a record is annotated, from about 1.3 to 8.6 s.",
        "Some waves lack a boundary, some are drawn twice; what is done with each kind is told and counted.",
    ),
    tried_on="all 200 real records",
)
Verify = Literal["auto"] | bool

_SYMBOLS = {1: "N", 24: "p", 27: "t", 39: "(", 40: ")"}  # annotation codes, WFDB's annot(5)
_SKIP = 59
_WAVES = {"p": "P", "N": "QRS", "t": "T"}
_BEFORE = {"p": "t", "N": "p", "t": "N"}


def build(
    source: str | Path, to: str | Path, *, rate: int = RATE, verify: Verify = "auto", progress: bool = True
) -> Cohort:
    """Read LUDB once and write it as a cohort; where `to` holds that cohort already, open it.

    Every record of ludb.csv stays, so that positions agree with those of `boundaries`. `statements` are the lines of
    all its cells; each column is a task (`TASKS`).

    Args:
        source: the folder with ludb.csv and data/. to: the cohort's folder. rate: Hz; the records are at 500 and are
            resampled where it is another.
        verify: compare every file read with SHA256SUMS.txt; "auto" does where that file is there.

    Raises:
        InputError: no LUDB; a file that is missing, cut short or altered; a rate that 500 Hz cannot be brought to; `to`
            holds something else; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    built_from = key(source, rate=rate)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    table, label_sets, notes = _read_table(source)
    stems = [str(source / "data" / record) for record in table["record"]]
    expected = wfdb_files.Expected(LEADS, RATE, LENGTH, SCALE)
    screen = Screen(table["record"].tolist(), "keep", expected, checksum_error=False)
    chunks = wfdb_files.read(stems, expected, sums=_sums(source, verify))
    notes.append("Folds are ours: the record's number modulo 10, plus 1.")
    notes.append(f"{NOMINAL}: each lead's header gives it the gain at which it spans 1 mV, whatever the others span.")
    if rate != RATE:
        notes.append(f"Resampled from {RATE} to {rate} Hz.")
    cohort = write(
        to,
        _resampled(screen(bar(chunks, len(stems), "LUDB", progress)), rate),
        lambda: (table, screen.notes()),
        name="ludb",
        rate=rate,
        leads=LEADS,
        scale=SCALE,
        key=built_from,
        source="LUDB, https://physionet.org/content/ludb/",
        citation=ABOUT.citation,
        licence=ABOUT.licence,
        notes=notes,
        label_sets=label_sets,
    )
    built(cohort, progress)
    return cohort


def key(source: str | Path, *, rate: int = RATE) -> str:
    """What `build` would be building: another key when the table, the files there or the options change."""
    source = Path(source).absolute()
    _need(source)
    digest = hashlib.sha256(json.dumps([VERSION, str(source), rate]).encode())
    digest.update((source / TABLE).read_bytes())
    with os.scandir(source / "data") as entries:
        files = sorted(f"{file.name} {file.stat().st_size}" for file in entries)
    digest.update("\n".join(files).encode())
    return f"ludb {digest.hexdigest()}"


def boundaries(source: str | Path, *, verify: Verify = "auto") -> pd.DataFrame:
    """The annotated waves, one a row, in the order of ludb.csv, then of the canonical leads, then in time.

    Columns: record, lead (canonical), wave ("P", "QRS", "T"), onset_s, peak_s, offset_s (seconds from the record's
    beginning, NaN where a boundary is missing).

    Raises:
        InputError: no LUDB; an annotation file that is missing or damaged.
    """
    import pandas as pd

    source = Path(source).absolute()
    _need(source)
    sums = _sums(source, verify)
    rows = []
    for record in _read_table(source)[0]["record"]:
        for lead in LEADS:
            file = str(source / "data" / f"{record}.{lead.lower()}")
            content = wfdb_files.read_bytes(file)
            wfdb_files.check_sum(file, content, sums)
            rows += [(record, lead, *wave) for wave in _waves(read_marks(file, content), file)]
    table = pd.DataFrame(rows, columns=["record", "lead", "wave", "onset_s", "peak_s", "offset_s"])
    table[["onset_s", "peak_s", "offset_s"]] /= RATE
    return table


def read_marks(file: str, content: bytes) -> list[tuple[int, str]]:
    """(sample, symbol) of a WFDB annotation file in MIT format; `file` is its name for errors.

    Read here because wfdb takes 11 s over LUDB's 2,400 files, mostly for what these files do not hold.
    """
    damaged = InputError(f"{file} is no annotation file of LUDB, or damaged; get it again.")
    if len(content) % 2:
        raise damaged
    words = iter(np.frombuffer(content, "<u2").tolist())
    marks, at = [], 0
    for word in words:
        code, step = word >> 10, word & 1023
        if word == 0:
            if next(words, None) is not None:
                break
            return marks
        if code == _SKIP:
            at += (next(words, 0) << 16) + next(words, 0)  # the high half stands first
            continue
        at += step
        if code not in _SYMBOLS or at >= LENGTH:
            break
        marks.append((at, _SYMBOLS[code]))
    raise damaged  # an unknown mark, one behind the record's end, or no end mark


def _waves(marks: list[tuple[int, str]], file: str) -> Iterator[tuple[str, float, float, float]]:
    """(wave, onset, peak, offset) in samples of one lead, by the rules above."""
    groups: list[dict[str, list[int]]] = []
    for at, symbol in marks:
        if not groups or not _belongs(at, symbol, groups[-1]):
            groups.append({})
        groups[-1].setdefault(symbol, []).append(at)
    kinds = [next((kind for kind in _WAVES if kind in group), "") for group in groups]
    for k, group in enumerate(groups):
        kind = kinds[k] or (
            _BEFORE.get(kinds[k + 1], "") if k + 1 < len(kinds) and "(" in group and ")" in group else ""
        )
        if not kind:
            at = min(min(times) for times in group.values())
            raise InputError(f"{file} has a boundary that belongs to no wave, at sample {at}; get the file again.")
        onset, peak, offset = (float(median(group.get(mark, [np.nan]))) for mark in ("(", kind, ")"))
        yield _WAVES[kind], onset, peak, offset


def _belongs(at: int, symbol: str, group: dict[str, list[int]]) -> bool:
    """Whether a mark is part of the wave of which `group` are the earlier marks."""
    near = at - max(times[-1] for times in group.values()) <= NEAR_S * RATE
    kind = next((kind for kind in _WAVES if kind in group), None)
    if symbol == ")":
        return ")" not in group or len(group[")"]) < len(group.get("(", ()))
    if symbol == "(":  # nested, or just behind a peak that has no onset yet
        return near and ")" not in group and (kind is None or "(" not in group)
    if ")" in group:  # a peak just behind its offset
        return near and kind is None
    return kind is None or (near and kind == symbol)


def _resampled(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """(n, L, T) int16 chunks at `RATE` to (n, L, T') int16 at `rate`."""
    from ecglib.resampling import resample

    top = np.iinfo(np.int16).max
    for counts in chunks:
        if rate != RATE:
            moved = resample(counts.astype(np.float32), rate=RATE, to_rate=rate)  # (n, L, T) -> (n, L, T')
            counts = np.clip(np.rint(moved), -top, top).astype(np.int16)
        yield counts


def _need(source: Path) -> None:
    if not (source / TABLE).is_file() or not (source / "data").is_dir():
        what = f"has no {TABLE} or no data/" if source.is_dir() else "is no folder"
        raise InputError(f"{source} {what}; give the folder of LUDB that holds both.")


def _sums(source: Path, verify: Verify) -> dict[str, str] | None:
    """{file: SHA-256}; None when nothing is to be verified."""
    file = source / SUMS
    if verify is True and not file.is_file():
        raise InputError(f"{source} has no {SUMS} to verify against; get it or pass verify='auto'.")
    if verify is False or not file.is_file():
        return None
    lines = (line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines())
    found = {os.path.join(source, name.lstrip("*")): digest.lower() for digest, name in lines}
    wfdb_files.check_sum(str(source / TABLE), (source / TABLE).read_bytes(), found)
    return found


def _read_table(source: Path) -> tuple[pd.DataFrame, dict[str, dict[str, str]], list[str]]:
    """A cohort's records, its label sets and notes. Cells of ludb.csv hold line ends: "51\\n", a statement a line."""
    import pandas as pd

    file = source / TABLE
    try:
        raw = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # the parser's and the decoder's errors are ValueErrors
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again.") from None
    if missing := [name for name in ("ID", "Sex", "Age", *TASKS) if name not in raw.columns]:
        raise InputError(f"{file} has no column {', '.join(missing)}, so it is no LUDB table; get it again.")
    raw = raw.apply(lambda column: column.str.strip())
    ages = raw["Age"].str.lstrip(">")
    for column, wrong in (
        ("ID", ~raw["ID"].str.fullmatch(r"\d+") | raw["ID"].duplicated()),
        ("Sex", ~raw["Sex"].isin(["M", "F", ""])),
        ("Age", ~(ages.str.fullmatch(r"\d+") | (raw["Age"] == ""))),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(f"{file} has the {column} {raw[column][row]!r} in record {row + 1}; get the file again.")
    over = raw["Age"].str.startswith(">")
    lines = {task: raw[column].str.split("\n") for column, task in TASKS.items()}
    cells = {task: [[line.strip() for line in cell if line.strip()] for cell in part] for task, part in lines.items()}
    table = pd.DataFrame(
        {
            "record": raw["ID"],
            "patient": raw["ID"],
            "fold": raw["ID"].astype(int) % 10 + 1,
            "age": pd.to_numeric(ages).astype(float) + over,
            "sex": raw["Sex"].map({"M": "male", "F": "female"}),
            "statements": [list(chain(*row)) for row in zip(*cells.values())],
        }
    )
    sets = {
        task: {line: line for line in sorted({line for cell in part for line in cell})} for task, part in cells.items()
    }
    notes = [f"{over.sum()} of age over 89, entered as 90."] if over.any() else []
    return table, {task: codes for task, codes in sets.items() if codes}, notes
