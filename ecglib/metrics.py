"""Multi-label metrics, one value per class, for one weighting of the records or for a thousand at once.

Conventions
- ``y`` (N, C) holds 0 and 1, ``p`` (N, C) scores or probabilities; a single class may also come as (N,).
- ``weights`` is None (every record counts once) or (D, N), D weightings of the N records. Every metric then returns
  (D, C) instead of (C,), each row equal to scikit-learn's value with that ``sample_weight``.
- A class without a positive record has no AUC, average precision, F1, precision or recall, and one without a negative
  has no AUC: NaN, never a crash and never 0. `macro` is the mean over the classes that have a value.
- A record is called positive when p >= threshold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecglib.errors import InputError, nearest

METRICS = ("auc", "average_precision", "f1", "precision", "recall", "brier", "ece")
"""Every metric a report may hold, in the order in which reports list them."""
THRESHOLDED = frozenset({"f1", "precision", "recall"})
LOWER_IS_BETTER = frozenset({"brier", "ece", "age_mae"})
BINS = 15  # equal-width bins of the expected calibration error, as in Guo et al. 2017, arXiv 1706.04599


# ---- one class, ranked ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """One class's records in the order of their scores: sorted once, then measured under any number of weightings.

    positives (P,), negatives (M,): rows of the weights, by ascending score; below and upto (P,): how many negatives
    score less than, and no more than, each positive; peers (P,): the first positive with the same score. Weights here
    lie (rows, D) in memory, so that all D weightings move through each step together.
    """

    positives: np.ndarray
    negatives: np.ndarray
    below: np.ndarray
    upto: np.ndarray
    peers: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, p: np.ndarray, owner: np.ndarray | None = None) -> Ranking:
        """From y (N,) bool and p (N,). With `owner` (N,), row owner[i] of the weights (a patient's) counts record i."""
        rows = np.arange(len(y)) if owner is None else owner
        positive, negative = np.flatnonzero(y), np.flatnonzero(~y)
        positive = positive[np.argsort(p[positive], kind="stable")]
        negative = negative[np.argsort(p[negative], kind="stable")]
        high, low = p[positive], p[negative]
        return cls(
            positives=rows[positive],
            negatives=rows[negative],
            below=np.searchsorted(low, high, side="left"),
            upto=np.searchsorted(low, high, side="right"),
            peers=np.searchsorted(high, high, side="left"),
        )

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve (D,): P(positive above negative) + P(tie) / 2 (Mann and Whitney 1947)."""
        positive = weights[self.positives]  # (P, D)
        beaten = _from_zero(weights[self.negatives])  # (M + 1, D): weight of the k lowest negatives
        pairs = positive.sum(axis=0) * beaten[-1]  # (D,)
        won = np.einsum("pd,pd->d", positive, beaten[self.below])
        if not np.array_equal(self.below, self.upto):  # some positive ties with a negative
            won = (won + np.einsum("pd,pd->d", positive, beaten[self.upto])) / 2
        return _ratio(won, pairs)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precision (D,): over the distinct thresholds, the step in recall times the precision there."""
        positive = weights[self.positives]  # (P, D)
        hits = _from_zero(positive)  # (P + 1, D)
        beaten = _from_zero(weights[self.negatives])  # (M + 1, D)
        found = hits[-1] - hits[self.peers]  # (P, D): positives that score at least as high, ties included
        called = found + (beaten[-1] - beaten[self.below])  # (P, D): records that do
        # Where nothing is called the positive itself has weight 0 and takes no step in recall: the value is not used.
        precision = np.divide(found, called, out=found, where=called > 0)
        return _ratio(np.einsum("pd,pd->d", positive, precision), hits[-1])


def _from_zero(weights: np.ndarray) -> np.ndarray:
    """Cumulative sums (K + 1, D) of weights (K, D), a row of zeros first."""
    out = np.empty((len(weights) + 1, weights.shape[1]), weights.dtype)
    out[0] = 0
    np.cumsum(weights, axis=0, out=out[1:])
    return out


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)


# ---- all classes ----------------------------------------------------------------------------------------------------


def measure(name: str, y, p, weights=None, *, thresholds=None) -> np.ndarray:
    """The metric called `name`: (C,), or (D, C) for weights (D, N). `InputError` for an unknown name or unusable input.

    `thresholds` (C,) belong to f1, precision and recall and come from the validation part (`best_thresholds`).
    """
    y, p = checked(name, y, p)
    rows = np.ones((1, len(y))) if weights is None else np.asarray(weights, np.float64)
    rows = np.ascontiguousarray(rows.T)  # (D, N) -> (N, D)
    if len(rows) != len(y):
        raise InputError(f"Weights cover {len(rows)} records, the labels {len(y)}; weights must be (draws, records).")
    values = prepare(name, y, p, len(y), thresholds=thresholds)(rows)  # (D, C)
    return values[0] if weights is None else values


def auc(y, p, weights=None) -> np.ndarray:
    """Area under the ROC curve, ties counted one half: (C,) or (D, C)."""
    return measure("auc", y, p, weights)


