"""ecglib.datasets.records: the same ECG out of every format, and one sentence for every file that is none."""

from __future__ import annotations

import os
import pickle
import warnings
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_files import STARTED, beats, dicom_group, write_csv, write_dicom, write_edf, write_wfdb

from ecglib.datasets import records
from ecglib.datasets.records import channels as record_channels
from ecglib.datasets.records import csv as record_csv
from ecglib.datasets.records import mat as record_mat
from ecglib.datasets.records import read_record
from ecglib.datasets.records.__main__ import main as records_command
from ecglib.datasets.records.channels import chooser, lead_of, millivolts
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual

MV = beats()
GIVEN = {"rate": 250, "leads": list(LEADS), "unit": "mV"}


def wfdb_212(folder):
    return write_wfdb(folder / "r", MV, comments=["Age: 64", "Sex: F"])


def wfdb_16(folder):
    return write_wfdb(folder / "plain", MV, fmt="16").with_suffix("")


def edf(folder):
    return write_edf(folder / "r.edf", MV)


def bdf(folder):
    return write_edf(folder / "r.bdf", MV, bdf=True, unit="mV")


def dicom(folder):
    return write_dicom(folder / "r.dcm", MV)


def dicom_without_suffix(folder):
    return write_dicom(folder / "IM0001", [dicom_group(MV, unit="mV", sensitivity=0.001, scheme="MDC")])


def csv(folder):
    return write_csv(folder / "r.csv", MV)


def tsv(folder):
    return write_csv(folder / "r.tsv", MV, separator="\t", decimal=",", unit="uV", places=1)


def npz(folder):
    np.savez(folder / "r.npz", signal=MV.T, fs=250, leads=list(LEADS), unit="mV")
    return folder / "r.npz"


def mat(folder):
    names = np.array(LEADS, dtype=object)  # a cell array, which is passed over
    scipy.io.savemat(folder / "r.mat", {"val": MV * 1000, "fs": 250, "names": names}, do_compression=True)
    return folder / "r.mat"


def npy(folder):
    np.save(folder / "r.npy", np.asfortranarray(MV.T))
    return folder / "r.npy"


STEPS = {  # mV: what each format was written with
    wfdb_212: 1 / 200, wfdb_16: 1 / 200, edf: 20 / 65535, bdf: 20 / 2**24, dicom: 2.5e-3, dicom_without_suffix: 1e-3,
    csv: 1e-4, tsv: 1e-4, npz: 1e-6, mat: 1e-6, npy: 1e-6,
}  # fmt: skip
SAYS_NOTHING = {npy: GIVEN, mat: GIVEN | {"unit": "uV"}}


@pytest.mark.parametrize("write", STEPS, ids=lambda write: write.__name__)
def test_every_format_gives_the_same_signal(write, tmp_path):
    record = read_record(write(tmp_path), **SAYS_NOTHING.get(write, {}))
    assert (record.leads, record.rate, record.notes) == (LEADS, 250, ())
    assert record.signal.dtype == np.float32
    assert record.signal.shape == (12, 1000)
    assert record.seconds == 4
    assert np.abs(record.signal - MV).max() <= STEPS[write] + 1e-6
    assert limb_residual(record.signal).max() < STEPS[write] + 1e-6


@pytest.mark.parametrize(("write", "age"), [(edf, 64.0), (bdf, 64.0), (dicom, 64.0), (wfdb_212, 64.0)])
def test_whose_it_is(write, age, tmp_path):
    record = read_record(write(tmp_path))
    assert (record.age, record.sex) == (age, "female")
    if write is not wfdb_212:
        assert (record.patient, record.started) == ("P-17", STARTED)


@pytest.mark.parametrize("write", [csv, npz, wfdb_16])
def test_a_file_that_says_nothing_of_the_person(write, tmp_path):
    record = read_record(write(tmp_path))
    assert (record.age, record.sex, record.patient, record.started) == (None,) * 4


def test_the_real_dicom_that_pydicom_brings():
    from pydicom.data import get_testdata_file

    record = read_record(get_testdata_file("waveform_ecg.dcm"))
    assert (record.signal.shape, record.rate, record.age, record.sex) == ((12, 10000), 1000, 42, "female")
    assert record.started == datetime(2013, 1, 25, 10, 59, 19)
    assert limb_residual(record.signal).max() < 0.005  # the rhythm, in mV; the median beat has 1200 samples
    assert 0.5 < np.abs(record.signal).max() < 5
    assert record.notes == ()


def test_real_wfdb_records(shared_data):
    ludb = read_record(shared_data / "ludb" / "data" / "1")
    assert (ludb.signal.shape, ludb.rate, ludb.age, ludb.sex) == ((12, 5000), 500, 51, "female")
    matlab = read_record(next((shared_data / "challenge-2021-sample").rglob("*.mat")))
    assert matlab.leads == LEADS
    assert limb_residual(matlab.signal).max() < 0.01


