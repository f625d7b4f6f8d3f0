"""Errors over HTTP as machines read them: ``application/problem+json``, Nottingham, Wilde and Dalal (2023), RFC 9457.

    type       urn:scorefield:RangeError, the name of the error          title     what that kind of error is
    status     the HTTP status                                           detail    object, what, got, wanted, remedy
    instance   urn:request: and the id of the request in the logs        errors    for bodies: where, and what was wanted

`install` puts the handlers into an application; `responses` declares them in its OpenAPI document.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .. import errors
from ..errors import ScorefieldError

MEDIA = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    errors.ShapeError: 422,
    errors.RangeError: 422,
    errors.DataError: 422,
    errors.UnknownNameError: 422,
    errors.DivergedError: 422,
    errors.LawError: 422,
    errors.RowsError: 409,
    errors.DamagedError: 500,
    errors.RunError: 409,
    errors.MissingPackageError: 501,
    errors.MemoryLimitError: 503,
    errors.StorageError: 507,
}

TITLES = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    404: "There is nothing at this address.",
    405: "This address does not answer to that method.",
    406: "This form of answer cannot be given.",
    408: "The body came too slowly.",
    409: "This run cannot do that.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "The request is read and cannot be done.",
    429: "Too much is waiting; come back after Retry-After seconds.",
    499: "The client has gone.",
    500: "The server failed; the request may be right.",
    501: "An optional package is not installed.",
    503: "The server is not ready, or stopping.",
    504: "The time for this request is over.",
    507: "There is no room to write.",
}


class Where(BaseModel):
    """One thing that is wrong with a request, and where."""

    where: str = Field(description="the place in the request, such as body.steps", examples=["body.steps"])
    what: str = Field(description="what was wanted there", examples=["Input should be less than or equal to 1000"])


class Problem(BaseModel):
    """The body of every error, RFC 9457."""

    type: str = Field(description="the kind of problem", examples=["urn:scorefield:RangeError"])
    title: str = Field(description="what this kind of problem is", examples=[TITLES[422]])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field(description="object, what, got, wanted and remedy", examples=["label 12: labels are 0 to 9."])
    instance: str | None = Field(default=None, description="the request in the logs", examples=["urn:request:6f1c"])
    errors: list[Where] = Field(default=[], description="the places of a request that are wrong")


class Refused(Exception):
    """An answer other than 2xx, with a detail for people, a name for machines, and headers.

    >>> Refused(429, "Busy", "64 requests wait; 64 may.", headers={"Retry-After": "2"}).status
    429
    """

    def __init__(self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.name, self.detail, self.headers = status, name, detail, dict(headers or {})


def status_of(error: Exception) -> int:
    """The HTTP status of an error: that of the nearest class of `STATUS`, else 500.

    >>> status_of(errors.RangeError("")), status_of(errors.LockedError("")), status_of(KeyError())
    (422, 409, 500)
    """
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(error: Exception, instance: str | None = None) -> Problem:
    """The error as a body. What nobody raised on purpose is told by its kind alone; the log has the rest.

    >>> problem(errors.RangeError("Hutchinson(probes=0): probes must be at least 1.")).type
    'urn:scorefield:RangeError'
    """
    where = f"urn:request:{instance}" if instance else None
    if isinstance(error, Refused):
        return _body(error.name, error.status, error.detail, where)
    if isinstance(error, ScorefieldError):
        status = status_of(error)
        title = (inspect.getdoc(type(error)) or "").partition("\n")[0]
        return _body(type(error).__name__, status, str(error), where, title=title)
    if isinstance(error, RequestValidationError):
        return _invalid(error, where)
    if isinstance(error, HTTPException):
        return _body("HTTP", error.status_code, str(error.detail), where)
    return _body("Failure", 500, f"{type(error).__name__}: the server failed; its log says more.", where)


def response(error: Exception, instance: str | None = None) -> JSONResponse:
    """The error as a response of type problem+json, with its headers."""
    body = problem(error, instance)
    headers = getattr(error, "headers", None)
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=body.status, media_type=MEDIA, headers=dict(headers or {})
    )


def install(app: FastAPI) -> None:
    """Every error of the application, foreseen or not, as problem+json.

    >>> install(FastAPI())
    """

    async def told(request: Request, error: Exception) -> JSONResponse:
        return response(error, getattr(request.state, "request_id", None))

    for kind in (Refused, ScorefieldError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, told)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        """The document, in which errors are problem+json and nothing else."""
        document = described()
        for operation in (each for path in document.get("paths", {}).values() for each in path.values()):
            for answer in operation.get("responses", {}).values():
                if MEDIA in answer.get("content", {}):
                    answer["content"] = {MEDIA: answer["content"][MEDIA]}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its errors: ``@app.post("/samples", responses=problems.responses(401, 422))``.

    >>> sorted(responses(401, 422))
    [401, 422]
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"model": Problem, "description": TITLES[status], "content": {MEDIA: {"schema": schema}}}
        for status in statuses
    }


def _body(name: str, status: int, detail: str, where: str | None, *, title: str | None = None) -> Problem:
    title = title or TITLES.get(status, "The request cannot be done.")
    return Problem(type=f"urn:scorefield:{name}", title=title, status=status, detail=detail, instance=where)


def _invalid(error: RequestValidationError, where: str | None) -> Problem:
    """Places and what was wanted there; what was sent is not sent back."""
    found = [Where(where=".".join(map(str, each["loc"])), what=str(each["msg"])) for each in error.errors()]
    status = 400 if any(each["type"] == "json_invalid" for each in error.errors()) else 422
    some = "; ".join(f"{each.where}: {each.what}" for each in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    body = _body("Unreadable" if status == 400 else "Invalid", status, f"{some}{more}.", where)
    return body.model_copy(update={"errors": found[:20]})
