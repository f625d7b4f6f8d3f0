"""min over symmetric K of Σ_j ½ k_jᵀΓ_j k_j − g_jᵀk_j + λ Σ_{i≠j} |K_ij|, for one λ after another, from large to small.

    accelerated proximal steps with restarts        O'Donoghue & Candès (2015), section 3.2, arXiv:1204.3982
    screening: leave out K_ij if |∂_ij ℓ| < 2λ_k − λ_{k−1} at the last solution, the sequential strong rule
    optimality: |∂_ij ℓ| ≤ λ where K_ij = 0, ∂_ij ℓ = −λ sign K_ij elsewhere, ∂_ii ℓ = 0; what was left out and breaks it comes back

Tibshirani et al. (2012), arXiv:1011.2234. The rule can fail and the check cannot: each solution holds the
conditions to ``tolerance`` · λ_1 in every entry, so that the objective is within ½ ‖residual‖²/μ of its least, μ the least curvature.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import DivergedError

Matrix = Float[Tensor, "d d"]
Gammas = Float[Tensor, "k d d"]
Apply = Callable[[Tensor], Tensor]
MOST = 20_000


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Σ_j ½ k_jᵀΓ_j k_j − g_jᵀk_j over symmetric K, one Γ for all rows or one each."""

    gamma: Gammas
    linear: Matrix

    def apply(self, interactions: Matrix) -> Matrix:
        """The symmetric part of the rows Γ_j k_j."""
        one = len(self.gamma) == 1
        pulled = interactions @ self.gamma[0] if one else torch.bmm(self.gamma, interactions[..., None])[..., 0]
        return (pulled + pulled.T).mul_(0.5)

    @property
    def slope(self) -> Matrix:
        """g, symmetrised: minus the gradient at zero."""
        return (self.linear + self.linear.T) / 2

    @property
    def curvature(self) -> float:
        """An upper bound of the largest curvature, at most d^{1/32} too large: ‖Γ¹⁶‖^{1/16} with a Frobenius norm."""
        scale = self.gamma.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        power = self.gamma / scale
        for _ in range(4):
            power = power @ power
        return float((power.flatten(1).norm(dim=1) ** (1 / 16) * scale[:, 0, 0]).max())

    def diagonal(self) -> Matrix:
        """The best diagonal K, which is the solution for large λ."""
        each = self.gamma.diagonal(dim1=1, dim2=2)
        return torch.diag(self.linear.diagonal() / each.expand(len(self.linear), -1).diagonal())

    def first(self) -> float:
        """λ_1, the least at which no edge is left."""
        gradient = self.apply(self.diagonal()) - self.slope
        return float(gradient.fill_diagonal_(0).abs().max())


def descend(
    quadratic: Quadratic, penalties: Float[Tensor, "l"], *, tolerance: float = 1e-5, screen: bool = True
) -> Iterator[Matrix]:
    """The solution for each penalty in turn, which must fall; each starts from the one before.

    Raises: DivergedError if 20,000 steps do not reach the tolerance.

    >>> quadratic = Quadratic(torch.tensor([[[1.0, 0.5], [0.5, 1.0]]]).double(), torch.eye(2).double())
    >>> [round(float(k[0, 1]), 4) for k in descend(quadratic, torch.tensor([0.5, 0.1]).double())]
    [0.0, -0.5333]
    """
    step, goal = 1 / quadratic.curvature, tolerance * quadratic.first()
    now, slope = quadratic.diagonal(), quadratic.slope
    gradient = quadratic.apply(now) - slope
    before = float(penalties[0])
    for penalty in penalties.tolist():
        kept = (gradient.abs() >= 2 * penalty - before) | (now != 0)
        while True:
            slots = _slots(kept.fill_diagonal_(True), len(quadratic.gamma)) if screen else None
            if slots is None:
                kept = torch.ones_like(kept)
                now = _solve(quadratic.apply, slope, now, _costs(slope, penalty), step, goal)
            else:
                now = slots.solve(quadratic, now, penalty, step, goal)
            gradient = quadratic.apply(now) - slope
            broken = (gradient.abs() > penalty + goal) & ~kept
            if not bool(broken.any()):
                break
            kept = kept | broken
        yield now
        before = penalty


