"""Runs a notebook with checked parameters and leaves a report.

    python -m ecglib.run lead_kd --preset demo
    python -m ecglib.run lead_kd --preset ptb_xl -p data=../ptb-xl -p 'seeds=[1]' --out reports/lead_kd/second_seed
    python -m ecglib.run lead_kd --list          the parameters and presets of a notebook
    python -m ecglib.run --verify reports/lead_kd/demo      runs a report's notebook again: is it the same? see `verify`

    torchrun --nproc-per-node 4 -m ecglib.run lead_kd --preset paper      one run on four ranks, see docs/many_gpus.md

Exit status: 0 the notebook is complete, 1 it failed, 2 bad input, 128 + n stopped by signal n. The report goes to
reports/NOTEBOOK/PRESET; each further `-p name=value` adds "+name=value" to the folder's name, but for `data`, which
says where the records lie. An interrupted or failed run leaves a report that says so, and its checkpoints: the same
command goes on from them. Paths in parameters hold from the repository's root.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib import atomic, inuse, parameters, provenance, ranks, results, yaml12
from ecglib.errors import InputError
from ecglib.plan import Plan, find_notebook, make_plan

if TYPE_CHECKING:
    from ecglib.company import Company

FORMAT = 1
STOPPED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
VERDICT = "verify.json"
RANKS = "ranks"  # in a run's folder: one for each rank but the first, kept where its notebook failed
_PAGES = {"report.html", "executed.ipynb"}
_OURS = {"run.json", "started.json", VERDICT, RANKS, results.CHECKPOINTS, *_PAGES, *results.MADE_HERE}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    options = _options(arguments)
    try:
        with _signals():
            if options.list:
                return _list(options.notebook)
            if options.verify:
                if ranks.world() > 1:
                    raise InputError("--verify runs on one rank; start it without torchrun")
                from ecglib import verify

                return verify.verify(options, run)
            options.overrides = [_portable_list(override, options.notebook) for override in options.overrides]
            return run(make_plan(options), options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... --list | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as interruption:  # outside the notebook's execution, which reports for itself
        print("error: stopped; nothing is marked complete", file=sys.stderr)
        return 128 + (interruption.args[0] if interruption.args else signal.SIGINT)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ecglib.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", nargs="?", help="a name under notebooks/, or the path of an .ipynb")
    parser.add_argument("--preset", help="a name under params/NOTEBOOK/")
    parser.add_argument(
        "-p", dest="overrides", metavar="NAME=VALUE", action="append", default=[], help="set a parameter"
    )
    parser.add_argument("--out", type=Path, help="the folder of the report (default: see above)")
    parser.add_argument("--cpu-threads", type=_positive, metavar="N", help="threads of torch and BLAS in the kernel")
    parser.add_argument("--timeout", type=_positive, metavar="S", help="stop after S seconds and call it a failure")
    parser.add_argument("--no-html", action="store_true", help="leave out report.html")
    parser.add_argument("--list", action="store_true", help="list notebooks and presets, or one notebook's parameters")
    parser.add_argument("--verify", type=Path, metavar="REPORT", help="run a report again and compare (a run's folder)")
    options = parser.parse_args(arguments)
    if options.verify and (options.notebook or options.preset or options.list):
        parser.error("--verify takes notebook and preset from the report; leave them out")
    if options.notebook is None and not options.list and not options.verify:
        parser.error("name a notebook, or give --list to see which there are")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _portable_list(override: str, notebook: str) -> str:
    """``name=[/whole/path, ...]`` with its paths as seen from the root; see `provenance.portable`, for a single one."""
    name, equals, text = override.partition("=")
    if not text.lstrip().startswith("["):
        return override
    try:
        values = yaml12.loads(text, shown=f"-p {override}")
    except InputError:
        return override  # said where parameters are checked
    root, _ = find_notebook(notebook)
    found = [provenance.portable(value, root) if isinstance(value, str) else value for value in values]
    return override if found == values else f"{name}{equals}{json.dumps(found, ensure_ascii=False)}"


def _list(name: str | None) -> int:
    if name is None:
        root = results.root()
        for path in sorted((root / "notebooks").glob("*.ipynb")):
            print(f"{path.stem}: {' '.join(parameters.preset_names(root, path.stem)) or 'no presets'}")
        return 0
    root, notebook = find_notebook(name)
    schema = parameters.read_schema(notebook, shown=os.path.relpath(notebook, root))
    print(f"{schema.notebook}: presets {' '.join(parameters.preset_names(root, schema.notebook)) or '(none)'}")
    for parameter in schema.values():
        print(f"  {parameter.name} = {parameter.default!r}, {parameters.describe(parameter.kind)}: {parameter.meaning}")
    return 0


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Executes the plan in its folder, and leaves executed.ipynb, report.html and, last, run.json."""
    if ranks.world() == 1:
        return _run(plan, options, None)
    from ecglib.company import Company

    company = Company()
    if company.rank:
        return _follow(plan, options, company)
    try:
        return _run(plan, options, company)
    finally:
        company.bye()


