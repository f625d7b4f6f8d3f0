"""Are N numbers uniform on (0, 1)? Their empirical distribution function F is watched at K places at once.

    γ = min over z of 2 min(P(B ≤ N F(z)), P(B ≥ N F(z))),   B ~ Binomial(N, z),   z = 1/K … (K − 1)/K

is the least pointwise p-value; that of the whole is P(γ of N uniform numbers ≤ γ), by simulation. It is below a where F
leaves the band whose every place has pointwise level γ_a, the a-quantile: test and picture say the same.

Säilynoja, Bürkner and Vehtari (2022), section 2, arXiv:2103.10522.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, RangeError

PLACES = 100


def uniformity(u: Float[Tensor, "n quantities"]) -> Float[Tensor, "quantities"]:
    """The p-value of each column: the probability that n uniform numbers are as uneven as it, at their worst place.

    It sees numbers that crowd anywhere: at the ends, in the middle or to one side. The simulation draws enough samples
    for the least p-value times the number of columns to reach 0.001, and is a fixed function of n and that number.

    Raises: DataError for numbers outside [0, 1] or fewer than 10 of them.

    >>> even = (torch.arange(100.0) + 0.5) / 100
    >>> [round(p, 3) for p in uniformity(torch.stack([even, even / 2, even**1.3], 1)).tolist()]
    [1.0, 0.0, 0.26]
    """
    if len(u) < 10 or not bool(((u >= 0) & (u <= 1)).all()):
        raise DataError(f"uniformity of {len(u)} numbers: at least 10 are needed, all between 0 and 1.")
    null = _null(len(u), 1000 * u.shape[1])
    found = _gamma(_counts(u.T.double()), len(u))
    at_most = torch.searchsorted(null, found * (1 + 1e-9), right=True)
    return (1 + at_most).double() / (1 + len(null))


def band(
    n: int, level: float = 0.95
) -> tuple[Float[Tensor, "places"], Float[Tensor, "places"], Float[Tensor, "places"]]:
    """(z, low, high): n uniform numbers have low ≤ F(z) ≤ high at all places z with probability ``level``, or just above.

    Raises: RangeError for a level outside (0, 1).

    >>> z, low, high = band(100)
    >>> bool((low <= z).all() and (z <= high).all())
    True
    """
    if not 0 < level < 1:
        raise RangeError(f"band(level={level:g}): a level lies between 0 and 1.")
    null = _null(n, 2000)
    gamma = null[int((1 - level) * len(null))]
    inside = _pointwise(n) >= gamma * (1 - 1e-9)
    counts = torch.arange(n + 1, dtype=torch.float64)
    low = torch.where(inside, counts, torch.inf).amin(1) / n
    high = torch.where(inside, counts, -torch.inf).amax(1) / n
    return _places(), low, high


def shares(u: Float[Tensor, "n quantities"]) -> Float[Tensor, "places quantities"]:
    """F(z), the share of numbers below each of the places of `band`.

    >>> shares(torch.tensor([[0.5], [0.7]]))[[48, 50, 98], 0].tolist()
    [0.0, 0.5, 1.0]
    """
    return _counts(u.T.double()).T.double() / len(u)


def _places() -> Float[Tensor, "places"]:
    return torch.arange(1, PLACES, dtype=torch.float64) / PLACES


def _counts(u: Float[Tensor, "*many n"]) -> Int[Tensor, "*many places"]:
    cell = (u * PLACES).long().clamp(0, PLACES - 1)
    size = torch.zeros(*u.shape[:-1], PLACES, dtype=torch.int64)
    return size.scatter_add_(-1, cell, torch.ones_like(cell)).cumsum(-1)[..., :-1]


@lru_cache(maxsize=4)
def _pointwise(n: int) -> Float[Tensor, "places counts"]:
    """2 min(P(B ≤ c), P(B ≥ c)) for every place z and count c = 0 … n."""
    c, z = torch.arange(n + 1, dtype=torch.float64), _places()[:, None]
    choose = math.lgamma(n + 1) - torch.lgamma(c + 1) - torch.lgamma(n - c + 1)
    mass = (choose + c * z.log() + (n - c) * (1 - z).log()).exp()
    return 2 * torch.minimum(mass.cumsum(1), mass.flip(1).cumsum(1).flip(1))


def _gamma(counts: Int[Tensor, "*many places"], n: int) -> Float[Tensor, "*many"]:
    return _pointwise(n)[torch.arange(PLACES - 1), counts].amin(-1)


@lru_cache(maxsize=8)
def _null(n: int, size: int) -> Float[Tensor, "size"]:
    """γ of ``size`` samples of n uniform numbers, ascending."""
    generator = torch.Generator().manual_seed(n)
    parts = [torch.rand(min(1000, size - k), n, generator=generator) for k in range(0, size, 1000)]
    return torch.cat([_gamma(_counts(part.double()), n) for part in parts]).sort().values
