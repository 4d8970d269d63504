"""SimCLR, CMSC and random lead masking: which views they contrast, and what learns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.losses.nt_xent import nt_xent
from ecglib.methods.cmsc import CMSC
from ecglib.methods.encoder import Encoder
from ecglib.methods.random_lead_masking import RandomLeadMasking
from ecglib.methods.simclr import SimCLR
from ecglib.signals import Augment, Standardise

BACKBONES = {"conv_vit_nano": {}, "ecg_vit_nano": {}, "xresnet1d18": {"width": 0.125}}
METHODS = {
    "SimCLR": (SimCLR, {"augment": Augment(rate=100, crop_s=1.5, noise_mv=0.1)}),
    "CMSC": (CMSC, {"segment": 100}),
    "RandomLeadMasking": (RandomLeadMasking, {}),
}
every_method = pytest.mark.parametrize("kind", METHODS)
B, T = 5, 200


def encoder(name: str = "ecg_vit_nano", *, leads=LEADS, have=LEADS, seed: int = 1) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(name, leads=leads, have=have, rate=100, standardise=Standardise("none"), **BACKBONES[name])


def make(kind: str, name: str = "ecg_vit_nano", **options) -> SimCLR:
    method, own = METHODS[kind]
    return method(encoder(name), **(own | options))


@pytest.fixture
def signal() -> torch.Tensor:
    return torch.randn(B, 12, T, generator=torch.Generator().manual_seed(0))


# what all share


@every_method
@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_reach_every_parameter_of_encoder_and_projection(kind, name, signal):
    method = make(kind, name).train()
    method.training_step(SimpleNamespace(signal=signal))["loss"].backward()
    assert [key for key, p in method.named_parameters() if p.grad is None or not bool(p.grad.any())] == []
    assert method.inference_module() is method.encoder


@every_method
def test_the_loss_is_nt_xent_of_the_projected_vectors_of_the_two_views(kind, signal):
    method = make(kind, temperature=0.3).eval()
    torch.manual_seed(3)
    loss = method.training_step(SimpleNamespace(signal=signal))["loss"]
    torch.manual_seed(3)
    projected = [method.contrast.project(method.encoder(view)[1]) for view in method.views(signal)]
    torch.testing.assert_close(loss, nt_xent(*projected, temperature=0.3), rtol=1e-4, atol=1e-5)


@every_method
def test_it_learns_to_tell_records_apart(kind):
    """Eight patients with a level of their own in each lead, under noise."""
    level = 0.5 * torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(0))
    method = make(kind, "conv_vit_nano", dim=16).train()
    optimiser = torch.optim.AdamW(method.parameters(), 1e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(step)
        x = level + torch.randn(8, 12, T)
        loss = method.training_step(SimpleNamespace(signal=x))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@every_method
def test_what_makes_it_another_training_is_in_its_identity(kind):
    base = make(kind).identity
    assert base["objective"] == kind
    assert make(kind).identity == base
    assert make(kind, "conv_vit_nano").identity != base
    assert make(kind, temperature=0.2).identity != base
    assert make(kind, augment=Augment(rate=100, noise_mv=0.3)).identity != base
    if kind == "CMSC":
        assert make(kind, segment=50).identity != base
    if kind == "RandomLeadMasking":
        assert make(kind, probability=0.3).identity != base


@every_method
def test_a_single_record_cannot_be_contrasted(kind, signal):
    with pytest.raises(InputError, match="at least two records"):
        make(kind).training_step(SimpleNamespace(signal=signal[:1]))


class Seen(nn.Module):
    """Adds noise and remembers what came in and out."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        out = x + torch.randn_like(x)
        self.calls.append((x, out))
        return out


# SimCLR


def test_both_views_are_drawn_anew_from_the_whole_record(signal):
    seen = Seen()
    first, second = make("SimCLR", augment=seen).views(signal)
    assert all(torch.equal(x, signal) for x, _ in seen.calls)
    assert [torch.equal(view, out) for view, (_, out) in zip((first, second), seen.calls, strict=True)] == [True, True]
    assert not torch.equal(first, second)


