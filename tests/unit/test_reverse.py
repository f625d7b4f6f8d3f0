"""The reverse equation and churn: their papers' updates, their limits, and wrong ones that the law refuses."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from scorefield import grids, laws
from scorefield.errors import DivergedError, RangeError
from scorefield.exact import Gaussian, Mixture
from scorefield.models import Denoiser
from scorefield.noises import EDM, VE, VP, Cosine, Rectified
from scorefield.samplers import Churn, EulerMaruyama, Heun, Past
from scorefield.samplers.flow import ends
from scorefield.sampling import sample
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.2 * torch.eye(2, **D))
X = torch.tensor([[0.3, -1.0], [2.0, 0.5], [-4.0, 7.0]], **D)


def test_churn_is_algorithm_2_of_karras_where_alpha_is_one():
    churn, low, high, inflation, count = 12.0, 0.05, 50.0, 1.007, 18
    known = MIX.denoiser(EDM(80.0))
    sigmas = [80.0 * math.exp(-k * math.log(80 / 0.002) / (count - 1)) for k in range(count)] + [0.0]
    x, generator = 80 * X, Streams(0, range(3))
    for sigma, after in pairwise(sigmas):  # the paper's letters: S_churn, S_min, S_max, S_noise, N
        gamma = min(churn / count, math.sqrt(2) - 1) if low <= sigma <= high and after > 0 else 0.0
        hat = sigma * (1 + gamma)
        if gamma > 0:
            x = x + math.sqrt(hat**2 - sigma**2) * inflation * normal(x, generator)
        slope = (x - known(x, torch.tensor(hat / 80, **D))) / hat
        ahead = x + (after - hat) * slope
        if after > 0:
            ahead = x + (after - hat) * 0.5 * (slope + (ahead - known(ahead, torch.tensor(after / 80, **D))) / after)
        x = ahead
    same = Churn(churn / count / math.log(sigmas[0] / sigmas[1]), low, high, inflation)
    *_, last = same.walk(known, 80 * X, torch.tensor(sigmas, **D) / 80, Streams(0, range(3)))
    torch.testing.assert_close(last.x, x)


def test_churn_of_nothing_is_heun_and_draws_nothing():
    known = MIX.denoiser(VP())
    times = grids.karras(VP(), 10)
    for quiet in (Churn(0.0), Churn(1.0, low=1e5, high=1e6)):
        generator = Streams(0, range(3))
        *_, last = quiet.walk(known, X, times, generator)
        *_, heun = Heun().walk(known, X, times)
        torch.testing.assert_close(last.x, heun.x, rtol=0, atol=0)
        assert generator.draw == 0


def test_churn_never_asks_for_a_level_above_the_noise():
    seen = []

    class Listening(Denoiser):
        noise = VP()

        def forward(self, xt, t, **cond):
            seen.append(float(t))
            return 0.5 * xt

    *_, _ = Churn(5.0).walk(Listening(), X, grids.logsnr(VP(), 5), Streams(0, range(3)))
    assert max(seen) <= 1


def test_one_step_of_euler_and_maruyama_is_equation_6_in_terms_of_the_score():
    for noise in (VP(), VE(0.01, 20.0), Rectified()):
        known, t, s = MIX.denoiser(noise), torch.tensor(0.6, **D), torch.tensor(0.55, **D)
        f, g2 = noise.rates(t)
        z = normal(X, Streams(1, range(3)))
        wanted = X + (t - s) * (-f * X + g2 * known.score(X, t)) + (g2 * (t - s)).sqrt() * z
        got, denoised = EulerMaruyama().step(known, X, t, s, Past(), Streams(1, range(3)))
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(denoised, known(X, t))


@pytest.mark.parametrize("sampler", [EulerMaruyama(), Churn(), Churn(3.0)], ids=repr)
def test_samples_have_the_moments_of_a_mixture(sampler):
    n = 4000
    like = torch.empty(n, 2, **D)
    y = MIX.sample(n, Streams(7, range(n)))
    noise = VE(0.01, 20.0)
    x = noise.prior(like, Streams(3, range(n)))
    for state in sampler.walk(MIX.denoiser(noise), x, grids.logsnr(noise, 80, floor=0.01), Streams(8, range(n))):
        last = state.x
    bias = 0.06 if sampler.order == 1 else 0.01  # O(1/steps)
    for f in (lambda v: v, lambda v: v**2, lambda v: (v[:, :1] > 0).double()):
        error = ((f(last).var(0) + f(y).var(0)) / n).sqrt()
        assert ((f(last).mean(0) - f(y).mean(0)).abs() < 5 * error + bias).all()


@pytest.mark.parametrize("sampler", [EulerMaruyama(), Churn()], ids=repr)
def test_sample_i_is_the_same_whatever_the_chunk(sampler):
    known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP())
    whole = sample(known, 7, sampler=sampler, steps=12, seed=3)
    torch.testing.assert_close(sample(known, 7, sampler=sampler, steps=12, seed=3, chunk=2), whole)


def test_too_few_steps_of_euler_and_maruyama_end_in_an_error_and_not_in_numbers():
    known = Gaussian(torch.zeros(2), torch.eye(2)).denoiser(Cosine())
    with pytest.raises(DivergedError, match="more or smaller steps"):
        sample(known, 4, sampler=EulerMaruyama(), steps=2)


@pytest.mark.parametrize(
    "wrong", [{"churn": -1.0}, {"churn": math.inf}, {"low": 2.0, "high": 1.0}, {"low": -1.0}, {"inflation": 0.0}]
)
def test_impossible_churn_is_refused(wrong):
    with pytest.raises(RangeError, match="Churn"):
        Churn(**wrong)


# ---------------------------------------------------------------------------------------------------- mutants


@dataclass(frozen=True)
class ForwardDrift(EulerMaruyama):
    """The sign of the score flipped against the drift."""

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        f, g2 = (float(rate) for rate in model.noise.rates(t))
        h = float(t - s)
        return x + h * (-f * x - g2 * model.score(x, t)) + math.sqrt(g2 * h) * normal(x, generator), None


@dataclass(frozen=True)
class HalfScore(EulerMaruyama):
    """The ½ of the flow in the drift of the reverse equation."""

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        f, g2 = (float(rate) for rate in model.noise.rates(t))
        h = float(t - s)
        return x + h * (-f * x + 0.5 * g2 * model.score(x, t)) + math.sqrt(g2 * h) * normal(x, generator), None


@dataclass(frozen=True)
class Inflated(Churn):
    """Noise of S_noise = 1.05 at every step: a bias that stays."""

    inflation: float = 1.05


@dataclass(frozen=True)
class ForgottenLevel(Churn):
    """Noise added, and the walk goes on from the old level."""

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        alpha, sigma, alpha_s, sigma_s = ends(model, t, s)
        if sigma_s > 0:
            gamma = math.log(sigma / alpha / sigma_s * alpha_s)
            x = x + sigma * math.sqrt((1 + gamma) ** 2 - 1) * normal(x, generator)
        return Heun().step(model, x, t, s, past, generator, **cond)


@pytest.mark.parametrize("mutant", [ForwardDrift(), HalfScore(), Inflated(), ForgottenLevel()], ids=repr)
def test_the_measured_order_of_every_mutant_betrays_it(mutant):
    right = EulerMaruyama() if isinstance(mutant, EulerMaruyama) else Churn()
    for sampler, good in ((right, True), (mutant, False)):
        order, error = laws.measured_order(sampler, VP(), grids.logsnr, (24, 48))
        assert (abs(order - sampler.order) < 0.2 and error < 0.25) == good, (order, error)
