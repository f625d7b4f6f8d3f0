"""Pictures as plain numbers, which the page draws: planes of arrows and points, curves, and bars.

Numbers are rounded to four digits, so that a picture is a few kilobytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Points = Float[Tensor, "_ 2"]
Field = Callable[[Points], Points]


class Picture(ABC):
    """Something to draw, with a title and, in words, what it shows."""

    title: str

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """As the page gets it."""


@dataclass(frozen=True)
class Plane(Picture):
    """A square of the plane of half width ``reach``: heat or contours, arrows, paths and points over each other.

    ``arrows`` belong to a lattice of the square, row by row from below, and so do ``values``: contours, or a map of colours, with
    zero in the middle where ``signed``. ``jumps`` are single arrows, from here to there.
    """

    title: str
    reach: float
    arrows: Points | None = None
    values: Float[Tensor, "_ _"] | None = None
    signed: bool = False
    points: tuple[tuple[str, Points], ...] = ()
    paths: tuple[Points, ...] = ()
    jumps: tuple[Points, ...] = ()

    def plain(self) -> dict[str, Any]:
        return {
            "kind": "plane",
            "title": self.title,
            "reach": self.reach,
            "arrows": None if self.arrows is None else rounded(self.arrows),
            "values": None if self.values is None else rounded(self.values),
            "signed": self.signed,
            "points": [{"name": name, "at": rounded(at)} for name, at in self.points],
            "paths": [rounded(path) for path in self.paths],
            "jumps": [rounded(jump) for jump in self.jumps],
        }


@dataclass(frozen=True)
class Curves(Picture):
    """Curves over one axis. ``mark`` is a place on it that a line shows."""

    title: str
    across: str
    up: str
    x: Sequence[float | int] | Tensor
    lines: tuple[tuple[str, Sequence[float | int] | Tensor], ...]
    logarithmic: bool = False
    mark: float | None = None

    def plain(self) -> dict[str, Any]:
        return {
            "kind": "curves",
            "title": self.title,
            "across": self.across,
            "up": self.up,
            "x": rounded(torch.as_tensor(self.x)),
            "lines": [{"name": name, "y": rounded(torch.as_tensor(y))} for name, y in self.lines],
            "logarithmic": self.logarithmic,
            "mark": self.mark,
        }


@dataclass(frozen=True)
class Bars(Picture):
    """Numbers side by side, each with its name and its standard error."""

    title: str
    unit: str
    bars: tuple[tuple[str, float, float], ...]

    def plain(self) -> dict[str, Any]:
        bars = [{"name": name, "value": value, "error": error} for name, value, error in self.bars]
        return {"kind": "bars", "title": self.title, "unit": self.unit, "bars": bars}


def rounded(x: Tensor) -> list:
    """Nested lists of numbers with four digits.

    >>> rounded(torch.tensor([[1 / 3, 2.0]]))
    [[0.3333, 2.0]]
    """
    if x.ndim > 1:
        return [rounded(row) for row in x]
    return [float(f"{value:.4g}") for value in x.double().tolist()]


def lattice(reach: float, n: int) -> Points:
    """n × n points of a square of half width ``reach``, row by row from below, in float64.

    >>> lattice(1.0, 2).tolist()
    [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    side = torch.linspace(-reach, reach, n, dtype=torch.float64)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def arrows(field: Field, reach: float, n: int = 19) -> Points:
    """A field's arrows on a lattice of n × n points.

    >>> arrows(lambda x: -x, 1.0, 2)[0].tolist()
    [1.0, 1.0]
    """
    return field(lattice(reach, n))


def heights(function: Callable[[Points], Float[Tensor, "_"]], reach: float, n: int = 49) -> Float[Tensor, "side side"]:
    """A function's values on n × n points, row by row from below."""
    return function(lattice(reach, n)).reshape(n, n)
