"""Pages as a network gets them: how they look, where it looks, and where it errs.

A report holds a figure as a PNG of 256 colours and some 120 kB, and a photographed page is mostly noise. So every page
is brought to the pixels at which the report shows it, one image pixel for one screen pixel, with as many colours of its
own as fit. All lengths below are those pixels, 100 to the inch.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ecglib.errors import InputError
from ecglib.figures.style import COLOURS, INK, MAX_BYTES, REPORT_PX, SOFT, legend_columns, looks, style

EDGE, GAP = 6, 18
LINE = 17  # of a title
LETTER = 7.0  # about, of a letter in a title or class name
LEAST_WIDTH = 440  # smaller pages are enlarged to it where there is room
BAR = 84  # right of the pages: the colour bar
HEAT, MOST = COLOURS[3], 0.8  # of the overlay: its colour, and its alpha where the heat is highest
HEAT_STEPS, INK_STEPS = 20, 9  # 21 shades of heat under 10 of ink: the figure's 256 colours hold them all
FADE = 1.5  # power of the ink of a page under heat: the grid recedes, the trace stays
PAGE_BYTES = 0.85 * MAX_BYTES  # what all pages of a figure may take; the rest is for words and lines
COLOURS_OF_A_PAGE = (64, 48, 32, 24, 16, 12, 8, 6)
ALL_PIXELS = 520_000  # of all pages of a figure together: more would not fit even in the fewest colours


def pages(images: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 2) -> Figure:
    """Several pages in a grid, `columns` to a row, each under its title.

    images: n of (3, H, W), float in [0, 1] or uint8, all of one size. Raises `InputError` for no images, images that
    are no such pages, or another number of titles.
    """
    images = _checked(images, titles)
    with style():
        grid = _Grid(images.shape[2:], titles, columns)
        for ax, page in zip(grid.axes, _few_colours([_resized(image, grid.size) for image in images]), strict=True):
            _draw(ax, page, images.shape[2:], "page")
    return grid.fig


def page_attention(
    image: np.ndarray, heat: np.ndarray, *, title: str = "",
    boxes: np.ndarray | None = None, names: Sequence[str] | None = None,
) -> Figure:  # fmt: skip
    """A greyed page under the network's heat, and, where given, the outlines and names of its panels.

    image (3, H, W), float in [0, 1] or uint8. heat (h, w) >= 0 on the network's grid of cells, which divides the page
    evenly; it is brought to the page bilinearly and shown as a share of its highest value. boxes (N, 4) x0, y0, x1, y1
    in px of the page, as `PageRenderer.locate` gives them, and names N. Raises `InputError` for shapes that do not
    agree, and heat that is negative or not finite.
    """
    if boxes is not None:
        boxes = np.asarray(boxes, np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or (names is not None and len(names) != len(boxes)):
            count = "" if names is None else f" and {len(names)} names"
            raise InputError(f"Boxes of shape {boxes.shape}{count} were given where (N, 4) and N names are needed.")
    elif names is not None:
        raise InputError("Names were given without the boxes that they belong to.")
    fig = _attention([image], [heat], [title], columns=1, label="share of the highest")
    for i, (x0, y0, x1, y1) in enumerate(() if boxes is None else boxes):
        ax = fig.axes[0]
        outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=SOFT, lw=0.8, ls=(0, (2, 2)), zorder=3)
        ax.add_patch(outline)
        if names is not None:
            halo = [withStroke(linewidth=2.5, foreground="white")]
            ax.text(x1 - 3, y0 + 3, names[i], ha="right", va="top", fontsize=8, fontweight="bold", color=INK, zorder=4,
                    path_effects=halo)  # fmt: skip
    return fig


def page_attentions(
    images: Sequence[np.ndarray], heats: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 2
) -> Figure:
    """Several greyed pages under their heat, each a share of its own highest; arguments as of `page_attention`."""
    return _attention(images, heats, titles, columns=columns, label="share of the page's highest")


def worst_pages(
    images: Sequence[np.ndarray], titles: Sequence[str], probabilities: Mapping[str, np.ndarray], truth: np.ndarray,
    classes: Sequence[str], *, colours: Mapping[str, str] | None = None,
) -> Figure:  # fmt: skip
    """Pages one under another, every model's probabilities beside each; classes of the record are shaded and bold.

    images: n of (3, H, W), float in [0, 1] or uint8; probabilities {model: (n, C)}, truth (n, C) in {0, 1}. Raises
    `InputError` for shapes that do not agree, no model, or probabilities outside [0, 1].
    """
    images = _checked(images, titles)
    values = {model: np.asarray(p, np.float64) for model, p in probabilities.items()}
    if not values:
        raise InputError("probabilities names no model; give at least one {model: (pages, classes)}.")
    for name, given in {"truth": np.asarray(truth), **values}.items():
        if given.shape != (len(images), len(classes)):
            raise InputError(f"{name!r} has shape {given.shape} for {len(images)} pages and {len(classes)} classes.")
        if not ((given >= 0) & (given <= 1)).all():
            raise InputError(f"{name!r} has values outside 0 to 1.")
    with style():
        look = looks(values, colours)
        letters = max(len(name) for name in classes) * 1.2 * LETTER + 26  # the bold class names and their distance
        keys = [Line2D([], [], linestyle="none", **look[model], ms=7, label=model) for model in values]
        per_row = legend_columns(list(values))
        head = 8 + 20 * -(-len(keys) // per_row)
        beside, tallest = int(letters + 230), 60 * len(classes)
        grid = _Grid(images.shape[2:], titles, 1, beside=beside, head=head, foot=34)
        drawn = _few_colours([_resized(image, grid.size) for image in images])
        for i, (ax, page) in enumerate(zip(grid.axes, drawn, strict=True)):
            _draw(ax, page, images.shape[2:], "page")
            left, bottom, width, height = grid.place(i)
            tall = min(height, tallest)
            box = (left + width + letters, bottom + height - tall, beside - letters - 2 * EDGE, tall)
            each = {model: p[i] for model, p in values.items()}
            _probabilities(grid.add(box, "probabilities"), classes, np.asarray(truth)[i], each, look,
                           axis=i == len(images) - 1)  # fmt: skip
        grid.fig.legend(handles=keys, loc="upper left", bbox_to_anchor=(EDGE / grid.width, 1 - 2 / grid.height),
                        ncols=per_row, borderaxespad=0, handletextpad=0.2)  # fmt: skip
    return grid.fig


# ------------------------------------------------------------------------------------------------- how they are drawn


class _Grid:
    """A figure of pages with titles, placed to the pixel: a layout engine would resample them."""

    def __init__(self, page: tuple[int, int], titles: Sequence[str], columns: int, *, beside: int = 0, head: int = 0,
                 foot: int = 0) -> None:  # fmt: skip
        if not (isinstance(columns, int) and columns > 0):
            raise InputError(f"columns must be a positive whole number, got {columns!r}.")
        columns = min(columns, len(titles))
        room = (REPORT_PX - 2 * EDGE - beside - GAP * (columns - 1)) // columns
        across = min(room, max(page[1], LEAST_WIDTH), int((ALL_PIXELS / len(titles) * page[1] / page[0]) ** 0.5))
        if across < 60:
            raise InputError(f"{len(titles)} pages in {columns} columns leave no room for any; give fewer of either.")
        self.size = round(across * page[0] / page[1]), across  # (h, w) of a page as shown
        written = [textwrap.fill(str(title), max(8, int(across / LETTER))) for title in titles]
        self._title = 7 + LINE * max(text.count("\n") + 1 for text in written) if any(written) else GAP
        self._rows, self._columns, self._head = -(-len(titles) // columns), columns, head
        self.width = 2 * EDGE + beside + across * columns + GAP * (columns - 1)
        self.height = head + foot + self._rows * (self._title + self.size[0]) + GAP * (self._rows - 1) + EDGE
        self.fig = Figure(figsize=(self.width / 100, self.height / 100))
        self.axes = [self.add(self.place(i), "page") for i in range(len(titles))]
        for ax, text in zip(self.axes, written, strict=True):
            ax.set_title(text, pad=5)

    def place(self, i: int) -> tuple[int, int, int, int]:
        """Left, bottom, width and height of page i; y points up, as matplotlib's."""
        row, column = divmod(i, self._columns)
        top = self._head + self._title * (row + 1) + (self.size[0] + GAP) * row
        return EDGE + column * (self.size[1] + GAP), self.height - top - self.size[0], self.size[1], self.size[0]

    def add(self, box: tuple[float, float, float, float], label: str) -> Axes:
        left, bottom, width, height = box
        share = left / self.width, bottom / self.height, width / self.width, height / self.height
        return self.fig.add_axes(share, label=label)


