"""One DICOM file of an ECG waveform as :class:`Channels`, through pydicom.

A file holds up to five multiplex groups. Read is the rhythm: the original group with the most leads, the longest among
equals, joined with those that run beside it at the same rate; a derived group or one named after a median or average
beat is not taken. Value in the channel's unit = stored value x sensitivity x correction factor + baseline. Leads are
told by their code, SCP-ECG (5.6.3-9-N) or MDC (2:N), else by its meaning ("Lead I (Einthoven)").

Source: DICOM PS3.3 C.10.9 (waveform) and A.34 (ECG), PS3.16 CID 3001 (ECG leads).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets.records.channels import Channels, Choose, affordable, lead_of, reading, sex_of, single, years
from ecglib.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_CODE = re.compile(r"(?:MDC_)?(?:5\.6\.3-9-|2:)0*(\d+)")
_NUMBERS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {k: f"V{k - 2}" for k in range(3, 9)}
_BEAT = re.compile(r"median|average|mean|template|representative|beat", re.IGNORECASE)
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_DTYPES = {  # WaveformBitsAllocated and WaveformSampleInterpretation; not the companded ones, MB and AB
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4",
}  # fmt: skip


def read(path: Path, choose: Choose) -> Channels:
    """The file at `path`; see :func:`ecglib.datasets.records.read_record`."""
    import pydicom
    from pydicom.filereader import read_file_meta_info

    with reading("DICOM"):
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == _DEFLATED:
            raise InputError("is a deflated DICOM file; save it without compression (dcmconv +te).")
        data = pydicom.dcmread(path, stop_before_pixels=True)
        groups = list(data.get("WaveformSequence") or [])
        if not groups:
            what = getattr(data.get("SOPClassUID"), "name", None) or "unknown"
            raise InputError(f"is a DICOM file without a waveform ({what}); export the ECG as a 12-lead ECG waveform.")
        rhythm, notes = _rhythm(groups)
        return _channels(data, rhythm, ">" if syntax == _BIG_ENDIAN else "<", choose, notes)


def _rhythm(groups: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """The groups to read, of one rate, length and start, and notes."""
    original = [
        group for group in groups
        if group.get("WaveformOriginality", "ORIGINAL") != "DERIVED"
        and not _BEAT.search(str(group.get("MultiplexGroupLabel") or ""))
    ]  # fmt: skip
    if not original:
        raise InputError("holds derived waveforms only, such as a median beat; export the rhythm as well.")
    clocks = [_clock(group) for group in original]
    beside = [[g for g, c in zip(original, clocks) if c == clock] for clock in clocks]
    best = max(beside, key=lambda some: (sum(int(g.NumberOfWaveformChannels) for g in some), _seconds(some[0])))
    left = len(original) - len(best)
    more = f"holds {left} more group{'s' * (left > 1)} of leads at other times or rates, which were not read"
    return best, [more] if left else []


def _clock(group: Dataset) -> tuple[float, int, float]:
    offset = float(group.get("MultiplexGroupTimeOffset") or 0)
    return float(group.SamplingFrequency), int(group.NumberOfWaveformSamples), offset


def _seconds(group: Dataset) -> float:
    return int(group.NumberOfWaveformSamples) / (float(group.SamplingFrequency) or 1)


def _channels(data: Dataset, groups: Sequence[Dataset], order: str, choose: Choose, notes: list[str]) -> Channels:
    definitions = [definition for group in groups for definition in _definitions(group)]
    affordable(float(len(definitions)) * int(groups[0].NumberOfWaveformSamples))
    stored = [values for group in groups for values in _stored(group, order)]  # C x (T,)
    names = [_name(definition) for definition in definitions]
    positions, leads, more = choose(names if any(names) else None, len(names))
    taken = [definitions[k] for k in positions]
    signals = []
    for k, definition in zip(positions, taken):
        sensitivity = _number(definition, "ChannelSensitivity", 1) * _number(
            definition, "ChannelSensitivityCorrectionFactor", 1
        )
        if not sensitivity:
            raise InputError(f"has a sensitivity of zero in {names[k]!r}, so its signal is not calibrated.")
        signals.append(single(stored[k] * sensitivity + _number(definition, "ChannelBaseline", 0)))
    started = _started(data)
    return Channels(
        leads, signals, [_unit(definition) for definition in taken], [float(groups[0].SamplingFrequency)] * len(taken),
        age=_age(data, started), sex=sex_of(data.get("PatientSex") or ""), started=started,
        patient=str(data.get("PatientID") or "").strip() or None, notes=[*notes, *more],
    )  # fmt: skip


def _definitions(group: Dataset) -> list[Dataset]:
    definitions, said = list(group.get("ChannelDefinitionSequence") or []), int(group.NumberOfWaveformChannels)
    if len(definitions) != said or not said:
        raise InputError(f"says {said} channels and describes {len(definitions)}; export it again.")
    return definitions


def _stored(group: Dataset, order: str) -> np.ndarray:
    """(C, T) float64 as stored, NaN for padding; InputError where the data are fewer than the header says."""
    bits, kind = int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation)
    if (bits, kind) not in _DTYPES:
        raise InputError(
            f"stores samples as {kind} of {bits} bits, which are not read here; export it with 16 bits (SS)."
        )
    channels, samples, content = (
        int(group.NumberOfWaveformChannels),
        int(group.NumberOfWaveformSamples),
        group.WaveformData,
    )
    expected = channels * samples * bits // 8
    if samples < 1 or not isinstance(content, bytes) or len(content) < expected:
        raise InputError(f"holds fewer samples than the {samples:,} a channel that its header says; get it again.")
    dtype = np.dtype(f"{order}{_DTYPES[bits, kind]}")
    values = np.frombuffer(content, dtype, channels * samples).reshape(samples, channels)
    stored = values.T.astype(np.float64)  # (T, C) -> (C, T)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= dtype.itemsize:
        stored[stored == np.frombuffer(padding, dtype, 1)[0]] = np.nan
    return stored


def _name(definition: Dataset) -> str:
    """A channel's lead by code, else what the file calls it."""
    source = next(iter(definition.get("ChannelSourceSequence") or []), None)
    label = str(definition.get("ChannelLabel") or "")
    if source is None:
        return label
    code = _CODE.fullmatch(str(source.get("CodeValue") or "").strip())
    meaning = str(source.get("CodeMeaning") or "")
    if code:  # a code of another lead (V7, Frank's X) is none of the twelve, whatever its meaning looks like
        return _NUMBERS.get(int(code[1]), f"lead {code[0]}")
    return meaning if lead_of(meaning) or not label else label


