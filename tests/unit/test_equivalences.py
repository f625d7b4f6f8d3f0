"""What textbooks state, measured: the equivalences that make score matching one subject."""

import math

import pytest
import torch

from scorefield import Preconditioned, models
from scorefield.calculus import Exact
from scorefield.exact import Gaussian, Mixture
from scorefield.noises import EDM, VE, VP
from scorefield.objectives import Denoising, Diffusion, Implicit, Levels, Sliced, Uniform, weights
from scorefield.samplers import Ancestral, Langevin
from scorefield.tensors import Streams, normal, sum_event

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 2.0], **D), torch.tensor([[-1.0, 0.3], [1.2, 0.0]], **D), 0.3 * torch.eye(2, **D))
N = 60_000


def linear(x):
    return x @ torch.tensor([[-0.7, 0.3], [-0.1, -0.4]], **D).T + 0.2


def mean_and_error(values):
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def test_implicit_score_matching_is_the_fisher_divergence_up_to_a_constant():
    """Hyvärinen (2005), theorem 1: E[½|s|² + div s] = ½E|s − s*|² − ½E|s*|²."""
    x = MIX.sample(N, Streams(0, range(N)))
    gap = Implicit()(linear, x).detach() - 0.5 * sum_event((linear(x) - MIX(x)) ** 2) + 0.5 * sum_event(MIX(x) ** 2)
    mean, error = mean_and_error(gap)
    assert abs(mean) < 5 * error
    assert error < 0.02  # so that a missing ½, 0.5 nats here, is seen


def test_denoising_is_exact_score_matching_of_the_smoothed_density():
    """Vincent (2011), section 4.2: the two differ by a constant that does not depend on the model."""
    sigma, x = 0.6, MIX.sample(N, Streams(0, range(N)))
    xt = x + sigma * normal(x, Streams(1, range(N)))
    constants = []
    for model in (linear, lambda v: -v, lambda v: torch.zeros_like(v)):
        denoising = Denoising(sigma)(model, x, Streams(1, range(N)))
        constants.append(denoising - Implicit()(model, xt).detach())
    for other in constants[1:]:
        mean, error = mean_and_error(constants[0] - other)
        assert abs(mean) < 5 * error
    mean, error = mean_and_error(constants[0])
    assert abs(mean - 0.5 * 2 / sigma**2) < 5 * error  # ½E|z/σ|² = d/2σ²


def test_sliced_score_matching_is_exact_score_matching_in_the_mean():
    """Song et al. (2019), theorem 1, with E[vvᵀ] = I."""
    x = MIX.sample(N, Streams(0, range(N)))
    bent = lambda v: torch.sin(v) + linear(v)  # noqa: E731
    mean, error = mean_and_error((Sliced()(bent, x, Streams(2, range(N))) - Implicit()(bent, x)).detach())
    assert abs(mean) < 5 * error


def test_epsilon_prediction_is_the_score_up_to_minus_sigma():
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2).double()
    for predict in (models.epsilon, models.clean, models.velocity, models.score, models.edm):
        model = Preconditioned(lambda x, t: network(x), VP(), predict)
        x, t = torch.randn(5, 2, **D), torch.linspace(0.1, 0.9, 5, **D)
        sigma = VP().scales(t)[1][:, None]
        torch.testing.assert_close(model.epsilon(x, t), -sigma * model.score(x, t))


@pytest.mark.parametrize("noise", [VP(), VE(0.1, 10.0)], ids=repr)
def test_each_parameterisation_predicts_what_it_says(noise):
    answer = torch.tensor([[0.3, -0.8]], **D)
    x, t = torch.tensor([[0.5, 1.1]], **D), torch.tensor(0.4, **D)
    alpha, sigma = noise.scales(t)

    def model(predict):
        return Preconditioned(lambda x, t: answer, noise, predict)

    torch.testing.assert_close(model(models.epsilon).epsilon(x, t), answer)
    torch.testing.assert_close(model(models.clean)(x, t), answer)
    torch.testing.assert_close(model(models.score).score(x, t), answer)
    v = model(models.velocity)
    total = (alpha**2 + sigma**2).sqrt()
    torch.testing.assert_close((alpha * v.epsilon(x, t) - sigma * v(x, t)) / total, answer)


