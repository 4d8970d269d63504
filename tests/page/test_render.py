"""The page's geometry against computations that share no code with it, and against matplotlib."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.page import LAYOUTS, PAPERS, Layout, PageRenderer, Style, Vary

BARE = Style(pulse=False, names=False, scales=False)
SIZE = (425, 550)


def beats(records: int, rate: int, seconds: float = 10.0) -> torch.Tensor:
    """(records, 12, T) mV: narrow QRS, broad T, another amplitude in each lead; any rate samples the same curve."""
    t = np.arange(int(seconds * rate)) / rate
    out = np.empty((records, 12, len(t)), dtype=np.float32)
    for b in range(records):
        phase = (t * (1.0 + 0.13 * b) + 0.31) % 1.0
        for lead in range(12):
            qrs = (1.6 - 0.2 * lead) * np.exp(-(((phase - 0.4) / 0.014) ** 2))
            out[b, lead] = qrs + 0.25 * np.exp(-(((phase - 0.65) / 0.06) ** 2)) + 0.05 * np.sin(7 * t + lead)
    return torch.from_numpy(out)


def ink_share(page: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """(H, W) coverage: where between sheet and ink the page's first channel lies."""
    ink = PAPERS["red"].ink[0]
    return (sheet[0] - page[0]) / (sheet[0] - ink)


def empty_sheet(draw: PageRenderer) -> np.ndarray:
    """What the renderer draws under the trace: the page of a signal far off it."""
    return draw(torch.full((1, 12, 1000), 1e4))[0].numpy()


def polylines(signal: np.ndarray, rate: float, layout: Layout, size, style: Style) -> list[np.ndarray]:
    """Each panel's trace (K, 2) in pixels, from the definition of paper speed and gain and nothing else."""
    ppm = size[1] / style.width_mm
    rows = len(layout.rows) + len(layout.strips)
    pitch = ((size[0] / ppm - 6) / rows) // 5 * 5
    left = (style.width_mm - layout.seconds * style.speed) / 2
    top = (size[0] / ppm - rows * pitch) / 2
    lines = []
    for r, row in enumerate([*layout.rows, *[(name,) for name in layout.strips]]):
        for c, name in enumerate(row):
            begin, end = (k * layout.seconds / len(row) for k in (c, c + 1))
            t = np.unique(np.concatenate([[begin], np.arange(math.ceil(begin * rate), end * rate) / rate, [end]]))
            t = t[t <= end]
            mv = np.interp(t, np.arange(signal.shape[1]) / rate, signal[LEADS.index(name)])
            lines.append(
                np.stack([(left + style.speed * t) * ppm, (top + (r + 0.5) * pitch - style.gain * mv) * ppm], 1)
            )
    return lines


