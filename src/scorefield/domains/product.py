"""Products of domains: x = (x_1, …, x_k), each part in its own domain; directions block by block, the distance the least."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import RangeError
from .base import Distances, Domain, Inside, Points


@dataclass(frozen=True)
class Product(Domain):
    """Ω_1 × … × Ω_k, with the number of columns that each takes: a direction and an amount, bounded and unbounded variables.

    Raises: RangeError if domains and sizes do not pair up or a size is not the domain's dimension.

    >>> from scorefield.domains import Box, Real
    >>> Product((Real(), Box(0.0, 1.0)), (1, 1)).gaps(torch.tensor([[5.0, 0.25]]))
    tensor([[   inf, 0.2500]])
    """

    domains: tuple[Domain, ...]
    sizes: tuple[int, ...]

    def __post_init__(self):
        right = len(self.domains) == len(self.sizes) > 0 and all(
            size > 0 and domain.dimension in (None, size) for domain, size in zip(self.domains, self.sizes)
        )
        if not right:
            raise RangeError(
                f"{self}: wanted one positive number of columns for each domain, its dimension if it has one."
            )

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """The number of columns that x must have, if it is known."""
        return sum(self.sizes)

    def _parts(self, x: Points) -> list[tuple[Domain, Tensor]]:
        return list(zip(self.domains, x.split(list(self.sizes), dim=1)))

    def contains(self, x: Points) -> Inside:
        return torch.stack([domain.contains(part) for domain, part in self._parts(x)]).all(0)

    def distance(self, x: Points) -> Distances:
        return torch.stack([domain.distance(part) for domain, part in self._parts(x)]).amin(0)

    def gaps(self, x: Points) -> Points:
        return torch.cat([domain.gaps(part) for domain, part in self._parts(x)], 1)

    def tangent(self, x: Points, v: Points) -> Points:
        parts = zip(self._parts(x), v.split(list(self.sizes), dim=1))
        return torch.cat([domain.tangent(part, along) for (domain, part), along in parts], 1)

    def bend(self, x: Points, v: Points) -> Points:
        parts = zip(self._parts(x), v.split(list(self.sizes), dim=1))
        return torch.cat([domain.bend(part, along) for (domain, part), along in parts], 1)
