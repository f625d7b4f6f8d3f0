"""Inpainting by replacement: after every step, what was seen is put back at the noise level of the walk.

    x_s ← x_s + A⁺(α_s y + σ_s A z − A x_s),        z ~ N(0, I)

Song et al. (2021), appendix I.2, arXiv:2011.13456. What is put back does not agree with what the model made around it, so RePaint
walks each step several times, going back up by x_t = (α_t/α_s) x_s + √(σ_t² − (α_t/α_s)² σ_s²) z between:
Lugmayr et al. (2022), algorithm 1, arXiv:2201.09865. At t = 0 the constraint A x = y holds to round-off.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Values
from ..samplers import Ancestral, Sampler
from ..samplers.base import Past
from ..tensors import Draws, normal
from .measurement import Measurement

Scalar = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Replacement(Sampler):
    """x_s ← x_s + A⁺(α_s y + σ_s A z − A x_s) after every step of ``sampler``: A x = y holds exactly at the end.

    Each step is walked ``rounds`` times, as ``length`` shorter ones (even in log σ/α): 1 and 1 are replacement, 10 and 10 RePaint,
    which costs 100 evaluations a step; its bias shrinks as rounds grow. For `Mask` and other operators with a cheap pseudo-inverse.
    Raises: RangeError for rounds or length < 1, and for a measurement with noise.
    """

    measurement: Measurement
    sampler: Sampler = field(default_factory=Ancestral)
    rounds: int = 1
    length: int = 1
    order = 0

    def __post_init__(self):
        if self.rounds < 1 or self.length < 1:
            raise RangeError(f"Replacement(rounds={self.rounds}, length={self.length}): both must be at least 1.")
        if self.measurement.std != 0:
            raise RangeError(
                f"Replacement: the measurement has noise of std {self.measurement.std:g}, and replacement makes it hold "
                "exactly; use std=0, or MomentMatching."
            )

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.sampler.evaluations * self.rounds * self.length

    def times(self, model, steps: int) -> Float[Tensor, "times"]:
        return self.sampler.times(model, steps)

    def step(
        self,
        model: Denoiser,
        x: Values,
        t: Scalar,
        s: Scalar,
        past: Past,
        generator: Draws | None,
        observation: Tensor | None = None,
        **cond,
    ) -> tuple[Values, Values | None]:
        if float(model.noise.scales(s)[1]) == 0:
            there, denoised = self.sampler.step(model, x, t, s, past, generator, **cond)
            return self._replaced(model, there, s, generator, observation), denoised
        levels = model.noise.ratio(torch.stack([t, s])).log()
        inner = torch.linspace(float(levels[0]), float(levels[1]), self.length + 1, dtype=torch.float64).exp()
        times = torch.cat([t[None], model.noise.time(inner[1:-1]), s[None]])
        for k in range(self.rounds):
            if k:
                x = _back(model, x, s, t, generator)
            for a, b in pairwise(times):
                there, denoised = self.sampler.step(model, x, a, b, past, generator, **cond)
                x = self._replaced(model, there, b, generator, observation)
        return x, denoised

    def _replaced(
        self, model: Denoiser, x: Values, s: Scalar, generator: Draws | None, observation: Tensor | None
    ) -> Values:
        alpha, sigma = model.noise.at(s, x)
        operator, y = self.measurement.operator, self.measurement.rows(x, observation)
        if float(sigma) == 0:
            return x + operator.solve(y - operator(x))
        return x + operator.solve(alpha * y + operator(sigma * normal(x, generator) - x))


def _back(model: Denoiser, x: Values, s: Scalar, t: Scalar, generator: Draws | None) -> Values:
    """x_t ~ p(x_t | x_s): noise added on the way from level s up to level t."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = model.noise.at(s, x), model.noise.at(t, x)
    ratio = alpha_t / alpha_s
    return ratio * x + (sigma_t**2 - (ratio * sigma_s) ** 2).clamp(min=0).sqrt() * normal(x, generator)
