"""`python -m ecglib.datasets build NAME SOURCE --to DIR`: build one cohort; exit status 2 on unusable input.

`python -m ecglib.datasets verify DIR`: read all of a cohort and compare it with its fingerprint.

`python -m ecglib.datasets get NAME --to DIR`, `list`, `check NAME DIR`: fetch a public collection, see
`ecglib.datasets.download`. `python -m ecglib.datasets overview`: renew docs/data_sets.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from ecglib.cohort import Cohort
from ecglib.datasets import DETECTED, download
from ecglib.errors import InputError, nearest

NAMES = ("ptb_xl", "wfdb_folder", "ludb", *DETECTED, "synthetic")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; prints one sentence and no traceback on InputError."""
    options = _parser().parse_args(arguments)
    if options.command not in COMMANDS:
        return download.main(options)
    try:
        COMMANDS[options.command](options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def verify(options: argparse.Namespace) -> Cohort:
    cohort = Cohort.open(options.folder)
    cohort.verify()
    print(f"{cohort.info.title}: {len(cohort):,} records agree with the fingerprint {cohort.info.fingerprint[:12]}")
    return cohort


def build(options: argparse.Namespace) -> Cohort:
    name = options.name
    if name not in NAMES:
        raise InputError(f"NAME is {name!r}, which is no data set here.{nearest(name, NAMES)}")
    if name == "synthetic":
        from ecglib.datasets import synthetic

        if options.source is not None:
            raise InputError(f"SOURCE is {options.source!r}, but synthetic is made from nothing; leave it out.")
        return synthetic.build(options.to, records=options.records, rate=options.rate, seed=options.seed)
    if options.source is None:
        raise InputError(f"SOURCE is missing; give the folder of {name}.")
    if name == "ptb_xl":
        from ecglib.datasets import ptb_xl

        verify = False if options.no_verify else "auto"
        return ptb_xl.build(options.source, options.to, rate=options.rate, bad=options.bad, verify=verify)
    if name in DETECTED:
        module = importlib.import_module(f"ecglib.datasets.{name}")
        more = {"seconds": options.seconds, "bad": options.bad}
        return module.build(options.source, options.to, rate=options.rate, **more)
    if name == "ludb":
        from ecglib.datasets import ludb

        verify = False if options.no_verify else "auto"
        return ludb.build(options.source, options.to, rate=options.rate, verify=verify)
    from ecglib.datasets import wfdb_folder

    return wfdb_folder.build(options.source, options.to, rate=options.rate, bad=options.bad, limb=options.limb)


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
    one.add_argument("--rate", type=int, default=100, help="Hz (100)")
    one.add_argument(
        "--bad", choices=("drop", "keep"), default="drop", help="records with missing samples or a flat lead (drop)"
    )
    one.add_argument(
        "--limb",
        choices=("recorded", "derived"),
        default="recorded",
        help="wfdb_folder: take III, aVR, aVL, aVF as they are or from I and II (recorded)",
    )
    one.add_argument("--no-verify", action="store_true", help="do not compare with SHA256SUMS.txt")
    one.add_argument(
        "--seconds", type=float, default=10.0, help=f"{', '.join(DETECTED)}: cut records into segments so long (10)"
    )
    one.add_argument("--records", type=int, default=2000, help="of the synthetic cohort (2000)")
    one.add_argument("--seed", type=int, default=0, help="of the synthetic cohort (0)")
    download.add_parser(commands)
    two = commands.add_parser("verify", help="compare a cohort's folder with its fingerprint")
    two.add_argument("folder", metavar="DIR", help="the cohort's folder")
    commands.add_parser("overview", help="renew the table of docs/data_sets.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
