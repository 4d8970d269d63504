"""ecglib.datasets.about: the facts on a data set, as fields and as a table's row."""

from __future__ import annotations

import dataclasses

import pytest

from ecglib.datasets.about import NOT_CHECKED, About

FACTS = {
    "name": "x", "title": "A set of ECGs", "version": "1.0", "url": "https://example.org/x", "licence": "CC BY 4.0",
    "citation": "Nobody, Nowhere", "records": 12345, "size_gb": 1.5, "rate": 500, "leads": 12, "labels": NOT_CHECKED,
}  # fmt: skip


def test_a_row_is_text_in_the_order_of_the_fields():
    row = About(**FACTS, traps=("One trap.", "Another."), credentialed=True).row()
    assert list(row) == [field.name for field in dataclasses.fields(About)]
    assert all(isinstance(text, str) for text in row.values())
    assert (row["records"], row["size_gb"], row["labels"]) == ("12,345", "1.5", "not checked")
    assert (row["traps"], row["credentialed"]) == ("One trap. Another.", "yes")


def test_facts_cannot_be_changed_and_none_is_forgotten():
    about = About(**FACTS)
    assert (about.traps, about.credentialed) == ((), False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        about.records = 1
    for name in FACTS:
        with pytest.raises(TypeError, match=name):
            About(**{key: value for key, value in FACTS.items() if key != name})


def test_traps_are_sentences_not_letters():
    with pytest.raises(TypeError, match="the traps of x should be a tuple"):
        About(**FACTS, traps="A trap.")
    assert About(**FACTS, traps=["A trap."]).traps == ("A trap.",)
