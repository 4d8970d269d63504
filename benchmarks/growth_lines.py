"""How one forward and backward pass, and drawing pages, grow with leads, length and batch; what is counted on paper.

Called by `growth`. Time is CPU seconds of one thread, the least of several in two rounds in which all sizes take turns.
Memory is how far the process's high-water mark rises in one pass; the kernel keeps that mark and resets it when asked.
It is measured in a process of its own whose allocator gives memory back at once, which would slow the timing.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RATE = 100
USUAL = {"leads": 12, "seconds": 10, "batch": 32}
SIZES = {"leads": (1, 2, 4, 6, 8, 10, 12), "seconds": (5, 10, 20, 30, 40, 50, 60), "batch": (8, 16, 32, 64, 96, 128)}
DEAR = {"ecg_vit_nano": 4}
"""Networks whose batches are so many times smaller, to take no longer than the others."""
QUICK = {"leads": (1, 2, 3), "seconds": (5, 10, 15), "batch": (2, 4, 6)}
NETWORKS = {
    "xresnet1d18": {"width": 0.25},  # a convolutional network: the leads are its first layer's channels
    "conv_vit_nano": {},  # convolutions, then attention over one token per 0.16 s
    "ecg_vit_nano": {},  # a token per lead and 0.25 s, each attending to all: 12 leads x 60 s are 2,880
}
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}


def points(quick: bool) -> list[dict]:
    """What is measured: {"network", "grows", "at", "leads", "seconds", "batch"}; pages are drawn for the batch only."""
    sizes = QUICK if quick else SIZES
    found = []
    for network in ("xresnet1d18", "pages") if quick else (*NETWORKS, "pages"):
        for grows in sizes if network != "pages" else ("batch",):
            usual = USUAL | ({"batch": 4} if quick else {})
            for size in sizes[grows]:
                at = max(1, size // DEAR.get(network, 1)) if grows == "batch" and not quick else size
                own = usual | {"batch": usual["batch"] // DEAR.get(network, 1)} | {grows: at}
                found.append({"network": network, "grows": grows, "at": at, **own})
    return found


def pass_of(point: dict) -> Callable[[], object]:
    """One forward and backward pass at this point, or its pages; the network and the batch are made beforehand."""
    import torch

    from ecglib import models
    from ecglib.leads import LEADS

    torch.manual_seed(0)
    signal = torch.randn(point["batch"], point["leads"], RATE * point["seconds"]) * 0.2
    if point["network"] == "pages":
        from ecglib.page import PageRenderer

        draw = PageRenderer("3x4+II", rate=RATE, leads=LEADS, size=(425, 550), dtype=torch.uint8)
        index = torch.arange(point["batch"])
        return lambda: draw(signal, index=index, seed=0)
    options = NETWORKS[point["network"]]
    leads = LEADS[: point["leads"]]
    network = models.create(point["network"], in_channels=len(leads), num_classes=5, leads=leads, **options).train()

    def step() -> None:
        network.zero_grad(set_to_none=True)
        network(signal).square().mean().backward()

    return step


def measure(*, quick: bool) -> list[dict]:
    """The points with "cpu_s" (of one pass) and "memory_mb" (above what the network and the batch take)."""
    import torch

    torch.set_num_threads(1)
    rows = points(quick)
    for row in rows:
        row["cpu_s"] = float("inf")
    for _ in range(1 if quick else 2):
        for row in rows:
            step = pass_of(row)
            step()  # warms up
            ends = time.process_time() + (0.05 if quick else 0.3)
            while True:  # a short pass several times, a long one once
                begun = time.process_time()
                step()
                row["cpu_s"] = min(row["cpu_s"], time.process_time() - begun)
                if time.process_time() >= ends:
                    break
    command = [sys.executable, __file__, *(["--quick"] if quick else [])]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | GIVING_BACK | {"PYTHONPATH": path}
    )
    for row, memory in zip(rows, json.loads(done.stdout)):
        row["memory_mb"] = memory
    return rows


def memory(row: dict) -> float:
    """MB by which the high-water mark of this process rises in one pass."""
    step = pass_of(row)
    step()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the mark starts anew from what is resident now
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 1e3


def _status(name: str) -> float:
    """kB (1000 bytes) of this process."""
    return int(re.search(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1.024


def on_paper() -> dict[str, dict]:
    """Parameters, and floating-point operations of a masked autoencoder's step a record of 5 s, by encoder.

    Counted, not measured: two for each multiplication and addition of the matrix products and convolutions of the
    forward and the backward pass, as torch's own counter does.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ecglib.leads import LEADS
    from ecglib.methods.encoder import Encoder
    from ecglib.methods.masked_autoencoder import MaskedAutoencoder
    from ecglib.signals import Standardise

    found = {}
    for name, decoder_dim in (("conv_vit_nano", 64), ("conv_vit_base", 256)):
        encoder = Encoder(name, leads=LEADS, rate=RATE, standardise=Standardise("record"), window_s=5.0)
        method = MaskedAutoencoder(encoder, decoder_dim=decoder_dim).train()
        with FlopCounterMode(display=False) as counter:
            method.reconstruction(torch.randn(2, 12, 500))[0].backward()
        parameters = sum(p.numel() for p in method.parameters())
        operations = counter.get_total_flops() / 2  # of one of the two records
        found[name] = {"parameters": parameters, "operations": operations, "vector": encoder.feature_dim}
    return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps([memory(row) for row in points("--quick" in sys.argv)]))
