"""Digits from noise: our recipe against diffusers' U-Net, DDPM loss and DPM-Solver++, the same minutes on the same cores.

The recipe `digits` trains first; the peer then gets exactly the seconds that took, with what serves it best here: about a
million weights, linear betas, AdamW with warm-up and cosine decay, its own weight average, and the fastest of its
precisions (see ``benchmarks/speed.py``). The recipe learns from labels, so the peer is given them too, with a tenth
forgotten, and is drawn with and without guidance; ``--unlabelled`` trains it without any. A classifier trained apart on the
real training digits judges 2,000 samples of both: Fréchet distance of its features to held-out digits, with the floor that
real digits have; sampling is timed in alternating rounds. ``pip install diffusers`` first.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from scorefield.data import Batches, batches
from scorefield.metrics import Judge, report
from scorefield.plots import sheet
from scorefield.recipes import digits
from scorefield.recipes.experiment import Experiment
from scorefield.tensors import Streams, normal
from scorefield.training import bar, train

NONE = 10


def peer(labelled: bool) -> nn.Module:
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
        num_class_embeds=11 if labelled else None,
    )


def train_peer(net: nn.Module, x: Tensor, labels: Tensor | None, seconds: float, batch: int, rate: float) -> int:
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
        rows = torch.randint(len(x), (batch,), generator=generator)
        forgotten = torch.rand(batch, generator=generator) < 0.1
        label, clean = None if labels is None else labels[rows].masked_fill(forgotten, NONE), x[rows]
        noise = torch.randn(clean.shape, generator=generator)
        t = torch.randint(1000, (batch,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            guess = net(scheduler.add_noise(clean, noise, t), t, label).sample
        optimizer.zero_grad()
        nn.functional.mse_loss(guess.float(), noise).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.step(net.parameters())
        step += 1
    average.copy_to(net.parameters())
    return step


@torch.no_grad()
def sample_peer(
    net: nn.Module, labels: Tensor | None, n: int, steps: int, weight: float = 1.0, chunk: int = 256
) -> Tensor:
    """DPM-Solver++(2M) with the peer's linear betas, guided if the weight is not 1."""
    from diffusers import DPMSolverMultistepScheduler

    parts = []
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        solver = DPMSolverMultistepScheduler(num_train_timesteps=1000, beta_schedule="linear")
        solver.set_timesteps(steps)
        x = normal(torch.empty(size, 1, 28, 28), Streams(0, range(start, start + size)))
        label = None if labels is None else labels[start : start + size]
        for t in solver.timesteps:
            with torch.autocast("cpu", torch.bfloat16):
                guess = net(x, t, label).sample.float()
                if weight != 1:
                    plain = net(x, t, torch.full_like(label, NONE)).sample.float()
                    guess = plain + weight * (guess - plain)
            x = solver.step(guess, t, x).prev_sample
        parts.append(x)
    return torch.cat(parts)


def source(recipe: Experiment) -> Batches:
    """The recipe's batches, with labels."""
    return batches(recipe.data.train, recipe.batch, seed=recipe.seed, label=recipe.data.labels)


def recipe_for(minutes: float) -> Experiment:
    """The recipe with as many steps as fit the minutes, by a short trial."""
    trial = digits()
    start = 0.0
    for progress in train(trial.model, trial.objective, source(trial), steps=40, **trial.training):
        start = time.perf_counter() if progress.step == 10 else start
    return digits(steps=max(100, int(minutes * 60 * 30 / (time.perf_counter() - start))))


def main() -> None:
    """Train both, judge both, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="the peer's")
    parser.add_argument("--rate", type=float, default=1e-3, help="the peer's learning rate")
    parser.add_argument("--unlabelled", action="store_true", help="train the peer without labels")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-digits"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    recipe = recipe_for(options.minutes)
    data, labels, drawing = recipe.data, recipe.data.labels, recipe.drawing
    start = time.perf_counter()
    for progress in bar(train(recipe.model, recipe.objective, source(recipe), steps=recipe.steps, **recipe.training)):
        model = progress.average
    seconds = time.perf_counter() - start
    print(f"scorefield: {recipe.steps} steps of {recipe.batch} in {seconds:.0f} s")

    net = peer(not options.unlabelled)
    known = None if options.unlabelled else labels
    steps = train_peer(net, data.train, known, seconds, options.batch, options.rate)
    print(f"peer: {steps} steps of {options.batch} in the same time")
    net.eval()

    asked = None if options.unlabelled else drawing.labels(options.samples)
    calls = {
        "scorefield": lambda n: drawing.sample(model, n, shape=model.shape),
        "peer, 50 steps": lambda n: sample_peer(net, asked, n, 50),
    }
    if not options.unlabelled:
        calls["peer, 50 steps guided"] = lambda n: sample_peer(net, asked, n, 50, drawing.weight)
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    drawn = {}
    for _ in range(3):
        for name, call in calls.items():
            start = time.perf_counter()
            call(256)
            rounds[name].append(time.perf_counter() - start)
    judge = Judge.fit(data.train, data.labels, classes=10, seed=1)
    for name, call in calls.items():
        drawn[name] = call(options.samples)
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
