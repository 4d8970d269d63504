"""The way in from files: a scan or photo of a page becomes the tensor that a network takes.

What it does not do: tell an ECG from another drawing, find the page on a patterned table, or straighten it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecglib.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_PIXELS = 80_000_000  # an A3 sheet at 600 dpi has 70 million; decoding 80 takes about 1 GB at most
MIN_SIDES = (200, 300)  # shorter and longer side, px: below, a large box of 5 mm has fewer than 6
BLANK_SHARE = 5e-4  # of the pixels; a page with less that stands out from its paper is blank
_STANDS_OUT = 0.12  # a difference of brightness, in [0, 1]
_BORDER = 0.06  # a difference from the border's colour, per channel, in [0, 1]
_LOOK = 1600  # px of the longer side when looking for the page

Turn = Literal["auto", 0, 90, 180, 270]


def read_page(
    path: str | Path,
    size: tuple[int, int] = (425, 550),
    *,
    page: int = 1,
    turn: Turn = "auto",
    crop: bool = True,
) -> Tensor:
    """The page in a PNG, JPEG or PDF file as (3, H, W) float32 in [0, 1].

    Steps: the camera's EXIF orientation is applied; alpha is laid on white; 16-bit grey is scaled to 8; a border of one
    colour (a scanner's lid, a plain table) is cut off; a page higher than wide is turned by a quarter anticlockwise,
    so that its right edge comes on top (a sheet put in sideways is as often the other way round, which this rule cannot
    see: then `turn` says it). The rest is resized with antialiasing, its proportions kept, and padded to `size` with
    the paper's colour.

    Args:
        path: the file; its content counts, not its ending.
        size: (H, W) in pixels.
        page: of a PDF, from 1.
        turn: degrees anticlockwise, applied after EXIF in place of the rule.
        crop: cut the border off.

    Raises:
        InputError: no such file; neither PNG, JPEG nor PDF; damaged or truncated; more than 80 million pixels, or
            smaller than 300 x 200; a PDF that is encrypted, empty or has no such page; a blank page; a `turn` or
            `size` that is none.
    """
    path = Path(path)
    if turn not in ("auto", 0, 90, 180, 270):
        raise InputError(f"turn is {turn!r} where 'auto', 0, 90, 180 or 270 is needed.")
    if len(size) != 2 or not all(isinstance(n, int) and 0 < n <= 16_000 for n in size):
        raise InputError(f"The page size {size!r} is no (height, width) of 1 to 16000 pixels.")
    if not path.is_file():
        raise InputError(f"{path} is no file.")
    image = _open_pdf(path, page, size) if _is_pdf(path) else _open_image(path, size)
    _check_size(path, image.size)
    image = _rgb(path, image)
    if crop:
        image = image.crop(_content_box(image))
        _check_size(path, image.size, " after its border was cut off")
    _check_not_blank(path, image)
    quarter = 90 if image.height > image.width else 0
    angle = quarter if turn == "auto" else turn
    image = image.rotate(angle, expand=True) if angle else image
    return _fitted(image, size)


# --------------------------------------------------------------------------------------------------------------- files
def _is_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return b"%PDF-" in file.read(1024)  # readers accept a header within the first kilobyte


def _open_image(path: Path, size: tuple[int, int]) -> Image:
    """Decoded and upright, in the file's own mode; its size is checked before any pixel is decoded."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=("PNG", "JPEG"))
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if image.format == "JPEG":  # the decoder can halve while it decodes; twice the size asked for stays sharp
            image.draft(None, (2 * size[1], 2 * size[1]))
        image.load()
        return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path} has more than {MAX_PIXELS // 1_000_000} million pixels; save it smaller; "
            "600 dpi are enough for an ECG."
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is neither a PNG, a JPEG nor a PDF file, whatever its name; convert it to one."
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged or cut short ({error}); get the file again.") from None


def _open_pdf(path: Path, page: int, size: tuple[int, int]) -> Image:
    """One page, drawn at twice the size asked for."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        why = (
            "is encrypted; save it without a password"
            if "assword" in str(error)
            else "cannot be read as a PDF; save it again"
        )
        raise InputError(f"{path} {why}.") from None
    try:
        if not len(document):
            raise InputError(f"{path} is a PDF without pages.")
        if not (isinstance(page, int) and 1 <= page <= len(document)):
            raise InputError(f"{path} has {len(document)} pages; there is no page {page!r}.")
        sheet = document[page - 1]
        width, height = sheet.get_size()
        if not (width > 0 and height > 0 and max(width, height) / min(width, height) < 20):
            raise InputError(
                f"Page {page} of {path} measures {width:g} x {height:g} points, which is no sheet of paper."
            )
        return sheet.render(scale=max(2 * max(size), 2 * MIN_SIDES[1]) / max(width, height)).to_pil()
    except pypdfium2.PdfiumError:
        raise InputError(f"Page {page} of {path} is damaged; save the PDF again.") from None
    finally:
        document.close()


# -------------------------------------------------------------------------------------------------------------- pixels
def _rgb(path: Path, image: Image) -> Image:
    """Mode RGB, transparency on white."""
    from PIL import Image as pil

    if image.mode.startswith(("I", "F")):  # 16-bit grey comes as I;16, from some files as I
        grey = np.asarray(image, dtype=np.float32)
        if not np.isfinite(grey).all():
            raise InputError(f"{path} holds pixels that are not numbers.")
        return pil.fromarray((grey.clip(0, 65535) / 257.0 + 0.5).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = pil.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _check_size(path: Path, size: tuple[int, int], when: str = "") -> None:
    short, long = sorted(size)
    if short < MIN_SIDES[0] or long < MIN_SIDES[1]:
        raise InputError(
            f"{path} is {size[0]} x {size[1]} pixels{when}, too small to read an ECG from; "
            f"scan it with {MIN_SIDES[1]} x {MIN_SIDES[0]} pixels at least."
        )


def _small(image: Image) -> np.ndarray:
    """(h, w, 3) float32 in [0, 1], the longer side at most `_LOOK` px."""
    copy = image.copy() if max(image.size) <= _LOOK else image.reduce(-(-max(image.size) // _LOOK))
    return np.asarray(copy, dtype=np.float32) / 255.0


def _content_box(image: Image) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the rows and columns of which 2 % differ from the outermost pixels' median."""
    small = _small(image)
    edge = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    differs = (np.abs(small - np.median(edge, axis=0)) > _BORDER).any(-1)  # (h, w, 3) -> (h, w)
    rows, columns = (np.flatnonzero(differs.mean(axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return 0, 0, *image.size
    step = image.width / small.shape[1], image.height / small.shape[0]
    left, right = int(columns[0] * step[0]), min(image.width, round((columns[-1] + 1) * step[0]))
    top, bottom = int(rows[0] * step[1]), min(image.height, round((rows[-1] + 1) * step[1]))
    return left, top, right, bottom


def _check_not_blank(path: Path, image: Image) -> None:
    """Ink stands out from the paper: that is all that is asked, and all that is promised."""
    light = _small(image).mean(-1)
    if (np.abs(light - np.median(light)) > _STANDS_OUT).mean() < BLANK_SHARE:
        raise InputError(f"{path} is blank: nothing on it stands out from the paper.")


def _fitted(image: Image, size: tuple[int, int]) -> Tensor:
    """(3, H, W): the whole image in its proportions, the rest in the colour of its paper."""
    import torch
    from PIL import Image as pil

    height, width = size
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    paper = tuple(int(c) for c in np.median(_small(image).reshape(-1, 3), axis=0) * 255 + 0.5)
    sheet = pil.new("RGB", (width, height), paper)
    sheet.paste(image.resize(inner, pil.Resampling.BOX if scale < 0.5 else pil.Resampling.BICUBIC),
                ((width - inner[0]) // 2, (height - inner[1]) // 2))  # fmt: skip
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).to(torch.float32) / 255  # (H, W, 3) -> (3, H, W)
