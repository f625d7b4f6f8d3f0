"""The routes of training: a contest is streamed to the page that asked for it, and turned, paused and stopped by it."""

from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from ..server.problems import Refused
from . import fields, training_code
from .contest import HIGHEST, LOWEST, Contest, Name, Setting
from .densities import Chosen
from .held import Held
from .lines import lines
from .sessions import Session, Sessions
from .training_code import Stand
from .wire import Wire

router = APIRouter(prefix="/api")

Level = Annotated[float, Field(ge=LOWEST, le=HIGHEST, description="the noise level of the density that is learned")]
Page = Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]


class TrainRequest(Wire):
    """A contest: of which density, by which objectives, equal in what, and with what in common."""

    page: Page
    density: Chosen = Chosen()
    run: str = ""
    methods: Annotated[tuple[Name, ...], Field(min_length=1, max_length=3)] = ("exact", "sliced", "denoising")
    cost: Literal["seconds", "evaluations", "steps"] = "seconds"
    sigma: Level = 0.3
    rows: Annotated[int, Field(ge=16, le=50_000)] = 10_000
    batch: Annotated[int, Field(ge=16, le=1024)] = 256
    width: Annotated[int, Field(ge=8, le=256)] = 64
    depth: Annotated[int, Field(ge=1, le=4)] = 2
    learning_rate: Annotated[float, Field(ge=1e-5, le=0.1)] = 2e-3
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    until: Annotated[
        tuple[int, ...], Field(max_length=3, description="steps after which each waits, as in a link")
    ] = ()
    n: Annotated[int, Field(ge=2, le=40, description="the fields are shown at n × n places")] = 24

    @property
    def setting(self) -> Setting:
        """What the contestants share."""
        return Setting(self.sigma, self.rows, self.batch, self.width, self.depth, self.learning_rate, self.seed)


class Change(Wire):
    """What a running training is told: another noise level, a pause or its end, or nothing of it."""

    sigma: Level | None = None
    paused: bool | None = None
    stopped: bool = False


class CodeRequest(Wire):
    """The lines for a contest, as far as each has come."""

    train: TrainRequest
    stands: Annotated[tuple[Stand, ...], Field(min_length=1, max_length=3)]


def sessions(request: Request) -> Sessions:
    """Those of this application."""
    state = request.app.state
    if not hasattr(state, "sessions"):
        state.sessions = Sessions()
    return state.sessions


@router.post("/train")
async def train(wanted: TrainRequest, request: Request) -> Response:
    """The contest as lines: start, reports, end. A page has one; a new one ends the one before."""
    known = sessions(request)
    found = await run_in_threadpool(contest, request.app.state.held, wanted)
    session = Session(found, attrgetter(wanted.cost), fields.lattice(wanted.n).float())
    known.add(wanted.page, session)
    return await lines(session.events(), done=partial(known.remove, wanted.page, session))


@router.post("/train/code")
def code(wanted: CodeRequest) -> dict[str, Any]:
    """The Python of a contest."""
    asked = wanted.train
    return training_code.train(asked.density, asked.run, asked.setting, wanted.stands).plain()


@router.post("/train/{page}")
def change(page: str, wanted: Change, request: Request) -> dict[str, Any]:
    """Turns, pauses or stops the page's training from its next report on."""
    session = sessions(request).find(page)
    if session is None:
        raise Refused(404, "NoTraining", f"page {page!r}: it has no training; start one.")
    if wanted.sigma is not None:
        session.turn(wanted.sigma)
    if wanted.paused is not None:
        session.pause(wanted.paused)
    if wanted.stopped:
        session.stop()
    return {"sigma": session.sigma, "paused": session.paused}


def contest(held: Held, wanted: TrainRequest) -> Contest:
    """The contest that was asked for; where the law is that of a table's rows, the truth is their smoothed law."""
    density = held.density(wanted.density, wanted.run)

    def draw(n: int, generator: Any) -> Tensor:
        return density.sample(n, generator).float()

    def truth(x: Tensor, sigma: float) -> Tensor:
        return density.score(x, torch.ones(()), sigma)

    found = Contest(wanted.methods, wanted.setting, draw, truth)
    if wanted.until:
        found.wait(wanted.until)
    return found
