"""Every sampler, every noise, float16 to float32, from one step to a thousand: finite numbers, or an error that says why."""

from dataclasses import replace

import pytest
import torch

from scorefield import laws, models, noises, samplers
from scorefield.errors import DivergedError
from scorefield.exact import Mixture
from scorefield.models import Preconditioned
from scorefield.networks import MLP
from scorefield.samplers import Adaptive, AnnealedLangevin, EulerMaruyama, Sampler
from scorefield.sampling import sample
from scorefield.tensors import Streams

DTYPES = [torch.float16, torch.bfloat16, torch.float32]
NOISES = [kind() for kind in laws.exported(noises, noises.Gaussian)]
SAMPLERS = [kind() for kind in laws.exported(samplers, Sampler)]
ROWS = 4


def mixture(dtype):
    """Two narrow modes: their scores are steep where the noise is gone."""
    return Mixture(
        torch.tensor([1.0, 3.0], dtype=dtype), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], dtype=dtype), 0.01 * torch.eye(2)
    )


def network(dtype, noise, predict):
    """A small network as its initialisation leaves it, with a last layer that is not zero."""
    torch.manual_seed(0)
    net = MLP(2, width=16)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return Preconditioned(net, noise, predict).to(dtype).eval()


def require_finite(sampler, dtype, steps, may_diverge, walk):
    """The walk ends in finite numbers of its dtype; where it may diverge, in the error that says so and not in NaN."""
    try:
        x = walk()
    except DivergedError:
        assert may_diverge or (isinstance(sampler, EulerMaruyama) and steps <= 10), "diverged"
    else:
        assert x.dtype == dtype
        assert x.isfinite().all()


def walk_known(sampler, noise, dtype, steps):
    known = mixture(dtype).denoiser(noise)
    x = noise.prior(torch.empty(ROWS, 2, dtype=dtype), Streams(0, range(ROWS)))
    *_, last = sampler.walk(known, x, sampler.times(known, steps), Streams(1, range(ROWS)))
    return last.x


def sweep(sampler, noise, dtype, counts, predictions):
    for steps in (count for count in counts if count >= sampler.least):
        require_finite(sampler, dtype, steps, False, lambda n=steps: walk_known(sampler, noise, dtype, n))
        for predict in predictions:
            model = network(dtype, noise, predict)
            # These two divide by α, so that a network that has learned nothing may say x̂ = 1000 x.
            wild = predict in (models.epsilon, models.score)
            require_finite(
                sampler, dtype, steps, wild, lambda n=steps, m=model: sample(m, ROWS, sampler=sampler, steps=n)
            )


def light(sampler):
    """The sampler with fewer inner steps."""
    fewer = {AnnealedLangevin: {"steps": 2}, Adaptive: {"tolerance": 0.01}}
    return replace(sampler, **fewer.get(type(sampler), {}))


FLOW = [light(s) for s in SAMPLERS if laws.takes_denoiser(s)]
STATIC = [s for s in SAMPLERS if not laws.takes_denoiser(s)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sampler", FLOW, ids=repr)
def test_few_steps_are_finite(sampler, dtype):
    for noise in NOISES:
        sweep(sampler, noise, dtype, (1, 2, 3, 10), [])
        sweep(sampler, noise, dtype, (4,), [models.velocity])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("sampler", FLOW, ids=repr)
def test_up_to_a_thousand_steps_are_finite(sampler, noise, dtype):
    sweep(sampler, noise, dtype, (1, 2, 3, 4, 10, 100), [models.velocity, models.edm, models.epsilon, models.score])
    sweep(sampler, noise, dtype, (1000,), [models.velocity])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sampler", STATIC, ids=repr)
def test_walks_of_static_scores_are_finite(sampler, dtype):
    wide = Mixture(torch.ones(2, dtype=dtype), torch.tensor([[-1.5, 0.0], [1.5, 0.5]], dtype=dtype), 0.5 * torch.eye(2))
    x = torch.zeros(ROWS, 2, dtype=dtype)
    for steps in (1, 2, 3, 4, 10, 100):
        *_, last = sampler.walk(wide, x, sampler.times(wide, steps), Streams(1, range(ROWS)))
        assert last.x.dtype == dtype
        assert last.x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_walks_where_float32_does(dtype):
    """The same draws: the samples agree to the rounding of the state, whose size is the prior's, not the data's."""
    for noise in (noises.VP(), noises.Cosine()):
        exact, half = (walk_known(samplers.Heun(), noise, d, 20).float() for d in (torch.float32, dtype))
        assert (exact - half).abs().max() < 64 * torch.finfo(dtype).eps
