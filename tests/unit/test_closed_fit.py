"""Closed-form fits: what is known by hand, sums that add, resampling against refitting, and fits as scores."""

import math

import pytest
import torch

from scorefield.closed import Exponential, LogDensity, Normal, Stream, VonMisesFisher, fit, hybrid
from scorefield.domains import Axes, Box, Distance, Logarithm
from scorefield.exact import Gaussian
from scorefield.metrics import fisher_divergence
from scorefield.samplers import MALA
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
MIX = torch.tensor([[1.0, 0.5, -0.3], [0.0, 0.8, 0.2], [0.0, 0.0, 1.5]], **D)


def draw(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **D) @ MIX[:d, :d] + 0.5


def test_the_gaussian_fit_is_the_mean_and_the_covariance():
    x = draw(300)
    fitted = fit(Normal(3), x)
    covariance = torch.cov(x.T, correction=0)
    precision = fitted.problem.model.precision(fitted.theta)
    torch.testing.assert_close(precision, torch.linalg.inv(covariance))
    torch.testing.assert_close(fitted.readable.theta[:3], x.mean(0))
    # The sandwich of a mean is s²/n, whatever the distribution.
    torch.testing.assert_close(fitted.readable.standard_errors[:3], x.std(0) / math.sqrt(300))
    torch.testing.assert_close(fitted(x), Gaussian(x.mean(0), covariance)(x))
    assert fitted.efficiency > 0.5


def test_the_variance_of_a_variance_takes_the_fourth_moment():
    x = draw(400, 1)
    x = x - x.mean()
    fitted = fit(Normal(1), x, fixed={"eta[1]": 0.0})
    by_hand = (x**2).std() / math.sqrt(400)
    assert math.isclose(fitted.readable.error("cov[1,1]"), float(by_hand), rel_tol=1e-9)
    assert fitted.error("eta[1]") == 0


def test_weights_of_rows_are_counts_in_the_estimate():
    x = draw(60, 2).abs() + 0.01
    counts = torch.arange(60) % 3
    counts[0] = 2
    weighted = fit(Normal(2), x, domain=Box(), weights=counts)
    repeated = fit(Normal(2), x.repeat_interleave(counts, 0), domain=Box())
    torch.testing.assert_close(weighted.theta, repeated.theta)
    scaled = fit(Normal(2), x, domain=Box(), weights=7.0 * counts)
    torch.testing.assert_close(scaled.covariance, weighted.covariance)


def test_clusters_of_one_are_none_and_copies_in_clusters_tell_nothing_new():
    x = draw(80, 2)
    plain = fit(Normal(2), x)
    torch.testing.assert_close(fit(Normal(2), x, clusters=torch.arange(80)).covariance, plain.covariance)
    doubled, label = x.repeat_interleave(2, 0), torch.arange(80).repeat_interleave(2)
    torch.testing.assert_close(fit(Normal(2), doubled, clusters=label).covariance, plain.covariance)
    assert bool((fit(Normal(2), doubled).standard_errors < 0.8 * plain.standard_errors).all())


def test_data_that_come_in_parts_give_the_same_estimate():
    x = draw(500, 2).abs() + 0.01
    whole = fit(Normal(2), x, domain=Box(), fixed={"K[1,2]": 0.1})
    stream = Stream(Normal(2), domain=Box(), groups=50)
    for part in x.split([100, 1, 250, 149]):
        stream.update(part)
    estimates = stream.estimates(fixed={"K[1,2]": 0.1})
    torch.testing.assert_close(estimates.theta, whole.theta)
    assert stream.moments().count == 500
    free = whole.standard_errors > 0
    ratio = estimates.standard_errors[free] / whole.standard_errors[free]
    assert float((ratio - 1).abs().max()) < 4 / math.sqrt(2 * 50)


