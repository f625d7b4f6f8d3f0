"""Effective sample size and R̂ against an autoregression, whose answer is known: S (1 − ρ)/(1 + ρ)."""

import math

import pytest
import torch

from scorefield.errors import DataError
from scorefield.metrics import acceptance, effective_sample_size, potential_scale_reduction


def autoregression(rho, steps, rows, columns, seed=0):
    z = torch.randn(steps, rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    x = z.clone()
    for k in range(1, steps):
        x[k] = rho * x[k - 1] + math.sqrt(1 - rho**2) * z[k]
    return x


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression(rho):
    steps, rows, columns = 4000, 4, 200
    ratio = effective_sample_size(autoregression(rho, steps, rows, columns)) * (1 + rho) / (1 - rho) / (steps * rows)
    # Each column is one estimate; its relative bias is of the order of its relative error, √(2 τ_cut/S) with a cut of some τ.
    tau = (1 + rho) / (1 - rho)
    bias = 2 * math.sqrt(2 * max(tau, 1 / tau) / (steps * rows))
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(columns) + bias
    assert float(ratio.std()) < 0.12


def test_the_variance_of_the_mean_is_the_variance_over_the_effective_sample_size():
    x = autoregression(0.8, 1000, 4, 500)
    wanted = x.mean((0, 1)).var()
    got = (x.var((0, 1)) / effective_sample_size(x)).mean()
    assert abs(float(got / wanted) - 1) < 5 * math.sqrt(2 / 500)


def test_agreeing_chains_have_r_hat_one_and_others_do_not():
    x = autoregression(0.5, 1000, 4, 50)
    assert (potential_scale_reduction(x) - 1).abs().max() < 0.01
    apart = x + torch.arange(4.0)[:, None]
    assert (potential_scale_reduction(apart) > 1.3).all()
    drifting = x + torch.linspace(0, 3, 1000)[:, None, None]
    assert (potential_scale_reduction(drifting) > 1.2).all()  # halves disagree, though the chains do not
    assert (effective_sample_size(apart) < 20).all()
    one = 2.0 + torch.randn(400, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    alone = potential_scale_reduction(one)  # of one chain: its halves, each of 200 independent draws
    assert alone.shape == (2, 3)
    assert ((alone - 1).abs() < 0.05).all()  # R̂² − 1 = (χ²₁ − 1)/200 about: 4.5 standard errors of a mean


def test_r_hat_is_the_textbook_formula():
    x = autoregression(0.5, 100, 3, 2)
    halves = torch.cat([x[:50], x[50:]], 1)
    between, within = 50 * halves.mean(0).var(0), halves.var(0).mean(0)
    torch.testing.assert_close(potential_scale_reduction(x), ((49 / 50 * within + between / 50) / within).sqrt())


def test_shift_and_scale_change_nothing():
    x = autoregression(0.7, 500, 2, 3)
    torch.testing.assert_close(effective_sample_size(5 - 3 * x), effective_sample_size(x))


def test_acceptance_is_counted_row_by_row():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 5.0]])[:, :, None]
    torch.testing.assert_close(acceptance(x), torch.tensor([2 / 3, 1 / 3]))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (torch.randn(7, 2), "at least 8 steps"),
        (torch.full((20, 2), torch.nan), "not finite"),
        (torch.ones(20, 2, 3), r"coordinate \[0\] never changes"),
    ],
)
def test_chains_that_say_nothing_are_refused(wrong, says):
    for measure in (effective_sample_size, potential_scale_reduction):
        with pytest.raises(DataError, match=says):
            measure(wrong)
    with pytest.raises(DataError, match="at least 2"):
        acceptance(torch.ones(1, 2))
