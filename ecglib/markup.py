"""The HTML of reports: self-contained, readable on a phone and by a screen reader; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "report_template"
FILTERS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    # of text that is escaped already; str, because jinja's Markup would escape the pieces a second time
    "linked": lambda text: re.sub(r"(https?://[^\s<>\"]*[^\s<>\".,;)])", r'<a href="\1">\1</a>', str(text)),
}
_ACTIVE = ("script", "iframe", "object", "embed", "link", "meta", "base", "form", "style", "audio", "video", "source")
_NUMBER = re.compile(r"^[\s–—+±−<>≤≥%()\[\].,;:/\d-]*\d[\s–—+±−%()\[\].,;:/\d-]*$")


@cache
def css() -> str:
    """The style sheet with the colours of highlighted code, for light and dark."""
    from pygments.formatters import HtmlFormatter

    def colours(style: str) -> str:
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").splitlines()
        return "\n".join(rule for rule in rules if rule.startswith(".highlight ."))  # tokens, not the ground

    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{colours('github-dark')}\n}}"
    return f"{(TEMPLATES / 'style.css').read_text(encoding='utf-8')}\n{colours('default')}\n{dark}"


def script() -> str:
    """The one script of a page: the button that shows all code."""
    return (TEMPLATES / "toggle.js").read_text(encoding="utf-8")


def policy(script: str = "") -> str:
    """A content security policy by which a browser loads nothing and runs `script` alone."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; {scripts}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def environment() -> Any:
    """A jinja2 environment over the report's templates."""
    import jinja2

    made = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))
    made.filters |= FILTERS
    return made


class Headings:
    """The headings of a page as they come, each with an id of its own."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self._ids = {"content", "reproducibility", "colophon", "toggle-code"}

    def add(self, text: str, level: int) -> str:
        base = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "section"
        unique, number = base, 1
        while unique in self._ids:
            unique, number = f"{base}-{number + 1}", number + 1
        self._ids.add(unique)
        self.found.append({"text": text, "level": level, "id": unique})
        return unique


def tidy(html: str, headings: Headings | None = None) -> str:
    """`html` made fit for a report.

    Nothing active and nothing from outside is left: scripts, styles and handlers go, a picture from elsewhere becomes a
    link. Tables scroll within the page, tell their headers apart and align numbers. Headings get an id.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    for element in soup.find_all(_ACTIVE):
        element.decompose()
    for element in soup.find_all(True):
        _disarm(soup, element)
    for table in soup.find_all("table"):
        _tidy_table(soup, table)
    for heading in soup.find_all(re.compile("^h[1-6]$")) if headings is not None else ():
        heading["id"] = headings.add(heading.get_text(" ", strip=True), int(heading.name[1]))
    return str(soup)


def _disarm(soup: Any, element: Any) -> None:
    for name in [name for name in element.attrs if name.startswith("on") or name in ("srcset", "background")]:
        del element[name]
    if "url(" in str(element.get("style", "")).lower():
        del element["style"]
    if str(element.get("href", "")).lower().lstrip().startswith(("javascript:", "data:")):
        del element["href"]
    source = str(element.get("src", "data:"))
    if element.name != "img" and element.has_attr("src"):
        del element["src"]
    elif element.name == "img" and not source.startswith("data:image/"):
        link = soup.new_tag("a", href=source)
        link.string = f"{element.get('alt') or 'picture'} (not part of this page: {source})"
        element.replace_with(link)


def _tidy_table(soup: Any, table: Any) -> None:
    for name in ("border", "style"):
        table.attrs.pop(name, None)
    _join_headers(table)
    for header in table.find_all("th"):
        in_head = header.find_parent("thead") is not None
        header.attrs.setdefault("scope", "col" if in_head else "row")
        header.attrs.pop("valign", None)
    for cell in table.find_all("td"):
        if _NUMBER.match(cell.get_text().strip() or "x"):
            cell["class"] = [*cell.get("class", []), "num"]
    _align_headers(table)
    caption = table.find("caption")
    label = caption.get_text(" ", strip=True) if caption else "Table"
    table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}))


def _join_headers(table: Any) -> None:
    """pandas gives the index's name a header row of its own; it goes into the empty corner of the row above."""
    rows = table.select("thead tr")
    if len(rows) != 2 or table.select_one("thead [colspan]"):
        return
    above, below = (row.find_all("th") for row in rows)
    if len(above) == len(below) and not any(cell.get_text(strip=True) for cell in (above[0], *below[1:])):
        above[0].string = below[0].get_text(strip=True)
        rows[1].decompose()


def _align_headers(table: Any) -> None:
    """A column's header stands to the right where all its cells do (plain tables: no cell spans several columns)."""
    head = table.select_one("thead tr:last-child")
    rows = [row.find_all(["td", "th"]) for row in table.select("tbody tr")]
    if head is None or not rows or table.find(colspan=True) or table.find(rowspan=True):
        return
    for position, header in enumerate(head.find_all("th")):
        column = [row[position] for row in rows if position < len(row)]
        if column and all("num" in cell.get("class", []) for cell in column):
            header["class"] = [*header.get("class", []), "num"]
        elif "style" in header.attrs:
            del header["style"]
    for row in table.select("thead tr"):
        row.attrs.pop("style", None)  # pandas right-aligns every header


def outside(html: str) -> list[str]:
    """Addresses that a browser would load when it opens the page; links that a reader may follow are not among them."""
    loads = re.compile(
        r"""<(?!a\b)[a-z][^>]*?\b(?:src|href|srcset|data|action|poster)\s*=\s*["']?\s*(?!data:|\#)([^\s"'>]+)"""
        r"""|url\(\s*["']?(?!data:|\#)([^)"']+)|@import\s+["']?([^"';]+)""",
        re.IGNORECASE,
    )
    return sorted({next(filter(None, groups)) for groups in loads.findall(html)})
