"""When not to believe a fit. Score matching does not see the weights of separated modes, and says so only if asked.

efficiency     least eigenvalue of V⁻¹ I⁻¹/n, I = Cov[∂ log p/∂θ]: how much larger a sample score matching needs than maximum
               likelihood; 1.8e−4 for the weight of two modes 8 sd apart (Wenliang & Kanagawa 2020, arXiv:2008.10087)
dip            two heaps in the data: where modes are so far apart that the estimate runs away, its efficiency is no guide either
leverage       r_i tr(B⁻¹ H_i)/Σ: one row that makes the estimate
influence      (B⁻¹ u_i)_k² r_i²/Σ: one row that makes the standard errors, as heavy tails do
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..domains import Real
from .checks import repeated
from .dip import apart, two_heaps
from .family import LogDensity, Points

if TYPE_CHECKING:
    from .fitted import Fitted

_SHARE = 0.2


def efficiency(fitted: "Fitted") -> float:
    """aᵀI⁻¹a/n over aᵀV a, in the direction a that is worst in one half of the rows, with the V of the other half, and vice versa.

    Of many noisy ratios the largest would be too large: rows that choose the direction must not judge it. 0 if I is singular.
    """
    free, inverse = fitted.free, torch.linalg.inv(fitted.bread)
    pieces = [rows.statistics(fitted.theta)[:, free] for rows, _ in fitted.problem.chunks(fitted.x)]
    statistics, spread = torch.cat(pieces), fitted.pulls @ inverse.T
    share = fitted.mass / len(fitted.x)
    centered = statistics - share @ statistics
    information = centered.T @ (centered * share[:, None])
    factor, singular = torch.linalg.cholesky_ex(information)
    if int(singular):
        return 0.0
    first, second = (factor.T @ spread[k::2].T @ spread[k::2] @ factor / len(spread[k::2]) for k in (0, 1))
    losses = 0.0
    for variance, fresh in ((first, second), (second, first)):
        worst = torch.linalg.eigh(variance)[1][:, -1]
        losses += float(worst @ fresh @ worst) / 2
    return 1 / losses


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
    if worst == 0:
        yield (
            "∂ log p/∂θ are dependent on these data: some combination of parameters is without information for a likelihood too. "
            "Fix or drop a parameter, or look for columns that others determine."
        )
    elif worst < 0.1:
        yield (
            f"about {1 / worst:,.0f} times the rows are needed here that maximum likelihood would need in the worst direction: "
            "modes far apart, or statistics that vary where the data are not. Use a likelihood, or noise the data (sf.Denoising, "
            "sf.Diffusion)."
        )
    elif _suspect(fitted, worst) and (heaps := two_heaps(fitted.x)) > 1:
        yield (
            f"the rows form two heaps (dip {heaps:.1f} times its critical value): how much mass each has is hardly seen, and "
            "parameters that move it are less certain than they look. Use a likelihood, or noise the data (sf.Denoising)."
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
    yield from repeated(fitted.x)


def heaps_of(x: Points) -> tuple[str, ...]:
    """What to say of rows to which a kernel is fitted: a note if they form two heaps far apart, else nothing.

    >>> heaps_of(torch.linspace(-1, 1, 100)[:, None])
    ()
    """
    share = apart(x)
    words = (
        "the rows form two heaps far apart, with {:.1%} of them between: how much mass each has is hardly seen by score matching, and "
        "stays a guess of the base. Give a base that knows the weights, such as a mixture, fit each heap apart, or noise the data "
        "(sf.Denoising, sf.Diffusion)."
    )
    return () if share is None else (words.format(share),)


def _suspect(fitted: "Fitted", efficiency: float) -> bool:
    """Whether modes could mislead: on ℝ^d, where a search could have run away or the efficiency is not near 1."""
    searched = isinstance(fitted.problem.model, LogDensity)
    return fitted.problem.domain == Real() and (searched or not 0.5 < efficiency < 2)


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
