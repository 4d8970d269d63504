from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import parameters, yaml12
from ecglib.errors import InputError

CELL = """
from typing import Literal

# Data
data: str = "synthetic"  # a folder, or "synthetic"
rate: int = 100  # Hz; 500 takes five times longer
# passes over the training folds;
# fewer underfit
epochs: int = 20
learning_rate: float = 1e-3  # peak of the schedule;
                             # ten times more diverges
variant: Literal["tempered", "released"] = "tempered"  # which MKD
alpha: float | None = None  # weight of MKD; null leaves it out
folds: list[int] = [
    1,  # train
    2,
]
shuffle: bool = True  # each epoch
leads: list[Literal["I", "II"]] = ["I"]  # the student's
"""


@pytest.fixture
def schema() -> parameters.Schema:
    return parameters.parse_cell(CELL, notebook="demo")


def test_cell_is_read_with_types_defaults_and_meanings(schema: parameters.Schema) -> None:
    assert list(schema) == ["data", "rate", "epochs", "learning_rate", "variant", "alpha", "folds", "shuffle", "leads"]
    assert schema["learning_rate"].default == 1e-3
    assert schema["folds"].default == [1, 2]
    meanings = {name: parameter.meaning for name, parameter in schema.items()}
    assert meanings == {
        "data": 'a folder, or "synthetic"',
        "rate": "Hz; 500 takes five times longer",
        "epochs": "passes over the training folds; fewer underfit",
        "learning_rate": "peak of the schedule; ten times more diverges",
        "variant": "which MKD",
        "alpha": "weight of MKD; null leaves it out",
        "folds": "train",
        "shuffle": "each epoch",
        "leads": "the student's",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = 3", "line 2: `epochs = 3` is not of the form"),
        ("epochs: int = 2 * 3", "line 2: the value of 'epochs' is not a literal"),
        ("epochs: int = range(3)", "is not a literal"),
        ("print('x')", "is not of the form"),
        ("epochs: int", "is not of the form"),
        ("epochs: int = 2.5", "parameter 'epochs' is 2.5, but it must be a whole number"),
        ("epochs: dict = {}", "use int, float, str, bool"),
        ("epochs: tuple[int] = (1,)", "use int, float, str, bool"),
        ("epochs: int = 3\nepochs: int = 4", "line 3: 'epochs' is given twice"),
        ("epochs: int = = 3", "line 2"),
        ('mode: Literal["a", "b"] = "c"', "one of 'a', 'b'"),
        ("import os", "is not of the form"),
    ],
)
def test_cell_that_is_no_schema_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(InputError, match="cell of x, ") as caught:
        parameters.parse_cell(f"a: int = 1\n{line}", notebook="x", where="cell of x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("learning_rate", 1, 1.0),
        ("learning_rate", 1e-4, 1e-4),
        ("alpha", None, None),
        ("alpha", 2, 2.0),
        ("folds", [], []),
        ("leads", ["II", "I"], ["II", "I"]),
        ("shuffle", False, False),
    ],
)
def test_fitting_values_are_taken(schema: parameters.Schema, name: str, value: object, taken: object) -> None:
    result = schema.check(name, value, "here")
    assert (result, type(result)) == (taken, type(taken))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", 3, "here: demo has no parameter 'epoch'. Did you mean 'epochs'?"),
        ("epochs", True, "parameter 'epochs' is True, but it must be a whole number"),
        ("epochs", "3", "'3', but it must be a whole number"),
        ("epochs", 3.0, "3.0, but it must be a whole number"),
        ("epochs", None, "None, but it must be a whole number"),
        ("shuffle", 1, "must be true or false"),
        ("learning_rate", True, "must be a number"),
        ("learning_rate", float("nan"), "must be a number"),
        ("data", 3, "must be text"),
        ("variant", "tempred", "must be one of 'tempered', 'released'. Did you mean 'tempered'?"),
        ("folds", [1, "2"], "'2', but it must be a whole number"),
        ("folds", 1, "must be a list, each item a whole number"),
        ("leads", ["I", "V1"], "'V1', but it must be one of 'I', 'II'"),
        ("alpha", "no", "must be a number"),
    ],
)
def test_other_values_are_refused_by_name(schema: parameters.Schema, name: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        schema.check(name, value, "here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0E+3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("[I, 1, 2.5, null]", ["I", 1, 2.5, None]),
        ("'1e-4'", "1e-4"),
    ],
)
def test_yaml_is_read_by_its_version_1_2(text: str, value: object) -> None:
    result = yaml12.loads(text, shown="x")
    assert (result, type(result)) == (value, type(value))


