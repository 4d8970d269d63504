"""The few reports that are committed, so that a reader sees results before running anything.

    python -m ecglib.gallery reports/lead_kd/ptb_xl     copy a complete run into reports/gallery/, renew the README

A run gets in only if it is complete, came from committed code and is small. The README's numbers are written here from
the run's metrics.json, between its marks; a test tells when they lag.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ecglib import atomic, results, tables
from ecglib.errors import InputError

KEPT = ("report.html", "run.json", "metrics.json", "data.json", "history.csv", "predictions.parquet")
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
    size = sum((run / name).stat().st_size for name in KEPT)
    if size > MAX_BYTES:
        raise InputError(
            f"{run} takes {size / 1e6:.1f} MB; the gallery takes at most {MAX_BYTES / 1e6:.0f} MB a report."
        )
    place = gallery / f"{record.notebook}-{record.preset or 'default'}"
    with atomic.writing(place) as temporary:
        temporary.mkdir()
        for name in KEPT:
            shutil.copyfile(run / name, temporary / name)
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


def block(place: Path) -> str:
    """What the README says of a report in the gallery: its numbers, from its own metrics.json."""
    record = results.read(place)
    main = record.rows[0]["protocol"]  # the others are conditions such as damaged pages, which the report shows
    rows = [row for row in record.rows if row["protocol"] == main]
    models = [name for name in dict.fromkeys(row["model"] for row in rows) if " - " not in name]
    pairs = [name for name in dict.fromkeys(row["model"] for row in rows) if " - " in name]
    data = record.data[0]
    counts = ", ".join(f"{count:,} {part}" for part, count in data["counts"].items())
    seeds = len({row["seed"] for row in record.rows if row["seed"] is not None})
    lines = [f"{data['name']}, {data['records']:,} records ({counts}), {seeds} seed{'s' * (seeds > 1)}.", ""]
    table = tables.model_table(rows, ("auc", "f1"), models=models)
    lines += [f"| model | {' | '.join(table.columns)} |", "|---|" + "---|" * len(table.columns)]
    lines += [f"| {name} | {' | '.join(row)} |" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    lines += ["", *(f"- {tables.verdict(rows, *pair.split(' - '))}" for pair in pairs), ""]
    return "\n".join(lines)


def renew(readme: str, gallery: Path) -> str:
    """The README's text with each block between ``<!-- gallery NAME -->`` and ``<!-- end -->`` made anew."""

    def made(match: re.Match) -> str:
        return f"{match[1]}\n{block(gallery / match[2])}{match[3]}"

    return re.sub(r"(<!-- gallery (\S+) -->)\n.*?(<!-- end -->)", made, readme, flags=re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ecglib.gallery", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of complete runs; none to renew the README alone")
    options = parser.parse_args(arguments)
    try:
        root = results.root()
        for run in options.runs:
            print(add(run, root / "reports" / "gallery").relative_to(root))
        readme = root / "README.md"
        text = renew(readme.read_text(encoding="utf-8"), root / "reports" / "gallery")
        with atomic.writing(readme) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
