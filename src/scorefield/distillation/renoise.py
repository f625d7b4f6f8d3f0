"""Sampling from a consistency function in one step or several: jump to the data, add noise, jump again.

x̂ = f(x_t, t),    x_s = α_s x̂ + σ_s z          Song et al. 2023, algorithm 1, arXiv:2303.01469
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError, ShapeError
from ..models import Denoiser
from ..noises import Gaussian
from ..samplers import Past, Sampler
from ..tensors import Draws, normal

Values = Float[Tensor, "batch *event"]


@dataclass(frozen=True)
class Renoise(Sampler):
    """x_s = α_s f(x_t, t) + σ_s z: multistep consistency sampling, each step exact for a consistency function.

    ``levels`` are the σ/α from which the student learnt to jump, descending; fewer steps start from fewer of them, always the first.
    It is no sampler for a denoiser: E[x_0 | x_t] is an average, and a jump to it loses variance. Song et al. (2023), algorithm 1.
    Raises: RangeError for levels that do not descend, or more steps than levels.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(EDM(80.0))
    >>> (80 * Renoise((80.0, 4.0, 1.2, 0.4)).times(known, 2)).round(decimals=2)
    tensor([80.0000,  1.2000,  0.0000], dtype=torch.float64)
    """

    levels: tuple[float, ...]
    order = math.inf

    def __post_init__(self):
        falling = all(a > b for a, b in zip(self.levels, self.levels[1:]))
        if not self.levels or not falling or not self.levels[-1] > 0:
            raise RangeError(f"Renoise(levels={self.levels}): levels are positive values of sigma/alpha, descending.")

    def times(self, model: Callable[..., Values], steps: int) -> Float[Tensor, "times"]:
        noise = getattr(model, "noise", None)
        if not isinstance(noise, Gaussian):
            raise ShapeError(
                f"{self}: {type(model).__name__} has no noise; wanted a consistency function of x_t and t."
            )
        if not 1 <= steps <= len(self.levels):
            raise RangeError(
                f"{self}: {steps} steps, from {len(self.levels)} levels; take 1 to {len(self.levels)} steps, or give more levels."
            )
        chosen = torch.tensor([self.levels[k * len(self.levels) // steps] for k in range(steps)], dtype=torch.float64)
        top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
        times = noise.time(chosen.clamp(max=top))
        return torch.cat([times, times.new_zeros(1)])

    def step(
        self,
        model: Denoiser,
        x: Values,
        t: Float[Tensor, ""],
        s: Float[Tensor, ""],
        past: Past,
        generator: Draws | None,
        **cond,
    ) -> tuple[Values, Values]:
        clean = model(x, t, **cond)
        alpha, sigma = model.noise.at(s, x)
        return (alpha * clean + sigma * normal(x, generator) if float(s) > 0 else clean), clean
