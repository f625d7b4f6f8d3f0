"""Langevin dynamics: dX = s(X) dτ + √2 dW leaves p invariant when s = ∇ log p.

Langevin             x ← exp_x(h s(x) + √(2h) P z)                        Roberts & Tweedie 1996, eq. 1.3, doi:10.2307/3318418
MALA                 the same proposal y, accepted with probability
                     min(1, p(y) q(x|y) / p(x) q(y|x))                    ibid., section 1.4
AnnealedLangevin     k steps of size ε σ² at every noise level             Song & Ermon 2019, algorithm 1, arXiv:1907.05600
PredictorCorrector   any step, then Langevin steps of size 2 (snr·σ)²     Song et al. 2021, algorithm 3, arXiv:2011.13456
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError, ShapeError
from ..models import Denoiser, Score
from ..spaces import Euclidean, Space
from ..tensors import Draws, expand, normal, sum_event, uniform
from .base import Grid, Past, Sampler, Values
from .flow import Ancestral, ends

Scalar = Float[Tensor, ""]


def _durations(who: object, size: float, steps: int) -> Grid:
    if steps < 1:
        raise RangeError(f"{who}: steps={steps}; steps must be at least 1.")
    return size * torch.arange(steps, -1, -1, dtype=torch.float64)


def _require_step(who: str, size: float) -> None:
    if not 0 < size < math.inf:
        raise RangeError(
            f"{who}(size={size:g}): the step size must be positive, in squared units of the data; try 0.01."
        )


@dataclass(frozen=True)
class Langevin(Sampler):
    """x ← x + h s(x) + √(2h) z: unadjusted Langevin for a static score, on ℝ^d or a manifold; bias O(h).

    ``size`` is h in squared units of the data. The grid is Langevin time still to go, so its differences are the steps.
    Raises: RangeError for size ≤ 0.
    """

    size: float = 0.01
    space: Space = field(default_factory=Euclidean)
    order = 1

    def __post_init__(self):
        _require_step("Langevin", self.size)

    def times(self, model: Score, steps: int) -> Grid:
        return _durations(self, self.size, steps)

    def step(
        self, model: Score, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, None]:
        h = float(t - s)
        shake = self.space.tangent(x, normal(x, generator))
        return self.space.exp(x, h * model(x, **cond) + math.sqrt(2 * h) * shake), None


@dataclass(frozen=True)
class MALA(Sampler):
    """Metropolis-adjusted Langevin: the law of an energy is invariant exactly, at any step size. Needs ``model.energy``.

    Roberts & Tweedie (1996), section 1.4. ``size`` is h in squared units of the data.
    Raises: RangeError for size ≤ 0, ShapeError for a model without an energy.
    """

    size: float = 0.1
    order = math.inf
    evaluations = 2

    def __post_init__(self):
        _require_step("MALA", self.size)

    def times(self, model: Score, steps: int) -> Grid:
        return _durations(self, self.size, steps)

    def step(
        self, model: Score, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, None]:
        energy = getattr(model, "energy", None)
        if energy is None:
            raise ShapeError(
                f"{self}: {type(model).__name__} has no energy, so a proposal cannot be accepted or refused; "
                "use an Energy or a known density, or Langevin."
            )
        h = float(t - s)
        z = normal(x, generator)
        there = x + h * model(x, **cond) + math.sqrt(2 * h) * z
        forth = 2 * h * sum_event(z**2)
        back = sum_event((x - there - h * model(there, **cond)) ** 2)
        log_ratio = energy(x, **cond) - energy(there, **cond) + (forth - back) / (4 * h)
        accepted = uniform(log_ratio, generator).log() < log_ratio
        return torch.where(expand(accepted, x), there, x), None


def _shake(
    model: Denoiser, x: Values, t: Scalar, size: float, generator: Draws | None, **cond
) -> tuple[Values, Values]:
    alpha, sigma = model.noise.at(t, x)
    denoised = model(x, t, **cond)
    return x + size * (alpha * denoised - x) + math.sqrt(2 * size) * sigma * normal(x, generator), denoised


@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """k Langevin steps of size ε σ² at each noise level, from large to small, and a last denoising: the sampler of NCSN.

    Song & Ermon (2019), algorithm 1, arXiv:1907.05600, with the last step of Jolicoeur-Martineau et al. (2021), arXiv:2009.05475.
    ``size`` is ε, relative to σ². Its own bias of relative size ε/2 stays at any number of levels: order 0.
    Raises: RangeError for steps < 1 or size outside (0, 1).
    """

    steps: int = 20
    size: float = 0.1
    order = 0

    def __post_init__(self):
        if self.steps < 1:
            raise RangeError(f"AnnealedLangevin(steps={self.steps}): at least one Langevin step a level.")
        if not 0 < self.size < 1:
            raise RangeError(
                f"AnnealedLangevin(size={self.size:g}): steps of size·sigma² are stable for size in (0, 1)."
            )

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.steps

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        alpha_t, sigma_t, alpha_s, sigma_s = ends(model, t, s)
        for _ in range(self.steps):
            x, denoised = _shake(model, x, t, self.size, generator, **cond)
        if sigma_s == 0:
            denoised = model(x, t, **cond)
            return denoised, denoised
        return (alpha_s / alpha_t) * x, denoised


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Any step to a lower noise level, then Langevin steps of size 2 (snr·σ)² there.

    Song et al. (2021), algorithm 3–5, arXiv:2011.13456, with ‖z‖/‖s‖ of a whole batch replaced by its expectation σ, so that rows
    are independent. The corrector's bias, O(snr²), stays at any number of steps: order 0.
    Raises: RangeError for steps < 1 or snr outside (0, 0.7).
    """

    predictor: Sampler = field(default_factory=Ancestral)
    steps: int = 1
    snr: float = 0.16
    order = 0

    def __post_init__(self):
        if self.steps < 1:
            raise RangeError(f"PredictorCorrector(steps={self.steps}): at least one corrector step.")
        if not 0 < self.snr < 0.7:
            raise RangeError(
                f"PredictorCorrector(snr={self.snr:g}): Langevin steps of 2(snr·sigma)² are stable for snr in (0, 0.7)."
            )

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.predictor.evaluations + self.steps

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values | None]:
        x, denoised = self.predictor.step(model, x, t, s, past, generator, **cond)
        if model.noise.scales(s)[1] > 0:
            for _ in range(self.steps):
                x, _ = _shake(model, x, s, 2 * self.snr**2, generator, **cond)
        return x, denoised
