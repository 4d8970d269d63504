"""What each diagnosis does to the heart vector, and how often it is seen.

Every function takes n hearts and a size (n,), 0 where the finding is absent and about 0.25 (hardly to be seen) to
1.25 where it is present, and changes the waves in proportion. Directions: x left, y down, z back. So an inferior wall
that has died turns the first forces to -y (Q in II, III, aVF), an anterior one to +z (QS in V1-V4), a lateral one to
-x (Q in I, aVL, V6); an injury current points at its wall.

Morphology after Surawicz & Knilans, "Chou's Electrocardiography in Clinical Practice" (6th ed. 2008), and the
AHA/ACCF/HRS recommendations III-VI (Surawicz et al., Rautaharju et al., Hancock et al., Wagner et al., Circulation
2009). Shares are those of PTB-XL 1.0.3 (Wagner et al., Sci Data 2020), rounded; the amounts are ours, set by eye beside
real records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ecglib.datasets.synthetic.heart_vector import Hearts

Change = Callable[[Hearts, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Finding:
    """A PTB-XL diagnostic statement: its classes, its share among its superclass's patients, and what it changes."""

    code: str
    superclass: str
    subclass: str
    share: float
    change: Change


def _tilt_t(h: Hearts, s: np.ndarray, x: float, y: float, z: float) -> None:
    """Add a vector to the T wave, most of it to its main bell."""
    h["T1"].add(s, 0.5 * x, 0.5 * y, 0.5 * z)
    h["T2"].add(s, 0.8 * x, 0.8 * y, 0.8 * z)


def _flatten_t(h: Hearts, s: np.ndarray, amount: float) -> None:
    for name in ("T1", "T2"):
        h[name].scale(1.0 - amount * s)


def _widen(h: Hearts, s: np.ndarray, amount: float) -> None:
    h.qrs_stretch += amount * s


def _solid(s: np.ndarray) -> np.ndarray:
    """For findings that are there or not (a blocked bundle): 0 stays 0, the rest lies between 0.6 and 1.1."""
    return np.where(s > 0, 0.5 + 0.45 * s, 0.0)


# --- MI: `acute` (n,) is the size of the injury current, 0 in old infarcts ----------------------------------------


