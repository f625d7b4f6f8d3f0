"""Directions: densities on the unit sphere, by Riemannian score matching (Mardia, Kent & Laha 2016, arXiv:1604.08470).

    von Mises–Fisher   log p = κ μ·x = θ·x            H = I − x xᵀ, b = (d − 1) x
    Bingham            log p = xᵀA x,  A_dd = 0        |x| = 1 makes the trace of A unidentifiable
    Fisher–Bingham     log p = θ·x + xᵀA x             Kent's distribution among them

With directions taken from the data, one linear system is left for the concentrations: `oriented`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..domains import Domain, Sphere
from ..errors import RangeError
from .family import Family, Parameters, Points, Statistics
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
