"""ecglib.batches: the same records in the same order with the same bits, wherever they lie."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from test_cohort import N, make, signals_of, table_of

from ecglib import batches as module
from ecglib import devices
from ecglib.batches import mix, order, prefetch
from ecglib.errors import InputError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture
def cohort(tmp_path):
    return make(tmp_path / "c")


def collect(batches) -> list[module.Batch]:
    return list(batches)


def assert_same(a: list[module.Batch], b: list[module.Batch]) -> None:
    assert len(a) == len(b) > 0
    for x, y in zip(a, b):
        assert torch.equal(x.signal, y.signal)
        assert torch.equal(x.index, y.index)
        assert (x.label is None and y.label is None) or torch.equal(x.label, y.label)


def test_in_order_a_batch_is_the_cohorts_own_signals_and_labels(cohort):
    got = collect(cohort.batches(5, task="superclass"))
    assert [len(batch.index) for batch in got] == [5, 5, 2]
    assert torch.cat([batch.index for batch in got]).tolist() == list(range(N))
    signal, label = torch.cat([batch.signal for batch in got]), torch.cat([batch.label for batch in got])
    assert signal.dtype == label.dtype == torch.float32
    np.testing.assert_array_equal(signal.numpy(), cohort.signal_mv())
    np.testing.assert_array_equal(label.numpy(), cohort.labels("superclass"))


def test_of_a_subset_the_index_counts_its_own_records(cohort):
    part = cohort.subset([7, 2, 9])
    (batch,) = part.batches(8, task="superclass")
    assert batch.index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(batch.signal.numpy(), part.signal_mv())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("leads", [None, ["V6", "I", "aVR"]])
@pytest.mark.parametrize("shuffle", [False, True])
def test_resident_and_streamed_batches_have_the_same_bits(cohort, device, leads, shuffle):
    options = {"task": "superclass", "leads": leads, "device": device, "shuffle": shuffle, "seed": 3}
    part = cohort.subset(np.arange(N) != 4)
    resident = part.batches(4, resident=True, **options)
    streamed = part.batches(4, resident=False, **options)
    for epoch in (0, 1):
        resident.set_epoch(epoch)
        streamed.set_epoch(epoch)
        assert_same(collect(resident), collect(streamed))
    first = next(iter(streamed))
    assert first.signal.device.type == first.label.device.type == first.index.device.type == device
    expected = part.signal_mv(first.index.cpu().numpy(), leads)
    np.testing.assert_array_equal(first.signal.cpu().numpy(), expected)


def test_drop_last_and_length(cohort):
    assert len(cohort.batches(5)) == 3
    dropped = cohort.batches(5, drop_last=True)
    assert len(dropped) == len(collect(dropped)) == 2


def test_no_task_no_label(cohort):
    assert next(iter(cohort.batches(2))).label is None


class TestOrder:
    def test_is_a_permutation_that_depends_on_seed_and_epoch_alone(self):
        orders = {(s, e): order(1000, seed=s, epoch=e, shuffle=True) for s in (0, 1) for e in (0, 1)}
        for (s, e), found in orders.items():
            assert sorted(found) == list(range(1000))
            np.testing.assert_array_equal(found, order(1000, seed=s, epoch=e, shuffle=True))
        assert len({tuple(found) for found in orders.values()}) == 4

    def test_is_the_same_on_every_machine(self):
        assert order(8, seed=1, epoch=2, shuffle=True).tolist() == [5, 6, 3, 2, 1, 0, 4, 7]

    def test_iterating_again_repeats_until_set_epoch(self, cohort):
        batches = cohort.batches(4, shuffle=True, seed=0)
        first = collect(batches)
        assert_same(first, collect(batches))
        batches.set_epoch(1)
        assert not torch.equal(first[0].index, collect(batches)[0].index)
        batches.set_epoch(0)
        assert_same(first, collect(batches))

    def test_does_not_touch_the_global_generators(self, cohort):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        state, other = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        collect(cohort.batches(4, shuffle=True))
        assert torch.equal(state, torch.get_rng_state())
        np.testing.assert_array_equal(other, np.random.get_state()[1])  # noqa: NPY002


class TestWhereItLies:
    def test_two_batches_of_the_same_records_share_one_copy(self, cohort):
        a, b = cohort.batches(4, resident=True), cohort.batches(2, resident=True, shuffle=True)
        other = cohort.batches(4, resident=True, leads=["I"])
        assert a._data is b._data
        assert other._data.shape == (N, 1, 50)
        del a, b
        assert all(held is other._data for held in module._on_device.values())

    @pytest.mark.parametrize(("free", "resident"), [(2 * 14_400, True), (2 * 14_400 - 1, False)])
    def test_auto_takes_half_of_the_free_memory_at_most(self, cohort, monkeypatch, free, resident):
        monkeypatch.setattr(devices, "free_memory", lambda device: free)  # the cohort takes 12 x 12 x 50 x 2 bytes
        assert cohort.batches(4).resident is resident

    def test_what_does_not_fit_cannot_be_forced(self, cohort, monkeypatch):
        monkeypatch.setattr(devices, "free_memory", lambda device: 1000)
        with pytest.raises(InputError, match="resident=True needs"):
            cohort.batches(4, resident=True)

    def test_free_memory_is_less_than_the_machine_has(self):
        assert 0 < devices.free_memory(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 13, "drop_last": True}, "leaves none of 12"),
        ({"batch_size": 2, "task": "rythm"}, "Did you mean 'rhythm'"),
        ({"batch_size": 2, "leads": ["V9"]}, "not one of"),
        ({"batch_size": 2, "device": "gpu"}, "device 'gpu' cannot"),
        ({"batch_size": 2, "device": "cuda:77"}, "cannot"),
    ],
)
def test_bad_options(cohort, options, said):
    with pytest.raises(InputError, match=said):
        cohort.batches(**options)


def test_an_empty_cohort(cohort):
    with pytest.raises(InputError, match="no record of tiny is left"):
        cohort.subset([]).batches(4)


class TestMix:
    @pytest.fixture
    def unlabelled(self, tmp_path):
        return make(tmp_path / "u", signals_of(9, seed=5), table_of(9), label_sets={}, name="more")

    @pytest.mark.parametrize("resident", [True, False])
    def test_the_first_is_as_if_alone_and_the_others_stand_beside(self, cohort, unlabelled, resident):
        options = {"shuffle": True, "seed": 1, "resident": resident}
        alone = cohort.batches(5, task="superclass", **options)
        mixed = mix(cohort.batches(5, task="superclass", **options), unlabelled.batches(3, **options))
        assert (len(mixed), mixed.classes, mixed.rate, mixed.length) == (3, ("HYP", "MI", "NORM"), 100, 50)
        got = list(mixed)
        assert [len(batch.index) for batch in got] == [8, 8, 5]
        first = [module.Batch(b.signal[b.index >= 0], b.label[b.index >= 0], b.index[b.index >= 0]) for b in got]
        assert_same(first, collect(alone))
        for batch in got:
            assert (batch.index[-3:] == -1).all()
            assert batch.label[-3:].isnan().all()
        others = torch.cat([batch.signal[-3:] for batch in got]).numpy()
        assert sorted(x.tobytes() for x in others) == sorted(x.tobytes() for x in unlabelled.signal_mv())

    @pytest.mark.parametrize("size", [1, 2, 4, 7, 20])
    def test_further_records_come_equally_often_over_the_epochs(self, cohort, unlabelled, size):
        """Told apart by their first sample; 9 records, 3 batches an epoch."""
        mixed = mix(cohort.batches(5), unlabelled.batches(size, shuffle=True))
        name = {float(x[0, 0]): k for k, x in enumerate(unlabelled.signal_mv())}
        assert len(name) == 9
        seen = []
        for epoch in range(6):
            mixed.set_epoch(epoch)
            seen += [name[float(x)] for batch in mixed for x in batch.signal[-size:, 0, 0]]
        assert len(seen) == 18 * size
        for start in range(0, len(seen) - 9, 9):
            assert sorted(seen[start : start + 9]) == list(range(9))  # each pass is a permutation
        mixed.set_epoch(3)  # a pure function of the epoch: no need to have gone through the earlier ones
        again = [name[float(x)] for batch in mixed for x in batch.signal[-size:, 0, 0]]
        assert again == seen[9 * size : 12 * size]

    def test_epochs(self, cohort, unlabelled):
        mixed = mix(cohort.batches(4, shuffle=True), unlabelled.batches(4, shuffle=True))
        first = collect(mixed)
        assert first[0].label is None
        mixed.set_epoch(1)
        assert not torch.equal(torch.cat([b.signal for b in first]), torch.cat([b.signal for b in collect(mixed)]))
        mixed.set_epoch(0)
        assert_same(first, collect(mixed))

    def test_drop_last_is_the_firsts(self, cohort, unlabelled):
        short = mix(cohort.batches(8, task="rhythm", drop_last=True), unlabelled.batches(1))
        assert [len(batch.index) for batch in short] == [9]

    def test_labelled_parts_count_on(self, cohort):
        (batch,) = mix(cohort.batches(50, task="rhythm"), cohort.subset([3, 4]).batches(2, task="rhythm"))
        assert batch.index.tolist() == list(range(N + 2))
        np.testing.assert_array_equal(batch.signal[N].numpy(), cohort[3].signal)
        np.testing.assert_array_equal(batch.label[N:].numpy(), cohort.labels("rhythm")[[3, 4]])

    def test_one_part_alone_is_itself(self, cohort):
        alone = cohort.batches(5, task="rhythm", shuffle=True)
        assert_same(collect(mix(alone)), collect(alone))

    def test_parts_that_do_not_agree(self, cohort, tmp_path):
        with pytest.raises(InputError, match="tiny has leads"):
            mix(cohort.batches(4), cohort.batches(4, leads=["I"]))
        other = make(tmp_path / "o", rate=500, name="fast")
        with pytest.raises(InputError, match="fast has rate 500 and tiny 100"):
            mix(cohort.batches(4), other.batches(4))
        with pytest.raises(InputError, match="other classes"):
            mix(cohort.batches(4, task="rhythm"), cohort.batches(4, task="superclass"))
        with pytest.raises(InputError, match="at least one"):
            mix()


class TestPrefetch:
    def test_keeps_the_order(self):
        assert list(prefetch(lambda k: (time.sleep(0.001), k)[1], range(20), ahead=2)) == list(range(20))

    def test_runs_ahead_but_not_far(self):
        done = []
        stream = prefetch(done.append, range(100), ahead=3)
        next(stream)
        time.sleep(0.2)
        assert 2 <= len(done) <= 6
        stream.close()

    def test_an_error_comes_out_in_its_place_with_its_own_type(self):
        def work(k: int) -> int:
            if k == 3:
                raise KeyError("disk gone")
            return k

        stream = prefetch(work, range(9))
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError, match="disk gone"):
            next(stream)

    def test_leaving_early_ends_the_thread(self):
        before = threading.active_count()
        for _ in prefetch(lambda k: k, range(10**9)):
            break
        assert threading.active_count() == before

    def test_streaming_to_a_gpu_goes_through_it(self, cohort, monkeypatch):
        """The GPU's path with the CPU as device: pinned copies are made by the thread, errors come to the caller."""
        batches = cohort.batches(4, task="rhythm", resident=False)
        expected = collect(batches)
        names = []

        def pin(self: torch.Tensor) -> torch.Tensor:
            names.append(threading.current_thread().name)
            return self

        monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
        batches._ahead = True
        assert_same(collect(batches), expected)
        assert names == ["ecglib-prefetch"] * 3
        monkeypatch.setattr(module.Batches, "_gather", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(iter(batches))
