"""Runge–Kutta steps of the probability flow dy/dλ = x̂ − y, with y = x/α and λ = log α/σ.

Bogacki and Shampine's pair of orders 3 and 2 (1989, Appl. Math. Lett. 2(4), doi:10.1016/0893-9659(89)90079-7):

    k₁ = f(λ, y),  k₂ = f(λ + h/2, y + h k₁/2),  k₃ = f(λ + 3h/4, y + 3h k₂/4),
    y₊ = y + h (2k₁ + 3k₂ + 4k₃)/9,  k₄ = f(λ + h, y₊),  error = h (−5k₁ + 6k₂ + 8k₃ − 9k₄)/72.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, RangeError
from ..models import Denoiser
from ..tensors import Draws, expand, sum_event
from .base import Past, Sampler, Values
from .flow import Scalar, ends

Rows = Float[Tensor, "*batch"]


def slope(model: Denoiser, logsnr: Rows, y: Values, **cond) -> Values:
    """x̂ − y at λ = ``logsnr``, one number for all rows or one a row."""
    t = model.noise.time((-logsnr).exp())
    return model(model.noise.at(t, y)[0] * y, t.to(y.device), **cond) - y


def third_order(model: Denoiser, logsnr: Rows, h: Rows, y: Values, first: Values, **cond) -> tuple[Values, Values]:
    """(y₊, h(−5k₁ + 6k₂ + 8k₃)/72) from k₁ = ``first``: two evaluations."""
    step = expand(h, y).to(y.dtype)
    second = slope(model, logsnr + h / 2, y + step / 2 * first, **cond)
    third = slope(model, logsnr + 0.75 * h, y + 0.75 * step * second, **cond)
    ahead = y + step / 9 * (2 * first + 3 * second + 4 * third)
    return ahead, step / 72 * (-5 * first + 6 * second + 8 * third)


class _Wide(Denoiser):
    """A denoiser of half precision among steps of single: x/α and its slopes leave the range of float16."""

    def __init__(self, model: Denoiser, dtype: torch.dtype):
        super().__init__()
        self.model, self.dtype, self.noise = model, dtype, model.noise

    def forward(self, xt: Values, t: Rows, **cond) -> Values:
        return self.model(xt.to(self.dtype), t, **cond).to(xt.dtype)


@dataclass(frozen=True)
class Adaptive(Sampler):
    """Runge–Kutta steps as long as ``tolerance`` allows, chosen row by row between the times of the grid: order 3.

    A step is taken when the root mean square of its error over the event is below tolerance · (1 + that of x/α), with a tolerance
    of at least the rounding of x; a step to t = 0 goes to x̂. Use it to know the flow, not to be fast: the slowest row of a batch
    decides its cost, though not its result.
    Raises: RangeError unless 0 < tolerance < 1; DivergedError if a row needs more than 10,000 steps between two times.
    """

    tolerance: float = 1e-4
    order = 3
    evaluations = 4

    def __post_init__(self):
        if not 0 < self.tolerance < 1:
            raise RangeError(f"Adaptive(tolerance={self.tolerance:g}): tolerance must lie in (0, 1); 1e-4 suits most.")

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = ends(model, t, s)
        if sigma_s == 0:
            return denoised, denoised
        begin, end = math.log(alpha_t / sigma_t), math.log(alpha_s / sigma_s)
        way = math.copysign(1.0, end - begin)  # up the noise levels where a flow is inverted
        at = torch.full((len(x),), begin, dtype=torch.float64, device=x.device)
        wide, h = _Wide(model, x.dtype), torch.full_like(at, abs(end - begin))
        y = x.to(torch.promote_types(x.dtype, torch.float32)) / alpha_t
        first, tolerance = denoised - y, max(self.tolerance, torch.finfo(x.dtype).eps)
        for _ in range(10_000):
            ahead, error = third_order(wide, at, way * h, y, first, **cond)
            last = slope(wide, at + way * h, ahead, **cond)
            error = error - expand(way * h, y).to(y.dtype) / 8 * last
            miss = (_size(error) / (tolerance * (1 + _size(y)))).nan_to_num(nan=math.inf, posinf=math.inf)
            taken = miss <= 1
            keep = expand(taken, y)
            y, first = torch.where(keep, ahead, y), torch.where(keep, last, first)
            at = torch.where(taken, at + way * h, at)
            longer = (0.9 * miss.clamp(min=1e-6) ** (-1 / 3)).clamp(0.2, 5.0)
            left = way * (end - at)
            h = torch.minimum(torch.where(left > 1e-12, h.clamp(min=1e-9) * longer, 0.0), left.clamp(min=0))
            if not bool((h > 0).any()):
                return (alpha_s * y).to(x.dtype), denoised
        rows = (h > 0).nonzero().flatten().tolist()[:5]
        raise DivergedError(
            f"{self}: rows {rows} took 10,000 steps between t = {float(t):.4g} and {float(s):.4g} and were not there; "
            "raise the tolerance, or train where the field is rough."
        )


def _size(x: Values) -> Float[Tensor, "batch"]:
    return (sum_event(x.double() ** 2) / x[0].numel()).sqrt()
