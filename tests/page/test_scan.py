from __future__ import annotations

import io
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.page import PageRenderer, read_page
from ecglib.page.scan import MAX_PIXELS

SIZE = (425, 550)


@pytest.fixture(scope="module")
def drawn() -> torch.Tensor:
    t = torch.arange(1000) / 100
    signal = 1.2 * torch.exp(-((((t % 0.9) - 0.4) / 0.02) ** 2)).expand(1, 12, -1).contiguous()
    return PageRenderer("3x4+II", rate=100, leads=LEADS, dtype=torch.uint8)(signal)[0]


@pytest.fixture(scope="module")
def picture(drawn) -> Image.Image:
    return Image.fromarray(drawn.permute(1, 2, 0).numpy())


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def mean_error(tensor: torch.Tensor, drawn: torch.Tensor) -> float:
    assert tensor.shape == drawn.shape
    assert tensor.dtype == torch.float32
    assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1
    return float((tensor - drawn / 255).abs().mean())


# ------------------------------------------------------------------------------------------------------------- ways in
def test_a_png_comes_back_as_it_was(tmp_path, drawn, picture):
    assert mean_error(read_page(saved(picture, tmp_path / "page.png")), drawn) == 0


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_modes(tmp_path, drawn, picture, mode):
    path = saved(picture.convert(mode), tmp_path / ("page.jpg" if mode == "CMYK" else "page.png"))
    assert mean_error(read_page(path), drawn) < (0.2 if mode == "1" else 0.08)


def test_jpeg(tmp_path, drawn, picture):
    assert mean_error(read_page(saved(picture, tmp_path / "page.jpg", quality=95)), drawn) < 0.03


def test_alpha_is_laid_on_white(tmp_path, picture):
    """A trace on a transparent sheet, hidden colours black, must not become a black page."""
    grey = np.asarray(picture.convert("L"))
    clear = np.zeros((*grey.shape, 4), dtype=np.uint8)
    clear[..., 3] = np.where(grey < 100, 255, 0)
    page = read_page(saved(Image.fromarray(clear, "RGBA"), tmp_path / "page.png"), crop=False)
    assert float(page.median()) == 1
    assert float(page.min()) == 0


def test_palette_with_transparency(tmp_path, picture):
    small = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    small.info["transparency"] = int(np.bincount(np.asarray(small).ravel()).argmax())
    page = read_page(saved(small, tmp_path / "page.png", transparency=small.info["transparency"]))
    assert float(page.median()) > 0.9


