from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import bs4
import pytest

from ecglib import atomic, index, inuse, lint, markup, refresh
from ecglib.errors import InputError

ROW = {
    "model": "teacher",
    "protocol": "supervised",
    "data": "synthetic",
    "split": "test",
    "metric": "auc",
    "class": "macro",
    "value": 0.9,
    "low": 0.88,
    "high": 0.92,
    "seed": None,
    "n": 253,
}
NOTEBOOK = {"name": "demo", "path": "notebooks/demo.ipynb", "sha256": "0"}


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    return tmp_path / "reports"


def add(folder: Path, started: str = "2026-01-01T10:00:00+00:00", rows: Any = (ROW,), **more: Any) -> Path:
    record = {"notebook": NOTEBOOK, "preset": "smoke", "started": started, "status": "complete", "duration_s": 75.0}
    atomic.write_json(folder / "run.json", {**record, **more})
    if rows is not None:
        atomic.write_json(folder / "metrics.json", list(rows))
    (folder / "report.html").touch()
    return folder


def entry(value: Any, source: str, notebook: Any) -> dict[str, Any]:
    return {"value": value, "source": source, "notebook": notebook, "meaning": ""}


def read(reports: Path) -> bs4.BeautifulSoup:
    return bs4.BeautifulSoup(index.write(reports).read_text(encoding="utf-8"), "html.parser")


def cells(row: Any) -> list[str]:
    return [cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])]


def for_script(soup: bs4.BeautifulSoup) -> dict[str, Any]:
    return json.loads(soup.find("script", id="runs").string)


def test_rows_are_newest_first_and_say_what_came_out(reports: Path) -> None:
    more = [ROW | {"split": "valid"}, ROW | {"model": "A - B"}, ROW | {"class": "MI"}, ROW | {"value": None}]
    add(reports / "demo" / "a", rows=[*more, ROW, ROW | {"model": "student"}])
    atomic.write_json(reports / "demo" / "a" / "data.json", [{"name": name} for name in ("x, y", "z", "x, y")])
    add(reports / "demo" / "b <i>", "2026-01-02T10:00:00+00:00", rows=None, duration_s=3.0)
    soup = read(reports)
    rows = soup.select("tbody tr")
    assert [row.th.a.get_text() for row in rows] == ["demo / b <i>", "demo / a"]
    assert [row.th.a["href"] for row in rows] == ["demo/b%20%3Ci%3E/report.html", "demo/a/report.html"]
    assert cells(rows[1])[1:] == [
        "✓ complete",
        "smoke",
        "x, y + z",
        "auc .900 [.880, .920] teacher, 253 records",
        "—",
        "1 min 15 s",
        "2026-01-01 10:00",
    ]
    assert cells(rows[0])[4] == "—"
    assert [link["href"] for link in rows[1].select("small a")] == ["demo/a/metrics.json", "demo/a/run.json"]


def test_it_is_one_sound_page_that_runs_its_own_script_only(reports: Path) -> None:
    assert "No run yet" in index.write(reports).read_text()
    add(reports / "demo" / "a", parameters={"title": entry("</script><script>alert(1)</script>", "preset", "")})
    html = index.write(reports).read_text()
    assert lint.page(html, report=False) == []
    soup = bs4.BeautifulSoup(html, "html.parser")
    data, script = soup.find_all("script")
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy == markup.policy(script.string)
    assert json.loads(data.string)["usual"]["demo"]["title"] == "</script><script>alert(1)</script>"


def test_what_runs_say_is_text_and_no_markup(reports: Path) -> None:
    marked = '<img src=x onerror=alert(1)>"&'
    said = {"preset": marked, "command": marked, "parameters": {marked: entry(marked, "command line", "")}}
    row = ROW | {"model": marked, "metric": marked, "n": marked}
    add(reports / "demo" / "a", marked, rows=[row], **said)
    add(reports / "demo" / "b", **said, status="failed", reason=marked, cell={"number": marked, "heading": marked})
    atomic.write_json(reports / "demo" / "a" / "data.json", [{"name": marked, "fingerprint": marked}])
    soup = read(reports)
    assert not soup.find_all("img")
    assert soup.table.get_text().count("<img") >= 10


