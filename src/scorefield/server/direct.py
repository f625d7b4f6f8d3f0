"""Routes that are on the way of every request: FastAPI describes them, and a body goes from bytes to its type in one step.

A route of FastAPI reads JSON into objects, solves dependencies, and then validates. These have no dependencies, and what validates is
the very type that the OpenAPI document was made from, so what the document promises is what is taken.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from .problems import Refused


class Direct(APIRoute):
    """A route whose endpoint takes the request, its JSON ``body`` and, if it has any choice, the ``form`` of the answer.

    A request that does not fit is refused: RequestValidationError with the places, Refused 415 for another type than JSON.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What Starlette calls."""
        endpoint = self.endpoint
        kinds = {name: each.annotation for name, each in inspect.signature(endpoint).parameters.items()}
        body: TypeAdapter[Any] = TypeAdapter(kinds.pop("body"))
        form: TypeAdapter[Any] | None = TypeAdapter(kinds.pop("form")) if "form" in kinds else None

        async def handler(request: Request) -> Response:
            require_json(request.headers.get("content-type", ""))
            asked = {"body": fitting(body.validate_json, await request.body(), "body")}
            if form is not None:
                asked["form"] = fitting(form.validate_python, request.query_params.get("format"), "query", "format")
            return await endpoint(request=request, **asked)

        return handler


def fitting(validate: Callable[[Any], Any], given: Any, *where: str) -> Any:
    """What the type makes of it. Raises: RequestValidationError, its places below ``where``.

    >>> fitting(TypeAdapter(list[int]).validate_json, b"[1, 2]", "body")
    [1, 2]
    """
    try:
        return validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**each, "loc": (*where, *each["loc"])} for each in found]) from error


def require_json(content_type: str) -> None:
    """Raises: Refused 415 for a body that does not say that it is JSON: a page of another site can send no other without being asked.

    >>> require_json("application/json; charset=utf-8")
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        words = f"Content-Type: {content_type[:100] or 'none'}; application/json wanted, and a body such as {{}}."
        raise Refused(415, "MediaType", words)
