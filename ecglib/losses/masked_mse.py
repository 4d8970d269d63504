"""The masked autoencoder's loss: mean squared error on what was masked, and on nothing else (He et al. 2022)."""

from __future__ import annotations

from torch import Tensor

FLOOR = 0.05  # standardised units; the deviation of a patch is not taken below it, or noise would be what is learnt


def normalised(patches: Tensor) -> Tensor:
    """Each patch (..., P) by its own mean and deviation, so that small waves count as much as large ones."""
    std, mean = patches.std(dim=-1, keepdim=True, correction=0), patches.mean(dim=-1, keepdim=True)
    return (patches - mean) / std.clamp(min=FLOOR)


def masked_mse(rebuilt: Tensor, patches: Tensor, masked: Tensor, *, normalise: bool = True) -> Tensor:
    """Mean over the masked patches of the mean squared error of their samples.

    Args:
        rebuilt, patches: (B, L, N, P), what the decoder says and what was there, in standardised units.
        masked: (B, L, N) bool.
        normalise: the target is each patch by its own mean and deviation (`normalised`).

    Returns:
        A scalar; 0 where nothing is masked.
    """
    target = normalised(patches) if normalise else patches
    error = (rebuilt.float() - target.float()).square().mean(dim=-1)  # (B, L, N, P) -> (B, L, N)
    return (error * masked).sum() / masked.sum().clamp(min=1)
