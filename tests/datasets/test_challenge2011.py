"""ecglib.datasets.challenge2011: both layouts, what can be wrong with them, and the real records."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ptb_xl_tree import ecg, write_record

from ecglib.datasets import challenge2011, wfdb_folder
from ecglib.datasets.quality import plausible
from ecglib.errors import InputError
from ecglib.leads import LEADS, derive_limb, limb_residual
from ecglib.signals import resample

QUALITY = {"1002603": "unacceptable", "1002867": "acceptable", "1003574": "acceptable", "1054357": "indeterminate"}
COMMENTS = ["# Age: 34 Sex: F\n", "#<age>: 90 <sex>: M\n", "# Age: 0\n", ""]


def write(folder: Path, rate: int = 500) -> None:
    for k, name in enumerate(QUALITY):
        write_record(folder / name, ecg(k, 10 * rate), rate=rate, gain="200.0(0)/mV", comments=COMMENTS[k])


def save(folder: Path, quality: dict[str, str] = QUALITY) -> None:
    """The two lists, as published."""
    for what in ("acceptable", "unacceptable"):
        names = [name for name, said in quality.items() if said == what]
        (folder / f"RECORDS-{what}").write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def folder(tmp_path) -> Path:
    """As published: set-a with its lists, and set-b without."""
    source = tmp_path / "challenge-2011"
    write(source / "set-a")
    (source / "set-a" / "RECORDS").write_text("".join(f"{name}\n" for name in QUALITY))
    save(source / "set-a")
    write_record(source / "set-b" / "2000001", ecg(9, 5000), rate=500, gain="200.0(0)/mV")
    return source


@pytest.fixture
def copy(tmp_path) -> Path:
    """With one table, at 100 Hz."""
    source = tmp_path / "copy"
    write(source / "records100", 100)
    rows = [(name, said, f"records100/{name}") for name, said in QUALITY.items()]
    pd.DataFrame(rows, columns=["record", "quality", "filename"]).to_csv(source / "quality.csv", index=False)
    return source


def build(source: Path, to: str = "cohort", **options):
    return challenge2011.build(source, source.parent / to, **{"rate": 500, "progress": False, **options})


def test_as_published(folder):
    cohort = build(folder)
    np.testing.assert_array_equal(cohort.counts(cohort.rows), [ecg(k, 5000) for k in range(4)])
    assert (cohort.rate, cohort.length, cohort.leads, cohort.info.scale) == (500, 5000, LEADS, 1 / 200)
    assert cohort.records["record"].tolist() == list(QUALITY)
    assert cohort.records["age"].tolist()[:2] == [34, 90]
    assert cohort.records["age"][2:].isna().all()  # 0 is the set's mark for unknown
    assert cohort.records["sex"].tolist() == ["female", "male", None, None]
    assert cohort.records["fold"].between(1, 10).all()
    assert build(folder / "set-a", "other").info.fingerprint == cohort.info.fingerprint
    cohort.verify()


def test_quality(folder, copy):
    for cohort in (build(folder), build(copy, "two", rate=100)):
        assert cohort.classes("quality") == ("acceptable", "unacceptable")
        assert cohort.labels("quality").tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]
        assert len(cohort.labelled("quality")) == 3
        assert "1 record neither acceptable nor unacceptable, so without a class." in cohort.info.notes
    assert cohort.records["statements"].tolist() == [[said] for said in QUALITY.values()]
    assert cohort.records["record"].tolist() == [f"records100/{name}" for name in QUALITY]


def test_folds_do_not_depend_on_the_layout(folder, copy):
    assert build(folder).records["fold"].tolist() == build(copy, "two", rate=100).records["fold"].tolist()


def test_another_rate_and_segments(folder):
    cohort = build(folder, rate=100)
    expected = resample(ecg(1, 5000).astype(np.float32) / 200, rate=500, to_rate=100)
    np.testing.assert_allclose(cohort[1].signal, expected, atol=0.00251)
    parts = build(folder, "parts", seconds=5)
    assert parts.records["record"].tolist()[:3] == ["1002603/0", "1002603/1", "1002867/0"]
    assert parts.records["statements"].tolist()[:3] == [["unacceptable"], ["unacceptable"], ["acceptable"]]


def test_derived_limb_leads(folder):
    exchanged = ecg(1, 5000)[[0, 1, 2, 3, 5, 4, *range(6, 12)]]
    write_record(folder / "set-a" / "1002867", exchanged, rate=500, gain="200.0(0)/mV")
    recorded = build(folder)
    np.testing.assert_array_equal(recorded.counts([1])[0], exchanged)
    assert "1 of these would agree with aVL and aVF exchanged (1002867)." in recorded.info.notes
    derived = build(folder, "derived", limb="derived")
    np.testing.assert_array_equal(derived.counts([1])[0], ecg(1, 5000))
    assert limb_residual(derived.signal_mv()).max() < 0.003
    assert "III, aVR, aVL and aVF are derived from I and II." in derived.info.notes
    with pytest.raises(InputError, match=r"limb is 'derive'\. Did you mean 'derived'"):
        build(folder, "no", limb="derive")


def test_bad_records(folder):
    gone, flat = ecg(0, 5000), ecg(2, 5000)
    gone[1, 7] = -32768
    flat[4] = 0
    for name, signal in (("1002603", gone), ("1003574", flat)):
        write_record(folder / "set-a" / name, signal, rate=500, gain="200.0(0)/mV")
    assert build(folder).records["record"].tolist() == ["1002867", "1054357"]
    kept = build(folder, "kept", bad="keep", limb="derived")
    assert kept.counts([0])[0, 1, 7] == kept.counts([0])[0, 4, 7] == 0
    np.testing.assert_array_equal(kept.counts([2])[0, 4], derive_limb(*ecg(2, 5000)[:2])[2])
    assert not any("flat lead" in note for note in kept.info.notes)


def test_samples_beyond_5_mv_are_counted(folder):
    assert "4 records read with samples beyond 5 mV." in build(folder).info.notes  # noise to 10 mV
    for k, name in enumerate(QUALITY):
        write_record(folder / "set-a" / name, ecg(k, 5000) // 4, rate=500, gain="200.0(0)/mV")
    assert not any("beyond 5 mV" in note for note in build(folder, "quiet").info.notes)


def test_a_part_of_the_set(folder):
    for suffix in ("hea", "dat"):
        (folder / "set-a" / f"1002867.{suffix}").unlink()
    with pytest.raises(InputError, match=r"1002867\.hea is missing, though RECORDS lists it"):
        build(folder)
    (folder / "set-a" / "RECORDS").rename(folder / "RECORDS")
    with pytest.raises(InputError, match="has no record 1002867, which has a label"):
        build(folder)
    (folder / "RECORDS").rename(folder / "set-a" / "RECORDS")
    cohort = build(folder, absent="skip")
    assert cohort.records["record"].tolist() == ["1002603", "1003574", "1054357"]
    assert "1 record left out, having a label and not being there." in cohort.info.notes
    with pytest.raises(InputError, match="absent is 'omit'"):
        build(folder, absent="omit")
    for header in (folder / "set-a").glob("*.hea"):
        header.unlink()
    with pytest.raises(InputError, match="holds no record that RECORDS lists"):
        build(folder, "empty", absent="skip")


def test_a_record_without_a_label(copy):
    write_record(copy / "records100" / "3000000", ecg(7), gain="200.0(0)/mV")
    cohort = build(copy, rate=100)
    assert cohort.records["statements"].tolist()[-1] == []
    assert "2 records neither acceptable nor unacceptable, so without a class." in cohort.info.notes


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["record,quality,filename", "1002603,good,x"], "say 1002603 is 'good'"),
        (["record,quality,filename", "1002603"], "say 1002603 is ''"),
        (["record,quality,filename", *["1002603,acceptable,x"] * 2], "list the record 1002603 twice"),
        (["record,filename", "1002603,x"], "has neither RECORDS-acceptable"),
        ([""], "has neither RECORDS-acceptable"),
    ],
)
def test_tables_that_cannot_be(copy, lines, said):
    (copy / "quality.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=said):
        build(copy, rate=100)
    assert os.listdir(copy.parent) == [copy.name]


def test_damaged_records(folder, copy):
    (folder / "set-a" / "RECORDS-unacceptable").write_text("1002603\n1002867\n")
    with pytest.raises(InputError, match="list the record 1002867 twice"):
        build(folder)
    save(folder / "set-a")
    signal = folder / "set-a" / "1003574.dat"
    signal.write_bytes(signal.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"1003574\.dat has 119,998 bytes where its header says 120,000"):
        build(folder)
    signal.unlink()
    with pytest.raises(InputError, match=r"1003574\.dat is missing, though its header is there"):
        build(folder)
    signal.with_suffix(".hea").unlink()
    with pytest.raises(InputError, match=r"1003574\.hea is missing, though RECORDS lists it"):
        build(folder)
    write_record(folder / "set-a" / "1003574", ecg(0, 2500), rate=250, gain="200.0(0)/mV")
    with pytest.raises(InputError, match=r"1003574\.hea says 250 Hz where rate is 500"):
        build(folder)
    write_record(folder / "set-a" / "1003574", ecg(0, 5000)[:11], rate=500, names=LEADS[:11], gain="200.0(0)/mV")
    with pytest.raises(InputError, match=r"1003574\.hea has 11 leads|lead V6 is missing"):
        build(folder)
    assert sorted(os.listdir(folder.parent)) == [folder.name, copy.name]


def test_no_record_and_two_of_one_name(copy):
    write_record(copy / "more" / "1002603", ecg(7), gain="200.0(0)/mV")
    with pytest.raises(InputError, match="holds two records 1002603"):
        build(copy, rate=100)
    for file in [*copy.rglob("*.hea")]:
        file.unlink()
    with pytest.raises(InputError, match="holds no WFDB record"):
        build(copy, rate=100)


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match="set-b has neither RECORDS-acceptable"):
        build(folder / "set-b")
    for seconds in (30, None):
        with pytest.raises(InputError, match="are 10 s long; give 10 or less"):
            build(folder, seconds=seconds)
    with pytest.raises(InputError, match="bad is 'dropp'"):
        build(folder, bad="dropp")


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == challenge2011.key(folder, rate=500) != challenge2011.key(folder, rate=500, limb="derived")
    save(folder / "set-a", {**QUALITY, "1002867": "unacceptable"})
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, copy, tmp_path):
    assert challenge2011.found(folder)
    assert challenge2011.found(folder / "set-a")
    assert challenge2011.found(copy)
    for other in (folder / "set-b", copy / "records100", tmp_path / "no"):
        assert not challenge2011.found(other)


def test_a_path_beyond_ascii_and_a_folder_that_is_read_only(folder):
    other = folder.rename(folder.parent / "Größe 心電図")
    for path in (other / "set-a", other):
        path.chmod(0o555)
    try:
        assert len(build(other)) == 4
    finally:
        for path in (other, other / "set-a"):
            path.chmod(0o755)


class TestRealRecords:
    def test_the_same_signals_as_a_folder_of_records(self, shared_data, tmp_path):
        source = shared_data / "challenge-2011"
        assert challenge2011.found(source)
        cohort = challenge2011.build(source, tmp_path / "c", rate=100, progress=False)
        plain = wfdb_folder.build(source, tmp_path / "w", rate=100, progress=False)
        np.testing.assert_array_equal(cohort.counts(cohort.rows), plain.counts(plain.rows))
        assert cohort.records["record"].tolist() == plain.records["record"].tolist()
        assert (cohort.info.name, cohort.info.scale) == (plain.info.name, plain.info.scale)
        assert set(plain.info.notes[1:]) < set(cohort.info.notes)
        assert len(cohort) == 862
        assert len(plausible(cohort, 5)) == 695
        assert "281 records read with samples beyond 5 mV." in cohort.info.notes

    def test_quality(self, shared_data, tmp_path):
        """All that have a class, half the unacceptable ones among them only because bad ones are kept."""
        cohort = challenge2011.build(
            shared_data / "challenge-2011", tmp_path / "c", rate=100, bad="keep", limb="derived", progress=False
        )
        assert (len(cohort), len(cohort.labelled("quality"))) == (1000, 998)
        assert cohort.labels("quality").sum(axis=0).tolist() == [773, 225]
        assert cohort.labels("quality")[cohort.records["fold"] == 10].any(axis=0).all()
        assert np.quantile(limb_residual(cohort.signal_mv(slice(0, 200))), 0.95) < 0.002
