"""What holds for every notebook and every preset, without running them."""

import ast

import jupytext
import nbformat
import pytest
from where import REPO

from ecglib import pairing, parameters, report

NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
PRESETS = sorted((REPO / "params").glob("*/*.yaml"))
USUAL = {"smoke", "demo", "ptb_xl"}
WITHOUT_PAPER = {"explore_cohort", "read_one_ecg"}
"""Notebooks that follow no paper, so that there are no settings of one to take."""
ON_RUNS = {"compare_runs"}
"""Notebooks that read finished runs and no data set: neither a paper's settings nor PTB-XL's."""


def name(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_is_source_without_results(notebook):
    node = nbformat.read(notebook, as_version=4)
    nbformat.validate(node)
    assert all(not cell.outputs and cell.execution_count is None for cell in node.cells if cell.cell_type == "code")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_the_pair_agrees(notebook):
    assert pairing.difference(notebook.with_suffix(".py"), notebook) is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_the_parameters_cell_is_a_schema(notebook):
    assert parameters.lint_schema(parameters.read_schema(notebook)) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_prose_needs_nothing_that_a_report_cannot_show(notebook):
    assert report.lint(nbformat.read(notebook, as_version=4)) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_reads_as_a_method_section(notebook):
    """Short cells, nothing defined, and prose between them."""
    cells = jupytext.read(notebook).cells
    code = [c for c in cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 20, cell.source
        defined = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Lambda)
        assert not any(isinstance(node, defined) for node in ast.walk(ast.parse(cell.source))), cell.source
    assert sum(c.cell_type == "markdown" for c in cells) >= len(code) / 3


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_the_usual_presets_are_there(notebook):
    there = {path.stem for path in PRESETS if path.parent.name == notebook.stem}
    usual = USUAL - {"ptb_xl"} if notebook.stem in ON_RUNS else USUAL
    assert there >= (usual if notebook.stem in WITHOUT_PAPER | ON_RUNS else usual | {"paper"})


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_is_valid_and_gives_its_reasons(preset):
    notebook = REPO / "notebooks" / f"{preset.parent.name}.ipynb"
    schema = parameters.read_schema(notebook)
    assert parameters.lint_preset(preset, schema) == []
    parameters.resolve(schema, preset, [], shown=preset.name)
