"""HDF5 files of published data, read with h5py in ranges of rows: what is there is checked, nothing else is opened.

A name in an HDF5 file may lead elsewhere: soft and external links, virtual data sets and external storage all make a
library open other files, wherever they lie. Only a data set that lies in the file itself is read here. A type of
variable length or of objects, whose size a header does not tell, is refused as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ecglib.errors import InputError

if TYPE_CHECKING:
    import h5py

LIMIT = 256 * 2**20
"""Bytes that a chunk, or a data set that is read whole, may take in memory."""
_KINDS = {"f": "floating-point numbers", "i": "integers", "u": "integers from 0"}


@contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """The file for reading, without a lock (a folder may be read-only); what h5py raises in the block is said in a
    sentence. Open it in the process that reads: a handle goes neither through a pickle nor through a fork.

    Raises:
        InputError: no such file, no HDF5, cut short or damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is missing; get the file again.") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # all of these mean bytes that HDF5 cannot use
        reason = str(error).strip("'\"").splitlines() or [type(error).__name__]
        raise InputError(f"{path} is cut short, damaged or no HDF5 ({reason[0]}); get the file again.") from None


def dataset(file: h5py.File, name: str, shape: Sequence[int | None], kinds: str = "f") -> h5py.Dataset:
    """The data set `name` ("a/b" for one in a group), not yet read.

    Args:
        shape: what it must have, None where any number will do. kinds: the types allowed, of "f", "i" and "u".

    Raises:
        InputError: not there; a link; kept in other files; another shape or type; chunks beyond `LIMIT`.
    """
    import h5py

    where = f"{file.filename} ({name})"
    parts = name.split("/")
    for k in range(1, len(parts) + 1):  # a group on the way may be a link as well
        try:
            link = file.get("/".join(parts[:k]), getlink=True)
        except (KeyError, TypeError):  # h5py knows no user-defined links
            link = None
        if not isinstance(link, h5py.HardLink):
            what = f"has no {name}" if link is None else f"holds {name} as a link to elsewhere, which is not followed"
            raise InputError(f"{file.filename} {what}; get the file again.")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{where} is a group where a data set is needed; get the file again.")
    if data.is_virtual or data.external:
        raise InputError(f"{where} keeps its values in other files, which are not opened; get the file again.")
    if data.dtype.kind not in kinds:
        allowed = " or ".join(_KINDS[kind] for kind in kinds)
        raise InputError(f"{where} holds {data.dtype}, not {allowed}; get the file again.")
    have = data.shape or ()
    if len(have) != len(shape) or any(want not in (None, size) for want, size in zip(shape, have)):
        wanted = ", ".join("N" if size is None else str(size) for size in shape)
        raise InputError(f"{where} has the shape {have}, not ({wanted}); get the file again.")
    if data.chunks and _bytes(data.chunks, data.dtype.itemsize) > LIMIT:
        raise InputError(f"{where} has chunks of {data.chunks}, more than {LIMIT >> 20} MiB each; store it in smaller.")
    return data


def whole(data: h5py.Dataset):
    """All values, as a numpy array.

    Raises:
        InputError: more than `LIMIT` bytes.
    """
    if _bytes(data.shape, data.dtype.itemsize) > LIMIT:
        raise InputError(f"{data.file.filename} ({data.name}) says {data.shape} values, more than {LIMIT >> 20} MiB.")
    return data[()]


def ranges(data: h5py.Dataset, rows: int) -> list[tuple[int, int]]:
    """[(start, stop)] that cover the first axis in order, about `rows` each and whole chunks, so that no chunk is
    unpacked twice."""
    each = data.chunks[0] if data.chunks else 1
    step = max(1, -(-rows // each)) * each
    return [(start, min(start + step, data.shape[0])) for start in range(0, data.shape[0], step)]


def _bytes(shape: Sequence[int], itemsize: int) -> int:
    total = itemsize
    for size in shape:
        total *= int(size)  # whole numbers of any size: a header may say anything
    return total
