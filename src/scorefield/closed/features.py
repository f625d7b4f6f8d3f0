"""Features φ_1 … φ_p, whose gradients span a family of scores: g = Σ_j θ_j ∇φ_j. Score matching is then a quadratic in θ,

    J(θ) = ½ θᵀHθ + hᵀθ,     H = E Σ_k ∂_kφ ∂_kφᵀ,     h = E [∇φ·b + Δφ]

    Centres   φ_j = k(x, z_j):             H = Σ_i C_ij C_ik (x_i − z_j)·(x_i − z_k),  C = 2φ′:  three products of n p² each
    Waves     φ_j = √(2/p) cos(w_j·x + u_j):    H = (W Wᵀ) ∘ (SᵀS),  S = √(2/p) sin:            one product

Neither knows of d: the event enters through inner products. The centres are the "lite" Nyström basis of Sutherland, Strathmann,
Arbel and Gretton (2018), arXiv:1705.08360; the waves are Rahimi and Recht (2007), NeurIPS 20.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import RangeError
from ..tensors import Draws, uniform
from .kernels import Kernel, Points, blocks, laplacian, slopes, squared_distances

Matrix = Float[Tensor, "p p"]
Weights = Float[Tensor, "p"]
Numbers = Float[Tensor, "n"]
Index = Int[Tensor, "m"]


class Features(nn.Module):
    """p scalar functions with gradients and Laplacians, in sums over rows that never form an n × p × d tensor."""

    @property
    @abstractmethod
    def count(self) -> int:
        """p."""

    @abstractmethod
    def penalty(self) -> Matrix:
        """R, the squared norm θᵀRθ of Σ θ_j φ_j."""

    @abstractmethod
    def values(self, x: Points, theta: Weights) -> Numbers:
        """Σ_j θ_j φ_j(x_i)."""

    @abstractmethod
    def slope(self, x: Points, theta: Weights) -> Points:
        """Σ_j θ_j ∇φ_j(x_i)."""

    @abstractmethod
    def laplacian(self, x: Points, theta: Weights) -> Numbers:
        """Σ_j θ_j Δφ_j(x_i)."""

    @abstractmethod
    def moments(self, x: Points, bases: list[Points]) -> tuple[Matrix, Float[Tensor, "p bases"]]:
        """The sums over rows of H and, for each base, h."""


class Centres(Features):
    """φ_j = k(x, z_j) at points z_j, a sum of bumps."""

    def __init__(self, kernel: Kernel, points: Float[Tensor, "p d"]):
        super().__init__()
        self.kernel = kernel
        self.points: Tensor
        self.register_buffer("points", points)

    @property
    def count(self) -> int:
        return len(self.points)

    def penalty(self) -> Matrix:
        return self.kernel(self.points, self.points)

    def values(self, x: Points, theta: Weights) -> Numbers:
        return torch.cat([self.kernel(x[part], self.points) @ theta for part in blocks(len(x), self.count)])

    def slope(self, x: Points, theta: Weights) -> Points:
        parts = (x[part] for part in blocks(len(x), self.count))
        return torch.cat([slopes(2 * self._derivatives(each, 1)[1] * theta, each, self.points) for each in parts])

    def laplacian(self, x: Points, theta: Weights) -> Numbers:
        return torch.cat([self._laplacian(x[part]) @ theta for part in blocks(len(x), self.count)])

    def moments(self, x: Points, bases: list[Points]) -> tuple[Matrix, Float[Tensor, "p bases"]]:
        z, p = self.points, self.count
        h, force = x.new_zeros(p, p), x.new_zeros(p, len(bases))
        inner = x.new_zeros(p, p)
        for part in blocks(len(x), p):
            y = x[part]
            s = squared_distances(y, z)
            k = self.kernel.derivatives(s, 2)
            c = 2 * k[1]
            # (x − z_j)·(x − z_k) with x from z's mean: ½‖x‖² − x·z_j on one side and its mirror on the other, and z_j·z_k
            shift = y - z.mean(0)
            half = c * (0.5 * shift.square().sum(1, keepdim=True) - shift @ (z - z.mean(0)).T)
            h += half.T @ c
            inner += c.T @ c
            force += laplacian(k, s, x.shape[1])[0].sum(0)[:, None]
            for column, b in enumerate(bases):
                b = b[part]
                force[:, column] += c.T @ (b * y).sum(1) - ((c.T @ b) * z).sum(1)
        away = z - z.mean(0)
        return h + h.T + inner * (away @ away.T), force

    def _derivatives(self, x: Points, order: int) -> list[Tensor]:
        return self.kernel.derivatives(squared_distances(x, self.points), order)

    def _laplacian(self, x: Points) -> Tensor:
        s = squared_distances(x, self.points)
        return laplacian(self.kernel.derivatives(s, 2), s, x.shape[1])[0]


class Waves(Features):
    """φ_j = √(2/p) cos(w_j·x + u_j), with w_j from the spectrum of a kernel and u_j uniform: E φ(x)·φ(y) = k(x, y)."""

    def __init__(self, frequencies: Float[Tensor, "p d"], phases: Float[Tensor, "p"]):
        super().__init__()
        self.frequencies: Tensor
        self.phases: Tensor
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", phases)

    @property
    def count(self) -> int:
        return len(self.phases)

    def penalty(self) -> Matrix:
        return torch.eye(self.count, dtype=self.phases.dtype, device=self.phases.device)

    def values(self, x: Points, theta: Weights) -> Numbers:
        return torch.cat([self._angle(x[part]).cos() @ (self._scale * theta) for part in blocks(len(x), self.count)])

    def slope(self, x: Points, theta: Weights) -> Points:
        rates = -self._scale * theta[:, None] * self.frequencies
        return torch.cat([self._angle(x[part]).sin() @ rates for part in blocks(len(x), self.count)])

    def laplacian(self, x: Points, theta: Weights) -> Numbers:
        return self.values(x, -theta * self.frequencies.square().sum(1))

    def moments(self, x: Points, bases: list[Points]) -> tuple[Matrix, Float[Tensor, "p bases"]]:
        w, p = self.frequencies, self.count
        h, force = x.new_zeros(p, p), x.new_zeros(p, len(bases))
        for part in blocks(len(x), p):
            angle = self._angle(x[part])
            sin = self._scale * angle.sin()
            h += sin.T @ sin
            force -= (self._scale * angle.cos().sum(0) * w.square().sum(1))[:, None]
            for column, b in enumerate(bases):
                force[:, column] -= ((sin.T @ b[part]) * w).sum(1)
        return h * (w @ w.T), force

    @property
    def _scale(self) -> float:
        return math.sqrt(2 / self.count)

    def _angle(self, x: Points) -> Float[Tensor, "n p"]:
        return torch.addmm(self.phases, x, self.frequencies.T)


def evenly(kernel: Kernel, x: Points, m: int, generator: Draws | None = None) -> Index:
    """m rows at random: the cheapest points, and good ones where the data are dense.

    >>> from scorefield.closed.kernels import RBF
    >>> len(evenly(RBF(1.0), torch.zeros(9, 1), 4))
    4
    """
    return uniform(x[:, 0], generator).argsort()[:m]


def pivoted(kernel: Kernel, x: Points, m: int, generator: Draws | None = None) -> Index:
    """m rows by pivoted Cholesky: each the one that those before explain least. Fewer if they explain all to 1e-10.

    Harbrecht, Peters and Schneider (2012), algorithm 1, doi:10.1016/j.apnum.2011.10.001. It draws nothing, and seeks the fringe.

    >>> from .kernels import RBF
    >>> pivoted(RBF(1.0), torch.tensor([[0.0], [0.1], [5.0]]), 2).tolist()
    [0, 2]
    """
    left = kernel.derivatives(x.new_zeros(1, 1), 0)[0].flatten().expand(len(x)).clone()
    factor = x.new_zeros(len(x), m)
    chosen: list[int] = []
    for k in range(m):
        row = int(left.argmax())
        if float(left[row]) < 1e-10:
            break
        chosen.append(row)
        column = kernel(x, x[row : row + 1])[:, 0] - factor[:, :k] @ factor[row, :k]
        factor[:, k] = column / left[row].sqrt()
        left = (left - factor[:, k] ** 2).clamp(min=0)
    return torch.tensor(chosen, dtype=torch.int64, device=x.device)


def leverage(kernel: Kernel, x: Points, m: int, generator: Draws | None = None) -> Index:
    """m rows, drawn by their ridge leverage ℓ_i = (K (K + nλ)⁻¹)_ii, estimated from 4m rows at random, λ = 1/n.

    Alaoui and Mahoney (2015), definition 1, arXiv:1411.0306. By exponential races, so that no row is drawn twice.

    >>> from .kernels import RBF
    >>> len(leverage(RBF(1.0), torch.arange(9.0)[:, None], 4))
    4
    """
    some = x[evenly(kernel, x, min(len(x), 4 * m), generator)]
    core = kernel(some, some)
    scores = []
    factor = torch.linalg.cholesky(core @ core + core * (len(some) / len(x)) + 1e-8 * torch.eye(len(some)).to(x))
    for part in blocks(len(x), len(some)):
        solved = torch.linalg.solve_triangular(factor, kernel(x[part], some).T, upper=False)
        scores.append(solved.square().sum(0))
    race = -uniform(x[:, 0], generator).log() / torch.cat(scores).clamp(min=1e-12)
    return race.argsort()[:m]


@dataclass(frozen=True)
class Nystrom:
    """Bumps at p rows of the data, picked by `evenly`, `pivoted` or `leverage`. Raises: RangeError for points < 1."""

    points: int = 1000
    pick: Callable[[Kernel, Points, int, Draws | None], Index] = field(default=evenly)

    def __post_init__(self):
        if self.points < 1:
            raise RangeError(f"Nystrom(points={self.points}): points must be at least 1.")

    def features(self, kernel: Kernel, x: Points, generator: Draws | None = None) -> Centres:
        """The features for a kernel and data."""
        return Centres(kernel, x[self.pick(kernel, x, min(self.points, len(x)), generator)])


@dataclass(frozen=True)
class Fourier:
    """p waves at random frequencies of the kernel's spectrum, wherever the data are. Raises: RangeError for count < 1."""

    count: int = 500

    def __post_init__(self):
        if self.count < 1:
            raise RangeError(f"Fourier(count={self.count}): count must be at least 1.")

    def features(self, kernel: Kernel, x: Points, generator: Draws | None = None) -> Waves:
        """The features for a kernel and data of that many columns."""
        frequencies = kernel.frequencies(x.new_empty(self.count, x.shape[1]), generator)
        return Waves(frequencies, 2 * math.pi * uniform(x.new_empty(self.count), generator))
