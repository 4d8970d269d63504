"""Runs the notebook of a report again and tells whether the same came out.

    python -m ecglib.run --verify reports/lead_kd/demo
    python -m ecglib.run --verify reports/gallery/lead_kd-ptb_xl -p data=../ptb-xl --out reports/lead_kd/again

The report is a run's folder, or report.html or run.json in it. The notebook is that of this clone, the parameters are
those on record; `-p` may say where data lie now (and set cache, device, progress), nothing else. The new run goes into
a temporary folder, or stays in the one of `--out`. The verdict is printed, and written as verify.json beside the new
run that is kept, else beside the report. What has to agree, and how closely: see `agreement`.

Exit status: 0 reproduced, 1 not, 2 bad input, 128 + n stopped by signal n.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecglib import agreement, atomic, parameters, provenance, results, verdict_text
from ecglib.errors import InputError
from ecglib.plan import Plan, find_notebook

FORMAT = 1
NAME = "verify.json"
HOW = ("cache", "device", "progress")
"""Parameters that say how and not what; they may be set whatever they were."""
PAGES = ("executed.ipynb", "report.html")


def verify(options: argparse.Namespace, run: Callable[[Plan, argparse.Namespace], int]) -> int:
    """The command; `run` is the runner's. Returns the exit status. Raises InputError."""
    old = open_report(options.verify)
    place = old.path if options.out is None else options.out
    if options.out is not None and options.out.resolve() == old.path.resolve():
        raise InputError(f"--out {options.out}: this is the report itself; give another folder for the new run")
    if options.out is None and not os.access(old.path, os.W_OK):
        raise InputError(f"{old.path}: {NAME} cannot be written there; give a folder for the new run with --out")
    page = next((name for name in PAGES if (old.path / name).is_file()), None)
    drawn = _pictures(old, page)  # now: a page that cannot be read is not found out after hours
    with contextlib.ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ecg-verify-"))) / "run"
        plan, changed = plan_again(old, options, folder)
        how = argparse.Namespace(**vars(options))
        how.cpu_threads = options.cpu_threads or old.record["environment"].get("threads")
        how.no_html = page != "report.html" and (options.no_html or options.out is None)
        with contextlib.redirect_stdout(io.StringIO()):  # where the page is: it may be gone in a moment
            status = run(plan, how)
        if status >= 128:
            return status
        if status == 2:
            raise InputError(f"{plan.shown(old.path)}: was not run again; say with -p where its data lie now")
        verdict = compare(old, results.read(plan.out), page, drawn) | {"parameters": changed}
    verdict = {"format": FORMAT, "report": plan.shown(old.path), **verdict}
    try:
        atomic.write_json(place / NAME, verdict)
    finally:  # hours may have gone into it: a full disk does not take it away
        print("\n".join(verdict_text.lines(verdict)))
    return 0 if verdict["reproduced"] else 1


