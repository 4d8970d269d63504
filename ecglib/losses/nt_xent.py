"""NT-Xent: the normalised, temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ecglib.errors import InputError


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Two views of the same records: each must find its partner among all other vectors of the batch.

        loss = mean over the 2 B vectors i of  -log exp(s_ij / t) / sum over k != i of exp(s_ik / t),  j partner of i

    Args:
        first, second: (B, D); row b of both is one record. Any length: only directions count.
        temperature: t, above 0.

    Raises:
        InputError: fewer than two records, between which there is nothing to tell, or a temperature of 0 or below.
    """
    if len(first) < 2 or not temperature > 0:
        raise InputError(
            f"A contrast needs at least two records in a batch and a temperature above 0, but was given {len(first)} "
            f"and {temperature!r}."
        )
    with torch.autocast(first.device.type, enabled=False):  # exp(1 / t) leaves float16's range
        z = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2 B, D)
        scores = z @ z.T / temperature  # (2 B, 2 B)
        scores.fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(first))  # (2 B,)
        return F.cross_entropy(scores, partner)
