"""What pre-training learnt: signals rebuilt, losses, and scores over labels, records and protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecglib.errors import InputError, nearest
from ecglib.figures.curves import HISTORY_LABELS
from ecglib.figures.intervals import draw_interval
from ecglib.figures.robustness import DASHES, with_intervals
from ecglib.figures.style import (
    COLOURS,
    INK,
    SOFT,
    TEACHERS,
    WIDTH,
    figure,
    legend_columns,
    looks,
    lowest,
    panels,
    style,
)
from ecglib.leads import indices
from ecglib.tables import label, summary

HIDDEN = "#ececec"
Points = Mapping[str, Sequence[Sequence[float]]]
References = Mapping[str, float | tuple[float, float, float]]


def reconstruction(
    original: np.ndarray, masked: np.ndarray, rebuilt: np.ndarray, *, rate: float, leads: Sequence[str],
    shown: Sequence[str] | None = None, title: str = "", colour: str = COLOURS[3],
) -> Figure:  # fmt: skip
    """One record with what was hidden from the network, and what the network put there: see `reconstructions`."""
    return reconstructions([(original, masked, rebuilt)], [title], rate=rate, leads=leads, shown=shown, colour=colour)


def reconstructions(
    records: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], titles: Sequence[str], *, rate: float,
    leads: Sequence[str], shown: Sequence[str] | None = None, colour: str = COLOURS[3],
) -> Figure:  # fmt: skip
    """Records side by side, a lead below the other: the original, hidden stretches shaded, rebuilt ones in colour.

    records: (original (L, T) mV, masked (L, T) bool, rebuilt (L, T) mV) each, at `rate` Hz, rows named by `leads`.
    shown: the leads to draw, all by default. Each record has one mV axis for all its leads, set by the original: what
    is rebuilt far outside is cut. Raises `InputError` for shapes that do not fit, or an unknown lead.
    """
    if not records or len(records) != len(titles):
        raise InputError(f"{len(titles)} titles do not fit {len(records)} records; give one for each, at least one.")
    if not rate > 0:
        raise InputError(f"rate must be the sampling rate in Hz, got {rate}.")
    rows = indices(leads, leads if shown is None else shown)
    checked = [_record(record, len(leads), f"record {i}") for i, record in enumerate(records)]
    with style():
        fig = figure(0.95 + 0.85 * len(rows))
        grid = fig.subplots(len(rows), len(records), squeeze=False, sharex="col", sharey="col")
        for column, ((original, masked, rebuilt), title) in enumerate(zip(checked, titles, strict=True)):
            time = np.arange(original.shape[1]) / rate  # (T,) s
            for ax, row in zip(grid[:, column], rows, strict=True):
                spans = [(start / rate, (end - start) / rate) for start, end in runs(masked[row])]
                ax.broken_barh(spans, (0, 1), transform=ax.get_xaxis_transform(), color=HIDDEN, lw=0, zorder=0)
                ax.plot(time, original[row], color=SOFT, lw=0.9, label="original")
                ax.plot(time, np.where(masked[row], rebuilt[row], np.nan), color=colour, lw=1.1, label="rebuilt")
                ax.grid(visible=False)
                if column == 0:
                    ax.set_ylabel(leads[row], rotation=0, ha="right", va="center", fontweight="bold", color=INK)
            seen = original[rows]
            room = 0.08 * max(0.1, np.ptp(seen))
            ax.set(xlim=(0, original.shape[1] / rate), ylim=(seen.min() - room, seen.max() + room), xlabel="time (s)")
            grid[0, column].set_title(title)
        fig.supylabel("mV", fontsize=9.5, color=INK)
        hidden = Line2D([], [], color=HIDDEN, lw=7, label="hidden from the network")
        handles = [Line2D([], [], color=c, lw=2, label=t) for c, t in ((SOFT, "original"), (colour, "rebuilt"))]
        fig.legend(handles=[handles[0], hidden, handles[1]], loc="outside upper left", ncols=3)
    return fig


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """The stretches of true values in flags (T,), as (first sample, first sample after)."""
    edges = np.flatnonzero(np.diff(np.asarray(flags, np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _record(record: Sequence[np.ndarray], leads: int, whose: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """original, masked and rebuilt, each (L, T), or an `InputError`."""
    original, masked, rebuilt = (np.asarray(part) for part in record)
    shape = (leads, original.shape[-1]) if original.ndim else (leads, 0)
    for name, part in (("original", original), ("masked", masked), ("rebuilt", rebuilt)):
        if part.shape != shape or not part.size:
            raise InputError(f"{name!r} of {whose} has shape {part.shape}; give (leads, time), here {shape}.")
    if masked.dtype != bool:
        raise InputError(f"'masked' of {whose} is {masked.dtype}; give booleans, true where the network saw nothing.")
    if not np.isfinite(original).all():
        raise InputError(f"'original' of {whose} has missing samples; choose a record that is whole.")
    return original.astype(np.float64), masked, rebuilt.astype(np.float64)


def loss_curves(history: pd.DataFrame, *, parts: Sequence[str] = (), columns: int = 3,
                colours: Mapping[str, str] | None = None) -> Figure:  # fmt: skip
    """A panel per objective, each with its own axis: the loss over the epochs and, dashed, the parts it is made of.

    history: columns model, seed, epoch, loss and those named in `parts`; NaN where an objective has no such part. A
    thin line per seed and a thick one for their mean where there are several. Raises `InputError` for a column that is
    not there.
    """
    for column in ("model", "seed", "epoch", "loss", *parts):
        if column not in history:
            raise InputError(f"The history has no column {column!r}.{nearest(column, history.columns)}")
    models = list(dict.fromkeys(history["model"]))
    if not models:
        raise InputError("The history has no rows; train first.")
    with style():
        columns = min(columns, len(models))
        fig = figure(0.5 + 2.7 * -(-len(models) // columns))
        look = looks(models, colours)
        for ax, model in zip(panels(fig, len(models), columns), models, strict=True):
            mine, colour = history[history["model"] == model], look[model]["color"]
            there = [part for part in parts if mine[part].notna().any()]
            for i, column in enumerate(("loss", *there)):
                dash = "-" if i == 0 else DASHES[(i - 1) % len(DASHES)]
                wide = mine.pivot(index="epoch", columns="seed", values=column).dropna(axis=1, how="all")  # (E, S)
                several = wide.shape[1] > 1
                if several:
                    ax.plot(wide.index, wide, color=colour, lw=0.7, alpha=0.4, ls=dash)
                    wide = wide.dropna().mean(axis=1)  # the mean stops where the first seed does
                name = HISTORY_LABELS.get(column, column.replace("_", " "))
                ax.plot(wide.index, wide, color=colour, lw=2 if i == 0 else 1.5, ls=dash, label=name)
            ax.set(title=model, xlabel="epoch", ylabel="loss")
            ax.locator_params(axis="x", integer=True)
            if there:
                ax.legend(loc="upper right")
    return fig


def few_label_curves(
    points: Points, *, metric_label: str, draws: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    references: References | None = None, colours: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Value over the share of the labels, on a log axis that also tells the number of records; a line per model.

    points {model: [(share, records, value, low, high), ...]}, shares in (0, 1], low and high None or NaN where there is
    no interval. draws {model: [(share, value), ...]}: single draws of the labelled records, small open dots. references
    {name: value or (value, low, high)}: dashed lines with a band. Raises `InputError` for shares outside (0, 1] or
    given twice, one share with two numbers of records, or low above high.
    """
    _need(points, "(share, records, value, low, high)", 5)
    records: dict[float, int] = {}
    for model, rows in points.items():
        for share, number, *_ in rows:
            if not 0 < share <= 1:
                raise InputError(f"{model!r} has the share {share}; give a part of one, 0.01 for 1 %.")
            if records.setdefault(share, number) != number:
                raise InputError(f"The share {share:g} has {records[share]} records and, for {model!r}, {number}.")
    curves = {model: [(row[0], *row[2:]) for row in rows] for model, rows in points.items()}
    with style():
        fig, ax, at = _log_curves(curves, colours, references, metric_label)
        look = looks(points, colours)
        for model, singles in (draws or {}).items():
            if model not in at:
                raise InputError(f"draws names {model!r}, which has no curve.{nearest(model, points)}")
            for share, value in singles:
                ax.plot([share * at[model][1]], [value], "o", mfc="none", mec=look[model]["color"], ms=3, mew=0.9)
        shares = sorted(records)
        ax.set_xticks(shares, [f"{100 * share:g} %\n{records[share]:,} records" for share in shares])
        ax.set_xlabel("share of the training labels" + ("; open dots: single draws" if draws else ""))
    return fig


