"""ecglib.datasets.parts: the same cohort from any number of processes, wherever the build was cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecglib.cohort import Cohort, write
from ecglib.datasets import parts
from ecglib.datasets.about import About
from ecglib.datasets.parts import Raw, build_parts
from ecglib.datasets.rule import to_chunk
from ecglib.datasets.wfdb_files import Expected
from ecglib.errors import InputError
from ecglib.files import Unfinished
from ecglib.leads import LEADS

T, SCALE, EACH = 40, 0.001, 5
EXPECTED = Expected(LEADS, 100, T, SCALE)
FACTS = dict.fromkeys(("title", "url"), "-")
ABOUT = About(
    name="tiny", version="1", licence="MIT", citation="None.", records=1, size_gb=1.0, rate=100, leads=12, labels="-",
    **FACTS,
)  # fmt: skip
SETS = {"all": {"NORM": "NORM", "AFIB": "AFIB"}}


def signal_mv(k: int) -> np.ndarray:
    """(12, T) mV of record k; every seventh has a missing sample, every ninth a flat lead."""
    mv = np.random.default_rng(k).normal(size=(12, T)).astype(np.float32)
    if k % 7 == 6:
        mv[3, 5] = np.nan
    if k % 9 == 8:
        mv[8] = 1.0
    return mv


@dataclass(frozen=True)
class Reader:
    """Reads `EACH` records a unit, of which every eleventh is left out."""

    slow: float = 0.0
    fail_at: int | None = None
    twice: bool = False
    die_at: int | None = None
    stop_at: int | None = None
    each: int = EACH
    kinds: bool = False

    def __call__(self, unit: int) -> Raw:
        time.sleep(self.slow)
        if unit == self.stop_at:
            raise KeyboardInterrupt
        if unit == self.fail_at:
            raise InputError(f"unit {unit} is cut short; get it again.")
        if unit == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        numbers = [k for k in range(unit * self.each, (unit + 1) * self.each)]
        numbers = [k for k in numbers if k % 11 != 10 and not 10 <= k < 15]
        segments = np.stack([signal_mv(k) for k in numbers]) if numbers else np.empty((0, 12, T), np.float32)
        rows = pd.DataFrame(
            {
                "record": ["r1" if self.twice and k == 33 else f"r{k}" for k in numbers],
                "patient": [f"p{k // 3}" if k % 5 else None for k in numbers],
                "fold": pd.array([k % 4 + 1 if k % 3 else None for k in numbers], dtype="Int64"),
                "age": [40.0 + k if k % 4 else np.nan for k in numbers],
                "sex": [None if k < 5 else "male" for k in numbers],
                "statements": [["NORM", "ä"] if k % 2 else [] for k in numbers],
                "device": [None if k < 15 else f"CS-{k}" for k in numbers],  # null in the first parts, then strings
                "lines": [k if k < 15 else k + 0.5 for k in numbers],  # whole numbers first
            }
        )
        if self.kinds:
            rows["device"] = rows["device"].astype(object) if unit else 1
        counts = {
            "{records} short.": self.each - len(numbers),
            "{records} odd ({names}).": [f"r{k}" for k in numbers[:1]],
        }
        return Raw(to_chunk(segments, SCALE), rows, counts, read=self.each)


def make(to: Path, read=None, units: int = 12, **more) -> Cohort:
    more = {"about": ABOUT, "expected": EXPECTED, "bad": "drop", "key": "k", "source": "here", "label_sets": SETS,
            "progress": False, "workers": 0} | more  # fmt: skip
    return build_parts(to, range(units), read or Reader(), **more)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_is_written_is_what_was_read(tmp_path):
    cohort = make(tmp_path / "c", notes=["first"])
    cohort.verify()
    there = [k for k in range(60) if k % 11 != 10 and not 10 <= k < 15 and k % 7 != 6 and k % 9 != 8]
    assert cohort.records["record"].tolist() == [f"r{k}" for k in there]
    np.testing.assert_allclose(cohort.signal_mv(), [signal_mv(k) for k in there], atol=0.0005)
    assert cohort.records["device"].astype(object).where(cohort.records["device"].notna(), None).tolist() == [
        None if k < 15 else f"CS-{k}" for k in there
    ]
    assert cohort.records["lines"].tolist() == [k if k < 15 else k + 0.5 for k in there]
    assert cohort.records["statements"].tolist() == [["NORM", "ä"] if k % 2 else [] for k in there]
    assert cohort.info.patients == cohort.records["patient"].nunique()
    assert os.listdir(tmp_path) == ["c"]
    raws = [Reader()(unit) for unit in range(12)]
    short, odd = (
        f"{sum(EACH - len(raw.rows) for raw in raws)} records short.",
        "11 records odd (r0, r5, r15, r20, r25).",
    )
    assert cohort.info.notes[:3] == ("first", short, odd)


def test_it_is_what_writing_all_at_once_gives(tmp_path):
    raws = [Reader()(unit) for unit in range(12)]
    signals = np.concatenate([raw.chunk.signals for raw in raws])
    frame = pd.concat([raw.rows for raw in raws if len(raw.rows)], ignore_index=True)
    keep = np.array([k % 7 != 6 and k % 9 != 8 for k in (int(name[1:]) for name in frame["record"])])
    at_once = write(
        tmp_path / "b", signals[keep], frame[keep], name="tiny", rate=100, leads=LEADS, scale=SCALE, label_sets=SETS
    )
    assert make(tmp_path / "a").info.fingerprint == at_once.info.fingerprint


@pytest.mark.parametrize("each", [1, 4, 60])
def test_the_size_of_units_changes_nothing(tmp_path, each):
    whole = make(tmp_path / "a")
    other = make(tmp_path / "b", Reader(each=each), units=60 // each)
    assert contents(other.path)["records.parquet"] == contents(whole.path)["records.parquet"]
    assert other.info.fingerprint == whole.info.fingerprint
    screened = [note for note in whole.info.notes if "odd" not in note]  # what the reader says of its units
    assert [note for note in other.info.notes if "odd" not in note] == screened
    assert any("with missing samples (r6, r20, r27, r34, r41, ...)" in note for note in screened)


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_change_no_byte(tmp_path, workers):
    assert contents(make(tmp_path / "a").path) == contents(make(tmp_path / "b", workers=workers).path)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


# --- cut off in the middle -------------------------------------------------------------------------------------------

SLOW = """
import os, sys
sys.path.insert(0, {here!r})
from test_parts import Reader, make
make({to!r}, Reader(slow=0.2), workers={workers})
"""


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.partial"))


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_build_goes_on_after_its_last_whole_unit(tmp_path, workers):
    to = tmp_path / "c"
    code = SLOW.format(here=str(Path(__file__).parent), to=str(to), workers=workers)
    process = subprocess.Popen([sys.executable, "-c", code])
    journal = []
    while not (journal and journal[0].stat().st_size > 4000):  # three units or so
        assert process.poll() is None
        journal = list(tmp_path.glob(".c.*.partial/journal"))
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(children) == workers
    assert not to.exists()
    assert len(leftovers(tmp_path)) == 1
    on = make(to, Reader(fail_at=0), workers=0)  # what is done is not read again
    assert contents(on.path) == contents(make(tmp_path / "whole").path)
    assert sorted(os.listdir(tmp_path)) == ["c", "whole"]
    until = time.monotonic() + 20
    while any(running(int(pid)) for pid in children):  # its processes end of themselves
        assert time.monotonic() < until
        time.sleep(0.05)


def interrupted(to: Path, **more) -> Path:
    """The folder of a build that was interrupted from the keyboard after seven units."""
    with pytest.raises(KeyboardInterrupt):
        make(to, Reader(stop_at=7), **more)
    (folder,) = leftovers(to.parent)
    return folder


def cut(file: Path, by: int) -> None:
    os.truncate(file, file.stat().st_size - by)


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (lambda folder: None, 7),
        (lambda folder: cut(folder / "journal", 1), 6),
        (lambda folder: cut(folder / "signals.npy", 1), 6),
        (lambda folder: flip(folder / "signals.npy", -1), 6),
        (lambda folder: flip(folder / "journal", -100), 6),
        (lambda folder: flip(folder / "signals.npy", 200), 0),
        (lambda folder: flip(folder / "journal", 0), 0),
        (lambda folder: (folder / "journal").unlink(), 0),
        (lambda folder: (folder / "signals.npy").unlink(), 0),
        (lambda folder: (folder / "cohort.json").write_text("{"), 7),
    ],
)
def test_only_what_is_whole_is_taken(tmp_path, damage, first):
    """A failing machine may lose what was written last."""
    damage(interrupted(tmp_path / "c"))
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "c", Reader(stop_at=first))  # this is the unit it goes on with
    assert contents(make(tmp_path / "c").path) == contents(make(tmp_path / "whole").path)
    assert sorted(os.listdir(tmp_path)) == ["c", "whole"]


@pytest.mark.parametrize(
    "more", [{"key": "other"}, {"bad": "keep"}, {"units": 11}, {"expected": Expected(LEADS, 50, T, SCALE)}]
)
def test_another_work_starts_anew(tmp_path, more):
    interrupted(tmp_path / "c")
    other = make(tmp_path / "c", **more)
    assert contents(other.path) == contents(make(tmp_path / "whole", **more).path)
    assert sorted(os.listdir(tmp_path)) == ["c", "whole"]


def test_a_build_cut_off_at_its_very_end_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(parts, "CohortInfo", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "c")
    assert contents(make(tmp_path / "c", Reader(fail_at=0)).path) == contents(make(tmp_path / "whole").path)


def test_a_process_that_was_killed(tmp_path):
    with pytest.raises(Unfinished, match="was killed, which the system does when memory runs out"):
        make(tmp_path / "c", Reader(die_at=5), workers=1)
    assert len(leftovers(tmp_path)) == 1
    on = make(tmp_path / "c", Reader(fail_at=0), workers=2)
    assert contents(on.path) == contents(make(tmp_path / "whole").path)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_its_sentence_and_leaves_nothing(tmp_path, workers):
    with pytest.raises(InputError, match=r"^unit 7 is cut short; get it again\.$"):
        make(tmp_path / "c", Reader(fail_at=7), workers=workers)
    assert os.listdir(tmp_path) == []


def test_errors_beyond_ours_keep_their_trace(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*test_parts.*TypeError"):
        make(tmp_path / "c", Reader(slow="a word"), workers=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"read": Reader(twice=True)}, "the record 'r1' occurs twice"),
        ({"read": Reader(kinds=True)}, "columns hold values of several kinds"),
        ({"read": Reader(each=0), "empty": "no record is long enough."}, "no record is long enough"),
        ({"read": Reader(each=0)}, "at least one record, and none was left"),
        ({"read": Reader(each=1), "units": 0}, "at least one record, and none was left"),
        ({"expected": Expected(LEADS, 100, T + 1, SCALE)}, r"come as int16 \(n, 12, 41\), not int16 \(5, 12, 40\)"),
        ({"expected": Expected(LEADS[:2], 100, T, SCALE)}, r"int16 \(n, 2, 40\)"),
        ({"bad": "dorp"}, "Did you mean 'drop'"),
        ({"workers": -1}, "workers is -1; give a number of processes"),
        ({"workers": True}, "workers is True"),
    ],
)
def test_what_cannot_be(tmp_path, more, said):
    with pytest.raises(InputError, match=said):
        make(tmp_path / "c", **more)
    assert os.listdir(tmp_path) == []


def test_all_dropped_is_not_the_same_as_none_there(tmp_path):
    with pytest.raises(InputError, match="none was left"):
        build_parts(
            tmp_path / "c", [8], Reader(each=1), about=ABOUT, expected=EXPECTED, bad="drop", key="k", source="",
            label_sets={}, empty="no record there", workers=0,
        )  # fmt: skip


@pytest.mark.parametrize("size_kib", [8, 40, 56, 64])
def test_a_disk_that_is_really_full(tmp_path, size_kib):
    """Full at different files: the signals take 32 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(InputError, match="the disk is full at"):
            make(disk / "c")
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- the rest --------------------------------------------------------------------------------------------------------


