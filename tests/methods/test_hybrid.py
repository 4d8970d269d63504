"""The hybrid: with lambda = 0 it is the masked autoencoder, and pre-training never sees the folds it is judged on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ecglib import training
from ecglib.batches import order
from ecglib.cohort import Cohort, write
from ecglib.datasets import load
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.losses.nt_xent import nt_xent
from ecglib.methods.encoder import Encoder
from ecglib.methods.hybrid import Hybrid
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.pool import Pool
from ecglib.signals import Augment, Standardise
from ecglib.training import Settings

BACKBONES = {"conv_vit_nano": {}, "ecg_vit_nano": {}, "xresnet1d18": {"width": 0.125}}
every_backbone = pytest.mark.parametrize("name", BACKBONES)
B, T = 4, 250


def signals(seed: int = 0, n: int = B) -> torch.Tensor:
    return torch.randn(n, 12, T, generator=torch.Generator().manual_seed(seed))


def make(kind=Hybrid, name="ecg_vit_nano", *, standardise=None, **options):
    """Weights from a seed; a window and noise are drawn for each view."""
    torch.manual_seed(1)
    encoder = Encoder(name, leads=LEADS, rate=100, standardise=standardise or Standardise("none"), **BACKBONES[name])
    return kind(encoder, augment=Augment(rate=100, crop_s=2.0, noise_mv=0.1), **options)


class Batches:
    """Three batches an epoch."""

    identity = "three"

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 3

    def __iter__(self):
        for rows in np.array_split(order(3 * B, seed=0, epoch=self.epoch, shuffle=True), 3):
            yield SimpleNamespace(signal=signals(9, 3 * B)[rows], label=None)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# lambda


@every_backbone
def test_without_a_contrast_it_is_the_masked_autoencoder_bit_for_bit(name):
    settings = Settings(epochs=1, learning_rate=1e-3, select="last", seed=3)
    alone, hybrid = make(MaskedAutoencoder, name), make(Hybrid, name, contrast_weight=0.0)
    assert same(alone, hybrid)
    fits = [training.fit(m, Batches(), None, settings=settings, progress="none") for m in (alone, hybrid)]
    assert same(alone, hybrid)
    assert fits[0].history["loss"].tolist() == fits[1].history["loss"].tolist()
    assert fits[1].history["contrast"].tolist() == [0.0]
    assert fits[1].history["reconstruction"].tolist() == fits[0].history["loss"].tolist()
    contrasted = make(Hybrid, name, contrast_weight=0.5)
    training.fit(contrasted, Batches(), None, settings=settings, progress="none")
    moved = [torch.equal(a, b) for a, b in zip(contrasted.encoder.parameters(), alone.encoder.parameters())]
    assert not any(moved[:-1]), "with a contrast it is another training"


@every_backbone
def test_the_loss_and_its_gradient_are_linear_in_lambda(name):
    method = make(name=name, contrast_weight=1.0)
    x = signals()

    def gradient(weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        method.contrast_weight = weight
        method.zero_grad()
        torch.manual_seed(4)
        parts = method.training_step(SimpleNamespace(signal=x))
        parts["loss"].backward()
        expected = parts["reconstruction"] + weight * parts["contrast"]
        torch.testing.assert_close(parts["loss"].detach(), expected)
        return parts["loss"].detach(), torch.cat([p.grad.flatten() for p in method.parameters()])

    (l0, g0), (l1, g1), (l3, g3) = (gradient(weight) for weight in (0.0, 1.0, 3.0))
    torch.testing.assert_close(l3 - l0, 3 * (l1 - l0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(g3 - g0, 3 * (g1 - g0), rtol=1e-3, atol=1e-5 * float(g3.abs().max()))
    assert float((g1 - g0).abs().max()) > 1e-3


@pytest.mark.parametrize("second", ["whole", "masked"])
@every_backbone
def test_gradients_reach_every_parameter(name, second):
    method = make(name=name, contrast_weight=0.1, second=second).train()
    method.training_step(SimpleNamespace(signal=signals()))["loss"].backward()
    assert [key for key, p in method.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("second", ["whole", "masked"])
def test_the_contrast_is_between_a_masked_view_and_another_whole_or_masked(second):
    method = make(contrast_weight=0.5, temperature=0.3, second=second).eval()
    x = signals()
    torch.manual_seed(4)
    parts = method.training_step(SimpleNamespace(signal=x))
    torch.manual_seed(4)
    loss, first = method.reconstruction(method.augment(x))
    view = method.augment(x)
    other = method.visible(view) if second == "masked" else method.encoder(view)[1]
    torch.testing.assert_close(parts["reconstruction"], loss.detach())
    projected = (method.contrast.project(pooled) for pooled in (first, other))
    torch.testing.assert_close(parts["contrast"], nt_xent(*projected, temperature=0.3).detach())
    assert not torch.equal(first, other)


def test_what_makes_it_another_training_is_in_its_identity():
    base = make(contrast_weight=0.5).identity
    assert base["objective"] == "Hybrid"
    for options in ({"contrast_weight": 0.6}, {"temperature": 0.2}, {"mask_ratio": 0.6}, {"second": "masked"}):
        assert make(**({"contrast_weight": 0.5} | options)).identity != base
    assert make(MaskedAutoencoder).identity != make(contrast_weight=0.0).identity


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_a_negative_lambda_is_refused(weight):
    with pytest.raises(InputError, match=r"contrast_weight \(lambda\) is"):
        make(contrast_weight=weight)


def test_an_unknown_second_view_is_refused():
    with pytest.raises(InputError, match="Did you mean 'whole'"):
        make(contrast_weight=0.1, second="hole")


# the folds that are kept back


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    return load("synthetic", rate=100, records=60, cache=tmp_path_factory.mktemp("cache"), progress=False)


def with_noise(cohort: Cohort, folds: list[int], to) -> Cohort:
    """The same cohort with noise in place of the signals of `folds`."""
    counts = cohort.counts(cohort.rows)
    replaced = cohort.records["fold"].isin(folds).to_numpy(bool)
    assert replaced.any()
    counts[replaced] = np.random.default_rng(0).integers(-3000, 3000, counts[replaced].shape, dtype=np.int16)
    info = cohort.info
    return write(
        to, counts, cohort.records, name=info.name, rate=info.rate, leads=info.leads, scale=info.scale,
        label_sets=info.label_sets,
    )  # fmt: skip


def pretrained(cohort: Cohort, name: str) -> tuple[torch.nn.Module, list[float]]:
    """As a notebook does it: everything that is fitted or seen is of folds 1 to 8."""
    train = cohort.in_folds(range(1, 9))
    pool = Pool([train], 16, window_s=2.5, seed=0)
    method = make(name=name, standardise=Standardise("lead", 12).fit(train), contrast_weight=0.2)
    settings = Settings(epochs=2, learning_rate=1e-3, select="last", seed=0)
    fit = training.fit(method, pool, None, settings=settings, progress="none")
    method.encoder.calibrate(pool)
    return method, fit.history["loss"].tolist()


@pytest.mark.parametrize("name", ["ecg_vit_nano", "conv_vit_nano"])
def test_pre_training_never_sees_folds_9_and_10(cohort, tmp_path, name):
    assert cohort.folds() == tuple(range(1, 11))
    first, losses = pretrained(cohort, name)
    blind = with_noise(cohort, [9, 10], tmp_path / "blind")
    assert not np.array_equal(blind.counts(blind.rows), cohort.counts(cohort.rows))
    second, again = pretrained(blind, name)
    assert same(first, second)
    assert losses == again
    seen, other = pretrained(with_noise(cohort, [8], tmp_path / "seen"), name)
    assert other != losses
    assert not same(first, seen), "a fold that is trained on does matter"
