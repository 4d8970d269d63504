"""ecglib.datasets.code15: two tiny parts in the published layout, and what can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from code_tree import exams, row, signal, write_part

from ecglib.datasets import code15, code_tracings
from ecglib.datasets.folds import deal
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual
from ecglib.signals import resample

LENGTHS = {1169160: 4096, 13: 2934, 4416614: 4000, 214626: 2800, 26: 4096}
PARTS = {"exams_part0.hdf5": [13, 1169160, 214626], "exams_part17.hdf5": [4416614, 26]}
LISTED = [  # neither in the order of the parts nor in that of their rows
    {"exam_id": 4416614, "patient_id": 7, "trace_file": "exams_part17.hdf5", "AF": True, "ST": True, "age": 17},
    {"exam_id": 1169160, "patient_id": 523632, "trace_file": "exams_part0.hdf5", "normal_ecg": True, "death": False,
     "timey": 2.098628, "is_male": False},
    {"exam_id": 26, "patient_id": 7, "trace_file": "exams_part17.hdf5", "age": 300},
    {"exam_id": 13, "patient_id": 7, "trace_file": "exams_part0.hdf5", "1dAVb": True, "RBBB": True, "death": True,
     "timey": 0.5},
    {"exam_id": 214626, "patient_id": 99, "trace_file": "exams_part0.hdf5", "normal_ecg": True, "LBBB": True},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five exams of three patients in two parts, one of the patients in both."""
    source = tmp_path / "code15"
    source.mkdir()
    for name, ids in PARTS.items():
        write_part(source / name, ids, [row(signal(exam, LENGTHS[exam])) for exam in ids])
    exams(LISTED).to_csv(source / "exams.csv", index=False)
    return source


def build(source: Path, to: str = "cohort", **options):
    return code15.build(source, source.parent / to, **{"rate": 400, "progress": False, "workers": 0, **options})


def test_signals_in_the_order_of_the_files(folder):
    cohort = build(folder)
    assert cohort.records["record"].tolist() == ["13", "1169160", "214626", "4416614", "26"]
    for k, exam in enumerate([13, 1169160, 214626, 4416614, 26]):
        mv = signal(exam, LENGTHS[exam])
        expected = np.zeros((12, 4000))
        expected[:, : min(4000, mv.shape[1])] = mv[:, :4000]
        np.testing.assert_allclose(cohort[k].signal, expected, atol=0.00051, err_msg=str(exam))
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (400, 4000, LEADS, 0.001)
    assert limb_residual(cohort.signal_mv()).max() < 0.002
    assert "2 records shorter than 10 s, followed by 0 mV." in cohort.info.notes
    assert "One stored unit is taken as 0.5 mV." in cohort.info.notes
    cohort.verify()


def test_the_table(folder):
    records = build(folder).records.set_index("record")
    assert records["patient"].tolist() == ["7", "523632", "99", "7", "7"]
    assert records["recorded_s"].tolist() == [7.335, 10.24, 7.0, 10.0, 10.24]
    assert records["sex"].tolist() == ["male", "female", "male", "male", "male"]
    np.testing.assert_array_equal(records["age"], [50, 50, 50, 17, np.nan])
    assert records["part"].tolist() == ["exams_part0.hdf5"] * 3 + ["exams_part17.hdf5"] * 2
    assert records["normal_ecg"].tolist() == [False, True, True, False, False]
    assert records["death"].isna().tolist() == [False, False, True, True, True]
    assert [bool(dead) for dead in records["death"][:2]] == [True, False]
    np.testing.assert_array_equal(records["timey"], [0.5, 2.098628, np.nan, np.nan, np.nan])
    assert records["nn_predicted_age"].tolist() == [48.25] * 5


def test_labels(folder):
    cohort = build(folder)
    assert cohort.records["statements"].tolist() == [
        ["1dAVb", "RBBB"], ["none of the six", "normal_ecg"], ["LBBB", "normal_ecg"], ["AF", "ST"], ["none of the six"],
    ]  # fmt: skip
    assert cohort.classes("code") == ("1dAVb", "AF", "LBBB", "RBBB", "SB", "ST")
    expected = [[1, 0, 0, 1, 0, 0], [0] * 6, [0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1], [0] * 6]
    np.testing.assert_array_equal(cohort.labels("code"), expected)
    normal = cohort.labels("code_normal")[:, cohort.classes("code_normal").index("normal_ecg")]
    assert normal.tolist() == [0, 1, 1, 0, 0]
    assert len(cohort.labelled("code_none")) == 5  # so that a protocol keeps the exams without any of the six


