"""The split refuses what would make a result untrue; predictions are matched by name."""

import numpy as np
import pandas as pd
import pytest
import torch

from ecglib import protocol
from ecglib.cohort_write import write
from ecglib.errors import InputError
from ecglib.leads import LEADS

CODES = {"NORM": "NORM", "IMI": "MI", "AMI": "MI", "RARE": "ODD"}


def make(path, statements, folds, patients=None):
    n = len(statements)
    signals = np.random.default_rng(0).integers(-900, 900, (n, 12, 50)).astype(np.int16)
    records = pd.DataFrame(
        {
            "record": [f"r{i}" for i in range(n)],
            "patient": patients or [f"p{i}" for i in range(n)],
            "fold": folds,
            "age": 50.0,
            "sex": "female",
            "statements": statements,
        }
    )
    return write(path, signals, records, name="tiny", rate=10, leads=LEADS, scale=0.001, label_sets={"task": CODES})


@pytest.fixture
def cohort(tmp_path):
    statements = [["NORM"], ["IMI", "RARE"], ["AMI"], ["NORM"], [], ["NORM", "IMI"], ["NORM"], ["AMI"]]
    return make(tmp_path / "c", statements, [1, 1, 1, 2, 2, 2, 3, 3])


FOLDS = {"train": [1], "valid": [2], "test": [3]}


def test_parts_hold_the_labelled_records_of_their_folds(cohort):
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")
    assert {name: list(part.records["record"]) for name, part in parts.items()} == {
        "train": ["r0", "r1", "r2"],
        "valid": ["r3", "r5"],
        "test": ["r6", "r7"],
    }


def test_a_rare_class_is_refused_or_left_out_everywhere(cohort):
    with pytest.raises(InputError, match=r"valid_folds 2 .*ODD"):
        protocol.split(cohort, "task", **FOLDS)
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")
    assert all(part.classes("task") == ("MI", "NORM") for part in parts.values())
    assert parts["train"].labels("task").tolist() == [[0, 1], [1, 0], [1, 0]]
    assert cohort.classes("task") == ("MI", "NORM", "ODD"), "the cohort itself must keep its classes"
    said = protocol.left_out(cohort, parts, "task")
    assert said[0].startswith("1 of 8 records")
    assert said[1].startswith("ODD")


def test_no_class_in_all_parts(tmp_path):
    cohort = make(tmp_path / "c", [["NORM"], ["NORM"], ["IMI"]], [1, 2, 3])
    with pytest.raises(InputError, match="No class"):
        protocol.split(cohort, "task", **FOLDS, rare="drop")


def test_a_fold_belongs_to_one_part(cohort):
    with pytest.raises(InputError, match=r"Fold 2 is in both train_folds and test_folds"):
        protocol.split(cohort, "task", train=[1, 2], valid=[3], test=[2])


def test_an_empty_fold_is_named(cohort):
    with pytest.raises(InputError, match="fold 9 holds no record"):
        protocol.split(cohort, "task", train=[1], valid=[9], test=[3])


def test_a_patient_in_two_parts_is_refused(tmp_path):
    cohort = make(tmp_path / "c", [["NORM"]] * 3, [1, 2, 3], ["a", "b", "a"])
    with pytest.raises(InputError, match=r"1 patients, a among them.*train and the test"):
        protocol.split(cohort, "task", **FOLDS, rare="drop")


class Fixed:
    """A view whose classes stand in another order than the cohort's."""

    classes = ("NORM", "MI")

    def predict(self, signal):
        return torch.stack([signal[:, 0, 0], -signal[:, 0, 0]], dim=1)


def test_predictions_are_matched_by_class_name(cohort):
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")
    chosen = {"valid": parts["valid"], "test": parts["test"]}
    made = protocol.predictions(Fixed(), chosen, model="m", seed=3, task="task", device="cpu", batch_size=1)
    assert [each.split for each in made] == ["valid", "test"]
    first = parts["test"].signal_mv()[:, 0, 0].astype(float)
    expected = 1 / (1 + np.exp(np.stack([first, -first], axis=1)))  # MI first, whose logit is the negative
    np.testing.assert_allclose(made[1].p, expected, rtol=1e-6)
    assert made[1].y.tolist() == [[0, 1], [1, 0]]
    table = protocol.frame(made)
    assert list(table["record"]) == ["r3", "r5", "r6", "r7"]
    assert {"p_MI", "y_MI", "p_NORM", "fold"} <= set(table)


def test_a_view_of_other_classes_is_refused(cohort):
    with pytest.raises(InputError, match="m predicts NORM, MI, but the task task has MI, NORM, ODD"):
        protocol.predictions(Fixed(), {"test": cohort}, model="m", seed=0, task="task", device="cpu")


