"""Any folder of WFDB records as a cohort without labels: one's own records, the 2011 challenge, parts of others.

The records are those that a RECORDS file lists, else every header below the folder. All must have the same leads, rate
and length. Age and sex are read from the header's comments where they stand there ("# Age: 56", "#<sex>: F"); every
record counts as a patient of its own, as nothing says otherwise, and there are no folds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse, write
from ecglib.datasets import wfdb_files
from ecglib.datasets.progress import bar, built
from ecglib.datasets.quality import Bad, Screen
from ecglib.errors import InputError, one_of
from ecglib.leads import LEADS, canonical, derive_limb, indices

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2
Limb = Literal["recorded", "derived"]
SCALE = 0.001  # mV per count where the files' own cannot be kept
_AGE = re.compile(r"^#\s*<?age>?\s*:\s*(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)
_SEX = re.compile(r"^#\s*<?(?:sex|gender)>?\s*:\s*([mf])", re.IGNORECASE | re.MULTILINE)


def holds_records(source: Path) -> bool:
    """Whether `source` is a folder with a RECORDS file or a header somewhere below."""
    return (source / "RECORDS").is_file() or any(True for _ in source.rglob("*.hea"))


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    bad: Bad = "drop",
    leads: Sequence[str] | None = None,
    limb: Limb = "recorded",
    progress: bool = True,
) -> Cohort:
    """Read a folder of WFDB records once and write it as a cohort; where `to` holds that cohort already, open it.

    Args:
        source: the folder. to: the cohort's folder. rate: the records' rate, Hz; nothing is resampled.
        bad: what to do with records that have missing samples or a flat lead; see :class:`Screen`.
        leads: which leads to keep, in this order; None for those of the twelve that the first record has, in the
            canonical order. Records may hold them in any order, and others beside.
        limb: "derived" replaces III, aVR, aVL and aVF by what I and II make them, for sets whose notes say that they
            disagree (in the 2011 challenge aVL and aVF are exchanged); "recorded" leaves them.

    Raises:
        InputError: no record there; one that is missing, cut short, or of another rate, length, unit or lead count;
            a full disk. A checksum that disagrees with the header is counted, not refused: many sets carry some.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    one_of("limb", limb, get_args(Limb))
    stems = find(source)
    built_from = _key(source, stems, rate, bad, leads, limb)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    expected = _expected(f"{stems[0]}.hea", rate, leads)
    names = [os.path.relpath(stem, source) for stem in stems]
    screen = Screen(names, bad, expected, checksum_error=False)

    def records() -> tuple[pd.DataFrame, list[str]]:
        kept = np.flatnonzero(screen.kept)
        return _table(names, stems, kept), screen.notes()

    signals = screen(bar(wfdb_files.read(stems, expected), len(stems), source.name, progress))
    notes = ["Every record counts as its own patient."]
    if limb == "derived":
        signals = _derived(signals, expected.leads)
        notes.append("III, aVR, aVL and aVF are derived from I and II.")
    cohort = write(
        to,
        signals,
        records,
        name=source.name,
        rate=rate,
        leads=expected.leads,
        scale=expected.scale,
        key=built_from,
        source=f"WFDB records in {source.name}",
        notes=notes,
    )
    built(cohort, progress)
    return cohort


def key(
    source: str | Path, *, rate: int, bad: Bad = "drop", leads: Sequence[str] | None = None, limb: Limb = "recorded"
) -> str:
    """What `build` would be building: another key when the headers there or the options change."""
    source = Path(source).absolute()
    return _key(source, find(source), rate, bad, leads, limb)


def find(source: Path) -> list[str]:
    """The records' paths without suffix, sorted, or in the order of RECORDS. InputError when there is none."""
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give one that holds WFDB records.")
    listed = source / "RECORDS"
    if listed.is_file():
        names = listed.read_text(encoding="utf-8").split()
        stems = [os.path.join(source, os.path.normpath(name)) for name in names]
    else:
        stems = sorted(str(header)[: -len(".hea")] for header in source.rglob("*.hea"))
    if not stems:
        raise InputError(f"{source} holds no WFDB record; give a folder with a RECORDS file or .hea files.")
    return stems


def rate_of(source: str | Path) -> int:
    """The rate in Hz that the first record's header gives; `build` checks that the others have it too.

    Raises:
        InputError: no record there, or a rate that is no whole number.
    """
    header = f"{find(Path(source).absolute())[0]}.hea"
    rate = wfdb_files.layout_of(header).rate
    if rate != int(rate) or rate < 1:
        raise InputError(f"{header} says {rate:g} Hz; cohorts are kept at whole numbers of Hz, so convert the records.")
    return int(rate)


def _expected(header: str, rate: int, leads: Sequence[str] | None) -> wfdb_files.Expected:
    """What the first header sets for all: leads, length, and the scale where a count means the same in every lead."""
    layout = wfdb_files.layout_of(header)
    if not layout.length:
        raise InputError(f"{header} does not say how many samples its record has; add that to its first line.")
    if leads is None:
        leads = [lead for lead in LEADS if lead in layout.leads]
    if not leads:
        raise InputError(f"{header} has none of the twelve leads, only {', '.join(layout.leads)}; name them in it.")
    names = tuple(canonical(lead) for lead in leads)
    return wfdb_files.Expected(names, rate, layout.length, layout.scale or SCALE, exact=False)


def _derived(chunks: Iterable[np.ndarray], leads: Sequence[str]) -> Iterator[np.ndarray]:
    """(n, L, T) int16 chunks with those of III, aVR, aVL, aVF that are there computed from I and II."""
    i, ii = indices(leads, ["I", "II"])
    for chunk in chunks:
        limb = derive_limb(chunk[:, i].astype(np.float32), chunk[:, ii].astype(np.float32))  # 4 x (n, T)
        for name, values in zip(LEADS[2:6], limb):
            if name in leads:
                chunk[:, leads.index(name)] = np.clip(np.rint(values), -32767, 32767)
        yield chunk


def _table(names: Sequence[str], stems: Sequence[str], kept: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    comments = [wfdb_files.read_bytes(f"{stems[i]}.hea").decode("latin1") for i in kept]
    ages = [_AGE.search(text) for text in comments]
    sexes = [_SEX.search(text) for text in comments]
    record = [names[i] for i in kept]
    return pd.DataFrame(
        {
            "record": record,
            "patient": record,
            "fold": pd.array([None] * len(kept), dtype="Int64"),
            "age": [float(age[1]) if age else np.nan for age in ages],
            "sex": [{"m": "male", "f": "female"}[sex[1].lower()] if sex else None for sex in sexes],
            "statements": [[] for _ in kept],
        }
    )


def _key(source: Path, stems: Sequence[str], rate: int, bad: str, leads: Sequence[str] | None, limb: str) -> str:
    """Folder, names, sizes and times of the headers, options, builder."""
    facts = [VERSION, str(source), rate, bad, leads and list(leads), limb]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for stem in stems:
        try:
            found = os.stat(f"{stem}.hea")
        except OSError:
            raise InputError(f"{stem}.hea is missing, though RECORDS lists it; get the record again.") from None
        digest.update(f"{stem} {found.st_size} {found.st_mtime_ns}\n".encode())
    return f"wfdb {digest.hexdigest()}"
