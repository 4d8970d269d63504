"""One process with everything imported for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from preloaded import Starter


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    starter.close()
