"""One ECG and one saved model: what the model says of it, how often that is so, and whom it resembles.

Used by notebooks/read_one_ecg. A reading is for looking at a model, not at a patient: nothing here is a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ecglib.errors import InputError
from ecglib.leads import LEADS, indices
from ecglib.methods import cards
from ecglib.methods.page_view import PageView
from ecglib.methods.view import View, cut, evaluating

if TYPE_CHECKING:
    import pandas as pd

    from ecglib.cohort import Cohort

IMAGES = (".png", ".jpg", ".jpeg", ".pdf")
UNSEEN_SEED = 20240801
"""Of synthetic records that no notebook trains on by itself."""
SECONDS = 10.0
"""What networks here are trained on; a longer record is read in pieces of that length."""
LAYOUT = "3x4+II"


@dataclass(frozen=True)
class Ecg:
    """One ECG as it was given: a signal, or the image of a page; never both."""

    name: str
    signal: np.ndarray | None  # (L, T) float32 mV, NaN where missing
    leads: tuple[str, ...] = ()
    rate: float = 0.0  # Hz
    page: Path | None = None
    age: float | None = None
    sex: str | None = None

    @property
    def said(self) -> str:
        """Name, sex, age, leads, rate and length in one line."""
        parts = [self.name, *([self.sex] if self.sex else [])]
        parts += [f"{self.age:.0f} years"] if self.age is not None and np.isfinite(self.age) else []
        if self.signal is not None:
            seconds = self.signal.shape[1] / self.rate
            parts += [f"{len(self.leads)} leads", f"{self.rate:g} Hz", f"{seconds:.1f} s"]
        return ", ".join(parts)


def open_ecg(record: str, *, rate: float = 0.0, unit: str = "", leads: Sequence[str] = ()) -> Ecg:
    """The ECG that `record` means.

    Args:
        record: a page's image (PNG, JPEG, PDF); a record's file in any format that `ecglib.datasets.records` reads;
            "synthetic" or "synthetic:17", a made one that no notebook trains on by itself.
        rate, unit, leads: for files that do not say their rate (Hz), unit ("mV", "uV") or leads; 0, "" and () else.

    Raises:
        InputError: there is no such file; it is none of these; it lacks a fact that must then be given.
    """
    name, _, number = record.partition(":")
    if name == "synthetic":
        return _synthetic(number, rate or 500)
    path = Path(record).expanduser()
    if not path.exists() and not path.with_suffix(".hea").exists():
        raise InputError(
            f"record is {record!r}, and there is no such file; give a record's file, an image, or synthetic."
        )
    if path.suffix.lower() in IMAGES:
        return Ecg(path.name, None, page=path)
    from ecglib.datasets.records import read_record

    found = read_record(path, rate=rate or None, unit=unit or None, leads=list(leads) or None)
    return Ecg(path.stem, found.signal, tuple(found.leads), float(found.rate), age=found.age, sex=found.sex)


def _synthetic(number: str, rate: float) -> Ecg:
    from ecglib.datasets import synthetic

    if number and not number.isdecimal():
        raise InputError(f"record is 'synthetic:{number}'; give a number behind the colon, such as synthetic:17.")
    counts, table = synthetic.simulate([int(number or 0)], rate=int(rate), seed=UNSEEN_SEED)
    row = table.iloc[0]
    signal = counts[0].astype(np.float32) * np.float32(synthetic.SCALE)  # (L, T) mV
    return Ecg(f"synthetic record {number or 0}", signal, LEADS, rate, age=float(row["age"]), sex=row["sex"])


def load_model(path: str | Path) -> View | PageView:
    """The network of signals or of pages saved at `path`: its file, or the folder that a run left it in.

    Raises:
        InputError: nothing there, or a model of another kind (a pre-trained encoder gives vectors, no classes).
    """
    path = Path(path).expanduser()
    path = path / "model" if path.is_dir() else path
    card, _ = cards.read(path, ())
    if "size_px" in card:
        return PageView.load(path)
    if {"classes", "leads", "window_s"} <= card.keys():
        return View.load(path, have=card["leads"])
    raise InputError(
        f"{path} holds no classifier of signals or pages; give one that a run of lead_kd or image_kd saved."
    )


def train_one(cohort: Cohort, task: str, *, train: Sequence[int], valid: Sequence[int], seed: int, device: Any) -> View:
    """A small network from `cohort`, trained in half a minute, for those who have no saved model yet.

    Raises:
        InputError: folds or a task that the cohort does not have.
    """
    from ecglib import protocol, training
    from ecglib.methods.lead_kd import Supervised
    from ecglib.signals import Augment, Standardise

    protocol.require(train_folds=list(train), valid_folds=list(valid))
    known = cohort.labelled(task)
    part, judge = known.in_folds(train), known.in_folds(valid)
    torch.manual_seed(seed)
    common = {"classes": part.classes(task), "leads": cohort.leads, "have": cohort.leads, "rate": cohort.rate}
    view = View(
        "xresnet1d18",
        **common,
        standardise=Standardise("scalar", len(cohort.leads)).fit(part),
        window_s=2.5,
        width=0.125,
    )
    method = Supervised(view, augment=Augment(rate=cohort.rate, crop_s=2.5, amplitude=0.2, noise_mv=0.02))
    batches = part.batches(32, task=task, device=device, shuffle=True, drop_last=True, seed=seed)
    settings = training.Settings(epochs=6, learning_rate=3e-3, weight_decay=0.01, clip=1.0, seed=seed)
    training.fit(method.to(device), batches, judge.batches(256, task=task, device=device), settings=settings,
                 progress="none", name="a small network")  # fmt: skip
    return view.cpu().eval()


@dataclass(frozen=True)
class Seen:
    """What a network makes of N records: probabilities (N, C), and the features (N, F) that its head reads."""

    p: np.ndarray
    features: np.ndarray


def given_to(view: View | PageView, ecg: Ecg) -> Tensor:
    """What the network is given: pieces (S, L, T) mV of a signal, at its rate, with its leads; or a page (1, 3, H, W).

    A signal's page is drawn for a network of pages; for one of signals, a page cannot be undone.

    Raises:
        InputError: a page for a network of signals; leads that are missing and cannot be derived from others.
    """
    from ecglib.datasets import rule

    if isinstance(view, PageView):
        if ecg.page is not None:
            from ecglib.page import read_page

            return read_page(ecg.page, view.size)[None]
        whole = rule.to_target(ecg.signal, ecg.leads, ecg.rate, rule.Target(500, SECONDS, LEADS, "crop", "tile"))
        return drawn(torch.from_numpy(np.nan_to_num(whole)), 500, LEADS, view.size)
    if ecg.signal is None:
        raise InputError(
            f"{ecg.name} is a page, and the model reads signals; give a model of image_kd, or the record's own file."
        )
    target = rule.Target(int(view.rate), SECONDS, view.leads, "segment", "tile")
    return torch.from_numpy(np.nan_to_num(rule.to_target(ecg.signal, ecg.leads, ecg.rate, target)))


def drawn(signal: Tensor, rate: float, leads: Sequence[str], size: tuple[int, int]) -> Tensor:
    """(B, L, T) mV on clean paper: (B, 3, H, W) in [0, 1]."""
    from ecglib.page import PageRenderer

    return PageRenderer(LAYOUT, rate=rate, leads=leads, size=size)(signal)


def seen(view: View | PageView, given: Tensor) -> Seen:
    """Probabilities and features of what `given_to` gives; a signal's windows are averaged."""
    with evaluating(view), torch.no_grad():
        p = view.predict(given).sigmoid()  # (B, C)
        if isinstance(view, PageView) or view.window_s is None:
            features = view.features(given)  # (B, F)
        else:
            window = round(view.window_s * view.rate)
            windows = cut(given, window, max(1, window // 2))  # (B, L, T) -> (B, W, L, window)
            features = view.features(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]).mean(1)  # -> (B, F)
    return Seen(p.double().numpy(), features.double().numpy())


def seen_in(view: View | PageView, part: Cohort) -> Seen:
    """The same for every record of a cohort, at the view's rate; pages are drawn for a network of pages.

    Raises:
        InputError: another rate than the view's, or leads that the cohort lacks.
    """
    is_page = isinstance(view, PageView)
    if not is_page and part.rate != view.rate:
        raise InputError(f"The reference is at {part.rate} Hz and the model at {view.rate:g}; set rate to that.")
    leads = LEADS if is_page else view.leads
    indices(part.leads, leads)  # says which lead is missing
    found = []
    for batch in part.batches(64, leads=leads):
        given = drawn(batch.signal, part.rate, leads, view.size) if is_page else batch.signal
        found.append(seen(view, given))
    return Seen(np.concatenate([each.p for each in found]), np.concatenate([each.features for each in found]))


def calibrated(
    p: np.ndarray, reference: np.ndarray, truth: np.ndarray, patients: Sequence[str], classes: Sequence[str], *,
    draws: int = 200, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """How often a class is there when the model says so: probabilities before and after Platt scaling, one row a class.

    A logistic regression of the label on the model's logit (after Platt 1999, without his smoothed targets), fitted on
    reference records that the model was not trained on, and again on `draws` bootstrap samples of their patients for
    the interval; samples in which no record has the class, or all have, are left out.

    Args:
        p: (C,) of the one ECG. reference, truth: (N, C) probabilities and labels of the reference. patients: N.

    Returns:
        Columns model, calibrated, low, high, base_rate (the class's share in the reference), beyond (whether the
        reference holds no probability as extreme, so that the fit is stretched), tells (whether a higher score surely
        goes with more of the class there: the slope is above 0 in 97.5 % of the samples).

    Raises:
        InputError: a class that no reference record has, or all have.
    """
    import pandas as pd

    codes, patient = np.unique(np.asarray(patients, str), return_inverse=True)
    x, at = _logit(reference), _logit(p)  # (N, C), (C,)
    # weights of patients' records: (draws, N), the first row the sample as it is
    random = np.random.default_rng(seed)
    drawn_patients = random.multinomial(len(codes), np.full(len(codes), 1 / len(codes)), size=draws)
    weights = np.concatenate([np.ones((1, len(x))), drawn_patients[:, patient]])  # (1 + draws, N)
    rows = {}
    for c, name in enumerate(classes):
        share = float(truth[:, c].mean())
        if not 0 < share < 1:
            raise InputError(f"{'No' if share == 0 else 'Every'} reference record has {name}; take other folds.")
        held = np.array([((w * truth[:, c]).sum() > 0) and ((w * (1 - truth[:, c])).sum() > 0) for w in weights])
        slope, offset = platt(x[:, c], truth[:, c], weights[held])
        values = 1 / (1 + np.exp(-(slope * at[c] + offset)))
        low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (np.nan, np.nan)
        beyond = bool(at[c] < x[:, c].min() or at[c] > x[:, c].max())
        tells = bool(np.quantile(slope[1:] if len(slope) > 1 else slope, 0.025) > 0)
        rows[name] = [float(p[c]), values[0], low, high, share, beyond, tells]
    columns = ["model", "calibrated", "low", "high", "base_rate", "beyond", "tells"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def platt(x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, steps: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset (B,) of B weighted logistic regressions of y (N,) on x (N,), by Newton's method at once.

    weights: (B, N). A little ridge (half of 1e-3 times both squared) keeps separable samples finite.
    """
    design = np.stack([x, np.ones_like(x)], axis=1)  # (N, 2)
    outer = (design[:, :, None] * design[:, None, :]).reshape(-1, 4)  # (N, 2, 2) -> (N, 4)
    ridge = 1e-3

    def loss(beta: np.ndarray) -> np.ndarray:  # (B, 2) -> (B,)
        z = beta @ design.T  # (B, N)
        return (weights * (np.logaddexp(0, z) - y * z)).sum(1) + 0.5 * ridge * (beta**2).sum(1)

    beta = np.zeros((len(weights), 2))
    now = loss(beta)
    for _ in range(steps):
        mean = 1 / (1 + np.exp(-np.clip(beta @ design.T, -500, 500)))  # (B, N)
        slope = (weights * (y - mean)) @ design - ridge * beta  # (B, 2)
        curve = (weights * mean * (1 - mean)) @ outer  # (B, 4)
        step = np.linalg.solve(curve.reshape(-1, 2, 2) + ridge * np.eye(2), slope[:, :, None])[:, :, 0]  # (B, 2)
        for _ in range(20):  # halved where it would lead uphill
            then = loss(beta + step)
            worse = then > now + 1e-12 * np.abs(now)
            if not worse.any():
                break
            step[worse] /= 2
        beta, now = beta + step, then
        if np.abs(step).max() < 1e-8:
            break
    return beta[:, 0], beta[:, 1]


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p) - np.log1p(-p)


def similar(features: np.ndarray, reference: np.ndarray, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The reference's rows nearest to one record in the eyes of the network, nearest first, with their similarity.

    See `_cosine`: features (F,) and (N, F).
    """
    cosine = _cosine(features[None], reference)[0]  # (N,)
    order = np.argsort(-cosine, kind="stable")[:count]
    return order, cosine[order]


def nearest_similarity(features: np.ndarray, reference: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
    """(M, F) to (M,): how similar each record's nearest of the reference (N, F) is to it, as `similar` measures it."""
    starts = range(0, len(features), batch_size)
    return np.concatenate([_cosine(features[at : at + batch_size], reference).max(axis=1) for at in starts])


def _cosine(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(M, F) and (N, F) to (M, N): cosines between features, each centred and scaled by the reference's mean and SD.

    Scaled, because the network's own units are arbitrary.
    """
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    kept = deviation > 1e-9 * max(float(deviation.max()), 1e-30)
    both = [(each[:, kept] - mean[kept]) / deviation[kept] for each in (features, reference)]  # (M, F'), (N, F')
    own, others = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in both)
    return own @ others.T
