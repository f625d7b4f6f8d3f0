"""Distances between samples and between scores: closed forms, brute force, and standard errors that are true."""

import math

import pytest
import torch
from torch import Tensor

from scorefield import metrics
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.metrics import pairs
from scorefield.metrics.estimate import mean


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gauss(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def z_scores(estimates: list[metrics.Estimate], truth: float) -> Tensor:
    return torch.tensor([(e.value - truth) / e.error for e in estimates])


def honest(z: Tensor, most: float = 1.0) -> None:
    """Mean zero and spread one, within four standard errors of each plus what the finite size of a sample explains."""
    n = len(z)
    assert abs(float(z.mean())) < 4 / math.sqrt(n) + 0.1 * most
    assert abs(float(z.std()) - 1) < 4 / math.sqrt(2 * n) + 0.1 * most


def kernel_mean(x: Tensor, y: Tensor, h: float) -> float:
    return float((-torch.cdist(x, y).square() / (2 * h * h)).exp().sum())


def gaussian_mmd(shift: float, d: int, h: float) -> float:
    """MMD² of N(0, I) and N(shift·e₁, I): E k = (h²/(h²+2))^(d/2) exp(−shift²/2(h²+2))."""
    peak = (h * h / (h * h + 2)) ** (d / 2)
    return 2 * peak * (1 - math.exp(-(shift**2) / (2 * (h * h + 2))))


def test_estimate_prints_to_its_error():
    assert str(metrics.Estimate(0.01234, 0.00041)) == "0.0123 ± 0.0004"
    assert str(metrics.Estimate(123.4, 12.0)) == "123 ± 12"
    assert str(metrics.Estimate(1.0, 0.096)) == "1.0 ± 0.1"
    assert str(metrics.Estimate(2.0, 0.0)) == "2 ± 0"


def test_mean_has_the_standard_error_of_a_mean():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    estimate = mean(values)
    assert estimate.value == 4.0
    assert estimate.error == pytest.approx(math.sqrt(((values - 4) ** 2).sum().item() / 3 / 4))
    with pytest.raises(DataError, match="at least 2"):
        mean(torch.ones(1))


def test_pairs_do_not_depend_on_the_blocks(monkeypatch):
    x, y = gauss(37, 5, draws(0)) + 100, gauss(23, 5, draws(1)) + 100
    monkeypatch.setattr(pairs, "_BLOCK", 60)
    blocks = list(pairs.squared_distances(x, y))
    assert len(blocks) > 10
    exact = (x[:, None] - y[None]).square().sum(-1)
    torch.testing.assert_close(torch.cat([b for _, b in blocks]), exact, rtol=0, atol=1e-11)
    torch.testing.assert_close(pairs.nearest(x, y, 3)[0], exact.sqrt().sort(1).values[:, :3], rtol=0, atol=1e-10)
    among = (x[:, None] - x[None]).square().sum(-1).sqrt()
    distance, index = pairs.nearest_others(x, 2)
    torch.testing.assert_close(distance, among.sort(1).values[:, 1:3], rtol=0, atol=1e-10)
    assert torch.equal(index, among.argsort(1)[:, 1:3])


def test_twins_are_each_others_neighbour_at_distance_zero():
    distance, index = pairs.nearest_others(torch.tensor([[1.0], [5.0], [1.0]], dtype=torch.float64))
    assert distance[0] == distance[2] == 0
    assert index[0] == 2
    assert index[2] == 0


def test_samples_that_cannot_be_compared():
    with pytest.raises(ShapeError, match="same event shape"):
        pairs.rows(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(DataError, match="at least 2 rows"):
        pairs.rows(torch.zeros(1, 2), least=2)
    with pytest.raises(DataError, match="not finite"):
        pairs.rows(torch.tensor([[math.nan]]))
    with pytest.raises(RangeError, match="between 1 and 2"):
        pairs.nearest_others(torch.zeros(3, 1), 3)
    with pytest.raises(RangeError, match="must be positive"):
        metrics.mmd(torch.zeros(3, 1), torch.zeros(3, 1))
    with pytest.raises(RangeError, match="projections"):
        metrics.sliced_wasserstein(torch.zeros(3, 1), torch.zeros(3, 1), projections=1)
    with pytest.raises(ShapeError, match="sizes must agree"):
        metrics.wasserstein2(torch.zeros(3, 1), torch.zeros(2, 1))
    with pytest.raises(RangeError, match="folds"):
        metrics.frechet_distance(torch.zeros(6, 1), torch.zeros(6, 1), folds=4)


def test_fisher_divergence_of_gaussians():
    """½ E‖x − (x − m)/v‖² of N(0, I₃) for q = N(m, v) is ½ (3 (1 − 1/v)² + ‖m‖²/v²), and its error is true."""
    shift, v = torch.tensor([1.0, 0.0, -1.0]), 2.0
    generator = draws(3)
    estimates = [
        metrics.fisher_divergence(lambda x: -(x - shift) / v, lambda x: -x, gauss(1500, 3, generator).float())
        for _ in range(200)
    ]
    honest(z_scores(estimates, 0.5 * (3 * (1 - 1 / v) ** 2 + 2 / v**2)))


def test_fisher_divergence_asks_for_scores_of_the_shape_of_x():
    with pytest.raises(ShapeError, match="must be alike"):
        metrics.fisher_divergence(lambda x: x.sum(1), lambda x: x, torch.zeros(4, 3))


def test_mmd_is_the_u_statistic_and_the_v_statistic():
    x, y = gauss(7, 2, draws(1)), gauss(5, 2, draws(2)) + 1
    xx, yy, xy = (kernel_mean(a, b, 0.7) for a, b in ((x, x), (y, y), (x, y)))
    unbiased = (xx - 7) / 42 + (yy - 5) / 20 - 2 * xy / 35
    assert float(metrics.mmd(x, y, bandwidths=[0.7])) == pytest.approx(unbiased, abs=1e-12)
    assert float(metrics.mmd_biased(x, y, bandwidths=[0.7])) == pytest.approx(
        xx / 49 + yy / 25 - 2 * xy / 35, abs=1e-12
    )
    both = [float(metrics.mmd(x, y, bandwidths=[h])) for h in (0.7, 2.0)]
    assert float(metrics.mmd(x, y, bandwidths=[0.7, 2.0])) == pytest.approx(sum(both) / 2, abs=1e-12)


def test_mmd_default_bandwidth_is_the_median_distance():
    x, y = gauss(20, 2, draws(1)), gauss(31, 2, draws(2)) + 1
    z = torch.cat([x, y])
    median = torch.nn.functional.pdist(z).median()
    assert metrics.median_distance(x, y) == pytest.approx(float(median))
    assert metrics.mmd(x, y).value == pytest.approx(metrics.mmd(x, y, bandwidths=[float(median)]).value)


@pytest.mark.parametrize(("shift", "m", "n"), [(0.5, 150, 250), (1.5, 60, 600), (1.5, 600, 60)])
def test_mmd_is_unbiased_with_a_true_error(shift, m, n):
    """Unequal sizes, so that each sample in turn makes nearly all of the error."""
    generator = draws(4)
    step = torch.tensor([shift, 0.0], dtype=torch.float64)
    estimates = [
        metrics.mmd(gauss(m, 2, generator), gauss(n, 2, generator) + step, bandwidths=[1.3]) for _ in range(200)
    ]
    values = torch.tensor([e.value for e in estimates])
    truth = gaussian_mmd(shift, 2, 1.3)
    assert abs(float(values.mean()) - truth) < 4 * float(values.std()) / math.sqrt(200)
    honest(z_scores(estimates, float(values.mean())), most=1.5)


def test_mmd_of_equals_is_zero_within_an_error_that_is_not_too_small():
    """Under p = q the linear term vanishes, but its estimate cannot be negative: the error is somewhat too large."""
    generator = draws(5)
    estimates = [metrics.mmd(gauss(100, 2, generator), gauss(150, 2, generator), bandwidths=[1.3]) for _ in range(400)]
    values = torch.tensor([e.value for e in estimates])
    errors = torch.tensor([e.error for e in estimates])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(400)
    assert 0.9 < float(errors.mean()) / float(values.std()) < 1.4


def test_energy_distance_against_brute_force_and_with_a_true_error():
    x, y = gauss(6, 3, draws(1)), gauss(4, 3, draws(2)) + 1
    brute = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).sum() / 30 - torch.cdist(y, y).sum() / 12
    assert float(metrics.energy_distance(x, y)) == pytest.approx(float(brute), abs=1e-7)
    generator = draws(6)
    estimates = [metrics.energy_distance(gauss(100, 1, generator), gauss(80, 1, generator) + 2) for _ in range(200)]

    def folded(m: float) -> float:  # E|N(m, 2)|
        return 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)

    honest(z_scores(estimates, 2 * folded(2.0) - 2 * folded(0.0)))


