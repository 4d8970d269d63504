"""The box on top of every report: what can be relied upon, and what cannot, each in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecglib import provenance, results


@dataclass(frozen=True)
class Check:
    """`ok` is None for what is said without being judged, such as the duration."""

    name: str
    ok: bool | None
    text: str


def reproducibility(record: dict[str, Any], folder: Path, notebook: Any) -> list[dict[str, Any]]:
    """Every check of the run whose run.json is to be `record`, as plain dicts; `notebook` is the executed one."""
    data = results.RunRecord(folder, record).data
    entries = (
        _commit(record["git"]),
        _parameters(record),
        _seed(record),
        _data(data),
        _environment(record["environment"]),
        _cells(notebook),
        _paths(notebook, data),
        _metrics(folder),
        _effort(record),
    )
    return [asdict(entry) for entry in entries]


def _commit(git: dict[str, Any]) -> Check:
    name = "Code committed"
    if git["commit"] is None:
        return Check(name, False, "not run from a git commit, so this code may be nowhere else")
    if git["dirty"]:
        return Check(name, False, f"commit {git['commit'][:12]}, but changed since: {_some(git['dirty'])}")
    return Check(name, True, f"commit {git['commit'][:12]}, nothing changed since")


def _parameters(record: dict[str, Any]) -> Check:
    entries = record["parameters"]
    changed = sum(entry["source"] != "notebook" for name, entry in entries.items() if name != "out")
    preset = f"preset {record['preset']}" if record["preset"] else "no preset"
    text = f"{len(entries)} checked against the notebook, {changed} set otherwise than there; {preset}"
    return Check("Parameters known", True, text)


def _seed(record: dict[str, Any]) -> Check:
    seeds = record["seeds"]
    text = ", ".join(f"{name} {value}" for name, value in seeds.items())
    return Check("Seed set", bool(seeds), text or "the notebook has no parameter named seed or seeds")


def _data(entries: list[dict[str, Any]]) -> Check:
    # one fingerprint may serve several roles: the training, validation and test parts of one cohort
    names = {entry["fingerprint"][:12]: entry["name"] for entry in entries}
    text = ", ".join(f"{name} {fingerprint}" for fingerprint, name in names.items())
    return Check("Data fingerprint", bool(names), text or "the notebook put no data on record")


def _environment(environment: dict[str, Any]) -> Check:
    name, lock, differs = "Environment", environment["lock"], environment["differs"]
    if lock is None:
        return Check(name, False, "there is no requirements.lock to compare with")
    if differs:
        return Check(name, False, f"otherwise than requirements.lock: {_some(differs)}")
    return Check(name, True, f"as in requirements.lock {lock[:12]}; Python {environment['python']}")


def code_cells(notebook: Any) -> list[Any]:
    """The cells that have something to execute."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _cells(notebook: Any) -> Check:
    name, cells = "Every cell ran, in order", code_cells(notebook)
    ran = [cell.execution_count for cell in cells if cell.execution_count is not None]
    errors = sum(output.output_type == "error" for cell in cells for output in cell.outputs)
    if errors:
        return Check(name, False, f"{len(ran)} of {len(cells)} started, {errors} ended with an error")
    return Check(name, bool(cells) and ran == list(range(1, len(cells) + 1)), f"{len(ran)} of {len(cells)}")


def texts(notebook: Any) -> Iterator[str]:
    """What a reader sees that the run wrote: outputs, and the parameters put in."""
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            yield cell.source
        for output in cell.get("outputs", ()):
            yield from [output["text"]] if "text" in output else output.get("traceback", ())
            yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def _paths(notebook: Any, data: list[dict[str, Any]]) -> Check:
    found = provenance.absolute_paths([*texts(notebook), json.dumps(data, ensure_ascii=False)])
    text = f"seen: {_some(found)}" if found else "none in outputs, parameters or data"
    return Check("No absolute path", not found, text)


def _metrics(folder: Path) -> Check:
    name, path = "Metrics well-formed", folder / "metrics.json"
    if not path.is_file():
        return Check(name, False, "the notebook wrote no metrics.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    faults = results.metric_faults(rows)
    return Check(name, not faults, f"metrics.json: {faults[0]}" if faults else f"metrics.json: {len(rows)} rows")


def _effort(record: dict[str, Any]) -> Check:
    environment = record["environment"]
    device = environment.get("device") or environment["cpu"]
    memory = f", {environment['peak_mib'] / 1024:.1f} GiB at most" if environment.get("peak_mib") else ""
    return Check("Time and device", None, f"{duration(record['duration_s'])} on {device}{memory}")


def duration(seconds: float) -> str:
    """Seconds in words: "12.3 s", "4 min 05 s", "2 h 03 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _some(items: list[str], most: int = 3) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
