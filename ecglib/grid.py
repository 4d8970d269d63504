"""Grids of runs: one YAML file, checked before anything starts, becomes the runs that workflow/Snakefile starts.

    python -m ecglib.grid check workflow/grids/smoke.yaml     what it makes, and whether all of it can be run
    python -m ecglib.grid list workflow/grids/smoke.yaml      the command of every run
    python -m ecglib.grid status workflow/grids/smoke.yaml    done, running, failed, to come, and the time left
    python -m ecglib.grid status workflow/grids/smoke.yaml --watch     the same again and again, until all is done

A grid holds, of every list all combinations::

    notebooks: [lead_kd]                # names under notebooks/
    presets: [smoke]                    # names under params/NOTEBOOK/
    seeds: [0, 1, 2]                    # the notebook's `seed`, or `seeds` with one in it
    parameters:                         # any other, each with the values to try
      temperature: [1.0, 4.0]
      lead_kd.width: [0.125]            # of one notebook only
    compare: {draws: 2000}             # for compare_runs, which reads all runs; false: leave it out
    limits: {smoke: {minutes: 10}}      # a preset's, over those in workflow/limits.yaml
    most: 500                           # runs; a larger product is refused

Exit status: 0, or 2 and one sentence where the grid cannot be run; `status`: 1 unless every run is done.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecglib import errors, grid_axes, grid_limits, parameters, results, yaml12
from ecglib.errors import InputError
from ecglib.grid_axes import COMPARE, Axes
from ecglib.grid_limits import Limits
from ecglib.parameters import Schema
from ecglib.plan import Plan, find_notebook, make_plan

KEYS = ("notebooks", "presets", "seeds", "parameters", "compare", "limits", "most")
MOST = 500
LONGEST = 100_000  # characters: Linux passes 131,072 in one argument, and the shell's whole line is one


@dataclass(frozen=True)
class Member:
    """One run of a grid; `plan.out` is its folder, `settings` what its `-p` say."""

    plan: Plan
    settings: tuple[str, ...]
    limits: Limits

    @property
    def folder(self) -> str:
        """``reports/NOTEBOOK/RUN``."""
        return self.plan.shown(self.plan.out)

    @property
    def arguments(self) -> str:
        """The runner's, quoted for a shell; threads and time apart."""
        return self.plan.command.removeprefix("python -m ecglib.run ")


@dataclass(frozen=True)
class Grid:
    """A grid, all of it checked; `product` says in words how many runs there are and why."""

    name: str
    root: Path
    members: tuple[Member, ...]
    compare: Member | None
    product: str


def load(path: str | Path) -> Grid:
    """The grid in the YAML file at `path`, seen from the working folder. Raises InputError, a sentence."""
    shown, path = str(path), Path(path)
    root = results.root()
    given = yaml12.read_mapping(path, shown=shown)
    for key in given:
        if key not in KEYS:
            raise InputError(f"{shown}: a grid has no {key!r}.{errors.nearest(key, KEYS)}")
    axes = grid_axes.read(given, shown, root)
    grid_axes.check_size(axes, given.get("most", MOST))
    members = [m for name in axes.notebooks for m in _members(axes, name)]
    twice = [name for name, count in Counter(m.folder for m in members).items() if count > 1]
    members = [_apart(m) if m.folder in twice else m for m in members]
    compare = _compare(given.get("compare", {}), path.stem, members, axes)
    return Grid(path.stem, root, tuple(members), compare, grid_axes.product(axes))


def _members(axes: Axes, notebook: str) -> Iterable[Member]:
    schema, own = axes.notebooks[notebook], grid_axes.values_of(axes, notebook)
    seeds = [[grid_axes.seed_setting(axes, schema, seed)] for seed in axes.seeds] or [[]]
    for preset, seed, *values in itertools.product(axes.presets, seeds, *own.values()):
        settings = [f"{name}={_text(schema, name, value)}" for name, value in zip(own, values)] + seed
        yield _member(notebook, preset, settings, None, grid_limits.of(axes.limits, preset, axes.shown), axes.shown)


def _text(schema: Schema, name: str, value: Any) -> str:
    """`value` as a person would type it behind ``-p name=``."""
    if isinstance(value, str):
        with_quotes = schema[name].kind is not str and _not_a_word(value)
        return json.dumps(value, ensure_ascii=False) if with_quotes else value
    return json.dumps(value, ensure_ascii=False)


def _not_a_word(text: str) -> bool:
    try:
        return yaml12.loads(text, shown="") != text
    except InputError:
        return True


def _member(name: str, preset: str | None, settings: list[str], out: Path | None, limits: Limits, shown: str) -> Member:
    options = Namespace(notebook=name, preset=preset, overrides=settings, out=out, cpu_threads=None)
    try:
        return Member(make_plan(options), tuple(settings), limits)
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None


def _apart(member: Member) -> Member:
    """The same run in a folder whose name also tells what a name leaves out: `data`, and marks that are no letters."""
    digest = hashlib.sha256(json.dumps(sorted(member.settings)).encode()).hexdigest()[:8]
    plan = member.plan
    out = plan.out.with_name(f"{plan.out.name}+{digest}")
    return _member(plan.name, plan.preset, list(member.settings), out, member.limits, "the grid")


def _compare(given: Any, grid: str, members: list[Member], axes: Axes) -> Member | None:
    if given is False:
        return None
    if not isinstance(given, dict):
        raise InputError(f"{axes.shown}: `compare` holds parameters of {COMPARE}, such as {{draws: 2000}}, or is false")
    root, notebook = find_notebook(COMPARE)
    schema = parameters.read_schema(notebook, shown=f"notebooks/{COMPARE}.ipynb")
    for name, value in given.items():
        if name in ("runs", "out"):
            raise InputError(f"{axes.shown}: {name!r} of {COMPARE} is set by the grid; take it out of `compare`")
        schema.check(name, value, f"{axes.shown}, compare")
    runs = f"runs={json.dumps([member.folder for member in members], ensure_ascii=False)}"
    if len(runs.encode()) > LONGEST:
        raise InputError(
            f"{axes.shown}: the names of {len(members):,} runs are too long for one command; make several grids, "
            f"or set `compare: false` and run {COMPARE} with a pattern"
        )
    settings = [runs, *(f"{name}={_text(schema, name, value)}" for name, value in given.items())]
    limits = axes.limits.get(COMPARE) or grid_limits.of(axes.limits, axes.presets[0], axes.shown)
    return _member(COMPARE, None, settings, root / "reports" / COMPARE / f"grid-{grid}", limits, axes.shown)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecglib.grid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("check", "list", "status", "runs"), help="runs: when each was started, as JSON")
    parser.add_argument("grid", help="a YAML file, such as workflow/grids/smoke.yaml")
    parser.add_argument("--watch", action="store_true", help="status: look again every few seconds until all is done")
    options = parser.parse_args(arguments)
    if options.watch and options.do != "status":
        parser.error("--watch goes with status")
    try:
        return _do(options.do, load(options.grid), options.watch)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _do(what: str, grid: Grid, watch: bool) -> int:
    from ecglib import grid_status

    if what == "status":
        report = grid_status.follow(grid) if watch else grid_status.Progress(grid)
        if not watch:
            print(report.text())
        return 0 if report.complete else 1
    if what == "runs":
        print(json.dumps(grid_status.started(grid), indent=1))
        return 0
    print(f"{grid.name}: {grid.product}")
    for member in grid.members if what == "list" else ():
        print(f"  {member.plan.command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
