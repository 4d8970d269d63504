"""A `python -m snakemake` command of a page, checked short of starting it."""

from __future__ import annotations

from pathlib import Path

from where import REPO

from ecglib import grid


def understood(words: list[str]) -> None:
    """The words behind ``snakemake``: its options, profile, grid and our own settings; AssertionError or SystemExit."""
    from snakemake.cli import parse_args

    _, options = parse_args(words)
    assert all((REPO / profile / "config.yaml").is_file() for profile in options.profile or ()), options.profile
    settings = dict(each.split("=", 1) for each in options.config or ())
    assert set(settings) <= {"grid", "gpus", "every", "first_wait"}, settings
    assert Path(settings["grid"]).parts[0] == "workflow"
    assert grid.load(settings["grid"]).members
