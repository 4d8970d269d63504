"""Fetching one file: under a name of its own, going on where it stopped, whole only once its checksum agrees."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ecglib import files
from ecglib.datasets.sources import PART, Entry
from ecglib.errors import InputError

AGENT = "ecg-notebooks (data set download)"
SUFFICES = 1 << 20
"""Bytes that an attempt must have brought for the count of failures to begin anew."""
_BLOCK = 1 << 18
_PAUSE = 60.0  # s, the longest between two attempts
_TELL = 30.0  # s between two lines of progress where there is no terminal


@dataclass
class Ways:
    """How to fetch. timeout: seconds without a byte; retries: failures in a row for one file; backoff: seconds before
    the first retry, doubled with each; connections: files at once."""

    timeout: float = 60.0
    retries: int = 5
    backoff: float = 1.0
    connections: int = 4
    moved: Callable[[int], None] = lambda _: None  # told of bytes as they come; negative where some are thrown away
    stop: threading.Event = field(default_factory=threading.Event)


class _Again(Exception):
    """This attempt failed; another may not. `wait`: seconds that the server asks for; `weight`: failures it counts."""

    def __init__(self, what: str, wait: float = 0.0, weight: int = 1):
        super().__init__(what)
        self.wait, self.weight = wait, weight


class Stopped(Exception):
    """Another thread has failed or the user has interrupted."""


def fetch(entry: Entry, target: Path, ways: Ways) -> Path:
    """Bring one file to `target`, going on from "target.part" where that is there.

    Dropped and stalled connections, bodies cut short, wrong bytes, 408, 429 and 5xx are tried again; a part that turns
    out wrong is thrown away. An empty `entry.digest` means that nothing is known of the bytes: then the server must say
    how many there are.

    Raises:
        InputError: not there (404) or refused, or too many failures in a row; the disk is full.
    """
    part = target.with_name(target.name + PART)
    best, failures = length(part), 0
    while True:
        try:
            _attempt(entry, part, ways)
            break
        except _Again as error:
            reached = length(part)
            # measured from the furthest point: a server that ignores Range and always drops must not go on for ever
            failures = 1 if reached >= best + SUFFICES else failures + error.weight
            best = max(best, reached)
            if failures > ways.retries:
                raise InputError(f"{entry.url} {error} ({failures} failures in a row); try again later.") from None
            if ways.stop.wait(min(max(ways.backoff * 2 ** (failures - 1), error.wait), _PAUSE)):
                raise Stopped from None
    with files.writable(target):
        os.replace(part, target)
    return target


def _attempt(entry: Entry, part: Path, ways: Ways) -> None:
    have = length(part)
    if entry.size is not None and have > entry.size:
        have = _drop(part, have, ways)
    if have == 0 or have != entry.size:
        _body(entry, part, have, ways)
    if entry.digest and digest(part, entry.digest) != entry.digest:
        _drop(part, length(part), ways)
        raise _Again("gives other bytes than its published checksum", weight=2)  # each costs the whole file


def _body(entry: Entry, part: Path, have: int, ways: Ways) -> None:
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urlopen(Request(entry.url, headers=headers), timeout=ways.timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:  # the part is as long as the file, or is none of it
            if entry.digest or (error.headers.get("Content-Range") or "").endswith(f"/{have}"):
                return
            _drop(part, have, ways)
            raise _Again("has another length than before") from None
        if error.code in (408, 429) or error.code >= 500:
            wait = error.headers.get("Retry-After") or ""
            raise _Again(f"answers {error.code}", float(wait) if wait.isascii() and wait.isdecimal() else 0.0) from None
        raise InputError(f"{entry.url} cannot be had (the server answers {error.code}); look at its page.") from None
    except (OSError, http.client.HTTPException) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise InputError(f"{entry.url} has no certificate that this machine trusts; mend that first.") from None
        raise _Again(f"cannot be reached ({_short(error)})") from None
    with answer:
        _store(entry, part, have, answer, ways)


def _store(entry: Entry, part: Path, have: int, answer: http.client.HTTPResponse, ways: Ways) -> None:
    if answer.status == 206:
        if not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            _drop(part, have, ways)
            raise _Again("answers with another part than was asked for")
    elif have:  # Range was ignored: all of it comes
        have = _drop(part, have, ways)
    if answer.length is None and not answer.chunked and not entry.digest:
        raise InputError(f"{entry.url} does not say how long it is, so it cannot be checked; fetch it by hand.")
    end = None if answer.length is None else have + answer.length
    if None not in (end, entry.size) and end != entry.size:
        raise _Again(f"has {end:,} bytes where {entry.size:,} are published")
    with files.writable(part), open(part, "ab") as out:
        for block in _blocks(answer):
            out.write(block)
            have += len(block)
            ways.moved(len(block))
            if ways.stop.is_set():
                raise Stopped
    expected = end if entry.size is None else entry.size
    if expected is not None and have != expected:
        raise _Again(f"was cut short at {have:,} of {expected:,} bytes")


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = answer.read1(_BLOCK)  # what is there, so that a stall loses nothing that came before it
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Again(f"stopped in the middle ({_short(error)})") from None
        if not block:
            return
        yield block


def _drop(part: Path, counted: int, ways: Ways) -> int:
    part.unlink(missing_ok=True)
    ways.moved(-counted)
    return 0


def _short(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error)[:80] or type(error).__name__


def length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def digest(path: Path, like: str) -> str:
    """The file's SHA-256, or its MD5 where `like` is one, as hex digits."""
    make = hashlib.sha256 if len(like) == 64 else lambda: hashlib.md5(usedforsecurity=False)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, make).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); mend its permissions or delete it.") from None


@contextmanager
def counter(name: str, total: int | None, unit: str, progress: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, elsewhere a line now and then. What it gives may be called from any thread."""
    from tqdm import tqdm

    done, told, turn = 0, time.monotonic(), threading.Lock()
    shown = progress and sys.stderr.isatty()
    with tqdm(total=total, desc=name, unit=unit, unit_scale=True, disable=not shown) as bar:

        def step(number: int) -> None:
            nonlocal done, told
            with turn:
                done += number
                bar.update(number)
                if progress and not shown and total and time.monotonic() > told + _TELL:
                    told = time.monotonic()
                    print(f"{name}: {done / total:.0%}", file=sys.stderr, flush=True)

        yield step
