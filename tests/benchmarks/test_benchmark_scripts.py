"""Each row's script by itself, as docs/speed.md calls it: `--quick --json` gives cases of the shared form."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from where import REPO

from benchmarks.__main__ import ROWS
from benchmarks.case import from_json

UNMEASURED = {"first_report"}  # takes a quarter of an hour, so --quick measures nothing


@pytest.mark.parametrize("name", ROWS)
def test_quick_gives_cases(name, tmp_path):
    script, file = REPO / "benchmarks" / f"{name}.py", tmp_path / "cases.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "--quick", "--json", str(file)],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = from_json(file.read_text())
    assert cases
    assert len({case.case for case in cases}) == len(cases)
    assert name in UNMEASURED or any(case.ours is not None for case in cases)
    for case in cases:
        figures = [case.ours, *case.beside.values(), *(case.limit or {}).values()]
        assert all(figure is None or figure >= 0 for figure in figures), case
        assert case.unit
        assert (case.met is None) or case.target
        assert case.case in done.stdout
    left = {each.name for each in tmp_path.iterdir() if not each.name.startswith("torchinductor")}  # torch makes it
    assert left == {"cases.json"}, "it left files behind"
