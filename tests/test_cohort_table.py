"""ecglib.cohort_table: what is read of records.parquet, column by column or all of it, is the same."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.cohort import Cohort, multi_hot, write
from ecglib.cohort_table import Coded
from ecglib.errors import InputError
from ecglib.leads import LEADS

CODES = {"NORM": "NORM", "IMI": "MI", "ÄMI": "MI", "LVH": "HYP"}
statements = st.lists(st.lists(st.sampled_from([*CODES, "SR", ""]), max_size=4), min_size=1, max_size=12)


def cohort_of(folder, said: list[list[str]]) -> Cohort:
    n = len(said)
    table = pd.DataFrame(
        {
            "record": [f"r{k}" for k in range(n)],
            "patient": [f"p{k // 2}" for k in range(n)],
            "fold": pd.array([k % 3 if k % 4 else None for k in range(n)], dtype="Int64"),
            "age": [40.0 if k % 2 else np.nan for k in range(n)],
            "sex": [None if k % 3 else "male" for k in range(n)],
            "statements": said,
            "severities": [[k / 2, 1.0] if k % 2 else [] for k in range(n)],
            "findings": [["a", "ß"] if k % 2 else ["a"] for k in range(n)],
            "gaps": [None if k % 2 else [k] for k in range(n)],
            "time": [datetime.datetime(2020, 1, 1 + k) for k in range(n)],
        }
    )
    signals = np.zeros((n, 12, 5), np.int16)
    return write(folder, signals, table, name="t", rate=100, leads=LEADS, scale=0.001, label_sets={"all": CODES})


@settings(max_examples=60, deadline=None)
@given(statements, st.data())
def test_labels_are_those_of_the_lists(said, data):
    """Beside the loop over lists, for all records and for any rows of them."""
    coded = Coded.of(pa.chunked_array([pa.array(part, pa.list_(pa.string())) for part in (said[:3], said[3:])]))
    assert coded.lists() == said
    rows = data.draw(st.none() | st.lists(st.integers(0, len(said) - 1)).map(lambda k: np.array(k, np.int64)))
    chosen = said if rows is None else [said[k] for k in rows]
    places = {code: ["HYP", "MI", "NORM"].index(name) for code, name in CODES.items()}
    np.testing.assert_array_equal(coded.multi_hot(places, 3, rows), multi_hot(chosen, CODES))


def test_missing_lists_and_strings_have_no_class():
    coded = Coded.of(pa.chunked_array([pa.array([["NORM", None], None, [], ["LVH"]], pa.list_(pa.string()))]))
    assert coded.lists() == [["NORM", None], [], [], ["LVH"]]
    assert coded.multi_hot({"NORM": 0, "LVH": 1}, 2, None).tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("first", ["labels", "folds", "records"])
def test_whatever_is_asked_for_first(tmp_path, first):
    said = [["NORM"], [], ["IMI", "LVH", "IMI"], ["SR"], ["ÄMI"]]
    cohort = cohort_of(tmp_path / "c", said)
    {"labels": lambda: cohort.labels("all"), "folds": cohort.folds, "records": lambda: cohort.records}[first]()
    assert cohort.labels("all").tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert cohort.folds() == (0, 1, 2)
    part = cohort.in_folds([1, 2])
    assert part.labels("all").tolist() == [[0, 0, 0], [1, 1, 0]]
    records = cohort.records
    assert records["statements"].tolist() == said
    assert part.records["statements"].tolist() == said[1:3]
    assert records["fold"].dtype == "Int64"
    assert records["fold"].isna().tolist() == [True, False, False, False, True]
    assert records["sex"].tolist() == ["male", None, None, "male", None]
    assert records["severities"].tolist() == [[], [0.5, 1.0], [], [1.5, 1.0], []]
    assert records["findings"].tolist() == [["a"], ["a", "ß"], ["a"], ["a", "ß"], ["a"]]
    assert records["gaps"].tolist() == [[0], None, [2], None, [4]]
    assert records["time"][4] == pd.Timestamp(2020, 1, 5)
    assert list(records.columns) == pq.read_schema(cohort.path / "records.parquet").names
    assert cohort.patients_in_several_folds() == ["p1"]


def test_labels_and_folds_need_no_table(tmp_path):
    cohort = cohort_of(tmp_path / "c", [["NORM"], [], ["IMI"]])
    whole = pq.read_table(cohort.path / "records.parquet")
    cohort.in_folds([1]).labels("all")
    cohort.labelled("all")
    pq.write_table(whole.slice(0, 2), cohort.path / "records.parquet")  # from now on the file cannot be read
    assert cohort.labels("all").shape == (3, 3)
    with pytest.raises(InputError, match="has 2 rows, not 3"):
        _ = cohort.records


def test_lists_share_their_strings(tmp_path):
    """A string of its own for each statement would be most of a large table."""
    records = cohort_of(tmp_path / "c", [["a long statement"]] * 5).records
    assert len({id(said[0]) for said in records["statements"]}) == 1
    assert len({id(said) for said in records["statements"]}) == 5
