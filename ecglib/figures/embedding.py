"""The space that an encoder makes of records: a map in the plane, coloured by what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecglib.errors import InputError, nearest
from ecglib.figures.style import COLOURS, INK, MARKERS, SOFT, figure, style

PALE = "#dcdcdc"
SEVERAL, NONE, OTHERS, UNKNOWN = "several of them", "none of them", "others", "not known"
COLOURED = 7  # groups with a colour and a marker of their own
METHODS = ("tsne", "pca")


def project(vectors: np.ndarray, *, method: Literal["tsne", "pca"] = "tsne", seed: int = 0,
            perplexity: float = 30.0) -> np.ndarray:  # fmt: skip
    """Vectors (N, F) to places in the plane (N, 2), the same every time.

    Features are standardised and reduced to at most 50 principal components first. "pca" keeps the first two of these:
    distances mean what they say, far less is seen. "tsne" (van der Maaten and Hinton 2008) keeps neighbours together;
    its distances between groups and their sizes mean nothing. Perplexity is lowered where there are few records. Raises
    `InputError` for an unknown method, fewer than four records or vectors that are not finite.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}.{nearest(method, METHODS)}")
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < 4 or vectors.shape[1] < 2:
        raise InputError(f"Vectors have shape {vectors.shape}; a map needs (records, features), at least four and two.")
    if not np.isfinite(vectors).all():
        raise InputError("Vectors hold values that are not finite; the encoder that made them diverged.")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    spread = vectors.std(axis=0)
    if not (spread > 0).any():
        raise InputError("All vectors are the same; there is nothing to map.")
    scaled = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    with threadpool_limits(limits=1):  # the order in which threads add up would change the last bits, and so the map
        few = PCA(min(50, *scaled.shape), svd_solver="full").fit_transform(scaled)  # (N, F) -> (N, <= 50)
        if method == "pca":
            return few[:, :2]
        perplexity = min(perplexity, (len(few) - 1) / 3)
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(few).astype(float)


def embedding_map(
    xy: np.ndarray, *, colour_by: Mapping[str, object], method: str = "t-SNE", columns: int = 3, most: int = 3000
) -> Figure:
    """The same map of records in a panel per entry of `colour_by`, coloured by it.

    xy (N, 2). An entry {title: values} is one of: numbers (N,) such as ages, on a colour bar; names (N,) such as sites,
    the seven most common and the others together; or at most seven classes {class: (N,) true or false}, where records
    with several of them have a colour of their own. What is missing (NaN, None) is pale. `most` records are drawn,
    chosen at random, the same in every panel. Raises `InputError` for entries that do not fit the records.
    """
    xy, kept, drawn = _places(xy, most)
    if not colour_by:
        raise InputError("colour_by is empty; give {title: values}, an entry per panel.")
    for title, values in colour_by.items():
        if isinstance(values, Mapping) and not 0 < len(values) <= COLOURED:
            raise InputError(f"{title!r} has {len(values)} classes; give 1 to {COLOURED}, or draw `class_maps`.")
    with style():
        columns = min(columns, len(colour_by))
        fig, axes, feet = _maps(len(colour_by), columns, foot=0.8)
        for ax, foot, (title, values) in zip(axes, feet, colour_by.items(), strict=True):
            if isinstance(values, Mapping):
                flags = _flags([_fitting(v, len(drawn), f"{c!r} of {title!r}") for c, v in values.items()], title)
                _classes(ax, foot, xy, flags[kept], list(values))
            else:
                values = _fitting(values, len(drawn), repr(title))[kept]
                if values.dtype.kind in "fiu":
                    _numbers(ax, foot, xy, values.astype(np.float64))
                else:
                    _names(ax, foot, xy, values)
            ax.set_title(title)
        _axes_are(fig, method, drawn)
    return fig


def class_maps(xy: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, method: str = "t-SNE", columns: int = 3,
               most: int = 3000) -> Figure:  # fmt: skip
    """The same map in a panel per class: its records in colour, those that have another class too told apart.

    xy (N, 2), labels (N, C) in {0, 1}; `most` as in `embedding_map`.
    """
    xy, kept, drawn = _places(xy, most)
    labels = np.asarray(labels)
    if not len(classes) or labels.shape != (len(drawn), len(classes)):
        raise InputError(f"Labels of shape {labels.shape} do not fit {len(drawn)} records and {len(classes)} classes.")
    flags = _flags(labels.T, "labels")[kept]
    several = flags.sum(axis=1) > 1
    with style():
        columns = min(columns, len(classes))
        fig, axes, _ = _maps(len(classes), columns, foot=0.0)
        for c, (ax, name) in enumerate(zip(axes, classes, strict=True)):
            _dots(ax, xy, flags[:, c] & ~several, COLOURS[0], "o", "this class alone")
            _dots(ax, xy, flags[:, c] & several, COLOURS[3], "^", "this class and others")
            _dots(ax, xy, ~flags[:, c], PALE, "o", "records without the class", zorder=1)
            ax.set_title(f"{name} ({flags[:, c].sum():,})")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, markerscale=2.5)
        _axes_are(fig, method, drawn)
    return fig


