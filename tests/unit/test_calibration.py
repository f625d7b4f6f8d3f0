"""Calibration: an exact posterior passes at the stated level, and every way of being wrong is seen."""

import math

import pytest
import torch

from scorefield import plots
from scorefield.data import GaussianLinear, TwoMoons
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.metrics import band, calibration, distance_to_exact, uniformity
from scorefield.metrics.uniformity import shares
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
G = torch.Generator().manual_seed(3)
A = torch.randn(2, 3, generator=G, **D)
ROOT = torch.randn(4, 3, 3, generator=G, **D)
PRIORS = {
    "gaussian": Gaussian(torch.randn(3, generator=G, **D), ROOT[0] @ ROOT[0].T + 0.2 * torch.eye(3, **D)),
    "mixture": Mixture(
        torch.tensor([1.0, 2.0, 4.0], **D),
        2 * torch.randn(3, 3, generator=G, **D),
        ROOT[1:] @ ROOT[1:].mT + 0.1 * torch.eye(3, **D),
    ),
    "one covariance": Mixture(torch.ones(2, **D), torch.randn(2, 3, generator=G, **D), torch.eye(3, **D)),
}


def evidence(prior, y, noise):
    """p(y) as a mixture on y."""
    means = prior.means @ A.T
    vectors = prior._vectors
    covariances = A @ (vectors * prior._values[:, None] @ vectors.mT) @ A.T + noise**2 * torch.eye(2, **D)
    return Mixture(prior.weights, means, covariances).log_density(y[None])


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("noise", [0.05, 1.3])
def test_the_posterior_of_a_mixture_obeys_bayes(name, noise):
    prior, y = PRIORS[name], torch.tensor([0.4, -1.1], **D)
    after = prior.given(A, y, noise)
    assert type(after) is type(prior)
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), **D)
    likelihood = Gaussian(y, noise**2 * torch.eye(2, **D)).log_density(x @ A.T)
    both = prior.log_density(x) + likelihood
    torch.testing.assert_close(after.log_density(x) + evidence(prior, y, noise), both, rtol=1e-9, atol=1e-7)


def test_impossible_observations_are_refused():
    prior = PRIORS["gaussian"]
    with pytest.raises(ShapeError, match=r"wanted \(m, 3\) and \(m,\)"):
        prior.given(A.T, torch.zeros(3, **D), 1.0)
    with pytest.raises(ShapeError, match="given"):
        prior.given(A, torch.zeros(1, 2, **D), 1.0)
    with pytest.raises(RangeError, match="noise must be positive"):
        prior.given(A, torch.zeros(2, **D), 0.0)


def test_p_values_of_uniform_numbers_are_uniform():
    # 1,000 samples: the share below any level within 4.5 standard errors of it.
    u = torch.rand(60, 1000, generator=torch.Generator().manual_seed(1), **D)
    p = torch.cat([uniformity(part) for part in u.split(10, 1)])
    for level in (0.02, 0.1, 0.5):
        # γ takes few values at n = 60: its p-value may be conservative, never the other way.
        share, error = float((p <= level).double().mean()), math.sqrt(level * (1 - level) / 1000)
        assert level - 0.25 * level - 4.5 * error < share < level + 4.5 * error, (level, share)


def test_a_curve_of_uniform_numbers_stays_in_its_band_as_often_as_it_says():
    u = torch.rand(80, 2000, generator=torch.Generator().manual_seed(2), **D)
    z, low, high = band(80, 0.9)
    height = shares(u)
    inside = ((height >= low[:, None] - 1e-12) & (height <= high[:, None] + 1e-12)).all(0)
    assert 0.9 - 4.5 * math.sqrt(0.09 / 2000) < float(inside.double().mean()) < 0.94
    assert bool((low <= z).all())


@pytest.mark.parametrize(
    "crowd", [lambda u: u**1.5, lambda u: 0.5 + 0.75 * (u - 0.5), lambda u: 4 * (u - 0.5) ** 3 + 0.5]
)
def test_crowded_numbers_are_seen(crowd):
    u = torch.rand(400, 1, generator=torch.Generator().manual_seed(3), **D)
    assert float(uniformity(u)) > 0.01
    assert float(uniformity(crowd(u))) < 0.003