def distance_coverage(lines: list[np.ndarray], half: float, size, over: int = 6) -> np.ndarray:
    """(H, W) coverage by a round pen: at over x over points of each pixel, is a segment nearer than `half`?"""
    fine = np.zeros((size[0] * over, size[1] * over), dtype=bool)
    for line in lines:
        for (x0, y0), (x1, y1) in pairwise(line):
            c0, c1 = (int((x + d) * over) for x, d in ((min(x0, x1), -half - 1), (max(x0, x1), half + 1)))
            r0, r1 = (int((y + d) * over) for y, d in ((min(y0, y1), -half - 1), (max(y0, y1), half + 1)))
            c0, r0 = max(c0, 0), max(r0, 0)
            x, y = np.meshgrid((np.arange(c0, c1) + 0.5) / over, (np.arange(r0, r1) + 0.5) / over)
            along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
            along = along.clip(0, 1)
            near = (x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2 <= half**2
            fine[r0:r1, c0:c1] |= near[: fine.shape[0] - r0, : fine.shape[1] - c0]
    return fine.reshape(size[0], over, size[1], over).mean((1, 3))


def column_centres(coverage: np.ndarray) -> np.ndarray:
    """(W,) mean y of each column's ink; NaN where there is little."""
    weight = coverage.sum(0)
    y = np.arange(coverage.shape[0]) + 0.5
    return np.where(weight > 0.2, (coverage * y[:, None]).sum(0) / np.maximum(weight, 1e-9), np.nan)


def distance_apart(ours: np.ndarray, theirs: np.ndarray, width: float) -> np.ndarray:
    """How far apart two drawings of a stroke are in each column, in px, at right angles to the stroke.

    A stroke of slope s puts width * sqrt(1 + s^2) of ink into a column, and vertical distances are as much longer.
    The first and last columns are left out: pens end differently.
    """
    steep = np.maximum(theirs.sum(0) / width, 1)
    apart = np.abs(column_centres(ours) - column_centres(theirs)) / steep
    return apart[~np.isnan(apart)][2:-2]


# --------------------------------------------------------------------------------------------------------- geometry
@pytest.mark.parametrize(("rate", "size"), [(100, SIZE), (500, SIZE), (100, (850, 1100))])
def test_the_trace_lies_where_a_round_pen_would_draw_it(rate, size):
    layout = Layout((("I", "V2"), ("aVR", "V5")), seconds=10.0)
    signal = beats(1, rate)
    draw = PageRenderer(layout, rate=rate, leads=LEADS, size=size, style=BARE)
    ours = ink_share(
        draw(signal)[0].numpy(), empty_sheet(PageRenderer(layout, rate=100, leads=LEADS, size=size, style=BARE))
    )
    half = 0.5 * BARE.line_mm * size[1] / BARE.width_mm
    lines = polylines(signal[0].numpy(), rate, layout, size, BARE)
    truth = distance_coverage(lines, half, size)
    assert np.abs(ours - truth).sum() / truth.sum() < 0.11  # share of ink that is elsewhere; the 6 x 6 points err too
    assert abs(ours.sum() / truth.sum() - 1) < 0.03
    for row in range(2):
        band = slice(row * size[0] // 2, (row + 1) * size[0] // 2)
        apart = distance_apart(ours[band], truth[band], 2 * half)
        assert len(apart) > 0.95 * 250 / 279.4 * size[1]
        assert apart.max() < 0.35
        assert apart.mean() < 0.03


def test_the_trace_lies_where_matplotlib_draws_it():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size, rate = (850, 1100), 500
    layout = LAYOUTS["3x4+II"]
    signal = beats(1, rate)
    draw = PageRenderer(layout, rate=rate, leads=LEADS, size=size, style=BARE)
    sheet = empty_sheet(PageRenderer(layout, rate=100, leads=LEADS, size=size, style=BARE))
    ours = ink_share(draw(signal)[0].numpy(), sheet)
    figure = Figure(figsize=(size[1] / 100, size[0] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[1]), ylim=(size[0], 0))
    axes.set_axis_off()
    points = BARE.line_mm * size[1] / BARE.width_mm * 72 / 100
    for line in polylines(signal[0].numpy(), rate, layout, size, BARE):
        axes.plot(*line.T, "k", linewidth=points, solid_capstyle="butt", solid_joinstyle="round", snap=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    theirs = 1 - np.asarray(canvas.buffer_rgba())[..., 0] / 255.0
    assert np.abs(ours - theirs).sum() / theirs.sum() < 0.10
    assert np.abs(ours - theirs).mean() < 0.002
    edges = np.linspace(0, size[0], 5).astype(int)
    for low, high in pairwise(edges):
        apart = distance_apart(ours[low:high], theirs[low:high], BARE.line_mm * size[1] / BARE.width_mm)
        assert len(apart) > 900
        assert apart.max() < 0.5
        assert apart.mean() < 0.04


@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0, 2.5, 10.0, 60.0])
def test_a_stroke_has_its_width_at_any_slope(slope):
    """Ten triangles: their ink is length times width, within the octagon's 8 % and the overlap where strokes meet."""
    style = dataclasses.replace(BARE, line_mm=0.5)
    draw = PageRenderer(Layout((("I",),)), rate=100, leads=LEADS, size=(850, 1100), style=style)
    ppm = 1100 / style.width_mm
    half_run = 0.5 * style.speed * ppm  # px across in half a second
    height = min(slope * half_run, 600.0)
    run = height / slope if slope else half_run  # steep ones go up at once and rest
    t = np.arange(1000) / 100 % 1
    up = np.interp(t * 2 * half_run, [0, run, 2 * half_run - run, 2 * half_run], [0, height, height, 0])
    if slope > 20:  # between two samples
        up = np.where((t >= 0.25) & (t < 0.75), height, 0.0)
        run = style.speed * ppm / 100
    mv = torch.as_tensor((up - height / 2) / (style.gain * ppm), dtype=torch.float32).expand(1, 12, -1)
    ours = ink_share(draw(mv)[0].numpy(), empty_sheet(draw)).sum()
    length = 20 * (math.hypot(run, height) + half_run - run)
    assert 0.92 < ours / (length * 0.5 * ppm) < 1.03


def test_pulse_is_1_mv_by_a_fifth_of_a_second():
    size = (1700, 2200)
    style = Style(names=False, scales=False)
    draw = PageRenderer("3x4", rate=100, leads=LEADS, size=size, style=style)
    share = ink_share(empty_sheet(draw), empty_sheet(PageRenderer("3x4", rate=100, leads=LEADS, size=size, style=BARE)))
    # The grid differs in phase between the two sheets, so look for ink, which is much darker than any grid line.
    dark = empty_sheet(draw)[0] < 0.35
    ppm = size[1] / style.width_mm
    rows = np.flatnonzero(dark.sum(1) > 3 * ppm)  # level parts: top of the pulse, lead-in and lead-out
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 2) + 1)
    assert len(groups) == 3 * 2  # three rows, a top and a foot each
    for top, foot in zip(groups[::2], groups[1::2]):
        assert abs((foot.mean() - top.mean()) - 10 * ppm) < 0.6
    columns = np.flatnonzero(dark.sum(0) > 20 * ppm)  # upright parts, of three rows
    left, right = np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)
    assert abs((right.mean() - left.mean()) - 5 * ppm) < 0.6
    assert share.shape == size