def test_16_bit_grey_keeps_its_range(tmp_path, picture):
    grey = np.asarray(picture.convert("L"), dtype=np.uint16)
    path = saved(Image.fromarray(grey * 257), tmp_path / "page.png")
    assert Image.open(path).mode.startswith("I")
    page = read_page(path)
    assert (page[0] - torch.from_numpy(grey.astype(np.float32)) / 255).abs().max() < 1.5 / 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, drawn, picture, orientation):
    """The camera wrote the sensor's rows and how to turn them: all eight ways come out upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    sensor = picture.transpose(undo[orientation]) if orientation > 1 else picture
    assert mean_error(read_page(saved(sensor, tmp_path / "page.jpg", quality=95, exif=exif)), drawn) < 0.03


def test_portrait_is_turned_by_the_stated_rule(tmp_path, drawn, picture):
    clockwise = saved(picture.transpose(Image.Transpose.ROTATE_270), tmp_path / "right_on_top.png")
    assert mean_error(read_page(clockwise), drawn) == 0
    other = saved(picture.transpose(Image.Transpose.ROTATE_90), tmp_path / "other.png")
    assert mean_error(read_page(other), drawn) > 0.02  # upside down, as the docstring warns
    assert mean_error(read_page(other, turn=270), drawn) == 0
    assert mean_error(read_page(saved(picture.rotate(180), tmp_path / "down.png"), turn=180), drawn) == 0
    assert read_page(clockwise, turn=0).shape == (3, *SIZE)  # left as it is, padded at both sides


@pytest.mark.parametrize("border", ["white", "black", (90, 60, 40)])
def test_a_plain_border_is_cut_off(tmp_path, drawn, picture, border):
    table = Image.new("RGB", (900, 700), border)
    table.paste(picture, (130, 90))
    path = saved(table, tmp_path / "page.png")
    page = read_page(path)
    # White on white, the box begins at the first line of the grid: up to 1 mm is lost, and the rest is 0.5 % larger.
    assert mean_error(page, drawn) < (0.06 if border == "white" else 0.005)
    assert mean_error(read_page(path, crop=False), drawn) > 0.065


def test_larger_scans_are_shrunk_with_antialiasing(tmp_path, drawn, picture):
    large = picture.resize((2200, 1700), Image.Resampling.NEAREST)
    assert mean_error(read_page(saved(large, tmp_path / "page.png")), drawn) < 0.01


def test_proportions_are_kept_and_the_rest_is_paper(tmp_path, picture):
    path = saved(picture, tmp_path / "page.png")
    page = read_page(path, size=(600, 550))
    band = page[:, :80]
    assert (band - band[:, :1, :1]).abs().max() == 0
    assert float(band.mean()) > 0.8


def test_pdf(tmp_path, drawn, picture):
    path = tmp_path / "page.pdf"
    picture.resize((2200, 1700), Image.Resampling.LANCZOS).save(
        path, resolution=200, save_all=True, append_images=[picture]
    )
    assert mean_error(read_page(path), drawn) < 0.03
    assert mean_error(read_page(path, page=2), drawn) < 0.04
    with pytest.raises(InputError, match="has 2 pages; there is no page 3"):
        read_page(path, page=3)
    with pytest.raises(InputError, match="there is no page 0"):
        read_page(path, page=0)
    path.rename(tmp_path / "called.png")  # the content counts
    assert read_page(tmp_path / "called.png").shape == (3, *SIZE)


# ----------------------------------------------------------------------------------------------------------- bad input
def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def says(path, match: str, **options) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_page(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or "turn" in message or "size" in message


@pytest.mark.parametrize("sides", [(20_000, 20_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_a_huge_image_is_refused_from_its_header(tmp_path, sides):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(*sides))
    assert sides[0] * sides[1] > MAX_PIXELS
    tracemalloc.start()
    says(path, "more than 80 million pixels")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_real_20000_by_20000_png_does_not_fill_the_memory(tmp_path):
    """Compressed to a few 100 kB, 400 MB when decoded: refused before."""
    import resource

    path = tmp_path / "huge.png"
    row = b"\x00" + bytes(20_000 // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(20_000)) + packer.flush()
    parts = png_header(20_000, 20_000)
    head = bytearray(parts[:33])
    head[24:26] = bytes([1, 0])  # one bit, grey
    head[29:33] = zlib.crc32(bytes(head[12:29])).to_bytes(4, "big")
    idat = len(data).to_bytes(4, "big") + b"IDAT" + data + zlib.crc32(b"IDAT" + data).to_bytes(4, "big")
    path.write_bytes(bytes(head) + idat + parts[-12:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    says(path, "more than 80 million pixels")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_what_is_no_image(tmp_path, picture):
    says(tmp_path / "absent.png", "is no file")
    says(tmp_path, "is no file")
    for name, content in (("text.png", b"I am a text file\n"), ("empty.png", b""), ("page.gif", None)):
        path = tmp_path / name
        saved(picture.convert("P"), path) if content is None else path.write_bytes(content)
        says(path, "neither a PNG, a JPEG nor a PDF")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_short(tmp_path, picture, kind, share):
    file = io.BytesIO()
    picture.save(file, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])
    says(path, "damaged or cut short|neither a PNG")


def test_too_small_and_blank(tmp_path, picture):
    says(saved(Image.new("RGB", (1, 1)), tmp_path / "pixel.png"), "1 x 1 pixels, too small")
    says(saved(picture.resize((280, 216)), tmp_path / "small.png"), "too small")
    says(saved(Image.new("RGB", (800, 600), "white"), tmp_path / "white.png"), "is blank")
    rng = np.random.default_rng(0)
    dust = (245 + rng.normal(0, 4, (600, 800, 3))).clip(0, 255).astype(np.uint8)
    says(saved(Image.fromarray(dust), tmp_path / "dust.png"), "is blank")
    speck = Image.new("RGB", (800, 600), "white")
    speck.paste((0, 0, 0), (400, 300, 420, 320))
    says(saved(speck, tmp_path / "speck.png"), "too small to read an ECG from|is blank")


def test_bad_pdfs(tmp_path):
    import pypdfium2

    empty = pypdfium2.PdfDocument.new()
    with (tmp_path / "empty.pdf").open("wb") as file:
        empty.save(file)
    says(tmp_path / "empty.pdf", "without pages|cannot be read as a PDF")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing follows")
    says(tmp_path / "broken.pdf", "cannot be read as a PDF")
    strip = pypdfium2.PdfDocument.new()
    strip.new_page(10_000, 10)
    with (tmp_path / "strip.pdf").open("wb") as file:
        strip.save(file)
    says(tmp_path / "strip.pdf", "no sheet of paper")
    vast = pypdfium2.PdfDocument.new()
    vast.new_page(14_400, 14_400)  # 5 x 5 m: drawn no larger than asked for
    with (tmp_path / "vast.pdf").open("wb") as file:
        vast.save(file)
    says(tmp_path / "vast.pdf", "is blank")


ENCRYPTED = b"""%%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]>>endobj
4 0 obj<</Filter/Standard/V 1/R 2/P -4/Length 40/O<%s>/U<%s>>>endobj
trailer<</Root 1 0 R/Encrypt 4 0 R/ID[<00><00>]/Size 5>>
%%%%EOF""" % (b"ab" * 32, b"cd" * 32)


def test_an_encrypted_pdf_is_named_as_such(tmp_path):
    path = tmp_path / "locked.pdf"
    path.write_bytes(ENCRYPTED)
    says(path, "is encrypted; save it without a password")


def test_bad_settings(tmp_path, picture):
    path = saved(picture, tmp_path / "page.png")
    says(path, "turn is 45", turn=45)
    says(path, "page size", size=(0, 10))
    says(path, "page size", size=(10,))


def test_a_real_phone_photo_sized_jpeg_is_quick(tmp_path, drawn, picture):
    """12 million pixels: the decoder shrinks while it decodes."""
    import time

    path = saved(picture.resize((4032, 3116), Image.Resampling.BICUBIC), tmp_path / "photo.jpg", quality=85)
    begin = time.perf_counter()
    page = read_page(path)
    assert time.perf_counter() - begin < 3
    assert mean_error(page, drawn) < 0.03
