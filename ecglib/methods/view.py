"""A view of the record: some of its leads, normalised, through a backbone; what a checkpoint holds.

MVKT-ECG (arXiv 2301.12178) calls the twelve-lead record and the single lead two views of one heart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib import models
from ecglib.errors import InputError
from ecglib.leads import LEADS, canonical, indices
from ecglib.methods import cards
from ecglib.signals import Standardise

_NEEDED = {"classes", "leads", "rate_hz", "normalisation", "backbone", "window_s", "options"}


class View(nn.Module):
    """Leads of the whole record, standardised, through a backbone to one logit per class.

    Takes the whole batch (B, L, T) in mV, whose leads are `have`, whatever leads it uses itself: teacher and student
    see the same tensor.

    Args:
        backbone: a name of `ecglib.models`.
        classes: names of the C outputs, in their order.
        leads: the leads it uses.
        rate: Hz, of the signals it is trained on. No arithmetic uses it; kept with the weights and checked by `load`.
        standardise: fitted on the leads `have`; the view keeps its own leads' part of it.
        have: the leads of the batches.
        window_s: seconds; records are predicted as the mean over windows of this length. What a view that was trained
            on crops needs; None = whole records.
        options: of the backbone, such as `width`.

    Raises:
        InputError: for an unknown lead, class, backbone or option, and for a standardiser that has not been fitted.
    """

    def __init__(
        self, backbone: str, *, classes: Sequence[str], leads: Sequence[str], rate: float, standardise: Standardise,
        have: Sequence[str] = LEADS, window_s: float | None = None, **options: float,
    ) -> None:  # fmt: skip
        super().__init__()
        if not classes or len(set(classes)) < len(classes):
            raise InputError(f"A view needs classes of different names, but was given {list(classes)}.")
        if not rate > 0:
            raise InputError(f"A view needs the rate of its signals in Hz, above 0, but was given {rate!r}.")
        self.classes = tuple(classes)
        self.leads = tuple(canonical(lead) for lead in leads)
        if window_s is not None and not window_s > 0:
            raise InputError(f"A view's window_s is a length in seconds above 0, or None, but was given {window_s!r}.")
        self.rate, self.window_s, self.backbone_name, self.options = rate, window_s, backbone, dict(options)
        self.have = tuple(have)
        picked = indices(self.have, self.leads)
        self.register_buffer("picked", torch.tensor(picked), persistent=False)
        self.all_leads = picked == list(range(len(self.have)))
        self.standardise = standardise.of(picked)
        self.backbone = models.create(
            backbone, in_channels=len(picked), num_classes=len(self.classes), leads=self.leads, **options
        )

    @property
    def feature_dim(self) -> int:
        """F, the size of the pooled features."""
        return self.backbone.feature_dim

    def features(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to pooled features (B, F)."""
        if signal.ndim != 3 or signal.shape[1] != len(self.have):
            raise InputError(
                f"The view takes batches of shape (B, {len(self.have)}, T), leads {' '.join(self.have)}, but was given "
                f"{tuple(signal.shape)}."
            )
        own = signal if self.all_leads else signal.index_select(1, self.picked)  # (B, L, T) -> (B, own leads, T)
        return self.backbone.forward_features(self.standardise(own))[1]

    def head(self, features: Tensor) -> Tensor:
        """(B, F) to logits (B, C), never below float32: bfloat16 would round a logit of 4 to steps of 1/32."""
        with torch.autocast(features.device.type, enabled=False):
            return self.backbone.head(features)

    def forward(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to logits (B, C)."""
        return self.head(self.features(signal))

    def predict(self, signal: Tensor, *, window: int | None = None, stride: int | None = None) -> Tensor:
        """Logits (B, C) of (B, L, T) mV in eval mode, without gradients.

        With `window` (samples; default: the view's own `window_s`) each record is cut into windows every `stride`
        samples (default: half a window; the last one is set back to end with the record), and the *probabilities* are
        averaged: the sigmoid of what is returned is their mean.

        Raises:
            InputError: for a window longer than the signal or a stride that would leave samples out.
        """
        with evaluating(self), torch.no_grad():
            if window is None and self.window_s is not None:
                window = round(self.window_s * self.rate)
            if window is None:
                return self(signal)
            windows = cut(signal, window, stride or max(1, window // 2))  # (B, L, T) -> (B, W, L, window)
            logits = self(windows.flatten(0, 1)).float()  # (B, W, L, window) -> (B W, L, window) -> (B W, C)
            logits = logits.unflatten(0, windows.shape[:2])  # (B W, C) -> (B, W, C)
            # logit(mean p) = log sum p - log sum (1 - p), from log-sigmoids
            return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)  # (B, W, C) -> (B, C)

    def card(self) -> dict[str, Any]:
        """What one must know to use the weights: plain values, as saved beside them."""
        return {
            "format": cards.FORMAT,
            "classes": list(self.classes),
            "leads": list(self.leads),
            "rate_hz": self.rate,
            "normalisation": {
                "mode": self.standardise.mode,
                "mean_mv": self.standardise.mean.flatten().tolist(),
                "std_mv": self.standardise.std.flatten().tolist(),
            },
            "window_s": self.window_s,
            "backbone": self.backbone_name,
            "options": self.options,
            "signal": "float32 mV, (batch, leads, time)",
            "output": "one logit per class; its sigmoid is the probability",
        }

    def digest(self) -> str:
        """sha256 of the weights as they would be saved."""
        return hashlib.sha256(cards.as_bytes(self)).hexdigest()

    def save(self, path: str | os.PathLike) -> Path:
        """Weights and card, see `cards.save`."""
        return cards.save(self, path, self.card())

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, have: Sequence[str] = LEADS, expect_classes: Sequence[str] | None = None,
        expect_leads: Sequence[str] | None = None, expect_rate: float | None = None,
    ) -> View:  # fmt: skip
        """The view saved at `path`, on the CPU and in eval mode, for batches whose leads are `have`.

        Raises:
            InputError: where the weights or their card are missing, unreadable or do not belong together, and where
                classes, leads or rate are not the expected ones.
        """
        path = cards.named(path)
        card, weights = cards.read(path, _NEEDED)
        expected = {
            "classes": None if expect_classes is None else list(expect_classes),
            "leads": None if expect_leads is None else [canonical(lead) for lead in expect_leads],
            "rate_hz": expect_rate,
        }
        for key, value in expected.items():
            if value is not None and value != card[key]:
                raise InputError(
                    f"The checkpoint {path} has {key} {_show(card[key])} where {_show(value)} was expected; "
                    "give another checkpoint or train one for this task."
                )
        blank = Standardise(card["normalisation"]["mode"], len(have))
        blank.mean.zero_(), blank.std.fill_(1)  # the statistics are among the weights
        view = cls(
            card["backbone"], classes=card["classes"], leads=card["leads"], rate=card["rate_hz"], have=have,
            standardise=blank, window_s=card["window_s"], **card["options"],
        )  # fmt: skip
        cards.fill(view, weights, path)
        return view.eval()


def cut(signal: Tensor, window: int, stride: int) -> Tensor:
    """(B, L, T) to windows (B, W, L, window) every `stride` samples, the last one set back to end at T."""
    length = signal.shape[-1]
    if not 1 <= window <= length or not 1 <= stride <= window:
        raise InputError(
            f"A window of {window} samples every {stride} does not cover a signal of {length}; the window must be at "
            "most the signal and the stride at most the window."
        )
    starts = list(range(0, length - window + 1, stride))
    if starts[-1] + window < length:
        starts.append(length - window)
    at = torch.tensor(starts, device=signal.device)[:, None] + torch.arange(window, device=signal.device)  # (W, window)
    return signal[:, :, at].movedim(1, 2)  # (B, L, W, window) -> (B, W, L, window)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode, and back in the mode it was in."""
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)


def _show(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else f"{value:g}"