class TestNames:
    @pytest.mark.parametrize(
        ("name", "lead"),
        [
            ("ECG I", "I"), ("EKG-II", "II"), ("ECG II-Ref", "II"), ("MDC_ECG_LEAD_aVR", "aVR"), ("avl", "aVL"),
            ("ecg:V1", "V1"), ("DIII", "III"), ("C6", "V6"), ("Lead I (Einthoven)", "I"), ("V2:", "V2"), (" V3 ", "V3"),
            ("EKG V4", "V4"), ("ECG", None), ("MLII", None), ("-aVR", None), ("ECG -aVR", None), ("V7", None),
            ("Resp", None), ("EEG Fp1", None), ("", None),
        ],
    )  # fmt: skip
    def test_what_a_channel_is(self, name, lead):
        assert lead_of(name) == lead

    @given(st.permutations(range(12)), st.lists(st.sampled_from(["Resp", "EEG C3", "SpO2", "V7"]), max_size=4))
    def test_leads_in_any_order_among_others(self, order, others):
        names = [f"ECG {LEADS[k]}" for k in order] + others
        positions, leads, notes = chooser(None)(names, len(names))
        assert [LEADS.index(lead) for lead in leads] == list(order)
        assert positions == list(range(12))
        assert notes == []

    def test_others_are_passed_over(self, tmp_path):
        labels = ["Resp", "ECG V5", "EEG Fp1", "EKG I"]
        record = read_record(write_edf(tmp_path / "r.edf", MV[[0, 1, 2, 3]], labels=labels))
        assert record.leads == ("V5", "I")
        np.testing.assert_allclose(record.signal, MV[[1, 3]], atol=4e-4)

    def test_leads_are_given_where_the_file_names_none(self, tmp_path):
        file = write_edf(tmp_path / "r.edf", MV[:2], labels=["Ch1", "Ch2"])
        with pytest.raises(
            InputError, match=r"r\.edf names none of the twelve leads \(Ch1, Ch2\); give leads, one nam"
        ):
            read_record(file)
        assert read_record(file, leads=["II", "V1"]).leads == ("II", "V1")
        assert read_record(file, leads={"Ch2": "V5"}).leads == ("V5",)
        assert read_record(file, leads=["X", "V1"]).notes == (
            "was given X, none of the twelve leads, so these were not read",
        )
        with pytest.raises(InputError, match=r"has 2 channels \(Ch1, Ch2\), but 3 leads were given"):
            read_record(file, leads=["I", "II", "III"])

    def test_a_modified_lead_is_read_only_if_said_so(self, tmp_path):
        file = write_wfdb(tmp_path / "100", MV[:2], leads=["MLII", "V5"])
        assert read_record(file).leads == ("V5",)
        record = read_record(file, leads={"MLII": "II"})
        assert (record.leads, record.notes) == (("II", "V5"), ())
        assert read_record(file, leads={"MLIII": "III"}).notes == ("has no channel MLIII, for which a lead was given",)

    def test_the_files_own_names_go_before(self, tmp_path):
        record = read_record(csv(tmp_path), leads=list(LEADS[::-1]))
        assert record.leads == LEADS
        assert record.notes == ("names its leads itself, so those given were not used",)
        assert read_record(csv(tmp_path), leads=list(LEADS)).notes == ()

    def test_a_lead_twice(self, tmp_path):
        file = write_edf(tmp_path / "r.edf", MV[:2], labels=["ECG II", "EKG II"])
        with pytest.raises(InputError, match=r"has lead II twice \(ECG II, EKG II\); rename or remove one"):
            read_record(file)

    @pytest.mark.parametrize("leads", ["I", [], {}, {"MLII": "lead 2"}])
    def test_leads_that_cannot_be_meant(self, tmp_path, leads):
        with pytest.raises(InputError, match=r"leads is .*give .*names such as \['I', 'II'\]"):
            read_record(csv(tmp_path), leads=leads)


class TestUnits:
    @given(
        st.sampled_from(["uV", "mV", "V", "µV", "μV", "[mV]", "microvolts", "Millivolt", "nV"]),
        st.floats(-5, 5, allow_nan=False),
    )
    def test_a_unit_is_a_factor(self, unit, mv):
        per = {"u": 1e3, "µ": 1e3, "μ": 1e3, "n": 1e6, "v": 1e-3}.get(unit.strip("[]").lower()[0], 1.0)
        per = 1e3 if unit == "microvolts" else per  # counts per mV, the slow way
        assert mv * per * millivolts(unit) == pytest.approx(mv)

    @pytest.mark.parametrize("unit", ["mmHg", "bpm", "", "counts", "m", "mV/s"])
    def test_what_is_no_voltage(self, unit):
        assert millivolts(unit) is None

    def test_none_said_and_none_given(self, tmp_path):
        file = write_csv(tmp_path / "r.csv", MV, unit=None)
        with pytest.raises(InputError, match=r"r\.csv says no unit; give unit='mV' or 'uV'"):
            read_record(file)
        np.testing.assert_allclose(read_record(file, unit="mV").signal, MV, atol=1e-4)
        np.testing.assert_allclose(read_record(file, unit="V").signal, 1000 * MV, atol=0.1)

    def test_a_unit_that_is_none(self, tmp_path):
        with pytest.raises(InputError, match=r"unit is 'mm', which is no voltage"):
            read_record(csv(tmp_path), unit="mm")
        file = write_edf(tmp_path / "r.edf", MV[:1], unit="mmHg")
        with pytest.raises(InputError, match=r"gives lead I in 'mmHg', which is no voltage"):
            read_record(file)

    def test_a_unit_given_against_the_files(self, tmp_path):
        record = read_record(edf(tmp_path), unit="mV")
        assert record.notes == ("says another unit than the one given, and its own was taken",)
        np.testing.assert_allclose(record.signal, MV, atol=4e-4)

    @pytest.mark.parametrize(("unit", "said"), [("V", "over 20"), ("nV", "under 0.02")])
    def test_a_wrong_unit_is_noticed(self, tmp_path, unit, said):
        record = read_record(write_csv(tmp_path / "r.csv", MV, unit=None), unit=unit)
        assert record.notes == (f"peaks at {said} mV, so that its unit is probably wrong",)

    def test_one_loose_lead_is_not_a_wrong_unit(self):
        loose = MV.copy()
        loose[3] *= 1000
        assert records.implausible(loose) is None
        assert records.implausible(MV + 300) is None  # an offset of the amplifier
        assert records.implausible(np.zeros((2, 100))) is None
        assert records.implausible(np.full((2, 100), np.nan)) is None
        assert records.implausible(1000 * MV) is not None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert records.implausible(np.full((4, 9), 3e38, np.float32) * np.float32([[1, -1, 1] * 3])) is not None


