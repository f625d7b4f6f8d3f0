"""The explorer's walks: the library's states, the metrics' distances, and when a step explodes."""

import base64
import math

import numpy as np
import pytest
import torch

from scorefield import VP, exact, metrics, sample, walk
from scorefield.errors import RangeError
from scorefield.explorer import stability, walking
from scorefield.samplers import (
    MALA,
    Adaptive,
    Ancestral,
    AnnealedLangevin,
    Churn,
    EulerMaruyama,
    Heun,
    Langevin,
    Multistep,
    PredictorCorrector,
    Underdamped,
)
from scorefield.tensors import Streams, normal

MIX = exact.Mixture(torch.ones(3), torch.tensor([[-1.5, 0.0], [1.5, 0.5], [0.0, -1.5]]), 0.05 * torch.eye(2))
KNOWN = MIX.denoiser(VP())
ROUND = exact.Gaussian(torch.zeros(2), torch.diag(torch.tensor([1.0, 0.04])))


def unpacked(packed):
    values = np.frombuffer(base64.b64decode(packed["float32"]), "<f4").copy()
    return torch.from_numpy(values).reshape(packed["shape"])


def told(model, sampler, **release):
    return list(walking.events(model, sampler, walking.Release(**release), MIX.sample, 3.0))


@pytest.mark.parametrize(
    ("model", "sampler", "evaluations"),
    [
        (KNOWN, Heun(), 6),
        (KNOWN, EulerMaruyama(), 20),
        (KNOWN, Ancestral(0.0), 4),
        (KNOWN, Multistep(), 4),
        (MIX, Langevin(0.02), 3),
        (MIX, MALA(0.05), 6),
    ],
    ids=["heun", "reverse", "flow", "multistep", "langevin", "mala"],
)
def test_the_particles_are_those_of_a_walk_of_the_library(model, sampler, evaluations):
    events = told(model, sampler, n=20, evaluations=evaluations, seed=5)
    steps = evaluations // sampler.evaluations
    assert events[0]["steps"] == steps
    states = list(walk(model, 20, sampler=sampler, steps=steps, seed=5, shape=(2,)))
    seen = [event for event in events if event["kind"] == "state"]
    assert [event["step"] for event in seen] == list(range(steps + 1))
    for event, state in zip(seen, states):
        torch.testing.assert_close(unpacked(event["x"]), state.x)
    other = told(model, sampler, n=20, evaluations=evaluations, seed=6, frames=2)
    assert other[1]["x"] != events[1]["x"]


def test_two_samplers_start_from_the_same_draws_and_any_number_of_particles_from_its_own():
    start = [
        told(model, sampler, n=9, evaluations=4, frames=2)[1]["x"]
        for model, sampler in [(KNOWN, Heun()), (MIX, Langevin())]
    ]
    torch.testing.assert_close(unpacked(start[0]), unpacked(start[1]), rtol=1e-4, atol=1e-5)  # σ(1) of VP is 1 − 2e-5
    fewer = told(KNOWN, Heun(), n=4, evaluations=4, frames=2)
    torch.testing.assert_close(
        unpacked(fewer[-2]["x"]), unpacked(told(KNOWN, Heun(), n=9, evaluations=4, frames=2)[-2]["x"])[:4]
    )


def test_the_distance_told_is_that_of_the_metrics_and_lies_at_its_floor():
    n = 300
    end = told(KNOWN, Heun(), n=n, evaluations=40, frames=2)[-1]
    x = sample(KNOWN, n, sampler=Heun(), steps=20)
    target = MIX.sample(walking.REFERENCE, Streams(0, walking.FRESH + torch.arange(walking.REFERENCE)))
    found = metrics.sliced_wasserstein(x, target, projections=64, generator=torch.Generator().manual_seed(0))
    assert end["floor"]["spread"] == pytest.approx(end["floor"]["error"] * math.sqrt(walking.PAIRS))
    assert end["distance"] == {"value": pytest.approx(found.value), "error": pytest.approx(found.error)}
    assert abs(end["mmd"]["value"]) < 4 * end["mmd"]["error"]
    assert abs(end["distance"]["value"] - end["floor"]["value"]) < 5 * end["floor"]["spread"]
    # Points that are moved do not pass for the target's.
    moved = walking.compared(x + 0.8, target, MIX.sample, 0)
    assert moved["distance"]["value"] > 2 * moved["floor"]["value"]
    assert moved["mmd"]["value"] > 5 * moved["mmd"]["error"]


@pytest.mark.parametrize(
    ("sampler", "evaluations", "spent"),
    [
        (Heun(), 20, 19),
        (Langevin(), 20, 20),
        (MALA(), 20, 20),
        (AnnealedLangevin(5), 20, 21),
        (PredictorCorrector(), 20, 19),
    ],
    ids=["heun", "langevin", "mala", "annealed", "corrector"],
)
def test_evaluations_are_counted(sampler, evaluations, spent):
    model = MIX if isinstance(sampler, Langevin | MALA) else KNOWN
    assert told(model, sampler, n=4, evaluations=evaluations, frames=2)[-1]["evaluations"] == spent


def test_particles_may_be_released_around_a_point():
    events = told(MIX, Langevin(0.001), n=300, evaluations=2, frames=2, start=(1.0, -2.0))
    first = unpacked(events[1]["x"])
    error = walking.SPREAD / math.sqrt(300)
    assert ((first.mean(0) - torch.tensor([1.0, -2.0])).abs() < 5 * error).all()
    assert float(first.std()) < 2  # of both coordinates about different centres
    assert (first.std(0) - walking.SPREAD).abs().max() < 5 * error


