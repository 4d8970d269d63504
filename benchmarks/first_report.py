"""Time to the first reports: `make demo` in a fresh clone, cold and warm.

    python benchmarks/first_report.py [--cold-only] [--json FILE]

Clones the last commit beside nothing: no environment, no cache of cohorts, and an empty cache of packages, which are
then fetched from the package index (cold); and runs `make demo` again in the same clone (warm). It takes a quarter of
an hour and the network, so `python -m benchmarks` leaves it out unless it is named with --only, and keeps the figures
that it took last, with their date. `--quick` measures nothing and says so.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.case import Case, arguments, finish

REPO = Path(__file__).resolve().parents[1]
TARGET = "under 10 minutes cold on two cores"


def demo(clone: Path, cache: Path) -> float:
    """Seconds of `make demo`; SystemExit with what it said where it fails or leaves no index."""
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    start = time.perf_counter()
    done = subprocess.run(
        ["make", "demo"], cwd=clone, env=environment | {"UV_CACHE_DIR": str(cache)}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode or not (clone / "reports" / "index.html").is_file():
        raise SystemExit(f"make demo ended with {done.returncode}: {done.stderr[-1500:]}")
    return seconds


def judged(cold: float | None, warm: float | None, note: str) -> list[Case]:
    first = Case("make demo, cold", "s", "lower", cold, note=note).judged(TARGET, cold, at_most=600)
    return [first, Case("make demo, warm", "s", "lower", warm, note=note)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cold-only", action="store_true", help="leave out the second, warm one")
    asked = parser.parse_args()
    if asked.quick:
        finish(judged(None, None, "takes a quarter of an hour, so --quick does not measure it"), asked)
        return
    with tempfile.TemporaryDirectory(prefix="first_report.") as place:
        clone, cache = Path(place) / "clone", Path(place) / "packages"
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(clone)], check=True)
        cold = demo(clone, cache)
        warm = None if asked.cold_only else demo(clone, cache)
        pages = len(list((clone / "reports").glob("*/*/report.html")))
    finish(judged(cold, warm, f"{pages} reports; cold includes the environment from the package index"), asked)


if __name__ == "__main__":
    main()
