"""A full epoch of PTB-XL-sized data, 21,799 x 12 x 1000, through `ecglib.training.fit`.

    python -m benchmarks.epoch [--batch 256] [--epochs 4]            # on a GPU: XResNet-1d-101, whole epochs
    python -m benchmarks.epoch [--steps 8] [--threads 2]             # without: XResNet-1d-18, a few steps

On a GPU: a synthetic cohort of that size lies on the device as int16; each epoch is the loop as notebooks run it (draw
the order, gather, to mV, standardise, forward, backward, AdamW, the loss read once), in bf16, first as it comes, then
with the backbone compiled, then compiled into CUDA graphs. The first epoch warms up; the median of the others counts,
and the fastest way is ours. Records that do not fill a batch are left out, and the note says how many. Beside it stands
the 26 s per epoch that are published for the reference benchmark, on another GPU: it is quoted, not measured here.

The shares: the operations of an epoch (counted) over the rate of a large bf16 product on this GPU; and the bytes that
its operators read and write when they run one by one (counted, each tensor once an operator) over the rate of a large
copy. Compiled networks move less than that, so their share of the bandwidth is an upper bound.

Without a GPU that case stays empty, and the same loop is timed on the processor for some steps of XResNet-1d-18 in
float32: records per second, beside the bare forward and backward of the same batch, which is the loop's limit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from benchmarks import networks
from benchmarks.case import Case, arguments, finish, in_turns, per_second
from ecglib import datasets, training
from ecglib.methods.lead_kd import Supervised, View
from ecglib.signals import Standardise

RECORDS, SAMPLES, TASK, PUBLISHED_S = 21_799, 1000, "superclass", 26.0


class Clocked:
    """Batches that note when each epoch begins, and what is done before it."""

    def __init__(self, batches, device: torch.device) -> None:
        self.batches, self.device, self.begun = batches, device, []

    def set_epoch(self, epoch: int) -> None:
        self.begun.append(networks.waited(self.device))
        self.batches.set_epoch(epoch)

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str):
        return getattr(self.batches, name)

    def seconds(self) -> list[float]:
        """Of each epoch; asked for after the training."""
        ends = [*self.begun[1:], networks.waited(self.device)]
        return [end - begin for begin, end in zip(self.begun, ends)]


class _Traffic(TorchDispatchMode):
    """Counts the bytes of the tensors that operators take and give; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        if not op.is_view:
            tensors = (t for t in tree_iter((args, kwargs, out)) if isinstance(t, torch.Tensor))
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return out


def trained(network: str, cohort, device: torch.device) -> Supervised:
    """A view of all leads that is trained on labels alone."""
    torch.manual_seed(0)
    view = View(
        network, classes=cohort.classes(TASK), leads=cohort.leads, rate=cohort.rate,
        standardise=Standardise("scalar").fit(cohort),
    )  # fmt: skip
    return Supervised(view).to(device).train()


def epochs(method: nn.Module, batches, device: torch.device, count: int, precision: str) -> list[float]:
    """Seconds of each of `count` epochs in the project's own loop."""
    clocked = Clocked(batches, device)
    settings = training.Settings(count, 1e-3, select="last", precision=precision)
    training.fit(method, clocked, None, settings=settings, progress="none")
    return clocked.seconds()


