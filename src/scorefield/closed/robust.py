"""Windham's robustification: rows that the model finds unlikely count less, and the estimate knows it.

With weights ρ_i ∝ p(x_i; θ)ᶜ the data look as if drawn from p(x; (1 + c) θ), which is in the family: θ̂ solves

    Σ_i r_i ρ_i (H_i (1 + c) θ − b_i) = 0,    V = A⁻¹ M A⁻ᵀ / n,    A = mean of r ρ ((1 + c) H + c u Tᵀ)

u and T grow as powers of x and ρ falls faster, so that one row moves θ̂ by at most a constant over n, and by nothing from far away.
Windham (1995), J. R. Stat. Soc. B 57(3); with score matching Scealy, Hingee, Kent & Wood (2024), arXiv:2305.07349.
"""

import operator
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..domains import Domain, Weight
from ..errors import DivergedError, RangeError
from .checks import data, labelled, masses
from .family import Family, LogDensity
from .fitted import Fitted
from .matching import fit, sandwich
from .moments import gather


def windham(
    model: Family | LogDensity,
    x: Shaped[Tensor, "..."],
    tuning: float = 0.1,
    *,
    domain: Domain | None = None,
    weight: Weight | None = None,
    weights: Shaped[Tensor, "..."] | None = None,
    clusters: Shaped[Tensor, "..."] | None = None,
    fixed: Mapping[str, float] | None = None,
    steps: int = 200,
) -> Fitted:
    """θ̂ that solves Σ p(x_i; θ)ᶜ u_i((1 + c) θ) = 0, with the sandwich covariance of that equation.

    ``tuning`` is c > 0: about 0.1 loses little efficiency and bounds the influence of outliers; 0 is `fit`. The result is that
    of `fit`, and its ``weights``, of mean 1, show which rows were set aside. Raises: RangeError for c ≤ 0, for a model that is not
    affine in its parameters or has a carrier; DivergedError if the weights do not settle; and as `fit`.

    >>> from scorefield.closed import Normal
    >>> x = torch.cat([torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), torch.full((25, 1), 9.0) + torch.rand(25, 1)])
    >>> fitted = windham(Normal(1), x, 0.5)
    >>> abs(fitted["eta[1]"]) < 0.2, bool(fitted.weights[500:].max() < 0.01)
    (True, True)
    """
    if not tuning > 0:
        raise RangeError(f"windham(tuning={tuning:g}): must be positive; 0.1 is mild, and `fit` is the limit at 0.")
    points = data(x)
    mass = masses(weights, points)
    labelled(clusters, points)
    plain = fit(model, points, domain=domain, weight=weight, weights=weights, fixed=fixed)
    case, names, free, theta = plain.problem, plain.names, plain.free, plain.theta
    if not isinstance(case.model, Family) or bool(case.model.base(points).any()):
        raise RangeError(
            "windham: a model with a carrier c(x), or not affine in its parameters, is not closed under powers; make c a "
            "statistic, or fit it."
        )
    statistics = case.model.statistics(points)
    held = torch.where(free, 0.0, (1 + tuning) * theta)
    for _ in range(steps):
        share = torch.softmax(tuning * statistics @ theta + mass.log(), 0) * len(points)
        total = reduce(operator.add, (gather(rows, part) for rows, (part,) in case.chunks(points, share)))  # type: ignore[arg-type]
        then = total.solve(free, held, names) / (1 + tuning)
        move, theta = float(((then - theta).abs() / (1 + theta.abs())).max()), then
        if move < 1e-10:
            break
    else:
        raise DivergedError(
            f"windham: the weights did not settle in {steps} steps (last move {move:.1g}); try a smaller tuning."
        )
    level = torch.logsumexp(tuning * statistics @ theta + mass.log(), 0) - torch.tensor(float(len(points))).log()
    case = replace(case, tuning=tuning, level=float(level))
    parts = list(case.chunks(points, mass))
    pulls = torch.cat([rows.gradients(theta)[:, free] * part[:, None] for rows, (part,) in parts])
    slopes = (torch.einsum("b,bpq->pq", part, rows.hessians(theta)[:, free][:, :, free]) for rows, (part,) in parts)
    bread = sum(slopes, torch.zeros_like(plain.bread)) / len(points)
    scale = plain.bread.diagonal().sqrt()
    if not float(torch.linalg.svdvals(bread / scale / scale[:, None])[-1]) > 1e-12:
        raise DivergedError(f"windham(tuning={tuning:g}): the equation is flat at its root; try a smaller tuning.")
    covariance = torch.zeros_like(plain.covariance)
    covariance[free[:, None] & free] = sandwich(bread, pulls, clusters).flatten()
    return Fitted(case, names, theta, covariance, free, bread, pulls, points, mass, clusters)
