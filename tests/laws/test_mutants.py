"""Wrong objects, each of which its law must refuse: the tests are tested."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from scorefield import laws
from scorefield.calculus import Difference, Divergence, Exact, Hutchinson, independent
from scorefield.errors import LawError
from scorefield.models import Denoiser, Preconditioned, Score, clean
from scorefield.noises import EDM, VE, VP, Gaussian
from scorefield.objectives import AcrossNoise, Denoising, Diffusion, Implicit, LogNormal, Sliced
from scorefield.samplers import MALA, Ancestral, Heun, Langevin, Multistep, Sampler
from scorefield.samplers.flow import drift, ends
from scorefield.spaces import Euclidean, Sphere, Torus
from scorefield.tensors import normal, sum_event

# ------------------------------------------------------------------------------------------------ objectives


@dataclass(frozen=True)
class FlippedSign(Denoising):
    def __call__(self, model: Score, x, generator=None, **cond):
        z = normal(x, generator)
        return 0.5 * sum_event((model(x + self.sigma * z) - z / self.sigma) ** 2)


@dataclass(frozen=True)
class MissingHalf(Implicit):
    def __call__(self, model: Score, x, generator=None, **cond):
        s, div = self.divergence(model, x, generator)
        return sum_event(s**2) + div


@dataclass(frozen=True)
class MissingHalfDenoising(Denoising):
    def __call__(self, model: Score, x, generator=None, **cond):
        return 2 * super().__call__(model, x, generator)


@dataclass(frozen=True)
class MeanOverDimensions(Denoising):
    def __call__(self, model: Score, x, generator=None, **cond):
        return super().__call__(model, x, generator) / x[0].numel()


@dataclass(frozen=True)
class MeanOverBatch(Sliced):
    def __call__(self, model: Score, x, generator=None, **cond):
        return super().__call__(model, x, generator).mean().expand(len(x))


@dataclass(frozen=True)
class GlobalRandomness(Denoising):
    def __call__(self, model: Score, x, generator=None, **cond):
        z = torch.randn_like(x)
        return 0.5 * sum_event((model(x + self.sigma * z) + z / self.sigma) ** 2)


@dataclass(frozen=True)
class ForgottenSigma(Denoising):
    def __call__(self, model: Score, x, generator=None, **cond):
        z = normal(x, generator)
        return 0.5 * sum_event((model(x + self.sigma * z) + z) ** 2)


@dataclass(frozen=True)
class WrongNoiseLevel(Diffusion):
    def at(self, t, model: Denoiser, x, generator=None, **cond):
        alpha, sigma = model.noise.at(t, x)
        return (
            0.5
            * self.weight(model.noise, t)
            * sum_event((model(alpha * x + 1.2 * sigma * normal(x, generator), t) - x) ** 2)
        )

    def __call__(self, model: Denoiser, x, generator=None, **cond):
        return super().__call__(model, x, generator, **cond)


@dataclass(frozen=True)
class HalfBroadcastTime(Diffusion):
    def __call__(self, model: Denoiser, x, generator=None, **cond):
        t, _ = self.times(model.noise, x, generator)
        return self.at(t[:1].expand(len(t)), model, x, generator)


@dataclass(frozen=True)
class OneProbeSquaredNorm(Sliced):
    def __call__(self, model: Score, x, generator=None, **cond):
        s, div = Hutchinson()(model, x, generator)
        return 0.5 * sum_event(s**2) / x[0].numel() + div


@dataclass(frozen=True)
class VarianceForgotten(AcrossNoise):
    def __call__(self, model: Denoiser, x, generator=None, **cond):
        t, _ = self.times(model.noise, x, generator)
        alpha, sigma = model.noise.at(t, x)
        xt = alpha * x + sigma * normal(x, generator)
        return self.objective(lambda y: model.score(y, t), xt, generator)


# ----------------------------------------------------------------------------------------------- divergences


@dataclass(frozen=True)
class TraceOverDimension(Divergence):
    space: Euclidean = field(default_factory=Euclidean)

    def __call__(self, f, x, generator=None):
        value, div = Exact()(f, x)
        return value, div / x.shape[-1]


@dataclass(frozen=True)
class AmbientOnSphere(Divergence):
    space: Sphere = field(default_factory=Sphere)

    def __call__(self, f, x, generator=None):
        return Exact(Euclidean())(lambda y: f(y), x)


@dataclass(frozen=True)
class OneSidedDifference(Difference):
    def __call__(self, f, x, generator=None):
        (v,) = independent(x, 1, generator)
        return f(x), sum_event(v * (f(x + self.step * v) - f(x))) / self.step


@dataclass(frozen=True)
class UnnormalisedProbes(Divergence):
    space: Euclidean = field(default_factory=Euclidean)

    def __call__(self, f, x, generator=None):
        value, div = Hutchinson(3)(f, x, generator)
        return value, 3 * div


# ---------------------------------------------------------------------------------------------------- spaces


class ForwardOnly(Torus):
    def log(self, x, y):
        return torch.remainder(y - x, 2 * torch.pi) * 1.01


class Backward(Sphere):
    def exp(self, x, v):
        return super().exp(x, -v)


class NoProjection(Sphere):
    def tangent(self, x, v):
        return v - 0.5 * (x * v).sum(-1, keepdim=True) * x


class PolarSphere(Sphere):
    """Uniform in angles, not in area."""

    def reference(self, x, generator=None):
        return self.project(normal(x, generator) * torch.tensor([1.0, 1.0, 0.5]).to(x))


# ---------------------------------------------------------------------------------------------------- noises


@dataclass(frozen=True)
class NoSquareRoot(Gaussian):
    def scales(self, t):
        alpha, sigma = VP().scales(t)
        return alpha, sigma

    def rates(self, t):
        f, g2 = super().rates(t)
        return f, g2.sqrt()


@dataclass(frozen=True)
class NoiseAtZero(Gaussian):
    def scales(self, t):
        return torch.ones_like(t), 0.01 * 5000**t


@dataclass(frozen=True)
class Backtracking(Gaussian):
    def scales(self, t):
        return torch.ones_like(t), torch.sin(2 * t)


@dataclass(frozen=True)
class WrongInverse(VE):
    def time(self, ratio):
        return super().time(ratio) ** 1.01


@dataclass(frozen=True)
class VarianceForDeviation(EDM):
    def perturb(self, x, t, generator=None):
        alpha, sigma = self.at(t, x)
        return alpha * x + sigma**2 * normal(x, generator)


# ------------------------------------------------------------------------------------------------- denoisers


class WholeBatchNorm(Denoiser):
    noise = VP()

    def forward(self, xt, t, **cond):
        return xt / (1 + xt.norm())


class OneTimeForAll(Denoiser):
    noise = VP()

    def forward(self, xt, t, **cond):
        return torch.as_tensor(t).reshape(-1)[0] * xt


class ScoreOfOtherSign(Preconditioned):
    def score(self, xt, t, **cond):
        return -super().score(xt, t, **cond)


class VelocityWithoutHalf(Preconditioned):
    def velocity(self, xt, t, **cond):
        f, g2 = self.noise.rates(t)
        return f[:, None] * xt - g2[:, None] * self.score(xt, t)


def zero_network(kind):
    return kind(lambda x, t: 0.3 * x, VP(), clean)


# -------------------------------------------------------------------------------------------------- samplers


@dataclass(frozen=True)
class MultistepWrongSigma(Multistep):
    """The second-order term with the noise scale of the start of the step: order one."""

    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        denoised = model(x, t)
        alpha_t, sigma_t, alpha_s, sigma_s = around = ends(model, t, s)
        ahead = drift(x, denoised, around)
        if not past.seen or sigma_s == 0:
            return ahead, denoised
        h = math.log(sigma_t / alpha_t) - math.log(sigma_s / alpha_s)
        return ahead + 0.5 * sigma_t * h * (denoised - past.seen[-1][2]), denoised


@dataclass(frozen=True)
class HeunWithoutCorrection(Heun):
    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        denoised = model(x, t)
        return drift(x, denoised, ends(model, t, s)), denoised


@dataclass(frozen=True)
class AncestralTooLoud(Ancestral):
    def step(self, model: Denoiser, x, t, s, past, generator, **cond):
        y, denoised = super().step(model, x, t, s, past, None if generator is None else generator)
        return y + 0.05 * ends(model, t, s)[3] * normal(x, generator), denoised


@dataclass(frozen=True)
class LangevinWithoutRootTwo(Langevin):
    def step(self, model: Score, x, t, s, past, generator, **cond):
        h = float(t - s)
        return x + h * model(x) + h**0.5 * normal(x, generator), None


@dataclass(frozen=True)
class AlwaysAccepted(MALA):
    def step(self, model: Score, x, t, s, past, generator, **cond):
        h = float(t - s)
        return x + h * model(x) + (2 * h) ** 0.5 * normal(x, generator), None


@dataclass(frozen=True)
class SkipsTheEnd(Heun):
    def walk(self, model, x, times, generator=None, **cond):
        yield from super().walk(model, x, times[:-1], generator, **cond)


@dataclass(frozen=True)
class BatchNormedStep(Sampler):
    """Langevin whose step is set by the norm of the whole batch."""

    order = 1

    def times(self, model, steps):
        return Langevin().times(model, steps)

    def step(self, model: Score, x, t, s, past, generator, **cond):
        h = float(t - s) * x.norm() / x.numel() ** 0.5
        return x + h * model(x) + (2 * h) ** 0.5 * normal(x, generator), None


MUTANTS = [
    FlippedSign(),
    MissingHalf(),
    MissingHalfDenoising(),
    MeanOverDimensions(),
    MeanOverBatch(),
    GlobalRandomness(),
    ForgottenSigma(),
    WrongNoiseLevel(LogNormal()),
    HalfBroadcastTime(),
    OneProbeSquaredNorm(),
    VarianceForgotten(),
    TraceOverDimension(),
    AmbientOnSphere(),
    Implicit(AmbientOnSphere()),
    OneSidedDifference(),
    UnnormalisedProbes(),
    ForwardOnly(),
    Backward(),
    NoProjection(),
    PolarSphere(),
    NoSquareRoot(),
    NoiseAtZero(),
    Backtracking(),
    WrongInverse(),
    VarianceForDeviation(),
    WholeBatchNorm(),
    OneTimeForAll(),
    zero_network(ScoreOfOtherSign),
    zero_network(VelocityWithoutHalf),
    MultistepWrongSigma(),
    HeunWithoutCorrection(),
    AncestralTooLoud(),
    LangevinWithoutRootTwo(),
    AlwaysAccepted(),
    SkipsTheEnd(),
    BatchNormedStep(),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: type(m).__name__)
def test_every_mutant_is_caught(mutant):
    with pytest.raises(LawError):
        laws.check(mutant)


def test_there_are_enough_of_them():
    assert len(MUTANTS) >= 14
