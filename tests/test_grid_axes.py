"""The lists of a grid's file: every way in which they can be wrong, and how many runs they make."""

from __future__ import annotations

from pathlib import Path

import grid_files
import pytest
from grid_files import HEAD, load, sentence

from ecglib import grid_axes
from ecglib.errors import InputError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return grid_files.make(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebooks: [oen]\npresets: [smoke]\n", "oen: there is no notebooks/oen.ipynb. Did you mean 'one'?"),
        ("notebooks: one\npresets: [smoke]\n", "`notebooks` must be a list of names"),
        ("notebooks: [one, one]\npresets: [smoke]\n", "`notebooks` names 'one' twice; keep one"),
        ("notebooks: [compare_runs]\npresets: [smoke]\n", "compare_runs comes behind the runs by itself"),
        ("notebooks: [one]\n", "`presets` must be a list of names"),
        ("notebooks: [one]\npresets: [smok]\n", "no preset 'smok' in params/one. Did you mean 'smoke'?"),
        (HEAD + "seeds: [0.5]\n", "`seeds` must be a list of whole numbers"),
        (HEAD + "seeds: [1, 1]\n", "`seeds` names 1 twice"),
        ("notebooks: [none]\npresets: [smoke]\nseeds: [1]\n", "none has neither `seed` nor `seeds`; leave"),
        (HEAD + "parameters: {widht: [1]}\n", "one has no parameter 'widht'. Did you mean 'width'?"),
        (HEAD + "parameters: {width: 1}\n", "parameter 'width' needs a list of the values to try, such as [1]"),
        (HEAD + "parameters: {width: []}\n", "parameter 'width' needs a list of the values to try"),
        (HEAD + "parameters: {width: [wide]}\n", "parameter 'width' is 'wide', but it must be a number"),
        (HEAD + "parameters: {width: [1, 1.0]}\n", "parameter 'width' holds a value twice; keep one"),
        (HEAD + "parameters: {leads: [I]}\n", "parameter 'leads' is 'I', but it must be a list"),
        (HEAD + "parameters: {seed: [1]}\n", "parameter 'seed' is not set here; give the values under `seeds`"),
        (HEAD + "parameters: {out: [x]}\n", "parameter 'out' is not set here; the grid names the folders"),
        (HEAD + "parameters: {two.width: [1]}\n", "'two.width' names a notebook that is not in the grid"),
        (HEAD + "parameters: [width]\n", "`parameters` must hold lines"),
        (HEAD + "most: 0\n", "`most` is 0"),
        (HEAD + "seeds: [1, 2]\nmost: 1\n", "1 preset x 2 seeds = 2 runs of one, 2 in all and more than 1;"),
    ],
)
def test_a_list_that_cannot_be_run_is_one_sentence(text, said):
    assert said in sentence(text)


def test_the_size_of_a_large_product_is_said_before_it_is_made():
    seeds = ", ".join(map(str, range(1000)))
    with pytest.raises(InputError, match=r"2 presets x 1000 seeds = 2,000 runs of one, 2,000 in all"):
        load(f"notebooks: [one]\npresets: [smoke, demo]\nseeds: [{seeds}]\n")


def test_a_notebooks_own_values_go_before_those_for_all():
    given = {
        "notebooks": ["one", "two"],
        "presets": ["smoke"],
        "parameters": {"width": [0.25, 0.5], "two.width": [2.0]},
    }
    axes = grid_axes.read(given, "g.yaml", Path.cwd())
    assert grid_axes.values_of(axes, "one") == {"width": [0.25, 0.5]}
    assert grid_axes.values_of(axes, "two") == {"width": [2.0]}
    assert grid_axes.product(axes) == (
        "1 preset x 2 values of width = 2 runs of one; 1 preset x 1 value of width = 1 run of two"
    )
