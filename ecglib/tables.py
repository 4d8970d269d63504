"""Tables for people, made of the rows of metrics.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ecglib.errors import InputError, nearest
from ecglib.results import METRIC_KEYS

LABELS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "brier": "Brier score",
    "ece": "calibration error",
    "age_mae": "mean absolute error (years)",
    "age_r2": "R²",
    "delineation_f1": "F1 of boundaries",
}
SOURCES = ("published", "second-hand", "ours")


def label(metric: str, of: str = "") -> str:
    """A metric's name for people, "macro AUC"; unknown metrics keep their own."""
    return f"{of} {LABELS.get(metric, metric)}".strip()


def summary(rows: Iterable[Mapping], *, metric: str | None = None, of: str | None = None,
            models: Sequence[str] | None = None, split: str | None = None) -> pd.DataFrame:  # fmt: skip
    """One row per model, split, metric and class: the mean over seeds where there are several, else the only run.

    metric, of (a class or "macro"), models and split keep only theirs; `models` also gives the order. `InputError` when
    nothing is left, naming what there is.
    """
    frame = pd.DataFrame(list(rows), columns=list(METRIC_KEYS))
    for column, wanted in (("metric", metric), ("class", of), ("split", split)):
        if wanted is not None:
            kept = frame[frame[column] == wanted]
            if kept.empty:
                raise InputError(f"No row has {column} {wanted!r}.{nearest(wanted, frame[column].unique())}")
            frame = kept
    if models is not None:
        for name in models:
            if name not in set(frame["model"]):
                raise InputError(f"No row has model {name!r}.{nearest(name, frame['model'].unique())}")
        frame = frame[frame["model"].isin(models)]
        frame = frame.sort_values("model", key=lambda names: names.map(list(models).index), kind="stable")
    several = frame.groupby(["model", "protocol", "data", "split", "metric", "class"], sort=False, dropna=False)["seed"]
    pooled_exists = several.transform(lambda seeds: seeds.isna().any())
    frame = frame[frame["seed"].isna() | ~pooled_exists].reset_index(drop=True)
    return frame.astype({"value": float, "low": float, "high": float})


def written(value: float, low: float = float("nan"), high: float = float("nan"), *, sign: bool = False) -> str:
    """ "0.843 [0.811, 0.872]", "0.843" without an interval, "not defined" without a value; `sign` for differences."""
    if pd.isna(value):
        return "not defined"
    plus = "+" if sign else ""
    text = f"{value:{plus}.3f}"
    return text if pd.isna(low) or pd.isna(high) else f"{text} [{low:{plus}.3f}, {high:{plus}.3f}]"


def _cell(row) -> str:
    return written(row["value"], row["low"], row["high"], sign=" - " in row["model"])


def model_table(rows: Iterable[Mapping], metrics: Sequence[str] = ("auc", "f1"), *, models: Sequence[str] | None = None,
                of: str = "macro", split: str = "test") -> pd.DataFrame:  # fmt: skip
    """Models down, metrics across, each cell "0.843 [0.811, 0.872]".

    Behind each metric its standard deviation over seeds, where a model has several; "one seed" for the others.
    """
    rows, columns = list(rows), {}
    for metric in metrics:
        part = summary(rows, metric=metric, of=of, models=models, split=split)
        columns[label(metric, of)] = pd.Series(part.apply(_cell, axis=1).to_numpy(), index=part["model"])
        key = {"metric": f"{metric}_seed_sd", "class": of, "split": split}
        spread = {row["model"]: row["value"] for row in rows if all(row[k] == v for k, v in key.items())}
        if not spread.keys().isdisjoint(part["model"]):
            cells = [written(spread[m]) if m in spread else "one seed" for m in part["model"]]
            columns[f"{LABELS.get(metric, metric)}, SD over seeds"] = pd.Series(cells, index=part["model"])
    return pd.DataFrame(columns)


def class_table(rows: Iterable[Mapping], metric: str = "auc", *, models: Sequence[str], split: str = "test",
                positives: Mapping[str, int] | None = None) -> pd.DataFrame:  # fmt: skip
    """Classes down (macro last), models across. `positives` {class: number of records} adds a column."""
    part = summary(rows, metric=metric, models=models, split=split)
    part["text"] = part.apply(_cell, axis=1)
    table = part.pivot(index="class", columns="model", values="text")
    classes = [name for name in dict.fromkeys(part["class"]) if name != "macro"]
    table = table.loc[[*classes, "macro"], list(models)].rename_axis(index=None, columns=None)
    if positives is not None:
        table.insert(0, "positives", [str(positives[name]) for name in classes] + [""])
    return table


def source_table(rows: Iterable[Mapping], references: Sequence[Mapping], metrics: Sequence[str] = ("auc", "f1"), *,
                 models: Sequence[str], split: str = "test") -> pd.DataFrame:  # fmt: skip
    """Published numbers above ours, every line labelled for what it is.

    references: dicts {"model", "source": "published" | "second-hand", "where": citation or how it came to us, and a
    number for each known metric, "auc": 0.843}. A number published without an interval stands without one.
    """
    lines = []
    for reference in references:
        if reference.get("source") not in SOURCES[:2] or not reference.get("where"):
            raise InputError(
                f"Reference {reference.get('model')!r} must say its source (published or second-hand) and where it "
                "stands."
            )
        numbers = {label(m, "macro"): written(reference[m]) if m in reference else "not found" for m in metrics}
        about = {"source": reference["source"], "model": reference["model"]}
        lines.append({**about, **numbers, "where": reference["where"]})
    lines.sort(key=lambda line: SOURCES.index(line["source"]))
    ours = model_table(rows, metrics, models=models, split=split)[[label(m, "macro") for m in metrics]]
    about = summary(rows, metric=metrics[0], of="macro", models=models, split=split).set_index("model")
    for model, cells in ours.iterrows():
        where = f"this run: {about.loc[model, 'data']}, {about.loc[model, 'n']} {split} records"
        lines.append({"source": "ours", "model": model, **cells, "where": where})
    return pd.DataFrame(lines).set_index(["source", "model"])


