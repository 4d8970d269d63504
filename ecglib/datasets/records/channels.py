"""What the readers of single files share: which channels are leads, in which unit, at which rate, and how they fail.

A reader opens a file of one format and gives :class:`Channels`; what the file does not say stays open there ("" or
None), and :mod:`ecglib.datasets.records` fills it in from what the caller said, or refuses. Errors raised here begin
without the file's name ("says no unit; ..."), which `records` puts in front.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np

from ecglib.errors import InputError
from ecglib.leads import canonical_or_raw

MOST_SAMPLES = 2**28
"""Over all leads read of a file: 1 GiB as float32. A header that claims more is wrong or needs to be cut first."""

MILLIVOLTS = {
    "nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3,
    "nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3,
}  # fmt: skip
"""mV per unit; both signs for micro, U+00B5 and U+03BC, occur in files."""

_PREFIX = re.compile(r"(?:ECG|EKG|LEAD)(?:\s+|[_:.-])?", re.IGNORECASE)
_SUFFIX = re.compile(r"[\s_-]+ref(?:erence)?$|:$", re.IGNORECASE)
_SEXES = dict.fromkeys(("m", "male", "man"), "male") | dict.fromkeys(("f", "w", "female", "woman"), "female")


@dataclass
class Channels:
    """The leads of one file as it holds them, one entry a lead."""

    leads: list[str]
    """Canonical names."""
    signals: list[np.ndarray]
    """(T,) float each, in its own unit, NaN where a sample is missing; T may differ where the rates do."""
    units: list[str]
    """As written; "" where the file says none."""
    rates: list[float | None]
    """Hz; None where the file says none."""
    age: float | None = None
    sex: str | None = None
    started: datetime | None = None
    patient: str | None = None
    notes: list[str] = field(default_factory=list)


Choose = Callable[[Sequence[str] | None, int], tuple[list[int], list[str], list[str]]]
"""See :func:`chooser`."""


def chooser(given: Sequence[str] | Mapping[str, str] | None) -> Choose:
    """A function (names of a file's channels or None, their number) -> (positions to read, their leads, notes).

    Read are the channels that are one of the twelve leads by name; others are passed over. `given` says what the file
    does not: names for all channels in order, used where it names none of the twelve; or {channel: lead}.

    Raises:
        InputError: from that function: no lead there, one that occurs twice, or `given` of another number.
    """
    renamed = {_plain(name): lead for name, lead in given.items()} if isinstance(given, Mapping) else {}
    listed = None if given is None or isinstance(given, Mapping) else list(given)

    def choose(names: Sequence[str] | None, count: int) -> tuple[list[int], list[str], list[str]]:
        notes = []
        own = [lead_of(renamed.get(_plain(name), name)) for name in names] if names is not None else [None] * count
        if listed is not None:
            if any(own):
                if [lead for lead in own if lead] != [lead for name in listed if (lead := lead_of(name))]:
                    notes.append("names its leads itself, so those given were not used")
            elif len(listed) != count:
                raise InputError(f"has {count} channels{_shown(names)}, but {len(listed)} leads were given for them.")
            else:
                own = [lead_of(name) for name in listed]
                if none := [str(name) for name, lead in zip(listed, own) if lead is None]:
                    notes.append(f"was given {', '.join(none)}, none of the twelve leads, so these were not read")
        if absent := sorted(set(renamed) - {_plain(name) for name in names or ()}):
            notes.append(f"has no channel {', '.join(absent)}, for which a lead was given")
        if not any(own):
            what = f"names none of the twelve leads{_shown(names)}" if names else f"does not name its {count} leads"
            raise InputError(f"{what}; give leads, one name a channel in the file's order.")
        chosen = [k for k, lead in enumerate(own) if lead]
        leads = [own[k] for k in chosen]
        if twice := next((lead for lead in leads if leads.count(lead) > 1), None):
            raise InputError(f"has lead {twice} twice{_shown(names)}; rename or remove one.")
        return chosen, leads, notes

    return choose


def lead_of(name: str) -> str | None:
    """The canonical lead that a channel's name means ("ECG I", "EKG-II", "V1-Ref", "Lead I (Einthoven)"), or None."""
    text = _SUFFIX.sub("", _plain(name))
    for candidate in (text, _PREFIX.sub("", text, count=1), re.sub(r"\s*\(.*\)$", "", text)):
        if (lead := canonical_or_raw(candidate)) in _TWELVE:
            return lead
    return None


_TWELVE = frozenset(("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"))


def _plain(name: str) -> str:
    return " ".join(str(name).split())


def _shown(names: Sequence[str] | None) -> str:
    """ " (a, b, ...)", of many names the first eight."""
    if not names:
        return ""
    return f" ({', '.join(_plain(name) for name in names[:8])}{', ...' if len(names) > 8 else ''})"


def single(values: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Times `factor` as float32; what is beyond its range, as only damage is, becomes infinite, so a missing sample."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (values * np.float64(factor)).astype(np.float32)


def millivolts(unit: str) -> float | None:
    """mV per `unit`, such as "uV", "[mV]" or "microvolts"; None where that is no voltage."""
    return MILLIVOLTS.get(unit.strip().strip("[]()").strip().lower().removesuffix("s"))


def sex_of(text: object) -> str | None:
    """ "male" or "female" for the usual words and letters in English, else None."""
    return _SEXES.get(str(text).strip().lower())


def years(born: date | None, then: date | None) -> float | None:
    """Age in years at a date; None where either is not known or that is none of 0 to 120."""
    if born is None or then is None:
        return None
    age = (date(then.year, then.month, then.day) - date(born.year, born.month, born.day)).days / 365.25
    return round(age, 1) if 0 <= age <= 120 else None


def affordable(samples: float, what: str = "says") -> None:
    """InputError where a file wants more than `MOST_SAMPLES`, or fewer than one."""
    if not samples >= 1:
        raise InputError(f"{what} no samples; get it or export it again.")
    if not math.isfinite(samples) or samples > MOST_SAMPLES:
        raise InputError(
            f"{what} {samples:,.0f} samples, more than the {MOST_SAMPLES:,} that are read at once; correct its header "
            f"or cut it into shorter records."
        )


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """Whatever a format's package raises on a bad file becomes one sentence, and its warnings are not printed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # such packages raise nearly anything on a bad file
        reason = " ".join(str(error).split())[:200].strip(".: ") or type(error).__name__
        raise InputError(f"cannot be read as {kind} ({reason}); it is damaged or no {kind}, export it again.") from None
