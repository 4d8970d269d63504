"""How far a grid is: read from what its runs have left in their folders, wherever and by whomever they were started.

A run is done when its run.json says complete, holds the parameters that the grid wants, and `staleness` finds nothing
that has changed since: notebook, code, preset, data, packages. Only such a run is not started again.
"""

from __future__ import annotations

import datetime
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ecglib import inuse, results
from ecglib.errors import InputError
from ecglib.grid import Grid, Member
from ecglib.results import RunRecord
from ecglib.staleness import Today

DONE, RUNNING, FAILED, TO_COME = "done", "running", "failed", "to come"
CUT_SHORT = "its process ended before it could say why"


@dataclass(frozen=True)
class State:
    """One run: `kind` is DONE, RUNNING, FAILED or TO_COME, `why` says more, `record` is what lies there."""

    member: Member
    kind: str
    why: str = ""
    record: RunRecord | None = None

    @property
    def mark(self) -> str:
        """Differs between any two records in the same folder, "first" where there is none."""
        if self.record is None:
            return "first"
        started = self.record.record.get("started", "unknown")
        return "".join(filter(str.isalnum, f"{self.record.status}{started}"))


def state(member: Member, today: Today) -> State:
    """What has become of one run. A record that cannot be read counts as none: the next run writes it anew."""
    try:
        record = results.read(member.plan.out)
    except InputError:
        return State(member, RUNNING if inuse.busy(member.plan.out) else TO_COME)
    if inuse.busy(member.plan.out):
        return State(member, RUNNING, "", record)
    if record.parameters != member.plan.settings.values:
        return State(member, TO_COME, "its folder holds a run with other parameters", record)
    if record.status != "complete":
        return State(member, FAILED, record.record.get("reason") or CUT_SHORT, record)
    reasons = today.reasons(record)
    return State(member, TO_COME if reasons else DONE, " ".join(reasons), record)


def states(grid: Grid) -> list[State]:
    """Every run of the grid, in its order, without the comparison."""
    today = Today(grid.root)
    return [state(member, today) for member in grid.members]


def folder(grid: Grid) -> Path:
    """Where the workflow keeps logs and marks of this grid; it may be deleted at any time between two starts."""
    return grid.root / "reports" / "grids" / grid.name


def started(grid: Grid) -> dict[str, str]:
    """Folder -> when the run in it was started, which tells runs of one folder apart. Raises InputError without one."""
    return {member.folder: results.read(member.plan.out).record["started"] for member in grid.members}


def comparison(grid: Grid) -> State | None:
    """The comparison: DONE only when it read the runs that lie there now. None where the grid has none."""
    if grid.compare is None:
        return None
    found = state(grid.compare, Today(grid.root))
    if found.kind != DONE:
        return found
    try:
        same = json.loads((folder(grid) / "compared.json").read_text(encoding="utf-8")) == started(grid)
    except (OSError, ValueError, KeyError):  # InputError is a ValueError: a run is gone
        same = False
    return found if same else State(grid.compare, TO_COME, "its runs have changed", found.record)


