"""What a cohort is made of: people, folds, signals, rates, and two cohorts side by side.

Wherever a frame has a column `cohort`, each cohort gets its colour and each is scaled by its own number of records, so
that a small one can be read beside a large one. `browse` is the one thing here that is not a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecglib.errors import InputError
from ecglib.figures.paper import Sheet, ecg_page
from ecglib.figures.style import COLOURS, INK, MARKERS, SOFT, figure, legend_columns, panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ecglib.cohort import Cohort

RESTING_BPM = (60, 100)
"""Between them a sinus rhythm is neither called bradycardia nor tachycardia."""


def people(frame: pd.DataFrame) -> Figure:
    """Ages, sexes and records per patient.

    frame: a row a record, with `cohort`, `patient`, `age` (years or missing) and `sex` (text or missing). Ages are
    drawn by sex where there is one cohort, by cohort where there are several.
    """
    import seaborn as sns

    colours = _colours(frame)
    by_cohort = {"hue": "cohort", "hue_order": list(colours), "palette": colours}
    frame = frame.assign(sex=frame["sex"].astype(object).where(frame["sex"].notna(), "not said"))
    alone = len(colours) == 1
    by_sex = dict(zip(sorted(frame["sex"].unique()), (COLOURS[3], COLOURS[0], SOFT, *COLOURS[4:]), strict=False))
    with style():
        fig = figure(3.4)
        ages, sexes, per_patient = fig.subplots(1, 3, width_ratios=(1.5, 1, 1))
        if frame["age"].notna().any():
            hue = {"hue": "sex", "palette": by_sex} if alone else by_cohort
            sns.histplot(frame, x="age", **hue, binwidth=5, element="step", stat="percent", common_norm=alone,
                         alpha=0.2, ax=ages, legend=alone)  # fmt: skip
            ages.set(xlabel="age (years)", ylabel="records (%)")
        else:
            _nothing(ages, "no ages are known")
        shares = frame.groupby("cohort", sort=False)["sex"].value_counts(normalize=True).mul(100).reset_index()
        sns.barplot(shares, x="sex", y="proportion", **by_cohort, saturation=1, ax=sexes, legend=False)
        sexes.set(xlabel="", ylabel="records (%)")
        counts = frame.groupby(["cohort", "patient"], sort=False, observed=True).size().rename("records").reset_index()
        sns.histplot(counts, x="records", **by_cohort, discrete=True, multiple="dodge", shrink=0.8,
                     alpha=1, linewidth=0, stat="percent", common_norm=False, ax=per_patient, legend=False)  # fmt: skip
        top = int(counts["records"].max())
        per_patient.set(xlabel="records per patient", ylabel="patients (%)", xlim=(0.4, top + 0.6))
        if top < 12:
            per_patient.set_xticks(range(1, top + 1))
        for ax, title in zip((ages, sexes, per_patient), ("Ages", "Sexes", "Records per patient")):
            ax.set_title(title)
        _legend(fig, colours)
    return fig


def fold_overview(folds: Sequence[int], patients: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Records and patients per fold, and the share (%) of each fold's records that have each class.

    folds (N,) without missing values; patients (N,); labels (N, C) in {0, 1}, C may be 0. Numbers are written for up to
    12 classes; at most 16 are drawn, the most common.
    """
    import seaborn as sns

    frame = pd.DataFrame({"fold": np.asarray(folds, np.int64), "patient": np.asarray(patients)})
    if frame.empty:
        raise InputError("No record is in a fold, so there is nothing to draw.")
    labels = np.asarray(labels)
    common = np.sort(np.argsort(-labels.sum(axis=0), kind="stable")[:16])
    by_fold = frame.groupby("fold")["patient"].agg(records="size", patients="nunique").reset_index()
    with style():
        fig = figure(max(3.0, 1.3 + 0.26 * len(common)))
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
        long = by_fold.melt("fold", var_name="of", value_name="number")
        sns.barplot(long, x="fold", y="number", hue="of", palette=[COLOURS[0], COLOURS[6]], saturation=1, ax=left)
        left.set(ylabel="number", title="Records and patients per fold")
        left.set_ylim(top=1.25 * by_fold["records"].max())
        left.legend(title="", ncols=2, loc="upper right")
        if len(common):
            share = pd.DataFrame(100 * labels[:, common], columns=[classes[k] for k in common])
            share = share.groupby(frame["fold"]).mean().T  # (C, folds)
            sns.heatmap(share, cmap="Blues", vmin=0, annot=len(common) <= 12, fmt=".0f", ax=right,
                        annot_kws={"fontsize": 8}, cbar_kws={"label": "records (%)"})  # fmt: skip
            right.set(xlabel="fold", ylabel="", title="Classes in each fold")
            right.tick_params(axis="y", rotation=0, length=0)
        else:
            _nothing(right, "no classes")
    return fig


