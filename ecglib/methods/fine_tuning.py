"""Fine-tuning: a pre-trained encoder goes on learning with labels, the layers near the input more slowly.

With one learning rate for all layers, published foundation encoders lose what they had learnt (macro AUC .940 to .779
in one benchmark of ECG models); each layer's rate is therefore `decay` times that of the layer above it (Clark et al.
2020, "ELECTRA"; Bao et al. 2022, "BEiT").
"""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from ecglib.errors import InputError
from ecglib.methods.lead_kd import Supervised
from ecglib.methods.view import View


class FineTune(Supervised):
    """A view that began as an encoder (`Encoder.view`), trained on labels with learning rates by depth.

    Args:
        view: what is trained; its backbone has `layers()`.
        decay: of the learning rate from a layer to the one below it; 1 gives all layers the same.
        augment: applied to the whole signal in training only.

    Raises:
        InputError: a decay that is not above 0 and at most 1.
    """

    def __init__(self, view: View, *, decay: float = 0.75, augment: nn.Module | None = None) -> None:
        if not 0 < decay <= 1:
            raise InputError(f"layer_decay is {decay!r}, but must be above 0 and at most 1.")
        super().__init__(view, augment=augment)
        self.decay = decay
        self.began_with = _digest(view)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Head first, at the whole learning rate, then the layers from the output to the input."""
        groups = [{"params": list(self.view.backbone.head.parameters()), "scale": 1.0}]
        for depth, layer in enumerate(reversed(list(self.view.backbone.layers())), 1):
            groups.append({"params": layer, "scale": self.decay**depth})
        return groups

    @property
    def identity(self) -> dict[str, Any]:
        """See `Supervised.identity`; the encoder's weights that it begins with are part of it."""
        return super().identity | {"decay": self.decay, "began_with": self.began_with}


def _digest(view: View) -> str:
    """sha256 of what the view has from its encoder: all weights but the fresh head's."""
    digest = hashlib.sha256()
    for name, value in view.state_dict().items():
        if not name.startswith("backbone.head."):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
