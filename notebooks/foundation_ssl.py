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
# # What ECGs teach without labels: generative, contrastive and hybrid pre-training
#
# **The paper.** *Foundation Models for Electrocardiograms*, [arXiv 2407.07110](https://arxiv.org/abs/2407.07110). It has
# three versions: the first (June 2024) adapts generative and contrastive self-supervised learning to ECGs; the second
# (October 2024) compares both with a **hybrid** that joins them, and finds the hybrid best; the third (August 2025) calls
# it CREMA, a *contrastive regularised masked autoencoder*.
#
# **The idea.** An encoder first learns from records alone, without a label:
#
# - **generative**: a masked autoencoder (**MAE**) hides parts of the signal and rebuilds them from the rest;
# - **contrastive**: two views of a record must find each other among those of other records. What the views are makes the
#   method: augmented windows (**SimCLR**), two segments one after the other (**CMSC**), windows with leads silenced at
#   random (**RLM**);
# - **hybrid**: L = L_MAE + λ · L_contrast.
#
# Then few labels should do. **The question here:** under one protocol for all, does the hybrid beat both of its parts,
# and by how much does any of them beat an encoder of random weights, and training from scratch?

# %% [markdown]
# ## What was published, what is ours
#
# No code and no weights were found, and of the paper's text little beyond its abstracts. **This is a reconstruction in
# the spirit of the paper; its settings are ours**, each a parameter below.
#
# | part | the paper | this notebook |
# |---|---|---|
# | encoder | "CNN + ViT" (second-hand); "Signal Transformer" of local waveform and global time (third version) | `conv_vit_*`: strided convolutions to one token per 16 samples, then a vision transformer; `ecg_vit_*`: a patch of one lead is a token; `xresnet1d*` |
# | generative | masked autoencoder (third version) | hidden cells are cut out (`ecg_vit`) or set to 0 before the convolutions; loss on them alone |
# | contrastive | which methods: not found | SimCLR, CMSC, RLM, all by NT-Xent on the pooled vector |
# | hybrid | a contrastive regulariser beside the masked autoencoder; weight and views: not found | λ is `contrast_weight`; two windows of a record are the pair, the first masked, the second as `second_view` says |
# | pre-training data | over a million records (second-hand: MIMIC-IV-ECG, CODE-15%, UK Biobank, SaMi-Trop, IKEM) | the training folds, and any further cohorts in `pretrain_on` |
# | protocol | linear probe and fine-tuning | the same, with an attention probe, shares of the labels, a random encoder and training from scratch beside |
# | numbers | every table: not found | intervals over patients, paired differences |

# %%
from typing import Literal

# %% [markdown]
# ## Parameters
#
# A preset in `params/foundation_ssl/` overrides some of them; so does `-p name=value` on the command line.

