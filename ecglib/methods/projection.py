"""The projection that a contrast is made in; it is thrown away after pre-training (Chen et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from ecglib import sharing
from ecglib.errors import InputError
from ecglib.losses.nt_xent import nt_xent


class Contrast(nn.Module):
    """Two pooled vectors of each record through one small network, compared by NT-Xent.

    Args:
        features: F of the pooled vectors.
        dim: D of the projection; the hidden layer is as wide as the features.
        temperature: of NT-Xent.

    Raises:
        InputError: a temperature or a dimension that is not above 0.
    """

    def __init__(self, features: int, *, dim: int = 128, temperature: float = 0.1) -> None:
        super().__init__()
        if dim < 1 or not temperature > 0:
            raise InputError(f"A contrast needs a temperature and a dimension above 0, not {temperature!r}, {dim!r}.")
        # Batch norms, as in SimCLR's own code: what all records have in common would else drown what tells them apart.
        self.project = nn.Sequential(
            nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(),
            nn.Linear(features, dim, bias=False), nn.BatchNorm1d(dim, affine=False),
        )  # fmt: skip
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Pooled vectors (B, F) of two views to a scalar. Raises InputError for fewer than two records."""
        if len(first) * sharing.parts() < 2:  # before the batch norms meet it
            raise InputError(f"A contrast needs at least two records in a batch, but was given {len(first)}.")
        return nt_xent(self.project(first), self.project(second), temperature=self.temperature)
