"""Straight lines through what `growth` measured, and how far the points lie off them. Called by `growth`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.case import Case

AT_MOST = 0.15
"""Of a measured value: what a point may lie off its line for the line to be called straight."""

# stage, key of the row, what it is called, its unit
QUANTITIES = (
    ("build", "cpu_s", "CPU time", "s"),
    ("build", "memory_mb", "memory", "MB"),
    ("build", "most_disk_mb", "disk, at most", "MB"),
    ("build", "disk_mb", "disk, to keep", "MB"),
    ("build", "written_mb", "written", "MB"),
    ("fetch", "cpu_s", "CPU time", "s"),
    ("fetch", "memory_mb", "memory", "MB"),
    ("fetch", "read_mb", "read", "MB"),
    ("pretrain", "epoch_cpu_s", "CPU time", "s"),
    ("pretrain", "memory_mb", "memory", "MB"),
    ("probe", "embed_cpu_s", "CPU time, vectors", "s"),
    ("probe", "fit_cpu_s", "CPU time, probe", "s"),
    ("probe", "memory_mb", "memory", "MB"),
    ("probe", "read_mb", "read", "MB"),
)
STAGES = {
    "build": "building a cohort", "fetch": "an epoch's batches", "pretrain": "an epoch of pre-training",
    "probe": "probing",
}  # fmt: skip
NETWORKS = {
    "xresnet1d18": "XResNet-1d-18, width 0.25", "conv_vit_nano": "CNN + ViT, nano", "ecg_vit_nano": "ECG-ViT, nano",
    "pages": "drawing pages",
}  # fmt: skip
AXES = {"leads": "leads", "seconds": "length", "batch": "batch"}


def short(n: float) -> str:
    """11e6 as 11 M, 10000 as 10 k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.3g}"


@dataclass(frozen=True)
class Line:
    """y = start + slope x. `worst` is the largest |line / measured - 1|, `r2` the share of the variance explained."""

    start: float
    slope: float
    r2: float
    worst: float

    def __call__(self, x: float) -> float:
        return self.start + self.slope * x


def fit(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """The line with the least relative errors (least squares of line / measured - 1); None for fewer than 3 points.

    Absolute errors would ask the largest point alone: it is a thousand times the smallest.
    """
    import numpy as np

    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 3 or (y <= 0).any():
        return None
    weighted = np.stack([1 / y, x / y], axis=1)  # (n,) -> (n, 2)
    scale = np.abs(weighted).max(axis=0)
    start, slope = np.linalg.lstsq(weighted / scale, np.ones(len(x)), rcond=None)[0] / scale
    found = start + slope * x
    spread = ((y - y.mean()) ** 2).sum()
    r2 = 1 - ((y - found) ** 2).sum() / spread if spread else 1.0
    return Line(float(start), float(slope), float(r2), float(np.abs(found / y - 1).max()))


def stage_points(found: dict, stage: str, key: str) -> tuple[list[int], list[float]]:
    """(records, values) of one quantity, for building with the fewest workers that were tried.

    An epoch's time is its steps times the median of those measured.
    """
    rows: dict[int, dict] = {}
    for row in sorted(found["stages"], key=lambda row: (row["records"], row["workers"] or float("inf"))):
        if row["stage"] == stage:
            rows.setdefault(row["records"], row)
    values = [
        row["step_cpu_s"] * row["records"] / row["batch"] if key == "epoch_cpu_s" else row[key] for row in rows.values()
    ]
    return list(rows), values


def line_points(found: dict, network: str, grows: str, key: str) -> tuple[list[float], list[float]]:
    rows = [row for row in found["lines"] if row["network"] == network and row["grows"] == grows]
    return [row["at"] for row in rows], [row[key] for row in rows]


def fitted(found: dict) -> dict[tuple[str, str], Line]:
    """A line for each quantity of each stage that was measured at three sizes or more."""
    lines = {(stage, key): fit(*stage_points(found, stage, key)) for stage, key, _, _ in QUANTITIES}
    return {which: line for which, line in lines.items() if line is not None}


def cases(found: dict) -> list[Case]:
    """How far measured points lie off a straight line, for the table of speed."""
    made = []

    def judge(name: str, line: Line | None, note: str = "") -> None:
        if line is not None:
            case = Case(name, "% off the line, at most", "lower", 100 * line.worst, note=f"R² {line.r2:.4f}. {note}")
            made.append(case.judged(f"a straight line, within {100 * AT_MOST:g} %", line.worst, at_most=AT_MOST))

    for (stage, key), line in fitted(found).items():
        name = next(said for s, k, said, _ in QUANTITIES if (s, k) == (stage, key))
        x = stage_points(found, stage, key)[0]
        judge(f"{STAGES[stage]}: {name}, {short(min(x))} to {short(max(x))} records", line)
    for network, grows in dict.fromkeys((row["network"], row["grows"]) for row in found["lines"]):
        x = line_points(found, network, grows, "cpu_s")[0]
        note = "Attention compares every token with every other." if "vit" in network and grows == "seconds" else ""
        unit = " s" if grows == "seconds" else ""
        for key, said in (("cpu_s", "CPU time"), ("memory_mb", "memory")):
            line = fit(*line_points(found, network, grows, key))
            judge(f"{NETWORKS[network]}: {said}, {AXES[grows]} {min(x)} to {max(x)}{unit}", line, note)
    return made
