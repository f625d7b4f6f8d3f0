"""Bits per dimension of integer data: a density has none, its integral over a cell has.

    log P(n) = log ∫ p(n + v) dv over v ∈ [−½, ½]^d  ≥  E[log (1/K) Σ_k p(n + v_k)/q(v_k | n)],    v_k ~ q    K = 1: a mean of logs
    bits = −log P(n)/(d log 2),        p in units of the data: log p_data = log p_model − Σ log scale

    Flat       q = 1                                        Theis et al. 2016, section 3.1, arXiv:1511.01844
    Learned    v + ½ = sigmoid(m(n) + e^{b(n)} logit u), u ~ U(0, 1)    Ho et al. 2019, section 3.1, arXiv:1902.00275

More draws tighten the bound (Burda et al. 2016, theorem 1, arXiv:1509.00519). Noise of variance s² in log p raises log Σ by
½ Σ π_k(1 − π_k) s_k² in the mean, π the weights; that is taken off again. The bound holds for every density, so also for that
of the flow as it is: the prior's mismatch and the floor, which say how far it is from another, are no part of the error.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from ..calculus import Divergence
from ..data.scaling import Scaling
from ..errors import DataError, RangeError, ShapeError
from ..models import Denoiser
from ..objectives.base import Objective
from ..tensors import Draws, Streams, sum_event, uniform
from .density import plus_minus
from .flow import log_density

Values = Float[Tensor, "batch *event"]
Numbers = Float[Tensor, "batch"]


class Dequantisation(ABC):
    """q(v | y): where in its cell, v ∈ [−½, ½], a number is put."""

    @abstractmethod
    def draw(self, y: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        """(v, log q(v | y)) for data y in the model's units: v of the shape of y, log q in nats and units of the cell."""


