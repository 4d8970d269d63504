"""`python -m ecglib.datasets build NAME SOURCE --to DIR`: build one cohort; exit status 2 on unusable input.

`python -m ecglib.datasets verify DIR`: read all of a cohort and compare it with its fingerprint.

`python -m ecglib.datasets get NAME --to DIR`, `list`, `check NAME DIR`: fetch a public collection, see
`ecglib.datasets.download`. `python -m ecglib.datasets overview`: renew docs/data_sets.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ecglib.cohort import Cohort
from ecglib.datasets import DETECTED, download
from ecglib.datasets import options as build_options
from ecglib.errors import InputError, nearest

NAMES = ("ptb_xl", "ludb", *DETECTED, "wfdb_folder", "own", "synthetic")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; prints one sentence and no traceback on InputError or an interruption."""
    options = _parser().parse_args(arguments)
    if options.command not in COMMANDS:
        return download.main(options)
    try:
        COMMANDS[options.command](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; give the same command again: most builds go on where they stopped", file=sys.stderr)
        return 130
    return 0


def verify(options: argparse.Namespace) -> Cohort:
    cohort = Cohort.open(options.folder)
    cohort.verify()
    print(f"{cohort.info.title}: {len(cohort):,} records agree with the fingerprint {cohort.info.fingerprint[:12]}")
    return cohort


def build(options: argparse.Namespace) -> Cohort:
    if options.name not in NAMES:
        raise InputError(f"NAME is {options.name!r}, which is no data set here.{nearest(options.name, NAMES)}")
    there = (Path(options.to) / "cohort.json").is_file()
    cohort = build_options.build(options)
    if there:
        print(f"{cohort.path} holds it already: {len(cohort):,} records of {cohort.info.name} at {cohort.rate} Hz")
    return cohort


def overview(options: argparse.Namespace) -> None:
    from ecglib import results
    from ecglib.datasets import overview as page

    print(page.write(results.root()))


COMMANDS = {"build": build, "verify": verify, "overview": overview}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ecglib.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build", help="build a cohort's folder")
    one.add_argument("name", metavar="NAME", help=", ".join(NAMES))
    one.add_argument("source", metavar="SOURCE", nargs="?", help="the data set's folder (not for synthetic)")
    one.add_argument("--to", metavar="DIR", required=True, help="the cohort's folder, made anew")
    build_options.add(one)
    download.add_parser(commands)
    two = commands.add_parser("verify", help="compare a cohort's folder with its fingerprint")
    two.add_argument("folder", metavar="DIR", help="the cohort's folder")
    commands.add_parser("overview", help="renew the table of docs/data_sets.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
