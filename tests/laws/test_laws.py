"""Every exported object is under the law of its kind, found by itself: adding one adds its test."""

import math
import re
from functools import partial

import pytest
import torch

from scorefield import calculus, grids, laws, models, networks, noises, objectives, samplers, spaces
from scorefield.calculus import Divergence, Exact, Hutchinson, gaussian, orthogonal
from scorefield.exact import Empirical, Gaussian, Mixture
from scorefield.objectives import Objective, Times, weights
from scorefield.samplers import Sampler
from scorefield.spaces import Space


def name(thing):
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", repr(thing))


def every(module, kind):
    return [cls() for cls in laws.exported(module, kind)]


SPACES = every(spaces, Space)
NOISES = every(noises, noises.Noise)
GRIDS = [grids.even, grids.karras, grids.logsnr]
LONG = samplers.AnnealedLangevin()
SAMPLERS = [each if each != LONG else samplers.AnnealedLangevin(5) for each in every(samplers, Sampler)]
SAMPLERS += [samplers.Ancestral(0.0), samplers.Ancestral(0.5)]
FAMILY = [
    *(samplers.Multistep(points, spread) for points in (1, 2, 3, 4) for spread in (0.0, 0.7, math.inf)),
    *(samplers.Multistep(points, 0.0, eta) for points in (1, 2) for eta in (0.5, 1.0)),
    samplers.Multistep(2, 1.0, 1.0),
    *(samplers.Corrected(points, spread) for points in (2, 4) for spread in (0.0, math.inf)),
]
DIVERGENCES = [type(d)(space=s) for d in every(calculus, Divergence) for s in SPACES]
PREDICTIONS = [
    models.epsilon,
    models.clean,
    models.velocity,
    models.score,
    models.edm,
    partial(models.edm, data_std=0.5),
]


@pytest.mark.parametrize("space", SPACES, ids=name)
def test_space(space):
    laws.check(space)


@pytest.mark.parametrize("noise", NOISES, ids=name)
def test_noise(noise):
    laws.check(noise)


@pytest.mark.parametrize(
    "divergence",
    [*DIVERGENCES, Hutchinson(2, orthogonal), Hutchinson(5, orthogonal), Hutchinson(3, gaussian)],
    ids=name,
)
def test_divergence(divergence):
    laws.check(divergence)


@pytest.mark.parametrize("objective", every(objectives, Objective), ids=name)
def test_objective(objective):
    laws.check(objective)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=name)
def test_implicit_score_matching_on_every_space_with_every_divergence(divergence):
    laws.check(objectives.Implicit(divergence))


@pytest.mark.parametrize("times", every(objectives, Times), ids=name)
@pytest.mark.parametrize("weight", [weights.simple, weights.likelihood, weights.min_snr, weights.edm])
def test_diffusion_with_every_choice_of_times_and_weight(times, weight):
    laws.check(objectives.Diffusion(times, weight))


@pytest.mark.parametrize(
    "inner", [objectives.Sliced(2), objectives.Implicit(Exact()), objectives.Implicit(Hutchinson())], ids=name
)
def test_across_noise(inner):
    laws.check(objectives.AcrossNoise(inner))


@pytest.mark.parametrize("predict", PREDICTIONS, ids=lambda p: getattr(p, "__name__", "edm at 0.5"))
@pytest.mark.parametrize("noise", NOISES, ids=name)
def test_preconditioned(noise, predict):
    torch.manual_seed(0)
    network = networks.MLP(2, width=16)
    for parameter in network.parameters():  # away from the zero that the last layer starts at
        torch.nn.init.normal_(parameter, std=0.2)
    laws.check(models.Preconditioned(network.double(), noise, predict).double())


@pytest.mark.parametrize(
    "density",
    [
        Gaussian(torch.zeros(2).double(), torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double()),
        Mixture(
            torch.ones(3).double(),
            torch.randn(3, 2, generator=torch.Generator().manual_seed(1)).double(),
            torch.eye(2).double(),
        ),
        Empirical(torch.randn(6, 2, generator=torch.Generator().manual_seed(2)).double()),
    ],
    ids=lambda d: type(d).__name__,
)
@pytest.mark.parametrize("noise", NOISES, ids=name)
def test_exact_denoisers(density, noise):
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(3)).double()
    laws.denoiser(density.denoiser(noise), x)


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if not laws.takes_denoiser(s)], ids=name)
def test_samplers_of_static_scores(sampler):
    laws.check(sampler)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.__name__)
@pytest.mark.parametrize("noise", NOISES, ids=name)
@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if laws.takes_denoiser(s)], ids=name)
def test_samplers_have_their_order_on_every_noise_and_grid(sampler, noise, grid):
    laws.sampler(sampler, noise, grid)


@pytest.mark.parametrize("sampler", FAMILY, ids=name)
def test_every_member_of_the_multistep_family_has_its_order(sampler):
    laws.sampler(sampler, noises.Rectified())


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.__name__)
@pytest.mark.parametrize("noise", NOISES, ids=name)
def test_grids_descend_from_one_to_zero_in_float64(noise, grid):
    times = grid(noise, 17)
    assert times.dtype == torch.float64
    assert len(times) == 18
    assert times[0] == 1
    assert times[-1] == 0
    assert (times.diff() < 0).all()
    assert float(noise.ratio(times[-2])) == pytest.approx(2e-3, rel=1e-6)


def test_what_has_no_law_is_refused():
    with pytest.raises(TypeError, match="no law for int"):
        laws.check(3)