PRIOR = Gaussian(torch.zeros(2), torch.eye(2))


def correlated(n, generator):
    """θ of which only the sum is seen, with noise: given it, the coordinates have correlation −0.99."""
    theta = PRIOR.sample(n, generator)
    return theta, theta.sum(1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator)


def right(y, n, generator):
    return PRIOR.given(torch.ones(1, 2), y, 0.1).sample(n, generator)


def spread(factor):
    def sampler(y, n, generator):
        mean = PRIOR.given(torch.ones(1, 2), y, 0.1).mean
        return mean + factor * (right(y, n, generator) - mean)

    return sampler


def shuffled(y, n, generator):
    """The right marginals, independent."""
    return torch.stack([right(y, n, generator)[:, k] for k in range(2)], 1)


MUTANTS = {
    "too wide": spread(1.4),
    "too narrow": spread(0.7),
    "a sign": lambda y, n, generator: right(-y, n, generator),
    "shifted": lambda y, n, generator: right(y, n, generator) + 0.15,
    "the prior": lambda y, n, generator: PRIOR.sample(n, generator),
    "no correlation": shuffled,
}


def test_an_exact_posterior_passes_and_is_rejected_no_more_often_than_stated():
    report = calibration(right, correlated, cases=300)
    assert report.p_value > 0.01
    for level in (0.5, 0.8, 0.95):
        for found in report.coverage(level).values():
            assert abs(found.value - level) < 4 * found.error
    rejected = [calibration(right, correlated, cases=20, draws=20, seed=s).p_value < 0.1 for s in range(100)]
    assert sum(rejected) < 10 + 4.5 * 3


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_sampler_is_caught(name):
    report = calibration(MUTANTS[name], correlated, cases=300)
    assert report.p_value < 0.01, f"{name}\n{report}"


def test_only_the_distance_sees_what_the_coordinates_cannot():
    for name in ("the prior", "no correlation"):
        report = calibration(MUTANTS[name], correlated, cases=300)
        assert min(report.p_values[:-1]) > 0.01, name
        assert report.p_values[-1] < 0.003, name


def test_coverage_is_too_high_of_what_is_too_wide():
    wide, narrow = (calibration(MUTANTS[name], correlated, cases=300) for name in ("too wide", "too narrow"))
    for name in ("0", "1", "distance"):
        high, low = wide.coverage(0.5)[name], narrow.coverage(0.5)[name]
        assert high.value > 0.5 + 2 * high.error
        assert low.value < 0.5 - 2 * low.error
    # Of a normal the central half, made wider: 2 Φ(0.6745 factor) − 1.
    for report, factor in ((wide, 1.4), (narrow, 0.7)):
        expected = math.erf(0.67449 * factor / math.sqrt(2))
        for name in ("0", "1"):
            assert abs(report.coverage(0.5)[name].value - expected) < 4 * report.coverage(0.5)[name].error
    with pytest.raises(RangeError, match="between 0 and 1"):
        wide.coverage(50.0)


def test_the_distance_to_a_known_posterior_is_its_floor_or_how_far_it_is():
    y = torch.tensor([1.0])
    exact = PRIOR.given(torch.ones(1, 2), y, 0.1).sample
    found, floor = distance_to_exact(right, y, exact, draws=400, repeats=6)
    assert abs(found.value - floor.value) < 4 * math.hypot(found.error, floor.error)
    shifted, _ = distance_to_exact(MUTANTS["shifted"], y, exact, draws=400, repeats=6)
    # A shift is the whole of the best coupling, and adds to the floor at right angles.
    assert abs(shifted.value**2 - floor.value**2 - 2 * 0.15**2) < 0.02
    report = calibration(right, correlated, cases=20, known={"y = 1": (y, exact)}, names=("a", "b"))
    assert {"y = 1", "W2", "a", "b", "distance"} <= set(str(report).replace("  ", "\n").split("\n")) | set(
        str(report).split()
    )


def test_a_report_is_a_function_of_its_seed_and_can_be_drawn():
    reports = [calibration(right, correlated, cases=30, draws=9, seed=seed) for seed in (5, 5, 6)]
    assert torch.equal(reports[0].u, reports[1].u)
    assert not torch.equal(reports[0].u, reports[2].u)
    assert len(plots.calibrated(reports[0]).axes) == 3