def average_precision(y, p, weights=None) -> np.ndarray:
    """Area under the stepwise precision-recall curve, scikit-learn's definition: (C,) or (D, C)."""
    return measure("average_precision", y, p, weights)


def f1(y, p, thresholds, weights=None) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) at thresholds (C,): (C,) or (D, C)."""
    return measure("f1", y, p, weights, thresholds=thresholds)


def precision(y, p, thresholds, weights=None) -> np.ndarray:
    """TP / (TP + FP), and 0 where the class has positives and none is called: (C,) or (D, C)."""
    return measure("precision", y, p, weights, thresholds=thresholds)


def recall(y, p, thresholds, weights=None) -> np.ndarray:
    """TP / (TP + FN), the sensitivity: (C,) or (D, C)."""
    return measure("recall", y, p, weights, thresholds=thresholds)


def brier(y, p, weights=None) -> np.ndarray:
    """Mean squared difference of probability and label, per class: (C,) or (D, C)."""
    return measure("brier", y, p, weights)


def ece(y, p, weights=None) -> np.ndarray:
    """Expected calibration error per class: mean |observed share - mean probability| over 15 bins: (C,) or (D, C)."""
    return measure("ece", y, p, weights)


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, the classes, of those that are defined; NaN where none is: (..., C) -> (...)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "mean of empty slice" is the NaN that is wanted
        return np.nanmean(values, axis=-1)


def checked(name: str, y, p) -> tuple[np.ndarray, np.ndarray]:
    """`y` as bool (N, C) and `p` as float64 (N, C), or an `InputError` that says why `name` cannot be had from them."""
    if name not in METRICS:
        raise InputError(f"There is no metric {name!r}.{nearest(name, METRICS)}")
    y, p = np.asarray(y), np.asarray(p)
    if y.ndim == 1 and p.ndim == 1:
        y, p = y[:, None], p[:, None]  # (N,) -> (N, 1)
    if y.shape != p.shape or y.ndim != 2:
        raise InputError(f"Labels have shape {y.shape} and predictions {p.shape}; both must be (records, classes).")
    if len(y) == 0:
        raise InputError("There is no record to evaluate; check the folds and the task of this split.")
    if not np.isin(y, (0, 1)).all():
        raise InputError("Labels must be 0 or 1; leave unlabelled records (NaN) out before evaluating.")
    if not np.isfinite(p).all():
        bad = int((~np.isfinite(p)).any(axis=1).sum())
        raise InputError(f"Predictions of {bad} of {len(p)} records are not finite; the model that made them diverged.")
    if name in LOWER_IS_BETTER and (p.min() < 0 or p.max() > 1):
        raise InputError(f"{name} needs probabilities, not {p.min():.3g} to {p.max():.3g}; apply a sigmoid first.")
    # One memory layout, so that predictions read back from a file give the same sums to the last bit.
    return np.ascontiguousarray(y, dtype=bool), np.ascontiguousarray(p, dtype=np.float64)


def prepare(name: str, y, p, rows: int, *, thresholds=None, owner=None) -> Callable[[np.ndarray], np.ndarray]:
    """What `name` needs of checked y and p, worked out once: a function from weights (rows, D) to values (D, C).

    `owner` (N,) names the row of the weights that counts each record, so that a patient's records share one row.
    """
    if name in ("auc", "average_precision"):
        rankings = [Ranking.of(y[:, c], p[:, c], owner) for c in range(y.shape[1])]
        return lambda w: np.stack([getattr(ranking, name)(w) for ranking in rankings], axis=1)  # C x (D,) -> (D, C)
    if name == "brier":
        return _mean((p - y) ** 2, rows, owner)
    if name == "ece":
        gaps = [_mean(_bin_members(p[:, c]) * (y - p)[:, c, None], rows, owner) for c in range(y.shape[1])]
        return lambda w: np.stack([np.abs(gap(w)).sum(axis=1) for gap in gaps], axis=1)  # C x (D, bins) -> (D, C)
    called = p >= _thresholds(thresholds, y.shape[1])  # (N, C)
    parts = _total(np.concatenate([called & y, called, y], axis=1), rows, owner)

    def thresholded(w: np.ndarray) -> np.ndarray:
        hits, calls, cases = np.split(parts(w), 3, axis=1)  # (D, 3 C) -> 3 x (D, C)
        top, bottom = {"f1": (2 * hits, calls + cases), "precision": (hits, calls), "recall": (hits, cases)}[name]
        # A class with cases of which none is called has a precision of 0 / 0: it counts as 0, as in scikit-learn.
        return np.where(cases > 0, top / np.where(bottom > 0, bottom, 1), np.nan)

    return thresholded


def _total(x: np.ndarray, rows: int, owner: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """Weighted sums of x (N, K) over the records, as a function from weights (rows, D) to (D, K)."""
    summed = x.astype(np.float64)
    if owner is not None:  # a patient's records always count together, so they are added up once
        order = np.argsort(owner, kind="stable")
        summed = np.add.reduceat(summed[order], np.searchsorted(owner[order], np.arange(rows)))  # (N, K) -> (rows, K)
    return lambda w: w.T @ summed


def _mean(x: np.ndarray, rows: int, owner: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """Weighted means of x (N, K) over the records, as a function from weights (rows, D) to (D, K)."""
    total = _total(np.concatenate([x, np.ones((len(x), 1))], axis=1), rows, owner)

    def mean(w: np.ndarray) -> np.ndarray:
        sums = total(w)  # (D, K + 1)
        return _ratio(sums[:, :-1], sums[:, -1:])

    return mean


def _thresholds(thresholds, classes: int) -> np.ndarray:
    if thresholds is None or np.shape(thresholds) != (classes,):
        got = "none" if thresholds is None else f"shape {np.shape(thresholds)}"
        raise InputError(f"f1, precision and recall need one threshold per class ({classes}), got {got}.")
    return np.asarray(thresholds, np.float64)


# ---- thresholds and calibration -------------------------------------------------------------------------------------


def best_thresholds(y, p) -> np.ndarray:
    """Per class the score at which F1 is best on this, the validation, part: (C,).

    Candidates are the scores that occur; of equally good ones the highest is taken, the one with the fewest alarms.
    A class without a positive here has nothing to choose by and gets 0.5.
    """
    y, p = checked("f1", y, p)
    return np.array([_best_threshold(y[:, c], p[:, c]) for c in range(y.shape[1])])


def _best_threshold(y: np.ndarray, p: np.ndarray) -> float:
    if not y.any():
        return 0.5
    order = np.argsort(-p, kind="stable")
    scores, hits = p[order], np.cumsum(y[order])  # (N,), (N,): what is found when the first k + 1 are called
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    value = 2 * hits / (np.arange(1, len(y) + 1) + y.sum())
    return float(scores[last_of_tie][np.argmax(value[last_of_tie])])  # argmax takes the first, the highest score


def _bin_of(p: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Equal-width bin 0 .. bins-1 of each probability; 1.0 belongs to the last."""
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def _bin_members(p: np.ndarray, bins: int = BINS) -> np.ndarray:
    return _bin_of(p, bins)[:, None] == np.arange(bins)  # (N,) -> (N, bins)


