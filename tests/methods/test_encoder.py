"""The encoder: what it saves, what it refuses, how long records, leads and views come out of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.methods.view import View
from ecglib.signals import Standardise

BACKBONES = {"conv_vit_nano": {}, "ecg_vit_nano": {}, "xresnet1d18": {"width": 0.125}}
B, T = 6, 200


@pytest.fixture
def signal() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(B, 12, T) * torch.linspace(0.2, 2, 12)[:, None] + 0.3


def make(signal, name="conv_vit_nano", leads=LEADS, *, seed=1, mode="lead", **options) -> Encoder:
    torch.manual_seed(seed)
    options = {"rate": 100, "standardise": Standardise(mode, signal.shape[1]).fit(signal)} | BACKBONES[name] | options
    return Encoder(name, leads=leads, have=LEADS, **options)


def stirred(encoder: Encoder, signal) -> Encoder:
    """Batch-norm statistics that are not the start's."""
    encoder.train()
    with torch.no_grad():
        encoder(signal)
    return encoder


# forward


@pytest.mark.parametrize("name", BACKBONES)
def test_an_encoder_is_its_backbone_on_its_own_leads_standardised(signal, name):
    one = make(signal, name, ["V2", "II"]).eval()
    z = (signal - signal.mean(dim=(0, 2), keepdim=True)) / signal.std(dim=(0, 2), correction=0, keepdim=True)
    tokens, pooled = one(signal)
    expected = one.backbone.forward_features(z[:, [7, 1]])
    torch.testing.assert_close(tokens, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pooled, expected[1], rtol=1e-4, atol=1e-4)
    assert tokens.shape[2] == one.token_dim
    assert pooled.shape == (B, one.feature_dim)
    assert not any(key.startswith("backbone.head") for key in one.state_dict()), "an encoder has no classes"


def test_leads_are_found_by_name_in_batches_of_another_order(signal):
    same = make(signal, leads=["aVF", "I"]).eval()
    few = signal[:, [7, 0, 5]]
    torch.manual_seed(1)
    one = Encoder(
        "conv_vit_nano", leads=["avf", "I"], have=("V2", "MDC_ECG_LEAD_I", "AVF"), rate=100,
        standardise=Standardise("lead", 3).fit(few),
    ).eval()  # fmt: skip
    torch.testing.assert_close(one(few)[1], same(signal)[1])


def test_a_transformer_on_patches_embeds_the_leads_it_was_given_by_their_names(signal):
    one = make(signal, "ecg_vit_nano", ["V5", "aVR"]).eval()
    assert one.backbone.leads == ("V5", "aVR")
    assert one.view(["MI"]).backbone.leads == ("V5", "aVR")
    x = one.standardised(signal)
    assert torch.equal(one(signal)[1], one.backbone.forward_features(x, leads=["V5", "aVR"])[1])


# vectors of records


@pytest.mark.parametrize(
    ("window_s", "starts"), [(0.5, [0, 25, 50, 75, 100, 125, 150]), (0.8, [0, 40, 80, 120]), (1.5, [0, 50]), (2.0, [0])]
)
def test_a_long_record_is_the_mean_over_its_windows(signal, window_s, starts):
    one = make(signal, window_s=window_s)
    window = round(100 * window_s)
    one.eval()
    with torch.no_grad():
        slow = torch.stack([one(signal[:, :, s : s + window])[1] for s in starts]).mean(dim=0)
    torch.testing.assert_close(one.embed(signal), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_embedding_is_in_eval_mode_without_gradients_and_leaves_all_as_it_was(signal, name):
    one = stirred(make(signal, name), signal)
    state = {k: v.clone() for k, v in one.state_dict().items()}
    vectors, tokens = one.embed(signal), one.embed_tokens(signal)
    assert all(module.training for module in one.modules())
    assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())
    assert not vectors.requires_grad
    assert not tokens.requires_grad
    one.eval()
    assert torch.equal(vectors, one(signal)[1])
    torch.testing.assert_close(one.embed(signal[:1]), vectors[:1], rtol=1e-4, atol=1e-4)  # no batch statistics


