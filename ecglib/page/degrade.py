"""Degrades pages as prints, scans and photos do: which effects, how much of each, and what they cost the diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ecglib.errors import InputError, nearest
from ecglib.page import effects
from ecglib.page.draws import uniform

_ST = "STD_ STE_ NST_ ISC_ ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA INJAL INJAS INJIL INJIN INJLA"
_VOLTAGE = "LVH RVH SEHYP VCLVH HVOLT LVOLT LAO/LAE RAO/RAE HYP"
_LOW_WAVES = "AFIB AFLT SR LAO/LAE RAO/RAE LOWT NT_ NDT QWAVE ABQRS"
_NOTCHES = "QWAVE ABQRS IRBBB ILBBB IVCD WPW PACE AFLT"

DESTROYS: dict[str, tuple[str, str]] = {
    "rotation": (
        _ST,
        "a slope across the page adds to the ST level where the reader, or the network, takes level for 0 mV",
    ),
    "perspective": (
        f"{_VOLTAGE} LNGQT LPR 1AVB SBRAD STACH",
        "mm are no longer the same everywhere: voltage criteria, intervals and rates are read against the wrong grid",
    ),
    "folds": ("PAC PVC PRC(S) 2AVB", "a crease may hide, or look like, the single beat that the statement is about"),
    "shadow": ("LOWT NT_ NDT", "low contrast takes the lowest waves first; none at moderate severity"),
    "colour": (_VOLTAGE, "a grid that has faded no longer shows how many mm a mV has"),
    "low_resolution": (f"{_LOW_WAVES} {_NOTCHES}", "what is smaller than a pixel is averaged away"),
    "blur": (f"{_LOW_WAVES} {_NOTCHES}", "narrow notches and low waves melt into the line"),
    "noise": (_LOW_WAVES, "low waves drown"),
    "jpeg": (_NOTCHES, "rings beside steep lines look like notches, and notches vanish in them"),
}
"""Effect: (PTB-XL statements and superclasses that it may make unreadable or untrue at high severity, why).

