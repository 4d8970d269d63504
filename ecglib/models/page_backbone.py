"""timm networks for pages: any name; pages in, a grid of tokens out, and a sentence on where the weights came from."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecglib.errors import InputError, nearest

SOURCES = ("none", "cache", "download")


class PageBackbone(nn.Module):
    """A timm network without its classifier: pages (B, 3, H, W) in [0, 1] to tokens (B, N, D), one per cell.

    Args:
        name: of timm, such as "resnet18", "convnext_atto" or "vit_tiny_patch16_224"; ".tag" picks published weights.
        size: (H, W) of the pages.
        weights: "none" (random), "cache" (what timm has downloaded to this machine before), "download" (asks the
            network), or the path of a file of this architecture's weights (.safetensors, or .pth of plain tensors).
        width: multiplies the channels, where timm lets them be given (ResNets).

    Attributes:
        token_dim: D.
        grid: (h, w), the cells; N = h w, row by row.
        origin: a sentence for the report, which weights these are.

    Raises:
        InputError: an unknown name, pages that the network cannot take, weights that are missing or do not fit.
    """

    def __init__(self, name: str, *, size: tuple[int, int], weights: str = "none", width: float = 1.0) -> None:
        super().__init__()
        self.name, self.size, self.weights, self.width = name, tuple(size), weights, width
        file, self.origin = _weights(name, weights)
        self.net = _create(name, self.size, file, width)
        norm = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(norm.get("mean", (0.5,) * 3)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(norm.get("std", (0.5,) * 3)).view(3, 1, 1), persistent=False)
        self.grid, self.token_dim, self._channels_first = self._look()

    def forward(self, page: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, N, D)."""
        found = self._map((page - self.mean) / self.std)
        if found.ndim == 3:
            return found[:, self.net.num_prefix_tokens :]  # (B, prefix + N, D) -> (B, N, D)
        if self._channels_first:
            found = found.permute(0, 2, 3, 1)  # (B, D, h, w) -> (B, h, w, D)
        return found.flatten(1, 2)  # (B, h, w, D) -> (B, N, D)

    def _map(self, page: Tensor) -> Tensor:
        return self.net.forward_features(_laid_out(page))

    def _look(self) -> tuple[tuple[int, int], int, bool]:
        """Grid, D and whether the channels come first, from one empty page: timm's networks do not all say so."""
        was = self.net.training
        try:
            with torch.no_grad():
                shape = self.eval()._map(torch.zeros(1, 3, *self.size)).shape
        except (RuntimeError, AssertionError, ValueError) as error:
            raise _cannot_take(self.name, self.size, _first_line(error)) from None
        finally:
            self.net.train(was)
        if len(shape) == 4:
            first = shape[1] == self.net.num_features
            return (tuple(shape[2:]), shape[1], True) if first else (tuple(shape[1:3]), shape[3], False)
        embed = getattr(self.net, "patch_embed", None)
        grid = tuple(getattr(embed, "grid_size", ()))
        cells = shape[1] - getattr(self.net, "num_prefix_tokens", 0) if len(shape) == 3 else 0
        if len(grid) != 2 or grid[0] * grid[1] != cells:
            raise InputError(f"The network {self.name!r} gives no grid of cells; take another, resnet18 for example.")
        return grid, shape[2], False


def check_name(name: str) -> None:
    """Raises InputError with the nearest right name for one that timm does not have."""
    timm = _timm()
    if not timm.is_model(name):
        bare = name.split(".")[0]
        raise InputError(f"timm has no network {name!r}.{nearest(bare, timm.list_models())}")


