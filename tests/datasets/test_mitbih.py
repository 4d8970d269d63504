"""ecglib.datasets.mitbih: records and annotations as published, written by wfdb, and what can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.datasets import mitbih
from ecglib.errors import InputError
from ecglib.signals import resample

LEADS = {
    "100": ("MLII", "V5"),
    "102": ("V5", "V2"),
    "114": ("V5", "MLII"),
    "201": ("MLII", "V1"),
    "202": ("MLII", "V1"),
}
SAMPLES = 9540  # 26.5 s: two segments and one set back to the end
BEATS = [(10, "+"), (77, "N"), (370, "N"), (662, "A"), (3599, "V"), (3600, "~"), (3601, "N"), (5000, "/"), (7300, "F")]
PERSONS = {
    "100": "69 M 1085 1629 x1",
    "102": "84 F 1072 1629 x1",
    "114": "54 F 1099 682 x1",
    "201": "68 M 1960 2851 x1",
}
PUBLISHED = [
    *(str(k) for k in range(100, 125) if k not in (110, 120)),
    *(str(k) for k in range(200, 235) if k not in (204, 206, 211, 216, 218, *range(224, 228), 229)),
]


def counts_of(record: str) -> np.ndarray:
    """(2, T) int of 11 bits, as digitised: 1024 is 0 mV, 200 to a mV."""
    return np.random.default_rng(int(record)).integers(0, 2048, (2, SAMPLES))


def write_record(source: Path, record: str, counts: np.ndarray, *, leads=None, rate=360, units="mV") -> None:
    n = len(counts)
    wfdb.wrsamp(
        record,
        fs=rate,
        units=[units] * n,
        sig_name=list(leads or LEADS[record]),
        d_signal=counts.T.astype(np.int64),  # (L, T) -> (T, L)
        fmt=["212"] * n,
        adc_gain=[200.0] * n,
        baseline=[1024] * n,
        comments=[PERSONS.get(record, ""), "Aldomet, Inderal"],
        write_dir=str(source),
    )


def write_beats(source: Path, record: str, beats=BEATS) -> None:
    samples, symbols = zip(*beats)
    wfdb.wrann(record, "atr", np.array(samples), symbol=list(symbols), write_dir=str(source))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five short records, listed in RECORDS, and a further one that is not."""
    source = tmp_path / "mitdb"
    source.mkdir()
    for record in LEADS:
        write_record(source, record, counts_of(record))
        write_beats(source, record)
    (source / "x_mitdb").mkdir()
    write_record(source / "x_mitdb", "x_108", counts_of("100"), leads=LEADS["100"])
    (source / "RECORDS").write_text("\n".join(LEADS) + "\n")
    return source


def build(source: Path, to: str = "cohort", **options):
    return mitbih.build(source, source.parent / to, **{"rate": 360, "progress": False, **options})


def test_the_two_channels_in_segments(folder):
    cohort = build(folder)
    assert cohort.leads == ("first", "second")
    assert (len(cohort), cohort.rate, cohort.length) == (15, 360, 3600)
    assert cohort.records["record"].tolist()[:4] == ["100/0", "100/1", "100/2", "102/0"]
    mv = (counts_of("114") - 1024) / 200
    expected = [mv[:, :3600], mv[:, 3600:7200], mv[:, -3600:]]
    np.testing.assert_allclose(cohort.signal_mv(slice(6, 9)), expected, atol=1e-6)
    assert cohort.records["lead_first"].tolist()[6:9] == ["V5"] * 3
    assert cohort.records["lead_second"].tolist()[6:9] == ["MLII"] * 3
    cohort.verify()


def test_leads_by_name(folder):
    cohort = build(folder, leads=["MLII"])
    assert cohort.leads == ("MLII",)
    assert cohort.records["source_record"].unique().tolist() == ["100", "114", "201", "202"]
    np.testing.assert_allclose(cohort[3].signal, (counts_of("114")[1:, :3600] - 1024) / 200, atol=1e-6)
    assert "1 record left out, lacking these leads (102)." in cohort.info.notes
    assert "lead_first" not in cohort.records
    two = build(folder, "two", leads=["V5", "MLII"])
    assert two.records["source_record"].unique().tolist() == ["100", "114"]
    np.testing.assert_allclose(two[0].signal, (counts_of("100")[::-1, :3600] - 1024) / 200, atol=1e-6)
    for wrong, said in (
        (["MLI"], r"no record has the lead 'MLI'\. Did you mean 'MLII'"),
        (["V1", "V2"], r"no record has both V1 and V2\. The choices are MLII, V1, V2, V5\."),
        ("MLII", "give one or two names"),
        (["V1", "V1"], "give one or two names"),
        ([], "give one or two names"),
    ):
        with pytest.raises(InputError, match=said):
            build(folder, "wrong", leads=wrong)
    assert not (folder.parent / "wrong").exists()


