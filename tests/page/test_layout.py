from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.page.layout import LAYOUTS, PAPERS, Layout, Style, Vary, frame, get_layout


def test_every_layout_shows_every_lead_once_and_its_strips_in_full():
    for layout in LAYOUTS.values():
        panels = layout.panels()
        shown = [p for p in panels if p.row < len(layout.rows)]
        assert sorted(p.lead for p in shown) == sorted(LEADS)
        assert all(p.seconds == layout.seconds for p in panels if p.row >= len(layout.rows))
        for row in range(layout.row_count):  # the row is filled without gap or overlap
            at = 0.0
            for p in (p for p in panels if p.row == row):
                assert p.start == at
                at += p.seconds
            assert at == layout.seconds


def test_the_usual_3x4_page_by_hand():
    panels = LAYOUTS["3x4+II"].panels()
    assert [(p.lead, p.row, p.start, p.seconds) for p in panels[:4]] == [
        ("I", 0, 0.0, 2.5), ("aVR", 0, 2.5, 2.5), ("V1", 0, 5.0, 2.5), ("V4", 0, 7.5, 2.5),
    ]  # fmt: skip
    assert (panels[-1].lead, panels[-1].row, panels[-1].seconds) == ("II", 3, 10.0)


def test_baselines_stand_on_large_boxes():
    for layout in LAYOUTS.values():
        f = frame(layout, Style(), (425, 550), Vary.none(Style()))
        assert f.pitch_mm % 5 == 0
        assert f.pitch_mm * layout.row_count <= f.height_mm - 6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: get_layout("3x4+I"), "no layout '3x4\\+I'. Did you mean '3x4"),
        (lambda: get_layout(Layout(())), "at least one row"),
        (lambda: get_layout(Layout((("I",), ()))), "a lead in each"),
        (lambda: Layout((("I", "V9"),)).panels(), "'V9' is not one of the twelve leads"),
        (lambda: dataclasses.replace(Style(), speed=0).check(), "style.speed is 0"),
        (lambda: dataclasses.replace(Style(), gain=float("nan")).check(), "style.gain"),
        (lambda: dataclasses.replace(Style(), paper="pink").check(), "no paper 'pink'"),
        (lambda: dataclasses.replace(Vary(), scale=(1.0, 0.9)).check(), "vary.scale"),
        (lambda: dataclasses.replace(Vary(), tint=-1).check(), "vary.tint"),
        (lambda: dataclasses.replace(Vary(), papers=("pink",)).check(), "no paper 'pink'"),
        (lambda: dataclasses.replace(Vary(), papers=()).check(), "vary.papers is empty"),
        (lambda: frame(LAYOUTS["3x4"], Style(), (0, 550), Vary()), "page size"),
        (lambda: frame(LAYOUTS["3x4"], Style(), (425.0, 550), Vary()), "page size"),
        (lambda: frame(LAYOUTS["3x4"], Style(), (425, 30_000), Vary()), "page size"),
        (lambda: frame(LAYOUTS["12x1"], Style(), (60, 550), Vary()), "too small"),
        (lambda: frame(LAYOUTS["3x4"], Style(), (1, 1), Vary()), "too small"),
        (lambda: frame(LAYOUTS["3x4"], Style(speed=50.0), (425, 550), Vary()), "do not fit a page 279.4 mm wide"),
    ],
)
def test_bad_input_is_one_sentence(make, says):
    with pytest.raises(InputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_papers_are_readable():
    for paper in PAPERS.values():
        light = [sum(colour) for colour in (paper.sheet, paper.minor, paper.major, paper.ink)]
        assert light == sorted(light, reverse=True)
        assert light[0] - light[3] > 2.0


def test_checking_a_layout_needs_no_torch():
    code = "import sys; from ecglib.page import LAYOUTS; assert '3x4' in LAYOUTS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
