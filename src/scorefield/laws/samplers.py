"""The law of samplers: the order measured is the order declared."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import grids
from ..exact import Gaussian as Normal
from ..guidance import Metropolis
from ..noises import VP, Gaussian
from ..samplers import MALA, Sampler, Underdamped
from ..tensors import Streams, normal
from .base import DOUBLE, Units, require, require_own_draws, require_zero, takes_denoiser


def measured_order(
    sampler: Sampler,
    noise: Gaussian,
    grid: Callable[..., Tensor],
    steps: tuple[int, int] = (64, 128),
    levels: tuple[float, float] = (4.0, 0.3),
) -> tuple[float, float]:
    """(order, error): how the error of the terminal mean and standard deviation of a Gaussian falls when the steps double.

    The walk is affine in its start and its draws, so unit draws read off its exact mean and variance: no Monte-Carlo error.

    >>> from scorefield.samplers import Heun
    >>> order, error = measured_order(Heun(), VP(), grids.karras)
    >>> round(order), error < 1e-3
    (2, True)
    """
    mean, variance = torch.tensor([-0.6, 0.2, 0.7], **DOUBLE), torch.tensor([0.4, 0.8, 1.3], **DOUBLE) ** 2
    known = Normal(mean, variance.diag())
    errors = []
    for count in steps:
        if takes_denoiser(sampler):
            model: Any = known.denoiser(noise)
            times = grid(noise, count + 1, ceiling=levels[0], floor=levels[1])[:-1]
            (a0, a1), (s0, s1) = noise.scales(times[[0, -1]])
        else:
            model, times = known, torch.linspace(1, 0, count + 1, **DOUBLE)
            (a0, a1), (s0, s1) = torch.tensor([[0.0, 1 - math.exp(-1.0)], [1.0, 0.0]], **DOUBLE)
        start_variance = a0**2 * variance + s0**2
        counter = Units(None)
        for _ in sampler.walk(model, torch.zeros(1, 3, **DOUBLE), times, counter):
            pass
        x = (a0 * mean).repeat(2 + counter.count, 1)
        x[1] += start_variance.sqrt()
        for state in sampler.walk(model, x, times, Units(2)):
            last = state.x
        got_mean, got_std = last[0], (last[1:] - last[0]).norm(dim=0)
        if takes_denoiser(sampler):
            wanted_mean, wanted_std = a1 * mean, (a1**2 * variance + s1**2).sqrt()
        else:
            decay, wanted_variance = _relaxed(sampler, variance)
            wanted_mean, wanted_std = mean * (1 - decay), wanted_variance.sqrt()
        errors.append(float(torch.cat([got_mean - wanted_mean, got_std - wanted_std]).abs().max()))
    return math.log2(errors[0] / errors[1]), errors[1]


def _relaxed(sampler: Sampler, variance: Float[Tensor, "d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """(decay of the mean, variance) after unit time under N(0, variance) from a start of variance 1, in closed form.

    Langevin is the Ornstein–Uhlenbeck process. Underdamped, (x, v) solves a linear equation with the generator A and the
    stationary covariance S = diag(variance, 1): the covariance is S + e^A (1 − S) e^{Aᵀ}.
    """
    if not isinstance(sampler, Underdamped):
        decay = torch.exp(-1 / variance)
        return decay, decay**2 + variance * (1 - decay**2)
    pull = torch.zeros(len(variance), 2, 2, **DOUBLE)
    pull[:, 0, 1], pull[:, 1, 0], pull[:, 1, 1] = 1, -1 / variance, -sampler.friction
    flow = torch.matrix_exp(pull)
    return flow[:, 0, 0], variance + flow[:, 0, 0] ** 2 * (1 - variance)


def sampler(sampler: Sampler, noise: Gaussian | None = None, grid: Callable[..., Tensor] = grids.karras) -> None:
    """The law of a `Sampler` on one noise and grid (static scores: on Langevin time). Raises: LawError.

    >>> from scorefield.samplers import Ancestral
    >>> sampler(Ancestral())
    """
    noise = noise or VP()
    known = Normal(torch.tensor([0.3, -0.2], **DOUBLE), torch.diag(torch.tensor([0.5, 1.5], **DOUBLE)))
    model = known.denoiser(noise) if takes_denoiser(sampler) else known
    times = sampler.times(model, 6)
    x = normal(torch.empty(5, 2, **DOUBLE), Streams(9, range(5)))
    visited = torch.stack([state.t for state in sampler.walk(model, x, times, Streams(0, range(5)))])
    require(torch.equal(visited, times.double()), sampler, "the walk visits exactly the grid", visited.tolist())
    require_own_draws(sampler, lambda g, rows: _end(sampler.walk(model, x[rows], times, g)), 5)
    if isinstance(sampler, Metropolis):  # not affine, but invariant at every level: the order is its predictor's
        _correction(sampler, known, noise)
        sampler = sampler.predictor
    if math.isinf(sampler.order):
        _invariance(replace(sampler, warmup=0.0) if isinstance(sampler, MALA) else sampler, known)
        return
    if sampler.order == 0:  # a bias that stays, seen alone where the levels hardly move
        count = 512 // sampler.evaluations
        order, error = measured_order(sampler, noise, grid, (count, 2 * count), (1.0, 0.9))
        require(abs(order) < 0.2, sampler, f"order 0 on {noise}, {grid.__name__}: measured", order)
    else:
        order, error = measured_order(sampler, noise, grid)
        if abs(order - sampler.order) >= 0.2:  # not yet asymptotic: look closer
            order, error = measured_order(sampler, noise, grid, (512, 1024))
        require(
            abs(order - sampler.order) < 0.2,
            sampler,
            f"order {sampler.order} on {noise}, {grid.__name__}: measured",
            order,
        )
    require(error < 0.25, sampler, "the terminal Gaussian is near its closed form: error", error)


def _end(states: Iterator) -> Tensor:
    *_, last = states
    return last.x


def _correction(sampler: Metropolis, known: Normal, noise: Gaussian) -> None:
    n = 20_000
    for level in (0.3, 2.0):
        t = noise.time(torch.tensor(level, **DOUBLE))
        (alpha, _), draws = noise.scales(t), Streams(5, range(n))
        x = noise.perturb(known.sample(n, draws), t, draws)
        y, accepted = sampler.correct(known.denoiser(noise), x, t, Streams(6, range(n)))
        require((y != x).any(), sampler, "the corrector moves")
        require(((accepted >= 0) & (accepted <= 1)).all(), sampler, "shares of accepted proposals lie in [0, 1]")
        for power in (1, 2, 4):
            require_zero(
                sampler,
                f"moments of order {power} stay at sigma/alpha = {level}",
                (y / alpha) ** power - (x / alpha) ** power,
            )


def _invariance(sampler: Sampler, known: Normal) -> None:
    n, steps = 40_000, 4
    x = known.sample(n, Streams(5, range(n)))
    times = torch.arange(steps, -1, -1, **DOUBLE) * 0.6  # steps so large that an unadjusted walk would widen visibly
    y = _end(sampler.walk(known, x, times, Streams(6, range(n))))
    require((y != x).any(), sampler, "the walk moves")
    require_zero(sampler, "E[y] = E[x]", y - known.mean)
    require_zero(sampler, "var y = var x", (y - known.mean) ** 2 - known.covariance.diagonal())
    require_zero(sampler, "kurtosis", (y - known.mean) ** 4 - 3 * known.covariance.diagonal() ** 2)
