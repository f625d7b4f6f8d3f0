"""What every request passes: its id, the token, the size of its body, its line in the log and its place in the metrics.

Written against ASGI itself, since it is on the way of every request.
"""

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI

from .meters import Meters
from .pool import Pool
from .problems import Refused, response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN = ("/healthz", "/readyz")
IDS = re.compile(rb"[A-Za-z0-9._-]{1,64}")
BODY_SECONDS = 30.0

log = logging.getLogger("scorefield.server")


class Gate:
    """Around an application: ``token`` must be in Authorization unless it is None; bodies have ``body`` bytes at most."""

    def __init__(self, app: FastAPI, meters: Meters, body: int, token: str | None, pool: Pool):
        self.app, self.meters, self.body, self.pool = app, meters, body, pool
        self.token = None if token is None else f"Bearer {token}".encode()
        self.active = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if IDS.fullmatch(given) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = name

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            await send(message)

        self.active += 1
        try:
            self._require_token(scope["path"], headers)
            body = await self._body(headers, receive)
        except Refused as error:
            await response(error, name)(scope, receive, sending)
        else:
            await self.app(scope, _again(body, receive), sending)
        finally:
            self.active -= 1
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self.meters.requests.labels(route, status or 499).inc()
            self.meters.seconds.labels(route).observe(seconds)
            if log.isEnabledFor(logging.INFO):
                about = {"id": name, "method": scope["method"], "route": scope["path"][:200], "status": status or 499}
                counts = {key: state[key] for key in ("rows", "evaluations") if key in state}
                tell("request", **about, ms=round(1e3 * seconds, 2), **counts)

    def _require_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.token is None or path in OPEN:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self.token):
            words = "this server wants the header Authorization: Bearer TOKEN; the token given is none, or not the right one."
            raise Refused(401, "Unauthorized", words, headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.body:
            raise self._too_large(int(length))
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    part = message.get("body", b"")
                    size += len(part)
                    if size > self.body:
                        raise self._too_large(size)
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise Refused(408, "Slow", f"the body did not come within {BODY_SECONDS:g} s.") from error

    def _too_large(self, size: int) -> Refused:
        words = f"a body of {size} bytes or more; {self.body} are taken: ask for fewer points at once, or send NPY."
        return Refused(413, "TooLarge", words, headers={"Connection": "close"})


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once; then what comes, which can only be that the client has gone."""
    first = True

    async def receiving() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receiving


def tell(event: str, **about: Any) -> None:
    """One line of the log, in JSON: the time in UTC, what happened, and about what."""
    now = time.time()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    log.info(json.dumps({"time": moment, "event": event, **about}, separators=(",", ":"), default=str))
