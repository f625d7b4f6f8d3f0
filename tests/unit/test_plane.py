"""The toy laws of the plane: their scores are gradients, their masses one, their draws theirs."""

import math

import pytest
import torch

from scorefield import data, plane
from scorefield.errors import RangeError, ShapeError
from scorefield.exact import Mixture
from scorefield.noises import VP
from scorefield.tensors import Streams, normal

LAWS = {
    "moons": plane.moons,
    "spirals": lambda: plane.spirals(turns=1.0, noise=0.05),
    "rings": plane.Rings,
    "checkerboard": plane.Checkerboard,
    "cloud": lambda: plane.Cloud(torch.tensor([1.0, 3.0]), torch.tensor([[0.5, -1.0], [-0.5, 1.0]]), 0.4),
}
TOYS = {"moons": data.moons, "rings": data.rings, "checkerboard": data.checkerboard}


def somewhere(n=60):
    return 1.3 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("sigma", [0.05, 0.4, 2.0])
def test_the_score_is_the_slope_of_the_log_density(name, sigma):
    law, x = LAWS[name](), somewhere().requires_grad_()
    (slope,) = torch.autograd.grad(law.log_density(x, 0.8, sigma).sum(), x)
    s = law.score(x.detach(), 0.8, sigma)
    assert torch.allclose(s, slope, rtol=1e-8, atol=1e-8 * float(slope.abs().max()))


@pytest.mark.parametrize("name", LAWS)
def test_the_denoiser_obeys_tweedie(name):
    law, x, sigma = LAWS[name](), somewhere(), torch.tensor(0.3, dtype=torch.float64)
    alpha = torch.tensor(0.7, dtype=torch.float64)
    clean = law.denoise(x, alpha, sigma)
    assert torch.allclose((alpha * clean - x) / sigma**2, law.score(x, alpha, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_the_mass_is_one(name):
    u = torch.linspace(-5, 5, 141, dtype=torch.float64)
    x = torch.cartesian_prod(u, u)
    mass = float(LAWS[name]().log_density(x, 0.9, 0.3).exp().sum()) * float(u[1] - u[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_its_draws_satisfy_steins_identity(name):
    """E[⟨s(X), X⟩] = −2 for X ~ p_t, as for every law of the plane: a score of other data fails it."""
    law, rows = LAWS[name](), Streams(3, range(4000))
    x = law.sample(4000, rows).double()
    x = 0.9 * x + 0.2 * normal(x, rows)
    values = (law.score(x, 0.9, 0.2) * x).sum(1)
    assert abs(float(values.mean()) + 2) < 4.5 * float(values.std()) / math.sqrt(len(values))


@pytest.mark.parametrize("name", TOYS)
def test_its_draws_are_those_of_the_toy(name):
    law = LAWS[name]()
    assert torch.equal(law.sample(50, Streams(0, range(50))), TOYS[name](50, generator=Streams(0, range(50))))


def test_the_wrong_law_fails_steins_identity():
    x = data.moons(4000, generator=Streams(3, range(4000))).double()
    x = 1.1 * x + 0.2 * normal(x, Streams(4, range(4000)))
    values = (plane.moons().score(x, 1.0, 0.2) * x).sum(1)
    assert abs(float(values.mean()) + 2) > 6 * float(values.std()) / math.sqrt(len(values))


def test_a_cloud_is_a_mixture():
    weights, means = torch.tensor([1.0, 3.0]), torch.tensor([[0.5, -1.0], [-0.5, 1.0]])
    weights, means = weights.double(), means.double()
    cloud, mixture = plane.Cloud(weights, means, 0.4), Mixture(weights, means, 0.16 * torch.eye(2).double())
    x, alpha, sigma = somewhere(), torch.tensor(0.6).double(), torch.tensor(0.3).double()
    for ours, theirs in [
        (cloud.score(x, 0.6, 0.3), mixture.score(x, 0.6, 0.3)),
        (cloud.log_density(x, 0.6, 0.3), mixture.log_density(x, 0.6, 0.3)),
        (cloud.denoise(x, alpha, sigma), mixture.denoise(x, alpha, sigma)),
    ]:
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_each_row_is_alone_and_may_have_its_own_level(name):
    law, x = LAWS[name](), somewhere(5).float()
    sigma = torch.tensor([0.1, 0.2, 0.5, 1.0, 2.0])
    alpha = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6])
    together = law.score(x, alpha, sigma)
    assert together.dtype == torch.float32
    for k in range(5):
        alone = law.score(x[k : k + 1], alpha[k : k + 1], sigma[k : k + 1])
        assert torch.allclose(alone, together[k : k + 1], rtol=1e-6, atol=1e-7)
    assert law.denoiser(VP())(x, torch.linspace(0.1, 0.9, 5)).shape == (5, 2)


def test_rings_without_noise_are_the_stated_density():
    x, ring = somewhere(), plane.Rings()
    size = math.sqrt(2 / (4 * 7 / 6 + 0.05**2))
    r = x.norm(dim=1) / size
    p = sum(torch.exp(-((r - k) ** 2) / (2 * 0.05**2)) for k in (1, 2, 3)) / (0.05 * math.sqrt(2 * math.pi))
    stated = (p / (2 * math.pi * r * 3)).log() - 2 * math.log(size)
    near = stated > -30
    assert torch.allclose(ring.log_density(x)[near], stated[near], atol=1e-5)


def test_far_away_nothing_overflows():
    x = torch.tensor([[50.0, -50.0], [0.0, 40.0]])
    for law in (make() for make in LAWS.values()):
        assert bool(law.score(x, 1.0, 0.05).isfinite().all())
        assert bool(law.log_density(x, 1.0, 0.05).isfinite().all())


def test_bad_arguments_are_told():
    with pytest.raises(RangeError, match="edges have no score"):
        plane.Checkerboard()(torch.zeros(1, 2))
    with pytest.raises(RangeError, match="at least 1 ring"):
        plane.Rings(count=0)
    with pytest.raises(RangeError, match="std must be positive"):
        plane.Cloud(torch.ones(1), torch.zeros(1, 2), 0.0)
    with pytest.raises(ShapeError, match="wanted"):
        plane.Cloud(torch.ones(2), torch.zeros(1, 2), 1.0)
    with pytest.raises(ShapeError, match="2 variables"):
        plane.moons().score(torch.zeros(1, 3), 1.0, 1.0)