def distributions(frame: pd.DataFrame, columns: Mapping[str, str], *, log: Sequence[str] = ()) -> Figure:
    """The distribution of each of `columns` {column: axis label} by cohort, a panel each, with the median as a line.

    frame: a row a record, with `cohort`. The columns in `log` get a logarithmic axis; values not above 0 are not drawn
    there. Columns without a value get an empty panel that says so.
    """
    import seaborn as sns

    colours = _colours(frame)
    by_cohort = {"hue": "cohort", "hue_order": list(colours), "palette": colours}
    with style():
        across = min(len(columns), 3 if len(columns) != 4 else 2)
        rows = -(-len(columns) // across)
        fig = figure(0.3 + 2.4 * rows)
        for ax, (column, words) in zip(panels(fig, len(columns), across), columns.items()):
            known = frame[np.isfinite(frame[column].astype(float))]
            known = known[known[column] > 0] if column in log else known
            if known.empty:
                _nothing(ax, f"{words}: not known")
                continue
            sns.histplot(known, x=column, **by_cohort, element="step", bins=30, stat="percent",
                         common_norm=False, log_scale=column in log, alpha=0.25, ax=ax, legend=False)  # fmt: skip
            for name, values in known.groupby("cohort")[column]:
                ax.axvline(values.median(), color=colours[name], lw=1.2, ls="--")
            ax.set(xlabel=words, ylabel="records (%)")
            if column in log:
                _plain_log(ax)
        _legend(fig, colours)
    return fig


def rates_by_class(frame: pd.DataFrame, *, of: str = "") -> Figure:
    """Heart rates of each class as boxes (quartiles, whiskers from the 5th to the 95th percentile), slowest first.

    frame: `class` and `heart_rate` (bpm), a row for each record and class that it has. `of` names the task.
    """
    import seaborn as sns

    known = frame[frame["heart_rate"].notna()]
    if known.empty:
        raise InputError("No record has both a class and a heart rate, so there is nothing to draw.")
    order = known.groupby("class")["heart_rate"].median().sort_values().index.tolist()
    counts = known["class"].value_counts()
    with style():
        fig = figure(1.1 + 0.3 * len(order), width=7.5)
        ax = fig.subplots()
        ax.axvspan(*RESTING_BPM, color="#eef4ee", zorder=0)
        sns.boxplot(known, y="class", x="heart_rate", order=order, color="#a9cbe4", linecolor=INK, linewidth=0.9,
                    whis=(5, 95), fliersize=1.6, width=0.65, ax=ax)  # fmt: skip
        ax.set_yticks(range(len(order)), [f"{name}  ({counts[name]:,})" for name in order])
        ax.set(xlabel="heart rate (bpm); shaded: 60 to 100", ylabel=of)
        ax.grid(axis="y", visible=False)
    return fig


def class_shares(frame: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """The share (%) of records with each of `classes` and its interval: `cohort`, `class`, `share`, `low`, `high`."""
    colours, order = _colours(frame), list(classes)
    frame = frame[frame["class"].isin(order)]
    with style():
        fig = figure(1.1 + 0.3 * max(3, len(order)), width=7.5)
        ax = fig.subplots()
        offsets = np.linspace(-0.16, 0.16, len(colours)) if len(colours) > 1 else [0.0]
        for offset, marker, (name, colour) in zip(offsets, MARKERS, colours.items()):
            rows = frame[frame["cohort"] == name]
            place = rows["class"].map(order.index) + offset
            ax.hlines(place, rows["low"], rows["high"], color=colour, lw=2)
            ax.plot(rows["share"], place, marker=marker, ls="none", color=colour, ms=6, label=name)
        ax.set(yticks=range(len(order)), ylim=(len(order) - 0.5, -0.5), xlabel="records with the class (%)")
        ax.set_yticklabels(order)
        ax.set_xlim(left=0)
        _legend(fig, colours)
    return fig


def amplitudes(frame: pd.DataFrame) -> Figure:
    """Boxes of the amplitude of each lead, by cohort: `cohort`, `lead`, `mv`; leads in the order in which they come.

    The axis is logarithmic, so flat leads (0 mV) are left out.
    """
    import seaborn as sns

    colours = _colours(frame)
    by_cohort = {"hue": "cohort", "hue_order": list(colours), "palette": colours}
    frame = frame[frame["mv"] > 0]
    if frame.empty:
        raise InputError("Every lead of every record is flat, so there is no amplitude to draw.")
    with style():
        fig = figure(3.2)
        ax = fig.subplots()
        sns.boxplot(frame, x="lead", y="mv", **by_cohort, saturation=1, linecolor=INK, linewidth=0.8,
                    whis=(5, 95), showfliers=False, width=0.7, log_scale=(None, True), ax=ax, legend=False)  # fmt: skip
        ax.set(xlabel="", ylabel="peak to peak (mV)", title="Amplitude of each lead")
        _plain_log(ax, "y")
        _legend(fig, colours)
    return fig


def spectra(found: Mapping[str, tuple[np.ndarray, np.ndarray]], *, lead: str) -> Figure:
    """Median power spectrum of a lead and its middle half of records: {cohort: (Hz (F,), power (n, F) mV² / Hz)}."""
    colours = _colours(pd.DataFrame({"cohort": list(found)}))
    with style():
        fig = figure(3.2)
        ax = fig.subplots()
        for name, (hz, power) in found.items():
            low, middle, high = np.percentile(power[:, hz > 0], (25, 50, 75), axis=0)  # (n, F) -> 3 x (F - 1,)
            ax.fill_between(hz[hz > 0], low, high, color=colours[name], alpha=0.2, lw=0)
            ax.plot(hz[hz > 0], middle, color=colours[name])
        ax.set(xscale="log", yscale="log", xlabel="frequency (Hz)", ylabel="power (mV² / Hz)")
        ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if t <= max(hz[-1] for hz, _ in found.values())]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_title(f"Spectrum of lead {lead}")
        _legend(fig, colours)
    return fig


def record_strips(signals: np.ndarray, *, rate: float, lead: str, titles: Sequence[str],
           peaks: Sequence[np.ndarray] = ()) -> Figure:  # fmt: skip
    """One lead of several records on ECG paper, one below the other, `peaks` marked if they are given.

    signals (n, T) mV at `rate` Hz; titles n; peaks n arrays of seconds.
    """
    signals = np.asarray(signals)
    if signals.ndim != 2 or len(titles) != len(signals) or len(peaks) not in (0, len(signals)):
        raise InputError(f"Signals of shape {signals.shape} do not fit {len(titles)} titles and {len(peaks)} peaks.")
    with style():
        sheet = Sheet(signals.shape[1] / rate, [25.0] * len(signals), rate=rate, gap=7.0)
        for i, (trace, title) in enumerate(zip(signals, titles)):
            sheet.row(i, trace[None], rate, (lead,), heading=title)  # (T,) -> (1, T)
            if len(peaks):
                line = next(each for each in reversed(sheet.ax.lines) if each.get_label() == lead)
                start, step = line.get_xdata()[0], np.diff(line.get_xdata()[:2])[0] * rate  # mm, mm per second
                below = np.full(len(peaks[i]), sheet.span(i)[0] + 1.2)
                sheet.ax.plot(start + step * peaks[i], below, "^", color=COLOURS[3], ms=4, zorder=4, label="R peaks")
    return sheet.fig


def browse(cohort: Cohort, task: str = "") -> Any:
    """A class and a record to choose, and the record's page, for a live notebook; None where nobody can choose."""
    from ecglib.figures.live import live

    if not live() or not len(cohort):
        return None
    import ipywidgets as widgets

    every = "every record"
    classes = cohort.classes(task) if task else ()
    labels = cohort.labels(task) if task else np.zeros((len(cohort), 0))
    kind = widgets.Dropdown(options=[every, *classes], description="class")
    record = widgets.Dropdown(description="record")

    def offer(_: Any = None) -> None:
        rows = np.arange(len(cohort)) if kind.value == every else np.flatnonzero(labels[:, classes.index(kind.value)])
        record.options = list(zip(cohort.records["record"].iloc[rows].astype(str), rows.tolist()))

    def draw(row: int | None) -> None:
        from ecglib.figures.style import show

        if row is not None:
            fig = record_page(cohort, row)
            show(fig, alt=f"Record {cohort.records['record'].iloc[row]} on ECG paper.")

    kind.observe(offer, "value")
    offer()
    return widgets.VBox([widgets.HBox([kind, record]), widgets.interactive_output(draw, {"row": record})])


def record_page(cohort: Cohort, row: int, title: str = "") -> Figure:
    """Record `row` of the cohort on ECG paper; a row per lead where the standard page's leads are not all there."""
    from ecglib.leads import LEADS

    found = cohort[row]
    age, sex = found.row["age"], found.row["sex"]
    facts = [f"Record {found.record}", *([sex] if sex else []), *([f"{age:.0f} years"] if pd.notna(age) else [])]
    layout = "3x4+II" if set(LEADS) <= set(cohort.leads) else "column"
    statements = ", ".join(found.row["statements"])
    words = [*([title] if title else []), ", ".join(facts), *([statements] if statements else [])]
    line = shorten(": ".join(words), 90, placeholder=" ...")
    return ecg_page(found.signal, rate=cohort.rate, leads=cohort.leads, layout=layout, title=line)


def _colours(frame: pd.DataFrame) -> dict[str, str]:
    names = list(dict.fromkeys(frame["cohort"]))
    if not names:
        raise InputError("There is no record to draw.")
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _legend(fig: Figure, colours: Mapping[str, str]) -> None:
    """Which colour is which cohort, above the panels; nothing for one cohort."""
    from matplotlib.patches import Patch

    if len(colours) > 1:
        handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
        fig.legend(handles=handles, loc="outside upper left", ncols=legend_columns(list(colours)))


def _nothing(ax: Axes, words: str) -> None:
    ax.axis("off")
    ax.text(0.5, 0.5, words, ha="center", va="center", color=SOFT, transform=ax.transAxes)


def _plain_log(ax: Axes, which: str = "x") -> None:
    """Ticks 1, 2, 5 as plain numbers on a logarithmic axis, which is made to span a decade at least."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = getattr(ax, f"get_{which}lim")()
    if high / low < 10:
        middle = np.sqrt(low * high)
        low, high = middle / np.sqrt(10), middle * np.sqrt(10)
        ax.set(**{f"{which}lim": (low, high)})
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