def test_edm_prediction_has_unit_variance_inputs_and_targets():
    """Karras et al. (2022), appendix B.6: what the network sees and must answer has variance 1 at every noise level."""
    n, std = 200_000, 0.5
    x = std * normal(torch.empty(n, 1, **D), Streams(0, range(n)))
    z = normal(x, Streams(1, range(n)))
    for ratio in (0.05, 0.5, 5.0):
        for noise in (EDM(80.0), VP()):
            alpha, sigma = noise.scales(noise.time(torch.tensor(ratio, **D)))
            c_skip, c_out, c_in, _ = models.edm(alpha, sigma, data_std=std)
            xt = alpha * x + sigma * z
            for unit in (c_in * xt, (x - c_skip * xt) / c_out):
                assert abs(float((unit**2).mean()) - 1) < 5 * math.sqrt(2 / n)


def test_tweedie_in_samples():
    """E[(X_0 − x̂(X_t)) h(X_t)] = 0 for every h: the exact denoiser is the conditional mean."""
    x = MIX.sample(N, Streams(0, range(N)))
    for t in (0.1, 0.4, 0.8):
        xt = VP().perturb(x, torch.tensor(t), Streams(1, range(N)))
        error = x - MIX.denoiser(VP())(xt, torch.tensor(t))
        for h in (torch.ones_like(xt), xt, torch.sin(2 * xt), xt.flip(1) ** 2):
            product = error * h
            assert (product.mean(0).abs() < 5 * product.std(0) / math.sqrt(N)).all()


def test_the_average_conditional_score_is_the_marginal_score():
    """E[∇log p(x_t | x_0) | x_t] = ∇log p(x_t), by weighing many x_0 with their posterior."""
    x0 = MIX.sample(200_000, Streams(0, range(200_000)))
    xt, alpha, sigma = torch.tensor([[0.4, 0.2]], **D), 0.8, 0.6
    conditional = -(xt - alpha * x0) / sigma**2
    weight = (-0.5 * sum_event((xt - alpha * x0) ** 2) / sigma**2).exp()
    weight = weight / weight.sum()
    mean = weight @ conditional
    error = ((weight[:, None] * (conditional - mean)) ** 2).sum(0).sqrt()
    gap = mean - MIX.score(xt, alpha, sigma)[0]
    assert (gap.abs() < 5 * error).all()


def test_ddpm_and_ncsn_are_two_discretisations_of_one_family():
    """x/α of VP at σ/α = r has the law, the denoiser and the DDIM step of VE at σ = r."""
    ve, vp, ratios = EDM(80.0), VP(), torch.tensor([3.0, 1.0, 0.2], **D)
    y = torch.tensor([[0.7, -2.0], [1.0, 0.3]], **D)
    for ratio in ratios:
        alpha = vp.scales(vp.time(ratio))[0]
        torch.testing.assert_close(
            MIX.denoiser(vp)(alpha * y, vp.time(ratio)), MIX.denoiser(ve)(y, ve.time(ratio)), rtol=1e-6, atol=1e-8
        )
    ends = []
    for noise in (vp, ve):
        times = noise.time(ratios)
        alpha = noise.scales(times)[0]
        *_, last = Ancestral(0.0).walk(MIX.denoiser(noise), alpha[0] * y, times)
        ends.append(last.x / alpha[-1])
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-8)
    sampled = []
    for noise in (vp, ve):  # and DDPM's ancestral step is NCSN's: same mean, same variance, same draws
        times = noise.time(ratios)
        alpha = noise.scales(times)[0]
        *_, last = Ancestral(1.0).walk(MIX.denoiser(noise), alpha[0] * y, times, Streams(0, range(2)))
        sampled.append(last.x / alpha[-1])
    torch.testing.assert_close(*sampled, rtol=1e-6, atol=1e-8)


