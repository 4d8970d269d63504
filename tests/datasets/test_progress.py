"""A bar on a terminal, a line elsewhere."""

from __future__ import annotations

import sys

import pytest

from ecglib.datasets import ptb_xl


@pytest.mark.parametrize(("terminal", "progress"), [(True, True), (True, False), (False, True)])
def test_a_bar_where_somebody_watches(tree, tmp_path, capsys, monkeypatch, terminal, progress):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    ptb_xl.build(tree.path, tmp_path / "c", rate=100, progress=progress)
    out, err = capsys.readouterr()
    assert ("12/12" in err) is (terminal and progress)
    assert ("12 records of 6 patients" in out) is progress
