"""Whether a run would still come out as its report says: what it was made from, then and now.

Five things are compared with what run.json and data.json have on record: the notebook; the files of ``ecglib/`` that
the notebook had loaded (of a run that ended early, all of them; of one from before these were recorded, what git says
of its commit); the values that its preset and the notebook give today to what the command line did not set; the
cohorts; and the versions of the packages that the notebook had loaded. Where one cannot be told, that is a reason too.

A cohort in the run's cache that is gone is none: it is built again from its source, and then compared.
"""

from __future__ import annotations

import json
import platform
from functools import cache
from pathlib import Path
from typing import Any

from ecglib import environment, parameters, provenance
from ecglib.errors import InputError
from ecglib.results import RunRecord

MOST = 4  # names in a sentence


def reasons(run: RunRecord, root: Path) -> list[str]:
    """Why the run's report no longer holds for the repository at `root`, a sentence each; [] when it does."""
    return Today(root).reasons(run)


class Today:
    """The repository at `root` as it stands; each thing is looked at once, however many runs are judged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cells = cache(lambda path: provenance.cells_digest(root / path))
        self._sha256 = cache(lambda path: provenance.sha256(root / path))
        self._sources = cache(lambda: provenance.sources(root))
        self._since = cache(self._changed_since)
        self._settings = cache(self._resolved)
        self._installed = cache(provenance.installed)
        self._pins = cache(lambda: environment.locked(root / "requirements.lock"))
        self._fingerprint = cache(self._read_fingerprint)

    def reasons(self, run: RunRecord) -> list[str]:
        """As the module's `reasons`; nothing is said of a run without run.json, which holds no result."""
        record = run.record
        if run.status == "unfinished":
            return []
        found = [self._notebook(record["notebook"]), self._code(record), *self._parameters(record)]
        found += [*self._data(run), *self._environment(record.get("environment", {}))]
        return [reason for reason in found if reason]

    def _notebook(self, notebook: dict[str, Any]) -> str:
        path = notebook.get("path", f"notebooks/{notebook['name']}.ipynb")
        name = Path(path).name
        if not (self.root / path).is_file():
            return f"The notebook {name} is gone."
        if "cells" in notebook:
            same = self._cells(path) == notebook["cells"]
        else:
            same = self._sha256(path) == notebook.get("sha256")
        return "" if same else f"The notebook {name} has changed."

    def _code(self, record: dict[str, Any]) -> str:
        if "sources" in record:
            today = self._sources()
            changed = [name for name, digest in record["sources"].items() if today.get(name) != digest]
            return f"The code has changed: {_some(changed)}." if changed else ""
        commit = record.get("git", {}).get("commit")
        if not commit:
            return "Whether the code has changed cannot be told: the run is on record without a commit."
        changed = self._since(commit)
        if changed is None:
            return f"Whether the code has changed cannot be told: commit {commit[:12]} is not in this repository."
        return f"The code has changed since commit {commit[:12]}: {_some(changed)}." if changed else ""

    def _changed_since(self, commit: str) -> list[str] | None:
        printed = provenance.git(self.root, "diff", "--name-only", "-z", commit, "--", provenance.PACKAGE)
        return None if printed is None else [name for name in printed.split("\0") if name.endswith(".py")]

    def _parameters(self, record: dict[str, Any]) -> list[str]:
        entries = {name: entry for name, entry in record.get("parameters", {}).items() if name != "out"}
        notebook = record["notebook"].get("path", "")
        if not (self.root / notebook).is_file():
            return []  # said already
        try:
            today = self._settings(notebook, record.get("preset"))
        except InputError as error:
            return [f"Its parameters can no longer be had: {str(error).rstrip('.')}."]
        changed = []
        for name, entry in entries.items():
            if name not in today:
                changed.append(f"{name} is gone")
            elif entry["source"] != "command line" and json.dumps(today[name]) != json.dumps(entry["value"]):
                changed.append(f"{name} is {json.dumps(today[name])} now, was {json.dumps(entry['value'])}")
        changed += [f"{name} is new" for name in today if name not in entries]
        return [f"Parameters have changed: {_some(changed)}."] if changed else []

    def _resolved(self, notebook: str, preset: str | None) -> dict[str, Any]:
        """What the notebook at the path and the preset give today; not `out`, which the runner sets."""
        path = self.root / notebook
        schema = parameters.read_schema(path, shown=notebook)
        file = None if preset is None else parameters.find_preset(self.root, path.stem, preset)
        values = parameters.resolve(schema, file, (), shown=f"preset {preset}").values
        return {name: value for name, value in values.items() if name != "out"}

    def _data(self, run: RunRecord) -> list[str]:
        found = {}
        for entry in run.data:
            if not (path := entry.get("path")):  # of a run from before places were recorded
                continue
            today = self._fingerprint(path)
            cached = Path(path).is_relative_to(str(run.parameters.get("cache", "cache")))
            if today is None and not cached:
                found[path] = f"The data {entry['name']} are no longer at {path}."
            elif today is not None and today != entry["fingerprint"]:
                found[path] = f"The data {entry['name']} at {path} have changed."
        return list(found.values())

    def _read_fingerprint(self, path: str) -> str | None:
        try:
            return json.loads((self.root / path / "cohort.json").read_text(encoding="utf-8")).get("fingerprint", "")
        except (OSError, ValueError, AttributeError):
            return None

    def _environment(self, then: dict[str, Any]) -> list[str]:
        found, now = [], platform.python_version()
        if _minor(then.get("python", now)) != _minor(now):
            found.append(f"Python is {now}, was {then['python']}.")
        used = then.get("imported") or then.get("packages", {})
        installed = self._installed()
        other = [
            f"{name} is {installed.get(provenance.normalised(name), 'not installed')}, was {version}"
            for name, version in used.items()
            if installed.get(provenance.normalised(name)) != version
        ]
        if other:
            found.append(f"Packages have changed: {_some(other)}.")
        elif then.get("lock") and self._sha256("requirements.lock") != then["lock"]:
            pins = self._pins() if (self.root / "requirements.lock").is_file() else {}
            other = [name for name, version in used.items() if version not in pins.get(name, {version})]
            if other or not pins:
                found.append(f"requirements.lock has changed{f', for {_some(other)}' if other else ': it is gone'}.")
        return found


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _some(items: list[str]) -> str:
    more = f" and {len(items) - MOST} more" if len(items) > MOST else ""
    return ", ".join(items[:MOST]) + more
