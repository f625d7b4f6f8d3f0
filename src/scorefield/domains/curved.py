"""The sphere and the simplex: of lower dimension than the space that holds them.

S^{d−1}   v_j = e_j − x_j x;   c″ = −|v|² x, so that Σ_j (f ∘ c_j)″ = tr(P ∇²f P) − (d − 1) x·∇f = Δ_S f
Δ^{d−1}   v_j = e_j − 1/d;     c″ = 0;   boundary at the distance min_j x_j / √(1 − 1/d)
S₊^{d−1}  the part of the sphere where all x_j > 0, which √ takes the simplex to (Scealy & Wood 2023,
              doi:10.1080/01621459.2021.2016422)
"""

from dataclasses import dataclass

import torch

from .base import Distances, Domain, Inside, Points

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Sphere(Domain):
    """S^{d−1}: rows of unit length. It has no boundary: Riemannian score matching needs no weight.

    >>> bool(Sphere().contains(torch.tensor([[0.6, 0.8]])))
    True
    """

    def contains(self, x: Points) -> Inside:
        return ((x**2).sum(1) - 1).abs() < _TOLERANCE

    def distance(self, x: Points) -> Distances:
        return x.new_full((len(x),), torch.inf)

    def gaps(self, x: Points) -> Points:
        return torch.full_like(x, torch.inf)

    def tangent(self, x: Points, v: Points) -> Points:
        return v - (x * v).sum(1, keepdim=True) * x

    def bend(self, x: Points, v: Points) -> Points:
        return -(v**2).sum(1, keepdim=True) * x


@dataclass(frozen=True)
class PositiveSphere(Domain):
    """{x : |x| = 1, all x_j > 0}: square roots of compositions. The distance is the angle to the nearest face.

    >>> PositiveSphere().distance(torch.tensor([[0.6, 0.8]]))
    tensor([0.6435])
    """

    def contains(self, x: Points) -> Inside:
        return Sphere().contains(x) & (x > 0).all(1)

    def distance(self, x: Points) -> Distances:
        return x.amin(1).asin()

    def tangent(self, x: Points, v: Points) -> Points:
        return Sphere().tangent(x, v)

    def bend(self, x: Points, v: Points) -> Points:
        return Sphere().bend(x, v)


@dataclass(frozen=True)
class Simplex(Domain):
    """{x : x > 0, Σ x_j = 1}: compositions, with the flat geometry of their plane.

    >>> bool(Simplex().contains(torch.tensor([[0.5, 0.3, 0.2]])))
    True
    """

    def contains(self, x: Points) -> Inside:
        return ((x.sum(1) - 1).abs() < _TOLERANCE) & (x > 0).all(1)

    def distance(self, x: Points) -> Distances:
        return x.amin(1) / (1 - 1 / x.shape[1]) ** 0.5

    def tangent(self, x: Points, v: Points) -> Points:
        return v - v.mean(1, keepdim=True)