class TestRates:
    def test_none_said_and_none_given(self, tmp_path):
        file = write_csv(tmp_path / "r.csv", MV, rate=None)
        with pytest.raises(InputError, match=r"r\.csv says no rate; give rate in Hz, such as rate=500"):
            read_record(file)
        assert read_record(file, rate=250).rate == 250

    @pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
    def test_no_rate_at_all(self, tmp_path, rate):
        with pytest.raises(InputError, match=r"rate is .*; give the records' rate in Hz"):
            read_record(csv(tmp_path), rate=rate)

    def test_a_rate_given_against_the_files(self, tmp_path):
        record = read_record(edf(tmp_path), rate=500)
        assert (record.rate, record.notes) == (250, ("says another rate than the one given, and its own was taken",))

    def test_several_rates_in_an_edf_are_brought_to_the_highest(self, tmp_path):
        fast, slow = beats(3, rate=500)[0], beats(3, rate=100)[1]
        file = write_edf(tmp_path / "r.edf", [fast, slow, slow], rates=[500, 100, 100], labels=["I", "II", "Resp"])
        record = read_record(file)
        assert (record.rate, record.signal.shape) == (500, (2, 2000))
        assert record.notes == ("100 and 500 Hz in its leads, brought to 500 Hz",)
        np.testing.assert_allclose(record.signal[0], fast, atol=4e-4)
        np.testing.assert_allclose(record.signal[1, ::5], slow, atol=0.02)

    def test_several_samples_a_frame_in_wfdb(self, tmp_path):
        """Two samples of V1 a frame: 500 Hz beside 250, neither averaged away."""
        fast, slow = beats(3, rate=500)[6], beats(3, rate=250)[1]
        counts = [np.rint(1000 * fast).astype("<i2").reshape(-1, 2), np.rint(1000 * slow).astype("<i2")[:, None]]
        np.concatenate(counts, axis=1).tofile(tmp_path / "m.dat")
        lines = ["m 2 250 1000", "m.dat 16x2 1000/mV 16 0 0 0 0 V1", "m.dat 16 1000/mV 16 0 0 0 0 II"]
        (tmp_path / "m.hea").write_text("\n".join(lines) + "\n")
        record = read_record(tmp_path / "m.hea")
        assert (record.leads, record.rate, record.signal.shape) == (("V1", "II"), 500, (2, 2000))
        np.testing.assert_allclose(record.signal[0], fast, atol=6e-4)

    def test_rates_that_cannot_be_joined(self, tmp_path):
        signals = [np.zeros(1000), np.zeros(501)]
        file = write_edf(tmp_path / "r.edf", [beats()[0], beats()[0]], rates=[250, 250], labels=["I", "II"])
        found = record_channels.Channels(["I", "II"], signals, ["mV"] * 2, [250.5, 100.0])
        with pytest.raises(InputError, match=r"holds leads at 100 and 250.5 Hz, which cannot be joined"):
            records._signal(found, None, None)
        assert file.exists()


