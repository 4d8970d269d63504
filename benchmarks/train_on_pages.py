"""Training on pages that are drawn as they are needed: the network must not wait for the renderer.

    python -m benchmarks.train_on_pages [--batch 32] [--rounds 8] [--threads 2]

Per page network and size: pages per second of training steps with the pages drawn in them, and of the same steps on a
page that is there already, which is the limit; the difference is what drawing costs. Steps of both kinds are
interleaved and medians are told; everything runs under bf16 autocast. On a GPU where there is one.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence

import torch

from benchmarks.case import Case, arguments, finish
from benchmarks.networks import waited
from ecglib import datasets
from ecglib.methods.image_kd import ImageKD, PageView
from ecglib.page import PageBatches, Vary

CASES = (  # timm's name, width, (height, width) in pixels
    ("resnet18", 0.25, (212, 275)),
    ("resnet18", 1.0, (212, 275)),
    ("resnet18", 1.0, (425, 550)),
)


def measure(case: tuple, batches, device: torch.device, rounds: int) -> Case:
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
    pages, share = len(kept.page), max(0.0, 1 - bare / whole)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Case(
        f"{name} x {width:g}, {size[1]} x {size[0]} px, {where}", "pages/s", "higher", pages / whole, {},
        {"a page that is there": pages / bare}, note=f"Batch {pages}; drawing is {share:.1%} of a step.",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="pages a step; 32 on a processor, 256 on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="on the processor (2)")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(argv)
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    size = asked.batch or (4 if asked.quick else 32 if device.type == "cpu" else 256)
    with tempfile.TemporaryDirectory() as cache:
        cohort = datasets.load("synthetic", rate=100, records=4 * size, cache=cache, progress=False)
        cohort = cohort.labelled("superclass")
        cases = []
        for case in CASES[:1] if asked.quick else CASES:
            batches = cohort.batches(size, task="superclass", device=device, shuffle=True, drop_last=True)
            cases.append(measure(case, batches, device, 1 if asked.quick else asked.rounds))
        del cohort, batches
    if device.type != "cuda":
        name, width, shape = CASES[-1]
        empty = f"{name} x {width:g}, {shape[1]} x {shape[0]} px, GPU"
        cases.append(Case(empty, "pages/s", "higher", None, note="Not yet measured: no GPU here."))
    finish(cases, asked)


if __name__ == "__main__":
    main()
