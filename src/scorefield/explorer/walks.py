"""The routes of the walk: particles released in a score, what a longer walk gains, and the lines of Python that do the same.

Samplers for one static score walk in that of p_σ; samplers that come down the noise levels walk from noise to p_0.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Request, Response
from pydantic import Field
from torch import Tensor

from ..errors import RangeError
from ..models import Denoiser
from ..noises import VP
from ..samplers import Sampler
from ..samplers.langevin import Static
from ..samplers.named import sampler as named
from ..tensors import Streams, normal
from . import learned, methods, walking, walks_code
from .fields import HALF, lattice, shown_at
from .held import Held
from .lines import lines
from .methods import Points, Score
from .requests import WalkRequest
from .walking import Draw, Event
from .wire import Wire

router = APIRouter(prefix="/api")

BEHIND, LEAST = 48, 0.03
"""Points along a side of what is drawn behind the particles, and the least noise at which it is: a point has no density."""


class Level:
    """The score of p_σ by a method, as a walk takes it, with its energy where the method knows one."""

    shape = (2,)

    def __init__(self, score: Score, energy: Callable[[Points], Tensor] | None):
        self.score = score
        if energy is not None:
            self.energy = energy

    def __call__(self, x: Points) -> Points:
        return self.score(x).to(x.dtype)


@router.post("/walk")
async def walk(wanted: WalkRequest, request: Request) -> Response:
    """The walk as lines: plan, states, and end or exploded."""
    return await lines(_walk(request.app.state.held, wanted))


@router.post("/walk/ladder")
async def ladder(wanted: WalkRequest, request: Request) -> Response:
    """The distance at the end of walks of fewer evaluations, a line each; for samplers that come down the noise levels."""
    return await lines(_ladder(request.app.state.held, wanted))


class CodeRequest(Wire):
    """The lines for a walk, and for a second one with another sampler."""

    walk: WalkRequest = WalkRequest()
    second: Annotated[str, Field(max_length=200)] = ""


@router.post("/walk/code")
def code(wanted: CodeRequest, request: Request) -> dict[str, Any]:
    """The Python of one walk, or of two on the same draws."""
    held, asked = request.app.state.held, wanted.walk
    about = held.planar(asked.run) if "run" in (asked.method, asked.density.name) else None
    names = [asked.sampler, wanted.second] if wanted.second else None
    return walks_code.walk(at_its_level(held, asked), names, about).plain()


def _walk(held: Held, wanted: WalkRequest) -> Iterator[Event]:
    sampler, wanted = named(wanted.sampler), at_its_level(held, wanted)
    found, draw = model(held, wanted, sampler), target(held, wanted, sampler)
    yield from walking.events(found, sampler, wanted.release, draw, HALF, backdrop(held, wanted, found))


def _ladder(held: Held, wanted: WalkRequest) -> Iterator[Event]:
    sampler = named(wanted.sampler)
    found = model(held, wanted, sampler)
    if not isinstance(found, Denoiser):
        raise RangeError(f"{sampler}: a static walk has one length; its distances come with its states.")
    yield from walking.ladder(found, sampler, wanted.release, target(held, wanted, sampler))


def at_its_level(held: Held, wanted: WalkRequest) -> WalkRequest:
    """The request at the one noise level of a static run, where it is about one."""
    return wanted.model_copy(update={"sigma": methods.level(held, wanted.method, wanted.sigma, wanted.run)})


def model(held: Held, wanted: WalkRequest, sampler: Sampler) -> Callable[..., Tensor]:
    """What the sampler walks in: the score of p_σ, or a denoiser at every noise level, exact ones under `VP`.

    Raises: RangeError for a sampler that comes down noise levels, where the score is a kernel's or a static run's, which know one.
    """
    if isinstance(sampler, Static):
        score = methods.score(held, wanted.density, wanted.method, wanted.sigma, width=wanted.width, run=wanted.run)
        return Level(score, _energy(held, wanted))
    if wanted.method == "kernel":
        raise RangeError(
            f"{sampler}: a kernel score knows one noise level; choose a Langevin sampler, or another score."
        )
    if wanted.method == "run" and held.planar(wanted.run).level is not None:
        raise RangeError(
            f"{sampler}: it comes down noise levels, and run {held.planar(wanted.run).name} is one static score, at "
            f"sigma = {wanted.sigma:g}; choose Langevin, MALA or Underdamped."
        )
    return denoiser(held, wanted)


def denoiser(held: Held, wanted: WalkRequest) -> Denoiser:
    """The denoiser of a density by a method other than kernels. Raises: RangeError for a network that was not trained yet."""
    if wanted.method == "exact":
        return held.density(wanted.density, wanted.run).denoiser(VP())
    if wanted.method == "run":
        return held.planar(wanted.run).model  # type: ignore[return-value]
    found = held.models.get(learned.key(wanted.density, wanted.method, wanted.run))
    if found is None:
        raise RangeError(
            f"{wanted.method} of {wanted.density.name}: it has not been trained yet; the view Field trains it."
        )
    return found


def target(held: Held, wanted: WalkRequest, sampler: Sampler) -> Draw:
    """Draws of where the walk ought to end: of p_σ for a static sampler, else of the density itself."""
    density = held.density(wanted.density, wanted.run)
    noisy = isinstance(sampler, Static) and not methods.itself(held, wanted.density, wanted.method, wanted.run)

    def draw(n: int, streams: Streams) -> Points:
        x = density.sample(n, streams).float()
        return x + wanted.sigma * normal(x, streams) if noisy else x

    return draw


def backdrop(held: Held, wanted: WalkRequest, model: Callable[..., Tensor]) -> walking.Backdrop:
    """What lies behind the particles: log p_σ for a static walk, else that of the density at the noise level of the time."""
    density, x = held.density(wanted.density, wanted.run), lattice(BEHIND)
    itself = methods.itself(held, wanted.density, wanted.method, wanted.run)

    def behind(t: Tensor) -> Tensor:
        alpha, sigma = 1.0, shown_at(density, 0.0 if itself else wanted.sigma)
        if isinstance(model, Denoiser):
            alpha, sigma = (float(scale) for scale in model.noise.scales(t.double()))
        with torch.no_grad():
            return density.log_density(x, alpha, max(sigma, LEAST)).reshape(BEHIND, BEHIND)

    return behind


def _energy(held: Held, wanted: WalkRequest) -> Callable[[Points], Tensor] | None:
    if wanted.method == "kernel":
        return None
    if wanted.method == "run" and held.planar(wanted.run).level is not None:
        return getattr(held.planar(wanted.run).model, "energy", None)
    known: Any = denoiser(held, wanted)
    if getattr(known, "energy", None) is None:
        return None
    t = known.noise.time(torch.tensor(wanted.sigma, dtype=torch.float64))
    alpha = float(known.noise.scales(t)[0])
    return lambda x: known.energy(alpha * x, t)
