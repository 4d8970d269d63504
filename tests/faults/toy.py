"""A notebook of the house's kind that takes a second: a cohort is built, two networks are trained, measured, drawn."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import v4

RECORDS = 300  # two units of the build
EPOCHS = 3
MODELS = ("a", "b")

PARAMETERS = f"""\
data: str = "synthetic"  # where the records lie
records: int = {RECORDS}  # how many synthetic ones
rate: int = 100  # Hz
epochs: int = {EPOCHS}  # of each network
seed: int = 0  # of weights and batches
draws: int = 20  # of the bootstrap, over patients
cache: str = "cache"  # where the cohort is built
out: str = "reports/toy/manual"  # where the results go
"""
START = """\
import os

import pandas as pd
import torch
from torch import nn

from ecglib import checkpoint, datasets, evaluation, figures, protocol, results, training

os.chdir(results.root())
run = results.Run(out)
"""
DATA = """\
cohort = datasets.load(data, rate=rate, cache=cache, records=records, progress=False)
parts = protocol.split(cohort, "superclass", train=range(1, 9), valid=[9], test=[10], rare="drop")
run.data(cohort, **{name: len(part) for name, part in parts.items()})
classes = list(parts["train"].classes("superclass"))
"""
NETWORK = """\
class Tiny(nn.Module):
    frozen = ()
    def __init__(self, width):
        super().__init__()
        self.classes, self.identity = classes, {"width": width}
        self.net = nn.Sequential(
            nn.Conv1d(12, width, 50, 50), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(0.2),
            nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4 * width, len(classes)),
        )
    def training_step(self, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(batch.signal), batch.label)
        return {"loss": loss, "bce": loss.detach()}
    @torch.no_grad()
    def predict(self, signal):
        return self.eval().net(signal)
    def inference_module(self):
        return self.net
    def save(self, path):
        checkpoint.save(path.with_suffix(".safetensors"), self.state_dict())
"""
TRAIN = """\
train = parts["train"].batches(32, task="superclass", shuffle=True, drop_last=True, seed=seed)
valid = parts["valid"].batches(64, task="superclass")
models, histories = {}, []
for name, width in {"a": 4, "b": 6}.items():
    torch.manual_seed(seed)
    models[name] = Tiny(width)
    fit = training.fit(
        models[name], train, valid, settings=training.Settings(epochs=epochs, learning_rate=0.01, seed=seed),
        checkpoints=run.checkpoint(name), progress="lines", name=name,
    )
    histories.append(fit.history.assign(model=name, seed=seed))
    print(f"{name}: {fit.resumed_at} epochs were there")
"""
FIGURE = """\
history = pd.concat(histories, ignore_index=True)
run.history(history)
figures.show(
    figures.learning_curves(history, ("loss", "valid_loss")), alt="The loss of both networks by epoch.", caption="Loss."
)
"""
EVALUATE = """\
predictions = [
    each for name, model in models.items()
    for each in protocol.predictions(
        model, {part: parts[part] for part in ("valid", "test")}, model=name, seed=seed, task="superclass", device="cpu"
    )
]
result = evaluation.evaluate(
    predictions, protocol="toy", data=cohort.info.title, compare=[("b", "a")], draws=draws
)
"""
WRITE = """\
run.metrics(result.rows)
run.predictions(protocol.frame(predictions))
for name, model in models.items():
    run.model(name, model)
run.finish()
"""


def repository(root: Path) -> Path:
    """A repository at `root` with the notebook "toy"."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    markdown, code = v4.new_markdown_cell, v4.new_code_cell
    cells = [
        markdown("# Two tiny networks"), code(PARAMETERS, metadata={"tags": ["parameters"]}), code(START),
        markdown("## Data"), code(DATA), markdown("## Training"), code(NETWORK), code(TRAIN), code(FIGURE),
        markdown("## On the test fold"), code(EVALUATE), markdown("## What is kept"), code(WRITE),
    ]  # fmt: skip
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), root / "notebooks" / "toy.ipynb")
    return root
