"""ecglib.leads: names in every spelling, and Einthoven's and Goldberger's relations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecglib.errors import InputError
from ecglib.leads import LEADS, canonical, derive_limb, indices, limb_residual


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("avr", "aVR"),
        ("AVL", "aVL"),
        (" aVF ", "aVF"),
        ("MDC_ECG_LEAD_AVR", "aVR"),
        ("MDC_ECG_LEAD_I", "I"),
        ("DI", "I"),
        ("dIII", "III"),
        ("v1", "V1"),
        ("C4", "V4"),
        ("Lead II", "II"),
        ("lead_v6", "V6"),
        ("ii", "II"),
    ],
)
def test_canonical_reads_the_usual_spellings(name, lead):
    assert canonical(name) == lead


@pytest.mark.parametrize("lead", LEADS)
def test_canonical_keeps_canonical_names(lead):
    assert canonical(lead) == lead


@pytest.mark.parametrize("name", ["-aVR", "MLII", "V7", "V3R", "X", "", "IIII", "aVRL"])
def test_canonical_refuses_other_leads(name):
    with pytest.raises(InputError, match="not one of the twelve leads"):
        canonical(name)


def test_canonical_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'aVL'"):
        canonical("aVLL")


def test_indices_resolve_aliases_on_both_sides_in_the_order_wanted():
    assert indices(["AVR", "i", "vx", "v1"], ["V1", "I", "avr"]) == [3, 1, 0]


def test_indices_name_what_is_missing_and_what_is_there():
    with pytest.raises(InputError, match=r"lead V2 is missing; the leads present are I, V1"):
        indices(["I", "V1"], ["V2"])


def test_indices_refuse_a_lead_twice_and_a_bare_string():
    with pytest.raises(InputError, match="lead aVR occurs twice"):
        indices(["aVR", "AVR"], ["aVR"])
    with pytest.raises(InputError, match="should be a list"):
        indices(LEADS, "II")


@given(arrays(np.float64, (2, 7), elements=st.floats(-20, 20)))
def test_derived_leads_follow_from_three_electrodes(electrodes_and_noise):
    """From the potentials of the arms and the leg (Goldberger's terminal: the mean of the other two)."""
    right, left = electrodes_and_noise
    leg = right[::-1] * 0.5 - left
    i, ii = left - right, leg - right
    iii, avr, avl, avf = derive_limb(i, ii)
    np.testing.assert_allclose(iii, leg - left, atol=1e-9)
    np.testing.assert_allclose(avr, right - (left + leg) / 2, atol=1e-9)
    np.testing.assert_allclose(avl, left - (right + leg) / 2, atol=1e-9)
    np.testing.assert_allclose(avf, leg - (right + left) / 2, atol=1e-9)


def consistent(shape: tuple[int, ...] = (3, 40)) -> np.ndarray:
    """(3, 12, 40) mV whose limb leads agree."""
    rng = np.random.default_rng(0)
    i, ii = rng.normal(size=(2, *shape))
    chest = rng.normal(size=(6, *shape))
    return np.moveaxis(np.stack([i, ii, *derive_limb(i, ii), *chest]), 0, -2)


def test_limb_residual_is_nothing_for_leads_that_agree():
    assert limb_residual(consistent()).shape == (3, 4)
    assert limb_residual(consistent()).max() < 1e-12


def test_limb_residual_is_the_root_mean_square_of_the_difference():
    signal = consistent()
    signal[1, LEADS.index("aVL")] += 0.25
    residual = limb_residual(signal)
    np.testing.assert_allclose(residual[1], [0, 0, 0.25, 0], atol=1e-12)  # III, aVR, aVL, aVF
    assert residual[[0, 2]].max() < 1e-12


def test_limb_residual_shows_exchanged_arms():
    """Right and left arm exchanged in I alone, as when one lead's wires are swapped in a file."""
    signal = consistent()
    signal[:, 0] *= -1
    assert limb_residual(signal).min() > 0.1


def test_limb_residual_of_some_leads_in_any_order_and_of_tensors():
    order = ["V1", "aVF", "II", "I"]
    signal = consistent()[:, indices(LEADS, order)]
    found = limb_residual(torch.from_numpy(signal), order)
    assert isinstance(found, torch.Tensor)
    assert found.shape == (3, 1)
    np.testing.assert_array_equal(found.numpy(), limb_residual(signal, order))


def test_limb_residual_refuses_what_it_cannot_judge():
    with pytest.raises(InputError, match="lead II is missing"):
        limb_residual(consistent()[:, [0, 2]], ["I", "III"])
    with pytest.raises(InputError, match="none of III"):
        limb_residual(consistent()[:, :2], ["I", "II"])
    with pytest.raises(InputError, match="3 leads where 2 names"):
        limb_residual(consistent()[:, :3], ["I", "II"])
