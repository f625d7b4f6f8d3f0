"""The flat torus (ℝ/2πℤ)^d: angles in [−π, π), each coordinate wrapped. The reference is uniform, whose score vanishes."""

from dataclasses import dataclass
from math import pi

import torch

from ..tensors import Draws, uniform
from .base import Points, Space


@dataclass(frozen=True)
class Torus(Space):
    """Angles in radians: exp_x v = wrap(x + v), log_x y = wrap(y − x).

    >>> [round(a, 4) for a in Torus().log(torch.tensor([[3.0]]), torch.tensor([[-3.0]]))[0].tolist()]
    [0.2832]
    """

    def project(self, x: Points) -> Points:
        return torch.remainder(x + pi, 2 * pi) - pi

    def tangent(self, x: Points, v: Points) -> Points:
        return v

    def exp(self, x: Points, v: Points) -> Points:
        return self.project(x + v)

    def log(self, x: Points, y: Points) -> Points:
        return self.project(y - x)

    def reference(self, x: Points, generator: Draws | None = None) -> Points:
        return uniform(x, generator) * (2 * pi) - pi

    def reference_score(self, x: Points) -> Points:
        return torch.zeros_like(x)