def test_beats_of_a_segment(folder):
    cohort = build(folder)
    assert cohort.records["statements"].tolist()[:3] == [["N", "S", "V"], ["N", "Q"], ["F"]]
    beats = cohort.records[[f"beats_{name}" for name in mitbih.CLASSES]].to_numpy()
    assert beats[:3].tolist() == [[2, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    assert cohort.classes("aami") == ("F", "N", "Q", "S", "V")
    assert cohort.labels("aami")[:3].tolist() == [[0, 1, 0, 1, 1], [0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 20000), min_size=1, max_size=60).map(sorted),
    st.sampled_from([100, 250, 360, 500]),
    st.integers(7300, 20001),
)
def test_beats_are_counted_where_they_fall(samples, rate, length):
    from ecglib.datasets import rule

    target = rule.Target(rate, 10, ("I", "II"))
    beats = {name: np.array(samples[k::5], int) for k, name in enumerate(mitbih.CLASSES)}
    found = mitbih.count_beats(beats, length, target)
    signal = np.zeros((2, length), np.float32)
    segments = rule.to_target(signal, ("I", "II"), 360, target)
    assert len(found) == len(segments)
    for row, start in zip(found, rule.starts(int(np.ceil(length * rate / 360)), 10 * rate, "segment")):
        slow = [sum(start * 360 <= at * rate < (start + 10 * rate) * 360 for at in beats[c]) for c in mitbih.CLASSES]
        assert row.tolist() == slow


def test_another_rate(folder):
    cohort = build(folder, rate=100)
    mv = ((counts_of("100") - 1024) / 200).astype(np.float32)
    expected = resample(mv, rate=360, to_rate=100)[:, :1000]
    np.testing.assert_allclose(cohort[0].signal, expected, atol=0.00051)
    assert cohort.records["statements"].tolist()[:3] == [["N", "S", "V"], ["N", "Q"], ["F"]]


def test_the_table(folder):
    records = build(folder, longer="crop").records
    assert records["record"].tolist() == records["source_record"].tolist() == list(LEADS)
    assert records["patient"].tolist() == ["100", "102", "114", "201", "201"]  # 202 is of the man of 201
    assert records["fold"].tolist() == [1, 3, 5, 2, 2]
    np.testing.assert_array_equal(records["age"], [69, 84, 54, 68, np.nan])
    assert records["sex"].tolist() == ["male", "female", "female", "male", None]
    assert records["paced"].tolist() == [False, True, False, False, False]
    assert records["de_chazal"].fillna("").tolist() == ["DS2", "", "DS1", "DS1", "DS2"]


def test_the_published_records_are_split_as_they_should_be():
    about = [mitbih._about(record, (np.nan, None)) for record in PUBLISHED]
    halves = [row["de_chazal"] for row in about]
    assert (halves.count("DS1"), halves.count("DS2")) == (22, 22)
    assert {row["source_record"] for row in about if row["paced"]} == {"102", "104", "107", "217"}
    assert all((row["de_chazal"] is None) == row["paced"] for row in about)
    assert len({row["patient"] for row in about}) == 47
    assert {row["fold"] for row in about} == set(range(1, 11))
    assert len(PUBLISHED) == 48


def test_missing_samples(folder):
    counts = counts_of("100") - 1024
    counts[0, 4000] = -2048  # WFDB's mark in format 212
    write_record(folder, "100", counts)
    cohort = build(folder)
    assert cohort.records["record"].tolist()[:3] == ["100/0", "100/2", "102/0"]
    assert "1 record dropped, with missing samples (100/1)." in cohort.info.notes
    assert cohort.records["statements"].tolist()[:2] == [["N", "S", "V"], ["F"]]


def test_without_a_list_of_records(folder):
    (folder / "RECORDS").unlink()
    assert build(folder, longer="crop").records["record"].tolist() == list(LEADS)


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == mitbih.key(folder, rate=360) != mitbih.key(folder, rate=360, leads=["MLII"])
    write_beats(folder, "114", [(77, "N")])
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert mitbih.found(folder)
    assert not mitbih.found(folder / "x_mitdb")
    assert not mitbih.found(tmp_path / "no")
    write_record(folder, "100", counts_of("100"), rate=250)
    assert not mitbih.found(folder)
    (folder / "100.hea").write_text("no header")
    assert not mitbih.found(folder)


@pytest.mark.parametrize("suffix", ["hea", "dat", "atr"])
def test_files_cut_short_or_missing(folder, suffix):
    file = folder / f"114.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"114\."):
        build(folder)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"114\."):
        build(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"114\."):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_samples_that_do_not_have_their_checksum(folder):
    file = folder / "114.dat"
    content = bytearray(file.read_bytes())
    content[3000] ^= 1
    file.write_bytes(content)
    notes = build(folder).info.notes
    assert "3 records kept, not having their header's checksum (114/0, 114/1, 114/2)." in notes


def test_what_cannot_be(folder, tmp_path):
    write_beats(folder, "114", [(77, "N"), (400, "r")])
    with pytest.raises(InputError, match=r"114\.atr has the beat 'r', which has no AAMI class here"):
        build(folder)
    write_beats(folder, "114")
    write_record(folder, "114", counts_of("114"), rate=250)
    with pytest.raises(InputError, match=r"114\.hea says 250 Hz where the database has 360"):
        build(folder)
    write_record(folder, "114", counts_of("114"), units="mmHg")
    with pytest.raises(InputError, match=r"114\.hea does not describe two leads in mV|has the unit"):
        build(folder)
    write_record(folder, "114", counts_of("114")[:1], leads=["MLII"])
    with pytest.raises(InputError, match=r"114\.hea does not describe two leads in mV"):
        build(folder)
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no record of the MIT-BIH"):
        build(tmp_path / "empty")
    (folder / "RECORDS").write_text("100\n100\n")
    with pytest.raises(InputError, match="RECORDS lists 100 twice"):
        build(folder)
    (folder / "RECORDS").write_text("100\n800\n")
    with pytest.raises(InputError, match="lists 800 and no MIT-BIH record is called so"):
        build(folder)
    (folder / "RECORDS").write_text("100\n")
    with pytest.raises(InputError, match="no record is 60 s long"):
        build(folder, seconds=60)
    with pytest.raises(InputError, match="seconds is None"):
        build(folder, seconds=None)


def test_a_path_beyond_ascii(folder):
    other = folder.rename(folder.parent / "MIT größe 心電図")
    assert len(build(other)) == 15


def test_other_processes_read_the_same(folder):
    assert build(folder, "there", workers=2).info == build(folder, "here", workers=0).info
