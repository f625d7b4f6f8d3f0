"""log p(x) through the probability flow, by the instantaneous change of variables.

In y = x/α, r = σ/α and u = log r the flow is dy/du = y − x̂, and along it (Song et al. 2021, eq. 39, arXiv:2011.13456)

    log p(x) = log N(y_1; 0, r_1² I) + ∫ (d − tr J) du,    J = ∂x̂/∂y,    from r = floor to r_1 = σ(1)/α(1)

    flow      w = y/√(1 + r²), dw/du = (y/(1 + r²) − x̂)/√(1 + r²): of order 5, six evaluations a step    Dormand & Prince 1980
    integral  end-corrected trapezoids, one trace a step: of order 4, and nearly exact for a smooth integrand between flat ends
    solver    |difference from half as many steps| times the rate at which differences fall, 1/15 at best; and round-off
    prior     |log p_1(y_1) − log N(y_1; 0, r_1² I)| ≈ |⟨y, x̂⟩ − ½|x̂|² − ½⟨y, Jy⟩ − ½ r² tr J| / r², by cumulants of X_0
    floor     |log p_floor(x) − log p_0(x)| ≈ ½ | |x̂ − x|²/r² − (d − tr J) |, the heat equation at r = floor
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..calculus import Divergence, forms
from ..errors import DataError, DivergedError, RangeError, ShapeError
from ..models import Denoiser, require_independent_rows
from ..tensors import Draws, Streams, sum_event
from .density import LogDensity, joined
from .scale import require_scale, rows_of
from .trace import Trace

Values = Float[Tensor, "batch *event"]

# Dormand and Prince (1980), J. Comput. Appl. Math. 6(1): nodes, rows and weights of their method of order 5.
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
ROWS = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
WEIGHTS = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
ROWS_AT_ONCE = 2**18
REFINEMENTS = 4


def log_density(
    model: Denoiser,
    x: Values,
    *,
    steps: int = 40,
    tolerance: float = 1e-3,
    divergence: Divergence | None = None,
    floor: float = 2e-3,
    generator: Draws | None = None,
    **cond,
) -> LogDensity:
    """log p(x) ± its standard error in nats, of the density that the probability flow carries from the prior to the data.

    ``steps`` equal steps of log σ/α, and half as many again to tell their error; rows whose solver error exceeds both ``tolerance``
    and half their trace error are done again with twice the steps, four times at most. The trace is exact up to 128
    dimensions; above, by 8 orthogonal probes, fresh at every step and row. ``floor`` is the σ/α at which x is taken to lie.
    Conditions are given one row a row of x. The result does not depend on the batch, and is in float64 whatever x is in.

    Raises: ShapeError if x is not of the model's shape; DataError for x that is not finite or in other units than the model's;
    RangeError for steps below 20 or no multiple of 4, or a floor outside the noise's range; RowsError for a model that mixes
    rows; DivergedError if the flow leaves the finite numbers.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    >>> nats = log_density(known, torch.zeros(1, 2))
    >>> round(nats.value.item(), 3), nats.error.item() < 1e-3
    (-1.838, True)
    """
    _check(model, x, steps, tolerance, floor)
    Trace.of(divergence, math.prod(x.shape[1:]))
    some = {key: rows_of(value, torch.arange(min(2, len(x))), len(x)) for key, value in cond.items()}
    require_independent_rows(model, x[:2], model.noise.time(torch.tensor(floor).double()), **some)
    require_scale(model, x, **cond)
    return flow_density(
        model, x, steps=steps, tolerance=tolerance, divergence=divergence, floor=floor, generator=generator, **cond
    )


def flow_density(
    model: Denoiser,
    x: Values,
    *,
    steps: int,
    tolerance: float,
    divergence: Divergence | None,
    floor: float,
    generator: Draws | None = None,
    **cond,
) -> LogDensity:
    """`log_density` of x whose units are known to be the model's, however far out it lies: nothing is compared with draws.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(VP())
    >>> far = flow_density(known, torch.full((1, 1), 50.0), steps=40, tolerance=1e-3, divergence=None, floor=2e-3)
    >>> round(far.value.item())
    -1251
    """
    trace = Trace.of(divergence, math.prod(x.shape[1:]))
    ends = math.log(floor), math.log(float(model.noise.ratio(torch.ones((), dtype=torch.float64))))
    generator = generator if generator is not None else Streams(0, range(len(x)))
    parts, last = [], 0
    for rows in torch.arange(len(x)).split(max(1, ROWS_AT_ONCE // max(1, trace.size))):
        draws = _draws_of(generator, rows)
        here = {key: rows_of(value, rows, len(x)) for key, value in cond.items()}
        parts.append(_refined(model, x[rows], ends, steps, tolerance, trace, draws, here))
        last = max(last, draws.draw) if isinstance(draws, Streams) else 0
    if isinstance(generator, Streams):
        generator.draw = last
    return joined(parts)


def _refined(model, x, ends, steps, tolerance, trace, draws, cond) -> LogDensity:
    """The rows of x, those that need it with twice the steps, and again."""
    with torch.no_grad():
        found = _walked(_Flow(model, x.dtype, cond), x, ends, steps, trace, draws)
        for _ in range(REFINEMENTS):
            fine = (found.solver <= tolerance) | (found.solver <= 0.5 * found.trace)  # NaN is not
            rows = (~fine).nonzero().flatten().cpu()
            if len(rows) == 0:
                break
            steps, part = 2 * steps, _draws_of(draws, rows)
            flow = _Flow(model, x.dtype, {key: rows_of(value, rows, len(x)) for key, value in cond.items()})
            better = _walked(flow, x[rows], ends, steps, trace, part)
            for old, new in zip(vars(found).values(), vars(better).values()):
                old[rows] = new
            if isinstance(draws, Streams) and isinstance(part, Streams):
                draws.draw = part.draw
    if not bool(torch.stack([found.value, found.error]).isfinite().all()):
        raise DivergedError(
            f"log_density: the flow leaves the finite numbers within {steps} steps; the model's answers are too steep: "
            "take more steps, or a larger floor."
        )
    return found


class _Flow:
    """dw/du of one model under its conditions: the state in float64, the model in the dtype of x."""

    def __init__(self, model: Denoiser, dtype: torch.dtype, cond: dict):
        self.model, self.dtype, self.cond = model, dtype, cond
        self.top = float(model.noise.ratio(torch.ones((), dtype=torch.float64)))

    def denoiser(self, u: float) -> Callable[[Values], Values]:
        """y -> x̂ at σ/α = e^u."""
        t = self.model.noise.time(torch.tensor(math.exp(u)).double().clamp(max=self.top))
        alpha = float(self.model.noise.scales(t)[0])
        return lambda y: self.model(alpha * y, t, **self.cond)

    def slope(self, u: float, w: Values, denoised: Values | None = None) -> Values:
        """(y/(1 + r²) − x̂)/√(1 + r²), with y = √(1 + r²) w."""
        size = _size(u)
        if denoised is None:
            denoised = self.denoiser(u)((size * w).to(self.dtype))
        return (w / size - denoised.double()) / size

    def step(self, u: float, h: float, w: Values, denoised: Values) -> Values:
        """w(u + h) from w(u), by the method of Dormand and Prince of order 5."""
        slopes = [self.slope(u, w, denoised)]
        for node, row in zip(NODES[1:], ROWS[1:]):
            slopes.append(self.slope(u + node * h, w + h * sum(a * s for a, s in zip(row, slopes))))
        return w + h * sum(b * s for b, s in zip(WEIGHTS, slopes))


def _size(u: float) -> float:
    return math.sqrt(1 + math.exp(2 * u))


def _walked(
    flow: _Flow, x: Values, ends: tuple[float, float], steps: int, trace: Trace, draws: Draws | None
) -> LogDensity:
    """Two paths side by side, of ``steps`` and of half as many, the coarse one with some of the fine one's probes."""
    size, h, eps = trace.size, (ends[1] - ends[0]) / steps, torch.finfo(x.dtype).eps
    fine = coarse = x.double() / _size(ends[0])
    once, twice, thrice = (_gregory(steps // n, n * h) for n in (1, 2, 4))
    change, variance, shared, rough, rougher = (torch.zeros(len(x)).to(fine) for _ in range(5))
    for k in range(steps + 1):
        u = ends[0] + k * h
        y, f = (_size(u) * fine).to(x.dtype), flow.denoiser(u)
        probes = trace.probes(y, draws)
        denoised, q = forms(f, y, probes if k < steps else torch.cat([probes, y[None]]))
        value, spread = trace.estimate(q[: len(probes)])
        change += once[k] * (size - value)
        variance += once[k] ** 2 * spread
        shared += once[k] * (size - trace.estimate(q[: trace.shared])[0])
        if k == 0:
            pull = sum_event((denoised - x).double() ** 2).sqrt() / math.exp(u)  # floor · |score|
            bottom = 0.5 * (pull**2 - (size - value)).abs()
            rounding = eps * (size + pull / math.exp(u) * sum_event(x.double() ** 2).sqrt())
        if k == steps:
            along = sum_event(y.double() * denoised.double()) - 0.5 * sum_event(denoised.double() ** 2)
            mismatch = (along - 0.5 * q[-1].double()) / math.exp(2 * u) - 0.5 * value
        if k % 2 == 0:
            z = (_size(u) * coarse).to(x.dtype)
            denoised_there, q = (denoised, q[: trace.shared]) if k == 0 else forms(f, z, probes[: trace.shared])
            value_there = trace.estimate(q)[0]
            rough += twice[k // 2] * (size - value_there)
            if k % 4 == 0:
                rougher += thrice[k // 4] * (size - value_there)
            if k < steps:
                coarse = flow.step(u, 2 * h, coarse, denoised_there)
        if k < steps:
            fine = flow.step(u, h, fine, denoised)
    found = _log_prior(fine, ends[1])
    halved, quartered = found + shared - _log_prior(coarse, ends[1]) - rough, rough - rougher
    halved, quartered = halved.abs(), quartered.abs()
    rate = (halved / quartered.clamp(min=eps)).clamp(1 / 15, 1) if trace.exact else 1 / 15  # probes' noise has no rate
    doubt = torch.maximum(rate * halved, torch.minimum(quartered / 15**2, halved))
    return LogDensity(found + change, variance.sqrt(), torch.hypot(doubt, rounding), mismatch.abs(), bottom)


def _log_prior(w: Values, u: float) -> Float[Tensor, "batch"]:
    """log N(y; 0, r² I) at y = √(1 + r²) w and r = e^u."""
    size = math.prod(w.shape[1:])
    return -0.5 * sum_event(w**2) * (1 + math.exp(-2 * u)) - size * (u + 0.5 * math.log(2 * math.pi))


def _gregory(steps: int, h: float) -> list[float]:
    """Weights of the trapezoidal rule of five steps or more with its ends corrected to order 4."""
    ends = [h * 3 / 8, h * 7 / 6, h * 23 / 24]
    return ends + [h] * (steps - 5) + ends[::-1]


def _draws_of(generator: Draws | None, rows: Int[Tensor, "rows"]) -> Draws | None:
    return generator.take(rows) if isinstance(generator, Streams) else generator


def _check(model: Denoiser, x: Values, steps: int, tolerance: float, floor: float) -> None:
    if model.shape is not None and tuple(x.shape[1:]) != tuple(model.shape):
        raise ShapeError(f"log_density: x of shape {tuple(x.shape)}; the model is one of events {tuple(model.shape)}.")
    if not x.is_floating_point():
        raise ShapeError(f"log_density: x of {x.dtype}; real numbers wanted: x.float(). Integers have `bits_per_dim`.")
    if len(x) == 0 or not bool(x.isfinite().all()):
        raise DataError(f"log_density: x of shape {tuple(x.shape)} is empty or not finite; finite numbers wanted.")
    if steps < 20 or steps % 4:
        raise RangeError(f"log_density(steps={steps}): steps must be a multiple of 4, at least 20; 40 suits most.")
    if not tolerance > 0:
        raise RangeError(f"log_density(tolerance={tolerance:g}): nats above 0 wanted; math.inf never takes more steps.")
    top = float(model.noise.ratio(torch.ones((), dtype=torch.float64)))
    if not 0 < floor < top:
        raise RangeError(f"log_density(floor={floor:g}): the floor must lie in (0, {top:g}), the range of sigma/alpha.")
