"""The masked autoencoder: what is hidden, that nothing of it leaks, what learns, what is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.losses.masked_mse import masked_mse
from ecglib.methods.encoder import Encoder
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.methods.masking import Masking
from ecglib.signals import Augment, Standardise

BACKBONES = {"conv_vit_nano": {}, "ecg_vit_nano": {}, "xresnet1d18": {"width": 0.125}}
every_backbone = pytest.mark.parametrize("name", BACKBONES)
B, T = 4, 330


def signals(leads: int = 12, seed: int = 0, samples: int = T) -> torch.Tensor:
    return torch.randn(B, leads, samples, generator=torch.Generator().manual_seed(seed))


def make(name: str, *, leads=LEADS, standardise=None, seed: int = 1, **options) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    encoder = Encoder(name, leads=leads, rate=100, standardise=standardise or Standardise("none"), **BACKBONES[name])
    return MaskedAutoencoder(encoder, **options)


def without_gradient(method: torch.nn.Module) -> list[str]:
    return [name for name, p in method.named_parameters() if p.grad is None or not bool(p.grad.any())]


# masking


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.floats(0.01, 0.99), leads=st.integers(1, 12), places=st.integers(2, 50),
    together=st.sampled_from(["leads", "none"]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_every_record_has_the_same_number_of_cells_hidden(ratio, leads, places, together, seed):
    masking = Masking(ratio, together=together)
    torch.manual_seed(seed)
    masked = masking.draw(5, leads, places)
    assert masked.shape == (5, leads, places)
    hidden = masking.hidden(leads, places)
    assert masked.flatten(1).sum(dim=1).tolist() == [hidden] * 5
    assert 1 <= hidden < leads * places
    if 1 / (leads * places) < ratio < 1 - 1 / (leads * places):
        assert abs(hidden - ratio * leads * places) <= 0.5


@settings(max_examples=60, deadline=None)
@given(
    ratio=st.floats(0.05, 0.95), leads=st.integers(2, 12), places=st.integers(2, 200), seed=st.integers(0, 2**31)
)  # fmt: skip
def test_together_all_leads_have_the_same_times_hidden_but_for_one_place(ratio, leads, places, seed):
    torch.manual_seed(seed)
    masked = Masking(ratio, together="leads").draw(50, leads, places)
    hidden = masked.sum(dim=1)  # (B, N): in how many leads
    assert int(((hidden > 0) & (hidden < leads)).sum(dim=1).max()) <= 1


def test_apart_each_lead_has_times_of_its_own():
    torch.manual_seed(0)
    masked = Masking(0.5, together="none").draw(50, 12, 40)
    hidden = masked.sum(dim=1)
    assert float(((hidden > 0) & (hidden < 12)).float().mean()) > 0.95


@pytest.mark.parametrize("together", ["leads", "none"])
@pytest.mark.parametrize(("leads", "lead_ratio", "whole"), [(12, 0.25, 3), (12, 0.4, 5), (8, 0.13, 1)])
def test_whole_leads_are_hidden_within_the_share_and_not_always_the_same(together, leads, lead_ratio, whole):
    torch.manual_seed(0)
    masking = Masking(0.6, lead_ratio=lead_ratio, together=together)
    masked = masking.draw(300, leads, 40)
    assert masked.all(dim=2).sum(dim=1).tolist() == [whole] * 300
    assert set(masked.flatten(1).sum(dim=1).tolist()) == {round(0.6 * leads * 40)}
    often = masked.all(dim=2).float().mean(dim=0)  # (L,): how often each lead is hidden whole
    torch.testing.assert_close(often, torch.full((leads,), whole / leads), rtol=0, atol=0.12)
    if together == "leads":
        others = masked[0, ~masked[0].all(dim=1)].sum(dim=0)  # among the other leads, place by place
        assert int(((others > 0) & (others < leads - whole)).sum()) <= 1


def test_each_cell_is_hidden_equally_often():
    torch.manual_seed(0)
    for together in ("leads", "none"):
        often = Masking(0.3, together=together).draw(4000, 3, 10).float().mean(dim=0)
        torch.testing.assert_close(often, torch.full((3, 10), 0.3), rtol=0, atol=0.04)


def test_a_mask_is_a_function_of_the_seed():
    masking = Masking(0.5)
    torch.manual_seed(7)
    first, other = masking.draw(4, 12, 10), masking.draw(4, 12, 10)
    torch.manual_seed(7)
    assert torch.equal(masking.draw(4, 12, 10), first)
    assert not torch.equal(other, first)


@pytest.mark.parametrize(("leads", "places"), [(1, 1), (12, 0), (1, 0)])
def test_a_signal_of_fewer_than_two_cells_is_refused(leads, places):
    with pytest.raises(InputError, match="cannot be hidden in part"):
        Masking(0.5).draw(2, leads, places)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": 0.0}, "nothing hidden there is nothing to rebuild"),
        ({"ratio": 1.0}, "with everything hidden nothing to rebuild it from"),
        ({"ratio": 1.2}, "mask_ratio is 1.2"),
        ({"ratio": float("nan")}, "mask_ratio is nan"),
        ({"ratio": 0.5, "lead_ratio": 0.5}, "lead_mask_ratio is 0.5, but must be at least 0 and below mask_ratio, 0.5"),
        ({"ratio": 0.5, "lead_ratio": -0.1}, "lead_mask_ratio is -0.1"),
        ({"ratio": 0.5, "together": "lead"}, "Did you mean 'leads'"),
    ],
)
def test_masks_that_leave_nothing_to_do_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        Masking(**options)


# no leak

CASES = [
    ("conv_vit_nano", {}),
    ("conv_vit_nano", {"cell": 25, "mask_together": "none"}),
    ("conv_vit_nano", {"lead_mask_ratio": 0.3}),
    ("ecg_vit_nano", {}),
    ("ecg_vit_nano", {"mask_ratio": 0.8, "mask_together": "none"}),
    ("ecg_vit_nano", {"lead_mask_ratio": 0.3}),
    ("xresnet1d18", {}),
    ("xresnet1d18", {"cell": 10, "mask_together": "none"}),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_nothing_of_what_is_hidden_reaches_the_vector_or_the_rebuilt_cells(name, options, training):
    method = make(name, **options).train(training)
    x = signals()
    patches = method.patches(x)
    masked = method.masking.draw(*patches.shape[:3])
    hidden = torch.zeros_like(x, dtype=torch.bool)
    inside = masked.repeat_interleave(method.cell, dim=2)
    hidden[:, :, : inside.shape[2]] = inside
    hidden_changed = torch.where(hidden, 5 * signals(seed=3) + 2, x)
    seen_changed = torch.where(hidden, x, 5 * signals(seed=3) + 2)

    def look(x):
        with torch.no_grad():
            tokens, pooled = method.encode(x, masked)
            rebuilt = method.decode(tokens, masked)
        return pooled, rebuilt, masked_mse(rebuilt, method.patches(x), masked)

    pooled, rebuilt, loss = look(x)
    assert rebuilt.shape == patches.shape
    same, still, other_loss = look(hidden_changed)
    assert torch.equal(same, pooled)
    assert torch.equal(still, rebuilt)
    assert abs(float(other_loss - loss)) > 1e-4, "what is to be rebuilt is what was hidden"
    assert not torch.equal(look(seen_changed)[0], pooled)
    assert not torch.equal(look(seen_changed)[1], rebuilt)


@every_backbone
def test_nothing_leaks_from_the_signal_to_the_vector_of_a_whole_step(name):
    """The same from mV on, with the mask that the step itself draws."""
    fitted = Standardise("lead", 12).fit(signals(seed=9))
    method = make(name, standardise=fitted).eval()
    x = signals()
    torch.manual_seed(5)
    masked = method.masking.draw(*method.patches(x).shape[:3])
    inside = masked.repeat_interleave(method.cell, dim=2)
    other = x.clone()
    other[:, :, : inside.shape[2]][inside] += 3.0
    found = []
    for signal in (x, other):
        torch.manual_seed(5)
        found.append([v.detach() for v in method.reconstruction(signal)])
        torch.manual_seed(5)
        assert torch.equal(method.visible(signal).detach(), found[-1][1])
    assert torch.equal(found[0][1], found[1][1])


def test_the_decoder_rebuilds_each_cell_at_its_own_place():
    """Tokens of visible cells come back to where they were, mask tokens stand where cells are hidden."""
    method = make("ecg_vit_nano", leads=("I", "V1"), mask_ratio=0.5).eval()
    x = signals(2, samples=100)
    masked = method.masking.draw(B, 2, 4)
    kept = method._kept(masked)
    for b in range(B):
        assert kept[b].tolist() == (~masked[b].flatten()).nonzero().flatten().tolist()
    tokens, _ = method.encode(x, masked)
    looked = []
    method.decoder.register_forward_pre_hook(lambda _, inputs: looked.append(inputs[0].detach()))
    method.decode(tokens, masked)
    from ecglib.models.transformer import positions

    where = method.lead.detach()[:, None] + positions(4, 64)  # (L, N, D')
    whole = looked[0].unflatten(1, (2, 4)) - where
    own = method.project(tokens).detach()
    for b in range(B):
        torch.testing.assert_close(whole[b][~masked[b]], own[b])
        expected = method.mask_token.detach().expand(int(masked[b].sum()), -1)
        torch.testing.assert_close(whole[b][masked[b]], expected)


# learning


@every_backbone
@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_reach_every_parameter_of_encoder_and_decoder(name, normalise):
    method = make(name, normalise_patches=normalise).train()
    method.training_step(SimpleNamespace(signal=signals()))["loss"].backward()
    assert without_gradient(method) == []


@every_backbone
def test_the_loss_is_that_of_the_hidden_cells(name):
    method = make(name, normalise_patches=False).eval()
    x = signals()
    torch.manual_seed(2)
    loss = method.training_step(SimpleNamespace(signal=x))["loss"]
    torch.manual_seed(2)
    patches = method.patches(x)
    masked = method.masking.draw(*patches.shape[:3])
    rebuilt = method.decode(method.encode(x, masked)[0], masked)
    slow = torch.stack([(rebuilt[m.bool()] - patches[m.bool()]).square().mean() for m in [masked]]).mean()
    torch.testing.assert_close(loss, slow)


@every_backbone
def test_mixed_precision_gives_nearly_the_same_loss_in_float32(name):
    method, losses = make(name).eval(), []
    for enabled in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, pooled = method.reconstruction(signals())
        assert loss.dtype == pooled.dtype == torch.float32
        losses.append(float(loss.detach()))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@every_backbone
def test_it_learns_to_rebuild(name):
    """Sines that fill all leads: half of the times tell the other half."""
    time = torch.arange(160) / 100
    method = make(name, leads=LEADS[:2], mask_ratio=0.4).train()
    optimiser = torch.optim.AdamW(method.parameters(), 3e-3)
    losses = []
    for step in range(60):
        torch.manual_seed(step)
        phase = torch.rand(16, 1, 1) * 6.28
        loss = method.training_step(SimpleNamespace(signal=torch.sin(25 * time + phase).expand(-1, 2, -1)))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_the_whole_signal_is_augmented_before_it_is_masked():
    method = make("ecg_vit_nano", augment=Augment(rate=100, crop_s=1.0))
    seen = []
    method.encoder.standardise.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    method.training_step(SimpleNamespace(signal=signals()))
    assert seen == [(B, 12, 100)]


def test_only_the_encoder_is_the_product():
    method = make("conv_vit_nano")
    assert method.inference_module() is method.encoder


def test_what_makes_it_another_training_is_in_its_identity():
    base = make("conv_vit_nano").identity
    for options in ({"mask_ratio": 0.6}, {"lead_mask_ratio": 0.1}, {"mask_together": "none"}, {"cell": 8},
                    {"normalise_patches": False}, {"augment": Augment(rate=100, crop_s=1.0)}):  # fmt: skip
        assert make("conv_vit_nano", **options).identity != base
    assert make("ecg_vit_nano").identity != base
    assert make("conv_vit_nano").identity == base


# what a report draws


@every_backbone
@pytest.mark.parametrize("mode", ["lead", "scalar", "record", "none"])
def test_what_is_shown_is_in_mv(name, mode):
    signal = 3 * signals() + 1
    method = make(name, standardise=Standardise(mode, 12).fit(signal)).eval()
    shown = method.show(signal)
    places = T // method.cell
    for key in ("original", "rebuilt", "masked"):
        assert shown[key].shape == (B, 12, places * method.cell)
    torch.testing.assert_close(shown["original"], signal[:, :, : places * method.cell], rtol=1e-4, atol=1e-4)
    assert shown["masked"].dtype == torch.bool
    assert shown["masked"].flatten(1).sum(dim=1).tolist() == [method.masking.hidden(12, places) * method.cell] * B
    cells = shown["rebuilt"].unflatten(2, (places, method.cell)), method.patches(signal)
    assert float((cells[0].mean(dim=3) - cells[1].mean(dim=3)).abs().median()) < 3.0  # the level is lent


def test_the_rebuilt_signal_that_is_shown_is_the_decoders():
    signal = 3 * signals() + 1
    method = make("ecg_vit_nano", standardise=Standardise("lead", 12).fit(signal), normalise_patches=False).eval()
    torch.manual_seed(4)
    shown = method.show(signal)
    torch.manual_seed(4)
    x = method.encoder.standardised(signal)
    masked = method.masking.draw(*method.patches(x).shape[:3])
    rebuilt = method.decode(method.encode(x, masked)[0], masked).detach().flatten(2)
    norm = method.encoder.standardise
    torch.testing.assert_close(shown["rebuilt"], rebuilt * norm.std + norm.mean)


@every_backbone
def test_showing_changes_nothing(name):
    method = make(name).train()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    torch.manual_seed(1)
    shown = method.show(signals())
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert all(module.training for module in method.modules())
    torch.manual_seed(1)
    assert torch.equal(method.eval().show(signals())["rebuilt"], shown["rebuilt"]), "it is shown in eval mode"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("ecg_vit_nano", {"cell": 10}, "A cell of 10 samples cannot be hidden from ecg_vit_nano, whose tokens have 25"),
        ("conv_vit_nano", {"cell": -5}, "A cell of -5 samples"),
        ("conv_vit_nano", {"mask_ratio": 1.0}, "mask_ratio is 1.0"),
    ],
)
def test_what_cannot_be_hidden_is_refused(name, options, says):
    with pytest.raises(InputError, match=says):
        make(name, **options)