def test_grid_has_its_periods_and_the_trace_begins_on_a_large_box():
    size = (1700, 2200)
    draw = PageRenderer("3x4", rate=100, leads=LEADS, size=size, style=BARE)
    sheet = empty_sheet(draw)
    ppm = size[1] / BARE.width_mm
    profile = 1 - sheet[1].mean(0)  # green dims most under red lines
    at = np.arange(size[1]) + 0.5
    for period_mm in (1.0, 5.0):
        wave = np.exp(-2j * np.pi * at / (period_mm * ppm))
        power = abs((profile - profile.mean()) @ wave)
        off = abs((profile - profile.mean()) @ np.exp(-2j * np.pi * at / (period_mm * ppm * 1.3)))
        assert power > 10 * off
    x0 = float(draw.locate(beats(1, 100)).boxes[0, 0, 0])
    dark = np.argmax(profile[int(x0) - 2 : int(x0) + 3]) + int(x0) - 2 + 0.5
    assert abs(dark - x0) <= 0.75  # a 5 mm line stands where the trace begins


def test_locate_agrees_with_the_definition_and_with_the_ink():
    signal = beats(3, 100)
    for name, layout in LAYOUTS.items():
        draw = PageRenderer(name, rate=100, leads=LEADS, style=BARE)
        places = draw.locate(signal)
        lines = polylines(signal[1].numpy(), 100, layout, SIZE, BARE)
        assert places.leads == tuple(p.lead for p in layout.panels())
        for n, line in enumerate(lines):
            ours = places.traces[1, n].numpy()
            ours = ours[~np.isnan(ours[:, 0])]
            assert len(ours) == round(layout.panels()[n].seconds * 100)
            np.testing.assert_allclose(ours, line[: len(ours)], atol=2e-3)
            box = places.boxes[1, n].numpy()
            np.testing.assert_allclose(box[[0, 2]], line[[0, -1], 0], atol=2e-3)
        page = draw(signal)[1, 0].numpy()
        x, y = places.traces[1].reshape(-1, 2).T.numpy()
        seen = page[y[~np.isnan(y)].astype(int), x[~np.isnan(x)].astype(int)]
        assert (seen < 0.75).mean() > 0.97  # paper and grid are lighter


