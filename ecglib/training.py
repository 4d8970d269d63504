"""The one training loop. A method gives a loss per batch; the loop does everything around it.

A *method* is a module with

- ``training_step(batch) -> {"loss": scalar, name of a part: scalar, ...}``,
- ``predict(signal) -> logits (B, C)``, without gradients and in evaluation mode; a method whose ``takes`` is "page" is
  given the batch's page in place of its signal, and nothing else,
- ``inference_module() -> Module``, the part whose weights are the product; the best epoch's are kept,
- optionally ``parameter_groups() -> [{"params": [...], "scale": factor of the learning rate}]``, for layer-wise rates.

Self-supervised methods have no ``predict``; they are trained without validation, and the last epoch's weights are kept.

Every source of chance in a step hangs on (seed, epoch, step) alone. So methods that differ in what they draw in their
losses still see the same batches, changed alike; and a run that was killed goes on from its last whole checkpoint and
ends with the same bits as one that was not (on one machine's CPU).

Started on several ranks, the loop shares each batch between them (`sharing`): rank 0 validates, and keeps checkpoints,
with which a run may go on on another number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm.auto import tqdm

from ecglib import checkpoint, sharing
from ecglib.errors import InputError
from ecglib.metrics import auc, macro


@dataclass(frozen=True)
class Settings:
    """How a model is trained; every field ends up in the report."""

    epochs: int
    learning_rate: float  # the schedule's peak
    optimiser: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.0
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    warmup_epochs: float = 0.0  # linear from 1 % of the peak; one_cycle takes 30 % of the run where this is 0
    base_rate: float = 1e-3  # schedule "steps": the rate after the warm-up
    milestones: tuple[int, ...] = ()  # schedule "steps": epochs at which the rate falls to a tenth
    betas: tuple[float, float] = (0.9, 0.999)  # adamw only; masked autoencoders take (0.9, 0.95)
    clip: float = 0.0  # the gradient's norm is cut here; 0 = never
    precision: Literal["no", "bf16", "fp16"] = "no"
    patience: int = 0  # epochs without a better validation value before the run stops; 0 = never
    validate_every: int = 1  # epochs from one validation, and checkpoint, to the next; the last epoch always has one
    select: Literal["best", "last"] = "best"  # which epoch's weights are kept, judged on validation
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "validate_every"):
            if getattr(self, name) <= 0:
                raise InputError(f"The training's {name} must be above 0, not {getattr(self, name)}.")
        for name in ("weight_decay", "warmup_epochs", "clip", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"The training's {name} must not be negative, and is {getattr(self, name)}.")

    def rate(self, progress: float) -> float:
        """The learning rate after `progress` epochs, a fraction of an epoch counted."""
        warmup = self.warmup_epochs or (0.3 * self.epochs if self.schedule == "one_cycle" else 0.0)
        if progress < warmup:
            return self.learning_rate * (0.01 + 0.99 * progress / warmup)
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "steps":
            return self.base_rate * 0.1 ** sum(progress >= m for m in self.milestones)
        done = (progress - warmup) / max(self.epochs - warmup, 1e-9)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@dataclass
class Fit:
    """What a training leaves behind, beside the method's own weights (already the chosen epoch's)."""

    history: pd.DataFrame  # one row per epoch: epoch, learning_rate, loss, its parts, valid_loss, valid_macro_auc
    epoch: int  # the epoch whose weights were kept, counted from 1
    value: float  # its macro AUC on validation; NaN without validation
    seconds: float  # spent training, resumed parts included
    resumed_at: int = 0  # epochs that came from a checkpoint

    def summary(self) -> dict[str, float]:
        """The row of a report's table of trainings."""
        judged = {} if math.isnan(self.value) else {"validation macro AUC": round(self.value, 4)}
        return {
            "epochs": len(self.history), "kept epoch": self.epoch, **judged, "minutes": round(self.seconds / 60, 1),
        }  # fmt: skip


@dataclass
class _State:
    """The resumable state beside weights and optimiser: plain values, and the best weights so far."""

    epoch: int = 0
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False


