"""Grids of runs: one YAML file, checked before anything starts, becomes the runs that workflow/Snakefile starts.

    python -m ecglib.grid check workflow/grids/smoke.yaml     what it makes, and whether all of it can be run
    python -m ecglib.grid list workflow/grids/smoke.yaml      the command of every run
    python -m ecglib.grid status workflow/grids/smoke.yaml    done, running, failed, to come, and the time left

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
import math
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from ecglib import errors, parameters, results, yaml12
from ecglib.errors import InputError
from ecglib.parameters import Schema
from ecglib.plan import Plan, find_notebook, make_plan

LIMITS = "workflow/limits.yaml"
COMPARE = "compare_runs"
KEYS = ("notebooks", "presets", "seeds", "parameters", "compare", "limits", "most")
MOST = 500
LONGEST = 100_000  # characters: Linux passes 131,072 in one argument, and the shell's whole line is one


@dataclass(frozen=True)
class Limits:
    """What a run of a preset may take: wall-clock minutes, MB of memory, threads, GPUs."""

    minutes: int
    memory_mb: int
    threads: int
    gpus: int


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


@dataclass
class _Axes:
    """What the file says, its words checked against notebooks and presets."""

    shown: str
    notebooks: dict[str, Schema]
    presets: list[str]
    seeds: list[int]
    parameters: dict[str, list[Any]]
    limits: dict[str, Limits] = field(default_factory=dict)


def load(path: str | Path) -> Grid:
    """The grid in the YAML file at `path`, seen from the working folder. Raises InputError, a sentence."""
    shown, path = str(path), Path(path)
    root = results.root()
    given = yaml12.read_mapping(path, shown=shown)
    for key in given:
        if key not in KEYS:
            raise InputError(f"{shown}: a grid has no {key!r}.{errors.nearest(key, KEYS)}")
    axes = _axes(given, shown, root)
    axes.limits = _limits(given.get("limits") or {}, shown, root)
    _small_enough(axes, given.get("most", MOST))
    members = [m for name in axes.notebooks for m in _members(axes, name)]
    twice = [name for name, count in Counter(m.folder for m in members).items() if count > 1]
    members = [_apart(m) if m.folder in twice else m for m in members]
    compare = _compare(given.get("compare", {}), path.stem, members, axes)
    return Grid(path.stem, root, tuple(members), compare, product(axes))


def _axes(given: dict[str, Any], shown: str, root: Path) -> _Axes:
    schemas = {}
    for name in _list(given.get("notebooks"), "notebooks", shown, str):
        if name == COMPARE:
            raise InputError(f"{shown}: {COMPARE} comes behind the runs by itself; take it out of `notebooks`")
        try:
            _, notebook = find_notebook(name)
        except InputError as error:
            raise InputError(f"{shown}: {error}") from None
        schemas[name] = parameters.read_schema(notebook, shown=f"notebooks/{name}.ipynb")
    presets = _list(given.get("presets"), "presets", shown, str)
    for name, preset in itertools.product(schemas, presets):
        known = parameters.preset_names(root, name)
        if preset not in known:
            near = errors.nearest(preset, known)
            raise InputError(f"{shown}: there is no preset {preset!r} in params/{name}.{near}")
    seeds = _list(given["seeds"], "seeds", shown, int) if "seeds" in given else []
    values = given.get("parameters") or {}
    if not isinstance(values, dict):
        raise InputError(f"{shown}: `parameters` must hold lines `name: [values]`")
    axes = _Axes(shown, schemas, presets, seeds, values)
    for key, listed in values.items():
        _check_values(axes, str(key), listed)
    for schema in schemas.values() if seeds else ():
        _seed_setting(axes, schema, seeds[0])
    return axes


def _list(value: Any, key: str, shown: str, kind: type) -> list[Any]:
    if not isinstance(value, list) or not value or not all(type(item) is kind for item in value):
        what = "whole numbers" if kind is int else "names"
        raise InputError(f"{shown}: `{key}` must be a list of {what}, such as [{'0, 1' if kind is int else 'a, b'}]")
    if repeated := [item for item, count in Counter(value).items() if count > 1]:
        raise InputError(f"{shown}: `{key}` names {repeated[0]!r} twice; keep one")
    return value


def _check_values(axes: _Axes, key: str, listed: Any) -> None:
    """Raises InputError unless `key` is a parameter of its notebooks and every value fits it, each once."""
    notebook, _, name = key.rpartition(".")
    if notebook and notebook not in axes.notebooks:
        near = errors.nearest(notebook, axes.notebooks)
        raise InputError(f"{axes.shown}: {key!r} names a notebook that is not in the grid.{near}")
    if name in ("out", "seed", "seeds"):
        instead = "the grid names the folders" if name == "out" else "give the values under `seeds`"
        raise InputError(f"{axes.shown}: parameter {name!r} is not set here; {instead}")
    for schema in [axes.notebooks[notebook]] if notebook else axes.notebooks.values():
        if name in schema and (not isinstance(listed, list) or not listed):
            example = "[[I], [I, II]]" if get_origin(schema[name].kind) is list else f"[{json.dumps(listed)}]"
            raise InputError(f"{axes.shown}: parameter {name!r} needs a list of the values to try, such as {example}")
        coerced = [json.dumps(schema.check(name, value, axes.shown)) for value in listed or [None]]
        if len(set(coerced)) < len(coerced):
            raise InputError(f"{axes.shown}: parameter {name!r} holds a value twice; keep one")


def _seed_setting(axes: _Axes, schema: Schema, seed: int) -> str:
    if "seed" in schema and schema["seed"].kind is int:
        return f"seed={seed}"
    if "seeds" in schema:
        return f"seeds=[{schema.check('seeds', [seed], axes.shown)[0]}]"
    raise InputError(f"{axes.shown}: {schema.notebook} has neither `seed` nor `seeds`; leave `seeds` out")


def _own(axes: _Axes, notebook: str) -> dict[str, list[Any]]:
    """The parameters that hold for one notebook; one given with its name goes before one given without."""
    plain = {key: values for key, values in axes.parameters.items() if "." not in key}
    scoped = [(key.partition("."), values) for key, values in axes.parameters.items()]
    return plain | {name: values for (of, _, name), values in scoped if of == notebook and name}


def _limits(given: Any, shown: str, root: Path) -> dict[str, Limits]:
    file = root / LIMITS
    found: dict[str, Any] = yaml12.read_mapping(file, shown=LIMITS) if file.is_file() else {}
    for where, source in ((LIMITS, dict(found)), (shown, given)):
        if not isinstance(source, dict) or not all(isinstance(entry, dict) for entry in source.values()):
            raise InputError(f"{where}: limits are lines `PRESET: {{minutes: 10, memory_mb: 2000}}`")
        for preset, entry in source.items():
            found[preset] = {**found.get("default", {}), **found.get(preset, {}), **entry}
            _check_limits(found[preset], preset, where)
    needed = Limits.__dataclass_fields__
    return {preset: Limits(**entry) for preset, entry in found.items() if len(entry) == len(needed)}


def _check_limits(entry: dict[str, Any], preset: str, where: str) -> None:
    for key, value in entry.items():
        if key not in Limits.__dataclass_fields__:
            near = errors.nearest(key, Limits.__dataclass_fields__)
            raise InputError(f"{where}: the limits of {preset!r} have no {key!r}.{near}")
        if type(value) is not int or value < (key != "gpus"):
            least = "0 or more" if key == "gpus" else "1 or more"
            raise InputError(f"{where}: the limit {key!r} of {preset!r} is {value!r}; give a whole number, {least}")


def _limits_of(axes: _Axes, preset: str) -> Limits:
    limits = axes.limits.get(preset) or axes.limits.get("default")
    if limits is None:
        raise InputError(
            f"{axes.shown}: preset {preset!r} has no limits; add "
            f"`limits: {{{preset}: {{minutes: 60, memory_mb: 4000, threads: 1, gpus: 0}}}}`"
        )
    return limits


def _factors(axes: _Axes, notebook: str) -> dict[str, int]:
    seeds = {"seeds": len(axes.seeds)} if axes.seeds else {}
    own = {f"values of {name}": len(values) for name, values in _own(axes, notebook).items()}
    return {"presets": len(axes.presets), **seeds, **own}


def product(axes: _Axes) -> str:
    """Such as "2 presets x 3 seeds = 6 runs of lead_kd"; a line of them where notebooks differ."""
    terms: dict[str, list[str]] = {}
    for name in axes.notebooks:
        factors = _factors(axes, name)
        words = " x ".join(f"{n} {_one(what) if n == 1 else what}" for what, n in factors.items())
        total = math.prod(factors.values())
        terms.setdefault(f"{words} = {total:,} {'run' if total == 1 else 'runs'} of", []).append(name)
    return "; ".join(f"{words} {' and of '.join(names)}" for words, names in terms.items())


def _one(plural: str) -> str:
    return plural.replace("presets", "preset").replace("seeds", "seed").replace("values", "value")


def _small_enough(axes: _Axes, most: Any) -> None:
    if type(most) is not int or most < 1:
        raise InputError(f"{axes.shown}: `most` is {most!r}; give a whole number, 1 or more")
    total = sum(math.prod(_factors(axes, name).values()) for name in axes.notebooks)
    if total > most:
        raise InputError(
            f"{axes.shown}: {product(axes)}, {total:,} in all and more than {most:,}; "
            f"take values out, or allow it by `most: {total}`"
        )


def _members(axes: _Axes, notebook: str) -> Iterable[Member]:
    schema, own = axes.notebooks[notebook], _own(axes, notebook)
    seeds = [[_seed_setting(axes, schema, seed)] for seed in axes.seeds] or [[]]
    for preset, seed, *values in itertools.product(axes.presets, seeds, *own.values()):
        settings = [f"{name}={_text(schema, name, value)}" for name, value in zip(own, values)] + seed
        yield _member(notebook, preset, settings, None, _limits_of(axes, preset), axes.shown)


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


def _compare(given: Any, grid: str, members: list[Member], axes: _Axes) -> Member | None:
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
    limits = axes.limits.get(COMPARE) or _limits_of(axes, axes.presets[0])
    return _member(COMPARE, None, settings, root / "reports" / COMPARE / f"grid-{grid}", limits, axes.shown)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecglib.grid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("check", "list", "status", "runs"), help="runs: when each was started, as JSON")
    parser.add_argument("grid", help="a YAML file, such as workflow/grids/smoke.yaml")
    options = parser.parse_args(arguments)
    try:
        return _do(options.do, load(options.grid))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _do(what: str, grid: Grid) -> int:
    from ecglib import grid_status

    if what == "status":
        report = grid_status.Progress(grid)
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
