"""The law of objectives: least at the true score, along the true score."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..exact import Mixture
from ..models import Denoiser, Times, Values
from ..noises import VP
from ..objectives import Objective
from ..spaces import Euclidean
from ..tensors import Streams, normal, sum_event
from .base import DOUBLE, require, require_own_draws, require_zero, takes_denoiser


class _Scaled(Denoiser):
    """The denoiser whose score is c times the true one."""

    def __init__(self, truth: Denoiser, factor: float):
        super().__init__()
        self.truth, self.factor, self.noise = truth, factor, truth.noise

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        alpha, sigma = self.noise.at(t, xt)
        return (xt + sigma**2 * self.score(xt, t)) / alpha

    def score(self, xt: Values, t: Times, **cond) -> Values:
        return self.factor * self.truth.score(xt, t)


def _scaled(truth: Callable[..., Values], factor: float) -> Callable[..., Values]:
    return _Scaled(truth, factor) if isinstance(truth, Denoiser) else lambda x: factor * truth(x)


def _target(objective: Objective, n: int) -> tuple[Callable[..., Values], Values, Float[Tensor, "n"]]:
    """A true score, points, and weights that make them a sample of its density."""
    pair = Mixture(
        torch.tensor([1.0, 2.0], **DOUBLE),
        torch.tensor([[-1.0, 0.0, 0.5], [1.0, 0.5, 0.0]], **DOUBLE),
        torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.8]], **DOUBLE),
    )
    space = getattr(getattr(objective, "divergence", None), "space", Euclidean())
    if takes_denoiser(objective):
        return pair.denoiser(VP()), pair.sample(n, Streams(0, range(n))), torch.ones(n, **DOUBLE)
    if isinstance(space, Euclidean):
        sigma = getattr(objective, "sigma", 0.0)
        return lambda x: pair.score(x, 1.0, sigma), pair.sample(n, Streams(0, range(n))), torch.ones(n, **DOUBLE)
    x = space.reference(torch.empty(n, 3, **DOUBLE), Streams(0, range(n)))
    shift = torch.tensor([0.2, -0.5, 1.0], **DOUBLE)  # p ∝ r(x) exp Σ cos(x − shift)
    tilted = lambda x: space.reference_score(x) - space.tangent(x, torch.sin(x - shift))  # noqa: E731
    return tilted, x, torch.cos(x - shift).sum(-1).exp()


def objective(objective: Objective) -> None:
    """The law of an `Objective`: stationary at the true score along itself, curved as its divergence. Raises: LawError.

    An objective with an attribute ``sigma`` is one for the density smoothed by N(0, σ²I); with a ``divergence``, one on its
    space; with ``score_weight``, its curvature is E[w |s*|²], else E|s*|².

    >>> from scorefield.objectives import Sliced
    >>> objective(Sliced())
    """
    n, h = 40_000, 0.5
    truth, x, weights = _target(objective, n)

    def losses(c: float) -> Float[Tensor, "n"]:
        with torch.no_grad():
            return objective(_scaled(truth, c), x, Streams(1, range(n)))

    low, middle, high = losses(1 - h), losses(1.0), losses(1 + h)
    require(middle.shape == (n,), objective, "one number a row", tuple(middle.shape))
    require_zero(objective, "dL(c s*)/dc = 0 at c = 1", weights * (high - low) / (2 * h))
    curvature = weights * (high - 2 * middle + low) / h**2
    require(float(curvature.mean()) > 0, objective, "L(c s*) is convex in c", curvature.mean())
    if not takes_denoiser(objective):
        sigma = getattr(objective, "sigma", 0.0)
        points = x + sigma * normal(x, Streams(2, range(n)))
        wanted = weights * sum_event(truth(points) ** 2)
    elif hasattr(objective, "score_weight"):
        t, correction = objective.times(truth.noise, x, Streams(2, range(n)))  # type: ignore[attr-defined]
        xt = truth.noise.perturb(x, t, Streams(3, range(n)))  # type: ignore[attr-defined]
        wanted = correction * objective.score_weight(truth.noise, t) * sum_event(truth.score(xt, t) ** 2)  # type: ignore[attr-defined]
    else:
        wanted = curvature
    gap = float((curvature.mean() - wanted.mean()).abs())
    error = float(((curvature.var() + wanted.var()) / n) ** 0.5)
    require(gap <= 5 * error + 1e-9, objective, "d²L(c s*)/dc² = E[w |s*|²]", curvature.mean(), wanted.mean(), error)
    exact = _scaled(truth, 1.0)
    require_own_draws(objective, lambda g, rows: objective(exact, x[rows], g).detach(), 5)
