"""MKD: multi-label knowledge distillation of MVKT-ECG (Qin et al., arXiv 2301.12178)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError, nearest

Variant = Literal["tempered", "released"]


class MKD(nn.Module):
    """One Bernoulli KL per label, teacher to student, summed over the labels, averaged over the batch.

    With p = sigmoid(teacher), q = sigmoid(student), for each record sum_c KL([p_c, 1 - p_c] || [q_c, 1 - q_c]).

    `tempered`: both logits are divided by T first and the loss is multiplied by T^2, as Hinton et al. 2015 do for a
    softmax, so that the gradient keeps its scale; ours.
    `released`: what the released code computes. There T divides the *probabilities*, which only rescales, and
    torch's default reduction divides by the two entries of each pair as well: KL / (2 T). At T = 1 this is half of
    `tempered`.

    Args:
        temperature: T > 0.
        variant: "tempered" or "released".

    Raises:
        InputError: for another variant or a T that is not above 0.
    """

    def __init__(self, temperature: float = 1.0, variant: Variant = "tempered") -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise InputError(f"There is no MKD variant {variant!r}.{nearest(variant, get_args(Variant))}")
        if not temperature > 0:
            raise InputError(f"The MKD temperature is {temperature!r}, but must be above 0.")
        self.temperature = temperature
        self.variant = variant

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (B, C) and (B, C) to a scalar. No gradient reaches the teacher."""
        teacher = teacher.detach()
        t = self.temperature
        if self.variant == "released":
            return bernoulli_kl(teacher, student).sum(dim=1).mean() / (2 * t)
        return bernoulli_kl(teacher / t, student / t).sum(dim=1).mean() * t**2

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, variant={self.variant!r}"


def bernoulli_kl(p_logit: Tensor, q_logit: Tensor) -> Tensor:
    """KL(Bernoulli(sigmoid(p)) || Bernoulli(sigmoid(q))) of each entry, in float32 or better.

    log p and log(1 - p) come from log-sigmoids, never from the logarithm of a probability that has rounded to 0 or 1.
    """
    exact = torch.promote_types(p_logit.dtype, torch.float32)
    p, q = p_logit.to(exact), q_logit.to(exact)
    yes = p.sigmoid() * (F.logsigmoid(p) - F.logsigmoid(q))
    no = (-p).sigmoid() * (F.logsigmoid(-p) - F.logsigmoid(-q))
    return yes + no
