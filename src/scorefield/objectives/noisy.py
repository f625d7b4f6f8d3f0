"""Objectives across noise levels.

    Diffusion     E_t [ c(t) w(t) ½|x̂(x_t, t) − x_0|² ],   x_t = α x_0 + σ z,  t and c from `times`, w from `weights`
    AcrossNoise   E_t [ c(t) σ(t)² ℓ(s(·, t), x_t) ],      ℓ any objective for one score
    Dropout       another objective, each row's conditions forgotten with probability p

Since |x̂ − x_0|² differs from its least value by |x̂ − E[x_0|x_t]|² in the mean, the first is denoising score matching at every
level (Vincent 2011), whatever the network predicts; the second lifts score matching without a clean target, sliced or exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..noises import Gaussian
from ..tensors import Draws, normal, sum_event, uniform
from . import weights
from .base import Objective
from .static import Implicit
from .times import LogNormal, Times

Values = Float[Tensor, "batch *event"]
Losses = Float[Tensor, "batch"]
Weight = Callable[[Gaussian, Float[Tensor, "*batch"]], Float[Tensor, "*batch"]]


@dataclass(frozen=True)
class Diffusion(Objective):
    """E_t[w(t) ½|x̂(x_t, t) − x_0|²]: trains a denoiser at all noise levels at once.

    ``times`` says where to look (`LogNormal`, `Uniform`, `Importance`, `Levels`), ``weight`` how much it counts
    (`weights.edm`, `simple`, `likelihood`, `min_snr`). Uniform or Importance times with the likelihood weight bound −log p.

    >>> import torch; from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> Diffusion()(known, torch.ones(3, 2)).shape
    torch.Size([3])
    """

    times: Times = field(default_factory=LogNormal)
    weight: Weight = weights.edm

    def __call__(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Losses:
        t, correction = self.times(model.noise, x, generator)
        return self.at(t, model, x, generator, **cond) * correction.to(x)

    def at(
        self, t: Float[Tensor, "*batch"], model: Denoiser, x: Values, generator: Draws | None = None, **cond
    ) -> Losses:
        """The loss at given times, without the correction: what is watched level by level on held-out data."""
        alpha, sigma = model.noise.at(t, x)
        error = model(alpha * x + sigma * normal(x, generator), t, **cond) - x
        return 0.5 * self.weight(model.noise, t).to(x) * sum_event(error**2)

    def score_weight(self, noise: Gaussian, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """w σ⁴/α²: how much ½|ŝ − s|² counts at t."""
        alpha, sigma = noise.scales(t)
        return self.weight(noise, t) * sigma**4 / alpha**2


@dataclass(frozen=True)
class AcrossNoise(Objective):
    """E_t[σ² ℓ(s(·, t), x_t)]: any objective for one score, at every noise level, weighted by the variance.

    `AcrossNoise(Sliced())` trains a noise-conditional network without knowing which noise was added (Song et al. 2019).

    >>> import torch; from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> AcrossNoise()(known, torch.ones(3, 2)).shape
    torch.Size([3])
    """

    objective: Objective = field(default_factory=Implicit)
    times: Times = field(default_factory=LogNormal)

    def __call__(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Losses:
        t, correction = self.times(model.noise, x, generator)
        alpha, sigma = model.noise.at(t, x)
        xt = alpha * x + sigma * normal(x, generator)
        losses = self.objective(lambda y: model.score(y, t, **cond), xt, generator)
        return losses * self.score_weight(model.noise, t).to(x) * correction.to(x)

    def score_weight(self, noise: Gaussian, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """σ²: how much ½|ŝ − s|² counts at t."""
        return noise.scales(t)[1] ** 2


@dataclass(frozen=True)
class Dropout(Objective):
    """ℓ with each row's label forgotten with probability ``part``: one network learns with and without conditions.

    What classifier-free guidance needs (Ho & Salimans 2022, algorithm 1, arXiv:2207.12598). A forgotten label is ``null``, which
    the networks of this library take for "no label" when it equals their number of classes.
    Raises: RangeError unless 0 ≤ part ≤ 1.

    >>> import torch; from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> Dropout(null=10)(known, torch.ones(3, 2), label=torch.arange(3)).shape
    torch.Size([3])
    """

    objective: Objective = field(default_factory=Diffusion)
    part: float = 0.1
    null: int = 0

    def __post_init__(self):
        if not 0 <= self.part <= 1:
            raise RangeError(f"Dropout(part={self.part:g}): part is a probability, between 0 and 1.")

    def __call__(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Losses:
        if "label" in cond:
            forgotten = uniform(x.new_empty(len(x)), generator) < self.part
            cond["label"] = cond["label"].masked_fill(forgotten, self.null)
        return self.objective(model, x, generator, **cond)
