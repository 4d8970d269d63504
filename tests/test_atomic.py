"""ecglib.atomic: files that are whole or not there."""

from __future__ import annotations

import json
import os

import pytest

from ecglib import atomic
from ecglib.errors import InputError


def test_a_file_appears_only_when_all_went_well(tmp_path):
    with atomic.writing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("1")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "1"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_what_was_there_stays(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def work() -> None:
        with atomic.writing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error):
        work()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("1")
    with atomic.writing(tmp_path / "a") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("2")
    assert os.listdir(tmp_path / "a") == ["new"]


@pytest.mark.parametrize("below", ["a.json", "deeper/a.json"])
def test_a_parent_that_is_a_file_is_said_in_a_sentence(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written to \((Not a directory|File exists)\); choose another"):
        atomic.write_json(tmp_path / "file" / below, {})
    assert (tmp_path / "file").read_text() == "mine"


def test_json_has_no_nan(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"größe": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"größe": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", float("nan"))