class TestCsv:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        separator=st.sampled_from([",", ";", "\t", " "]), comma=st.booleans(), unit=st.sampled_from(["mV", "uV"]),
        rate=st.sampled_from([100, 250, 257, 360, 500, 1000]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        first=st.sampled_from(["", "# a comment; with, separators\n\n"]),
    )  # fmt: skip
    def test_whatever_the_dialect(self, tmp_path, separator, comma, unit, rate, encoding, first):
        mv = MV[:3, :40]
        decimal = "," if comma and separator != "," else "."
        names = [f"{lead}_{unit}" if separator == " " else f"{lead} [{unit}]" for lead in LEADS[:3]]
        rows = [[k / rate, *(mv[:, k] * (1000 if unit == "uV" else 1))] for k in range(40)]
        lines = [separator.join(f"{value:.5f}".replace(".", decimal) for value in row) for row in rows]
        header = separator.join(["time_s" if separator == " " else "Time (s)", *names])
        file = tmp_path / "r.csv"
        file.write_text(f"{first}{header}\n" + "\n".join(lines), encoding=encoding)
        record = read_record(file)
        assert (record.rate, record.leads) == (rate, ("I", "II", "III"))
        np.testing.assert_allclose(record.signal, mv, atol=1e-5)

    @pytest.mark.parametrize(
        ("header", "times", "rate"),
        [
            ("time (ms)", [0, 2, 4, 6, 8], 500), ("ms", [0, 4, 8, 12, 16], 250),
            ("time", [0, 0.01, 0.02, 0.03, 0.04], 100),
            ("'Elapsed time'", ["'0:00.000'", "'0:00.004'", "'0:00.008'", "'0:00.012'", "'0:00.016'"], 250),
            ("timestamp", [f"2026-01-02 03:04:05.00{k}" for k in range(5)], 1000),
            ("t", [5, 5.01, 5.02, 5.03, 5.04], 100),
        ],
    )  # fmt: skip
    def test_times_in_many_forms(self, tmp_path, header, times, rate):
        lines = [f"{header},I (mV)", *(f"{time},{k / 10}" for k, time in enumerate(times))]
        (tmp_path / "r.csv").write_text("\n".join(lines))
        record = read_record(tmp_path / "r.csv")
        assert record.rate == rate
        np.testing.assert_allclose(record.signal, [[0, 0.1, 0.2, 0.3, 0.4]], atol=1e-6)

    @pytest.mark.parametrize("index", [False, True])
    def test_numbered_columns_are_no_sample(self, tmp_path, index):
        pd.DataFrame(MV.T).to_csv(tmp_path / "r.csv", index=index)
        record = read_record(tmp_path / "r.csv", **GIVEN)
        np.testing.assert_allclose(record.signal, MV, rtol=1e-6)
        with pytest.raises(InputError, match=r"names none of the twelve leads \(0, 1, 2"):
            read_record(tmp_path / "r.csv", rate=250, unit="mV")

    def test_columns_of_no_lead_may_hold_anything(self, tmp_path):
        frame = pd.DataFrame({"who": ["Anna", ""] * (MV.shape[1] // 2), "V1": MV[6], "note": "NORM", "II": MV[1]})
        frame.to_csv(tmp_path / "r.csv", index=False)
        record = read_record(tmp_path / "r.csv", rate=250, unit="mV")
        assert record.leads == ("V1", "II")
        np.testing.assert_allclose(record.signal, MV[[6, 1]], rtol=1e-6)
        frame.assign(II=["x", *MV[1, 1:]]).to_csv(tmp_path / "r.csv", index=False)
        with pytest.raises(InputError, match=r"has 'x' in column 4 of sample 1, which is no number"):
            read_record(tmp_path / "r.csv", rate=250, unit="mV")

    def test_rounded_times_give_a_whole_rate(self, tmp_path):
        """At 360 Hz times in ms step by 2 and 3."""
        lines = ["time (ms),II (mV)", *(f"{round(k * 1000 / 360)},0.1" for k in range(3600))]
        (tmp_path / "r.csv").write_text("\n".join(lines))
        assert read_record(tmp_path / "r.csv").rate == 360

    def test_a_pause_is_found(self, tmp_path):
        times = [*range(500), *range(501, 1001)]
        for unit in ("s", "ms"):
            lines = [f"time ({unit}),I (mV)", *(f"{k / (100 if unit == 's' else 1):g},0.1" for k in times)]
            (tmp_path / "r.csv").write_text("\n".join(lines))
            with pytest.raises(InputError, match=r"a time column that is not even \(at sample 501\); a record without"):
                read_record(tmp_path / "r.csv")

    def test_a_row_of_units(self, tmp_path):
        text = "'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','uV'\n'0:00.000',-0.1,100\n'0:00.004',-0.2,200\n"
        (tmp_path / "samples.csv").write_text(text)
        record = read_record(tmp_path / "samples.csv", leads={"MLII": "II"})
        assert (record.leads, record.rate) == (("II", "V5"), 250)
        np.testing.assert_allclose(record.signal, [[-0.1, -0.2], [0.1, 0.2]], atol=1e-7)

    def test_an_empty_cell_is_a_missing_sample(self, tmp_path):
        (tmp_path / "r.csv").write_text("I (mV),II (mV)\n0.1,\n0.2,0.5\nNaN,0.6\n")
        found = read_record(tmp_path / "r.csv", rate=100).signal
        np.testing.assert_array_equal(np.isnan(found), [[False, False, True], [True, False, False]])

    def test_no_header_row(self, tmp_path):
        np.savetxt(tmp_path / "r.csv", MV.T, delimiter=",")
        with pytest.raises(InputError, match=r"does not name its 12 leads; give leads"):
            read_record(tmp_path / "r.csv", rate=250, unit="mV")
        np.testing.assert_allclose(read_record(tmp_path / "r.csv", **GIVEN).signal, MV, atol=1e-6)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", r"holds nothing"),
            ("I (mV),II (mV)\n", r"holds a header and no samples"),
            ("I (mV)\n0.1\n0.2x\n", r"has '0.2x' in column 1 of sample 2, which is no number"),
            ("time,I (mV)\n0,1\n2,1\n4,1\n", r"in steps of 2; say its unit in the header, such as 'time \(ms\)'"),
            ("time,I (mV)\n0,1\n", r"with gaps or a single sample"),
            ("time,I (mV)\n0.2,1\n0.1,1\n0,1\n", r"not even"),
            ("I (mV),II (mV)\n1,2\n1,2,3,4\n", r"cannot be read as CSV"),
            ("file,label\na.edf,NORM\n", r"names none of the twelve leads \(file, label\)"),
            ("I (counts)\n1\n2\n", r"gives lead I in 'counts', which is no voltage"),
        ],
    )
    def test_what_is_no_record(self, tmp_path, text, said):
        (tmp_path / "r.csv").write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            read_record(tmp_path / "r.csv", rate=100)
        assert str(caught.value).startswith(str(tmp_path / "r.csv"))
        assert "\n" not in str(caught.value)

    def test_too_many_columns_or_bytes(self, tmp_path, monkeypatch):
        (tmp_path / "r.csv").write_text(",".join(["I"] * 5000) + "\n")
        with pytest.raises(InputError, match="has 5,000 columns"):
            read_record(tmp_path / "r.csv")
        monkeypatch.setattr(record_csv, "_MOST", 100)
        with pytest.raises(InputError, match="more than the 100 bytes of text"):
            read_record(tmp_path / "r.csv")


class TestDicom:
    def test_sensitivity_correction_and_baseline(self, tmp_path):
        group = dicom_group(MV, unit="uV", sensitivity=4.88, correction=1.025, baseline=-150.0)
        record = read_record(write_dicom(tmp_path / "r.dcm", [group]))
        np.testing.assert_allclose(record.signal, MV, atol=0.0026)

    def test_the_rhythm_and_not_the_median_beat(self, tmp_path):
        beat = dicom_group(MV[:, :250] * 3, label="MEDIAN BEAT", originality="DERIVED")
        labelled = dicom_group(MV[:, :250] * 3, label="Average complex")
        for first, second in ((beat, dicom_group(MV)), (dicom_group(MV), labelled)):
            record = read_record(write_dicom(tmp_path / "r.dcm", [first, second]))
            np.testing.assert_allclose(record.signal, MV, atol=2e-3)
        with pytest.raises(InputError, match="holds derived waveforms only, such as a median beat"):
            read_record(write_dicom(tmp_path / "r.dcm", [beat]))

    def test_groups_beside_each_other_are_joined(self, tmp_path):
        groups = [dicom_group(MV[k : k + 3], leads=LEADS[k : k + 3]) for k in (0, 3, 6, 9)]
        record = read_record(write_dicom(tmp_path / "r.dcm", groups, kind="2"))
        assert (record.leads, record.notes) == (LEADS, ())
        np.testing.assert_allclose(record.signal, MV, atol=2e-3)

    def test_groups_one_after_another_are_not(self, tmp_path):
        groups = [dicom_group(MV[k : k + 3], leads=LEADS[k : k + 3], offset=2500.0 * k / 3) for k in (0, 3)]
        record = read_record(write_dicom(tmp_path / "r.dcm", groups, kind="2"))
        assert record.leads == ("I", "II", "III")
        assert record.notes == ("holds 1 more group of leads at other times or rates, which were not read",)

    def test_leads_by_meaning(self, tmp_path):
        record = read_record(write_dicom(tmp_path / "r.dcm", [dicom_group(MV, scheme="99MAKER")]))
        assert record.leads == LEADS

    def test_padding_is_missing(self, tmp_path):
        gaps = MV.copy()
        gaps[3, 10:20] = np.nan
        record = read_record(write_dicom(tmp_path / "r.dcm", [dicom_group(gaps)]))
        np.testing.assert_array_equal(np.isnan(record.signal), np.isnan(gaps))

    def test_no_sensitivity_is_no_unit(self, tmp_path):
        file = write_dicom(tmp_path / "r.dcm", [dicom_group(MV, unit=None)])
        with pytest.raises(InputError, match="says no unit"):
            read_record(file)
        np.testing.assert_allclose(read_record(file, unit="uV").signal, MV, atol=1e-3)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"NumberOfWaveformSamples": 2**32 - 1}, r"says 51,539,607,540 samples, more than"),
            ({"NumberOfWaveformSamples": 1001}, r"holds fewer samples than the 1,001 a channel"),
            ({"NumberOfWaveformSamples": 0}, r"says no samples"),
            ({"NumberOfWaveformChannels": 65535}, r"says 65535 channels and describes 12"),
            ({"WaveformSampleInterpretation": "MB", "WaveformBitsAllocated": 8}, r"stores samples as MB of 8 bits"),
            ({"SamplingFrequency": "0"}, r"a rate of 0 Hz, which cannot be"),
            ({"SamplingFrequency": "-250"}, r"a rate of -250 Hz, which cannot be"),
        ],
    )
    def test_a_header_that_lies(self, tmp_path, change, said):
        group = dicom_group(MV)
        for name, value in change.items():
            setattr(group, name, value)
        with pytest.raises(InputError, match=said):
            read_record(write_dicom(tmp_path / "r.dcm", [group]))

    def test_a_sensitivity_of_zero(self, tmp_path):
        group = dicom_group(MV)
        group.ChannelDefinitionSequence[2].ChannelSensitivity = 0
        with pytest.raises(InputError, match="has a sensitivity of zero in 'III'"):
            read_record(write_dicom(tmp_path / "r.dcm", [group]))

    def test_a_picture_of_an_ecg_is_none(self, tmp_path):
        from pydicom.data import get_testdata_file

        with pytest.raises(InputError, match=r"is a DICOM file without a waveform \(CT Image Storage\)"):
            read_record(get_testdata_file("CT_small.dcm"))

    @pytest.mark.parametrize(("age", "years"), [("018M", 1.5), ("007D", 0.0), ("300Y", None), ("old", None)])
    def test_ages(self, tmp_path, age, years):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom, when such an age is written
            file = write_dicom(tmp_path / "r.dcm", [dicom_group(MV)], age="")
            content = file.read_bytes()
            write_dicom(tmp_path / "s.dcm", [dicom_group(MV)], age="064Y")
            content = (tmp_path / "s.dcm").read_bytes().replace(b"064Y", f"{age:<4}".encode())
            file.write_bytes(content)
        assert read_record(file).age == years


