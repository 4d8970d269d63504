"""Seeds pooled, and paired differences between models of many runs, on one ground.

Intervals and differences are those of `ecglib.evaluation`: bootstrap draws over patients, the same draws for all models
of a ground, seeds averaged draw by draw. A difference takes the seeds that both models have; where they have none in
common, all seeds of each. K differences are judged together by Holm's step-down correction (Holm 1979, Scandinavian
Journal of Statistics 6, 65-70).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecglib.bootstrap import interval, p_value
from ecglib.errors import InputError, nearest
from ecglib.evaluation import Scores
from ecglib.metrics import LOWER_IS_BETTER, macro
from ecglib.tables import label, written

if TYPE_CHECKING:
    from ecglib.grounds import Ground, Line

LEVEL = 0.05  # differences are told apart at this corrected level


def pooled(ground: Ground) -> pd.DataFrame:
    """A row per line and class, "macro" first: mean over seeds, its 95 % interval over patients, and the SD of seeds.

    Columns: label, model, protocol, notebook, runs ("a, b"), seeds ("0 1"), class, value, low, high, sd (NaN for one
    seed), n. Lines stand from best to worst macro value.
    """
    rows = []
    for line in ground.lines:
        runs = list(line.scores.values())
        whole = Scores.mean(runs)
        value, drawn = whole.values[ground.metric], whole.draws[ground.metric]  # (C,), (D, C)
        low, high = interval(np.column_stack([macro(drawn), drawn]))  # (1 + C,) each
        each = np.stack([run.values[ground.metric] for run in runs])  # (S, C)
        each = np.column_stack([macro(each), each])  # (S, 1 + C)
        sd = np.std(each, axis=0, ddof=1) if len(runs) > 1 else np.full(each.shape[1], np.nan)
        head = {"label": line.label, "model": line.model, "protocol": line.protocol, "notebook": line.notebook}
        head |= {"runs": ", ".join(line.runs), "seeds": _seeds(line.scores)}
        for c, name in enumerate(("macro", *ground.classes)):
            number = macro(value) if c == 0 else value[c - 1]
            rows.append(head | {"class": name, "value": float(number), "low": low[c], "high": high[c], "sd": sd[c]})
    table = pd.DataFrame(rows).assign(n=ground.records)
    order = table[table["class"] == "macro"].set_index("label")["value"]
    order = order.sort_values(ascending=ground.metric in LOWER_IS_BETTER, kind="stable").index.tolist()
    return table.sort_values("label", key=lambda labels: labels.map(order.index), kind="stable", ignore_index=True)


def _seeds(keys: Iterable[tuple[int, ...]]) -> str:
    return " ".join("/".join(map(str, key)) for key in keys)


def chosen(ground: Ground) -> Line:
    """The line that is best on validation, and so chosen without a look at the test records; else the first."""
    sign = -1 if ground.metric in LOWER_IS_BETTER else 1
    return max(ground.lines, key=lambda line: -np.inf if np.isnan(line.valid) else sign * line.valid)


def paired(ground: Ground, against: str) -> pd.DataFrame:
    """Every line of the ground minus the one called `against`: the difference of the macro metric, draw by draw.

    Columns: first, second, value, low, high (95 %, over patients, each for itself), p (two-sided, of the draws), p_holm
    (corrected for all rows of this table), seeds, verdict ("better", "worse" or "not told apart", by p_holm; in so many
    words where only the correction undoes an interval without zero, or where no draw differs), comparisons. Rows stand
    from best to worst; there is none where the ground has one line.
    """
    second, rows = ground.line(against), []
    for first in ground.lines:
        if first is second:
            continue
        common = [key for key in first.scores if key in second.scores]
        if common:
            gap, seeds = Scores.mean([first.scores[k] - second.scores[k] for k in common]), _seeds(common)
        else:
            gap = Scores.mean(list(first.scores.values())) - Scores.mean(list(second.scores.values()))
            seeds = f"{_seeds(first.scores)} against {_seeds(second.scores)}"
        drawn = macro(gap.draws[ground.metric])  # (D,)
        low, high = interval(drawn)
        row = {"first": first.label, "second": second.label, "value": float(macro(gap.values[ground.metric]))}
        rows.append(row | {"low": float(low), "high": float(high), "p": p_value(drawn), "seeds": seeds})
    table = pd.DataFrame(rows, columns=["first", "second", "value", "low", "high", "p", "seeds"])
    table["p_holm"] = holm(table["p"])
    table["verdict"] = [_verdict(row, ground.metric, len(table)) for row in table.to_dict("records")]
    table = table.sort_values("value", ascending=ground.metric in LOWER_IS_BETTER, kind="stable", ignore_index=True)
    return table.assign(comparisons=len(table))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values (K,); NaN stays NaN and counts as a comparison all the same."""
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")  # NaN last
    steps = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.where(np.isnan(p[order]), np.nan, np.fmax.accumulate(steps) if len(p) else steps)
    return out


