from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from ecglib import pairing

SCRIPT = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Title

# %% tags=["parameters"]
seed: int = 0  # of everything

# %%
x = 1

# %%
x = 1
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    script = tmp_path / "demo.py"
    script.write_text(SCRIPT)
    assert pairing.main(["--write", str(script)]) == 0
    return script, tmp_path / "demo.ipynb"


def test_written_notebook_is_valid_bare_and_the_same_each_time(pair: tuple[Path, Path]) -> None:
    script, notebook = pair
    text = notebook.read_text()
    node = nbformat.reads(text, as_version=4)
    nbformat.validate(node)
    assert [cell.source for cell in node.cells] == ["# Title", "seed: int = 0  # of everything", "x = 1", "x = 1"]
    assert node.cells[1].metadata.tags == ["parameters"]
    assert all(not cell.outputs and cell.execution_count is None for cell in node.cells[1:])
    assert len({cell.id for cell in node.cells}) == 4  # equal cells have ids of their own
    assert text == pairing.notebook_text(SCRIPT)
    assert pairing.main([str(script)]) == 0


def test_an_edited_cell_changes_no_other_id(pair: tuple[Path, Path]) -> None:
    before = json.loads(pairing.notebook_text(SCRIPT))["cells"]
    after = json.loads(pairing.notebook_text(SCRIPT.replace("seed: int = 0", "seed: int = 1")))["cells"]
    assert [a["id"] == b["id"] for a, b in zip(before, after)] == [True, False, True, True]


def edit(notebook: Path, change: str) -> None:
    node = nbformat.read(notebook, as_version=4)
    match change:
        case "source":
            node.cells[2].source = "x = 2"
        case "tag":
            node.cells[1].metadata.tags = []
        case "cell":
            del node.cells[3]
        case "output":
            node.cells[2].outputs = [nbformat.v4.new_output("stream", text="1\n")]
            node.cells[2].execution_count = 1
    nbformat.write(node, notebook)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("source", "demo.ipynb: cell 3 is not that of demo.py"),
        ("tag", "demo.ipynb: cell 2 is not that of demo.py"),
        ("cell", "demo.ipynb has 3 cells, demo.py has 4"),
        ("output", "demo.ipynb has outputs, counts or metadata of a session"),
    ],
)
def test_difference_is_told_and_written_away(
    pair: tuple[Path, Path], change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script, notebook = pair
    edit(notebook, change)
    assert pairing.main([str(script)]) == 1
    assert capsys.readouterr().err.startswith(message)
    assert pairing.main(["--write", str(script)]) == 0
    assert notebook.read_text() == pairing.notebook_text(SCRIPT)


def test_an_edit_in_the_notebook_can_be_taken_over(pair: tuple[Path, Path]) -> None:
    script, notebook = pair
    edit(notebook, "source")
    edit(notebook, "output")
    assert pairing.main(["--from-ipynb", str(script)]) == 0
    assert "x = 2" in script.read_text()
    assert "jupytext_version" not in script.read_text()
    assert pairing.main([str(script)]) == 0
    written = script.read_text()
    assert pairing.main(["--from-ipynb", str(script)]) == 0
    assert script.read_text() == written


def test_missing_halves(pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, notebook = pair
    notebook.unlink()
    assert pairing.main([str(script)]) == 1
    assert "demo.ipynb is missing" in capsys.readouterr().err
    assert pairing.main([str(tmp_path / "none.py")]) == 2
    assert "none.py" in capsys.readouterr().err
    notebook.write_text("{")
    assert pairing.main([str(script)]) == 2
    assert "demo.ipynb: not readable" in capsys.readouterr().err


def test_all_pairs_of_the_repository_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "a.py").write_text(SCRIPT)
    monkeypatch.chdir(folder)
    assert pairing.main([]) == 1
    assert pairing.main(["--write"]) == 0
    assert pairing.main([]) == 0
    (folder / "b.ipynb").write_text((folder / "a.ipynb").read_text())
    assert pairing.main([]) == 2  # b has no script
