"""Plain versions of our networks, peers' networks of the same shape, and what no network can pass.

`textbook_*` are what one would write with torch.nn alone; they hold copies of our weights and must give our numbers.
`deepecgkit_xresnet` is that package's own class, set to our widths, with our weights copied into it. torch_ecg's and
deepecgkit's further networks differ from ours in what their functions say, so they are compared by time alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from ecglib.models.transformer import SIZES
from ecglib.models.xresnet1d import DEPTHS, Conv

# --------------------------------------------------------------------------------------------- networks without tricks


class TextbookXResNet(nn.Module):
    """(B, L, T) to logits (B, C) in Conv1d, BatchNorm1d and pools of one dimension; weights copied from `ours`."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.stem, self.stages, self.head = (_in_1d(part) for part in (ours.stem, ours.stages, ours.head))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))  # (B, L, T) -> (B, F/2, T/32)
        return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))


def _in_1d(module: nn.Module) -> nn.Module:
    """The same module over (B, C, T) instead of (B, C, 1, T)."""
    if isinstance(module, Conv):
        made = nn.Conv1d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, bias=False
        )
    elif isinstance(module, nn.BatchNorm2d):
        made = nn.BatchNorm1d(module.num_features)
    elif isinstance(module, nn.Linear):
        made = nn.Linear(module.in_features, module.out_features)
    elif isinstance(module, nn.ReLU):
        return nn.ReLU(inplace=True)
    elif isinstance(module, nn.MaxPool2d):
        return nn.MaxPool1d(3, stride=2, padding=1)
    elif isinstance(module, nn.AvgPool2d):
        return nn.AvgPool1d(2, ceil_mode=True)
    elif isinstance(module, nn.Sequential):
        return nn.Sequential(*map(_in_1d, module))
    else:
        return _TextbookBlock(module)
    made.load_state_dict(module.state_dict())
    return made


class _TextbookBlock(nn.Module):
    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut = _in_1d(ours.path), _in_1d(ours.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


class TextbookViT(nn.Module):
    """The ECG transformer with torch's own encoder layers (pre-norm, GELU); weights copied from `ours`."""

    def __init__(self, ours: nn.Module, size: str, samples: int) -> None:
        super().__init__()
        dim, _, heads = SIZES[size]
        layers = []
        for block in ours.trunk.blocks:
            layer = nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout=0.0, activation="gelu", layer_norm_eps=block.norm1.eps,
                batch_first=True, norm_first=True,
            )  # fmt: skip
            pairs = [
                (layer.self_attn.out_proj, block.attn.proj), (layer.linear1, block.mlp.fc1),
                (layer.linear2, block.mlp.fc2), (layer.norm1, block.norm1), (layer.norm2, block.norm2),
            ]  # fmt: skip
            for mine, theirs in pairs:
                mine.load_state_dict(theirs.state_dict())
            layer.self_attn.in_proj_weight.data.copy_(block.attn.qkv.weight)
            layer.self_attn.in_proj_bias.data.copy_(block.attn.qkv.bias)
            layers.append(layer)
        self.layers = nn.Sequential(*layers)
        self.patch, self.project = ours.stride, nn.Linear(ours.stride, dim)
        self.project.load_state_dict(ours.project.state_dict())
        self.head = nn.Linear(dim, ours.head.out_features)
        self.head.load_state_dict(ours.head.state_dict())
        self.norm = nn.LayerNorm(dim, eps=ours.trunk.norm.eps)
        self.norm.load_state_dict(ours.trunk.norm.state_dict())
        leads = len(ours.leads)
        with torch.no_grad():  # what a token of zeros becomes is its place: bias, lead and time
            place = ours.embed(torch.zeros(1, leads, samples)) - self.project.bias
        self.place = nn.Parameter(place.detach())  # (1, L N, D)

    def forward(self, x: Tensor) -> Tensor:
        places = x.shape[2] // self.patch
        patches = x[:, :, : places * self.patch].unflatten(2, (places, self.patch)).flatten(1, 2)  # (B, L N, P)
        return self.head(self.norm(self.layers(self.project(patches) + self.place)).mean(1))


