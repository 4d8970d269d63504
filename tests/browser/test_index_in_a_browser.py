"""The list of runs in a real browser: finding, sorting and comparing, by mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecglib import atomic, index

ROW = {"protocol": "p", "data": "d", "split": "test", "metric": "auc", "class": "macro", "seed": None, "n": 9}


def add(reports: Path, name: str, hour: int, value: float | None, *, notebook: str = "lead_kd", **more) -> None:
    parameters = {"seed": 0, "rate": 100, "title": "</script><b>x</b>", **more.pop("parameters", {})}
    entries = {key: {"value": each, "source": "command line", "notebook": 7} for key, each in parameters.items()}
    record = {"notebook": {"name": notebook}, "preset": "demo", "parameters": entries, "status": "complete"}
    started = f"2026-11-{20 + hour // 24}T{hour % 24:02d}:00:00+00:00"
    atomic.write_json(
        reports / notebook / name / "run.json", {**record, "started": started, "duration_s": 60.0, **more}
    )
    if value is not None:
        row = {**ROW, "model": "teacher", "value": value, "low": value - 0.01, "high": value + 0.01}
        atomic.write_json(reports / notebook / name / "metrics.json", [row])
    atomic.write_json(reports / notebook / name / "data.json", [{"name": "ptb-xl" if hour % 2 else "synthetic"}])
    (reports / notebook / name / "report.html").write_text("<title>A report</title>")


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> Path:
    reports = tmp_path_factory.mktemp("listed") / "reports"
    add(reports, "a", 1, 0.9, parameters={"seed": 3})
    add(reports, "b", 26, 0.7)
    add(reports, "c", 3, 0.8, parameters={"rate": 500, "width": 2})
    add(reports, "d", 4, None, status="failed", reason="RuntimeError: loss is NaN", notebook="image_kd")
    return index.write(reports)


@pytest.fixture
def page(listed, opened):
    shown = opened(listed)
    yield shown.page
    assert shown.said == []
    assert shown.asked == [listed.resolve().as_uri()]


def names(page):
    rows = page.locator("table.runs tbody tr").all()
    return [row.locator("th").inner_text().split(" / ")[1].split("\n")[0] for row in rows if row.is_visible()]


def test_filters_tell_how_many_are_left_and_can_be_sent_on(page, listed, opened):
    assert names(page) == ["b", "d", "c", "a"]
    page.get_by_label("Notebook").select_option("lead_kd")
    assert names(page) == ["b", "c", "a"]
    assert page.get_by_role("status").first.inner_text() == "3 of 4 runs shown"
    page.get_by_label("Started until").fill("2026-11-20")
    assert names(page) == ["c", "a"]
    page.get_by_label("Text").fill("RATE 500")
    assert names(page) == ["c"]
    other = opened(listed).page
    other.goto(page.url)
    assert names(other) == ["c"]
    assert other.get_by_label("Notebook").input_value() == "lead_kd"
    page.get_by_role("button", name="Show all").click()
    assert names(page) == ["b", "d", "c", "a"]
    assert page.url.endswith("#")


@pytest.mark.parametrize(
    ("label", "value", "left"),
    [("Status", "failed", ["d"]), ("Data", "ptb-xl", ["c", "a"]), ("Preset", "demo", ["b", "d", "c", "a"])],
)
def test_each_filter(page, label, value, left):
    page.get_by_label(label, exact=True).select_option(value)
    assert names(page) == left


def test_headers_sort_by_the_keyboard_and_say_so(page):
    header = page.locator("th[data-key=value]")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert names(page) == ["a", "c", "b", "d"]
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["b", "c", "a", "d"]  # what has no result stays below
    assert page.locator("[aria-sort]").count() == 1


def test_ticked_runs_are_compared_by_what_differs(page):
    page.get_by_label("Compare lead_kd / a").check()
    compare = page.get_by_role("button", name="Compare", exact=True)
    assert compare.is_disabled()
    page.get_by_label("Compare lead_kd / c").check()
    compare.click()
    assert page.evaluate("document.activeElement.id") == "comparison"
    table = page.locator(".comparison table")
    cells = [row.locator("th, td").all_inner_texts() for row in table.locator("tr").all()]
    assert cells[0] == ["", "lead_kd / c", "lead_kd / a"]
    assert cells[1] == ["Result", "auc .800 [.790, .810]", "auc .900 [.890, .910]"]
    assert cells[4:] == [["seed", "0", "3"], ["rate", "500", "100"], ["width", "2", "—"]]
    assert "2 parameters that all have differ; 1 that only some have stands below" in table.inner_text()
    assert "title" not in table.inner_text()
    page.get_by_role("button", name="Untick all").click()
    assert not table.is_visible()
    assert not compare.is_visible()


def test_on_a_phone_each_run_is_a_card_and_the_comparison_scrolls(listed, opened):
    page = opened(listed, width=375).page
    for name in "abc":
        page.get_by_label(f"Compare lead_kd / {name}").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.locator(".comparison .scroll").evaluate("each => each.scrollWidth > each.clientWidth")
    box = page.locator("table.runs tbody tr").first.bounding_box()
    assert box["height"] > 150


def test_without_its_script_all_rows_are_there(listed, opened):
    page = opened(listed, java_script_enabled=False).page
    assert names(page) == ["b", "d", "c", "a"]
    assert not page.locator("form, .tray, .comparison, .tick").filter(visible=True).count()
    assert page.get_by_role("link", name="lead_kd / a").get_attribute("href") == "lead_kd/a/report.html"
