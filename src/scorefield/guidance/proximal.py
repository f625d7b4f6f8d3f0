"""Guides without derivatives: the clean estimate moves to where the measurement wants it.

    x̂(x_t | y) = argmin_x ‖y − A x‖²/2s² + λ ‖x − x̂‖²/2ρ² = x̂ + Aᵀ(A Aᵀ + λ s²/ρ² I)⁻¹ (y − A x̂),        ρ = σ/α

Zhu et al. (2023), eq. 12b and algorithm 1, arXiv:2305.08995 (DiffPIR), with its step x_s = α_s x̂ + σ_s (√(1−ζ) ε̂ + √ζ z). At
s = 0 it is the orthogonal projection onto {A x = y}: Wang, Yu & Zhang (2022), eq. 13, arXiv:2212.00490 (DDNM).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..samplers import Sampler
from ..tensors import Draws, normal
from .measurement import Measurement
from .moments import require_events

Scalar = Float[Tensor, ""]


class Proximal(Denoiser):
    """x̂ + Aᵀ(A Aᵀ + λ s²/ρ² I)⁻¹ (y − A x̂): no derivative of the network, and A x = y to round-off where ``std`` is 0.

    ``weight`` is λ, the trust in x̂; 1 takes N(x̂, ρ² I) for what the model knows at level ρ = σ/α. Walk it by any sampler;
    DiffPIR walks it by `Refresh`. Fast, exact in its constraint, but no posterior: what it leaves free is spread too little.
    Raises: RangeError for weight ≤ 0, ShapeError if model and operator speak of different events.

    >>> from scorefield.exact import Gaussian; from scorefield.guidance import Mask; from scorefield.noises import VP
    >>> seen = Measurement(Mask(torch.tensor([True, False])), torch.tensor([2.0]), std=0.0)
    >>> Proximal(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), seen)(torch.zeros(1, 2), torch.tensor(0.5))
    tensor([[2., 0.]])
    """

    def __init__(self, model: Denoiser, measurement: Measurement, weight: float = 1.0):
        super().__init__()
        if not 0 < weight < math.inf:
            raise RangeError(
                f"Proximal(weight={weight:g}): the weight of the clean estimate must be positive and finite."
            )
        require_events(model, measurement)
        self.model = model
        self.measurement = measurement
        self.weight = weight
        self.noise = model.noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    def forward(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> Values:
        denoised = self.model(xt, t, **cond)
        ratio2 = self.noise.ratio(torch.as_tensor(t, device=xt.device).double()) ** 2
        ridge = self.weight * self.measurement.std**2 / ratio2
        return denoised + self.measurement.operator.solve(self.measurement.residual(denoised, observation), ridge)


@dataclass(frozen=True)
class Refresh(Sampler):
    """x_s = α_s x̂ + σ_s (√(1−ζ) ε̂ + √ζ z): part of the noise is new at every step, whatever the step is.

    The sampler of DiffPIR: Zhu et al. (2023), algorithm 1, arXiv:2305.08995. ``fresh`` is ζ: 0 is DDIM, 1 draws all of the noise
    anew. Between them it is biased towards the mode (order 0) and meant for `Proximal`. Raises: RangeError unless 0 ≤ fresh ≤ 1.
    """

    fresh: float = 0.3
    order = 0

    def __post_init__(self):
        if not 0 <= self.fresh <= 1:
            raise RangeError(f"Refresh(fresh={self.fresh:g}): the fresh part of the noise must lie in [0, 1].")

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = model.noise.at(t, x), model.noise.at(s, x)
        epsilon = (x - alpha_t * denoised) / sigma_t
        if self.fresh > 0 and float(sigma_s) > 0:
            epsilon = math.sqrt(1 - self.fresh) * epsilon + math.sqrt(self.fresh) * normal(x, generator)
        return alpha_s * denoised + sigma_s * epsilon, denoised
