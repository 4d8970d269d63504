"""What a user should know of a data set before getting it: size, licence, labels, and the traps it holds."""

from __future__ import annotations

from dataclasses import dataclass, fields

NOT_CHECKED = "not checked"
"""Stands wherever a fact was not made sure of."""
FIXTURE = "made files in the published layout; real ones were not at hand"


@dataclass(frozen=True, kw_only=True)
class About:
    """Facts on one data set as published; none is read from a copy on disk.

    A number may be given as words where one number does not tell it ("500; St Petersburg 257, PTB 1000"), and is
    `NOT_CHECKED` where nobody made sure of it.
    """

    name: str
    """Short name, as in `CohortInfo.name`."""
    title: str
    version: str
    """Of the publication that the loader was written for."""
    url: str
    """Where a user gets it."""
    licence: str
    citation: str
    records: int | str
    size_gb: float | str
    """What it takes on disk as published, unpacked."""
    rate: int | str
    """Hz."""
    leads: int | str
    labels: str
    """What the labels are and who or what made them."""
    traps: tuple[str, ...] = ()
    """Known faults and what the loader does about them, a sentence each."""
    credentialed: bool = False
    """Whether getting it needs a signed agreement or training."""
    tried_on: str = FIXTURE
    """What the loader was tried on: a reader should know whether that were real records."""

    def __post_init__(self) -> None:
        if isinstance(self.traps, str):  # tuple("...") would be one trap a letter
            raise TypeError(f"the traps of {self.name} should be a tuple of sentences, not one string.")
        object.__setattr__(self, "traps", tuple(self.traps))

    def row(self) -> dict[str, str]:
        """{field: text} for a table, in the order of the fields: numbers with separators, traps as one text."""
        return {field.name: _text(getattr(self, field.name)) for field in fields(self)}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(value) if isinstance(value, tuple) else str(value)
