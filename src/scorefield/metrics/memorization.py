"""Are samples copies of the training rows?

Ratio: the distance of a sample to its nearest training row over the mean distance to its k nearest,

    r(x) = ‖x − x₍₁₎‖ / (k⁻¹ Σ_j ‖x − x₍j₎‖),

small for a copy whatever the scale. Carlini et al. (2023), arXiv:2301.13188, section 5. Held-out rows, which nobody
copied, say how often r is small by chance.

Rank: samples nearer to the training rows than held-out rows are give U < nm/2 in the Mann–Whitney test of the two sets
of nearest distances. Meehan, Chaudhuri and Dasgupta (2020), arXiv:2004.05675, section 3.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import RangeError
from .pairs import nearest, rows


@dataclass(frozen=True, eq=False)
class Copies:
    """The fraction of samples with r(x) < threshold, the same fraction of held-out rows, and the evidence row by row.

    ``nearest`` is the index of the training row closest to each sample, ``ratios`` the r(x) of each sample, and ``z``
    the rank statistic of `copying_z`: below −3, the samples lie closer to the training rows than new data do.
    """

    fraction: float
    baseline: float
    threshold: float
    z: float
    nearest: Int[Tensor, "n"]
    ratios: Float[Tensor, "n"]

    def __str__(self) -> str:
        return f"{self.fraction:.1%} copies (held-out rows {self.baseline:.1%}, z = {self.z:+.1f})"


def copies(
    samples: Float[Tensor, "n *event"],
    train: Float[Tensor, "m *event"],
    held_out: Float[Tensor, "l *event"],
    *,
    threshold: float = 0.5,
    neighbours: int = 50,
) -> Copies:
    """The fraction of samples with ‖x − x₍₁₎‖ < threshold × the mean distance to the k nearest training rows.

    Use it in the space where closeness means likeness: pixels for small images, features otherwise. Carlini et al.
    (2023), section 5, with threshold ½ and k = 50 as there.

    Raises: ShapeError, DataError for samples that cannot be compared; RangeError unless 0 < threshold ≤ 1 and
    2 ≤ neighbours ≤ m.

    >>> train = torch.arange(10.0)[:, None]
    >>> found = copies(train[:4] + 0.01, train, train[:4] + 0.5, neighbours=3)
    >>> found.fraction, found.baseline, found.nearest.tolist()
    (1.0, 0.0, [0, 1, 2, 3])
    """
    samples, train, held_out = rows(samples, train, held_out)
    if not 0 < threshold <= 1:
        raise RangeError(f"copies(threshold={threshold}): must be above 0 and at most 1.")
    if neighbours < 2:
        raise RangeError(f"copies(neighbours={neighbours}): at least 2 are needed, else every ratio is 1.")
    distance, index = nearest(samples, train, neighbours)
    reference, _ = nearest(held_out, train, neighbours)
    ratios, baseline = _ratios(distance), _ratios(reference)
    return Copies(
        fraction=float((ratios < threshold).double().mean()),
        baseline=float((baseline < threshold).double().mean()),
        threshold=threshold,
        z=_mann_whitney(distance[:, 0], reference[:, 0]),
        nearest=index[:, 0],
        ratios=ratios,
    )


def copying_z(
    samples: Float[Tensor, "n *event"], train: Float[Tensor, "m *event"], held_out: Float[Tensor, "l *event"]
) -> float:
    """(U − nl/2)/√(nl(n + l + 1)/12), U = the pairs where a sample is farther from the training rows than held-out.

    About N(0, 1) if samples are as far from the training rows as new data are; below −3 they are copied in part, above
    3 the model underfits. Meehan et al. (2020), section 3.1, with one cell.

    Raises: ShapeError, DataError for samples that cannot be compared.

    >>> train = torch.arange(10.0)[:, None]
    >>> copying_z(train + 0.01, train, train + 0.5) < -3
    True
    """
    samples, train, held_out = rows(samples, train, held_out)
    return _mann_whitney(nearest(samples, train)[0][:, 0], nearest(held_out, train)[0][:, 0])


def _ratios(distance: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """Distance to the nearest over the mean of all, and 0 for a row that coincides with all its neighbours."""
    return distance[:, 0] / distance.mean(1).clamp(min=torch.finfo(distance.dtype).tiny)


def _mann_whitney(a: Float[Tensor, "n"], b: Float[Tensor, "m"]) -> float:
    """The standardised number of pairs a_i > b_j, ties counting half."""
    a, b = a.contiguous(), b.sort().values
    below = torch.searchsorted(b, a, right=False) + torch.searchsorted(b, a, right=True)
    u, pairs = float(below.double().sum()) / 2, len(a) * len(b)
    return (u - pairs / 2) / math.sqrt(pairs * (len(a) + len(b) + 1) / 12)
