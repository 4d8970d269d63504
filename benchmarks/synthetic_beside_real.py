"""Draw synthetic records beside real PTB-XL ones, a row for each statement, on ECG paper: to judge by eye.

python benchmarks/synthetic_beside_real.py --real ../shared/data/ptb-xl-raw --out page.png [--codes NORM IMI] [--seed 0]

Left two columns synthetic, right two real; 25 mm/s, 10 mm/mV, I-III, aVR-aVF, V1-V3, V4-V6 for 2.5 s each and all of
lead II below. Real records are the first ones whose diagnostic statements are few, so that the row's statement is to be
seen; synthetic ones are the first with the statement and whatever comes with it.
"""

from __future__ import annotations

import argparse
import ast
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from ecglib.datasets import synthetic
from ecglib.leads import LEADS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CODES = ("NORM", "IMI", "ASMI", "LMI", "NDT", "ISC_", "ISCAL", "LAFB", "IRBBB", "CRBBB", "CLBBB", "1AVB", "IVCD")
CODES += ("LVH", "LAO/LAE", "RVH", "AFIB", "STACH", "SBRAD", "SARRH", "PVC", "PAC")
RATE, PER_SIDE = 100, 2
Shown = tuple[np.ndarray, str]  # (12, 1000) mV and a title


def real(folder: Path, code: str) -> list[Shown]:
    with open(folder / "ptbxl_database.csv", newline="") as file:
        rows = [(row, list(ast.literal_eval(row["scp_codes"]))) for row in csv.DictReader(file)]
    rows = sorted((r for r in rows if code in r[1]), key=lambda r: len(r[1]))[:PER_SIDE]
    return [(_read(folder / r["filename_lr"]), f"PTB-XL {r['ecg_id']}: {' '.join(codes)}") for r, codes in rows]


def _read(record: Path) -> np.ndarray:
    return np.fromfile(record.with_suffix(".dat"), "<i2").reshape(-1, 12).T / 1000.0  # (12, T) mV


def made(code: str, seed: int, skip: int) -> list[Shown]:
    shown = []
    for start in range(0, 4096, 512):
        signals, table = synthetic.simulate(range(start, start + 512), rate=RATE, seconds=10, seed=seed)
        for row in np.flatnonzero([code in s for s in table["statements"]]):
            r = table.iloc[row]
            size = dict(zip(r["findings"], r["severities"])).get(code)
            title = f"{r['record']}: {' '.join(r['statements'])}" + (f"   ({code} {size})" if size else "")
            shown.append((signals[row] * synthetic.SCALE, title))
            if len(shown) == PER_SIDE + skip:
                return shown[skip:]
    return shown[-PER_SIDE:]


def draw(axis: plt.Axes, signal: np.ndarray, title: str) -> None:
    """One page of paper: three rows of four leads and a rhythm strip."""
    t = np.arange(250) / RATE
    axis.set_xticks(np.arange(0, 10.01, 0.2), minor=True)
    axis.set_xticks(np.arange(0, 10.01, 1.0))
    axis.set_yticks(np.arange(-9, 2.01, 0.5), minor=True)
    axis.set_yticks([])
    axis.grid(which="minor", color="#f3c9c9", linewidth=0.35)
    axis.tick_params(which="both", length=0, labelbottom=False)
    for row in range(3):
        for column in range(4):
            lead = 3 * column + row
            part = slice(250 * column, 250 * column + 250)
            base = -2.4 * row
            trace = signal[lead, part] - np.median(signal[lead])
            axis.plot(t + 2.5 * column, base + trace, color="black", linewidth=0.55)
            axis.text(2.5 * column + 0.05, base + 0.75, LEADS[lead], fontsize=6, color="#803030")
    strip = signal[1] - np.median(signal[1])
    axis.plot(np.arange(1000) / RATE, -7.2 + strip, color="black", linewidth=0.55)
    axis.set(xlim=(0, 10), ylim=(-8.6, 1.7))
    axis.set_title(title, fontsize=7, loc="left", pad=2)


def page(real_folder: Path, codes: Sequence[str], seed: int, skip: int) -> plt.Figure:
    figure, axes = plt.subplots(len(codes), 2 * PER_SIDE, figsize=(26, 4.0 * len(codes)), squeeze=False)
    for line, code in zip(axes, codes):
        for axis, shown in zip(line, _filled(made(code, seed, skip), real(real_folder, code))):
            if shown is None:
                axis.axis("off")
            else:
                draw(axis, *shown)
    figure.tight_layout()
    return figure


def _filled(*sides: list[Shown]) -> Iterator[Shown | None]:
    for side in sides:
        yield from (*side, *[None] * (PER_SIDE - len(side)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder of PTB-XL in its published layout")
    parser.add_argument("--out", type=Path, default=Path("synthetic_beside_real.png"))
    parser.add_argument("--codes", nargs="+", default=CODES, choices=CODES, metavar="CODE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0, help="pass over so many synthetic records of each row")
    parser.add_argument("--dpi", type=int, default=90)
    given = parser.parse_args()
    page(given.real, given.codes, given.seed, given.skip).savefig(given.out, dpi=given.dpi)
    print(given.out)


if __name__ == "__main__":
    main()
