"""Distances between all pairs of rows, a block at a time: ‖x_i − y_j‖² = ‖x_i‖² + ‖y_j‖² − 2 x_i·y_j.

One matrix product a block, in float64 and centred at the mean of y, so that the cancellation leaves an absolute error
of about 1e-16 of the squared spread. Memory is bounded by the block and not by the number of pairs.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from ..tensors import require_tensor

_BLOCK = 4_000_000


def rows(*samples: Tensor, least: int = 1) -> list[Tensor]:
    """Each sample as a float64 matrix (n, d), after checking that they can be compared.

    Raises: ShapeError if the events differ; DataError for fewer than ``least`` rows or a value that is not finite.

    >>> [tuple(x.shape) for x in rows(torch.zeros(3, 2, 2), torch.zeros(5, 2, 2))]
    [(3, 4), (5, 4)]
    """
    for x in samples:
        require_tensor(x, "sample")
    event = samples[0].shape[1:]
    for x in samples:
        if x.ndim == 0 or x.shape[1:] != event:
            shapes = " and ".join(str(tuple(s.shape)) for s in samples)
            raise ShapeError(f"samples of shapes {shapes}: rows must have the same event shape to be compared.")
        if len(x) < least:
            raise DataError(f"sample of shape {tuple(x.shape)}: at least {least} rows are needed.")
        bad = (~x.flatten(1).isfinite().all(1)).nonzero().flatten().tolist() if x.ndim > 1 else []
        if bad or not bool(x.isfinite().all()):
            where = f" in rows {', '.join(map(str, bad[:8]))}{', …' if len(bad) > 8 else ''}" if bad else ""
            raise DataError(
                f"sample of shape {tuple(x.shape)} has values that are not finite{where}: remove those rows."
            )
    return [x.detach().double().reshape(len(x), -1) for x in samples]


def continuous(x: Tensor) -> Float[Tensor, "n d"]:
    """x as a float64 matrix of at least two rows. Raises: ShapeError for integers or booleans, which have no score; DataError.

    >>> continuous(torch.ones(2, 1, 3)).shape
    torch.Size([2, 3])
    """
    require_tensor(x, "x")
    if not x.is_floating_point():
        raise ShapeError(
            f"x of type {str(x.dtype).removeprefix('torch.')}: counts and labels have no score; pass x.double()."
        )
    return rows(x, least=2)[0]


def squared_distances(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]
) -> Iterator[tuple[slice, Float[Tensor, "block m"]]]:
    """Blocks of ‖x_i − y_j‖², each with the slice of rows of x that it covers.

    >>> [(part, block)] = squared_distances(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0]]))
    >>> block.tolist()
    [[4.0], [1.0]]
    """
    centre = y.mean(0)
    x, y = x - centre, y - centre
    norm = y.square().sum(1)
    step = max(1, _BLOCK // len(y))
    for start in range(0, len(x), step):
        part = slice(start, min(start + step, len(x)))
        block = torch.addmm(norm, x[part], y.T, alpha=-2).add_(x[part].square().sum(1, keepdim=True))
        yield part, block.clamp_(min=0)


def nearest(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], k: int = 1
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k rows of y nearest to each row of x: distances, ascending, and indices.

    Raises: RangeError unless 1 ≤ k ≤ m.

    >>> distance, index = nearest(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0], [3.0]]), 2)
    >>> index.tolist()
    [[1, 0]]
    """
    _check(k, len(y))
    found = [block.topk(k, largest=False) for _, block in squared_distances(x, y)]
    return torch.cat([f.values for f in found]).sqrt(), torch.cat([f.indices for f in found])


def nearest_others(x: Float[Tensor, "n d"], k: int = 1) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k other rows nearest to each row of x: the distance of a row to itself does not count, that to its twin does.

    Raises: RangeError unless 1 ≤ k < n.

    >>> nearest_others(torch.tensor([[0.0], [1.0], [3.0]]))[0].flatten().tolist()
    [1.0, 1.0, 2.0]
    """
    _check(k, len(x) - 1)
    found = []
    for part, block in squared_distances(x, x):
        block[torch.arange(len(block)), torch.arange(part.start, part.stop)] = torch.inf
        found.append(block.topk(k, largest=False))
    return torch.cat([f.values for f in found]).sqrt(), torch.cat([f.indices for f in found])


def _check(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise RangeError(f"k = {k} nearest neighbours among {most} rows: k must lie between 1 and {most}.")
