"""Exponential Adams–Bashforth steps: what the network says, a polynomial through its last answers, and the rest exact.

With y = x/α, r = σ/α, λ = −log r, k = 1 + η² and an assumed spread s of the data, the reverse process

    dy = k (x̂ − y) dλ + √2 η r dw            is, with  M = √(s² + r²),  F = (M/r)(x̂ − (s/M)² y),

    y_s = (M_s/M_t)^k y_t + M_s^k ∫ k r M^{−1−k} F dλ + M_s √(1 − (M_s/M_t)^{2η²}) z.

F is interpolated in λ. It vanishes for data N(0, s²I): one step is then exact. s = 0 interpolates x̂ (DPM-Solver++, Lu et al. 2022,
arXiv:2211.01095; SDE-DPM-Solver++ with η = 1), s = ∞ interpolates ε̂ (DEIS, Zhang & Chen 2023, eq. 13, arXiv:2204.13902), s = 1 the velocity.
A polynomial through one point is DDIM for any s; with η = 1 and s = 0 it is DDPM.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..tensors import Draws, normal
from .base import Past, Sampler, Values
from .flow import Scalar, ends
from .runge import third_order

FORGOTTEN = 20.0
"""σ/α above which x is noise that still knows nothing of the data: there a walk of high order may begin with low orders."""

Seen = tuple[Tensor, Values, Values]


@lru_cache(maxsize=4096)
def weights(nodes: tuple[float, ...], start: float, stop: float, spread: float, k: float) -> tuple[float, ...]:
    """M_s^k ∫ k r M^{−1−k} L_j(λ) dλ for the Lagrange polynomials L_j of the nodes, by Gauss–Legendre quadrature.

    >>> round(weights((0.0,), 0.0, 1.0, 0.0, 1.0)[0], 6), round(1 - math.exp(-1), 6)
    (0.632121, 0.632121)
    """
    points, masses = _quadrature(24)
    at = 0.5 * (stop - start) * points + 0.5 * (stop + start)
    r = np.exp(-at)
    scale = np.ones_like(r) if math.isinf(spread) else np.hypot(spread, r)
    kernel = 0.5 * (stop - start) * masses * k * r * (_scale(spread, math.exp(-stop)) / scale) ** k / scale
    others = [[node for i, node in enumerate(nodes) if i != j] for j in range(len(nodes))]
    return tuple(
        float((kernel * math.prod([(at - other) / (node - other) for other in rest], start=np.ones_like(at))).sum())
        for node, rest in zip(nodes, others)
    )


@lru_cache(maxsize=4)
def _quadrature(count: int) -> tuple[np.ndarray, np.ndarray]:
    points, masses = np.polynomial.legendre.leggauss(count)
    return points, masses


def _scale(spread: float, r: float) -> float:
    return 1.0 if math.isinf(spread) else math.hypot(spread, r)


def _level(model: Denoiser, t: Scalar) -> tuple[float, float]:
    alpha, sigma = model.noise.scales(t)
    return float(alpha), float(sigma) / float(alpha)


def combine(x: Values, model: Denoiser, seen: Sequence[Seen], by: Sequence[float], spread: float) -> Values:
    """x + Σ_j by_j F_j, in place: the linear combination that all these steps are made of."""
    for (t, earlier, denoised), weight in zip(seen, by):
        alpha, r = _level(model, t)
        scale = _scale(spread, r)
        share = 1.0 if math.isinf(spread) else (spread / scale) ** 2
        x.add_(denoised, alpha=weight * scale / r).sub_(earlier, alpha=weight * scale * share / (r * alpha))
    return x


def _require(who: str, points: int, least: int, spread: float) -> None:
    if not least <= points <= 4:
        raise RangeError(f"{who}(points={points}): a polynomial through {least} to 4 points; 4 suits most.")
    if not spread >= 0:
        raise RangeError(f"{who}(data_std={spread:g}): data_std must be at least 0, or infinite.")


@dataclass(frozen=True)
class Multistep(Sampler):
    """A polynomial through the last ``points`` answers in λ, integrated exactly: one evaluation a step. The default.

    ``data_std`` is s, the spread of data for which a step is exact: ∞ interpolates ε̂, 0 interpolates x̂. ``eta`` is η: 0 the probability
    flow, of order ``points``; 1 the reverse process, of weak order 2 at most, which wants ``data_std=0``. From σ/α < 20, where a walk does not
    begin at noise, the first steps of three and four points are Runge–Kutta steps with two evaluations more.
    Raises: RangeError unless 1 ≤ points ≤ 4, data_std ≥ 0 and eta ≥ 0.
    """

    points: int = 4
    data_std: float = math.inf
    eta: float = 0.0

    def __post_init__(self):
        _require("Multistep", self.points, 1, self.data_std)
        if not 0 <= self.eta < math.inf:
            raise RangeError(
                f"Multistep(eta={self.eta:g}): eta must be finite and at least 0; 1 is the reverse process."
            )

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.points if self.eta == 0 else min(self.points, 2)

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha_t, sigma_t, alpha_s, sigma_s = ends(model, t, s)
        if sigma_s == 0:
            return alpha_s * denoised, denoised
        seen = (*past.seen, (t, x, denoised))
        if self.eta == 0 and starting(self.points, model, seen):
            return third_order(model, x, t, s, denoised, **cond)[0], denoised
        seen, k = seen[-self.points :], 1 + self.eta**2
        r_t, r_s = sigma_t / alpha_t, sigma_s / alpha_s
        shrink = (_scale(self.data_std, r_s) / _scale(self.data_std, r_t)) if self.data_std < math.inf else 1.0
        by = weights(_nodes(model, seen), -math.log(r_t), -math.log(r_s), self.data_std, k)
        there = combine(x * (alpha_s / alpha_t * shrink**k), model, seen, [alpha_s * b for b in by], self.data_std)
        if self.eta > 0:
            spread = (
                _scale(self.data_std, r_s) * math.sqrt(1 - shrink ** (2 * self.eta**2))
                if self.data_std < math.inf
                else self.eta * math.sqrt(r_t**2 - r_s**2)
            )
            there.add_(normal(x, generator), alpha=alpha_s * spread)
        return there, denoised


@dataclass(frozen=True)
class Corrected(Sampler):
    """Predict through ``points`` − 1 answers, correct through ``points`` with the answer there: order ``points``, one evaluation a step.

    The answer at the predicted x serves the correction and the next prediction, as in UniPC (Zhao et al. 2023, algorithm 1, arXiv:2302.04867).
    Best on smooth densities with many steps; on images with few steps `Multistep` was nearer to the flow.
    Raises: RangeError unless 2 ≤ points ≤ 4 and data_std ≥ 0.
    """

    points: int = 3
    data_std: float = math.inf

    def __post_init__(self):
        _require("Corrected", self.points, 2, self.data_std)

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.points

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        seen = (*past.seen, (t, x, denoised))
        predictor = Multistep(self.points - 1, self.data_std)
        if past.seen and not starting(self.points, model, past.seen):
            (alpha, r), (_, r_before) = _level(model, t), _level(model, past.seen[-1][0])
            span = (-math.log(r_before), -math.log(r), self.data_std, 1.0)
            with_t, without = seen[-self.points :], past.seen[-(self.points - 1) :]
            x = combine(
                x.clone(), model, with_t, [alpha * b for b in weights(_nodes(model, with_t), *span)], self.data_std
            )
            combine(x, model, without, [-alpha * b for b in weights(_nodes(model, without), *span)], self.data_std)
        if float(model.noise.scales(s)[1]) == 0:
            return denoised, denoised
        if starting(self.points, model, seen):
            return third_order(model, x, t, s, denoised, **cond)[0], denoised
        return predictor.onward(model, x, t, s, seen), denoised


def starting(points: int, model: Denoiser, seen: Sequence[Seen]) -> bool:
    """Whether a walk of three or four points is too young for them, and began where low orders would show."""
    return 3 <= points and len(seen) < points and _level(model, seen[0][0])[1] < FORGOTTEN


def _nodes(model: Denoiser, seen: Sequence[Seen]) -> tuple[float, ...]:
    return tuple(-math.log(_level(model, t)[1]) for t, _, _ in seen)
