"""When the hearts beat: sinus rhythms with breathing and drift, fibrillation, premature beats.

Rates and their spread are set beside PTB-XL's. Breathing moves the sinus node (McSharry et al., IEEE Trans Biomed Eng
2003), a fibrillating heart beats without memory, a ventricular beat leaves a full pause, an atrial one resets the
clock.
"""

from __future__ import annotations

import numpy as np

from ecglib.datasets.synthetic.draws import Draws, sine
from ecglib.datasets.synthetic.heart_vector import Beats
from ecglib.datasets.synthetic.patients import BEATS, EARLY, RHYTHMS, Readings

SHORTEST_RR = 0.33


def beats(indices: np.ndarray, seen: Readings, seconds: float, seed: int) -> Beats:
    """R peaks from the rhythm: breathing and drift in sinus rhythm, none of either in fibrillation, early beats."""
    d = seen.draws
    num_beats = int(seconds / SHORTEST_RR) + 5
    per_beat = Draws(seed, indices, BEATS, num_beats + 1)
    first, jitter = per_beat.uniform(), per_beat.normal(size=num_beats)  # (n,), (n, B)
    rr = (60.0 / seen.heart_rate)[:, None]
    af = (seen.rhythm == RHYTHMS.index("AFIB"))[:, None]
    breathing = np.where(seen.rhythm == RHYTHMS.index("SARRH"), d.uniform(0.09, 0.22), d.uniform(0.005, 0.045))
    turns = np.arange(num_beats) * rr * d.uniform(0.16, 0.32)[:, None] + d.uniform()[:, None]
    drift = jitter.copy()
    for k in range(1, num_beats):
        drift[:, k] = 0.85 * drift[:, k - 1] + 0.5 * jitter[:, k]
    sinus = 1.0 + breathing[:, None] * sine(turns) + 0.012 * drift
    rr = np.maximum(rr * np.where(af, 1.0 + 0.21 * jitter, sinus), SHORTEST_RR)
    early, coupling = _early(Draws(seed, indices, EARLY, num_beats), d, seen, num_beats)
    ventricular = early & (seen.premature == 1)[:, None]
    rr = rr * np.where(early, coupling[:, None], 1.0)
    pause = np.where(ventricular, 2.0 - coupling[:, None], np.where(early, 1.08, 1.0))
    rr[:, 1:] *= pause[:, :-1]
    rr = np.maximum(rr, SHORTEST_RR)
    start = -first * rr[:, 0]
    times = np.cumsum(np.concatenate([start[:, None], rr[:, 1:]], axis=1), axis=1)
    qt_factor = np.clip(1.0 + 0.30 * (rr * (seen.heart_rate / 60.0)[:, None] - 1.0), 0.8, 1.15)
    has_p = ~ventricular & ~af
    return Beats(times, ventricular, has_p, qt_factor)


def _early(per_beat: Draws, d: Draws, seen: Readings, num_beats: int) -> tuple[np.ndarray, np.ndarray]:
    """Which beats come early (n, B), never two in a row, at least one in the first eight; and by what factor (n,)."""
    burden = d.uniform(0.02, 0.25)
    early = per_beat.uniform(size=num_beats) < burden[:, None]
    early |= np.arange(num_beats) == (2 + d.uniform(0, 6)).astype(int)[:, None]
    early[:, 1:] &= ~early[:, :-1]
    early[:, 0] = False
    return early & (seen.premature > 0)[:, None], d.uniform(0.58, 0.76)
