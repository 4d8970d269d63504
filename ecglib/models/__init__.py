"""Backbones by name.

A backbone is plain: `forward_features(x (B, L, T)) -> tokens (B, N, D), pooled (B, F)`, then `head` on what is pooled.
`token_dim` is D, `feature_dim` F, `stride` the samples of a token, `grid(T)` how many leads and places in time the
tokens are (lead by lead), `layers()` the parameters by depth, `subsets` whether tokens may be left out.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecglib.errors import InputError, nearest

if TYPE_CHECKING:  # so that parameters can be checked against NAMES without importing torch
    from torch import nn

# name: module, class, its fixed arguments
_BACKBONES = {f"xresnet1d{d}": ("xresnet1d", "XResNet1d", {"depth": d}) for d in (18, 34, 50, 101, 152)}
for _size in ("nano", "tiny", "small", "base"):
    _BACKBONES[f"conv_vit_{_size}"] = ("conv_vit", "ConvViT", {"size": _size})
    _BACKBONES[f"ecg_vit_{_size}"] = ("ecg_vit", "ECGViT", {"size": _size})
NAMES = tuple(_BACKBONES)


def create(
    name: str, *, in_channels: int, num_classes: int, leads: Sequence[str] | None = None, **options: float
) -> nn.Module:
    """The backbone `name` for signals of `in_channels` leads and `num_classes` classes, randomly initialised.

    leads: the channels' names, for a backbone that tells leads by name; the others do without.

    Raises:
        InputError: for an unknown name or option, with the nearest right one.
    """
    if name not in _BACKBONES:
        raise InputError(f"There is no backbone {name!r}.{nearest(name, NAMES)}")
    module, cls, fixed = _BACKBONES[name]
    backbone = getattr(importlib.import_module(f"{__name__}.{module}"), cls)
    known = [p for p in inspect.signature(backbone).parameters if p not in {*fixed, "in_channels", "num_classes"}]
    if "leads" in known:
        known.remove("leads")
        fixed = fixed | {"leads": leads}
    for option in options:
        if option not in known:
            raise InputError(f"The backbone {name!r} has no option {option!r}.{nearest(option, known)}")
    return backbone(**fixed, in_channels=in_channels, num_classes=num_classes, **options)
