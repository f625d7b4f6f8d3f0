"""Where data live. Points are written in an ambient ℝ^d along the last axis; a space knows its projection, its tangent
spaces, and its geodesics. A new space is four functions and a reference distribution, and must satisfy

    P² = P,    exp_x(log_x y) = y,    exp_x(hv) = x + hv + O(h²),    E[⟨∇log r, f⟩ + div f] = 0  (Stein) for the reference r.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from ..tensors import Draws

Points = Float[Tensor, "batch *event"]


class Space(ABC):
    """A manifold in coordinates: projection onto it, projection onto its tangent spaces, exp and log."""

    @abstractmethod
    def project(self, x: Points) -> Points:
        """The point of the space nearest to x."""

    @abstractmethod
    def tangent(self, x: Points, v: Points) -> Points:
        """P_x v, the orthogonal projection of v onto the tangent space at x."""

    @abstractmethod
    def exp(self, x: Points, v: Points) -> Points:
        """The end of the geodesic that leaves x with velocity v, after unit time."""

    @abstractmethod
    def log(self, x: Points, y: Points) -> Points:
        """The tangent vector at x whose geodesic ends in y: exp_x(log_x y) = y."""

    @abstractmethod
    def reference(self, x: Points, generator: Draws | None = None) -> Points:
        """Points drawn from the reference distribution of the space, of the shape of x: where walks start."""

    @abstractmethod
    def reference_score(self, x: Points) -> Points:
        """∇ log of the reference density, a tangent vector at x."""