def test_ncsn_loss_is_the_simple_diffusion_loss():
    """½σ²‖s(x + σz, σ) + z/σ‖² = ½‖ε̂ − z‖²: Song & Ermon (2019), eq. 5 and 6, against Ho et al. (2020), eq. 14."""
    noise, levels = EDM(10.0), Levels(5, floor=0.05)
    model = MIX.denoiser(noise)
    x = MIX.sample(64, Streams(0, range(64)))
    got = Diffusion(levels, weights.simple)(model, x, Streams(1, range(64)))
    draws = Streams(1, range(64))
    t, _ = levels(noise, x, draws)
    z, sigma = normal(x, draws), noise.scales(t)[1][:, None]
    torch.testing.assert_close(got, 0.5 * sum_event(sigma**2 * (model.score(x + sigma * z, t) + z / sigma) ** 2))


def test_the_likelihood_weighted_loss_bounds_the_log_density():
    """−log p(x) = prior + ½∫(−dSNR/dt) E|x̂ − x|² dt: for the exact denoiser in the mean an equality (Kingma et al. 2021, eq. 11)."""
    target, noise, floor, n = (
        Gaussian(torch.zeros(2, **D), torch.diag(torch.tensor([0.5, 2.0], **D))),
        VP(),
        0.01,
        200_000,
    )
    x = target.sample(n, Streams(0, range(n)))
    path = Diffusion(Uniform(floor), weights.likelihood)(target.denoiser(noise), x, Streams(1, range(n)))
    # x̂'s error at σ/α = r has variance Σ_j v_j r²/(v_j + r²): its integral against −dSNR from r_0 to r_1 is elementary.
    low, high = floor**2, float(noise.ratio(torch.tensor(1.0, **D))) ** 2
    variances = target.covariance.diagonal()
    wanted = float(0.5 * ((1 + variances / low).log() - (1 + variances / high).log()).sum())
    mean, error = mean_and_error(path)
    assert abs(mean - wanted) < 5 * error
    assert error < 0.05 * wanted


def test_training_a_linear_score_drives_its_antisymmetric_part_to_zero_at_the_rate_of_the_covariance():
    """Gradient flow of E[½|Wx|² + tr W] is Ẇ = −(WC + I): with C = cI the antisymmetric part decays like e^{−ct}."""
    c, rate, steps = 0.8, 0.05, 60
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], **D) * math.sqrt(
        2 * c
    )  # covariance exactly cI
    weight = torch.tensor([[-0.2, 0.9], [-0.5, -0.6]], **D, requires_grad=True)
    sizes = []
    for _ in range(steps):
        sizes.append(float((weight - weight.T).detach().norm()))
        loss = Implicit(Exact())(lambda v, w=weight: v @ w.T, x).mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - rate * gradient).detach().requires_grad_()
    measured = (math.log(sizes[0]) - math.log(sizes[-1])) / (len(sizes) - 1)
    assert measured == pytest.approx(-math.log(1 - rate * c), rel=1e-9)


def test_the_score_determines_the_density():
    """log p(b) − log p(a) = ∫ s · dx along any path: the log-density is recovered from the field alone."""
    start, end = torch.tensor([-1.5, 1.0], **D), torch.tensor([1.0, 0.5], **D)
    u = torch.linspace(0, 1, 2001, **D)[:, None]
    bend = torch.tensor([0.3, -1.0], **D)
    for path in (start + u * (end - start), start + u * (end - start) + torch.sin(math.pi * u) * bend):
        middle, step = (path[1:] + path[:-1]) / 2, path.diff(dim=0)
        gained = float(sum_event(MIX(middle) * step).sum())
        wanted = float(MIX.log_density(end[None]) - MIX.log_density(start[None]))
        assert gained == pytest.approx(wanted, abs=1e-5)  # midpoint rule: (1/2000)² times a curvature below 10


def test_langevin_of_a_gaussian_has_the_bias_of_its_step():
    """The stationary variance of unadjusted Langevin is v/(1 − h/2v): bias O(h), never hidden."""
    v, h, steps = 0.5, 0.1, 400
    target = Gaussian(torch.zeros(1, **D), torch.tensor([[v]], **D))
    n = 40_000
    times = h * torch.arange(steps, -1, -1, **D)
    *_, last = Langevin(h).walk(target, torch.zeros(n, 1, **D), times, Streams(0, range(n)))
    wanted = v / (1 - h / (2 * v))
    assert abs(float(last.x.var()) - wanted) < 5 * wanted * math.sqrt(2 / n)
    assert wanted - v > 5 * wanted * math.sqrt(2 / n)
