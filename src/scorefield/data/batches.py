"""Batches for ever, batch k a pure function of (data, size, seed, k).

The rows come in the order π₀, π₁, π₂, … : one permutation of all n rows per epoch, π_e a function of (seed, e) alone.
Batch k is the k-th run of ``size`` rows in that endless list. All batches are full, an epoch's end may fall inside
one, each row comes up once an epoch, and a training that stopped at step k goes on from ``stream(k)`` with no state
to save and nothing to replay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..errors import DataError, RangeError
from .check import check

Batch = Tensor | dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Batches:
    """Batch k = rows π[k·size, (k+1)·size) of the seeded permutations π = π₀π₁π₂…

    Use `batches` to make one. ``cond`` holds one row per example for every conditioning argument of the network; with
    it a batch is a dict of ``x`` and those, otherwise a tensor.

    Raises: RangeError for a size below 1; DataError for data that are empty, not finite, or of different lengths.

    >>> [batch.tolist() for batch in Batches(torch.arange(4), 2, seed=1).epoch(0)]
    [[0, 1], [2, 3]]
    """

    x: Shaped[Tensor, "batch *event"]
    size: int
    seed: int = 0
    cond: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        if self.size < 1:
            raise RangeError(f"Batches(size={self.size}): size must be at least 1.")
        if self.seed < 0:
            raise RangeError(f"Batches(seed={self.seed}): seed must be at least 0.")
        check(self.x, "Batches(x)")
        for name, values in self.cond.items():
            if values.ndim == 0 or len(values) != len(self):
                raise DataError(
                    f"Batches({name}): shape {tuple(values.shape)} against {len(self)} rows of x: give one row per "
                    f"example."
                )
            check(values, f"Batches({name})")

    def __len__(self) -> int:
        """The number of rows, not of batches: these never end."""
        return self.x.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x.shape[1:])

    def rows(self, step: int) -> Int[Tensor, "batch"]:
        """Which rows batch number ``step`` holds.

        >>> Batches(torch.zeros(3), 6).rows(0).sort().values
        tensor([0, 0, 1, 1, 2, 2])
        """
        if step < 0:
            raise RangeError(f"Batches.at({step}): steps count from 0.")
        n, first, last = len(self), step * self.size, (step + 1) * self.size
        epochs = range(first // n, (last - 1) // n + 1)
        parts = [_permutation(n, self.seed, e)[max(first - e * n, 0) : last - e * n] for e in epochs]
        return torch.from_numpy(np.concatenate(parts))

    def at(self, step: int) -> Batch:
        """Batch number ``step``, without making the ones before it.

        >>> source = Batches(torch.arange(9), 4)
        >>> torch.equal(source.at(5), next(source.stream(5)))
        True
        """
        rows = self.rows(step).to(self.x.device)
        if not self.cond:
            return self.x[rows]
        return {"x": self.x[rows], **{name: values[rows.to(values.device)] for name, values in self.cond.items()}}

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """Batches start, start + 1, … for ever.

        >>> from itertools import islice
        >>> len(list(islice(Batches(torch.arange(9), 4).stream(), 100)))
        100
        """
        step = start
        while True:
            yield self.at(step)
            step += 1

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches that begin in epoch ``number``: every row once, if size divides the number of rows.

        >>> torch.cat(list(Batches(torch.arange(4), 2).epoch(7))).sort().values
        tensor([0, 1, 2, 3])
        """
        n = len(self)
        for step in range(-(-number * n // self.size), -(-(number + 1) * n // self.size)):
            yield self.at(step)


def batches(x: Shaped[Tensor, "batch *event"], size: int, *, seed: int = 0, **cond: Tensor) -> Batches:
    """An endless source of full batches of rows of x, in seeded permutations.

    Use it for data that fit in memory; further tensors (``label=y``) go along row by row and reach the network under
    their names.

    Raises: RangeError for a size below 1; DataError for data that are empty, not finite, or of different lengths.

    >>> batches(torch.randn(100, 2), 32).at(0).shape
    torch.Size([32, 2])
    """
    return Batches(x, size, seed, cond)


@lru_cache(maxsize=2)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)