class TextbookPage(nn.Module):
    """timm's network as it comes, called on normalised pages in torch's usual layout; weights copied from `ours`."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model(ours.name, num_classes=0)
        self.net.load_state_dict(ours.net.state_dict())
        self.register_buffer("mean", ours.mean.clone())
        self.register_buffer("std", ours.std.clone())

    def forward(self, page: Tensor) -> Tensor:
        return self.net.forward_features((page - self.mean) / self.std).flatten(2).transpose(1, 2)  # (B, N, D)


# ----------------------------------------------------------------------------------------------------------- the peers


def deepecgkit_xresnet(package: ModuleType | None, depth: int, ours: nn.Module) -> nn.Module | None:
    """deepecgkit's XResNet1d of the PTB-XL benchmark at our widths, our weights in it, so that it gives our numbers.

    Its head's batch norm and dropout are left out: ours has none.
    """
    if package is None:
        return None
    from deepecgkit.models.xresnet1d_benchmark import XResNet1dBenchmark

    blocks, expansion = DEPTHS[depth]
    made = XResNet1dBenchmark(
        input_channels=ours.in_channels, expansion=expansion, layers=list(blocks), kernel_size=3, kernel_size_stem=3,
        stem_channels=(32, 64, 64), block_channels=(64, 128, 256, 512), dropout_rate=0.0,
    )  # fmt: skip
    made.set_head(nn.Sequential(nn.Flatten(), nn.Linear(ours.feature_dim, ours.head.out_features)))
    mine, theirs = list(ours.parameters()), list(made.parameters())
    if [p.shape for p in mine] != [p.shape for p in theirs]:
        raise SystemExit("deepecgkit's XResNet1dBenchmark is not built as ours any more; mend benchmarks/networks.py.")
    with torch.no_grad():
        for to, source in zip(theirs, mine):
            to.copy_(source)
    return made


def torch_ecg_xresnet(package: ModuleType | None, depth: int, leads: int, classes: int) -> nn.Module | None:
    """torch_ecg's ResNet set to the same blocks, widths, kernel and average-pooled shortcuts.

    It differs in biases of the stem's convolutions and in pools that leave out an odd last sample; its bottlenecks are
    a third as wide as their blocks (170 of 512), ours a quarter (128), which makes the 101 larger than ours.
    """
    if package is None:
        return None
    from copy import deepcopy

    from torch_ecg.model_configs.cnn import resnet as configurations
    from torch_ecg.models.cnn.resnet import ResNet

    set_to = deepcopy(getattr(configurations, f"resnet_vanilla_{depth}"))
    set_to.filter_lengths = 3
    set_to.stem.num_filters, set_to.stem.filter_lengths = [32, 64, 64], [3, 3, 3]
    set_to.block.subsample_mode = "avg"
    features = DEPTHS[depth][1] * 512
    return _Pooled(ResNet(leads, **set_to), features, classes)


def torch_ecg_transformer(
    package: ModuleType | None, size: str, leads: int, samples: int, patch: int, classes: int
) -> nn.Module | None:
    """torch_ecg's Transformer of the same size on the same tokens: it is post-norm, and has no final norm."""
    if package is None:
        return None
    from torch_ecg.models.transformers import Transformer

    dim, depth, heads = SIZES[size]
    trunk = Transformer(dim, 4 * dim, num_heads=heads, num_layers=depth, dropout=0.0, activation="gelu")
    return _Patched(trunk, dim, leads * (samples // patch), patch, classes)


def deepecgkit_transformer(package: ModuleType | None, size: str, leads: int, classes: int) -> nn.Module | None:
    """deepecgkit's TransformerECG of the same width, depth and heads: post-norm, ReLU, a token per sample of time."""
    if package is None:
        return None
    from deepecgkit.models.transformer_ecg import TransformerECG

    dim, depth, heads = SIZES[size]
    return TransformerECG(
        input_channels=leads, output_size=classes, d_model=dim, nhead=heads, num_encoder_layers=depth,
        dim_feedforward=4 * dim, dropout_rate=0.0,
    )  # fmt: skip


class _Pooled(nn.Module):
    """A peer's feature map with our head: average and maximum over time, a linear layer."""

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(2 * features, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)  # (B, L, T) -> (B, F, T/32)
        return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))


class _Patched(nn.Module):
    """A peer's transformer on our tokens."""

    def __init__(self, trunk: nn.Module, dim: int, tokens: int, patch: int, classes: int) -> None:
        super().__init__()
        self.trunk, self.patch = trunk, patch
        self.project, self.head = nn.Linear(patch, dim), nn.Linear(dim, classes)
        self.place = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        places = x.shape[2] // self.patch
        patches = x[:, :, : places * self.patch].unflatten(2, (places, self.patch)).flatten(1, 2)  # (B, L N, P)
        return self.head(self.trunk(self.project(patches) + self.place).mean(1))


# ----------------------------------------------------------------------------------------------------------- the limit


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of `step`: products of matrices, convolutions and attention, forward and backward.

    Counted, not timed. Attention is written out for it, since fused kernels are not all counted.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    return counter.get_total_flops()


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 1.0) -> float:
    """The best rate of a large matrix product here and now, operations a second, with the threads that training has.

    The largest of repeated trials: a busy machine can only lower it.
    """
    size, repeats = (8192, 8) if device.type == "cuda" else (1024, 1)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, end = 0.0, time.perf_counter() + seconds
    for trial in range(10_000):
        begin = waited(device)
        for _ in range(repeats):
            a @ b
        taken = waited(device) - begin
        best = max(best, 2 * size**3 * repeats / taken) if trial else best  # the first loads its kernel
        if time.perf_counter() > end and trial > 1:
            return best
    return best


def waited(device: torch.device) -> float:
    """The clock, once everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def quiet() -> None:
    """Peers warn at import of what is no matter here."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
