"""Polygons in the plane, by their corners or by points along their boundary.

A row is inside if a ray from it crosses the edges an odd number of times. The distance is to the nearest edge, or to the nearest
of the listed points, as Liu, Kanamori & Williams (2022), arXiv:1910.03834, take it for boundaries known by points only.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ShapeError
from .base import Distances, Domain, Inside, Points, length


def _corners(kind: str, corners: Tensor) -> None:
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not bool(corners.isfinite().all()):
        raise ShapeError(
            f"{kind} of {tuple(corners.shape)}: wanted at least three finite points of the plane, in order."
        )


def _crossings(x: Points, corners: Float[Tensor, "k 2"]) -> tuple[Bool[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """Which edges the horizontal line through each row meets, and where."""
    a, b = corners, corners.roll(-1, 0)
    y = x[:, None, 1]
    meets = (a[:, 1] > y) != (b[:, 1] > y)
    rise = torch.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
    return meets, a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise


def inside(x: Points, corners: Float[Tensor, "k 2"]) -> Inside:
    """Whether each row lies in the polygon of these corners: an odd number of edges to the right of it.

    >>> inside(torch.tensor([[0.2, 0.2], [0.9, 0.9]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    tensor([ True, False])
    """
    meets, where = _crossings(x, corners)
    return (meets & (where > x[:, None, 0])).sum(1) % 2 == 1


@dataclass(frozen=True, eq=False)
class Polygon(Domain):
    """The inside of a simple polygon with these ``corners`` (k, 2) in order. Raises: ShapeError for fewer than three.

    >>> square = Polygon(torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]))
    >>> square.distance(torch.tensor([[0.5, 1.0]])), square.gaps(torch.tensor([[0.5, 1.2]]))
    (tensor([0.5000]), tensor([[0.5000, 0.8000]]))
    """

    corners: Float[Tensor, "*corners"]
    dimension = 2

    def __post_init__(self):
        _corners("Polygon", self.corners)

    def __repr__(self) -> str:
        return f"Polygon({len(self.corners)} corners)"

    def contains(self, x: Points) -> Inside:
        return inside(x, self.corners.to(x)) & (self.distance(x) > 0)

    def distance(self, x: Points) -> Distances:
        a = self.corners.to(x)
        edge = a.roll(-1, 0) - a
        part = ((x.detach()[:, None] - a) * edge).sum(-1) / (edge**2).sum(-1)
        away = x.detach()[:, None] - a - part.clamp(0, 1)[..., None] * edge
        nearest = (away**2).sum(-1).argmin(1)  # only the nearest edge is differentiated
        a, edge = a[nearest], edge[nearest]
        part = ((x - a) * edge).sum(1) / (edge**2).sum(1)
        return length(x - a - part.clamp(0, 1)[:, None] * edge)

    def gaps(self, x: Points) -> Points:
        columns = []
        for axis in range(2):
            order = [axis, 1 - axis]
            meets, where = _crossings(x[:, order], self.corners.to(x)[:, order])
            columns.append(torch.where(meets, (where - x[:, axis : axis + 1]).abs(), torch.inf).amin(1))
        return torch.stack(columns, 1)


@dataclass(frozen=True, eq=False)
class Outline(Domain):
    """The inside of a curve that is known by ``points`` (k, 2) along it, in order; the distance is to the nearest of them.

    Raises: ShapeError for fewer than three points.

    >>> Outline(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])).distance(torch.tensor([[1.0, 1.0]]))
    tensor([1.4142])
    """

    points: Float[Tensor, "*points"]
    dimension = 2

    def __post_init__(self):
        _corners("Outline", self.points)

    def __repr__(self) -> str:
        return f"Outline({len(self.points)} points)"

    def contains(self, x: Points) -> Inside:
        return inside(x, self.points.to(x))

    def distance(self, x: Points) -> Distances:
        points = self.points.to(x)
        y = x.detach()
        nearest = ((y[:, :1] - points[:, 0]) ** 2 + (y[:, 1:] - points[:, 1]) ** 2).argmin(
            1
        )  # only it is differentiated
        return length(x - points[nearest])
