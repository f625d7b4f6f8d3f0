"""One training of one page: it goes on as long as somebody listens, and can be paused, turned and stopped from outside.

A session is a generator of events, advanced by whoever reads the stream; there is no thread of its own to forget. Reading
ends when the page is left, which closes the generator, which ends the trainings.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..errors import RangeError
from .contest import Contest, Contestant, checked
from .walking import Event, Points
from .wire import packed

SLICE, PATIENCE, MOST = 0.12, 600.0, 4
"""Seconds of training between two reports, seconds that a pause may last, and trainings of all pages together."""


class Session:
    """A contest that is told: ``sigma`` and ``paused`` may be set, and ``stop`` called, from any thread.

    ``cost`` says what is equal among the contestants; ``grid`` are the points at which the fields are shown.
    """

    def __init__(self, contest: Contest, cost: Callable[[Contestant], float], grid: Points):
        self.contest, self.cost, self.grid = contest, cost, grid
        self.sigma = contest.sigma
        self.paused = False
        self.stopped = threading.Event()
        self.awake = threading.Event()

    def turn(self, sigma: float) -> None:
        """Another noise level, from the next report on. Raises: RangeError outside 0.05 … 3."""
        self.sigma = checked(sigma)
        self.awake.set()

    def pause(self, paused: bool) -> None:
        """Waits, or goes on, past where a contestant was to wait too."""
        if not paused:
            self.contest.go_on()
        self.paused = paused
        self.awake.set()

    def stop(self) -> None:
        """Ends the session at its next event."""
        self.stopped.set()
        self.awake.set()

    def events(self) -> Iterator[Event]:
        """start, then reports for as long as anything changes, then end; while paused, a sign of life every second."""
        contest = self.contest
        try:
            yield {"kind": "start", "runs": [{"name": c.name, "per_step": c.per_step} for c in contest.contestants]}
            patience = time.monotonic() + PATIENCE
            self.paused = contest.waiting
            yield self._report() | self._zero()
            while not self.stopped.is_set() and (contest.running or contest.waiting):
                turned = self.sigma != contest.sigma
                if self.paused and not turned:
                    if time.monotonic() > patience:
                        yield {"kind": "end", "reason": "It was paused for ten minutes, so it has ended."}
                        return
                    self.awake.wait(1.0)
                    self.awake.clear()
                    yield {"kind": "waiting"}
                    continue
                patience = time.monotonic() + PATIENCE
                contest.turn(self.sigma)
                if not self.paused:
                    contest.run(SLICE, self.cost)
                    self.paused = self.paused or contest.waiting
                yield self._report() | (self._zero() if turned else {})
            yield {"kind": "end", "reason": self._reason()}
        finally:
            contest.close()

    def _reason(self) -> str:
        failed = [each.failed for each in self.contest.contestants if each.failed]
        if self.stopped.is_set():
            return "Stopped."
        return failed[0] if failed else "All have taken the most steps allowed."

    def _report(self) -> Event:
        contest = self.contest
        runs = [self._told(each) for each in contest.contestants]
        return {"kind": "report", "sigma": contest.sigma, "paused": self.paused, "runs": runs}

    def _zero(self) -> Event:
        """How far a score of zero is from the truth at this noise level, if that is known."""
        return {} if self.contest.truth is None else {"zero": self.contest.zero()}

    def _told(self, each: Contestant) -> dict[str, Any]:
        with torch.no_grad():
            field = each.model(self.grid)
        recent = each.losses[-50:]
        return {
            "name": each.name,
            "steps": each.steps,
            "seconds": each.seconds,
            "evaluations": each.evaluations,
            "training_loss": sum(recent) / len(recent) if recent else None,
            "turns": each.turns,
            "failed": each.failed,
            "field": packed(field),
            **self.contest.measure(each),
        }


class Sessions:
    """The sessions of all pages, one a page: a new one ends the one before.

    >>> Sessions().find("nobody") is None
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def add(self, page: str, session: Session) -> None:
        """Makes it the session of the page. Raises: RangeError if other pages already have as many as allowed."""
        with self._lock:
            old = self._open.pop(page, None)
            if old is not None:
                old.stop()
            if len(self._open) >= MOST:
                raise RangeError(f"train: {MOST} other pages are training now; close one of them, or wait.")
            self._open[page] = session

    def find(self, page: str) -> Session | None:
        """The session of a page, if it has one."""
        with self._lock:
            return self._open.get(page)

    def remove(self, page: str, session: Session) -> None:
        """Forgets it, unless the page has another by now."""
        with self._lock:
            if self._open.get(page) is session:
                del self._open[page]

    def __len__(self) -> int:
        return len(self._open)