# %% tags=["parameters"]
# Data
data: str = "synthetic"  # "synthetic" (embedded, drawn from a model of the heart's vector), or a folder: PTB-XL, a cohort
records: int = 3000  # how many synthetic records; real data ignore it
rate: int = 100  # Hz; PTB-XL has 100 and 500; other cohorts are resampled to it
task: str = "superclass"  # the label set of every comparison
further_tasks: list[str] = []  # more label sets, for linear probes alone: subclass, diagnostic, form, rhythm, all
rare_classes: Literal["refuse", "drop"] = "refuse"  # a class without a positive in one part: stop, or leave it out; dropped in further_tasks
bad_records: Literal["drop", "keep"] = "drop"  # records with missing samples or flat leads
train_folds: list[int] = [1, 2, 3, 4, 5, 6, 7, 8]  # pre-training and labels; PTB-XL keeps each patient in one fold
valid_folds: list[int] = [9]  # choose epochs and strengths; never seen in pre-training
test_folds: list[int] = [10]  # read once, after every choice; never seen in pre-training
pretrain_on: list[str] = []  # further folders of records to pre-train on; labels are not needed
limit_mv: float = 5.0  # records that go beyond are not pre-trained on (loose electrodes, saturation); 0 keeps all
second_site: str = ""  # a folder with the same task from elsewhere, to test on without training; "synthetic" is another seed's
ludb: str = ""  # the folder of LUDB, for delineation; empty leaves it out
# Encoder
encoder: str = "conv_vit_nano"  # conv_vit_ or ecg_vit_ with nano, tiny, small, base; xresnet1d18 to xresnet1d152
window_s: float = 2.56  # seconds that the encoder sees at once; records are embedded as the mean over windows
normalise: Literal["lead", "scalar", "record", "none"] = "lead"  # "lead": a mean and deviation per lead, from the training folds
# Objectives
objectives: list[str] = ["MAE", "SimCLR", "CMSC", "RLM", "hybrid"]  # what is pre-trained and compared
pretrained_from: str = ""  # a run's model/ folder: its encoders are taken, and nothing is pre-trained
mask_ratio: float = 0.5  # share of the signal that is hidden
lead_mask_ratio: float = 0.0  # share of the leads that are hidden whole, within mask_ratio
mask_together: Literal["leads", "none"] = "leads"  # hide the same times in all leads, or each lead's own
normalise_patches: bool = True  # the target is each cell by its own mean and deviation
decoder_dim: int = 64  # of the masked autoencoder's decoder, which is thrown away
contrast_weight: float = 0.1  # lambda of the hybrid, tried on validation; 0 is the masked autoencoder
second_view: Literal["whole", "masked"] = "whole"  # what the hybrid's encoder sees of the second window
temperature: float = 0.1  # of every contrast; lower tells near neighbours apart more sharply
lead_silence: float = 0.5  # RLM: probability of a lead to be silenced
amplitude: float = 0.2  # augmentation: random scaling by up to this fraction
noise_mv: float = 0.02  # augmentation: white noise, mV
wander_mv: float = 0.05  # augmentation: baseline wander, mV
time_out: float = 0.3  # augmentation: a silent stretch of up to this share of the window
lead_dropout: float = 0.0  # augmentation: each lead is silenced with this probability
pretrain_epochs: int = 40  # passes over the pre-training records
pretrain_batch: int = 128  # records; a contrast is among twice as many
pretrain_rate: float = 1e-3  # the learning rate's peak, of a cosine after a warm-up
pretrain_decay: float = 0.05  # pull of the weights towards 0
# Protocol
label_shares: list[float] = [0.01, 0.1, 1.0]  # of the training patients, stratified
label_draws: int = 3  # how often a share below 1 is drawn
fine_tuned: list[str] = ["MAE", "SimCLR", "hybrid"]  # which encoders are fine-tuned, beside training from scratch
fine_tune_epochs: int = 12  # passes over all training labels
few_label_steps: int = 300  # batches of a fine-tuning with fewer labels
fine_tune_batch: int = 32  # records
head_from_probe: bool = True  # fine-tuning begins with the linear probe as its head; else with a random one
fine_tune_rate: float = 5e-4  # the learning rate's peak, of the head
layer_decay: float = 0.75  # each layer's learning rate is this times that of the layer above
scratch_rate: float = 3e-3  # the peak where training starts from random weights; the same for all layers
probe_epochs: int = 15  # of the attention probe
delineation_epochs: int = 15  # passes over LUDB's training records
scaling: list[float] = [0.25, 0.5, 1.0]  # shares of the pre-training records for the scaling curve; empty leaves it out
scaling_steps: int = 400  # batches of each pre-training of the scaling curve, the same for all
# Evaluation
draws: int = 1000  # bootstrap draws over patients
# The run
seed: int = 0  # of weights, order and chance
device: str = "auto"  # auto, cpu, cuda
precision: Literal["no", "bf16", "fp16"] = "no"  # mixed precision, for GPUs
progress: Literal["bar", "lines", "none"] = "bar"  # a live bar, or a line per epoch for batch runs
cache: str = "cache"  # where cohorts are built, once; from the repository's root
out: str = "reports/foundation_ssl/manual"  # where the results go; from the repository's root

# %%
import os
from itertools import product

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from ecglib import datasets, devices, figures, probing, protocol, results, tables, training
from ecglib.datasets.ludb import boundaries
from ecglib.datasets.quality import plausible
from ecglib.label_fractions import labelled_fraction
from ecglib.pool import Pool, take_records
from ecglib.signals import DESTROYS, Augment, Standardise

os.chdir(results.root())  # every path in the parameters is taken from the repository's root
pd.set_option("display.max_colwidth", None)
protocol.require(objectives=objectives, label_shares=label_shares, label_draws=label_draws, draws=draws)
protocol.known(objectives=(objectives, ["MAE", "SimCLR", "CMSC", "RLM", "hybrid"]), fine_tuned=(fine_tuned, objectives))
protocol.shares(label_shares=label_shares, scaling=scaling)
device = devices.usable(device)
run = results.Run(out, device=device)

# %%
from ecglib import delineation, evaluation, prototypes, regression
from ecglib.methods.attention_probe import AttentionProbe, TokenBatches
from ecglib.methods.cmsc import CMSC
from ecglib.methods.delineator import Delineator
from ecglib.methods.delineator import train as train_delineator
from ecglib.methods.encoder import Encoder
from ecglib.methods.fine_tuning import FineTune
from ecglib.methods.hybrid import Hybrid
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.methods.random_lead_masking import RandomLeadMasking
from ecglib.methods.simclr import SimCLR

# %% [markdown]
# ## Data and split
#
# Labels and pre-training come from the training folds; the validation fold makes every choice; the test fold is read
# once. **Pre-training never sees the validation and test folds**, and a further cohort that holds one of their records
# or patients is refused.

# %%
cohort = datasets.load(data, rate=rate, cache=cache, records=records, bad=bad_records, progress=False)
folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
parts = protocol.split(cohort, task, **folds, rare=rare_classes)
classes = parts["train"].classes(task)
shares = {
    (share, draw): labelled_fraction(parts["train"], task, share, seed=draw)
    for share, draw in product(label_shares, range(label_draws)) if share < 1 or draw == 0
}
further = [
    datasets.load(folder, rate=rate, cache=cache, bad=bad_records, resample=True, progress=False)
    for folder in pretrain_on
]
run.data(cohort, **{name: len(part) for name, part in parts.items()})
for extra in further:
    protocol.refuse_overlap(extra, parts)
    run.data(extra, role="pre-training, without labels")

# %%
site = protocol.second_site(second_site, parts, task, rate=rate, cache=cache, records=records)
if site is not None:
    run.data(site, role="second site, test only")
