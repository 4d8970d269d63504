"""Archives: whole or not at all, and never outside their folder."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.datasets.unpack import beside, stem, unpack
from ecglib.errors import InputError

FILES = {"data/a.dat": bytes(range(256)) * 40, "data/deep/ü b.hea": b"header", "data/empty": b""}


def make(path, files, *, mode="w:gz", extra=()):
    """A zip or tar of `files`; `extra` are TarInfo or (ZipInfo, content) besides."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in files.items():
                archive.writestr(name, body)
            for info, body in extra:
                archive.writestr(info, body)
        return path
    with tarfile.open(path, mode) as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        for info in extra:
            archive.addfile(info)
    return path


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KINDS = [("x.zip", ""), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz"), ("x.tar", "w"), ("x.tar.gz", "w")]


@pytest.mark.parametrize(("name", "mode"), KINDS)
def test_all_files_and_nothing_else(tmp_path, name, mode):
    files = FILES | {"top": b"1"}
    to = unpack(make(tmp_path / name, files, mode=mode), tmp_path / "ordner ü")
    assert everything(to) == files
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "ordner ü"])


@pytest.mark.parametrize(("name", "mode"), KINDS)
def test_a_single_folder_becomes_the_target(tmp_path, name, mode):
    to = unpack(make(tmp_path / name, FILES | {"data/data/a.dat": b"same name"}, mode=mode), tmp_path / "t")
    expected = {path.removeprefix("data/"): body for path, body in FILES.items()} | {"data/a.dat": b"same name"}
    assert everything(to) == expected


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
@pytest.mark.parametrize("path", ["../out", "/out", "a/../../out", "a\\..\\out", "C:\\out", "a\x01b"])
def test_paths_that_leave_the_folder(tmp_path, name, path):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / name, {"a": b"1", path: b"2"})
    with pytest.raises(InputError, match="leaves its folder"):
        unpack(archive, tmp_path / "in/t")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path, kind):
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "a"
    with pytest.raises(InputError, match="a link or a device"):
        unpack(make(tmp_path / "x.tar", {"a": b"1"}, mode="w", extra=[info]), tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("odd")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="a link or a device"):
        unpack(make(tmp_path / "x.zip", {"a": b"1"}, extra=[(info, b"/etc/passwd")]), tmp_path / "t")


def test_an_encrypted_member(tmp_path):
    archive = make(tmp_path / "x.zip", {"a": b"1"})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    archive.write_bytes(raw)
    with pytest.raises(InputError, match="encrypted"):
        unpack(archive, tmp_path / "t")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a", "a/b", "./a"])
def test_two_members_of_one_name(tmp_path, second):
    info = zipfile.ZipInfo(second)
    with pytest.raises(InputError, match="twice, or as a file and a folder"):
        unpack(make(tmp_path / "x.zip", {"a": b"1"}, extra=[(info, b"2")]), tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(("name", "mode"), KINDS)
def test_the_limit_holds_for_all_members_together(tmp_path, name, mode):
    archive = make(tmp_path / name, {"a": bytes(600), "b": bytes(400)}, mode=mode)
    with pytest.raises(InputError, match="more than 999 bytes"):
        unpack(archive, tmp_path / "t", limit=999)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(everything(unpack(archive, tmp_path / "t", limit=1000))) == {"a", "b"}


def test_a_zip_that_lies_about_its_length(tmp_path):
    archive = make(tmp_path / "x.zip", {"a": bytes(10**6)})
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        unpack(archive, tmp_path / "t", limit=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True))
def test_an_archive_that_is_cut_short_gives_nothing(tmp_path_factory, kind, share):
    name, mode = kind
    folder = tmp_path_factory.mktemp("cut")
    archive = make(folder / name, FILES, mode=mode)
    size = archive.stat().st_size
    keep = int(share * size)
    if mode == "w":  # a tar's end is zeros: fewer of them harm nothing
        keep = int(share * len(archive.read_bytes().rstrip(b"\0")))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged or cut short"):
        unpack(archive, folder / "t")
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("harm", ["header", "end"])
def test_a_tar_whose_second_header_is_damaged_or_whose_end_is_missing(tmp_path, mode, harm):
    archive = make(tmp_path / "x.tar", {"a": b"1", "b": b"2"}, mode="w")
    raw = archive.read_bytes()
    raw = raw[:1024] + b"X" * 512 + raw[1536:] if harm == "header" else raw[:2048]
    archive.write_bytes(gzip.compress(raw) if mode == "w:gz" else raw)
    with pytest.raises(InputError, match="damaged"):
        unpack(archive, tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_a_flipped_bit_in_a_zip(tmp_path):
    archive = make(tmp_path / "x.zip", {"a": FILES["data/a.dat"]})
    raw = bytearray(archive.read_bytes())
    raw[60] ^= 4
    archive.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        unpack(archive, tmp_path / "t")


def test_what_is_no_archive(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"1")
    with pytest.raises(InputError, match="no archive by its name"):
        unpack(tmp_path / "x.csv", tmp_path / "t")
    with pytest.raises(InputError, match="is no file"):
        unpack(tmp_path / "x.zip", tmp_path / "t")
    (tmp_path / "x.zip").write_bytes(b"<html>")
    with pytest.raises(InputError, match="damaged"):
        unpack(tmp_path / "x.zip", tmp_path / "t")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(InputError, match="damaged"):
        unpack(make(tmp_path / "x.zip", {"a" * 300: b"1"}), tmp_path / "t")


def test_a_target_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/mine").write_bytes(b"1")
    with pytest.raises(InputError, match="not empty"):
        unpack(make(tmp_path / "x.zip", FILES), tmp_path / "t")
    assert everything(tmp_path / "t") == {"mine": b"1"}


@pytest.mark.parametrize(
    ("name", "expected"), [("a.zip", "a"), ("A.ZIP", "A"), ("a.b.tar.gz", "a.b"), (".zip", None), ("a.gz", None)]
)
def test_stem(name, expected):
    assert stem(name) == expected


def test_beside_a_single_file_keeps_its_name(tmp_path):
    made = beside(make(tmp_path / "part0.zip", {"part0.hdf5": b"1"}))
    assert made == tmp_path / "part0.hdf5"
    assert everything(tmp_path).keys() == {"part0.zip", "part0.hdf5"}
    with pytest.raises(InputError, match="there already"):
        beside(tmp_path / "part0.zip")
    assert everything(tmp_path).keys() == {"part0.zip", "part0.hdf5"}


@pytest.mark.parametrize("files", [{"records/a": b"1", "records/b": b"2"}, {"a": b"1", "b": b"2"}])
def test_beside_becomes_a_folder_of_the_stem(tmp_path, files):
    assert everything(beside(make(tmp_path / "records.tar.gz", files))) == {"a": b"1", "b": b"2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records", "records.tar.gz"]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path):
    archive = make(tmp_path / "x.zip", {"a": b"1", "b": b"2"})
    (tmp_path / ".x.zip.unpacked").mkdir()
    (tmp_path / ".x.zip.unpacked/half").write_bytes(b"")
    assert everything(beside(archive)) == {"a": b"1", "b": b"2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.zip"]