def reliability(y, p, classes, *, bins: int = BINS) -> pd.DataFrame:
    """One row per class and occupied bin: class, low, high, count, predicted (mean probability), observed (share)."""
    y, p = checked("ece", y, p)
    tables = []
    for c, name in enumerate(classes):
        inside = _bin_members(p[:, c], bins)  # (N, bins)
        count = inside.sum(axis=0)
        used = np.flatnonzero(count)
        tables.append(
            pd.DataFrame(
                {
                    "class": name,
                    "low": used / bins,
                    "high": (used + 1) / bins,
                    "count": count[used],
                    "predicted": (inside.T @ p[:, c])[used] / count[used],
                    "observed": (inside.T @ y[:, c].astype(float))[used] / count[used],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


# ---- curves ---------------------------------------------------------------------------------------------------------


def roc_at(y: np.ndarray, p: np.ndarray, grid: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """One class's sensitivity at the false positive rates `grid` (G,), linear between thresholds: (D, G).

    y (N,), p (N,), weights (D, N) or None for D = 1; NaN in draws without a positive or without a negative.
    """
    hits, alarms = _along_thresholds(y, p, weights)  # (D, K + 1) each
    out = np.full((len(hits), len(grid)), np.nan)
    for d in np.flatnonzero((hits[:, -1] > 0) & (alarms[:, -1] > 0)):
        out[d] = np.interp(grid, alarms[d] / alarms[d, -1], hits[d] / hits[d, -1])
    return out


def precision_at(y: np.ndarray, p: np.ndarray, grid: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """One class's precision at the first threshold that reaches each recall of `grid` (G,) > 0: (D, G).

    No interpolation between thresholds, which would flatter (Davis and Goadrich 2006). NaN in draws without a positive.
    """
    hits, alarms = _along_thresholds(y, p, weights)
    out = np.full((len(hits), len(grid)), np.nan)
    for d in np.flatnonzero(hits[:, -1] > 0):
        at = np.searchsorted(hits[d], np.maximum(grid * hits[d, -1] - 1e-9, 1e-9))
        out[d] = hits[d, at] / (hits[d, at] + alarms[d, at])
    return out


def _along_thresholds(y, p, weights) -> tuple[np.ndarray, np.ndarray]:
    """Weight of true and of false alarms (D, K + 1) as the threshold falls past each of the K distinct scores."""
    y, p = checked("auc", y, p)
    y, p = y[:, 0], p[:, 0]
    weights = np.ones((1, len(y))) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-p, kind="stable")
    last_of_tie = np.append(p[order][1:] != p[order][:-1], True)
    zero = np.zeros((len(weights), 1))
    curves = (np.cumsum(weights[:, order] * wanted[order], axis=1)[:, last_of_tie] for wanted in (y, ~y))  # (D, K)
    hits, alarms = (np.concatenate([zero, curve], axis=1) for curve in curves)
    return hits, alarms
