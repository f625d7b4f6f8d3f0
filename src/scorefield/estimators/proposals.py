"""Laws that are easy to draw from and cover a domain: where walks towards an unnormalised density start.

    ℝ^d, and flat parts of it     N(x̄, 1.5 S)
    a box                         uniform between two bounds, exponential of twice the mean above or below one, N(x̄, 1.5 s²) without
    the sphere, its positive part  uniform, in surface area
    the simplex                   uniform, in dx_1 … dx_{d−1}

They are wider than the data, so that weights e^{−E}/b stay bounded where the density falls at least as fast.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.scaling import Scaling
from ..domains import Box, Domain, PositiveSphere, Product, Simplex, Sphere
from ..errors import DataError
from ..exact import Gaussian
from ..tensors import Draws, normal, uniform

Points = Float[Tensor, "n d"]
Numbers = Float[Tensor, "n"]
_WIDER = 1.5


class Proposal(ABC):
    """b(x): ``sample``, ``log_density``, and its score by calling it."""

    @abstractmethod
    def sample(self, n: int, generator: Draws | None = None) -> Points:
        """n draws."""

    @abstractmethod
    def log_density(self, x: Points) -> Numbers:
        """log b in nats; −∞ where there are no draws."""

    @abstractmethod
    def __call__(self, x: Points) -> Points:
        """∇ log b."""


class Wide(Gaussian):
    """N(x̄, 1.5 S) of data, S made regular where columns depend on each other.

    >>> round(Wide(torch.tensor([[0.0], [2.0]])).covariance.item(), 4)
    1.5
    """

    def __init__(self, x: Points):
        away = x - x.mean(0)
        covariance = _WIDER * away.T @ away / len(x)
        super().__init__(x.mean(0), covariance + 1e-6 * covariance.diagonal().mean() * torch.eye(x.shape[1]).to(x))


@dataclass(frozen=True, eq=False)
class Boxed(Proposal):
    """A product over the axes of uniform, exponential and normal laws: ``low`` and ``high`` may be infinite.

    >>> boxed = Boxed(torch.zeros(1), torch.full((1,), torch.inf), torch.ones(1), torch.ones(1))
    >>> round(boxed.log_density(torch.tensor([[2.0]])).exp().item(), 4) == round(math.exp(-1) / 2, 4)
    True
    """

    low: Float[Tensor, "d"]
    high: Float[Tensor, "d"]
    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]

    def _kinds(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(both bounds, the one bound, the direction away from it, its scale) of each axis."""
        left, right = self.low.isfinite(), self.high.isfinite()
        bound = torch.where(left, self.low, torch.where(right, self.high, self.mean))
        side = torch.where(left, 1.0, -1.0).to(self.mean)
        return left & right, bound, side, torch.where(left ^ right, 2 * (self.mean - bound).abs(), 1.0)

    def sample(self, n: int, generator: Draws | None = None) -> Points:
        both, bound, side, scale = self._kinds()
        u, z = (draw(self.mean.new_empty(n, len(self.mean)), generator) for draw in (uniform, normal))
        free = self.low.isinf() & self.high.isinf()
        wide = self.mean + math.sqrt(_WIDER) * self.std * z
        inside = torch.where(both, self.low, 0.0) + u * torch.where(both, self.high - self.low, 0.0)
        return torch.where(both, inside, torch.where(free, wide, bound - side * scale * u.log()))

    def log_density(self, x: Points) -> Numbers:
        both, bound, side, scale = self._kinds()
        free, variance = self.low.isinf() & self.high.isinf(), _WIDER * self.std**2
        wide = -0.5 * (x - self.mean) ** 2 / variance - 0.5 * (2 * math.pi * variance).log()
        even = -torch.where(both, self.high - self.low, 1.0).log()
        tail = -side * (x - bound) / scale - scale.log()
        each = torch.where(both, even, torch.where(free, wide, tail))
        return torch.where((x >= self.low) & (x <= self.high), each, -torch.inf).sum(1)

    def __call__(self, x: Points) -> Points:
        both, _, side, scale = self._kinds()
        free = self.low.isinf() & self.high.isinf()
        slope = torch.where(free, -(x - self.mean) / (_WIDER * self.std**2), -side / scale)
        return torch.where(both, 0.0, slope)


@dataclass(frozen=True)
class OnSphere(Proposal):
    """Uniform on S^{d−1}, or on its part of positive coordinates, by surface area.

    >>> round(OnSphere(3).log_density(torch.tensor([[0.0, 0.0, 1.0]])).exp().item() * 4 * math.pi, 6)
    1.0
    """

    size: int
    positive: bool = False

    def sample(self, n: int, generator: Draws | None = None) -> Points:
        z = normal(torch.empty(n, self.size, dtype=torch.float64), generator)
        z = z / z.norm(dim=1, keepdim=True)
        return z.abs() if self.positive else z

    def log_density(self, x: Points) -> Numbers:
        area = math.log(2) + 0.5 * self.size * math.log(math.pi) - math.lgamma(0.5 * self.size)
        return x.new_full((len(x),), self.size * math.log(2) * self.positive - area)

    def __call__(self, x: Points) -> Points:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class OnSimplex(Proposal):
    """Uniform on the simplex, with the density (d − 1)! in the first d − 1 parts.

    >>> round(OnSimplex(3).log_density(torch.full((1, 3), 1 / 3)).exp().item(), 6)
    2.0
    """

    size: int

    def sample(self, n: int, generator: Draws | None = None) -> Points:
        each = -uniform(torch.empty(n, self.size, dtype=torch.float64), generator).log()
        return each / each.sum(1, keepdim=True)

    def log_density(self, x: Points) -> Numbers:
        return x.new_full((len(x),), math.lgamma(self.size))

    def __call__(self, x: Points) -> Points:
        return torch.zeros_like(x)


def proposal(domain: Domain, x: Points, scaling: Scaling) -> tuple[Proposal | Wide, Scaling]:
    """(the law that suits a domain and data x in it, the units that it is in): those of the scaling, but on curved domains.

    Raises: DataError for a product of domains, for which no law is known.

    >>> from ..domains import Real
    >>> type(proposal(Real(), torch.eye(2).double(), Scaling.identity())[0]).__name__
    'Wide'
    """
    d, z = x.shape[1], scaling.to_model(x)
    match domain:
        case Box(low, high):
            a, b = (scaling.to_model(torch.as_tensor(bound, dtype=x.dtype).expand(1, d))[0] for bound in (low, high))
            return Boxed(a, b, z.mean(0), z.std(0, correction=0)), scaling
        case Sphere() | PositiveSphere():
            return OnSphere(d, isinstance(domain, PositiveSphere)), Scaling.identity()
        case Simplex():
            return OnSimplex(d), Scaling.identity()
        case Product():
            raise DataError(f"{domain}: no law to draw from is known on products; fit it by `closed.fit`.")
        case _:
            return Wide(z), scaling
