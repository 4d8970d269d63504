"""MaskedAutoencoder: hide most of a signal, rebuild it from the rest (He et al. 2022, on ECGs ST-MEM and CREMA).

    signal (B, L, T) -- standardise -- cut into cells -- hide some -- encoder -- decoder -- rebuilt cells
                                            |                                                   |
                                            +-------- mean squared error on the hidden ---------+

A transformer on patches is given the visible tokens only, and the decoder gets a mask token for each hidden one. A
network that mixes neighbours or leads (convolutions) cannot leave tokens out: hidden samples are set to 0 before it, so
that it sees nothing of them (the SimMIM way, Xie et al. 2022), and the decoder rebuilds all from its tokens.

Ours, because the paper's could not be found: every size, the mask's share and shape, the decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.losses.masked_mse import FLOOR, masked_mse
from ecglib.methods.encoder import Encoder
from ecglib.methods.masking import Masking, Together
from ecglib.methods.view import evaluating
from ecglib.models.transformer import Trunk, positions

if TYPE_CHECKING:
    from ecglib.cohort import Batch


class MaskedAutoencoder(nn.Module):
    """An encoder and a small decoder that rebuilds what was hidden from it.

    Args:
        encoder: what is trained and kept.
        mask_ratio, lead_mask_ratio, mask_together: see `Masking`.
        cell: samples of a cell; None takes the encoder's token. A transformer on patches hides tokens, no other cells.
        normalise_patches: the target is each cell by its own mean and deviation.
        decoder_dim, decoder_depth: of the decoder, a transformer too.
        augment: applied to the whole signal before it is masked, such as a random window.

    Raises:
        InputError: see `Masking`; a cell that the encoder cannot hide.
    """

    def __init__(
        self, encoder: Encoder, *, mask_ratio: float = 0.5, lead_mask_ratio: float = 0.0,
        mask_together: Together = "leads", cell: int | None = None, normalise_patches: bool = True,
        decoder_dim: int = 64, decoder_depth: int = 2, augment: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        self.masking = Masking(mask_ratio, lead_ratio=lead_mask_ratio, together=mask_together)
        backbone = encoder.backbone
        self.cell = backbone.stride if cell is None else cell
        if self.cell < 1 or (backbone.subsets and self.cell != backbone.stride):
            raise InputError(
                f"A cell of {self.cell} samples cannot be hidden from {encoder.backbone_name}, whose tokens have "
                f"{backbone.stride}; leave it to the encoder."
            )
        self.normalise_patches, self.augment = normalise_patches, augment
        leads = len(encoder.leads)
        self.project = nn.Linear(encoder.token_dim, decoder_dim)
        self.decoder = Trunk(decoder_dim, decoder_depth, 4)
        per_token = backbone.stride if backbone.subsets else leads * backbone.stride
        self.rebuild = nn.Linear(decoder_dim, per_token)
        if backbone.subsets:
            self.mask_token = nn.Parameter(torch.randn(decoder_dim) * 0.02)
            self.lead = nn.Parameter(torch.randn(leads, decoder_dim) * 0.02)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss"} of a batch; labels are not looked at."""
        signal = batch.signal if self.augment is None else self.augment(batch.signal)
        return {"loss": self.reconstruction(signal)[0]}

    def reconstruction(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, T) mV to the loss and the pooled vector (B, F) of what was visible."""
        x = self.encoder.standardised(signal)
        patches = self.patches(x)  # (B, L, N, P)
        masked = self.masking.draw(*patches.shape[:3], device=x.device)  # (B, L, N)
        tokens, pooled = self.encode(x, masked)
        return masked_mse(self.decode(tokens, masked), patches, masked, normalise=self.normalise_patches), pooled

    def patches(self, x: Tensor) -> Tensor:
        """(B, L, T) to cells (B, L, N, P); samples after the last whole cell belong to none."""
        places = x.shape[2] // self.cell
        return x[:, :, : places * self.cell].unflatten(2, (places, self.cell))

    def visible(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to the pooled vector (B, F) of what a mask of its own leaves visible; nothing is rebuilt."""
        x = self.encoder.standardised(signal)
        _, leads, places, _ = self.patches(x).shape
        return self.encode(x, self.masking.draw(len(x), leads, places, device=x.device))[1]

    def encode(self, x: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised (B, L, T) and what is hidden of it (B, L, N) to tokens (B, V, D) and pooled (B, F).

        Where tokens can be left out they are those of the visible cells, in their order; else all.
        """
        backbone = self.encoder.backbone
        if backbone.subsets:
            seen = backbone.encode(_picked(backbone.embed(x), self._kept(masked)))  # (B, L N, D) -> (B, V, D)
            return seen, seen.float().mean(dim=1)
        hidden = masked.repeat_interleave(self.cell, dim=2)  # (B, L, N) -> (B, L, N P)
        return backbone.forward_features(x * ~nn.functional.pad(hidden, (0, x.shape[2] - hidden.shape[2])))

    def decode(self, tokens: Tensor, masked: Tensor) -> Tensor:
        """What `encode` gave, to rebuilt cells (B, L, N, P)."""
        b, leads, places = masked.shape
        own = self.project(tokens)  # (B, V, D) -> (B, V, D')
        if self.encoder.backbone.subsets:
            kept = self._kept(masked)[:, :, None].expand(-1, -1, own.shape[2])
            whole = self.mask_token.to(own.dtype).expand(b, leads * places, -1).scatter(1, kept, own)  # (B, L N, D')
            where = self.lead[:, None] + positions(places, own.shape[2], device=own.device)  # (L, N, D')
            return self.rebuild(self.decoder(whole + where.flatten(0, 1))).unflatten(1, (leads, places))
        own = self.decoder(own + positions(own.shape[1], own.shape[2], device=own.device))
        samples = self.rebuild(own).unflatten(2, (leads, -1)).transpose(1, 2).flatten(2)  # (B, M, L S) -> (B, L, M S)
        return self.patches(samples[:, :, : places * self.cell])

    def _kept(self, masked: Tensor) -> Tensor:
        """(B, V) positions of the visible cells, in their own order: a stable sort brings them to the front."""
        visible = masked[0].numel() - self.masking.hidden(*masked.shape[1:])
        return masked.flatten(1).to(torch.uint8).argsort(dim=1, stable=True)[:, :visible]

    @torch.no_grad()
    def show(self, signal: Tensor) -> dict[str, Tensor]:
        """What a report draws, in eval mode, all (B, L, T') on the CPU: "original", "rebuilt" in mV, "masked" bool.

        Cells that were normalised one by one are drawn at their true mean and deviation, which the decoder does not
        tell: the shape is rebuilt, the level is lent.
        """
        x = self.encoder.standardised(signal)
        patches = self.patches(x)
        masked = self.masking.draw(*patches.shape[:3], device=x.device)
        with evaluating(self):  # a picture must not move the batch norms' statistics
            rebuilt = self.decode(self.encode(x, masked)[0], masked)
        if self.normalise_patches:
            std = patches.std(dim=-1, keepdim=True, correction=0).clamp(min=FLOOR)
            rebuilt = rebuilt * std + patches.mean(dim=-1, keepdim=True)
        scale, shift = self._to_mv(signal)
        shown = {"original": patches.flatten(2) * scale + shift, "rebuilt": rebuilt.flatten(2).float() * scale + shift}
        return {k: v.cpu() for k, v in (shown | {"masked": masked.repeat_interleave(self.cell, dim=2)}).items()}

    def _to_mv(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """What turns standardised samples back: scale and shift, each broadcast over (B, L, T)."""
        norm = self.encoder.standardise
        if norm.mode == "record":
            own = signal if self.encoder.all_leads else signal.index_select(1, self.encoder.picked)
            std, mean = torch.std_mean(own, dim=-1, keepdim=True, correction=0)
            return std, mean
        return norm.std, norm.mean

    def inference_module(self) -> Encoder:
        """The encoder, whose weights are the product."""
        return self.encoder

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {
            "objective": type(self).__name__, "encoder": self.encoder.card(), "masking": repr(self.masking),
            "cell": self.cell, "normalise_patches": self.normalise_patches, "augment": repr(self.augment),
        }  # fmt: skip


def _picked(tokens: Tensor, at: Tensor) -> Tensor:
    """Tokens (B, N, D) at the positions (B, V): (B, V, D)."""
    return tokens.gather(1, at[:, :, None].expand(-1, -1, tokens.shape[2]))