def test_500_and_100_hz_of_the_same_lines_give_the_same_page():
    slow = beats(1, 100)
    t = np.arange(5000) / 500
    fast = np.stack([np.interp(t, np.arange(1000) / 100, lead) for lead in slow[0].numpy()])[None]
    pages = [
        PageRenderer("6x2", rate=rate, leads=LEADS)(torch.as_tensor(x, dtype=torch.float32))
        for rate, x in ((100, slow), (500, fast))
    ]
    assert (pages[0] - pages[1]).abs().max() < 0.02


def test_what_is_off_the_page_is_cut_and_nothing_wraps():
    draw = PageRenderer("3x4", rate=100, leads=LEADS, style=BARE)
    sheet = empty_sheet(draw)
    high = torch.zeros(1, 12, 1000)
    high[:, 0, 100:110] = 1e6  # lead I, top left: a wall up to the page's edge
    page = draw(high)[0].numpy()
    flat = draw(torch.zeros(1, 12, 1000))[0].numpy()
    changed = np.abs(page - flat).max(0) > 1e-6
    rows, columns = np.nonzero(changed)
    x0 = float(draw.locate(high).boxes[0, 0, 0])
    ppm = SIZE[1] / BARE.width_mm
    assert rows.min() == 0
    assert rows.max() < SIZE[0] // 3
    assert columns.min() > x0 + 24 * ppm
    assert columns.max() < x0 + 29 * ppm
    assert np.abs(page - sheet).max() > 0.5


# ----------------------------------------------------------------------------------------- two ways to one page, dtypes
@pytest.mark.parametrize("vary", [None, Vary()])
@pytest.mark.parametrize("layout", ["3x4+II", "12x1"])
def test_the_dense_and_the_sparse_way_draw_the_same_bits(vary, layout):
    signal = 3 * beats(3, 100)  # tall enough for rows to cross
    draw = PageRenderer(layout, rate=100, leads=LEADS, vary=vary)
    sparse = draw(signal, seed=7)
    dense = draw(signal.clone().requires_grad_(), seed=7)
    assert dense.requires_grad
    assert torch.equal(sparse, dense.detach())
    assert 0 <= float(sparse.min()) < float(sparse.max()) <= 1


@pytest.mark.parametrize("vary", [None, Vary()])
def test_bytes_are_the_same_page(vary):
    signal = beats(10, 100)  # more than one chunk
    pages = PageRenderer(rate=100, leads=LEADS, vary=vary)(signal, seed=1)
    raw = PageRenderer(rate=100, leads=LEADS, vary=vary, dtype=torch.uint8)(signal, seed=1)
    assert raw.dtype == torch.uint8
    assert (raw.float() / 255 - pages).abs().max() < 2.5 / 255


def test_out_is_written_and_reused_pages_are_clean():
    draw = PageRenderer(rate=100, leads=LEADS)
    out = torch.full((9, 3, *SIZE), 0.123)
    first = draw(beats(9, 100), out=out)
    assert first.data_ptr() == out.data_ptr()
    again = draw(beats(9, 100) * -1)
    assert torch.equal(draw(beats(9, 100) * -1, out=out), again)  # nothing left of the first trace
    with pytest.raises(InputError, match="`out` must be"):
        draw(beats(9, 100), out=out[:8])
    with pytest.raises(InputError, match="`out` must be"):
        draw(beats(9, 100), out=out.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2))


def test_gradient_is_the_slope():
    """A smooth functional of the page, along random directions, against central differences."""
    torch.manual_seed(0)
    draw = PageRenderer("3x4", rate=100, leads=LEADS)
    signal = beats(1, 100).requires_grad_()
    y, x = torch.meshgrid(torch.linspace(0, 9, SIZE[0]), torch.linspace(0, 9, SIZE[1]), indexing="ij")
    weight = torch.sin(y * 7) * torch.cos(x)

    def value(s: torch.Tensor) -> torch.Tensor:
        return (draw(s)[:, 0] * weight).double().sum()

    value(signal).backward()
    drawn = {p.lead for p in draw.panels}
    assert drawn == set(LEADS)
    assert (signal.grad.abs().sum(-1) > 0).all()  # every lead is on the page
    assert float(signal.grad[0, 0, 300:].abs().max()) == 0  # lead I is shown for its first 2.5 s only
    steepest = signal.grad / signal.grad.abs().max()
    for direction in (steepest, steepest * (torch.rand(1, 12, 1000) > 0.5), steepest.roll(1, -1) + steepest):
        step = 0.001  # mV, a fiftieth of a pixel: the pen touches with the same vertex on both sides
        with torch.no_grad():
            slope = float(value(signal + step * direction) - value(signal - step * direction)) / (2 * step)
        expected = float((signal.grad * direction).sum())
        assert expected == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("vary", [None, Vary()])
