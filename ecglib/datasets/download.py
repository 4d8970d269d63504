"""`python -m ecglib.datasets get NAME --to DIR`, `list` and `check NAME DIR`: public collections, fetched and checked.

Every file comes under a name of its own ("X.part"), is compared with its published checksum and only then becomes "X".
The marker ".complete" is written last, when every file of the list agrees, and taken away as soon as one does not. What
was interrupted goes on where it stopped when the same command is given again. Archives among the files are unpacked
beside themselves; what they unpack to is not in the published list, so `check` does not read it.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ecglib import atomic, files
from ecglib.datasets import sources, unpack
from ecglib.datasets.sources import MARKER, PART, Entry, Listing, Source
from ecglib.errors import InputError

AGENT = "ecg-notebooks (data set download)"
SUFFICES = 1 << 20
"""Bytes that an attempt must have brought for the count of failures to begin anew."""
_BLOCK = 1 << 18
_PAUSE = 60.0  # s, the longest between two attempts
_TELL = 30.0  # s between two lines of progress where there is no terminal
_GIVE_UP = 8  # files that failed for good


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


class _Stopped(Exception):
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
    best, failures = _length(part), 0
    while True:
        try:
            _attempt(entry, part, ways)
            break
        except _Again as error:
            reached = _length(part)
            # measured from the furthest point: a server that ignores Range and always drops must not go on for ever
            failures = 1 if reached >= best + SUFFICES else failures + error.weight
            best = max(best, reached)
            if failures > ways.retries:
                raise InputError(f"{entry.url} {error} ({failures} failures in a row); try again later.") from None
            if ways.stop.wait(min(max(ways.backoff * 2 ** (failures - 1), error.wait), _PAUSE)):
                raise _Stopped from None
    with files.writable(target):
        os.replace(part, target)
    return target


def _attempt(entry: Entry, part: Path, ways: Ways) -> None:
    have = _length(part)
    if entry.size is not None and have > entry.size:
        have = _drop(part, have, ways)
    if have == 0 or have != entry.size:
        _body(entry, part, have, ways)
    if entry.digest and digest(part, entry.digest) != entry.digest:
        _drop(part, _length(part), ways)
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
            raise _Again(f"answers {error.code}", float(wait) if wait.isdigit() else 0.0) from None
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
                raise _Stopped
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


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def digest(path: Path, like: str) -> str:
    """The file's SHA-256, or its MD5 where `like` is one, as hex digits."""
    make = hashlib.sha256 if len(like) == 64 else lambda: hashlib.md5(usedforsecurity=False)
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, make).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); mend its permissions or delete it.") from None


def get(
    source: str | Source,
    to: str | Path,
    *,
    yes: bool = False,
    archive: bool = False,
    unpacked: bool = True,
    ways: Ways | None = None,
    progress: bool = True,
) -> Path:
    """Fetch a collection into the folder `to`; files that are there and agree with their checksums stay.

    Args:
        yes: do not ask before it starts. archive: begin with the one zip of all files, where there is one; files that
            it lacks or has wrong come one by one. unpacked: unpack the archives that are among the files.

    Raises:
        InputError: no such collection, or one that needs credentials; nobody to ask and no `yes`; the answer is no; a
            file that could not be had whole, after all others were tried; a path that leaves `to`; a full disk.
    """
    source, ways, to = sources.named(source) if isinstance(source, str) else source, ways or Ways(), Path(to)
    to = to.expanduser().absolute()
    if source.refuse:
        raise InputError(f"{source.name} is not fetched: {source.refuse.rstrip('.')} (see {source.page}).")
    if archive and not source.zip_url:
        raise InputError(f"{source.name} has no archive of all its files; leave --zip out.")
    if not 1 <= ways.connections <= 16:
        raise InputError(f"connections is {ways.connections}; give 1 to 16.")
    if not (ways.timeout > 0 and ways.retries >= 0):
        raise InputError(f"timeout is {ways.timeout} and retries {ways.retries}; give more than 0 s and 0 or more.")
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; give a folder.")
    if not (yes or sys.stdin.isatty()):
        raise InputError("nobody is there to be asked before the download; add --yes.")
    listing = None
    if source.host != "physionet":  # these tell length and licence with the list
        listing = sources.listing(source, lambda url: _read(url, ways))
    _confirm(source, listing, to, yes, progress)
    listing = listing or sources.listing(source, lambda url: _read(url, ways))
    with files.writable(to), files.lock(to / "download", f"waiting for another download into {to}"):
        _claim(source, to, listing)
        _room(source, to, listing)
        sound = _from_archive(source, to, listing, ways, progress) if archive else set()
        _all(source, to, listing, sound, ways, progress)
        if unpacked:
            _unpack(to, listing, progress)
        os.sync()  # the marker must not outlive a power cut that the files do not
        _mark(source, to, listing)
    if progress:
        print(f"{source.name}: {len(listing.entries):,} files agree with {source.list_name} in {to}")
    return to


