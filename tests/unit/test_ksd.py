"""Kernel Stein discrepancies: the kernel against autograd, Stein's identity, unbiasedness, levels and power, thinning, annealing."""

import math

import pytest
import torch

from scorefield.closed import IMQ, RBF, Matern
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.metrics import (
    aggregated_test,
    composite_test,
    ksd,
    ksd_biased,
    ksd_test,
    log_normaliser,
    places_test,
    thin,
    witness,
)
from scorefield.metrics.ksd import null_matrix, signs, stein_kernel, wild
from scorefield.plots import misfit

DOUBLE = torch.float64


def draws(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def normal_score(x):
    return -x


def by_autograd(kernel, score, x, y):
    """h(x, y) for one pair, from derivatives of k by autograd."""

    def k(x, y):
        return kernel.derivatives(((x - y) ** 2).sum()[None, None], 0)[0].squeeze()

    kx, ky = torch.autograd.functional.jacobian(k, (x, y))
    cross = torch.autograd.functional.hessian(k, (x, y))[0][1]
    sx, sy = score(x[None])[0], score(y[None])[0]
    return sx @ sy * k(x, y) + sx @ ky + sy @ kx + cross.trace()


@pytest.mark.parametrize("kernel", [RBF(1.3), IMQ(0.8), Matern(1.7)], ids=str)
def test_the_stein_kernel_is_that_of_autograd(kernel):
    x, y = draws(3, 4), draws(2, 4, 1) + 0.3

    def score(x):
        return torch.stack([x[:, 1], -x[:, 0], x[:, 2] ** 2, x[:, 3] + 1], 1)

    found = stein_kernel(kernel, x, score(x), y, score(y))
    wanted = torch.stack([torch.stack([by_autograd(kernel, score, a, b) for b in y]) for a in x])
    torch.testing.assert_close(found, wanted)


def z_of_the_identity(matrix, d=3):
    """z-scores of the mean over X ~ p of h(X, y), at 8 places y: zero by Stein's identity."""
    x, y = draws(20_000, d), draws(8, d, 1)
    h = matrix(x, -x, y, -y)
    return h.mean(0) / (h.std(0) / len(x) ** 0.5)


@pytest.mark.parametrize("kernel", [RBF(1.3), IMQ(0.8), Matern(1.7)], ids=str)
def test_steins_identity_holds_at_every_place(kernel):
    assert z_of_the_identity(lambda x, s, y, sy: stein_kernel(kernel, x, s, y, sy)).abs().max() < 4.5


MUTANTS = {
    "sign of the score": lambda k, x, s, y, sy: stein_kernel(k, x, -s, y, -sy),
    "one score forgotten": lambda k, x, s, y, sy: stein_kernel(k, x, 0 * s, y, sy),
    "half a score": lambda k, x, s, y, sy: stein_kernel(k, x, s / 2, y, sy / 2),
    "no trace": lambda k, x, s, y, sy: stein_kernel(k, x, s, y, sy) - stein_kernel(k, x, 0 * s, y, 0 * sy),
    "trace over d": lambda k, x, s, y, sy: (
        stein_kernel(k, x, s, y, sy) - (1 - 1 / 3) * stein_kernel(k, x, 0 * s, y, 0 * sy)
    ),
    "distance for its square": lambda k, x, s, y, sy: stein_kernel(k, x.sign() * x.abs().sqrt(), s, y, sy),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_steins_identity_sees_a_wrong_kernel(mutant):
    assert z_of_the_identity(lambda x, s, y, sy: mutant(IMQ(0.8), x, s, y, sy)).abs().max() > 6


def test_the_u_statistic_is_unbiased_its_error_is_right_and_the_v_statistic_is_not_negative():
    kernel, shift = IMQ(1.0), 0.3
    for mean in (0.0, shift):
        found = [ksd(normal_score, draws(60, 2, seed) + mean, kernel=kernel) for seed in range(150)]
        values = torch.tensor([each.value for each in found])
        large_x = draws(2000, 2, 999) + mean
        truth = 0.0 if mean == 0 else ksd(normal_score, large_x, kernel=kernel).value
        slack = 0.0 if mean == 0 else 4 * ksd(normal_score, large_x, kernel=kernel).error
        assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / 150**0.5 + slack
        told = torch.tensor([each.error for each in found]).square().mean().sqrt()
        assert 0.75 < float(told / values.std()) < 1.33
    assert min(ksd_biased(normal_score, draws(10, 2, seed), kernel=kernel).value for seed in range(20)) > 0


def test_the_v_statistic_is_the_u_statistic_with_the_diagonal():
    x, kernel, n = draws(30, 2), IMQ(1.2), 30
    h = stein_kernel(kernel, x, -x, x, -x)
    assert ksd_biased(normal_score, x, kernel=kernel).value == pytest.approx(float(h.mean()), rel=1e-10)
    off = (float(h.sum()) - float(h.trace())) / (n * (n - 1))
    assert ksd(normal_score, x, kernel=kernel).value == pytest.approx(off, rel=1e-10)


def test_blocks_of_rows_change_nothing(monkeypatch):
    x = draws(50, 2)
    whole = ksd(normal_score, x)
    monkeypatch.setattr("scorefield.closed.kernels._BLOCK", 150)
    parts = ksd(normal_score, x)
    assert parts.value == pytest.approx(whole.value, rel=1e-10)
    assert parts.error == pytest.approx(whole.error, rel=1e-10)


def test_the_bootstrap_is_the_sum_over_pairs_by_hand():
    h = null_matrix(IMQ(1.0), draws(20, 2), -draws(20, 2))
    w = signs(20, 7, generator=torch.Generator().manual_seed(0))
    by_hand = torch.stack([(row[:, None] * row * h).sum() / 20 for row in w.double()])
    torch.testing.assert_close(wild(h, w), by_hand, rtol=1e-4, atol=1e-4)


def test_signs_of_a_chain_change_as_seldom_as_was_asked():
    w = signs(2000, 50, 0.1, torch.Generator().manual_seed(0))
    changes = (w[:, 1:] != w[:, :-1]).double().mean()
    assert abs(float(changes) - 0.1) < 4 * math.sqrt(0.09 / 1e5)


def rejections(test, null, sets, n=60):
    return sum(test(normal_score, draws(n, 2, seed) + null, seed).rejected for seed in range(sets)) / sets


TESTS = {
    "wild": lambda s, x, seed: ksd_test(s, x, bootstraps=200, generator=torch.Generator().manual_seed(seed)),
    "aggregated": lambda s, x, seed: aggregated_test(
        s, x, bootstraps=200, generator=torch.Generator().manual_seed(seed)
    ),
    "places": lambda s, x, seed: places_test(
        s, x, places=draws(3, 2, 5), draws=400, generator=torch.Generator().manual_seed(seed)
    ),
}


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_levels_are_kept_and_power_grows(test):
    sets = 150
    level = rejections(test, 0.0, sets)
    assert abs(level - 0.05) < 4 * math.sqrt(0.05 * 0.95 / sets)
    assert rejections(test, 0.8, 20) > 0.9


@pytest.mark.slow
def test_the_level_is_five_in_a_hundred_over_a_thousand_sets():
    assert abs(rejections(TESTS["wild"], 0.0, 1000, n=150) - 0.05) <= 0.02


def test_a_width_that_is_too_wide_is_forgiven_by_the_aggregate():
    two = Mixture(
        torch.ones(2, dtype=DOUBLE), torch.tensor([[-2.0], [2.0]], dtype=DOUBLE), torch.tensor([[0.02]]).double()
    )
    wiggly = two.sample(300, torch.Generator().manual_seed(0)) / 10
    model = Gaussian(torch.zeros(1, dtype=DOUBLE), torch.tensor([[0.04]]).double())
    found = aggregated_test(model, wiggly)
    assert found.rejected
    assert len(found.kernels) == len(found.p_values) == 6
    assert "rejected at 5 %" in str(found)


class Fitted:
    def __init__(self, mean):
        self.mean = mean

    def __call__(self, x):
        return self.mean - x


def fit(x):
    return Fitted(x.mean(0))


def redraw(score, n, generator):
    return score.mean + torch.randn(n, len(score.mean), generator=generator, dtype=DOUBLE)


def test_a_family_is_tested_with_its_parameters_unknown():
    """Refitted, the level is right; not refitted it is far too low, since the fit used the data; power is there."""
    sets, low = 40, []
    counts = {True: 0, False: 0}
    for seed in range(sets):
        for refit in counts:
            found = composite_test(
                fit,
                redraw,
                draws(30, 1, seed) + 3,
                bootstraps=19,
                level=0.25,
                refit=refit,
                generator=torch.Generator().manual_seed(seed),
            )
            counts[refit] += found.rejected
            low.append(found.p_value)
    assert abs(counts[True] / sets - 0.25) < 4 * math.sqrt(0.25 * 0.75 / sets)
    assert counts[False] < counts[True]
    assert min(low) >= 1 / 20
    assert composite_test(fit, redraw, 2 * draws(60, 1) + 3, bootstraps=39).rejected


# Where


def test_the_witness_is_zero_for_the_truth_and_points_where_the_model_would_go():
    places = draws(6, 2, 3) * 0.7
    right = witness(normal_score, draws(4000, 2), places)
    assert (right.value / right.error).abs().max() < 4.5
    wrong = witness(lambda x: torch.tensor([1.0, 0.0], dtype=DOUBLE) - x, draws(4000, 2), places)
    assert (wrong.value[:, 0] > 4 * wrong.error[:, 0]).all()
    assert ((wrong.value / wrong.error)[:, 1].abs() < 4.5).all()
    # g(v) = E[(s − s*)(X) k(X, v)] = E k(X, v) in the first coordinate
    k = RBF(1.1)
    found = witness(lambda x: torch.tensor([1.0, 0.0], dtype=DOUBLE) - x, draws(4000, 2), places, kernel=k)
    wanted = k(draws(4000, 2, 1), places).mean(0)
    assert ((found.value[:, 0] - wanted).abs() < 5 * found.error[:, 0]).all()


def test_places_are_found_where_the_model_is_wrong():
    """The sample has one mode more than the model, at 4: that is where it looks."""
    x = torch.cat([draws(900, 1), 0.3 * draws(100, 1, 1) + 4])
    found = places_test(normal_score, x, count=1, kernel=RBF(0.7), steps=60, generator=torch.Generator().manual_seed(7))
    assert found.rejected
    assert 2.5 < float(found.places[0, 0]) < 5.5
    assert float(found.shares.sum()) == pytest.approx(1)
    picture = misfit(lambda x: -x, draws(200, 2), places=draws(2, 2), n=5)
    assert len(picture.axes) == 2


# Thinning


def test_thinning_is_the_greedy_minimum_by_hand_and_beats_random_rows():
    x, kernel = draws(40, 2), IMQ(1.0)
    h = stein_kernel(kernel, x, -x, x, -x)
    chosen = []
    for _ in range(6):
        goal = 0.5 * h.diagonal() + h[chosen].sum(0)
        chosen.append(int(goal.argmin()))
    assert thin(normal_score, x, 6, kernel=kernel).tolist() == chosen
    x = torch.cat([draws(400, 2), draws(100, 2, 1) / 3 + 4])  # a chain that started, or got lost, elsewhere
    best = x[thin(normal_score, x, 40)]
    kernel = IMQ(1.5)
    assert (
        ksd_biased(normal_score, best, kernel=kernel).value
        < 0.3 * ksd_biased(normal_score, x[:40], kernel=kernel).value
    )
    assert float((best.norm(dim=1) > 3.5).double().mean()) <= 0.05


# Normalisers


def test_annealed_importance_is_unbiased_whatever_the_levels():
    base, target = (
        Gaussian(torch.full((3,), m, dtype=DOUBLE), v * torch.eye(3).double()) for m, v in ((0.0, 2.0), (1.0, 0.3))
    )

    class Shifted:
        energy = staticmethod(lambda x: target.energy(x) - 1.7)

        def __call__(self, x):
            return target(x)

    errors = []
    for levels in (1, 3, 12):
        found = log_normaliser(Shifted(), base, n=400, levels=levels, generator=torch.Generator().manual_seed(levels))
        assert abs(found.value - 1.7) < 4 * found.error
        errors.append(found.error)
    assert errors[2] < 0.7 * errors[0]


def test_a_normaliser_that_is_a_guess_is_an_error():
    far = Gaussian(torch.full((20,), 6.0, dtype=DOUBLE), 0.1 * torch.eye(20).double())
    with pytest.raises(DataError, match="take more levels"):
        log_normaliser(far, Gaussian(torch.zeros(20).double(), torch.eye(20).double()), n=200, levels=1)
    with pytest.raises(ShapeError, match="no energy"):
        log_normaliser(normal_score, far)


# Bad input


def test_bad_input_is_told_by_row():
    x = draws(20, 2)
    with pytest.raises(DataError, match="not finite at row 3"):
        ksd(lambda y: torch.where(torch.arange(len(y))[:, None] == 3, math.nan, -y), x)
    with pytest.raises(ShapeError, match="must be alike"):
        ksd_test(lambda y: y[:, :1], x)
    with pytest.raises(DataError, match="at least 2 rows"):
        ksd(normal_score, x[:1])
    bad = x.clone()
    bad[4] = math.inf
    with pytest.raises(DataError, match="not finite"):
        aggregated_test(normal_score, bad)
    with pytest.raises(DataError, match="most rows coincide; give a width"):
        ksd(normal_score, torch.zeros(9, 2))
    assert ksd(normal_score, torch.zeros(9, 2), kernel=IMQ(1.0)).value > 0
    with pytest.raises(ShapeError, match="wanted \\(places, 2\\)"):
        witness(normal_score, x, draws(3, 1))
    for wrong in (
        lambda: ksd_test(normal_score, x, bootstraps=0),
        lambda: ksd_test(normal_score, x, flip=0.0),
        lambda: aggregated_test(normal_score, x, kernels=[]),
        lambda: aggregated_test(normal_score, x, level=1.0),
        lambda: thin(normal_score, x, 0),
        lambda: places_test(normal_score, x, count=0),
        lambda: log_normaliser(Gaussian(torch.zeros(1), torch.eye(1)), Gaussian(torch.zeros(1), torch.eye(1)), n=1),
    ):
        with pytest.raises(RangeError):
            wrong()
    with pytest.raises(ShapeError, match="two columns"):
        misfit(normal_score, draws(5, 3))


def test_images_are_samples_too():
    x = torch.randn(30, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    flat = ksd(normal_score, x.flatten(1))
    assert ksd(normal_score, x).value == pytest.approx(flat.value)
