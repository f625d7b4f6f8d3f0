"""The denoising bound on log p(x): what one may say without a Jacobian.

    −log p(x) ≤ |x|²/2r_1² + ½ E_z[|x − x̂_0|²/r_0² + d log 2πr_0²] + ½ ∫ (−dSNR/dt) E_z|x − x̂(x_t, t)|² dt

with r_0 = floor and r_1 = σ(1)/α(1): the divergence of x_1 from the prior, the code length of x under N(x̂_0, r_0² I), and the
way between (Kingma et al. 2021, eq. 11 in continuous time, arXiv:2107.00630; Song et al. 2021b, theorem 3, arXiv:2101.09258).
It bounds the density of the reverse *stochastic* equation, row by row. For exact scores it is an equality but for what the
prior and the floor leave, as in `LogDensity`; for others it is below, by the weighted square of their error.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, RangeError, ShapeError
from ..models import Denoiser
from ..objectives import weights
from ..objectives.times import Importance, Times, Uniform
from ..tensors import Draws, Streams, normal, sum_event
from .density import plus_minus
from .scale import require_scale

Values = Float[Tensor, "batch *event"]
Numbers = Float[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class Bound:
    """A lower bound on log p(x) in nats, ± the standard error of its estimate, one of each per row.

    >>> print(Bound(torch.tensor([-1.8379]), torch.tensor([0.0123])))
    -1.84 ± 0.01 nats
    """

    value: Numbers
    error: Numbers

    def __str__(self) -> str:
        return "\n".join(f"{plus_minus(*pair)} nats" for pair in zip(self.value.tolist(), self.error.tolist()))


def elbo(
    model: Denoiser,
    x: Values,
    *,
    times: Times | None = None,
    draws: int = 64,
    generator: Draws | None = None,
    **cond,
) -> Bound:
    """A bound on log p(x) in nats, and its standard error, from ``draws`` noisy copies of each row and no derivative.

    Use it where Jacobians are too dear, and as a check: `log_density` of the same model should not be far away. ``times`` are
    `Importance()`, even in log σ/α, unless you choose; `Uniform()` has the same mean and a larger error. |z|² of the noise,
    whose mean is known, serves as a control variate.
    Raises: RangeError for draws < 2; ShapeError for x of another shape than the model's; DataError for other units.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> bound = elbo(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), torch.zeros(1, 2))
    >>> abs(bound.value.item() + math.log(2 * math.pi)) < 5 * bound.error.item() + 0.01
    True
    """
    times = times or Importance()
    if not isinstance(times, Importance | Uniform):
        raise RangeError(f"elbo(times={times}): they must cover every noise level; pass Importance() or Uniform().")
    if draws < 2:
        raise RangeError(f"elbo(draws={draws}): at least 2 are needed for a standard error.")
    if model.shape is not None and tuple(x.shape[1:]) != tuple(model.shape):
        raise ShapeError(f"elbo: x of shape {tuple(x.shape)}; the model is one of events {tuple(model.shape)}.")
    if len(x) == 0 or not bool(x.isfinite().all()):
        raise DataError(f"elbo: x of shape {tuple(x.shape)} is empty or not finite; finite numbers wanted.")
    require_scale(model, x, **cond)
    generator = generator if generator is not None else Streams(0, range(len(x)))
    noise, size, floor = model.noise, math.prod(x.shape[1:]), torch.tensor(times.floor, dtype=torch.float64)

    def residual(t: Tensor) -> tuple[Numbers, Numbers]:
        """(|x − x̂|², |z|²) at one noisy copy of every row."""
        z = normal(x, generator)
        alpha, sigma = noise.at(t, x)
        return sum_event((x - model(alpha * x + sigma * z, t, **cond)).double() ** 2), sum_event(z.double() ** 2)

    way, end = [], []
    with torch.no_grad():
        for k in range(draws):
            t, correction = times(noise, x, generator)
            weight, ratio = (
                f.to(x.device) * 0.5 for f in (correction * weights.likelihood(noise, t), 2 * noise.ratio(t))
            )
            square, power = residual(t)
            way.append(weight * (square - (ratio / (1 + ratio**2)) ** 2 * (power - size)))
            if k % 4 == 0 or k == 1:  # the last reconstruction hardly varies
                square, power = residual(noise.time(floor))
                end.append(0.5 * (square / floor**2 - (power - size)))
    prior = 0.5 * sum_event(x.double() ** 2) / float(noise.ratio(torch.ones_like(floor))) ** 2
    unit = size * (math.log(times.floor) + 0.5 * math.log(2 * math.pi))
    parts = [torch.stack(part) for part in (way, end)]
    variance = sum(part.var(0) / len(part) for part in parts)
    return Bound(-(prior + unit + sum(part.mean(0) for part in parts)), torch.as_tensor(variance).sqrt())
