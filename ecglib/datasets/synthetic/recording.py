"""One chunk of records from start to end: people, their hearts, the beats, the electrodes, the counts."""

from __future__ import annotations

import numpy as np

from ecglib.datasets.synthetic.anatomy import ectopic_waves, hearts, lead_vectors
from ecglib.datasets.synthetic.draws import bell_noise, words
from ecglib.datasets.synthetic.heart_vector import Noise, dipole, electrodes, fibrillation, num_knots, record
from ecglib.datasets.synthetic.patients import NOISE, RHYTHMS, Readings, columns, people, readings
from ecglib.datasets.synthetic.rhythm import beats

# Electrodes RA, LA, LL, V1-V6: arms and legs bring more muscle, the moving chest more drift.
_MUSCLE = np.array([1.0, 1.0, 0.7] + 6 * [0.3])
_WANDER = np.array([0.9, 0.9, 1.3] + 6 * [1.2])


def make(indices: np.ndarray, rate: int, seconds: float, seed: int) -> tuple[np.ndarray, dict[str, list]]:
    """Signals (n, 12, T) int16 and the table's columns of the records `indices` (n,)."""
    who = people(indices, seed)
    seen = readings(indices, who, seed)
    t = np.arange(round(rate * seconds)) / rate  # (T,) s
    h = hearts(who, seen)
    ectopic = ectopic_waves(h, seen)
    vectors = lead_vectors(who, seen)
    axes = dipole(h.waves, ectopic, beats(indices, seen, seconds, seed), t)
    _fibrillate(axes, seen, t)
    num_words = 9 * num_knots(seconds)
    raw = words(seed, indices, NOISE, num_words + 9 * (len(t) + 1))
    noise = _noise(seen, bell_noise(raw[:, :num_words]).reshape(len(indices), 9, -1), seconds)
    potentials = electrodes(noise, raw[:, num_words:].reshape(len(indices), 9, -1), t, rate)
    return record(axes, vectors, potentials), columns(indices, who, seen)


def _fibrillate(axes: list[np.ndarray], seen: Readings, t: np.ndarray) -> None:
    """Add f waves to the records in fibrillation: 4 to 9 a second, largest in V1 and II."""
    d = seen.draws
    direction = (np.array([-0.030, 0.032, -0.018]) + d.normal(0.012, size=3)) * d.factor(0.4)[:, None]
    per_second, phase = 6.2 + d.normal(0.9), d.uniform(size=3)
    rows = np.flatnonzero(seen.rhythm == RHYTHMS.index("AFIB"))
    if len(rows):
        for axis, extra in zip(axes, fibrillation(direction[rows], per_second[rows], phase[rows], t)):
            axis[rows] += extra


def _noise(seen: Readings, knots: np.ndarray, seconds: float) -> Noise:
    d = seen.draws
    loose = np.where(d.uniform(size=9) < 0.02, 3.0, 1.0)  # a badly stuck electrode now and then
    muscle = 0.0065 * d.factor(0.6)[:, None] * d.factor(0.3, size=9) * loose * _MUSCLE
    burst = np.stack([d.uniform(0, 4) * d.chance(0.12), d.uniform(0, seconds), d.uniform(0.3, 1.2)], axis=1)
    wander = 0.042 * d.factor(0.7)[:, None] * d.factor(0.4, size=9) * loose * _WANDER
    mains = 0.004 * d.factor(0.8)[:, None] * d.factor(0.4, size=9) * d.chance(0.4)[:, None]
    return Noise(muscle, burst, wander, mains, d.uniform(size=9), knots)
