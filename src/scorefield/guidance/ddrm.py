"""Denoising diffusion restoration: each singular direction of A is walked at its own pace.

In y = x/α, r = σ/α, with A = U S Vᵀ, coordinates x̄ = Vᵀ(x/α), x̂ of the model, and ȳ = S⁺Uᵀy of noise s/S, the step to r' draws

    unseen, S = 0        N(x̂ + √(1−η²) (r'/r)(x̄ − x̂),       η² r'²)
    coarse, r' < s/S     N(x̂ + √(1−η²) r' (ȳ − x̂)/(s/S),    η² r'²)
    fine,   r' ≥ s/S     N((1−η_b) x̂ + η_b ȳ,               r'² − η_b² (s/S)²)

Kawar, Elad, Ermon & Song (2022), section 3.2, arXiv:2201.11793; its defaults are η = 0.85, η_b = 1. Without noise A x = y at the end.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser, Values
from ..samplers import Sampler
from ..samplers.base import Past
from ..tensors import Draws, normal
from .measurement import Measurement
from .operators import CUT

Scalar = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class DDRM(Sampler):
    """One step in the singular coordinates of A: unseen directions by the model, seen ones by y as soon as it is the better.

    No derivative of the network is taken. ``eta`` mixes fresh noise in, ``eta_seen`` is the share of y (η_b) where y is fine.
    Raises: RangeError unless both lie in [0, 1]; for operators too large to decompose.
    """

    measurement: Measurement
    eta: float = 0.85
    eta_seen: float = 1.0
    order = 0

    def __post_init__(self):
        if not (0 <= self.eta <= 1 and 0 <= self.eta_seen <= 1):
            raise RangeError(f"DDRM(eta={self.eta:g}, eta_seen={self.eta_seen:g}): both must lie in [0, 1].")

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
    ) -> tuple[Values, Values]:
        denoised = model(x, t, **cond)
        operator, (alpha_t, sigma_t) = self.measurement.operator, model.noise.at(t, x)
        alpha_s, sigma_s = model.noise.at(s, x)
        before, after = sigma_t / alpha_t, sigma_s / alpha_s
        values = operator.values.to(x)
        seen = values > CUT * values.max()
        safe = torch.where(seen, values, 1.0)
        blur = self.measurement.std / safe  # the noise of ȳ
        there, clean = operator.right(x / alpha_t), operator.right(denoised)
        wanted = operator.left(self.measurement.rows(x, observation)) / safe
        kept = (1 - self.eta**2) ** 0.5
        fine = seen & (after >= blur)
        coarse_mean = clean + kept * after * (wanted - clean) / blur.clamp(min=torch.finfo(x.dtype).tiny)
        mean = torch.where(seen, coarse_mean, clean + kept * (after / before) * (there - clean))
        mean = torch.where(fine, clean + self.eta_seen * (wanted - clean), mean)
        std = torch.where(fine, (after**2 - (self.eta_seen * blur) ** 2).clamp(min=0).sqrt(), self.eta * after)
        z = operator.right(normal(x, generator)) if float(sigma_s) > 0 else 0.0
        return alpha_s * operator.spread(mean + std * z), denoised
