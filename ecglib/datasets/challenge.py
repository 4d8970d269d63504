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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from ecglib.cohort import Cohort
from ecglib.cohort_write import reuse
from ecglib.datasets import rule, wfdb_files
from ecglib.datasets.about import NOT_CHECKED, About
from ecglib.datasets.challenge_codes import CHALLENGE_2020, CHALLENGE_2021
from ecglib.datasets.challenge_headers import SCALE, Header, find, has_codes, notes, read_header, walk
from ecglib.datasets.folds import deal
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.quality import Bad
from ecglib.datasets.segments import Segments
from ecglib.errors import InputError
from ecglib.leads import LEADS

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
    tried_on="a sample of 10 real records (8 collections' layouts by made files)",
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
    workers: int | None = None,
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
        workers: processes that read, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

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
    codes = sorted({code for header in headers for code in header.codes or ()})
    label_sets = {"challenge2021": CHALLENGE_2021, "challenge2020": CHALLENGE_2020}
    return build_parts(
        to, _units(headers), _Reader(target, str(source)), about=ABOUT, bad=bad, key=built_from,
        expected=wfdb_files.Expected(target.leads, target.rate, _samples(headers, target), SCALE),
        source=f"PhysioNet/CinC Challenges 2020 and 2021, {ABOUT.url}", notes=notes(headers, mend_gains),
        label_sets=label_sets | ({"all": {code: code for code in codes}} if codes else {}), records=len(headers),
        empty=f"no record is {seconds or 0:g} s long; choose shorter segments or pad or tile.", workers=workers,
        progress=progress,
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


def _units(headers: Sequence[Header]) -> list[list[Header]]:
    """Neighbours of one layout, at most 64 together and fewer of long ones: flat memory, a half-hour record alone."""
    units = []
    for layout, run in groupby(headers, key=lambda header: header.layout):
        many = min(64, max(1, 64 * 5000 // layout.length))
        together = list(run)
        units += [together[k : k + many] for k in range(0, len(together), many)]
    return units


@dataclass(frozen=True)
class _Reader:
    """Reads records of one layout and brings them to the target."""

    target: rule.Target
    source: str

    def __call__(self, headers: Sequence[Header]) -> Raw:
        import pandas as pd

        layout, segments = headers[0].layout, Segments(self.target, SCALE)
        expected = _expected(layout)
        stems = [header.stem for header in headers]
        (chunk,) = wfdb_files.read(stems, expected, chunk=len(stems), threads=1)
        for header, counts, agree, clipped in zip(headers, chunk.signals, chunk.agree, chunk.clipped):
            mv = counts * np.float32(header.scale)  # (L, T)
            mv[counts == wfdb_files.MISSING] = np.nan
            try:
                segments.add(header.record, mv, expected.leads, layout.rate, agree=agree, clipped=clipped)
            except InputError as error:
                raise InputError(f"{header.stem}.hea: {error}") from None
        rows = pd.DataFrame(
            {
                "patient": [header.record for header in headers],
                "fold": [deal(header.record) for header in headers],
                "age": [header.age for header in headers],
                "sex": [header.sex for header in headers],
                "statements": [list(header.codes or ()) for header in headers],
                "collection": [header.collection for header in headers],
                "source_record": [header.record for header in headers],
                "file": [os.path.relpath(header.stem, self.source) for header in headers],
            }
        )
        cut = f"{{records}} cut into segments of {self.target.seconds or 0:g} s, each with the codes of the whole."
        return segments.raw(rows, {cut: sum(n > 1 for n in segments.each)}, through_wfdb=chunk.through_wfdb)


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
