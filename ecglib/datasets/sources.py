"""Where the public ECG collections lie, and how each host lists its files with their checksums.

PhysioNet publishes SHA256SUMS.txt with every project. Zenodo and figshare answer a question for a record with each
file's name, length, MD5 and address, and with the licence; from that answer a list "MD5SUMS.txt" of the same form is
made. Facts that could not be checked against the host's page or two independent readers of it are None and shown as
"not checked"; a source with a sentence in `refuse` is never fetched.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from ecglib.errors import InputError, nearest

CC_BY = "Creative Commons Attribution 4.0 (CC BY 4.0)"
TOLD = "not checked; figshare tells it before the download"
PAGE = "not checked; see the page"
ODC_BY, ODBL = (
    "Open Data Commons Attribution License (ODC-By) 1.0",
    "Open Data Commons Open Database License (ODbL) 1.0",
)
MARKER = ".complete"
"""The file written last into a folder that holds every file of its list."""
PART = ".part"
OWN = (MARKER, "SHA256SUMS.txt", "MD5SUMS.txt")


@dataclass(frozen=True)
class Source:
    """One collection: `listing` is the address of its list of files; `zip_url` one archive of all of them."""

    name: str
    title: str
    version: str
    page: str
    host: Literal["physionet", "zenodo", "figshare"]
    listing: str
    records: int | None
    licence: str
    size_gb: float | None = None  # 10^9 bytes, unpacked for PhysioNet, as offered elsewhere
    zip_url: str | None = None
    refuse: str = ""

    @property
    def list_name(self) -> str:
        """The checksum list's name in the folder."""
        return "SHA256SUMS.txt" if self.host == "physionet" else "MD5SUMS.txt"


@dataclass(frozen=True)
class Entry:
    """A file to fetch: path below the folder, checksum (64 hex digits SHA-256, 32 MD5), address, bytes if known."""

    path: str
    digest: str
    url: str
    size: int | None = None


@dataclass(frozen=True)
class Listing:
    """`content` is what the checksum list's file holds; `licence` what the host itself says, if it does."""

    content: bytes
    entries: tuple[Entry, ...]
    licence: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where the host does not tell."""
        sizes = [entry.size for entry in self.entries]
        return None if None in sizes else sum(sizes)


def _physionet(name: str, slug: str, version: str, title: str, *, has_zip: bool = True, **facts: Any) -> Source:
    return Source(
        name=name,
        title=title,
        version=version,
        page=f"https://physionet.org/content/{slug}/{version}/",
        host="physionet",
        listing=f"https://physionet.org/files/{slug}/{version}/SHA256SUMS.txt",
        zip_url=f"https://physionet.org/content/{slug}/get-zip/{version}/" if has_zip else None,
        **facts,
    )


def _figshare(name: str, collection: int, version: str, title: str, **facts: Any) -> Source:
    return Source(
        name=name,
        title=title,
        version=version,
        page=f"https://doi.org/10.6084/m9.figshare.c.{collection}",
        host="figshare",
        listing=f"https://api.figshare.com/v2/collections/{collection}/articles?page_size=1000",
        **facts,
    )


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        _physionet("ptb_xl", "ptb-xl", "1.0.3", "PTB-XL", records=21799, licence=CC_BY, size_gb=3.2),
        # no archive of the whole is known for this one
        _physionet(
            "challenge",
            "challenge-2021",
            "1.0.3",
            "PhysioNet/Computing in Cardiology Challenge 2021",
            has_zip=False,
            records=88253,
            licence=CC_BY,
        ),
        _physionet(
            "ludb", "ludb", "1.0.1", "Lobachevsky University database", records=200, licence=ODC_BY, size_gb=0.025
        ),
        _physionet(
            "challenge2011",
            "challenge-2011",
            "1.0.0",
            "PhysioNet/Computing in Cardiology Challenge 2011",
            has_zip=False,
            records=1500,
            licence=ODC_BY,
        ),
        Source(
            name="code15",
            title="CODE-15%",
            version="1.0.0",
            page="https://zenodo.org/records/4916206",
            host="zenodo",
            listing="https://zenodo.org/api/records/4916206",
            records=345779,
            licence=CC_BY,
        ),
        Source(
            name="code_test",
            title="CODE-test",
            version="1.0.3",
            page="https://zenodo.org/records/3765780",
            host="zenodo",
            listing="https://zenodo.org/api/records/3765780",
            records=827,
            licence=CC_BY,
        ),
        _figshare(
            "sph", 5779802, "1", "Shandong Provincial Hospital database", records=25770, licence=TOLD, size_gb=2.3
        ),
        _figshare("chapman", 4560497, "2", "Chapman-Shaoxing database", records=10646, licence=TOLD),
        _physionet(
            "mimic_iv_ecg",
            "mimic-iv-ecg",
            "1.0",
            "MIMIC-IV-ECG, diagnostic electrocardiogram matched subset",
            records=800035,
            licence=ODBL,
            size_gb=97.0,
        ),
        _physionet("ptb_diag", "ptbdb", "1.0.0", "PTB Diagnostic ECG database", records=549, licence=PAGE),
        _physionet(
            "mitbih", "mitdb", "1.0.0", "MIT-BIH Arrhythmia database", records=48, licence=ODC_BY, size_gb=0.109
        ),
    )
}


def named(name: str) -> Source:
    """Raises InputError where no collection has that name."""
    if name not in SOURCES:
        raise InputError(f"NAME is {name!r}, which is no data set that can be fetched.{nearest(name, SOURCES)}")
    return SOURCES[name]


def parse(content: bytes, where: str) -> dict[str, str]:
    """{path: checksum} of a list of lines "checksum  path".

    Raises:
        InputError: a line of another form, a path that leaves the folder or takes a name of ours, two checksums for
            one path, a path below another that is a file, an empty list.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{where} is no list of checksums (no text); look at the data set's page.") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{32})[ \t]+\*?(\S.*)", line)
        if match is None:
            raise InputError(
                f"{where} has no checksum and path in line {number} ({line[:40]!r}); look at the data set's page."
            )
        path, digest = inside(match[2], where), match[1].lower()
        if found.setdefault(path, digest) != digest:
            raise InputError(f"{where} lists {path} twice with two checksums; look at the data set's page.")
    if not found:
        raise InputError(f"{where} lists no file; look at the data set's page.")
    for path in found:
        for parent in PurePosixPath(path).parents:
            if str(parent) in found:
                raise InputError(f"{where} lists {parent} as a file and as a folder; look at the data set's page.")
        if path in OWN or (path.endswith(PART) and path.removesuffix(PART) in found):
            raise InputError(f"{where} lists {path}, a name that the download needs; fetch it by hand.")
    return found


