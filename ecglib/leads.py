"""The twelve leads: names, aliases, canonical order, and the relations among the six limb leads.

Sources: W. Einthoven, G. Fahr, A. de Waart 1913 (II = I + III); E. Goldberger 1942 (augmented leads); the MDC lead
names of ISO/IEEE 11073-10102; C1-C6 are the IEC 60601-2-25 names of the chest positions V1-V6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ecglib.errors import InputError, nearest

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""Canonical names in canonical order."""

Array = TypeVar("Array")  # numpy array or torch tensor: only indexing and arithmetic are used

_PREFIXES = ("MDC_ECG_LEAD_", "MDC_ECG_ELEC_POTL_", "LEAD_", "LEAD-", "LEAD ", "LEAD", "ECG_", "ECG ")


def _aliases() -> dict[str, str]:
    names = {lead.upper(): lead for lead in LEADS}
    names |= {f"D{lead}": lead for lead in ("I", "II", "III")}  # French and Spanish devices: DI, DII, DIII
    names |= {f"C{k}": f"V{k}" for k in range(1, 7)}  # IEC
    return names


_ALIASES = _aliases()


def canonical(name: str) -> str:
    """The canonical spelling of a lead: ``AVR``, ``avr``, ``lead aVR`` and ``MDC_ECG_LEAD_aVR`` are all ``aVR``.

    An inverted lead (``-aVR``), a modified one (``MLII``) or one outside the twelve (``V7``, ``X``) is no alias.

    Raises:
        InputError: the name is none of the twelve.
    """
    key = str(name).strip().upper()
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            key = key.removeprefix(prefix).strip()
            break
    try:
        return _ALIASES[key]
    except KeyError:
        raise InputError(f"{str(name)!r} is not one of the twelve leads.{nearest(name, LEADS)}") from None


def indices(have: Sequence[str], want: Sequence[str]) -> list[int]:
    """Positions in `have` of the leads `want`, in the order of `want`; aliases are resolved on both sides.

    `have` may hold further channels (Frank leads, a pleth): they are passed over.

    Raises:
        InputError: a wanted lead is unknown or absent, or `have` holds a lead twice.
    """
    if isinstance(want, str):
        raise InputError(f"the leads {want!r} should be a list of names such as [{want!r}].")
    place: dict[str, int] = {}
    for k, name in enumerate(have):
        lead = canonical_or_raw(name)
        if lead in place:
            raise InputError(f"lead {lead} occurs twice among {', '.join(map(str, have))}.")
        place[lead] = k
    found = []
    for name in want:
        lead = canonical(name)
        if lead not in place:
            raise InputError(f"lead {lead} is missing; the leads present are {', '.join(map(str, have))}.")
        found.append(place[lead])
    return found


def canonical_or_raw(name: str) -> str:
    """The canonical name of a lead, or `name` itself where it is none of the twelve."""
    try:
        return canonical(name)
    except InputError:
        return str(name)


def derive_limb(lead_i: Array, lead_ii: Array) -> tuple[Array, Array, Array, Array]:
    """III, aVR, aVL and aVF from leads I and II, of any shape and unit (numpy or torch).

    Einthoven: III = II - I. Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.
    """
    return (
        lead_ii - lead_i,
        -(lead_i + lead_ii) / 2,
        lead_i - lead_ii / 2,
        lead_ii - lead_i / 2,
    )


def limb_residual(signal: Array, leads: Sequence[str] = LEADS) -> Array:
    """How far the limb leads are from Einthoven's and Goldberger's relations: root mean square over time, in mV.

    Args:
        signal: (..., L, T) mV, numpy or torch.
        leads: names of the L leads; I, II and at least one of III, aVR, aVL, aVF are needed.

    Returns:
        (..., K) mV, one value for each of III, aVR, aVL, aVF that is there, in this order. A few microvolts are
        rounding and resampling; more than about 0.05 mV is a swapped, inverted or broken limb lead.

    Raises:
        InputError: I or II is missing, or none of the four derived leads is there, or `leads` does not fit `signal`.
    """
    if signal.shape[-2] != len(leads):
        raise InputError(f"the signal has {signal.shape[-2]} leads where {len(leads)} names are given.")
    present = {canonical_or_raw(name): k for k, name in enumerate(leads)}
    i, ii = indices(leads, ["I", "II"])
    derived = derive_limb(signal[..., i, :], signal[..., ii, :])  # 4 x (..., T)
    pairs = [(present[name], d) for name, d in zip(LEADS[2:6], derived) if name in present]
    if not pairs:
        raise InputError(f"none of III, aVR, aVL, aVF is among the leads {', '.join(map(str, leads))}.")
    rms = [(((signal[..., k, :] - d) ** 2).mean(-1)) ** 0.5 for k, d in pairs]  # K x (...)
    if isinstance(signal, np.ndarray):
        return np.stack(rms, axis=-1)
    import torch

    return torch.stack(rms, dim=-1)
