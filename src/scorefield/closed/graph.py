"""A graph of variables: no edge i–j means that x_i and x_j are independent given all others, for K_ij is zero.

    log p = −(1/2a) (xᵃ)ᵀ K xᵃ + (1/b) ηᵀxᵇ + const          Gaussian: a = b = 1, K the precision, η = Kμ

K and η are found by penalised score matching: `graph_path`. Edges of different variables are compared by the strength

    ρ_ij = −K_ij / √(K_ii K_jj),                              in a Gaussian the partial correlation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ShapeError
from .blocks import Model, powers
from .family import Numbers, Points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = Float[Tensor, "d d"]


@dataclass(frozen=True, eq=False)
class Graph:
    """A score with a graph: ``graph(x)`` is ∇log p, ``graph.edges()`` a table, ``graph.plot()`` a picture; print it.

    ``interactions`` is K, ``own`` is η, ``penalty`` the λ that made them; 0 after `GraphPath.refit`. ``notes`` say what
    to know before using it, as of rows that repeat others.

    >>> from scorefield.closed import Normal
    >>> graph = Graph(Normal(2), torch.tensor([[2.0, -1.0], [-1.0, 2.0]]), torch.zeros(2), ("a", "b"))
    >>> graph.edges()
    [{'from': 'a', 'to': 'b', 'interaction': -1.0, 'strength': 0.5}]
    >>> graph(torch.tensor([[1.0, 0.0]]))
    tensor([[-2.,  1.]])
    """

    model: Model
    interactions: Matrix
    own: Float[Tensor, "d"]
    names: Sequence[str]
    penalty: float = 0.0
    notes: Sequence[str] = ()

    def __post_init__(self):
        if not len(self.names) == len(self.own) == len(self.interactions) == self.model.size:
            raise ShapeError(
                f"Graph: {len(self.names)} names and {len(self.own)} linear terms for interactions of "
                f"{len(self.interactions)} variables and a model of {self.model.size}: as many of each."
            )

    @property
    def adjacency(self) -> Bool[Tensor, "d d"]:
        """Which pairs have an edge."""
        return (self.interactions != 0).fill_diagonal_(False)

    @property
    def size(self) -> int:
        """The number of edges."""
        return int(self.adjacency.sum()) // 2

    @property
    def strengths(self) -> Matrix:
        """ρ_ij, and 0 on the diagonal: positive where two variables are large together."""
        own = self.interactions.diagonal()
        return (-self.interactions / torch.outer(own, own).abs().sqrt()).fill_diagonal_(0)

    def edges(self) -> list[dict[str, str | float]]:
        """A row an edge, the strongest first: ``pandas.DataFrame(graph.edges())`` takes it as it is."""
        row, column = self.adjacency.triu().nonzero().T
        strength = self.strengths[row, column]
        rows = strength.abs().argsort(descending=True, stable=True).tolist()
        return [
            {
                "from": self.names[int(row[k])],
                "to": self.names[int(column[k])],
                "interaction": float(self.interactions[row[k], column[k]]),
                "strength": float(strength[k]),
            }
            for k in rows
        ]

    @property
    def flaw(self) -> str | None:
        """Why no density has these parameters, if none has: score matching never asks for one, and a large penalty helps."""
        row, column = torch.triu_indices(len(self.own), len(self.own))
        return self.model.improper(torch.cat([self.own, self.interactions[row, column]]))

    def __call__(self, x: Points) -> Points:
        """∇log p(x)."""
        a, b = powers(self.model)
        k, eta = self.interactions.to(x), self.own.to(x)
        if a == b == 1:
            return eta - x @ k
        return eta * x ** (b - 1) - x ** (a - 1) * (x**a @ k)

    def log_density(self, x: Points) -> Numbers:
        """log p(x) up to a constant, in nats."""
        a, b = powers(self.model)
        k, eta = self.interactions.to(x), self.own.to(x)
        v = x if a == 1 else x**a
        own = x if b == 1 else x.log() if b == 0 else x**b / b
        return own @ eta - ((v @ k) * v).sum(1) / (2 * a)

    def energy(self, x: Points) -> Numbers:
        """−log p(x) up to a constant, in nats; infinite outside the domain."""
        inside = self.model.domain.contains(x)
        return torch.where(inside, -self.log_density(torch.where(inside[:, None], x, 1.0)), torch.inf)

    def plot(self, title: str = "") -> "Figure":
        """The variables on a circle, lines between them as wide as |ρ_ij|: blue for positive, red for negative."""
        from ..plots import network

        return network(self.strengths, self.names, title=title or f"{self.size} edges, λ = {self.penalty:.3g}")

    def __str__(self) -> str:
        kind, d = type(self.model).__name__, len(self.names)
        head = f"{kind} graph of {d} variables, {self.size} of {d * (d - 1) // 2} edges, penalty {self.penalty:.4g}"
        wide = max(map(len, self.names))
        rows = [
            f"{e['from']:>{wide}} – {e['to']:<{wide}}  {e['interaction']:>11.4g}  {e['strength']:>+8.3f}"
            for e in self.edges()
        ]
        title = [f"{'edge':<{2 * wide + 3}}  {'interaction':>11}  {'strength':>8}"] if rows else []
        said = [f"no density: {self.flaw}"] * (self.flaw is not None) + list(self.notes)
        return "\n".join([head, *title, *rows, *(f"! {note}" for note in said)])
