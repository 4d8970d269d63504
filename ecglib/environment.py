"""One truth for the packages: `pyproject.toml`. The lock and conda's file are made from it; tests tell when they lag.

python -m ecglib.environment            write environment.yml
python -m ecglib.environment --stamp    mark requirements.lock as made from today's pyproject.toml
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

# conda-forge's name, where it differs from the package index's
CONDA_NAMES = {"torch": "pytorch"}
# conda installs these by pip: not there, or not under a name that we made sure of
BY_PIP = ("axe-playwright-python", "playwright", "rocrate", "snakemake", "snakemake-executor-plugin-slurm")
LOCKED_GROUPS = ("test", "workflow", "build")  # the benchmarks' peers are not: nothing of ours needs them
STAMP = "# made by `make lock` from pyproject.toml, dependencies "
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)\s*(?:;\s*([^\\]+?))?\s*\\?$")


def requirements(pyproject: Path) -> dict[str, list[str]]:
    """The groups that are locked, each with its requirements: ``{"dependencies": [...], "test": [...], ...}``."""
    content = tomllib.loads(pyproject.read_text())
    groups = {name: content["dependency-groups"][name] for name in LOCKED_GROUPS}
    return {"dependencies": content["project"]["dependencies"], **groups}


def stamp(pyproject: Path) -> str:
    """The line that a lock made from this `pyproject` begins with."""
    text = json.dumps(requirements(pyproject), sort_keys=True)
    return STAMP + hashlib.sha256(text.encode()).hexdigest()[:16]


def conda_environment(pyproject: Path) -> str:
    """The text of `environment.yml`: the same packages under conda-forge's names, and the project itself."""
    content = tomllib.loads(pyproject.read_text())
    groups = requirements(pyproject)
    wanted = sorted(groups["dependencies"] + groups["test"] + groups["workflow"])
    lines = [
        "# Made from pyproject.toml by `make lock`; do not edit.",
        "# `make env` installs the exact pins of requirements.lock instead, and is what the tests run on.",
        f"name: {content['project']['name']}",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        f"  - python{content['project']['requires-python']}",
        "  - pip",
    ]
    by_pip = []
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement).group()
        if name in BY_PIP:
            by_pip.append(f"      - {requirement}")
        else:
            lines.append(f"  - {CONDA_NAMES.get(name, name)}{requirement[len(name) :]}")
    return "\n".join([*lines, "  - pip:", *by_pip, "      - -e .", ""])


def locked(lock: Path) -> dict[str, set[str]]:
    """Package name to the versions that `lock` admits (several where markers tell platforms or Pythons apart)."""
    pins: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if match := _PIN.match(line.rstrip()):
            pins.setdefault(match[1].lower(), set()).add(match[2])
    return pins


def differences(lock: Path) -> list[str]:
    """Installed packages whose version is not one that `lock` admits, as sentences; empty when all agree."""
    found = []
    for name, versions in sorted(locked(lock).items()):
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform, or a tool that this environment does without
        if installed.partition("+")[0] not in {version.partition("+")[0] for version in versions}:
            found.append(f"{name} {installed} instead of {' or '.join(sorted(versions))}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ecglib.environment", description=__doc__)
    parser.add_argument("--stamp", action="store_true")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    if arguments.stamp:
        lock = root / "requirements.lock"
        text = "".join(line for line in lock.read_text().splitlines(True) if not line.startswith(STAMP))
        lock.write_text(f"{stamp(root / 'pyproject.toml')}\n{text}")
    else:
        (root / "environment.yml").write_text(conda_environment(root / "pyproject.toml"))


if __name__ == "__main__":
    main()
