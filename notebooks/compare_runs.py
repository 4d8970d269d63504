# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which is better, and is it really? Many runs side by side
#
# Nothing is trained here. This notebook reads back what finished runs left behind and lays it side by side: seeds of the
# same setting pooled, methods compared on the same test records, learning curves, what it all cost, and tables to take
# away. It ends in words, and the words are as careful as the numbers: of two methods one is *better*, *worse*, or they
# are *not told apart*, which is not the same as being equally good.
#
# **What is compared with what.** Two models can be compared where they answered for the same test records with the same
# labels, taken from the same data (the same fingerprint) under the same protocol. Records, classes and labels are
# matched by name, never by position. Whatever does not belong together is kept apart, and the report says why; nothing
# is ever averaged over it.
#
# **What is pooled.** Runs of the same notebook, in the same version, with the same parameters on the same data. Only
# the seed may differ: then their seeds are averaged. Where the code behind the notebook differs, the report says so.
#
# **How a difference is judged.** Both models are measured on the same drawn patients, thousands of times over (the
# paired bootstrap). An interval says how far other patients would move the difference; it does not hold what other
# seeds would do, which the spread over seeds shows. Who compares many models with one finds some difference by luck
# alone: the p-values are therefore corrected for all comparisons made together (Holm's method), and the verdict follows
# the corrected one.

# %%
from typing import Literal

# %% [markdown]
# ## Parameters
#
# `-p 'runs=[reports/lead_kd/*]'` on the command line names others. A pattern may hold `*`.

# %% tags=["parameters"]
runs: list[str] = ["reports/gallery/*"]  # folders of finished runs, or patterns of them; from the repository's root
metric: Literal["auc", "average_precision", "f1", "precision", "recall", "brier", "ece"] = "auc"  # measured anew from the predictions; the mean over classes is judged
protocols: list[str] = []  # patterns of their names, such as "*fine-tuning*"; none: the main one of each run
models: list[str] = []  # patterns of their names, such as "BCE*"; none: all
across_protocols: bool = False  # compare models of different protocols too, where test records and labels are the same
reference: str = ""  # the model that all others are compared with; "": the one that was best on validation
draws: int = 5000  # bootstrap draws over patients; K comparisons need at least 40 K
seed: int = 0  # of these draws
out: str = "reports/compare_runs/manual"  # where the results go; from the repository's root

# %%
import os

import pandas as pd
from IPython.display import Markdown, display

from ecglib import comparison, figures, grounds, paired, protocol, results, tables

pd.set_option("display.max_colwidth", None)
pd.set_option("display.max_rows", 200)
os.chdir(results.root())  # every path in the parameters is taken from the repository's root
protocol.require(runs=runs, draws=draws)
run = results.Run(out, device="cpu")

# %% [markdown]
# ## The runs

# %%
found, remarks = comparison.find(runs, root=results.root(), leave_out=run.path)
for each, name in zip(found, comparison.names(found).values()):
    run.data_of(each, name)
display(comparison.overview(found))
Markdown("\n".join(f"- {remark}" for remark in remarks))

# %% [markdown]
# Parameters in which runs of the same notebook differ. Where only `seeds` stands here, the runs are pooled. Any other
# difference makes another setting, and a difference in quality may be due to it:

# %%
differ = comparison.differences(found)
display(differ[[name for name in differ if differ[name].ne("").any()]] if len(differ) else Markdown("There are none."))

# %% [markdown]
# ## What can be compared
#
# A comparison for each set of test records on which models can be compared with one another; models of two comparisons
# cannot. Before anything else, each run's predictions are measured once more: they must give the numbers that the run
# reported.

# %%
sorted_out = grounds.grounds(
    found, metric=metric, protocols=protocols, models=models, across_protocols=across_protocols, draws=draws, seed=seed
)
there = sorted_out.grounds
references = paired.references(there, reference)
tests = [paired.paired(ground, against) for ground, against in zip(there, references)]
numbered = {
    number: {
        "data": f"{ground.data} ({ground.fingerprint[:8] or 'not on record'})",
        "test records": f"{ground.records} of {ground.patients} patients",
        "classes": f"{len(ground.classes)}: " + ", ".join(ground.classes[:6]) + ", ..." * (len(ground.classes) > 6),
        "protocol": " | ".join(ground.protocols),
        "runs": ", ".join(ground.runs),
        "models": len(ground.lines),
    }
    for number, ground in enumerate(there, 1)
}  # fmt: skip
display(pd.DataFrame(numbered).T if there else Markdown("Nothing: no run that was named kept its predictions."))
Markdown("\n".join(f"- {remark}" for remark in sorted_out.remarks))

# %% [markdown]
# Where one comparison holds several protocols, the models were shown different things of the same records (twelve leads, one
# lead, a page). Their difference is that of the whole way from the record to the answer: network, training and input
# together.
#
# ## Values and differences
#
# Left, each model's value with its 95 % interval over patients, and its single seeds as small rings (their standard
# deviation is in `pooled.csv` and in the LaTeX tables). Right, its paired difference from the reference, in bold.
# Unless one was named, the reference is the model that was best on *validation*, so that it was chosen without a look
# at the test records. A filled blue dot is told apart after the correction; an open one only before it; a grey one is
# not told apart. A difference is taken over the seeds that both models have, so that it may not be quite that of the
# two values at the left. In the table an asterisk stands where only the correction undoes an interval without zero.

