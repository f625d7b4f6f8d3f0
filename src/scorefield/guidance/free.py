"""Classifier-free guidance: two estimates of one network, and a line drawn through them.

    x̂_w(x_t, t, c) = x̂(x_t, t) + w (x̂(x_t, t, c) − x̂(x_t, t)),        score: ∇log p_t(x) + w ∇log p_t(c | x)

w = 0 ignores the condition, w = 1 is the conditional model, w > 1 trades variety for certainty. Between limits of σ/α only
(Kynkäänniemi et al. 2024, arXiv:2404.07724): elsewhere w = 1, at one evaluation.

Ho & Salimans (2022), eq. 6, arXiv:2207.12598.
"""

import math

import torch

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..tensors import expand


class Free(Denoiser):
    """x̂ + w (x̂(c) − x̂) where low ≤ σ/α ≤ high: a denoiser from a conditional denoiser that also works without conditions.

    Row by row, like every denoiser. Raises: RangeError for a negative or infinite weight, or low ≥ high.

    >>> from scorefield.models import Preconditioned, clean
    >>> from scorefield.noises import VP
    >>> net = lambda x, t, label=None: torch.zeros_like(x) if label is None else torch.ones_like(x)
    >>> Free(Preconditioned(net, VP(), clean), 1.5)(torch.zeros(1, 2), torch.tensor(0.5), label=torch.zeros(1))
    tensor([[1.5000, 1.5000]])
    """

    def __init__(self, model: Denoiser, weight: float = 1.5, low: float = 0.0, high: float = math.inf):
        super().__init__()
        if not 0 <= weight < math.inf:
            raise RangeError(
                f"Free(weight={weight:g}): weight must be finite and at least 0; 1 is the conditional model."
            )
        if not low < high:
            raise RangeError(f"Free(low={low:g}, high={high:g}): low must be below high, both in units of sigma/alpha.")
        self.model = model
        self.weight = weight
        self.low = low
        self.high = high
        self.noise = model.noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        ratio = self.noise.ratio(torch.as_tensor(t, device=xt.device).double())
        inside = (ratio >= self.low) & (ratio <= self.high)
        conditional = self.model(xt, t, **cond)
        if self.weight == 1 or not cond or not bool(inside.any()):
            return conditional
        plain = self.model(xt, t)
        guided = plain + self.weight * (conditional - plain)
        return torch.where(expand(inside, xt), guided, conditional)
