"""`ecglib.datasets.load` and `python -m ecglib.datasets`."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from ptb_xl_tree import ecg, write_record
from record_files import beats, write_edf, write_wfdb

from ecglib.cohort import Cohort
from ecglib.datasets import load
from ecglib.datasets.__main__ import NAMES, main
from ecglib.errors import InputError


def test_ptb_xl_is_built_once_in_the_cache(tree, tmp_path):
    first = load(str(tree.path), rate=100, cache=tmp_path / "cache", progress=False)
    assert first.info.name == "ptb-xl"
    made = os.stat(first.path / "signals.npy").st_mtime_ns
    again = load(tree.path, rate=100, cache=tmp_path / "cache", progress=False)
    assert again.path == first.path
    assert os.stat(again.path / "signals.npy").st_mtime_ns == made
    assert os.listdir(tmp_path / "cache") == [first.path.name]


def test_other_options_and_other_contents_have_their_own_place(tree, tmp_path):
    paths = {
        load(tree.path, rate=rate, bad=bad, cache=tmp_path / "cache", progress=False).path
        for rate in (100, 500)
        for bad in ("drop", "keep")
    }
    tree.save(tree.table.assign(age=50))
    changed = load(tree.path, rate=100, cache=tmp_path / "cache", progress=False)
    assert len(paths | {changed.path}) == 5
    assert changed.records["age"].tolist() == [50] * 12


def test_a_folder_of_wfdb_records(tmp_path):
    write_record(tmp_path / "mine" / "a", ecg(0))
    cohort = load(tmp_path / "mine", rate=100, cache=tmp_path / "cache", progress=False)
    assert cohort.path.name.startswith("mine-100hz-")
    assert len(cohort.info.label_sets) == 0


def test_a_cohort_itself(tree, tmp_path):
    built = load(tree.path, rate=100, cache=tmp_path / "cache", progress=False)
    assert load(built.path, rate=100).info == built.info
    with pytest.raises(InputError, match="is at 100 Hz where rate is 500; set rate to 100"):
        load(built.path, rate=500)


def test_synthetic(tmp_path):
    cohort = load("synthetic", rate=100, records=30, seed=3, cache=tmp_path, progress=False)
    assert (len(cohort), cohort.rate) == (30, 100)
    again = load("synthetic", rate=100, records=30, seed=3, cache=tmp_path, progress=False)
    assert again.path == cohort.path
    other = load("synthetic", rate=100, records=30, seed=4, cache=tmp_path, progress=False)
    assert other.path != cohort.path
    assert not np.array_equal(other.counts(other.rows), cohort.counts(cohort.rows))


def test_what_is_none_of_these(tmp_path):
    with pytest.raises(InputError, match="which is no folder; give 'synthetic' or the folder"):
        load(tmp_path / "no", rate=100)
    with pytest.raises(InputError, match="a folder in which no data set was recognised"):
        load(tmp_path, rate=100)


class TestCommand:
    def test_builds(self, tree, tmp_path, capsys):
        assert main(["build", "ptb_xl", str(tree.path), "--to", str(tmp_path / "c"), "--rate", "500"]) == 0
        assert "12 records of 6 patients at 500 Hz" in capsys.readouterr().out
        assert (
            main(
                [
                    "build",
                    "wfdb_folder",
                    str(tree.path / "records100"),
                    "--to",
                    str(tmp_path / "d"),
                    "--bad",
                    "keep",
                    "--limb",
                    "derived",
                ]
            )
            == 0
        )
        assert main(["build", "synthetic", "--to", str(tmp_path / "e"), "--records", "20"]) == 0

    def test_says_so_where_it_is_there_already(self, tmp_path, capsys):
        words = ["build", "synthetic", "--to", str(tmp_path / "c"), "--records", "20"]
        assert main(words) == 0
        assert "holds it already" not in capsys.readouterr().out
        assert main(words) == 0
        assert f"{tmp_path / 'c'} holds it already: 20 records of synthetic at 100 Hz" in capsys.readouterr().out

    def test_an_interruption_is_said_without_a_traceback(self, tmp_path, capsys, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("ecglib.datasets.synthetic.build", interrupted)
        assert main(["build", "synthetic", "--to", str(tmp_path / "c")]) == 130
        assert capsys.readouterr().err.startswith("interrupted; give the same command again")

    def test_verifies(self, tmp_path, capsys):
        folder = tmp_path / "c"
        assert main(["build", "synthetic", "--to", str(folder), "--records", "20"]) == 0
        assert main(["verify", str(folder)]) == 0
        assert "synthetic: 20 records agree with the fingerprint" in capsys.readouterr().out
        with open(folder / "signals.npy", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        assert main(["verify", str(folder)]) == 2
        assert "does not agree with its fingerprint" in capsys.readouterr().err
        assert main(["verify", str(tmp_path / "none")]) == 2

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["ptb-xl", "x"], "NAME is 'ptb-xl', which is no data set here. Did you mean 'ptb_xl'?"),
            (["ptb_xl", "/no/such"], "/no/such is no folder"),
            (["ptb_xl"], "SOURCE is missing"),
            (["synthetic", "x"], "synthetic is made from nothing"),
            (["wfdb_folder", "/no/such"], "/no/such is no folder"),
        ],
    )
    def test_bad_input_is_one_sentence_and_status_2(self, tmp_path, capsys, arguments, said):
        assert main(["build", *arguments, "--to", str(tmp_path / "c")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert said in error
        assert error.count("\n") == 1
        assert os.listdir(tmp_path) == []

    def test_as_a_process_without_a_traceback(self, tree, tmp_path):
        os.truncate(tree.file(3, "dat"), 100)
        arguments = ["build", "ptb_xl", str(tree.path), "--to", str(tmp_path / "c")]
        done = subprocess.run([sys.executable, "-m", "ecglib.datasets", *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "00004_lr.dat has 100 bytes where its header says 24,000" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "c").exists()


class TestOptions:
    """`build` takes the options that a data set has, and no others."""

    def test_an_option_that_the_data_set_lacks_is_named_with_those_it_has(self, tree, tmp_path, capsys):
        words = ["build", "ptb_xl", str(tree.path), "--to", str(tmp_path / "c"), "--limb", "derived"]
        assert main(words) == 2
        assert (
            "--limb is no option of ptb_xl; it has --bad, --no-verify, --rate"
            in capsys.readouterr().err.splitlines()[-1]
        )
        assert not (tmp_path / "c").exists()

    @pytest.mark.parametrize("name", NAMES)
    def test_every_data_set_takes_a_rate_and_its_options_are_all_on_the_command_line(self, name):
        from ecglib.datasets import options

        module = importlib.import_module(f"ecglib.datasets.{name}")
        had = options._had(module.build)
        parser = argparse.ArgumentParser()
        options.add(parser)
        assert "rate" in had
        assert had - {"mend_gains"} <= {action.dest for action in parser._actions}  # that one is for Python alone

    def test_workers_and_lists_arrive(self, tmp_path):
        write_record(tmp_path / "mine" / "a", ecg(0))
        words = [
            "build",
            "own",
            str(tmp_path / "mine"),
            "--to",
            str(tmp_path / "c"),
            "--leads",
            "II,V1",
            "--workers",
            "0",
        ]
        assert main(words) == 0
        assert Cohort.open(tmp_path / "c").leads == ("II", "V1")


def test_ones_own_files_are_found_last(tmp_path):
    (tmp_path / "mine").mkdir()
    values = ecg(0)[:2, :1000] if ecg(0).ndim == 2 else ecg(0)
    lines = ["I (mV),II (mV)", *(f"{a:.4f},{b:.4f}" for a, b in zip(*np.asarray(values, float)[:2] / 1000))]
    (tmp_path / "mine" / "r.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="rate"):
        load(tmp_path / "mine", rate=100, cache=tmp_path / "cache", progress=False)
    seconds = [f"{k / 100:.2f},{line}" for k, line in enumerate(lines[1:])]
    (tmp_path / "mine" / "r.csv").write_text("\n".join(["time (s)," + lines[0], *seconds]) + "\n")
    cohort = load(tmp_path / "mine", rate=100, cache=tmp_path / "cache", progress=False)
    assert (len(cohort), cohort.leads) == (1, ("I", "II"))


def test_edf_beside_wfdb_is_not_passed_over(tmp_path):
    write_wfdb(tmp_path / "mine" / "a", beats(0, seconds=10))
    write_edf(tmp_path / "mine" / "b.edf", beats(1, seconds=10))
    (tmp_path / "mine" / "notes.csv").write_text("")
    with pytest.raises(InputError, match=r"notes\.csv holds nothing"):
        load(tmp_path / "mine", rate=100, cache=tmp_path / "cache", progress=False)
    (tmp_path / "mine" / "notes.csv").unlink()
    cohort = load(tmp_path / "mine", rate=100, cache=tmp_path / "cache", progress=False)
    assert cohort.records["record"].tolist() == ["a", "b"]


def test_the_2011_challenge_is_known_with_its_quality(shared_data, tmp_path):
    cohort = load(shared_data / "challenge-2011", rate=100, cache=tmp_path, progress=False)
    assert cohort.classes("quality") == ("acceptable", "unacceptable")
    assert cohort.path.name.startswith("challenge2011-100hz-")
