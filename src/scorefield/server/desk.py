"""Where requests wait, and how they are put together into batches.

Requests that ask for the same operation with the same options share a batch, each with rows, seeds and labels of its own. The next
batch is taken as soon as a worker is free: the first waiting request and, up to ``largest`` rows, those behind it that fit. A request
of more rows goes in pieces and to the back of the line after each, so that a small one waits for one piece of it and not for all.

A batch that fails is computed again request by request, so that the error reaches the one it belongs to. A request that was in three
batches whose worker died is given up: answers are functions of the request alone, so to compute one twice is safe.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from .. import errors
from ..errors import ScorefieldError
from .problems import Refused

Arrays = dict[str, np.ndarray]
DEATHS = 3
WAITING_STATES = 32
LONGEST = 600


@dataclass(eq=False)
class Ticket:
    """One request: ``rows`` are arrays with a row for each of its n, ``common`` those of the whole request.

    ``shares`` is False for what is computed by itself. ``answer`` is the future of its arrays; ``states`` gets the states of its walk.
    """

    operation: str
    options: Mapping[str, Any]
    rows: Arrays
    common: Arrays = field(default_factory=dict)
    shares: bool = True
    states: asyncio.Queue[Any] | None = None
    cost: float = 1.0

    def __post_init__(self):
        self.n = len(next(iter(self.rows.values())))
        self.answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        self.evaluations = 0
        self.deaths = 0
        self.gone = False
        self.pieces: deque[tuple[int, int]] = deque()
        self.found: dict[int, Arrays] = {}
        self.shown: dict[int, int] = {}
        self.batches: set[Batch] = set()
        alone = not self.shares or bool(self.common) or self.states is not None
        self.key: Any = id(self) if alone else (self.operation, *sorted(self.options.items()))

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more, or it has its answer."""
        return self.gone or self.answer.done()

    def take(self, room: int) -> tuple[int, int]:
        """The next of its rows that are to be computed, ``room`` of them at most."""
        start, stop = self.pieces.popleft()
        if stop - start > room:
            self.pieces.appendleft((start + room, stop))
        return start, min(stop, start + room)

    def end(self, _: object = None) -> None:
        """Tells who reads the states that there are no more."""
        if self.states is not None:
            self.states.put_nowait(None)


@dataclass(eq=False)
class Batch:
    """Pieces (ticket, start, stop) that are computed together."""

    number: int
    pieces: list[tuple[Ticket, int, int]]
    cancel: Callable[[], None] | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(stop - start for _, start, stop in self.pieces)

    @property
    def cost(self) -> float:
        """Its part of the costs of its requests."""
        return sum(ticket.cost * (stop - start) / ticket.n for ticket, start, stop in self.pieces)

    @property
    def header(self) -> dict[str, Any]:
        """What the worker is told."""
        ticket = self.pieces[0][0]
        parts = [stop - start for _, start, stop in self.pieces]
        about = {"operation": ticket.operation, "options": ticket.options, "streamed": ticket.states is not None}
        return {"do": "batch", "id": self.number, "parts": parts, **about}

    @property
    def arrays(self) -> Arrays:
        """The rows of all pieces, and what they have in common."""
        first = self.pieces[0][0]
        joined = {name: np.concatenate([t.rows[name][a:b] for t, a, b in self.pieces]) for name in first.rows}
        return joined | first.common


