"""Everything by enumeration of the q^d states: normaliser, exact draws, maximum likelihood. For small d, and for tests.

log Z = log Σ_x φ(x)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import RangeError
from ..objectives import Objective
from ..tensors import Draws, uniform
from .models import Discrete, Numbers, States

MOST = 2**20


def states(dim: int, kinds: int = 2) -> Int[Tensor, "all d"]:
    """All kinds^dim states, counting up with the last site fastest. Raises: RangeError beyond 2²⁰ of them.

    >>> states(2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if kinds**dim > MOST:
        raise RangeError(
            f"states(dim={dim}, kinds={kinds}): {kinds}^{dim} states are too many to count; draw by Gibbs."
        )
    return torch.cartesian_prod(*[torch.arange(kinds)] * dim).reshape(-1, dim)


def log_normaliser(model: Discrete) -> Float[Tensor, ""]:
    """log Z = log Σ_x φ(x) over all states, with its derivatives. Raises: RangeError beyond 2²⁰ states.

    >>> from scorefield.discrete import Ising
    >>> round(log_normaliser(Ising(3)).item() / torch.tensor(2.0).log().item(), 6)
    3.0
    """
    return model.log_density(states(model.dim, model.states)).logsumexp(0)


def draw(model: Discrete, n: int, generator: Draws | None = None) -> States:
    """n exact draws of the model, by inversion of its enumerated distribution. Raises: RangeError beyond 2²⁰ states.

    >>> from scorefield.discrete import Ising
    >>> draw(Ising(3), 5).shape
    torch.Size([5, 3])
    """
    every = states(model.dim, model.states)
    with torch.no_grad():
        edges = model.log_density(every).double().softmax(0).cumsum(0)
    u = uniform(torch.empty(n, dtype=torch.float64), generator)
    return every[torch.searchsorted(edges, u * edges[-1]).clamp(max=len(every) - 1)]


@dataclass(frozen=True)
class Likelihood(Objective):
    """−log p(x) = log Z − log φ(x), Z by enumeration: what the objectives that need no normaliser are measured against.

    Raises: RangeError beyond 2²⁰ states.

    >>> from scorefield.discrete import Ising
    >>> round(Likelihood()(Ising(2), torch.tensor([[0, 1]])).item(), 4)
    1.3863
    """

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        return log_normaliser(model) - model.log_density(x)
