"""The unit sphere S^{d−1} = {x : |x| = 1} in ℝ^d, d the last axis.

    P_x v = v − ⟨x, v⟩ x
    exp_x v = cos|v| x + sin|v| v/|v|
    log_x y = θ P_x y / |P_x y|,   θ = atan2(|P_x y|, ⟨x, y⟩)

The reference is the uniform distribution, whose score vanishes.
"""

from dataclasses import dataclass

import torch

from ..tensors import Draws, normal
from .base import Points, Space


@dataclass(frozen=True)
class Sphere(Space):
    """Unit vectors along the last axis: exp_x v = cos|v| x + sin|v| v/|v|. log is undefined between antipodes and returns 0 there.

    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(c, 4) for c in Sphere().log(x, y)[0].tolist()]
    [0.0, 1.5708]
    """

    def project(self, x: Points) -> Points:
        return x / x.norm(dim=-1, keepdim=True)

    def tangent(self, x: Points, v: Points) -> Points:
        return v - (x * v).sum(-1, keepdim=True) * x

    def exp(self, x: Points, v: Points) -> Points:
        angle = v.norm(dim=-1, keepdim=True)
        return self.project(angle.cos() * x + torch.sinc(angle / torch.pi) * v)

    def log(self, x: Points, y: Points) -> Points:
        toward = self.tangent(x, y)
        sine = toward.norm(dim=-1, keepdim=True)
        angle = torch.atan2(sine, (x * y).sum(-1, keepdim=True))
        return toward * (angle / sine.clamp(min=torch.finfo(x.dtype).tiny))

    def reference(self, x: Points, generator: Draws | None = None) -> Points:
        return self.project(normal(x, generator))

    def reference_score(self, x: Points) -> Points:
        return torch.zeros_like(x)
