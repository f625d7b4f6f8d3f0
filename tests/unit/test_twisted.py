"""Twisted particles: exact as they grow, evidence with its error, and systems that do not see each other."""

import math

import pytest
import torch

from scorefield.errors import DivergedError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.grids import logsnr
from scorefield.guidance import (
    Dense,
    Isotropic,
    Matrix,
    Measurement,
    MomentMatching,
    Reconstruction,
    RowSums,
    twisted,
)
from scorefield.guidance.particles import effective, systematic
from scorefield.metrics import gaussian_wasserstein2
from scorefield.noises import EDM, VP
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}


def draws(*shape, seed=0):
    return normal(torch.empty(*shape, **D), Streams(seed, range(shape[0])))


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


PRIOR = Gaussian(torch.tensor([0.5, -0.5, 1.0], **D), torch.tensor([0.3, 1.0, 2.0], **D).diag())
A, STD = draws(2, 3, seed=1), 0.3
Y = torch.tensor([0.4, -1.2], **D)
MEASURED = Measurement(Matrix(A), Y, STD)
STEPS = 30


def guide(covariance, noise=VP(), measured=MEASURED):  # noqa: B008
    return MomentMatching(PRIOR.denoiser(noise), measured, covariance)


def chain(noise, steps=STEPS):
    """N(m, C) of the model's own chain on the grid, what the particles are exact for, from the moments of (x, the x̂ before)."""
    model, times = PRIOR.denoiser(noise), logsnr(noise, steps, floor=0.01)
    alpha, sigma = noise.scales(times)
    h = -(sigma / alpha)[:-1].log().diff()
    mean, spread = torch.zeros(3, 2, **D), torch.zeros(3, 2, 2, **D)
    spread[:, 0, 0] = noise.prior_std**2
    for k, (t, step) in enumerate(zip(times, h)):
        origin, unit = model(torch.stack([torch.zeros(3, **D), torch.ones(3, **D)]), t)
        slope, fresh = unit - origin, 1 - torch.exp(-2 * step)
        gain = alpha[k + 1] * (step - fresh / 2) / h[k - 1] if k else 0.0
        weight = alpha[k + 1] * fresh + gain
        across = torch.zeros(3, 2, 2, **D)
        across[:, 0, 0] = sigma[k + 1] / sigma[k] * torch.exp(-step) + weight * slope
        across[:, 0, 1], across[:, 1, 0] = -gain, slope
        mean = (across @ mean[..., None])[..., 0] + torch.stack([weight * origin, origin], 1)
        spread = across @ spread @ across.mT
        spread[:, 0, 0] += sigma[k + 1] ** 2 * fresh
    origin, unit = model(torch.stack([torch.zeros(3, **D), torch.ones(3, **D)]), times[-2])
    return Gaussian(origin + (unit - origin) * mean[:, 0], ((unit - origin) ** 2 * spread[:, 0, 0]).diag())


def evidence(prior, y=Y):
    spread = A @ prior.covariance @ A.T + STD**2 * torch.eye(2, **D)
    return torch.distributions.MultivariateNormal(A @ prior.mean, spread).log_prob(y)


def conditioned(prior, y=Y):
    gain = prior.covariance @ A.T @ torch.linalg.inv(A @ prior.covariance @ A.T + STD**2 * torch.eye(2, **D))
    covariance = prior.covariance - gain @ A @ prior.covariance
    return Gaussian(prior.mean + gain @ (y - A @ prior.mean), 0.5 * (covariance + covariance.T))


@pytest.mark.parametrize("noise", [VP(), EDM(80.0)], ids=str)
@pytest.mark.parametrize("covariance", [Dense(), Isotropic(), RowSums()], ids=str)
def test_the_evidence_is_that_of_the_chain_within_its_error(covariance, noise):
    systems = 30
    result = twisted(guide(covariance, noise), particles=100, systems=systems, steps=STEPS)
    wanted = evidence(chain(noise))
    ratio = (result.log_evidence - wanted).exp()  # its mean is exactly 1
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(systems)
    # The reported error: of the spread that repeats have, which 30 of them tell to 13 %.
    assert 0.6 < float(result.error.mean() / result.log_evidence.std()) < 1.7


def test_a_finer_grid_brings_the_chain_to_the_model():
    errors = [abs(float(evidence(chain(VP(), steps)) - evidence(PRIOR))) for steps in (50, 100, 200)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] / errors[2] > 2.8  # order 2
    result = twisted(guide(Isotropic()), particles=200, steps=200)
    assert abs(float(result.log_evidence - evidence(PRIOR))) < 4 * float(result.error) + errors[2]


def test_particles_are_posterior_draws_as_they_grow():
    exact = conditioned(chain(VP()))
    size = float(exact.covariance.trace())
    errors = []
    for particles in (30, 3000):
        result = twisted(guide(Isotropic()), particles=particles, steps=STEPS)
        weights, x = result.weights[0], result.x[0]
        mean = weights @ x
        covariance = (weights[:, None] * (x - mean)).T @ (x - mean)
        errors.append(gaussian_wasserstein2(mean, covariance, exact.mean, exact.covariance))
        torch.testing.assert_close(result.mean()[0], mean)
        floor = 3 * math.sqrt(3 * size / float(result.ess[-1]))
        assert errors[-1] < floor
    assert errors[1] < 0.4 * errors[0]
    drawn = result.draw(1000, Streams(0, [0]))[0]
    assert gaussian_wasserstein2(drawn.mean(0), drawn.T.cov(), exact.mean, exact.covariance) < 3 * math.sqrt(
        3 * size / 1000
    )


