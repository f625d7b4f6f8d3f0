"""Langevin walks: BAOAB against closed forms, MALA's search for its step size, and wrong ones that the law refuses."""

import math
from dataclasses import dataclass

import pytest
import torch

from scorefield import grids, laws
from scorefield.errors import LawError, RangeError
from scorefield.exact import Gaussian, Mixture
from scorefield.metrics import acceptance, effective_sample_size
from scorefield.models import Energy, Score
from scorefield.noises import VP
from scorefield.samplers import MALA, Langevin, Past, Underdamped
from scorefield.sampling import sample, walk
from scorefield.tensors import Streams, normal, uniform

D = {"dtype": torch.float64}
PAIR = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.5 * torch.eye(2, **D))


def end(states):
    *_, last = states
    return last.x


# --------------------------------------------------------------------------------------------------- underdamped


def test_underdamped_is_baoab_written_with_two_scores_a_step():
    h, friction, generator = 0.3, 0.7, Streams(4, range(3))
    x = torch.tensor([[0.5, 1.0], [2.0, -1.0], [0.0, 0.1]], **D)
    start, v = x, normal(x, generator)
    for _ in range(5):
        v = v + h / 2 * PAIR.score(x)
        x = x + h / 2 * v
        v = math.exp(-friction * h) * v + math.sqrt(1 - math.exp(-2 * friction * h)) * normal(x, generator)
        x = x + h / 2 * v
        v = v + h / 2 * PAIR.score(x)
    calls = []

    def counted(y):
        calls.append(1)
        return PAIR.score(y)

    sampler = Underdamped(h, friction)
    torch.testing.assert_close(end(sampler.walk(counted, start, sampler.times(counted, 5), Streams(4, range(3)))), x)
    assert len(calls) == 5 * sampler.evaluations


@pytest.mark.parametrize("friction", [0.2, 1.0, 5.0])
def test_the_stationary_variance_of_baoab_is_exact_on_a_gaussian(friction):
    """Its map of (x, v) is linear: iterate its covariance. At h = 1, 3/4 of the stable range; Langevin(h²/2) is 2.2 times too wide."""
    h, variance = 1.0, torch.tensor([[0.45]], **D)
    sampler, flat = Underdamped(h, friction), Gaussian(torch.zeros(1, **D), variance)
    times = [torch.tensor(t, **D) for t in (2 * h, h, 0.0)]

    class Unit(Streams):
        def normal(self, x):
            return torch.tensor([[0.0], [0.0], [1.0]], **D)

    # One step from unit position, unit velocity and unit draw gives the columns of the map; v lacks its last half kick.
    x, v = torch.tensor([[1.0], [0.0], [0.0]], **D), torch.tensor([[0.0], [1.0], [0.0]], **D)
    after, moved = sampler.step(flat, x, times[1], times[2], Past(((times[0], x, v),)), Unit(0, range(3)))
    columns = torch.cat([after, moved], 1).T
    transfer, noise = columns[:, :2], columns[:, 2:]
    covariance = torch.eye(2, **D)
    for _ in range(2000):
        covariance = transfer @ covariance @ transfer.T + noise @ noise.T
    assert float(covariance[0, 0]) == pytest.approx(0.45, rel=1e-9)


def test_underdamped_samples_a_mixture_and_keeps_its_velocity_to_itself():
    n = 4000
    x = PAIR.sample(n, Streams(1, range(n)))
    states = list(Underdamped(0.3).walk(PAIR, x, Underdamped(0.3).times(PAIR, 60), Streams(2, range(n))))
    assert all(state.denoised is None for state in states)
    y, truth = states[-1].x, PAIR.sample(n, Streams(3, range(n)))
    for f in (lambda u: u, lambda u: u**2):
        error = ((f(y).var(0) + f(truth).var(0)) / n).sqrt()
        assert ((f(y).mean(0) - f(truth).mean(0)).abs() < 5 * error + 0.02).all()  # O(h²) of a mixture


