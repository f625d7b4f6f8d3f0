"""Graphical models for positive data: pairwise interactions of powers (Yu, Drton & Shojaie 2019, arXiv:1812.10551).

    log p = −(1/2a) (xᵃ)ᵀ K xᵃ + (1/b) ηᵀ xᵇ,    xᵇ/b read as log x at b = 0

    a = b = 1      truncated Gaussian         a = b = ½    exponential square-root (Inouye, Ravikumar & Dhillon 2016, arXiv:1603.03629)
    a = ½, b = 0   gamma

K_ij = 0 means that x_i and x_j are independent given the others. The weight min(x^{2 − min(a, b)}, c) keeps its product with
squared slopes bounded near zero.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..domains import Axes, Box, Domain, Power, Weight
from ..errors import RangeError
from .family import Family, Parameters, Points, Statistics
from .normal import interactions, pairs, symmetric


@dataclass(frozen=True)
class Pairwise(Family):
    """−(1/2a) (xᵃ)ᵀ K xᵃ + (1/b) ηᵀ xᵇ on the positive orthant: a graph of positive variables, fitted in one solve.

    ``Pairwise(d, 0.5, 0.5)`` is the exponential square-root model, ``Pairwise(d, 0.5, 0.0)`` the gamma model. ``cap`` is c of the
    weight, in units of x^{2 − min(a, b)}. Raises: RangeError for size < 1, power ≤ 0, or a linear power < 0.

    >>> Pairwise(2, 0.5, 0.0).statistics(torch.tensor([[1.0, 4.0]]))
    tensor([[ 0.0000,  1.3863, -1.0000, -4.0000, -4.0000]])
    """

    size: int
    power: float = 0.5
    linear: float = 0.5
    cap: float = 3.0

    def __post_init__(self):
        if self.size < 1 or not self.power > 0 or not self.linear >= 0 or not self.cap > 0:
            raise RangeError(f"{self}: wanted size ≥ 1, power > 0, linear ≥ 0 and cap > 0.")

    @property
    def domain(self) -> Domain:
        return Box()

    @property
    def weight(self) -> Weight:
        return Axes(Power(2 - min(self.power, self.linear), self.cap))

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"eta[{k + 1}]" for k in range(self.size)) + pairs(self.size, "K")

    def interactions(self, theta: Parameters) -> Float[Tensor, "d d"]:
        """K."""
        return symmetric(self.size, theta[self.size :])

    def statistics(self, x: Points) -> Statistics:
        own = x.log() if self.linear == 0 else x**self.linear / self.linear
        return torch.cat([own, -interactions(x**self.power) / (2 * self.power)], 1)

    def improper(self, theta: Parameters) -> str | None:
        least = float(torch.linalg.eigvalsh(self.interactions(theta))[0])
        if least <= 0 and not bool((self.interactions(theta) >= 0).all()):
            return f"the interactions have the eigenvalue {least:.3g}, and the density may not be integrable"
        if self.linear == 0 and bool((theta[: self.size] <= -1).any()):
            return f"eta has an entry {float(theta[: self.size].min()):.3g}, and x^eta is integrable above −1 only"
        return None
