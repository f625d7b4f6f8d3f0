"""What a kernel corrects: a base score b, fitted or given. The model is b + g, and only g is left to the kernel.

A normal law with mean x̄ and covariance (1 − γ) S + γ (tr S/d) I is fitted by `Shrunk`: γ = 1 is isotropic, γ = 0 the maximum
of the likelihood. Ledoit and Wolf (2004), doi:10.1016/S0047-259X(03)00096-4; here γ is chosen by score matching.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..calculus import Exact
from ..errors import DataError, RangeError
from ..exact import Gaussian
from ..models import Score
from ..tensors import sum_event
from .kernels import Points, sample


@dataclass(frozen=True)
class Shrunk:
    """N(x̄, (1 − γ) S + γ (tr S/d) I), γ = ``shrinkage``: the base of a kernel score, unless you give one.

    Raises: RangeError for γ outside [0, 1]; by `fit`, DataError for constant data and, if γ = 0, for a singular covariance.

    >>> Shrunk(1.0).fit(torch.tensor([[0.0, 1.0], [2.0, 4.0]])).covariance.diagonal().tolist()
    [1.625, 1.625]
    """

    shrinkage: float = 1.0

    def __post_init__(self):
        if not 0 <= self.shrinkage <= 1:
            raise RangeError(f"Shrunk(shrinkage={self.shrinkage:g}): must lie in [0, 1]; 1 is isotropic.")

    def fit(self, x: Shaped[Tensor, "*rows"]) -> Gaussian:
        """The law fitted to the rows of x, in float64."""
        x = sample(f"{self}.fit", x)
        away = x - x.mean(0)
        covariance = away.T @ away / len(x)
        level = covariance.diagonal().mean()
        if not float(level) > 0:
            raise DataError(f"{self}.fit: {len(x)} rows are all alike: a constant has no score.")
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * level * torch.eye(x.shape[1]).to(x)
        values, vectors = torch.linalg.eigh(shrunk)
        if not float(values[0]) > 1e-12 * float(values[-1]):
            column = int(vectors[:, 0].abs().argmax())
            raise DataError(
                f"{self}.fit: the covariance of {len(x)} rows in {x.shape[1]} columns is singular, most of all in column "
                f"{column}; drop columns that the others determine, or shrink more."
            )
        return Gaussian(x.mean(0), shrunk)


Base = Score | Shrunk


def fit_base(base: Base, x: Points) -> Score:
    """The base score for data x: a `Shrunk` is fitted, any other callable is taken as it is.

    >>> fit_base(lambda x: -x, torch.ones(2, 1))(torch.ones(1, 1)).item()
    -1.0
    """
    return base.fit(x) if isinstance(base, Shrunk) else base


def divergence(base: Score, x: Points) -> Float[Tensor, "n"]:
    """div b at each row: −tr C⁻¹ of a Gaussian, by derivatives of any other.

    >>> divergence(Shrunk().fit(torch.tensor([[0.0], [2.0]])), torch.zeros(1, 1)).item()
    -1.0
    """
    if isinstance(base, Gaussian):
        return x.new_zeros(len(x)) - float(torch.linalg.inv(base.covariance.double()).trace())
    with torch.no_grad():
        return Exact()(base, x)[1]


def losses(base: Score, x: Points) -> Float[Tensor, "n"]:
    """½‖b‖² + div b: Hyvärinen's loss of the base alone, a row each.

    >>> losses(Shrunk().fit(torch.tensor([[0.0], [2.0]])), torch.zeros(1, 1)).item()
    -0.5
    """
    return 0.5 * sum_event(base(x).detach() ** 2) + divergence(base, x)
