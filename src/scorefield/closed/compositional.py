"""Compositions: densities on the simplex, matched in its plane with the square of the distance to the boundary as weight.

    Dirichlet          log p = Σ β_j log x_j, β_j = α_j − 1
    polynomial tilt    log p = Σ β_j log x_j + b·x + xᵀA x, b and A on the first d − 1 parts
                       Scealy & Wood 2023, doi:10.1080/01621459.2021.2016422

Slopes of log x are 1/x, so that w = min x_j² keeps their squares bounded, whatever the density at the boundary.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..domains import Distance, Domain, Power, Simplex, Weight
from ..errors import RangeError
from .family import Family, Parameters, Points, Statistics
from .normal import interactions, pairs


def _betas(size: int) -> tuple[str, ...]:
    return tuple(f"beta[{k + 1}]" for k in range(size))


def _above(kind: str, size: int) -> None:
    if size < 2:
        raise RangeError(f"{kind}(size={size}): a composition has at least two parts.")


@dataclass(frozen=True)
class Dirichlet(Family):
    """Σ β_j log x_j on the simplex, read as α = β + 1. Raises: RangeError for size < 2.

    >>> Dirichlet(3).readable_names
    ('alpha[1]', 'alpha[2]', 'alpha[3]')
    """

    size: int

    def __post_init__(self):
        _above("Dirichlet", self.size)

    @property
    def domain(self) -> Domain:
        return Simplex()

    @property
    def weight(self) -> Weight:
        return Distance(Power(2.0))

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return _betas(self.size)

    @property
    def readable_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"alpha[{k + 1}]" for k in range(self.size))

    def statistics(self, x: Points) -> Statistics:
        return x.log()

    def readable(self, theta: Parameters) -> Float[Tensor, "q"]:
        return theta + 1

    def improper(self, theta: Parameters) -> str | None:
        return None if bool((theta > -1).all()) else f"alpha has an entry {float(theta.min()) + 1:.3g}"


@dataclass(frozen=True)
class PolynomialTilt(Family):
    """Σ β_j log x_j + b·x + xᵀA x, b and A on the first d − 1 parts: skewed and correlated compositions.

    Fix the β to what is known where parts are often near zero: ``fixed={"beta[3]": 0.0}``. Raises: RangeError for size < 2.

    >>> len(PolynomialTilt(3).names)
    8
    """

    size: int

    def __post_init__(self):
        _above("PolynomialTilt", self.size)

    @property
    def domain(self) -> Domain:
        return Simplex()

    @property
    def weight(self) -> Weight:
        return Distance(Power(2.0))

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return _betas(self.size) + tuple(f"b[{k + 1}]" for k in range(self.size - 1)) + pairs(self.size - 1, "A")

    def statistics(self, x: Points) -> Statistics:
        return torch.cat([x.log(), x[:, :-1], interactions(x[:, :-1])], 1)

    def improper(self, theta: Parameters) -> str | None:
        least = float(theta[: self.size].min())
        return None if least > -1 else f"beta has an entry {least:.3g}, and x^beta is integrable above −1 only"
