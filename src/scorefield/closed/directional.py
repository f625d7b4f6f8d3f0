"""Directions: densities on the unit sphere, by Riemannian score matching (Mardia, Kent & Laha 2016, arXiv:1604.08470).

    von Mises–Fisher   log p = κ μ·x = θ·x            H = I − x xᵀ, b = (d − 1) x
    Bingham            log p = xᵀA x,  A_dd = 0        |x| = 1 makes the trace of A unidentifiable
    Fisher–Bingham     log p = θ·x + xᵀA x             Kent's distribution among them

Hybrid: the mean direction μ̂ = x̄/|x̄| is efficient and needs no model, and given it κ̂ = (d − 1) t̄ / (1 − mean t²), t = μ̂·x; its
standard error is that of κ with μ known, to which by symmetry μ̂ adds nothing of first order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..domains import Domain, Sphere
from ..errors import DataError, RangeError
from .checks import data, masses
from .family import Family, Parameters, Points, Statistics
from .fitted import Fitted
from .matching import fit
from .normal import interactions, pairs


def _several(family: Family, size: int) -> None:
    if size < 2:
        raise RangeError(f"{type(family).__name__}(size={size}): directions have at least two coordinates.")


@dataclass(frozen=True)
class VonMisesFisher(Family):
    """θ·x on S^{d−1}, read as the concentration κ = |θ| and the mean direction μ = θ/κ. Raises: RangeError for size < 2.

    >>> VonMisesFisher(2).readable(torch.tensor([3.0, 4.0]))
    tensor([5.0000, 0.6000, 0.8000])
    """

    size: int

    def __post_init__(self):
        _several(self, self.size)

    @property
    def domain(self) -> Domain:
        return Sphere()

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"theta[{k + 1}]" for k in range(self.size))

    @property
    def readable_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("kappa", *(f"mu[{k + 1}]" for k in range(self.size)))

    def statistics(self, x: Points) -> Statistics:
        return x

    def readable(self, theta: Parameters) -> Float[Tensor, "q"]:
        kappa = theta.norm()
        return torch.cat([kappa[None], theta / kappa])


@dataclass(frozen=True)
class Bingham(Family):
    """xᵀA x on S^{d−1}, with A_dd = 0: axes, since x and −x are alike. Raises: RangeError for size < 2.

    >>> Bingham(2).names
    ('A[1,1]', 'A[1,2]')
    """

    size: int

    def __post_init__(self):
        _several(self, self.size)

    @property
    def domain(self) -> Domain:
        return Sphere()

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return pairs(self.size, "A")[:-1]

    def statistics(self, x: Points) -> Statistics:
        return interactions(x)[:, :-1]


@dataclass(frozen=True)
class FisherBingham(Family):
    """θ·x + xᵀA x on S^{d−1}, with A_dd = 0. Raises: RangeError for size < 2.

    >>> FisherBingham(2).names
    ('theta[1]', 'theta[2]', 'A[1,1]', 'A[1,2]')
    """

    size: int

    def __post_init__(self):
        _several(self, self.size)

    @property
    def domain(self) -> Domain:
        return Sphere()

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return VonMisesFisher(self.size).names + Bingham(self.size).names

    def statistics(self, x: Points) -> Statistics:
        return torch.cat([x, interactions(x)[:, :-1]], 1)


@dataclass(frozen=True, eq=False)
class Concentration(Family):
    """κ μ·x on S^{d−1} with the ``direction`` μ known: one parameter, κ.

    >>> Concentration(torch.tensor([0.0, 1.0])).statistics(torch.tensor([[0.6, 0.8]]))
    tensor([[0.8000]])
    """

    direction: Float[Tensor, "d"]
    names = ("kappa",)

    @property
    def domain(self) -> Domain:
        return Sphere()

    def statistics(self, x: Points) -> Statistics:
        return (x @ self.direction.to(x))[:, None]


def hybrid(
    x: Shaped[Tensor, "..."],
    *,
    weights: Shaped[Tensor, "..."] | None = None,
    clusters: Shaped[Tensor, "..."] | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Fitted:
    """κ̂ of a von Mises–Fisher distribution given the mean direction of the data: the most efficient closed form there is.

    At least 0.78 of maximum likelihood's efficiency on the circle, 0.90 on S². The direction is ``fitted.problem.model.direction``.
    Raises: as `fit`, and DataError for data without a mean direction.

    >>> from scorefield.domains import Sphere
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 2.0])
    >>> hybrid(x / x.norm(dim=1, keepdim=True)).names
    ('kappa',)
    """
    points = data(x)
    Sphere().check(points)
    mean = masses(weights, points) @ points / len(points)
    if not float(mean.norm()) > 1e-12:
        raise DataError("hybrid: the mean of these directions is zero, so they have no mean direction; use Bingham.")
    return fit(Concentration(mean / mean.norm()), points, weights=weights, clusters=clusters, fixed=fixed)
