"""The objective of closed forms: equal to the library's own on ℝ^d and the sphere, and stationary at the truth elsewhere."""

import math

import pytest
import torch

from scorefield.calculus import Exact
from scorefield.closed import (
    Bingham,
    Dirichlet,
    Exponential,
    FisherBingham,
    LogDensity,
    Normal,
    Pairwise,
    PolynomialTilt,
    Problem,
    VonMisesFisher,
)
from scorefield.domains import (
    Axes,
    Ball,
    Box,
    Distance,
    HalfSpace,
    Intervals,
    Logarithm,
    Polygon,
    PositiveSphere,
    Power,
    Product,
    Real,
    Simplex,
    Sphere,
    Unit,
)
from scorefield.objectives import Implicit
from scorefield.spaces import Sphere as Round

D = {"dtype": torch.float64}


def draw(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **D)


def on_sphere(x):
    return x / x.norm(dim=1, keepdim=True)


def score(problem, theta):
    def field(x):
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(problem.log_density(theta, y).sum(), y, create_graph=True)
        return problem.domain.tangent(y, slope)

    return field


def test_on_the_reals_it_is_the_implicit_objective():
    problem, x = Problem(Normal(3), Real(), Unit()), draw(20, 3, 0)
    theta = torch.linspace(0.3, 1.2, 9, **D)
    ours = problem.rows(x).losses(theta)
    torch.testing.assert_close(ours, Implicit(Exact())(score(problem, theta), x).detach())


def test_on_the_sphere_it_is_the_riemannian_objective():
    problem, x = Problem(FisherBingham(4), Sphere(), Unit()), on_sphere(draw(20, 4, 1))
    theta = torch.linspace(-1.0, 2.0, len(problem.model.names), **D)
    ours = problem.rows(x).losses(theta)
    torch.testing.assert_close(ours, Implicit(Exact(Round()))(score(problem, theta), x).detach())


def test_gradients_and_hessians_are_those_of_the_losses_for_both_kinds_of_rows():
    x = draw(8, 2, 2).abs() + 0.1
    family = Normal(2)
    general = LogDensity(lambda t, y: family.statistics(y) @ t - t[2].exp() * (y**2).sum(1), torch.ones(5, **D))
    theta = torch.tensor([0.3, -0.2, 1.0, 0.4, 2.0], **D)
    for model in (family, general):
        rows = Problem(model, Box(), Axes(Logarithm(2.0))).rows(x)
        torch.testing.assert_close(rows.gradients(theta), torch.autograd.functional.jacobian(rows.losses, theta))
        second = torch.autograd.functional.jacobian(lambda t, rows=rows: rows.gradients(t).sum(0), theta)
        torch.testing.assert_close(rows.hessians(theta).sum(0), second)


REVERSED = {
    "box": (lambda t, y: -((t[0] * y[:, 0] - t[1]) ** 2) - (t[2] * y[:, 1]).exp(), Box(), Axes(Logarithm(2.0))),
    "sphere": (lambda t, y: (t[0] * y[:, 0] + t[1]).sin() + t[2].exp() * (y[:, 0] * y[:, 1]), Sphere(), Unit()),
    "linear in x": (lambda t, y: y @ (t[:2] ** 3), Box(), Axes(Logarithm(2.0))),
    "linear in x and θ": (lambda t, y: y @ t[1:], Real(), Unit()),
}


@pytest.mark.parametrize("name", list(REVERSED))
def test_totals_by_reverse_differentiation_are_the_sums_of_rows(name):
    function, domain, weight = REVERSED[name]
    x = on_sphere(draw(9, 2, 2)) if isinstance(domain, Sphere) else draw(9, 2, 2).abs() + 0.1
    rows = Problem(LogDensity(function, torch.ones(3, **D)), domain, weight).rows(x)
    theta, mass = torch.tensor([0.7, -0.4, 0.3], **D), torch.linspace(0.5, 1.5, 9, **D)
    slope, curve = rows.totals(theta, mass)
    torch.testing.assert_close(slope, mass @ rows.gradients(theta))
    torch.testing.assert_close(curve, torch.einsum("b,bpq->pq", mass, rows.hessians(theta)))
    torch.testing.assert_close(rows.losses(theta), rows._forwards(theta))
    with torch.no_grad():
        torch.testing.assert_close(rows.totals(theta, mass)[1], curve)


