"""benchmarks: the form of a case, turns, missing peers, a script that fails, results that are whole, the page."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from where import REPO

from benchmarks import __main__ as frame
from benchmarks import case as cases
from benchmarks import speed_page
from benchmarks.case import Case, as_json, from_json, in_turns, number, peer, table

GOOD = """
import sys
from benchmarks.case import Case, arguments, finish
asked = arguments("a row").parse_args()
case = Case("small", "records/s", "higher", 50.0, {"loop": 2.0, "absent": None}, {"disk": 100.0}, note="equal bits")
gpu = Case("GPU", "records/s", "higher", None, {"loop": None}, target="3 x")
finish([case.judged("20 x loop", case.times("loop"), 20), gpu], asked)
"""
BAD = {
    "raises": "raise SystemExit('no luck')",
    "writes half": "import sys; open(sys.argv[2], 'w').write('[{\"case\":'); sys.exit(0)",
    "writes nothing": "",
    "writes something else": "import sys; open(sys.argv[2], 'w').write('{\"a\": 1}')",
    "leaves a key out": "import sys; open(sys.argv[2], 'w').write('[{\"case\": \"small\"}]')",
    "writes, then fails": GOOD + "\nsys.exit(3)",
}


@pytest.fixture
def scripts(tmp_path, monkeypatch) -> Path:
    """A folder of scripts that the frame runs with this Python."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.setattr(frame, "PEERS", tmp_path / "no-peers")
    for name in ("read_ptb_xl", "bootstrap"):
        (folder / f"{name}.py").write_text(GOOD)
    return folder


def run(scripts: Path, *words: str) -> int:
    return frame.main([*words, "--to", str(scripts.parent / "results"), "--host", "here"], scripts)


def kept(scripts: Path) -> dict:
    return json.loads((scripts.parent / "results" / "here.json").read_text())


class TestCase:
    def test_json_is_read_back_as_it_was(self):
        made = [Case("a", "s", "lower", 1.5, {"x": None}, None, "under 2 s", True, "n"), Case("b", "s", "lower", None)]
        assert from_json(as_json(made)) == made

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_no_number_is_refused(self, value):
        with pytest.raises(ValueError, match="JSON"):
            as_json([Case("a", "s", "lower", value)])

    def test_times_is_better_than_the_best_in_either_direction(self):
        more = Case("a", "records/s", "higher", 30.0, {"x": 10.0, "y": 15.0}, {"disk": 60.0})
        assert (more.times(), more.times("x"), more.times("disk")) == (2.0, 3.0, 0.5)
        less = Case("a", "s", "lower", 2.0, {"x": 10.0, "y": 6.0})
        assert (less.times(), less.times("x")) == (3.0, 5.0)

    def test_times_is_nothing_where_a_figure_is(self):
        half = Case("a", "s", "lower", 2.0, {"x": 10.0, "y": None})
        assert half.times("x") == 5.0
        assert half.times() is None
        assert half.times("y") is None
        assert Case("a", "s", "lower", None, {"x": 10.0}).times() is None
        assert Case("a", "s", "lower", 2.0).times() is None

    def test_a_target_is_met_missed_or_not_measured(self):
        one = Case("a", "s", "lower", 2.0, {"x": 10.0})
        assert one.judged("5 x", one.times("x"), at_least=5).met is True
        assert one.judged("6 x", one.times("x"), at_least=6).met is False
        assert one.judged("under 1 s", one.ours, at_most=1).met is False
        assert one.judged("5 x", None, at_least=5).met is None

    def test_better_is_one_of_two_words(self):
        with pytest.raises(ValueError, match="lower"):
            Case("a", "s", "faster", 1.0)

    @pytest.mark.parametrize(
        ("value", "text"), [(None, "-"), (0, "0"), (1234.5, "1,234"), (0.012345, "0.0123"), (12.345, "12.3")]
    )
    def test_numbers_have_three_digits(self, value, text):
        assert number(value) == text

    def test_the_table_says_what_was_not_measured(self):
        text = table([Case("a", "s", "lower", None, {"x": 3.0}, target="5 x", note="why")])
        assert "not yet measured" in text
        assert "why" in text
        assert "ours is" not in text


class TestTurns:
    def test_they_alternate_after_warming_up(self):
        seen = []
        seconds = in_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b"), "c": None}, 2, warm_up=1)
        assert seen == ["a", "b"] * 3
        assert seconds["c"] is None
        assert seconds["a"] >= 0

    def test_the_median_counts(self):
        naps = iter([0.0, 0.0, 0.08, 0.0])
        assert in_turns({"a": lambda: time.sleep(next(naps))}, 3, warm_up=1)["a"] < 0.04

    def test_queued_work_is_waited_for_before_each_reading(self):
        seen = []
        in_turns({"a": lambda: seen.append("work")}, 1, warm_up=0, wait=lambda: seen.append("wait"))
        assert seen == ["wait", "work", "wait"]


