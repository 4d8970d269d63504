from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import bs4
import nbformat
import pandas as pd
import pytest
from nbformat import v4

from ecglib import atomic, checks, lint, markup, report

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
        "0000000049454e44ae426082"
    )
).decode()
ENTRY = {
    "role": "student",
    "records": 2158,
    "name": "ptb-xl",
    "source_version": "1.0.3",
    "source": "https://physionet.org/content/ptb-xl/1.0.3/",
    "fingerprint": "ab12cd34",
    "citation": "Wagner et al. & others (2020), https://doi.org/10.1038/s41597-020-0495-6.",
    "licence": "CC BY 4.0",
    "notes": ["12 records dropped: flat lead"],
    "counts": {"train": 1764, "test": 253},
}


def display(data: dict[str, str], **metadata: Any) -> Any:
    return v4.new_output("display_data", data=data, metadata=metadata)


@pytest.fixture
def notebook() -> Any:
    """An executed one, with what an honest notebook holds."""
    table = pd.DataFrame({"AUC": ["0.912 [0.9, 0.92]"], "note": ["best"]}, index=pd.Index(["a"], name="model"))
    figure = display({"image/png": PIXEL}, **{"image/png": {"alt": 'Lead "I" <x>', "caption": "10 mm/mV & 25 mm/s"}})
    cells = [
        v4.new_markdown_cell("# A **title** & more\n\nIntroduction to [a paper](https://doi.org/10.1016/x)."),
        v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell("## Results\n\n## Results\n\n### Per class <i>\n\n| a | b |\n|---|---|\n| x | 1 |"),
        v4.new_code_cell(
            "show()",
            outputs=[
                v4.new_output("stream", name="stdout", text="\x1b[31mepoch\x1b[0m 1 < 2\n"),
                v4.new_output("stream", name="stdout", text="line\n" * 40),
                v4.new_output("stream", name="stderr", text="a warning\n"),
                figure,
                display({"text/html": table.to_html(), "text/plain": "table"}),
                display({report.WIDGET: "{}", "text/plain": "HBox(children=...)"}),
            ],
        ),
    ]
    code = [cell for cell in cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        cell.metadata["papermill"] = {"duration": 75.0}
    return v4.new_notebook(cells=cells)


@pytest.fixture
def record(notebook: Any, tmp_path: Path) -> dict[str, Any]:
    seed = {"value": 0, "source": "preset", "notebook": 1, "meaning": "of <everything>"}
    made = {
        "status": "complete",
        "reason": None,
        "cell": None,
        "notebook": {"name": "lead_kd", "path": "notebooks/lead_kd.ipynb", "sha256": "0" * 64},
        "preset": "demo",
        "parameters": {"seed": seed},
        "seeds": {"seed": 0},
        "git": {"commit": "c" * 40, "dirty": []},
        "environment": {
            "python": "3.11",
            "platform": "Linux x86_64",
            "packages": {"torch": "2.15.0"},
            "lock": "f" * 64,
            "differs": [],
            "cpu": "a CPU",
            "cpus": 2,
            "device": "a GPU",
            "peak_mib": 2048,
        },
        "command": "python -m ecglib.run lead_kd --preset demo -p 'data=a b'",
        "started": "2026-01-01T10:00:00+00:00",
        "ended": "2026-01-01T10:01:15+00:00",
        "duration_s": 75.0,
    }
    atomic.write_json(tmp_path / "data.json", [ENTRY])
    atomic.write_json(tmp_path / "metrics.json", [])
    made["checks"] = checks.reproducibility(made, tmp_path, notebook)
    return made


def page(record: dict[str, Any], notebook: Any, data: Any = (ENTRY, ENTRY | {"role": "teacher"})) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(report.render(record, notebook, list(data)), "html.parser")


def test_page_is_sound_and_loads_nothing(record: dict[str, Any], notebook: Any) -> None:
    html = report.render(record, notebook, [ENTRY])
    soup = bs4.BeautifulSoup(html, "html.parser")
    assert lint.page(html) == []
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert markup.policy(soup.find("script").string) == policy  # the one script is the one allowed
    assert len(soup.find_all("script")) == 1

    assert all(len(soup.find_all(landmark)) == 1 for landmark in ("main", "nav", "header", "footer", "h1"))
    assert len(html) < 60_000


def test_title_contents_and_headings(record: dict[str, Any], notebook: Any) -> None:
    soup = page(record, notebook)
    assert soup.h1.get_text() == soup.title.get_text() == "A title & more"
    links = [(a["href"], a.get_text()) for a in soup.nav.find_all("a")][1:-1]
    assert links == [("#results", "Results"), ("#results-2", "Results"), ("#per-class", "Per class")]


def test_box_of_checks_parameters_and_colophon(record: dict[str, Any], notebook: Any) -> None:
    soup = page(record, notebook)
    box = soup.select_one("section.box")
    assert "8 of 8 checks hold" in box.get_text()
    assert [li.select_one(".visually-hidden").get_text() for li in box.find_all("li")][-2:] == [
        "Holds:",
        "For information:",
    ]
    assert "1 min 15 s on a GPU, 2.0 GiB at most" in box.get_text()
    row = [
        cell.get_text(" ", strip=True) for cell in soup.select(".parameters tbody tr *") if cell.name in ("th", "td")
    ]
    assert row == ["seed", "0", "preset (notebook: 1 )", "of <everything>"]
    foot = soup.footer.get_text(" ", strip=True)
    assert "student: 2,158 (train 1,764, test 253); teacher: 2,158" in foot  # one cohort, two roles
    assert foot.count("CC BY 4.0") == 1
    assert "& others" in foot
    assert soup.footer.find("a", href="https://doi.org/10.1038/s41597-020-0495-6")
    assert "git checkout cccccccccccc" in foot
    assert "python -m ecglib.run lead_kd --preset demo -p 'data=a b'" in foot


def test_outputs(record: dict[str, Any], notebook: Any) -> None:
    soup = page(record, notebook)
    cell = soup.select_one("#cell-2")
    assert cell.select_one("details.code summary").get_text(" ", strip=True) == "Code, cell 2 1 min 15 s"
    assert not cell.select_one("details.code").has_attr("open")
    assert cell.find("pre", string="epoch 1 < 2")  # no escape codes
    assert "Printed: 40 lines" in cell.get_text()  # folded
    assert "Messages: 1 line" in cell.get_text()
    assert cell.figure.img["alt"] == 'Lead "I" <x>'
    assert cell.figure.figcaption.get_text() == "Figure 1. 10 mm/mV & 25 mm/s"
    assert [th.get_text() for th in cell.table.thead.find_all("th")] == ["model", "AUC", "note"]
    assert [th.get("class") for th in cell.table.thead.find_all("th")] == [None, ["num"], None]
    assert cell.table.parent["class"] == ["scroll"]
    assert cell.table.caption.get_text() == "Table 2. Per class"  # the section; the first is prose
    assert cell.table.parent["aria-labelledby"] == cell.table.caption["id"]
    assert cell.table.tbody.th["scope"] == "row"
    assert "HBox" not in cell.get_text()
    assert "as the notebook has them" in soup.select_one("#cell-1").get_text()


def shown(record: dict[str, Any], *outputs: Any) -> Any:
    """The one cell of a page that has these outputs, with nothing for the lint to find."""
    cells = [v4.new_markdown_cell("# T\n\n## Section"), v4.new_code_cell("x", outputs=list(outputs))]
    html = report.render(record, v4.new_notebook(cells=cells), [ENTRY])
    assert lint.page(html) == []
    return bs4.BeautifulSoup(html, "html.parser").select_one("#cell-1")


COLUMNS = pd.MultiIndex.from_product([["AUC", "F1"], ["low", "high"]])
ROWS = pd.MultiIndex.from_product([["a", "b"], [0, 1]])
TABLES = {
    "no name in the corner": (pd.DataFrame({"n": [1]}, index=["a"]), [["", "n"]]),
    "two headers": (pd.DataFrame(0.5, ["a"], COLUMNS), [["", "AUC", "F1"], ["", "low", "high", "low", "high"]]),
    "two headers and a named index": (
        pd.DataFrame(0.5, pd.Index(["a"], name="model"), COLUMNS),
        [["", "AUC", "F1"], ["model", "low", "high", "low", "high"]],
    ),
    "named columns": (pd.DataFrame({"n": [1]}, index=["a"]).rename_axis(columns="of"), [["of", "n"]]),
    "two names": (pd.DataFrame({"n": 1}, ROWS.set_names(["model", "seed"])), [["model", "seed", "n"]]),
    "two without names": (pd.DataFrame({"n": 1}, ROWS), [["", "", "n"]]),
    "an empty name": (pd.DataFrame({"n": [1, 2]}, index=["a", ""]), [["", "n"]]),
}


@pytest.mark.parametrize("name", TABLES)
def test_headers_of_tables(record: dict[str, Any], name: str) -> None:
    table, expected = TABLES[name]
    made = shown(record, display({"text/html": table.to_html()})).table
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in made.select("thead tr")]
    assert rows == expected
    spans = {header.get_text(): header["scope"] for header in made.find_all("th")}
    assert spans.get("AUC", "colgroup") == "colgroup"
    assert spans["a"] == ("rowgroup" if table.index.nlevels == 2 else "row")
    assert "num" in made.select("thead tr")[-1].find_all(["th", "td"])[-1]["class"]  # numbers stand to the right


