"""Training state on disk: a tree of tensors and plain values, written atomically, verified on load, never unpickled.

A checkpoint is one safetensors file. Its tensors are the leaves of the tree, its metadata holds the tree's shape as
JSON and a SHA-256 of everything, so that a file cut short or altered is recognised before any of it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from ecglib import atomic
from ecglib.errors import InputError

_NAME = re.compile(r"epoch-(\d{5})\.safetensors$")


def save(path: Path, tree: Any) -> None:
    """Write `tree` (dicts, lists, tensors, numbers, strings, None) to `path`, whole or not at all.

    Raises:
        InputError: the disk is full; the file that stood at `path` before is untouched.
        TypeError: the tree holds something that is neither a tensor nor plain JSON.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_strip(tree, tensors))
    data = serialise(tensors, metadata={"tree": text, "sha256": _digest(text, tensors)})
    with atomic.writing(path) as temporary:
        temporary.write_bytes(data)


def load(path: Path) -> Any:
    """Read a tree that `save` wrote, tensors on the CPU.

    Raises:
        InputError: no such file, or its contents are not those that were written.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"Checkpoint {path} cannot be read ({error}).") from None
    text = metadata.get("tree", "")
    if metadata.get("sha256") != _digest(text, tensors):
        raise InputError(f"Checkpoint {path} does not hold what was written to it.")
    return _fill(json.loads(text), tensors)


def numbered(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, newest first."""
    found = [p for p in folder.glob("epoch-*.safetensors") if _NAME.search(p.name)] if folder.is_dir() else []
    return sorted(found, key=lambda p: p.name, reverse=True)


def save_numbered(folder: Path, epoch: int, tree: Any, keep: int = 2) -> None:
    """Write the checkpoint after `epoch` epochs, then drop all but it and the `keep` - 1 before it.

    Those of later epochs go too: they were damaged, or the training would have gone on from them; and so does what
    killed writers left half written.
    """
    path = folder / f"epoch-{epoch:05d}.safetensors"
    save(path, tree)
    found = numbered(folder)
    kept = found[found.index(path) :][:keep]
    for old in (*(p for p in found if p not in kept), *folder.glob(".epoch-*.tmp")):
        old.unlink(missing_ok=True)


def newest(folder: Path) -> Any | None:
    """The newest checkpoint in `folder` that is whole, or None. A damaged one is named and passed over."""
    found = numbered(folder)
    for path, before in zip(found, [*found[1:], None]):
        try:
            return load(path)
        except InputError as error:
            print(f"{error} Going on from {before.name if before else 'the start'}.", flush=True)
    return None


def _strip(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The tree as JSON, each tensor replaced by its number in `tensors`."""
    if isinstance(node, torch.Tensor):
        key = f"{len(tensors):06d}"
        # A copy: safetensors refuses tensors that share memory, as tied weights do.
        tensors[key] = node.detach().to("cpu", copy=True).contiguous()
        return {"tensor": key}
    if isinstance(node, dict):
        return {"dict": [[_key(key), _strip(value, tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return {"list": [_strip(value, tensors) for value in node]}
    if node is None or isinstance(node, bool | int | float | str):
        return {"value": node}
    raise TypeError(f"A checkpoint holds tensors and plain values, not {type(node).__name__}.")


def _key(key: Any) -> Any:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"A checkpoint's keys are strings or integers, not {type(key).__name__}.")


def _fill(node: dict, tensors: dict[str, torch.Tensor]) -> Any:
    kind, content = next(iter(node.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _fill(value, tensors) for key, value in content}
    if kind == "list":
        return [_fill(value, tensors) for value in content]
    return content


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for block in _bytes(tensors):
        digest.update(block)
    return digest.hexdigest()


def _bytes(tensors: dict[str, torch.Tensor]) -> Iterator[memoryview]:
    for key in sorted(tensors):
        tensor = tensors[key]
        yield memoryview(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
        # Viewed as bytes, because numpy knows no bfloat16.
        yield memoryview(tensor.reshape(-1).view(torch.uint8).numpy())
