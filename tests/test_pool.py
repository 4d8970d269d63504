"""ecglib.pool: several cohorts as one stream of windows, without their tables."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import batches as batches_module
from ecglib.batches import order
from ecglib.cohort import Cohort, write
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.pool import Pool, segments, take_records

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def make(path: Path, n: int, length: int, *, first: int = 0, leads=LEADS, rate: int = 100, name: str = "c") -> Cohort:
    """Sample t of lead l of record i is 1000 (first + i) + 50 l + t counts, so that each tells where it is from."""
    which = 1000 * (first + np.arange(n))[:, None, None]
    lead = 50 * np.array([LEADS.index(lead) for lead in leads])[:, None]
    signals = (which + lead + np.arange(length)).astype(np.int16)
    table = pd.DataFrame(
        {"record": [f"{name}{i}" for i in range(n)], "patient": [f"{name}{i}" for i in range(n)], "fold": 1,
         "age": 50.0, "sex": None, "statements": [[] for _ in range(n)]}
    )  # fmt: skip
    return write(path, signals, table, name=name, rate=rate, leads=leads, scale=1.0)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """7 records of 50 samples in twelve leads, 3 of 30 in another order, 11 of 40 in eight leads."""
    folder = tmp_path_factory.mktemp("pool")
    return [
        make(folder / "a", 7, 50, name="a"),
        make(folder / "b", 3, 30, first=7, leads=tuple(reversed(LEADS)), name="b"),
        make(folder / "c", 11, 40, first=10, leads=("II", "I", *LEADS[6:]), name="c"),
    ]


def expected(index: torch.Tensor, signal: torch.Tensor, leads) -> torch.Tensor:
    """(B, L, W): what the records `index` hold from where `signal` begins."""
    start = signal[:, 0, 0] - 1000 * index - 50 * LEADS.index(leads[0])  # (B,)
    lead = 50 * torch.tensor([LEADS.index(lead) for lead in leads], device=index.device)[None, :, None]
    time = start[:, None, None] + torch.arange(signal.shape[-1], device=index.device)
    return 1000 * index[:, None, None] + lead + time


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resident", [True, False])
def test_an_epoch_gives_each_record_once_as_a_window_of_it(cohorts, device, resident):
    pool = Pool(cohorts, 4, window_s=0.2, device=device, drop_last=False, resident=resident)
    assert pool.leads == ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    assert (pool.rate, pool.length, pool.window_s, pool.batch_size, pool.records) == (100, 20, 0.2, 4, 21)
    assert (pool.device.type, pool.resident, len(pool)) == (device, resident, 6)
    got = list(pool)
    assert [len(batch.index) for batch in got] == [4, 4, 4, 4, 4, 1]
    assert sorted(torch.cat([batch.index for batch in got]).tolist()) == list(range(21))
    for batch in got:
        assert batch.label is None
        assert batch.signal.shape == (len(batch.index), 8, 20)
        assert batch.signal.dtype == torch.float32
        assert batch.signal.device == batch.index.device == pool.device
        assert torch.equal(batch.signal, expected(batch.index, batch.signal, pool.leads).float())
        start = batch.signal[:, 0, 0] - 1000 * batch.index
        room = torch.tensor([30] * 7 + [10] * 3 + [20] * 11, device=device)[batch.index]
        assert ((start >= 0) & (start <= room)).all()


def test_the_order_is_that_of_all_records_together(cohorts):
    pool = Pool(cohorts, 5, window_s=0.3, seed=9)
    for epoch in (0, 3):
        pool.set_epoch(epoch)
        index = torch.cat([batch.index for batch in pool])
        assert index.tolist() == order(21, seed=9, epoch=epoch, shuffle=True)[:20].tolist()
    still = Pool(cohorts, 5, window_s=0.3, shuffle=False)
    assert torch.cat([batch.index for batch in still]).tolist() == list(range(20))


@pytest.mark.parametrize("device", DEVICES)
def test_resident_and_streamed_batches_have_the_same_bits(cohorts, device):
    """Also where torch is seeded anew before each batch, as the training loop does, while threads fetch ahead."""

    def epoch(resident: bool) -> list:
        batches, got = iter(Pool(cohorts, 6, window_s=0.2, device=device, resident=resident)), []
        for step in range(3):
            torch.manual_seed(step)
            got.append(next(batches))
        return got

    for a, b in zip(epoch(True), epoch(False)):
        assert torch.equal(a.signal, b.signal)
        assert torch.equal(a.index, b.index)


def test_windows_are_drawn_anew_and_over_all_places(cohorts):
    pool = Pool(cohorts[:1], 7, window_s=0.48)
    starts = []
    for seed in range(40):
        torch.manual_seed(seed)
        (batch,) = pool
        starts += (batch.signal[:, 0, 0] - 1000 * batch.index).tolist()
    assert set(starts) == {0, 1, 2}
    assert min(starts.count(k) for k in range(3)) > 60  # of 280, 93 each were they equal


def test_without_a_window_records_are_whole_and_nothing_is_drawn(cohorts):
    pool = Pool([cohorts[0], cohorts[0].subset([1, 4])], 9, window_s=None, shuffle=False)
    state = torch.get_rng_state()
    (batch,) = pool
    assert torch.equal(torch.get_rng_state(), state)
    both = np.concatenate([cohorts[0].signal_mv(), cohorts[0].signal_mv([1, 4])])
    np.testing.assert_array_equal(batch.signal.numpy(), both)


def test_leads_can_be_asked_for(cohorts):
    pool = Pool(cohorts, 21, window_s=0.3, leads=["v2", "II"], shuffle=False)
    (batch,) = pool
    assert pool.leads == ("V2", "II")
    assert torch.equal(batch.signal, expected(batch.index, batch.signal, pool.leads).float())


def test_no_table_is_read(cohorts, monkeypatch):
    def refuse(*_):
        raise AssertionError("a table was read")

    opened = [Cohort.open(cohort.path) for cohort in cohorts]
    monkeypatch.setattr("ecglib.cohort_table.Table._open", refuse)
    parts = take_records(opened, 15, seed=0)
    assert sum(len(batch.index) for batch in Pool(parts, 3, window_s=0.2)) == 15
    with pytest.raises(AssertionError, match="a table was read"):
        opened[0].records  # noqa: B018


def test_identity_tells_pools_apart(cohorts):
    def identity(parts=cohorts, size=4, window=0.2, **more):
        return Pool(parts, size, window_s=window, **more).identity

    assert identity() == identity()
    assert identity() == identity(resident=False)
    others = [
        identity(cohorts[:2]), identity(take_records(cohorts, 20)), identity(size=3), identity(window=0.1),
        identity(seed=1), identity(shuffle=False), identity(leads=["I"]), identity(drop_last=False),
    ]  # fmt: skip
    assert identity() not in others


def test_left_early_no_thread_stays(cohorts, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # there may be no GPU
    pool = Pool(cohorts, 2, window_s=0.2, resident=False)
    for part in pool.parts:
        part._ahead = True
    before = threading.active_count()
    batches = iter(pool)
    seen = [next(batches) for _ in range(4)]
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
    assert torch.cat([batch.index for batch in seen]).tolist() == pool.order()[:8].tolist()


def test_whether_signals_are_kept_is_decided_for_all_together(cohorts, monkeypatch):
    needed = sum(2 * len(cohort) * 8 * cohort.length for cohort in cohorts)
    batches_module._on_device.clear()
    for free, kept in ((2 * needed, True), (2 * needed - 1, False)):
        monkeypatch.setattr("ecglib.devices.free_memory", lambda device, free=free: free)
        assert Pool(cohorts, 4, window_s=0.2).resident is kept
        assert all(part.resident is kept for part in Pool(cohorts, 4, window_s=0.2).parts)


class TestRefusals:
    def test_no_cohort(self):
        with pytest.raises(InputError, match="There is no cohort to pre-train on"):
            Pool([], 4, window_s=1)

    def test_an_empty_cohort(self, cohorts):
        with pytest.raises(InputError, match=r"no record of b .* is left to pre-train on"):
            Pool([cohorts[0], cohorts[1].subset([])], 4, window_s=0.1)

    def test_different_rates(self, cohorts, tmp_path):
        other = make(tmp_path / "d", 2, 50, rate=500, name="d")
        with pytest.raises(InputError, match=r"a is at 100 Hz and d at 500 Hz; .* resample=True"):
            Pool([cohorts[0], other], 4, window_s=0.1)

    def test_no_common_lead(self, cohorts, tmp_path):
        other = make(tmp_path / "d", 2, 50, leads=("aVL",), name="d")
        with pytest.raises(InputError, match=r"no lead in common \(c has II, I, V1, .*; d has aVL\)"):
            Pool([cohorts[2], other], 4, window_s=0.1)

    def test_a_lead_that_one_lacks(self, cohorts):
        with pytest.raises(InputError, match=r"^c \(.*\): lead aVL is missing"):
            Pool(cohorts, 4, window_s=0.1, leads=["I", "aVL"])
        with pytest.raises(InputError, match="leads is empty"):
            Pool(cohorts, 4, window_s=0.1, leads=[])

    def test_a_window_longer_than_records(self, cohorts):
        with pytest.raises(InputError, match=r"window of 0\.4 s is longer than the records of b, which last 0\.3 s"):
            Pool(cohorts, 4, window_s=0.4)

    @pytest.mark.parametrize("window_s", [0, -1, 0.123])
    def test_a_window_that_is_no_number_of_samples(self, cohorts, window_s):
        with pytest.raises(InputError, match=r"no whole number of samples at 100 Hz"):
            Pool(cohorts, 4, window_s=window_s)

    def test_unequal_records_without_a_window(self, cohorts):
        with pytest.raises(InputError, match=r"of b last 0\.3 s and those of a 0\.5 s; give window_s"):
            Pool(cohorts, 4, window_s=None)

    def test_a_batch_size_that_leaves_no_batch(self, cohorts):
        with pytest.raises(InputError, match="batch_size 22 with drop_last leaves none of 21 records"):
            Pool(cohorts, 22, window_s=0.1)
        with pytest.raises(InputError, match="batch_size is 0"):
            Pool(cohorts, 0, window_s=0.1)
        assert len(Pool(cohorts, 22, window_s=0.1, drop_last=False)) == 1

    def test_a_number_of_records_that_there_is_not(self, cohorts):
        for n in (0, 22):
            with pytest.raises(InputError, match=f"{n} records were asked for where there are 21"):
                take_records(cohorts, n)


@given(st.integers(1, 21), st.integers(1, 21), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_records_taken_are_nested(cohorts, a, b, seed):
    def taken(n: int) -> set[tuple[str, int]]:
        parts = take_records(cohorts, n, seed=seed)
        assert sum(map(len, parts)) == n
        assert all(part.rows.tolist() == sorted(set(part.rows)) for part in parts)
        return {(part.info.name, row) for part in parts for row in part.rows.tolist()}

    assert taken(min(a, b)) <= taken(max(a, b))


def test_each_cohort_is_taken_from_in_proportion(cohorts):
    counts = {"a": 0, "b": 0, "c": 0}
    for seed in range(300):
        for part in take_records(cohorts, 5, seed=seed):
            counts[part.info.name] += len(part)
    for name, size in (("a", 7), ("b", 3), ("c", 11)):
        assert abs(counts[name] / 1500 - size / 21) < 0.05


@given(st.integers(1, 20), st.integers(0, 15), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_segments_are_adjacent_and_do_not_overlap(samples, spare, seed):
    torch.manual_seed(seed)
    length = 2 * samples + spare
    signal = torch.arange(6.0)[:, None, None] * 1000 + torch.arange(3.0)[:, None] * 100 + torch.arange(length)
    first, second = segments(signal, samples)
    assert first.shape == second.shape == (6, 3, samples)
    for b in range(6):
        start = int(first[b, 0, 0]) - 1000 * b
        assert 0 <= start <= spare
        assert torch.equal(first[b], signal[b, :, start : start + samples])
        assert torch.equal(second[b], signal[b, :, start + samples : start + 2 * samples])


def test_segments_are_drawn_per_record():
    torch.manual_seed(0)
    first, _ = segments(torch.arange(50.0).expand(64, 1, 50), 10)
    assert len(set(first[:, 0, 0].tolist())) > 10


@pytest.mark.parametrize("samples", [0, 26])
def test_segments_that_do_not_fit(samples):
    with pytest.raises(InputError, match=f"Two adjacent segments of {samples} samples do not fit a signal of 50"):
        segments(torch.zeros(2, 3, 50), samples)
