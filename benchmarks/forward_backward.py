"""Forward and backward passes: our networks beside the same ones written plainly and beside the peers'.

    python -m benchmarks.forward_backward [--networks xresnet18 xresnet101 transformer page] [--threads 2] [--rounds 3]

Records of 12 leads, 10 s at 100 Hz, in training mode, binary cross-entropy, float32; pages of 275 x 212 pixels.
"textbook" is the same network in torch.nn's ordinary layers, with our weights: outputs and the gradient's norm must
agree to 1e-3 of their scale before anything is timed. deepecgkit's XResNet1d takes our weights too and must agree.
torch_ecg's networks, and deepecgkit's transformer, are of the same depth and width but not the same functions (see
benchmarks/networks.py); they are compared by time per record, and the note gives the parameters of all.

The limit is what the operations of a pass (counted) take at the rate of a large matrix product, measured just before:
nothing that does these operations can pass it. On a processor with bf16 the first network is also run under bf16
autocast, everyone alike; there outputs differ by bf16's own rounding and are not compared.

With CUDA, everyone is also run on the GPU: peers as they come (float32, eager), ours in bf16 with torch.compile and
CUDA graphs ("reduce-overhead"). Without, those cases stay empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import networks
from benchmarks.case import Case, arguments, finish, in_turns, peer, per_second
from ecglib import models
from ecglib.models.page_backbone import PageBackbone

LEADS, SAMPLES, CLASSES, PAGE = 12, 1000, 5, (212, 275)
# name: title, records a step on a processor, on a GPU
NETWORKS = {
    "xresnet18": ("XResNet-1d-18", 32, 512),
    "xresnet101": ("XResNet-1d-101", 16, 256),
    "transformer": ("ECG transformer, tiny", 8, 256),
    "page": ("page network, ResNet-18", 16, 256),
}
TEXTBOOK, TOLERANCE = "textbook PyTorch", 1e-3
PLACES = ("lead", "place")  # ours adds two embeddings, the textbook their sum: their gradients have other shapes
ON_CPU, ON_GPU = "1.3 x the fastest beside it", "3 x the fastest beside it"
Step = Callable[[], Tensor]


def made(name: str) -> tuple[nn.Module, dict[str, nn.Module | None], set[str]]:
    """Ours, the others by name (None: not installed), and which of them must give our numbers."""
    torch.manual_seed(0)
    if name == "page":
        ours = PageBackbone("resnet18", size=PAGE)
        return ours, {TEXTBOOK: networks.TextbookPage(ours)}, {TEXTBOOK}
    kit, ecg = peer("deepecgkit"), peer("torch_ecg")
    if name == "transformer":
        ours = models.create("ecg_vit_tiny", in_channels=LEADS, num_classes=CLASSES)
        beside = {
            TEXTBOOK: networks.TextbookViT(ours, "tiny", SAMPLES),
            "torch_ecg": networks.torch_ecg_transformer(ecg, "tiny", LEADS, SAMPLES, ours.stride, CLASSES),
            "deepecgkit": networks.deepecgkit_transformer(kit, "tiny", LEADS, CLASSES),
        }
        return ours, beside, {TEXTBOOK}
    depth = int(name.removeprefix("xresnet"))
    ours = models.create(f"xresnet1d{depth}", in_channels=LEADS, num_classes=CLASSES)
    beside = {
        TEXTBOOK: networks.TextbookXResNet(ours),
        "deepecgkit": networks.deepecgkit_xresnet(kit, depth, ours),
        "torch_ecg": networks.torch_ecg_xresnet(ecg, depth, LEADS, CLASSES),
    }
    return ours, beside, {TEXTBOOK, "deepecgkit"}


def data(name: str, batch: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """What goes in, and the labels; a page network ends with tokens and has none."""
    draw = torch.Generator().manual_seed(1)
    if name == "page":
        return torch.rand(batch, 3, *PAGE, generator=draw).to(device), None
    x = torch.randn(batch, LEADS, SAMPLES, generator=draw)
    return x.to(device), (torch.rand(batch, CLASSES, generator=draw) < 0.3).float().to(device)


def stepper(network: Callable[[Tensor], Tensor], whole: nn.Module, x: Tensor, y: Tensor | None, bf16: bool) -> Step:
    """Forward and backward of `network`, whose parameters are `whole`'s; the loss is returned."""
    parameters = list(whole.parameters())

    def step() -> Tensor:
        for p in parameters:
            p.grad = None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            out = network(x)
        out = out.float()
        loss = out.square().mean() if y is None else F.binary_cross_entropy_with_logits(out, y)
        loss.backward()
        return loss.detach()

    return step