class TestArrays:
    def test_either_way_round(self, tmp_path):
        for values in (MV, MV.T, np.rint(1000 * MV).astype(np.int16)):
            np.save(tmp_path / "r.npy", values)
            unit = "uV" if values.dtype == np.int16 else "mV"
            record = read_record(tmp_path / "r.npy", rate=250, leads=LEADS, unit=unit)
            np.testing.assert_allclose(record.signal, MV, atol=6e-4)

    @pytest.mark.parametrize("what", ["leads", "rate", "unit"])
    def test_what_has_to_be_said(self, tmp_path, what):
        file = npy(tmp_path)
        said = {"leads": "does not name its 12 leads", "rate": "says no rate", "unit": "says no unit"}[what]
        with pytest.raises(InputError, match=said):
            read_record(file, **{key: value for key, value in GIVEN.items() if key != what})

    def test_leads_that_do_not_fit(self, tmp_path):
        with pytest.raises(InputError, match=r"has 12 channels, but 2 leads were given"):
            read_record(npy(tmp_path), rate=250, leads=["I", "II"], unit="mV")
        np.save(tmp_path / "s.npy", np.zeros((12, 12)))
        with pytest.raises(InputError, match=r"leads and samples cannot be told apart"):
            read_record(tmp_path / "s.npy", **GIVEN)

    def test_a_pickle_is_never_opened(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "exploded"),)

        np.save(tmp_path / "r.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
        np.savez(tmp_path / "r.npz", signal=np.array([Bomb()], dtype=object))
        (tmp_path / "s.npy").write_bytes(pickle.dumps(Bomb()))
        for name in ("r.npy", "r.npz", "s.npy"):
            with pytest.raises(InputError, match="cannot be read as"):
                read_record(tmp_path / name, **GIVEN)
        assert not (tmp_path / "exploded").exists()

    def test_matlab_objects_are_refused(self, tmp_path):
        scipy.io.savemat(tmp_path / "r.mat", {"ECG": {"data": MV, "sex": "Male"}})
        with pytest.raises(InputError, match=r"holds struct and no plain array; save the signal as a matrix"):
            read_record(tmp_path / "r.mat", **GIVEN)
        (tmp_path / "s.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
        with pytest.raises(InputError, match=r"of MATLAB's version 7.3; save it with save\(..., '-v7'\)"):
            read_record(tmp_path / "s.mat", **GIVEN)

    @pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
    @pytest.mark.parametrize("kind", ["f8", "f4", "i2", "i4", "u1", "i8"])
    def test_matlab_of_every_kind_as_scipy_reads_it(self, tmp_path, options, kind):
        kind = "f8" if options == {"format": "4"} and kind == "i8" else kind  # which version 4 has not
        values = (100 + 50 * MV).astype(kind)
        scipy.io.savemat(tmp_path / "r.mat", {"signal": values, "unit": "uV", "fs": 250.0}, **options)
        twin = scipy.io.loadmat(tmp_path / "r.mat")
        found = record_mat.read(tmp_path / "r.mat")
        assert set(found) == {"signal", "unit", "fs"}
        np.testing.assert_array_equal(found["signal"], twin["signal"])
        assert found["unit"].tolist() == twin["unit"].tolist() == ["uV"]
        record = read_record(tmp_path / "r.mat", leads=LEADS)
        assert record.rate == 250
        np.testing.assert_allclose(record.signal, values.astype(float) / 1000, rtol=1e-6)

    def test_names_of_leads_in_matlab(self, tmp_path):
        names = np.array(["I  ", "II ", "aVR"])
        scipy.io.savemat(tmp_path / "r.mat", {"signal": MV[[0, 1, 3]], "leads": names})
        assert read_record(tmp_path / "r.mat", rate=250, unit="mV").leads == ("I", "II", "aVR")

    def test_which_variable(self, tmp_path):
        np.savez(tmp_path / "r.npz", a=MV, b=MV, fs=250)
        with pytest.raises(InputError, match=r"holds a, b, fs, of which none or several may be the signal"):
            read_record(tmp_path / "r.npz", **GIVEN)
        np.savez(tmp_path / "r.npz", ecg=MV, b=MV, fs=250)
        assert read_record(tmp_path / "r.npz", leads=LEADS, unit="mV").rate == 250

    def test_what_unpacks_to_too_much(self, tmp_path, monkeypatch):
        monkeypatch.setattr(record_mat, "MOST_UNPACKED", 1000)
        np.savez_compressed(tmp_path / "r.npz", signal=np.zeros((12, 5000)))
        scipy.io.savemat(tmp_path / "r.mat", {"signal": np.zeros((12, 5000))}, do_compression=True)
        for name in ("r.npz", "r.mat"):
            with pytest.raises(InputError, match=r"unpacks to 480,\d\d\d bytes, more than are read"):
                read_record(tmp_path / name, **GIVEN)

    def test_no_numbers(self, tmp_path):
        np.save(tmp_path / "r.npy", np.zeros((12, 100), complex))
        with pytest.raises(InputError, match=r"holds complex128 of shape \(12, 100\)|none or several"):
            read_record(tmp_path / "r.npy", **GIVEN)


class TestWfdb:
    def test_missing_samples_and_a_checksum(self, tmp_path):
        gaps = MV.copy()
        gaps[2, 5] = np.nan
        file = write_wfdb(tmp_path / "r", gaps, fmt="16")
        assert np.isnan(read_record(file).signal).sum() == 1
        header = file.read_text().splitlines()
        fields = header[1].split()
        fields[6] = str(int(fields[6]) + 1)
        file.write_text("\n".join([header[0], " ".join(fields), *header[2:]]) + "\n")
        assert read_record(file).notes == ("does not have its header's checksum",)

    def test_a_record_in_segments(self, tmp_path):
        write_wfdb(tmp_path / "m_0", MV[:, :400])
        write_wfdb(tmp_path / "m_1", MV[:, 400:])
        (tmp_path / "m.hea").write_text("m/2 12 250 1000\nm_0 400\nm_1 600\n")
        np.testing.assert_allclose(read_record(tmp_path / "m").signal, MV, atol=0.0026)

    @pytest.mark.parametrize("name", ["../r.dat", "/etc/passwd", "x::http://example.org/r.dat", "a|b", "..", "a\\b"])
    def test_a_header_that_names_a_file_elsewhere(self, tmp_path, name):
        file = write_wfdb(tmp_path / "in" / "r", MV[:1])
        (tmp_path / "r.dat").write_bytes((tmp_path / "in" / "r.dat").read_bytes())
        file.write_text(file.read_text().replace("r.dat", name))
        with pytest.raises(InputError, match="which does not lie beside it; correct the header"):
            read_record(file)
        (tmp_path / "in" / "m.hea").write_text(f"m/1 1 250 1000\n{name.replace('.dat', '')} 1000\n")
        with pytest.raises(InputError, match="which does not lie beside it"):
            read_record(tmp_path / "in" / "m.hea")

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("r 12 250 1000", "r 12 250 99999999999", r"99,999,999,999|more than"),
            ("r 12 250 1000", "r 12 -250 1000", r"r\.hea "),
            ("r.dat 212", "r.dat 212x99999999", r"more than the"),
            ("r.dat 212", "r.dat 212:99999999", r"a skew longer than the record"),
            ("200.0(0)/mV", "0(0)/mV", r"has a gain of zero"),
            ("200.0(0)/mV", "200.0(0)/mmHg", r"mmHg', which is no voltage"),
            ("r.dat", "s.dat", r"r\.hea "),
        ],
    )
    def test_a_header_that_lies(self, tmp_path, old, new, said):
        file = write_wfdb(tmp_path / "r", MV)
        text = file.read_text()
        assert old in text or old == "200.0(0)/mV"
        file.write_text(text.replace(old, new) if old in text else text.replace("200.0/mV", new.replace("(0)", "")))
        with pytest.raises(InputError, match=said):
            read_record(file)


