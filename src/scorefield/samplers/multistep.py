"""Exponential Adams–Bashforth steps: what the network says, a polynomial through its last answers, and the rest exact.

With y = x/α, r = σ/α, λ = −log r, k = 1 + η² and an assumed spread s of the data, the reverse process

    dy = k (x̂ − y) dλ + √2 η r dw            is, with  M = √(s² + r²),  F = (M/r)(x̂ − (s/M)² y),

    y_s = (M_s/M_t)^k y_t + M_s^k ∫ k r M^{−1−k} F dλ + M_s √(1 − (M_s/M_t)^{2η²}) z.

F is interpolated in λ. It vanishes for data N(0, s²I): one step is then exact. s = 0 interpolates x̂ (DPM-Solver++, Lu et al.
2022, arXiv:2211.01095; SDE-DPM-Solver++ with η = 1), s = ∞ interpolates ε̂ (DEIS, Zhang & Chen 2023, arXiv:2204.13902), s = 1
the velocity. One point is DDIM for s = 0 and for s = ∞, and with η = 1 and s = 0 it is DDPM. A step is summed in float64 and
rounded once: a walk near a border between modes amplifies what each of its many terms would lose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..tensors import Draws, normal
from .base import Past, Sampler, Values
from .flow import Scalar
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


def add_integral(
    x: Values, model: Denoiser, seen: Sequence[Seen], t: Scalar, s: Scalar, scale: float, spread: float, k: float = 1.0
) -> Values:
    """x + scale · M_s^k ∫ k r M^{−1−k} F dλ from t to s, in place, F the polynomial through what was ``seen``."""
    levels = [_level(model, at) for at, _, _ in seen]
    nodes = tuple(-math.log(r) for _, r in levels)
    by = weights(nodes, -math.log(_level(model, t)[1]), -math.log(_level(model, s)[1]), spread, k)
    for (alpha, r), (_, earlier, denoised), weight in zip(levels, seen, by):
        m = _scale(spread, r)
        share = 1.0 if math.isinf(spread) else (spread / m) ** 2
        x.add_(denoised, alpha=scale * weight * m / r).sub_(earlier, alpha=scale * weight * m * share / (r * alpha))
    return x


def _begins(points: int, model: Denoiser, seen: Sequence[Seen]) -> bool:
    """Whether a walk is too young for three or four points, and began where low orders would show."""
    return points > 2 and len(seen) < points and _level(model, seen[0][0])[1] < FORGOTTEN


def _first(model: Denoiser, x: Values, t: Scalar, s: Scalar, denoised: Values, **cond) -> Values:
    (alpha_t, r_t), (alpha_s, r_s) = _level(model, t), _level(model, s)
    start, h = torch.tensor([-math.log(r_t), math.log(r_t / r_s)], dtype=torch.float64)
    y = x / alpha_t
    return alpha_s * third_order(model, start, h, y, denoised - y, **cond)[0]


@dataclass(frozen=True)
class Multistep(Sampler):
    """A polynomial through the last ``points`` answers in λ, integrated exactly: one evaluation a step. The default.

    ``data_std`` is s, the spread of data for which a step is exact: ∞ interpolates ε̂, 0 interpolates x̂. ``eta`` is η: 0 for the
    probability flow, of order ``points``; 1 for the reverse process, of weak order 2 at most, which wants ``data_std=0``. A walk that
    begins below σ/α = 20, not at noise, takes its first steps by Runge–Kutta if points > 2: two evaluations more in each.
    Raises: RangeError unless 1 ≤ points ≤ 4, data_std ≥ 0 and eta ≥ 0, and for grids of fewer steps than points.
    """

    points: int = 4
    data_std: float = math.inf
    eta: float = 0.0

    def __post_init__(self):
        _require("Multistep", self.points, 1, self.data_std)
        if not 0 <= self.eta < math.inf:
            raise RangeError(f"Multistep(eta={self.eta:g}): eta must be at least 0; 1 is the reverse process.")

    @property
    def order(self) -> int:  # type: ignore[override]
        """That of the polynomial for the flow; two at most, weakly, for the reverse process."""
        return self.points if self.eta == 0 else min(self.points, 2)

    @property
    def least(self) -> int:  # type: ignore[override]
        """As many steps as points."""
        return self.points

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        seen = (*past.seen, (t, x, denoised))
        if float(model.noise.scales(s)[1]) == 0:
            return denoised, denoised
        if self.eta == 0 and _begins(self.points, model, seen):
            return _first(model, x, t, s, denoised, **cond), denoised
        (alpha_t, r_t), (alpha_s, r_s) = _level(model, t), _level(model, s)
        k = 1 + self.eta**2
        there = x.double() * (alpha_s / alpha_t * (_scale(self.data_std, r_s) / _scale(self.data_std, r_t)) ** k)
        add_integral(there, model, seen[-self.points :], t, s, alpha_s, self.data_std, k)
        if self.eta > 0:
            there.add_(normal(x, generator), alpha=alpha_s * _added(self.data_std, self.eta, r_t, r_s))
        return there.to(x.dtype), denoised


@dataclass(frozen=True)
class Corrected(Sampler):
    """Predict through ``points`` − 1 answers, then correct through ``points`` with the answer there: one evaluation a step.

    The answer at the predicted x serves the correction and the next prediction, as in UniPC (Zhao et al. 2023, algorithm 1,
    arXiv:2302.04867). For smooth densities and many steps; on images with few steps `Multistep` stays nearer to the flow.
    Raises: RangeError unless 2 ≤ points ≤ 4 and data_std ≥ 0.
    """

    points: int = 3
    data_std: float = math.inf

    def __post_init__(self):
        _require("Corrected", self.points, 2, self.data_std)

    @property
    def order(self) -> int:  # type: ignore[override]
        """That of the corrector."""
        return self.points

    @property
    def least(self) -> int:  # type: ignore[override]
        """As many steps as points."""
        return self.points

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        seen = (*past.seen, (t, x, denoised))
        if float(model.noise.scales(s)[1]) == 0:
            return denoised, denoised
        if _begins(self.points, model, seen):
            return _first(model, x, t, s, denoised, **cond), denoised
        y = x.double()
        if past.seen and not _begins(self.points, model, past.seen):
            before, alpha = past.seen[-1][0], _level(model, t)[0]
            y = add_integral(y.clone(), model, seen[-self.points :], before, t, alpha, self.data_std)
            add_integral(y, model, past.seen[1 - self.points :], before, t, -alpha, self.data_std)
        (alpha_t, r_t), (alpha_s, r_s) = _level(model, t), _level(model, s)
        there = y * (alpha_s / alpha_t * _scale(self.data_std, r_s) / _scale(self.data_std, r_t))
        add_integral(there, model, seen[1 - self.points :], t, s, alpha_s, self.data_std)
        return there.to(x.dtype), denoised


def _added(spread: float, eta: float, r_t: float, r_s: float) -> float:
    if math.isinf(spread):
        return eta * math.sqrt(r_t**2 - r_s**2)
    m_t, m_s = math.hypot(spread, r_t), math.hypot(spread, r_s)
    return m_s * math.sqrt(-math.expm1(2 * eta**2 * math.log(m_s / m_t)))


def _require(who: str, points: int, least: int, spread: float) -> None:
    if not least <= points <= 4:
        raise RangeError(f"{who}(points={points}): a polynomial through {least} to 4 points; 4 suits most.")
    if not spread >= 0:
        raise RangeError(f"{who}(data_std={spread:g}): data_std must be at least 0, or infinite.")
