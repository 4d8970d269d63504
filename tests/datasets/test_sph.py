"""ecglib.datasets.sph: a folder in the published layout, and what can be wrong with it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from ptb_xl_tree import ecg

from ecglib.datasets import rule, sph
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual
from ecglib.signals import resample

CODES = """Code,Description,Category
1,Normal ECG,A
22,Sinus bradycardia,C
60,Ventricular premature complex(es),F
147,T-wave abnormality,L
310,Frequent,General modifier
362,Anterior leads,Location
500,Paced rhythm,Other
"""
RECORDS = [  # ECG_ID, AHA_Code, Patient_ID, Age, Sex, N, Date
    ("A00001", "1", "S00001", 55, "M", 5000, "2020-03-04"),
    ("A00002", "60+310;147", "S00002", 37, "F", 5000, "2019-09-03"),
    ("A00003", "1;1", "S00001", 56, "M", 12600, "2020-07-17"),
    ("A00004", "310+60+362;22; 500", "S00003", "", "", 5500, "2020-07-14"),
]


def signal(seed: int, length: int = 5000) -> np.ndarray:
    """(12, T) float16 mV whose limb leads agree to the rounding."""
    return (ecg(seed, length) / 500).astype(np.float16)


def write_record(file: Path, values: np.ndarray, name: str = "ecg") -> None:
    with h5py.File(file, "w") as out:
        out.create_dataset(name, data=values, compression="gzip")


def save(source: Path, records=RECORDS, codes: str = CODES) -> None:
    table = pd.DataFrame(records, columns=sph.COLUMNS)
    table.to_csv(source / "metadata.csv", index=False)
    (source / "code.csv").write_text(codes)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four records of three patients."""
    source = tmp_path / "sph"
    (source / "records").mkdir(parents=True)
    for k, record in enumerate(RECORDS):
        write_record(source / "records" / f"{record[0]}.h5", signal(k, record[5]))
    save(source)
    return source


def build(source: Path, to: str = "cohort", **options):
    return sph.build(source, source.parent / to, **{"rate": 500, "progress": False, **options})


def test_signals_as_published(folder):
    cohort = build(folder)
    assert cohort.records["record"].tolist() == ["A00001", "A00002", "A00003/0", "A00003/1", "A00003/2", "A00004"]
    expected = [signal(0), signal(1), *(signal(2, 12600)[:, at : at + 5000] for at in (0, 5000, 7600))]
    np.testing.assert_allclose(cohort.signal_mv(slice(0, 5)), expected[:2] + expected[2:], atol=0.000501)
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (500, 5000, LEADS, 0.001)
    assert limb_residual(cohort.signal_mv()).max() < 0.002
    assert "1 record cut into segments of 10 s, each with the statements of the whole." in cohort.info.notes
    cohort.verify()


def test_the_rest_of_a_record_decides_on_one_more_segment():
    assert rule.starts(12600, 5000, "segment") == [0, 5000, 7600]
    assert rule.starts(12400, 5000, "segment") == [0, 5000]


def test_another_rate(folder):
    cohort = build(folder, rate=100, longer="crop")
    assert cohort.records["record"].tolist() == [record[0] for record in RECORDS]
    expected = resample(signal(1).astype(np.float32), rate=500, to_rate=100)
    np.testing.assert_allclose(cohort[1].signal, expected, atol=0.000501)


def test_the_table(folder):
    records = build(folder, longer="crop").records
    assert records["patient"].tolist() == ["S00001", "S00002", "S00001", "S00003"]
    np.testing.assert_array_equal(records["age"], [55, 37, 56, np.nan])
    assert records["sex"].tolist() == ["male", "female", "male", None]
    assert records["statements"].tolist() == [["1"], ["60", "147"], ["1"], ["60", "22", "500"]]
    assert records["aha_code"].tolist() == [record[1] for record in RECORDS]
    assert records["modifiers"].tolist() == ["", "310", "", "310;362"]
    assert records["date"].tolist() == [record[6] for record in RECORDS]
    assert "samples" not in records


