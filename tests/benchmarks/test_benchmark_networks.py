"""benchmarks/networks: the textbook networks are ours written plainly, so they must give our numbers and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import networks
from ecglib import models
from ecglib.models.page_backbone import PageBackbone


def both(ours: nn.Module, textbook: nn.Module, x: torch.Tensor, dtype: torch.dtype = torch.float64) -> None:
    """Outputs, and the gradient with respect to the input, in training mode."""
    found = []
    for network in (ours, textbook):
        inputs = x.to(dtype, copy=True).requires_grad_()
        out = network.to(dtype).train()(inputs)
        out.square().mean().backward()
        found += [out.detach(), inputs.grad]
    for mine, theirs in zip(found[:2], found[2:]):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6 * float(mine.detach().abs().max()))


@pytest.mark.parametrize(("depth", "samples"), [(18, 203), (50, 256)])
def test_textbook_xresnet(depth, samples):
    torch.manual_seed(0)
    ours = models.create(f"xresnet1d{depth}", in_channels=3, num_classes=4, width=0.25)
    textbook = networks.TextbookXResNet(ours)
    assert networks.parameters(textbook) == networks.parameters(ours)
    both(ours, textbook, torch.randn(8, 3, samples))


def test_textbook_vit():
    torch.manual_seed(0)
    ours = models.create("ecg_vit_nano", in_channels=2, num_classes=3)
    both(
        ours, networks.TextbookViT(ours, "nano", 110), torch.randn(2, 2, 110), torch.float32
    )  # 10 samples are left over


def test_textbook_page():
    torch.manual_seed(0)
    ours = PageBackbone("resnet18", size=(64, 96))
    both(ours, networks.TextbookPage(ours), torch.rand(4, 3, 64, 96))


def test_missing_peers_are_none():
    assert networks.deepecgkit_xresnet(None, 18, nn.Identity()) is None
    assert networks.torch_ecg_xresnet(None, 18, 12, 5) is None
    assert networks.torch_ecg_transformer(None, "nano", 12, 100, 25, 5) is None
    assert networks.deepecgkit_transformer(None, "nano", 12, 5) is None


def test_flops_of_a_linear_layer_forward_and_backward():
    layer, x = nn.Linear(8, 4), torch.randn(3, 8, requires_grad=True)
    assert networks.flops(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * 8 * 4


def test_the_rate_of_a_product_is_possible():
    rate = networks.matmul_rate(torch.device("cpu"), seconds=0.05)
    assert 1e8 < rate < 1e14