other_tasks = {other: protocol.split(cohort, other, **folds, rare="drop") for other in further_tasks}
if ludb:
    book = datasets.load(ludb, rate=rate, cache=cache, resample=True, progress=False)
    marks = boundaries(ludb)
    run.data(book, role="delineation")
Markdown("\n".join(f"- {note}" for note in [*cohort.info.notes, *protocol.left_out(cohort, parts, task)]))

# %%
sizes = {name: part for name, part in parts.items()}
sizes |= {f"train, {share:.0%} of the labels, draw {draw + 1}": part for (share, draw), part in shares.items() if share < 1}
pd.DataFrame(
    {
        name: {"records": len(part), "patients": part.records["patient"].nunique()}
        | dict(zip(classes, part.labels(task).sum(axis=0).astype(int)))
        for name, part in sizes.items()
    }
).T

# %% [markdown]
# ## What is pre-trained on
#
# **The rule of mixing.** Every cohort is brought to one rate; the leads are those that all have; an epoch passes once
# over all records of all cohorts, shuffled together, so that each cohort counts by its number of records. Of a longer
# record a stretch as long as the shortest is drawn anew each time; the objectives take their windows from that. Records
# that go beyond `limit_mv` are left out: one saturated lead would move the batch norms of all records around it.

# %%
whole = [cohort.in_folds(train_folds), *further]
sources = [plausible(source, limit_mv) for source in whole]
longest = min(source.length for source in sources) / rate  # seconds that every record has
pool = Pool(sources, pretrain_batch, window_s=longest, device=device, seed=seed)
windows = Pool(sources, pretrain_batch, window_s=window_s, leads=pool.leads, device=device, seed=seed)
pd.DataFrame(
    [
        [source.info.title, f"{len(source):,}", f"{len(all_) - len(source):,}", source.length / rate, len(source.leads)]
        for all_, source in zip(whole, sources)
    ],
    columns=["cohort", "records", f"left out, beyond {limit_mv:g} mV", "seconds", "leads"],
).set_index("cohort")

# %% [markdown]
# Augmentations make the views that a contrast compares. They also say what the encoder is told to ignore; a label that
# hangs on it is harder to read from the vector afterwards.

# %%
changes = {"amplitude": amplitude, "noise_mv": noise_mv, "wander_mv": wander_mv, "time_out": time_out}
augment = Augment(rate=rate, crop_s=window_s, lead_dropout=lead_dropout, **changes)
on_segments = Augment(rate=rate, lead_dropout=lead_dropout, **changes)
on_leads = Augment(rate=rate, crop_s=window_s, **changes)
on_windows = Augment(rate=rate, crop_s=window_s, amplitude=amplitude)
for_labels = Augment(rate=rate, crop_s=window_s, amplitude=amplitude, noise_mv=noise_mv)
used = ["crop", *(name for name, value in (("amplitude", amplitude), ("noise", noise_mv), ("wander", wander_mv),
        ("time_out", time_out), ("lead_dropout", lead_dropout)) if value)]
pd.DataFrame([[name, DESTROYS[name][1], DESTROYS[name][0]] for name in used], columns=[
    "augmentation", "why it may destroy", "PTB-XL statements at risk"]).set_index("augmentation")

# %% [markdown]
# ## One encoder
#
# All objectives train the same encoder from the same random weights, on the same records in the same order, for the same
# number of steps (not the same arithmetic: whatever contrasts encodes two windows of a record). The random encoder itself is a row of every table: on ECGs its linear probe is strong, because
# random convolutions already tell waves apart.

# %%
sample = sources[0].subset(np.unique(np.linspace(0, len(sources[0]) - 1, 2000).astype(int)))
standardise = Standardise(normalise, len(pool.leads)).fit(sample.signal_mv(leads=pool.leads))
torch.manual_seed(seed)
fresh = Encoder(encoder, leads=pool.leads, rate=rate, standardise=standardise, window_s=window_s).to(device)
leads, places = fresh.backbone.grid(round(window_s * rate))
pd.Series(
    {
        "encoder": encoder, "parameters": f"{sum(p.numel() for p in fresh.parameters()):,}",
        "leads": " ".join(fresh.leads), "window": f"{window_s:g} s", "tokens a window": leads * places,
        "samples a token": fresh.backbone.stride, "token size": fresh.token_dim, "vector size": fresh.feature_dim,
    }
).to_frame("")

# %% [markdown]
# ## Pre-training
#
# `MAE` and `hybrid` hide the same share of the same windows; the hybrid draws a second window of each record and asks that
# both lie near each other. With λ = 0 it is the masked autoencoder, bit by bit. What is rebuilt gets no noise, wander or
# silence, which would have to be rebuilt too; the hybrid's second window, which is only contrasted, gets all of SimCLR's.

# %%
hidden = {
    "mask_ratio": mask_ratio, "lead_mask_ratio": lead_mask_ratio, "mask_together": mask_together,
    "normalise_patches": normalise_patches, "decoder_dim": decoder_dim, "augment": on_windows,
}  # fmt: skip
contrast = {"contrast_weight": contrast_weight, "second": second_view, "augment_second": augment, "temperature": temperature}
segment = round(window_s * rate)
torch.manual_seed(seed)
methods = {
    "MAE": MaskedAutoencoder(fresh.copy(), **hidden),
    "SimCLR": SimCLR(fresh.copy(), augment=augment, temperature=temperature),
    "CMSC": CMSC(fresh.copy(), segment=segment, augment=on_segments, temperature=temperature),
    "RLM": RandomLeadMasking(fresh.copy(), probability=lead_silence, augment=on_leads, temperature=temperature),
    "hybrid": Hybrid(fresh.copy(), **contrast, **hidden),
}
methods = {name: methods[name].to(device) for name in objectives}

