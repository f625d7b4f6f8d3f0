"""Wasserstein-2 distances: W₂² = min over couplings of E‖X − Y‖².

In one dimension the best coupling pairs equal quantiles, W₂² = ∫₀¹ (F⁻¹(u) − G⁻¹(u))² du; sliced, the mean of it over
directions θ uniform on the sphere. Between equal numbers of rows it is an assignment; between Gaussians a closed form.

Bonneel, Rabin, Peyré and Pfister (2015), J. Math. Imaging Vis. 51; Peyré and Cuturi (2019), remarks 2.30 and 2.31.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import MissingPackageError, RangeError, ShapeError
from ..tensors import normal
from .estimate import Estimate, mean
from .frechet import frechet_gaussian
from .pairs import rows, squared_distances


def sliced_wasserstein(
    x: Float[Tensor, "n *event"],
    y: Float[Tensor, "m *event"],
    *,
    projections: int = 256,
    generator: torch.Generator | None = None,
) -> Estimate:
    """(E_θ W₂²(θ·X, θ·Y))^½ in units of length, exact for unequal sizes, with the standard error over directions θ.

    Use it in many dimensions and for many rows: O(projections · n log n). The error is that of the random directions
    only; that of the samples shows as the distance between two fresh ones.

    Raises: ShapeError, DataError for samples that cannot be compared; RangeError for fewer than two projections.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> float(sliced_wasserstein(x, x + 3))
    3.0
    """
    x, y = rows(x, y)
    if projections < 2:
        raise RangeError(f"sliced_wasserstein(projections={projections}): at least 2 are needed for an error.")
    theta = normal(torch.empty(projections, x.shape[1], dtype=x.dtype, device=x.device), generator)
    theta = theta / theta.norm(dim=1, keepdim=True)
    i, j, weight = _quantiles(len(x), len(y), x.device)
    squared = []
    for part in theta.split(max(1, 4_000_000 // (len(x) + len(y)))):
        along_x, along_y = (x @ part.T).sort(0).values, (y @ part.T).sort(0).values
        squared.append(((along_x[i] - along_y[j]).square() * weight[:, None]).sum(0))
    estimate = mean(torch.cat(squared))
    distance = math.sqrt(estimate.value)
    return Estimate(distance, estimate.error / (2 * distance) if distance > 0 else 0.0)


def wasserstein2(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"]) -> float:
    """W₂ of two empirical distributions with equally many rows, exactly: min over π of (Σ‖x_i − y_π(i)‖²/n)^½.

    Use it for up to a few thousand rows: O(n³) time, n² memory.

    Raises: ShapeError if the sizes differ; MissingPackageError without scipy.

    >>> wasserstein2(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]]))
    2.0
    """
    x, y = rows(x, y)
    if len(x) != len(y):
        raise ShapeError(f"wasserstein2 of {len(x)} and {len(y)} rows: sizes must agree; sliced_wasserstein needs not.")
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingPackageError("wasserstein2 needs scipy: pip install 'scorefield[metrics]'.") from error
    cost = torch.cat([block for _, block in squared_distances(x, y)]).cpu().numpy()
    i, j = linear_sum_assignment(cost)
    return math.sqrt(cost[i, j].mean())


def gaussian_wasserstein2(
    mean_x: Float[Tensor, "d"], cov_x: Float[Tensor, "d d"], mean_y: Float[Tensor, "d"], cov_y: Float[Tensor, "d d"]
) -> float:
    """W₂(N(μ, A), N(ν, B)) = (‖μ − ν‖² + tr A + tr B − 2 tr (A^½ B A^½)^½)^½, in units of length.

    Peyré and Cuturi (2019), remark 2.31.

    >>> one = torch.eye(1)
    >>> round(gaussian_wasserstein2(torch.zeros(1), one, 3 * torch.ones(1), 25 * one), 6)
    5.0
    """
    return math.sqrt(frechet_gaussian(mean_x, cov_x, mean_y, cov_y))


def _quantiles(n: int, m: int, device: torch.device) -> tuple[Int[Tensor, "q"], Int[Tensor, "q"], Float[Tensor, "q"]]:
    """Which order statistics of n and of m rows meet, and with what mass: the steps of both quantile functions merged.

    In units of 1/(nm) the steps are at multiples of m and of n, so that integers decide and rounding cannot.
    """
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([torch.zeros(1, dtype=ends.dtype), ends[:-1]])
    weight = (ends - starts).double() / (n * m)
    return (starts // m).to(device), (starts // n).to(device), weight.to(device)
