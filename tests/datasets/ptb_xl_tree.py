"""A tiny PTB-XL in the published layout, written byte by byte, and WFDB records to go wrong with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from ecglib.leads import derive_limb

NAMES = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")  # as PTB-XL spells them
CODES = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior myocardial infarction,1.0,,,MI,IMI
ASMI,anteroseptal myocardial infarction,1.0,,,MI,AMI
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
LVH,left ventricular hypertrophy,1.0,,,HYP,LVH
PVC,ventricular premature complex,,1.0,,,
SR,sinus rhythm,,,1.0,,
AFIB,atrial fibrillation,,,1.0,,
"""
STATEMENTS = [
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'IMI': 15.0, 'ASMI': 0.0, 'SR': 0.0}",
    "{'NDT': 0.0, 'PVC': 0.0}",
    "{'SR': 0.0}",
    "{'LVH': 50.0, 'NORM': 80.0, 'AFIB': 0.0}",
    "{}",
]


def ecg(seed: int, length: int = 1000) -> np.ndarray:
    """(12, T) int16 of noise whose limb leads agree to a count."""
    rng = np.random.default_rng(seed)
    i, ii = 2 * rng.integers(-500, 500, (2, length))
    chest = rng.integers(-2000, 2000, (6, length))
    return np.stack([i, ii, *derive_limb(i, ii), *chest]).astype(np.int16)


def write_record(
    stem: Path, signal: np.ndarray, *, rate: int = 100, names=NAMES, gain: str = "1000.0(0)/mV", comments: str = ""
) -> None:
    """(L, T) int16 as a plain format-16 record with right initial values and checksums."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{stem.name} {len(signal)} {rate} {signal.shape[1]}"]
    for name, lead in zip(names, signal):
        checksum = int(lead.astype(np.int64).sum()) % 65536
        lines.append(f"{stem.name}.dat 16 {gain} 16 0 {lead[0]} {checksum} 0 {name}")
    Path(f"{stem}.hea").write_text("\n".join(lines) + "\n" + comments)
    Path(f"{stem}.dat").write_bytes(signal.T.astype("<i2").tobytes())  # (L, T) -> (T, L)


class Tree:
    """A folder like PTB-XL's: six records a round, each in both rates."""

    def __init__(self, path: Path, rounds: int = 2) -> None:
        self.path = path
        n = 6 * rounds
        self.table = pd.DataFrame(
            {
                "ecg_id": np.arange(1, n + 1),
                "patient_id": [float(1000 + k // 2) for k in range(n)],
                "age": [300.0 if k == 1 else 30.0 + k if k != 2 else np.nan for k in range(n)],
                "sex": [k % 2 for k in range(n)],
                "device": [f"CS-{k}" for k in range(n)],
                "nurse": [float(k) if k % 3 else np.nan for k in range(n)],
                "scp_codes": STATEMENTS * rounds,
                "strat_fold": [1 + (k // 2) % 10 for k in range(n)],
                "filename_lr": [f"records100/00000/{k:05d}_lr" for k in range(1, n + 1)],
                "filename_hr": [f"records500/00000/{k:05d}_hr" for k in range(1, n + 1)],
            }
        )
        self.save(self.table, CODES)
        for k in range(n):
            write_record(self.stem(k), ecg(k))
            write_record(self.stem(k, 500), ecg(k, 5000), rate=500)

    def save(self, table: pd.DataFrame, codes: str = CODES) -> None:
        self.path.mkdir(exist_ok=True)
        table.to_csv(self.path / "ptbxl_database.csv", index=False)
        (self.path / "scp_statements.csv").write_text(codes)

    def stem(self, k: int, rate: int = 100) -> Path:
        """The path of the k-th record (from 0), without suffix."""
        return self.path / self.table["filename_lr" if rate == 100 else "filename_hr"][k]

    def file(self, k: int, suffix: str, rate: int = 100) -> Path:
        return Path(f"{self.stem(k, rate)}.{suffix}")

    def write_sums(self) -> Path:
        """SHA256SUMS.txt as PhysioNet writes it."""
        files = sorted(file for file in self.path.rglob("*") if file.is_file())
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(self.path)}\n" for file in files]
        (self.path / "SHA256SUMS.txt").write_text("".join(lines))
        return self.path / "SHA256SUMS.txt"
