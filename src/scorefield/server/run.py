"""The server as a process: a socket of its own, a log in JSON, and an end at which everything accepted is answered."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from ..errors import RangeError, RunError
from .gate import Gate, tell

SETTLE = 0.05
COLLECTED = 10_000  # new containers between looks for cycles; a request leaves none, so there is little to find


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM or SIGINT first refuses what is new (503; /readyz too), answers what it accepted, and then stops."""

    def __init__(self, config: uvicorn.Config, gate: Gate, drain: float):
        super().__init__(config)
        self.gate, self.drain = gate, drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; the second stops at once."""
        desk = self.gate.pool.desk
        if desk.closed or self._loop is None:
            super().handle_exit(sig, frame)
        else:
            desk.closed = True
            self._loop.call_soon_threadsafe(self._begin, signal.Signals(sig).name)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def _begin(self, name: str) -> None:
        tell("draining", signal=name, waiting=len(self.gate.pool.desk.waiting))
        self._draining = asyncio.create_task(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain):
                while self.gate.active or self.gate.pool.running:
                    await asyncio.sleep(SETTLE)
        self.should_exit = True


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises: RunError where the port is taken or there is no such host; RangeError for a port.

    >>> with bound("localhost", 0) as free:
    ...     free.getsockname()[1] > 0
    True
    """
    if not 0 <= port <= 65535:
        raise RangeError(f"serve(port={port}): ports are 0 (any that is free) to 65535.")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise RunError(
            f"serve(host={host!r}): no such host; localhost, or 0.0.0.0 for every network of this machine."
        ) from error
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(place)
        made.listen(2048)
    except OSError as error:
        made.close()
        raise RunError(
            f"serve({host}, port={port}): {os.strerror(error.errno or 0)}; choose another --port, or 0."
        ) from error
    return made


def logs(level: str) -> None:
    """The log on stderr, one JSON object a line. Raises: RangeError for a level that there is none of."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise RangeError(f"--log-level {level}: one of debug, info, warning, error wanted.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    for name in ("scorefield.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(number if name == "scorefield.server" else max(number, logging.WARNING))


def run(gate: Gate, listening: socket.socket, *, drain: float = 60.0) -> None:
    """Serves on the socket until SIGTERM or SIGINT; ``drain`` are the most seconds that the end may take."""
    config = uvicorn.Config(
        gate, log_config=None, access_log=False, lifespan="on", server_header=False, proxy_headers=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=5,
    )  # fmt: skip
    host, port = listening.getsockname()[:2]
    gc.freeze()  # what is loaded by now stays: to look through it again and again took a third of the front's time
    gc.set_threshold(COLLECTED)
    tell("listening", host=host, port=port, pid=os.getpid())
    Server(config, gate, drain).run(sockets=[listening])
    tell("stopped")


class _Lines(logging.Formatter):
    """What is JSON stays as it is; what uvicorn says becomes it."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if text.startswith("{"):
            return text
        return json.dumps({"event": record.name, "level": record.levelname.lower(), "message": text})
