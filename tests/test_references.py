"""nbval over every notebook: it runs cell by cell, and its tables are those of the reference."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from where import REPO

from ecglib import parameters, references
from ecglib.errors import InputError

NOTEBOOKS = references.names(REPO)


def nbval(path, *, timeout=500):
    words = ["-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    words += ["--nbval-cell-timeout=300", "--nbval-sanitize-with", str(REPO / references.SANITISE), str(path)]
    environment = {**os.environ, **references.ARITHMETIC}
    return subprocess.run(
        [sys.executable, *words], cwd=path.parent, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fresh_run_agrees_with_the_reference(name):
    path = REPO / references.FOLDER / f"{name}.ipynb"
    cells = sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells)
    done = nbval(path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{cells} passed" in done.stdout


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_reference_is_of_this_notebook_and_preset(name):
    """Same cells, same parameters: else `python -m ecglib.references NAME` makes it anew."""
    source = nbformat.read(REPO / "notebooks" / f"{name}.ipynb", as_version=4).cells
    kept = nbformat.read(REPO / references.FOLDER / f"{name}.ipynb", as_version=4).cells
    injected = [cell for cell in kept if "injected-parameters" in cell.metadata.get("tags", ())]
    assert [cell.source for cell in kept if cell not in injected] == [cell.source for cell in source]
    (cell,) = injected
    schema = parameters.read_schema(REPO / "notebooks" / f"{name}.ipynb")
    wanted = parameters.resolve(schema, REPO / "params" / name / "smoke.yaml", []).changed()
    space: dict = {}
    exec(cell.source, space)
    given = {key: value for key, value in space.items() if not key.startswith("__")}
    assert given == {**wanted, "out": f"cache/references/{name}"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_reference_compares_tables_and_holds_nothing_else(name):
    cells = nbformat.read(REPO / references.FOLDER / f"{name}.ipynb", as_version=4).cells
    checked = [cell for cell in cells if references.CHECK in cell.metadata.get("tags", ())]
    assert checked
    for cell in cells:
        assert not cell.get("outputs") or cell in checked
    for cell in checked:
        assert any("<table" in output["data"].get("text/html", "") for output in cell.outputs)
        assert not any(kind.startswith("image/") for output in cell.outputs for kind in output["data"])


def _table(tmp_path, kept, computed):
    """nbval on a notebook whose one table was `kept` once and is `computed` now."""
    import pandas as pd

    frame = pd.DataFrame([[kept]])
    data = {"text/html": frame._repr_html_(), "text/plain": repr(frame)}
    cell = new_code_cell(f"import pandas as pd\npd.DataFrame([[{computed!r}]])", metadata={"tags": [references.CHECK]})
    cell.outputs, cell.execution_count = [new_output("execute_result", data, execution_count=1)], 1
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=[cell], metadata=kernel), tmp_path / "n.ipynb")
    return nbval(tmp_path / "n.ipynb", timeout=100)


def test_a_changed_number_is_caught_and_a_last_digit_is_not(tmp_path):
    assert _table(tmp_path, 0.8312, 0.8345).returncode == 0
    done = _table(tmp_path, 0.8312, 0.8412)
    assert done.returncode == 1
    assert re.search(r"mismatch|differ", done.stdout)


def _executed(*values, beside=None):
    cells = []
    for value in values:
        cell = new_code_cell("t")
        cell.outputs = [new_output("display_data", {"text/html": f"<table>{value}</table>", "text/plain": value})]
        if beside:
            cell.outputs.append(new_output("stream", name="stdout", text=beside))
        cells.append(cell)
    return new_notebook(cells=cells)


def test_only_tables_that_come_out_alike_are_kept(capsys):
    made = references.reduced(_executed("a", "b"), _executed("a", "c"))
    assert [bool(cell.outputs) for cell in made.cells] == [True, False]
    assert made.cells[0].metadata.tags == [references.CHECK]
    assert "cell 1: its tables are left out" in capsys.readouterr().err
    assert not references.reduced(_executed("a", beside="12 s"), _executed("a", beside="12 s")).cells[0].outputs


def test_a_notebook_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"there is no params/lead_k/smoke\.yaml.*lead_kd"):
        references.make(REPO, "lead_k")
