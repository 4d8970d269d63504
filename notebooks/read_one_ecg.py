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
# # One ECG, read by a saved network
#
# **Not a medical device.** This page shows what a research network makes of one ECG: to understand the network, not the
# patient. It has seen few records, from few places; it knows a handful of classes and answers within them whatever it is
# shown; it was not tested in care. Nothing here is a diagnosis, and nobody may be treated, or left untreated, by it.
#
# Give it a record's file or a page's image, and a network that one of the notebooks has saved. It answers four questions:
#
# 1. Which probabilities does the network give, and **how often is that so** among records that it was not trained on?
# 2. Which **training records** look like this one, in its eyes, and what did they have?
# 3. **What did it look at**: which pieces of the trace, or of the page, move its probability when they are taken away?
# 4. Is the ECG one that it can be asked about at all?

# %% [markdown]
# ## Parameters
#
# By itself the notebook trains a small network on synthetic records, half a minute, and reads a synthetic record; so it
# runs in a fresh clone. A real reading names `record`, `model`, and as `reference` the data that the model was trained on.

# %% tags=["parameters"]
from typing import Literal

# The ECG
record: str = "synthetic"  # a record's file (WFDB, EDF, DICOM, CSV, NumPy), a page (PNG, JPEG, PDF), or "synthetic:17"
record_rate: float = 0.0  # Hz, for files that do not say it; 0 = the file says
record_unit: Literal["", "mV", "uV"] = ""  # of the samples, for files that do not say it
record_leads: list[str] = []  # names of the leads, for files that do not say them
# The network
model: str = "train"  # a folder such as reports/lead_kd/demo/model/teacher; "train" makes a small one here
# What it is compared with: the data that the network was trained on
reference: str = "synthetic"  # "synthetic", or a folder: PTB-XL, a cohort
records: int = 1200  # how many synthetic records; real data ignore it
rate: int = 100  # Hz of the reference; the model's
task: str = "superclass"  # label set of the network's classes
train_folds: list[int] = [1, 2, 3, 4, 5, 6, 7, 8]  # where similar records are looked for
reference_folds: list[int] = [9]  # calibrate on these: not trained on; never the test folds
# What is shown
neighbours: int = 4  # similar records
explained: int = 2  # classes whose evidence is shown: the most probable ones
window_s: float = 0.2  # seconds of a trace that are taken out at a time
draws: int = 200  # bootstrap draws over the reference's patients
# The run
seed: int = 0  # of the small network and of the bootstrap
device: str = "auto"  # auto, cpu, cuda: where the small network is trained
cache: str = "cache"  # where cohorts are built, once; from the repository's root
out: str = "reports/read_one_ecg/manual"  # where the results go; from the repository's root

# %%
import os

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from ecglib import datasets, devices, explain, figures, protocol, reading, results
from ecglib.errors import InputError
from ecglib.methods.page_view import PageView
from ecglib.metrics import best_thresholds

pd.set_option("display.max_colwidth", None)
os.chdir(results.root())  # every path in the parameters is taken from the repository's root
protocol.require(draws=draws, neighbours=neighbours, explained=explained)
device = devices.usable(device)
run = results.Run(out, device=device)
ecg = reading.open_ecg(record, rate=record_rate, unit=record_unit, leads=record_leads)

# %% [markdown]
# ## The network, and what it was trained on
#
# Its card says what it knows: classes, leads, rate, normalisation. A class that is not among them cannot be found, and a
# record that is of none of them still gets probabilities.

# %%
cohort = datasets.load(reference, rate=rate, cache=cache, records=records, progress=False)
known = cohort.labelled(task)
folds = {"train_folds": train_folds, "valid_folds": reference_folds}
if model == "train":
    view = reading.train_one(cohort, task, train=train_folds, valid=reference_folds, seed=seed, device=device)
else:
    view = reading.load_model(model)
reads_pages = isinstance(view, PageView)
card = view.card() | {"trained": "here, on synthetic records" if model == "train" else model}
shown = ["trained", "classes", "leads", "rate_hz", "window_s", "size_px", "backbone"]
said = {name: " ".join(map(str, card[name])) if isinstance(card[name], list) else str(card[name]) for name in shown if name in card}
pd.Series(said, name="the network").to_frame()

# %%
similar_in, held_out = known.in_folds(train_folds), known.in_folds(reference_folds)
classes = view.classes
if missing := sorted(set(classes) - set(known.classes(task))):
    raise InputError(f"The reference's task {task} lacks the network's classes {', '.join(missing)}; give the network's own data.")
columns = [known.classes(task).index(name) for name in classes]
run.data(cohort, similar=len(similar_in), held_out=len(held_out))
Markdown("\n".join(f"- {note}" for note in cohort.info.notes))

# %% [markdown]
# ## The ECG

# %%
given = reading.given_to(view, ecg)
if reads_pages:
    fig = figures.pages(given.numpy(), [f"{ecg.name}, as the network gets it"], columns=1)
elif set(cohort.leads) <= set(ecg.leads):
    fig = figures.ecg_page(np.nan_to_num(ecg.signal[:, : int(10 * ecg.rate)]), rate=ecg.rate, leads=ecg.leads, title=ecg.said)
else:
    fig = figures.ecg_page(given[0].numpy(), rate=view.rate, leads=view.leads, layout="column", title=ecg.said)
figures.show(
    fig,
    alt=f"The ECG that is read, {ecg.said}, on ECG paper.",
    caption=f"{ecg.said}. " + ("The page as it was read." if reads_pages else "25 mm/s, 10 mm/mV."),
)

