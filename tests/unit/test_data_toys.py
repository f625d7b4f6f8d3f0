"""The toys have mean 0 and E‖x‖² = 2, lie where they say, and draw row by row."""

import math

import pytest
import torch

from scorefield.data import checkerboard, mixture, moons, rings, spirals
from scorefield.errors import RangeError
from scorefield.tensors import Streams

TOYS = [moons, rings, checkerboard, spirals, mixture]


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("toy", TOYS)
def test_mean_zero_and_square_two(toy):
    x = toy(200_000, generator=gen())
    assert (x.shape, x.dtype) == ((200_000, 2), torch.float32)
    for values, truth in ((x[:, 0], 0.0), (x[:, 1], 0.0), (x.square().sum(1), 2.0)):
        values = values.double()
        assert abs(values.mean().item() - truth) < 4.5 * values.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize("toy", [moons, rings, spirals, mixture])
def test_scale_accounts_for_the_noise(toy):
    square = toy(100_000, noise=0.5, generator=gen()).double().square().sum(1)
    assert abs(square.mean().item() - 2) < 4.5 * square.std().item() / math.sqrt(len(square))


@pytest.mark.parametrize("toy", TOYS)
def test_row_depends_on_its_own_stream_only(toy):
    whole = toy(64, generator=Streams(5, range(64)))
    assert torch.equal(toy(3, generator=Streams(5, [10, 2, 63])), whole[[10, 2, 63]])


@pytest.mark.parametrize("toy", TOYS)
def test_same_generator_same_rows(toy):
    assert torch.equal(toy(9, generator=gen(1)), toy(9, generator=gen(1)))
    assert not torch.equal(toy(9, generator=gen(1)), toy(9, generator=gen(2)))


def test_moons_lie_on_two_half_circles():
    square = 1.25 - 4 / math.pi**2 + (2 / math.pi - 0.25) ** 2
    x = moons(10_000, noise=0.0, generator=gen()).double() / math.sqrt(2 / square) + torch.tensor([0.5, 0.25])
    upper = ((x.norm(dim=1) - 1).abs() < 1e-5) & (x[:, 1] > -1e-5)
    lower = (((x - torch.tensor([1.0, 0.5])).norm(dim=1) - 1).abs() < 1e-5) & (x[:, 1] < 0.5 + 1e-5)
    assert bool((upper | lower).all())
    assert abs(upper.double().mean().item() - 0.5) < 4.5 * 0.5 / 100


def test_rings_have_their_radii_equally_often():
    square = 4 * 7 / 6
    radius = rings(30_000, noise=0.0, generator=gen()).double().norm(dim=1) / math.sqrt(2 / square)
    assert torch.allclose(radius, radius.round(), atol=1e-5)
    for k in (1, 2, 3):
        share = (radius.round() == k).double().mean().item()
        assert abs(share - 1 / 3) < 4.5 * math.sqrt(2 / 9 / 30_000)


def test_checkerboard_is_uniform_on_one_colour():
    x = checkerboard(80_000, generator=gen()).double() / math.sqrt(2 * 3 / 8)
    square = x.floor().long()
    assert bool((square.sum(1) % 2 == 0).all())
    assert bool((x.abs() <= 2 + 1e-6).all())
    counts = torch.bincount((square[:, 0] + 2) * 4 + square[:, 1] + 2, minlength=16)
    counts = counts[counts > 0].double()
    chi2 = ((counts - 10_000) ** 2 / 10_000).sum().item()
    assert len(counts) == 8
    assert chi2 < 7 + 4.5 * math.sqrt(14)


def test_spirals_are_two_arms_that_mirror_each_other():
    x = spirals(20_000, noise=0.0, generator=gen()).double() / 2
    radius = x.norm(dim=1)
    turn = torch.remainder(torch.atan2(x[:, 1], x[:, 0]) - 3 * math.pi * radius, 2 * math.pi) / math.pi
    near = turn.round()
    assert (turn - near)[radius > 0.01].abs().max().item() < 1e-3
    assert abs((near % 2 == 1).double().mean().item() - 0.5) < 4.5 * 0.5 / math.sqrt(20_000)
    assert abs((radius**2).mean().item() - 0.5) < 4.5 * math.sqrt(1 / 12 / 20_000)


def test_mixture_has_its_modes_and_their_width():
    scale = math.sqrt(2 / (1 + 2 * 0.01))
    x = mixture(40_000, modes=4, noise=0.1, generator=gen()).double() / scale
    means = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    distance = torch.cdist(x, means)
    nearest = distance.argmin(1)
    assert (torch.bincount(nearest) - 10_000).abs().max().item() < 4.5 * math.sqrt(40_000 * 3 / 16)
    square = (x - means[nearest]).square().sum(1)
    assert abs(square.mean().item() - 0.02) < 4.5 * 0.02 / 200


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: moons(0), r"moons\(n=0\)"),
        (lambda: moons(5, noise=-1.0), r"moons\(noise=-1.0\)"),
        (lambda: rings(5, noise=float("nan")), r"rings\(noise=nan\)"),
        (lambda: rings(5, count=0), r"rings\(count=0\)"),
        (lambda: spirals(5, turns=0.0), r"spirals\(turns=0.0\)"),
        (lambda: mixture(5, modes=1), r"mixture\(modes=1\)"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(RangeError, match=words):
        make()
