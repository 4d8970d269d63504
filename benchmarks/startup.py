"""What comes before any work: `import ecglib`, and what the runner adds to a notebook beside papermill alone.

    python benchmarks/startup.py [--rounds 5] [--json FILE]

Imports are timed as whole processes, `python -c "import ..."`, beside an empty one and beside importing torch. The
runner and papermill execute the same notebook, of a parameters cell and one that leaves results, each as a command of
its own: `python -m ecglib.run` checks the parameters, notes where everything came from and leaves report.html,
metrics.json and run.json besides; `python -m papermill` leaves the executed notebook. What the runner adds is the
difference of the two medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.case import Case, arguments, finish, in_turns, peer

PARAMETERS = """\
seed: int = 0  # of all that is drawn
out: str = "reports/toy/manual"  # where the run leaves its results
"""
LAST = """\
from ecglib import results

run = results.Run(out)
row = dict(model="m", protocol="p", data="toy", split="test", metric="auc", value=0.5, low=None, high=None, n=9)
run.metrics([{**row, "class": "macro", "seed": seed}])
run.finish()
"""


def command(*words: str, cwd: Path | None = None) -> None:
    """Run python to its end; SystemExit with what it said where it fails."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)[:60]} ended with {done.returncode}: {done.stderr[-800:]}")


def imports(asked: argparse.Namespace) -> list[Case]:
    heavy = "import sys; assert 'torch' not in sys.modules, 'torch was imported'"
    ways: dict[str, Callable[[], None]] = {
        "import ecglib": lambda: command("-c", f"import ecglib; {heavy}"),
        "the cohort": lambda: command("-c", f"from ecglib.cohort import Cohort; {heavy}"),
        "python -c pass": lambda: command("-c", "pass"),
        "import numpy": lambda: command("-c", "import numpy"),
    }
    if not asked.quick:
        ways["import torch"] = lambda: command("-c", "import torch")
    seconds = in_turns(ways, asked.rounds)
    beside = {"import torch": seconds.get("import torch")}
    made = []
    for name, way, least in (("import ecglib", "import ecglib", "python -c pass"),
                             ("from ecglib.cohort import Cohort", "the cohort", "import numpy")):  # fmt: skip
        case = Case(name, "s", "lower", seconds[way], beside, {least: seconds[least]}, note="without torch, checked")
        made.append(case.judged("under 0.5 s without torch", case.ours, at_most=0.5))
    return made


def toy(root: Path) -> Path:
    """A repository with one notebook that hardly does anything."""
    import nbformat
    from nbformat import v4

    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    cells = [v4.new_markdown_cell("# A toy"), v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [v4.new_markdown_cell("## Results"), v4.new_code_cell(LAST)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, root / "notebooks" / "toy.ipynb")
    return root


def runner(asked: argparse.Namespace) -> Case:
    with tempfile.TemporaryDirectory(prefix="startup.") as place:
        root, number = toy(Path(place) / "toy"), count()

        def ours() -> None:
            out = root / "reports" / "toy" / str(next(number))
            command("-m", "ecglib.run", "toy", "--out", str(out), cwd=root)
            if json.loads((out / "run.json").read_text())["status"] != "complete" or not (out / "report.html").exists():
                raise SystemExit(f"the runner left no report in {out}.")

        def papermill() -> None:
            to = root / "reports" / "papermill" / str(next(number))
            to.mkdir(parents=True)
            executed = str(to / "executed.ipynb")
            options = ["--no-progress-bar", "--log-level", "ERROR", "-k", "python3", "-p", "out", str(to / "toy")]
            command("-m", "papermill", "notebooks/toy.ipynb", executed, *options, cwd=root)
            if not (to / "toy" / "metrics.json").exists():
                raise SystemExit(f"papermill left no results in {to}.")

        ways = {"ours": ours, "papermill": peer("papermill") and papermill}
        seconds = in_turns(ways, max(1, asked.rounds - 2), warm_up=0 if asked.quick else 1)
    case = Case("runner, a notebook of two cells", "s", "lower", seconds["ours"], {"papermill": seconds["papermill"]})
    added = None if seconds["papermill"] is None else seconds["ours"] - seconds["papermill"]
    note = f"the runner adds {added:.2f} s, its report.html included" if added is not None else ""
    case = Case(case.case, case.unit, case.better, case.ours, case.beside, note=note)
    return case.judged("adds under 2 s to papermill's own", added, at_most=2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds = 1
    finish([*imports(asked), runner(asked)], asked)


if __name__ == "__main__":
    main()