def _checked(images: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """(n, 3, H, W) float32 in [0, 1]."""
    images = [np.asarray(image) for image in images]
    if not images:
        raise InputError("There are no pages to draw.")
    if len(titles) != len(images):
        raise InputError(f"{len(titles)} titles do not fit {len(images)} pages; give a title for each.")
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape or image.shape != images[0].shape:
            raise InputError(f"Page {i} has shape {image.shape} where {('3, H, W')} of one size for all is needed.")
        if not (image.dtype == np.uint8 or (image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1)):
            raise InputError(f"Page {i} is {image.dtype} where uint8, or float between 0 and 1, is needed.")
    return np.stack([image / np.float32(255) if image.dtype == np.uint8 else image for image in images])


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3, H, W) in [0, 1] to (h, w, 3) uint8, averaging where pixels become fewer."""
    from PIL import Image  # comes with matplotlib

    whole = Image.fromarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0))  # (3, H, W) -> (H, W, 3)
    return np.asarray(whole if whole.size == size[::-1] else whole.resize(size[::-1], Image.Resampling.LANCZOS))


def _few_colours(drawn: list[np.ndarray]) -> list[np.ndarray]:
    """The images (h, w, 3) uint8 in as many colours, 200 together, as `PAGE_BYTES` hold.

    The largest one gives up colours first: a clean page needs few bytes, a noisy one many.
    """
    steps = [k for k in COLOURS_OF_A_PAGE if k * len(drawn) <= 200] or [COLOURS_OF_A_PAGE[-1]]
    step = [0] * len(drawn)
    made = [_palette(image, steps[0]) for image in drawn]
    while sum(size for _, size in made) > PAGE_BYTES and min(step) < len(steps) - 1:
        i = max((i for i in range(len(drawn)) if step[i] < len(steps) - 1), key=lambda i: made[i][1])
        step[i] += 1
        made[i] = _palette(drawn[i], steps[step[i]])
    return [image for image, _ in made]


def _palette(image: np.ndarray, colours: int) -> tuple[np.ndarray, int]:
    """The image in so many colours, and the bytes of its PNG. Colours are sought over the range of what is there, not
    by how common they are: else the grid takes them all and the thin trace fades into it."""
    from PIL import Image

    few = Image.fromarray(image).quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE
    )
    held = io.BytesIO()
    few.save(held, "png")
    return np.asarray(few.convert("RGB")), held.tell()


def _draw(ax: Axes, image: np.ndarray, page: tuple[int, int], label: str, **kwargs) -> None:
    """An image over the whole page, in the page's own pixel coordinates, framed by a thin line."""
    # "antialiased" copies pixels at once and twice the size, where `png` begins and ends, and smooths in between.
    ax.imshow(image, extent=(0, page[1], page[0], 0), aspect="auto", interpolation="antialiased", label=label, **kwargs)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=SOFT, linewidth=0.6)


