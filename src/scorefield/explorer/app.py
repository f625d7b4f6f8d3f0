"""The application: pages as files, numbers as routes, and rules that keep all of it on this machine.

Every part of the page is a view in ``static/views`` and a router here. Answers carry a policy under which a browser loads
nothing from elsewhere and runs nothing that is not a file of this package; requests whose Host is not this machine's are
refused, so that no page of the web can reach the server by a name that it makes point here.
"""

import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

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
HOSTS = ("localhost", "127.0.0.1", "[::1]", "testserver")
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
    app.middleware("http")(_guarded)

    for part in (routes, images, exercises, references, walks, training):
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True), name="static")
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    length = request.headers.get("content-length", "0")
    origin = request.headers.get("origin")
    if name not in HOSTS:
        answer: Response = response(Refused(403, "Host", f"Host {host!r}: this server answers on this machine only."))
    elif origin is not None and origin.partition("://")[2] != host:
        answer = response(Refused(403, "Origin", f"Origin {origin!r}: only its own page may ask this server."))
    elif not length.isdigit() or int(length) > MOST_BYTES:
        answer = response(Refused(413, "TooLarge", f"a body of {length} bytes: at most {MOST_BYTES:,} are read."))
    else:
        answer = await call_next(request)
    answer.headers.update(HEADERS)
    return answer
