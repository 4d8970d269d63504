"""Tiny CODE-15% and CODE-test folders in the published layout."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from ptb_xl_tree import ecg

from ecglib.leads import LEADS

CODES = ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"]


def signal(seed: int, length: int) -> np.ndarray:
    """(12, length) mV in whole microvolts, canonical leads that agree, never 0 in all leads at once."""
    return ecg(seed, length).astype(np.float64) / 1000


def row(mv: np.ndarray, names=LEADS, dtype=np.float32) -> np.ndarray:
    """(12, n) mV as a row of tracings (4096, 12): twice the millivolts, in the middle of zeros."""
    stored = np.zeros((4096, 12), dtype)
    before = (4096 - mv.shape[1]) // 2
    stored[before : before + mv.shape[1]] = 2 * mv[[LEADS.index(lead) for lead in names]].T
    return stored


def write_part(path: Path, ids: list[int], rows: list[np.ndarray], **options) -> None:
    """exams_partN.hdf5, with the row of zeros and the exam_id 0 at its end."""
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*ids, 0], np.int64)
        stored = np.stack([*rows, np.zeros((4096, 12), np.float32)])
        file.create_dataset("tracings", data=stored, **options)


def write_tracings(path: Path, rows: list[np.ndarray]) -> None:
    """ecg_tracings.hdf5"""
    with h5py.File(path, "w") as file:
        file["tracings"] = np.stack(rows)


def exams(rows: list[dict]) -> pd.DataFrame:
    """exams.csv, columns in the published order."""
    usual = dict.fromkeys(CODES, False) | {
        "age": 50, "is_male": True, "nn_predicted_age": 48.25, "death": None, "timey": None, "normal_ecg": False,
    }  # fmt: skip
    columns = ["exam_id", "age", "is_male", "nn_predicted_age", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"]
    columns += ["patient_id", "death", "timey", "normal_ecg", "trace_file"]
    return pd.DataFrame([usual | one for one in rows])[columns]
