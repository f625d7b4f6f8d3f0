"""Distances between samples from a kernel: MMD²(p, q) = E k(X, X') + E k(Y, Y') − 2 E k(X, Y).

With g(x) = E k(x, X') − E k(x, Y) and its twin for y, the unbiased estimate (no pair of a row with itself) has variance

    4 ζ_x/m + 4 ζ_y/n + 2 v_xx/(m(m−1)) + 2 v_yy/(n(n−1)) + 4 v_xy/(mn),    ζ_x = Var g(X),

v being the variance of the doubly centred kernel (Hoeffding's decomposition). The last three terms are all there is
when p = q. The kernel −‖x − y‖ gives the energy distance.

Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), JMLR 13; Székely and Rizzo (2013), J. Stat. Plan. Inference 143.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from .estimate import Estimate
from .pairs import rows, squared_distances

Kernel = Callable[[Tensor], Tensor]


def mmd(
    x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], *, bandwidths: Sequence[float] | None = None
) -> Estimate:
    """MMD² without bias, for the mean of Gaussian kernels exp(−‖x − y‖²/2h²), with its standard error.

    Gretton et al. (2012), eq. 3. May be negative when p = q. The floor of a comparison is the mmd of two fresh samples.
    ``bandwidths`` are lengths h; by default one, the median distance between rows of the two samples together.

    Raises: ShapeError, DataError for samples that cannot be compared; RangeError for a bandwidth that is not positive.

    >>> x = torch.zeros(2, 1)
    >>> round(float(mmd(x, x + 1, bandwidths=[1.0])), 6) == round(2 - 2 * math.exp(-0.5), 6)
    True
    """
    x, y = rows(x, y, least=2)
    return _discrepancy(x, y, _gaussian(_bandwidths(x, y, bandwidths)))


def mmd_biased(
    x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], *, bandwidths: Sequence[float] | None = None
) -> Estimate:
    """MMD² of the two empirical distributions, pairs of a row with itself included: never negative.

    Gretton et al. (2012), eq. 5. Exceeds the unbiased `mmd` by about (1 − E k)(1/n + 1/m); compare at equal sizes only.

    Raises: as `mmd`.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> abs(float(mmd_biased(x, x))) < 1e-12
    True
    """
    x, y = rows(x, y, least=2)
    kernel = _gaussian(_bandwidths(x, y, bandwidths))
    unbiased = _discrepancy(x, y, kernel)
    excess = sum((1 - _pairs(z, z, kernel).mean) / len(z) for z in (x, y))
    return Estimate(unbiased.value + excess, unbiased.error)


def energy_distance(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"]) -> Estimate:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ without bias, in units of length, with its standard error.

    Use it when no bandwidth suggests itself: it has none. Székely and Rizzo (2013).

    Raises: ShapeError, DataError for samples that cannot be compared.

    >>> float(energy_distance(torch.zeros(2, 1), torch.ones(2, 1)))
    2.0
    """
    x, y = rows(x, y, least=2)
    return _discrepancy(x, y, lambda squared: -squared.sqrt())


def median_distance(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"]) -> float:
    """The median of ‖z_i − z_j‖ over pairs of the two samples together (of their first 1,000 rows each).

    >>> median_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0]]))
    1.0
    """
    z = torch.cat([part[:1000] for part in rows(x, y)])
    squared = torch.cat([block for _, block in squared_distances(z, z)])
    above = torch.ones_like(squared, dtype=torch.bool).triu(1)
    return float(squared[above].sqrt().median())


def _bandwidths(x: Tensor, y: Tensor, given: Sequence[float] | None) -> Sequence[float]:
    widths = [median_distance(x, y)] if given is None else given
    if not widths or min(widths) <= 0:
        raise RangeError(
            f"mmd(bandwidths={list(widths)}): every bandwidth must be positive; give some if rows coincide."
        )
    return widths


def _gaussian(bandwidths: Sequence[float]) -> Kernel:
    return lambda squared: torch.stack([(squared * (-0.5 / h**2)).exp() for h in bandwidths]).mean(0)


class _Pairs:
    """Kernel means by row, by column and overall, and the variance of the kernel centred both ways."""

    def __init__(self, rows: Tensor, columns: Tensor, squares: float, per_row: int):
        self.rows, self.columns = rows / per_row, columns / (len(rows) * per_row / len(columns))
        self.mean = float(self.rows.mean())
        mean_square = squares / (len(rows) * per_row)
        spread = float(self.rows.square().mean() + self.columns.square().mean())
        self.centred = max(0.0, mean_square - spread + self.mean**2)


def _pairs(x: Tensor, y: Tensor, kernel: Kernel) -> _Pairs:
    """The statistics of k(x_i, y_j); of the pairs i ≠ j alone when y is x itself."""
    same = x is y
    by_row, by_column, squares = [], torch.zeros(len(y), dtype=x.dtype, device=x.device), 0.0
    for part, squared in squared_distances(x, y):
        block = kernel(squared)
        if same:
            block[torch.arange(len(block)), torch.arange(part.start, part.stop)] = 0
        by_row.append(block.sum(1))
        by_column += block.sum(0)
        squares += float(block.square().sum())
    return _Pairs(torch.cat(by_row), by_column, squares, len(y) - same)


def _discrepancy(x: Tensor, y: Tensor, kernel: Kernel) -> Estimate:
    m, n = len(x), len(y)
    xx, yy, xy = _pairs(x, x, kernel), _pairs(y, y, kernel), _pairs(x, y, kernel)
    value = xx.mean + yy.mean - 2 * xy.mean
    zeta_x = float((xx.rows - xy.rows).var()) - xx.centred / (m - 1) - xy.centred / n
    zeta_y = float((yy.rows - xy.columns).var()) - yy.centred / (n - 1) - xy.centred / m
    variance = max(0.0, 4 * zeta_x / m + 4 * zeta_y / n)
    variance += 2 * xx.centred / (m * (m - 1)) + 2 * yy.centred / (n * (n - 1)) + 4 * xy.centred / (m * n)
    return Estimate(value, math.sqrt(variance))
