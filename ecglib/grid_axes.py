"""What a grid's file says along each of its lists, checked against notebooks, presets and parameters; see `grid`."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from ecglib import errors, grid_limits, parameters
from ecglib.errors import InputError
from ecglib.grid_limits import Limits
from ecglib.parameters import Schema
from ecglib.plan import find_notebook

COMPARE = "compare_runs"


@dataclass
class Axes:
    """What the file says, its words checked against notebooks and presets."""

    shown: str
    notebooks: dict[str, Schema]
    presets: list[str]
    seeds: list[int]
    parameters: dict[str, list[Any]]
    limits: dict[str, Limits] = field(default_factory=dict)


def read(given: dict[str, Any], shown: str, root: Path) -> Axes:
    """The lists in `given`, the content of the file `shown`. Raises InputError for anything that cannot be run."""
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
    axes = Axes(shown, schemas, presets, seeds, values)
    for key, listed in values.items():
        _check_values(axes, str(key), listed)
    for schema in schemas.values() if seeds else ():
        seed_setting(axes, schema, seeds[0])
    axes.limits = grid_limits.read(given.get("limits") or {}, shown, root)
    return axes


def _list(value: Any, key: str, shown: str, kind: type) -> list[Any]:
    if not isinstance(value, list) or not value or not all(type(item) is kind for item in value):
        what = "whole numbers" if kind is int else "names"
        raise InputError(f"{shown}: `{key}` must be a list of {what}, such as [{'0, 1' if kind is int else 'a, b'}]")
    if repeated := [item for item, count in Counter(value).items() if count > 1]:
        raise InputError(f"{shown}: `{key}` names {repeated[0]!r} twice; keep one")
    return value


def _check_values(axes: Axes, key: str, listed: Any) -> None:
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


def seed_setting(axes: Axes, schema: Schema, seed: int) -> str:
    """What sets the seed of one run of a notebook, as behind `-p`; raises InputError where it has none."""
    if "seed" in schema and schema["seed"].kind is int:
        return f"seed={seed}"
    if "seeds" in schema:
        return f"seeds=[{schema.check('seeds', [seed], axes.shown)[0]}]"
    raise InputError(f"{axes.shown}: {schema.notebook} has neither `seed` nor `seeds`; leave `seeds` out")


def values_of(axes: Axes, notebook: str) -> dict[str, list[Any]]:
    """The parameters that hold for one notebook; one given with its name goes before one given without."""
    plain = {key: values for key, values in axes.parameters.items() if "." not in key}
    scoped = [(key.partition("."), values) for key, values in axes.parameters.items()]
    return plain | {name: values for (of, _, name), values in scoped if of == notebook and name}


def _factors(axes: Axes, notebook: str) -> dict[str, int]:
    seeds = {"seeds": len(axes.seeds)} if axes.seeds else {}
    own = {f"values of {name}": len(values) for name, values in values_of(axes, notebook).items()}
    return {"presets": len(axes.presets), **seeds, **own}


def product(axes: Axes) -> str:
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


def check_size(axes: Axes, most: Any) -> None:
    """Raises InputError where there are more than `most` runs, or where `most` is no number."""
    if type(most) is not int or most < 1:
        raise InputError(f"{axes.shown}: `most` is {most!r}; give a whole number, 1 or more")
    total = sum(math.prod(_factors(axes, name).values()) for name in axes.notebooks)
    if total > most:
        raise InputError(
            f"{axes.shown}: {product(axes)}, {total:,} in all and more than {most:,}; "
            f"take values out, or allow it by `most: {total}`"
        )
