"""Intervals over patients: ours beside a loop over scikit-learn, in one run on the same draws.

    python benchmarks/bootstrap.py [--records 2158] [--classes 5] [--draws 1000] [--loop 50]

Both weight the records by how often their patient was drawn. The loop is timed on `--loop` of the draws and scaled to
all of them; its values must equal ours to 1e-12.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ecglib.bootstrap import Bootstrap

PEERS = {"auc": roc_auc_score, "average_precision": average_precision_score}


def made(records: int, classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and probabilities as a fair classifier gives them, and 15 % of the records from patients seen before."""
    y = rng.random((records, classes)) < np.linspace(0.12, 0.45, classes)
    p = 1 / (1 + np.exp(-(2.0 * y - 2 + rng.normal(0, 1.5, y.shape))))
    return y, p, rng.integers(0, int(records * 0.85), records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("records", 2158), ("classes", 5), ("draws", 1000), ("loop", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    y, p, patients = made(asked.records, asked.classes, np.random.default_rng(0))
    print(f"{asked.draws} draws, {asked.records} records, {asked.classes} classes")
    for name, peer in PEERS.items():
        start = time.perf_counter()
        boot = Bootstrap(y, patients, draws=asked.draws)
        ours = boot.measure(name, p)
        seconds = time.perf_counter() - start
        weights = boot.weights[: asked.loop]
        start = time.perf_counter()
        theirs = np.array([peer(y, p, average=None, sample_weight=w) for w in weights])  # (loop, C)
        loop = (time.perf_counter() - start) / len(weights) * asked.draws
        assert np.abs(ours[: len(theirs)] - theirs).max() < 1e-12
        print(f"{name:18} ours {seconds:6.3f} s   scikit-learn {loop:7.1f} s   {loop / seconds:5.0f} times faster")


if __name__ == "__main__":
    main()
