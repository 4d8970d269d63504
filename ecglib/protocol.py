"""The protocol that every notebook follows: which records train, validate and test, and what a model says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ecglib.cohort import Cohort
from ecglib.errors import InputError
from ecglib.predictions import Predictions

if TYPE_CHECKING:
    import torch

    from ecglib.batches import Batches

PARTS = ("train", "valid", "test")


def require(**parameters: Any) -> None:
    """Refuse, before any work is done, lists without an entry and counts below 1; each is named as the user gave it.

    Raises:
        InputError: naming the first that is so.
    """
    for name, value in parameters.items():
        if isinstance(value, list | tuple):
            if not value:
                raise InputError(f"{name} is empty; give at least one.")
            if len(set(value)) < len(value):
                raise InputError(f"{name} names something twice: {value}; give each once.")
        elif not value >= 1:
            raise InputError(f"{name} is {value!r}, but must be at least 1.")


def split(
    cohort: Cohort, task: str, *, train: Sequence[int], valid: Sequence[int], test: Sequence[int],
    rare: Literal["refuse", "drop"] = "refuse",
) -> dict[str, Cohort]:  # fmt: skip
    """The records with a label of `task`, in three parts by fold: {"train", "valid", "test"}.

    rare: what to do with a class that has no positive in one of the parts, where it can be neither learnt, given a
    threshold nor measured. "refuse" says so; "drop" leaves the class out of the task, in all parts alike.

    Raises:
        InputError: a fold in two parts, a fold without records, a patient in two parts, or a class without a positive.
    """
    folds = dict(zip(PARTS, (train, valid, test), strict=True))
    for a, b in combinations(PARTS, 2):
        if common := sorted(set(folds[a]) & set(folds[b])):
            raise InputError(
                f"Fold {common[0]} is in both {a}_folds and {b}_folds; records that a model was made with cannot "
                "judge it, so give each fold to one part."
            )
    parts = {name: cohort.in_folds(folds[name]).labelled(task) for name in PARTS}
    _refuse_shared_patients(parts)
    if rare == "drop":
        return _without_rare_classes(parts, task)
    for name, part in parts.items():
        part.require_positives(task, f"{name}_folds {_listed(folds[name])}")
    return parts


def refuse_overlap(extra: Cohort, parts: Mapping[str, Cohort]) -> None:
    """Refuse a further training cohort that holds validation or test records, whatever it calls them.

    Raises:
        InputError: a signal is the same, sample by sample; or the data set has the same name and a patient in common.
    """
    held = {name: parts[name] for name in PARTS[1:]}
    known = {_digest(row): name for name, part in held.items() for row in part.counts(part.rows)}
    shared = [known[d] for i in extra.rows for d in [_digest(extra.counts(np.array([i]))[0])] if d in known]
    if not shared:
        for name, part in held.items():
            if part.info.name == extra.info.name and set(part.records["patient"]) & set(extra.records["patient"]):
                shared = [name]
    if shared:
        raise InputError(
            f"{extra.info.name} ({extra.path}) holds records or patients of the {shared[0]} part; give cohorts that "
            "share none with it."
        )


def _digest(signal: np.ndarray) -> bytes:
    return hashlib.sha256(signal.tobytes()).digest()


def left_out(whole: Cohort, parts: Mapping[str, Cohort], task: str) -> list[str]:
    """Sentences on the records and classes that `split` left out; empty when there are none."""
    used = sum(len(part) for part in parts.values())
    said = [f"{len(whole) - used} of {len(whole)} records are in no part or have no label of {task}."]
    dropped = [name for name in whole.classes(task) if name not in parts["train"].classes(task)]
    if dropped:
        said.append(f"{', '.join(dropped)}: without a positive in one of the parts, so not part of the task here.")
    return said if used < len(whole) else said[1:]


def predictions(
    view: Any, parts: Mapping[str, Cohort], *, model: str, seed: int, task: str, device: str | torch.device,
    batch_size: int = 256, draw: Callable[[Batches], Iterable] | None = None,
) -> list[Predictions]:  # fmt: skip
    """What `view` says of every record of `parts` (the validation and the test part, say): probabilities (N, C).

    The classes of the view and of the task are matched by name. A view whose `takes` is "page" is given the pages that
    `draw` makes of the batches, and nothing else.

    Raises:
        InputError: the view was trained for other classes.
    """
    return [
        _predict(view, part, draw, model=model, seed=seed, name=name, task=task, device=device, batch_size=batch_size)
        for name, part in parts.items()
    ]


def _predict(
    view: Any, part: Cohort, draw: Callable | None, *, model: str, seed: int, name: str, task: str, device: Any,
    batch_size: int,
) -> Predictions:  # fmt: skip
    import torch

    classes = part.classes(task)
    if set(view.classes) != set(classes):
        raise InputError(
            f"{model} predicts {', '.join(view.classes)}, but the task {task} has {', '.join(classes)}: "
            "give a checkpoint of this task."
        )
    batches, takes = part.batches(batch_size, device=device), getattr(view, "takes", "signal")
    if takes == "page" and draw is None:
        raise InputError(f"{model} reads pages; give `draw`, which makes them of the batches.")
    batches = batches if draw is None else draw(batches)
    logits = torch.cat([view.predict(getattr(batch, takes)).float() for batch in batches])  # (N, C)
    columns = [view.classes.index(label) for label in classes]
    records = part.records
    return Predictions(
        model=model,
        seed=seed,
        split=name,
        record=records["record"].to_numpy(),
        patient=records["patient"].to_numpy(),
        fold=records["fold"].to_numpy(),
        y=part.labels(task).astype(np.uint8),
        p=torch.sigmoid(logits[:, columns].double()).cpu().numpy(),
        classes=classes,
    )


def frame(several: Iterable[Predictions]):
    """All predictions as one table, the content of predictions.parquet."""
    import pandas as pd

    return pd.concat([one.to_frame() for one in several], ignore_index=True)


def _refuse_shared_patients(parts: Mapping[str, Cohort]) -> None:
    for a, b in combinations(PARTS, 2):
        common = set(parts[a].records["patient"]) & set(parts[b].records["patient"])
        if common:
            raise InputError(
                f"{len(common)} patients, {min(common)} among them, have records in both the {a} and the {b} part; "
                "choose folds that keep each patient together."
            )


def _without_rare_classes(parts: Mapping[str, Cohort], task: str) -> dict[str, Cohort]:
    """The parts with the task's label set cut down to the classes that have a positive in each."""
    classes = parts["train"].classes(task)
    counts = np.stack([part.labels(task).sum(axis=0) for part in parts.values()])  # (parts, C)
    kept = {name for name, least in zip(classes, counts.min(axis=0), strict=True) if least > 0}
    if not kept:
        raise InputError(f"No class of the task {task} has a positive in all three parts; choose other folds.")
    codes = {code: name for code, name in parts["train"].info.label_sets[task].items() if name in kept}
    return {name: _with_codes(part, task, codes).labelled(task) for name, part in parts.items()}


def _with_codes(cohort: Cohort, task: str, codes: Mapping[str, str]) -> Cohort:
    view = cohort.subset(np.arange(len(cohort)))
    view.info = replace(view.info, label_sets={**view.info.label_sets, task: codes})
    return view


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
