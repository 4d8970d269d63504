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
# # What is in this cohort?
#
# No paper and no model: this notebook looks at the records before anything is trained on them. Who they are, how they
# are labelled and divided, which of them are bad, what their hearts do, and, where a second cohort is named, how far the
# two are apart. What a network later learns from two hospitals at once is often told by these pictures already.
#
# It takes every kind of data that the other notebooks take. The synthetic records that come with the code are the
# default; `-p data=FOLDER` on the command line, or the parameter below, names others.

# %%
from typing import Literal

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
data: str = "synthetic"  # "synthetic" (embedded), or a folder: PTB-XL, another published data set, WFDB records, a cohort
compare_with: str = ""  # a second one, drawn beside the first; "synthetic" is then another draw of it; "" leaves it out
records: int = 2000  # how many synthetic records; real data ignore it
rate: int = 100  # Hz; records of another rate are resampled
task: str = "superclass"  # whose classes are shown; PTB-XL: superclass, subclass, diagnostic, form, rhythm, all; no labels: ignored
bad_records: Literal["drop", "keep"] = "keep"  # records with missing samples or flat leads; kept, they are among the worst below
show: int = 3  # how many records are drawn at random, slowest and fastest each
draws: int = 1000  # bootstrap draws over patients, for the intervals
seed: int = 0  # which records are drawn, and which synthetic ones there are
progress: Literal["bar", "lines", "none"] = "bar"  # "bar" also offers records to choose from, where somebody can choose
cache: str = "cache"  # where cohorts are built, once; from the repository's root
out: str = "reports/explore_cohort/manual"  # where the results go; from the repository's root

# %%
import os
from textwrap import shorten

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from scipy.signal import welch
from scipy.stats import quantile_test

from ecglib import datasets, figures, heart_rate, protocol, results
from ecglib.bootstrap import Bootstrap, interval
from ecglib.datasets.quality import LIMB_MV
from ecglib.leads import LEADS, limb_residual

pd.set_option("display.max_colwidth", None)
os.chdir(results.root())  # every path in the parameters is taken from the repository's root
protocol.require(show=show, draws=draws)
run = results.Run(out, device="cpu")

# %% [markdown]
# ## What it says of itself
#
# The notes are what the reader of the data found on its way: what it left out, what it changed, what it could not
# explain.

# %%
options = {"rate": rate, "cache": cache, "records": records, "bad": bad_records, "resample": True, "progress": False}
cohort = datasets.load(data, seed=seed, **options)
title = cohort.info.title
cohorts = {title: cohort}
run.data(cohort)
if compare_with:
    other = datasets.load(compare_with, seed=seed + 1, **options)
    cohorts[other.info.title if other.info.title != title else f"{title}, second"] = other
    run.data(other, role="compared with")
classes = cohort.classes(task) if cohort.info.label_sets else ()
notes = [(name, note) for name, each in cohorts.items() for note in each.info.notes or ["nothing to note."]]
Markdown("\n".join(f"- **{name}**: {note}" for name, note in notes))

# %%
facts = {}
for name, each in cohorts.items():
    table, several = each.records, each.records["patient"].value_counts()
    ages, sexes = table["age"].dropna(), table["sex"].value_counts(normalize=True)
    facts[name] = {
        "records": f"{len(each):,} records",
        "patients": f"{len(several):,}, of whom {(several > 1).sum():,} with several records",
        "signals": f"{len(each.leads)} leads, {each.length / each.rate:g} s at {each.rate} Hz",
        "ages": "median {:.0f} years, middle half {:.0f} to {:.0f}".format(*ages.quantile([0.5, 0.25, 0.75])) if len(ages) else "none",
        "sexes": ", ".join(f"{share:.0%} {sex}" for sex, share in sexes.items()) or "not said",
        "folds": f"{len(each.folds())} folds" if each.folds() else "none",
        "tasks (classes)": ", ".join(f"{name} ({len(each.classes(name))})" for name in each.info.label_sets) or "no labels",
        "licence": each.info.licence or "not said",
    }
pd.DataFrame(facts)

# %% [markdown]
# ## Who the patients are

# %%
columns = ["record", "patient", "fold", "age", "sex"]
frame = pd.concat([each.records[columns].assign(cohort=name) for name, each in cohorts.items()], ignore_index=True)
figures.show(
    figures.people(frame),
    alt="Distribution of ages, shares of the sexes and number of records per patient of " + " and ".join(cohorts) + ".",
    caption="An age of 90 may stand for everybody above 89, as published data have it.",
)

