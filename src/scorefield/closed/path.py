"""Graphs along a path of penalties: one for each λ, from none of the edges to nearly all.

    (K̂, η̂)(λ) = argmin Σ_j ½ θ_jᵀΓ_jθ_j − g_jᵀθ_j + λ Σ_{i≠j} |K_ij|        on columns divided by their scale, K symmetric
    eBIC         2n ℓ(λ) + Σ_{ij ∈ E} w_ij (log n + 4γ log d),   the K of the edges refitted without penalty, w of `blocks.inflation`
    multiplier   δ > 1 on the diagonals of Γ where n ≤ d, for else the objective has no minimum:
                 δ = 2 − 1/(1 + 4e max(6 log d/n, √(6 log d/n)))

Lin, Drton & Shojaie (2016), arXiv:1507.00433; the multiplier is that of Yu, Drton & Shojaie (2019), arXiv:1812.10551; the criterion is
Foygel & Drton (2010), arXiv:1011.6640, with ℓ for minus the log-likelihood, and an edge counted for what it gains by chance, as in a
trace penalty: with w = 1 the criterion takes half of its edges from noise where the K_ii are large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ..errors import DataError, DivergedError, RangeError, ShapeError
from .blocks import Blocks, Model, blocks, inflation, powers
from .checks import Points, data, full, masses, names_of, repeated
from .descent import Quadratic, descend
from .graph import Graph
from .normal import Normal
from .spectral import conjugate_gradients

Matrix = Float[Tensor, "d d"]
Penalties = Float[Tensor, "l"]


def graph_path(
    x: Shaped[Tensor, "*shape"],
    model: Model | None = None,
    *,
    penalties: Penalties | None = None,
    steps: int = 100,
    ratio: float = 0.01,
    multiplier: float | None = None,
    weights: Shaped[Tensor, "..."] | None = None,
    names: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> "GraphPath":
    """Graphs of the columns of x for ``steps`` penalties from the least without edges down to ``ratio`` times that.

    ``model`` is `Normal(d)`, the default, or `Pairwise(d, …)` for positive data. Columns are divided by their standard deviation, or
    root mean square if positive, and penalties are in those units; interactions in units of the data. ``multiplier`` is δ, chosen
    by n and d unless given. Every graph holds the optimality conditions to ``tolerance`` times the first penalty.

    Raises: ShapeError, RangeError, DataError for bad input, by row or column; DataError for n ≤ d with δ = 1; DivergedError if
    the statistics are too near to singular for the smallest penalty.

    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> x[:, 1] += x[:, 0]
    >>> [(e["from"], e["to"]) for e in graph_path(x, names=("a", "b", "c")).select().edges()]
    [('a', 'b')]
    """
    points = data(x)
    model = Normal(points.shape[1]) if model is None else model
    scale = scales(points, model)
    mass = masses(weights, points)
    return path_of(points / scale, mass, model, scale, penalties, steps, ratio, multiplier, names, tolerance)


def scales(x: Points, model: Model) -> Float[Tensor, "d"]:
    """The standard deviation of each column, or its root mean square if positive, after checking that the model can have such data.

    >>> scales(torch.tensor([[1.0], [3.0], [5.0]]), Normal(1)).square()
    tensor([2.6667])
    """
    n, d = x.shape
    if model.size != d:
        raise ShapeError(f"graph_path: {model} for data of {d} columns; the size must be that of the data.")
    if n < 3:
        raise DataError(f"graph_path: {n} rows; some tens are needed for a graph.")
    model.domain.check(x)
    return x.std(0, correction=0) if isinstance(model, Normal) else x.square().mean(0).sqrt()


def path_of(
    x: Points,
    mass: Float[Tensor, "batch"],
    model: Model,
    scale: Float[Tensor, "d"],
    penalties: Penalties | None = None,
    steps: int = 100,
    ratio: float = 0.01,
    multiplier: float | None = None,
    names: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> "GraphPath":
    """`graph_path` of columns that were divided by their scale. Raises: as it does."""
    rows, d = x.shape
    if d < 2:
        raise ShapeError("graph_path of 1 column: a graph needs two.")
    if steps < 1 or not 0 < ratio <= 1 or not 0 < tolerance < 1 or (multiplier is not None and not multiplier >= 1):
        raise RangeError(
            f"graph_path(steps={steps}, ratio={ratio:g}, tolerance={tolerance:g}, multiplier={multiplier}): "
            "wanted steps ≥ 1, 0 < ratio ≤ 1, 0 < tolerance < 1 and multiplier ≥ 1."
        )
    if multiplier is None:
        multiplier = 1.0 if rows > d + 1 else default_multiplier(rows, d)
    if multiplier == 1 and rows > d + 1:
        full("graph_path", x)
    if multiplier == 1 and rows <= d + 1:
        raise DataError(
            f"graph_path(multiplier=1) of {rows} rows in {d} columns: the objective has no minimum; "
            f"let the multiplier be chosen, {default_multiplier(rows, d):.3g} here."
        )
    found = blocks(model, x, mass)
    quadratic = Quadratic(*found.profiled(multiplier))
    if penalties is None:
        penalties = (1 + 1e-9) * quadratic.first() * torch.logspace(0, math.log10(ratio), steps, dtype=torch.float64)
    penalties = penalties.double()
    if penalties.ndim != 1 or not bool((penalties.diff() < 0).all()) or not bool((penalties > 0).all()):
        raise RangeError(f"graph_path(penalties={penalties[:4].tolist()}…): must be positive and fall.")
    solved = torch.stack(list(descend(quadratic, penalties, tolerance=tolerance)))
    shown = names_of(names, d) if names else tuple(f"x{k + 1}" for k in range(d))
    return GraphPath(model, shown, penalties, solved, found, scale, x, mass, multiplier)


def default_multiplier(rows: int, d: int) -> float:
    """δ = 2 − 1/(1 + 4e max(6 log d/n, √(6 log d/n))): between 1 and 2, and 1 for many rows.

    >>> round(default_multiplier(80, 100), 3)
    1.865
    """
    rate = 6 * math.log(d) / rows
    return 2 - 1 / (1 + 4 * math.e * max(rate, math.sqrt(rate)))


@dataclass(frozen=True, eq=False)
class GraphPath:
    """The graphs of `graph_path`: ``path[k]`` is the k-th, ``path.select()`` the one that a criterion prefers.

    ``scaled`` holds K for columns of scale one; `interactions` in units of the data.
    """

    model: Model
    names: tuple[str, ...]
    penalties: Penalties
    scaled: Float[Tensor, "l d d"]
    blocks: Blocks
    scale: Float[Tensor, "d"]
    x: Points
    mass: Float[Tensor, "batch"]
    multiplier: float

    def __len__(self) -> int:
        return len(self.penalties)

    def __getitem__(self, k: int) -> Graph:
        return self._graph(self.scaled[k], float(self.penalties[k]))

    @property
    def interactions(self) -> Float[Tensor, "l d d"]:
        """K for each penalty."""
        unit = self.scale ** powers(self.model)[0]
        return self.scaled / torch.outer(unit, unit)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know before using the graphs; empty if nothing stands out."""
        return repeated(self.x)

    @property
    def sizes(self) -> Int[Tensor, "l"]:
        """The number of edges for each penalty."""
        return ((self.scaled != 0).sum((1, 2)) - (self.scaled.diagonal(dim1=1, dim2=2) != 0).sum(1)) // 2

    @cached_property
    def entered(self) -> Matrix:
        """The largest penalty at which each edge is there; 0 if it never is. Edges sorted by it are sorted by importance."""
        there = (self.scaled != 0) * self.penalties[:, None, None]
        return there.amax(0).fill_diagonal_(0)

    def refit(self, k: int) -> Graph:
        """The k-th graph with its K fitted again without penalty, so that nothing is shrunk. δ is 1.

        Raises: DataError if n rows do not identify that many edges.
        """
        return self._graph(self._refitted(self.scaled[k] != 0), 0.0)

    def ebic(self, gamma: float = 0.5) -> Penalties:
        """2n ℓ + Σ_E w (log n + 4γ log d) of each refitted graph, infinite where it is not identified: smaller is better.

        Raises: RangeError for gamma outside [0, 1].
        """
        if not 0 <= gamma <= 1:
            raise RangeError(f"ebic(gamma={gamma:g}): must lie in [0, 1]; 0 is BIC, 0.5 usual, 1 strict.")
        price, values, seen = math.log(len(self.x)) + 4 * gamma * math.log(len(self.names)), [], {}
        for support in self.scaled != 0:
            key = support.cpu().numpy().tobytes()
            if key not in seen:
                seen[key] = self._criterion(support, price)
            values.append(seen[key])
        return self.penalties.new_tensor(values)

    def select(self, gamma: float = 0.5) -> Graph:
        """The refitted graph of least eBIC. Raises: as `ebic` and `refit`."""
        return self.refit(int(self.ebic(gamma).argmin()))

    def _criterion(self, support: Bool[Tensor, "d d"], price: float) -> float:
        try:
            best = self._refitted(support)
        except DataError:
            return math.inf
        own = self.blocks.own(best)
        each = inflation(self.model, self.x, self.mass, self.blocks, best, own)
        return 2 * len(self.x) * self.blocks.loss(best, own) + price * float((each * support).triu(1).sum())

    def _refitted(self, support: Bool[Tensor, "d d"]) -> Matrix:
        support = support | torch.eye(len(support), dtype=torch.bool)
        degree = int(support.sum(1).max())
        if degree >= len(self.x) - 1:
            raise DataError(
                f"refit: a variable has {degree - 1} neighbours, and {len(self.x)} rows identify fewer; take a larger penalty."
            )
        quadratic = Quadratic(*self.blocks.profiled())
        ridge = quadratic.gamma.diagonal(dim1=1, dim2=2).expand(len(support), -1)
        ridge = (ridge + ridge.T) / 2
        try:
            return conjugate_gradients(
                lambda k: quadratic.apply(k) * support, quadratic.slope * support, lambda k: k / ridge, tolerance=1e-9
            )
        except DivergedError as error:
            raise DataError(f"refit: the edges are not identified by these rows ({error})") from error

    def _graph(self, scaled: Matrix, penalty: float) -> Graph:
        a, b = powers(self.model)
        unit = self.scale**a
        own = self.blocks.own(scaled) / self.scale**b
        return Graph(self.model, scaled / torch.outer(unit, unit), own, self.names, penalty, self.notes)

    def __str__(self) -> str:
        head = (
            f"{type(self.model).__name__} graphs of {len(self.names)} variables and {len(self.x)} rows, "
            f"multiplier {self.multiplier:.3g}"
        )
        criteria = self.ebic().tolist()
        best = criteria.index(min(criteria))
        shown = sorted({*range(0, len(self), max(1, len(self) // 10)), best, len(self) - 1})
        lines = [
            f"{float(self.penalties[k]):>10.4g} {int(self.sizes[k]):>7} {criteria[k]:>12.5g}{'  ← least' if k == best else ''}"
            for k in shown
        ]
        return "\n".join(
            [head, f"{'penalty':>10} {'edges':>7} {'eBIC(0.5)':>12}", *lines, *(f"! {note}" for note in self.notes)]
        )
