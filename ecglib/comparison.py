"""Many runs beside one another: which there are, where they differ, what they measured, what they cost.

What may be pooled and what may be paired is decided in `ecglib.grounds` and done in `ecglib.paired`. Here nothing is
averaged: `collect` is the rows of all metrics.json with what tells the runs apart beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecglib import results
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from ecglib.grounds import Ground
    from ecglib.results import RunRecord

ASIDE = frozenset({"seed", "seeds", "data", "device", "draws", "out", "cache", "progress"})
"""Parameters that make no other configuration. `data` is a path; the fingerprint tells what lies there."""


def find(patterns: Sequence[str], *, root: Path, leave_out: Path | None = None) -> tuple[list[RunRecord], list[str]]:
    """The complete runs in the folders or globs `patterns`, seen from `root`, newest first, and sentences on the rest.

    A run that is there twice (the gallery holds copies) counts once, as the copy that was named first. Runs that
    compare others and `leave_out`, the folder of the run that asks, are not compared.

    Raises:
        InputError: a pattern matches no run, or no complete run is left.
    """
    found, remarks = {}, []
    for pattern in patterns:
        folders = [Path(name) for name in sorted(glob(str(root / pattern)))]
        held = [f for f in folders if (f / "run.json").is_file() or (f / "started.json").is_file()]
        if not held:
            raise InputError(f"runs names {pattern!r}, where there is no run; give folders such as reports/lead_kd/*.")
        for run in map(results.read, held):
            if leave_out is not None and run.path.resolve() == leave_out.resolve():
                continue
            twin = found.setdefault((run.notebook, run.record.get("started"), run.record.get("command")), run)
            if twin.path.resolve() != run.path.resolve():
                remarks.append(f"{_shown(run, root)} is the same run as {_shown(twin, root)}: it counts once.")
    kept = []
    for run in found.values():
        if run.status != "complete":
            remarks.append(f"{_shown(run, root)} is {run.status}: it is left out.")
        elif run.notebook == "compare_runs":
            remarks.append(f"{_shown(run, root)} itself compares runs: it is left out.")
        else:
            kept.append(run)
    if not kept:
        raise InputError(f"None of the runs can be compared: {' '.join(remarks) or 'runs names only this run itself.'}")
    return sorted(kept, key=lambda run: run.record.get("started", ""), reverse=True), remarks


def _shown(run: RunRecord, root: Path) -> str:
    path = run.path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else f"{path.parent.name}/{path.name}"


def names(runs: Iterable[RunRecord]) -> dict[Path, str]:
    """{folder: what the run is called}: NOTEBOOK/FOLDER, or FOLDER where it says the notebook; each name once."""
    out: dict[Path, str] = {}
    for run in runs:
        name = run.path.name if run.path.name.startswith(run.notebook) else f"{run.notebook}/{run.path.name}"
        same = sum(other == name or other.startswith(f"{name} (") for other in out.values())
        out[run.path] = f"{name} ({same + 1})" if same else name
    return out


def overview(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """The runs as a table for people: when, on which code, with which seeds, how long, and what they kept."""
    import pandas as pd

    from ecglib.checks import duration

    rows = {}
    for run, name in zip(runs, names(runs).values(), strict=True):
        git = run.record.get("git") or {}
        rows[name] = {
            "preset": run.preset or "none",
            "started": run.record.get("started", "")[:16].replace("T", " "),
            "code": (git.get("commit") or "no commit")[:8] + (", changed since" if git.get("dirty") else ""),
            "seeds": " ".join(
                str(value).strip("[]").replace(",", "") for value in run.record.get("seeds", {}).values()
            ),
            "took": duration(run.record["duration_s"]) if "duration_s" in run.record else "not said",
            "predictions": "kept" if (run.path / "predictions.parquet").is_file() else "not kept",
        }
    return pd.DataFrame(rows).T


def configuration(run: RunRecord) -> str:
    """The digest of everything that runs must share to be pooled; see the module's rules."""
    parameters = {name: value for name, value in run.parameters.items() if name not in ASIDE}
    data = [(entry["role"], entry["fingerprint"]) for entry in run.data]
    content = [run.notebook, run.record["notebook"].get("sha256"), parameters, data]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def differences(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Parameters that differ between runs of one notebook: a row per notebook and parameter, a column per run.

    The version of the notebook is a row too; empty where the parameter is not one of the run's notebook.
    """
    import pandas as pd

    called, rows = names(runs), []
    for notebook in dict.fromkeys(run.notebook for run in runs):
        own = [run for run in runs if run.notebook == notebook]
        said = [run.parameters | {"version": (run.record["notebook"].get("sha256") or "?")[:8]} for run in own]
        for name in dict.fromkeys(key for each in said for key in each):
            values = [json.dumps(each[name], ensure_ascii=False) if name in each else "" for each in said]
            if name not in {"out", "cache", "progress"} and len(set(values)) > 1:
                cells = {
                    called[run.path]: value if value == '""' else value.strip('"')
                    for run, value in zip(own, values, strict=True)
                }
                rows.append({"notebook": notebook, "parameter": name} | cells)
    columns = ["notebook", "parameter", *called.values()]
    return pd.DataFrame(rows, columns=columns).fillna("").set_index(["notebook", "parameter"])


def collect(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """One tidy table of all metrics of all runs, nothing averaged: a row per row of each metrics.json.

    Columns before those of metrics.json: run, notebook, preset, configuration (runs with the same may be pooled),
    parameters (those that differ from other runs of the notebook, "name=value; ..."), fingerprint (of the row's data;
    "" where data.json names none so).
    """
    import pandas as pd

    called, differ, tables = names(runs), differences(runs), []
    for run in runs:
        own = differ.loc[differ.index.get_level_values(0) == run.notebook, called[run.path]]
        known = {entry["name"]: entry["fingerprint"] for entry in run.data}
        head = {
            "run": called[run.path],
            "notebook": run.notebook,
            "preset": run.preset or "",
            "configuration": configuration(run),
            "parameters": "; ".join(
                f"{name}={value}" for (_, name), value in own.items() if value and name not in ASIDE
            ),
            "fingerprint": run.metrics["data"].map(lambda name, known=known: known.get(name, "")),
        }
        tables.append(run.metrics.assign(**head)[[*head, *results.METRIC_KEYS]])
    return pd.concat(tables, ignore_index=True).astype({"value": float, "low": float, "high": float, "seed": "Int64"})


def recorded(
    runs: Sequence[RunRecord], only: Sequence[str], *, metric: str = "auc", protocols: Sequence[str] = (),
    models: Sequence[str] = (), split: str = "test",
) -> pd.DataFrame:  # fmt: skip
    """What the runs called `only` measured of themselves, macro, models first and then their paired differences.

    Columns: run, protocol, model, value, low, high, p (of differences, uncorrected), n. For runs without predictions;
    `protocols` and `models` as in `grounds`, a difference is kept where a model of it is.
    """
    import pandas as pd

    called, rows = names(runs), []
    for run in runs:
        if called[run.path] not in only:
            continue
        kept = chosen_protocols(run, protocols)
        own = [r for r in run.rows if r["protocol"] in kept and r["split"] == split and r["class"] == "macro"]
        p_of = {(r["protocol"], r["model"]): r["value"] for r in own if r["metric"] == f"{metric}_p"}
        table = run.metrics.loc[[False] * len(run.metrics)] if not own else pd.DataFrame(own)
        table = table[table["metric"] == metric]
        whole = table.groupby(["protocol", "model"])["seed"].transform(lambda seeds: seeds.isna().any())
        for row in table[table["seed"].isna() | ~whole].to_dict("records"):
            sides = row["model"].split(" - ")
            if not models or any(fnmatchcase(side, pattern) for side in sides for pattern in models):
                keys = {key: row[key] for key in ("protocol", "model", "value", "low", "high", "n")}
                p = p_of.get((row["protocol"], row["model"]), float("nan"))
                rows.append({"run": called[run.path]} | keys | {"p": p, "_order": len(sides)})
    columns = ["run", "protocol", "model", "value", "low", "high", "p", "n"]
    if not rows:
        return pd.DataFrame(columns=columns)
    return pd.DataFrame(rows).sort_values(["run", "protocol", "_order"], kind="stable", ignore_index=True)[columns]


def protocols_of(run: RunRecord) -> list[str]:
    """The protocols of a run's metrics, its main one first."""
    return list(dict.fromkeys(row["protocol"] for row in run.rows))


def chosen_protocols(run: RunRecord, patterns: Sequence[str]) -> list[str]:
    """The run's protocols that match a pattern; without patterns its first, which is the notebook's main one."""
    there = protocols_of(run)
    return [name for name in there if any(fnmatchcase(name, p) for p in patterns)] if patterns else there[:1]


def curves(runs: Sequence[RunRecord], column: str = "valid_macro_auc", *, models: Sequence[str] = ()) -> pd.DataFrame:
    """Learning curves from every history.csv that has `column`: run, configuration, model, seed, epoch, value.

    A run without a history, or whose history has no such column (losses of pre-training), gives no row. The seed is
    text: the notebook's own, where it has one, and the row's. A seed that two runs of one configuration share is taken
    once, from the newer run.
    """
    import pandas as pd

    called, tables, taken = names(runs), [], set()
    for run in runs:
        history = run.history if (run.path / "history.csv").is_file() else pd.DataFrame()
        if column not in history:
            continue
        part = history.dropna(subset=column)
        if models:
            part = part[[any(fnmatchcase(name, pattern) for pattern in models) for name in part["model"]]]
        own = run.parameters.get("seed")
        part = part.assign(seed=part["seed"].map(lambda seed, own=own: str(seed) if own is None else f"{own}/{seed}"))
        for (model, seed), curve in part.groupby(["model", "seed"], sort=False):
            if (key := (configuration(run), model, seed)) in taken:
                continue
            taken.add(key)
            head = {"run": called[run.path], "configuration": key[0], "model": model, "seed": seed}
            tables.append(curve[["epoch"]].assign(**head, value=curve[column]))
    columns = ["run", "configuration", "model", "seed", "epoch", "value"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def costs(runs: Sequence[RunRecord], grounds: Sequence[Ground]) -> pd.DataFrame:
    """What each configuration took, beside what its models reached: a row per model, or one without where none can be.

    Columns: runs (pooled ones together), ground (its number, from 0; -1 for none), model (a line's label), best
    (whether it is the configuration's best there), value, low, high, minutes (of the whole runs, evaluation included),
    peak_gib (of the GPU where there was one, else of the notebook's process), device, threads, trainings (models times
    seeds in history.csv), epochs (of all of them), parameters (numbers in the largest model saved, running statistics
    included). NaN where a run did not record something.
    """
    import pandas as pd

    from ecglib import paired

    called, rows = names(runs), []
    tables = [paired.pooled(ground).query("`class` == 'macro'") for ground in grounds]
    together: dict[str, list[RunRecord]] = {}
    for run in runs:
        together.setdefault(configuration(run), []).append(run)
    for members in together.values():
        own_names = [called[run.path] for run in members]
        spent = pd.DataFrame([_spent(run) for run in members])
        head = {"runs": ", ".join(own_names), **spent[["minutes", "trainings", "epochs"]].sum(min_count=1)}
        head |= {**spent[["peak_gib", "parameters"]].max()}
        head |= {key: ", ".join(dict.fromkeys(spent[key].astype(str))) for key in ("device", "threads")}
        found = []
        for number, table in enumerate(tables):
            own = table[[not set(own_names).isdisjoint(listed.split(", ")) for listed in table["runs"]]]
            for place, row in enumerate(own.to_dict("records")):  # pooled lines stand from best to worst
                point = {key: row[key] for key in ("value", "low", "high")}
                found.append({"ground": number, "model": row["label"], "best": place == 0} | point)
        none = {"ground": -1, "model": "", "best": True, **dict.fromkeys(("value", "low", "high"), float("nan"))}
        rows += [head | each for each in found or [none]]
    first = ["runs", "ground", "model", "best", "value", "low", "high", "minutes", "peak_gib", "device", "threads"]
    counts = dict.fromkeys(("trainings", "epochs", "parameters"), "Int64")
    return pd.DataFrame(rows)[[*first, *counts]].astype(counts)


def _spent(run: RunRecord) -> dict[str, Any]:
    """What one run took, by its run.json, history.csv and saved models."""
    environment = run.record.get("environment", {})
    history = run.history if (run.path / "history.csv").is_file() else None
    return {
        "minutes": run.record.get("duration_s", float("nan")) / 60,
        "peak_gib": (environment.get("peak_device_mib") or environment.get("peak_mib") or float("nan")) / 1024,
        "device": environment.get("device") or environment.get("cpu") or "not said",
        "threads": environment.get("threads") or "not said",
        "trainings": float("nan") if history is None else len(history.groupby(["model", "seed"])),
        "epochs": float("nan") if history is None else len(history),
        "parameters": _parameters(run),
    }


def _parameters(run: RunRecord) -> float:
    """How many numbers the largest saved model holds, running statistics included; NaN where none was kept."""
    from math import prod

    from safetensors import safe_open

    sizes = []
    for path in run.path.glob("model/*/model.safetensors"):
        with safe_open(path, framework="numpy") as weights:
            sizes.append(sum(prod(weights.get_slice(key).get_shape()) for key in weights.keys()))  # noqa: SIM118
    return float(max(sizes, default=float("nan")))
