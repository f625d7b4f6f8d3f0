"""Weights w_j(x) that vanish at the boundary, so that integration by parts leaves nothing there.

    Unit         w_j = 1                          no boundary, or a density that vanishes at it
    Axes         w_j = h(gap along axis j)        Yu, Drton & Shojaie 2019, arXiv:1812.10551, and Yu et al. 2022, arXiv:2009.11428
    Distance     w_j = h(distance to ∂Ω)          Liu, Kanamori & Williams 2022, arXiv:1910.03834

with profiles h(r) = min(rᵃ, c) (`Power`) and min(log(1 + r), c) (`Logarithm`). Capping keeps far points from counting too much.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from .base import Domain, Points

Gaps = Float[Tensor, "*gaps"]


@dataclass(frozen=True)
class Power:
    """h(r) = min(rᵃ, c). `Power()` is r itself, `Power(2.0)` its square. Raises: RangeError unless a, c > 0.

    >>> Power(1.0, 2.0)(torch.tensor([0.5, 3.0]))
    tensor([0.5000, 2.0000])
    """

    exponent: float = 1.0
    cap: float = math.inf

    def __post_init__(self):
        if not (self.exponent > 0 and self.cap > 0):
            raise RangeError(f"{self}: exponent and cap must be positive.")

    def __call__(self, r: Gaps) -> Gaps:
        return (r if self.exponent == 1 else r**self.exponent).clamp(max=self.cap)


@dataclass(frozen=True)
class Logarithm:
    """h(r) = min(log(1 + r), c): grows slowly, so that heavy tails do not dominate. Raises: RangeError unless c > 0.

    >>> Logarithm(2.0)(torch.tensor([0.0, 100.0]))
    tensor([0., 2.])
    """

    cap: float = math.inf

    def __post_init__(self):
        if not self.cap > 0:
            raise RangeError(f"{self}: the cap must be positive.")

    def __call__(self, r: Gaps) -> Gaps:
        return (1 + r).log().clamp(max=self.cap)


Profile = Callable[[Gaps], Gaps]


class Weight(ABC):
    """(domain, x) -> w (batch, d): one weight for each direction of the domain. ``vanishes`` says whether at the boundary too."""

    vanishes = True

    @abstractmethod
    def __call__(self, domain: Domain, x: Points) -> Points:
        """w_j at each row."""


@dataclass(frozen=True)
class Unit(Weight):
    """w = 1: score matching as Hyvärinen (2005) has it, for ℝ^d, the sphere, and densities that vanish at the boundary.

    >>> from scorefield.domains import Real
    >>> Unit()(Real(), torch.zeros(1, 2))
    tensor([[1., 1.]])
    """

    vanishes = False

    def __call__(self, domain: Domain, x: Points) -> Points:
        return torch.ones_like(x)


@dataclass(frozen=True)
class Axes(Weight):
    """w_j = h(gap_j(x)): generalised score matching, for boxes, orthants and whatever knows its gaps; 1 along axes without end.

    >>> from scorefield.domains import Box
    >>> Axes(Power(2.0))(Box(), torch.tensor([[0.5, 3.0]]))
    tensor([[0.2500, 9.0000]])
    """

    profile: Profile = field(default_factory=Power)

    def __call__(self, domain: Domain, x: Points) -> Points:
        return _profiled(self.profile, domain.gaps(x))


@dataclass(frozen=True)
class Distance(Weight):
    """w_j = h(distance of x to the boundary), the same for all j: truncated score matching, on any domain.

    >>> from scorefield.domains import Ball
    >>> Distance()(Ball(2.0), torch.tensor([[1.5, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """

    profile: Profile = field(default_factory=Power)

    def __call__(self, domain: Domain, x: Points) -> Points:
        return _profiled(self.profile, domain.distance(x))[:, None].expand_as(x)


def _profiled(profile: Profile, r: Gaps) -> Gaps:
    bounded = r.isfinite()
    return torch.where(bounded, profile(torch.where(bounded, r, 1.0)), 1.0)
