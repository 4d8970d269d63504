"""RLM: random lead masking (Oh et al. 2022, "Lead-agnostic self-supervised learning").

    record --+-- a window -- silence leads -- encoder -- pooled -- project --+
             |                                                               +-- NT-Xent
             +-- a window -- silence leads -- encoder -- pooled -- project --+

Each lead of each view is silenced with probability 0.5, so that what is learnt can be told from whatever leads there
are. Oh et al. combine it with CMSC and a contrast of local codes; here it is alone, on two windows of a record.
"""

from __future__ import annotations

from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.methods.encoder import Encoder
from ecglib.methods.simclr import SimCLR
from ecglib.signals import drop_leads


class RandomLeadMasking(SimCLR):
    """An encoder whose vectors hardly depend on which leads are there.

    Args:
        encoder: what is trained and kept; of two leads at least.
        probability: of each lead to be silenced; one of each record always stays.
        augment: what gives the two windows, before leads are silenced.
        dim, temperature: see `Contrast`.

    Raises:
        InputError: a probability that is not between 0 and 1, or an encoder of a single lead.
    """

    def __init__(
        self, encoder: Encoder, *, probability: float = 0.5, augment: nn.Module | None = None, dim: int = 128,
        temperature: float = 0.1,
    ) -> None:  # fmt: skip
        if not 0 < probability < 1:
            raise InputError(f"A lead is silenced with a probability between 0 and 1, not {probability!r}.")
        if len(encoder.leads) < 2:
            raise InputError("Random lead masking needs an encoder of two leads or more.")
        super().__init__(encoder, augment=augment or nn.Identity(), dim=dim, temperature=temperature)
        self.probability = probability

    def views(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Two windows (B, L, T') of each record (B, L, T), each with leads of its own at 0 mV."""
        first, second = super().views(signal)
        return self._silenced(first), self._silenced(second)

    def _silenced(self, signal: Tensor) -> Tensor:
        if self.encoder.all_leads:
            return drop_leads(signal, self.probability)
        own = self.encoder.picked  # one of the encoder's own leads must stay, not one that it does not look at
        return signal.index_copy(1, own, drop_leads(signal.index_select(1, own), self.probability))

    @property
    def identity(self) -> dict:
        """See `SimCLR.identity`."""
        return super().identity | {"probability": self.probability}
