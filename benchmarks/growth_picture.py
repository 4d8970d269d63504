"""docs/growth.png: time and memory by records, time by length and by batch, with the lines of `growth_fit`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.growth_fit import NETWORKS, STAGES, fit, line_points, stage_points


def picture(found: dict) -> bytes:
    """PNG below 100 kB; a stage or network that was not measured is left out."""
    from ecglib.figures import style

    with style.style():
        fig = style.figure(5.6)
        axes = fig.subplots(2, 2).ravel()
        looks = style.looks(STAGES.values(), None)
        shown = {"build": "cpu_s", "fetch": "cpu_s", "pretrain": "epoch_cpu_s", "probe": "embed_cpu_s"}
        for stage, key in shown.items():
            _draw(axes[0], *stage_points(found, stage, key), STAGES[stage], looks)
            _draw(axes[1], *stage_points(found, stage, "memory_mb"), STAGES[stage], looks)
        for ax, title, unit in zip(axes, ("Time by records", "Memory by records"), ("CPU s", "MB")):
            ax.set(xscale="log", yscale="log", title=title, xlabel="records", ylabel=unit)
        axes[1].set_ylim(5, 5e3)  # room for the legend
        looks = style.looks(NETWORKS.values(), None)
        for ax, grown, title, said in (
            (axes[2], "seconds", "Time by length", "s a record"), (axes[3], "batch", "Time by batch", "records"),
        ):  # fmt: skip
            for name in dict.fromkeys(row["network"] for row in found["lines"] if row["grows"] == grown):
                _draw(ax, *line_points(found, name, grown, "cpu_s"), NETWORKS[name], looks)
            ax.set(title=title, xlabel=said, ylabel="CPU s a pass", xlim=0, ylim=0)
        for ax, place in ((axes[1], "lower right"), (axes[3], "upper right")):
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc=place)
        return style.png(fig, max_bytes=100_000)


def _draw(ax, x: Sequence[float], y: Sequence[float], name: str, looks: dict) -> None:
    """The points, and their line where there are three."""
    import numpy as np

    if not x:
        return
    ax.plot(x, y, linestyle="none", markersize=4.5, label=name, **looks[name])
    if (line := fit(x, y)) is not None:
        at = np.geomspace(min(x), max(x), 60)
        ax.plot(at, [line(value) for value in at], color=looks[name]["color"], linewidth=1)
