"""CLT: contrastive lead-information transferring of MVKT-ECG (Qin et al., arXiv 2301.12178).

CRD (Tian et al. 2020, "Contrastive representation distillation") whose negatives know the labels. With a projection to
the unit sphere per side, s = student, t = teacher, a bank of past projections per side, and K negatives per record:

    u(a, b) = <a, b> / temperature - log Z - log(K / N)
    loss    = mean over records of  -log sigmoid(u(s, bank_t[i])) - sum_k log sigmoid(-u(s, bank_t[n_k]))   student's
                                   and the same with (t, bank_s)                                            teacher's

That is CRD's noise-contrastive estimate P / (P + K/N), P = exp(<a, b> / temperature) / Z, written with log-sigmoids
(CRD adds 1e-7 to the denominators instead). Z = N x mean of exp(...) over the first batch, one per direction; then it
stays.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.errors import InputError, nearest
from ecglib.sharing import denominator, gathered_rows, per_record

Rule = Literal["disjoint", "first_label", "released"]


class CLT(nn.Module):
    """Contrast of a record's student and teacher features with those of records of other classes.

    Which records may be a record's negatives (`rule`):
        disjoint: those that share no label with it (our default).
        first_label: those whose first label, in the order of the columns, is another one (released, on ICBEB2018).
        released: those with the opposite bit in `column`. What the released code does on PTB-XL, with the CD column;
            it is a defect, kept to reproduce it.
    In the first two a record without any label has no negatives and is nobody's: nothing is known of its classes.
    Negatives are drawn uniformly, with replacement, on the features' device, from torch's global generator. A record
    without an eligible negative contributes nothing to the loss; `without_negatives` counts such records.

    In training mode each call moves the banks: bank[i] <- norm(momentum * bank[i] + (1 - momentum) * projection). Where
    an index comes twice in a batch, the last one counts. In eval mode neither banks nor Z change. Where ranks
    share a batch, each has the whole banks: Z and the banks' moves are made of the projections of all ranks.

    Args:
        student_dim, teacher_dim: Fs and Ft, sizes of the features.
        labels: (N, C) of 0 and 1, the training records' labels, in the order that `index` counts in.
        dim: D, size of the projections and banks.
        negatives: K, drawn per record.
        temperature: of the similarity.
        momentum: of the banks.
        rule: see above.
        column: the label column that "released" looks at; required there and only there.
        seed: of the banks' random start, uniform in +-1 / sqrt(D / 3) as in CRD.

    Raises:
        InputError: for an unknown rule, labels that are not 0 and 1, labels with which no record has a negative, and
            numbers out of their range.
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, labels: Tensor, *, dim: int = 128, negatives: int = 1024,
        temperature: float = 0.07, momentum: float = 0.5, rule: Rule = "disjoint", column: int | None = None,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if negatives < 1 or dim < 1 or not temperature > 0 or not 0 <= momentum < 1:
            raise InputError(
                "CLT needs at least one negative and dimension, a temperature above 0 and a momentum from 0 to below "
                f"1, but was given {negatives}, {dim}, {temperature:g} and {momentum:g}."
            )
        labels = torch.as_tensor(labels, device="cpu")
        group, eligible = _groups(labels, rule, column)
        n = len(labels)
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        self.rule, self.column, self.seed = rule, column, seed
        self.student_projection = nn.Linear(student_dim, dim)
        self.teacher_projection = nn.Linear(teacher_dim, dim)
        generator = torch.Generator().manual_seed(seed)
        banks = (2 * torch.rand(2, n, dim, generator=generator) - 1) / math.sqrt(dim / 3)
        self.register_buffer("student_bank", banks[0].clone())  # (N, D)
        self.register_buffer("teacher_bank", banks[1].clone())  # (N, D)
        self.register_buffer("log_z", torch.full((2,), math.nan))  # student's, teacher's; NaN until the first batch
        # What follows is a function of the labels alone, so it is made anew and not saved.
        count = torch.bincount(group, minlength=len(eligible))  # (G,)
        for name, value in (
            ("group", group),  # (N,) each record's group of equal labels
            ("eligible", eligible),  # (G, G) may a record of group g have one of group h as a negative?
            ("count", count),  # (G,) records per group
            ("members", group.argsort(stable=True)),  # (N,) records sorted by group
            ("start", count.cumsum(0) - count),  # (G,) where each group starts in `members`
        ):
            self.register_buffer(name, value, persistent=False)
        self.without_negatives = int(((eligible.long() @ count)[group] == 0).sum())
        if self.without_negatives == n:
            raise InputError(
                f"With the rule {rule!r} not one of the {n} training records has a negative, because no two differ "
                "in class; choose another rule, more classes, or beta = 0."
            )

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        """Features (B, Fs) and (B, Ft) of the records `index` (B,) in 0..N-1, to a scalar; 0 for an empty batch.

        The teacher's features are detached; both projections are trained.
        """
        n = len(self.group)
        if len(index) and not bool(((index >= 0) & (index < n)).all()):
            raise InputError(f"CLT knows the records 0 to {n - 1}; leave out records that are not of the training set.")
        with torch.autocast(student.device.type, enabled=False):  # exp(1 / 0.07) is beyond float16
            s = F.normalize(self.student_projection(student.float()), dim=1)  # (B, Fs) -> (B, D)
            t = F.normalize(self.teacher_projection(teacher.detach().float()), dim=1)  # (B, Ft) -> (B, D)
            drawn = self.draw_negatives(index)  # (B, K)
            loss = self.contrast(s, t, index, drawn)
        if self.training:
            index, s, t = (gathered_rows(each.detach()) for each in (index, s, t))
            self._update(self.student_bank, index, s)
            self._update(self.teacher_bank, index, t)
        return loss

    @torch.no_grad()
    def draw_negatives(self, index: Tensor) -> Tensor:
        """(B,) records to (B, K) negatives of theirs, uniform over the eligible; a row of -1 where there is none."""
        weight = self.eligible[self.group[index]] * self.count  # (B,) -> (B, G) eligible records per group
        upto = weight.cumsum(1)
        total = upto[:, -1:]  # (B, 1)
        # The modulo's bias is below N / 2^62; a float32 uniform would miss records beyond 2^24.
        word = per_record(lambda n: torch.randint(2**62, (n, self.negatives), device=index.device), len(index))
        rank = word % total.clamp(min=1)
        group = torch.searchsorted(upto, rank, right=True).clamp(max=len(self.count) - 1)  # (B, K)
        within = rank - (upto - weight).gather(1, group)
        drawn = self.members[(self.start[group] + within).clamp(max=len(self.members) - 1)]
        return torch.where(total > 0, drawn, -1)

    def contrast(self, s: Tensor, t: Tensor, index: Tensor, drawn: Tensor) -> Tensor:
        """The loss of projections (B, D), (B, D) given the negatives (B, K): both directions, averaged over records."""
        valid = drawn[:, 0] >= 0  # (B,)
        other = torch.cat([index[:, None], drawn.clamp(min=0)], dim=1)  # (B, 1 + K), the positive first
        known = denominator(valid.sum())
        loss = s.sum() * 0.0  # keeps the graph where no record of the batch has a negative
        for side, (anchor, bank) in enumerate(((s, self.teacher_bank.clone()), (t, self.student_bank.clone()))):
            # Cloned, because the banks move before the gradient is taken.
            # Gathering (B, 1 + K, D) rows would move more bytes than the whole product for any N up to about K D.
            score = (anchor @ bank.T).gather(1, other) / self.temperature  # (B, D) (D, N) -> (B, N) -> (B, 1 + K)
            u = score - self._log_z(side, score.detach(), valid) - math.log(self.negatives / len(bank))
            each = F.softplus(-u[:, 0]) + F.softplus(u[:, 1:]).sum(dim=1)  # (B, 1 + K) -> (B,)
            loss = loss + torch.where(valid, each, 0.0).sum() / known
        return loss

    def _log_z(self, side: int, score: Tensor, valid: Tensor) -> Tensor:
        """log Z of a direction; taken from this batch's scores (B, 1 + K) if none has been kept yet."""
        masked = torch.where(valid[:, None], score, -math.inf)
        of_each, found = gathered_rows(torch.stack([masked.flatten().logsumexp(0), valid.sum()])[None]).T  # (ranks,)
        entries = (found.sum() * score.shape[1]).clamp(min=1)
        fresh = of_each.logsumexp(0) - entries.log() + math.log(len(self.group))
        fresh = torch.where(found.sum() > 0, fresh, math.nan)
        log_z = torch.where(self.log_z[side].isnan(), fresh, self.log_z[side])
        if self.training:
            self.log_z[side] = log_z
        return log_z.nan_to_num()

    @torch.no_grad()
    def _update(self, bank: Tensor, index: Tensor, new: Tensor) -> None:
        """Moves the rows `index` (B,) of `bank` (N, D) towards `new` (B, D), and back onto the unit sphere."""
        if len(index) == 0:
            return
        moved = F.normalize(self.momentum * bank[index] + (1 - self.momentum) * new, dim=1)
        # The last of equal indices writes for all of them: a scatter of different values to one row has no fixed order.
        position = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index[None, :], position, -1).amax(dim=1)  # (B, B) -> (B,)
        bank[index] = moved[last]

    def extra_repr(self) -> str:
        return (
            f"records={len(self.group)}, negatives={self.negatives}, temperature={self.temperature}, "
            f"momentum={self.momentum}, rule={self.rule!r}, column={self.column}, "
            f"without_negatives={self.without_negatives}, seed={self.seed}"
        )


