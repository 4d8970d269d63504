"""ecglib.datasets.ptb_diag: a tree in the published layout, and what can be wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ptb_xl_tree import ecg

from ecglib.datasets import ptb_diag
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.signals import resample

NAMES = [lead.lower() for lead in LEADS] + ["vx", "vy", "vz"]
RECORDS = {"patient001/s0010_re": 38400, "patient001/s0014lre": 25000, "patient104/s0306lre": 9000,
           "patient104/s0307lre": 10000, "patient294/s0559_re": 12000}  # fmt: skip
COMMENTS = [
    ("81", "female", "Myocardial infarction"),
    ("81", "female", "Myocardial infarction"),
    ("58", "male", "Healthy control"),
    ("58", "male", "Healthy control"),
    ("n/a", "male", "n/a"),
]


def signal_of(record: str) -> np.ndarray:
    """(15, T) int16 counts of 0.0005 mV."""
    twelve = ecg(int(record[-7:-3].strip("s_")), RECORDS[record])
    frank = np.random.default_rng(1).integers(-900, 900, (3, twelve.shape[1]))
    return np.concatenate([twelve, frank.astype(np.int16)])


def write_record(source: Path, record: str, signal: np.ndarray, *, rate=1000, comments="", names=NAMES) -> None:
    """A header, the twelve leads in .dat, the Frank leads in .xyz, in format 16."""
    stem = source / record
    stem.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{stem.name} {len(signal)} {rate} {signal.shape[1]}"]
    for k, (name, lead) in enumerate(zip(names, signal)):
        checksum = (int(lead.astype(np.int64).sum()) + 32768) % 65536 - 32768
        lines.append(f"{stem.name}.{'dat' if k < 12 else 'xyz'} 16 2000 16 0 {lead[0]} {checksum} 0 {name}")
    Path(f"{stem}.hea").write_text("\n".join(lines) + "\n" + comments)
    Path(f"{stem}.dat").write_bytes(signal[:12].T.astype("<i2").tobytes())  # (L, T) -> (T, L)
    Path(f"{stem}.xyz").write_bytes(signal[12:].T.astype("<i2").tobytes())


def comment(age: str, sex: str, reason: str) -> str:
    return (
        f"# age: {age}\n# sex: {sex}\n# ECG date: 01/10/1990\n# Diagnose:\n# Reason for admission: {reason}\n"
        "# Acute infarction (localization): infero-latera\n# Former infarction (localization): no\n"
        "# Additional diagnoses: Diabetes mellitus\n# Smoker: no\n# Number of coronary vessels involved: 1\n"
        "# Infarction date (acute): 29-Sep-90\n# Hemodynamics:\n# Catheterization date: 16-Oct-90\n"
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five records of three patients, of 38.4, 25, 9, 10 and 12 s."""
    source = tmp_path / "ptbdb"
    for record, cells in zip(RECORDS, COMMENTS):
        write_record(source, record, signal_of(record), comments=comment(*cells))
    (source / "RECORDS").write_text("\n".join(RECORDS) + "\n")
    return source


def build(source: Path, to: str = "cohort", **options):
    return ptb_diag.build(source, source.parent / to, **{"rate": 1000, "progress": False, **options})


def test_segments_of_the_twelve_leads(folder):
    cohort = build(folder)
    names = [f"patient001/s0010_re/{k}" for k in range(4)] + [f"patient001/s0014lre/{k}" for k in range(3)]
    assert cohort.records["record"].tolist() == [*names, "patient104/s0307lre", "patient294/s0559_re"]
    long, middle = signal_of("patient001/s0010_re")[:12], signal_of("patient001/s0014lre")[:12]
    parts = [long[:, k * 10000 : (k + 1) * 10000] for k in range(3)] + [long[:, -10000:]]
    parts += [middle[:, :10000], middle[:, 10000:20000], middle[:, -10000:], signal_of("patient104/s0307lre")[:12]]
    parts += [signal_of("patient294/s0559_re")[:12, :10000]]
    np.testing.assert_array_equal(cohort.counts(cohort.rows), parts)
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (1000, 10000, LEADS, 0.0005)
    assert "1 record dropped, being shorter than 10 s." in cohort.info.notes
    assert not any("checksum" in note for note in cohort.info.notes)
    cohort.verify()


def test_another_rate(folder):
    cohort = build(folder, rate=100, longer="crop")
    whole = resample(signal_of("patient001/s0010_re")[:12].astype(np.float32) / 2000, rate=1000, to_rate=100)
    np.testing.assert_allclose(cohort[0].signal, whole[:, :1000], atol=0.00026)
    assert (len(cohort), cohort.rate, cohort.length) == (4, 100, 1000)