class _Step(nn.Module):
    """`training_step` as a forward pass, which is what mixed precision and data parallelism wrap."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self.method.training_step(batch)


def fit(
    method: nn.Module,
    train: Any,
    valid: Any | None,
    *,
    settings: Settings,
    checkpoints: Path | None = None,
    progress: Literal["bar", "lines", "none"] = "lines",
    name: str = "",
) -> Fit:
    """Train `method` on `train`, choose the epoch on `valid`, and leave the chosen weights in the method.

    Args:
        train: batches with ``set_epoch``; each is seen once per epoch.
        valid: batches with labels; their macro AUC chooses the epoch and stops the run early. Never the test fold. None
            trains to the last epoch and keeps that one, as self-supervision does.
        checkpoints: a folder. The state is written there after every epoch and picked up from there when the same
            training (same settings, method, records and order) starts again.
        progress: a live bar, one line per epoch, or silence.

    Raises:
        InputError: there is nothing to train or validate on, or the loss is not a number any more.
    """
    if valid is None and (settings.select == "best" or settings.patience):
        raise InputError("Without validation no epoch can be chosen: train with select='last' and patience=0.")
    if len(train) == 0 or (valid is not None and len(valid) == 0):
        raise InputError(f"There is nothing to {'validate' if len(train) else 'train'} {name or 'the model'} on.")
    # accelerate keeps one precision per process; a notebook may train one model in bf16 and another in full precision.
    AcceleratorState._reset_state()
    device = _device_of(method)
    sharing.join(device)
    accelerator = Accelerator(
        mixed_precision=settings.precision, cpu=device.type == "cpu", kwargs_handlers=sharing.handlers()
    )
    trained = [p for p in method.parameters() if p.requires_grad]
    optimiser = _optimiser(settings, method)
    step, optimiser = accelerator.prepare(_Step(method), optimiser)
    key = _key(settings, method, train, valid)
    sharing.require_same(key, f"{name or 'The model'}: rank {{ranks}} would train with other records or settings than "
                         "rank 0; give every machine the same data and the same command.")  # fmt: skip
    state = _resume(checkpoints, key, method, optimiser, name)
    resumed_at = state.epoch

    bar = tqdm(total=settings.epochs, initial=state.epoch, desc=name, disable=progress != "bar", unit="epoch")
    while state.epoch < settings.epochs and not state.stopped:
        started = time.perf_counter()
        row = _train_epoch(step, train, accelerator, optimiser, trained, settings, state.epoch)
        pause = (state.epoch + 1) % settings.validate_every == 0 or state.epoch + 1 == settings.epochs
        row |= sharing.from_first(lambda: _validate(method, valid)) if valid is not None and pause else {}
        state.seconds += time.perf_counter() - started
        _advance(state, row, method, settings)
        if checkpoints is not None and pause and accelerator.is_main_process:
            tree = {"key": key, "state": vars(state), "method": _trained_state(method)}
            checkpoint.save_numbered(checkpoints, state.epoch, tree | {"optimiser": optimiser.state_dict()})
        bar.set_postfix({"loss": f"{row['loss']:.3f}", "AUC": f"{row.get('valid_macro_auc', math.nan):.3f}"})
        bar.update()
        if progress == "lines" and pause:
            print(_line(name, row, settings), flush=True)
    bar.close()

    method.inference_module().load_state_dict(state.best)
    history = pd.DataFrame(state.history)
    return Fit(history, state.best_epoch, state.best_value, state.seconds, resumed_at)


def _train_epoch(
    step: nn.Module, train: Any, accelerator: Accelerator, optimiser: Any, trained: list, settings: Settings, epoch: int
) -> dict[str, float]:
    """One pass over the training batches; the mean of the loss and of each of its parts."""
    train.set_epoch(epoch)
    step.train()
    sums: dict[str, Tensor] = {}
    batches = 0
    with sharing.divided(step):
        for batch in _with_own_chance(sharing.batches(train), settings.seed, epoch):
            rate = settings.rate(epoch + batches / len(train))
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]
            parts = step(batch)
            accelerator.backward(parts["loss"])
            if settings.clip:
                accelerator.clip_grad_norm_(trained, settings.clip)
            optimiser.step()
            optimiser.zero_grad()
            for part, value in parts.items():
                # Summed on the device: reading a number back would wait for it at every step.
                sums[part] = sums.get(part, 0) + value.detach().float()
            batches += 1
    if not batches:
        raise InputError("The ranks outnumber the records of every batch: start fewer, or make the batches larger.")
    means = sharing.means(sums, batches)
    if not math.isfinite(means["loss"]):
        raise InputError(
            f"The training loss is {means['loss']} in epoch {epoch + 1}: lower the learning rate "
            f"(its peak is {settings.learning_rate:g}) or set a gradient clip."
        )
    return {"epoch": epoch + 1, "learning_rate": rate, **means}


@torch.no_grad()
def _validate(method: nn.Module, valid: Any) -> dict[str, float]:
    """Loss (binary cross-entropy) and macro AUC over the validation batches."""
    logits, labels = collect(method, valid)
    loss = nn.functional.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(labels))
    return {"valid_loss": float(loss), "valid_macro_auc": float(macro(auc(labels, logits)))}


@torch.no_grad()
def collect(method: nn.Module, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and labels (N, C) of all `batches`, in their order."""
    logits, labels = [], []
    takes = getattr(method, "takes", "signal")  # the one field of the batch that inference is given
    for batch in batches:
        logits.append(method.predict(getattr(batch, takes)).float())
        labels.append(batch.label)
    return torch.cat(logits).cpu().numpy(), torch.cat(labels).cpu().numpy()


