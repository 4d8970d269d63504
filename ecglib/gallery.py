"""The few reports that are committed, so that a reader sees results before running anything.

    python -m ecglib.gallery reports/lead_kd/ptb_xl     copy a complete run into reports/gallery/, renew the pages

A run gets in only if it is complete, came from committed code and is small; its metrics are compressed, and predictions
that would make it too large stay behind, which is said. The numbers in the README and the pages of docs/ are written
here from the run's metrics, between marks; a test tells when they lag. A mark is

    <!-- gallery NAME -->                           all models, in the run's first protocol
    <!-- gallery NAME: END -->                      in the protocol whose name ends in END
    <!-- gallery NAME | model, model, ... -->       those models and the differences between them; also after END
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ecglib import atomic, refresh, results, tables
from ecglib.errors import InputError, nearest

KEPT = ("report.html", "run.json", "metrics.json", "data.json", "history.csv", "predictions.parquet")
NEEDED = ("report.html", "run.json", "metrics.json", "data.json")
MAX_BYTES = 3_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURE = "report.png"


def add(run: Path, gallery: Path) -> Path:
    """Copy the run in the folder `run` to ``gallery/NOTEBOOK-PRESET``; returns that folder.

    Raises:
        InputError: the run is not complete, was made from changed code, or its files are too large to commit.
    """
    record = results.read(run)
    if record.status != "complete":
        raise InputError(f"{run} is {record.status}; only a complete run goes into the gallery.")
    git = record.record.get("git")
    if not git or git["dirty"]:
        raise InputError(f"{run} was made from code that is not committed; commit it, run again, then add it.")
    refresh.renew(record, [])  # the committed page tells of its run, not of what changed since; the index does that
    packed = gzip.compress((run / "metrics.json").read_bytes(), mtime=0)  # no time in it: the same bytes each time
    kept = [name for name in KEPT if name != "metrics.json" and (name in NEEDED or (run / name).is_file())]
    size = len(packed) + sum((run / name).stat().st_size for name in kept)
    if size > MAX_BYTES and "predictions.parquet" in kept:
        kept.remove("predictions.parquet")
        size -= (run / "predictions.parquet").stat().st_size
        print(f"{run}: predictions.parquet stays behind, or the report would take more than {MAX_BYTES / 1e6:.0f} MB.")
    if size > MAX_BYTES:
        raise InputError(
            f"{run} takes {size / 1e6:.1f} MB; the gallery takes at most {MAX_BYTES / 1e6:.0f} MB a report."
        )
    place = gallery / f"{record.notebook}-{record.preset or 'default'}"
    with atomic.writing(place) as temporary:
        temporary.mkdir()
        for name in kept:
            shutil.copyfile(run / name, temporary / name)
        (temporary / "metrics.json.gz").write_bytes(packed)
        photograph(temporary / "report.html", temporary / PICTURE)
    return place


def photograph(report: Path, picture: Path, *, width: int = 1100, height: int = 1500) -> None:
    """The top of `report` as a PNG, where a browser is at hand; else say that there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"No picture of the report: none of {', '.join(BROWSERS)} is installed.", file=sys.stderr)
        return
    from PIL import Image

    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture}"]
        subprocess.run([browser, *options, report.resolve().as_uri()], check=True, capture_output=True, timeout=120)
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


def block(place: Path, end: str | None = None, only: Sequence[str] = ()) -> str:
    """What a page says of a report in the gallery: the numbers of one protocol, from its own metrics.

    end: of the protocol's name; None for the run's first. only: these models and their differences; () for all.

    Raises:
        InputError: no protocol ends so; a model that is not there.
    """
    record = results.read(place)
    protocols = list(dict.fromkeys(row["protocol"] for row in record.rows))
    main = next((name for name in protocols if end is None or name.endswith(end)), None)
    if main is None:
        raise InputError(f"No protocol of {place.name} ends in {end!r}; it has {'; '.join(protocols)}.")
    rows = [row for row in record.rows if row["protocol"] == main]
    models = [name for name in dict.fromkeys(row["model"] for row in rows) if " - " not in name]
    pairs = [name for name in dict.fromkeys(row["model"] for row in rows) if " - " in name]
    if only:
        if unknown := [name for name in only if name not in models]:
            raise InputError(f"No model of {place.name} is called {unknown[0]!r}.{nearest(unknown[0], models)}")
        models = [name for name in models if name in only]
        pairs = [pair for pair in pairs if set(pair.split(" - ")) <= set(only)]
    data = next((each for each in record.data if each["counts"]), record.data[0])  # the one with parts was judged on
    counts = ", ".join(f"{count:,} {part}" for part, count in data["counts"].items())
    seeds = len({row["seed"] for row in rows if row["seed"] is not None})
    named = "" if end is None else f" {end[0].upper()}{end[1:]}."
    lines = [f"{data['name']}, {data['records']:,} records ({counts}), {seeds} seed{'s' * (seeds > 1)}.{named}", ""]
    metrics = [name for name in ("auc", "f1") if any(row["metric"] == name for row in rows)]
    table = tables.model_table(rows, metrics, models=models)
    lines += [f"| model | {' | '.join(table.columns)} |", "|---|" + "---|" * len(table.columns)]
    lines += [f"| {name} | {' | '.join(row)} |" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    lines += ["", *(f"- {tables.verdict(rows, *pair.split(' - '))}" for pair in pairs), ""]
    return "\n".join(lines)


def renew(page: str, gallery: Path) -> str:
    """The text of a page with each block between ``<!-- gallery NAME -->`` and ``<!-- end -->`` made anew."""

    def made(match: re.Match) -> str:
        only = [name.strip() for name in (match[4] or "").split(",") if name.strip()]
        return f"{match[1]}\n{block(gallery / match[2], match[3], only)}{match[5]}"

    mark = r"(<!-- gallery (\S+?)(?:: ([^\n|]+?))?(?: \| ([^\n]+?))? -->)\n.*?(<!-- end -->)"
    return re.sub(mark, made, page, flags=re.DOTALL)


def pages(root: Path) -> list[Path]:
    """The pages that may hold a mark: the README and those of docs/."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ecglib.gallery", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of complete runs; none to renew the pages alone")
    options = parser.parse_args(arguments)
    try:
        root = results.root()
        for run in options.runs:
            print(add(run, root / "reports" / "gallery").relative_to(root))
        made = {page: renew(page.read_text(encoding="utf-8"), root / "reports" / "gallery") for page in pages(root)}
        for page, text in made.items():
            with atomic.writing(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
