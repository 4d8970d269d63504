"""L_KD of VizECGNet (Nam et al., arXiv 2408.02888): the page's prediction is drawn to that which knows the signal.

The paper says that distillation raises the similarity of the two streams' predictions; the form was not found. Ours,
per label and averaged over labels and batch, with p the page's and q the other's probability at temperature T:

    bernoulli_kl   T^2 [ q log(q / p) + (1 - q) log((1 - q) / (1 - p)) ],   q is not trained by it
    mse            (q - p)^2 at T,                                          q is not trained by it
    mutual         bernoulli_kl both ways, each teaching the other (Zhang et al. 2018, deep mutual learning)
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError, nearest

Form = Literal["bernoulli_kl", "mse", "mutual"]


class BernoulliKD(nn.Module):
    """The distillation of one set of logits (B, C) towards another; a scalar, 0 where they agree.

    Args:
        form: see above.
        temperature: T, divides both sets of logits.

    Raises:
        InputError: an unknown form, a temperature that is not positive, logits of different shapes.
    """

    def __init__(self, form: Form = "bernoulli_kl", temperature: float = 1.0) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise InputError(f"There is no distillation {form!r}.{nearest(str(form), get_args(Form))}")
        if not temperature > 0:
            raise InputError(f"The temperature of the distillation is {temperature!r}, but must be above 0.")
        self.form, self.temperature = form, temperature

    def forward(self, taught: Tensor, teaching: Tensor) -> Tensor:
        """(B, C) logits of the page's stream, (B, C) logits of what teaches it."""
        if taught.shape != teaching.shape:
            raise InputError(f"Logits of shapes {tuple(taught.shape)} and {tuple(teaching.shape)} cannot be compared.")
        taught, teaching = taught.float() / self.temperature, teaching.float() / self.temperature
        if self.form == "mse":
            return (taught.sigmoid() - teaching.detach().sigmoid()).square().mean()
        loss = self._kl(taught, teaching.detach())
        if self.form == "mutual":
            loss = loss + self._kl(teaching, taught.detach())
        return loss * self.temperature**2

    @staticmethod
    def _kl(towards: Tensor, target: Tensor) -> Tensor:
        """KL(Bernoulli(target) || Bernoulli(towards)), from log-sigmoids, mean over (B, C)."""
        q = target.sigmoid()
        positive = q * (F.logsigmoid(target) - F.logsigmoid(towards))
        negative = (1 - q) * (F.logsigmoid(-target) - F.logsigmoid(-towards))
        return (positive + negative).mean()

    def extra_repr(self) -> str:
        return f"{self.form}, temperature={self.temperature:g}"
