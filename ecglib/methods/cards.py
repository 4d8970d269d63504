"""A model on disk: weights as .safetensors and, beside them, a card in JSON of what one must know to use them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ecglib import atomic
from ecglib.errors import InputError

FORMAT = 1


def save(module: nn.Module, path: str | os.PathLike, card: dict[str, Any]) -> Path:
    """Weights to `path` (.safetensors) and the card to the .json beside it; returns the weights' path.

    Both are written under a temporary name and renamed, the card last; it holds the weights' sha256.

    Raises:
        InputError: the disk is full, or `path` may not be written to.
    """
    path = named(path)
    weights = as_bytes(module)
    with atomic.writing(path) as temporary:
        temporary.write_bytes(weights)
    atomic.write_json(path.with_suffix(".json"), card | {"sha256": hashlib.sha256(weights).hexdigest()})
    return path


def read(path: str | os.PathLike, needed: Collection[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Card and weights.

    Raises:
        InputError: either is missing, unreadable or lacks a key of `needed`, or they do not belong together.
    """
    from safetensors.torch import load

    path = named(path)
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint at {path}: {Path(error.filename).name} is missing.") from None
    except ValueError:
        raise InputError(f"The card {path.with_suffix('.json')} is not JSON; save the model again.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT or not card.keys() >= {*needed, "sha256"}:
        raise InputError(f"{path.with_suffix('.json')} is not a model's card of format {FORMAT}; save the model again.")
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise InputError(f"The weights {path} are not those that its card was written for; save the model again.")
    return card, load(data)


def fill(module: nn.Module, weights: dict[str, Tensor], path: str | os.PathLike) -> None:
    """Load `weights` into `module`. Raises InputError where they are not its own."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"The weights in {path} are not those of its card; save the model again.") from error


def as_bytes(module: nn.Module) -> bytes:
    """The weights as they are saved."""
    from safetensors.torch import save as to_bytes

    return to_bytes({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})


def named(path: str | os.PathLike) -> Path:
    """`path` with the ending .safetensors."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")
