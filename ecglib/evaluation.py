"""From predictions to the flat rows of metrics.json: values, 95 % intervals over patients, paired differences.

The rules, stated once
- Thresholds of F1, precision and recall are chosen per class, model and seed on the validation part and stay fixed in
  every draw. They are rows too (metric "threshold"), so a report can be checked from its files alone.
- A model with several seeds is the mean over its seeds of the metric. Its interval comes from patient draws, each
  draw's value being the mean over the seeds in that draw: it says how far other patients would move this mean. How far
  other seeds would is a row of its own, the standard deviation over seeds (metric "auc_seed_sd").
- A paired difference "A - B" takes A and B on the same records, draws and seeds, class by class.
- A class that cannot be scored gives rows of NaN (None) and a sentence in `notes`, and is left out of "macro".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ecglib.bootstrap import Bootstrap, interval, p_value
from ecglib.errors import InputError, nearest
from ecglib.metrics import METRICS, THRESHOLDED, best_thresholds, macro, measure
from ecglib.predictions import Predictions
from ecglib.results import METRIC_KEYS as ROW

# ---- scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scores:
    """Metrics of one run, or of a mean or difference of runs: `values` {metric: (C,)}, `draws` {metric: (D, C)}."""

    values: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, bootstrap: Bootstrap, p, thresholds=None, metrics: Sequence[str] = METRICS) -> Scores:
        """Score p (N, C) against the labels and draws of `bootstrap`. Without thresholds, no thresholded metric."""
        names = [name for name in metrics if thresholds is not None or name not in THRESHOLDED]
        return cls(
            {name: measure(name, bootstrap.y, p, thresholds=thresholds) for name in names},
            {name: bootstrap.measure(name, p, thresholds=thresholds) for name in names},
        )

    @classmethod
    def mean(cls, runs: Sequence[Scores]) -> Scores:
        """The mean over runs (seeds), draw by draw."""
        return cls(*({name: np.mean([getattr(run, part)[name] for run in runs], axis=0) for name in runs[0].values}
                     for part in ("values", "draws")))  # fmt: skip

    def __sub__(self, other: Scores) -> Scores:
        """The paired difference: same records, same draws."""
        names = [name for name in self.values if name in other.values]
        return Scores(
            {name: self.values[name] - other.values[name] for name in names},
            {name: self.draws[name] - other.draws[name] for name in names},
        )

    def rows(self, classes: Sequence[str], **common) -> list[dict]:
        """Rows "macro" first, then one per class, for each metric; `common` gives the other keys."""
        out = []
        for name, value in self.values.items():
            draws = self.draws[name]
            low, high = interval(np.column_stack([macro(draws), draws]))  # (D, 1 + C) -> (1 + C,)
            for c, label in enumerate(("macro", *classes)):
                point = macro(value) if c == 0 else value[c - 1]
                out.append(_row(**common, metric=name, **{"class": label}, value=point, low=low[c], high=high[c]))
        return out


def _row(**given) -> dict:
    """A row of metrics.json in the order of `ROW`: plain Python numbers, None for NaN."""

    def plain(value):
        value = value.item() if isinstance(value, np.generic | np.ndarray) else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(given.get(key)) for key in ROW}


def model_rows(runs: Mapping[int, Scores], classes: Sequence[str], **common) -> list[dict]:
    """Rows of one model: one set per seed and, for several seeds, their mean (seed None) and standard deviation."""
    out = [row for seed, run in runs.items() for row in run.rows(classes, seed=seed, **common)]
    if len(runs) < 2:
        return out
    pooled = Scores.mean(list(runs.values())).rows(classes, seed=None, **common)
    for name in next(iter(runs.values())).values:
        each = np.stack([run.values[name] for run in runs.values()])  # (S, C)
        spread = np.std(np.column_stack([macro(each), each]), axis=0, ddof=1)  # (1 + C,)
        for label, sd in zip(("macro", *classes), spread, strict=True):
            pooled.append(_row(**common, metric=f"{name}_seed_sd", **{"class": label}, value=sd))
    return pooled + out


def paired_rows(a: Mapping[int, Scores], b: Mapping[int, Scores], classes: Sequence[str], **common) -> list[dict]:
    """Rows of "A - B" (`model` in `common` says so), seeds matched by number, and the macro differences' p-values.

    The p-value is a row of metric "auc_p" and so on. Models trained with other seeds cannot be paired: `InputError`.
    """
    if set(a) != set(b):
        raise InputError(f"{common['model']}: seeds {sorted(a)} and {sorted(b)} differ; train both with the same.")
    runs = {seed: a[seed] - b[seed] for seed in a}
    whole = Scores.mean(list(runs.values()))
    seed = None if len(runs) > 1 else next(iter(runs))
    tests = [
        _row(**common, metric=f"{name}_p", **{"class": "macro"}, value=p_value(macro(draws)), seed=seed)
        for name, draws in whole.draws.items()
    ]
    return model_rows(runs, classes, **common) + tests


def rows(
    *, model: str, protocol: str, data: str, split: str, y, p, classes: Sequence[str], patients=None, thresholds=None,
    seed: int = 0, metrics: Sequence[str] = METRICS, bootstrap: Bootstrap | None = None, draws: int = 1000,
) -> list[dict]:  # fmt: skip
    """Rows of one run from arrays: y, p (N, C), patients (N,), thresholds (C,) or None (then no F1).

    Pass one `bootstrap` for all models of a split, or let each make the same draws from its own 1,000.
    """
    bootstrap = Bootstrap(y, patients, draws=draws) if bootstrap is None else bootstrap
    common = {"model": model, "protocol": protocol, "data": data, "split": split, "n": len(bootstrap.y)}
    return model_rows({seed: Scores.of(bootstrap, p, thresholds, metrics)}, classes, **common)


# ---- the whole evaluation -------------------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """`rows` for metrics.json and `notes`, sentences about what could not be measured, for the report."""

    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(
    predictions: Iterable[Predictions], *, protocol: str, data: str, compare: Sequence[tuple[str, str]] = (),
    split: str = "test", thresholds_from: str | None = "valid", metrics: Sequence[str] = METRICS,
    draws: int = 1000, seed: int = 0,
) -> Evaluation:  # fmt: skip
    """Measure every model and seed on `split`, with thresholds from the split `thresholds_from` of the same run.

    Without `thresholds_from` no thresholded metric (F1, precision, recall) is measured.

    compare: pairs of model names (A, B), each a paired difference "A - B". `seed` is that of the draws. A pure function
    of its arguments: predictions read back from predictions.parquet give the same rows. Raises `InputError` when a run
    lacks its validation part, models cover different records, or a compared name is unknown.
    """
    predictions = list(predictions)
    tested = [run for run in predictions if run.split == split]
    if not tested:
        raise InputError(f"No predictions of split {split!r}.{nearest(split, {run.split for run in predictions})}")
    first = tested[0]
    bootstrap = Bootstrap(first.y, first.patient, draws=draws, seed=seed)
    chosen = {(run.model, run.seed): run for run in predictions if run.split == thresholds_from}
    common = {"protocol": protocol, "data": data}
    result = Evaluation(notes=_notes(bootstrap, first.classes, split))
    scored: dict[str, dict[int, Scores]] = {}
    for run in tested:
        if run.seed in scored.setdefault(run.model, {}):
            raise InputError(f"{run.model!r} has two runs of seed {run.seed} on {split!r}; each run needs its own.")
        thresholds = None if thresholds_from is None else _thresholds_of(run, chosen, thresholds_from, first.classes)
        scored[run.model][run.seed] = Scores.of(bootstrap, run.aligned(first).p, thresholds, metrics)
        if thresholds is None:
            continue
        for label, value in zip(first.classes, thresholds, strict=True):
            key = {"model": run.model, "split": thresholds_from, "metric": "threshold", "class": label}
            result.rows.append(_row(**common, **key, value=value, seed=run.seed, n=len(chosen[run.model, run.seed])))
    common |= {"split": split, "n": len(first)}
    for model, runs in scored.items():
        result.rows += model_rows(runs, first.classes, model=model, **common)
    for a, b in compare:
        for name in (a, b):
            if name not in scored:
                raise InputError(f"There is no model {name!r} to compare.{nearest(name, scored)}")
        result.rows += paired_rows(scored[a], scored[b], first.classes, model=f"{a} - {b}", **common)
    for valid in chosen.values():
        for c in np.flatnonzero(~valid.y.any(axis=0)):
            note = f"{valid.classes[c]} has no positive in {thresholds_from!r}: its threshold is 0.5, not chosen."
            if note not in result.notes:
                result.notes.append(note)
    return result


def _thresholds_of(run: Predictions, chosen: Mapping, split: str, classes: Sequence[str]) -> np.ndarray:
    """The run's thresholds (C,) in the order of `classes`, from its own predictions of the validation split."""
    valid = chosen.get((run.model, run.seed))
    if valid is None:
        raise InputError(f"{run.model!r}, seed {run.seed}, has no predictions of {split!r} to choose thresholds from.")
    if set(valid.classes) != set(classes):
        raise InputError(f"{run.model!r}, seed {run.seed}, has other classes on {split!r} than on {run.split!r}.")
    columns = [valid.classes.index(name) for name in classes]
    return best_thresholds(valid.y[:, columns], valid.p[:, columns])


def _notes(bootstrap: Bootstrap, classes: Sequence[str], split: str) -> list[str]:
    """What this split cannot say, or only in some draws."""
    notes = []
    defined = np.isfinite(bootstrap.auc(np.zeros(bootstrap.y.shape))).mean(axis=0)  # (C,) share of the draws
    for c, name in enumerate(classes):
        positives = int(bootstrap.y[:, c].sum())
        if positives in (0, len(bootstrap.y)):
            kind = "positive" if positives == 0 else "negative"
            notes.append(f"{name} has no {kind} record in {split!r}: it is not scored and not part of the macro mean.")
        elif defined[c] < 0.99:
            notes.append(
                f"{name} has {positives} positive records in {split!r}: {1 - defined[c]:.0%} of the draws hold none "
                f"(or nothing else), and its interval is over the other draws."
            )
    return notes
