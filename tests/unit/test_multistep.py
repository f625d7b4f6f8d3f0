"""The multistep family against its published members and closed forms; steps as long as the tolerance allows; the default."""

import math
from dataclasses import dataclass

import pytest
import torch

from scorefield import grids, laws, sample
from scorefield.errors import LawError, RangeError
from scorefield.exact import Gaussian, Mixture
from scorefield.laws import Units
from scorefield.models import Denoiser
from scorefield.noises import EDM, VP
from scorefield.samplers import Adaptive, Ancestral, Corrected, Heun, Midpoint, Multistep, Past, default
from scorefield.samplers.multistep import weights
from scorefield.tensors import Streams, normal

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.2 * torch.eye(2, **D))
X = normal(torch.empty(5, 2, **D), Streams(0, range(5)))
T, S = torch.tensor(0.6, **D), torch.tensor(0.45, **D)


def stepped(sampler, model, x=X, t=T, s=S, past=None, generator=None):
    return sampler.step(model, x, t, s, past or Past(), generator)[0]


def end(sampler, model, x, times, generator=None):
    *_, last = sampler.walk(model, x, times, generator)
    return last.x


class Counted(Denoiser):
    """A denoiser that counts how often it is asked."""

    def __init__(self, model):
        super().__init__()
        self.model, self.noise, self.count = model, model.noise, 0

    def forward(self, xt, t, **cond):
        self.count += 1
        return self.model(xt, t, **cond)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 2.0])
def test_a_step_of_any_length_is_exact_for_data_of_the_assumed_spread(spread, eta):
    noise = VP()
    data = Gaussian(torch.zeros(1, **D), torch.tensor([[max(spread, 1e-9) ** 2]], **D)).denoiser(noise)
    t, s = torch.tensor(0.95, **D), torch.tensor(0.05, **D)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = noise.scales(t), noise.scales(s)
    before, after = ((a**2 * spread**2 + b**2).sqrt() for a, b in ((alpha_t, sigma_t), (alpha_s, sigma_s)))
    x = torch.tensor([[0.0], [before], [0.0]], **D)
    moved = stepped(Multistep(1, spread, eta), data, x, t, s, generator=Units(2))
    torch.testing.assert_close((moved[1] ** 2 + moved[2] ** 2).sqrt(), after[None])
    if eta == 0:
        torch.testing.assert_close(moved[1], after[None])


def test_one_point_is_ddim_and_with_noise_ddpm():
    model = MIX.denoiser(VP())
    for spread in (0.0, math.inf):
        torch.testing.assert_close(stepped(Multistep(1, spread), model), stepped(Ancestral(0.0), model))
    draws = [Streams(3, range(5)), Streams(3, range(5))]
    torch.testing.assert_close(
        stepped(Multistep(1, 0.0, 1.0), model, generator=draws[0]), stepped(Ancestral(1.0), model, generator=draws[1])
    )


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_two_points_of_the_clean_estimate_are_written_out(eta):
    # y_s = e^{−kh} y + (1 − e^{−kh}) x̂ + (h − (1 − e^{−kh})/k) D,  D = (x̂ − x̂')/(λ − λ')
    model, earlier = MIX.denoiser(VP()), torch.tensor(0.7, **D)
    before, now = model(X + 0.1, earlier), model(X, T)
    lam = [-float(VP().ratio(t).log()) for t in (earlier, T, S)]
    h, k, alpha_t, alpha_s = lam[2] - lam[1], 1 + eta**2, VP().scales(T)[0], VP().scales(S)[0]
    gone = math.exp(-k * h)
    wanted = gone * X / alpha_t + (1 - gone) * now + (h - (1 - gone) / k) * (now - before) / (lam[1] - lam[0])
    past = Past().add(earlier, X + 0.1, before)
    got = stepped(Multistep(2, 0.0, eta), model, past=past, generator=Units(None))
    torch.testing.assert_close(got, alpha_s * wanted)


