"""docs/cluster.md: its commands, its example and the profiles that it names."""

from __future__ import annotations

import shlex

import commands
import pytest
import snakemake_command
import yaml
from where import REPO

from ecglib import grid

PAGE = REPO / "docs/cluster.md"
COMMANDS = commands.of(PAGE)


def test_its_commands_are_found():
    assert len([c for c in COMMANDS if "-m snakemake" in c]) >= 5
    assert len([c for c in COMMANDS if "-m ecglib.grid" in c]) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command, monkeypatch):
    monkeypatch.chdir(REPO)
    words = shlex.split(command)
    assert words[:2] == [".venv/bin/python", "-m"]
    if words[2] == "snakemake":
        snakemake_command.understood(words[3:])
    else:
        assert words[2] == "ecglib.grid"
        assert words[3] in ("check", "list", "status")
        assert grid.load(words[4]).members
        assert words[5:] in ([], ["--watch"])


def test_its_example_is_the_grid_that_it_names():
    example = next(block for block in commands.blocks(PAGE, "yaml") if block.startswith("# workflow/grids/"))
    path = REPO / example.splitlines()[0].removeprefix("# ")
    assert yaml.safe_load(example) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("profile", ["default", "slurm", "kubernetes"])
def test_every_option_of_a_profile_is_known(profile):
    import snakemake_executor_plugin_slurm  # noqa: F401 - its options are the parser's
    from snakemake.cli import get_argument_parser

    known = {option.lstrip("-") for action in get_argument_parser()._actions for option in action.option_strings}
    given = yaml.safe_load((REPO / f"workflow/profiles/{profile}/config.yaml").read_text())
    unknown = set(given) - known
    if profile == "kubernetes":
        assert "UNTESTED" in (REPO / "workflow/profiles/kubernetes/config.yaml").read_text()
        unknown = {option for option in unknown if not option.startswith("kubernetes-")}
    assert not unknown
