"""Running a notebook as a user would, in a process of its own: what the notebooks' tests share."""

import subprocess
import sys
from functools import partial

from where import REPO

from ecglib import results

LONGEST_S = 580
"""Below pytest's own limit, so that what the run said is seen."""


def command(notebook, out, *more, preset="smoke"):
    """The runner's words; `more` are further options."""
    return [sys.executable, "-m", "ecglib.run", notebook, "--preset", preset, "--out", str(out), *more]


def run(notebook, out, *more, preset="smoke"):
    """The finished process of that command, its output as text."""
    words = command(notebook, out, *more, preset=preset)
    return subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=LONGEST_S)


def of(notebook):
    """(command, run) of one notebook."""
    return partial(command, notebook), partial(run, notebook)


def quick(notebook, out, *parameters, preset="smoke"):
    """The finished process of a run on one thread with these "name=value"."""
    words = [word for each in parameters for word in ("-p", each)]
    return run(notebook, out, "--cpu-threads", "1", *words, preset=preset)


def whole(out):
    """The run in `out`, which must be complete with every check in its box holding, but for uncommitted code."""
    record = results.read(out)
    assert record.status == "complete"
    checks = {check["name"]: check for check in record.record["checks"]}
    assert all(check["ok"] in (True, None) for name, check in checks.items() if name != "Code committed"), checks
    return record
