"""Folds for data sets that come without: by a checksum of the patient, the same on every machine and in every run."""

from __future__ import annotations

import zlib


def deal(patient: str, folds: int = 10) -> int:
    """A fold from 1 to `folds`, the same for all records of a patient; numbers of patients differ by chance."""
    return zlib.crc32(patient.encode()) % folds + 1