def test_two_points_of_the_noise_are_written_out():
    # y_s = y + (r_s − r_t) ε̂ + (r_t − r_s − r_s h) D,  the integral of ε̂ + D (λ − λ_t) over r
    noise, earlier = EDM(10.0), torch.tensor(0.7, **D)
    model = MIX.denoiser(noise)
    x = [10 * X, 9 * X]
    eps = [(y - model(y, t)) / noise.ratio(t) for y, t in zip(x, (earlier, T))]
    r = [float(noise.ratio(t)) for t in (earlier, T, S)]
    slope = (eps[1] - eps[0]) / math.log(r[0] / r[1])
    wanted = x[1] + (r[2] - r[1]) * eps[1] + (r[1] - r[2] - r[2] * math.log(r[1] / r[2])) * slope * -1
    past = Past().add(earlier, x[0], model(x[0], earlier))
    torch.testing.assert_close(stepped(Multistep(2), model, x[1], past=past), wanted)


def test_weights_sum_to_the_integral_of_one_and_reproduce_cubics():
    nodes = (0.3, 0.9, 1.4, 2.0)
    fine = torch.linspace(2.0, 2.7, 200_001, **D)
    for spread in (0.0, 0.5, math.inf):
        m = torch.ones_like(fine) if math.isinf(spread) else torch.hypot(torch.tensor(spread, **D), (-fine).exp())
        kernel = 2 * (-fine).exp() * m[-1] ** 2 * m**-3
        for power in range(4):
            wanted = float(torch.trapezoid(kernel * fine**power, fine))
            got = sum(w * node**power for w, node in zip(weights(nodes, 2.0, 2.7, spread, 2.0), nodes))
            assert got == pytest.approx(wanted, rel=1e-8)


def test_steps_and_evaluations_agree_from_noise_and_young_walks_pay_two_more():
    for sampler in (Multistep(1), Multistep(4), Multistep(4, 0.0), Corrected(4), Multistep(2, 0.0, 1.0)):
        model = Counted(MIX.denoiser(EDM(80.0)))
        end(sampler, model, 80 * X, sampler.times(model, 9), Streams(0, range(5)))
        assert model.count == 9, sampler
    model = Counted(MIX.denoiser(EDM(4.0)))
    end(Multistep(3), model, 4 * X, Multistep().times(model, 9))
    assert model.count == 9 + 2 * 2


def test_a_tolerance_bounds_the_error_and_rows_choose_their_own_steps():
    model, times = MIX.denoiser(EDM(20.0)), torch.tensor([1.0, 1e-3], **D)
    x = 20 * normal(torch.empty(40, 2, **D), Streams(1, range(40)))
    exact = end(Corrected(4), model, x, grids.logsnr(model.noise, 2000, floor=0.02)[:-1])
    errors = []
    for tolerance in (1e-3, 1e-4, 1e-5):
        errors.append(float((end(Adaptive(tolerance), model, x, times) - exact).abs().mean()))
        assert errors[-1] < 20 * tolerance
    assert errors[2] < errors[1] / 5 < errors[0] / 25
    whole = end(Adaptive(1e-4), model, x, times)
    for rows in (slice(0, 1), slice(3, 10)):
        torch.testing.assert_close(end(Adaptive(1e-4), model, x[rows], times), whole[rows], rtol=1e-12, atol=1e-12)