def _advance(state: _State, row: dict[str, float], method: nn.Module, settings: Settings) -> None:
    """Count the epoch, keep its weights where they are the ones to keep, and say whether to stop."""
    state.epoch += 1
    state.history.append(row)
    value = row.get("valid_macro_auc", math.nan)
    if math.isnan(value) and "valid_macro_auc" in row:
        raise InputError("No class has both a positive and a negative in the validation data: choose other folds.")
    if settings.select == "last" or value > state.best_value:
        state.best_value, state.best_epoch = value, state.epoch
        state.best = {k: v.detach().cpu().clone() for k, v in method.inference_module().state_dict().items()}
    state.stopped = 0 < settings.patience <= state.epoch - state.best_epoch


def _resume(folder: Path | None, key: str, method: nn.Module, optimiser: Any, name: str) -> _State:
    # Rank 0's, whatever folders the others see: a machine may have joined that has none.
    tree = sharing.from_first(lambda: checkpoint.newest(folder)) if folder is not None else None
    if tree is None:
        return _State()
    if not isinstance(tree, dict) or tree.get("key") != key:
        print(f"{name or 'The model'}: the checkpoint in {folder.name}/ is of another training; starting anew.")
        for path in checkpoint.numbered(folder):
            path.unlink(missing_ok=True)
        return _State()
    missing, unexpected = method.load_state_dict(tree["method"], strict=False)
    if unexpected or set(missing) & set(_trained_state(method)):
        raise InputError(f"The checkpoint in {folder} does not fit the model: delete it to start anew.")
    optimiser.load_state_dict(tree["optimiser"])
    state = _State(**tree["state"])
    print(f"{name or 'The model'}: going on from the checkpoint of epoch {state.epoch}", flush=True)
    return state


def _trained_state(method: nn.Module) -> dict[str, Tensor]:
    """The method's state without its frozen parts (a teacher), which whoever made the method loads again."""
    frozen = tuple(f"{prefix}." for prefix in getattr(method, "frozen", ()))
    return {k: v for k, v in method.state_dict().items() if not k.startswith(frozen)} if frozen else method.state_dict()


def _optimiser(settings: Settings, method: nn.Module) -> torch.optim.Optimizer:
    own = getattr(method, "parameter_groups", None)
    named = own() if own is not None else [{"params": list(method.parameters()), "scale": 1.0}]
    named = [g | {"params": [p for p in g["params"] if p.requires_grad]} for g in named]
    if settings.optimiser == "adam":  # its decay is an L2 term on everything, as in MVKT-ECG's released code
        return torch.optim.Adam(
            [g for g in named if g["params"]], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    # Decoupled decay pulls weights towards 0; biases and the scales of normalisations are left alone.
    groups = [
        {"params": [p for p in g["params"] if (p.ndim > 1) == decays], "scale": g["scale"],
         "weight_decay": settings.weight_decay if decays else 0.0}
        for g in named for decays in (True, False)
    ]  # fmt: skip
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, betas=settings.betas)


def _with_own_chance(train: Iterable, seed: int, epoch: int) -> Iterator:
    """The epoch's batches; torch's generators start anew before each is fetched.

    Whatever a method draws in its loss then moves neither the crops of the next step nor the batch itself, and nothing
    of a generator has to be saved.
    """
    batches = iter(train)
    for step in count():
        state = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(state >> 1))  # CUDA's generators too
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


def _key(settings: Settings, method: nn.Module, train: Any, valid: Any) -> str:
    """What must agree for a checkpoint to be gone on from."""
    shapes = {k: list(v.shape) for k, v in _trained_state(method).items()}
    made_of = [train.identity, None if valid is None else valid.identity, getattr(method, "identity", None)]
    identity = [asdict(settings), shapes, made_of]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()


def _device_of(method: nn.Module) -> torch.device:
    return next(method.parameters()).device


def _line(name: str, row: dict[str, float], settings: Settings) -> str:
    said = [f"{k} {v:.4f}" for k, v in row.items() if k not in ("epoch", "learning_rate", "valid_macro_auc")]
    if "valid_macro_auc" in row:
        said.append(f"validation macro AUC {row['valid_macro_auc']:.4f}")
    return f"{name} epoch {row['epoch']}/{settings.epochs}: {', '.join(said)}"
