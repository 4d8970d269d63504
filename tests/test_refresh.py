from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bs4
import nbformat
import pytest
from nbformat import v4

from ecglib import atomic, index, inuse, provenance, refresh, report, results

CELL = 'rate: int = 100  # Hz\nout: str = "x"  # results\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    cells = [v4.new_code_cell(CELL, metadata={"tags": ["parameters"]}), v4.new_code_cell("1 + 1")]
    nbformat.write(
        v4.new_notebook(cells=[v4.new_markdown_cell("# Tiny"), *cells]), tmp_path / "notebooks" / "tiny.ipynb"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(root: Path) -> dict[str, Any]:
    notebook = root / "notebooks" / "tiny.ipynb"
    entry = {"notebook": 100, "meaning": ""}
    return {
        "notebook": {
            "name": "tiny",
            "path": "notebooks/tiny.ipynb",
            "sha256": provenance.sha256(notebook),
            "cells": provenance.cells_digest(notebook),
        },
        "preset": None,
        "parameters": {
            "rate": {**entry, "value": 250, "source": "command line"},
            "out": {**entry, "value": "reports/tiny/a", "source": "runner"},
        },
        "seeds": {},
        "git": {"commit": None, "dirty": []},
        "environment": provenance.environment(root),
        "command": "python -m ecglib.run tiny -p rate=250",
        "started": "2026-01-01T10:00:00+00:00",
    }


def finished(root: Path, place: str = "tiny/a", **more: Any) -> results.RunRecord:
    """A run with its page, as the runner leaves it."""
    folder = root / "reports" / place
    record = started(root) | {"sources": {}, "status": "complete", "reason": None, "cell": None, "checks": []}
    record |= {"ended": "2026-01-01T10:01:00+00:00", "duration_s": 60.0, **more}
    atomic.write_json(folder / "run.json", record)
    notebook = nbformat.read(root / "notebooks" / "tiny.ipynb", as_version=4)
    notebook.cells[-1].source = "print('<!-- stale -->')"
    notebook.cells[-1].outputs = [v4.new_output("stream", name="stdout", text="<!-- stale -->x<!-- /stale -->")]
    nbformat.write(notebook, folder / "executed.ipynb")
    report.write(folder, record, notebook)
    return results.read(folder)


def banners(run: results.RunRecord) -> list[str]:
    soup = bs4.BeautifulSoup((run.path / "report.html").read_text(encoding="utf-8"), "html.parser")
    return [banner.get_text(" ", strip=True) for banner in soup.select("main .banner")]


def change(root: Path, before: str, after: str) -> None:
    path = root / "notebooks" / "tiny.ipynb"
    path.write_text(path.read_text().replace(before, after))


def test_the_banner_comes_and_goes_and_nothing_else_changes(root: Path) -> None:
    run = finished(root)
    page = run.path / "report.html"
    fresh = page.read_bytes()
    assert refresh.refresh(root / "reports") == []
    assert page.read_bytes() == fresh
    change(root, "1 + 1", "1 + <b>")
    ((stale, reasons),) = refresh.refresh(root / "reports")
    assert (stale.path, reasons) == (run.path, ["The notebook tiny.ipynb has changed."])
    (banner,) = banners(run)
    assert banner.startswith("This report is stale. What it was made from on 2026-01-01 has changed since:")
    assert reasons[0] in banner
    assert ".venv/bin/python -m ecglib.run tiny -p rate=250" in banner
    again = report.write_again(run, reasons)
    assert again.read_text().count("This report is stale") == 1  # rendered anew it says the same
    change(root, "1 + <b>", "1 + 1")
    assert refresh.refresh(root / "reports") == []
    assert page.read_bytes() == fresh


def test_a_page_is_written_only_when_it_says_something_else(root: Path) -> None:
    run = finished(root)
    assert refresh.renew(run, ["A"])
    before = (run.path / "report.html").stat()
    assert not refresh.renew(run, ["A"])
    assert (run.path / "report.html").stat() == before
    assert refresh.renew(run, ["A", "B & <C>"])
    assert "A B & <C>" in banners(run)[0]


def test_a_red_banner_stays(root: Path) -> None:
    run = finished(root, status="failed", reason="RuntimeError: x", cell={"number": 2, "heading": None})
    assert refresh.renew(run, ["A"])
    red, yellow = banners(run)
    assert red.startswith("This run failed.")
    assert yellow.startswith("This report is stale.")
    assert refresh.renew(run, [])
    assert [banner.split(".")[0] for banner in banners(run)] == ["This run failed"]


def test_committed_busy_and_pageless_runs_are_left_alone(root: Path) -> None:
    committed, busy, pageless = (finished(root, place) for place in ("gallery/tiny-demo", "tiny/b", "tiny/c"))
    (pageless.path / "report.html").unlink()
    before = (committed.path / "report.html").read_bytes(), (busy.path / "report.html").read_bytes()
    change(root, "1 + 1", "2")
    with inuse.holding(busy.path):
        index.write(root / "reports")
    assert ((committed.path / "report.html").read_bytes(), (busy.path / "report.html").read_bytes()) == before
    assert not (pageless.path / "report.html").exists()
    assert (root / "reports" / "index.html").read_text().count("The notebook tiny.ipynb has changed.") == 3


def test_a_page_from_before_there_were_banners_is_rendered_again(root: Path) -> None:
    run = finished(root)
    (run.path / "report.html").write_text("<!doctype html><html lang=en><main id=content>old</main>")
    assert not refresh.renew(run, [])
    assert refresh.renew(run, ["A"])
    assert len(banners(run)) == 1


def test_one_page_that_cannot_be_written_leaves_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [finished(root, f"tiny/{name}") for name in "ab"]
    (runs[0].path / "report.html").write_text("an old page")
    (runs[0].path / "executed.ipynb").write_text("{")
    assert refresh.renew_all([(run, ["A"]) for run in runs]) == [runs[1].path / "report.html"]
    assert f"{runs[0].path}: its report is left as it is" in capsys.readouterr().err


def killed(root: Path) -> Path:
    folder = root / "reports" / "tiny" / "a"
    atomic.write_json(folder / "started.json", started(root) | {"cell": {"number": 3, "heading": "Sum"}})
    os.utime(folder / "started.json", (1767261785.0, 1767261785.0))  # 2026-01-01 10:03:05 UTC
    return folder


def test_a_killed_run_gets_a_red_page_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = killed(root)
    (folder / inuse.NAME).touch()  # as a killed process leaves it
    index.write(root / "reports")
    page = bs4.BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    banner = page.main.find(role="alert").get_text(" ", strip=True)
    assert banner.startswith(
        "This run did not finish. What follows is not a result. Its process ended before it could say why"
    )
    assert "at 10:03:05 UTC" in banner
    assert page.main.find(role="alert").a["href"] == "#cell-3"
    assert "1 + 1" in page.select_one("#cell-3[data-failed]").get_text()
    assert "not saved" in page.select_one("#cell-2").get_text()
    assert "rate = 250" in page.select_one("#cell-2").get_text()  # put in, as the kernel had it
    assert "3 min 05 s" in page.header.get_text()
    assert results.read(folder).status == "unfinished"  # it may still be gone on with
    written = (folder / "report.html").stat().st_mtime_ns
    index.write(root / "reports")
    assert (folder / "report.html").stat().st_mtime_ns == written
    assert report.main([str(folder)]) == 0


def test_a_killed_run_shows_what_was_saved_of_it(root: Path) -> None:
    folder = killed(root)
    output = v4.new_output("stream", name="stderr", text=f"{root}/cell.py:1: a warning\n")
    ran = [v4.new_code_cell(f"a = {n}", execution_count=n, outputs=[output]) for n in (1, 2)]
    saved = v4.new_notebook(cells=[*ran, v4.new_code_cell("b = 2")])
    nbformat.write(saved, folder / "executed.ipynb")
    (html := (folder / "report.html")).touch()
    os.utime(html, (0, 0))  # drawn before more was saved
    index.write(root / "reports")
    page = bs4.BeautifulSoup(html.read_text(), "html.parser")
    assert "What its cells had shown" in page.find(role="alert").get_text()
    assert "./cell.py:1: a warning" in page.get_text()
    assert "b = 2" in page.select_one("#cell-3[data-failed]").get_text()
    assert [li.get_text(" ", strip=True) for li in page.select(".checks .bad") if "Every cell" in li.get_text()]


def test_a_killed_run_whose_notebook_has_changed_says_where_it_was(root: Path) -> None:
    folder = killed(root)
    change(root, "1 + 1", "3")
    index.write(root / "reports")
    page = bs4.BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    assert page.find(role="alert").a is None
    assert "It was in cell 3, “Sum”." in page.find(role="alert").get_text()
    assert "its cells are not shown" in page.find(role="alert").get_text()
    assert page.select("section.cell") == []


def test_the_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(root)
    finished(root, "gallery/tiny-demo")
    (root / "reports" / "tiny" / "cut").mkdir()
    (root / "reports" / "tiny" / "cut" / "run.json").write_text("{")
    assert report.main(["--refresh"]) == 0
    assert capsys.readouterr().out == "0 stale\n"
    change(root, "1 + 1", "2")
    assert report.main(["--refresh", "reports"]) == 0
    seen = capsys.readouterr()
    assert seen.out.splitlines() == [
        "gallery/tiny-demo (committed, left as it is): The notebook tiny.ipynb has changed.",
        "tiny/a: The notebook tiny.ipynb has changed.",
        "2 stale",
    ]
    assert "not readable as JSON" in seen.err
    assert len(banners(run)) == 1
    assert report.main(["--refresh", "reprots"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        report.main([])
    assert caught.value.code == 2
