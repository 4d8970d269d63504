"""One look for all figures, and how a figure gets into a report.

Figures are made without pyplot, so no figure stays open and no global setting changes. Colours are seaborn's
"colorblind" set less its two palest; models also differ by marker, never by colour alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecglib.errors import InputError

WIDTH = 9.0  # inches; a report shows it 900 px wide, so 1 inch is 100 px there and 9 pt text is 12.5 px high
REPORT_PX = 900
MAX_BYTES = 120_000  # of a figure's PNG: a report holds about twenty

INK, SOFT = "#222222", "#8c8c8c"
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")
TEACHERS = (INK, "#6e6e6e")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
SPLITS = {"train": COLOURS[0], "valid": COLOURS[1], "test": COLOURS[2]}

RC = {
    "figure.facecolor": "white",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults plus `RC`, whatever the notebook has set."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` x `height` inches that lays itself out. Call it inside `style()`."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(fig: Figure, count: int, columns: int, **kwargs) -> list[Axes]:
    """`count` axes, `columns` to a row; what is left of the last row stays empty."""
    rows = -(-count // columns)
    grid = fig.subplots(rows, columns, squeeze=False, **kwargs).ravel().tolist()
    for unused in grid[count:]:
        unused.remove()
    return grid[:count]


def legend_columns(labels: Sequence[str], width: float = WIDTH) -> int:
    """How many entries stand side by side above a figure of `width` inches, at about 13 letters to the inch."""
    rows = 1
    while rows < len(labels) and max(sum(len(t) + 6 for t in labels[i::rows]) for i in range(rows)) > 13 * width:
        rows += 1
    return -(-len(labels) // rows)


def lowest(axes: Sequence[Axes], columns: int) -> None:
    """Write the x tick labels under the lowest panel of every column, also where the last row ends early."""
    for ax in axes[-columns:]:
        ax.tick_params(axis="x", labelbottom=True)


def palette(models: Iterable[str]) -> dict[str, str]:
    """A colour for each model, by its place in the list; models called teacher are dark.

    Make it once per notebook from all its models and pass it to every figure, so that a model keeps its colour.
    """
    return _assigned(models, COLOURS, TEACHERS)


def markers(models: Iterable[str]) -> dict[str, str]:
    """A marker for each model, by its place in the list."""
    return _assigned(models, MARKERS, ("p", "h"))


def _assigned(models: Iterable[str], students: Sequence[str], teachers: Sequence[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    used = {True: 0, False: 0}
    for model in dict.fromkeys(models):
        is_teacher = model.lower().startswith("teacher")
        choices = teachers if is_teacher else students
        out[model] = choices[used[is_teacher] % len(choices)]
        used[is_teacher] += 1
    return out


def looks(models: Iterable[str], colours: Mapping[str, str] | None) -> dict[str, dict[str, str]]:
    """{"color", "marker"} of each model. With `colours`, its models set the order and so the markers too."""
    models = list(models)
    known = list(colours) if colours else []
    missing = [model for model in models if model not in known]
    colour = palette([*known, *missing]) | dict(colours or {})
    marker = markers([*known, *missing])
    return {model: {"color": colour[model], "marker": marker[model]} for model in models}


def shown_px(fig: Figure) -> int:
    """How wide a report shows the figure: 100 px per inch, at most its own width."""
    return min(REPORT_PX, round(100 * fig.get_figwidth()))


def png(fig: Figure, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The figure as a PNG of 256 colours, twice as large as the report shows it, or less to keep to `max_bytes`.

    A palette makes these lines on white three to four times smaller, and with 256 entries a model's few dots keep their
    colour. When even the smallest size is too large (a dense scatter), that one is returned.
    """
    from PIL import Image  # comes with matplotlib

    data = b""
    for scale in (2, 1.6, 1.3, 1):
        drawn = io.BytesIO()
        fig.savefig(drawn, format="png", dpi=scale * shown_px(fig) / fig.get_figwidth(), facecolor="white")
        small = io.BytesIO()
        image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        image.save(small, "png", optimize=True)
        data = small.getvalue()
        if len(data) <= max_bytes:
            break
    return data


def show(fig: Figure, *, alt: str, caption: str = "") -> None:
    """Put the figure into the notebook as one PNG, and close it.

    alt says in words what the picture shows, for those who do not see it: a sentence, or `InputError`. It is also what
    a terminal prints. caption stands below the picture; without one, alt does. Both travel in the output's
    metadata under "image/png".
    """
    if not isinstance(alt, str) or len(alt.split()) < 3:
        raise InputError(f"alt must describe the figure in a sentence, got {alt!r}.")
    from IPython.display import display

    data = base64.b64encode(png(fig)).decode("ascii")
    about = {"alt": alt.strip(), "caption": caption.strip(), "width": shown_px(fig)}
    display({"image/png": data, "text/plain": alt.strip()}, raw=True, metadata={"image/png": about})
    fig.clear()
