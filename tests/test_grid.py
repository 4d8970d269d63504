"""A grid's file: what it makes, and every way in which it can be wrong."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import grid_files
import pytest
from grid_files import load, sentence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from where import REPO

from ecglib import grid, plan, run
from ecglib.errors import InputError

HEAD = "notebooks: [one]\npresets: [smoke]\n"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return grid_files.make(tmp_path)


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "seed: [1]\n", "a grid has no 'seed'. Did you mean 'seeds'?"),
        (HEAD + "compare: {drawz: 3}\n", "compare_runs has no parameter 'drawz'. Did you mean 'draws'?"),
        (HEAD + "compare: {runs: [x]}\n", "'runs' of compare_runs is set by the grid"),
        (HEAD + "compare: yes\n", "`compare` holds parameters of compare_runs"),
        ("notebooks: [one\n", "not readable as YAML"),
    ],
)
def test_a_bad_grid_is_one_sentence(text, said):
    assert said in sentence(text)


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
    message = sentence(f"{HEAD}seeds: [0.5]\n")
    assert grid.main(["check", "g.yaml"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    with pytest.raises(SystemExit):
        grid.main(["check", "g.yaml", "--watch"])
    assert "--watch goes with status" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((REPO / "workflow/grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_of_this_repository_are_sound(path, monkeypatch):
    monkeypatch.chdir(REPO)
    assert grid.load(path).members
