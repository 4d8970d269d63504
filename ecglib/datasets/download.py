"""`python -m ecglib.datasets get NAME --to DIR`, `list` and `check NAME DIR`: public collections, fetched and checked.

Every file comes under a name of its own ("X.part"), is compared with its published checksum and only then becomes "X".
The marker ".complete" is written last, when every file of the list agrees, and taken away as soon as one does not. What
was interrupted goes on where it stopped when the same command is given again. Archives among the files are unpacked
beside themselves; what they unpack to is not in the published list, so `check` does not read it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecglib import atomic, files
from ecglib.datasets import sources, unpack
from ecglib.datasets.fetch import Stopped, Ways, counter, digest, fetch, length
from ecglib.datasets.fetched import Check, check, marker
from ecglib.datasets.sources import MARKER, PART, Entry, Listing, Source
from ecglib.errors import InputError

_GIVE_UP = 8  # files that failed for good


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
    there = sum(max(length(to / entry.path), length(to / (entry.path + PART))) for entry in listing.entries)
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
        except Stopped:
            raise InputError("stopped before the first file was asked for; the same call begins anew.") from None


def _claim(source: Source, to: Path, listing: Listing) -> None:
    """The checksum list in its place; no marker of another list stays."""
    told = marker(to)
    if told and told.get("name") != source.name:
        raise InputError(f"{to} holds {told.get('name')}; choose another folder.")
    if told and told.get("sha256") != hashlib.sha256(listing.content).hexdigest():
        (to / MARKER).unlink()
    with atomic.writing(_place(to, source.list_name)) as temporary:
        temporary.write_bytes(listing.content)


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
    with counter(source.name, total, unit, progress) as step:
        ways = ways if size is None else replace(ways, moved=step)

        def one(entry: Entry) -> None:
            target = _place(to, entry.path)
            if entry.path in sound or (target.is_file() and digest(target, entry.digest) == entry.digest):
                whole.append(entry.path)
                step(1 if size is None else entry.size)
                return
            (to / MARKER).unlink(missing_ok=True)
            ways.moved(length(target.with_name(target.name + PART)))
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
        except Stopped:
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


def _from_archive(source: Source, to: Path, listing: Listing, ways: Ways, progress: bool) -> set[str]:
    """Fill `to` from the one archive of all files; gives the paths that were found whole in it."""
    if all((to / entry.path).is_file() for entry in listing.entries):
        return set()
    zipped, hidden, sound = _place(to, ".all.zip"), to / ".all", set()
    if not hidden.is_dir():
        if not zipped.is_file():
            with counter(source.name, None, "B", progress) as step:
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
    one.add_argument("--connections", type=int, default=4, help="files at once (4); for many small ones give more")
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