class TestFiles:
    @pytest.mark.parametrize("name", ["no.edf", "no.hea", "no.csv", "no.dat", "no.mat"])
    def test_no_such_file(self, tmp_path, name):
        with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
            read_record(tmp_path / name)

    def test_no_such_kind(self, tmp_path):
        (tmp_path / "ecg.pdf").write_bytes(b"%PDF")
        with pytest.raises(InputError, match=r"ecg\.pdf is of no kind that is read here; the kinds are \.hea, "):
            read_record(tmp_path / "ecg.pdf")

    def test_a_folder_and_a_pipe(self, tmp_path):
        (tmp_path / "r.edf").mkdir()
        os.mkfifo(tmp_path / "s.edf")
        for name in ("r.edf", "s.edf"):
            with pytest.raises(InputError, match="is no file"):
                read_record(tmp_path / name)

    def test_too_large(self, tmp_path, monkeypatch):
        monkeypatch.setattr(records, "MOST_BYTES", 100)
        for write in (edf, dicom, csv, npy):
            with pytest.raises(InputError, match="bytes, more than the 100 that are read"):
                read_record(write(tmp_path))
        with pytest.raises(InputError, match=r"more than 100 bytes|more than the 100"):
            read_record(wfdb_212(tmp_path))

    def test_too_many_samples(self, tmp_path, monkeypatch):
        monkeypatch.setattr(record_channels, "MOST_SAMPLES", 5000)
        for write in (edf, dicom, npy, wfdb_212, wfdb_16):
            with pytest.raises(InputError, match=r"12,0\d\d samples, more than the 5,000 that are read at once"):
                read_record(write(tmp_path), **SAYS_NOTHING.get(write, {}))

    def test_names_of_any_script(self, tmp_path):
        folder = tmp_path / "Ärzte 心電図"
        folder.mkdir()
        for write in (edf, dicom, csv, wfdb_212, npz):
            assert read_record(write(folder)).leads == LEADS

    def test_an_edf_with_a_sign_that_is_not_allowed(self, tmp_path):
        file = edf(tmp_path)
        content = file.read_bytes()
        file.write_bytes(content.replace(b"uV      ", b"\xb5V      "))
        with pytest.raises(InputError, match="has a unit such as µV with a sign that EDF does not allow; write plain"):
            read_record(file)
        file.write_bytes(content.replace(b"ECG aVR ", b"EKG a\xffR "))
        with pytest.raises(InputError, match="has a label with a sign that EDF does not allow"):
            read_record(file)

    def test_every_transfer_syntax_but_the_deflated(self, tmp_path):
        import pydicom
        from pydicom import uid

        file = dicom(tmp_path)
        for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian):
            data = pydicom.dcmread(file)
            if syntax == uid.ExplicitVRBigEndian:
                for group in data.WaveformSequence:
                    for name in ("WaveformData", "WaveformPaddingValue"):
                        group[name].value = np.frombuffer(group[name].value, "<i2").byteswap().tobytes()
            data.file_meta.TransferSyntaxUID = syntax
            ends = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
            pydicom.dcmwrite(tmp_path / "s.dcm", data, **ends)
            if syntax.is_deflated:
                with pytest.raises(InputError, match="is a deflated DICOM file; save it without compression"):
                    read_record(tmp_path / "s.dcm")
            else:
                np.testing.assert_allclose(read_record(tmp_path / "s.dcm").signal, MV, atol=0.0013)

    def test_an_edf_that_was_never_closed(self, tmp_path):
        file = edf(tmp_path)
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(
            InputError, match=r"bytes where its header says .*: it is cut short, damaged or was never cl"
        ):
            read_record(file)