def _verdict(row: Mapping[str, Any], metric: str, count: int) -> str:
    if np.isnan(row["value"]) or np.isnan(row["p_holm"]):
        return "cannot be compared"
    if row["value"] == row["low"] == row["high"] == 0:
        return "the same in every draw"
    alone = row["low"] > 0 or row["high"] < 0
    if alone and row["p_holm"] < LEVEL:
        return "better" if (row["value"] > 0) != (metric in LOWER_IS_BETTER) else "worse"
    return f"not told apart (only the correction for {count} comparisons undoes it)" if alone else "not told apart"


def too_few(ground: Ground) -> str | None:
    """A sentence where so few draws cannot tell anything apart, whatever the data: p is never below 2 / (draws + 1)."""
    needed = int(np.ceil(2 * (len(ground.lines) - 1) / LEVEL))
    if ground.draws >= needed:
        return None
    return (
        f"With {ground.draws} draws none of {len(ground.lines) - 1} comparisons can pass Holm's correction, however "
        f"large: give draws={needed} or more, or compare fewer models."
    )


def references(grounds: Sequence[Ground], wanted: str = "") -> list[str]:
    """The label on each ground that all others there are compared with: `wanted` where it is, else `chosen`.

    Raises:
        InputError: `wanted` is on no ground, with the nearest name.
    """
    labels = {name for ground in grounds for line in ground.lines for name in (line.label, line.model)}
    if wanted and wanted not in labels:
        raise InputError(f"reference names {wanted!r}, which is on no ground.{nearest(wanted, labels)}")
    there = [any(wanted in (line.label, line.model) for line in ground.lines) for ground in grounds]
    return [(g.line(wanted) if has else chosen(g)).label for g, has in zip(grounds, there, strict=True)]


# ---- for people -----------------------------------------------------------------------------------------------------


def shown(ground: Ground, tests: pd.DataFrame) -> pd.DataFrame:
    """Values and differences as a table of text, best first: a row per line; * where only the correction undoes it."""
    table = pooled(ground).query("`class` == 'macro'").set_index("label")
    out = pd.DataFrame(index=table.index.rename(None))
    out[label(ground.metric, "macro")] = [written(*row) for row in table[["value", "low", "high"]].to_numpy()]
    if len(tests):
        drawn = tests.set_index("first").reindex(table.index)
        numbers = drawn[["value", "low", "high"]].to_numpy()
        out["paired difference"] = ["" if np.isnan(row[0]) else written(*row, sign=True) for row in numbers]
        p = ["" if np.isnan(p) else f" ({chance(p)})" for p in drawn["p_holm"]]
        said = drawn["verdict"].fillna("the reference").str.replace(r" \(only.*", "*", regex=True)
        out["verdict (Holm p)"] = said + p
    return out


def chance(p: float) -> str:
    """A p-value for people: "0.023", "< 0.001", "" where there is none."""
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentences(ground: Ground, tests: pd.DataFrame) -> list[str]:
    """The verdicts in words: which are better, which worse, which not told apart, and whether the best is surely so."""
    if tests.empty:
        return [f"{ground.lines[0].label} stands alone here: there is nothing to compare it with."]
    against, out = tests["second"].iloc[0], []
    for kind, head in {
        "better": f"Better than **{against}**",
        "worse": f"Worse than **{against}**",
        "undone": f"Not told apart from **{against}** once corrected, though each alone would be",
        "rest": f"Not told apart from **{against}**",
    }.items():
        own = [f"{row.first} ({row.value:+.3f})" for row in tests[tests["verdict"].map(_kind) == kind].itertuples()]
        if own or kind in ("better", "worse"):
            out.append(f"{head}, of {len(tests)} compared: {'; '.join(own) or 'none'}.")
    top, surely = best(ground)
    if surely:
        out.append(f"The best value is that of **{top}**, and it is told apart from every other.")
    else:
        near = paired(ground, top).query("verdict != 'worse'")["first"].tolist()
        out.append(f"The best value is that of **{top}**, but it is not told apart from {'; '.join(near)}.")
    return out + [said for said in [too_few(ground)] if said]


def _kind(verdict: str) -> str:
    if verdict in ("better", "worse"):
        return verdict
    return "undone" if "correction" in verdict else "rest"


