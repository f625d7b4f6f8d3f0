"""θ̂ without some rows, and θ̂ of rows drawn anew: Newton steps from θ̂, for all replications at once.

    θ* = θ̂ − (Σ c_i r_i H_i)⁻¹ Σ c_i r_i u_i,    c_i = 0 for what is left out and 1 elsewhere, or counts of a multinomial

Exact for families, where u is affine in θ. Elsewhere a step errs by the square of the move, which is O(1/n) when one row or
cluster is left out and O(n^{−1/2}) when all are drawn anew; refits go on to the root. Without the counts in the matrix this
would be the infinitesimal jackknife: Giordano, Stephenson, Liu, Jordan & Broderick (2019), arXiv:1806.00550.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap

from ..errors import DataError, DivergedError, RangeError
from ..tensors import Draws, uniform
from .family import Family
from .inference import Estimates
from .rows import Rows

if TYPE_CHECKING:
    from .fitted import Fitted

Replications = Float[Tensor, "replications p"]
_TOGETHER, _MOST = 2**20, 40


def jackknife(fitted: "Fitted", refits: bool) -> Estimates:
    """Bias-corrected estimates and their covariance, rows or clusters left out one at a time."""
    theta = left_out(fitted, refits)
    kinds, mean = len(theta), theta.mean(0)
    spread = (theta - mean).T @ (theta - mean) * ((kinds - 1) / kinds)
    return Estimates(fitted.names, fitted.theta + (kinds - 1) * (fitted.theta - mean), spread)


def left_out(fitted: "Fitted", refits: bool) -> Replications:
    """θ̂ without each row or cluster, in their order."""
    which, kinds = _groups(fitted)
    if kinds < 2:
        raise DataError("jackknife: all rows are in one cluster; at least 2 are needed.")
    if refits and not _affine(fitted):
        return _refits(fitted, (which != torch.arange(kinds, device=which.device)[:, None]).to(fitted.theta))
    size, total = fitted.bread.shape[1], len(fitted.x) * fitted.bread
    pulls = fitted.pulls.new_zeros(kinds, size).index_add_(0, which, fitted.pulls)
    if fitted.clusters is None:  # a row at a time, so that no more than a chunk of matrices is held
        moves = torch.cat([_solved(total - own, pulls[i]) for i, own in _slopes(fitted)])
    else:
        left = total.repeat(kinds, 1, 1)
        for i, own in _slopes(fitted):
            left.index_add_(0, which[i], own, alpha=-1)
        moves = _solved(left, pulls)
    theta = fitted.theta.repeat(kinds, 1)
    theta[:, fitted.free] += moves
    return theta


def bootstrap(fitted: "Fitted", replications: int, generator: Draws | None, refits: bool) -> Replications:
    """Estimates of rows or clusters drawn with replacement."""
    if replications < 2:
        raise RangeError(f"bootstrap(replications={replications}): at least 2; 1000 for intervals.")
    which, kinds = _groups(fitted)
    place = uniform(fitted.theta.new_empty(replications, kinds), generator)
    counts = torch.zeros_like(place).scatter_add_(1, (place * kinds).long().clamp(max=kinds - 1), 0 * place + 1)
    counts = counts[:, which]
    if refits and not _affine(fitted):
        return _refits(fitted, counts)
    size = fitted.bread.shape[1]
    left = fitted.theta.new_zeros(replications, size * size)
    for i, own in _slopes(fitted):
        left += counts[:, i] @ own.flatten(1)
    theta = fitted.theta.repeat(replications, 1)
    theta[:, fitted.free] -= _solved(left.reshape(-1, size, size), counts @ fitted.pulls)
    return theta


def _affine(fitted: "Fitted") -> bool:
    """Whether one step is exact."""
    return isinstance(fitted.problem.model, Family) and not fitted.problem.tuning


def _groups(fitted: "Fitted") -> tuple[Int[Tensor, "n"], int]:
    """The number of the row, or of its cluster, and how many there are."""
    if fitted.clusters is None:
        return torch.arange(len(fitted.x), device=fitted.x.device), len(fitted.x)
    labels, which = fitted.clusters.unique(return_inverse=True)
    return which, len(labels)


def _slopes(fitted: "Fitted"):
    """(numbers of rows, r_i H_i over free parameters), chunk by chunk."""
    numbers = torch.arange(len(fitted.x), device=fitted.x.device)
    for rows, (mass, i) in fitted.problem.chunks(fitted.x, fitted.mass, numbers):
        yield i, rows.hessians(fitted.theta)[:, fitted.free][:, :, fitted.free] * mass[:, None, None]


def _solved(left: Float[Tensor, "k q q"], right: Float[Tensor, "k q"]) -> Float[Tensor, "k q"]:
    move, info = torch.linalg.solve_ex(left, right[..., None])
    bad = (info != 0) | ~move.isfinite().all(2).all(1)
    if bool(bad.any()):
        raise DataError(
            f"resampling: {int(bad.sum())} of {len(left)} samples do not identify all parameters; use the sandwich, or a "
            "smaller model."
        )
    return move[..., 0]


def _refits(fitted: "Fitted", counts: Float[Tensor, "replications n"]) -> Replications:
    """The roots of Σ c_i r_i u_i(θ), by Newton's method from θ̂; steps are halved until B⁻¹ Σ c_i r_i u_i is smaller."""
    free, parts = fitted.free, list(fitted.problem.chunks(fitted.x, fitted.mass, counts.T))
    together = max(1, _TOGETHER // (len(fitted.x) * len(free) ** 2))

    def summed(which: Tensor, theta: Replications, slope: bool) -> Tensor:
        total = theta.new_zeros(())
        for rows, (mass, count) in parts:

            def share(at: Tensor, part: Tensor, rows: Rows = rows) -> Tensor:
                values = rows.hessians(at) if slope else rows.gradients(at)
                return (part @ values.flatten(1)).reshape(values.shape[1:])

            total = total + vmap(share, chunk_size=together)(theta, count.T[which] * mass)
        return total[:, free][:, :, free] if slope else total[:, free]

    theta = fitted.theta.repeat(len(counts), 1)
    left = torch.arange(len(counts), device=theta.device)
    pull = summed(left, theta, slope=False)
    for _ in range(_MOST):
        move = _solved(summed(left, theta[left], slope=True), pull)
        here = theta[left]
        size, factor = _length(fitted, pull), torch.ones_like(move[:, :1])
        for _ in range(_MOST):
            there = here.clone()
            there[:, free] -= factor * move
            pull = summed(left, there, slope=False)
            longer = ~(_length(fitted, pull) <= size)
            if not bool(longer.any()):
                break
            factor = torch.where(longer[:, None], factor / 2, factor)
        theta[left] = there
        open_ = move.abs().amax(1) > 1e-7 * (1 + here.abs().amax(1))
        if not bool(open_.any()):
            return theta
        left, pull = left[open_], pull[open_]
    raise DivergedError(
        f"refits: {len(left)} of {len(counts)} samples have no root near the estimate; use one step, or the sandwich."
    )


def _length(fitted: "Fitted", pulls: Float[Tensor, "k q"]) -> Float[Tensor, "k"]:
    return torch.linalg.solve(fitted.bread, pulls.T).norm(dim=0)
