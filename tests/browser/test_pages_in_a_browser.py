"""Reports opened in a real browser: they load nothing, say nothing, and can be read by everyone, on any screen."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from where import REPO

from ecglib import lint

FRESH = ("ok", "error", "stop", "index")
GALLERY = sorted((REPO / "reports" / "gallery").glob("*/report.html"))
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOCUSED = "document.activeElement"


def place(path):
    return path.parent.name


@pytest.fixture(params=[*FRESH, *GALLERY], ids=lambda page: page if isinstance(page, str) else place(page))
def path(request, made) -> Path:
    return made[request.param] if isinstance(request.param, str) else request.param


@pytest.fixture(params=FRESH)
def fresh(request, made) -> Path:
    return made[request.param]


@pytest.fixture
def ok(made, opened):
    return opened(made["ok"]).page


def axe(page):
    page.evaluate(AXE_SCRIPT)
    rules = {"runOnly": WCAG, "resultTypes": ["violations"]}
    found = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    return {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found}


def open_all(page):
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    page.wait_for_timeout(50)


def too_wide(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_it_asks_for_nothing_complains_of_nothing_and_decodes_every_picture(path, opened):
    shown = opened(path)
    shown.page.wait_for_load_state("networkidle")
    sizes = shown.page.evaluate("""Promise.all([...document.images].map(
        image => image.decode().then(() => image.naturalWidth * image.naturalHeight, () => 0)))""")
    assert all(size > 1 for size in sizes)
    assert len(sizes) >= (2 if path.name == "report.html" else 0)
    assert shown.said == []
    assert shown.failed == []
    assert [address for address in shown.asked if not address.startswith("data:image/")] == [path.resolve().as_uri()]


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [("ok", "light", 1200), ("ok", "dark", 1200), ("ok", "light", 375), ("ok", "dark", 375)]
    + [(name, *view) for name in FRESH[1:] for view in (("light", 375), ("dark", 1200))],
)
def test_axe_finds_nothing_and_nothing_is_too_wide(made, opened, name, scheme, width):
    page = opened(made[name], scheme=scheme, width=width).page
    assert too_wide(page) <= 0
    open_all(page)  # what is folded has to be legible too
    assert too_wide(page) <= 0
    assert axe(page) == {}


@pytest.mark.parametrize("committed", GALLERY, ids=place)
def test_the_gallery_is_as_sound(committed, opened):
    page = opened(committed, scheme="dark", width=375).page
    assert too_wide(page) <= 0
    assert axe(page) == {}


def test_the_lint_agrees(fresh):
    assert lint.page(fresh.read_text(encoding="utf-8"), report=fresh.name == "report.html") == []


def test_the_two_schemes_differ(made, opened):
    light, dark = (
        opened(made["ok"], scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    )
    assert light != dark


def test_figures_are_legible_on_a_phone(made, opened):
    """12 px letters in a figure 900 px wide would be 4 px high in a page of 375."""
    page = opened(made["ok"], width=375).page
    shown = page.evaluate("[...document.images].map(image => [image.width, Number(image.getAttribute('width'))])")
    assert [(full, width >= min(full, 600)) for width, full in shown] == [(900, True), (400, True)]
    scrolls = page.evaluate(
        "[...document.querySelectorAll('.picture')].map(each => each.scrollWidth > each.clientWidth)"
    )
    assert scrolls == [True, True]


def test_the_keyboard_reaches_the_report_first(ok):
    ok.keyboard.press("Tab")
    assert ok.evaluate(f"{FOCUSED}.className") == "skip"
    box = ok.locator(".skip").bounding_box()
    assert box["width"] > 50  # it shows itself
    assert box["height"] > 20
    ok.keyboard.press("Enter")
    assert ok.evaluate(f"{FOCUSED}.id") == "content"
    ok.keyboard.press("Tab")
    assert ok.evaluate(f"document.getElementById('content').contains({FOCUSED})")


def test_every_stop_of_the_tab_key_shows_itself(ok):
    seen = []
    for _ in range(80):
        ok.keyboard.press("Tab")
        if ok.evaluate(f"{FOCUSED} === document.body"):
            break
        name, outline = ok.evaluate(f"[{FOCUSED}.tagName, getComputedStyle({FOCUSED}).outlineStyle !== 'none']")
        assert outline, name
        seen.append(name)
    else:
        pytest.fail("the Tab key never comes to the end")
    assert {"A", "SUMMARY", "BUTTON", "DIV", "PRE"} <= set(seen)


def test_code_opens_by_the_keyboard(ok):
    first = ok.locator("details.code").first
    assert not first.evaluate("each => each.open")
    first.locator("summary").focus()
    ok.keyboard.press("Enter")
    assert first.evaluate("each => each.open")
    ok.keyboard.press("Space")
    assert not first.evaluate("each => each.open")


def test_the_button_shows_all_code_and_says_so(ok):
    button = ok.get_by_role("button", name="Show all code")
    cells = "[...document.querySelectorAll('details.code')].map(each => each.open)"
    button.focus()
    for key, pressed in (("Enter", "true"), ("Space", "false")):
        ok.keyboard.press(key)
        assert button.get_attribute("aria-pressed") == pressed
        assert set(ok.evaluate(cells)) == {pressed == "true"}


def test_links_of_the_contents_go_there(ok):
    for link in ok.locator("nav a").all():
        link.click()
        target = ok.evaluate("document.getElementById(decodeURI(location.hash.slice(1))).getBoundingClientRect().top")
        assert -5 <= target <= 812


def test_without_scripts_all_is_there(made, opened):
    page = opened(made["ok"], java_script_enabled=False).page
    assert not page.locator("#toggle-code").is_visible()
    page.locator("details.code summary").first.click()
    assert page.locator("details.code .highlight").first.is_visible()


def test_print_leaves_out_what_is_folded(ok):
    ok.emulate_media(media="print")
    assert not ok.locator("nav").is_visible()
    assert not any(each.is_visible() for each in ok.locator("details.code").all())
    assert all(each.is_visible() for each in ok.locator("figure img").all())
    ok.emulate_media(media="screen")
    ok.locator("details.code summary").nth(1).click()  # what its reader has opened is printed
    ok.emulate_media(media="print")
    assert [each.is_visible() for each in ok.locator("details.code").all()].count(True) == 1
    assert ok.locator("details.code .highlight").nth(1).is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_prints_black_on_white(made, opened, tmp_path, scheme):
    page = opened(made["ok"], scheme=scheme).page
    page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    printed = pypdfium2.PdfDocument(tmp_path / "report.pdf")
    assert 2 <= len(printed) <= 10
    first = printed[0].render(scale=1).to_numpy()
    assert first.mean() > 220
    assert "Every kind of output" in printed[0].get_textpage().get_text_range()


@pytest.mark.parametrize("name", ["error", "stop"])
def test_a_run_without_a_result_is_seen_to_be_one(made, opened, name):
    page = opened(made[name]).page
    banner = page.get_by_role("alert")
    assert banner.bounding_box()["y"] < 812  # seen without scrolling
    assert {"error": "This run failed.", "stop": "This run was interrupted."}[name] in banner.inner_text()
    banner.get_by_role("link").click()
    cell = page.locator("section[data-failed]")
    assert cell.bounding_box()["y"] < 812
    red = banner.evaluate("each => getComputedStyle(each).borderTopColor")
    assert red == "rgb(164, 0, 29)"
