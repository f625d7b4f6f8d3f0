"""Score matching without gradient descent: θ̂ = argmin Σ r_i ℓ(θ; x_i), and the sandwich that tells its error.

    V = B⁻¹ M B⁻¹,   B = Σ r_i H_i / Σ r_i,   M = n/(n − 1) · Σ r_i² u_i u_iᵀ / (Σ r_i)²,   u_i = ∂ℓ/∂θ at θ̂

With clusters, u is summed within each, and n counts clusters. Godambe (1960), Ann. Math. Statist. 31(4); Liang & Zeger (1986),
Biometrika 73(1); for score matching Forbes & Lauritzen (2015), arXiv:1311.0662. Families need one solve; other log-densities
Newton's method, with the eigenvalues of the Hessian made positive and steps halved until the objective falls.
"""

import math
import operator
from collections.abc import Mapping
from functools import reduce

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..domains import Domain, Weight
from ..errors import DataError, DivergedError
from .checks import data, held, labelled, masses, names_of, solvable
from .family import Family, LogDensity, Numbers, Parameters, Points
from .fitted import Fitted
from .moments import gather
from .rows import Problem, Rows, problem

Part = tuple[Rows, tuple[Tensor, ...]]


def fit(
    model: Family | LogDensity,
    x: Shaped[Tensor, "..."],
    *,
    domain: Domain | None = None,
    weight: Weight | None = None,
    weights: Shaped[Tensor, "..."] | None = None,
    clusters: Shaped[Tensor, "..."] | None = None,
    fixed: Mapping[str, float] | None = None,
    tolerance: float = 1e-10,
    steps: int = 100,
) -> Fitted:
    """θ̂ = argmin Σ r_i ℓ(θ; x_i), in closed form where the model is affine in θ, with its sandwich covariance.

    ``domain`` is where the data can be, unless the model knows; ``weight`` vanishes at its boundary (`rows.problem` says which one is
    chosen for you). ``weights`` are r_i, the importance of each row; ``clusters`` labels rows that depend on each other; ``fixed``
    gives parameters their values. The result is a score: ``fitted(x)`` is ∇ log p(x).

    Raises: ShapeError, RangeError and DataError for bad input, by row or column; DataError for fewer rows than parameters or a
    combination that is not identified; UnknownNameError for a parameter of no such name; DivergedError if Newton's
    method does not arrive.

    >>> from scorefield.closed import Normal
    >>> x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    >>> fitted = fit(Normal(1), x)
    >>> torch.allclose(1 / fitted.theta[1], x.double().var(unbiased=False))
    True
    """
    points = data(x)
    case = problem(model, points, domain, weight).affine(points)
    case.domain.check(points)
    mass = masses(weights, points)
    labelled(clusters, points)
    names = names_of(case.model.names, case.size(points))
    free, values = held(fixed, names, points)
    size = int(free.sum())
    if len(points) <= size:
        raise DataError(
            f"fit of {size} parameters to {len(points)} rows: more rows than parameters are needed for standard errors; "
            "fix some, or take a smaller model."
        )
    return fit_checked(case, points, mass, clusters, names, free, values, tolerance, steps)


def fit_checked(
    case: Problem,
    points: Points,
    mass: Numbers,
    clusters: Shaped[Tensor, "..."] | None,
    names: tuple[str, ...],
    free: Shaped[Tensor, "p"],
    values: Parameters,
    tolerance: float = 1e-10,
    steps: int = 100,
) -> Fitted:
    """`fit` for what was checked, where n may be less than p: each error then stands for itself, and joint tests do not.

    Raises: as `fit`, for a combination that is not identified, and for Newton's method.
    """
    whole: list[Part] | None = list(case.chunks(points, mass)) if points.numel() * len(names) <= 2**22 else None

    def parts():
        return case.chunks(points, mass) if whole is None else whole

    if isinstance(case.model, Family):
        total = reduce(operator.add, (gather(rows, part) for rows, (part,) in parts()))
        theta = total.solve(free, values, names)
        bread = (total.quadratic / total.mass)[free][:, free]
    else:
        start = torch.where(free, case.model.start.to(points), values)
        theta, bread = _newton(parts, start, free, names, tolerance, steps)
    pulls = torch.cat([rows.gradients(theta)[:, free] * part[:, None] for rows, (part,) in parts()])
    covariance = torch.zeros_like(bread.new_empty(len(names), len(names)))
    covariance[free[:, None] & free] = sandwich(bread, pulls, clusters).flatten()
    return Fitted(case, names, theta, covariance, free, bread, pulls, points, mass, clusters)


def sandwich(bread: Float[Tensor, "p p"], pulls: Float[Tensor, "n p"], clusters: Tensor | None) -> Tensor:
    """V over free parameters, from the derivative B of the mean pull. Raises: DataError for a single cluster.

    >>> sandwich(torch.eye(1), torch.tensor([[1.0], [-1.0]]), None)
    tensor([[1.]])
    """
    n = len(pulls)
    if clusters is not None:
        kinds, which = clusters.unique(return_inverse=True)
        pulls = pulls.new_zeros(len(kinds), pulls.shape[1]).index_add(0, which, pulls)
        if len(kinds) < 2:
            raise DataError("clusters: all rows are in one; at least 2 are needed for standard errors.")
    spread = torch.linalg.solve(bread, pulls.T) / n
    return spread @ spread.T * (len(pulls) / (len(pulls) - 1))


def _newton(parts, theta: Parameters, free: Tensor, names, tolerance: float, steps: int) -> tuple[Parameters, Tensor]:
    def loss(at: Parameters) -> float:
        return sum(float(mass @ rows.losses(at)) for rows, (mass,) in parts()) / count

    count = sum(len(mass) for _, (mass,) in parts())
    now = loss(theta)
    for _ in range(steps):
        gradient, hessian = theta.new_zeros(len(theta)), theta.new_zeros(len(theta), len(theta))
        for rows, (mass,) in parts():
            slope, curve = rows.totals(theta, mass)
            gradient, hessian = gradient + slope / count, hessian + curve / count
        gradient, hessian = gradient[free], hessian[free][:, free]
        if not (math.isfinite(now) and bool(gradient.isfinite().all()) and bool(hessian.isfinite().all())):
            raise DivergedError(
                f"fit: the objective is not finite at theta = {_told(theta)}; start nearer to the data."
            )
        curves, vectors = torch.linalg.eigh(hessian)
        floor = 1e-8 * float(curves.abs().max()) + 1e-300
        move = -vectors @ ((vectors.T @ gradient) / curves.abs().clamp(min=floor))
        fall = -float(gradient @ move)
        still = float(move.abs().max()) <= 1e-5 * (1 + float(theta.abs().max()))
        if still and fall <= tolerance**2 * (1 + abs(now)):
            solvable(hessian, [name for name, loose in zip(names, free.tolist()) if loose])
            if float(curves[0]) <= 0:
                raise DivergedError(f"fit: theta = {_told(theta)} is a saddle of the objective; start elsewhere.")
            return theta, hessian
        for halving in range(40):
            there = theta.clone()
            there[free] = theta[free] + move * 0.5**halving
            then = loss(there)
            if then <= now - 1e-4 * 0.5**halving * fall + 1e-14 * (1 + abs(now)):
                break
        theta, now = there, then
    raise DivergedError(
        f"fit: no minimum after {steps} Newton steps, theta = {_told(theta)}; start nearer, or fix a parameter."
    )


def _told(theta: Parameters) -> list[float]:
    return [round(value, 4) for value in theta.tolist()[:6]]
