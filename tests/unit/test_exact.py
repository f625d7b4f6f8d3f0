"""Closed forms against automatic differentiation, quadrature and their own samples."""

import math

import pytest
import torch

from scorefield.errors import RangeError, ShapeError
from scorefield.exact import Empirical, Gaussian, Mixture
from scorefield.noises import VE, VP
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
PAIR = Mixture(
    torch.tensor([1.0, 3.0], **D),
    torch.tensor([[-1.0, 0.5], [2.0, -0.3]], **D),
    torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 0.6]]], **D),
)
POINTS = torch.tensor([[0.2, 0.1], [-1.0, 2.0], [3.0, -1.0]], **D)


@pytest.mark.parametrize("density", [PAIR, Empirical(POINTS), Gaussian(POINTS[0], torch.eye(2, **D) * 0.7)])
def test_the_score_is_the_gradient_of_the_log_density(density):
    x = (POINTS + 0.3).requires_grad_()
    alpha, sigma = torch.tensor([0.9, 0.5, 0.2], **D), torch.tensor([0.3, 0.8, 1.0], **D)
    (gradient,) = torch.autograd.grad(density.log_density(x, alpha, sigma).sum(), x)
    torch.testing.assert_close(density.score(x, alpha, sigma), gradient)


@pytest.mark.parametrize("density", [PAIR, Empirical(POINTS)])
def test_tweedie(density):
    alpha, sigma = torch.tensor(0.6, **D), torch.tensor(0.7, **D)
    x = POINTS * 0.5
    by_tweedie = (x + sigma**2 * density.score(x, alpha, sigma)) / alpha
    torch.testing.assert_close(density.denoise(x, alpha, sigma), by_tweedie)


def test_densities_integrate_to_one_and_weigh_their_components():
    axis = torch.linspace(-6, 6, 401, **D)
    plane = torch.cartesian_prod(axis, axis)
    for alpha, sigma in [(1.0, 0.0), (0.7, 0.5)]:
        mass = PAIR.log_density(plane, alpha, sigma).exp() * (axis[1] - axis[0]) ** 2
        assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
        mean = (mass[:, None] * plane).sum(0)
        torch.testing.assert_close(mean, alpha * torch.tensor([0.25, 0.75], **D) @ PAIR.means, atol=1e-5, rtol=0)


def test_samples_have_the_mean_and_covariance_of_the_mixture():
    n = 100_000
    x = PAIR.sample(n, Streams(0, range(n)))
    weights = torch.tensor([0.25, 0.75], **D)
    mean = weights @ PAIR.means
    centred = PAIR.means - mean
    covariance = (weights[:, None, None] * (PAIR.covariances + centred[:, :, None] * centred[:, None])).sum(0)
    assert (((x.mean(0) - mean) / (x.std(0) / math.sqrt(n))).abs() < 5).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None]
    assert (((products.mean(0) - covariance) / (products.std(0) / math.sqrt(n))).abs() < 5).all()


def test_the_empirical_denoiser_ends_in_a_copy_of_a_training_row():
    data = torch.randn(20, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    near = data[4:5] + 0.05
    torch.testing.assert_close(Empirical(data).denoiser(VE())(near, VE().time(torch.tensor(0.05))), data[4:5])
    drawn = Empirical(data).sample(50, Streams(0, range(50)))
    assert {tuple(row) for row in drawn.flatten(1).tolist()} <= {tuple(row) for row in data.flatten(1).tolist()}


def test_at_time_zero_the_denoiser_returns_its_input_and_at_time_one_the_mean():
    known = PAIR.denoiser(VP())
    torch.testing.assert_close(known(POINTS, torch.tensor(0.0, **D)), POINTS)
    mean = torch.tensor([0.25, 0.75], **D) @ PAIR.means
    far = known(torch.zeros(1, 2, **D), torch.tensor(1.0, **D))
    torch.testing.assert_close(far[0], mean, atol=0.02, rtol=0)  # α(1) = 0.0066 is what is left of the data


def test_bad_densities_are_refused():
    eye = torch.eye(2)
    with pytest.raises(ShapeError, match="wanted"):
        Mixture(torch.ones(3), torch.zeros(2, 2), eye)
    with pytest.raises(RangeError, match="weights"):
        Mixture(torch.tensor([1.0, -1.0]), torch.zeros(2, 2), eye)
    with pytest.raises(RangeError, match="smallest eigenvalue"):
        Gaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ShapeError, match="2 variables"):
        PAIR.score(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="n ≥ 1"):
        Empirical(torch.zeros(0, 2))
    with pytest.raises(RangeError, match="point masses"):
        Empirical(POINTS).score(POINTS)
    with pytest.raises(ShapeError, match="Empirical of events"):
        Empirical(POINTS).denoise(torch.zeros(1, 3, **D), torch.tensor(1.0), torch.tensor(1.0))
