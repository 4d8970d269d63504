"""1,000 bootstrap draws of macro AUC: ours beside a loop over scikit-learn and one over torchmetrics, same draws.

    python -m benchmarks.bootstrap [--classes 5 71] [--records 2158] [--draws 1000] [--loop 10] [--rounds 3]

Ours and scikit-learn weight the records by how often their patient was drawn; torchmetrics knows no weights, so its
loop copies the records that often, as its own BootStrapper does. The loops are timed on `--loop` of the draws and
scaled to all of them: a draw costs the same whichever it is. Every AUC of scikit-learn's must equal ours to 1e-12, and
of torchmetrics', which adds up in float32, to 1e-5. Ours includes drawing the patients; the loops are given the draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.case import Case, arguments, finish, in_turns, peer
from ecglib.bootstrap import Bootstrap

SKLEARN, TORCHMETRICS = "scikit-learn loop", "torchmetrics loop"
EXACT, SINGLE = 1e-12, 1e-5  # largest difference of an AUC: from scikit-learn's, from torchmetrics'


def made(records: int, classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and probabilities as a fair classifier gives them, and 15 % of the records from patients seen before."""
    y = rng.random((records, classes)) < np.linspace(0.12, 0.45, classes)
    p = 1 / (1 + np.exp(-(2.0 * y - 2 + rng.normal(0, 1.5, y.shape))))
    return y, p, rng.integers(0, int(records * 0.85), records)


def torchmetrics_loop(y: np.ndarray, p: np.ndarray, weights: np.ndarray):
    """A function that gives the AUCs (D, C) of weights (D, N); None where torchmetrics is not installed."""
    if peer("torchmetrics") is None:
        return None
    import torch
    from torchmetrics.functional.classification import multilabel_auroc

    scores, truth, drawn = torch.from_numpy(p), torch.from_numpy(y).long(), torch.from_numpy(weights.astype(np.int64))

    def loop() -> np.ndarray:
        found = []
        for w in drawn:
            rows = torch.repeat_interleave(w)  # (sum of w,)
            found.append(
                multilabel_auroc(scores[rows], truth[rows], y.shape[1], average=None, validate_args=False).numpy()
            )
        return np.array(found)

    return loop


def measure(records: int, classes: int, draws: int, loop: int, rounds: int) -> Case:
    """One size: seconds for all draws, and every AUC compared."""
    y, p, patients = made(records, classes, np.random.default_rng(0))
    weights = Bootstrap(y, patients, draws=draws).weights[:loop]

    def ours() -> np.ndarray:
        return Bootstrap(y, patients, draws=draws).auc(p)  # (D, C)

    def sklearn() -> np.ndarray:
        return np.array([roc_auc_score(y, p, average=None, sample_weight=w) for w in weights])  # (loop, C)

    ways = {"ours": ours, SKLEARN: sklearn, TORCHMETRICS: torchmetrics_loop(y, p, weights)}
    found = ours()[: len(weights)]
    apart = {name: float(np.abs(found - ways[name]()).max()) for name in (SKLEARN, TORCHMETRICS) if ways[name]}
    for name, most in ((SKLEARN, EXACT), (TORCHMETRICS, SINGLE)):
        if apart.get(name, 0.0) > most:
            raise SystemExit(f"Ours and the {name} are {apart[name]:.1e} apart in a draw, more than {most:g}.")
    seconds = in_turns(ways, rounds)
    beside = {k: s and s * draws / len(weights) for k, s in seconds.items() if k != "ours"}
    said = ", ".join(f"{value:.0e} from the {name}" for name, value in apart.items())
    case = Case(
        f"{records:,} records, {classes} classes, {draws:,} draws", "s", "lower", seconds["ours"], beside,
        note=f"Largest difference of an AUC in a draw: {said}. Loops timed on {len(weights)} draws and scaled.",
    )  # fmt: skip
    return case.judged("30 x the faster loop, equal to 1e-12 per draw", case.times(), at_least=30)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[5, 71])
    parser.add_argument("--records", type=int, default=2158)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=10, help="draws that the loops are timed on (10)")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(argv)
    if asked.quick:
        asked.classes, asked.records, asked.draws, asked.loop, asked.rounds = [5], 500, 100, 2, 1
    cases = [measure(asked.records, c, asked.draws, asked.loop, asked.rounds) for c in asked.classes]
    finish(cases, asked)


if __name__ == "__main__":
    main()
