"""The HTML of reports: self-contained, readable on a phone and by a screen reader; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "report_template"
FILTERS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    # of text that is escaped already; str, because jinja's Markup would escape the pieces a second time
    "linked": lambda text: re.sub(r"(https?://[^\s<>\"]*[^\s<>\".,;)])", r'<a href="\1">\1</a>', str(text)),
}
UNDESCRIBED = "A picture that its notebook does not describe."
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


class Outline:
    """The headings, tables and other ids of a page as they come: each id is given once, no level is jumped over."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.tables = 0
        self._ids = {"content", "reproducibility", "colophon", "toggle-code", "parameters-given"}
        self._level = 2  # the box on top has a heading of the second level

    @property
    def section(self) -> str:
        """The text of the last heading."""
        return self.found[-1]["text"] if self.found else "Introduction"

    def unique(self, wanted: str) -> str:
        """`wanted`, or with a number behind it where that is taken."""
        chosen, number = wanted, 1
        while chosen in self._ids:
            chosen, number = f"{wanted}-{number + 1}", number + 1
        self._ids.add(chosen)
        return chosen

    def add(self, text: str, level: int) -> dict[str, Any]:
        """Puts a heading on the list; one that would skip a level is brought to the next, none is the page's title."""
        self._level = max(2, min(level, self._level + 1))
        base = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "section"
        self.found.append({"text": text, "level": self._level, "id": self.unique(base)})
        return self.found[-1]


def tidy(html: str, outline: Outline) -> str:
    """`html` made fit for a report.

    Nothing active and nothing from outside is left: scripts, styles and handlers go, a picture from elsewhere becomes a
    link. A picture that stands alone gets its caption. Tables scroll within the page, have a caption, tell headers from
    cells and align numbers. Headings get an id; no id comes twice.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    for element in soup.find_all(_ACTIVE):
        element.decompose()
    for element in soup.find_all(True):
        _disarm(soup, element)
    _make_ids_unique(soup, outline)
    for element in soup.find_all(re.compile("^(h[1-6]|table|img)$")):
        if element.name == "img":
            _tidy_picture(soup, element)
        elif element.name == "table":
            _tidy_table(soup, element, outline)
        elif not (text := element.get_text(" ", strip=True)):
            element.decompose()
        else:
            heading = outline.add(text, int(element.name[1]))
            element.name, element["id"] = f"h{heading['level']}", heading["id"]
    return str(soup)


def _disarm(soup: Any, element: Any) -> None:
    for name in [name for name in element.attrs if name.startswith("on") or name in ("srcset", "background")]:
        del element[name]
    if "url(" in str(element.get("style", "")).lower():
        del element["style"]
    for name in ("href", "xlink:href"):
        address = re.sub(r"[\s\x00-\x1f]", "", str(element.get(name, ""))).lower()  # browsers pass over these signs
        followed = element.name in ("a", "area") and not address.startswith(("javascript:", "vbscript:", "data:"))
        if not followed and not address.startswith("#"):  # in a drawing or a formula it would be loaded
            del element[name]
    source = str(element.get("src", "data:"))
    if element.name != "img" and element.has_attr("src"):
        del element["src"]
    elif element.name == "img" and not source.startswith("data:image/"):
        link = soup.new_tag("a", href=source)
        link.string = f"{element.get('alt') or 'picture'} (not part of this page: {source})"
        element.replace_with(link)


def _make_ids_unique(soup: Any, outline: Outline) -> None:
    """Ids of headings and within tables (pandas gives its cells some) serve nothing here; others may be linked to."""
    for element in soup.find_all(id=True):
        if re.fullmatch("h[1-6]|table", element.name) or element.find_parent("table"):
            del element["id"]
            continue
        before = element["id"]
        element["id"] = outline.unique(before)
        for link in soup.find_all("a", href=f"#{before}") if element["id"] != before else ():
            link["href"] = f"#{element['id']}"


def _tidy_picture(soup: Any, image: Any) -> None:
    """A picture that stands alone, as prose has it by ``![alt](address "caption")``, becomes a figure."""
    image["alt"], caption = described({"alt": image.get("alt"), "caption": image.attrs.pop("title", None)})
    paragraph = image.parent
    if paragraph.name != "p" or paragraph.get_text(strip=True) or len(paragraph.find_all("img")) > 1:
        return  # it is part of a sentence, a table or a figure
    text = soup.new_tag("figcaption")
    text.string = caption
    paragraph.insert_before(figure := soup.new_tag("figure"))
    figure.extend([image.extract(), text])
    paragraph.decompose()


def described(about: Mapping[str, Any]) -> tuple[str, str]:
    """(alt text, caption) of a picture, each standing in for the other where only one was given."""
    alt, caption = ((about.get(key) or "").strip() for key in ("alt", "caption"))
    return alt or caption or UNDESCRIBED, caption or alt or UNDESCRIBED


def _tidy_table(soup: Any, table: Any, outline: Outline) -> None:
    for name in ("border", "style"):
        table.attrs.pop(name, None)
    _join_headers(table)
    for header in table.find_all("th"):
        for name in ("valign", "halign", "scope"):
            header.attrs.pop(name, None)
        if not header.get_text(strip=True) and header.find("img") is None:
            header.name = "td"  # an empty corner is the header of nothing
            continue
        in_head = header.find_parent("thead") is not None
        span = header.get("colspan" if in_head else "rowspan", "1")
        header["scope"] = ("col" if in_head else "row") + ("group" if span != "1" else "")
    for cell in table.find_all("td"):
        if _NUMBER.match(cell.get_text().strip() or "x"):
            cell["class"] = [*cell.get("class", []), "num"]
    _align_headers(table)
    _name_table(soup, table, outline)


def _name_table(soup: Any, table: Any, outline: Outline) -> None:
    """Gives the table its number and a caption, its own or the section's, and a place to scroll in by that name."""
    outline.tables += 1
    caption = table.find("caption")
    if caption is None:
        caption = soup.new_tag("caption")
        caption.string = outline.section
        table.insert(0, caption)
    number = soup.new_tag("b")
    number.string = f"Table {outline.tables}."
    caption.insert(0, " ")
    caption.insert(0, number)
    caption["id"] = outline.unique(f"table-{outline.tables}")
    attributes = {"class": "scroll", "tabindex": "0", "role": "group", "aria-labelledby": caption["id"]}
    table.wrap(soup.new_tag("div", attrs=attributes))