def _run(plan: Plan, options: argparse.Namespace, company: Company | None) -> int:
    with _exclusive(plan):
        _make_room(plan)
        record = _started(plan)
        sources = provenance.sources(plan.root)
        atomic.write_json(plan.out / "started.json", record)
        print(f"{plan.name}, {plan.preset or 'no preset'} → {plan.shown(plan.out)}", file=sys.stderr)
        if company is not None:
            company.go()
        outcome, seconds = _execute(plan, record, options, company)
        if company is not None:
            record["ranks"] = {"world": company.world, "hosts": company.hosts, "ended_it": _hear(company, outcome)}
        record |= {"sources": sources} | _ended(record, outcome, seconds)
        _leave(plan, record, outcome.notebook, html=not options.no_html)
    return _say(plan, record, outcome)


def _hear(company: Company, outcome: Any) -> list[dict[str, Any]]:
    """Waits for the other ranks; their errors go into `outcome` and, with their tracebacks, into its notebook."""
    _, words = company.verdict(outcome)
    for word in words:
        if outcome.notebook is not None and word.cell is not None and word.traceback:
            from nbformat import v4

            shown = [f"rank {word.rank} on {word.host}:", *word.traceback]
            output = v4.new_output("error", ename=f"rank {word.rank}", evalue=word.reason or "", traceback=shown)
            outcome.notebook.cells[word.cell].outputs.append(output)
    return [{name: getattr(word, name) for name in ("rank", "host", "status", "reason")} for word in words]


