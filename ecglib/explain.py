"""What a network looks at: where on the page, in which lead, and when in the trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecglib.errors import InputError, nearest
from ecglib.methods.page_view import PageView
from ecglib.methods.view import View, evaluating
from ecglib.page.batches import PageBatches


def grad_cam(view: PageView, page: Tensor, label: str) -> Tensor:
    """(B, 3, H, W) to (B, h, w) >= 0: where on the page, as `view.placed` gives it, the evidence for `label` stands.

    Grad-CAM (Selvaraju et al. 2017) on the cells that go into the pooling: each cell's tokens, weighted by the gradient
    of the class's logit averaged over the cells, negative sums cut off. Not normalised.

    Raises:
        InputError: the view has no such class.
    """
    if label not in view.classes:
        raise InputError(f"The view has no class {label!r}.{nearest(label, view.classes)}")
    with evaluating(view), torch.enable_grad():
        tokens = view.tokens(page)  # (B, 3, H, W) -> (B, N, D)
        logit = view.head(view.stream.pool(tokens))[:, view.classes.index(label)]  # (B, N, D) -> (B,)
        (slope,) = torch.autograd.grad(logit.sum(), tokens)
    weight = slope.mean(dim=1, keepdim=True)  # (B, N, D) -> (B, 1, D)
    heat = (weight * tokens.detach()).sum(dim=2).relu()  # (B, N, D) -> (B, N)
    return heat.unflatten(1, view.backbone.grid)  # (B, N) -> (B, h, w)


def attention(view: PageView, page: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, h, w): how much SMAM attends to each cell, mean over heads and asking cells; sums to 1.

    Raises:
        InputError: the view has no SMAM.
    """
    if view.stream.smam is None:
        raise InputError("This view has no SMAM to look into; take grad_cam.")
    with evaluating(view), torch.no_grad():
        tokens = view.stream.embed(view.backbone(view.placed(page)))
        weights = view.stream.smam.weights(tokens)  # (B, N, D) -> (B, N, N)
    return weights.mean(dim=1).unflatten(1, view.backbone.grid)  # (B, N, N) -> (B, N) -> (B, h, w)


def occlusion(view: View, signal: Tensor, label: str, *, window_s: float = 0.2, batch_size: int = 64) -> np.ndarray:
    """(L, T) mV to changes (L + 1, W): how the probability of `label` moves when a piece of the trace is not there.

    Each piece of `window_s` (the last may be shorter) of each lead is replaced by the straight line between the samples
    around it, so that waves go and no step comes; in the last row, that of all leads at once. Zeiler & Fergus 2014, on
    a trace. Negative: the piece spoke for the class.

    Raises:
        InputError: the view has no such class; a window that is no sample long, or longer than the signal.
    """
    if label not in view.classes:
        raise InputError(f"The view has no class {label!r}.{nearest(label, view.classes)}")
    leads, length = signal.shape
    window = round(window_s * view.rate)
    if not 1 <= window <= length:
        raise InputError(f"window_s is {window_s:g} s, {window} samples of a signal of {length}; give one in between.")
    starts = range(0, length, window)
    pieces = [(row, start) for row in range(leads + 1) for start in starts]
    column = view.classes.index(label)
    whole = view.predict(signal[None]).sigmoid()[0, column]
    p = []
    for first in range(0, len(pieces), batch_size):
        part = pieces[first : first + batch_size]
        changed = signal.expand(len(part), leads, length).clone()  # (L, T) -> (b, L, T)
        for one, (row, start) in zip(changed, part):
            rows = slice(None) if row == leads else slice(row, row + 1)
            one[rows, start : start + window] = _bridge(signal[rows], start, window)
        p.append(view.predict(changed).sigmoid()[:, column])
    return (torch.cat(p) - whole).reshape(leads + 1, len(starts)).cpu().numpy()


def _bridge(signal: Tensor, start: int, window: int) -> Tensor:
    """(L, T) to (L, n): the line from the sample before a piece to the one behind it; level at the signal's ends."""
    stop = min(start + window, signal.shape[-1])
    before, behind = signal[:, max(start - 1, 0)], signal[:, min(stop, signal.shape[-1] - 1)]  # (L,)
    before = behind if start == 0 else before
    behind = before if stop == signal.shape[-1] else behind
    share = torch.arange(1, stop - start + 1, dtype=signal.dtype, device=signal.device) / (stop - start + 1)  # (n,)
    return before[:, None] + (behind - before)[:, None] * share


def lead_drop(view: PageView, pages: PageBatches) -> tuple[np.ndarray, np.ndarray]:
    """How the probabilities change when a lead is missing from the page, everywhere that it stands on it.

    The page is drawn again, the same to the pixel but for that lead's trace, which is not drawn; the grid and the
    lead's name stay.

    Args:
        view: the network.
        pages: of N records, in their order, of L leads.

    Returns:
        p (N, C): the probabilities of the whole pages, and change (N, L, C): those without the lead, minus p.
    """
    whole, without = [], []
    if pages.augment is not None:
        raise InputError("Pages that are explained are drawn from the signal as it is; leave `augment` out.")
    for batch in pages:
        p = view.predict(batch.page).sigmoid()  # (B, C)
        changes = []
        for lead in range(batch.signal.shape[1]):
            signal = batch.signal.clone()
            signal[:, lead] = torch.nan
            changes.append(view.predict(pages.draw(signal, batch.index, check=False)).sigmoid() - p)
        whole.append(p)
        without.append(torch.stack(changes, dim=1))  # L x (B, C) -> (B, L, C)
    return torch.cat(whole).cpu().numpy(), torch.cat(without).cpu().numpy()


def by_class(change: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, L, C) changes and (N, C) labels to (C, L): the mean change of a class's probability over its own records."""
    share = truth / np.maximum(truth.sum(axis=0), 1)  # (N, C)
    return np.einsum("nlc,nc->cl", change, share)


def worst(p: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """(count,) rows of (N, C), the most wrong first: the largest distance of a probability from its label."""
    return np.argsort(-np.abs(p - truth).max(axis=1), kind="stable")[:count]


def surest(p: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """For each class the row of its surest true positive; classes without a positive are left out."""
    return {
        name: int(np.argmax(np.where(truth[:, c] > 0, p[:, c], -1.0)))
        for c, name in enumerate(classes)
        if truth[:, c].any()
    }
