"""Standardise, filter, resample, augment: on signals whose answer is known."""

from __future__ import annotations

import csv
import inspect
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.errors import InputError
from ecglib.signals import (
    DESTROYS,
    Augment,
    Standardise,
    bandpass,
    crop,
    drop_leads,
    resample,
    resized_crop,
    shift,
    stretch,
    time_out,
    wander,
)

RATE = 100


@pytest.fixture
def sample() -> torch.Tensor:
    """(n, L, T) mV whose leads differ in offset and scale."""
    torch.manual_seed(0)
    return torch.randn(20, 3, 400) * torch.tensor([0.1, 0.5, 2.0])[:, None] + torch.tensor([1.0, 0.0, -1.0])[:, None]


def test_scalar_is_one_mean_and_one_std(sample):
    norm = Standardise("scalar").fit(sample)
    assert norm.mean.shape == norm.std.shape == (1, 1)
    z = norm(sample)
    assert float(z.mean()) == pytest.approx(0, abs=1e-5)
    assert float(z.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert float(z[:, 2].std()) > 5 * float(z[:, 0].std())  # the leads keep their relation


def test_lead_is_a_mean_and_a_std_per_lead(sample):
    z = Standardise("lead", 3).fit(sample)(sample)
    torch.testing.assert_close(z.mean(dim=(0, 2)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(dim=(0, 2), correction=0), torch.ones(3), rtol=0, atol=1e-5)


def test_record_is_per_record_and_lead_and_a_flat_lead_is_zero(sample):
    sample[3, 1] = 0.7
    z = Standardise("record")(sample)
    assert not bool(z[3, 1].any())
    rest = torch.ones(20, 3, dtype=torch.bool)
    rest[3, 1] = False
    torch.testing.assert_close(z.mean(dim=2), torch.zeros(20, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(dim=2, correction=0)[rest], torch.ones(59), rtol=0, atol=1e-4)


def test_none_gives_back_what_it_got(sample):
    assert Standardise("none").fit(sample)(sample) is sample


@pytest.mark.parametrize("mode", ["scalar", "lead", "record", "none"])
def test_a_part_for_some_leads_normalises_them_alike(sample, mode):
    whole = Standardise(mode, 3).fit(sample)
    torch.testing.assert_close(whole.of([2, 0])(sample[:, [2, 0]]), whole(sample)[:, [2, 0]])


def test_statistics_travel_in_the_state(sample):
    norm = Standardise("lead", 3).fit(sample)
    again = Standardise("lead", 3)
    again.load_state_dict(norm.state_dict())
    assert torch.equal(again(sample), norm(sample))


def test_fit_reads_evenly_spaced_records_of_a_cohort(sample):
    class FakeCohort:
        asked = None

        def __len__(self):
            return len(sample)

        def signal_mv(self, rows):
            self.asked = rows.tolist()
            return sample.numpy()[rows]

    cohort = FakeCohort()
    norm = Standardise("scalar").fit(cohort, records=5)
    assert cohort.asked == [0, 5, 10, 14, 19]
    torch.testing.assert_close(norm.mean, Standardise("scalar").fit(sample[cohort.asked]).mean)
    Standardise("scalar").fit(cohort, records=100)
    assert cohort.asked == list(range(20))


@pytest.mark.parametrize(
    ("mode", "bad", "says"),
    [
        ("lead", lambda x: x[:0], "no training signal"),
        ("scalar", lambda x: x * torch.nan, "hold NaN"),
        ("lead", lambda x: x * torch.tensor([1.0, 0.0, 1.0])[:, None], "flat in all"),
    ],
)
def test_signals_that_cannot_be_normalised(sample, mode, bad, says):
    with pytest.raises(InputError, match=says):
        Standardise(mode, 3).fit(bad(sample))


def test_an_unknown_normalisation_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'record'"):
        Standardise("records")


def test_an_unfitted_standardiser_is_refused(sample):
    with pytest.raises(InputError, match="has not been fitted"):
        Standardise("scalar").of([0])


def sine(hz: float, seconds: float = 10, rate: float = RATE, phase: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)


@pytest.mark.parametrize(
    ("low", "high", "kept", "removed"),
    [(0.5, 40, 10, 0.05), (0.5, 40, 10, 49), (0.5, None, 10, 0.05), (None, 20, 5, 45)],
)
def test_filter_keeps_the_band_without_delay_and_removes_the_rest(low, high, kept, removed):
    x = np.stack([sine(kept), sine(removed)])[None].astype(np.float32)  # (1, 2, T)
    y = bandpass(x, rate=RATE, low_hz=low, high_hz=high)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    middle = slice(200, 800)
    np.testing.assert_allclose(y[0, 0, middle], x[0, 0, middle], atol=0.02)
    assert np.abs(y[0, 1, middle]).max() < 0.05


@pytest.mark.parametrize(("low", "high"), [(None, None), (40, 0.5), (0, 40), (0.5, 50), (5, 5)])
def test_edges_that_make_no_filter_are_refused(low, high):
    with pytest.raises(InputError, match="must rise and lie above 0 and below 50 Hz"):
        bandpass(np.zeros((1, 1000)), rate=RATE, low_hz=low, high_hz=high)


def test_a_signal_too_short_to_filter_is_refused():
    with pytest.raises(InputError, match="20 samples is too short"):
        bandpass(np.zeros((1, 20)), rate=RATE, low_hz=0.5, high_hz=40)


@pytest.mark.parametrize(("rate", "to_rate"), [(500, 100), (100, 500), (360, 100), (257, 100), (100, 62.5)])
def test_resampling_gives_the_signal_sampled_anew_up_to_the_edges(rate, to_rate):
    x = (2.0 + sine(3, rate=rate))[None, None].astype(np.float32)  # far from 0 mV at both ends
    y = resample(x, rate=rate, to_rate=to_rate)
    at = np.arange(y.shape[-1]) / to_rate
    assert y.shape[-1] == int(np.ceil(x.shape[-1] * to_rate / rate))
    assert y.dtype == np.float32
    expected = 2.0 + np.sin(2 * np.pi * 3 * at + 0.3)
    inside = (at > 0.3) & (at < 9.7)
    np.testing.assert_allclose(y[0, 0, inside], expected[inside], atol=0.01)
    np.testing.assert_allclose(y[0, 0], expected, atol=0.35)  # zeros outside would be off by 1 and more


def test_resampling_keeps_a_constant_and_removes_what_the_new_rate_cannot_hold():
    constant = np.full((2, 1000), -1.5, dtype=np.float32)
    np.testing.assert_allclose(resample(constant, rate=500, to_rate=100), -1.5, atol=1e-4)
    alias = resample(sine(90, rate=500)[None], rate=500, to_rate=100)
    assert np.abs(alias[0, 50:-50]).max() < 0.01
    assert resample(constant, rate=100, to_rate=100) is constant


@pytest.mark.parametrize(("rate", "to_rate"), [(0, 100), (100, -1), (100, 31.41592653589793)])
def test_rates_that_cannot_be_resampled_are_refused(rate, to_rate):
    with pytest.raises(InputError):
        resample(np.zeros((1, 1000)), rate=rate, to_rate=to_rate)


# what is on, and whether the leads of a record change together
AUGMENTATIONS = {
    "crop": ({"crop_s": 2.5}, True),
    "shift": ({"shift_s": 1.0}, True),
    "stretch": ({"stretch": 0.1}, True),
    "resized_crop": ({"resized_crop": 0.5}, True),
    "time_out": ({"time_out": 0.5}, True),
    "amplitude": ({"amplitude": 0.3}, True),
    "noise": ({"noise_mv": 0.05}, False),
    "wander": ({"wander_mv": 0.2}, False),
    "lead_dropout": ({"lead_dropout": 0.5}, False),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_is_random_per_record_and_follows_the_seed(name):
    options, together = AUGMENTATIONS[name]
    augment = Augment(rate=RATE, **options)
    torch.manual_seed(0)
    x = torch.randn(1, 2, 400).repeat(8, 1, 1)
    x = torch.cat([x, x[:, 1:] - x[:, :1]], dim=1)  # I, II, III: (8, 3, T)
    before = x.clone()
    torch.manual_seed(1)
    y = augment(x)
    torch.manual_seed(1)
    assert torch.equal(y, augment(x))
    assert torch.equal(x, before), "the batch, which may be the resident cohort, must stay as it was"
    assert y.shape == (8, 3, 250 if name == "crop" else 400)
    assert y.dtype == torch.float32
    assert len({tuple(record.flatten().tolist()) for record in y}) > 1, "equal records must come out different"
    residual = float((y[:, 2] - (y[:, 1] - y[:, 0])).abs().max())
    assert (residual < 1e-5) == together


def test_an_augmentation_that_is_off_changes_and_draws_nothing():
    x = torch.randn(2, 3, 50)
    state = torch.get_rng_state()
    assert torch.equal(Augment(rate=RATE)(x), x)
    assert torch.equal(torch.get_rng_state(), state)


def ramp(records: int = 200, samples: int = 50) -> torch.Tensor:
    """(B, 1, T) whose values are their own positions."""
    return torch.arange(samples, dtype=torch.float32).repeat(records, 1, 1)


def test_crops_are_contiguous_and_reach_both_ends():
    torch.manual_seed(0)
    y = crop(ramp(), 10)
    assert bool((y.diff(dim=-1) == 1).all())
    assert float(y.min()) == 0
    assert float(y.max()) == 49
    assert torch.equal(crop(ramp(), 50), ramp())
    with pytest.raises(InputError, match="crop of 51 samples does not fit a signal of 50"):
        crop(ramp(), 51)


@given(least=st.floats(0.1, 0.95))
@settings(max_examples=25, deadline=None)
def test_a_resized_crop_is_a_window_of_the_share_asked_for(least):
    """Of a ramp only the window's slope and ends are left; it lies within the record and keeps at least its share."""
    x = torch.arange(200.0).expand(64, 1, 200)
    y = resized_crop(x, least)
    slope = (y[:, 0, -1] - y[:, 0, 0]) / 199
    assert float(slope.min()) >= least - 1e-4
    assert float(slope.max()) <= 1 + 1e-4
    assert float(y.min()) >= 0
    assert float(y.max()) <= 199
    assert float((y.diff(dim=2) - slope[:, None, None]).abs().max()) < 1e-3


def test_a_time_out_is_one_stretch_of_silence_in_all_leads():
    y = time_out(torch.ones(500, 3, 100), 0.4)
    silent = y == 0
    assert torch.equal(silent, silent[:, :1].expand_as(silent))
    starts = (silent[:, 0, 1:] & ~silent[:, 0, :-1]).sum(dim=1) + silent[:, 0, 0]
    assert int(starts.max()) == 1
    assert 30 < int(silent[:, 0].sum(dim=1).max()) <= 41
    assert float(silent.float().mean()) == pytest.approx(0.2, abs=0.02)


def test_shifts_are_rotations_within_their_bound():
    torch.manual_seed(0)
    y = shift(ramp(), 3)
    by = y[:, 0, 0].long()
    assert set(by.tolist()) == {0, 1, 2, 3, 47, 48, 49}
    for record, start in zip(y, by):
        assert torch.equal(record[0], torch.arange(50.0).roll(-int(start)))


def test_stretch_moves_frequencies_within_its_bound():
    torch.manual_seed(0)
    x = torch.from_numpy(sine(5).astype(np.float32)).repeat(100, 1, 1)
    y = stretch(x, 0.2)[:, 0, :800]  # before the circular end
    peaks = torch.fft.rfft(y * torch.hann_window(800), n=8000).abs().argmax(dim=-1) * RATE / 8000
    assert 3.9 < float(peaks.min()) < 4.2
    assert 5.8 < float(peaks.max()) < 6.1


def test_amplitude_noise_and_wander_have_the_size_they_say():
    torch.manual_seed(0)
    ones = torch.ones(2000, 2, 100)
    scaled = Augment(rate=RATE, amplitude=0.3)(ones)
    assert 0.7 <= float(scaled.min()) < 0.71
    assert 1.29 < float(scaled.max()) <= 1.3
    noise = (Augment(rate=RATE, noise_mv=0.1)(ones) - ones).std(dim=(1, 2))
    assert 0.09 < float(noise.max()) < 0.12
    assert float(noise.min()) < 0.01
    drift = wander(torch.zeros(500, 2, 1000), 0.2, (0.05, 0.5), rate=RATE)
    assert 0.19 < float(drift.abs().max()) <= 0.2
    spectrum = torch.fft.rfft(drift * torch.hann_window(1000)).abs().mean(dim=(0, 1))
    assert float(spectrum[10:].sum() / spectrum.sum()) < 0.02  # nothing from 1 Hz on


def test_dropped_leads_are_zero_and_one_stays():
    torch.manual_seed(0)
    x = torch.ones(2000, 12, 5)
    kept = drop_leads(x, 0.3)[:, :, 0]
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert float(kept.mean()) == pytest.approx(0.7, abs=0.01)
    nearly_all = drop_leads(x, 0.999)[:, :, 0]
    assert float(nearly_all.sum(dim=1).min()) == 1
    assert bool((nearly_all.sum(dim=0) > 100).all()), "the lead that stays must be any of them"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 0}, "`rate` is 0"),
        ({"resized_crop": 0.0}, "`resized_crop` is 0.0"),
        ({"time_out": 1.0}, "`time_out` is 1.0"),
        ({"lead_dropout": 1.0}, "`lead_dropout` is 1.0, but must be at least 0 and below 1"),
        ({"noise_mv": -0.1}, "`noise_mv` is -0.1"),
    ],
)
def test_augmentations_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        Augment(**({"rate": RATE} | options))


def test_the_rate_has_no_default():
    for function in (Augment, bandpass, resample, wander):
        assert inspect.signature(function).parameters["rate"].default is inspect.Parameter.empty


def test_the_table_of_destroyed_labels_covers_every_augmentation():
    parameters = set(inspect.signature(Augment).parameters) - {"rate"}
    assert {re.sub(r"_(s|mv|hz)$", "", p) for p in parameters} == set(DESTROYS) == set(AUGMENTATIONS)
    for name, (options, _) in AUGMENTATIONS.items():
        assert Augment(rate=RATE, **options).may_destroy() == set(DESTROYS[name][0].split())
    assert Augment(rate=RATE).may_destroy() == set()
    assert "HYP" in Augment(rate=RATE, amplitude=0.1).may_destroy()


def test_the_table_names_only_statements_of_ptb_xl(shared_data):
    with open(shared_data / "ptb-xl-raw" / "scp_statements.csv", encoding="utf-8") as file:
        statements = {row[0] for row in csv.reader(file)} | {"NORM", "MI", "STTC", "CD", "HYP"}
    named = {label for labels, _ in DESTROYS.values() for label in labels.split()}
    assert named <= statements
