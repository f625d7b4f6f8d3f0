"""Heaps far apart: told wherever a kernel is fitted, in every direction, and not told of laws with one mode or of rings."""

import math

import numpy as np
import pytest
import torch

from scorefield.closed import IMQ, RBF, CurlFree, Diagonal, KernelExponentialFamily, KernelScore, NuMethod, Nystrom
from scorefield.closed.dip import _rise, _two_means, apart, two_heaps
from scorefield.errors import DataError
from scorefield.estimators import KernelExponentialFamily as Estimator
from scorefield.estimators import densities
from scorefield.exact import Gaussian

D = {"dtype": torch.float64}


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **D)


def even(n, d, seed):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed), **D)


def heaps(n, d, seed, m=4.0, share=0.5, wide=1.0):
    """share N(−m, 1) + (1 − share) N(m, 1) along one axis, N(0, wide²) along the others, turned."""
    x = gaussian(n, d, seed) * torch.tensor([1.0] + (d - 1) * [wide], **D)
    x[:, 0] += torch.where(even(n, 1, seed + 500)[:, 0] < share, -m, m)
    return x @ torch.linalg.qr(gaussian(d, d, 7)).Q


def ring(n, d, seed):
    """Two columns: radius 5, width 0.2."""
    angle = 2 * math.pi * even(n, 1, seed)
    return torch.cat([angle.cos(), angle.sin()], 1) * (5 + 0.2 * gaussian(n, 1, seed + 500))


ONE_MODE = {
    "normal": gaussian,
    "uniform": even,
    "exponential": lambda n, d, seed: -even(n, d, seed).log(),
    "Student, 3": lambda n, d, seed: gaussian(n, d, seed) / gaussian(n, 3, seed + 500).square().mean(1, True).sqrt(),
    "log-normal": lambda n, d, seed: gaussian(n, d, seed).exp(),
    "long": lambda n, d, seed: gaussian(n, d, seed) * torch.logspace(0, 2, d, **D),
    "close modes": lambda n, d, seed: heaps(n, d, seed, m=1.3),
}


@pytest.mark.parametrize("shape", [(100, 1), (100, 3)], ids=str)
@pytest.mark.parametrize("name", list(ONE_MODE))
def test_one_mode_raises_no_alarm(name, shape):
    assert sum(apart(ONE_MODE[name](*shape, seed)) is not None for seed in range(20)) <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"n": 200, "d": 1},
        {"n": 200, "d": 1, "share": 0.3, "m": 3.5},
        {"n": 300, "d": 5, "wide": 10.0},
        {"n": 300, "d": 20, "wide": 3.0},
        {"n": 1500, "d": 2, "share": 0.1},
    ],
    ids=str,
)
def test_heaps_eight_deviations_apart_are_told_along_any_axis(given):
    assert all(apart(heaps(seed=seed, **given)) is not None for seed in range(4))


def test_one_axis_would_miss_heaps_that_lie_along_a_narrow_one():
    x = heaps(300, 5, 0, wide=10.0)
    away = x - x.mean(0)
    assert _rise(away @ torch.linalg.eigh(away.T @ away)[1][:, -1]) < 1 < two_heaps(x)


def test_rows_that_chose_an_axis_would_be_more_of_two_heaps_on_it():
    own, fresh = [], []
    for seed in range(20):
        x, y = gaussian(40, 20, seed), gaussian(40, 20, seed + 500)
        low, high = _two_means(x)
        own.append(_rise(x @ (high - low)))
        fresh.append(_rise(y @ (high - low)))
    assert sum(own) / 20 > 1.3 * sum(fresh) / 20
    assert max(fresh) < 1 < max(own)


def test_a_ring_has_two_heaps_along_each_axis_and_is_in_one_piece():
    assert two_heaps(ring(1000, 2, 0)) > 1
    assert all(apart(ring(400, 2, seed)) is None for seed in range(10))


@pytest.mark.parametrize("centres", [2.0, 5.0])
def test_two_means_are_those_of_the_clusters(centres):
    x = torch.cat([0.1 * gaussian(30, 2, 0) - centres, 0.1 * gaussian(50, 2, 1) + centres])
    found = _two_means(x)
    assert torch.allclose(found[found[:, 0].argsort()], torch.stack([x[:30].mean(0), x[30:].mean(0)]))


FITS = {
    "family": KernelExponentialFamily(basis=Nystrom(30), multiples=(1.0,)).fit,
    "curl-free field": KernelScore(CurlFree(IMQ(2.0)), NuMethod(2)).fit,
    "diagonal field": KernelScore(Diagonal(RBF(2.0)), NuMethod(2)).fit,
}


@pytest.mark.parametrize("name", list(FITS))
def test_kernels_say_that_weights_of_heaps_are_hardly_seen(name):
    apart_, one = FITS[name](heaps(150, 2, 0)), FITS[name](gaussian(150, 2, 0))
    assert "two heaps far apart" in apart_.notes[0]
    assert "! the rows form two heaps" in str(apart_)
    assert one.notes == ()
    assert "!" not in str(one)


def test_a_normalised_density_keeps_its_notes():
    found = FITS["family"](heaps(150, 1, 0))
    assert found.normalised(20_000, generator=torch.Generator().manual_seed(0)).notes == found.notes != ()


def test_the_estimator_has_them_too():
    x = heaps(150, 2, 0).numpy() * np.array([1.0, 100.0])
    assert "heaps far apart" in Estimator(bandwidth=1.0).fit(x).notes_[0]
    assert Estimator(bandwidth=1.0).fit(gaussian(150, 2, 0).numpy()).notes_ == ()


def test_the_weight_of_such_a_heap_is_indeed_not_seen():
    """At the same number of rows: half a standard deviation off the binomial one when close, many when far."""
    off = []
    for m in (1.5, 4.0):
        misses = []
        for seed in range(3):
            x = heaps(500, 1, seed, m=m, share=0.3)
            found = KernelExponentialFamily(basis=Nystrom(60)).fit(x)
            at = torch.linspace(-12, 12, 2001, **D)[:, None]
            mass = (-found.energy(at)).softmax(0)
            left = (x < 0) if float(x[:, 0].median()) > 0 else (x > 0)
            side = (at < 0) if float(x[:, 0].median()) > 0 else (at > 0)
            misses.append(float(mass[side[:, 0]].sum()) - float(left.double().mean()))
        off.append(math.sqrt(sum(miss**2 for miss in misses) / len(misses)) / math.sqrt(0.3 * 0.7 / 500))
    assert off[0] < 2 < off[1]


def test_a_normaliser_out_of_reach_says_what_helps(monkeypatch):
    monkeypatch.setattr(densities, "_EFFORTS", ((100, 1), (50, 2)))
    far, near = (Gaussian(torch.full((2,), m, **D), v * torch.eye(2, **D)) for m, v in ((40.0, 0.01), (0.0, 1.0)))
    with pytest.raises(
        DataError, match=r"50 walks over 2 levels .* of 50 walks carry .* larger penalty or fewer columns"
    ):
        densities.FromEnergy(far, near, seed=0).log_density(torch.zeros(1, 2, **D))


@pytest.mark.slow
def test_rates_over_many_samples():
    alarms = [
        apart(law(n, d, seed)) is not None
        for law in ONE_MODE.values()
        for n, d in ((50, 2), (200, 8), (400, 4))
        for seed in range(100)
    ]
    missed = [apart(heaps(200, d, seed, m=3.5)) is None for d in (1, 2, 4) for seed in range(100)]
    assert sum(alarms) <= 0.05 * len(alarms)
    assert sum(missed) <= 0.02 * len(missed)
