"""What the runs of a grid may take: workflow/limits.yaml, and a grid's own `limits` over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecglib import errors, yaml12
from ecglib.errors import InputError

FILE = "workflow/limits.yaml"


@dataclass(frozen=True)
class Limits:
    """What a run of a preset may take: wall-clock minutes, MB of memory, threads, GPUs."""

    minutes: int
    memory_mb: int
    threads: int
    gpus: int


def read(given: Any, shown: str, root: Path) -> dict[str, Limits]:
    """Preset -> limits: the repository's, with a grid's own (`given`, read from `shown`) over them key by key.

    A preset whose limits lack an entry is left out. Raises InputError for what is no limit.
    """
    file = root / FILE
    found: dict[str, Any] = yaml12.read_mapping(file, shown=FILE) if file.is_file() else {}
    for where, source in ((FILE, dict(found)), (shown, given)):
        if not isinstance(source, dict) or not all(isinstance(entry, dict) for entry in source.values()):
            raise InputError(f"{where}: limits are lines `PRESET: {{minutes: 10, memory_mb: 2000}}`")
        for preset, entry in source.items():
            found[preset] = {**found.get("default", {}), **found.get(preset, {}), **entry}
            _check(found[preset], preset, where)
    needed = Limits.__dataclass_fields__
    return {preset: Limits(**entry) for preset, entry in found.items() if len(entry) == len(needed)}


def _check(entry: dict[str, Any], preset: str, where: str) -> None:
    for key, value in entry.items():
        if key not in Limits.__dataclass_fields__:
            near = errors.nearest(key, Limits.__dataclass_fields__)
            raise InputError(f"{where}: the limits of {preset!r} have no {key!r}.{near}")
        if type(value) is not int or value < (key != "gpus"):
            least = "0 or more" if key == "gpus" else "1 or more"
            raise InputError(f"{where}: the limit {key!r} of {preset!r} is {value!r}; give a whole number, {least}")


def of(limits: dict[str, Limits], preset: str, shown: str) -> Limits:
    """Those of one preset, or the default; raises InputError, in the name of the file `shown`, where there are none."""
    found = limits.get(preset) or limits.get("default")
    if found is None:
        raise InputError(
            f"{shown}: preset {preset!r} has no limits; add "
            f"`limits: {{{preset}: {{minutes: 60, memory_mb: 4000, threads: 1, gpus: 0}}}}`"
        )
    return found