def scaling_curve(
    points: Points, *, metric_label: str, references: References | None = None,
    colours: Mapping[str, str] | None = None, xlabel: str = "records to pre-train on",
) -> Figure:  # fmt: skip
    """Value over the number of pre-training records, on a log axis, a line per model.

    points {model: [(records, value, low, high), ...]}, low and high None or NaN where there is no interval. references
    {name: value or (value, low, high)}: dashed lines with a band, the random encoder's for example. Raises `InputError`
    for numbers of records that are not positive or given twice, or low above high.
    """
    _need(points, "(records, value, low, high)", 4)
    for model, rows in points.items():
        if not all(row[0] > 0 for row in rows):
            raise InputError(f"{model!r} has a number of records that is not positive; a log axis has no place for it.")
    with style():
        fig, ax, _ = _log_curves(points, colours, references, metric_label)
        sizes = sorted({row[0] for rows in points.values() for row in rows})
        room = 4.6 / WIDTH * np.log(sizes[-1] / sizes[0]) / 4  # a label's width, in logs, about
        kept: list[float] = []
        for size in sizes[::-1]:  # from the right, so that the largest keeps its label
            if not kept or np.log(kept[-1] / size) > room:
                kept.append(size)
        ax.set_xticks(kept, [f"{size:,}" for size in kept])
        ax.set_xlabel(xlabel)
    return fig


