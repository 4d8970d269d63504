"""The delineator: samples stay where they are, only what is known teaches, and it learns to find waves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ecglib import delineation, models
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.delineator import Batch, Delineator, train

RATE = 100


class Patches(nn.Module):
    """A backbone whose tokens are the samples themselves, `stride` at a time, per lead or of all leads together."""

    def __init__(self, leads: int, stride: int, mixed: bool) -> None:
        super().__init__()
        self.leads, self.stride, self.mixed = leads, stride, mixed
        self.token_dim = self.feature_dim = stride * (leads if mixed else 1)
        self.scale = nn.Parameter(torch.ones(()))

    def grid(self, length):
        return (1 if self.mixed else self.leads), length // self.stride

    def forward_features(self, x):
        places = x.shape[2] // self.stride
        tokens = self.scale * x[:, :, : places * self.stride].unflatten(2, (places, self.stride))  # (B, L, N, S)
        tokens = tokens.movedim(1, 2).flatten(2) if self.mixed else tokens.flatten(1, 2)
        return tokens, tokens.mean(1)


class StandIn(nn.Module):
    """As ecglib.methods.encoder.Encoder, with any backbone and no standardising."""

    def __init__(self, backbone, leads=LEADS[:2], window_s=None) -> None:
        super().__init__()
        self.backbone, self.leads, self.rate, self.window_s = backbone, tuple(leads), RATE, window_s
        self.token_dim = backbone.token_dim

    def forward(self, signal):
        return self.backbone.forward_features(signal)


def delineator(mixed=False, stride=8, window_s=None, **options) -> Delineator:
    torch.manual_seed(0)
    encoder = StandIn(Patches(2, stride, mixed), window_s=window_s)
    return Delineator(encoder, **{"frozen": False, **options})


def task(n=12, length=200, leads=2, seed=0):
    """Noise with a narrow high bump (QRS), a low one before (P) and a broad one behind (T), elsewhere in each lead."""
    rng = np.random.default_rng(seed)
    signal = 0.02 * rng.standard_normal((n, leads, length)).astype(np.float32)
    mask = np.zeros((n, leads, length), np.uint8)
    for record in range(n):
        for lead in range(leads):
            for at in np.arange(rng.integers(25, 40), length - 50, 75):
                for kind, start, size, height in ((1, -18, 10, 0.2), (2, 0, 8, 1.0), (3, 16, 20, 0.35)):
                    signal[record, lead, at + start : at + start + size] += height * np.hanning(size + 2)[1:-1]
                    mask[record, lead, at + start : at + start + size] = kind
    known = np.zeros(mask.shape, bool)
    known[..., 10:-10] = True
    return signal, mask, known


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("length", "window_s"), [(64, None), (61, None), (64, 0.16), (61, 0.2), (60, 0.6), (50, 0.24)])
def test_every_sample_comes_out_where_it_went_in(mixed, length, window_s):
    """With weights that copy, class 0's logit is the signal: no window, seam or remainder moves a sample."""
    net = delineator(mixed, window_s=window_s)
    net.norm = nn.Identity()
    with torch.no_grad():
        for parameter in (*net.smooth.parameters(), *net.linear.parameters()):
            parameter.zero_()
        weight = net.linear.weight.view(8, 4, -1)
        if mixed:
            net.gain.zero_()
            for lead in range(2):
                net.gain[lead, 8 * lead : 8 * lead + 8] = 1
            weight[:, 0] = torch.eye(8).repeat(1, 2)
        else:
            weight[:, 0] = torch.eye(8)
    signal = torch.randn(3, 2, length)
    logits = net(signal)
    assert logits.shape == (3, 2, length, 4)
    torch.testing.assert_close(logits[..., 0], signal)
    assert not logits[..., 1:].any()


def test_the_skip_is_the_only_way_around_the_tokens():
    signal, other = torch.randn(2, 3, 2, 64)
    for skip in (False, True):
        net = delineator(skip=skip)
        same = torch.equal(net(signal), net(other, tokens=net.tokens(signal)))
        assert same is not skip


