"""PTB-XL in its published layout, versions 1.0.1 to 1.0.3 and partial copies of them.

Source: Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, Scientific Data 7:154 (2020),
doi 10.1038/s41597-020-0495-6; PhysioNet, doi 10.13026/kfzx-aw45. Protocol of the tasks: Strodthoff et al., IEEE JBHI
25(5) (2021): a record's labels are all its statements of a kind, whatever their likelihood (form and rhythm statements
carry likelihood 0, "unknown"); folds 1-8 train, 9 validation, 10 test.

Rules. A record whose .hea and .dat are both absent is left out and counted: the copy is partial. One without the other
is an error. Age 300 is PTB-XL's mark for "over 89": it becomes 90, to be read as "90 or more". Sex 0 is male, 1 is
female. A statement that scp_statements.csv does not define is an error. The classes of a task are all that
scp_statements.csv defines, also where no record here has one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecglib.cohort import Cohort, patients_in_several
from ecglib.cohort_write import reuse, write
from ecglib.datasets import wfdb_files
from ecglib.datasets.about import About
from ecglib.datasets.progress import bar, built
from ecglib.datasets.ptb_xl.counts import PUBLISHED, check_counts
from ecglib.datasets.ptb_xl.table import CODES, FILENAME, TABLE, label_sets, read_codes, read_table
from ecglib.datasets.quality import Bad, Screen, count
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2
"""Of this builder; part of the key, so that a change of its rules builds anew."""

SUMS = "SHA256SUMS.txt"
SECONDS = 10
OVER_89 = 300  # years, PTB-XL's mark
SCALE = 0.001  # mV per count in the published files, kept as it is
ABOUT = About(
    name="ptb-xl",
    title="PTB-XL, a large publicly available electrocardiography dataset",
    version="1.0.3",
    url="https://physionet.org/content/ptb-xl/",
    licence="Creative Commons Attribution 4.0 International (CC BY 4.0)",
    citation=(
        "Wagner P, Strodthoff N, Bousseljot R-D, Kreiseler D, Lunze FI, Samek W, Schaeffter T. PTB-XL, a large "
        "publicly available electrocardiography dataset. Scientific Data 7, 154 (2020). "
        "https://doi.org/10.1038/s41597-020-0495-6"
    ),
    records=21799,
    size_gb=3.2,
    rate="500, and reduced to 100",
    leads=12,
    labels="71 statements (SCP-ECG) by up to two cardiologists: 5 superclasses, 23 subclasses, form, rhythm",
    traps=(
        "Form and rhythm statements carry likelihood 0, which means unknown: a threshold would lose them all.",
        "Age 300 stands for over 89 and becomes 90.",
        "Folds 9 and 10 are the ones that a human looked at: 9 validates, 10 tests.",
    ),
    tried_on="2,273 real records at 100 Hz and 488 at 500 Hz",
)


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    verify: Literal["auto"] | bool = "auto",
    progress: bool = True,
) -> Cohort:
    """Read PTB-XL once and write it as a cohort; where `to` holds that cohort already, open it.

    Args:
        source: the folder with ptbxl_database.csv. to: the cohort's folder. rate: 100 or 500 Hz.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        verify: compare every file read with SHA256SUMS.txt; "auto" does where that file is there.

    Raises:
        InputError: no PTB-XL; a file that is missing, cut short, altered or not what the layout says; `to` holds
            something else; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    files = _Files(source, rate, verify)
    if (to / "cohort.json").exists():
        return reuse(to, files.key(bad))
    codes = read_codes(source / CODES)
    table = read_table(source / TABLE, rate, codes)
    sets = label_sets(codes)
    rows = len(table)
    table, notes = _present(table, files)
    if not notes and rows in PUBLISHED:
        check_counts(table["statements"], table["fold"], sets, PUBLISHED[rows])
    notes += _read_ages(table) + _leaks(table)
    stems = [f"{source}{os.sep}{file}" for file in table["file"]]
    sums = files.sums()
    expected = wfdb_files.Expected(LEADS, rate, SECONDS * rate, SCALE)
    screen = Screen(table["file"].tolist(), bad, expected, checksum_error=sums is None)

    def records() -> tuple[pd.DataFrame, list[str]]:
        return table[screen.kept].reset_index(drop=True), screen.notes()

    signals = screen(bar(wfdb_files.read(stems, expected, sums=sums), len(stems), "PTB-XL", progress))
    cohort = write(
        to,
        signals,
        records,
        name=ABOUT.name,
        rate=rate,
        leads=LEADS,
        scale=SCALE,
        key=files.key(bad),
        source="PTB-XL, https://physionet.org/content/ptb-xl/",
        source_version=_version(rows, source),
        citation=ABOUT.citation,
        licence=ABOUT.licence,
        notes=notes,
        label_sets=sets,
    )
    built(cohort, progress)
    return cohort