class Desk:
    """The bounded line of waiting requests. ``capacity`` requests may wait; batches have ``largest`` rows at most."""

    def __init__(self, capacity: int, largest: int, timeout: float = math.inf):
        self.capacity, self.largest, self.timeout = capacity, largest, timeout
        self.waiting: deque[Ticket] = deque()
        self.begun: list[Ticket] = []
        self.closed = False
        self.rate: float | None = None
        self.work = 0.0
        self.retried = 0
        self._arrived = asyncio.Event()
        self._numbers = count()

    def accept(self, ticket: Ticket) -> None:
        """Puts a request into line. Raises: Refused 503 when closing; 429, with Retry-After, when too many or too much wait."""
        if self.closed:
            raise Refused(503, "Stopping", "the server is stopping; ask another one.", headers={"Retry-After": "5"})
        wait = self.wait
        if len(self.waiting) >= self.capacity or wait > self.timeout:
            seconds = str(max(1, min(LONGEST, math.ceil(wait))))
            words = f"{len(self.waiting)} requests wait, {self.capacity} may; what waits takes {wait:.3g} s: try again in {seconds} s."
            raise Refused(429, "Busy", words, headers={"Retry-After": seconds})
        ticket.pieces.append((0, ticket.n))
        self.work += ticket.cost
        self.waiting.append(ticket)
        self._arrived.set()

    @property
    def wait(self) -> float:
        """Seconds that the work in line takes, at the rate of late; 0 while none is known."""
        return max(0.0, self.work) / self.rate if self.rate else 0.0

    async def next(self) -> Batch:
        """The next batch, as soon as there is one."""
        while not self.waiting and not self.begun:
            self._arrived.clear()
            await self._arrived.wait()
        self.waiting.extend(self.begun)  # behind all that came while their last piece was computed
        self.begun.clear()
        first = self.waiting.popleft()
        chosen = [(first, *first.take(self.largest))]
        room, behind = self.largest - (chosen[0][2] - chosen[0][1]), []
        if first.key != id(first) and room:
            others: deque[Ticket] = deque()
            while self.waiting and room:
                ticket = self.waiting.popleft()
                if ticket.key == first.key:
                    chosen.append((ticket, *ticket.take(room)))
                    room -= chosen[-1][2] - chosen[-1][1]
                    behind += [ticket] * bool(ticket.pieces)
                else:
                    others.append(ticket)
            self.waiting.extendleft(reversed(others))
        self.begun += [first] * bool(first.pieces) + behind
        batch = Batch(next(self._numbers), chosen)
        self.work -= batch.cost
        for ticket, _, _ in chosen:
            ticket.batches.add(batch)
        return batch

    def state(self, batch: Batch, step: int, t: float, arrays: Arrays) -> None:
        """One state of a streamed walk, once, though its worker died and it was walked again; a reader far behind misses some."""
        ticket, start, stop = batch.pieces[0]
        if ticket.states is None or ticket.over or step <= ticket.shown.get(start, -1):
            return
        ticket.shown[start] = step
        if ticket.states.qsize() < WAITING_STATES:
            ticket.states.put_nowait((start, stop, step, t, arrays))

    def done(self, batch: Batch, header: Mapping[str, Any], arrays: Arrays) -> None:
        """The worker's answer: each piece gets its rows, or its error."""
        self._leave(batch)
        if header.get("cancelled"):
            return
        if "error" in header:
            self._failed(batch, error_of(header["error"]))
            return
        place = 0
        for (ticket, start, stop), wrong in zip(batch.pieces, header["errors"]):
            size = stop - start
            if wrong is not None:
                self._refuse(ticket, error_of(wrong))
            elif not ticket.over:
                ticket.found[start] = {name: each[place : place + size] for name, each in arrays.items()}
                ticket.evaluations += header["evaluations"]
                if sum(len(next(iter(each.values()))) for each in ticket.found.values()) == ticket.n:
                    parts = [ticket.found[key] for key in sorted(ticket.found)]
                    ticket.answer.set_result({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})
            place += size
        self._learn(batch, header["seconds"])

    def lost(self, batch: Batch) -> None:
        """The worker died over this batch: its requests go back to the head of the line, each alone now."""
        self._leave(batch)
        for ticket, start, stop in reversed(batch.pieces):
            ticket.deaths += 1
            if ticket.deaths >= DEATHS:
                words = f"the worker died {DEATHS} times over this request; the others go on. The log says more."
                self._refuse(ticket, Refused(500, "Crashed", words))
            else:
                self._again(ticket, start, stop)

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for this request any more: its place goes to others, its computation stops if all of its batch have left."""
        ticket.gone = True
        self._forget(ticket)
        for batch in ticket.batches:
            if all(each.over for each, _, _ in batch.pieces) and batch.cancel is not None:
                batch.cancel()

    def _failed(self, batch: Batch, error: Exception) -> None:
        if len(batch.pieces) == 1:
            self._refuse(batch.pieces[0][0], error)
        else:
            for ticket, start, stop in reversed(batch.pieces):
                self._again(ticket, start, stop)

    def _again(self, ticket: Ticket, start: int, stop: int) -> None:
        if ticket.over:
            return
        self.retried += 1
        ticket.key = id(ticket)
        ticket.pieces.appendleft((start, stop))
        self.work += ticket.cost * (stop - start) / ticket.n
        if ticket not in self.waiting and ticket not in self.begun:
            self.waiting.appendleft(ticket)
        self._arrived.set()

    def _refuse(self, ticket: Ticket, error: Exception) -> None:
        if not ticket.over:
            ticket.answer.set_exception(error)
        self._forget(ticket)

    def _forget(self, ticket: Ticket) -> None:
        self.work -= ticket.cost * sum(stop - start for start, stop in ticket.pieces) / ticket.n
        ticket.pieces.clear()
        for line in (self.waiting, self.begun):
            if ticket in line:
                line.remove(ticket)

    def _leave(self, batch: Batch) -> None:
        for ticket, _, _ in batch.pieces:
            ticket.batches.discard(batch)

    def _learn(self, batch: Batch, seconds: float) -> None:
        """The rate at which work is done: up at once, since full batches do more a second than small ones, down over some ten."""
        now = batch.cost / max(seconds, 1e-6)
        self.rate = now if self.rate is None else max(now, 0.9 * self.rate + 0.1 * now)


def error_of(plain: Mapping[str, str]) -> Exception:
    """The error that a worker told of.

    >>> error_of({"kind": "RangeError", "message": "n must be 1."})
    RangeError('n must be 1.')
    """
    kind = getattr(errors, plain["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ScorefieldError):
        return kind(plain["message"])
    return Refused(500, "Failure", f"{plain['kind']}: the server failed; its log says more.")
