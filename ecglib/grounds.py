"""Grounds: on which test records, and under which protocol, which models of many runs can be compared at all.

The rules, stated once
- A *configuration* is one version of one notebook with the same parameters on the same data, seeds aside. Only runs of
  one configuration are pooled, and only under one protocol; a seed that two of them have counts once, the newest.
  Where the code behind the notebook was not the same, a remark says so.
- A *ground* is a set of test records with their labels, of data with one fingerprint, under one protocol. Records,
  classes and labels are matched by name from predictions.parquet. Models are compared on one ground only.
- Predictions are those of their run only if they give again the AUC that its metrics.json holds.
- A run without predictions cannot be paired with another: what it recorded of itself is shown as it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ecglib.bootstrap import Bootstrap
from ecglib.comparison import ASIDE, chosen_protocols, configuration, names, protocols_of
from ecglib.errors import InputError, nearest
from ecglib.evaluation import Scores
from ecglib.metrics import THRESHOLDED, auc, best_thresholds, macro, measure
from ecglib.predictions import Predictions

if TYPE_CHECKING:
    from ecglib.results import RunRecord


@dataclass(frozen=True, eq=False)
class Line:
    """One model of one configuration under one protocol: `scores` {seed: Scores}, `valid` its validation score."""

    model: str
    protocol: str
    notebook: str
    runs: tuple[str, ...]
    scores: Mapping[tuple[int, ...], Scores]
    valid: float
    label: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)  # the parameters that make the configuration


@dataclass(frozen=True, eq=False)
class Ground:
    """The same records and labels for all `lines`. `draws` are those of the one bootstrap that all lines share."""

    metric: str
    split: str
    data: str
    fingerprint: str
    protocols: tuple[str, ...]
    classes: tuple[str, ...]
    records: int
    patients: int
    draws: int
    lines: tuple[Line, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for line in self.lines for name in line.runs))

    @property
    def title(self) -> str:
        """What was measured on, in one line."""
        return f"{self.data}, {self.records} {self.split} records, {' | '.join(self.protocols)}"

    def line(self, wanted: str) -> Line:
        """The line of that label, or of that model where only one has it. Raises InputError, with the nearest."""
        found = [line for line in self.lines if line.label == wanted]
        found = found or [line for line in self.lines if line.model == wanted]
        if len(found) != 1:
            labels = [line.label for line in self.lines]
            many = f" There are {len(found)}: {', '.join(line.label for line in found)}." if found else ""
            raise InputError(f"No single model is called {wanted!r}.{many or nearest(wanted, labels)}")
        return found[0]


@dataclass
class Grounds:
    """What can be compared, `apart` the runs of which only their own rows can be shown, and `remarks`, sentences."""

    grounds: list[Ground] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Said:
    """Predictions of one model and seed, with all that decides where they belong."""

    run: RunRecord
    name: str
    protocol: str
    data: str
    fingerprint: str
    test: Predictions
    valid: Predictions | None

    @property
    def seed(self) -> tuple[int, ...]:
        """The notebook's own seed first, where it has one: rows of one number then still differ between runs."""
        own = self.run.parameters.get("seed")
        return (self.test.seed,) if own is None else (own, self.test.seed)

    def ground(self, across: bool) -> tuple:
        order = np.argsort(np.asarray(self.test.record).astype(str), kind="stable")
        columns = np.argsort(self.test.classes)
        digest = hashlib.sha256()
        for part in (self.test.record, self.test.patient):
            digest.update("\n".join(np.asarray(part).astype(str)[order]).encode())
        digest.update("\n".join(sorted(self.test.classes)).encode())
        digest.update(np.ascontiguousarray(self.test.y[order][:, columns], np.uint8).tobytes())
        data = self.fingerprint or f"of {self.name} alone"
        return data, digest.hexdigest(), "" if across else self.protocol


