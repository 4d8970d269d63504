"""ecglib.datasets.mimic_iv_ecg: a tree in the published layout, and what can be wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ptb_xl_tree import ecg, write_record

from ecglib.datasets import mimic_iv_ecg
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual
from ecglib.signals import resample

ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")  # as in the files
AS_STORED = [LEADS.index(lead) for lead in ORDER]
STUDIES = {40689238: 10000032, 49036311: 10000032, 43522917: 10000635, 46642833: 10000980}
REPORTS = [
    ["Sinus rhythm", "", "Possible right atrial abnormality", "Borderline ECG"],
    ["Sinus tachycardia.", "Normal ECG except for rate"],
    [],
    ["Atrial fibrillation with PVC(s) or aberrant ventricular conduction.", "Left axis deviation", "Abnormal ECG"],
]


def stem(source: Path, study: int) -> Path:
    subject = STUDIES[study]
    return source / "files" / f"p{subject // 10000}" / f"p{subject}" / f"s{study}" / str(study)


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """record_list.csv and machine_measurements.csv."""
    listed = pd.DataFrame(
        [
            {
                "subject_id": subject,
                "study_id": study,
                "file_name": study,
                "ecg_time": f"2180-07-2{k} 08:44:00",
                "path": stem(Path(), study).as_posix(),
            }
            for k, (study, subject) in enumerate(STUDIES.items())
        ]
    )
    machine = listed[["subject_id", "study_id"]].assign(cart_id=6848296, ecg_time=listed["ecg_time"])
    for k in range(18):
        machine[f"report_{k}"] = [lines[k] if k < len(lines) else "" for lines in REPORTS]
    machine = machine.assign(bandwidth="0.005-150 Hz", filtering="60 Hz notch Baseline filter")
    for k, name in enumerate(mimic_iv_ecg.INTERVALS):
        machine[name] = [600 + k, 29999 if name.startswith("p_") else 20 + k, 700 + k, -30 + k]
    return listed, machine


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four records of three patients; the machine's table in another order than the list."""
    source = tmp_path / "mimic-iv-ecg"
    for study in STUDIES:
        write_record(stem(source, study), ecg(study, 5000)[AS_STORED], rate=500, names=ORDER, gain="200.0(0)/mV")
        header = Path(f"{stem(source, study)}.hea")
        first, rest = header.read_text().split("\n", 1)
        header.write_text(f"{first} 08:44:00 23/07/2180\n{rest}")
    listed, machine = tables()
    save(source, listed, machine.iloc[::-1])
    return source


def save(source: Path, listed: pd.DataFrame, machine: pd.DataFrame) -> None:
    listed.to_csv(source / "record_list.csv", index=False)
    machine.to_csv(source / "machine_measurements.csv", index=False)


def build(source: Path, to: str = "cohort", **options):
    return mimic_iv_ecg.build(source, source.parent / to, **{"rate": 500, "progress": False, **options})


def test_signals_in_the_canonical_order(folder):
    cohort = build(folder)
    np.testing.assert_array_equal(cohort.counts(cohort.rows), [ecg(study, 5000) for study in STUDIES])
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (500, 5000, LEADS, 1 / 200)
    assert limb_residual(cohort.signal_mv()).max() < 0.001
    assert not any("disagree" in note or "wfdb" in note for note in cohort.info.notes)
    cohort.verify()


def test_another_rate(folder):
    cohort = build(folder, rate=100)
    expected = resample(ecg(43522917, 5000).astype(np.float32) / 200, rate=500, to_rate=100)
    np.testing.assert_allclose(cohort[2].signal, expected, atol=0.00251)
    assert (cohort.rate, cohort.length) == (100, 1000)


def test_the_table(folder):
    records = build(folder).records
    assert records["record"].tolist() == records["source_record"].tolist() == [str(study) for study in STUDIES]
    assert records["patient"].tolist() == [str(subject) for subject in STUDIES.values()]
    assert records["age"].isna().all()
    assert records["sex"].tolist() == [None] * 4
    assert records["statements"].tolist() == [
        ["Sinus rhythm", "Possible right atrial abnormality", "Borderline ECG"],
        ["Sinus tachycardia", "Normal ECG except for rate"],
        [],
        ["Atrial fibrillation with PVC(s) or aberrant ventricular conduction", "Left axis deviation", "Abnormal ECG"],
    ]
    assert records["ecg_time"][1] == "2180-07-21 08:44:00"
    assert records["rr_interval"].tolist() == [600, 20, 700, -30]
    np.testing.assert_array_equal(records["p_onset"], [601, np.nan, 701, -29])
    assert "1 record with intervals not measured (29999)." in build(folder).info.notes


def test_only_whole_lines_are_labels(folder):
    cohort = build(folder)
    labels = pd.DataFrame(cohort.labels("machine"), columns=cohort.classes("machine"))
    assert labels["Sinus rhythm"].tolist() == [1, 0, 0, 0]
    assert labels["Sinus tachycardia"].tolist() == [0, 1, 0, 0]
    assert labels["Normal ECG"].tolist() == labels["Atrial fibrillation"].tolist() == [0, 0, 0, 0]
    assert labels["Left axis deviation"].tolist() == labels["Abnormal ECG"].tolist() == [0, 0, 0, 1]


def test_a_patient_stays_in_one_fold(folder):
    cohort = build(folder)
    assert cohort.patients_in_several_folds() == []
    assert cohort.records["fold"].between(1, 10).all()
    part = build(folder, "part", seconds=2.5)
    assert len(part) == 16
    assert part.records["record"].tolist()[:5] == [*(f"40689238/{k}" for k in range(4)), "49036311/0"]
    assert part.patients_in_several_folds() == []
    folds = dict(zip(cohort.records["patient"], cohort.records["fold"]))
    assert dict(zip(part.records["patient"], part.records["fold"])) == folds
    np.testing.assert_array_equal(part.counts([5])[0], ecg(49036311, 5000)[:, 1250:2500])


