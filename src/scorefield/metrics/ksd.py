"""The kernel Stein discrepancy: how far a sample is from a score, without a normalising constant or a second sample.

    h(x, y) = s(x)·s(y) k + s(x)·∇_y k + s(y)·∇_x k + tr ∇_x∇_yᵀ k,      E_p h(X, y) = 0 for every y if s = ∇ log p

KSD² = E_q h(X, X′) is zero only if q = p (for kernels such as `IMQ`). The U-statistic leaves out pairs of a row with itself and is
unbiased; the V-statistic is never negative. Under the null both are degenerate, and their law is that of Σ_ij W_i W_j h_ij/n² with
signs W (the wild bootstrap): all of the draws are one matrix product.

Liu, Lee and Jordan (2016), arXiv:1602.03253; Chwialkowski, Strathmann and Gretton (2016),
arXiv:1602.02964; Schrab, Guedj and Gretton (2022), algorithm 1, arXiv:2202.00824.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..closed.kernels import IMQ, Kernel, blocks, median_width, squared_distances
from ..errors import DataError, RangeError, ShapeError
from ..models import Score
from ..tensors import Draws, uniform
from .estimate import Estimate
from .pairs import continuous

Points = Float[Tensor, "n d"]
Matrix = Float[Tensor, "n n"]


def stein_kernel(
    kernel: Kernel, x: Points, s: Points, y: Float[Tensor, "m d"], sy: Float[Tensor, "m d"]
) -> Float[Tensor, "n m"]:
    """The matrix h(x_i, y_j) from scores s at x and sy at y, by four matrix products.

    >>> x = torch.tensor([[0.5]])
    >>> stein_kernel(IMQ(1.0), x, -x, x, -x).item()
    1.25
    """
    squared = squared_distances(x, y)
    k, k1, k2 = kernel.derivatives(squared, 2)
    pulls = torch.addmm(-(sy * y).sum(1), x, sy.T).addmm_(s, y.T)
    pulls -= (s * x).sum(1, keepdim=True) + x.shape[1]  # (x − y)·s(y) − (x − y)·s(x) − d
    return (s @ sy.T).mul_(k).addcmul_(k1, pulls, value=2).addcmul_(k2, squared, value=-4)


def ksd(score: Score, x: Shaped[Tensor, "n *event"], *, kernel: Kernel | None = None) -> Estimate:
    """KSD² without bias, with its standard error; may be negative when the sample is from the score's law.

    Liu et al. (2016). The kernel is `IMQ` at the median distance unless given. The error is that of a U-statistic to first and
    second order, so that it does not vanish under the null. Memory does not grow as n².

    Raises: ShapeError, DataError for a score or a sample that does not fit; fewer than 2 rows.

    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> abs(ksd(lambda x: -x, x).value) < 4 * ksd(lambda x: -x, x).error
    True
    """
    return _statistics(score, x, kernel)[0]


def ksd_biased(score: Score, x: Shaped[Tensor, "n *event"], *, kernel: Kernel | None = None) -> Estimate:
    """KSD² of the empirical distribution, pairs of a row with itself included: never negative, and what `thin` makes least.

    >>> ksd_biased(lambda x: -x, torch.tensor([[0.0], [1.0]]), kernel=IMQ(1.0)).value > 0
    True
    """
    return _statistics(score, x, kernel)[1]


@dataclass(frozen=True)
class SteinTest:
    """n·KSD² (of the U-statistic), its p-value under the null, and for several kernels which of them reject.

    >>> print(SteinTest(statistic=3.2, p_value=0.004, rejected=True, level=0.05, kernels=(IMQ(),), p_values=(0.004,)))
    n·KSD² = 3.2 (p = 0.004): rejected at 5 %
    """

    statistic: float
    p_value: float
    rejected: bool
    level: float
    kernels: tuple[Kernel, ...]
    p_values: tuple[float, ...]

    def __str__(self) -> str:
        verdict = "rejected" if self.rejected else "not rejected"
        return f"n·KSD² = {self.statistic:.3g} (p = {self.p_value:.2g}): {verdict} at {100 * self.level:g} %"


def ksd_test(
    score: Score,
    x: Shaped[Tensor, "n *event"],
    *,
    kernel: Kernel | None = None,
    bootstraps: int = 500,
    level: float = 0.05,
    flip: float = 0.5,
    generator: Draws | None = None,
) -> SteinTest:
    """Are the rows of x drawn from the score's law? The wild bootstrap of n·KSD², as one matrix product.

    Chwialkowski et al. (2016). The p-value is the rank of the statistic among those with random signs, itself counted. For
    rows of a Markov chain in order, ``flip`` is the probability that the sign changes from one row to the next: ½ for independent
    rows, about 1/τ for an autocorrelation time τ.

    Raises: RangeError for bootstraps < 1 or level or flip outside (0, 1); ShapeError and DataError as `ksd`.

    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> ksd_test(lambda x: -x, x).rejected, ksd_test(lambda x: 1 - x, x).rejected
    (False, True)
    """
    _check(bootstraps, level, flip)
    x, s = scored(score, x)
    kernel = kernel if kernel is not None else IMQ(median_width(x))
    h = null_matrix(kernel, x, s)
    statistic = float(h.sum()) / len(x)
    drawn = wild(h, signs(len(x), bootstraps, flip, generator))
    p_value = (1 + int((drawn >= statistic).sum())) / (1 + bootstraps)
    return SteinTest(statistic, p_value, p_value <= level, level, (kernel,), (p_value,))


def aggregated_test(
    score: Score,
    x: Shaped[Tensor, "n *event"],
    *,
    kernels: Sequence[Kernel] | None = None,
    bootstraps: int = 500,
    level: float = 0.05,
    flip: float = 0.5,
    generator: Draws | None = None,
) -> SteinTest:
    """The test at several widths at once, at one level: no width to choose, no rows set aside to choose it.

    KSDAgg, Schrab et al. (2022), algorithm 1: rejected if some kernel's p-value is at most u, the largest number for which that has
    probability ``level`` under the null, found from as many more bootstraps. Kernels are `IMQ` at ⅛ … 4 median distances
    unless given. ``p_value`` is that of the least of ``p_values``. Errors as `ksd_test`; RangeError for no kernels.

    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> aggregated_test(lambda x: -x, x).rejected, aggregated_test(lambda x: 1 - x, x).rejected
    (False, True)
    """
    _check(bootstraps, level, flip)
    x, s = scored(score, x)
    if kernels is None:
        unit = median_width(x)
        kernels = [IMQ(unit * 2.0**power) for power in range(-3, 3)]
    if not kernels:
        raise RangeError("aggregated_test(kernels=[]): at least one kernel is needed.")
    w = signs(len(x), 2 * bootstraps, flip, generator)
    matrices = (null_matrix(kernel, x, s) for kernel in kernels)
    found = [(float(h.sum()) / len(x), wild(h, w)) for h in matrices]
    statistics = torch.tensor([value for value, _ in found], dtype=torch.float64)
    drawn = torch.stack([draws.cpu() for _, draws in found]).double()
    reference, second = drawn[:, :bootstraps], drawn[:, bootstraps:]
    p_values = _ranks(reference, statistics[:, None])[:, 0]
    least_null = _ranks(reference, second).amin(0)  # the least p-value of each of the second draws
    p_value = (1 + int((least_null <= p_values.min()).sum())) / (1 + bootstraps)
    first = int(p_values.argmin())
    return SteinTest(
        float(statistics[first]), p_value, p_value <= level, level, tuple(kernels), tuple(p_values.tolist())
    )


def composite_test(
    fit: Callable[[Tensor], Score],
    draw: Callable[[Score, int, torch.Generator], Tensor],
    x: Shaped[Tensor, "n *event"],
    *,
    kernel: Kernel | None = None,
    bootstraps: int = 200,
    level: float = 0.05,
    refit: bool = True,
    generator: torch.Generator | None = None,
) -> SteinTest:
    """Is x from *some* member of a family? The statistic of the fitted score against those of samples drawn from it, each fitted anew.

    ``fit(x)`` returns a score and ``draw(score, n, generator)`` a sample of its law. Since fitting uses the data twice, the wild
    bootstrap would hardly ever reject; ``refit=False`` keeps the fitted score for all samples, which is as conservative, but fast.
    Key, Gretton, Briol and Fernandez (2021), arXiv:2111.10275. Errors as `ksd_test`.

    >>> x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    >>> fit = lambda x: Shift(x.mean(0))
    >>> class Shift:
    ...     def __init__(self, mean): self.mean = mean
    ...     def __call__(self, x): return self.mean - x
    >>> draw = lambda score, n, generator: score.mean + torch.randn(n, 1, generator=generator)
    >>> composite_test(fit, draw, x, bootstraps=50).rejected
    False
    """
    _check(bootstraps, level, 0.5)
    continuous(x)
    fitted = fit(x)
    y, s = scored(fitted, x)
    kernel = kernel if kernel is not None else IMQ(median_width(y))
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    statistic = float(null_matrix(kernel, y, s).sum()) / len(y)
    above = 0
    for _ in range(bootstraps):
        sample = draw(fitted, len(x), generator)
        z, s = scored(fit(sample) if refit else fitted, sample)
        above += float(null_matrix(kernel, z, s).sum()) / len(z) >= statistic
    p_value = (1 + above) / (1 + bootstraps)
    return SteinTest(statistic, p_value, p_value <= level, level, (kernel,), (p_value,))


def scored(score: Score, x: Tensor) -> tuple[Points, Points]:
    """(x, s(x)) as float64 matrices, checked. Raises: ShapeError, DataError as `ksd`.

    >>> scored(lambda x: -x, torch.ones(2, 1))[1].flatten().tolist()
    [-1.0, -1.0]
    """
    flat = continuous(x)
    s = torch.cat([score(part).detach() for part in x.split(4096)])
    if s.shape != x.shape:
        raise ShapeError(f"score of shape {tuple(s.shape)} at x of shape {tuple(x.shape)}: must be alike.")
    bad = (~s.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise DataError(
            f"score: not finite at row {', '.join(map(str, bad[:5]))} of x: no discrepancy can be had there."
        )
    return flat, s.double().flatten(1)


def null_matrix(kernel: Kernel, x: Points, s: Points) -> Matrix:
    """h(x_i, x_j) with a diagonal of zeros, in float64.

    >>> null_matrix(IMQ(1.0), torch.zeros(2, 1), torch.ones(2, 1)).diagonal().tolist()
    [0.0, 0.0]
    """
    return stein_kernel(kernel, x, s, x, s).fill_diagonal_(0)


def signs(n: int, count: int, flip: float = 0.5, generator: Draws | None = None) -> Float[Tensor, "count n"]:
    """Rows of ±1 that change sign from one place to the next with probability ``flip``: independent at ½.

    >>> signs(4, 3, generator=torch.Generator().manual_seed(0)).abs().sum().item()
    12.0
    """
    changed = uniform(torch.empty(count, n), generator) < flip
    changed[:, 0] = uniform(torch.empty(count), generator) < 0.5
    return 1 - 2 * (changed.cumsum(1) % 2).float() if flip != 0.5 else 1 - 2 * changed.float()


def wild(h: Matrix, w: Float[Tensor, "count n"]) -> Float[Tensor, "count"]:
    """Σ_ij w_i w_j h_ij/n for every row w of signs: one product of count × n × n, in single precision.

    >>> wild(torch.ones(2, 2) - torch.eye(2), torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist()
    [1.0, -1.0]
    """
    w = w.to(h.device)
    scale = float(torch.linalg.vector_norm(h, math.inf)) or 1.0
    return ((w @ (h / scale).float()) * w).sum(1).double() * (scale / len(h))


def _statistics(score: Score, x: Tensor, kernel: Kernel | None) -> tuple[Estimate, Estimate]:
    x, s = scored(score, x)
    kernel = kernel if kernel is not None else IMQ(median_width(x))
    n = len(x)
    by_row, squares, diagonal = [], 0.0, []
    for part in blocks(n, n):
        h = stein_kernel(kernel, x[part], s[part], x, s)
        own = h.diagonal(part.start).clone()
        h.diagonal(part.start).zero_()
        diagonal.append(own)
        by_row.append(h.sum(1))
        squares += float(h.square().sum())
    means = torch.cat(by_row) / (n - 1)
    value = float(means.mean())
    second = squares / (n * (n - 1))
    first = max(0.0, float(means.var()) - (second - value**2) / (n - 1))
    variance = 4 * first / n + 2 * max(0.0, second - value**2 - 2 * first) / (n * (n - 1))
    biased = value * (n - 1) / n + float(torch.cat(diagonal).sum()) / n**2
    error = math.sqrt(variance)
    return Estimate(value, error), Estimate(biased, error * (n - 1) / n)


def _ranks(reference: Float[Tensor, "kernels b"], values: Float[Tensor, "kernels c"]) -> Float[Tensor, "kernels c"]:
    """(1 + how many of the reference are as large)/(1 + b), per kernel."""
    ordered = reference.sort(1).values.contiguous()
    below = torch.searchsorted(ordered, values.contiguous())
    return (1 + reference.shape[1] - below) / (1 + reference.shape[1])


def _check(bootstraps: int, level: float, flip: float) -> None:
    if bootstraps < 1 or not 0 < level < 1 or not 0 < flip < 1:
        raise RangeError(
            f"ksd_test(bootstraps={bootstraps}, level={level:g}, flip={flip:g}): wanted at least 1, and numbers in (0, 1)."
        )
