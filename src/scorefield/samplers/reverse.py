"""Walks that undo the noise with noise of their own: the reverse of dX = f X dt + g dW has the same marginals,

    dX = (f X − g² s) dt + g dW̄,    s = (α x̂ − X)/σ²,    from t = 1 to t = 0          Song et al. 2021, eq. 6, arXiv:2011.13456

EulerMaruyama   one Euler step of it, in the noise's own time
Churn           noise up from r = σ/α to r̂ = (1 + γ) r, then one Heun step of the flow from r̂ down to r_s
                                                                  Karras et al. 2022, algorithm 2, arXiv:2206.00364

In log r the reverse equation adds noise of variance 2r² and flows at twice the speed. With γ = c h, h = log r_t − log r_s, Churn
adds 2c r² and flows at 1 + c times the speed: c = 0 is the flow, c = 1 the reverse equation, to second order.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..tensors import Draws, normal
from .base import Past, Sampler, Values
from .flow import Heun, ends

Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """x + (−f x + g² s)(t − s) + g √(t − s) z: the textbook step of the reverse SDE; weak order 1, x̂ in the last step to t = 0.

    Song et al. (2021), eq. 6, arXiv:2011.13456. The yardstick of the stochastic samplers, and not one to use: below some 20 steps
    on the default grid its noise is not taken back, and walks end far from the data or in DivergedError.
    """

    order = 1

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        alpha, sigma, _, sigma_s = ends(model, t, s)
        if sigma_s == 0:
            return denoised, denoised
        f, g2 = (float(rate * (t - s)) for rate in model.noise.rates(t))
        z = normal(x, generator)
        pull = g2 / sigma**2
        return ((1 - f - pull) * x).add_(denoised, alpha=pull * alpha).add_(z, alpha=math.sqrt(g2)), denoised


@dataclass(frozen=True)
class Churn(Sampler):
    """Noise up to (1 + γ) σ/α, then `Heun` down: new noise wipes out old errors at order 2. Best with many steps and a trained network.

    Karras et al. (2022), algorithm 2, arXiv:2206.00364, carried to any α. γ = churn·log(r_t/r_s), at most √2 − 1, where
    low ≤ σ/α ≤ high; on N even steps of log σ it is the paper's S_churn/N with churn = S_churn/log(σ_max/σ_min). ``inflation``
    is S_noise: above 1 it offsets a network that denoises too much, and leaves a bias of its own.
    Raises: RangeError unless churn ≥ 0, 0 ≤ low < high and inflation > 0.
    """

    churn: float = 1.0
    low: float = 0.0
    high: float = math.inf
    inflation: float = 1.0
    order = 2
    evaluations = 2

    def __post_init__(self):
        if not 0 <= self.churn < math.inf:
            raise RangeError(f"Churn(churn={self.churn:g}): must be finite and ≥ 0: 0 is Heun, 1 the reverse SDE.")
        if not 0 <= self.low < self.high:
            raise RangeError(f"Churn(low={self.low:g}, high={self.high:g}): 0 ≤ low < high, levels of sigma/alpha.")
        if not 0 < self.inflation < math.inf:
            raise RangeError(f"Churn(inflation={self.inflation:g}): must be positive; 1 keeps the marginals exact.")

    def step(
        self, model: Denoiser, x: Values, t: Scalar, s: Scalar, past: Past, generator: Draws | None, **cond
    ) -> tuple[Values, Values]:
        alpha, sigma, alpha_s, sigma_s = ends(model, t, s)
        r = sigma / alpha
        if self.churn > 0 and sigma_s > 0 and self.low <= r <= self.high:
            gamma = min(self.churn * math.log(r * alpha_s / sigma_s), math.sqrt(2) - 1)
            top = float(model.noise.ratio(torch.ones_like(t)))
            louder = min((1 + gamma) * r, top)
            t = model.noise.time(torch.full_like(t, louder))
            shrink = float(model.noise.scales(t)[0]) / alpha
            added = self.inflation * alpha * math.sqrt(max(0.0, louder**2 - r**2))
            x = (shrink * x).add_(normal(x, generator), alpha=shrink * added)
        return Heun().step(model, x, t, s, past, generator, **cond)
