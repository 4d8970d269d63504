"""The command, with a tiny repository made here; one kernel start per outcome."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bs4
import nbformat
import pytest
from nbformat import v4

from ecglib import index, plan, provenance, report, results, run, staleness

PARAMETERS = """\
from typing import Literal

mode: Literal["ok", "error", "input", "exit", "die", "hang"] = "ok"  # how the run is to end
rate: int = 100  # Hz
weight: float = 0.5  # of the loss
data: str = "synthetic"  # where the records lie
seed: int = 0  # of all that is drawn
out: str = "reports/tiny/manual"  # where the run leaves its results
"""
START = """\
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from IPython import get_ipython
from ecglib import results
from ecglib.errors import InputError

run = results.Run(out)
class Cohort(list):
    info = SimpleNamespace(name="synthetic", fingerprint="0123456789abcdef", licence="CC0", citation="Nobody (2020)")
run.data(Cohort("abc"), "all of it")
kernel = get_ipython().kernel
print(kernel.parent.transport, Path.cwd() == results.root(), os.environ["PYTHONHASHSEED"], rate, weight, flush=True)
print(os.environ["CUBLAS_WORKSPACE_CONFIG"], os.environ.get("OMP_NUM_THREADS"), file=sys.stderr, flush=True)
for i in range(3):
    print("epoch", i, flush=True)
    time.sleep(0.02)
print("resumed" if (run.checkpoint("model") / "state").exists() else "from the start")
(run.checkpoint("model") / "state").touch()
"""
END = """\
if mode == "error":
    raise RuntimeError("loss is NaN")
if mode == "input":
    raise InputError("nowhere: there is no such folder; give another")
if mode == "exit":
    sys.exit(0)
if mode == "die":
    os._exit(0)
if mode == "hang":
    print("hanging", flush=True)
    time.sleep(60)
"""
LAST = """\
row = dict(model="m", protocol="p", data="synthetic", split="test", metric="auc", seed=0, n=3)
run.metrics([{**row, "class": "macro", "value": 0.8, "low": 0.7, "high": 0.9}])
run.finish()
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    (root / "params" / "tiny").mkdir(parents=True)
    (root / "params" / "tiny" / "smoke.yaml").write_text("weight: 1e-4  # small\n")
    markdown, code = v4.new_markdown_cell, v4.new_code_cell
    cells = [
        markdown("# A tiny notebook"),
        code(PARAMETERS, metadata={"tags": ["parameters"]}),
        markdown("## The start"),
        code(START),
        markdown("## The end"),
        code(END),
        code(LAST),
    ]
    metadata = {"kernelspec": {"name": "no-such-kernel", "display_name": "x", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), root / "notebooks" / "tiny.ipynb")
    return root


@pytest.fixture
def at_root(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository)
    return repository


def outputs(folder: Path) -> list[Any]:
    notebook = nbformat.read(folder / "executed.ipynb", as_version=4)
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "ecglib.run", str(root / "notebooks" / "tiny.ipynb"), *arguments]


def test_a_run_leaves_everything_and_run_json_says_so(at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["tiny", "--preset", "smoke", "-p", "rate=250", "--cpu-threads", "1"]) == 0
    folder = at_root / "reports" / "tiny" / "smoke+rate=250"
    seen = capsys.readouterr()
    assert seen.out.strip().endswith("reports/tiny/smoke+rate=250/report.html")
    assert "    epoch 2\n" in seen.err  # a person sees the kernel's lines as they come
    assert "The end" in seen.err

    record = results.read(folder).record
    assert record["status"] == "complete"
    assert record["parameters"]["weight"] | {"meaning": ""} == {
        "value": 1e-4,
        "source": "preset",
        "notebook": 0.5,
        "meaning": "",
    }
    assert record["parameters"]["rate"]["source"] == "command line"
    assert record["parameters"]["mode"]["source"] == "notebook"
    assert record["seeds"] == {"seed": 0}
    assert record["command"] == "python -m ecglib.run tiny --preset smoke -p rate=250 --cpu-threads 1"
    assert record["environment"]["peak_mib"] > 10
    failing = [check["name"] for check in record["checks"] if check["ok"] is False]
    assert failing == ["Code committed", "Environment"]  # neither git nor lock here

    streams = {output.name: output.text for output in outputs(folder) if output.output_type == "stream"}
    assert streams["stdout"].splitlines() == [
        "ipc True 0 250 0.0001",
        "epoch 0",
        "epoch 1",
        "epoch 2",
        "from the start",
    ]
    assert streams["stderr"] == ":4096:8 1\n"
    assert len(outputs(folder)) == 2  # one stream per cell and name

    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["data.json", "executed.ipynb", "metrics.json", "report.html", "run.json", "started.json"]
    )
    for path in folder.iterdir():
        assert str(at_root) not in path.read_text()
    page = (folder / "report.html").read_text()
    assert "Nobody (2020)" in page
    assert "✓ complete" in page
    assert "auc .800 [.700, .900]" in (at_root / "reports" / "index.html").read_text()
    assert {"ecglib/results.py", "ecglib/provenance.py"} <= record["sources"].keys()
    assert "ecglib/training.py" not in record["sources"]  # the notebook never loaded it
    assert record["sources"]["ecglib/results.py"] == provenance.sources(at_root)["ecglib/results.py"]
    assert "jupyter-core" not in record["environment"]["imported"]
    assert staleness.reasons(results.read(folder), at_root) == []