def under(rows: Iterable[Mapping], protocol: str) -> list[Mapping]:
    """The rows of one protocol. Raises `InputError` where there is none, with the nearest name."""
    rows = list(rows)
    found = [row for row in rows if row["protocol"] == protocol]
    if not found:
        raise InputError(f"No row has protocol {protocol!r}.{nearest(protocol, {row['protocol'] for row in rows})}")
    return found


def protocol_table(rows: Iterable[Mapping], protocols: Mapping[str, str], metric: str = "auc", *,
                   models: Sequence[str], of: str = "macro", split: str = "test") -> pd.DataFrame:  # fmt: skip
    """Models down, protocols across, each cell "0.843 [0.811, 0.872]", "–" where a model was not measured.

    protocols: {name in the rows: title}.
    """
    rows, columns = list(rows), {}
    for name, title in protocols.items():
        there = under(rows, name)
        known = [model for model in models if any(row["model"] == model for row in there)]
        part = summary(there, metric=metric, of=of, models=known, split=split)
        columns[title] = pd.Series(part.apply(_cell, axis=1).to_numpy(), index=part["model"])
    return pd.DataFrame(columns).reindex(list(models)).fillna("–")


def spoken(rows: Iterable[Mapping], *, models: Sequence[str], metric: str = "auc", of: str = "macro",
           split: str = "test") -> str:  # fmt: skip
    """The values of some models as words, for a figure's alt text: "teacher 0.912 [0.881, 0.938], ..."."""
    part = summary(rows, metric=metric, of=of, models=models, split=split)
    return ", ".join(f"{row['model']} {_cell(row)}" for _, row in part.iterrows())


def points(rows: Iterable[Mapping], *, models: Sequence[str], metric: str = "auc", of: str = "macro",
           split: str = "test") -> dict[str, tuple[float, float, float]]:  # fmt: skip
    """{model: (value, low, high)}, what the figures of robustness are made of."""
    part = summary(rows, metric=metric, of=of, models=models, split=split)
    return {row["model"]: (row["value"], row["low"], row["high"]) for _, row in part.iterrows()}


def verdict(rows: Iterable[Mapping], a: str, b: str, *, metric: str = "auc", of: str = "macro",
            split: str = "test") -> str:  # fmt: skip
    """A sentence on the paired difference "a - b" of a score where more is better: above, below, or not told apart."""
    rows = list(rows)
    row = summary(rows, metric=metric, of=of, models=[f"{a} - {b}"], split=split).iloc[0]
    seeds = {r["seed"] for r in rows if r["model"] == row["model"] and r["seed"] is not None}
    said = f"{label(metric, of)} {_cell(row)}, paired, {row['n']} records, {len(seeds)} seed{'s' * (len(seeds) > 1)}"
    if pd.isna(row["low"]):
        return f"{a} and {b} cannot be compared ({said})."
    if row["low"] > 0:
        return f"{a} is above {b} ({said})."
    if row["high"] < 0:
        return f"{a} is below {b} ({said})."
    return f"{a} and {b} are not told apart: the interval of their difference holds zero ({said})."


def closed(rows: Iterable[Mapping], *, student: str, alone: str, teacher: str, metric: str = "auc", of: str = "macro",
           split: str = "test") -> str:  # fmt: skip
    """A sentence on the share of the distance from `alone` to `teacher` that `student` closes, in the mean over seeds.

    Needs the paired rows "student - alone" and "teacher - alone". The interval is that of the first difference, in
    parts of the distance that was measured: the distance's own uncertainty is told beside it, not worked in.
    """
    names = [f"{student} - {alone}", f"{teacher} - {alone}"]
    table = summary(rows, metric=metric, of=of, models=names, split=split).set_index("model")
    gain, distance = (table.loc[name] for name in names)
    said = f"the distance is {label(metric, of)} {written(*distance[['value', 'low', 'high']], sign=True)}"
    if not distance["low"] > 0:  # NaN too
        return f"{teacher} is not surely above {alone} ({said}), so there is no distance of which to tell a share."
    share, low, high = (f"{100 * gain[key] / distance['value']:.0f} %" for key in ("value", "low", "high"))
    zero = gain["low"] <= 0 <= gain["high"]
    end = "; this interval holds zero, so it may be none of it" if zero else ""
    return f"{student} closes {share} [{low}, {high}] of the distance between {alone} and {teacher} ({said}){end}."


def tally(rows: Iterable[Mapping], pairs: Sequence[tuple[str, str]], *, metric: str = "auc", of: str = "macro",
          split: str = "test") -> str:  # fmt: skip
    """A sentence on many paired differences: how many intervals lie above, below and about zero."""
    table = summary(rows, metric=metric, of=of, models=[f"{a} - {b}" for a, b in pairs], split=split)
    above, below = int((table["low"] > 0).sum()), int((table["high"] < 0).sum())
    about = len(table) - above - below
    return (
        f"Of {len(table)} paired differences in {label(metric, of)}, {above} lie above zero with their whole interval, "
        f"{below} below, and {about} are not told apart from it; of so many 95 % intervals, {0.05 * len(table):.1g} "
        "would be expected to miss zero by chance where nothing differs."
    )
