"""Hybrid estimates on the sphere: the truth in the population, axes and errors of samples, and what breaks both."""

import math

import pytest
import torch

from scorefield.closed import (
    AxialBingham,
    AxialFisherBingham,
    Concentration,
    FisherBingham,
    Kent,
    asymptotic,
    fit,
    hybrid,
)
from scorefield.domains import Real
from scorefield.errors import DataError, RangeError

D = {"dtype": torch.float64}
TURN = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), **D))[0]
CASES = {
    "von Mises–Fisher": (lambda axes: Concentration(axes[0]), torch.tensor([4.0], **D)),
    "Bingham": (AxialBingham, torch.tensor([6.0, 2.0], **D)),
    "Fisher–Bingham": (AxialFisherBingham, torch.tensor([3.0, 0.5, -2.0], **D)),
    "Kent": (Kent, torch.tensor([8.0, 2.5], **D)),
}
NAMED = pytest.mark.parametrize("name", list(CASES))


def sphere(heights=60, angles=120):
    """Nodes and weights of a rule on S²: Gauss–Legendre by height, equal steps around."""
    off = torch.arange(1, heights, **D)
    off = off / (4 * off**2 - 1).sqrt()
    z, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    angle = 2 * math.pi * torch.arange(angles, **D) / angles + 0.1
    r = (1 - z**2).sqrt()[:, None]
    x = torch.stack([r * angle.cos(), r * angle.sin(), z[:, None].expand(-1, angles)], 2).flatten(0, 1)
    return x, (2 * vectors[0] ** 2).repeat_interleave(angles)


def kind(name):
    return type(CASES[name][0](TURN))


def population(name):
    make, theta = CASES[name]
    x, mass = sphere()
    return x, mass * (make(TURN).statistics(x) @ theta).exp()


def draw(name, n, seed):
    """n rows by rejection from the uniform distribution."""
    make, theta = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    nodes, _ = sphere()
    top = float((make(TURN).statistics(nodes) @ theta).max()) + 0.01
    kept, model = [], make(TURN)
    while sum(map(len, kept)) < n:
        x = torch.randn(20_000, 3, generator=generator, **D)
        x = x / x.norm(dim=1, keepdim=True)
        kept.append(x[torch.rand(len(x), generator=generator, **D) < (model.statistics(x) @ theta - top).exp()])
    return torch.cat(kept)[:n]


@NAMED
def test_in_the_population_it_is_the_truth(name):
    x, mass = population(name)
    fitted = hybrid(x, kind(name), weights=mass)
    torch.testing.assert_close(fitted.theta, CASES[name][1], atol=1e-8, rtol=1e-8)


@NAMED
def test_derivatives_of_the_space_around_the_sphere_are_caught(name):
    x, mass = population(name)
    model = hybrid(x, kind(name), weights=mass).problem.model
    ambient = fit(model, x, weights=mass, domain=Real()).theta
    assert float((ambient - CASES[name][1]).abs().max()) > 0.1


@pytest.mark.parametrize("name", ["Bingham", "Fisher–Bingham", "Kent"])
def test_axes_in_another_order_are_caught(name):
    x, mass = population(name)
    axes = hybrid(x, kind(name), weights=mass).problem.model.axes
    swapped = fit(kind(name)(axes[[0, 2, 1]]), x, weights=mass).theta
    assert float((swapped - CASES[name][1]).abs().max()) > 1


@NAMED
def test_estimates_are_within_their_errors_and_the_errors_within_theirs(name):
    theta = CASES[name][1]
    scores = []
    for seed in range(40):
        fitted = hybrid(draw(name, 400, seed), kind(name))
        scores.append((fitted.theta - theta) / fitted.standard_errors)
    z = torch.stack(scores)
    # The bias of a ratio of means is of order 1/n: here a tenth of a standard error or two.
    assert bool((z.mean(0).abs() < 4 / math.sqrt(40) + 0.2).all())
    assert bool(((z.std(0) - 1).abs() < 4 / math.sqrt(2 * 40)).all())


def test_directions_that_are_estimated_add_nothing_of_first_order():
    # n Var over repeated samples, against quadrature with the axes known.
    nodes, mass = population("Kent")
    matching, likelihood = asymptotic(Kent(TURN), CASES["Kent"][1], nodes, mass)
    seen = torch.stack([hybrid(draw("Kent", 800, seed), Kent).theta for seed in range(100, 140)]).var(0) * 800
    assert bool((seen / matching.covariance.diagonal() - 1).abs().max() < 4 * math.sqrt(2 / 39))
    assert bool((matching.standard_errors >= likelihood.standard_errors).all())


def test_the_axes_are_those_of_the_truth():
    axes = hybrid(draw("Kent", 20_000, 1), Kent).problem.model.axes
    assert float((axes @ TURN.T).diagonal().abs().min()) > 0.995


def test_it_agrees_with_the_whole_family_and_takes_fixed_and_clusters():
    x = draw("Kent", 1000, 5)
    some = hybrid(x, AxialFisherBingham)
    whole = fit(FisherBingham(3), x)
    axes = some.problem.model.axes
    first = float(axes[0] @ whole.theta[:3])
    assert abs(first - some["kappa"]) < 3 * some.error("kappa")
    held = hybrid(x, Kent, fixed={"beta": 0.0}, clusters=torch.arange(1000))
    assert held["kappa"] == pytest.approx(hybrid(x)["kappa"])
    assert held.error("kappa") == pytest.approx(hybrid(x).error("kappa"))


def test_bad_axes_and_missing_directions_are_told():
    with pytest.raises(RangeError, match="orthonormal"):
        Kent(2 * torch.eye(3))
    with pytest.raises(RangeError, match="at least 3"):
        Kent(torch.eye(2))
    x = draw("Kent", 50, 0)
    with pytest.raises(DataError, match="AxialBingham"):
        hybrid(torch.cat([x, -x]), Kent)
    assert hybrid(torch.cat([x, -x]), AxialBingham).names == ("lambda[1]", "lambda[2]")


@pytest.mark.parametrize(("slant", "mean_off", "axes_off"), [(0, 0.0, 0.0), (45, 17.1, 23.2)])
def test_a_mean_off_the_axes_leaves_moments_without_directions_and_the_full_fit_right(slant, mean_off, axes_off):
    x, mass = sphere()
    mu = torch.tensor([math.sin(math.radians(slant)), 0.0, math.cos(math.radians(slant))], **D)
    mass = mass * (3 * x @ mu - 2 * x[:, 0] ** 2 - x[:, 1] ** 2).exp()
    mass = mass / mass.sum()
    mean = mass @ x / (mass @ x).norm()
    axes = torch.linalg.eigh(x.T @ (x * mass[:, None]))[1]
    assert math.degrees(math.atan2(float((mean - (mean @ mu) * mu).norm()), float(mean @ mu))) == pytest.approx(
        mean_off, abs=0.05
    )
    gap = torch.rad2deg(torch.atan2((1 - axes.square().amax(0)).clamp(min=0).sqrt(), axes.abs().amax(0)))
    assert float(gap.max()) == pytest.approx(axes_off, abs=0.05)
    fitted = fit(FisherBingham(3), x, weights=mass)
    truth = torch.cat([3 * mu, torch.tensor([-2.0, 0.0, 0.0, -1.0, 0.0], **D)])
    torch.testing.assert_close(fitted.theta, truth, atol=1e-8, rtol=0)
