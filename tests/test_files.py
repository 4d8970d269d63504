"""ecglib.files: folders that are whole or not there."""

from __future__ import annotations

import os
import threading
import time

import pytest

from ecglib.errors import InputError
from ecglib.files import Unfinished, fresh_folder, lock, staged_folder, writable


def test_fresh_folder_appears_only_when_all_went_well(tmp_path):
    with fresh_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "x").read_text() == "1"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_fresh_folder_leaves_nothing_after_an_error(tmp_path, error):
    def work() -> None:
        with fresh_folder(tmp_path / "a") as folder:
            (folder / "x").write_text("1")
            raise error("stop")

    with pytest.raises(error):
        work()
    assert os.listdir(tmp_path) == []


def test_fresh_folder_clears_what_a_killed_build_left(tmp_path):
    (tmp_path / ".a.123.partial").mkdir()
    (tmp_path / ".b.123.partial").mkdir()
    with fresh_folder(tmp_path / "a"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".b.123.partial", "a"]


def test_fresh_folder_never_replaces_what_is_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis").write_text("mine")
    with pytest.raises(InputError, match="is there already and not empty"), fresh_folder(tmp_path / "a"):
        pass
    assert (tmp_path / "a" / "thesis").read_text() == "mine"


def test_fresh_folder_can_be_read_by_others(tmp_path):
    mask = os.umask(0o022)
    try:
        with fresh_folder(tmp_path / "a"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="the disk is full at"), writable(tmp_path), open("/dev/full", "wb") as out:
        out.write(b"x" * 100_000)


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), writable(tmp_path):
        (tmp_path / "no" / "such").read_bytes()


def test_a_parent_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"), lock(tmp_path / "file" / "a", "waiting"):
        pass


def test_lock_lets_one_in_at_a_time_and_says_once_that_it_waits(tmp_path, capsys):
    inside, most, order = [], [], []

    def work(k: int) -> None:
        with lock(tmp_path / "a", "waiting"):
            inside.append(k)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(k)
            order.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == [0, 1, 2, 3]
    assert max(most) == 1
    assert capsys.readouterr().out.splitlines() == ["waiting"] * 3
    assert os.listdir(tmp_path) == []  # the lock's file goes too


class TestStagedFolder:
    def stop(self, tmp_path, error, work="w1"):
        def half() -> None:
            with staged_folder(tmp_path / "a", work, "journal") as folder:
                (folder / "journal").write_text("half")
                raise error("stop")

        with pytest.raises(error):
            half()

    def test_it_appears_without_its_journal(self, tmp_path):
        with staged_folder(tmp_path / "a", "w1", "journal") as folder:
            (folder / "journal").write_text("1")
            (folder / "x").write_text("1")
            assert not (tmp_path / "a").exists()
        assert os.listdir(tmp_path) == ["a"]
        assert os.listdir(tmp_path / "a") == ["x"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Unfinished])
    def test_the_same_work_goes_on(self, tmp_path, error):
        self.stop(tmp_path, error)
        with staged_folder(tmp_path / "a", "w1", "journal") as folder:
            assert (folder / "journal").read_text() == "half"
        assert os.listdir(tmp_path) == ["a"]

    def test_another_work_clears_it(self, tmp_path):
        self.stop(tmp_path, KeyboardInterrupt)
        with staged_folder(tmp_path / "a", "w2", "journal") as folder:
            assert os.listdir(folder) == []
            (folder / "journal").write_text("")
        assert os.listdir(tmp_path) == ["a"]
        os.rmdir(tmp_path / "a")
        self.stop(tmp_path, KeyboardInterrupt)
        with fresh_folder(tmp_path / "a"):
            pass
        assert os.listdir(tmp_path) == ["a"]

    @pytest.mark.parametrize("error", [RuntimeError, InputError])
    def test_nothing_is_left_after_an_error(self, tmp_path, error):
        self.stop(tmp_path, KeyboardInterrupt)
        self.stop(tmp_path, error)
        assert os.listdir(tmp_path) == []

    def test_it_never_replaces_what_is_there(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "thesis").write_text("mine")
        with pytest.raises(InputError, match="not empty"), staged_folder(tmp_path / "a", "w1", "journal"):
            pass
        assert (tmp_path / "a" / "thesis").read_text() == "mine"


def test_a_name_with_dots_or_brackets_clears_only_its_own(tmp_path):
    for name in (".a.b.123.partial", ".a.123.partial", ".[a].123.partial", ".a.123.partial.txt"):
        (tmp_path / name).mkdir()
    with fresh_folder(tmp_path / "a"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".[a].123.partial", ".a.123.partial.txt", ".a.b.123.partial", "a"]
    with fresh_folder(tmp_path / "[a]"):
        pass
    assert ".[a].123.partial" not in os.listdir(tmp_path)