def inside(path: str, where: str) -> str:
    """The path, normalised, if it stays in the folder that it is relative to.

    Raises:
        InputError: absolute, empty, with "..", a drive, a backslash or a control character.
    """
    pure = PurePosixPath(path)
    bad = pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in path or re.match(r"[A-Za-z]:", path)
    if bad or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise InputError(f"{where} holds the path {path!r}, which leaves its folder; do not use this file.")
    return str(pure)


def listing(source: Source, read: Callable[[str], bytes]) -> Listing:
    """The source's files, asked of its host; `read` gives what lies at an address.

    Raises:
        InputError: an answer of another form than the host's; whatever `read` raises.
    """
    if source.host == "physionet":
        content = read(source.listing)
        base = source.listing.rpartition("/")[0]
        found = parse(content, source.listing)
        return Listing(content, tuple(Entry(path, digest, f"{base}/{quote(path)}") for path, digest in found.items()))
    ask = _zenodo if source.host == "zenodo" else _figshare_files
    try:
        files, licence = ask(source.listing, read)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # InputError is a ValueError too
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{source.listing} answers in another form than it used to ({error!r:.60}); fetch the files by hand from "
            f"{source.page}."
        ) from None
    entries = sorted(
        (replace(entry, url=quote(entry.url, safe=string.punctuation)) for entry in files), key=lambda entry: entry.path
    )
    for entry in entries:
        if urlsplit(entry.url).scheme != urlsplit(source.listing).scheme:
            raise InputError(f"{source.listing} gives {entry.url!r} for {entry.path}, no address like its own.")
    content = "".join(f"{entry.digest}  {entry.path}\n" for entry in entries).encode()
    parse(content, source.listing)
    return Listing(content, tuple(entries), licence)


def _zenodo(url: str, read: Callable[[str], bytes]) -> tuple[list[Entry], str | None]:
    answer = json.loads(read(url))
    files = [
        Entry(file["key"], _md5(file["checksum"]), file["links"]["self"], int(file["size"])) for file in answer["files"]
    ]
    return files, answer["metadata"].get("license", {}).get("id")


def _figshare_files(url: str, read: Callable[[str], bytes]) -> tuple[list[Entry], str | None]:
    base = url.rpartition("/collections/")[0]
    articles = [json.loads(read(f"{base}/articles/{int(article['id'])}")) for article in json.loads(read(url))]
    files = [
        Entry(file["name"], _md5(file["computed_md5"]), file["download_url"], int(file["size"]))
        for article in articles
        for file in article["files"]
        if not file.get("is_link_only")
    ]
    return files, _joined(article.get("license", {}).get("name") for article in articles)


def _md5(text: str) -> str:
    digest = text.removeprefix("md5:").lower()
    if not re.fullmatch(r"[0-9a-f]{32}", digest):
        raise ValueError(f"checksum {text!r}")
    return digest


def _joined(names: Iterable[str | None]) -> str | None:
    return ", ".join(sorted({name for name in names if name})) or None
