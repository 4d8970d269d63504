"""ecglib.label_fractions: whole patients, each class in its share, nested; a sentence where a class would be lost."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.cohort import Cohort, write
from ecglib.errors import InputError
from ecglib.label_fractions import halve, labelled_fraction, stratified_order

TASK = {"kind": {"A": "A", "B": "B", "C": "C"}}


def cohort(path, has: np.ndarray, records_each: np.ndarray) -> Cohort:
    """Patients (P, 3) with so many records each; a patient's first record has the classes, the others none but "A"."""
    patient = np.repeat(np.arange(len(has)), records_each)
    statements = []
    for p, count in enumerate(records_each):
        first = [code for code, there in zip("ABC", has[p]) if there]
        statements += [first] + [[code for code in first if code == "A"]] * (count - 1)
    table = pd.DataFrame(
        {"record": [f"r{i}" for i in range(len(patient))], "patient": [f"p{p}" for p in patient], "fold": 1,
         "age": 50.0, "sex": None, "statements": statements}
    )  # fmt: skip
    signals = np.zeros((len(table), 2, 4), np.int16)
    return write(path, signals, table, name="t", rate=100, leads=("I", "II"), scale=0.001, label_sets=TASK)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    rng = np.random.default_rng(0)
    has = rng.random((200, 3)) < [0.5, 0.2, 0.1]
    return cohort(tmp_path_factory.mktemp("fractions") / "c", has, rng.integers(1, 4, 200))


@given(share=st.floats(0.3, 1), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_patients_come_whole_and_each_class_in_its_share(train, share, seed):
    part = labelled_fraction(train, "kind", share, seed=seed)
    whole = train.records.groupby("patient").size()
    mine = part.records.groupby("patient").size()
    assert len(mine) == round(share * len(whole))
    assert (mine == whole[mine.index]).all()
    assert part.rows.tolist() == sorted(part.rows)  # the records keep their order
    for k in range(3):
        of = train.records["patient"][train.labels("kind")[:, k] > 0].unique()
        got = part.records["patient"][part.labels("kind")[:, k] > 0].unique()
        assert abs(len(got) - share * len(of)) <= 6


@given(
    patients=st.integers(1, 300), classes=st.integers(1, 6), seed=st.integers(0, 2**32), how=st.integers(0, 2**32),
    alike=st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_every_beginning_of_the_order_is_stratified(patients, classes, seed, how, alike):
    rng = np.random.default_rng(how)
    has = rng.random((patients, classes)) < rng.random(classes)
    if alike:  # classes that nearly always come together
        has = has[:, rng.integers(classes, size=classes)] ^ (rng.random(has.shape) < 0.05)
    order = stratified_order(has, seed=seed)
    assert sorted(order) == list(range(patients))
    n = np.arange(1, patients + 1)[:, None]
    off = np.cumsum(has[order], axis=0) - n / patients * has.sum(axis=0)  # (P, C) patients
    assert np.abs(off).max() <= classes + 3


def test_it_is_nearer_than_chance():
    has = np.random.default_rng(1).random((4000, 5)) < [0.45, 0.25, 0.25, 0.2, 0.1]
    expected = 400 / 4000 * has.sum(axis=0)
    off = [np.abs(has[stratified_order(has, seed=s)[:400]].sum(axis=0) - expected).max() for s in range(5)]
    drawn = [
        np.abs(has[np.random.default_rng(s).permutation(4000)[:400]].sum(axis=0) - expected).max() for s in range(5)
    ]
    assert max(off) <= 3 < min(drawn)


def dealt_one_by_one(n: int, own: list[int], all_: list[int], coin: bool) -> int:
    """Sechidis's rule in plain words, for two parts."""
    own, all_, first = list(own), list(all_), 0
    for _ in range(n):
        keys = [(own[j], all_[j], (j == 1) == coin) for j in (0, 1)]
        to = 0 if keys[0] < keys[1] else 1
        own[to], all_[to], first = own[to] + 1, all_[to] + 1, first + (to == 0)
    return first


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 5, st.booleans()), min_size=1, max_size=20))
def test_halving_is_the_rule_one_by_one(nodes):
    n, own0, own1, more0, more1, coin = map(np.array, zip(*nodes))
    own = np.column_stack([own0, own1])
    all_ = own + np.column_stack([more0, more1])
    slow = [dealt_one_by_one(*args) for args in zip(n, own.tolist(), all_.tolist(), coin)]
    assert halve(n, own, all_, coin).tolist() == slow


def test_shares_of_one_seed_are_nested_and_seeds_differ(train):
    parts = [set(labelled_fraction(train, "kind", share, seed=3).rows) for share in (0.3, 0.5, 0.8, 1.0)]
    for smaller, larger in pairwise(parts):
        assert smaller < larger
    assert parts[0] == set(labelled_fraction(train, "kind", 0.3, seed=3).rows)
    assert parts[0] != set(labelled_fraction(train, "kind", 0.3, seed=4).rows)


def test_the_draw_does_not_hang_on_the_order_of_the_records(train):
    turned = train.subset(np.arange(len(train))[::-1])
    names = [set(labelled_fraction(c, "kind", 0.4, seed=0).records["record"]) for c in (train, turned)]
    assert names[0] == names[1]


def test_all_of_it_is_everything(train):
    assert labelled_fraction(train, "kind", 1, seed=0) is train


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be(train, share):
    with pytest.raises(InputError, match=r"share of labels is .*; give a number above 0 and at most 1\."):
        labelled_fraction(train, "kind", share, seed=0)


def test_a_class_without_a_positive_is_named(train):
    with pytest.raises(
        InputError, match=r"share of 0\.01 .* leaves \d+ of \d+ records of t, none of them of .*C \(task"
    ):
        labelled_fraction(train, "kind", 0.01, seed=0)


def test_a_class_that_nobody_has_is_named_even_of_all(tmp_path):
    has = np.tile([True, True, False], (4, 1))
    with pytest.raises(InputError, match=r"share of 1 .* none of them of C"):
        labelled_fraction(cohort(tmp_path / "c", has, np.ones(4, int)), "kind", 1, seed=0)


def test_twenty_thousand_patients_take_little_time():
    has = np.random.default_rng(0).random((20_000, 40)) < 0.08
    started = time.process_time()
    stratified_order(has, seed=0)
    assert time.process_time() - started < 2
