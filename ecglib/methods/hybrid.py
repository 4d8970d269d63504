"""Hybrid: a masked autoencoder with a contrast beside it, as CREMA is read (arXiv 2407.07110, version 3).

    signal --+-- augment -- hide -- encoder --+-- decoder -- rebuilt: mean squared error on the hidden
             |                                |
             |                             pooled -- project --+
             |                                                 +-- NT-Xent
             +-- augment -- encoder ------ pooled -- project --+

    L = L_MAE + lambda L_contrast

The paper calls its method a "contrastive regularized masked autoencoder"; its weight, its views and its contrast were
not found. Ours: the second view is drawn like the first and is contrasted only. It is whole (`second` = "whole"), so
that the encoder meets whole windows in pre-training too, or masked like the first ("masked"); lambda is a parameter.
With lambda = 0 the second view is not drawn at all, and what is left is the masked autoencoder, bit by bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from ecglib.errors import InputError, nearest
from ecglib.methods.encoder import Encoder
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.methods.projection import Contrast

if TYPE_CHECKING:
    from ecglib.cohort import Batch


class Hybrid(MaskedAutoencoder):
    """A masked autoencoder whose visible parts of one record must find each other.

    Args:
        encoder: what is trained and kept.
        contrast_weight: lambda; 0 is the masked autoencoder.
        augment: gives the view that is rebuilt, a random window of the record at the least. What it adds to the signal
            must be rebuilt too, so noise does not belong there.
        augment_second: gives the view that is contrasted only; None takes `augment`.
        second: what the encoder sees of the second view, see above.
        dim, temperature: see `Contrast`.
        masked: further arguments of `MaskedAutoencoder`.

    Raises:
        InputError: a negative lambda, or as `MaskedAutoencoder`.
    """

    def __init__(
        self, encoder: Encoder, *, contrast_weight: float, augment: nn.Module | None = None,
        augment_second: nn.Module | None = None, dim: int = 128,
        second: Literal["whole", "masked"] = "whole", temperature: float = 0.1, **masked: Any,
    ) -> None:  # fmt: skip
        if not contrast_weight >= 0:
            raise InputError(f"contrast_weight (lambda) is {contrast_weight!r}, but must be at least 0.")
        if second not in ("whole", "masked"):
            raise InputError(f"The hybrid's second view is {second!r}.{nearest(second, ('whole', 'masked'))}")
        super().__init__(encoder, augment=augment, **masked)
        self.second, self.augment_second = second, augment_second
        self.contrast_weight = contrast_weight
        # Made last, and only where it is used: with lambda = 0 the weights are those of the masked autoencoder.
        contrast = {"dim": dim, "temperature": temperature}
        self.contrast = Contrast(encoder.feature_dim, **contrast) if contrast_weight else None

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "reconstruction", "contrast"} of a batch, the parts before weighting; labels are not looked at."""
        augment = self.augment or nn.Identity()
        loss, pooled = self.reconstruction(augment(batch.signal))
        parts = {"reconstruction": loss.detach(), "contrast": loss.detach() * 0.0}
        if self.contrast is not None:
            view = (self.augment_second or augment)(batch.signal)
            other = self.visible(view) if self.second == "masked" else self.encoder(view)[1]
            contrast = self.contrast(pooled, other)
            loss = loss + self.contrast_weight * contrast
            parts["contrast"] = contrast.detach()
        return {"loss": loss} | parts

    @property
    def identity(self) -> dict[str, Any]:
        """See `MaskedAutoencoder.identity`."""
        temperature = None if self.contrast is None else self.contrast.temperature
        own = {"contrast_weight": self.contrast_weight, "temperature": temperature, "second": self.second,
               "augment_second": repr(self.augment_second)}  # fmt: skip
        return super().identity | own
