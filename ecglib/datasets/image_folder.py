"""A folder of page images, one folder a class: a table with groups of equal pages and folds that keep them together.

Collections of page images hold the same page many times: of one published set of 928 only 491 files differ. A page in
training and in test makes any score look good, so pages are grouped before anything is split:
1. exact duplicates have the same SHA-256 of the file's content;
2. near duplicates (re-encoded, rescaled, brighter or in grey) have thumbnails of 128 x 96 that correlate.

A difference hash of 64 bits (signs of the steps between neighbours in 9 x 8 pixels) would not do: ECG pages are pale
and alike in layout. Of 120 PTB-XL records drawn as "3x4+II", pages of two records differed by 13 bits in the median and
by 2 at least, and a page and its JPEG copy by 8 in the median. The same pages' thumbnails correlate by 0.83 at most
between records and by 0.96 at least between copies; less the median page of the set, which takes away layout, grid and
border, by 0.71 and 0.87. Both must agree (`RAW`, `LESS_MEDIAN`). Below `MANY` pages no median is taken away and the
first is stricter; a border that all pages share may then make them look alike.

What this does not see: a page cropped, turned or photographed anew, or shrunk to a third with a broad border (0.62),
and two records of one person.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets.about import About
from ecglib.datasets.progress import bar
from ecglib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
"""Of these rules: another one may group and split otherwise."""

SUFFIXES = (".png", ".jpg", ".jpeg")
WIDTH, HEIGHT = 128, 96  # px of a thumbnail; 12 kB an image are held in memory
MANY = 20
RAW, LESS_MEDIAN, FEW = 0.9, 0.8, 0.93
"""Least correlations of near duplicates: of thumbnails; of thumbnails less the median; of thumbnails of few pages."""
_PROJECTED = 256  # directions: a correlation is guessed from them with a standard deviation of 0.06
_SLACK = 0.3

ABOUT = About(
    name="image-folder",
    title="A folder of page images, one folder a class",
    version="any",
    url="one's own, or a published set of ECG page images",
    licence="the images' own",
    citation="the images' own",
    records="any number",
    size_gb="any",
    rate="none",
    leads="as drawn",
    labels="the name of the folder that an image lies in",
    traps=(
        "Copies of a page, exact or nearly so, are grouped before the split, and a group lies in one fold.",
        "A page that lies in two classes is reported as a conflict; both rows stay until you decide.",
        "Patients are not known: two pages of one person may lie in two folds.",
        "A class may be told by its layout, resolution or lettering where each class came from another place.",
    ),
)


def found(source: Path) -> bool:
    """Whether `source` holds two folders or more with PNG or JPEG files in them, and no such file itself."""
    if not source.is_dir() or any(_is_image(file) for file in source.iterdir()):
        return False
    return sum(any(_is_image(file) for file in place.iterdir()) for place in source.iterdir() if place.is_dir()) > 1


def read(source: str | Path, *, folds: int = 10, near: bool = True, progress: bool = True) -> pd.DataFrame:
    """One row an image, in the order of class and file, with its group and its fold.

    Columns: file (below `source`), class (the folder's name), sha256 (of the file's content), group (beginning of the
    smallest SHA-256 in it, so that it stays when files move), fold (1 to `folds`), conflict (whether its group holds
    images of several classes). Folds are dealt to the groups class by class, so that each has its share of each class.
    Hidden files and what is neither PNG nor JPEG by name are passed over.

    Args:
        source: the folder with a folder for each class; images may lie in folders below that.
        folds: how many. near: group near duplicates too, not only exact ones.

    Raises:
        InputError: no such folder; images outside a class's folder, or of fewer than two classes; a file that is no
            image or is damaged; fewer groups than folds.
    """
    import pandas as pd

    source = Path(source).absolute()
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 2:
        raise InputError(f"folds is {folds!r}; give a whole number from 2.")
    files = _find(source)
    hashes, thumbnails = [], {}
    for (file,) in bar(([file] for file in files), len(files), "images", progress):
        content = _content(file)
        digest = hashlib.sha256(content).hexdigest()
        hashes.append(digest)
        if digest not in thumbnails:
            thumbnails[digest] = thumbnail(content, str(file))
    pairs = near_duplicates(np.stack(list(thumbnails.values()))) if near else []
    names = [file.relative_to(source) for file in files]
    table = pd.DataFrame(
        {
            "file": [name.as_posix() for name in names],
            "class": [name.parts[0] for name in names],
            "sha256": hashes,
            "group": pd.Series(hashes).map(_groups(list(thumbnails), pairs)),
        }
    )
    table["fold"] = table["group"].map(_deal(table, folds))
    table["conflict"] = table.groupby("group")["class"].transform("nunique") > 1
    if progress:
        print("\n  ".join(notes(table)))
    return table


def conflicts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`read` whose page lies in several classes, group by group."""
    return table[table["conflict"]].sort_values(["group", "class", "file"], ignore_index=True)


