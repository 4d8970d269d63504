"""The report of a run: one HTML page to send to a colleague.

    python -m ecglib.report reports/lead_kd/demo     renders it again from executed.ipynb and run.json
    python -m ecglib.report --refresh [reports]      marks those that are stale, and clears those that no longer are

On top a box of reproducibility checks, at the foot the data's citation and licence and the command that makes the run
again; between them the notebook, its code folded. The page loads nothing from anywhere, so it works from a mail
attachment, and formulas are plain Unicode text (see `lint`).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ecglib import atomic, inuse, markup, refresh, results, staleness
from ecglib.checks import duration
from ecglib.errors import InputError

MATH = re.compile(r"\$\$|(?<![\\$\w])\$[^\s$](?:[^$\n]*[^\s$\\])?\$(?![\w$])|\\\(|\\\[|\\begin\{")
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")  # the first there is
SAID = ("started", "ended", "duration_s", "parameters", "git", "environment", "checks", "command")  # of its run
WIDGET = "application/vnd.jupyter.widget-view+json"


def write(folder: str | Path, record: dict[str, Any], notebook: Any, stale: Sequence[str] = ()) -> Path:
    """Renders `notebook`, executed, as ``folder/report.html``; `record` is what run.json holds or is to hold."""
    path = Path(folder) / "report.html"
    html = render(record, notebook, results.RunRecord(Path(folder), record).data, stale)
    with atomic.writing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def write_again(run: results.RunRecord, stale: Sequence[str] = ()) -> Path:
    """Renders what the run left; of one that was killed, started.json and what was saved of its cells, in red.

    Raises InputError where executed.ipynb or part of the record is missing.
    """
    import nbformat

    if run.status == "unfinished":
        return write(run.path, *refresh.cut_short(run))
    if missing := [key for key in SAID if key not in run.record]:
        raise InputError(f"{run.path}: its record lacks {' and '.join(missing)}; run the notebook again")
    executed = run.path / "executed.ipynb"
    if not executed.is_file():
        raise InputError(f"{run.path}: its run left no executed.ipynb; run the notebook again")
    return write(run.path, run.record, nbformat.read(executed, as_version=4), stale)


def render(record: dict[str, Any], notebook: Any, data: list[dict[str, Any]], stale: Sequence[str] = ()) -> str:
    """The page as text; `data` is what data.json holds, `stale` why the report no longer holds (see `staleness`)."""
    exporter = _exporter()
    notebook = copy.deepcopy(notebook)
    title = _take_title(notebook) or record["notebook"]["name"]
    outline = _prepare(exporter, notebook, record)
    script = markup.script()
    page = {
        "title": title,
        "kicker": f"Notebook {record['notebook']['name']}, {_preset(record)}",
        "subtitle": f"{record['started'][:10]}, {duration(record['duration_s'])}{_data_names(data)}",
        "contents": [heading for heading in outline.found if heading["level"] in (2, 3)],
        "css": markup.css(),
        "script": script,
        "policy": markup.policy(script),
        "record": record,
        "reasons": stale,
        "state": refresh.state(stale),
        "data": _sources(data),
    }
    html, _ = exporter.from_notebook_node(notebook, {"page": page})
    return html


def _exporter() -> Any:
    from nbconvert.exporters import HTMLExporter
    from nbconvert.exporters.templateexporter import TemplateExporter
    from nbconvert.filters import Highlight2HTML, strip_ansi
    from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
    from traitlets.config import Config

    class Exporter(HTMLExporter):
        """HTMLExporter without its last pass, which parses and prints the whole page again to look for alt texts."""

        def from_notebook_node(self, notebook: Any, resources: Any = None, **kwargs: Any) -> tuple[str, Any]:
            self.register_filter("highlight_code", Highlight2HTML(pygments_lexer="ipython3", parent=self))
            chosen = WidgetsDataTypeFilter(notebook_metadata={}, parent=self, resources=resources)
            self.register_filter("filter_data_type", chosen)
            return TemplateExporter.from_notebook_node(self, notebook, self._init_resources(resources), **kwargs)

    exporter = Exporter(
        template_name=markup.TEMPLATES.name,
        extra_template_basedirs=[str(markup.TEMPLATES.parent)],
        exclude_anchor_links=True,
        config=Config({"NbConvertBase": {"display_data_priority": list(SHOWN)}}),
    )
    for name, function in {**markup.FILTERS, "strip_ansi": strip_ansi}.items():
        exporter.register_filter(name, function)
    return exporter


def _markdown(exporter: Any, source: str) -> str:
    return exporter.markdown2html({}, source)


def _take_title(notebook: Any) -> str | None:
    """The first line of the first cell when it is a heading of the first level; it is taken out of the cell."""
    first = notebook.cells[0] if notebook.cells else None
    match = re.match(r"#\s+(.+)\n*", first.source) if first is not None and first.cell_type == "markdown" else None
    if match is None:
        return None
    first.source = first.source[match.end() :]
    return re.sub(r"[*`]", "", match.group(1)).strip()


def _prepare(exporter: Any, notebook: Any, record: dict[str, Any]) -> markup.Outline:
    """Makes every cell fit for the page, from the top down; returns the page's headings."""
    outline, figures = markup.Outline(), itertools.count(1)
    _label_code(notebook, record)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata["html"] = markup.tidy(_markdown(exporter, cell.source), outline)
        elif cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]  # dead in a page
            for output in cell.outputs:
                _prepare_output(exporter, output, outline, figures)
    return outline


