"""Classifier-free guidance: two estimates of one network, and a line drawn through them.

    x̂_w = x̂(x_t, t) + w (x̂(x_t, t, c) − x̂(x_t, t)),        score: ∇log p_t(x) + w ∇log p_t(c | x)        Ho & Salimans 2022, eq. 6,
                                                                                                     arXiv:2207.12598
w = 0 ignores the condition, w = 1 is the conditional model, w > 1 trades variety for certainty. Between limits of σ/α only
(Kynkäänniemi et al. 2024, arXiv:2404.07724): elsewhere w = 1, at one evaluation. Large w overshoots; each row may be drawn back
towards the standard deviation that the conditional estimate has over its event (Lin et al. 2024, eq. 15–16, arXiv:2305.08891):

    x̂ = (1 − φ) x̂_w + φ x̂_w std x̂(c) / std x̂_w
"""

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Times, Values
from ..tensors import expand


class Free(Denoiser):
    """x̂ + w (x̂(c) − x̂) where low ≤ σ/α ≤ high: a denoiser from a conditional denoiser that also works without conditions.

    ``weight`` is w, ``rescale`` is φ, ``low`` and ``high`` are in units of the data. Row by row, like every denoiser.
    Raises: RangeError for a negative or infinite weight, low ≥ high, or rescale outside [0, 1].

    >>> from scorefield.models import Preconditioned, clean
    >>> from scorefield.noises import VP
    >>> net = lambda x, t, label=None: torch.zeros_like(x) if label is None else torch.ones_like(x)
    >>> Free(Preconditioned(net, VP(), clean), 1.5)(torch.zeros(1, 2), torch.tensor(0.5), label=torch.zeros(1))
    tensor([[1.5000, 1.5000]])
    """

    def __init__(
        self, model: Denoiser, weight: float = 1.5, low: float = 0.0, high: float = math.inf, rescale: float = 0.0
    ):
        super().__init__()
        require_line("Free", weight, low, high)
        if not 0 <= rescale <= 1:
            raise RangeError(f"Free(rescale={rescale:g}): rescale must lie in [0, 1]; 0 leaves the estimate as it is.")
        self.model = model
        self.weight = weight
        self.low = low
        self.high = high
        self.rescale = rescale
        self.noise = model.noise

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    @property
    def remedy(self) -> str:
        return f"Take a guidance weight nearer 1 than Free(weight={self.weight:g}), or a narrower interval, or rescale."

    def forward(self, xt: Values, t: Times, **cond) -> Values:
        inside = between(self, xt, t)
        conditional = self.model(xt, t, **cond)
        if self.weight == 1 or not cond or not bool(inside.any()):
            return conditional
        plain = self.model(xt, t)
        guided = plain + self.weight * (conditional - plain)
        if self.rescale:
            guided = guided * (1 + self.rescale * (_ratio(conditional, guided) - 1))
        return torch.where(expand(inside, xt), guided, conditional)


def _ratio(conditional: Values, guided: Values) -> Tensor:
    """std x̂(c) / std x̂_w of each row, and 1 where x̂_w is as good as constant."""
    wanted, got = (x.flatten(1).std(1, correction=0) for x in (conditional, guided))
    return expand(torch.where(got > 1e-6 * wanted, wanted / got, 1.0), guided)


def require_line(who: str, weight: float, low: float, high: float) -> None:
    """A weight and an interval of noise levels that make sense, or a RangeError that names the object.

    >>> require_line("Free", 1.5, 0.0, 1.0)
    """
    if not 0 <= weight < math.inf:
        raise RangeError(f"{who}(weight={weight:g}): weight must be finite and at least 0; 1 is the model unguided.")
    if not low < high:
        raise RangeError(f"{who}(low={low:g}, high={high:g}): low must be below high, both in units of sigma/alpha.")


def between(guide, xt: Values, t: Times) -> Bool[Tensor, "*batch"]:
    """Whether low ≤ σ/α ≤ high at each time: where a guide guides."""
    ratio = guide.noise.ratio(torch.as_tensor(t, device=xt.device).double())
    return (ratio >= guide.low) & (ratio <= guide.high)
