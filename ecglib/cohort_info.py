"""cohort.json: what a cohort's folder says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ecglib.errors import InputError

FORMAT_VERSION = 1
NOMINAL = "Voltages are nominal"
"""How the note begins that says so of a cohort, and with it `CohortInfo.title`."""


@dataclass(frozen=True, kw_only=True)
class CohortInfo:
    """What cohort.json says of the whole folder; a subset carries its parent's."""

    name: str
    """Short name of the data set, such as "ptb-xl"."""
    rate: int
    """Samples per second, Hz."""
    leads: tuple[str, ...]
    length: int
    """Samples per record, T."""
    scale: float
    """Millivolts per count."""
    records: int
    """Number of records, N."""
    patients: int
    source: str = ""
    source_version: str = ""
    citation: str = ""
    licence: str = ""
    units: str = "mV"
    notes: tuple[str, ...] = ()
    """What was left out or changed on the way, with counts, one sentence each."""
    label_sets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """{task: {statement code: class}}"""
    fingerprint: str = ""
    """SHA-256 over rate, leads, scale, label sets, signals and records."""
    key: str = ""
    """What the folder was built from; a build with the same key finds it done."""
    format_version: int = FORMAT_VERSION

    @property
    def title(self) -> str:
        """What tables and metrics call the data: the name, and that voltages are nominal where a note says so."""
        nominal = any(note.startswith(NOMINAL) for note in self.notes)
        return f"{self.name}, nominal voltages" if nominal else self.name

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, file: Path) -> CohortInfo:
        """Raises InputError naming `file` for another format version, a missing key or a value of the wrong type."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{file} is not valid JSON ({error}); build the cohort again.") from None
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise InputError(
                f"{file} has format version {version}, this ecglib reads {FORMAT_VERSION}; build the cohort again."
            )
        names = {f.name for f in fields(cls)}
        missing = sorted(names - raw.keys())
        if missing:
            raise InputError(f"{file} lacks {', '.join(missing)}; build the cohort again.")
        info = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items() if k in names})
        whole = all(type(getattr(info, k)) is int and getattr(info, k) >= 0 for k in ("records", "length", "rate"))
        sets = isinstance(info.label_sets, dict) and all(isinstance(codes, dict) for codes in info.label_sets.values())
        if not (whole and sets and isinstance(info.scale, float) and info.scale > 0 and info.leads and info.rate):
            raise InputError(f"{file} has values that cannot be; build the cohort again.")
        return info
