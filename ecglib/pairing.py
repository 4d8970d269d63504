"""Keeps ``notebooks/NAME.py`` (jupytext's percent format; what is read and reviewed) and ``NAME.ipynb`` one thing.

    python -m ecglib.pairing                 says which pairs differ; exit status 1 when one does
    python -m ecglib.pairing --write         makes each .ipynb from its .py, without outputs, the same bytes every time
    python -m ecglib.pairing --from-ipynb    the other way, after editing an .ipynb where jupytext does not pair

Pairs are compared by content: file times say nothing in a git checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

from ecglib import atomic, results
from ecglib.errors import InputError

METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},  # so that JupyterLab with jupytext saves both
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_text(script: str) -> str:
    """The .ipynb that belongs to the percent script `script`: no outputs, and ids that follow from the cells."""
    import jupytext
    import nbformat

    notebook = jupytext.reads(script, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        # an id changes only with its own cell, so that a diff of the .ipynb shows what changed and no more
        key = f"{cell.cell_type}\n{cell.source}"
        seen[key] = seen.get(key, 0) + 1
        cell.id = hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()[:8]
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def script_text(notebook: str) -> str:
    """The percent script that belongs to the text of an .ipynb."""
    import jupytext
    import nbformat

    node = nbformat.reads(notebook, as_version=4)
    node.metadata = nbformat.from_dict(METADATA)
    text = jupytext.writes(node, fmt="py:percent")
    # jupytext's own version in the header would change every script with every new release
    return "".join(line for line in text.splitlines(True) if not line.startswith("#       jupytext_version:"))


def difference(script: Path, notebook: Path) -> str | None:
    """How the pair differs, in one sentence, or None. Raises InputError for an unreadable notebook."""
    if not notebook.is_file():
        return f"{notebook.name} is missing"
    expected, found = notebook_text(script.read_text(encoding="utf-8")), notebook.read_text(encoding="utf-8")
    if expected == found:
        return None
    wanted, there = _cells(expected), _cells(found, name=notebook.name)
    for number, (ours, theirs) in enumerate(zip(wanted, there), start=1):
        if ours != theirs:
            return f"{notebook.name}: cell {number} is not that of {script.name}"
    if len(wanted) != len(there):
        return f"{notebook.name} has {len(there)} cells, {script.name} has {len(wanted)}"
    return f"{notebook.name} has outputs, counts or metadata of a session"


def _cells(text: str, name: str = "") -> list[tuple[Any, ...]]:
    import nbformat

    try:
        cells = nbformat.reads(text, as_version=4).cells
    except Exception as error:  # nbformat raises its own, json's and others
        raise InputError(f"{name}: not readable as a notebook ({type(error).__name__})") from None
    return [(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))) for cell in cells]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecglib.pairing", description=__doc__.split("\n")[0])
    parser.add_argument("scripts", nargs="*", type=Path, help="the .py files (default: all in notebooks/)")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--write", action="store_true", help="make each .ipynb from its .py")
    direction.add_argument("--from-ipynb", action="store_true", help="make each .py from its .ipynb")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    scripts = options.scripts or _all(results.root() / "notebooks")
    apart = 0
    for script in scripts:
        if script.suffix != ".py" or not script.with_suffix(".ipynb" if options.from_ipynb else ".py").is_file():
            raise InputError(f"{script}: there is no such .py with its .ipynb beside it; name the .py of a pair")
        notebook = script.with_suffix(".ipynb")
        if options.from_ipynb:
            _write(script, script_text(notebook.read_text(encoding="utf-8")))
        if options.write or options.from_ipynb:
            _write(notebook, notebook_text(script.read_text(encoding="utf-8")))
        elif message := difference(script, notebook):
            apart += 1
            print(f"{message}; `python -m ecglib.pairing --write` takes over the .py", file=sys.stderr)
    return 1 if apart else 0


def _all(folder: Path) -> list[Path]:
    """Every pair by its .py name; an .ipynb without a .py is one half of a pair too."""
    return sorted({path.with_suffix(".py") for path in (*folder.glob("*.py"), *folder.glob("*.ipynb"))})


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic.writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
