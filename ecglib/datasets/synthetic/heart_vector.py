"""A beating dipole and what ten electrodes see of it: the physics of the synthetic records.

The heart is one moving dipole (x to the patient's left, y to the feet, z to the back; mV). Each beat is a sum of
bells in beat time, each with its own direction, so that P, QRS and T trace loops in space (McSharry et al., IEEE
Trans Biomed Eng 2003; Sameni et al., EURASIP J Adv Signal Process 2007; Clifford et al., Physiol Meas 2010). The
leads I, II and V1-V6 are the dipole times lead vectors (Dower, Machado & Osborne, Clin Cardiol 1980; the matrix as in
Edenbrandt & Pahlm, J Electrocardiol 1988). Noise is drawn per electrode, not per lead, so that Einthoven's and
Goldberger's relations hold for the noise as well, and the limb electrodes' noise reaches the chest leads through
Wilson's terminal.

Samples are float32 and summed term after term, in operations that come out the same everywhere: see `draws`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ecglib.datasets.synthetic.draws import bell, bell_noise, sine
from ecglib.leads import derive_limb

WAVES = ("P1", "P2", "D", "Q", "A", "R", "S", "X", "J", "T1", "T2")
"""Right and left atrium; delta; septum, anterior wall, main forces, base, late QRS; ST segment; rise and fall of T."""
P_WAVES, QRS_WAVES, T_WAVES = WAVES[:2], WAVES[2:8], WAVES[8:]

# Lead vectors (mV of lead per mV of dipole), rows I, II, V1-V6; columns x, y, z.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
SCALE = 0.001
"""mV per count, as in PTB-XL."""


@dataclass
class Wave:
    """One bell in each of n hearts: direction and size (n, 3) mV, time from the R peak (n,) s, width (n,) s."""

    vector: np.ndarray
    centre: np.ndarray
    width: np.ndarray

    def add(self, size: np.ndarray, x: float, y: float, z: float) -> None:
        """Add the vector (x, y, z) mV times `size` (n,)."""
        self.vector += size[:, None] * np.array([x, y, z])

    def scale(self, x: np.ndarray, y: np.ndarray | None = None, z: np.ndarray | None = None) -> None:
        """Multiply the axes by (n,) factors; one factor alone is for all three."""
        for axis, factor in enumerate((x, x if y is None else y, x if z is None else z)):
            self.vector[:, axis] *= factor


Waves = dict[str, Wave]


@dataclass
class Hearts:
    """The waves of n hearts by name, and what findings do to the intervals: (n,) s, s, and a factor."""

    waves: Waves
    pr_delay: np.ndarray
    qt_delay: np.ndarray
    qrs_stretch: np.ndarray

    def __getitem__(self, name: str) -> Wave:
        return self.waves[name]


@dataclass
class Beats:
    """R peaks (n, B) s, the first at or before 0, the last past the end; and what each beat is like (n, B)."""

    times: np.ndarray
    ventricular: np.ndarray
    has_p: np.ndarray
    qt_factor: np.ndarray


def _since(beats: Beats, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each sample: position of the last R peak at or before it (n, T), time since it and since the next R peak."""
    (n, num_beats), num_samples = beats.times.shape, len(t)
    first = np.searchsorted(t, beats.times.ravel(), side="left").reshape(n, num_beats)  # first sample at or after R
    flat = (first + np.arange(n)[:, None] * (num_samples + 1)).ravel()
    started = np.bincount(flat, minlength=n * (num_samples + 1)).reshape(n, -1)[:, :-1]  # (n, T) R peaks just before
    last = np.cumsum(started, axis=1) - 1
    times = beats.times.astype(np.float32)
    t32 = t.astype(np.float32)
    return last, t32 - np.take_along_axis(times, last, 1), t32 - np.take_along_axis(times, last + 1, 1)