def test_drawing_never_asks_the_device(vary, dtype, host_waits):
    """On the meta device there are no data: whatever needed a value on the host would raise."""
    draw = PageRenderer(rate=100, leads=LEADS, vary=vary, dtype=dtype)
    signal, index = torch.empty(2, 12, 1000, device="meta"), torch.empty(2, dtype=torch.int64, device="meta")
    draw(signal, index=index)  # constants are copied to the device once
    with host_waits() as found:
        pages = draw(signal, index=index, seed=1)
    assert pages.shape == (2, 3, *SIZE)
    assert pages.device.type == "meta"
    assert found == []


@pytest.mark.parametrize("vary", [None, Vary()])
def test_drawing_with_gradients_reads_no_value_on_the_host(vary, host_waits):
    """The way of accelerators, on a processor with data: nothing that an accelerator would have to be waited for."""
    draw = PageRenderer(rate=100, leads=LEADS, vary=vary)
    signal = beats(2, 100).requires_grad_()
    draw(signal, check=False)
    with host_waits() as found:
        draw(signal, check=False, seed=1)
    assert found == []
    with host_waits() as found:
        draw(signal, check=True, seed=1)
    assert found  # the check asks: so the counting counts


# ----------------------------------------------------------------------------------------------------------- variation
def test_a_records_page_depends_on_seed_and_index_only():
    draw = PageRenderer(rate=100, leads=LEADS, vary=Vary())
    signal = beats(12, 100)
    index = torch.arange(100, 112)
    pages = draw(signal, index=index, seed=3)
    assert torch.equal(pages, draw(signal, index=index, seed=3))
    order = torch.tensor([7, 2, 11])
    assert torch.equal(draw(signal[order], index=index[order], seed=3), pages[order])
    assert not torch.equal(draw(signal, index=index, seed=4)[0], pages[0])
    assert not torch.equal(draw(signal[:1], index=index[1:2], seed=3), pages[:1])


def test_variation_stays_in_its_ranges_and_fills_them():
    vary = Vary(scale=(0.7, 0.9), line_mm=(0.3, 0.6), row_gap=(0.9, 1.0))
    draw = PageRenderer("3x4", rate=100, leads=LEADS, vary=vary)
    signal = torch.zeros(400, 12, 1000)
    boxes = draw.locate(signal, seed=5).boxes
    ppm = SIZE[1] / Style().width_mm
    scale = (boxes[:, 3, 2] - boxes[:, 0, 0]) / (250 * ppm)
    assert 0.7 <= float(scale.min()) < 0.71
    assert 0.89 < float(scale.max()) <= 0.9 + 1e-5
    assert float(boxes[:, 0, 0].min()) >= 9 * ppm * 0.7 - 1e-3  # the pulse stays on the page
    assert float(boxes[..., 2].max()) <= SIZE[1] + 1e-3
    assert float(boxes[..., 1].min()) >= -1e-3
    assert float(boxes[..., 3].max()) <= SIZE[0] + 1e-3
    assert float(boxes[:, 0, 0].std()) > 10
    assert float(boxes[:, 0, 1].std()) > 5


def test_without_variation_all_pages_are_alike():
    draw = PageRenderer(rate=100, leads=LEADS)
    one = beats(1, 100)
    pages = draw(one.expand(3, -1, -1), index=torch.tensor([5, 6, 7]), seed=9)
    assert torch.equal(pages[0], pages[1])
    assert torch.equal(pages[0], draw(one)[0])


def test_leads_are_found_by_name():
    draw = PageRenderer(rate=100, leads=LEADS)
    signal = beats(1, 100)
    turned = PageRenderer(rate=100, leads=["Z", *(name.upper() for name in reversed(LEADS))])
    padded = torch.cat([torch.zeros(1, 1, 1000), signal.flip(1)], dim=1)
    assert torch.equal(draw(signal), turned(padded))


