"""Kernels for vector fields: K(x, y) is a d × d matrix, and a field is Σ_j [a div_y K(x, y_j) + K(x, y_j) c_j].

    Diagonal   K = k I:          div_y K = ∇_y k                  no potential
    CurlFree   K = ∇_x∇_yᵀ k:    div_y K = ∇_x Δk                 the gradient of f(x) = Σ_j [a Δk + ∇_y k·c_j]

The divergences of the fields are, with ψ = Δk of `kernels`,

    Diagonal   Σ_j [−a ψ + ∇_x k·c_j],        CurlFree   Δf = Σ_j [a Δψ + ∇_y ψ·c_j].

A score is a gradient, so that `CurlFree` is the natural choice. Zhou, Shi and Zhu (2020), arXiv:2005.10099.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import IMQ, RBF, Kernel, Points, along, blocks, laplacian, slopes, squared_distances

Sources = Float[Tensor, "m d"]
Numbers = Float[Tensor, "n"]


@dataclass(frozen=True)
class FieldKernel(ABC):
    """A matrix-valued kernel made of a radial one: the field of sources y with strengths a (shared) and c, and its divergence."""

    kernel: Kernel

    def field(self, x: Points, y: Sources, a: float, c: Sources) -> Points:
        """Σ_j [a div_y K(x_i, y_j) + K(x_i, y_j) c_j]."""
        return torch.cat([self._field(x[part], y, a, c) for part in blocks(len(x), len(y))])

    def divergence(self, x: Points, y: Sources, a: float, c: Sources) -> Numbers:
        """The divergence of the field at each x_i."""
        return torch.cat([self._divergence(x[part], y, a, c) for part in blocks(len(x), len(y))])

    @abstractmethod
    def gram(self, x: Points) -> Float[Tensor, "p p"]:
        """The matrix of the operator c ↦ Σ_j K(x_i, x_j) c_j: on columns of c, or on c flattened."""

    @abstractmethod
    def _field(self, x: Points, y: Sources, a: float, c: Sources) -> Points:
        """`field`, of one block of rows."""

    @abstractmethod
    def _divergence(self, x: Points, y: Sources, a: float, c: Sources) -> Numbers:
        """`divergence`, of one block of rows."""


@dataclass(frozen=True)
class Diagonal(FieldKernel):
    """K = k I: every coordinate by itself. With `Tikhonov` it is the Stein estimator, with `CutOff` it is SSGE.

    Li and Turner (2018), arXiv:1705.07107; Shi, Sun and Zhu (2018), arXiv:1806.02925; equal by theorem: Zhou et al. (2020).

    >>> Diagonal(RBF(1.0)).field(torch.zeros(1, 2), torch.zeros(1, 2), 1.0, torch.ones(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    kernel: Kernel = field(default_factory=RBF)

    def gram(self, x: Points) -> Float[Tensor, "p p"]:
        return self.kernel(x, x)

    def _field(self, x: Points, y: Sources, a: float, c: Sources) -> Points:
        k, k1 = self.kernel.derivatives(squared_distances(x, y), 1)
        return k @ c - slopes(2 * a * k1, x, y)

    def _divergence(self, x: Points, y: Sources, a: float, c: Sources) -> Numbers:
        s = squared_distances(x, y)
        k = self.kernel.derivatives(s, 2)
        return (2 * k[1] * along(x, y, c) - a * laplacian(k, s, x.shape[1])[0]).sum(1)


@dataclass(frozen=True)
class CurlFree(FieldKernel):
    """K = ∇_x∇_yᵀ k: fields that are gradients, with their potential. With `Tikhonov` it is the kernel exponential family.

    Sriperumbudur et al. (2017), theorem 5, arXiv:1312.3516; Zhou et al. (2020), arXiv:2005.10099.

    >>> CurlFree(RBF(1.0)).field(torch.zeros(1, 2), torch.zeros(1, 2), 1.0, torch.ones(1, 2)).tolist()
    [[1.0, 1.0]]
    """

    kernel: Kernel = field(default_factory=IMQ)

    def gram(self, x: Points) -> Float[Tensor, "p p"]:
        n, d = x.shape
        _, k1, k2 = self.kernel.derivatives(squared_distances(x, x), 2)
        u = x[:, None] - x[None]
        full = -2 * k1[..., None, None] * torch.eye(d).to(x) - 4 * k2[..., None, None] * u[..., None] * u[..., None, :]
        return full.permute(0, 2, 1, 3).reshape(n * d, n * d)

    def potential(self, x: Points, y: Sources, a: float, c: Sources) -> Numbers:
        """f(x_i) = Σ_j [a Δk + ∇_y k·c_j], of which `field` is the gradient."""
        return torch.cat([self._sum(self._plain, x[part], y, a, c) for part in blocks(len(x), len(y))])

    def _field(self, x: Points, y: Sources, a: float, c: Sources) -> Points:
        s = squared_distances(x, y)
        k = self.kernel.derivatives(s, 3 if a else 2)
        weights = -4 * k[2] * along(x, y, c)
        if a:
            weights = weights + 2 * a * laplacian(k, s, x.shape[1])[1]
        return slopes(weights, x, y) - 2 * k[1] @ c

    def _divergence(self, x: Points, y: Sources, a: float, c: Sources) -> Numbers:
        return self._sum(self._twice, x, y, a, c)

    def _plain(self, s: Tensor, dim: int) -> list[Tensor]:
        return self.kernel.derivatives(s, 2)

    def _twice(self, s: Tensor, dim: int) -> list[Tensor]:
        return laplacian(self.kernel.derivatives(s, 4), s, dim)

    def _sum(
        self, profile: Callable[[Tensor, int], list[Tensor]], x: Points, y: Sources, a: float, c: Sources
    ) -> Numbers:
        """Σ_j [a Δp + ∇_y p·c_j] of a radial function p."""
        s = squared_distances(x, y)
        p = profile(s, x.shape[1])
        return (a * laplacian(p, s, x.shape[1])[0] - 2 * p[1] * along(x, y, c)).sum(1)