def _follow(plan: Plan, options: argparse.Namespace, company: Company) -> int:
    """Every rank but the first: the same notebook in a folder of its own, which goes when all went well."""
    if not company.may_go():
        return 2  # why is said by rank 0
    own = plan.out / RANKS / str(company.rank)
    atomic.remove(own)
    plan.settings.values["out"] = os.path.relpath(own, plan.root)
    outcome, _ = _execute(plan, None, options, company)
    if outcome.status == "complete":
        atomic.remove(own)
        with contextlib.suppress(OSError):  # another rank's is still there
            own.parent.rmdir()
    elif outcome.notebook is not None:
        with contextlib.suppress(InputError):  # a full disk: what matters is said to rank 0
            save_notebook(plan, outcome.notebook, own)
    cell = None if outcome.cell is None else outcome.notebook.cells[outcome.cell]
    errors = [] if cell is None else [each for each in cell.outputs if each.output_type == "error"]
    company.leave(outcome, errors[0].traceback if errors else ())
    if outcome.status == "complete":
        return 0
    print(f"rank {company.rank} ({company.host}): {outcome.reason}", file=sys.stderr)
    return 1 if outcome.signal in (None, company.STOP) else 128 + outcome.signal


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise Interrupted once; a second one ends the process as it always does."""
    from ecglib.execution import Interrupted

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in STOPPED}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # nohup
                signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _exclusive(plan: Plan) -> Iterator[None]:
    """Holds the folder against a second run into it; the lock goes with its process, however that ends."""
    with inuse.holding(plan.out) as ours:
        if not ours:
            raise InputError(
                f"--out {plan.shown(plan.out)}: another run is writing there; wait for it, or give another folder"
            )
        yield


def _make_room(plan: Plan) -> None:
    """Clears an earlier run's leavings; its checkpoints, if it did not get to its end, stay for the same parameters."""
    there = {path.name for path in plan.out.iterdir() if not path.name.startswith(".")}
    if there - _OURS and not there & {"run.json", "started.json"}:
        other = sorted(there - _OURS)[0]
        raise InputError(f"--out {plan.shown(plan.out)}: holds other files ({other}); give an empty or a new folder")
    before = results.read(plan.out) if there & {"run.json", "started.json"} else None
    # A complete run has no checkpoints, unless it was cut off between its mark and their removal.
    resume = before is not None and before.parameters == plan.settings.values
    if resume and (plan.out / results.CHECKPOINTS).is_dir():
        print("going on from the checkpoints of the run that was cut short", file=sys.stderr)
    for name in (VERDICT, RANKS):  # it judged the results that go
        atomic.remove(plan.out / name)
    results.clear(plan.out, checkpoints=not resume)


