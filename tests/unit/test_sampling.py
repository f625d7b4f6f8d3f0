"""Samples of distributions whose answers are known."""

import math

import pytest
import torch
from torch import nn

from scorefield import grids, sample, walk
from scorefield.errors import DivergedError, RangeError, RowsError, ShapeError
from scorefield.exact import Gaussian, Mixture
from scorefield.models import Denoiser, Energy, Preconditioned, Tangent, clean
from scorefield.noises import VE, VP
from scorefield.samplers import MALA, Ancestral, AnnealedLangevin, Heun, Langevin, Multistep, PredictorCorrector
from scorefield.spaces import Sphere
from scorefield.tensors import Streams

D = {"dtype": torch.float64}
MIX = Mixture(torch.tensor([1.0, 3.0], **D), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], **D), 0.2 * torch.eye(2, **D))
SAMPLERS = [Ancestral(), Ancestral(0.0), Heun(), Multistep(), PredictorCorrector(), AnnealedLangevin()]


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("noise", [VP(), VE(0.01, 20.0)], ids=repr)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_samples_have_the_moments_of_a_mixture(sampler, noise):
    n = 4000
    x = sample(MIX.denoiser(noise), n, sampler=sampler, steps=100)
    y = MIX.sample(n, Streams(7, range(n)))
    bias = 0.04 if isinstance(sampler, AnnealedLangevin) else 0.02  # order-0 samplers keep ε/2 of σ², others O(1/steps)
    for f in (lambda v: v, lambda v: v**2, lambda v: (v[:, :1] > 0).double()):
        error = ((f(x).var(0) + f(y).var(0)) / n).sqrt()
        assert ((f(x).mean(0) - f(y).mean(0)).abs() < 5 * error + bias).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_sample_i_is_the_same_whatever_the_chunk_and_number(sampler):
    known = MIX.denoiser(VP())
    whole = sample(known, 7, sampler=sampler, steps=8, seed=3)
    for chunk in (1, 3):
        torch.testing.assert_close(sample(known, 7, sampler=sampler, steps=8, seed=3, chunk=chunk), whole)
    torch.testing.assert_close(sample(known, 4, sampler=sampler, steps=8, seed=3), whole[:4])
    *_, last = walk(known, 2, sampler=sampler, steps=8, seed=3, first=5)
    torch.testing.assert_close(last.x, whole[5:7])
    assert not torch.allclose(sample(known, 7, sampler=sampler, steps=8, seed=4), whole)


def test_a_walk_previews_the_clean_estimate():
    states = list(walk(MIX.denoiser(VP()), 3, steps=5))
    assert states[0].denoised is None
    torch.testing.assert_close(states[1].denoised, MIX.denoiser(VP())(states[0].x, states[0].t))
    torch.testing.assert_close(states[-1].x, states[-1].denoised)


def test_a_static_score_is_walked_by_langevin():
    target = Gaussian(torch.tensor([1.0, -1.0]), torch.tensor([[0.5, 0.2], [0.2, 0.3]]))
    n = 4000
    for sampler in (Langevin(0.02), MALA(0.2)):
        x = sample(target, n, sampler=sampler, steps=400, shape=(2,))
        assert ((x.mean(0) - target.mean).abs() < 5 * (0.5 / n) ** 0.5).all()
        bias = 0.03 if isinstance(sampler, Langevin) else 0.0  # unadjusted: relative size h/(2·variance)
        spread = 5 * math.sqrt(2 / n) * target.covariance.diagonal() + bias
        assert ((x.var(0) - target.covariance.diagonal()).abs() < spread).all()


def test_a_score_on_the_sphere_is_walked_along_geodesics():
    kappa, n = 5.0, 4000
    pull = Tangent(lambda x: kappa * torch.tensor([0.0, 0.0, 1.0]).expand_as(x), Sphere())
    x = sample(pull, n, sampler=Langevin(0.02, Sphere()), steps=300, shape=(3,))
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(n))
    wanted = 1 / math.tanh(kappa) - 1 / kappa  # mean of the von Mises–Fisher distribution on S²
    assert abs(float(x[:, 2].mean()) - wanted) < 5 * float(x[:, 2].std()) / math.sqrt(n) + 0.01
    assert (x[:, :2].mean(0).abs() < 5 * x[:, :2].std(0) / math.sqrt(n)).all()


class Exploding(Denoiser):
    noise = VP()

    def forward(self, xt, t, **cond):
        return 40 * xt


def test_a_diverging_walk_stops_with_step_and_noise_level():
    with pytest.raises(DivergedError, match=r"at step \d+, from t = .*sigma/alpha = .*more or smaller steps"):
        sample(Exploding(), 4, shape=(2,), steps=50)
    steep = Gaussian(torch.zeros(2), 0.01 * torch.eye(2))
    with pytest.raises(DivergedError, match="a static score"):
        sample(steep, 4, sampler=Langevin(0.1), steps=100)


def test_a_network_that_mixes_rows_is_refused():
    mixing = Preconditioned(nn.BatchNorm1d(2), VP(), clean)
    mixing.network.forward = lambda x, t, f=mixing.network.forward: f(x)  # type: ignore[method-assign]
    with pytest.raises(RowsError, match=r"'network' is BatchNorm1d in training mode.*GroupNorm"):
        sample(mixing, 8, shape=(2,))
    assert sample(mixing.eval(), 8, shape=(2,)).shape == (8, 2)
    with pytest.raises(RowsError, match="row 0 changes by"):
        sample(Preconditioned(lambda x, t: x / (1 + x.norm()), VP(), clean), 8, shape=(2,))


def test_bad_calls_say_what_is_wanted():
    known = MIX.denoiser(VP())
    with pytest.raises(RangeError, match="n must be at least 1"):
        sample(known, 0)
    with pytest.raises(ShapeError, match="pass shape="):
        sample(Preconditioned(lambda x, t: x, VP()), 3)
    with pytest.raises(ShapeError, match="keep the shape"):
        sample(Preconditioned(lambda x, t: x[:, :1], VP()), 3, shape=(2,))
    with pytest.raises(ShapeError, match="has no noise"):
        sample(MIX, 3, sampler=Heun())
    with pytest.raises(ShapeError, match="no energy"):
        sample(lambda x: -x, 3, sampler=MALA(), shape=(2,))
    with pytest.raises(RangeError, match="must descend"):
        sample(known, 3, times=torch.tensor([0.0, 1.0]))
    with pytest.raises(RangeError, match="steps must be at least 1"):
        sample(known, 3, steps=0)
    with pytest.raises(RangeError, match="steps must be at least 1"):
        sample(MIX, 3, steps=0)
    for make in (
        lambda: Ancestral(1.5),
        lambda: Langevin(0.0),
        lambda: MALA(-1.0),
        lambda: AnnealedLangevin(0),
        lambda: AnnealedLangevin(size=2.0),
        lambda: PredictorCorrector(steps=0),
        lambda: PredictorCorrector(snr=0.9),
    ):
        with pytest.raises(RangeError):
            make()


def test_a_given_grid_is_walked():
    times = grids.even(VP(), 12)
    assert [float(state.t) for state in walk(MIX.denoiser(VP()), 1, times=times)] == times.tolist()


def test_energies_know_their_height():
    well = Energy(lambda x: 0.5 * x**2)
    x = torch.tensor([[1.0, 2.0]])
    assert float(well.energy(x)) == 2.5
    torch.testing.assert_close(well(x), -x)