Our reading of the statements' definitions, for a cardiologist to argue with, as `ecglib.signals.DESTROYS` is. Nothing
here moves a label at the severities of the presets that a human reader would still read; that is what they are for.
"""

# In the order of the way from sheet to file: (function, how many uniform numbers it takes).
_GEOMETRIC: dict[str, tuple[Callable, int]] = {
    "rotation": (effects.rotation, 1),
    "perspective": (effects.perspective, 2),
}
_PIXELS: dict[str, tuple[Callable, int]] = {
    "folds": (effects.folds, 15),
    "shadow": (effects.shadow, 4),
    "colour": (effects.colour, 5),
    "blur": (effects.blur, 0),
    "low_resolution": (effects.low_resolution, 0),
    "noise": (effects.noise, 3),
    "jpeg": (effects.jpeg, 0),
}
EFFECTS: tuple[str, ...] = ("folds", *_GEOMETRIC, *(name for name in _PIXELS if name != "folds"))
"""All effects in the order in which they are applied: the sheet is creased before it is photographed."""

PRESETS: dict[str, dict[str, tuple[float, float]]] = {
    "print": {"colour": (0, 0.25), "blur": (0, 0.2), "noise": (0, 0.1)},
    "scan": {
        "folds": (0, 0.4), "rotation": (0, 0.2), "colour": (0, 0.4), "blur": (0, 0.3), "noise": (0, 0.2),
        "jpeg": (0, 0.7),
    },
    "photo": {
        "folds": (0, 0.8), "rotation": (0, 0.7), "perspective": (0, 0.8), "shadow": (0, 0.9), "colour": (0, 0.8),
        "blur": (0, 0.5), "low_resolution": (0, 0.35), "noise": (0, 0.5), "jpeg": (0, 0.8),
    },
}  # fmt: skip
"""Severities are drawn uniformly per record between these bounds; an effect that is not named is off."""


class Degrade:
    """Pages (B, 3, H, W) to degraded pages, on their device, each record by its own draw from (seed, index).

        photo = Degrade("photo")
        harder = Degrade({"rotation": (0.5, 0.5), "jpeg": (0.0, 1.0)})
        pages = photo(pages, index=batch.index, seed=epoch)

    Args:
        what: a name of `PRESETS`, or effects with the bounds of their severity in [0, 1].

    Raises:
        InputError: an unknown preset or effect, or bounds that are not 0 <= low <= high <= 1.
    """

    def __init__(self, what: str | Mapping[str, tuple[float, float]]) -> None:
        if isinstance(what, str):
            if what not in PRESETS:
                raise InputError(f"There is no degradation preset {what!r}.{nearest(what, PRESETS)}")
            what = PRESETS[what]
        for name, bounds in what.items():
            if name not in EFFECTS:
                raise InputError(f"There is no degradation {name!r}.{nearest(name, EFFECTS)}")
            if not (isinstance(bounds, tuple | list) and len(bounds) == 2 and 0 <= bounds[0] <= bounds[1] <= 1):
                raise InputError(
                    f"The severity of {name!r} is {bounds!r}; it needs two numbers, 0 <= low <= high <= 1."
                )
        self.ranges = {name: tuple(what[name]) for name in EFFECTS if name in what and what[name][1] > 0}

    def __call__(self, pages: Tensor, *, index: Tensor | None = None, seed: int = 0) -> Tensor:
        """Degraded pages, float32 in [0, 1].

        Args:
            pages: (B, 3, H, W), float32 in [0, 1] or uint8.
            index: (B,) int64, the records' numbers; 0, 1, ... if not given.

        Raises:
            InputError: pages of another shape.
        """
        if pages.dim() != 4 or pages.shape[1] != 3:
            raise InputError(
                f"The pages have the shape {tuple(pages.shape)} where (records, 3, height, width) is needed."
            )
        index = self._index(len(pages), index, pages.device)
        drawn = {name: self._drawn(name, index, seed) for name in self.ranges}
        warp = None
        if any(name in _GEOMETRIC for name in self.ranges):
            u = uniform(seed, index, 4, stream=100)
            background = 0.15 + 0.6 * u[:, :1] + 0.1 * u[:, 1:]  # a table of some grey or brown, (B, 3)
            warp = self._to_page(pages.shape, index, seed), background
        if pages.device.type != "cpu" or (pages.requires_grad and torch.is_grad_enabled()):
            return self._applied(pages, drawn, warp)
        out = torch.empty(pages.shape)
        for k in range(len(pages)):  # one after another: what is done to a single page stays in the cache
            one = slice(k, k + 1)
            mine = {name: (severity[one], u[one]) for name, (severity, u) in drawn.items()}
            out[one] = self._applied(pages[one], mine, warp and (warp[0][one], warp[1][one]))
        return out

    def _applied(
        self, pages: Tensor, drawn: dict[str, tuple[Tensor, Tensor]], warp: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Pages after all effects, by what was drawn for them; `warp` is the homography and the background."""
        pages = pages.to(torch.float32) / 255 if pages.dtype == torch.uint8 else pages.to(torch.float32)
        for name in self.ranges:
            if name in _PIXELS:
                pages = _PIXELS[name][0](pages, *drawn[name])
            elif name == next(n for n in self.ranges if n in _GEOMETRIC):  # all geometry in one resampling
                pages = effects.warp(pages, *warp)
        return pages.clamp(0, 1)

    def severities(self, index: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
        """The severity (B,) of each effect in use, as drawn for these records."""
        return {name: self._drawn(name, index, seed)[0] for name in self.ranges}

    def move(self, points: Tensor, size: tuple[int, int], *, index: Tensor | None = None, seed: int = 0) -> Tensor:
        """Where points (B, ..., 2) in px of the drawn page, x then y, are on the degraded one of `size` = (H, W)."""
        h, w = size
        index = self._index(len(points), index, points.device)
        forward = effects.invert(self._to_page((len(points), 3, h, w), index, seed))
        unit = points.new_tensor([w / 2, w / 2])
        middle = points.new_tensor([w / 2, h / 2])
        return effects.apply_homography(forward, (points - middle) / unit) * unit + middle

    def may_destroy(self) -> frozenset[str]:
        """PTB-XL statements and superclasses that the effects in use may make unreadable."""
        return frozenset(label for name in self.ranges for label in DESTROYS[name][0].split())

    def _to_page(self, shape: tuple[int, ...], index: Tensor, seed: int) -> Tensor:
        """(B, 3, 3) homography from image to page, in the coordinates of `effects.warp`."""
        total = torch.eye(3, device=index.device).expand(shape[0], 3, 3)
        for name in self.ranges:
            if name in _GEOMETRIC:
                total = total @ _GEOMETRIC[name][0](*self._drawn(name, index, seed), shape[2] / shape[3])
        return total

    def _drawn(self, name: str, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Severity (B,) and the effect's own uniform numbers (B, n)."""
        low, high = self.ranges[name]
        count = (_GEOMETRIC | _PIXELS)[name][1]
        u = uniform(seed, index, 1 + count, stream=101 + EFFECTS.index(name))
        return low + (high - low) * u[:, 0], u[:, 1:]

    @staticmethod
    def _index(b: int, index: Tensor | None, device: torch.device) -> Tensor:
        if index is None:
            return torch.arange(b, device=device)
        if index.shape != (b,):
            raise InputError(f"`index` has the shape {tuple(index.shape)} where ({b},) is needed.")
        return index.to(device)

    def __repr__(self) -> str:
        return f"Degrade({self.ranges})"