def _sum_waves(waves: Waves, names: tuple[str, ...], tau: np.ndarray, rows: np.ndarray | slice) -> list[np.ndarray]:
    """The dipole's three axes, each (n, T), of some waves at the times `tau` (n, T) from the R peak."""
    axes = [np.zeros_like(tau) for _ in range(3)]
    term = np.empty_like(tau)
    for name in names:
        wave = waves[name]
        vector = wave.vector[rows].astype(np.float32)
        if not vector.any():
            continue
        shape = bell(tau - wave.centre[rows, None].astype(np.float32), wave.width[rows, None].astype(np.float32))
        for axis in range(3):
            np.multiply(shape, vector[:, axis, None], out=term)
            axes[axis] += term
    return axes


def dipole(waves: Waves, ectopic: Waves, beats: Beats, t: np.ndarray) -> list[np.ndarray]:
    """The heart vector at the times t (T,) s: three arrays (n, T) float32 in mV, x, y and z.

    P waves count from the next R peak, QRS from the nearest, ST and T from the last one, on a clock that runs with that
    beat's QT factor. Ventricular beats have no P and take QRS and T from `ectopic`.
    """
    last, since, until = _since(beats, t)
    nearer_next = since > -until
    around = np.where(nearer_next, until, since)  # (n, T) time from the nearest R peak
    repol = since * np.take_along_axis((1.0 / beats.qt_factor).astype(np.float32), last, 1)
    everyone = slice(None)
    axes = _sum_waves(waves, QRS_WAVES, around, everyone)
    late = _sum_waves(waves, T_WAVES, repol, everyone)
    early = _sum_waves(waves, P_WAVES, until, everyone)
    p_gate = np.take_along_axis(beats.has_p.astype(np.float32), last + 1, 1)
    rows = np.flatnonzero(beats.ventricular.any(axis=1))
    if len(rows):
        flags = beats.ventricular[rows]
        here = np.take_along_axis(flags, last[rows] + nearer_next[rows], 1)
        before = np.take_along_axis(flags, last[rows], 1)
        wide = _sum_waves(ectopic, QRS_WAVES, around[rows], rows)
        wide_t = _sum_waves(ectopic, T_WAVES, repol[rows], rows)
        for axis in range(3):
            axes[axis][rows] = np.where(here, wide[axis], axes[axis][rows])
            late[axis][rows] = np.where(before, wide_t[axis], late[axis][rows])
    for axis in range(3):
        early[axis] *= p_gate
        axes[axis] += late[axis]
        axes[axis] += early[axis]
    return axes


