"""`python -m ecglib.datasets.records FILE ...`: a line on each file; exit status 2 where one cannot be read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ecglib.datasets.records import described, named_leads, read_record
from ecglib.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line on each file; the exit status is 2 where one cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m ecglib.datasets.records", description="What files of ECGs hold.")
    parser.add_argument("files", metavar="FILE", nargs="+")
    parser.add_argument("--rate", type=float, help="Hz, of files that say none")
    parser.add_argument("--unit", help="mV or uV, of files that say none")
    parser.add_argument("--leads", metavar="NAMES", help="of files that name none: I,II,V1 or MLII=II")
    options = parser.parse_args(arguments)
    status = 0
    for file in options.files:
        try:
            record = read_record(file, rate=options.rate, leads=named_leads(options.leads), unit=options.unit)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
            continue
        print(f"{file}: {described(record)}")
        for note in record.notes:
            print(f"  It {note}.")
    return status


if __name__ == "__main__":
    sys.exit(main())