def test_bad_samplers_and_simulators_are_refused():
    def gives(value):
        return lambda y, n, generator: value.expand(n, *value.shape)

    with pytest.raises(ShapeError, match=r"gave \(100, 3\) for case 0; wanted \(100, 2\)"):
        calibration(gives(torch.zeros(3)), correlated)
    with pytest.raises(DataError, match="100 of 100 draws for case 0 are not finite"):
        calibration(gives(torch.tensor([0.0, math.nan])), correlated)
    with pytest.raises(RangeError, match="at least 10 cases"):
        calibration(right, correlated, cases=3)
    with pytest.raises(ShapeError, match="3 names for 2"):
        calibration(right, correlated, names=("a", "b", "c"))
    with pytest.raises(ShapeError, match=r"simulate\(400\) gave 5 rows"):
        calibration(right, lambda n, generator: correlated(5, generator))
    with pytest.raises(RangeError, match="2 repeats"):
        distance_to_exact(right, torch.ones(1), PRIOR.sample, repeats=1)
    with pytest.raises(DataError, match="at least 10"):
        uniformity(torch.rand(3, 1))
    with pytest.raises(RangeError, match="level"):
        band(100, 95.0)


@pytest.mark.parametrize("task", [GaussianLinear(dim=2), TwoMoons()], ids=lambda task: type(task).__name__)
def test_the_posterior_of_a_simulator_is_calibrated(task):
    assert calibration(task.posterior, task.pairs, cases=300, seed=2).p_value > 0.01


def test_two_moons_are_two_crescents_of_equal_weight():
    x = torch.tensor([-0.4, 0.1], **D)
    theta = TwoMoons().posterior(x, 4000, torch.Generator().manual_seed(0))
    total, difference = theta.sum(1) / math.sqrt(2), (theta[:, 1] - theta[:, 0]) / math.sqrt(2)
    assert abs(float((total > 0).double().mean()) - 0.5) < 4.5 * 0.5 / math.sqrt(4000)
    across, along = x[0] + total.abs() - 0.25, x[1] - difference
    radius, angle = (across**2 + along**2).sqrt(), torch.atan2(along, across)
    assert abs(float(radius.mean()) - 0.1) < 4.5 * 0.01 / math.sqrt(4000)
    assert abs(float(radius.std()) - 0.01) < 4.5 * 0.01 / math.sqrt(8000)
    assert float(uniformity((angle / math.pi + 0.5)[:, None])) > 0.01


def test_a_crescent_that_the_square_cuts_stays_inside():
    task = TwoMoons()
    x = task.simulate(torch.tensor([[0.99, 0.99]]), torch.Generator().manual_seed(1))[0]
    assert float(task.posterior(x, 500, torch.Generator().manual_seed(2)).abs().amax()) <= 1
    with pytest.raises(DataError, match="no output of this simulator"):
        task.posterior(torch.tensor([3.0, 3.0]), 2)
    with pytest.raises(ShapeError, match="one observation"):
        task.posterior(torch.zeros(4, 2), 2)


@pytest.mark.parametrize("task", [GaussianLinear(dim=2), TwoMoons()], ids=lambda task: type(task).__name__)
def test_row_i_of_a_simulator_depends_on_row_i_alone(task):
    many = task.pairs(50, Streams(4, range(50)))
    few = task.pairs(3, Streams(4, [7, 30, 2]))
    for all_rows, some in zip(many, few):
        torch.testing.assert_close(all_rows[[7, 30, 2]], some)
    x = many[1][0]
    torch.testing.assert_close(
        task.posterior(x, 50, Streams(5, range(50)))[[7, 2]], task.posterior(x, 2, Streams(5, [7, 2]))
    )


def test_simulators_check_their_numbers():
    with pytest.raises(RangeError, match="above 0"):
        GaussianLinear(dim=0)
    with pytest.raises(RangeError, match="at least 1"):
        TwoMoons().pairs(0)
    with pytest.raises(ShapeError, match=r"wanted \(n, 2\)"):
        TwoMoons().simulate(torch.zeros(3, 4))