# %% [markdown]
# ## The classes
#
# A record has every class that one of its statements belongs to. The intervals are 95 % bootstrap intervals over
# patients: how far the share would move had other patients come. A class of no record, or of every one, has none:
# drawing the same patients again cannot tell what others would bring.

# %%
shares = []
for name, each in cohorts.items():
    if task in each.info.label_sets:
        y = each.labels(task)  # (N, C)
        weights = Bootstrap(y, each.records["patient"], draws=draws).weights  # (D, N)
        low, high = interval(weights @ y / weights.sum(axis=1, keepdims=True))  # (D, C) -> (C,) and (C,)
        found = {"class": each.classes(task), "records": y.sum(axis=0).astype(int), "share": y.mean(axis=0)}
        some = (y.min(axis=0) < y.max(axis=0))  # (C,)
        found |= {"low": np.where(some, low, np.nan), "high": np.where(some, high, np.nan)}
        shares.append(pd.DataFrame(found).assign(cohort=name, of=len(each)))
shares = pd.concat(shares) if shares else pd.DataFrame(columns=["cohort", "class", "records", "share", "low", "high", "of"])
percent = shares.assign(**{column: 100 * shares[column] for column in ("share", "low", "high")})
common = list(percent.groupby("class")["records"].sum().sort_values(ascending=False, kind="stable").index[:30])

# %%
written = percent.assign(text=percent["records"].map("{:,}: ".format) + percent["share"].map("{:.1f} %".format))
written["text"] += [f" [{r.low:.1f}, {r.high:.1f}]" if np.isfinite(r.low) else "" for r in written.itertuples()]
table = written.pivot(index="class", columns="cohort", values="text").loc[common].fillna("not a class here")
unlabelled = [name for name, each in cohorts.items() if task not in each.info.label_sets]
if common:
    display(table[[name for name in cohorts if name in table]].rename_axis(columns=None))
Markdown(f"Without classes of the task {task}: {', '.join(unlabelled)}." if unlabelled else "")

# %%
if common:
    figures.show(
        figures.class_shares(percent, common),
        alt=f"Share of the records with each class of the task {task}, with 95 % intervals.",
        caption=f"Task {task}: the {len(common)} most common classes." if len(common) == 30 else f"Task {task}.",
    )

# %%
if classes:
    several = np.sort(np.argsort(-cohort.labels(task).sum(axis=0), kind="stable")[:20])
    less = f" The {len(several)} most common of {len(classes)} classes." if len(several) < len(classes) else ""
    figures.show(
        figures.co_occurrence(cohort.labels(task)[:, several], [classes[k] for k in several]),
        alt=f"Which classes of the task {task} occur together in a record of {title}.",
        caption=f"{title}: of the records with the row's class, the share (%) that also has the column's.{less}",
    )

# %% [markdown]
# ## Folds
#
# Who is in two folds is in training and in test, and is recognised there. The sum proves that nobody is: patients
# counted fold by fold come to as many as there are.

# %%
inside, folds = cohort.records.dropna(subset="fold"), cohort.folds()
each = inside.groupby("fold")["patient"].nunique()
sum_of = " + ".join(f"{n:,}" for n in each)
twice = cohort.patients_in_several_folds()
verdict = f"**in several folds: {len(twice):,}** ({', '.join(twice[:5])})" if twice else "nobody is in two folds"
proof = f"The folds hold {sum_of} = {each.sum():,} patients; there are {inside['patient'].nunique():,} in them: {verdict}."
Markdown(proof if folds else f"{title} has no folds: a split has to be made before anything is trained, by patient.")

# %%
if folds:
    labels = cohort.labels(task) if classes else np.zeros((len(cohort), 0))
    figures.show(
        figures.fold_overview(inside["fold"], inside["patient"], labels[inside.index], classes),
        alt=f"Records and patients in each fold of {title}, and the share of each class there.",
        caption="Classes that are rare in one fold are measured badly there.",
    )

# %% [markdown]
# ## Quality
#
# Five numbers for each record, from its signal alone, each lead's mean taken away:
#
# - **largest**: the largest deflection in any lead, mV. A surface ECG stays within a few;
# - **flattest**: the standard deviation of the quietest lead, mV. Near 0 the electrode was off;
# - **wander**: how much the means of whole seconds differ in the worst lead, mV: breathing, movement;
# - **limb**: how far the limb leads are from Einthoven's and Goldberger's relations, mV. These are arithmetic, so
#   beyond rounding they tell of exchanged or broken leads;
# - **heart rate**: see below.

