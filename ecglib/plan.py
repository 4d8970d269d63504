"""From a command's options to what is to be run: everything that can be wrong is found before a kernel starts."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ecglib import errors, parameters, provenance, ranks, results
from ecglib.errors import InputError


@dataclass(frozen=True)
class Plan:
    """What is to be run, all of it checked."""

    root: Path
    notebook: Path
    preset: str | None
    settings: parameters.Settings
    out: Path
    command: str

    @property
    def name(self) -> str:
        return self.notebook.stem

    def shown(self, path: Path) -> str:
        """`path` as seen from the root."""
        return os.path.relpath(path, self.root)


def find_notebook(name: str) -> tuple[Path, Path]:
    """(the repository's root, the notebook) for a bare name or a path. Raises InputError with the nearest name."""
    if name.endswith(".ipynb") or os.sep in name:
        path = Path(name).resolve()
        if not path.is_file() or path.suffix != ".ipynb":
            raise InputError(f"{name}: there is no such .ipynb; give its path, or a name under notebooks/")
        return results.root(path.parent), path
    root = results.root()
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.ipynb"))
        raise InputError(f"{name}: there is no notebooks/{name}.ipynb.{errors.nearest(name, known)}")
    return root, path


def make_plan(options: argparse.Namespace) -> Plan:
    """Checks everything that can be checked before a kernel starts. Raises InputError."""
    root, notebook = find_notebook(options.notebook)
    schema = parameters.read_schema(notebook, shown=os.path.relpath(notebook, root))
    if "out" not in schema or schema["out"].kind is not str:
        raise InputError(f"{notebook.name}: its parameters cell lacks `out: str`, the folder that a run writes into")
    preset = None if options.preset is None else parameters.find_preset(root, notebook.stem, options.preset)
    shown = "" if preset is None else os.path.relpath(preset, root)
    overrides = [_portable(override, root) for override in options.overrides]
    settings = parameters.resolve(schema, preset, overrides, shown=shown)
    if "out" in settings.sources:
        raise InputError("parameter 'out' is set by --out; take it out of the preset and of -p")
    out = (
        root / default_out(notebook.stem, options.preset, overrides) if options.out is None else options.out
    ).resolve()
    if out == root or out in root.parents:
        raise InputError(
            f"--out {options.out}: a report cannot go into the repository's root; give a folder of its own"
        )
    settings.values["out"] = os.path.relpath(out, root)
    settings.sources["out"] = "runner" if options.out is None else "command line"
    return Plan(root, notebook, options.preset, settings, out, _command(root, notebook, options, overrides, out))


def _portable(override: str, root: Path) -> str:
    name, equals, value = override.partition("=")
    return f"{name}{equals}{provenance.portable(value, root)}"


def default_out(notebook: str, preset: str | None, overrides: list[str]) -> str:
    """``reports/NOTEBOOK/PRESET+name=value...``, "default" where there is no preset; see the module's docstring."""
    parts = [preset or "default", *(override for override in sorted(overrides) if not override.startswith("data="))]
    name = "+".join(re.sub(r"[^\w.=-]+", "_", part) for part in parts)
    if len(name) > 100:  # a file name holds 255 bytes
        name = f"{name[:80]}+{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"reports/{notebook}/{name}"


def _command(root: Path, notebook: Path, options: argparse.Namespace, overrides: list[str], out: Path) -> str:
    """The command that makes this run again, from the repository's root."""
    inside = notebook.parent == root / "notebooks"
    words = [*ranks.command(), "-m", "ecglib.run", notebook.stem if inside else os.path.relpath(notebook, root)]
    words += ["--preset", options.preset] if options.preset else []
    for override in overrides:
        words += ["-p", override]
    words += ["--out", os.path.relpath(out, root)] if options.out is not None else []
    words += ["--cpu-threads", str(options.cpu_threads)] if options.cpu_threads else []
    return shlex.join(words)
