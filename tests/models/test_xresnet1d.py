"""XResNet-1d: pinned sizes, and a plain 1-d forward pass written from the notes, fed with the same weights."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from ecglib import models
from ecglib.errors import InputError
from ecglib.models.xresnet1d import Conv, XResNet1d

# depth: parameters with 12 leads and 5 classes; the paper's notes give 3.87 M, 7.24 M, 15.99 M and 28.30 M
PARAMETERS = {18: 3_868_357, 34: 7_242_693, 50: 15_994_053, 101: 28_301_509, 152: 38_440_133}


def size(depth: int, **options) -> int:
    network = XResNet1d(depth, **({"in_channels": 12, "num_classes": 5} | options))
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters_are_those_of_the_paper(depth):
    assert size(depth) == PARAMETERS[depth]


def test_parameters_round_to_the_figures_of_the_notes():
    assert [round(PARAMETERS[d] / 1e6, 2) for d in (18, 34, 50, 101)] == [3.87, 7.24, 15.99, 28.30]


def test_one_lead_costs_only_the_first_convolution():
    assert size(18) - size(18, in_channels=1) == 11 * 32 * 3


def plain(network: XResNet1d, x: torch.Tensor) -> torch.Tensor:
    """The paper's network in 1-d functions, reading only the state dict: (B, L, T) to logits (B, C)."""
    state = network.state_dict()

    def conv_norm(x, name, stride=1, act=True):
        weight = state[f"{name}.0.weight"]
        x = F.conv1d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        norm = [state[f"{name}.1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *norm)
        return F.relu(x) if act else x

    for k, stride in enumerate((2, 1, 1)):
        x = conv_norm(x, f"stem.{k}", stride)
    x = F.max_pool1d(x, 3, stride=2, padding=1)
    for stage, blocks in enumerate(network.stages):
        for block in range(len(blocks)):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage and not block else 1
            short = F.avg_pool1d(x, 2, ceil_mode=True) if stride == 2 else x
            at = 1 if stride == 2 else 0
            if f"{name}.shortcut.{at}.0.weight" in state:
                short = conv_norm(short, f"{name}.shortcut.{at}", act=False)
            if f"{name}.path.2.0.weight" in state:
                y = conv_norm(conv_norm(x, f"{name}.path.0"), f"{name}.path.1", stride)
                y = conv_norm(y, f"{name}.path.2", act=False)
            else:
                y = conv_norm(conv_norm(x, f"{name}.path.0", stride), f"{name}.path.1", act=False)
            x = F.relu(y + short)
    pooled = torch.cat([F.adaptive_avg_pool1d(x, 1), F.adaptive_max_pool1d(x, 1)], dim=1).flatten(1)
    return F.linear(pooled, state["head.weight"], state["head.bias"])


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize(("leads", "samples"), [(1, 203), (12, 256)])
def test_equals_a_plain_one_dimensional_network(depth, leads, samples):
    torch.manual_seed(depth)
    network = XResNet1d(depth, in_channels=leads, num_classes=3, width=0.25)
    with torch.no_grad():
        for _ in range(2):  # running statistics that are not 0 and 1
            network(torch.randn(8, leads, samples) + 0.3)
    network.eval()
    x = torch.randn(4, leads, samples)
    torch.testing.assert_close(network(x), plain(network, x), rtol=1e-4, atol=1e-4)


def test_memory_layout_does_not_change_the_gradient(monkeypatch):
    torch.manual_seed(0)
    network = XResNet1d(18, in_channels=2, num_classes=3, width=0.25).double()
    x = torch.randn(8, 2, 250, dtype=torch.float64)

    def gradient():
        network.zero_grad()
        network(x).square().sum().backward()
        return [p.grad.clone() for p in network.parameters()]

    last = gradient()
    monkeypatch.setattr("ecglib.models.xresnet1d.memory_format", lambda x: torch.contiguous_format)
    for a, b in zip(last, gradient()):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_weights_are_one_dimensional_without_bias_and_kaiming_fan_out():
    torch.manual_seed(0)
    network = XResNet1d(18, in_channels=12, num_classes=5)
    convolutions = [m for m in network.modules() if isinstance(m, Conv)]
    assert len(convolutions) == 3 + 2 * 8 + 3  # stem, paths, widening shortcuts
    for conv in convolutions:
        assert conv.bias is None
        outputs, _, kernel = conv.weight.shape
        assert float(conv.weight.detach().std()) == pytest.approx((2 / (outputs * kernel)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("depth", "features"), [(18, 1024), (50, 4096)])
def test_features_are_average_then_maximum(depth, features):
    network = XResNet1d(depth, in_channels=1, num_classes=2).eval()
    assert network.feature_dim == features
    pooled = network.forward_features(torch.randn(2, 1, 100))[1]
    average, maximum = pooled.split(features // 2, dim=1)
    assert pooled.shape == (2, features)
    assert bool((maximum >= average).all())
    assert bool((maximum > average).any())


def test_width_and_kernel_change_the_size_as_they_say():
    half = XResNet1d(18, in_channels=12, num_classes=5, width=0.5)
    assert half.feature_dim == 512
    assert half.stem[0][0].weight.shape == (16, 12, 3)
    assert XResNet1d(18, in_channels=12, num_classes=5, width=0.01).feature_dim == 16  # never below 8 channels
    kernels = {m.kernel_size for m in XResNet1d(50, in_channels=1, num_classes=1, width=0.1, kernel=5).modules()
               if isinstance(m, Conv)}  # fmt: skip
    assert kernels == {(1,), (5,)}


def test_every_parameter_gets_a_gradient():
    network = XResNet1d(50, in_channels=2, num_classes=3, width=0.125)
    network(torch.randn(4, 2, 64)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_features_are_float32_under_mixed_precision():
    network = XResNet1d(18, in_channels=1, num_classes=2, width=0.125)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.forward_features(torch.randn(2, 1, 64))[1].dtype == torch.float32


def test_create_knows_every_name_and_offers_the_nearest():
    for name in (n for n in models.NAMES if n.startswith("xresnet")):
        assert models.create(name, in_channels=1, num_classes=2, width=0.1).head.out_features == 2
    with pytest.raises(InputError, match="Did you mean 'xresnet1d101'"):
        models.create("xresnet101", in_channels=1, num_classes=2)
    with pytest.raises(InputError, match=r"no option 'widht'\. Did you mean 'width'"):
        models.create("xresnet1d18", in_channels=1, num_classes=2, widht=0.5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 20}, "no XResNet-1d of depth 20"),
        ({"kernel": 4}, "`kernel` is 4"),
        ({"width": 0}, "`width` is 0"),
        ({"num_classes": 0}, "`num_classes` is 0"),
    ],
)
def test_impossible_networks_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        XResNet1d(**({"depth": 18, "in_channels": 1, "num_classes": 2} | options))


def test_a_signal_of_other_leads_is_refused():
    network = XResNet1d(18, in_channels=1, num_classes=2, width=0.125)
    with pytest.raises(InputError, match=r"\(B, 1, T\) but was given \(2, 12, 100\)"):
        network(torch.randn(2, 12, 100))


def test_names_can_be_read_without_torch():
    code = "import sys, ecglib.models as m; assert m.NAMES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
