"""NT-Xent: the normalised, temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ecglib import sharing
from ecglib.errors import InputError


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Two views of the same records: each must find its partner among all other vectors of the batch.

        loss = mean over the 2 B vectors i of  -log exp(s_ij / t) / sum over k != i of exp(s_ik / t),  j partner of i

    Where ranks share the batch, the others are those of all ranks, and gradients go to all of them.

    Args:
        first, second: (B, D); row b of both is one record. Any length: only directions count.
        temperature: t, above 0.

    Raises:
        InputError: fewer than two records, between which there is nothing to tell, or a temperature of 0 or below.
    """
    if len(first) * sharing.parts() < 2 or not temperature > 0:
        raise InputError(
            f"A contrast needs at least two records in a batch and a temperature above 0, but was given {len(first)} "
            f"and {temperature!r}."
        )
    with torch.autocast(first.device.type, enabled=False):  # exp(1 / t) leaves float16's range
        if sharing.parts() > 1:
            return _among_all_ranks(first.float(), second.float(), temperature)
        z = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2 B, D)
        scores = z @ z.T / temperature  # (2 B, 2 B)
        scores.fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(first))  # (2 B,)
        return F.cross_entropy(scores, partner)


def _among_all_ranks(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean over this rank's 2 b vectors, each among those of all ranks; the mean of these is the batch's loss."""
    own = F.normalize(torch.cat([first, second]), dim=1)  # (2 b, D)
    both = sharing.gathered(torch.stack(own.chunk(2), dim=1))  # (b, 2, D) -> (B, 2, D)
    everyone = both.transpose(0, 1).flatten(0, 1)  # (2 B, D): all first views, then all second ones
    b, whole = len(first), len(both)
    place = torch.arange(b, device=own.device) + sharing.part() * b
    place = torch.cat([place, place + whole])  # (2 b,), where in `everyone` each own vector stands
    scores = own @ everyone.T / temperature  # (2 b, 2 B)
    scores = scores.scatter(1, place[:, None], -torch.inf)
    return F.cross_entropy(scores, (place + whole) % (2 * whole))