# %% [markdown]
# ## Probabilities, and how often they are right
#
# A network's probability is a score until it was compared with records that it was not trained on. The validation folds'
# records say how often a class is there when the network gives it such a score (Platt scaling; the interval is of a
# bootstrap over their patients). That holds for records like those of the reference: from elsewhere, other machines,
# other patients, it may not; and these records have also chosen the epoch whose weights were kept, which flatters a
# little. For a network of pages they are drawn on clean paper: what a scan or a photograph changes is not in the
# interval. A star marks a score more extreme than any of the reference.

# %%
own = reading.seen(view, given)
held = reading.seen_in(view, held_out)
table = reading.calibrated(
    own.p.mean(axis=0), held.p, held_out.labels(task)[:, columns], held_out.records["patient"], classes,
    draws=draws, seed=seed,
)  # fmt: skip
fig = figures.calibrated_probabilities(table)
spoken = "; ".join(f"{name} {row.calibrated:.2f} [{row.low:.2f}, {row.high:.2f}]" for name, row in table.iterrows())
figures.show(
    fig,
    alt=f"Calibrated probability of each class with its interval: {spoken}.",
    caption=f"Calibrated on {len(held_out):,} records of the reference, fold{'s' * (len(reference_folds) > 1)} "
    f"{', '.join(map(str, reference_folds))}.",
)

# %%
if len(given) > 1:
    display(Markdown(f"The record was read in {len(given)} pieces of {reading.SECONDS:g} s; their probabilities are averaged."))
if len(silent := table.index[~table["tells"]]):
    display(Markdown(f"**{', '.join(silent)}**: among these records a higher score does not surely go with more of the "
                     "class, so that the network says little about it."))  # fmt: skip

# %%
table.drop(columns=["beyond", "tells"]).round(3)

# %% [markdown]
# ## Where to cut?
#
# A probability becomes a yes or no by a threshold, and every threshold trades what is missed for false alarms. Below, the
# thresholds of the best F1 on the same held-out records, with what they do there; predictive values hold at this share of
# the class only. In JupyterLab a slider moves the threshold of a class.

# %%
truth = held_out.labels(task)[:, columns]
figures.operating_points(truth, held.p, best_thresholds(truth, held.p), classes).round(3)

# %%
figures.browse_thresholds(truth, held.p, classes, first=table["model"].idxmax())

# %% [markdown]
# ## Is it an ECG like those of the reference?
#
# How far is this record, in the network's features, from its nearest training record, beside the same for records of the
# reference that it was not trained on either? One that lies further out than nearly all of them is none that the
# probabilities above were made for.

# %%
trained = reading.seen_in(view, similar_in)
order, closeness = reading.similar(own.features.mean(axis=0), trained.features, count=neighbours)
usual = reading.nearest_similarity(held.features, trained.features)
below = float((usual < closeness[0]).mean())
Markdown(
    f"The nearest training record has a similarity of {closeness[0]:.2f}; of {len(usual):,} held-out records, "
    f"{below:.0%} are further from theirs than this one (their median is {np.median(usual):.2f})."
    + (" **It lies further out than 95 % of them: do not trust the probabilities.**" if below < 0.05 else "")
)

# %% [markdown]
# ## Similar records
#
# The training records that the network's features put nearest: not those that a person would call alike, but those that
# it treats alike. What they had is the plainest reason for what it says.

# %%
rows = similar_in.records.iloc[order]
pd.DataFrame(
    {
        "similarity": closeness.round(3), "record": rows["record"].to_numpy(), "age": rows["age"].to_numpy(),
        "sex": rows["sex"].to_numpy(), "statements": [", ".join(each) for each in rows["statements"]],
    },
    index=range(1, len(rows) + 1),
)  # fmt: skip

# %%
fig = figures.record_page(similar_in, int(order[0]), title="The nearest")
figures.show(
    fig,
    alt=f"The most similar training record, {rows['record'].iloc[0]}, on ECG paper.",
    caption=f"Similarity {closeness[0]:.2f}. Statements: {', '.join(rows['statements'].iloc[0])}.",
)

# %% [markdown]
# ## What it looked at
#
# For a signal: pieces of the trace are replaced by a straight line, one lead at a time and all leads at once, and the
# probability is asked again. For a page: Grad-CAM, where on it the evidence stands. Either says what the network uses,
# not that it is right to.

# %%
for name in table["model"].sort_values(ascending=False).index[: explained]:
    if reads_pages:
        heat = explain.grad_cam(view, given[:1], name)
        placed = view.placed(given[:1])
        fig = figures.page_attention(placed[0].numpy(), heat[0].numpy(), title=f"Evidence for {name}")
        words = "Warm: where the evidence stands, as a share of the highest."
    else:
        change = explain.occlusion(view, given[0], name, window_s=window_s)
        fig = figures.trace_importance(
            given[0].numpy(), change, rate=view.rate, window_s=window_s, leads=view.leads, title=f"Evidence for {name}"
        )
        words = f"Blue: without this piece of {window_s:g} s the probability falls; red: it rises."
        words += f" The first {reading.SECONDS:g} s." if len(given) > 1 else ""
    figures.show(fig, alt=f"The ECG with the places marked that move the probability of {name}.", caption=words)

# %% [markdown]
# ## What is kept
#
# The table of probabilities as `metrics.json`, each with its interval. Nothing of the record leaves this folder.

# %%
row = {"protocol": "one record", "data": cohort.info.name, "split": "reading", "metric": "calibrated probability"}
run.metrics(
    {"model": card["backbone"], **row, "class": name, "value": each.calibrated, "low": each.low, "high": each.high,
     "seed": seed, "n": len(held_out)}
    for name, each in table.iterrows()
)  # fmt: skip
run.predictions(table.rename_axis("class").reset_index())
run.history(pd.DataFrame({"model": [card["backbone"]], "records": [len(similar_in)]}))
run.finish()
