"""Synthetic records per second: ours beside neurokit2's twelve-lead simulator, 10 s at 100 and 500 Hz, on one core.

    python benchmarks/synthetic_records.py [--records 2048] [--theirs 4] [--rounds 3] [--json FILE]

neurokit2 is called as its documentation shows for twelve leads, with `method="multileads"`: a healthy heart per record.
Ours draws a patient with findings of PTB-XL's kinds for every record, and gives its labels too. There is nothing to be
equal in: both are checked to give twelve leads of the asked length with a beat in them.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from benchmarks.case import Case, arguments, finish, in_turns, peer, per_second
from ecglib.datasets import synthetic

SECONDS = 10


def check(signals: np.ndarray, rate: int, who: str) -> None:
    """Stop unless (n, 12, T) mV of finite values has more than a tenth of a millivolt from peak to peak everywhere."""
    swing = np.ptp(signals, axis=2)
    if signals.shape[1:] != (12, SECONDS * rate) or not np.isfinite(signals).all() or not (swing > 0.1).all():
        raise SystemExit(f"{who} gave no twelve-lead ECG of {SECONDS} s at {rate} Hz.")


def measure(rate: int, records: int, theirs: int, rounds: int) -> Case:
    neurokit2 = peer("neurokit2")
    number = count()

    def ours() -> np.ndarray:
        start = next(number) * records
        counts, _ = synthetic.simulate(range(start, start + records), rate=rate, seconds=SECONDS)
        return counts

    def neurokit(k: int) -> np.ndarray:
        frame = neurokit2.ecg_simulate(
            duration=SECONDS, sampling_rate=rate, method="multileads", random_state=k, random_state_distort=k
        )
        return frame.to_numpy().T  # (T, L) -> (L, T)

    def beside() -> None:
        for _ in range(theirs):
            neurokit(next(number))

    check(ours()[:64] * synthetic.SCALE, rate, "ours")
    if neurokit2:
        check(neurokit(0)[None], rate, "neurokit2")
    seconds = in_turns({"ours": ours, "neurokit2": neurokit2 and beside}, rounds, warm_up=0)
    found = {"neurokit2": per_second(theirs, seconds["neurokit2"])}
    note = f"{records:,} of ours, with labels, and {theirs} of theirs at a time"
    case = Case(f"{rate} Hz", "records/s", "higher", per_second(records, seconds["ours"]), found, note=note)
    return case.judged("1,000 x neurokit2", case.times("neurokit2"), at_least=1000)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=2048)
    parser.add_argument("--theirs", type=int, default=4, help="records of neurokit2 in a round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.quick:
        asked.records, asked.theirs, asked.rounds = 64, 1, 1
    finish([measure(rate, asked.records, asked.theirs, asked.rounds) for rate in (100, 500)], asked)


if __name__ == "__main__":
    main()
