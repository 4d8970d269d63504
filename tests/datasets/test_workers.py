"""ecglib.datasets.workers: results in order, never many waiting, processes only where they are worth it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from ecglib.datasets import workers
from ecglib.datasets.workers import AHEAD, in_order
from ecglib.errors import InputError


def where(unit: int) -> tuple[int, int, str | None]:
    """The unit, the process, and its cap on threads; the first unit takes longest."""
    time.sleep(0.3 if unit == 0 else 0)
    return unit, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def refuse(unit: int) -> int:
    time.sleep(0.2 if unit == 1 else 0)
    if unit > 0:
        raise InputError(f"unit {unit}")
    return unit


class Asked:
    """Forty units, and which of them were asked for."""

    def __init__(self) -> None:
        self.units: list[int] = []

    def __len__(self) -> int:
        return 40

    def __getitem__(self, k: int) -> int:
        self.units.append(k)
        return k


def test_results_come_in_order_from_other_processes_and_few_wait():
    asked = Asked()
    found = in_order(where, asked, start=3, workers=2)
    got = [next(found) for _ in range(10)]
    assert [unit for unit, _, _ in got] == list(range(3, 13))
    assert len(asked.units) <= 10 + AHEAD * 2
    rest = list(found)
    assert [unit for unit, _, _ in rest] == list(range(13, 40))
    assert asked.units == list(range(3, 40))
    processes = {pid for _, pid, _ in got + rest}
    assert os.getpid() not in processes
    assert {threads for _, _, threads in got} == {"1"}
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)


def test_the_first_error_in_order_is_raised():
    found: Iterator[int] = in_order(refuse, range(5), workers=2)
    assert next(found) == 0
    with pytest.raises(InputError, match=r"^unit 1$"):
        next(found)


def test_a_caller_who_stops_early_leaves_no_process():
    found = in_order(where, Asked(), workers=1)
    _, pid, _ = next(found)
    found.close()
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize(("worth", "cores", "alone"), [(1e9, 2, 5), (0.0, 1, 5), (0.0, 2, 2)])
def test_processes_where_nobody_said_how_many(monkeypatch, worth, cores, alone):
    """Two units show what the rest would take."""
    monkeypatch.setattr(workers, "WORTH", worth)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    here = [pid == os.getpid() for _, pid, _ in in_order(where, range(5))]
    assert here == [True] * alone + [False] * (5 - alone)


def test_without_units_nothing_is_started():
    assert list(in_order(where, [], workers=2)) == []
    assert list(in_order(where, range(3), start=3, workers=2)) == []
