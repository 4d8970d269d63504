"""Each fault is found where it is put in, and nothing is found in a page without one."""

from __future__ import annotations

import pytest
from where import REPO

from ecglib import lint

GALLERY = sorted((REPO / "reports" / "gallery").glob("*/report.html"))
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
GOOD = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
<meta name="color-scheme" content="light dark"><title>A title</title>
<style>@media print {{ nav {{ display: none; }} }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; }} }}</style>
</head><body>
<a href="#content">Skip to the report</a>
<header><svg aria-hidden="true"></svg><h1>A title</h1></header>
<nav aria-label="Contents"><a href="#one">One</a> <a href="#two">Two</a></nav>
<main id="content" tabindex="-1"><h2 id="one">One</h2>
<section class="cell">
<details class="code"><summary>Code, cell 1</summary><div class="highlight"><pre>x</pre></div></details>
<figure><img src="{PIXEL}" alt="A line that rises.">
<figcaption><b>Figure 1.</b> <span>A line.</span></figcaption></figure>
<div class="scroll" tabindex="0" role="group" aria-labelledby="table-1"><table>
<caption id="table-1">Table 1. One</caption>
<thead><tr><td></td><th scope="col">AUC</th></tr></thead>
<tbody><tr><th scope="row">a</th><td>0.9</td></tr></tbody></table></div></section>
<h3 id="two">Two</h3><p>See <a href="https://doi.org/10.1/x">the paper</a>.</p>
<label>Filter <input></label><button aria-label="Close"></button></main>
</body></html>"""


def test_a_good_page_has_no_fault():
    assert lint.page(GOOD) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (' lang="en"', "", "head: the html element says no language"),
        ("<title>A title</title>", "<title> </title>", "head: there is no title"),
        ('<meta charset="utf-8">', "", "head: no charset"),
        ("width=device-width, initial-scale=1", "width=1000", "head: a phone is not told the width"),
        ("initial-scale=1", "maximum-scale=1", "head: a phone's user cannot enlarge"),
        ('content="light dark"', 'content="light"', "head: it does not say that it is made for light and dark"),
        ("Content-Security-Policy", "x", "head: no content security policy"),
        ("@media print", "@media speech", "style: there is none for print"),
        ("prefers-color-scheme: dark", "prefers-color-scheme: light", "style: there is none for dark"),
        ("<h1>A title</h1>", "", "landmarks: there are 0 <h1>"),
        ("<h1>A title</h1>", "<h1>A</h1><h1>B</h1>", "landmarks: there are 2 <h1>"),
        ("header>", "div>", "landmarks: there is no <header>"),
        (' aria-label="Contents"', "", None),  # named by its own text, which is the links'
        ('<a href="#content">', '<a href="#one">', "landmarks: the first stop of the Tab key"),
        ("h3", "h4", "headings: “Two” is of level 4 below level 2"),
        (">Two</h3>", "></h3>", "headings: an <h3> is empty"),
        ('<h3 id="two">', '<h3 id="one">', "ids: one is given 2 times"),
        ('id="table-1"', 'id="table-2"', "ids: aria-labelledby names table-1"),
        ('<h3 id="two">', "<h3>", "links: #two leads nowhere"),
        (">the paper</a>", "></a>", "links: the link to https://doi.org/10.1/x has no text"),
        (">the paper</a>", ">here</a>", "links: “here” does not say"),
        ('<a href="#two">Two</a>', "", "contents: “Two” is not in the table of contents"),
        (' alt="A line that rises."', "", "pictures: picture 1 has no alt text"),
        (
            'alt="A line that rises."',
            'alt="A picture that its notebook does not describe."',
            "pictures: picture 1 has no",
        ),
        ("<figcaption><b>Figure 1.</b> <span>A line.</span></figcaption>", "", "pictures: picture 1 has no caption"),
        ("<span>A line.</span>", "", "pictures: picture 1 has no caption"),
        (' aria-hidden="true"', "", "pictures: a drawing has neither"),
        (
            '<caption id="table-1">Table 1. One</caption>',
            '<caption id="table-1"></caption>',
            "tables: table 1 has no caption",
        ),
        ("<td></td><th", "<th></th><th", "tables: table 1 has an empty header cell"),
        (' scope="row"', "", "tables: table 1 has a header cell without scope"),
        ('tabindex="-1"', 'tabindex="1"', "controls: <main> has tabindex 1"),
        (' aria-label="Close"', "", "controls: a <button> has no name"),
        ("<label>Filter <input></label>", "<input>", "controls: a <input> has no name"),
        ("<summary>Code, cell 1</summary>", "", "controls: a <details> does not begin"),
        (' tabindex="0"', "", "controls: a scrolling place"),
        ('<details class="code">', '<details class="code" open>', "code: “Code, cell 1” is not folded"),
        ('<details class="code">', "<details>", "code: a cell shows its code unfolded"),
        (f'"{PIXEL}"', '"https://example.org/a.png"', "self-contained: it loads https://example.org/a.png"),
        (PIXEL, PIXEL + "A" * lint.MAX_BYTES, "size: it takes 3.0 MB"),
    ],
)
def test_each_fault_is_found(before, after, fault):
    assert before in GOOD
    found = lint.page(GOOD.replace(before, after))
    assert found == [] if fault is None else any(each.startswith(fault) for each in found), found


def test_a_list_of_runs_needs_no_contents_and_folds_nothing():
    page = GOOD.replace('<a href="#two">Two</a>', "").replace('<details class="code">', "<details open>")
    assert len(lint.page(page)) == 2
    assert lint.page(page, report=False) == []


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.parent.name)
def test_the_committed_gallery(path):
    assert lint.page(path.read_text(encoding="utf-8")) == []


def test_command(tmp_path, capsys):
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace(' lang="en"', ""))
    assert lint.main([str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert lint.main([str(good), str(bad)]) == 1
    assert capsys.readouterr().out == f"{bad}: head: the html element says no language\n"
    assert lint.main([str(tmp_path / "none.html")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    bad.write_bytes(b"\xff\xfe\x00")
    assert lint.main([str(bad)]) == 2
    assert "it is not UTF-8 text" in capsys.readouterr().err