def residual(quadratic: Quadratic, interactions: Matrix, penalty: float) -> float:
    """By how much the optimality conditions fail, at the worst entry: 0 at the solution.

    >>> quadratic = Quadratic(torch.eye(2)[None], torch.eye(2))
    >>> residual(quadratic, 2 * torch.eye(2), 0.1)
    1.0
    """
    gradient = quadratic.apply(interactions) - quadratic.slope
    cost = _costs(gradient, penalty)
    there = (gradient + cost * interactions.sign()).abs()
    return float(torch.where(interactions != 0, there, (gradient.abs() - cost).clamp(min=0)).max())


def _costs(like: Matrix, penalty: float) -> Matrix:
    return torch.full_like(like, penalty).fill_diagonal_(0)


def _solve(apply: Apply, slope: Tensor, start: Tensor, cost: Tensor, step: float, goal: float) -> Tensor:
    """Accelerated proximal gradient steps until none moves more than step · goal."""
    now = ahead = start
    speed, shrink, shift = 1.0, cost * step, slope * step
    for k in range(MOST):
        moved = ahead - apply(ahead).mul_(step) + shift
        after = moved - moved.clamp(-shrink, shrink)
        change, gap = after - now, ahead - after
        now = after
        if k % 4 == 3 and float(gap.abs().max()) <= 0.5 * goal * step:
            return now
        if k % 2 == 1 and float(torch.dot(gap.flatten(), change.flatten())) > 0:
            speed, ahead = 1.0, now
            continue
        faster = 0.5 * (1 + math.sqrt(1 + 4 * speed * speed))
        ahead = torch.add(now, change, alpha=(speed - 1) / faster)
        speed = faster
    raise DivergedError(
        f"graph: {MOST} steps leave the optimality conditions {float(gap.abs().max()) / step:.2g} open; the statistics are nearly "
        "singular: raise the multiplier, the smallest penalty or the tolerance."
    )


@dataclass(frozen=True, eq=False)
class _Slots:
    """The entries of K that are kept, row by row and padded: slot (j, m) is K[j, column[j, m]], its mirror image at ``twin``."""

    column: Int[Tensor, "d m"]
    used: Bool[Tensor, "d m"]
    twin: Int[Tensor, "d m"]

    def solve(self, quadratic: Quadratic, start: Matrix, penalty: float, step: float, goal: float) -> Matrix:
        d = len(start)
        rows = torch.arange(d, device=start.device)[:, None]
        which = rows[:, :, None] if len(quadratic.gamma) > 1 else torch.zeros_like(rows[:, :, None])
        small = quadratic.gamma[which, self.column[:, :, None], self.column[:, None, :]]
        small = small * (self.used[:, :, None] & self.used[:, None, :])

        def take(full: Matrix) -> Tensor:
            return full.gather(1, self.column) * self.used

        def apply(slots: Tensor) -> Tensor:
            pulled = torch.bmm(small, slots[..., None])[..., 0]
            return (pulled + pulled.flatten()[self.twin]).mul_(0.5)

        cost = torch.where(self.column == rows, 0.0, penalty)
        found = _solve(apply, take(quadratic.slope), take(start), cost, step, goal)
        full = torch.zeros_like(start)
        return full.scatter_add_(1, self.column, found * self.used)


def _slots(kept: Bool[Tensor, "d d"], blocks: int) -> _Slots | None:
    """The slots of what is kept, or None where working on the whole matrix is faster."""
    d, degree = len(kept), kept.sum(1)
    most = int(degree.max())
    if (20 if blocks == 1 else 2) * most**2 > d**2:
        return None
    column = kept.double().argsort(dim=1, descending=True, stable=True)[:, :most]
    used = torch.arange(most, device=kept.device) < degree[:, None]
    place = (kept.cumsum(1) - 1) + most * torch.arange(d, device=kept.device)[:, None]
    twin = place.T.gather(1, column)
    own = torch.arange(d * most, device=kept.device).reshape(d, most)
    return _Slots(column, used, torch.where(used, twin, own))
