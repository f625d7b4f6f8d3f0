"""`scorefield serve` under load: a real server, real HTTP, clients in processes of their own.

    python benchmarks/serving.py                      latency, throughput, and 20,000 requests checked bit for bit
    python benchmarks/serving.py --soak 30            half an hour of load with killed workers, vanished clients and overload

Every request has a seed of its own. It is asked alone first, one after the other, and then again by 64 clients at once: the two
answers, NPY bytes, must be the same. The soak measures the resident memory of the front and of the worker that is never killed.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import psutil
import uvloop

ROOT = Path(__file__).parents[1]
HOST = "localhost"


@dataclass
class Server:
    """A server in a process of its own, with its log in a file."""

    run: str
    words: list[str]
    log: Path
    process: subprocess.Popen = field(init=False)
    port: int = field(init=False)

    def __post_init__(self):
        command = [sys.executable, "-c", "from scorefield.cli import main; main()", "serve", self.run, "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        with self.log.open("w") as file:
            self.process = subprocess.Popen([*command, *self.words], stderr=file, env=environment)
        self.port = self.event("listening")["port"]
        for _ in range(int(dict(zip(self.words, self.words[1:])).get("--workers", 1))):
            self.event("worker ready")

    def events(self, name: str) -> list[dict]:
        lines = (line for line in self.log.read_text().splitlines() if f'"event":"{name}"' in line)
        return [json.loads(line) for line in lines]

    def event(self, name: str, seconds: float = 120.0) -> dict:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.events(name):
                return found[-1]
            time.sleep(0.05)
        raise TimeoutError(f"{name}: {self.log.read_text()[-2000:]}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


class Line:
    """A keep-alive connection that speaks just enough HTTP/1.1: prepared bytes out, status and body in."""

    def __init__(self, port: int):
        self.port, self.writer = port, None

    async def ask(self, body: bytes, path: str = "/samples?format=npy") -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(HOST, self.port)
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        headers = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(headers.partition(b"content-length:")[2].split(b"\r\n")[0])
        found = int(headers[9:12]), await self.reader.readexactly(length)
        if b"connection: close" in headers:
            self.close()
        return found

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def question(k: int, steps: int | None) -> bytes:
    """Request number k: a seed and a label of its own."""
    return json.dumps({"seed": k, "label": k % 10, **({"steps": steps} if steps else {})}).encode()


async def _clients(port: int, numbers: list[list[int]], steps: int | None) -> list[tuple[int, float, int, str]]:
    found = []

    async def client(mine: list[int]) -> None:
        line = Line(port)
        for k in mine:
            start = time.perf_counter()
            status, body = await line.ask(question(k, steps))
            found.append((k, time.perf_counter() - start, status, hashlib.md5(body).hexdigest()))
        line.close()

    await asyncio.gather(*(client(mine) for mine in numbers if mine))
    return found


def _process(port: int, numbers: list[list[int]], steps: int | None, out: multiprocessing.Queue) -> None:
    before = time.process_time()
    found = uvloop.run(_clients(port, numbers, steps))
    out.put((found, time.process_time() - before))


def load(port: int, numbers: list[int], clients: int, steps: int | None, processes: int = 2):
    """(seconds, answers, processor seconds of the clients) of these requests, in at most so many processes."""
    processes = min(processes, clients)
    shares = [numbers[k::clients] for k in range(clients)]
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    started = [
        context.Process(target=_process, args=(port, shares[k::processes], steps, out)) for k in range(processes)
    ]
    start = time.perf_counter()
    for each in started:
        each.start()
    found, busy = zip(*(out.get() for _ in started))
    for each in started:
        each.join()
    return time.perf_counter() - start - STARTING, [*chain(*found)], sum(busy)


STARTING = 0.0  # replaced by what starting and ending an idle client process takes


def quantile(values: list[float], part: float) -> float:
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def busy(server: Server) -> tuple[float, float]:
    """Processor seconds of the front and of its workers so far."""
    pids = [server.process.pid, *(each["pid"] for each in server.events("worker ready"))]
    front, *workers = (sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
    return front, sum(workers)


def measure(run: str, words: list[str], steps: int | None, requests: int, clients: int) -> dict:
    """The table of one server: alone, together, what each process took for it, lost, wrong."""
    global STARTING
    server = Server(run, words, Path("/tmp") / f"serving-{os.getpid()}.log")
    try:
        load(server.port, list(range(10_000_000, 10_000_050)), 1, steps)
        STARTING = 0.0
        STARTING = min(load(server.port, [10_000_000], 1, steps)[0] for _ in range(3))
        warm = list(range(20_000_000, 20_000_000 + 10 * clients))
        load(server.port, warm, clients, steps)
        seconds, alone, _ = load(server.port, list(range(requests)), 1, steps)
        before = busy(server)
        together_seconds, together, asking = load(server.port, list(range(requests)), clients, steps)
        front, workers = (now - then for then, now in zip(before, busy(server)))
        right = {k: digest for k, _, status, digest in alone if status == 200}
        wrong = sum(status == 200 and right.get(k) != digest for k, _, status, digest in together)
        lost = 2 * requests - sum(each[2] == 200 for each in alone + together)
        latencies = [1e3 * each[1] for each in alone]
        crowded = [1e3 * each[1] for each in together]
        return {
            "run": run, "words": " ".join(words), "steps": steps, "requests": requests, "clients": clients,
            "p50_ms": quantile(latencies, 0.5), "p99_ms": quantile(latencies, 0.99),
            "alone_per_s": requests / seconds, "together_per_s": requests / together_seconds,
            "ratio": seconds / together_seconds, "crowded_p50_ms": quantile(crowded, 0.5),
            "crowded_p99_ms": quantile(crowded, 0.99), "front_ms": 1e3 * front / requests,
            "workers_ms": 1e3 * workers / requests, "clients_ms": 1e3 * asking / requests, "lost": lost, "wrong": wrong,
        }  # fmt: skip
    finally:
        server.stop()


def told(found: dict) -> str:
    """One paragraph about a measurement."""
    return (
        f"{found['run']} ({found['words']}; steps {found['steps'] or 'of the run'})\n"
        f"  one at a time    p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms, {found['alone_per_s']:.0f} requests/s\n"
        f"  {found['clients']} at once       p50 {found['crowded_p50_ms']:.1f} ms, p99 {found['crowded_p99_ms']:.1f} ms, "
        f"{found['together_per_s']:.0f} requests/s: {found['ratio']:.1f} times\n"
        f"  a request of these   {found['workers_ms']:.2f} ms of the workers' processors, {found['front_ms']:.2f} of the front's, "
        f"{found['clients_ms']:.2f} of the clients'\n"
        f"  {2 * found['requests']:,} requests: {found['lost']} lost, {found['wrong']} wrong"
    )


class Soak:
    """Load with faults: eight clients, and beside them killed workers, clients who vanish, and bursts of ten times as many."""

    def __init__(self, server: Server, minutes: float, steps: int | None, pause: float):
        self.server, self.steps, self.pause = server, steps, pause
        self.end = time.monotonic() + 60 * minutes
        self.statuses: Counter = Counter()
        self.wrong = self.vanished = self.killed = 0
        self.right: dict[int, str] = {}
        self.memory: list[tuple[float, int, int]] = []

    async def main(self) -> None:
        line = Line(self.server.port)
        for k in range(200):
            _, body = await line.ask(question(k, self.steps))
            self.right[k] = hashlib.md5(body).hexdigest()
        self.steady = self.server.events("worker ready")[0]["pid"]
        parts = [self.client(self.pause) for _ in range(8)]
        await asyncio.gather(*parts, self.vanish(), self.kill(), self.burst(), self.watch())

    async def client(self, pause: float, end: float | None = None) -> None:
        line, end = Line(self.server.port), end or self.end
        while time.monotonic() < end:
            k = random.randrange(200)
            try:
                status, body = await line.ask(question(k, self.steps))
            except (ConnectionError, asyncio.IncompleteReadError):
                self.statuses["cut"] += 1
                line = Line(self.server.port)
                continue
            self.statuses[status] += 1
            self.wrong += status == 200 and hashlib.md5(body).hexdigest() != self.right[k]
            await asyncio.sleep(pause)
        line.close()

    async def vanish(self) -> None:
        """Clients that go in the middle of a stream, or before the answer."""
        while time.monotonic() < self.end:
            body = json.dumps({"n": 64, "seed": self.vanished}).encode()
            path = random.choice(["/samples?format=ndjson", "/samples", "/samples?format=sse"])
            head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            reader, writer = await asyncio.open_connection(HOST, self.server.port)
            writer.write(head.encode() + body)
            await asyncio.sleep(random.random() * 0.1)
            writer.transport.abort()
            self.vanished += 1
            await asyncio.sleep(0.5)

    async def kill(self) -> None:
        """Kills workers, but never the first, whose memory is watched."""
        while time.monotonic() < self.end - 30:
            await asyncio.sleep(min(20.0, max(1.0, (self.end - time.monotonic()) / 4)))
            pids = [each["pid"] for each in self.server.events("worker ready") if each["pid"] != self.steady]
            if pids and psutil.pid_exists(pids[-1]):
                os.kill(pids[-1], signal.SIGKILL)
                self.killed += 1

    async def burst(self) -> None:
        """Ten times as many clients for five seconds, every minute."""
        while time.monotonic() < self.end - 15:
            await asyncio.sleep(min(60.0, max(1.0, (self.end - time.monotonic()) / 4)))
            until = time.monotonic() + 5
            await asyncio.gather(*(self.client(0.0, until) for _ in range(80)))

    async def watch(self) -> None:
        """Resident memory of the front and of the first worker, every five seconds."""
        start, front, worker = time.monotonic(), psutil.Process(self.server.process.pid), psutil.Process(self.steady)
        while time.monotonic() < self.end:
            self.memory.append((time.monotonic() - start, front.memory_info().rss, worker.memory_info().rss))
            await asyncio.sleep(5)

    def told(self, code: int) -> str:
        """What happened: answers, faults, memory in the second tenth and in the last."""
        tenth = max(1, len(self.memory) // 10)
        lines = [
            f"answers {dict(self.statuses)}, wrong {self.wrong}",
            f"workers killed {self.killed}, clients vanished {self.vanished}, exit status {code}",
        ]
        for name, place in (("front", 1), ("worker", 2)):
            early, late = self.memory[tenth : 2 * tenth] or self.memory, self.memory[-tenth:]
            first, last = (sum(each[place] for each in part) / len(part) / 2**20 for part in (early, late))
            lines.append(f"memory of the {name}: {first:.1f} MiB, at the end {last:.1f} MiB ({last / first - 1:+.1%})")
        return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="asked alone and together")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--run", default="digits-fast")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--onnx", default=None, help="the exported denoiser to compute with")
    parser.add_argument(
        "--pause", type=float, default=0.02, help="seconds between the requests of a client of the soak"
    )
    parser.add_argument("--soak", type=float, default=None, metavar="MINUTES")
    given = parser.parse_args()
    words = ["--workers", str(given.workers), "--threads", "1"]
    words += ["--onnx", given.onnx] if given.onnx else []
    if given.soak is None:
        words += ["--log-level", "info"]
        print(told(measure(given.run, words, given.steps, given.requests, given.clients)), flush=True)
        return
    server = Server(given.run, [*words, "--queue", "32"], Path("/tmp") / f"soak-{os.getpid()}.log")
    soak = Soak(server, given.soak, given.steps, given.pause)
    try:
        asyncio.run(soak.main())
    finally:
        code = server.stop()
    print(soak.told(code), flush=True)


if __name__ == "__main__":
    main()
