"""Particles released in a score: one walk of the library as events, with what it costs and how near it comes.

    plan        how many steps, what they are, and whether they are stable (`stability`)
    state       the particles after a step, the evaluations so far, and now and then their distance to the target
    end         the distance at the end, beside that between two fresh samples of the target, the floor
    exploded    where the walk left the finite numbers, in the library's words

The states are those of `sampling.walk` with the same seed: row i's draws are functions of (seed, i). Distances: sliced
Wasserstein (Bonneel, Rabin, Peyré and Pfister 2015), in units of the axes, and MMD² (Gretton et al. 2012, eq. 3).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DivergedError, RangeError
from ..metrics import mmd, sliced_wasserstein
from ..metrics.estimate import Estimate, mean
from ..models import Denoiser
from ..samplers import Sampler, State
from ..samplers.langevin import Static
from ..sampling import walk
from ..tensors import Streams, normal
from . import stability
from .wire import packed

Points = Float[Tensor, "n 2"]
Event = dict[str, Any]
Draw = Callable[[int, Streams], Points]
Backdrop = Callable[[Tensor], Float[Tensor, "n n"]]

FRESH = 2**40
"""Rows of a seed from here on are those of the target, never of a walk."""
REFERENCE, PAIRS, MEASURED, SPREAD = 1000, 10, 16, 0.1
MOST_POINTS, MOST_EVALUATIONS, MOST_FRAMES = 2000, 4000, 400


@dataclass(frozen=True)
class Release:
    """What is released, and how far it may go. ``start``: None for noise, or the point around which all begin.

    Raises: RangeError for numbers outside the limits.

    >>> Release(n=3).frames
    200
    """

    n: int = 400
    evaluations: int = 100
    seed: int = 0
    start: tuple[float, float] | None = None
    frames: int = 200

    def __post_init__(self):
        limits = {"n": (2, MOST_POINTS), "evaluations": (1, MOST_EVALUATIONS), "frames": (2, MOST_FRAMES)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise RangeError(f"walk({name}={getattr(self, name)}): {name} must lie between {low} and {high}.")


class Counted(Denoiser):
    """The same denoiser, counting how often it is asked: ``evaluations``.

    >>> from scorefield import VP, Heun, exact
    >>> model = Counted(exact.Gaussian(torch.zeros(2), torch.eye(2)).denoiser(VP()))
    >>> _ = list(states(model, Heun(), Release(n=3, evaluations=6))); model.evaluations
    5
    """

    def __init__(self, model: Denoiser):
        super().__init__()
        self.model, self.noise = model, model.noise
        self.evaluations, self.started = 0, False

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self.model.shape

    def forward(self, xt: Points, t: Tensor, **cond) -> Points:
        self.evaluations += 1
        return self.model(xt, t, **cond)


class CountedScore:
    """The same static score, counting how often it is asked; with its energy, if it has one.

    >>> score = CountedScore(lambda x: -x)
    >>> score(torch.ones(1, 2)), score.evaluations
    (tensor([[-1., -1.]]), 1)
    """

    shape = (2,)

    def __init__(self, score: Callable[[Points], Points]):
        self.score, self.evaluations, self.started = score, 0, False
        energy = getattr(score, "energy", None)
        if energy is not None:
            self.energy = energy

    def __call__(self, x: Points) -> Points:
        self.evaluations += 1
        return self.score(x)


def steps(sampler: Sampler, evaluations: int) -> int:
    """As many steps as so many evaluations pay for, at least one.

    >>> from scorefield.samplers import Heun
    >>> steps(Heun(), 20)
    10
    """
    return max(1, evaluations // sampler.evaluations)


def states(model: Counted | CountedScore, sampler: Sampler, release: Release) -> Iterator[State]:
    """The walk: that of `sampling.walk`, or from N(start, 0.1² I) with the same draws. Evaluations count from its first step."""
    for state in _walk(model, sampler, release, steps(sampler, release.evaluations)):
        if not model.started:  # what was asked before the first step was a check
            model.started, model.evaluations = True, 0
        yield state


def _walk(model: Callable[..., Tensor], sampler: Sampler, release: Release, count: int) -> Iterator[State]:
    if release.start is None:
        yield from walk(model, release.n, steps=count, sampler=sampler, seed=release.seed, shape=(2,))
        return
    generator = Streams(release.seed, range(release.n))
    x = torch.tensor(release.start) + SPREAD * normal(torch.empty(release.n, 2), generator)
    yield from sampler.walk(model, x, sampler.times(model, count), generator)


def events(
    model: Callable[..., Tensor],
    sampler: Sampler,
    release: Release,
    draw: Draw,
    half: float,
    backdrop: Backdrop | None = None,
) -> Iterator[Event]:
    """One walk, told: ``draw(n, streams)`` gives fresh points of the target, ``half`` is half the width of the picture.

    ``backdrop(t)`` is what lies behind the particles at time t, for the picture: log p_t on a lattice.
    Raises: what `sampling.walk` raises for arguments that do not fit; a walk that diverges is told as an event.
    """
    counted = Counted(model) if isinstance(model, Denoiser) else CountedScore(model)
    count = steps(sampler, release.evaluations)
    target = draw(REFERENCE, Streams(release.seed, FRESH + torch.arange(REFERENCE)))
    times = sampler.times(model, count)
    found = _stability(model, sampler, target[:512], times)
    yield {
        "kind": "plan",
        "sampler": repr(sampler),
        "steps": count,
        "static": isinstance(sampler, Static),
        "stability": None if found is None else {
            "value": found.value, "bound": found.bound, "symbol": found.symbol, "curvature": found.curvature,
            "stable": found.stable,
        },
        "says": stability.sentence(sampler, found),
    }  # fmt: skip
    shown = torch.linspace(0, count, min(count + 1, release.frames)).round().long().unique().tolist()
    measured = set(torch.tensor(shown)[torch.linspace(0, len(shown) - 1, MEASURED).round().long()].tolist())
    x, k = target, 0
    try:
        for k, state in enumerate(states(counted, sampler, release)):
            x = state.x
            if k in shown:
                event = {"kind": "state", "step": k, "evaluations": counted.evaluations, "t": float(state.t)}
                if isinstance(model, Denoiser):
                    event["level"] = float(model.noise.ratio(state.t))
                event |= {"x": packed(x), "outside": int((x.abs() > half).any(1).sum())}
                if k in measured:
                    event["distance"] = told(distance(x, target))
                    if backdrop is not None and (k == 0 or not isinstance(sampler, Static)):
                        event["backdrop"] = packed(backdrop(state.t))
                yield event
    except DivergedError as error:
        yield {"kind": "exploded", "step": k + 1, "evaluations": counted.evaluations, "message": str(error)}
        return
    yield {"kind": "end", "evaluations": counted.evaluations, **compared(x, target, draw, release.seed)}


def ladder(model: Denoiser, sampler: Sampler, release: Release, draw: Draw) -> Iterator[Event]:
    """The distance at the end of walks of ever larger budgets: a walk of few steps is not a long one cut short.

    Budgets too small for the sampler are left out; a walk that diverges has no distance.
    """
    target = draw(REFERENCE, Streams(release.seed, FRESH + torch.arange(REFERENCE)))
    paid = {steps(sampler, budget): budget for budget in reversed(budgets(release.evaluations))}
    for count, evaluations in sorted(paid.items()):
        if count < sampler.least:
            continue
        counted, found = Counted(model), None
        try:
            *_, last = states(counted, sampler, Release(release.n, evaluations, release.seed, release.start))
            found = told(distance(last.x, target))
        except DivergedError:
            pass
        yield {"kind": "rung", "steps": count, "evaluations": counted.evaluations, "distance": found}


def budgets(evaluations: int) -> list[int]:
    """Numbers of evaluations that double, up to the one asked for.

    >>> budgets(100)
    [3, 6, 12, 25, 50, 100]
    """
    return sorted({max(1, evaluations >> k) for k in range(6)})


def distance(x: Points, target: Float[Tensor, "m 2"]) -> Estimate:
    """The sliced Wasserstein distance of the particles to the target, in units of the axes; ± of its random directions."""
    return sliced_wasserstein(x, target, projections=64, generator=torch.Generator().manual_seed(0))


def compared(x: Points, target: Float[Tensor, "m 2"], draw: Draw, seed: int) -> Event:
    """Distance and MMD² of the last particles, each beside its floor: what as many fresh points of the target have.

    The floor's ``spread`` is the standard deviation of one such distance; a walk within it is as good as fresh points.

    >>> from scorefield.exact import Gaussian
    >>> draw = Gaussian(torch.zeros(2), torch.eye(2)).sample
    >>> found = compared(draw(300) + 1, draw(4000), draw, 0)
    >>> found["distance"]["value"] > 4 * found["floor"]["value"]
    True
    """
    n = len(x)
    fresh = [draw(n, Streams(seed, 2 * FRESH + k * n + torch.arange(n))) for k in range(PAIRS)]
    apart = torch.tensor([float(distance(each, target)) for each in fresh])
    floor = told(mean(apart)) | {"spread": float(apart.std())}
    few = target[:1000]
    width = float((few[:500] - few[500:]).norm(dim=1).median())
    squares = mmd(x, few, bandwidths=[width])
    low = mean(torch.tensor([float(mmd(each, few, bandwidths=[width])) for each in fresh[:4]]).abs())
    return {"distance": told(distance(x, target)), "floor": floor, "mmd": told(squares), "mmd_floor": told(low)}


def told(estimate: Estimate) -> dict[str, float]:
    """An estimate as plain numbers."""
    return {"value": estimate.value, "error": estimate.error}


def _stability(
    model: Callable[..., Tensor], sampler: Sampler, x: Points, times: Float[Tensor, "times"]
) -> stability.Stability | None:
    if isinstance(model, Denoiser):
        return stability.levels(sampler, model, x, times)
    return stability.static(sampler, model, x)
