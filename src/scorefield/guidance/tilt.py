"""A density tilted by any function of x_t: classifier guidance, and whatever else has a gradient.

    p_t(x) e^{w ℓ_t(x)}:        s_w = s + w ∇ℓ_t(x_t),        x̂_w = x̂ + w (σ²/α) ∇ℓ_t(x_t)

With ℓ_t = log p_t(y | x_t) and w = 1 this is Bayes' rule, and the score is that of p_t(x | y) at every level: exact, if ℓ_t
knows the noise level. With a classifier, ℓ_t = log p_t(c | x_t), it is classifier guidance (Dhariwal & Nichol 2021,
section 4, arXiv:2105.05233; Song et al. 2021, section 5, arXiv:2011.13456); with a discriminator's log-odds between data
and samples, discriminator guidance (Kim et al. 2023, arXiv:2211.17091).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import RangeError, ShapeError
from ..models import Denoiser, Times, Values

Numbers = Float[Tensor, "batch"]


class Tilt(Denoiser):
    """x̂ + w (σ²/α) ∇ log_prob(x_t, t, **conditions): the model's density times that of what was seen, to the power w.

    ``log_prob(xt, t, **conditions)`` gives one number per row, in nats, differentiable in xt. The conditions named in
    ``names`` go to it and not to the model, which would count them twice; all others go to the model alone.
    Works under ``torch.no_grad``; outside it the result can be differentiated again.
    Raises: RangeError for a weight that is not finite, a condition that is missing, or a log_prob without a gradient; ShapeError
    unless it gives one number per row.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> known = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(EDM(80.0))
    >>> seen = lambda x, t, y: -0.5 * (y - x).square().sum(1)
    >>> Tilt(known, seen, names=("y",))(torch.zeros(1, 1), torch.tensor(1 / 80), y=torch.ones(1, 1)).item()
    1.0
    """

    def __init__(
        self,
        model: Denoiser,
        log_prob: Callable[..., Tensor],
        weight: float = 1.0,
        names: tuple[str, ...] = ("label",),
    ):
        super().__init__()
        if not math.isfinite(weight):
            raise RangeError(f"Tilt(weight={weight:g}): weight must be finite; 1 is Bayes' rule.")
        self.model: Any = model
        self.log_prob = log_prob
        self.weight = weight
        self.names = tuple(names)
        self.noise = model.noise
        if isinstance(log_prob, nn.Module) and getattr(log_prob, "noise", model.noise) != model.noise:
            raise RangeError(
                f"Tilt: a model of {model.noise} and a {type(log_prob).__name__} trained on {log_prob.noise}; "
                "take one trained on the model's noise."
            )

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    @property
    def remedy(self) -> str:
        return f"Take a smaller guidance weight than Tilt(weight={self.weight:g})."

    @property
    def energy(self) -> Callable[..., Numbers] | None:
        """E − w ℓ, up to a constant of t, where the model has an energy; None else."""
        return None if getattr(self.model, "energy", None) is None else self._energy

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        told, other = self._divided(cond)
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = xt if xt.requires_grad else xt.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._logs(x, t, told).sum(), x, create_graph=keep)
        alpha, sigma = self.noise.at(t, xt)
        return self.model(xt, t, **other) + self.weight * sigma**2 / alpha * slope

    def _energy(self, xt: Values, t: Times, **cond) -> Numbers:
        told, other = self._divided(cond)
        return self.model.energy(xt, t, **other) - self.weight * self.log_prob(xt, t, **told)

    def _divided(self, cond: dict) -> tuple[dict, dict]:
        missing = [name for name in self.names if name not in cond]
        if missing:
            raise RangeError(
                f"Tilt(names={self.names}): condition {missing[0]!r} is missing; pass {missing[0]}=…, one row a sample, "
                "or names=() for a log_prob that takes none."
            )
        told = {name: cond[name] for name in self.names}
        return told, {name: value for name, value in cond.items() if name not in told}

    def _logs(self, x: Values, t: Times, told: dict) -> Numbers:
        logs = self.log_prob(x, t, **told)
        if logs.shape != x.shape[:1]:
            raise ShapeError(
                f"Tilt: log_prob gave {tuple(logs.shape)} for {len(x)} rows; it must give one number per row: (batch,)."
            )
        if not logs.requires_grad:
            raise RangeError(
                "Tilt: log_prob has no gradient in x_t; compute it with torch operations, outside no_grad and detach."
            )
        return logs
