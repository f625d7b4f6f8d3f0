"""Which penalty, and which edges to believe: by data that the graph has not seen, and by halves of the data.

    cross-validation      mean over folds of ℓ on the fold at the K and η fitted without it; the least, or the largest penalty
                          within one standard error of it
    stability             Π_ij = share of halves of the data in which i–j is found; edges are those with Π ≥ π, of which by chance
                          E[wrong] ≤ q²/((2π − 1) d(d − 1)/2), q the mean number of edges found in a half

Meinshausen & Bühlmann (2010), theorem 1, arXiv:0809.2932, which supposes that wrong edges are exchangeable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..errors import DataError, RangeError
from ..tensors import Draws, uniform
from .blocks import Model, blocks
from .checks import data, distinct
from .graph import Graph, Matrix
from .normal import Normal
from .path import GraphPath, Penalties, graph_path, path_of, scales


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Held-out losses ``means`` ± ``errors`` of each graph of a path; `best` and `sparse` choose one."""

    path: GraphPath
    means: Penalties
    errors: Penalties

    @property
    def best(self) -> Graph:
        """The graph of least held-out loss: it predicts best, and has more edges than there are."""
        return self.path[int(self.means.argmin())]

    @property
    def sparse(self) -> Graph:
        """The graph of the largest penalty within one standard error of the best."""
        k = int(self.means.argmin())
        within = self.means <= self.means[k] + self.errors[k]
        return self.path[int(within.nonzero()[0])]


def cross_validate(
    x: Shaped[Tensor, "*shape"],
    model: Model | None = None,
    *,
    folds: int = 5,
    generator: Draws | None = None,
    names: Sequence[str] = (),
    steps: int = 50,
    ratio: float = 0.01,
) -> CrossValidated:
    """The score-matching loss of every graph of a path on rows that it has not seen, in ``folds`` parts of the rows.

    Raises: RangeError unless 2 ≤ folds ≤ n/2; DataError for rows that repeat others; as `graph_path`.

    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> x[:, 1] += x[:, 0]
    >>> bool(cross_validate(x, generator=torch.Generator().manual_seed(1)).best.adjacency[0, 1])
    True
    """
    points = data(x)
    n = len(points)
    distinct("cross_validate", points)
    if not 2 <= folds <= n // 2:
        raise RangeError(f"cross_validate(folds={folds}): wanted 2 ≤ folds ≤ n/2 = {n // 2}.")
    model = Normal(points.shape[1]) if model is None else model
    whole = graph_path(points, model, names=names, steps=steps, ratio=ratio)
    scaled, mass = whole.x, whole.mass
    fold = uniform(points.new_empty(n), generator).argsort() % folds
    losses = []
    for k in range(folds):
        seen = fold != k
        part = path_of(scaled[seen], mass[seen], model, whole.scale, penalties=whole.penalties)
        fresh = blocks(model, scaled[~seen], mass[~seen])
        losses.append([fresh.loss(each, part.blocks.own(each)) for each in part.scaled])
    table = torch.tensor(losses).double()
    return CrossValidated(whole, table.mean(0), table.std(0) / folds**0.5)


@dataclass(frozen=True, eq=False)
class Stability:
    """How often each edge is found in halves of the data: ``frequencies`` (d, d), and ``found``, the mean number of edges in a half."""

    frequencies: Matrix
    found: float
    names: tuple[str, ...]

    def edges(self, threshold: float = 0.9) -> list[dict[str, str | float]]:
        """The edges found in a share of at least ``threshold`` of the halves, the steadiest first. RangeError outside (½, 1]."""
        _threshold(threshold)
        kept = (self.frequencies >= threshold).triu(1).nonzero().tolist()
        rows = sorted(((float(self.frequencies[i, j]), i, j) for i, j in kept), key=lambda row: (-row[0], row[1:]))
        return [{"from": self.names[i], "to": self.names[j], "frequency": share} for share, i, j in rows]

    def wrong(self, threshold: float = 0.9) -> float:
        """At most so many of these edges are expected to be wrong: q²/((2π − 1) d(d − 1)/2). RangeError outside (½, 1]."""
        _threshold(threshold)
        d = len(self.names)
        return self.found**2 / ((2 * threshold - 1) * d * (d - 1) / 2)


def _threshold(threshold: float) -> None:
    if not 0.5 < threshold <= 1:
        raise RangeError(f"Stability(threshold={threshold:g}): must lie in (0.5, 1]; 0.9 is usual.")


def stability(
    x: Shaped[Tensor, "*shape"],
    model: Model | None = None,
    *,
    edges: int | None = None,
    halves: int = 50,
    generator: Draws | None = None,
    names: Sequence[str] = (),
) -> Stability:
    """How often each edge is among the first ``edges`` of a path, over random halves of the data in complementary pairs.

    ``edges`` is q, by default √(0.8 d(d − 1)/2), at which one wrong edge is expected at most with a threshold of 0.9. Raises:
    RangeError for halves < 2 or edges < 1; DataError for rows that repeat others, which make halves alike; as `graph_path`.

    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> x[:, 1] += x[:, 0]
    >>> [(e["from"], e["to"]) for e in stability(x, edges=1, halves=10, generator=torch.Generator().manual_seed(1)).edges()]
    [('x1', 'x2')]
    """
    points = data(x)
    n, d = points.shape
    distinct("stability", points)
    model = Normal(d) if model is None else model
    scale = scales(points, model)
    wanted = max(1, int((0.8 * d * (d - 1) / 2) ** 0.5)) if edges is None else edges
    if halves < 2 or wanted < 1:
        raise RangeError(f"stability(halves={halves}, edges={edges}): wanted halves ≥ 2 and edges ≥ 1.")
    if n < 8:
        raise DataError(f"stability: {n} rows; halves of at least 4 are needed, and tens to be of use.")
    count, found, done = points.new_zeros(d, d), 0, 0
    while done < halves:
        order = uniform(points.new_empty(n), generator).argsort()
        for half in (order[: n // 2], order[n // 2 : 2 * (n // 2)])[: halves - done]:
            rows = points[half] / scale
            path = path_of(rows, rows.new_ones(len(rows)), model, scale, steps=30, ratio=0.1)
            within = (path.sizes <= wanted).nonzero().flatten()
            support = path.scaled[int(within[-1])] != 0
            count, found, done = count + support, found + int(path.sizes[within[-1]]), done + 1
    named = tuple(names) or path.names
    return Stability((count / halves).fill_diagonal_(0), found / halves, named)
