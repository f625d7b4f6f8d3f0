"""Digits from noise: our recipe against diffusers' U-Net, DDPM loss and DPM-Solver++, the same minutes on the same cores.

The recipe `digits` trains first; the peer then gets exactly the seconds that took, with what serves it best here: about a
million weights, linear betas, AdamW with warm-up and cosine decay, its own weight average, and the fastest of its precisions
(see ``benchmarks/speed.py``). A classifier trained apart on the real training digits judges 2,000 samples of both: Fréchet
distance of its features to held-out digits, with the floor that real digits have; sampling is timed in alternating rounds.
``pip install diffusers`` first. ``--minutes`` 9 is the recipe's own budget.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from scorefield import sample
from scorefield.metrics import Judge, report
from scorefield.plots import sheet
from scorefield.recipes import digits
from scorefield.tensors import Streams, normal
from scorefield.training import bar, train
from torch import Tensor, nn


def peer() -> nn.Module:
    """diffusers' UNet2DModel with about a million weights."""
    from diffusers import UNet2DModel

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
    ).to(memory_format=torch.channels_last)


def train_peer(net: nn.Module, x: Tensor, seconds: float, batch: int, rate: float) -> int:
    """DDPM's loss for so many seconds, decaying with the clock; the averaged weights end in ``net``. Returns the steps."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    optimizer = torch.optim.AdamW(net.parameters(), rate, betas=(0.95, 0.999), weight_decay=1e-6)
    average = EMAModel(net.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)
    generator, start, step = torch.Generator().manual_seed(0), time.perf_counter(), 0
    while (gone := (time.perf_counter() - start) / seconds) < 1:
        factor = min(1.0, gone / 0.05) * 0.5 * (1 + math.cos(math.pi * gone))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        clean = x[torch.randint(len(x), (batch,), generator=generator)]
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.randint(1000, (batch,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            guess = net(scheduler.add_noise(clean, noise, t), t).sample
        optimizer.zero_grad()
        nn.functional.mse_loss(guess.float(), noise).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.step(net.parameters())
        step += 1
    average.copy_to(net.parameters())
    return step


@torch.no_grad()
def sample_peer(net: nn.Module, n: int, steps: int, first: int = 0, chunk: int = 256) -> Tensor:
    """DPM-Solver++(2M) with the peer's linear betas."""
    from diffusers import DPMSolverMultistepScheduler

    parts = []
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        solver = DPMSolverMultistepScheduler(num_train_timesteps=1000, beta_schedule="linear")
        solver.set_timesteps(steps)
        x = normal(torch.empty(size, 1, 28, 28), Streams(0, range(first + start, first + start + size)))
        for t in solver.timesteps:
            with torch.autocast("cpu", torch.bfloat16):
                guess = net(x, t).sample
            x = solver.step(guess.float(), t, x).prev_sample
        parts.append(x)
    return torch.cat(parts)


def main() -> None:
    """Train both, judge both, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="the peer's")
    parser.add_argument("--rate", type=float, default=1e-3, help="the peer's learning rate")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    trial = digits()
    source = trial.data.batches(trial.batch, seed=trial.seed)
    for _ in train(trial.model, trial.objective, source, steps=5, **trial.training):
        pass
    start = time.perf_counter()
    for _ in train(trial.model, trial.objective, source, steps=15, **trial.training):
        pass
    steps = max(100, int(options.minutes * 60 / ((time.perf_counter() - start) / 15)))
    recipe = digits(steps=steps)
    source = recipe.data.batches(recipe.batch, seed=recipe.seed)
    start = time.perf_counter()
    for progress in bar(train(recipe.model, recipe.objective, source, steps=steps, seed=recipe.seed, **recipe.training)):
        model = progress.average
    seconds = time.perf_counter() - start
    print(f"scorefield: {steps} steps of {recipe.batch} in {seconds:.0f} s")

    net = peer()
    print(f"peer: {train_peer(net, recipe.data.train, seconds, options.batch, options.rate)} steps of {options.batch}, same time")
    net.eval()

    calls = {
        "scorefield": lambda n, first: sample(model, n + first, times=recipe.times, sampler=recipe.sampler)[first:],
        "peer, 50 steps": lambda n, first: sample_peer(net, n, 50, first),
        "peer, 100 steps": lambda n, first: sample_peer(net, n, 100, first),
    }
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    drawn = {}
    for _ in range(3):
        for name, call in calls.items():
            start = time.perf_counter()
            call(256, 0)
            rounds[name].append(time.perf_counter() - start)
    data = recipe.data
    judge = Judge.fit(data.train, data.labels, classes=10, seed=1)
    for name, call in calls.items():
        drawn[name] = call(options.samples, 0)
        sheet(drawn[name][:100], options.out / f"{name.replace(', ', '-').replace(' ', '-')}.png")
        found = report(judge, drawn[name], data.held_out, data.train)
        cost = sorted(rounds[name])
        print(
            f"{name:16s} Fréchet {found['frechet']:7.3f} ± {found['frechet_error']:.3f} (floor {found['frechet_floor']:.3f})  "
            f"confident {found['confident']:.3f} (real {found['confident_real']:.3f})  entropy {found['entropy']:.4f}  "
            f"copies {found['copies']:.4f}  256 samples in {cost[1]:.2f} s ({cost[0]:.2f} to {cost[-1]:.2f})"
        )
    ratios = sorted(a / b for a, b in zip(rounds["scorefield"], rounds["peer, 50 steps"]))
    print(f"sampling cost, scorefield / peer at 50 steps: {ratios[1]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
