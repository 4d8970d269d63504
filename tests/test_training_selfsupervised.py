"""The loop without validation: no labels, no choice of an epoch, and an interrupted run ends as an undisturbed one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from ecglib import checkpoint, training
from ecglib.batches import order
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.cmsc import CMSC
from ecglib.methods.encoder import Encoder
from ecglib.methods.hybrid import Hybrid
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.methods.random_lead_masking import RandomLeadMasking
from ecglib.methods.simclr import SimCLR
from ecglib.signals import Augment, Standardise
from ecglib.training import Settings

AUGMENT = Augment(rate=100, crop_s=0.6, noise_mv=0.1)
METHODS = {
    "masked_autoencoder": lambda encoder: MaskedAutoencoder(encoder, augment=AUGMENT),
    "hybrid": lambda encoder: Hybrid(encoder, contrast_weight=0.3, augment=AUGMENT),
    "simclr": lambda encoder: SimCLR(encoder, augment=AUGMENT),
    "cmsc": lambda encoder: CMSC(encoder, segment=40),
    "random_lead_masking": lambda encoder: RandomLeadMasking(encoder),
}
EPOCHS = 4


def make(kind: str = "hybrid", seed: int = 1) -> torch.nn.Module:
    """A network with batch norm, so that its statistics must survive a resume too."""
    torch.manual_seed(seed)
    return METHODS[kind](Encoder("conv_vit_nano", leads=LEADS[:2], rate=100, standardise=Standardise("none")))


class Batches:
    """Signals without labels, shuffled; `stops_at` is the step, counted from the start, at which the power goes."""

    identity = "tiny"

    def __init__(self, stops_at: int | None = None) -> None:
        self.x = torch.randn(12, 2, 100, generator=torch.Generator().manual_seed(0))
        self.epoch, self.stops_at = 0, stops_at

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 3

    def __iter__(self):
        for k, rows in enumerate(order(12, seed=0, epoch=self.epoch, shuffle=True).reshape(3, 4)):
            if self.stops_at == 3 * self.epoch + k:
                raise KeyboardInterrupt
            yield SimpleNamespace(signal=self.x[rows], label=None, index=torch.from_numpy(rows))


def fit(method, folder=None, batches=None, *, progress="none", **settings) -> training.Fit:
    chosen = Settings(**{"epochs": EPOCHS, "learning_rate": 1e-3, "select": "last", "seed": 3} | settings)
    return training.fit(method, batches or Batches(), None, settings=chosen, checkpoints=folder, progress=progress)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_history_has_no_columns_of_validation_and_the_last_epoch_is_kept():
    method = make()
    found = fit(method)
    assert list(found.history.columns) == ["epoch", "learning_rate", "loss", "reconstruction", "contrast"]
    assert found.history["epoch"].tolist() == [1, 2, 3, 4]
    assert found.epoch == EPOCHS
    assert math.isnan(found.value)
    assert set(found.summary()) == {"epochs", "kept epoch", "minutes"}
    parts = found.history["reconstruction"] + 0.3 * found.history["contrast"]
    assert found.history["loss"].tolist() == pytest.approx(parts.tolist(), rel=1e-5)


def test_the_weights_that_are_kept_are_those_after_the_last_epoch(tmp_path):
    """Though the losses of the first epochs are made out to be lower."""
    method = make()
    epochs, step = [], method.training_step

    def rising(batch):
        epochs.append(len(epochs) // 3)
        return {"loss": step(batch)["loss"] + 100 * epochs[-1]}

    method.training_step = rising
    found = fit(method, tmp_path)
    assert found.history["loss"].idxmin() == 0
    assert found.epoch == EPOCHS
    after = {k.removeprefix("encoder."): v for k, v in checkpoint.newest(tmp_path)["method"].items()}
    assert all(torch.equal(v, after[k]) for k, v in method.encoder.state_dict().items())


def test_lines_say_the_loss_and_nothing_of_validation(capsys):
    fit(make(), progress="lines", epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("loss" in line and "contrast" in line and "valid" not in line and "nan" not in line for line in lines)


@pytest.mark.parametrize("kind", METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(kind):
    one, two, other = make(kind), make(kind), make(kind)
    losses = [fit(m, epochs=1, seed=seed).history["loss"].tolist() for m, seed in ((one, 3), (two, 3), (other, 4))]
    assert losses[0] == losses[1] != losses[2]
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("stops_at", [5, 9])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(kind, stops_at, tmp_path):
    undisturbed = make(kind)
    whole = fit(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        fit(make(kind), tmp_path, Batches(stops_at))
    resumed = make(kind, seed=2)  # whatever it began with, it goes on from the checkpoint
    found = fit(resumed, tmp_path)
    assert found.resumed_at == stops_at // 3
    assert found.history.equals(whole.history)
    assert (found.epoch, math.isnan(found.value)) == (EPOCHS, True)
    assert same(undisturbed, resumed)


def test_a_finished_pre_training_is_read_back(tmp_path):
    first = make()
    found = fit(first, tmp_path)
    again = make(seed=2)
    read = fit(again, tmp_path, Batches(stops_at=0))  # one more step would end it
    assert read.resumed_at == EPOCHS
    assert read.history.equals(found.history)
    assert same(first, again)


@pytest.mark.parametrize("change", [{"seed": 4}, {"learning_rate": 2e-3}, {"betas": (0.9, 0.95)}])
def test_other_settings_start_anew(change, tmp_path, capsys):
    fit(make(), tmp_path)
    assert fit(make(), tmp_path, **change).resumed_at == 0
    assert "another training" in capsys.readouterr().out


def test_another_objective_of_equal_shapes_starts_anew(tmp_path):
    fit(make("cmsc"), tmp_path)
    assert fit(make("simclr"), tmp_path).resumed_at == 0


def test_checkpoints_come_as_often_as_asked_and_after_the_last_epoch(tmp_path):
    fit(make(), tmp_path, validate_every=3, epochs=4)
    assert [path.stem for path in checkpoint.numbered(tmp_path)] == ["epoch-00004", "epoch-00003"]
    with pytest.raises(KeyboardInterrupt):
        fit(make(), tmp_path / "stopped", Batches(stops_at=11), validate_every=3)
    found = fit(make(), tmp_path / "stopped", validate_every=3)
    assert found.resumed_at == 3
    undisturbed = make()
    assert found.history.equals(fit(undisturbed, validate_every=3).history)


@pytest.mark.parametrize("change", [{"select": "best"}, {"patience": 3}, {"select": "best", "patience": 2}])
def test_without_validation_no_epoch_can_be_chosen(change):
    with pytest.raises(InputError, match="Without validation no epoch can be chosen"):
        fit(make(), **change)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputError, match="There is nothing to train"):
        training.fit(make(), [], None, settings=Settings(epochs=1, learning_rate=1.0, select="last"))


def test_the_betas_reach_the_optimiser(monkeypatch):
    kept = []
    make_one = training._optimiser
    monkeypatch.setattr(training, "_optimiser", lambda *args: kept.append(make_one(*args)) or kept[-1])
    fit(make(), epochs=1, betas=(0.9, 0.95))
    assert {group["betas"] for group in kept[0].param_groups} == {(0.9, 0.95)}
    assert {group["scale"] for group in kept[0].param_groups} == {1.0}