# %%
pretraining = training.Settings(
    epochs=pretrain_epochs, learning_rate=pretrain_rate, weight_decay=pretrain_decay, schedule="cosine",
    warmup_epochs=0.1 * pretrain_epochs, betas=(0.9, 0.95), clip=1.0, precision=precision, select="last", seed=seed,
)  # fmt: skip
histories, fits = [], []
for name in objectives if not pretrained_from else []:
    fit = training.fit(
        methods[name], pool, None, settings=pretraining, checkpoints=run.checkpoint(f"pretrain-{name}"),
        progress=progress, name=name,
    )  # fmt: skip
    histories.append(fit.history.assign(model=name, seed=seed))
    fits.append({"objective": name, **fit.summary(), "last loss": round(fit.history["loss"].iloc[-1], 4)})

# %% [markdown]
# Batch norms followed masked and augmented signals in pre-training, and nothing at all in the random encoder. So each
# takes its statistics once more from whole windows of the pre-training records; weights stay as they are.

# %%
encoders = {"random": fresh} | {name: methods[name].encoder for name in objectives}
if pretrained_from:
    for name in objectives:
        path = os.path.join(pretrained_from, name.lower(), "model")
        encoders[name] = Encoder.load(path, have=pool.leads, expect=encoder, expect_rate=rate).to(device)
for name, each in encoders.items():
    torch.manual_seed(seed)  # the same windows for all
    if name == "random" or not pretrained_from:
        each.calibrate(windows)
colours = figures.palette(list(encoders))
pd.DataFrame(fits).set_index("objective") if fits else Markdown(f"The encoders of `{pretrained_from}` are used.")

# %%
if histories:
    history = pd.concat(histories, ignore_index=True)
    run.history(history)
    fig = figures.loss_curves(history, parts=[c for c in ("reconstruction", "contrast") if c in history], colours=colours)
    figures.show(
        fig,
        alt="Pre-training loss by epoch, one panel for each objective.",
        caption="Pre-training. Each objective has its own loss; their heights do not compare.",
    )

# %% [markdown]
# ## What the masked autoencoders rebuild
#
# Records of the validation fold, which no encoder has met. The shape is the network's; where cells were normalised one
# by one, their mean and deviation are lent from the original.

# %%
unseen = parts["valid"].subset(np.arange(min(128, len(parts["valid"]))))
signal = next(iter(unseen.batches(len(unseen), leads=pool.leads, device=device))).signal[:, :, :segment]
drawn, errors = {}, {}
for name in [name for name in ("MAE", "hybrid") if name in objectives and not pretrained_from]:
    torch.manual_seed(seed)  # the same cells hidden
    drawn[name] = {key: value.numpy() for key, value in methods[name].eval().show(signal).items()}
    shown, masked = drawn[name], drawn[name]["masked"]
    wrong = ((shown["original"] - shown["rebuilt"]) ** 2 * masked).sum(axis=(1, 2))
    errors[name] = wrong / (shown["original"].var(axis=2, keepdims=True) * masked).sum(axis=(1, 2))
pd.DataFrame({name: pd.Series(error).describe()[["25%", "50%", "75%", "max"]] for name, error in errors.items()}).rename_axis(
    "squared error on what was hidden, in parts of the leads' variance"
)

