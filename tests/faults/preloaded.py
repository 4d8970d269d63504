"""Starts of the runner and its kernel from a process that has imported everything: a second each, not ten.

What is started differs from ``python -m ecglib.run`` in this only: runner and kernel are forks, not fresh
interpreters. The kernel is a child of the runner in a session of its own, as jupyter_client makes it. Run as a script
this is that process; it takes a line of JSON per request. `Starter` is its other end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LONGEST_S = 240


class Starter:
    """Starts runs; to be closed."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "agg"}
        command = [sys.executable, str(HERE / "preloaded.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **request: Any) -> Any:
        """The answer to one request: see `_serve`."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: list[str], cwd: Path, log: Path, **faults: Any) -> int:
        """Starts ``python -m ecglib.run ARGUMENTS`` in `cwd`; gives its process id. For `faults` see `_arm`."""
        return self.ask(start=arguments, cwd=str(cwd), log=str(log), faults=faults)

    def wait(self, process: int) -> int:
        """Its exit status, as subprocess gives it; it is killed after `LONGEST_S`, which is an AssertionError."""
        status = self.ask(wait=process)
        assert status is not None, f"the run took longer than {LONGEST_S} s"
        return status

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _preload()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "start" in request:
            answer: Any = _fork(_runner, request)
        else:
            answer = _wait(request["wait"])
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # libraries would complain of one another


def _preload() -> None:
    import gc
    import importlib

    for name in ("papermill", "torch", "nbconvert", "IPython.core.interactiveshell", "matplotlib.figure", "debugpy"):
        importlib.import_module(name)
    for name in ("run", "report", "index", "training", "evaluation", "execution", "figures", "datasets.synthetic",
                 "datasets.parts", "protocol", "tables", "devices", "checks", "verify"):  # fmt: skip
        importlib.import_module(f"ecglib.{name}")
    _first_times()
    gc.freeze()


def _first_times() -> None:
    """What torch, pandas and matplotlib load or look for when they are first used."""
    import pandas as pd
    import torch

    from ecglib import figures

    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.AdamW([weight])
    weight.grad = torch.zeros(1)
    optimiser.step()
    history = pd.DataFrame({"model": ["a"], "seed": [0], "epoch": [1], "loss": [0.1]})
    history.to_parquet(os.devnull)
    figures.png(figures.learning_curves(history, ("loss",)))


def _fork(work: Any, *arguments: Any) -> int:
    """A process that does `work` and ends with what it returns."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        status = work(*arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


def _wait(process: int) -> int | None:
    until = time.monotonic() + LONGEST_S
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _runner(request: dict[str, Any]) -> int:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["cwd"])
    asked, ask = os.pipe()  # made before anything runs that a fork would not carry over
    kernel = _fork(_kernel, asked, ask, request["faults"])
    os.close(asked)

    def launch(command: list[str], **options: Any) -> subprocess.Popen:
        environment = {**options["env"], "JPY_PARENT_PID": str(os.getpid())}
        said = {"argv": command[2:], "env": environment, "cwd": str(options.get("cwd") or os.getcwd())}
        os.write(ask, json.dumps(said).encode() + b"\n")
        return _as_popen(kernel, command)

    from jupyter_client.provisioning import local_provisioner

    local_provisioner.launch_kernel = launch
    _arm("runner", request["faults"])
    sys.argv = ["ecglib.run", *request["start"]]
    from ecglib import run

    return run.main(request["start"])


def _as_popen(process: int, command: list[str]) -> subprocess.Popen:
    """A child of this process as subprocess would have it."""
    handle = subprocess.Popen.__new__(subprocess.Popen)
    import threading

    handle.args, handle.pid, handle.returncode = command, process, None
    handle.stdin = handle.stdout = handle.stderr = None
    handle._child_created, handle._waitpid_lock = True, threading.Lock()
    handle._communication_started, handle._input, handle._sigint_wait_secs = False, None, 0.25
    return handle


def _kernel(asked: int, ask: int, faults: dict[str, Any]) -> int:
    os.close(ask)
    text = b""
    while not text.endswith(b"\n"):
        block = os.read(asked, 1 << 16)
        if not block:  # the runner ended before it wanted a kernel
            return 0
        text += block
    os.close(asked)
    said = json.loads(text)
    os.environ.clear()
    os.environ.update(said["env"])
    os.chdir(said["cwd"])
    sys.argv = said["argv"]
    sys.path[0] = ""
    _arm("kernel", faults)
    import runpy

    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    return 0


def _arm(role: str, faults: dict[str, Any]) -> None:
    """strike: (place, fault, root), see `sabotage.arm`. count: {function: file}, a byte per call in the kernel."""
    sys.path.append(str(HERE))
    import sabotage

    if "strike" in faults:
        sabotage.arm(role, *faults["strike"])
    for function, file in faults.get("count", {}).items() if role == "kernel" else ():
        sabotage.wrap(function, lambda file=file: _note(file))


def _note(file: str) -> None:
    with open(file, "ab") as out:
        out.write(b".")


if __name__ == "__main__":
    _serve()
