"""benchmarks/growth: lines, arithmetic and the page; the stages themselves at a size of some hundred records."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from where import REPO

from benchmarks import growth, growth_fit, growth_lines, growth_page, growth_picture
from ecglib.cohort import Cohort
from ecglib.datasets import synthetic

PAGE = REPO / "docs" / "growth.md"
LARGEST = {"build": 1_000_000, "fetch": 1_000_000, "pretrain": 1_000_000, "probe": 1_000_000}
"""What docs/growth.md must show at the least; 10 k and 100 k for all."""
WHERE = {"processor": "P", "cores": 2, "commit": "c", "day": "2026-01-02", "load": [0.5, 1.5]}


def of_lines(**slopes: float) -> dict:
    """Results as `growth` keeps them, in which every quantity is 10 + slope x records / million exactly."""
    stages = []
    for stage in growth_fit.STAGES:
        for records in (1000, 10_000, 1_000_000):
            value = {key: 10 + slopes.get(key, 100) * records / 1e6 for _, key, _, _ in growth_fit.QUANTITIES}
            row = {"stage": stage, "records": records, "workers": 1 if stage == "build" else 0, "measured": WHERE}
            early = {"early_needed_mb": 2.0, "early_read_mb": 3.0, "needed_mb": 12.0, "resting_mb": 30.0}
            value |= {"vectors_mb": records * 384 / 1e6}
            stages.append(row | value | early | {"step_cpu_s": 0.5, "batch": 250})
    lines = [
        {"network": "conv_vit_nano", "grows": "batch", "at": at, "cpu_s": 0.1 * at, "memory_mb": 5 + at,
         "measured": WHERE} for at in (8, 16, 32)
    ]  # fmt: skip
    paper = {"conv_vit_base": {"parameters": 10**8, "operations": 2e10, "vector": 768}}
    return {"stages": stages, "lines": lines, "paper": paper}


@given(
    st.floats(0.1, 1e3), st.floats(1e-9, 1e3),
    st.lists(st.integers(1, 10**6), min_size=3, max_size=8, unique=True),
)  # fmt: skip
def test_a_line_is_found_again(start, slope, x):
    line = growth_fit.fit(x, [start + slope * value for value in x])
    assert line.worst < 1e-6
    for value in x:
        assert line(value) == pytest.approx(start + slope * value, rel=1e-6)


def test_the_line_has_the_least_relative_errors():
    """Against a plain search over starts and slopes."""
    x, y = [1.0, 2.0, 4.0, 8.0], [1.1, 1.8, 4.3, 7.5]
    line = growth_fit.fit(x, y)

    def loss(start, slope):
        return sum(((start + slope * a) / b - 1) ** 2 for a, b in zip(x, y))

    best = min(loss(s, g) for s in np.linspace(-1, 1, 201) for g in np.linspace(0.5, 1.5, 201))
    assert loss(line.start, line.slope) <= best + 1e-12
    assert line.worst == pytest.approx(max(abs(line(a) / b - 1) for a, b in zip(x, y)))
    mean = sum(y) / 4
    left = sum((line(a) - b) ** 2 for a, b in zip(x, y)) / sum((b - mean) ** 2 for b in y)
    assert line.r2 == pytest.approx(1 - left)


def test_what_bends_is_told_from_what_is_straight():
    found = of_lines()
    assert all(case.met for case in growth_fit.cases(found))
    for row in found["lines"]:
        row["cpu_s"] = row["at"] ** 2  # as attention over the tokens
    bent = [case for case in growth_fit.cases(found) if not case.met]
    assert [case.case for case in bent] == ["CNN + ViT, nano: CPU time, batch 8 to 32"]


def test_two_points_are_no_line():
    assert growth_fit.fit([1, 2], [1, 2]) is None
    found = of_lines()
    found["stages"] = [row for row in found["stages"] if row["records"] != 1000]
    assert not any("building" in case.case for case in growth_fit.cases(found))


def test_building_is_told_for_the_fewest_workers_that_were_tried():
    rows = [
        {"stage": "build", "records": 10, "workers": workers, "cpu_s": value}
        for workers, value in ((0, 1.0), (1, 2.0), (2, 3.0))
    ]
    assert growth_fit.stage_points({"stages": rows}, "build", "cpu_s") == ([10], [2.0])
    assert growth_fit.stage_points({"stages": rows[:1]}, "build", "cpu_s") == ([10], [1.0])
    both = [row | {"wall_s": 60.0 / row["workers"], "memory_mb": 100.0 * row["workers"]} for row in rows[1:]]
    said = growth_page.workers({"stages": both})
    assert said == "10 records with 1 worker 60 s by the clock and 100 MB; 2 workers 30 s by the clock and 200 MB."


def test_an_epoch_of_pretraining_is_its_steps_times_one():
    _, values = growth_fit.stage_points(of_lines(), "pretrain", "epoch_cpu_s")
    assert values == [0.5 * 1000 / 250, 0.5 * 10_000 / 250, 0.5 * 1_000_000 / 250]


def test_the_arithmetic_to_eleven_million_is_shown():
    said = growth_page.eleven(of_lines(written_mb=12_000.0))
    row = next(line for line in said.splitlines() if "| written |" in line)
    assert "10 MB + 11 x 12 GB" in row
    assert row.endswith("| 132 GB |")  # 10 MB + 11 x 12,000 MB


def test_what_a_ring_sends_is_counted():
    """2 x 1e8 x 4 bytes x 3 / 4 = 600 MB; at 1.25 GB/s 480 ms; 2e10 x 512 / 4 operations at 0.4 x 989 T."""
    said = growth_page.network(of_lines())
    row = next(line for line in said.splitlines() if "x 3/4" in line)
    assert "= 600 MB" in row
    assert "480 ms" in row
    assert f"{1e3 * 2e10 * 128 / (0.4 * 989e12):.3g} ms" in row


def test_reading_more_than_is_needed_is_said():
    """3 MB for 2 MB: 11 M records of 24 kB, 264 GB, become 396 GB; what a plain mapping reads stands beside it."""
    found = of_lines()
    assert growth_page.beyond(found).endswith("holds reads 396 GB at most.")
    found["stages"].append(
        {"stage": "plain", "records": 10_000, "workers": 0, "needed_mb": 3.0, "read_mb": 900.0, "read_ahead_kb": 8192}
    )
    assert "300 times as much; how far a system reads ahead is its setting, here 8 MB." in growth_page.beyond(found)


def test_what_a_probe_holds_is_carried_on():
    """Memory rises by 768 MB a million where vectors take 384: twice; 768 numbers of 4 bytes, 11 M times."""
    said = growth_page.vectors(of_lines(memory_mb=768.0))
    assert "4 B x 768 x 11 M = 33.8 GB | 2.0 x that = 67.6 GB" in said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(0.5, "s", "0.5 s"), (90, "s", "90 s"), (600, "s", "10 min"), (36_000, "s", "10 h"), (36e6, "s", "10,000 h"),
     (3, "MB", "3 MB"), (12_000, "MB", "12 GB"), (1.5e6, "MB", "1.5 TB")],
)  # fmt: skip
def test_amounts_read_well(value, unit, said):
    assert growth_page.amount(value, unit) == said


def test_rows_of_the_same_size_take_the_place_of_older_ones():
    keys = ("stage", "records", "workers")
    old = [{"stage": "build", "records": n, "workers": 1, "cpu_s": 1} for n in (1000, 10_000)]
    new = [{"stage": "build", "records": n, "workers": 1, "cpu_s": 2} for n in (10_000, 100)]
    assert [(row["records"], row["cpu_s"]) for row in growth.merge(old, new, keys)] == [
        (100, 2),
        (1000, 1),
        (10_000, 2),
    ]


class TestPage:
    def test_it_is_what_the_results_say(self):
        found = json.loads(growth.RESULTS.read_text())
        text = PAGE.read_text(encoding="utf-8")
        assert growth_page.filled(text, found) == text

    def test_it_has_been_measured_at_the_sizes_asked_for(self):
        found = json.loads(growth.RESULTS.read_text())
        for stage, largest in LARGEST.items():
            sizes = growth_fit.stage_points(found, stage, "wall_s")[0]
            assert {10_000, 100_000, largest} <= set(sizes), stage
        assert set(LARGEST) == set(growth_fit.STAGES)

    def test_its_picture_is_there_and_small(self):
        assert 5_000 < PAGE.with_suffix(".png").stat().st_size < 100_000

    def test_its_links_and_files_are_there(self):
        text = PAGE.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (PAGE.parent / link).exists(), link
        for name in re.findall(r"`((?:benchmarks|ecglib)/[\w/.]+)`", text):
            assert (REPO / name).exists(), name

    def test_its_command_is_understood(self):
        line = next(line for line in PAGE.read_text().splitlines() if "benchmarks/growth.py" in line)
        options = growth.parser().parse_args(shlex.split(line)[3:])
        assert 1_000_000 in options.records
        assert options.render

    def test_a_missing_or_unknown_mark_is_noticed(self):
        text = PAGE.read_text(encoding="utf-8")
        for wrong in (text.replace("growth: gpu", "growth: gpus"), text.replace("<!-- growth: eleven -->", "")):
            with pytest.raises(ValueError, match="marks"):
                growth_page.filled(wrong, of_lines())


def test_the_picture_is_drawn_from_the_results(tmp_path):
    page = tmp_path / "growth.md"
    page.write_text("".join(f"<!-- growth: {name} -->\n<!-- end -->\n" for name in growth_page.PARTS))
    growth_page.render(of_lines(), page)
    assert page.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert page.read_text().count("|") > 100
    for row in (other := of_lines())["stages"]:
        row["cpu_s"] *= 1 + row["records"] / 1e5
    assert growth_picture.picture(other) != page.with_suffix(".png").read_bytes()


def test_the_stages_run_and_count_what_they_move(tmp_path, monkeypatch):
    """All four at 1,024 records, in this process; what is needed of the signals is known to the byte."""
    monkeypatch.setattr(growth, "BATCH", 64)
    records, each = 1024, 12 * 500 * 2
    options = growth.parser().parse_args(["--records", str(records), "--workers", "0", "--steps", "2"])
    options.folder = tmp_path / "cohort"
    built = growth.build(options)
    assert built["signals_mb"] == pytest.approx((records * each + 128) / 1e6)
    fetched = growth.fetch(options)
    assert fetched["batches"] == 16
    assert fetched["needed_mb"] == pytest.approx(records * each / 1e6)
    assert fetched["early_needed_mb"] == pytest.approx(64 * each / 1e6)
    stepped = growth.pretrain(options)
    assert (stepped["steps"], stepped["steps_an_epoch"], stepped["batch"]) == (2, 16, 64)
    assert stepped["step_cpu_s"] > 0
    assert growth.probe(options)["vectors_mb"] == pytest.approx(records * 96 * 4 / 1e6)


def test_a_stage_is_watched_from_outside(tmp_path):
    options = growth.parser().parse_args(["--workers", "0"])
    row = growth.watched("build", 200, 0, tmp_path, options)
    assert row["most_disk_mb"] >= row["disk_mb"] > 200 * 12 * 500 * 2 / 1e6
    assert 20 < row["resting_mb"] <= row["memory_mb"] * 1.2
    assert row["cpu_s"] > 0
    assert (tmp_path / "cohort" / "cohort.json").exists()


def test_passes_are_measured_in_time_and_memory():
    point = {"network": "xresnet1d18", "grows": "batch", "at": 16, "leads": 2, "seconds": 10, "batch": 16}
    growth_lines.pass_of(point)()
    parts = [growth_lines.memory(point | {"batch": batch}) for batch in (16, 256)]
    assert parts[1] > parts[0]
    assert parts[1] > 256 * 2 * 1000 * 4 / 1e6  # the batch alone


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_command_merges_and_writes_cases(tmp_path):
    results, cases = tmp_path / "growth.json", tmp_path / "cases.json"
    command = [sys.executable, "benchmarks/growth.py", "--stages", "build", "--workers", "0", "--no-lines"]
    command += ["--results", str(results), "--json", str(cases), "--to", str(tmp_path)]
    for sizes in (["100", "200"], ["200", "300"]):
        subprocess.run([*command, "--records", *sizes], cwd=REPO, check=True, stdout=subprocess.PIPE)
    assert [row["records"] for row in json.loads(results.read_text())["stages"]] == [100, 200, 300]
    assert "building a cohort: disk, to keep, 100 to 300 records" in {c["case"] for c in json.loads(cases.read_text())}
    assert not list(tmp_path.glob("growth-*"))  # the cohorts are gone


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("mended") / "c", records=60, seconds=5, workers=0, progress=False)


class TestWhatWasMended:
    """What took memory by the record where nothing need: counted, not timed."""

    def test_vectors_for_a_probe_are_streamed(self, cohort, monkeypatch):
        import torch

        from ecglib import batches, probing

        encoder = growth.encoder().eval()
        monkeypatch.setattr(batches, "_load", lambda _: pytest.fail("the whole cohort was loaded"))
        found = probing.vectors(encoder, cohort, batch_size=25)
        whole = encoder.embed(torch.from_numpy(cohort.signal_mv())).numpy()
        np.testing.assert_allclose(found, whole, atol=1e-5)
        assert found.dtype == np.float32

    def test_names_are_read_without_the_rest_of_the_table(self, cohort, tmp_path, monkeypatch):
        import pandas as pd

        from ecglib import probing
        from ecglib.cohort_table import Table
        from ecglib.embed import embed

        whole = cohort.records
        monkeypatch.setattr(Table, "frame", lambda _: pytest.fail("the whole table was read"))
        part = Cohort.open(cohort.path).in_folds([1, 2])
        said = probing.said(np.full((len(part), 5), 0.5), part, model="m", seed=0, split="test", task="superclass")
        expected = whole[whole["fold"].isin([1, 2])]
        assert list(said.record) == list(expected["record"])
        assert list(said.patient) == list(expected["patient"])
        assert list(said.fold) == list(expected["fold"])
        table = pd.read_parquet(embed(growth.encoder(), Cohort.open(cohort.path), tmp_path / "v.parquet"))
        assert list(table["record"]) == list(whole["record"])
