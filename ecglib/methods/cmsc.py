"""CMSC: contrastive multi-segment coding (Kiyasseh et al. 2021, "CLOCS").

    record --+-- a segment ------ encoder -- pooled -- project --+
             |                                                   +-- NT-Xent
             +-- the one after -- encoder -- pooled -- project --+

Two segments of one patient, one after the other, must find each other among those of other patients. Kiyasseh et al.
count all segments of a patient as partners; here a record's two are, and a patient's other record, should the same
batch hold it, counts as another's (in PTB-XL a patient has 1.15 records).
"""

from __future__ import annotations

from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.methods.encoder import Encoder
from ecglib.methods.simclr import SimCLR
from ecglib.pool import segments


class CMSC(SimCLR):
    """An encoder whose vectors stay the same from one stretch of a record to the next.

    Args:
        encoder: what is trained and kept.
        segment: samples of a segment; records need two.
        augment: applied to each segment; None leaves them as they are, as CLOCS does.
        dim, temperature: see `Contrast`.

    Raises:
        InputError: a segment below 1 sample; in training, records shorter than two segments.
    """

    def __init__(
        self, encoder: Encoder, *, segment: int, augment: nn.Module | None = None, dim: int = 128,
        temperature: float = 0.1,
    ) -> None:  # fmt: skip
        if segment < 1:
            raise InputError(f"A segment has {segment!r} samples, but must have at least one.")
        super().__init__(encoder, augment=augment or nn.Identity(), dim=dim, temperature=temperature)
        self.segment = segment

    def views(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Two adjacent segments (B, L, segment) of each record (B, L, T)."""
        first, second = segments(signal, self.segment)
        return self.augment(first), self.augment(second)

    @property
    def identity(self) -> dict:
        """See `SimCLR.identity`."""
        return super().identity | {"segment": self.segment}