def test_label_sets_may_follow_from_the_statements(tmp_path):
    asked = []

    def label_sets(statements):
        asked.append(statements)
        return {"all": {code: code for code in statements}}

    made = make(tmp_path / "a", label_sets=label_sets)
    assert asked == [["NORM", "ä"]]
    assert made.info.label_sets == {"all": {"NORM": "NORM", "ä": "ä"}}
    given = make(tmp_path / "b", label_sets={"all": {"NORM": "NORM", "ä": "ä"}})
    assert contents(made.path) == contents(given.path)
    made.verify()


def test_records_that_need_no_screening(tmp_path):
    made = make(tmp_path / "a", bad=None)
    assert len(made) == sum(len(Reader()(unit).rows) for unit in range(12))
    assert [note for note in made.info.notes if "flat" in note or "missing" in note] == []


def same_deviation(unit: int) -> Raw:
    """Ten records whose chest leads all have the same deviation; record 3 of each unit is the same signal."""
    mv = np.random.default_rng(unit).normal(size=(10, 12, T))
    mv[3] = np.random.default_rng(99).normal(size=(12, T))
    mv /= mv.std(axis=-1, keepdims=True)
    names = [f"r{unit}-{k}" for k in range(10)]
    rows = pd.DataFrame({"record": names, "patient": names, "fold": 1, "age": 1.0, "sex": None})
    return Raw(to_chunk(mv.astype(np.float32), SCALE), rows.assign(statements=[[]] * 10))


