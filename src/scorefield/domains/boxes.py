"""Domains that are products over the axes: the orthant, boxes, and unions of intervals.

The gap of axis j is min(x_j − a_j, b_j − x_j), which depends on x_j alone; the distance is the least gap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import RangeError
from .base import Distances, Domain, Inside, Points

Bounds = float | Sequence[float]


@dataclass(frozen=True)
class Box(Domain):
    """{x : low < x < high}, each one number or one number an axis; `Box()` is the positive orthant.

    Raises: RangeError unless low < high.

    >>> Box().gaps(torch.tensor([[1.0, 2.0]])), Box(0.0, 3.0).gaps(torch.tensor([[1.0, 2.5]]))
    (tensor([[1., 2.]]), tensor([[1.0000, 0.5000]]))
    """

    low: Bounds = 0.0
    high: Bounds = math.inf

    def __post_init__(self):
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        if not bool((low < high).all()):
            raise RangeError(f"{self}: low must be below high on every axis.")

    @property
    def dimension(self) -> int | None:  # type: ignore[override]
        """The number of columns that x must have, if it is known."""
        sizes = [len(bound) for bound in (self.low, self.high) if isinstance(bound, Sequence)]
        return max(sizes) if sizes else None

    def contains(self, x: Points) -> Inside:
        return (self.gaps(x) > 0).all(1)

    def distance(self, x: Points) -> Distances:
        return self.gaps(x).amin(1)

    def gaps(self, x: Points) -> Points:
        return torch.minimum(x - torch.as_tensor(self.low).to(x), torch.as_tensor(self.high).to(x) - x)


@dataclass(frozen=True)
class Intervals(Domain):
    """{x : every x_j lies in one of the intervals (a, b)}: a union of intervals, the same on every axis.

    The gap is that to the ends of the interval that holds x_j. Raises: RangeError for empty or overlapping intervals.

    >>> Intervals(((-3.0, -1.0), (1.0, float("inf")))).gaps(torch.tensor([[-1.5], [4.0]]))
    tensor([[0.5000],
            [3.0000]])
    """

    bounds: tuple[tuple[float, float], ...]

    def __post_init__(self):
        ends = [end for interval in sorted(self.bounds) for end in interval]
        if not ends or ends != sorted(ends) or any(a >= b for a, b in self.bounds):
            raise RangeError(f"{self}: the intervals must be (a, b) with a < b, and must not overlap.")

    def contains(self, x: Points) -> Inside:
        return (self.gaps(x) > 0).all(1)

    def distance(self, x: Points) -> Distances:
        return self.gaps(x).amin(1)

    def gaps(self, x: Points) -> Points:
        each = [torch.minimum(x - low, high - x) for low, high in self.bounds]
        return torch.stack(each).amax(0)  # at most one is positive
