"""The list of all runs: one page to find, filter and compare them by.

    python -m ecglib.index [reports]     writes reports/index.html; marks stale reports, and draws those of killed runs

The page holds all that it shows: a row a run, and for its script what differs between their parameters. Without the
script all rows are there, in a table. Nothing large is read: of metrics.json as much as stands before the headline.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ecglib import atomic, files, inuse, markup, refresh, results
from ecglib.checks import duration
from ecglib.errors import InputError
from ecglib.results import RunRecord
from ecglib.staleness import Today

FILES = {"executed.ipynb": "notebook", "metrics.json": "metrics", "metrics.json.gz": "metrics", "run.json": "record"}
CHUNK = 1 << 15
_BETWEEN = re.compile(r"[\s,]*")


def write(reports: str | Path) -> Path:
    """Writes ``reports/index.html``, newest runs first, and brings reports up to date (`refresh`); returns its path."""
    reports = Path(reports)
    path = reports / "index.html"
    with files.lock(path, f"waiting for another run to list itself in {path.name}"):
        html = render(reports)
        with atomic.writing(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
    return path


def render(reports: Path) -> str:
    """The page as text, after the reports of the runs that it lists were brought up to date."""
    root = refresh.root_of(reports)
    today = None if root is None else Today(root)
    rows = [_row(folder, reports, today) for folder in refresh.folders(reports)]
    rows.sort(key=lambda row: row["started"], reverse=True)
    script = (markup.TEMPLATES / "runs.js").read_text(encoding="utf-8")
    css = f"{(markup.TEMPLATES / 'style.css').read_text(encoding='utf-8')}\n"
    css += (markup.TEMPLATES / "runs.css").read_text(encoding="utf-8")
    return (
        markup.environment()
        .get_template("runs.html.j2")
        .render(runs=rows, data=_for_script(rows), css=css, script=script, policy=markup.policy(script))
    )


def _row(folder: Path, reports: Path, today: Today | None) -> dict[str, Any]:
    """The run in `folder` as a row of the page; one broken file hides itself and nothing else."""
    try:
        run = results.read(folder)
        if "started" not in run.record:
            raise InputError(f"{folder}: its record lacks started; remove the folder, and run again")
        stale = [] if today is None else today.reasons(run)
        refresh.renew_all([(run, stale)])
        return _row_of(run, stale, reports)
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = str(error) if isinstance(error, InputError) else f"{folder}: not as the runner writes it ({error!r})"
        row = dict.fromkeys(("link", "preset", "headline", "took", "seconds", "cell", "command"))
        row |= {"notebook": folder.parent.name, "name": folder.name, "status": "unreadable"}
        row["reason"] = said.replace(f"{reports}/", "")
        nothing: dict[str, Any] = {"data": [], "links": {}, "stale": [], "set": {}, "parameters": {}}
        return row | nothing | {"started": "", "committed": False}


def _row_of(run: RunRecord, stale: list[str], reports: Path) -> dict[str, Any]:
    record, there = run.record, {path.name for path in run.path.iterdir()}
    place = quote(run.path.relative_to(reports).as_posix())
    running = run.status == "unfinished" and inuse.busy(run.path)
    entries = record.get("parameters", {})
    return {
        "notebook": run.notebook,
        "name": run.path.name,
        "link": f"{place}/report.html" if "report.html" in there else None,
        "links": {text: f"{place}/{name}" for name, text in FILES.items() if name in there},
        "status": "running" if running else run.status,
        "committed": refresh.committed(run),
        "stale": stale,
        "command": record.get("command"),
        "reason": record.get("reason") or ("" if running else refresh.WHY),
        "cell": record.get("cell"),
        "preset": run.preset,
        "data": list(dict.fromkeys(entry["name"] for entry in run.data)),
        "headline": headline(run) if run.status == "complete" else None,
        "set": {name: _text(entry["value"]) for name, entry in entries.items() if _own(name, entry, run.preset)},
        "parameters": {name: _text(entry["value"]) for name, entry in entries.items() if name != "out"},
        "seconds": record.get("duration_s"),
        "took": duration(record["duration_s"]) if "duration_s" in record else None,
        "started": record["started"],
    }


def _own(name: str, entry: dict[str, Any], preset: str | None) -> bool:
    """Whether the run has a value of its own: not the preset's, nor where there is none the notebook's."""
    set_here = name != "out" and entry["source"] == "command line"
    return set_here and not (preset is None and entry["value"] == entry["notebook"])


def _text(value: Any) -> str:
    """As a person would type it; text in quotes only where it would be mistaken for something else."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def headline(run: RunRecord) -> dict[str, Any] | None:
    """The first macro value on test data that is no difference of two models, as a row of metrics.json, with "text"."""
    for row in metric_rows(run.path):
        chosen = row["split"] == "test" and row["class"] == "macro" and row["value"] is not None
        if chosen and " - " not in row["model"]:
            bounds = "" if row["low"] is None else f" [{short(row['low'])}, {short(row['high'])}]"
            return row | {"text": f"{row['metric']} {short(row['value'])}{bounds}"}
    return None


