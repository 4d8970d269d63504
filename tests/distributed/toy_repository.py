"""A repository with one small notebook that trains on the ranks it is started on, and can end badly on one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import v4

PARAMETERS = """\
from typing import Literal

mode: Literal["ok", "error", "kernel", "runner", "once"] = "ok"  # how rank `who` ends, while the others train
who: int = 1  # the rank that does
pause: float = 0.0  # seconds a step takes
seed: int = 0  # of all that is drawn
out: str = "reports/toy/manual"  # where the run leaves its results
"""
START = """\
import os, signal, time
from types import SimpleNamespace
import torch
from torch import nn
from ecglib import ranks, results, training

run = results.Run(out)
print("rank", ranks.rank(), "of", ranks.world())
x = torch.randn(48, 6, generator=torch.Generator().manual_seed(5))
y = (x[:, :2] > 0).float()
batch = lambda rows: SimpleNamespace(signal=x[rows], label=y[rows], index=rows)

class Batches:
    identity = "toy"
    epoch = 0
    def set_epoch(self, epoch): self.epoch = epoch
    def __len__(self): return 4
    def __iter__(self): return self.shared(0, 1)
    def shared(self, rank, world):
        for rows in torch.randperm(48, generator=torch.Generator().manual_seed(self.epoch)).split(12):
            yield batch(rows[12 // world * rank : 12 // world * (rank + 1)])

class Method(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        self.steps = 0
    def training_step(self, batch):
        time.sleep(pause)
        self.steps += 1
        if self.steps == 10 and ranks.rank() == who:
            if mode == "error": raise RuntimeError("a bad day")
            if mode == "kernel": os.kill(os.getpid(), signal.SIGKILL)
            if mode == "runner": os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)
            if mode == "once" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0": os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": nn.functional.binary_cross_entropy_with_logits(self.net(batch.signal), batch.label)}
    def predict(self, signal):
        self.net.eval()
        return self.net(signal)
    def inference_module(self): return self.net
"""
TRAIN = """\
settings = training.Settings(epochs=5, learning_rate=0.02, seed=seed)
fit = training.fit(Method(), Batches(), Batches(), settings=settings, checkpoints=run.checkpoint("m"))
print("resumed at", fit.resumed_at)
"""
LAST = """\
row = dict(model="m", protocol="p", data="toy", split="valid", metric="loss", seed=0, n=48, low=None, high=None)
rows = [{**row, "class": str(k), "value": v} for k, v in enumerate(fit.history["loss"])]
rows.append({**row, "metric": "auc", "class": "macro", "value": fit.value})
run.metrics(rows)
run.finish()
"""


def make(root: Path) -> Path:
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    markdown, code = v4.new_markdown_cell, v4.new_code_cell
    cells = [
        markdown("# A toy"), code(PARAMETERS, metadata={"tags": ["parameters"]}), markdown("## Start"), code(START),
        markdown("## Training"), code(TRAIN), code(LAST),
    ]  # fmt: skip
    metadata = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), root / "notebooks" / "toy.ipynb")
    return root


def torchrun(world: int, *words: str, launcher: tuple[str, ...] = ()) -> list[str]:
    how = launcher or ("--standalone", "--nproc-per-node", str(world))
    return [sys.executable, "-m", "torch.distributed.run", *how, "-m", "ecglib.run", *words]


def run(root: Path, world: int, *words: str, launcher: tuple[str, ...] = (), timeout: float = 480):
    command = torchrun(world, *words, launcher=launcher) if world else [sys.executable, "-m", "ecglib.run", *words]
    # As at a user's: the threads of a test's own process count for nothing here.
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=timeout, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
