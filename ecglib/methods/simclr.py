"""SimCLR on ECGs: two augmented views of one window must find each other.

Chen et al. 2020; on twelve-lead ECGs Mehari & Strodthoff 2022.

signal (B, L, T) --+-- augment -- encoder -- pooled -- project --+
                   |                                             +-- NT-Xent
                   +-- augment -- encoder -- pooled -- project --+
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ecglib.methods.encoder import Encoder
from ecglib.methods.projection import Contrast

if TYPE_CHECKING:
    from ecglib.cohort import Batch


class SimCLR(nn.Module):
    """An encoder whose vectors survive augmentation.

    Args:
        encoder: what is trained and kept.
        augment: drawn twice for each record (`ecglib.signals.Augment`, or any module of signals).
        dim, temperature: see `Contrast`.
    """

    def __init__(self, encoder: Encoder, *, augment: nn.Module, dim: int = 128, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoder, self.augment = encoder, augment
        self.contrast = Contrast(encoder.feature_dim, dim=dim, temperature=temperature)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss"} of a batch; labels are not looked at."""
        first, second = self.views(batch.signal)  # (B, L, T) twice
        _, pooled = self.encoder(torch.cat([first, second]))  # (2 B, F): one pass, so that batch norms see both
        return {"loss": self.contrast(*pooled.chunk(2))}

    def views(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """The two views (B, L, T') of each record (B, L, T)."""
        return self.augment(signal), self.augment(signal)

    def inference_module(self) -> Encoder:
        """The encoder, whose weights are the product."""
        return self.encoder

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {
            "objective": type(self).__name__, "encoder": self.encoder.card(), "augment": repr(self.augment),
            "temperature": self.contrast.temperature,
        }  # fmt: skip
