"""docs/growth.md from benchmarks/results/growth.json: lines fitted to what was measured, and arithmetic with them.

Called by `growth`; measures nothing. Every figure on the page that comes from a measurement, or from arithmetic with
one, stands between marks and is put there by `render`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import growth_picture
from benchmarks.growth_fit import AXES, NETWORKS, QUANTITIES, STAGES, fit, fitted, line_points, short, stage_points

MILLION, LARGEST = 1e6, 11e6
"""Records; the largest is that of the largest public pre-training."""
PEAK, SHARE = 989e12, 0.4
"""Dense bf16 operations a second of an H100 (its data sheet), and the share of it that a training is taken to reach."""
EPOCHS = 100


# ------------------------------------------------------------------------------------------------------------- words
def amount(value: float, unit: str) -> str:
    """With a unit that reads well: s, min or h; MB, GB or TB."""
    if unit == "s":
        for name, size in (("h", 3600), ("min", 60)):
            if abs(value) >= 2 * size:
                return f"{value / size:,.3g} {name}" if value < 1000 * size else f"{value / size:,.0f} {name}"
        return f"{value:.3g} s"
    if abs(value) < 0.05:
        return "0 MB"
    for name, size in (("TB", 1e6), ("GB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:,.3g} {name}"
    return f"{value:.3g} MB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 1) -> str:
    """Markdown; columns from `right` on are aligned to the right."""
    marks = ["---" if k < right else "---:" for k in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


# ------------------------------------------------------------------------------------------------- parts of the page
def measured(found: dict) -> str:
    rows = found["stages"]
    sizes = sorted({row["records"] for row in rows})
    body = []
    for stage, key, said, unit in QUANTITIES:
        at = dict(zip(*stage_points(found, stage, key)))
        cells = [amount(at[size], unit) if size in at else "not measured" for size in sizes]
        body.append([STAGES[stage], said, *cells])
    return table(["", "", *(f"{short(size)} records" for size in sizes)], body, right=2)


def resting(found: dict) -> str:
    """What a process takes before it does anything, and so the start of each line of memory."""
    light = [row["resting_mb"] for row in found["stages"] if row["stage"] == "build"]
    heavy = [row["resting_mb"] for row in found["stages"] if row["stage"] in ("fetch", "pretrain", "probe")]
    said = [amount(max(each), "MB") if each else "not measured" for each in (light, heavy)]
    return f"Of the memory, Python with its libraries is {said[0]} where torch is not needed and {said[1]} where it is."


def workers(found: dict) -> str:
    """What more processes change in building, at the largest size that was built with several numbers of them."""
    rows = [row for row in found["stages"] if row["stage"] == "build"]
    tried = {size: [row for row in rows if row["records"] == size] for size in {row["records"] for row in rows}}
    several = [size for size, own in tried.items() if len(own) > 1]
    if not several:
        return "Measured with one worker only."
    said = [
        f"{row['workers']} worker{'s' * (row['workers'] != 1)} {amount(row['wall_s'], 's')} by the clock and "
        f"{amount(row['memory_mb'], 'MB')}"
        for row in tried[max(several)]
    ]
    return f"{short(max(several))} records with {'; '.join(said)}."


def machine(found: dict) -> str:
    """Where and when, and what else the machine was doing."""
    where = [row["measured"] for row in [*found["stages"], *found["lines"]]]
    loads = [load for row in where for load in row["load"]]
    seen = dict.fromkeys((row["processor"], row["cores"]) for row in where)
    days = sorted({row["day"] for row in where})
    said = "; ".join(f"{name}, {cores} cores" for name, cores in seen)
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{said}; {when}; load average meanwhile {min(loads):.1f} to {max(loads):.1f}."


def straight(found: dict) -> str:
    body = []
    for (stage, key), line in fitted(found).items():
        said, unit = next((said, unit) for s, k, said, unit in QUANTITIES if (s, k) == (stage, key))
        each = amount(line.slope * MILLION, unit)
        body.append(
            [STAGES[stage], said, amount(line.start, unit), each, f"{line.r2:.4f}", f"{100 * line.worst:.0f} %"]
        )
    return table(["", "", "to start with", "per million records", "R²", "furthest off"], body, right=2)


def eleven(found: dict) -> str:
    body = []
    for (stage, key), line in fitted(found).items():
        said, unit = next((said, unit) for s, k, said, unit in QUANTITIES if (s, k) == (stage, key))
        sum_ = f"{amount(line.start, unit)} + {LARGEST / MILLION:g} x {amount(line.slope * MILLION, unit)}"
        body.append([STAGES[stage], said, sum_, amount(line(LARGEST), unit)])
    return table(["", "", "arithmetic", f"at {short(LARGEST)} records"], body, right=3)


def sizes(found: dict) -> str:
    """What 11 M records of the usual kinds take on disk, and how many fit a disk and a page cache."""
    body = []
    for seconds, rate in ((5, 100), (10, 100), (10, 250), (10, 500)):
        each = 12 * seconds * rate * 2  # bytes
        body.append([
            f"12 leads, {seconds} s, {rate} Hz", f"{each / 1e3:g} kB", amount(each * LARGEST / 1e6, "MB"),
            short(1e12 / each), short(64e9 / each),
        ])  # fmt: skip
    head = ["a record", "int16", f"{short(LARGEST)} of them", "fit a disk of 1 TB", "fit 64 GB of page cache"]
    return table(head, body)


def beyond(found: dict) -> str:
    """What is read for what is needed, while nothing is in memory yet."""
    rows = [row for row in found["stages"] if row["stage"] == "fetch"]
    if not rows:
        return "Not yet measured."
    row = max(rows, key=lambda row: row["records"])
    ratio = row["early_read_mb"] / row["early_needed_mb"]
    again = row["read_mb"] / row["needed_mb"]
    return (
        f"Measured at {short(row['records'])} records: the first hundredth of an epoch, of which nothing was in "
        f"memory, needed {amount(row['early_needed_mb'], 'MB')} and read {amount(row['early_read_mb'], 'MB')}, "
        f"{ratio:.2f} times as much, because a record begins and ends within a page of 4 kB; the whole epoch, which "
        f"the page cache held, {again:.2f} times. So a pass over {short(LARGEST)} records of 24 kB that no memory "
        f"holds reads {amount(ratio * LARGEST * 24e-3, 'MB')} at most.{_plain(found)}"
    )


def _plain(found: dict) -> str:
    rows = [row for row in found["stages"] if row["stage"] == "plain"]
    if not rows:
        return ""
    row = max(rows, key=lambda row: row["records"])
    ahead = "" if row["read_ahead_kb"] is None else f", here {row['read_ahead_kb'] / 1024:.3g} MB"
    return (
        f" A plain mapping of the file reads {amount(row['read_mb'], 'MB')} at {short(row['records'])} records for a "
        f"first batch of {amount(row['needed_mb'], 'MB')}, {row['read_mb'] / row['needed_mb']:.0f} times as much; how "
        f"far a system reads ahead is its setting{ahead}."
    )


def gpu(found: dict) -> str:
    body = []
    for name, facts in found["paper"].items():
        epoch, each = facts["operations"] * LARGEST / (SHARE * PEAK), f"{facts['operations'] / 1e9:.3g} G"
        fed = 24e3 * SHARE * PEAK / facts["operations"] / 1e6
        body.append([
            f"`{name}`", f"{facts['parameters'] / 1e6:.3g} M", each,
            f"{each} x {short(LARGEST)} / {SHARE * PEAK / 1e12:.0f} T = {amount(epoch, 's')}",
            amount(EPOCHS * epoch, "s"), f"{amount(fed, 'MB')}/s",
        ])  # fmt: skip
    head = ["encoder", "parameters", "operations a record", "an epoch", f"{EPOCHS} epochs", "int16 that it eats"]
    return table(head, body)


def vectors(found: dict) -> str:
    """What a probe holds: the vectors, and as many times as much as was measured while it is fitted."""
    held, kept = (fit(*stage_points(found, "probe", key)) for key in ("memory_mb", "vectors_mb"))
    times = None if held is None or kept is None else held.slope / kept.slope
    body = []
    for name, facts in found["paper"].items():
        each = 4 * facts["vector"] * LARGEST / 1e6
        most = "not measured" if times is None else f"{times:.1f} x that = {amount(times * each, 'MB')}"
        body.append([
            f"`{name}`", f"4 B x {facts['vector']} x {short(LARGEST)} = {amount(each, 'MB')}", most
        ])  # fmt: skip
    return table(["encoder", f"vectors of {short(LARGEST)} records", "while fitting"], body)


def network(found: dict) -> str:
    body = []
    for name, facts in found["paper"].items():
        for ranks in (2, 4, 8, 16):
            ring = 2 * facts["parameters"] * 4 * (ranks - 1) / ranks
            gather = 2 * 512 * 128 * 4 * (ranks - 1) / ranks
            compute = facts["operations"] * 512 / ranks / (SHARE * PEAK)
            body.append([
                f"`{name}`", str(ranks),
                f"2 x {facts['parameters'] / 1e6:.3g} M x 4 B x {ranks - 1}/{ranks} = {amount(ring / 1e6, 'MB')}",
                amount(gather / 1e6, "MB"), f"{1e3 * ring / 1.25e9:.3g} ms", f"{1e3 * ring / 50e9:.3g} ms",
                f"{1e3 * compute:.3g} ms",
            ])  # fmt: skip
    head = ["encoder", "ranks", "gradients a step and rank", "vectors", "at 10 Gbit/s", "at 400 Gbit/s", "computing"]
    return table(head, body, right=2)


def epoch_reads(found: dict) -> str:
    body = []
    for nodes in (1, 2, 4, 8):
        each = LARGEST * 24e-3 / nodes
        body.append([
            str(nodes), f"{short(LARGEST)} x 24 kB / {nodes} = {amount(each, 'MB')}", f"{each / 3600:,.3g} MB/s",
        ])  # fmt: skip
    return table(["nodes", "each reads an epoch", "for an epoch an hour"], body)


def grows(found: dict) -> str:
    body = []
    for name, axis in dict.fromkeys((row["network"], row["grows"]) for row in found["lines"]):
        x = line_points(found, name, axis, "cpu_s")[0]
        cells = []
        for key in ("cpu_s", "memory_mb"):
            line = fit(*line_points(found, name, axis, key))
            cells += ["not measured", ""] if line is None else [f"{line.r2:.4f}", f"{100 * line.worst:.0f} %"]
        body.append([NETWORKS[name], f"{AXES[axis]} {min(x)} to {max(x)}{' s' if axis == 'seconds' else ''}", *cells])
    head = ["", "", "time: R²", "furthest off", "memory: R²", "furthest off"]
    return table(head, body, right=2)


PARTS = {
    "machine": machine, "measured": measured, "resting": resting, "workers": workers, "straight": straight,
    "eleven": eleven, "sizes": sizes, "beyond": beyond, "vectors": vectors, "gpu": gpu, "network": network,
    "epoch-reads": epoch_reads, "grows": grows,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the page
def filled(page: str, found: dict) -> str:
    """The page with each part between its marks; ValueError where a mark is missing or one is unknown."""
    marks = re.findall(r"<!-- growth: ([\w-]+) -->", page)
    if sorted(marks) != sorted(PARTS):
        raise ValueError(f"the page has marks for {sorted(marks)}, and there are {sorted(PARTS)}.")
    for name, part in PARTS.items():
        whole = re.compile(rf"(<!-- growth: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if (place := whole.search(page)) is None:
            raise ValueError(f"the part {name} of the page has no end.")
        page = f"{page[: place.start()]}{place[1]}{part(found)}\n{place[2]}{page[place.end() :]}"
    return page


def render(found: dict, page: Path) -> None:
    """Fill the page and draw its figure beside it."""
    page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    page.with_suffix(".png").write_bytes(growth_picture.picture(found))
