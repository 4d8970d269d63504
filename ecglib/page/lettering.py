"""Lead names as small coverage bitmaps, rasterised once per text and size from the DejaVu font matplotlib carries."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np


@lru_cache(maxsize=16)
def _font(size: int):
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


@lru_cache(maxsize=16)
def _font_size(capital_px: int) -> int:
    """The font size whose capital I is `capital_px` high, or the nearest below."""
    size = max(4, capital_px)
    while _height(size + 1) <= capital_px:
        size += 1
    return size


def _height(size: int) -> int:
    top, bottom = _font(size).getbbox("I", anchor="ls")[1::2]
    return bottom - top


@lru_cache(maxsize=256)
def bitmap(text: str, capital_px: int) -> np.ndarray:
    """(h, w) float32 in [0, 1]: how much of each pixel is ink. The last row stands on the text's baseline."""
    from PIL import Image, ImageDraw

    font = _font(_font_size(capital_px))
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font, anchor="ls")
    return np.asarray(image, dtype=np.float32) / 255.0
