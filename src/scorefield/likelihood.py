"""log p(x) through the probability flow, by the instantaneous change of variables.

In y = x/α and u = log(σ/α) the flow is dy/du = y − x̂, so that along it

    d log p(y_u)/du = −div(y − x̂) = −(d − tr ∂x̂/∂y),
    log p(x_0) = log N(x_1; 0, σ(1)²I) + d log α(1) + ∫ (d − tr ∂x̂/∂y) du          Song et al. 2021, eq. 39, arXiv:2011.13456

integrated from σ/α = floor by the classical Runge–Kutta method of order 4 at equal steps of u, the same for every row.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .calculus import Divergence, Exact, Hutchinson, orthogonal
from .errors import RangeError, ShapeError
from .models import Denoiser
from .tensors import Draws, Streams, sum_event

Values = Float[Tensor, "batch *event"]


def log_density(
    model: Denoiser,
    x: Values,
    *,
    steps: int = 40,
    divergence: Divergence | None = None,
    floor: float = 2e-3,
    generator: Draws | None = None,
    **cond,
) -> Float[Tensor, "batch"]:
    """log p(x) in nats, of the density that the probability flow carries from the prior to the data.

    ``steps`` Runge–Kutta steps cost 4 evaluations each, with a divergence. The divergence is exact up to 64 dimensions;
    above, 8 orthogonal probes, fresh at every evaluation: unbiased, noisy. ``floor`` is the σ/α at which x is taken to lie.
    Raises: ShapeError if x is not of the model's shape; RangeError for steps < 1 or a floor outside the noise's range.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> round(log_density(known, torch.zeros(1, 2)).item(), 2)
    -1.84
    """
    if model.shape is not None and tuple(x.shape[1:]) != tuple(model.shape):
        raise ShapeError(f"log_density: x of shape {tuple(x.shape)}; the model is one of events {tuple(model.shape)}.")
    if steps < 1:
        raise RangeError(f"log_density(steps={steps}): steps must be at least 1; 40 suits most.")
    size = math.prod(x.shape[1:])
    divergence = divergence or (Exact() if size <= 64 else Hutchinson(8, orthogonal))
    generator = generator if generator is not None else Streams(0, range(len(x)))
    one = torch.ones((), dtype=torch.float64)
    alpha_1, sigma_1 = model.noise.scales(one)
    top = float(sigma_1 / alpha_1)
    if not 0 < floor < top:
        raise RangeError(f"log_density(floor={floor:g}): the floor must lie in (0, {top:g}), the range of sigma/alpha.")

    def slope(u: float, y: Values) -> tuple[Values, Float[Tensor, "batch"]]:
        t = model.noise.time(torch.tensor(math.exp(u)).double().clamp(max=top))
        alpha = float(model.noise.scales(t)[0])
        denoised, trace = divergence(lambda v: model(alpha * v, t, **cond), y, generator)
        return y - denoised, size - trace

    y, change = x.detach(), torch.zeros(len(x), dtype=torch.float64, device=x.device)
    start = math.log(floor)
    h = (math.log(top) - start) / steps
    with torch.no_grad():
        for k in range(steps):
            u = start + k * h
            slope_1, rate_1 = slope(u, y)
            slope_2, rate_2 = slope(u + h / 2, y + h / 2 * slope_1)
            slope_3, rate_3 = slope(u + h / 2, y + h / 2 * slope_2)
            slope_4, rate_4 = slope(u + h, y + h * slope_3)
            y = y + h / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
            change = change + h / 6 * (rate_1 + 2 * rate_2 + 2 * rate_3 + rate_4)
    prior = -0.5 * sum_event(y.double() ** 2) / top**2 - size * (math.log(top) + 0.5 * math.log(2 * math.pi))
    return (prior + change).to(x.dtype)
