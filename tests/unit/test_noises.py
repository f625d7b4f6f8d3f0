"""Noises and grids at the values their papers give, and at what they must refuse."""

import math

import pytest
import torch

from scorefield import grids
from scorefield.errors import RangeError
from scorefield.noises import EDM, VE, VP, Cosine, Gaussian, Rectified, SubVP
from scorefield.noises.schedules import Scales

D = {"dtype": torch.float64}


def test_vp_rates_are_those_of_the_paper():
    t = torch.linspace(0.1, 1, 10, **D)
    beta = 0.1 + t * 19.9
    for noise, g2 in [(VP(), beta), (SubVP(), beta * (1 - torch.exp(-2 * (0.1 * t + 0.5 * 19.9 * t**2))))]:
        f, got = noise.rates(t)
        torch.testing.assert_close(f, -beta / 2)
        torch.testing.assert_close(got, g2)


def test_ve_diffusion_is_that_of_the_paper():
    t = torch.linspace(0.1, 1, 10, **D)
    _, g2 = VE(0.01, 50.0).rates(t)
    wanted = (0.01 * (50.0 / 0.01) ** t) ** 2 * 2 * math.log(50.0 / 0.01)
    torch.testing.assert_close(g2, wanted)


def test_rectified_is_a_straight_line_and_cosine_a_circle():
    t = torch.linspace(0, 1, 11, **D)
    alpha, sigma = Rectified().scales(t)
    torch.testing.assert_close(sigma + alpha, 1 + t / 1000)
    alpha, sigma = Cosine().scales(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    assert float(EDM(80.0).prior_std) == 80.0


@pytest.mark.parametrize("noise", [VP(), SubVP(), VE(), Cosine(), Rectified(), EDM()], ids=repr)
def test_closed_form_times_agree_with_bisection(noise):
    levels = torch.logspace(-2.5, 1.5, 50, **D)
    torch.testing.assert_close(noise.time(levels), Gaussian.time(noise, levels), atol=1e-12, rtol=1e-9)


class OneLine(Gaussian):
    """A noise of one's own: nothing but its scales."""

    def scales(self, t: torch.Tensor) -> Scales:
        return torch.exp(-t), t


def test_a_noise_of_two_lines_has_everything_else():
    noise, t = OneLine(), torch.tensor([0.3, 0.8], **D)
    f, g2 = noise.rates(t)
    torch.testing.assert_close(f, -torch.ones(2, **D))
    torch.testing.assert_close(g2, 2 * t + 2 * t**2)
    torch.testing.assert_close(noise.time(noise.ratio(t)), t)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VE(1.0, 0.1),
        lambda: VE(-1.0, 0.1),
        lambda: VP(20.0, 0.1),
        lambda: SubVP(0.0, 1.0),
        lambda: EDM(0.0),
        lambda: EDM(math.inf),
        lambda: Cosine(0.5),
        lambda: Rectified(math.nan),
    ],
)
def test_impossible_ranges_are_refused_with_a_remedy(make):
    with pytest.raises(RangeError, match="must"):
        make()


def test_ratios_outside_the_range_are_refused():
    for ratio in (-0.1, 81.0, math.nan):
        with pytest.raises(RangeError, match=r"must lie in \[0, 80\]"):
            EDM(80.0).time(torch.tensor(ratio))


def test_karras_grid_is_the_formula_of_the_paper():
    n, low, high, rho = 10, 0.002, 80.0, 7.0
    wanted = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    torch.testing.assert_close(EDM(80.0).ratio(grids.karras(EDM(80.0), n))[:-1], torch.tensor(wanted, **D))


def test_logsnr_grid_is_geometric_and_even_grid_is_even():
    ratios = VP().ratio(grids.logsnr(VP(), 9)[:-1])
    steps = ratios.log().diff()
    torch.testing.assert_close(steps, steps[:1].expand(8), rtol=1e-6, atol=0)
    steps = grids.even(VP(), 9)[:-1].diff()
    torch.testing.assert_close(steps, steps[:1].expand(8))


@pytest.mark.parametrize("grid", [grids.even, grids.karras, grids.logsnr])
def test_grids_refuse_what_they_cannot_be(grid):
    with pytest.raises(RangeError, match="steps must be at least 1"):
        grid(VP(), 0)
    with pytest.raises(RangeError, match="choose a smaller floor"):
        grid(VP(), 5, floor=1e4)
    with pytest.raises(RangeError, match="ceiling"):
        grid(VP(), 5, ceiling=1e4)
    assert len(grid(VP(), 1)) == 2
    if grid is grids.karras:
        with pytest.raises(RangeError, match="rho"):
            grid(VP(), 5, rho=0.0)
