"""The page network and how it is taught: what each switch does, and that no signal reaches inference."""

import inspect
from types import SimpleNamespace

import pytest
import torch

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.image_kd import ImageKD, PageKD, PageView, SignalStream
from ecglib.methods.view import View
from ecglib.signals import Standardise

CLASSES, SIZE = ("CD", "MI", "NORM"), (112, 144)


def page_view(**options):
    torch.manual_seed(0)
    chosen = {"classes": CLASSES, "size": SIZE, "width": 0.125, "dim": 16, "heads": 2, "registered": False}
    return PageView("resnet18", **(chosen | options))


def standardise():
    return Standardise("lead", 12).fit(torch.randn(40, 12, 100))


def stream(**options):
    torch.manual_seed(1)
    return SignalStream(
        "xresnet1d18", leads=12, classes=3, standardise=standardise(), dim=16, heads=2, width=0.125, **options
    )


def teacher(classes=CLASSES, window_s=2.5):
    torch.manual_seed(2)
    return View(
        "xresnet1d18", classes=classes, leads=LEADS, rate=100, standardise=standardise(), width=0.125, window_s=window_s
    )


def batch(n=4):
    torch.manual_seed(3)
    return SimpleNamespace(
        signal=torch.randn(n, 12, 1000),
        page=torch.rand(n, 3, *SIZE),
        label=torch.rand(n, 3).round(),
        index=torch.arange(n),
    )


def test_inference_takes_an_image_and_nothing_else():
    """No signal can come in: not by an argument, not by a weight, not by what was trained beside it."""
    view = page_view(smam=True)
    method = ImageKD(view, stream(smam=True), cmam=True, kd="bernoulli_kl")
    assert method.takes == view.takes == "page"
    assert list(inspect.signature(method.predict).parameters) == ["page"]
    assert method.inference_module() is view
    theirs = {
        id(p) for part in (method.signal, method.ask_signal, method.ask_page, method.fuse) for p in part.parameters()
    }
    assert not theirs & {id(p) for p in view.parameters()}
    one = batch()
    said = method.predict(one.page)
    for p in (p for p in method.parameters() if id(p) in theirs):
        p.data.normal_(std=10)  # whatever the signal's half becomes, the page's answer stays
    assert torch.equal(method.predict(one.page), said)
    with pytest.raises(InputError, match="takes pages of shape"):
        method.predict(one.signal)
    assert not any("signal" in key or "fuse" in key or "ask" in key for key in view.state_dict())


@pytest.mark.parametrize(
    ("switches", "parts"),
    [
        ({}, {"bce"}),
        ({"signal": True}, {"bce", "bce_signal", "bce_fused"}),
        ({"signal": True, "cmam": True}, {"bce", "bce_signal", "bce_fused"}),
        ({"signal": True, "kd": "mse"}, {"bce", "bce_signal", "bce_fused", "kd"}),
        ({"signal": True, "cmam": True, "kd": "mutual"}, {"bce", "bce_signal", "bce_fused", "kd"}),
    ],
)
def test_every_part_can_be_switched(switches, parts):
    chosen = {"signal": stream() if switches.get("signal") else None}
    method = ImageKD(page_view(), **(switches | chosen), lambda_cls=2.0, lambda_kd=0.5)
    loss = method.training_step(batch())
    assert {name for name, value in loss.items() if name != "loss" and float(value) > 0} == parts
    whole = 2.0 * (loss["bce"] + loss["bce_signal"] + loss["bce_fused"]) + 0.5 * loss["kd"]
    torch.testing.assert_close(loss["loss"].detach(), whole)
    loss["loss"].backward()
    assert all(p.grad is not None for p in method.page.parameters())


def test_the_fused_prediction_is_not_drawn_to_the_page():
    """With L_KD alone, only what makes the page's prediction is trained."""
    method = ImageKD(page_view(), stream(), kd="bernoulli_kl", lambda_cls=0.0)
    method.training_step(batch())["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in [*method.fuse.parameters(), *method.signal.parameters()])
    assert method.page.stream.head.weight.grad.any()


def test_cmam_lets_each_stream_see_the_other():
    one = batch()
    for cmam in (False, True):
        method = ImageKD(page_view(), stream(), cmam=cmam).eval()
        with torch.no_grad():
            tokens = method.page.tokens(one.page), method.signal.tokens(one.signal)
            _, fused = method.fused(*tokens)
            method.fuse.weight.data[:, method.page.feature_dim :] = 0  # hear the page's half alone
            heard = [method.fused(tokens[0], t)[1] for t in (tokens[1], tokens[1].flip(0))]
        assert fused.shape == (4, 3)
        assert torch.equal(*heard) != cmam


def test_the_teacher_of_a_page_is_frozen_and_asked_by_windows():
    taught = PageKD(page_view(), teacher())
    one = batch()
    taught.train()
    before = {k: v.clone() for k, v in taught.teacher.state_dict().items()}
    loss = taught.training_step(one)
    loss["loss"].backward()
    assert not taught.teacher.training
    assert all(torch.equal(v, before[k]) for k, v in taught.teacher.state_dict().items())
    assert all(p.grad is None for p in taught.teacher.parameters())
    asked = taught.mkd(taught.page(one.page), taught.teacher.predict(one.signal))
    torch.testing.assert_close(float(loss["mkd"]), float(asked), rtol=1e-3, atol=1e-4)


def test_a_saved_network_says_again_what_it_said(tmp_path):
    view = page_view(smam=True, registered=True, layouts=("3x4", "6x2"))
    one = batch()
    path = view.save(tmp_path / "model")
    again = PageView.load(path, expect_classes=CLASSES)
    torch.testing.assert_close(again.predict(one.page), view.predict(one.page))
    assert again.layouts == ("3x4", "6x2")
    assert "randomly initialised" in again.origin
    as_bytes = (one.page * 255).round().to(torch.uint8)
    torch.testing.assert_close(again.predict(as_bytes), again.predict(as_bytes.float() / 255))


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="need the signal's stream"):
        ImageKD(page_view(), cmam=True)
    with pytest.raises(InputError, match="at least 0"):
        ImageKD(page_view(), lambda_kd=-1.0)
    with pytest.raises(InputError, match="must be the same"):
        PageKD(page_view(), teacher(classes=("CD", "MI")))
    with pytest.raises(InputError, match="different names"):
        page_view(classes=("CD", "CD"))
    with pytest.raises(InputError, match="read_page gives them that size"):
        page_view()(torch.rand(1, 3, 100, 100))
    path = page_view().save(tmp_path / "model")
    with pytest.raises(InputError, match="has the classes CD MI NORM where CD was expected"):
        PageView.load(path, expect_classes=["CD"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="not those that its card was written for"):
        PageView.load(path)
    with pytest.raises(InputError, match="There is no checkpoint"):
        PageView.load(tmp_path / "nothing")
