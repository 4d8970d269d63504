"""How far a grid is, from records as the runner writes them."""

from __future__ import annotations

import datetime
import json

import pytest
import toy_grid

from ecglib import grid, grid_status, inuse, provenance

NOW = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def four(tmp_path, monkeypatch):
    """A grid of four runs in a repository where nothing has run."""
    root = toy_grid.make(tmp_path / "repository")
    toy_grid.grid(root, "seeds: [0, 1, 2, 3]\n")
    monkeypatch.chdir(root)
    return grid.load("workflow/grids/g.yaml")


def record(member, status="complete", started=NOW, seconds=60.0, **more):
    """Writes what the runner would have left."""
    plan = member.plan
    entries = {
        name: {
            "value": value,
            "source": {"preset": "preset", "command line": "command line"}.get(
                plan.settings.sources.get(name), "notebook"
            ),
            "notebook": plan.settings.schema[name].default,
        }
        for name, value in plan.settings.values.items()
    }
    notebook = {"name": plan.name, "path": plan.shown(plan.notebook), "cells": provenance.cells_digest(plan.notebook)}
    found = {"notebook": notebook, "preset": plan.preset, "parameters": entries, "sources": {}, "environment": {}}
    found |= {"started": started.isoformat(), "duration_s": seconds, **more}
    plan.out.mkdir(parents=True, exist_ok=True)
    if status == "unfinished":
        (plan.out / "started.json").write_text(json.dumps(found))
    else:
        (plan.out / "run.json").write_text(json.dumps(found | {"status": status}))


def test_each_state_is_told_from_the_others_and_counted(four):
    done, failed, killed, _ = four.members
    record(done)
    record(failed, "failed", reason="RuntimeError: loss is NaN")
    record(killed, "unfinished")
    (failed.plan.out / "report.html").touch()
    progress = grid_status.Progress(four)
    assert [state.kind for state in progress.states] == ["done", "failed", "failed", "to come"]
    assert progress.text().splitlines() == [
        "g: 1 of 4 runs done, 0 running, 2 failed, 1 to come; about 60 s left",
        "  failed: reports/toy/smoke+seed=1: RuntimeError: loss is NaN (reports/toy/smoke+seed=1/report.html)",
        f"  failed: reports/toy/smoke+seed=2: {grid_status.CUT_SHORT}",
    ]
    assert not progress.complete
    with inuse.holding(killed.plan.out):
        assert grid_status.Progress(four).count["running"] == 1


def test_what_has_changed_runs_again_and_nothing_else(four):
    for member in four.members:
        record(member)
    assert grid_status.Progress(four).count == {"done": 4}
    preset = four.root / "params/toy/smoke.yaml"
    preset.write_text("weight: 0.125  # smaller\n")
    again = grid.load("workflow/grids/g.yaml")  # a grid wants what the preset says now
    assert {state.kind for state in grid_status.states(again)} == {"to come"}
    preset.write_text("weight: 0.25  # as before\n")
    assert grid_status.Progress(grid.load("workflow/grids/g.yaml")).count == {"done": 4}
    toy_grid.write_notebook(four.root, "toy", toy_grid.PARAMETERS, toy_grid.BODY + "print('more')\n")
    assert {state.why for state in grid_status.states(four)} == {"The notebook toy.ipynb has changed."}
    toy_grid.write_notebook(four.root, "toy", toy_grid.PARAMETERS, toy_grid.BODY)
    record(four.members[1], sources={"ecglib/grid.py": "0123456789abcdef"})  # the code it loaded was another
    assert [state.kind for state in grid_status.states(four)] == ["done", "to come", "done", "done"]


def test_a_record_that_is_broken_or_of_another_run_is_run_again(four):
    one, other = four.members[:2]
    record(one)
    (one.plan.out / "run.json").write_text('{"status": "comp')
    record(other)
    text = (other.plan.out / "run.json").read_text()
    (other.plan.out / "run.json").write_text(text.replace('"value": 100', '"value": 101'))
    kinds = [state.kind for state in grid_status.states(four)]
    assert kinds == ["to come"] * 4


def test_the_time_left_is_the_mean_of_what_ended_over_what_runs_side_by_side(four):
    a, b, c, _ = four.members
    record(a, seconds=100.0)
    record(b, "unfinished", started=NOW - datetime.timedelta(seconds=40))
    record(c, "unfinished", started=NOW - datetime.timedelta(seconds=300))
    with inuse.holding(b.plan.out), inuse.holding(c.plan.out):
        progress = grid_status.Progress(four)
        assert progress.count == {"done": 1, "running": 2, "to come": 1}
        assert progress.seconds_left(NOW) == pytest.approx(((100 - 40) + 0 + 100) / 2)
    assert [grid_status.words(s) for s in (40, 240, 12600)] == ["40 s", "4 min", "3.5 h"]


def test_what_a_run_is_at_is_said_while_it_runs(four):
    now = datetime.datetime.now(datetime.UTC)
    a, b = four.members[:2]
    record(a, "unfinished", started=now - datetime.timedelta(seconds=300), cell={"number": 4, "heading": "The teacher"})
    record(b)  # of the run before: its record is none of the run that has just begun
    with inuse.holding(a.plan.out), inuse.holding(b.plan.out):
        text = grid_status.Progress(four).text()
    assert text.splitlines()[1:] == [
        "  running: reports/toy/smoke+seed=0: The teacher, 5 min",
        "  running: reports/toy/smoke+seed=1: 0 s",
    ]


def test_watching_says_what_has_changed_and_ends_with_the_grid(four, monkeypatch, capsys):
    members, naps = iter(four.members), []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) > 1:  # nothing happens at first
            record(next(members))

    monkeypatch.setattr(grid_status.time, "sleep", nap)
    monkeypatch.setattr(grid_status, "comparison", lambda grid: None)
    assert grid_status.follow(four).complete
    counts = [line.partition(" of ")[0] for line in capsys.readouterr().out.splitlines()]
    assert counts == ["g: 0", "g: 1", "g: 2", "g: 3", "g: 4"]
    assert len(naps) == 5

    def interrupted(seconds):
        raise KeyboardInterrupt

    four.members[0].plan.out.joinpath("run.json").unlink()
    monkeypatch.setattr(grid_status.time, "sleep", interrupted)
    assert not grid_status.follow(four).complete


def test_the_comparison_counts_only_for_the_runs_that_it_read(four):
    for member in four.members:
        record(member)
    assert grid_status.comparison(four).kind == "to come"
    record(four.compare)
    grid_status.folder(four).mkdir(parents=True)
    (grid_status.folder(four) / "compared.json").write_text(json.dumps(grid_status.started(four)))
    progress = grid_status.Progress(four)
    assert progress.complete
    assert progress.line().endswith("0 to come; the comparison is done")
    record(four.members[0], started=NOW + datetime.timedelta(seconds=1))
    assert grid_status.comparison(four).why == "its runs have changed"
    assert not grid_status.Progress(four).complete
