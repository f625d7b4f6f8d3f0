"""Objectives that tell data from noise: logistic regression on the ratio of two densities.

    Contrast              −log σ(G(x)) − Σ_ν log σ(−G(y_ν)),  G = log p − log p_n − log ν,  y ~ p_n
                          Gutmann & Hyvärinen (2012), JMLR 13, 307–361; it finds log Z too
    ConditionalContrast   (1/κ) Σ_κ 2 log(1 + e^{−G(x, y_κ)}),  G = log φ(x) − log φ(y),  y ~ p_c(· | x) symmetric
                          Ceylan & Gutmann (2018), arXiv:1806.03664; the normaliser cancels

Their noise is drawn from the generator alone: with streams, row i has the same noise in every batch.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import DataError, RangeError
from ..objectives import Objective
from ..tensors import Draws, uniform
from .models import Discrete, Numbers, Ratios, States


class Independent(Discrete):
    """log p(x) = Σ_i log p_i(x_i), normalised: the product of the marginals of data, smoothed by half a count; noise for `Contrast`.

    >>> noise = Independent.of(torch.tensor([[0, 1], [1, 1]]), states=2)
    >>> noise.log_density(torch.tensor([[1, 1]])).exp().item() > 0.4
    True
    """

    def __init__(self, logits: Float[Tensor, "d states"]):
        super().__init__()
        self.register_buffer("logits", logits)
        self.dim, self.states = logits.shape

    @classmethod
    def of(cls, x: States, states: int) -> "Independent":
        """The marginals of the rows of x. Raises: DataError without rows."""
        if len(x) == 0:
            raise DataError("Independent.of: x has no rows.")
        counts = nn.functional.one_hot(x.long(), states).double().sum(0) + 0.5
        return cls((counts / counts.sum(1, keepdim=True)).log())

    @property
    def table(self) -> Float[Tensor, "d states"]:
        """log p_i(k)."""
        return self.get_buffer("logits").log_softmax(1)

    def log_density(self, x: States) -> Numbers:
        return self.table.expand(len(x), -1, -1).gather(2, x.long()[..., None])[..., 0].sum(1)

    def ratios(self, x: States) -> Ratios:
        table = self.table.expand(len(x), -1, -1)
        return table - table.gather(2, x.long()[..., None])

    def draw(self, x: States, generator: Draws | None = None) -> States:
        """Draws of the shape of x."""
        u = uniform(torch.empty(x.shape, dtype=torch.float64), generator).to(x.device)
        edges = self.table.exp().cumsum(1)[:, :-1]
        return (u[..., None] > edges).sum(2)


class Normalised(Discrete):
    """log p = log φ − c: a model with its log-normaliser c as one more parameter, for `Contrast` to find.

    ``start`` is c to begin with: d log q unless given, which is right where all parameters are zero.

    >>> from scorefield.discrete import Ising
    >>> Normalised(Ising(2), 1.5).log_density(torch.tensor([[0, 1]])).item()
    -1.5
    """

    def __init__(self, model: Discrete, start: float | None = None):
        super().__init__()
        self.model, self.start = model, start
        self.dim, self.states = model.dim, model.states
        flat = model.dim * math.log(model.states)
        self.log_normaliser = nn.Parameter(torch.tensor(flat if start is None else start, dtype=torch.float64))

    @property
    def names(self) -> tuple[str, ...]:
        """log Z, then the model's."""
        return ("log Z", *self.model.names)

    def log_density(self, x: States) -> Numbers:
        return self.model.log_density(x) - self.log_normaliser

    def ratios(self, x: States) -> Ratios:
        return self.model.ratios(x)


@dataclass(frozen=True)
class Contrast(Objective):
    """−log σ(G(x)) − Σ_ν log σ(−G(y_ν)): noise-contrastive estimation against ``noise``, ``times`` draws of it a row. In nats.

    For a model that is normalised or knows its `Normalised` constant; the more noise, and the liker to the data, the nearer to
    maximum likelihood. Raises: RangeError for times < 1.

    >>> from scorefield.discrete import Ising
    >>> noise = Independent(torch.zeros(2, 2))
    >>> model = Normalised(Ising(2))
    >>> round(Contrast(noise)(model, torch.tensor([[0, 1]])).item(), 4)
    1.3863
    """

    noise: Independent
    times: int = 1

    def __post_init__(self):
        if self.times < 1:
            raise RangeError(f"Contrast(times={self.times}): times must be at least 1.")

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        shift = math.log(self.times)
        total = softplus(self.noise.log_density(x) + shift - model.log_density(x))
        for _ in range(self.times):
            y = self.noise.draw(x, generator)
            total = total + softplus(model.log_density(y) - self.noise.log_density(y) - shift)
        return total


@dataclass(frozen=True)
class ConditionalContrast(Objective):
    """2 log(1 + φ(y)/φ(x)), averaged over ``times`` neighbours y of x: each site of y is drawn afresh with probability ``flip``.

    Conditional noise-contrastive estimation: the noise adapts to the data and the normaliser cancels. Raises: RangeError for
    times < 1 or flip outside (0, 1].

    >>> from scorefield.discrete import Ising
    >>> round(ConditionalContrast()(Ising(2), torch.tensor([[0, 1]])).item(), 4)
    1.3863
    """

    flip: float = 0.3
    times: int = 8

    def __post_init__(self):
        if self.times < 1:
            raise RangeError(f"ConditionalContrast(times={self.times}): times must be at least 1.")
        if not 0 < self.flip <= 1:
            raise RangeError(f"ConditionalContrast(flip={self.flip:g}): flip must lie in (0, 1].")

    def __call__(self, model: Discrete, x: States, generator: Draws | None = None, **cond) -> Numbers:
        own = model.log_density(x)
        total = torch.zeros_like(own)
        for _ in range(self.times):
            u = uniform(torch.empty(x.shape, dtype=torch.float64), generator).to(x.device)
            fresh = (u / self.flip * model.states).long().clamp(max=model.states - 1).to(x)
            y = torch.where(u < self.flip, fresh, x)
            total = total + 2 * softplus(model.log_density(y) - own)
        return total / self.times
