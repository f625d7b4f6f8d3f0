"""What a Markov chain is worth: the number of independent draws that would give its mean the same variance.

With autocorrelations ρ_t a mean over S = M N draws (M chains of N) has the variance of S/τ independent ones, τ = 1 + 2 Σ_{t>0} ρ_t:

    W = mean within-chain variance,     V = (N − 1)/N W + variance of the chain means
    ρ̂_t = 1 − (W − mean autocovariance at lag t)/V       τ̂ = −1 + 2 Σ_k P̂_k,   P̂_k = ρ̂_{2k} + ρ̂_{2k+1}

summed while P̂_k > 0 and made to fall (Geyer 1992, section 3.3, doi:10.1214/ss/1177011137). R̂ = √(V/W). Every chain is cut into
halves first, so that a drift counts as disagreement. Vehtari et al. (2021), sections 3.1–3.2, arXiv:1903.08008.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError

Chains = Float[Tensor, "steps rows *event"]


def effective_sample_size(chains: Chains) -> Float[Tensor, "*event"]:
    """S/τ̂, the independent draws that a walk of several rows is worth, for the mean of every coordinate.

    ``chains`` are states in order, ``torch.stack([state.x for state in walk])``, without the warm-up; every row is a chain.
    Below about 100 a row, neither it nor a mean is to be trusted. Raises: DataError for fewer than 8 steps, values that are not
    finite, and coordinates that never change.

    >>> white = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    >>> 3000 < effective_sample_size(white).item() < 5000
    True
    """
    x, within, total = _moments(chains)
    steps, rows = x.shape[:2]
    spectrum = torch.fft.rfft(x - x.mean(0), n=2 * steps, dim=0)
    covariance = torch.fft.irfft(spectrum.abs() ** 2, n=2 * steps, dim=0)[:steps].mean(1) / steps
    rho = 1 - (within - covariance) / total
    rho[0] = 1
    pairs = rho[: steps // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cummin(0).values
    tau = -1 + 2 * (pairs.cummin(0).values * positive).sum(0)
    draws = steps * rows
    return draws / tau.clamp(min=1 / math.log10(draws))


def potential_scale_reduction(chains: Chains) -> Float[Tensor, "*event"]:
    """R̂ = √(V/W) of chains cut into halves: near 1 when they agree, above 1.01 when more steps are needed. Raises: DataError.

    Arguments and errors as `effective_sample_size`; Gelman & Rubin (1992), doi:10.1214/ss/1177011136.

    >>> white = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    >>> round(potential_scale_reduction(white).item(), 2), potential_scale_reduction(white + torch.arange(4.0)).item() > 1.4
    (1.0, True)
    """
    _, within, total = _moments(chains)
    return (total / within).sqrt()


def acceptance(chains: Chains) -> Float[Tensor, "rows"]:
    """The share of steps in which a row moved: what `MALA` accepted, 0.574 where its step size is well chosen.

    Raises: DataError for fewer than 2 states.

    >>> acceptance(torch.tensor([0.0, 0.0, 1.0, 1.0, 3.0])[:, None, None])
    tensor([0.5000])
    """
    if len(chains) < 2:
        raise DataError(f"acceptance of {len(chains)} states: at least 2 are needed to see a row move.")
    return (chains[1:] != chains[:-1]).flatten(2).any(-1).float().mean(0)


def _moments(chains: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(half chains in float64, W, V), of shapes (steps, rows, *event), (*event), (*event)."""
    half = len(chains) // 2
    if half < 4:
        raise DataError(f"chains of shape {tuple(chains.shape)}: at least 8 steps are needed, and hundreds wanted.")
    x = torch.cat([chains[:half], chains[-half:]], 1).double()
    if not bool(x.isfinite().all()):
        raise DataError(f"chains of shape {tuple(chains.shape)} have values that are not finite: the walk diverged.")
    within = x.var(0).mean(0)
    if bool((within <= 0).any()):
        where = (within <= 0).nonzero()[0].tolist()
        raise DataError(f"chains of shape {tuple(chains.shape)}: coordinate {where} never changes; leave it out.")
    return x, within, (half - 1) / half * within + x.mean(0).var(0)
