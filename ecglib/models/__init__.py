"""Backbones by name. A backbone is plain: `forward_features(x (B, L, T)) -> (B, F)`, `feature_dim`, then `head`."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from ecglib.errors import InputError, nearest

if TYPE_CHECKING:  # so that parameters can be checked against NAMES without importing torch
    from torch import nn

# name: module, class, its fixed arguments
_BACKBONES = {f"xresnet1d{d}": ("xresnet1d", "XResNet1d", {"depth": d}) for d in (18, 34, 50, 101, 152)}
NAMES = tuple(_BACKBONES)


def create(name: str, *, in_channels: int, num_classes: int, **options: float) -> nn.Module:
    """The backbone `name` for signals of `in_channels` leads and `num_classes` classes, randomly initialised.

    Raises:
        InputError: for an unknown name or option, with the nearest right one.
    """
    if name not in _BACKBONES:
        raise InputError(f"There is no backbone {name!r}.{nearest(name, NAMES)}")
    module, cls, fixed = _BACKBONES[name]
    backbone = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    known = [p for p in inspect.signature(backbone).parameters if p not in {*fixed, "in_channels", "num_classes"}]
    for option in options:
        if option not in known:
            raise InputError(f"The backbone {name!r} has no option {option!r}.{nearest(option, known)}")
    return backbone(**fixed, in_channels=in_channels, num_classes=num_classes, **options)
