"""A share of the labelled patients, as if no more had been labelled: what label-efficiency curves are made of.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas, ECML PKDD 2011) divides multi-label examples so that each part
gets its share of every class: always the class with the fewest examples left is dealt with next, and each of its
examples goes to the part that lacks most of that class. Here patients are divided into halves, those into halves, and
so on at the same time, which puts them in one order whose beginning is a stratified part at any length. Hence the
shares of one seed are nested: what is in a smaller one is in every larger one.
"""

from __future__ import annotations

import numpy as np

from ecglib.cohort import Cohort
from ecglib.errors import InputError


def labelled_fraction(train: Cohort, task: str, share: float, *, seed: int) -> Cohort:
    """The records of `share` of the patients, chosen so that each class of `task` keeps its prevalence.

    Patients come with all their records. round(share x patients) are taken, at least one; of each class's patients
    about `share`, see `stratified_order` for how near. For one seed the shares are nested; another seed is another
    draw; a share of 1 is `train` itself.

    Args:
        share: above 0 and at most 1.

    Raises:
        InputError: `share` is outside; a class has no record left, so that it could not be learnt; no such task.
    """
    if not 0 < share <= 1:
        raise InputError(f"The share of labels is {share!r}; give a number above 0 and at most 1.")
    y = train.labels(task)  # (N, C)
    if share == 1:
        part = train
    else:
        patients, of = np.unique(train.records["patient"].to_numpy(str), return_inverse=True)  # (P,), (N,)
        has = np.zeros((len(patients), y.shape[1]), bool)
        np.logical_or.at(has, of, y > 0)  # (N, C) -> (P, C)
        chosen = np.zeros(len(patients), bool)
        chosen[stratified_order(has, seed=seed)[: max(1, round(share * len(patients)))]] = True
        y, part = y[chosen[of]], train.subset(chosen[of])
    if none := [name for name, n in zip(train.classes(task), y.sum(axis=0)) if n == 0]:
        raise InputError(
            f"A share of {share:g} of the labels (seed {seed}) leaves {len(part)} of {len(train)} records of "
            f"{train.info.name}, none of them of {', '.join(none)} (task {task}); choose a larger share, another seed "
            "or a task of fewer classes."
        )
    return part


def stratified_order(has: np.ndarray, *, seed: int) -> np.ndarray:
    """(P,) int64: patients in an order of which every beginning is stratified; a pure function of `has` and `seed`.

    Each patient gets a cell of a line. Class by class, the one with the fewest patients without a cell first, its
    patients are dealt out: over the halves of the line, the quarters, the eighths, down to the cells. Patients of no
    class count as a class of their own. Which of a class's patients goes where the rule leaves to chance; here those of
    the same further classes are spread over the line as well, so that less is left to put right.

    The first n of P patients hold n / P of each class's, give or take a few: a patient has several classes, and where
    two ask for different cells the rarer one is followed. In trials with 10,000 synthetic patients no beginning was off
    by more than 5 patients with 5 classes, 8 with 20 and 17 with 32; patients drawn by chance alone are off by 75.

    Args:
        has: (P, C) bool, whether a patient has a record of a class.
    """
    has = np.column_stack([has, ~has.any(axis=1)])  # (P, C) -> (P, C + 1)
    cells = 1 << max(1, (len(has) - 1).bit_length())  # about a patient a cell in the end
    cell = np.full(len(has), -1)  # (P,)
    while (without := cell < 0).any():
        left = has[without].sum(axis=0)  # (C + 1,) patients without a cell
        c = int(np.argmin(np.where(left > 0, left, len(has) + 1)))
        chance = _chance(seed, c)
        own = np.bincount(cell[~without & has[:, c]], minlength=cells)
        all_ = np.bincount(cell[~without], minlength=cells)
        places = np.repeat(np.arange(cells), _deal(left[c], own, all_, chance))  # (patients left,)
        cell[_alike(has, np.flatnonzero(without & has[:, c]), chance)] = places[_spread(len(places), chance)]
    return np.lexsort((_chance(seed, has.shape[1]).random_raw(len(has)), cell))


def _deal(n: int, own: np.ndarray, all_: np.ndarray, chance: np.random.PCG64) -> np.ndarray:
    """(cells,) how many of `n` patients of a class go where, halving by halving; `own` and `all_` are there already."""
    give, levels = np.array([n]), len(own).bit_length() - 1  # the whole line, then two halves, four quarters, ...
    for level in range(levels):
        halves = (2**level, 2, -1)
        coin = chance.random_raw(2**level) % 2 == 0
        first = halve(give, own.reshape(halves).sum(axis=2), all_.reshape(halves).sum(axis=2), coin)
        give = np.column_stack([first, give - first]).ravel()  # (nodes, 2) -> (2 nodes,)
    return give


def halve(n: np.ndarray, own: np.ndarray, all_: np.ndarray, coin: np.ndarray) -> np.ndarray:
    """(nodes,) int64: how many of `n` examples of a class go to the first of two equal parts by Sechidis's rule.

    One after the other goes to the part that has fewest of the class, where these are equal to the one that has fewest
    examples at all, and where these are, too, as the coin says.

    Args:
        n: (nodes,) examples to deal. own, all_: (nodes, 2) examples of the class, and of any, that the parts have.
        coin: (nodes,) bool, True for the first.
    """
    even, odd = np.divmod(n + own[:, 1] - own[:, 0], 2)  # as many to the first make both parts equal
    others = all_ - own  # once the parts are equal in the class, these tell which has more
    to_first = np.where(others[:, 0] == others[:, 1], coin, others[:, 0] < others[:, 1])
    return np.clip(even + (odd & to_first), 0, n)


def _alike(has: np.ndarray, who: np.ndarray, chance: np.random.PCG64) -> np.ndarray:
    """The patients `who`, those of the same classes side by side, sorted by the commonest class first; else random."""
    who = who[np.argsort(chance.random_raw(len(who)), kind="stable")]
    common = np.argsort(has.sum(axis=0), kind="stable")  # np.lexsort sorts by its last key first
    return who[np.lexsort(has[who][:, common].T)]


def _spread(n: int, chance: np.random.PCG64) -> np.ndarray:
    """The numbers below n in an order of which each stretch is spread over all of them: van der Corput's, turned."""
    bits = max(1, int(n - 1).bit_length())
    at = np.arange(2**bits)
    reverse = sum(((at >> k) & 1) << (bits - 1 - k) for k in range(bits)) ^ int(chance.random_raw() % 2**bits)
    return reverse[reverse < n]


def _chance(seed: int, part: int) -> np.random.PCG64:
    """Raw words: NumPy keeps these streams the same between its versions, unlike its shuffles."""
    return np.random.PCG64(np.random.SeedSequence((seed, part)))
