"""ecglib.datasets.challenge: the challenges' layout, from a tiny tree and from the real records."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st
from ptb_xl_tree import ecg
from scipy.io import savemat

from ecglib.cohort import Cohort
from ecglib.datasets import challenge, challenge_headers
from ecglib.datasets.challenge_codes import CHALLENGE_2020, CHALLENGE_2021, SCORED
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.signals import resample

COMMENTS = "# Age: 56\n# Sex: Female\n# Dx: 426783006\n# Rx: Unknown\n"


def write(stem: Path, signal, *, rate=500, gains="1000.0(0)/mV", first="", comments=COMMENTS, names=LEADS) -> None:
    """(L, T) int16 as published: MATLAB version 4 puts 24 bytes before the samples, time by time."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    gains = [gains] * len(signal) if isinstance(gains, str) else gains
    lines = [first or f"{stem.name} {len(signal)} {rate} {signal.shape[1]}"]
    for name, lead, gain in zip(names, signal, gains, strict=True):
        checksum = int(lead.astype(np.int64).sum()) & 0xFFFF
        checksum -= 65536 * (checksum > 32767)  # signed, as the challenge writes it
        lines.append(f"{stem.name}.mat 16x1+24 {gain} 16 0 {lead[0]} {checksum} 0 {name}")
    Path(f"{stem}.hea").write_text("\n".join(lines) + "\n" + comments)
    savemat(f"{stem}.mat", {"val": signal}, format="4")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Seven collections in the published folders, with their rates and with lengths from 1.5 to 7 s."""
    training = tmp_path / "challenge" / "training"
    write(training / "georgia/g1/E00001", ecg(1, 1000), comments="#Age: 77\n#Sex: Male\n#Dx: 59118001,427084000\n")
    write(training / "ptb/g1/S0001", ecg(2, 2100), rate=1000)
    write(training / "st_petersburg_incart/g1/I0001", ecg(3, 257 * 7), rate=257)
    write(training / "cpsc_2018/g1/A0001", ecg(4, 750), comments="#Age: NaN\n#Sex: Unknown\n#Dx: Unknown\n")
    write(training / "ptb-xl/g1/HR00001", ecg(5, 1000), comments="# Age: 300\n# Sex: F\n# Dx: 713427006,\n")
    write(training / "ningbo/g1/JS20001", ecg(6, 1000), comments="#Age: 130\n#Dx: 284470004,,63593006,284470004\n")
    write(training / "chapman_shaoxing/g1/JS00001", ecg(7, 1000), comments="")
    return training


def build(source, to="cohort", **options) -> Cohort:
    defaults = {"rate": 100, "seconds": 2, "progress": False}
    return challenge.build(source, Path(os.path.dirname(source)) / to, **{**defaults, **options})


def test_all_collections_come_to_one_rate_and_length(folder):
    cohort = build(folder)
    table = cohort.records.set_index("record")
    segments = [f"I0001/{k}" for k in range(4)]  # three whole ones of 2 s in 7 s, and the last second with one more
    assert list(table.index) == ["JS00001", "E00001", "JS20001", "S0001", "HR00001", *segments]
    assert (cohort.rate, cohort.length, cohort.leads) == (100, 200, LEADS)
    collections = ["Chapman-Shaoxing", "Georgia", "Ningbo", "PTB", "PTB-XL", *["INCART"] * 4]
    assert table["collection"].tolist() == collections
    assert table.loc[segments, "source_record"].tolist() == table.loc[segments, "patient"].tolist() == ["I0001"] * 4
    assert table["file"]["I0001/2"] == os.path.join("st_petersburg_incart", "g1", "I0001")
    assert table["fold"].tolist() == [zlib.crc32(name.encode()) % 10 + 1 for name in table["source_record"]]
    cohort.verify()


def test_age_sex_and_codes(folder):
    table = build(folder, shorter="pad").records.set_index("record")
    assert table["age"].dropna().to_dict() == {
        "E00001": 77, "S0001": 56, "HR00001": 90, **{f"I0001/{k}": 56 for k in range(4)}
    }  # fmt: skip
    assert table["sex"].dropna().to_dict() == {
        "E00001": "male", "S0001": "female", "HR00001": "female", **{f"I0001/{k}": "female" for k in range(4)}
    }  # fmt: skip
    assert table["statements"]["JS20001"] == ["284470004", "63593006"]
    assert table["statements"]["HR00001"] == ["713427006"]
    assert table["statements"]["JS00001"] == table["statements"]["A0001"] == []


def test_notes_count_what_was_found(folder):
    assert build(folder).info.notes == (
        "Records of the collections: CPSC 1, Chapman-Shaoxing 1, Georgia 1, INCART 1, Ningbo 1, PTB 1, PTB-XL 1.",
        "Every record counts as its own patient; folds are ours, by a checksum of the record's name.",
        "1 record without a line #Dx, so without codes.",
        "2 records with none of the scored codes.",
        "1 record of age over 89, entered as 90.",
        "1 record with an age beyond 0 to 120 years, left out.",
        "1 record dropped, being shorter than 2 s.",
        "1 record cut into segments of 2 s, each with the codes of the whole.",
    )


def test_labels_merge_what_the_challenge_scored_as_one(folder):
    cohort = build(folder, seconds=1.5)
    rows = cohort.records.set_index("source_record")
    right = cohort.classes("challenge2021").index("CRBBB|RBBB")
    early = cohort.classes("challenge2021").index("PAC|SVPB")
    labels = dict(zip(rows.index, cohort.labels("challenge2021")))
    assert [name for name in labels if labels[name][right]] == ["E00001", "HR00001"]
    assert [name for name in labels if labels[name][early]] == ["JS20001"]
    assert labels["A0001"].sum() == 0
    assert cohort.classes("all") == ("284470004", "426783006", "427084000", "59118001", "63593006", "713427006")
    assert "superclass" not in cohort.info.label_sets


def test_signals_are_those_that_wfdb_reads(folder):
    cohort = build(folder)
    for row, (record, file) in enumerate(zip(cohort.records["source_record"], cohort.records["file"])):
        read = wfdb.rdrecord(str(folder / file))
        want = resample(read.p_signal.T, rate=read.fs, to_rate=100)
        name = cohort.records["record"][row]
        start = min(200 * int(name.partition("/")[2] or 0), want.shape[1] - 200)
        got = cohort.signal_mv([row])[0]
        # half a count, and 0.1 % of the offset, which the rule takes off before it resamples
        np.testing.assert_allclose(got, want[:, start : start + 200], atol=0.003, err_msg=record)


def test_at_its_own_rate_nothing_is_changed(tmp_path):
    write(tmp_path / "x" / "E1", ecg(0, 500))
    np.testing.assert_array_equal(build(tmp_path / "x", rate=500, seconds=None).counts([0])[0], ecg(0, 500))
    write(tmp_path / "x" / "E2", ecg(0, 501))
    with pytest.raises(InputError, match=r"last from 1 to 1\.002 s; give seconds"):
        build(tmp_path / "x", to="other", rate=500, seconds=None)


# --- traps


def test_early_headers_of_georgia(tmp_path):
    """A date that wfdb refuses, a name with a suffix, a gain that makes voltages 4.88 times too small."""
    first = "E00001.mat 12 500 500 05-May-2020 14:50:55"
    write(tmp_path / "x" / "E00001", ecg(0, 500), gains="4880/mV", first=first)
    cohort = build(tmp_path / "x", rate=500, seconds=1)
    np.testing.assert_array_equal(cohort.counts([0])[0], ecg(0, 500))
    assert (
        "1 record of Georgia with the gain 4,880 per mV in the header, read as 1,000, which later headers have."
        in cohort.info.notes
    )
    assert "1 record with a date in a form that WFDB does not know; it is not used." in cohort.info.notes
    kept = build(tmp_path / "x", to="kept", rate=500, seconds=1, mend_gains=False)
    np.testing.assert_allclose(kept.signal_mv()[0] * 4.88, ecg(0, 500) / 1000, atol=0.0025)
    assert "left as it is, though later ones have 1,000." in " ".join(kept.info.notes)


def test_another_gain_is_believed_and_told(tmp_path):
    write(tmp_path / "x" / "E1", ecg(0, 500), gains="500/mV", first="E1 12 500 500 10:02:03 05/05/2020")
    cohort = build(tmp_path / "x", rate=500, seconds=1)
    np.testing.assert_allclose(cohort.signal_mv()[0], ecg(0, 500) / 500, atol=1e-6)
    assert "1 record with the gain 500 per mV, not 1,000." in cohort.info.notes
    assert not any("date" in note for note in cohort.info.notes)


def test_gains_that_differ_go_through_wfdb(tmp_path):
    write(tmp_path / "x" / "E1", ecg(0, 500), gains=["1000/mV"] * 11 + ["500/mV"])
    cohort = build(tmp_path / "x", rate=500, seconds=1)
    np.testing.assert_array_equal(cohort.counts([0])[0], ecg(0, 500) * np.array([1] * 11 + [2])[:, None])
    assert "1 record read through wfdb, not being plain format 16." in cohort.info.notes


def test_flat_leads_missing_samples_and_wrong_checksums_are_counted(tmp_path):
    flat, holed = ecg(1, 500), ecg(2, 500)
    flat[7] = 0
    holed[8, 100] = -32768
    write(tmp_path / "x" / "E1", flat)
    write(tmp_path / "x" / "E2", holed)
    write(tmp_path / "x" / "E3", ecg(3, 500))
    header = tmp_path / "x" / "E3.hea"
    lines = header.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split()[6], "1")
    header.write_text("\n".join(lines) + "\n")
    cohort = build(tmp_path / "x", seconds=0.5)
    assert cohort.records["record"].tolist() == ["E2/1", "E3/0", "E3/1"]
    assert cohort.info.notes[-3:] == (
        "1 record dropped, with missing samples (E2/0).",
        "2 records dropped, with a flat lead (E1/0, E1/1).",
        "2 records kept, not having their header's checksum (E3/0, E3/1).",
    )
    assert len(build(tmp_path / "x", to="all", seconds=0.5, bad="keep")) == 6


def test_leads_in_another_order_and_fewer(tmp_path):
    order = [1, 0, 3, 4, 5, 6]  # without III and V2-V6
    write(tmp_path / "x" / "E1", ecg(0, 500)[order], names=["II", "I", "AVR", "aVL", "aVF", "V1"])
    cohort = build(tmp_path / "x", rate=500, seconds=1, leads=["I", "III", "V1"])
    np.testing.assert_array_equal(cohort.counts([0])[0], ecg(0, 500)[[0, 2, 6]])
    with pytest.raises(InputError, match=r"E1\.hea: lead V2, V3, V4, V5, V6 is missing and cannot be derived"):
        build(tmp_path / "x", to="other")


# --- what cannot be used


def test_files_that_are_missing_or_damaged(folder):
    signal, header = folder / "georgia/g1/E00001.mat", folder / "georgia/g1/E00001.hea"
    whole, text = signal.read_bytes(), header.read_text()
    signal.write_bytes(whole[:-2])
    with pytest.raises(InputError, match=r"E00001\.mat has .* cut short"):
        build(folder)
    signal.unlink()
    with pytest.raises(InputError, match=r"E00001\.mat is missing, though its header is there"):
        build(folder)
    signal.write_bytes(whole)
    for content, sentence in (
        ("", r"E00001\.hea is no WFDB header"),
        (text.replace("E00001 12", "E00001 13"), "says 13 signals and describes 12"),
        (text.replace(" 500 1000", " 500 0"), "says 0 samples at 500 Hz"),
        (text.replace("59118001", "RBBB"), "has the code 'RBBB', which is no SNOMED CT code"),
        (text.replace(" 500 1000", " 499.9993 1000"), "cannot be resampled"),
    ):
        header.write_text(content)
        with pytest.raises(InputError, match=sentence):
            build(folder)
    assert not (folder.parent / "cohort").exists()


def test_folders_that_do_not_serve(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no record \(\.hea\)"):
        build(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "absent")
    with pytest.raises(InputError, match="no record is 20 s long"):
        build(folder, seconds=20)
    write(folder / "georgia/g2/E00001", ecg(1, 1000))
    with pytest.raises(InputError, match=r"E00001\.hea lies both in .*g1 and in .*g2; remove one"):
        build(folder)


def test_a_place_that_cannot_be_written_to(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        challenge.build(folder, tmp_path / "file" / "cohort", rate=100, seconds=2, progress=False)


def test_names_beyond_ascii(tmp_path):
    write(tmp_path / "Sätze 心電図" / "JS1", ecg(0, 500))
    assert build(tmp_path / "Sätze 心電図", seconds=1).records["record"].tolist() == ["JS1"]


# --- keys and recognition


def test_built_once_and_anew_when_something_changes(folder):
    cohort = build(folder)
    (folder / "georgia/g1/E00001.mat").unlink()  # not read again
    assert build(folder).info == cohort.info
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder, seconds=1)
    base = challenge.key(folder, rate=100)
    assert base != challenge.key(folder, rate=100, mend_gains=False) != challenge.key(folder, rate=100, bad="keep")
    write(folder / "georgia/g1/E00001", ecg(1, 1000), comments="#Dx: 1\n")
    assert challenge.key(folder, rate=100) != base


def test_found(folder, tree, tmp_path):
    assert challenge.found(folder)
    assert challenge.found(folder / "georgia")
    assert not challenge.found(tree.path)
    assert not challenge.found(tmp_path / "absent")
    write(tmp_path / "letters" / "A0001", ecg(0, 500), comments="#Dx: AF\n")  # of before the SNOMED CT codes
    assert not challenge.found(tmp_path / "letters")


@pytest.mark.parametrize(
    ("path", "collection"),
    [
        ("A0001", "CPSC"), ("Q0001", "CPSC-Extra"), ("I0001", "INCART"), ("S0001", "PTB"), ("HR00001", "PTB-XL"),
        ("g1/E00001", "Georgia"), ("JS00001", "Chapman-Shaoxing or Ningbo"), ("ningbo/g1/JS00001", "Ningbo"),
        ("Ningbo/x", "Ningbo"), ("x", "unknown"),
    ],
)  # fmt: skip
def test_the_collection_is_told_by_name_or_folder(tmp_path, path, collection):
    write(tmp_path / "in" / path, ecg(0, 500))
    assert challenge_headers.read_header(str(tmp_path / "in" / path), tmp_path / "in", True).collection == collection


@given(codes=st.lists(st.integers(1, 10**12).map(str)), blank=st.sampled_from(["", " ", "Unknown"]))
def test_codes_come_once_each_in_order(codes, blank):
    assert challenge_headers._codes(", ".join([blank, *codes, blank, *codes]), "x.hea") == tuple(dict.fromkeys(codes))


# --- codes


def test_scored_codes_and_classes():
    """30 codes in 26 classes in 2021, 27 in 24 in 2020; four pairs, of which three in 2020, are one class each."""
    assert (len(CHALLENGE_2021), len(set(CHALLENGE_2021.values()))) == (30, 26)
    assert (len(CHALLENGE_2020), len(set(CHALLENGE_2020.values()))) == (27, 24)
    for first, second in (("713427006", "59118001"), ("284470004", "63593006"), ("427172004", "17338001")):
        assert CHALLENGE_2021[first] == CHALLENGE_2021[second]
        assert CHALLENGE_2020[first] == CHALLENGE_2020[second]
    assert CHALLENGE_2021["733534002"] == CHALLENGE_2021["164909002"] == "CLBBB|LBBB"
    assert len({diagnosis for _, diagnosis in SCORED.values()}) == 30


# --- the real records


def test_the_real_sample(shared_data, tmp_path):
    source = shared_data / "challenge-2021-sample"
    assert challenge.found(source)
    cohort = challenge.build(source, tmp_path / "sample", rate=500, progress=False)
    assert len(cohort) == 9
    assert "1 record dropped, with a flat lead (JS20004)." in cohort.info.notes
    for row, record in enumerate(cohort.records["record"]):
        want = wfdb.rdrecord(str(source / record)).p_signal.T
        np.testing.assert_allclose(cohort.signal_mv([row])[0], want, atol=1e-6)
    half = challenge.build(source, tmp_path / "half", rate=100, seconds=5, progress=False)
    assert half.records["source_record"].tolist() == [name for name in cohort.records["record"] for _ in range(2)]
    whole = resample(cohort.signal_mv(), rate=500, to_rate=100)
    side_by_side = half.signal_mv().reshape(9, 2, 12, 500).transpose(0, 2, 1, 3).reshape(9, 12, 1000)
    np.testing.assert_allclose(side_by_side, whole, atol=0.001)


def test_other_processes_read_the_same(folder):
    assert build(folder, "there", workers=2).info == build(folder, "here", workers=0).info
