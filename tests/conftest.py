"""What all test files share: threads, and the real data where they are there."""

from __future__ import annotations

import os

# Tiny tensors on busy cores run several times slower with a thread per core; set before torch is imported, and
# inherited by the kernels and processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from where import SHARED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real ECGs beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED
