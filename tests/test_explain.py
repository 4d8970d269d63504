"""What a page network looks at, on a network whose answer is known."""

import numpy as np
import pytest
import torch

from ecglib import datasets, explain
from ecglib.errors import InputError
from ecglib.methods.page_view import PageView
from ecglib.page import PageBatches, PageRenderer

SIZE = (112, 144)


@pytest.fixture(scope="module")
def view():
    torch.manual_seed(0)
    options = {"classes": ("A", "B"), "size": SIZE, "width": 0.125, "dim": 16, "heads": 2, "registered": False}
    return PageView("resnet18", smam=True, **options).eval()


def test_grad_cam_is_its_formula(view):
    page = torch.rand(2, 3, *SIZE)
    heat = explain.grad_cam(view, page, "B")
    tokens = view.tokens(page).detach().requires_grad_()
    view.head(view.stream.pool(tokens))[:, 1].sum().backward()
    for b in range(2):
        weight = tokens.grad[b].mean(0)  # (D,)
        each = [max(0.0, float(weight @ token)) for token in tokens[b].detach()]
        torch.testing.assert_close(heat[b].flatten(), torch.tensor(each), rtol=1e-4, atol=1e-6)
    assert heat.shape == (2, *view.backbone.grid)
    with pytest.raises(InputError, match="no class 'C'"):
        explain.grad_cam(view, page, "C")


def test_attention_is_shared_out(view):
    heat = explain.attention(view, torch.rand(2, 3, *SIZE))
    torch.testing.assert_close(heat.sum(dim=(1, 2)), torch.ones(2))


def test_a_missing_lead_is_not_drawn_and_nothing_else_changes(tmp_path):
    cohort = datasets.load("synthetic", rate=100, records=12, cache=tmp_path, progress=False)
    signal = torch.from_numpy(cohort.signal_mv())[:2].clone()
    draw = PageRenderer("6x2", rate=100, leads=cohort.leads, size=(425, 550))
    whole, box = draw(signal), draw.locate(signal).boxes[0]
    signal[:, 2] = torch.nan  # III
    without = draw(signal, check=False)
    changed = (whole != without).any(dim=1)[0].nonzero()  # (pixels, 2) y, x
    x0, _, x1, _ = box[draw.panels.index(next(p for p in draw.panels if p.lead == "III"))].tolist()
    assert len(changed) > 100
    assert x0 - 2 <= changed[:, 1].min()
    assert changed[:, 1].max() <= x1 + 2


def test_the_lead_that_is_used_is_found(tmp_path):
    """A network that answers by how dark the lower right is: only V6 of a 6x2 page stands there."""
    cohort = datasets.load("synthetic", rate=100, records=12, cache=tmp_path, progress=False)

    class Dark:
        def predict(self, page):
            ink = (1 - page[:, :, 150:, 150:]).mean(dim=(1, 2, 3))
            return torch.stack([40 * ink, -40 * ink], dim=1)

    pages = PageBatches(cohort.batches(5), layouts=("6x2",), size=(212, 275))
    p, change = explain.lead_drop(Dark(), pages)
    assert p.shape == (12, 2)
    assert change.shape == (12, 12, 2)
    mean = change.mean(axis=0)
    assert cohort.leads[int(mean[:, 0].argmin())] == "V6"
    assert (mean[:6] == 0).all()  # the limb leads stand on the left
    assert mean[11, 1] > 0


def test_what_is_chosen_to_be_shown():
    p = np.array([[0.9, 0.1], [0.2, 0.6], [0.7, 0.95]])
    truth = np.array([[1, 0], [1, 0], [0, 0]])
    assert explain.worst(p, truth, 2).tolist() == [2, 1]
    assert explain.surest(p, truth, ("A", "B")) == {"A": 0}
    change = np.zeros((3, 4, 2))
    change[0, 1, 0], change[1, 1, 0], change[2, 1, 0] = -0.2, -0.4, 5.0
    np.testing.assert_allclose(explain.by_class(change, truth), [[0, -0.3, 0, 0], [0, 0, 0, 0]])
