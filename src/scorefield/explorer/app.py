"""The application: pages as files, numbers as routes, and rules that keep all of it on this machine.

Every part of the page is a view in ``static/views`` and a router here. Answers carry a policy under which a browser loads
nothing from elsewhere and runs nothing that is not a file of this package; requests whose Host is not this machine's are
refused, so that no page of the web can reach the server by a name that it makes point here.
"""

import mimetypes
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..server.problems import Refused, install, response
from . import images, references, routes, training, walks
from .exercises import routes as exercises
from .held import Held

STATIC = Path(__file__).parent / "static"
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
HOSTS = ("localhost", "127.0.0.1", "[::1]")
MOST_BYTES = 6_000_000


def application(run: Path | None = None) -> FastAPI:
    """The explorer as an ASGI application, of a run (its folder, or its name in the box) or without one.

    Raises: RunError, DamagedError if the run cannot be loaded.

    >>> application().title
    'scorefield explorer'
    """
    mimetypes.add_type("text/javascript", ".js")  # some systems say text/plain, which browsers refuse as a module
    app = FastAPI(title="scorefield explorer", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    install(app)
    app.state.held = Held(run)
    app.add_middleware(Guarded)

    for part in (routes, images, exercises, references, walks, training):
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True), name="static")
    return app


class Guarded:
    """Refuses what is not from its own page, and puts the policy on every answer; streams pass as they come.

    >>> Guarded(FastAPI()).app.title
    'FastAPI'
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = _refused(Headers(scope=scope)) if scope["type"] == "http" else None
        await (response(refused) if refused else self.app)(scope, receive, headed)


def _refused(headers: Headers) -> Refused | None:
    host, origin, length = headers.get("host", ""), headers.get("origin"), headers.get("content-length", "0")
    if (host if host.endswith("]") else host.rpartition(":")[0] or host) not in HOSTS:
        return Refused(403, "Host", f"Host {host!r}: this server answers on this machine only.")
    if origin is not None and origin.partition("://")[2] != host:
        return Refused(403, "Origin", f"Origin {origin!r}: only its own page may ask this server.")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > MOST_BYTES:
        return Refused(413, "TooLarge", f"a body of {length} bytes: it must say its length, at most {MOST_BYTES:,}.")
    return None
