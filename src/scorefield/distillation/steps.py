"""A teacher's step, each row between times of its own: samplers walk a batch at one time, students learn at many.

With r = σ/α and y = x/α the probability flow is dy/dr = (y − x̂)/r (Karras et al. 2022, eq. 4, arXiv:2206.00364):

    ddim     x_s = (σ_s/σ_t) x_t + (α_s − α_t σ_s/σ_t) x̂(x_t, t)        Song, Meng & Ermon 2021, eq. 12, arXiv:2010.02502
    heun     the mean of the slopes at both ends                       Karras et al. 2022, algorithm 1
"""

from collections.abc import Callable

import torch

from ..models import Denoiser, Times, Values

Step = Callable[..., Values]


def ddim(model: Denoiser, xt: Values, t: Times, s: Times, **cond) -> Values:
    """x_s = α_s x̂ + σ_s (x_t − α_t x̂)/σ_t: one evaluation, exact where x̂ is constant on the way. Needs t > s, row by row.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> point = Gaussian(torch.zeros(1), 1e-6 * torch.eye(1)).denoiser(EDM(1.0))
    >>> ddim(point, torch.ones(2, 1), torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.25])).flatten().round(decimals=4)
    tensor([0.5000, 0.5000])
    """
    return _drift(model, xt, model(xt, t, **cond), t, s)


def heun(model: Denoiser, xt: Values, t: Times, s: Times, **cond) -> Values:
    """The trapezoidal step of dy/dr = (y − x̂)/r: two evaluations, an error of third order; `ddim` for the rows with s = 0.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import EDM
    >>> wide = Gaussian(torch.zeros(1), torch.eye(1)).denoiser(EDM(1.0))
    >>> x = heun(wide, torch.ones(1, 1), torch.tensor(1.0), torch.tensor(0.5))
    >>> abs(float(x) - (1.25 / 2) ** 0.5) < 0.01
    True
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = model.noise.at(t, xt), model.noise.at(s, xt)
    denoised = model(xt, t, **cond)
    ahead = _drift(model, xt, denoised, t, s)
    last = sigma_s == 0
    r_t, r_s = (
        sigma_t / alpha_t,
        torch.where(last, sigma_t / alpha_t, sigma_s / alpha_s),
    )  # r_s = r_t where it is not used
    first, second = (xt / alpha_t - denoised) / r_t, (ahead / alpha_s - model(ahead, s, **cond)) / r_s
    return torch.where(last, ahead, ahead + 0.5 * alpha_s * (r_s - r_t) * (second - first))


def target(model: Denoiser, xt: Values, xs: Values, t: Times, s: Times) -> Values:
    """The x̂ with which one `ddim` step leads from x_t to x_s: (x_s − (σ_s/σ_t) x_t) / (α_s − (σ_s/σ_t) α_t).

    Salimans & Ho (2022), algorithm 2, arXiv:2202.00512.

    >>> from scorefield.exact import Gaussian; from scorefield.noises import VP
    >>> known, x = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()), torch.ones(1, 2)
    >>> t, s = torch.tensor(0.9), torch.tensor(0.3)
    >>> torch.allclose(target(known, x, ddim(known, x, t, s), t, s), known(x, t), atol=1e-5)
    True
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = model.noise.at(t, xt), model.noise.at(s, xt)
    shrink = sigma_s / sigma_t
    return (xs - shrink * xt) / (alpha_s - shrink * alpha_t)


def _drift(model: Denoiser, xt: Values, denoised: Values, t: Times, s: Times) -> Values:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = model.noise.at(t, xt), model.noise.at(s, xt)
    shrink = sigma_s / sigma_t
    return shrink * xt + (alpha_s - alpha_t * shrink) * denoised
