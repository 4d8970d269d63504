"""From one sampling rate to another. Without torch, so that a process that only builds a cohort does not carry it."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

from ecglib.errors import InputError


def resample(x: np.ndarray, *, rate: float, to_rate: float) -> np.ndarray:
    """(..., T) mV at `rate` to (..., ceil(T * to_rate / rate)) at `to_rate`, polyphase with an anti-alias filter.

    The signal is continued past its ends along the line through its first and last sample (scipy.signal.resample_poly,
    padtype "line"); the default of zeros would bend every record that does not start and end at 0 mV.

    Raises:
        InputError: for rates that are not above 0, or whose ratio is not one of integers up to 1000.
    """
    if not (rate > 0 and to_rate > 0):
        raise InputError(f"Rates must be above 0 Hz, but resampling was asked from {rate} to {to_rate} Hz.")
    if rate == to_rate:
        return x
    ratio = Fraction(to_rate / rate).limit_denominator(1000)
    if ratio == 0 or ratio.numerator > 1000 or abs(float(ratio) * rate / to_rate - 1) > 1e-9:
        raise InputError(f"{rate} Hz cannot be resampled to {to_rate} Hz: their ratio is not one of small integers.")
    from scipy.signal import resample_poly

    up, down = ratio.numerator, ratio.denominator
    taps = _taps(max(up, down), np.float32 if x.dtype == np.float32 else np.float64)
    return resample_poly(x, up, down, axis=-1, padtype="line", window=taps).astype(x.dtype, copy=False)


@lru_cache(maxsize=16)
def _taps(factor: int, kind: type) -> np.ndarray:
    """The filter that scipy would design anew for every record: Kaiser, 20 taps a factor and one."""
    from scipy.signal import firwin

    return firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0)).astype(kind)