def test_failed_interrupted_killed_running_and_unreadable_runs(reports: Path) -> None:
    bad = {"status": "failed", "reason": "RuntimeError: <b>", "cell": {"number": 4, "heading": "The end"}}
    add(reports / "demo" / "failed", **bad)
    add(reports / "demo" / "stopped", status="interrupted", reason="the run was stopped by SIGTERM")
    add(reports / "demo" / "odd", rows=[1])
    (reports / "demo" / "odd" / "metrics.json").write_text('{"no": "list"}')
    (reports / "demo" / "empty").mkdir()
    (reports / "demo" / "empty" / "run.json").write_text("{}")
    (reports / "demo" / "cut").mkdir()
    (reports / "demo" / "cut" / "run.json").write_text('{"status": ')
    started = {"notebook": NOTEBOOK, "preset": None, "started": "2026-01-01T10:00:00+00:00", "parameters": {}}
    atomic.write_json(reports / "demo" / "running" / "started.json", started)
    with inuse.holding(reports / "demo" / "running"):
        soup = read(reports)
    said = {row.th.get_text(" ", strip=True).split()[2]: cells(row) for row in soup.select("tbody tr")}
    assert said["failed"][4] == "In cell 4, “The end”: RuntimeError: <b>"
    assert said["stopped"][1] == "✗ interrupted"
    assert said["running"][1] == "… running"
    assert said["running"][4] == "—"
    assert {name: each[1] for name, each in said.items() if "unread" in each[1]} == dict.fromkeys(
        ("odd", "empty", "cut"), "✗ unreadable"
    )
    assert "it is not a list of rows" in said["odd"][4]
    assert "5 did not end well" in soup.header.get_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "5"),
        ("run.json", '{"notebook": "demo", "started": "2026"}'),
        ("run.json", '{"notebook": {"name": "demo"}, "started": 5}'),
        ("run.json", '{"notebook": {"name": "demo"}, "started": "2026", "status": "splendid"}'),
        ("run.json", '{"notebook": {"name": "demo"}, "started": "2026", "parameters": {"a": 1}}'),
        ("data.json", '{"a": 1}'),
        ("metrics.json", '[{"x": 1}]'),
        ("metrics.json", "[5]"),
        ("metrics.json", "[" + json.dumps(ROW | {"value": "high"}) + "]"),
    ],
)
@pytest.mark.parametrize("in_repository", [True, False])
def test_a_file_of_another_shape_hides_its_run_and_no_other(
    reports: Path, name: str, text: str, in_repository: bool
) -> None:
    if in_repository:  # where runs are also asked whether they are stale
        (reports.parent / "pyproject.toml").touch()
    add(reports / "demo" / "good")
    add(reports / "demo" / "odd")
    (reports / "demo" / "odd" / name).write_text(text)
    said = {row.th.get_text(" ", strip=True).split()[2]: cells(row) for row in read(reports).select("tbody tr")}
    assert said["good"][1].startswith("✓ complete")
    assert said["odd"][1] == "✗ unreadable"
    assert str(reports) not in said["odd"][4]
    names = {run.path.name for run, _ in refresh.refresh(reports)}
    assert ("good" in names) is in_repository  # its notebook is not there