def test_a_styled_table_keeps_its_caption_and_no_ids(record: dict[str, Any]) -> None:
    html = pd.DataFrame({"n": [1]}).style.highlight_max().set_caption("The most").to_html()
    cell = shown(record, display({"text/html": html}), display({"text/html": html}))
    assert [caption.get_text() for caption in cell.find_all("caption")] == ["Table 1. The most", "Table 2. The most"]
    assert [element["id"] for element in cell.find_all(id=True)] == ["table-1", "table-2"]


def test_a_caption_or_an_alt_text_stands_in_for_the_other(record: dict[str, Any]) -> None:
    first, second, drawn = ({"image/png": {"alt": "A line."}}, {"image/png": {"caption": "A curve."}}, {})
    cell = shown(record, *(display({"image/png": PIXEL}, **about) for about in (first, second)))
    words = [(each.img["alt"], each.figcaption.get_text()) for each in cell.find_all("figure")]
    assert words == [("A line.", "Figure 1. A line."), ("A curve.", "Figure 2. A curve.")]
    assert all(each.span.get("aria-hidden") == "true" for each in cell.find_all("figcaption"))  # not read out twice
    bare = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[display({"image/png": PIXEL}, **drawn)])])
    found = lint.page(report.render(record, bare, [ENTRY]))
    assert found == ["pictures: picture 1 has no alt text; give figures.show one", "pictures: picture 1 has no caption"]


