"""Age from vectors: ridge regression, and its error with 95 % intervals over patients.

Rows are those of metrics.json, of class "age": "age_mae", the mean absolute error in years, and "age_r2", the share of
the variance explained. The rules of seeds, intervals and paired differences are those of ecglib.evaluation.

Ages that are missing are left out, and so are those above `OLDEST`: PTB-XL gives no exact age above 89 (its files say
300, its cohorts 90, "90 or more"), so there an error cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecglib.bootstrap import Bootstrap
from ecglib.errors import InputError, nearest
from ecglib.evaluation import Scores, model_rows, paired_rows

OLDEST = 89.0  # years
ALPHAS = tuple(10.0**k for k in range(-2, 8))
OF = "age"
BLOCK = 100  # draws at a time


@dataclass(frozen=True, eq=False)
class Ages:
    """Which ages can be used: `kept` (N,) bool, and how many cannot because they are missing or above `oldest`."""

    kept: np.ndarray
    missing: int
    above: int
    oldest: float

    @classmethod
    def of(cls, ages, *, oldest: float = OLDEST) -> Ages:
        """ages (N,) in years, NaN where unknown. Raises `InputError` for negative ages."""
        ages = np.asarray(ages, np.float64)
        if ages.ndim != 1:
            raise InputError(f"Ages have shape {ages.shape}; give one for each record.")
        if (ages < 0).any():
            raise InputError(f"An age is {ages[ages < 0][0]:g} years; mark what is unknown by NaN.")
        missing, above = ~np.isfinite(ages), np.isfinite(ages) & (ages > oldest)
        return cls(~missing & ~above, int(missing.sum()), int(above.sum()), oldest)

    @property
    def note(self) -> str:
        """A sentence for the report."""
        return (
            f"Age is measured on {self.kept.sum():,} of {len(self.kept):,} records: {self.missing:,} have none, and "
            f"{self.above:,} are above {self.oldest:g} years, where it is not told exactly."
        )


# ---- models ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted regression: `predict` standardises by the training vectors' mean and spread (F,), then weighs them."""

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    intercept: float
    alpha: float
    valid_mae: Mapping[float, float]
    """The validation error in years for each alpha that was tried."""

    def predict(self, vectors) -> np.ndarray:
        """Vectors (N, F) to years (N,)."""
        vectors = _vectors(vectors, len(self.mean))
        return (vectors - self.mean) / self.spread @ self.weights + self.intercept


def ridge(train_x, train_y, valid_x, valid_y, *, alphas: Sequence[float] = ALPHAS, oldest: float = OLDEST) -> Ridge:
    """Ridge regression (Hoerl and Kennard 1970) of age on standardised vectors, alpha chosen on validation.

    train_x, valid_x (N, F); train_y, valid_y (N,) years, records without a usable age (see `Ages`) left out. alpha
    weighs the squared weights against the sum of squared errors; the one with the smallest mean absolute validation
    error is kept, the largest of equals. One eigendecomposition of F x F serves all alphas. Raises `InputError` for
    shapes that do not agree, vectors that are not finite, no alpha, or a part without usable ages.
    """
    alphas = [float(alpha) for alpha in alphas]
    if not alphas or not all(alpha > 0 and np.isfinite(alpha) for alpha in alphas):
        raise InputError(f"alphas must be positive numbers, at least one, got {alphas}.")
    x, y = _known(train_x, train_y, "training", oldest)
    valid_x, valid_y = _known(valid_x, valid_y, "validation", oldest, features=x.shape[1])
    mean, spread, middle = x.mean(axis=0), x.std(axis=0), y.mean()
    spread = np.where(spread > 1e-9 * np.abs(x).max(axis=0, initial=1e-300), spread, 1.0)  # a feature that never moves
    x = (x - mean) / spread
    size, axes = np.linalg.eigh(x.T @ x)  # (F,), (F, F)
    along = axes.T @ (x.T @ (y - middle))  # (F,)
    every = axes @ (along[:, None] / (np.maximum(size, 0)[:, None] + alphas))  # (F, A)
    errors = np.abs((valid_x - mean) / spread @ every + middle - valid_y[:, None]).mean(axis=0)  # (A,)
    best = min(range(len(alphas)), key=lambda a: (errors[a], -alphas[a]))
    tried = dict(zip(alphas, errors.tolist(), strict=True))
    return Ridge(mean, spread, every[:, best], float(middle), alphas[best], tried)


def training_median(train_y, *, oldest: float = OLDEST) -> float:
    """What a model that sees no signal says: the median of the usable training ages, the constant of least MAE."""
    train_y = np.asarray(train_y, np.float64)
    kept = Ages.of(train_y, oldest=oldest).kept
    if not kept.any():
        raise InputError("No training record has a usable age; choose data with ages.")
    return float(np.median(train_y[kept]))