def _started(plan: Plan) -> dict[str, Any]:
    """What is known before the kernel starts."""
    values, sources, schema = plan.settings.values, plan.settings.sources, plan.settings.schema
    entries = {
        name: {
            "value": value,
            "source": sources.get(name, "notebook"),
            "notebook": schema[name].default,
            "meaning": schema[name].meaning,
        }
        for name, value in values.items()
    }
    notebook = {"name": plan.name, "path": plan.shown(plan.notebook), "sha256": provenance.sha256(plan.notebook)}
    return {
        "format": FORMAT,
        "notebook": notebook | {"cells": provenance.cells_digest(plan.notebook)},
        "preset": plan.preset,
        "parameters": entries,
        "seeds": {name: values[name] for name in ("seed", "seeds") if values.get(name) not in (None, [])},
        "git": provenance.git_state(plan.root),
        "environment": provenance.environment(plan.root),
        "command": plan.command,
        "started": _now(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _execute(
    plan: Plan, record: dict[str, Any] | None, options: argparse.Namespace, company: Company | None
) -> tuple[Any, float]:
    """How the notebook ended, and in how many seconds; no `record` is a rank that keeps none and says nothing."""
    from ecglib import execution

    class Progress(execution.Progress):
        """Keeps in started.json which cell runs: all that is known of it if this process is killed."""

        number, heading = 0, None

        def cell_started(self, heading: str | None) -> None:
            super().cell_started(heading)
            self.number, self.heading = self.number + 1, heading or self.heading
            with contextlib.suppress(InputError):  # a full disk is said by whoever writes a result
                note = {"cell": {"number": self.number, "heading": self.heading}}
                atomic.write_json(plan.out / "started.json", record | note)

    environment = {"OMP_NUM_THREADS": str(options.cpu_threads), "MKL_NUM_THREADS": str(options.cpu_threads)}
    started = time.monotonic()
    silent = execution.Progress(lambda text: None)
    with company.watching() if company is not None else contextlib.nullcontext():
        outcome = execution.execute(
            plan.notebook,
            {**plan.settings.changed(), "out": plan.settings.values["out"]},
            root=plan.root,
            progress=silent if record is None else Progress(sys.stderr.write),
            save=(lambda notebook: None) if record is None else (lambda notebook: save_notebook(plan, notebook)),
            environment=environment if options.cpu_threads else {},
            timeout=options.timeout,
        )
    return outcome, time.monotonic() - started


def save_notebook(plan: Plan, notebook: Any, folder: Path | None = None) -> None:
    """Writes executed.ipynb (into the run's folder), with the paths that papermill noted as seen from the root."""
    import nbformat

    notebook.metadata.get("papermill", {}).update(input_path=plan.shown(plan.notebook), output_path="executed.ipynb")
    with atomic.writing((folder or plan.out) / "executed.ipynb") as temporary:
        temporary.write_text(nbformat.writes(notebook), encoding="utf-8")


def _ended(record: dict[str, Any], outcome: Any, seconds: float) -> dict[str, Any]:
    """What is known when the kernel is gone; `cell` counts code cells from 1, as the report and the terminal do."""
    from ecglib.execution import headings_before_code

    cell = None
    if outcome.cell is not None:
        headings = headings_before_code(outcome.notebook.cells)
        above = [text for index, text in headings.items() if index <= outcome.cell and text]
        cell = {"number": list(headings).index(outcome.cell) + 1, "heading": above[-1] if above else None}
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "cell": cell,
        "ended": _now(),
        "duration_s": round(seconds, 1),
    }


def _leave(plan: Plan, record: dict[str, Any], notebook: Any, *, html: bool) -> None:
    """Everything a run leaves behind, run.json last."""
    from ecglib import checks, index

    measured = plan.out / "environment.json"
    if measured.is_file():  # what the kernel said of its device; part of run.json from here on
        record["environment"] |= json.loads(measured.read_text())
        measured.unlink()
    if used := record["environment"].pop("modules", None):  # without it the run did not get to its end: all may count
        record["sources"] = {name: digest for name, digest in record["sources"].items() if name in used}
    if notebook is not None:
        provenance.scrub(notebook, plan.root)
        save_notebook(plan, notebook)
        record["checks"] = checks.reproducibility(record, plan.out, notebook)
    with _page(plan, record, notebook if html else None):
        atomic.write_json(plan.out / "run.json", record)
    if record["status"] == "complete":
        results.clear_checkpoints(plan.out)
    if plan.out.parent.parent == plan.root / "reports":
        index.write(plan.root / "reports")


@contextlib.contextmanager
def _page(plan: Plan, record: dict[str, Any], notebook: Any) -> Iterator[None]:
    """report.html, whole under a temporary name before the block and in its place behind it: a green page has its mark.

    Where our own template breaks, the run is on record as failed, with all it computed still there.
    """
    from ecglib import report

    html = None
    try:
        html = None if notebook is None else report.render(record, notebook, results.RunRecord(plan.out, record).data)
    except InputError:
        raise
    except Exception as error:
        traceback.print_exc()
        record |= {"status": "failed", "reason": f"the page could not be rendered ({type(error).__name__}: {error})"}
    if html is None:
        yield
        return
    with atomic.writing(plan.out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
        atomic.sync(temporary)
        yield


def _say(plan: Plan, record: dict[str, Any], outcome: Any) -> int:
    """The last word at the terminal, and the exit status."""
    from ecglib.checks import duration

    pages = [page for page in (plan.out / "report.html", plan.out / "executed.ipynb") if page.exists()]
    if record["status"] == "complete":
        print(f"complete in {duration(record['duration_s'])}: {plan.shown(pages[0])}")
        return 0
    if outcome.bad_input:
        print(f"error: {record['reason']}", file=sys.stderr)
        return 2
    where = f" in cell {record['cell']['number']}" if record["cell"] else ""
    where += f" ({record['cell']['heading']})" if record["cell"] and record["cell"]["heading"] else ""
    print(f"{record['status']}{where}: {record['reason']}", file=sys.stderr)
    if pages:
        print(f"what there is: {plan.shown(pages[0])}", file=sys.stderr)
    return 1 if outcome.signal is None else 128 + outcome.signal


if __name__ == "__main__":
    sys.exit(main())
