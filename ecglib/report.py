"""The report of a run: one HTML page to send to a colleague.

    python -m ecglib.report reports/lead_kd/demo        renders it again from executed.ipynb and run.json

On top a box of reproducibility checks, at the foot the data's citation and licence and the command that makes the run
again; between them the notebook, its code folded. The page loads nothing from anywhere, so it works from a mail
attachment, and formulas are plain Unicode text (see `lint`).
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
from pathlib import Path
from typing import Any

from ecglib import atomic, markup, results
from ecglib.checks import duration
from ecglib.errors import InputError

MATH = re.compile(r"\$\$|(?<![\\$\w])\$[^\s$](?:[^$\n]*[^\s$\\])?\$(?![\w$])|\\\(|\\\[|\\begin\{")
WIDGET = "application/vnd.jupyter.widget-view+json"


def write(folder: str | Path, record: dict[str, Any], notebook: Any) -> Path:
    """Renders `notebook`, executed, as ``folder/report.html``; `record` is what run.json holds or is to hold."""
    path = Path(folder) / "report.html"
    html = render(record, notebook, results.RunRecord(Path(folder), record).data)
    with atomic.writing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def render(record: dict[str, Any], notebook: Any, data: list[dict[str, Any]]) -> str:
    """The page as text; `data` is what data.json holds."""
    exporter = _exporter()
    notebook = copy.deepcopy(notebook)
    headings = markup.Headings()
    title = _take_title(notebook) or record["notebook"]["name"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata["html"] = markup.tidy(_markdown(exporter, cell.source), headings)
    _prepare_code(exporter, notebook, record)
    script = markup.script()
    page = {
        "title": title,
        "kicker": f"Notebook {record['notebook']['name']}, {_preset(record)}",
        "subtitle": f"{record['started'][:10]}, {duration(record['duration_s'])}{_data_names(data)}",
        "contents": [heading for heading in headings.found if heading["level"] in (2, 3)],
        "css": markup.css(),
        "script": script,
        "policy": markup.policy(script),
        "record": record,
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

    shown = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
    exporter = Exporter(
        template_name=markup.TEMPLATES.name,
        extra_template_basedirs=[str(markup.TEMPLATES.parent)],
        exclude_anchor_links=True,
        config=Config({"NbConvertBase": {"display_data_priority": shown}}),
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


def _prepare_code(exporter: Any, notebook: Any, record: dict[str, Any]) -> None:
    """Numbers the code cells, labels them, and makes their outputs fit for a page that loads nothing."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    stopped = (record.get("cell") or {}).get("number")
    for number, cell in enumerate(cells, start=1):
        tags, seconds = cell.metadata.get("tags", ()), cell.metadata.get("papermill", {}).get("duration")
        kind = {"injected-parameters": "Parameters of this run", "parameters": "Parameters, as the notebook has them"}
        cell.metadata["label"] = next((kind[tag] for tag in tags if tag in kind), f"Code, cell {number}")
        cell.metadata["number"] = number
        cell.metadata["failed"] = number == stopped
        cell.metadata["time"] = duration(seconds) if seconds and seconds >= 0.1 else ""
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]  # dead in a page
        for data in (output["data"] for output in cell.outputs if "data" in output):
            if "text/html" in data:
                data["text/html"] = markup.tidy(data["text/html"])
            if "text/markdown" in data:
                data["text/markdown"] = markup.tidy(_markdown(exporter, data["text/markdown"]))


def _preset(record: dict[str, Any]) -> str:
    return f"preset {record['preset']}" if record["preset"] else "no preset"


def _data_names(data: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(entry["name"] for entry in data)
    return f", data {' and '.join(names)}" if names else ""


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
    import nbformat

    parser = argparse.ArgumentParser(prog="python -m ecglib.report", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="a folder such as reports/lead_kd/demo")
    folder = parser.parse_args(arguments).run
    try:
        run = results.read(folder)
        if run.status == "unfinished" or not (folder / "executed.ipynb").is_file():
            raise InputError(f"{folder}: its run left no executed.ipynb and run.json; run the notebook again")
        print(write(folder, run.record, nbformat.read(folder / "executed.ipynb", as_version=4)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