# CMSC


@pytest.mark.parametrize("segment", [1, 33, 80, 100])
def test_segments_are_adjacent_and_do_not_overlap(segment):
    ramp = torch.arange(float(T)).expand(200, 12, T)  # a sample's value is its place
    torch.manual_seed(0)
    first, second = make("CMSC", segment=segment).views(ramp)
    assert first.shape == second.shape == (200, 12, segment)
    for view in (first, second):
        assert bool((view.diff(dim=2) == 1).all())
    assert torch.equal(second[:, :, 0], first[:, :, -1] + 1), "the second begins where the first has ended"
    starts = set(first[:, 0, 0].tolist())
    assert starts <= set(range(T - 2 * segment + 1))
    assert len(starts) > 1 or segment == 100


def test_segments_are_of_one_record_and_all_leads_at_the_same_times(signal):
    torch.manual_seed(0)
    first, second = make("CMSC", segment=60).views(signal)
    for b in range(B):
        starts = [s for s in range(T - 119) if torch.equal(signal[b, :, s : s + 60], first[b])]
        assert len(starts) == 1
        assert torch.equal(signal[b, :, starts[0] + 60 : starts[0] + 120], second[b])


def test_segments_may_be_augmented_each_on_its_own(signal):
    seen = Seen()
    first, second = make("CMSC", augment=seen).views(signal)
    assert torch.equal(seen.calls[0][0], signal[:, :, :100])
    assert torch.equal(seen.calls[1][0], signal[:, :, 100:])
    assert torch.equal(first, seen.calls[0][1])
    assert torch.equal(second, seen.calls[1][1])


def test_segments_that_do_not_fit_are_refused(signal):
    with pytest.raises(InputError, match="has 0 samples"):
        make("CMSC", segment=0)
    with pytest.raises(InputError, match="Two adjacent segments of 101 samples do not fit a signal of 200"):
        make("CMSC", segment=101).views(signal)


# random lead masking


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.95])
def test_leads_are_silenced_whole_and_one_at_least_is_left(probability):
    x = torch.randn(400, 12, 20)
    torch.manual_seed(0)
    views = make("RandomLeadMasking", probability=probability).views(x)
    silent = []
    for view in views:
        there = (view != 0).any(dim=2)  # (B, L)
        assert torch.equal(view, x * there[:, :, None])
        assert int(there.sum(dim=1).min()) >= 1
        silent.append(1 - there.float())
    assert not torch.equal(*silent), "each view has leads of its own"
    # Probability p for each lead, but for the one that stays where all twelve would go.
    expected = probability - probability**12 / 12
    torch.testing.assert_close(torch.stack(silent).mean(dim=(0, 1)), torch.full((12,), expected), rtol=0, atol=0.06)


def test_of_the_encoders_own_leads_one_at_least_is_left():
    """Batches may hold more leads than the encoder uses."""
    one = encoder(leads=("V5", "II"))
    torch.manual_seed(0)
    for view in RandomLeadMasking(one, probability=0.9).views(torch.randn(300, 12, 20)):
        assert int((one.standardised(view) != 0).any(dim=2).sum(dim=1).min()) >= 1


def test_windows_are_drawn_before_leads_are_silenced(signal):
    seen = Seen()
    first, second = make("RandomLeadMasking", augment=seen).views(signal)
    assert all(torch.equal(x, signal) for x, _ in seen.calls)
    for view, (_, out) in zip((first, second), seen.calls, strict=True):
        assert torch.equal(view, out * (view != 0).any(dim=2)[:, :, None])


def test_lead_masks_that_leave_nothing_to_do_are_refused():
    for probability in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match="probability between 0 and 1"):
            make("RandomLeadMasking", probability=probability)
    with pytest.raises(InputError, match="two leads or more"):
        RandomLeadMasking(encoder(leads=("I",)))
