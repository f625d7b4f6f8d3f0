"""A walk that samples p_t at every noise level, Metropolis-adjusted, however p_t was composed.

At each level, after a predictor's step: proposals y = x + h s(x) + √(2h) z, h = ε (σ² + α² c²) d^{−1/3}, accepted with probability

    min(1, p_t(y) q(x|y) / p_t(x) q(y|x)),        log p_t(y)/p_t(x) = E(x) − E(y) = ∫_0^1 ⟨s(x + u(y − x)), y − x⟩ du,

by the model's energy if it has one, else by Lobatto's quadrature of the line integral, which has the scores at both ends already.
Du et al. (2023), arXiv:2302.11552 (annealed MCMC for composed energies); Sjöberg et al. (2023),
arXiv:2307.14012 (the line integral); Roberts & Rosenthal (1998), theorem 1, doi:10.1111/1467-9868.00123 (d^{−1/3}).
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..samplers import Ancestral, Past, Sampler
from ..tensors import Draws, expand, normal, sum_event, uniform

Numbers = Float[Tensor, "batch"]


@dataclass(frozen=True)
class Metropolis(Sampler):
    """Any step to a lower noise level, then ``steps`` Metropolis-adjusted Langevin steps there: products come out right.

    ``size`` is ε. ``width`` is c, in units of the data: that of the narrowest part of the density wanted. With c = 0 steps are as short
    as the noise, and what is wrong at small noise stays. ``nodes`` of the quadrature, ends included: 3 is Simpson's rule, exact for
    scores that are cubic along the proposal. A kernel that leaves p_t invariant takes no order from its predictor.
    It moves mass between modes only while noise joins them: where a factor's ghost of a mode outweighs the right one at large
    noise, it takes many steps and levels.
    Raises: RangeError for steps < 1, size ≤ 0, width < 0, or nodes outside 2 … 20.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> x, accepted = Metropolis(steps=8).correct(known, torch.zeros(5, 2), torch.tensor(0.5))
    >>> x.shape, bool((accepted > 0).all())
    (torch.Size([5, 2]), True)
    """

    predictor: Sampler = field(default_factory=Ancestral)
    steps: int = 4
    size: float = 1.0
    width: float = 0.0
    nodes: int = 3

    def __post_init__(self):
        if self.steps < 1:
            raise RangeError(f"Metropolis(steps={self.steps}): at least one step at each noise level.")
        if not 0 < self.size < math.inf:
            raise RangeError(
                f"Metropolis(size={self.size:g}): size must be positive; at 1 most proposals are accepted."
            )
        if not 0 <= self.width < math.inf:
            raise RangeError(f"Metropolis(width={self.width:g}): a length in units of the data, at least 0.")
        if not 2 <= self.nodes <= 20:
            raise RangeError(f"Metropolis(nodes={self.nodes}): 2 to 20 nodes, both ends among them; 3 suits most.")

    @property
    def order(self) -> float:  # type: ignore[override]
        """That of the predictor."""
        return float(self.predictor.order)

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        """Those of the predictor, one more at the new level, and nodes − 1 for each proposal."""
        return self.predictor.evaluations + 1 + self.steps * (self.nodes - 1)

    def step(
        self, model: Denoiser, x: Values, t: Tensor, s: Tensor, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values | None]:
        x, denoised = self.predictor.step(model, x, t, s, past, generator, **cond)
        if model.noise.scales(s)[1] > 0:
            x, _ = self.correct(model, x, s, generator, **cond)
        return x, denoised

    def correct(
        self, model: Denoiser, x: Values, t: Times, generator: Draws | None = None, **cond
    ) -> tuple[Values, Numbers]:
        """(x after ``steps`` adjusted steps at time t, the share of proposals that each row accepted): p_t is invariant."""
        alpha, sigma = model.noise.at(t, x)
        h = self.size * (sigma**2 + (alpha * self.width) ** 2) / x[0].numel() ** (1 / 3)
        score, accepted = model.score(x, t, **cond), torch.zeros_like(x.flatten(1)[:, 0])
        for _ in range(self.steps):
            z = normal(x, generator)
            there = x + h * score + (2 * h).sqrt() * z
            ahead = model.score(there, t, **cond)
            back = (x - there - h * ahead) / (2 * h).sqrt()
            gain = self._gain(model, x, there, score, ahead, t, **cond)
            log_ratio = gain + 0.5 * (sum_event(z**2) - sum_event(back**2))
            taken = uniform(log_ratio, generator).log() < log_ratio
            x, score = (torch.where(expand(taken, x), new, old) for new, old in ((there, x), (ahead, score)))
            accepted += taken
        return x, accepted / self.steps

    def _gain(self, model: Denoiser, x: Values, y: Values, score: Values, ahead: Values, t: Times, **cond) -> Numbers:
        energy = getattr(model, "energy", None)
        if energy is not None:
            return energy(x, t, **cond) - energy(y, t, **cond)
        inner, weights = lobatto(self.nodes)
        total = weights[0] * (score + ahead)
        for u, weight in zip(inner, weights[1:]):
            total = total + weight * model.score(x + u * (y - x), t, **cond)
        return sum_event(total * (y - x))


def lobatto(nodes: int) -> tuple[list[float], list[float]]:
    """(inner nodes, weights of one end and of the inner nodes) of Lobatto's quadrature on [0, 1], exact to degree 2n − 3.

    >>> lobatto(3)
    ([0.5], [0.16666666666666666, 0.6666666666666666])
    """
    last = legendre.Legendre.basis(nodes - 1)
    inner = [float(u) for u in last.deriv().roots()] if nodes > 2 else []
    scale = nodes * (nodes - 1)
    return [0.5 + 0.5 * u for u in inner], [1 / scale, *(1 / (scale * float(last(u)) ** 2) for u in inner)]