def test_the_table(folder):
    records = build(folder, longer="crop", shorter="pad").records
    assert records["record"].tolist() == records["source_record"].tolist() == list(RECORDS)
    assert records["patient"].tolist() == ["patient001", "patient001", "patient104", "patient104", "patient294"]
    assert records["fold"].tolist() == [2, 2, 5, 5, 5]
    np.testing.assert_array_equal(records["age"], [81, 81, 58, 58, np.nan])
    assert records["sex"].tolist() == ["female", "female", "male", "male", "male"]
    reasons = ["Myocardial infarction"] * 2 + ["Healthy control"] * 2
    assert records["statements"].tolist() == [*([reason] for reason in reasons), []]
    assert records["ecg_date"].tolist() == ["01/10/1990"] * 5
    assert records["acute_infarction"].tolist() == ["infero-latera"] * 5
    assert records["additional_diagnoses"].tolist() == ["Diabetes mellitus"] * 5


def test_labels(folder):
    cohort = build(folder, longer="crop")
    assert len(cohort.classes("admission")) == 9
    assert cohort.classes("infarction") == ("control", "infarction")
    assert cohort.labels("infarction").tolist() == [[0, 1], [0, 1], [1, 0], [0, 0]]
    assert "1 record without a reason for admission." in cohort.info.notes


def test_reasons_are_grouped(folder):
    record = "patient104/s0307lre"
    write_record(folder, record, signal_of(record), comments=comment("58", "male", "Heart failure (NYHA 3)"))
    cohort = build(folder, longer="crop")
    assert cohort.classes("admission")[int(cohort.labels("admission")[2].argmax())] == "Cardiomyopathy/Heart failure"
    write_record(folder, record, signal_of(record), comments=comment("58", "male", "Broken heart"))
    other = build(folder, "other", longer="crop")
    assert other.labels("admission")[2].sum() == 0
    assert other.records["statements"][2] == ["Broken heart"]
    assert "1 record with a reason for admission that is in no class (Broken heart)." in other.info.notes


def test_a_patient_stays_in_one_fold(folder):
    assert build(folder, seconds=2).patients_in_several_folds() == []


def test_flat_and_missing_segments(folder):
    broken = signal_of("patient001/s0010_re")
    broken[4, :10000] = 3
    broken[8, 25000] = -32768
    broken[13, 15000] = -32768  # in a Frank lead: of no account
    write_record(folder, "patient001/s0010_re", broken, comments=comment(*COMMENTS[0]))
    cohort = build(folder)
    assert cohort.records["record"].tolist()[:3] == [
        "patient001/s0010_re/1",
        "patient001/s0010_re/3",
        "patient001/s0014lre/0",
    ]
    assert "1 record dropped, with missing samples (patient001/s0010_re/2)." in cohort.info.notes
    assert "1 record dropped, with a flat lead (patient001/s0010_re/0)." in cohort.info.notes
    assert len(build(folder, "kept", bad="keep")) == 9


def test_without_a_list_of_records(folder):
    (folder / "RECORDS").unlink()
    assert build(folder, longer="crop", shorter="tile").records["record"].tolist() == sorted(RECORDS)


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == ptb_diag.key(folder, rate=1000) != ptb_diag.key(folder, rate=1000, seconds=5)
    record = "patient104/s0307lre"
    write_record(folder, record, signal_of(record), comments=comment("58", "male", "Dysrhythmia"))
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert ptb_diag.found(folder)
    assert not ptb_diag.found(folder / "patient001")
    assert not ptb_diag.found(tmp_path / "no")
    write_record(tmp_path / "mine", "patient001/s1", signal_of("patient104/s0307lre"), comments="# age: 30\n")
    assert not ptb_diag.found(tmp_path / "mine")


@pytest.mark.parametrize("suffix", ["dat", "xyz"])
def test_files_cut_short_or_missing(folder, suffix):
    file = folder / f"patient001/s0010_re.{suffix}"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"s0010_re"):
        build(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"s0010_re"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 500}, r"s0010_re\.hea says 500 Hz where rate is 1000"),
        ({"names": [*NAMES[:11], "v7", *NAMES[12:]]}, r"s0010_re\.hea: lead V6 is missing"),
        ({"names": ["i", "i", *NAMES[2:]]}, r"s0010_re\.hea: lead I occurs twice"),
    ],
)
def test_headers_that_cannot_be(folder, change, said):
    write_record(folder, "patient001/s0010_re", signal_of("patient001/s0010_re"), **change)
    with pytest.raises(InputError, match=said):
        build(folder)


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no WFDB record"):
        build(tmp_path / "empty")
    with pytest.raises(InputError, match="no record is 60 s long"):
        build(folder, seconds=60)
    (folder / "RECORDS").write_text("patient001/s0010_re\npatient001/s0010_re\n")
    with pytest.raises(InputError, match=r"RECORDS lists patient001/s0010_re twice"):
        build(folder)
    (folder / "RECORDS").write_text("patient001/s0011_re\n")
    with pytest.raises(InputError, match=r"s0011_re\.hea is missing"):
        build(folder)
    (folder / "RECORDS").write_text("stray/s0001_re\n")
    with pytest.raises(InputError, match="lies in no folder patientNNN"):
        build(folder)


def test_a_path_beyond_ascii(folder):
    other = folder.rename(folder.parent / "PTB größe 心電図")
    assert len(build(other)) == 9


def test_other_processes_read_the_same(folder):
    assert build(folder, "there", workers=2).info == build(folder, "here", workers=0).info
