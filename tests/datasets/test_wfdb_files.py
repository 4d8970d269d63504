"""ecglib.datasets.wfdb_files beside wfdb itself, and everything that can be wrong with a record."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st
from ptb_xl_tree import NAMES, ecg, write_record

from ecglib.datasets import wfdb_files
from ecglib.datasets.wfdb_files import MISSING, Expected, parse, read
from ecglib.errors import InputError
from ecglib.leads import LEADS

EXPECTED = Expected(LEADS, 100, 1000, 0.001)


def read_all(stems, expected=EXPECTED, **options):
    return np.concatenate([chunk.signals for chunk in read([str(stem) for stem in stems], expected, **options)])


def counts_by_wfdb(stem, scale: float = 0.001) -> np.ndarray:
    """(12, T) counts of `scale` mV by wfdb's own conversion, in canonical order."""
    record = wfdb.rdrecord(str(stem))
    factor = [{"uV": 1e-3, "V": 1e3}.get(unit, 1.0) for unit in record.units]
    upper = [name.upper() for name in record.sig_name]
    order = [upper.index(lead.upper()) for lead in LEADS]
    return np.rint((record.p_signal * factor)[:, order].T / scale)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_records_come_in_order_whatever_the_chunks(tmp_path, threads, chunk):
    for k in range(9):
        write_record(tmp_path / f"{k}", ecg(k))
    found = read_all([tmp_path / f"{k}" for k in range(9)], chunk=chunk, threads=threads)
    np.testing.assert_array_equal(found, np.stack([ecg(k) for k in range(9)]))


def test_a_plain_record_is_what_wfdb_reads(tmp_path):
    write_record(tmp_path / "a", ecg(1))
    (chunk,) = read([str(tmp_path / "a")], EXPECTED)
    assert chunk.through_wfdb == 0
    assert chunk.agree.all()
    np.testing.assert_array_equal(chunk.signals[0], counts_by_wfdb(tmp_path / "a"))
    np.testing.assert_array_equal(chunk.sums[0], ecg(1).astype(np.int64).sum(axis=1) % 65536)


def test_a_plain_record_costs_two_open_files_and_three_reads(tmp_path, monkeypatch):
    for k in range(5):
        write_record(tmp_path / f"{k}", ecg(k))
    calls = Counter()

    def counted(name):
        real = getattr(os, name)

        def call(*arguments):
            calls[name] += 1
            return real(*arguments)

        return call

    for name in ("open", "read", "preadv", "fstat", "close"):
        monkeypatch.setattr(wfdb_files.os, name, counted(name))
    read_all([tmp_path / f"{k}" for k in range(5)], threads=1)
    # of the header two reads, the second of which finds its end; of the signal one, straight into the array
    assert calls == {"open": 10, "read": 10, "preadv": 5, "fstat": 5, "close": 10}


