"""When a fit warns: the dip against linear programs, separated modes in every sample, and no alarm for one mode."""

import math

import pytest
import torch

from scorefield.closed import Exponential, LogDensity, Normal, Pairwise, VonMisesFisher, fit
from scorefield.closed.dip import CRITICAL, MOST, dip, two_heaps
from scorefield.domains import Box

D = {"dtype": torch.float64}
QUARTIC = Exponential(lambda y: torch.cat([y, y**2, y**3, -(y**4)], 1))


def draw(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **D)


def separated(m, n, seed):
    """½N(−m, 1) + ½N(m, 1)."""
    side = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed + 1000)) < 0.5
    return draw(n, 1, seed) + torch.where(side, -m, m)


def weight_of(m):
    """The two components are known, and their log odds are not."""

    def log_density(t, y):
        return torch.logsumexp(torch.stack([t[0] - 0.5 * (y[:, 0] + m) ** 2, -0.5 * (y[:, 0] - m) ** 2], 1), 1)

    return LogDensity(log_density, torch.zeros(1), ("log odds",))


def warned(fitted):
    """Whether a note speaks of modes."""
    return any("modes" in note or "heaps" in note for note in fitted.notes)


def by_linear_programs(x):
    """The least D such that some G, convex before a point and concave after it, is within D of the steps of the data."""
    from scipy.optimize import linprog

    x, n, least = x.sort().values.tolist(), len(x), math.inf
    for mode in range(n):
        place = {(i, side): i + (i > mode or (i == mode and side > 0)) for i in range(n) for side in (-1, 1)}
        rows, bounds = [], []

        def add(terms, bound, rows=rows, bounds=bounds):
            row = [0.0] * (n + 2)
            for index, value in terms:
                row[index] += value
            rows.append(row)
            bounds.append(bound)

        for i in range(n):
            for side, step in ((-1, i / n), (1, (i + 1) / n)):
                add([(place[i, side], 1), (n + 1, -1)], step)
                add([(place[i, side], -1), (n + 1, -1)], -step)
        for k in range(n):
            add([(k, 1), (k + 1, -1)], 0)
        for i in range(1, n - 1):
            if i == mode:
                continue
            back, ahead = 1 / (x[i] - x[i - 1]), 1 / (x[i + 1] - x[i])
            bend = 1 if i < mode else -1
            terms = [(place[i, 1], back + ahead), (place[i - 1, 1], -back), (place[i + 1, -1], -ahead)]
            add([(index, bend * value) for index, value in terms], 0)
        found = linprog([0] * (n + 1) + [1], A_ub=rows, b_ub=bounds, bounds=[(0, 1)] * (n + 2))
        least = min(least, found.fun)
    return least


@pytest.mark.parametrize("seed", range(4))
def test_the_dip_is_the_least_distance_to_a_unimodal_law(seed):
    x = torch.rand(11, generator=torch.Generator().manual_seed(seed), **D)
    x = torch.cat([x[:5], x[5:] + seed / 2])
    assert dip(x) == pytest.approx(by_linear_programs(x), abs=1e-6)
    assert dip(3 - 7 * x) == pytest.approx(dip(x))
    assert dip(x.repeat_interleave(3)) >= dip(x) - 1e-12  # ties are steps


def test_the_critical_value_is_that_of_the_uniform_law():
    found = (
        torch.tensor([dip(torch.rand(400, generator=torch.Generator().manual_seed(s), **D)) for s in range(200)]) * 20
    )
    assert float((found > CRITICAL).double().mean()) <= 0.01 + 4 * math.sqrt(0.01 * 0.99 / 200)
    assert float((found > 0.8 * CRITICAL).double().mean()) > 0.03  # and is not far too large


def test_only_so_many_rows_are_looked_at():
    x = separated(4.0, 3 * MOST, 0)
    assert two_heaps(x) > 5
    assert two_heaps(draw(3 * MOST, 1, 0)) < 1
    assert two_heaps(torch.cat([x, 0.1 * draw(len(x), 3, 1)], 1) @ torch.linalg.qr(draw(4, 4, 2))[0]) > 5


@pytest.mark.parametrize("n", [200, 1000])
def test_modes_eight_deviations_apart_are_always_told(n):
    assert all(warned(fit(weight_of(4.0), separated(4.0, n, seed))) for seed in range(2))
    assert all(warned(fit(QUARTIC, separated(4.0, n, seed))) for seed in range(10))


ONE_MODE = {
    "Gaussian": (lambda seed: fit(Normal(2), draw(100, 2, seed)), 30),
    "many parameters": (lambda seed: fit(Normal(8), draw(100, 8, seed)), 20),
    "quartic": (lambda seed: fit(QUARTIC, draw(100, 1, seed)), 30),
    "truncated Gaussian": (lambda seed: fit(Normal(1), draw(100, 1, seed).abs(), domain=Box()), 20),
    "gamma graph": (
        lambda seed: fit(Pairwise(2, 0.5, 0.0), draw(200, 6, seed).reshape(200, 2, 3).square().sum(2)),
        20,
    ),
    "direction": (
        lambda seed: fit(VonMisesFisher(3), torch.nn.functional.normalize(draw(100, 3, seed) + 1, dim=1)),
        30,
    ),
    "close modes": (lambda seed: fit(weight_of(0.7), separated(0.7, 200, seed)), 2),
}


@pytest.mark.parametrize("name", list(ONE_MODE))
def test_one_mode_raises_no_alarm(name):
    fitted, sets = ONE_MODE[name]
    alarms = sum(warned(fitted(seed)) for seed in range(sets))
    assert alarms <= 0.05 * sets


def test_the_gaussian_fit_of_two_heaps_is_maximum_likelihood_and_not_warned_of():
    assert not warned(fit(Normal(1), separated(4.0, 400, 0)))


@pytest.mark.slow
def test_rates_over_many_samples():
    missed = sum(not warned(fit(weight_of(4.0), separated(4.0, 500, seed))) for seed in range(100))
    alarms = sum(warned(fitted(seed)) for fitted, sets in ONE_MODE.values() for seed in range(1000, 1000 + 5 * sets))
    assert missed <= 2
    assert alarms <= 0.05 * 5 * sum(sets for _, sets in ONE_MODE.values())
