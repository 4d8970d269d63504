from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.page import DESTROYS, EFFECTS, PRESETS, Degrade, PageRenderer
from ecglib.page import effects as fx

SIZE = (170, 220)


@pytest.fixture(scope="module")
def pages() -> torch.Tensor:
    t = torch.arange(1000) / 100
    signal = torch.exp(-((((t % 0.9) - 0.4) / 0.02) ** 2)).expand(4, 12, -1).contiguous()
    return PageRenderer("3x4", rate=100, leads=LEADS, size=SIZE)(signal)


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_does_nothing_at_0_more_at_1_and_is_its_records_own(name, pages):
    weak, strong = Degrade({name: (0.3, 0.3)}), Degrade({name: (1.0, 1.0)})
    a, b = weak(pages, seed=1), strong(pages, seed=1)
    assert a.shape == b.shape == pages.shape
    assert a.dtype == torch.float32
    for x in (a, b):
        assert x.isfinite().all()
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
    small, large = float((a - pages).abs().mean()), float((b - pages).abs().mean())
    assert 5e-5 < small < large
    # The same records in another batch and order, the same again, another seed.
    index = torch.arange(4)
    turned = strong(pages.flip(0), index=index.flip(0), seed=1).flip(0)
    assert (turned - b).abs().max() < 2e-5  # batched matrix products may differ in the last bit
    assert torch.equal(strong(pages, seed=1), b)
    if name not in ("blur", "low_resolution", "jpeg"):  # these have nothing but their severity to draw
        assert not torch.allclose(strong(pages, seed=2), b, atol=1e-3)
        assert not torch.allclose(strong(pages[:1], index=index[1:2], seed=1), b[:1], atol=1e-3)


@pytest.mark.parametrize("name", EFFECTS)
def test_severity_0_leaves_a_record_alone_beside_one_that_is_degraded(name, pages):
    severity = torch.tensor([0.0, 1.0, 0.0, 0.5])
    generator = torch.Generator().manual_seed(0)
    if name in ("rotation", "perspective"):
        matrix = getattr(fx, name)(severity, torch.rand(4, 2, generator=generator), SIZE[0] / SIZE[1])
        out = fx.warp(pages, matrix, torch.full((4, 3), 0.5))
    else:
        out = getattr(fx, name)(pages, severity, torch.rand(4, 15, generator=generator))
    assert (out[[0, 2]] - pages[[0, 2]]).abs().max() < 1e-3
    assert (out[[1, 3]] - pages[[1, 3]]).abs().amax((1, 2, 3)).min() > 0.02


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_the_ink_darker_than_the_paper(preset, pages):
    degrade = Degrade(preset)
    out = degrade(pages, seed=4)
    for name, severity in degrade.severities(torch.arange(64), seed=4).items():
        low, high = PRESETS[preset][name]
        assert low <= float(severity.min()) <= float(severity.max()) <= high
        assert float(severity.max()) > low + 0.8 * (high - low)
    assert (out - pages).abs().mean() > 0.002
    light = out.mean(1).flatten(1)
    assert (light.quantile(0.5, dim=1) - light.amin(1) > 0.15).all()


def test_the_presets_grow_harder(pages):
    harm = [float((Degrade(name)(pages, seed=0) - pages).abs().mean()) for name in ("print", "scan", "photo")]
    assert harm == sorted(harm)


def test_move_follows_the_page():
    """A dot drawn on the page is found where `move` says."""
    degrade = Degrade({"rotation": (1, 1), "perspective": (1, 1)})
    points = torch.tensor([[60.0, 40.0], [160.0, 120.0], [110.0, 85.0]])
    for k in range(6):
        index = torch.tensor([k])
        for point in points:
            page = torch.zeros(1, 3, *SIZE)
            y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
            page[0, :] = torch.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 18)
            out = degrade(page, index=index, seed=3)[0, 0]
            out = out * (out > 0.88)  # brighter than any table
            found = torch.stack([(out * x).sum(), (out * y).sum()]) / out.sum()
            assert (found - degrade.move(point[None], SIZE, index=index, seed=3)[0]).norm() < 0.5


