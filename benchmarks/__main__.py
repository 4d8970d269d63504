"""Runs the rows of docs/speed.md one after another, keeps their figures and renders the table.

    python -m benchmarks [--only read_ptb_xl bootstrap] [--quick] [--to FOLDER] [--host NAME]
    python -m benchmarks --only first_report --options=--cold-only
    python -m benchmarks --render        only the page, from the results that are there

Each row is a script of this folder, run as a process of its own with `.venv-peers/bin/python` where `make peers` has
made that, else with this Python (peers that are missing there stay empty). Its figures go to
benchmarks/results/HOST.json as soon as it has ended, with the day, the commit, the load before it and the versions;
rows that were not run keep theirs. `growth` and `first_report` take long and run only where they are named. A script
that fails is told, the others go on, and the exit status is 1. `--quick` shows that everything works: its figures mean
nothing, so they are kept only where `--to` says.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import speed_page
from benchmarks.case import from_json
from ecglib import atomic
from ecglib.errors import nearest
from ecglib.provenance import cpu_name

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
PEERS = REPO / ".venv-peers" / "bin" / "python"
PAGE = REPO / "docs" / "speed.md"
OWN = ("benchmarks/results", "docs/speed.md")  # what this command writes is no change of what it measures
TIMEOUT_S = 3600  # of one script

ROWS = {
    "read_ptb_xl": "PTB-XL records to a cohort",
    "open_cohort": "opening a built cohort",
    "shuffled_batches": "shuffled batches",
    "draw_pages": "pages drawn",
    "forward_backward": "forward and backward",
    "epoch": "an epoch of PTB-XL's size, XResNet-1d-101",
    "encoders": "pre-training steps by encoder",
    "train_on_pages": "training on pages",
    "bootstrap": "bootstrap draws of macro AUC",
    "synthetic_records": "synthetic records",
    "startup": "import, and the runner's own time",
    "growth": "growth with records, leads, length and batch",
    "first_report": "time to the first reports",
}
"""{script: what the page calls it}"""
ONLY_WHEN_NAMED = ("growth", "first_report")  # a quarter of an hour or more; the latter needs the network

VERSIONS = """
import json, platform
from importlib.metadata import distributions
found = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
print(json.dumps(found | {"python": platform.python_version()}))
"""
NAMED = ("python", "numpy", "torch", "pandas", "pyarrow", "wfdb", "torch-ecg", "zarr", "h5py", "neurokit2", "ecg-plot",
         "pmecg", "deepecgkit", "torchmetrics", "scikit-learn", "matplotlib", "papermill", "timm")  # fmt: skip


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    """The command; `folder` holds the scripts. Exit status: 0 all rows ran, 1 some did not, 2 bad input."""
    asked = options(arguments)
    rows = {name: title for name, title in ROWS.items() if (folder / f"{name}.py").is_file()}
    for name in asked.only or ():
        if name not in rows:
            print(f"error: there is no row {name!r}.{nearest(name, rows)}", file=sys.stderr)
            return 2
    failed = []
    if not asked.render:
        names = asked.only or [name for name in rows if name not in ONLY_WHEN_NAMED or asked.quick]
        python = str(PEERS) if PEERS.exists() else sys.executable
        failed = [name for name in names if not measured(folder / f"{name}.py", python, asked)]
    if asked.to == HERE / "results" and not asked.quick:
        text = speed_page.replaced(PAGE.read_text(), speed_page.render(speed_page.read(asked.to), ROWS))
        with atomic.writing(PAGE) as part:
            part.write_text(text)
    if failed:
        print(f"error: no new figures of {', '.join(failed)}; what they said stands above", file=sys.stderr)
    return 1 if failed else 0


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything work?")
    parser.add_argument("--to", type=Path, help="the folder of HOST.json (default: benchmarks/results)")
    parser.add_argument("--host", help="the file's name (default: of the accelerator, or of the processor)")
    parser.add_argument("--render", action="store_true", help="measure nothing, render docs/speed.md")
    parser.add_argument(
        "--options", type=shlex.split, default=[], metavar='"..."', help="for the scripts named by --only"
    )
    asked = parser.parse_args(arguments)
    if asked.options and not asked.only:
        parser.error("--options are a script's own: name it with --only")
    asked.kept = asked.to is not None or not asked.quick
    asked.to = (asked.to or HERE / "results").resolve()
    return asked


def measured(script: Path, python: str, asked: argparse.Namespace) -> bool:
    """Run a script and keep its figures; False, with a sentence, where it failed."""
    row = {"measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": commit(),
           "changed": changed(), "load": [round(each, 2) for each in os.getloadavg()]}  # fmt: skip
    print(f"\n== {ROWS[script.stem]} ({script.stem}) ==", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmarks.") as place:
        file = Path(place) / "cases.json"
        command = [python, str(script), "--json", str(file), *(["--quick"] if asked.quick else []), *asked.options]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"}
        try:
            done = subprocess.run(command, cwd=REPO, env=environment, timeout=TIMEOUT_S)
            if done.returncode:
                raise ValueError(f"it ended with {done.returncode}")
            cases = json.loads(file.read_text())
            from_json(file.read_text())
        except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
            print(f"error: {script.stem} gave no figures: {error}", file=sys.stderr)
            return False
    row |= {"seconds": round(time.monotonic() - start, 1), "threads": os.environ.get("OMP_NUM_THREADS"),
            "quick": asked.quick, "versions": versions(python), "cases": cases}  # fmt: skip
    if asked.kept:
        keep(script.stem, row, asked)
    return True


def keep(name: str, row: dict[str, Any], asked: argparse.Namespace) -> None:
    """Put a row into its host's file, whole, beside the rows that are there."""
    about = machine()
    host = asked.host or re.sub(r"[^a-z0-9]+", "-", (about["gpu"] or f"{about['cpu']} {about['cores']} cores").lower())
    file = asked.to / f"{host}.json"
    there = json.loads(file.read_text()) if file.is_file() else {"rows": {}}
    rows = there["rows"] | {name: row}
    atomic.write_json(file, {"format": speed_page.FORMAT, "host": host, "machine": about,
                             "rows": {each: rows[each] for each in ROWS if each in rows}})  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures hold on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory / 2**30), "gpu": gpu()}


def gpu() -> str | None:
    """The first accelerator's name, as its driver gives it."""
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def versions(python: str) -> dict[str, str]:
    found = json.loads(subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout)
    return {name: found[name] for name in NAMED if name in found}


def commit() -> str:
    return git("rev-parse", "--short", "HEAD") or "no commit"


def changed() -> bool:
    """Whether tracked files differ from the commit, those aside that this command writes."""
    return bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{each}" for each in OWN)))


def git(*words: str) -> str:
    """What git says, "" where it says nothing or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(REPO), *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