def _unit(definition: Dataset) -> str:
    """ "" where samples are bare counts."""
    units = next(iter(definition.get("ChannelSensitivityUnitsSequence") or []), None)
    if definition.get("ChannelSensitivity") is None or units is None:
        return ""
    return str(units.get("CodeValue") or "")


def _number(definition: Dataset, name: str, default: float) -> float:
    value = definition.get(name)
    number = default if value is None or value == "" else float(value)
    if not np.isfinite(number):
        raise InputError(f"has a {name} that is no number; export it again.")
    return number


def _age(data: Dataset, started: datetime | None) -> float | None:
    """PatientAge such as "056Y" or "018M", else from the date of birth."""
    match = re.fullmatch(r"\s*(\d{1,3})([DWMY])\s*", str(data.get("PatientAge") or ""))
    if match:
        age = int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
        return round(age, 1) if age <= 120 else None
    return years(_day(data.get("PatientBirthDate")), started)


def _started(data: Dataset) -> datetime | None:
    whole = str(data.get("AcquisitionDateTime") or "")
    parts = [f"{data.get(f'{what}Date') or ''}{data.get(f'{what}Time') or ''}" for what in ("Acquisition", "Study")]
    for text in (whole, *parts):
        for form, length in (("%Y%m%d%H%M%S", 14), ("%Y%m%d%H%M", 12), ("%Y%m%d", 8)):
            try:
                return datetime.strptime(text[:length], form)
            except ValueError:
                continue
    return None


def _day(text: object) -> date | None:
    try:
        return datetime.strptime(str(text or "")[:8], "%Y%m%d").date()
    except ValueError:
        return None
