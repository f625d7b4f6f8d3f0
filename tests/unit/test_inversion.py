"""Data → noise → data against the flow map of a Gaussian, and the residual map against its closed form."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from scorefield import grids, inversion, laws, samplers
from scorefield.errors import DivergedError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.inversion import Residual, invert, restore
from scorefield.models import Denoiser
from scorefield.noises import EDM, VP, Rectified
from scorefield.samplers import Ancestral, Heun, Sampler
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
MEAN, VARIANCE = torch.tensor([0.5, -1.0, 0.2], **D), torch.tensor([0.3, 1.0, 2.0], **D) ** 2
KNOWN = Gaussian(MEAN, VARIANCE.diag())
X = KNOWN.sample(20, torch.Generator().manual_seed(0))
FLOOR = 2e-3


def flow(noise, x):
    """The exact image at t = 1 of x at σ/α = floor: standard scores are kept along the flow of a Gaussian."""
    t = noise.time(torch.tensor([FLOOR, float(noise.ratio(torch.ones((), **D)))], **D))
    (a0, a1), (s0, s1) = noise.scales(t)
    wide, narrow = (a1**2 * VARIANCE + s1**2).sqrt(), (a0**2 * VARIANCE + s0**2).sqrt()
    return a1 * MEAN + wide / narrow * a0 * (x - MEAN)


def orders(error, steps=(50, 100)):
    errors = [float(error(n).abs().max()) for n in steps]
    return [math.log2(a / b) for a, b in pairwise(errors)]


@pytest.mark.parametrize("noise", [VP(), EDM(80.0), Rectified()], ids=repr)
@pytest.mark.parametrize("sampler", [Ancestral(0.0), Heun()], ids=repr)
def test_the_error_of_every_way_falls_with_the_order_of_the_sampler(sampler, noise):
    model, exact = KNOWN.denoiser(noise), flow(noise, X)
    up = orders(lambda n: invert(model, X, steps=n, sampler=sampler) - exact)
    down = orders(lambda n: restore(model, exact, steps=n, sampler=sampler) - X)
    both = orders(lambda n: restore(model, invert(model, X, steps=n, sampler=sampler), steps=n, sampler=sampler) - X)
    assert all(abs(order - sampler.order) < 0.2 for order in (*up, *down)), (up, down)
    # h^{p+1} up and (−h)^{p+1} down: an even order loses its leading error on the way back.
    assert all(abs(order - (1 if sampler.order == 1 else 3)) < 0.2 for order in both), both


def test_the_default_is_accurate_up_and_down():
    noise = EDM(80.0)
    model, exact = KNOWN.denoiser(noise), flow(noise, X)
    noises = [(invert(model, X, steps=n) - exact).abs().max() / noise.prior_std for n in (80, 160)]
    back = [(restore(model, exact, steps=n) - X).abs().max() for n in (80, 160)]
    assert noises[0] < 1e-3
    assert back[0] < 1e-2
    assert noises[0] > 3 * noises[1]
    assert back[0] > 3 * back[1]


def test_inverted_data_are_draws_from_the_prior_and_restored_ones_keep_their_dtype():
    pair = Mixture(torch.ones(2), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.2 * torch.eye(2))
    x = pair.sample(2000, torch.Generator().manual_seed(1))
    z = invert(pair.denoiser(VP()), x) / VP().prior_std
    assert z.dtype == torch.float32
    assert (z.mean(0).abs() < 5 / math.sqrt(2000) + 0.02).all()  # VP ends at α = 0.0066 and not at 0
    assert ((z.var(0) - 1).abs() < 5 * math.sqrt(2 / 2000) + 0.02).all()


def test_rows_are_independent_and_conditions_go_along():
    class Shifted(Denoiser):
        noise, shape = EDM(20.0), (3,)

        def forward(self, xt, t, shift=None, **cond):
            return KNOWN.denoiser(self.noise)(xt - shift[:, None], t) + shift[:, None]

    shift = torch.linspace(-1, 1, 20, **D)
    z = invert(Shifted(), X, steps=10, shift=shift)
    torch.testing.assert_close(invert(Shifted(), X[4:6], steps=10, shift=shift[4:6]), z[4:6])
    moved = restore(Shifted(), z, steps=10, shift=shift + 1)
    assert ((moved - X).mean(0) > 0.9).all()


def test_the_floor_costs_its_square():
    model = KNOWN.denoiser(EDM(80.0))
    exact = 80 * (X - MEAN) / VARIANCE.sqrt() * (1 + VARIANCE / 80**2).sqrt() + MEAN
    errors = [float((invert(model, X, floor=f, steps=100) - exact).abs().max() / 80) for f in (0.08, 0.04)]
    assert 3.5 < errors[0] / errors[1] < 4.5


def takes_nothing_random(sampler):
    """Whether a walk down is the same for another seed, and so not for another walk."""
    model, times = KNOWN.denoiser(VP()), grids.logsnr(VP(), 3)
    *_, one = sampler.walk(model if laws.takes_denoiser(sampler) else KNOWN, X, times, Streams(0, range(20)))
    *_, two = sampler.walk(model if laws.takes_denoiser(sampler) else KNOWN, X, times, Streams(1, range(20)))
    return torch.equal(one.x, two.x)


@pytest.mark.parametrize(
    "sampler",
    [*(kind() for kind in laws.exported(samplers, Sampler)), Ancestral(0.5)],
    ids=repr,
)
def test_every_sampler_inverts_or_says_that_it_draws(sampler):
    model = KNOWN.denoiser(VP())
    if takes_nothing_random(sampler):
        z = invert(model, X, steps=40, sampler=sampler)
        assert (restore(model, z, steps=40, sampler=sampler) - X).abs().max() < 0.5
    else:
        with pytest.raises((RangeError, ShapeError), match=r"draws noise|has no energy"):
            invert(model, X, sampler=sampler)


def test_bad_calls_say_what_is_wanted():
    model = KNOWN.denoiser(VP())
    with pytest.raises(RangeError, match=r"Ancestral\(eta=1.0\).*use Multistep, Heun"):
        invert(model, X, sampler=Ancestral())
    for call in (lambda: invert(model, X, steps=0), lambda: restore(model, X, floor=0.0)):
        with pytest.raises(RangeError, match=r"steps|floor"):
            call()
    with pytest.raises(ShapeError, match="events"):
        invert(model, X[:, :2])
    with pytest.raises(ShapeError, match="Preconditioned"):
        inversion._plan(lambda x: x, X, 3, None, FLOOR, {})

    class Broken(Denoiser):
        noise = VP()

        def forward(self, xt, t, **cond):
            return torch.where(t > 0.5, torch.nan, xt)

    with pytest.raises(DivergedError, match=r"sigma/alpha = "):
        invert(Broken(), X, steps=10, sampler=Ancestral(0.0))


# --------------------------------------------------------------------------------------------------- residual map


@pytest.mark.parametrize("size", [0.01, 0.08])
def test_the_residual_map_of_a_gaussian_and_its_inverse_and_determinant(size):
    step = Residual(KNOWN.score, size, tolerance=1e-12)
    y = step(X)
    torch.testing.assert_close(y, MEAN + (1 - size / VARIANCE) * (X - MEAN))
    torch.testing.assert_close(step.inverse(y), X)
    torch.testing.assert_close(step.log_det(X), (1 - size / VARIANCE).abs().log().sum().expand(20))


def test_tweedies_formula_is_a_residual_map():
    noise = EDM(1.0)
    model, t = KNOWN.denoiser(noise), torch.tensor(0.4, **D)
    denoising = Residual(lambda x: model.score(x, t), 0.4**2)
    torch.testing.assert_close(denoising(X), model(X, t))
    torch.testing.assert_close(denoising.inverse(model(X, t)), X, rtol=1e-4, atol=1e-5)


def test_the_density_goes_along():
    """log p of y = x + ε s(x) by the change of variables is that of the Gaussian y is."""
    step = Residual(KNOWN.score, 0.05)
    image = Gaussian(MEAN, ((1 - 0.05 / VARIANCE) ** 2 * VARIANCE).diag())
    torch.testing.assert_close(KNOWN.log_density(X) - step.log_det(X), image.log_density(step(X)))


def test_rows_that_do_not_converge_are_named_and_the_others_do_not_mind():
    def stiff(x):
        return torch.where(x[:, :1] > 0, -0.5 * x, -3 * x)

    step = Residual(stiff, 1.0)
    y = torch.tensor([[0.3, 0.1], [-0.3, 0.1], [0.2, 0.2]], **D)
    with pytest.raises(DivergedError, match=r"rows \[1\] of 3 .*Lipschitz.*smaller size"):
        step.inverse(y)
    together = step.inverse(y[[0, 2]])
    torch.testing.assert_close(step.inverse(y[:1])[0], together[0], rtol=0, atol=0)
    with pytest.raises(DivergedError, match="rows"):
        Residual(lambda x: x / 0, 1.0).inverse(y)


@dataclass(frozen=True)
class StopsTogether(Residual):
    """Rows stop when the last has converged: row i depends on the batch."""

    def inverse(self, y):
        x = y
        for _ in range(self.iterations):
            x, before = y - self.size * self.score(x), x
            if (x - before).abs().max() < self.tolerance:
                break
        return x


def test_a_stop_of_the_whole_batch_would_be_seen():
    y = KNOWN.sample(5, torch.Generator().manual_seed(2)) * torch.tensor([[1e-4], [1.0], [9.0], [1.0], [1.0]], **D)
    for kind, same in ((Residual, True), (StopsTogether, False)):
        step = kind(KNOWN.score, 0.07, tolerance=1e-3)
        gap = float((step.inverse(y)[:1] - step.inverse(y[:1])).abs().max())
        assert (gap < 1e-12) == same  # the last bits of a product of one row may be others


@pytest.mark.parametrize("wrong", [{"size": 0.0}, {"size": 0.1, "tolerance": 0.0}, {"size": 0.1, "iterations": 0}])
def test_impossible_residual_maps_are_refused(wrong):
    with pytest.raises(RangeError, match="Residual"):
        Residual(KNOWN.score, **wrong)
