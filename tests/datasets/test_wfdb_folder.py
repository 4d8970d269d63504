"""ecglib.datasets.wfdb_folder: anybody's WFDB records, and the real ones beside the checkout."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ptb_xl_tree import NAMES, ecg, write_record

from ecglib.cohort import Cohort
from ecglib.datasets import wfdb_folder
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual


@pytest.fixture
def folder(tmp_path):
    """Four records in two sub-folders, with what headers say of age and sex here and there."""
    comments = ["# Age: 56\n# Sex: Female\n", "#<age>: 51\n#<sex>: M\n", "# Age: NaN\n# Sex: Unknown\n", ""]
    for k, text in enumerate(comments):
        write_record(tmp_path / "mine" / f"s{k % 2}" / f"r{k}", ecg(k), comments=text)
    return tmp_path / "mine"


def build(folder, to="cohort", **options) -> Cohort:
    return wfdb_folder.build(folder, folder.parent / to, **{"rate": 100, "progress": False, **options})


def test_every_header_below_the_folder(folder):
    cohort = build(folder)
    assert cohort.records["record"].tolist() == ["s0/r0", "s0/r2", "s1/r1", "s1/r3"]
    np.testing.assert_array_equal(cohort.counts(cohort.rows), [ecg(k) for k in (0, 2, 1, 3)])
    assert (cohort.info.name, cohort.rate, cohort.leads) == ("mine", 100, LEADS)
    assert cohort.info.notes == ("Every record counts as its own patient.",)
    cohort.verify()


def test_the_table(folder):
    records = build(folder).records
    assert records["patient"].tolist() == records["record"].tolist()
    assert records["fold"].isna().all()
    assert records["age"].tolist()[::2] == [56.0, 51.0]
    assert records["age"].isna().tolist() == [False, True, False, True]
    assert records["sex"].tolist() == ["female", None, "male", None]
    assert records["statements"].tolist() == [[]] * 4


def test_there_are_no_labels_and_no_folds(folder):
    cohort = build(folder)
    with pytest.raises(InputError, match=r"mine .*has no labels"):
        cohort.labels("superclass")
    with pytest.raises(InputError, match="this data set has no folds"):
        cohort.in_folds([1])


def test_records_lists_them_in_its_own_order(folder):
    (folder / "RECORDS").write_text("s1/r3\ns0/r0\n")
    assert build(folder).records["record"].tolist() == ["s1/r3", "s0/r0"]
    (folder / "RECORDS").write_text("s1/r3\ns0/r9\n")
    with pytest.raises(InputError, match=r"s0/r9\.hea is missing, though RECORDS lists it"):
        build(folder, to="other")


def test_leads_are_those_that_the_first_record_has(tmp_path):
    for k in range(2):
        write_record(tmp_path / "patch" / f"{k}", ecg(k)[[8, 1]], names=["V3", "DII"])
    cohort = build(tmp_path / "patch")
    assert cohort.leads == ("II", "V3")
    np.testing.assert_array_equal(cohort.counts([1]), ecg(1)[None, [1, 8]])


def test_chosen_leads_out_of_more(folder):
    cohort = build(folder, leads=["v1", "I"])
    assert cohort.leads == ("V1", "I")
    np.testing.assert_array_equal(cohort.counts([0]), ecg(0)[None, [6, 0]])


def test_the_files_own_scale_is_kept(tmp_path):
    write_record(tmp_path / "x" / "0", ecg(0), gain="200(0)/mV")
    cohort = build(tmp_path / "x")
    assert cohort.info.scale == 1 / 200
    np.testing.assert_allclose(cohort[0].signal, ecg(0) / 200, rtol=1e-6)


def test_limb_leads_may_be_derived(tmp_path):
    wrong = ecg(0)[[0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]]  # aVL and aVF exchanged
    write_record(tmp_path / "x" / "0", wrong)
    recorded = build(tmp_path / "x")
    np.testing.assert_array_equal(recorded.counts([0])[0], wrong)
    assert "1 of these would agree with aVL and aVF exchanged (0)." in recorded.info.notes
    derived = build(tmp_path / "x", to="derived", limb="derived")
    np.testing.assert_array_equal(derived.counts([0])[0], ecg(0))
    assert "III, aVR, aVL and aVF are derived from I and II." in derived.info.notes
    with pytest.raises(InputError, match=r"limb is 'derive'\. Did you mean 'derived'"):
        build(tmp_path / "x", limb="derive")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"signal": ecg(9, 900)}, r"z\.hea says 900 samples where the others have 1000"),
        ({"signal": ecg(9), "rate": 250}, r"z\.hea says 250 Hz where rate is 100"),
        ({"signal": ecg(9)[:7], "names": NAMES[:7]}, r"z\.hea: lead V2 is missing"),
        ({"signal": ecg(9), "gain": "0(0)/mV"}, r"z\.hea has a gain of zero"),
        ({"signal": ecg(9), "gain": "1000/mmHg"}, r"z\.hea has the unit 'mmHg'"),
    ],
)
def test_a_record_unlike_the_others(folder, record, said):
    write_record(folder / "z", **record)
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == ["mine"]


def test_leads_scaled_by_their_own_deviation_are_found_out(tmp_path):
    """Noise of all sizes, then the same with each lead of each record brought to one deviation."""
    for name, scaled in (("real", False), ("scaled", True)):
        for k in range(20):
            signal = ecg(k).astype(float) * (0.3 + 0.05 * k)
            if scaled:
                signal = 200 * signal / signal.std(axis=1, keepdims=True)
            write_record(tmp_path / name / f"r{k}", signal.round().astype(np.int16))
    notes = {name: build(tmp_path / name, f"c_{name}").info.notes for name in ("real", "scaled")}
    assert not any("nominal" in note for note in notes["real"])
    assert any(note.startswith("Voltages are nominal") and "6 of 6 leads" in note for note in notes["scaled"])


def test_a_length_that_no_memory_holds(folder):
    for header in folder.rglob("*.hea"):
        header.write_text(header.read_text().replace(" 100 1000\n", f" 100 {10**17}\n", 1))
    with pytest.raises(InputError, match=r"says 100,000,000,000,000,000 samples a record, more than memory holds"):
        build(folder)
    assert os.listdir(folder.parent) == ["mine"]


@pytest.mark.parametrize(("count", "lines"), [(11, 12), (13, 12)])
def test_another_number_of_signals_than_described(folder, count, lines):
    header = folder / "s0" / "r0.hea"
    header.write_text(header.read_text().replace("r0 12 ", f"r0 {count} ", 1))
    with pytest.raises(InputError, match=rf"r0\.hea says {count} signals and describes {lines}"):
        build(folder)


def test_a_checksum_that_disagrees_is_counted(folder):
    header = folder / "s0" / "r0.hea"
    header.write_text(header.read_text().replace(f" {int(ecg(0)[1].astype(int).sum()) % 65536} 0 II", " 5 0 II"))
    assert "1 record kept, not having their header's checksum (s0/r0)." in build(folder).info.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is no WFDB header"), ("r0 0 100 1000\n", "none of the twelve leads"), ("r0 12 100\n", r"r0\.hea ")],
)
def test_a_first_header_that_says_nothing(folder, text, said):
    (folder / "s0" / "r0.hea").write_text(text)
    with pytest.raises(InputError, match=said):
        build(folder)


def test_no_folder_and_no_records(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no WFDB record"):
        build(tmp_path / "empty")


def test_built_once_until_a_header_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    header = folder / "s0" / "r0.hea"
    header.write_text(header.read_text() + "# Rx: Unknown\n")
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


class TestRealRecords:
    def test_challenge_2011(self, shared_data, tmp_path):
        """Real bad input: 138 of 1,000 have a flat lead, and aVL and aVF are exchanged in nearly all."""
        cohort = wfdb_folder.build(shared_data / "challenge-2011", tmp_path / "c", rate=100, progress=False)
        assert len(cohort) == 862
        assert cohort.info.notes[1].startswith("138 records dropped, with a flat lead (records100/1002603, ")
        assert cohort.info.notes[3].startswith("643 of these would agree with aVL and aVF exchanged")
        kept = wfdb_folder.build(
            shared_data / "challenge-2011", tmp_path / "k", rate=100, bad="keep", limb="derived", progress=False
        )
        assert len(kept) == 1000
        signal = kept.signal_mv(slice(0, 200))
        assert np.quantile(limb_residual(signal), 0.95) < 0.002

    def test_ludb_through_wfdb(self, shared_data, tmp_path):
        cohort = wfdb_folder.build(shared_data / "ludb", tmp_path / "c", rate=500, progress=False)
        assert (len(cohort), cohort.length, cohort.leads) == (200, 5000, LEADS)
        assert "200 records read through wfdb, not being plain format 16." in cohort.info.notes
        assert cohort.records["age"][0] == 51
        assert cohort.records["sex"][0] == "female"

    def test_challenge_2021_matlab_files(self, shared_data, tmp_path):
        cohort = wfdb_folder.build(
            shared_data / "challenge-2021-sample", tmp_path / "c", rate=500, bad="keep", progress=False
        )
        assert len(cohort) == 10
        assert cohort.info.notes[1:] == ("1 record kept, with a flat lead (JS20004).",)
        assert limb_residual(cohort.signal_mv()).max() < 0.005


def test_records_beyond_a_limit_are_left_out(tmp_path):
    import pandas as pd

    from ecglib.cohort import write
    from ecglib.datasets.quality import plausible
    from ecglib.errors import InputError

    counts = np.zeros((1500, 2, 50), np.int16)
    counts[1200, 1, 7], counts[3, 0, 0] = -5001, 5000  # beyond, and just within, 5 mV
    names = [str(k) for k in range(1500)]
    table = pd.DataFrame(
        {"record": names, "patient": names, "fold": None, "age": None, "sex": None, "statements": [[]] * 1500}
    )
    cohort = write(tmp_path / "c", counts, table, name="c", rate=100, leads=["I", "II"], scale=0.001)
    kept = plausible(cohort, 5.0)
    assert kept.rows.tolist() == [k for k in range(1500) if k != 1200]
    assert plausible(cohort.subset([1200, 3]), 5.0).rows.tolist() == [3]
    assert plausible(cohort, 0.0) is cohort
    with pytest.raises(InputError, match="No record of c stays within 1 mV"):
        plausible(cohort.subset([3, 1200]), 1.0)
    with pytest.raises(InputError, match="limit_mv is -1"):
        plausible(cohort, -1)
