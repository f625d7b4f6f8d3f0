"""The densities of the page: chosen by name, by modes that were dragged, or by a table, each with its score at every σ.

Noise is x_σ = x_0 + σ z throughout. The law of a table, and of a run that no toy made, is that of its rows:
p_σ = (1/n) Σ_i N(y_i, σ² I), `exact.Empirical`.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field

from .. import plane
from ..errors import RangeError, UnknownNameError
from ..exact import Density, Empirical, Mixture
from .tables import Table
from .wire import Wire

Name = Literal["mixture", "moons", "rings", "spirals", "checkerboard", "table", "run"]
Place = Annotated[float, Field(ge=-4, le=4)]
Sigma = Annotated[float, Field(ge=0.02, le=5, description="the noise level of x = x_0 + sigma z")]
MOST_ROWS = 2000

TOYS: dict[str, Callable[[], Density]] = {
    "moons": plane.moons,
    "rings": plane.Rings,
    "spirals": plane.spirals,
    "checkerboard": plane.Checkerboard,
}


class Mode(Wire):
    """One Gaussian of a mixture, weight · N((x, y), std² I)."""

    x: Place
    y: Place
    std: float = Field(default=0.3, ge=0.05, le=2)
    weight: float = Field(default=1.0, ge=0.01, le=100)


THREE = (Mode(x=-1.2, y=-0.7), Mode(x=1.2, y=-0.7), Mode(x=0.0, y=1.3))


class Chosen(Wire):
    """A density as the page names it: ``modes`` are those of a mixture, ``table`` and ``columns`` those of a table."""

    name: Name = "mixture"
    modes: Annotated[tuple[Mode, ...], Field(min_length=1, max_length=24)] = THREE
    table: str = ""
    columns: tuple[str, str] = ("", "")

    @property
    def key(self) -> str:
        """What tells this density from others: what of it matters, as text."""
        if self.name == "mixture":
            return "mixture " + " ".join(f"{m.x:g},{m.y:g},{m.std:g},{m.weight:g}" for m in self.modes)
        return f"table {self.table} {self.columns}" if self.name == "table" else self.name


def mixture(modes: tuple[Mode, ...]) -> Mixture:
    """Σ_k w_k N(m_k, s_k² I).

    >>> mixture((Mode(x=1, y=2, std=1),)).score(torch.zeros(1, 2), 1.0, 0.0).tolist()
    [[1.0, 2.0]]
    """
    stds = torch.tensor([mode.std for mode in modes])
    return Mixture(
        torch.tensor([mode.weight for mode in modes]),
        torch.tensor([[mode.x, mode.y] for mode in modes]),
        stds[:, None, None] ** 2 * torch.eye(2),
    )


def of_table(tables: dict[str, Table], chosen: Chosen) -> Empirical:
    """The law of a table's rows, the first 2,000 of them. Raises: UnknownNameError for a table that was not sent."""
    if not chosen.table:
        raise RangeError("density table: no table was sent; choose a CSV file first.")
    if chosen.table not in tables:
        raise UnknownNameError(f"table {chosen.table!r}: it was not sent to this server; choose the CSV file again.")
    table = tables[chosen.table]
    first, second = (name or table.columns[k] for k, name in enumerate(chosen.columns))
    return Empirical(table.points(first, second)[:MOST_ROWS])


def sharp(density: Density) -> bool:
    """Whether a law has no score without noise: rows, and what has edges.

    >>> sharp(plane.Checkerboard()), sharp(plane.moons())
    (True, False)
    """
    return isinstance(density, Empirical | plane.Checkerboard)


def toy(chosen: Chosen) -> Density:
    """A mixture of the reader's modes, or a law of `scorefield.plane`.

    >>> toy(Chosen(name="rings")).shape
    (2,)
    """
    return mixture(chosen.modes) if chosen.name == "mixture" else TOYS[chosen.name]()
