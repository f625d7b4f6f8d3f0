"""What Prometheus reads at /metrics."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .desk import Batch, Desk
from .pool import Pool

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """Requests by route and status, their seconds, the line, batches and their rows, those under way, evaluations, restarts.

    >>> Meters().text().splitlines()[0]
    '# HELP scorefield_requests_total Requests answered.'
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "scorefield"}
        self.requests = Counter("requests_total", "Requests answered.", ["route", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "From the first byte to the last.", ["route"], buckets=SECONDS, **own
        )
        self.batches = Histogram("batch_rows", "Rows in each batch.", buckets=ROWS, **own)
        self.shared = Histogram("batch_requests", "Requests in each batch.", buckets=ROWS, **own)
        self.evaluations = Counter("evaluations_total", "Evaluations of the network, of whole batches.", **own)
        self.rows = Counter("rows_total", "Rows computed.", **own)
        self.busy = Counter("worker_seconds_total", "Seconds that workers computed.", **own)
        self.cancelled = Counter("cancelled_batches_total", "Batches stopped since nobody waited.", **own)
        self.waiting = Gauge("waiting_requests", "Requests in line.", **own)
        self.running = Gauge("running_batches", "Batches that are being computed.", **own)
        self.ready = Gauge("ready_workers", "Workers that hold the model.", **own)
        self.restarts = Gauge("worker_restarts", "Workers started again.", **own)
        self.retried = Gauge("retried_pieces", "Pieces of requests computed again.", **own)

    def watch(self, desk: Desk, pool: Pool) -> None:
        """Reads the line and the workers whenever it is asked."""
        self.waiting.set_function(lambda: len(desk.waiting))
        self.running.set_function(lambda: pool.running)
        self.ready.set_function(lambda: pool.ready)
        self.restarts.set_function(lambda: pool.restarts)
        self.retried.set_function(lambda: desk.retried)
        pool.seen = self._seen

    def text(self) -> str:
        """All of it, in the text format of Prometheus."""
        return generate_latest(self.registry).decode()

    def _seen(self, batch: Batch, header: dict[str, Any]) -> None:
        self.batches.observe(batch.rows)
        self.shared.observe(len(batch.pieces))
        self.evaluations.inc(header["evaluations"])
        self.busy.inc(header["seconds"])
        if header.get("cancelled"):
            self.cancelled.inc()
        else:
            self.rows.inc(batch.rows)
