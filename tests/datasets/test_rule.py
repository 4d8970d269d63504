"""ecglib.datasets.rule: leads by name, rate, segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecglib.datasets.rule import Target, segment_names, starts, to_chunk, to_target
from ecglib.datasets.wfdb_files import MISSING
from ecglib.errors import InputError
from ecglib.leads import LEADS, derive_limb

ONE = ("V1",)
SPELLINGS = {
    "I": "DI",
    "II": "lead ii",
    "III": "III",
    "aVR": "AVR",
    "aVL": "avl",
    "aVF": "MDC_ECG_LEAD_aVF",
    "V1": "C1",
}


def ecg(length: int, seed: int = 0) -> np.ndarray:
    """(12, T) float32 mV in multiples of 1/256, so that the limb leads' relations hold exactly."""
    rng = np.random.default_rng(seed)
    i, ii = rng.integers(-512, 512, (2, length)) / 256
    return np.stack([i, ii, *derive_limb(i, ii), *rng.integers(-512, 512, (6, length)) / 256]).astype(np.float32)


def sine(hz: float, rate: int, seconds: float = 10) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)[None]


# --- leads


@settings(deadline=None)
@given(order=st.permutations(range(12)), spelled=st.booleans())
def test_leads_are_taken_by_name_and_left_as_they_are(order, spelled):
    signal = ecg(7)
    names = [SPELLINGS.get(LEADS[k], LEADS[k]) if spelled else LEADS[k] for k in order]
    got = to_target(signal[list(order)], names, 100, Target(100, None))
    assert (got.shape, got.dtype) == ((1, 12, 7), np.float32)
    np.testing.assert_array_equal(got[0], signal)


def test_further_channels_are_passed_over():
    signal = np.concatenate([ecg(7), np.ones((2, 7), np.float32)])
    got = to_target(signal, [*LEADS, "pleth", "vx"], 100, Target(100, None, ("v2", "I")))
    np.testing.assert_array_equal(got[0], signal[[7, 0]])


@settings(deadline=None)
@given(pair=st.permutations(LEADS[:6]).map(lambda p: p[:2]))
def test_any_two_limb_leads_give_the_other_four(pair):
    signal = ecg(7)
    have = [*pair, *LEADS[6:]]
    got = to_target(signal[[LEADS.index(lead) for lead in have]], have, 100, Target(100, None))
    np.testing.assert_allclose(got[0], signal, atol=1e-5)
    for lead in have:  # what is recorded is never recomputed
        np.testing.assert_array_equal(got[0, LEADS.index(lead)], signal[LEADS.index(lead)])


def test_what_cannot_be_derived_is_named():
    with pytest.raises(InputError, match=r"lead II, aVR, V2 is missing and cannot be derived; .* are I, V1"):
        to_target(ecg(7)[[0, 6]], ["I", "V1"], 100, Target(100, None, ("I", "II", "aVR", "V1", "V2")))
    with pytest.raises(InputError, match="lead II occurs twice"):
        to_target(ecg(7)[:2], ["II", "ii"], 100, Target(100, None, ("II",)))
    with pytest.raises(InputError, match="of 2 leads is needed"):
        to_target(ecg(7), ["I", "II"], 100, Target(100, None))
    with pytest.raises(InputError, match=r"of shape \(1, 0\)"):
        to_target(ecg(0)[:1], ["I"], 100, Target(100, None, ("I",)))


# --- rate


@settings(deadline=None, max_examples=30)
@given(rates=st.sampled_from([(500, 100), (1000, 500), (257, 100), (257, 500), (100, 500)]), share=st.floats(0.02, 0.7))
def test_a_sine_below_both_nyquists_keeps_frequency_and_amplitude(rates, share):
    rate, to_rate = rates
    hz = share * min(rates) / 2
    got = to_target(sine(hz, rate), ONE, rate, Target(to_rate, None, ONE))[0]
    want = sine(hz, to_rate)
    assert got.shape == want.shape
    inner = slice(to_rate, -to_rate)  # the filter reaches at most 10 samples of the lower rate
    np.testing.assert_allclose(got[:, inner], want[:, inner], atol=0.003)


@settings(deadline=None, max_examples=30)
@given(rates=st.sampled_from([(500, 100), (1000, 500), (257, 100), (1000, 100)]), share=st.floats(0, 1))
def test_nothing_above_the_new_nyquist_is_folded_back(rates, share):
    rate, to_rate = rates
    low, high = 1.2 * to_rate / 2, 0.98 * rate / 2  # 1.2: beyond the filter's slope
    got = to_target(sine(low + share * (high - low), rate), ONE, rate, Target(to_rate, None, ONE))[0]
    assert np.abs(got[:, to_rate:-to_rate]).max() < 0.003


@settings(deadline=None, max_examples=30)
@given(
    rates=st.sampled_from([(500, 100), (257, 500), (1000, 257)]), offset=st.floats(-5, 5), slope=st.floats(-0.5, 0.5)
)
def test_an_offset_and_a_drift_are_right_to_the_edges(rates, offset, slope):
    rate, to_rate = rates
    line = (offset + slope * np.arange(5 * rate) / rate).astype(np.float32)[None]
    got = to_target(line, ONE, rate, Target(to_rate, None, ONE))[0]
    want = (offset + slope * np.arange(5 * to_rate) / to_rate)[None]
    np.testing.assert_allclose(got, want, atol=0.002)  # -60 dB of what moves; a filter that sees 0 beyond errs by volts


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(-8, 8), rate=st.sampled_from([100, 250, 257, 500]))
def test_the_scale_is_linear(factor, rate):
    signal, target = ecg(1000), Target(100, 2)
    got = to_target((factor * signal).astype(np.float32), LEADS, rate, target)
    np.testing.assert_allclose(got, factor * to_target(signal, LEADS, rate, target), atol=1e-4)


