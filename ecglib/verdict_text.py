"""A re-run check's verdict as the terminal shows it; see `verify`, which writes the same as verify.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ecglib import agreement
from ecglib.checks import duration

LISTED = 10
"""Rows, figures or phrases that are printed; verify.json has them all."""


def lines(verdict: dict[str, Any]) -> list[str]:
    """The verdict as it is printed."""
    took = verdict["duration_s"]
    said = [f"{verdict['report']}, made {verdict['started']['old'][:16].replace('T', ' ')}"]
    said[0] += f" in {duration(took['old'])}, run again in {duration(took['new'])}" if all(took.values()) else ""
    end = "reproduced" if verdict["reproduced"] else f"NOT reproduced; {'; '.join(verdict['reasons'])}"
    if "metrics" not in verdict:
        return [*said, end]
    metrics, figures, machine = verdict["metrics"], verdict["figures"], verdict["machine"]
    now = machine["now"]
    here = f"{now.get('device') or now['cpu']}, threads: {now.get('threads') or 'not said'}; numbers have to be equal"
    rows = [
        ("machine", "same" if machine["same"] else "other", here if machine["same"] else _some(machine["differs"])),
        ("code", "other" if verdict["code"]["differs"] else "same", _some(verdict["code"]["differs"])),
        ("parameters", *_parameters(verdict["parameters"])),
        ("data", "OTHER" if verdict["data"]["differs"] else "same", _some(verdict["data"]["differs"])),
        ("metrics", _word(metrics["ok"]), f"{metrics['agree']:,} of {metrics['rows']:,} rows; {metrics['rule']}"),
    ]
    if "ok_elsewhere" in metrics:
        how = "agree" if metrics["ok_elsewhere"] else "DIFFER too"
        rows.append(("", "", f"by the rule for another machine, which its name may hide, they {how}"))
    if not machine["same"]:
        inside, other = metrics["inside"], metrics["no_interval"]
        rows.append(("", "", f"{inside['agree']:,} of {inside['rows']:,} rows with an interval lie in it"))
        rows.append(
            ("", "", f"{other['agree']:,} of {other['rows']:,} without one are within {other['tolerance']:.0%}")
        )
    if figures is None:
        rows.append(("figures", "unknown", "the report has none on record"))
    else:
        held = min(figures["count"]) - len(figures["differ"])
        rows.append(("figures", _word(figures["ok"]), f"{held} of {figures['count'][0]}; {figures['rule']}"))
    said += ["", *_aligned(rows)]
    said += _headline(metrics["headline"], same_machine=machine["same"])
    for title, kind in (
        ("rows that differ", "differ"),
        ("rows that are missing", "missing"),
        ("rows that are new", "extra"),
    ):
        said += _listed(title, [_row(row) for row in metrics[kind]])
    if figures is not None:
        said += _listed(
            "figures that differ", [f"{f['number']}: {f['why']} ({f['alt'][:60]})" for f in figures["differ"]]
        )
    return [*said, "", end]


def _word(ok: bool) -> str:
    return "agree" if ok else "DIFFER"


def _parameters(changed: dict[str, Any]) -> tuple[str, str]:
    set_now = [f"{name} {entry['was']!r}, now {entry['now']!r}" for name, entry in changed["set"].items()]
    new = [f"{name} is new, as in the notebook" for name in changed["new"]]
    gone = [f"{name} {value!r}, which the notebook has no more" for name, value in changed["gone"].items()]
    other = [*set_now, *new, *gone]
    return ("other" if other else "same"), _some([f"{changed['count']} on record", *other])


def _headline(rows: list[dict[str, Any]], *, same_machine: bool) -> list[str]:
    if not rows:
        return []
    first = rows[0]
    said = ["", f"{first['metric']}, {first['class']}, {first['split']} part of {first['data']} ({first['protocol']})"]
    words = {True: "equal" if same_machine else "in it", False: "DIFFERS" if same_machine else "OUTSIDE"}
    table = [(row["model"], _value(row), _number(row["now"]), words[row["ok"]]) for row in rows[:LISTED]]
    said += _aligned([("model", "was", "is", ""), *table])
    return said + ([f"  and {len(rows) - LISTED} more"] if len(rows) > LISTED else [])


def _row(row: dict[str, Any]) -> str:
    keys = " / ".join(str(row[key]) for key in agreement.KEYS if row[key] is not None and key != "n")
    return f"{keys}: {_value(row)}" + (f", now {_number(row['now'])}" if "now" in row else "")


def _value(row: dict[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{_number(row['low'])}, {_number(row['high'])}]"
    return _number(row["value"]) + interval


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _listed(title: str, entries: list[str]) -> list[str]:
    more = [f"  and {len(entries) - LISTED:,} more, in verify.json"] if len(entries) > LISTED else []
    return ["", f"{title}:", *(f"  {entry}" for entry in entries[:LISTED]), *more] if entries else []


def _some(phrases: Iterable[str]) -> str:
    phrases = list(phrases)
    return "; ".join(phrases[:LISTED]) + (f"; and {len(phrases) - LISTED} more" if len(phrases) > LISTED else "")


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
