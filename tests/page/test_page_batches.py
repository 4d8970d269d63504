"""Pages in batches: which record gets which page, and what may change it."""

import pytest
import torch

from ecglib import datasets
from ecglib.errors import InputError
from ecglib.page import Degrade, PageBatches, PageRenderer, Vary
from ecglib.signals import Augment

SIZE = (160, 208)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return datasets.load("synthetic", rate=100, records=24, cache=cache, progress=False).labelled("superclass")


def pages(cohort, n=8, shuffle=False, **options):
    batches = cohort.batches(n, task="superclass", shuffle=shuffle, seed=5)
    return PageBatches(batches, **({"size": SIZE, "vary": Vary()} | options))


def taken(batches):
    """{record's position: page}."""
    return {int(i): page.clone() for batch in batches for i, page in zip(batch.index, batch.page)}


def test_a_batch_is_the_batchs_own_and_its_page_the_renderers(cohort):
    made = pages(cohort, vary=None)
    draw = PageRenderer("3x4+II", rate=100, leads=cohort.leads, size=SIZE)
    for batch, plain in zip(made, cohort.batches(8, task="superclass"), strict=True):
        assert torch.equal(batch.signal, plain.signal)
        assert torch.equal(batch.label, plain.label)
        assert torch.equal(batch.page, draw(plain.signal))


def test_a_record_looks_the_same_in_any_batch(cohort):
    small, large, shuffled = (taken(pages(cohort, n, shuffle=s)) for n, s in ((8, False), (24, False), (12, True)))
    assert small.keys() == large.keys() == shuffled.keys()
    assert all(torch.equal(small[i], large[i]) and torch.equal(small[i], shuffled[i]) for i in small)


def test_epochs_and_seeds_are_other_pages_and_come_again(cohort):
    made = pages(cohort)
    first = taken(made)
    made.set_epoch(1)
    second = taken(made)
    made.set_epoch(0)
    assert all(torch.equal(page, first[i]) for i, page in taken(made).items())
    assert not any(torch.equal(page, first[i]) for i, page in second.items())
    assert not torch.equal(taken(pages(cohort, seed=1))[0], first[0])


def test_a_batch_holds_each_layout(cohort):
    batch = next(iter(pages(cohort, 9, layouts=("3x4", "6x2", "12x1"), vary=None)))
    for k, layout in enumerate(("3x4", "6x2", "12x1")):
        draw = PageRenderer(layout, rate=100, leads=cohort.leads, size=SIZE)
        part = slice(3 * k, 3 * k + 3)
        assert torch.equal(batch.page[part], draw(batch.signal[part]))


def test_the_signal_that_is_given_is_the_one_that_was_drawn(cohort):
    made = pages(cohort, vary=None, augment=Augment(rate=100, shift_s=3.0, amplitude=0.2))
    batch = next(iter(made))
    assert torch.equal(batch.page, made.renderers[0](batch.signal))
    assert not torch.equal(batch.signal, next(iter(cohort.batches(8))).signal)


def test_what_others_draw_from_the_generator_changes_no_page(cohort):
    made = pages(cohort, augment=Augment(rate=100, shift_s=3.0, noise_mv=0.1))
    first = taken(made)
    second = {}
    for batch in made:
        before = torch.get_rng_state()
        second |= {int(i): page.clone() for i, page in zip(batch.index, batch.page)}
        torch.rand(7)
        assert not torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(page, first[i]) for i, page in second.items())


def test_pages_drawn_large_are_reduced_as_a_scan_is(cohort):
    large = next(iter(pages(cohort, vary=None, drawn_at=(320, 416)))).page
    small = next(iter(pages(cohort, vary=None))).page
    assert large.shape == small.shape
    # The same ink, differently sampled: its sum agrees, its pixels nearly do.
    ink = [(1 - page).sum(dim=(1, 2, 3)) for page in (large, small)]
    torch.testing.assert_close(ink[0], ink[1], rtol=0.15, atol=0)
    assert (large - small).abs().mean() < 0.03


def test_held_pages_are_the_same_to_a_byte(cohort):
    made = pages(cohort, degrade=Degrade("print"))
    held = made.hold()
    for batch, kept in zip(made, held, strict=True):
        assert kept.page.dtype == torch.uint8
        assert (kept.page.float() / 255 - batch.page).abs().max() <= 0.5 / 255 + 1e-6


def test_other_pages_are_another_training(cohort):
    same = [pages(cohort).identity, pages(cohort).identity]
    assert same[0] == same[1]
    for other in ({"layouts": ("6x2",)}, {"vary": None}, {"degrade": Degrade("print")}, {"seed": 3},
                  {"augment": Augment(rate=100, shift_s=1.0)}, {"size": (200, 260)}):  # fmt: skip
        assert pages(cohort, **other).identity != same[0], other


def test_bad_input_is_one_sentence(cohort, tmp_path):
    with pytest.raises(InputError, match="at least one layout"):
        pages(cohort, layouts=())
    with pytest.raises(InputError, match=r"no layout '3x5'.*3x4"):
        pages(cohort, layouts=("3x5",))
    with pytest.raises(InputError, match=r"\bIII\b|\bV1\b|\baVR\b"):
        PageBatches(cohort.batches(4, leads=["I", "II"]), size=SIZE)
    short = cohort.batches(4)
    short.length = 500
    with pytest.raises(InputError, match="show 10 s, but the records are 5 s"):
        PageBatches(short, size=SIZE)
