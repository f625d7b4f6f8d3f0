"""Twisted sequential Monte Carlo: a guide, corrected by weights until it is exact.

Particles walk the model's own chain p(x_s | x_t) = N(m(x̂), τ²), but are proposed by that of a guide, q = N(m(x̂_y), τ²), and a guide
also says p̃(y | x_t). With weights that grow at each step by

    p(x_s | x_t) p̃(y | x_s) / (q(x_s | x_t) p̃(y | x_t))

and by p(y | x_0)/p̃(y | x_t) in the last, the weighted particles are draws of p(x_0 | y) as their number grows, whatever the guide,
and the mean weight is unbiased for p(y). Wu, Trippe, Naesseth, Blei & Cunningham (2023), algorithm 1, arXiv:2306.17775. The chain is
the reverse process with x̂ linear in λ = log α/σ (SDE-DPM-Solver++, Lu et al. 2022, arXiv:2211.01095): with h = λ_s − λ_t,

    m = (σ_s/σ_t) e^{−h} x_t + α_s [(1 − e^{−2h}) x̂ + (h − (1 − e^{−2h})/2) dx̂/dλ],        τ² = σ_s² (1 − e^{−2h}).

Particles are resampled (systematically) when ESS = 1/Σ W² falls below half their number. Var[log p̂(y)] = (N Σ_e S_e² − 1)/(N − 1)
is read off the shares S_e of weight that the N first ancestors e have left: Lee & Whiteley (2018), arXiv:1509.00394,
less what resampling at random would add.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DivergedError, RangeError, ShapeError
from ..grids import logsnr
from ..models import Denoiser
from ..samplers.flow import ends
from ..tensors import Draws, Streams, normal, sum_event, uniform
from .reconstruction import Guide

Weights = Float[Tensor, "systems particles"]
Numbers = Float[Tensor, "systems"]


@dataclass(frozen=True, eq=False)
class Particles:
    """Weighted draws of p(x | y), one system an observation: ``x``, normalised ``log_weights``, and what the walk told.

    ``ess`` is the effective number of particles at every time of the grid; ``log_evidence`` estimates log p(y) in nats, with the
    standard error ``error``.
    """

    x: Float[Tensor, "systems particles *event"]
    log_weights: Weights
    ess: Float[Tensor, "times systems"]
    log_evidence: Numbers
    error: Numbers

    @property
    def weights(self) -> Weights:
        """The weights, which sum to one in each system."""
        return self.log_weights.exp()

    def mean(self) -> Float[Tensor, "systems *event"]:
        """Σ_i W_i x_i: the posterior mean of each system."""
        return torch.einsum("sp,sp...->s...", self.weights.to(self.x), self.x)

    def draw(self, n: int, generator: Draws | None = None) -> Float[Tensor, "systems n *event"]:
        """n unweighted draws from each system, chosen systematically by weight; a particle may be drawn more than once."""
        if n < 1:
            raise RangeError(f"Particles.draw(n={n}): n must be at least 1.")
        chosen = systematic(self.weights, n, uniform(self.weights.new_empty(len(self.weights)), generator))
        return torch.stack([x[index] for x, index in zip(self.x, chosen, strict=True)])


def twisted(
    guide: Denoiser,
    *,
    particles: int = 256,
    systems: int | None = None,
    steps: int = 100,
    times: Float[Tensor, "times"] | None = None,
    threshold: float = 0.5,
    seed: int = 0,
    first: int = 0,
    shape: tuple[int, ...] | None = None,
    observation: Tensor | None = None,
    chunk: int | None = None,
    **cond,
) -> Particles:
    """Draws of p(x | y), exact as ``particles`` grow, from a `Guide`: its weights say how far the guide was from the posterior.

    ``systems`` independent sets of particles are walked at once, one for each row of ``observation`` and of every condition where
    those are given; system j is a function of (seed, first + j, y_j) alone. Resampled below ``threshold`` · particles effective
    ones. ``chunk`` rows at a time meet the network. What is exact is the model's chain on the grid, which ``steps`` bring to the
    model with an error of second order. Wu et al. (2023), algorithm 1, arXiv:2306.17775.
    Raises: RangeError, ShapeError; DivergedError if every weight of a system vanishes.

    >>> from scorefield.exact import Gaussian; from scorefield.guidance import Isotropic, Mask, Measurement, MomentMatching
    >>> from scorefield.noises import VP
    >>> seen = Measurement(Mask(torch.tensor([True, False])), torch.tensor([2.0]), std=0.5)
    >>> guide = MomentMatching(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), seen, Isotropic())
    >>> result = twisted(guide, particles=64, steps=20)
    >>> result.x.shape, abs(float(result.mean()[0, 0]) - 1.6) < 0.3
    (torch.Size([1, 64, 2]), True)
    """
    systems = systems or (1 if observation is None else len(observation))
    times = logsnr(guide.noise, steps, floor=0.01) if times is None else times.double()
    empty = _empty(guide, particles, systems, threshold, shape)
    rows = range(first * particles, (first + systems) * particles)
    generator, lots = Streams(seed, rows), Streams(seed ^ 0x7415, range(first, first + systems))
    given = {key: _repeated(value, key, systems, particles) for key, value in cond.items()}
    if observation is not None:
        given["observation"] = _repeated(observation, "observation", systems, particles)
    walk = _Walk(cast(Guide, guide), given, chunk or max(1, 2**18 // max(1, math.prod(empty.shape[1:]))))
    with torch.no_grad():
        return _walked(walk, guide.noise.prior(empty, generator), times, systems, threshold, generator, lots)


def _walked(
    walk: "_Walk", x: Tensor, times: Tensor, systems: int, threshold: float, generator: Streams, lots: Streams
) -> Particles:
    count = len(x) // systems
    denoised, guided, twist = before = walk.twist(x, times[0])
    log_w = twist.double().cpu().reshape(systems, count)  # weights stay on the CPU, where chance is drawn
    log_z, history = log_w.new_zeros(systems), []
    eve = torch.arange(count).expand(systems, -1)
    for k, (t, s) in enumerate(pairwise(times)):
        history.append(effective(log_w))
        if float(walk.guide.noise.scales(s)[1]) == 0:
            x = denoised
            log_w = log_w + (walk.likelihood(x) - twist).double().cpu().reshape(systems, count)
            _require_weights(log_w, k, t)
            break
        low = history[-1] < threshold * count
        u = uniform(log_w.new_empty(systems), lots)  # drawn whether needed or not, lest systems see each other
        if bool(low.any()):
            chosen = systematic(log_w.softmax(1), count, u)
            chosen = torch.where(low[:, None], chosen, torch.arange(count))
            flat = (chosen + count * torch.arange(systems)[:, None]).flatten().to(x.device)
            x, denoised, guided, twist = x[flat], denoised[flat], guided[flat], twist[flat]
            before = tuple(part[flat] for part in before)
            log_z = torch.where(low, log_z + log_w.logsumexp(1) - math.log(count), log_z)
            log_w = torch.where(low[:, None], 0.0, log_w)
            eve = eve.gather(1, chosen)
        shrink, weight, gain, added = _chain(walk.guide, times[max(k - 1, 0)], t, s)
        own = shrink * x + weight * denoised + gain * (denoised - before[0])
        proposed = shrink * x + weight * guided + gain * (guided - before[1])
        z, shift = normal(x, generator), (proposed - own) / added
        x, before = proposed + added * z, (denoised, guided)
        denoised, guided, after = walk.twist(x, s)
        gained = after - twist - sum_event(shift * (0.5 * shift + z))
        log_w = log_w + gained.double().cpu().reshape(systems, count)
        twist = after
        _require_weights(log_w, k, s)
    history.append(effective(log_w))
    log_weights = log_w.log_softmax(1)
    shares = torch.zeros_like(log_weights).scatter_add(1, eve, log_weights.exp())
    spread = (count * (shares**2).sum(1) - 1) / (count - 1)
    return Particles(
        x.reshape(systems, count, *x.shape[1:]),
        log_weights,
        torch.stack(history),
        log_z + log_w.logsumexp(1) - math.log(count),
        spread.clamp(min=0).sqrt(),
    )


def _chain(guide: Guide, before: Tensor, t: Tensor, s: Tensor) -> tuple[float, float, float, float]:
    """(of x, of x̂, of x̂'s change since ``before``, τ) in a step of the model's chain from t to s."""
    alpha_t, sigma_t, alpha_s, sigma_s = ends(guide, t, s)
    levels = guide.noise.ratio(torch.stack([before, t, s])).log()
    since, h = (float(step) for step in -levels.diff())
    fresh = -math.expm1(-2 * h)
    gain = alpha_s * (h - fresh / 2) / since if since > 0 else 0.0
    return sigma_s / sigma_t * math.exp(-h), alpha_s * fresh, gain, sigma_s * math.sqrt(fresh)


@dataclass(frozen=True, eq=False)
class _Walk:
    """A guide with its conditions, one a row, asked a chunk of rows at a time."""

    guide: Guide
    given: dict[str, Any]
    chunk: int

    def twist(self, x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        parts = [self.guide.twist(x[a:b], t, **self._rows(a, b, len(x))) for a, b in self._spans(len(x))]
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def likelihood(self, x: Tensor) -> Tensor:
        rows = [self._rows(a, b, len(x)).get("observation") for a, b in self._spans(len(x))]
        return torch.cat(
            [self.guide.likelihood(x[a:b], y) for (a, b), y in zip(self._spans(len(x)), rows, strict=True)]
        )

    def _spans(self, n: int) -> list[tuple[int, int]]:
        return [(a, min(a + self.chunk, n)) for a in range(0, n, self.chunk)]

    def _rows(self, a: int, b: int, n: int) -> dict[str, Any]:
        return {key: value[a:b] if isinstance(value, Tensor) else value for key, value in self.given.items()}


def effective(log_w: Weights) -> Numbers:
    """1/Σ W²: how many equally weighted particles are worth as much.

    >>> effective(torch.zeros(1, 4))
    tensor([4.])
    """
    return (2 * log_w.logsumexp(1) - (2 * log_w).logsumexp(1)).exp()


def systematic(weights: Weights, n: int, u: Numbers) -> Int[Tensor, "systems n"]:
    """Which particles to keep: those whose stretch of the cumulated weights holds (u + k)/n, k = 0 … n − 1.

    >>> systematic(torch.tensor([[0.5, 0.0, 0.5]]), 4, torch.tensor([0.5]))
    tensor([[0, 0, 2, 2]])
    """
    points = (u[:, None] + torch.arange(n, device=u.device)) / n
    edges = weights.cumsum(1)
    return torch.searchsorted(edges / edges[:, -1:], points.to(edges), right=True).clamp(max=weights.shape[1] - 1)


def _require_weights(log_w: Tensor, step: int, t: Tensor) -> None:
    dead = (~(log_w.logsumexp(1).isfinite())).nonzero().flatten().tolist()
    if dead:
        raise DivergedError(
            f"twisted: no particle of systems {dead[:8]} has a finite weight at step {step + 1} (t = {float(t):.4g}): "
            "the guide leads where the observation is impossible; take a wider guide, more particles or more steps."
        )


def _repeated(value: Any, key: str, systems: int, particles: int) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if len(value) != systems:
        raise ShapeError(f"twisted({key} of {len(value)} rows, systems={systems}): one row a system wanted.")
    return value.repeat_interleave(particles, 0)


def _empty(guide: Denoiser, particles: int, systems: int, threshold: float, shape: tuple[int, ...] | None) -> Tensor:
    if not isinstance(guide, Guide):
        raise ShapeError(
            f"twisted({type(guide).__name__}): a guide that estimates log p(y | x_t) is wanted: "
            "MomentMatching or Reconstruction of your model."
        )
    if particles < 2 or systems < 1:
        raise RangeError(f"twisted(particles={particles}, systems={systems}): at least 2 particles and 1 system.")
    if not 0 < threshold <= 1:
        raise RangeError(f"twisted(threshold={threshold:g}): the threshold is a share of the particles, in (0, 1].")
    shape = shape if shape is not None else guide.shape
    if shape is None:
        raise ShapeError("twisted: the model does not know its event shape; pass shape=(…).")
    parameter = next(guide.parameters(), None)
    like = parameter if parameter is not None and parameter.is_floating_point() else torch.empty(0)
    return like.new_empty(systems * particles, *shape)
