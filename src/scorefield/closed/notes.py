"""When not to believe a fit. Score matching does not see the weights of separated modes, and says so only if asked.

efficiency     least eigenvalue of V⁻¹ I⁻¹/n, I = Cov[∂ log p/∂θ]: how much larger a sample score matching needs than maximum
               likelihood; 1.8e−4 for the weight of two modes 8 sd apart (Wenliang & Kanagawa 2020, arXiv:2008.10087)
leverage       r_i tr(B⁻¹ H_i)/Σ: one row that makes the estimate
influence      (B⁻¹ u_i)_k² r_i²/Σ: one row that makes the standard errors, as heavy tails do
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .fitted import Fitted

_SHARE = 0.2


def efficiency(fitted: "Fitted") -> float:
    """1/λ_max of n Lᵀ V L, with L Lᵀ the covariance of ∂ log p/∂θ over free parameters; 0 if that is singular."""
    n, free = len(fitted.x), fitted.free
    pieces = [rows.statistics(fitted.theta)[:, free] for rows, _ in fitted.problem.chunks(fitted.x)]
    statistics = torch.cat(pieces)
    share = fitted.mass / n
    centered = statistics - share @ statistics
    information = centered.T @ (centered * share[:, None])
    ratio = n * fitted.covariance[free][:, free] @ information
    return float(1 / torch.linalg.eigvals(ratio).real.max())


def notes(fitted: "Fitted") -> Iterator[str]:
    """The sentences, most serious first."""
    n = len(fitted.x)
    if fitted.flaw:
        yield f"{fitted.flaw}: no density has these parameters. Constrain them, or take another model."
    if not fitted.problem.weight.vanishes and bool(fitted.problem.domain.distance(fitted.x).isfinite().any()):
        yield (
            "the weight does not vanish at the boundary, where integration by parts leaves a term that is not counted: "
            "biased unless the density itself vanishes there. Use Axes() or Distance()."
        )
    worst = 1.0 if fitted.problem.tuning else fitted.efficiency
    if worst < 0.1:
        yield (
            f"about {1 / worst:,.0f} times the rows are needed here that maximum likelihood would need in the worst direction: "
            "modes far apart, or statistics that vary where the data are not. Use a likelihood, or noise the data (sf.Denoising, "
            "sf.Diffusion)."
        )
    scale = fitted.bread.norm(dim=0).sqrt()
    spectrum = torch.linalg.svdvals(fitted.bread / scale / scale[:, None])
    if float(spectrum[-1]) < 1e-8 * len(spectrum):
        yield f"nearly not identified: condition {float(spectrum[0] / spectrum[-1]):.1e} after scaling. Fix or drop a parameter."
    row, share = _largest(_leverages(fitted))
    if share > _SHARE + 20 / n:
        yield f"row {row} alone makes {100 * share:.0f} % of the information: look at it before using the estimates."
    influences = _influences(fitted)
    row, share = int(influences.argmax()), float(influences.max())
    if share > _SHARE + 20 / n:
        yield f"row {row} alone makes {100 * share:.0f} % of the variance: heavy tails, for which the sandwich is too small."
    copies = n - len((fitted.x @ torch.linspace(1, 2, fitted.x.shape[1]).to(fitted.x).sqrt()).unique())
    if copies:
        yield f"{copies} of {n} rows repeat others: rounded or repeated data have no density, and count as independent here."


def _largest(shares: Tensor) -> tuple[int, float]:
    return int(shares.argmax()), float(shares.max() / shares.sum())


def _leverages(fitted: "Fitted") -> Tensor:
    inverse = torch.linalg.inv(fitted.bread)
    parts = []
    for rows, (mass,) in fitted.problem.chunks(fitted.x, fitted.mass):
        own = rows.hessians(fitted.theta)[:, fitted.free][:, :, fitted.free]
        parts.append(mass * torch.einsum("bpq,qp->b", own, inverse))
    return torch.cat(parts).clamp(min=0)


def _influences(fitted: "Fitted") -> Tensor:
    squares = torch.linalg.solve(fitted.bread, fitted.pulls.T).square()
    return (squares / squares.sum(1, keepdim=True)).amax(0)
