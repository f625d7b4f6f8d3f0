"""What every object must satisfy. Public: hand your own object to `check`, and it passes its law or you learn which line it breaks.

    Space        P² = P = Pᵀ; exp_x(hv) = x + hv + O(h²); exp_x log_x y = y; Stein: E_r[⟨∇log r, f⟩ + div f] = 0
    Noise        α(0) = 1, σ(0) = 0; σ/α increases; g² ≥ 0; `time` inverts σ/α; m' = f m and v' = 2 f v + g² give α and σ²
    Divergence   unbiased for tr(P Df P); error O(h²) where there is a step h
    Denoiser     α x̂ + σ ε̂ = x_t; s = −ε̂/σ; dx/dt = α'x̂ + σ'ε̂; row i depends on row i and t_i only
    Objective    L(c s*) is least at c = 1 and L'' is the weighted E|s*|²; one number a row
    Sampler      measured order = declared order, in the mean and the standard deviation of a Gaussian; visits the grid

and all draw from their generator alone. Tolerances are five standard errors, or follow from the order. Nothing here is random:
draws come from fixed streams, so that a law that holds today holds tomorrow.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from . import grids
from .calculus import Divergence, Exact
from .errors import LawError
from .exact import Gaussian as Normal
from .exact import Mixture
from .models import Denoiser, Values
from .noises import Gaussian, Noise
from .noises.schedules import VP
from .objectives import Objective
from .samplers import Sampler
from .spaces import Euclidean, Space
from .tensors import Streams, normal, sum_event

DOUBLE = {"dtype": torch.float64}


def check(thing: object) -> None:
    """Holds an object against the law of its kind: space, noise, divergence, denoiser, objective or sampler.

    Raises: LawError naming the object, the law and the numbers; TypeError for an object of no kind.

    >>> from scorefield.noises import VP
    >>> check(VP())
    """
    kinds: dict[type, Callable[..., None]] = {
        Space: space,
        Noise: noise,
        Divergence: divergence,
        Denoiser: denoiser,
        Objective: objective,
        Sampler: sampler,
    }
    for kind, law in kinds.items():
        if isinstance(thing, kind):
            return law(thing)
    raise TypeError(
        f"check({thing!r}): no law for {type(thing).__name__}; wanted one of {', '.join(k.__name__ for k in kinds)}."
    )


def exported(module: ModuleType, kind: type) -> list[type]:
    """The final classes of a kind that a module exports: how laws, documentation and command line find what is there.

    >>> from scorefield import spaces
    >>> [space.__name__ for space in exported(spaces, Space)]
    ['Euclidean', 'Sphere', 'Torus']
    """
    classes = (getattr(module, name) for name in getattr(module, "__all__", dir(module)))
    return [c for c in classes if isinstance(c, type) and issubclass(c, kind) and not c.__abstractmethods__]  # type: ignore[attr-defined]


def require(truth: bool | Tensor, who: object, law: str, *numbers: object) -> None:
    """Raises LawError unless ``truth``: the one place where a law is pronounced broken.

    >>> require(True, "anything", "holds")
    """
    if not bool(truth):
        shown = ", ".join(f"{float(n):.4g}" if isinstance(n, float | Tensor) else str(n) for n in numbers)
        raise LawError(f"{who}: {law} does not hold{f' ({shown})' if shown else ''}.")


def require_zero(who: object, law: str, samples: Float[Tensor, "n *event"]) -> None:
    """Raises LawError if the mean of the samples lies more than five standard errors from zero.

    >>> require_zero("noise", "mean zero", torch.tensor([1.0, -1.0, 1.0, -1.0]))
    """
    mean, error = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    require(
        (mean.abs() <= 5 * error + 1e-12).all(),
        who,
        f"{law}: mean ± standard error",
        mean.flatten()[0],
        error.flatten()[0],
    )


def require_own_draws(who: object, draw: Callable[[Streams, slice], Tensor], rows: int) -> None:
    """Raises LawError unless ``draw(generator, rows)`` takes all its randomness from the generator, row by row.

    >>> require_own_draws("normal", lambda g, rows: normal(torch.empty(4, 2)[rows], g), 4)
    """
    whole, part = slice(0, rows), slice(1, 3)
    state = torch.get_rng_state()
    first = draw(Streams(3, range(rows)), whole)
    require(torch.equal(state, torch.get_rng_state()), who, "global randomness is left alone")
    require(torch.equal(first, draw(Streams(3, range(rows)), whole)), who, "the same generator gives the same draws")
    alone = draw(Streams(3, range(1, 3)), part)
    require(torch.allclose(alone, first[part], rtol=1e-9, atol=1e-9), who, "row i does not depend on the other rows")


# ---------------------------------------------------------------------------------------------------------------- spaces


def _field(space: Space) -> Callable[[Values], Values]:
    """A smooth tangent field without symmetry, periodic in every coordinate."""

    def f(x: Values) -> Values:
        k = torch.arange(1, x.shape[-1] + 1).to(x)
        return space.tangent(x, torch.sin(k * x + 0.3) + 0.5 * torch.cos(x.roll(1, -1) - 0.2) * torch.sin(x))

    return f


def _geodesic_divergence(space: Space, f: Callable[[Values], Values], x: Values) -> Float[Tensor, "batch"]:
    total, h = x.new_zeros(len(x)), 1e-5
    for axis in torch.eye(x.shape[-1], **DOUBLE):
        v = space.tangent(x, axis.expand_as(x))
        total += sum_event(v * (f(space.exp(x, h * v)) - f(space.exp(x, -h * v)))) / (2 * h)
    return total


def space(space: Space) -> None:
    """The law of a `Space`. Raises: LawError.

    >>> space(Euclidean())
    """
    n = 20_000
    generator = Streams(0, range(n))
    x, y = (space.reference(torch.empty(n, 3, **DOUBLE), generator) for _ in range(2))
    u, v = (normal(x, generator) for _ in range(2))
    pu, pv = space.tangent(x, u), space.tangent(x, v)
    close = partial(torch.allclose, rtol=1e-7, atol=1e-7)
    require(close(space.tangent(x, pu), pu), space, "P² = P")
    require(close(sum_event(pu * v), sum_event(u * pv)), space, "Pᵀ = P")
    require(close(space.project(x), x), space, "the reference lies in the space")
    require(close(space.project(space.exp(x, pv)), space.exp(x, pv)), space, "exp stays in the space")
    require(close(space.exp(x, space.log(x, y)), y), space, "exp_x(log_x y) = y")
    require(close(space.tangent(x, space.log(x, y)), space.log(x, y)), space, "log is tangent")
    errors = []
    for h in (1e-2, 5e-3):
        errors.append(float(space.log(space.project(x + h * pv), space.exp(x, h * pv)).norm(dim=-1).max()))
    require(errors[1] <= errors[0] / 3.5 + 1e-12, space, "exp_x(hv) = x + hv + O(h²)", *errors)
    f = _field(space)
    value, div = Exact(space)(f, x)
    require_zero(
        space,
        "Stein's identity E[⟨∇log r, f⟩ + div f] = 0",
        (sum_event(space.reference_score(x) * value) + div).detach(),
    )
    require_own_draws(space, lambda g, rows: space.reference(x[rows], g), 5)


# ---------------------------------------------------------------------------------------------------------------- noises


def noise(noise: Noise) -> None:
    """The law of a `Noise`. Raises: LawError.

    >>> noise(VP())
    """
    if not isinstance(noise, Gaussian):
        raise TypeError(f"no law for the noise {noise!r} yet: only Gaussian noises have one.")
    t = torch.linspace(0, 1, 1025, **DOUBLE)
    alpha, sigma = noise.scales(t)
    require(abs(float(alpha[0]) - 1) < 1e-12, noise, "α(0) = 1", alpha[0])
    require(abs(float(sigma[0])) < 1e-12, noise, "σ(0) = 0", sigma[0])
    ratio = noise.ratio(t)
    require(torch.allclose(ratio, sigma / alpha), noise, "ratio = σ/α")
    require((ratio.diff() > 0).all() and bool(ratio.isfinite().all()), noise, "σ/α increases and stays finite")
    levels = torch.logspace(-3, math.log10(float(ratio[-1])), 257, **DOUBLE).clamp(max=float(ratio[-1]))
    require(torch.allclose(noise.ratio(noise.time(levels)), levels, rtol=1e-7), noise, "time inverts σ/α")
    low, high = noise.time(torch.tensor([0.05, min(20.0, float(ratio[-1]))], **DOUBLE))
    inner = torch.linspace(float(low), float(high), 2049, **DOUBLE)
    middle, step = (inner[1:] + inner[:-1]) / 2, inner[1] - inner[0]
    (alpha, sigma), (f, g2), (f_middle, g2_middle) = noise.scales(inner), noise.rates(inner), noise.rates(middle)
    require((g2 >= 0).all(), noise, "g² ≥ 0", g2.min())
    simpson = lambda ends, mid: (step / 6 * (ends[:-1] + 4 * mid + ends[1:])).cumsum(0)  # noqa: E731
    close = partial(torch.allclose, rtol=1e-5, atol=1e-7)
    require(close(simpson(f, f_middle), (alpha[1:] / alpha[0]).log()), noise, "m' = f m")
    gained = simpson(g2 / alpha**2, g2_middle / noise.scales(middle)[0] ** 2)
    require(close(gained, noise.ratio(inner[1:]) ** 2 - noise.ratio(inner[0]) ** 2), noise, "v' = 2 f v + g²")
    x, at = torch.full((3, 2), 0.7, **DOUBLE), torch.tensor([0.1, 0.5, 0.9], **DOUBLE)
    quiet, loud = (noise.perturb(x, at, Units(unit)) for unit in (None, 0))
    require(torch.allclose(quiet, noise.at(at, x)[0] * x), noise, "E[x_t | x_0] = α x_0")
    require(torch.allclose((loud - quiet)[0], noise.at(at, x)[1][0]), noise, "sd[x_t | x_0] = σ")
    require(torch.allclose(noise.prior(x, Units(0))[0], noise.scales(t)[1][-1]), noise, "the prior is N(0, σ(1)²)")
    require_own_draws(noise, lambda g, rows: noise.perturb(x[rows], at[rows], g), 3)


class Units:
    """Draws that read an affine walk: the k-th normal draw is one in row ``first + k`` and zero elsewhere, for exact variances."""

    def __init__(self, first: int | None):
        self.row = first
        self.count = 0

    def normal(self, x: Values) -> Values:
        """The next unit draw."""
        z = torch.zeros_like(x)
        if self.row is not None and self.row + self.count < len(x):
            z[self.row + self.count] = 1
        self.count += 1
        return z


# ----------------------------------------------------------------------------------------------------------- divergences


def divergence(divergence: Divergence) -> None:
    """The law of a `Divergence`, on its own space. Raises: LawError.

    >>> divergence(Exact())
    """
    space, n = divergence.space, 4096
    x = space.reference(torch.empty(2, 3, **DOUBLE), Streams(1, range(2)))
    f, repeated = _field(space), x.repeat_interleave(n, 0)
    small = replace(divergence, step=1e-4) if hasattr(divergence, "step") else divergence
    with torch.no_grad():
        value, estimate = small(f, repeated, Streams(0, range(2 * n)))
    require(torch.allclose(value, f(repeated)), divergence, "the value is f(x)")
    truth = _geodesic_divergence(space, f, x)
    for k in range(2):
        error = estimate[k * n : (k + 1) * n] - truth[k]
        if float(error.std()) < 1e-9:
            require(abs(float(error[0])) < 1e-6, divergence, "estimate = tr(P Df P)", estimate[k * n], truth[k])
        else:
            require_zero(divergence, "unbiased for tr(P Df P)", error + 1e-8)
    if hasattr(divergence, "step"):
        exact, coarse, fine = (replace(divergence, step=h)(f, x, Streams(0, range(2)))[1] for h in (1e-3, 0.08, 0.04))
        errors = [float((estimate - exact).abs().max()) for estimate in (coarse, fine)]
        require(3.5 < errors[0] / errors[1] < 4.5, divergence, "error O(h²)", *errors)
    require_own_draws(divergence, lambda g, rows: divergence(f, x.repeat(3, 1)[rows], g)[1].detach(), 5)


# ------------------------------------------------------------------------------------------------------------- denoisers


def denoiser(denoiser: Denoiser, x: Values | None = None) -> None:
    """The law of a `Denoiser`, at points x (standard normal ones of its shape, if it knows it). Raises: LawError.

    >>> denoiser(Normal(torch.zeros(2), torch.eye(2)).denoiser(VP()))
    """
    parameter = next(denoiser.parameters(), torch.empty(0, **DOUBLE))
    x = normal(parameter.new_empty(4, *(denoiser.shape or (2,))), Streams(0, range(4))) if x is None else x
    tolerance = 1e-3 if x.dtype == torch.float32 else 1e-8
    close = partial(torch.allclose, rtol=tolerance, atol=tolerance)
    t = torch.linspace(0.2, 0.9, len(x), **DOUBLE)
    alpha, sigma = denoiser.noise.at(t, x)
    with torch.no_grad():
        clean, noise, score, velocity = (
            denoiser(x, t),
            denoiser.epsilon(x, t),
            denoiser.score(x, t),
            denoiser.velocity(x, t),
        )
        require(clean.shape == x.shape, denoiser, "x̂ has the shape of x", clean.shape)
        require(close(alpha * clean + sigma * noise, x), denoiser, "α x̂ + σ ε̂ = x_t")
        require(close(score * sigma, -noise), denoiser, "s = −ε̂/σ")
        h = 1e-4
        before, after = denoiser.noise.at(t - h, x), denoiser.noise.at(t + h, x)
        slopes = [(b - a) / (2 * h) for a, b in zip(before, after)]
        if x.dtype == torch.float64:
            flow = slopes[0] * clean + slopes[1] * noise
            require(torch.allclose(velocity, flow, rtol=1e-4, atol=1e-4), denoiser, "dx/dt = α' x̂ + σ' ε̂")
        for i in range(len(x)):
            alone = denoiser(x[i : i + 1], t[i : i + 1])[0]
            require(close(alone, clean[i]), denoiser, "row i depends on row i and t_i only", i)
            require(
                close(denoiser(x[i : i + 1], t[i])[0], alone), denoiser, "t of shape () means the same for every row", i
            )


# ------------------------------------------------------------------------------------------------------------ objectives


@dataclass(frozen=True)
class _Scaled:
    """A score or denoiser whose score is c times the true one."""

    truth: Callable[..., Values]
    factor: Tensor

    def __call__(self, x: Values, t: Tensor | None = None) -> Values:
        if t is None:
            return self.factor * self.truth(x)
        alpha, sigma = self.noise.at(t, x)
        return (x + sigma**2 * self.score(x, t)) / alpha

    def score(self, x: Values, t: Tensor) -> Values:
        return self.factor * self.truth.score(x, t)  # type: ignore[attr-defined]

    @property
    def noise(self) -> Gaussian:
        return self.truth.noise  # type: ignore[attr-defined]


def takes_denoiser(thing: Objective | Sampler) -> bool:
    """Whether an objective or a sampler works on a `Denoiser`, by the annotation of its ``model``; a static score otherwise.

    >>> from scorefield.samplers import Heun, Langevin
    >>> takes_denoiser(Heun()), takes_denoiser(Langevin())
    (True, False)
    """
    method = type(thing).step if isinstance(thing, Sampler) else type(thing).__call__
    return get_type_hints(method).get("model") is Denoiser


def _target(objective: Objective, n: int) -> tuple[Callable[..., Values], Values, Float[Tensor, "n"]]:
    """A true score, points, and weights that make them a sample of its density."""
    pair = Mixture(
        torch.tensor([1.0, 2.0], **DOUBLE),
        torch.tensor([[-1.0, 0.0, 0.5], [1.0, 0.5, 0.0]], **DOUBLE),
        torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.8]], **DOUBLE),
    )
    space = getattr(getattr(objective, "divergence", None), "space", Euclidean())
    if takes_denoiser(objective):
        return pair.denoiser(VP()), pair.sample(n, Streams(0, range(n))), torch.ones(n, **DOUBLE)
    if isinstance(space, Euclidean):
        sigma = getattr(objective, "sigma", 0.0)
        return lambda x: pair.score(x, 1.0, sigma), pair.sample(n, Streams(0, range(n))), torch.ones(n, **DOUBLE)
    x = space.reference(torch.empty(n, 3, **DOUBLE), Streams(0, range(n)))
    shift = torch.tensor([0.2, -0.5, 1.0], **DOUBLE)  # p ∝ r(x) exp Σ cos(x − shift)
    tilted = lambda x: space.reference_score(x) - space.tangent(x, torch.sin(x - shift))  # noqa: E731
    return tilted, x, torch.cos(x - shift).sum(-1).exp()


def objective(objective: Objective) -> None:
    """The law of an `Objective`: stationary at the true score along itself, curved as its divergence. Raises: LawError.

    An objective with an attribute ``sigma`` is one for the density smoothed by N(0, σ²I); with a ``divergence``, one on its
    space; with ``score_weight``, its curvature is E[w |s*|²], else E|s*|².

    >>> from scorefield.objectives import Sliced
    >>> objective(Sliced())
    """
    n, h = 40_000, 0.5
    truth, x, weights = _target(objective, n)

    def losses(c: float) -> Float[Tensor, "n"]:
        with torch.no_grad():
            return objective(_Scaled(truth, torch.tensor(c, **DOUBLE)), x, Streams(1, range(n)))

    low, middle, high = losses(1 - h), losses(1.0), losses(1 + h)
    require(middle.shape == (n,), objective, "one number a row", tuple(middle.shape))
    require_zero(objective, "dL(c s*)/dc = 0 at c = 1", weights * (high - low) / (2 * h))
    curvature = weights * (high - 2 * middle + low) / h**2
    require(float(curvature.mean()) > 0, objective, "L(c s*) is convex in c", curvature.mean())
    if not takes_denoiser(objective):
        sigma = getattr(objective, "sigma", 0.0)
        points = x + sigma * normal(x, Streams(2, range(n)))
        wanted = weights * sum_event(truth(points) ** 2)
    elif hasattr(objective, "score_weight"):
        t, correction = objective.times(truth.noise, x, Streams(2, range(n)))  # type: ignore[attr-defined]
        xt = truth.noise.perturb(x, t, Streams(3, range(n)))  # type: ignore[attr-defined]
        wanted = correction * objective.score_weight(truth.noise, t) * sum_event(truth.score(xt, t) ** 2)  # type: ignore[attr-defined]
    else:
        wanted = curvature
    gap = float((curvature.mean() - wanted.mean()).abs())
    error = float(((curvature.var() + wanted.var()) / n) ** 0.5)
    require(gap <= 5 * error + 1e-9, objective, "d²L(c s*)/dc² = E[w |s*|²]", curvature.mean(), wanted.mean(), error)
    exact = _Scaled(truth, torch.tensor(1.0, **DOUBLE))
    require_own_draws(objective, lambda g, rows: objective(exact, x[rows], g).detach(), 5)


# -------------------------------------------------------------------------------------------------------------- samplers


def measured_order(
    sampler: Sampler,
    noise: Gaussian,
    grid: Callable[..., Tensor],
    steps: tuple[int, int] = (64, 128),
    levels: tuple[float, float] = (4.0, 0.3),
) -> tuple[float, float]:
    """(order, error): how the error of the terminal mean and standard deviation of a Gaussian falls when the steps double.

    The walk is affine in its start and its draws, so unit draws read off its exact mean and variance: no Monte-Carlo error.

    >>> from scorefield.samplers import Heun
    >>> order, error = measured_order(Heun(), VP(), grids.karras)
    >>> round(order), error < 1e-3
    (2, True)
    """
    mean, variance = torch.tensor([-0.6, 0.2, 0.7], **DOUBLE), torch.tensor([0.4, 0.8, 1.3], **DOUBLE) ** 2
    known = Normal(mean, variance.diag())
    errors = []
    for count in steps:
        if takes_denoiser(sampler):
            model, times = known.denoiser(noise), grid(noise, count + 1, ceiling=levels[0], floor=levels[1])[:-1]
            (a0, a1), (s0, s1) = noise.scales(times[[0, -1]])
        else:
            model, times = known, torch.linspace(1, 0, count + 1, **DOUBLE)
            (a0, a1), (s0, s1) = torch.tensor([[0.0, 1 - math.exp(-1.0)], [1.0, 0.0]], **DOUBLE)
        start_variance = a0**2 * variance + s0**2
        counter = Units(None)
        for _ in sampler.walk(model, torch.zeros(1, 3, **DOUBLE), times, counter):  # type: ignore[arg-type]
            pass
        x = (a0 * mean).repeat(2 + counter.count, 1)
        x[1] += start_variance.sqrt()
        for state in sampler.walk(model, x, times, Units(2)):  # type: ignore[arg-type]
            last = state.x
        got_mean, got_std = last[0], (last[1:] - last[0]).norm(dim=0)
        if takes_denoiser(sampler):
            wanted_mean, wanted_std = a1 * mean, (a1**2 * variance + s1**2).sqrt()
        else:  # the Ornstein–Uhlenbeck process after unit time
            decay = torch.exp(-1 / variance)
            wanted_mean = mean * (1 - decay)
            wanted_std = (decay**2 + variance * (1 - decay**2)).sqrt()
        errors.append(float(torch.cat([got_mean - wanted_mean, got_std - wanted_std]).abs().max()))
    return math.log2(errors[0] / errors[1]), errors[1]


def sampler(sampler: Sampler, noise: Gaussian | None = None, grid: Callable[..., Tensor] = grids.karras) -> None:
    """The law of a `Sampler` on one noise and grid (static scores: on Langevin time). Raises: LawError.

    >>> from scorefield.samplers import Ancestral
    >>> sampler(Ancestral())
    """
    noise = noise or VP()
    known = Normal(torch.tensor([0.3, -0.2], **DOUBLE), torch.diag(torch.tensor([0.5, 1.5], **DOUBLE)))
    model = known.denoiser(noise) if takes_denoiser(sampler) else known
    times = sampler.times(model, 6)
    x = normal(torch.empty(5, 2, **DOUBLE), Streams(9, range(5)))
    visited = torch.stack([state.t for state in sampler.walk(model, x, times, Streams(0, range(5)))])
    require(torch.equal(visited, times.double()), sampler, "the walk visits exactly the grid", visited.tolist())
    require_own_draws(sampler, lambda g, rows: _end(sampler.walk(model, x[rows], times, g)), 5)
    if math.isinf(sampler.order):
        return _invariance(sampler, known)
    if sampler.order == 0:  # a bias that stays, seen alone where the levels hardly move
        count = 512 // sampler.evaluations
        order, error = measured_order(sampler, noise, grid, (count, 2 * count), (1.0, 0.9))
        require(abs(order) < 0.2, sampler, f"order 0 on {noise}, {grid.__name__}: measured", order)
    else:
        order, error = measured_order(sampler, noise, grid)
        if abs(order - sampler.order) >= 0.2:  # not yet asymptotic: look closer
            order, error = measured_order(sampler, noise, grid, (512, 1024))
        require(
            abs(order - sampler.order) < 0.2,
            sampler,
            f"order {sampler.order} on {noise}, {grid.__name__}: measured",
            order,
        )
    require(error < 0.25, sampler, "the terminal Gaussian is near its closed form: error", error)


def _end(states: Iterator) -> Tensor:
    *_, last = states
    return last.x


def _invariance(sampler: Sampler, known: Normal) -> None:
    n, steps = 40_000, 4
    x = known.sample(n, Streams(5, range(n)))
    times = torch.arange(steps, -1, -1, **DOUBLE) * 0.6  # steps so large that an unadjusted walk would widen visibly
    y = _end(sampler.walk(known, x, times, Streams(6, range(n))))
    require((y != x).any(), sampler, "the walk moves")
    require_zero(sampler, "E[y] = E[x]", y - known.mean)
    require_zero(sampler, "var y = var x", (y - known.mean) ** 2 - known.covariance.diagonal())
    require_zero(sampler, "kurtosis", (y - known.mean) ** 4 - 3 * known.covariance.diagonal() ** 2)