def short(value: float) -> str:
    """Three digits behind the point, none before it that is 0: ".901"."""
    return f"{value:.3f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.3f}"


def metric_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the run's metrics.json or .json.gz, read as far as they are asked for: there may be ten thousand.

    Raises InputError where the file is not a list of rows.
    """
    packed = folder / "metrics.json.gz"
    path = packed if packed.is_file() else folder / "metrics.json"
    if not path.is_file():
        return
    decoder, text, at, whole = json.JSONDecoder(), "", 0, False
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path is packed else open(path, encoding="utf-8") as file:
            if file.read(1) != "[":
                raise ValueError("it is not a list of rows")
            while True:
                start = _BETWEEN.match(text, at).end()
                if text[start : start + 1] == "]":
                    return
                try:
                    row, at = decoder.raw_decode(text, start)
                except ValueError:
                    if whole:
                        raise
                    piece = file.read(CHUNK)
                    text, at, whole = text[start:] + piece, 0, not piece
                else:
                    yield row
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); remove the folder, and run again") from None


def _for_script(rows: list[dict[str, Any]]) -> str:
    """What filters, sorting and comparison need, as JSON that may stand in a page.

    Parameters of a notebook that most of its runs share stand once, under "usual"; a run has what differs from them.
    """
    values: dict[str, dict[str, Counter[str]]] = {}
    for row in rows:
        for name, text in row["parameters"].items():
            values.setdefault(row["notebook"], {}).setdefault(name, Counter())[text] += 1
    usual = {
        notebook: {name: counts.most_common(1)[0][0] for name, counts in names.items()}
        for notebook, names in values.items()
    }
    runs = [
        {
            "name": f"{row['notebook']} / {row['name']}",
            "link": row["link"],
            "notebook": row["notebook"],
            "preset": row["preset"] or "none",
            "data": row["data"],
            "status": row["status"],
            "state": "stale" if row["stale"] else "current",
            "started": row["started"][:16].replace("T", " "),
            "seconds": row["seconds"],
            "took": row["took"],
            "model": row["headline"] and row["headline"]["model"],
            "value": row["headline"] and row["headline"]["value"],
            "headline": row["headline"] and row["headline"]["text"],
            "own": _differing(row["parameters"], usual.get(row["notebook"], {})),
        }
        for row in rows
    ]
    text = json.dumps({"usual": usual, "runs": runs}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _differing(parameters: dict[str, str], usual: dict[str, str]) -> dict[str, str | None]:
    """What a run's parameters have otherwise than the usual ones; null for one that the run does not know."""
    own: dict[str, str | None] = {name: text for name, text in parameters.items() if usual.get(name) != text}
    return own | {name: None for name in usual.keys() - parameters.keys()}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecglib.index", description=__doc__.split("\n")[0])
    parser.add_argument("reports", type=Path, nargs="?", help="the folder of NOTEBOOK/RUN/ (default: reports/)")
    options = parser.parse_args(arguments)
    try:
        if options.reports is not None and not options.reports.is_dir():
            raise InputError(f"{options.reports}: there is no such folder; give the one that holds NOTEBOOK/RUN/")
        print(write(options.reports or results.root() / "reports"))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
