"""Consistency models: f(x_t, t) = x_0 all along each path of the probability flow, so that one evaluation is a sample.

    f(x, 0) = x,        f(x_t, t) = f(x_s, s) for x_t and x_s on one path

    distillation   d(f(x_t, t), f⁻(x_s, s)),  x_s one step of a teacher from x_t       Song et al. 2023, eq. 7, arXiv:2303.01469
    training       d(f(x_t, t), f⁻(x_s, s)),  x_s = α_s x_0 + σ_s z with the z of x_t   ibid., eq. 10

f⁻ is f without gradient; no moving average (Song & Dhariwal 2024, section 3.2, arXiv:2310.14189). d is their pseudo-Huber distance
√(|a − b|² + c²) − c, section 3.3. Training estimates the teacher's step without bias as the levels grow dense, with much more variance.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..tensors import Draws, normal, sum_event
from .neighbours import Neighbours
from .steps import Step, heun

Losses = Float[Tensor, "batch"]
Distance = Callable[[Values, Values], Losses]


def squared(a: Values, b: Values) -> Losses:
    """½|a − b|², one number per example.

    >>> squared(torch.ones(1, 2), torch.zeros(1, 2))
    tensor([1.])
    """
    return 0.5 * sum_event((a - b) ** 2)


def pseudo_huber(a: Values, b: Values, scale: float = 0.03) -> Losses:
    """√(|a − b|² + c²) − c with c = scale · √d: quadratic for small differences, linear for large ones.

    Song & Dhariwal (2024), section 3.3, arXiv:2310.14189, where scale is 0.00054; larger is nearer to the square.

    >>> pseudo_huber(torch.ones(1, 4), torch.zeros(1, 4), scale=1e-6).round()
    tensor([2.])
    """
    c = scale * math.sqrt(a[0].numel())
    return (sum_event((a - b) ** 2) + c**2).sqrt() - c


def frozen(model: Denoiser) -> Denoiser:
    """A copy without gradients, in eval mode: what a student learns from must not move.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> frozen(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())).training
    False
    """
    return copy.deepcopy(model).requires_grad_(False).eval()


class Consistency(nn.Module, ABC):
    """d(f(x_t, t), f⁻(x_s, s))/(r_t − r_s)^weight, t and s from ``neighbours``, r = σ/α: write `earlier`, how x_s follows from x_t.

    It is an objective for `train`: (model, x, generator, **cond) -> one loss per example. The model is a denoiser in form, and must
    keep f(x, 0) = x, as `Preconditioned` does by `models.edm`. Raises: RangeError for a weight outside [0, 1].
    """

    def __init__(self, neighbours: Neighbours, distance: Distance = pseudo_huber, weight: float = 0.0):
        super().__init__()
        if not 0 <= weight <= 1:
            raise RangeError(
                f"{type(self).__name__}(weight={weight:g}): weight must lie in [0, 1]; 0 weighs all alike."
            )
        self.neighbours = neighbours
        self.distance = distance
        self.weight = weight

    @abstractmethod
    def earlier(self, model: Denoiser, x: Values, z: Values, xt: Values, t: Times, s: Times, **cond) -> Values:
        """x_s on the path of x_t = α_t x + σ_t z."""

    def forward(self, model: Denoiser, x: Values, generator: Draws | None = None, **cond) -> Losses:
        t, s = self.neighbours(x, generator)
        z = normal(x, generator)
        alpha, sigma = model.noise.at(t, x)
        xt = alpha * x + sigma * z
        with torch.no_grad():
            target = model(self.earlier(model, x, z, xt, t, s, **cond), s, **cond)
        weight = (model.noise.ratio(t) - model.noise.ratio(s)) ** -self.weight
        return weight.to(x) * self.distance(model(xt, t, **cond), target)


class ConsistencyDistillation(Consistency):
    """d(f(x_t, t), f⁻(x_s, s)) with x_s the teacher's step from x_t: a student that jumps where its teacher walks.

    The teacher may be guided (`guidance.Free`): its guidance is then in the student, at no cost. Start from the teacher's weights.
    ``step`` is `heun` or `ddim`. Song et al. (2023), eq. 7, arXiv:2303.01469. Raises: RangeError, as `Consistency`.

    >>> from scorefield.exact import Gaussian; from scorefield.grids import karras; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> ConsistencyDistillation(known, Neighbours(karras(VP(), 8)))(known, torch.ones(3, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        teacher: Denoiser,
        neighbours: Neighbours,
        distance: Distance = pseudo_huber,
        weight: float = 0.0,
        step: Step = heun,
    ):
        super().__init__(neighbours, distance, weight)
        self.teacher: Denoiser = frozen(teacher)
        self.step = step

    def earlier(self, model: Denoiser, x: Values, z: Values, xt: Values, t: Times, s: Times, **cond) -> Values:
        return self.step(self.teacher, xt, t, s, **cond)


class ConsistencyTraining(Consistency):
    """d(f(x_t, t), f⁻(x_s, s)) with x_t and x_s made of the same data and the same noise: no teacher is needed.

    The improved recipe is ``probabilities=lognormal(…)``, ``weight=1`` and a grid that is refined while training: the number of
    levels is doubled by continuing with ``train(state=…)`` and the next objective. Song et al. (2023), eq. 10, arXiv:2303.01469;
    Song & Dhariwal (2024), arXiv:2310.14189. Raises: RangeError, as `Consistency`.

    >>> from scorefield.exact import Gaussian; from scorefield.grids import karras; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> ConsistencyTraining(Neighbours(karras(VP(), 8)), weight=1.0)(known, torch.ones(3, 2)).shape
    torch.Size([3])
    """

    def earlier(self, model: Denoiser, x: Values, z: Values, xt: Values, t: Times, s: Times, **cond) -> Values:
        alpha, sigma = model.noise.at(s, x)
        return alpha * x + sigma * z
