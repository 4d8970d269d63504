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
# # What twelve leads can teach one: lead distillation after MVKT-ECG
#
# **The paper.** Qin et al., *MVKT-ECG: Efficient Single-lead ECG Classification on Multi-label Arrhythmia by Multi-View
# Knowledge Transferring*, [arXiv 2301.12178](https://arxiv.org/abs/2301.12178), 2023. A watch records one lead; the
# clinic reads twelve. A network that was trained on all twelve leads (the teacher) supervises one that sees a single
# lead (the student), so that the student keeps its one electrode but learns from more than its labels.
#
# **The idea.** The student minimises γ · BCE + α · MKD + β · CLT (names and form as in the authors' released code):
#
# - **BCE**, binary cross-entropy with the labels;
# - **MKD**, multi-label knowledge distillation: per class, the Kullback-Leibler divergence between the teacher's and the
#   student's Bernoulli distribution;
# - **CLT**, contrastive lead-information transferring: the student's features of a record are pulled towards the
#   teacher's features of the same record and pushed from those of records with other diseases, kept in memory banks.
#
# **The question here.** How much of the distance between one lead and twelve does distillation close, and is the gain
# larger than the uncertainty of the test set?

# %% [markdown]
# ## What was released, what is ours
#
# The paper's formulas and tables could not be read. What the middle column says was read in its authors' released code,
# which is five months older than the paper, so that a detail may differ.
#
# | part | the released code | this notebook |
# |---|---|---|
# | networks | XResNet-1d, teacher on 12 leads, student on lead I; which depth each table used: not found | XResNet-1d; depth and width are parameters, the preset `paper` takes 101 at full width |
# | weights of the losses | γ = 1, α = 1, β = 0.8 | the same, as parameters |
# | MKD | temperature 1, which divides probabilities | `tempered` divides logits and multiplies by T²; `released` is that form |
# | CLT | 128 dimensions, 1024 negatives, temperature 0.07, momentum 0.5 | the same |
# | negatives of CLT on PTB-XL | the opposite bit in one column of the label | `disjoint`: records that share no label; the other two rules are choices |
# | data | PTB-XL 1.0.1, five superclasses, 100 Hz, folds 1-8, 9, 10 | parameters; the table below says what this run used |
# | normalisation | one mean and deviation for all leads (`scalar`) | the same; the presets on PTB-XL take others, see below |
# | training | Adam, batch 32, 100 epochs, warm-up and steps; no augmentation | preset `paper` the same; the other presets are shorter and train on random crops |
# | choice of the epoch | the best *test* score over epochs is printed | the validation fold chooses; the test fold is read once, at the end |
# | seeds and intervals | none found | several seeds, 95 % bootstrap intervals over patients, paired differences |

# %%
from typing import Literal

# %% [markdown]
# ## Parameters
#
# A preset in `params/lead_kd/` overrides some of them; so does `-p name=value` on the command line.

