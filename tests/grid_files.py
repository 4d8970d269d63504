"""A repository with notebooks of three kinds, in which grids are read: what the tests of grids share."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from ecglib import grid
from ecglib.errors import InputError

ONE = """\
from typing import Literal

width: float = 0.5  # of the network
leads: list[str] = ["I"]  # what is looked at
kind: Literal["plain", "1e-3"] = "plain"  # which
data: str = "synthetic"  # where the records lie
rate: int | None = None  # Hz
seed: int = 0  # of chance
out: str = "reports/one/manual"  # where the run leaves its results
"""
TWO = 'seeds: list[int] = [0]  # each\nwidth: float = 1.0  # of it\nout: str = "reports/two/manual"  # folder\n'
NONE = 'width: float = 1.0  # of it\nout: str = "reports/none/manual"  # folder\n'
COMPARE = 'runs: list[str] = []  # folders\ndraws: int = 10  # of them\nout: str = "reports/c/manual"  # folder\n'

HEAD = "notebooks: [one]\npresets: [smoke]\n"


def make(root: Path) -> Path:
    """Notebooks `one`, `two`, `none` and `compare_runs`, each with presets smoke and demo."""
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    (root / "workflow").mkdir()
    (root / "workflow/limits.yaml").write_text("default: {minutes: 5, memory_mb: 100, threads: 1, gpus: 0}\n")
    for name, cell in (("one", ONE), ("two", TWO), ("none", NONE), ("compare_runs", COMPARE)):
        cells = [v4.new_code_cell(cell, metadata={"tags": ["parameters"]})]
        nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")
        (root / "params" / name).mkdir(parents=True)
        for preset in ("smoke", "demo"):
            (root / "params" / name / f"{preset}.yaml").touch()
    return root


def load(text: str, name: str = "g.yaml") -> grid.Grid:
    """The grid of this text, written into the working folder."""
    Path(name).write_text(text)
    return grid.load(name)


def sentence(text: str) -> str:
    """What is said of a bad grid."""
    Path("g.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        grid.load("g.yaml")
    message = str(caught.value)
    assert message.startswith("g.yaml")
    assert "\n" not in message
    return message
