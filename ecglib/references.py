"""Reference executions of the notebooks, small: what nbval compares a fresh run's tables with.

    python -m ecglib.references                  makes all of tests/references/ anew
    python -m ecglib.references lead_kd          one of them

A reference is the notebook with the parameters of its preset `smoke`, executed twice. Cells whose tables came out alike
both times keep them, with the words beside them, and are tagged `nbval-check-output`; a table that differs (times,
memory) and everything else (pictures, printed lines) is left out: nbval runs those cells and asks only that they do not
fail. Numbers are compared to the second decimal (`SANITISE`).

The trainings behind those tables end in other last digits on another kind of processor, whose libraries add in another
order. So both the making and the comparing take the arithmetic that every x86-64 machine of the last ten years has
(`ARITHMETIC`), and one thread.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ecglib import atomic, errors, results
from ecglib.errors import InputError
from ecglib.execution import DETERMINISM

FOLDER = Path("tests") / "references"
SANITISE = FOLDER / "rounding.cfg"
CHECK = "nbval-check-output"
ARITHMETIC = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    **DETERMINISM,
}


def names(root: Path) -> list[str]:
    """The notebooks that have a preset `smoke`."""
    return sorted(path.parent.name for path in (root / "params").glob("*/smoke.yaml"))


def make(root: Path, name: str) -> Path:
    """Executes the notebook twice, writes its reference, and returns that; says on stderr which tables are left out.

    Raises:
        InputError: no such notebook, or a run that fails.
    """
    import nbformat

    if name not in names(root):
        raise InputError(f"{name}: there is no params/{name}/smoke.yaml.{errors.nearest(name, names(root))}")
    with tempfile.TemporaryDirectory() as folder:
        runs = [_executed(root, name, Path(folder) / number) for number in ("first", "second")]
    reference = reduced(*runs)
    for cell in reference.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.source = _with_out(cell.source, f"cache/references/{name}")
    path = root / FOLDER / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(path) as temporary:
        temporary.write_text(nbformat.writes(reference) + "\n", encoding="utf-8")
    return path


def _executed(root: Path, name: str, out: Path) -> Any:
    import nbformat

    words = [sys.executable, "-m", "ecglib.run", name, "--preset", "smoke", "--no-html", "--out", str(out)]
    done = subprocess.run(words, cwd=root, env={**os.environ, **ARITHMETIC}, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        raise InputError(f"{name}: its preset smoke does not complete ({last[0]}); mend that first.")
    return nbformat.read(out / "executed.ipynb", as_version=4)


def _with_out(source: str, out: str) -> str:
    """The injected parameters with a place for the results that holds in any clone."""
    lines = [f"out = {out!r}" if line.startswith("out = ") else line for line in source.splitlines()]
    return "\n".join(lines).replace("'", '"') if f"out = {out!r}" in lines else source


def reduced(first: Any, second: Any) -> Any:
    """The first of two executions of one notebook with nothing left but the tables on which both agree."""
    made = copy.deepcopy(first)
    for number, (cell, again) in enumerate(zip(made.cells, second.cells, strict=True)):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        shown, others = _shown(cell), _shown(again)
        tables = any("<table" in "".join(each.get("text/html", "")) for each in shown)
        alike = tables and shown == others and len(shown) == len(cell.outputs)
        if tables and not alike:
            print(f"cell {number}: its tables are left out, as they differ or stand beside pictures", file=sys.stderr)
        cell.outputs = cell.outputs if alike else []
        cell.execution_count = 1 if alike else None  # nbval takes a cell without one for a cell that did not run
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = 1
        tags = [tag for tag in cell.metadata.get("tags", ()) if tag != CHECK]
        cell.metadata["tags"] = [*tags, CHECK] if alike else tags
    made.metadata.pop("papermill", None)
    return made


def _shown(cell: Any) -> list[Any]:
    """What nbval would compare of a cell's outputs: the data of those that are no pictures and no printed lines."""
    every = [output.get("data", {}) for output in cell.outputs]
    return [data for data in every if data and not any(kind.startswith("image/") for kind in data)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ecglib.references", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks; all where none is named")
    options = parser.parse_args(arguments)
    try:
        root = results.root()
        for name in options.names or names(root):
            print(make(root, name).relative_to(root))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
