"""A real server in a process of its own, for tests: started on a free port, asked over HTTP, told to stop."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import scorefield as sf
from scorefield.data import Scaling
from scorefield.recipes.drawing import Drawing
from scorefield.server import Client

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
PATIENCE = 300.0  # seconds after which what must come is taken to have failed, on the slowest machine


class Process:
    """A server and its log; ``address`` is where it listens."""

    def __init__(self, *words: object):
        command = [sys.executable, "-c", "from scorefield.cli import main; main()", "serve", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        self.lines: list[dict] = []
        self.other: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.other.append(line)

    def event(self, name: str, seconds: float = PATIENCE, after: int = 0) -> dict:
        """The first line of the log about this event, when it comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [line for line in self.lines[after:] if line.get("event") == name]
            if found:
                return found[0]
            time.sleep(0.02)
        raise TimeoutError(f"no {name!r} in {seconds} s: {self.lines[-3:]} {self.other[-5:]}")

    def about(self, request: str, seconds: float = PATIENCE) -> dict:
        """The line of the log about this request, when it comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.lines:
                if line.get("id") == request:
                    return line
            time.sleep(0.02)
        raise TimeoutError(f"no line about {request}")

    @property
    def address(self) -> str:
        about = self.event("listening")
        return f"http://{about['host']}:{about['port']}"

    def client(self, **how) -> Client:
        return Client(self.address, **how)

    def stop(self, seconds: float = PATIENCE) -> int:
        if self.process.poll() is None and not [line for line in self.lines if line.get("event") == "draining"]:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        self.process.stderr.close()
        return code


@contextmanager
def serving(*words: object) -> Iterator[Process]:
    """A server that is ready, and stopped at the end: it must leave with status 0 and no traceback."""
    server = Process(*words, "--port", 0)
    try:
        server.client().wait(PATIENCE).close()
        yield server
    finally:
        code = server.stop()
    assert code == 0, (code, server.other[-20:])
    assert not [line for line in server.other if "Traceback" in line], server.other


def images(folder: Path, classes: int = 3, size: int = 8) -> Path:
    """A run of small labelled images, of random weights: as a network it is like any other."""
    torch.manual_seed(0)
    network = sf.UNet(channels=1, size=size, width=8, classes=classes)
    for each in network.parameters():
        torch.nn.init.normal_(each, std=0.15)
    model = sf.Preconditioned(network, sf.EDM(20.0), sf.models.edm)
    shape = (1, size, size)
    sf.save(
        model, folder, data={"name": "noise", "shape": shape, "columns": []},
        scaling=Scaling.pixels(), sampling=Drawing(steps=6, classes=classes, weight=1.5),
    )  # fmt: skip
    return folder


def bell(folder: Path) -> Path:
    """A run whose density is known: N((1, 1), 4 C) in the data's units, N(0, C) in the model's, C = ((1, ½), (½, 1))."""
    model = sf.exact.Gaussian(torch.zeros(2), COVARIANCE).denoiser(sf.VP())
    about = {"name": "bell", "shape": (2,), "columns": []}
    sf.save(model, folder, data=about, scaling=Scaling(1.0, 2.0), sampling=Drawing(steps=12))
    return folder


COVARIANCE = torch.tensor([[1.0, 0.5], [0.5, 1.0]])


def until(met: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for what must come to be so."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"it was not so within {seconds:g} s")
        time.sleep(0.02)


def counted(client: Client, name: str) -> float:
    """The number that /metrics gives under this name, summed over its labels."""
    text = client._read("GET", "/metrics").decode()
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(value) for _, value in rows)
