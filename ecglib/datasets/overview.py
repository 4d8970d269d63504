"""The page on the data sets, made from what each reader's `ABOUT` says: a table, then each with its traps.

    python -m ecglib.datasets overview        writes docs/data_sets.md; a test tells when it lags

A reader's first question is "does it read my data?", so that the table has the name to give, what the labels are, what
may be done with the records, and whether the reader was ever tried on real ones.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from ecglib import atomic
from ecglib.datasets.about import About

PAGE = Path("docs") / "data_sets.md"
BEGIN, END = "<!-- made by `python -m ecglib.datasets overview` -->", "<!-- end -->"


def modules() -> dict[str, About]:
    """Each data set's module below ecglib.datasets and its `ABOUT`, ordered by title."""
    import ecglib.datasets as package

    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("_"):
            continue
        about = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "ABOUT", None)
        if isinstance(about, About):
            found[module.name] = about
    return dict(sorted(found.items(), key=lambda item: item[1].title.casefold()))


def text() -> str:
    """Markdown: the table and the sections."""
    found = modules()
    lines = ["| name | data set | records | Hz | leads | labels | licence |", "|---|---|---|---|---|---|---|"]
    for name, about in found.items():
        row = about.row()
        cells = [
            f"`{name}`",
            f"[{about.title}](#{name})",
            *(row[key] for key in ("records", "rate", "leads", "labels")),
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in [*cells, about.licence]) + " |")
    for name, about in found.items():
        lines += ["", *_section(name, about)]
    return "\n".join(lines)


def _section(name: str, about: About) -> list[str]:
    row = about.row()
    size = f"{row['size_gb']} GB" if isinstance(about.size_gb, float | int) else f"size {row['size_gb']}"
    lines = [
        f'<a id="{name}"></a>',
        f"### {about.title}",
        "",
        f"Version {about.version}, {size}: <{about.url}>."
        if about.url.startswith("http")
        else f"Version {about.version}, {size}.",
        f"Tried on: {about.tried_on}.",
    ]
    if about.credentialed:
        lines.append(
            "It is given out after training and a signed agreement only; this project cannot fetch it for you."
        )
    lines += ["", f"Cite: {about.citation}"]
    if about.traps:
        lines += ["", *(f"- {trap}" for trap in about.traps)]
    return lines


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def renewed(page: str) -> str:
    """`page` with what stands between the marks made anew; ValueError where a mark is missing."""
    before, _, rest = page.partition(BEGIN)
    if END not in rest:
        raise ValueError(f"{PAGE} lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text()}\n{END}{rest.partition(END)[2]}"


def write(root: Path) -> Path:
    """Renew the page below `root`, the repository's."""
    path = root / PAGE
    content = renewed(path.read_text(encoding="utf-8"))
    with atomic.writing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path