@pytest.mark.parametrize(
    ("mode", "status", "reason", "said"),
    [
        ("error", 1, "RuntimeError: loss is NaN", "failed in cell 4 (The end): RuntimeError: loss is NaN"),
        ("exit", 1, "the notebook left early by sys.exit", "left early"),
        ("die", 1, "the kernel died", "the kernel died"),
        ("input", 2, "nowhere: there is no such folder", "error: nowhere: there is no such folder; give another\n"),
    ],
)
def test_a_run_that_does_not_end_well_is_not_green(
    at_root: Path, capsys: pytest.CaptureFixture[str], mode: str, status: int, reason: str, said: str
) -> None:
    folder = at_root / "reports" / mode
    folder.mkdir(parents=True)
    for name in ("run.json", "metrics.json"):  # of an earlier run
        (folder / name).write_text('{"status": "complete", "notebook": {"name": "tiny"}, "parameters": {}}')
    assert run.main(["tiny", "-p", f"mode={mode}", "--out", str(folder)]) == status
    seen = capsys.readouterr()
    assert seen.out == ""
    assert said in seen.err
    assert "Traceback" not in seen.err
    record = results.read(folder).record
    assert record["status"] == "failed"
    assert record["reason"].startswith(reason)
    assert record["cell"] == {"number": 4, "heading": "The end"}
    assert not (folder / "metrics.json").exists()
    assert "This run failed." in (folder / "report.html").read_text()


