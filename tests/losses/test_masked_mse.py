"""The masked autoencoder's loss beside plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.losses.masked_mse import FLOOR, masked_mse, normalised


def slow(rebuilt, patches, masked, normalise: bool) -> float:
    """Cell by cell, sample by sample."""
    errors = []
    for b in range(len(patches)):
        for lead in range(patches.shape[1]):
            for place in range(patches.shape[2]):
                if not masked[b, lead, place]:
                    continue
                cell = [float(v) for v in patches[b, lead, place]]
                if normalise:
                    mean = sum(cell) / len(cell)
                    std = math.sqrt(sum((v - mean) ** 2 for v in cell) / len(cell))
                    cell = [(v - mean) / max(std, FLOOR) for v in cell]
                said = [float(v) for v in rebuilt[b, lead, place]]
                errors.append(sum((a - v) ** 2 for a, v in zip(said, cell)) / len(cell))
    return sum(errors) / len(errors) if errors else 0.0


def drawn(seed: int, shape=(2, 3, 4, 5)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rebuilt, patches = (torch.randn(shape, generator=generator) for _ in range(2))
    # Cells of every size, from below the floor to far above it.
    patches = patches * 10 ** (4 * torch.rand((*shape[:3], 1), generator=generator) - 3)
    return rebuilt, patches + torch.randn((*shape[:3], 1), generator=generator), torch.rand(
        shape[:3], generator=generator
    ) < 0.5  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), cells=st.integers(1, 6), samples=st.integers(1, 9), normalise=st.booleans())
def test_equals_plain_loops(seed, cells, samples, normalise):
    rebuilt, patches, masked = drawn(seed, (2, 2, cells, samples))
    value = masked_mse(rebuilt, patches, masked, normalise=normalise)
    assert float(value) == pytest.approx(slow(rebuilt, patches, masked, normalise), rel=2e-4, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), normalise=st.booleans())
def test_what_is_visible_counts_for_nothing(seed, normalise):
    rebuilt, patches, masked = drawn(seed)
    other, others, _ = drawn(seed + 1)
    seen = ~masked[..., None]
    changed = masked_mse(
        torch.where(seen, other, rebuilt), torch.where(seen, others, patches), masked, normalise=normalise
    )
    torch.testing.assert_close(changed, masked_mse(rebuilt, patches, masked, normalise=normalise))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.5, 20), level=st.floats(-3, 3))
def test_a_normalised_cell_has_neither_size_nor_level(seed, scale, level):
    patches = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    patches = patches / patches.std(dim=-1, keepdim=True, correction=0)  # above the floor before and after
    torch.testing.assert_close(normalised(scale * patches + level), normalised(patches), rtol=1e-6, atol=1e-6)


def test_below_the_floor_a_cell_is_not_blown_up_and_a_flat_one_is_zero():
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0])
    cells = torch.stack([2 * FLOOR * wave, FLOOR / 10 * wave, torch.full((4,), 3.0)])
    expected = torch.stack([wave, wave / 10, torch.zeros(4)])
    torch.testing.assert_close(normalised(cells), expected)


def test_perfect_is_zero_and_nothing_masked_is_zero_with_a_gradient():
    rebuilt, patches, masked = drawn(0)
    assert float(masked_mse(patches, patches, masked, normalise=False)) == 0.0
    assert float(masked_mse(normalised(patches), patches, masked)) == 0.0
    rebuilt.requires_grad_()
    nothing = masked_mse(rebuilt, patches, torch.zeros_like(masked))
    nothing.backward()
    assert float(nothing.detach()) == 0.0
    assert not rebuilt.grad.any()


def test_the_gradient_lies_on_the_masked_cells_alone():
    rebuilt, patches, masked = drawn(3)
    rebuilt.requires_grad_()
    masked_mse(rebuilt, patches, masked).backward()
    assert torch.equal(rebuilt.grad.abs().sum(dim=-1) > 0, masked)


def test_half_precision_is_summed_in_float32():
    rebuilt, patches, masked = drawn(4)
    value = masked_mse(rebuilt.bfloat16(), patches, masked)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(slow(rebuilt.bfloat16(), patches, masked, True), rel=1e-4)