# %%
parts = []
for each in cohorts.values():
    limb = {"I", "II"} <= set(each.leads) and not set(LEADS[2:6]).isdisjoint(each.leads)
    for start in range(0, len(each), 256):  # in chunks: memory does not grow with the cohort
        x = each.signal_mv(slice(start, start + 256))  # (n, L, T) mV
        x -= x.mean(axis=-1, keepdims=True)
        whole = x[..., : each.length // rate * rate]
        means = whole.reshape(*x.shape[:2], -1, rate).mean(axis=-1)  # (n, L, T) -> (n, L, seconds)
        part = pd.DataFrame(np.ptp(x, axis=-1), columns=list(each.leads))
        part["largest"], part["flattest"] = np.abs(x).max(axis=(1, 2)), x.std(axis=-1).min(axis=1)
        part["wander"] = means.std(axis=-1).max(axis=1)
        part["limb"] = limb_residual(x, each.leads).max(axis=-1) if limb else np.nan
        part["heart rate"] = heart_rate.heart_rate(x, rate=rate)
        parts.append(part)
frame = frame.join(pd.concat(parts, ignore_index=True))
own = frame[frame["cohort"] == title].reset_index(drop=True)

# %%
measures = ["largest", "flattest", "wander", "limb", "heart rate"]
of = {"min": "least", "1%": "1st percentile", "50%": "median", "99%": "99th percentile", "max": "most"}
quantiles = frame.groupby("cohort", sort=False)[measures].describe(percentiles=[0.01, 0.5, 0.99]).stack(0, future_stack=True)
quantiles = quantiles[list(of)].rename(columns=of).round(3)
counts = {
    "a lead that is flat throughout": (frame["flattest"] < 1e-6),
    "a deflection beyond 5 mV": (frame["largest"] > 5),
    f"limb leads that disagree by more than {LIMB_MV} mV": (frame["limb"] > LIMB_MV),
    "no heart rate found": frame["heart rate"].isna(),
}
display(quantiles)
pd.DataFrame({what: where.groupby(frame["cohort"], sort=False).sum() for what, where in counts.items()}).T

# %%
figures.show(
    figures.distributions(
        frame, {name: f"{name} (mV)" for name in measures[:4]}, log=measures[:4]
    ),
    alt="Distributions of largest deflection, quietest lead, wander and limb lead residual over the records.",
    caption="Logarithmic axes; exact zeros are not drawn. Dashed: the median.",
)

# %% [markdown]
# ### The worst of each kind
#
# Not to be thrown away unseen: the largest deflection may be a hypertrophied heart.

# %%
worst = {"largest deflection": own["largest"], "quietest lead": -own["flattest"], "most wander": own["wander"]}
if own["limb"].max() > LIMB_MV:
    worst["limb leads disagree"] = own["limb"]
for what, values in worst.items():
    row, value = int(values.argmax()), abs(values.max())
    figures.show(
        figures.record_page(cohort, row, f"{what}, {value:.2f} mV"),
        alt=f"Record {own['record'][row]} on ECG paper, the worst by {what}.",
    )

# %% [markdown]
# ## Records at random

# %%
rng = np.random.default_rng(seed)
for row in rng.choice(len(cohort), min(show, len(cohort)), replace=False):
    figures.show(figures.record_page(cohort, int(row)), alt=f"Record {own['record'][row]} on ECG paper, drawn at random.")

# %% [markdown]
# ### One of each class

# %%
lead = "II" if "II" in cohort.leads else cohort.leads[0]
here = [name for name in common if name in classes and cohort.labels(task)[:, classes.index(name)].any()][:8]
if here:
    chosen = [int(rng.choice(np.flatnonzero(cohort.labels(task)[:, classes.index(name)]))) for name in here]
    said = [shorten(", ".join(cohort.records["statements"][row]), 80, placeholder=" ...") for row in chosen]
    titles = [f"{name}: record {own['record'][row]} ({words})" for name, row, words in zip(here, chosen, said)]
    figures.show(
        figures.record_strips(cohort.signal_mv(chosen, leads=[lead])[:, 0], rate=rate, lead=lead, titles=titles),
        alt=f"Lead {lead} of one record of each of the classes {', '.join(here)}.",
        caption=f"Lead {lead} of a record of each class, drawn at random; its statements in brackets.",
    )

# %% [markdown]
# ## Heart rates
#
# From R peaks found in all leads at once: 60 / the median RR interval (`ecglib/heart_rate.py` says how good that is). The
# statements of rhythm are a check that costs nothing: bradycardia should lie below 60, tachycardia above 100.

# %%
tasks = [name for name in dict.fromkeys([task, "rhythm"]) if name in cohort.info.label_sets]
for name in tasks:
    place, column = np.nonzero(cohort.labels(name))  # a row for each record and class that it has
    by_class = pd.DataFrame({"class": np.array(cohort.classes(name))[column], "heart_rate": own["heart rate"].to_numpy()[place]})
    by_class = by_class[by_class["class"].isin(by_class["class"].value_counts().index[:30])].dropna()
    if len(by_class):
        figures.show(
            figures.rates_by_class(by_class, of=f"{name} (records)"),
            alt=f"Heart rates of the records of each class of the task {name} in {title}.",
            caption=f"{title}, task {name}. Boxes: quartiles; whiskers: 5th and 95th percentile.",
        )

# %%
ordered = own["heart rate"].dropna().sort_values().index
chosen = list(dict.fromkeys([*ordered[:show], *ordered[-show:]]))
if chosen:
    signals = cohort.signal_mv(chosen)
    titles = [f"Record {own['record'][row]}: {own['heart rate'][row]:.0f} bpm" for row in chosen]
    fig = figures.record_strips(
        signals[:, cohort.leads.index(lead)], rate=rate, lead=lead, titles=titles,
        peaks=heart_rate.r_peaks(signals, rate=rate),
    )  # fmt: skip
    figures.show(
        fig,
        alt=f"Lead {lead} of the slowest and the fastest records of {title}, with the R peaks that were found.",
        caption="The slowest and the fastest. A triangle stands below each R peak that was found: here is where the search errs.",
    )

# %% [markdown]
# ## Side by side
#
# Age, rate, amplitude and spectrum differ between hospitals, recorders and filters, and a network sees all of that. With
# one cohort, these are its own. Boxes as high as one another in every lead tell that leads were scaled, each by its own.

# %%
figures.show(
    figures.distributions(frame, {"age": "age (years)", "heart rate": "heart rate (bpm)"}),
    alt="Distributions of age and heart rate of " + " and ".join(cohorts) + ".",
    caption="Dashed: the median. Each cohort is scaled by its own number of records.",
)
shared = [name for name in cohort.leads if all(name in each.leads for each in cohorts.values())]
long = frame.melt("cohort", shared, var_name="lead", value_name="mv")
figures.show(
    figures.amplitudes(long),
    alt="Peak-to-peak amplitude of each lead of " + " and ".join(cohorts) + ".",
    caption="Boxes: quartiles; whiskers: 5th and 95th percentile. Flat leads are left out.",
)

# %%
found = {}
for name, each in cohorts.items():
    sample = rng.choice(len(each), min(400, len(each)), replace=False)
    trace = each.signal_mv(sample, leads=[lead])[:, 0]  # (n, T) mV
    found[name] = welch(trace, fs=rate, nperseg=min(4 * rate, each.length))
figures.show(
    figures.spectra(found, lead=lead),
    alt=f"Power spectrum of lead {lead} of " + " and ".join(cohorts) + ".",
    caption="Median over up to 400 records and their middle half. A filter shows as a cliff, the mains as a spike at 50 or 60 Hz.",
)

# %% [markdown]
# ## Choose for yourself
#
# In JupyterLab, with `progress` left at "bar", a class and a record can be chosen here. A report shows nothing.

# %%
chooser = figures.browse(cohort, task if classes else "") if progress == "bar" else None
if chooser is not None:
    display(chooser)

# %% [markdown]
# ## What is kept
#
# The share of each class, and the median heart rate over patients in each, with its 95 % interval (of the order statistics,
# which supposes no shape; a patient counts once, by the median of the records).

# %%
rows = []
same = {"model": "records", "split": "all", "seed": None}
for line in shares.to_dict("records"):
    about = {"protocol": task, "data": line["cohort"], "metric": "share", "class": line["class"], "n": line["of"]}
    rows.append(same | about | {"value": line["share"], "low": line["low"], "high": line["high"]})
for name, each in cohorts.items():
    rates = frame.loc[frame["cohort"] == name, ["patient", "heart rate"]].reset_index(drop=True)
    for kind in [kind for kind in dict.fromkeys([task, "rhythm"]) if kind in each.info.label_sets]:
        for label, has in zip(each.classes(kind), each.labels(kind).T > 0):
            once = rates[has].groupby("patient")["heart rate"].median().dropna()
            low, high = quantile_test(once, p=0.5).confidence_interval(0.95) if len(once) else (np.nan, np.nan)
            known = (low, high) if np.isfinite([low, high]).all() else (np.nan, np.nan)
            about = {"protocol": kind, "data": name, "metric": "heart_rate_median", "class": label, "n": int(has.sum())}
            rows.append(same | about | {"value": once.median(), "low": known[0], "high": known[1]})
run.metrics(rows)

# %%
run.finish()
print("\n".join(sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))))
