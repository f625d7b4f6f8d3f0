"""Held-out numbers against expectations known in closed form."""

import math

import pytest
import torch
from torch import nn

from scorefield.errors import DataError
from scorefield.models import Denoiser, Preconditioned, clean, epsilon
from scorefield.noises import EDM, VE, VP, Rectified
from scorefield.objectives import Denoising, Diffusion
from scorefield.tensors import normal
from scorefield.training import HeldOut, level_times
from scorefield.training.loss import streams


class Constant(nn.Module):
    """A network that answers a constant."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x, t=None):
        return self.value.to(x).expand_as(x)


class Ideal(Denoiser):
    """x̂ for x_0 ~ N(0, I): α x_t / (α² + σ²)."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, xt, t, **cond):
        alpha, sigma = self.noise.at(t, xt)
        return alpha * xt / (alpha**2 + sigma**2)


X = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_zero_score_is_its_own_baseline():
    found = HeldOut(X, Diffusion())(Preconditioned(Constant(), VP(), epsilon))
    z = normal(X, streams(0, -1, 0, 500))
    wanted = 0.5 * z.square().sum(1).mean().item()
    assert list(found.zero.values()) == pytest.approx([wanted] * 8, rel=1e-12)
    assert list(found.levels.values()) == pytest.approx([wanted] * 8, rel=1e-6)
    assert found.fisher == {}


def test_a_clean_prediction_of_zero_by_hand():
    """x̂ = 0: ε̂ − z = α x / σ."""
    noise = VE(0.1, 10.0)
    found = HeldOut(X, Diffusion())(Preconditioned(Constant().double(), noise, clean))
    for level, loss in found.levels.items():
        assert loss == pytest.approx(0.5 * X.square().sum(1).mean().item() / level**2, rel=1e-9)


@pytest.mark.parametrize("noise", [VP(), VE(), EDM(), Rectified()], ids=lambda noise: type(noise).__name__)
def test_the_ideal_denoiser_reaches_the_posterior_variance(noise):
    """Var[z | x_t] = α²/(α² + σ²) per coordinate, hence the loss d/2 · 1/(1 + (σ/α)²)."""
    found = HeldOut(X, Diffusion())(Ideal(noise))
    assert len(found.levels) == 8
    for level, loss in found.levels.items():
        expected = 1.5 / (1 + level**2)
        error = expected * math.sqrt(2 / 3 / 500)  # ½χ²_3 scaled: sd/mean = √(2/3)
        assert abs(loss - expected) < 4.5 * error


def test_the_fisher_divergence_is_half_the_squared_distance_of_the_scores():
    noise = VP()
    ideal = Ideal(noise)

    def truth(xt, t):
        alpha, sigma = noise.at(t, xt)
        return -xt / (alpha**2 + sigma**2)

    assert max(HeldOut(X, Diffusion(), truth=truth)(ideal).fisher.values()) < 1e-12
    off = HeldOut(X, Diffusion(), truth=lambda xt, t: truth(xt, t) + torch.tensor([1.0, 2.0, 0.0]))(ideal)
    assert list(off.fisher.values()) == pytest.approx([2.5] * 8, rel=1e-6)


def test_models_without_noise_have_one_level():
    score = Constant(1.0).double()
    found = HeldOut(X, Denoising(0.5), truth=lambda x: -x)(score)
    z = normal(X, streams(0, -1, 0, 500))
    assert found.loss == pytest.approx(0.5 * (1 + 2 * z).square().sum(1).mean().item(), rel=1e-12)
    assert found.levels == {0.0: found.loss}
    assert found.fisher == {0.0: pytest.approx(0.5 * (1 + X).square().sum(1).mean().item(), rel=1e-12)}


def test_the_objective_is_measured_with_fixed_draws():
    model = Ideal(VP())
    wanted = Diffusion()(model, X, streams(0, -1, 0, 500)).mean().item()
    measure = HeldOut(X, Diffusion())
    assert measure(model).loss == pytest.approx(wanted, rel=1e-12)
    assert measure(model) == measure(model)
    assert HeldOut(X, Diffusion(), seed=1)(model).loss != measure(model).loss


def test_rows_are_spread_over_the_data_and_conditions_go_with_them():
    x = torch.arange(2000.0, dtype=torch.float64)[:, None]

    def losses(model, x, generator=None, *, label):
        assert torch.equal(x, label[:, None])
        return x[:, 0]

    model = nn.Linear(1, 1).double()
    found = HeldOut({"x": x, "label": x[:, 0]}, losses)(model)
    assert found.loss == pytest.approx(999.5, abs=0.5)


def test_the_mode_is_put_back():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout()).double()
    modes = []

    def losses(model, x, generator=None):
        modes.append(model.training)
        return x[:, 0]

    HeldOut(X, losses)(model)
    assert not any(modes)
    assert model.training


def test_too_little_or_broken_data_are_refused():
    with pytest.raises(DataError, match="at least two rows"):
        HeldOut(X[:1], Denoising())
    with pytest.raises(DataError, match="finite"):
        HeldOut(X / 0, Denoising())


@pytest.mark.parametrize("noise", [VP(), VE(), EDM(0.5), EDM(1e4), Rectified()], ids=str)
def test_levels_are_geometric_and_within_reach(noise):
    levels = torch.stack([noise.ratio(t) for t in level_times(noise)])
    ratios = levels[1:] / levels[:-1]
    assert torch.allclose(ratios, ratios[:1].expand_as(ratios), rtol=1e-6)
    top = float(noise.ratio(torch.ones((), dtype=torch.float64)))
    assert float(levels[-1]) == pytest.approx(min(100.0, top), rel=1e-9)
    assert float(levels[0]) == pytest.approx(min(0.01, top / 1000), rel=1e-6)