def _vectors(x, features: int | None = None) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or (features is not None and x.shape[1] != features):
        raise InputError(f"Vectors have shape {x.shape}; give (records, {features or 'features'}).")
    if not np.isfinite(x).all():
        raise InputError("Vectors hold values that are not finite; the encoder that made them diverged.")
    return x


def _known(x, y, part: str, oldest: float, features: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    x, y = _vectors(x, features), np.asarray(y, np.float64)
    if y.shape != (len(x),):
        raise InputError(f"Ages of the {part} part have shape {y.shape} for {len(x)} vectors; give one for each.")
    kept = Ages.of(y, oldest=oldest).kept
    if not kept.any():
        raise InputError(f"No {part} record has a usable age; choose data with ages.")
    return x[kept], y[kept]


# ---- rows -----------------------------------------------------------------------------------------------------------


def rows(
    *, protocol: str, data: str, split: str, y, predictions: Mapping[str, np.ndarray | Mapping[int, np.ndarray]],
    patients=None, compare: Sequence[tuple[str, str]] = (), draws: int = 1000, seed: int = 0, oldest: float = OLDEST,
) -> list[dict]:  # fmt: skip
    """Rows of every model and of each paired difference "A - B" in `compare`, on the records with a usable age.

    y (N,) years; predictions {model: (N,) years, or {seed: (N,)} for several runs}; patients (N,) ids or None when each
    record is its own patient. `seed` is that of the draws. A prediction without seeds, the training median's, goes with
    every seed of the model it is compared with. Raises `InputError` for predictions that do not fit or are not finite,
    an unknown name in `compare`, or no record with a usable age.
    """
    y = np.asarray(y, np.float64)
    kept = Ages.of(y, oldest=oldest).kept
    if not kept.any():
        raise InputError(f"No record of split {split!r} has a usable age; choose data with ages.")
    if patients is not None and len(patients) != len(y):
        raise InputError(f"There are {len(patients)} patient ids for {len(y)} ages; give one per record.")
    owners = None if patients is None else np.asarray(patients)[kept]
    bootstrap = Bootstrap(np.zeros((kept.sum(), 1)), owners, draws=draws, seed=seed)
    scored: dict[str, dict[int | None, Scores]] = {}
    for model, given in predictions.items():
        runs = given if isinstance(given, Mapping) else {None: given}
        scored[model] = {s: _scores(bootstrap, y, p, kept, f"{model!r}") for s, p in runs.items()}
    common = {"protocol": protocol, "data": data, "split": split, "n": int(kept.sum())}
    out = [row for model, runs in scored.items() for row in model_rows(runs, (OF,), model=model, **common)]
    for a, b in compare:
        for name in (a, b):
            if name not in scored:
                raise InputError(f"There is no model {name!r} to compare.{nearest(name, scored)}")
        first, second = _matched(scored[a], scored[b]), _matched(scored[b], scored[a])
        out += paired_rows(first, second, (OF,), model=f"{a} - {b}", **common)
    return [row | {"class": OF} for row in out if row["class"] == "macro"]  # of one class, they are the same twice


def _matched(runs: dict, others: dict) -> dict:
    """A run without seeds, once for each seed of the others."""
    return dict.fromkeys(others, runs[None]) if set(runs) == {None} else runs


def _scores(bootstrap: Bootstrap, y: np.ndarray, p, kept: np.ndarray, whose: str) -> Scores:
    p = np.asarray(p, np.float64)
    if p.shape != y.shape or not np.isfinite(p[kept]).all():
        raise InputError(f"Predictions of {whose} have shape {p.shape} for {len(y)} ages, or are not finite.")
    y, p = y[kept], p[kept]
    about = y - y.mean()  # keeps the sums of squares small
    parts = np.stack([np.ones_like(y), np.abs(p - y), (p - y) ** 2, about, about**2])  # (5, N)
    sums = np.stack([np.bincount(bootstrap.owner, part, bootstrap.patients) for part in parts])  # (5, patients)
    blocks = [bootstrap.counts[:, start : start + BLOCK] for start in range(0, len(bootstrap), BLOCK)]
    value = _measures(sums.sum(axis=1, keepdims=True))
    draws = _measures(np.concatenate([sums @ block.astype(np.float64) for block in blocks], axis=1))  # (5, D)
    return Scores({name: v for name, v in value.items()}, {name: d[:, None] for name, d in draws.items()})


def _measures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Count, absolute errors, squared errors, ages and squared ages, summed (5, D), to the metrics (D,)."""
    count, absolute, squared, age, age_squared = sums
    variance = age_squared - age**2 / count
    defined = variance > 1e-9 * count
    return {
        "age_mae": absolute / count,
        "age_r2": np.where(defined, 1 - squared / np.where(defined, variance, 1), np.nan),
    }