def _attention(images: Sequence[np.ndarray], heats: Sequence[np.ndarray], titles: Sequence[str], *, columns: int,
               label: str) -> Figure:  # fmt: skip
    images = _checked(images, titles)
    if len(heats) != len(images):
        raise InputError(f"{len(heats)} heats do not fit {len(images)} pages; give one for each.")
    heats = [_share(heat, i) for i, heat in enumerate(heats)]
    page = images.shape[2:]
    with style():
        grid = _Grid(page, titles, columns, beside=BAR)
        grey = np.tensordot(images, np.float32([0.299, 0.587, 0.114]), (1, 0))  # (n, 3, H, W) -> (n, H, W)
        for ax, heat, one in zip(grid.axes, heats, grey, strict=True):
            over = np.empty((*grid.size, 4))
            over[..., :3], over[..., 3] = to_rgb(HEAT), MOST * _steps(_bilinear(heat, grid.size), HEAT_STEPS)
            _draw(ax, over, page, "heat", zorder=1)
            # The page lies over its heat as black ink on clear film: the strongest heat leaves the trace dark.
            ink = np.zeros((*grid.size, 4))
            ink[..., 3] = _ink(_resized(np.repeat(one[None], 3, axis=0), grid.size)[..., 0] / 255)
            _draw(ax, ink, page, "page", zorder=2)
        _, top, _, height = grid.place(0)
        tall = min(height, 300)
        cax = grid.add((grid.width - BAR + 4, top + (height - tall) / 2, 12, tall), "colour bar")
        alpha = MOST * np.linspace(0, 1, HEAT_STEPS + 1)[:, None]
        shades = ListedColormap(1 - alpha + alpha * np.array(to_rgb(HEAT)))
        grid.fig.colorbar(ScalarMappable(Normalize(0, 1), shades), cax=cax, label=label, ticks=[0, 0.5, 1])
        cax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        cax.tick_params(length=0)
        cax.grid(visible=False)
    return grid.fig