def _groups(labels: Tensor, rule: str, column: int | None) -> tuple[Tensor, Tensor]:
    """Labels (N, C) to each record's group (N,) int64 and whether two groups are of different classes (G, G) bool."""
    if labels.ndim != 2 or not bool(((labels == 0) | (labels == 1)).all()):
        raise InputError("CLT's labels must be an (N, C) table of 0 and 1; leave out records without labels.")
    if rule not in get_args(Rule):
        raise InputError(f"There is no rule {rule!r} for CLT's negatives.{nearest(rule, get_args(Rule))}")
    if (rule == "released") != (column is not None):
        raise InputError("`column` belongs to CLT's rule 'released' and to no other; give both or neither.")
    labels = labels.long()
    if rule == "disjoint":
        pattern, group = labels.unique(dim=0, return_inverse=True)  # (N, C) -> (G, C), (N,)
        some = pattern.any(dim=1)
        disjoint = pattern.float() @ pattern.T.float() == 0  # (G, C) (C, G) -> (G, G)
        return group, disjoint & some[:, None] & some[None, :]
    if rule == "first_label":
        group = torch.where(labels.any(dim=1), labels.argmax(dim=1), labels.shape[1])  # (N, C) -> (N,); C: no label
        some = torch.arange(labels.shape[1] + 1) < labels.shape[1]
        return group, ~torch.eye(len(some), dtype=torch.bool) & some[:, None] & some[None, :]
    if not 0 <= column < labels.shape[1]:
        raise InputError(f"`column` is {column}, but CLT's labels have columns 0 to {labels.shape[1] - 1}.")
    return labels[:, column], ~torch.eye(2, dtype=torch.bool)