def test_a_picture_in_the_prose_gets_a_caption(record: dict[str, Any]) -> None:
    image = f"data:image/png;base64,{PIXEL}"
    prose = f'![A dot]({image} "A single dot")\n\n![Only this]({image})'
    cells = [v4.new_markdown_cell(f"# T\n\n{prose}")]
    html = report.render(record, v4.new_notebook(cells=cells), [ENTRY])
    assert lint.page(html) == []
    figures = bs4.BeautifulSoup(html, "html.parser").find_all("figure")
    assert [(each.img["alt"], each.figcaption.get_text()) for each in figures] == [
        ("A dot", "A single dot"),
        ("Only this", "Only this"),
    ]


def test_no_level_is_jumped_over_and_no_id_comes_twice(record: dict[str, Any]) -> None:
    html = '<h1 id="x">Top</h1><h5>Deep</h5><h2></h2><p id="content">a</p><p id="k">b</p><a href="#k">to b</a>'
    cell = shown(record, display({"text/html": html}), display({"text/html": html}))
    assert [each.name for each in cell.find_all(["h2", "h3", "h4", "h5"])] == ["h2", "h3"] * 2
    links = [link["href"][1:] for link in cell.find_all("a")]
    assert [cell.find(id=name).get_text() for name in links] == ["b", "b"]
    assert links == ["k", "k-2"]