def _create(name: str, size: tuple[int, int], file: Path | None, width: float) -> nn.Module:
    timm = _timm()
    options: dict[str, Any] = {"num_classes": 0}
    if width != 1:
        options["channels"] = _channels(name, width, file)
    if file is None:
        try:
            return _sized(timm, name, size, options)
        except (RuntimeError, KeyError, AssertionError, ValueError) as error:
            raise _cannot_take(name, size, _first_line(error)) from None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = _sized(timm, name, size, options)
        torch.manual_seed(0)
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file), "custom_load": False}}
        try:
            net = _sized(timm, name, size, options)
        except Exception as error:  # a damaged file raises the reader's own kind: safetensors, pickle, zip
            if isinstance(error, RuntimeError | KeyError) and "weights_only" not in str(error):
                raise InputError(f"The weights {file} are not those of {name!r} ({_first_line(error)}).") from None
            raise InputError(f"The weights {file} cannot be read as plain tensors ({type(error).__name__}).") from None
    # timm passes over what a file lacks; a tensor that is still as it was made at random was not in it.
    made = dict(blank.named_parameters())
    lacking = [key for key, value in net.named_parameters() if value.ndim > 1 and torch.equal(value, made[key])]
    if lacking:
        raise InputError(f"The weights {file} are not those of {name!r}: {lacking[0]} and others are not among them.")
    return net


def _sized(timm: Any, name: str, size: tuple[int, int], options: dict[str, Any]) -> nn.Module:
    try:  # transformers are made for a size; convolutional networks know no such option
        return timm.create_model(name, img_size=size, **options)
    except TypeError:
        return timm.create_model(name, **options)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _channels(name: str, width: float, file: Path | None) -> tuple[int, ...]:
    """The four stages' channels of a thinner or wider ResNet, multiples of 8."""
    if not name.startswith("resnet") or "v2" in name:
        raise InputError(
            f"Only timm's resnet... networks can be made thinner or wider; leave the width of {name!r} at 1."
        )
    if not width > 0:
        raise InputError(f"The width is {width!r}, but must be above 0.")
    if file is not None:
        raise InputError("Pre-trained weights are of width 1; leave the width at 1, or take no weights.")
    return tuple(max(8, 8 * round(c * width / 8)) for c in (64, 128, 256, 512))


def _weights(name: str, weights: str) -> tuple[Path | None, str]:
    """The file and the sentence about it."""
    check_name(name)
    if weights == "none":
        return None, f"{name}: randomly initialised, no pre-trained weights."
    if weights not in SOURCES:
        file = Path(weights)
        if not file.is_file():
            raise InputError(f"There are no weights at {weights}; give a file, or one of {', '.join(SOURCES)}.")
        where = f"from the file {file.name}"
    else:
        file, where = _published(name, download=weights == "download"), f"as published with timm, {weights}"
    return file, f"{name}: pre-trained weights {where} (sha256 {_digest(file)[:12]})."


def _published(name: str, *, download: bool) -> Path:
    """timm's file for this network in the local cache; the network is asked only where the user said download."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cfg = _timm().models.get_pretrained_cfg(name)
    hub = getattr(cfg, "hf_hub_id", None) if cfg is not None else None
    if not hub:
        raise InputError(f"timm publishes no weights of {name!r}; give a file of weights, or none.")
    file = getattr(cfg, "hf_hub_filename", None) or "model.safetensors"
    found = try_to_load_from_cache(hub, file)
    if isinstance(found, str):
        return Path(found)
    if not download:
        raise InputError(
            f"The weights of {name!r} are not in this machine's cache ({hub}); give a file of weights, download to "
            "fetch them, or none."
        )
    try:
        return Path(hf_hub_download(hub, file))
    except Exception as error:  # offline, refused, gone: many kinds, one meaning
        raise InputError(f"The weights of {name!r} could not be fetched ({type(error).__name__}).") from None


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _laid_out(page: Tensor) -> Tensor:
    # Convolutions on a CPU, and on tensor cores, are fastest with the channels last.
    return page.contiguous(memory_format=torch.channels_last)


def _cannot_take(name: str, size: tuple[int, int], reason: str) -> InputError:
    return InputError(f"The network {name!r} cannot take pages of {size[1]} x {size[0]} pixels: {reason}.")


def _timm() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm's own old modules
        import timm
    return timm
