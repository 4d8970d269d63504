"""ecglib.datasets.image_folder: copies of a page are found before the split, and pages of different records are not."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecglib.datasets import image_folder
from ecglib.errors import InputError

SIZE = (440, 340)  # width, height
COPIES = {
    "jpeg": lambda page: jpeg(page, 60),
    "half": lambda page: page.resize((220, 170), Image.Resampling.BICUBIC),
    "dark": lambda page: Image.eval(page, lambda v: int(0.8 * v)),
    "grey": lambda page: page.convert("L"),
    "alpha": lambda page: page.convert("RGBA"),
}


def draw(seed: int) -> Image.Image:
    """A page: pink grid, four rows of beats whose shape, rate and phase are the seed's."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    page = np.full((height, width, 3), 255, np.uint8)
    page[::10] = page[:, ::10] = (255, 215, 215)
    x = np.arange(width)
    for row in range(4):
        period, phase = rng.uniform(40, 75), rng.uniform(0, 75)
        at = (x + phase) % period / period - 0.3
        qrs = rng.uniform(-40, 40) * np.exp(-((at / 0.03) ** 2))
        t = rng.uniform(-20, 20) * np.exp(-(((at - 0.35) / 0.08) ** 2))
        y = np.rint(50 + 80 * row - qrs - t + rng.normal(0, 1, width)).astype(int)
        for x0, (a, b) in enumerate(zip(y, np.roll(y, -1))):
            page[max(0, min(a, b)) : max(a, b) + 2, x0] = 0
    return Image.fromarray(page)


