"""Diffusion posterior sampling: after every step, downhill on the misfit of the clean estimate.

    x_s ← x_s − ζ ∇_{x_t} ‖y − A x̂(x_t)‖

Chung, Kim, McCann, Klasky & Ye (2023), algorithm 1 with ζ_i = ζ'/‖y − A x̂‖, arXiv:2209.14687. The norm is that of one row; taken
over a batch, as some libraries do, every row is guided less the more rows there are. The step is ζ times a slope whatever the
noise level and the number of steps, so ζ is tuned to them, and y's precision enters nowhere: a search, not a posterior.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..samplers import Ancestral, Sampler
from ..samplers.base import Past
from ..tensors import Draws, sum_event
from .measurement import Measurement
from .reconstruction import attached, pull

Scalar = Float[Tensor, ""]


class _Remembering(Denoiser):
    """A model that keeps the graph of its first answer: the step and the slope share one evaluation."""

    def __init__(self, model: Denoiser):
        super().__init__()
        self.model = model
        self.noise = model.noise
        self.first: Any = None

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        if self.first is not None:
            return self.model(xt, t, **cond)
        self.first = attached(self.model, xt, t, **cond)
        return self.first[1].detach()


@dataclass(frozen=True, eq=False)
class DPS(Sampler):
    """x_s ← x_s − ζ ∇‖y − A x̂(x_t)‖ after every step of ``sampler``, with the norm of each row alone.

    ``zeta`` is the step size, about 1 for unit-scale data and a thousand steps; `MomentMatching` has none to tune.
    Raises: RangeError for zeta ≤ 0.
    """

    measurement: Measurement
    zeta: float = 1.0
    sampler: Sampler = field(default_factory=Ancestral)
    order = 0

    def __post_init__(self):
        if not 0 < self.zeta < math.inf:
            raise RangeError(f"DPS(zeta={self.zeta:g}): the step size must be positive and finite.")

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.sampler.evaluations

    def times(self, model, steps: int) -> Float[Tensor, "times"]:
        return self.sampler.times(model, steps)

    def step(
        self,
        model: Denoiser,
        x: Values,
        t: Scalar,
        s: Scalar,
        past: Past,
        generator: Draws | None,
        observation: Tensor | None = None,
        **cond,
    ) -> tuple[Values, Values | None]:
        remembering = _Remembering(model)
        there, seen = self.sampler.step(remembering, x, t, s, past, generator, **cond)
        leaf, denoised = remembering.first
        with torch.enable_grad():
            squared = sum_event(self.measurement.residual(denoised, observation) ** 2)
            misfit = squared.clamp(min=torch.finfo(x.dtype).tiny).sqrt()
            return there - self.zeta * pull(leaf, misfit, torch.ones_like(misfit), keep=False), seen
