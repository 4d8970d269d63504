"""ecglib.datasets.hdf5: what is read, and what is refused rather than followed, unpacked or guessed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib.datasets import hdf5
from ecglib.errors import InputError

VALUES = np.arange(60, dtype=np.float32).reshape(10, 3, 2)


@pytest.fixture
def path(tmp_path) -> Path:
    """A file with the data sets x, in whole, and group/chunked, in chunks of four rows."""
    path = tmp_path / "a größe.hdf5"
    with h5py.File(path, "w") as file:
        file["x"] = VALUES
        file.create_dataset("group/chunked", data=VALUES, chunks=(4, 3, 2), compression="gzip")
        file["ids"] = np.arange(10)
    return path


def read(path: Path, name: str, shape=(None, 3, 2), kinds: str = "f") -> np.ndarray:
    with hdf5.opened(path) as file:
        return hdf5.whole(hdf5.dataset(file, name, shape, kinds))


def test_what_is_there(path):
    np.testing.assert_array_equal(read(path, "x"), VALUES)
    np.testing.assert_array_equal(read(path, "group/chunked", (10, None, 2)), VALUES)
    np.testing.assert_array_equal(read(path, "ids", (None,), "iu"), np.arange(10))


def test_in_a_folder_that_is_read_only(path):
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        np.testing.assert_array_equal(read(path, "x"), VALUES)
        assert os.listdir(path.parent) == [path.name]
    finally:
        path.parent.chmod(0o700)


@given(rows=st.integers(1, 25), count=st.integers(0, 30), chunk=st.integers(1, 12) | st.none())
def test_ranges_cover_every_row_once_and_whole_chunks(tmp_path_factory, rows, count, chunk):
    path = tmp_path_factory.mktemp("ranges") / "x.hdf5"
    with h5py.File(path, "w") as file:
        chunks = (chunk, 2) if chunk and count else None
        limit = (None, 2) if chunks else None  # HDF5 lets a chunk be longer than a data set that can grow
        data = file.create_dataset("x", (count, 2), "f4", chunks=chunks, maxshape=limit)
        ranges = hdf5.ranges(data, rows)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(count))
    each = chunk if chunks else 1
    assert all(start % each == 0 and stop - start < rows + each for start, stop in ranges)
    assert all(stop - start >= min(rows, count - start) for start, stop in ranges)


@pytest.mark.parametrize(
    ("name", "shape", "kinds", "said"),
    [
        ("y", (None, 3, 2), "f", "has no y; get the file again"),
        ("group/y", (None, 3, 2), "f", "has no group/y"),
        ("x/y", (None, 3, 2), "f", "has no x/y"),
        ("group", (None, 3, 2), "f", "is a group where a data set is needed"),
        ("x", (None, 3, 3), "f", r"has the shape \(10, 3, 2\), not \(N, 3, 3\)"),
        ("x", (None,), "f", r"not \(N\)"),
        ("ids", (None,), "f", "holds int64, not floating-point numbers"),
        ("x", (None, 3, 2), "iu", "holds float32, not integers or integers from 0"),
    ],
)
def test_another_layout(path, name, shape, kinds, said):
    with pytest.raises(InputError, match=said):
        read(path, name, shape, kinds)


def secret(folder: Path) -> Path:
    """A file elsewhere that must not be opened."""
    folder.mkdir()
    with h5py.File(folder / "secret.hdf5", "w") as file:
        file["x"] = VALUES
    return folder / "secret.hdf5"


def test_links_are_not_followed(path, tmp_path):
    other = secret(tmp_path / "elsewhere")
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/x")
        file["external"] = h5py.ExternalLink(str(other), "/x")
        file["folder"] = h5py.ExternalLink(str(other), "/")
        file["dangling"] = h5py.ExternalLink("no.hdf5", "/x")
    for name in ("soft", "external", "folder/x", "dangling"):
        with pytest.raises(InputError, match="as a link to elsewhere, which is not followed"):
            read(path, name)


def test_values_in_other_files_are_not_read(path, tmp_path):
    other = secret(tmp_path / "elsewhere")
    raw = tmp_path / "raw.bin"
    raw.write_bytes(VALUES.tobytes())
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((10, 3, 2), np.float32)
        layout[:] = h5py.VirtualSource(str(other), "x", (10, 3, 2))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (10, 3, 2), np.float32, external=[(str(raw), 0, VALUES.nbytes)])
        np.testing.assert_array_equal(file["virtual"][()], VALUES)  # so they would have been read
        np.testing.assert_array_equal(file["raw"][()], VALUES)
    for name in ("virtual", "raw"):
        with pytest.raises(InputError, match="keeps its values in other files, which are not opened"):
            read(path, name)


def test_objects_are_refused(path):

    with h5py.File(path, "a") as file:
        file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())
        file.create_dataset("lists", (2,), h5py.vlen_dtype(np.float32))
        file["pickle"] = np.void(pickle.dumps([1, 2, 3]))
        file["refs"] = np.array([file["x"].ref], h5py.ref_dtype)
        file["fields"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    for name, shape in (("text", (2,)), ("lists", (2,)), ("pickle", ()), ("refs", (1,)), ("fields", (3,))):
        with pytest.raises(InputError, match=r"not floating-point numbers; get the file again"):
            read(path, name, shape)


def test_more_than_memory_should_hold(path):
    with h5py.File(path, "a") as file:  # HDF5 keeps nothing of what was never written: the file stays small
        file.create_dataset("long", (10**9,), "i8", chunks=(1000,))
        file.create_dataset("thick", (10**6, 100), "f8", chunks=(10**6, 100))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"says \(1000000000,\) values, more than 256 MiB"):
        read(path, "long", (None,), "i")
    with pytest.raises(InputError, match=r"has chunks of \(1000000, 100\), more than 256 MiB each"):
        read(path, "thick", (None, 100))


def test_missing_cut_or_none(path, tmp_path):
    with pytest.raises(InputError, match=r"no\.hdf5 is missing"):
        read(tmp_path / "no.hdf5", "x")
    whole = path.read_bytes()
    for length in (0, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"is cut short, damaged or no HDF5 \(.+\); get the file again\.$"):
            read(path, "x")
    path.write_bytes(b"exam_id,age\n" * 1000)
    with pytest.raises(InputError, match="no HDF5"):
        read(path, "x")


def test_a_damaged_chunk(path):
    with h5py.File(path) as file:
        chunk = file["group/chunked"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path, "x"), VALUES)
    with pytest.raises(InputError, match="is cut short, damaged or no HDF5"):
        read(path, "group/chunked")
