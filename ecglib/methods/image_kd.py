"""ImageKD: signal and page together in training, the printed page alone at inference, after VizECGNet.

    page   (B, 3, H, W) - timm - tokens -[SMAM]-+------------------- pool - head -> page logits     (inference: this)
                                                |                                      ^
                                                +-[CMAM asks signal]- pool -+          | KD
                                                                            +- head -> fused logits
                                                +-[CMAM asks page]--- pool -+
                                                |
    signal (B, L, T) - 1-D CNN - tokens -[SMAM]-+------------------- pool - head -> signal logits

    L = lambda_cls (BCE page + BCE signal + BCE fused) + lambda_kd KD(page, fused),   both 1 (second-hand)

Nam et al., arXiv 2408.02888, says that there are two streams, SMAM, CMAM and distillation between predictions; where
they sit and their equations were not found, so the figure above is our reading. The page's own path never passes
through CMAM: that is what lets the page go alone at inference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecglib import models
from ecglib.errors import InputError
from ecglib.losses.bernoulli_kd import BernoulliKD, Form
from ecglib.losses.mkd import MKD
from ecglib.methods.lead_kd import known_bce
from ecglib.methods.page_view import PageView
from ecglib.methods.view import View
from ecglib.models.attention import CMAM, Stream
from ecglib.signals import Standardise

__all__ = ["ImageKD", "PageKD", "PageView", "SignalStream"]


class SignalStream(nn.Module):
    """The signal's half of the network; it exists in training only.

    Args:
        backbone: a name of `ecglib.models`.
        leads: number of leads L.
        classes: C.
        standardise: fitted on those leads.
        dim, heads, smam, dropout: as the page's.
        options: of the backbone.
    """

    def __init__(
        self, backbone: str, *, leads: int, classes: int, standardise: Standardise, dim: int = 128, heads: int = 4,
        smam: bool = False, dropout: float = 0.0, tokens: int = 32, **options: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.standardise = standardise
        self.backbone = models.create(backbone, in_channels=leads, num_classes=classes, **options)
        self.backbone.head = nn.Identity()  # the stream's own head judges
        self.stream = Stream(
            self.backbone.token_dim, dim=dim, classes=classes, smam=smam, tokens=tokens, heads=heads,
            dropout=dropout,
        )  # fmt: skip

    def tokens(self, signal: Tensor) -> Tensor:
        """(B, L, T) mV to tokens (B, M, D), one per 32 samples."""
        found, _ = self.backbone.forward_features(self.standardise(signal))  # (B, L, T) -> (B, M, D')
        return self.stream.tokens(found)


class _TeachesPage(nn.Module):
    """What both methods have in common: a page view is trained and kept, and it alone answers."""

    takes = "page"
    page: PageView

    def predict(self, page: Tensor) -> Tensor:
        """The page's logits (B, C) in eval mode, without gradients: no signal comes in here."""
        return self.page.predict(page)

    def inference_module(self) -> PageView:
        """The page view, whose weights are the product."""
        return self.page


