"""What score matching loses: its variance in large samples beside that of maximum likelihood, by quadrature.

    n Var(θ̂) → B⁻¹ E[u uᵀ] B⁻¹,    Cramér–Rao: I⁻¹, I = Cov[∂ log p/∂θ]

at a known θ, with nodes x_k and masses m_k ∝ p(x_k; θ) dx_k in place of a sample: sums replace expectations, and nothing is random.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..domains import Domain, Weight
from ..errors import ShapeError
from .checks import held, masses, names_of, places, solvable
from .family import Family, LogDensity, Parameters
from .inference import Estimates
from .rows import problem


def asymptotic(
    model: Family | LogDensity,
    theta: Parameters,
    nodes: Shaped[Tensor, "..."],
    mass: Shaped[Tensor, "..."] | None = None,
    *,
    domain: Domain | None = None,
    weight: Weight | None = None,
    fixed: Mapping[str, float] | None = None,
) -> tuple[Estimates, Estimates]:
    """(score matching, maximum likelihood): n times the covariance of either estimate at the true θ, in large samples.

    ``nodes`` (k, d) with ``mass`` ∝ p(x; θ) dx are a quadrature, or draws from the model without masses. Use it to choose a weight,
    or to see beforehand what a closed form costs. Raises: ShapeError unless theta is (p,), DataError for nodes that do not identify
    a combination of parameters, and as `fit`.

    >>> from scorefield.closed import Normal
    >>> x = torch.linspace(-8, 8, 2001).double()[:, None]
    >>> matching, likelihood = asymptotic(Normal(1), torch.tensor([0.0, 1.0]), x, (-(x[:, 0] ** 2) / 2).exp())
    >>> [round(float(e.covariance[1, 1]), 4) for e in (matching, likelihood)]
    [2.0, 2.0]
    """
    x, theta = places(nodes), theta.double()
    case = problem(model, x, domain, weight)
    if theta.shape != (case.size(x),):
        raise ShapeError(f"asymptotic(theta of shape {tuple(theta.shape)}): the model has {case.size(x)} parameters.")
    case.domain.check(x)
    names = names_of(case.model.names, len(theta))
    free, _ = held(fixed, names, x)
    share = masses(mass, x) / len(x)
    bread = theta.new_zeros(int(free.sum()), int(free.sum()))
    meat, second, first = torch.zeros_like(bread), torch.zeros_like(bread), theta.new_zeros(len(bread))
    for rows, (part,) in case.chunks(x, share):
        pulls, statistics = rows.gradients(theta)[:, free], rows.statistics(theta)[:, free]
        bread = bread + torch.einsum("b,bpq->pq", part, rows.hessians(theta)[:, free][:, :, free])
        meat = meat + pulls.T @ (pulls * part[:, None])
        first, second = first + part @ statistics, second + statistics.T @ (statistics * part[:, None])
    information = second - torch.outer(first, first)
    for matrix in (bread, information):
        solvable(matrix, [name for name, loose in zip(names, free.tolist()) if loose])
    inverse = torch.linalg.inv(bread)
    both = free[:, None] & free
    empty = theta.new_zeros(len(theta), len(theta))
    bound = torch.linalg.inv(information)
    return (
        Estimates(names, theta, empty.masked_scatter(both, inverse @ meat @ inverse)),
        Estimates(names, theta, empty.masked_scatter(both, bound)),
    )
