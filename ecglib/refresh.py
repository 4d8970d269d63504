"""Reports after the fact: the yellow banner of one that is stale, and a red page for a run that was killed.

A page cannot know by itself that what it was made from has changed. So the banner is put in, and taken out again, by
whoever looks: ``python -m ecglib.report --refresh`` and every renewal of the index. The page's first tag says which
banner it carries, so that looking costs nothing. Committed reports (``reports/gallery``) are never written to.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ecglib import atomic, inuse, markup, provenance, results
from ecglib.errors import InputError
from ecglib.results import RunRecord
from ecglib.staleness import Today

GALLERY = "gallery"
WHY = "Its process ended before it could say why: it was killed, the disk was full, or the machine went down"
_STATE = re.compile(r'(<html\b[^>]*\bdata-stale=")([0-9a-f]*)(")')
_SLOT = re.compile(r"(<!-- stale -->).*?(<!-- /stale -->)", re.DOTALL)


def committed(run: RunRecord) -> bool:
    """Whether the run is one of the gallery's, which git keeps."""
    return run.path.parent.name == GALLERY


def root_of(folder: Path) -> Path | None:
    """The repository that `folder` lies in; None outside one, where nothing can be compared."""
    try:
        return results.root(folder)
    except InputError:
        return None


def state(reasons: Iterable[str]) -> str:
    """What a page's first tag says of the reasons in its banner; "" when there are none."""
    text = "\n".join(reasons)
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def renew(run: RunRecord, reasons: list[str]) -> bool:
    """Brings the run's report.html up to `reasons`; returns whether it was written. A folder in use is left alone."""
    if committed(run) or not _lags(run, reasons) or inuse.busy(run.path):
        return False
    with inuse.holding(run.path, patience=0) as ours:
        if not ours or not _lags(run, reasons):
            return False
        from ecglib import report

        page = run.path / "report.html"
        if run.status == "unfinished":
            report.write_again(run)
            return True
        text = page.read_text(encoding="utf-8")
        if _SLOT.search(text) is None:  # a page from before there were banners
            report.write_again(run, reasons)
            return True
        banner = _parts().stale(run.record, reasons)
        text = _STATE.sub(lambda m: f"{m[1]}{state(reasons)}{m[3]}", text, count=1)
        text = _SLOT.sub(lambda m: f"{m[1]}{banner}{m[2]}", text, count=1)
        with atomic.writing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return True


@cache
def _parts() -> Any:
    return markup.environment().get_template("parts.html.j2").module


def _lags(run: RunRecord, reasons: list[str]) -> bool:
    """Whether report.html says something else than `reasons`, or says nothing yet of a run that was killed."""
    page = run.path / "report.html"
    executed = run.path / "executed.ipynb"
    if run.status == "unfinished":
        seen = max(path.stat().st_mtime for path in (run.path / "started.json", executed) if path.is_file())
        return not (page.is_file() and page.stat().st_mtime >= seen)
    if not page.is_file():  # the run was asked to leave none
        return False
    with open(page, encoding="utf-8", errors="replace") as file:
        found = _STATE.search(file.read(400))
    return found[2] != state(reasons) if found else bool(reasons) and executed.is_file()


def renew_all(judged: Iterable[tuple[RunRecord, list[str]]]) -> list[Path]:
    """`renew` for every run with its reasons; returns the pages written. One that cannot be is told of and left."""
    written = []
    for run, reasons in judged:
        try:
            if renew(run, reasons):
                written.append(run.path / "report.html")
        except InputError as error:
            print(f"{run.path}: its report is left as it is: {error}", file=sys.stderr)
        except Exception:  # one odd run must not keep the others from being listed
            traceback.print_exc()
            print(f"{run.path}: its report is left as it is", file=sys.stderr)
    return written


def refresh(reports: Path) -> list[tuple[RunRecord, list[str]]]:
    """Every run under `reports` that is stale, with the reasons, after `renew_all`."""
    root = root_of(reports)
    today = None if root is None else Today(root)
    judged = []
    for folder in folders(reports):
        try:
            run = results.read(folder)
            judged.append((run, [] if today is None else today.reasons(run)))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            print(f"left out: {folder}: not as the runner writes it ({error!r})", file=sys.stderr)
    renew_all(judged)
    return [(run, reasons) for run, reasons in judged if reasons]


def folders(reports: Path) -> list[Path]:
    """The folder of every run under `reports`, readable or not."""
    return sorted({path.parent for name in ("run.json", "started.json") for path in reports.glob(f"*/*/{name}")})


def cut_short(run: RunRecord) -> tuple[dict[str, Any], Any]:
    """(record, notebook) of a run that left started.json only: its last words, and what was saved of its cells."""
    import nbformat

    from ecglib import checks

    folder = run.path
    started = datetime.datetime.fromisoformat(run.record["started"])
    last = max(path.stat().st_mtime for path in folder.iterdir() if path.name not in (inuse.NAME, "report.html"))
    ended = max(started, datetime.datetime.fromtimestamp(last, datetime.UTC))
    try:
        notebook = nbformat.read(folder / "executed.ipynb", as_version=4)
        left = "What its cells had shown when the notebook was last saved is below."
    except FileNotFoundError:
        notebook = _as_started(run)
        left = "It ended before its notebook was saved for the first time, so no cell below has an output."
    if (root := root_of(folder)) is not None:
        provenance.scrub(notebook, root)
    cell = run.record.get("cell")
    if cell and cell["number"] > len(checks.code_cells(notebook)):  # nothing there that a link could lead to
        left = left if notebook.cells else "Its notebook has changed since, so its cells are not shown."
        left = f"It was in cell {cell['number']}" + (f", “{cell['heading']}”. " if cell["heading"] else ". ") + left
        cell = None
    record = run.record | {
        "status": "unfinished",
        "reason": WHY,
        "note": f"It last wrote something at {ended:%H:%M:%S} UTC. {left}",
        "cell": cell,
        "ended": ended.isoformat(timespec="seconds"),
        "duration_s": round((ended - started).total_seconds(), 1),
    }
    return record | {"checks": checks.reproducibility(record, folder, notebook)}, notebook


def _as_started(run: RunRecord) -> Any:
    """The notebook as it was given to the kernel, parameters put in; without cells where it is not the same now."""
    from nbformat import v4
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    about, root = run.record["notebook"], root_of(run.path)
    path = None if root is None else root / about.get("path", "")
    if path is None or "cells" not in about or provenance.cells_digest(path) != about["cells"]:
        return v4.new_notebook()
    entries = run.record["parameters"]
    changed = {name: entry["value"] for name, entry in entries.items() if entry["value"] != entry["notebook"]}
    notebook = load_notebook_node(str(path))
    options = {"kernel_name": "python3", "language": "python"}
    return parameterize_notebook(notebook, changed | {"out": run.parameters["out"]}, **options)