def test_a_protocol_has_a_name():
    assert protocol.named("form", train=[3, 1, 2, 4], valid=[6], test=[7, 9, 10]) == "form, folds 1-4/6/7,9-10"


def test_the_other_leads_of_a_sweep():
    assert protocol.other_leads(LEADS, "i", ["v1", "I", "aVF V2", "V1"]) == ["V1", "aVF V2"]
    with pytest.raises(InputError, match="Did you mean 'aVF'"):
        protocol.other_leads(LEADS, "I", ["II", "aVFF"])
    with pytest.raises(InputError, match="lead V5 is missing"):
        protocol.other_leads(LEADS[:6], "I", ["V5"])
    with pytest.raises(InputError, match="sweep_leads is empty"):
        protocol.other_leads(LEADS, "I", [""])


def test_what_is_required_before_any_work():
    protocol.require(seeds=[0], draws=1)
    with pytest.raises(InputError, match="seeds is empty"):
        protocol.require(draws=5, seeds=[])
    with pytest.raises(InputError, match="draws is 0"):
        protocol.require(seeds=[0], draws=0)


def test_nothing_is_named_twice():
    with pytest.raises(InputError, match="seeds names something twice"):
        protocol.require(seeds=[0, 0])


def test_further_records_must_not_be_test_records(cohort, tmp_path):
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")
    with pytest.raises(InputError, match=r"of the (valid|test) part"):
        protocol.refuse_overlap(cohort, parts)
    protocol.refuse_overlap(cohort.in_folds([1]), parts)
    renamed = make(tmp_path / "other", [["NORM"]] * 8, [1] * 8, [f"x{i}" for i in range(8)])
    with pytest.raises(InputError, match=r"of the (valid|test) part"):
        protocol.refuse_overlap(renamed, parts)  # the same samples under other names


def test_a_training_on_other_records_is_not_gone_on_from(cohort):
    one, other = cohort.in_folds([1]), cohort.in_folds([2])
    assert one.batches(2, seed=0).identity == one.batches(2, seed=0).identity
    made = [one.batches(2), other.batches(2), one.batches(3), one.batches(2, seed=1), one.batches(2, leads=["I"])]
    assert len({str(batches.identity) for batches in made}) == 5


def test_lists_are_checked_before_any_work():
    protocol.known(way=(["a", "b"], ["a", "b", "c"]))
    with pytest.raises(InputError, match=r"objectives names 'SimCRL'.*SimCLR"):
        protocol.known(objectives=(["MAE", "SimCRL"], ["MAE", "SimCLR"]))
    protocol.shares(shares=[0.01, 1.0], none=[])
    for wrong in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="shares holds"):
            protocol.shares(shares=[0.5, wrong])


def test_a_second_site_gives_the_classes_that_both_know(cohort, tmp_path):
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")  # MI, NORM
    codes = {"B": "BBB", "I": "MI", "N": "NORM"}
    signals = np.random.default_rng(1).integers(-900, 900, (4, 12, 50)).astype(np.int16)
    records = pd.DataFrame(
        {"record": list("wxyz"), "patient": list("wxyz"), "fold": None, "age": 50.0, "sex": "male",
         "statements": [["B"], ["I"], ["B", "I"], []]}
    )  # fmt: skip
    common = {"rate": 10, "leads": LEADS, "scale": 0.001, "label_sets": {"task": codes}}
    write(tmp_path / "site", signals, records, name="site", **common)
    options = {"rate": 10, "cache": str(tmp_path), "records": 0}
    site = protocol.second_site(str(tmp_path / "site"), parts, "task", **options)
    assert site.classes("task") == ("MI",), "NORM is known there, but no record has it"
    assert site.records["record"].tolist() == ["x", "y"]
    assert protocol.second_site("", parts, "task", **options) is None
    records["statements"] = [["B"]] * 4
    write(tmp_path / "other", signals, records, name="other", **common)
    with pytest.raises(InputError, match="none of which is among MI, NORM"):
        protocol.second_site(str(tmp_path / "other"), parts, "task", **options)
    with pytest.raises(InputError, match="holds records or patients of the train part"):
        protocol.second_site(str(cohort.path), parts, "task", **options)


def test_a_further_test_cohort_may_hold_test_records_but_no_training_record(cohort):
    parts = protocol.split(cohort, "task", **FOLDS, rare="drop")
    protocol.refuse_overlap(parts["test"], parts, against=("train", "valid"))
    with pytest.raises(InputError, match="of the test part"):
        protocol.refuse_overlap(parts["test"], parts)
    with pytest.raises(InputError, match="of the train part"):
        protocol.refuse_overlap(parts["train"], parts, against=("train", "valid"))
