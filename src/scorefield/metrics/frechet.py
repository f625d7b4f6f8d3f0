"""The Fréchet distance between Gaussians: ‖μ − ν‖² + tr A + tr B − 2 tr (A^½ B A^½)^½.

The last trace is the sum of the singular values of A^½ B^½, so no square root of a product is taken and matrices
without full rank need no care. Dowson and Landau (1982), J. Multivariate Anal. 12; of network features, Heusel et al.
(2017), arXiv:1706.08500, eq. 6.

From n rows the estimate is too large by a term of order 1/n that grows with the dimension: compare only estimates from
equal numbers of rows, and with the floor, the distance between two sets of real rows.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from .estimate import Estimate
from .pairs import rows


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, folds: int = 20) -> Estimate:
    """‖μ − ν‖² + tr(A + B − 2(A^½ B A^½)^½) from the means and covariances of two sets of features.

    The standard error is a jackknife that leaves out one of ``folds`` parts of either set in turn (2 × folds extra
    evaluations). It does not see the bias of small samples, which the module describes.

    Raises: ShapeError, DataError for sets that cannot be compared; RangeError unless 2 ≤ folds ≤ half of either size.

    >>> x = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]])
    >>> round(float(frechet_distance(x, x + 2, folds=2)), 6)
    4.0
    """
    x, y = rows(x, y, least=4)
    if not 2 <= folds <= min(len(x), len(y)) // 2:
        raise RangeError(f"frechet_distance(folds={folds}): must lie between 2 and half the rows of the smaller set.")
    fit_x, fit_y = _moments(x), _moments(y)
    without_x = [frechet_gaussian(*_moments(part), *fit_y) for part in _without(x, folds)]
    without_y = [frechet_gaussian(*fit_x, *_moments(part)) for part in _without(y, folds)]
    variance = sum(float(torch.tensor(v).double().var(correction=0)) for v in (without_x, without_y)) * (folds - 1)
    return Estimate(frechet_gaussian(*fit_x, *fit_y), math.sqrt(variance))


def frechet_gaussian(
    mean_x: Float[Tensor, "d"], cov_x: Float[Tensor, "d d"], mean_y: Float[Tensor, "d"], cov_y: Float[Tensor, "d d"]
) -> float:
    """‖μ − ν‖² + tr A + tr B − 2 ‖A^½ B^½‖_*, the squared Wasserstein-2 distance of N(μ, A) and N(ν, B).

    >>> one = torch.eye(2)
    >>> round(frechet_gaussian(torch.zeros(2), one, torch.ones(2), 4 * one), 6)
    4.0
    """
    root = torch.linalg.svdvals(_root(cov_x) @ _root(cov_y)).sum()
    distance = (mean_x - mean_y).double().square().sum() + cov_x.double().trace() + cov_y.double().trace() - 2 * root
    return max(0.0, float(distance))


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov.double())
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def _without(x: Tensor, folds: int) -> list[Tensor]:
    fold = torch.arange(len(x), device=x.device) % folds
    return [x[fold != k] for k in range(folds)]
