"""The worker processes: started, fed with batches, and started again when they die."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from . import frames
from .desk import Batch, Desk, error_of

GRACE = 10.0  # seconds between cancelling a batch and killing a worker that does not answer
Tell = Callable[..., None]


@dataclass(frozen=True)
class Config:
    """What a worker is told first: the run, the file of its recipe, the most rows of a batch, its threads, an exported graph."""

    run: str
    recipe: str | None = None
    largest: int = 16
    threads: int = 1
    onnx: str | None = None


class Line:
    """One worker process and the line to it."""

    def __init__(self, process: subprocess.Popen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.process, self.reader, self.writer = process, reader, writer
        self.running: dict[int, Batch] = {}
        self.sizes: list[int] = []
        self._free = asyncio.Event()

    @classmethod
    async def open(cls, config: Config) -> "Line":
        """A new process with its model loaded. Raises: the error that kept it from loading; EOFError if it died."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "scorefield.server.worker", str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**24)
        line = cls(process, reader, writer)
        try:
            writer.write(frames.packed(asdict(config)))
            header, _ = await frames.arriving(reader)
        except BaseException:
            line.close()
            raise
        if "failed" in header:
            line.close()
            raise error_of(header["failed"])
        line.sizes = header["sizes"]
        return line

    async def work(self, desk: Desk, seen: Callable[[Batch, dict[str, Any]], None]) -> None:
        """Feeds it batches and hands on its answers until it dies; then its batches go back to the desk."""
        feeding = asyncio.create_task(self._feed(desk))
        try:
            while True:
                header, arrays = await frames.arriving(self.reader)
                if "state" in header:
                    desk.state(self.running[header["id"]], header["state"], header["t"], arrays)
                    continue
                batch = self.running.pop(header["id"])
                self._free.set()
                seen(batch, header)
                desk.done(batch, header, arrays)
        except (EOFError, ConnectionError):
            return
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await feeding
            for batch in self.running.values():
                desk.lost(batch)
            self.running.clear()

    async def _feed(self, desk: Desk) -> None:
        while True:
            batch = await desk.next()
            batch.cancel = lambda batch=batch: self._cancel(batch)  # type: ignore[misc]
            self.running[batch.number] = batch
            self._free.clear()
            self.writer.write(frames.packed(batch.header, batch.arrays))
            await self.writer.drain()
            await self._free.wait()

    def _cancel(self, batch: Batch) -> None:
        if batch.number in self.running:
            batch.cancel = None
            with contextlib.suppress(ConnectionError):
                self.writer.write(frames.packed({"do": "cancel", "id": batch.number}))
            asyncio.get_running_loop().call_later(GRACE, self._kill_if_stuck, batch.number)

    def _kill_if_stuck(self, number: int) -> None:
        if number in self.running:
            self.process.kill()

    def close(self) -> None:
        """Closes the line, which ends the process; kills it if it does not listen."""
        self.writer.close()
        try:
            self.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pool:
    """``workers`` lines, each started again when its process dies. ``tell`` writes an event into the log."""

    def __init__(self, config: Config, workers: int, desk: Desk, tell: Tell):
        self.config, self.workers, self.desk, self.tell = config, workers, desk, tell
        self.lines: list[Line | None] = [None] * workers
        self.restarts = 0
        self.failure: Exception | None = None
        self.seen: Callable[[Batch, dict[str, Any]], None] = lambda batch, header: None
        self._tending: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> int:
        """Workers that hold the model."""
        return sum(line is not None for line in self.lines)

    @property
    def running(self) -> int:
        """Batches that are being computed."""
        return sum(len(line.running) for line in self.lines if line is not None)

    def start(self) -> None:
        """Starts the workers; they are `ready` a little later."""
        self._tending = [asyncio.create_task(self._tend(k)) for k in range(self.workers)]

    async def stop(self) -> None:
        """Ends the workers."""
        for task in self._tending:
            task.cancel()
        await asyncio.gather(*self._tending, return_exceptions=True)

    async def _tend(self, number: int) -> None:
        failures = 0
        while True:
            line = None
            try:
                line = await Line.open(self.config)
                self.lines[number], self.failure, failures = line, None, 0
                self.tell("worker ready", worker=number, pid=line.process.pid, sizes=line.sizes)
                await line.work(self.desk, self.seen)
            except Exception as error:
                self.failure, failures = error, failures + 1
                self.tell("worker failed", worker=number, error=f"{type(error).__name__}: {error}")
            finally:
                self.lines[number] = None
                if line is not None:
                    line.close()
            self.restarts += 1
            code = None if line is None else line.process.returncode
            self.tell("worker restarts", worker=number, exit=code)
            await asyncio.sleep(min(30.0, 0.5 * failures**2))
