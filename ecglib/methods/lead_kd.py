"""LeadKD: knowledge of a twelve-lead teacher for a student of few leads, after MVKT-ECG (Qin et al., arXiv 2301.12178).

    signal (B, L, T) --augment--+-- teacher view (frozen) -- features, logits --+
                                |                              |         |      |
                                |                             CLT       MKD     |
                                |                              |         |      |
                                +-- student view -------- features, logits -- BCE -- label

    L = gamma L_BCE + alpha L_MKD + beta L_CLT,   released code: gamma 1, alpha 1, beta 0.8

Ours: several teachers, whose MKD and CLT are averaged; records without labels (label NaN, index -1), which are
distilled on with MKD alone. The released code has one teacher and labels for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError, nearest
from ecglib.losses.clt import CLT, Rule
from ecglib.losses.mkd import MKD, Variant
from ecglib.methods.view import View
from ecglib.sharing import denominator

if TYPE_CHECKING:
    from ecglib.cohort import Batch

__all__ = ["LeadKD", "Supervised", "View", "contrast_column", "load_teachers"]


class Supervised(nn.Module):
    """A view trained on labels alone: the teacher, and the student to compare with.

    Args:
        view: what is trained.
        augment: applied to the whole signal in training only.
    """

    frozen: tuple[str, ...] = ()

    def __init__(self, view: View, *, augment: nn.Module | None = None) -> None:
        super().__init__()
        self.view = view
        self.augment = augment

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "bce"} of a batch; records without labels (NaN) count for nothing."""
        if batch.label is None:
            raise InputError("Training on labels needs batches that carry them; give batches(task=...).")
        logits = self.view(_augmented(self, batch.signal))
        bce = known_bce(logits, batch.label)
        return {"loss": bce, "bce": bce.detach()}

    def predict(self, signal: Tensor, *, window: int | None = None, stride: int | None = None) -> Tensor:
        """Logits (B, C) of (B, L, T) mV in eval mode, see `View.predict`."""
        return self.view.predict(signal, window=window, stride=stride)

    def inference_module(self) -> View:
        """The view, whose weights are the product."""
        return self.view

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {"view": self.view.card(), "augment": repr(self.augment)}


