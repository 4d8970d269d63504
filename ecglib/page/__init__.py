"""ECG pages: drawn from signals, degraded as prints and photos are, and read back from files.

The names below are imported when they are first used, so that checking a layout's name needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecglib.page.batches import PageBatch, PageBatches
    from ecglib.page.degrade import DESTROYS, EFFECTS, PRESETS, Degrade
    from ecglib.page.layout import LAYOUTS, PAPERS, Layout, Paper, Style, Vary
    from ecglib.page.render import PageRenderer, Places
    from ecglib.page.scan import read_page

_HOME = {
    "batches": ("PageBatch", "PageBatches"),
    "degrade": ("DESTROYS", "EFFECTS", "PRESETS", "Degrade"),
    "layout": ("LAYOUTS", "PAPERS", "Layout", "Paper", "Style", "Vary"),
    "render": ("PageRenderer", "Places"),
    "scan": ("read_page",),
}

__all__ = [
    "DESTROYS",
    "EFFECTS",
    "LAYOUTS",
    "PAPERS",
    "PRESETS",
    "Degrade",
    "Layout",
    "PageBatch",
    "PageBatches",
    "PageRenderer",
    "Paper",
    "Places",
    "Style",
    "Vary",
    "read_page",
]


def __getattr__(name: str) -> object:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"ecglib.page.{module}"), name)
    raise AttributeError(f"module 'ecglib.page' has no attribute {name!r}")
