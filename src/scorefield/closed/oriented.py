"""Hybrid estimates on the sphere: directions from moments of the data, and given them one linear system for concentrations.

    von Mises–Fisher   κ μ·x                              μ̂ = x̄/|x̄|;  κ̂ = (d − 1) t̄ / (1 − mean t²), t = μ̂·x
    Bingham            Σ_{j<d} λ_j (γ_j·x)²               γ̂_j the axes of mean xxᵀ, from long to short
    Fisher–Bingham     κ γ_1·x + Σ_{j>1} λ_j (γ_j·x)²     γ̂_1 = x̄/|x̄|, the others the axes of what is orthogonal to it
    Kent               the same with Σ λ_j = 0            (in three dimensions λ_2 = β = −λ_3)

Mardia, Kent & Laha (2016), arXiv:1604.08470; the axes of Kent's distribution as in Kent (1982), J. R. Stat. Soc. B 44(1), section 4.
Standard errors are those for known directions. In these models reflections y_j → −y_j of y_j = γ_j·x leave all statistics alone and
turn a rotation by an angle around, so that the expected gradient has no slope in the directions: estimating them adds nothing
of first order. If the data break this symmetry the model is wrong for them; `fit` with all parameters does not need it.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..domains import Domain, Sphere
from ..errors import DataError, RangeError
from .checks import data, masses
from .family import Family, Numbers, Points, Statistics
from .fitted import Fitted
from .matching import fit

Axes = Float[Tensor, "d d"]


class Oriented(Family):
    """A family on the sphere whose directions are known, and which can take them `from_moments` of data."""

    @property
    def domain(self) -> Domain:
        return Sphere()

    @classmethod
    @abstractmethod
    def from_moments(cls, x: Points, mass: Numbers) -> "Oriented":
        """The family along the directions of x, rows counting as their mass. Raises: DataError where there are none."""


@dataclass(frozen=True, eq=False)
class Concentration(Oriented):
    """κ μ·x on S^{d−1} with the ``direction`` μ known: one parameter, κ.

    >>> Concentration(torch.tensor([0.0, 1.0])).statistics(torch.tensor([[0.6, 0.8]]))
    tensor([[0.8000]])
    """

    direction: Float[Tensor, "d"]
    names = ("kappa",)

    @classmethod
    def from_moments(cls, x: Points, mass: Numbers) -> "Concentration":
        return cls(_mean(x, mass))

    def statistics(self, x: Points) -> Statistics:
        return (x @ self.direction.to(x))[:, None]


@dataclass(frozen=True, eq=False)
class AxialBingham(Oriented):
    """Σ_{j<d} λ_j (γ_j·x)² on S^{d−1}, the ``axes`` γ_j known, a row each: λ_j is over that of the last axis.

    Raises: RangeError unless axes are orthonormal.

    >>> AxialBingham(torch.eye(3)).names
    ('lambda[1]', 'lambda[2]')
    """

    axes: Axes

    def __post_init__(self):
        _orthonormal(self, 2)

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"lambda[{j + 1}]" for j in range(len(self.axes) - 1))

    @classmethod
    def from_moments(cls, x: Points, mass: Numbers) -> "AxialBingham":
        return cls(_axes(x, mass))

    def statistics(self, x: Points) -> Statistics:
        return (x @ self.axes.to(x).T)[:, :-1] ** 2


@dataclass(frozen=True, eq=False)
class AxialFisherBingham(Oriented):
    """κ γ_1·x + Σ_{j>1} λ_j (γ_j·x)² on S^{d−1}, the ``axes`` γ_j known, a row each: λ_j is over that of the first axis.

    The mean direction is one of the axes: six parameters on S² of the eight of `FisherBingham`, of which three are left.
    Raises: RangeError unless axes are orthonormal.

    >>> AxialFisherBingham(torch.eye(3)).names
    ('kappa', 'lambda[2]', 'lambda[3]')
    """

    axes: Axes

    def __post_init__(self):
        _orthonormal(self, 2)

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("kappa", *(f"lambda[{j + 1}]" for j in range(1, len(self.axes))))

    @classmethod
    def from_moments(cls, x: Points, mass: Numbers) -> "AxialFisherBingham":
        return cls(_around(x, mass))

    def statistics(self, x: Points) -> Statistics:
        y = x @ self.axes.to(x).T
        return torch.cat([y[:, :1], y[:, 1:] ** 2], 1)


@dataclass(frozen=True, eq=False)
class Kent(Oriented):
    """κ γ_1·x + Σ_{j>1} β_j (γ_j·x)² on S^{d−1}, Σ β_j = 0, the ``axes`` γ_j known: ellipses around the mean direction.

    In three dimensions κ γ_1·x + β [(γ_2·x)² − (γ_3·x)²], one mode if 2β < κ. Raises: RangeError unless axes are orthonormal and at
    least three.

    >>> Kent(torch.eye(3)).statistics(torch.tensor([[0.0, 0.6, 0.8]]))
    tensor([[ 0.0000, -0.2800]])
    """

    axes: Axes

    def __post_init__(self):
        _orthonormal(self, 3)

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        d = len(self.axes)
        return ("kappa", *(("beta",) if d == 3 else (f"beta[{j + 1}]" for j in range(1, d - 1))))

    @classmethod
    def from_moments(cls, x: Points, mass: Numbers) -> "Kent":
        return cls(_around(x, mass))

    def statistics(self, x: Points) -> Statistics:
        y = x @ self.axes.to(x).T
        return torch.cat([y[:, :1], y[:, 1:-1] ** 2 - y[:, -1:] ** 2], 1)


def hybrid(
    x: Shaped[Tensor, "..."],
    model: type[Oriented] = Concentration,
    *,
    weights: Shaped[Tensor, "..."] | None = None,
    clusters: Shaped[Tensor, "..."] | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Fitted:
    """Concentrations by score matching, given the directions of the data: the most efficient closed form there is.

    ``model`` is `Concentration` (von Mises–Fisher: at least 0.78 of maximum likelihood's efficiency on the circle, 0.90 on S²),
    `AxialBingham`, `AxialFisherBingham` or `Kent`. Directions are ``fitted.problem.model.direction`` or ``.axes``; axes come in
    the order of their spread, so that λ or β near zero, where there are none to find, are too large. Raises: as `fit`, and
    DataError for data without a mean direction.

    >>> from scorefield.domains import Sphere
    >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 2.0])
    >>> x = x / x.norm(dim=1, keepdim=True)
    >>> hybrid(x).names, hybrid(x, Kent).names
    (('kappa',), ('kappa', 'beta'))
    """
    points = data(x)
    Sphere().check(points)
    oriented = model.from_moments(points, masses(weights, points))
    return fit(oriented, points, weights=weights, clusters=clusters, fixed=fixed)


def _mean(x: Points, mass: Numbers) -> Float[Tensor, "d"]:
    mean = mass @ x / len(x)
    if not float(mean.norm()) > 1e-12:
        raise DataError(
            "hybrid: the mean of these directions is zero, so they have no mean direction; use AxialBingham."
        )
    return mean / mean.norm()


def _axes(x: Points, mass: Numbers) -> Axes:
    """The axes of mean xxᵀ, from long to short."""
    return torch.linalg.eigh(x.T @ (x * mass[:, None]) / len(x))[1].T.flip(0)


def _around(x: Points, mass: Numbers) -> Axes:
    """The mean direction, and the axes of what is orthogonal to it."""
    first = _mean(x, mass)
    across = x - torch.outer(x @ first, first)
    return torch.cat([first[None], _axes(across, mass)[:-1]])


def _orthonormal(family: "AxialBingham | AxialFisherBingham | Kent", least: int) -> None:
    axes, name = family.axes, type(family).__name__
    if len(axes) < least:
        raise RangeError(f"{name}({len(axes)} axes): at least {least} are needed.")
    gap = float((axes @ axes.T - torch.eye(len(axes)).to(axes)).abs().max())
    if not gap < 1e-5:
        raise RangeError(
            f"{name}(axes): rows must be orthonormal, and their products are off by {gap:.2g}; see torch.linalg.qr."
        )
