"""A re-run check tells a run that came out again from one that did not, and says what is otherwise."""

from __future__ import annotations

import base64
import io
import json
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import commands
import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4
from PIL import Image
from where import REPO

from ecglib import agreement, results, run, verify
from ecglib.errors import InputError

PARAMETERS = """\
data: str = "records"  # the folder of the records
scale: float = 0.5  # of nothing
names: list[str] = ["a", "b"]  # of the models
progress: str = "lines"  # or bars
cache: str = "cache"  # what can be made again
seed: int = 0  # of all that is drawn
out: str = "reports/tiny/manual"  # where the run leaves its results
"""
WORK = """\
import hashlib, json
from pathlib import Path
from types import SimpleNamespace
from ecglib import results
from ecglib.errors import InputError

knob = json.loads((results.root() / "knob.json").read_text())  # how this run differs from the last
if "error" in knob:
    raise RuntimeError(knob["error"])
run = results.Run(out)
folder = results.root() / data
if not (folder / "signals").is_file():
    raise InputError(f"{data}: there is no such folder; give another")
digest = hashlib.sha256((folder / "signals").read_bytes()).hexdigest()
class Cohort(list):
    info = SimpleNamespace(name="tiny", fingerprint=digest, licence="CC0", citation="Nobody (2020)")
run.data(Cohort("abc"))
"""
FIGURES = """\
import base64, io
import numpy as np
from IPython.display import display
from PIL import Image

for number in range(knob.get("figures", 2)):
    pixels = np.full((40, 50, 3), 255, np.uint8)
    pixels[10 + number, :] = 0
    if number == 1:
        pixels[20, : knob.get("pixels", 0)] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    about = {"image/png": {"alt": f"A line, number {number}"}}
    display({"image/png": base64.b64encode(file.getvalue()).decode()}, raw=True, metadata=about)
"""
METRICS = """\
row = dict(protocol="p", data="tiny", split="test", seed=None, n=3)
rows = []
for name in names:
    row = dict(model=name, protocol="p", data="tiny", split="test", seed=None, n=3)
    rows.append({**row, "metric": "auc", "class": "macro", "value": 0.8 + knob.get(name, 0), "low": 0.7, "high": 0.9})
    none = {"low": None, "high": None}
    rows.append({**row, "metric": "threshold", "class": "MI", "value": 0.3, "split": "valid", **none})
    rows.append({**row, "metric": "f1", "class": "MI", "value": None, **none})
run.metrics(rows[knob.get("drop", 0):])
run.finish()
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with one run of its only notebook in reports/tiny/made."""
    root = tmp_path_factory.mktemp("repository")
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    (root / "records").mkdir()
    (root / "records" / "signals").write_text("1 2 3")
    (root / "knob.json").write_text("{}")
    cells = [v4.new_markdown_cell("# Tiny"), v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [v4.new_code_cell(source) for source in (WORK, FIGURES, METRICS)]
    nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / "tiny.ipynb")
    words = ["tiny", "-p", "scale=0.25", "--out", "reports/tiny/made"]
    subprocess.run([sys.executable, "-m", "ecglib.run", *words], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def made(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run; the working folder is the clone, whose knob is at rest."""
    monkeypatch.chdir(repository)
    (repository / "knob.json").write_text("{}")
    return Path(shutil.copytree(repository / "reports/tiny/made", tmp_path / "made"))


def turn(**knob: Any) -> None:
    Path("knob.json").write_text(json.dumps(knob))


def change(folder: Path, name: str, **entries: Any) -> None:
    record = json.loads((folder / "run.json").read_text())
    record[name] |= entries
    (folder / "run.json").write_text(json.dumps(record))


def verdict(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "verify.json").read_text())


def again(made: Path) -> Any:
    """A runner that does not start a kernel: it leaves what `made` holds."""

    def runner(plan: Any, options: Any) -> int:
        shutil.copytree(made, plan.out)
        again.plan, again.options = plan, options
        return 0

    return runner


def check(made: Path, *more: str, runner: Any = None) -> int:
    return verify.verify(run._options(["--verify", str(made), *more]), runner or again(made))


# ---- the command, with a kernel


def test_the_same_comes_out_and_is_said(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert run.main(["--verify", str(made)]) == 0
    seen = capsys.readouterr().out
    assert seen.splitlines()[-1] == "reproduced"
    assert "6 of 6 rows; equal" in seen
    assert "2 of 2; at most 0.1% of a figure's pixels" in seen
    assert "a      0.8000 [0.7000, 0.9000]  0.8000  equal" in seen
    said = verdict(made)
    assert said["reproduced"]
    assert said["machine"]["same"]
    assert said["code"]["differs"] == said["data"]["differs"] == []
    assert said["parameters"] == {"count": 6, "set": {}, "new": [], "gone": {}}
    (made / "verify.json").unlink()
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert str(tmp_path) not in json.dumps(said)


def test_all_that_differs_is_caught_and_the_new_run_stays(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn(b=1e-12, pixels=50, drop=1)
    assert run.main(["--verify", str(made / "report.html"), "--out", "reports/tiny/again"]) == 1
    seen = capsys.readouterr().out
    assert seen.splitlines()[-1] == "NOT reproduced; metrics: 1 missing, 1 other; figures: 1 of 2 differ"
    assert "rows that are missing:\n  a / p / tiny / test / auc / macro: 0.8000 [0.7000, 0.9000]\n" in seen
    assert "  b / p / tiny / test / auc / macro: 0.8000 [0.7000, 0.9000], now 0.8000\n" in seen
    assert "by the rule for another machine, which its name may hide, they DIFFER too" in seen
    assert "figures that differ:\n  2: 2.50% of its pixels differ (A line, number 1)\n" in seen
    kept = results.read("reports/tiny/again")
    assert kept.status == "complete"
    assert kept.parameters["scale"] == 0.25
    assert kept.record["command"].startswith("python -m ecglib.run --verify ")
    assert not verdict(kept.path)["reproduced"]
    assert not (made / "verify.json").exists()
    turn()
    assert run.main(["tiny", "--out", "reports/tiny/again", "--no-html"]) == 0
    assert not (kept.path / "verify.json").exists()  # it judged a run that is gone


def test_a_run_that_fails_is_not_reproduced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turn(error="loss is NaN")
    assert run.main(["--verify", str(made)]) == 1
    seen = capsys.readouterr().out
    assert "NOT reproduced; the new run failed in cell 3: RuntimeError: loss is NaN" in seen
    assert verdict(made)["reasons"] == ["the new run failed in cell 3: RuntimeError: loss is NaN"]


def test_data_that_moved_are_named_with_p(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(made, "parameters", data={"value": "gone", "source": "command line"})
    assert run.main(["--verify", str(made)]) == 2
    seen = capsys.readouterr()
    assert "gone: there is no such folder" in seen.err
    assert "say with -p where its data lie now" in seen.err
    assert not (made / "verify.json").exists()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "signals").write_text("1 2 3")
    assert run.main(["--verify", str(made), "-p", f"data={tmp_path / 'elsewhere'}"]) == 0
    assert "parameters  other  6 on record; data 'gone', now '" in capsys.readouterr().out
    (tmp_path / "elsewhere" / "signals").write_text("1 2 4")
    assert run.main(["--verify", str(made), "-p", f"data={tmp_path / 'elsewhere'}"]) == 1
    seen = capsys.readouterr().out
    assert "NOT reproduced; the data differ" in seen
    assert "data        OTHER  data: tiny " in seen


def test_a_notebook_of_ours_by_the_commands_of_the_page(tmp_path: Path) -> None:
    """explore_cohort, small: made, checked and deposited as docs/share_a_run.md tells."""
    page = commands.of(REPO / "docs" / "share_a_run.md")
    ours = "reports/explore_cohort/demo"

    def do(command: str, *more: str) -> subprocess.CompletedProcess[str]:
        text = command.replace(ours, str(tmp_path / "run")).replace("--to ", f"--to {tmp_path}/")
        words = [sys.executable, *shlex.split(text)[1:], *more]
        done = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    (make,) = (each for each in page if each.endswith("explore_cohort --preset demo"))
    (check_it,) = (each for each in page if f"--verify {ours}" in each)
    (deposit,) = (each for each in page if "ecglib.crate" in each)
    small = ["-p", "records=80", "-p", "compare_with=", "-p", "show=1", "-p", "draws=100", "--cpu-threads", "1"]
    do(make, *small, "--out", str(tmp_path / "run"))
    assert do(check_it).stdout.splitlines()[-1] == "reproduced"
    said = verdict(tmp_path / "run")
    assert said["metrics"]["agree"] == said["metrics"]["rows"] > 10
    assert said["figures"]["count"][0] == said["figures"]["count"][1] > 5
    assert said["figures"]["largest"] == 0
    do(deposit)
    with zipfile.ZipFile(tmp_path / "explore_cohort.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert verify.open_report(tmp_path / "unpacked").rows == results.read(tmp_path / "run").rows


# ---- the command, with what a kernel would leave


def test_another_machine_is_judged_by_intervals(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    new = Path(shutil.copytree(made, tmp_path / "new"))
    change(made, "environment", device="Another CPU", threads=64)
    rows = json.loads((new / "metrics.json").read_text())
    rows[0]["value"], rows[1]["value"], rows[3]["value"] = 0.72, 0.5, 0.88
    (new / "metrics.json").write_text(json.dumps(rows))
    assert check(made, runner=again(new)) == 0
    seen = capsys.readouterr().out
    assert "machine     other  device Another CPU, now " in seen
    assert "threads 64, now none" in seen
    assert "2 of 2 rows with an interval lie in it" in seen
    assert "3 of 4 without one are within 10%" in seen
    assert "a      0.8000 [0.7000, 0.9000]  0.7200  in it" in seen
    rows[0]["value"] = 0.69
    (new / "metrics.json").write_text(json.dumps(rows))
    assert check(made, runner=again(new)) == 1
    assert "0.6900  OUTSIDE" in capsys.readouterr().out


def test_other_packages_are_another_machine(made: Path, tmp_path: Path) -> None:
    new = Path(shutil.copytree(made, tmp_path / "new"))
    packages = results.read(made).record["environment"]["packages"]
    change(made, "environment", packages=packages | {"torch": "1.0"})
    assert check(made, runner=again(new)) == 0
    assert verdict(made)["machine"]["differs"] == [f"torch 1.0, now {packages['torch']}"]


def test_threads_of_the_report_are_used_again(made: Path) -> None:
    change(made, "environment", threads=3)
    check(made, runner=again(made))
    assert again.options.cpu_threads == 3
    check(made, "--cpu-threads", "2", runner=again(made))
    assert again.options.cpu_threads == 2


def test_a_report_in_the_gallery_has_its_figures_in_the_page_alone(made: Path, tmp_path: Path) -> None:
    import gzip

    new = Path(shutil.copytree(made, tmp_path / "new"))
    (made / "executed.ipynb").unlink()
    rows = (made / "metrics.json").read_bytes()
    (made / "metrics.json").unlink()
    (made / "metrics.json.gz").write_bytes(gzip.compress(rows))
    assert check(made, runner=again(new)) == 0
    assert verdict(made)["figures"]["count"] == [2, 2]
    assert verdict(made)["metrics"]["agree"] == 6
    assert not again.options.no_html  # or there is no page to compare with
    (made / "report.html").unlink()
    assert check(made, runner=again(new)) == 0
    assert verdict(made)["figures"] is None


def test_figures_of_another_number_are_named(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = Path(shutil.copytree(made, tmp_path / "new"))
    notebook = nbformat.read(new / "executed.ipynb", as_version=4)
    drawn = next(cell for cell in notebook.cells if len(cell.get("outputs", ())) > 1)
    drawn.outputs.pop()
    nbformat.write(notebook, new / "executed.ipynb")
    assert check(made, runner=again(new)) == 1
    assert "figures: 2 before, 1 now" in capsys.readouterr().out


def test_code_that_changed_is_told_and_does_not_decide(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = Path(shutil.copytree(made, made.with_name("new")))
    record = results.read(made).record
    change(made, "notebook", sha256="0" * 64, cells="0" * 64)
    change(made, "sources", **{name: "0" * 16 for name in list(record["sources"])[:1]})
    assert check(made, runner=again(new)) == 0
    assert verdict(made)["code"]["differs"] == ["notebooks/tiny.ipynb", next(iter(record["sources"]))]
    assert "code        other  notebooks/tiny.ipynb; " in capsys.readouterr().out


def test_a_parameter_that_is_gone_is_told(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = Path(shutil.copytree(made, made.with_name("new")))
    record = results.read(made).record
    del record["parameters"]["names"]
    record["parameters"]["ramp"] = {"value": 0, "source": "notebook"}
    (made / "run.json").write_text(json.dumps(record))
    assert check(made, runner=again(new)) == 0
    said = "parameters  other  6 on record; names is new, as in the notebook; ramp 0, which the notebook has no more"
    assert said in capsys.readouterr().out


def test_only_places_may_be_set(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--verify", str(made), "-p", "scale=0.75"]) == 2
    assert "keeps 'scale' as it was" in capsys.readouterr().err
    assert run.main(["--verify", str(made), "-p", "data=nowhere"]) == 2
    assert "keeps 'data' as it was" in capsys.readouterr().err
    assert check(made, "-p", "progress=bars", "-p", "scale=0.25", "-p", "cache=other") == 0
    assert again.plan.settings.values["progress"] == "bars"
    assert verdict(made)["parameters"]["set"].keys() == {"progress", "cache"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made / "none", "there is no such folder or file"),
        (lambda made: made / "data.json" if (made / "run.json").unlink() is None else None, "holds no run.json"),
        (
            lambda made: (change(made, "parameters", new={"value": 1, "source": "preset"}), made)[1],
            "has no parameter 'new'",
        ),
        (lambda made: (change(made, "parameters", seed={"value": "x"}), made)[1], "parameter 'seed' is 'x'"),
        (lambda made: (change(made, "notebook", path="../x.ipynb"), made)[1], "../x.ipynb is not in this clone"),
        (lambda made: (change(made, "notebook", path="notebooks/x.ipynb"), made)[1], "is not in this clone"),
        (lambda made: ((made / "run.json").write_text("[]"), made)[1], "is not as the runner writes it"),
        (lambda made: ((made / "data.json").write_text("[{}]"), made)[1], "is not as the runner writes it"),
        (lambda made: ((made / "executed.ipynb").write_text("<p>"), made)[1], "executed.ipynb: cannot be read"),
        (lambda made: ((made / "executed.ipynb").write_bytes(b"\xff"), made)[1], "executed.ipynb: cannot be read"),
        (lambda made: ((made / "run.json").write_text('{"status": "complete"}'), made)[1], "not as the runner writes"),
        (lambda made: ((made / "metrics.json").write_text("[{}]"), made)[1], "its metrics.json cannot be compared"),
        (lambda made: ((made / "metrics.json").write_text("[{"), made)[1], "not readable as JSON"),
    ],
)
def test_bad_input_is_one_sentence(made: Path, capsys: pytest.CaptureFixture[str], spoil: Any, said: str) -> None:
    report = spoil(made)
    assert run.main(["--verify", str(report)]) == 2
    seen = capsys.readouterr()
    assert said in seen.err
    assert len(seen.err.splitlines()) == 1
    assert seen.out == ""


def test_a_failed_run_is_not_checked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = results.read(made).record | {"status": "failed"}
    (made / "run.json").write_text(json.dumps(record))
    assert run.main(["--verify", str(made)]) == 2
    assert "its run is failed; only a complete run can be checked" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_beside_needs_out(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify.os, "access", lambda *arguments: False)
    with pytest.raises(InputError, match=r"verify\.json cannot be written there; give a folder .* with --out"):
        check(made)
    assert check(made, "--out", str(made.with_name("new"))) == 0
    assert verdict(made.with_name("new"))["reproduced"]


def test_a_full_disk_does_not_take_the_verdict(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, value: Any) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(verify.atomic, "write_json", full)
    with pytest.raises(InputError, match="the disk is full"):
        check(made)
    assert capsys.readouterr().out.endswith("reproduced\n")


def test_the_report_is_not_run_over(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--verify", str(made), "--out", str(made / ".." / "made")]) == 2
    assert "this is the report itself" in capsys.readouterr().err
    assert (made / "run.json").is_file()


@pytest.mark.parametrize("words", [["tiny", "--verify", "x"], ["--verify", "x", "--preset", "demo"]])
def test_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main(words)
    assert caught.value.code == 2


def test_a_stopped_run_gives_no_verdict_and_its_status(made: Path) -> None:
    assert check(made, runner=lambda plan, options: 143) == 143
    assert not (made / "verify.json").exists()


@pytest.mark.parametrize(
    "place", sorted((REPO / "reports" / "gallery").glob("*/run.json")), ids=lambda p: p.parent.name
)
def test_the_gallery_can_be_checked(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(REPO)
    old = verify.open_report(place)
    plan, changed = verify.plan_again(old, run._options(["--verify", str(place)]), tmp_path / "run")
    kept = {name: value for name, value in old.parameters.items() if name != "out" and name not in changed["gone"]}
    assert {name: plan.settings.values[name] for name in kept} == kept
    assert changed["count"] == len(kept) + len(changed["gone"])
    assert len(agreement.pictures(place.parent, "report.html")) > 5
    whole = agreement.metrics(old.rows, old.rows, same_machine=False)
    assert whole["ok"]
    assert whole["inside"]["agree"] == whole["inside"]["rows"] > 20  # also where an interval leaves its own value out
    assert bool(whole["headline"]) == any(row["split"] == "test" for row in old.rows), "a cohort alone has none"


# ---- what agrees


def row(model: str = "m", value: float | None = 0.5, low: float | None = 0.4, high: float | None = 0.6, **more: Any):
    usual = {"protocol": "p", "data": "d", "split": "test", "metric": "auc", "class": "macro", "seed": None, "n": 9}
    return {"model": model, "value": value, "low": low, "high": high, **usual, **more}


@pytest.mark.parametrize(
    ("old", "new", "same", "elsewhere"),
    [
        (row(), row(), True, True),
        (row(), row(value=0.5 + 1e-15), False, True),
        (row(), row(low=0.41), False, True),
        (row(), row(value=0.6), False, True),
        (row(), row(value=0.61), False, False),
        (row(value=0.7), row(value=0.65), False, True),  # an interval that leaves its own value out
        (row(value=0.7), row(value=0.71), False, False),
        (row(value=None, low=None, high=None), row(value=None, low=None, high=None), True, True),
        (row(value=None, low=None, high=None), row(value=0.5, low=None, high=None), False, False),
        (row(), row(value=None, low=None, high=None), False, False),
        (row(low=None, high=None), row(value=0.549, low=None, high=None), False, True),
        (row(low=None, high=None), row(value=0.551, low=None, high=None), False, False),
        (row(value=-1.0, low=None, high=None), row(value=-0.91, low=None, high=None), False, True),
        (row(value=0.0, low=None, high=None), row(value=0.0, low=None, high=None), True, True),
    ],
)
def test_a_row_agrees(old: dict, new: dict, same: bool, elsewhere: bool) -> None:
    assert agreement.agrees(old, new, same_machine=True) is same
    assert agreement.agrees(old, new, same_machine=False) is elsewhere


def test_elsewhere_a_quarter_may_lie_outside_but_no_headline() -> None:
    old = [row(**{"class": f"c{number}"}) for number in range(38)] + [row("a"), row("b")]
    new = [dict(each) for each in old]
    for each in new[:10]:
        each["value"] = 0.9
    assert agreement.metrics(old, new, same_machine=False)["ok"]
    new[10]["value"] = 0.9
    assert not agreement.metrics(old, new, same_machine=False)["ok"]
    new = [*(dict(each) for each in old[:39]), old[39] | {"value": 0.9}]
    found = agreement.metrics(old, new, same_machine=False)
    assert not found["ok"]
    assert [(each["model"], each["ok"]) for each in found["headline"]] == [("a", True), ("b", False)]


def test_numbers_that_had_to_be_equal_are_judged_by_the_other_rule_too() -> None:
    old = [row("a"), row("b")]
    new = [row("a", 0.51), row("b")]
    assert "ok_elsewhere" not in agreement.metrics(old, old, same_machine=True)
    found = agreement.metrics(old, new, same_machine=True)
    assert (found["ok"], found["ok_elsewhere"]) == (False, True)
    found = agreement.metrics(old, [row("a", 0.7), row("b")], same_machine=True)
    assert (found["ok"], found["ok_elsewhere"]) == (False, False)


def test_without_any_interval_all_rows_decide() -> None:
    old = [row(f"m{number}", low=None, high=None, split="valid") for number in range(40)]
    new = [dict(each) for each in old]
    assert agreement.metrics(old, new, same_machine=False)["ok"]
    new[0]["value"] = 0.9
    assert not agreement.metrics(old, new, same_machine=False)["ok"]


def test_headline_rows_are_one_metric_of_one_protocol() -> None:
    rows = [
        row("a", split="valid"),
        row("a - b"),
        row("a", **{"class": "MI"}),
        row("a", value=None, low=None, high=None, metric="odd"),
        row("a"),
        row("b"),
        row("b", metric="f1"),
        row("b", protocol="other"),
        row("b", seed=1),
    ]
    assert agreement.headline_rows(rows) == [rows[4], rows[5]]
    assert agreement.headline_rows(rows[:4]) == []


few = st.lists(
    st.builds(row, st.sampled_from("abc"), st.sampled_from([0.1, 0.2]), seed=st.sampled_from([0, 1])), max_size=8
)


@given(few, few)
@settings(max_examples=60, deadline=None)
def test_rows_are_matched_by_their_keys(old: list[dict], new: list[dict]) -> None:
    pairs, missing, extra = agreement.match(old, new)
    left = list(new)
    slow_pairs, slow_missing = [], []
    for one in old:
        other = next((each for each in left if all(each[key] == one[key] for key in agreement.KEYS)), None)
        if other is None:
            slow_missing.append(one)
        else:
            left = [each for each in left if each is not other]
            slow_pairs.append((one, other))
    assert pairs == slow_pairs
    assert missing == slow_missing
    assert sorted(map(str, extra)) == sorted(map(str, left))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def test_pixels_are_compared() -> None:
    generator = np.random.default_rng(0)
    was = generator.integers(0, 256, (7, 9, 3), np.uint8)
    now = was.copy()
    now[generator.random((7, 9)) < 0.3] ^= 63
    now[0, 0] = was[0, 0] ^ np.uint8(1)
    slow = 0
    for y in range(7):
        for x in range(9):
            slow += any(abs(int(was[y, x, c]) - int(now[y, x, c])) > agreement.LEVELS for c in range(3))
    assert 0 < slow < 63
    assert agreement.difference(png(was), png(now)) == pytest.approx(slow / 63)
    assert agreement.difference(png(was), png(was)) == 0
    assert agreement.difference(png(was), png(was[:, :5])) == "it was 9 x 7 pixels and is 5 x 7"
    assert agreement.difference(png(was), png(was)[:60]) == "it cannot be read as a picture"
    assert agreement.difference(png(was), b"") == "it cannot be read as a picture"


def test_pictures_are_read_from_a_page(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"picture").decode()
    page = f'<p><img alt="a &lt;b&gt;" src="data:image/png;base64,{encoded}" width="3"><img src="x.png">'
    page += f'<img src="data:image/svg+xml;base64,{encoded}"><img src="data:image/jpeg;base64,{encoded}"/>'
    page += '<img src="data:image/png;base64,abc">'
    (tmp_path / "report.html").write_text(page)
    assert agreement.pictures(tmp_path, "report.html") == [(b"picture", "a <b>"), (b"picture", ""), (b"", "")]


def test_figures_elsewhere_may_differ_more() -> None:
    was = np.full((100, 100, 3), 255, np.uint8)
    now = was.copy()
    now[:2] = 0
    pair = [(png(was), "x")], [(png(now), "x")]
    assert not agreement.figures(*pair, same_machine=True)["ok"]
    assert agreement.figures(*pair, same_machine=False)["ok"]
    assert agreement.figures(*pair, same_machine=False)["largest"] == 0.02


def test_data_are_the_same_by_fingerprint() -> None:
    entry = {"role": "data", "name": "old name", "fingerprint": "f" * 64, "records": 3, "counts": {"test": 1}}
    assert agreement.data([entry], [entry | {"name": "new name", "notes": ["x"]}]) == []
    assert agreement.data([entry], [entry | {"fingerprint": "0" * 64}]) == [
        "data: old name ffffffffffff, 3 records now data: old name 000000000000, 3 records"
    ]
    assert agreement.data([entry], []) == ["data: old name ffffffffffff, 3 records now none"]
    assert len(agreement.data([entry], [entry, entry])) == 1
    assert len(agreement.data([entry], [entry | {"counts": {"test": 2}}])) == 1