def key(source: str | Path, *, rate: int, bad: Bad = "drop", verify: Literal["auto"] | bool = "auto") -> str:
    """What `build` would be building: another key when the tables, the files there or the options change."""
    return _Files(Path(source).absolute(), rate, verify).key(bad)


class _Files:
    """Which files of the layout are there, found by listing folders rather than asking for each file."""

    def __init__(self, source: Path, rate: int, verify: Literal["auto"] | bool) -> None:
        if rate not in FILENAME:
            raise InputError(f"rate is {rate}; PTB-XL has {' and '.join(map(str, FILENAME))} Hz.")
        for name in (TABLE, CODES):
            if not (source / name).is_file():
                what = f"has no {name}" if source.is_dir() else "is no folder"
                raise InputError(f"{source} {what}; give the folder of PTB-XL that holds {TABLE} and {CODES}.")
        if verify is True and not (source / SUMS).is_file():
            raise InputError(f"{source} has no {SUMS} to verify against; get it or pass verify='auto'.")
        self.source, self.rate = source, rate
        self.verify = verify is not False and (source / SUMS).is_file()
        self.names = set()  # of files, relative to `source`
        for folder, _, names in os.walk(source / f"records{rate}"):
            prefix = os.path.relpath(folder, source) + os.sep
            self.names.update(prefix + name for name in names)

    def key(self, bad: str) -> str:
        """What a cohort is built from, short of reading every record: tables, file names, options, builder."""
        digest = hashlib.sha256(json.dumps([VERSION, str(self.source), self.rate, bad, self.verify]).encode())
        for name in (TABLE, CODES):
            digest.update((self.source / name).read_bytes())
        digest.update("\n".join(sorted(self.names)).encode())
        return f"ptb-xl {digest.hexdigest()}"

    def sums(self) -> dict[str, str] | None:
        """{file: SHA-256} once the two tables have been compared; None when nothing is to be verified."""
        if not self.verify:
            return None
        file = self.source / SUMS
        found = {}
        for line in file.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition(" ")
            found[os.path.join(self.source, name.lstrip(" *"))] = digest.lower()
        for name in (TABLE, CODES):
            wfdb_files.check_sum(str(self.source / name), (self.source / name).read_bytes(), found)
        return found


def _present(table: pd.DataFrame, files: _Files) -> tuple[pd.DataFrame, list[str]]:
    """The rows whose files are there, and a note of how many are not."""
    header = np.array([f"{file}.hea" in files.names for file in table["file"]])
    signal = np.array([f"{file}.dat" in files.names for file in table["file"]])
    if (header != signal).any():
        row = int((header != signal).argmax())
        has, lacks = (".hea", ".dat") if header[row] else (".dat", ".hea")
        file = files.source / table["file"].iloc[row]
        raise InputError(f"{file}{lacks} is missing, though its {has} is there; get the record again.")
    if not header.any():
        raise InputError(
            f"{files.source} holds no record at {files.rate} Hz of the {len(table):,} in {TABLE}; get "
            f"records{files.rate} or choose the other rate."
        )
    absent = int((~header).sum())
    notes = [f"{absent:,} of the {len(table):,} records in {TABLE} left out: a partial copy."] if absent else []
    return table[header].reset_index(drop=True), notes


def _read_ages(table: pd.DataFrame) -> list[str]:
    """Put 90 for PTB-XL's mark in place, with a note of how many."""
    over = table["age"] == OVER_89
    table["age"] = table["age"].mask(over, 90.0)
    return [f"{count(int(over.sum()))} of age over 89, entered as 90."] if over.any() else []


def _leaks(table: pd.DataFrame) -> list[str]:
    leaks = len(patients_in_several(table, "fold"))
    return [f"{leaks:,} patients have records in more than one fold."] if leaks else []


def _version(rows: int, source: Path) -> str:
    known = PUBLISHED.get(rows)
    return known["version"] if known else f"a table of {rows:,} rows, not a whole published version"