def grounds(
    runs: Sequence[RunRecord], *, metric: str = "auc", protocols: Sequence[str] = (), models: Sequence[str] = (),
    split: str = "test", across_protocols: bool = False, draws: int = 5000, seed: int = 0,
) -> Grounds:  # fmt: skip
    """Sort all models of all runs onto the grounds on which they can be compared, and measure them there.

    protocols, models: patterns such as "*fine-tuning*", any of which a name must match; without, each run's first
    protocol and all models. across_protocols puts models of different protocols on one ground where records and labels
    are the same: their difference is then that of the whole way from record to answer.

    Raises:
        InputError: a pattern matches nothing, predictions are not those of the run's metrics, or nothing is left.
    """
    out = Grounds()
    called, said = names(runs), []
    for run in runs:
        wanted = chosen_protocols(run, protocols)
        if not (run.path / "predictions.parquet").is_file():
            out.apart.append(called[run.path])
            out.remarks.append(
                f"{called[run.path]} kept no predictions: it cannot be paired with other runs, and is shown as it "
                "measured itself."
            )
        elif wanted:
            said += _said(run, called[run.path], wanted, split)
        else:
            out.remarks.append(f"{called[run.path]} has no row under the protocols that were asked for.")
    known = {
        "models": {side for run in runs for row in run.rows for side in row["model"].split(" - ")},
        "protocols": {name for run in runs for name in protocols_of(run)},
    }
    for name, patterns in (("models", models), ("protocols", protocols)):
        for pattern in patterns:
            if not any(fnmatchcase(item, pattern) for item in known[name]):
                raise InputError(f"{name} names {pattern!r}, which is none.{nearest(pattern, known[name])}")
    said = [each for each in said if not models or any(fnmatchcase(each.test.model, p) for p in models)]
    if not said and not out.apart:
        raise InputError("No predictions are left to compare; name other runs, models or protocols.")
    by_ground: dict[tuple, list[_Said]] = {}
    for each in said:
        by_ground.setdefault(each.ground(across_protocols), []).append(each)
    for members in by_ground.values():
        out.grounds.append(_measured(members, metric, split, draws, seed, out.remarks))
    out.grounds.sort(key=lambda ground: len(ground.runs), reverse=True)
    out.remarks += _why_apart(by_ground)
    return out


def _said(run: RunRecord, name: str, wanted: Sequence[str], split: str) -> list[_Said]:
    """The predictions of a run under the protocols `wanted`, each checked against what its metrics.json says."""
    frame = run.predictions
    parts = frame.groupby("protocol", sort=False) if "protocol" in frame else [(None, frame)]
    out = []
    for protocol, part in parts:
        if protocol is not None and protocol not in wanted:
            continue
        every = Predictions.from_frame(part)
        tested = [each for each in every if each.split == split]
        protocol = _protocol_of(run, name, tested, protocol, split)
        if protocol not in wanted:
            continue
        valid = {(each.model, each.seed): each for each in every if each.split == "valid"}
        data = next(row["data"] for row in run.rows if row["protocol"] == protocol)
        fingerprint = next((entry["fingerprint"] for entry in run.data if entry["name"] == data), "")
        out += [
            _Said(run, name, protocol, data, fingerprint, each, valid.get((each.model, each.seed))) for each in tested
        ]
    return out


def _protocol_of(run: RunRecord, name: str, tested: Sequence[Predictions], said: str | None, split: str) -> str | None:
    """The protocol under which metrics.json has the AUC that these predictions give; None where they are none of it."""
    recorded: dict[tuple, dict[str, float]] = {}
    for row in run.rows:
        if row["metric"] == "auc" and row["class"] == "macro" and row["split"] == split and row["value"] is not None:
            recorded.setdefault((row["model"], row["seed"]), {})[row["protocol"]] = row["value"]
    fit = None
    for each in tested:
        there, value = recorded.get((each.model, each.seed), {}), macro(auc(each.y, each.p))
        if not there or not np.isfinite(value):
            continue
        equal = {protocol for protocol, number in there.items() if abs(number - value) < 1e-6}
        fit = equal if fit is None else fit & equal
        if not fit or (said is not None and said not in fit):
            raise InputError(
                f"{name}: its predictions.parquet gives {each.model!r}, seed {each.seed}, an AUC of {value:.4f}, which "
                "its metrics.json does not have; they are not of one run, so run it again."
            )
    return said or next((protocol for protocol in protocols_of(run) if fit and protocol in fit), None)


