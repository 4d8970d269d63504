"""Which pieces of a trace move a probability, and the picture of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba

from ecglib import explain, figures
from ecglib.errors import InputError


class Peak(torch.nn.Module):
    """Says "spike" by the highest sample of lead 1, as a network that looks at nothing else would."""

    classes, rate = ("none", "spike"), 100

    def predict(self, signal):
        height = signal[:, 1].amax(dim=1)  # (B, L, T) -> (B,)
        return torch.stack([torch.zeros_like(height), height], dim=1)


def spike():
    signal = torch.zeros(3, 100)
    signal[1, 42] = 2.0
    return signal


def test_what_carries_the_evidence_is_found():
    change = explain.occlusion(Peak(), spike(), "spike", window_s=0.1)
    assert change.shape == (4, 10)
    drop = 0.5 - 1 / (1 + np.exp(-2.0))
    expected = np.zeros((4, 10))
    expected[1, 4] = expected[3, 4] = drop
    np.testing.assert_allclose(change, expected, atol=1e-6)


@pytest.mark.parametrize(("start", "window"), [(0, 4), (3, 4), (8, 4), (0, 10)])
def test_a_piece_is_bridged_by_a_straight_line(start, window):
    signal = torch.arange(20.0).reshape(2, 10) ** 2
    made = explain._bridge(signal, start, window).numpy()
    stop = min(start + window, 10)
    for lead in range(2):
        y = signal[lead].numpy()
        left = y[start - 1] if start else (y[stop] if stop < 10 else y[0])
        right = y[stop] if stop < 10 else (left if start else y[0])
        expected = [left + (right - left) * k / (stop - start + 1) for k in range(1, stop - start + 1)]
        if start or stop < 10:
            np.testing.assert_allclose(made[lead], expected, rtol=1e-6)
        assert np.ptp(np.diff(made[lead])) < 1e-4


def test_the_last_piece_may_be_shorter():
    assert explain.occlusion(Peak(), spike()[:, :95], "spike", window_s=0.1).shape == (4, 10)


@pytest.mark.parametrize("window_s", [0, 0.001, 2.0])
def test_a_window_that_cannot_be(window_s):
    with pytest.raises(InputError, match="window_s"):
        explain.occlusion(Peak(), spike(), "spike", window_s=window_s)
    with pytest.raises(InputError, match="no class 'spikes'"):
        explain.occlusion(Peak(), spike(), "spikes")


def test_the_picture_has_a_tile_for_every_piece_and_the_deepest_blue_where_it_falls_most():
    change = explain.occlusion(Peak(), spike(), "spike", window_s=0.1)
    fig = figures.trace_importance(
        spike().numpy(), change, rate=100, window_s=0.1, leads=["I", "II", "V1"], title="Evidence"
    )
    ax = fig.axes[0]
    tiles = {row: [p for p in ax.patches if p.get_label() == f"row {row}"] for row in range(4)}
    assert [len(each) for each in tiles.values()] == [10] * 4
    colour = tiles[1][4].get_facecolor()
    assert colour[2] > colour[0]  # blue
    assert tiles[0][4].get_facecolor()[:3] == pytest.approx(tiles[2][7].get_facecolor()[:3])
    lefts = [tile.get_x() for tile in tiles[1]]
    np.testing.assert_allclose(np.diff(lefts), 2.5)  # 0.1 s at 25 mm/s
    assert {text.get_text() for text in ax.texts} >= {"Evidence", "all leads", "I", "II", "V1"}
    with pytest.raises(InputError, match="does not fit 3 leads in 5 pieces"):
        figures.trace_importance(spike().numpy(), change, rate=100, window_s=0.2, leads=["I", "II", "V1"])


def test_probabilities_before_and_after_calibration():
    table = pd.DataFrame(
        {"model": [0.9, 0.2], "calibrated": [0.7, 0.3], "low": [0.5, 0.1], "high": [0.8, 0.4], "base_rate": [0.4, 0.1],
         "beyond": [True, False]}, index=["MI", "NORM"],
    )  # fmt: skip
    ax = figures.calibrated_probabilities(table).axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["as the model says"].get_xdata().tolist() == [0.9, 0.2]
    assert lines["calibrated, 95 % interval"].get_xdata().tolist() == [0.7, 0.3]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["MI *", "NORM"]
    assert to_rgba(lines["as the model says"].get_markerfacecolor()) == to_rgba("white")
    with pytest.raises(InputError, match="no class"):
        figures.calibrated_probabilities(table.iloc[:0])