def test_curvature_is_the_largest_eigenvalue_of_the_hessian():
    rotation = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    covariance = rotation @ torch.diag(torch.tensor([1.0, 0.04])) @ rotation.T
    turned = exact.Gaussian(torch.zeros(2), covariance)
    torch.testing.assert_close(stability.curvature(turned, torch.randn(5, 2)), torch.full((5,), 25.0))


def walked(sampler, n, evaluations):
    return list(walking.events(ROUND, sampler, walking.Release(n, evaluations, frames=2), ROUND.sample, 3.0))


@pytest.mark.parametrize(("size", "explodes"), [(0.074, False), (0.086, True)])
def test_langevin_explodes_above_its_bound_and_not_below(size, explodes):
    plan, *_, last = walked(Langevin(size), 20, 100)
    assert plan["stability"]["value"] == pytest.approx(25 * size)
    assert plan["stability"]["stable"] is not explodes
    assert last["kind"] == ("exploded" if explodes else "end")
    if explodes:
        assert "left the data at step" in last["message"]


@pytest.mark.parametrize(("size", "explodes"), [(0.38, False), (0.42, True)])
def test_underdamped_langevin_explodes_above_its_bound_and_not_below(size, explodes):
    plan, *_, last = walked(Underdamped(size, 0.1), 20, 80)
    assert plan["stability"]["value"] == pytest.approx(5 * size)
    assert plan["stability"]["stable"] is not explodes
    assert last["kind"] == ("exploded" if explodes else "end")


def test_the_variance_of_a_stable_step_is_as_much_too_large_as_is_said():
    plan, *_, state, _ = walked(Langevin(0.04), 2000, 20)
    assert "variance comes out 2 times too large" in plan["says"]
    assert float(unpacked(state["x"])[:, 1].var()) == pytest.approx(2 * 0.04, rel=5 * math.sqrt(2 / 2000))


class Quiet(Langevin):
    """Langevin dynamics whose noise lost its √2: it ends in half the variance."""

    def step(self, model, x, t, s, past, generator, **cond):
        h = float(t - s)
        return x + h * model(x) + math.sqrt(h) * normal(x, generator), None


@pytest.mark.parametrize("sampler", [Langevin(0.02), Quiet(0.02)], ids=["right", "wrong"])
def test_a_sampler_that_is_wrong_ends_far_above_the_floor(sampler):
    *_, end = walked(sampler, 500, 150)
    wrong = end["distance"]["value"] > end["floor"]["value"] + 5 * end["floor"]["spread"]
    assert wrong is (type(sampler) is Quiet)


def test_metropolis_refuses_where_langevin_explodes():
    plan, *_, state, end = walked(MALA(0.2), 300, 160)
    assert plan["stability"]["bound"] is None
    assert plan["stability"]["value"] > 2
    assert end["kind"] == "end"
    assert float(unpacked(state["x"])[:, 1].var()) == pytest.approx(0.04, rel=5 * math.sqrt(2 / 300))


def test_the_reverse_equation_is_told_unstable_where_its_steps_are_too_long():
    times = EulerMaruyama().times(KNOWN, 200)
    x = MIX.sample(512, Streams(0, range(512)))
    assert stability.levels(EulerMaruyama(), KNOWN, x, times).stable
    assert not stability.levels(EulerMaruyama(), KNOWN, x, EulerMaruyama().times(KNOWN, 3)).stable
    for corrector, size in [(AnnealedLangevin(3, 0.2), 0.2), (PredictorCorrector(snr=0.3), 0.18)]:
        found = stability.levels(corrector, KNOWN, x, times)
        assert 0 < found.value <= size * (1 + 1e-4)
    assert stability.levels(Heun(), KNOWN, x, times) is None


def test_every_sampler_has_a_sentence():
    x = MIX.sample(64, Streams(0, range(64)))
    for each in (Langevin(0.02), Langevin(9.0), MALA(0.1), MALA(9.0), Underdamped()):
        assert len(stability.sentence(each, stability.static(each, MIX, x))) > 20
    for each in (EulerMaruyama(), Heun(), Ancestral(), Churn(), Adaptive(), Multistep(), AnnealedLangevin()):
        says = stability.sentence(each, stability.levels(each, KNOWN, x, each.times(KNOWN, 10)))
        assert len(says) > 20


def test_longer_walks_end_nearer():
    rungs = list(walking.ladder(KNOWN, Ancestral(), walking.Release(200, 32), MIX.sample))
    assert [rung["evaluations"] for rung in rungs] == [1, 2, 4, 8, 16, 32]
    assert rungs[0]["distance"]["value"] > 3 * rungs[-1]["distance"]["value"]
    least = list(walking.ladder(KNOWN, Multistep(4), walking.Release(50, 16), MIX.sample))
    assert [rung["steps"] for rung in least] == [4, 8, 16]


@pytest.mark.parametrize("wrong", [{"n": 1}, {"n": 10**6}, {"evaluations": 0}, {"evaluations": 10**6}, {"frames": 1}])
def test_numbers_outside_the_limits_are_refused(wrong):
    with pytest.raises(RangeError, match=next(iter(wrong))):
        walking.Release(**wrong)
