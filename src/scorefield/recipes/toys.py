"""Points of the plane: the data can be seen, drawn afresh without end, and compared with samples at a known floor.

    MMD²(model, fresh data)  against  |MMD²|(fresh data, fresh data)

`mixture` knows its score at every noise level, so that the Fisher divergence E ½‖s − s*‖² is measured too.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from .. import data
from ..exact import Density, Mixture
from ..likelihood import log_density
from ..metrics import fisher_divergence
from ..metrics.estimate import mean
from ..models import Denoiser, Preconditioned
from ..networks import MLP
from ..noises import VP
from ..objectives import Diffusion
from ..tensors import Streams, seeded
from . import portrait
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measure, Measures, distances

Points = Float[Tensor, "n 2"]
Draw = Callable[[int, Streams], Points]

FRESH, REPEATS = 2**40, 10
"""Rows from here on belong to no training set; and so many pairs of fresh samples make a floor."""


def moons(
    *,
    noise: float = 0.05,
    rows: int = 20_000,
    width: int = 128,
    depth: int = 3,
    steps: int = 3000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 20,
    samples: int = 4000,
    seed: int = 0,
) -> Experiment:
    """Two half moons in the plane: the first thing to run, in about half a minute.

    Args:
        noise: standard deviation about the half circles, in their radii
        rows: number of points to learn from, a tenth of them held out
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: points in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of samples that the report compares with fresh data
        seed: of the data, the weights, the noise and the samples

    >>> moons(rows=100, steps=10).data
    moons: 90 rows of shape (2,), 10 held out
    """
    draw = partial(_toy, data.moons, noise=noise)
    return _plane("moons", draw, rows, width, depth, steps, batch, learning_rate, sampling_steps, samples, seed)


def rings(
    *,
    count: int = 3,
    noise: float = 0.05,
    rows: int = 20_000,
    width: int = 128,
    depth: int = 3,
    steps: int = 5000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 20,
    samples: int = 4000,
    seed: int = 0,
) -> Experiment:
    """Rings about one centre: mass that surrounds holes.

    Args:
        count: number of rings, of radius 1, 2, …
        noise: standard deviation of the radius, in radii of the smallest ring
        rows: number of points to learn from, a tenth of them held out
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: points in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of samples that the report compares with fresh data
        seed: of the data, the weights, the noise and the samples
    """
    draw = partial(_toy, data.rings, count=count, noise=noise)
    return _plane("rings", draw, rows, width, depth, steps, batch, learning_rate, sampling_steps, samples, seed)


def checkerboard(
    *,
    rows: int = 20_000,
    width: int = 128,
    depth: int = 3,
    steps: int = 5000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 20,
    samples: int = 4000,
    seed: int = 0,
) -> Experiment:
    """The squares of one colour of a 4 × 4 board: how sharp an edge can the model draw?

    Args:
        rows: number of points to learn from, a tenth of them held out
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: points in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of samples that the report compares with fresh data
        seed: of the data, the weights, the noise and the samples
    """
    draw = partial(_toy, data.checkerboard)
    return _plane("checkerboard", draw, rows, width, depth, steps, batch, learning_rate, sampling_steps, samples, seed)


def spirals(
    *,
    turns: float = 1.5,
    noise: float = 0.02,
    rows: int = 20_000,
    width: int = 128,
    depth: int = 3,
    steps: int = 5000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 20,
    samples: int = 4000,
    seed: int = 0,
) -> Experiment:
    """Two spiral arms: long thin structure.

    Args:
        turns: how often each arm winds about the centre
        noise: standard deviation about the arms, in their outermost radius
        rows: number of points to learn from, a tenth of them held out
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: points in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of samples that the report compares with fresh data
        seed: of the data, the weights, the noise and the samples
    """
    draw = partial(_toy, data.spirals, turns=turns, noise=noise)
    return _plane("spirals", draw, rows, width, depth, steps, batch, learning_rate, sampling_steps, samples, seed)


def mixture(
    *,
    modes: int = 8,
    noise: float = 0.1,
    rows: int = 20_000,
    width: int = 128,
    depth: int = 3,
    steps: int = 3000,
    batch: int = 512,
    learning_rate: float = 1e-3,
    sampling_steps: int = 20,
    samples: int = 4000,
    seed: int = 0,
) -> Experiment:
    """Gaussians on a circle, whose score is known exactly: the Fisher divergence to the truth is logged and reported.

    Args:
        modes: number of Gaussians
        noise: standard deviation of each, in radii of the circle
        rows: number of points to learn from, a tenth of them held out
        width: neurons in each layer of the network
        depth: residual layers of the network
        steps: training steps
        batch: points in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        sampling_steps: steps of the walk from noise to data
        samples: number of samples that the report compares with fresh data
        seed: of the data, the weights, the noise and the samples
    """
    density = circle(modes, noise)
    draw = partial(_toy, lambda n, generator: density.sample(n, generator))
    numbers = (rows, width, depth, steps, batch, learning_rate, sampling_steps, samples, seed)
    return _plane("mixture", draw, *numbers, density=density)


def circle(modes: int, noise: float) -> Mixture:
    """Σ_k N(x; r (cos 2πk/modes, sin 2πk/modes), r² noise² I) / modes with r² = 2/(1 + 2 noise²), so that E‖x‖² = 2.

    Raises: RangeError unless noise is positive; ShapeError for no modes.

    >>> x = circle(4, 0.1).sample(20_000, torch.Generator().manual_seed(0))
    >>> round(float(x.square().sum(1).mean()), 1)
    2.0
    """
    radius = math.sqrt(2 / (1 + 2 * noise**2))
    angle = 2 * math.pi * torch.arange(modes) / modes
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return Mixture(torch.ones(modes), means, (radius * noise) ** 2 * torch.eye(2))


def _toy(make: Callable[..., Points], n: int, generator: Streams, **arguments) -> Points:
    return make(n, generator=generator, **arguments)


def _plane(
    name: str,
    draw: Draw,
    rows: int,
    width: int,
    depth: int,
    steps: int,
    batch: int,
    learning_rate: float,
    sampling_steps: int,
    samples: int,
    seed: int,
    density: Density | None = None,
) -> Experiment:
    points = draw(rows, Streams(seed, range(rows)))
    with seeded(seed):
        model = Preconditioned(MLP(2, width, depth), VP())
    training: dict = {"learning_rate": learning_rate}
    if density is not None:
        training["truth"] = density.denoiser(model.noise).score
    return Experiment(
        model,
        Diffusion(),
        data.prepare(points, name=name, scaling=data.Scaling.identity(), seed=seed),
        steps=steps,
        batch=batch,
        training=training,
        drawing=Drawing(steps=sampling_steps),
        seed=seed,
        count=samples,
        report=partial(_report, draw, density),
    )


def _report(draw: Draw, density: Density | None, finished: Finished) -> Measures:
    n, seed = finished.count, finished.experiment.seed
    fresh = [draw(n, Streams(seed, FRESH + k * n + torch.arange(n))) for k in range(REPEATS + 1)]
    samples = finished.sample()
    finished.save(portrait.draw(finished, samples, fresh[0]), "portrait.png")
    found = distances(samples, fresh[0], fresh[1:])
    if density is not None:
        found |= _against(density, finished.model, fresh[0])
    return found | {"training_seconds": Measure(finished.seconds, meaning="seconds of training")}


def _against(density: Density, model, x: Points) -> dict[str, Measure]:
    found = {}
    for level in (0.1, 0.5, 2.0):
        t = model.noise.time(torch.tensor(level, dtype=torch.float64))
        xt = model.noise.perturb(x, t, Streams(0, FRESH + torch.arange(len(x))))
        truth = partial(density.denoiser(model.noise).score, t=t)
        gap = fisher_divergence(partial(_score, model, t), truth, xt)
        zero = fisher_divergence(torch.zeros_like, truth, xt)
        words = f"E ½‖s − s*‖² at σ/α = {level:g} (a score of zero: {zero.value:.3g})"
        found[f"fisher_{level:g}"] = Measure(gap.value, gap.error, meaning=words)
    rows = x[:500]
    nats = mean(_log_density(model, rows))
    exact = float(density.log_density(rows).double().mean())
    found["log_density"] = Measure(
        nats.value, nats.error, exact, "mean log p of fresh data in nats; real: the exact one"
    )
    return found


def _score(model: Denoiser, t: Tensor, x: Points) -> Points:
    device = next(model.parameters()).device
    with torch.no_grad():
        return model.score(x.to(device), t.to(device)).cpu()


def _log_density(model: Denoiser, x: Points) -> Float[Tensor, "n"]:
    return log_density(model, x.to(next(model.parameters()).device)).value.cpu()