def _need(points: Points, what: str, length: int) -> None:
    if not any(len(rows) for rows in points.values()):
        raise InputError(f"There are no points to draw; give {{model: [{what}, ...]}}.")
    for model, rows in points.items():
        if any(len(row) != length for row in rows):
            raise InputError(f"A point of {model!r} is no {what}.")
        if len({row[0] for row in rows}) < len(rows):
            raise InputError(f"{model!r} has the {what[1:].split(',')[0]} of a point twice.")


def _log_curves(
    points: Points, colours: Mapping[str, str] | None, references: References | None, metric_label: str
) -> tuple[Figure, Axes, dict[str, np.ndarray]]:
    """Curves with intervals over a log axis; also by how much each model's x, and its single draws', is multiplied.

    So every model stands beside the others and its single draws beside its interval.
    """
    fig = figure(4.0)
    ax = fig.subplots()
    look, handles = looks(points, colours), []
    span = [row[0] for rows in points.values() for row in rows]
    step = np.log(max(max(span) / min(span), 2)) / 75  # in logs: about a tenth of an inch of the axis
    places = np.arange(len(points)) - (len(points) - 1) / 2
    beside = {model: np.exp(step * (place + np.array([0, 0.4]))) for model, place in zip(points, places, strict=True)}
    for model, rows in points.items():
        rows = sorted(rows, key=lambda row: row[0])
        x = np.array([row[0] for row in rows]) * beside[model][0]
        value, low, high = with_intervals([row[1:] for row in rows], repr(model)).T
        ax.vlines(x, low, high, color=look[model]["color"], lw=1.8, zorder=2)
        ax.plot(x, value, **look[model], ms=5.5, lw=1.2, zorder=3, label=model)
        handles.append(Line2D([], [], **look[model], lw=2, ms=6, label=model))
    for i, (name, given) in enumerate((references or {}).items()):
        ((value, low, high),) = with_intervals(
            [given if np.ndim(given) else (given, None, None)], f"The reference {name!r}"
        )
        drawn = {"color": (colours or {}).get(name, TEACHERS[i % len(TEACHERS)]), "ls": DASHES[i % len(DASHES)]}
        ax.axhspan(low, high, color=drawn["color"], alpha=0.1, lw=0, zorder=0)
        ax.axhline(value, **drawn, lw=1.3, zorder=1)
        handles.append(Line2D([], [], **drawn, lw=1.3, label=f"{name}: {value:.3f}"))
    ax.set_xscale("log")
    ax.minorticks_off()
    margin = np.exp(step * (5 + len(points) / 2))
    ax.set(xlim=(min(span) / margin, max(span) * margin), ylabel=f"{metric_label}, with 95 % interval")
    fig.legend(handles=handles, loc="outside upper left", ncols=legend_columns([h.get_label() for h in handles]))
    return fig, ax, beside


