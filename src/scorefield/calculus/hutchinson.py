"""Random traces, and the part of them that need not be random.

    tr A  =  tr(Qᵀ A Q)  +  E ⟨w, A w⟩,   w = (I − QQᵀ) v,  E[v vᵀ] = I,   for every orthonormal Q independent of v

With Q a basis of A S, S random, the first part takes the large eigenvalues of A exactly and leaves the small ones to the
probes: Hutch++ (Meyer, Musco, Musco & Woodruff 2021, algorithm 1, arXiv:2010.09649), each row with its own Q.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..errors import RangeError
from ..spaces import Euclidean, Space
from ..tensors import Draws
from .base import Divergence, Field, Numbers, Probes, Values
from .probes import independent
from .pulled import evaluated, pull


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """Mean over probes of ⟨Pv, Df Pv⟩: unbiased, one backward pass per probe whatever the dimension.

    With one Rademacher probe it is sliced score matching with variance reduction (Song et al. 2019, eq. 8, arXiv:1905.07088).
    ``draw`` chooses the probes: `independent`, `orthogonal` or `gaussian`. With ``rank`` = r > 0, r more passes find where the
    Jacobian acts and another r take the trace there exactly; ``Hutchinson(3, rank=3)`` is Hutch++ with nine products. It pays
    where a few directions carry most of the trace. Raises: RangeError for probes < 1 or rank < 0.

    >>> value, div = Hutchinson()(lambda x: -2 * x, torch.ones(1, 3))
    >>> div
    tensor([-6.])
    """

    probes: int = 1
    draw: Callable[[Values, int, Draws | None], Probes] = independent
    space: Space = field(default_factory=Euclidean)
    rank: int = 0

    def __post_init__(self):
        if self.probes < 1:
            raise RangeError(f"Hutchinson(probes={self.probes}): probes must be at least 1.")
        if self.rank < 0:
            raise RangeError(f"Hutchinson(rank={self.rank}): rank must be at least 0, which is plain Hutchinson.")

    def __call__(self, f: Field, x: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        keep = torch.is_grad_enabled()
        y, x = evaluated(f, x)

        def along(directions: Probes) -> tuple[Probes, Numbers]:
            v = torch.stack([self.space.tangent(x, each) for each in directions])
            pulled = pull(y, x, v)
            return torch.stack([self.space.tangent(x, each) for each in pulled]), (pulled * v).flatten(2).sum((0, 2))

        probes, rank = self.draw(x, self.probes, generator), min(self.rank, x[0].numel())
        known = x.new_zeros(len(x))
        if rank:
            with torch.no_grad():
                found = along(self.draw(x, rank, generator))[0].flatten(2)
                q = torch.linalg.qr(found.double().permute(1, 2, 0)).Q.to(x)
                flat = probes.flatten(2).permute(1, 2, 0)
                probes = (flat - q @ (q.mT @ flat)).permute(2, 0, 1).reshape(probes.shape)
            known = along(q.permute(2, 0, 1).reshape(rank, *x.shape))[1]
        total = known + along(probes)[1] / self.probes
        return (y, total) if keep else (y.detach(), total.detach())