def test_without_normal_ecg_there_is_no_such_class(folder):
    exams(LISTED).drop(columns=["normal_ecg", "death", "timey", "nn_predicted_age"]).to_csv(
        folder / "exams.csv", index=False
    )
    cohort = build(folder)
    assert set(cohort.info.label_sets) == {"code", "code_none"}
    assert "normal_ecg" not in cohort.records.columns
    assert not any("normal_ecg" in said for said in cohort.records["statements"])


def test_a_patient_stays_in_one_fold(folder):
    cohort = build(folder)
    assert cohort.patients_in_several_folds() == []
    assert cohort.records["fold"].between(1, 10).all()
    folds = [deal(str(k)) for k in range(5000)]
    assert min(np.bincount(folds)[1:]) > 420  # 500 expected, standard deviation 21


def test_zeros_inside_are_signal_and_one_lead_of_zeros_is_no_padding(folder):
    mv = signal(13, 2934)
    mv[:, 1000:1200] = 0  # a gap that was recorded
    mv[6, :100] = 0
    write_part(folder / "exams_part0.hdf5", PARTS["exams_part0.hdf5"],
               [row(mv), *(row(signal(exam, LENGTHS[exam])) for exam in (1169160, 214626))])  # fmt: skip
    cohort = build(folder)
    np.testing.assert_allclose(cohort[0].signal[:, :2934], mv, atol=0.00051)
    assert cohort.records["recorded_s"][0] == 7.335


def test_short_exams_as_asked(folder):
    dropped = build(folder, "dropped", shorter="drop")
    assert dropped.records["record"].tolist() == ["1169160", "4416614", "26"]
    assert "2 records shorter than 10 s, left out." in dropped.info.notes
    tiled = build(folder, "tiled", shorter="tile")
    mv = signal(13, 2934)
    np.testing.assert_allclose(tiled[0].signal, np.tile(mv, 2)[:, :4000], atol=0.00051)
    seven = build(folder, "seven", seconds=7)
    assert not any("shorter" in note for note in seven.info.notes)
    assert seven.length == 2800
    halves = build(folder, "halves", seconds=5)
    assert halves.records["record"].tolist()[:4] == ["13", "1169160/0", "1169160/1", "214626"]
    assert halves.patients_in_several_folds() == []
    np.testing.assert_allclose(halves[2].signal, signal(1169160, 4096)[:, 2000:4000], atol=0.00051)
    only(folder, 214626)
    with pytest.raises(InputError, match=r"no exam is 10\.2 s long; choose shorter segments or pad or tile"):
        build(folder, "none", seconds=10.2, shorter="drop")


def only(folder: Path, exam: int) -> None:
    """Leave one exam in exams.csv."""
    exams([one for one in LISTED if one["exam_id"] == exam]).to_csv(folder / "exams.csv", index=False)


def test_another_rate(folder):
    cohort = build(folder, rate=500)
    mv = signal(26, 4096).astype(np.float32)
    np.testing.assert_allclose(cohort[4].signal, resample(mv, rate=400, to_rate=500)[:, :5000], atol=0.0011)
    assert (cohort.rate, cohort.length) == (500, 5000)
    short = resample(signal(13, 2934).astype(np.float32), rate=400, to_rate=500)  # nothing of the zeros in it
    np.testing.assert_allclose(cohort[0].signal[:, : short.shape[1]], short, atol=0.0011)
    assert not cohort[0].signal[:, short.shape[1] :].any()


def test_another_unit(folder):
    cohort = build(folder, unit_mv=0.1)
    np.testing.assert_allclose(cohort[1].signal, 0.2 * signal(1169160, 4096)[:, :4000], atol=0.00051)
    assert "One stored unit is taken as 0.1 mV." in cohort.info.notes
    for unit in (0, -1, float("nan"), float("inf"), True, "1"):
        with pytest.raises(InputError, match=r"unit_mv is .*; give the mV of one stored unit"):
            build(folder, "no", unit_mv=unit)


def test_zero_missing_and_flat_tracings(folder):
    missing, flat = row(signal(1169160, 4096)), row(signal(214626, 2800))
    missing[500:600, 3] = np.nan
    flat[648:3448, 7] = 0.25  # constant, and shorter than the segment
    write_part(folder / "exams_part0.hdf5", PARTS["exams_part0.hdf5"], [np.zeros((4096, 12)), missing, flat])
    cohort = build(folder)
    assert cohort.records["record"].tolist() == ["4416614", "26"]
    notes = cohort.info.notes
    assert "1 record left out, being zero throughout (13)." in notes
    assert "1 record dropped, with missing samples (1169160)." in notes
    assert "1 record dropped, with a flat lead (214626)." in notes
    kept = build(folder, "kept", bad="keep")
    assert kept.records["record"].tolist() == ["1169160", "214626", "4416614", "26"]
    assert not kept[0].signal[3, 500:600].any()
    assert not kept.counts([1])[0, 7].any()


