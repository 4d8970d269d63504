"""One .npy, .npz or MATLAB .mat file as :class:`Channels`: plain numbers only, never a pickle or an object.

A .npy is (leads, samples) or (samples, leads), told apart by the number of leads given; it says neither rate nor unit.
A .npz and a .mat may hold other variables beside the signal: `rate` (or fs, Fs, sampling_rate), `leads`, `unit`. The
signal is the variable of two dimensions, or the one of a usual name among several.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ecglib.datasets.records import mat as record_mat
from ecglib.datasets.records.channels import Channels, Choose, affordable, reading, single
from ecglib.datasets.records.mat import bounded
from ecglib.errors import InputError

_SIGNALS = ("signal", "signals", "ecg", "val", "data", "x")
_RATES = ("rate", "fs", "sampling_rate", "sample_rate", "samplerate", "sf", "freq", "frequency")
_LEADS, _UNITS = ("leads", "lead_names", "channels", "names"), ("unit", "units")


def read(path: Path, choose: Choose) -> Channels:
    """The file at `path`; see :func:`ecglib.datasets.records.read_record`."""
    suffix = path.suffix.lower()
    found = {".npy": _npy, ".npz": _npz, ".mat": record_mat.read}[suffix](path)
    name = _signal_name(found)
    values = found[name]
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise InputError(
            f"holds {values.dtype} of shape {values.shape}; one record is needed, numbers of (leads, samples)."
        )
    own = {key.lower(): value for key, value in found.items() if key != name}
    names = _texts(next((own[key] for key in _LEADS if key in own), None))
    rate = _scalar(next((own[key] for key in _RATES if key in own), None))
    unit = (_texts(next((own[key] for key in _UNITS if key in own), None)) or [""])[0]
    signal, (positions, leads, notes) = _turned(values, names, choose)
    return Channels(
        leads, [single(signal[k]) for k in positions], [unit] * len(leads), [rate] * len(leads),
        notes=notes,
    )  # fmt: skip


def _turned(values: np.ndarray, names: list[str] | None, choose: Choose) -> tuple[np.ndarray, tuple]:
    """(L, T) whichever way round it was, and what `choose` says of its leads."""
    if not all(values.shape):
        raise InputError("holds no samples; get it or export it again.")
    if names is not None:
        if len(names) not in values.shape:
            raise InputError(f"names {len(names)} leads, but has the shape {values.shape}; export it again.")
        return (values if len(names) == values.shape[0] else values.T), choose(names, len(names))
    short, long = sorted(values.shape)
    if short == long:
        raise InputError(
            f"has the shape {values.shape}, so leads and samples cannot be told apart; transpose or cut it."
        )
    try:  # as many leads as are given; no lead is longer than there are leads in any file worth reading
        return (values if values.shape[0] == short else values.T), choose(None, short)
    except InputError:
        try:
            return (values if values.shape[0] == long else values.T), choose(None, long)
        except InputError:
            pass
        raise


def _signal_name(found: Mapping[str, np.ndarray]) -> str:
    flat = {
        name: value for name, value in found.items() if value.ndim == 2 and value.dtype.kind in "iuf" and value.size > 1
    }
    usual = [name for name in flat if name.lower() in _SIGNALS]
    many = [name for name in flat if min(flat[name].shape) >= 1 and max(flat[name].shape) > 16]
    for names in (usual, many, list(flat), list(found) if len(found) == 1 else []):
        if len(names) == 1:
            return names[0]
    held = ", ".join(list(found)[:8]) or "nothing"
    raise InputError(f"holds {held}, of which none or several may be the signal; save one array of the name 'signal'.")


def _scalar(value: np.ndarray | None) -> float | None:
    if value is None or value.size != 1 or value.dtype.kind not in "iuf":
        return None
    return float(value.reshape(()))


def _texts(value: np.ndarray | None) -> list[str] | None:
    if value is None or value.dtype.kind not in "US" or not value.size:
        return None
    return [item.decode("latin1") if isinstance(item, bytes) else str(item).strip() for item in value.reshape(-1)]


def _npy(path: Path) -> dict[str, np.ndarray]:
    with reading(".npy"):
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # a map: a shape that the file has not is an error
        affordable(values.size, "has")
        return {"signal": np.array(values)}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with reading(".npz"):
        with zipfile.ZipFile(path) as archive:
            bounded(sum(entry.file_size for entry in archive.infolist()))
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files[:64]}
