"""Attention between tokens: SMAM within one modality, CMAM from one modality to the other.

VizECGNet (Nam et al., arXiv 2408.02888) names both modules; their equations were not found. Ours: pre-norm multi-head
attention with a residual and nothing else,

    SMAM(x)    = x + MHA(Q = n(x), K = n(x), V = n(x))
    CMAM(x, y) = x + MHA(Q = n(x), K = n'(y), V = n'(y))

with learned position embeddings on whatever is asked and answered, since attention itself does not know the order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecglib.errors import InputError


class Attend(nn.Module):
    """x + attention of x's tokens to those of `to` (default: its own).

    Args:
        dim: D of both.
        heads: divides D.
        dropout: of the attention weights, in training.

    Raises:
        InputError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int = 4, dropout: float = 0.0, *, crossed: bool = False) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise InputError(f"{heads} attention heads do not divide {dim} dimensions; take a divisor.")
        self.norm = nn.LayerNorm(dim)
        self.other = nn.LayerNorm(dim) if crossed else None
        self.attention = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)

    def forward(self, x: Tensor, to: Tensor | None = None) -> Tensor:
        """(B, N, D), and for a crossed one (B, M, D), to (B, N, D)."""
        return x + self._attended(x, to, weights=False)[0]

    @torch.no_grad()
    def weights(self, x: Tensor, to: Tensor | None = None) -> Tensor:
        """(B, N, M): how much token n attends to token m, mean over heads; each row sums to 1."""
        return self._attended(x, to, weights=True)[1]

    def _attended(self, x: Tensor, to: Tensor | None, *, weights: bool) -> tuple[Tensor, Tensor | None]:
        query = self.norm(x)
        key = query if self.other is None else self.other(to)
        return self.attention(query, key, key, need_weights=weights)


class SMAM(Attend):
    """Self-modality attention: long-range dependencies within one modality, (B, N, D) to (B, N, D)."""

    def __init__(self, dim: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__(dim, heads, dropout)


class CMAM(Attend):
    """Cross-modal attention: `x` (B, N, D) asks the other modality's tokens (B, M, D); (B, N, D)."""

    def __init__(self, dim: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__(dim, heads, dropout, crossed=True)

    def forward(self, x: Tensor, to: Tensor) -> Tensor:
        """See `Attend.forward`; `to` is needed."""
        return super().forward(x, to)


class Stream(nn.Module):
    """What both modalities do with a backbone's tokens: project, tell positions, attend, pool, and judge.

    Args:
        token_dim: of the backbone's tokens.
        dim: D of the tokens that attend, the same for both modalities.
        classes: C.
        smam: with SMAM; without, tokens are pooled as they are.
        tokens: N, for the position embeddings; other lengths are interpolated.
        dropout: of the pooled features.

    Attributes:
        feature_dim: 2 D, mean and maximum over tokens.
    """

    def __init__(
        self, token_dim: int, *, dim: int, classes: int, smam: bool, tokens: int, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.project = nn.Linear(token_dim, dim)
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.smam = SMAM(dim, heads) if smam else None
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.feature_dim = 2 * dim
        self.head = nn.Linear(self.feature_dim, classes)

    def tokens(self, backbone_tokens: Tensor) -> Tensor:
        """(B, N, token_dim) to (B, N, D), after SMAM where there is one."""
        x = self.embed(backbone_tokens)
        return x if self.smam is None else self.smam(x)

    def embed(self, backbone_tokens: Tensor) -> Tensor:
        """(B, N, token_dim) to (B, N, D) with their positions, before any attention."""
        x = self.project(backbone_tokens)
        return x + self._position(x.shape[1])

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, 2 D): mean and maximum over the tokens, float32."""
        x = self.norm(tokens).float()
        return self.dropout(torch.cat([x.mean(1), x.amax(1)], dim=1))  # (B, N, D) -> (B, 2 D)

    def judge(self, features: Tensor) -> Tensor:
        """(B, 2 D) to logits (B, C), in float32 also under mixed precision."""
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)

    def _position(self, n: int) -> Tensor:
        if n == self.position.shape[1]:
            return self.position
        moved = self.position.transpose(1, 2)  # (1, N, D) -> (1, D, N)
        return nn.functional.interpolate(moved, n, mode="linear").transpose(1, 2)
