"""A half-space and a ball: {x : a·x < b} at the distance (b − a·x)/|a|, and {x : |x − c| < r} at r − |x − c|."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import RangeError
from .base import Distances, Domain, Inside, Points, length


@dataclass(frozen=True)
class HalfSpace(Domain):
    """{x : a·x < b}, with the ``normal`` a pointing outwards and the ``offset`` b. Raises: RangeError for a = 0.

    >>> HalfSpace((3.0, 4.0), 5.0).distance(torch.zeros(1, 2))
    tensor([1.])
    """

    normal: Sequence[float]
    offset: float = 0.0

    def __post_init__(self):
        if not any(self.normal):
            raise RangeError(f"{self}: the normal must not be zero.")

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """The number of columns that x must have, if it is known."""
        return len(self.normal)

    def contains(self, x: Points) -> Inside:
        return self.distance(x) > 0

    def distance(self, x: Points) -> Distances:
        a = torch.tensor(self.normal).to(x)
        return (self.offset - x @ a) / a.norm()

    def gaps(self, x: Points) -> Points:
        a = torch.tensor(self.normal).to(x)
        return (self.offset - x @ a)[:, None] / a.abs()


@dataclass(frozen=True)
class Ball(Domain):
    """{x : |x − c| < r}: ``radius`` r in the units of x, ``center`` c, the origin unless given. Raises: RangeError for r ≤ 0.

    >>> Ball(2.0).distance(torch.tensor([[0.0, 1.5]]))
    tensor([0.5000])
    """

    radius: float = 1.0
    center: float | Sequence[float] = 0.0

    def __post_init__(self):
        if not self.radius > 0:
            raise RangeError(f"{self}: the radius must be positive.")

    @property
    def dimension(self) -> int | None:  # type: ignore[override]
        """The number of columns that x must have, if it is known."""
        return len(self.center) if isinstance(self.center, Sequence) else None

    def contains(self, x: Points) -> Inside:
        return self.distance(x) > 0

    def distance(self, x: Points) -> Distances:
        return self.radius - length(x - torch.as_tensor(self.center).to(x))

    def gaps(self, x: Points) -> Points:
        y = x - torch.as_tensor(self.center).to(x)
        left = self.radius**2 - (y**2).sum(1, keepdim=True) + y**2
        return left.clamp(min=torch.finfo(x.dtype).tiny).sqrt() - y.abs()
