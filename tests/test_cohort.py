"""ecglib.cohort and ecglib.cohort_write: what is written is what is read, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecglib import cohort_write
from ecglib.cohort import Cohort, write
from ecglib.errors import InputError
from ecglib.leads import LEADS

N, T = 12, 50
SETS = {
    "superclass": {"NORM": "NORM", "IMI": "MI", "AMI": "MI", "LVH": "HYP"},
    "rhythm": {"SR": "SR", "AFIB": "AFIB"},
}
STATEMENTS = [["NORM", "SR"], ["IMI", "AMI", "SR"], ["LVH", "NORM"], ["AFIB"], [], ["IMI"]] * 2


def signals_of(n: int = N, seed: int = 0) -> np.ndarray:
    """(n, 12, T) int16 over the whole range."""
    return np.random.default_rng(seed).integers(-32768, 32767, (n, 12, T), dtype=np.int16)


def table_of(n: int = N) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record": [f"r{k}" for k in range(n)],
            "patient": [f"p{k // 2}" for k in range(n)],
            "fold": [1 + k % 5 for k in range(n)],
            "age": [40.0 + k if k != 3 else np.nan for k in range(n)],
            "sex": ["female", "male", None] * (n // 3),
            "statements": STATEMENTS[:n],
            "device": [f"CS-{k}" for k in range(n)],
        }
    )


def make(path, signals=None, records=None, **more):
    more = {"name": "tiny", "rate": 100, "leads": LEADS, "scale": 0.002, "label_sets": SETS, **more}
    return write(path, signals_of() if signals is None else signals, table_of() if records is None else records, **more)


@pytest.fixture
def cohort(tmp_path):
    return make(tmp_path / "c", notes=["2 records dropped."], key="k1")


class TestReading:
    def test_what_is_written_is_read(self, cohort):
        again = Cohort.open(str(cohort.path))
        assert len(again) == N
        assert (again.rate, again.leads, again.length) == (100, LEADS, T)
        assert again.info.notes == ("2 records dropped.",)
        assert again.info.patients == 6
        np.testing.assert_array_equal(again.counts(again.rows), signals_of())
        expected = table_of()
        for column in ("record", "patient", "device"):
            assert again.records[column].tolist() == expected[column].tolist()
        assert again.records["fold"].tolist() == expected["fold"].tolist()
        assert again.records["statements"].tolist() == STATEMENTS
        assert again.records["sex"].tolist() == ["female", "male", None] * 4
        assert np.isnan(again.records["age"][3])

    def test_indexing_gives_millivolts(self, cohort):
        one = cohort[-1]
        assert (one.record, one.patient, one.row["device"]) == ("r11", "p5", "CS-11")
        assert one.signal.dtype == np.float32
        np.testing.assert_allclose(one.signal, signals_of()[-1] * 0.002, rtol=1e-6)
        assert [record.record for record in cohort] == [f"r{k}" for k in range(N)]
        with pytest.raises(IndexError):
            cohort[N]

    def test_signal_mv_of_rows_and_leads(self, cohort):
        found = cohort.signal_mv([3, 1], leads=["v6", "I"])
        np.testing.assert_allclose(found, signals_of()[[3, 1]][:, [11, 0]] * 0.002, rtol=1e-6)
        assert cohort.signal_mv(slice(0, 4)).shape == (4, 12, T)
        assert cohort.signal_mv().shape == (N, 12, T)

    @pytest.mark.parametrize("rows", [[3, 1], [-1, 0], np.array([5], np.uint8), [], [True] + [False] * (N - 1)])
    def test_positions_are_those_of_an_array_of_all(self, cohort, rows):
        everything = cohort.signal_mv()
        view = cohort.subset(np.arange(N)[::-1])
        np.testing.assert_array_equal(cohort.signal_mv(rows), everything[rows])
        np.testing.assert_array_equal(view.signal_mv(rows), everything[::-1][rows])
        with pytest.raises(IndexError):
            cohort.signal_mv([N])

    def test_reading_some_makes_no_array_of_all_positions(self, cohort):
        cohort.signal_mv([3, 1])
        cohort.signal_mv([3, 1], leads=["V6"])
        assert cohort._every is None

    def test_the_table_is_read_only_when_asked_for(self, cohort):
        os.remove(cohort.path / "records.parquet")
        again = Cohort.open(cohort.path)
        assert again.signal_mv([0]).shape == (1, 12, T)
        with pytest.raises(InputError, match=r"records.parquet is missing or damaged"):
            _ = again.records

    def test_importing_needs_neither_torch_nor_pandas(self):
        code = "import sys, ecglib.cohort; print({'torch', 'pandas', 'pyarrow', 'wfdb'} & set(sys.modules))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "set()"

    def test_opening_the_size_of_ptb_xl_is_quick_and_small(self, tmp_path):
        """21,799 records of 12 x 1000 as a file of holes: 523 MB that must not be touched."""
        n = 21_799
        small = make(tmp_path / "c", records=table_of().assign(extra="x"))
        info = json.loads((small.path / "cohort.json").read_text()) | {"records": n, "length": 1000}
        (small.path / "cohort.json").write_text(json.dumps(info))
        from ecglib.cohort_write import npy_header

        with open(small.path / "signals.npy", "r+b") as file:
            npy_header(file, (n, 12, 1000))
            file.truncate(128 + n * 12 * 1000 * 2)
        table = pd.concat([table_of()] * (n // N + 1))[:n].assign(record=[str(k) for k in range(n)])
        table.to_parquet(small.path / "records.parquet")
        code = (
            "import resource, sys, time, pandas, pyarrow.parquet\n"
            "from ecglib.cohort import Cohort\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; start = time.perf_counter()\n"
            "cohort = Cohort.open(sys.argv[1]); opened = time.perf_counter() - start\n"
            "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
            "rows = len(cohort.records)\n"
            "print(opened, time.perf_counter() - start, grown, rows)"
        )
        out = subprocess.run([sys.executable, "-c", code, str(small.path)], capture_output=True, text=True, check=True)
        opened, with_table, grown, rows = map(float, out.stdout.split())
        assert rows == n
        assert opened < 0.1
        assert with_table < 2  # typically 0.1 s
        assert grown < 10_000  # KiB


class TestDamage:
    def test_no_folder_and_no_cohort(self, tmp_path):
        with pytest.raises(InputError, match="is no folder"):
            Cohort.open(tmp_path / "no")
        with pytest.raises(InputError, match=r"holds no cohort.json"):
            Cohort.open(tmp_path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"format_version": 2}, "has format version 2, this ecglib reads 1"),
            ({"rate": None}, "lacks rate"),
            ({"rate": "100"}, "values that cannot be"),
            ({"scale": 0.0}, "values that cannot be"),
            ({"label_sets": ["a"]}, "values that cannot be"),
            ({"records": N + 1}, "cohort.json says int16"),
        ],
    )
    def test_a_cohort_json_that_does_not_fit(self, cohort, change, said):
        file = cohort.path / "cohort.json"
        info = {k: v for k, v in (json.loads(file.read_text()) | change).items() if v is not None}
        file.write_text(json.dumps(info))
        with pytest.raises(InputError, match=said):
            Cohort.open(cohort.path)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null"])
    def test_a_cohort_json_that_is_none(self, cohort, text):
        (cohort.path / "cohort.json").write_text(text)
        with pytest.raises(InputError, match=r"cohort.json .*build the cohort again"):
            Cohort.open(cohort.path)

    @pytest.mark.parametrize("size", [0, 100, 128, 5000])
    def test_signals_cut_short(self, cohort, size):
        os.truncate(cohort.path / "signals.npy", size)
        with pytest.raises(InputError, match=r"signals.npy .*build the cohort again"):
            Cohort.open(cohort.path)

    def test_signals_of_another_type(self, cohort):
        np.save(cohort.path / "signals.npy", signals_of().astype(np.float32))
        with pytest.raises(InputError, match="holds float32"):
            Cohort.open(cohort.path)

    def test_a_table_of_other_rows_or_columns(self, cohort):
        table_of().iloc[:-1].to_parquet(cohort.path / "records.parquet")
        with pytest.raises(InputError, match="has 11 rows, not 12"):
            _ = Cohort.open(cohort.path).records
        table_of().drop(columns="fold").to_parquet(cohort.path / "records.parquet")
        with pytest.raises(InputError, match="lacks fold"):
            _ = Cohort.open(cohort.path).records

    def test_verify_finds_one_changed_sample_and_one_changed_label(self, cohort):
        cohort.verify()
        with open(cohort.path / "signals.npy", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            byte = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(InputError, match="does not agree with its fingerprint"):
            Cohort.open(cohort.path).verify()

    def test_the_fingerprint_is_of_the_content(self, tmp_path):
        one = make(tmp_path / "a", key="x").info.fingerprint
        chunks = make(tmp_path / "b", iter(np.split(signals_of(), 4)), source="elsewhere").info.fingerprint
        assert one == chunks
        assert len(one) == 64
        table = table_of()
        table.at[4, "statements"] = ["SR"]
        others = {
            make(tmp_path / "c", records=table).info.fingerprint,
            make(tmp_path / "d", scale=0.001).info.fingerprint,
            make(tmp_path / "e", label_sets={}).info.fingerprint,
            make(tmp_path / "f", signals_of(seed=1)).info.fingerprint,
        }
        assert len(others | {one}) == 5

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_the_fingerprint_is_made_in_parts(self, tmp_path, monkeypatch, data):
        """As the whole text at once gives it, whatever the parts: folders of older versions stay valid."""
        monkeypatch.setattr(cohort_write, "ROWS", 8)  # parts of two rows
        n = data.draw(st.integers(0, 9))

        def column(of):
            return data.draw(st.lists(of, min_size=n, max_size=n))

        table = pa.table(
            {
                "ü ": pa.array(column(st.none() | st.text(max_size=3)), pa.string()),
                "b": pa.array(column(st.none() | st.floats()), pa.float64()),
                "a": pa.array(column(st.lists(st.none() | st.text(max_size=2), max_size=3)), pa.list_(pa.string())),
                "c.d": pa.array(column(st.none() | st.dates()), pa.date32()),
                "e": pa.array([None] * n),
            }
        )
        signals = signals_of(3)
        slow = hashlib.sha256(json.dumps([100, list(LEADS), 0.002, SETS], sort_keys=True).encode())
        slow.update(signals.tobytes())
        for name in sorted(table.column_names):
            slow.update(json.dumps([name, table.column(name).to_pylist()], default=str).encode())
        found = []
        for _ in range(2):
            found.append(cohort_write.Fingerprint(100, LEADS, 0.002, SETS))
            found[-1].signals(signals[:1])
            found[-1].signals(signals[1:])
        monkeypatch.setattr(cohort_write, "COLUMNS", ())
        cohort_write.write_table([table.slice(0, 4), table.slice(4)], table.schema, tmp_path / "t.parquet")
        assert found[0].records(table) == slow.hexdigest()
        assert found[1].records_in(tmp_path / "t.parquet", n) == slow.hexdigest()

    def test_the_table_is_written_in_row_groups(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cohort_write, "ROWS", 5)
        made = make(tmp_path / "c")
        file = pq.ParquetFile(made.path / "records.parquet").metadata
        assert [file.row_group(k).num_rows for k in range(file.num_row_groups)] == [5, 5, 2]
        made.verify()

    def test_the_fingerprint_survives_another_parquet_writer(self, cohort):
        file = cohort.path / "records.parquet"
        pq.write_table(pq.read_table(file), file, compression="none", version="1.0", use_dictionary=False)
        Cohort.open(cohort.path).verify()


class TestChoosing:
    def test_subset_by_mask_and_by_positions(self, cohort):
        odd = cohort.subset(np.arange(N) % 2 == 1)
        assert odd.records["record"].tolist() == ["r1", "r3", "r5", "r7", "r9", "r11"]
        last = odd.subset([-1, 0])
        assert last.records["record"].tolist() == ["r11", "r1"]
        assert last.records.index.tolist() == [0, 1]
        np.testing.assert_array_equal(last.counts(last.rows), signals_of()[[11, 1]])
        assert last[0].record == "r11"
        assert len(cohort.subset([])) == 0

    @pytest.mark.parametrize("rows", [[N], [-N - 1], [0.5], [[1, 2]], np.ones(3, bool)])
    def test_subset_refuses_what_is_outside(self, cohort, rows):
        with pytest.raises(InputError):
            cohort.subset(rows)

    def test_a_subset_shares_the_mapped_file(self, cohort):
        assert cohort.subset([1])._signals is cohort._signals

    def test_folds(self, cohort):
        assert cohort.folds() == (1, 2, 3, 4, 5)
        assert cohort.in_folds([2, 1]).records["record"].tolist() == ["r0", "r1", "r5", "r6", "r10", "r11"]
        with pytest.raises(InputError, match=r"fold 9 holds no record of tiny .*the folds there are 1, 2, 3, 4, 5"):
            cohort.in_folds([1, 9])
        with pytest.raises(InputError, match="no fold was asked for"):
            cohort.in_folds([])

    def test_a_fold_that_became_empty(self, cohort):
        with pytest.raises(InputError, match="fold 2 holds no record"):
            cohort.in_folds([1]).in_folds([2])

    def test_a_set_without_folds(self, tmp_path):
        bare = make(tmp_path / "c", records=table_of().assign(fold=pd.array([None] * N, dtype="Int64")))
        assert bare.folds() == ()
        with pytest.raises(InputError, match="this data set has no folds"):
            bare.in_folds([1])

    def test_patients_in_several_folds(self, cohort):
        assert cohort.patients_in_several_folds() == [f"p{k}" for k in range(6)]
        assert cohort.in_folds([1]).patients_in_several_folds() == []

    def test_classes_and_labels_are_ordered_by_name(self, cohort):
        assert cohort.classes("superclass") == ("HYP", "MI", "NORM")
        expected = [[0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]] * 2
        np.testing.assert_array_equal(cohort.labels("superclass"), np.array(expected, np.float32))
        assert cohort.labels("rhythm").dtype == np.float32

    def test_labelled_leaves_out_records_without_a_class(self, cohort):
        assert cohort.labelled("superclass").records["record"].tolist() == [f"r{k}" for k in (0, 1, 2, 5, 6, 7, 8, 11)]

    def test_an_unknown_task_offers_the_nearest(self, cohort):
        with pytest.raises(InputError, match=r"no task 'superclas'. Did you mean 'superclass'\?"):
            cohort.classes("superclas")

    def test_a_task_of_an_unlabelled_set(self, tmp_path):
        with pytest.raises(InputError, match="has no labels, so no task 'superclass'"):
            make(tmp_path / "c", label_sets={}).labels("superclass")

    def test_require_positives_names_class_and_part(self, cohort):
        cohort.require_positives("superclass", "the whole")
        with pytest.raises(InputError, match=r"validation fold 1 of tiny holds no record of HYP \(task superclass\)"):
            cohort.in_folds([1]).require_positives("superclass", "validation fold 1")


class TestWriting:
    def test_the_same_key_is_reused_and_its_signals_left_alone(self, cohort):
        def never():
            raise AssertionError("was read")
            yield

        assert make(cohort.path, never(), key="k1").info == cohort.info

    @pytest.mark.parametrize("key", ["k2", ""])
    def test_another_key_is_refused(self, cohort, key):
        with pytest.raises(InputError, match="holds another cohort"):
            make(cohort.path, key=key)
        cohort.verify()

    def test_the_table_may_come_last(self, tmp_path):
        seen = []

        def chunks():
            for chunk in np.split(signals_of(), 3):
                seen.append(len(chunk))
                yield chunk

        made = make(tmp_path / "c", chunks(), lambda: (table_of(sum(seen)), ["a note"]), notes=["first"])
        assert made.info.notes == ("first", "a note")

    @pytest.mark.parametrize(
        ("signals", "said"),
        [
            (signals_of().astype(float), "int16"),
            (signals_of()[:, :5], "int16"),
            (signals_of()[:4], "12 records do not fit 4"),
            (iter([signals_of()[:6], signals_of()[6:, :, :9]]), "records of 50 and of 9 samples"),
            (iter([]), "at least one record"),
        ],
    )
    def test_signals_that_do_not_fit_leave_nothing(self, tmp_path, signals, said):
        with pytest.raises(InputError, match=said):
            make(tmp_path / "c", signals)
        assert os.listdir(tmp_path) == []

    def test_records_that_do_not_fit(self, tmp_path):
        with pytest.raises(InputError, match="'r0' occurs twice"):
            make(tmp_path / "c", records=table_of().assign(record="r0"))
        with pytest.raises(InputError, match="column statements needs values of the kind list"):
            make(tmp_path / "c", records=table_of().assign(statements=[{"NORM": 100.0}] * 12))
        with pytest.raises(InputError, match="column fold needs values of the kind int64"):
            make(tmp_path / "c", records=table_of().assign(fold="first"))
        with pytest.raises(InputError, match="lack the columns fold, sex"):
            make(tmp_path / "c", records=table_of().drop(columns=["sex", "fold"]))
        assert os.listdir(tmp_path) == []

    def test_an_interruption_leaves_nothing(self, tmp_path):
        def chunks():
            yield signals_of()[:6]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "c", chunks())
        assert os.listdir(tmp_path) == []

    def test_numpy_reads_the_file_as_it_is(self, cohort):
        found = np.load(cohort.path / "signals.npy")
        assert found.shape == (N, 12, T)
        np.testing.assert_array_equal(found, signals_of())


SLOW = """
import sys
sys.path.insert(0, {tests!r})
from test_cohort import make, signals_of
def chunks():
    print("reading", flush=True)
    yield signals_of()[:6]
    {wait} and sys.stdin.readline()
    yield signals_of()[6:]
