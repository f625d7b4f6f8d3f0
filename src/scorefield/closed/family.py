"""Models with parameters, known up to their normalising constants.

    Family        log p(x; θ) = θ·T(x) + c(x) − log Z(θ)       affine in θ: score matching is one linear system
    LogDensity    log p(x; θ) = f(θ, x) − log Z(θ)             anything else, by Newton's method

A `LogDensity` whose ∇_x f turns out to be affine in θ is fitted as the family it is: nobody needs to say so.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..domains import Domain, Real, Weight
from ..errors import ShapeError

Points = Float[Tensor, "batch d"]
Numbers = Float[Tensor, "batch"]
Statistics = Float[Tensor, "batch p"]
Parameters = Float[Tensor, "p"]


class Family(ABC):
    """θ·T(x) + c(x): write ``statistics``, and ``names`` of the parameters; the rest has defaults."""

    names: tuple[str, ...] = ()
    readable_names: tuple[str, ...] = ()

    @property
    def domain(self) -> Domain:
        """Where the model lives unless `fit` is told otherwise."""
        return Real()

    @property
    def weight(self) -> Weight | None:
        """The weight that suits it, if another one than the domain's."""
        return None

    @abstractmethod
    def statistics(self, x: Points) -> Statistics:
        """T(x), differentiable; row by row."""

    def base(self, x: Points) -> Numbers:
        """c(x), differentiable; row by row."""
        return x.new_zeros(len(x))

    def readable(self, theta: Parameters) -> Float[Tensor, "q"]:
        """What people call the parameters, one for each of ``readable_names``: a mean, a concentration."""
        return theta

    def improper(self, theta: Parameters) -> str | None:
        """Why no density has these parameters, if none has."""
        return None


@dataclass(frozen=True)
class Exponential(Family):
    """log p = θ·T(x) + c(x): a family of your own, by its sufficient statistics T: (batch, d) -> (batch, p).

    ``base`` is c: (batch, d) -> (batch,), none for zero. Data come in float64, and the functions act row by row.

    >>> laplace_like = Exponential(lambda x: -(1 + x**2).sqrt(), names=("rate",))
    >>> laplace_like.statistics(torch.zeros(1, 1))
    tensor([[-1.]])
    """

    sufficient: Callable[[Points], Tensor]
    carrier: Callable[[Points], Numbers] | None = None
    names: tuple[str, ...] = ()
    where: Domain | None = None

    @property
    def domain(self) -> Domain:
        return self.where or Real()

    def statistics(self, x: Points) -> Statistics:
        values = self.sufficient(x)
        if values.shape[:1] != x.shape[:1] or values.ndim > 2:
            raise ShapeError(f"statistics of shape {tuple(values.shape)} at {len(x)} rows: wanted ({len(x)}, p).")
        return values.reshape(len(x), -1)

    def base(self, x: Points) -> Numbers:
        return x.new_zeros(len(x)) if self.carrier is None else self.carrier(x)


@dataclass(frozen=True, eq=False)
class LogDensity:
    """f(θ, x) -> (batch,), a log-density up to a constant that may depend on θ, and a ``start`` for θ.

    Whether ∇_x f is affine in θ is found out, and then no iterations are needed. Raises: ShapeError unless start is (p,).

    >>> cauchy = LogDensity(lambda t, x: -(1 + (x[:, 0] - t[0]) ** 2).log(), torch.zeros(1), names=("location",))
    """

    function: Callable[[Parameters, Points], Numbers]
    start: Float[Tensor, "*start"]
    names: Sequence[str] = ()
    where: Domain | None = None

    def __post_init__(self):
        if self.start.ndim != 1 or len(self.start) == 0:
            raise ShapeError(f"LogDensity(start of shape {tuple(self.start.shape)}): wanted (p,), p ≥ 1.")

    @property
    def domain(self) -> Domain:
        """Where the model lives unless `fit` is told otherwise."""
        return self.where or Real()

    def family(self, x: Points) -> Exponential | None:
        """The exponential family that this is, if ∇_x f is affine in θ at these rows; else None."""
        start, x = self.start.to(x), x[:16]

        def slopes(theta: Parameters) -> Tensor:
            with torch.enable_grad():
                y = x.detach().requires_grad_()
                return torch.autograd.grad(self.function(theta, y).sum(), y)[0]

        reach = 0.1 * (1 + start.abs())
        for k in range(4):
            move = reach * torch.linspace(-1, 1, len(start) + 2).to(x).roll(k + 1)[: len(start)]
            middle, ahead, behind = slopes(start), slopes(start + move), slopes(start - move)
            size = (ahead - middle).abs().max() + 1e-300
            if not bool((ahead + behind - 2 * middle).abs().max() <= 1e-9 * (size + middle.abs().max())):
                return None
        return Exponential(self._statistics, self._carrier, tuple(self.names), self.where)

    def _statistics(self, x: Points) -> Statistics:
        return torch.func.jacfwd(lambda theta: self.function(theta, x))(self.start.to(x))

    def _carrier(self, x: Points) -> Numbers:
        start = self.start.to(x)
        return self.function(start, x) - self._statistics(x) @ start
