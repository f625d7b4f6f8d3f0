"""ℝ^d: every projection is the identity and geodesics are straight lines. The reference is N(0, I)."""

from dataclasses import dataclass

from ..tensors import Draws, normal
from .base import Points, Space


@dataclass(frozen=True)
class Euclidean(Space):
    """ℝ^d, where exp_x v = x + v and log_x y = y − x.

    >>> import torch
    >>> Euclidean().exp(torch.ones(1, 2), torch.ones(1, 2))
    tensor([[2., 2.]])
    """

    def project(self, x: Points) -> Points:
        return x

    def tangent(self, x: Points, v: Points) -> Points:
        return v

    def exp(self, x: Points, v: Points) -> Points:
        return x + v

    def log(self, x: Points, y: Points) -> Points:
        return y - x

    def reference(self, x: Points, generator: Draws | None = None) -> Points:
        return normal(x, generator)

    def reference_score(self, x: Points) -> Points:
        return -x
