"""XResNet-1d: the backbone of MVKT-ECG's released code (Qin et al., arXiv 2301.12178) and of PTB-XL's benchmarks.

After He et al. 2019, "Bag of tricks for image classification", and Strodthoff et al. 2021, in one dimension:
a stem of three k3 convolutions (leads-32-64-64, strides 2, 1, 1), max-pool k3 s2, four stages of 64, 128, 256, 512
channels (times 4 with bottlenecks) with strides 1, 2, 2, 2; the shortcut is an average-pool where the stage strides,
then a 1x1 convolution where the width changes. The head is one linear layer on [global average, global maximum].

The released code's: all of the above, convolutions without bias, Kaiming fan-out, no dropout. Ours, where no source
says: that Kaiming is drawn from a normal law, that every batch norm starts at gamma 1 (no zero-initialised last gamma),
and that the linear layer keeps torch's own initialisation. `width` and `kernel` are ours too; 1.0 and 3 are the
released code's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError, nearest

# depth: blocks per stage, expansion of the block (1 = basic, 4 = bottleneck)
DEPTHS = {
    18: ((2, 2, 2, 2), 1),
    34: ((3, 4, 6, 3), 1),
    50: ((3, 4, 6, 3), 4),
    101: ((3, 4, 23, 3), 4),
    152: ((3, 8, 36, 3), 4),
}


class Conv(nn.Conv1d):
    """A 1-d convolution, weight (out, in, K), that runs as a 2-d one of height 1: (B, C, 1, T) to (B, C', 1, T').

    The numbers are Conv1d's. The fourth dimension is there because torch has a channels-last layout for four dimensions
    only, and in that layout a training step on the CPU is 1.3 times as fast (xresnet1d18, width 0.5, 64 x 12 x 1000).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unsqueeze(2)  # (O, I, K) -> (O, I, 1, K)
        return F.conv2d(x, weight, stride=(1, self.stride[0]), padding=(0, self.padding[0]))


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, *, act: bool = True) -> nn.Sequential:
    """Convolution, batch norm and, unless a sum follows, ReLU."""
    layers = [Conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class Block(nn.Module):
    """relu(path(x) + shortcut(x)); the path is K-K (expansion 1) or 1-K-1 with the stride on the K (expansion 4)."""

    def __init__(self, inputs: int, channels: int, *, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        outputs = channels * expansion
        if expansion == 1:
            path = [conv_norm(inputs, channels, kernel, stride), conv_norm(channels, outputs, kernel, act=False)]
        else:
            path = [
                conv_norm(inputs, channels, 1),
                conv_norm(channels, channels, kernel, stride),
                conv_norm(channels, outputs, 1, act=False),
            ]
        self.path = nn.Sequential(*path)
        # ceil_mode: an odd T halves upwards, as the strided convolution does.
        pool = [nn.AvgPool2d((1, 2), ceil_mode=True)] if stride == 2 else []
        widen = [conv_norm(inputs, outputs, 1, act=False)] if inputs != outputs else []
        self.shortcut = nn.Sequential(*pool, *widen)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.path(x) + self.shortcut(x))


class XResNet1d(nn.Module):
    """XResNet-1d of 18, 34, 50, 101 or 152 layers.

    Args:
        depth: 18 and 34 have basic blocks, 50, 101 and 152 bottlenecks.
        in_channels: number of leads L.
        num_classes: C, the outputs of `head`.
        width: multiplies every channel count, rounded to a multiple of 8 (at least 8).
        kernel: length of every convolution that is not 1x1, in samples; odd. Other published variants use 5.

    Attributes:
        token_dim: F/2, the last stage's channels. stride: 32 samples a token.
        feature_dim: F = 2 x the last stage's channels; 1024 (18, 34) or 4096 (50, 101, 152) at width 1.

    Raises:
        InputError: for a depth, width or kernel that there is not; in forward, for a signal of another lead count.
    """

    subsets = False  # convolutions mix neighbours: a masked autoencoder silences samples, it leaves no token out
    stride = 32

    def __init__(self, depth: int, *, in_channels: int, num_classes: int, width: float = 1.0, kernel: int = 3) -> None:
        super().__init__()
        _check(depth, in_channels, num_classes, width, kernel)
        blocks, expansion = DEPTHS[depth]
        stem = [in_channels, _scaled(32, width), _scaled(64, width), _scaled(64, width)]
        self.in_channels = in_channels
        self.stem = nn.Sequential(
            *(conv_norm(i, o, kernel, stride) for i, o, stride in zip(stem, stem[1:], (2, 1, 1))),
            nn.MaxPool2d((1, 3), stride=(1, 2), padding=(0, 1)),
        )
        stages, inputs = [], stem[-1]
        for stage, count in enumerate(blocks):
            channels = _scaled(64 * 2**stage, width)
            stage_blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stage_blocks.append(Block(inputs, channels, expansion=expansion, stride=stride, kernel=kernel))
                inputs = channels * expansion
            stages.append(nn.Sequential(*stage_blocks))
        self.stages = nn.Sequential(*stages)
        self.token_dim, self.feature_dim = inputs, 2 * inputs
        self.head = nn.Linear(self.feature_dim, num_classes)
        for module in self.modules():
            if isinstance(module, Conv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, T) standardised signal to tokens (B, T/32, F/2) and the pooled vector (B, F).

        Tokens are the places of the last stage; pooled is [average, maximum] over them. It is at least float32, under
        mixed precision too: it feeds a contrast and the logits.
        """
        x = self._map(x).squeeze(2)  # (B, F/2, 1, T/32) -> (B, F/2, T/32)
        exact = torch.promote_types(x.dtype, torch.float32)
        pooled = x.mean(dim=2, dtype=exact), x.amax(dim=2).to(exact)  # (B, F/2, T/32) -> (B, F/2)
        return x.transpose(1, 2), torch.cat(pooled, dim=1)  # (B, T/32, F/2), (B, F)

    def grid(self, length: int) -> tuple[int, int]:
        """(1, places in time): the leads are mixed in every token."""
        for _ in range(5):  # the stem's stride, its pool, and three of the stages
            length = -(-length // 2)
        return 1, length

    def layers(self) -> Iterator[list[nn.Parameter]]:
        """The parameters from the input to the output, for learning rates by depth; the head is not among them."""
        yield list(self.stem.parameters())
        for stage in self.stages:
            yield list(stage.parameters())

    def _map(self, x: Tensor) -> Tensor:
        if x.ndim != 3 or x.shape[1] != self.in_channels:
            raise InputError(
                f"The network takes signals of shape (B, {self.in_channels}, T) but was given {tuple(x.shape)}; "
                "choose the same leads as when it was made."
            )
        x = x.unsqueeze(2)  # (B, L, T) -> (B, L, 1, T)
        x = x.contiguous(memory_format=memory_format(x))
        return self.stages(self.stem(x))  # (B, L, 1, T) -> (B, F/2, 1, T/32)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, T) to logits (B, C)."""
        return self.head(self.forward_features(x)[1])


def memory_format(x: Tensor) -> torch.memory_format:
    """The layout in which convolutions are fastest on the tensor's device."""
    return torch.channels_last if x.device.type == "cpu" else torch.contiguous_format


def _scaled(channels: int, width: float) -> int:
    return max(8, 8 * round(channels * width / 8))


def _check(depth: int, in_channels: int, num_classes: int, width: float, kernel: int) -> None:
    if depth not in DEPTHS:
        raise InputError(f"There is no XResNet-1d of depth {depth!r}.{nearest(depth, DEPTHS)}")
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(
            f"`kernel` is {kernel!r}, but a convolution that keeps the length needs an odd one; take 3 or 5."
        )
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes), ("width", width)):
        if not value > 0:
            raise InputError(f"`{name}` is {value!r}, but must be above 0.")
