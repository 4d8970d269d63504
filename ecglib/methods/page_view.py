"""A view of the page: an image of the printed ECG, through a backbone; what a checkpoint of the page network holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecglib.errors import InputError
from ecglib.methods import cards
from ecglib.methods.view import evaluating
from ecglib.models.attention import Stream
from ecglib.models.page_backbone import PageBackbone
from ecglib.page.register import register

_NEEDED = (
    "classes",
    "size_px",
    "backbone",
    "weights",
    "width",
    "dim",
    "heads",
    "smam",
    "dropout",
    "registered",
    "layouts",
)


class PageView(nn.Module):
    """Pages (B, 3, H, W) to one logit per class. It takes an image and nothing else.

        page [-> registration] -> timm backbone -> tokens -> projection [-> SMAM] -> mean and maximum over cells
        -> linear -> logits

    Args:
        backbone: any name of timm.
        classes: names of the C outputs, in their order.
        size: (H, W) of the pages.
        weights, width: see `PageBackbone`.
        dim, heads: of the tokens, and of their attention.
        smam: with self-modality attention.
        registered: bring the drawing to one place and size first, see `ecglib.page.register`.
        dropout: of the pooled features, in training.
        layouts: those it is trained on, for its card.

    Raises:
        InputError: an unknown backbone, weights that are missing or do not fit, a size that it cannot take.
    """

    takes = "page"

    def __init__(
        self, backbone: str, *, classes: Sequence[str], size: tuple[int, int], weights: str = "none",
        width: float = 1.0, dim: int = 128, heads: int = 4, smam: bool = False, dropout: float = 0.0,
        registered: bool = True, layouts: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if not classes or len(set(classes)) < len(classes):
            raise InputError(f"A view needs classes of different names, but was given {list(classes)}.")
        self.classes, self.layouts = tuple(classes), tuple(layouts)
        self.backbone = PageBackbone(backbone, size=size, weights=weights, width=width)
        self.size, self.origin = self.backbone.size, self.backbone.origin
        self.options = {
            "width": width,
            "dim": dim,
            "heads": heads,
            "smam": smam,
            "dropout": dropout,
            "registered": registered,
        }
        h, w = self.backbone.grid
        self.stream = Stream(
            self.backbone.token_dim, dim=dim, classes=len(self.classes), smam=smam, tokens=h * w, heads=heads,
            dropout=dropout,
        )  # fmt: skip

    @property
    def feature_dim(self) -> int:
        """F, the size of the pooled features."""
        return self.stream.feature_dim

    def tokens(self, page: Tensor) -> Tensor:
        """(B, 3, H, W), float in [0, 1] or uint8, to tokens (B, N, D), after SMAM where there is one.

        N = h w cells, row by row.
        """
        if page.ndim != 4 or tuple(page.shape[1:]) != (3, *self.size):
            raise InputError(
                f"The network takes pages of shape (B, 3, {self.size[0]}, {self.size[1]}), but was given "
                f"{tuple(page.shape)}; read_page gives them that size."
            )
        return self.stream.tokens(self.backbone(self.placed(page)))

    def placed(self, page: Tensor) -> Tensor:
        """(B, 3, H, W), float in [0, 1] or uint8, as the backbone is given it: registered where that is on."""
        page = page.float() / 255 if page.dtype == torch.uint8 else page
        return register(page) if self.options["registered"] else page

    def features(self, page: Tensor) -> Tensor:
        """(B, 3, H, W) to pooled features (B, F)."""
        return self.stream.pool(self.tokens(page))

    def head(self, features: Tensor) -> Tensor:
        """(B, F) to logits (B, C), in float32."""
        return self.stream.judge(features)

    def forward(self, page: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, C)."""
        return self.head(self.features(page))

    def predict(self, page: Tensor, *, batch_size: int = 64) -> Tensor:
        """Logits (B, C) in eval mode, without gradients, `batch_size` pages at a time."""
        with evaluating(self), torch.no_grad():
            return torch.cat([self(part) for part in page.split(batch_size)])

    def card(self) -> dict[str, Any]:
        """What one must know to use the weights: plain values, as saved beside them."""
        return {
            "format": cards.FORMAT,
            "classes": list(self.classes),
            "size_px": list(self.size),
            "layouts": [str(layout) for layout in self.layouts],
            "backbone": self.backbone.name,
            "weights": self.origin,
            **self.options,
            "page": "float32 in [0, 1], (batch, 3, height, width), as ecglib.page.read_page gives it",
            "output": "one logit per class; its sigmoid is the probability",
        }

    def digest(self) -> str:
        """sha256 of the weights as they would be saved."""
        return hashlib.sha256(cards.as_bytes(self)).hexdigest()

    def save(self, path: str | os.PathLike) -> Path:
        """Weights and card, see `cards.save`."""
        return cards.save(self, path, self.card())

    @classmethod
    def load(cls, path: str | os.PathLike, *, expect_classes: Sequence[str] | None = None) -> PageView:
        """The view saved at `path`, on the CPU and in eval mode.

        Raises:
            InputError: weights or card are missing, unreadable or do not belong together; the classes are not those
                expected.
        """
        card, weights = cards.read(path, _NEEDED)
        if expect_classes is not None and list(expect_classes) != card["classes"]:
            raise InputError(
                f"The checkpoint {path} has the classes {' '.join(card['classes'])} where {' '.join(expect_classes)} "
                "was expected; give another checkpoint or train one for this task."
            )
        view = cls(
            card["backbone"], classes=card["classes"], size=tuple(card["size_px"]), layouts=card["layouts"],
            **{name: card[name] for name in ("width", "dim", "heads", "smam", "dropout", "registered")},
        )  # fmt: skip
        cards.fill(view, weights, path)
        view.origin = card["weights"]
        return view.eval()