def test_tasks(folder):
    cohort = build(folder, longer="crop")
    every = pd.DataFrame(cohort.labels("all"), columns=cohort.classes("all"))
    assert list(every) == [
        "Normal ECG", "Paced rhythm", "Sinus bradycardia", "T-wave abnormality", "Ventricular premature complex(es)",
    ]  # fmt: skip
    assert every["Normal ECG"].tolist() == [1, 0, 1, 0]
    assert every["Ventricular premature complex(es)"].tolist() == [0, 1, 0, 1]
    category = pd.DataFrame(cohort.labels("category"), columns=cohort.classes("category"))
    assert category["overall interpretation"].tolist() == [1, 0, 1, 0]
    assert category["ventricular arrhythmias"].tolist() == [0, 1, 0, 1]
    assert category["Other"].tolist() == [0, 0, 0, 1]  # no letter of the AHA's: as it stands


def test_two_statements_of_one_description_stay_two(folder):
    save(folder, codes=CODES.replace("T-wave abnormality", "Normal ECG"))
    assert {"Normal ECG (1)", "Normal ECG (147)"} < set(build(folder).classes("all"))


def test_a_patient_stays_in_one_fold(folder):
    cohort = build(folder, seconds=2.5)
    assert cohort.patients_in_several_folds() == []
    assert cohort.records.groupby("patient")["fold"].nunique().max() == 1
    assert cohort.records["fold"].between(1, 10).all()


def test_short_segments_and_long_ones(folder):
    notes = build(folder, seconds=20).info.notes
    assert "3 records dropped, being shorter than 20 s." in notes
    with pytest.raises(InputError, match="no record is 60 s long"):
        build(folder, "none", seconds=60)
    assert len(build(folder, "tiled", seconds=60, shorter="tile")) == 4


def test_what_no_heart_does_is_counted_and_clipped(folder):
    values = signal(0)
    values[6, 100:200] = 1590
    values[7, 5] = np.inf  # float16 reaches 65,504
    write_record(folder / "records" / "A00001.h5", values)
    notes = build(folder, bad="keep").info.notes
    assert "1 record read with samples beyond 10 mV (A00001)." in notes
    assert "1 record clipped at the int16 range (A00001)." in notes
    assert "1 record kept, with missing samples set to 0 mV (A00001)." in notes


def test_a_flat_lead_is_dropped(folder):
    values = signal(1)
    values[4] = 0
    write_record(folder / "records" / "A00002.h5", values)
    assert "1 record dropped, with a flat lead (A00002)." in build(folder).info.notes


def test_a_part_of_the_set(folder):
    (folder / "records" / "A00003.h5").unlink()
    with pytest.raises(InputError, match=r"A00003\.h5 is missing"):
        build(folder)
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == ["A00001", "A00002", "A00004"]
    assert "1 record left out, being listed and not there." in cohort.info.notes
    with pytest.raises(InputError, match="absent is 'omit'"):
        build(folder, absent="omit")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "is cut short, damaged or no HDF5"),
        (lambda file: file.write_bytes(b""), "is cut short, damaged or no HDF5"),
        (lambda file: write_record(file, signal(0), "tracings"), "has no ecg"),
        (lambda file: write_record(file, signal(0)[:11]), r"has the shape \(11, 5000\), not \(12, N\)"),
        (lambda file: write_record(file, signal(0).T), r"has the shape \(5000, 12\), not \(12, N\)"),
        (lambda file: write_record(file, signal(0).astype("S4")), r"holds \|S4"),
        (lambda file: write_record(file, signal(0, 4000)), r"has 4,000 samples where metadata\.csv says 5,000"),
        (lambda file: write_record(file, signal(0)[:, :0]), r"has 0 samples where metadata\.csv says 5,000"),
    ],
)
def test_damaged_records(folder, damage, said):
    file = folder / "records" / "A00002.h5"
    damage(file)
    with pytest.raises(InputError, match=said) as raised:
        build(folder)
    assert "A00002.h5" in str(raised.value)
    assert os.listdir(folder.parent) == [folder.name]


