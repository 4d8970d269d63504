"""The PhysioNet/CinC challenges of 2020 and 2021: eight collections of twelve-lead ECGs with SNOMED CT codes.

Source: Perez Alday et al., Physiological Measurement 41:124003 (2020), doi 10.1088/1361-6579/abc960; Reyna et al.,
Computing in Cardiology (2021), doi 10.23919/CinC53138.2021.9662687. The layout is a WFDB header (.hea) beside a MATLAB
file (version 4: 24 bytes, then int16), in whatever folders; the header's comments say "#Age: 56", "#Sex: Female", "#Dx:
164889003,426783006", with or without a space behind #.

Rules
- Rates (257, 500 and 1000 Hz) and lengths (6 s to half an hour) differ from record to record: all go through
  ecglib.datasets.rule. A segment has the codes of its whole record, though what they name may lie in another one.
- Tasks: "challenge2021" and "challenge2020", the scored classes (see challenge_codes); "all", every code that occurs,
  as it stands. There is no "superclass" as in PTB-XL: its NORM means a normal ECG, and no code here does (426783006 is
  sinus rhythm, which a record with an infarction may have as well), so such a mapping would be made up.
- Headers of the first releases had gains that later ones corrected to 1000 counts per mV, without a change of the
  signals: Georgia 4880, PTB-XL 200, PTB 2,000,000 (challenge_headers.WRONG_GAINS). They are read as 1000 unless
  `mend_gains` is False. Dates in forms that WFDB does not know are passed over. Both are counted in the notes.
- Headers say nothing of patients, so that each record is its own; folds are ours, by a checksum of the record's name.
- A code that is no number is an error: such headers are older than the SNOMED CT codes. Age 300 in PTB-XL's records is
  its mark for "over 89" and becomes 90; other ages beyond 0 to 120 are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.challenge_codes import CHALLENGE_2020, CHALLENGE_2021
from ecglib.datasets.challenge_headers import SCALE, Header, find, has_codes, notes, read_header, walk
from ecglib.datasets.progress import bar
from ecglib.datasets.quality import Bad, count
from ecglib.datasets.segmented import write_segments
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of this builder; part of the key, so that a change of its rules builds anew."""

ABOUT = About(
    name="challenge-2021",
    title="PhysioNet/Computing in Cardiology Challenges 2020 and 2021, training sets",
    version="1.0.3",
    url="https://physionet.org/content/challenge-2021/1.0.3/",
    licence="Creative Commons Attribution 4.0 International (CC BY 4.0)",
    citation=(
        "Reyna MA, Sadr N, Perez Alday EA, Gu A, Shah AJ, Robichaux C, Rad AB, Elola A, Seyedi S, Ansari S, Ghanbari "
        "H, Li Q, Sharma A, Clifford GD. Will Two Do? Varying Dimensions in Electrocardiography: The "
        "PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology (2021). "
        "https://doi.org/10.23919/CinC53138.2021.9662687"
    ),
    records=88253,
    size_gb=NOT_CHECKED,
    rate="500; INCART 257, PTB 1000",
    leads=12,
    labels="SNOMED CT codes from the sources' own labels; 30 codes in 26 classes were scored",
    traps=(
        "Eight sources labelled in eight ways: a code that a source never gives is unknown there, not absent.",
        "Patients are not told, so records of one person may lie in several folds.",
        "CPSC, PTB, PTB-XL and INCART are data sets of their own: do not test on one what was trained on the other.",
        "Early headers of Georgia, PTB and PTB-XL have wrong gains; they are mended and counted.",
        "Some records hold flat leads or missing samples; they are dropped or kept as asked, and counted.",
    ),
)


def found(source: Path) -> bool:
    """Whether one of the first headers in or below `source` has a line "#Dx:" with SNOMED CT codes."""
    try:
        return any(has_codes(stem) for stem in islice(walk(source), 20))
    except InputError:
        return False


def build(
    source: str | Path,
    to: str | Path,
    *,
    rate: int,
    seconds: float | None = 10,
    leads: Sequence[str] = LEADS,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    mend_gains: bool = True,
    progress: bool = True,
) -> Cohort:
    """Read the challenges' records once and write them as a cohort; where `to` holds that cohort already, open it.

    Further columns: source_record, the record that a segment is of; collection; file, the path below `source` without
    suffix.

    Args:
        source: a folder with records somewhere below: the whole challenge or any part of it. to: the cohort's folder.
        rate, seconds, leads, longer, shorter: what all records are brought to; see :mod:`ecglib.datasets.rule`.
        bad: what to do with segments that have missing samples or a flat lead; see :class:`Screen`.
        mend_gains: read the known wrong gains of early headers as 1000 counts per mV.

    Raises:
        InputError: no record there, or none of the length asked for; two of one name; a file that is missing, cut short
            or no WFDB header; a lead that is missing and cannot be derived; a code that is no number; a rate that one
            of the records' cannot be brought to; a full disk.
    """
    source, to = Path(source).absolute(), Path(to).absolute()
    target = rule.Target(rate, seconds, tuple(leads), longer, shorter)
    stems = find(source)
    built_from = _key(source, stems, target, bad, mend_gains)
    if (to / "cohort.json").exists():
        return reuse(to, built_from)
    headers = [read_header(stem, source, mend_gains) for stem in stems]
    reader = _Reader(headers, target)
    expected = wfdb_files.Expected(target.leads, target.rate, _samples(headers, target), SCALE)  # of what is screened
    codes = sorted({code for header in headers for code in header.codes or ()})
    label_sets = {"challenge2021": CHALLENGE_2021, "challenge2020": CHALLENGE_2020}
    return write_segments(
        to, reader(progress), reader.names, lambda kept: (reader.table(kept, source), reader.notes()), about=ABOUT,
        expected=expected, bad=bad, key=built_from, source=f"PhysioNet/CinC Challenges 2020 and 2021, {ABOUT.url}",
        notes=notes(headers, mend_gains),
        label_sets=label_sets | ({"all": {code: code for code in codes}} if codes else {}), progress=progress,
    )  # fmt: skip


