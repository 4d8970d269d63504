"""What the runs of a grid may take."""

from __future__ import annotations

from pathlib import Path

import grid_files
import pytest
from grid_files import HEAD, load, sentence

from ecglib import grid_limits
from ecglib.errors import InputError
from ecglib.grid_limits import Limits


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return grid_files.make(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "limits: {smoke: {minute: 3}}\n", "the limits of 'smoke' have no 'minute'. Did you mean 'minutes'?"),
        (HEAD + "limits: {smoke: {minutes: 0}}\n", "the limit 'minutes' of 'smoke' is 0; give a whole number, 1 or"),
        (HEAD + "limits: 3\n", "limits are lines"),
    ],
)
def test_limits_that_are_none_are_one_sentence(text, said):
    assert said in sentence(text)


def test_without_limits_there_is_a_sentence_that_says_which(root):
    (root / "workflow/limits.yaml").unlink()
    with pytest.raises(InputError, match="'smoke' has no limits"):
        load(HEAD)


def test_a_grids_own_limits_go_over_those_of_the_preset_and_these_over_the_default(root):
    (root / grid_limits.FILE).write_text(
        "default: {minutes: 5, memory_mb: 100, threads: 1, gpus: 0}\nsmoke: {threads: 3}\n"
    )
    found = grid_limits.read({"smoke": {"minutes": 7}, "demo": {"gpus": 2}}, "g.yaml", root)
    assert found["smoke"] == Limits(minutes=7, memory_mb=100, threads=3, gpus=0)
    assert found["demo"] == Limits(minutes=5, memory_mb=100, threads=1, gpus=2)
    assert grid_limits.of(found, "paper", "g.yaml") == Limits(5, 100, 1, 0)