def test_tokens_of_a_long_record_are_those_of_its_windows_one_after_the_other(signal):
    one = make(signal, window_s=0.5).eval()
    tokens = one.embed_tokens(signal)
    assert tokens.shape == (B, 4 * 4, 96)
    for k in range(4):
        torch.testing.assert_close(tokens[:, 4 * k : 4 * k + 4], one(signal[:, :, 50 * k : 50 * k + 50])[0].detach(),
                                   rtol=1e-4, atol=1e-5)  # fmt: skip


def test_records_shorter_than_a_window_and_batches_of_other_leads_are_refused(signal):
    one = make(signal, window_s=2.5)
    for embed in (one.embed, one.embed_tokens):
        with pytest.raises(InputError, match=r"windows of 250 samples \(2.5 s at 100 Hz\), and the records have 200"):
            embed(signal)
        with pytest.raises(InputError, match=r"shape \(B, 12, T\)"):
            embed(torch.randn(2, 3, 300))


# calibration


class Batches(list):
    """What `calibrate` is given."""

    @classmethod
    def of(cls, signal, size):
        return cls(SimpleNamespace(signal=part) for part in signal.split(size))


def test_calibration_is_the_mean_of_the_batches_statistics(signal):
    one = stirred(make(signal, "xresnet1d18"), signal)
    batches = Batches.of(torch.randn(12, 12, T) * 2 - 1, 4)
    convolution, norm = one.backbone.stem[0][0], one.backbone.stem[0][1]
    means, variances = [], []
    for batch in batches:
        out = convolution(one.standardised(batch.signal).unsqueeze(2)).detach()  # (B, C, 1, T')
        means.append([float(out[:, c].mean()) for c in range(out.shape[1])])
        variances.append([float(out[:, c].var(correction=1)) for c in range(out.shape[1])])
    one.calibrate(batches)
    torch.testing.assert_close(norm.running_mean, torch.tensor(means).mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, torch.tensor(variances).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert int(norm.num_batches_tracked) == 3


@pytest.mark.parametrize("training", [True, False])
def test_calibration_leaves_weights_momentum_and_mode(signal, training):
    one = make(signal, "xresnet1d18").train(training)
    norms = [m for m in one.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[0].momentum = 0.3
    before = {k: p.detach().clone() for k, p in one.named_parameters()}
    assert one.calibrate(Batches.of(signal, 2)) is one
    assert [norm.momentum for norm in norms] == [0.3] + [0.1] * (len(norms) - 1)
    assert all(module.training is training for module in one.modules())
    assert all(torch.equal(p, before[k]) for k, p in one.named_parameters())
    once = {k: v.clone() for k, v in one.state_dict().items()}
    one.calibrate(Batches.of(signal, 2))
    assert all(torch.equal(v, once[k]) for k, v in one.state_dict().items()), "nothing is left of what was before"


def test_without_batch_norm_calibration_does_not_even_look(signal):
    one = make(signal, "ecg_vit_nano")
    assert one.calibrate(pytest.fail(str(batch)) for batch in [1]) is one


# views and copies


@pytest.mark.parametrize("mode", ["scalar", "lead", "record", "none"])
@pytest.mark.parametrize("leads", [LEADS, ("V6", "II")])
def test_a_view_begins_with_the_encoders_features(signal, mode, leads):
    one = stirred(make(signal, "conv_vit_nano", leads, mode=mode, window_s=1.0, kernel=3), signal).eval()
    view = one.view(["CD", "MI"]).eval()
    assert (view.classes, view.leads, view.have, view.rate) == (("CD", "MI"), leads, LEADS, 100)
    assert (view.window_s, view.options) == (1.0, {"kernel": 3})
    assert torch.equal(view.features(signal), one(signal)[1])
    assert view(signal).shape == (B, 2)


def test_a_view_of_an_encoder_is_saved_and_read_as_any_other(signal, tmp_path):
    view = make(signal, "xresnet1d18", ["I", "V1"]).view(["CD", "MI"])
    again = View.load(view.save(tmp_path / "tuned"), expect_leads=["I", "V1"])
    assert torch.equal(again(signal), view.predict(signal))


def test_training_a_view_or_a_copy_leaves_the_encoder(signal):
    one = make(signal, "xresnet1d18")
    before = one.digest()
    for other in (one.view(["MI"]), one.copy()):
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1.0)
        stirred(other, signal)
    assert one.digest() == before
    assert one.copy().digest() == before


def test_the_digest_is_of_the_weights(signal):
    assert make(signal).digest() == make(signal).digest()
    assert make(signal).digest() != make(signal, seed=2).digest()


# checkpoints


@pytest.mark.parametrize(("name", "mode"), [*((name, "lead") for name in BACKBONES), ("xresnet1d18", "record")])
def test_a_saved_encoder_is_the_same_encoder(signal, tmp_path, name, mode):
    one = stirred(make(signal, name, ["II", "V5"], mode=mode, window_s=1.0, about={"objective": "none"}), signal)
    path = one.save(tmp_path / "new" / "encoder_0.8")
    assert sorted(p.name for p in path.parent.iterdir()) == ["encoder_0.8.json", "encoder_0.8.safetensors"]
    again = Encoder.load(path, expect=name, expect_rate=100, have=LEADS)
    assert not again.training
    assert again.card() == one.card()
    assert again.digest() == one.digest()
    assert torch.equal(again.embed(signal), one.embed(signal))
    alone = Encoder.load(path)  # batches of the encoder's own leads
    assert alone.have == ("II", "V5")
    torch.testing.assert_close(alone.embed(signal[:, [1, 10]]), one.embed(signal))
    turned = Encoder.load(path, have=("V5", "II"))
    torch.testing.assert_close(turned.embed(signal[:, [10, 1]]), one.embed(signal))


def test_the_card_says_what_one_needs_to_know(signal, tmp_path):
    about = {"objective": "hybrid", "records": 17_000}
    path = make(signal, "xresnet1d18", ["I"], window_s=2.5, about=about).save(tmp_path / "m")
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["encoder"], card["leads"], card["rate_hz"]) == ("xresnet1d18", ["I"], 100)
    assert (card["window_s"], card["options"], card["about"]) == (2.5, {"width": 0.125}, about)
    assert card["normalisation"]["mode"] == "lead"
    assert card["normalisation"]["mean_mv"] == pytest.approx([float(signal[:, 0].mean())], abs=1e-6)
    assert card["normalisation"]["std_mv"] == pytest.approx([float(signal[:, 0].std(correction=0))], abs=1e-6)
    assert card["output"] == "tokens (batch, places, 64) and one vector (128) a record"


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ({"expect": "ecg_vit_nano"}, "has encoder conv_vit_nano where ecg_vit_nano was expected"),
        ({"expect_rate": 500}, "has rate_hz 100 where 500 was expected"),
        ({"have": ("II", "V1")}, "lead I is missing; the leads present are II, V1"),
    ],
)
def test_an_encoder_of_something_else_is_refused(signal, tmp_path, expected, says):
    path = make(signal, leads=["I"]).save(tmp_path / "m")
    with pytest.raises(InputError, match=says) as error:
        Encoder.load(path, **expected)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_a_view_and_a_damaged_one_are_refused(signal, tmp_path):
    one = make(signal, "xresnet1d18", ["I"])
    path = one.save(tmp_path / "m")
    card = path.with_suffix(".json")
    whole, text = path.read_bytes(), card.read_text()
    with pytest.raises(InputError, match=r"other\.json is missing"):
        Encoder.load(tmp_path / "other")
    with pytest.raises(InputError, match="is not a model's card"):
        Encoder.load(one.view(["MI"]).save(tmp_path / "view"))
    for damage, says in (
        (lambda: path.write_bytes(whole[:-1]), "not those that its card was written for"),
        (lambda: card.write_text(text[:50]), "is not JSON"),
        (lambda: card.write_text(text.replace('"width": 0.125', '"width": 0.25')), "not those of its card"),
        (path.unlink, r"m\.safetensors is missing"),
    ):
        path.write_bytes(whole), card.write_text(text)
        damage()
        with pytest.raises(InputError, match=says):
            Encoder.load(path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"leads": ["V7"]}, "V7"),
        ({"rate": 0}, "rate and a window above 0"),
        ({"window_s": 0.0}, "rate and a window above 0"),
        ({"standardise": Standardise("scalar")}, "has not been fitted"),
        ({"width": 0.5}, "has no option 'width'"),
    ],
)
def test_impossible_encoders_are_refused(signal, options, says):
    with pytest.raises(InputError, match=says):
        make(signal, **options)