def key(
    source: str | Path,
    *,
    rate: int,
    seconds: float | None = 10,
    leads: Sequence[str] = LEADS,
    bad: Bad = "drop",
    longer: rule.Longer = "segment",
    shorter: rule.Shorter = "drop",
    mend_gains: bool = True,
) -> str:
    """What `build` would be building: another key when the headers there or the options change."""
    source = Path(source).absolute()
    target = rule.Target(rate, seconds, tuple(leads), longer, shorter)
    return _key(source, find(source), target, bad, mend_gains)


class _Reader:
    """Reads the records in batches of one layout, brings them to the target, and remembers whose each segment is."""

    def __init__(self, headers: Sequence[Header], target: rule.Target) -> None:
        self._headers, self._target = headers, target
        self.names: list[str] = []
        self._owner: list[int] = []  # of each segment, its record's place in `headers`
        self._short = self._cut = 0

    def __call__(self, progress: bool) -> Iterator[wfdb_files.Chunk]:
        done = 0
        for chunk in bar(self._chunks(), len(self._headers), "challenge", progress):
            parts = [self._segments(done + k, counts) for k, counts in enumerate(chunk.signals)]
            done += len(parts)
            made = rule.to_chunk(np.concatenate(parts), SCALE)  # n x (S, L', T') -> (sum of S, L', T')
            origin = np.repeat(np.arange(len(parts)), [len(part) for part in parts])  # (sum of S,)
            made.agree, made.clipped = chunk.agree[origin], made.clipped | chunk.clipped[origin]
            made.through_wfdb = chunk.through_wfdb
            if len(made):
                yield made
        if not self.names:
            raise InputError(f"no record is {self._target.seconds:g} s long; choose shorter segments or pad or tile.")

    def _chunks(self) -> Iterator[wfdb_files.Chunk]:
        for layout, run in groupby(self._headers, key=lambda header: header.layout):
            stems = [header.stem for header in run]
            many = max(1, 64 * 5000 // layout.length)  # flat memory: a half-hour record comes alone
            yield from wfdb_files.read(stems, _expected(layout), chunk=min(64, many))

    def _segments(self, at: int, counts: np.ndarray) -> np.ndarray:
        """(L, T) int16 of the record at place `at` to (S, L', T') mV."""
        header = self._headers[at]
        signal = counts * np.float32(header.scale)
        signal[counts == wfdb_files.MISSING] = np.nan
        try:
            segments = rule.to_target(signal, _expected(header.layout).leads, header.layout.rate, self._target)
        except InputError as error:
            raise InputError(f"{header.stem}.hea: {error}") from None
        self.names += rule.segment_names(header.record, len(segments))
        self._owner += [at] * len(segments)
        self._short += not len(segments)
        self._cut += len(segments) > 1
        return segments

    def notes(self) -> list[str]:
        seconds = self._target.seconds or 0
        notes = []
        if self._short:
            notes.append(f"{count(self._short)} dropped, being shorter than {seconds:g} s.")
        if self._cut:
            notes.append(f"{count(self._cut)} cut into segments of {seconds:g} s, each with the codes of the whole.")
        return notes

    def table(self, kept: np.ndarray, source: Path) -> pd.DataFrame:
        """One row a segment that stays; `kept` (segments,) bool."""
        import pandas as pd

        owners = [self._headers[self._owner[k]] for k in np.flatnonzero(kept)]
        return pd.DataFrame(
            {
                "record": [self.names[k] for k in np.flatnonzero(kept)],
                "patient": [header.record for header in owners],
                "fold": [zlib.crc32(header.record.encode()) % 10 + 1 for header in owners],
                "age": [header.age for header in owners],
                "sex": [header.sex for header in owners],
                "statements": [list(header.codes or ()) for header in owners],
                "collection": [header.collection for header in owners],
                "source_record": [header.record for header in owners],
                "file": [os.path.relpath(header.stem, source) for header in owners],
            }
        )


def _expected(layout: wfdb_files.Layout) -> wfdb_files.Expected:
    """The record as it stands; where wfdb reads it, only those of its leads that are of the twelve."""
    leads = layout.leads if layout.scale else tuple(lead for lead in layout.leads if lead in LEADS)
    return wfdb_files.Expected(leads, layout.rate, layout.length, layout.scale or SCALE, exact=False)


def _samples(headers: Sequence[Header], target: rule.Target) -> int:
    """Samples of every segment; InputError where records keep their lengths and these differ."""
    if target.samples is not None:
        return target.samples
    lengths = {math.ceil(header.layout.length * target.rate / header.layout.rate) for header in headers}
    if len(lengths) > 1:
        shortest, longest = min(lengths) / target.rate, max(lengths) / target.rate
        raise InputError(f"the records last from {shortest:g} to {longest:g} s; give seconds, such as 10.")
    return lengths.pop()


def _key(source: Path, stems: Sequence[str], target: rule.Target, bad: str, mend_gains: bool) -> str:
    """Folder, names, sizes and times of the headers, options, builder."""
    options = [target.rate, target.seconds, target.leads, target.longer, target.shorter, bad, mend_gains]
    digest = hashlib.sha256(json.dumps([VERSION, str(source), options]).encode())
    for stem in stems:
        facts = os.stat(f"{stem}.hea")
        digest.update(f"{stem} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return f"challenge {digest.hexdigest()}"
