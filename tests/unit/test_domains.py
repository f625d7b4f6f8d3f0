"""Domains: distances against brute force, gaps against bisection, curves against known Laplacians, weights at the boundary."""

import math

import pytest
import torch

from scorefield.closed import along
from scorefield.domains import (
    Axes,
    Ball,
    Box,
    Distance,
    Domain,
    HalfSpace,
    Intervals,
    Logarithm,
    Outline,
    Polygon,
    PositiveSphere,
    Power,
    Product,
    Real,
    Simplex,
    Sphere,
    Unit,
)
from scorefield.errors import RangeError, ShapeError
from scorefield.tensors import Streams, normal, uniform

D = {"dtype": torch.float64}
CORNERS = torch.tensor([[0.0, 0.5], [1.0, 1.0], [1.0, 2.0], [4.0, 1.0], [2.0, 0.0]], **D)
FLAT = [
    Box(),
    Box((-1.0, 0.0), (2.0, 3.0)),
    Intervals(((-3.0, -0.5), (0.25, 1.0), (2.0, math.inf))),
    HalfSpace((3.0, -4.0), 2.0),
    Ball(2.5, (0.5, -0.25)),
    Polygon(CORNERS),
    Product((Box(0.0, 1.5), Real()), (1, 1)),
]


def points(domain, n=40, size=2, seed=0):
    z = 8 * uniform(torch.empty(40 * n, size, **D), Streams(seed, range(40 * n))) - 4
    return z[domain.contains(z)][:n]


@pytest.mark.parametrize("domain", FLAT, ids=str)
def test_the_distance_is_how_far_one_can_go_in_every_direction(domain):
    x = points(domain)
    assert len(x) == 40
    distance = domain.distance(x)
    angle = torch.linspace(0, 2 * math.pi, 361, **D)
    around = torch.stack([angle.cos(), angle.sin()], 1)
    for row, r in zip(x, distance.clamp(max=50)):
        assert bool(domain.contains(row + 0.999 * r * around).all())
        if distance.isfinite().all():
            assert not bool(domain.contains(row + 1.02 * r * around).all())


@pytest.mark.parametrize("domain", FLAT, ids=str)
def test_the_gap_is_how_far_one_can_go_along_an_axis(domain):
    x = points(domain)
    gaps = domain.gaps(x)
    for axis in range(2):
        step = torch.eye(2, **D)[axis]
        near = gaps[:, axis : axis + 1].clamp(max=20)
        for sign in (1, -1):
            assert bool(domain.contains(x + 0.999 * sign * near * step).all())
        beyond = torch.stack([domain.contains(x + 1.001 * sign * near * step) for sign in (1, -1)]).all(0)
        assert torch.equal(beyond, gaps[:, axis].isinf())


def test_an_outline_is_the_polygon_of_its_points_with_the_distance_to_them():
    x, outline = points(Polygon(CORNERS)), Outline(CORNERS)
    assert bool(outline.contains(x).all())
    torch.testing.assert_close(outline.distance(x), torch.cdist(x, CORNERS).amin(1))
    assert bool((outline.distance(x) >= Polygon(CORNERS).distance(x)).all())
    with pytest.raises(RangeError, match="use the weight Distance"):
        outline.gaps(x)


@pytest.mark.parametrize("domain", [Sphere(), PositiveSphere(), Simplex(), Product((Sphere(), Real()), (3, 1)), Real()])
def test_directions_are_a_frame_of_the_tangent_space(domain):
    z = normal(torch.empty(20, 4, **D), Streams(1, range(20)))
    x = torch.cat([z[:, :3] / z[:, :3].norm(dim=1, keepdim=True), z[:, 3:]], 1) if isinstance(domain, Product) else z
    v = domain.directions(x / x.norm(dim=1, keepdim=True) if isinstance(domain, Sphere | PositiveSphere) else x)
    projection = v.mT @ v
    torch.testing.assert_close(projection @ projection, projection)
    rank = projection.diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(rank, rank.new_tensor(4.0 if isinstance(domain, Real) else 3.0))


def harmonic_residual(domain):
    """Δ_S f + k(k + d − 2) f for the spherical harmonics x_1 (k = 1) and x_1 x_2 (k = 2) on S³."""
    x = normal(torch.empty(50, 4, **D), Streams(2, range(50)))
    x = x / x.norm(dim=1, keepdim=True)
    value, _, second = along(x, domain, lambda y: torch.stack([y[:, 0], y[:, 0] * y[:, 1]], 1))
    return float((second.sum(1) + torch.tensor([3.0, 8.0], **D) * value[:, 0]).abs().max())


def test_the_second_derivatives_along_the_curves_sum_to_the_laplacian_of_the_sphere():
    class Straight(Domain):
        """The mutant that forgets that the sphere is curved."""

        def contains(self, x):
            return Sphere().contains(x)

        def tangent(self, x, v):
            return Sphere().tangent(x, v)

    assert harmonic_residual(Sphere()) < 1e-12
    assert harmonic_residual(Straight()) > 0.1


@pytest.mark.parametrize("domain", FLAT, ids=str)
@pytest.mark.parametrize(
    "weight", [Axes(), Axes(Power(2.0)), Distance(Power(1.0, 0.5)), Distance(Logarithm(2.0))], ids=str
)
def test_weights_are_positive_inside_and_vanish_at_the_boundary(domain, weight):
    x = points(domain)
    w = weight(domain, x)
    assert w.shape == x.shape
    assert bool((w > 0).all())
    if isinstance(weight, Distance):
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(domain.distance(y).sum(), y)
        edge = x - domain.distance(x)[:, None] * (1 - 1e-9) * slope  # straight to the nearest point of the boundary
        assert float(weight(domain, edge).abs().max()) < 1e-6
    assert not Unit().vanishes
    assert weight.vanishes


def test_axes_without_end_have_the_weight_one():
    w = Axes(Power(2.0))(Product((Box(0.0, 1.5), Real()), (1, 1)), torch.tensor([[0.5, 3.0]], **D))
    torch.testing.assert_close(w, torch.tensor([[0.25, 1.0]], **D))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Box(1.0, 0.0),
        lambda: Box((0.0, 0.0), (1.0, -1.0)),
        lambda: Intervals(((0.0, 2.0), (1.0, 3.0))),
        lambda: Intervals(()),
        lambda: HalfSpace((0.0, 0.0)),
        lambda: Ball(0.0),
        lambda: Product((Real(),), (1, 2)),
        lambda: Product((Ball(1.0, (0.0, 0.0)),), (3,)),
        lambda: Power(0.0),
        lambda: Logarithm(-1.0),
    ],
)
def test_impossible_domains_and_weights_are_refused(wrong):
    with pytest.raises(RangeError):
        wrong()


def test_points_outside_are_named_by_row_and_columns_must_match():
    with pytest.raises(RangeError, match=r"2 of 3 rows lie outside.*rows 0, 2"):
        Box().check(torch.tensor([[-1.0], [1.0], [0.0]], **D))
    with pytest.raises(ShapeError, match="dimension 2"):
        Polygon(CORNERS).check(torch.zeros(3, 3, **D))
    with pytest.raises(ShapeError, match="three"):
        Polygon(CORNERS[:2])

    class Somewhere(Domain):
        def contains(self, x):
            return x[:, 0] > 0

    with pytest.raises(RangeError, match="no distance to the boundary is known"):
        Somewhere().distance(torch.ones(1, 1, **D))
