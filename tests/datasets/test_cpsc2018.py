"""ecglib.datasets.cpsc2018: the published layout, written here from made-up signals, and what can be wrong with it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ptb_xl_tree import ecg
from scipy.io import loadmat, savemat

from ecglib.datasets import cpsc2018
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.signals import resample

HEADER = "Recording,First_label,Second_label,Third_label\n"
ROWS = {"A0001": "5,,", "A0002": "1,,", "A0003": "2,5,7", "A0004": "9,8,"}
SAMPLES = {"A0001": 5000, "A0002": 4000, "A0003": 12600, "A0004": 5000}  # 10, 8, 25.2 and 10 s


def write_mat(file: Path, counts: np.ndarray, *, sex="Male", age=74) -> None:
    """A record as published: MATLAB 5, one 1 x 1 struct ECG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"ECG": {"sex": sex, "age": age, "data": counts / 1000}})


def counts_of(record: str) -> np.ndarray:
    """(12, T) int16."""
    return ecg(int(record[1:]), SAMPLES[record])


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four records in two of the three folders that the training set comes in."""
    source = tmp_path / "CPSC 2018 größe"
    for k, record in enumerate(ROWS):
        people = [("Male", 74), ("Female", 49), ("Male", np.nan), ("", [])]
        write_mat(
            source / f"TrainingSet{1 + k // 2}" / f"{record}.mat",
            counts_of(record),
            sex=people[k][0],
            age=people[k][1],
        )
    write_table(source)
    return source


def write_table(source: Path, rows: dict[str, str] = ROWS, header: str = HEADER) -> None:
    (source / "REFERENCE.csv").write_text(header + "".join(f"{name},{cells}\n" for name, cells in rows.items()))


def build(source: Path, to: str = "cohort", **options):
    return cpsc2018.build(source, source.parent / to, **{"rate": 500, "progress": False, **options})


def test_segments_of_ten_seconds(folder):
    cohort = build(folder)
    assert cohort.records["record"].tolist() == ["A0001", "A0003/0", "A0003/1", "A0003/2", "A0004"]
    assert cohort.records["source_record"].tolist() == ["A0001", "A0003", "A0003", "A0003", "A0004"]
    assert cohort.records["patient"].tolist() == cohort.records["source_record"].tolist()
    long = counts_of("A0003")
    expected = [counts_of("A0001"), long[:, :5000], long[:, 5000:10000], long[:, -5000:], counts_of("A0004")]
    np.testing.assert_array_equal(cohort.counts(cohort.rows), expected)
    assert (cohort.rate, cohort.length, cohort.leads) == (500, 5000, LEADS)
    assert "1 record dropped, being shorter than 10 s." in cohort.info.notes
    cohort.verify()


def test_short_records_tiled(folder):
    cohort = build(folder, shorter="tile", longer="crop")
    assert cohort.records["record"].tolist() == list(ROWS)
    short = counts_of("A0002")
    np.testing.assert_array_equal(cohort.counts([1])[0], np.concatenate([short, short[:, :1000]], axis=1))


def test_another_rate(folder):
    cohort = build(folder, rate=100)
    expected = resample(counts_of("A0001").astype(np.float32) / 1000, rate=500, to_rate=100)
    np.testing.assert_allclose(cohort[0].signal, expected, atol=0.00051)
    assert (cohort.rate, cohort.length) == (100, 1000)


def test_the_table(folder):
    records = build(folder).records.drop_duplicates("source_record")
    assert records["sex"].tolist() == ["male", "male", None]
    np.testing.assert_array_equal(records["age"], [74, np.nan, np.nan])
    assert records["statements"].tolist() == [["RBBB"], ["AF", "RBBB", "PVC"], ["STE", "STD"]]
    assert records["fold"].between(1, 10).all()


def test_classes_by_name(folder):
    cohort = build(folder)
    assert cohort.classes("cpsc") == ("AF", "I-AVB", "LBBB", "Normal", "PAC", "PVC", "RBBB", "STD", "STE")
    found = [{name for name, on in zip(cohort.classes("cpsc"), row) if on} for row in cohort.labels("cpsc")]
    assert found == [{"RBBB"}, *[{"AF", "RBBB", "PVC"}] * 3, {"STE", "STD"}]


def test_all_segments_of_a_record_lie_in_one_fold(folder):
    assert build(folder).patients_in_several_folds() == []
    again = build(folder, "other", seconds=2)
    folds = again.records.groupby("source_record")["fold"].unique()
    assert all(len(there) == 1 for there in folds)
    assert folds["A0001"][0] == build(folder).records["fold"][0]  # whatever the segments


def test_flat_and_missing_segments(folder):
    broken = counts_of("A0003") / 1000
    broken[3, 5000:10000] = 0.2
    broken[7, 11000] = np.nan
    write_mat(folder / "TrainingSet2" / "A0003.mat", broken * 1000)
    dropped = build(folder)
    assert dropped.records["record"].tolist() == ["A0001", "A0003/0", "A0004"]
    assert "1 record dropped, with missing samples (A0003/2)." in dropped.info.notes
    assert "1 record dropped, with a flat lead (A0003/1)." in dropped.info.notes
    assert len(build(folder, "kept", bad="keep")) == 5


def test_records_that_the_table_does_not_list(folder):
    write_mat(folder / "A9999.mat", ecg(9, 5000))
    assert "1 record left out, not being in REFERENCE.csv." in build(folder).info.notes


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == cpsc2018.key(folder, rate=500) != cpsc2018.key(folder, rate=500, shorter="pad")
    write_table(folder, ROWS | {"A0001": "3,,"})
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert cpsc2018.found(folder)
    (folder / "REFERENCE.csv").rename(folder / "TrainingSet1" / "REFERENCE.csv")
    assert cpsc2018.found(folder)
    assert build(folder).records["record"][0] == "A0001"
    assert not cpsc2018.found(folder / "TrainingSet2")
    (folder / "TrainingSet1" / "REFERENCE.csv").write_text("A00001,N\n")  # as the 2017 challenge's
    assert not cpsc2018.found(folder)
    assert not cpsc2018.found(tmp_path / "no")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("A0001,10,,\n", r"has the label '10' in row 2"),
        ("A0001,,,\n", r"has the label '' in row 2"),
        ("A0001,AF,,\n", r"has the label 'AF' in row 2"),
        ("A0001,1,,\nA0001,2,,\n", r"has the Recording 'A0001' a second time in row 3"),
        (",1,,\n", r"has no Recording in row 2"),
        ("", r"lists no record"),
        ("A0001,1,,\nA0008,1,,\nA0009,1,,\n", r"lacks 2 records that REFERENCE\.csv lists, A0008\.mat the first"),
    ],
)
def test_tables_that_cannot_be(folder, rows, said):
    (folder / "REFERENCE.csv").write_text(HEADER + rows)
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_another_table(folder):
    (folder / "REFERENCE.csv").write_text("Recording,Label\nA0001,1\n")
    with pytest.raises(InputError, match="has no column First_label, Second_label, Third_label"):
        build(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], "is no record of CPSC2018 or damaged"),
        (lambda whole: whole[:100], "is no record of CPSC2018 or damaged"),
        (lambda whole: b"", "is no record of CPSC2018 or damaged"),
        (lambda whole: b"A0003 12 500 5000\n" * 400, "is no record of CPSC2018 or damaged"),
    ],
)
def test_damaged_files(folder, content, said):
    file = folder / "TrainingSet2" / "A0003.mat"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(InputError, match=rf"A0003\.mat {said}"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("sex", "age"), [("Male", 74), ("Female", 49.5), ("F", np.nan), ("", []), ("?", 300)])
def test_a_record_as_scipy_reads_it(tmp_path, packed, sex, age):
    file = tmp_path / "A0001.mat"
    savemat(file, {"ECG": {"sex": sex, "age": age, "data": ecg(1, 700) / 1000}}, do_compression=packed)
    twin = loadmat(file, squeeze_me=True, struct_as_record=False)["ECG"]
    signal, years, said = cpsc2018.read_record(file)
    np.testing.assert_array_equal(signal, twin.data.astype(np.float32))
    ages = np.atleast_1d(twin.age)
    np.testing.assert_equal(years, float(ages[0]) if ages.size and 0 <= ages[0] <= 120 else np.nan)
    assert said == {"Male": "male", "Female": "female", "F": "female"}.get(str(twin.sex))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("cpsc") / "A0001.mat"
    savemat(file, {"ECG": {"sex": "Male", "age": 74, "data": ecg(1, 20) / 1000}})
    return file.read_bytes()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(124, 400), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 2**16))
def test_whatever_is_damaged_ends_in_a_sentence_or_a_record(small, changes, length):
    content = bytearray(small)
    for at, byte in changes:
        content[at] = byte
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "A0001.mat")
        file.write_bytes(content[: length or None])
        with suppress(InputError):  # anything else fails, and a crash would end the tests
            signal, age, _ = cpsc2018.read_record(file)
            assert len(signal) == 12
            assert not np.isinf(signal).any()
            assert np.isnan(age) or 0 <= age <= 120


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"val": np.ones((12, 5000))}, "is no record of CPSC2018"),  # as the challenge of 2020 has them
        ({"ECG": {"sex": "Male", "age": 3}}, "is no record of CPSC2018"),
        ({"ECG": {"sex": "Male", "age": 3, "data": np.ones((8, 5000))}}, r"data of the shape \(8, 5000\)"),
        ({"ECG": {"sex": "Male", "age": 3, "data": np.ones((5000, 12))}}, r"data of the shape \(5000, 12\)"),
        ({"ECG": {"sex": "Male", "age": 3, "data": np.full((12, 9), np.inf)}}, "samples that are infinite"),
    ],
)
def test_other_matlab_files(folder, content, said):
    savemat(folder / "TrainingSet2" / "A0003.mat", content)
    with pytest.raises(InputError, match=said):
        build(folder)


def test_what_is_not_there(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"holds no REFERENCE\.csv"):
        build(folder / "TrainingSet1")
    write_mat(folder / "A0001.mat", counts_of("A0001"))
    with pytest.raises(InputError, match=r"A0001\.mat lies both in "):
        build(folder)
    (folder / "A0001.mat").unlink()
    with pytest.raises(InputError, match=r"no record of REFERENCE\.csv is 60 s long"):
        build(folder, seconds=60)
    with pytest.raises(InputError, match="longer is 'cut'"):
        build(folder, longer="cut")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_to(folder, tmp_path):
    (tmp_path / "fixed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        build(folder, "fixed/cohort")


def test_a_source_that_cannot_be_written_to(folder):
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert len(build(folder)) == 5
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_about():
    assert cpsc2018.ABOUT.name == "cpsc2018"
    assert not cpsc2018.ABOUT.credentialed


def test_other_processes_read_the_same(folder):
    assert build(folder, "there", workers=2).info == build(folder, "here", workers=0).info