def _places(xy: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places (n, 2) that are drawn, the rows (n,) they are of, and (N,) whether a record is drawn."""
    xy = np.asarray(xy, np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or not np.isfinite(xy).all():
        raise InputError(f"xy has shape {xy.shape}; give a finite place (x, y) for each record.")
    if most < 1:
        raise InputError(f"most must be at least 1, got {most}.")
    drawn = np.zeros(len(xy), bool)
    drawn[np.random.default_rng(0).permutation(len(xy))[:most]] = True
    kept = np.flatnonzero(drawn)
    return xy[kept], kept, drawn


def _fitting(values: object, records: int, whose: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (records,):
        raise InputError(f"{whose} has shape {values.shape} for {records} records; give one value for each.")
    return values


def _flags(columns: Sequence[np.ndarray], whose: str) -> np.ndarray:
    """(N, C) bool from C columns of 0 and 1."""
    flags = np.column_stack(list(columns))
    if not np.isin(flags, (0, 1)).all():
        raise InputError(f"The classes of {whose!r} must be 0 or 1 for each record.")
    return flags.astype(bool)


def _maps(count: int, columns: int, *, foot: float) -> tuple[Figure, list[Axes], list[Axes]]:
    """Square maps without ticks, since their unit means nothing, and under each `foot` inches for its legend."""
    rows, side = -(-count // columns), min(3.6, 8.6 / columns)
    fig = figure(0.5 + rows * (0.25 + foot + side), width=0.4 + columns * side)
    ratios = {"height_ratios": [side, foot] * rows} if foot else {}
    grid = fig.subplots(rows * (2 if foot else 1), columns, squeeze=False, **ratios)
    axes, feet = (list(grid[start :: 2 if foot else 1].ravel()) for start in (0, 1))
    for ax in axes:
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim", box_aspect=1)
        ax.spines[:].set(visible=True, color=PALE)
    for ax in feet if foot else axes[count:]:
        ax.axis("off")
    for unused in axes[count:]:
        unused.remove()
    return fig, axes[:count], feet[:count]


def _axes_are(fig: Figure, method: str, drawn: np.ndarray) -> None:
    some = "" if drawn.all() else f"; {drawn.sum():,} of {len(drawn):,} records, at random"
    fig.supxlabel(f"{method} 1{some}", fontsize=9.5)
    fig.supylabel(f"{method} 2", fontsize=9.5)


def _dots(ax: Axes, xy: np.ndarray, rows: np.ndarray, colour: str, marker: str, name: str, zorder: float = 2) -> None:
    ax.plot(*xy[rows].T, marker, color=colour, ms=3.2, mew=0, alpha=0.75, zorder=zorder, label=name)


def _groups(ax: Axes, foot: Axes, xy: np.ndarray, groups: Mapping[str, np.ndarray], rest: np.ndarray, name_of_rest: str,
            ) -> None:  # fmt: skip
    """Groups of records, drawn in turns so that none hides another, and the rest pale below; the legend counts them."""
    turn, turns = np.arange(len(xy)) % 8, range(8)
    looks = {name: (COLOURS[i % COLOURED], MARKERS[i % COLOURED]) for i, name in enumerate(groups)}
    looks |= {SEVERAL: (INK, "*"), OTHERS: (SOFT, "*")}
    for part in turns:
        for name, rows in groups.items():
            _dots(ax, xy, rows & (turn == part), *looks[name], "_" if part else f"{name} ({rows.sum():,})")
    if rest.any():
        _dots(ax, xy, rest, PALE, "o", f"{name_of_rest} ({rest.sum():,})", zorder=1)
    legend = foot.legend(*ax.get_legend_handles_labels(), loc="upper center", ncols=2, markerscale=2.2, fontsize=8.5,
                         handletextpad=0.1, columnspacing=0.8, borderaxespad=0, borderpad=0)  # fmt: skip
    legend.set_in_layout(False)


def _classes(ax: Axes, foot: Axes, xy: np.ndarray, flags: np.ndarray, classes: Sequence[str]) -> None:
    several = flags.sum(axis=1) > 1
    groups = {name: flags[:, c] & ~several for c, name in enumerate(classes)}
    _groups(ax, foot, xy, groups | ({SEVERAL: several} if several.any() else {}), ~flags.any(axis=1), NONE)


def _names(ax: Axes, foot: Axes, xy: np.ndarray, values: np.ndarray) -> None:
    series = pd.Series(values, dtype=object)
    missing = series.isna().to_numpy()
    words = series.astype(str).to_numpy()
    order = list(pd.Series(words[~missing]).value_counts().index)
    groups = {name: (words == name) & ~missing for name in sorted(order[:COLOURED])}
    others = ~missing & ~np.isin(words, list(groups))
    _groups(ax, foot, xy, groups | ({OTHERS: others} if others.any() else {}), missing, UNKNOWN)


def _numbers(ax: Axes, foot: Axes, xy: np.ndarray, values: np.ndarray) -> None:
    known = np.isfinite(values)
    if not known.any():
        raise InputError("None of the numbers that a map is coloured by is known.")
    _dots(ax, xy, ~known, PALE, "o", UNKNOWN, zorder=1)
    low, high = np.percentile(values[known], [1, 99])  # a single odd value must not take the whole scale
    look = {"c": values[known], "cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-9)}
    image = ax.scatter(*xy[known].T, s=9, lw=0, alpha=0.8, **look)
    ends = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    extend = ends[int(values[known].min() < low), int(values[known].max() > high)]
    place = foot.inset_axes((0.04, 0.84, 0.92, 0.14), label="colour bar")
    bar = ax.figure.colorbar(image, cax=place, orientation="horizontal", extend=extend)
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)
    if not known.all():
        bar.set_label(f"pale: {UNKNOWN} ({(~known).sum():,})", fontsize=8.5)