def spoken(ground: Ground, tests: pd.DataFrame) -> str:
    """What `figures.runs_forest` shows, for those who do not see it."""
    macros = pooled(ground).query("`class` == 'macro'")
    first = "; ".join(f"{row.label} {written(row.value, row.low, row.high)}" for row in macros.head(3).itertuples())
    count = tests["verdict"].where(tests["verdict"].isin(("better", "worse")), "not told apart").value_counts()
    said = ", ".join(f"{number} {verdict}" for verdict, number in count.items())
    return (
        f"{label(ground.metric, 'macro')} of {len(macros)} models of {len(ground.runs)} runs with 95 % intervals, best "
        f"first: {first}{'; and so on' if len(macros) > 3 else ''}. Paired differences from {tests['second'].iloc[0]}: "
        f"{said}."
    )


def rows(ground: Ground, tests: pd.DataFrame) -> list[dict[str, Any]]:
    """Pooled values and paired differences as rows of metrics.json; corrected p-values are of metric "auc_p_holm"."""
    together = " | ".join(ground.protocols)
    common = {"data": ground.data, "split": ground.split, "seed": None, "n": ground.records}
    blank, out = {"low": None, "high": None}, []
    for row in pooled(ground).to_dict("records"):
        about = common | {"model": row["label"], "protocol": row["protocol"], "class": row["class"]}
        out.append(about | {"metric": ground.metric} | {key: row[key] for key in ("value", "low", "high")})
        if not np.isnan(row["sd"]):
            out.append(about | blank | {"metric": f"{ground.metric}_seed_sd", "value": row["sd"]})
    for row in tests.to_dict("records"):
        about = common | {"model": f"{row['first']} - {row['second']}", "protocol": together, "class": "macro"}
        out.append(about | {"metric": ground.metric} | {key: row[key] for key in ("value", "low", "high")})
        for kind in ("p", "p_holm"):
            out.append(about | blank | {"metric": f"{ground.metric}_{kind}", "value": row[kind]})
    return out


# ---- LaTeX ----------------------------------------------------------------------------------------------------------

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip


def escaped(text: str) -> str:
    """`text` as LaTeX prints it."""
    return "".join(_ESCAPES.get(letter, letter) for letter in str(text))


def best(ground: Ground) -> tuple[str, bool]:
    """The label of the line with the best macro value, and whether it is better than every other, corrected."""
    top = pooled(ground).query("`class` == 'macro'").iloc[0]["label"]
    tests = paired(ground, top)
    return top, len(tests) > 0 and bool((tests["verdict"] == "worse").all())


def to_latex(ground: Ground, against: str, *, tag: str = "comparison") -> str:
    """A booktabs table of a ground: each line's macro value with its interval, and its difference to `against`.

    Bold is the best value, and only where it is told apart from every other on the ground (`best`); the caption says
    so. A dagger marks differences that are told apart. Needs the packages booktabs and, for µ and the like, inputenc.
    """
    table = pooled(ground).query("`class` == 'macro'")
    tests = paired(ground, against).set_index("first")
    top, surely = best(ground)
    lines = []
    for row in table.to_dict("records"):
        value = written(row["value"], row["low"], row["high"])
        value = rf"\textbf{{{value}}}" if surely and row["label"] == top else value
        spread = "--" if np.isnan(row["sd"]) else f"{row['sd']:.3f}"
        difference, p = "--", "--"
        if row["label"] in tests.index:
            test = tests.loc[row["label"]]
            mark = r"$^\dagger$" if test["verdict"] in ("better", "worse") else ""
            difference = written(test["value"], test["low"], test["high"], sign=True).replace("-", "$-$") + mark
            p = chance(test["p_holm"]).replace("< ", "$<$") or "--"
        cells = [escaped(row["label"]), value, spread, difference, p]
        lines.append(f"    {' & '.join(cells)} \\\\")
    bold = "Bold: told apart from every other." if surely else "Nothing is bold: the best is not told apart from all."
    caption = (
        f"{label(ground.metric, 'macro')} on {ground.title}, {ground.patients} patients: mean over seeds [95 % "
        f"interval over patients, {ground.draws} bootstrap draws], standard deviation over seeds, paired difference to "
        f"{against}, its p corrected for {len(tests)} comparisons by Holm's method. "
    )
    dagger = r"$^\dagger$: told apart at the corrected level of 0.05. "
    head = ["model", label(ground.metric, "macro"), "SD", f"minus {against}", "Holm p"]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escaped(caption)}{dagger}{escaped(bold)}}}",
            rf"  \label{{tab:{tag}}}",
            r"  \begin{tabular}{lrrrr}",
            r"    \toprule",
            f"    {' & '.join(map(escaped, head))} \\\\",
            r"    \midrule",
            *lines,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
