from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecglib import inuse
from ecglib.errors import InputError

HOLDS = """
import sys, time
from pathlib import Path
from ecglib import inuse
with inuse.holding(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert not inuse.busy(folder)
    with inuse.holding(folder) as ours:
        assert ours
        assert inuse.busy(folder)
        with inuse.holding(folder, patience=0.05) as second:
            assert not second
        assert inuse.busy(folder)
    assert not inuse.busy(folder)
    assert not (folder / inuse.NAME).exists()


def test_a_killed_holder_leaves_a_file_and_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert inuse.busy(tmp_path)
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / inuse.NAME).exists()
    assert not inuse.busy(tmp_path)
    with inuse.holding(tmp_path, patience=0) as ours:
        assert ours


def test_an_error_within_lets_it_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), inuse.holding(tmp_path):
        raise KeyError
    assert not inuse.busy(tmp_path)


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"), inuse.holding(tmp_path / "file" / "x"):
        pass
