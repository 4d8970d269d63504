"""What a run leaves behind, and reading runs back.

``reports/NOTEBOOK/RUN/`` holds::

    started.json         written by the runner before the kernel starts: notebook, parameters
    data.json            the cohorts the notebook used: name, fingerprint, citation, licence, ...
    metrics.json         one flat list of rows (METRIC_KEYS), the same in every notebook
    predictions.parquet  history.csv
    tables/NAME          further tables for use elsewhere, CSV and LaTeX
    model/NAME/          model.safetensors, and model.json with what its user needs to know
    checkpoints/         of a run under way, for its resumption; gone once it is complete
    executed.ipynb       report.html
    run.json             its status "complete" is what makes a run green: written when all else is there, and the page
                         only waits to be renamed

Every file is written under a temporary name and renamed, so that one that is there is whole.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib import atomic
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

METRIC_KEYS = ("model", "protocol", "data", "split", "metric", "class", "value", "low", "high", "seed", "n")
"""The keys of a row of metrics.json, in this order. `n` counts the records that were evaluated."""
DATA_KEYS = ("name", "source", "source_version", "fingerprint", "citation", "licence", "rate", "leads", "notes")
MADE_HERE = ("data.json", "metrics.json", "predictions.parquet", "history.csv", "environment.json", "model", "tables")
CHECKPOINTS = "checkpoints"


def root(start: str | Path | None = None) -> Path:
    """The repository's root: the nearest folder at or above `start` (default: the working one) with a pyproject.toml.

    The runner works in the root, JupyterLab and nbval in ``notebooks/``; paths in parameters hold for both because they
    are resolved from here. Raises InputError outside a repository.
    """
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise InputError(
        f"{start}: neither this folder nor one above it holds a pyproject.toml; work inside the repository"
    )


def clear(folder: Path, *, checkpoints: bool) -> None:
    """Removes what an earlier run left in `folder`; `checkpoints` too when asked to.

    The page goes first, then the mark of success: cut off in between, no page is green without its mark.
    """
    names = ("report.html", "run.json", "executed.ipynb", *MADE_HERE, *((CHECKPOINTS,) if checkpoints else ()))
    for name in names:
        atomic.remove(folder / name)
    for leftover in folder.glob(".*.tmp"):
        atomic.remove(leftover)


def clear_checkpoints(folder: Path) -> None:
    """Drops the state that an interrupted run would go on from."""
    atomic.remove(folder / CHECKPOINTS)


class Run:
    """The folder a notebook writes into; the same with the runner, with papermill alone and in JupyterLab.

    `out` is the notebook's parameter of that name, resolved from the repository's root. `device` is the torch device
    the notebook computes on, for the record.
    """

    def __init__(self, out: str | Path, *, device: Any = None) -> None:
        self.path = root() / out
        self._device = device
        self._data: list[dict[str, Any]] = []
        self.path.mkdir(parents=True, exist_ok=True)
        atomic.remove(self.path / "data.json")

    def checkpoint(self, name: str) -> Path:
        """``checkpoints/NAME/``: survives an interrupted run, so that the next one resumes; see `finish`."""
        path = self.path / CHECKPOINTS / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def data(self, cohort: Any, role: str = "data", **counts: int) -> None:
        """Puts a cohort on record: what `cohort.info` says of itself, `role` in this run, counts such as train=1764."""
        info = cohort.info
        if not info.fingerprint:
            raise InputError(f"{info.name}: has no fingerprint in its cohort.json; build it again")
        facts = {key: getattr(info, key, None) for key in DATA_KEYS}
        facts["name"] = getattr(info, "title", info.name)
        entry = {"role": role, "records": len(cohort), **facts, "counts": counts}
        if place := getattr(cohort, "path", None):  # so that it can be told later whether it is still the same
            entry["path"] = os.path.relpath(place, root())
        self._data.append(entry)
        atomic.write_json(self.path / "data.json", self._data)

    def data_of(self, other: RunRecord, name: str) -> None:
        """Puts on record the cohorts that another run, called `name` here, had used; each fingerprint once."""
        held = {entry["fingerprint"] for entry in self._data}
        self._data += [{**each, "role": f"of {name}"} for each in other.data if each["fingerprint"] not in held]
        atomic.write_json(self.path / "data.json", self._data)

    def metrics(self, rows: Iterable[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Writes metrics.json. NaN is written as null. Raises ValueError for a row that is not of METRIC_KEYS."""
        records = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
        plain = [{key: _plain(value) for key, value in row.items()} for row in records]
        if faults := metric_faults(plain):
            raise ValueError(f"metrics.json: {faults[0]}")
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in plain)
        with atomic.writing(self.path / "metrics.json") as temporary:  # a row a line: there may be ten thousand
            temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")

    def predictions(self, table: pd.DataFrame) -> None:
        """Writes predictions.parquet: a row per record, its id, labels and each model's probabilities."""
        with atomic.writing(self.path / "predictions.parquet") as temporary:
            table.to_parquet(temporary, index=False)

    def history(self, table: pd.DataFrame) -> None:
        """Writes history.csv: a row per model, seed and epoch."""
        with atomic.writing(self.path / "history.csv") as temporary:
            table.to_csv(temporary, index=False)

    def export(self, name: str, text: str) -> Path:
        """Writes ``tables/NAME``, a table for use elsewhere. Raises InputError unless `name` is a plain file name."""
        if not name or Path(name).name != name or name.startswith("."):
            raise InputError(f"{name!r} is no plain file name; give one such as results.csv.")
        path = self.path / "tables" / name
        path.parent.mkdir(exist_ok=True)
        with atomic.writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path

    def model(self, name: str, view: Any) -> Path:
        """Saves a model as ``model/NAME/model.*`` by its own ``save(path)``; returns the path that its `load` takes."""
        path = self.path / "model" / name
        with atomic.writing(path) as temporary:
            temporary.mkdir()
            view.save(temporary / "model")
        return path / "model"

    def finish(self) -> None:
        """The notebook's last line: records device and memory, and drops the checkpoints, which nothing needs now.

        Where a runner holds the folder it has the report to render yet, and drops them when the run is on record.
        """
        from ecglib import inuse, provenance

        atomic.write_json(self.path / "environment.json", provenance.in_kernel(self._device))
        if not inuse.busy(self.path):
            clear_checkpoints(self.path)


