"""ecglib.datasets.resampled, and `load` with resample=True."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from ptb_xl_tree import ecg, write_record

from ecglib.cohort import write
from ecglib.datasets import load
from ecglib.datasets.resampled import resampled
from ecglib.errors import InputError
from ecglib.signals import resample

SETS = {"superclass": {"NORM": "NORM", "IMI": "MI"}}
N, T = 9, 500


def table_of(n: int = N) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record": [f"r{k}" for k in range(n)],
            "patient": [f"p{k // 2}" for k in range(n)],
            "fold": [1 + k % 3 for k in range(n)],
            "age": [40.0 + k if k != 3 else np.nan for k in range(n)],
            "sex": (["female", "male", None] * n)[:n],
            "statements": ([["NORM"], ["IMI"], []] * n)[:n],
            "device": [f"CS-{k}" for k in range(n)],
        }
    )


def smooth(n: int = N, height: float = 3000) -> np.ndarray:
    """(n, 3, T) int16: sines of 2 to 20 Hz at 500 Hz."""
    rng = np.random.default_rng(0)
    t = np.arange(T) / 500
    hz, phase = rng.uniform(2, 20, (n, 3, 1)), rng.random((n, 3, 1))
    return np.rint(height * np.sin(2 * np.pi * (hz * t + phase))).astype(np.int16)


@pytest.fixture
def cohort(tmp_path):
    return write(
        tmp_path / "c", smooth(), table_of(), name="tiny", rate=500, leads=("I", "II", "V1"), scale=0.002,
        source="here", citation="none", licence="free", notes=["2 records dropped."], label_sets=SETS, key="k",
    )  # fmt: skip


def test_signals_are_resampled_and_all_else_stays(cohort, tmp_path):
    made = resampled(cohort, 100, tmp_path / "cache", progress=False)
    assert (made.rate, made.length, made.leads, made.info.scale) == (100, 100, cohort.leads, 0.002)
    wanted = resample(smooth().astype(np.float64), rate=500, to_rate=100)
    assert np.abs(made.counts(made.rows) - wanted).max() <= 0.51  # counts
    pd.testing.assert_frame_equal(made.records, cohort.records)
    for field in ("name", "leads", "patients", "source", "citation", "licence", "label_sets"):
        assert getattr(made.info, field) == getattr(cohort.info, field)
    assert made.info.notes == (
        "2 records dropped.",
        "Resampled from 500 to 100 Hz (polyphase, anti-alias filter).",
    )
    made.verify()


def test_it_is_streamed_in_chunks_to_the_same_bits(cohort, tmp_path, monkeypatch):
    whole = resampled(cohort, 250, tmp_path / "a", progress=False)
    monkeypatch.setattr("ecglib.datasets.resampled._PART", 4 * 3 * T * 2)  # two records at a time
    parts = resampled(cohort, 250, tmp_path / "b", progress=False)
    assert parts.info.fingerprint == whole.info.fingerprint


def test_built_once(cohort, tmp_path, monkeypatch):
    first = resampled(cohort, 100, tmp_path / "cache", progress=False)
    made = os.stat(first.path / "signals.npy").st_mtime_ns
    monkeypatch.setattr("ecglib.signals.resample", None)  # the signals are not touched again
    again = resampled(cohort, 100, tmp_path / "cache", progress=False)
    assert again.path == first.path
    assert os.stat(again.path / "signals.npy").st_mtime_ns == made


def test_other_rates_and_other_records_have_their_own_place(cohort, tmp_path):
    part = cohort.subset([5, 1])
    made = [resampled(c, rate, tmp_path / "cache", progress=False) for c in (cohort, part) for rate in (100, 250)]
    assert len({cohort.path for cohort in made}) == 4
    assert made[2].records["record"].tolist() == ["r5", "r1"]
    np.testing.assert_array_equal(made[2].counts(made[2].rows), made[0].counts(np.array([5, 1])))


def test_overshoot_is_clipped_and_told(tmp_path):
    signals = smooth()
    signals[4, 1] = np.where(np.arange(T) // 50 % 2, 32767, -32767)  # steps over the whole range
    cohort = write(tmp_path / "c", signals, table_of(), name="tiny", rate=500, leads=("I", "II", "V1"), scale=0.002)
    made = resampled(cohort, 100, tmp_path / "cache", progress=False)
    assert "1 record clipped at the int16 range by the resampling." in made.info.notes
    lead = made.counts(np.array([4]))[0, 1]
    assert lead.max() == 32767
    assert lead.min() == -32767
    steps = np.where(np.arange(100) // 10 % 2, 1, -1)
    assert (np.sign(lead[3:97]) == steps[3:97]).mean() > 0.9  # clipped, not turned over


def test_at_its_own_rate_it_is_the_cohort_itself(cohort, tmp_path):
    assert resampled(cohort, 500, tmp_path / "cache") is cohort
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("rate", [0, -100, 99.5, True])
def test_a_rate_that_cannot_be(cohort, tmp_path, rate):
    with pytest.raises(InputError, match="give a whole number of Hz above 0"):
        resampled(cohort, rate, tmp_path / "cache")


def without_codes(source, to):
    """The Challenge's records as anybody's WFDB records: without their codes, which make them the Challenge's."""
    to.mkdir()
    for path in source.iterdir():
        if path.suffix == ".hea":
            lines = path.read_text().splitlines()
            (to / path.name).write_text("\n".join(line for line in lines if "Dx" not in line) + "\n")
        else:
            (to / path.name).write_bytes(path.read_bytes())
    return to