class Mistaken(MomentMatching):
    """A guide whose weights are right for another proposal: the walk must not trust what it says, so this is the mutant."""

    def twist(self, xt, t, observation=None, **cond):
        denoised, guided, log_p = super().twist(xt, t, observation, **cond)
        return guided, guided, log_p  # takes the guide for the model itself


def test_a_model_that_knows_y_already_is_seen():
    wrong = twisted(Mistaken(PRIOR.denoiser(VP()), MEASURED, Isotropic()), particles=500, steps=STEPS)
    right = twisted(guide(Isotropic()), particles=500, steps=STEPS)
    wanted = float(evidence(chain(VP())))
    assert abs(float(right.log_evidence) - wanted) < 4 * float(right.error)
    assert abs(float(wrong.log_evidence) - wanted) > 10 * float(wrong.error)


def test_systems_do_not_see_each_other():
    ys = torch.stack([Y, Y + 1, Y - 2])
    together = twisted(guide(Isotropic()), particles=50, steps=15, observation=ys)
    for j, y in enumerate(ys):
        alone = twisted(guide(Isotropic()), particles=50, steps=15, observation=y[None], first=j)
        own = twisted(guide(Isotropic(), measured=Measurement(Matrix(A), y, STD)), particles=50, steps=15, first=j)
        for part in (alone, own):
            torch.testing.assert_close(part.x[0], together.x[j])
            torch.testing.assert_close(part.log_evidence[0], together.log_evidence[j])
            torch.testing.assert_close(part.ess[:, 0], together.ess[:, j])
    chunked = twisted(guide(Isotropic()), particles=50, steps=15, observation=ys, chunk=7)
    torch.testing.assert_close(chunked.x, together.x)


def test_several_observations_have_each_its_evidence():
    ys = torch.stack([Y, Y + 1, Y - 2])
    result = twisted(guide(Dense()), particles=400, steps=STEPS, observation=ys)
    wanted = torch.stack([evidence(chain(VP()), y) for y in ys])
    assert ((result.log_evidence - wanted).abs() < 4 * result.error).all()


def test_non_linear_measurements_agree_with_importance_sampling():
    pair = Mixture(torch.ones(2, **D), torch.tensor([[-1.0, 0.5], [1.5, 0.0]], **D), 0.2 * torch.eye(2, **D))

    def radius(x):
        return -((x.norm(dim=1) - 1.2) ** 2) / (2 * 0.3**2)

    result = twisted(Reconstruction(pair.denoiser(VP()), radius, scale=0.3), particles=1000, steps=60)
    x = pair.sample(100_000, Streams(7, range(100_000)))
    w = radius(x).exp()
    wanted, error = w.mean(), w.std() / math.sqrt(len(w))
    spread = math.hypot(float(result.error), float(error / wanted))
    assert abs(float(result.log_evidence - wanted.log())) < 4 * spread + 0.03  # 60 steps of the chain
    mean = (w @ x) / w.sum()
    assert float((result.mean()[0] - mean).abs().max()) < 4 * 1.2 / math.sqrt(float(result.ess[-1])) + 0.03


def test_systematic_resampling_keeps_each_particle_as_often_as_its_weight_says():
    weights = torch.tensor([[0.05, 0.45, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], **D)
    u = (torch.arange(1000, **D) + 0.5) / 1000
    counts = torch.stack([torch.nn.functional.one_hot(systematic(weights, 10, v.expand(2)), 4).sum(1) for v in u])
    torch.testing.assert_close(counts.double().mean(0), 10 * weights, atol=1e-2, rtol=0)
    assert ((counts >= (10 * weights).floor()) & (counts <= (10 * weights).ceil())).all()
    assert (effective(weights.log()) - torch.tensor([1 / 0.335, 4.0], **D)).abs().max() < 1e-12


def test_bad_calls_say_what_is_wanted():
    good = guide(Dense())
    with pytest.raises(ShapeError, match="a guide that estimates"):
        twisted(PRIOR.denoiser(VP()))
    for wrong in ({"particles": 1}, {"systems": 0, "particles": 0}, {"threshold": 0.0}, {"threshold": 2.0}):
        with pytest.raises(RangeError):
            twisted(good, **wrong)
    with pytest.raises(ShapeError, match="one row a system"):
        twisted(good, systems=2, observation=Y[None])
    with pytest.raises(RangeError, match="knows no determinant"):
        twisted(MomentMatching(PRIOR.denoiser(VP()), MEASURED), steps=5)
    with pytest.raises(RangeError, match="n must be at least 1"):
        twisted(good, particles=4, steps=5).draw(0)
    with pytest.raises(DivergedError, match=r"no particle of systems \[0\] has a finite weight"):
        twisted(Reconstruction(PRIOR.denoiser(VP()), lambda x: x.sum(1) * 0 - math.inf), particles=4, steps=5)
