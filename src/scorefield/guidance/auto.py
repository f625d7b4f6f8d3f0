"""Autoguidance: a model is led away from where a worse version of itself goes.

    x̂_w = x̂_weak + w (x̂ − x̂_weak)                        score: s + (w − 1) ∇log p/p_weak

Both are asked the same, conditions and all; the weak one is smaller or trained for less time, so that the direction from it
to the better one points to where the errors that they share shrink. Unlike `Free` it costs no variety of the condition's own.

Karras, Aittala, Kynkäänniemi, Lehtinen, Aila & Laine (2024), section 4, arXiv:2406.02507.
"""

import math

import torch

from ..errors import RangeError, ShapeError
from ..models import Denoiser, Times, Values
from ..tensors import expand
from .free import between, require_line


class Auto(Denoiser):
    """x̂_weak + w (x̂ − x̂_weak) where low ≤ σ/α ≤ high, x̂ elsewhere: guidance by a weaker model of the same noise.

    Works without conditions too. Raises: RangeError for a negative or infinite weight, low ≥ high, or two noises;
    ShapeError for two event shapes.

    >>> from scorefield.models import Preconditioned, clean
    >>> from scorefield.noises import VP
    >>> good, weak = (Preconditioned(net, VP(), clean) for net in (lambda x, t: x, lambda x, t: 0 * x))
    >>> Auto(good, weak, 2.0)(torch.ones(1, 1), torch.tensor(0.0)).item()
    2.0
    """

    def __init__(self, model: Denoiser, weak: Denoiser, weight: float = 1.5, low: float = 0.0, high: float = math.inf):
        super().__init__()
        require_line("Auto", weight, low, high)
        require_one_noise("Auto", (model, weak))
        self.model = model
        self.weak = weak
        self.weight = weight
        self.low = low
        self.high = high
        self.noise = model.noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    @property
    def remedy(self) -> str:
        return f"Take a guidance weight nearer 1 than Auto(weight={self.weight:g}), or a narrower interval."

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        inside = between(self, xt, t)
        better = self.model(xt, t, **cond)
        if self.weight == 1 or not bool(inside.any()):
            return better
        weak = self.weak(xt, t, **cond)
        return torch.where(expand(inside, xt), weak + self.weight * (better - weak), better)


def require_one_noise(who: str, models: tuple[Denoiser, ...]) -> None:
    """All models are of one noise, and of one event shape where they know it: scores add at equal noise only.

    Raises: RangeError, ShapeError.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM, VP
    >>> known = Gaussian(torch.zeros(2), torch.eye(2))
    >>> require_one_noise("Auto", (known.denoiser(VP()), known.denoiser(EDM(80.0))))
    Traceback (most recent call last):
    ...
    scorefield.errors.RangeError: Auto: models of VP(beta_min=0.1, beta_max=20.0) and EDM(sigma_max=80.0): \
scores add at equal noise only; take models of one noise.
    """
    for model in models[1:]:
        if model.noise != models[0].noise:
            raise RangeError(
                f"{who}: models of {models[0].noise} and {model.noise}: scores add at equal noise only; "
                "take models of one noise."
            )
    shapes = {str(model.shape) for model in models if model.shape is not None}
    if len(shapes) > 1:
        raise ShapeError(f"{who}: models of events {' and '.join(sorted(shapes))}; all must be of one shape.")
