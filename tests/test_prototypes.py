"""Class prototypes against plain loops, and what must not move them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib.errors import InputError
from ecglib.metrics import auc
from ecglib.prototypes import prototypes, scores


def made(seed: int, n: int = 14, features: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, features) and labels (n, classes), each class with a positive and a negative."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < 0.4).astype(float)
    labels[0], labels[1] = 1, 0
    return rng.normal(2, 3, (n, features)) + labels @ rng.normal(0, 2, (classes, features)), labels


def slow(train, labels, new) -> tuple[list, list]:
    """Prototypes (C, 2, F) and scores (N, C), one number at a time."""
    n, features = len(train), len(train[0])
    mean = [sum(v[f] for v in train) / n for f in range(features)]
    spread = [math.sqrt(sum((v[f] - mean[f]) ** 2 for v in train) / n) for f in range(features)]

    def unit(v):
        length = math.sqrt(sum(a * a for a in v))
        return [a / length for a in v]

    def standard(v):
        return unit([(v[f] - mean[f]) / spread[f] for f in range(features)])

    found = []
    for c in range(len(labels[0])):
        pair = []
        for wanted in (1, 0):
            members = [standard(v) for v, y in zip(train, labels) if y[c] == wanted]
            pair.append(unit([sum(v[f] for v in members) / len(members) for f in range(features)]))
        found.append(pair)
    said = [
        [sum(a * (p - q) for a, p, q in zip(standard(v), positive, negative)) for positive, negative in found]
        for v in new
    ]
    return found, said


@given(st.integers(0, 10_000))
def test_against_plain_loops(seed):
    (train, labels), (new, _) = made(seed), made(seed + 1)
    of = prototypes(train, labels)
    found, said = slow(train.tolist(), labels.tolist(), new.tolist())
    assert of.vectors.shape == (3, 2, 5)
    np.testing.assert_allclose(of.vectors, found, atol=1e-9)
    np.testing.assert_allclose(scores(new, of), said, atol=1e-9)


@given(st.integers(0, 10_000))
def test_units_order_and_repetition_make_no_difference(seed):
    (train, labels), (new, _) = made(seed), made(seed + 1)
    rng = np.random.default_rng(seed)
    plain = scores(new, prototypes(train, labels))
    unit, zero, order = rng.uniform(0.01, 100, 5), rng.normal(0, 10, 5), rng.permutation(len(train))
    moved = scores(new * unit + zero, prototypes((train * unit + zero)[order], labels[order]))
    np.testing.assert_allclose(moved, plain, atol=1e-8)
    twice = prototypes(np.vstack([train, train]), np.vstack([labels, labels]))
    np.testing.assert_allclose(scores(new, twice), plain, atol=1e-9)
    assert (np.abs(plain) <= 2 + 1e-12).all()
    opposite = scores(new, prototypes(train, 1 - labels))
    np.testing.assert_allclose(opposite, -plain, atol=1e-9)


def test_separate_groups_are_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 2)) < 0.3).astype(int)
    vectors = rng.normal(0, 1, (400, 12))
    vectors[:, 4] += 5 * labels[:, 0]
    of = prototypes(vectors[:200], labels[:200], ("MI", "CD"))
    first, second = auc(labels[200:], scores(vectors[200:], of))
    assert first > 0.95
    assert 0.35 < second < 0.65


def test_a_feature_that_never_moves_and_the_mean_itself_say_nothing():
    train, labels = made(0)
    with_constant = np.column_stack([train, np.full(len(train), 0.1)])
    of = prototypes(with_constant, labels)
    np.testing.assert_allclose(scores(with_constant, of), scores(train, prototypes(train, labels)), atol=1e-9)
    assert scores(of.mean[None], of) == pytest.approx(np.zeros((1, 3)))


TRAIN, LABELS = made(0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: prototypes(TRAIN, LABELS * [1, 0, 1], ("MI", "CD", "HYP")), "Class 'CD' has no positive record"),
        (lambda: prototypes(TRAIN, LABELS * [1, 0, 1]), "Class 1 has no positive"),
        (lambda: prototypes(TRAIN, np.maximum(LABELS, [0, 0, 1])), "Class 2 has no negative"),
        (lambda: prototypes(TRAIN, LABELS[:5]), r"\(5, 3\) for 14"),
        (lambda: prototypes(TRAIN, LABELS / 2), "0 or 1"),
        (lambda: prototypes(TRAIN, LABELS, ("MI",)), "1 class names for 3"),
        (lambda: prototypes(TRAIN * np.nan, LABELS), "finite"),
        (lambda: scores(TRAIN[:, :2], prototypes(TRAIN, LABELS)), "2 features, the prototypes 5"),
        (lambda: scores(TRAIN[0], prototypes(TRAIN, LABELS)), "records, features"),
    ],
)
def test_prototypes_refuse(call, says):
    with pytest.raises(InputError, match=says):
        call()