class Progress:
    """A grid's states at one moment, in words."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.states = states(grid)
        self.comparison = comparison(grid)
        self.count = Counter(state.kind for state in self.states)

    @property
    def complete(self) -> bool:
        """Whether every run is done, and the comparison of just these runs."""
        compared = self.comparison is None or self.comparison.kind == DONE
        return compared and self.count[DONE] == len(self.states)

    def line(self) -> str:
        """Such as "smoke: 3 of 6 runs done, 2 running, 0 failed, 1 to come; about 4 min left"."""
        counts = ", ".join(f"{self.count[kind]} {kind}" for kind in (RUNNING, FAILED, TO_COME))
        text = f"{self.grid.name}: {self.count[DONE]} of {len(self.states)} runs done, {counts}"
        if self.count[RUNNING] + self.count[TO_COME]:
            return f"{text}; {self._left()}"
        if self.comparison is not None and not self.count[FAILED]:
            at = {DONE: "done", RUNNING: "running", FAILED: "failed", TO_COME: "to come"}[self.comparison.kind]
            text += f"; the comparison is {at}"
        return text

    def _left(self) -> str:
        seconds = self.seconds_left()
        if seconds is None:
            return "the time left is known once a run is done"
        return f"about {words(seconds)} left"

    def seconds_left(self, now: datetime.datetime | None = None) -> float | None:
        """Mean duration of done runs of the same notebook and preset, else of all, over what runs side by side now."""
        now = now or datetime.datetime.now(datetime.UTC)
        took: dict[tuple[str, str | None] | None, list[float]] = {}
        for done in (s for s in self.states if s.kind == DONE):
            for key in (_kind(done), None):
                took.setdefault(key, []).append(done.record.record.get("duration_s", 0.0))
        if not took:
            return None
        total = 0.0
        for open_ in (s for s in self.states if s.kind in (RUNNING, TO_COME)):
            durations = took.get(_kind(open_)) or took[None]
            mean = sum(durations) / len(durations)
            total += max(mean - _elapsed(open_, now), 0.0) if open_.kind == RUNNING else mean
        return total / max(self.count[RUNNING], 1)

    def text(self) -> str:
        """The line, then one for each run at work, failed, cut short or to run again: where it is, what to look at."""
        lines = [self.line()]
        others = [] if self.comparison is None else [self.comparison]
        now = datetime.datetime.now(datetime.UTC)
        for each in [*self.states, *others]:
            if each.kind == RUNNING:
                lines.append(f"  running: {each.member.folder}: {_at(each)}{words(_elapsed(each, now))}")
            if each.kind in (FAILED, TO_COME) and each.why:
                place = each.member.plan
                pages = [page for page in ("report.html", "executed.ipynb") if (place.out / page).is_file()]
                see = f" ({place.shown(place.out / pages[0])})" if pages and each.kind == FAILED else ""
                lines.append(f"  {each.kind}: {each.member.folder}: {each.why.rstrip('.')}{see}")
        return "\n".join(lines)


def _kind(state: State) -> tuple[str, str | None]:
    return state.member.plan.name, state.member.plan.preset


def _elapsed(state: State, now: datetime.datetime) -> float:
    started = None if state.record is None else state.record.record.get("started")
    if started is None or state.record.status != "unfinished":  # the record of the run before
        return 0.0
    return (now - datetime.datetime.fromisoformat(started)).total_seconds()


def _at(state: State) -> str:
    """The heading above the cell that runs, such as "Train the teacher, "; empty before the first."""
    heading = None if state.record is None else (state.record.record.get("cell") or {}).get("heading")
    return f"{heading}, " if heading and state.record.status == "unfinished" else ""


def words(seconds: float) -> str:
    """ "40 s", "4 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def watch(grid: Grid, every_s: float) -> None:
    """Prints the line on stderr whenever it has changed, at most every `every_s` seconds, while this process lives."""

    def look() -> None:
        counts = None
        while True:
            time.sleep(every_s)
            progress = Progress(grid)
            if progress.count != counts:
                print(progress.line(), file=sys.stderr, flush=True)
                counts = progress.count

    threading.Thread(target=look, daemon=True, name="grid status").start()


def follow(grid: Grid, every_s: float = 2.0) -> Progress:
    """Prints `text` until all is done or Ctrl-C: on a terminal in the same place, else whenever a run has changed."""
    progress, counts = Progress(grid), None
    try:
        while True:
            if sys.stdout.isatty():
                print(f"\x1b[H\x1b[2J{progress.text()}", flush=True)  # from the top of an empty screen
            elif progress.count != counts or progress.complete:
                print(progress.text(), flush=True)
            if progress.complete:
                return progress
            counts = progress.count
            time.sleep(every_s)
            progress = Progress(grid)
    except KeyboardInterrupt:
        return progress
