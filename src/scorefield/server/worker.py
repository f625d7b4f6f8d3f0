"""A worker: a process of its own that holds the model and computes one batch after the other. It speaks by `frames` alone.

    front -> worker   {"run", "recipe", "largest", "threads", "onnx"} once; then {"do": "batch", ...} and {"do": "cancel", "id"}
    worker -> front   {"ready", "sizes", ...} or {"failed"}; {"id", "state", "t"} while it walks; {"id", "evaluations", "errors"}

Ahead of every evaluation it looks whether the batch has been cancelled. It ends when the front closes the line: signals that stop a
service are the front's to answer, so that what was accepted is still computed.
"""

import gc
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from typing import Any

import numpy as np

from ..errors import DivergedError, MemoryLimitError, RunError, ScorefieldError
from . import frames
from .engine import Engine, require_finite
from .served import Served


class Cancelled(Exception):
    """Nobody waits for the batch any more."""


class Worker:
    """The loop over messages of one line."""

    def __init__(self, line: socket.socket):
        self.line = line
        self.ahead: deque[frames.Message] = deque()
        self.cancelled: set[int] = set()
        self.current = -1
        self.engine: Engine | None = None

    def run(self) -> None:
        """Opens the run that the first message names, then computes until the line is closed."""
        header, _ = frames.receive(self.line)
        try:
            self.engine = opened(header, self._look)
        except ScorefieldError as error:
            frames.send(self.line, {"failed": told(error)})
            return
        gc.freeze()  # what is loaded stays, and is not looked through for cycles
        frames.send(self.line, {"ready": True, "sizes": list(self.engine.sizes)})
        while True:
            header, arrays = self.ahead.popleft() if self.ahead else frames.receive(self.line)
            if header["do"] == "batch":
                self._batch(self.engine, header, arrays)

    def _look(self) -> None:
        """Reads what has come meanwhile. Raises: Cancelled if it is that nobody waits for this batch."""
        while select.select([self.line], [], [], 0)[0]:
            message = frames.receive(self.line)
            if message[0]["do"] == "cancel":
                self.cancelled.add(message[0]["id"])
            else:
                self.ahead.append(message)
        if self.current in self.cancelled:
            raise Cancelled

    def _batch(self, engine: Engine, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.current, start = header["id"], time.perf_counter()
        before, answer = engine.evaluations, {}
        errors: list[dict[str, str] | None] = [None] * len(header["parts"])
        whole: dict[str, Any] = {}

        def show(step: int, t: float, seen: dict[str, np.ndarray]) -> None:
            frames.send(self.line, {"id": self.current, "state": step, "t": t}, seen)

        try:
            answer = engine.compute(
                header["operation"], header["options"], arrays, show if header["streamed"] else None
            )
            stops = np.cumsum(header["parts"])
            for k, (begin, stop) in enumerate(zip(stops - header["parts"], stops)):
                try:
                    require_finite(answer, slice(begin, stop))
                except DivergedError as error:
                    errors[k] = told(error)
        except (EOFError, ConnectionError):  # the front has gone
            raise
        except Cancelled:
            whole = {"cancelled": True}
        except MemoryError:
            rows = sum(header["parts"])
            whole = {
                "error": told(
                    MemoryLimitError(f"batch of {rows} rows: out of memory; ask for fewer, or lower --batch.")
                )
            }
        except ScorefieldError as error:
            whole = {"error": told(error)}
        except Exception as error:
            traceback.print_exc()
            whole = {"error": told(error)}
        self.cancelled.discard(self.current)
        done = {"id": self.current, "evaluations": engine.evaluations - before, "seconds": time.perf_counter() - start}
        self.current = -1
        frames.send(self.line, {**done, "errors": errors, **whole}, answer)


def opened(config: dict[str, Any], look: Any) -> Engine:
    """The engine that a first message describes, warmed up. Raises: as `Served.open`."""
    import torch

    torch.set_num_threads(config["threads"])
    served = Served.open(config["run"], config["recipe"])
    engine = Engine(served, config["largest"], graph_of(config["onnx"], served, config["threads"]))
    rows = {"seed": np.zeros(1, dtype=np.int64), "row": np.zeros(1, dtype=np.int64), "label": np.full(1, -1)}
    engine.samples({}, rows)
    engine.before = look
    return engine


def graph_of(path: str | None, served: Served, threads: int) -> Any:
    """The exported denoiser of this very run; None for no path. Raises: RunError for another's; as `OnnxDenoiser`."""
    if path is None:
        return None
    from ..export import OnnxDenoiser
    from ..export.writing import fingerprint

    graph = OnnxDenoiser(path, threads)
    if graph.about.get("sha256") != fingerprint(served.model):
        raise RunError(
            f"--onnx {path}: it was exported from other weights than those of {served.name}; export this run again."
        )
    return graph


def told(error: Exception) -> dict[str, str]:
    """An error as plain data.

    >>> told(DivergedError("too far"))
    {'kind': 'DivergedError', 'message': 'too far'}
    """
    return {"kind": type(error).__name__, "message": str(error)}


def main() -> None:
    """Serve the socket whose number is the only argument, until its other end is closed."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    line = socket.socket(fileno=int(sys.argv[1]))
    try:
        Worker(line).run()
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main()