def _join_headers(table: Any) -> None:
    """pandas gives the index's names a header row of their own; they go into the empty corner of the row above."""
    rows = table.select("thead tr")
    if len(rows) < 2:
        return
    above, below = (row.find_all(["th", "td"]) for row in rows[-2:])
    if len(above) != len(below) or any(cell.get("colspan", "1") != "1" for cell in (*above, *below)):
        return
    names = [cell.get_text(strip=True) for cell in below]
    if any(name and cell.get_text(strip=True) for name, cell in zip(names, above)):
        return
    for name, cell in zip(names, above):
        if name:
            cell.string = name
    rows[-1].decompose()


def _align_headers(table: Any) -> None:
    """A column's header stands to the right where all its cells do (plain tables: no cell spans several columns)."""
    for row in table.select("thead tr"):
        row.attrs.pop("style", None)  # pandas right-aligns every header
    head = table.select_one("thead tr:last-child")
    rows = [row.find_all(["td", "th"]) for row in table.select("tbody tr")]
    width = len(head.find_all(["td", "th"])) if head is not None else 0
    if not rows or any(len(row) > width for row in rows) or any(cell.get("colspan") for row in rows for cell in row):
        return
    for position, header in enumerate(reversed(head.find_all(["td", "th"])), start=1):
        # from the right: a row whose first cell is spanned from above has fewer cells
        column = [row[-position] for row in rows if position <= len(row)]
        if column and all("num" in cell.get("class", []) for cell in column):
            header["class"] = [*header.get("class", []), "num"]
        elif "style" in header.attrs:
            del header["style"]


def outside(html: str) -> list[str]:
    """Addresses that a browser would load when it opens the page; links that a reader may follow are not among them."""
    loads = re.compile(
        r"""<(?!a\b)[a-z][^>]*?\b(?:src|href|srcset|data|action|poster)\s*=\s*["']?\s*(?!data:|\#)([^\s"'>]+)"""
        r"""|url\(\s*["']?(?!data:|\#)([^)"']+)|@import\s+["']?([^"';]+)""",
        re.IGNORECASE,
    )
    return sorted({next(filter(None, groups)) for groups in loads.findall(html)})
