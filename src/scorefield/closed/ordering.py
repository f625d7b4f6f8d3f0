"""Which variable causes which, from the curvature of the log-density: x_j = f_j(parents of j) + N(0, σ_j²), the f_j not linear.

    ∂²_jj log p(x) = −1/σ_j² is constant  ⇔  j is a leaf:  the leaf is the column whose curvature varies least; drop it, repeat

Rolland, Cevher, Kleindessner, Russell, Janzing, Schölkopf & Locatello (2022), lemma 1 and algorithm 1, arXiv:2203.04413. Curvatures
come by Stein's identities of first and second order, K_ik = k(x_i, x_k) a Gaussian kernel of width s (their eqs 8 to 13):

    G = −(K + ηI)⁻¹ A,   A = (X ∘ K1 − KX)/s²,                           an estimate of ∇log p at each row
    (∂²_jj log p) = −G² + (K + ηI)⁻¹ B,   B = (X² ∘ K1 − 2X ∘ KX + KX²)/s⁴ − K1/s²

A and B are the sums over pairs of ∇k and ∂²k as products of matrices: memory is O(n² + nd), and one Cholesky factor serves both.
"""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import RangeError
from .checks import data, distinct, full
from .kernels import median_width, squared_distances

Points = Float[Tensor, "n d"]


def curvatures(x: Shaped[Tensor, "*shape"], *, width: float | None = None, ridge: float = 1e-3) -> Points:
    """∂²_jj log p at each row: the diagonal of the Hessian of the log-density of the data, and nothing else of it.

    ``width`` is s of the kernel exp(−|x − y|²/2s²), in units of the data, by default the median distance between rows; ``ridge`` is η,
    in units of k(x, x) = 1. Raises: RangeError unless both are positive; ShapeError and DataError for bad data, such as rows that
    repeat others, a column that others determine, or fewer rows than columns.

    >>> x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> -1.2 < float(curvatures(x, ridge=0.1).mean()) < -0.8
    True
    """
    points = data(x)
    _require(points, width, ridge)
    return _curvatures(points - points.mean(0), width, ridge)


def causal_order(x: Shaped[Tensor, "*shape"], *, width: float | None = None, ridge: float = 1e-3) -> list[int]:
    """The columns of x from causes to effects: a column comes after all that cause it, if noises are additive and Gaussian.

    Each of the d steps costs one Cholesky factor of an n × n matrix. The order is that of *some* full graph, of which the edges are yet
    to be pruned; linear mechanisms cannot be told apart. Columns count in the units that they are given in. Raises: as `curvatures`.

    >>> cause = torch.randn(400, generator=torch.Generator().manual_seed(0))
    >>> effect = 2 * torch.sin(2 * cause) + torch.randn(400, generator=torch.Generator().manual_seed(1))
    >>> causal_order(torch.stack([effect, cause], 1))
    [1, 0]
    """
    points = data(x)
    _require(points, width, ridge)
    points = points - points.mean(0)
    left, last = list(range(points.shape[1])), []
    while len(left) > 1:
        spread = _curvatures(points[:, left], width, ridge).var(0)
        last.append(left.pop(int(spread.argmin())))
    return left + last[::-1]


def _require(x: Points, width: float | None, ridge: float) -> None:
    distinct("curvatures", x)
    full("curvatures", x)
    if not 0 < ridge < math.inf:
        raise RangeError(f"curvatures(ridge={ridge:g}): must be positive, in units of k(x, x) = 1; try 1e-3.")
    if width is not None and not 0 < width < math.inf:
        raise RangeError(f"curvatures(width={width:g}): must be positive, in units of the data; None for the median.")


def _curvatures(x: Points, width: float | None, ridge: float) -> Points:
    d = x.shape[1]
    squares = x**2
    scale = (median_width(x) if width is None else width) ** 2
    kernel = squared_distances(x, x).mul_(-0.5 / scale).exp_()
    total = kernel.sum(1, keepdim=True)
    mean, second = (kernel @ torch.cat([x, squares], 1)).split(d, 1)
    first = (x * total - mean) / scale
    second = (squares * total - 2 * x * mean + second) / scale**2 - total / scale
    kernel.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(kernel.mT)
    del kernel
    if int(failed):
        raise RangeError(f"curvatures(ridge={ridge:g}): the kernel matrix is singular in float64; raise the ridge.")
    score, bend = torch.cholesky_solve(torch.cat([-first, second], 1), factor).split(d, 1)
    return bend - score**2