def test_a_carrier_counts_like_a_statistic_with_the_parameter_one():
    x, theta = draw(10, 2, 3), torch.tensor([0.3, -0.2, 1.0, 0.4, 2.0], **D)
    with_all = Problem(Normal(2), Real(), Unit()).rows(x).losses(theta)
    part = Exponential(lambda y: Normal(2).statistics(y)[:, :4], lambda y: Normal(2).statistics(y)[:, 4] * 2.0)
    torch.testing.assert_close(Problem(part, Real(), Unit()).rows(x).losses(theta[:4]), with_all)


N = 5_000


def gaussian(domain, mean, sd, seed=5):
    z = torch.tensor(mean, **D) + sd * draw(6 * N, len(mean), seed)
    return z[domain.contains(z)][:N]


def gamma(shape, seed=6):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.distributions.Gamma(torch.tensor(shape, **D), 1.0).sample((N,))


def fisher(kappa, seed=7):
    """Von Mises–Fisher on S² around the third axis: its height by inversion."""
    u = torch.rand(N, 2, generator=torch.Generator().manual_seed(seed), **D)
    t = 1 + (u[:, 0] + (1 - u[:, 0]) * math.exp(-2 * kappa)).log() / kappa
    r, angle = (1 - t**2).sqrt(), 2 * math.pi * u[:, 1]
    return torch.stack([r * angle.cos(), r * angle.sin(), t], 1)


def bingham(a, seed=8):
    x = on_sphere(draw(4 * N, 3, seed))
    keep = (
        torch.rand(4 * N, generator=torch.Generator().manual_seed(seed + 1), **D) < ((a * x**2).sum(1) - a.max()).exp()
    )
    return x[keep][:N]


def natural(mean, sd):
    mean = torch.tensor(mean, **D) / sd**2
    pair = torch.eye(len(mean), **D)[tuple(torch.triu_indices(len(mean), len(mean)))] / sd**2
    return torch.cat([mean, pair])


TRIANGLE = Polygon(torch.tensor([[-1.0, -1.0], [2.0, -0.5], [0.0, 1.5]], **D))
UNION = Intervals(((-2.0, -0.5), (0.0, math.inf)))
A = torch.tensor([1.5, -1.0, 0.0], **D)
PARTS = gamma([2.0, 1.5, 3.0])
COMPOSITION = PARTS / PARTS.sum(1, keepdim=True)
TILTED = torch.tensor([1.0, 0.5, 2.0, 0, 0, 0, 0, 0], **D)
ROOTED = Exponential(lambda z: z.log())  # √ of a Dirichlet: log p = Σ (2α_j − 1) log z_j on the sphere

