"""Where a result comes from: the commit, the environment beside its lock, the machine; and no more than that."""

from __future__ import annotations

import hashlib
import json
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

PACKAGE = "ecglib"
SOURCES = (PACKAGE, "notebooks", "params", "pyproject.toml", "requirements.lock")
NAMED = ("torch", "numpy", "pandas", "scikit-learn", "scipy", "accelerate", "wfdb", "matplotlib", "papermill")


def sha256(path: Path) -> str | None:
    """Hex digest of a file, None where it is missing."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def sources(root: Path) -> dict[str, str]:
    """{"ecglib/training.py": the first 16 hex digits of its SHA-256} for every file of the code that runs under `root`.

    That is the repository's own ``ecglib/``; where it has none, the installed one.
    """
    package = root / PACKAGE if (root / PACKAGE).is_dir() else Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return {path.relative_to(package.parent).as_posix(): (sha256(path) or "")[:16] for path in files}


def cells_digest(notebook: Path) -> str | None:
    """Hex digest of what a notebook says, its outputs and JupyterLab's notes apart; None where it cannot be read."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        said = [(c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", [])) for c in cells]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def git_state(root: Path) -> dict[str, Any]:
    """{"commit": hash or None, "dirty": changed or untracked files among SOURCES}, as of now."""
    commit = git(root, "rev-parse", "--verify", "HEAD")
    # -z: names as they are; a rename has its old name as a further entry, which is a changed file as well
    changed = git(root, "status", "--porcelain", "--untracked-files=all", "-z", "--", *SOURCES) or ""
    dirty = [entry[3:] if entry[2:3] == " " else entry for entry in changed.split("\0") if entry]
    return {"commit": commit.strip() if commit else None, "dirty": sorted(dirty)}


def git(root: Path, *arguments: str) -> str | None:
    """What git prints, None where it fails or there is none."""
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
    """From inside the kernel: the device computed on, threads, peak memory in MiB, and what it imported.

    "modules" names files of ecglib as `sources` does, "imported" packages and their versions; nothing is imported here.
    """
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen: dict[str, Any] = {
        "device": cpu_name(),
        "peak_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "modules": _own_modules(),
        "imported": _imported(),
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


def installed() -> dict[str, str]:
    """Every installed package's version by its `normalised` name."""
    return {normalised(name): found.version for found in metadata.distributions() if (name := found.metadata["Name"])}


def normalised(package: str) -> str:
    """A package's name as it is compared: small letters, one hyphen for each run of marks."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _own_modules() -> list[str]:
    parent = Path(__file__).parent.parent
    own = [module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE]
    files = {Path(module.__file__) for module in own if getattr(module, "__file__", None)}
    return sorted(file.relative_to(parent).as_posix() for file in files if file.is_relative_to(parent))


def _imported() -> dict[str, str]:
    """Packages of which something is imported, by name; not those that the kernel needs for itself."""
    tops = {name.partition(".")[0] for name in sys.modules}
    known = metadata.packages_distributions()
    names = {normalised(name) for top in tops & known.keys() for name in known[top]}
    names -= _needs("ipykernel") | {"setuptools"}  # which is loaded into every interpreter
    return {name: version for name in sorted(names) if (version := _installed(name))}


def _needs(package: str) -> set[str]:
    """`package` and all that it requires, extras left out."""
    found, open_names = set(), [package]
    while open_names:
        name = normalised(open_names.pop())
        if name in found:
            continue
        found.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        open_names += [re.match(r"[\w.-]+", line).group() for line in wanted if "extra ==" not in line]  # type: ignore
    return found


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
