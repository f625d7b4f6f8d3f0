"""Two samples, copies, coverage: each test sees what it is for, and is calibrated where there is nothing to see."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from scorefield import metrics
from scorefield.errors import DataError, RangeError, ShapeError
from scorefield.metrics.two_sample import _binomial_tail


def gauss(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Sign:
    """Calls a row 1 if its first coordinate exceeds the threshold; learns nothing."""

    def __init__(self, threshold: float):
        self.threshold = threshold

    def fit(self, x, labels):
        return self

    def predict(self, x):
        return (x[:, 0] > self.threshold).astype(int)


class Likelier:
    """Calls every row by the sign of the difference of the means of its training rows."""

    def fit(self, x, labels):
        self.axis = x[labels == 1].mean(0) - x[labels == 0].mean(0)
        self.middle = (x[labels == 1].mean(0) + x[labels == 0].mean(0)) / 2
        return self

    def predict(self, x):
        return ((x - self.middle) @ self.axis > 0).astype(int)


def test_binomial_tail_is_that_of_the_binomial():
    for right, total in ((0, 10), (7, 10), (10, 10), (560, 1000)):
        assert _binomial_tail(right, total) == pytest.approx(stats.binom.sf(right - 1, total, 0.5), rel=1e-9)


def test_two_sample_counts_what_is_right_on_rows_not_seen():
    x, y = torch.tensor([[-1.0], [-1.0], [2.0], [-3.0]]), torch.tensor([[1.0], [5.0], [2.0], [-1.0]])
    found = metrics.two_sample(x, y, classifier=Sign(0.0), folds=2)
    assert found.accuracy == 6 / 8
    assert found.error == pytest.approx(math.sqrt(0.75 * 0.25 / 8))
    assert found.p_value == pytest.approx((28 + 8 + 1) / 256)


def test_two_sample_balances_unequal_sizes():
    """Of 1,000 against 50 rows, a classifier that always says x would be right 95 % of the time; here it is half."""
    found = metrics.two_sample(gauss(1000, 2, 0), gauss(50, 2, 1), classifier=Sign(math.inf))
    assert found.accuracy == 0.5
    assert found.error == pytest.approx(0.5 / math.sqrt(100))


def test_two_sample_reaches_the_bayes_accuracy():
    """N(0, 1) against N(2, 1): Φ(1) = 0.841 at best."""
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    x, y = gauss(1500, 1, 2), gauss(1500, 1, 3) + 2
    for classifier in (Likelier(), None):
        found = metrics.two_sample(x, y, classifier=classifier)
        assert abs(found.accuracy - best) < 4 * found.error
        assert found.p_value < 1e-100


def test_two_sample_p_values_are_uniform_when_nothing_differs():
    p = [metrics.two_sample(gauss(60, 2, 2 * s), gauss(60, 2, 2 * s + 1), seed=s).p_value for s in range(100)]
    assert stats.binomtest(sum(v < 0.1 for v in p), 100, 0.1).pvalue > 1e-3
    assert stats.binomtest(sum(v < 0.5 for v in p), 100, 0.5).pvalue > 1e-3


def test_two_sample_permutations_rank_the_accuracy():
    x, y = gauss(40, 2, 0), gauss(40, 2, 1)
    assert metrics.two_sample(x, y + 3, classifier=Likelier(), permutations=39).p_value == 1 / 40
    p = [
        metrics.two_sample(gauss(20, 2, 2 * s), gauss(20, 2, 2 * s + 1), classifier=Likelier(), permutations=19).p_value
        for s in range(100)
    ]
    assert stats.binomtest(sum(v <= 0.2 for v in p), 100, 0.2).pvalue > 1e-3


def test_two_sample_refuses():
    with pytest.raises(RangeError, match="folds"):
        metrics.two_sample(gauss(4, 1, 0), gauss(4, 1, 1), folds=5)


def test_copies_are_found_and_only_those():
    train, fresh, held_out = gauss(400, 6, 0), gauss(60, 6, 1), gauss(300, 6, 2)
    samples = torch.cat([train[100:140] + 1e-3, fresh])
    found = metrics.copies(samples, train, held_out)
    assert torch.equal(found.nearest[:40], torch.arange(100, 140))
    assert float(found.ratios[:40].max()) < 0.01
    noise = math.sqrt(0.25 / 60) * 4
    assert abs(found.fraction - (0.4 + 0.6 * found.baseline)) < noise
    distance = torch.cdist(samples, train).sort(1).values[:, :50]
    torch.testing.assert_close(found.ratios, distance[:, 0] / distance.mean(1), rtol=1e-9, atol=1e-9)
    reference = torch.cdist(held_out, train).sort(1).values[:, :50]
    assert found.baseline == float((reference[:, 0] / reference.mean(1) < 0.5).double().mean())
    assert 0 < found.baseline < 0.5


def test_copying_z_is_mann_whitney_and_standard_when_nothing_is_copied():
    train = gauss(50, 2, 0)
    z = torch.tensor([metrics.copying_z(gauss(40, 2, 2 * s + 1), train, gauss(60, 2, 2 * s + 2)) for s in range(300)])
    assert abs(float(z.mean())) < 4 / math.sqrt(300)
    assert abs(float(z.std()) - 1) < 4 / math.sqrt(600)
    samples, held_out = gauss(40, 2, 1), gauss(60, 2, 2)
    nearest = [torch.cdist(s, train).min(1).values.numpy() for s in (samples, held_out)]
    u = stats.mannwhitneyu(*nearest).statistic
    assert metrics.copying_z(samples, train, held_out) == pytest.approx((u - 1200) / math.sqrt(2400 * 101 / 12))


def test_ties_count_half():
    train = torch.zeros(3, 1)
    assert metrics.copying_z(torch.ones(4, 1), train, torch.ones(5, 1)) == 0


def test_copies_refuse():
    x = gauss(60, 2, 0)
    with pytest.raises(RangeError, match="threshold=0"):
        metrics.copies(x, x, x, threshold=0.0)
    with pytest.raises(RangeError, match="neighbours=1"):
        metrics.copies(x, x, x, neighbours=1)


def test_coverage_and_density_are_their_definitions():
    real, samples = gauss(30, 2, 0), gauss(20, 2, 1) + 0.5
    among = torch.cdist(real, real).sort(1).values[:, 3]
    inside = torch.cdist(real, samples) <= among[:, None]
    found = metrics.coverage(samples, real, neighbours=3)
    assert found.density == pytest.approx(float(inside.sum()) / 60)
    assert found.coverage == pytest.approx(float(inside.any(1).double().mean()))


def test_coverage_of_fresh_data_is_the_expected_one():
    found = [metrics.coverage(gauss(40, 3, 2 * s), gauss(60, 3, 2 * s + 1), neighbours=2) for s in range(200)]
    for values, truth in (([f.coverage for f in found], found[0].expected), ([f.density for f in found], 1.0)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / math.sqrt(200)
    assert found[0].expected == pytest.approx(1 - (59 / 99) * (58 / 98))


def test_coverage_sees_a_dropped_mode_that_density_does_not():
    modes = torch.tensor([[0.0], [100.0]], dtype=torch.float64)
    real = torch.cat([gauss(300, 1, 0) + modes[0], gauss(100, 1, 1) + modes[1]])
    found = metrics.coverage(gauss(400, 1, 2), real)
    assert found.coverage == pytest.approx(0.75, abs=0.02)
    assert found.density > 0.9
    with pytest.raises(RangeError, match="neighbours"):
        metrics.expected_coverage(10, 5, 5)


def test_entropy_in_nats():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 3)
    assert metrics.entropy(labels, 4) == pytest.approx(stats.entropy([6, 3, 3]))
    assert metrics.entropy_ratio(labels, 4) == pytest.approx(stats.entropy([6, 3, 3]) / math.log(4))
    assert metrics.entropy_ratio(torch.arange(10), 10) == pytest.approx(1)
    for labels, classes in ((torch.tensor([0, 4]), 4), (torch.tensor([-1]), 4), (torch.tensor([0]), 1)):
        with pytest.raises(RangeError, match="labels from 0"):
            metrics.entropy(labels, classes)


def test_judge_refuses():
    x, labels = torch.zeros(30, 1, 8, 8), torch.arange(30) % 3
    with pytest.raises(ShapeError, match="height, width"):
        metrics.Judge().features(torch.zeros(3, 3, 8, 8))
    with pytest.raises(DataError, match="each with a class"):
        metrics.Judge.fit(x, labels, classes=2)
    with pytest.raises(RangeError, match="steps=0"):
        metrics.Judge.fit(x, labels, classes=3, steps=0)