class TestLoad:
    def test_wfdb_records_of_another_rate(self, shared_data, tmp_path):
        source = without_codes(shared_data / "challenge-2021-sample", tmp_path / "records")
        cohort = load(source, rate=100, resample=True, cache=tmp_path, progress=False)
        assert (len(cohort), cohort.rate, cohort.length, len(cohort.leads)) == (9, 100, 1000, 12)  # one is flat
        native = load(source, rate=500, cache=tmp_path, progress=False)
        wanted = resample(native.signal_mv().astype(np.float64), rate=500, to_rate=100)
        assert np.abs(cohort.signal_mv() - wanted).max() <= 0.51 * cohort.info.scale
        assert cohort.records["record"].tolist() == native.records["record"].tolist()
        assert load(source, rate=100, resample=True, cache=tmp_path, progress=False).path == cohort.path
        assert load(source, rate=500, resample=True, cache=tmp_path, progress=False).path == native.path

    def test_without_resample_the_rate_is_refused(self, shared_data, tmp_path):
        source = without_codes(shared_data / "challenge-2021-sample", tmp_path / "records")
        with pytest.raises(InputError, match="says 500 Hz where rate is 100"):
            load(source, rate=100, cache=tmp_path, progress=False)

    def test_the_challenge_is_known_by_its_codes_and_brought_to_the_rate(self, shared_data, tmp_path):
        cohort = load(shared_data / "challenge-2021-sample", rate=100, cache=tmp_path, progress=False)
        assert (len(cohort), cohort.rate, cohort.length) == (9, 100, 1000)
        assert "SB" in cohort.classes("challenge2021")

    def test_a_cohort_s_folder(self, cohort, tmp_path):
        made = load(cohort.path, rate=100, resample=True, cache=tmp_path / "cache", progress=False)
        assert (made.rate, made.path.parent) == (100, tmp_path / "cache")
        assert load(cohort.path, rate=500, resample=True, cache=tmp_path / "cache").path == cohort.path
        with pytest.raises(InputError, match="is at 500 Hz where rate is 100; set rate to 500"):
            load(cohort.path, rate=100, cache=tmp_path / "cache")

    def test_ptb_xl_is_read_at_its_own_rates_and_at_others_from_500_hz(self, tree, tmp_path):
        for rate, note in ((100, False), (500, False), (250, True)):
            cohort = load(tree.path, rate=rate, resample=True, cache=tmp_path / "cache", progress=False)
            assert (cohort.rate, cohort.length, len(cohort)) == (rate, 10 * rate, 12)
            assert any("Resampled from 500 to 250 Hz" in said for said in cohort.info.notes) is note

    def test_a_header_whose_rate_is_no_whole_number(self, tmp_path):
        write_record(tmp_path / "mine" / "a", ecg(0))
        header = tmp_path / "mine" / "a.hea"
        header.write_text(header.read_text().replace("a 12 100 ", "a 12 99.5 "))
        with pytest.raises(InputError, match=r"a\.hea says 99\.5 Hz; cohorts are kept at whole numbers of Hz"):
            load(tmp_path / "mine", rate=100, resample=True, cache=tmp_path / "cache", progress=False)
