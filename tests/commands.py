"""Commands and snippets of the README and of docs/, found in the text and checked short of running a notebook."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from where import REPO

from ecglib import parameters, run
from ecglib.plan import make_plan

PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
_LINE = re.compile(r"^((?:make|\.venv/bin/\S+) .*?)(?:\s{2,}#.*)?$", re.MULTILINE)
_CELL = re.compile(r"^\| `((?:make|\.venv/bin/\S+) [^`]+)` \|", re.MULTILINE)


def of(page: Path) -> list[str]:
    """The commands on a page, in code blocks and in the first column of tables."""
    text = page.read_text(encoding="utf-8")
    return sorted(set(_LINE.findall("\n".join(blocks(page, ""))) + _CELL.findall(text)))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page marked with that language ("" for none)."""
    found, inside = [], None
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("```"):
            if inside is None:
                inside = (line[3:].strip(), [])
            else:
                found.append((inside[0], "".join(inside[1])))
                inside = None
        elif inside is not None:
            inside[1].append(line)
    return [text for marked, text in found if marked == language]


def understood(command: str) -> None:
    """Everything between a command and its work: names, options, presets, parameters; AssertionError where not."""
    words = shlex.split(command)
    if words[0] == "make":
        done = subprocess.run([*words, "--dry-run"], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[0].endswith("papermill"):
        schema = parameters.read_schema(REPO / words[1])
        parameters.resolve(schema, REPO / words[words.index("-f") + 1], [])
    else:
        assert words[:2] == [".venv/bin/python", "-m"], command
        MODULES[words[2]](words[3:])


def _run(words: list[str]) -> None:
    options = run._options(words)
    if options.list:
        assert run.main(words) == 0
    elif getattr(options, "verify", None) is None:
        make_plan(options)


def _torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words)
    assert (options.module, options.training_script) == (True, "ecglib.run"), words
    _run(options.training_script_args)


def _datasets(words: list[str]) -> None:
    from ecglib.datasets import __main__, sources

    options = __main__._parser().parse_args(words)
    known = __main__.NAMES if options.command == "build" else sources.SOURCES
    assert getattr(options, "name", None) in (None, *known)


def _help(module: str):
    """For a module whose `main` parses and works in one go: its options are all in its help."""

    def check(words: list[str]) -> None:
        done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for word in words:
            assert not word.startswith("-") or re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", done.stdout), word

    return check


HELPFUL = (
    "datasets.records", "embed", "gallery", "grid", "report", "crate", "index", "lint", "pairing", "references"
)  # fmt: skip
MODULES = {
    "ecglib.run": _run,
    "ecglib.datasets": _datasets,
    "snakemake": _help("snakemake"),
    "torch.distributed.run": _torchrun,
    **{f"ecglib.{name}": _help(f"ecglib.{name}") for name in HELPFUL},
}