@dataclass(frozen=True)
class Flat(Dequantisation):
    """v ~ U(−½, ½): says nothing, needs nothing.

    >>> Flat().draw(torch.zeros(2, 3))[1]
    tensor([0., 0.])
    """

    def draw(self, y: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        return uniform(y, generator) - 0.5, y.new_zeros(len(y))


class Learned(nn.Module, Dequantisation):
    """v + ½ = sigmoid(m + e^b logit u) with (m, b) = network(y): a logistic flow in the cell, flat until it is trained.

    ``network`` maps y of shape (batch, \\*event) to (batch, 2, \\*event) or anything of as many numbers; end it in zeros, as
    `cellwise` does. Train it with the objective `Dequantised`, the model fixed.

    >>> v, log_q = Learned(cellwise((3,))).draw(torch.zeros(2, 3))
    >>> bool((v.abs() <= 0.5).all()), log_q.abs().max().item() < 1e-5
    (True, True)
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, y: Values) -> Float[Tensor, "batch 2 *event"]:
        """(m, b): the shift and the log of the width, in logits of the cell."""
        return self.network(y).reshape(len(y), 2, *y.shape[1:])

    def draw(self, y: Values, generator: Draws | None = None) -> tuple[Values, Numbers]:
        shift, log_width = self(y).unbind(1)
        u = uniform(y, generator).clamp(1e-6, 1 - 1e-6)
        place = shift + log_width.exp() * u.logit()
        log_slope = nn.functional.logsigmoid(place) + nn.functional.logsigmoid(-place)  # of the sigmoid
        return place.sigmoid() - 0.5, sum_event(u.log() + (1 - u).log() - log_width - log_slope)


def cellwise(shape: tuple[int, ...], width: int = 32) -> nn.Module:
    """A small network for `Learned`: two convolutions for images (channels, height, width), two layers for anything else.

    >>> cellwise((1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 2, 8, 8])
    """
    if len(shape) == 3:
        last: nn.Module = nn.Conv2d(width, 2 * shape[0], 3, padding=1)
        layers = [nn.Conv2d(shape[0], width, 3, padding=1), nn.SiLU(), last]
    else:
        last = nn.Linear(width, 2 * math.prod(shape))
        layers = [nn.Flatten(), nn.Linear(math.prod(shape), width), nn.SiLU(), last]
    for weight in last.parameters():
        nn.init.zeros_(weight)
    return nn.Sequential(*layers)


@dataclass(frozen=True, eq=False)
class Dequantised(Objective):
    """log q(v | y) − ⟨s, z⟩, s the model's score at z = y + v/scale held fixed: its gradient is that of the bound on −log P.

    Since ∇ log p *is* the score, a dequantisation is trained without any likelihood: ``fit(Learned(cellwise(shape)),
    Dequantised(model, scaling), batches, steps=...)`` on the batches that the model learned from. The value means nothing.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> Dequantised(known)(Learned(cellwise((2,))), torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    denoiser: Denoiser
    scaling: Scaling = field(default_factory=Scaling.pixels)
    floor: float = 2e-3

    def __call__(self, model: Learned, x: Values, generator: Draws | None = None, **cond) -> Numbers:
        v, log_q = model.draw(x, generator)
        z = _placed(x, v, self.scaling)
        noise, t = self.denoiser.noise, self.denoiser.noise.time(torch.tensor(self.floor, dtype=torch.float64))
        with torch.no_grad():
            alpha, _ = noise.at(t, x)
            pull = (self.denoiser(alpha * z, t, **cond) - z) / self.floor**2
        return log_q - sum_event(pull * z)


@dataclass(frozen=True, eq=False)
class Bits:
    """Bits per dimension, an upper bound, ± the standard error of its estimate: one of each per row, and over all rows.

    >>> print(Bits(torch.tensor([3.0, 3.2, 3.1, 3.1]), torch.tensor([0.01, 0.01, 0.02, 0.01])))
    3.10 ± 0.04 bits per dimension
    """

    value: Numbers
    error: Numbers

    @property
    def mean(self) -> float:
        """The average over the rows."""
        return float(self.value.double().mean())

    @property
    def mean_error(self) -> float:
        """Its standard error, from the spread of the rows if there are several."""
        n = len(self.value)
        return float(self.value.double().std()) / math.sqrt(n) if n > 1 else float(self.error)

    def __str__(self) -> str:
        return f"{plus_minus(self.mean, self.mean_error)} bits per dimension"


def bits_per_dim(
    model: Denoiser,
    x: Num[Tensor, "batch *event"],
    *,
    scaling: Scaling | None = None,
    levels: int = 256,
    dequantisation: Dequantisation | None = None,
    draws: int = 4,
    steps: int = 40,
    tolerance: float = 1e-3,
    divergence: Divergence | None = None,
    floor: float = 2e-3,
    generator: Draws | None = None,
    **cond,
) -> Bits:
    """An upper bound on −log₂ P(x)/d for integers 0 … levels − 1, and its standard error.

    ``x`` is given as the data are, integers; ``scaling`` takes them to the model's units (0..255 onto −1..1 unless you say
    otherwise), and the change of units is counted. ``draws`` points of every cell, each a `log_density` with the arguments of
    that function, are averaged as densities. ``dequantisation``: `Flat()`, or a trained `Learned`. A model that never saw
    dequantised data knows nothing of the inside of a cell, and pays for it here.
    Raises: DataError for numbers that are no integers in range, or a scaling into other units than the model's; RangeError for
    draws < 2; and as `log_density`.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), 0.25 * torch.eye(2)).denoiser(VP())
    >>> round(bits_per_dim(known, torch.tensor([[100, 130]]), draws=2).mean, 2)
    7.39
    """
    scaling, dequantisation = scaling or Scaling.pixels(), dequantisation or Flat()
    if draws < 2:
        raise RangeError(f"bits_per_dim(draws={draws}): at least 2 are needed for a standard error.")
    if x.ndim < 2 or len(x) == 0:
        raise ShapeError(f"bits_per_dim: x of shape {tuple(x.shape)}; rows of integers, (batch, *event), wanted.")
    if not bool((x == x.round()).all()) or not 0 <= float(x.min()) <= float(x.max()) <= levels - 1:
        raise DataError(
            f"bits_per_dim: x from {float(x.min()):g} to {float(x.max()):g} of type {x.dtype}; integers 0 … {levels - 1} "
            "wanted: give the data as they are, before any scaling, or another number of levels."
        )
    parameter = next(model.parameters(), torch.empty(0))
    like = parameter if parameter.is_floating_point() else torch.empty(0)
    y, size = scaling.to_model(x.double()).to(like), math.prod(x.shape[1:])
    unit = torch.as_tensor(scaling.scale, dtype=torch.float64).expand(x.shape[-1]).log().sum() * size / x.shape[-1]
    generator = generator if generator is not None else Streams(0, range(len(x)))
    logs, noises, solvers = [], [], []
    for _ in range(draws):
        with torch.no_grad():
            v, log_q = dequantisation.draw(y, generator)
        found = log_density(
            model,
            _placed(y, v, scaling),
            steps=steps,
            tolerance=tolerance,
            divergence=divergence,
            floor=floor,
            generator=generator,
            **cond,
        )
        logs.append(found.value - unit.to(found.value) - log_q.double())
        noises.append(found.trace)
        solvers.append(found.solver)
    log_p, noise, solver = (torch.stack(part) for part in (logs, noises, solvers))
    share = log_p.softmax(0)
    raised = 0.5 * (share * (1 - share) * noise**2).sum(0)
    spread = ((draws * share - 1) ** 2).sum(0) / (draws * (draws - 1))
    error = (spread + (share * solver).sum(0) ** 2).sqrt()
    nats = log_p.logsumexp(0) - math.log(draws) - raised
    return Bits(-nats / (size * math.log(2)), error / (size * math.log(2)))


def _placed(y: Values, v: Values, scaling: Scaling) -> Values:
    """y + v/scale: a point of the cell of y, in the model's units."""
    return y + v / torch.as_tensor(scaling.scale, dtype=torch.float64).to(y)
