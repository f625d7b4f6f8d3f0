"""The laws of noises and denoisers."""

import math
from functools import partial

import torch

from ..models import Denoiser, Values
from ..noises import Gaussian, Noise
from ..tensors import Streams, normal
from .base import DOUBLE, Units, require, require_own_draws


def noise(noise: Noise) -> None:
    """The law of a `Noise`. Raises: LawError.

    >>> from scorefield.noises import VP
    >>> noise(VP())
    """
    if not isinstance(noise, Gaussian):
        raise TypeError(f"no law for the noise {noise!r} yet: only Gaussian noises have one.")
    t = torch.linspace(0, 1, 1025, **DOUBLE)
    alpha, sigma = noise.scales(t)
    require(abs(float(alpha[0]) - 1) < 1e-12, noise, "α(0) = 1", alpha[0])
    require(abs(float(sigma[0])) < 1e-12, noise, "σ(0) = 0", sigma[0])
    ratio = noise.ratio(t)
    require(torch.allclose(ratio, sigma / alpha), noise, "ratio = σ/α")
    require((ratio.diff() > 0).all() and bool(ratio.isfinite().all()), noise, "σ/α increases and stays finite")
    levels = torch.logspace(-3, math.log10(float(ratio[-1])), 257, **DOUBLE).clamp(max=float(ratio[-1]))
    require(torch.allclose(noise.ratio(noise.time(levels)), levels, rtol=1e-7), noise, "time inverts σ/α")
    low, high = noise.time(torch.tensor([0.05, min(20.0, float(ratio[-1]))], **DOUBLE))
    inner = torch.linspace(float(low), float(high), 2049, **DOUBLE)
    middle, step = (inner[1:] + inner[:-1]) / 2, inner[1] - inner[0]
    (alpha, sigma), (f, g2), (f_middle, g2_middle) = noise.scales(inner), noise.rates(inner), noise.rates(middle)
    require((g2 >= 0).all(), noise, "g² ≥ 0", g2.min())
    simpson = lambda ends, mid: (step / 6 * (ends[:-1] + 4 * mid + ends[1:])).cumsum(0)  # noqa: E731
    close = partial(torch.allclose, rtol=1e-5, atol=1e-7)
    require(close(simpson(f, f_middle), (alpha[1:] / alpha[0]).log()), noise, "m' = f m")
    gained = simpson(g2 / alpha**2, g2_middle / noise.scales(middle)[0] ** 2)
    require(close(gained, noise.ratio(inner[1:]) ** 2 - noise.ratio(inner[0]) ** 2), noise, "v' = 2 f v + g²")
    x, at = torch.full((3, 2), 0.7, **DOUBLE), torch.tensor([0.1, 0.5, 0.9], **DOUBLE)
    quiet, loud = (noise.perturb(x, at, Units(unit)) for unit in (None, 0))
    require(torch.allclose(quiet, noise.at(at, x)[0] * x), noise, "E[x_t | x_0] = α x_0")
    require(torch.allclose((loud - quiet)[0], noise.at(at, x)[1][0]), noise, "sd[x_t | x_0] = σ")
    require(torch.allclose(noise.prior(x, Units(0))[0], noise.scales(t)[1][-1]), noise, "the prior is N(0, σ(1)²)")
    require_own_draws(noise, lambda g, rows: noise.perturb(x[rows], at[rows], g), 3)


def denoiser(denoiser: Denoiser, x: Values | None = None) -> None:
    """The law of a `Denoiser`, at points x (standard normal ones of its shape, if it knows it). Raises: LawError.

    >>> from scorefield.exact import Gaussian
    >>> from scorefield.noises import VP
    >>> denoiser(Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()))
    """
    parameter = next(denoiser.parameters(), torch.empty(0, **DOUBLE))
    x = normal(parameter.new_empty(4, *(denoiser.shape or (2,))), Streams(0, range(4))) if x is None else x
    tolerance = 1e-3 if x.dtype == torch.float32 else 1e-8
    close = partial(torch.allclose, rtol=tolerance, atol=tolerance)
    t = torch.linspace(0.2, 0.9, len(x), **DOUBLE)
    alpha, sigma = denoiser.noise.at(t, x)
    with torch.no_grad():
        clean, noise, score, velocity = (
            denoiser(x, t),
            denoiser.epsilon(x, t),
            denoiser.score(x, t),
            denoiser.velocity(x, t),
        )
        require(clean.shape == x.shape, denoiser, "x̂ has the shape of x", clean.shape)
        require(close(alpha * clean + sigma * noise, x), denoiser, "α x̂ + σ ε̂ = x_t")
        require(close(score * sigma, -noise), denoiser, "s = −ε̂/σ")
        h = 1e-4
        before, after = denoiser.noise.at(t - h, x), denoiser.noise.at(t + h, x)
        slopes = [(b - a) / (2 * h) for a, b in zip(before, after)]
        if x.dtype == torch.float64:
            flow = slopes[0] * clean + slopes[1] * noise
            require(torch.allclose(velocity, flow, rtol=1e-4, atol=1e-4), denoiser, "dx/dt = α' x̂ + σ' ε̂")
        for i in range(len(x)):
            alone = denoiser(x[i : i + 1], t[i : i + 1])[0]
            require(close(alone, clean[i]), denoiser, "row i depends on row i and t_i only", i)
            require(
                close(denoiser(x[i : i + 1], t[i])[0], alone), denoiser, "t of shape () means the same for every row", i
            )