def test_wasserstein_of_a_shift_is_the_shift():
    x = gauss(64, 3, draws(1))
    step = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    assert metrics.wasserstein2(x, x[torch.randperm(64, generator=draws(2))] + step) == pytest.approx(5.0)
    sliced = metrics.sliced_wasserstein(x, x + step, projections=4000, generator=draws(3))
    assert abs(sliced.value - 5 / math.sqrt(3)) < 4 * sliced.error
    assert sliced.error < 0.05


def test_sliced_wasserstein_pairs_quantiles_of_unequal_samples():
    """In one dimension every direction gives W₂; of 2 rows against 3 the quantiles meet on (1/3, 1/6, 1/6, 1/3)."""
    x, y = torch.tensor([[1.0], [0.0]]), torch.tensor([[5.0], [2.0], [3.0]])
    squared = 4 / 3 + 9 / 6 + 4 / 6 + 16 / 3
    estimate = metrics.sliced_wasserstein(x, y, projections=3, generator=draws())
    assert estimate.value == pytest.approx(math.sqrt(squared))
    assert estimate.error == pytest.approx(0, abs=1e-9)


def test_sliced_wasserstein_repeats_rows_as_often_as_it_should():
    x, y = gauss(12, 4, draws(1)), gauss(8, 4, draws(2))
    unequal = metrics.sliced_wasserstein(x, y, generator=draws(3))
    repeated = metrics.sliced_wasserstein(x.repeat(2, 1), y.repeat(3, 1), generator=draws(3))
    assert unequal.value == pytest.approx(repeated.value, rel=1e-12)


