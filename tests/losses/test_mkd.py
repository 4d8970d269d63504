"""MKD against plain loops written from the formula, and its closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.errors import InputError
from ecglib.losses.mkd import MKD

LOGIT = st.floats(-80, 80, width=32)


def slow_mkd(student: np.ndarray, teacher: np.ndarray, temperature: float, variant: str) -> float:
    """The notes' two formulas, in float64 loops over records and labels."""

    def kl(p: float, q: float) -> float:
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist()):
        for s, t in zip(s_row, t_row):
            if variant == "tempered":
                total += temperature**2 * kl(sigmoid(t / temperature), sigmoid(s / temperature))
            else:  # both entries of the pair divided by T, then the mean over the 2 B entries
                p, q = sigmoid(t), sigmoid(s)
                pair = p / temperature * math.log(p / q) + (1 - p) / temperature * math.log((1 - p) / (1 - q))
                total += pair / 2
    return total / len(student)


@pytest.mark.parametrize("variant", ["tempered", "released"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (32, 71)])
def test_equals_the_slow_twin(variant, temperature, shape):
    rng = np.random.default_rng(shape)
    student, teacher = rng.normal(0, 3, shape), rng.normal(0, 3, shape)
    loss = MKD(temperature, variant)(torch.tensor(student), torch.tensor(teacher))
    assert float(loss) == pytest.approx(slow_mkd(student, teacher, temperature, variant), rel=1e-9)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(LOGIT, min_size=1, max_size=6))
def test_is_zero_where_student_and_teacher_agree(logits):
    z = torch.tensor([logits])
    for variant in ("tempered", "released"):
        assert float(MKD(2.0, variant)(z, z)) == 0.0


@settings(deadline=None)  # the machine may be busy
@given(st.floats(-8, 8), st.floats(-8, 8))
def test_is_positive_where_they_differ(a, b):
    loss = float(MKD()(torch.tensor([[a]], dtype=torch.float64), torch.tensor([[b]], dtype=torch.float64)))
    assert loss > 0 if abs(a - b) > 1e-3 else loss > -1e-12


@settings(deadline=None)  # the machine may be busy
@given(LOGIT, LOGIT)
def test_extreme_logits_stay_finite_with_finite_gradient(s, t):
    student = torch.tensor([[s]], requires_grad=True)
    loss = MKD(1.0)(student, torch.tensor([[t]]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert math.isfinite(student.grad.item())
    assert student.grad.item() == pytest.approx(
        torch.tensor(s).sigmoid().item() - torch.tensor(t).sigmoid().item(), abs=1e-5
    )


def test_closed_form_at_the_extremes():
    assert float(MKD()(torch.tensor([[-80.0]]), torch.tensor([[80.0]]))) == pytest.approx(80.0)


def test_released_only_rescales():
    torch.manual_seed(0)
    s, t = torch.randn(8, 5), torch.randn(8, 5)
    plain = MKD(1.0, "tempered")(s, t)
    torch.testing.assert_close(MKD(1.0, "released")(s, t), plain / 2)
    torch.testing.assert_close(MKD(3.0, "released")(s, t), plain / 6)


def test_tempered_gradient_keeps_its_scale():
    """As T grows, T^2 KL tends to (s - t)^2 / 8 per label: gradient (s - t) / 4, divided by the batch."""
    torch.manual_seed(0)
    s, t = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)
    MKD(1000.0, "tempered")(s, t).backward()
    torch.testing.assert_close(s.grad, (s.detach() - t) / 4 / 4, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("variant", ["tempered", "released"])
def test_gradient(variant):
    torch.manual_seed(0)
    s, t = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: MKD(2.0, variant)(s, t), s)


def test_no_gradient_reaches_the_teacher():
    teacher = torch.randn(2, 3, requires_grad=True)
    MKD()(torch.randn(2, 3, requires_grad=True), teacher).backward()
    assert teacher.grad is None


def test_half_precision_logits_are_compared_in_float32():
    s, t = torch.randn(2, 3).bfloat16(), torch.randn(2, 3).bfloat16()
    loss = MKD()(s, t)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, MKD()(s.float(), t.float()))


def test_bad_arguments():
    with pytest.raises(InputError, match="Did you mean 'tempered'"):
        MKD(1.0, "temperd")
    with pytest.raises(InputError, match="temperature is 0"):
        MKD(0)
