"""The Gaussian in its natural parameters, whole or truncated: log p = ηᵀx − ½ xᵀK x, K the precision, η = K μ.

On ℝ^d score matching is maximum likelihood: K̂ = S⁻¹, μ̂ = x̄ (Hyvärinen 2005, section 3.1). On any other domain the same statistics with
a weight give the truncated Gaussian, whose normalising constant nobody knows.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from .family import Family, Parameters, Points, Statistics


def symmetric(d: int, upper: Float[Tensor, "k"]) -> Float[Tensor, "d d"]:
    """The symmetric matrix with this upper triangle, row by row.

    >>> symmetric(2, torch.tensor([1.0, 2.0, 3.0]))
    tensor([[1., 2.],
            [2., 3.]])
    """
    row, column = torch.triu_indices(d, d)
    place = torch.zeros(d, d, dtype=torch.long)
    place[row, column] = place[column, row] = torch.arange(len(row))
    return upper[place.to(upper.device)]


def pairs(d: int, letter: str) -> tuple[str, ...]:
    """The names of the upper triangle of a symmetric matrix.

    >>> pairs(2, "K")
    ('K[1,1]', 'K[1,2]', 'K[2,2]')
    """
    return tuple(f"{letter}[{i + 1},{j + 1}]" for i, j in zip(*torch.triu_indices(d, d).tolist()))


def interactions(x: Points) -> Statistics:
    """x_i² and 2 x_i x_j, so that with the upper triangle of A they give xᵀA x.

    >>> interactions(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 4., 4.]])
    """
    row, column = torch.triu_indices(x.shape[1], x.shape[1])
    return x[:, row] * x[:, column] * torch.where(row == column, 1.0, 2.0).to(x)


@dataclass(frozen=True)
class Normal(Family):
    """ηᵀx − ½ xᵀK x on ℝ^d, or truncated to the domain that `fit` is given; read as mean and covariance.

    Fix entries of K to know them: ``fixed={"K[1,1]": 1.0}``, or 0.0 for a missing edge. Raises: RangeError for size < 1.

    >>> Normal(2).names
    ('eta[1]', 'eta[2]', 'K[1,1]', 'K[1,2]', 'K[2,2]')
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise RangeError(f"Normal(size={self.size}): at least one variable.")

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"eta[{k + 1}]" for k in range(self.size)) + pairs(self.size, "K")

    @property
    def readable_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"mean[{k + 1}]" for k in range(self.size)) + pairs(self.size, "cov")

    def statistics(self, x: Points) -> Statistics:
        return torch.cat([x, -0.5 * interactions(x)], 1)

    def precision(self, theta: Parameters) -> Float[Tensor, "d d"]:
        """K."""
        return symmetric(self.size, theta[self.size :])

    def readable(self, theta: Parameters) -> Float[Tensor, "q"]:
        covariance = torch.linalg.inv(self.precision(theta))
        row, column = torch.triu_indices(self.size, self.size)
        return torch.cat([covariance @ theta[: self.size], covariance[row, column]])

    def improper(self, theta: Parameters) -> str | None:
        least = float(torch.linalg.eigvalsh(self.precision(theta))[0])
        return None if least > 0 else f"the precision has the eigenvalue {least:.3g}"


@dataclass(frozen=True)
class Independent(Family):
    """Σ η_j x_j − ½ K_j x_j²: every column a Gaussian of its own, the model that all others must beat; read as means and variances.

    Identified by two rows, whatever the number of columns. Raises: RangeError for size < 1.

    >>> Independent(2).names
    ('eta[1]', 'eta[2]', 'K[1]', 'K[2]')
    """

    size: int

    def __post_init__(self):
        if self.size < 1:
            raise RangeError(f"Independent(size={self.size}): at least one variable.")

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{letter}[{k + 1}]" for letter in ("eta", "K") for k in range(self.size))

    @property
    def readable_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{word}[{k + 1}]" for word in ("mean", "var") for k in range(self.size))

    def statistics(self, x: Points) -> Statistics:
        return torch.cat([x, -0.5 * x**2], 1)

    def precision(self, theta: Parameters) -> Float[Tensor, "d d"]:
        """K, a diagonal matrix."""
        return theta[self.size :].diag()

    def readable(self, theta: Parameters) -> Float[Tensor, "q"]:
        eta, k = theta.split(self.size)
        return torch.cat([eta / k, 1 / k])

    def improper(self, theta: Parameters) -> str | None:
        least = float(theta[self.size :].min())
        return None if least > 0 else f"K has the entry {least:.3g}"
