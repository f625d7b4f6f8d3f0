"""Simulators whose posterior p(θ | x) is known, to judge simulation-based inference by.

    GaussianLinear   θ ~ N(0, s² I),   x = θ + s z:   θ | x ~ N(x/2, s²/2 I)
    TwoMoons         θ ~ U[−1, 1]²,    x = f(θ) + P,   f(θ) = (−|θ₁ + θ₂|, θ₂ − θ₁)/√2,
                     P = (r cos a + ¼, r sin a),   a ~ U(−π/2, π/2),   r ~ N(0.1, 0.01²)

f rotates the plane and folds it, so that it keeps areas: p(θ | x) ∝ p_P(x − f(θ)) in the square. To draw from it, draw P
and take one of the two θ with f(θ) = x − P; where there is none, or it lies outside the square, draw again.

Lueckmann, Boelts, Greenberg, Gonçalves and Macke (2021), appendix T.1 and T.8, arXiv:2101.04653.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from ..tensors import Draws, normal, uniform

Rows = Float[Tensor, "n d"]
ROUNDS = 2_000


class Simulator(ABC):
    """θ ~ ``prior``, x | θ ~ ``simulate``, and exact draws of θ | x: a task for inference."""

    low: float | None = None
    high: float | None = None
    """The bounds of θ, the same for every coordinate, if it has some."""

    @abstractmethod
    def prior(self, n: int, generator: Draws | None = None) -> Rows:
        """n draws of θ."""

    @abstractmethod
    def simulate(self, theta: Rows, generator: Draws | None = None) -> Rows:
        """One x for each θ."""

    @abstractmethod
    def posterior(self, x: Float[Tensor, "*observed"], n: int, generator: Draws | None = None) -> Rows:
        """n exact draws of θ | x, for one observation x without batch axis."""

    def pairs(self, n: int, generator: Draws | None = None) -> tuple[Rows, Rows]:
        """n draws of (θ, x), what inference learns from."""
        if n < 1:
            raise RangeError(f"{self}.pairs(n={n}): n must be at least 1.")
        theta = self.prior(n, generator)
        return theta, self.simulate(theta, generator)


@dataclass(frozen=True)
class GaussianLinear(Simulator):
    """θ ~ N(0, s² I), x = θ + s z, so that θ | x ~ N(x/2, s²/2 I): the task on which nothing should go wrong.

    Lueckmann et al. (2021), T.1, has dim = 10 and variance s² = 0.1. Raises: RangeError for numbers not above 0.

    >>> GaussianLinear().posterior(torch.ones(10), 5000).mean().round(decimals=1)
    tensor(0.5000)
    """

    dim: int = 10
    variance: float = 0.1

    def __post_init__(self):
        if self.dim < 1 or not 0 < self.variance < math.inf:
            raise RangeError(f"GaussianLinear(dim={self.dim}, variance={self.variance:g}): both must be above 0.")

    def prior(self, n: int, generator: Draws | None = None) -> Rows:
        return math.sqrt(self.variance) * normal(torch.empty(n, self.dim), generator)

    def simulate(self, theta: Rows, generator: Draws | None = None) -> Rows:
        return theta + math.sqrt(self.variance) * normal(theta, generator)

    def posterior(self, x: Float[Tensor, "*observed"], n: int, generator: Draws | None = None) -> Rows:
        _one("GaussianLinear", x, self.dim)
        return x / 2 + math.sqrt(self.variance / 2) * normal(x.new_empty(n, self.dim), generator)


@dataclass(frozen=True)
class TwoMoons(Simulator):
    """θ ~ U[−1, 1]², x = f(θ) + P: two crescents 0.01 thin, mirror images at a distance that x decides, cut by the square.

    Lueckmann et al. (2021), T.8. ``posterior`` is exact, by rejection row by row.
    Raises: DataError for an x that no θ of the square can have given.

    >>> TwoMoons().posterior(torch.tensor([-0.3, 0.2]), 3).shape
    torch.Size([3, 2])
    """

    low = -1.0
    high = 1.0

    def prior(self, n: int, generator: Draws | None = None) -> Rows:
        return 2 * uniform(torch.empty(n, 2), generator) - 1

    def simulate(self, theta: Rows, generator: Draws | None = None) -> Rows:
        if theta.ndim != 2 or theta.shape[1] != 2:
            raise ShapeError(f"TwoMoons.simulate(theta of shape {tuple(theta.shape)}): wanted (n, 2).")
        first, second = theta.unbind(1)
        folded = torch.stack([-(first + second).abs(), second - first], 1) / math.sqrt(2)
        return folded + self._crescent(theta, generator)

    def posterior(self, x: Float[Tensor, "*observed"], n: int, generator: Draws | None = None) -> Rows:
        _one("TwoMoons", x, 2)
        found, missing = x.new_empty(n, 2), torch.ones(n, dtype=torch.bool)
        for _ in range(ROUNDS):
            folded = x - self._crescent(found, generator)
            side = torch.where(uniform(x.new_empty(n), generator) < 0.5, -1.0, 1.0).to(x)
            theta = torch.stack(
                [side * folded[:, 0] - folded[:, 1], side * folded[:, 0] + folded[:, 1]], 1
            ) / math.sqrt(2)
            right = missing & (folded[:, 0] <= 0) & (theta.abs().amax(1) <= 1)
            found[right] = theta[right]
            missing &= ~right
            if not bool(missing.any()):
                return found
        raise DataError(
            f"TwoMoons.posterior(x={x.tolist()}): no θ in the square gives such an x; it is no output of this simulator."
        )

    def _crescent(self, like: Rows, generator: Draws | None) -> Rows:
        angle = math.pi * (uniform(like.new_empty(len(like)), generator) - 0.5)
        radius = 0.1 + 0.01 * normal(like.new_empty(len(like)), generator)
        return torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)


def _one(name: str, x: Tensor, dim: int) -> None:
    if tuple(x.shape) != (dim,):
        raise ShapeError(f"{name}.posterior(x of shape {tuple(x.shape)}): wanted one observation, of shape ({dim},).")