# %% tags=["parameters"]
# Data
data: str = "synthetic"  # "synthetic" (embedded, drawn from a model of the heart's vector), or a folder: PTB-XL, a cohort
records: int = 3000  # how many synthetic records; real data ignore it
rate: int = 100  # Hz; PTB-XL has 100 and 500
task: str = "superclass"  # label set: superclass, subclass, diagnostic, form, rhythm, all
rare_classes: Literal["refuse", "drop"] = "refuse"  # a class without a positive in one part: stop, or leave it out
bad_records: Literal["drop", "keep"] = "drop"  # records with missing samples or flat leads
train_folds: list[int] = [1, 2, 3, 4, 5, 6, 7, 8]  # PTB-XL keeps each patient in one fold
valid_folds: list[int] = [9]  # choose epoch and thresholds; never the test folds
test_folds: list[int] = [10]  # read once, after every choice
unlabelled: list[str] = []  # further folders of records without labels: MKD distils on them too (ours; none was released)
# Networks
teacher_leads: list[str] = ["I II III aVR aVL aVF V1 V2 V3 V4 V5 V6"]  # one teacher per entry
student_leads: str = "I"  # what the student sees; "I II" makes a two-lead student
teacher_backbone: str = "xresnet1d18"  # xresnet1d18, 34, 50, 101 or 152
student_backbone: str = "xresnet1d18"  # the same family; need not be the teacher's size
teachers_from: list[str] = []  # folders of saved teachers, one per entry of teacher_leads, in place of training them; none may have seen the validation or test folds
width: float = 0.5  # multiplies the channels; 1 is the released network
kernel: int = 5  # samples; the released code has 3
teacher_normalise: Literal["scalar", "lead", "record", "none"] = "scalar"  # one mean and deviation for all (as released)
student_normalise: Literal["scalar", "lead", "record", "none"] = "scalar"  # the same; "record": each by its own, so shape without voltage
# Distillation
gamma: float = 1.0  # weight of BCE
alpha: float = 1.0  # weight of MKD, which is a sum over classes where BCE is a mean
beta: float = 0.8  # weight of CLT
temperature: float = 1.0  # of MKD; above 1 the teacher's small probabilities count more
mkd_variant: Literal["tempered", "released"] = "tempered"  # divide logits, or probabilities as the released code does (half the weight at temperature 1)
clt_rule: Literal["disjoint", "first_label", "released"] = "disjoint"  # which records may be negatives
clt_class: str = "CD"  # rule "released" only: the one column of the label that it looks at
clt_negatives: int = 1024  # per record and batch
clt_temperature: float = 0.07  # lower tells near negatives apart more sharply
clt_momentum: float = 0.5  # how slowly the memory banks follow
sweep_leads: list[str] = []  # leads to repeat the student on, one at a time, with the first seed
# Training
seeds: list[int] = [0]  # every model is trained once per seed
teacher_epochs: int = 12  # passes over the training records
student_epochs: int = 12  # the same for every student
batch_size: int = 32  # records
optimiser: Literal["adam", "adamw"] = "adamw"  # adam: decay as an L2 term on everything (as released)
schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"  # how the learning rate moves
teacher_rate: float = 3e-3  # the learning rate's peak
student_rate: float = 3e-3  # the same for the students
weight_decay: float = 0.01  # pull of the weights towards 0
warmup_epochs: float = 0.0  # 0 lets the schedule choose
base_rate: float = 1e-3  # schedule "steps" only: the rate after the warm-up
milestones: list[int] = []  # schedule "steps" only: epochs at which the rate falls to a tenth
clip: float = 1.0  # gradients longer than this are cut; 0 = never
patience: int = 0  # stop after so many epochs without a better validation score; 0 = never
precision: Literal["no", "bf16", "fp16"] = "no"  # mixed precision, for GPUs
crop_s: float = 2.5  # seconds; train on random windows, predict with the mean over windows; 0 = whole records
amplitude: float = 0.2  # random scaling by up to this fraction
noise_mv: float = 0.02  # white noise, mV
wander_mv: float = 0.02  # baseline wander, mV
lead_dropout: float = 0.1  # the teacher's training only: each lead is silenced with this probability
# Evaluation
draws: int = 1000  # bootstrap draws over patients
# The run
device: str = "auto"  # auto, cpu, cuda
progress: Literal["bar", "lines", "none"] = "bar"  # a live bar, or a line per epoch for batch runs
cache: str = "cache"  # where cohorts are built, once; from the repository's root
out: str = "reports/lead_kd/manual"  # where the results go; from the repository's root

# %%
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from ecglib import datasets, devices, evaluation, figures, protocol, results, tables, training
from ecglib.bootstrap import Bootstrap
from ecglib.cohort import mix
from ecglib.leads import indices
from ecglib.methods.lead_kd import LeadKD, Supervised, View, contrast_column, load_teachers
from ecglib.metrics import best_thresholds
from ecglib.signals import Augment, Standardise

