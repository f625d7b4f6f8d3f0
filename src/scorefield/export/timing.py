"""Times that may be compared: warmed up, in alternating rounds, medians of many calls.

One call of each contender in turn, and again: what else the machine does meets all of them alike. p50 and p99 are over the
calls; the spread is that of the medians of five parts of the run, so that a machine that is not at rest shows.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import RangeError


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: median and 99th percentile, and how far medians of parts of the run lie apart.

    >>> Timing(2.0, 3.0, 0.1, 100).per_second(64)
    32000.0
    """

    p50: float
    p99: float
    spread: float
    calls: int

    def per_second(self, rows: int) -> float:
        """Rows in a second, at the median."""
        return 1000 * rows / self.p50


def timed(
    contenders: Mapping[str, Callable[[], object]], *, calls: int = 100, seconds: float = 10.0, warm: int = 3
) -> dict[str, Timing]:
    """Each contender's times over ``calls`` rounds, or fewer if ``seconds`` are over; at least five rounds.

    Raises: RangeError for fewer than five calls.

    >>> found = timed({"nothing": lambda: None, "something": lambda: sum(range(20_000))}, calls=20)
    >>> found["nothing"].p50 < found["something"].p50 <= found["something"].p99
    True
    """
    if calls < 5:
        raise RangeError(f"timed(calls={calls}): at least 5 calls, for a median and its spread.")
    for run in contenders.values():
        for _ in range(warm):
            run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    start = time.perf_counter()
    for k in range(calls):
        for name, run in contenders.items():
            before = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - before))
        if k >= 4 and time.perf_counter() - start > seconds:
            break
    return {name: _timing(each) for name, each in times.items()}


def _timing(times: list[float]) -> Timing:
    part = max(1, len(times) // 5)
    medians = [statistics.median(times[k : k + part]) for k in range(0, 5 * part, part)]
    ordered = sorted(times)
    last = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return Timing(statistics.median(times), last, max(medians) - min(medians), len(times))