def test_a_file_that_comes_in_pieces_is_whole(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(bytes(range(256)) * 3)
    real = os.read
    monkeypatch.setattr(wfdb_files.os, "read", lambda handle, size: real(handle, min(size, 100)))
    assert wfdb_files.read_bytes(str(file)) == file.read_bytes()


@pytest.mark.parametrize(
    ("folder", "pattern", "rate", "plain"),
    [
        ("ptb-xl-raw", "records500/*/000[0-2]*_hr.hea", 500, True),
        ("ptb-xl-nominal", "records100/*/000[0-2]*.hea", 100, True),
        ("challenge-2021-sample", "*.hea", 500, True),
        ("ludb", "data/1[0-5].hea", 500, False),
    ],
)
def test_real_records_are_what_wfdb_reads(shared_data, folder, pattern, rate, plain):
    """Plain files, MATLAB files behind 24 bytes, and a gain, offset and lower-case name for each lead."""
    stems = sorted(str(file)[:-4] for file in (shared_data / folder).glob(pattern))
    assert len(stems) >= 6
    expected = Expected(LEADS, rate, 10 * rate, 0.001)
    chunks = list(read(stems, expected))
    assert sum(chunk.through_wfdb for chunk in chunks) == (0 if plain else len(stems))
    assert all(chunk.agree.all() for chunk in chunks)
    found = np.concatenate([chunk.signals for chunk in chunks])
    np.testing.assert_array_equal(found, [counts_by_wfdb(stem) for stem in stems])


@pytest.mark.parametrize(
    ("fmt", "gain", "baseline", "unit"),
    [
        ("16", 200.0, 0, "mV"),
        ("16", 1000.0, 7, "mV"),
        ("212", 100.0, 0, "mV"),
        ("32", 4000.0, -3, "mV"),
        ("24", 2.0, 0, "uV"),
        ("16", 2e6, 0, "V"),
        ("80", 20.0, 0, "mV"),
    ],
)
def test_other_formats_gains_offsets_and_units_go_through_wfdb(tmp_path, monkeypatch, fmt, gain, baseline, unit):
    monkeypatch.chdir(tmp_path)
    physical = np.random.default_rng(0).uniform(-1, 1, (1000, 12)) * {"mV": 1, "uV": 1e3, "V": 1e-3}[unit]
    wfdb.wrsamp(
        "a",
        fs=100,
        units=[unit] * 12,
        sig_name=list(NAMES),
        p_signal=physical,
        fmt=[fmt] * 12,
        adc_gain=[gain] * 12,
        baseline=[baseline] * 12,
    )
    (chunk,) = read([str(tmp_path / "a")], EXPECTED)
    assert chunk.through_wfdb == 1
    np.testing.assert_array_equal(chunk.signals[0], counts_by_wfdb(tmp_path / "a"))
    assert abs(chunk.signals[0]).max() > 900


def test_other_orders_and_further_leads(tmp_path):
    order = [3, 0, 11, 1, 2, 4, 5, 6, 7, 8, 9, 10]
    write_record(tmp_path / "a", ecg(1)[order], names=[NAMES[k] for k in order])
    np.testing.assert_array_equal(read_all([tmp_path / "a"]), ecg(1)[None])
    write_record(tmp_path / "b", np.vstack([ecg(1), ecg(2)[:1]]), names=[*NAMES, "vx"])
    with pytest.raises(InputError, match=r"b\.hea has 13 leads where the others have 12"):
        read_all([tmp_path / "b"])
    among_others = Expected(LEADS, 100, 1000, 0.001, exact=False)
    np.testing.assert_array_equal(read_all([tmp_path / "b"], among_others), ecg(1)[None])


def test_a_date_that_wfdb_refuses_does_not_matter(tmp_path):
    write_record(tmp_path / "a", ecg(1))
    header = tmp_path / "a.hea"
    header.write_text(header.read_text().replace("a 12 100 1000", "a 12 100 1000 25:61:00 40/13/2000", 1))
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever wfdb makes of it
        wfdb.rdrecord(str(tmp_path / "a"))
    np.testing.assert_array_equal(read_all([tmp_path / "a"]), ecg(1)[None])


def test_missing_samples_keep_their_mark(tmp_path, monkeypatch):
    signal = ecg(1)
    signal[4, 10:20] = MISSING
    write_record(tmp_path / "a", signal)
    np.testing.assert_array_equal(read_all([tmp_path / "a"])[0], signal)
    monkeypatch.chdir(tmp_path)
    physical = ecg(1).T / 1000
    physical[10:20, 4] = np.nan
    wfdb.wrsamp(
        "b",
        fs=100,
        units=["mV"] * 12,
        sig_name=list(NAMES),
        p_signal=physical,
        fmt=["16"] * 12,
        adc_gain=[2000.0] * 12,
        baseline=[0] * 12,
    )
    np.testing.assert_array_equal(read_all([tmp_path / "b"])[0], signal)


def test_what_is_beyond_int16_is_clipped_and_said(tmp_path):
    write_record(tmp_path / "a", ecg(1), gain="10.0(0)/mV")
    (chunk,) = read([str(tmp_path / "a")], EXPECTED)
    assert chunk.clipped.tolist() == [True]
    np.testing.assert_array_equal(chunk.signals[0], np.clip(ecg(1).astype(int) * 100, -32767, 32767))


@pytest.mark.parametrize("value", ["0", "1", "-1"])
def test_a_checksum_that_disagrees_is_seen(tmp_path, value):
    for name in "ab":
        write_record(tmp_path / name, ecg(1))
    header = tmp_path / "b.hea"
    checksum = header.read_text().splitlines()[3].split()[6]
    header.write_text(header.read_text().replace(f" {checksum} 0 III", f" {value} 0 III"))
    (chunk,) = read([str(tmp_path / "a"), str(tmp_path / "b")], EXPECTED)
    assert chunk.agree.tolist() == [True, False]


def test_checksums_may_be_written_with_a_sign(tmp_path):
    write_record(tmp_path / "a", ecg(1))
    header = tmp_path / "a.hea"
    lines = [line.split() for line in header.read_text().splitlines()]
    for line in lines[1:]:
        line[6] = str(int(np.uint16(int(line[6])).astype(np.int16)))
    header.write_text("\n".join(" ".join(line) for line in lines) + "\n")
    (chunk,) = read([str(tmp_path / "a")], EXPECTED)
    assert chunk.agree.all()


class TestDamage:
    """Each in the middle of good records; the sentence names the file."""

    @pytest.fixture
    def stems(self, tmp_path):
        for k in range(5):
            write_record(tmp_path / f"{k}", ecg(k), comments="# Age: 56\n")
        return [tmp_path / f"{k}" for k in range(5)]

    def edit(self, stem: Path, pattern: str, new: str) -> None:
        header = Path(f"{stem}.hea")
        text, n = re.subn(pattern, new, header.read_text(), count=1, flags=re.MULTILINE)
        assert n == 1
        header.write_text(text)

    def refused(self, stems, said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            read_all(stems, chunk=2)
        assert "\n" not in str(caught.value)

    def test_good_records_are_read(self, stems):
        assert read_all(stems).shape == (5, 12, 1000)

    @pytest.mark.parametrize("suffix", ["hea", "dat"])
    def test_a_file_that_is_missing(self, stems, suffix):
        os.remove(f"{stems[3]}.{suffix}")
        self.refused(stems, rf"3\.{suffix} is missing")

    @pytest.mark.parametrize("size", [0, 1, 23_999, 24_001, 48_000])
    def test_a_signal_of_another_size(self, stems, size):
        os.truncate(f"{stems[3]}.dat", size)
        self.refused(stems, rf"3\.dat has {size:,} bytes where its header says 24,000: it is cut short or damaged")

    @pytest.mark.parametrize("text", ["", "\n", "hello", "\0\0\0", "3 x"])
    def test_a_header_that_is_none(self, stems, text):
        Path(f"{stems[3]}.hea").write_text(text)
        self.refused(stems, r"3\.hea is no WFDB header")

    @pytest.mark.parametrize("size", [13, 60, 400])
    def test_a_header_cut_short(self, stems, size):
        os.truncate(f"{stems[3]}.hea", size)
        self.refused(stems, r"3\.hea ")

    @pytest.mark.parametrize(
        ("pattern", "new", "said"),
        [
            (r"^3 12 100 1000", "3 12 500 1000", r"3\.hea says 500 Hz where rate is 100"),
            (r"^3 12 100 1000", "3 12 100 900", r"3\.hea says 900 samples where the others have 1000"),
            (r"^3 12 100 1000", "3 12 abc 1000", r"3\.hea cannot be read"),
            (r"1000\.0\(0\)/mV", "0(0)/mV", r"3\.hea has a gain of zero"),
            (r"1000\.0\(0\)/mV", "0", r"3\.hea has a gain of zero"),
            (r"1000\.0\(0\)/mV", "1000.0(0)/mmHg", r"3\.hea has the unit 'mmHg', which is no voltage"),
            (r"1000\.0\(0\)/mV", "x1000", r"3\.hea has the gain 'x1000'"),
            (r"0 AVR$", "0 V9", r"3\.hea: lead aVR is missing"),
            (r"0 AVR$", "0 I", r"3\.hea: lead I occurs twice"),
            (r"^3.dat 16 (.*) V6$", r"3.dat 16 \1 V6 two", r"3\.hea: lead V6 is missing"),
            (r"^3.dat 16 (.*) I$", r"3.dat 99 \1 I", r"3\.hea or its signal file cannot be read by wfdb"),
        ],
    )
    def test_a_header_that_says_something_else(self, stems, pattern, new, said):
        self.edit(stems[3], pattern, new)
        self.refused(stems, said)

    def test_a_gain_of_zero_is_found_in_the_slow_way_too(self, stems):
        """wfdb would take it for its default of 200."""
        self.edit(stems[3], r"^3.dat 16 1000\.0\(0\)/mV 16 0 (.*) 0 II$", r"3.dat 16 0 16 0 \1 0 II of two words")
        self.refused(stems, r"3\.hea has a gain of zero or none")

    def test_too_few_leads(self, stems):
        write_record(stems[3], ecg(3)[:3])
        self.refused(stems, r"3\.hea has 3 leads where the others have 12")

    def test_a_sha256_that_disagrees_or_is_not_listed(self, stems):
        import hashlib

        files = [f"{stem}.{suffix}" for stem in stems for suffix in ("hea", "dat")]
        sums = {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
        assert read_all(stems, sums=sums).shape == (5, 12, 1000)
        for suffix in ("hea", "dat"):
            changed = sums | {f"{stems[3]}.{suffix}": "0" * 64}
            with pytest.raises(InputError, match=rf"3\.{suffix} does not have the SHA-256"):
                read_all(stems, sums=changed)
        with pytest.raises(InputError, match=r"0\.hea is not listed in SHA256SUMS.txt"):
            read_all(stems, sums={})


@given(st.text(alphabet=" \n#.0126/()+-xabmVI\t", max_size=200))
def test_no_header_breaks_the_parser(text):
    try:
        layout, files, checksums = parse("a 1 100 10\n" + text, "a.hea")
    except InputError:
        return  # any other exception fails the test
    assert layout is None or (len(layout.leads) == 1 and len(files) == len(checksums) == 1)


def test_at_least_twenty_times_as_fast_as_a_wfdb_loop(shared_data):
    """Measured on all 2,273 records: about a hundred times (benchmarks/read_ptb_xl.py)."""
    stems = sorted(str(file)[:-4] for file in (shared_data / "ptb-xl-nominal").rglob("*.hea"))[:300]
    read_all(stems)  # both find the files in the page cache
    start = time.perf_counter()
    for stem in stems[:100]:
        wfdb.rdrecord(stem)
    by_wfdb = (time.perf_counter() - start) / 100
    ours = []
    for _ in range(3):
        start = time.perf_counter()
        read_all(stems)
        ours.append((time.perf_counter() - start) / 300)
    assert by_wfdb / min(ours) > 20