pd.set_option("display.max_colwidth", None)
os.chdir(results.root())  # every path in the parameters is taken from the repository's root
protocol.require(seeds=seeds, teacher_leads=teacher_leads, batch_size=batch_size, draws=draws)
device = devices.usable(device)
run = results.Run(out, device=device)

# %% [markdown]
# ## Data and split
#
# A record carries all its statements of the task, whatever their likelihood; records without one are left out. Each
# patient lies in one fold only. Training takes the first part, every choice is made on the second, and the third is
# touched once.

# %%
cohort = datasets.load(data, rate=rate, cache=cache, records=records, bad=bad_records, progress=False)
parts = protocol.split(
    cohort, task, train=train_folds, valid=valid_folds, test=test_folds, rare=rare_classes
)
classes = parts["train"].classes(task)
sweep = protocol.other_leads(cohort.leads, student_leads, sweep_leads)
column = contrast_column(clt_rule, clt_class, classes)
run.data(cohort, **{name: len(part) for name, part in parts.items()})
Markdown("\n".join(f"- {note}" for note in [*cohort.info.notes, *protocol.left_out(cohort, parts, task)]))

# %%
pd.DataFrame(
    {
        name: {"records": len(part), "patients": part.records["patient"].nunique()}
        | dict(zip(classes, part.labels(task).sum(axis=0).astype(int)))
        for name, part in parts.items()
    }
).T

# %%
known = cohort.labelled(task)
fig = figures.split_overview(
    known.records["fold"], known.labels(task), known.classes(task),
    {"train": train_folds, "valid": valid_folds, "test": test_folds},
)  # fmt: skip
figures.show(
    fig,
    alt=f"Records per fold and share of each class in the training, validation and test part of {cohort.info.name}.",
    caption="Records per fold, and how common each class is in the three parts.",
)

# %% [markdown]
# What the teacher sees and what the student sees of the first test record:

# %%
example = parts["test"][0]
fig = figures.ecg_page(example.signal, rate=rate, leads=cohort.leads, title=f"Record {example.record}, twelve leads")
figures.show(
    fig,
    alt=f"The twelve leads of record {example.record} on ECG paper, with lead II as rhythm strip.",
    caption="The teacher's view. 25 mm/s, 10 mm/mV.",
)
seen = indices(cohort.leads, student_leads.split())
fig = figures.ecg_page(example.signal[seen], rate=rate, leads=student_leads.split(), layout="column")
figures.show(
    fig,
    alt=f"Lead {student_leads} of the same record, alone on ECG paper.",
    caption=f"The student's view: lead {student_leads}.",
)

# %% [markdown]
# ## Networks
#
# Both are XResNet-1d. A view takes its leads from the record, standardises them, and ends in one linear layer on the
# concatenated mean and maximum over time; CLT compares these pooled features.
#
# One mean and one deviation for all records (`scalar`) keeps the voltage; standardising each record by its own
# (`record`) leaves the student the shape of its lead and takes the voltage away. Some voltage is worth having; but in a
# copy of PTB-XL whose leads were z-scored before they were stored, what is left of lead I's amplitude is its share of
# the limb leads' energy, and so tells of leads that the student must not see. The presets on PTB-XL therefore take
# `record` for the student.

# %%
backbone = {"classes": classes, "rate": rate, "width": width, "kernel": kernel, "window_s": crop_s or None}
standardise = {
    mode: Standardise(mode, len(cohort.leads)).fit(parts["train"]) for mode in {teacher_normalise, student_normalise}
}
for_teacher = backbone | {"have": cohort.leads, "standardise": standardise[teacher_normalise]}
for_student = backbone | {"have": cohort.leads, "standardise": standardise[student_normalise]}
lent = load_teachers(teachers_from, teacher_leads, classes=classes, rate=rate, have=cohort.leads)
shown = lent or [View(teacher_backbone, leads=leads.split(), **for_teacher) for leads in teacher_leads]
shown = [*shown, View(student_backbone, leads=student_leads.split(), **for_student)]
pd.DataFrame(
    [[" ".join(v.leads), v.backbone_name, v.feature_dim, sum(p.numel() for p in v.parameters())] for v in shown],
    index=[*["teacher"] * len(teacher_leads), "student"],
    columns=["leads", "backbone", "pooled features", "parameters"],
)

