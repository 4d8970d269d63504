"""ecglib.datasets.ludb: the table, the signals and the boundaries, from a tiny tree and from the real records."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ptb_xl_tree import ecg, write_record

from ecglib.datasets import ludb
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.signals import resample

CODES = {"N": 1, "p": 24, "t": 27, "(": 39, ")": 40}
BEAT = [(100, "("), (110, "p"), (130, ")"), (150, "("), (170, "N"), (190, ")"), (1300, "("), (1350, "t"), (1400, ")")]
HEADER = f"ID,Sex,Age,{','.join(ludb.TASKS)}\n"
ROWS = [
    '7,"F\n","51\n",Sinus rhythm,,,,"Left atrial hypertrophy\nLeft ventricular hypertrophy",,,,\n',
    '10,"M\n",">89\n","Atrial fibrillation\nAberrant conduction",,,,,,"Stemi: septal\n",,\n',
    "9,,,Sinus rhythm,,,,,,,,\n",
]


def encode(marks) -> bytes:
    """An annotation file in MIT format, with a skip before a step of more than ten bits."""
    words, before = [], 0
    for at, symbol in marks:
        step, before = at - before, at
        if step > 1023:
            words += [59 << 10, step >> 16, step & 0xFFFF]
            step = 0
        words.append(CODES[symbol] << 10 | step)
    return np.array([*words, 0], "<u2").tobytes()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three records in LUDB's layout, all leads annotated with one beat."""
    source = tmp_path / "ludb"
    for record in ("7", "10", "9"):
        write_record(source / "data" / record, ecg(int(record), 5000), rate=500, names=[n.lower() for n in LEADS])
        for lead in LEADS:
            (source / "data" / f"{record}.{lead.lower()}").write_bytes(encode(BEAT))
    (source / "ludb.csv").write_text(HEADER + "".join(ROWS))
    return source


def annotate(folder: Path, marks, file: str = "7.i") -> pd.DataFrame:
    """The waves of lead I of record 7 once `marks` stand there."""
    (folder / "data" / file).write_bytes(encode(marks))
    table = ludb.boundaries(folder)
    return table[(table["record"] == "7") & (table["lead"] == "I")]


def parse(text: str) -> list[tuple[int, str]]:
    """ "(652 N720 )729" to marks."""
    return [(int(mark[1:]), mark[0]) for mark in text.split()]


def test_one_row_a_wave_in_order(folder):
    table = ludb.boundaries(folder)
    assert table.columns.tolist() == ["record", "lead", "wave", "onset_s", "peak_s", "offset_s"]
    assert table["record"].unique().tolist() == ["7", "10", "9"]
    assert table["lead"].tolist() == [lead for lead in LEADS for _ in range(3)] * 3
    assert table["wave"].tolist() == ["P", "QRS", "T"] * 36
    times = table[["onset_s", "peak_s", "offset_s"]].to_numpy()[:3] * 500
    np.testing.assert_allclose(times, [[100, 110, 130], [150, 170, 190], [1300, 1350, 1400]])


@pytest.mark.parametrize(
    ("marks", "waves"),
    [  # as they stand in records 34, 198, 8, 116 and 116
        ("N1221 )1293 (1354 t1397 )1441", [("QRS", np.nan, 1221, 1293), ("T", 1354, 1397, 1441)]),
        ("p4088 (4089 )4119 (4145 N4162 )4194", [("P", 4089, 4088, 4119), ("QRS", 4145, 4162, 4194)]),
        ("(1066 )1138 (1156 t1214 )1266 (4398 )4461 N4464", [("QRS", 1066, np.nan, 1138), ("T", 1156, 1214, 1266),
                                                             ("QRS", 4398, 4464, 4461)]),
        ("(3037 t3088 (3133 p3202 )3220", [("T", 3037, 3088, np.nan), ("P", 3133, 3202, 3220)]),
        ("(368 (388 (392 (394 t418 t419 t424 t425 )450 )455 )457 )458 (524 p550 )576", [("T", 390, 421.5, 456),
                                                                                        ("P", 524, 550, 576)]),
        ("N700 N1100", [("QRS", np.nan, 700, np.nan), ("QRS", np.nan, 1100, np.nan)]),
    ],
)  # fmt: skip
def test_what_the_files_hold_beside_whole_waves(folder, marks, waves):
    found = annotate(folder, parse(marks))
    assert found["wave"].tolist() == [wave for wave, *_ in waves]
    times = found[["onset_s", "peak_s", "offset_s"]].to_numpy() * 500
    np.testing.assert_allclose(times, [times for _, *times in waves])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pNt"), *[st.integers(1, 60)] * 4), max_size=20), st.integers(0, 2000))