class TestPeer:
    def test_a_missing_one_is_said_and_is_nothing(self, capsys):
        assert peer("no_such_peer") is None
        assert "make peers" in capsys.readouterr().err

    def test_one_that_is_there_is_given(self):
        assert peer("json") is json

    def test_a_broken_one_is_an_error(self, tmp_path, monkeypatch):
        (tmp_path / "broken_peer.py").write_text("import what_it_needs_and_lacks")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="what_it_needs"):
            peer("broken_peer")


class TestFrame:
    def test_rows_are_kept_with_what_they_were_measured_on(self, scripts):
        assert run(scripts) == 0
        found = kept(scripts)
        assert list(found["rows"]) == ["read_ptb_xl", "bootstrap"]  # in the page's order
        row = found["rows"]["bootstrap"]
        assert [each.case for each in from_json(json.dumps(row["cases"]))] == ["small", "GPU"]
        assert row["versions"]["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
        assert {"measured", "commit", "changed", "load", "seconds", "threads", "quick"} <= set(row)
        assert {"cpu", "cores", "memory_gb", "gpu"} == set(found["machine"])

    @pytest.mark.parametrize("script", BAD.values(), ids=list(BAD))
    def test_a_script_that_fails_is_told_and_the_others_go_on(self, scripts, script, capfd):
        (scripts / "read_ptb_xl.py").write_text(script)
        assert run(scripts) == 1
        assert list(kept(scripts)["rows"]) == ["bootstrap"]
        assert "read_ptb_xl" in capfd.readouterr().err
        assert not list((scripts.parent / "results").glob(".*"))  # nothing half-written beside

    def test_a_script_that_fails_leaves_its_earlier_figures(self, scripts):
        assert run(scripts) == 0
        before = kept(scripts)["rows"]["read_ptb_xl"]
        (scripts / "read_ptb_xl.py").write_text(BAD["raises"])
        assert run(scripts, "--only", "read_ptb_xl") == 1
        assert kept(scripts)["rows"]["read_ptb_xl"] == before

    def test_a_script_without_an_end_is_stopped(self, scripts, monkeypatch):
        monkeypatch.setattr(frame, "TIMEOUT_S", 2)
        (scripts / "read_ptb_xl.py").write_text("import time; time.sleep(60)")
        monkeypatch.setattr(frame, "ROWS", {"read_ptb_xl": frame.ROWS["read_ptb_xl"]})
        start = time.monotonic()
        assert run(scripts) == 1
        assert time.monotonic() - start < 30

    def test_only_the_rows_named_are_run(self, scripts):
        assert run(scripts, "--only", "bootstrap") == 0
        assert list(kept(scripts)["rows"]) == ["bootstrap"]

    def test_a_scripts_own_options_reach_it(self, scripts, capfd):
        (scripts / "bootstrap.py").write_text("import sys; print(sys.argv[3:]); sys.exit(3)")
        assert run(scripts, "--only", "bootstrap", "--options=--rounds 2") == 1
        assert "['--rounds', '2']" in capfd.readouterr().out
        with pytest.raises(SystemExit):
            run(scripts, "--options=--rounds 2")

    def test_an_unknown_row_is_refused_with_the_nearest(self, scripts, capsys):
        assert run(scripts, "--only", "bootstrp") == 2
        assert "bootstrap" in capsys.readouterr().err

    def test_long_rows_run_only_where_they_are_named(self, scripts):
        (scripts / "first_report.py").write_text(GOOD)
        assert run(scripts) == 0
        assert "first_report" not in kept(scripts)["rows"]
        assert run(scripts, "--only", "first_report") == 0
        assert list(kept(scripts)["rows"]) == ["read_ptb_xl", "bootstrap", "first_report"]

    def test_quick_figures_are_not_kept_with_the_others(self, scripts, monkeypatch):
        monkeypatch.setattr(frame, "HERE", scripts.parent)
        page = (REPO / "docs" / "speed.md").read_bytes()
        assert frame.main(["--quick"], scripts) == 0
        assert not (scripts.parent / "results").exists()
        assert (REPO / "docs" / "speed.md").read_bytes() == page

    def test_the_page_is_rendered_from_what_was_measured(self, scripts, monkeypatch):
        page = scripts.parent / "speed.md"
        page.write_text(f"# Speed\n{speed_page.BEGIN}\nold\n{speed_page.END}\nwhat did not pay\n")
        monkeypatch.setattr(frame, "HERE", scripts.parent)
        monkeypatch.setattr(frame, "PAGE", page)
        assert frame.main(["--host", "here"], scripts) == 0
        text = page.read_text()
        assert "loop 2 (25 x)" in text
        assert "old" not in text
        assert text.endswith("what did not pay\n")
        assert frame.main(["--render"], scripts) == 0
        assert page.read_text() == text

    def test_every_script_that_writes_cases_is_a_row(self):
        writing = {file.stem for file in (REPO / "benchmarks").glob("*.py") if "finish(" in file.read_text()}
        assert writing - {"case"} <= set(frame.ROWS)
        assert set(frame.ONLY_WHEN_NAMED) <= set(frame.ROWS)


def host(name: str, rows: dict, **about) -> dict:
    facts = {"measured": "2026-11-21T21:00:00+00:00", "commit": "abc1234", "changed": False, "load": [0.2, 0.1, 0.1]}
    rows = {each: facts | {"seconds": 3.2, "cases": json.loads(as_json(found))} for each, found in rows.items()}
    machine = {"cpu": "a processor", "cores": 2, "memory_gb": 16, "gpu": None} | about
    return {"format": speed_page.FORMAT, "host": name, "machine": machine, "rows": rows}


TITLES = {"one": "the first row", "two": "the second row", "three": "the third row"}


class TestPage:
    def test_each_host_has_its_table_and_what_nobody_measured_is_listed(self):
        cpu = Case("CPU", "records/s", "higher", 8.0, {"loop": 2.0, "peer": None}).judged("3 x loop", 4.0, 3)
        gpu, none = (Case(name, "records/s", "higher", None, {"loop": None}) for name in ("GPU", "TPU"))
        there = Case("GPU", "records/s", "higher", 80.0, {"loop": 2.0})
        hosts = [host("a", {"one": [cpu, gpu, none]}), host("b", {"one": [there]}, gpu="NVIDIA X")]
        text = speed_page.render(hosts, TITLES)
        tables, missing = text.split("### Not yet measured")
        assert (
            "| the first row | CPU | 8 records/s | loop 2 (4 x)<br>peer: not measured |  | 3 x loop: **met** |"
            in tables
        )
        assert tables.count("| the first row |") == 2
        assert "NVIDIA X" in tables
        assert "2026-11-21, abc1234, 3 s, load 0.2 before" in tables
        assert missing.split("\n")[2:5] == ["- the first row: TPU", "- the second row", "- the third row"]

    def test_a_host_that_measured_nothing_has_no_table(self):
        text = speed_page.render([host("a", {"one": [Case("GPU", "s", "lower", None)]})], TITLES)
        assert "a processor" not in text
        assert "- the first row: GPU" in text

    def test_notes_that_differ_say_which_case_they_are_of(self):
        made = [Case(name, "s", "lower", 1.0, note=note) for name, note in (("a", "x"), ("b", "x"), ("c", "y"))]
        assert "load 0.2 before): a; b: x. c: y." in speed_page.render([host("h", {"one": made})], TITLES)
        assert "load 0.2 before): x." in speed_page.render([host("h", {"one": made[:2]})], TITLES)

    def test_a_bar_does_not_break_the_table(self):
        text = speed_page.render([host("a", {"one": [Case("a|b", "s", "lower", 1.0)]})], TITLES)
        assert "a\\|b" in text

    def test_other_results_in_the_folder_are_passed_over(self, tmp_path):
        (tmp_path / "growth.json").write_text('{"rows": []}')
        (tmp_path / "list.json").write_text("[]")
        (tmp_path / "a.json").write_text(json.dumps(host("a", {})))
        assert [each["host"] for each in speed_page.read(tmp_path)] == ["a"]

    def test_a_page_without_marks_is_refused(self):
        with pytest.raises(ValueError, match="marks"):
            speed_page.replaced("# Speed\n", "x")

    def test_the_page_committed_is_the_one_of_the_results_committed(self):
        made = speed_page.render(speed_page.read(REPO / "benchmarks" / "results"), frame.ROWS)
        text = (REPO / "docs" / "speed.md").read_text()
        assert speed_page.replaced(text, made) == text, "run `python -m benchmarks --render`"


def test_the_shared_form_imports_nothing_heavy():
    import subprocess

    code = "import sys, benchmarks.case; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)
    assert cases.MET[None] == "not yet measured"