def test_a_link_to_another_file_is_not_followed(folder):
    file = folder / "records" / "A00002.h5"
    file.unlink()
    with h5py.File(file, "w") as out:
        out["ecg"] = h5py.ExternalLink(str(folder / "records" / "A00001.h5"), "ecg")
    with pytest.raises(InputError, match="as a link to elsewhere"):
        build(folder)


def test_a_record_of_no_samples(folder):
    save(folder, [(*RECORDS[0][:5], 0, "")])
    write_record(folder / "records" / "A00001.h5", signal(0)[:, :0])
    with pytest.raises(InputError, match=r"A00001\.h5: a signal"):
        build(folder)


@pytest.mark.parametrize(
    ("records", "codes", "said"),
    [
        ([*RECORDS, RECORDS[0]], CODES, "lists the record A00001 twice"),
        (
            [(*RECORDS[0][:1], "1;999", *RECORDS[0][2:])],
            CODES,
            r"gives A00001 the code '999', which is not in code\.csv",
        ),
        ([(*RECORDS[0][:1], "NORM", *RECORDS[0][2:])], CODES, "the code 'NORM', which is not in"),
        ([(*RECORDS[0][:2], "", *RECORDS[0][3:])], CODES, "has an empty cell in row 2"),
        ([(*RECORDS[0][:5], "x", "")], CODES, "says N of A00001 is 'x'"),
        ([("../A00001", *RECORDS[0][1:])], CODES, "which is no file's name"),
        ([], CODES, "holds no record that"),
        (RECORDS, "Code,Description\n1,Normal ECG\n", r"code\.csv has no column Category"),
        (RECORDS, CODES + "1,Again,A\n", "lists the code 1 twice"),
        (RECORDS, CODES + "x,Again,A\n", "has the code 'x', which is no number"),
    ],
)
def test_tables_that_cannot_be(folder, records, codes, said):
    save(folder, records, codes)
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"records has no metadata\.csv"):
        build(folder / "records")
    with pytest.raises(InputError, match="seconds is None"):
        build(folder, seconds=None)
    with pytest.raises(InputError, match="bad is 'dropp'"):
        build(folder, bad="dropp")
    (folder / "records").rename(folder / "other")
    with pytest.raises(InputError, match=r"has no folder records; unpack records\.tar\.gz"):
        build(folder)
    (folder / "metadata.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "records").mkdir()
    with pytest.raises(InputError, match=r"metadata\.csv cannot be read|has no column"):
        build(folder)


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == sph.key(folder, rate=500) != sph.key(folder, rate=100)
    save(folder, RECORDS[:3])
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert sph.found(folder)
    assert not sph.found(folder / "records")
    assert not sph.found(tmp_path / "no")
    (folder / "metadata.csv").write_text("a,b\n1,2\n")
    assert not sph.found(folder)


def test_a_path_beyond_ascii_and_a_folder_that_is_read_only(folder):
    other = folder.rename(folder.parent / "SPH größe 心電図")
    for path in (other / "records", other):
        path.chmod(0o555)
    try:
        assert len(build(other)) == 6
    finally:
        for path in (other, other / "records"):
            path.chmod(0o755)


def test_units_of_any_size_give_the_same(folder, monkeypatch):
    one = build(folder, "a")
    monkeypatch.setattr(sph, "CHUNK", 2)
    some = build(folder, "b", workers=0)
    assert one.info == some.info
    np.testing.assert_array_equal(one.counts(one.rows), some.counts(some.rows))


def test_the_reader_goes_to_another_process(folder):
    reader = sph._Reader(str(folder / "records"), rule.Target(100, 10))
    table = pd.DataFrame({"source_record": ["A00001", "A00003"], "samples": [5000, 12600]})
    raw = pickle.loads(pickle.dumps(reader))(table)
    assert raw.chunk.signals.shape == (4, 12, 1000)
    assert (raw.read, raw.rows["record"].tolist()) == (2, ["A00001", "A00003/0", "A00003/1", "A00003/2"])