try:
    cohort = make({path!r}, chunks(), key="k")
except ValueError as error:
    sys.exit(str(error))
print("done", cohort.info.fingerprint, flush=True)
"""


def start(path, wait: bool, **options) -> subprocess.Popen:
    """Another process that builds a cohort at `path`, and in the middle may wait for a line of input."""
    code = SLOW.format(tests=os.path.dirname(__file__), wait=wait, path=str(path))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code], text=True, **pipes, **options)


class TestProcesses:
    def test_a_killed_build_leaves_no_cohort_and_the_next_clears_up(self, tmp_path):
        process = start(tmp_path / "c", wait=True)
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "c").exists()
        assert any(name.endswith(".partial") for name in os.listdir(tmp_path))
        make(tmp_path / "c", key="k").verify()
        assert os.listdir(tmp_path) == ["c"]

    def test_of_two_builds_at_once_the_second_waits_and_takes_the_firsts(self, tmp_path):
        first = start(tmp_path / "c", wait=True)
        assert first.stdout.readline() == "reading\n"
        second = start(tmp_path / "c", wait=False)
        waiting = f"{tmp_path / 'c'} is being built by another process; waiting for it.\n"
        assert second.stdout.readline() == waiting
        done, _ = first.communicate("go on\n", timeout=60)
        assert done.startswith("done ")
        assert second.communicate(timeout=60)[0] == done  # it read nothing and has the same cohort
        assert os.listdir(tmp_path) == ["c"]

    def test_a_write_that_is_cut_off_is_one_sentence_and_leaves_nothing(self, tmp_path):
        """A limit on file size stands for the full disk: the same path through the code, without a disk to fill."""
        limit = (5000, 5000)
        process = start(tmp_path / "c", wait=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert said.strip().splitlines()[-1].startswith("the disk is full at")
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("size_kib", [8, 16, 20])
    def test_a_disk_that_is_really_full(self, tmp_path, size_kib):
        """Full in signals.npy (14 KiB), in records.parquet, or in cohort.json."""
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(disk)]
        mounted = subprocess.run(command, capture_output=True)
        if mounted.returncode:
            pytest.skip("mounting a small disk needs root")
        try:
            with pytest.raises(InputError, match="the disk is full at"):
                make(disk / "c")
            assert os.listdir(disk) == []
        finally:
            subprocess.run(["umount", str(disk)], check=True)
