"""What a server allows, so that no request can take it from the others."""

from dataclasses import dataclass, fields

from ..errors import RangeError


@dataclass(frozen=True)
class Limits:
    """Rows and steps of a request, points of a body, bytes of a body, requests in line, seconds of a request, rows of a batch.

    Raises: RangeError for a limit that is not positive.

    >>> Limits(rows=64).rows
    64
    """

    rows: int = 1024
    steps: int = 1000
    points: int = 256
    body: int = 4 * 2**20
    queue: int = 256
    timeout: float = 60.0
    batch: int = 16

    def __post_init__(self):
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise RangeError(f"Limits({each.name}={getattr(self, each.name)}): every limit must be above 0.")
