"""A delineator: the tokens of an encoder, brought back to samples, say where P, QRS and T are in each lead.

The encoder is what pre-training made; the head is light on purpose, so that a score tells of the encoder. Ours: papers
on ECG foundation models name delineation as a task, and no head that all use was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError
from ecglib.methods.view import cut, evaluating
from ecglib.signals import Standardise

CLASSES = 4  # none, P, QRS, T, as in ecglib.delineation


@dataclass(frozen=True)
class Batch:
    """Signals (B, L, T) mV, their class maps and what is known of them, (B, L, T); see `ecglib.delineation.targets`."""

    signal: Tensor
    mask: Tensor
    known: Tensor
    tokens: Tensor | None = None
    """What `Delineator.tokens` gives for these signals, where it is at hand."""


class Delineator(nn.Module):
    """Tokens to class logits per sample and lead.

    A token becomes `stride` samples x 4 logits by one linear map, from the lead's own token or, where the encoder mixes
    the leads, from the one token times a gain plus an offset of each lead (learned). Two convolutions over time, the
    same in every lead, add what smooths the seams between tokens.

    With `skip` they see the standardised lead beside the logits. Boundaries need samples, and a token of 160 ms holds
    few; but with the skip a random encoder delineates well too, so the number to report is the difference to an encoder
    of random weights. Without it, all that is known of the signal has come through the tokens.

    Args:
        encoder: as `ecglib.methods.encoder.Encoder`; a signal longer than its `window_s` goes through in windows, side
            by side, the last one set back to end with the signal.
        frozen: the encoder stays as it is, in eval mode. It is used itself; give a copy where it must not change.
        skip: see above.
        width: channels between the two convolutions. reach_ms: length of each, in ms.

    Raises:
        InputError: an encoder that leaves leads of its batches out, a width below 1 or a reach not above 0.
    """

    def __init__(
        self, encoder: nn.Module, *, frozen: bool, skip: bool = True, width: int = 8, reach_ms: float = 130.0
    ) -> None:
        super().__init__()
        if tuple(getattr(encoder, "have", encoder.leads)) != tuple(encoder.leads):
            raise InputError("A delineator needs an encoder of all leads of its batches, in their order.")
        if width < 1 or not reach_ms > 0:
            raise InputError(f"width and reach_ms must be above 0, and are {width!r} and {reach_ms!r}.")
        self.frozen_encoder, self.skip = frozen, skip
        self.encoder = encoder.requires_grad_(not frozen)
        self.leads, self.rate = tuple(encoder.leads), encoder.rate
        self.window = None if encoder.window_s is None else round(encoder.window_s * encoder.rate)
        self.stride, dim = encoder.backbone.stride, encoder.token_dim
        own, _ = encoder.backbone.grid(self.window or 100 * self.stride)
        self.mixed = own != len(self.leads)
        if self.mixed:
            self.gain = nn.Parameter(1 + 0.1 * torch.randn(len(self.leads), dim))  # (L, D)
            self.offset = nn.Parameter(torch.zeros(len(self.leads), dim))
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, self.stride * CLASSES)
        kernel = 2 * round(reach_ms * self.rate / 2000) + 1  # odd
        self.standardise = Standardise("record")
        # Two dimensions of which one is 1, channels last: twice as fast on a CPU as the same in one.
        self.smooth = nn.Sequential(
            nn.Conv2d(CLASSES + skip, width, (1, kernel), padding="same"),
            nn.GELU(),
            nn.Conv2d(width, CLASSES, (1, kernel), padding="same"),
        ).to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Delineator:
        """As `nn.Module.train`; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen_encoder:
            self.encoder.eval()
        return self

    def tokens(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to the encoder's tokens, window by window: (B, W, N, D)."""
        if signal.ndim != 3 or signal.shape[1] != len(self.leads):
            raise InputError(
                f"The delineator takes signals of shape (B, {len(self.leads)}, T), but was given {tuple(signal.shape)}."
            )
        window = self.window or signal.shape[2]
        windows = cut(signal, window, window)  # (B, L, T) -> (B, W, L, window)
        whole = F.pad(windows.flatten(0, 1), (0, -window % self.stride), mode="replicate")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_encoder):
            tokens = self.encoder(whole)[0]  # (B W, L, whole tokens) -> (B W, N, D)
        return tokens.unflatten(0, windows.shape[:2])

    def forward(self, signal: Tensor, tokens: Tensor | None = None) -> Tensor:
        """(B, L, T) mV, and their tokens where they are at hand, to logits (B, L, T, 4), float32."""
        tokens = self.tokens(signal) if tokens is None else tokens
        length, leads = signal.shape[2], len(self.leads)
        tokens = self.norm(tokens.float())
        if self.mixed:
            tokens = tokens.unsqueeze(2) * self.gain[:, None] + self.offset[:, None]  # (B, W, N, D) -> (B, W, L, N, D)
        else:
            tokens = tokens.unflatten(2, (leads, -1))  # (B, W, L N, D) -> (B, W, L, N, D)
        coarse = self.linear(tokens).unflatten(-1, (self.stride, CLASSES)).flatten(3, 4)  # -> (B, W, L, N stride, 4)
        coarse = self._joined(coarse, length)  # -> (B, L, T, 4)
        seen = torch.cat([coarse, self.standardise(signal).unsqueeze(-1)], -1) if self.skip else coarse
        seen = seen.flatten(0, 1).unsqueeze(1).permute(0, 3, 1, 2)  # (B, L, T, 4 or 5) -> (B L, 4 or 5, 1, T)
        fine = self.smooth(seen).permute(0, 2, 3, 1)  # (B L, 4, 1, T) -> (B L, 1, T, 4)
        return coarse + fine.reshape(coarse.shape)

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over the samples that are known."""
        logits = self(batch.signal, batch.tokens)  # (B, L, T, 4)
        each = F.cross_entropy(logits.flatten(0, 2), batch.mask.flatten().long(), reduction="none")  # (B L T,)
        known = batch.known.flatten().float()
        return {"loss": (each * known).sum() / known.sum().clamp(min=1)}

    @torch.no_grad()
    def predict(self, signal: Tensor, *, batch_size: int = 16) -> Tensor:
        """(N, L, T) mV, on any device, to classes (N, L, T) uint8 on the CPU, in eval mode."""
        device = self.linear.weight.device
        with evaluating(self):
            parts = [self(part.to(device)).argmax(-1).to("cpu", torch.uint8) for part in signal.split(batch_size)]
        return torch.cat(parts)

    def _joined(self, x: Tensor, length: int) -> Tensor:
        """Windows (B, W, L, window or more, C), cut as in `tokens`, to one run of samples (B, L, T, C)."""
        window = self.window or length
        x = x[:, :, :, :window]  # without what was put on to make whole tokens
        new = length - (x.shape[1] - 1) * window  # samples that only the last window has
        return torch.cat([*x[:, :-1].unbind(1), x[:, -1, :, window - new :]], dim=2)


def train(
    delineator: Delineator, signals: Tensor | np.ndarray, mask: np.ndarray, known: np.ndarray, *, epochs: int,
    learning_rate: float, batch_size: int = 8, seed: int = 0, device: str | torch.device = "cpu",
    encoder_factor: float = 0.1, weight_decay: float = 0.01, progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Train on whole records for a fixed number of epochs and leave the last weights in the delineator.

    AdamW with one cycle of the learning rate (Smith & Topin 2019). A function of its own, as `ecglib.training.fit`
    chooses epochs by macro AUC. Whatever is drawn hangs on `seed`, and torch's generators are left as they were: on one
    machine's CPU two runs from equal weights end with the same bits.

    Args:
        signals: (N, L, T) mV. mask, known: (N, L, T), of `ecglib.delineation.targets`.
        learning_rate: the cycle's peak, of the head. encoder_factor: the encoder's is this times as high.
        device: where it is trained; the delineator stays there. A frozen encoder's tokens are computed once and kept
            there too: N x tokens x D float32.
        progress: one line per epoch.

    Returns:
        One row per epoch: epoch, learning_rate, loss.

    Raises:
        InputError: nothing to train on, arrays that do not fit, or a loss that is not a number any more.
    """
    signals = torch.as_tensor(signals, dtype=torch.float32)
    mask, known = torch.as_tensor(mask), torch.as_tensor(known)
    if not signals.shape == mask.shape == known.shape:
        raise InputError(
            f"Signals {tuple(signals.shape)}, mask {tuple(mask.shape)} and known {tuple(known.shape)} differ."
        )
    if epochs < 1 or batch_size < 1 or not bool(known.any()):
        raise InputError("A delineator is trained for 1 epoch or more on batches of 1 or more, with some sample known.")
    delineator.to(device)
    cuda = [torch.cuda.current_device()] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        tokens = _all_tokens(delineator, signals, batch_size, device) if delineator.frozen_encoder else None
        order = torch.Generator().manual_seed(seed)
        steps = math.ceil(len(signals) / batch_size)
        optimiser = torch.optim.AdamW(_groups(delineator, learning_rate, encoder_factor, weight_decay))
        peaks = [group["lr"] for group in optimiser.param_groups]
        trained = [parameter for parameter in delineator.parameters() if parameter.requires_grad]
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=epochs * steps)
        history = []
        delineator.train()
        for epoch in range(1, epochs + 1):
            total = 0.0
            for rows in torch.randperm(len(signals), generator=order).split(batch_size):
                picked = (part[rows].to(device) for part in (signals, mask, known))
                batch = Batch(*picked, tokens=None if tokens is None else tokens[rows.to(device)])
                loss = delineator.training_step(batch)["loss"]
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                rate = optimiser.param_groups[0]["lr"]
                cycle.step()
                total += float(loss.detach())
            if not math.isfinite(total):
                raise InputError(f"The loss is {total} in epoch {epoch}: lower the learning rate ({learning_rate:g}).")
            history.append({"epoch": epoch, "learning_rate": rate, "loss": total / steps})
            if progress:
                print(f"delineator epoch {epoch}/{epochs}: loss {total / steps:.4f}", flush=True)
    delineator.eval()
    return pd.DataFrame(history)


@torch.no_grad()
def _all_tokens(delineator: Delineator, signals: Tensor, batch_size: int, device: str | torch.device) -> Tensor:
    """(N, L, T) mV to the frozen encoder's tokens (N, W, N', D)."""
    with evaluating(delineator):
        return torch.cat([delineator.tokens(part.to(device)) for part in signals.split(batch_size)])


def _groups(delineator: Delineator, rate: float, factor: float, decay: float) -> Iterator[dict]:
    """The optimiser's groups, the head's first; biases, gains and the scales of norms do not decay."""
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in delineator.named_parameters():
        plain = parameter.ndim <= 1 or name in ("gain", "offset")
        parts.setdefault((name.startswith("encoder."), plain), []).append(parameter)
    for (encoder, plain), found in sorted(parts.items()):
        trained = [parameter for parameter in found if parameter.requires_grad]
        lr = rate * factor if encoder else rate
        if trained:
            yield {"params": trained, "lr": lr, "weight_decay": 0.0 if plain else decay}
