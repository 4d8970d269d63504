"""One EDF, EDF+ or BDF file as :class:`Channels`, through pyedflib. Discontinuous files (EDF+D) it refuses.

Source: Kemp B, Olivan J, European data format 'plus' (EDF+), Clinical Neurophysiology 114:1755 (2003).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ecglib.datasets.records.channels import Channels, Choose, affordable, reading, sex_of, single, years
from ecglib.errors import InputError

_NOBODY = ("", "x")
_MOST_SIGNALS = 4096


def read(path: Path, choose: Choose) -> Channels:
    """The file at `path`; see :func:`ecglib.datasets.records.read_record`."""
    import pyedflib

    _check(path)
    with reading("EDF"), pyedflib.EdfReader(str(path), pyedflib.DO_NOT_READ_ANNOTATIONS) as file:
        names = [file.getLabel(k) for k in range(file.signals_in_file)]
        positions, leads, notes = choose(names, len(names))
        lengths = file.getNSamples()
        affordable(sum(float(lengths[k]) for k in positions))
        return Channels(
            leads,
            [single(file.readSignal(k)) for k in positions],  # L x (T,)
            [file.getPhysicalDimension(k) for k in positions],
            [float(file.getSampleFrequency(k)) for k in positions],
            sex=sex_of(file.getSex()),
            notes=notes,
            **_person(file),
        )


def _check(path: Path) -> None:
    """The counts of the header against the file's size, before anything is set aside for them."""
    size = path.stat().st_size
    with reading("EDF"), open(path, "rb") as file:
        fixed = file.read(256)
        if len(fixed) < 256:
            raise ValueError("it is shorter than a header")
        header, records, signals = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
        if not 1 <= signals <= _MOST_SIGNALS or header != 256 * (signals + 1):
            raise ValueError(f"its header says {signals} signals in {header} bytes")
        rest = file.read(header - 256)
        counts = [int(rest[at : at + 8]) for at in range(216 * signals, 224 * signals, 8)]
    if not (labels := rest[: 16 * signals]).isascii() or not rest[96 * signals : 104 * signals].isascii():
        what = "a unit such as µV" if labels.isascii() else "a label"
        raise InputError(f"has {what} with a sign that EDF does not allow; write plain letters (uV) into its header.")
    width = 3 if fixed[:1] == b"\xff" else 2  # bytes a sample: BDF, EDF
    expected = header + records * width * sum(counts)
    if min(counts) < 1 or records < 1 or size != expected:
        raise InputError(
            f"has {size:,} bytes where its header says {expected:,}: it is cut short, damaged or was never closed; "
            f"export it again."
        )


def _person(file) -> dict:
    """Age, start and patient code, of which each may be missing or unreadable."""
    started = born = None
    try:
        started = file.getStartdatetime()
        born = datetime.strptime(file.getBirthdate(), "%d %b %Y") if file.getBirthdate() else None
    except ValueError:
        pass
    code = file.getPatientCode().strip()
    return {"age": years(born, started), "started": started, "patient": None if code.lower() in _NOBODY else code}
