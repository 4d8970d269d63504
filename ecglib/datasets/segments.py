"""The records of one unit brought to a target, each as its segments: the middle of a loader's reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets import rule
from ecglib.datasets.parts import Raw

if TYPE_CHECKING:
    import pandas as pd


class Segments:
    """Records are added one by one; `raw` gives their segments, named after them, with their rows.

    Args:
        target: what all are brought to, see :mod:`ecglib.datasets.rule`. scale: mV per count of the result.
    """

    def __init__(self, target: rule.Target, scale: float) -> None:
        self._target, self._scale = target, scale
        self._parts: list[np.ndarray] = []
        self._names: list[str] = []
        self._flags: list[tuple[bool, bool]] = []
        self.each: list[int] = []
        """How many segments each record made, 0 where it is left out for being too short."""

    def add(
        self, record: str, mv: np.ndarray, leads: Sequence[str], rate: float, *, agree: bool = True,
        clipped: bool = False,
    ) -> int:  # fmt: skip
        """Cut (L, T) mV, NaN where samples are missing, and give the number of segments.

        Args:
            leads, rate: of the signal, Hz. agree, clipped: see :class:`ecglib.datasets.wfdb_files.Chunk`.

        Raises:
            InputError: as `rule.to_target`.
        """
        segments = rule.to_target(mv, leads, rate, self._target)  # (L, T) -> (S, L', T')
        self._parts.append(segments)
        self._names += rule.segment_names(record, len(segments))
        self._flags.append((agree, clipped))
        self.each.append(len(segments))
        return len(segments)

    def raw(
        self, rows: pd.DataFrame, counts: Mapping[str, int] | None = None, *, each: bool = False, through_wfdb: int = 0
    ) -> Raw:
        """The unit's `Raw`.

        Args:
            rows: one row for each record added, without the column `record`. each: one for each segment instead.
            counts: what to note; before it comes how many records were too short.
        """
        owner = np.repeat(np.arange(len(self.each)), self.each)  # (sum of S,): of each segment, its record
        chunk = rule.to_chunk(np.concatenate(self._parts), self._scale)
        agree, clipped = np.array(self._flags, bool)[owner].T
        chunk.agree, chunk.clipped, chunk.through_wfdb = agree, chunk.clipped | clipped, through_wfdb
        rows = (rows if each else rows.iloc[owner]).reset_index(drop=True).assign(record=self._names)
        noted = dict(counts or {})
        if (seconds := self._target.seconds) is not None:
            noted = {f"{{records}} dropped, being shorter than {seconds:g} s.": self.each.count(0)} | noted
        return Raw(chunk, rows, noted, read=len(self.each))
