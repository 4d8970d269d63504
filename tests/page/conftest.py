"""What the tests of pages share: a look at operations for which an accelerator would have to be waited for."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose result, or its shape, is read on the host.
_READ = ("item", "_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave.Tensor", "equal")


_MADE = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor, torch.Tensor.tolist)


class _Made(TorchFunctionMode):
    """Notes tensors made of numbers on the host, and lists made of tensors: below Python they leave no trace."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _MADE:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):
    """Notes the operations that read a value on the host, index by a mask, or copy between host and device."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.")
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        masked = name.startswith("index") and any(x.dtype == torch.bool and x.dim() for x in tensors[1:])
        copied = ("copy" in name) and len({x.device.type for x in tree_leaves((tensors, out)) if x is not None}) > 1
        if masked or copied or any(name.startswith(read) for read in _READ):
            self.found.append(name)
        return out


@pytest.fixture
def host_waits():
    """`with host_waits() as found:` lists the operations inside for which the host would wait for an accelerator."""

    @contextmanager
    def watch():
        found: list[str] = []
        with _Watch(found), _Made(found):
            yield found

    return watch
