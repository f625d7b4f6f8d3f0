"""What a page asks for when it releases particles."""

from typing import Annotated

from pydantic import Field

from . import walking
from .densities import Chosen, Place, Sigma
from .methods import Method
from .walking import Release
from .wire import Wire


class WalkRequest(Wire):
    """A walk: in which density's score, by which method, how, how far, and from where."""

    density: Chosen = Chosen()
    method: Method = "exact"
    sigma: Annotated[Sigma, Field(description="the noise level of the score that a static sampler walks in")] = 0.1
    width: Annotated[float, Field(ge=0.1, le=10, description="of the kernel, in median distances")] = 1.0
    run: str = ""
    sampler: Annotated[str, Field(max_length=200)] = "Heun()"
    n: Annotated[int, Field(ge=2, le=walking.MOST_POINTS)] = 400
    evaluations: Annotated[int, Field(ge=1, le=walking.MOST_EVALUATIONS)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    start: tuple[Place, Place] | None = None
    frames: Annotated[int, Field(ge=2, le=walking.MOST_FRAMES)] = 200

    @property
    def release(self) -> Release:
        """What is released."""
        return Release(self.n, self.evaluations, self.seed, self.start, self.frames)
