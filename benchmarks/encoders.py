"""Pre-training steps per second by encoder size: the masked autoencoder beside timm's plain ViT, and the limit.

    python -m benchmarks.encoders [--encoders conv_vit_nano ecg_vit_tiny] [--batch 32] [--threads 2] [--rounds 5]

A step is forward, backward and AdamW on windows of 12 leads, 2.5 s, 100 Hz: half of the cells hidden, in float32 on a
processor and under bf16 autocast on a GPU.

The peer is what one would build without this project: timm's VisionTransformer of the same width, depth and heads on
the same grid of patches of the "image" (leads, time), without a class token, all patches visible, and a linear map from
each of its tokens back to the patch (mean squared error). It has neither the convolutional stem nor the decoder, and it
does not leave hidden tokens out: the two do not compute the same, so no target stands on their ratio.

The limit is counted operations (matrix products, convolutions, attention, and their backward passes) over the rate of
a large matrix product measured just before, in the precision of the step. The target speaks of the largest encoder on
a GPU; without one its case stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks import networks
from benchmarks.case import Case, arguments, finish, in_turns, per_second
from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.models.transformer import SIZES
from ecglib.signals import Standardise

RATE, WINDOW_S, SHARE = 100, 2.5, 0.4
ON_CPU = ("conv_vit_nano", "ecg_vit_nano", "conv_vit_tiny", "ecg_vit_tiny")
ON_GPU = ("conv_vit_tiny", "ecg_vit_tiny", "ecg_vit_small", "conv_vit_base", "ecg_vit_base")  # the largest last
PEER = "timm ViT, all tokens, no decoder"


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


def stepper(method: nn.Module, signal: Tensor) -> Callable[[], None]:
    """One step of training."""
    optimiser = torch.optim.AdamW(method.parameters(), 1e-4)
    device = signal.device.type

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = method.training_step(SimpleNamespace(signal=signal))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure(name: str, batch: int, device: torch.device, asked, largest: bool) -> Case:
    samples = round(RATE * WINDOW_S)
    torch.manual_seed(0)
    encoder = Encoder(name, leads=LEADS, rate=RATE, standardise=Standardise("none"))
    leads, places = encoder.backbone.grid(samples)
    peer = Peer(encoder, samples).to(device).train()
    method = MaskedAutoencoder(encoder, mask_ratio=0.5).to(device).train()
    signal = torch.randn(batch, len(LEADS), samples, device=device)
    few = SimpleNamespace(signal=signal[:2])
    work = networks.flops(lambda: method.training_step(few)["loss"].backward()) / 2 * batch
    method.zero_grad()
    gpu = device.type == "cuda"
    rate = networks.matmul_rate(device, torch.bfloat16 if gpu else torch.float32, 0.2 if asked.quick else 1.0)
    ways = {"ours": stepper(method, signal), PEER: stepper(peer, signal)}
    wait = torch.cuda.synchronize if gpu else None
    rounds = 1 if asked.quick else asked.rounds
    seconds = in_turns(ways, rounds, warm_up=1 if asked.quick else 5 if gpu else 2, wait=wait)
    mine, share = per_second(1, seconds["ours"]), work / seconds["ours"] / rate
    sizes = f"{networks.parameters(method) / 1e6:.2f} M parameters (peer {networks.parameters(peer) / 1e6:.2f} M)"
    where = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads"
    said = f"{share:.0%} of {rate / 1e12:.3g} TFLOP/s measured; {leads * places} tokens a window; {sizes}"
    case = Case(
        f"{name}, batch {batch}, {where}", "steps/s", "higher", mine, {PEER: per_second(1, seconds[PEER])},
        {"operations at the matmul rate": rate / work}, note=f"{said}.",
    )  # fmt: skip
    return case.judged(TARGET, share, SHARE) if largest else case


TARGET = "40 % of the measured bf16 peak for the largest encoder on a GPU"


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--encoders", nargs="+", help="by default four small ones, on a GPU also larger ones")
    parser.add_argument("--batch", type=int, help="windows a step; 32 on a processor, 1024 on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="on the processor (2)")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(argv)
    torch.set_num_threads(asked.threads)
    names = asked.encoders or (ON_CPU[:1] if asked.quick else ON_CPU)
    batch = asked.batch or (4 if asked.quick else 32)
    cases = [measure(name, batch, torch.device("cpu"), asked, False) for name in names]
    on_gpu = asked.encoders or ON_GPU
    if torch.cuda.is_available():
        for name in on_gpu:
            cases.append(measure(name, asked.batch or 1024, torch.device("cuda"), asked, name == ON_GPU[-1]))
    else:
        empty = Case(f"{on_gpu[-1]}, GPU", "steps/s", "higher", None, note="Not yet measured: no GPU here.")
        cases.append(empty.judged(TARGET, None))
    finish(cases, asked)


if __name__ == "__main__":
    main()
