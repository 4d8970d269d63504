"""One GPU a job: a lock per device, with device numbers that need not exist."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from where import REPO

SCRIPT = REPO / "workflow/scripts/one_device.py"
NOTE = 'echo "$CUDA_VISIBLE_DEVICES in" >> {log}; sleep {nap}; echo "$CUDA_VISIBLE_DEVICES out" >> {log}'


@pytest.fixture
def start(tmp_path):
    """Starts commands that note the device they see; whatever is left is ended."""
    started = []

    def go(nap, names="0,1"):
        command = NOTE.format(log=tmp_path / "log", nap=nap)
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        words = [sys.executable, SCRIPT, names, "--", "bash", "-c", command]
        started.append(subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield go
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def lines(tmp_path):
    return (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []


def test_no_device_is_seen_by_two_commands_at_once_and_all_are_used(start, tmp_path):
    processes = [start(0.5) for _ in range(5)]
    assert [process.wait(60) for process in processes] == [0] * 5
    held, most = set(), 0
    for line in lines(tmp_path):
        device, what = line.split()
        if what == "in":
            assert device not in held
            held.add(device)
            most = max(most, len(held))
        else:
            held.remove(device)
    assert len(lines(tmp_path)) == 10
    assert most == 2


def test_a_killed_command_gives_its_device_back(start, tmp_path):
    first = start(60, names="5")
    while not lines(tmp_path):
        time.sleep(0.05)
    second = start(0, names="5")
    time.sleep(0.5)
    assert second.poll() is None  # it waits
    os.killpg(first.pid, signal.SIGKILL)
    assert second.wait(30) == 0
    assert lines(tmp_path) == ["5 in", "5 in", "5 out"]


def seen(tmp_path, **more):
    """What a command started with "auto" says of its device."""
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    env |= {"TMPDIR": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", **more}
    words = [sys.executable, SCRIPT, "auto", "--", "bash", "-c", "echo ${CUDA_VISIBLE_DEVICES-none}"]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True)


def test_devices_are_found_and_their_lack_is_said(tmp_path):
    assert seen(tmp_path, CUDA_VISIBLE_DEVICES="6,7").stdout == "6\n"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '3\\n4\\n'\n")
    tool.chmod(0o755)
    assert seen(tmp_path).stdout == "3\n"
    tool.write_text("#!/bin/sh\nexit 9\n")  # the tool is there, its driver is not
    done = seen(tmp_path)
    assert done.stdout == "none\n"
    assert "no GPU was found here" in done.stderr


@pytest.mark.parametrize("words", [["0,1"], ["", "--", "true"], ["../x", "--", "true"], ["0", "true"]])
def test_bad_words_are_one_sentence(words):
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
