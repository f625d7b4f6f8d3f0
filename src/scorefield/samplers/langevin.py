"""Langevin dynamics: dX = s(X) dτ + √2 dW leaves p invariant when s = ∇ log p.

Langevin             x ← exp_x(h s(x) + √(2h) P z)                        Roberts & Tweedie 1996, section 1.4.1, doi:10.2307/3318418
MALA                 the same proposal y, accepted with probability
                     min(1, p(y) q(x|y) / p(x) q(y|x))                    ibid., section 1.4
Underdamped          dX = V dτ, dV = s(X) dτ − γ V dτ + √(2γ) dW,
                     half a kick, half a drift, friction, drift, kick     Leimkuhler & Matthews 2013, BAOAB, arXiv:1203.5428
AnnealedLangevin     k steps of size ε σ² at every noise level             Song & Ermon 2019, algorithm 1, arXiv:1907.05600
PredictorCorrector   any step, then Langevin steps of size 2 (snr·σ)²     Song et al. 2021, algorithms 1 and 4, arXiv:2011.13456
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
_ACCEPTANCE = 0.574


class Static(Sampler):
    """A walk under one static score, in steps of ``size``: its grid is the time still to go.

    Raises: RangeError for size ≤ 0.
    """

    size: float

    def __post_init__(self):
        if not 0 < self.size < math.inf:
            raise RangeError(f"{type(self).__name__}(size={self.size:g}): the step size must be positive; try 0.01.")

    def times(self, model: Score, steps: int) -> Grid:
        if steps < 1:
            raise RangeError(f"{self}: steps={steps}; steps must be at least 1.")
        return self.size * torch.arange(steps, -1, -1, dtype=torch.float64)


@dataclass(frozen=True)
class Langevin(Static):
    """x ← x + h s(x) + √(2h) z: unadjusted Langevin for a static score, on ℝ^d or a manifold; bias O(h).

    ``size`` is h in squared units of the data. The grid is Langevin time still to go, so its differences are the steps.
    Raises: RangeError for size ≤ 0.
    """

    size: float = 0.01
    space: Space = field(default_factory=Euclidean)
    order = 1

    def step(
        self, model: Score, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, None]:
        h = float(t - s)
        shake = self.space.tangent(x, normal(x, generator))
        return self.space.exp(x, h * model(x, **cond) + math.sqrt(2 * h) * shake), None


@dataclass(frozen=True)
class MALA(Static):
    """Metropolis-adjusted Langevin: the law of an energy is invariant exactly, at any step size. Needs ``model.energy``.

    Roberts & Tweedie (1996), section 1.4. ``size`` is the first h, in squared units of the data. Over the part ``warmup`` of the
    walk every row finds its own h by dual averaging to the acceptance 0.574 (Hoffman & Gelman 2014, section 3.2, arXiv:1111.4246;
    Roberts & Rosenthal 1998, doi:10.1111/1467-9868.00123); then h is fixed, and only then is the law invariant. 0 adapts nothing.
    `metrics.acceptance` tells what share was accepted.
    Raises: RangeError for size ≤ 0 or warmup outside [0, 1), ShapeError for a model without an energy.
    """

    size: float = 0.1
    warmup: float = 0.5
    order = math.inf
    evaluations = 2
    remembers = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.warmup < 1:
            raise RangeError(f"MALA(warmup={self.warmup:g}): the part of the walk that adapts h must lie in [0, 1).")

    def step(
        self, model: Score, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Float[Tensor, "batch 5"]]:
        energy = getattr(model, "energy", None)
        if energy is None or isinstance(model, Denoiser):
            raise ShapeError(
                f"{self}: {type(model).__name__} has no energy, so a proposal cannot be accepted or refused; "
                "use an Energy or a known density, or Langevin."
            )
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        memory = past.seen[-1][2] if past.seen else torch.stack([zero, zero, zero, zero, zero + t.to(zero)], 1)
        scale, mean, deficit, count, start = memory.unbind(1)
        adapts = (1 - self.warmup) * start < t.to(start)
        size = float(t - s) * (2 * torch.where(adapts, scale, mean)).exp()
        h = expand(size, x).to(x.dtype)
        z = normal(x, generator)
        there = x + h * model(x, **cond) + (2 * h).sqrt() * z
        back = sum_event((x - there - h * model(there, **cond)).double() ** 2) / (4 * size)
        log_ratio = (energy(x, **cond) - energy(there, **cond)).double() + 0.5 * sum_event(z.double() ** 2) - back
        log_ratio = log_ratio.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)  # ∞ − ∞ is refused
        accepted = uniform(log_ratio, generator).log() < log_ratio
        count = count + 1  # dual averaging of log √h with γ = 0.05, t₀ = 10, κ = 0.75, towards ten times the first step
        deficit = deficit + (_ACCEPTANCE - log_ratio.clamp(max=0).exp() - deficit) / (count + 10)
        scale = math.log(10) - 20 * count.sqrt() * deficit
        mean = torch.where(adapts, mean + (scale - mean) * count**-0.75, mean)
        return torch.where(expand(accepted, x), there, x), torch.stack([scale, mean, deficit, count, start], 1)


@dataclass(frozen=True)
class Underdamped(Static):
    """BAOAB: positions with velocities, which go on in their direction. Weak order 2; no bias in x at all if p is Gaussian.

    Leimkuhler & Matthews (2013), arXiv:1203.5428. ``size`` is h in units of the data (velocities are N(0, 1)), and must stay below
    twice the smallest scale; ``friction`` is γ, per unit of time: small wanders far, large comes near `Langevin(h²/2)`. One
    evaluation a step, since the last half of a kick and the first of the next are one.
    Raises: RangeError for size ≤ 0 or friction ≤ 0.
    """

    size: float = 0.1
    friction: float = 1.0
    order = 2
    remembers = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.friction < math.inf:
            raise RangeError(f"Underdamped(friction={self.friction:g}): must be positive, per unit of time; try 1.")

    def step(
        self, model: Score, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        h = float(t - s)
        before, _, v = past.seen[-1] if past.seen else (t, x, normal(x, generator))  # v before its last half kick
        v = v + 0.5 * (float(before - t) + h) * model(x, **cond)
        there = x + 0.5 * h * v
        v = math.exp(-self.friction * h) * v + math.sqrt(-math.expm1(-2 * self.friction * h)) * normal(x, generator)
        return there + 0.5 * h * v, v


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

    Song et al. (2021), algorithms 1, 4 and 5, arXiv:2011.13456, with ‖z‖/‖s‖ of a batch replaced by its expectation σ, so that rows
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
