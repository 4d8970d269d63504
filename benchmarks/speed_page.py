"""The table of docs/speed.md, made from benchmarks/results/*.json and put between two marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.case import MET, Case, as_cases, number

FORMAT = "speed 1"
BEGIN = "<!-- what follows is made by `python -m benchmarks`; do not edit -->"
END = "<!-- made so far -->"
HEAD = "| row | case | ours | beside it, and how many times better ours is | limit | target |"


def read(folder: Path) -> list[dict[str, Any]]:
    """The hosts' results in `folder`, by name; files of other kinds are passed over."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return [each for each in found if isinstance(each, dict) and each.get("format") == FORMAT]


def replaced(page: str, made: str) -> str:
    """The page with what stands between the marks replaced; ValueError without the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def render(hosts: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Markdown: a table a host of what was measured there, in the order of `titles`, and what nobody has measured."""
    cases = {
        (host["host"], name): as_cases(host["rows"][name]["cases"])
        for host in hosts
        for name in titles
        if name in host["rows"]
    }
    lines: list[str] = []
    for host in hosts:
        own = {name: [each for each in found if each.ours is not None]
               for (where, name), found in cases.items() if where == host["host"]}  # fmt: skip
        own = {name: found for name, found in own.items() if found}
        if not own:
            continue
        lines += [f"### {machine(host['machine'])}", "", HEAD, "|---|---|---|---|---|---|"]
        lines += [line(titles[name] if not k else "", each) for name in own for k, each in enumerate(own[name])]
        lines += ["", *(said(titles[name], host["rows"][name], own[name]) for name in own), ""]
    missing = unmeasured(cases, titles)
    lines += ["### Not yet measured", "", *(missing or ["Nothing: every case has been measured."])]
    return "\n".join(lines) + "\n"


def unmeasured(cases: Mapping[tuple[str, str], Sequence[Case]], titles: Mapping[str, str]) -> list[str]:
    """One item a row that has cases without a figure of ours from any host, or no results at all."""
    lines = []
    for name, title in titles.items():
        there = [each for (_, row), found in cases.items() if row == name for each in found]
        done = {each.case for each in there if each.ours is not None}
        lacking = list(dict.fromkeys(each.case for each in there if each.case not in done))
        if not there:
            lines.append(f"- {title}")
        elif lacking:
            lines.append(f"- {title}: {'; '.join(map(cell, lacking))}")
    return lines


def machine(about: Mapping[str, Any]) -> str:
    gpu = f", {about['gpu']}" if about.get("gpu") else ""
    return f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB{gpu}"


def line(title: str, case: Case) -> str:
    beside = "<br>".join(figure(case, name, value) for name, value in case.beside.items())
    limit = "<br>".join(figure(case, name, value) for name, value in (case.limit or {}).items())
    target = f"{case.target}: **{MET[case.met]}**" if case.target else ""
    ours = f"{number(case.ours)} {case.unit}"
    return "| " + " | ".join(map(cell, (title, case.case, ours, beside, limit, target))) + " |"


def figure(case: Case, name: str, value: float | None) -> str:
    """ "wfdb loop 226 (40.2 x)"."""
    if value is None:
        return f"{name}: not measured"
    return f"{name} {number(value)} ({number(case.times(name))} x)"


def said(title: str, row: Mapping[str, Any], cases: Sequence[Case]) -> str:
    """When and how the row was measured, and its cases' notes."""
    state = f"{row['commit']}{' and changes' if row['changed'] else ''}"
    facts = f"{row['measured'][:10]}, {state}, {row['seconds']:.0f} s, load {row['load'][0]:.1f} before"
    noted = list(dict.fromkeys(each.note for each in cases if each.note))
    if len(noted) == 1:
        notes = cell(noted[0])
    else:
        notes = ". ".join(
            f"{'; '.join(cell(each.case) for each in cases if each.note == note)}: {cell(note)}" for note in noted
        )
    return f"- {title} ({facts}){f': {notes}' if notes else ''}."


def cell(text: str) -> str:
    """Text in a table's cell or a list's item, on one line."""
    return " ".join(text.split()).replace("|", "\\|")
