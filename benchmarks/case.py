"""What the scripts of this folder share: a case of a row, taking turns, peers that may be missing, and the JSON.

A script measures ours and its peers in one process, in turns (A B A B), so that a busy machine disturbs all alike, and
quotes medians. Peers are imported lazily and may be missing: their figure is then None, and a sentence says so.

    parser = arguments(__doc__)                      # --json and --quick; the script adds its own
    asked = parser.parse_args(argv)
    wfdb = peer("wfdb")                              # the module, or None
    seconds = in_turns({"ours": ours, "wfdb loop": wfdb and theirs}, rounds=5)
    case = Case("100 Hz", "records/s", "higher", ours=n / seconds["ours"], beside={"wfdb loop": ...})
    finish([case.judged("25 x wfdb loop", case.times("wfdb loop"), 25)], asked)
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ecglib.atomic import writing

Figures = dict[str, float | None]
KEYS = ("case", "unit", "better", "ours", "beside", "limit", "target", "met", "note")


@dataclass(frozen=True)
class Case:
    """One line of a row. A figure that was not measured (no GPU, no peer) is None; nothing is estimated.

    `beside` holds what a user would pick instead, `limit` what no one can pass (the bytes alone, the chip's peak).
    `met` is None as long as one of the figures that the target speaks of was not measured.
    """

    case: str
    unit: str
    better: Literal["higher", "lower"]
    ours: float | None
    beside: Figures = dataclasses.field(default_factory=dict)
    limit: Figures | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f'better is "{self.better}": give "higher" or "lower".')

    def times(self, *names: str) -> float | None:
        """How many times better ours is than the best of `names` (of `beside`, then of `limit`; all of `beside` if none
        are named); below 1 where ours is worse; None where ours or any of them was not measured.
        """
        known = {**(self.limit or {}), **self.beside}
        figures = [known[name] for name in names or self.beside]
        if self.ours is None or not figures or any(figure is None for figure in figures):
            return None
        return self.ours / max(figures) if self.better == "higher" else min(figures) / self.ours

    def judged(self, target: str, value: float | None, at_least: float | None = None, at_most: float | None = None):
        """This case with its target in words, and `met` from a value: None where the value was not measured."""
        if value is None:
            met = None
        else:
            met = bool((at_least is None or value >= at_least) and (at_most is None or value <= at_most))
        return dataclasses.replace(self, target=target, met=met)


def peer(name: str) -> ModuleType | None:
    """The module of a peer, or None with a sentence on stderr where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise  # the peer is there and lacks a module of its own: a broken environment is not a missing peer
    print(
        f"{name} is not in this environment, so its figures stay empty; `make peers` makes one that has it.",
        file=sys.stderr,
    )
    return None


def in_turns(
    ways: Mapping[str, Callable[[], Any] | None],
    rounds: int = 5,
    warm_up: int = 1,
    wait: Callable[[], None] | None = None,
) -> Figures:
    """Seconds of each way, the median of `rounds` in which all take their turn (A B A B); None for a way that is None.

    Each runs `warm_up` times unmeasured first. `wait` is called before the clock is read: `torch.cuda.synchronize`
    where the work is queued on an accelerator.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            if way is None:
                continue
            if wait:
                wait()
            start = time.perf_counter()
            way()
            if wait:
                wait()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) if values else None for name, values in seconds.items()}


def per_second(count: float, seconds: float | None) -> float | None:
    """`count` things in `seconds`; None where nothing was measured."""
    return None if seconds is None else count / seconds


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with the script's docstring as help, and the two options that all scripts have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cases there")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds: to see that it works")
    return parser


def finish(cases: Sequence[Case], asked: argparse.Namespace) -> None:
    """Print the cases for people and, where asked, write them as JSON, whole or not at all."""
    print(table(cases))
    if asked.json:
        with writing(asked.json) as part:
            part.write_text(as_json(cases))


def as_json(cases: Sequence[Case]) -> str:
    """A JSON list, one object a case; NaN and infinity are refused with ValueError."""
    return json.dumps([dataclasses.asdict(case) for case in cases], indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> list[Case]:
    """The cases of a script's JSON; ValueError where an object is not a case."""
    return as_cases(json.loads(text))


def as_cases(entries: object) -> list[Case]:
    """The cases of a script's JSON, once read; ValueError where an object is not a case."""
    if not isinstance(entries, list):
        raise ValueError("a script writes a JSON list of cases.")
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != set(KEYS):
            raise ValueError(f"a case has the keys {', '.join(KEYS)}; this one has {entry!r}.")
        found.append(Case(**entry))
    return found


def number(value: float | None) -> str:
    """Three significant digits, thousands apart; "-" for what was not measured."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):,.6g}"


def table(cases: Sequence[Case]) -> str:
    """For people: a block a case, what is beside it with the ratio, and the target."""
    lines = []
    for case in cases:
        lines.append(f"{case.case} ({case.unit}, {case.better} is better)")
        lines.append(f"  {'ours':32}{number(case.ours):>14}")
        for kind, figures in (("", case.beside), ("limit: ", case.limit or {})):
            for name in figures:
                ratio = case.times(name)
                said = "" if ratio is None else f"   ours is {number(ratio)} x"
                lines.append(f"  {kind + name:32}{number(figures[name]):>14}{said}")
        if case.target:
            lines.append(f"  target: {case.target}: {MET[case.met]}")
        if case.note:
            lines.append(f"  {case.note}")
    return "\n".join(lines)


MET = {True: "met", False: "missed", None: "not yet measured"}