def test_chunks_do_not_matter(monkeypatch):
    x = draw(100, 2)
    whole = fit(Normal(2), x, clusters=torch.arange(100) // 2)
    monkeypatch.setattr("scorefield.closed.rows._CHUNK", 100)
    parts = fit(Normal(2), x, clusters=torch.arange(100) // 2)
    torch.testing.assert_close(parts.covariance, whole.covariance)
    torch.testing.assert_close(parts.jackknife().theta, whole.jackknife().theta)
    assert parts.objective == pytest.approx(whole.objective)


def test_affinity_is_found_and_not_declared():
    x = draw(200, 2)
    family = Normal(2)

    def log_density(theta, y):  # with a normalising constant, in the precision's own coordinates
        return family.statistics(y) @ theta + torch.linalg.slogdet(family.precision(theta)).logabsdet

    start = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0])
    ours = fit(LogDensity(log_density, start, names=family.names), x)
    assert isinstance(ours.problem.model, Exponential)
    torch.testing.assert_close(ours.theta, fit(family, x).theta)
    torch.testing.assert_close(ours.covariance, fit(family, x).covariance)
    by_scale = LogDensity(lambda t, y: -0.5 * ((y - t[0]) ** 2).sum(1) / t[1] ** 2, torch.tensor([0.0, 1.0]))
    assert by_scale.family(x) is None


def test_other_models_are_fitted_by_newton_with_the_same_result():
    x = draw(200, 1)
    by_scale = LogDensity(lambda t, y: -0.5 * ((y[:, 0] - t[0]) / t[1]) ** 2, torch.tensor([0.2, 0.7]), ("mean", "sd"))
    fitted = fit(by_scale, x)
    mean, sd = float(x.mean()), float(x.std(correction=0))
    assert fitted["mean"] == pytest.approx(mean, abs=1e-9)
    assert fitted["sd"] == pytest.approx(sd, abs=1e-9)
    natural = fit(Normal(1), x).transform(lambda t: torch.stack([t[0] / t[1], t[1] ** -0.5]), ("mean", "sd"))
    torch.testing.assert_close(fitted.covariance, natural.covariance)  # the sandwich does not see coordinates
    torch.testing.assert_close(fitted(x), (mean - x) / sd**2, rtol=1e-6, atol=1e-8)
    held = fit(by_scale, x, fixed={"mean": 0.0})
    assert (held["mean"], held.error("mean")) == (0, 0)
    assert held["sd"] == pytest.approx(float((x**2).mean()) ** 0.5)


def test_student_location_by_newton_against_a_grid():
    x = draw(150, 1)
    student = LogDensity(lambda t, y: -2 * (1 + (y[:, 0] - t[0]) ** 2 / 3).log(), torch.tensor([0.0]))
    fitted = fit(student, x)
    rows = fitted.problem.rows(x)
    grid = torch.linspace(-1, 2, 301, **D)
    best = min(grid, key=lambda at: float(rows.losses(at[None]).sum()))
    assert abs(float(best) - float(fitted.theta)) < 0.01
    assert float(rows.gradients(fitted.theta).mean().abs()) < 1e-7


