"""R peaks at known times, rates of synthetic hearts, of records with rhythm statements and of LUDB's marked ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import datasets, heart_rate
from ecglib.datasets import ludb, synthetic
from ecglib.errors import InputError


def train(times, *, rate, seconds=10.0, heights=None, leads=3):
    """(L, T) mV: a bell of 20 ms, like an R wave, at each of `times` (s), and a broad one after it, like a T wave."""
    t = np.arange(round(seconds * rate)) / rate
    heights = np.ones(len(times)) if heights is None else heights
    one = sum((h * np.exp(-0.5 * ((t - at) / 0.02) ** 2) for at, h in zip(times, heights)), np.zeros_like(t))
    one += sum(0.4 * h * np.exp(-0.5 * ((t - at - 0.28) / 0.06) ** 2) for at, h in zip(times, heights))
    return np.stack([size * one for size in np.linspace(-0.7, 1.2, leads)]).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(bpm=st.floats(32, 200), start=st.floats(0.2, 0.4), rate=st.sampled_from([100, 250, 500]))
def test_a_regular_train_has_its_own_rate(bpm, start, rate):
    times = np.arange(start, 9.7, 60 / bpm)
    (found,) = heart_rate.r_peaks(train(times, rate=rate)[None], rate=rate)
    assert len(found) == len(times)
    np.testing.assert_allclose(found, times, atol=0.03)
    np.testing.assert_allclose(heart_rate.heart_rate(train(times, rate=rate)[None], rate=rate), bpm, rtol=0.01)


def test_the_rate_is_that_of_the_median_interval_not_of_the_beats_counted():
    times = np.array([0.5, 1.3, 2.1, 2.9, 3.4, 4.5, 5.3, 6.1, 6.9, 7.7, 8.5, 9.3])  # one early beat and its pause
    assert heart_rate.heart_rate(train(times, rate=250)[None], rate=250) == pytest.approx(75, abs=0.5)


def test_low_beats_between_tall_ones_are_found():
    times = np.arange(0.5, 9.7, 0.8)
    heights = np.where(np.arange(len(times)) % 4 == 0, 2.5, 1.0)
    assert heart_rate.heart_rate(train(times, rate=250, heights=heights)[None], rate=250) == pytest.approx(75, abs=0.5)


def test_one_loose_electrode_and_a_flat_lead_change_nothing():
    times = np.arange(0.3, 9.7, 0.9)
    clean = train(times, rate=100, leads=12)
    bad = clean.copy()
    bad[3] = 20 * np.random.default_rng(0).choice([-1, 1], clean.shape[1])
    bad[5] = 0.7  # flat
    both = heart_rate.heart_rate(np.stack([clean, bad]), rate=100)
    np.testing.assert_allclose(both, 60 / 0.9, atol=0.5)


def test_too_few_beats_give_no_rate():
    x = np.stack([train(np.arange(1, 1 + n) * 0.9, rate=100, seconds=4) for n in (0, 2, 3)])
    found = heart_rate.heart_rate(x, rate=100)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(60 / 0.9, abs=0.5)
    assert found.dtype == np.float32
    assert heart_rate.r_peaks(x, rate=100)[0].shape == (0,)


@pytest.mark.parametrize(
    ("shape", "rate", "said"),
    [
        ((12, 1000), 100, "batch"),
        ((1, 12, 150), 100, "2 s"),
        ((1, 12, 1000), 40, "50 Hz"),
        ((1, 0, 1000), 100, "batch"),
    ],
)
def test_bad_input_is_refused(shape, rate, said):
    with pytest.raises(InputError, match=said):
        heart_rate.heart_rate(np.zeros(shape, np.float32), rate=rate)


def test_a_missing_sample_is_refused():
    x = train([1, 2, 3], rate=100)[None]
    x[0, 0, 5] = np.nan
    with pytest.raises(InputError, match="finite"):
        heart_rate.heart_rate(x, rate=100)


def test_synthetic_hearts_beat_as_they_were_told_to(tmp_path):
    cohort = synthetic.build(tmp_path / "cohort", records=300, rate=100, progress=False)
    found = heart_rate.of_cohort(cohort)
    irregular = {"AFIB", "SARRH", "PVC", "PAC"}
    steady = np.array([not irregular & {*truth, *said} for truth, said in zip(*steady_of(cohort))])
    error = np.abs(found - cohort.records["heart_rate"])[steady]
    assert steady.sum() > 200
    assert np.median(error) < 1
    assert (error < 5).all()
    in_halves = [heart_rate.of_cohort(cohort.subset(part)) for part in (slice_of(0, 130), slice_of(130, 300))]
    np.testing.assert_array_equal(np.concatenate(in_halves), found)


def steady_of(cohort):
    return cohort.records["findings"], cohort.records["statements"]


def slice_of(first, last):
    return np.arange(first, last)


def test_an_empty_cohort_has_no_rates(tmp_path):
    cohort = synthetic.build(tmp_path / "cohort", records=2, rate=100, progress=False)
    assert heart_rate.of_cohort(cohort.subset(np.zeros(2, bool))).shape == (0,)


def test_real_rhythm_statements_hold(shared_data, tmp_path):
    cohort = datasets.load(shared_data / "ptb-xl-raw", rate=100, cache=tmp_path, bad="keep", progress=False)
    labels = cohort.labels("rhythm") > 0
    chosen = {name: np.flatnonzero(labels[:, cohort.classes("rhythm").index(name)]) for name in ("SBRAD", "STACH")}
    assert all(len(rows) >= 5 for rows in chosen.values())
    assert (heart_rate.of_cohort(cohort.subset(chosen["SBRAD"])) < 60).all()
    assert (heart_rate.of_cohort(cohort.subset(chosen["STACH"])) > 100).all()


def test_it_agrees_with_the_marks_of_cardiologists(shared_data, tmp_path):
    cohort = datasets.load(shared_data / "ludb", rate=100, cache=tmp_path, resample=True, progress=False)
    marks = ludb.boundaries(shared_data / "ludb")
    qrs = marks[marks["wave"] == "QRS"].sort_values("peak_s").groupby(["record", "lead"])["peak_s"]
    said = (60 / qrs.agg(lambda s: s.diff().median())).groupby("record").median().reindex(cohort.records["record"])
    error = np.abs(heart_rate.of_cohort(cohort) - said.to_numpy())
    assert np.isfinite(error).all()
    assert np.median(error) < 0.5
    assert np.percentile(error, 95) < 2.5
    assert (error < 5).all()