def test_a_quarter_of_the_angle_by_hand():
    """Rotation: where (x, y) goes, in degrees and px, from the definition."""
    severity, u = torch.tensor([1.0]), torch.tensor([[1.0]])
    matrix = fx.invert(fx.rotation(severity, u, 1.0))
    moved = fx.apply_homography(matrix, torch.tensor([[[1.0, 0.0]]]))[0, 0]
    assert math.degrees(math.atan2(float(moved[1]), float(moved[0]))) == pytest.approx(-12, abs=1e-3)
    assert float(moved.norm()) == pytest.approx(1, abs=1e-5)


def test_perspective_keeps_the_sheet_in_the_image():
    u = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    for aspect in (0.5, SIZE[0] / SIZE[1], 1.5):
        forward = fx.invert(fx.perspective(torch.ones(200), u, aspect))
        corners = torch.tensor([[x, y] for x in (-1.0, 1.0) for y in (-aspect, aspect)]).expand(200, 4, 2)
        seen = fx.apply_homography(forward, corners)
        assert float(seen[..., 0].abs().max()) <= 1 + 1e-5
        assert float(seen[..., 1].abs().max()) <= aspect + 1e-5
        assert float((seen - corners).norm(dim=-1).amax(1).min()) > 0.02


def test_blur_is_scipys(pages):
    from scipy.ndimage import gaussian_filter

    severity = torch.tensor([1.0, 0.5, 0.8, 1.0])
    out = fx.blur(pages, severity, torch.zeros(4, 0)).numpy()
    for k, s in enumerate(severity.tolist()):
        want = np.stack(
            [gaussian_filter(c, s * fx.MAX_BLUR * SIZE[1], mode="nearest", truncate=3) for c in pages[k].numpy()]
        )
        assert np.abs(out[k] - want).max() < 0.03


def test_low_resolution_by_plain_loops():
    """One column of pixels: areas averaged, then read linearly between coarse centres."""
    x = torch.rand(1, 1, 23, 1, generator=torch.Generator().manual_seed(0))
    factor = 2.7
    got = fx._coarse(x, torch.tensor([factor])).flatten()
    fine = x.flatten().double()

    def area(low: float, high: float) -> float:
        low, high = max(low, 0.0), min(high, 23.0)
        total = sum(float(fine[i]) * max(0.0, min(high, i + 1) - max(low, i)) for i in range(23))
        return total / (high - low)

    for i in range(23):
        middle = (i + 0.5) / factor - 0.5
        left = math.floor(middle)
        share = middle - left
        cells = [
            area((left + k) * factor, (left + k + 1) * factor) if 0 <= left + k < 23 / factor else None for k in (0, 1)
        ]
        a, b = (cells[0] if cells[0] is not None else cells[1]), (cells[1] if cells[1] is not None else cells[0])
        assert float(got[i]) == pytest.approx((1 - share) * a + share * b, abs=1e-5), i


