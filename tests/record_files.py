"""One ECG written as a file of every format that is read, with the package that knows the format."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ecglib.leads import LEADS, derive_limb

STARTED = datetime(2024, 5, 17, 10, 20, 30)
SCPECG = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64} | {f"V{k}": k + 2 for k in range(1, 7)}


def beats(seed: int = 0, seconds: float = 4, rate: float = 250) -> np.ndarray:
    """(12, T) float64 mV: P, QRS and T as bumps, each lead of its own size, limb leads that agree."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * rate)) / rate
    period = rng.uniform(0.7, 1.0)
    phase = (at + rng.uniform(0, period)) % period - 0.3
    bumps = [np.exp(-(((phase - middle) / width) ** 2)) for middle, width in ((-0.16, 0.03), (0, 0.02), (0.25, 0.05))]
    wave = rng.uniform(0.05, 0.15, (8, 1)), rng.uniform(-1.2, 1.5, (8, 1)), rng.uniform(-0.1, 0.4, (8, 1))
    eight = sum(size * bump for size, bump in zip(wave, bumps)) + rng.normal(0, 0.005, (8, len(at)))  # (8, T)
    return np.stack([*eight[:2], *derive_limb(*eight[:2]), *eight[2:]])


def write_wfdb(stem: Path, mv: np.ndarray, *, rate: float = 250, leads=None, fmt: str = "212", comments=()) -> Path:
    import wfdb

    stem.parent.mkdir(parents=True, exist_ok=True)
    count = len(mv)
    wfdb.wrsamp(
        stem.name, fs=rate, units=["mV"] * count, sig_name=list(leads or LEADS[:count]), p_signal=mv.T,
        fmt=[fmt] * count, adc_gain=[200.0] * count, baseline=[0] * count, comments=list(comments),
        write_dir=str(stem.parent),
    )  # fmt: skip
    return stem.with_suffix(".hea")


def write_edf(
    file: Path, mv: np.ndarray, *, rate: float = 250, labels: Sequence[str] | None = None, unit: str = "uV",
    rates: Sequence[float] | None = None, sex: int | None = 0, code: str = "P-17", bdf: bool = False,
) -> Path:  # fmt: skip
    """`rates` for signals of several rates: `mv` is then a list of (T,)."""
    import pyedflib

    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pyedflib.FILETYPE_BDFPLUS if bdf else pyedflib.FILETYPE_EDFPLUS
    factor = {"uV": 1000.0, "mV": 1.0, "V": 1e-3}.get(unit, 1000.0)
    top = 10.0 * factor
    with pyedflib.EdfWriter(str(file), len(mv), file_type=kind) as out:
        for k in range(len(mv)):
            digital = 8388607 if bdf else 32767
            header = {
                "label": labels[k] if labels else f"ECG {LEADS[k]}",
                "dimension": unit,
                "sample_frequency": rates[k] if rates else rate,
                "physical_max": top,
                "physical_min": -top,
                "digital_max": digital,
                "digital_min": -digital - 1,
            }
            out.setSignalHeader(k, header)
        out.setStartdatetime(STARTED)
        out.setBirthdate(datetime(1960, 5, 17))
        out.setPatientCode(code)
        if sex is not None:
            out.setSex(sex)
        out.writeSamples([np.ascontiguousarray(lead * factor) for lead in mv])
    return file


def dicom_group(
    mv: np.ndarray, *, rate: float = 250, leads=LEADS, unit: str | None = "uV", sensitivity: float = 2.5,
    correction: float = 1.0, baseline: float = 0.0, scheme: str = "SCPECG", label: str = "RHYTHM",
    originality: str = "ORIGINAL", offset: float = 0.0,
):  # fmt: skip
    """A multiplex group; `sensitivity` and `baseline` are in `unit`."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    group = Dataset()
    group.MultiplexGroupTimeOffset = offset
    group.WaveformOriginality = originality
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = mv.shape
    group.SamplingFrequency = rate
    group.MultiplexGroupLabel = label
    channels = []
    for lead in leads:
        source = Dataset()
        if scheme == "SCPECG":
            source.CodeValue, source.CodeMeaning = f"5.6.3-9-{SCPECG[lead]}", f"Lead {lead}"
        elif scheme == "MDC":
            source.CodeValue, source.CodeMeaning = f"2:{SCPECG[lead]}", f"Lead {lead}"
        else:
            source.CodeValue, source.CodeMeaning = f"X{lead}", f"Lead {lead} (Einthoven)"
        source.CodingSchemeDesignator = scheme
        channel = Dataset()
        channel.ChannelSourceSequence = Items([source])
        if unit is not None:
            units = Dataset()
            units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
            channel.ChannelSensitivity = sensitivity
            channel.ChannelSensitivityUnitsSequence = Items([units])
            channel.ChannelSensitivityCorrectionFactor = correction
            channel.ChannelBaseline = baseline
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = Items(channels)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    factor = {"uV": 1000.0, "mV": 1.0, None: 1000.0}.get(unit, 1.0)
    scale = sensitivity * correction if unit is not None else 1.0
    counts = np.rint((mv * factor - baseline) / scale)
    group.add_new("WaveformPaddingValue", "OW", np.int16(-32768).tobytes())
    counts = np.where(np.isnan(counts), -32768, counts).astype("<i2")
    group.add_new("WaveformData", "OW", counts.T.tobytes())  # (L, T) -> (T, L)
    return group


def write_dicom(
    file: Path, groups, *, age: str = "064Y", sex: str = "F", patient: str = "P-17", kind: str = "1"
) -> Path:
    """A 12-lead ECG (kind "1") or General ECG (kind "2") object; `groups` are of :func:`dicom_group`, or mV (12, T)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    file.parent.mkdir(parents=True, exist_ok=True)
    groups = [dicom_group(groups)] if isinstance(groups, np.ndarray) else list(groups)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.9.1.{kind}"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[file.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.PatientSex, data.PatientAge = "ECG", patient, sex, age
    data.PatientName = "Nobody^Anna"
    data.AcquisitionDateTime = STARTED.strftime("%Y%m%d%H%M%S")
    data.WaveformSequence = Items(groups)
    data.save_as(file, enforce_file_format=True)
    return file


def write_csv(
    file: Path, mv: np.ndarray, *, rate: float | None = 250, leads=LEADS, unit: str | None = "mV", separator: str = ",",
    decimal: str = ".", encoding: str = "utf-8", places: int = 4,
) -> Path:  # fmt: skip
    """With a time column in s where a rate is given, and the unit in the header where one is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{lead} ({unit})" if unit else lead for lead in leads]
    columns = list(mv.T * {"mV": 1, "uV": 1000, None: 1}.get(unit, 1))
    rows = [[f"{value:.{places}f}" for value in row] for row in columns]
    if rate is not None:
        names = ["time (s)", *names]
        rows = [[f"{k / rate:.4f}", *row] for k, row in enumerate(rows)]
    lines = [separator.join(names), *(separator.join(cell.replace(".", decimal) for cell in row) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file
