"""The four operations: a body becomes a ticket, the ticket's answer becomes a response of the form that was asked for."""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, StrEnum
from typing import Annotated, Any

import numpy as np
from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from ..samplers.named import sampler as named
from .arrays import array_of, json_of, mask_of, npy_of, png_of, zip_of
from .desk import Arrays, Desk, Ticket
from .limits import Limits
from .problems import Refused, problem
from .served import Served

FORMS = {
    "json": "application/json",
    "npy": "application/x-npy",
    "png": "image/png",
    "zip": "application/zip",
    "ndjson": "application/x-ndjson",
    "sse": "text/event-stream",
}


class Form(StrEnum):
    """The form of an answer; it wins over the header Accept."""

    json = "json"
    npy = "npy"
    png = "png"
    zip = "zip"
    ndjson = "ndjson"
    sse = "sse"


class ArrayForm(StrEnum):
    """The form of an answer of numbers."""

    json = "json"
    npy = "npy"


Asked = Annotated[Form | None, Query(alias="format", description="the form of the answer; wins over Accept")]
AskedArray = Annotated[ArrayForm | None, Query(alias="format", description="the form of the answer; wins over Accept")]


class Operations:
    """The handlers of one run."""

    def __init__(self, served: Served, limits: Limits, desk: Desk):
        self.served, self.limits, self.desk = served, limits, desk
        self.pictures = len(served.shape) == 3 and served.shape[0] in (1, 3)

    async def samples(self, request: Request, body: Any, form: Asked = None) -> Response:
        """Draw n samples: as JSON, NPY, PNG (one sheet), ZIP (a PNG each), or as the walk, line by line."""
        wanted = _form(request, form, "json", "npy", "png", "zip", "ndjson", "sse")
        if wanted in ("png", "zip") and not self.pictures:
            raise Refused(
                406, "NotAcceptable", f"events of shape {self.served.shape} make no picture; ask for JSON or NPY."
            )
        ticket = self._drawing(body, wanted in ("ndjson", "sse"))
        if ticket.states is not None:
            return await self._streamed(request, ticket, body, wanted)
        found = await self._answered(request, ticket)
        x, headers = found["x"], {"x-evaluations": str(ticket.evaluations)}
        if wanted == "npy":
            return Response(npy_of(x), media_type=FORMS["npy"], headers=headers)
        if wanted == "png":
            return Response(png_of(x, self.served.scaling), media_type=FORMS["png"], headers=headers)
        if wanted == "zip":
            return Response(zip_of(x, self.served.scaling, body.first), media_type=FORMS["zip"], headers=headers)
        return Response(json_of(self._told(found, ticket, body)), media_type=FORMS["json"], headers=headers)

    async def scores(self, request: Request, body: Any, form: AskedArray = None) -> Response:
        """The score ∇ log p_t at points, in the data's units."""
        return await self._pointwise("scores", "score", "scores", request, body, form)

    async def denoise(self, request: Request, body: Any, form: AskedArray = None) -> Response:
        """The mean E[x_0 | x_t] at points, in the data's units."""
        return await self._pointwise("denoise", "x", "denoised", request, body, form)

    async def densities(self, request: Request, body: Any) -> Response:
        """The log-density at points in nats, with its standard error."""
        self._require("densities")
        x, label = self._points(body)
        rows = {"x": x, "label": label, "row": np.arange(len(x))}
        options = {"steps": body.steps, "seed": body.seed}
        ticket = Ticket("densities", options, rows, shares=False, cost=len(x) * body.steps * 30.0)
        found = await self._answered(request, ticket)
        return Response(json_of({**found, "evaluations": ticket.evaluations}), media_type=FORMS["json"])

    async def _pointwise(
        self, operation: str, key: str, name: str, request: Request, body: Any, form: ArrayForm | None
    ) -> Response:
        wanted = _form(request, form, "json", "npy")
        self._require(operation)
        x, label = self._points(body)
        n = len(x)
        at = {each: np.full(n, getattr(body, each, None) or -1.0) for each in ("t", "level")}
        ticket = Ticket(operation, {}, {"x": x, "label": label, **at}, cost=float(n))
        found = await self._answered(request, ticket)
        if wanted == "npy":
            return Response(npy_of(found[key]), media_type=FORMS["npy"])
        return Response(json_of({name: found[key], "evaluations": ticket.evaluations}), media_type=FORMS["json"])

    def _drawing(self, body: Any, streamed: bool) -> Ticket:
        """The ticket of a drawing, all that can be wrong with it told at once."""
        for what in ("label", "guidance", "sampler", "completion"):
            if getattr(body, what) is not None:
                self._require(what)
        if body.sampler is not None:
            self.served.require_walks(named(body.sampler))
        n, served = body.n, self.served
        label = -1 if body.label is None else body.label
        rows = {"seed": np.full(n, body.seed), "row": np.arange(body.first, body.first + n), "label": np.full(n, label)}
        options: dict[str, Any] = {"sampler": body.sampler, "steps": body.steps, "guidance": body.guidance}
        common: Arrays = {}
        if body.completion is not None:
            mask = mask_of(_plain(body.completion.mask), served.shape, "completion.mask")
            image = array_of(_plain(body.completion.image), served.shape, served.scaling, "completion.image")
            common, options["noise"] = {"mask": mask, "image": image}, body.completion.noise
        if streamed:
            options["every"] = body.every
        cost = float(n * (body.steps or served.drawing.steps) * (5 if common else 1))
        return Ticket(
            "samples", _hashable(options), rows, common, states=asyncio.Queue() if streamed else None, cost=cost
        )

    def _points(self, body: Any) -> tuple[np.ndarray, np.ndarray]:
        if body.label is not None:
            self._require("label")
        x = array_of(_plain(body.x), self.served.shape, self.served.scaling, "x", rows=True)
        if len(x) > self.limits.points:
            raise Refused(413, "TooLarge", f"x: {len(x)} points; {self.limits.points} are taken at once.")
        return x, np.full(len(x), -1 if body.label is None else body.label)

    def _require(self, what: str) -> None:
        why = self.served.cannot(what)
        if why is not None:
            raise Refused(409, "Cannot", f"{what} of {self.served.name}: {why}")

    async def _answered(self, request: Request, ticket: Ticket) -> Arrays:
        """What the workers found. Raises: Refused 504 when the time is over; the computation stops then, and if the client goes."""
        self.desk.accept(ticket)
        gone = asyncio.ensure_future(_gone(request))
        both: set[asyncio.Future[Any]] = {ticket.answer, gone}
        try:
            await asyncio.wait(both, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            self._log(request, ticket)
            if not ticket.answer.done():
                self.desk.leave(ticket)
        if ticket.answer.done():
            return ticket.answer.result()
        if gone.done() and not gone.cancelled():
            raise Refused(499, "Gone", "the client has gone; nothing was computed further.")
        raise self._late()

    async def _streamed(self, request: Request, ticket: Ticket, body: Any, wanted: str) -> Response:
        """The walk as lines or events; what goes wrong before the first of them is an answer of its own."""
        self.desk.accept(ticket)
        ticket.answer.add_done_callback(ticket.end)
        deadline = asyncio.get_running_loop().time() + self.limits.timeout
        try:
            first = await self._state(ticket, deadline)
            if first is None:
                ticket.answer.result()
        except BaseException:
            self.desk.leave(ticket)
            raise

        async def lines() -> AsyncIterator[bytes]:
            state = first
            try:
                while state is not None:
                    yield _line(wanted, "state", state)
                    state = await self._state(ticket, deadline)
                yield _line(wanted, "done", self._told(ticket.answer.result(), ticket, body))
            except Exception as error:
                told = problem(error, request.state.request_id).model_dump(exclude_none=True)
                yield _line(wanted, "problem", {"problem": told})
            finally:
                self._log(request, ticket)
                self.desk.leave(ticket)

        return StreamingResponse(lines(), media_type=FORMS[wanted], headers={"Cache-Control": "no-store"})

    async def _state(self, ticket: Ticket, deadline: float) -> dict[str, Any] | None:
        """The next state of a walk; None when it is over."""
        states = ticket.states
        if states is None:
            return None
        try:
            async with asyncio.timeout_at(deadline):
                found = await states.get()
        except TimeoutError as error:
            raise self._late() from error
        if found is None:
            return None
        start, stop, step, t, arrays = found
        return {"rows": [start, stop], "step": step, "t": t, **arrays}

    def _told(self, found: Arrays, ticket: Ticket, body: Any) -> dict[str, Any]:
        labels = found["label"] if self.served.classes is not None else None
        if labels is not None and body.completion is not None and body.label is None:
            labels = None
        about = {"seed": body.seed, "first": body.first, "evaluations": ticket.evaluations}
        return {"samples": found["x"], "labels": labels, **about}

    def _late(self) -> Refused:
        words = f"no answer within {self.limits.timeout:g} s: ask for fewer samples or steps, or raise the server's --timeout."
        return Refused(504, "Late", words)

    def _log(self, request: Request, ticket: Ticket) -> None:
        request.state.rows, request.state.evaluations = ticket.n, ticket.evaluations


def _form(request: Request, asked: Enum | None, *known: str) -> str:
    """The form of the answer: the one that was asked for, or the first of Accept that is known."""
    if asked is not None:
        return str(asked.value)
    accept = request.headers.get("accept", "*/*")
    for each in accept.split(","):
        media = each.partition(";")[0].strip().lower()
        if media in ("*/*", "application/*", ""):
            return known[0]
        for name in known:
            if media == FORMS[name]:
                return name
    raise Refused(
        406, "NotAcceptable", f"Accept: {accept[:100]}; one of {', '.join(FORMS[each] for each in known)} wanted."
    )


def _line(wanted: str, event: str, body: dict[str, Any]) -> bytes:
    data = json_of(body)
    return data + b"\n" if wanted == "ndjson" else b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def _plain(given: Any) -> Any:
    return given.model_dump() if isinstance(given, BaseModel) else given


def _hashable(options: dict[str, Any]) -> dict[str, Any]:
    """Without what was not asked for, so that such requests share their batch with others."""
    return {key: value for key, value in options.items() if value is not None}


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
