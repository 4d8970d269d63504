"""The three forms of L_KD beside their formulas in float64, and which side each trains."""

import math

import pytest
import torch

from ecglib.errors import InputError
from ecglib.losses.bernoulli_kd import BernoulliKD


def slow(form, page, other, t):
    """The docstring's formulas, an entry at a time, in Python's floats."""
    total = 0.0
    for a, b in zip(page.flatten().tolist(), other.flatten().tolist()):
        p, q = 1 / (1 + math.exp(-a / t)), 1 / (1 + math.exp(-b / t))

        def kl(target, towards):
            return target * math.log(target / towards) + (1 - target) * math.log((1 - target) / (1 - towards))

        if form == "mse":
            total += (q - p) ** 2
        else:
            total += t * t * (kl(q, p) + (kl(p, q) if form == "mutual" else 0.0))
    return total / page.numel()


@pytest.mark.parametrize("form", ["bernoulli_kl", "mse", "mutual"])
@pytest.mark.parametrize("t", [1.0, 2.5])
def test_the_formula(form, t):
    torch.manual_seed(1)
    page, other = 2 * torch.randn(6, 5), 2 * torch.randn(6, 5)
    assert float(BernoulliKD(form, t)(page, other)) == pytest.approx(slow(form, page, other, t), rel=1e-5)
    assert float(BernoulliKD(form, t)(page, page)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("form", "both"), [("bernoulli_kl", False), ("mse", False), ("mutual", True)])
def test_who_is_trained(form, both):
    page, other = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    BernoulliKD(form)(page, other).backward()
    assert page.grad.abs().sum() > 0
    assert (other.grad is not None) == both


def test_a_temperature_keeps_the_gradients_size():
    """T^2 in front: for large T the gradient tends to (p - q) / 4 of the logits, not to nothing."""
    page, other = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 3)
    BernoulliKD("bernoulli_kl", 50.0)(page, other).backward()
    torch.testing.assert_close(page.grad * 12, ((page.detach() - other) / 4).double(), rtol=0.05, atol=0.01)


def test_surest_logits_give_numbers():
    loss = BernoulliKD()(torch.tensor([[80.0, -80.0]], requires_grad=True), torch.tensor([[-80.0, 80.0]]))
    assert torch.isfinite(loss)


def test_bad_input_is_one_sentence():
    with pytest.raises(InputError, match=r"'bernouli_kl'.*bernoulli_kl"):
        BernoulliKD("bernouli_kl")
    with pytest.raises(InputError, match="must be above 0"):
        BernoulliKD(temperature=0)
    with pytest.raises(InputError, match="cannot be compared"):
        BernoulliKD()(torch.zeros(2, 3), torch.zeros(2, 4))
