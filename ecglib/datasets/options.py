"""The options of `python -m ecglib.datasets build`: each data set takes those that its `build` has, and no others."""

from __future__ import annotations

import argparse
import importlib
import inspect
from typing import Any, get_args

from ecglib.cohort import Cohort
from ecglib.datasets import rule
from ecglib.errors import InputError

COLUMNS = ("file", "patient", "age", "sex", "fold", "statements")
"""Of one's own table: which column is what."""


def add(parser: argparse.ArgumentParser) -> None:
    """All options, none with a default: what is not given is the data set's own choice."""
    parser.add_argument("--rate", type=int, help="Hz (100)")
    parser.add_argument("--bad", choices=("drop", "keep"), help="records with missing samples or a flat lead (drop)")
    parser.add_argument("--seconds", type=float, help="cut records into segments so long (10)")
    parser.add_argument("--longer", choices=get_args(rule.Longer), help="records longer than that (segment)")
    parser.add_argument("--shorter", choices=get_args(rule.Shorter), help="records shorter than that (drop)")
    parser.add_argument("--leads", metavar="NAMES", help="those wanted, such as I,II (all that there are)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read (the cores, where it pays)")
    parser.add_argument("--absent", choices=("refuse", "skip"), help="records that are listed and not there (refuse)")
    parser.add_argument("--no-verify", action="store_true", default=None, help="do not compare with SHA256SUMS.txt")
    some = parser.add_argument_group("some data sets")
    some.add_argument("--limb", choices=("recorded", "derived"), help="III and aV leads as recorded, or from I and II")
    some.add_argument("--signals", choices=("raw", "denoised"), help="chapman: which of the two it has (raw)")
    some.add_argument("--unit-mv", type=float, help="code15, code_test: mV that a stored 1 means")
    some.add_argument("--records", type=int, help="synthetic: how many (2000)")
    some.add_argument("--seed", type=int, help="synthetic (0)")
    own = parser.add_argument_group("one's own records (own); docs/own_data.md has it by examples")
    own.add_argument("--table", metavar="FILE", help=".csv, .tsv, .xlsx or .parquet, a row for each record")
    for what in COLUMNS:
        own.add_argument(f"--{what}", metavar="COLUMN", help=f"the table's column of {what}, by its name")
    own.add_argument("--labels", metavar="A,B", help="columns of 0 and 1, one a class")
    own.add_argument("--separator", help="between the statements of a cell (;)")
    own.add_argument("--task", help="what the label set is called (labels)")
    own.add_argument("--unit", help="mV or uV, of files that say none")
    own.add_argument("--record-rate", metavar="HZ", type=float, help="of files that say none")
    own.add_argument("--record-leads", metavar="NAMES", help="of files that name none: I,II,V1 or MLII=II")
    own.add_argument("--unreadable", choices=("refuse", "skip"), help="files that cannot be read (refuse)")


NOT_OPTIONS = ("command", "name", "source", "to")
PYTHON_ONLY = ("mend_gains",)


def build(options: argparse.Namespace) -> Cohort:
    """The cohort that the parsed options ask for.

    Raises:
        InputError: an option that this data set does not have; no source, or one for synthetic; what `build` refuses.
    """
    name = options.name
    module = importlib.import_module(f"ecglib.datasets.{name}")
    given = {key: value for key, value in vars(options).items() if key not in NOT_OPTIONS and value is not None}
    had = _had(module.build)
    for option in given:
        if option not in had:
            flags = ", ".join(sorted(_flag(each) for each in had if each not in PYTHON_ONLY))
            raise InputError(f"{_flag(option)} is no option of {name}; it has {flags}.")
    given = {"rate": 100, **_meant(given)}
    if name == "synthetic":
        if options.source is not None:
            raise InputError(f"SOURCE is {options.source!r}, but synthetic is made from nothing; leave it out.")
        return module.build(options.to, **{"records": 2000, **given})
    if options.source is None:
        raise InputError(f"SOURCE is missing; give the folder of {name}.")
    return module.build(options.source, options.to, **given)


def _had(function: Any) -> set[str]:
    """The options that a `build` takes; one with **columns takes those of one's own table."""
    parameters = inspect.signature(function).parameters
    had = {name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY} - {"progress", "name"}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        had |= {*COLUMNS, "labels", "separator", "task"}
    if "verify" in had:
        had = had - {"verify"} | {"no_verify"}
    return had


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _meant(given: dict[str, Any]) -> dict[str, Any]:
    """Lists and names as `build` takes them."""
    from ecglib.datasets.records import named_leads

    made = dict(given)
    for option in ("leads", "record_leads"):
        if option in made:
            made[option] = named_leads(made[option])
    if "labels" in made:
        made["labels"] = [part.strip() for part in made["labels"].split(",")]
    if made.pop("no_verify", None):
        made["verify"] = False
    return made