# json.dumps writes what lies beyond \uffff as a pair of escapes, which PyYAML does not join
text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text


@given(st.lists(scalars | st.lists(scalars, max_size=3), max_size=4))
def test_json_is_yaml(values: list[object]) -> None:
    assert yaml12.loads(json.dumps(values), shown="x") == values


@pytest.mark.parametrize(
    ("text", "message"), [("a: 1\na: 2", "given twice"), ("a: [1", "x"), ("- 1", "must hold lines")]
)
def test_unreadable_preset_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^x") as caught:
        yaml12.read_mapping(path, shown="x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_preset_and_command_line_override_in_this_order(schema: parameters.Schema, tmp_path: Path) -> None:
    preset = tmp_path / "smoke.yaml"
    preset.write_text("epochs: 2  # quick\nlearning_rate: 1e-2  # few epochs\nalpha: 1  # on\n")
    settings = parameters.resolve(schema, preset, ["epochs=5", "data=2011", "variant=released", "alpha=null"])
    assert settings.values["epochs"] == 5
    assert settings.values["data"] == "2011"  # text is wanted, so it stays as it stands
    assert settings.sources == {
        **dict.fromkeys(("epochs", "data", "variant", "alpha"), "command line"),
        "learning_rate": "preset",
    }
    assert settings.changed() == {"data": "2011", "epochs": 5, "learning_rate": 0.01, "variant": "released"}


@pytest.mark.parametrize("override", ["epochs", "epochs=many", "epoch=3", "folds=[1", "=3"])
def test_wrong_override_is_named(schema: parameters.Schema, override: str) -> None:
    with pytest.raises(InputError, match=r"^-p "):
        parameters.resolve(schema, None, [override])


def test_preset_is_found_or_the_nearest_named(tmp_path: Path) -> None:
    folder = tmp_path / "params" / "demo"
    folder.mkdir(parents=True)
    (folder / "smoke.yaml").touch()
    (folder / "paper.yaml").touch()
    assert parameters.find_preset(tmp_path, "demo", "smoke") == folder / "smoke.yaml"
    with pytest.raises(InputError, match=r"no such preset in params/demo\. Did you mean 'smoke'"):
        parameters.find_preset(tmp_path, "demo", "smoek")
    with pytest.raises(InputError, match="no such preset"):
        parameters.find_preset(tmp_path, "demo", "../demo/smoke")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("epochs: 2  # quick\nfolds: [1, 2, 3]  # more\n", []),
        ("# quick\nepochs: 2\nfolds:  # more\n  - 1\n  - 3\n", []),
        ("epochs: 2\n", ["no `# reason`"]),
        ("data: 'x # y'\n", ["no `# reason`"]),
        ("epochs: 20  # as it is\n", ["in the notebook already"]),
        ("learning_rate: 1e-2  # larger\n", ["papermill reads 'learning_rate' as '1e-2'"]),
        ("learning_rate: 1.0e-2  # larger\n", []),
        ("data: no  # the country\n", ["papermill reads 'data' as False"]),
        ("epoch: 2  # quick\n", ["Did you mean 'epochs'"]),
    ],
)
def test_lint_of_a_preset(schema: parameters.Schema, tmp_path: Path, text: str, found: list[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    complaints = parameters.lint_preset(path, schema)
    assert len(complaints) == len(found)
    assert all(part in complaint for part, complaint in zip(found, complaints))


def test_lint_of_a_schema_wants_comments() -> None:
    schema = parameters.parse_cell("a: int = 1\nb: int = 2  # with", notebook="demo")
    assert parameters.lint_schema(schema) == ["demo: parameter 'a' has no comment"]


def cells(*tags: list[str]) -> str:
    made = [{"cell_type": "code", "metadata": {"tags": t}, "source": ["a: int = 1\n", "b: int = 2"]} for t in tags]
    return json.dumps({"cells": made})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as a notebook"),
        ("[]", "not readable as a notebook"),
        ("{}", "not readable as a notebook"),
        (cells([]), "exactly one code cell tagged 'parameters'; it has 0"),
        (cells(["parameters"], ["parameters"]), "it has 2"),
    ],
)
def test_notebook_without_a_schema_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        parameters.read_schema(path)
    with pytest.raises(InputError, match="no such notebook"):
        parameters.read_schema(tmp_path / "y.ipynb")


def test_notebook_with_a_schema_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(cells(["parameters"], []))
    assert {p.name: p.default for p in parameters.read_schema(path).values()} == {"a": 1, "b": 2}
