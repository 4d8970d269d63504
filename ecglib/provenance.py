"""Where a result comes from: the commit, the environment beside its lock, the machine; and no more than that."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from ecglib.environment import differences

SOURCES = ("ecglib", "notebooks", "params", "pyproject.toml", "requirements.lock")
NAMED = ("torch", "numpy", "pandas", "scikit-learn", "scipy", "accelerate", "wfdb", "matplotlib", "papermill")


def sha256(path: Path) -> str | None:
    """Hex digest of a file, None where it is missing."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def git_state(root: Path) -> dict[str, Any]:
    """{"commit": hash or None, "dirty": changed or untracked files among SOURCES}, as of now."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    # -z: names as they are; a rename has its old name as a further entry, which is a changed file as well
    changed = _git(root, "status", "--porcelain", "--untracked-files=all", "-z", "--", *SOURCES) or ""
    dirty = [entry[3:] if entry[2:3] == " " else entry for entry in changed.split("\0") if entry]
    return {"commit": commit.strip() if commit else None, "dirty": sorted(dirty)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def environment(root: Path) -> dict[str, Any]:
    """Python, platform, the main packages' versions, the lock's digest and how the environment differs from it."""
    lock = root / "requirements.lock"
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in NAMED if (version := _installed(name))},
        "lock": sha256(lock),
        "differs": differences(lock) if lock.is_file() else [],
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
    }


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def in_kernel(device: Any = None) -> dict[str, Any]:
    """From inside the kernel: the device computed on, threads, peak memory in MiB. Does not import torch by itself."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen: dict[str, Any] = {
        "device": cpu_name(),
        "peak_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    }
    torch = sys.modules.get("torch")
    if torch is None:
        return seen
    seen["threads"] = torch.get_num_threads()
    kind = torch.device(device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")).type
    if kind == "cuda":
        seen |= {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
        seen["peak_device_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    elif kind != "cpu":
        seen["device"] = kind
    return seen


# Two components at least, not behind a character that makes it a URL, a relative path, a tag or a fraction.
_PATH = re.compile(r"(?<![\w.:/~<>\]})%-])(/[\w.+@-]+(?:/[\w.+@-]+)+)|\b([A-Z]:\\Users\\\w+)")


def absolute_paths(texts: Iterable[str]) -> list[str]:
    """Paths in `texts` whose first folder is one of this machine's ("/home/...", not "and/or" or "/5 mm/mV")."""
    tops = {entry for entry in os.listdir("/") if os.path.isdir(f"/{entry}")} | {"home", "Users", "root", "tmp"}
    found = {unix or windows for text in texts for unix, windows in _PATH.findall(text)}
    return sorted(path for path in found if not path.startswith("/") or path.split("/")[1] in tops)


def portable(text: str, root: Path) -> str:
    """`text` as it is, or, where it names something on this machine by its whole path, the way there from `root`.

    So a report tells neither where the repository lies nor, as a rule, whose it is.
    """
    path = Path(text).expanduser() if text.startswith(("/", "~")) else None
    return os.path.relpath(path, root) if path is not None and path.exists() else text


def scrub(notebook: Any, root: Path) -> None:
    """Takes this machine's folders out of warnings and tracebacks, where Python itself puts them; not out of results.

    IPython calls a cell ``/tmp/ipykernel_PID/HASH.py`` in warnings: a path that is of no use and differs in every run.
    """
    # the environment often lies inside the repository: the longer name first
    known = sorted({(sys.prefix, "<environment>"), (str(root), "."), (str(Path.home()), "~")}, key=lambda k: -len(k[0]))

    def clean(text: str) -> str:
        text = re.sub(r"\S*[/\\]ipykernel_\d+[/\\]\d+\.py", "cell", text)
        for folder, name in known:
            text = re.sub(rf"{re.escape(folder)}(?=[/\\])", name, text)
        return text

    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if output.output_type == "stream" and output.name == "stderr":
            output.text = clean(output.text)
        elif output.output_type == "error":
            output.traceback = [clean(line) for line in output.traceback]
