"""Signals: standardise, filter, resample, augment.

Everywhere: a batch is (B, L, T) float32 in mV, time last; `rate` is in Hz and has no default, because a wrong rate
gives wrong results without a sign of it; what is returned has the input's dtype and device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ecglib.errors import InputError, nearest
from ecglib.resampling import resample as resample  # without torch, for who needs no more
from ecglib.sharing import per_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecglib.cohort import Cohort

Normalisation = Literal["scalar", "lead", "record", "none"]
_FLOOR_MV = 1e-4  # a tenth of a microvolt: below it a record is flat and is only centred


class Standardise(nn.Module):
    """(x - mean) / std, with statistics that travel with the weights.

    Modes:
        scalar: one mean and one std over all leads, from training data (MVKT-ECG's released code).
        lead: a mean and a std per lead, from training data.
        record: each record and lead by its own mean and std; nothing to fit. A flat lead becomes 0.
        none: mV as they are.

    Buffers `mean` and `std`: (1, 1) or, for "lead", (L, 1), in mV.

    Raises:
        InputError: for an unknown mode, a sample that is empty, not finite or flat, or a view of one not fitted.
    """

    def __init__(self, mode: Normalisation, leads: int = 1) -> None:
        super().__init__()
        if mode not in get_args(Normalisation):
            raise InputError(f"There is no normalisation {mode!r}.{nearest(mode, get_args(Normalisation))}")
        self.mode = mode
        rows = leads if mode == "lead" else 1
        start = torch.full((rows, 1), 0.0 if mode in ("record", "none") else torch.nan)
        self.register_buffer("mean", start)
        self.register_buffer("std", start + 1)

    def fit(self, sample: Tensor | np.ndarray | Cohort, *, records: int = 2000) -> Standardise:
        """Statistics of training signals (n, L, T) mV, or of `records` of a training cohort, evenly spaced."""
        if self.mode in ("record", "none"):
            return self
        if hasattr(sample, "signal_mv"):
            rows = np.linspace(0, len(sample) - 1, min(records, len(sample))).round().astype(int)
            sample = sample.signal_mv(np.unique(rows))
        x = torch.as_tensor(sample)
        if x.numel() == 0:
            raise InputError("There is no training signal to take the normalisation from; choose other folds.")
        dims = (0, 1, 2) if self.mode == "scalar" else (0, 2)
        std, mean = torch.std_mean(x.double(), dim=dims, correction=0)  # (n, L, T) -> () or (L,)
        if not bool(std.isfinite().all() and (std > _FLOOR_MV).all()):
            raise InputError(
                "The training signals hold NaN or a lead that is flat in all of them, so that they cannot be "
                "normalised; drop such records when the cohort is built."
            )
        self.mean = mean.reshape(-1, 1).to(self.mean)
        self.std = std.reshape(-1, 1).to(self.std)
        return self

    def of(self, leads: Sequence[int]) -> Standardise:
        """A copy for the leads at these positions of those it was fitted on."""
        if bool(self.mean.isnan().any()):
            raise InputError("The standardiser has not been fitted; call its fit with training signals first.")
        rows = len(leads) if self.mode == "lead" else 1
        part = Standardise(self.mode, rows)
        picked = list(leads) if self.mode == "lead" else [0]
        part.mean, part.std = self.mean[picked].clone(), self.std[picked].clone()
        return part

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, T) mV to (B, L, T) without unit."""
        if self.mode == "none":
            return x
        if self.mode == "record":
            std, mean = torch.std_mean(x, dim=-1, keepdim=True, correction=0)  # (B, L, T) -> (B, L, 1)
            return (x - mean) / std.clamp(min=_FLOOR_MV)
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return repr(self.mode)


def bandpass(x: np.ndarray, *, rate: float, low_hz: float | None, high_hz: float | None, order: int = 4) -> np.ndarray:
    """Zero-phase Butterworth filter of (..., T) mV: band-pass, or high-pass or low-pass where an edge is None.

    `order` is the prototype's; forwards and backwards it acts twice (scipy.signal.sosfiltfilt). Zero phase keeps the ST
    segment where a one-way high-pass would tilt it.

    Raises:
        InputError: for edges out of order or not between 0 and half the rate, or a signal too short to filter.
    """
    from scipy.signal import butter, sosfiltfilt

    edges = [e for e in (low_hz, high_hz) if e is not None]
    if not edges or sorted(set(edges)) != edges or edges[0] <= 0 or edges[-1] >= rate / 2:
        raise InputError(
            f"The filter's edges {low_hz} and {high_hz} Hz must rise and lie above 0 and below {rate / 2:g} Hz, half "
            "the rate; give one or both."
        )
    kind = "bandpass" if len(edges) == 2 else "highpass" if high_hz is None else "lowpass"
    sos = butter(order, edges if len(edges) == 2 else edges[0], kind, fs=rate, output="sos")
    # A high-pass rings for about a period of its edge: pad that long, or the record's ends drift.
    pad = int(min(x.shape[-1] - 1, max(3 * (2 * len(sos) + 1), rate / edges[0])))
    if x.shape[-1] <= 3 * (2 * len(sos) + 1):
        raise InputError(f"A signal of {x.shape[-1]} samples is too short for a filter of order {order}.")
    return sosfiltfilt(sos, x, axis=-1, padlen=pad).astype(x.dtype, copy=False)


DESTROYS: dict[str, tuple[str, str]] = {
    "crop": (
        "PAC PVC PRC(S) BIGU TRIGU SVARR PSVT SARRH 2AVB 3AVB AFIB AFLT",
        "the beat or the irregularity that the statement is about may lie outside",
    ),
    "shift": (
        "PAC PRC(S) BIGU TRIGU SVARR SARRH SR AFIB 2AVB 3AVB NORM",
        "the seam of a circular shift makes one beat early, late or broken",
    ),
    "stretch": (
        "SBRAD STACH SVTAC PSVT SR AFLT LNGQT LPR 1AVB WPW CRBBB CLBBB IRBBB ILBBB IVCD LAFB LPFB QWAVE CD NORM",
        "heart rate and the PR, QRS and QT intervals change with it",
    ),
    "resized_crop": (
        "PAC PVC PRC(S) BIGU TRIGU SVARR PSVT SARRH 2AVB 3AVB AFIB AFLT SBRAD STACH SVTAC SR LNGQT LPR 1AVB WPW CRBBB "
        "CLBBB IRBBB ILBBB IVCD LAFB LPFB QWAVE CD NORM",
        "a crop and a stretch in one: beats are lost, and rate and intervals change by up to the crop's share",
    ),
    "time_out": (
        "PAC PVC PRC(S) BIGU TRIGU SVARR PSVT SARRH 2AVB 3AVB AFIB AFLT SR NORM",
        "a silent stretch hides beats and looks like a pause",
    ),
    "amplitude": (
        "LVH RVH SEHYP VCLVH HVOLT LVOLT LAO/LAE RAO/RAE STD_ STE_ LOWT HYP",
        "they are read in mV: voltage criteria, P-wave height, ST level, T-wave height",
    ),
    "noise": (
        "AFIB AFLT SR LAO/LAE RAO/RAE LOWT NT_ NDT QWAVE ABQRS",
        "low waves drown: P and fibrillation waves, flat T, small Q, notches",
    ),
    "wander": (
        "STD_ STE_ NST_ ISC_ ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA INJAL INJAS INJIL INJIN INJLA ANEUR DIG STTC",
        "the ST level moves with the baseline",
    ),
    "lead_dropout": (
        "AMI ASMI ALMI LMI IMI ILMI IPMI IPLMI PMI INJAL INJAS INJIL INJIN INJLA ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA "
        "LAFB LPFB CRBBB CLBBB IRBBB ILBBB LVH RVH VCLVH LAO/LAE RAO/RAE ANEUR QWAVE MI HYP",
        "territory, axis and voltage are read in particular leads, which may be the masked ones",
    ),
}
"""Augmentation: (PTB-XL statements and superclasses that it may make untrue, why).

Our reading of the statements' definitions, for a cardiologist to argue with; a superclass is listed where most of its
statements are.
"""


class Augment(nn.Module):
    """Random changes of a batch, drawn anew per record, on the batch's device, from torch's global generator.

    Applied in the order of the arguments, each only where it is given; one that is off draws nothing. Crop, shift,
    stretch and amplitude do the same to all leads of a record, so that III = II - I stays true; noise, wander and lead
    dropout are drawn per lead and break it. Which PTB-XL statements each may make untrue stands in `DESTROYS`: crops
    lose rare beats, a shift's seam is a false beat, a stretch changes rates and intervals, an amplitude the voltage
    criteria, noise and wander what is low or near the baseline, a masked lead what is read in it. `may_destroy()` gives
    the union for those in use.

    Args:
        rate: Hz.
        crop_s: length in seconds of a random window; the output is shorter.
        resized_crop: least share of the (cropped) signal that a random window keeps; it is stretched to the whole
            length again, linear between samples. 1 or None is off.
        shift_s: circular shift by up to this many seconds either way.
        stretch: time runs faster or slower by up to this fraction; linear interpolation, circular at the end.
        time_out: largest share of the signal that is set to 0 mV in all leads, one stretch, its share drawn from 0.
        amplitude: all leads times a factor drawn from 1 - amplitude to 1 + amplitude.
        noise_mv: standard deviation of white noise, drawn per record from 0 to this.
        wander_mv: amplitude of a slow sine per lead, drawn from 0 to this; `wander_hz` is the range of its frequency.
        lead_dropout: probability of each lead to be set to 0 mV; one lead of a record always stays, not always the one
            that a student sees.

    Raises:
        InputError: for a value out of its range; in forward, for a crop longer than the signal.
    """

    def __init__(
        self, *, rate: float, crop_s: float | None = None, resized_crop: float | None = None, shift_s: float = 0.0,
        stretch: float = 0.0, time_out: float = 0.0, amplitude: float = 0.0, noise_mv: float = 0.0,
        wander_mv: float = 0.0, wander_hz: tuple[float, float] = (0.05, 0.5), lead_dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, top in (
            ("rate", rate, None), ("crop_s", crop_s or 0.0, None), ("shift_s", shift_s, None), ("stretch", stretch, 1),
            ("time_out", time_out, 1), ("amplitude", amplitude, 1), ("noise_mv", noise_mv, None),
            ("wander_mv", wander_mv, None), ("lead_dropout", lead_dropout, 1),
        ):  # fmt: skip
            if value < 0 or (top is not None and value >= top) or (name == "rate" and value == 0):
                upto = f" and below {top}" if top else ""
                raise InputError(f"The augmentation's `{name}` is {value!r}, but must be at least 0{upto}.")
        if resized_crop is not None and not 0 < resized_crop <= 1:
            raise InputError(
                f"The augmentation's `resized_crop` is {resized_crop!r}, but must be above 0 and at most 1."
            )
        self.rate, self.wander_hz = rate, wander_hz
        self.resized_crop, self.time_out = None if resized_crop == 1 else resized_crop, time_out
        self.crop_s, self.shift_s, self.stretch, self.amplitude = crop_s, shift_s, stretch, amplitude
        self.noise_mv, self.wander_mv, self.lead_dropout = noise_mv, wander_mv, lead_dropout

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(B, L, T) mV to (B, L, T') mV; T' is T unless `crop_s` is given."""
        if self.crop_s:
            x = crop(x, round(self.crop_s * self.rate))
        if self.resized_crop:
            x = resized_crop(x, self.resized_crop)
        if self.shift_s:
            x = shift(x, round(self.shift_s * self.rate))
        if self.stretch:
            x = stretch(x, self.stretch)
        if self.time_out:
            x = time_out(x, self.time_out)
        if self.amplitude:
            x = x * (1 + self.amplitude * _either_way(x))
        if self.noise_mv:
            x = x + per_record(lambda n: torch.randn_like(_like(x, n)), len(x)) * self.noise_mv * _uniform(x)
        if self.wander_mv:
            x = x + wander(x, self.wander_mv, self.wander_hz, rate=self.rate)
        if self.lead_dropout:
            x = drop_leads(x, self.lead_dropout)
        return x

    def extra_repr(self) -> str:
        named = (
            "rate", "crop_s", "resized_crop", "shift_s", "stretch", "time_out", "amplitude", "noise_mv", "wander_mv",
            "wander_hz", "lead_dropout",
        )  # fmt: skip
        return ", ".join(f"{name}={getattr(self, name)}" for name in named)

    def may_destroy(self) -> frozenset[str]:
        """PTB-XL statements that the augmentations in use may make untrue."""
        used = {
            "crop": self.crop_s, "resized_crop": self.resized_crop, "shift": self.shift_s, "stretch": self.stretch,
            "time_out": self.time_out, "amplitude": self.amplitude,
            "noise": self.noise_mv, "wander": self.wander_mv, "lead_dropout": self.lead_dropout,
        }  # fmt: skip
        return frozenset(label for name, value in used.items() if value for label in DESTROYS[name][0].split())


def crop(x: Tensor, samples: int) -> Tensor:
    """A window of `samples` from each record, its start drawn per record: (B, L, T) to (B, L, samples)."""
    spare = x.shape[-1] - samples
    if samples < 1 or spare < 0:
        raise InputError(f"A crop of {samples} samples does not fit a signal of {x.shape[-1]}.")
    start = per_record(lambda n: torch.randint(spare + 1, (n, 1), device=x.device), len(x))
    return _take(x, start + torch.arange(samples, device=x.device))


def shift(x: Tensor, samples: int) -> Tensor:
    """Each record turned round by up to `samples` either way; (B, L, T) to the same."""
    by = per_record(lambda n: torch.randint(-samples, samples + 1, (n, 1), device=x.device), len(x))
    return _take(x, (torch.arange(x.shape[-1], device=x.device) + by) % x.shape[-1])


def stretch(x: Tensor, fraction: float) -> Tensor:
    """Time faster or slower by up to `fraction`, linear between samples; (B, L, T) to the same."""
    length = x.shape[-1]
    at = torch.arange(length, device=x.device) * (1 + fraction * _either_way(x)[:, :, 0])  # (B, T)
    left = at.floor().long()
    weight = (at - left)[:, None, :].to(x.dtype)  # (B, T) -> (B, 1, T)
    return torch.lerp(_take(x, left % length), _take(x, (left + 1) % length), weight)


def resized_crop(x: Tensor, least: float) -> Tensor:
    """A random window of a share from `least` to 1 of each record, stretched to its length; (B, L, T) to the same."""
    length = x.shape[-1]
    share = least + (1 - least) * _uniform(x)[:, :, 0]  # (B, 1)
    start = (1 - share) * (length - 1) * _uniform(x)[:, :, 0]
    at = start + share * torch.arange(length, device=x.device)  # (B, T), below length - 1
    left = at.floor().long().clamp(max=length - 1)
    weight = (at - left)[:, None, :].to(x.dtype)  # (B, T) -> (B, 1, T)
    return torch.lerp(_take(x, left), _take(x, (left + 1).clamp(max=length - 1)), weight)


def time_out(x: Tensor, most: float) -> Tensor:
    """One stretch of each record, up to a share `most` of it, at 0 mV in all leads; (B, L, T) to the same."""
    length = x.shape[-1]
    samples = most * length * _uniform(x)  # (B, 1, 1)
    start = (length - samples) * _uniform(x)
    at = torch.arange(length, device=x.device)  # (T,)
    return x * ((at < start) | (at >= start + samples))


def wander(x: Tensor, amplitude_mv: float, hz: tuple[float, float], *, rate: float) -> Tensor:
    """A slow sine per record and lead, in mV, of the shape of `x` (B, L, T)."""
    seconds = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype) / rate  # (T,)
    b, l, _ = x.shape
    draw = per_record(lambda n: torch.rand(3, n, l, 1, device=x.device, dtype=x.dtype), b, dim=1)
    frequency = hz[0] + (hz[1] - hz[0]) * draw[0]
    return amplitude_mv * draw[1] * torch.sin(2 * torch.pi * (frequency * seconds + draw[2]))  # (B, L, T)


def drop_leads(x: Tensor, probability: float) -> Tensor:
    """Leads set to 0 mV, each with `probability`, but one of each record, drawn at random, is always kept."""
    draw = per_record(lambda n: torch.rand(n, x.shape[1], device=x.device), len(x))  # (B, L)
    keep = (draw >= probability) | (draw == draw.amax(dim=1, keepdim=True))
    return x * keep[:, :, None]


def _take(x: Tensor, at: Tensor) -> Tensor:
    """Samples `at` (B, T') of every lead of `x` (B, L, T): (B, L, T')."""
    return x.gather(2, at[:, None, :].expand(-1, x.shape[1], -1))


def _uniform(x: Tensor) -> Tensor:
    """One number in [0, 1) per record of (B, L, T): (B, 1, 1)."""
    return per_record(lambda n: torch.rand(n, 1, 1, device=x.device, dtype=x.dtype), len(x))


def _like(x: Tensor, n: int) -> Tensor:
    """`x` (B, L, T) itself where it has `n` records, else empty memory of `n` such."""
    return x if n == len(x) else x.new_empty((n, *x.shape[1:]))


def _either_way(x: Tensor) -> Tensor:
    """One number in [-1, 1) per record of (B, L, T): (B, 1, 1)."""
    return 2 * _uniform(x) - 1
