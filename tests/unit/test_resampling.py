"""Resampling of models that are not affine: one Newton step against refits over n, clusters, coverage, and what is caught."""

import math

import pytest
import torch

from scorefield.closed import LogDensity, fit, resampling
from scorefield.errors import DataError, RangeError

D = {"dtype": torch.float64}
SCALE = LogDensity(lambda t, y: -0.5 * ((y[:, 0] - t[0]) / t[1]) ** 2, torch.tensor([0.0, 1.0]), ("mean", "sd"))


def draw(n, seed=0):
    return 1.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), **D) + 0.3


def refit(x):
    """Score matching of a Gaussian is maximum likelihood: the mean and the standard deviation, in whatever coordinates."""
    return torch.stack([x.mean(), x.std(correction=0)])


def refits(x, label):
    return torch.stack([refit(x[label != g]) for g in label.unique()])


def slope(values, sizes):
    return -(math.log(values[-1]) - math.log(values[0])) / (math.log(sizes[-1]) - math.log(sizes[0]))


def test_one_step_errs_by_the_square_of_the_move():
    gaps, infinitesimal, frozen, moves, sizes = [], [], [], [], (50, 200, 800)
    for n in sizes:
        x = draw(n)
        fitted, exact = fit(SCALE, x), refits(x, torch.arange(n))
        bare = torch.linalg.solve(fitted.bread, fitted.pulls.T).T / n
        gaps.append(float((resampling.left_out(fitted, refits=False) - exact).norm(dim=1).mean()))
        infinitesimal.append(float((fitted.theta + bare - exact).norm(dim=1).mean()))
        frozen.append(float((fitted.theta + 0.5 * bare - exact).norm(dim=1).mean()))
        moves.append(float((exact - fitted.theta).norm(dim=1).mean()))
    assert 1.7 < slope(gaps, sizes) < 2.3
    assert 1.7 < slope(infinitesimal, sizes) < 2.3
    assert slope(frozen, sizes) < 1.3  # with ½ the objective's gradient the order is lost
    assert 0.8 < slope(moves, sizes) < 1.2


def test_the_bootstrap_errs_by_the_square_of_its_move():
    gaps, sizes = [], (400, 3200)
    for n in sizes:
        x = draw(n)
        seed, place = (
            torch.Generator().manual_seed(0),
            torch.rand(200, n, generator=torch.Generator().manual_seed(0), **D),
        )
        exact = torch.stack([refit(x[rows]) for rows in (place * n).long()])
        gaps.append(float((fit(SCALE, x).bootstrap(200, seed) - exact).norm(dim=1).mean()))
    assert 0.8 < slope(gaps, sizes) < 1.2


def test_further_steps_are_refits():
    x = draw(60, 1)
    fitted, exact = fit(SCALE, x), refits(x, torch.arange(60))
    jackknife = fitted.jackknife(refits=True)
    torch.testing.assert_close(jackknife.covariance, torch.cov(exact.T, correction=0) * 59)
    torch.testing.assert_close(jackknife.theta, 60 * fitted.theta - 59 * exact.mean(0))
    again = fitted.bootstrap(20, torch.Generator().manual_seed(0), refits=True)
    place = torch.rand(20, 60, generator=torch.Generator().manual_seed(0), **D)
    torch.testing.assert_close(again, torch.stack([refit(x[rows]) for rows in (place * 60).long()]))
    held = fit(SCALE, x, fixed={"mean": 0.0}).jackknife(refits=True)
    sds = torch.stack([(x[torch.arange(60) != i] ** 2).mean().sqrt() for i in range(60)])
    assert (held["mean"], held.error("mean")) == (0, 0)
    assert held.error("sd") == pytest.approx(float(sds.var(correction=0) * 59) ** 0.5)


def test_clusters_are_left_out_whole():
    x, label = draw(60, 3), torch.arange(60) % 12
    fitted, exact = fit(SCALE, x, clusters=label), refits(x, label)
    torch.testing.assert_close(fitted.jackknife(refits=True).covariance, torch.cov(exact.T, correction=0) * 11)
    rows = fit(SCALE, x).jackknife().covariance
    assert float((rows / fitted.jackknife().covariance - 1).abs().max()) > 0.05
    doubled, twice = x.repeat_interleave(2, 0), torch.arange(60).repeat_interleave(2)
    torch.testing.assert_close(fit(SCALE, doubled, clusters=twice).jackknife().covariance, rows, rtol=1e-6, atol=1e-12)


def test_chunks_do_not_matter(monkeypatch):
    x, label = draw(36, 4), torch.arange(36) // 2
    fitted = [fit(SCALE, x), fit(SCALE, x, clusters=label)]
    whole = [(f.jackknife(refits=True).covariance, f.bootstrap(5, torch.Generator().manual_seed(0))) for f in fitted]
    monkeypatch.setattr("scorefield.closed.rows._CHUNK", 36)
    monkeypatch.setattr("scorefield.closed.resampling._TOGETHER", 12 * 36 * 4)
    for f, (covariance, again) in zip(fitted, whole):
        torch.testing.assert_close(f.jackknife(refits=True).covariance, covariance)
        torch.testing.assert_close(f.bootstrap(5, torch.Generator().manual_seed(0)), again)


def covered(replications):
    """How often 95 % intervals by the jackknife, and by the bootstrap (2θ̂ − θ̂* at the quantiles), hold the truth."""
    hits, truth = torch.zeros(2, 2), torch.tensor([0.3, 1.5], **D)
    for seed in range(replications):
        fitted = fit(SCALE, draw(200, 100 + seed))
        spread, again = fitted.jackknife(), fitted.bootstrap(400, torch.Generator().manual_seed(seed))
        hits[0] += (spread.theta - truth).abs() < 1.96 * spread.standard_errors
        low, high = (2 * fitted.theta - again.quantile(q, 0) for q in (0.975, 0.025))
        hits[1] += (low < truth) & (truth < high)
    return hits / replications


def test_their_errors_are_those_of_the_sandwich():
    fitted = fit(SCALE, draw(800, 9))
    jackknife = fitted.jackknife().standard_errors / fitted.standard_errors
    assert float((jackknife - 1).abs().max()) < 0.02
    bootstrap = fitted.bootstrap(2000, torch.Generator().manual_seed(0)).std(0) / fitted.standard_errors
    assert float((bootstrap - 1).abs().max()) < 4 / math.sqrt(2 * 2000) + 0.05  # and a step's own O(1/√n)


@pytest.mark.slow
def test_the_intervals_of_both_cover_in_many_samples():
    # The quantiles of 200 rows are short by about 1/n of the nominal tail: half a per cent here.
    assert bool(((covered(300) - 0.95).abs() < 4 * math.sqrt(0.05 * 0.95 / 300) + 0.005).all())


def test_bad_numbers_and_single_clusters_are_told():
    fitted = fit(SCALE, draw(40))
    with pytest.raises(RangeError, match="at least 2"):
        fitted.bootstrap(1)
    with pytest.raises(DataError, match="one"):
        fit(SCALE, draw(40), clusters=torch.zeros(40))
