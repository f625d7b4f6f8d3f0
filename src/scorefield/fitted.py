"""Times chosen for one model: steps where its flow bends.

A pilot walk in many steps tells how fast ε̂ turns with λ = log α/σ. A step of length h in λ errs by about r |dε̂/dλ| h², r = σ/α, so
that times with equal errors are even in ∫ (r |dε̂/dλ|)^{1/3} dλ (the exponent that did best; one half would equate these errors).
Mixtures of these times with the sampler's own, in log r, are then walked and compared with the pilot's end; the nearest is kept,
so that the result is never worse than the sampler's own on the pilot's draws.
After Sabour, Fidler & Kreis (2024), "Align your steps", arXiv:2404.14507, which optimises a bound instead.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import RangeError, ShapeError
from .grids import karras
from .models import Denoiser
from .samplers import Corrected, Sampler, default
from .tensors import Streams

Grid = Float[Tensor, "times"]


def fitted_times(
    model: Callable[..., Tensor],
    steps: int,
    *,
    sampler: Sampler | None = None,
    n: int = 64,
    pilot: int = 100,
    seed: int = 0,
    shape: tuple[int, ...] | None = None,
    **cond,
) -> Grid:
    """steps + 1 times for this model and sampler (`samplers.default` for so many steps), nearest to the flow over n pilot walks.

    Costs n · (pilot + 9 · steps) network evaluations, once; keep the times, as ``sample(model, n, times=times)`` or with a run.
    Walks with noise of their own have no flow to be near to, so the sampler must be deterministic. Conditions: one row a pilot walk.
    Raises: RangeError for steps < 3, n < 1 or pilot < 20; ShapeError for a model without noise or event shape.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> times = fitted_times(Gaussian(torch.zeros(2), 0.1 * torch.eye(2)).denoiser(EDM()), 8, n=16)
    >>> len(times), float(times[0]), float(times[-1])
    (9, 1.0, 0.0)
    """
    if steps < 3 or n < 1 or pilot < 20:
        raise RangeError(
            f"fitted_times(steps={steps}, n={n}, pilot={pilot}): at least 3 steps, 1 walk and 20 pilot steps."
        )
    shape = shape if shape is not None else getattr(model, "shape", None)
    if not isinstance(model, Denoiser) or shape is None:
        raise ShapeError(
            f"fitted_times({type(model).__name__}): a denoiser of known event shape wanted; pass shape=(…)."
        )
    sampler = sampler or default(steps)
    parameter = next(model.parameters(), torch.empty(0))
    x = model.noise.prior(parameter.new_empty(n, *shape), Streams(seed, range(n)))
    own = sampler.times(model, steps)
    levels = model.noise.ratio(own[:-1]).log()
    fine = karras(model.noise, pilot, rho=20.0, floor=float(levels[-1].exp()) / 2)
    states = list(Corrected(4).walk(model, x, fine, **cond))
    answers = []
    for start, stop in pairwise(states):
        alpha, sigma = model.noise.at(start.t, start.x)
        answers.append((start.x - alpha * (start.x if stop.denoised is None else stop.denoised)) / sigma)
    turns = torch.tensor([float((b - a).double().square().mean().sqrt()) for a, b in pairwise(answers)]).double()
    bends = _even(model.noise.ratio(fine[:-1]).log(), turns, levels)
    found: list[tuple[float, Tensor]] = []
    for share in torch.linspace(0, 1, 9, dtype=torch.float64):
        mixed = (1 - share) * levels + share * bends
        times = torch.cat([model.noise.time(mixed.exp()), own[-1:]])
        times[0] = own[0]
        found.append((_miss(sampler, model, x, times, states[-1].x, **cond), times))
    return min(found, key=lambda pair: pair[0])[1]


def _even(at: Tensor, turns: Tensor, levels: Tensor) -> Tensor:
    """Levels from the first to the last of ``levels``, even in the integral of the error density of the pilot walk."""
    length = at[:-1] - at[1:]
    middle = (at[:-1] + at[1:]) / 2
    density = (middle.exp() * turns / length) ** (1 / 3)
    density = torch.nn.functional.avg_pool1d(density[None, None], 5, 1, 2, count_include_pad=False)[0, 0]
    gained = torch.cat([density.new_zeros(1), (density * length).cumsum(0)])
    inside = at >= levels[-1]
    gained, at = torch.cat([gained[inside], gained[~inside][:1]]), torch.cat([at[inside], levels[-1:]])
    wanted = torch.linspace(0, float(gained[-1]), len(levels), dtype=torch.float64)
    place = torch.searchsorted(gained, wanted[1:-1]).clamp(1, len(gained) - 1)
    part = (wanted[1:-1] - gained[place - 1]) / (gained[place] - gained[place - 1])
    inner = at[place - 1] + part * (at[place] - at[place - 1])
    return torch.cat([levels[:1], inner, levels[-1:]])


def _miss(sampler: Sampler, model: Denoiser, x: Tensor, times: Tensor, end: Tensor, **cond) -> float:
    for state in sampler.walk(model, x, times, **cond):
        last = state.x
    return float((last - end).double().square().mean())