# %%
train = {
    seed: parts["train"].batches(batch_size, task=task, device=device, shuffle=True, drop_last=True, seed=seed)
    for seed in seeds
}
valid = parts["valid"].batches(256, task=task, device=device)
changes = {"crop_s": crop_s or None, "amplitude": amplitude, "noise_mv": noise_mv, "wander_mv": wander_mv}
augment = Augment(rate=rate, **changes)
augment_teacher = Augment(rate=rate, **changes, lead_dropout=lead_dropout)
common = training.Settings(
    epochs=teacher_epochs, learning_rate=teacher_rate, optimiser=optimiser, schedule=schedule,
    weight_decay=weight_decay, warmup_epochs=warmup_epochs, base_rate=base_rate, milestones=tuple(milestones),
    clip=clip, patience=patience, precision=precision,
)  # fmt: skip
endangered = sorted(augment.may_destroy() & {*classes, *cohort.info.label_sets[task]})
Markdown(f"Augmentation can make these labels of the task untrue: {', '.join(endangered) or 'none'}.")

# %% [markdown]
# Where further cohorts without labels are given, the students that learn by MKD see them too: a part of every batch,
# so that each cohort is seen once per epoch. The teacher needs no labels to say what it thinks.

# %%
further = [datasets.load(folder, rate=rate, cache=cache, bad=bad_records, progress=False) for folder in unlabelled]
for extra in further:
    protocol.refuse_overlap(extra, parts)
    run.data(extra, role="unlabelled, for distillation")
sizes = [max(1, round(batch_size * len(extra) / len(parts["train"]))) for extra in further]
drawn = [extra.batches(size, device=device, shuffle=True) for extra, size in zip(further, sizes)]
mixed = {seed: mix(train[seed], *drawn) if drawn else train[seed] for seed in seeds}

# %% [markdown]
# ## The teacher
#
# Twelve leads, labels only. It is trained once per seed, and never again touched: the students of a seed share it. Where
# `teachers_from` names saved ones, these are every seed's, and nothing is trained here.

# %%
teacher_names = [f"teacher {k} ({leads})" for k, leads in enumerate(teacher_leads, 1)]
teacher_names = ["teacher"] if len(teacher_leads) == 1 else teacher_names
histories, fits = [], []
views = {(name, seed): view.to(device) for seed, (name, view) in product(seeds, zip(teacher_names, lent))}
for seed, (name, leads) in product(seeds, [] if lent else zip(teacher_names, teacher_leads)):
    torch.manual_seed(seed)
    view = View(teacher_backbone, leads=leads.split(), **for_teacher).to(device)
    fit = training.fit(
        Supervised(view, augment=augment_teacher), train[seed], valid, settings=replace(common, seed=seed),
        checkpoints=run.checkpoint(f"{name}-{seed}"), progress=progress, name=f"{name}, seed {seed}",
    )  # fmt: skip
    views[name, seed] = view
    histories.append(fit.history.assign(model=name, seed=seed))
    fits.append({"model": name, "seed": seed, **fit.summary()})

# %% [markdown]
# ## The students
#
# Four of them, named after their losses and alike in everything else: the same weights to begin with, the same order of
# the same records, the same random crops, the same number of steps. (Chance starts anew at each step, so what CLT draws
# for its negatives moves no crop; further cohorts without labels do, where there are any.) `BCE` is the student alone;
# what the others have beyond it is the teacher's.