def copy_rate(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes, the best of some."""
    source = torch.empty(1 << 30, dtype=torch.int8, device=device)
    to, best = torch.empty_like(source), 0.0
    for _ in range(10):
        begin = networks.waited(device)
        to.copy_(source)
        best = max(best, 2 * source.numel() / (networks.waited(device) - begin))
    return best


def bare(method: Supervised, batch, bf16: bool) -> Callable[[], None]:
    """Forward and backward of one batch, nothing around them."""

    def step() -> None:
        method.zero_grad()
        with torch.autocast(batch.signal.device.type, torch.bfloat16, enabled=bf16):
            loss = method.training_step(batch)["loss"]
        loss.backward()

    return step


WAYS = {"eager": None, "compiled": "default", "compiled, CUDA graphs": "reduce-overhead"}


def on_gpu(asked, cache: str) -> Case:
    device = torch.device("cuda")
    records = 4 * asked.batch if asked.quick else RECORDS
    cohort = datasets.load("synthetic", rate=100, records=records, cache=cache, progress=False).labelled(TASK)
    batches = cohort.batches(asked.batch, task=TASK, device=device, shuffle=True, drop_last=True, resident=True)
    step = bare(trained("xresnet1d101", cohort, device), next(iter(batches)), True)
    work = networks.flops(step) * len(batches)
    with _Traffic() as traffic:
        step()
    moved = traffic.bytes * len(batches)
    found: dict[str, float] = {}
    failed = []
    for way, mode in WAYS.items():
        method = trained("xresnet1d101", cohort, device)
        if mode:
            backbone = method.view.backbone
            backbone.forward_features = torch.compile(backbone.forward_features, mode=mode)
        try:
            found[way] = statistics.median(epochs(method, batches, device, asked.epochs, "bf16")[1:])
        except Exception as error:  # a compiler that cannot: told in the note, and the other ways still count
            failed.append(f"{way} failed: {type(error).__name__}")
        del method
        torch.cuda.empty_cache()
    fastest = min(found, key=found.get)
    seconds = found[fastest]
    rate, copies = networks.matmul_rate(device, torch.bfloat16), copy_rate(device)
    ways = ", ".join(f"{way} {s:.2f} s" for way, s in found.items())
    left = records - len(batches) * asked.batch
    said = [
        f"{torch.cuda.get_device_name()}, bf16, {len(batches)} batches of {asked.batch}, {left} records left out",
        f"{ways}; ours is {fastest}",
        f"{work / seconds / rate:.0%} of {rate / 1e12:,.0f} TFLOP/s measured",
        f"at most {moved / seconds / copies:.0%} of {copies / 1e12:.2f} TB/s measured",
        *failed,
    ]
    case = Case(
        f"XResNet-1d-101, {records:,} x 12 x {SAMPLES}, GPU", "s an epoch", "lower", seconds,
        {"published, reference benchmark": PUBLISHED_S}, {"operations at the matmul rate": work / rate},
        note="; ".join(said) + ".",
    )  # fmt: skip
    return case.judged("under 3 s", seconds if records == RECORDS else None, at_most=3.0)


def not_on_gpu() -> Case:
    case = Case(
        f"XResNet-1d-101, {RECORDS:,} x 12 x {SAMPLES}, GPU", "s an epoch", "lower", None,
        {"published, reference benchmark": PUBLISHED_S},
        note="Not yet measured: no GPU here. The published figure is of another GPU.",
    )  # fmt: skip
    return case.judged("under 3 s", None)


def on_processor(asked, cache: str) -> Case:
    device = torch.device("cpu")
    batch, steps = (8, 2) if asked.quick else (32, asked.steps)
    cohort = datasets.load("synthetic", rate=100, records=batch * steps, cache=cache, progress=False).labelled(TASK)
    batches = cohort.batches(batch, task=TASK, shuffle=True, drop_last=True)
    method = trained("xresnet1d18", cohort, device)
    count = 2 if asked.quick else asked.epochs
    loop = statistics.median(epochs(method, batches, device, count, "no")[1:]) / len(batches)
    alone = in_turns({"bare": bare(method, next(iter(batches)), False)}, 1 if asked.quick else 5)["bare"]
    return Case(
        "XResNet-1d-18 on the processor, the whole loop", "records/s", "higher", batch / loop, {},
        {"forward and backward alone": per_second(batch, alone)},
        note=f"{len(batches)} steps of {batch} records, {torch.get_num_threads()} threads, float32; a fixed number of "
        "steps, not an epoch of PTB-XL.",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=256, help="records a step on a GPU (256)")
    parser.add_argument("--epochs", type=int, default=4, help="the first one warms up (4)")
    parser.add_argument("--steps", type=int, default=8, help="of an epoch on the processor (8)")
    parser.add_argument("--threads", type=int, default=2, help="on the processor (2)")
    asked = parser.parse_args(argv)
    if asked.epochs < 2:
        parser.error("--epochs must be at least 2: the first one warms up")
    torch.set_num_threads(asked.threads)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        cases = [on_gpu(asked, cache) if torch.cuda.is_available() else not_on_gpu(), on_processor(asked, cache)]
    finish(cases, asked)
    print(f"Whole run {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main()
