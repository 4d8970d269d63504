"""What the transformers share: their sizes by name, positions in time, and the blocks themselves (timm's)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

# name: dimension, blocks, heads. nano is ours, for processors; tiny is the ViT-XS of Weimann & Conrad's ECG-JEPA;
# small and base are the vision transformers' (base is ST-MEM's too).
SIZES = {"nano": (96, 4, 4), "tiny": (192, 8, 4), "small": (384, 12, 6), "base": (768, 12, 12)}


class Trunk(nn.Module):
    """Pre-norm transformer blocks and a final norm: (B, N, D) to (B, N, D).

    Args:
        dim: D. depth: blocks. heads: divides D.
        drop_path: probability of a whole residual branch to be left out in training, rising from 0 to this.
    """

    def __init__(self, dim: int, depth: int, heads: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # as in the masked autoencoder of He et al. 2022
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def layers(self) -> Iterator[list[nn.Parameter]]:
        """The parameters block by block, the final norm with the last."""
        *first, last = (list(block.parameters()) for block in self.blocks)
        yield from first
        yield [*last, *self.norm.parameters()]


def positions(count: int, dim: int, *, device: torch.device | None = None) -> Tensor:
    """(count, dim) sines and cosines of the place in time, counted in tokens (Vaswani et al. 2017).

    Computed, not learned, so that a network meets records longer than those it was trained on.
    """
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / half))  # (D/2,)
    angles = torch.arange(count, device=device)[:, None] * rates  # (N, D/2)
    return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, dim - 2 * half))
