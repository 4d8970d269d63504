"""An attention-pool probe: the encoder is frozen, and one learnt query decides which of its tokens count.

A linear probe on the mean over tokens misjudges encoders whose tokens hold more than their mean does. The query, keys
and values are timm's attention pooling, without an MLP after it, so that little is learnt beyond where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib import sharing
from ecglib.batches import Batch, order
from ecglib.methods.view import evaluating


class AttentionProbe(nn.Module):
    """Tokens (B, N, D), already computed, to logits (B, C).

    Args:
        token_dim: D. classes: names of the C outputs. heads: divides D. dropout: of the pooled vector.
    """

    def __init__(self, token_dim: int, classes: Sequence[str], *, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        from timm.layers import AttentionPoolLatent

        self.classes = tuple(classes)
        self.norm = nn.LayerNorm(token_dim)
        self.pool = AttentionPoolLatent(token_dim, num_heads=heads)
        self.pool.norm, self.pool.mlp = nn.Identity(), _Nothing()  # where to look, and no more
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(token_dim, len(self.classes))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.dropout(self.pool(self.norm(tokens.float()))))  # (B, N, D) -> (B, D) -> (B, C)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss"}: binary cross-entropy of a batch whose `signal` is tokens."""
        return {"loss": F.binary_cross_entropy_with_logits(self(batch.signal), batch.label)}

    @torch.no_grad()
    def predict(self, tokens: Tensor) -> Tensor:
        """Logits (B, C) in eval mode."""
        with evaluating(self):
            return self(tokens)

    def inference_module(self) -> AttentionProbe:
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes."""
        return {"classes": list(self.classes)}


class _Nothing(nn.Module):
    """In place of the MLP whose output timm's pooling adds to what it pooled."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class TokenBatches:
    """Batches of tokens that were computed once: `Batch.signal` is (B, N, D).

    Args:
        tokens: (N records, N tokens, D) on the device.
        labels: (N records, C) on the device.
        identity: of the encoder and the records, such as the encoder's digest.
    """

    def __init__(
        self, tokens: Tensor, labels: Tensor, batch_size: int, *, identity: Any, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.tokens, self.labels, self.batch_size = tokens, labels, batch_size
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        self.identity = [identity, len(tokens), batch_size, shuffle, seed]

    def __len__(self) -> int:
        return -(-len(self.tokens) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self.shared(0, 1)

    def shared(self, rank: int, world: int) -> Iterator[Batch]:
        """The epoch as one of `world` ranks sees it: its rows of each batch."""
        places = order(len(self.tokens), seed=self.seed, epoch=self.epoch, shuffle=self.shuffle)
        for start in range(0, len(places), self.batch_size):
            at = sharing.own(places[start : start + self.batch_size], rank, world)
            if len(at):
                index = torch.from_numpy(np.ascontiguousarray(at)).to(self.tokens.device)
                yield Batch(self.tokens[index], self.labels[index], index)