# %%
for name, shown in drawn.items():
    ranked = np.argsort(errors[name])
    for picked, what in ((ranked[len(ranked) // 2], "the median record"), (ranked[-1], "the record rebuilt worst")):
        fig = figures.reconstruction(
            *(shown[key][picked] for key in ("original", "masked", "rebuilt")), rate=rate, leads=list(pool.leads),
            shown=list(pool.leads)[: 12 : 2], title=f"{name}: record {unseen.records['record'][picked]}",
        )  # fmt: skip
        figures.show(
            fig,
            alt=f"Six leads of {what}: the original, what was hidden, and what {name} put there.",
            caption=f"{name}, {what} of {len(unseen)}: error {errors[name][picked]:.2f} of the variance.",
        )

# %% [markdown]
# ## Linear probe, attention probe, prototypes
#
# Each encoder is frozen. The **linear probe** is a logistic regression per class on the vector, its strength chosen on
# validation. The **attention probe** learns where to look among the tokens. **Prototypes** need no training at all: a
# record belongs to a class as far as its vector lies nearer to the mean of the class's training records than to that of
# the others (nothing is fitted, so this is as near to zero-shot as an encoder without text comes).

# %%
split = protocol.named(task, **folds)
named = {
    share: {way: f"{split}, {way}, {share:.0%} of labels" for way in ("linear probe", "fine-tuning")}
    for share in label_shares
}
everything = {name: probing.vectors(each, cohort, device=device) for name, each in encoders.items()}  # computed once
vectors = {name: {part: x[records.rows] for part, records in parts.items()} for name, x in everything.items()}
said = {protocol_name: [] for share in label_shares for protocol_name in named[share].values()}
for (share, draw), name in product(shares, encoders):
    said[named[share]["linear probe"]] += probing.linear(
        vectors[name], parts, train=shares[share, draw], model=name, seed=draw, task=task
    )

# %%
people = {part: probing.demographics(records.records) for part, records in parts.items()}
fused = {name: {part: np.hstack([x[part], people[part]]) for part in parts} for name, x in vectors.items()}
with_people = f"{split}, linear probe with age, sex"
said[with_people] = [
    each for name in encoders for each in probing.linear(fused[name], parts, model=name, seed=0, task=task)
]
by_prototype = f"{split}, nearest prototype"
said[by_prototype] = []
for name, x in vectors.items():
    found = prototypes.prototypes(x["train"], parts["train"].labels(task), classes)
    said[by_prototype] += [
        probing.said((prototypes.scores(x[part], found) + 2) / 4, parts[part], model=name, seed=0, split=part, task=task)
        for part in ("valid", "test")
    ]

# %%
by_attention = f"{split}, attention probe"
said[by_attention] = []
for name, each in encoders.items():
    fed = {
        part: TokenBatches(
            probing.tokens(each, records, device=device), torch.from_numpy(records.labels(task)).to(device), 64,
            identity=each.digest(), shuffle=part == "train", seed=seed,
        ) for part, records in parts.items()
    }  # fmt: skip
    torch.manual_seed(seed)
    probe = AttentionProbe(each.token_dim, classes).to(device)
    settings = training.Settings(epochs=probe_epochs, learning_rate=1e-3, weight_decay=0.01, seed=seed)
    training.fit(probe, fed["train"], fed["valid"], settings=settings, progress="none", name=f"attention probe, {name}")
    rest = {part: parts[part] for part in ("valid", "test")}
    said[by_attention] += protocol.predictions(probe, rest, model=name, seed=0, task=task, device=device, batches=fed)

# %% [markdown]
# ## Fine-tuning
#
# Every layer learns, the lower ones more slowly (`layer_decay`); with one rate for all, published foundation encoders
# lose much of what they had; and the head begins as the linear probe (`head_from_probe`), because a random one first
# pulls apart what pre-training made. Training **from scratch** starts from the random weights that pre-training began with, with
# one rate for all layers. Validation chooses the epoch of each.

# %%
valid = parts["valid"].batches(256, task=task, leads=pool.leads, device=device)
starts = {"from scratch": (fresh, 1.0, scratch_rate)}
starts |= {name: (encoders[name], layer_decay, fine_tune_rate) for name in fine_tuned}
tuned, tunings = {}, []

# %%
for (share, draw), (name, (each, decay, peak)) in product(shares, starts.items()):
    part = shares[share, draw]
    torch.manual_seed(seed + draw)
    view = each.view(classes).to(device)
    if head_from_probe and name != "from scratch":
        probing.fitted(vectors[name], parts, task=task, train=part).into(view)
    train = part.batches(min(fine_tune_batch, len(part)), task=task, leads=pool.leads, device=device, shuffle=True,
                         drop_last=True, seed=seed + draw)  # fmt: skip
    epochs = fine_tune_epochs if share == 1 else max(1, round(few_label_steps / len(train)))
    settings = training.Settings(
        epochs=epochs, learning_rate=peak, weight_decay=0.05, clip=1.0, precision=precision, seed=seed + draw,
        validate_every=max(1, epochs // 12),
    )  # fmt: skip
    fit = training.fit(FineTune(view, decay=decay, augment=for_labels), train, valid, settings=settings, progress="none",
                       checkpoints=run.checkpoint(f"tune-{name}-{share:g}-{draw}"))  # fmt: skip
    tuned[share, draw, name] = view
    tunings.append({"start": name, "labels": f"{share:.0%}", "draw": draw + 1, **fit.summary()})

# %%
for (share, draw, name), view in tuned.items():
    rest = {part: parts[part] for part in ("valid", "test")}
    batches = {part: records.batches(256, leads=pool.leads, device=device) for part, records in rest.items()}
    said[named[share]["fine-tuning"]] += protocol.predictions(
        view, rest, model=name, seed=draw, task=task, device=device, batches=batches
    )
listed = pd.DataFrame(tunings).drop(columns="draw")
listed.groupby(["labels", "start"], sort=False).mean(numeric_only=True).round(3)

# %% [markdown]
# ## On the test fold
#
# Here, once, every model meets the test records. Intervals are 95 % bootstrap intervals over patients; several draws of
# the labels are averaged draw by draw. A difference is *paired*: both models on the same drawn patients. One pre-training
# per objective stands behind all of this, so that what another seed of it would change is in no interval.

# %%
everyone = list(encoders)
contrasts = [name for name in ("SimCLR", "CMSC", "RLM") if name in objectives]
pairs = [("hybrid", name) for name in objectives if name != "hybrid" and "hybrid" in objectives]
pairs += [(name, "random") for name in objectives]
tuned_pairs = [(name, "from scratch") for name in fine_tuned]
tuned_pairs += [("hybrid", name) for name in fine_tuned if name != "hybrid" and "hybrid" in fine_tuned]
rows, notes = [], {}
for name, predictions in said.items():
    kinds = ("auc", "average_precision") if name == by_prototype else ("auc", "average_precision", "f1", "brier", "ece")
    result = evaluation.evaluate(
        predictions, protocol=name, data=cohort.info.title, draws=draws, metrics=kinds,
        compare=tuned_pairs if "fine-tuning" in name else pairs,
    )
    rows += result.rows
    notes |= dict.fromkeys(result.notes)
run.predictions(pd.concat([protocol.frame(each).assign(protocol=name) for name, each in said.items()], ignore_index=True))

# %%
full = {name: name.split(", ", 2)[2] for name in said if "fine-tuning" not in name}
colours = figures.palette([*everyone, "from scratch"])
fig = figures.by_protocol(rows, protocols=full, models=everyone, reference="random", colours=colours)
figures.show(
    fig,
    alt="Macro AUC of every encoder under each frozen protocol, with 95 % intervals, beside the random encoder.",
    caption="Frozen encoders: macro AUC on the test fold. The line is the random encoder.",
)
tables.protocol_table(rows, full, models=everyone)

# %%
tuning = {named[share]["fine-tuning"]: f"fine-tuning, {share:.0%} of labels" for share in label_shares}
fig = figures.by_protocol(rows, protocols=tuning, models=list(starts), reference="from scratch", colours=colours)
figures.show(
    fig,
    alt="Macro AUC after fine-tuning for each share of the labels, with 95 % intervals, beside training from scratch.",
    caption="Fine-tuned encoders. The line is training from scratch.",
)
tables.protocol_table(rows, tuning, models=list(starts))

# %% [markdown]
# **The answer of this run**, in the words that its numbers allow. First the paper's claim, that the hybrid beats both of
# its parts, in linear probe with all labels; then whether pre-training beats a random encoder; then fine-tuning:

# %%
probe = tables.under(rows, named[max(label_shares)]["linear probe"])
answers = [tables.verdict(probe, a, b) for a, b in pairs]
for share in label_shares:
    there = tables.under(rows, named[share]["fine-tuning"])
    answers += [f"{share:.0%} of the labels, fine-tuned: {tables.verdict(there, a, b)}" for a, b in tuned_pairs]
Markdown("\n".join(f"- {sentence}" for sentence in [*answers, *notes]))

# %%
fig = figures.paired_forest(probe, pairs=pairs)
names = [f"{a} - {b}" for a, b in pairs]
figures.show(
    fig,
    alt="Paired differences of macro AUC in linear probe: " + tables.spoken(probe, models=names) + ".",
    caption="Linear probe, all labels: paired differences. Grey where the interval holds zero.",
)
for share in label_shares:
    fig = figures.paired_forest(tables.under(rows, named[share]["fine-tuning"]), pairs=tuned_pairs)
    figures.show(
        fig,
        alt=f"Paired differences of macro AUC after fine-tuning on {share:.0%} of the labels.",
        caption=f"Fine-tuned on {share:.0%} of the labels: paired differences.",
    )

# %% [markdown]
# ## Few labels

# %%
for way, models in (("linear probe", everyone), ("fine-tuning", list(starts))):
    curves, dots = {name: [] for name in models}, {name: [] for name in models}
    for share in label_shares:
        there = tables.under(rows, named[share][way])
        for name, point in tables.points(there, models=models).items():
            curves[name].append((share, len(shares[share, 0]), *point))
        dots_here = [row for row in there if row["seed"] is not None and row["metric"] == "auc" and row["split"] == "test"]
        for row in dots_here:
            if row["class"] == "macro" and row["model"] in models and share < 1:
                dots[row["model"]].append((share, row["value"]))
    fig = figures.few_label_curves(curves, metric_label="macro AUC", draws=dots, colours=colours)
    figures.show(
        fig,
        alt=f"Macro AUC by {way} over the share of the training labels, one line per start.",
        caption=f"{way.capitalize()} over the share of the labels; dots are single draws of the labelled patients.",
    )

# %% [markdown]
# ## Class by class, and the other tasks

# %%
positives = dict(zip(classes, parts["test"].labels(task).sum(axis=0).astype(int)))
tables.class_table(probe, "auc", models=everyone, positives=positives)

# %%
more = {}
for other, own in other_tasks.items():
    title = protocol.named(other, **folds) + ", linear probe"
    each = []
    for name in encoders:
        x = {part: everything[name][records.rows] for part, records in own.items()}
        each += probing.linear(x, own, model=name, seed=0, task=other)
    kept = [pair for pair in pairs if set(pair) <= set(everyone)]
    rows += evaluation.evaluate(
        each, protocol=title, data=cohort.info.title, draws=draws, metrics=("auc",), compare=kept
    ).rows
    dropped = len(cohort.classes(other)) - len(own["test"].classes(other))
    more[title] = f"{other}: {len(own['test'].classes(other))} classes ({dropped} too rare here)"
tables.protocol_table(rows, more, models=everyone) if more else Markdown("`further_tasks` is empty.")

# %% [markdown]
# ## A second site
#
# The linear probes of the first site, as they are, on records from elsewhere: nothing is trained or chosen there. Classes
# are matched by name.

# %%
elsewhere = {}
if site is not None:
    title, common = f"{split}, linear probe, second site", site.classes(task)
    columns, each = [classes.index(name) for name in common], []
    for name, model in encoders.items():
        labels = {part: parts[part].labels(task) for part in ("train", "valid")}
        fitted = probing.LinearProbe().fit(vectors[name]["train"], labels["train"], vectors[name]["valid"], labels["valid"])
        p = fitted.probabilities(probing.vectors(model, site, device=device))[:, columns]
        each.append(probing.said(p, site, model=name, seed=0, split="second site", task=task))
    found = evaluation.evaluate(
        each, protocol=title, data=site.info.title, split="second site", thresholds_from=None, draws=draws,
        metrics=("auc", "average_precision"), compare=pairs,
    )
    rows += found.rows
    elsewhere = tables.model_table(found.rows, ("auc", "average_precision"), models=everyone, split="second site")
elsewhere if site is not None else Markdown("No `second_site` was given.")

# %% [markdown]
# ## Age
#
# A ridge regression from the vector to the patient's age, its strength chosen on validation. The first row predicts the
# training records' median for everyone.

# %%
ages = {part: records.records["age"].to_numpy(float, na_value=np.nan) for part, records in parts.items()}
years = {"training median": np.full(len(ages["test"]), regression.training_median(ages["train"]))}
for name, x in vectors.items():
    years[name] = regression.ridge(x["train"], ages["train"], x["valid"], ages["valid"]).predict(x["test"])
age_rows = regression.rows(
    protocol=f"age, {split.split(', ')[1]}, ridge on the vector", data=cohort.info.title, split="test", y=ages["test"],
    predictions=years, patients=parts["test"].records["patient"].to_numpy(), compare=pairs, draws=draws,
)
rows += age_rows
tables.model_table(age_rows, ("age_mae", "age_r2"), models=list(years), of="age")

# %%
Markdown(regression.Ages.of(ages["test"]).note)

# %% [markdown]
# ## P, QRS and T
#
# LUDB's 200 records have the boundaries of every wave in every lead, set by cardiologists. The encoder is frozen, and a
# light head turns its tokens into waves (folds 1-8 of LUDB, ours, train it, 9 and 10 test). A boundary counts as found
# within 150 ms; below the table of F1, how late it is found (a token is longer than most of these errors). At 100 Hz,
# rounding alone costs about 3 ms.

# %%
wave_rows, maps = [], {}
if ludb:
    learn, judge = book.in_folds(range(1, 9)), book.in_folds([9, 10])
    target = {
        part: delineation.targets(marks, records.records["record"].tolist(), pool.leads, records.length, rate)
        for part, records in (("train", learn), ("test", judge))
    }
    truth = delineation.reference(marks, judge.records["record"].tolist(), pool.leads)
    for name, model in encoders.items():
        torch.manual_seed(seed)
        head = Delineator(model.copy(), frozen=True, skip=False).to(device)
        train_delineator(head, learn.signal_mv(leads=pool.leads), *target["train"], epochs=delineation_epochs,
                         learning_rate=3e-3, seed=seed, device=device)  # fmt: skip
        maps[name] = head.predict(torch.from_numpy(judge.signal_mv(leads=pool.leads))).numpy()
Markdown(f"{len(learn)} records to learn from, {len(judge)} to judge." if maps else "No `ludb` was given.")

# %%
if maps:
    matches = {
        name: {0: delineation.match(truth, delineation.waves(found, rate, known=target["test"][1]), records=len(judge))}
        for name, found in maps.items()
    }
    wave_rows = delineation.rows(
        matches, protocol="LUDB, folds 1-8/9,10 (ours), frozen encoder, 150 ms", data=book.info.title, compare=pairs,
        draws=draws,
    )
    rows += wave_rows
    fig = figures.delineation(
        judge.signal_mv([0], leads=["II"])[0, 0], target["test"][0][0, 1], {name: m[0, 1] for name, m in maps.items()},
        rate=rate, lead="II", known=target["test"][1][0, 1], title=f"LUDB record {judge.records['record'][0]}",
    )  # fmt: skip
    figures.show(fig, alt="Lead II of a LUDB record with the cardiologist's waves and each encoder's.",
                 caption="The first test record of LUDB: the cardiologist's waves, and what each frozen encoder's head finds.")
tables.class_table(wave_rows, "delineation_f1", models=everyone) if maps else Markdown("")

# %%
if maps:
    errors_ms = {name: each[0].table().round(1).astype(str) for name, each in matches.items()}
    late = {name: each["boundary_error_ms_mean"] + " ± " + each["boundary_error_ms_sd"] for name, each in errors_ms.items()}
pd.DataFrame(late).rename_axis("error in ms, mean ± SD") if maps else Markdown("")

# %% [markdown]
# ## How much does more unlabelled data help?
#
# The hybrid again, on nested shares of the pre-training records, for the same number of steps each, then a linear probe
# with all labels. Fewer steps than above, so the ends of both do not meet.

# %%
grown, line = [], []
title = f"{split}, linear probe, {scaling_steps} steps on a share of the records"
for share in scaling:
    some = Pool(take_records(sources, max(pretrain_batch, round(share * pool.records)), seed=seed), pretrain_batch,
                window_s=longest, leads=pool.leads, device=device, seed=seed)  # fmt: skip
    torch.manual_seed(seed)
    method = Hybrid(fresh.copy(), **contrast, **hidden)
    epochs = max(1, round(scaling_steps / len(some)))
    settings = training.Settings(
        epochs=epochs, learning_rate=pretrain_rate, weight_decay=pretrain_decay, schedule="cosine", betas=(0.9, 0.95),
        warmup_epochs=0.1 * epochs, clip=1.0, precision=precision, select="last", seed=seed,
        validate_every=max(1, epochs // 5),
    )  # fmt: skip
    name = f"hybrid on {some.records:,} records"
    training.fit(method.to(device), some, None, settings=settings, checkpoints=run.checkpoint(f"scaling-{share:g}"), progress="none", name=name)
    torch.manual_seed(seed)
    x = probing.vectors(method.encoder.calibrate(windows), cohort, device=device)
    grown += probing.linear({part: x[each.rows] for part, each in parts.items()}, parts, model=name, seed=0, task=task)
    line.append((some.records, name))

# %%
if scaling:
    ends = [(line[-1][1], line[0][1])] if len(line) > 1 else []
    found = evaluation.evaluate(
        grown, protocol=title, data=cohort.info.title, draws=draws, metrics=("auc",), compare=ends
    )
    rows += found.rows
    value = tables.points(found.rows, models=[name for _, name in line])
    fig = figures.scaling_curve(
        {"hybrid": [(number, *value[name]) for number, name in line]}, metric_label="macro AUC",
        references=tables.points(probe, models=["random"]), colours=colours,
    )
    figures.show(fig, alt="Macro AUC of the linear probe over the number of pre-training records, with intervals.",
                 caption=f"Linear probe after {scaling_steps} steps of hybrid pre-training, over the records it saw.")
Markdown("\n".join(f"- {tables.verdict(found.rows, a, b)}" for a, b in ends) if scaling else "`scaling` is empty.")

# %% [markdown]
# ## A map of the vectors
#
# What lies together: classes, or also what has nothing to do with disease, such as age and where a record is from?

# %%
best = "hybrid" if "hybrid" in encoders else objectives[0]
mapped = parts["train"].subset(np.arange(0, len(parts["train"]), max(1, len(parts["train"]) // 1200)))
others = [extra.subset(np.arange(0, len(extra), max(1, len(extra) // 400))) for extra in further]
x = [probing.vectors(encoders[best], each, device=device) for each in (mapped, *others)]
place = figures.project(np.concatenate(x), seed=seed)
origin = np.repeat([each.info.name for each in (mapped, *others)], [len(each) for each in x])
age = np.concatenate([each.records["age"].to_numpy(float, na_value=np.nan) for each in (mapped, *others)])
fig = figures.embedding_map(place, colour_by={"age (years)": age, "data set": origin}, columns=2)
figures.show(fig, alt="Map of the vectors coloured by age and by data set.",
             caption=f"t-SNE of the {best} encoder's vectors; distances between groups mean nothing.")
fig = figures.class_maps(place[: len(mapped)], mapped.labels(task), classes)
figures.show(fig, alt="The same map, one panel per class, with the class's records in colour.",
             caption="The same map: where each class lies.")

# %% [markdown]
# ## Beside published numbers
#
# The paper's own were not found. These are other groups' encoders on the whole of PTB-XL, superclasses, fine-tuned or by
# linear probe, as a benchmark of 2026 tells them: compare with ours only where the last column says that the data are
# the same.

# %%
bench = {"source": "second-hand", "where": "ICLR 2026 benchmark of ECG foundation models"}
references = [
    {"model": "ECG-CPC, fine-tuned", "auc": 0.934, **bench}, {"model": "ECG-JEPA, fine-tuned", "auc": 0.921, **bench},
    {"model": "ECG-JEPA, linear probe", "auc": 0.911, **bench}, {"model": "ST-MEM, fine-tuned", "auc": 0.901, **bench},
    {"model": "ST-MEM, linear probe", "auc": 0.896, **bench}, {"model": "ECG-FM, linear probe", "auc": 0.873, **bench},
    {"model": "S4, supervised", "auc": 0.932, **bench},
    {"model": "xresnet1d101, supervised", "auc": 0.928, "source": "published", "where": "Strodthoff et al. 2021"},
]  # fmt: skip
tables.source_table(probe, references, ("auc",), models=everyone)

# %% [markdown]
# ## What is kept
#
# Every encoder with its card: leads, rate, normalisation, what it saw, what it reached, and where it must not be trusted.
# `Encoder.load(folder).embed(signal)` turns records into vectors; so does `python -m ecglib.embed`.

# %%
run.metrics(rows)
limits = "Research software, no medical device. Trained on few records; other recorders, rates and leads are untested."
seen = [f"{source.info.title}: {len(source)} records" for source in sources]
for name, model in encoders.items():
    (point,) = tables.points(probe, models=[name]).values()
    model.about = {
        "objective": name, "pre-trained on": seen if name != "random" else [], "epochs": pretrain_epochs,
        "not seen": f"folds {valid_folds} and {test_folds} of {cohort.info.title}", "limits": limits,
        "linear probe": f"{named[max(label_shares)]['linear probe']}: macro AUC {tables.written(*point)}",
    }  # fmt: skip
    run.model(name.lower(), model)
if (1.0, 0, best) in tuned:
    run.model(f"{best.lower()}_fine_tuned", tuned[1.0, 0, best])
run.finish()
print("\n".join(sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))))
