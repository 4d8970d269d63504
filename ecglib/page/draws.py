"""Random numbers that depend on (seed, index) only, so that a record gets the same page in any batch, on any device.

And constants that are copied to a device once.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=512)
def constant(values: tuple, device: torch.device) -> Tensor:
    """`values` as a float32 tensor on `device`, copied there once: for each copy the host waits for an accelerator."""
    return torch.tensor(values, dtype=torch.float32, device=device)


_GOLDEN, _MIX_1, _MIX_2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64, which torch lacks: the sign bit must not be dragged along."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014), wrapping in int64."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def uniform(seed: int, index: Tensor, count: int, *, stream: int = 0) -> Tensor:
    """(B, count) float32 in [0, 1), independent between records, columns, seeds and streams.

    Args:
        seed: any integer of up to 63 bits.
        index: (B,) int64, the records' numbers.
        stream: which use it is for; each draws its own numbers.
    """
    start = _mix(
        torch.full((), ((seed << 8) + stream) % (1 << 63), device=index.device) * _GOLDEN
    )  # full() does not wait
    column = torch.arange(1, count + 1, device=index.device, dtype=torch.int64)
    z = _mix(_mix(index.to(torch.int64) * _GOLDEN + start)[:, None] + column * _GOLDEN)  # (B,) -> (B, count)
    return _shift(z, 40).to(torch.float32) * 2.0**-24