def test_velocities_carry_further_than_steps_of_langevin():
    """Effective draws per evaluation on a stretched Gaussian, each at 60 % of its largest stable step size."""
    long = Gaussian(torch.zeros(2, **D), torch.diag(torch.tensor([1.0, 400.0], **D)))
    worth = {}
    for sampler in (Langevin(1.2), Underdamped(1.2, friction=0.1)):
        x = long.sample(8, Streams(5, range(8)))
        states = sampler.walk(long, x, sampler.times(long, 400), Streams(6, range(8)))
        worth[type(sampler)] = float(effective_sample_size(torch.stack([s.x for s in states])[1:])[1])
    assert worth[Underdamped] > 4 * worth[Langevin]


def test_the_order_does_not_hang_on_the_friction():
    for friction in (0.3, 5.0):
        order, _ = laws.measured_order(Underdamped(0.1, friction), VP(), grids.karras, (16, 32))
        assert abs(order - 2) < 0.1


# --------------------------------------------------------------------------------------------------------- MALA


@pytest.mark.parametrize("scale", [1e-2, 30.0])
def test_mala_needs_no_tuning_over_decades_of_scale(scale):
    n, steps = 200, 160
    target = Gaussian(torch.zeros(3, **D), scale**2 * torch.eye(3, **D))
    x = normal(torch.empty(n, 3, **D), Streams(0, range(n)))
    states = list(MALA().walk(target, x, MALA().times(target, steps), Streams(1, range(n))))
    settled = torch.stack([state.x for state in states])[steps // 2 + 1 :]
    accepted = acceptance(settled)
    assert 0.5 < float(accepted.mean()) < 0.7, accepted.mean()
    spread = settled[-1].var(0) / scale**2
    assert ((spread - 1).abs() < 5 * math.sqrt(2 / n)).all()
    assert (settled[-1].mean(0).abs() / scale < 5 / math.sqrt(n)).all()


def test_every_row_finds_its_own_step_size():
    """One walk, rows of two energies whose scales differ a hundredfold: neither spoils the other."""

    class Two:
        def __init__(self, scale):
            self.scale = scale

        def __call__(self, x):
            return -x / self.scale[:, None] ** 2

        def energy(self, x):
            return 0.5 * (x**2).sum(1) / self.scale**2

    scale = torch.tensor([0.1, 10.0], **D).repeat(200)
    x, times = torch.ones(400, 2, **D), MALA().times(PAIR, 160)
    states = list(MALA().walk(Two(scale), x, times, Streams(0, range(400))))
    settled = torch.stack([state.x for state in states])[81:]
    rates = acceptance(settled)
    for part in (slice(0, None, 2), slice(1, None, 2)):
        assert 0.5 < float(rates[part].mean()) < 0.7
        assert abs(float((settled[-1][part] / scale[part, None]).var()) - 1) < 5 * math.sqrt(2 / 400)
    alone = end(MALA().walk(Two(scale[:1]), x[:1], times, Streams(0, [0])))
    torch.testing.assert_close(alone, settled[-1][:1])


def test_the_warm_up_ends_and_then_the_step_size_stays():
    kept = []

    @dataclass(frozen=True)
    class Watched(MALA):
        def step(self, model: Score, x, t, s, past, generator, **cond):
            x, memory = super().step(model, x, t, s, past, generator, **cond)
            kept.append(memory[:, 1])
            return x, memory

    end(Watched(0.1, warmup=0.25).walk(PAIR, torch.ones(3, 2, **D), MALA().times(PAIR, 40), Streams(0, range(3))))
    kept = torch.stack(kept)
    assert (kept[:10].diff(dim=0) != 0).all()
    assert (kept[9:].diff(dim=0) == 0).all()


def test_without_warm_up_the_given_step_size_is_used():
    x = torch.tensor([[0.5, 1.0], [2.0, -1.0]], **D)
    still = MALA(1e-4, warmup=0.0)
    states = list(still.walk(PAIR, x, still.times(PAIR, 4), Streams(0, range(2))))
    langevin = list(Langevin(1e-4).walk(PAIR, x, still.times(PAIR, 4), Streams(0, range(2))))
    torch.testing.assert_close(states[1].x, langevin[1].x)  # so small that all is accepted


def test_a_proposal_out_of_the_support_is_refused_and_spreads_no_nan():
    class Walls:
        """A standard normal within |x| < 1: infinite energy outside, where the score is not a number."""

        def __call__(self, x):
            return torch.where(x.abs() < 1, -x, torch.nan)

        def energy(self, x):
            return torch.where((x.abs() < 1).all(1), 0.5 * (x**2).sum(1), math.inf)

    n = 4000
    y = sample(Walls(), n, sampler=MALA(0.3), steps=60, shape=(1,), times=None)
    inside = y[y.abs()[:, 0] < 1]  # starts outside never get in, since their score is none
    assert y.isfinite().all()
    assert len(inside) > 0.6 * n
    wanted = 1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / math.erf(1 / math.sqrt(2))
    spread = float(inside.var())
    assert abs(spread - wanted) < 5 * float((inside**2).std()) / math.sqrt(len(inside))


def test_sample_by_mala_is_the_same_whatever_the_chunk():
    well = Energy(lambda x: 0.25 * x**4)
    whole = sample(well, 7, sampler=MALA(), steps=30, seed=3, shape=(2,))
    torch.testing.assert_close(sample(well, 7, sampler=MALA(), steps=30, seed=3, shape=(2,), chunk=2), whole)
    assert len(list(walk(well, 2, sampler=Underdamped(), steps=4, shape=(2,)))) == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Underdamped(0.0),
        lambda: Underdamped(0.1, friction=0.0),
        lambda: Underdamped(0.1, friction=math.inf),
        lambda: MALA(warmup=1.0),
        lambda: MALA(warmup=-0.1),
        lambda: MALA(size=math.nan),
        lambda: Langevin(-1.0),
        lambda: Underdamped().times(PAIR, 0),
    ],
)
def test_impossible_walks_are_refused(make):
    with pytest.raises(RangeError, match=r"Underdamped|MALA|Langevin"):
        make()