def test_a_tracing_that_is_missing_throughout(folder):
    nothing = np.full((4096, 12), np.nan)
    write_part(folder / "exams_part17.hdf5", PARTS["exams_part17.hdf5"], [nothing, row(signal(26, 4096))])
    cohort = build(folder)
    assert "1 record dropped, with missing samples (4416614)." in cohort.info.notes
    assert cohort.records["record"].tolist() == ["13", "1169160", "214626", "26"]


def test_some_of_the_parts(folder):
    (folder / "exams_part17.hdf5").unlink()
    with pytest.raises(InputError, match=r'lacks exams_part17\.hdf5; get and unpack all parts, or give absent="skip"'):
        build(folder)
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == ["13", "1169160", "214626"]
    assert "2 records left out, being listed and not there." in cohort.info.notes
    before = code15.key(folder, rate=400, absent="skip")
    write_part(folder / "exams_part17.hdf5", [26], [row(signal(26, 4096))])
    assert code15.key(folder, rate=400, absent="skip") != before
    (folder / "exams_part0.hdf5").unlink()
    with pytest.raises(InputError, match=r"exams_part0\.hdf5; get and unpack"):
        build(folder, "no")
    (folder / "exams_part17.hdf5").unlink()
    with pytest.raises(InputError, match=r"lacks exams_part0\.hdf5 and 1 more"):
        build(folder, "no")
    with pytest.raises(InputError, match=r"holds none of the exams that exams\.csv lists"):
        build(folder, "no", absent="skip")
    with pytest.raises(InputError, match="absent is 'omit'"):
        build(folder, "no", absent="omit")


def test_exams_of_one_list_and_not_of_the_other(folder):
    stranger = row(signal(5, 4096))
    write_part(folder / "exams_part17.hdf5", [5, 26], [stranger, row(signal(26, 4096))])
    with pytest.raises(InputError, match=r"exams_part17\.hdf5 lacks the exam 4416614; get it again, or give absent="):
        build(folder)
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == ["13", "1169160", "214626", "26"]
    np.testing.assert_allclose(cohort[3].signal, signal(26, 4096)[:, :4000], atol=0.00051)
    assert "1 record left out, being listed and not there." in cohort.info.notes
    assert "1 record left out, being in no row of exams.csv." in cohort.info.notes


def test_in_chunks_and_in_float64(folder):
    ids = PARTS["exams_part0.hdf5"]
    whole = build(folder)
    rows = [row(signal(exam, LENGTHS[exam]), dtype=np.float64) for exam in ids]
    write_part(folder / "exams_part0.hdf5", ids, rows, chunks=(2, 1024, 12), compression="gzip")
    again = build(folder, "again")
    np.testing.assert_array_equal(again.signal_mv(), whole.signal_mv())
    assert again.info.key != whole.info.key


def many(source: Path, count: int, **options) -> list[int]:
    """A folder with one part of `count` exams, every third not listed, in another order than the table."""
    source.mkdir()
    rng = np.random.default_rng(0)
    ids = [int(exam) for exam in rng.permutation(np.arange(100, 100 + count))]
    write_part(source / "exams_part3.hdf5", ids, [row(signal(exam, 300 + exam % 7)) for exam in ids], **options)
    listed = [exam for exam in ids if exam % 3]
    table = [{"exam_id": exam, "patient_id": exam // 2, "trace_file": "exams_part3.hdf5"} for exam in sorted(listed)]
    exams(table).to_csv(source / "exams.csv", index=False)
    return listed


@pytest.mark.parametrize("chunks", [None, (3, 4096, 12)])
def test_many_units_are_the_same_as_one(tmp_path, monkeypatch, chunks):
    listed = many(tmp_path / "code15", 40, chunks=chunks)
    whole = build(tmp_path / "code15", "whole", seconds=0.5, longer="crop")
    monkeypatch.setattr(code_tracings, "ROWS", 4)
    parts = build(tmp_path / "code15", "parts", seconds=0.5, longer="crop")
    assert parts.records["record"].tolist() == [str(exam) for exam in listed]
    assert parts.info.fingerprint == whole.info.fingerprint
    for k, exam in enumerate(listed):
        np.testing.assert_allclose(parts[k].signal, signal(exam, 300 + exam % 7)[:, :200], atol=0.00051)


def test_in_several_processes(tmp_path, monkeypatch):
    many(tmp_path / "code15", 12)
    monkeypatch.setattr(code_tracings, "ROWS", 4)
    alone = build(tmp_path / "code15", "alone", seconds=0.5, longer="crop")
    together = build(tmp_path / "code15", "together", seconds=0.5, longer="crop", workers=2)
    assert together.info.fingerprint == alone.info.fingerprint


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == code15.key(folder, rate=400) != code15.key(folder, rate=500)
    exams(LISTED[::-1]).to_csv(folder / "exams.csv", index=False)
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert code15.found(folder)
    assert not code15.found(tmp_path)
    assert not code15.found(tmp_path / "no")
    exams(LISTED).drop(columns=["trace_file", "patient_id"]).to_csv(folder / "exams.csv", index=False)  # as SaMi-Trop
    assert not code15.found(folder)
    (folder / "exams.csv").write_bytes(b"\xff\xfe\x00")
    assert not code15.found(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: pd.concat([table, table[:1]]), r"exams\.csv lists the exam 4416614 twice"),
        (lambda table: table.drop(columns=["LBBB", "ST"]), r"exams\.csv has no column LBBB, ST"),
        (lambda table: table.assign(patient_id=[1, None, 3, 4, 5]), "has no patient_id in row 3"),
        (lambda table: table.assign(trace_file=["", *table["trace_file"][1:]]), "has no trace_file in row 2"),
        (lambda table: table.assign(trace_file="../exams_part0.hdf5"), r"names the part '\.\./exams_part0\.hdf5'"),
        (lambda table: table.assign(trace_file="/etc/passwd"), "names the part '/etc/passwd'"),
        (lambda table: table.assign(AF=[0, 1, 2, 0, 1]), "has '2' in AF, row 4, which is neither True nor False"),
        (lambda table: table.assign(SB=[True, None, True, True, True]), "has '' in SB, row 3"),
        (lambda table: table[:0], "holds none of the exams"),
    ],
)
def test_tables_that_cannot_be(folder, change, said):
    change(exams(LISTED)).to_csv(folder / "exams.csv", index=False)
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def write_h5(folder: Path, **datasets) -> None:
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        for name, values in datasets.items():
            file[name] = values


