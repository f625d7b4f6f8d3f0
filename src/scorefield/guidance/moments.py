"""Gaussian guides for linear measurements: p(x_0 | x_t) ≈ N(x̂, C), so that y | x_t ~ N(A x̂, M) with M = s² I + A C Aᵀ and

    x̂(x_t | y) = x̂ + (σ²/α) Jᵀ Aᵀ M⁻¹ (y − A x̂),        J = ∂x̂/∂x_t.

The true covariance is C = (σ²/α) J, by Tweedie's second formula; for Gaussian data the guide is then the posterior mean itself.
Rozet, Andry, Lanusse & Louppe (2024), section 4, arXiv:2405.13712. What C is taken to be is a value: see `covariances`.
"""

import torch
from torch import Tensor

from ..errors import RangeError, ShapeError
from ..models import Denoiser, Times, Values
from ..tensors import expand, sum_event
from .covariances import Covariance, Krylov, Linearised
from .measurement import Measurement
from .reconstruction import Guide, Numbers, attached, pull


class MomentMatching(Guide):
    """x̂ + (σ²/α) Jᵀ Aᵀ (s² I + A C Aᵀ)⁻¹ (y − A x̂): E[X_0 | x_t, y] for a linear `Measurement`, exact for Gaussian data.

    ``covariance`` is what C is taken to be: `Krylov` (MMPS, the default), `Dense`, `RowSums` (TMPD) or `Isotropic` (ΠGDM). Walked
    by any sampler; calls take ``observation=``, one y a row. Where the step would carry A x̂ beyond y, which no covariance does but
    a wrong C does, it is shortened: walks stay stable. Rozet et al. (2024), section 4, arXiv:2405.13712.
    Raises: ShapeError if model and operator speak of different events.

    >>> from scorefield.exact import Gaussian; from scorefield.guidance import Mask; from scorefield.noises import VP
    >>> pair = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]])).denoiser(VP())
    >>> guide = MomentMatching(pair, Measurement(Mask(torch.tensor([True, False])), torch.tensor([2.0]), std=1e-3))
    >>> with torch.no_grad():
    ...     guide(torch.zeros(1, 2), torch.tensor(1.0)).round(decimals=2)  # E[X | x_0 = 2] = (2, 1.8)
    tensor([[2.0000, 1.8000]])
    """

    def __init__(self, model: Denoiser, measurement: Measurement, covariance: Covariance | None = None):
        super().__init__()
        require_events(model, measurement)
        self.model = model
        self.measurement = measurement
        self.covariance = Krylov() if covariance is None else covariance
        self.noise = model.noise

    def likelihood(self, x: Values, observation: Tensor | None = None) -> Numbers:
        return self.measurement(x, observation)

    def twist(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> tuple[Values, Values, Numbers]:
        denoised, guided, log_density = self._guided(xt, t, observation, **cond)
        if log_density is None:
            raise RangeError(
                f"{self.covariance} knows no determinant, which twisted needs; take Dense() for an observation of few numbers, "
                "RowSums() or Isotropic()."
            )
        return denoised, guided, log_density

    def forward(self, xt: Values, t: Times, observation: Tensor | None = None, **cond) -> Values:
        return self._guided(xt, t, observation, **cond)[1]

    def _guided(
        self, xt: Values, t: Times, observation: Tensor | None, **cond
    ) -> tuple[Values, Values, Numbers | None]:
        keep, operator = torch.is_grad_enabled(), self.measurement.operator
        leaf, attached_ = attached(self.model, xt, t, **cond)
        denoised = attached_ if keep else attached_.detach()
        residual = self.measurement.residual(denoised, observation)
        alpha, sigma = self.noise.at(t, xt)
        scale = sigma**2 / alpha

        def spread(v: Tensor) -> Tensor:
            return operator(scale * pull(leaf, attached_, operator.transpose(v), keep=keep))

        ratio2 = ((sigma / alpha) ** 2).reshape(-1).expand(len(xt))
        seen = Linearised(operator, self.measurement.std**2, ratio2, spread)
        explained, log_density = self.covariance.explain(seen, residual)
        shift = scale * pull(leaf, attached_, explained, keep=keep)
        return denoised, denoised + expand(_share(residual, operator(shift)), xt) * shift, log_density


def _share(residual: Tensor, moved: Tensor) -> Tensor:
    """min(1, ‖y − A x̂‖/‖A shift‖), row by row."""
    asked, got = sum_event(residual**2), sum_event(moved**2)
    beyond = got > asked
    tiny = torch.finfo(residual.dtype).tiny
    return torch.where(beyond, ((asked + tiny) / torch.where(beyond, got, 1.0)).sqrt(), 1.0)


def require_events(model: Denoiser, measurement: Measurement) -> None:
    """Raises ShapeError if a model's events are not those that a measurement is of.

    >>> from scorefield.exact import Gaussian; from scorefield.guidance import Mask; from scorefield.noises import VP
    >>> seen = Measurement(Mask(torch.tensor([True, False])), torch.tensor([1.0]), std=1.0)
    >>> require_events(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), seen)
    """
    if model.shape is not None and tuple(model.shape) != tuple(measurement.operator.shape):
        raise ShapeError(
            f"{type(measurement.operator).__name__} of events {tuple(measurement.operator.shape)} for a model of events "
            f"{tuple(model.shape)}: they must agree."
        )
