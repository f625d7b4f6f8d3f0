"""Answers that come while they are computed: one JSON object a line, each as soon as it is there.

The first line is computed before the answer begins, so that what is wrong with a request is still told as a problem; a later
error is a last line {"kind": "failed", "message": …}. When the reader leaves, the computation is closed between two lines.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.types import Receive, Scope, Send

from ..errors import ScorefieldError

Event = dict[str, Any]


class Lines(StreamingResponse):
    """The events as lines of JSON; ``done`` is called when the answer ends, however it ends, after the events were closed."""

    media_type = "application/x-ndjson"

    def __init__(self, events: Iterator[Event], close: Callable[[], object]):
        super().__init__(_written(events))
        self.close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # nobody else closes a generator whose reader has gone
            self.close()


async def lines(events: Iterator[Event], done: Callable[[], object] = lambda: None) -> Lines:
    """The events as an answer, once the first is there.

    Raises: what the first event raises.
    """

    def close() -> None:
        getattr(events, "close", lambda: None)()
        done()

    try:
        first = [await run_in_threadpool(next, events)]
    except BaseException:
        close()
        raise
    return Lines(chain(first, events), close)


async def _written(events: Iterator[Event]) -> AsyncIterator[str]:
    try:
        async for event in iterate_in_threadpool(events):
            yield json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n"
    except ScorefieldError as error:
        yield json.dumps({"kind": "failed", "message": str(error)}) + "\n"
