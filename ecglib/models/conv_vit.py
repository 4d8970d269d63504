"""CNN + ViT: convolutions see the wave, a transformer sees the record.

"Foundation Models for Electrocardiograms" (arXiv 2407.07110) is told to use a "CNN + ViT" encoder; its widths, depths
and strides were not found. Ours: a convolution and three residual blocks of XResNet-1d, each of stride 2, all leads
together, down to one token per 16 samples; then a plain vision transformer over time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.models.transformer import SIZES, Trunk, positions
from ecglib.models.xresnet1d import Block, Conv, conv_norm, memory_format


class ConvViT(nn.Module):
    """A convolutional stem over all leads, then a transformer over time.

    Args:
        size: of `SIZES`.
        in_channels: number of leads L.
        num_classes: C, the outputs of `head`.
        kernel: length of the stem's convolutions in samples; odd.
        drop_path: see `Trunk`.

    Attributes:
        token_dim, feature_dim: D, of tokens and of the pooled vector.
        stride: 16 samples a token.
        subsets: False: the stem mixes neighbours, so a masked autoencoder silences samples instead of leaving tokens
            out.

    Raises:
        InputError: an even kernel; in forward, other leads or a signal shorter than a token.
    """

    subsets = False
    stride = 16

    def __init__(
        self, size: str, *, in_channels: int, num_classes: int, kernel: int = 5, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"`kernel` is {kernel!r}, but a convolution that keeps the length needs an odd one.")
        dim, depth, heads = SIZES[size]
        self.in_channels = in_channels
        self.token_dim = self.feature_dim = dim
        widths = [max(32, dim // 4), max(32, dim // 2), max(64, dim // 2), dim]
        stem = [conv_norm(in_channels, widths[0], kernel, 2)]
        for inputs, outputs in pairwise(widths):
            stem.append(Block(inputs, outputs, expansion=1, stride=2, kernel=kernel))
        self.stem = nn.Sequential(*stem)
        self.trunk = Trunk(dim, depth, heads, drop_path=drop_path)
        self.head = nn.Linear(dim, num_classes)
        for module in self.stem.modules():
            if isinstance(module, Conv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def grid(self, length: int) -> tuple[int, int]:
        """(1, places in time): the leads are mixed in every token."""
        return 1, -(-length // self.stride)

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, T) standardised to tokens (B, T/16, D) and the pooled vector (B, D), float32."""
        if x.ndim != 3 or x.shape[1] != self.in_channels or x.shape[2] < self.stride:
            raise InputError(
                f"The network takes signals of shape (B, {self.in_channels}, {self.stride} or more), but was given "
                f"{tuple(x.shape)}."
            )
        x = x.unsqueeze(2)  # (B, L, T) -> (B, L, 1, T)
        tokens = self.stem(x.contiguous(memory_format=memory_format(x))).squeeze(2).transpose(1, 2)  # (B, N, D)
        tokens = self.trunk(tokens + positions(tokens.shape[1], self.token_dim, device=x.device))
        return tokens, tokens.float().mean(dim=1)

    def layers(self) -> Iterator[list[nn.Parameter]]:
        """The parameters from the input to the output, for learning rates by depth; the head is not among them."""
        yield list(self.stem.parameters())
        yield from self.trunk.layers()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, T) to logits (B, C)."""
        return self.head(self.forward_features(x)[1])