def _ink(grey: np.ndarray) -> np.ndarray:
    """A page (h, w) in [0, 1] as the ink on it, in `INK_STEPS`: what is darker than the paper around it, however badly
    that is lit, and a hint of deep shadow and of the table."""
    from scipy.ndimage import gaussian_filter, grey_closing

    # Closing takes away what is dark and narrower than 11 px, as lines and letters are, and leaves the sheet's edge.
    # The border is drawn out, so that a sliver of table beside the sheet is not taken for a line.
    closed = grey_closing(np.pad(grey, 11, mode="edge"), 11)[11:-11, 11:-11]
    paper = np.maximum(gaussian_filter(closed, 1), 0.05)
    ink = np.clip(1 - grey / paper, 0, 1)
    ink = np.clip(ink / max(np.quantile(ink, 0.995), 0.1), 0, 1) ** FADE
    shadow = 0.5 * np.clip(1 - paper / (0.75 * np.quantile(paper, 0.95)), 0, 1)
    return np.maximum(_steps(ink, INK_STEPS), _steps(shadow, INK_STEPS))


def _steps(values: np.ndarray, steps: int) -> np.ndarray:
    return np.round(values * steps) / steps


def _share(heat: np.ndarray, i: int) -> np.ndarray:
    """Heat (h, w) over its highest value; zeros stay zeros."""
    heat = np.asarray(heat, np.float64)
    if heat.ndim != 2 or 0 in heat.shape:
        raise InputError(f"The heat of page {i} has shape {heat.shape} where (h, w) is needed.")
    if not (np.isfinite(heat).all() and (heat >= 0).all()):
        raise InputError(f"The heat of page {i} has values that are negative or not finite.")
    return heat / max(heat.max(), np.finfo(np.float64).tiny)


def _bilinear(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells (h, w) at `size` = (H, W): a cell's value stands at the middle of its part of the page."""
    for axis, (have, want) in enumerate(zip(cells.shape, size, strict=True)):
        at = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)  # in cells
        before = np.minimum(at.astype(int), max(have - 2, 0))
        after = np.minimum(before + 1, have - 1)
        share = np.expand_dims(at - before, 1 - axis)
        cells = np.take(cells, before, axis) * (1 - share) + np.take(cells, after, axis) * share
    return cells


def _probabilities(ax: Axes, classes: Sequence[str], truth: np.ndarray, values: Mapping[str, np.ndarray],
                   look: Mapping[str, Mapping[str, str]], *, axis: bool) -> None:  # fmt: skip
    """Probabilities of one record, as beside the strips of `ecg_strips`."""
    place = np.arange(len(classes))
    for c in place[truth == 1]:
        ax.axhspan(c - 0.44, c + 0.44, color="#e4e4e4", zorder=0, lw=0)
    spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [0.0]
    for offset, (model, p) in zip(spread, values.items(), strict=True):
        ax.plot(p, place + offset, linestyle="none", **look[model], markersize=7, clip_on=False, label=model, zorder=3)
    ax.set(xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xticks=[0, 0.5, 1], yticks=place)
    ax.set_xticklabels(["0", "0.5", "1"] if axis else [])
    ax.set_xlabel("probability (shaded: true)" if axis else "", labelpad=1)
    ax.set_yticklabels(classes)
    for text, true in zip(ax.get_yticklabels(), truth == 1, strict=True):
        text.set(fontweight="bold" if true else "normal", color=INK if true else SOFT)
    ax.tick_params(length=0)
    ax.grid(axis="y", visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
