"""Runs a command with one GPU of this machine to itself; waits until one is free.

    python workflow/scripts/one_device.py 0,1 -- python -m ecglib.run ...
    python workflow/scripts/one_device.py auto -- ...     those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists

The command sees that device alone (CUDA_VISIBLE_DEVICES). A device is held by a lock on a file in the machine's folder
for temporary files, whichever repository the command belongs to. The lock is the kernel's (flock) and the command's own
(it replaces this process), so it goes when the command ends, however that is.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Does not return once the command has started."""
    if len(arguments) < 3 or arguments[1] != "--":
        print("error: usage: one_device.py DEVICE[,DEVICE...] -- COMMAND ...", file=sys.stderr)
        return 2
    names = found() if arguments[0] == "auto" else [name for name in arguments[0].split(",") if name]
    if arguments[0] == "auto" and not names:
        print("no GPU was found here: the command runs without one", file=sys.stderr, flush=True)
        os.execvp(arguments[2], arguments[2:])
    if not names or not all(re.fullmatch(r"[\w-]+", name) for name in names):
        print(f"error: {arguments[0]!r} names no devices; give numbers such as 0,1", file=sys.stderr)
        return 2
    device = take(names)
    print(f"device {device}", file=sys.stderr, flush=True)
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.execvp(arguments[2], arguments[2:])


def found() -> list[str]:
    """The devices of this machine that this process may use; [] without any."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    if not (tool := shutil.which("nvidia-smi")):
        return []
    words = [tool, "--query-gpu=index", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.stdout.split() if done.returncode == 0 else []


def take(names: list[str], every_s: float = 0.2) -> str:
    """The first free device of `names`; its lock is held by an open file that a started command inherits."""
    folder = Path(tempfile.gettempdir()) / f"ecg-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for name in names:
            handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            os.set_inheritable(handle, True)
            return name
        time.sleep(every_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
