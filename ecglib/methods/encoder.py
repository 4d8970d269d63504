"""An encoder: leads of the record, standardised, through a backbone to tokens and one vector; what pre-training makes.

What a checkpoint holds is the weights and a card: leads, rate, normalisation, window, what the encoder has seen and how
good it was found to be. Three lines turn one's own records into vectors:

    encoder = Encoder.load("reports/foundation_ssl/demo/model/hybrid/model")
    vectors = encoder.embed(signal)  # signal: (records, leads, samples) mV at encoder.rate
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecglib import models
from ecglib.errors import InputError
from ecglib.leads import canonical, indices
from ecglib.methods import cards
from ecglib.methods.view import View, cut, evaluating
from ecglib.signals import Standardise

_NEEDED = {"encoder", "leads", "rate_hz", "normalisation", "window_s", "options", "about"}


class Encoder(nn.Module):
    """Leads of the record, standardised, through a backbone.

    Args:
        backbone: a name of `ecglib.models`.
        leads: the leads it uses.
        rate: Hz, of the signals it is trained on; kept with the weights and checked by `load`.
        standardise: fitted on the leads `have`; the encoder keeps its own leads' part of it.
        have: the leads of the batches, `leads` where none are named.
        window_s: seconds it is trained on; longer records are embedded as the mean over windows. None = whole records.
        about: what a user must know beside: what it saw, by which objective, results, limits. Plain values.
        options: of the backbone.

    Raises:
        InputError: for an unknown lead, backbone or option, and for a standardiser that has not been fitted.
    """

    def __init__(
        self, backbone: str, *, leads: Sequence[str], rate: float, standardise: Standardise,
        have: Sequence[str] | None = None, window_s: float | None = None, about: Mapping[str, Any] | None = None,
        **options: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.leads = tuple(canonical(lead) for lead in leads)
        self.have = self.leads if have is None else tuple(have)
        if not rate > 0 or (window_s is not None and not window_s > 0):
            raise InputError(f"An encoder needs a rate and a window above 0, but was given {rate!r} and {window_s!r}.")
        self.rate, self.window_s, self.backbone_name = rate, window_s, backbone
        self.options, self.about = dict(options), dict(about or {})
        picked = indices(self.have, self.leads)
        self.register_buffer("picked", torch.tensor(picked), persistent=False)
        self.all_leads = picked == list(range(len(self.have)))
        self.standardise = standardise.of(picked)
        self.backbone = models.create(backbone, in_channels=len(picked), num_classes=1, leads=self.leads, **options)
        self.backbone.head = nn.Identity()  # an encoder has no classes

    @property
    def token_dim(self) -> int:
        """D of the tokens."""
        return self.backbone.token_dim

    @property
    def feature_dim(self) -> int:
        """F of the pooled vector."""
        return self.backbone.feature_dim

    def standardised(self, signal: Tensor) -> Tensor:
        """(B, leads of the batch, T) mV to what the backbone takes (B, L, T)."""
        if signal.ndim != 3 or signal.shape[1] != len(self.have):
            raise InputError(
                f"The encoder takes batches of shape (B, {len(self.have)}, T), leads {' '.join(self.have)}, but was "
                f"given {tuple(signal.shape)}."
            )
        return self.standardise(signal if self.all_leads else signal.index_select(1, self.picked))

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, T) mV to tokens (B, N, D) and the pooled vector (B, F)."""
        return self.backbone.forward_features(self.standardised(signal))

    @torch.no_grad()
    def embed(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to vectors (B, F) in eval mode: the mean over windows of `window_s`, half overlapping."""
        with evaluating(self):
            windows = self._windows(signal, overlap=True)  # (B, W, L, window)
            pooled = self(windows.flatten(0, 1))[1]  # (B W, F)
            return pooled.unflatten(0, windows.shape[:2]).mean(dim=1)  # (B, W, F) -> (B, F)

    @torch.no_grad()
    def embed_tokens(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to all tokens of the record (B, W N, D) in eval mode, window after window, without overlap."""
        with evaluating(self):
            windows = self._windows(signal, overlap=False)
            tokens = self(windows.flatten(0, 1))[0]  # (B W, N, D)
            return tokens.unflatten(0, windows.shape[:2]).flatten(1, 2)  # (B, W, N, D) -> (B, W N, D)

    def _windows(self, signal: Tensor, *, overlap: bool) -> Tensor:
        window = signal.shape[-1] if self.window_s is None else round(self.window_s * self.rate)
        if window > signal.shape[-1]:
            raise InputError(
                f"The encoder reads windows of {window} samples ({self.window_s:g} s at {self.rate:g} Hz), and the "
                f"records have {signal.shape[-1]}; give longer records, at that rate."
            )
        return cut(signal, window, max(1, window // 2) if overlap else window)

    def view(self, classes: Sequence[str]) -> View:
        """A view with this encoder's weights, copied, and a fresh head for `classes`: what fine-tuning begins with."""
        view = View(
            self.backbone_name, classes=classes, leads=self.leads, rate=self.rate, have=self.have,
            standardise=_spread(self.standardise, self.picked, len(self.have)), window_s=self.window_s, **self.options,
        ).to(self.picked.device)  # fmt: skip
        head = {f"head.{name}": value for name, value in view.backbone.head.state_dict().items()}
        view.backbone.load_state_dict(self.backbone.state_dict() | head)
        return view

    def copy(self) -> Encoder:
        """The same encoder with weights of its own."""
        return copy.deepcopy(self)

    @torch.no_grad()
    def calibrate(self, batches: Iterable) -> Encoder:
        """Take the batch norms' statistics from whole signals, as the encoder will meet them.

        In pre-training they follow masked or augmented ones; a random encoder has none at all. One pass over `batches`,
        the mean over all of them; an encoder without batch norm stays as it is.

        Raises:
            InputError: there are no batches.
        """
        norms = [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return self
        kept = [norm.momentum for norm in norms]
        was = self.training
        self.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
            norm.train()
        seen = 0
        try:
            for batch in batches:
                self(batch.signal)
                seen += 1
        finally:
            for norm, momentum in zip(norms, kept):
                norm.momentum = momentum
            self.train(was)
        if not seen:
            raise InputError("There are no signals to take the batch norms' statistics from.")
        return self

    def card(self) -> dict[str, Any]:
        """What one must know to use the weights: plain values, as saved beside them."""
        return {
            "format": cards.FORMAT,
            "encoder": self.backbone_name,
            "leads": list(self.leads),
            "rate_hz": self.rate,
            "normalisation": {
                "mode": self.standardise.mode,
                "mean_mv": self.standardise.mean.flatten().tolist(),
                "std_mv": self.standardise.std.flatten().tolist(),
            },
            "window_s": self.window_s,
            "options": self.options,
            "signal": "float32 mV, (batch, leads, time)",
            "output": f"tokens (batch, places, {self.token_dim}) and one vector ({self.feature_dim}) a record",
            "about": self.about,
        }

    def digest(self) -> str:
        """sha256 of the weights as they would be saved."""
        return hashlib.sha256(cards.as_bytes(self)).hexdigest()

    def save(self, path: str | os.PathLike) -> Path:
        """Weights and card, see `cards.save`."""
        return cards.save(self, path, self.card())

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, have: Sequence[str] | None = None, expect: str | None = None,
        expect_rate: float | None = None,
    ) -> Encoder:  # fmt: skip
        """The encoder saved at `path`, on the CPU and in eval mode, for batches whose leads are `have`.

        Raises:
            InputError: weights or card are missing, unreadable or do not belong together; it is another backbone than
                `expect`, at another rate than `expect_rate`, or uses a lead that is not among `have`.
        """
        path = cards.named(path)
        card, weights = cards.read(path, _NEEDED)
        for what, wanted, found in (("encoder", expect, card["encoder"]), ("rate_hz", expect_rate, card["rate_hz"])):
            if wanted is not None and wanted != found:
                raise InputError(
                    f"The checkpoint {path} has {what} {found} where {wanted} was expected; give another checkpoint or "
                    "train one of this kind."
                )
        have = card["leads"] if have is None else have
        blank = Standardise(card["normalisation"]["mode"], len(have))
        blank.mean.zero_(), blank.std.fill_(1)  # the statistics are among the weights
        encoder = cls(
            card["encoder"], leads=card["leads"], rate=card["rate_hz"], have=have, standardise=blank,
            window_s=card["window_s"], about=card["about"], **card["options"],
        )  # fmt: skip
        cards.fill(encoder, weights, path)
        return encoder.eval()


def _spread(own: Standardise, picked: Tensor, count: int) -> Standardise:
    """The standardiser of the picked leads as one of all `count` leads of the batch; the others stay as they are."""
    whole = Standardise(own.mode, count).to(own.mean.device)
    whole.mean.zero_(), whole.std.fill_(1)
    rows = picked if own.mode == "lead" else slice(None)
    whole.mean[rows], whole.std[rows] = own.mean, own.std
    return whole
