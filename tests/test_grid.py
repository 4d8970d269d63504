"""A grid's file: what it makes, and every way in which it can be wrong."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import v4
from where import REPO

from ecglib import grid, plan, run
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


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/limits.yaml").write_text("default: {minutes: 5, memory_mb: 100, threads: 1, gpus: 0}\n")
    for name, cell in (("one", ONE), ("two", TWO), ("none", NONE), ("compare_runs", COMPARE)):
        cells = [v4.new_code_cell(cell, metadata={"tags": ["parameters"]})]
        nbformat.write(v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
        (tmp_path / "params" / name).mkdir(parents=True)
        for preset in ("smoke", "demo"):
            (tmp_path / "params" / name / f"{preset}.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, name: str = "g.yaml") -> grid.Grid:
    Path(name).write_text(text)
    return grid.load(name)


def test_every_combination_is_a_run_that_the_runner_understands(root):
    made = load(
        "notebooks: [one, two]\npresets: [smoke, demo]\nseeds: [3, 4]\n"
        "parameters:\n  width: [0.25, 1]\n  one.leads: [[I], [I, II]]\n"
        "limits:\n  demo: {minutes: 50, gpus: 1}\ncompare: {draws: 20}\n"
    )
    assert len(made.members) == 2 * 2 * 2 * 2 + 2 * 2 * 2
    assert made.product == (
        "2 presets x 2 seeds x 2 values of width x 2 values of leads = 16 runs of one; "
        "2 presets x 2 seeds x 2 values of width = 8 runs of two"
    )
    wanted = set(itertools.product(("smoke", "demo"), (3, 4), (0.25, 1.0), ("I", "I II")))
    ones = [m.plan for m in made.members if m.plan.name == "one"]
    values = [(p.preset, p.settings.values) for p in ones]
    assert {(preset, v["seed"], v["width"], " ".join(v["leads"])) for preset, v in values} == wanted
    assert {tuple(m.plan.settings.values["seeds"]) for m in made.members if m.plan.name == "two"} == {(3,), (4,)}
    assert len({m.folder for m in made.members}) == len(made.members)
    assert {m.limits.minutes for m in made.members if m.plan.preset == "demo"} == {50}
    assert {m.limits for m in made.members if m.plan.preset == "smoke"} == {grid.Limits(5, 100, 1, 0)}
    for member in made.members:
        again = plan.make_plan(run._options(shlex.split(member.arguments)))
        assert again.settings.values == member.plan.settings.values
        assert again.out == member.plan.out
        assert again.out.parent.parent == root / "reports"  # where the list of all runs looks
    assert made.compare.plan.settings.values["runs"] == [m.folder for m in made.members]
    assert made.compare.plan.settings.values["draws"] == 20
    assert made.compare.folder == "reports/compare_runs/grid-g"


def test_folders_that_a_name_would_not_tell_apart_are_apart(root):
    text = "notebooks: [one]\npresets: [smoke]\nparameters:\n  data: [synthetic, other, a/b]\n  leads: [[I], ['(I']]\n"
    made = load(text)
    assert len({m.folder for m in made.members}) == 6
    single = load("notebooks: [one]\npresets: [smoke]\nparameters:\n  data: [other]\n")
    assert single.members[0].folder == "reports/one/smoke"  # as the runner alone would have it


def test_text_that_looks_like_a_number_stays_text(root):
    made = load("notebooks: [one]\npresets: [smoke]\nparameters:\n  kind: ['1e-3']\n  data: ['2011']\n  rate: [null]\n")
    values = made.members[0].plan.settings.values
    assert (values["kind"], values["data"], values["rate"]) == ("1e-3", "2011", None)


HEAD = "notebooks: [one]\npresets: [smoke]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebooks: [oen]\npresets: [smoke]\n", "oen: there is no notebooks/oen.ipynb. Did you mean 'one'?"),
        ("notebooks: one\npresets: [smoke]\n", "`notebooks` must be a list of names"),
        ("notebooks: [one, one]\npresets: [smoke]\n", "`notebooks` names 'one' twice; keep one"),
        ("notebooks: [compare_runs]\npresets: [smoke]\n", "compare_runs comes behind the runs by itself"),
        ("notebooks: [one]\n", "`presets` must be a list of names"),
        ("notebooks: [one]\npresets: [smok]\n", "no preset 'smok' in params/one. Did you mean 'smoke'?"),
        (HEAD + "seed: [1]\n", "a grid has no 'seed'. Did you mean 'seeds'?"),
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
        (HEAD + "compare: {drawz: 3}\n", "compare_runs has no parameter 'drawz'. Did you mean 'draws'?"),
        (HEAD + "compare: {runs: [x]}\n", "'runs' of compare_runs is set by the grid"),
        (HEAD + "compare: yes\n", "`compare` holds parameters of compare_runs"),
        (HEAD + "limits: {smoke: {minute: 3}}\n", "the limits of 'smoke' have no 'minute'. Did you mean 'minutes'?"),
        (HEAD + "limits: {smoke: {minutes: 0}}\n", "the limit 'minutes' of 'smoke' is 0; give a whole number, 1 or"),
        (HEAD + "limits: 3\n", "limits are lines"),
        (HEAD + "most: 0\n", "`most` is 0"),
        (HEAD + "seeds: [1, 2]\nmost: 1\n", "1 preset x 2 seeds = 2 runs of one, 2 in all and more than 1;"),
        ("notebooks: [one\n", "not readable as YAML"),
    ],
)
def test_a_bad_grid_is_one_sentence(root, capsys, text, said):
    with pytest.raises(InputError) as caught:
        load(text)
    message = str(caught.value)
    assert said in message
    assert message.startswith("g.yaml")
    assert "\n" not in message
    assert grid.main(["check", "g.yaml"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_the_size_of_a_large_product_is_said_before_it_is_made(root):
    seeds = ", ".join(map(str, range(1000)))
    with pytest.raises(InputError, match=r"2 presets x 1000 seeds = 2,000 runs of one, 2,000 in all"):
        load(f"notebooks: [one]\npresets: [smoke, demo]\nseeds: [{seeds}]\n")


def test_without_limits_there_is_a_sentence_that_says_which(root):
    (root / "workflow/limits.yaml").unlink()
    with pytest.raises(InputError, match="'smoke' has no limits"):
        load(HEAD)


def test_too_many_names_for_one_command(root):
    seeds = ", ".join(map(str, range(3000)))
    with pytest.raises(InputError, match="too long for one command"):
        load(f"{HEAD}seeds: [{seeds}]\nmost: 3000\nparameters: {{kind: [plain]}}\n")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    widths=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3, unique=True),
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=6), min_size=1, max_size=3, unique=True
    ),
)
def test_any_values_reach_the_runner_as_they_are_in_folders_of_their_own(root, widths, names):
    made = load(
        f"{HEAD}parameters: {json.dumps({'width': widths, 'leads': [[name] for name in names]}, ensure_ascii=False)}\n"
    )
    found = set()
    for member in made.members:
        values = plan.make_plan(run._options(shlex.split(member.arguments))).settings.values
        found.add((values["width"], values["leads"][0]))
    assert found == set(itertools.product(map(float, widths), names))
    assert len({m.folder for m in made.members}) == len(made.members)


def test_the_commands_of_a_grid(root, capsys):
    Path("g.yaml").write_text(f"{HEAD}seeds: [7]\n")
    assert grid.main(["check", "g.yaml"]) == 0
    assert capsys.readouterr().out == "g: 1 preset x 1 seed = 1 run of one\n"
    assert grid.main(["list", "g.yaml"]) == 0
    assert "  python -m ecglib.run one --preset smoke -p seed=7\n" in capsys.readouterr().out
    assert grid.main(["status", "g.yaml"]) == 1
    assert "0 of 1 runs done, 0 running, 0 failed, 1 to come" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((REPO / "workflow/grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_of_this_repository_are_sound(path, monkeypatch):
    monkeypatch.chdir(REPO)
    assert grid.load(path).members