def test_a_run_that_failed_says_so_first(record: dict[str, Any], notebook: Any) -> None:
    last = notebook.cells[-1]
    last.outputs.append(v4.new_output("error", ename="ValueError", evalue="<b>", traceback=["\x1b[0;31mhere\x1b[0m"]))
    notebook.cells.append(v4.new_code_cell("never()"))
    failed = record | {"status": "failed", "reason": "ValueError: <b>", "cell": {"number": 2, "heading": "Results"}}
    soup = page(failed, notebook)
    banner = soup.main.find(role="alert")
    assert banner.find_previous("section") is None  # nothing in main stands before it
    assert "This run failed." in banner.get_text()
    assert "ValueError: <b>" in banner.get_text()
    assert banner.a["href"] == "#cell-2"
    assert "failed here" in soup.select_one("#cell-2").get_text()
    assert soup.select_one("#cell-2 .error pre").get_text() == "here"
    assert "not run" in soup.select_one("#cell-3").get_text()
    assert soup.select_one("header .chip")["class"] == ["chip", "failed"]
    assert page(record, notebook).main.find(role="alert") is None


HOSTILE = """
<script>alert(1)</script><img src=x onerror="alert(1)"><img src="https://example.org/a.png" alt="far">
<iframe src="https://example.org"></iframe><link rel="stylesheet" href="https://example.org/a.css">
<p style="background:url(https://example.org/b.png)" onclick="alert(1)">text</p>
<style>@import "https://example.org/c.css";</style><a href="javascript:alert(1)">click</a>
<video poster="https://example.org/d.png"></video><object data="https://example.org/e"></object>
<table background="https://example.org/f.png"><tr><td>1</td></tr></table>
<svg><use href="https://example.org/i.svg"/><image xlink:href="https://example.org/j.png"/></svg>
<a href="java&#10;script:alert(1)">two lines</a><math><mi xlink:href="javascript:alert(1)">x</mi></math>
<input type="image" src="https://example.org/g.png"><meta http-equiv="refresh" content="0;url=https://example.org">
"""


def test_what_is_active_or_from_outside_is_disarmed(record: dict[str, Any], notebook: Any) -> None:
    assert len(markup.outside(HOSTILE)) >= 8  # the test of self-containment sees something
    notebook.cells.append(v4.new_markdown_cell(HOSTILE + "\n![far](https://example.org/h.png)"))
    notebook.cells[-2].outputs.append(display({"text/html": HOSTILE}))
    notebook.cells[-2].outputs.append(display({"text/markdown": HOSTILE}))
    notebook.cells[-2].outputs.append(display({"application/javascript": "alert(1)", "text/plain": "<JS>"}))
    html = report.render(record, notebook, [ENTRY])
    soup = bs4.BeautifulSoup(html, "html.parser")
    assert markup.outside(html) == []
    assert len(soup.find_all("script")) == 1
    assert "alert(1)" not in html
    assert not soup.find_all(["iframe", "link", "object", "video"])
    assert soup.find("a", href="https://example.org/h.png")  # a picture from elsewhere is a link


MARKED = '<img src=x onerror=alert(1)>"&'