def notes(table: pd.DataFrame) -> list[str]:
    """One sentence on each thing that was found in the table of :func:`read`."""
    groups, contents = table["group"].nunique(), table["sha256"].nunique()
    said = [f"{len(table):,} images of {table['class'].nunique()} classes: {groups:,} different pages."]
    if copies := len(table) - contents:
        said.append(f"{copies:,} are exact duplicates of another file.")
    if nearly := contents - groups:
        said.append(f"{nearly:,} more are near duplicates of another page.")
    if disputed := table.loc[table["conflict"], "group"].nunique():
        first = conflicts(table).groupby("group")["file"].first().iloc[0]
        said.append(f"{disputed:,} pages lie in more than one class ({first}, ...); decide which is right.")
    return said


def thumbnail(content: bytes, file: str) -> np.ndarray:
    """(96, 128) uint8 grey of a PNG or JPEG file's content, upright by its EXIF, alpha laid on white.

    Raises:
        InputError: no PNG or JPEG, or damaged; `file` is its name for the sentence.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            image.draft("L", (4 * WIDTH, 4 * HEIGHT))  # a JPEG is decoded no larger than is needed
            image.load()
            page = ImageOps.exif_transpose(image)
            if page.mode.startswith("I"):  # 16 bits
                page = Image.fromarray((np.asarray(page).astype(np.uint32) >> 8).astype(np.uint8))
            elif page.has_transparency_data:
                page = Image.alpha_composite(Image.new("RGBA", page.size, "white"), page.convert("RGBA"))
            return np.asarray(page.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    except Exception as error:  # pillow raises nearly anything on a bad file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file} is no PNG or JPEG image or damaged ({reason}); get it again or remove it.") from None


def near_duplicates(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of (U, 96, 128) uint8 thumbnails that show one page, as positions (i < j).

    Correlations are first guessed from `_PROJECTED` random directions, then computed for the pairs that may reach the
    threshold: time grows with U squared, but 50 times more slowly than by comparing the thumbnails themselves.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)  # (U, P)
    many = len(flat) >= MANY
    median = _median(flat) if many else np.float32(0)
    least, raw_least = (LESS_MEDIAN, RAW) if many else (FEW, FEW)
    directions = np.random.default_rng(0).standard_normal((flat.shape[1], _PROJECTED)).astype(np.float32)
    parts = (flat[start : start + 512] for start in range(0, len(flat), 512))
    guess = np.concatenate([_unit(_levelled(part) - median) @ directions for part in parts])  # (U, P) -> (U, 256)
    guess /= np.maximum(np.linalg.norm(guess, axis=1, keepdims=True), 1e-12)
    pairs: list[tuple[int, int]] = []
    step = max(1, 2**24 // len(flat))
    for start in range(0, len(flat), step):
        block = guess[start : start + step] @ guess[start:].T  # (u, U - start)
        i, j = np.nonzero(np.triu(block > least - _SLACK, k=1))
        for at in range(0, len(i), 1024):
            first, second = start + i[at : at + 1024], start + j[at : at + 1024]
            a, b = _levelled(flat[first]), _levelled(flat[second])  # (p, P)
            same = (_unit(a) * _unit(b)).sum(axis=1) >= raw_least
            same &= (_unit(a - median) * _unit(b - median)).sum(axis=1) >= least
            pairs += zip(first[same].tolist(), second[same].tolist())
    return pairs


def _levelled(flat: np.ndarray) -> np.ndarray:
    """(n, P) uint8 to float32 of mean 0 and standard deviation 1: brightness and contrast do not count."""
    values = flat.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(values.std(axis=1, keepdims=True), 1e-3)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def _median(flat: np.ndarray) -> np.ndarray:
    """(P,) the median page, of 500 pages at most, evenly taken: enough for what is common to all."""
    return np.median(_levelled(flat[:: max(1, len(flat) // 500)]), axis=0)


def _groups(hashes: list[str], pairs: list[tuple[int, int]]) -> dict[str, str]:
    """{SHA-256: group}: pages joined by a chain of pairs are one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = np.array(pairs, int).reshape(-1, 2).T
    links = coo_array((np.ones(len(i), bool), (i, j)), shape=(len(hashes), len(hashes)))
    component = connected_components(links, directed=False)[1]
    smallest: dict[int, str] = {}
    for digest, group in sorted(zip(hashes, component.tolist())):
        smallest.setdefault(group, digest[:16])
    return {digest: smallest[group] for digest, group in zip(hashes, component.tolist())}


def _deal(table: pd.DataFrame, folds: int) -> dict[str, int]:
    """{group: fold}; a group of several classes goes with the first by name."""
    first = table.groupby("group")["class"].min()
    if len(first) < folds:
        raise InputError(f"{len(first)} different pages cannot be dealt to {folds} folds; give fewer folds.")
    order = first.reset_index().sort_values(["class", "group"])["group"]
    return {group: k % folds + 1 for k, group in enumerate(order)}


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _find(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source} is no folder; give one that holds a folder of images for each class.")
    files = [file for file in source.rglob("*") if _is_image(file) and "__MACOSX" not in file.parts]
    files.sort(key=lambda file: file.relative_to(source).parts)
    if stray := [file for file in files if file.parent == source]:
        raise InputError(f"{stray[0]} lies in no class's folder; move it into one or remove it.")
    if len(classes := {file.relative_to(source).parts[0] for file in files}) < 2:
        what = f"images of one class only ({min(classes)})" if classes else "no PNG or JPEG image"
        raise InputError(f"{source} holds {what}; give a folder that holds a folder of images for each class.")
    return files


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); get it again or remove it.") from None
