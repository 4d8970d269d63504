"""What a page that people share must not lack.

    python -m ecglib.lint reports/lead_kd/demo/report.html      a sentence for each fault

Exit status: 0 no fault, 1 faults, 2 not a page.

The rules are those that can be told from the text: it loads nothing, is small, has a language, a title and landmarks,
describes and captions its pictures and tables, folds its code, and its links lead somewhere. Contrast, sizes and the
keyboard need a browser: the tests open the pages in one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecglib import markup

MAX_BYTES = 3_000_000
VAGUE = {"here", "click here", "click", "link", "this", "this link", "more", "read more"}
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")


def page(html: str, *, report: bool = True) -> list[str]:
    """The faults of a page, a sentence each, "RULE: what is wrong"; [] where there is none.

    report: whether it is a run's report; another page, as the list of runs, needs no contents and has no code.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    rules = RULES if report else {name: rule for name, rule in RULES.items() if name not in OF_REPORTS}
    found = [f"self-contained: it loads {address[:80]}" for address in markup.outside(html)]
    size = len(html.encode())
    if size > MAX_BYTES:
        found.append(f"size: it takes {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    return found + [f"{name}: {fault}" for name, rule in rules.items() for fault in rule(soup)]


def _head(soup: Any) -> Iterator[str]:
    if not (soup.html and soup.html.get("lang")):
        yield "the html element says no language"
    if not (soup.title and soup.title.get_text(strip=True)):
        yield "there is no title"
    if soup.find("meta", charset=True) is None:
        yield "no charset is declared"
    named = {meta.get("name"): meta.get("content", "") for meta in soup.find_all("meta")}
    if "width=device-width" not in named.get("viewport", ""):
        yield "a phone is not told the width (meta viewport)"
    if re.search(r"user-scalable\s*=\s*no|maximum-scale", named.get("viewport", "")):
        yield "a phone's user cannot enlarge the page (meta viewport)"
    if not {"light", "dark"} <= set(named.get("color-scheme", "").split()):
        yield "it does not say that it is made for light and dark (meta color-scheme)"
    if soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"}) is None:
        yield "no content security policy forbids to load anything"


def _style(soup: Any) -> Iterator[str]:
    css = "\n".join(style.get_text() for style in soup.find_all("style"))
    for query, purpose in (("@media print", "print"), ("prefers-color-scheme: dark", "dark screens")):
        if query not in css:
            yield f"there is none for {purpose}"


def _landmarks(soup: Any) -> Iterator[str]:
    for name in ("main", "h1"):
        if (count := len(soup.find_all(name))) != 1:
            yield f"there are {count} <{name}>, not one"
    if soup.body is None or soup.body.find("header", recursive=False) is None:
        yield "there is no <header> of the page"
    for nav in soup.find_all("nav"):
        if not _name(nav, soup):
            yield "a <nav> has no name"
    first = soup.find(["a", "button", "summary", "input", "select"])
    if first is None or first.name != "a" or not soup.find("main", id=first.get("href", "")[1:] or None):
        yield "the first stop of the Tab key is no link that skips to <main>"


def _headings(soup: Any) -> Iterator[str]:
    level = 0
    for heading in soup.find_all(re.compile("^h[1-6]$")):
        text, next_level = heading.get_text(" ", strip=True), int(heading.name[1])
        if not text:
            yield f"an <{heading.name}> is empty"
        if next_level > level + 1:
            yield f"“{text}” is of level {next_level} below level {level}"
        level = next_level


def _ids(soup: Any) -> Iterator[str]:
    counts = Counter(element["id"] for element in soup.find_all(id=True))
    yield from (f"{name} is given {count} times" for name, count in counts.items() if count > 1)
    for attribute in REFERENCES:
        for element in soup.find_all(attrs={attribute: True}):
            words = element[attribute] if isinstance(element[attribute], list) else element[attribute].split()
            yield from (f"{attribute} names {word}, which is not there" for word in words if word not in counts)


def _links(soup: Any) -> Iterator[str]:
    ids = {element["id"] for element in soup.find_all(id=True)}
    for link in soup.find_all("a"):
        name, address = _name(link, soup), link.get("href", "")
        if not name:
            yield f"the link to {address[:80]} has no text"
        elif name.lower().strip(".") in VAGUE:
            yield f"“{name}” does not say where the link to {address[:80]} leads"
        if address.startswith("#") and address[1:] not in ids:
            yield f"{address} leads nowhere"


def _contents(soup: Any) -> Iterator[str]:
    listed = {link.get("href") for nav in soup.find_all("nav") for link in nav.find_all("a")}
    for heading in soup.main.find_all(["h2", "h3"]) if soup.main else ():
        if f"#{heading.get('id')}" not in listed:
            yield f"“{heading.get_text(' ', strip=True)}” is not in the table of contents"


def _pictures(soup: Any) -> Iterator[str]:
    for number, image in enumerate(soup.find_all("img"), start=1):
        alt, figure = image.get("alt", "").strip(), image.find_parent("figure")
        caption = figure.find("figcaption") if figure is not None else None
        words = re.sub(r"^Figure \d+\.", "", caption.get_text(" ", strip=True)).strip() if caption else ""
        if not alt or alt == markup.UNDESCRIBED:
            yield f"picture {number} has no alt text; give figures.show one"
        if not words or words == markup.UNDESCRIBED:
            yield f"picture {number} has no caption"
    for drawing in soup.find_all("svg"):
        if drawing.get("aria-hidden") != "true" and not (drawing.get("role") == "img" and _name(drawing, soup)):
            yield "a drawing has neither a name nor aria-hidden"


def _tables(soup: Any) -> Iterator[str]:
    for number, table in enumerate(soup.find_all("table"), start=1):
        caption = table.find("caption")
        if caption is None or not caption.get_text(strip=True):
            yield f"table {number} has no caption"
        headers = table.find_all("th")
        if not headers:
            yield f"table {number} has no header cell"
        if any(not header.get_text(strip=True) and header.find("img") is None for header in headers):
            yield f"table {number} has an empty header cell"
        if any(not header.get("scope") for header in headers):
            yield f"table {number} has a header cell without scope"


def _controls(soup: Any) -> Iterator[str]:
    for element in soup.find_all(tabindex=re.compile(r"^\s*0*[1-9]")):
        yield f"<{element.name}> has tabindex {element['tabindex']}, which changes the order of the Tab key"
    for control in soup.find_all(["button", "summary", "select", "input"]):
        if not _name(control, soup):
            yield f"a <{control.name}> has no name"
    for details in soup.find_all("details"):
        if details.find(True, recursive=False) is not details.find("summary", recursive=False):
            yield "a <details> does not begin with its <summary>"
    for place in soup.find_all(class_="scroll"):
        if not place.has_attr("tabindex") or not _name(place, soup):
            yield "a scrolling place has no name, or the keyboard does not reach it"


def _code(soup: Any) -> Iterator[str]:
    for details in soup.select("details.code[open]"):
        yield f"“{details.summary.get_text(' ', strip=True)}” is not folded"
    for block in soup.select("section.cell .highlight"):
        if block.find_parent("details", class_="code") is None:
            yield "a cell shows its code unfolded"


def _name(element: Any, soup: Any) -> str:
    """What a screen reader calls it: its label, the text that labels it, or its own text and pictures."""
    if label := element.get("aria-label", "").strip():
        return label
    ids = element.get("aria-labelledby", "").split()
    labels = [soup.find(id=name) for name in ids] + soup.find_all("label", attrs={"for": element.get("id") or "-"})
    if text := " ".join(label.get_text(" ", strip=True) for label in labels if label is not None):
        return text
    wrapped = element.find_parent("label") if element.name in ("input", "select") else None
    own = (wrapped or element).get_text(" ", strip=True)
    return own or " ".join(image.get("alt", "") for image in element.find_all("img")).strip()


RULES: dict[str, Callable[[Any], Iterator[str]]] = {
    "head": _head,
    "style": _style,
    "landmarks": _landmarks,
    "headings": _headings,
    "ids": _ids,
    "links": _links,
    "contents": _contents,
    "pictures": _pictures,
    "tables": _tables,
    "controls": _controls,
    "code": _code,
}
OF_REPORTS = ("contents", "code")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ecglib.lint", description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path, help="report.html of runs, or an index.html")
    faults = 0
    for path in parser.parse_args(arguments).pages:
        if not path.is_file():
            print(f"error: {path}: there is no such file; give a run's report.html", file=sys.stderr)
            return 2
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            print(f"error: {path}: it is not UTF-8 text, so no page; make it again", file=sys.stderr)
            return 2
        for fault in page(text, report=path.name != "index.html"):
            faults += 1
            print(f"{path}: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
