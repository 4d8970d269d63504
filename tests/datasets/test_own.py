"""ecglib.datasets.own: a folder of anything and a table, a DataFrame, arrays; and what is said when they do not fit."""

from __future__ import annotations

import os
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import beats, dicom_group, write_csv, write_dicom, write_edf, write_wfdb

from ecglib.cohort import Cohort
from ecglib.datasets import own
from ecglib.datasets.__main__ import main as command
from ecglib.datasets.folds import deal
from ecglib.datasets.own import files as own_files
from ecglib.datasets.own import frame as own_frame
from ecglib.datasets.own import reader as own_reader
from ecglib.datasets.own import table as own_table
from ecglib.datasets.own.table import Columns
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual

SECONDS = 4
SIGNALS = [beats(k, seconds=SECONDS) for k in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six records in six formats, written once."""
    folder = tmp_path_factory.mktemp("own") / "records"
    write_wfdb(folder / "a" / "r0", SIGNALS[0], comments=["Age: 40", "Sex: M"])
    write_edf(folder / "a" / "r1.edf", SIGNALS[1], code="P-1")
    write_dicom(folder / "IM0002", SIGNALS[2], patient="P-1")
    write_csv(folder / "r3.csv", SIGNALS[3], separator=";", decimal=",")
    np.savez(folder / "r4.npz", signal=SIGNALS[4], rate=250, leads=list(LEADS), unit="mV")
    write_dicom(folder / "b" / "r5.dcm", [dicom_group(SIGNALS[5], scheme="MDC")], patient="ANONYMOUS")
    (folder / "README.txt").write_text("not a record\n")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "records")
    return tmp_path / "records"


TABLE = pd.DataFrame(
    {
        "file": ["a/r0.hea", "r1", "IM0002", "r3.csv", "r4", "b/r5"],
        "patient": ["p", "p", "q", "r", "s", "t"],
        "age": [40, 41, None, 50.5, 60, 70],
        "sex": ["m", "M", "F", "female", None, "w"],
        "fold": [1, 1, 2, 3, 9, 10],
        "MI": [0, 1, 0, 1, 0, 1],
        "AF": [1, 1, 0, 0, 0, 0],
        "labels": ["AF", "MI;AF", "", "MI", "", "MI"],
    }
)


def build(folder, to="cohort", **options) -> Cohort:
    return own.build(folder, folder.parent / to, **{"rate": 250, "seconds": 4, "progress": False, **options})


class TestAFolder:
    def test_every_format_in_one_cohort(self, folder):
        cohort = build(folder)
        assert sorted(cohort.records["record"]) == ["IM0002", "a/r0", "a/r1", "b/r5", "r3", "r4"]
        assert (cohort.leads, cohort.rate, cohort.length, cohort.info.name) == (LEADS, 250, 1000, "records")
        order = [int(name[-1]) for name in cohort.records["record"]]
        np.testing.assert_allclose(cohort.signal_mv(), np.stack(SIGNALS)[order], atol=0.0032)
        assert limb_residual(cohort.signal_mv()).max() < 0.006
        assert set(cohort.records["file"]) == {"IM0002", "a/r0.hea", "a/r1.edf", "b/r5.dcm", "r3.csv", "r4.npz"}
        cohort.verify()

    def test_whose_they_are_is_in_the_files(self, folder):
        records = build(folder).records.set_index("record")
        same = records.loc["a/r1", "patient"]
        assert records.loc["IM0002", "patient"] == same
        assert "P-1" not in same
        for name in ("a/r0", "r3", "r4", "b/r5"):  # no identifier, or one that all of a hospital's exports have
            assert records.loc[name, "patient"] == name
        assert [zlib.crc32(p.encode()) % 10 + 1 for p in records["patient"]] == records["fold"].tolist()
        assert (records.loc["a/r0", "age"], records.loc["a/r0", "sex"]) == (40, "male")
        assert (records.loc["IM0002", "age"], records.loc["IM0002", "sex"]) == (64, "female")
        assert records.loc["r3", ["age", "sex"]].isna().all()

    def test_what_is_noted(self, folder):
        notes = build(folder).info.notes
        assert notes == (
            "Folds are ours: a checksum of the patient modulo 10, plus 1.",
            "Patients are told by the identifiers in the files, where they have one, kept as checksums.",
            "4 records without a patient's identifier, each its own patient.",
        )

    def test_it_is_opened_again_until_a_file_changes(self, folder):
        first = build(folder)
        assert build(folder).info == first.info
        write_csv(folder / "r3.csv", SIGNALS[3][:, :900])
        with pytest.raises(InputError, match="holds another cohort"):
            build(folder)

    def test_key_is_that_of_a_plain_build(self, folder):
        cohort = own.build(folder, folder.parent / "c", rate=100, shorter="drop", seconds=4, progress=False)
        assert own.key(folder, rate=100, seconds=4) == cohort.info.key
        assert own.key(folder, rate=100) != cohort.info.key

    def test_any_rate_and_length(self, tmp_path):
        for k, (rate, seconds) in enumerate([(250, 21), (500, 10), (257, 10), (1000, 4)]):
            write_csv(tmp_path / "x" / f"r{k}.csv", beats(k, seconds=seconds, rate=rate), rate=rate)
        cohort = own.build(tmp_path / "x", tmp_path / "c", rate=100, progress=False)
        assert sorted(cohort.records["record"]) == ["r0/0", "r0/1", "r1", "r2"]
        assert cohort.records["source_record"].tolist().count("r0") == 2
        assert cohort.records.groupby("source_record")["patient"].nunique().max() == 1
        assert "1 record dropped, being shorter than 10 s." in cohort.info.notes
        assert "1 record cut into segments of 10 s, each with the labels of the whole." in cohort.info.notes
        kept = own.build(tmp_path / "x", tmp_path / "k", rate=100, shorter="pad", longer="crop", progress=False)
        assert sorted(kept.records["record"]) == ["r0", "r1", "r2", "r3"]

    def test_leads_are_those_of_the_first_record(self, tmp_path):
        for k, leads in enumerate([["V1", "II"], ["II", "aVR", "V1"]]):
            rows = [LEADS.index(lead) for lead in leads]
            write_csv(tmp_path / "x" / f"r{k}.csv", SIGNALS[k][rows], leads=leads)
        cohort = build(tmp_path / "x")
        assert cohort.leads == ("II", "V1")
        np.testing.assert_allclose(cohort.signal_mv([0])[0], SIGNALS[0][[1, 6]], atol=1e-3)

    def test_missing_limb_leads_are_derived(self, tmp_path):
        eight = [0, 1, *range(6, 12)]
        write_csv(tmp_path / "x" / "r.csv", SIGNALS[0][eight], leads=[LEADS[k] for k in eight])
        cohort = build(tmp_path / "x")
        assert cohort.leads == LEADS
        np.testing.assert_allclose(cohort.signal_mv()[0], SIGNALS[0], atol=1e-3)

    def test_what_files_do_not_say_is_given(self, tmp_path):
        (tmp_path / "x").mkdir()
        np.save(tmp_path / "x" / "r.npy", 1000 * SIGNALS[0].T)
        write_csv(tmp_path / "x" / "s.csv", SIGNALS[1])  # this one says all, and is read as it says
        with pytest.raises(InputError, match=r"r\.npy does not name its 12 leads"):
            build(tmp_path / "x")
        cohort = build(tmp_path / "x", unit="uV", record_rate=250, record_leads=LEADS)
        np.testing.assert_allclose(cohort.signal_mv(), np.stack(SIGNALS[:2]), atol=1e-3)
        said = "1 record noted, whose file says another unit than the one given, and its own was taken: s."
        assert said in cohort.info.notes

    def test_a_wrong_unit_is_in_the_notes(self, tmp_path):
        for k in range(7):
            write_csv(tmp_path / "x" / f"r{k}.csv", SIGNALS[k % 6] / 100)
        said = "7 records noted, whose file peaks at under 0.02 mV, so that its unit is probably wrong: r0, r1, r2, r3"
        assert any(note.startswith(said) for note in build(tmp_path / "x").info.notes)

    def test_signals_that_all_round_to_nothing(self, tmp_path):
        write_csv(tmp_path / "x" / "r.csv", SIGNALS[0] / 1e6, places=9)
        said = r"every record of .*x has missing samples or a flat lead \(r\.csv peaks at under 0\.02 mV, so that"
        with pytest.raises(InputError, match=said):
            build(tmp_path / "x")
        write_csv(tmp_path / "x" / "r.csv", SIGNALS[0] * np.r_[np.zeros(1), np.ones(11)][:, None])
        with pytest.raises(InputError, match=r"has missing samples or a flat lead; correct them, or keep them"):
            build(tmp_path / "x")

    def test_unreadable_files_are_refused_or_counted(self, folder):
        (folder / "a" / "r1.edf").write_bytes((folder / "a" / "r1.edf").read_bytes()[:2000])
        (folder / "odd{0}.csv").write_text("{x}\n1\n")
        with pytest.raises(InputError, match=r"r1\.edf cannot be read|r1\.edf has 2,000 bytes"):
            build(folder)
        assert sorted(os.listdir(folder.parent)) == ["records"]
        cohort = build(folder, unreadable="skip")
        assert len(cohort) == 5
        notes = [note for note in cohort.info.notes if "left out" in note]
        assert len(notes) == 2
        assert any(note.startswith("1 record left out (") and note.endswith(": a/r1.") for note in notes)
        assert any("names none of the twelve leads ({x})" in note and note.endswith(": odd{0}.") for note in notes)

    def test_a_lead_that_is_missing(self, folder):
        write_csv(folder / "z.csv", SIGNALS[0][:7], leads=LEADS[:7])
        with pytest.raises(InputError, match=r"z\.csv: lead V2, V3, V4, V5, V6 is missing and cannot be derived"):
            build(folder)
        assert len(build(folder, unreadable="skip")) == 6

    def test_nothing_can_be_read(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "r.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match=r"order, or give it as table if it is that of the labels\."):
            build(tmp_path / "x")
        with pytest.raises(InputError, match="holds no file that can be read"):
            build(tmp_path / "x", unreadable="skip")
        write_csv(tmp_path / "x" / "r.csv", SIGNALS[0])
        with pytest.raises(InputError, match="no record is 60 s long or can be read"):
            build(tmp_path / "x", seconds=60)
        with pytest.raises(InputError, match="seconds is None, but records of one length are needed"):
            build(tmp_path / "x", seconds=None)

    def test_no_folder_and_no_records(self, tmp_path):
        with pytest.raises(InputError, match="is no folder; give the one that holds your records"):
            build(tmp_path / "no")
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "README.md").write_text("x")
        with pytest.raises(InputError, match=r"holds no record; the kinds that are read are \.hea, "):
            build(tmp_path / "empty")

    def test_workers_give_the_same_cohort(self, folder, monkeypatch):
        monkeypatch.setattr(own_reader, "MANY", 2)
        one, two = build(folder, "one", workers=0), build(folder, "two", workers=2)
        assert one.info.fingerprint == two.info.fingerprint

    def test_a_place_that_cannot_be_written(self, folder):
        (folder.parent / "file").write_text("")
        with pytest.raises(InputError, match=r"file.*cannot be written to"):
            build(folder, "file/cohort")
        assert sorted(os.listdir(folder.parent)) == ["file", "records"]

    def test_names_of_any_script(self, folder):
        place = folder.parent / "Größe 心電図"
        folder.rename(place)
        assert build(place, "コホート").info.name == "Größe 心電図"

    def test_what_is_found(self, folder, tmp_path):
        assert own.found(folder)
        write_wfdb(tmp_path / "wfdb" / "r", SIGNALS[0])
        assert not own.found(tmp_path / "wfdb")
        write_csv(tmp_path / "csv" / "below" / "r.csv", SIGNALS[0])
        assert own.found(tmp_path / "csv")
        assert not own.found(tmp_path / "no")

    def test_dicom_files_without_a_suffix_are_found(self, tmp_path):
        write_dicom(tmp_path / "d" / "1.2.840.17", SIGNALS[0])
        assert own.found(tmp_path / "d")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "README").write_text("no ECG")
        os.mkfifo(tmp_path / "other" / "pipe")  # opening it would wait for ever
        assert not own.found(tmp_path / "other")


class TestSeveralFilesOfARecord:
    def test_wfdb_is_one_record_and_its_segments_are_none(self, tmp_path):
        write_wfdb(tmp_path / "x" / "m_0", SIGNALS[0][:, :400])
        write_wfdb(tmp_path / "x" / "m_1", SIGNALS[0][:, 400:])
        (tmp_path / "x" / "m.hea").write_text("m/2 12 250 1000\nm_0 400\nm_1 600\n")
        assert [each.record for each in own_files.find(tmp_path / "x")] == ["m"]
        np.testing.assert_allclose(build(tmp_path / "x").signal_mv()[0], SIGNALS[0], atol=0.0032)

    def test_one_name_with_two_suffixes(self, tmp_path):
        for name in ("r.csv", "r.edf", "s.csv"):
            (write_edf if name == "r.edf" else write_csv)(tmp_path / "x" / name, SIGNALS[0])
        assert [each.record for each in own_files.find(tmp_path / "x")] == ["r.csv", "r.edf", "s"]
        with pytest.raises(InputError, match=r"'r' in row 1 may be r\.csv or r\.edf; give its path below x"):
            build(tmp_path / "x", table=pd.DataFrame({"file": ["r"]}))

    def test_numbers_with_dots_are_no_suffixes(self, tmp_path):
        write_dicom(tmp_path / "x" / "1.2.840.17", SIGNALS[0])
        write_dicom(tmp_path / "x" / "1.2.840.18", SIGNALS[1])
        assert [each.record for each in own_files.find(tmp_path / "x")] == ["1.2.840.17", "1.2.840.18"]

    def test_hidden_files_are_passed_over(self, tmp_path):
        for name in (".r.csv", "__MACOSX/r.csv", ".git/r.csv", "r.csv"):
            write_csv(tmp_path / "x" / name, SIGNALS[0])
        assert [each.file for each in own_files.find(tmp_path / "x")] == ["r.csv"]


class TestATable:
    @pytest.mark.parametrize("kind", ["csv", "tsv", "xlsx", "parquet", "frame", "semicolons"])
    def test_a_table_of_any_kind(self, folder, kind):
        file = folder / f"table.{'csv' if kind == 'semicolons' else kind}"
        frame = TABLE.drop(columns="labels")
        if kind in ("csv", "tsv", "semicolons"):
            frame.to_csv(file, sep={"csv": ",", "tsv": "\t", "semicolons": ";"}[kind], index=False)
        elif kind == "xlsx":
            frame.to_excel(file, index=False)
        elif kind == "parquet":
            frame.to_parquet(file)
        cohort = build(folder, table=frame if kind == "frame" else file, labels=["MI", "AF"])
        records = cohort.records
        assert records["record"].tolist() == ["a/r0", "a/r1", "IM0002", "r3", "r4", "b/r5"]
        assert records["patient"].tolist() == ["p", "p", "q", "r", "s", "t"]
        assert records["fold"].tolist() == [1, 1, 2, 3, 9, 10]
        assert records["age"].tolist() == [40, 41, 64, 50.5, 60, 70]  # of the DICOM file, where the table says none
        assert records["sex"].tolist() == ["male", "male", "female", "female", None, "female"]
        assert cohort.classes("labels") == ("AF", "MI")
        np.testing.assert_array_equal(cohort.labels("labels"), TABLE[["AF", "MI"]])
        np.testing.assert_allclose(cohort.signal_mv(), np.stack(SIGNALS), atol=0.0032)
        assert cohort.info.notes == ()

    def test_statements_in_one_column(self, folder):
        cohort = build(folder, table=TABLE, statements="labels")
        assert cohort.records["statements"].tolist() == [["AF"], ["MI", "AF"], [], ["MI"], [], ["MI"]]
        np.testing.assert_array_equal(cohort.labels("labels"), TABLE[["AF", "MI"]])
        assert "2 records without a statement." in cohort.info.notes

    def test_statements_of_classes(self, folder):
        frame = TABLE.assign(labels=["NORM", "IMI|LVH", "['ASMI', 'X']", "IMI", "", "NORM"])
        names = {"NORM": "NORM", "IMI": "MI", "ASMI": "MI", "LVH": "HYP"}
        cohort = build(folder, table=frame, statements="labels", classes=names, separator="|", task="superclass")
        assert cohort.classes("superclass") == ("HYP", "MI", "NORM")
        expected = [[0, 0, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
        assert cohort.labels("superclass").tolist() == expected
        assert "Statements that count for no class: X." in cohort.info.notes
        with pytest.raises(InputError, match=r"has none of the statements of classes, but ASMI, IMI"):
            build(folder, "d", table=frame, statements="labels", separator="|", classes={"A": "B"})

    def test_no_labels(self, folder):
        cohort = build(folder, table=TABLE.drop(columns="labels"))
        assert cohort.info.label_sets == {}
        assert "The table has no labels." in cohort.info.notes

    def test_folds_without_a_column_of_them(self, folder):
        cohort = build(folder, table=TABLE.drop(columns="fold"), labels=["MI", "AF"])
        assert cohort.info.notes == ("Folds are ours: a checksum of the patient modulo 10, plus 1.",)
        folds = dict(zip(cohort.records["patient"], cohort.records["fold"]))
        assert folds == {patient: zlib.crc32(patient.encode()) % 10 + 1 for patient in "pqrst"}
        assert cohort.patients_in_several_folds() == []

    def test_a_split_by_words(self, folder):
        frame = TABLE.assign(fold=["train", "Train", "train", "val", "test", "test"])
        cohort = build(folder, table=frame, labels=["MI"])
        folds = cohort.records["fold"].tolist()
        assert folds[3:] == [9, 10, 10]
        assert folds[0] == folds[1]
        assert all(1 <= fold <= 8 for fold in folds[:3])
        with pytest.raises(InputError, match=r"has '7' in row 2 \(column fold\); give train, valid or test through"):
            build(folder, "d", table=TABLE.assign(fold=["train", "7", "test", "test", "test", "test"]))

    def test_neither_patients_nor_folds(self, folder):
        cohort = build(folder, table=TABLE[["file", "MI"]], labels=["MI"])
        assert cohort.records["patient"][1] == cohort.records["patient"][2]  # P-1 in both files
        said = "Patients are told by the identifiers in the files, where they have one, kept as checksums."
        assert said in cohort.info.notes

    def test_folds_without_patients(self, folder, capsys):
        """The files tell of whom they are: one of them is in two folds, and that is said."""
        cohort = build(folder, table=TABLE.drop(columns="patient"), labels=["MI"], progress=True)
        assert cohort.records["fold"].tolist() == TABLE["fold"].tolist()
        assert len(cohort.patients_in_several_folds()) == 1
        assert "By the identifiers in the files 1 of the patients are in several folds" in capsys.readouterr().out
        told = TABLE.drop(columns="patient").assign(fold=[1, 2, 2, 3, 9, None])
        cohort = build(folder, "d", table=told, labels=["MI"], progress=True)
        assert cohort.records["fold"].isna().tolist() == [False] * 5 + [True]
        assert "several folds" not in capsys.readouterr().out

    def test_a_patient_in_two_folds(self, folder):
        with pytest.raises(InputError, match=r"has patient p in folds 1 and 4: test data would leak into training"):
            build(folder, table=TABLE.assign(fold=[1, 4, 2, 3, 9, 10]))

    def test_files_listed_and_absent(self, folder):
        (folder / "r3.csv").unlink()
        (folder / "IM0002").unlink()
        with pytest.raises(
            InputError, match=r"lacks 2 records that the table lists \(IM0002, r3\.csv\); get the files"
        ):
            build(folder, table=TABLE)
        cohort = build(folder, table=TABLE, absent="skip")
        assert len(cohort) == 4
        assert "2 records left out, being listed and not there." in cohort.info.notes
        with pytest.raises(InputError, match="holds none of the files that the table lists"):
            build(folder, "d", table=pd.DataFrame({"file": ["x", "y"]}), absent="skip")

    def test_files_there_and_not_listed(self, folder):
        cohort = build(folder, table=TABLE.iloc[:4])
        assert len(cohort) == 4
        assert "2 records in the folder left out, not being listed." in cohort.info.notes

    @pytest.mark.parametrize("entry", ["../records/r3.csv", "/etc/passwd", "a/../../r3.csv", "..\\r3.csv", ".."])
    def test_paths_stay_in_the_folder(self, folder, entry):
        if entry == "../records/r3.csv":
            write_csv(folder.parent / "outside.csv", SIGNALS[0])
            entry = "../outside.csv"
        with pytest.raises(InputError, match=r"in row 1 does not lie in .*; give paths below that folder"):
            build(folder, table=pd.DataFrame({"file": [entry]}))

    def test_paths_in_other_forms(self, folder):
        entries = [str(folder / "a" / "r0.dat"), "a\\r1.edf", "./IM0002"]
        cohort = build(folder, table=pd.DataFrame({"path": entries}))
        assert cohort.records["record"].tolist() == ["a/r0", "a/r1", "IM0002"]
        assert "Columns of the table: path for file." in cohort.info.notes

    def test_a_file_twice(self, folder):
        with pytest.raises(InputError, match=r"rows 1 and 3 both name a/r1\.edf; keep one of them"):
            build(folder, table=pd.DataFrame({"file": ["r1", "r3", "a/r1.edf"]}))

    def test_columns_by_other_names(self, folder):
        frame = TABLE.rename(columns={"file": "Recording", "patient": "Subject_ID", "fold": "fold by us"})
        cohort = build(folder, table=frame, fold="fold by us", labels=["MI"], keep=["AF"])
        assert cohort.info.notes[0] == (
            "Columns of the table: Recording for file, Subject_ID for patient, fold by us for fold."
        )
        assert cohort.records["AF"].tolist() == [1, 1, 0, 0, 0, 0]

    @pytest.mark.parametrize(
        ("change", "options", "said"),
        [
            ({"MI": [0, 1, 2, 0, 0, 0]}, {"labels": ["MI"]}, r"has '2' in row 3 of the class MI; give 0 or 1"),
            ({"MI": [0, None, 1, 0, 0, 0]}, {"labels": ["MI"]}, r"has an empty cell in row 2 of the class MI"),
            ({}, {"labels": ["MII"]}, r"has no column 'MII'\. Did you mean 'MI'\?"),
            ({}, {"labels": "MI"}, r"labels is 'MI'; give a list of columns such as \['MI'\]"),
            ({}, {"labels": ["MI"], "statements": "labels"}, r"labels come from columns of 0 and 1 \(labels\) or from"),
            ({}, {"labels": []}, r"labels come from"),
            ({}, {"patient": "whose"}, r"has no column 'whose'"),
            ({}, {"keep": ["fold"]}, r"is asked to keep the column fold, which a cohort has already"),
            ({}, {"label": ["MI"]}, r"label is no option here\. Did you mean 'labels'\?"),
            ({}, {"separator": ""}, r"separator and task may not be empty"),
            ({}, {"absent": "ignore"}, r"absent is 'ignore'\. The choices are refuse, skip"),
            ({"sex": [*"mfmfm", "1"]}, {}, r"has the sex '1' in row 6 \(column sex\); give male or female"),
            ({"age": [1, 2, 3, 4, 5, "old"]}, {}, r"has the age 'old' in row 6 \(column age\); give years as a number"),
            ({"fold": [1, 1, 2, 3, 4, 1.5]}, {}, r"has the fold '1\.5' in row 6 \(column fold\); give whole numbers"),
            ({"patient": ["a", "", "b", "c", "d", "e"]}, {}, r"has no patient in row 2 \(column patient\); fill it in"),
            ({"file": ["a/r0", None, "r3", "r4", "r5", "r1"]}, {}, r"has no file in row 2 \(column file\)"),
            ({"labels": ["['A'", "[B]", "[", "", "", ""]}, {}, r"has the statements '\[B\]', which are no list"),
            ({"labels": [""] * 6}, {}, r"has no statement in its column labels; name another, or none"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit(self, folder, change, options, said):
        with pytest.raises(InputError, match=said) as caught:
            build(folder, table=TABLE.assign(**change), **options)
        assert "\n" not in str(caught.value)
        assert sorted(os.listdir(folder.parent)) == ["records"]

    def test_a_table_without_files(self, folder):
        with pytest.raises(InputError, match=r"the table has no column of files among MI, AF; name it, such as file="):
            build(folder, table=TABLE[["MI", "AF"]])
        with pytest.raises(InputError, match="the table has no rows; give one a record"):
            build(folder, table=TABLE.iloc[:0])

    def test_files_that_are_no_table(self, folder, monkeypatch):
        (folder / "t.xlsx").write_bytes(b"PK no")
        (folder / "t.parquet").write_bytes(b"no")
        for name in ("t.xlsx", "t.parquet"):
            with pytest.raises(InputError, match=rf"{name} cannot be read as a table \(.*\); save it again"):
                build(folder, table=folder / name)
        with pytest.raises(InputError, match=r"t\.docx is no table that is read here; give \.csv, "):
            build(folder, table=folder / "t.docx")
        with pytest.raises(InputError, match=r"t\.csv is no file; give the table of your records"):
            build(folder, table=folder / "t.csv")
        TABLE.to_excel(folder / "t.xlsx", index=False)
        monkeypatch.setattr(own_frame, "MOST_BYTES", 9000)
        with pytest.raises(InputError, match=r"t\.xlsx unpacks to more than 9,000 bytes; save its sheet as CSV"):
            build(folder, table=folder / "t.xlsx")
        (folder.parent / "t.csv").write_text("file,a,a\nr0,1,2\n")
        with pytest.raises(InputError, match=r"t\.csv has two columns a; rename or remove one"):
            build(folder, table=folder.parent / "t.csv")
        for rows in ("r0,P1,\nr1,P2,\n", "r0,P1,0\nr1,P2\n"):  # the first column is no index
            (folder.parent / "t.csv").write_text(f"file,patient\n{rows}")
            with pytest.raises(InputError, match=r"t\.csv has more cells in its rows than names in its first line"):
                build(folder, table=folder.parent / "t.csv")
        frame = pd.DataFrame([["r0", 1, 2]], columns=["file", "a", "a"])
        with pytest.raises(InputError, match="the table has two columns a; rename or remove one"):
            build(folder, table=frame)

    def test_names_stay_as_they_are(self, tmp_path):
        for name in ("007", "08", "NA"):
            write_csv(tmp_path / "x" / f"{name}.csv", SIGNALS[0])
        (tmp_path / "t.csv").write_text("file,patient\n007,01\n08,1\nNA,1\n")
        records = build(tmp_path / "x", table=tmp_path / "t.csv").records
        assert records["record"].tolist() == ["007", "08", "NA"]
        assert records["patient"].tolist() == ["01", "1", "1"]

    def test_umlauts_from_an_old_spreadsheet(self, tmp_path):
        write_csv(tmp_path / "x" / "Müller.csv", SIGNALS[0])
        (tmp_path / "t.csv").write_bytes("Datei;Gruppe\nMüller;Infarkt, älter\n".encode("latin1"))
        cohort = build(tmp_path / "x", table=tmp_path / "t.csv", file="Datei", statements="Gruppe")
        assert cohort.records["statements"].tolist() == [["Infarkt, älter"]]

    def test_ages_that_cannot_be(self, folder):
        cohort = build(folder, table=TABLE.assign(age=[300, -1, 20, 30, 40, 50]).drop(columns="labels"))
        assert np.isnan(cohort.records["age"][1]) or cohort.records["age"][1] == 64  # what the file says
        assert "2 records with an age beyond 0 to 120 years, which was left out." in cohort.info.notes


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["NORM", "IMI", "LVH", "é 1", "A, B"]), unique=True, max_size=4), min_size=1,
        max_size=5,
    ),
    st.sampled_from([";", "|", " / "]),
)  # fmt: skip
def test_statements_survive_every_way_of_writing_them(statements, separator):
    if not any(statements):
        statements = [*statements, ["NORM"]]
    names = [f"r{k}" for k in range(len(statements))]
    joined = pd.DataFrame({"file": names, "labels": [separator.join(each) for each in statements]})
    listed = pd.DataFrame({"file": names, "labels": [str(each) for each in statements]})
    objects = pd.DataFrame({"file": names, "labels": statements})
    occur = sorted({name for each in statements for name in each})
    marks = {name: [int(name in each) for each in statements] for name in occur}
    for frame in (joined, listed, objects):
        told = own_table.read(frame, Columns(separator=separator))
        assert told.rows["statements"].tolist() == statements
        assert told.label_sets == {"labels": {name: name for name in occur}}
    told = own_table.read(pd.DataFrame({"file": names, **marks}), Columns(labels=occur))
    assert [sorted(each) for each in told.rows["statements"]] == [sorted(each) for each in statements]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.sampled_from(["fold", None, "split"]))
def test_no_patient_is_ever_in_two_folds(patients, by):
    frame = pd.DataFrame({"file": [f"r{k}" for k in range(len(patients))], "patient": patients})
    if by == "split":
        frame["split"] = [("train", "val", "test")[zlib.crc32(p.encode()) % 3] for p in patients]
    if by == "fold":
        frame["fold"] = [ord(p) for p in patients]
    rows = own_table.read(frame, Columns()).rows
    folds = rows["fold"] if by else pd.Series([deal(p) for p in rows["patient"]])
    assert pd.Series(folds.to_numpy()).groupby(rows["patient"].to_numpy()).nunique().max() == 1


def test_a_frame_and_a_folder(folder):
    cohort = own.from_frame(
        TABLE, folder, folder.parent / "c", rate=100, seconds=4, labels=["MI", "AF"], progress=False
    )
    assert (len(cohort), cohort.rate, cohort.length) == (6, 100, 400)


class TestArrays:
    MV = np.stack(SIGNALS)

    def make(self, tmp_path, signal=None, to="c", **options) -> Cohort:
        given = {"rate": 250, "leads": LEADS, "unit": "mV", "progress": False, **options}
        return own.from_arrays(self.MV if signal is None else signal, tmp_path / to, **given)

    def test_signals_and_all_that_is_known(self, tmp_path):
        cohort = self.make(
            tmp_path, names=list("uvwxyz"), patients=[1, 1, 2, 3, 4, 5], folds=[1, 1, 2, 3, 9, 10], ages=[50] * 6,
            sexes=["f", "f", None, "m", "m", "male"], labels={"MI": TABLE["MI"], "AF": TABLE["AF"]}, name="mine",
        )  # fmt: skip
        np.testing.assert_allclose(cohort.signal_mv(), self.MV, atol=0.00051)
        assert cohort.records["record"].tolist() == list("uvwxyz")
        assert cohort.records["patient"].tolist() == list("112345")
        assert cohort.records["fold"].tolist() == [1, 1, 2, 3, 9, 10]
        assert cohort.records["sex"].tolist() == ["female", "female", None, "male", "male", "male"]
        np.testing.assert_array_equal(cohort.labels("labels"), TABLE[["AF", "MI"]])
        assert (cohort.info.name, cohort.info.notes) == ("mine", ())
        cohort.verify()

    @pytest.mark.parametrize("leads", [1, 2, 12])
    def test_different_records_of_few_leads_are_no_twins(self, tmp_path, leads):
        """Of 2,000 records with one lead some thirty have the 16-bit checksum of another one."""
        mv = np.random.default_rng(0).normal(size=(2000, leads, 8))
        assert not [note for note in self.make(tmp_path, mv, leads=LEADS[:leads]).info.notes if "another one" in note]
        mv[7] = mv[1999]
        notes = self.make(tmp_path, mv, "d", leads=LEADS[:leads]).info.notes
        assert [note[:40] for note in notes if "another one" in note] == ["1 record with the signal of another one "]

    def test_the_least_that_is_needed(self, tmp_path):
        cohort = self.make(tmp_path)
        assert cohort.records["record"].tolist() == [str(k) for k in range(6)]
        assert cohort.records["fold"].tolist() == [zlib.crc32(str(k).encode()) % 10 + 1 for k in range(6)]
        assert "Every record counts as its own patient." in cohort.info.notes
        assert self.make(tmp_path).info == cohort.info
        with pytest.raises(InputError, match="holds another cohort"):
            self.make(tmp_path, self.MV * 1.01)

    def test_other_forms(self, tmp_path):
        turned = self.make(
            tmp_path, 1000 * self.MV.transpose(0, 2, 1), unit="uV", labels=["A", ["B", "A"], "", "", "B;A", "A"]
        )
        np.testing.assert_allclose(turned.signal_mv(), self.MV, atol=0.00051)
        assert turned.labels("labels").tolist() == [[1, 0], [1, 1], [0, 0], [0, 0], [1, 1], [1, 0]]
        np.save(tmp_path / "m.npy", np.rint(self.MV * 1000).astype(np.int16))
        mapped = self.make(tmp_path, np.load(tmp_path / "m.npy", mmap_mode="r"), "m", unit="uV")
        np.testing.assert_allclose(mapped.signal_mv(), self.MV, atol=0.00051)

    def test_lists_of_several_lengths(self, tmp_path):
        several = [self.MV[0], self.MV[1][:, :600], np.tile(self.MV[2], 3)]
        with pytest.raises(InputError, match="the signals have 600 to 3000 samples; give seconds, such as 10"):
            self.make(tmp_path, several)
        cohort = self.make(tmp_path, several, seconds=4, to_rate=100, labels=["A", "B", "C"])
        assert cohort.records["record"].tolist() == ["0", "2/0", "2/1", "2/2"]
        assert cohort.records["statements"].tolist() == [["A"], ["C"], ["C"], ["C"]]
        assert cohort.length == 400

    def test_another_rate_keeps_the_length_in_seconds(self, tmp_path):
        assert self.make(tmp_path, to_rate=100).length == 400
        assert self.make(tmp_path, self.MV[:, :, :999], "d", to_rate=100).length == 400

    def test_missing_samples(self, tmp_path):
        gaps = self.MV.copy()
        gaps[2, 3, 5:9] = np.nan
        assert len(self.make(tmp_path, gaps)) == 5
        kept = self.make(tmp_path, gaps, "k", bad="keep")
        assert (kept.signal_mv([2])[0, 3, 5:9] == 0).all()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"unit": "mm"}, r"unit is 'mm', which is no voltage"),
            ({"unit": None}, r"unit is None, which is no voltage"),
            ({"rate": 0}, r"rate is 0; give the signals' rate"),
            ({"rate": 250.5}, r"rate is 250\.5, and cohorts are kept at whole numbers of Hz; give to_rate"),
            ({"leads": LEADS[:5]}, r"5 leads are named, but a signal has the shape \(12, 1000\); name each lead"),
            ({"leads": "I"}, r"leads is 'I'; give a list"),
            ({"patients": [1, 2]}, r"patient has 2 entries for 6 records; give one each"),
            ({"labels": {"MI": [1, 0]}}, r"MI has 2 entries for 6 records"),
            ({"labels": {"MI": [1, 0, 0, 0, 0, 3]}}, r"has '3' in row 6 of the class MI"),
            ({"labels": {"fold": [1] * 6}, "folds": [1] * 6}, r"the class fold has the name of a column"),
            ({"names": ["a"] * 6}, r"names has 'a' twice; give each record its own"),
            ({"patients": ["a"] * 6, "folds": [1, 2, 3, 4, 5, 6]}, r"has patient a in folds 1 and 2 and 3"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit(self, tmp_path, options, said):
        with pytest.raises(InputError, match=said):
            self.make(tmp_path, **options)
        assert not (tmp_path / "c").exists()

    @pytest.mark.parametrize("signal", [np.zeros((12, 1000)), [], np.zeros((2, 12, 5), complex), [np.zeros(5)]])
    def test_what_is_no_signal(self, tmp_path, signal):
        with pytest.raises(InputError, match=r"signals come as numbers \(records, leads, samples\)"):
            self.make(tmp_path, signal)

    def test_a_wrong_unit(self, tmp_path):
        notes = self.make(tmp_path, unit="V", bad="keep").info.notes
        assert any(note.startswith("6 records noted, whose signal peaks at over 20 mV") for note in notes)


class TestTheCommandLine:
    def build(self, *words):
        words = [str(word) for word in words]
        assert command(["build", "own", *words]) == 0
        return Cohort.open(words[words.index("--to") + 1])

    def test_a_folder_with_a_table(self, folder, capsys):
        TABLE.to_csv(folder / "labels.csv", index=False)
        words = [
            folder,
            "--to",
            folder.parent / "c",
            "--seconds",
            4,
            "--table",
            folder / "labels.csv",
            "--labels",
            "MI, AF",
        ]
        cohort = self.build(*words)
        np.testing.assert_array_equal(cohort.labels("labels"), TABLE[["AF", "MI"]])
        assert cohort.rate == 100
        assert "records: 6 records of 5 patients at 100 Hz" in capsys.readouterr().out

    def test_what_files_do_not_say(self, tmp_path):
        (tmp_path / "x").mkdir()
        np.save(tmp_path / "x" / "r.npy", SIGNALS[0][:2])
        words = [tmp_path / "x", "--to", tmp_path / "c", "--seconds", 4, "--unit", "mV", "--record-rate", 250]
        cohort = self.build(*words, "--record-leads", "I,II", "--leads", "II")
        assert cohort.leads == ("II",)

    def test_every_option_arrives(self, folder):
        words = [folder, "--to", folder.parent / "c", "--seconds", 5, "--shorter", "pad", "--absent", "skip"]
        frame = TABLE.rename(columns={"labels": "what", "file": "where", "fold": "part", "patient": "who"})
        frame.to_csv(folder.parent / "t.csv", index=False)
        more = ["--table", folder.parent / "t.csv", "--file", "where", "--fold", "part", "--patient", "who"]
        cohort = self.build(*words, *more, "--statements", "what", "--task", "findings", "--unreadable", "skip")
        assert cohort.length == 500
        assert cohort.classes("findings") == ("AF", "MI")
        assert cohort.folds() == (1, 2, 3, 9, 10)