def jpeg(page: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    page.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def save(page: Image.Image, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    page.save(file)
    return file


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of twelve different pages each."""
    source = tmp_path / "pages größe"
    for k in range(24):
        save(draw(k), source / ("Infarction" if k < 12 else "Normal") / f"page {k:02d}.png")
    return source


def read(source: Path, **options) -> pd.DataFrame:
    return image_folder.read(source, **{"folds": 4, "progress": False, **options})


def test_different_pages(folder):
    table = read(folder)
    assert table.columns.tolist() == ["file", "class", "sha256", "group", "fold", "conflict"]
    assert table["file"].tolist()[:2] == ["Infarction/page 00.png", "Infarction/page 01.png"]
    assert table["group"].nunique() == 24
    assert not table["conflict"].any()
    content = (folder / table["file"][5]).read_bytes()
    assert table["sha256"][5] == hashlib.sha256(content).hexdigest()
    assert table["group"][5] == table["sha256"][5][:16]
    counts = table.groupby(["class", "fold"]).size()
    assert counts.tolist() == [3] * 8  # each fold has its share of each class


def test_exact_and_near_copies_are_one_group(folder):
    save(draw(3), folder / "Infarction" / "again" / "z.png")
    for name, copy in COPIES.items():
        save(copy(draw(3)), folder / "Infarction" / f"copy {name}.{'jpg' if name == 'jpeg' else 'PNG'}")
    table = read(folder)
    assert len(table) == 30
    same = table[table["group"] == table.loc[table["file"] == "Infarction/page 03.png", "group"].iloc[0]]
    assert len(same) == 7
    assert same["fold"].nunique() == 1
    assert not same["conflict"].any()
    assert table["group"].nunique() == 24
    assert image_folder.notes(table)[1:] == [
        "1 are exact duplicates of another file.",
        "5 more are near duplicates of another page.",
    ]
    only_exact = read(folder, near=False)
    assert only_exact["group"].nunique() == 29


def test_a_page_in_two_classes_is_a_conflict(folder):
    save(draw(3), folder / "Normal" / "same.png")
    save(COPIES["jpeg"](draw(7)), folder / "Normal" / "nearly.jpg")
    table = read(folder)
    found = image_folder.conflicts(table)
    assert sorted(found["file"]) == [
        "Infarction/page 03.png",
        "Infarction/page 07.png",
        "Normal/nearly.jpg",
        "Normal/same.png",
    ]
    assert found.groupby("group")["fold"].nunique().tolist() == [1, 1]
    assert image_folder.notes(table)[-1].startswith("2 pages lie in more than one class (Infarction/page 0")


def test_few_pages(tmp_path):
    for k in range(6):
        save(draw(k), tmp_path / f"class {k % 2}" / f"{k}.png")
    save(COPIES["half"](draw(2)), tmp_path / "class 0" / "copy.png")
    table = read(tmp_path, folds=2)
    assert table["group"].nunique() == 6
    assert table.groupby("group")["file"].apply(list).loc[lambda files: files.map(len) > 1].tolist() == [
        ["class 0/2.png", "class 0/copy.png"]
    ]


def test_a_border_that_all_pages_share_does_not_join_them(folder):
    for file in folder.rglob("*.png"):
        framed = Image.new("RGB", (SIZE[0] + 80, SIZE[1] + 60), (8, 8, 8))
        framed.paste(Image.open(file), (40, 30))
        framed.save(file)
    assert read(folder)["group"].nunique() == 24


def test_the_same_as_by_plain_loops(folder):
    pages = [draw(k) for k in range(24)] + [copy(draw(5)) for copy in COPIES.values()]
    files = []
    for k, page in enumerate(pages):
        file = io.BytesIO()
        page.save(file, "PNG")
        files.append(image_folder.thumbnail(file.getvalue(), str(k)))
    thumbnails = np.stack(files)
    flat = thumbnails.reshape(len(pages), -1).astype(float)
    levelled = [(page - page.mean()) / page.std() for page in flat]
    median = np.median(levelled, axis=0)
    slow = []
    for i in range(len(pages)):
        for j in range(i + 1, len(pages)):
            a, b = levelled[i] - median, levelled[j] - median
            raw = float(np.corrcoef(flat[i], flat[j])[0, 1])
            less = float(a @ b / np.sqrt((a @ a) * (b @ b)))
            if raw >= image_folder.RAW and less >= image_folder.LESS_MEDIAN:
                slow.append((i, j))
    assert sorted(image_folder.near_duplicates(thumbnails)) == slow
    assert len(slow) == 15  # the page and its five copies


def test_groups_do_not_depend_on_names(folder):
    before = read(folder).set_index("sha256")[["group", "fold"]]
    for k, file in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"{k}.png"))
    pd.testing.assert_frame_equal(read(folder).set_index("sha256")[["group", "fold"]].loc[before.index], before)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), min_size=5, max_size=80),
    st.integers(2, 5),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=20),
)
def test_folds_keep_groups_together(images, folds, pairs):
    hashes = sorted({f"{hashlib.sha256(bytes([k])).hexdigest()}" for k, _ in images})
    pairs = [(i % len(hashes), j % len(hashes)) for i, j in pairs]
    groups = image_folder._groups(hashes, pairs)
    assert all(groups[hashes[i]] == groups[hashes[j]] for i, j in pairs)
    rows = [(hashlib.sha256(bytes([k])).hexdigest(), name) for k, name in images]
    table = pd.DataFrame(rows, columns=["sha256", "class"])
    table["group"] = table["sha256"].map(groups)
    if table["group"].nunique() < folds:
        with pytest.raises(InputError, match="cannot be dealt to"):
            image_folder._deal(table, folds)
        return
    dealt = image_folder._deal(table, folds)
    sizes = np.bincount(list(dealt.values()), minlength=folds + 1)[1:]
    assert set(dealt) == set(groups.values())
    assert sizes.max() - sizes.min() <= 1


def test_what_is_passed_over(folder):
    for name in ("Normal/.hidden.png", "__MACOSX/Normal/._page.png", "Normal/Thumbs.db", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no image")
    assert len(read(folder)) == 24


def test_found(folder, tmp_path):
    assert image_folder.found(folder)
    assert not image_folder.found(folder / "Normal")
    assert not image_folder.found(tmp_path / "no")
    assert not image_folder.found(tmp_path)  # one folder, and the images are not in it
    save(draw(0), folder / "stray.png")
    assert not image_folder.found(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], r"page 02\.png is no PNG or JPEG image or damaged"),
        (lambda whole: b"", r"page 02\.png is no PNG or JPEG image or damaged"),
        (lambda whole: b"GIF89a" + whole[6:], r"page 02\.png is no PNG or JPEG image or damaged"),
        (lambda whole: whole[:200] + bytes(100) + whole[300:], r"page 02\.png is no PNG or JPEG image or damaged"),
    ],
)
def test_damaged_images(folder, content, said):
    file = folder / "Infarction" / "page 02.png"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(InputError, match=said):
        read(folder)


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        read(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no PNG or JPEG image"):
        read(tmp_path / "empty")
    with pytest.raises(InputError, match="24 different pages cannot be dealt to 30 folds"):
        read(folder, folds=30)
    for folds in (1, 0, 2.5, True):
        with pytest.raises(InputError, match="give a whole number from 2"):
            read(folder, folds=folds)
    save(draw(0), folder / "stray.png")
    with pytest.raises(InputError, match=r"stray\.png lies in no class's folder"):
        read(folder)
    save(draw(0), tmp_path / "one" / "Normal" / "0.png")
    with pytest.raises(InputError, match=r"images of one class only \(Normal\)"):
        read(tmp_path / "one")


def test_kinds_of_images(tmp_path):
    """Thumbnails of one page as 8-bit, 16-bit, palette, transparent and turned-by-EXIF files."""
    page = draw(1)
    plain = thumbnail_of(page)
    assert (plain.shape, plain.dtype) == ((96, 128), np.uint8)
    grey = np.asarray(page.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    see_through = page.convert("RGBA")
    see_through.putalpha(Image.fromarray(np.where(grey > 250, 0, 255).astype(np.uint8)))
    for other in (deep, page.quantize(64), see_through):
        assert np.abs(thumbnail_of(other).astype(int) - plain).mean() < 4
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    page.rotate(90, expand=True).save(file, "JPEG", quality=95, exif=exif)
    assert np.abs(image_folder.thumbnail(file.getvalue(), "x").astype(int) - plain).mean() < 4


def thumbnail_of(page: Image.Image) -> np.ndarray:
    file = io.BytesIO()
    page.save(file, "PNG")
    return image_folder.thumbnail(file.getvalue(), "x")


def test_pages_of_real_records(shared_data, tmp_path):
    """As the module's text says: pages of different records stay apart, and their copies do not."""
    import torch

    from ecglib.datasets import wfdb_folder
    from ecglib.leads import LEADS
    from ecglib.page import PageRenderer

    cohort = wfdb_folder.build(shared_data / "ludb", tmp_path / "c", rate=500, progress=False)
    signal = torch.from_numpy(cohort.signal_mv(slice(0, 30)))
    pages = PageRenderer("3x4+II", rate=500, leads=LEADS, dtype=torch.uint8)(signal).permute(0, 2, 3, 1).numpy()
    source = tmp_path / "pages"
    for k, page in enumerate(pages):
        save(Image.fromarray(page), source / "abc"[k % 3] / f"{k}.png")
        if k < 5:
            save(jpeg(Image.fromarray(page), 50), source / "abc"[k % 3] / f"{k} copy.jpg")
    table = read(source)
    assert table["group"].nunique() == 30
    assert (table.groupby("group").size() == 2).sum() == 5
    assert not table["conflict"].any()
