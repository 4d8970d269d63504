"""The page on the data sets: made from the readers' own facts, and not left behind by them."""

import shlex

import pytest
from where import REPO

from ecglib import datasets
from ecglib.datasets import __main__ as command
from ecglib.datasets import overview

PAGE = (REPO / overview.PAGE).read_text(encoding="utf-8")


def test_the_page_is_made_from_these_readers():
    assert overview.renewed(PAGE) == PAGE, "run `python -m ecglib.datasets overview`"


def test_every_data_set_that_a_folder_is_known_as_is_on_the_page():
    found = overview.modules()
    assert {"ptb_xl", "ludb", "synthetic", *datasets.DETECTED} <= set(found)
    for name, about in found.items():
        assert f"| `{name}` | [{about.title}](#{name}) |" in PAGE
        assert PAGE.count(f'<a id="{name}"></a>') == 1


def test_each_says_what_it_was_tried_on_and_how_to_cite_it():
    for name, about in overview.modules().items():
        section = PAGE.split(f'<a id="{name}"></a>')[1].split("<a id=")[0]
        assert f"Tried on: {about.tried_on}." in section
        assert about.citation in section
        assert all(trap in section for trap in about.traps)


def test_names_on_the_page_are_names_of_the_command():
    assert set(overview.modules()) - {"image_folder"} <= set(command.NAMES)


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line.startswith(".venv/bin/python -m ")])
def test_the_command_is_understood(line):
    words = shlex.split(line)
    assert words[2] == "ecglib.datasets"
    options = command._parser().parse_args(words[3:])
    assert getattr(options, "name", None) in (None, *command.NAMES)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the marks"):
        overview.renewed("# nothing\n")


def test_an_earlier_table_is_replaced_not_added_to():
    once = overview.renewed(f"a\n{overview.BEGIN}\nsomething earlier\n{overview.END}\nb\n")
    assert "something earlier" not in once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    assert overview.renewed(once) == once
