"""A client of `scorefield serve`, typed, with nothing but NumPy and the standard library.

    with Client("http://localhost:8000") as server:
        images = server.samples(16, seed=7, label=3).x

A server that is busy or stopping is asked again after the seconds it names in Retry-After, ``retries`` times; a line that was cut is
opened again. That is safe: an answer is a function of its request alone.
"""

import base64
import http.client
import io
import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RangeError, ScorefieldError

AGAIN = (429, 503)
LONGEST = 60.0


class ServerError(ScorefieldError):
    """An answer that is a problem: its ``status`` and the ``problem`` itself, RFC 9457."""

    def __init__(self, problem: dict[str, Any]):
        super().__init__(f"{problem.get('status')} {problem.get('type', '')}: {problem.get('detail', '')}")
        self.problem = problem
        self.status = int(problem.get("status", 0))


@dataclass(frozen=True, eq=False)
class Samples:
    """``x`` of shape (n, *event) in the data's units, the label of each, and the evaluations it took."""

    x: np.ndarray
    labels: np.ndarray | None
    evaluations: int


@dataclass(frozen=True, eq=False)
class State:
    """One state of a walk: rows ``start`` to ``stop`` at time ``t``, and what the network took them for."""

    start: int
    stop: int
    step: int
    t: float
    x: np.ndarray
    denoised: np.ndarray | None


@dataclass(frozen=True, eq=False)
class LogDensities:
    """log p(x) in nats in the data's units, a number a row, and its standard error."""

    value: np.ndarray
    error: np.ndarray


