"""ecglib.datasets.code_test: a tiny test set in the published layout, and what can be wrong with it."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from code_tree import CODES, row, signal, write_tracings

from ecglib import protocol
from ecglib.cohort import multi_hot
from ecglib.datasets import code_test, code_tracings
from ecglib.errors import InputError
from ecglib.leads import LEADS, limb_residual

LENGTHS = (4096, 2800, 4000, 2934)
PUBLISHED = ("I", "II", "III", "aVL", "aVF", "aVR", *LEADS[6:])
GOLD = [[0, 0, 1, 0, 0, 0], [0] * 6, [1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]


def marks(values) -> pd.DataFrame:
    return pd.DataFrame(values, columns=CODES)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four exams; every reader but the gold standard sees something else; dnn.csv has a column of numbers in front."""
    source = tmp_path / "code_test"
    (source / "annotations").mkdir(parents=True)
    save(source)
    pd.DataFrame({"age": [34, 70, 52, 17], "sex": ["M", "F", "F", "M"]}).to_csv(source / "attributes.csv", index=False)
    marks(GOLD).to_csv(source / "annotations" / "gold_standard.csv", index=False)
    for k, name in enumerate(code_test.READERS):
        seen = np.array(GOLD)
        seen[:, k] = 1 - seen[:, k]
        marks(seen).to_csv(source / "annotations" / f"{name}.csv", index=name == "dnn")
    return source


def save(source: Path, names=PUBLISHED) -> None:
    write_tracings(source / "ecg_tracings.hdf5", [row(signal(k, length), names) for k, length in enumerate(LENGTHS)])


def build(source: Path, to: str = "cohort", **options):
    return code_test.build(source, source.parent / to, **{"rate": 400, "progress": False, "workers": 0, **options})


def test_signals_and_table(folder):
    cohort = build(folder)
    for k, length in enumerate(LENGTHS):
        expected = np.zeros((12, 4000))
        expected[:, : min(length, 4000)] = signal(k, length)[:, :4000]
        np.testing.assert_allclose(cohort[k].signal, expected, atol=0.00051)
    assert limb_residual(cohort.signal_mv()).max() < 0.002
    records = cohort.records
    assert records["record"].tolist() == records["patient"].tolist() == ["0", "1", "2", "3"]
    assert records["age"].tolist() == [34, 70, 52, 17]
    assert records["sex"].tolist() == ["male", "female", "female", "male"]
    assert records["recorded_s"].tolist() == [10.24, 7.0, 10.0, 7.335]
    assert records["statements"].tolist() == [["LBBB"], ["none of the six"], ["1dAVb", "AF"], ["ST"]]
    np.testing.assert_array_equal(cohort.labels("code")[:, [0, 3, 2, 4, 1, 5]], np.array(GOLD)[:, [0, 1, 2, 3, 4, 5]])
    assert "2 records shorter than 10 s, followed by 0 mV." in cohort.info.notes
    cohort.verify()


def test_readers_are_compared_as_models_are(folder):
    cohort = build(folder)
    codes, classes = cohort.info.label_sets["code"], cohort.classes("code")
    gold = cohort.labels("code")
    for k, name in enumerate(code_test.READERS):
        wrong = multi_hot(cohort.records[name], codes) != gold  # (N, C)
        assert [c for c, column in zip(classes, wrong.T) if column.any()] == [CODES[k]]
        assert wrong[:, classes.index(CODES[k])].all()
    nobody = build(folder).records["cardiologist1"]
    assert nobody.tolist() == [["1dAVb", "LBBB"], ["1dAVb"], ["AF"], ["1dAVb", "ST"]]


def test_for_testing_only(folder):
    cohort = build(folder)
    assert cohort.folds() == (10,)
    assert "All exams are in fold 10, for testing only." in cohort.info.notes
    assert len(cohort.in_folds([10])) == 4
    with pytest.raises(InputError, match="fold 1 holds no record of code-test"):
        protocol.split(cohort, "code", train=list(range(1, 9)), valid=[9], test=[10])


@pytest.mark.parametrize("order", list(permutations(("aVR", "aVL", "aVF"))))
def test_the_order_of_the_augmented_leads_is_found(folder, order):
    published = build(folder)
    save(folder, (*LEADS[:3], *order, *LEADS[6:]))
    cohort = build(folder, "again")
    np.testing.assert_array_equal(cohort.signal_mv(), published.signal_mv())
    assert f"The augmented leads come as {', '.join(order)}, by Goldberger's relations." in cohort.info.notes
    assert "The augmented leads come as aVL, aVF, aVR, by Goldberger's relations." in published.info.notes


def test_the_order_where_nothing_tells_it():
    assert code_test.limb_order(np.zeros((3, 4096, 12), np.float32)) == PUBLISHED
    assert code_test.limb_order(np.full((3, 4096, 12), np.nan)) == PUBLISHED
    rows = np.stack([row(signal(k, 4096), LEADS) for k in range(5)])
    rows[0, :, 3], rows[1, 8, 2] = 0, np.nan  # neither a dead lead nor a missing sample matters
    assert code_test.limb_order(rows) == LEADS


