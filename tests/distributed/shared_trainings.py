"""Trainings on several ranks, and the same ones on one: `python shared_trainings.py OUT KIND...` is one rank of them.

Real cohorts' batches, real methods, tiny networks. What comes out of each is its history and its weights.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from torch import nn

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from test_cohort import make, signals_of, table_of  # noqa: E402

from ecglib import ranks, training  # noqa: E402
from ecglib.batches import mix  # noqa: E402
from ecglib.cohort import Cohort  # noqa: E402
from ecglib.leads import LEADS  # noqa: E402
from ecglib.methods.attention_probe import AttentionProbe, TokenBatches  # noqa: E402
from ecglib.methods.cmsc import CMSC  # noqa: E402
from ecglib.methods.encoder import Encoder  # noqa: E402
from ecglib.methods.hybrid import Hybrid  # noqa: E402
from ecglib.methods.lead_kd import LeadKD, Supervised, View  # noqa: E402
from ecglib.methods.masked_autoencoder import MaskedAutoencoder  # noqa: E402
from ecglib.methods.simclr import SimCLR  # noqa: E402
from ecglib.pool import Pool  # noqa: E402
from ecglib.signals import Augment, Standardise  # noqa: E402

N, BATCH, EPOCHS = 36, 12, 2
CLASSES = ("HYP", "MI", "NORM")
AUGMENT = {
    "rate": 100, "crop_s": 0.4, "resized_crop": 0.8, "shift_s": 0.05, "stretch": 0.1, "time_out": 0.2, "amplitude": 0.2,
    "noise_mv": 0.1, "wander_mv": 0.1, "lead_dropout": 0.2,
}  # fmt: skip


def cohorts(folder: Path) -> tuple[Cohort, Cohort]:
    """Made by whoever comes first; the second has no labels."""
    if not (folder / "c").is_dir():
        make(folder / "u", signals_of(9, seed=5), table_of(9), label_sets={}, name="more")
        table = pd.concat([table_of()] * (N // 12), ignore_index=True)
        table["record"] = [f"r{k}" for k in range(N)]
        make(folder / "c", signals_of(N), table)
    return Cohort.open(folder / "c"), Cohort.open(folder / "u")


def view(leads, standardise):
    return View("xresnet1d18", leads=leads, classes=CLASSES, rate=100, have=LEADS, standardise=standardise, width=0.125)


class Dropped(nn.Module):
    """A backbone of a few layers, with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(12, 8, 5, stride=3), nn.BatchNorm1d(8, momentum=None), nn.Dropout(0.3), nn.ReLU(), nn.Flatten(),
            nn.LazyLinear(16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3),
        )  # fmt: skip

    def training_step(self, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(batch.signal), batch.label)
        return {"loss": loss, "bce": loss.detach()}

    def predict(self, signal):
        self.net.eval()
        return self.net(signal)

    def inference_module(self):
        return self.net


def job(kind: str, folder: Path):
    """(method, its batches, validation or None)"""
    cohort, unlabelled = cohorts(folder)
    torch.manual_seed(1)
    standardise = Standardise("scalar", 12).fit(cohort)
    labelled = {"task": "superclass", "shuffle": True, "drop_last": True, "seed": 3}
    train, valid = cohort.batches(BATCH, **labelled), cohort.batches(32, task="superclass")
    if kind == "dropout":
        method = Dropped()
        method.predict(torch.zeros(2, 12, 50))  # fills the lazy layer
        return method, train, valid
    if kind == "supervised":
        return Supervised(view(LEADS, standardise), augment=Augment(**AUGMENT)), train, valid
    if kind in ("lead_kd", "mixed"):
        student, teacher = view(LEADS[:1], standardise), view(LEADS, standardise)
        labels = torch.from_numpy(cohort.labels("superclass"))
        method = LeadKD(
            student, [teacher], labels=labels, beta=0.8 if kind == "lead_kd" else 0.0, negatives=16, clt_dim=8,
            augment=Augment(**AUGMENT),
        )  # fmt: skip
        return method, train if kind == "lead_kd" else mix(train, unlabelled.batches(4, shuffle=True)), valid
    if kind == "probe":
        tokens = torch.randn(N, 5, 16, generator=torch.Generator().manual_seed(0))
        labels = torch.from_numpy(cohort.labels("superclass"))
        made = [TokenBatches(tokens, labels, BATCH, identity="tokens", shuffle=each) for each in (True, False)]
        return AttentionProbe(16, CLASSES), *made
    pool = Pool([cohort, unlabelled], BATCH, window_s=0.4, seed=3)
    encoder = Encoder("conv_vit_nano", leads=pool.leads, rate=100, standardise=Standardise("none"))
    weak = Augment(rate=100, crop_s=0.36, amplitude=0.2)
    methods = {
        "simclr": lambda: SimCLR(encoder, augment=Augment(**AUGMENT | {"crop_s": 0.36})),
        "cmsc": lambda: CMSC(encoder, segment=20),
        "mae": lambda: MaskedAutoencoder(encoder, augment=weak, lead_mask_ratio=0.2),
        "hybrid": lambda: Hybrid(encoder, contrast_weight=0.3, augment=weak),
    }
    return methods[kind](), pool, None


KINDS = ("dropout", "supervised", "lead_kd", "mixed", "probe", "simclr", "cmsc", "mae", "hybrid")


def trained(kind: str, folder: Path, checkpoints: Path | None = None, epochs: int = EPOCHS) -> dict:
    """The history's rows and the weights."""
    method, train, valid = job(kind, folder)
    settings = training.Settings(
        epochs=EPOCHS, learning_rate=1e-3, schedule="constant", clip=1.0, seed=7, select="best" if valid else "last"
    )
    if epochs < EPOCHS:  # cut short: the batches of that epoch never come
        cut, train.set_epoch = train.set_epoch, lambda epoch: cut(epoch) if epoch < epochs else 1 / 0
    try:
        fit = training.fit(method, train, valid, settings=settings, checkpoints=checkpoints, progress="none")
    except ZeroDivisionError:
        return {}
    return {"history": fit.history.to_dict("list"), "weights": method.state_dict(), "resumed_at": fit.resumed_at}


def start(world: int, folder: Path, words: list[str], script: str = __file__) -> list[subprocess.Popen]:
    """One process a rank, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, script, str(folder), *words],
            env={**os.environ, **{k: str(v) for k, v in common.items()}, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        ) for rank in range(world)
    ]  # fmt: skip


def on_ranks(world: int, folder: Path, words: list[str]) -> list[dict]:
    """What each rank found, by kind."""
    processes = start(world, folder, words)
    said = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, "\n".join(said)
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]


if __name__ == "__main__":
    out, kinds = Path(sys.argv[1]), sys.argv[2:]
    found = {}
    for word in kinds:
        kind, kept, epochs = (*word.split(":"), "", "")[:3]  # KIND[:CHECKPOINTS[:EPOCHS]]
        found[kind] = trained(kind, out, Path(kept) if kept else None, int(epochs or EPOCHS))
    torch.save(found, out / f"{ranks.world()}-{ranks.rank()}.pt")
