"""What `tests/test_signals.py` does not ask of resampling: that it is scipy's own, and that it comes without torch."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.signal import resample_poly

from ecglib.resampling import resample


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("rate", "to_rate"), [(500, 100), (400, 500), (257, 500), (100, 500)])
def test_the_filter_that_is_kept_is_the_one_that_scipy_designs(rate, to_rate, kind):
    x = np.random.default_rng(0).normal(size=(2, 600)).astype(kind)
    made = resample(x, rate=rate, to_rate=to_rate)
    np.testing.assert_array_equal(made, resample_poly(x, to_rate, rate, axis=-1, padtype="line").astype(kind))


def test_a_process_that_resamples_does_not_carry_torch():
    code = (
        "import sys, numpy as np; from ecglib.datasets import rule;"
        "rule.to_target(np.zeros((12, 5000), 'f4') , rule.LEADS, 500, rule.Target(100, 10));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
