"""Which parts of a signal a masked autoencoder hides: patches, the same time in all leads, whole leads."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ecglib.errors import InputError, one_of
from ecglib.sharing import per_record

Together = Literal["leads", "none"]


class Masking:
    """Draws which cells, a patch of time in one lead, are hidden; of every record the same number.

    Args:
        ratio: share of the cells that are hidden, between 0 and 1 and neither.
        lead_ratio: share of the leads that are hidden whole, within `ratio`; drawn first.
        together: "leads" hides the same times in all leads, "none" draws each lead's on its own. Leads tell of each
            other (III = II - I), so that a hole in one lead alone is filled from its neighbours.

    Raises:
        InputError: a ratio of 0 or 1 or outside, whole leads that are more than the ratio, an unknown `together`.
    """

    def __init__(self, ratio: float, *, lead_ratio: float = 0.0, together: Together = "leads") -> None:
        if not 0 < ratio < 1:
            raise InputError(
                f"mask_ratio is {ratio!r}: with nothing hidden there is nothing to rebuild, and with everything hidden "
                "nothing to rebuild it from; give a share between 0 and 1."
            )
        if not 0 <= lead_ratio < ratio:
            raise InputError(
                f"lead_mask_ratio is {lead_ratio!r}, but must be at least 0 and below mask_ratio, {ratio}."
            )
        one_of("mask_together", together, get_args(Together))
        self.ratio, self.lead_ratio, self.together = ratio, lead_ratio, together

    def draw(self, batch: int, leads: int, places: int, *, device: torch.device | None = None) -> Tensor:
        """(B, L, N) bool, True where hidden; drawn from torch's global generator. `hidden(L, N)` in every record.

        Raises:
            InputError: fewer than two cells, of which none can be hidden and one left.
        """
        if leads * places < 2:
            raise InputError(
                f"A signal of {leads} leads and {places} cells in each cannot be hidden in part; give longer signals "
                "or smaller cells."
            )
        noise = per_record(lambda n: torch.rand(n, leads, places, device=device), batch)
        if self.together == "leads":
            # Places in a random order, a whole number each; the rest, below 1, orders the leads of the last place,
            # which may be hidden in part.
            noise = (
                per_record(lambda n: torch.rand(n, 1, places, device=device), batch).argsort(dim=2).argsort(dim=2)
                + 0.5 * noise
            )
        if whole := round(self.lead_ratio * leads):
            first = (
                per_record(lambda n: torch.rand(n, leads, device=device), batch).argsort(dim=1).argsort(dim=1) < whole
            )  # (B, L)
            noise = noise - (places + 1) * first[:, :, None]
        rank = noise.flatten(1).argsort(dim=1).argsort(dim=1)  # (B, L N): 0 is hidden first
        return (rank < self.hidden(leads, places)).view(batch, leads, places)

    def hidden(self, leads: int, places: int) -> int:
        """How many of the cells are hidden: at least one, at least one is left."""
        return min(max(1, round(self.ratio * leads * places)), leads * places - 1)

    def __repr__(self) -> str:
        return f"Masking({self.ratio}, lead_ratio={self.lead_ratio}, together={self.together!r})"