ROWS = np.zeros((4, 4096, 12), np.float32)
IDS = np.array([13, 1169160, 214626, 0])


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"tracings": ROWS}, r"exams_part0\.hdf5 has no exam_id"),
        ({"exam_id": IDS}, r"exams_part0\.hdf5 has no tracings"),
        ({"exam_id": IDS, "tracings": ROWS[:3]}, r"has the shape \(3, 4096, 12\), not \(4, 4096, 12\)"),
        ({"exam_id": IDS, "tracings": ROWS[:, :4000]}, r"has the shape \(4, 4000, 12\)"),
        ({"exam_id": IDS, "tracings": ROWS[:, :, :8]}, r"has the shape \(4, 4096, 8\)"),
        ({"exam_id": IDS, "tracings": ROWS.astype(np.int16)}, "holds int16, not floating-point numbers"),
        ({"exam_id": IDS.astype(float), "tracings": ROWS}, "holds float64, not integers"),
        ({"exam_id": np.array([13, 1169160, 13, 0]), "tracings": ROWS}, "holds the exam 13 twice"),
        ({"exam_id": IDS, "tracings": h5py.ExternalLink("exams_part17.hdf5", "/tracings")}, "as a link to elsewhere"),
    ],
)
def test_parts_that_cannot_be(folder, datasets, said):
    write_h5(folder, **datasets)
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_a_part_that_is_cut_short(folder):
    part = folder / "exams_part17.hdf5"
    content = part.read_bytes()
    for length in (0, 100, len(content) - 1):
        part.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"exams_part17\.hdf5 is cut short, damaged or no HDF5 .*get the file"):
            build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_a_part_that_is_damaged_inside(folder):
    ids = PARTS["exams_part17.hdf5"]
    part = folder / "exams_part17.hdf5"
    write_part(part, ids, [row(signal(exam, LENGTHS[exam])) for exam in ids], chunks=(1, 4096, 12), compression="gzip")
    with h5py.File(part) as file:
        chunk = file["tracings"].id.get_chunk_info(1)
    content = bytearray(part.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    part.write_bytes(content)
    with pytest.raises(InputError, match=r"exams_part17\.hdf5 is cut short, damaged"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"has no exams\.csv; give the folder of CODE-15%"):
        build(tmp_path)
    for seconds in (30, None):
        with pytest.raises(InputError, match=r"holds 10\.24 s at most; give 10, say"):
            build(folder, seconds=seconds)
    with pytest.raises(InputError, match="bad is 'omit'"):
        build(folder, bad="omit")
    (folder / "exams.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"exams\.csv cannot be read|has no column"):
        build(folder)


def test_a_path_beyond_ascii_that_is_read_only(folder):
    other = folder.rename(folder.parent / "CODE größe 心電図")
    other.chmod(0o500)
    try:
        assert len(build(other)) == 5
        assert sorted(os.listdir(other)) == ["exams.csv", *PARTS]
    finally:
        other.chmod(0o700)