def apart(ours: nn.Module, theirs: nn.Module, x: Tensor, y: Tensor | None) -> float:
    """The largest difference of an output, or of the gradient's norm over all parameters, as a share of its scale."""
    found = []
    for network in (ours, theirs):
        stepper(network, network, x, y, False)()
        gradients = [p.grad.norm() for n, p in network.named_parameters() if n not in PLACES and p.grad is not None]
        norm = torch.stack(gradients).norm()
        with torch.no_grad():
            found.append((network(x), norm))
    (a, grad_a), (b, grad_b) = found
    return max(float((a - b).abs().max() / a.abs().max()), float((grad_a - grad_b).abs() / grad_a))


def measure(name: str, asked, device: torch.device, bf16: bool) -> Case:
    """One network on one device: records a second of everyone, and the limit."""
    title, small, large = NETWORKS[name]
    batch = asked.batch or (2 if asked.quick else large if device.type == "cuda" else small)
    ours, beside, equal = made(name)
    everyone = {"ours": ours, **beside}
    for network in everyone.values():
        if network is not None:
            network.to(device).train()
    x, y = data(name, batch, device)
    said = []
    for other in sorted(equal):
        if beside[other] is not None and not bf16:
            distance = apart(ours, beside[other], x, y)
            if distance > TOLERANCE:
                raise SystemExit(f"{title}: ours and {other} are {distance:.1e} apart, more than {TOLERANCE:g}.")
            said.append(f"{other} {distance:.0e}")
    fast = device.type == "cuda"
    steps: dict[str, Step | None] = {
        k: n and stepper(n, n, x, y, bf16 and not fast) for k, n in everyone.items()
    }  # fmt: skip
    work = networks.flops(steps["ours"])
    if fast:
        steps["ours"] = stepper(torch.compile(ours, mode="reduce-overhead"), ours, x, y, True)
    rate = networks.matmul_rate(device, torch.bfloat16 if bf16 or fast else torch.float32, 0.2 if asked.quick else 1.0)
    wait = torch.cuda.synchronize if fast else None
    seconds = in_turns(steps, 1 if asked.quick else asked.rounds, warm_up=5 if fast else 1, wait=wait)
    speeds = {k: per_second(batch, s) for k, s in seconds.items()}
    mine = speeds.pop("ours")
    where = torch.cuda.get_device_name() if fast else f"{torch.get_num_threads()} threads"
    kind = "ours bf16 + compile + graphs, others as they come" if fast else "bf16" if bf16 else "float32"
    sizes = ", ".join(f"{k} {networks.parameters(n) / 1e6:.2f} M" for k, n in everyone.items() if n is not None)
    share = mine * work / batch / rate
    equals = f" Furthest from ours: {', '.join(said)}." if said else ""
    reached = f"Batch {batch}; ours at {share:.0%} of the matmul rate, {rate / 1e9:,.0f} GFLOP/s"
    case = Case(
        f"{title}, {kind}, {where}", "records/s", "higher", mine, speeds,
        limit={"operations at the matmul rate": rate * batch / work},
        note=f"{reached}; parameters: {sizes}.{equals}",
    )  # fmt: skip
    return case.judged(ON_GPU, case.times(*speeds), 3) if fast else case.judged(ON_CPU, case.times(*speeds), 1.3)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, help="records a step; by default each network's own")
    parser.add_argument("--threads", type=int, default=2, help="on the processor (2)")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(argv)
    networks.quiet()
    torch.set_num_threads(asked.threads)
    names = ["xresnet18"] if asked.quick and asked.networks == list(NETWORKS) else asked.networks
    cpu = torch.device("cpu")
    cases = [measure(name, asked, cpu, False) for name in names]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported() and not asked.quick:
        cases.append(measure(names[0], asked, cpu, True))
    for name in names:
        if torch.cuda.is_available():
            cases.append(measure(name, asked, torch.device("cuda"), True))
        else:
            empty = Case(
                f"{NETWORKS[name][0]}, GPU", "records/s", "higher", None, note="Not yet measured: no GPU here."
            )
            cases.append(empty.judged(ON_GPU, None))
    finish(cases, asked)


if __name__ == "__main__":
    main()
