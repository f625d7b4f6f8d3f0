"""What C = Cov[X_0 | x_t] is taken to be, where y | x_t ~ N(A x̂, M) with M = s² I + A C Aᵀ. With J = ∂x̂/∂x_t:

    Krylov      (σ²/α) J, by k steps of conjugate gradients for M⁻¹        MMPS     Rozet et al. 2024
    Dense       (σ²/α) J, exactly, at one pull-back for each number of y
    RowSums     its row sums, put on the diagonal                          TMPD     Boys et al. 2023, arXiv:2310.06721
    Isotropic   r² I, r² = τ² ρ²/(τ² + ρ²), ρ = σ/α                        ΠGDM     Song et al. 2023, ICLR

Networks have Jacobians that are not symmetric, nor positive: the symmetric part is used, without the directions of negative
variance, in which the measurement then says nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Values
from ..tensors import sum_event
from .operators import CUT, Operator

Numbers = Float[Tensor, "batch"]

Observations = Float[Tensor, "batch *observed"]
Basis = Float[Tensor, "directions batch m"]


@dataclass(frozen=True, eq=False)
class Linearised:
    """y around x̂(x_t): the operator, s², ρ² = (σ/α)² a row, and v -> A C Aᵀ v with the true C."""

    operator: Operator
    variance: float
    ratio2: Float[Tensor, "batch"]
    spread: Callable[[Observations], Observations]


class Covariance(ABC):
    """Cov[X_0 | x_t] as a guide takes it to be, which says how a residual y − A x̂ is explained."""

    @abstractmethod
    def explain(self, seen: Linearised, residual: Observations) -> tuple[Values, Numbers | None]:
        """(Aᵀ M⁻¹ (y − A x̂), log N(y − A x̂; 0, M) in nats); None where the determinant is not known."""


@dataclass(frozen=True)
class Isotropic(Covariance):
    """C = r² I with 1/r² = 1/data_std² + (α/σ)²: what N(0, data_std² I) data would have. No second derivative is taken.

    Pseudo-inverse guidance (Song, Vahdat, Mardani & Kautz 2023, section 3, openreview 9_gsMA8MRKQ).
    Raises: RangeError for data_std ≤ 0.
    """

    data_std: float = 1.0

    def __post_init__(self):
        if not 0 < self.data_std < math.inf:
            raise RangeError(f"Isotropic(data_std={self.data_std:g}): the spread of the data must be positive.")

    def explain(self, seen: Linearised, residual: Observations) -> tuple[Values, Numbers]:
        r2 = seen.ratio2 / (1 + seen.ratio2 / self.data_std**2)
        operator = seen.operator
        pulled = operator.solve(residual, seen.variance / r2) / r2.reshape(-1, *(1,) * len(operator.shape))
        values = operator.values.to(residual)
        sees = values > CUT * values.max()
        inside = r2[:, None] * values[sees] ** 2 + seen.variance
        coordinates = operator.left(residual)[:, sees]
        squares, logs = sum_event(coordinates**2 / inside), sum_event((2 * math.pi * inside).log())
        beyond = residual[0].numel() - operator.rank  # where y is noise alone
        if beyond > 0 and seen.variance > 0:
            missed = (sum_event(residual**2) - sum_event(coordinates**2)).clamp(min=0)
            squares = squares + missed / seen.variance
            logs = logs + beyond * math.log(2 * math.pi * seen.variance)
        return pulled, -0.5 * (squares + logs)


@dataclass(frozen=True)
class RowSums(Covariance):
    """M = s² I + diag(A C Aᵀ 1): the row sums of the true covariance on the diagonal, at one more pull-back.

    Tweedie moment projected diffusions (Boys et al. 2023, arXiv:2310.06721). Entries whose row sum is not positive get
    no guidance.
    """

    def explain(self, seen: Linearised, residual: Observations) -> tuple[Values, Numbers]:
        sums = seen.spread(torch.ones_like(residual))
        total = (sums.clamp(min=0) + seen.variance).clamp(min=torch.finfo(residual.dtype).tiny)
        pulled = seen.operator.transpose(torch.where(sums > 0, residual / total, 0.0))
        return pulled, -0.5 * sum_event(residual**2 / total + (2 * math.pi * total).log())


@dataclass(frozen=True)
class Krylov(Covariance):
    """C = (σ²/α) J, with M⁻¹ on the space that ``iterations`` products with M span: conjugate gradients, kept positive.

    Moment matching posterior sampling (Rozet et al. 2024, section 4, arXiv:2405.13712); each iteration is one pull-back through
    the network. The iterate is that of conjugate gradients, found by Lanczos with full orthogonalisation, so that as many
    iterations as y has numbers are exact. It knows no determinant, so `twisted` wants another. Raises: RangeError for iterations < 1.
    """

    iterations: int = 4

    def __post_init__(self):
        if self.iterations < 1:
            raise RangeError(f"Krylov(iterations={self.iterations}): iterations must be at least 1.")

    def explain(self, seen: Linearised, residual: Observations) -> tuple[Values, None]:
        flat = residual.flatten(1)
        tiny = torch.finfo(flat.dtype).tiny
        small = 10 * torch.finfo(flat.dtype).eps
        basis: list[Tensor] = []
        images: list[Tensor] = []
        rest, before = flat, flat
        for _ in range(min(self.iterations, flat.shape[1])):
            length, scale = ((part**2).sum(1, keepdim=True).clamp(min=tiny).sqrt() for part in (rest, before))
            basis.append(torch.where(length > small * scale, rest / length, 0.0))
            images.append(seen.spread(basis[-1].reshape(residual.shape)).flatten(1))
            rest = before = images[-1]
            for _ in range(2):  # once more, for what round-off left
                for known in basis:
                    rest = rest - (known * rest).sum(1, keepdim=True) * known
        solved = _solve(torch.stack(basis), torch.stack(images), seen.variance, flat)
        return seen.operator.transpose(solved.reshape(residual.shape)), None


@dataclass(frozen=True)
class Dense(Covariance):
    """C = (σ²/α) J and M⁻¹ exactly, by one pull-back for every number of y: for observations of few numbers."""

    def explain(self, seen: Linearised, residual: Observations) -> tuple[Values, Numbers]:
        flat = residual.flatten(1)
        basis = torch.eye(flat.shape[1]).to(flat)[:, None].expand(-1, len(flat), -1)
        images = torch.stack([seen.spread(v.reshape(residual.shape)).flatten(1) for v in basis])
        solved = _solve(basis, images, seen.variance, flat)
        with torch.no_grad():
            values, vectors = torch.linalg.eigh(_matrix(basis, images))
            total = (values.clamp(min=0) + seen.variance).clamp(min=torch.finfo(torch.float64).tiny)
            turned = torch.einsum("bkl,bk->bl", vectors, flat.double())
            log_density = -0.5 * (turned**2 / total + (2 * math.pi * total).log()).sum(1).to(flat.dtype)
        return seen.operator.transpose(solved.reshape(residual.shape)), log_density


def _matrix(basis: Basis, images: Basis) -> Float[Tensor, "batch k k"]:
    matrix = torch.einsum("kbm,lbm->bkl", basis.double(), images.double())
    return 0.5 * (matrix + matrix.mT)


def _solve(basis: Basis, images: Basis, variance: float, b: Float[Tensor, "batch m"]) -> Float[Tensor, "batch m"]:
    """(s² I + A C Aᵀ)⁻¹ b within the basis, each row alone; directions whose variance is not positive are left out."""
    matrix = _matrix(basis, images)
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(matrix)
        top = values.abs().amax(1, keepdim=True)
        cut = 10 * torch.finfo(b.dtype).eps * top
        huge = 1e8 * (top + variance).clamp(min=torch.finfo(torch.float32).tiny)
        lift = torch.where(values > cut, 0.0, huge - values)
        lifted = (vectors * lift[:, None]) @ vectors.mT + variance * torch.eye(len(basis)).to(matrix)
    inside = torch.einsum("kbm,bm->bk", basis.double(), b.double())
    return torch.einsum("kbm,bk->bm", basis.double(), torch.linalg.solve(matrix + lifted, inside)).to(b.dtype)