def _label_code(notebook: Any, record: dict[str, Any]) -> None:
    """Numbers and labels the code cells."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    stopped = (record.get("cell") or {}).get("number")
    for number, cell in enumerate(cells, start=1):
        tags, seconds = cell.metadata.get("tags", ()), cell.metadata.get("papermill", {}).get("duration")
        kind = {"injected-parameters": "Parameters of this run", "parameters": "Parameters, as the notebook has them"}
        cell.metadata["label"] = next((kind[tag] for tag in tags if tag in kind), f"Code, cell {number}")
        cell.metadata["number"] = number
        cell.metadata["failed"] = number == stopped
        cell.metadata["time"] = duration(seconds) if seconds and seconds >= 0.1 else ""


def _prepare_output(exporter: Any, output: Any, outline: markup.Outline, figures: Iterator[int]) -> None:
    """Tidies the one form of an output that the page shows; a picture gets its number, alt text and caption."""
    data = output.get("data", {})
    kind = next((kind for kind in SHOWN if kind in data), "")
    if kind == "text/html":
        data[kind] = markup.tidy(data[kind], outline)
    elif kind == "text/markdown":
        data[kind] = markup.tidy(_markdown(exporter, data[kind]), outline)
    elif kind.startswith("image/"):
        given = output.metadata.get(kind, {})
        alt, caption = markup.described(given)
        sides = {side: int(given[side]) for side in ("width", "height") if side in given}
        output.metadata[kind] = {**sides, "alt": alt, "caption": caption, "number": next(figures)}


def _preset(record: dict[str, Any]) -> str:
    return f"preset {record['preset']}" if record["preset"] else "no preset"


def _data_names(data: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(entry["name"] for entry in data)
    return f", data {' + '.join(names)}" if names else ""


def _sources(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of data.json, one for each cohort, with the roles it had."""
    merged: dict[str, dict[str, Any]] = {}
    for entry in data:
        counts = ", ".join(f"{name} {count:,}" for name, count in entry.get("counts", {}).items())
        used = f"{entry['role']}: {entry['records']:,}" + (f" ({counts})" if counts else "")
        known = merged.setdefault(entry["fingerprint"], {**entry, "used": []})
        known["used"].append(used)
    return [{**entry, "used": "; ".join(entry["used"])} for entry in merged.values()]


def lint(notebook: Any) -> list[str]:
    """What would not reach the reader of the page: formulas in TeX, pictures from outside or without a description."""
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", cell.source)
            if match := MATH.search(prose):
                found.append(
                    f"cell {number}: TeX ({match.group()[:30]}) stays as it is in the page; write Unicode, Σ α₁ x²"
                )
            found += [
                f"cell {number}: {address} is not loaded" for address in re.findall(r"!\[[^]]*]\((http[^)\s]*)", prose)
            ]
        for output in cell.get("outputs", ()):
            about = output.get("metadata", {}).get("image/png", {})
            if "image/png" in output.get("data", {}) and not about.get("alt"):
                found.append(f"cell {number}: a figure has no alt text; use figures.show")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecglib.report", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="a folder such as reports/lead_kd/demo")
    parser.add_argument("--refresh", action="store_true", help="mark stale reports (default: all under reports/)")
    options = parser.parse_args(arguments)
    if options.run is None and not options.refresh:
        parser.error("name the folder of a run, or give --refresh")
    try:
        if options.refresh:
            _refresh(options.run or results.root() / "reports")
        else:
            run, root = results.read(options.run), refresh.root_of(options.run)
            with inuse.holding(options.run, patience=0) as ours:
                if not ours:
                    raise InputError(f"{options.run}: its run is still at work; wait for it")
                print(write_again(run, staleness.reasons(run, root) if root else []))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _refresh(reports: Path) -> None:
    if not reports.is_dir():
        raise InputError(f"{reports}: there is no such folder; give the one that holds NOTEBOOK/RUN/")
    stale = refresh.refresh(reports)
    for run, reasons in stale:
        place = f"{run.path.relative_to(reports)}{' (committed, left as it is)' if refresh.committed(run) else ''}"
        print(f"{place}: {' '.join(reasons)}")
    print(f"{len(stale)} stale")


if __name__ == "__main__":
    sys.exit(main())
