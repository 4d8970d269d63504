"""Ranks that share a training end where one process ends; their parts of a batch are the batch."""

from __future__ import annotations

from itertools import chain

import pytest
import shared_trainings as trainings
import torch
from torch import nn

from ecglib import datasets, ranks, sharing
from ecglib.batches import mix
from ecglib.errors import InputError
from ecglib.page import PageBatches, Vary
from ecglib.pool import Pool
from ecglib.signals import Augment

ON_FOUR = ("dropout", "lead_kd", "cmsc")
LOSS = 1e-4
"""Relative; what was measured is 1e-5 and below. Sums over two ranks are rounded otherwise than over one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    trainings.cohorts(folder)
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    return {kind: trainings.trained(kind, folder) for kind in trainings.KINDS}


@pytest.fixture(scope="module")
def together(folder):
    return {2: trainings.on_ranks(2, folder, list(trainings.KINDS)), 4: trainings.on_ranks(4, folder, list(ON_FOUR))}


@pytest.mark.parametrize(
    ("world", "kind"), [*((2, kind) for kind in trainings.KINDS), *((4, kind) for kind in ON_FOUR)]
)
def test_the_history_is_that_of_one_process(alone, together, world, kind):
    one, each = alone[kind]["history"], [rank[kind] for rank in together[world]]
    assert all(rank["history"] == each[0]["history"] for rank in each)
    assert each[0]["history"].keys() == one.keys()
    for column, values in one.items():
        assert each[0]["history"][column] == pytest.approx(values, rel=LOSS, abs=1e-7), column
    for name, weights in each[0]["weights"].items():
        assert all(torch.equal(rank["weights"][name], weights) for rank in each), name


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("kind", ["batches", "mix", "pool", "tokens"])
def test_the_ranks_parts_are_the_batch(folder, monkeypatch, kind, world):
    cohort, unlabelled = trainings.cohorts(folder)
    labelled = {"task": "superclass", "shuffle": True, "drop_last": True, "seed": 3}
    made = {
        "batches": lambda: cohort.batches(12, **labelled),
        "mix": lambda: mix(cohort.batches(9, **labelled), unlabelled.batches(3, shuffle=True)),
        "pool": lambda: Pool([cohort, unlabelled], 12, window_s=0.4, seed=3),
        "tokens": lambda: trainings.job("probe", folder)[1],
    }[kind]()

    def epoch(rank, of):
        monkeypatch.setattr(sharing, "_part", (rank, of))
        torch.manual_seed(0)
        return list(made.shared(rank, of))

    whole = epoch(0, 1)
    parts = [epoch(rank, world) for rank in range(world)]
    assert len(whole) == len(made) == len(parts[0]) >= 3
    for field in ("signal", "label", "index"):
        expected = [getattr(batch, field) for batch in whole[:1]]  # later ones have drawn more, within one seed
        found = [torch.cat([getattr(part[0], field) for part in parts])] if expected[0] is not None else expected
        assert all(a is b or torch.equal(a.nan_to_num(-9), b.nan_to_num(-9)) for a, b in zip(expected, found))
    assert [b.index.tolist() for b in whole] == [
        list(chain.from_iterable(part[k].index.tolist() for part in parts)) for k in range(len(whole))
    ]


def test_a_record_has_the_page_that_it_has_in_the_whole_batch(tmp_path, monkeypatch):
    """Two layouts, one for either half of a batch: with three ranks the second has some of both."""
    cohort = datasets.load("synthetic", rate=100, records=24, cache=tmp_path, progress=False).labelled("superclass")
    made = PageBatches(
        cohort.batches(6, task="superclass", drop_last=True), layouts=("3x4", "6x2"), size=(160, 208), vary=Vary(),
        augment=Augment(rate=100, noise_mv=0.1),
    )  # fmt: skip

    def first(rank, of):
        monkeypatch.setattr(sharing, "_part", (rank, of))
        return next(iter(made.shared(rank, of))).page.clone()

    assert torch.equal(first(0, 1), torch.cat([first(rank, 3) for rank in range(3)]))


def test_what_is_left_over_is_left_out(folder):
    cohort, _ = trainings.cohorts(folder)
    batches = cohort.batches(5, task="superclass")  # 36 records: seven batches of 5, one of 1
    parts = [list(batches.shared(rank, 2)) for rank in (0, 1)]
    assert [[len(batch.index) for batch in part] for part in parts] == [[2] * 7] * 2
    assert parts[0][0].index.tolist() + parts[1][0].index.tolist() == [0, 1, 2, 3]


def test_batches_that_cannot_be_shared_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: 2)
    with pytest.raises(InputError, match="list has no `shared"):
        sharing.batches([1, 2])


def test_with_one_process_nothing_is_changed():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
    with sharing.divided(module):
        assert not any("forward" in vars(each) for each in module)
        assert sharing.parts() == 1
    x = torch.ones(3, 2)
    assert sharing.gathered(x) is x is sharing.gathered_rows(x)
    assert sharing.batches([1]) == [1]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_on_another_number_of_ranks(folder, alone, tmp_path, before, after):
    """Cut short after one epoch of two, on as many ranks as `before`."""
    kind, kept = "dropout", tmp_path / "kept"
    words = [f"{kind}:{kept}:1", f"{kind}:{kept}"]
    if before == 1:
        assert trainings.trained(kind, folder, kept, epochs=1) == {}
        found = trainings.on_ranks(2, folder, words[1:])[0][kind]
    else:
        trainings.on_ranks(2, folder, words[:1])
        found = trainings.trained(kind, folder, kept)
    assert found["resumed_at"] == 1
    for column, values in alone[kind]["history"].items():
        assert found["history"][column] == pytest.approx(values, rel=LOSS, abs=1e-7), column


def test_other_data_on_another_rank_is_said(tmp_path):
    """As where two machines hold different versions of a data set."""
    code = OTHER.format(tests=str(trainings.TESTS), here=str(trainings.TESTS / "distributed"))
    script = tmp_path / "other.py"
    script.write_text(code)
    processes = trainings.start(2, tmp_path, [], script=str(script))
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert all("rank 1 would train with other records or settings than rank 0" in each for each in said), said


OTHER = """\
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from test_training import Tiny, TinyBatches
from ecglib import ranks, training
from ecglib.training import Settings
training.fit(Tiny(), TinyBatches(identity=str(ranks.rank())), None,
             settings=Settings(epochs=1, learning_rate=0.1, select="last"), progress="none")
"""


def test_nothing_but_ranks_makes_a_world(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # of some other program
    assert (ranks.world(), ranks.rank(), ranks.is_first()) == (1, 0, True)
