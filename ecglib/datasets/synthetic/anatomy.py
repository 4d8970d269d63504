"""How a patient's heart is made and turned in the chest, and what the electrodes see of it.

Waves, widths and intervals of the normal heart stand in `_NORMAL`; they and their spread were set beside the median and
the 5th and 95th percentile of the normal PTB-XL records, lead by lead. Body axes as in `heart_vector`.
"""

from __future__ import annotations

import numpy as np

from ecglib.datasets.synthetic.findings import FINDINGS
from ecglib.datasets.synthetic.heart_vector import DOWER, Hearts, Wave, Waves
from ecglib.datasets.synthetic.patients import People, Readings


def _turn(vectors: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Rotate (n, 3) by the unit quaternion along (1, turn (n, 3)): about 2*|turn| radians, by + - * / alone."""
    scale = 2.0 / (1.0 + turn[:, 0] ** 2 + turn[:, 1] ** 2 + turn[:, 2] ** 2)
    once = _cross(turn, vectors) + vectors  # Rodrigues: v + 2/(1+|t|^2) t x (t x v + v)
    return vectors + scale[:, None] * _cross(turn, once)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (a0, a1, a2), (b0, b1, b2) = a.T, b.T
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=1)


# name: vector (mV), centre (s from the R peak), width (s), and how much each heart differs
_NORMAL = {
    "P1": ((0.055, 0.080, -0.060), -0.158, 0.019, 0.25),
    "P2": ((0.095, 0.050, 0.040), -0.122, 0.021, 0.25),
    "D": ((0.0, 0.0, 0.0), -0.044, 0.015, 0.0),
    "Q": ((-0.120, -0.020, -0.140), -0.024, 0.0075, 0.35),
    "A": ((0.340, 0.140, -0.430), -0.013, 0.0078, 0.25),
    "R": ((1.150, 0.680, 0.520), 0.000, 0.0088, 0.22),
    "S": ((-0.120, -0.090, 0.660), 0.019, 0.0098, 0.35),
    "X": ((0.0, 0.0, 0.0), 0.044, 0.0130, 0.0),
    "J": ((0.015, 0.015, -0.045), 0.115, 0.038, 0.40),
    "T1": ((0.130, 0.080, -0.085), 0.0, 0.050, 0.25),
    "T2": ((0.235, 0.150, -0.150), 0.0, 0.032, 0.25),
}


def hearts(who: People, seen: Readings) -> Hearts:
    """The waves of n hearts: a normal variant, changed by the findings, stretched in time, turned in the chest."""
    d, n = who.draws, len(who.age)
    waves = {}
    for name, (vector, centre, width, differs) in _NORMAL.items():
        vectors = np.array(vector) * d.factor(differs)[:, None] + _length(vector) * d.normal(0.4 * differs, size=3)
        widths = width * d.factor(0.08)
        waves[name] = Wave(vectors, np.full(n, centre), widths)
    h = Hearts(waves, d.normal(0.018), d.normal(0.014), 1.0 + d.normal(0.07))
    _vary(h, who)
    for column, finding in enumerate(FINDINGS):
        size = seen.size[:, column]
        if size.any():
            finding.change(h, size, size * seen.acute * (finding.superclass == "MI"))
    _time(h, seen)
    _turn_in_chest(h, who)
    return h


def _length(vector: tuple[float, float, float]) -> float:
    return float(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2))


def _vary(h: Hearts, who: People) -> None:
    """Tall QRS and a high J point in young men, lower QRS and T in women, flatter T and longer PR in the old."""
    old = (who.age - 60.0) / 30.0
    for name in ("Q", "A", "R", "S"):
        h[name].scale((1.0 - 0.08 * old) * np.where(who.female, 0.90, 1.04))
    for name in ("T1", "T2"):
        h[name].scale((1.0 - 0.14 * old) * np.where(who.female, 0.85, 1.05))
    h["J"].add(np.where(who.female, 0.0, 1.0) * np.clip(0.3 - old, 0, 1.5), 0.01, 0.01, -0.045)
    h.pr_delay += 0.006 * old


def _time(h: Hearts, seen: Readings) -> None:
    """QRS stretched about its R peak; PR and QT shorter at high rates, QT by Framingham's line (Sagie et al. 1992)."""
    rr = 60.0 / seen.heart_rate
    stretch = np.clip(h.qrs_stretch, 0.8, 1.7)
    for name in ("D", "Q", "A", "R", "S", "X"):
        h[name].centre *= stretch
        h[name].width *= stretch
    pr = np.clip(h.pr_delay, -0.045, 0.16) - 0.03 * np.clip(1.0 - rr, -0.4, 0.6)
    for name in ("P1", "P2"):
        h[name].centre -= np.minimum(pr, 0.75 * rr - 0.2)
        h[name].width *= 1.0 - 0.15 * np.clip(1.0 - rr, 0.0, 0.6)
    qt = 0.405 + 0.154 * (rr - 1.0) + h.qt_delay + 0.06 * (stretch - 1.0)
    qt = np.clip(qt, 0.24, np.maximum(0.30, 0.80 * rr))
    unit = qt / 0.405
    peak = qt - 0.040 - 0.085 * unit  # from the R peak, which comes about 40 ms after the onset of QRS
    h["T2"].centre[:] = peak
    h["T1"].centre[:] = peak - 0.048 * unit
    h["J"].centre[:] = 0.045 * stretch + 0.40 * (peak - 0.045)
    for name in ("J", "T1", "T2"):
        h[name].width *= unit


def _turn_in_chest(h: Hearts, who: People) -> None:
    """The patient's axis: turned mostly in the frontal plane (about z), further up and left with age."""
    d, n = who.draws, len(who.age)
    frontal = d.normal(0.16) - 0.05 * (who.age - 50.0) / 30.0
    turn = np.stack([d.normal(0.08), d.normal(0.10), frontal], axis=1)
    for name, wave in h.waves.items():
        own = d.normal(0.10, size=3) if name[0] in "PTJ" else np.zeros((n, 3))
        share = 0.6 if name[0] in "PT" else 1.0
        wave.vector = _turn(wave.vector, share * turn + own)


def ectopic_waves(h: Hearts, seen: Readings) -> Waves:
    """The same hearts beating from somewhere in a ventricle: a wide QRS of two bells, ST and T against it."""
    d, n = seen.draws, len(seen.size)
    base = np.where(d.chance(0.6)[:, None], np.array([0.65, 0.5, 0.95]), np.array([-0.55, 0.3, -0.95]))
    first = (base + d.normal(0.30, size=3)) * d.factor(0.2)[:, None]
    second = 0.8 * first + d.normal(0.35, size=3)
    waves = {name: Wave(np.zeros((n, 3)), wave.centre, wave.width) for name, wave in h.waves.items()}
    waves["R"] = Wave(first, np.full(n, -0.012), np.full(n, 0.023))
    waves["X"] = Wave(second, np.full(n, 0.042), np.full(n, 0.022))
    waves["J"] = Wave(-0.12 * (first + second), h["J"].centre, h["J"].width)
    waves["T2"] = Wave(-0.30 * (first + second), h["T2"].centre + 0.03, 1.25 * h["T2"].width)
    return waves


def lead_vectors(who: People, seen: Readings) -> np.ndarray:
    """(n, 8, 3): Dower's rows, for this chest, and for electrodes that sit a little off, differently in each record."""
    p, d, n = who.draws, seen.draws, len(who.age)
    field = np.broadcast_to(DOWER, (n, 8, 3)).copy()
    along = p.normal(0.18, size=6) + d.normal(0.18, size=6)  # in distances to the next electrode
    up = p.normal(0.10, size=6) + d.normal(0.10, size=6) + np.abs(d.normal(0.08))[:, None]  # more often too high
    chest = DOWER[2:]
    slope = np.stack([chest[min(k + 1, 5)] - chest[max(k - 1, 0)] for k in range(6)]) * 0.5
    slope[[0, 5]] *= 2.0
    field[:, 2:] += along[:, :, None] * slope
    field[:, 2:, 1] -= up
    field[:, 2:] *= p.factor(0.17, size=6)[:, :, None]
    field *= p.factor(0.10)[:, None, None]
    return field