@pytest.mark.parametrize("mixed", [False, True])
def test_each_lead_is_told_apart(mixed):
    """Leads exchanged in the signal: per-lead tokens are exchanged with them, mixed ones are read lead by lead."""
    net = delineator(mixed, skip=False)
    signal = torch.randn(2, 2, 64)
    out, swapped = net(signal), net(signal.flip(1)).flip(1)
    assert torch.allclose(out, swapped, atol=1e-5) is not mixed
    assert not torch.allclose(out[:, 0], out[:, 1])


def test_only_known_samples_teach():
    net = delineator(mixed=True)
    signal, mask, known = (torch.as_tensor(part) for part in task(4))
    known[2] = False
    loss = net.training_step(Batch(signal, mask, known))["loss"]
    with torch.no_grad():
        logits = net(signal).log_softmax(-1)
    terms = [
        -logits[b, l, t, int(mask[b, l, t])]
        for b in range(4)
        for l in range(2)
        for t in range(mask.shape[2])
        if known[b, l, t]
    ]
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    other = torch.where(known, mask, 3 - mask)
    assert torch.equal(loss, net.training_step(Batch(signal, other, known))["loss"])
    nothing = net.training_step(Batch(signal, mask, torch.zeros_like(known)))["loss"]
    assert nothing.item() == 0


def test_a_frozen_encoder_stays_as_it_is():
    for frozen in (True, False):
        net = delineator(frozen=frozen)
        net.encoder.backbone.dropout = nn.Dropout()
        before = [p.detach().clone() for p in net.encoder.parameters()]
        assert all(p.requires_grad is not frozen for p in net.encoder.parameters())
        assert net.train().encoder.backbone.dropout.training is not frozen
        train(net, *task(4), epochs=2, learning_rate=0.01)
        after = list(net.encoder.parameters())
        assert all(torch.equal(a, b) for a, b in zip(before, after)) is frozen
        assert not net.training


def test_tokens_at_hand_change_nothing():
    """Training with tokens computed once is training: the same weights as stepping through the encoder."""
    once, each = delineator(frozen=True), delineator(frozen=True)
    signal, mask, known = (torch.as_tensor(part) for part in task(3))
    step = each.training_step(Batch(signal, mask, known))["loss"]
    with torch.no_grad():
        at_hand = Batch(signal, mask, known, tokens=once.tokens(signal))
    assert torch.equal(step, once.training_step(at_hand)["loss"])
    assert not once.tokens(signal).requires_grad


@pytest.mark.parametrize("frozen", [True, False])
def test_a_seed_is_a_training(frozen):
    def run(seed):
        net = delineator(mixed=True, frozen=frozen)
        net.encoder.backbone.grid = Patches(2, 8, True).grid
        torch.manual_seed(seed * 77)  # what torch's generator was at must not matter
        state = torch.get_rng_state()
        history = train(net, *task(6), epochs=2, learning_rate=0.01, batch_size=4, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        return history, net.state_dict()

    (one, weights), (same, equal), (other, _) = run(3), run(3), run(4)
    assert one.equals(same)
    assert all(torch.equal(weights[name], equal[name]) for name in weights)
    assert not one["loss"].equals(other["loss"])
    assert one.columns.tolist() == ["epoch", "learning_rate", "loss"]
    assert one["epoch"].tolist() == [1, 2]


def test_the_encoder_learns_at_its_own_rate_and_gains_do_not_decay():
    from ecglib.methods.delineator import _groups

    net = delineator(mixed=True)
    names = {id(p): name for name, p in net.named_parameters()}
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in _groups(net, 1.0, 0.1, 0.5) for p in g["params"]}
    assert found == {
        name: (0.1 if name.startswith("encoder.") else 1.0, 0.5 if name in
               ("linear.weight", "smooth.0.weight", "smooth.2.weight") else 0.0)
        for name in names.values()
    }  # fmt: skip


@pytest.mark.parametrize("mixed", [False, True])
def test_it_learns_to_find_waves(mixed):
    net = delineator(mixed, reach_ms=150)
    signal, mask, known = task(24)
    history = train(net, signal, mask, known, epochs=40, learning_rate=0.02)
    assert history["loss"].iloc[-1] < 0.25 * history["loss"].iloc[0]
    signal, mask, known = task(10, seed=1)
    classes = net.predict(torch.from_numpy(signal), batch_size=4)
    assert (classes.shape, classes.dtype) == (mask.shape, torch.uint8)
    truth, found = (delineation.waves(c, RATE, known=known) for c in (mask, classes.numpy()))
    scores = delineation.match(truth, found, records=10, tolerance_ms=40).table()["delineation_f1"]
    assert scores.min() > 0.9


