"""What a build in parts has done so far, on disk: signals.npy grows, and a journal says what each unit gave.

An entry of the journal is a line of facts (JSON), the unit's rows (an arrow stream) and a few numbers of each record.
It is written after the unit's samples, with checksums of both: whatever a kill or a failing machine cut short is seen
when the build goes on, and cut off.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ecglib.cohort_write import HEADER, npy_header

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "journal"
_ENTRY = struct.Struct("<4sIQI")  # mark, bytes of the facts and of the body, CRC-32 of both
_MARK = b"unit"


@dataclass
class Part:
    """What one unit gave, screened."""

    signals: np.ndarray
    """(k, L, T) int16; flat in a part that was there already"""
    table: bytes
    """An arrow stream of k rows; empty where k is 0."""
    hashes: np.ndarray
    """(k, 3) uint64: of the record's name, the patient (0 without one), the signal's checksums."""
    deviations: np.ndarray
    """(k, chest leads) float32 mV, see :class:`ecglib.datasets.quality.Screened`."""
    facts: dict[str, Any]
    """What else is to be known, for JSON."""


class Journal:
    """The journal and the signals in `folder`, opened where the last whole unit ended.

    Args:
        seen: called with each unit that is there already, without its rows, its samples flat, in order.
    """

    def __init__(self, folder: Path, seen: Callable[[Part], None]) -> None:
        self.units = self.records = 0
        self._tables: list[tuple[int, int]] = []  # start and size of each in the file
        self._log = _open(folder / NAME)
        self._signals = _open(folder / "signals.npy")
        end = self._replay(seen)
        self._log.truncate(end)
        self._signals.truncate(HEADER + self._bytes)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        self._signals.close()

    def append(self, part: Part) -> None:
        """Write what a unit gave; it counts once this has returned."""
        signals = memoryview(np.ascontiguousarray(part.signals, "<i2")).cast("B") if part.signals.size else b""
        self._signals.seek(HEADER + self._bytes)
        self._signals.write(signals)
        self._signals.flush()
        own = {"records": len(part.signals), "bytes": len(signals), "crc": zlib.crc32(signals), "rows": len(part.table)}
        facts = json.dumps([own, part.facts]).encode()
        body = part.table + part.hashes.tobytes() + part.deviations.tobytes()
        entry = _ENTRY.pack(_MARK, len(facts), len(body), zlib.crc32(body, zlib.crc32(facts))) + facts + body
        start = self._log.seek(0, 2)
        self._log.write(entry)
        self._log.flush()
        self._count(own, start + _ENTRY.size + len(facts))

    def tables(self) -> Iterator[pa.Table]:
        """The rows of one unit after the other."""
        import pyarrow as pa

        for start, size in self._tables:
            self._log.seek(start)
            yield pa.ipc.open_stream(self._log.read(size)).read_all()

    def signals(self) -> Iterator[np.ndarray]:
        """All samples, in blocks."""
        self._signals.seek(HEADER)
        while block := self._signals.read(1 << 22):
            yield np.frombuffer(block, "<i2")

    def finish(self, shape: tuple[int, int, int]) -> None:
        """Give signals.npy its header."""
        npy_header(self._signals, shape)
        self._signals.flush()

    def _count(self, own: dict[str, int], rows_at: int) -> None:
        self.units += 1
        self.records += own["records"]
        self._bytes += own["bytes"]
        if own["rows"]:
            self._tables.append((rows_at, own["rows"]))

    def _replay(self, seen: Callable[[Part], None]) -> int:
        """Go through what is there up to the first thing that is not whole; give the place in the journal."""
        self._bytes = end = 0
        self._log.seek(0)
        self._signals.seek(HEADER)
        while len(head := self._log.read(_ENTRY.size)) == _ENTRY.size:
            mark, *sizes, crc = _ENTRY.unpack(head)
            if mark != _MARK:
                break
            facts, body = (self._log.read(size) for size in sizes)
            if zlib.crc32(body, zlib.crc32(facts)) != crc:
                break
            own, more = json.loads(facts)
            signals = self._signals.read(own["bytes"])
            if zlib.crc32(signals) != own["crc"]:
                break
            self._count(own, end + _ENTRY.size + len(facts))
            n, rows = own["records"], own["rows"]
            hashes = np.frombuffer(body[rows:], np.uint64, 3 * n).reshape(n, 3)
            rest = np.frombuffer(body[rows + hashes.nbytes :], np.float32).reshape(n, -1 if n else 0)
            samples = np.frombuffer(signals, "<i2")
            seen(Part(samples, b"", hashes, rest, more))
            end += _ENTRY.size + sum(sizes)
        return end


def _open(file: Path) -> BinaryIO:
    file.touch()
    return open(file, "r+b")
