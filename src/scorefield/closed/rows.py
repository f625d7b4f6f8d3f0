"""The score-matching objective, row by row. With v_j the directions at x, c_j the curves along them and w_j the weights,

    ℓ(θ; x) = Σ_j ½ w_j s_j² + w_j s_j′ + w_j′ s_j,    s_j = (log p ∘ c_j)′,  s_j′ = (log p ∘ c_j)″,  w_j′ = (w_j ∘ c_j)′  at 0.

Hyvärinen 2005, eq. 4 (w = 1); Hyvärinen 2007 (x²); Yu, Drton & Shojaie 2019, arXiv:1812.10551 (h_j); Liu, Kanamori & Williams
2022, arXiv:1910.03834 (distance); Mardia, Kent & Laha 2016, arXiv:1604.08470 (sphere). In a family with statistics T it is

    ℓ = ½ θᵀHθ − bᵀθ + k,    H = Σ_j w_j T_j T_jᵀ,    b = −Σ_j (w_j c_j T_j + w_j T_j′ + w_j′ T_j).

Both derivatives come from one forward pass of second order, for all statistics at once.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacfwd, jvp

from ..domains import Axes, Box, Distance, Domain, Intervals, Logarithm, Product, Unit, Weight
from .family import Family, LogDensity, Numbers, Parameters, Points, Statistics

Hessians = Float[Tensor, "batch p p"]
_CHUNK = 2**22


class Rows(ABC):
    """ℓ(θ) of each row of some data, with its first two derivatives in θ."""

    @abstractmethod
    def losses(self, theta: Parameters) -> Numbers:
        """ℓ(θ; x_i)."""

    @abstractmethod
    def gradients(self, theta: Parameters) -> Statistics:
        """∂ℓ/∂θ at each row."""

    @abstractmethod
    def hessians(self, theta: Parameters) -> Hessians:
        """∂²ℓ/∂θ² at each row."""

    @abstractmethod
    def statistics(self, theta: Parameters) -> Statistics:
        """∂ log p/∂θ at each row, up to the same vector for all rows."""

    def totals(self, theta: Parameters, mass: Numbers) -> tuple[Parameters, Float[Tensor, "p p"]]:
        """Σ_i r_i ∂ℓ/∂θ and Σ_i r_i ∂²ℓ/∂θ²."""
        return mass @ self.gradients(theta), torch.einsum("b,bpq->pq", mass, self.hessians(theta))


@dataclass(frozen=True, eq=False)
class AffineRows(Rows):
    """T and its slopes and curvatures along the directions, those of the carrier, and the weights with their slopes."""

    values: Float[Tensor, "batch p"]
    slopes: Float[Tensor, "batch d p"]
    curvatures: Float[Tensor, "batch d p"]
    base_slopes: Float[Tensor, "batch d"]
    base_curvatures: Float[Tensor, "batch d"]
    weights: Float[Tensor, "batch d"]
    weight_slopes: Float[Tensor, "batch d"]

    def losses(self, theta: Parameters) -> Numbers:
        s = self.slopes @ theta + self.base_slopes
        bend = self.curvatures @ theta + self.base_curvatures
        return (0.5 * self.weights * s**2 + self.weights * bend + self.weight_slopes * s).sum(1)

    def gradients(self, theta: Parameters) -> Statistics:
        pull = self.weights * (self.slopes @ theta)
        return torch.einsum("bd,bdp->bp", pull, self.slopes) - self.linear()

    def hessians(self, theta: Parameters) -> Hessians:
        return torch.einsum("bd,bdp,bdq->bpq", self.weights, self.slopes, self.slopes)

    def statistics(self, theta: Parameters) -> Statistics:
        return self.values

    def linear(self) -> Statistics:
        """b of each row."""
        pull = self.weights * self.base_slopes + self.weight_slopes
        return -torch.einsum("bd,bdp->bp", pull, self.slopes) - torch.einsum(
            "bd,bdp->bp", self.weights, self.curvatures
        )

    def quadratic(self, mass: Numbers) -> Float[Tensor, "p p"]:
        """Σ_i r_i H_i, without any H_i."""
        scaled = (self.slopes * (self.weights * mass[:, None])[..., None]).flatten(0, 1)
        return scaled.T @ self.slopes.flatten(0, 1)


@dataclass(frozen=True, eq=False)
class GeneralRows(Rows):
    """ℓ of a `LogDensity` at rows x, by differentiation.

    Of each row in θ it is forward, which can be batched over θ; of their sum, as Newton's method needs it, it is reverse: as exact,
    and some ten times faster.
    """

    problem: "Problem"
    x: Points
    weights: Float[Tensor, "batch d"]
    weight_slopes: Float[Tensor, "batch d"]

    def losses(self, theta: Parameters) -> Numbers:
        with torch.enable_grad():
            found = self._backwards(theta)
        return found if theta.requires_grad else found.detach()

    def gradients(self, theta: Parameters) -> Statistics:
        return jacfwd(self._forwards)(theta)

    def hessians(self, theta: Parameters) -> Hessians:
        return jacfwd(jacfwd(self._forwards))(theta)

    def totals(self, theta: Parameters, mass: Numbers) -> tuple[Parameters, Float[Tensor, "p p"]]:
        with torch.enable_grad():
            at = theta.detach().requires_grad_()
            total = mass @ self._backwards(at) + 0 * at.sum()
            slope = torch.autograd.grad(total, at, create_graph=True)[0] + 0 * at
            rows = [torch.autograd.grad(each, at, retain_graph=True)[0] for each in slope]
        return slope.detach(), torch.stack(rows)

    def _forwards(self, theta: Parameters) -> Numbers:
        _, s, bend = along(self.x, self.problem.domain, lambda y: self.problem.log_density(theta, y))
        return self._loss(s, bend)

    def _backwards(self, theta: Parameters) -> Numbers:
        """ℓ with its graph. What is multiplied by zero keeps a function that is linear in x or θ in the graph."""
        y, v = _spread(self.x, self.problem.domain)
        turn = self.problem.domain.bend(y, v)
        y = y.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.problem.log_density(theta, y).sum(), y, create_graph=True)
        s = (slope * v).sum(1) + 0 * y.sum(1)
        (second,) = torch.autograd.grad(s.sum(), y, create_graph=True)
        bend = (second * v + slope * turn).sum(1)
        return self._loss(s.reshape(self.x.shape), bend.reshape(self.x.shape))

    def _loss(self, s: Float[Tensor, "batch d"], bend: Float[Tensor, "batch d"]) -> Numbers:
        return (0.5 * self.weights * s**2 + self.weights * bend + self.weight_slopes * s).sum(1)

    def statistics(self, theta: Parameters) -> Statistics:
        return jacfwd(lambda t: self.problem.log_density(t, self.x))(theta)


@dataclass(frozen=True, eq=False)
class TiltedRows(Rows):
    """Windham's equation for a family: ρ u((1 + c) θ) with ρ = exp(c θ·T − ``level``), and its derivative ρ ((1 + c) H + c u Tᵀ).

    ``losses`` are those of θ itself, of which this is not the gradient.
    """

    rows: AffineRows
    tuning: float
    level: float

    def tilt(self, theta: Parameters) -> Numbers:
        """ρ of each row: near zero where the model finds it unlikely."""
        return (self.tuning * (self.rows.values @ theta) - self.level).exp()

    def losses(self, theta: Parameters) -> Numbers:
        return self.rows.losses(theta)

    def gradients(self, theta: Parameters) -> Statistics:
        return self.tilt(theta)[:, None] * self.rows.gradients((1 + self.tuning) * theta)

    def hessians(self, theta: Parameters) -> Hessians:
        curve = (1 + self.tuning) * self.tilt(theta)[:, None, None] * self.rows.hessians(theta)
        return curve + self.tuning * torch.einsum("bp,bq->bpq", self.gradients(theta), self.rows.values)

    def statistics(self, theta: Parameters) -> Statistics:
        return self.rows.values


@dataclass(frozen=True, eq=False)
class Problem:
    """A model, the domain of the data and the weight: what score matching means for them.

    ``tuning`` and ``level`` are Windham's c and the logarithm of his weights' scale; with c = 0 rows count as they are.
    """

    model: Family | LogDensity
    domain: Domain
    weight: Weight
    tuning: float = 0.0
    level: float = 0.0

    def __post_init__(self):
        _forward()

    def log_density(self, theta: Parameters, x: Points) -> Numbers:
        """log p(x; θ) up to a constant, in nats."""
        if isinstance(self.model, LogDensity):
            return self.model.function(theta, x)
        return self.model.statistics(x) @ theta + self.model.base(x)

    def rows(self, x: Points) -> Rows:
        """The objective at these rows."""
        w, w_slopes = _weights(x, self.domain, self.weight)
        if isinstance(self.model, LogDensity):
            return GeneralRows(self, x, w, w_slopes)
        model = self.model
        value, slope, bend = along(
            x, self.domain, lambda y: torch.cat([model.statistics(y), model.base(y)[:, None]], 1)
        )
        rows = AffineRows(value[:, 0, :-1], slope[..., :-1], bend[..., :-1], slope[..., -1], bend[..., -1], w, w_slopes)
        return TiltedRows(rows, self.tuning, self.level) if self.tuning else rows

    def chunks(self, x: Points, *parts: Tensor) -> Iterator[tuple[Rows, tuple[Tensor, ...]]]:
        """The rows in chunks of bounded memory, each with its share of tensors that go along."""
        start = 0
        step = max(1, min(len(x), _CHUNK // (x.shape[1] * max(x.shape[1], self.size(x)))))
        while start < len(x):
            span = slice(start, start + step)
            yield self.rows(x[span]), tuple(part[span] for part in parts)
            start += step

    def size(self, x: Points) -> int:
        """p, the number of parameters."""
        if isinstance(self.model, LogDensity):
            return len(self.model.start)
        return self.model.statistics(x[:1]).shape[1]

    def affine(self, x: Points) -> "Problem":
        """The same problem, with its family in place of a log-density that is one."""
        family = self.model.family(x) if isinstance(self.model, LogDensity) else None
        return self if family is None else replace(self, model=family)


def problem(
    model: Family | LogDensity, x: Points, domain: Domain | None = None, weight: Weight | None = None
) -> Problem:
    """The model on its domain (or another one), with the weight that suits: the family's, or else by the boundary.

    1 without a boundary; min(log(1 + gap), 2) along the axes of boxes and intervals; the distance to the boundary elsewhere.
    """
    here = model.domain if domain is None else domain
    if weight is None and isinstance(model, Family) and type(here) is type(model.domain):
        weight = model.weight
    if weight is None:
        if isinstance(here, Box | Intervals | Product):
            weight = Axes(Logarithm(2.0))
        else:
            weight = Unit() if bool(here.distance(x[:1]).isinf().all()) else Distance()
    return Problem(model, here, weight)


def along(x: Points, domain: Domain, f: Callable[[Points], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """f at each row, and its first and second derivatives along the curve of each direction: (batch, d, …) each.

    Row by row and for all outputs at once, in one forward pass of second order at d times the rows.

    >>> from scorefield.domains import Real
    >>> _, first, second = along(torch.tensor([[2.0]]), Real(), lambda y: y[:, 0] ** 3)
    >>> first, second
    (tensor([[12.]]), tensor([[12.]]))
    """
    _forward()
    n, d = x.shape
    y, v = _spread(x, domain)
    (value, slope), (_, bend) = jvp(lambda z, u: jvp(f, (z,), (u,)), (y, v), (v, domain.bend(y, v)))  # type: ignore[misc]
    return tuple(part.reshape(n, d, *part.shape[1:]) for part in (value, slope, bend))


def _weights(x: Points, domain: Domain, weight: Weight) -> tuple[Points, Points]:
    if isinstance(weight, Unit):
        return torch.ones_like(x), torch.zeros_like(x)
    n, d = x.shape
    own = torch.arange(d, device=x.device).repeat(n)[:, None]
    value, slope = jvp(lambda z: weight(domain, z).gather(1, own), *((part,) for part in _spread(x, domain)))  # type: ignore[misc]
    return value.reshape(n, d), slope.reshape(n, d)


def _spread(x: Points, domain: Domain) -> tuple[Tensor, Tensor]:
    return x.repeat_interleave(x.shape[1], 0), domain.directions(x).flatten(0, 1)


@cache
def _forward() -> None:
    """Load torch's forward differentiation, which warns of its own use of torch.jit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(lambda z: z, (torch.ones(1),), (torch.ones(1),))