def _inferior(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["Q"].add(s, 0.02, -0.30, 0.02)
    h["Q"].width *= 1.0 + 0.45 * s
    h["A"].add(s, 0.0, -0.22, 0.0)
    h["R"].scale(1.0 - 0.10 * s, 1.0 - 0.45 * s, 1.0 - 0.05 * s)
    _flatten_t(h, s, 0.20)
    _tilt_t(h, s, -0.04, -0.25, 0.0)
    h["J"].add(acute, -0.16, 0.32, 0.03)  # ST up in II, III, aVF, down in I and aVL
    _tilt_t(h, acute, -0.05, 0.30, 0.0)


def _anteroseptal(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["Q"].add(s, 0.06, 0.0, 0.17)
    h["A"].add(s, -0.10, 0.0, 0.58)
    h["R"].add(s, -0.08, 0.0, 0.22)
    h["S"].add(s, 0.0, 0.0, 0.15)
    _flatten_t(h, s, 0.25)
    _tilt_t(h, s, -0.09, 0.0, 0.22)
    h["J"].add(acute, 0.06, 0.0, -0.32)  # ST up in V1-V4
    _tilt_t(h, acute, 0.0, 0.0, -0.25)


def _anterior(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    _anteroseptal(h, s, acute)
    h["A"].add(s, -0.28, 0.0, 0.10)
    h["R"].scale(1.0 - 0.22 * s)
    _tilt_t(h, s, -0.12, 0.0, 0.05)


def _anterolateral(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["Q"].add(s, -0.20, 0.0, 0.10)
    h["A"].add(s, -0.38, 0.0, 0.42)
    h["R"].scale(1.0 - 0.35 * s, 1.0 - 0.1 * s, 1.0 - 0.1 * s)
    _tilt_t(h, s, -0.30, 0.0, 0.18)
    h["J"].add(acute, 0.20, -0.05, -0.18)


def _lateral(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["Q"].add(s, -0.30, 0.04, 0.0)
    h["Q"].width *= 1.0 + 0.4 * s
    h["A"].add(s, -0.22, 0.0, 0.0)
    h["R"].scale(1.0 - 0.32 * s, np.ones_like(s), 1.0 - 0.1 * s)
    _tilt_t(h, s, -0.32, 0.0, 0.02)
    h["J"].add(acute, 0.24, -0.12, 0.02)


def _inferolateral(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    _inferior(h, 0.8 * s, 0.8 * acute)
    _lateral(h, 0.7 * s, 0.7 * acute)


# --- STTC -----------------------------------------------------------------------------------------------------------


def _flat_t(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    _flatten_t(h, s, 0.85)


def _st_down(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["J"].add(s, -0.10, -0.07, 0.03)
    _flatten_t(h, s, 0.50)


def _ischaemic(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["J"].add(s, -0.12, -0.08, 0.05)
    _flatten_t(h, s, 0.75)
    _tilt_t(h, s, -0.16, -0.10, 0.04)


def _ischaemic_anterolateral(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["J"].add(s, -0.11, -0.01, 0.06)
    _tilt_t(h, s, -0.46, -0.03, 0.20)


def _ischaemic_inferior(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["J"].add(s, -0.01, -0.09, 0.0)
    _tilt_t(h, s, 0.0, -0.42, 0.0)


def _long_qt(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h.qt_delay += 0.035 * (s > 0) + 0.05 * s


# --- CD -------------------------------------------------------------------------------------------------------------


def _left_anterior_block(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["Q"].add(s, -0.08, 0.14, 0.0)  # first down and right: r in II, III, aVF, q in I and aVL
    h["R"].add(s, -0.05, -1.25, 0.10)
    h["S"].add(s, 0.10, -0.45, 0.05)
    h["R"].centre += 0.004 * s
    _widen(h, s, 0.10)


def _left_posterior_block(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["Q"].add(s, 0.10, -0.14, 0.0)
    h["R"].add(s, -1.00, 0.45, 0.05)
    h["S"].add(s, -0.30, 0.20, 0.0)
    _widen(h, s, 0.08)


def _right_block_incomplete(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["X"].add(s, -0.22, -0.02, -0.34)  # r' in V1
    h["X"].centre += np.where(s > 0, -0.006, 0.0)
    h["X"].width -= 0.002 * (s > 0)
    _widen(h, s, 0.06)


def _right_block(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["X"].add(s, -0.58, -0.04, -0.62)  # broad R' in V1, broad S in I and V6
    h["X"].centre += 0.018 * (s > 0)
    h["X"].width += 0.007 * (s > 0)
    h["S"].scale(1.0 - 0.4 * s)
    _tilt_t(h, s, 0.06, 0.0, 0.18)


def _left_block(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    on = (s > 0).astype(np.float64)
    s = _solid(s)
    h["Q"].scale(1.0 - on)  # the septum is crossed from right to left: no q in I, V5, V6
    h["A"].scale(1.0 - 0.8 * on)
    h["R"].scale(1.0 - 0.25 * on, 1.0 - 0.45 * on, 1.0 + 0.60 * on)
    h["R"].width *= 1.0 + 1.15 * on
    h["R"].centre += 0.002 * on
    h["X"].add(s, 0.85, 0.14, 0.85)  # the second hump of a notched R
    h["X"].width += 0.007 * on
    h["S"].scale(1.0 - 0.7 * on)
    _flatten_t(h, on, 0.8)
    _tilt_t(h, s, -0.42, -0.08, -0.46)  # T and ST against the QRS
    h["J"].add(s, -0.10, -0.03, -0.24)
    h.qt_delay += 0.03 * on


def _slow_ventricles(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    _widen(h, s, 0.30)
    h["X"].add(s, 0.10, -0.16, 0.16)


def _slow_av(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h.pr_delay += 0.045 * (s > 0) + 0.055 * s


def _preexcitation(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h.pr_delay -= 0.045 * s
    h["D"].add(s, 0.42, 0.10, -0.20)
    h["Q"].scale(1.0 - 0.8 * s)
    _flatten_t(h, s, 0.9)
    _tilt_t(h, s, -0.12, -0.08, 0.06)
    _widen(h, s, 0.10)


# --- HYP ------------------------------------------------------------------------------------------------------------


def _left_ventricle(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    h["A"].scale(1.0 + 0.25 * s)
    h["R"].scale(1.0 + 0.90 * s, 1.0 + 0.30 * s, 1.0 + 0.90 * s)
    h["R"].centre += 0.004 * s
    h["S"].add(s, 0.05, -0.06, 0.55)  # deep S in V1 and V2
    _widen(h, s, 0.08)
    _tilt_t(h, s, -0.15, -0.04, -0.02)


def _left_atrium(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["P2"].add(s, 0.035, 0.01, 0.085)  # broad and notched in II, deep late trough in V1
    h["P2"].centre += 0.018 * s
    h["P2"].width *= 1.0 + 0.25 * s
    h["P1"].centre -= 0.012 * s


def _right_ventricle(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["R"].scale(1.0 - 0.55 * s, 1.0 + 0.10 * s, 1.0 - 0.8 * s)
    h["R"].add(s, -0.22, 0.10, -0.55)  # R in V1
    h["S"].add(s, -0.60, 0.0, -0.30)  # S in I, V5, V6
    _tilt_t(h, s, 0.05, -0.05, 0.26)


def _right_atrium(h: Hearts, s: np.ndarray, acute: np.ndarray) -> None:
    s = _solid(s)
    h["P1"].add(s, 0.0, 0.13, -0.05)  # peaked in II


FINDINGS: tuple[Finding, ...] = (
    Finding("IMI", "MI", "IMI", 0.42, _inferior),
    Finding("ASMI", "MI", "AMI", 0.37, _anteroseptal),
    Finding("ILMI", "MI", "IMI", 0.075, _inferolateral),
    Finding("AMI", "MI", "AMI", 0.06, _anterior),
    Finding("ALMI", "MI", "AMI", 0.045, _anterolateral),
    Finding("LMI", "MI", "LMI", 0.03, _lateral),
    Finding("NDT", "STTC", "STTC", 0.38, _flat_t),
    Finding("ISC_", "STTC", "ISC_", 0.26, _ischaemic),
    Finding("NST_", "STTC", "NST_", 0.15, _st_down),
    Finding("ISCAL", "STTC", "ISCA", 0.13, _ischaemic_anterolateral),
    Finding("ISCIN", "STTC", "ISCI", 0.05, _ischaemic_inferior),
    Finding("LNGQT", "STTC", "STTC", 0.03, _long_qt),
    Finding("LAFB", "CD", "LAFB/LPFB", 0.32, _left_anterior_block),
    Finding("IRBBB", "CD", "IRBBB", 0.20, _right_block_incomplete),
    Finding("1AVB", "CD", "_AVB", 0.13, _slow_av),
    Finding("IVCD", "CD", "IVCD", 0.13, _slow_ventricles),
    Finding("CLBBB", "CD", "CLBBB", 0.09, _left_block),
    Finding("CRBBB", "CD", "CRBBB", 0.09, _right_block),
    Finding("LPFB", "CD", "LAFB/LPFB", 0.03, _left_posterior_block),
    Finding("WPW", "CD", "WPW", 0.01, _preexcitation),
    Finding("LVH", "HYP", "LVH", 0.77, _left_ventricle),
    Finding("LAO/LAE", "HYP", "LAO/LAE", 0.15, _left_atrium),
    Finding("RVH", "HYP", "RVH", 0.045, _right_ventricle),
    Finding("RAO/RAE", "HYP", "RAO/RAE", 0.035, _right_atrium),
)
CODES: tuple[str, ...] = tuple(finding.code for finding in FINDINGS)
