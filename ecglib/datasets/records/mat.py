"""The plain matrices of a MATLAB file, versions 4 and 5 to 7, and those in a struct: numbers and text, never an object.

Version 4 goes through scipy. Versions 5 to 7 are read here: scipy 1.17's reader of them is compiled, and ends the whole
process with a segmentation fault on some damaged files. Source: MathWorks, MAT-File Format, chapter 1 (level 5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from ecglib.datasets.records.channels import reading
from ecglib.errors import InputError

MOST_UNPACKED = 2 << 30
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR = 2, 4
_CLASSES = {1: "cell", 2: "struct", 3: "object", 5: "sparse", 16: "function", 17: "opaque"}


def read(path: Path) -> dict[str, np.ndarray]:
    """{name: array}, numbers of any number of dimensions and texts of one; InputError where there is none."""
    with open(path, "rb") as file:
        head = file.read(128)
    if head[:10] == b"MATLAB 7.3":
        raise InputError("is of MATLAB's version 7.3; save it with save(..., '-v7').")
    with reading(".mat"):
        found, others = _level_4(path) if 0 in head[:4] else _level_5(path.read_bytes())
    if not found:
        kinds = ", ".join(sorted(others)) or "nothing"
        raise InputError(f"holds {kinds} and no plain array; save the signal as a matrix of the name 'signal'.")
    return found


def read_struct(content: bytes, name: str) -> dict[str, np.ndarray]:
    """{field: array} of the plain matrices in the 1 x 1 struct `name` of a file of version 5 to 7.

    Raises:
        ValueError, or what else a damaged file makes: there is no such struct, or it cannot be read.
    """
    order = _order(content)
    for body in _matrices(content, order):
        parts = _elements(body, order)
        (_, flags), (_, shape), (_, own) = next(parts), next(parts), next(parts)
        if flags[0 if order == "<" else 3] != _STRUCT or own.decode("latin1") != name:
            continue
        if prod(np.frombuffer(shape, f"{order}i4").tolist()) != 1:
            raise ValueError(f"{name} is no single struct")
        (_, width), (_, names) = next(parts), next(parts)
        each = struct.unpack(f"{order}i", width)[0]
        fields = [names[at : at + each].split(b"\0")[0].decode("latin1") for at in range(0, len(names), each)]
        values = [_matrix(inner, order)[1] for kind, inner in parts if kind == _MATRIX]
        return {field: value for field, value in zip(fields, values, strict=True) if not isinstance(value, str)}
    raise ValueError(f"it holds no struct {name}")


def bounded(size: int) -> None:
    """InputError where that many bytes are too many to unpack."""
    if not 0 <= size <= MOST_UNPACKED:
        raise InputError(f"unpacks to {size:,} bytes, more than are read; save the record alone.")


def _level_4(path: Path) -> tuple[dict[str, np.ndarray], set[str]]:
    import scipy.io

    listed = scipy.io.whosmat(path)
    bounded(sum(8 * prod(map(int, shape)) for _, shape, _ in listed))
    loaded = scipy.io.loadmat(path, variable_names=[name for name, _, kind in listed if kind != "sparse"])
    return {name: value for name, value in loaded.items() if isinstance(value, np.ndarray)}, {"sparse"}


def _level_5(content: bytes) -> tuple[dict[str, np.ndarray], set[str]]:
    """The arrays, and the kinds of what else there is."""
    order = _order(content)
    found: dict[str, np.ndarray] = {}
    others: set[str] = set()
    for body in _matrices(content, order):
        name, value = _matrix(body, order)
        if isinstance(value, str):
            others.add(value)
        elif not name.startswith("__"):
            found[name] = value
    return found, others


def _order(content: bytes) -> str:
    """ "<" or ">", the order of bytes that the file's header says."""
    if content[126:128] not in (b"IM", b"MI"):
        raise ValueError("no MATLAB file")
    return "<" if content[126:128] == b"IM" else ">"


def _matrices(content: bytes, order: str) -> Iterator[bytes]:
    """The matrices of a file, unpacked."""
    for kind, body in _elements(content[128:], order):
        if kind == _COMPRESSED:
            kind, body = _unpacked(body, order)
        if kind == _MATRIX:
            yield body


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, data) one after the other; ValueError where one reaches beyond the end."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a small one: type and size in 4 bytes, data in the next 4
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            at += 8
        else:
            start = at + 8
            at = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(content):
            raise ValueError("it ends within an element")
        yield kind, content[start : start + size]


def _unpacked(body: bytes, order: str) -> tuple[int, bytes]:
    """The element in a compressed one, of no more bytes than it says and than are read."""
    stream = zlib.decompressobj()
    kind, size = struct.unpack(f"{order}II", stream.decompress(body, 8))
    bounded(size)
    data = stream.decompress(stream.unconsumed_tail, size) if size else b""
    if len(data) < size:
        raise ValueError("it ends within a compressed element")
    return kind, data


def _matrix(body: bytes, order: str) -> tuple[str, np.ndarray | str]:
    """Name and values of a matrix, or instead of these what else it is."""
    if not body:  # an empty matrix in a struct may be so short
        return "", np.empty((0, 0))
    parts = _elements(body, order)
    (_, flags), (_, shape), (_, name) = next(parts), next(parts), next(parts)
    bits = struct.unpack_from(f"{order}I", flags)[0]
    kind, complex_ = bits & 0xFF, bool(bits & 0x800)
    if kind in _CLASSES or complex_:
        return "", _CLASSES.get(kind, "complex")
    dims = np.frombuffer(shape, f"{order}i4").tolist()
    if len(dims) < 2 or min(dims) < 0:
        raise ValueError(f"a shape of {dims[:8]}")
    stored, data = next(parts)
    text = name.decode("latin1")
    if kind == _CHAR:
        return text, _texts(data, stored, dims, order)
    if stored not in _TYPES:
        raise ValueError(f"numbers of the type {stored}")
    values = np.frombuffer(data, f"{order}{_TYPES[stored]}")
    return text, values.reshape(dims, order="F")  # as many as the shape says, or a ValueError


def _texts(data: bytes, stored: int, dims: list[int], order: str) -> np.ndarray:
    """A row of characters as one text, several as several."""
    encoding = _TEXTS[stored]
    encoding += {"<": "-le", ">": "-be"}[order] if encoding.startswith("utf-") and encoding != "utf-8" else ""
    letters = list(data.decode(encoding))
    if len(dims) != 2 or prod(dims) != len(letters):
        return np.array([], "U1")
    return np.array(["".join(letters[k :: dims[0]]).strip() for k in range(dims[0])], "U")