CASES = {
    "reals": (Normal(2), Real(), Unit(), gaussian(Real(), [0.5, -0.2], 0.8), natural([0.5, -0.2], 0.8)),
    "orthant": (Normal(2), Box(), Axes(Logarithm(2.0)), gaussian(Box(), [0.5, -0.2], 0.8), natural([0.5, -0.2], 0.8)),
    "box": (Normal(1), Box(-1.0, 0.5), Axes(), gaussian(Box(-1.0, 0.5), [0.3], 1.0), natural([0.3], 1.0)),
    "union": (Normal(1), UNION, Axes(Power(1.0, 1.0)), gaussian(UNION, [0.3], 1.2), natural([0.3], 1.2)),
    "half-space": (
        Normal(2),
        HalfSpace((1.0, 2.0), 0.5),
        Distance(Power(1.0, 1.0)),
        gaussian(HalfSpace((1.0, 2.0), 0.5), [0.5, 0.2], 0.8),
        natural([0.5, 0.2], 0.8),
    ),
    "ball": (Normal(2), Ball(1.2), Distance(), gaussian(Ball(1.2), [0.5, 0.2], 0.9), natural([0.5, 0.2], 0.9)),
    "ball by axes": (Normal(2), Ball(1.2), Axes(), gaussian(Ball(1.2), [0.5, 0.2], 0.9), natural([0.5, 0.2], 0.9)),
    "polygon": (Normal(2), TRIANGLE, Distance(), gaussian(TRIANGLE, [0.5, 0.2], 0.9), natural([0.5, 0.2], 0.9)),
    "polygon by axes": (
        Normal(2),
        TRIANGLE,
        Axes(Power(2.0)),
        gaussian(TRIANGLE, [0.5, 0.2], 0.9),
        natural([0.5, 0.2], 0.9),
    ),
    "product": (
        Normal(2),
        Product((Box(0.0, 1.5), Real()), (1, 1)),
        Axes(),
        gaussian(Product((Box(0.0, 1.5), Real()), (1, 1)), [0.5, -0.2], 0.8),
        natural([0.5, -0.2], 0.8),
    ),
    "sphere": (VonMisesFisher(3), Sphere(), Unit(), fisher(3.0), torch.tensor([0, 0, 3.0], **D)),
    "axes of the sphere": (Bingham(3), Sphere(), Unit(), bingham(A), torch.tensor([1.5, 0, 0, -1.0, 0], **D)),
    "upper part of a sphere": (
        VonMisesFisher(3),
        PositiveSphere(),
        Distance(Power(1.0, 0.3)),
        fisher(2.0)[(fisher(2.0) > 0).all(1)],
        torch.tensor([0, 0, 2.0], **D),
    ),
    "gamma graph": (
        Pairwise(2, 0.5, 0.0),
        Box(),
        Axes(Power(2.0, 3.0)),
        gamma([2.0, 1.5]),
        torch.tensor([1, 0.5, 1, 0, 1.0], **D),
    ),
    "square-root graph": (
        Pairwise(1, 0.5, 0.5),
        Box(),
        Axes(Power(1.5, 3.0)),
        gamma([1.0]),
        torch.tensor([0.0, 1.0], **D),
    ),
    "simplex": (Dirichlet(3), Simplex(), Distance(Power(2.0)), COMPOSITION, torch.tensor([1.0, 0.5, 2.0], **D)),
    "tilt": (PolynomialTilt(3), Simplex(), Distance(Power(2.0)), COMPOSITION, TILTED),
    "roots of compositions": (
        ROOTED,
        PositiveSphere(),
        Distance(Power(2.0)),
        COMPOSITION.sqrt(),
        torch.tensor([3.0, 2, 5], **D),
    ),
}


def worst(model, domain, weight, x, theta):
    """The largest |z| of the mean gradient at the truth, which must be that of zero."""
    pulls = Problem(model, domain, weight).rows(x).gradients(theta)
    spread = pulls.std(0) / math.sqrt(len(x))
    return float((pulls.mean(0) / spread.clamp(min=1e-12)).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_the_truth_is_stationary(name):
    assert worst(*CASES[name]) < 4.5


class Flat(Sphere):
    """The mutant that forgets the curvature of the sphere."""

    def bend(self, x, v):
        return torch.zeros_like(v)


class Frozen(Axes):
    """The mutant that forgets to differentiate the weight."""

    def __call__(self, domain, x):
        return super().__call__(domain, x.detach())


class Ambient(Sphere):
    """The mutant that takes derivatives in the surrounding space."""

    def tangent(self, x, v):
        return v


MUTANTS = {
    "no weight": ("orthant", 2, Unit()),
    "a frozen weight": ("orthant", 2, Frozen(Logarithm(2.0))),
    "no curvature": ("sphere", 1, Flat()),
    "the surrounding space": ("sphere", 1, Ambient()),
    "another boundary": ("box", 1, Box(-1.0, 1.0)),
    "no weight in a ball": ("ball", 2, Unit()),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_seen(name):
    case, place, mutant = MUTANTS[name]
    parts = list(CASES[case])
    parts[place] = mutant
    assert worst(*parts) > 6


@pytest.mark.parametrize("factor", [0.5, 2.0, -1.0])
def test_wrong_parameters_are_seen(factor):
    for name in ("reals", "sphere", "ball", "simplex"):
        *rest, theta = CASES[name]
        assert worst(*rest, factor * theta) > 6


def test_rows_do_not_depend_on_their_batch():
    for name in ("ball", "sphere", "tilt"):
        model, domain, weight, x, theta = CASES[name]
        problem = Problem(model, domain, weight)
        whole = problem.rows(x[:9]).gradients(theta)
        torch.testing.assert_close(problem.rows(x[4:6]).gradients(theta), whole[4:6])
