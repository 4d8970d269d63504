"""The transformers: their sizes, their token grids, and what a token knows of its lead and place."""

from __future__ import annotations

import math

import pytest
import torch

from ecglib import models
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.models.conv_vit import ConvViT
from ecglib.models.ecg_vit import ECGViT
from ecglib.models.transformer import SIZES, Trunk, positions

# Parameters of the backbone for twelve leads, without its head.
COUNTS = {
    "conv_vit_nano": 593_376,
    "conv_vit_tiny": 4_025_184,
    "conv_vit_small": 23_147_712,
    "conv_vit_base": 92_449_152,
    "ecg_vit_nano": 451_200,
    "ecg_vit_tiny": 3_566_592,
    "ecg_vit_small": 21_308_928,
    "ecg_vit_base": 85_085_184,
}
NANO = ("conv_vit_nano", "ecg_vit_nano")


def nano(name: str, leads: int = 12, seed: int = 0, **options) -> torch.nn.Module:
    torch.manual_seed(seed)
    return models.create(name, in_channels=leads, num_classes=3, **options).eval()


# sizes


@pytest.mark.parametrize("name", COUNTS)
def test_every_size_has_the_parameters_that_it_had(name, monkeypatch):
    for initialise in ("xavier_uniform_", "kaiming_normal_", "trunc_normal_"):  # the count is asked for, not the values
        monkeypatch.setattr(torch.nn.init, initialise, lambda tensor, *_, **__: tensor)
    network = models.create(name, in_channels=12, num_classes=5)
    count = sum(p.numel() for key, p in network.named_parameters() if not key.startswith("head."))
    assert count == COUNTS[name]
    size = name.rpartition("_")[2]
    assert network.token_dim == network.feature_dim == SIZES[size][0]
    assert size != "nano" or count < 0.7e6
    assert size != "base" or 80e6 < count < 100e6


def test_every_transformer_by_name_is_counted():
    assert set(COUNTS) == {name for name in models.NAMES if "vit" in name}


# positions


@pytest.mark.parametrize(("count", "dim"), [(1, 2), (7, 6), (5, 9)])
def test_positions_are_sines_then_cosines_of_falling_frequency(count, dim):
    half = dim // 2
    slow = torch.zeros(count, dim)
    for n in range(count):
        for k in range(half):
            angle = n / 10_000 ** (k / half)
            slow[n, k], slow[n, half + k] = math.sin(angle), math.cos(angle)
    torch.testing.assert_close(positions(count, dim), slow, rtol=1e-5, atol=1e-6)


def test_a_place_is_the_same_in_longer_records_and_no_two_places_are_alike():
    torch.testing.assert_close(positions(10, 96), positions(400, 96)[:10])
    where = positions(400, 96)
    distance = torch.cdist(where, where) + 9 * torch.eye(400)
    assert float(distance.min()) > 0.1


# token grids