# ------------------------------------------------------------------------------------------------------ mutants


@dataclass(frozen=True)
class NoiseWithoutTwo(Underdamped):
    """√(1 − e^{−γh}) for the noise of the velocity."""

    def step(self, model: Score, x, t, s, past, generator, **cond):
        h = float(t - s)
        before, _, v = past.seen[-1] if past.seen else (t, x, normal(x, generator))
        v = v + 0.5 * (float(before - t) + h) * model(x)
        there = x + 0.5 * h * v
        v = math.exp(-self.friction * h) * v + math.sqrt(-math.expm1(-self.friction * h)) * normal(x, generator)
        return there + 0.5 * h * v, v


@dataclass(frozen=True)
class WholeFirstKick(Underdamped):
    """A whole kick in the first step, where half of one is due."""

    def step(self, model: Score, x, t, s, past, generator, **cond):
        if not past.seen:
            past = Past(((2 * t - s, x, normal(x, generator)),))
        return super().step(model, x, t, s, past, generator)


@dataclass(frozen=True)
class Forgetful(Underdamped):
    """A new velocity in every step: Langevin(h²/2), not a path of (x, v)."""

    def step(self, model: Score, x, t, s, past, generator, **cond):
        return super().step(model, x, t, s, Past(), generator)


@pytest.mark.parametrize("mutant", [NoiseWithoutTwo(), WholeFirstKick(), Forgetful()], ids=repr)
def test_the_measured_order_of_every_mutant_betrays_it(mutant):
    order, error = laws.measured_order(mutant, VP(), grids.karras, (32, 64))
    assert abs(order - 2) > 0.2 or error > 0.25


@dataclass(frozen=True)
class OneSided(MALA):
    """Accepted by the energies alone, without the densities of the proposals there and back."""

    def step(self, model: Score, x, t, s, past, generator, **cond):
        there, _ = Langevin().step(model, x, t, s, past, generator)
        energy = model.energy(x)
        accepted = uniform(energy, generator).log() < energy - model.energy(there)
        return torch.where(accepted[:, None], there, x), None


def test_a_metropolis_step_without_its_proposals_is_not_invariant():
    with pytest.raises(LawError, match="var"):
        laws.check(OneSided())
