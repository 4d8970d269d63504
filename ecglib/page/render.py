"""Draws ECG pages: a batch of signals in, a batch of images out, on the signals' device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecglib import leads as lead_names
from ecglib.errors import InputError
from ecglib.page import ink, paper, trace
from ecglib.page.draws import constant
from ecglib.page.geometry import Geometry, draw_geometry
from ecglib.page.layout import Layout, Style, Vary, frame, get_layout

_BLOCK = 8  # chunks whose geometry is drawn together, on a processor: its tensors are small
_CHUNK_PIXELS = {"cpu": 16 * 425 * 550, "cuda": 256 * 425 * 550}  # intermediates near the cache, or in the memory


@dataclass(frozen=True)
class Places:
    """Where the N panels of each page are, in pixels (x to the right, y down, pixel centres at + 0.5).

    leads: the panels' leads, in the layout's order; a lead that is also a strip occurs twice.
    boxes: (B, N, 4) x0, y0, x1, y1: from the panel's first to its last moment, and half a row above and below 0 mV.
    traces: (B, N, K, 2) x, y of every sample of a panel; NaN after the last sample of panels shorter than the longest.
    """

    leads: tuple[str, ...]
    boxes: Tensor
    traces: Tensor


@dataclass(frozen=True)
class _Sheets:
    """Pages without their traces, G of them: geometry, `paper.grid_profiles`, and what is stamped on them."""

    geometry: Geometry
    profiles: tuple[Tensor, Tensor]
    stamps: list[tuple[Tensor, Tensor]]

    def part(self, pages: slice) -> _Sheets:
        stamps = [(place[pages], stamp[pages]) for place, stamp in self.stamps]
        return _Sheets(self.geometry.part(pages), tuple(profile[pages] for profile in self.profiles), stamps)


class PageRenderer:
    """Draws (B, L, T) mV as (B, 3, H, W) pages.

        draw = PageRenderer("3x4+II", rate=500, leads=LEADS, vary=Vary())
        pages = draw(signal, index=batch.index, seed=epoch)

    Without `vary` every page has the style's exact geometry; with it each record draws its own from (seed, index), so
    that a record looks the same in any batch and on any device. The first `layout.seconds` of the signal are drawn;
    what is higher than its row runs over its neighbours, as on paper, and is cut at the page's edge.

    Args:
        layout: a name of `LAYOUTS` or a `Layout`.
        rate: of the signals, Hz.
        leads: the signals' leads, in their order; aliases are known, further ones are passed over.
        size: (H, W) in pixels.
        style: lengths and colours.
        vary: ranges of what varies from page to page.
        dtype: torch.float32 in [0, 1], or torch.uint8 in 0..255, a quarter of the memory and no gradient.

    Raises:
        InputError: an unknown layout or paper, a rate that is not positive, a lead that is missing, a drawing that does
            not fit the size, another dtype.
    """

    def __init__(
        self,
        layout: str | Layout = "3x4+II",
        *,
        rate: float,
        leads: Sequence[str],
        size: tuple[int, int] = (425, 550),
        style: Style | None = None,
        vary: Vary | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layout = get_layout(layout)
        self.panels = self.layout.panels()
        if not (isinstance(rate, int | float) and math.isfinite(rate) and rate > 0):
            raise InputError(f"The rate is {rate!r} where a positive number of Hz is needed.")
        if dtype not in (torch.float32, torch.uint8):
            raise InputError(f"Pages are drawn as torch.float32 or torch.uint8, not {dtype}.")
        self.rate, self.leads, self.size, self.dtype = float(rate), tuple(leads), tuple(size), dtype
        self.positions = lead_names.indices(self.leads, [p.lead for p in self.panels])
        self.style = style or Style()
        self.style.check()
        self.vary = vary or Vary.none(self.style)
        self.vary.check()
        self.fixed = vary is None
        self.frame = frame(self.layout, self.style, self.size, self.vary)
        self._kept: dict = {}
        self._spare: list[Tensor] = []

    def __call__(
        self,
        signal: Tensor,
        *,
        index: Tensor | None = None,
        seed: int = 0,
        check: bool | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Pages (B, 3, H, W) of signals (B, L, T) mV.

        Args:
            signal: float; gradients flow back to it where it requires them (float32 pages only).
            index: (B,) int64, the records' numbers, from which with `seed` the variation is drawn; else 0, 1, ...
            check: look for samples that are not finite. The default does on a processor, and not on an accelerator,
                where it would have to wait for the device; there such samples leave a gap in the trace.
            out: (B, 3, H, W) contiguous, to write to. Large pages in fresh memory take longer than to draw them: a loop
                without gradients should keep one.

        Raises:
            InputError: the signal has another number of leads, is too short, or holds NaN or infinities; `out` does not
                fit.
        """
        signal, index = self._checked(signal, index, check)
        b, shape = len(signal), (len(signal), 3, *self.size)
        if signal.requires_grad and torch.is_grad_enabled():
            if out is not None or self.dtype != torch.float32:
                raise InputError("A page with gradients needs dtype torch.float32 and no `out`.")
            return self._dense(signal, index, seed)
        if out is None:
            out = torch.empty(shape, dtype=self.dtype, device=signal.device)
        if out.shape != shape or out.dtype != self.dtype or out.device != signal.device or not out.is_contiguous():
            raise InputError(f"`out` must be a contiguous {shape} {self.dtype} on {signal.device}.")
        with torch.no_grad():
            if signal.device.type == "cpu":
                self._sparse(signal, index, seed, out)
                return out
            chunk = self._chunk("cuda")
            for k in range(0, b, chunk):
                part = slice(k, k + chunk)
                pages = self._dense(signal[part], index[part], seed)
                out[part].copy_((pages * 255).round_() if self.dtype == torch.uint8 else pages)
        return out

    def locate(self, signal: Tensor, *, index: Tensor | None = None, seed: int = 0) -> Places:
        """Where the panels and the traces are on the pages that the same arguments draw."""
        signal, index = self._checked(signal, index, None)
        g, panels, b = self._geometry(index, seed), self.panels, len(signal)
        device = signal.device
        start, seconds, row = (
            constant(tuple(getattr(p, name) for p in panels), device) for name in ("start", "seconds", "row")
        )
        px_per_s = (self.style.speed * g.ppm)[:, None]  # (G, 1)
        base = g.baselines(row)  # (G, N)
        left, right = g.x0[:, None] + px_per_s * start, g.x0[:, None] + px_per_s * (start + seconds)
        half = 0.5 * g.pitch[:, None]
        boxes = torch.stack([left, base - half, right, base + half], dim=-1)  # (G, N, 4)
        longest = max(math.ceil(p.seconds * self.rate - 1e-6) for p in panels)
        begin = torch.ceil(start.double() * self.rate - 1e-6).long()
        at = begin[:, None] + torch.arange(longest, device=device)  # (N, K) sample numbers
        beyond = (at >= ((start + seconds).double() * self.rate - 1e-6)[:, None]) | (at >= signal.shape[-1])
        mv = signal[:, self.positions].gather(2, at.clamp(max=signal.shape[-1] - 1).expand(b, -1, -1))  # (B, N, K)
        x = g.x0[:, None, None] + px_per_s[..., None] * (at / self.rate)
        y = base[..., None] - (self.style.gain * g.ppm)[:, None, None] * mv
        traces = torch.stack([x.expand_as(y), y], dim=-1).masked_fill(beyond[..., None], torch.nan)
        return Places(tuple(p.lead for p in panels), boxes.expand(b, -1, -1), traces)

    # -------------------------------------------------------------------------------------------- the steps of drawing

    def _chunk(self, device: str) -> int:
        return max(1, _CHUNK_PIXELS[device] // (self.size[0] * self.size[1]))

    def _sparse(self, signal: Tensor, index: Tensor, seed: int, out: Tensor) -> None:
        """Writes pages to `out` pixel by touched pixel, for processors."""
        chunk = self._chunk("cpu")
        block = chunk if self.fixed else _BLOCK * chunk
        scratch = self._borrow_scratch(chunk * 3 * self.size[0] * self.size[1])
        for k in range(0, len(signal), block):
            sheets = self._sheets(index[k : k + block], seed)
            for j in range(0, len(signal[k : k + block]), chunk):
                part = slice(k + j, k + min(j + chunk, block))
                self._draw(signal[part], sheets if self.fixed else sheets.part(slice(j, j + chunk)), out[part], scratch)
        self._spare.append(scratch)

    def _draw(self, signal: Tensor, sheets: _Sheets, out: Tensor, scratch: Tensor) -> None:
        """Writes pages to `out`; `scratch` is all zeros before and after."""
        sampler = self._sampler(sheets.geometry, signal.shape[-1])
        top, bottom = trace.intervals(signal, sampler, self.size[0])
        b, columns = len(signal), sampler.column.shape[1]
        first = torch.arange(b)[:, None] * (3 * self.size[0] * self.size[1])  # where each page begins in `out`
        at, cover, whose = ink.coverage_pixels(top, bottom, (first + sampler.column).flatten().int(), self.size)
        colour = sheets.geometry.ink.t()  # (G, 3) -> (3, G)
        if self.fixed:
            out.copy_(self._sheet(signal.device))
            ink.blend(out, at, cover, colour, scratch)
            return
        paper.fill(out, *sheets.profiles)
        colour = colour[..., None]  # (3, B, 1)
        colours = [colour.expand(3, b, columns).flatten(1)] * ink.ALWAYS  # (3, B * C)
        colours.append(colours[0].index_select(1, whose))
        for place, stamp in sheets.stamps:  # (B, K): pulses and names join the trace's list
            at, cover = torch.cat([at, (first + place).flatten()]), torch.cat([cover, stamp.flatten()])
            colours.append(colour.expand(3, *place.shape).flatten(1))
        ink.blend(out, at, cover, torch.cat(colours, dim=1), scratch)

    def _borrow_scratch(self, pixels: int) -> Tensor:
        """Zeros to add up coverage in, handed back zeroed after use: threads that draw at once have one each."""
        try:
            return self._spare.pop()
        except IndexError:
            return torch.zeros(pixels)

    def _dense(self, signal: Tensor, index: Tensor, seed: int) -> Tensor:
        """(B, 3, H, W) float32 in whole-page operations that never wait for the device and let gradients through."""
        sheets = self._sheets(index, seed)
        sampler = self._sampler(sheets.geometry, signal.shape[-1])
        top, bottom = trace.intervals(signal, sampler, self.size[0])
        cover = ink.coverage_page(top, bottom, sampler.column, self.size)  # (B, H, W)
        if self.fixed:
            sheet = self._sheet(signal.device)
        else:
            down, across = sheets.profiles
            sheet = down * across  # (G, 3, H, 1), (G, 3, 1, W) -> (G, 3, H, W)
            for place, stamp in sheets.stamps:
                cover = cover.flatten(1).scatter_add(1, place, stamp).view_as(cover)
        if sheet.dtype == torch.uint8:
            sheet = sheet.to(torch.float32) / 255
        return torch.lerp(sheet, sheets.geometry.ink[:, :, None, None], cover.clamp(0, ink.FULL)[:, None] / ink.FULL)

    def _sheets(self, index: Tensor, seed: int) -> _Sheets:
        """The pages of `index` without their traces; where all are alike, one, kept per device."""
        device = index.device
        if self.fixed and device in self._kept:
            return self._kept[device]
        index = torch.zeros(1, dtype=torch.int64, device=device) if self.fixed else index
        geometry = self._geometry(index, seed)
        sheets = _Sheets(geometry, paper.grid_profiles(geometry, self.style, self.size), self._stamps(geometry))
        if self.fixed:
            self._kept[device] = sheets
        return sheets

    def _geometry(self, index: Tensor, seed: int) -> Geometry:
        index = torch.zeros(1, dtype=torch.int64, device=index.device) if self.fixed else index
        return draw_geometry(self.frame, self.layout, self.style, self.vary, self.size[1], seed, index)

    def _sampler(self, geometry: Geometry, samples: int) -> trace.Sampler:
        """The sampler of these pages; where all are alike, kept per device and length."""
        key = (geometry.ppm.device, samples)
        if self.fixed and key in self._kept:
            return self._kept[key]
        made = trace.make_sampler(
            geometry, self.panels, self.positions, self.frame, self.style, self.vary,
            rate=self.rate, samples=samples, size=self.size,
        )  # fmt: skip
        if self.fixed:
            self._kept[key] = made
        return made

    def _stamps(self, geometry: Geometry) -> list[tuple[Tensor, Tensor]]:
        stamps = []
        if self.style.names or self.style.scales:
            stamps.append(paper.text_stamps(geometry, self.panels, self.style, self.frame.ppm, self.size))
        if self.style.pulse:
            ppm_max, line_max = self.frame.ppm * self.vary.scale[1], self.vary.line_mm[1]
            stamps.append(paper.pulse_stamps(geometry, self.layout.row_count, self.style, ppm_max, line_max, self.size))
        return stamps

    def _sheet(self, device: torch.device) -> Tensor:
        """(3, H, W) paper with grid, pulses and names, where all pages are alike."""
        key = (device, "drawn")
        if key not in self._kept:
            sheets = self._sheets(torch.zeros(1, dtype=torch.int64, device=device), 0)
            down, across = sheets.profiles
            cover = torch.zeros(1, self.size[0] * self.size[1], device=device)
            for place, stamp in sheets.stamps:
                cover.scatter_add_(1, place, stamp)
            cover = cover.clamp_(max=ink.FULL).div_(ink.FULL).view(1, 1, *self.size)
            sheet = torch.lerp(down * across, sheets.geometry.ink[:, :, None, None], cover)[0]
            self._kept[key] = (sheet * 255).round_().to(torch.uint8) if self.dtype == torch.uint8 else sheet
        return self._kept[key]

    def _checked(self, signal: Tensor, index: Tensor | None, check: bool | None) -> tuple[Tensor, Tensor]:
        if signal.dim() != 3 or signal.shape[1] != len(self.leads):
            raise InputError(
                f"The signals have the shape {tuple(signal.shape)} where "
                f"(records, {len(self.leads)} leads, samples) is needed."
            )
        if not signal.is_floating_point():
            raise InputError(f"The signals are {signal.dtype}; give them in mV, as torch.float32.")
        seconds = signal.shape[-1] / self.rate
        if seconds < self.layout.seconds - 1 / self.rate or signal.shape[-1] < 2:
            raise InputError(
                f"The signals last {seconds:g} s at {self.rate:g} Hz where the layout shows {self.layout.seconds:g} s; "
                "pad them or take a layout of fewer seconds."
            )
        if index is None:
            index = torch.arange(len(signal), device=signal.device)
        elif index.shape != signal.shape[:1]:
            raise InputError(f"`index` has the shape {tuple(index.shape)} where ({len(signal)},) is needed.")
        if check is None:
            check = signal.device.type == "cpu"
        # One sum finds what isfinite().all() would, without a tensor of its own; finite mV cannot overflow it.
        if check and not bool(signal.detach().sum().isfinite()):
            bad = int((~signal.detach().isfinite()).flatten(1).any(1).nonzero()[0])
            raise InputError(f"Record {int(index[bad])} holds samples that are NaN or infinite; drop or mend it.")
        return signal.to(torch.float32), index.to(signal.device)
