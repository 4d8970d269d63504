"""Registration: the same drawing at other margins and scales comes to the same place."""

import pytest
import torch

from ecglib import datasets
from ecglib.page import PageRenderer, Style, Vary
from ecglib.page.register import FILL, frames, ink, register

SIZE = (212, 275)


@pytest.fixture(scope="module")
def signal(tmp_path_factory):
    cohort = datasets.load("synthetic", rate=100, records=24, cache=tmp_path_factory.mktemp("c"), progress=False)
    return torch.from_numpy(cohort.signal_mv()), cohort.leads


@pytest.mark.parametrize("layout", ["3x4+II", "3x4", "6x2", "12x1"])
def test_rows_and_columns_come_to_one_place(signal, layout):
    """Where the panels are is known to the renderer; registration has to find it from the pixels."""
    x, leads = signal
    draw = PageRenderer(layout, rate=100, leads=leads, size=SIZE, vary=Vary())
    page, box = draw(x, seed=3), draw.locate(x, seed=3).boxes  # (B, 3, H, W), (B, N, 4)
    left, right, top, bottom = (edge[:, None] for edge in frames(page).unbind(1))
    raw = torch.stack([box[..., 0] / SIZE[1], (box[..., 1] + box[..., 3]) / 2 / SIZE[0]], dim=2)  # (B, N, 2)
    moved = torch.stack([(raw[..., 0] - left) / (right - left), (raw[..., 1] - top) / (bottom - top)], dim=2)
    pixels = torch.tensor([SIZE[1], SIZE[0]])
    before, after = ((each * pixels).std(dim=0).max(dim=0).values for each in (raw, moved))  # over the records
    assert (before > 8).all()
    assert (after < 4).all()


def test_the_drawing_fills_the_page(signal):
    x, leads = signal
    page = PageRenderer("3x4+II", rate=100, leads=leads, size=SIZE, vary=Vary())(x, seed=1)
    again = frames(register(page))  # (B, 4)
    torch.testing.assert_close(again[:, 1] - again[:, 0], torch.full((len(x),), FILL[0]), atol=0.05, rtol=0)
    torch.testing.assert_close(again[:, 3] - again[:, 2], torch.full((len(x),), FILL[1]), atol=0.05, rtol=0)


@pytest.mark.parametrize("paper", ["red", "green", "grey"])
def test_the_grid_is_no_ink(signal, paper):
    x, leads = signal
    style = {"paper": paper, "pulse": False, "names": False, "scales": False}
    empty = PageRenderer("3x4", rate=100, leads=leads, size=SIZE, style=Style(**style))
    flat = torch.full_like(x[:1], torch.nan)  # no trace at all
    drawn = ink(empty(x[:1])).square().sum()
    assert ink(empty(flat, check=False)).square().sum() < 0.02 * drawn


def test_an_empty_page_stays_about_as_it_is():
    page = torch.full((2, 3, *SIZE), 0.9)
    torch.testing.assert_close(register(page), page)
    assert torch.isfinite(register(torch.rand(2, 3, *SIZE))).all()