def test_a_magic_that_fails_without_a_word_is_found_out(at_root: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(at_root / "notebooks" / "tiny.ipynb", as_version=4)
    notebook.cells[5].source = "%no_such_magic"
    nbformat.write(notebook, at_root / "bad.ipynb")
    assert run.main(["./bad.ipynb", "--out", str(tmp_path / "out"), "--no-html"]) == 1
    record = results.read(tmp_path / "out").record
    assert record["status"] == "failed"
    assert record["reason"] == "the cell failed or did not run, without an error message"
    assert record["cell"]["number"] == 4
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_page_that_cannot_be_rendered_is_a_failure_with_its_results(
    at_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> str:
        raise KeyError("template")

    monkeypatch.setattr(report, "render", broken)
    assert run.main(["tiny", "--out", str(tmp_path / "out")]) == 1
    read = results.read(tmp_path / "out")
    assert (read.status, read.record["reason"]) == ("failed", "the page could not be rendered (KeyError: 'template')")
    assert len(read.metrics) == 1
    assert "KeyError" in capsys.readouterr().err


def wait_for(path: Path, text: str, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 60
    while text not in path.read_text():
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_stopped_run_is_reported_locked_meanwhile_and_resumed(
    at_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, log = at_root / "reports" / "tiny" / "stopped", tmp_path / "log"
    arguments = ["-p", "mode=hang", "--out", str(folder)]
    with open(log, "w") as file:
        process = subprocess.Popen(command(at_root, *arguments), stderr=file, text=True, cwd=at_root)
        wait_for(log, "hanging", process)
        assert run.main(["tiny", "--out", str(folder)]) == 2
        assert "another run is writing there" in capsys.readouterr().err
        assert report.main([str(folder)]) == 2
        assert "its run is still at work" in capsys.readouterr().err
        assert "… running" in index.write(at_root / "reports").read_text()
        assert not (folder / "report.html").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    record = results.read(folder).record
    assert (record["status"], record["reason"]) == ("interrupted", "the run was stopped by SIGTERM")
    assert record["cell"] == {"number": 4, "heading": "The end"}
    assert "This run was interrupted." in (folder / "report.html").read_text()
    assert "destroyed but it is pending" not in log.read_text()

    # the same again goes on from the checkpoint; this one is killed outright, and is not green either
    with open(log, "w") as file:
        process = subprocess.Popen(command(at_root, *arguments), stderr=file, text=True, cwd=at_root)
        wait_for(log, "hanging", process)
        process.kill()
        process.wait(timeout=60)
    assert "going on from the checkpoints" in log.read_text()
    assert "    resumed\n" in log.read_text()
    assert not (folder / "run.json").exists()
    assert not (folder / "report.html").exists()
    assert results.read(folder).status == "unfinished"
    page = bs4.BeautifulSoup(index.write(at_root / "reports").read_text(), "html.parser")
    row = page.find("a", string="tiny / stopped").find_parent("tr")
    assert "✗ not finished" in row.get_text()
    assert "In cell 4, “The end”: Its process ended before it could say why" in row.get_text()
    page = bs4.BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    assert page.h1.get_text() == "A tiny notebook"
    banner = page.main.find(role="alert")
    assert "This run did not finish." in banner.get_text()
    assert banner.a["href"] == "#cell-4"
    assert 'if mode == "error"' in page.select_one("#cell-4[data-failed]").get_text()
    assert "ended here" in page.select_one("#cell-4").get_text()

    # other parameters: nothing to go on from; and a time-out is a failure
    assert run.main(["tiny", "-p", "mode=hang", "-p", "rate=1", "--out", str(folder), "--timeout", "3"]) == 1
    assert "    from the start\n" in capsys.readouterr().err
    record = results.read(folder).record
    assert (record["status"], record["reason"]) == ("failed", "the notebook took longer than 3 s (--timeout)")


def test_full_disk_is_bad_input_and_leaves_no_mark(at_root: Path, tmp_path: Path) -> None:
    def limit() -> None:  # the files of the run fit, until the executed notebook
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    done = subprocess.run(
        command(at_root, "--out", str(tmp_path / "out")),
        capture_output=True,
        text=True,
        preexec_fn=limit,
        cwd=at_root,
    )
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "run.json").exists()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "no notebooks/tinny.ipynb. Did you mean 'tiny'?"),
        (["none/x.ipynb"], "none/x.ipynb: there is no such .ipynb"),
        (["tiny", "--preset", "smok"], "no such preset in params/tiny. Did you mean 'smoke'?"),
        (["tiny", "-p", "rat=1"], "tiny has no parameter 'rat'. Did you mean 'rate'?"),
        (["tiny", "-p", "rate=high"], "'high', but it must be a whole number"),
        (["tiny", "-p", "mode=okay"], "Did you mean 'ok'?"),
        (["tiny", "-p", "out=x"], "'out' is set by --out"),
        (["tiny", "--out", "."], "a report cannot go into the repository's root"),
        (["tiny", "--out", "notebooks"], "holds other files (tiny.ipynb)"),
    ],
)
def test_bad_input_is_one_sentence(
    at_root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run.main(arguments) == 2
    seen = capsys.readouterr()
    assert message in seen.err
    assert len(seen.err.splitlines()) == 1
    assert not (at_root / "notebooks" / "started.json").exists()


def test_bad_input_comes_back_before_anything_heavy_is_loaded(at_root: Path) -> None:
    program = (
        "import sys; from ecglib import run; status = run.main(['tiny', '--preset', 'smok'])\n"
        "heavy = {'torch', 'numpy', 'pandas', 'papermill', 'nbformat', 'jupyter_client', 'pydantic'}\n"
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=at_root)
    assert done.stdout == "2 []\n"


def test_lists_are_printed(at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    assert "tiny: smoke\n" in capsys.readouterr().out
    assert run.main(["tiny", "--list"]) == 0
    assert "  rate = 100, a whole number: Hz\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["tiny", "--timeout", "0"], ["tiny", "--cpu-threads", "two"]])
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("preset", "overrides", "folder"),
    [
        ("demo", [], "reports/n/demo"),
        (None, [], "reports/n/default"),
        ("ptb_xl", ["data=../ptb-xl"], "reports/n/ptb_xl"),
        ("demo", ["seed=1", "leads=[I, II]"], "reports/n/demo+leads=_I_II_+seed=1"),
        ("demo", ["source=../../x"], "reports/n/demo+source=.._.._x"),
    ],
)
def test_folder_of_a_report(preset: str | None, overrides: list[str], folder: str) -> None:
    assert plan.default_out("n", preset, overrides) == folder
    assert plan.default_out("n", preset, overrides[::-1]) == folder


def test_folder_of_a_report_with_long_values_is_short_and_its_own() -> None:
    names = {plan.default_out("n", "demo", [f"text={'x' * 300}{i}"]) for i in range(3)}
    assert len(names) == 3
    assert all(len(os.path.basename(name)) < 100 for name in names)


def test_paths_are_recorded_as_seen_from_the_root(at_root: Path) -> None:
    (at_root / "records").mkdir()
    options = run._options(["tiny", "-p", f"data={at_root / 'records'}", "--out", str(at_root / "a" / "b")])
    made = plan.make_plan(options)
    assert made.settings.values["data"] == "records"
    assert made.settings.values["out"] == "a/b"
    assert made.command == "python -m ecglib.run tiny -p data=records --out a/b"
    assert json.loads(json.dumps(made.settings.values)) == made.settings.values


def test_paths_in_a_list_are_too(at_root: Path) -> None:
    for name in ("one", "two"):
        (at_root / name).mkdir()
    override = f"unlabelled=[{at_root / 'one'}, '{at_root / 'two'}', /no/such/folder]"
    assert run._portable_list(override, "tiny") == 'unlabelled=["one", "two", "/no/such/folder"]'
    for other in ("seeds=[0, 1]", "text=a [b]", "unlabelled=[open", f"data={at_root / 'one'}"):
        assert run._portable_list(other, "tiny") == other