def open_report(report: Path) -> results.RunRecord:
    """The complete run that `report` belongs to. Raises InputError."""
    folder = report.parent if report.is_file() else report
    if not folder.is_dir():
        raise InputError(f"{report}: there is no such folder or file; give a run's folder, or the report.html in it")
    if report.is_file() and report.suffix not in (".html", ".json", ".gz"):
        raise InputError(f"{report}: is no report; give a run's folder (an archive of one has to be unpacked first)")
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder}: holds no run.json, so its numbers are not on record; give the run's whole folder")
    old = results.read(folder)
    record = old.record
    try:
        known = record["notebook"]["path"], record["started"], record["environment"]["packages"]
        known = all(known) and all("value" in entry for entry in record["parameters"].values())
        agreement.data(old.data, old.data)
    except (KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise InputError(f"{folder}: run.json or data.json is not as the runner writes it; give another run's folder")
    if old.status != "complete":
        raise InputError(f"{folder}: its run is {old.status}; only a complete run can be checked")
    if faults := results.metric_faults(old.rows):
        raise InputError(f"{folder}: its metrics.json cannot be compared: {faults[0]}")
    if not old.rows and not any((folder / page).is_file() for page in PAGES):
        raise InputError(f"{folder}: holds neither metrics nor figures, so there is nothing to compare")
    return old


def plan_again(old: results.RunRecord, options: argparse.Namespace, out: Path) -> tuple[Plan, dict[str, Any]]:
    """(the plan that runs `old` again into `out`, its parameters that are not as on record). Raises InputError."""
    root, shown = results.root(), f"{old.path}/run.json"
    path = (root / old.record["notebook"]["path"]).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise InputError(
            f"{shown}: its notebook {old.record['notebook']['path']} is not in this clone; {_checkout(old)}"
        )
    _, notebook = find_notebook(str(path))
    schema = parameters.read_schema(notebook, shown=os.path.relpath(notebook, root))
    recorded = {name: value for name, value in old.parameters.items() if name != "out"}
    gone = {name: recorded.pop(name) for name in list(recorded) if name not in schema}
    for name in gone:  # one that nobody had set may have gone with what it switched on; it is said
        if old.record["parameters"][name].get("source") != "notebook":
            raise InputError(f"{shown}: today's {schema.notebook} has no parameter {name!r}; {_checkout(old)}")
    if "out" not in schema:
        raise InputError(f"{shown}: today's {schema.notebook} has no parameter 'out'; {_checkout(old)}")
    settings = parameters.resolve(schema, None, options.overrides)
    if "out" in settings.sources:
        raise InputError("parameter 'out' is set by --out; take it out of -p")
    given = {name: _portable(settings.values[name], root) for name in settings.sources}
    new = [name for name in schema if name not in old.parameters]
    changed: dict[str, Any] = {"count": len(recorded) + len(gone), "set": {}, "new": new, "gone": gone}
    for name, value in recorded.items():
        settings.values[name] = schema.check(name, value, shown)
        settings.sources.setdefault(name, old.record["parameters"][name].get("source", "notebook"))
    for name, value in given.items():
        if value != settings.values[name] and name not in HOW and not _is_place(value, root):
            raise InputError(
                f"-p {name}: a re-run check keeps {name!r} as it was; -p may only name the folder or file "
                f"where data lie now, or set {', '.join(HOW)}"
            )
        if value != settings.values[name]:
            changed["set"][name] = {"was": settings.values[name], "now": value}
        settings.values[name] = value
    settings.values["out"] = os.path.relpath(out.resolve(), root)
    settings.sources["out"] = "command line" if options.out else "runner"
    words = ["python", "-m", "ecglib.run", "--verify", os.path.relpath(old.path, root)]
    words += [word for override in options.overrides for word in ("-p", override)]
    return Plan(root, notebook, old.preset, settings, out.resolve(), shlex.join(words)), changed


def _checkout(old: results.RunRecord) -> str:
    commit = (old.record.get("git") or {}).get("commit")
    return f"run the check where the report was made, at commit {commit[:12]}" if commit else "give another report"


def _portable(value: Any, root: Path) -> Any:
    if isinstance(value, list):
        return [_portable(item, root) for item in value]
    return provenance.portable(value, root) if isinstance(value, str) else value


def _is_place(value: Any, root: Path) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text and (root / text).exists() for text in texts)


def _pictures(run: results.RunRecord, page: str | None) -> list[tuple[bytes, str]]:
    try:
        return [] if page is None else agreement.pictures(run.path, page)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{run.path / page}: cannot be read ({error}); give a whole report") from None


def compare(
    old: results.RunRecord, new: results.RunRecord, page: str | None, drawn: list[tuple[bytes, str]]
) -> dict[str, Any]:
    """The verdict on `new`, a run of the same notebook with the same parameters: what verify.json holds.

    page: the file that the figures `drawn` in the old run come from; the new run's come from its own.
    """
    verdict: dict[str, Any] = {
        "started": {"old": old.record["started"], "new": new.record["started"]},
        "duration_s": {"old": old.record.get("duration_s"), "new": new.record.get("duration_s")},
        "metrics_sha256": next(
            filter(None, (provenance.sha256(old.path / n) for n in ("metrics.json", "metrics.json.gz"))), None
        ),
    }
    if new.status != "complete":
        where = f" in cell {new.record['cell']['number']}" if new.record.get("cell") else ""
        return verdict | {
            "reproduced": False,
            "reasons": [f"the new run {new.status}{where}: {new.record.get('reason')}"],
        }
    differs = agreement.machine(old.record["environment"], new.record["environment"])
    same = not differs
    verdict |= {
        "machine": {"same": same, "differs": differs, "now": new.record["environment"]},
        "code": {"differs": agreement.code(old.record, new.record)},
        "data": {"differs": agreement.data(old.data, new.data), "cohorts": len(old.data)},
        "metrics": agreement.metrics(old.rows, new.rows, same_machine=same),
        "figures": None,
    }
    if page:
        verdict["figures"] = agreement.figures(drawn, agreement.pictures(new.path, page), same_machine=same)
    reasons = _reasons(verdict)
    return verdict | {"reproduced": not reasons, "reasons": reasons}


def _reasons(verdict: dict[str, Any]) -> list[str]:
    """Why the run is not reproduced; [] when it is."""
    metrics, figures, found = verdict["metrics"], verdict["figures"], []
    if verdict["data"]["differs"]:
        found.append("the data differ")
    if not metrics["ok"]:
        said = [(len(metrics["missing"]), "missing"), (len(metrics["extra"]), "new"), (len(metrics["differ"]), "other")]
        found.append("metrics: " + ", ".join(f"{count:,} {word}" for count, word in said if count))
    if figures and not figures["ok"]:
        count = figures["count"]
        found.append(
            f"figures: {count[0]} before, {count[1]} now"
            if count[0] != count[1]
            else f"figures: {len(figures['differ'])} of {count[0]} differ"
        )
    return found
