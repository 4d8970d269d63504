"""An ECG transformer: every lead is cut into patches, and every patch of every lead is a token.

After the masked autoencoders on twelve-lead ECGs (ST-MEM, Na et al. 2024, among others): a linear map per patch, an
embedding of the lead, the place in time, and a plain vision transformer. Ours: no class token and no separators; the
pooled vector is the mean over the tokens. What "Foundation Models for Electrocardiograms" (arXiv 2407.07110) used was
not found in such detail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.leads import LEADS, canonical
from ecglib.models.transformer import SIZES, Trunk, positions


class ECGViT(nn.Module):
    """Per-lead patches through a transformer.

    Args:
        size: of `SIZES`.
        in_channels: number of leads L.
        num_classes: C, the outputs of `head`.
        leads: their names, in the order of the signals; None for the first L of the canonical twelve.
        patch: samples of a token; signals are cut to whole patches.
        drop_path: see `Trunk`.

    Attributes:
        token_dim, feature_dim: D, of tokens and of the pooled vector.
        stride: samples of a token.
        subsets: True: `encode` takes any subset of the tokens, so that a masked autoencoder can leave tokens out.

    Raises:
        InputError: a patch below 1 or an unknown lead; in forward, other leads or a signal shorter than a patch.
    """

    subsets = True

    def __init__(
        self, size: str, *, in_channels: int, num_classes: int, leads: Sequence[str] | None = None, patch: int = 25,
        drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if patch < 1:
            raise InputError(f"`patch` is {patch!r} samples, but must be at least 1.")
        self.leads = tuple(canonical(lead) for lead in leads) if leads else LEADS[:in_channels]
        if len(self.leads) != in_channels:
            raise InputError(f"The network was given {in_channels} channels for the leads {' '.join(self.leads)}.")
        dim, depth, heads = SIZES[size]
        self.token_dim = self.feature_dim = dim
        self.stride = patch
        self.project = nn.Linear(patch, dim)
        self.lead = nn.Parameter(torch.randn(len(LEADS), dim) * 0.02)  # (12, D)
        self.trunk = Trunk(dim, depth, heads, drop_path=drop_path)
        self.head = nn.Linear(dim, num_classes)

    def grid(self, length: int) -> tuple[int, int]:
        """(leads, places in time) of a signal of `length` samples; token l * places + t is lead l at place t."""
        return len(self.leads), length // self.stride

    def embed(self, x: Tensor, leads: Sequence[str] | None = None) -> Tensor:
        """(B, L, T) to tokens (B, L N, D) that know their lead and their place and nothing of each other."""
        names = self.leads if leads is None else tuple(canonical(lead) for lead in leads)
        if x.ndim != 3 or x.shape[1] != len(names) or x.shape[2] < self.stride:
            raise InputError(
                f"The network takes signals of shape (B, {len(names)}, {self.stride} or more), but was given "
                f"{tuple(x.shape)}."
            )
        places = x.shape[2] // self.stride
        patches = x[:, :, : places * self.stride].unflatten(2, (places, self.stride))  # (B, L, T) -> (B, L, N, P)
        lead = self.lead[[LEADS.index(name) for name in names]]  # (L, D)
        where = lead[:, None] + positions(places, self.token_dim, device=x.device)  # (L, N, D)
        return (self.project(patches) + where).flatten(1, 2)  # (B, L, N, D) -> (B, L N, D)

    def encode(self, tokens: Tensor) -> Tensor:
        """Embedded tokens (B, any, D) to what they have become of each other (B, any, D)."""
        return self.trunk(tokens)

    def forward_features(self, x: Tensor, leads: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
        """(B, L, T) standardised to tokens (B, L N, D) and the pooled vector (B, D), float32.

        leads: the names of the channels where they are others than the network's own; any of the twelve.
        """
        tokens = self.encode(self.embed(x, leads))
        return tokens, tokens.float().mean(dim=1)

    def layers(self) -> Iterator[list[nn.Parameter]]:
        """The parameters from the input to the output, for learning rates by depth; the head is not among them."""
        yield [*self.project.parameters(), self.lead]
        yield from self.trunk.layers()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, T) to logits (B, C)."""
        return self.head(self.forward_features(x)[1])