def test_missing_samples_stay_missing_and_spoil_nothing_else():
    signal = np.repeat(sine(3, 500), 2, axis=0)
    clean = to_target(signal, ["V1", "V2"], 500, Target(100, None, ("V1", "V2")))[0]
    holed = signal.copy()
    holed[0, 2000:2500] = np.nan
    holed[1, :] = np.nan
    got = to_target(holed, ["V1", "V2"], 500, Target(100, None, ("V1", "V2")))[0]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(got[0])), np.arange(400, 501))
    assert np.isnan(got[1]).all()
    far = np.r_[0:380, 520:1000]
    np.testing.assert_allclose(got[0, far], clean[0, far], atol=1e-3)


@settings(deadline=None, max_examples=50)
@given(rates=st.sampled_from([(500, 100), (257, 100), (100, 257), (100, 100)]), at=st.integers(0, 199))
@example(rates=(500, 100), at=199)
@example(rates=(257, 100), at=199)
def test_one_missing_sample_is_not_lost(rates, at):
    rate, to_rate = rates
    signal = ecg(200)[:2]
    signal[0, at] = np.inf if at % 2 else np.nan
    got = to_target(signal, ["I", "II"], rate, Target(to_rate, None, ("I", "II")))[0]
    missing = np.flatnonzero(np.isnan(got[0]))
    assert len(missing) >= 1
    assert np.abs(missing / to_rate - at / rate).max() <= 1 / min(rates)
    assert np.isfinite(got[1]).all()


def test_a_rate_in_no_small_ratio_is_refused():
    with pytest.raises(InputError, match="cannot be resampled"):
        to_target(sine(3, 500), ONE, 499.999, Target(100, None, ONE))


# --- length


@settings(deadline=None)
@given(length=st.integers(1, 60), samples=st.integers(1, 20))
def test_segments_side_by_side_are_the_record_again(length, samples):
    signal = ecg(length)[:1]
    got = to_target(signal, ["I"], 1, Target(1, samples, ("I",)))
    if length < samples:
        assert got.shape == (0, 1, samples)
        return
    whole, rest = divmod(length, samples)
    assert got.shape == (whole + (2 * rest >= samples), 1, samples)
    side_by_side = got[:whole].transpose(1, 0, 2).reshape(1, -1)  # (S, 1, T') -> (1, S T')
    np.testing.assert_array_equal(side_by_side, signal[:, : whole * samples])
    if 2 * rest >= samples:
        np.testing.assert_array_equal(got[-1], signal[:, -samples:])
    assert starts(length, samples, "crop") == [0]
    np.testing.assert_array_equal(to_target(signal, ["I"], 1, Target(1, samples, ("I",), "crop")), got[:1])


@settings(deadline=None)
@given(length=st.integers(1, 19))
def test_shorter_records_are_tiled_or_padded(length):
    signal = ecg(length)[:1]
    tiled = to_target(signal, ["I"], 1, Target(1, 20, ("I",), shorter="tile"))
    assert tiled.shape == (1, 1, 20)
    for k in range(20):
        assert tiled[0, 0, k] == signal[0, k % length]
    padded = to_target(signal, ["I"], 1, Target(1, 20, ("I",), shorter="pad"))
    np.testing.assert_array_equal(padded[0, :, :length], signal)
    assert padded.shape == (1, 1, 20)
    assert not padded[0, :, length:].any()


def test_lengths_are_counted_at_the_new_rate():
    got = to_target(ecg(462600)[:2], ["I", "II"], 257, Target(100, 10, ("I", "II")))  # half an hour of St Petersburg
    assert got.shape == (180, 2, 1000)


def test_names_of_segments():
    assert segment_names("A1", 1) == ["A1"]
    assert segment_names("A1", 3) == ["A1/0", "A1/1", "A1/2"]
    assert segment_names("A1", 0) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": 0}, "rate is 0; give a whole number"),
        ({"rate": 99.5}, "rate is 99.5"),
        ({"seconds": 0}, "seconds is 0, which is no whole number of samples"),
        ({"seconds": 0.123}, "seconds is 0.123"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": "10"}, "seconds is '10'"),
        ({"leads": "II"}, "leads is 'II'; give a list"),
        ({"leads": ()}, "leads is \\(\\)"),
        ({"leads": ("II", "ii")}, "lead II occurs twice"),
        ({"leads": ("V9",)}, "'V9' is not one of the twelve"),
        ({"longer": "segments"}, "longer is 'segments'. Did you mean 'segment'"),
        ({"shorter": "zero"}, "shorter is 'zero'. The choices are drop, tile, pad"),
    ],
)
def test_a_target_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        Target(**{"rate": 100, "seconds": 10, **options})


# --- counts


def test_counts_mark_what_is_missing_and_what_was_clipped():
    mv = np.array([[[0.0, 1.0004, np.nan]], [[-40.0, 0.5, 32.767]]], np.float32)
    chunk = to_chunk(mv, 0.001)
    assert chunk.signals.dtype == np.int16
    assert chunk.signals.tolist() == [[[0, 1000, MISSING]], [[-32767, 500, 32767]]]
    assert chunk.clipped.tolist() == [False, True]
    assert chunk.sums.tolist() == [[(1000 - 32768) % 65536], [500]]
    assert chunk.agree.all()
    assert len(to_chunk(mv[:0], 0.001)) == 0