WRITERS = [wfdb_212, wfdb_16, edf, bdf, dicom, csv, npy, npz, mat]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_cut_files_and_flipped_bytes_end_in_a_sentence(write, tmp_path):
    """Whatever is done to a file, it is read or refused in one sentence, without a warning."""
    file = write(tmp_path)
    file = file if file.suffix else file.with_suffix(".hea")
    files = [file, file.with_suffix(".dat")] if file.suffix == ".hea" else [file]
    good = {each: each.read_bytes() for each in files}

    @settings(max_examples=60, deadline=None)
    @given(
        which=st.sampled_from(files),
        cut=st.none() | st.floats(0, 1),
        changes=st.lists(
            st.tuples(st.one_of(st.integers(0, 400), st.integers(0, 1 << 16)), st.integers(0, 255)), max_size=12
        ),
        digits=st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(b"0123456789-./ ")), max_size=4),
    )
    def damaged(which, cut, changes, digits):
        content = bytearray(good[which])
        for at, byte in [*changes, *digits]:
            content[at % len(content)] = byte
        which.write_bytes(content if cut is None else content[: int(cut * len(content))])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", ResourceWarning)
                record = read_record(file, **GIVEN)
            assert record.signal.ndim == 2
            assert record.signal.dtype == np.float32
            said = None
        except InputError as error:
            said = str(error)
        finally:
            which.write_bytes(good[which])
        assert said is None or ("\n" not in said and str(tmp_path) in said)

    damaged()


