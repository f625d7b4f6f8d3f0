"""95 % intervals cover in 94 to 96 % of 2,000 replications, and their errors are the spread of the estimates."""

import math

import pytest
import torch

from scorefield.closed import Normal, fit, hybrid
from scorefield.domains import Box

D = {"dtype": torch.float64}
REPLICATIONS, N = 2000, 500
FACTOR = torch.tensor([[0.8, 0.0], [0.5, 1.2]], **D)


def directions(generator, kappa=5.0):
    u = torch.rand(N, 2, generator=generator, **D)
    t = 1 + (u[:, 0] + (1 - u[:, 0]) * math.exp(-2 * kappa)).log() / kappa
    r, angle = (1 - t**2).sqrt(), 2 * math.pi * u[:, 1]
    return torch.stack([r * angle.cos(), r * angle.sin(), t], 1)


def half_normal(generator):
    return torch.randn(N, 1, generator=generator, **D).abs()


def gaussian(generator):
    return torch.randn(N, 2, generator=generator, **D) @ FACTOR.T + 0.3


CASES = {
    "von Mises–Fisher κ": (directions, hybrid, "kappa", 5.0),
    "truncated normal mean": (
        half_normal,
        lambda x: fit(Normal(1), x, domain=Box(), fixed={"K[1,1]": 1.0}),
        "eta[1]",
        0.0,
    ),
    "Gaussian precision": (
        gaussian,
        lambda x: fit(Normal(2), x),
        "K[1,2]",
        float(torch.linalg.inv(FACTOR @ FACTOR.T)[0, 1]),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_intervals_cover(name):
    draw, run, parameter, truth = CASES[name]
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(REPLICATIONS):
        fitted = run(draw(generator))
        found.append((fitted[parameter], fitted.error(parameter)))
    estimate, error = torch.tensor(found, **D).T
    covered = float(((estimate - truth).abs() <= 1.959963984540054 * error).double().mean())
    assert 0.94 <= covered <= 0.96
    assert abs(float(error.mean() / estimate.std()) - 1) < 4 / math.sqrt(2 * REPLICATIONS)
