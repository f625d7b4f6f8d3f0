"""Windham's estimates: the equation they solve, errors that know of the weights, bounded influence, for every family."""

import math

import pytest
import torch

from scorefield.closed import (
    Bingham,
    Dirichlet,
    Exponential,
    Fitted,
    Kent,
    LogDensity,
    Normal,
    Pairwise,
    VonMisesFisher,
    fit,
    resampling,
    windham,
)
from scorefield.domains import Box
from scorefield.errors import RangeError

D = {"dtype": torch.float64}
TRUTH = torch.tensor([0.5, 1.0], **D) / 0.64


def draw(n, seed, d=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **D)


def sample(n, seed):
    """N(0.5, 0.64), and one row in twenty between 9 and 10."""
    x = 0.8 * draw(n, seed) + 0.5
    x[: n // 20] = 9 + torch.rand(n // 20, 1, generator=torch.Generator().manual_seed(seed), **D)
    return x


def test_it_solves_the_equation_and_its_covariance_is_that_of_the_equation():
    x, weights = 0.8 * draw(60, 4) + 0.5, 1 + torch.arange(60) % 3
    fitted = windham(Normal(1), x, 0.3, weights=weights)
    rows, mass = fit(Normal(1), x).problem.rows(x), weights * 60 / weights.sum()

    def pulls(theta):
        return mass[:, None] * (0.3 * rows.statistics(theta) @ theta).exp()[:, None] * rows.gradients(1.3 * theta)

    slope = torch.linalg.inv(torch.func.jacrev(lambda theta: pulls(theta).sum(0))(fitted.theta))
    spread = pulls(fitted.theta) @ slope.T
    torch.testing.assert_close(pulls(fitted.theta).sum(0), torch.zeros(2, **D), atol=1e-7, rtol=0)
    torch.testing.assert_close(fitted.covariance, spread.T @ spread * (60 / 59))
    assert float(fitted.weights.mean()) == pytest.approx(1)
    # The sandwich of a weighted fit, which takes the weights for known, is another one.
    frozen = fit(Normal(1), x, weights=fitted.weights)
    assert float((frozen.standard_errors / 1.3 / fitted.standard_errors - 1).abs().max()) > 0.1


def test_the_estimates_are_within_their_errors_and_the_errors_within_theirs():
    plain, robust = [], []
    for seed in range(24):
        x = sample(400, seed)
        for found, fitted in ((plain, fit(Normal(1), x)), (robust, windham(Normal(1), x, 0.4))):
            found.append((fitted.theta - TRUTH) / fitted.standard_errors)
    z = torch.stack(robust)
    assert bool((z.mean(0).abs() < 4 / math.sqrt(24) + 0.2).all())
    assert bool(((z.std(0) - 1).abs() < 4 / math.sqrt(2 * 24)).all())
    assert bool((torch.stack(plain).mean(0).abs() > 5).all())


def test_one_row_moves_it_by_a_bounded_amount_and_not_at_all_from_far_away():
    x = 0.8 * draw(100, 5) + 0.5
    far = torch.tensor([1.0, 2.0, 3.0, 5.0, 10.0, 100.0], **D)
    before, naive = windham(Normal(1), x, 0.3).theta, fit(Normal(1), x).theta
    moves = torch.stack([(windham(Normal(1), torch.cat([x, y.reshape(1, 1)]), 0.3).theta - before).abs() for y in far])
    plain = torch.stack([(fit(Normal(1), torch.cat([x, y.reshape(1, 1)])).theta - naive).abs() for y in far])
    assert bool((moves < 10 * before.abs() / 100).all())
    assert float(moves[-2:].max()) < 1e-8
    assert bool((plain[-1] > 0.9 * naive.abs()).all())


@pytest.mark.parametrize("tuning", [0.02, 0.01])
def test_without_tuning_it_is_the_fit(tuning):
    x = draw(200, 6)
    gap = (windham(Normal(1), x, tuning).theta - fit(Normal(1), x).theta).abs().max()
    assert float(gap) < 20 * tuning / math.sqrt(200)


def on_sphere(x):
    return x / x.norm(dim=1, keepdim=True)


def composition(n, seed):
    parts = draw(n, seed, 9).reshape(n, 3, 3).square().sum(2)
    return parts / parts.sum(1, keepdim=True)


CASES = {
    "Gaussian": (Normal(2), draw(300, 1, 2), {}),
    "truncated Gaussian": (Normal(2), draw(300, 1, 2).abs(), {"domain": Box()}),
    "gamma graph": (Pairwise(2, 0.5, 0.0), draw(300, 1, 6).reshape(300, 2, 3).square().sum(2), {}),
    "von Mises–Fisher": (VonMisesFisher(3), on_sphere(draw(300, 1, 3) + 1), {}),
    "Bingham": (Bingham(3), on_sphere(draw(300, 1, 3) * torch.tensor([2.0, 1.0, 0.7], **D)), {}),
    "Kent": (Kent(torch.eye(3)), on_sphere(draw(300, 1, 3) * 0.5 + torch.tensor([2.0, 0, 0], **D)), {}),
    "Dirichlet": (Dirichlet(3), composition(300, 2), {}),
    "your own": (Exponential(lambda y: torch.cat([y, -(y**2)], 1)), draw(300, 1), {}),
    "affine": (LogDensity(lambda t, y: -t[0] * (1 + y[:, 0] ** 2).sqrt(), torch.ones(1)), draw(300, 1), {}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_every_family_gives_the_ordinary_result(name):
    model, x, settings = CASES[name]
    fitted = windham(model, x, 0.05, clusters=torch.arange(len(x)), **settings)
    assert isinstance(fitted, Fitted)
    assert bool((fitted.standard_errors > 0).all())
    rows = fitted.problem.rows(x)
    second = torch.func.jacfwd(rows.gradients)(fitted.theta)
    torch.testing.assert_close(rows.hessians(fitted.theta), second)
    assert "Windham weights, tuning 0.05" in str(fitted)
    assert len(fitted.interval()) == len(fitted.names)
    ratio = fitted.jackknife().standard_errors / fitted.standard_errors
    assert float((ratio - 1.1).abs().max()) < 0.2


def test_the_jackknife_of_refits():
    x = sample(40, 3)
    fitted = windham(Normal(1), x, 0.3)
    refits = resampling.left_out(fitted, refits=True)
    for i in (0, 1, 39):
        left = windham(Normal(1), x[torch.arange(40) != i], 0.3).theta
        torch.testing.assert_close(refits[i], left, rtol=1e-6, atol=1e-8)


def test_known_parameters_stay_and_what_is_not_defined_is_refused():
    x = draw(60, 4)
    known = windham(Normal(1), x, 0.3, fixed={"K[1,1]": 1.5})
    assert (known["K[1,1]"], known.error("K[1,1]")) == (pytest.approx(1.5), 0)
    with pytest.raises(RangeError, match="no objective"):
        _ = known.criterion
    with pytest.raises(RangeError, match="outliers hide"):
        _ = known.efficiency
    student = LogDensity(lambda t, y: -2 * (1 + (y[:, 0] - t[0]) ** 2 / 3).log(), torch.tensor([0.0]))
    with pytest.raises(RangeError, match="affine"):
        windham(student, x, 0.3)
