"""Archives unpacked without leaving their folder: whole or not at all.

Refused before anything is kept: absolute paths, "..", links, devices, encrypted members, two members of one name, and
more bytes than the limit (counted as they are written, since an archive's own numbers can lie). Modes, owners and times
of the archive are not taken over.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ecglib import atomic, files
from ecglib.datasets.sources import inside
from ecglib.errors import InputError

LIMIT = 500 * 10**9
"""Bytes that an archive may unpack to unless told otherwise."""
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
_BLOCK = 1 << 20


def stem(name: str) -> str | None:
    """An archive's name without its suffix; None where it is none that `unpack` reads."""
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return None


def unpack(archive: str | Path, to: str | Path, *, limit: int = LIMIT, lift: bool = True) -> Path:
    """Unpack a zip or tar (plain or compressed, whatever its name says) into the new folder `to`, which appears whole.

    Args:
        limit: bytes, all members together. lift: where all lies in one folder of the archive, that folder becomes `to`.

    Raises:
        InputError: no such archive, another kind of file, damaged or cut short, a member that is refused (see above),
            more than `limit`; `to` is there and not empty; the disk is full.
    """
    archive, to = Path(archive), Path(to)
    if stem(archive.name) is None:
        raise InputError(f"{archive} is no archive by its name; give one that ends in {', '.join(SUFFIXES)}.")
    if not archive.is_file():
        raise InputError(f"{archive} is no file; give a zip or tar archive.")
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    with files.lock(to, f"waiting for another process that unpacks into {to}"), files.fresh_folder(to) as temporary:
        left = limit
        try:
            for path, content in members(archive, limit):
                left = _write(temporary / path, content, left, archive, limit)
        except _DAMAGED as error:
            raise _damaged(archive, error) from None
        except OSError as error:
            # gzip's and bz2's complaints carry no number, the disk's do
            if error.errno in (None, errno.ENAMETOOLONG):
                raise _damaged(archive, error) from None
            raise
        if lift:
            _lift(temporary)
    return to


def beside(archive: str | Path, *, limit: int = LIMIT) -> Path:
    """Unpack beside the archive: a single file that lies in no folder under its own name, anything else as a folder of
    the archive's stem.

    Raises:
        InputError: as `unpack`; what it would become is there already.
    """
    archive = Path(archive)
    hidden = archive.with_name(f".{archive.name}.unpacked")
    atomic.remove(hidden)  # of a process that was killed
    unpack(archive, hidden, limit=limit, lift=False)
    try:
        inner = list(hidden.iterdir())
        single = len(inner) == 1 and inner[0].is_file()
        target = archive.with_name(inner[0].name if single else stem(archive.name))
        if os.path.lexists(target):
            raise InputError(f"{target} is there already, so {archive.name} was not unpacked; delete it first.")
        with files.writable(target):
            os.rename(inner[0] if len(inner) == 1 else hidden, target)
    finally:
        atomic.remove(hidden)
    return target


def _zip_members(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if sum(info.file_size for info in infos) > limit:
            raise _too_large(archive, limit)
        for info in infos:
            path = inside(info.filename, str(archive))
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                raise InputError(f"{archive} holds {path} encrypted; unpack it by hand.")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, path)
            if not info.is_dir():
                with opened.open(info) as content:
                    yield path, content


class _Strict(tarfile.TarInfo):
    """Where tarfile takes a damaged or missing header behind the first for the archive's end, this is an error."""

    @classmethod
    def fromtarfile(cls, opened: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(opened)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _tar_members(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:*", tarinfo=_Strict) as opened:
        for info in opened:
            if info.isdir() and info.name in (".", "./", ""):
                continue
            path = inside(info.name, str(archive))
            if not (info.isfile() or info.isdir()):
                raise _refused(archive, path)
            if info.isfile():
                yield path, opened.extractfile(info)
        padding = max(limit, _BLOCK)
        while block := opened.fileobj.read(_BLOCK):  # to the end, where a compressed one keeps its checksum
            padding -= len(block)
            if padding < 0:
                raise tarfile.ReadError("much more behind its end")


def _write(path: Path, content: IO[bytes], left: int, archive: Path, limit: int) -> int:
    """Copy, and give what is left of the limit."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as out:
            while block := content.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise _too_large(archive, limit)
                out.write(block)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{archive} holds {path.name} twice, or as a file and a folder; do not use it.") from None
    return left


def _lift(folder: Path) -> None:
    """Where `folder` holds one folder only, put that one's contents in its place."""
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        moved = folder.with_name(folder.name + ".inner")
        os.rename(inner[0], moved)  # its name may be a child's too
        folder.rmdir()
        try:
            os.rename(moved, folder)
        except BaseException:
            shutil.rmtree(moved, ignore_errors=True)
            raise


def _damaged(archive: Path, error: BaseException) -> InputError:
    return InputError(f"{archive} is damaged or cut short ({str(error)[:60] or type(error).__name__}); get it again.")


def _refused(archive: Path, path: str) -> InputError:
    return InputError(f"{archive} holds {path}, which is a link or a device; do not use it.")


def _too_large(archive: Path, limit: int) -> InputError:
    return InputError(f"{archive} unpacks to more than {limit:,} bytes; raise the limit if that is meant.")