def test_the_default_is_near_the_best_at_every_budget_and_the_best_a_tenth_of_the_peers():
    # Root mean square errors of established packages on this case, at 10 and 20 evaluations: 0.050 and 0.013.
    mean, std = torch.linspace(-1, 1, 8, **D), torch.logspace(-1.5, 0.3, 8, **D)
    model = Gaussian(mean, (std**2).diag()).denoiser(EDM(80.0))
    x = 80 * normal(torch.empty(200, 8, **D), Streams(0, range(200)))
    exact = mean + (x - mean) * ((std**2 + 0.002**2) / (std**2 + 80**2)).sqrt()

    def error(sampler, evaluations):
        times = grids.karras(EDM(80.0), evaluations // sampler.evaluations + 1)[:-1]
        return float((end(sampler, model, x, times) - exact).square().mean().sqrt())

    family = [Multistep(p, s) for p in (2, 3, 4) for s in (0.0, 1.0, math.inf)] + [Corrected(p) for p in (2, 3, 4)]
    for evaluations, bar in ((10, 0.005), (20, 0.00135), (40, 0.00021), (80, 0.000018)):
        best = min(error(sampler, evaluations) for sampler in [*family, Heun(), Midpoint()])
        assert best <= bar
        assert error(default(evaluations), evaluations) <= 1.5 * best


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 15, 40])
def test_the_default_draws_at_any_number_of_steps(steps):
    x = sample(MIX.denoiser(VP()), 50, steps=steps)
    assert x.isfinite().all()
    assert x.abs().max() < 5


def test_settings_outside_their_range_are_refused():
    for wrong in (
        lambda: Multistep(0),
        lambda: Multistep(5),
        lambda: Multistep(2, -1.0),
        lambda: Multistep(2, 1.0, -0.5),
        lambda: Multistep(2, math.nan),
        lambda: Corrected(1),
        lambda: Adaptive(0.0),
    ):
        with pytest.raises(RangeError):
            wrong()


def test_fewer_steps_than_the_order_takes_are_refused():
    with pytest.raises(RangeError, match=r"Multistep\(points=4.*: 3 steps are too few for its order; take at least 4"):
        sample(MIX.denoiser(VP()), 2, steps=3, sampler=Multistep())
    assert [default(steps).least for steps in (1, 2, 3, 4, 20)] == [1, 2, 3, 3, 4]


@dataclass(frozen=True)
class NoStart(Multistep):
    """Four points that begin with one, wherever the walk begins: order two."""

    points: int = 4

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        young = Multistep(min(self.points, len(past.seen) + 1, 2), self.data_std)
        return (young if len(past.seen) < 3 else super()).step(model, x, t, s, past, generator, **cond)


@dataclass(frozen=True)
class WhereItIsNow(Multistep):
    """Earlier answers taken for answers at the x of now."""

    points: int = 2

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        moved = Past(tuple((at, x, denoised) for at, _, denoised in past.seen))
        return super().step(model, x, t, s, moved, generator, **cond)


@dataclass(frozen=True)
class CorrectedTwice(Corrected):
    """The correction added without taking the prediction away."""

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        y, denoised = super().step(model, x, t, s, past, generator, **cond)
        return y + 0.01 * (y - x), denoised


@pytest.mark.parametrize("mutant", [NoStart(), WhereItIsNow(), CorrectedTwice()], ids=lambda m: type(m).__name__)
def test_mutants_break_the_law_of_orders(mutant):
    with pytest.raises(LawError):
        laws.sampler(mutant)


@pytest.mark.parametrize(
    "sampler", [Multistep(4), Multistep(2, data_std=0.0), Multistep(3, data_std=1.0), Corrected(4)], ids=str
)
def test_a_step_in_float32_is_that_of_float64_rounded_once(sampler):
    model = Counted(MIX.denoiser(EDM()))
    model.forward = lambda xt, t: torch.tanh(xt.float() / 80).to(xt)  # the same answer in both
    times = [torch.tensor(t, **D) for t in (0.9, 0.7, 0.5, 0.3)]
    past = Past()
    for k, t in enumerate(times):
        past = past.add(t, (80 * X * t + k).float(), torch.sin(X + k).float())
    x = (20 * X).float()
    wide = Past(tuple((t, xt.double(), denoised.double()) for t, xt, denoised in past.seen))
    t, s = torch.tensor(0.2, **D), torch.tensor(0.1, **D)
    assert torch.equal(stepped(sampler, model, x, t, s, past), stepped(sampler, model, x.double(), t, s, wide).float())