def test_in_the_folder_above(folder):
    inner = folder / "data"
    inner.mkdir()
    for name in ("ecg_tracings.hdf5", "attributes.csv", "annotations"):
        (folder / name).rename(inner / name)
    assert code_test.found(folder)
    assert code_test.found(inner)
    assert len(build(folder)) == 4
    assert code_test.key(folder, rate=400) == code_test.key(inner, rate=400)


def test_other_options(folder):
    short = build(folder, "short", seconds=7)
    assert short.length == 2800
    assert not any("shorter" in note for note in short.info.notes)
    assert build(folder, "drop", shorter="drop").records["record"].tolist() == ["0", "2"]
    assert (build(folder, "fast", rate=500).rate, build(folder, "fast", rate=500).length) == (500, 5000)
    np.testing.assert_allclose(build(folder, "unit", unit_mv=1)[0].signal, 2 * signal(0, 4096)[:, :4000], atol=0.00051)


def test_in_several_units(folder, monkeypatch):
    whole = build(folder)
    monkeypatch.setattr(code_tracings, "ROWS", 1)
    assert build(folder, "parts").info.fingerprint == whole.info.fingerprint


def test_a_dead_lead(folder):
    rows = [row(signal(k, length), PUBLISHED) for k, length in enumerate(LENGTHS)]
    rows[1][:, 8] = 0
    write_tracings(folder / "ecg_tracings.hdf5", rows)
    assert build(folder).records["record"].tolist() == ["0", "2", "3"]
    assert len(build(folder, "kept", bad="keep")) == 4


def test_built_once_until_something_changes(folder):
    first = build(folder)
    assert build(folder).info == first.info
    assert first.info.key == code_test.key(folder, rate=400) != code_test.key(folder, rate=400, seconds=7)
    marks(GOLD[::-1]).to_csv(folder / "annotations" / "dnn.csv")
    with pytest.raises(InputError, match="holds another cohort"):
        build(folder)


def test_found(folder, tmp_path):
    assert code_test.found(folder)
    assert not code_test.found(tmp_path)
    assert not code_test.found(tmp_path / "no")
    assert not code_test.found(folder / "annotations")


@pytest.mark.parametrize("name", ["attributes.csv", "annotations/medical_students.csv", "annotations/dnn.csv"])
def test_a_table_that_is_missing_or_of_another_length(folder, name):
    file = folder / name
    table = pd.read_csv(file)
    table[:3].to_csv(file, index=False)
    with pytest.raises(InputError, match=r"has [34] lines where attributes\.csv has [34]; lines belong to exams by"):
        build(folder)
    table.drop(columns=table.columns[-1]).to_csv(file, index=False)
    with pytest.raises(InputError, match=r"\.csv has no column (sex|ST)"):
        build(folder)
    file.unlink()
    with pytest.raises(InputError, match=rf"{Path(name).name} is missing; get the files again"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_tables_of_other_things(folder):
    marks([[0, 0, 0, 0, 0, 7], *GOLD[1:]]).to_csv(folder / "annotations" / "cardiologist2.csv", index=False)
    with pytest.raises(InputError, match=r"cardiologist2\.csv has '7' in ST, row 2"):
        build(folder)
    marks([]).to_csv(folder / "annotations" / "cardiologist2.csv", index=False)
    with pytest.raises(InputError, match="has 0 lines"):
        build(folder)


def test_tracings_that_do_not_fit(folder):
    file = folder / "ecg_tracings.hdf5"
    write_tracings(file, [row(signal(k, 4096)) for k in range(5)])
    with pytest.raises(InputError, match=r"ecg_tracings\.hdf5 holds 5 exams where attributes\.csv lists 4; lines"):
        build(folder)
    with h5py.File(file, "w") as made:
        made["tracings"] = h5py.SoftLink("/other")
        made["other"] = np.zeros((4, 4096, 12))
    with pytest.raises(InputError, match="as a link to elsewhere, which is not followed"):
        build(folder)
    save(folder)
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"ecg_tracings\.hdf5 is cut short, damaged or no HDF5"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_an_empty_set(folder):
    with h5py.File(folder / "ecg_tracings.hdf5", "w") as file:
        file["tracings"] = np.zeros((0, 4096, 12), np.float32)
    for name in ("attributes", *(f"annotations/{name}" for name in ("gold_standard", *code_test.READERS))):
        table = folder / f"{name}.csv"
        pd.read_csv(table)[:0].to_csv(table, index=False)
    with pytest.raises(InputError, match="no exam is 10 s long"):
        build(folder)
    assert os.listdir(folder.parent) == [folder.name]


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        build(tmp_path / "no")
    with pytest.raises(InputError, match=r"has no ecg_tracings\.hdf5 with annotations/gold_standard\.csv; give the"):
        build(folder / "annotations")
    with pytest.raises(InputError, match=r"CODE-test holds 10\.24 s at most"):
        build(folder, seconds=11)
    with pytest.raises(InputError, match="bad is 'omit'"):
        build(folder, bad="omit")
    with pytest.raises(InputError, match="unit_mv is -1"):
        build(folder, unit_mv=-1)


def test_a_path_beyond_ascii_that_is_read_only(folder):
    other = folder.rename(folder.parent / "CODE größe 心電図")
    other.chmod(0o500)
    try:
        assert len(build(other)) == 4
        assert sorted(os.listdir(other)) == ["annotations", "attributes.csv", "ecg_tracings.hdf5"]
    finally:
        other.chmod(0o700)
