"""Gibbs walks: x_i ~ p(x_i | x_{−i}) ∝ e^{r_ik}, site by site. The model's distribution is invariant under every update.

Geman & Geman (1984), "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images", IEEE PAMI 6.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..errors import RangeError
from ..tensors import Draws, Streams, uniform
from .models import Discrete, States


@dataclass(frozen=True)
class Gibbs:
    """Sweeps over all sites, each drawn given the others. Use `sample` for draws, `walk` for the chain.

    >>> from scorefield.discrete import Ising
    >>> len(list(Gibbs().walk(Ising(3), torch.zeros(4, 3, dtype=torch.long), 5)))
    5
    """

    @torch.no_grad()
    def walk(self, model: Discrete, x: States, sweeps: int, generator: Draws | None = None) -> Iterator[States]:
        """x after every sweep. Raises: RangeError for sweeps < 1; ShapeError and DataError for x that the model cannot hold."""
        if sweeps < 1:
            raise RangeError(f"Gibbs.walk(sweeps={sweeps}): sweeps must be at least 1.")
        model.check(x)
        for _ in range(sweeps):
            u = uniform(torch.empty(x.shape, dtype=torch.float64), generator).to(x.device)
            x = x.clone()
            for site in range(model.dim):
                edges = model.ratios_at(x, site).double().softmax(1).cumsum(1)
                x[:, site] = (u[:, site, None] > edges[:, :-1]).sum(1).to(x)
            yield x


def sample(model: Discrete, n: int, *, sweeps: int = 100, seed: int = 0) -> States:
    """n independent Gibbs chains after ``sweeps`` sweeps from uniform states: row i depends on (seed, i) alone.

    Raises: RangeError for n or sweeps < 1.

    >>> from scorefield.discrete import Potts
    >>> sample(Potts(2, 3), 4, sweeps=2).shape
    torch.Size([4, 2])
    """
    if n < 1:
        raise RangeError(f"sample(n={n}): n must be at least 1.")
    streams = Streams(seed, range(n))
    start = uniform(torch.empty(n, model.dim, dtype=torch.float64), streams)
    x = (start * model.states).long().clamp(max=model.states - 1)
    for each in Gibbs().walk(model, x, sweeps, streams):
        x = each
    return x
