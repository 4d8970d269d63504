"""The headers of the PhysioNet/CinC challenges: where they are, what they say, and what is wrong with some."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecglib.datasets import wfdb_files
from ecglib.datasets.challenge_codes import CHALLENGE_2021
from ecglib.datasets.quality import count
from ecglib.errors import InputError

FOLDERS = {
    "cpsc_2018": "CPSC",
    "cpsc_2018_extra": "CPSC-Extra",
    "st_petersburg_incart": "INCART",
    "ptb": "PTB",
    "ptb-xl": "PTB-XL",
    "georgia": "Georgia",
    "chapman_shaoxing": "Chapman-Shaoxing",
    "ningbo": "Ningbo",
}
"""The published folders and the collections they hold."""
PREFIXES = {
    "A": "CPSC",
    "Q": "CPSC-Extra",
    "I": "INCART",
    "S": "PTB",
    "HR": "PTB-XL",
    "E": "Georgia",
    "JS": "Chapman-Shaoxing or Ningbo",
}
"""What a record's name tells; it goes before the folder except for JS, of which two folders are."""
WRONG_GAINS = {("Georgia", 4880.0), ("PTB-XL", 200.0), ("PTB", 2_000_000.0)}
"""Counts per mV that stood in early headers where 1000 is right."""
OVER_89 = 300  # years, PTB-XL's mark
SCALE = 0.001  # mV per count, the published scale