def test_sliced_wasserstein_error_is_that_of_the_directions():
    x, y = gauss(50, 5, draws(1)), 2 * gauss(40, 5, draws(2)) + torch.arange(5)
    truth = metrics.sliced_wasserstein(x, y, projections=60_000, generator=draws(9))
    estimates = [metrics.sliced_wasserstein(x, y, projections=100, generator=draws(s)) for s in range(200)]
    honest(z_scores(estimates, truth.value))


def test_frechet_distance_of_gaussians():
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 0.0])
    m = torch.tensor([1.0, -2.0, 0.5])
    q, _ = torch.linalg.qr(gauss(3, 3, draws(1)))
    exact = float((m.square() + (a.sqrt() - b.sqrt()).square()).sum())
    turned = [q @ torch.diag(v).double() @ q.T for v in (a, b)]
    zero = torch.zeros(3)
    assert metrics.frechet_gaussian(zero, torch.diag(a), m, torch.diag(b)) == pytest.approx(exact, rel=1e-9)
    assert metrics.frechet_gaussian(zero, turned[0], q @ m.double(), turned[1]) == pytest.approx(exact, rel=1e-9)
    distance = metrics.gaussian_wasserstein2(zero, turned[0], q @ m.double(), turned[1])
    assert distance == pytest.approx(math.sqrt(exact), rel=1e-9)


def test_frechet_distance_is_symmetric_and_knows_matrices_that_do_not_commute():
    """In two dimensions tr (A^½ B A^½)^½ = (tr AB + 2 (det A det B)^½)^½."""
    f, g = gauss(2, 2, draws(1)), gauss(2, 2, draws(2))
    a, b = f @ f.T, g @ g.T
    zero = torch.zeros(2)
    root = torch.sqrt((a @ b).trace() + 2 * torch.sqrt(a.det() * b.det()))
    exact = float(a.trace() + b.trace() - 2 * root)
    assert metrics.frechet_gaussian(zero, a, zero, b) == pytest.approx(exact, rel=1e-9)
    assert metrics.frechet_gaussian(zero, b, zero, a) == pytest.approx(exact, rel=1e-9)


def test_frechet_distance_without_full_rank():
    """Nine rows in 20 dimensions against the same rows moved: the distance is the move and nothing else."""
    x = gauss(9, 20, draws(1))
    step = torch.zeros(20, dtype=torch.float64)
    step[3] = 2.0
    assert float(metrics.frechet_distance(x, x + step, folds=2)) == pytest.approx(4.0, abs=1e-9)


def test_frechet_distance_has_a_true_error():
    generator = draws(7)
    scale = torch.tensor([1.0, 2.0], dtype=torch.float64)
    estimates = [
        metrics.frechet_distance(gauss(300, 2, generator), scale * gauss(400, 2, generator) + 1, folds=10)
        for _ in range(150)
    ]
    values = torch.tensor([e.value for e in estimates])
    assert abs(float(values.mean()) - 3.0) < 4 * float(values.std()) / math.sqrt(150) + 0.02
    honest(z_scores(estimates, float(values.mean())), most=1.5)
