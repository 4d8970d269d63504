"""What the runners of a run's ranks tell each other, through the key-value store that the launcher keeps.

Every rank has a runner (`python -m ecglib.run`) and a kernel below it. The runners agree on when to start, say each
second that they live, and leave a last word: how their notebook ended. So rank 0 can write one report with everybody's
errors in it, and no rank waits for one that is gone: a kernel in the middle of a collective operation would.

    rank 0: room made in the folder --- "go" --- runs --- hears all last words --- report --- "bye"
    others:                              wait --- run --- say theirs ----------------------- leave

A runner stops its own kernel when another rank's notebook has failed, or when another runner, or the store, has not
been heard of for `LOST_S` seconds: its process or machine is gone, or the network between.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ecglib import ranks
from ecglib.errors import InputError
from ecglib.execution import Interrupted, Outcome

BEAT_S = 0.5  # between two signs of life
LOST_S = 30.0  # without one, a rank is given up
QUIET_S = 3.0  # the same, where something has already ended the run
GRACE_S = 3.0  # for a kernel to fail by itself, in its own words, when another has
COME_S = 300.0  # for all runners to be there
LAST_WORDS_S = 20.0  # for the others to say theirs, once one has failed
STOP = signal.SIGUSR1
_SILENT = "it ended without a word: killed, or its machine or the network is gone"
# What a kernel says when the rank at the other end is gone: no cause, but what follows from one.
_FOLLOWS = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "DistNetworkError",
            "DistBackendError", "DistStoreError", "Broken pipe", "ProcessGroup")  # fmt: skip


@dataclass
class Word:
    """How a rank's notebook ended."""

    rank: int
    host: str
    status: str
    reason: str | None = None
    cell: int | None = None
    bad_input: bool = False
    signal: int | None = None
    traceback: list[str] = field(default_factory=list)

    @property
    def follows(self) -> bool:
        """Whether it only tells of another rank's end, or was stopped because of it."""
        return self.signal == STOP or any(text in (self.reason or "") for text in _FOLLOWS)

    @property
    def said(self) -> str:
        return f"rank {self.rank} ({self.host}): {self.reason}"