def _plain(value: Any) -> Any:
    """A numpy or pandas scalar as JSON knows it; NaN and NA as null."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    number = float(value) if isinstance(value, float) else math.nan if type(value).__name__ == "NAType" else value
    return None if isinstance(number, float) and math.isnan(number) else number


def metric_faults(rows: Any) -> list[str]:
    """What keeps `rows` from being a metrics.json; [] when nothing does.

    Keys are METRIC_KEYS in any order; value, low and high are finite numbers or null; low and high come together, low
    not above high; seed and n are whole numbers or null; the rest is text.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return ["it is not a list of rows"]
    found = []
    for number, row in enumerate(rows):
        if set(row) != set(METRIC_KEYS):
            odd = sorted(set(row) ^ set(METRIC_KEYS))
            found.append(f"row {number} lacks or adds {', '.join(odd)}; the keys are {', '.join(METRIC_KEYS)}")
            continue
        checks: dict[str, Callable[[Any], bool]] = {
            **dict.fromkeys(("model", "protocol", "data", "split", "metric", "class"), lambda v: isinstance(v, str)),
            **dict.fromkeys(("value", "low", "high"), lambda v: v is None or (_is_number(v) and math.isfinite(v))),
            **dict.fromkeys(("seed", "n"), lambda v: v is None or type(v) is int),
        }
        found += [f"row {number}: {key} is {row[key]!r}" for key, fits in checks.items() if not fits(row[key])]
        low, high = row["low"], row["high"]
        if (low is None) != (high is None) or (_is_number(low) and _is_number(high) and low > high):
            found.append(f"row {number}: the interval is [{low}, {high}]")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class RunRecord:
    """One run read back; `record` is its run.json."""

    path: Path
    record: dict[str, Any]

    @property
    def status(self) -> str:
        """One of complete, failed, interrupted, and unfinished: killed without a word, or still running."""
        return self.record.get("status", "unfinished")

    @property
    def notebook(self) -> str:
        return self.record["notebook"]["name"]

    @property
    def preset(self) -> str | None:
        return self.record.get("preset")

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: entry["value"] for name, entry in self.record.get("parameters", {}).items()}

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The rows of metrics.json, columns METRIC_KEYS; no rows where the run wrote none."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(METRIC_KEYS))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """metrics.json as it stands, or metrics.json.gz, as the gallery has it."""
        packed = self.path / "metrics.json.gz"
        if packed.is_file():
            try:
                return json.loads(gzip.decompress(packed.read_bytes()))
            except (OSError, EOFError, ValueError) as error:
                raise InputError(f"{packed}: not readable ({error}); add the run to the gallery again") from None
        return _read_json(self.path / "metrics.json", default=[])

    @cached_property
    def data(self) -> list[dict[str, Any]]:
        entries = _read_json(self.path / "data.json", default=[])
        named = isinstance(entries, list) and all(
            isinstance(e, dict) and isinstance(e.get("name"), str) for e in entries
        )
        if not named:
            raise InputError(
                f"{self.path / 'data.json'}: it is not as the runner writes it; remove the folder, and run again"
            )
        return entries

    @cached_property
    def predictions(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.path / "predictions.parquet")

    @cached_property
    def history(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_csv(self.path / "history.csv")


def read(folder: str | Path) -> RunRecord:
    """The run in `folder`, whatever its status. Raises InputError where there is none, or its record is not one."""
    folder = Path(folder)
    for name in ("run.json", "started.json"):
        if (folder / name).is_file():
            record = _read_json(folder / name)
            if fault := _record_fault(record):
                raise InputError(f"{folder / name}: {fault}; remove the folder, and run again")
            return RunRecord(folder, record)
    raise InputError(f"{folder}: holds no run (no run.json); give a folder such as reports/NOTEBOOK/RUN")


def _record_fault(record: Any) -> str:
    """What keeps `record` from being what the runner writes, as far as every reader relies on it; "" for nothing."""
    if not isinstance(record, dict):
        return "it is not as the runner writes it"
    notebook, parameters = record.get("notebook"), record.get("parameters", {})
    fits = {
        "notebook": isinstance(notebook, dict) and isinstance(notebook.get("name"), str),
        "started": isinstance(record.get("started", ""), str),
        "parameters": isinstance(parameters, dict)
        and all(isinstance(entry, dict) and "value" in entry for entry in parameters.values()),
        "status": record.get("status", "failed") in ("complete", "failed", "interrupted"),
        "duration_s": _is_number(record.get("duration_s", 0)),
        "git": isinstance(record.get("git") or {}, dict),
        "environment": isinstance(record.get("environment", {}), dict),
    }
    odd = [key for key, right in fits.items() if not right]
    return f"it is not as the runner writes it ({', '.join(odd)})" if odd else ""


def runs(reports: str | Path, notebook: str = "*") -> list[RunRecord]:
    """All runs under ``reports/NOTEBOOK/RUN/``, newest first."""
    reports = Path(reports)
    folders = {p.parent for name in ("run.json", "started.json") for p in reports.glob(f"{notebook}/*/{name}")}
    return sorted(map(read, folders), key=lambda run: run.record.get("started", ""), reverse=True)


def _read_json(path: Path, default: Any = None) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is None:
            raise
        return default
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); remove it and run again") from None
