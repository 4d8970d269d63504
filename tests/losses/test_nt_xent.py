"""NT-Xent beside plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.errors import InputError
from ecglib.losses.nt_xent import nt_xent


def slow(first, second, temperature: float) -> float:
    """Equation 1 of SimCLR, vector by vector."""
    vectors = [[float(v) for v in row] for row in [*first, *second]]
    n = len(first)

    def similarity(a, b) -> float:
        dot = sum(x * y for x, y in zip(a, b))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    total = 0.0
    for i, a in enumerate(vectors):
        partner = i + n if i < n else i - n
        others = [math.exp(similarity(a, b) / temperature) for k, b in enumerate(vectors) if k != i]
        total -= math.log(math.exp(similarity(a, vectors[partner]) / temperature) / sum(others))
    return total / len(vectors)


def views(seed: int, n: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator), torch.randn(n, dim, generator=generator)


drawn = {"seed": st.integers(0, 2**31), "n": st.integers(2, 6), "dim": st.integers(2, 8)}


@settings(max_examples=40, deadline=None)
@given(**drawn, temperature=st.floats(0.05, 2.0))
def test_equals_plain_loops(seed, n, dim, temperature):
    first, second = views(seed, n, dim)
    value = float(nt_xent(first, second, temperature=temperature))
    assert value == pytest.approx(slow(first, second, temperature), rel=1e-4, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(**drawn, length=st.floats(0.01, 100.0))
def test_which_view_is_first_the_order_of_records_and_lengths_do_not_matter(seed, n, dim, length):
    first, second = views(seed, n, dim)
    value = nt_xent(first, second, temperature=0.2)
    turn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for a, b in ((second, first), (first[turn], second[turn]), (first * length, second)):
        torch.testing.assert_close(nt_xent(a, b, temperature=0.2), value, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(**drawn)
def test_no_pairing_is_better_than_that_of_views_that_agree(seed, n, dim):
    first, _ = views(seed, n, dim)
    turn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    agree, turned = (nt_xent(first, other, temperature=0.2) for other in (first, first[turn]))
    assert float(agree) <= float(turned) + 1e-5


def test_the_value_for_records_that_have_nothing_in_common():
    one = torch.eye(4)
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 6))  # a partner at 1, six others at 0
    assert float(nt_xent(one, 3 * one, temperature=0.5)) == pytest.approx(expected, rel=1e-6)


def test_a_step_down_the_gradient_brings_partners_together():
    first, second = views(1, 4, 6)
    first.requires_grad_()
    loss = nt_xent(first, second, temperature=0.5)
    loss.backward()
    nearer = first.detach() - 0.1 * first.grad
    assert float(nt_xent(nearer, second, temperature=0.5)) < float(loss.detach())
    along = (first.grad * first.detach()).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(4), rtol=0, atol=1e-6)  # only directions count


def test_half_precision_does_not_overflow():
    first, second = views(2, 4, 6)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            value = nt_xent(first.to(dtype), second.to(dtype), temperature=0.01)  # exp(100) is above float16's range
        assert value.dtype == torch.float32
        assert float(value) == pytest.approx(float(nt_xent(first, second, temperature=0.01)), rel=0.05)


@pytest.mark.parametrize(("records", "temperature"), [(1, 0.1), (0, 0.1), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_nothing_to_contrast_is_refused(records, temperature):
    with pytest.raises(InputError, match=f"was given {records} and"):
        nt_xent(torch.randn(records, 4), torch.randn(records, 4), temperature=temperature)
