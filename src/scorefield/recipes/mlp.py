"""Digits by a network that knows nothing of images: three residual layers on a vector of pixels."""

from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data import open_data
from ..doctor.levels import thinned
from ..models import Denoiser, Preconditioned, edm
from ..networks import MLP
from ..noises import EDM
from ..objectives import Diffusion, LogNormal, weights
from ..tensors import normal, seeded
from .digits import judged
from .drawing import Drawing
from .experiment import Experiment, Finished
from .measure import Measure, Measures
from .projection import Plane, picture

RATIOS = (0.5, 2.0, 5.0)


class Flat(nn.Module):
    """f(x, t) = MLP(flattened x, t) in the shape of x: a network on vectors, used on events of any shape.

    >>> Flat((1, 4, 4), width=8)(torch.ones(2, 1, 4, 4), torch.zeros(2)).shape
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, shape: tuple[int, ...], width: int = 128, depth: int = 3):
        super().__init__()
        self.shape, self.width, self.depth = tuple(shape), width, depth
        self.network = MLP(torch.Size(shape).numel(), width, depth)

    def forward(
        self, x: Float[Tensor, "batch *event"], t: Float[Tensor, "*batch_t"] | None = None
    ) -> Float[Tensor, "batch *event"]:
        """``t`` of shape (), one for all, or (batch,), one for each."""
        return self.network(x.flatten(1), t).reshape(x.shape)


def mlp(
    *,
    data: str = "digits",
    width: int = 512,
    depth: int = 3,
    steps: int = 4000,
    batch: int = 128,
    learning_rate: float = 1e-3,
    data_std: float = 0.6,
    sigma_max: float = 80.0,
    sampling_steps: int = 20,
    samples: int = 2000,
    judge_steps: int = 600,
    seed: int = 0,
) -> Experiment:
    """Digits by a three-layer MLP, with arrows of the score over a plane through the digits.

    Args:
        data: digits, digits8, a folder of IDX files or of images, a .npy or .npz file, or hf:NAME from Hugging Face
        width: numbers in each hidden layer
        depth: residual layers
        steps: training steps
        batch: images in each step
        learning_rate: of AdamW, after warming up and before decaying to zero
        data_std: standard deviation of the pixels, which scales the network's inputs and outputs
        sigma_max: the largest noise level
        sampling_steps: steps of the walk from noise to images
        samples: number of samples that the report judges; 0 for none
        judge_steps: training steps of the classifier that judges
        seed: of the weights, the batches, the noise and the samples

    >>> mlp(data="digits8", width=8, steps=10).model.shape
    (1, 8, 8)
    """
    rows = open_data(data)
    with seeded(seed):
        network = Flat(rows.shape, width, depth)
    return Experiment(
        Preconditioned(network, EDM(sigma_max), partial(edm, data_std=data_std)),
        Diffusion(LogNormal(-0.6, 1.3), partial(weights.edm, data_std=data_std)),
        rows,
        steps=steps,
        batch=batch,
        training={"learning_rate": learning_rate},
        drawing=Drawing(steps=sampling_steps),
        seed=seed,
        count=samples,
        report=partial(report, judge_steps=judge_steps),
    )


def report(finished: Finished, *, judge_steps: int = 600) -> Measures:
    """field.png, how far its arrows are from the known ones, and what a judge trained apart says of the samples."""
    model, data = cast(Denoiser, finished.model), finished.experiment.data
    finished.save(picture(model, data.train, data.labels, RATIOS), "field.png")
    errors = {f"field_at_{r:g}": Measure(field_error(model, data.train, r), meaning=_MEANING) for r in RATIOS}
    return {**errors, **(judged(finished, judge_steps=judge_steps) if finished.count else {})}


_MEANING = "part of the arrows' mean square that differs from the score of the projected training digits"


def field_error(
    model: Denoiser, rows: Float[Tensor, "rows *event"], ratio: float, *, points: int = 200, draws: int = 64
) -> float:
    """E|ŝ − s|²/E|s|² over noisy projected rows, s being the score of the projected training rows.

    The average over ``draws`` images a point leaves an error of its own, which this number contains.
    """
    plane, generator = Plane(rows), torch.Generator().manual_seed(1)
    places = thinned(plane.places, points)
    u = places + ratio * normal(places, generator)
    t = model.noise.time(torch.tensor(ratio, dtype=torch.float64))
    wrong = plane.score(model, t, u, draws=draws, generator=generator) - plane.true_score(u, ratio)
    return float(wrong.square().sum() / plane.true_score(u, ratio).square().sum())