# %%
for number, (ground, test) in enumerate(zip(there, tests), 1):
    if len(test):
        figures.show(
            figures.runs_forest(ground, test),
            alt=paired.spoken(ground, test),
            caption=f"Comparison {number}: {ground.title}. Reference: {test['second'][0]}. {len(test)} comparisons, "
            f"{ground.draws:,} draws over {ground.patients} patients.",
        )

# %%
for number, (ground, test) in enumerate(zip(there, tests), 1):
    display(Markdown(f"Comparison {number}, {ground.title}"), paired.shown(ground, test))

# %% [markdown]
# ## In words
#
# What these numbers allow to say, the differences in brackets:

# %%
words = []
for number, (ground, test) in enumerate(zip(there, tests), 1):
    words.append(f"**Comparison {number}**, {tables.label(metric, 'macro')}, {ground.title}:\n")
    words += [f"- {sentence}" for sentence in paired.sentences(ground, test)]
    words.append("")
Markdown("\n".join(words))

# %% [markdown]
# ## Class by class
#
# The means hide in which disease a method is strong. No test is made here: so many cells would need one each.

# %%
for number, ground in enumerate(there, 1):
    values = paired.pooled(ground)
    figures.show(
        figures.class_heat(values, metric=metric),
        alt=f"{tables.label(metric)} of {len(ground.lines)} models for each of {len(ground.classes)} classes, as a "
        f"table of colours; the best mean is that of {values['label'][0]}.",
        caption=f"Comparison {number}: {ground.title}. Mean over seeds.",
    )

# %% [markdown]
# ## What runs said of themselves
#
# Runs that did not keep their predictions cannot be measured anew, and not be paired with others. These are their own
# numbers, with the differences that they themselves measured; the p-values here are not corrected for anything.

# %%
alone = comparison.recorded(found, sorted_out.apart, metric=metric, protocols=protocols, models=models)
for (name, kind), part in alone.groupby(["run", "protocol"], sort=False):
    own = part.set_index("model")[["value", "low", "high", "p", "n"]].rename_axis(None)
    text = [tables.written(row.value, row.low, row.high, sign=" - " in row.Index) for row in own.itertuples()]
    display(
        Markdown(f"**{name}**, {kind}, {own['n'].iloc[0]} test records:"),
        pd.DataFrame({tables.label(metric, "macro"): text, "p": own["p"].map(paired.chance)}, own.index),
    )
Markdown("" if len(alone) else "There are none.")

# %% [markdown]
# ## Learning curves
#
# Validation after each epoch: the mean over seeds, and a band from the lowest seed to the highest. Where a
# curve still rises at its end, more epochs might have gone further, and comparing ends compares training lengths too.

# %%
curves = comparison.curves(found, models=models)
if len(curves):
    shapes = curves.groupby("configuration")["model"].nunique()
    figures.show(
        figures.seed_curves(curves),
        alt=f"Validation macro AUC by epoch of {shapes.sum()} models in {len(shapes)} settings, with bands over seeds.",
        caption="Validation macro AUC. One panel for each setting; runs that kept no such curve are not shown.",
    )

# %% [markdown]
# ## Cost against quality
#
# What a run took, all its models, seeds and evaluations together, against what its models reached. Times compare only
# between runs on the same device with as many threads; the table says on which each was made. `parameters` counts
# the numbers in the largest model that a run saved, and stands there where models were kept.

# %%
costs = comparison.costs(found, there)
if (costs["best"] & costs["value"].notna()).sum() > 1:
    figures.show(
        figures.cost_quality(costs, metric=metric, titles=[f"Comparison {n}" for n in range(1, len(there) + 1)]),
        alt=f"Minutes that each run took, on a logarithmic scale, against {tables.label(metric, 'macro')} of its models.",
        caption="The best model of each run by its test value, with its 95 % interval over patients; rings: the others.",
    )
columns = ["runs", "device", "threads", "minutes", "peak_gib", "trainings", "epochs", "parameters"]
spent = costs[columns].drop_duplicates().set_index("runs").dropna(axis=1, how="all").rename_axis(None)
spent.round(1).rename(columns={"peak_gib": "peak memory (GiB)"})

# %% [markdown]
# ## To take away
#
# `tables/` in this run's folder: every metric of every run in one tidy table, the pooled values, the differences, the
# costs and the curves as CSV, and a LaTeX table (booktabs) for each comparison. There, the best value is bold only
# where it is told apart from every other.

# %%
exports = {"metrics.csv": comparison.collect(found), "costs.csv": costs, "curves.csv": curves}
if there:
    exports["pooled.csv"] = pd.concat([paired.pooled(ground).assign(comparison=n) for n, ground in enumerate(there, 1)])
    exports["paired.csv"] = pd.concat([test.assign(comparison=n) for n, test in enumerate(tests, 1)])
for name, table in exports.items():
    run.export(name, table.to_csv(index=False))
for number, (ground, against) in enumerate(zip(there, references), 1):
    run.export(f"comparison_{number}.tex", paired.to_latex(ground, against, tag=f"comparison-{number}"))
print("\n".join(f"{path.name}: {path.stat().st_size / 1000:,.0f} kB" for path in sorted((run.path / "tables").iterdir())))

# %% [markdown]
# ## What is kept
#
# The pooled values and the paired differences are the metrics of this run too.

# %%
run.metrics([row for ground, test in zip(there, tests) for row in paired.rows(ground, test)])
run.finish()
print("\n".join(sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))))