class LeadKD(nn.Module):
    """A student view taught by labels and by one or several frozen teacher views.

    Args:
        student: what is trained.
        teachers: trained views of the same classes and batches; frozen here and always in eval mode.
        labels: (N, C) of the training records in the order of `batch.index`; needed for CLT (beta > 0) and for it only.
        alpha: weight of MKD; 0 leaves it out.
        beta: weight of CLT; 0 leaves it out.
        gamma: weight of the binary cross-entropy.
        temperature, mkd_variant: of MKD.
        negatives, clt_temperature, clt_momentum, clt_dim, clt_rule, clt_column, seed: of CLT.
        augment: applied once to the whole signal in training, so that teacher and student see the same record.

    Raises:
        InputError: without a teacher, for one of other classes, rate or batches, a negative weight, CLT without labels.
    """

    frozen: tuple[str, ...] = ("teachers",)

    def __init__(
        self, student: View, teachers: Sequence[View], *, labels: Tensor | None = None, alpha: float = 1.0,
        beta: float = 0.8, gamma: float = 1.0, temperature: float = 1.0, mkd_variant: Variant = "tempered",
        negatives: int = 1024, clt_temperature: float = 0.07, clt_momentum: float = 0.5, clt_dim: int = 128,
        clt_rule: Rule = "disjoint", clt_column: int | None = None, seed: int = 0, augment: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check(student, teachers, labels, alpha=alpha, beta=beta, gamma=gamma)
        self.student = student
        self.teachers = nn.ModuleList(teachers).requires_grad_(False).eval()
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.mkd = MKD(temperature, mkd_variant)
        contrasted = teachers if beta else ()
        self.clt = nn.ModuleList(
            CLT(
                student.feature_dim, teacher.feature_dim, labels, dim=clt_dim, negatives=negatives,
                temperature=clt_temperature, momentum=clt_momentum, rule=clt_rule, column=clt_column, seed=seed + k,
            )
            for k, teacher in enumerate(contrasted)
        )  # fmt: skip
        self.augment = augment

    def train(self, mode: bool = True) -> LeadKD:
        """As any module, but the teachers stay in eval mode: their batch norms must not follow the student's data."""
        super().train(mode)
        self.teachers.eval()
        return self

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "bce", "mkd", "clt"} of a batch, the parts before weighting; a part that is left out is 0.

        Records without labels (NaN, or no labels at all) have no BCE; records of no index (-1) have no CLT.
        """
        signal = _augmented(self, batch.signal)
        features = self.student.features(signal)  # (B, L, T) -> (B, Fs)
        logits = self.student.head(features)  # (B, Fs) -> (B, C)
        zero = logits.sum() * 0.0
        bce = zero if batch.label is None else known_bce(logits, batch.label)
        mkd, clt = zero, zero
        for k, (teacher_features, teacher_logits) in enumerate(self._taught(signal)):
            if self.alpha:
                mkd = mkd + self.mkd(logits, teacher_logits) / len(self.teachers)
            if self.beta:
                own = batch.index >= 0
                part = self.clt[k](features[own], teacher_features[own], batch.index[own])
                clt = clt + part / len(self.teachers)
        loss = self.gamma * bce + self.alpha * mkd + self.beta * clt
        return {"loss": loss, "bce": bce.detach(), "mkd": mkd.detach(), "clt": clt.detach()}

    def _taught(self, signal: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each teacher's features (B, Ft) and logits (B, C); none is run where nothing is asked of it."""
        if not (self.alpha or self.beta):
            return
        for teacher in self.teachers:
            with torch.no_grad():
                features = teacher.features(signal)
                logits = teacher.head(features)
            yield features, logits

    def predict(self, signal: Tensor, *, window: int | None = None, stride: int | None = None) -> Tensor:
        """The student's logits (B, C) of (B, L, T) mV in eval mode, see `View.predict`."""
        return self.student.predict(signal, window=window, stride=stride)

    def inference_module(self) -> View:
        """The student, whose weights are the product; it needs neither teacher nor banks."""
        return self.student

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than one of equal shapes: asked before a checkpoint is resumed."""
        return {
            "student": self.student.card(),
            "teachers": [[t.card(), t.digest()] for t in self.teachers],
            "weights": [self.alpha, self.beta, self.gamma],
            "losses": [repr(self.mkd), *(repr(clt) for clt in self.clt)],
            "augment": repr(self.augment),
        }


def load_teachers(
    folders: Sequence[str | Path], leads: Sequence[str], *, classes: Sequence[str], rate: float, have: Sequence[str]
) -> list[View]:
    """The teachers saved in `folders` (a run's ``model/teacher``), for batches of the leads `have`; [] for no folder.

    leads: of each teacher, "I II V1". What records they were trained on is not among what a checkpoint tells.

    Raises:
        InputError: for another number of folders than of `leads`, and for what `View.load` refuses: no checkpoint
            there, other classes, other leads or another rate.
    """
    if not folders:
        return []
    if len(folders) != len(leads):
        raise InputError(
            f"teachers_from names {len(folders)} saved teachers and teacher_leads {len(leads)}; give one folder for "
            "each entry of teacher_leads."
        )
    expected = {"expect_classes": classes, "expect_rate": rate}
    return [
        View.load(Path(folder) / "model", have=have, expect_leads=each.split(), **expected)
        for folder, each in zip(folders, leads, strict=True)
    ]


def contrast_column(rule: Rule, name: str, classes: Sequence[str]) -> int | None:
    """The column of the label that CLT's rule "released" looks at: the place of the class `name`; None for the others.

    Raises:
        InputError: the rule is "released" and there is no such class.
    """
    if rule != "released":
        return None
    if name not in classes:
        raise InputError(f"clt_class is {name!r}, which is no class of the task.{nearest(name, classes)}")
    return list(classes).index(name)


def known_bce(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the entries of (B, C) whose label is not NaN; 0 if there is none."""
    known = ~label.isnan()
    each = F.binary_cross_entropy_with_logits(logits.float(), label.nan_to_num().float(), reduction="none")
    return torch.where(known, each, 0.0).sum() / denominator(known.sum())


def _augmented(method: nn.Module, signal: Tensor) -> Tensor:
    return method.augment(signal) if method.training and method.augment is not None else signal


def _check(student: View, teachers: Sequence[View], labels: Any, *, alpha: float, beta: float, gamma: float) -> None:
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not value >= 0:
            raise InputError(f"`{name}` is {value!r}, but a loss's weight must be at least 0.")
    if not teachers:
        raise InputError("Distillation needs a teacher; give one, or train with Supervised.")
    if not (alpha or beta or gamma):
        raise InputError("alpha, beta and gamma are all 0, so there is nothing to train on; give one of them a weight.")
    for what in ("classes", "rate", "have"):
        for teacher in teachers:
            ours, theirs = getattr(student, what), getattr(teacher, what)
            if ours != theirs:
                raise InputError(f"The student's {what} are {ours} and the teacher's {theirs}; they must be the same.")
    if beta and labels is None:
        raise InputError("CLT needs the labels of the training records to choose negatives; give `labels` or beta = 0.")