class ImageKD(_TeachesPage):
    """A page view taught by labels and, where there is a signal stream, by what page and signal say together.

    Args:
        page: what is trained and kept. Whether it has SMAM is its own matter, and the signal stream's likewise.
        signal: the other stream; None trains the page on labels alone.
        cmam: with cross-modal attention before the fusion; needs `signal`.
        kd: form of the distillation, None for none; needs `signal`.
        temperature: of the distillation.
        lambda_cls, lambda_kd: weights of the two parts of the loss.

    Raises:
        InputError: CMAM or KD without a signal stream, a negative weight.
    """

    def __init__(
        self, page: PageView, signal: SignalStream | None = None, *, cmam: bool = False, kd: Form | None = None,
        temperature: float = 1.0, lambda_cls: float = 1.0, lambda_kd: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if signal is None and (cmam or kd):
            raise InputError("CMAM and the distillation need the signal's stream; give one, or leave both out.")
        for name, value in (("lambda_cls", lambda_cls), ("lambda_kd", lambda_kd)):
            if not value >= 0:
                raise InputError(f"`{name}` is {value!r}, but a loss's weight must be at least 0.")
        self.page, self.signal = page, signal
        self.lambda_cls, self.lambda_kd = lambda_cls, lambda_kd
        self.kd = None if kd is None else BernoulliKD(kd, temperature)
        dim, heads, classes = page.options["dim"], page.options["heads"], len(page.classes)
        self.ask_signal, self.ask_page = (CMAM(dim, heads), CMAM(dim, heads)) if cmam else (None, None)
        self.fuse = None if signal is None else nn.Linear(page.feature_dim + signal.stream.feature_dim, classes)

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        """{"loss", "bce", "bce_signal", "bce_fused", "kd"} of a batch with pages; a part that is left out is 0."""
        if batch.label is None:
            raise InputError("Training on labels needs batches that carry them; give batches(task=...).")
        page_tokens = self.page.tokens(batch.page)  # (B, 3, H, W) -> (B, N, D)
        logits = self.page.head(self.page.stream.pool(page_tokens))  # (B, N, D) -> (B, F) -> (B, C)
        bce = known_bce(logits, batch.label)
        zero = logits.sum() * 0.0
        bce_signal, bce_fused, kd = zero, zero, zero
        if self.signal is not None:
            signal_logits, fused = self.fused(page_tokens, self.signal.tokens(batch.signal))
            bce_signal, bce_fused = known_bce(signal_logits, batch.label), known_bce(fused, batch.label)
            if self.kd is not None:
                kd = self.kd(logits, fused)
        loss = self.lambda_cls * (bce + bce_signal + bce_fused) + self.lambda_kd * kd
        parts = {"bce": bce, "bce_signal": bce_signal, "bce_fused": bce_fused, "kd": kd}
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def fused(self, page_tokens: Tensor, signal_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D), (B, M, D) to the signal's own logits and the fused ones, (B, C) each."""
        page, signal = self.page.stream, self.signal.stream
        signal_logits = signal.judge(signal.pool(signal_tokens))
        if self.ask_signal is not None:
            page_tokens, signal_tokens = (
                self.ask_signal(page_tokens, signal_tokens),
                self.ask_page(signal_tokens, page_tokens),
            )
        both = torch.cat([page.pool(page_tokens), signal.pool(signal_tokens)], dim=1)  # (B, Fp + Fs)
        with torch.autocast(both.device.type, enabled=False):
            return signal_logits, self.fuse(both)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {
            "page": self.page.card(),
            "signal": repr(self.signal),
            "cmam": self.ask_signal is not None,
            "kd": repr(self.kd),
            "weights": [self.lambda_cls, self.lambda_kd],
        }


class PageKD(_TeachesPage):
    """A page view taught by labels and by a frozen view of the signal: the lead notebook's distillation, for a page.

        L = gamma BCE + alpha MKD,  as in `LeadKD` without CLT

    Args:
        page: what is trained.
        teacher: a trained view of the same classes; frozen here and always in eval mode.
        alpha, gamma: weights of MKD and of the binary cross-entropy.
        temperature: of MKD.
        windows: ask the teacher as it is asked in a test, by the mean over its windows, not the whole record at once.

    Raises:
        InputError: the teacher's classes are others.
    """

    frozen: tuple[str, ...] = ("teacher",)

    def __init__(
        self, page: PageView, teacher: View, *, alpha: float = 1.0, gamma: float = 1.0, temperature: float = 1.0,
        windows: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if page.classes != teacher.classes:
            raise InputError(
                f"The page's classes are {', '.join(page.classes)} and the teacher's {', '.join(teacher.classes)}; "
                "they must be the same."
            )
        self.page = page
        self.teacher = teacher.requires_grad_(False).eval()
        self.alpha, self.gamma, self.windows = alpha, gamma, windows
        self.mkd = MKD(temperature)

    def train(self, mode: bool = True) -> PageKD:
        """As any module, but the teacher stays in eval mode: its batch norms must not follow the student's data."""
        super().train(mode)
        self.teacher.eval()
        return self

    def training_step(self, batch: Any) -> dict[str, Tensor]:
        """{"loss", "bce", "mkd"} of a batch with pages."""
        logits = self.page(batch.page)
        with torch.no_grad():
            taught = self.teacher.predict(batch.signal) if self.windows else self.teacher(batch.signal)
        bce = logits.sum() * 0.0 if batch.label is None else known_bce(logits, batch.label)
        mkd = self.mkd(logits, taught)
        return {"loss": self.gamma * bce + self.alpha * mkd, "bce": bce.detach(), "mkd": mkd.detach()}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {
            "page": self.page.card(),
            "teacher": [self.teacher.card(), self.teacher.digest(), self.windows],
            "weights": [self.alpha, self.gamma],
            "losses": repr(self.mkd),
        }
