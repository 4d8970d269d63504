"""The protocol that every notebook follows: which records train, validate and test, and what a model says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ecglib.cohort import Cohort, patients_in_several
from ecglib.errors import InputError, nearest
from ecglib.leads import canonical, indices
from ecglib.predictions import Predictions

if TYPE_CHECKING:
    import torch

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


def shares(**lists: Sequence[float]) -> None:
    """Refuse, before any work is done, entries that are no share of a whole, above 0 and at most 1.

    Raises:
        InputError: naming the first that is so.
    """
    for name, entries in lists.items():
        for entry in entries:
            if not 0 < entry <= 1:
                raise InputError(f"{name} holds {entry!r}; give shares above 0 and at most 1.")


def known(**lists: tuple[Sequence[str], Sequence[str]]) -> None:
    """Refuse, before any work is done, an entry of a list that is none of its choices: name=(entries, choices).

    Raises:
        InputError: naming the first that is so, with the nearest choice.
    """
    for name, (entries, choices) in lists.items():
        for entry in entries:
            if entry not in choices:
                raise InputError(f"{name} names {entry!r}.{nearest(entry, choices)}")


def named(task: str, *, train: Sequence[int], valid: Sequence[int], test: Sequence[int]) -> str:
    """What the rows of metrics.json call the protocol: "superclass, folds 1-8/9/10", train, validation, test."""
    return f"{task}, folds {'/'.join(map(_ranges, (train, valid, test)))}"


def other_leads(have: Sequence[str], main: str, sweep: Sequence[str]) -> list[str]:
    """The entries of `sweep` ("V1", or "I II" for two leads together) beside `main`, spelt canonically, each once.

    Raises:
        InputError: an entry names a lead that is not among `have`, or none at all.
    """
    spelt = []
    for entry in (main, *sweep):
        leads = [have[k] for k in indices(have, entry.split())]
        if not leads:
            raise InputError("An entry of student_leads or sweep_leads is empty; name a lead in it.")
        spelt.append(" ".join(map(canonical, leads)))
    return [entry for entry in dict.fromkeys(spelt) if entry != spelt[0]]


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


def refuse_overlap(extra: Cohort, parts: Mapping[str, Cohort], *, against: Sequence[str] = PARTS[1:]) -> None:
    """Refuse a further cohort that holds records of the parts `against`, whatever it calls them.

    A further training cohort must not hold validation or test records, a further test cohort no others.

    Raises:
        InputError: a signal is the same, sample by sample; or the data set has the same name and a patient in common.
    """
    held = {name: parts[name] for name in against}
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


def further_test(cohort: Cohort, parts: Mapping[str, Cohort], task: str, *, folds: Sequence[int]) -> Cohort:
    """The records of another copy of the data, in `folds`, with a label of the classes that `parts` have.

    Raises:
        InputError: a patient of the training or validation part is among them, or there is no such record.
    """
    found = _with_codes(cohort.in_folds(folds), task, parts["train"].info.label_sets[task]).labelled(task)
    for name in PARTS[:2]:
        if common := set(found.records["patient"]) & set(parts[name].records["patient"]):
            raise InputError(
                f"{cohort.info.name} ({cohort.path}): patient {min(common)} of its folds {_listed(folds)} is in the "
                f"{name} part; give records of patients that the models have not seen."
            )
    return found


def second_site(
    data: str, parts: Mapping[str, Cohort], task: str, *, rate: int, cache: str, records: int, seed: int = 1
) -> Cohort | None:
    """The records of another site with a label of `task`, whose classes are those that both sites know.

    Classes are matched by name; one that the first site does not have, or that no record here has, is left out.

    Args:
        data: see `datasets.load`; "synthetic" is the embedded cohort of another seed. "" is no site: None.
        rate: Hz; the site's records are resampled to it. cache, records, seed: see `datasets.load`.

    Raises:
        InputError: the site has no such task, no class in common, or records or patients of `parts`.
    """
    from ecglib import datasets

    if not data:
        return None
    site = datasets.load(data, rate=rate, cache=cache, records=records, seed=seed, resample=True, progress=False)
    own = parts["train"].classes(task)
    there = site.labels(task).sum(axis=0) > 0
    common = {name for name, some in zip(site.classes(task), there, strict=True) if some} & set(own)
    if not common:
        raise InputError(
            f"second_site {site.info.title} ({site.path}) has the classes {', '.join(site.classes(task)) or 'none'} of "
            f"{task}, none of which is among {', '.join(own)}; give a site or a task whose classes meet."
        )
    codes = {code: name for code, name in site.info.label_sets[task].items() if name in common}
    site = _with_codes(site, task, codes).labelled(task)
    if data != "synthetic":  # whose patients are numbered alike for every seed
        refuse_overlap(site, parts, against=PARTS[:2])
    return site


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
    batch_size: int = 256, batches: Mapping[str, Iterable] | None = None,
) -> list[Predictions]:  # fmt: skip
    """What `view` says of every record of `parts` (the validation and the test part, say): probabilities (N, C).

    The classes of the view and of the task are matched by name.

    Args:
        batches: each part's batches in the part's order, such as `PageBatches`; default: its signals. A view is given
            the field of them that its `takes` names ("signal" where it names none), and nothing else.

    Raises:
        InputError: the view was trained for other classes; it reads pages and the batches have none; batches of other
            records.
    """
    said = []
    for name, part in parts.items():
        own = batches[name] if batches else part.batches(batch_size, device=device)
        said.append(_predict(view, part, own, model=model, seed=seed, name=name, task=task))
    return said


def _predict(view: Any, part: Cohort, batches: Iterable, *, model: str, seed: int, name: str, task: str) -> Predictions:
    import torch

    classes = part.classes(task)
    if set(view.classes) != set(classes):
        raise InputError(
            f"{model} predicts {', '.join(view.classes)}, but the task {task} has {', '.join(classes)}: "
            "give a checkpoint of this task."
        )
    takes = getattr(view, "takes", "signal")
    said, order = [], []
    for batch in batches:
        if not hasattr(batch, takes):
            raise InputError(f"{model} reads a {takes}, and the batches of the {name} part have none; draw them first.")
        said.append(view.predict(getattr(batch, takes)).float())
        order.append(batch.index)
    if not np.array_equal(torch.cat(order).cpu().numpy(), np.arange(len(part))):
        raise InputError(f"The batches are not the {name} part's {len(part)} records in their order; do not shuffle.")
    logits = torch.cat(said)  # (N, C)
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
    import pandas as pd

    records = pd.concat([part.records[["patient"]].assign(part=name) for name, part in parts.items()])
    if shared := patients_in_several(records, "part"):
        where = records.loc[records["patient"] == shared[0], "part"].unique()
        raise InputError(
            f"{len(shared)} patients, {shared[0]} among them, have records in both the {where[0]} and the {where[1]} "
            "part; choose folds that keep each patient together."
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


def _ranges(folds: Sequence[int]) -> str:
    """ "1-8" for 1 to 8, "1-3,5" where one is left out."""
    runs: list[list[int]] = []
    for fold in sorted(folds):
        if runs and fold == runs[-1][-1] + 1:
            runs[-1].append(fold)
        else:
            runs.append([fold])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))
