"""Probes: scikit-learn's own answer, chosen on validation alone, from vectors that are computed once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecglib import probing
from ecglib.cohort import Cohort
from ecglib.datasets import load
from ecglib.errors import InputError
from ecglib.label_fractions import labelled_fraction
from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.probing import STRENGTHS, LinearProbe
from ecglib.signals import Standardise

F, C = 6, 3


def drawn(seed: int, n: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of several sizes and levels, and classes that hang on some of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, F))
    weights = np.random.default_rng(99).normal(size=(F, C))
    y = (z @ weights + noise * rng.normal(size=(n, C)) > 0.3).astype(np.float32)
    return (z * 10.0 ** np.arange(-2, 4) + np.arange(F)).astype(np.float32), y


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    return load("synthetic", rate=100, records=250, cache=tmp_path_factory.mktemp("cache"), progress=False)


@pytest.fixture(scope="module")
def parts(cohort) -> dict[str, Cohort]:
    return {"train": cohort.in_folds(range(1, 9)), "valid": cohort.in_folds(9), "test": cohort.in_folds(10)}


def encoder(**options) -> Encoder:
    torch.manual_seed(0)
    return Encoder(
        "ecg_vit_nano", leads=("V2", "I"), rate=100, standardise=Standardise("none"), window_s=2.5, **options
    )


# the linear probe


@pytest.mark.parametrize("strength", STRENGTHS)
def test_equals_scikit_learn_on_standardised_vectors(strength):
    (x, y), (valid_x, valid_y), (test_x, _) = drawn(0, 200), drawn(1, 80), drawn(2, 80)
    probe = LinearProbe([strength]).fit(x, y, valid_x, valid_y)
    for c in range(C):
        theirs = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(x, y[:, c])
        said = theirs.predict_proba(test_x)[:, 1]
        np.testing.assert_allclose(probe.probabilities(test_x)[:, c], said, atol=2e-3)
        np.testing.assert_allclose(probe.logits(test_x)[:, c], theirs.decision_function(test_x), atol=2e-2)
    assert probe.strength == strength


def test_the_strength_is_the_one_with_the_best_macro_auc_on_validation():
    (x, y), (valid_x, valid_y) = drawn(0, 25, noise=3.0), drawn(1, 300, noise=3.0)
    strengths = (1e-4, 1e-2, 1.0, 1e4)
    value = {}
    for strength in strengths:
        one = LinearProbe([strength]).fit(x, y, valid_x, valid_y)
        value[strength] = roc_auc_score(valid_y, one.logits(valid_x), average="macro")
    best = max(value, key=value.get)
    assert len(set(value.values())) == len(strengths), "the choice must matter here"
    chosen = LinearProbe(strengths).fit(x, y, valid_x, valid_y)
    assert chosen.strength == best
    alone = LinearProbe([best]).fit(x, y, valid_x, valid_y)
    assert np.array_equal(chosen.logits(valid_x), alone.logits(valid_x)), "the best one's weights, not the last one's"


def test_a_vector_that_is_the_same_everywhere_does_no_harm():
    (x, y), (valid_x, valid_y) = drawn(0, 100), drawn(1, 50)
    flat = [np.column_stack([part, np.full(len(part), 3.0, np.float32)]) for part in (x, valid_x)]
    with_it, without = LinearProbe().fit(flat[0], y, flat[1], valid_y), LinearProbe().fit(x, y, valid_x, valid_y)
    np.testing.assert_allclose(with_it.logits(flat[1]), without.logits(valid_x), atol=1e-3)


def test_what_cannot_be_learnt_is_refused():
    (x, y), (valid_x, valid_y) = drawn(0, 50), drawn(1, 50)
    for value in (0.0, 1.0):
        y[:, 1] = value
        with pytest.raises(InputError, match="with and without each class"):
            LinearProbe().fit(x, y, valid_x, valid_y)
    for strengths in ([], [1.0, 0.0], [-1.0]):
        with pytest.raises(InputError, match="strengths above 0"):
            LinearProbe(strengths)


def test_a_validation_part_that_cannot_judge_is_refused():
    (x, y), (valid_x, valid_y) = drawn(0, 50), drawn(1, 20)
    with pytest.raises(InputError, match="validation"):
        LinearProbe().fit(x, y, valid_x, np.zeros_like(valid_y))


# the whole of it, on a cohort's parts


def vectors_of(parts: dict[str, Cohort], seed: int = 0) -> dict[str, np.ndarray]:
    """Vectors that tell of the labels."""
    rng = np.random.default_rng(seed)
    return {
        name: np.hstack([part.labels("superclass"), rng.normal(size=(len(part), 3))]).astype(np.float32)
        + rng.normal(size=(len(part), 3 + len(part.classes("superclass")))).astype(np.float32)
        for name, part in parts.items()
    }


def test_test_rows_never_influence_what_is_learnt(parts):
    x = vectors_of(parts)
    common = {"model": "probe", "seed": 0, "task": "superclass"}
    valid, test = probing.linear(x, parts, **common)
    other_valid, other_test = probing.linear(x | {"test": 5 - 3 * x["test"]}, parts, **common)
    assert np.array_equal(valid.p, other_valid.p)
    assert not np.array_equal(test.p, other_test.p)
    shuffled = parts | {"test": parts["test"].subset(np.arange(len(parts["test"]))[::-1])}
    again = probing.linear(x, shuffled, **common)
    assert np.array_equal(again[0].p, valid.p)
    assert np.array_equal(again[1].p, test.p), "test labels, too, are only looked at afterwards"


def test_what_is_said_belongs_to_the_parts_records(parts):
    x = vectors_of(parts)
    for said, name in zip(probing.linear(x, parts, model="probe", seed=3, task="superclass"), ("valid", "test")):
        assert (said.model, said.seed, said.split) == ("probe", 3, name)
        assert said.record.tolist() == parts[name].records["record"].tolist()
        assert said.patient.tolist() == parts[name].records["patient"].tolist()
        assert np.array_equal(said.y, parts[name].labels("superclass"))
        assert said.classes == parts[name].classes("superclass")
        assert said.p.shape == said.y.shape
        assert ((said.p > 0) & (said.p < 1)).all()
        own = [roc_auc_score(said.y[:, c], said.p[:, c]) for c in range(len(said.classes)) if said.y[:, c].any()]
        assert np.mean(own) > 0.65


def test_a_shares_vectors_are_found_among_those_of_the_whole(parts):
    x = vectors_of(parts)
    share = labelled_fraction(parts["train"], "superclass", 0.5, seed=0)
    assert 0 < len(share) < len(parts["train"])
    few = probing.linear(x, parts, model="probe", seed=0, task="superclass", train=share)
    own = np.isin(parts["train"].records["record"], share.records["record"])
    alone = probing.linear(
        x | {"train": x["train"][own]}, parts | {"train": share}, model="probe", seed=0, task="superclass"
    )
    for a, b in zip(few, alone, strict=True):
        assert np.array_equal(a.p, b.p)
    whole = probing.linear(x, parts, model="probe", seed=0, task="superclass")
    assert not np.array_equal(whole[0].p, few[0].p)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_records_that_are_not_the_training_parts_are_refused(parts, part):
    with pytest.raises(InputError, match="not among the training part's"):
        probing.linear(vectors_of(parts), parts, model="probe", seed=0, task="superclass", train=parts[part])


# vectors and tokens


def test_vectors_are_the_encoders_of_every_record_in_the_cohorts_order(parts):
    one, part = encoder(), parts["test"]
    found = probing.vectors(one, part, batch_size=7)
    assert found.dtype == np.float32
    assert found.shape == (len(part), one.feature_dim)
    signal = torch.from_numpy(part.signal_mv(leads=("V2", "I")))
    for i in (0, 6, 7, len(part) - 1):
        np.testing.assert_allclose(found[i], one.embed(signal[i : i + 1])[0], rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_all_windows(parts):
    one, part = encoder(), parts["test"].subset(np.arange(5))
    found = probing.tokens(one, part, batch_size=2)
    assert found.dtype == torch.float16
    assert found.shape == (5, 4 * 2 * 10, 96)  # four windows of 2.5 s, two leads, ten places
    signal = torch.from_numpy(part.signal_mv(leads=("V2", "I")))
    torch.testing.assert_close(found.float(), one.embed_tokens(signal), rtol=2e-3, atol=2e-3)


def test_a_cohort_without_the_encoders_leads_is_refused(parts):
    one = encoder(have=(*LEADS, "V7"))
    with pytest.raises(InputError, match="V7"):
        probing.vectors(one, parts["test"])


# age and sex


def test_demographics_are_age_in_decades_about_60_and_flags():
    records = pd.DataFrame(
        {
            "age": pd.array([60, 85, None, 300, 90, 40], "Float64"),
            "sex": ["female", "MALE", None, "male", "x", "Female"],
        }
    )
    expected = np.array(
        [
            # age, unknown, female, male, unknown
            [0.0, 0, 1, 0, 0],
            [2.5, 0, 0, 1, 0],
            [0.0, 1, 0, 0, 1],
            [3.0, 0, 0, 1, 0],
            [3.0, 0, 0, 0, 1],
            [-2.0, 0, 1, 0, 0],
        ],
        np.float32,
    )
    found = probing.demographics(records)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_demographics_of_a_cohort_can_be_probed(parts):
    x = {name: probing.demographics(part.records) for name, part in parts.items()}
    assert all(np.isfinite(part).all() and part.shape[1] == 5 for part in x.values())
    said = probing.linear(x, parts, model="age and sex", seed=0, task="superclass")
    assert len(said) == 2