def test_the_command(reports: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    add(reports / "demo" / "a")
    assert index.main([str(reports)]) == 0
    assert capsys.readouterr().out == f"{reports / 'index.html'}\n"
    assert index.main([str(reports / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert not (reports / "nowhere").exists()
    monkeypatch.chdir(reports.parent)
    with pytest.raises(SystemExit) as caught:
        index.main(["--help"])
    assert caught.value.code == 0
    assert not (reports.parent / "--help").exists()


def test_what_is_on_record_of_runs_that_cannot_be_read(reports: Path) -> None:
    for name, text in (("empty", "{}"), ("cut", '{"status": ')):
        (reports / "demo" / name).mkdir(parents=True)
        (reports / "demo" / name / "run.json").write_text(text)
    said = {row.th.get_text(" ", strip=True).split()[2]: cells(row) for row in read(reports).select("tbody tr")}
    assert "not as the runner writes it (notebook)" in said["empty"][4]
    assert said["cut"][4].startswith("demo/cut/run.json: not readable as JSON")  # as seen from the page


def test_what_a_run_set_otherwise_than_its_preset(reports: Path) -> None:
    parameters = {
        "seeds": entry([1, 2], "command line", [0]),
        "rate": entry(500, "preset", 100),
        "text": entry("x" * 99, "command line", ""),
        "out": entry("reports/x", "command line", ""),
        "width": entry(1.0, "command line", 1.0),
    }
    add(reports / "demo" / "a", parameters=parameters)
    add(reports / "demo" / "b", "2026-01-02T10:00:00+00:00", parameters=parameters, preset=None)
    rows = read(reports).select("tbody tr")
    assert [code.get_text() for code in rows[1].select("td > code")] == [
        "seeds=[1, 2]",
        f"text={'x' * 45}...",
        "width=1.0",  # it may be the preset's that is set back
    ]
    assert len(rows[0].select("td > code")) == 2


def test_the_script_gets_the_usual_parameters_once_and_what_differs(reports: Path) -> None:
    for number, rate in enumerate((100, 100, 500)):
        more = {"width": entry(2, "preset", 1)} if rate == 500 else {"depth": entry("", "notebook", "")}
        add(reports / "demo" / f"r{number}", parameters={"rate": entry(rate, "preset", 0), **more})
    data = for_script(read(reports))
    assert data["usual"] == {"demo": {"rate": "100", "depth": '""', "width": "2"}}
    assert {run["name"]: run["own"] for run in data["runs"]} == {
        "demo / r0": {"width": None},
        "demo / r1": {"width": None},
        "demo / r2": {"rate": "500", "depth": None},
    }


def test_a_stale_run_says_why_and_the_committed_are_marked(tmp_path: Path, reports: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    add(reports / "demo" / "a", command="python -m ecglib.run demo")
    add(reports / "gallery" / "demo-smoke", "2026-01-02T10:00:00+00:00")
    soup = read(reports)
    committed, own = soup.select("tbody tr")
    assert "in the gallery" in committed.get_text()
    assert "in the gallery" not in own.get_text()
    assert "The notebook demo.ipynb is gone." in [li.get_text() for li in own.select("details li")]
    assert ".venv/bin/python -m ecglib.run demo" in own.details.get_text()
    assert [run["state"] for run in for_script(soup)["runs"]] == ["stale", "stale"]
    assert "2 stale" in soup.header.get_text()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("indent", [None, 1])
def test_metrics_are_read_as_far_as_asked(tmp_path: Path, packed: bool, indent: int | None) -> None:
    rows = [ROW | {"n": n, "model": f"ä {'x' * n}"} for n in range(400)]
    text = json.dumps(rows, indent=indent, ensure_ascii=False)
    assert len(text) > 2 * index.CHUNK
    if packed:
        (tmp_path / "metrics.json.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    assert list(index.metric_rows(tmp_path)) == rows
    assert next(index.metric_rows(tmp_path)) == rows[0]


@pytest.mark.parametrize("text", ["", "{}", "[1", '[{"a": 1}, {"b"', "[1] "])
def test_metrics_that_are_cut_or_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    if text == "[1] ":
        assert list(index.metric_rows(tmp_path)) == [1]
        return
    with pytest.raises(InputError, match=r"metrics\.json: not readable"):
        list(index.metric_rows(tmp_path))


@pytest.mark.parametrize(
    ("value", "text"), [(0.9012, ".901"), (0.0, ".000"), (1.0, "1.000"), (-0.25, "-0.250"), (12.3456, "12.346")]
)
def test_numbers(value: float, text: str) -> None:
    assert index.short(value) == text


def test_five_hundred_runs_are_a_small_page_read_without_their_metrics(
    reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {f"parameter_{k}": entry(k, "notebook", k) for k in range(50)}
    first = add(reports / "demo" / "r0", rows=[ROW] * 5000, parameters=parameters)
    for number in range(1, 500):
        own = parameters | {"parameter_3": entry(number, "command line", 3)}
        folder = add(reports / "demo" / f"r{number}", rows=None, parameters=own)
        os.link(first / "metrics.json", folder / "metrics.json")
    taken = []

    def counted(path: Path, real: Any = index.metric_rows) -> Any:
        for row in real(path):
            taken.append(path)
            yield row

    monkeypatch.setattr(index, "metric_rows", counted)
    page = index.write(reports)
    assert len(taken) == len(set(taken)) == 500  # one row of each, of 5000
    assert page.stat().st_size < 700_000
