"""How much each noise level counts: (noise, t) -> w, the factor of ½|x̂ − x_0|².

simple       w = SNR = α²/σ²                    ½|ε̂ − ε|²: Ho et al. 2020, eq. 14; NCSN's σ²|s + ε/σ|²
likelihood   w = −dSNR/dt = g² α²/σ⁴            −log p(x) up to a constant: Song et al. 2021b, theorem 1, arXiv:2101.09258
min_snr      w = min(SNR, γ)                    Hang et al. 2023, section 3.4, arXiv:2303.09556
edm          w = 1/s² + SNR, s = data_std       unit-variance targets: Karras et al. 2022, table 1, arXiv:2206.00364
"""

from jaxtyping import Float
from torch import Tensor

from ..noises import Gaussian

Times = Float[Tensor, "*batch"]


def simple(noise: Gaussian, t: Times) -> Times:
    """w = α²/σ²: the plain mean square of the predicted noise.

    >>> import torch; from scorefield.noises import EDM
    >>> float(simple(EDM(1.0), torch.tensor(0.5)))
    4.0
    """
    return noise.ratio(t) ** -2


def likelihood(noise: Gaussian, t: Times) -> Times:
    """w = g² α²/σ⁴ = −dSNR/dt: with uniform times the loss bounds −log p(x), in nats, up to a constant.

    >>> import torch; from scorefield.noises import EDM
    >>> round(float(likelihood(EDM(1.0), torch.tensor(0.5))), 4)
    16.0
    """
    alpha, sigma = noise.scales(t)
    _, g2 = noise.rates(t)
    return g2 * alpha**2 / sigma**4


def min_snr(noise: Gaussian, t: Times, gamma: float = 5.0) -> Times:
    """w = min(α²/σ², γ): no noise level dominates.

    >>> import torch; from scorefield.noises import EDM
    >>> float(min_snr(EDM(1.0), torch.tensor(0.1)))
    5.0
    """
    return (noise.ratio(t) ** -2).clamp(max=gamma)


def edm(noise: Gaussian, t: Times, data_std: float = 1.0) -> Times:
    """w = 1/data_std² + α²/σ²: every level starts at the same loss under `models.edm`.

    >>> import torch; from scorefield.noises import EDM
    >>> float(edm(EDM(1.0), torch.tensor(0.5)))
    5.0
    """
    return data_std**-2 + noise.ratio(t) ** -2