# %%
losses = {"BCE": (0, 0), "BCE+MKD": (alpha, 0), "BCE+CLT": (0, beta), "BCE+MKD+CLT": (alpha, beta)}
distillation = {
    "labels": torch.from_numpy(parts["train"].labels(task)), "gamma": gamma, "augment": augment,
    "temperature": temperature, "mkd_variant": mkd_variant, "negatives": clt_negatives, "clt_rule": clt_rule,
    "clt_temperature": clt_temperature, "clt_momentum": clt_momentum,
    "clt_column": column,
}  # fmt: skip
jobs = [(seed, student_leads, loss) for seed, loss in product(seeds, losses)]
jobs += [(seeds[0], lead, loss) for lead, loss in product(sweep, ("BCE", "BCE+MKD+CLT"))]
teachers = {seed: [views[name, seed] for name in teacher_names] for seed in seeds}

# %%
for seed, leads, loss in jobs:
    name = loss if leads == student_leads else f"{loss}, lead {leads}"
    torch.manual_seed(seed)
    student = View(student_backbone, leads=leads.split(), **for_student).to(device)
    on = dict(zip(("alpha", "beta"), losses[loss]))
    method = LeadKD(student, teachers[seed], **on, **distillation, seed=seed).to(device)
    fit = training.fit(
        method, (mixed if on["alpha"] else train)[seed], valid, name=f"{name}, seed {seed}", progress=progress,
        settings=replace(common, epochs=student_epochs, learning_rate=student_rate, seed=seed),
        checkpoints=run.checkpoint(f"{name}-{seed}"),
    )  # fmt: skip
    views[name, seed] = student
    histories.append(fit.history.assign(model=name, seed=seed))
    fits.append({"model": name, "seed": seed, **fit.summary()})

# %%
pd.DataFrame(fits).set_index(["model", "seed"])

# %%
history = pd.concat(histories, ignore_index=True)
run.history(history)
students, first_teacher = list(losses), teacher_names[0]
everyone = [*teacher_names, *students]
colours = figures.palette(everyone)
fig = figures.learning_curves(
    history[history["model"].isin(everyone)], ("bce", "valid_loss", "valid_macro_auc"), colours=colours
)
figures.show(
    fig,
    alt="Cross-entropy in training and validation and validation macro AUC by epoch, for teacher and four students.",
    caption="Training: a thin line per seed, a thick one for their mean, a dot at the epoch that was kept. The "
    "cross-entropy is the part of the loss that all models share.",
)

# %% [markdown]
# ## On the test fold
#
# Here, once, every model meets the test records. Thresholds for F1 come from the validation fold. The intervals are
# 95 % bootstrap intervals over patients; several seeds are averaged draw by draw, so an interval does not hold what
# other seeds would change (the open dots below show that). A difference is *paired*: both models
# are measured on the same drawn patients, which is far sharper than comparing two intervals by eye.

# %%
measured = {name: parts[name] for name in ("valid", "test")}
predictions = [
    each
    for (name, seed), view in views.items()
    for each in protocol.predictions(view, measured, model=name, seed=seed, task=task, device=device)
]
pairs = [("BCE+MKD", "BCE"), ("BCE+CLT", "BCE"), ("BCE+MKD+CLT", "BCE"), ("BCE+MKD+CLT", "BCE+MKD")]
pairs += [(name, "BCE") for name in teacher_names]
lead_pairs = [(f"BCE+MKD+CLT, lead {lead}", f"BCE, lead {lead}") for lead in sweep]
folds = protocol.named(task, train=train_folds, valid=valid_folds, test=test_folds)
result = evaluation.evaluate(
    predictions, protocol=folds, data=cohort.info.title, compare=pairs + lead_pairs, draws=draws
)
run.metrics(result.rows)
run.predictions(protocol.frame(predictions))
tables.model_table(result.rows, ("auc", "average_precision", "f1"), models=everyone)

