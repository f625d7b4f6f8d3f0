"""Windham's robustification: rows that the model finds unlikely count less, and the estimate knows it.

With weights r_i ∝ p(x_i; θ)ᶜ the data look as if drawn from p(x; (1 + c) θ), which is in the family: θ̂ solves

    Σ_i e^{c θ·T(x_i)} (H_i (1 + c) θ − b_i) = 0,    V = A⁻¹ M A⁻ᵀ / n,    A = mean of r ((1 + c) H + c u Tᵀ)

Windham (1995), J. R. Stat. Soc. B 57(3); with score matching Scealy, Hingee, Kent & Wood (2024), arXiv:2305.07349.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..domains import Domain, Weight
from ..errors import DivergedError, RangeError
from .checks import data, held, names_of, solvable
from .family import Family, Numbers
from .inference import Estimates
from .matching import fit
from .rows import problem


def windham(
    family: Family,
    x: Shaped[Tensor, "..."],
    tuning: float = 0.1,
    *,
    domain: Domain | None = None,
    weight: Weight | None = None,
    fixed: Mapping[str, float] | None = None,
    steps: int = 200,
) -> tuple[Estimates, Numbers]:
    """(θ̂, weights of the rows) that solve Σ p(x_i; θ)ᶜ u_i((1 + c) θ) = 0, with the sandwich covariance of that equation.

    ``tuning`` is c > 0: about 0.1 loses little efficiency and bounds the influence of outliers; 0 is `fit`. Read the weights,
    of mean 1, to see which rows were set aside. Raises: RangeError for c ≤ 0 or a family with a carrier, DivergedError if the
    weights do not settle, and as `fit`.

    >>> from scorefield.closed import Normal
    >>> x = torch.cat([torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), torch.full((25, 1), 9.0) + torch.rand(25, 1)])
    >>> estimates, weights = windham(Normal(1), x, 0.5)
    >>> abs(estimates["eta[1]"]) < 0.2, bool(weights[500:].max() < 0.01)
    (True, True)
    """
    if not tuning > 0:
        raise RangeError(f"windham(tuning={tuning:g}): must be positive; 0.1 is mild, and `fit` is the limit at 0.")
    points = data(x)
    case = problem(family, points, domain, weight)
    case.domain.check(points)
    statistics = family.statistics(points)
    if bool(family.base(points).any()):
        raise RangeError(
            "windham: a family with a carrier c(x) is not closed under powers; make it a statistic, or fit it."
        )
    names = names_of(family.names, statistics.shape[1])
    free, values = held(fixed, names, points)
    tilted = {name: (1 + tuning) * float(value) for name, value in zip(names, values) if not free[names.index(name)]}
    theta = fit(family, points, domain=domain, weight=weight, fixed=fixed).theta
    for _ in range(steps):
        mass = torch.softmax(tuning * statistics @ theta, 0) * len(points)
        then = fit(family, points, domain=domain, weight=weight, weights=mass, fixed=tilted).theta / (1 + tuning)
        move, theta = float(((then - theta).abs() / (1 + theta.abs())).max()), then
        if move < 1e-10:
            break
    else:
        raise DivergedError(
            f"windham: the weights did not settle in {steps} steps (last move {move:.1g}); try a smaller tuning."
        )
    return Estimates(names, theta, _covariance(case, points, theta, free, mass, tuning, names)), mass


def _covariance(
    case, x: Tensor, theta: Tensor, free: Tensor, mass: Tensor, tuning: float, names
) -> Float[Tensor, "p p"]:
    n, size = len(x), int(free.sum())
    slope, meat = theta.new_zeros(size, size), theta.new_zeros(size, size)
    for rows, (part,) in case.chunks(x, mass):
        pulls = rows.gradients((1 + tuning) * theta)[:, free] * part[:, None]
        curve = torch.einsum("b,bpq->pq", part, rows.hessians(theta)[:, free][:, :, free])
        slope = slope + (1 + tuning) * curve + tuning * pulls.T @ rows.statistics(theta)[:, free]
        meat = meat + pulls.T @ pulls
    solvable(slope @ slope.T / n**2, [name for name, loose in zip(names, free.tolist()) if loose])
    inverse = torch.linalg.inv(slope)
    full = theta.new_zeros(len(theta), len(theta))
    full[free[:, None] & free] = (inverse @ meat @ inverse.T * (n / (n - 1))).flatten()
    return full
