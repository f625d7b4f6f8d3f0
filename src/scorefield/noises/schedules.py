"""Six Gaussian noises, each two lines of mathematics.

    VP         α = exp(−½∫β),              σ = √(1 − α²)           Song et al. 2021, eq. 11 and 33, arXiv:2011.13456
    SubVP      α = exp(−½∫β),              σ = 1 − α²              Song et al. 2021, eq. 12
    VE         α = 1,                      σ² = σ_min²((σ_max/σ_min)^{2t} − 1)      Song et al. 2021, eq. 9 and appendix C
    Cosine     α = cos θt,                 σ = sin θt              after Nichol & Dhariwal 2021, eq. 17, arXiv:2102.09672
    Rectified  α = 1 − (1 − 1/r_max) t,    σ = t                   Liu et al. 2022, eq. 1, arXiv:2209.03003
    EDM        α = 1,                      σ = σ_max t             Karras et al. 2022, table 1, arXiv:2206.00364

with β(t) = β_min + t (β_max − β_min). Cosine (θ = arctan r_max) and Rectified stop at σ/α = r_max, where the usual ones
reach infinity: every walk and every order of convergence is then finite, and the prior misses by r_max⁻² only.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import RangeError
from .base import Gaussian, require_order

Scales = tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]


def _integrated(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    return t * (beta_min + 0.5 * t * (beta_max - beta_min))


def _time_of_integral(integral: Tensor, beta_min: float, beta_max: float) -> Tensor:
    return 2 * integral / (beta_min + (beta_min**2 + 2 * (beta_max - beta_min) * integral).sqrt())


@dataclass(frozen=True)
class VP(Gaussian):
    """α = exp(−½∫β), σ = √(1 − α²): the variance-preserving process, DDPM in continuous time. The default for unit-scale data.

    Song et al. (2021), eq. 11 and 33, arXiv:2011.13456. Raises: RangeError unless 0 < beta_min < beta_max.

    >>> alpha, sigma = VP().scales(torch.tensor(1.0))
    >>> round(float(alpha**2 + sigma**2), 6)
    1.0
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        require_order("VP", "beta_min", self.beta_min, "beta_max", self.beta_max)

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        integral = _integrated(t, self.beta_min, self.beta_max)
        return (-0.5 * integral).exp(), (-torch.expm1(-integral)).sqrt()

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return _time_of_integral(torch.log1p(self._inside(ratio) ** 2), self.beta_min, self.beta_max)


@dataclass(frozen=True)
class SubVP(Gaussian):
    """α = exp(−½∫β), σ = 1 − α²: variance below VP's at every t, made for likelihoods.

    Song et al. (2021), eq. 12, arXiv:2011.13456. Raises: RangeError unless 0 < beta_min < beta_max.

    >>> float(SubVP().ratio(torch.tensor(0.0)))
    0.0
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        require_order("SubVP", "beta_min", self.beta_min, "beta_max", self.beta_max)

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        integral = _integrated(t, self.beta_min, self.beta_max)
        return (-0.5 * integral).exp(), -torch.expm1(-integral)

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return _time_of_integral(2 * torch.asinh(self._inside(ratio) / 2), self.beta_min, self.beta_max)


@dataclass(frozen=True)
class VE(Gaussian):
    """α = 1, σ² = σ_min²((σ_max/σ_min)^{2t} − 1): the variance-exploding process, geometric in t above σ_min.

    Song et al. (2021), eq. 9, arXiv:2011.13456, as the exact solution of its SDE from X_0 (their appendix C
    approximates it by σ_min(σ_max/σ_min)^t, which does not vanish at t = 0).
    Choose σ_max near the largest distance between two data points (Song & Ermon 2020, technique 1, arXiv:2006.09011).
    Raises: RangeError unless 0 < sigma_min < sigma_max.

    >>> round(float(VE(0.01, 50.0).scales(torch.tensor(1.0))[1]), 3)
    50.0
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        require_order("VE", "sigma_min", self.sigma_min, "sigma_max", self.sigma_max)

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        growth = 2 * math.log(self.sigma_max / self.sigma_min)
        return torch.ones_like(t), self.sigma_min * torch.expm1(growth * t).sqrt()

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        growth = 2 * math.log(self.sigma_max / self.sigma_min)
        return torch.log1p((self._inside(ratio) / self.sigma_min) ** 2) / growth


@dataclass(frozen=True)
class Cosine(Gaussian):
    """α = cos θt, σ = sin θt, θ = arctan r_max: equal angles in equal times.

    After Nichol & Dhariwal (2021), eq. 17, arXiv:2102.09672, with the offset s replaced by the end σ/α = r_max.
    Raises: RangeError unless 0 < ratio_max < ∞.

    >>> round(float(Cosine(ratio_max=200.0).ratio(torch.tensor(1.0, dtype=torch.float64))), 6)
    200.0
    """

    ratio_max: float = 1000.0

    def __post_init__(self):
        _require_ratio("Cosine", self.ratio_max)

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        angle = math.atan(self.ratio_max) * t
        return angle.cos(), angle.sin()

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.atan(self._inside(ratio)) / math.atan(self.ratio_max)


@dataclass(frozen=True)
class Rectified(Gaussian):
    """α = 1 − (1 − 1/r_max) t, σ = t: straight lines from data to noise, as in flow matching.

    Liu et al. (2022), eq. 1, arXiv:2209.03003; Lipman et al. (2023), eq. 20, arXiv:2210.02747, with the offset at the noise end.
    Raises: RangeError unless 1 < ratio_max < ∞.

    >>> [round(float(s), 4) for s in Rectified().scales(torch.tensor(0.5))]
    [0.5005, 0.5]
    """

    ratio_max: float = 1000.0

    def __post_init__(self):
        _require_ratio("Rectified", self.ratio_max)

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        return 1 - (1 - 1 / self.ratio_max) * t, t

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        ratio = self._inside(ratio)
        return ratio / (1 + (1 - 1 / self.ratio_max) * ratio)


@dataclass(frozen=True)
class EDM(Gaussian):
    """α = 1, σ = σ_max t: noise level as time. The grid, not the noise, decides where a walk spends its steps.

    Karras et al. (2022), table 1, arXiv:2206.00364. Raises: RangeError unless 0 < sigma_max < ∞.

    >>> float(EDM(80.0).ratio(torch.tensor(0.25)))
    20.0
    """

    sigma_max: float = 80.0

    def __post_init__(self):
        if not 0 < self.sigma_max < math.inf:
            raise RangeError(f"EDM(sigma_max={self.sigma_max:g}): sigma_max must be positive and finite.")

    def scales(self, t: Float[Tensor, "*batch"]) -> Scales:
        return torch.ones_like(t), self.sigma_max * t

    def time(self, ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return self._inside(ratio) / self.sigma_max


def _require_ratio(name: str, ratio_max: float) -> None:
    if not 1 < ratio_max < math.inf:
        raise RangeError(
            f"{name}(ratio_max={ratio_max:g}): ratio_max, the last sigma/alpha, must lie in (1, ∞); try 1000."
        )
