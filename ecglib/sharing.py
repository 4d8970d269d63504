"""One training step shared by several ranks: each takes its rows of a batch, and all end with the same weights.

What one process would compute on the whole batch comes out, but for the order in which numbers are added up:

- the batches, their order and their records are those of one process; rank r of w takes rows r m to (r + 1) m - 1 of a
  batch of n, m = n // w. The n mod w records left over at its end are left out, so choose a batch size that w divides.
- what is drawn per record (augmentation, masks, dropout, negatives) is drawn for the whole batch on every rank, from
  the same seed, and cut likewise (`per_record`);
- batch norms take mean and variance over all ranks (`_BatchNorm`), in training, on CPUs and GPUs alike;
- a contrast sees the vectors of all ranks, with gradients through them (`gathered`);
- a mean over labelled records divides by how many there are on all ranks (`denominator`);
- gradients are averaged by torch's DistributedDataParallel.

All of it is only so within `divided`; elsewhere, and with one process, every function here does nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from ecglib import ranks
from ecglib.errors import InputError

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # of a wait for another rank that lives; one that dies is noticed by the runners
_part = (0, 1)  # (rank, world) of the step under way


def join(device: torch.device) -> None:
    """Meet the other ranks, once per process; NCCL between GPUs, gloo between CPUs and where ranks share a GPU."""
    if ranks.world() == 1 or dist.is_initialized():
        return
    # accelerate 1.15 knows only the older of two names that mean the same here.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    # Weights of one column lie in memory in two ways at once; DDP calls that slow, where nothing is.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    backend = "gloo"
    if device.type == "cuda":
        own_gpu = ranks.local_world() <= torch.cuda.device_count()
        backend = "cpu:gloo,cuda:nccl" if own_gpu else "gloo"
        if not own_gpu:  # accelerate would name a GPU per rank
            os.environ["ACCELERATE_BYPASS_DEVICE_MAP"] = "true"
    store = ranks.store("kernels", TIMEOUT.total_seconds())
    dist.init_process_group(backend, store=store, rank=ranks.rank(), world_size=ranks.world(), timeout=TIMEOUT)


def handlers() -> list:
    """What accelerate is to tell DistributedDataParallel; nothing for one process.

    Not every parameter is used in every step (an encoder's pooling in a masked autoencoder). Buffers are the same on
    all ranks by construction, and CLT's memory banks would be sent around at every step.
    """
    if ranks.world() == 1:
        return []
    from accelerate import DistributedDataParallelKwargs

    return [DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)]


def own(positions: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Of a batch's positions (n,), those of one rank (n // world,)."""
    each = len(positions) // world
    return positions[rank * each : (rank + 1) * each]


def batches(train: Any) -> Iterable:
    """This rank's part of the batches of an epoch, `train.shared(rank, world)`.

    Raises:
        InputError: batches that cannot be shared.
    """
    if ranks.world() == 1:
        return train
    if not hasattr(train, "shared"):
        raise InputError(
            f"{type(train).__name__} has no `shared(rank, world)`, so {ranks.world()} ranks cannot share its batches; "
            "run it in one process."
        )
    return train.shared(ranks.rank(), ranks.world())


@contextmanager
def divided(method: nn.Module) -> Iterator[None]:
    """Within, `method` is trained on its rank's rows; see the module's docstring for what that changes."""
    global _part
    if ranks.world() == 1:
        yield
        return
    changed = []
    for module in method.modules():
        for kind, forward in ((nn.modules.batchnorm._BatchNorm, _batch_norm), (nn.Dropout, _dropout)):
            if isinstance(module, kind):
                module.forward = partial(forward, module)
                changed.append(module)
        if type(module).__name__ == "DropPath":  # timm's
            module.forward = partial(_drop_path, module)
            changed.append(module)
    _part = (ranks.rank(), ranks.world())
    try:
        yield
    finally:
        _part = (0, 1)
        for module in changed:
            del module.forward  # the class's own comes back


def parts() -> int:
    """Into how many parts the batch at hand is divided: 1 outside of a shared step."""
    return _part[1]


def part() -> int:
    """Which of them this is."""
    return _part[0]


def per_record(draw: Callable[[int], Tensor], records: int, *, dim: int = 0) -> Tensor:
    """`draw(records)`, chance for each record along `dim`: the same numbers as one process gives these records."""
    rank, world = _part
    if world == 1:
        return draw(records)
    return draw(records * world).narrow(dim, rank * records, records)


def gathered(x: Tensor) -> Tensor:
    """(b, ...) of every rank, one after the other (w b, ...); gradients go back to the rank they belong to."""
    return x if parts() == 1 else _Gather.apply(x)


@torch.no_grad()
def gathered_rows(x: Tensor) -> Tensor:
    """As `gathered`, of as many rows as each rank happens to have, without gradients."""
    if parts() == 1:
        return x
    sizes = torch.zeros(parts(), dtype=torch.int64, device=x.device)
    sizes[part()] = len(x)
    dist.all_reduce(sizes)
    sizes = sizes.tolist()
    padded = x.new_zeros((max(sizes), *x.shape[1:]))
    padded[: len(x)] = x
    return torch.cat([rows[:size] for rows, size in zip(_all(padded), sizes, strict=True)])


def denominator(count: Tensor) -> Tensor:
    """At least 1: what a sum over a batch's counted entries is divided by, so that the ranks' mean is the batch's."""
    if parts() == 1:
        return count.clamp(min=1)
    total = count.detach().clone()
    dist.all_reduce(total)
    return total.clamp(min=1) / parts()


def means(sums: dict[str, Tensor], steps: int) -> dict[str, float]:
    """Sums over the steps of an epoch, on this rank's rows, to means over all ranks; in one message."""
    if ranks.world() == 1:
        return {name: float(total) / steps for name, total in sums.items()}
    together = torch.stack([torch.as_tensor(total, dtype=torch.float64) for total in sums.values()])
    dist.all_reduce(together)
    return dict(zip(sums, (together / (steps * ranks.world())).tolist(), strict=True))


def from_first(make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank; the others wait. Plain values and tensors on the CPU."""
    if ranks.world() == 1:
        return make()
    box = [make() if ranks.is_first() else None]
    dist.broadcast_object_list(box)
    return box[0]


def require_same(what: Any, said: str) -> None:
    """Raises InputError(`said`, with the numbers of the ranks) on every rank, unless `what` is rank 0's on all."""
    if ranks.world() == 1:
        return
    found: list = [None] * ranks.world()
    dist.all_gather_object(found, what)
    if other := [str(k) for k, each in enumerate(found) if each != found[0]]:
        raise InputError(said.format(ranks=", ".join(other)))


def _all(x: Tensor) -> list[Tensor]:
    found = [torch.empty_like(x) for _ in range(parts())]
    dist.all_gather(found, x)
    return found


class _Gather(torch.autograd.Function):
    """all_gather that is differentiated: what any rank's loss owes to a row comes back to whoever sent the row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = slice(part() * len(x), (part() + 1) * len(x))
        return torch.cat(_all(x.contiguous()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.rows]


class _BatchNorm(torch.autograd.Function):
    """Batch norm over the rows of all ranks: x (B, C, ...) float32 to the same, mean (C,) and biased variance (C,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        dims, shape = _but_channels(x), (1, -1, *[1] * (x.ndim - 2))
        n = parts() * x.numel() // x.shape[1]
        mean = _summed(x.sum(dims)) / n  # (C,)
        centred = x - mean.view(shape)
        variance = _summed(centred.square().sum(dims)) / n  # (C,): in two passes, or rounding would eat small ones
        scale = (variance + eps).rsqrt()
        y = centred * scale.view(shape)
        ctx.save_for_backward(y, scale)
        ctx.n = n
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        dims, shape = _but_channels(y), (1, -1, *[1] * (y.ndim - 2))
        both = _summed(torch.stack([gradient.sum(dims), (gradient * y).sum(dims)])) / ctx.n  # (2, C)
        return (gradient - both[0].view(shape) - y * both[1].view(shape)) * scale.view(shape), None


def _but_channels(x: Tensor) -> list[int]:
    return [d for d in range(x.ndim) if d != 1]


def _summed(x: Tensor) -> Tensor:
    dist.all_reduce(x)
    return x


def _batch_norm(module: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """A batch norm's forward in a shared step."""
    if not module.training:
        return type(module).forward(module, x)
    module._check_input_dim(x)
    with torch.autocast(x.device.type, enabled=False):
        y, mean, variance = _BatchNorm.apply(x.float(), module.eps)
        if module.affine:
            shape = (1, -1, *[1] * (x.ndim - 2))
            y = y * module.weight.view(shape) + module.bias.view(shape)
    if module.track_running_stats:
        with torch.no_grad():
            module.num_batches_tracked.add_(1)
            share = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
            n = parts() * x.numel() // x.shape[1]
            module.running_mean.lerp_(mean.to(module.running_mean.dtype), share)
            module.running_var.lerp_((variance * n / (n - 1)).to(module.running_var.dtype), share)
    return y.to(x.dtype)


def _dropout(module: nn.Dropout, x: Tensor) -> Tensor:
    """Dropout with the masks that one process would draw (on a CPU; on a GPU others, but no two ranks the same)."""
    if not module.training or module.p in (0.0, 1.0):
        return F.dropout(x, module.p, module.training)
    return x * per_record(lambda n: _kept(x, (n, *x.shape[1:]), 1 - module.p), len(x))


def _drop_path(module: Any, x: Tensor) -> Tensor:
    """timm's stochastic depth, likewise."""
    if not module.training or module.drop_prob == 0.0:
        return x
    keep = 1 - module.drop_prob
    kept = per_record(lambda n: x.new_empty((n, *[1] * (x.ndim - 1))).bernoulli_(keep), len(x))
    return x * (kept / keep if keep > 0 and module.scale_by_keep else kept)


def _kept(x: Tensor, shape: tuple[int, ...], keep: float) -> Tensor:
    return x.new_empty(shape).bernoulli_(keep).div_(keep)
