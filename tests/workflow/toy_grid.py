"""A tiny repository whose notebook ends as it is told to, and starting its grids: what the workflow's tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import v4
from where import REPO

PARAMETERS = """\
rate: int = 100  # Hz
weight: float = 0.5  # of the loss
fails: str = ""  # the file that has to be there, or else the run fails; "": none
nap_s: float = 0.0  # how long the training takes
waits_for: str = ""  # the file without which the training does not end; "": none
leads: list[str] = ["I"]  # what is looked at
data: str = "synthetic"  # where the records lie
seed: int = 0  # of all that is drawn
out: str = "reports/toy/manual"  # where the run leaves its results
"""
BODY = """\
import os, time
from types import SimpleNamespace
from ecglib import results
from ecglib.errors import InputError

run = results.Run(out)
class Cohort(list):
    info = SimpleNamespace(name="synthetic", fingerprint="0123456789abcdef", licence="CC0", citation="Nobody (2020)")
run.data(Cohort("abc"), "all of it")
print("threads", os.environ.get("OMP_NUM_THREADS"), "device", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
time.sleep(nap_s)
while waits_for and not os.path.exists(results.root() / waits_for):
    time.sleep(0.2)
if fails == "never":
    raise InputError("nowhere: there is no such folder; give another")
if fails and not os.path.exists(results.root() / fails):
    raise RuntimeError("loss is NaN")
row = dict(model="m", protocol="p", data="synthetic", split="test", metric="auc", seed=seed, n=3)
run.metrics([{**row, "class": "macro", "value": weight, "low": 0.0, "high": 1.0}])
run.finish()
"""
COMPARE = """\
from pathlib import Path
from ecglib import results

run = results.Run(out)
print("read", len([results.read(results.root() / folder).rows for folder in runs]), "runs", flush=True)
run.finish()
"""
COMPARED = """\
runs: list[str] = []  # folders of finished runs
draws: int = 1000  # of the bootstrap
out: str = "reports/compare_runs/manual"  # where the results go
"""
LIMITS = "smoke: {minutes: 5, memory_mb: 600, threads: 1, gpus: 0}\n"


def make(root: Path) -> Path:
    """The repository, with its own copy of the workflow and of ecglib, which nobody works on meanwhile."""
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    shutil.copytree(REPO / "workflow", root / "workflow")
    shutil.copytree(REPO / "ecglib", root / "ecglib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "workflow" / "limits.yaml").write_text(LIMITS)
    for name, parameters, body in (("toy", PARAMETERS, BODY), ("compare_runs", COMPARED, COMPARE)):
        write_notebook(root, name, parameters, body)
        (root / "params" / name).mkdir(parents=True)
    (root / "params" / "toy" / "smoke.yaml").write_text("weight: 0.25  # small\n")
    return root


def write_notebook(root: Path, name: str, parameters: str, body: str) -> None:
    cells = [v4.new_markdown_cell(f"# {name}"), v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells.append(v4.new_code_cell(body))
    nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")


def grid(root: Path, text: str, name: str = "g") -> Path:
    """Writes a grid over the toy notebook; `text` goes behind notebooks and presets."""
    path = root / "workflow" / "grids" / f"{name}.yaml"
    path.write_text(f"notebooks: [toy]\npresets: [smoke]\n{text}")
    return path


def words(path: Path, *more: str, config: str = "", cores: int | None = 2) -> list[str]:
    """The command that starts a grid, from the repository's root; on a cluster there are no `cores` to name."""
    values = [f"grid={path}", "every=1", "first_wait=1", *config.split()]
    own = [] if cores is None else ["--cores", str(cores)]
    return [sys.executable, "-m", "snakemake", *own, "--config", *values, *more]


def environment(root: Path) -> dict[str, str]:
    """Ours, with the repository's own ecglib."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}


def start(root: Path, path: Path, *more: str, config: str = "", limit_s: float = 550) -> subprocess.CompletedProcess:
    """Starts the grid and waits for its end."""
    return subprocess.run(
        words(path.relative_to(root), *more, config=config),
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
