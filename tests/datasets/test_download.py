"""Downloads against a local server that misbehaves: nothing corrupt is ever called complete."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import socket
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecglib.datasets import download, sources
from ecglib.datasets.download import get
from ecglib.datasets.fetch import Ways, fetch
from ecglib.datasets.fetched import check
from ecglib.datasets.sources import Entry, Source
from ecglib.errors import InputError

BODY = bytes(range(256)) * 4000  # 1.024 MB, more than a socket holds
MARKER = ".complete"
HALVES = ("drop", "reset", "stall", "unsaid", "ignore and drop")


class Server(ThreadingHTTPServer):
    """Serves `files`; `faults[path]` are used up one a request, then all is well. Counts what it hands out."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.asked: list[list] = []  # [path, Range, bytes of body sent]
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        assert isinstance(sys.exc_info()[1], OSError)  # the client hung up


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        faults = self.server.faults.get(path)
        fault = faults.pop(0) if faults else "well"
        asked = self.headers.get("Range")
        noted = [path, asked, 0]
        self.server.asked.append(noted)
        if fault.isdigit() or path not in self.server.files:
            self.send_response(int(fault) if fault.isdigit() else 404)
            self.send_header("Content-Length", "0")
            if fault == "429":
                self.send_header("Retry-After", "7")
            self.end_headers()
            return
        body = self.server.files[path]
        whole, start = len(body), 0
        if asked and not fault.startswith("ignore"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        if fault == "wrong":
            body = bytes(byte ^ 1 for byte in body)
        if fault == "short":  # cut, and its length told accordingly
            body = body[: whole // 2]
        if fault == "long":
            body += b"more"
        if fault == "elsewhere" and start:
            start += 1
        rest = body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if fault != "unsaid":
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        sent = rest[: len(rest) // 2] if fault in HALVES else rest
        noted[2] = len(sent)
        self.wfile.write(sent)
        if fault == "stall":
            self.wfile.flush()
            self.server.released.wait(5)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Server()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()
    thread.join()


def ways(**options) -> Ways:
    return Ways(**{"timeout": 0.3, "retries": 3, "backoff": 0.0, "connections": 2, **options})


def publish(server: Server, files: dict[str, bytes], **facts) -> Source:
    """A project in PhysioNet's manner."""
    lines = [f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in files.items()]
    server.files |= {f"/files/toy/1.0/{path}": body for path, body in files.items()}
    server.files["/files/toy/1.0/SHA256SUMS.txt"] = "".join(lines).encode()
    listing = f"{server.url}/files/toy/1.0/SHA256SUMS.txt"
    return Source("toy", "Toy", "1.0", f"{server.url}/page", "physionet", listing, 1, "CC0", **facts)


def take(source: Source, to, **options):
    options = {"yes": True, "progress": False, "ways": ways(), **options}
    return get(source, to, **options)


def everything(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


FILES = {"RECORDS": b"a\nb\n", "records/a b.dat": BODY, "records/ü.hea": b"header", "empty": b""}


def test_all_files_come_and_the_marker_last(server, tmp_path):
    source = publish(server, FILES)
    folder = take(source, tmp_path / "ordner ü")
    found = everything(folder)
    marker = json.loads(found.pop(MARKER))
    content = found.pop("SHA256SUMS.txt")
    assert found == FILES
    assert content == server.files["/files/toy/1.0/SHA256SUMS.txt"]
    assert marker["sha256"] == hashlib.sha256(content).hexdigest()
    assert (marker["name"], marker["version"], marker["files"]) == ("toy", "1.0", 4)
    assert (folder / MARKER).stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in folder.rglob("*.dat"))


MENDED = ["drop", "reset", "stall", "short", "long", "wrong", "503", "408", "unsaid"]


@pytest.mark.parametrize("fault", MENDED)
def test_a_passing_fault_is_got_over(server, tmp_path, fault):
    source = publish(server, {"a.dat": BODY})
    server.faults["/files/toy/1.0/a.dat"] = [fault]
    folder = take(source, tmp_path / "d")
    assert (folder / "a.dat").read_bytes() == BODY
    assert sum(path.endswith("a.dat") for path, _, _ in server.asked) == 2
    assert check(source, folder, progress=False).whole


@pytest.mark.parametrize("fault", ["drop", "reset", "stall", "short", "long", "wrong", "503", "unsaid"])
def test_a_lasting_fault_leaves_nothing_complete(server, tmp_path, fault):
    source = publish(server, {"a.dat": BODY, "b.dat": b"well"})
    server.faults["/files/toy/1.0/a.dat"] = [fault] * 99
    with pytest.raises(InputError, match=r"1 of 2 files could not be fetched.*same command goes on"):
        take(source, tmp_path / "d", ways=ways(timeout=0.1))
    found = everything(tmp_path / "d")
    assert "a.dat" not in found
    assert MARKER not in found
    assert found["b.dat"] == b"well"
    asked = sum(path.endswith("a.dat") for path, _, _ in server.asked)
    assert asked == (2 if fault in ("short", "long", "wrong", "unsaid") else 4)  # wrong bytes count twice
    result = check(source, tmp_path / "d", progress=False)
    assert (result.whole, result.missing) == (False, ("a.dat",))


@pytest.mark.parametrize("code", ["404", "403", "401", "410"])
def test_what_is_not_there_is_not_asked_for_again(server, tmp_path, code):
    source = publish(server, {"a.dat": BODY, "b.dat": b"well"})
    server.faults["/files/toy/1.0/a.dat"] = [code]
    with pytest.raises(InputError, match=f"answers {code}"):
        take(source, tmp_path / "d")
    assert sum(path.endswith("a.dat") for path, _, _ in server.asked) == 1
    assert (tmp_path / "d/b.dat").read_bytes() == b"well"
    assert not (tmp_path / "d" / MARKER).exists()


def test_only_the_rest_is_asked_for_in_a_later_run(server, tmp_path):
    source = publish(server, {"a.dat": BODY, "b.dat": b"well"})
    server.faults["/files/toy/1.0/a.dat"] = ["drop", "503", "503", "503"]
    with pytest.raises(InputError):
        take(source, tmp_path / "d", ways=ways(retries=2))
    assert (tmp_path / "d/a.dat.part").stat().st_size == len(BODY) // 2
    server.asked.clear()
    server.faults.clear()
    take(source, tmp_path / "d")
    asked = {path.rpartition("/")[2]: (wanted, sent) for path, wanted, sent in server.asked}
    assert asked["a.dat"] == (f"bytes={len(BODY) // 2}-", len(BODY) - len(BODY) // 2)
    assert "b.dat" not in asked
    assert (tmp_path / "d/a.dat").read_bytes() == BODY


def test_a_drop_costs_no_byte_twice(server, tmp_path):
    source = publish(server, {"a.dat": BODY})
    server.faults["/files/toy/1.0/a.dat"] = ["drop", "drop"]
    take(source, tmp_path / "d")
    assert sum(sent for path, _, sent in server.asked if path.endswith("a.dat")) == len(BODY)


@pytest.mark.parametrize("fault", ["ignore", "elsewhere"])
@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_answers_the_wrong_range_begins_anew(server, tmp_path, fault, known):
    server.files["/a"] = BODY
    server.faults["/a"] = ["drop", fault]
    entry = Entry("a", hashlib.sha256(BODY).hexdigest() if known else "", f"{server.url}/a")
    assert fetch(entry, tmp_path / "a", ways()).read_bytes() == BODY


@pytest.mark.parametrize("left", [BODY, BODY + b"x", BODY[:-1]])
def test_a_file_without_checksum_goes_by_the_length_that_the_server_tells(server, tmp_path, left):
    server.files["/a"] = BODY
    (tmp_path / "a.part").write_bytes(left)
    assert fetch(Entry("a", "", f"{server.url}/a"), tmp_path / "a", ways()).read_bytes() == BODY


class Waits(threading.Event):
    """Notes how long it was to wait, and does not."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def wait(self, timeout=None):
        self.noted.append(timeout)
        return self.is_set()


def test_pauses_double_and_are_as_long_as_the_server_asks(server, tmp_path):
    server.files["/a"] = BODY
    server.faults["/a"] = ["503", "503", "429", "503", "503", "503", "503", "503"]
    options = ways(retries=9, backoff=1.0, stop=Waits())
    fetch(Entry("a", "", f"{server.url}/a"), tmp_path / "a", options)
    assert options.stop.noted == [1, 2, 7, 8, 16, 32, 60, 60]


def test_many_failures_end_it_early(server, tmp_path):
    files = {f"{index}.dat": bytes([index]) for index in range(40)}
    source = publish(server, files)
    server.faults = {f"/files/toy/1.0/{name}": ["404"] for name in files}
    with pytest.raises(InputError, match="of 40 files could not be fetched"):
        take(source, tmp_path / "d")
    assert len(server.asked) < 15


def test_a_server_that_ignores_ranges_and_always_drops_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr("ecglib.datasets.fetch.SUFFICES", 1000)
    source = publish(server, {"a.dat": BODY})
    server.faults["/files/toy/1.0/a.dat"] = ["ignore and drop"] * 99
    with pytest.raises(InputError):
        take(source, tmp_path / "d")
    assert len(server.asked) == 1 + 4  # the list, then no attempt got further than the first


def test_long_files_over_a_poor_line_may_fail_often(server, tmp_path, monkeypatch):
    monkeypatch.setattr("ecglib.datasets.fetch.SUFFICES", 1000)
    source = publish(server, {"a.dat": BODY})
    server.faults["/files/toy/1.0/a.dat"] = ["drop"] * 6  # each brings half of what is left
    take(source, tmp_path / "d", ways=ways(retries=1))
    assert (tmp_path / "d/a.dat").read_bytes() == BODY


@pytest.mark.parametrize("left", [BODY, BODY + b"x", b"nonsense", BODY[:-1] + b"x"])
def test_parts_of_an_earlier_run_are_trusted_only_after_the_checksum(server, tmp_path, left):
    source = publish(server, {"a.dat": BODY})
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.dat.part").write_bytes(left)
    take(source, tmp_path / "d")
    assert everything(tmp_path / "d")["a.dat"] == BODY
    assert not (tmp_path / "d/a.dat.part").exists()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.sampled_from(["drop", "reset", "short", "long", "wrong", "503", "404", "ignore", "well"]), max_size=6
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_happens_a_name_means_the_published_bytes(server, tmp_path_factory, plans):
    folder = tmp_path_factory.mktemp("any")
    files = {f"{index}.dat": bytes([index]) * 997 for index in range(len(plans))}
    source = publish(server, files)
    server.faults = {f"/files/toy/1.0/{index}.dat": list(plan) for index, plan in enumerate(plans)}
    try:
        take(source, folder, ways=ways(retries=2))
        complete = True
    except InputError:
        complete = False
    found = everything(folder)
    assert (MARKER in found) is complete
    assert all(found[name] == body for name, body in files.items() if name in found)
    assert check(source, folder, progress=False).whole is complete


def test_a_second_run_fetches_nothing(server, tmp_path):
    source = publish(server, FILES)
    take(source, tmp_path / "d")
    server.asked.clear()
    take(source, tmp_path / "d")
    assert [path for path, _, _ in server.asked] == ["/files/toy/1.0/SHA256SUMS.txt"]


def test_an_altered_file_loses_the_marker_and_is_mended(server, tmp_path):
    source = publish(server, FILES)
    folder = take(source, tmp_path / "d")
    (folder / "RECORDS").write_bytes(b"a\nB\n")
    server.faults["/files/toy/1.0/RECORDS"] = ["404"]
    with pytest.raises(InputError):
        take(source, folder)
    assert not (folder / MARKER).exists()
    take(source, folder)
    assert (folder / "RECORDS").read_bytes() == FILES["RECORDS"]
    assert (folder / MARKER).exists()


def test_a_new_list_loses_the_marker_of_the_old(server, tmp_path):
    take(publish(server, {"a": b"1"}), tmp_path / "d")
    source = publish(server, {"a": b"1", "b": b"2"})
    server.faults["/files/toy/1.0/b"] = ["404"]
    with pytest.raises(InputError):
        take(source, tmp_path / "d")
    assert not (tmp_path / "d" / MARKER).exists()


def test_a_folder_of_another_collection_is_refused(server, tmp_path):
    source = publish(server, FILES)
    take(source, tmp_path / "d")
    with pytest.raises(InputError, match="holds toy"):
        take(replace(source, name="other"), tmp_path / "d")
    with pytest.raises(InputError, match="holds toy, not other"):
        check(replace(source, name="other"), tmp_path / "d", progress=False)


@pytest.mark.parametrize("path", ["../out", "/out", "a/../../out", "a\\b", "C:/x", ".complete", "SHA256SUMS.txt"])
def test_paths_that_leave_the_folder_are_refused_before_anything_is_fetched(server, tmp_path, path):
    source = publish(server, {"a": b"1"})
    server.files["/files/toy/1.0/SHA256SUMS.txt"] += f"{'0' * 64}  {path}\n".encode()
    with pytest.raises(InputError, match=r"leaves its folder|name that the download needs"):
        take(source, tmp_path / "d")
    assert len(server.asked) == 1
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no file"),
        ("<html>please log in</html>\n", "no checksum and path in line 1"),
        (f"{'0' * 63}  a\n", "no checksum and path"),
        (f"{'0' * 64}  a\n{'1' * 64}  a\n", "twice with two checksums"),
        (f"{'0' * 64}  a\n{'1' * 64}  a/b\n", "as a file and as a folder"),
        (f"{'0' * 64}  a\n{'1' * 64}  a.part\n", "a name that the download needs"),
        ("\udcff", "no text"),
    ],
)
def test_a_damaged_list_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        sources.parse(text.encode("utf-8", "surrogateescape"), "list")


def test_a_list_that_is_cut_short_is_never_taken(server, tmp_path):
    source = publish(server, {"a": b"1", "b": b"2"})
    server.faults["/files/toy/1.0/SHA256SUMS.txt"] = ["unsaid"]
    with pytest.raises(InputError, match="does not say how long"):
        take(source, tmp_path / "d")
    server.faults["/files/toy/1.0/SHA256SUMS.txt"] = ["drop"]
    assert set(everything(take(source, tmp_path / "d"))) >= {"a", "b"}


def test_links_out_of_the_folder_are_refused(server, tmp_path):
    source = publish(server, {"records/a": b"1"})
    (tmp_path / "d").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "d/records").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="behind a link"):
        take(source, tmp_path / "d")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.part"])
def test_a_link_in_the_place_of_a_file_is_refused(server, tmp_path, name):
    source = publish(server, {"a": b"1"})
    (tmp_path / "d").mkdir()
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "d" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="behind a link"):
        take(source, tmp_path / "d")
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_places_that_cannot_be_written_to(server, tmp_path, monkeypatch):
    source = publish(server, {"a": b"1"}, size_gb=1.0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        take(source, tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written to"):
        take(source, tmp_path / "file/below")
    (tmp_path / "d/a").mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder where a file is to come"):
        take(source, tmp_path / "d")
    usage = argparse.Namespace(total=10, used=5, free=10**6)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"0\.0 GB free where 1\.0 GB are to come"):
        take(source, tmp_path / "e")


def test_a_full_disk_is_one_sentence(server, tmp_path, monkeypatch):
    source = publish(server, {"a": BODY})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "replace", full)
    with pytest.raises(InputError, match="disk is full"):
        take(source, tmp_path / "d")
    assert not (tmp_path / "d" / MARKER).exists()


def test_a_host_that_is_not_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listing = f"http://127.0.0.1:{port}/SHA256SUMS.txt"
    source = Source("toy", "Toy", "1", "page", "physionet", listing, None, "CC0")
    with pytest.raises(InputError, match="cannot be reached"):
        take(source, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_an_interruption_ends_the_threads_soon_and_leaves_the_parts(server, tmp_path):
    source = publish(server, {"a": BODY, "b": BODY})
    server.faults = {f"/files/toy/1.0/{name}": ["stall"] for name in "ab"}
    options = ways(timeout=0.5, backoff=30.0)
    start = time.monotonic()
    timer = threading.Timer(0.2, options.stop.set)
    timer.start()
    with pytest.raises(InputError, match="stopped"):
        take(source, tmp_path / "d", ways=options)
    assert time.monotonic() - start < 1.5  # not the 30 s of the pause
    assert not (tmp_path / "d" / MARKER).exists()
    assert (tmp_path / "d/a.part").stat().st_size == len(BODY) // 2


def test_stopped_before_the_list(server, tmp_path):
    options = ways(backoff=30.0)
    options.stop.set()
    server.faults["/files/toy/1.0/SHA256SUMS.txt"] = ["503"]
    with pytest.raises(InputError, match="stopped before the first file"):
        take(publish(server, FILES), tmp_path / "d", ways=options)


def test_check_counts_missing_altered_and_surplus(server, tmp_path):
    source = publish(server, FILES)
    folder = take(source, tmp_path / "d")
    whole = check(source, folder, progress=False)
    assert (whole.whole, whole.files, whole.surplus) == (True, 4, ())
    (folder / "empty").unlink()
    (folder / "RECORDS").write_bytes(b"a\nc\n")
    (folder / "records/extra").write_bytes(b"")
    result = check(source, folder, progress=False)
    assert (result.missing, result.altered, result.surplus) == (("empty",), ("RECORDS",), ("records/extra",))
    assert not result.whole


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_an_unreadable_marker_says_nothing(server, tmp_path, content):
    source = publish(server, FILES)
    folder = take(source, tmp_path / "d")
    (folder / MARKER).write_bytes(content)
    (folder / "empty").unlink()
    assert check(source, folder, progress=False).missing == ("empty",)
    server.faults["/files/toy/1.0/empty"] = ["404"]
    with pytest.raises(InputError):
        take(source, folder)
    assert not (folder / MARKER).exists()
    assert json.loads((take(source, folder) / MARKER).read_text())["files"] == 4


def test_check_notices_another_list_than_was_fetched(server, tmp_path):
    source = publish(server, FILES)
    folder = take(source, tmp_path / "d")
    (folder / "RECORDS").write_bytes(b"forged")
    forged = {**FILES, "RECORDS": b"forged"}
    lines = [f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in forged.items()]
    (folder / "SHA256SUMS.txt").write_text("".join(lines))
    result = check(source, folder, progress=False)
    assert (result.missing, result.altered, result.list_altered, result.whole) == ((), (), True, False)


def test_real_ludb_is_read_and_what_differs_there_is_not_data(shared_data):
    result = check("ludb", shared_data / "ludb", progress=False)
    assert result.files == 2805
    assert not result.missing
    assert not [path for path in result.altered if path.startswith("data/") or path == "ludb.csv"]


def zenodo(server: Server, files: dict[str, bytes], spoil: str = "") -> Source:
    server.files |= {f"/api/records/7/files/{name}/content": body for name, body in files.items()}
    answer = {
        "metadata": {"license": {"id": "cc-by-4.0"}},
        "files": [
            {
                "key": name,
                "size": len(body),
                "checksum": "md5:" + hashlib.md5(body).hexdigest(),
                "links": {"self": f"{server.url}/api/records/7/files/{name}/content"},
            }
            for name, body in files.items()
        ],
    }
    if spoil:
        del answer["files"][0][spoil]
    server.files["/api/records/7"] = json.dumps(answer).encode()
    return Source("toy", "Toy", "1", "page", "zenodo", f"{server.url}/api/records/7", None, "unknown")


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()


def test_zenodo_tells_files_lengths_and_licence(server, tmp_path, capsys):
    files = {"exams é.csv": b"exam_id\n", "exams_part0.zip": zipped({"exams_part0.hdf5": b"signals"})}
    source = zenodo(server, files)
    server.faults["/api/records/7/files/exams é.csv/content"] = ["wrong", "short"]
    folder = take(source, tmp_path / "d", progress=True)
    assert "cc-by-4.0" in capsys.readouterr().out
    assert (folder / "exams_part0.hdf5").read_bytes() == b"signals"
    expected = "".join(f"{hashlib.md5(body).hexdigest()}  {name}\n" for name, body in files.items())
    assert (folder / "MD5SUMS.txt").read_text() == expected
    result = check(source, folder, progress=False)
    assert (result.whole, result.surplus) == (True, ())
    take(source, folder)  # what is unpacked already stays
    assert not [path for path in folder.iterdir() if path.name.startswith(".") and path.name != MARKER]


@pytest.mark.parametrize("spoil", ["key", "size", "checksum", "links"])
def test_an_answer_of_another_form_is_one_sentence(server, tmp_path, spoil):
    with pytest.raises(InputError, match="another form"):
        take(zenodo(server, {"a": b"1"}, spoil), tmp_path / "d")


@pytest.mark.parametrize("name", ["../a", ".complete"])
def test_names_from_a_host_stay_inside_too(server, tmp_path, name):
    with pytest.raises(InputError, match=r"leaves its folder|name that the download needs"):
        take(zenodo(server, {name: b"1"}), tmp_path / "d")


def test_figshare_is_asked_for_each_article_of_a_collection(server, tmp_path):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("records/A00001.h5")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    files = {"metadata.csv": b"ECG_ID\n", "records.tar.gz": tar.getvalue()}
    server.files["/v2/collections/5/articles"] = json.dumps([{"id": 1}, {"id": 2}]).encode()
    for number, (name, body) in enumerate(files.items(), 1):
        file = {"name": name, "size": len(body), "computed_md5": hashlib.md5(body).hexdigest()}
        file |= {"download_url": f"{server.url}/files/{number}", "is_link_only": False}
        server.files[f"/files/{number}"] = body
        answer = {"files": [file], "license": {"name": "CC0"}}
        server.files[f"/v2/articles/{number}"] = json.dumps(answer).encode()
    listing = f"{server.url}/v2/collections/5/articles?page_size=1000"
    source = Source("toy", "Toy", "1", "page", "figshare", listing, None, "CC0")
    folder = take(source, tmp_path / "d")
    assert (folder / "records/A00001.h5").read_bytes() == b"abc"
    assert check(source, folder, progress=False).surplus == ()
    assert sources.listing(source, lambda url: server.files[urlsplit(url).path]).licence == "CC0"


@pytest.mark.parametrize("state", ["whole", "lacks one", "has one wrong"])
def test_the_archive_of_all_files_is_compared_file_by_file(server, tmp_path, state):
    source = publish(server, FILES, zip_url=f"{server.url}/get-zip")
    held = dict(FILES)
    if state == "lacks one":
        del held["RECORDS"]
    if state == "has one wrong":
        held["RECORDS"] = b"?"
    listed = server.files["/files/toy/1.0/SHA256SUMS.txt"]
    inner = {f"toy-1.0/{name}": body for name, body in held.items()} | {"toy-1.0/SHA256SUMS.txt": listed}
    server.files["/get-zip"] = zipped(inner)
    folder = take(source, tmp_path / "d", archive=True)
    found = everything(folder)
    assert set(found) == {*FILES, MARKER, "SHA256SUMS.txt"}
    assert {name: found[name] for name in FILES} == FILES
    single = [path for path, _, _ in server.asked if path.startswith("/files") and not path.endswith("SUMS.txt")]
    assert single == ([] if state == "whole" else ["/files/toy/1.0/RECORDS"])


def test_a_damaged_archive_of_all_files_is_thrown_away(server, tmp_path):
    source = publish(server, FILES, zip_url=f"{server.url}/get-zip")
    server.files["/get-zip"] = zipped({f"toy/{name}": body for name, body in FILES.items()})[:-30]
    with pytest.raises(InputError, match="damaged or cut short"):
        take(source, tmp_path / "d", archive=True)
    assert set(everything(tmp_path / "d")) == {"SHA256SUMS.txt"}


def test_no_archive_no_zip(server, tmp_path):
    with pytest.raises(InputError, match="leave --zip out"):
        take(publish(server, FILES), tmp_path / "d", archive=True)


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    download.add_parser(parser.add_subparsers(dest="command", required=True))
    return download.main(parser.parse_args(arguments))


@pytest.fixture
def toy(server, monkeypatch) -> Source:
    source = publish(server, FILES, size_gb=0.001)
    monkeypatch.setitem(sources.SOURCES, "toy", source)
    return source


def test_commands_and_their_exit_status(toy, tmp_path, capsys):
    folder = str(tmp_path / "d")
    assert command("get", "toy", "--to", folder, "--yes") == 0
    out = capsys.readouterr().out
    assert "1.0 MB" in out
    assert "CC0" in out
    assert "4 files agree" in out
    assert command("check", "toy", folder) == 0
    os.unlink(f"{folder}/RECORDS")
    assert command("check", "toy", folder) == 1
    assert "missing: 1: RECORDS" in capsys.readouterr().out
    assert command("get", "tooy", "--to", folder, "--yes") == 2
    assert "Did you mean 'toy'?" in capsys.readouterr().err
    assert command("get", "toy", "--to", folder, "--yes", "--connections", "99") == 2
    assert command("get", "toy", "--to", folder, "--yes", "--timeout", "0") == 2
    assert command("check", "toy", str(tmp_path)) == 2
    assert "has no SHA256SUMS.txt" in capsys.readouterr().err


def test_nobody_to_ask(toy, server, tmp_path, capsys):
    assert command("get", "toy", "--to", str(tmp_path / "d")) == 2
    assert "add --yes" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("YES", 0), ("", 2), ("n", 2), (EOFError, 2)])
def test_somebody_is_asked_before_it_starts(toy, server, tmp_path, monkeypatch, answer, status):
    def asked(_):
        assert server.asked == []
        if answer is EOFError:
            raise EOFError
        return answer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", asked)
    assert command("get", "toy", "--to", str(tmp_path / "d")) == status
    assert (tmp_path / "d" / MARKER).exists() is (status == 0)


def test_an_interruption_is_a_sentence_too(toy, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "get", interrupted)
    assert command("get", "toy", "--to", str(tmp_path / "d"), "--yes") == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_what_needs_credentials_is_refused(toy, server, tmp_path, monkeypatch, capsys):
    refused = replace(toy, refuse="it needs a PhysioNet account with a signed agreement")
    monkeypatch.setitem(sources.SOURCES, "toy", refused)
    assert command("get", "toy", "--to", str(tmp_path / "d"), "--yes") == 2
    assert "signed agreement" in capsys.readouterr().err
    assert server.asked == []


def test_the_table_names_every_collection(capsys):
    assert command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(sources.SOURCES)
    assert "not checked" in next(line for line in lines if line.startswith("ptb_diag"))


@pytest.mark.parametrize("source", sources.SOURCES.values(), ids=lambda source: source.name)
def test_addresses_are_of_the_official_hosts(source):
    hosts = {"physionet": {"physionet.org"}, "zenodo": {"zenodo.org"}, "figshare": {"api.figshare.com", "doi.org"}}
    for url in filter(None, (source.page, source.listing, source.zip_url)):
        assert urlsplit(url).scheme == "https"
        assert urlsplit(url).hostname in hosts[source.host]
    if source.host == "physionet":
        assert source.page.replace("/content/", "/files/") + "SHA256SUMS.txt" == source.listing


def test_a_bar_on_a_terminal(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    take(publish(server, FILES), tmp_path / "d", progress=True)
    assert "4.00/4.00" in capsys.readouterr().err