@pytest.mark.parametrize("samples", [25, 99, 100, 250, 1000])
def test_an_ecg_transformer_has_a_token_for_each_whole_patch_of_each_lead(samples):
    network = nano("ecg_vit_nano", leads=3)
    tokens, pooled = network.forward_features(torch.randn(2, 3, samples))
    leads, places = network.grid(samples)
    assert (leads, places) == (3, samples // 25)
    assert tokens.shape == (2, leads * places, 96)
    torch.testing.assert_close(pooled, tokens.mean(dim=1))


@pytest.mark.parametrize("samples", [16, 17, 31, 250, 1000])
def test_a_conv_transformer_has_a_token_for_each_begun_stretch_of_all_leads(samples):
    network = nano("conv_vit_nano", leads=2)
    tokens, pooled = network.forward_features(torch.randn(2, 2, samples))
    assert network.grid(samples) == (1, math.ceil(samples / 16))
    assert tokens.shape == (2, math.ceil(samples / 16), 96)
    torch.testing.assert_close(pooled, tokens.mean(dim=1))


@pytest.mark.parametrize("samples", [32, 33, 100, 250, 1000])
def test_the_grid_of_the_convolutional_network_is_its_tokens(samples):
    network = models.create("xresnet1d18", in_channels=2, num_classes=1, width=0.125).eval()
    assert network.forward_features(torch.randn(2, 2, samples))[0].shape[1:] == (network.grid(samples)[1], 64)


def test_tokens_are_lead_by_lead_and_place_by_place():
    network = nano("ecg_vit_nano", leads=3)
    x = torch.randn(1, 3, 100)
    before = network.embed(x)
    for lead in range(3):
        for place in range(4):
            changed = x.clone()
            changed[0, lead, 25 * place + 3] += 1.0
            differs = (network.embed(changed) != before).any(dim=2)[0]
            assert differs.nonzero().flatten().tolist() == [lead * 4 + place]


def test_samples_after_the_last_whole_patch_are_not_looked_at():
    network = nano("ecg_vit_nano", leads=2)
    x = torch.randn(1, 2, 110)
    changed = x.clone()
    changed[:, :, 100:] = 7.0
    assert torch.equal(network(x), network(changed))


# leads by name


def test_leads_in_another_order_give_their_tokens_in_that_order_and_the_same_vector():
    network = nano("ecg_vit_nano")
    x = torch.randn(2, 12, 100)
    turn = [7, 0, 11, 3, 5, 1, 2, 10, 4, 9, 8, 6]
    tokens, pooled = network.forward_features(x)
    turned, same = network.forward_features(x[:, turn], leads=[LEADS[k] for k in turn])
    by_lead, turned = tokens.unflatten(1, (12, 4)), turned.unflatten(1, (12, 4))  # (B, L N, D) -> (B, L, N, D)
    torch.testing.assert_close(turned, by_lead[:, turn], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same, pooled, rtol=1e-4, atol=1e-5)
    misnamed = network.forward_features(x[:, turn])[1]
    assert float((misnamed - pooled).detach().abs().max()) > 1e-3, "the names must matter"


@pytest.mark.parametrize("names", [["V5"], ["aVR", "I"], ["mdc_ecg_lead_v2", "AVL", "ii"]])
def test_some_leads_of_any_length_are_embedded_as_they_are_among_the_twelve(names):
    network = nano("ecg_vit_nano")
    canonical = {"aVR": 3, "I": 0, "V5": 10, "mdc_ecg_lead_v2": 7, "AVL": 4, "ii": 1}
    at = [canonical[name] for name in names]
    x = torch.randn(2, 12, 150)
    few = network.embed(x[:, at, :75], leads=names).unflatten(1, (len(at), 3))
    torch.testing.assert_close(few, network.embed(x).unflatten(1, (12, 6))[:, at, :3])
    assert network.forward_features(x[:, at, :75], leads=names)[0].shape == (2, len(at) * 3, 96)


def test_a_network_of_named_leads_knows_them_by_name():
    torch.manual_seed(0)
    few = ECGViT("nano", in_channels=2, num_classes=1, leads=["V5", "avr"]).eval()
    all_ = nano("ecg_vit_nano")
    all_.load_state_dict({k: v for k, v in few.state_dict().items() if k[:5] != "head."}, strict=False)
    x = torch.randn(2, 2, 100)
    torch.testing.assert_close(few.forward_features(x)[1], all_.forward_features(x, leads=["V5", "aVR"])[1])


# layers and gradients


@pytest.mark.parametrize("name", [*NANO, "xresnet1d18"])
def test_layers_are_all_parameters_but_the_heads_once_from_the_input_on(name):
    network = nano(name, leads=2)
    layers = list(network.layers())
    listed = [id(p) for layer in layers for p in layer]
    names = {id(p): key for key, p in network.named_parameters()}
    assert len(listed) == len(set(listed))
    assert {names[p] for p in listed} == {key for key in names.values() if not key.startswith("head.")}
    first, last = (names[id(layer[0])] for layer in (layers[0], layers[-1]))
    assert first.startswith(("stem.", "project."))
    assert last.startswith(("trunk.blocks.3.", "stages.3."))
    assert len(layers) == 5


@pytest.mark.parametrize("name", NANO)
def test_every_parameter_gets_a_gradient(name):
    network = nano(name, leads=12).train()
    network(torch.randn(4, 12, 100)).square().sum().backward()
    assert [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NANO)
def test_pooled_vectors_are_float32_under_mixed_precision(name):
    with torch.autocast("cpu", torch.bfloat16):
        assert nano(name, leads=1).forward_features(torch.randn(2, 1, 64))[1].dtype == torch.float32


def test_whole_branches_are_left_out_in_training_only_and_more_of_them_above():
    torch.manual_seed(0)
    trunk = Trunk(8, 5, 2, drop_path=0.4)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in trunk.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    x = torch.randn(16, 3, 8)
    assert not torch.equal(trunk(x), trunk(x))
    trunk.eval()
    assert torch.equal(trunk(x), trunk(x))


# refusals


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ECGViT("nano", in_channels=1, num_classes=1, patch=0), "`patch` is 0 samples"),
        (lambda: ECGViT("nano", in_channels=1, num_classes=1, leads=["V9"]), "V9"),
        (lambda: ECGViT("nano", in_channels=3, num_classes=1, leads=["I", "II"]), "3 channels for the leads I II"),
        (lambda: ConvViT("nano", in_channels=1, num_classes=1, kernel=4), "`kernel` is 4"),
        (lambda: nano("conv_vit_nano", kernal=3), r"no option 'kernal'\. Did you mean 'kernel'"),
        (lambda: nano("ecg_vit_nono"), "Did you mean 'ecg_vit_nano'"),
        (lambda: nano("ecg_vit_nano")(torch.randn(2, 3, 100)), r"\(B, 12, 25 or more\), but was given \(2, 3, 100\)"),
        (lambda: nano("ecg_vit_nano")(torch.randn(2, 12, 24)), r"was given \(2, 12, 24\)"),
        (lambda: nano("ecg_vit_nano").embed(torch.randn(2, 12, 50), leads=["I"]), r"\(B, 1, 25 or more\)"),
        (lambda: nano("conv_vit_nano")(torch.randn(2, 12, 15)), r"\(B, 12, 16 or more\), but was given \(2, 12, 15\)"),
        (lambda: nano("conv_vit_nano")(torch.randn(12, 100)), r"was given \(12, 100\)"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
