"""Probes: what a frozen encoder's vectors say to the simplest classifier; the same for every encoder.

Vectors are computed once per encoder and cohort (`vectors`); every probe, task and share of labels reuses them. The
linear probe is a logistic regression per class (scikit-learn) on standardised vectors, whose strength of regularisation
is chosen on the validation part by macro AUC, one strength for all classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecglib.errors import InputError
from ecglib.metrics import auc, macro
from ecglib.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from ecglib.cohort import Cohort
    from ecglib.methods.encoder import Encoder
    from ecglib.methods.view import View

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""scikit-learn's C, from strong to weak."""


def vectors(
    encoder: Encoder, cohort: Cohort, *, device: str | torch.device = "cpu", batch_size: int = 256
) -> np.ndarray:
    """(N, F) float32, the encoder's vector of every record, in the cohort's order."""
    # Streamed, not resident: the records are passed once.
    batches = cohort.batches(batch_size, leads=encoder.have, device=device, resident=False)
    found = np.empty((len(cohort), encoder.feature_dim), np.float32)
    for k, batch in enumerate(batches):
        found[k * batch_size : (k + 1) * batch_size] = encoder.embed(batch.signal).float().cpu().numpy()
    return found


def tokens(
    encoder: Encoder, cohort: Cohort, *, device: str | torch.device = "cpu", batch_size: int = 256
) -> torch.Tensor:
    """(N, tokens of a record, D) float16 on the device, for `AttentionProbe`."""
    import torch

    batches = cohort.batches(batch_size, leads=encoder.have, device=device)
    return torch.cat([encoder.embed_tokens(batch.signal).half() for batch in batches])


def demographics(records: pd.DataFrame) -> np.ndarray:
    """(N, 5) float32: age in decades about 60 (0 where unknown), age unknown, female, male, sex unknown.

    PTB-XL writes 300 for everyone above 89; they count as 90.
    """
    age = records["age"].to_numpy(float, na_value=np.nan)
    age = np.where(age > 89, 90.0, age)
    sex = records["sex"].astype("string").str.lower()
    female, male = (sex == name for name in ("female", "male"))
    columns = [np.nan_to_num((age - 60) / 10), np.isnan(age), female.fillna(False), male.fillna(False)]
    told = [np.asarray(column, np.float32) for column in columns]
    return np.stack([*told, 1 - told[2] - told[3]], axis=1)


class LinearProbe:
    """A logistic regression per class on standardised vectors.

    Attributes:
        strength: the C that validation chose.
    """

    def __init__(self, strengths: Sequence[float] = STRENGTHS) -> None:
        if not strengths or min(strengths) <= 0:
            raise InputError(f"A linear probe needs strengths above 0 to choose from, not {list(strengths)}.")
        self.strengths = tuple(strengths)

    def fit(self, x: np.ndarray, y: np.ndarray, valid_x: np.ndarray, valid_y: np.ndarray) -> LinearProbe:
        """Learn from vectors (N, F) and labels (N, C); choose the strength on validation.

        Raises:
            InputError: a class of which all training records are, or none; no class that validation can judge.
        """
        share = y.mean(axis=0)
        if bool(((share == 0) | (share == 1)).any()):
            raise InputError("A probe needs records with and without each class to learn from; give more labels.")
        self.mean, self.std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        x, valid_x = self._scaled(x), self._scaled(valid_x)
        best = -np.inf
        for strength in self.strengths:
            weights = [_logistic(x, y[:, c], strength) for c in range(y.shape[1])]
            value = float(macro(auc(valid_y, np.stack([valid_x @ w + b for w, b in weights], axis=1))))
            if value > best:
                best, self.strength, self._weights = value, strength, weights
        if best == -np.inf:
            raise InputError("No class has both a positive and a negative in the validation data: choose other folds.")
        return self

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Vectors (N, F) to logits (N, C)."""
        x = self._scaled(x)
        return np.stack([x @ w + b for w, b in self._weights], axis=1)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Vectors (N, F) to probabilities (N, C)."""
        from scipy.special import expit

        return expit(self.logits(x))

    def into(self, view: View) -> View:
        """Make the view's head say what this probe says of the view's pooled vector; the view, changed.

        Fine-tuning that begins there keeps what pre-training made, where a random head first pulls it apart (Kumar et
        al. 2022, "Fine-tuning can distort pretrained features").
        """
        import torch

        weight = np.stack([w for w, _ in self._weights]) / self.std  # (C, F)
        bias = np.array([b for _, b in self._weights]) - weight @ self.mean  # (C,)
        with torch.no_grad():
            view.backbone.head.weight.copy_(torch.from_numpy(weight))
            view.backbone.head.bias.copy_(torch.from_numpy(bias))
        return view

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.std


def _logistic(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe stopped early is still a probe, the same for all
        fitted = LogisticRegression(C=strength, max_iter=500).fit(x, y)
    return fitted.coef_[0], float(fitted.intercept_[0])


def said(p: np.ndarray, part: Cohort, *, model: str, seed: int, split: str, task: str) -> Predictions:
    """Probabilities (N, C) of a part's records, in its order, as `evaluation` takes them."""
    record, patient, fold = (part.column(name).to_numpy() for name in ("record", "patient", "fold"))
    return Predictions(
        model=model, seed=seed, split=split, record=record, patient=patient, fold=fold,
        y=part.labels(task).astype(np.uint8), p=p.astype(np.float64), classes=part.classes(task),
    )  # fmt: skip


def fitted(
    x: Mapping[str, np.ndarray], parts: Mapping[str, Cohort], *, task: str, train: Cohort | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearProbe:  # fmt: skip
    """A linear probe from vectors {"train", "valid"} of `parts`.

    train: a part of `parts["train"]` to learn from instead, such as a share of its labels; its vectors are found among
    those of the whole.

    Raises:
        InputError: records of `train` that are not of the training part, or as `LinearProbe.fit`.
    """
    train = parts["train"] if train is None else train
    rows = np.searchsorted(parts["train"].rows, train.rows)  # a part of a cohort keeps its rows in order
    if not np.array_equal(parts["train"].rows[rows % len(parts["train"])], train.rows):
        raise InputError("The records to learn from are not among the training part's.")
    return LinearProbe(strengths).fit(
        x["train"][rows], train.labels(task), x["valid"], parts["valid"].labels(task)
    )  # fmt: skip


def linear(
    x: Mapping[str, np.ndarray], parts: Mapping[str, Cohort], *, model: str, seed: int, task: str,
    train: Cohort | None = None, strengths: Sequence[float] = STRENGTHS,
) -> list[Predictions]:  # fmt: skip
    """What a linear probe (see `fitted`) says of the validation and the test part."""
    probe = fitted(x, parts, task=task, train=train, strengths=strengths)
    return [
        said(probe.probabilities(x[name]), parts[name], model=model, seed=seed, split=name, task=task)
        for name in x if name != "train"
    ]  # fmt: skip