# %%
fig = figures.forest(result.rows, models=everyone, colours=colours)
figures.show(
    fig,
    alt="Macro AUC on the test fold with 95 % intervals: " + tables.spoken(result.rows, models=everyone) + ".",
    caption=f"Macro AUC of the teacher and of the students of lead {student_leads} on {len(parts['test'])} test records. "
    "Open dots are single seeds.",
)
fig = figures.paired_forest(result.rows, pairs=pairs)
names = [f"{a} - {b}" for a, b in pairs]
figures.show(
    fig,
    alt="Paired differences of macro AUC with 95 % intervals: " + tables.spoken(result.rows, models=names) + ".",
    caption="Paired differences of macro AUC. Grey where the interval holds zero.",
)

# %% [markdown]
# The same differences in numbers, of F1 too (at the thresholds that the validation fold chose for each model):

# %%
tables.model_table(result.rows, ("auc", "f1"), models=names)

# %% [markdown]
# **The answer of this run**, in the words that its numbers allow:

# %%
answers = [tables.closed(result.rows, student="BCE+MKD+CLT", alone="BCE", teacher=first_teacher)]
answers += [tables.verdict(result.rows, a, b) for a, b in pairs]
Markdown("\n".join(f"- {sentence}" for sentence in [*answers, *result.notes]))

# %% [markdown]
# ## Class by class

# %%
positives = dict(zip(classes, parts["test"].labels(task).sum(axis=0).astype(int)))
tables.class_table(result.rows, "auc", models=everyone, positives=positives)

# %%
fig = figures.per_class(result.rows, models=everyone, colours=colours)
figures.show(
    fig,
    alt="AUC of each class with 95 % intervals for the teacher and the four students.",
    caption="AUC by class. What a lead cannot see, no teacher can add.",
)

# %%
test = [each for each in predictions if each.split == "test" and each.seed == seeds[0]]
said = {each.model: each.p for each in test}
truth, bootstrap = test[0].y, Bootstrap(test[0].y, test[0].patient, draws=200)
three = [first_teacher, "BCE", "BCE+MKD+CLT"]
fig = figures.roc_pr(bootstrap, {name: said[name] for name in three}, classes, colours=colours)
figures.show(
    fig,
    alt="Macro-averaged ROC and precision-recall curves of the teacher, the student alone and the distilled one.",
    caption=f"Macro-averaged curves with 95 % bands over patients, seed {seeds[0]}.",
)
fig = figures.reliability_diagram(truth, {name: said[name] for name in three}, classes, colours=colours)
figures.show(
    fig,
    alt="Observed share of positives against predicted probability for each class and three models.",
    caption="Calibration, nothing adjusted after training. On the diagonal, a probability means what it says.",
)

# %% [markdown]
# Which classes are taken for which? Of the records with the row's class and without the column's, the share in which the
# column's is said all the same; on the diagonal, the share of the row's records in which it is found.

# %%
cuts = {each.model: best_thresholds(each.y, each.p) for each in predictions
        if each.split == "valid" and each.seed == seeds[0] and each.model in three}  # fmt: skip
fig = figures.confusion(truth, {name: said[name] for name in three}, cuts, classes)
figures.show(
    fig,
    alt="For each of three models a matrix of classes against the classes that are said of their records, in per cent.",
    caption=f"Confusion at the thresholds of the validation fold, seed {seeds[0]}; numbers of records in brackets.",
)

# %% [markdown]
# ## Did the student learn what the teacher thinks?

# %%
fig = figures.agreement(truth, said[first_teacher], said["BCE+MKD+CLT"], classes, (first_teacher, "BCE+MKD+CLT"))
figures.show(
    fig,
    alt="The teacher's against the distilled student's probability of each test record, a panel per class.",
    caption="Each dot is a test record. A student can only follow its teacher where its own lead shows something.",
)

