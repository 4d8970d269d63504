"""Batches whose records come with their page, drawn on the device as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError
from ecglib.page.degrade import Degrade
from ecglib.page.layout import Style, Vary
from ecglib.page.render import PageRenderer


@dataclass
class PageBatch:
    """One batch on the device; the same record in each field."""

    signal: Tensor
    """(B, L, T) float32 mV, as it was drawn"""
    page: Tensor
    """(B, 3, H, W) float32 in [0, 1], or uint8; on a CPU the same memory in every batch: clone what is to be kept"""
    label: Tensor | None
    """(B, C) float32, or None"""
    index: Tensor
    """(B,) int64"""


class PageBatches:
    """The batches of `batches`, each record with a page; everything else is theirs.

        train = PageBatches(cohort.batches(32, task=..., shuffle=True), layouts=("3x4", "6x2"), vary=Vary())
        test = PageBatches(cohort.batches(256, task=...), degrade=Degrade("photo"))

    What is random about a record's page is drawn from (seed, epoch, index), so that it looks the same in any batch and
    on any device. Which layout a record has depends on its place in the batch: a batch holds equally many of each. A
    model that is trained on one generator's places learns them, so training should vary all of it.

    Args:
        layouts: names of `LAYOUTS` or `Layout`s.
        size: (H, W) of the pages in pixels.
        style, vary: of the `PageRenderer`; no `vary` is the exact geometry.
        degrade: what happens to the sheets, if anything.
        augment: applied to the signal, before it is drawn.
        drawn_at: (H, W) at which pages are drawn and degraded before they are reduced to `size`, as `read_page` reduces
            a scan; default: `size` itself.
        seed: of the pages; the order of the records is that of `batches`.

    Raises:
        InputError: no layout, or what `PageRenderer` refuses; signals that are too short for a layout.
    """

    def __init__(
        self,
        batches: Any,
        *,
        layouts: Sequence[str] = ("3x4+II",),
        size: tuple[int, int] = (425, 550),
        style: Style | None = None,
        vary: Vary | None = None,
        degrade: Degrade | None = None,
        augment: nn.Module | None = None,
        drawn_at: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        if not layouts:
            raise InputError("Pages need at least one layout, such as 3x4+II.")
        self.batches, self.seed, self.epoch = batches, seed, 0
        self.size, self.drawn_at = tuple(size), tuple(drawn_at or size)
        self.degrade, self.augment = degrade, augment
        common = {"rate": batches.rate, "leads": batches.leads, "size": self.drawn_at, "style": style}
        self.renderers = [PageRenderer(layout, vary=vary, **common) for layout in layouts]
        for renderer in self.renderers:
            if renderer.layout.seconds * batches.rate > batches.length:
                raise InputError(
                    f"The layouts show {renderer.layout.seconds:g} s, but the records are "
                    f"{batches.length / batches.rate:g} s long."
                )
        self._spare: Tensor | None = None

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def identity(self) -> list:
        """See `Batches.identity`; other pages are another training."""
        drawn = [(r.layout, r.style, r.vary) for r in self.renderers]
        made = [self.size, self.drawn_at, self.degrade, self.augment, self.seed]
        return [self.batches.identity, repr(drawn), repr(made)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, and the pages, of the next iteration."""
        self.epoch = epoch
        self.batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[PageBatch]:
        return self.shared(0, 1)

    def shared(self, rank: int, world: int) -> Iterator[PageBatch]:
        """The epoch as one of `world` ranks sees it: its rows of each batch, with the pages that they have in it."""
        for number, batch in enumerate(self.batches.shared(rank, world)):
            signal = batch.signal if self.augment is None else self._augmented(batch.signal, number)
            page = self.draw(signal, batch.index, part=(rank, world))
            yield PageBatch(signal, page, batch.label, batch.index)

    @torch.inference_mode(False)  # what is kept from page to page must be usable outside of that mode too
    @torch.no_grad()
    def draw(
        self, signal: Tensor, index: Tensor, *, check: bool | None = None, part: tuple[int, int] = (0, 1)
    ) -> Tensor:
        """(B, L, T) mV and (B,) positions to this epoch's pages (B, 3, H, W).

        With check=False leads that are NaN are gaps, see `PageRenderer`. `part` says that these are the rows of one
        rank, of so many: a record's layout goes by its place in the whole batch.
        """
        seed = int(np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)[0])
        page = self._memory(signal)
        b, parts = len(signal), len(self.renderers)
        rank, world = part
        edges = [min(max(b * world * k // parts - rank * b, 0), b) for k in range(parts + 1)]
        for renderer, start, stop in zip(self.renderers, edges, edges[1:]):
            if start < stop:
                part = slice(start, stop)
                renderer(signal[part], index=index[part], seed=seed, out=page[part], check=check)
        if self.degrade is not None and self.degrade.ranges:
            page = self.degrade(page, index=index, seed=seed)
        if self.drawn_at != self.size:
            page = F.interpolate(page, self.size, mode="bilinear", antialias=True, align_corners=False)
        return page

    def hold(self) -> list[PageBatch]:
        """All batches of one pass at once, pages as bytes, for several models to be asked about the same pages.

        A quarter of the memory of float pages, and what a scanner gives; `PageView` takes both.
        """
        return [replace(batch, page=(batch.page * 255).round_().to(torch.uint8)) for batch in self]

    def _memory(self, signal: Tensor) -> Tensor:
        """(B, 3, H, W) to draw on. On a CPU it is kept: pages in fresh memory take longer than to draw them."""
        shape = (len(signal), 3, *self.drawn_at)
        if signal.device.type != "cpu":
            return torch.empty(shape, device=signal.device)
        if self._spare is None or len(self._spare) < len(signal):
            self._spare = torch.empty(shape)
        return self._spare[: len(signal)]

    def _augmented(self, signal: Tensor, number: int) -> Tensor:
        """Chance from (seed, epoch, number of the batch) alone, and the global generator as it was: what a loss draws
        must not change the pages of the next batch."""
        words = np.random.SeedSequence((self.seed, self.epoch, number)).generate_state(1, np.uint64)
        with torch.random.fork_rng([signal.device] if signal.device.type == "cuda" else []):
            torch.manual_seed(int(words[0] >> 1))
            return self.augment(signal)