def fibrillation(direction: np.ndarray, rate: np.ndarray, phase: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    """f waves: a fundamental of `rate` (n,) Hz and two harmonics, a sawtooth, slowly modulated in size and frequency.

    After Stridh & Sörnmo, IEEE Trans Biomed Eng 2001. direction (n, 3) mV; phase (n, 3) turns; t (T,) s.
    Three arrays (n, T) float32.
    """
    t32 = t.astype(np.float32)
    f, ph = rate[:, None].astype(np.float32), phase.astype(np.float32)
    turns = f * t32 + ph[:, :1] + np.float32(0.35) * sine(np.float32(0.37) * t32 + ph[:, 1:2])
    wave = sine(turns) + np.float32(0.4) * sine(2 * turns + np.float32(0.1)) + np.float32(0.2) * sine(3 * turns)
    wave *= np.float32(0.75) + np.float32(0.35) * sine(np.float32(0.6) * t32 + ph[:, 2:3])
    return [wave * direction[:, axis, None].astype(np.float32) for axis in range(3)]


@dataclass
class Noise:
    """What n recordings pick up at the nine electrodes RA, LA, LL, V1-V6 (mV)."""

    muscle: np.ndarray  # (n, 9) standard deviation at 100 Hz
    burst: np.ndarray  # (n, 3): times the standard deviation at its peak, centre s, width s
    wander: np.ndarray  # (n, 9) standard deviation of the baseline's knots
    mains: np.ndarray  # (n, 9) amplitude at 50 Hz
    mains_phase: np.ndarray  # (n, 9) turns
    knots: np.ndarray  # (n, 9, K) unit draws for the baseline


KNOT_SECONDS = 0.8
_REMEMBER = 0.82  # of a knot in the next one: slow drifts are larger than breathing


def num_knots(seconds: float) -> int:
    """K, the knots that a baseline of this length needs."""
    return int(seconds / KNOT_SECONDS) + 5


def _wander(noise: Noise, t: np.ndarray) -> np.ndarray:
    """(n, 9, T): a cubic B-spline through autoregressive knots, so no power above about 1 Hz."""
    knots = (noise.knots * noise.wander[:, :, None]).astype(np.float32)
    for k in range(1, knots.shape[2]):
        knots[:, :, k] = np.float32(_REMEMBER) * knots[:, :, k - 1] + np.float32(0.57) * knots[:, :, k]
    place = t / KNOT_SECONDS
    left = place.astype(np.int64)
    u = place - left
    v = 1 - u
    weights = [v * v * v / 6, (4 + u * u * (3 * u - 6)) / 6, (4 + v * v * (3 * v - 6)) / 6, u * u * u / 6]  # each (T,)
    weights = [weight.astype(np.float32) for weight in weights]
    out = np.zeros((*knots.shape[:2], len(t)), np.float32)
    # Stretch by stretch between two knots: quicker than looking the knots up for every sample.
    edges = [*np.flatnonzero(np.diff(left, prepend=-1)).tolist(), len(t)]
    for start, end in pairwise(edges):
        for j, weight in enumerate(weights):
            out[:, :, start:end] += knots[:, :, left[start] + j, None] * weight[start:end]
    return out


def electrodes(noise: Noise, raw: np.ndarray, t: np.ndarray, rate: int) -> np.ndarray:
    """Noise potentials (n, 9, T) float32 in mV. `raw` (n, 9, T + 1) uint64 words.

    Muscle noise is white but for a first-order roll-off; at higher rates its power grows with the bandwidth, up to a
    recorder's 150 Hz. Mains hum is there only where 50 Hz lies below half the rate: sampled at 100 Hz it would be an
    alternation of no meaning, and the anti-alias filter on the way to 100 Hz has removed it from real records.
    """
    white = bell_noise(raw)
    white = (white[..., 1:] + white[..., :-1]) * np.float32(np.sqrt(0.5))  # (n, 9, T)
    growth = np.sqrt(min(rate, 300) / 100.0)
    white *= (noise.muscle * growth)[:, :, None].astype(np.float32)
    size, centre, width = (noise.burst[:, k, None].astype(np.float32) for k in range(3))
    white *= (1 + size * bell(t.astype(np.float32) - centre, width))[:, None, :]
    if rate > 110:
        turns = np.float32(50.0) * t.astype(np.float32) + noise.mains_phase[:, :, None].astype(np.float32)
        white += noise.mains[:, :, None].astype(np.float32) * sine(turns)
    white += _wander(noise, t)
    return white


def record(axes: list[np.ndarray], lead_vectors: np.ndarray, potentials: np.ndarray) -> np.ndarray:
    """Twelve leads (n, 12, T) int16 counts of `SCALE` mV from the dipole, lead vectors (n, 8, 3) and noise (n, 9, T).

    I and II are rounded to counts first and the other limb leads derived from those: III is exact, aVR, aVL and aVF are
    within half a count.
    """
    n, num_samples = axes[0].shape
    ra, la, ll = potentials[:, 0], potentials[:, 1], potentials[:, 2]
    terminal = (ra + la + ll) * np.float32(1.0 / 3.0)
    counts = np.empty((n, 12, num_samples), np.int16)
    vectors = (lead_vectors / SCALE).astype(np.float32)
    gain = np.float32(1.0 / SCALE)

    def lead(row: int, pick_up: np.ndarray) -> np.ndarray:
        out = axes[0] * vectors[:, row, 0, None]
        out += axes[1] * vectors[:, row, 1, None]
        out += axes[2] * vectors[:, row, 2, None]
        out += pick_up * gain
        return np.clip(np.rint(out, out=out), -10_000, 10_000, out=out)  # +-10 mV; sums of two leads still fit int16

    one, two = lead(0, la - ra), lead(1, ll - ra)
    counts[:, 0], counts[:, 1] = one, two
    for row, derived in enumerate(derive_limb(one, two), start=2):
        counts[:, row] = np.rint(derived)
    for k in range(6):
        counts[:, 6 + k] = lead(2 + k, potentials[:, 3 + k] - terminal)
    return counts
