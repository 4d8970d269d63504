"""Bootstrap over patients: how far a metric would move had other patients been recorded.

Patients are drawn with replacement and bring all their records (Efron and Tibshirani 1993, ch. 8): a record is counted
as often as its patient was drawn, so a draw is a weighting of the records and no record is copied. Every metric of a
draw is exact, ties included. The same object measures all models, seeds and metrics of one split, so two models are
compared on the same draws: a paired difference.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecglib import metrics
from ecglib.errors import InputError

if TYPE_CHECKING:
    from scipy import sparse

CACHE_BYTES = 4 << 20  # of float64 weights per block of draws: about a core's second-level cache
COUNTED_BYTES = 1 << 20  # of whole-numbered weights per block: they are read row by row, again and again


class Bootstrap:
    """`draws` samplings of the patients of one split.

    y (N, C) in {0, 1}; patients (N,) any hashable ids, or None when every record is its own patient. The draws are a
    pure function of the number of patients, their order of first appearance, `draws` and `seed`.
    """

    def __init__(self, y, patients=None, *, draws: int = 1000, seed: int = 0) -> None:
        self.y = metrics.checked("auc", y, np.zeros(np.shape(y)))[0]  # (N, C) bool
        records = len(self.y)
        self.owner = np.arange(records) if patients is None else _first_seen(patients)  # (N,) row of each patient
        if len(self.owner) != records:
            raise InputError(f"There are {len(self.owner)} patient ids for {records} records; give one per record.")
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}.")
        self.patients = int(self.owner.max()) + 1
        self.counts = _draw(self.patients, draws, np.random.default_rng(seed))  # (patients, D) uint16

    def __len__(self) -> int:
        return self.counts.shape[1]

    @property
    def weights(self) -> np.ndarray:
        """How often each draw counts each record, (D, N). Made on demand: 22,000 records x 1,000 draws are 44 MB."""
        return self.counts[self.owner].T

    def measure(self, name: str, p, *, thresholds=None) -> np.ndarray:
        """The metric `name` of predictions p (N, C) in every draw: (D, C), NaN where a draw leaves it undefined."""
        p = np.asarray(p)
        y, p = metrics.checked(name, self.y, p[:, None] if p.ndim == 1 else p)  # (N,) -> (N, 1)
        if name == "auc":
            return self._auc(y, p)
        values = metrics.prepare(name, y, p, self.patients, thresholds=thresholds, owner=self.owner)
        return np.concatenate([values(weights) for weights in self._blocks()])  # (D, C)

    def auc(self, p) -> np.ndarray:
        return self.measure("auc", p)

    def average_precision(self, p) -> np.ndarray:
        return self.measure("average_precision", p)

    def f1(self, p, thresholds) -> np.ndarray:
        return self.measure("f1", p, thresholds=thresholds)

    def _auc(self, y: np.ndarray, p: np.ndarray) -> np.ndarray:
        """`metrics.auc` of every draw (D, C), to the last bit, in whole numbers: a quarter of the time."""
        drawn = int((np.bincount(self.owner, minlength=self.patients) @ self.counts.astype(np.float32)).max())
        kind = np.int32 if drawn**2 // 2 < 2**31 else np.int64  # twice the pairs that a draw of so many can make
        rankings = [metrics.Ranking.of(y[:, c], p[:, c], self.owner) for c in range(y.shape[1])]
        steps = [_Steps.of(ranking, self.patients, kind) for ranking in rankings]
        width = max(64, COUNTED_BYTES // (np.dtype(kind).itemsize * self.patients))
        out = np.empty((len(self), len(steps)))
        for start in range(0, len(self), width):
            weights = self.counts[:, start : start + width].astype(kind)  # (patients, d)
            for c, step in enumerate(steps):
                out[start : start + width, c] = step.auc(weights)
        return out

    def _blocks(self) -> Iterator[np.ndarray]:
        """The counts as float64 (patients, d), a block of draws at a time so that memory stays bounded.

        Sums of whole numbers below 2**53 are exact in float64, and their order does not matter.
        """
        width = max(16, CACHE_BYTES // (8 * len(self.owner)))
        for start in range(0, len(self), width):
            yield self.counts[:, start : start + width].astype(np.float64)


@dataclass(frozen=True)
class _Steps:
    """The steps of one class's ROC curve, K of them, as sums over patients: what `metrics.Ranking` says, merged.

    Positives with no negative between them make one step, for in no draw can a negative come between them.
    high (K, patients): how many of a patient's positives are in a step. low (K + 1, patients): the negatives between a
    step and the one before, and those above the last; (2 K + 1, patients) where scores are tied, each step's own
    negatives then coming after those below it.
    """

    high: sparse.csr_array
    low: sparse.csr_array

    @classmethod
    def of(cls, ranking: metrics.Ranking, patients: int, kind: type) -> _Steps:
        places = np.stack([ranking.below, ranking.upto])  # (2, P), neither falls
        first = np.flatnonzero(np.append(True, (np.diff(places) > 0).any(axis=0)))[: places.shape[1]]  # (K,)
        below, upto = places[:, first]
        edges = below if np.array_equal(below, upto) else np.stack([below, upto], axis=1).ravel()  # (K,) or (2 K,)
        whole = len(ranking.negatives)
        return cls(
            _sums(ranking.positives, np.concatenate([first, [places.shape[1]]]), patients, kind),
            _sums(ranking.negatives, np.concatenate([[0], edges, [whole]]), patients, kind),
        )

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """The AUC (d,) under whole-numbered weights (patients, d); NaN where a draw has one kind of record only."""
        high, low = self.high @ weights, self.low @ weights  # (K, d), (K + 1 or 2 K + 1, d)
        beaten = np.cumsum(low, axis=0, out=low)
        tied = len(low) > len(high) + 1
        won = np.einsum("kd,kd->d", high, beaten[:-1:2] if tied else beaten[:-1])
        twice = won + np.einsum("kd,kd->d", high, beaten[1::2]) if tied else 2 * won  # a tie is half a win
        pairs = high.sum(axis=0, dtype=np.float64) * beaten[-1]
        return np.divide(twice / 2, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _sums(rows: np.ndarray, edges: np.ndarray, patients: int, kind: type) -> sparse.csr_array:
    """The matrix that adds up the weights of `rows` between one edge and the next: (len(edges) - 1, patients)."""
    from scipy import sparse

    return sparse.csr_array((np.ones(len(rows), kind), rows, edges), shape=(len(edges) - 1, patients))


def _first_seen(patients) -> np.ndarray:
    """Patients numbered 0, 1, ... in the order in which they first appear: (N,)."""
    numbers: dict = {}
    return np.array([numbers.setdefault(patient, len(numbers)) for patient in np.asarray(patients).tolist()], np.int64)


def _draw(patients: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn when as many are drawn as there are: (patients, D) uint16."""
    counts = np.empty((patients, draws), np.uint16)
    together = max(1, (1 << 18) // patients)  # draws that are counted in one go
    for start in range(0, draws, together):
        d = min(together, draws - start)
        drawn = rng.integers(patients, size=(d, patients)) + patients * np.arange(d)[:, None]  # each draw its own bins
        counts[:, start : start + d] = np.bincount(drawn.ravel(), minlength=d * patients).reshape(d, patients).T
    return counts


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the first axis of draws (D, ...), undefined draws left out; NaN where all are."""
    tail = 50 * (1 - level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "all-NaN slice" is the NaN that is wanted
        low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return low, high


def p_value(differences: np.ndarray) -> float:
    """Two-sided bootstrap p of a paired difference (D,): twice the smaller share of draws on one side of zero.

    One draw is added to each side (Davison and Hinkley 1997, 4.2), so it is never 0; NaN when no draw is defined.
    """
    defined = differences[np.isfinite(differences)]
    if not len(defined):
        return float("nan")
    sides = np.array([(defined <= 0).sum(), (defined >= 0).sum()]) + 1
    return float(min(1.0, 2 * sides.min() / (len(defined) + 1)))