def test_what_shows_only_over_units_is_found(tmp_path):
    notes = make(tmp_path / "c", same_deviation, units=3).info.notes
    assert notes[0].startswith("Voltages are nominal: a chest lead has the same standard deviation in every record (6")
    assert "2 records with the signal of another one (the same checksum in every lead)." in notes
    assert not make(tmp_path / "d", same_deviation, units=1).info.notes[0].startswith("Voltages are nominal")


def test_a_script_without_a_guard(tmp_path):
    """multiprocessing's own processes would run the script again, which would wait for itself for ever."""
    script = tmp_path / "script.py"
    code = SLOW.format(here=str(Path(__file__).parent), to=str(tmp_path / "c"), workers=2).replace("slow=0.2", "")
    script.write_text(code + "print('once')\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "once\n"
    assert done.stderr == ""


def test_the_same_key_is_opened(tmp_path):
    made = make(tmp_path / "c")
    assert make(tmp_path / "c", Reader(fail_at=0)).info == made.info
    with pytest.raises(InputError, match="holds another cohort"):
        make(tmp_path / "c", key="other")


@pytest.mark.parametrize("records", [None, 60])
def test_a_bar_counts_what_was_there(tmp_path, capsys, monkeypatch, records):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    interrupted(tmp_path / "c")
    make(tmp_path / "c", progress=True, records=records)
    out, err = capsys.readouterr()
    assert ("60/60" if records else "12/12") in err
    assert "tiny: 3" in out