@pytest.mark.parametrize("clustered", [False, True])
def test_jackknife_and_bootstrap_are_refits(clustered):
    x = draw(25, 2).abs() + 0.05
    label = torch.arange(25) // 5 if clustered else None
    groups, kinds = (torch.arange(25) // 5, 5) if clustered else (torch.arange(25), 25)
    fitted = fit(Normal(2), x, domain=Box(), clusters=label, fixed={"K[1,2]": 0.0})
    left = torch.stack(
        [fit(Normal(2), x[groups != i], domain=Box(), fixed={"K[1,2]": 0.0}).theta for i in range(kinds)]
    )
    jackknife = fitted.jackknife()
    torch.testing.assert_close(jackknife.theta, kinds * fitted.theta - (kinds - 1) * left.mean(0))
    torch.testing.assert_close(jackknife.covariance, torch.cov(left.T, correction=0) * (kinds - 1))
    seed = torch.Generator().manual_seed(3)
    again = fitted.bootstrap(4, seed)
    place = torch.rand(4, kinds, generator=torch.Generator().manual_seed(3), **D)
    for counts, theta in zip((place * kinds).long(), again):
        count = torch.bincount(counts, minlength=kinds)[groups]
        refit = fit(Normal(2), x, domain=Box(), weights=count, fixed={"K[1,2]": 0.0})
        torch.testing.assert_close(theta, refit.theta)


def test_the_bootstrap_has_the_spread_of_the_sandwich():
    fitted = fit(Normal(1), draw(400, 1))
    ratio = fitted.bootstrap(2000, torch.Generator().manual_seed(0)).std(0) / fitted.standard_errors
    assert float((ratio - 1).abs().max()) < 0.1


def test_tests_intervals_and_functions_of_estimates():
    x = draw(200, 2)
    fitted = fit(Normal(2), x)
    one = fitted.wald(["K[1,2]"])
    z = fitted["K[1,2]"] / fitted.error("K[1,2]")
    assert one.statistic == pytest.approx(z**2)
    assert one.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    both = fitted.wald(torch.eye(5)[:2], fitted.theta[:2])
    assert (both.statistic, both.freedom, both.p_value) == (pytest.approx(0, abs=1e-12), 2, pytest.approx(1))
    low, high = fitted.interval(0.9)[2].tolist()
    assert high - low == pytest.approx(2 * 1.6448536269514722 * float(fitted.standard_errors[2]))
    doubled = fitted.transform(lambda t: 2 * t, [f"twice {name}" for name in fitted.names])
    torch.testing.assert_close(doubled.covariance, 4 * fitted.covariance)
    assert len(fitted.plot().axes) == 1


def test_the_criterion_foresees_the_objective_on_fresh_data():
    truth, gaps, penalties = torch.tensor([0.5, 1.0], **D), [], []
    for seed in range(64):
        x, fresh = draw(200, 1, 2 * seed), draw(1000, 1, 2 * seed + 1)
        fitted = fit(Normal(1), x)
        # What the draws do to the truth's own objective is taken off both, so that what fitting does remains.
        own = float(fitted.problem.rows(x).losses(truth).mean() - fitted.problem.rows(fresh).losses(truth).mean())
        gaps.append(fitted.criterion - 200 * float(fitted.losses(fresh).mean()) - 200 * own)
        penalties.append(fitted.penalty)
    gaps, error = torch.tensor(gaps), float(torch.tensor(gaps).std()) / 8
    assert abs(float(gaps.mean())) < 4 * error
    assert float((gaps - torch.tensor(penalties)).mean()) < -4 * error  # without the penalty it is too hopeful


def test_a_fit_is_a_score_for_samplers_and_metrics():
    x = draw(2000, 2).abs() + 1e-3
    fitted = fit(Normal(2), x, domain=Box())
    assert float(fisher_divergence(fitted, fitted, x)) == 0
    assert fitted.shape == (2,)
    mala = MALA(0.2)
    *_, end = mala.walk(fitted, x[:400], mala.times(fitted, 60), Streams(9, range(400)))
    y = end.x
    assert bool((y > 0).all())
    torch.testing.assert_close(fitted(x[3:5]), fitted(x)[3:5])
    log_slope = torch.func.grad(lambda z: fitted.log_density(z[None])[0])(x[7])
    torch.testing.assert_close(fitted(x[7:8])[0], log_slope)


def test_the_hybrid_estimator_is_that_of_the_mean_direction():
    x = normal(torch.empty(500, 4, **D), Streams(1, range(500))) + torch.tensor([0, 0, 1.0, 2.0], **D)
    x = x / x.norm(dim=1, keepdim=True)
    fitted, mean = hybrid(x), x.mean(0)
    t = x @ (mean / mean.norm())
    assert fitted["kappa"] == pytest.approx(float(3 * t.mean() / (1 - t**2).mean()))
    riemannian = fit(VonMisesFisher(4), x).readable
    assert abs(fitted["kappa"] - riemannian["kappa"]) < riemannian.error("kappa")
    assert bool((fitted(x) * x).sum(1).abs().max() < 1e-12)


def test_the_weight_is_chosen_by_the_boundary():
    x = draw(100, 2).abs() + 0.01
    assert fit(Normal(2), x, domain=Box()).problem.weight == Axes(Logarithm(2.0))
    from scorefield.domains import HalfSpace

    assert fit(Normal(2), x, domain=HalfSpace((-1.0, 0.0))).problem.weight == Distance()
