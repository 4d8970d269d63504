"""Random draws and smooth functions that come out bit for bit the same on every machine.

Two things usually spoil that. NumPy promises a stable stream for its bit generators only, not for the distributions
made of it (NEP 19). And `exp`, `sin` or `cos` may differ in the last bit between CPUs and libraries, as may the order
in which `sum` and `@` add up. So everything in this package is made of raw Philox words (Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011), integers, and operations that IEEE 754 rounds in one way only: + - * /,
square root, rounding to integers, comparison, one NumPy call each, so that no compiler can fuse two of them.

Philox is counter-based: the words for (seed, key, stream) need no other key's words. That is what makes a record a pure
function of the seed and its number.
"""

from __future__ import annotations

import numpy as np

# A sum of four uniform 16-bit integers: mean and standard deviation (Irwin-Hall, n = 4).
_SUM4_MEAN = 2.0 * 65535.0
_SUM4_SD = float(np.sqrt(4.0 * (65536.0**2 - 1.0) / 12.0))


def words(seed: int, keys: np.ndarray, stream: int, count: int) -> np.ndarray:
    """(n, count) uint64: for each key the first `count` words of its `stream`. Seed and keys lie in [0, 2**64)."""
    out = np.empty((len(keys), count), np.uint64)
    philox = np.random.Philox(0)
    state = philox.state  # setting the state costs a tenth of making a generator
    state["state"]["key"][0] = seed
    for row, key in enumerate(keys.tolist()):
        state["state"]["key"][1] = key
        state["state"]["counter"][:] = (0, 0, 0, stream)
        state["buffer_pos"] = 4  # the buffer holds nothing: start with a fresh block
        philox.state = state
        out[row] = philox.random_raw(count)
    return out


def bell_noise(raw: np.ndarray) -> np.ndarray:
    """Float32 draws of mean 0 and standard deviation 1, |value| <= 3.47, one per uint64 word (Irwin-Hall, n = 4)."""
    quarters = np.ascontiguousarray(raw, "<u8").view("<u2").reshape(*raw.shape, 4)
    total = quarters[..., 0].astype(np.int32)
    for part in range(1, 4):
        total += quarters[..., part]
    return (total.astype(np.float32) - np.float32(_SUM4_MEAN)) * np.float32(1.0 / _SUM4_SD)


class Draws:
    """Named draws for n keys at once, taken from left to right out of each key's own words.

    A draw gives (n,), or (n, size) where `size` is given. The order of the calls is the order of the words, so a new
    draw belongs after the others, and no call may hang on a condition.
    """

    def __init__(self, seed: int, keys: np.ndarray, stream: int, count: int) -> None:
        self._words, self._used = words(seed, keys, stream, count), 0

    def _take(self, size: int | None) -> np.ndarray:
        width = 1 if size is None else size
        if self._used + width > self._words.shape[1]:
            raise IndexError(f"only {self._words.shape[1]} words were drawn per key; raise `count`")
        taken = self._words[:, self._used : self._used + width]
        self._used += width
        return taken[:, 0] if size is None else taken

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None) -> np.ndarray:
        """Uniform in [low, high), float64."""
        return low + (high - low) * ((self._take(size) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def normal(self, sd: float | np.ndarray = 1.0, size: int | None = None) -> np.ndarray:
        """Bell-shaped with mean 0 and the given standard deviation, cut at 3.47 of them, float64."""
        return sd * bell_noise(self._take(size)).astype(np.float64)

    def factor(self, sd: float, size: int | None = None) -> np.ndarray:
        """Log-normal with median 1: sd = 0.2 is "give or take a fifth"."""
        return grow(self.normal(sd, size))

    def chance(self, probability: float | np.ndarray) -> np.ndarray:
        """True with the given probability (a number, or one per key)."""
        return self.uniform() < probability

    def choice(self, weights: np.ndarray) -> np.ndarray:
        """Index 0..k-1 with the given weights, (k,) or (n, k)."""
        edges = np.cumsum(np.atleast_2d(weights), axis=1)  # (1 or n, k); accumulate adds in order, on every machine
        return (self.uniform()[:, None] * edges[:, -1:] >= edges[:, :-1]).sum(axis=1)


def grow(x: np.ndarray) -> np.ndarray:
    """(1 + x/64)**64, the exponential for small x by six squarings. x > -64."""
    y = 1.0 + np.asarray(x) * (1.0 / 64.0)
    for _ in range(6):
        y = y * y
    return y


def sine(turns: np.ndarray) -> np.ndarray:
    """sin(2 pi turns) within 4e-6: Taylor's polynomial of degree 11 on a quarter turn either side of 0."""
    r = turns - np.rint(turns)  # [-1/2, 1/2]
    r = np.where(r > 0.25, 0.5 - r, np.where(r < -0.25, -0.5 - r, r))  # [-1/4, 1/4]
    x = r * r.dtype.type(2.0 * np.pi)
    x2 = x * x
    term = 1.0 - x2 / 110.0
    for divisor in (72.0, 42.0, 20.0, 6.0):
        term = 1.0 - x2 / divisor * term
    return x * term


def bell(offset: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(1 - u**2/16)**8 for u = offset/width within 4 of 0, else 0: a Gaussian exp(-u**2/2) with ends, by squarings.

    It stays within 0.036 of the Gaussian, and past four widths it is zero rather than small.
    """
    u = offset * (1.0 / width)
    u *= u
    u *= u.dtype.type(-1.0 / 16.0)
    u += u.dtype.type(1.0)
    np.maximum(u, 0.0, out=u)
    for _ in range(3):
        u *= u
    return u
