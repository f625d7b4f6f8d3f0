"""All that an affine family needs of its data: Σ r_i H_i and Σ r_i b_i, added up in one pass in O(p²) memory.

    θ̂ = (Σ r H)⁻¹ Σ r b;   with some parameters fixed, θ̂_F = (Σ r H_FF)⁻¹ (Σ r b_F − Σ r H_FG θ_G)

Sums add: over chunks, over machines, and over time. Kept by groups they give standard errors too, as if groups were clusters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..domains import Domain, Weight
from ..errors import DataError, RangeError
from .checks import data, held, masses, names_of, solvable
from .family import Family, Parameters
from .inference import Estimates
from .rows import AffineRows, Problem, problem


@dataclass(frozen=True, eq=False)
class Moments:
    """Σ r H (p, p), Σ r b (p,), Σ r k, Σ r and n of some rows; they add.

    ``constant`` is k, the part of the objective that no parameter moves.
    """

    quadratic: Float[Tensor, "p p"]
    linear: Parameters
    constant: Float[Tensor, ""]
    mass: Float[Tensor, ""]
    count: int

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.quadratic + other.quadratic,
            self.linear + other.linear,
            self.constant + other.constant,
            self.mass + other.mass,
            self.count + other.count,
        )

    def solve(self, free: Tensor, values: Parameters, names: tuple[str, ...]) -> Parameters:
        """θ̂ with ``values`` where not ``free``. Raises: DataError for a combination that is not identified."""
        part = self.quadratic[free][:, free] / self.mass
        solvable(part, [name for name, loose in zip(names, free.tolist()) if loose])
        right = (self.linear - self.quadratic @ torch.where(free, 0.0, values))[free] / self.mass
        theta = values.clone()
        theta[free] = torch.linalg.solve(part, right)
        return theta


def gather(rows: AffineRows, mass: Float[Tensor, "batch"]) -> Moments:
    """The moments of some rows with observation weights."""
    zero = torch.zeros_like(rows.values[0])
    return Moments(rows.quadratic(mass), mass @ rows.linear(), mass @ rows.losses(zero), mass.sum(), len(mass))


class Stream:
    """θ̂ from data that come in parts and are not kept: update as they come, ask at any time.

    Row k goes to group k mod ``groups``, and memory is O(groups · p²). Standard errors are those of groups as clusters: right
    for rows in random order, with a relative error of about 1/√(2·groups). Raises: RangeError for fewer than two groups.

    >>> from scorefield.closed import Normal
    >>> x = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0))
    >>> stream = Stream(Normal(1))
    >>> for part in x.split(1000):
    ...     stream.update(part)
    >>> round(float(stream.estimates().theta[1]) * float(x.var(unbiased=False)), 6)
    1.0
    """

    def __init__(
        self, family: Family, *, domain: Domain | None = None, weight: Weight | None = None, groups: int = 100
    ):
        if groups < 2:
            raise RangeError(f"Stream(groups={groups}): at least 2 are needed for standard errors; try 100.")
        self.family, self.domain, self.weight, self.groups = family, domain, weight, groups
        self._sums: list[Moments | None] = [None] * groups
        self._problem: Problem | None = None
        self._count = 0

    def update(self, x: Shaped[Tensor, "..."], weights: Shaped[Tensor, "..."] | None = None) -> None:
        """Add rows, with observation weights if given. Raises: as `fit`."""
        alone = x.is_floating_point() and len(x) == 1  # of one row no column varies
        points = x.detach().double().reshape(1, -1) if alone else data(x)
        if self._problem is None:
            self._problem = problem(self.family, points, self.domain, self.weight)
        self._problem.domain.check(points)
        mass = points.new_ones(len(points)) if weights is None else weights.to(points)
        masses(weights, points)
        group = (torch.arange(len(points)) + self._count) % self.groups
        for g in group.unique().tolist():
            mine = group == g
            for rows, (part,) in self._problem.chunks(points[mine], mass[mine]):
                total, more = self._sums[g], gather(rows, part)  # type: ignore[arg-type]
                self._sums[g] = more if total is None else total + more
        self._count += len(points)

    def moments(self) -> Moments:
        """The sum of all groups. Raises: DataError before any data."""
        seen = [m for m in self._sums if m is not None]
        if not seen:
            raise DataError("Stream without data: update it first.")
        return sum(seen[1:], seen[0])

    def estimates(self, fixed: Mapping[str, float] | None = None) -> Estimates:
        """θ̂ and its covariance so far. Raises: DataError with fewer than two groups of data, or as `fit`."""
        total = self.moments()
        names = names_of(self.family.names, len(total.linear))
        free, values = held(fixed, names, total.linear[None])
        theta = total.solve(free, values, names)
        pulls = torch.stack([m.quadratic @ theta - m.linear for m in self._sums if m is not None])[:, free]
        if len(pulls) < 2:
            raise DataError("Stream with one row: at least 2 are needed for standard errors.")
        spread = torch.linalg.solve(total.quadratic[free][:, free], pulls.T)
        covariance = torch.zeros_like(total.quadratic)
        covariance[free[:, None] & free] = (spread @ spread.T * (len(pulls) / (len(pulls) - 1))).flatten()
        return Estimates(names, theta, covariance)