def test_whole_waves_come_back_as_they_are(waves, start):
    marks, expected, at = [], [], start
    for kind, *steps in waves:
        onset, peak, offset = at + np.cumsum(steps[:3])
        marks += [(int(onset), "("), (int(peak), kind), (int(offset), ")")]
        expected.append(({"p": "P", "N": "QRS", "t": "T"}[kind], onset, peak, offset))
        at = int(offset) + steps[3]
    marks = [mark for mark in marks if mark[0] < 5000]
    whole = len(marks) // 3
    read = ludb.read_marks("x.i", encode(marks))
    assert read == marks
    assert list(ludb._waves(read[: 3 * whole], "x.i")) == expected[:whole]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encode(BEAT)[:-2], r"7\.i is no annotation file of LUDB, or damaged"),
        (encode(BEAT)[:-1], r"7\.i is no annotation file of LUDB, or damaged"),
        (encode(BEAT) + encode(BEAT), r"7\.i is no annotation file of LUDB, or damaged"),
        (b"", r"7\.i is no annotation file of LUDB, or damaged"),
        (np.array([5 << 10 | 8, 0], "<u2").tobytes(), r"7\.i is no annotation file of LUDB, or damaged"),
        (encode([(5000, "N")]), r"7\.i is no annotation file of LUDB, or damaged"),
        (np.array([59 << 10, 3], "<u2").tobytes(), r"7\.i is no annotation file of LUDB, or damaged"),
        (encode(parse("(100 p110 )130 )190")), r"7\.i has a boundary that belongs to no wave, at sample 190"),
        (encode(parse("(100 (400 p410 )430")), r"7\.i has a boundary that belongs to no wave, at sample 100"),
        (encode(parse("(100 p110 )130 (300 )330")), r"7\.i has a boundary that belongs to no wave, at sample 300"),
    ],
)
def test_damaged_annotations(folder, content, said):
    (folder / "data" / "7.i").write_bytes(content)
    with pytest.raises(InputError, match=said):
        ludb.boundaries(folder)


def test_the_table(folder):
    cohort = ludb.build(folder, folder.parent / "c", progress=False)
    records = cohort.records
    assert records["record"].tolist() == records["patient"].tolist() == ["7", "10", "9"]
    assert records["fold"].tolist() == [8, 1, 10]
    np.testing.assert_array_equal(records["age"], [51, 90, np.nan])
    assert records["sex"].tolist() == ["female", "male", None]
    assert records["statements"].tolist() == [
        ["Sinus rhythm", "Left atrial hypertrophy", "Left ventricular hypertrophy"],
        ["Atrial fibrillation", "Aberrant conduction", "Stemi: septal"],
        ["Sinus rhythm"],
    ]
    assert cohort.classes("rhythm") == ("Aberrant conduction", "Atrial fibrillation", "Sinus rhythm")
    np.testing.assert_array_equal(cohort.labels("hypertrophy"), [[1, 1], [0, 0], [0, 0]])
    assert cohort.info.notes[:2] == (
        "1 of age over 89, entered as 90.",
        "Folds are ours: the record's number modulo 10, plus 1.",
    )


def test_signals_at_their_own_rate_and_at_another(folder):
    own = ludb.build(folder, folder.parent / "c", progress=False)
    assert (own.rate, own.length, own.leads) == (500, 5000, LEADS)
    np.testing.assert_array_equal(own.counts(own.rows), [ecg(k, 5000) for k in (7, 10, 9)])
    low = ludb.build(folder, folder.parent / "low", rate=100, progress=False)
    expected = resample(own.counts(own.rows).astype(np.float32), rate=500, to_rate=100)
    np.testing.assert_array_equal(low.counts(low.rows), np.rint(expected))
    assert (low.rate, low.length) == (100, 1000)
    assert "Resampled from 500 to 100 Hz." in low.info.notes
    with pytest.raises(InputError, match=r"cannot be resampled"):
        ludb.build(folder, folder.parent / "odd", rate=499.9137, progress=False)
    assert not (folder.parent / "odd").exists()


def test_built_once_until_something_changes(folder):
    first = ludb.build(folder, folder.parent / "c", rate=100, progress=False)
    assert ludb.build(folder, folder.parent / "c", rate=100, progress=False).info == first.info
    assert first.info.key == ludb.key(folder, rate=100) != ludb.key(folder)
    (folder / "ludb.csv").write_text(HEADER + "".join(ROWS[:2]))
    with pytest.raises(InputError, match="holds another cohort"):
        ludb.build(folder, folder.parent / "c", rate=100, progress=False)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (">89", "old", "has the Age 'old' in record 2"),
        ('"M\n"', '"X\n"', "has the Sex 'X' in record 2"),
        ("\n9,", "\n10,", "has the ID '10' in record 3"),
        ("Rhythms", "Rhythm", "has no column Rhythms, so it is no LUDB table"),
    ],
)
def test_cells_that_cannot_be(folder, before, after, said):
    file = folder / "ludb.csv"
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(InputError, match=said):
        ludb.build(folder, folder.parent / "c", progress=False)


