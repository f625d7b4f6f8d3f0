"""From an order to a graph: of all variables that come before, which ones does a variable depend on?

    x_j = c + Σ_{i before j} f_i(x_i) + ε,    f_i cubic splines with q coefficients, by least squares
    F_ij = β_iᵀ (σ̂² [(BᵀB)⁻¹]_ii)⁻¹ β_i / q ~ F(q, n − 1 − q·k)  if f_i = 0 and ε is normal: the partial F-test of a group

Bühlmann, Peters & Ernest (2014), arXiv:1310.1533 (significance 0.001, penalised splines); the last step of Rolland et al.
(2022), arXiv:2203.04413. With a true order the p-values of edges that are not there are uniform, apart from what splines leave of
the others; an order found from the same rows is taken for known.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..errors import DataError, MissingPackageError, RangeError
from .checks import data, distinct, full, names_of, solvable
from .ordering import Points, causal_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = Float[Tensor, "d d"]


@dataclass(frozen=True, eq=False)
class CausalGraph:
    """Arrows from causes to effects along an ``order``: those whose p-value is below ``level``; print it.

    ``p_values`` and ``explained`` are [cause, effect]: the F-test of that arrow, 1 against the order, and the share of what is left of
    the effect without this cause that the cause explains.

    >>> order, none = (0, 1), torch.zeros(2, 2)
    >>> graph = CausalGraph(order, torch.tensor([[1.0, 1e-9], [1.0, 1.0]]), torch.tensor([[0.0, 0.5], [0.0, 0.0]]), ("a", "b"), 0.001)
    >>> [(edge["from"], edge["to"]) for edge in graph.edges()]
    [('a', 'b')]
    """

    order: Sequence[int]
    p_values: Matrix
    explained: Matrix
    names: Sequence[str]
    level: float

    @property
    def adjacency(self) -> Bool[Tensor, "d d"]:
        """[cause, effect]: a graph without cycles."""
        return self.p_values < self.level

    @property
    def size(self) -> int:
        """The number of arrows."""
        return int(self.adjacency.sum())

    def edges(self) -> list[dict[str, str | float]]:
        """A row an arrow, the strongest first: ``pandas.DataFrame(graph.edges())`` takes it as it is."""
        cause, effect = self.adjacency.nonzero().T
        rows = self.explained[cause, effect].argsort(descending=True, stable=True)
        return [
            {
                "from": self.names[i],
                "to": self.names[j],
                "explained": float(self.explained[i, j]),
                "p_value": float(self.p_values[i, j]),
            }
            for i, j in zip(cause[rows].tolist(), effect[rows].tolist())
        ]

    def plot(self, title: str = "") -> "Figure":
        """Variables on a circle and arrows from causes to effects, as wide as what they explain."""
        from ..plots import arrows

        return arrows(
            self.explained * self.adjacency, self.names, title=title or f"{self.size} arrows, level {self.level:g}"
        )

    def __str__(self) -> str:
        head = f"causal graph of {len(self.names)} variables, {self.size} arrows at level {self.level:g}"
        wide = max(map(len, self.names))
        rows = [
            f"{e['from']:>{wide}} → {e['to']:<{wide}}  {e['explained']:>9.3f}  {e['p_value']:>9.2g}"
            for e in self.edges()
        ]
        title = [f"{'arrow':<{2 * wide + 3}}  {'explained':>9}  {'p':>9}"] if rows else []
        return "\n".join([head, "order: " + ", ".join(self.names[j] for j in self.order), *title, *rows])


def causal_graph(
    x: Shaped[Tensor, "*shape"],
    *,
    names: Sequence[str] = (),
    order: Sequence[int] | None = None,
    level: float = 0.001,
    knots: int = 10,
) -> CausalGraph:
    """Which column causes which: the `causal_order`, unless you know one, and of its arrows those that a regression needs.

    ``level`` is the chance that an arrow which is not there is kept; ``knots`` bound the bends of each f_i, of which there are fewer
    where rows are few. For mechanisms that add up, with noises that are Gaussian and do not depend on causes. Raises: RangeError for
    a level outside (0, 1), fewer than 2 knots or an order that does not name each column once; DataError for fewer than three
    rows a column; MissingPackageError without scipy; and as `curvatures`.

    >>> cause = torch.randn(400, generator=torch.Generator().manual_seed(0))
    >>> effect = 2 * torch.sin(2 * cause) + torch.randn(400, generator=torch.Generator().manual_seed(1))
    >>> graph = causal_graph(torch.stack([effect, cause, cause.roll(7)], 1), names=("effect", "cause", "other"))
    >>> [(edge["from"], edge["to"]) for edge in graph.edges()]
    [('cause', 'effect')]
    """
    points = data(x)
    n, d = points.shape
    if not 0 < level < 1:
        raise RangeError(f"causal_graph(level={level:g}): must lie in (0, 1); 0.001 is usual.")
    if knots < 2:
        raise RangeError(f"causal_graph(knots={knots}): at least 2, which are straight lines.")
    if order is not None and sorted(order) != list(range(d)):
        raise RangeError(f"causal_graph(order={list(order)[:8]}): wanted each of the {d} columns once.")
    if n < 3 * d:
        raise DataError(f"causal_graph of {n} rows and {d} columns: regressions need at least {3 * d} rows.")
    distinct("causal_graph", points)
    full("causal_graph", points)
    names = names_of(names, d) if names else tuple(f"x{k + 1}" for k in range(d))
    order = causal_order(points) if order is None else list(order)
    count = max(2, min(knots, 1 + n // (3 * d)))
    pieces = [_splines(column, count) for column in points.T]
    p_values, explained = torch.ones(d, d).to(points), torch.zeros(d, d).to(points)
    for place, effect in enumerate(order[1:], 1):
        causes = order[:place]
        tests = _tests([pieces[i] for i in causes], points[:, effect], [names[i] for i in causes])
        p_values[causes, effect], explained[causes, effect] = tests
    return CausalGraph(tuple(order), p_values, explained, names, level)


def _splines(x: Float[Tensor, "n"], knots: int) -> Points:
    """Natural cubic splines on knots at quantiles, without the constant: orthonormal columns of mean zero; the line first."""
    at = x.quantile(torch.linspace(0.02, 0.98, knots).to(x)).unique()
    z = (x - x.mean()) / x.std()
    columns = [z]
    if len(at) > 2:
        t = (at - x.mean()) / x.std()
        cubes = (z[:, None] - t).clamp(min=0) ** 3
        slopes = (cubes[:, :-1] - cubes[:, -1:]) / (t[-1] - t[:-1])
        columns += list((slopes[:, :-1] - slopes[:, -1:]).T)
    design = torch.stack(columns, 1)
    q, r = torch.linalg.qr(design - design.mean(0))
    size = r.diagonal().abs()
    return q[:, size > 1e-8 * size[0]]


def _tests(
    groups: list[Points], y: Float[Tensor, "n"], names: Sequence[str]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """(p-value, partial R²) of each group of columns in the regression of y on all of them."""
    try:
        from scipy.special import fdtrc
    except ImportError as error:
        raise MissingPackageError("causal_graph needs scipy: pip install 'scorefield[metrics]'.") from error
    design, y = torch.cat(groups, 1), y - y.mean()
    gram = design.T @ design
    solvable(gram, [f"f({name})" for name, group in zip(names, groups) for _ in range(group.shape[1])])
    inverse = torch.linalg.inv(gram)
    beta = inverse @ (design.T @ y)
    freedom = len(y) - 1 - design.shape[1]
    noise = float((y - design @ beta).square().sum()) / freedom
    p_values, shares, start = [], [], 0
    for group in groups:
        span = slice(start, start := start + group.shape[1])
        gain = float(beta[span] @ torch.linalg.solve(inverse[span, span], beta[span]))
        statistic = gain / noise / group.shape[1] if noise > 0 else math.inf
        p_values.append(float(fdtrc(group.shape[1], freedom, statistic)))
        shares.append(gain / (gain + freedom * noise))
    return torch.tensor(p_values).to(y), torch.tensor(shares).to(y)
