"""Classes without training: a record belongs to a class as far as it lies nearer to its members than to the others.

A nearest class mean on frozen vectors, after the prototypes of Snell, Swersky and Zemel 2017 (arXiv 1703.05175), with a
prototype of the positives and one of the negatives for each label, since records carry several. Nothing is fitted, so
it says what the space itself separates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecglib.errors import InputError


@dataclass(frozen=True, eq=False)
class Prototypes:
    """`vectors` (C, 2, F), unit length: of the positives, then of the negatives of each class.

    mean, spread (F,): of the training vectors, by which others are standardised too.
    """

    vectors: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def prototypes(vectors, labels, classes: Sequence[str] = ()) -> Prototypes:
    """The mean direction of each class's positives and of its negatives, in standardised space.

    vectors (N, F), labels (N, C) in {0, 1}; classes name the columns, for messages. Raises `InputError` for shapes that
    do not agree, values that are not finite, and a class without a positive or without a negative.
    """
    vectors, labels = _finite(vectors), np.asarray(labels)
    if labels.ndim != 2 or len(labels) != len(vectors) or not len(vectors):
        raise InputError(f"Labels have shape {labels.shape} for {len(vectors)} vectors; give (records, classes).")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("Labels must be 0 or 1; leave unlabelled records (NaN) out.")
    if len(classes) not in (0, labels.shape[1]):
        raise InputError(f"There are {len(classes)} class names for {labels.shape[1]} columns of labels.")
    for c, positives in enumerate(labels.sum(axis=0)):
        if positives in (0, len(labels)):
            name = repr(classes[c]) if len(classes) else f"{c}"
            what = "positive" if positives == 0 else "negative"
            raise InputError(f"Class {name} has no {what} record to make a prototype of; leave it out or add records.")
    spread = vectors.std(axis=0)
    spread = np.where(spread > 1e-9 * np.abs(vectors).max(axis=0), spread, 1.0)  # a feature that never moves
    mean = vectors.mean(axis=0)
    units = _units((vectors - mean) / spread)  # (N, F)
    members = np.stack([labels, 1 - labels], axis=2).astype(np.float64)  # (N, C) -> (N, C, 2)
    sums = np.einsum("nck,nf->ckf", members, units, optimize=True)  # (C, 2, F); a sum has its mean's direction
    return Prototypes(_units(sums), mean, spread)


def scores(vectors, of: Prototypes) -> np.ndarray:
    """(N, F) to (N, C): cosine to the positive prototype less cosine to the negative one, from -2 to 2, no probability.

    Raises `InputError` for vectors of another length or that are not finite.
    """
    vectors = _finite(vectors)
    if vectors.shape[1] != len(of.mean):
        raise InputError(f"Vectors have {vectors.shape[1]} features, the prototypes {len(of.mean)}; use one encoder.")
    units = _units((vectors - of.mean) / of.spread)  # (N, F)
    return units @ (of.vectors[:, 0] - of.vectors[:, 1]).T  # (N, F), (F, C) -> (N, C)


def _finite(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(f"Vectors of shape {vectors.shape} must be (records, features) and finite.")
    return vectors


def _units(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., F) at length 1; one of length 0 stays so, and has a cosine of 0 to all others."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