def _measured(members: Sequence[_Said], metric: str, split: str, draws: int, seed: int, remarks: list[str]) -> Ground:
    """All models on one ground, scored in the same draws."""
    first = members[0].test
    bootstrap = Bootstrap(first.y, first.patient, draws=draws, seed=seed)
    by_line: dict[tuple, dict[tuple[int, ...], _Said]] = {}
    for each in members:  # newest run first, so that the newest of two with one seed is kept
        key = (each.run.notebook, configuration(each.run), each.protocol, each.test.model)
        kept = by_line.setdefault(key, {}).setdefault(each.seed, each)
        if kept is not each:
            same = np.array_equal(kept.test.p, each.test.aligned(kept.test).p)
            said = "the same" if same else "OTHER"
            remarks.append(
                f"{each.test.model}, seed {each.test.seed}, is in {kept.name} and in {each.name}, with {said} "
                f"probabilities: that of {kept.name} counts."
            )
    lines = []
    for (notebook, _, protocol, model), seeds in by_line.items():
        scores = {key: _scores(each, first, bootstrap, metric) for key, each in sorted(seeds.items())}
        runs = tuple(dict.fromkeys(each.name for each in seeds.values()))
        if len({_code(each.run) for each in seeds.values()}) > 1:
            remark = f"{_some(runs)} are pooled, though their code was not the same: what changed in it may matter."
            remarks += [remark] if remark not in remarks else []
        valid = float(np.mean([_validation(each, metric) for each in seeds.values()]))
        parameters = next(iter(seeds.values())).run.parameters
        settings = {name: value for name, value in parameters.items() if name not in ASIDE}
        lines.append(Line(model, protocol, notebook, runs, scores, valid, settings=settings))
    protocols = tuple(dict.fromkeys(line.protocol for line in lines))
    return Ground(
        metric, split, members[0].data, members[0].fingerprint, protocols, first.classes, len(first),
        bootstrap.patients, draws, tuple(_labelled(lines)),
    )  # fmt: skip


def _code(run: RunRecord) -> str:
    """What tells the code of a run from that of another: its files as the notebook had them, else the commit."""
    git = run.record.get("git") or {}
    return json.dumps(run.record.get("sources") or [git.get("commit"), git.get("dirty")], sort_keys=True)


def _scores(said: _Said, first: Predictions, bootstrap: Bootstrap, metric: str) -> Scores:
    thresholds = None
    if metric in THRESHOLDED:
        if said.valid is None:
            raise InputError(
                f"{said.name}: {said.test.model!r} has no validation predictions, from which {metric} takes its "
                "thresholds; compare by another metric."
            )
        columns = [said.valid.classes.index(name) for name in first.classes]
        thresholds = best_thresholds(said.valid.y[:, columns], said.valid.p[:, columns])
    return Scores.of(bootstrap, said.test.aligned(first).p, thresholds, (metric,))


def _validation(said: _Said, metric: str) -> float:
    """The metric on validation, macro; that of a thresholded one is AUC's, which needs no choice made there."""
    if said.valid is None:
        return float("nan")
    return float(macro(measure("auc" if metric in THRESHOLDED else metric, said.valid.y, said.valid.p)))


def _labelled(lines: Sequence[Line]) -> list[Line]:
    """The lines with labels: the model, and what else tells it from the others of this name, its runs or protocol."""
    out = []
    for line in lines:
        twins = [other for other in lines if other is not line and other.model == line.model]
        more = []
        if others := [other for other in twins if other.runs != line.runs]:
            first = line.runs[0] + (f" and {len(line.runs) - 1} more" if len(line.runs) > 1 else "")
            more.append(_setting(line, others) or first)
        if any(other.runs == line.runs for other in twins):
            more.append(line.protocol)
        out.append(replace(line, label=f"{line.model} ({', '.join(more)})" if more else line.model))
    return out


def _setting(line: Line, others: Sequence[Line]) -> str:
    """What tells this line from the others, such as "width=0.5"; empty where no parameter does, or not in few words."""

    def said(each: Line) -> str:
        return ", ".join(f"{name}={each.settings[name]}" for name in names)

    if any((other.notebook, other.settings.keys()) != (line.notebook, line.settings.keys()) for other in others):
        return ""
    names = [name for name, value in line.settings.items() if any(other.settings[name] != value for other in others)]
    alike = any(said(other) == said(line) for other in others)  # another version of the notebook, other data
    wordy = any(len(said(each)) > 40 for each in (line, *others))  # for one of them: then all go by their runs
    return "" if alike or wordy else said(line)


def _why_apart(by_ground: Mapping[tuple, Sequence[_Said]]) -> list[str]:
    """A sentence for each ground after the first: what keeps it from being that one."""
    keys = list(by_ground)
    out = []
    for key in keys[1:]:
        a, b = ({each.name for each in by_ground[k]} for k in (keys[0], key))
        one, other = by_ground[keys[0]][0].test, by_ground[key][0].test
        if key[0] != keys[0][0]:
            why = "their data differ (other fingerprints)"
        elif set(one.classes) != set(other.classes):
            why = "their classes differ"
        elif key[1] != keys[0][1]:
            same = set(np.asarray(one.record).tolist()) == set(np.asarray(other.record).tolist())
            why = "the same test records carry other labels or patients" if same else "their test records differ"
        else:
            why = f"their protocols differ ({by_ground[keys[0]][0].protocol} | {by_ground[key][0].protocol})"
        out.append(f"Kept apart: {_some(a)} and {_some(b)}; {why}.")
    return out


def _some(items: Iterable[str]) -> str:
    items = sorted(items)
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
