"""Truncated Gaussians: the estimates of genscore and truncsm, and asymptotic variances by our own quadrature."""

import math

import pytest
import torch
from tables import legendre, table

from scorefield.closed import Normal, asymptotic, fit
from scorefield.domains import Axes, Box, Distance, Logarithm, Outline, Power

LOG = Axes(Logarithm(2.0))


def printed(value, figure):
    """Whether value rounds to the figure, in all its printed digits."""
    digits = len(figure.split(".")[1])
    return f"{float(value):.{digits}f}" == figure


def test_the_half_normal_as_genscore_fits_it():
    x = table("truncated_normal")
    assert len(x) == 1000
    known = fit(Normal(1), x, domain=Box(), weight=LOG, fixed={"K[1,1]": 1.0})
    assert printed(known.readable["mean[1]"], "0.01015329")
    centred = fit(Normal(1), x, domain=Box(), weight=LOG, fixed={"eta[1]": 0.0})
    assert printed(centred.readable["cov[1,1]"], "1.012342")
    both = fit(Normal(1), x, domain=Box()).readable  # the same weight, by default
    assert printed(both["mean[1]"], "-0.01763796")
    assert printed(both["cov[1,1]"], "1.02421948")


def variances(mean, weight, edges, fixed):
    x, w = legendre(*edges)
    mass = w * torch.exp(-((x[:, 0] - mean) ** 2) / 2)
    pair = asymptotic(Normal(1), torch.tensor([mean, 1.0]), x, mass, domain=Box(), weight=weight, fixed=fixed)
    return [float(e.covariance.diagonal().max()) for e in pair]


def test_the_asymptotic_variances_at_the_half_normal():
    edges = (0.0, math.e**2 - 1, 14.0)
    matching, bound = variances(0.0, LOG, edges, {"K[1,1]": 1.0})
    assert printed(matching, "2.795459")
    assert printed(bound, "2.751938")
    matching, bound = variances(0.0, LOG, edges, {"eta[1]": 0.0})  # of K = 1/σ², and at σ = 1 of σ² too
    assert printed(matching, "2.379507")
    assert printed(bound, "2.000000")


@pytest.mark.parametrize(
    ("mean", "capped", "plain", "square", "bound"),
    [
        (-2.0, "9.0661", "8.9997", "20.1626", "8.7505"),
        (0.0, "3.0083", "3.1416", "7.0000", "2.7519"),
        (2.0, "1.1861", "1.4466", "2.4672", "1.1281"),
    ],
)
def test_the_variance_of_the_mean_by_weight(mean, capped, plain, square, bound):
    for profile, figure in ((Power(1.0, 1.0), capped), (Power(), plain), (Power(2.0), square)):
        matching, likelihood = variances(mean, Axes(profile), (0.0, 1.0, 5.0, 16.0), {"K[1,1]": 1.0})
        assert printed(matching, figure), (profile, matching)
        assert printed(likelihood, bound)


def test_the_gaussian_in_a_polygon_known_by_points_as_truncsm_fits_it():
    x, boundary = table("polygon_points"), Outline(table("polygon_boundary"))
    assert x.shape == (772, 2)
    known = {"K[1,1]": 1.0, "K[1,2]": 0.0, "K[2,2]": 1.0}
    mean = fit(Normal(2), x, domain=boundary, weight=Distance(), fixed=known).readable
    assert printed(mean["mean[1]"], "1.9567661")
    assert printed(mean["mean[2]"], "1.7713132")
    free = fit(Normal(2), x, domain=boundary).readable
    for name, figure in zip(free.names, ("1.7508", "1.5735", "1.1296", "-0.2693", "0.7457")):
        assert printed(free[name], figure), name