class Company:
    """This runner among the others; made once all of them are there. STOP is the signal that stops a kernel.

    Raises:
        InputError: the store cannot be reached, or not all ranks have come within `COME_S` seconds.
    """

    STOP = STOP

    def __init__(self) -> None:
        self.rank, self.world, self.host = ranks.rank(), ranks.world(), socket.gethostname()
        # Of each other rank: its last sign of life, and when it was seen.
        self._beats: dict[int, tuple[str, float]] = {}
        self._words: dict[int, Word] = {}
        self._armed, self._gone, self._over = False, False, threading.Event()
        self._lost: str | None = None  # why the run is over, where somebody or the store is not heard any more
        self._deaf = False  # it is the store
        self._store = _store()
        self._set(f"beat/{self.rank}", "0")
        self._set(f"host/{self.rank}", self.host)
        self._wait_for_all()
        self.hosts = [self._get(f"host/{k}") for k in range(self.world)]
        self._heard = time.monotonic()  # when the store last answered
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._talk, self._watch)]
        for thread in self._threads:
            thread.start()

    def _wait_for_all(self) -> None:
        limit = time.monotonic() + COME_S
        for k in range(self.world):
            while not self._store.check([f"host/{k}"]):
                if time.monotonic() > limit:
                    raise InputError(f"rank {k} of {self.world} has not come within {COME_S:g} s; is its machine up?")
                time.sleep(0.05)

    # what is said

    def go(self) -> None:
        """Rank 0: the others may start."""
        self._set("go", "yes")
        self._gone = True

    def may_go(self) -> bool:
        """The others: waits for rank 0's word."""
        while not self._there("go"):
            if self._lost:
                raise InputError(self._lost)
            time.sleep(0.05)
        return self._get("go") == "yes"

    def bye(self) -> None:
        """Rank 0: the report is written; or, where it never said `go`, there will be none."""
        self._over.set()
        with suppress(RuntimeError):
            if not self._gone:
                self._set("go", "no")
            self._set("bye", "")

    def leave(self, outcome: Outcome, traceback: Sequence[str]) -> None:
        """The others: says the last word; after a failure, stays until rank 0 has written its report.

        A launcher that sees one process end in failure stops all of them at once.
        """
        word = self._word(outcome, traceback)
        with suppress(RuntimeError):
            self._set(f"end/{self.rank}", json.dumps(vars(word)))
        limit = time.monotonic() + 3 * LAST_WORDS_S
        while outcome.status != "complete" and time.monotonic() < limit and not self._lost:
            if self._there("bye"):
                break
            time.sleep(0.1)
        self._over.set()

    # the notebook under way

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, this runner is stopped (`Interrupted`, with STOP) when the company is broken."""

        def stop(number: int, frame: Any) -> None:
            if self._armed:
                self._armed = False
                raise Interrupted(number)

        before = signal.signal(STOP, stop)
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            signal.signal(STOP, before)

    def verdict(self, outcome: Outcome) -> tuple[Outcome, list[Word]]:
        """Rank 0: its own outcome and everybody's as one, and the last words of the ranks that ended it."""
        if outcome.status != "complete":
            with suppress(RuntimeError):
                self._set("end/0", json.dumps(vars(self._word(outcome))))
        try:
            self._hear_all(patient=outcome.status == "complete")
        except Interrupted as interruption:
            outcome.status, outcome.signal = "interrupted", interruption.args[0]
            outcome.reason = f"the run was stopped by {signal.Signals(outcome.signal).name}"
            self._hear_all(patient=False)
        own, others = self._word(outcome), [word for _, word in sorted(self._words.items())]
        stopped = own.status == "interrupted" and own.signal != STOP  # by a person or a scheduler
        causes = [word for word in others if word.status == "failed" and not word.follows]
        if not self._lost:  # else the store may be gone, and with it everybody's signs of life
            causes += [Word(k, self.hosts[k], "failed", _SILENT) for k in self._silent(QUIET_S)]
        if not stopped:
            causes += [word for word in others if word.status == "interrupted" and not word.follows]
        if own.status == "failed" and not own.follows:
            return outcome, causes
        if own.status == "complete":  # then no other may have ended otherwise, for whatever reason
            causes = causes or [word for word in others if word.status != "complete"]
        if causes:
            return _failed(outcome, causes[0].said, causes[0].cell), causes
        if self._lost or own.signal == STOP:
            return _failed(outcome, self._lost or "another rank ended", outcome.cell), []
        return outcome, []

    def _word(self, outcome: Outcome, traceback: Sequence[str] = ()) -> Word:
        told = {name: getattr(outcome, name) for name in ("status", "reason", "cell", "bad_input", "signal")}
        return Word(self.rank, self.host, **told, traceback=list(traceback))

    def _hear_all(self, *, patient: bool) -> None:
        """Waits for everybody's last word: as long as they live, or not long once anyone has failed."""
        limit = time.monotonic() + (float("inf") if patient else LAST_WORDS_S)
        while len(self._words) < self.world - 1 and time.monotonic() < limit and not self._lost:
            if any(word.status != "complete" for word in self._words.values()):
                limit = min(limit, time.monotonic() + LAST_WORDS_S)
            if not patient and len(self._words) + len(self._silent(QUIET_S)) == self.world - 1:
                return
            time.sleep(0.1)

    def _silent(self, seconds: float) -> list[int]:
        """Ranks that have neither said a last word nor given a sign of life for so long."""
        now = time.monotonic()
        quiet = [k for k, (_, seen) in list(self._beats.items()) if now - seen > seconds]
        return [k for k in quiet if k not in self._words]

    # the two threads: one talks to the store, and may hang with it; the other watches the clock

    def _talk(self) -> None:
        number, others = 0, [k for k in range(self.world) if k != self.rank]
        while not self._over.wait(BEAT_S):
            number += 1
            with suppress(RuntimeError):
                self._store.set(f"beat/{self.rank}", str(number))
                for k, beat in zip(others, self._store.multi_get([f"beat/{k}" for k in others]), strict=True):
                    if self._beats.get(k, ("", 0.0))[0] != beat:
                        self._beats[k] = (beat, time.monotonic())
                for k in others:
                    if k not in self._words and self._store.check([f"end/{k}"]):
                        self._words[k] = Word(**json.loads(self._store.get(f"end/{k}")))
                self._heard = time.monotonic()

    def _watch(self) -> None:
        broken: float | None = None  # since when
        while not self._over.wait(BEAT_S / 2):
            if time.monotonic() - self._heard > LOST_S:
                self._deaf = True
                self._lost = f"the store at {os.environ['MASTER_ADDR']} has not answered for {LOST_S:g} s"
            elif silent := self._silent(LOST_S):
                self._lost = "; ".join(
                    f"rank {k} ({self.hosts[k]}) has not been heard of for {LOST_S:g} s: it was killed, or its machine "
                    "or the network is gone" for k in silent
                )  # fmt: skip
            if self._lost or any(word.status != "complete" for word in self._words.values()):
                broken = broken or time.monotonic()
                if self._armed and (self._lost or time.monotonic() - broken > GRACE_S):
                    signal.pthread_kill(threading.main_thread().ident, STOP)
                    time.sleep(1.0)

    def _there(self, key: str) -> bool:
        with suppress(RuntimeError):
            return self._ask(lambda: self._store.check([key]))
        return False

    def _set(self, key: str, value: str) -> None:
        self._ask(lambda: self._store.set(key, value))

    def _get(self, key: str) -> str:
        return self._ask(lambda: self._store.get(key)).decode()

    def _ask(self, what: Callable[[], Any]) -> Any:
        """The store's answer; RuntimeError where it gives none in time.

        Behind a cut cable a question waits for as long as TCP likes, holding up whoever asks next, so that each is
        asked in a thread that may be left behind.
        """
        answers: list[Any] = []

        def ask() -> None:
            try:
                answers.append(what())
            except RuntimeError as error:
                answers.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        limit = time.monotonic() + LOST_S
        while not answers and time.monotonic() < limit and not self._deaf:
            thread.join(0.1)
        if not answers:
            raise RuntimeError("the store does not answer")
        if isinstance(answers[0], RuntimeError):
            raise answers[0]
        return answers[0]


def _store() -> Any:
    try:
        store = ranks.store("runners", COME_S)
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(f"the store at {where} cannot be reached ({str(error).splitlines()[0]})") from None
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # to the kernel: do not open another there
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's advice on parameters not used belongs in no report
    store.set_timeout(timedelta(seconds=LOST_S))
    return store


def _failed(outcome: Outcome, reason: str, cell: int | None) -> Outcome:
    outcome.status, outcome.reason, outcome.signal, outcome.bad_input = "failed", reason, None, False
    outcome.cell = outcome.cell if cell is None else cell
    return outcome