class Client:
    """The operations of one server. ``timeout`` seconds a request; ``retries`` when it is busy, stopping or gone.

    Raises: RangeError for an address that is none.

    >>> Client("ftp://somewhere")
    Traceback (most recent call last):
    ...
    scorefield.errors.RangeError: Client('ftp://somewhere'): an address such as http://localhost:8000 wanted.
    """

    def __init__(self, address: str, *, token: str | None = None, timeout: float = 120.0, retries: int = 5):
        self.address, self.token, self.timeout, self.retries = address, token, timeout, retries
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RangeError(f"Client({address!r}): an address such as http://localhost:8000 wanted.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._path = parts.path.rstrip("/")
        self._line = kind(parts.hostname, parts.port, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the line."""
        self._line.close()

    def samples(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        label: int | None = None,
        completion: "Completion | None" = None,
    ) -> Samples:
        """n samples; sample j of a seed is the same in every request. Raises: ServerError."""
        asked = _drawing(n, seed, first, steps, sampler, guidance, label, completion)
        found = json.loads(self._read("POST", "/samples", asked))
        labels = None if found["labels"] is None else np.array(found["labels"])
        return Samples(np.array(found["samples"], dtype=np.float32), labels, found["evaluations"])

    def walk(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        label: int | None = None,
        completion: "Completion | None" = None,
        every: int = 1,
    ) -> Iterator[State]:
        """The states of the walk as they are computed. Left early, the computation stops. Raises: ServerError."""
        asked = _drawing(n, seed, first, steps, sampler, guidance, label, completion) | {"every": every}
        answer = self._ask("POST", "/samples?format=ndjson", asked)
        try:
            for line in answer:
                found = json.loads(line)
                if "problem" in found:
                    raise ServerError(found["problem"])
                if "step" not in found:
                    return
                seen = np.array(found["denoised"], dtype=np.float32) if "denoised" in found else None
                x, (start, stop) = np.array(found["x"], dtype=np.float32), found["rows"]
                yield State(start, stop, found["step"], found["t"], x, seen)
        finally:
            self._line.close()

    def picture(self, n: int = 16, *, seed: int = 0, label: int | None = None) -> bytes:
        """n samples on one sheet, as a PNG. Raises: ServerError."""
        return self._read("POST", "/samples?format=png", _given(n=n, seed=seed, label=label))

    def scores(
        self, x: np.ndarray, *, t: float | None = None, level: float | None = None, label: int | None = None
    ) -> np.ndarray:
        """∇ log p_t at each row of x, at a time or a noise level σ/α. Raises: ServerError."""
        return self._points("/scores", x, _given(t=t, level=level, label=label))

    def denoise(
        self, x: np.ndarray, *, t: float | None = None, level: float | None = None, label: int | None = None
    ) -> np.ndarray:
        """E[x_0 | x_t] at each row of x, at a time or a noise level σ/α. Raises: ServerError."""
        return self._points("/denoise", x, _given(t=t, level=level, label=label))

    def log_density(
        self, x: np.ndarray, *, steps: int | None = None, label: int | None = None, seed: int = 0
    ) -> LogDensities:
        """log p(x) ± its standard error in nats. Raises: ServerError."""
        asked = {"x": _npy(x), **_given(steps=steps, label=label, seed=seed)}
        found = json.loads(self._read("POST", "/densities", asked))
        return LogDensities(np.array(found["log_density"]), np.array(found["error"]))

    def model(self) -> dict[str, Any]:
        """What is served: shape, labels, samplers, limits, and what it cannot do."""
        return json.loads(self._read("GET", "/model"))

    def ready(self) -> bool:
        """Whether the server takes requests now."""
        try:
            return self._send("GET", "/readyz", None).status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self._line.close()

    def wait(self, seconds: float = 60.0) -> "Client":
        """Itself, once the server takes requests. Raises: ServerError 503 if it does not within so many seconds."""
        end = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > end:
                raise ServerError({"status": 503, "type": "NotReady", "detail": f"{self.address} is not ready."})
            time.sleep(0.05)
        return self

    def _points(self, path: str, x: np.ndarray, more: dict[str, Any]) -> np.ndarray:
        answer = self._read("POST", f"{path}?format=npy", {"x": _npy(x), **more})
        return np.load(io.BytesIO(answer), allow_pickle=False)

    def _read(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        return self._ask(method, path, body).read()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """The answer, if it is one. Raises: ServerError for a problem; OSError if there is no server."""
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                answer = self._send(method, path, body)
            except (OSError, http.client.HTTPException):
                self._line.close()
                if last:
                    raise
                time.sleep(0.05 * 2**attempt)
                continue
            if answer.status < 400:
                return answer
            told = _problem(answer)
            wait = float(answer.headers.get("Retry-After", 0))
            if answer.status not in AGAIN or last or not 0 < wait <= LONGEST:
                raise ServerError(told)
            time.sleep(wait)
        raise ServerError({"status": 503, "type": "NotReady", "detail": f"{self.address} does not answer."})

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        self._line.request(method, self._path + path, None if body is None else json.dumps(body), headers)
        return self._line.getresponse()


@dataclass(frozen=True, eq=False)
class Completion:
    """What is known of an event, in the data's units, and the ``mask`` of where: 1 where it is seen."""

    image: np.ndarray
    mask: np.ndarray
    noise: float = 0.05


def _drawing(n, seed, first, steps, sampler, guidance, label, completion) -> dict[str, Any]:
    asked = _given(n=n, seed=seed, first=first, steps=steps, sampler=sampler, guidance=guidance, label=label)
    if completion is not None:
        image, mask = _npy(completion.image), _npy(np.asarray(completion.mask, dtype=bool))
        asked["completion"] = {"image": image, "mask": mask, "noise": completion.noise}
    return asked


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _npy(x: np.ndarray) -> dict[str, str]:
    stream = io.BytesIO()
    np.save(stream, np.asarray(x), allow_pickle=False)
    return {"npy": base64.b64encode(stream.getvalue()).decode()}


def _problem(answer: http.client.HTTPResponse) -> dict[str, Any]:
    body = answer.read()
    try:
        return {"status": answer.status, **json.loads(body)}
    except ValueError:
        return {"status": answer.status, "type": "HTTP", "detail": body[:200].decode(errors="replace")}
