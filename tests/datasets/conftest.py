"""The tiny PTB-XL that several test files here start from."""

from __future__ import annotations

import pytest
from ptb_xl_tree import Tree


@pytest.fixture
def tree(tmp_path) -> Tree:
    """Twelve records of six patients in both rates, as published."""
    return Tree(tmp_path / "ptb-xl")
