"""Training speed: our U-Net against diffusers' ``UNet2DModel`` with the same number of multiply–adds, in one run.

    rate = examples / second of a whole step: forward, backward, AdamW

Both see the same shapes; the peer runs at its best of float32 and bfloat16 autocast, in both memory layouts. Rounds are
interleaved, so that whatever else the machine does hits both alike, and the ratio is taken within rounds; it compares
multiply–adds per second, since no width of ours has exactly the peer's number. ``pip install diffusers`` first;
``--batch``, ``--rounds`` and ``--steps`` change the effort.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scorefield.networks import UNet

Call = Callable[[Tensor, Tensor], Tensor]


def multiply_adds(call: Call) -> float:
    """Millions of multiply–adds of one forward pass of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(torch.zeros(1, 1, 28, 28), torch.zeros(1))
    return counter.get_total_flops() / 2e6


def peers() -> dict[str, tuple[nn.Module, Call]]:
    """The same network of about a million weights, in every setting a user of this CPU might choose."""
    from diffusers import UNet2DModel

    def build() -> nn.Module:
        torch.manual_seed(0)
        return UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            block_out_channels=(32, 64, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            norm_num_groups=8,
            add_attention=False,
        )

    def plain(net: nn.Module) -> Call:
        return lambda x, t: net(x, t).sample

    def autocast(net: nn.Module) -> Call:
        def call(x: Tensor, t: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return net(x, t).sample.float()

        return call

    settings = {}
    for layout in ("contiguous_format", "channels_last"):
        for name, wrap in {"float32": plain, "autocast": autocast}.items():
            net = build().to(memory_format=getattr(torch, layout))
            settings[f"peer, {name}, {layout}"] = net, wrap(net)
    return settings


def ours() -> tuple[nn.Module, Call]:
    """Our U-Net, wide and shallow so that its multiply–adds come near the peer's, computing in bfloat16."""
    torch.manual_seed(0)
    net = UNet(width=128, multipliers=(1, 1), blocks=1, compute=torch.bfloat16)
    return net, net


def rate(net: nn.Module, call: Call, batch: int, steps: int) -> float:
    """Examples per second over a few training steps, the first one left out."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4)
    x, t = torch.randn(batch, 1, 28, 28), torch.rand(batch)
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        optimizer.zero_grad()
        (call(x, t) - x).square().mean().backward()
        optimizer.step()
    return batch * steps / (time.perf_counter() - start)


def main() -> None:
    """Print sizes, rates and the ratio with its spread over rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    rivals = peers()
    budget = multiply_adds(next(iter(rivals.values()))[1])
    mine = ours()
    everyone = {**rivals, "scorefield, bfloat16": mine}
    rates: dict[str, list[float]] = {name: [] for name in everyone}
    for _ in range(options.rounds):
        for name, (net, call) in everyone.items():
            rates[name].append(rate(net, call, options.batch, options.steps))
    for name, (net, call) in everyone.items():
        weights = sum(weight.numel() for weight in net.parameters()) / 1e6
        size = f"{weights:5.2f} M weights {multiply_adds(call):6.1f} M multiply–adds"
        print(f"{name:38s} {size} {statistics.median(rates[name]):8.1f} examples/s")
    best = max(rivals, key=lambda name: statistics.median(rates[name]))
    work = multiply_adds(mine[1]) / budget
    ratios = sorted(work * a / b for a, b in zip(rates["scorefield, bfloat16"], rates[best]))
    spread = f"{statistics.median(ratios):.2f} (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"ratio at equal multiply–adds to {best}: {spread}")


if __name__ == "__main__":
    main()