def test_jpeg_has_its_blocks_and_kornias_model_is_near(pages):
    severity = torch.tensor([0.9, 0.6, 0.3, 0.0])
    nothing = torch.zeros(4, 0)
    out = fx.jpeg(pages, severity, nothing)
    assert torch.equal(out[3], pages[3])
    harm = (out - pages).abs().mean((1, 2, 3))
    assert (harm[:-1] > harm[1:]).all()
    # At low quality most 8 x 8 blocks of brightness keep a few of their 64 coefficients: the rest of the DCT is zero.
    from scipy.fft import dctn

    light = (out[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).numpy() * 255
    blocks = light[:168, :216].reshape(21, 8, 27, 8).transpose(0, 2, 1, 3)
    kept = (np.abs(dctn(blocks, axes=(2, 3), norm="ortho")) > 5).sum((2, 3))
    assert np.median(kept) <= 8
    modelled = fx.jpeg(pages.clone().requires_grad_(), severity, nothing).detach()
    for k in range(3):
        assert (modelled[k] - out[k]).abs().mean() < 0.8 * harm[k]  # nearer to each other than to the original


def test_shadow_and_folds_darken(pages):
    u = torch.rand(4, 15, generator=torch.Generator().manual_seed(0))
    dark = fx.shadow(pages, torch.ones(4), u[:, :4])
    assert (dark <= pages + 1e-6).all()
    assert float((dark / pages.clamp(min=0.05)).min()) < 0.5
    assert float((dark / pages.clamp(min=0.05)).amax((1, 2, 3)).min()) > 0.75  # one side stays in the light


def test_noise_has_its_spread_and_no_pattern_shared_by_records():
    grey = torch.full((3, 3, 200, 200), 0.5)
    out = fx.noise(grey, torch.ones(3), torch.rand(3, 3, generator=torch.Generator().manual_seed(1))) - 0.5
    assert float(out.std()) == pytest.approx(fx.MAX_NOISE, rel=0.03)
    flat = out.flatten(1)
    assert float(torch.corrcoef(flat).fill_diagonal_(0).abs().max()) < 0.02


def test_bytes_are_taken(pages):
    raw = (pages * 255).round().to(torch.uint8)
    assert (Degrade("scan")(raw) - Degrade("scan")(raw.float() / 255)).abs().max() < 1e-6


def test_the_table_of_labels_covers_every_effect_and_names_ptb_xls_statements(shared_data):
    import pandas as pd

    assert set(DESTROYS) == set(EFFECTS)
    known = set(pd.read_csv(shared_data / "ptb-xl-raw" / "scp_statements.csv", index_col=0).index)
    known |= {"NORM", "MI", "STTC", "CD", "HYP"}
    for labels, why in DESTROYS.values():
        assert labels.split()
        assert set(labels.split()) <= known
        assert len(why) > 10
    assert Degrade({"rotation": (0, 1)}).may_destroy() == set(DESTROYS["rotation"][0].split())
    assert Degrade({"rotation": (0, 0)}).may_destroy() == frozenset()
    for preset in PRESETS.values():
        assert set(preset) <= set(EFFECTS)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("foto", "preset 'foto'. Did you mean 'photo'"),
        ({"rotate": (0, 1)}, "no degradation 'rotate'. Did you mean 'rotation'"),
        ({"rotation": (0.5, 0.2)}, "severity of 'rotation'"),
        ({"rotation": (0, 1.5)}, "severity of 'rotation'"),
        ({"rotation": 0.5}, "needs two numbers"),
    ],
)
def test_bad_settings(what, says):
    with pytest.raises(InputError, match=says):
        Degrade(what)


def test_bad_pages(pages):
    with pytest.raises(InputError, match="pages have the shape"):
        Degrade("scan")(pages[0])
    with pytest.raises(InputError, match="`index` has the shape"):
        Degrade("scan")(pages, index=torch.arange(2))


def test_whole_batches_as_on_accelerators_and_for_gradients_are_degraded_alike(pages):
    """One by one on a processor, all together where gradients are wanted; jpeg is modelled there, so left out."""
    degrade = Degrade({name: (0.1, 0.9) for name in EFFECTS if name not in ("jpeg", "folds")})
    together = degrade(pages.clone().requires_grad_(), seed=2)
    assert together.requires_grad
    assert (together.detach() - degrade(pages, seed=2)).abs().max() < 0.5 / 255
    together.sum().backward()
    # A crease has a sharp edge of brightness, which may fall a pixel further: so by the mean.
    folds = Degrade({"folds": (0.9, 0.9)})
    apart = folds(pages.clone().requires_grad_(), seed=2).detach() - folds(pages, seed=2)
    assert apart.abs().mean() < 0.01 / 255


def test_pages_given_are_left_as_they_are(pages):
    before = pages.clone()
    for name in EFFECTS:
        Degrade({name: (1, 1)})(pages)
        assert torch.equal(pages, before), name


def test_nothing_but_jpeg_asks_the_device(host_waits):
    quiet = Degrade({name: (0.0, 1.0) for name in EFFECTS if name != "jpeg"})
    pages = torch.empty(2, 3, *SIZE, device="meta")
    index = torch.arange(2, device="meta")
    quiet(pages, index=index)  # constants are copied to the device once
    with host_waits() as found:
        out = quiet(pages, index=index)
    assert out.shape == (2, 3, *SIZE)
    assert found == []
