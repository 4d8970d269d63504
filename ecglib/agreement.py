"""Whether two runs of a notebook agree: machine, data, metrics, figures. Nothing is run here; see `verify`.

On the same machine (processor, device, threads, platform, Python and main packages) a run repeats itself, so numbers
have to be equal. Elsewhere sums are rounded in another order, and training takes another path from there: a new value
has to lie in the old 95 % interval, every headline row and at least `INSIDE` of all rows that have one, because
intervals hold which records are tested and not how training falls out. (lead_kd on another set of vector instructions:
every headline row and 83 % of all in the demo of one seed; on two threads instead of one: 95 % in the smoke preset.)

The interval is widened to hold its own value, which that of a calibration error need not. Rows without an interval
(thresholds, spreads over seeds, p values) are counted against `TOLERANCE`, and decide only where no row has an
interval.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ecglib import results

KEYS = tuple(key for key in results.METRIC_KEYS if key not in ("value", "low", "high"))
INSIDE = 0.75
TOLERANCE = 0.1
"""Of the old value, elsewhere, for rows without an interval."""
LEVELS = 32
"""Of 255: by more than this a channel has to differ for its pixel to count."""
SHARE = {True: 0.001, False: 0.1}
"""Same machine or not -> the largest share of pixels that may differ; redrawn curves elsewhere took up to 7 %."""
MACHINE = ("cpu", "device", "threads", "platform", "cuda", "python")

Row = dict[str, Any]


def machine(old: Row, new: Row) -> list[str]:
    """How the "environment" of run.json `new` differs from `old`, a phrase each; [] on the same machine."""
    kinds = ["packages"] + ["imported"] * ("imported" in old and "imported" in new)  # which older runs do not have
    was, now = ({key: each.get(key) for key in MACHINE} for each in (old, new))
    for kind in kinds:
        was |= old.get(kind, {})
        now |= new.get(kind, {})
    return [
        f"{name} {_or_none(was.get(name))}, now {_or_none(now.get(name))}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]


def code(old: Row, new: Row) -> list[str]:
    """What of the code differs between run.json `old` and `new`, a phrase each; [] where nothing is known to."""
    found = []
    kind = "cells" if old["notebook"].get("cells") and new["notebook"].get("cells") else "sha256"
    if old["notebook"].get(kind) != new["notebook"].get(kind):
        found.append(f"{new['notebook']['path']}")
    if "sources" in old and "sources" in new:
        was, now = old["sources"], new["sources"]
        return found + [name for name in dict.fromkeys([*was, *now]) if was.get(name) != now.get(name)]
    was, now = ((each.get("git") or {}).get("commit") for each in (old, new))
    if was != now:
        found.append(f"commit {(was or 'none')[:12]}, now {(now or 'none')[:12]}")
    return found


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def data(old: Sequence[Row], new: Sequence[Row]) -> list[str]:
    """How the cohorts of data.json differ, a phrase each; cohorts are the same when their fingerprints are."""
    found = []
    for number in range(max(len(old), len(new))):
        was, now = (_cohort(each[number]) if number < len(each) else None for each in (old, new))
        if was is None or now is None or was[1:] != now[1:]:
            found.append(" now ".join(entry[0] if entry else "none" for entry in (was, now)))
    return found


def _cohort(entry: Row) -> tuple[str, str, int, Row]:
    shown = f"{entry.get('role')}: {entry['name']} {entry['fingerprint'][:12]}, {entry['records']:,} records"
    return shown, entry["fingerprint"], entry["records"], entry.get("counts", {})


def metrics(old: Sequence[Row], new: Sequence[Row], *, same_machine: bool) -> Row:
    """The rows of two metrics.json compared, matched by `KEYS`.

    Returns:
        {"rule", "rows", "agree": how many of them, "missing", "extra": rows that only one has, "differ": rows with the
        old values and "now", "headline": likewise, with "ok"; "ok": the verdict; "ok_elsewhere": where rows that had
        to be equal are not, the verdict by the rule for another machine (a processor's name may stand for several)}.
    """
    pairs, missing, extra = match(old, new)
    judged = [(was, now, agrees(was, now, same_machine=same_machine)) for was, now in pairs]
    lead = {id(row) for row in headline_rows(old)}
    headline = [{**was, "now": now["value"], "ok": ok} for was, now, ok in judged if id(was) in lead]
    differ = [{**was, "now": now["value"]} for was, now, ok in judged if not ok]
    found: Row = {"rule": "equal" if same_machine else f"in the interval: headline and {INSIDE:.0%} of all rows"}
    found |= {"rows": len(old), "agree": sum(ok for *_, ok in judged)}
    if same_machine:
        held = not differ
        if differ:
            found["ok_elsewhere"] = metrics(old, new, same_machine=False)["ok"]
    else:
        with_interval = [ok for was, _, ok in judged if was["low"] is not None]
        without = [ok for was, _, ok in judged if was["low"] is None]
        found["inside"] = {"rows": len(with_interval), "agree": sum(with_interval)}
        found["no_interval"] = {"rows": len(without), "agree": sum(without), "tolerance": TOLERANCE}
        counted = with_interval or without
        needed = INSIDE if with_interval else 1.0
        held = sum(counted) >= needed * len(counted) and all(row["ok"] for row in headline)
    return found | {
        "missing": missing,
        "extra": extra,
        "differ": differ,
        "headline": headline,
        "ok": held and not missing and not extra,
    }


def match(old: Iterable[Row], new: Iterable[Row]) -> tuple[list[tuple[Row, Row]], list[Row], list[Row]]:
    """(pairs of rows with the same `KEYS`, rows of `old` alone, of `new` alone), in order; a repeated one by turns."""
    waiting: dict[tuple, list[Row]] = defaultdict(list)
    for row in new:
        waiting[_key(row)].append(row)
    pairs, missing = [], []
    for row in old:
        if there := waiting[_key(row)]:
            pairs.append((row, there.pop(0)))
        else:
            missing.append(row)
    return pairs, missing, [row for rows in waiting.values() for row in rows]


def _key(row: Row) -> tuple:
    return tuple(row[key] for key in KEYS)


def agrees(old: Row, new: Row, *, same_machine: bool) -> bool:
    """Whether a row came out again, by the rule in the module's docstring; null (not a number) is equal to null."""
    if same_machine:
        return all(old[key] == new[key] for key in ("value", "low", "high"))
    was, now = old["value"], new["value"]
    if was is None or now is None:
        return was is now
    if old["low"] is None:
        return abs(now - was) <= TOLERANCE * abs(was)
    return min(old["low"], was) <= now <= max(old["high"], was)


def headline_rows(rows: Iterable[Row]) -> list[Row]:
    """Every model's row of the metric and protocol that a run leads with: its first macro value on test data."""
    wanted = [row for row in rows if row["split"] == "test" and row["class"] == "macro" and " - " not in row["model"]]
    first = next((row for row in wanted if row["value"] is not None), None)
    alike = ("protocol", "metric", "data", "seed")
    return [] if first is None else [row for row in wanted if all(row[key] == first[key] for key in alike)]


def pictures(folder: Path, source: str) -> list[tuple[bytes, str]]:
    """(file's bytes, alt text) of the PNG and JPEG figures in ``folder/source``, executed.ipynb or report.html."""
    text = (folder / source).read_text(encoding="utf-8")
    if source.endswith(".html"):
        page = _Page()
        page.feed(text)
        found = page.found
    else:
        import nbformat

        cells = nbformat.reads(text, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", ()) if "data" in output]
        found = [
            (output["data"][kind], output.get("metadata", {}).get(kind, {}).get("alt", ""))
            for output in outputs
            for kind in ("image/png", "image/jpeg")
            if kind in output["data"]
        ]
    return [(_decoded(encoded), alt) for encoded, alt in found]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        address = about.get("src") or ""
        if tag == "img" and address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
            self.found.append((address.partition(",")[2], about.get("alt") or ""))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""  # no picture: `difference` says so


def figures(old: Sequence[tuple[bytes, str]], new: Sequence[tuple[bytes, str]], *, same_machine: bool) -> Row:
    """The figures of two runs compared in order, as `pictures` gives them.

    Returns:
        {"rule", "count": [old, new], "differ": figures that do not agree: "number" from 1, "alt", "why"; "largest": the
        largest share of pixels that differ among the others; "ok": the verdict}.
    """
    limit = SHARE[same_machine]
    differ, largest = [], 0.0
    for number, ((was, alt), (now, _)) in enumerate(zip(old, new, strict=False), start=1):
        share = difference(was, now)
        if isinstance(share, float) and share <= limit:
            largest = max(largest, share)
            continue
        why = share if isinstance(share, str) else f"{share:.2%} of its pixels differ"
        differ.append({"number": number, "alt": alt, "why": why})
    return {
        "rule": f"at most {limit:.1%} of a figure's pixels differ by more than {LEVELS} of 255 levels",
        "count": [len(old), len(new)],
        "differ": differ,
        "largest": largest,
        "ok": not differ and len(old) == len(new),
    }


def difference(old: bytes, new: bytes) -> float | str:
    """Share of pixels of two image files that differ in a channel by more than `LEVELS`; or why there is none."""
    import numpy as np
    from PIL import Image

    if old == new:
        return 0.0
    pixels = []
    for file in (old, new):
        try:
            pixels.append(np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"), dtype=np.int16))  # (H, W, 4)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return "it cannot be read as a picture"
    was, now = pixels
    if was.shape != now.shape:
        return f"it was {was.shape[1]} x {was.shape[0]} pixels and is {now.shape[1]} x {now.shape[0]}"
    return float((np.abs(was - now).max(axis=-1) > LEVELS).mean())
