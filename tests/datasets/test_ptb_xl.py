"""ecglib.datasets.ptb_xl: the protocol, the layout, and every way a copy can be damaged."""

from __future__ import annotations

import os
import time

import numpy as np
import pandas as pd
import pytest
import wfdb
from ptb_xl_tree import CODES, Tree, ecg, write_record

from ecglib.cohort import Cohort
from ecglib.datasets import ptb_xl
from ecglib.datasets.ptb_xl.counts import PUBLISHED, check_counts
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual


def build(tree: Tree, to="cohort", **options):
    options = {"rate": 100, "progress": False, **options}
    return ptb_xl.build(tree.path, tree.path.parent / to, **options)


def refused(tree: Tree, said: str, **options) -> None:
    """One sentence, and nothing left behind."""
    with pytest.raises(InputError, match=said) as caught:
        build(tree, **options)
    assert "\n" not in str(caught.value)
    assert os.listdir(tree.path.parent) == [tree.path.name]


class TestWhole:
    @pytest.mark.parametrize("rate", [100, 500])
    def test_signals_and_rate(self, tree, rate):
        cohort = build(tree, rate=rate)
        assert (cohort.rate, cohort.leads, cohort.length, cohort.info.scale) == (rate, LEADS, 10 * rate, 0.001)
        np.testing.assert_array_equal(cohort.counts(cohort.rows), [ecg(k, 10 * rate) for k in range(12)])
        cohort.verify()

    def test_the_table(self, tree):
        records = build(tree).records
        assert records["record"].tolist() == [str(k) for k in range(1, 13)]
        assert records["patient"].tolist() == [str(1000 + k // 2) for k in range(12)]
        assert records["fold"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
        assert records["sex"].tolist() == ["male", "female"] * 6
        assert records["statements"][1] == ["IMI", "ASMI", "SR"]
        assert records["likelihoods"][1] == [15.0, 0.0, 0.0]
        assert records["file"][0] == "records100/00000/00001_lr"
        assert records["device"][4] == "CS-4"
        assert np.isnan(records["nurse"][0])

    def test_ages(self, tree):
        cohort = build(tree)
        assert cohort.records["age"][0] == 30
        assert cohort.records["age"][1] == 90  # from 300
        assert np.isnan(cohort.records["age"][2])
        assert "1 record of age over 89, entered as 90." in cohort.info.notes

    def test_a_records_labels_are_all_its_statements_whatever_their_likelihood(self, tree):
        cohort = build(tree)
        assert cohort.classes("superclass") == ("HYP", "MI", "NORM", "STTC")
        one_round = [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
        np.testing.assert_array_equal(cohort.labels("superclass"), one_round * 2)
        assert cohort.classes("subclass") == ("AMI", "IMI", "LVH", "NORM", "STTC")
        assert cohort.labels("subclass")[1].tolist() == [1, 1, 0, 0, 0]
        assert cohort.classes("rhythm") == ("AFIB", "SR")
        assert cohort.labels("rhythm").sum(axis=0).tolist() == [2, 6]  # all of likelihood 0
        assert cohort.classes("form") == ("NDT", "PVC")  # NDT is diagnostic as well
        assert cohort.classes("diagnostic") == ("ASMI", "IMI", "LVH", "NDT", "NORM")
        assert len(cohort.classes("all")) == 8
        assert len(cohort.labelled("superclass")) == 8

    def test_codes_come_from_the_statements_table(self, tree):
        tree.save(
            tree.table,
            CODES.replace(
                "IMI,inferior myocardial infarction,1.0,,,MI,IMI", "IMI,inferior myocardial infarction,1.0,,,OLD,OLD"
            ),
        )
        assert build(tree).classes("superclass") == ("HYP", "MI", "NORM", "OLD", "STTC")

    def test_what_it_says_of_itself(self, tree, capsys):
        info = build(tree, progress=True).info
        assert info.name == "ptb-xl"
        assert "s41597-020-0495-6" in info.citation
        assert "CC BY 4.0" in info.licence
        assert info.source_version == "a table of 12 rows, not a whole published version"
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("ptb-xl: 12 records of 6 patients at 100 Hz in ")

    def test_scp_codes_that_are_python_but_no_json(self, tree):
        tree.table.loc[0, "scp_codes"] = """{"NORM": 100.0, 'SR': 0.0,}"""
        tree.save(tree.table)
        assert build(tree).records["statements"][0] == ["NORM", "SR"]


class TestPartial:
    def test_records_without_files_are_left_out_and_counted(self, tree):
        for k in (0, 3, 4):
            tree.file(k, "hea").unlink()
            tree.file(k, "dat").unlink()
        cohort = build(tree)
        assert cohort.records["record"].tolist() == ["2", "3", "6", "7", "8", "9", "10", "11", "12"]
        assert cohort.info.notes[0] == "3 of the 12 records in ptbxl_database.csv left out: a partial copy."
        np.testing.assert_array_equal(cohort.counts([2]), ecg(5)[None])

    @pytest.mark.parametrize(("gone", "there"), [("hea", "dat"), ("dat", "hea")])
    def test_one_file_without_the_other_is_an_error(self, tree, gone, there):
        tree.file(4, gone).unlink()
        refused(tree, rf"00005_lr\.{gone} is missing, though its \.{there} is there")

    def test_no_record_at_all_or_none_at_this_rate(self, tree):
        for k in range(12):
            tree.file(k, "hea").unlink()
            tree.file(k, "dat").unlink()
        refused(tree, "holds no record at 100 Hz of the 12 in ptbxl_database.csv")
        assert len(build(tree, rate=500)) == 12

    def test_a_table_of_one_rate(self, tree):
        tree.save(tree.table.drop(columns="filename_hr"))
        refused(tree, r"has no column filename_hr, so no records at 500 Hz", rate=500)
        assert "filename_lr" not in build(tree).records.columns


class TestBadRecords:
    @pytest.fixture
    def tree(self, tmp_path):
        tree = Tree(tmp_path / "ptb-xl")
        missing, flat, zero = ecg(2), ecg(5), ecg(7)
        missing[1, 100:120] = -32768
        flat[8] = 17
        zero[3] = 0
        for k, signal in ((2, missing), (5, flat), (7, zero)):
            write_record(tree.stem(k), signal)
        return tree

    def test_dropped(self, tree):
        cohort = build(tree)
        assert cohort.records["record"].tolist() == ["1", "2", "4", "5", "7", "9", "10", "11", "12"]
        np.testing.assert_array_equal(cohort.counts([2]), ecg(3)[None])
        assert cohort.info.notes[-2:] == (
            "1 record dropped, with missing samples (records100/00000/00003_lr).",
            "2 records dropped, with a flat lead (records100/00000/00006_lr, records100/00000/00008_lr).",
        )

    def test_kept(self, tree):
        cohort = build(tree, bad="keep")
        assert len(cohort) == 12
        signal = cohort[2].signal
        assert (signal[1, 100:120] == 0).all()
        assert (signal[1, 120:] != 0).any()
        assert cohort.info.notes[-2].startswith("1 record kept, with missing samples set to 0 mV")
        assert cohort.info.notes[-1].startswith("2 records kept, with a flat lead")

    def test_another_word(self, tree):
        refused(tree, "bad is 'dorp'. Did you mean 'drop'", bad="dorp")

    def test_all_of_them(self, tree):
        for k in range(12):
            write_record(tree.stem(k), np.zeros((12, 1000), np.int16))
        refused(tree, "at least one record")

    def test_limb_leads_that_disagree_and_twins_are_counted(self, tree):
        swapped = ecg(9)[[0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]]
        inverted = ecg(10) * np.array([1, 1, -1] + [1] * 9, np.int16)[:, None]
        for k, signal in ((9, swapped), (10, inverted), (11, ecg(0))):
            write_record(tree.stem(k), signal)
        notes = " ".join(build(tree).info.notes)
        assert "2 records with limb leads that disagree by more than 0.1 mV" in notes
        assert "1 of these would agree with aVL and aVF exchanged (records100/00000/00010_lr)." in notes
        assert "1 record with the signal of another one" in notes


class TestDamage:
    @pytest.mark.parametrize("name", ["ptbxl_database.csv", "scp_statements.csv"])
    def test_no_ptb_xl(self, tree, name):
        (tree.path / name).unlink()
        refused(tree, f"ptb-xl has no {name}; give the folder of PTB-XL")

    def test_no_folder(self, tree):
        with pytest.raises(InputError, match="nowhere is no folder"):
            ptb_xl.build(tree.path.parent / "nowhere", tree.path.parent / "c", rate=100)

    @pytest.mark.parametrize("rate", [0, 250, 1000])
    def test_a_rate_that_is_not_published(self, tree, rate):
        refused(tree, f"rate is {rate}; PTB-XL has 100 and 500 Hz", rate=rate)

    def test_a_signal_cut_short(self, tree):
        os.truncate(tree.file(7, "dat"), 10_000)
        refused(tree, r"00008_lr\.dat has 10,000 bytes where its header says 24,000")

    def test_a_checksum_that_disagrees(self, tree):
        content = bytearray(tree.file(7, "dat").read_bytes())
        content[1000] ^= 4
        tree.file(7, "dat").write_bytes(content)
        refused(tree, "00008_lr does not have its header's checksum")

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("12 100 1000", "12 100 5000", "says 5000 samples"),
            ("12 100 1000", "12 360 1000", "says 360 Hz"),
            ("1000.0(0)/mV", "0(0)/mV", "gain of zero"),
            ("1000.0(0)/mV", "1000.0(0)/mbar", "no voltage"),
        ],
    )
    def test_headers(self, tree, old, new, said):
        header = tree.file(7, "hea")
        header.write_text(header.read_text().replace(old, new))
        refused(tree, rf"00008_lr\.hea .*{said}")

    @pytest.mark.parametrize("column", ["ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold"])
    def test_a_column_missing(self, tree, column):
        tree.save(tree.table.drop(columns=column))
        refused(tree, rf"ptbxl_database\.csv has no column {column}, so it is no PTB-XL table")

    @pytest.mark.parametrize("cell", ["", "{'NORM': 100.0", "NORM", "['NORM']", "{'NORM': 'much'}", "__import__('os')"])
    def test_statements_that_cannot_be_read(self, tree, cell):
        tree.table.loc[3, "scp_codes"] = cell
        tree.save(tree.table)
        refused(tree, r"ptbxl_database\.csv has scp_codes .* for ecg_id 4, which is no dictionary")

    def test_a_statement_that_is_not_defined(self, tree):
        tree.table.loc[3, "scp_codes"] = "{'XYZ': 0.0}"
        tree.save(tree.table)
        refused(tree, r"has the statement 'XYZ', which scp_statements\.csv does not define")

    @pytest.mark.parametrize("column", ["patient_id", "strat_fold", "filename_lr"])
    def test_an_empty_cell(self, tree, column):
        tree.table[column] = tree.table[column].astype(object)
        tree.table.loc[3, column] = None
        tree.save(tree.table)
        refused(tree, f"has no {column} in row 5")

    @pytest.mark.parametrize(
        ("column", "value"), [("ecg_id", "x"), ("patient_id", "x"), ("strat_fold", 1.5), ("age", "old"), ("sex", 7)]
    )
    def test_a_cell_of_another_kind(self, tree, column, value):
        tree.table[column] = tree.table[column].astype(object)
        tree.table.loc[3, column] = value
        tree.save(tree.table)
        refused(tree, f"has the {column} .* in row 5")

    def test_an_ecg_twice(self, tree):
        tree.table.loc[3, "ecg_id"] = 1
        tree.save(tree.table)
        refused(tree, "lists ecg_id 1 twice")

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"1'])
    def test_a_table_that_is_none(self, tree, content):
        (tree.path / "ptbxl_database.csv").write_bytes(content)
        refused(tree, r"ptbxl_database\.csv ")

    def test_a_diagnosis_without_class(self, tree):
        tree.save(tree.table, CODES.replace("1.0,,,MI,IMI", "1.0,,,,IMI"))
        refused(tree, "calls IMI diagnostic and gives it no diagnostic_class")


class TestSums:
    def test_verified_where_the_list_is_there(self, tree):
        tree.write_sums()
        assert len(build(tree)) == 12

    @pytest.mark.parametrize("suffix", ["dat", "hea"])
    def test_a_changed_file_is_named(self, tree, suffix):
        tree.write_sums()
        write_record(tree.stem(5), ecg(99))  # sound in itself, but another record
        if suffix == "hea":
            Tree(tree.path.parent / "again").file(5, "dat").replace(tree.file(5, "dat"))
            import shutil

            shutil.rmtree(tree.path.parent / "again")
        refused(tree, r"00006_lr\.hea does not have the SHA-256 of SHA256SUMS\.txt")
        if suffix == "dat":
            assert len(build(tree, verify=False)) == 12

    def test_a_changed_table_is_named(self, tree):
        tree.write_sums()
        tree.table.loc[0, "age"] = 31
        tree.save(tree.table)
        refused(tree, r"ptbxl_database\.csv does not have the SHA-256")

    def test_a_file_that_is_not_listed(self, tree):
        sums = tree.write_sums()
        sums.write_text("".join(line for line in sums.open() if "00006_lr.dat" not in line))
        refused(tree, r"00006_lr\.dat is not listed in SHA256SUMS\.txt")

    def test_a_list_that_must_be_there(self, tree):
        refused(tree, r"has no SHA256SUMS\.txt to verify against", verify=True)

    def test_verified_files_may_carry_a_published_wrong_checksum(self, tree):
        header = tree.file(0, "hea")
        lines = [line.split() for line in header.read_text().splitlines()]
        lines[1][6] = str((int(lines[1][6]) + 1) % 65536)
        header.write_text("\n".join(map(" ".join, lines)))
        tree.write_sums()
        note = "1 record kept, not having their header's checksum (records100/00000/00001_lr)."
        assert note in build(tree).info.notes


class TestAgain:
    def test_a_second_build_opens_the_first(self, tree):
        first = build(tree)
        made = os.stat(first.path / "signals.npy").st_mtime_ns
        assert build(tree).info == first.info
        assert os.stat(first.path / "signals.npy").st_mtime_ns == made

    @pytest.mark.parametrize("options", [{"rate": 500}, {"bad": "keep"}])
    def test_other_options_need_another_folder(self, tree, options):
        build(tree)
        with pytest.raises(InputError, match="holds another cohort"):
            build(tree, **options)

    def test_the_key_follows_tables_files_and_options(self, tree):
        keys = {
            ptb_xl.key(tree.path, rate=100),
            ptb_xl.key(tree.path, rate=500),
            ptb_xl.key(tree.path, rate=100, bad="keep"),
        }
        assert ptb_xl.key(str(tree.path), rate=100) in keys
        tree.file(0, "hea").unlink()
        keys.add(ptb_xl.key(tree.path, rate=100))
        tree.save(tree.table.assign(age=50))
        keys.add(ptb_xl.key(tree.path, rate=100))
        tree.write_sums()
        keys.add(ptb_xl.key(tree.path, rate=100))
        assert len(keys) == 6

    def test_patients_in_several_folds_are_noted(self, tree):
        tree.save(tree.table.assign(strat_fold=range(1, 13)))
        cohort = build(tree)
        assert "6 patients have records in more than one fold." in cohort.info.notes
        assert len(cohort.patients_in_several_folds()) == 6


STATEMENTS = [["NORM"], ["IMI"], ["LVH", "NORM"], []]
FOLDS = [1, 9, 10, 10]
SETS = {"superclass": {"NORM": "NORM", "IMI": "MI", "LVH": "HYP"}}
KNOWN = {
    "version": "0",
    "without": {"superclass": 1},
    "splits": {"superclass": (1, 1, 1)},
    "folds": {"superclass": (1, 0, 0, 0, 0, 0, 0, 0, 1, 1)},
    "classes": {"superclass": {"NORM": 2, "MI": 1, "HYP": 1}},
}


class TestPublishedCounts:
    def test_counts_that_agree(self):
        check_counts(STATEMENTS, FOLDS, SETS, KNOWN)

    @pytest.mark.parametrize(
        ("statements", "folds", "said"),
        [
            ([["NORM"], ["IMI"], ["LVH", "NORM"], ["IMI"]], FOLDS, r"\(without\) of PTB-XL 0 are 1, not 0"),
            (STATEMENTS, [1, 10, 10, 10], r"\(splits\) of PTB-XL 0 are \(1, 1, 1\), not \(1, 0, 2\)"),
            (STATEMENTS, [2, 9, 10, 10], r"\(folds\)"),
            ([["NORM"], ["IMI"], ["NORM"], []], FOLDS, r"\(classes\) of PTB-XL 0 are 1 for HYP, not 0"),
        ],
    )
    def test_counts_that_do_not(self, statements, folds, said):
        with pytest.raises(InputError, match=said):
            check_counts(statements, folds, SETS, KNOWN)

    def test_a_whole_set_is_checked_when_it_is_built(self, tree, monkeypatch):
        known = {"version": "1.2.3", "without": {"superclass": 4}}
        monkeypatch.setitem(PUBLISHED, 12, known)
        assert build(tree).info.source_version == "1.2.3"
        known["without"] = {"superclass": 5}
        with pytest.raises(InputError, match="is altered"):
            build(tree, to="other")
        for suffix in ("hea", "dat"):
            tree.file(0, suffix).unlink()
        assert len(build(tree, to="partial")) == 11  # of a partial copy nothing is known

    def test_the_pinned_counts_agree_among_themselves(self):
        known = PUBLISHED[21_799]
        train, validation, test = known["splits"]["superclass"]
        folds = known["folds"]["superclass"]
        assert (sum(folds[:8]), folds[8], folds[9]) == (train, validation, test)
        assert train + validation + test + known["without"]["superclass"] == 21_799
        assert {task: len(classes) for task, classes in known["classes"].items()} == {
            "superclass": 5,
            "subclass": 23,
            "rhythm": 12,
        }


@pytest.fixture(scope="module")
def nominal(shared_data, tmp_path_factory) -> Cohort:
    to = tmp_path_factory.mktemp("nominal") / "cohort"
    return ptb_xl.build(shared_data / "ptb-xl-nominal", to, rate=100, progress=False)


class TestRealRecords:
    """The partial copies beside the checkout."""

    def test_counts(self, nominal):
        assert (len(nominal), nominal.info.patients) == (2273, 2218)
        assert nominal.info.notes[0] == "28 records of age over 89, entered as 90."
        assert nominal.folds() == tuple(range(1, 11))
        assert nominal.patients_in_several_folds() == []
        sizes = {task: len(nominal.classes(task)) for task in nominal.info.label_sets}
        assert sizes == {"all": 71, "diagnostic": 44, "superclass": 5, "subclass": 23, "form": 19, "rhythm": 12}
        labelled = {task: len(nominal.labelled(task)) for task in sizes}
        assert labelled == {
            "all": 2273,
            "diagnostic": 2262,
            "superclass": 2262,
            "subclass": 2262,
            "form": 746,
            "rhythm": 2194,
        }

    def test_nominal_voltages_are_found_out(self, nominal, shared_data, tmp_path):
        """Their leads were z-scored, and a chest lead's deviation is the same in all; the published ones' is not."""
        assert nominal.info.notes[1].startswith("Voltages are nominal: a chest lead has the same standard deviation")
        assert "6 of 6 leads" in nominal.info.notes[1]
        assert nominal.info.title == "ptb-xl, nominal voltages"
        raw = ptb_xl.build(shared_data / "ptb-xl-raw", tmp_path / "raw", rate=100, progress=False)
        assert not any("nominal" in note for note in raw.info.notes)
        assert raw.info.title == "ptb-xl"

    def test_superclasses_in_each_part(self, nominal):
        assert nominal.classes("superclass") == ("CD", "HYP", "MI", "NORM", "STTC")
        found = {}
        for name, folds in (("train", range(1, 9)), ("validation", [9]), ("test", [10])):
            part = nominal.in_folds(list(folds))
            found[name] = (
                len(part),
                len(part.labelled("superclass")),
                part.labels("superclass").sum(axis=0).astype(int).tolist(),
            )
        assert found == SUPERCLASSES

    def test_other_tasks(self, nominal):
        counts = dict(zip(nominal.classes("rhythm"), nominal.labels("rhythm").sum(axis=0).astype(int).tolist()))
        assert counts == {
            "AFIB": 134,
            "AFLT": 10,
            "BIGU": 4,
            "PACE": 5,
            "PSVT": 2,
            "SARRH": 86,
            "SBRAD": 47,
            "SR": 1823,
            "STACH": 70,
            "SVARR": 19,
            "SVTAC": 4,
            "TRIGU": 0,
        }
        assert nominal.labels("form").sum() == 1036
        assert nominal.labels("subclass").sum() == 3131

    def test_limb_leads_agree_to_rounding(self, nominal):
        assert limb_residual(nominal.signal_mv(slice(0, 500))).max() < 0.002

    def test_signals_are_wfdbs(self, nominal, shared_data):
        for i in (0, 487, 488, 2272):
            file = shared_data / "ptb-xl-nominal" / nominal.records["file"][i]
            np.testing.assert_allclose(nominal[i].signal, wfdb.rdrecord(str(file)).p_signal.T, atol=1e-6)

    def test_the_published_records_at_500_hz(self, shared_data, tmp_path):
        cohort = ptb_xl.build(shared_data / "ptb-xl-raw", tmp_path / "c", rate=500, progress=False)
        assert (len(cohort), cohort.length, cohort.info.patients) == (488, 5000, 459)
        assert cohort.records["report"][0] == "sinusrhythmus periphere niederspannung"
        assert (cohort.records["age"] == 90).sum() == 1  # a true one: these ages are as published
        assert cohort.info.notes == ()
        cohort.verify()

    def test_building_is_far_faster_than_a_wfdb_loop(self, nominal, shared_data, tmp_path):
        """The whole of it, tables and disk included; measured: about 25 times (benchmarks/read_ptb_xl.py)."""
        stems = [str(shared_data / "ptb-xl-nominal" / file) for file in nominal.records["file"][:100]]
        start = time.perf_counter()
        for stem in stems:
            wfdb.rdrecord(stem)
        by_wfdb = (time.perf_counter() - start) / len(stems)
        ours = []
        for k in range(2):
            start = time.perf_counter()
            ptb_xl.build(shared_data / "ptb-xl-nominal", tmp_path / str(k), rate=100, progress=False)
            ours.append((time.perf_counter() - start) / len(nominal))
        assert by_wfdb / min(ours) > 8


SUPERCLASSES = {  # records, of them with a superclass, and CD, HYP, MI, NORM, STTC
    "train": (1764, 1763, [418, 182, 250, 983, 464]),
    "validation": (256, 248, [47, 20, 37, 136, 67]),
    "test": (253, 251, [65, 25, 41, 121, 79]),
}


def test_pandas_is_what_reads_the_table(tree):
    """A guard for the fixture: the table's floats and gaps are as in the published file."""
    assert pd.read_csv(tree.path / "ptbxl_database.csv")["patient_id"].dtype == float