class TestCommand:
    def test_a_line_a_file(self, tmp_path, capsys):
        assert records_command([str(edf(tmp_path))]) == 0
        said = capsys.readouterr().out
        assert said == f"{tmp_path / 'r.edf'}: 12 leads ({', '.join(LEADS)}), 4 s at 250 Hz, 64 years, female\n"

    def test_notes_and_errors(self, tmp_path, capsys):
        strange = write_csv(tmp_path / "x.csv", MV, unit=None)
        assert records_command([str(strange), str(tmp_path / "no.edf"), "--unit", "V"]) == 2
        out, err = capsys.readouterr()
        assert "  It peaks at over 20 mV, so that its unit is probably wrong.\n" in out
        assert err.startswith(f"error: {tmp_path / 'no.edf'} cannot be read")

    def test_leads_on_the_command_line(self, tmp_path, capsys):
        file = write_edf(tmp_path / "r.edf", MV[:2], labels=["A", "B"])
        assert records_command([str(file), "--leads", "I,V1"]) == 0
        assert records_command([str(file), "--leads", "B=V6"]) == 0
        assert records_command([str(file), "--leads", "B=V6,II"]) == 2
        out, err = capsys.readouterr()
        assert "2 leads (I, V1)" in out
        assert "1 lead (V6)" in out
        assert "leads is 'B=V6,II'; give names (I,II), or channel=lead for each" in err