@pytest.mark.parametrize(
    ("name", "options", "mixed"),
    [("conv_vit_nano", {}, True), ("ecg_vit_nano", {"patch": 16}, False), ("xresnet1d18", {"width": 0.125}, True)],
)
def test_real_backbones(name, options, mixed):
    torch.manual_seed(0)
    backbone = models.create(name, in_channels=12, num_classes=1, **options)
    net = Delineator(StandIn(backbone, LEADS, window_s=2.5), frozen=False)
    assert net.mixed is mixed
    signal = torch.randn(2, 12, 600)
    mask = torch.randint(0, 4, (2, 12, 600))
    loss = net.training_step(Batch(signal, mask, torch.ones_like(mask, dtype=torch.bool)))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    lacking = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("encoder.backbone.head") for name in lacking), lacking
    assert net.predict(signal).shape == (2, 12, 600)


def test_unusable_input_is_named():
    net = delineator(window_s=1.0)
    with pytest.raises(InputError, match=r"takes signals of shape \(B, 2, T\), but was given \(1, 3, 200\)"):
        net(torch.zeros(1, 3, 200))
    with pytest.raises(InputError, match=r"A window of 100 samples every 100 does not cover a signal of 90"):
        net(torch.zeros(1, 2, 90))
    encoder = StandIn(Patches(2, 8, False))
    for options, said in (
        ({"width": 0}, "width and reach_ms must be above 0"),
        ({"reach_ms": 0}, "width and reach_ms"),
    ):
        with pytest.raises(InputError, match=said):
            Delineator(encoder, frozen=True, **options)
    encoder.have = LEADS
    with pytest.raises(InputError, match="an encoder of all leads of its batches"):
        Delineator(encoder, frozen=True)
    signal, mask, known = task(3)
    settings = {"epochs": 1, "learning_rate": 0.01}
    with pytest.raises(InputError, match=r"Signals \(3, 2, 200\), mask \(3, 2, 199\)"):
        train(net, signal, mask[..., 1:], known, **settings)
    with pytest.raises(InputError, match="with some sample known"):
        train(net, signal, mask, known & False, **settings)
    with pytest.raises(InputError, match=r"The loss is nan in epoch 1: lower the learning rate \(0\.01\)"):
        train(net, signal * np.nan, mask, known, **settings)
    assert len(train(delineator(), signal, mask, known, batch_size=3, **settings)) == 1


def test_real_records(shared_data, tmp_path):
    """A small convolutional encoder on 40 records of LUDB finds QRS in 20 others."""
    from ecglib.datasets import ludb
    from ecglib.methods.encoder import Encoder
    from ecglib.signals import Standardise

    cohort = ludb.build(shared_data / "ludb", tmp_path / "c", rate=RATE, verify=False, progress=False)
    marked = ludb.boundaries(shared_data / "ludb", verify=False)
    torch.manual_seed(0)
    encoder = Encoder("conv_vit_nano", leads=LEADS, rate=RATE, standardise=Standardise("record"))
    net = Delineator(encoder, frozen=False)
    taught, tested = cohort.in_folds([1, 2]), cohort.in_folds([10])
    maps = delineation.targets(marked, taught.records["record"].tolist(), LEADS, cohort.length, RATE)
    train(net, taught.signal_mv(), *maps, epochs=6, learning_rate=3e-3, batch_size=4, encoder_factor=1.0)
    records = tested.records["record"].tolist()
    _, known = delineation.targets(marked, records, LEADS, cohort.length, RATE)
    classes = net.predict(torch.from_numpy(tested.signal_mv())).numpy()
    truth, found = delineation.reference(marked, records, LEADS), delineation.waves(classes, RATE, known=known)
    scores = delineation.match(truth, found, records=20).table()["delineation_f1"]
    assert scores[["QRS onset", "QRS offset"]].min() > 0.9
    assert scores.min() > 0.5
