"""`python -m ecglib.embed`: vectors of one's own records in a parquet file, or one sentence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from where import REPO

from ecglib import embed as room
from ecglib.cohort import Cohort, write
from ecglib.datasets import load
from ecglib.embed import embed, main
from ecglib.errors import InputError
from ecglib.methods.encoder import Encoder
from ecglib.signals import Standardise

LEADS = ("II", "V5")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    return load("synthetic", rate=100, records=30, cache=tmp_path_factory.mktemp("cache"), progress=False)


def encoder(**options) -> Encoder:
    torch.manual_seed(0)
    common = {"leads": LEADS, "rate": 100, "standardise": Standardise("record"), "window_s": 2.5}
    return Encoder("xresnet1d18", width=0.125, **(common | options)).eval()


@pytest.fixture
def model(tmp_path):
    return encoder().save(tmp_path / "model" / "encoder")


def copied(cohort: Cohort, to, *, leads=None, rate: int = 100, samples: int | None = None) -> Cohort:
    leads = cohort.leads if leads is None else leads
    counts = cohort.counts(cohort.rows, leads)[:, :, :samples]
    return write(to, counts, cohort.records, name="mine", rate=rate, leads=leads, scale=cohort.info.scale)


def expected(cohort: Cohort) -> np.ndarray:
    return encoder().embed(torch.from_numpy(cohort.signal_mv(leads=LEADS))).numpy()


def values(table: pd.DataFrame) -> np.ndarray:
    return table.filter(regex=r"^v\d+$").to_numpy()


# what is written


def test_the_table_holds_the_encoders_vectors_of_all_records(cohort, model, tmp_path, capsys):
    to = tmp_path / "out" / "vectors.parquet"
    assert main([str(model), str(cohort.path), "--to", str(to), "--batch", "7", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"30 records, 128 dimensions: {to}\n"
    table = pd.read_parquet(to)
    assert list(table.columns) == ["record", "patient", *(f"v{k}" for k in range(128))]
    assert set(map(str, table.dtypes[2:])) == {"float32"}
    assert table["record"].tolist() == cohort.records["record"].tolist()
    assert table["patient"].tolist() == cohort.records["patient"].tolist()
    np.testing.assert_allclose(values(table), expected(cohort), rtol=1e-4, atol=1e-5)
    assert [path.name for path in to.parent.iterdir()] == ["vectors.parquet"]


def test_part_of_a_cohort_in_several_groups(cohort, tmp_path, monkeypatch):
    """Groups are written as they fill, so that memory does not grow with the records."""
    part = cohort.subset(np.arange(29)[::-1])
    monkeypatch.setattr(room, "_GROUP", 4 * 128 * 10)
    to = embed(encoder(), part, tmp_path / "v.parquet", batch_size=4)
    assert pq.ParquetFile(to).metadata.num_row_groups == 3  # 12, 12 and 5 records
    table = pd.read_parquet(to)
    assert table["record"].tolist() == part.records["record"].tolist()
    np.testing.assert_allclose(values(table), expected(cohort)[:29][::-1], rtol=1e-4, atol=1e-5)


def test_vectors_are_not_kept_after_their_group_is_written(monkeypatch):
    """Of a long stream no more than a group is held."""
    alive = []

    def stream():
        for k in range(50):
            alive.append(k)
            yield np.full((3, 2), k, np.float32)

    seen = []
    for group in room._groups(stream(), rows=6):
        assert len(alive) == 2 * (len(seen) + 1), "nothing is fetched ahead"
        seen.append(group)
    assert [len(group) for group in seen] == [6] * 25
    assert np.concatenate(seen)[:, 0].tolist() == np.repeat(np.arange(50), 3).tolist()


def test_leads_are_matched_by_name_in_whatever_order(cohort, model, tmp_path):
    turned = copied(cohort, tmp_path / "turned", leads=("V5", "aVR", "II"))
    assert main([str(model), str(turned.path), "--to", str(tmp_path / "v.parquet")]) == 0
    np.testing.assert_allclose(values(pd.read_parquet(tmp_path / "v.parquet")), expected(cohort), rtol=1e-4, atol=1e-5)


def test_records_of_another_rate_are_resampled_to_the_encoders(cohort, model, tmp_path):
    fast = copied(cohort, tmp_path / "fast", rate=125)
    to, cache = tmp_path / "v.parquet", tmp_path / "cache"
    assert main([str(model), str(fast.path), "--to", str(to), "--cache", str(cache)]) == 0
    slow = load(fast.path, rate=100, cache=cache, resample=True, progress=False)
    np.testing.assert_allclose(values(pd.read_parquet(to)), expected(slow), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"mine .* is at 125 Hz and the encoder was trained at 100 Hz"):
        embed(encoder(), fast, to)


def test_the_command_as_one_types_it(cohort, model, tmp_path):
    command = [sys.executable, "-m", "ecglib.embed", str(model.with_suffix("")), str(cohort.path)]
    done = subprocess.run([*command, "--to", str(tmp_path / "v.parquet")], cwd=REPO, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("30 records, 128 dimensions: ")
    done = subprocess.run([*command, "--to", str(tmp_path)], cwd=REPO, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path} is a folder; give the name of the parquet file to write.\n"


# what is refused


def refusal(arguments, capsys) -> str:
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


def test_what_is_no_encoder_is_refused(cohort, model, tmp_path, capsys):
    to = tmp_path / "v.parquet"
    assert "encodr.json is missing" in refusal([model.parent / "encodr", cohort.path, "--to", to], capsys)
    view = encoder().view(["MI"]).save(tmp_path / "view")
    assert "is not a model's card" in refusal([view, cohort.path, "--to", to], capsys)
    model.write_bytes(model.read_bytes()[:-1])
    assert "not those that its card was written for" in refusal([model, cohort.path, "--to", to], capsys)
    assert not to.exists()


def test_data_that_cannot_be_read_or_do_not_fit_are_refused(cohort, model, tmp_path, capsys):
    to = tmp_path / "v.parquet"
    assert "which is no folder" in refusal([model, tmp_path / "nowhere", "--to", to], capsys)
    assert "no data set was recognised" in refusal([model, model.parent, "--to", to], capsys)
    limb = copied(cohort, tmp_path / "limb", leads=("I", "II"))
    assert "lead V5 is missing; the leads present are I, II" in refusal([model, limb.path, "--to", to], capsys)
    short = copied(cohort, tmp_path / "short", samples=200)
    assert "windows of 250 samples" in refusal([model, short.path, "--to", to], capsys)
    assert "batch_size is 0" in refusal([model, cohort.path, "--to", to, "--batch", 0], capsys)
    assert "device 'gpu' cannot be used" in refusal([model, cohort.path, "--to", to, "--device", "gpu"], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limb", "model", "short"]


def test_a_folder_is_not_written_over(cohort, model, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "kept.txt").write_text("kept")
    assert "is a folder" in refusal([model, cohort.path, "--to", tmp_path / "results"], capsys)
    assert (tmp_path / "results" / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize("before", [None, b"an older table"])
def test_when_it_ends_early_nothing_half_written_is_left(cohort, tmp_path, monkeypatch, before):
    one, to = encoder(), tmp_path / "v.parquet"
    if before:
        to.write_bytes(before)
    own, calls = one.embed, []

    def fails_at_the_third(signal):
        calls.append(signal)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(signal)

    monkeypatch.setattr(room, "_GROUP", 1)  # each batch is written at once
    monkeypatch.setattr(one, "embed", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed(one, cohort, to, batch_size=8)
    assert len(calls) == 3
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"v.parquet": before} if before else {})


def test_a_full_disk_is_said(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="disk is full"):
        embed(encoder(), cohort, tmp_path / "v.parquet")
    assert list(tmp_path.iterdir()) == []


def test_importing_it_takes_no_torch():
    code = "import sys, ecglib.embed; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0