# %%
gap = np.abs(said["BCE+MKD+CLT"] - truth).max(axis=1)
chosen = [*np.argsort(gap)[: 2], *np.argsort(-gap)[: 2]]
lead = student_leads.split()[0]
fig = figures.ecg_strips(
    parts["test"].signal_mv(chosen, leads=[lead])[:, 0], rate=rate, lead=lead, classes=classes, truth=truth[chosen],
    titles=[f"Record {test[0].record[i]}" for i in chosen], predictions={n: said[n][chosen] for n in three},
    colours=colours,
)  # fmt: skip
figures.show(
    fig,
    alt=f"Lead {lead} of four test records with the probabilities of three models: two done well, two done badly.",
    caption="The two records that the distilled student got most right, and the two that it got most wrong.",
)

# %% [markdown]
# ## Which lead?
#
# The same student on other leads. Everything here, the student's own lead and the teacher too, is of the first seed
# alone, so that the leads are compared like with like. A run whose parameter `sweep_leads` is empty leaves this out.

# %%
leads = [student_leads, *sweep]
series = {
    loss: {lead: loss if lead == student_leads else f"{loss}, lead {lead}" for lead in leads}
    for loss in ("BCE", "BCE+MKD+CLT")
}
one_seed = [row for row in result.rows if row["seed"] == seeds[0]]
if sweep:
    fig = figures.lead_sweep(one_seed, series, reference=first_teacher, colours=colours)
    figures.show(
        fig,
        alt="Macro AUC of the student alone and of the distilled one for each lead, with the teacher's as a line.",
        caption=f"One student per lead, seed {seeds[0]}. Line and band: the teacher.",
    )

# %%
if sweep:
    by_lead = [("BCE+MKD+CLT", "BCE"), *lead_pairs]
    fig = figures.paired_forest(one_seed, pairs=by_lead, labels=[f"lead {lead}" for lead in leads], sides=by_lead[0])
    names = [f"{a} - {b}" for a, b in by_lead]
    figures.show(
        fig,
        alt="Paired differences of macro AUC, distilled minus alone: " + tables.spoken(one_seed, models=names) + ".",
        caption=f"What distillation adds on each lead, seed {seeds[0]}: BCE+MKD+CLT minus BCE. Grey where the interval "
        f"holds zero. {tables.tally(one_seed, by_lead)}",
    )

# %% [markdown]
# ## Beside published numbers
#
# The paper's own tables could not be read; its one number is known through a third party, who also ran it. All of the
# published ones are results on the whole of PTB-XL (superclasses, 100 Hz; its version is not always told): compare them
# with ours only where the last column says that the data are the same.

# %%
third = {"source": "second-hand", "where": "a third party's own run, one seed"}
references = [
    {"model": "MVKT-ECG, lead I", "auc": 0.843, "f1": 0.626, **third, "where": "a third party, of the paper"},
    {"model": "ResNet1d-34, lead I, BCE", "auc": 0.814, "f1": 0.583, **third},
    {"model": "ResNet1d-34, lead I, BCE+MKD", "auc": 0.828, "f1": 0.598, **third},
    {"model": "ResNet1d-34, lead I, its best", "auc": 0.835, "f1": 0.607, **third},
    {"model": "ResNet1d-34, 12 leads", "auc": 0.903, **third},
    {"model": "xresnet1d101, 12 leads", "auc": 0.928, "source": "published", "where": "Strodthoff et al. 2021"},
]  # fmt: skip
tables.source_table(result.rows, references, models=everyone)

# %% [markdown]
# ## What is kept
#
# The weights of the teachers, of the student alone and of the distilled one (first seed), with class names, leads, rate and normalisation
# beside them; every probability; every number above.

# %%
folders = {"BCE": "student_alone", "BCE+MKD+CLT": "student_mvkt", "teacher": "teacher"}
folders |= {name: f"teacher_{k}" for k, name in enumerate(teacher_names, 1) if name != "teacher"}
for name, folder in folders.items():
    if (name, seeds[0]) in views:
        run.model(folder, views[name, seeds[0]])
run.finish()
print("\n".join(sorted(path.name for path in run.path.iterdir() if not path.name.startswith("."))))