def test_folds_are_about_even():
    import zlib

    folds = [zlib.crc32(str(10000000 + 7 * k).encode()) % 10 for k in range(5000)]
    assert np.bincount(folds).min() > 420  # 500 expected, standard deviation 21


def test_missing_samples_and_flat_leads(folder):
    gone, flat = ecg(49036311, 5000), ecg(46642833, 5000)
    gone[3, 100:200] = -32768
    flat[6] = 0
    for study, signal in ((49036311, gone), (46642833, flat)):
        write_record(stem(folder, study), signal[AS_STORED], rate=500, names=ORDER, gain="200.0(0)/mV")
    dropped = build(folder, rate=100)
    assert dropped.records["record"].tolist() == ["40689238", "43522917"]
    assert "1 record dropped, with missing samples (49036311)." in dropped.info.notes
    assert "1 record dropped, with a flat lead (46642833)." in dropped.info.notes
    kept = build(folder, "kept", bad="keep")
    assert len(kept) == 4
    assert (kept.counts([1])[0, 3, 100:200] == 0).all()


def test_records_in_another_order_of_leads_or_gain(folder):
    write_record(stem(folder, 49036311), ecg(1, 5000), rate=500, gain="1000.0(0)/mV")
    cohort = build(folder)
    np.testing.assert_allclose(cohort[1].signal, ecg(1, 5000) / 1000, atol=0.00251)
    assert "1 record read through wfdb, not being plain format 16." in cohort.info.notes


def test_a_part_of_the_set(folder):
    for suffix in ("hea", "dat"):
        Path(f"{stem(folder, 43522917)}.{suffix}").unlink()
    with pytest.raises(InputError, match=r"43522917\.hea is missing"):
        build(folder)
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == ["40689238", "49036311", "46642833"]
    np.testing.assert_array_equal(cohort.counts([2])[0], ecg(46642833, 5000))
    assert "1 record left out, being listed and not there." in cohort.info.notes
    before = mimic_iv_ecg.key(folder, rate=500, absent="skip")
    write_record(stem(folder, 43522917), ecg(3, 5000)[AS_STORED], rate=500, names=ORDER, gain="200.0(0)/mV")
    assert mimic_iv_ecg.key(folder, rate=500, absent="skip") != before
    with pytest.raises(InputError, match="absent is 'omit'"):
        build(folder, absent="omit")


def test_no_report(folder):
    listed, machine = tables()
    save(folder, listed, machine.iloc[:3])
    cohort = build(folder)
    assert cohort.records["statements"][3] == []
    assert np.isnan(cohort.records["rr_interval"][3])
    assert "1 record without a row in machine_measurements.csv, so without statements." in cohort.info.notes


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == mimic_iv_ecg.key(folder, rate=500) != mimic_iv_ecg.key(folder, rate=100)
    listed, machine = tables()
    save(folder, listed, machine.assign(report_0="Paced rhythm"))
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert mimic_iv_ecg.found(folder)
    assert not mimic_iv_ecg.found(folder / "files")
    assert not mimic_iv_ecg.found(tmp_path / "no")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda listed, machine: (pd.concat([listed, listed[:1]]), machine), "lists the study 40689238 twice"),
        (lambda listed, machine: (listed, pd.concat([machine, machine[:1]])), "lists the study 40689238 twice"),
        (lambda listed, machine: (listed.drop(columns="path"), machine), r"record_list\.csv has no column path"),
        (lambda listed, machine: (listed, machine.drop(columns="report_0")), r"measurements\.csv has no column report"),
        (lambda listed, machine: (listed.assign(path=["a", "", "b", "c"]), machine), "has an empty cell in row 3"),
        (lambda listed, machine: (listed[:0], machine), "holds no record that"),
    ],
)
def test_tables_that_cannot_be(folder, change, said):
    save(folder, *change(*tables()))
    with pytest.raises(InputError, match=said):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_damaged_records(folder, tmp_path):
    signal = Path(f"{stem(folder, 43522917)}.dat")
    signal.write_bytes(signal.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"43522917\.dat has 119,998 bytes where its header says 120,000"):
        build(folder)
    write_record(stem(folder, 43522917), ecg(0, 2500)[AS_STORED], rate=250, names=ORDER, gain="200.0(0)/mV")
    with pytest.raises(InputError, match=r"43522917\.hea says 250 Hz where rate is 500"):
        build(folder)
    write_record(stem(folder, 40689238), ecg(0, 5000)[:11], rate=500, names=LEADS[:11])
    with pytest.raises(InputError, match=r"40689238\.hea: lead V6 is missing"):
        build(folder)
    assert os.listdir(tmp_path) == [folder.name]


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"files has no record_list\.csv or no machine_measurements\.csv"):
        build(folder / "files")
    for seconds in (30, 0, None):
        with pytest.raises(InputError, match="are 10 s long; give 10 or less"):
            build(folder, seconds=seconds)
    (folder / "machine_measurements.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"machine_measurements\.csv cannot be read|has no column"):
        build(folder)


def test_a_path_beyond_ascii(folder):
    other = folder.rename(folder.parent / "MIMIC größe 心電図")
    assert len(build(other)) == 4


def test_other_processes_read_the_same(folder):
    assert build(folder, "there", workers=2).info == build(folder, "here", workers=0).info