def by_protocol(
    rows: Iterable[Mapping], *, protocols: Sequence[str] | Mapping[str, str], models: Sequence[str],
    metric: str = "auc", of: str = "macro", split: str = "test", data: str | None = None,
    reference: str | None = None, columns: int = 3, colours: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """The table of protocols and models as a panel per protocol: models down, value and interval across, one axis.

    rows: of metrics.json. protocols: as the rows call them, or {name in the rows: title}. data: the data set, needed
    where the rows hold several. A model without a value under a protocol has an empty line. reference: a model whose
    value stands as a line in every panel where it has one. Raises `InputError` for a name that no row has.
    """
    titles = dict(protocols) if isinstance(protocols, Mapping) else {name: name for name in protocols}
    frame = pd.DataFrame(list(rows))
    for column, wanted in (("data", [data] if data is not None else []), ("protocol", titles)):
        for name in wanted:
            if name not in set(frame[column]):
                raise InputError(f"No row has {column} {name!r}.{nearest(name, frame[column].unique())}")
    frame = frame if data is None else frame[frame["data"] == data]
    if not titles:
        raise InputError("protocols is empty; name at least one.")
    if reference is not None and reference not in models:
        raise InputError(f"reference is {reference!r}, which is not among the models.{nearest(reference, models)}")
    table = summary(frame.to_dict("records"), metric=metric, of=of, models=models, split=split)
    table = table[table["protocol"].isin(list(titles))]
    if table.duplicated(["model", "protocol"]).any():
        sets = ", ".join(sorted(table["data"].unique()))
        raise InputError(f"The rows hold several values for a model and a protocol; say which data ({sets}).")
    with style():
        columns = -(-len(titles) // -(-len(titles) // columns))  # four panels are two rows of two, not three and one
        fig = figure(0.6 + (0.6 + 0.3 * len(models)) * -(-len(titles) // columns))
        axes = panels(fig, len(titles), columns, sharex=True)
        for i, (ax, (protocol, title)) in enumerate(zip(axes, titles.items(), strict=True)):
            part = table[table["protocol"] == protocol].set_index("model")
            for place, (model, look) in enumerate(looks(models, colours).items()):
                if model in part.index:
                    draw_interval(ax, part.loc[model], place, look)
            if reference in part.index:
                ax.axvline(part.loc[reference, "value"], color=SOFT, lw=1, ls=DASHES[0], zorder=1)
            values = part["value"].reindex(list(models))
            ax.set(ylim=(len(models) - 0.4, -0.6), title=title)
            ax.set_yticks(range(len(models)), list(models) if i % columns == 0 else [""] * len(models))
            numbers = ax.secondary_yaxis("right")
            numbers.set_yticks(range(len(models)), ["–" if pd.isna(v) else f"{v:.3f}" for v in values])
            for side in (ax, numbers):
                side.tick_params(axis="y", length=0)
            numbers.spines["right"].set_visible(False)
            ax.spines["left"].set_visible(False)
            ax.grid(axis="y", visible=False)
        lowest(axes, columns)
        line = f"; dashed: {reference}" if reference is not None else ""
        fig.supxlabel(f"{label(metric, of)}, {split} records, with 95 % interval over patients{line}", fontsize=9.5)
    return fig
