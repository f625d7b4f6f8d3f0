"""Guides: x̂(x_t | y) = x̂ + (σ²/α) ∇ log p̃(y | x_t), from any model of what was seen.

By Bayes' rule ∇ log p_t(x_t | y) = ∇ log p_t(x_t) + ∇ log p_t(y | x_t), and by Tweedie's formula a score is worth σ²/α in x̂.
p_t(y | x_t) = E[p(y | X_0) | x_t] is not known; `Reconstruction` puts x̂ in the place of X_0 (Chung et al. 2023, theorem 1,
arXiv:2209.14687), `MomentMatching` a Gaussian, and `twisted` corrects either until it is exact.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, RangeError, ShapeError
from ..models import Denoiser, Times, Values
from ..tensors import expand

Numbers = Float[Tensor, "batch"]


def attached(model: Denoiser, xt: Values, t: Times, **cond) -> tuple[Values, Values]:
    """(x_t, x̂) joined by a graph, whether gradients are on or not: what a guide differentiates.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> attached(Gaussian(torch.zeros(1), torch.eye(1)).denoiser(VP()), torch.ones(1, 1), torch.tensor(0.5))[1].requires_grad
    True
    """
    with torch.enable_grad():
        xt = xt if xt.requires_grad else xt.detach().requires_grad_()
        return xt, model(xt, t, **cond)


def pull(xt: Values, denoised: Tensor, v: Tensor, *, keep: bool) -> Values:
    """(∂denoised/∂x_t)ᵀ v, row by row; with ``keep`` it can be differentiated again.

    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> pull(x, x**2, torch.ones(1, 2), keep=False)
    tensor([[2., 2.]])
    """
    (pulled,) = torch.autograd.grad(denoised, xt, v, retain_graph=True, create_graph=keep)
    return pulled


class Guide(Denoiser, ABC):
    """E[X_0 | x_t, y] from E[X_0 | x_t]: a denoiser that knows log p(y | x), and an estimate of log p(y | x_t) for `twisted`."""

    model: Denoiser

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    @abstractmethod
    def likelihood(self, x: Values, observation: Tensor | None = None) -> Numbers:
        """log p(y | x) in nats."""

    @abstractmethod
    def twist(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> tuple[Values, Values, Numbers]:
        """(x̂, x̂ given y, an estimate of log p(y | x_t)) at one evaluation of the model."""


class Reconstruction(Guide):
    """x̂ + (σ²/α) ∇_{x_t} c log p(y | x̂(x_t)), for any ``log_likelihood`` of clean x: non-linear measurements.

    ``log_likelihood(x) -> (batch,)`` is log p(y | x) in nats, differentiable in x; where calls bring ``observation=``, it is called
    with that as well. ``scale`` tempers it by c = 1/(1 + (r/scale)²), r² = (σ/α)²/(1 + (σ/α)²), where x̂ is not yet x: take the
    distance in x over which log p(y | x) falls by a nat or so (for y = x + noise, its std; this is then ΠGDM). Infinite, the
    default, is diffusion posterior sampling without its step-size rule: Chung et al. (2023), theorem 1, arXiv:2209.14687.
    A `Measurement` is such a log-likelihood. Raises: RangeError for scale ≤ 0, ShapeError for a log-likelihood that is not one
    number a row, DivergedError where its gradient is not finite.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> model = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(VP())
    >>> guide = Reconstruction(model, lambda x: -((x[:, 0].abs() - 2) ** 2))
    >>> bool(guide(torch.ones(1, 1), torch.tensor(0.3)) > model(torch.ones(1, 1), torch.tensor(0.3)))
    True
    """

    def __init__(self, model: Denoiser, log_likelihood: Callable[..., Numbers], scale: float = math.inf):
        super().__init__()
        if not scale > 0:
            raise RangeError(
                f"Reconstruction(scale={scale:g}): scale must be positive, in units of the data; or infinite."
            )
        self.model = model
        self.log_likelihood = log_likelihood
        self.scale = scale
        self.noise = model.noise

    def likelihood(self, x: Values, observation: Tensor | None = None) -> Numbers:
        found = self.log_likelihood(x) if observation is None else self.log_likelihood(x, observation)
        if found.shape != x.shape[:1]:
            raise ShapeError(
                f"Reconstruction: the log-likelihood answers {tuple(found.shape)} to x of shape {tuple(x.shape)}; "
                f"wanted one number a row, ({len(x)},): sum over the event only."
            )
        return found

    def twist(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> tuple[Values, Values, Numbers]:
        keep = torch.is_grad_enabled()
        leaf, denoised = attached(self.model, xt, t, **cond)
        with torch.enable_grad():
            log_p = self._tempered(t, denoised, self.likelihood(denoised, observation))
            slope = pull(leaf, log_p, torch.ones_like(log_p), keep=keep)
        self._require_finite(slope, t)
        alpha, sigma = self.noise.at(t, xt)
        guided = denoised + sigma**2 / alpha * slope
        return (denoised, guided, log_p) if keep else (denoised.detach(), guided.detach(), log_p.detach())

    def forward(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> Values:
        return self.twist(xt, t, observation, **cond)[1]

    def _tempered(self, t: Times, denoised: Tensor, log_p: Tensor) -> Tensor:
        if math.isinf(self.scale):
            return log_p
        ratio = self.noise.ratio(torch.as_tensor(t, device=denoised.device).double()) ** 2
        return log_p / (1 + expand(ratio / (1 + ratio), log_p).to(log_p) / self.scale**2)

    def _require_finite(self, slope: Tensor, t: Tensor) -> None:
        bad = (~slope.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        if bad:
            raise DivergedError(
                f"Reconstruction: the gradient of the log-likelihood is not finite in rows {bad[:8]} at t = {torch.as_tensor(t)}; "
                "give it a log-likelihood that is differentiable everywhere, or a scale."
            )