# ----------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"rate": 0}, "rate is 0"),
        ({"rate": -100}, "rate is -100"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": "100"}, "rate is '100'"),
        ({"leads": ["I", "II"]}, "lead aVR is missing; the leads present are I, II"),
        ({"layout": "4x3"}, "no layout '4x3'"),
        ({"dtype": torch.float16}, "not torch.float16"),
        ({"size": (1, 1)}, "too small"),
    ],
)
def test_bad_settings(kwargs, says):
    with pytest.raises(InputError, match=says):
        PageRenderer(**({"rate": 100, "leads": LEADS} | kwargs))


def test_bad_signals():
    draw = PageRenderer(rate=100, leads=LEADS)
    with pytest.raises(InputError, match="last 5 s at 100 Hz where the layout shows 10 s"):
        draw(torch.zeros(1, 12, 500))
    with pytest.raises(InputError, match="last 2 s at 500 Hz"):  # 100 Hz data said to be 500 Hz
        PageRenderer(rate=500, leads=LEADS)(torch.zeros(1, 12, 1000))
    with pytest.raises(InputError, match=r"shape \(1, 2, 1000\) where \(records, 12 leads, samples\)"):
        draw(torch.zeros(1, 2, 1000))
    with pytest.raises(InputError, match=r"shape \(12, 1000\)"):
        draw(torch.zeros(12, 1000))
    with pytest.raises(InputError, match="give them in mV"):
        draw(torch.zeros(1, 12, 1000, dtype=torch.int16))
    with pytest.raises(InputError, match="`index` has the shape"):
        draw(torch.zeros(2, 12, 1000), index=torch.arange(3))
    with pytest.raises(InputError, match="no `out`"):
        PageRenderer(rate=100, leads=LEADS, dtype=torch.uint8)(torch.zeros(1, 12, 1000, requires_grad=True))
    for bad in (math.nan, math.inf):
        signal = torch.zeros(3, 12, 1000)
        signal[1, 4, 7] = bad
        with pytest.raises(InputError, match="Record 41 holds samples that are NaN or infinite"):
            draw(signal, index=torch.tensor([40, 41, 42]))


def test_unchecked_nan_leaves_a_gap_and_nothing_else():
    draw = PageRenderer("12x1", rate=100, leads=LEADS, style=BARE)
    signal = torch.zeros(1, 12, 1000)
    whole = draw(signal)
    signal[0, 3, 500:520] = math.nan
    for page in (draw(signal, check=False), draw(signal.requires_grad_(), check=False).detach()):
        changed = (page - whole).abs().amax((0, 1))
        assert page.isfinite().all()
        assert 0 < int((changed.amax(0) > 0).sum()) <= 13  # columns: 0.2 s at about 49 px/s, and the pen
        assert float(page.min()) >= 0


def test_no_records_no_pages():
    assert PageRenderer(rate=100, leads=LEADS)(torch.zeros(0, 12, 1000)).shape == (0, 3, *SIZE)


def test_real_records_look_like_their_signal(shared_data):
    """Lead II of real 500 Hz records, read back from the page column by column, follows the signal."""
    import wfdb

    folder = shared_data / "ptb-xl-raw" / "records500" / "00000"
    records = [wfdb.rdrecord(str(path.with_suffix(""))) for path in sorted(folder.glob("*.hea"))[:4]]
    signal = torch.tensor(np.stack([r.p_signal.T for r in records]), dtype=torch.float32)
    draw = PageRenderer(Layout((("II",),)), rate=500, leads=records[0].sig_name, size=(850, 1100), style=BARE)
    pages = draw(signal).numpy()
    sheet = draw(torch.full((1, 12, 5000), 1e4))[0].numpy()
    for page, traces in zip(pages, draw.locate(signal).traces[:, 0].numpy()):
        read = column_centres(ink_share(page, sheet))
        x = np.arange(1100) + 0.5
        inside = (x > traces[0, 0] + 2) & (x < traces[-1, 0] - 2)
        truth = np.interp(x, traces[:, 0], traces[:, 1])
        apart = np.abs(read - truth)[inside]
        assert np.nanmedian(apart) < 0.25
        assert np.isnan(apart).mean() < 0.01
