"""Fine-tuning: each layer at its own learning rate, every parameter in one group, and the start is remembered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ecglib import training
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.methods.fine_tuning import FineTune
from ecglib.signals import Standardise
from ecglib.training import Settings

BACKBONES = {"conv_vit_nano": {}, "ecg_vit_nano": {}, "xresnet1d18": {"width": 0.125}}
every_backbone = pytest.mark.parametrize("name", BACKBONES)
B, T = 8, 100


def make(name: str = "conv_vit_nano", *, seed: int = 1, decay: float = 0.5, leads=LEADS) -> FineTune:
    torch.manual_seed(seed)
    encoder = Encoder(name, leads=leads, rate=100, standardise=Standardise("none"), **BACKBONES[name])
    torch.manual_seed(0)
    return FineTune(encoder.view(["CD", "MI"]), decay=decay)


class Batches:
    """One batch an epoch."""

    identity = "one"

    def __init__(self, leads: int = 12):
        self.leads = leads

    def set_epoch(self, epoch):
        pass

    def __len__(self):
        return 1

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        signal = torch.randn(B, self.leads, T, generator=generator)
        label = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(B // 2, 1)
        yield SimpleNamespace(signal=signal, label=label, index=torch.arange(B))


def fit(method: FineTune, folder=None, *, leads: int = 12, **settings) -> training.Fit:
    chosen = Settings(**{"epochs": 1, "learning_rate": 1e-3, "schedule": "constant", "select": "last"} | settings)
    return training.fit(method, Batches(leads), None, settings=chosen, checkpoints=folder, progress="none")


# groups


@every_backbone
def test_every_parameter_is_in_one_group(name):
    method = make(name)
    listed = [id(p) for group in method.parameter_groups() for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in method.parameters()}


@every_backbone
def test_the_head_learns_at_the_whole_rate_and_each_layer_below_at_a_share_of_the_one_above(name):
    method = make(name, decay=0.7)
    scales = [group["scale"] for group in method.parameter_groups()]
    assert scales == pytest.approx([0.7**depth for depth in range(6)])
    of = {id(p): group["scale"] for group in method.parameter_groups() for p in group["params"]}
    backbone = method.view.backbone
    assert {of[id(p)] for p in backbone.head.parameters()} == {1.0}
    first, *_, last = (list(layer) for layer in backbone.layers())
    assert {of[id(p)] for p in last} == {0.7}
    assert [of[id(p)] for p in first] == pytest.approx([0.7**5] * len(first))


# training


@every_backbone
def test_in_a_step_a_layer_moves_by_its_share_of_the_learning_rate(name):
    """Adam's first step is the learning rate itself for every parameter whose gradient is well above 1e-8."""
    method = make(name, decay=0.5)
    before = {k: p.detach().clone() for k, p in method.named_parameters()}
    names = {id(p): key for key, p in method.named_parameters()}
    fit(method, optimiser="adam")
    now = dict(method.named_parameters())
    for depth, group in enumerate(method.parameter_groups()):
        moved = max(
            float((now[key].detach() - before[key]).abs().max()) for key in (names[id(p)] for p in group["params"])
        )
        assert moved == pytest.approx(1e-3 * 0.5**depth, rel=0.02)


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_the_schedule_reaches_every_layer(optimiser, monkeypatch):
    """After an epoch on the cosine's way down all rates have fallen alike."""
    kept = []
    make_one = training._optimiser
    monkeypatch.setattr(training, "_optimiser", lambda *args: kept.append(make_one(*args)) or kept[-1])
    fit(make(decay=0.5), optimiser=optimiser, schedule="cosine", epochs=3, weight_decay=0.1)
    rate = Settings(epochs=3, learning_rate=1e-3, schedule="cosine").rate(2)
    found = sorted({group["lr"] for group in kept[0].param_groups}, reverse=True)
    assert found == pytest.approx([rate * 0.5**depth for depth in range(6)])
    if optimiser == "adamw":  # only weights decay, in every layer
        for group in kept[0].param_groups:
            assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}


def test_with_a_decay_of_one_all_layers_learn_alike():
    assert {group["scale"] for group in make(decay=1.0).parameter_groups()} == {1.0}


def test_the_encoder_it_began_with_is_left_alone():
    torch.manual_seed(1)
    encoder = Encoder("conv_vit_nano", leads=LEADS, rate=100, standardise=Standardise("none"))
    before = encoder.digest()
    fit(FineTune(encoder.view(["CD", "MI"])))
    assert encoder.digest() == before


def test_it_learns():
    history = fit(make(decay=0.75), epochs=8).history
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]


# what it began with


def test_a_checkpoint_from_another_encoder_is_not_gone_on_from(tmp_path, capsys):
    fit(make(seed=1), tmp_path)
    assert fit(make(seed=1), tmp_path).resumed_at == 1
    assert fit(make(seed=2), tmp_path).resumed_at == 0
    assert "another training" in capsys.readouterr().out


def test_what_makes_it_another_training_is_in_its_identity():
    base = make().identity
    assert make().identity == base
    assert make(decay=0.6).identity != base
    assert make(seed=2).identity != base
    fresh = make()
    torch.nn.init.zeros_(fresh.view.backbone.head.weight)
    assert FineTune(fresh.view, decay=0.5).identity == base, "the fresh head is chance, not where it came from"
    method = make()
    fit(method)
    assert method.identity == base, "it is the weights that it began with"


@pytest.mark.parametrize("decay", [0.0, 1.1, -0.5, float("nan")])
def test_a_decay_outside_is_refused(decay):
    with pytest.raises(InputError, match="layer_decay is"):
        make(decay=decay)
