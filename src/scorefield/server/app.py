"""The application: four operations on one run, what it is, and how it is.

POST /samples      draws as JSON, NPY, PNG or zipped PNGs; or the walk, state by state
POST /scores       ∇ log p_t(x)            POST /denoise     E[x_0 | x_t]            POST /densities    log p(x) ± error
GET  /model        what is served          GET  /healthz     the process lives       GET  /readyz       it takes requests
GET  /metrics      for Prometheus          GET  /openapi.json
"""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Security
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer

from .. import __version__
from . import problems
from .bodies import About, Denoised, Densities, Failed, Sampled, Scored, Shown, bodies
from .desk import Desk
from .direct import Direct
from .gate import Gate, tell
from .limits import Limits
from .meters import Meters
from .operations import FORMS, Operations
from .pool import Config, Pool
from .problems import Refused
from .served import Served
from .worker import graph_of

REFERENCE = "#/components/schemas/{model}"
LINES = ("Shown", "Sampled", "Failed")  # each line of a walk: a state, and at the end the samples or what went wrong
EVENT = {
    "type": "object",
    "properties": {"event": {"enum": ["state", "done", "problem"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
ERRORS = (400, 401, 406, 408, 409, 413, 415, 422, 429, 500, 501, 503, 504)


def application(
    run: str,
    *,
    limits: Limits | None = None,
    workers: int = 1,
    threads: int = 1,
    token: str | None = None,
    recipe: str | None = None,
    onnx: str | None = None,
) -> Gate:
    """A run as an ASGI application, whose workers start with it. Raises: as `Served.open`; RangeError for numbers below 1.

    >>> made = application("moons")
    >>> sorted(made.app.openapi()["paths"])
    ['/denoise', '/densities', '/healthz', '/metrics', '/model', '/readyz', '/samples', '/scores']
    """
    limits = Limits() if limits is None else limits
    if workers < 1 or threads < 1:
        raise problems.errors.RangeError(f"serve(workers={workers}, threads={threads}): both must be at least 1.")
    served = Served.open(run, recipe)
    graph_of(onnx, served, threads)
    about = {**served.description(), "limits": asdict(limits)}
    served.model.to("meta")  # the workers hold the weights
    desk = Desk(limits.queue, limits.batch, limits.timeout)
    pool = Pool(Config(run, recipe, limits.batch, threads, onnx), workers, desk, tell)
    meters = Meters()
    meters.watch(desk, pool)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool.start()
        yield
        desk.closed = True
        await pool.stop()

    words = f"The run {served.name}: {served.shape} in the data's units. Sample j of a seed is the same in every request and batch."
    app = FastAPI(
        title="scorefield serve", version=__version__, description=words, lifespan=lifespan, docs_url=None, redoc_url=None,
        dependencies=[] if token is None else [Security(HTTPBearer(auto_error=False))],
    )  # fmt: skip
    problems.install(app)
    _post(app, Operations(served, limits, desk), bodies(served, limits))
    _get(app, about, desk, pool, meters)
    return Gate(app, meters, limits.body, token, pool)


def _post(app: FastAPI, does: Operations, made: Any) -> None:
    pictures = {FORMS[name]: {"schema": {"type": "string", "format": "binary"}} for name in ("npy", "png", "zip")}
    streams = {
        FORMS["ndjson"]: {"schema": {"anyOf": [{"$ref": REFERENCE.format(model=name)} for name in LINES]}},
        FORMS["sse"]: {"schema": EVENT},
    }
    arrays = {FORMS["npy"]: pictures[FORMS["npy"]]}
    for path, handler, body, answer, media in (
        ("/samples", does.samples, made.Samples, Sampled, pictures | streams),
        ("/scores", does.scores, made.Scores, Scored, arrays),
        ("/denoise", does.denoise, made.Denoise, Denoised, arrays),
        ("/densities", does.densities, made.Densities, Densities, {}),
    ):
        told = problems.responses(*ERRORS)
        told[200] = {
            "model": answer,
            "content": media,
            "description": (inspect.getdoc(answer) or "").partition("\n")[0],
        }
        route: Callable[..., Any] = _typed(handler, body)
        words = (inspect.getdoc(handler) or "").partition("\n")[0]
        app.router.add_api_route(
            path, route, methods=["POST"], responses=told, summary=words, route_class_override=Direct
        )
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        for kind in (Shown, Failed):
            schema = kind.model_json_schema(ref_template=REFERENCE)
            schema.pop("$defs", None)  # Problem, which is there already
            document["components"]["schemas"].setdefault(kind.__name__, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _typed(handler: Any, body: Any) -> Callable[..., Any]:
    """The handler, told of what type its body is."""

    async def route(*args: Any, **kwargs: Any) -> Response:
        return await handler(*args, **kwargs)

    given = inspect.signature(handler)
    parameters = [each.replace(annotation=body) if each.name == "body" else each for each in given.parameters.values()]
    route.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
    route.__name__, route.__doc__ = handler.__name__, handler.__doc__
    return route


def _get(app: FastAPI, about: dict[str, Any], desk: Desk, pool: Pool, meters: Meters) -> None:
    @app.get(
        "/model", response_model=About, responses=problems.responses(401), summary="What is served, and its limits."
    )
    async def model() -> Response:
        sizes = next((line.sizes for line in pool.lines if line is not None), None)
        return JSONResponse({**about, "batches": sizes})

    @app.get("/healthz", summary="The process lives.")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", responses=problems.responses(503), summary="A worker holds the model, and requests are taken.")
    async def readyz() -> dict[str, int]:
        if desk.closed:
            raise Refused(503, "Stopping", "the server is stopping.", headers={"Retry-After": "5"})
        if not pool.ready:
            why = f": {pool.failure}" if pool.failure else ""
            raise Refused(503, "NotReady", f"no worker holds the model yet{why}.", headers={"Retry-After": "1"})
        return {"workers": pool.ready}

    @app.get("/metrics", response_class=PlainTextResponse, responses=problems.responses(401), summary="For Prometheus.")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
