"""What a step of pre-training costs: the masked autoencoder by encoder and batch, beside timm's plain ViT.

    .venv/bin/python benchmarks/encoders.py [--encoders conv_vit_nano ecg_vit_nano] [--batches 32 64] [--out table.json]
    .venv/bin/python benchmarks/encoders.py --device cuda --peak-tflops TFLOPS

A step is forward, backward and AdamW on windows of 12 leads, 2.5 s, 100 Hz: half of the cells hidden, in float32 on a
processor and under bf16 autocast on an accelerator.

The peer is what one would build without this project: timm's VisionTransformer of the same width, depth and heads on
the same grid of patches of the "image" (leads, time), without a class token, all patches visible, and a linear map from
each of its tokens back to the patch (mean squared error). It has neither the convolutional stem nor the decoder, and it
does not leave hidden tokens out.

Floating-point operations are counted, not timed (torch's FlopCounterMode: matrix products, convolutions, attention, and
their backward passes), and told as a share of a peak: on an accelerator the one you give, on a processor the rate of a
large matrix product measured just before. Each case has a process of its own, so that its peak memory is its own: what
torch allocated on an accelerator, on a processor how far the resident set grew at most, which is rough.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import torch
from torch import Tensor, nn

from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.models.transformer import SIZES
from ecglib.signals import Standardise

RATE, WINDOW_S = 100, 2.5


class Peer(nn.Module):
    """timm's ViT on the patches that `encoder` makes tokens of; rebuilds every patch."""

    def __init__(self, encoder: Encoder, samples: int) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        leads, places = encoder.backbone.grid(samples)
        dim, depth, heads = SIZES[encoder.backbone_name.rpartition("_")[2]]
        self.patch = (len(encoder.leads) // leads, encoder.backbone.stride)  # all leads, where they are mixed
        self.padding = places * encoder.backbone.stride - samples
        self.vit = VisionTransformer(
            img_size=(len(encoder.leads), places * encoder.backbone.stride), patch_size=self.patch, in_chans=1,
            num_classes=0, global_pool="", class_token=False, embed_dim=dim, depth=depth, num_heads=heads,
        )  # fmt: skip
        self.rebuild = nn.Linear(dim, self.patch[0] * self.patch[1])

    def training_step(self, batch) -> dict[str, Tensor]:
        image = nn.functional.pad(batch.signal, (0, self.padding)).unsqueeze(1)  # (B, L, T) -> (B, 1, L, T')
        tokens = self.vit.forward_features(image)  # (B, N, D)
        patches = nn.functional.unfold(image, self.patch, stride=self.patch).transpose(1, 2)  # (B, N, P)
        return {"loss": (self.rebuild(tokens).float() - patches).square().mean()}


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def flops(method: nn.Module, signal: Tensor) -> int:
    """Of a forward and a backward pass. Attention is written out for it: fused kernels are not all counted."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        method.training_step(SimpleNamespace(signal=signal))["loss"].backward()
    method.zero_grad()
    return counter.get_total_flops()


def matmul_tflops(seconds: float = 1.0, size: int = 1024) -> float:
    """The best rate of float32 matrix products on this processor, now, with the threads that training has."""
    a, b, best, end = torch.randn(size, size), torch.randn(size, size), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - begin) / 1e12)
    return best


def resident() -> float:
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(kind: str, name: str, batch: int, device_name: str, rounds: int, peak: float | None) -> dict:
    device, samples = torch.device(device_name), round(RATE * WINDOW_S)
    torch.manual_seed(0)
    encoder = Encoder(name, leads=LEADS, rate=RATE, standardise=Standardise("none"))
    leads, places = encoder.backbone.grid(samples)
    tokens = leads * places
    method = MaskedAutoencoder(encoder, mask_ratio=0.5) if kind == "masked autoencoder" else Peer(encoder, samples)
    method = method.to(device).train()
    signal = torch.randn(batch, len(LEADS), samples, device=device)
    each = flops(method, signal[:2]) / 2  # a window's
    peak = peak or matmul_tflops()
    optimiser = torch.optim.AdamW(method.parameters(), 1e-4)
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    before = psutil.Process().memory_info().rss
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for number in range(rounds + 2):
        begin = waited(device)
        with bf16:
            loss = method.training_step(SimpleNamespace(signal=signal))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if number >= 2:  # the first two warm up
            times.append(waited(device) - begin)
    rate = batch / statistics.median(times)  # windows a second
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident() - before
    return {
        "encoder": name, "step": kind, "batch": batch, "tokens_per_window": tokens,
        "parameters": sum(p.numel() for p in method.parameters()), "windows_per_second": rate,
        "tokens_per_second": rate * tokens, "peak_memory_gb": memory / 1e9, "gflop_per_window": each / 1e9,
        "tflops": rate * each / 1e12, "peak_tflops": peak, "share_of_peak": rate * each / 1e12 / peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--encoders", nargs="+", default=["conv_vit_nano", "ecg_vit_nano", "conv_vit_tiny", "ecg_vit_tiny"]
    )
    parser.add_argument(
        "--batches", nargs="+", type=int, help="windows a step; 32 on a processor, 1024 on an accelerator"
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--peak-tflops", type=float, help="the accelerator's dense bf16 rate, from its data sheet; needed there"
    )
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type != "cpu" and not options.peak_tflops:
        parser.error("on an accelerator give --peak-tflops, its dense bf16 rate from the data sheet")
    rows = []
    print(
        f"{'encoder':<16}{'step':<20}{'batch':>6}{'windows/s':>11}{'tokens/s':>11}{'GB':>7}{'GFLOP':>8}{'of peak':>9}"
    )
    for name in options.encoders:
        for batch in options.batches or ([32] if device.type == "cpu" else [1024]):
            for kind in ("masked autoencoder", "timm ViT"):
                case = (kind, name, batch, options.device, options.rounds, options.peak_tflops)
                with multiprocessing.get_context("spawn").Pool(1) as alone:
                    rows.append(alone.apply(measure, case))
                row = rows[-1]
                speed = f"{row['windows_per_second']:>11,.1f}{row['tokens_per_second']:>11,.0f}"
                cost = f"{row['peak_memory_gb']:>7.2f}{row['gflop_per_window']:>8.3f}{row['share_of_peak']:>9.1%}"
                print(f"{name:<16}{kind:<20}{batch:>6}{speed}{cost}", flush=True)
    if options.out:
        about = {"device": str(device), "machine": platform.machine(), "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