_COMMENT = re.compile(r"^#[ \t]*(Age|Sex|Dx)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_WFDB_DATE = re.compile(r"\d+(:\d+){0,2}(\.\d+)?( \d+/\d+/\d+)?")
_NAME = re.compile(r"([A-Z]+)\d+")


@dataclass(frozen=True)
class Header:
    """One record's header."""

    stem: str
    """Path without suffix."""
    collection: str
    layout: wfdb_files.Layout
    scale: float
    """mV per count, with a wrong gain mended; of what wfdb gives, where the layout has none."""
    gain: float | None
    """Counts per mV as the header has it; None where it is not one number."""
    odd_date: bool
    age: float
    age_as_it_stands: float
    sex: str | None
    codes: tuple[str, ...] | None
    """None without a line "#Dx:"."""

    @property
    def record(self) -> str:
        return os.path.basename(self.stem)

    @property
    def wrong_gain(self) -> bool:
        return (self.collection, self.gain) in WRONG_GAINS


def walk(source: Path) -> Iterator[str]:
    """Paths without suffix of the headers in and below `source`, folder by folder, sorted in each."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); give a folder that can.") from None

    for folder, inner, names in os.walk(source, onerror=refuse):
        inner.sort()
        for name in sorted(names):
            if name.endswith(".hea") and not name.startswith("."):
                yield os.path.join(folder, name.removesuffix(".hea"))


def find(source: Path) -> list[str]:
    """All of `walk`; InputError when there is none, or two have the same name."""
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give one that holds the challenge's records.")
    stems = list(walk(source))
    if not stems:
        raise InputError(f"{source} holds no record (.hea); give a folder of the challenge, such as training/.")
    seen: dict[str, str] = {}
    for stem in stems:
        name = os.path.basename(stem)
        if name in seen:
            raise InputError(
                f"{name}.hea lies both in {os.path.dirname(seen[name])} and in {os.path.dirname(stem)}; remove one."
            )
        seen[name] = stem
    return stems


def has_codes(stem: str) -> bool:
    """Whether a header has a line "#Dx:" with something as long as a SNOMED CT code, which has 6 digits at least."""
    said = _comments(wfdb_files.read_bytes(f"{stem}.hea").decode("latin1"))
    return re.search(r"\d{6}", said.get("dx", "")) is not None


def read_header(stem: str, source: Path, mend_gains: bool) -> Header:
    """Raises InputError for no header, one without samples or rate, a gain of zero, a code that is no number."""
    file = f"{stem}.hea"
    text = wfdb_files.read_bytes(file).decode("latin1")
    layout = wfdb_files.parse(text, file)[0] or wfdb_files.layout_of(file)
    if not (layout.rate > 0 and layout.length and layout.length > 0):
        raise InputError(f"{file} says {layout.length} samples at {layout.rate:g} Hz; correct it or get it again.")
    collection = _collection(Path(source.parent.name, source.name, os.path.relpath(stem, source)))
    gain = round(1 / layout.scale, 6) if layout.scale else None
    wrong = (collection, gain) in WRONG_GAINS
    said = _comments(text)
    stands = _number(said.get("age", ""))
    age = 90.0 if collection == "PTB-XL" and stands == OVER_89 else stands if 0 <= stands <= 120 else np.nan
    date = " ".join(text.partition("\n")[0].split()[4:])
    return Header(
        stem=stem,
        collection=collection,
        layout=layout,
        scale=SCALE if wrong and mend_gains else layout.scale or SCALE,
        gain=gain,
        odd_date=bool(date) and _WFDB_DATE.fullmatch(date) is None,
        age=age,
        age_as_it_stands=stands,
        sex={"m": "male", "f": "female"}.get(said.get("sex", "")[:1].lower()),
        codes=_codes(said["dx"], file) if "dx" in said else None,
    )


def notes(headers: Sequence[Header], mend_gains: bool) -> list[str]:
    """One sentence for each thing that is to be known of these headers."""
    found = Counter(header.collection for header in headers)
    named = ", ".join(f"{name} {n:,}" for name, n in sorted(found.items()))
    sentences = [
        f"Records of the collections: {named}.",
        "Every record counts as its own patient; folds are ours, by a checksum of the record's name.",
    ]
    wrong = Counter((header.collection, header.gain) for header in headers if header.wrong_gain)
    for (collection, gain), n in sorted(wrong.items()):
        done = (
            "read as 1,000, which later headers have" if mend_gains else "left as it is, though later ones have 1,000"
        )
        sentences.append(f"{count(n)} of {collection} with the gain {gain:,.10g} per mV in the header, {done}.")
    other = Counter(h.gain for h in headers if h.gain not in (None, 1000.0) and not h.wrong_gain)
    sentences += [f"{count(n)} with the gain {gain:,.10g} per mV, not 1,000." for gain, n in sorted(other.items())]
    scored = [header.codes and not CHALLENGE_2021.keys().isdisjoint(header.codes) for header in headers]
    over = [h.age_as_it_stands == OVER_89 and h.age == 90 for h in headers]
    odd = [not np.isnan(h.age_as_it_stands) and np.isnan(h.age) for h in headers]
    for text, where in (
        ("{} with a date in a form that WFDB does not know; it is not used.", [h.odd_date for h in headers]),
        ("{} without a line #Dx, so without codes.", [h.codes is None for h in headers]),
        ("{} with none of the scored codes.", [not any_scored for any_scored in scored]),
        ("{} of age over 89, entered as 90.", over),
        ("{} with an age beyond 0 to 120 years, left out.", odd),
    ):
        if n := sum(where):
            sentences.append(text.format(count(n)))
    return sentences


def _comments(text: str) -> dict[str, str]:
    """{"age", "sex", "dx": what stands behind it} of those that are there."""
    return {name.lower(): value.strip() for name, value in _COMMENT.findall(text)}


def _collection(path: Path) -> str:
    """By the record's name, else by the innermost of the folders in `path` that is a published one."""
    *folders, name = path.parts
    match = _NAME.fullmatch(name)
    prefix = match[1] if match else ""
    if prefix in PREFIXES and prefix != "JS":
        return PREFIXES[prefix]
    inside = [FOLDERS[folder.lower()] for folder in folders if folder.lower() in FOLDERS]
    return inside[-1] if inside else PREFIXES.get(prefix, "unknown")


def _number(text: str) -> float:
    """NaN where it is none, such as "Unknown"."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _codes(text: str, file: str) -> tuple[str, ...]:
    """The codes of "#Dx:", each once, in order. Some headers have a comma too many, or a code twice."""
    codes = dict.fromkeys(code.strip() for code in text.split(","))
    codes = [code for code in codes if code and code.lower() not in ("unknown", "nan")]
    for code in codes:
        if not code.isascii() or not code.isdigit():
            raise InputError(
                f"{file} has the code {code!r}, which is no SNOMED CT code; get the header of a release with these."
            )
    return tuple(codes)
