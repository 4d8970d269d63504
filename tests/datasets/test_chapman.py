"""ecglib.datasets.chapman: a folder in the published layout, and what can be wrong with it."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ptb_xl_tree import ecg

from ecglib.datasets import chapman, rule, spreadsheet
from ecglib.datasets.chapman_files import COLUMNS, MEASURED, read_csv
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual
from ecglib.signals import resample

NAMES = [f"MUSE_20180111_1551{k:02d}_19000" for k in range(5)]
ROWS = [
    ("AFIB", "RBBB TWC", 85, "MALE"),
    ("AF", "NONE", "59", "FEMALE"),  # a number kept as text
    ("SA", "NONE", 20.0, "FEMALE"),
    ("SVT", "STDD STTC STDD", 999, "MALE"),
    ("SB", "XYZ", None, None),
]
MACHINE = [117, 234, 114, 356, 496, 81, -27, 19, 208, 265, 386]


def signal(seed: int, length: int = 5000) -> np.ndarray:
    """(12, T) whole numbers of uV."""
    return ecg(seed, length)


def write_sheet(file: Path, rows: list, title: str = "Sheet1") -> None:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(list(row))
    book.save(file)


def diagnostics() -> list:
    return [COLUMNS, *((name, *row, *MACHINE) for name, row in zip(NAMES, ROWS))]


def write_csv(file: Path, uv: np.ndarray, names=LEADS, fmt: str = "%d") -> None:
    head = ",".join(names) + "\n" if names else ""
    with open(file, "w") as out:
        out.write(head)
        np.savetxt(out, uv.T, delimiter=",", fmt=fmt)


@pytest.fixture
def folder(tmp_path) -> Path:
    source = tmp_path / "chapman"
    (source / "ECGData").mkdir(parents=True)
    (source / "ECGDataDenoised").mkdir()
    for k, name in enumerate(NAMES):
        write_csv(source / "ECGData" / f"{name}.csv", signal(k))
        write_csv(source / "ECGDataDenoised" / f"{name}.csv", signal(k) / 3, None, "%.12g")
    write_sheet(source / "Diagnostics.xlsx", diagnostics())
    names = [("Acronym Name", "Full Name"), ("RBBB ", "right bundle branch block"), ("TWC", "T wave Change")]
    write_sheet(source / "ConditionNames.xlsx", [*names, ("STDD", "ST drop down"), ("STTC", "ST-T Change")])
    return source


def build(source: Path, to: str = "cohort", **options):
    return chapman.build(source, source.parent / to, **{"rate": 500, "progress": False, **options})


def test_signals_as_published(folder):
    cohort = build(folder)
    np.testing.assert_array_equal(cohort.counts(cohort.rows), [signal(k) for k in range(5)])
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (500, 5000, LEADS, 0.001)
    assert limb_residual(cohort.signal_mv()).max() < 0.001
    cohort.verify()


def test_the_denoised_files_have_no_row_of_names(folder):
    cohort = build(folder, signals="denoised")
    assert cohort.length == 5000  # the first sample is not taken for a header
    np.testing.assert_allclose(cohort.signal_mv(), [signal(k) / 3000 for k in range(5)], atol=0.000501)
    assert "Signals are those that the authors filtered (ECGDataDenoised)." in cohort.info.notes


def test_another_rate_and_segments(folder):
    cohort = build(folder, rate=100)
    expected = resample(signal(2).astype(np.float32) / 1000, rate=500, to_rate=100)
    np.testing.assert_allclose(cohort[2].signal, expected, atol=0.000501)
    parts = build(folder, "parts", seconds=2.5)
    assert parts.records["record"].tolist()[:5] == [*(f"{NAMES[0]}/{k}" for k in range(4)), f"{NAMES[1]}/0"]
    np.testing.assert_array_equal(parts.counts([5])[0], signal(1)[:, 1250:2500])
    assert parts.patients_in_several_folds() == []


def test_the_table(folder):
    records = build(folder).records
    assert records["record"].tolist() == records["patient"].tolist() == records["source_record"].tolist() == NAMES
    np.testing.assert_array_equal(records["age"], [85, 59, 20, np.nan, np.nan])
    assert records["sex"].tolist() == ["male", "female", "female", "male", None]
    assert records["statements"].tolist() == [
        ["AFIB", "RBBB", "TWC"], ["AF"], ["SA"], ["SVT", "STDD", "STTC"], ["SB", "XYZ"],
    ]  # fmt: skip
    assert records["rhythm"].tolist() == ["AFIB", "AF", "SA", "SVT", "SB"]
    assert records.loc[0, list(MEASURED.values())].tolist() == MACHINE
    assert records["fold"].between(1, 10).all()


def test_tasks(folder):
    cohort = build(folder)
    rhythm = cohort.labels("rhythm")
    assert len(cohort.classes("rhythm")) == 11
    assert [cohort.classes("rhythm")[k] for k in rhythm.argmax(axis=1)] == [
        "atrial fibrillation", "atrial flutter", "sinus irregularity", "supraventricular tachycardia",
        "sinus bradycardia",
    ]  # fmt: skip
    assert (rhythm.sum(axis=1) == 1).all()
    assert cohort.classes("rhythm4") == ("AFIB", "GSVT", "SB", "SR")
    assert cohort.labels("rhythm4").argmax(axis=1).tolist() == [0, 0, 3, 1, 2]
    assert cohort.classes("condition") == ("RBBB", "STDD", "STTC", "TWC", "XYZ")
    assert cohort.labels("condition").sum(axis=1).tolist() == [2, 0, 0, 2, 1]
    assert "Conditions that ConditionNames.xlsx does not name: XYZ." in cohort.info.notes
    (folder / "ConditionNames.xlsx").unlink()
    assert not any("does not name" in note for note in build(folder, "without").info.notes)


def test_zeros_flat_leads_and_missing_samples_are_counted(folder):
    zero, part, gap = np.zeros((12, 5000), int), signal(1), signal(2).astype(float)
    part[:, 1000:1600] = 0
    gap[3, 100:120] = np.nan
    for k, values in enumerate((zero, part, gap)):
        write_csv(folder / "ECGData" / f"{NAMES[k]}.csv", values, fmt="%g")
    cohort = build(folder)
    assert cohort.records["record"].tolist() == [NAMES[1], NAMES[3], NAMES[4]]
    notes = cohort.info.notes
    both = f"{NAMES[0]}, {NAMES[1]}"
    assert f"2 records read with all leads at zero for a second or more ({both})." in notes
    assert f"1 record dropped, with a flat lead ({NAMES[0]})." in notes
    assert f"1 record dropped, with missing samples ({NAMES[2]})." in notes
    kept = build(folder, "kept", bad="keep")
    assert len(kept) == 5
    assert (kept.counts([2])[0, 3, 100:120] == 0).all()


def test_a_record_that_stops_early_is_counted(folder):
    """One of the published denoised files has 1,926 rows."""
    write_csv(folder / "ECGDataDenoised" / f"{NAMES[3]}.csv", signal(3, 1926), None)
    cohort = build(folder, signals="denoised")
    assert cohort.records["record"].tolist() == [*NAMES[:3], NAMES[4]]
    assert f"1 record read with fewer than 5,000 samples ({NAMES[3]})." in cohort.info.notes
    tiled = build(folder, "tiled", signals="denoised", shorter="tile")
    np.testing.assert_array_equal(tiled.counts([3])[0][:, 1926:3852], signal(3, 1926))


def test_leads_by_name(folder):
    order = [3, 0, 1, 2, *range(4, 12)]
    write_csv(folder / "ECGData" / f"{NAMES[1]}.csv", signal(1)[order], [LEADS[k].upper() for k in order])
    np.testing.assert_array_equal(build(folder).counts([1])[0], signal(1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"I,II,III\n1,2,3\n", "has 3 columns where 12 leads are needed"),
        (",".join(["I", "I", *LEADS[2:]]).encode() + b"\n" + b"1," * 11 + b"1\n", "lead I occurs twice"),
        (",".join([*LEADS[:11], "V9"]).encode() + b"\n" + b"1," * 11 + b"1\n", "lead V6 is missing"),
        (",".join(LEADS).encode() + b"\n", "cut short or damaged|holds no samples"),
        (b"", "has 1 columns|no samples"),
        (",".join(LEADS).encode() + b"\n" + b"1," * 11 + b"1\n1,2,3", r"is cut short or damaged \(CSV parse error"),
        (",".join(LEADS).encode() + b"\n" + b"1," * 11 + b"1\n" + b"1," * 11 + b"-\n", "is cut short or damaged"),
        (b"\xff\xfe\x00\x01" * 50, "has 1 columns"),
    ],
)
def test_damaged_files(folder, content, said):
    (folder / "ECGData" / f"{NAMES[2]}.csv").write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        build(folder)
    assert f"{NAMES[2]}.csv" in str(raised.value)
    assert os.listdir(folder.parent) == [folder.name]


def test_a_file_that_is_far_too_long(folder, monkeypatch):
    monkeypatch.setattr("ecglib.datasets.chapman_files.LIMIT", 1000)
    with pytest.raises(InputError, match="where a record has about a million"):
        build(folder)


def test_a_part_of_the_set(folder):
    (folder / "ECGData" / f"{NAMES[1]}.csv").unlink()
    with pytest.raises(InputError, match=rf"{NAMES[1]}\.csv is missing"):
        build(folder)
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == [NAMES[0], *NAMES[2:]]
    assert "1 record left out, being listed and not there." in cohort.info.notes
    before = chapman.key(folder, rate=500, absent="skip")
    write_csv(folder / "ECGData" / f"{NAMES[1]}.csv", signal(1))
    assert chapman.key(folder, rate=500, absent="skip") != before
    with pytest.raises(InputError, match="absent is 'omit'"):
        build(folder, absent="omit")
    for name in NAMES:
        (folder / "ECGData" / f"{name}.csv").unlink()
    with pytest.raises(InputError, match="holds no record that Diagnostics"):
        build(folder, "empty", absent="skip")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows, rows[1]], f"lists the record '{NAMES[0]}' twice"),
        (lambda rows: [row[:1] + row[2:] for row in rows], r"Diagnostics\.xlsx has no column Rhythm"),
        (lambda rows: [(*row, "Rhythm") for row in rows], r"has two columns Rhythm"),
        (lambda rows: rows[:1], "holds no record that"),
        (lambda rows: [], "has no column FileName"),
        (lambda rows: [rows[0], (NAMES[0], "AFIBB", *rows[1][2:])], "the rhythm 'AFIBB'. Did you mean 'AFIB'"),
        (lambda rows: [rows[0], (f"../{NAMES[0]}", *rows[1][1:])], "which is no file's name"),
        (lambda rows: [rows[0], ("=1+1", *rows[1][1:])], r"has a formula in row 2 \(=1\+1\)"),
    ],
)
def test_sheets_that_cannot_be(folder, change, said):
    write_sheet(folder / "Diagnostics.xlsx", change(diagnostics()))
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_a_damaged_sheet(folder):
    sheet = folder / "Diagnostics.xlsx"
    whole = sheet.read_bytes()
    for content in (whole[: len(whole) // 2], b"no zip", b""):
        sheet.write_bytes(content)
        with pytest.raises(InputError, match=r"Diagnostics\.xlsx is no spreadsheet"):
            build(folder)
    with zipfile.ZipFile(sheet, "w") as archive:
        archive.writestr("else.txt", "no workbook")
    with pytest.raises(InputError, match=r"Diagnostics\.xlsx is no spreadsheet"):
        build(folder)


def test_a_zip_bomb_is_not_unpacked(folder, monkeypatch):
    sheet = folder / "Diagnostics.xlsx"
    with zipfile.ZipFile(sheet, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/zeros.bin", bytes(5_000_000))
    assert os.path.getsize(sheet) < 50_000
    monkeypatch.setattr(spreadsheet, "LIMIT", 1_000_000)
    with pytest.raises(InputError, match=r"unpacks to 5,\d\d\d,\d\d\d bytes, more than 1,000,000"):
        build(folder)


def test_more_rows_or_columns_than_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(spreadsheet, "ROWS", 3)
    write_sheet(tmp_path / "a.xlsx", [("A",)] * 4)
    with pytest.raises(InputError, match="more than 3 rows or 64 columns"):
        spreadsheet.read(tmp_path / "a.xlsx", ("A",))
    write_sheet(tmp_path / "b.xlsx", [range(65)])
    with pytest.raises(InputError, match="more than 3 rows or 64 columns"):
        spreadsheet.read(tmp_path / "b.xlsx", ("A",))
    with pytest.raises(InputError, match=r"c\.xlsx is missing"):
        spreadsheet.read(tmp_path / "c.xlsx", ("A",))


def test_cells_of_any_kind_come_as_text(tmp_path):
    import datetime

    day = datetime.datetime(2020, 1, 2)
    write_sheet(tmp_path / "a.xlsx", [("A", "B "), (1, " x "), (2.0, 2.5), (None, None), ("3", True), (day, "é")])
    table = spreadsheet.read(tmp_path / "a.xlsx", ("B", "A"))
    assert table["A"].tolist() == ["1", "2", "3", "2020-01-02T00:00:00"]
    assert table["B"].tolist() == ["x", "2.5", "True", "é"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-32767, 32767), min_size=12, max_size=12), min_size=1, max_size=20), st.booleans())
def test_whatever_is_written_is_read(tmp_path_factory, rows, named):
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    uv = np.array(rows).T
    write_csv(file, uv, LEADS if named else None)
    mv, names = read_csv(str(file))
    assert names == LEADS
    np.testing.assert_allclose(mv, uv / 1000, rtol=1e-6)


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"ECGData has no Diagnostics\.xlsx"):
        build(folder / "ECGData")
    with pytest.raises(InputError, match="signals is 'filtered'"):
        build(folder, signals="filtered")
    for seconds in (30, None):
        with pytest.raises(InputError, match="are 10 s long; give 10 or less"):
            build(folder, seconds=seconds)
    with pytest.raises(InputError, match="bad is 'dropp'"):
        build(folder, bad="dropp")
    (folder / "ECGDataDenoised").rename(folder / "other")
    with pytest.raises(InputError, match=r"has no folder ECGDataDenoised; unpack ECGDataDenoised\.zip"):
        build(folder, signals="denoised")


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    keys = {chapman.key(folder, rate=500), chapman.key(folder, rate=100), chapman.key(folder, rate=500, bad="keep")}
    assert first.info.key in keys
    assert len(keys | {chapman.key(folder, rate=500, signals="denoised")}) == 4
    write_sheet(folder / "Diagnostics.xlsx", diagnostics()[:-1])
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert chapman.found(folder)
    assert not chapman.found(folder / "ECGData")
    assert not chapman.found(tmp_path / "no")


def test_a_path_beyond_ascii_and_a_folder_that_is_read_only(folder):
    other = folder.rename(folder.parent / "Chapman größe 心電図")
    for path in (other / "ECGData", other):
        path.chmod(0o555)
    try:
        assert len(build(other)) == 5
    finally:
        for path in (other, other / "ECGData"):
            path.chmod(0o755)


def test_units_of_any_size_give_the_same(folder, monkeypatch):
    one = build(folder, "a")
    monkeypatch.setattr(chapman, "CHUNK", 2)
    some = build(folder, "b", workers=0)
    assert one.info == some.info
    np.testing.assert_array_equal(one.counts(one.rows), some.counts(some.rows))


def test_the_reader_goes_to_another_process(folder):
    reader = chapman._Reader(str(folder / "ECGData"), rule.Target(100, 10))
    table = pd.DataFrame({"source_record": NAMES[1:3]})
    raw = pickle.loads(pickle.dumps(reader))(pickle.loads(pickle.dumps(table)))
    assert raw.chunk.signals.shape == (2, 12, 1000)
    assert (raw.read, raw.rows["record"].tolist()) == (2, NAMES[1:3])
