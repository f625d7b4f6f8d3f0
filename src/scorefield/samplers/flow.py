"""Walks that follow the probability flow or its noisy relatives, written in the clean estimate x̂ = E[X_0 | x_t].

With r = σ/α, λ = −log r and y = x/α the flow is dy/dr = (y − x̂)/r, exact when x̂ is constant:

    x_s = (σ_s/σ_t) x_t + (α_s − α_t σ_s/σ_t) x̂                                       DDIM, order 1

    Ancestral   adds noise of variance τ² = η²(σ_s²/σ_t²)(σ_t² − (α_t/α_s)²σ_s²)       Song et al. 2021, eq. 12 and 16, arXiv:2010.02502
    Heun        averages the slopes at both ends of a step in r                       Karras et al. 2022, algorithm 1, arXiv:2206.00364
    Midpoint    takes the slope at the middle of log r                                Lu et al. 2022, algorithm 1, arXiv:2206.00927
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..tensors import Draws, normal
from .base import Past, Sampler, Values

Scalar = Float[Tensor, ""]


Ends = tuple[float, float, float, float]


def drift(x: Values, denoised: Values, ends: Ends, left: float | None = None) -> Values:
    """x_s for constant x̂: α_s x̂ + σ (x_t − α_t x̂)/σ_t, with σ = ``left`` (σ_s unless noise will make up the rest)."""
    alpha_t, sigma_t, alpha_s, sigma_s = ends
    shrink = (sigma_s if left is None else left) / sigma_t
    return (shrink * x).add_(denoised, alpha=alpha_s - alpha_t * shrink)


def ends(model: Denoiser, t: Scalar, s: Scalar) -> Ends:
    """(α_t, σ_t, α_s, σ_s), as numbers: the arithmetic of a step should cost nothing beside its network."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = model.noise.scales(t), model.noise.scales(s)
    return float(alpha_t), float(sigma_t), float(alpha_s), float(sigma_s)


@dataclass(frozen=True)
class Ancestral(Sampler):
    """x_s ~ p(x_s | x_t, x̂): DDPM's sampler at eta = 1, DDIM's deterministic one at eta = 0, all between.

    Ho et al. (2020), algorithm 2, arXiv:2006.11239; Song, Meng & Ermon (2021), eq. 12 and 16, arXiv:2010.02502.
    Raises: RangeError unless 0 ≤ eta ≤ 1.
    """

    eta: float = 1.0
    order = 1

    def __post_init__(self):
        if not 0 <= self.eta <= 1:
            raise RangeError(f"Ancestral(eta={self.eta:g}): eta must lie in [0, 1]: 0 is DDIM, 1 is DDPM.")

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = around = ends(model, t, s)
        if self.eta == 0 or sigma_s == 0:
            return drift(x, denoised, around), denoised
        ratio = (alpha_t * sigma_s) / (alpha_s * sigma_t)
        added = self.eta * sigma_s * math.sqrt(1 - ratio**2)
        kept = math.sqrt(max(0.0, sigma_s**2 - added**2))
        return drift(x, denoised, around, kept).add_(normal(x, generator), alpha=added), denoised


@dataclass(frozen=True)
class Heun(Sampler):
    """Trapezoidal steps of dy/dr = (y − x̂)/r: order 2, two evaluations a step, one for the last step to t = 0.

    Karras et al. (2022), algorithm 1, carried to any α, arXiv:2206.00364.
    """

    order = 2
    evaluations = 2

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = around = ends(model, t, s)
        ahead = drift(x, denoised, around)
        if sigma_s == 0:
            return ahead, denoised
        r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
        first = (x / alpha_t - denoised) / r_t
        second = (ahead / alpha_s - model(ahead, s, **cond)) / r_s
        return ahead.add_(second - first, alpha=0.5 * alpha_s * (r_s - r_t)), denoised


@dataclass(frozen=True)
class Midpoint(Sampler):
    """A whole step in r with the slope at the middle of log r: order 2, two evaluations a step, one for the last step to t = 0.

    DPM-Solver-2 (Lu et al. 2022, algorithm 1, arXiv:2206.00927).
    """

    order = 2
    evaluations = 2

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = ends(model, t, s)
        if sigma_s == 0:
            return denoised, denoised
        r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
        middle = model.noise.time(torch.tensor(math.sqrt(r_t * r_s), dtype=torch.float64))
        _, _, alpha_m, sigma_m = between = ends(model, t, middle)
        halfway = drift(x, denoised, between)
        slope = (halfway / alpha_m - model(halfway, middle, **cond)) / (sigma_m / alpha_m)
        return (x * (alpha_s / alpha_t)).add_(slope, alpha=alpha_s * (r_s - r_t)), denoised
