"""Objectives of the ratios r_ik(x) = log p(x with x_i = k) − log p(x), in which the normaliser cancels.

    PseudoLikelihood   Σ_i log Σ_k e^{r_ik} = −Σ_i log p(x_i | x_{−i})     Besag (1975), The Statistician 24(3), doi:10.2307/2987782
    RatioMatching      Σ_i Σ_{k≠x_i} (1 + e^{−r_ik})^{−2}                  Hyvärinen (2007), CSDA 51(5), doi:10.1016/j.csda.2006.09.003
    Flow               Σ_i Σ_{k≠x_i} e^{r_ik / 2}                          Sohl-Dickstein et al. 2011, arXiv:0906.4779

Each is least in expectation at the true ratios. For families whose log-density is linear in the parameters the first and the
last are convex. Hyvärinen's is for two states; here every pair of neighbours is compared, which is the same for two.
"""

from dataclasses import dataclass

import torch

from ..objectives import Objective
from ..tensors import Draws
from .models import Discrete, Numbers, Ratios, States


def _others(model: Discrete, x: States) -> tuple[Ratios, Ratios]:
    """r, and 1 where k is another state than x_i."""
    r = model.ratios(x)
    return r, torch.ones_like(r).scatter(2, x.long()[..., None], 0.0)


@dataclass(frozen=True)
class PseudoLikelihood(Objective):
    """−Σ_i log p(x_i | x_{−i}): nearly as sharp as maximum likelihood where couplings are weak. In nats.

    >>> from scorefield.discrete import Ising
    >>> round(PseudoLikelihood()(Ising(2), torch.tensor([[0, 1]])).item(), 4)
    1.3863
    """

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        return model.ratios(x).logsumexp(2).sum(1)


@dataclass(frozen=True)
class RatioMatching(Objective):
    """Σ_i (1 − p(x_i | x_{−i}))² for two states: the counterpart of score matching; bounded, so that no row weighs much.

    >>> from scorefield.discrete import Ising
    >>> RatioMatching()(Ising(2), torch.tensor([[0, 1]])).item()
    0.5
    """

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        r, other = _others(model, x)
        return (torch.sigmoid(r) ** 2 * other).sum((1, 2))


@dataclass(frozen=True)
class Flow(Objective):
    """Σ_y √(p(y)/p(x)) over neighbours y: minimum probability flow; the probability that dynamics would carry away from the data.

    Flow between data is counted, which keeps rows apart and alters no minimum. Rows that the model finds unlikely weigh much.

    >>> from scorefield.discrete import Ising
    >>> Flow()(Ising(2), torch.tensor([[0, 1]])).item()
    2.0
    """

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        r, other = _others(model, x)
        return ((0.5 * r).exp() * other).sum((1, 2))
