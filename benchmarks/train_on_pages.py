"""How much of a training step on pages is spent drawing them: the network must not wait for the renderer.

    .venv/bin/python benchmarks/train_on_pages.py [--device cuda] [--out table.json]

Per page network and size: the time of a step with pages drawn in it, and of the same step on a page that is there
already; the difference is what drawing costs. Steps of both kinds are interleaved, medians are told.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ecglib import datasets
from ecglib.methods.image_kd import ImageKD, PageView
from ecglib.page import PageBatches, Vary

CASES = (  # timm's name, width, (height, width) in pixels
    ("resnet18", 0.25, (212, 275)),
    ("resnet18", 1.0, (212, 275)),
    ("resnet18", 1.0, (425, 550)),
)


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(case: tuple, batches, device: torch.device, rounds: int) -> dict:
    name, width, size = case
    pages = PageBatches(batches, layouts=("3x4+II", "3x4", "6x2"), size=size, vary=Vary())
    view = PageView(name, classes=list("ABCDE"), size=size, width=width, registered=False)
    method = ImageKD(view).to(device).train()
    optimiser = torch.optim.AdamW(method.parameters(), 1e-3)
    bf16 = torch.autocast(device.type, torch.bfloat16)

    def step(batch) -> None:
        with bf16:
            loss = method.training_step(batch)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    kept = next(iter(pages))
    kept.page = kept.page.clone()
    times: dict[str, list[float]] = {"with": [], "without": []}
    stream = iter(pages)
    for number in range(rounds + 2):
        begin = waited(device)
        batch = next(stream, None)
        if batch is None:
            stream = iter(pages)
            batch = next(stream)
        step(batch)
        middle = waited(device)
        step(kept)
        end = waited(device)
        if number >= 2:  # the first two warm up
            times["with"].append(middle - begin)
            times["without"].append(end - middle)
    whole, bare = (statistics.median(times[kind]) for kind in ("with", "without"))
    return {
        "network": name, "channels": width, "height": size[0], "width": size[1], "batch": len(kept.page),
        "pages_per_second": len(kept.page) / whole, "share_of_a_step_spent_drawing": max(0.0, 1 - bare / whole),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--batch", type=int, default=None, help="pages a step; 32 on a processor, 256 on an accelerator"
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    options = parser.parse_args()
    device = torch.device(options.device)
    size = options.batch or (32 if device.type == "cpu" else 256)
    with tempfile.TemporaryDirectory() as cache:
        cohort = datasets.load("synthetic", rate=100, records=4 * size, cache=cache, progress=False)
        cohort = cohort.labelled("superclass")
        rows = []
        for case in CASES:
            batches = cohort.batches(size, task="superclass", device=device, shuffle=True, drop_last=True)
            rows.append(measure(case, batches, device, options.rounds))
            row = rows[-1]
            share = f"drawing {row['share_of_a_step_spent_drawing']:.1%} of a step"
            page = f"{row['network']:<10} x{row['channels']:<5g}{row['width']:>5} x{row['height']:>4} px"
            print(f"{page}{row['pages_per_second']:>10.1f} pages/s  {share}")
        del cohort, batches
    if options.out:
        about = {"device": str(device), "machine": platform.machine(), "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