def test_what_a_record_says_is_text_and_no_markup(record: dict[str, Any], notebook: Any) -> None:
    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: marked(each) for key, each in value.items()}
        if isinstance(value, list):
            return [marked(each) for each in value]
        return MARKED if isinstance(value, str) else value

    numbers = {"status": "failed", "duration_s": 1.0, "cell": {"number": MARKED, "heading": MARKED}}
    said = marked(record) | numbers | {"reason": MARKED, "note": MARKED}
    said["environment"] |= {"cpus": MARKED, "threads": MARKED}
    html = report.render(said, notebook, [marked(ENTRY)], [MARKED])
    soup = bs4.BeautifulSoup(html, "html.parser")
    assert soup.get_text().count("<img src=x") > 20
    assert not soup.find_all("img", src="x")
    assert not [element for element in soup.find_all(True) if "onerror" in element.attrs]


def test_rendering_leaves_the_notebook_as_it_is(record: dict[str, Any], notebook: Any) -> None:
    before = copy.deepcopy(notebook)
    first = report.render(record, notebook, [ENTRY])
    assert notebook == before
    assert report.render(record, notebook, [ENTRY]) == first


def test_command_renders_again(
    record: dict[str, Any], notebook: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    atomic.write_json(tmp_path / "run.json", record)
    assert report.main([str(tmp_path)]) == 2
    assert "left no executed.ipynb" in capsys.readouterr().err
    nbformat.write(notebook, tmp_path / "executed.ipynb")
    assert report.main([str(tmp_path)]) == 0
    assert "CC BY 4.0" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("the loss $L = x^2$ is", 1),
        ("$$x$$", 1),
        (r"\begin{align}x\end{align}", 1),
        ("it costs $5 and $6", 0),
        ("`$x$` and\n```\n$y$\n```", 0),
        ("L = Σ α₁ x²", 0),
        ("![a](https://example.org/a.png)", 1),
        ("![a](attachment:a.png)", 0),
    ],
)
def test_lint_of_prose(source: str, found: int) -> None:
    assert len(report.lint(v4.new_notebook(cells=[v4.new_markdown_cell(source)]))) == found


def test_lint_of_figures() -> None:
    outputs = [display({"image/png": PIXEL}), display({"image/png": PIXEL}, **{"image/png": {"alt": "a"}})]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=outputs)])
    assert report.lint(notebook) == ["cell 1: a figure has no alt text; use figures.show"]


def failing(record: dict[str, Any], folder: Path, notebook: Any) -> list[str]:
    return [check["name"] for check in checks.reproducibility(record, folder, notebook) if check["ok"] is False]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"git": {"commit": None, "dirty": []}}, "Code committed"),
        ({"git": {"commit": "c" * 40, "dirty": ["ecglib/a.py"]}}, "Code committed"),
        ({"seeds": {}}, "Seed set"),
    ],
)
def test_each_check_can_fail_by_the_record(
    record: dict[str, Any], notebook: Any, tmp_path: Path, change: Any, name: str
) -> None:
    assert failing(record, tmp_path, notebook) == []
    assert failing(record | change, tmp_path, notebook) == [name]


@pytest.mark.parametrize("change", [{"lock": None}, {"differs": ["torch 2.14 instead of 2.15"]}])
def test_environment_check_can_fail(record: dict[str, Any], notebook: Any, tmp_path: Path, change: Any) -> None:
    changed = record | {"environment": record["environment"] | change}
    assert failing(changed, tmp_path, notebook) == ["Environment"]


def test_each_check_can_fail_by_what_the_run_left(record: dict[str, Any], notebook: Any, tmp_path: Path) -> None:
    notebook.cells[-1].execution_count = 3
    assert failing(record, tmp_path, notebook) == ["Every cell ran, in order"]
    notebook.cells[-1].execution_count = 2
    notebook.cells[-1].outputs[0].text = "from /usr/lib/x\n"
    assert failing(record, tmp_path, notebook) == ["No absolute path"]
    notebook.cells[-1].outputs[0].text = ""
    atomic.write_json(tmp_path / "metrics.json", [{}])
    assert failing(record, tmp_path, notebook) == ["Metrics well-formed"]
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "data.json").unlink()
    assert failing(record, tmp_path, notebook) == ["Data fingerprint", "Metrics well-formed"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"), (7380, "2 h 03 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert checks.duration(seconds) == text