def test_what_is_missing(folder):
    for call in (ludb.boundaries, ludb.key):
        with pytest.raises(InputError, match=r"nowhere is no folder"):
            call(folder / "nowhere")
        with pytest.raises(InputError, match=r"data has no ludb\.csv or no data/"):
            call(folder / "data")
    (folder / "data" / "9.v6").unlink()
    with pytest.raises(InputError, match=r"9\.v6 is missing"):
        ludb.boundaries(folder)
    (folder / "data" / "10.dat").unlink()
    with pytest.raises(InputError, match=r"10\.hea or its signal file cannot be read|10\.dat is missing"):
        ludb.build(folder, folder.parent / "c", progress=False)


def test_sums_are_compared(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(folder)}\n" for file in files]
    with pytest.raises(InputError, match=r"has no SHA256SUMS\.txt to verify against"):
        ludb.boundaries(folder, verify=True)
    (folder / "SHA256SUMS.txt").write_text("".join(lines))
    assert len(ludb.boundaries(folder)) == 108
    (folder / "data" / "7.i").write_bytes(encode(BEAT[:6]))
    with pytest.raises(InputError, match=r"7\.i does not have the SHA-256"):
        ludb.boundaries(folder)
    assert len(ludb.boundaries(folder, verify=False)) == 107
    with open(folder / "data" / "9.dat", "r+b") as file:
        file.write(b"xx")
    with pytest.raises(InputError, match=r"9\.dat does not have the SHA-256"):
        ludb.build(folder, folder.parent / "c", progress=False)


class TestRealRecords:
    def test_every_wave(self, shared_data):
        """The set's own README counts 21,966 QRS, 16,797 P and 19,666 T: 8 of these are second drawings in record 116,
        and 5 are not in the files."""
        table = ludb.boundaries(shared_data / "ludb")
        assert table["wave"].value_counts().to_dict() == {"QRS": 21966, "T": 19653, "P": 16797}
        assert table[["onset_s", "peak_s", "offset_s"]].isna().sum().tolist() == [103, 1, 1]
        assert table.groupby(["record", "lead"]).ngroups == 2400
        onset, offset = (table[name].fillna(table["peak_s"]) for name in ("onset_s", "offset_s"))
        assert (onset < offset).all()
        assert offset.max() < 10

    def test_marks_equal_those_of_wfdb(self, shared_data):
        import wfdb

        for record in ("1", "8", "104", "116", "200"):
            for lead in LEADS:
                stem = shared_data / "ludb" / "data" / record
                theirs = wfdb.rdann(str(stem), lead.lower())
                file = Path(f"{stem}.{lead.lower()}")
                ours = ludb.read_marks(str(file), file.read_bytes())
                assert ours == list(zip(theirs.sample.tolist(), theirs.symbol))

    def test_the_cohort(self, shared_data, tmp_path):
        cohort = ludb.build(shared_data / "ludb", tmp_path / "c", rate=100, progress=False)
        assert (len(cohort), cohort.length, cohort.rate) == (200, 1000, 100)
        assert cohort.folds() == tuple(range(1, 11))
        assert np.bincount(cohort.records["fold"])[1:].tolist() == [20] * 10
        assert cohort.records["sex"].value_counts().to_dict() == {"male": 115, "female": 85}
        assert (cohort.records["age"].min(), cohort.records["age"].max()) == (11, 90)
        counts = dict(zip(cohort.classes("rhythm"), cohort.labels("rhythm").sum(axis=0)))
        published = {"Sinus rhythm": 143, "Sinus tachycardia": 4, "Sinus bradycardia": 25, "Sinus arrhythmia": 8,
                     "Irregular sinus rhythm": 2, "Atrial fibrillation": 15, "Atrial flutter, typical": 3}  # fmt: skip
        assert {name: counts[name] for name in published} == published
        cohort.verify()


def test_every_published_lead_spans_one_millivolt(shared_data, tmp_path):
    """Why the cohort says that its voltages are nominal: the published gains are each lead's own range."""
    cohort = ludb.build(shared_data / "ludb", tmp_path / "c", progress=False)
    np.testing.assert_allclose(np.ptp(cohort.signal_mv(), axis=2), 1.0, atol=0.0011)
    assert cohort.info.title == "ludb, nominal voltages"