def _confirm(source: Source, listing: Listing | None, to: Path, yes: bool, progress: bool) -> None:
    if progress or not yes:
        count = f"{len(listing.entries):,} files" if listing else "all files"
        licence = (listing and listing.licence) or source.licence
        print(f"{source.title} {source.version}: {count}, {_size(source, listing)}, into {to}")
        print(f"Licence: {licence}\nPage: {source.page}")
    if not yes:
        try:
            answer = input("Fetch it? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise InputError("nothing was fetched, since the answer was not yes.")


def _bytes(source: Source, listing: Listing | None) -> float | None:
    if listing is not None and listing.size is not None:
        return listing.size
    return source.size_gb and source.size_gb * 1e9


def _size(source: Source, listing: Listing | None = None) -> str:
    size = _bytes(source, listing)
    if size is None:
        return "size not checked"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _room(source: Source, to: Path, listing: Listing) -> None:
    needed = _bytes(source, listing)
    if needed is None:
        return
    there = sum(max(_length(to / entry.path), _length(to / (entry.path + PART))) for entry in listing.entries)
    if needed - there > (free := shutil.disk_usage(to).free):
        raise InputError(
            f"{to} has {free / 1e9:,.1f} GB free where {(needed - there) / 1e9:,.1f} GB are to come; make room or "
            f"choose another folder."
        )


def _read(url: str, ways: Ways) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        quiet = Ways(ways.timeout, ways.retries, ways.backoff, stop=ways.stop)
        try:
            return fetch(Entry("list", "", url), Path(folder) / "list", quiet).read_bytes()
        except _Stopped:
            raise InputError("stopped before the first file was asked for; the same call begins anew.") from None


def _claim(source: Source, to: Path, listing: Listing) -> None:
    """The checksum list in its place; no marker of another list stays."""
    told = _marker(to)
    if told and told.get("name") != source.name:
        raise InputError(f"{to} holds {told.get('name')}; choose another folder.")
    if told and told.get("sha256") != hashlib.sha256(listing.content).hexdigest():
        (to / MARKER).unlink()
    with atomic.writing(_place(to, source.list_name)) as temporary:
        temporary.write_bytes(listing.content)


def _marker(folder: Path) -> dict[str, Any]:
    """What the marker says; nothing where there is none or it cannot be read."""
    try:
        told = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return told if isinstance(told, dict) else {}


def _mark(source: Source, to: Path, listing: Listing) -> None:
    facts = {"name": source.name, "version": source.version, "list": source.list_name, "files": len(listing.entries)}
    atomic.write_json(to / MARKER, {**facts, "sha256": hashlib.sha256(listing.content).hexdigest()})


def _place(to: Path, path: str) -> Path:
    """Where `path` goes, its folder made; refused where a link leads out of `to`."""
    target = to / path
    linked = any(os.path.islink(name) for name in (target, target.with_name(target.name + PART)))
    if linked or not target.parent.resolve().is_relative_to(to.resolve()):
        raise InputError(f"{target} is or lies behind a link, so nothing is written there; remove the link.")
    if target.is_dir():
        raise InputError(f"{target} is a folder where a file is to come; move it away.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _all(source: Source, to: Path, listing: Listing, sound: set[str], ways: Ways, progress: bool) -> None:
    """Every file that is not there whole, except those in `sound`, which were compared a moment ago."""
    size, whole, failed = listing.size, [], []
    total, unit = (len(listing.entries), "file") if size is None else (size, "B")
    with _bar(source.name, total, unit, progress) as step:
        ways = ways if size is None else replace(ways, moved=step)

        def one(entry: Entry) -> None:
            target = _place(to, entry.path)
            if entry.path in sound or (target.is_file() and digest(target, entry.digest) == entry.digest):
                whole.append(entry.path)
                step(1 if size is None else entry.size)
                return
            (to / MARKER).unlink(missing_ok=True)
            ways.moved(_length(target.with_name(target.name + PART)))
            try:
                fetch(entry, target, ways)
            except InputError as error:
                failed.append(str(error))
                if len(failed) >= _GIVE_UP:
                    ways.stop.set()
                return
            whole.append(entry.path)
            if size is None:
                step(1)

        _each(one, listing.entries, ways)
    if failed:
        raise InputError(
            f"{len(failed)} of {len(listing.entries):,} files could not be fetched, the first since "
            f"{failed[0].rstrip('.')}; the same command goes on with the rest."
        )
    if len(whole) != len(listing.entries):  # `ways.stop` was set from outside
        raise InputError(f"stopped with {len(whole):,} of {len(listing.entries):,} files whole; the same call goes on.")


def _each(work: Callable[[Entry], None], entries: Iterable[Entry], ways: Ways) -> None:
    pending, turn = iter(entries), threading.Lock()

    def worker() -> None:
        try:
            while not ways.stop.is_set():
                with turn:
                    entry = next(pending, None)
                if entry is None:
                    return
                work(entry)
        except _Stopped:
            pass
        except BaseException:
            ways.stop.set()
            raise

    with ThreadPoolExecutor(ways.connections) as pool:
        running = [pool.submit(worker) for _ in range(ways.connections)]
        try:
            for future in running:
                future.result()
        except BaseException:  # an interruption too: the threads end with their present block
            ways.stop.set()
            raise


@contextmanager
def _bar(name: str, total: int | None, unit: str, progress: bool) -> Iterator[Callable[[int], None]]:
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


def _from_archive(source: Source, to: Path, listing: Listing, ways: Ways, progress: bool) -> set[str]:
    """Fill `to` from the one archive of all files; gives the paths that were found whole in it."""
    if all((to / entry.path).is_file() for entry in listing.entries):
        return set()
    zipped, hidden, sound = _place(to, ".all.zip"), to / ".all", set()
    if not hidden.is_dir():
        if not zipped.is_file():
            with _bar(source.name, None, "B", progress) as step:
                fetch(Entry("all", "", source.zip_url), zipped, replace(ways, moved=step))
        try:
            unpack.unpack(zipped, hidden)
        except InputError:
            zipped.unlink()
            raise
    for entry in listing.entries:
        inner, target = hidden / entry.path, _place(to, entry.path)
        if inner.is_file() and not target.exists() and digest(inner, entry.digest) == entry.digest:
            os.replace(inner, target)
            sound.add(entry.path)
    atomic.remove(hidden)
    atomic.remove(zipped)
    return sound


def _unpack(to: Path, listing: Listing, progress: bool) -> None:
    listed = {to / entry.path for entry in listing.entries}
    for archive in sorted(listed):
        stem = unpack.stem(archive.name)
        if stem is None or any(
            other.name == stem or (other.stem == stem and other not in listed) for other in archive.parent.iterdir()
        ):
            continue
        made = unpack.beside(archive)
        if progress:
            print(f"{archive.name} unpacked to {made.relative_to(to)}")


@dataclass(frozen=True)
class Check:
    """How a folder compares with its list: paths of the list that are missing or altered, files that are not in it.
    `list_altered`: the list is not the one that the marker was written for."""

    files: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    surplus: tuple[str, ...]
    list_altered: bool

    @property
    def whole(self) -> bool:
        """Every file of the list agrees; surplus files do no harm."""
        return not (self.missing or self.altered or self.list_altered)


def check(source: str | Source, folder: str | Path, *, progress: bool = True) -> Check:
    """Read every file of the folder's checksum list and compare.

    Raises:
        InputError: no such collection; no folder or no list in it; another collection's folder; an unreadable file.
    """
    source = sources.named(source) if isinstance(source, str) else source
    folder = Path(folder).expanduser().absolute()
    if not (folder / source.list_name).is_file():
        raise InputError(f"{folder} has no {source.list_name}; give the folder that {source.name} was fetched into.")
    content, told = (folder / source.list_name).read_bytes(), _marker(folder)
    if told and told.get("name") != source.name:
        raise InputError(f"{folder} holds {told.get('name')}, not {source.name}; give the other name or folder.")
    found = sources.parse(content, str(folder / source.list_name))
    with _bar(source.name, len(found), "file", progress) as step, ThreadPoolExecutor(4) as pool:

        def state(path: str) -> str:
            there = (folder / path).is_file()
            answer = "missing" if not there else "" if digest(folder / path, found[path]) == found[path] else "altered"
            step(1)
            return answer

        states = dict(zip(found, pool.map(state, found)))
    return Check(
        files=len(found),
        missing=tuple(path for path, answer in states.items() if answer == "missing"),
        altered=tuple(path for path, answer in states.items() if answer == "altered"),
        surplus=tuple(_surplus(folder, found)),
        list_altered=bool(told) and told.get("sha256") != hashlib.sha256(content).hexdigest(),
    )


def _surplus(folder: Path, found: dict[str, str]) -> Iterator[str]:
    """Files in no list that are neither ours nor what an archive of the list unpacks to."""
    archives = {(str(path.parent), unpack.stem(path.name)) for path in map(PurePosixPath, found)}
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = PurePosixPath(Path(root, name).relative_to(folder).as_posix())
            steps = [(str(one.parent), one.name) for one in (path, *path.parents[:-1])]
            steps += [(parent, PurePosixPath(one).stem) for parent, one in steps]
            if str(path) not in found and str(path) not in sources.OWN and archives.isdisjoint(steps):
                yield str(path)


def table() -> str:
    """The collections that `get` knows, one a line."""
    rows = [("NAME", "SIZE", "RECORDS", "LICENCE", "WHAT")]
    for source in sources.SOURCES.values():
        records = "not checked" if source.records is None else f"{source.records:,}"
        size = _size(source).removeprefix("size ")
        rows.append((source.name, size, records, source.licence, f"{source.title} {source.version}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def add_parser(commands: Any) -> None:
    """Add `get`, `list` and `check` to the subparsers of `python -m ecglib.datasets`."""
    one = commands.add_parser("get", help="fetch a public collection and check every file")
    one.add_argument("name", metavar="NAME", help=", ".join(sources.SOURCES))
    one.add_argument("--to", metavar="DIR", required=True, help="the folder, made or gone on with")
    one.add_argument("--yes", action="store_true", help="do not ask before it starts")
    one.add_argument("--zip", action="store_true", help="begin with the one archive of all files, where there is one")
    one.add_argument("--no-unpack", action="store_true", help="leave archives among the files packed")
    one.add_argument(
        "--connections", type=int, default=4, help="files at once (4); many small ones go faster with more"
    )
    one.add_argument("--timeout", type=float, default=60.0, help="seconds without a byte before a new attempt (60)")
    one.add_argument("--retries", type=int, default=5, help="failures in a row that a file may have (5)")
    commands.add_parser("list", help="what can be fetched: size, records, licence")
    two = commands.add_parser("check", help="compare a fetched folder with its checksum list")
    two.add_argument("name", metavar="NAME", help=", ".join(sources.SOURCES))
    two.add_argument("folder", metavar="DIR", help="the folder that it was fetched into")


def main(options: argparse.Namespace) -> int:
    """The exit status of `get`, `list` or `check`: 0, 1 where `check` finds a folder not whole, 2 on unusable input,
    130 when interrupted."""
    try:
        if options.command == "list":
            print(table())
            return 0
        if options.command == "check":
            return _report(check(options.name, options.folder))
        ways = Ways(options.timeout, options.retries, connections=options.connections)
        get(options.name, options.to, yes=options.yes, archive=options.zip, unpacked=not options.no_unpack, ways=ways)
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _report(result: Check) -> int:
    for what in ("missing", "altered", "surplus"):
        paths = getattr(result, what)
        print(f"{what}: {len(paths):,}{': ' if paths else ''}{', '.join(paths[:5])}{', ...' if len(paths) > 5 else ''}")
    if result.list_altered:
        print("the checksum list is not the one that was fetched")
    print(f"{'whole' if result.whole else 'not whole'}: {result.files:,} files in the list")
    return 0 if result.whole else 1
