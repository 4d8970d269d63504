"""Rows of a mapped file: what is asked of the disk, and that answers stay those of plain indexing."""

import mmap
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import mapped
from ecglib.cohort import Cohort
from ecglib.datasets import synthetic

PAGE = mmap.PAGESIZE
N, L, T = 600, 12, 500


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """7 MB of signals that are on the disk, not only in memory."""
    path = tmp_path_factory.mktemp("mapped") / "signals.npy"
    rng = np.random.default_rng(0)
    with open(path, "wb") as out:
        np.lib.format.write_array(out, rng.integers(-2000, 2000, (N, L, T)).astype("<i2"))
        out.flush()
        os.fsync(out.fileno())
    return path


def opened(path):
    """The signals, of which nothing is in memory."""
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)
    return mapped.declare_random(np.load(path, mmap_mode="r")).view(np.ndarray)


def read() -> int:
    """Bytes that this process has had from storage."""
    with open("/proc/self/io") as fields:
        return int(dict(line.split(": ") for line in fields)["read_bytes"])


def taken(signals, rows) -> tuple[np.ndarray, int]:
    """The rows, and how many bytes came from the disk for them."""
    before = read()
    mapped.ask_for(signals, rows)
    found = signals[rows]
    return found, read() - before


@pytest.fixture
def cold(file):
    """Skips where reading leaves no trace: another system, a file system in memory."""
    if not os.path.exists("/proc/self/io"):
        pytest.skip("no /proc/self/io")
    before = read()
    opened(file)[::50].sum()
    if read() == before:
        pytest.skip("the folder for temporary files is not on a disk")
    return opened(file)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.integers(1, 50_000),
    st.integers(0, mmap.ALLOCATIONGRANULARITY - 1),
)  # fmt: skip
def test_stretches_hold_their_rows_and_less_than_a_page_besides(rows, row, offset):
    rows = np.array(rows)
    for at, (start, length) in zip(rows.tolist(), mapped.stretches(rows, rows + 1, row, offset)):
        assert start % PAGE == 0
        assert start + length == offset + (at + 1) * row
        assert 0 <= offset + at * row - start < PAGE


def test_scattered_rows_read_themselves_and_the_rest_of_their_pages(cold, file):
    rows = np.random.default_rng(1).permutation(N)[:40]
    found, bytes_read = taken(cold, rows)
    np.testing.assert_array_equal(found, np.load(file)[rows])
    needed = len(rows) * L * T * 2
    assert needed <= bytes_read <= needed + 2 * PAGE * len(rows)


def test_rows_in_a_row_read_as_many_behind_them_and_no_more(cold, file):
    found, bytes_read = taken(cold, np.arange(100, 160))
    np.testing.assert_array_equal(found, np.load(file)[100:160])
    assert 60 * L * T * 2 <= bytes_read <= 2 * 60 * L * T * 2 + 4 * PAGE
    _, again = taken(cold, np.arange(160, 220))
    assert again <= 60 * L * T * 2 + 4 * PAGE  # the next batch was there; those after it are not yet


def test_rows_in_memory_are_not_asked_for(file, monkeypatch):
    signals = opened(file)
    signals.sum()
    monkeypatch.setattr(mapped, "stretches", lambda *_: pytest.fail("asked for rows that are in memory"))
    mapped.ask_for(signals, np.array([5, 3, 400, 7]))


@pytest.mark.parametrize(
    "rows", [np.array([], int), np.array([3]), np.array([-1, 4]), np.zeros(N, bool), [5, 2, 9], np.arange(N - 2, N)]
)
def test_any_rows_that_numpy_takes(file, rows):
    signals = opened(file)
    mapped.ask_for(signals, rows)
    np.testing.assert_array_equal(signals[rows], np.load(file)[rows])


def test_a_plain_array_is_left_alone():
    mapped.ask_for(np.zeros((4, 2, 3), np.int16), np.array([0, 3]))


def test_a_system_without_advice(file, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_WILLNEED", raising=False)
    monkeypatch.delattr(mmap, "MADV_RANDOM", raising=False)
    signals = opened(file)
    mapped.ask_for(signals, np.array([7, 1]))
    np.testing.assert_array_equal(signals[[7, 1]], np.load(file)[[7, 1]])


def test_a_cohort_asks_for_what_it_gathers(tmp_path, monkeypatch):
    cohort = synthetic.build(tmp_path / "c", records=30, seconds=5, workers=0, progress=False)
    asked = []
    monkeypatch.setattr(mapped, "ask_for", lambda signals, rows: asked.append(np.asarray(rows).tolist()))
    again = Cohort.open(cohort.path)
    list(again.batches(10, shuffle=True, resident=False, seed=3))
    assert sorted(np.concatenate(asked).tolist()) == list(range(30))
    asked.clear()
    again.verify()
    assert np.concatenate(asked).tolist() == list(range(30))
